//! The model device's own accesses: its ports, and the evictions of its filter.

use super::{Access, ModelDevice, Mutant, PortState};
use crate::coherent::{set_word, word, DeviceError, DeviceOp, Line, LINE};
use cxlmem_protocol::hdm_db::{self, Dir, Local, LocalStep, Phase};
use cxlmem_protocol::msg::{S2mBiSnp, S2mBiSnpOpcode};

impl ModelDevice {
    /// The access that waited for the snoop of this line ends.
    pub(super) fn end_access(&mut self, line: u64, served: bool) {
        if self.evicting == Some(line) {
            self.evicting = None;
            return;
        }
        let port = self.cells[line as usize].waits;
        let Some(access) = self.ports.get_mut(port).and_then(|p| p.access.take()) else {
            return;
        };
        let result = if served {
            Ok(self.access(&access))
        } else {
            Err(DeviceError::Snoop(line * LINE))
        };
        self.ports[port].result = Some(result);
    }

    /// The access to memory itself.
    fn access(&mut self, access: &Access) -> Line {
        let loses = self.sometimes(Mutant::LosesAdd);
        let always = self.mutated(Mutant::SwapsAlways);
        let data = &mut self.cells[access.line as usize].data;
        let old = *data;
        match access.op {
            DeviceOp::Load | DeviceOp::LoadOnce => {}
            DeviceOp::Store { data: new, enables } => hdm_db::merge(data, &new, enables),
            DeviceOp::FetchAdd { word: n, add } => {
                let n = usize::from(n);
                if !loses {
                    set_word(data, n, word(&old, n).wrapping_add(add));
                }
            }
            DeviceOp::CompareSwap {
                word: n,
                expected,
                new,
            } => {
                let n = usize::from(n);
                if always || word(&old, n) == expected {
                    set_word(data, n, new);
                }
            }
        }
        old
    }

    pub(super) fn snoop(&mut self, line: u64, opcode: S2mBiSnpOpcode, port: usize) {
        self.cells[line as usize].waits = port;
        let snoop = S2mBiSnp {
            opcode,
            bi_id: 0,
            bi_tag: line as u16,
            address: line * LINE,
        };
        self.bisnp.push(snoop);
        if self.sometimes(Mutant::SnoopsTwice) {
            self.bisnp.push(snoop);
        }
    }

    pub(super) fn step_port(&mut self, port: usize) {
        let Some(access) = self.ports[port].access else {
            return;
        };
        if access.snooped {
            return;
        }
        let n = access.line as usize;
        let mut line = self.cells[n].line;
        let stalled = self.stalled.iter().any(|m| m.line == access.line)
            || self.claim.is_some_and(|l| l != access.line);
        let reads = matches!(access.kind, Local::ReadCurrent | Local::ReadData);
        if line.phase == Phase::Stable {
            if (reads && self.mutated(Mutant::ReadsStale))
                || (!reads && line.dir == Dir::S && self.mutated(Mutant::WritesUnderSharers))
            {
                line.dir = Dir::I;
            }
            if line.dir == Dir::I && self.sometimes(Mutant::SnoopsForNothing) {
                line.dir = Dir::A;
            }
        }
        match hdm_db::local(line, access.kind, stalled) {
            LocalStep::Stall => {}
            LocalStep::Fail => {
                self.ports[port].access = None;
                self.ports[port].result = Some(Err(DeviceError::Snoop(access.line * LINE)));
            }
            LocalStep::Serve => {
                let old = self.access(&access);
                self.ports[port] = PortState {
                    access: None,
                    result: Some(Ok(old)),
                };
            }
            LocalStep::Snoop(opcode, mut next) => {
                next.dir = self.cells[n].line.dir;
                self.set_line(access.line, next);
                if let Some(a) = &mut self.ports[port].access {
                    a.snooped = true;
                }
                self.snoop(access.line, opcode, port);
            }
        }
    }

    /// Makes room for the request that waits for it.
    pub(super) fn step_evict(&mut self) {
        let Some(entries) = self.options.entries else {
            return;
        };
        if self.claim.is_none() || self.evicting.is_some() || self.recorded.len() < entries {
            return;
        }
        let nth = self.rng.below(self.recorded.len() as u64) as usize;
        let Some(&victim) = self.recorded.keys().nth(nth) else {
            return;
        };
        let line = self.cells[victim as usize].line;
        if let LocalStep::Snoop(opcode, next) = hdm_db::local(line, Local::Evict, false) {
            self.set_line(victim, next);
            self.evicting = Some(victim);
            self.evictions += 1;
            self.snoop(victim, opcode, self.options.ports);
        }
    }
}
