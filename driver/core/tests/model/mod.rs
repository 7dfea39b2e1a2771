//! A behavioural device for tests: registers, host memory, device memory and the engine, as interfaces 4 and 5 describe them, with
//! faults to inject. It has no timing worth the name and is no evidence for the RTL.
//!
//! It also watches the contract of the driver (cxl-mem 8.6): [`Model::violations`] lists every engine access to a page whose lines the
//! host holds, and every host access to a page that the engine holds.
#![allow(dead_code)]

pub mod engine_model;

use cxlmem_driver_core::{engine, Clock, DmaMem, IoError, Mmio, LINE_BYTES, PAGE_BYTES};
use cxlmem_protocol::regs;
use engine::Descriptor;
use std::collections::{BTreeMap, BTreeSet};

const PAGE: usize = PAGE_BYTES as usize;
const LINE: usize = LINE_BYTES as usize;
/// First bus address of host memory.
pub const HOST_BASE: u64 = 0x1_0000_0000;

/// Faults. All off by default.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The engine freezes after so many descriptors; a reset thaws it.
    pub freeze_after: Option<u32>,
    /// ... and freezes again at the next descriptor after a reset.
    pub freeze_again: bool,
    /// ... and stays busy after a reset.
    pub stuck: bool,
    /// The completion record with this number (from 0, since the start) is never written.
    pub drop_completion: Option<u32>,
    /// Interrupts get lost.
    pub lose_irq: bool,
    /// Host pages that a DMA access fails on.
    pub bad_host_pages: BTreeSet<u64>,
    /// The link never comes up.
    pub link_down: bool,
    /// The memory never gets ready.
    pub media_down: bool,
    /// Decoders refuse to commit.
    pub decoder_error: bool,
    /// Decoders never answer a commit.
    pub decoder_silent: bool,
    /// Values in place of registers.
    pub override_read: BTreeMap<u32, u32>,
    /// Every access fails.
    pub gone: bool,
    /// Time stands still.
    pub clock_stopped: bool,
    /// Flushes fail for this device page.
    pub flush_fails: Option<u64>,
    /// Microseconds of real time that an engine command takes (to provoke races between threads).
    pub slow_us: u64,
    /// `SET_OWNER` fails for this device page.
    pub owner_fails: Option<u64>,
}

/// The device and its host.
pub struct Model {
    pub regs: BTreeMap<u32, u32>,
    pub dev: Vec<u8>,
    pub device_owned: Vec<bool>,
    /// Poisoned lines, by DPA.
    pub poison: BTreeSet<u64>,
    host: BTreeMap<u64, Box<[u8; PAGE]>>,
    host_next: u64,
    /// Lines that the host caches: by DPA, data and dirty.
    pub cache: BTreeMap<u64, ([u8; LINE], bool)>,
    pub now: u64,
    irq: bool,
    head: u32,
    executed: u32,
    completions: u32,
    frozen: bool,
    pub faults: Faults,
    pub violations: Vec<String>,
    /// Every descriptor executed.
    pub log: Vec<Descriptor>,
    /// Register writes.
    pub writes: Vec<(u32, u32)>,
    pub msi_enabled: bool,
    /// The host's end of the link offers BI-68.
    pub host_offers_bi: bool,
}

impl Model {
    pub fn new(pages: usize) -> Model {
        let mut model = Model {
            regs: regs::REGS
                .iter()
                .map(|reg| (reg.offset, reg.reset))
                .collect(),
            dev: vec![0xDD; pages * PAGE],
            device_owned: vec![false; pages],
            poison: BTreeSet::new(),
            host: BTreeMap::new(),
            host_next: HOST_BASE,
            cache: BTreeMap::new(),
            now: 0,
            irq: false,
            head: 0,
            executed: 0,
            completions: 0,
            frozen: false,
            faults: Faults::default(),
            violations: Vec::new(),
            log: Vec::new(),
            writes: Vec::new(),
            msi_enabled: true,
            host_offers_bi: false,
        };
        let capacity = (pages * PAGE) as u64;
        let caps = [regs::Caps::ENGINE, regs::Caps::SIMULATED, regs::Caps::MSIX]
            .iter()
            .fold(0, |caps, f| f.with(caps, 1));
        model.regs.insert(regs::Caps::OFFSET, caps);
        model.regs.insert(regs::CapacityLo::OFFSET, capacity as u32);
        model
            .regs
            .insert(regs::CapacityHi::OFFSET, (capacity >> 32) as u32);
        model.regs.insert(regs::ClockKhz::OFFSET, 100_000);
        model
            .regs
            .insert(regs::MediaStatus::OFFSET, regs::MediaStatus::READY.mask());
        model
    }

    /// Host pages that are allocated now.
    pub fn host_pages(&self) -> usize {
        self.host.len()
    }

    pub fn alloc(&mut self, bytes: usize) -> u64 {
        let bus = self.host_next;
        for n in 0..bytes.div_ceil(PAGE) {
            self.host
                .insert(bus + (n * PAGE) as u64, Box::new([0; PAGE]));
        }
        // A hole between allocations, so that overruns are seen.
        self.host_next += (bytes.div_ceil(PAGE) * PAGE + PAGE) as u64;
        bus
    }

    pub fn free(&mut self, bus: u64, bytes: usize) {
        for n in 0..bytes.div_ceil(PAGE) {
            if self.host.remove(&(bus + (n * PAGE) as u64)).is_none() {
                self.violations
                    .push(format!("free of {bus:#x}, which is not allocated"));
            }
        }
    }

    pub fn host_access(
        &mut self,
        bus: u64,
        length: usize,
        mut act: impl FnMut(&mut [u8], usize),
    ) -> Result<(), IoError> {
        let mut at = 0;
        while at < length {
            let address = bus + at as u64;
            let offset = (address % PAGE_BYTES) as usize;
            let size = (PAGE - offset).min(length - at);
            let page = self
                .host
                .get_mut(&(address - offset as u64))
                .ok_or(IoError::Address)?;
            act(&mut page[offset..offset + size], at);
            at += size;
        }
        Ok(())
    }

    pub fn host_bytes(&mut self, bus: u64, length: usize) -> Vec<u8> {
        let mut out = vec![0; length];
        self.host_access(bus, length, |part, at| {
            out[at..at + part.len()].copy_from_slice(part)
        })
        .expect("host memory");
        out
    }

    /// A whole page of host memory.
    pub fn host_page(&self, bus: u64) -> Vec<u8> {
        self.host[&bus].to_vec()
    }

    fn reg(&self, offset: u32) -> u32 {
        self.regs.get(&offset).copied().unwrap_or(0)
    }

    fn reg64(&self, low: u32) -> u64 {
        u64::from(self.reg(low)) | u64::from(self.reg(low + 4)) << 32
    }

    pub fn hdm_base(&self) -> u64 {
        self.reg64(regs::Hdm0BaseLo::OFFSET)
    }

    fn hdm_holds(&self, address: u64) -> bool {
        let committed = regs::Hdm0Ctrl::COMMITTED.is_set(self.reg(regs::Hdm0Ctrl::OFFSET));
        committed
            && address
                .checked_sub(self.hdm_base())
                .is_some_and(|offset| offset < self.reg64(regs::Hdm0SizeLo::OFFSET))
    }

    /// The decoder is one of device-coherent memory: pages have no owner.
    fn device_coherent(&self) -> bool {
        regs::Hdm0Ctrl::BI.is_set(self.reg(regs::Hdm0Ctrl::OFFSET))
    }

    fn busy(&self) -> bool {
        self.frozen || self.head != self.reg(regs::EngTail::OFFSET)
    }

    // ---- the host's cache ----

    fn dpa(&mut self, hpa: u64) -> Result<u64, IoError> {
        let dpa = hpa.wrapping_sub(self.hdm_base());
        if !self.hdm_holds(hpa) || dpa >= self.dev.len() as u64 {
            return Err(IoError::Address);
        }
        // A frozen engine touches nothing: the driver may then take pages back without it.
        if self.device_owned[(dpa / PAGE_BYTES) as usize] && !self.frozen {
            self.violations
                .push(format!("host access to device-held page at DPA {dpa:#x}"));
        }
        Ok(dpa)
    }

    /// A load through the coherent protocol. `true`: poisoned.
    pub fn line_read(&mut self, hpa: u64, line: &mut [u8; LINE]) -> Result<bool, IoError> {
        let dpa = self.dpa(hpa)?;
        if self.poison.contains(&dpa) {
            return Ok(true);
        }
        let at = dpa as usize;
        let stored: [u8; LINE] = self.dev[at..at + LINE].try_into().expect("a line");
        *line = self.cache.entry(dpa).or_insert((stored, false)).0;
        Ok(false)
    }

    pub fn line_write(&mut self, hpa: u64, line: &[u8; LINE]) -> Result<(), IoError> {
        let dpa = self.dpa(hpa)?;
        self.cache.insert(dpa, (*line, true));
        Ok(())
    }

    pub fn flush(&mut self, dpa: u64, bytes: u64) -> Result<(), IoError> {
        if self
            .faults
            .flush_fails
            .is_some_and(|page| page >= dpa && page < dpa + bytes)
        {
            return Err(IoError::Timeout);
        }
        let lines: Vec<u64> = self
            .cache
            .range(dpa..dpa + bytes)
            .map(|(&line, _)| line)
            .collect();
        for line in lines {
            let Some((data, dirty)) = self.cache.remove(&line) else {
                continue;
            };
            if dirty {
                self.dev[line as usize..line as usize + LINE].copy_from_slice(&data);
                self.poison.remove(&line);
            }
        }
        Ok(())
    }

    /// Lets time pass; `true` if the interrupt was raised (it is then taken).
    pub fn advance(&mut self, ticks: u64) -> bool {
        let spent = if self.faults.gone { None } else { self.work() };
        if !self.faults.clock_stopped {
            self.now += spent.unwrap_or(ticks);
        }
        std::mem::take(&mut self.irq)
    }
}

impl Mmio for Model {
    fn read32(&mut self, offset: u32) -> Result<u32, IoError> {
        if self.faults.gone {
            return Err(IoError::Gone);
        }
        if let Some(value) = self.faults.override_read.get(&offset) {
            return Ok(*value);
        }
        Ok(match offset {
            regs::LinkStatus::OFFSET => {
                let control = self.reg(regs::LinkCtrl::OFFSET);
                let up = regs::LinkCtrl::ENABLE.is_set(control) && !self.faults.link_down;
                let agreed = regs::LinkCtrl::OFFER_BI.is_set(control) && self.host_offers_bi;
                let status = regs::LinkStatus::UP.with(0, u32::from(up));
                regs::LinkStatus::BI.with(status, u32::from(up && agreed))
            }
            regs::MediaStatus::OFFSET if self.faults.media_down => 0,
            regs::EngHead::OFFSET => self.head,
            regs::EngStatus::OFFSET => {
                regs::EngStatus::BUSY.with(self.reg(offset), u32::from(self.busy()))
            }
            _ => self.reg(offset),
        })
    }

    fn write32(&mut self, offset: u32, value: u32) -> Result<(), IoError> {
        if self.faults.gone {
            return Err(IoError::Gone);
        }
        self.writes.push((offset, value));
        let mut value = value;
        match offset {
            regs::EngCtrl::OFFSET if regs::EngCtrl::SOFT_RESET.is_set(value) => {
                value = 0;
                self.head = 0;
                self.completions = 0;
                self.irq = false;
                self.frozen &= self.faults.stuck;
                self.regs.insert(regs::EngTail::OFFSET, 0);
                self.regs.insert(regs::EngStatus::OFFSET, 0);
            }
            regs::Hdm0Ctrl::OFFSET => {
                use regs::Hdm0Ctrl as Ctrl;
                let before = self.reg(offset);
                if Ctrl::COMMITTED.is_set(before) && Ctrl::LOCK.is_set(before) {
                    return Ok(());
                }
                let commit = Ctrl::COMMIT.is_set(value) && !self.faults.decoder_silent;
                value =
                    Ctrl::COMMITTED.with(value, u32::from(commit && !self.faults.decoder_error));
                value = Ctrl::ERROR.with(value, u32::from(commit && self.faults.decoder_error));
            }
            _ => {}
        }
        self.regs.insert(offset, value);
        Ok(())
    }
}

impl DmaMem for Model {
    fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Result<(), IoError> {
        let length = out.len();
        self.host_access(bus, length, |part, at| {
            out[at..at + part.len()].copy_from_slice(part)
        })
    }
    fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<(), IoError> {
        self.host_access(bus, data.len(), |part, at| {
            part.copy_from_slice(&data[at..at + part.len()])
        })
    }
}

impl Clock for Model {
    fn now(&mut self) -> u64 {
        self.now
    }
    fn pause(&mut self, ticks: u64) {
        self.advance(ticks);
    }
}
