//! Everything behind the device's lock.
//!
//! The thread that holds the lock must never touch memory of a [`crate::CoherentRegion`]: its faults are served by a thread that needs
//! this lock. So slices of callers are copied to or from local memory *outside* the lock, and nothing here takes a slice that a caller
//! of the crate provided.

use super::pages::{Migration, PageResult, Stats};
use super::port::Port;
use super::OpResult;
use crate::config;
use crate::error::{Error, Result};
use crate::transport::{ChangedLine, Intent, LINE, PAGE};
use core::{
    Direction, Extent, Holder, Migrator, OwnerId, PageMove, PagePool, PageSlot, Ring, RingMemory,
};
use cxlmem_driver_core as core;
use cxlmem_protocol::engine::{
    flags, Completion, Descriptor, Opcode, Status, MAX_PAGES, WORD_BYTES,
};
use std::collections::{BTreeMap, BTreeSet};

/// Owner of pages that hold migrated host pages.
pub(crate) const OWNER_RESIDENT: OwnerId = 0;
/// Owner of device buffers.
pub(crate) const OWNER_BUFFER: OwnerId = 1;
/// First owner id of regions.
pub(crate) const OWNER_REGIONS: OwnerId = 2;

pub(crate) type PageData = [[u8; LINE]; PAGE / LINE];

/// An atomic of the engine.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Atomic {
    Add(u64),
    CompareSwap { expected: u64, new: u64 },
}

impl Atomic {
    /// Checks the address of its word.
    pub fn check(self, dpa: u64) -> Result<()> {
        if dpa % WORD_BYTES == 0 {
            return Ok(());
        }
        Err(Error::Unaligned {
            what: "address of an atomic's word",
            value: dpa,
            unit: WORD_BYTES,
        })
    }
}

pub(crate) struct State {
    pub port: Port,
    pub ring: Ring,
    pub ring_memory: RingMemory,
    /// DMA memory for page lists.
    pub list: u64,
    pub pool: PagePool<Vec<PageSlot>>,
    pub limits: core::Limits,
    /// Host physical address of DPA 0.
    pub hdm_base: u64,
    /// The device snoops: pages have no owner.
    pub device_coherent: bool,
    /// Host pages whose data is on the device: bus address to DPA.
    pub resident: BTreeMap<u64, u64>,
    /// Pages of host buffers, by bus address.
    pub host_pages: BTreeSet<u64>,
    /// Host pages that DMA may still touch.
    pub lost_host: BTreeSet<u64>,
    pub next_owner: OwnerId,
    pub stats: Stats,
    pub closed: bool,
}

impl State {
    pub fn open_check(&self) -> Result<()> {
        if self.closed {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    /// An error of the driver's logic with what the transport said last.
    pub fn device_error(&mut self, error: core::Error) -> Error {
        if !self.ring.is_running() {
            self.fence();
        }
        Error::Device {
            error,
            transport: self.port.last_error.take(),
        }
    }

    /// The engine does not answer: take its right to write to host memory away.
    fn fence(&mut self) {
        // Best effort: a device that is gone cannot be fenced, and needs not be.
        let result = config::enable(self.port.transport.as_mut(), false);
        if let Err(Error::Config { source, .. }) = result {
            self.port.last_error.get_or_insert(source);
        }
    }

    pub fn now(&mut self) -> u64 {
        core::Clock::now(&mut self.port)
    }

    // ---- engine ----

    /// Runs one command; `bytes` sets its time limit.
    pub fn command(&mut self, descriptor: &Descriptor, bytes: u64) -> Result<Completion> {
        self.open_check()?;
        self.stats.commands += 1;
        let ticks = self.limits.command_ticks(bytes);
        let result = self.ring.run(&mut self.port, descriptor, ticks);
        result.map_err(|error| {
            if !matches!(error, core::Error::Command { .. }) {
                self.stats.engine_resets += 1;
            }
            self.device_error(error)
        })
    }

    /// An atomic on a word whose page the engine may touch.
    pub fn atomic(&mut self, dpa: u64, atomic: Atomic) -> Result<OpResult> {
        let (opcode, arg, host_addr) = match atomic {
            Atomic::Add(add) => (Opcode::FetchAdd, add, 0),
            Atomic::CompareSwap { expected, new } => (Opcode::CompareSwap, expected, new),
        };
        let descriptor = Descriptor {
            opcode: opcode as u8,
            flags: flags::IRQ,
            count: 1,
            dev_addr: dpa,
            host_addr,
            arg,
            ..Descriptor::default()
        };
        let record = self.command(&descriptor, WORD_BYTES)?;
        Ok(OpResult {
            value: record.result,
            cycles: record.cycles.into(),
            done: WORD_BYTES,
        })
    }

    fn set_owner(&mut self, extent: Extent, side: Holder) -> Result<()> {
        for part in split(extent) {
            let descriptor = Descriptor {
                opcode: Opcode::SetOwner as u8,
                flags: flags::IRQ,
                count: part.pages,
                dev_addr: part.dpa,
                arg: u64::from(side == Holder::Device),
                ..Descriptor::default()
            };
            self.command(&descriptor, u64::from(part.pages) * core::PAGE_BYTES)?;
            self.pool.set_holder(part, side)?;
        }
        Ok(())
    }

    /// Runs of pages of `extent` that `side` does not hold yet.
    fn not_held(&self, extent: Extent, side: Holder) -> Result<Vec<Extent>> {
        let mut runs: Vec<Extent> = Vec::new();
        for dpa in extent.iter() {
            let PageSlot::Owned { holder, .. } = self.pool.slot(dpa)? else {
                continue;
            };
            if holder == side {
                continue;
            }
            match runs.last_mut() {
                Some(run) if run.dpa + u64::from(run.pages) * core::PAGE_BYTES == dpa => {
                    run.pages += 1
                }
                _ => runs.push(Extent { dpa, pages: 1 }),
            }
        }
        Ok(runs)
    }

    /// Makes the host the holder, so that loads and stores may touch the pages. Device-coherent pages stay the host's in the pool: nobody owns them.
    pub fn claim_host(&mut self, extent: Extent) -> Result<()> {
        if self.device_coherent {
            return Ok(());
        }
        for run in self.not_held(extent, Holder::Host)? {
            if self.ring.is_running() {
                self.set_owner(run, Holder::Host)?;
            } else {
                // The engine takes no command any more and is cut off: nothing else can touch the page.
                self.pool.set_holder(run, Holder::Host)?;
            }
        }
        Ok(())
    }

    /// Makes the engine the holder: flushes the host's lines first.
    pub fn claim_device(&mut self, extent: Extent) -> Result<()> {
        if self.device_coherent {
            return Ok(());
        }
        for run in self.not_held(extent, Holder::Device)? {
            self.flush(run)?;
            self.set_owner(run, Holder::Device)?;
        }
        Ok(())
    }

    // ---- pages of the device ----

    pub fn hpa(&self, dpa: u64) -> u64 {
        self.hdm_base + dpa
    }

    /// Exactly `pages` device pages, in as few extents as possible.
    pub fn alloc(&mut self, owner: OwnerId, pages: u64) -> Result<Vec<Extent>> {
        self.open_check()?;
        if pages > self.pool.free_pages() {
            return Err(core::PoolError::NoSpace {
                wanted: pages,
                free: self.pool.free_pages(),
            }
            .into());
        }
        let mut extents = Vec::new();
        let mut left = pages;
        while left > 0 {
            let extent = self
                .pool
                .alloc(owner, u32::try_from(left).unwrap_or(u32::MAX))?;
            left -= u64::from(extent.pages);
            extents.push(extent);
        }
        Ok(extents)
    }

    /// Frees one page; a page that cannot be handed to the host first is quarantined.
    pub fn free_page(&mut self, owner: OwnerId, dpa: u64) -> Result<()> {
        let page = Extent { dpa, pages: 1 };
        if matches!(self.pool.slot(dpa)?, PageSlot::Quarantined) {
            return Ok(());
        }
        // A free page has no line in a host cache.
        let ready = self.claim_host(page).and_then(|()| self.flush(page));
        if let Err(error) = ready {
            self.pool.quarantine(page)?;
            self.stats.quarantined += 1;
            return Err(error);
        }
        Ok(self.pool.free(owner, page)?)
    }

    /// Fills pages with a pattern.
    pub fn fill(&mut self, extent: Extent, pattern: u64) -> Result<u64> {
        self.claim_device(extent)?;
        let mut cycles = 0;
        for part in split(extent) {
            let bytes = u64::from(part.pages) * core::PAGE_BYTES;
            let descriptor = Descriptor {
                opcode: Opcode::Fill as u8,
                flags: flags::IRQ,
                count: bytes as u32,
                dev_addr: part.dpa,
                arg: pattern,
                ..Descriptor::default()
            };
            cycles += u64::from(self.command(&descriptor, bytes)?.cycles);
        }
        Ok(cycles)
    }

    // ---- loads and stores of the host ----

    /// Loads a device page through the coherent protocol.
    pub fn load_page(&mut self, dpa: u64, intent: Intent) -> Result<Box<PageData>> {
        self.open_check()?;
        self.claim_host(Extent { dpa, pages: 1 })?;
        let mut page = Box::new([[0; LINE]; PAGE / LINE]);
        let hpa = self.hpa(dpa);
        let poison = self.port.transport.lines_read(hpa, intent, &mut page[..]);
        let poison = poison.map_err(|source| Error::Transport {
            what: "loading a device page",
            source,
        })?;
        self.stats.lines_read += (PAGE / LINE) as u64;
        if poison != 0 {
            self.stats.poisoned_lines += u64::from(poison.count_ones());
            return Err(Error::Poison {
                dpa: dpa + u64::from(poison.trailing_zeros()) * LINE as u64,
            });
        }
        Ok(page)
    }

    /// Stores one line of a device page.
    pub fn store_line(&mut self, dpa: u64, line: &[u8; LINE]) -> Result<()> {
        self.open_check()?;
        self.claim_host(Extent {
            dpa: dpa - dpa % core::PAGE_BYTES,
            pages: 1,
        })?;
        let hpa = self.hpa(dpa);
        let result = self.port.transport.line_write(hpa, line);
        self.stats.lines_written += 1;
        result.map_err(|source| Error::Transport {
            what: "storing a line of device memory",
            source,
        })
    }

    /// Takes changed lines of a page back that a region has held.
    pub fn return_lines(&mut self, lines: &[ChangedLine]) -> Result<()> {
        self.open_check()?;
        let result = self.port.transport.lines_return(lines);
        self.stats.lines_written += lines.len() as u64;
        result.map_err(|source| Error::Transport {
            what: "storing changed lines of device memory",
            source,
        })
    }

    /// Writes back and drops the host's lines of device pages.
    pub fn flush(&mut self, extent: Extent) -> Result<()> {
        let hpa = self.hpa(extent.dpa);
        let result = self
            .port
            .transport
            .line_flush(hpa, u64::from(extent.pages) * core::PAGE_BYTES);
        result.map_err(|source| Error::Transport {
            what: "flushing the host's lines of device memory",
            source,
        })
    }

    // ---- host memory ----

    pub fn dma_alloc(&mut self, bytes: usize) -> Result<u64> {
        self.open_check()?;
        let result = self.port.transport.dma_alloc(bytes, PAGE);
        result.map_err(|source| Error::Transport {
            what: "allocating DMA memory",
            source,
        })
    }

    pub fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Result<()> {
        let result = self.port.transport.dma_read(bus, out);
        result.map_err(|source| Error::Transport {
            what: "reading DMA memory",
            source,
        })
    }

    pub fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<()> {
        let result = self.port.transport.dma_write(bus, data);
        result.map_err(|source| Error::Transport {
            what: "writing DMA memory",
            source,
        })
    }

    // ---- migration ----

    /// Copies pages with the engine and notes who holds the device pages. Quarantined pages are taken out of use on both sides. When the
    /// engine is out of use, pages still come home: the CPU loads them through the coherent protocol.
    pub fn copy_pages(
        &mut self,
        direction: Direction,
        pages: &mut [PageMove],
        after: Holder,
    ) -> Migration {
        let start = self.now();
        for page in pages.iter_mut() {
            if let Ok(PageSlot::Owned { holder, .. }) = self.pool.slot(page.device) {
                page.holder = holder;
            }
        }
        let (engine_cycles, result) = if let Err(closed) = self.open_check() {
            (0, Err(closed))
        } else if direction == Direction::ToHost && !self.ring.is_running() {
            pages
                .iter_mut()
                .for_each(|page| page.result = self.copy_home_by_cpu(page));
            (0, Ok(()))
        } else {
            let base = self.hdm_base;
            let mut flush = |port: &mut Port, dpa: u64, pages: u32| {
                let result = port
                    .transport
                    .line_flush(base + dpa, u64::from(pages) * core::PAGE_BYTES);
                port.keep(result)
            };
            let mut migrator = Migrator::new(pages, direction, after, self.list);
            if self.device_coherent {
                migrator = migrator.without_owners();
            }
            let result = migrator.run(&mut self.port, &mut self.ring, &mut flush);
            let cycles = migrator.cycles();
            for page in pages.iter() {
                self.note(direction, page);
            }
            self.stats.engine_resets += u64::from(result.is_err());
            (cycles, result.map_err(|error| self.device_error(error)))
        };
        Migration {
            pages: pages.iter().map(|page| page.result.into()).collect(),
            engine_cycles,
            device_cycles: self.now() - start,
            error: result.err(),
        }
    }

    /// One page home without the engine, which is stuck and cut off from host memory.
    fn copy_home_by_cpu(&mut self, page: &mut PageMove) -> core::PageResult {
        let result = self
            .load_page(page.device, Intent::Shared)
            .and_then(|data| self.dma_write(page.host, data.as_flattened()));
        page.holder = Holder::Host;
        match result {
            Ok(()) => {
                self.stats.pages_by_cpu += 1;
                core::PageResult::Done
            }
            Err(Error::Poison { .. }) => core::PageResult::Failed {
                code: Status::Poison as u8,
            },
            Err(_) => core::PageResult::Aborted,
        }
    }

    fn note(&mut self, direction: Direction, page: &PageMove) {
        let extent = Extent {
            dpa: page.device,
            pages: 1,
        };
        // The addresses came from the pool, so neither call can fail.
        let _ = self.pool.set_holder(extent, page.holder);
        match page.result {
            core::PageResult::Done if direction == Direction::ToDevice => {
                self.stats.pages_to_device += 1
            }
            core::PageResult::Done => self.stats.pages_to_host += 1,
            core::PageResult::Quarantined => {
                let _ = self.pool.quarantine(extent);
                self.lost_host.insert(page.host);
                self.stats.quarantined += 2;
                self.stats.page_errors += 1;
            }
            _ => self.stats.page_errors += 1,
        }
    }

    /// Moves host pages to new device pages.
    pub fn residents_to_device(&mut self, pages: &[super::HostPage]) -> Migration {
        let mut results = vec![PageResult::Busy; pages.len()];
        let mut wanted: BTreeMap<u64, usize> = BTreeMap::new();
        for (n, page) in pages.iter().enumerate() {
            if !self.host_pages.contains(&page.bus) || self.lost_host.contains(&page.bus) {
                results[n] = PageResult::NotRegistered;
            } else if self.resident.contains_key(&page.bus) {
                results[n] = PageResult::AlreadyThere;
            } else if let std::collections::btree_map::Entry::Vacant(entry) = wanted.entry(page.bus)
            {
                entry.insert(n);
                results[n] = PageResult::NoSpace;
            }
        }
        // In the order asked, so that contiguous host pages get contiguous device pages.
        let mut order: Vec<usize> = wanted.into_values().collect();
        order.sort_unstable();
        order.truncate(usize::try_from(self.pool.free_pages()).unwrap_or(usize::MAX));
        let extents = match self.alloc(OWNER_RESIDENT, order.len() as u64) {
            Ok(extents) => extents,
            Err(error) => {
                return Migration {
                    pages: results,
                    error: Some(error),
                    ..Migration::default()
                }
            }
        };
        let devices = extents.into_iter().flat_map(Extent::iter);
        let mut moves: Vec<PageMove> = order
            .iter()
            .zip(devices)
            .map(|(&n, dpa)| PageMove::new(pages[n].bus, dpa, Holder::Host))
            .collect();
        let mut migration = self.copy_pages(Direction::ToDevice, &mut moves, Holder::Device);
        for ((&n, page), result) in order.iter().zip(&moves).zip(&migration.pages) {
            results[n] = *result;
            if *result == PageResult::Moved {
                self.resident.insert(page.host, page.device);
            } else if let Err(error) = self.free_page(OWNER_RESIDENT, page.device) {
                migration.error.get_or_insert(error);
            }
        }
        migration.pages = results;
        migration
    }

    /// Moves pages that are on the device back to their host pages.
    pub fn residents_to_host(&mut self, pages: &[super::HostPage]) -> Migration {
        let mut results = vec![PageResult::AlreadyThere; pages.len()];
        let mut order = Vec::new();
        let mut moves = Vec::new();
        let mut seen = BTreeSet::new();
        for (n, page) in pages.iter().enumerate() {
            match self.resident.get(&page.bus) {
                _ if !self.host_pages.contains(&page.bus) || self.lost_host.contains(&page.bus) => {
                    results[n] = PageResult::NotRegistered
                }
                None => {}
                Some(_) if !seen.insert(page.bus) => results[n] = PageResult::Busy,
                Some(&dpa) => {
                    order.push(n);
                    moves.push(PageMove::new(page.bus, dpa, Holder::Device));
                }
            }
        }
        let mut migration = self.copy_pages(Direction::ToHost, &mut moves, Holder::Host);
        for ((&n, page), result) in order.iter().zip(&moves).zip(&migration.pages) {
            results[n] = *result;
            // A quarantined page stays listed: its data is on the device still.
            if *result == PageResult::Moved {
                self.resident.remove(&page.host);
                if let Err(error) = self.free_page(OWNER_RESIDENT, page.device) {
                    migration.error.get_or_insert(error);
                }
            }
        }
        migration.pages = results;
        migration
    }
}

/// Parts that one command can take.
fn split(extent: Extent) -> impl Iterator<Item = Extent> {
    (0..extent.pages)
        .step_by(MAX_PAGES as usize)
        .map(move |first| Extent {
            dpa: extent.dpa + u64::from(first) * core::PAGE_BYTES,
            pages: (extent.pages - first).min(MAX_PAGES),
        })
}
