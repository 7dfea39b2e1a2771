//! What happens to a page: faults bring it in, eviction writes it back and takes it away, migration moves its home.
//!
//! Locks, in this order: a page's [`Claim`] (or a pin on its home), then the device's lock, then that of the [`super::held::Holdings`]. A snoop
//! comes inside a call of the device, under its lock: it takes the last lock only, and never waits for a claim, whose owner may be
//! waiting for the device. Region memory is read where a page is taken away, when it is present and protected, so that the read does not
//! fault: a fault under the device's lock could never be served.

use super::held::Window;
use super::table::{Claim, Map, Table};
use super::{RegionStats, Residency, Side};
use crate::device::{Device, Migration, PageResult};
use crate::error::{Error, Result};
use crate::transport::{Intent, LINE, PAGE};
use cxlmem_driver_core::{Direction, Extent, Holder, OwnerId, PageMove};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Counters behind [`RegionStats`].
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub read_faults: AtomicU64,
    pub write_faults: AtomicU64,
    pub pages_written_back: AtomicU64,
    pub lines_written_back: AtomicU64,
    pub bus_errors: AtomicU64,
}

/// A region's insides, shared by its handle, its pagers and the thread that serves its faults.
#[derive(Debug)]
pub(super) struct Inner {
    pub device: Arc<Device>,
    pub owner: OwnerId,
    pub window: Arc<Window>,
    pub table: Table,
    pub counters: Counters,
    /// How long an operation waits for a busy page.
    pub busy_wait: Duration,
    /// The last error of a fault, with its page.
    pub last_error: Mutex<Option<(usize, Error)>>,
}

fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

fn intent(write: bool) -> Intent {
    match write {
        true => Intent::Exclusive,
        false => Intent::Shared,
    }
}

impl Inner {
    pub fn pages(&self) -> usize {
        self.window.mapping.bytes() / PAGE
    }

    /// Host physical address of a page that the process holds by [`super::held`]: one of device-coherent memory.
    pub fn held_at(&self, home: Residency) -> Option<u64> {
        let info = self.device.info();
        match home {
            Residency::Device { dpa } if info.device_coherent => Some(info.window.base + dpa),
            _ => None,
        }
    }

    pub fn deadline(&self) -> Instant {
        Instant::now() + self.busy_wait
    }

    pub fn stats(&self) -> RegionStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RegionStats {
            read_faults: get(&self.counters.read_faults),
            write_faults: get(&self.counters.write_faults),
            pages_written_back: get(&self.counters.pages_written_back),
            lines_written_back: get(&self.counters.lines_written_back),
            bus_errors: get(&self.counters.bus_errors),
            pages_recalled: get(&self.window.pages_recalled),
            lines_recalled: get(&self.window.lines_recalled),
        }
    }

    /// Gives a page back and wakes the threads that wait for it.
    pub fn release(&self, claim: Claim) {
        let address = self.window.mapping.address(claim.page);
        self.table.release(claim);
        // It fails only for a range that is not mapped.
        let _ = self.window.uffd.wake(address);
    }

    // ---- bringing a page in ----

    /// Serves a fault. A page that another thread has claimed is left: that thread wakes the faulting one, which then faults again.
    pub fn fault(&self, page: usize, write: bool) {
        let Some(mut claim) = self.table.try_claim(page) else {
            return;
        };
        let counter = if write {
            &self.counters.write_faults
        } else {
            &self.counters.read_faults
        };
        count(counter, 1);
        // The error was kept for `last_error`; the faulting thread gets a SIGBUS.
        let _ = self.install(&mut claim, write);
        self.release(claim);
    }

    /// Makes a page present, for reading or for writing. On an error every access to it is a SIGBUS from now on.
    pub fn install(&self, claim: &mut Claim, write: bool) -> Result<()> {
        let address = self.window.mapping.address(claim.page);
        let result = match (&claim.map, write) {
            (Map::Absent, _) if self.held_at(claim.home).is_some() => self.hold(claim, write),
            (Map::Absent, _) => self.fetch(claim.home, write).and_then(|data| {
                self.window.uffd.copy(address, &data, !write)?;
                claim.map = if write { Map::Owned(data) } else { Map::Shared };
                Ok(())
            }),
            (Map::Shared, true) => self.fetch(claim.home, true).and_then(|data| {
                self.window.uffd.write_protect(address, false)?;
                claim.map = Map::Owned(data);
                Ok(())
            }),
            // Protected for a write-back that failed.
            (Map::Owned(_), true) => return self.window.uffd.write_protect(address, false),
            (Map::Owned(_) | Map::Shared, _) => return Ok(()),
            (Map::Poisoned, _) => {
                let reason =
                    "it was poisoned or unreadable before: evict it to try again".to_string();
                return Err(Error::Fault {
                    page: claim.page,
                    reason,
                });
            }
        };
        if result.is_err() {
            self.bus_error(claim);
        }
        result.map_err(|error| self.keep(claim.page, error))
    }

    /// Gets the lines of a device-coherent page and puts it in place.
    fn hold(&self, claim: &Claim, write: bool) -> Result<()> {
        let Residency::Device { dpa } = claim.home else {
            return Ok(());
        };
        let holdings = &self.device.holdings;
        let mut state = self.device.lock();
        let hpa = state.hpa(dpa);
        if holdings.grant(hpa, write)? {
            return Ok(());
        }
        let mut data = Box::new([0u8; PAGE]);
        data.copy_from_slice(state.load_page(dpa, intent(write))?.as_flattened());
        // Still under the device's lock: no snoop has come since.
        holdings.put(hpa, &self.window, claim.page, data, write)
    }

    /// Keeps an error for [`super::Pager::last_error`] and returns one that says as much.
    fn keep(&self, page: usize, error: Error) -> Error {
        let copy = match &error {
            Error::Poison { dpa } => Error::Poison { dpa: *dpa },
            other => Error::Fault {
                page,
                reason: other.to_string(),
            },
        };
        *self
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((page, error));
        copy
    }

    /// Makes every access to the page a SIGBUS.
    fn bus_error(&self, claim: &mut Claim) {
        // A page that is present is clean (shared): nothing is lost.
        if let Some(hpa) = self.held_at(claim.home) {
            let holdings = &self.device.holdings;
            // But for one whose protection could not be lifted: its store faults again.
            if holdings.writable(hpa) == Some(true) || holdings.release(hpa).is_err() {
                return;
            }
        }
        count(&self.counters.bus_errors, 1);
        let made = self.window.mapping.discard(claim.page).and_then(|()| {
            if self.window.poison_by_uffd {
                self.window
                    .uffd
                    .poison(self.window.mapping.address(claim.page))
            } else {
                self.window.mapping.bus_error(claim.page)
            }
        });
        claim.map = if made.is_ok() {
            Map::Poisoned
        } else {
            Map::Absent
        };
    }

    /// A page's data from its home.
    fn fetch(&self, home: Residency, write: bool) -> Result<Box<[u8; PAGE]>> {
        let mut data = Box::new([0u8; PAGE]);
        let mut state = self.device.lock();
        match home {
            Residency::Device { dpa } => {
                let lines = state.load_page(dpa, intent(write))?;
                data.copy_from_slice(lines.as_flattened());
            }
            Residency::Host { bus } => {
                state.open_check()?;
                state.dma_read(bus, &mut data[..])?;
            }
        }
        Ok(data)
    }

    // ---- taking a page away ----

    /// Writes a page's dirty lines to its home and takes the page away. On an error it stays, and so do its changes.
    pub fn unmap(&self, claim: &mut Claim) -> Result<()> {
        match std::mem::take(&mut claim.map) {
            Map::Absent => self.give_back(claim),
            Map::Shared => self.window.mapping.discard(claim.page),
            Map::Owned(before) => {
                let result = self
                    .write_back(claim, &before)
                    .and_then(|()| self.window.mapping.discard(claim.page));
                if result.is_err() {
                    claim.map = Map::Owned(before);
                }
                result
            }
            Map::Poisoned => {
                if self.window.poison_by_uffd {
                    return self.window.mapping.discard(claim.page);
                }
                self.window.mapping.restore(claim.page)?;
                self.window
                    .uffd
                    .register(self.window.mapping.address(claim.page), PAGE)
            }
        }
    }

    /// Takes a device-coherent page away if it is held; its changed lines go to the host's caches.
    fn give_back(&self, claim: &Claim) -> Result<()> {
        let Some(hpa) = self.held_at(claim.home) else {
            return Ok(());
        };
        let holdings = &self.device.holdings;
        let mut state = self.device.lock();
        let Some(lines) = holdings.changed(hpa)? else {
            return Ok(());
        };
        if !lines.is_empty() {
            state.return_lines(&lines)?;
            count(&self.counters.lines_written_back, lines.len() as u64);
            count(&self.counters.pages_written_back, 1);
        }
        holdings.release(hpa)
    }

    fn write_back(&self, claim: &Claim, before: &[u8; PAGE]) -> Result<()> {
        self.window
            .uffd
            .write_protect(self.window.mapping.address(claim.page), true)?;
        let now = self.window.mapping.read_page(claim.page);
        // From here on only local memory.
        let mut state = self.device.lock();
        let mut written = 0;
        let lines = now
            .chunks_exact(LINE)
            .zip(before.chunks_exact(LINE))
            .enumerate();
        for (n, (new, _)) in lines.filter(|(_, (new, old))| new != old) {
            let mut line = [0; LINE];
            line.copy_from_slice(new);
            let offset = (n * LINE) as u64;
            match claim.home {
                Residency::Device { dpa } => state.store_line(dpa + offset, &line)?,
                Residency::Host { bus } => state.dma_write(bus + offset, &line)?,
            }
            written += 1;
        }
        count(&self.counters.lines_written_back, written);
        count(&self.counters.pages_written_back, u64::from(written > 0));
        Ok(())
    }

    /// Writes a page back to its home, through the host's caches, and takes it away.
    pub fn evict(&self, claim: &mut Claim) -> Result<()> {
        // The host's caches may hold lines of a page that was taken away for a snoop.
        let mapped = !matches!(claim.map, Map::Absent) || self.held_at(claim.home).is_some();
        self.unmap(claim)?;
        match claim.home {
            Residency::Device { dpa } if mapped => {
                self.device.lock().flush(Extent { dpa, pages: 1 })
            }
            _ => Ok(()),
        }
    }

    // ---- moving a page's home ----

    /// Moves up to 512 pages.
    pub fn migrate(&self, pages: Range<usize>, to: Side) -> Migration {
        let first = pages.start;
        let mut migration = Migration {
            pages: vec![PageResult::Busy; pages.len()],
            ..Migration::default()
        };
        let mut claims = Vec::with_capacity(pages.len());
        let deadline = self.deadline();
        for page in pages {
            let mut claim = match self.table.claim(page, deadline) {
                Ok(claim) => claim,
                Err(Error::Busy { .. }) => continue,
                Err(error) => {
                    migration.error = Some(error);
                    break;
                }
            };
            let result = if claim.home.side() == to {
                PageResult::AlreadyThere
            } else if self.table.moving(&claim, deadline).is_err() {
                PageResult::Busy
            } else if self.unmap(&mut claim).is_err() {
                PageResult::FlushFailed
            } else {
                claims.push(claim);
                continue;
            };
            migration.pages[page - first] = result;
            self.release(claim);
        }
        self.move_homes(&mut claims, to, first, &mut migration);
        claims.into_iter().for_each(|claim| self.release(claim));
        migration
    }

    fn move_homes(&self, claims: &mut [Claim], to: Side, first: usize, migration: &mut Migration) {
        let mut state = self.device.lock();
        let targets: Vec<u64> = match to {
            Side::Device => {
                let wanted = state.pool.free_pages().min(claims.len() as u64);
                let extents = state.alloc(self.owner, wanted).unwrap_or_default();
                extents.into_iter().flat_map(Extent::iter).collect()
            }
            Side::Host => claims
                .iter()
                .map_while(|_| state.dma_alloc(PAGE).ok())
                .collect(),
        };
        let mut moves: Vec<PageMove> = claims
            .iter()
            .zip(&targets)
            .map(|(claim, &target)| match claim.home {
                Residency::Host { bus } => PageMove::new(bus, target, Holder::Host),
                Residency::Device { dpa } => PageMove::new(target, dpa, Holder::Host),
            })
            .collect();
        let direction = match to {
            Side::Device => Direction::ToDevice,
            Side::Host => Direction::ToHost,
        };
        let copied = state.copy_pages(direction, &mut moves, Holder::Device);
        migration.engine_cycles += copied.engine_cycles;
        migration.device_cycles += copied.device_cycles;
        if migration.error.is_none() {
            migration.error = copied.error;
        }
        for (n, claim) in claims.iter_mut().enumerate() {
            let result = copied.pages.get(n).copied().unwrap_or(PageResult::NoSpace);
            migration.pages[claim.page - first] = result;
            let Some(page) = moves.get(n) else { continue };
            let (host, device) = (
                Residency::Host { bus: page.host },
                Residency::Device { dpa: page.device },
            );
            let (old, new) = match to {
                Side::Device => (host, device),
                Side::Host => (device, host),
            };
            let unused = if result == PageResult::Moved {
                claim.home = new;
                old
            } else {
                new
            };
            if let Err(error) = self.free_home(&mut state, unused) {
                migration.error.get_or_insert(error);
            }
        }
    }

    /// Frees a home that no page uses any more. One that DMA may still touch is never freed.
    pub fn free_home(&self, state: &mut crate::device::State, home: Residency) -> Result<()> {
        match home {
            Residency::Device { dpa } => state.free_page(self.owner, dpa),
            Residency::Host { bus } => {
                if !state.lost_host.contains(&bus) {
                    state.port.transport.dma_free(bus, PAGE);
                }
                Ok(())
            }
        }
    }
}
