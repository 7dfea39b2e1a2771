//! The engine of the behavioural device: descriptors as interfaces 5 describes them.

use super::{Model, LINE};
use cxlmem_driver_core::{engine, LINE_BYTES, PAGE_BYTES};
use cxlmem_protocol::regs;
use engine::{Completion, Descriptor, Opcode, Status};

impl Model {
    /// One descriptor, if there is one. Returns its cycles.
    pub(super) fn work(&mut self) -> Option<u64> {
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
        let start = dpa - dpa % PAGE_BYTES;
        if self.device_coherent() {
            // A snoop: the host writes back and gives the lines up.
            self.flush(start, PAGE_BYTES).expect("no fault of a flush");
            return Status::Ok;
        }
        if !self.device_owned[page] {
            return Status::HostOwned;
        }
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
            Opcode::FetchAdd | Opcode::CompareSwap => {
                let at = d.dev_addr as usize;
                let line = d.dev_addr & !(LINE as u64 - 1);
                match self.page_status(d.dev_addr) {
                    Status::Ok => {}
                    other => return (other, 0, 0),
                }
                if self.poison.contains(&line) {
                    return (Status::Poison, 0, 0);
                }
                let old = u64::from_le_bytes(self.dev[at..at + 8].try_into().expect("8"));
                let new = match opcode {
                    Opcode::FetchAdd => old.wrapping_add(d.arg),
                    _ if old == d.arg => d.host_addr,
                    _ => old,
                };
                self.dev[at..at + 8].copy_from_slice(&new.to_le_bytes());
                (Status::Ok, 1, old)
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
}

/// CRC-32C (Castagnoli, reflected, inverted in and out) over `data`, going on from `crc`.
pub fn crc32c(crc: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!crc, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ if crc & 1 != 0 { 0x82F6_3B78 } else { 0 }
        })
    })
}
