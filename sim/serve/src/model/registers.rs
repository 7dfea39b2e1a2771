//! BAR0: requests of DWs to the controller.

use super::Model;
use crate::counters::Counters;
use cxlmem_protocol::hdm::Decoder;
use cxlmem_protocol::regs;
use pcie_sim::config::regs::msix;
use std::time::Instant;

/// The MSI-X table: the client's own, by the rules of VFIO. The controller's holds messages that only this server reads.
const TABLE: std::ops::Range<u64> =
    regs::MSIX_TABLE as u64..regs::MSIX_TABLE as u64 + regs::MSIX_VECTORS as u64 * msix::ENTRY;

/// Reads of a decoder's control until it is committed or refused.
const COMMIT_READS: usize = 64;

impl Model {
    /// Reads whole DWs and takes the bytes asked for; all ones from the first one that does not answer on.
    pub(super) fn read_registers(&mut self, offset: u64, out: &mut [u8], due: Instant) {
        let end = offset + out.len() as u64;
        let mut dw = offset & !3;
        while dw < end {
            if Instant::now() >= due {
                return Counters::one(&self.counters.register_errors);
            }
            let value = if TABLE.contains(&dw) {
                0
            } else {
                match self.register(dw as u32) {
                    Some(value) => value,
                    None => return,
                }
            };
            for (n, byte) in (dw..).zip(value.to_le_bytes()) {
                if (offset..end).contains(&n) {
                    out[(n - offset) as usize] = byte;
                }
            }
            dw += 4;
        }
    }

    fn register(&mut self, offset: u32) -> Option<u32> {
        Counters::one(&self.counters.register_reads);
        let value = self.system.mmio_read32(offset).ok();
        if value.is_none() {
            Counters::one(&self.counters.register_errors);
        }
        value
    }

    /// Writes DWs. The controller takes no others.
    pub(super) fn write_registers(&mut self, offset: u64, data: &[u8]) {
        if offset % 4 != 0 || data.len() % 4 != 0 {
            return Counters::one(&self.counters.refused);
        }
        for (at, dw) in (offset..).step_by(4).zip(data.chunks_exact(4)) {
            if TABLE.contains(&at) {
                continue;
            }
            let value = dw.iter().rev().fold(0, |v, &b| v << 8 | u32::from(b));
            let at = at as u32;
            Counters::one(&self.counters.register_writes);
            if self.system.mmio_write32(at, value).is_err() {
                Counters::one(&self.counters.register_errors);
            }
            match at {
                // A commit, or the end of one.
                regs::Hdm0Ctrl::OFFSET | regs::HdmGlobalCtrl::OFFSET => self.read_decoder(),
                regs::EngTail::OFFSET | regs::EngCtrl::OFFSET => self.engine_busy = true,
                _ => {}
            }
        }
    }

    /// Takes over what decoder 0 says, once its commit has come to an end.
    fn read_decoder(&mut self) {
        let mut control = 0;
        for _ in 0..COMMIT_READS {
            let Ok(value) = self.system.mmio_read32(regs::Hdm0Ctrl::OFFSET) else {
                return;
            };
            control = value;
            let ended =
                regs::Hdm0Ctrl::COMMITTED.is_set(value) || regs::Hdm0Ctrl::ERROR.is_set(value);
            if !regs::Hdm0Ctrl::COMMIT.is_set(value) || ended {
                break;
            }
        }
        let mut read = |offset| self.system.mmio_read32(offset).unwrap_or(0);
        let registers = [
            read(regs::Hdm0BaseLo::OFFSET),
            read(regs::Hdm0BaseHi::OFFSET),
            read(regs::Hdm0SizeLo::OFFSET),
            read(regs::Hdm0SizeHi::OFFSET),
            control,
            read(regs::Hdm0SkipLo::OFFSET),
            read(regs::Hdm0SkipHi::OFFSET),
        ];
        self.decoding = regs::HdmGlobalCtrl::ENABLE.is_set(read(regs::HdmGlobalCtrl::OFFSET));
        let decoder = Decoder::from_registers(&registers);
        if decoder != self.decoder {
            self.decoder = decoder;
            self.choose_home();
        }
    }
}
