//! A behavioural device for tests: registers, host memory, device memory and the engine, as interfaces 4 and 5 describe them, with
//! faults to inject. It has no timing worth the name and is no evidence for the RTL.
//!
//! It also watches the contract of the driver (cxl-mem 8.6): [`Model::violations`] lists every engine access to a page whose lines the
//! host holds, and every host access to a page that the engine holds.
#![allow(dead_code)]

use cxlmem_driver_core::{engine, Clock, DmaMem, IoError, Mmio, LINE_BYTES, PAGE_BYTES};
use cxlmem_protocol::regs;
use engine::{Completion, Descriptor, Opcode, Status};
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

    // ---- the engine ----

    /// One descriptor, if there is one. Returns its cycles.
    fn work(&mut self) -> Option<u64> {
        let enabled = regs::EngCtrl::ENABLE.is_set(self.reg(regs::EngCtrl::OFFSET));
        if !enabled || self.frozen || self.head == self.reg(regs::EngTail::OFFSET) {
            return None;
        }
        if self
            .faults
            .freeze_after
            .is_some_and(|after| self.executed >= after)
        {
            self.frozen = true;
            if !self.faults.freeze_again {
                self.faults.freeze_after = None;
            }
            return None;
        }
        let mask = (1 << self.reg(regs::EngRingLog2::OFFSET)) - 1;
        let at = self.reg64(regs::EngRingLo::OFFSET)
            + u64::from(self.head) * engine::DESCRIPTOR_BYTES as u64;
        let mut bytes = [0u8; engine::DESCRIPTOR_BYTES];
        if self
            .host_access(at, bytes.len(), |part, at| {
                bytes[at..at + part.len()].copy_from_slice(part)
            })
            .is_err()
        {
            let fault = regs::EngStatus::FAULT.mask()
                | regs::EngStatus::FAULT_CODE.with(0, Status::DmaError as u32);
            self.regs.insert(regs::EngStatus::OFFSET, fault);
            self.frozen = true;
            return None;
        }
        let descriptor = Descriptor::unpack(&bytes).expect("reserved bytes are zero");
        self.log.push(descriptor);
        let (status, done, result) = self.execute(&descriptor);
        let cycles = 10 + u64::from(done);
        let record = Completion {
            id: descriptor.id,
            status: status as u8,
            phase: u8::from((self.completions / (mask + 1)) % 2 == 0),
            done,
            result,
            cycles: cycles as u32,
        };
        if self.faults.drop_completion != Some(self.executed) {
            let at = self.reg64(regs::EngCplLo::OFFSET)
                + u64::from(self.head) * engine::COMPLETION_BYTES as u64;
            let bytes = record.pack();
            let written = self.host_access(at, bytes.len(), |part, at| {
                part.copy_from_slice(&bytes[at..at + part.len()])
            });
            written.expect("completion ring");
            self.irq |= descriptor.flags & engine::flags::IRQ != 0
                && !self.faults.lose_irq
                && self.msi_enabled;
        }
        self.executed += 1;
        self.completions += 1;
        self.head = (self.head + 1) & mask;
        Some(cycles)
    }

    /// Checks that the engine may touch a device page.
    fn page_status(&mut self, dpa: u64) -> Status {
        let page = (dpa / PAGE_BYTES) as usize;
        if page >= self.device_owned.len() {
            return Status::DeviceRange;
        }
        if !self.device_owned[page] {
            return Status::HostOwned;
        }
        let start = dpa - dpa % PAGE_BYTES;
        if self.cache.range(start..start + PAGE_BYTES).next().is_some() {
            self.violations.push(format!(
                "engine access to DPA {dpa:#x} while a host cache holds lines of its page"
            ));
        }
        Status::Ok
    }

    fn host_line(&mut self, bus: u64, out: &mut [u8; LINE]) -> Status {
        if self.hdm_holds(bus) {
            return Status::HostInHdm;
        }
        if self
            .faults
            .bad_host_pages
            .contains(&(bus - bus % PAGE_BYTES))
        {
            return Status::DmaError;
        }
        match self.host_access(bus, LINE, |part, at| {
            out[at..at + part.len()].copy_from_slice(part)
        }) {
            Ok(()) => Status::Ok,
            Err(_) => Status::DmaError,
        }
    }

    /// Moves one line.
    fn copy_line(&mut self, to_device: bool, dpa: u64, bus: u64) -> Status {
        let at = dpa as usize;
        let mut line = [0; LINE];
        match self.page_status(dpa) {
            Status::Ok => {}
            other => return other,
        }
        match self.host_line(bus, &mut line) {
            Status::Ok => {}
            other => return other,
        }
        if to_device {
            self.dev[at..at + LINE].copy_from_slice(&line);
            self.poison.remove(&dpa);
            return Status::Ok;
        }
        if self.poison.contains(&dpa) {
            return Status::Poison;
        }
        let data = self.dev[at..at + LINE].to_vec();
        self.host_access(bus, LINE, |part, at| {
            part.copy_from_slice(&data[at..at + part.len()])
        })
        .expect("checked above");
        Status::Ok
    }

    fn execute(&mut self, d: &Descriptor) -> (Status, u32, u64) {
        let opcode = match d.check(self.dev.len() as u64) {
            Ok(opcode) => opcode,
            Err(status) => return (status, 0, 0),
        };
        let list = d.flags & engine::flags::LIST != 0;
        let host = d.flags & engine::flags::HOST != 0;
        match opcode {
            Opcode::Nop => (Status::Ok, d.count, 0),
            Opcode::SetOwner => {
                for n in 0..d.count {
                    let dpa = d.dev_addr + u64::from(n) * PAGE_BYTES;
                    let Some(owned) = self.device_owned.get_mut((dpa / PAGE_BYTES) as usize) else {
                        return (Status::DeviceRange, n, 0);
                    };
                    if self.faults.owner_fails == Some(dpa) {
                        return (Status::HostOwned, n, 0);
                    }
                    *owned = d.arg & 1 != 0;
                }
                (Status::Ok, d.count, 0)
            }
            Opcode::CopyToDevice | Opcode::CopyToHost => {
                self.copy(d, list, opcode == Opcode::CopyToDevice)
            }
            Opcode::Fill => self.each_line(d, false, |model, at, line| {
                line.chunks_exact_mut(8)
                    .for_each(|part| part.copy_from_slice(&d.arg.to_le_bytes()));
                model.dev[at..at + LINE].copy_from_slice(line);
                model.poison.remove(&(at as u64));
                0
            }),
            Opcode::Sum64 => {
                let mut sum = 0u64;
                let outcome = self.each_line(d, host, |_, _, line| {
                    let words = line
                        .chunks_exact(8)
                        .map(|word| u64::from_le_bytes(word.try_into().expect("8")));
                    sum = words.fold(sum, u64::wrapping_add);
                    sum
                });
                (outcome.0, outcome.1, sum)
            }
            Opcode::Crc32c => {
                let mut crc = d.arg as u32;
                let outcome = self.each_line(d, host, |_, _, line| {
                    crc = crc32c(crc, line);
                    0
                });
                (outcome.0, outcome.1, u64::from(crc))
            }
            Opcode::Chase => {
                let mut pointer = 0u64;
                for hop in 0..d.count {
                    let mut line = [0; LINE];
                    let base = if host { d.host_addr } else { d.dev_addr };
                    match self.load(base + pointer, host, &mut line) {
                        Status::Ok => {}
                        other => return (other, hop, pointer),
                    }
                    pointer = u64::from_le_bytes(line[..8].try_into().expect("8"));
                    if pointer % engine::POINTER_ALIGN != 0 || pointer >= engine::POINTER_LIMIT {
                        return (Status::BadPointer, hop, pointer);
                    }
                }
                (Status::Ok, d.count, pointer)
            }
        }
    }

    fn copy(&mut self, d: &Descriptor, list: bool, to_device: bool) -> (Status, u32, u64) {
        let unit = if list { PAGE_BYTES } else { LINE_BYTES };
        let units = if list {
            d.count
        } else {
            d.count / LINE_BYTES as u32
        };
        for n in 0..units {
            let bus = if list {
                let mut entry = [0; 8];
                let at = d.host_addr + u64::from(n) * 8;
                if self
                    .host_access(at, 8, |part, at| {
                        entry[at..at + part.len()].copy_from_slice(part)
                    })
                    .is_err()
                {
                    return (Status::DmaError, n, 0);
                }
                u64::from_le_bytes(entry)
            } else {
                d.host_addr + u64::from(n) * LINE_BYTES
            };
            if list && bus % PAGE_BYTES != 0 {
                return (Status::Misaligned, n, 0);
            }
            let dpa = d.dev_addr + u64::from(n) * unit;
            for line in (0..unit).step_by(LINE) {
                match self.copy_line(to_device, dpa + line, bus + line) {
                    Status::Ok => {}
                    other => return (other, if list { n } else { n * LINE_BYTES as u32 }, 0),
                }
            }
        }
        (Status::Ok, d.count, 0)
    }

    fn load(&mut self, address: u64, host: bool, line: &mut [u8; LINE]) -> Status {
        if host {
            return self.host_line(address, line);
        }
        match self.page_status(address) {
            Status::Ok if self.poison.contains(&address) => Status::Poison,
            Status::Ok => {
                line.copy_from_slice(&self.dev[address as usize..address as usize + LINE]);
                Status::Ok
            }
            other => other,
        }
    }

    fn each_line(
        &mut self,
        d: &Descriptor,
        host: bool,
        mut act: impl FnMut(&mut Model, usize, &mut [u8; LINE]) -> u64,
    ) -> (Status, u32, u64) {
        let base = if host { d.host_addr } else { d.dev_addr };
        let fill = d.opcode == Opcode::Fill as u8;
        for offset in (0..d.count).step_by(LINE) {
            let at = base + u64::from(offset);
            let mut line = [0; LINE];
            match self.load(at, host, &mut line) {
                Status::Ok => {}
                Status::Poison if fill => {}
                other => return (other, offset, 0),
            }
            act(self, at as usize, &mut line);
        }
        (Status::Ok, d.count, 0)
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

/// CRC-32C (Castagnoli, reflected, inverted in and out) over `data`, going on from `crc`.
pub fn crc32c(crc: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!crc, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 != 0 { 0x82F6_3B78 } else { 0 }
        })
    })
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
                let enabled = regs::LinkCtrl::ENABLE.is_set(self.reg(regs::LinkCtrl::OFFSET));
                regs::LinkStatus::UP.with(0, u32::from(enabled && !self.faults.link_down))
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
