//! BAR2: loads and stores as CXL.mem transactions.

use super::Model;
use crate::counters::Counters;
use cxlmem_sim::Op;
use std::time::Instant;

/// Bytes of a line.
const LINE: u64 = 64;

impl Model {
    /// Host physical address of byte `offset` of the window, if decoder 0 takes all of the access and the link is there.
    fn hpa(&self, offset: u64, bytes: usize) -> Option<u64> {
        let d = &self.decoder;
        let inside = offset.checked_add(bytes as u64)? <= d.size;
        let up = self.system.link().is_up() && !self.system.link().has_failed();
        (d.committed
            && self.decoding
            && inside
            && up
            && self.system.config_space().memory_enabled())
        .then_some(d.base + offset)
    }

    /// Loads; what does not arrive leaves the ones that are there.
    pub(super) fn load(&mut self, offset: u64, out: &mut [u8], due: Instant) {
        Counters::one(&self.counters.window_loads);
        let Some(from) = self.hpa(offset, out.len()) else {
            return Counters::one(&self.counters.undecoded);
        };
        let end = from + out.len() as u64;
        let mut line = from & !(LINE - 1);
        while line < end && Instant::now() < due {
            match self.system.operate(line, Op::READ) {
                Ok(done) if done.poison => Counters::one(&self.counters.poisoned_loads),
                Ok(done) if !done.nxm => {
                    for (at, byte) in (line..).zip(done.data.unwrap_or([0xFF; 64])) {
                        if (from..end).contains(&at) {
                            out[(at - from) as usize] = byte;
                        }
                    }
                }
                Ok(_) => Counters::one(&self.counters.window_errors),
                Err(_) => return Counters::one(&self.counters.window_errors),
            }
            line += LINE;
        }
    }

    /// Stores, in address order; each line's response is awaited.
    pub(super) fn store(&mut self, offset: u64, data: &[u8]) {
        Counters::one(&self.counters.window_stores);
        let Some(from) = self.hpa(offset, data.len()) else {
            return Counters::one(&self.counters.undecoded);
        };
        let end = from + data.len() as u64;
        let mut line = from & !(LINE - 1);
        while line < end {
            let (mut bytes, mut enables) = ([0; LINE as usize], 0u64);
            for n in 0..LINE {
                if (from..end).contains(&(line + n)) {
                    bytes[n as usize] = data[(line + n - from) as usize];
                    enables |= 1 << n;
                }
            }
            let op = if enables == u64::MAX {
                Op::write(bytes)
            } else {
                Op::WritePartial {
                    data: bytes,
                    enables,
                    poison: false,
                    meta: None,
                }
            };
            if self.system.operate(line, op).is_err() {
                return Counters::one(&self.counters.window_errors);
            }
            line += LINE;
        }
    }
}
