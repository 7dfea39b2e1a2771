//! Responses: finding their operation, and checking them against the golden memory.

use super::golden::Line;
use super::{Difference, Done, Home, HomeError, InFlight, Op, Waiting};
use crate::link::Response;
use cxlmem_protocol::msg::{MetaField, MetaValue, S2mDrs, S2mDrsOpcode, S2mNdr, S2mNdrOpcode};

impl Home {
    /// Takes a response from the link.
    pub fn receive(&mut self, now: u64, response: &Response) {
        match response {
            Response::Ndr(ndr) => self.receive_ndr(now, ndr),
            Response::Drs(drs, data) => self.receive_drs(now, drs, data),
            // Over HDM-H there is nothing to snoop.
            Response::BiSnp(_) => self.counters.strays += 1,
        }
    }

    /// Takes the operation with that tag out of flight.
    fn take(&mut self, now: u64, tag: u16, response: &'static str) -> Option<InFlight> {
        let n = usize::from(tag as u8);
        let Some(op) = self.slots[n].take_if(|op| op.tag == tag) else {
            self.counters.strays += 1;
            if self.counters.timeouts == 0 {
                // Nothing was ever given up, so this is no late answer.
                let difference = Difference {
                    cycle: now,
                    tag,
                    position: self.first + self.outcomes.len() as u64,
                    address: 0,
                    what: format!("{response} with a tag that is not in use"),
                };
                self.wrong.get_or_insert(difference);
            }
            return None;
        };
        self.release(n);
        Some(op)
    }

    /// Makes a slot usable again, with another tag.
    pub(super) fn release(&mut self, n: usize) {
        self.generation[n] = self.generation[n].wrapping_add(1);
        self.free.push(n as u8);
    }

    fn receive_ndr(&mut self, now: u64, ndr: &S2mNdr) {
        let Some(op) = self.take(now, ndr.tag, "NDR") else {
            return;
        };
        let InFlight {
            waiting,
            tag,
            launched,
        } = op;
        let mut done = self.done(now, launched, tag, &waiting);
        done.dev_load = ndr.dev_load;
        let address = waiting.address;
        let mut what = None;
        if ndr.opcode != S2mNdrOpcode::Cmp {
            // HDM-H grants nothing.
            what = Some(format!(
                "{} to {} on host-only memory",
                ndr.opcode.name(),
                waiting.op.name()
            ));
        }
        match &waiting.op {
            Op::Read { .. } | Op::Prefetch => what = Some(format!("NDR to {}", waiting.op.name())),
            Op::Write { data, poison, meta } => {
                self.golden.set(address, data, *poison);
                if let Some(m) = meta {
                    self.golden.set_meta(address, m.code());
                }
            }
            Op::WritePartial {
                data,
                enables,
                poison,
                meta,
            } => {
                self.golden.merge(address, data, *enables, *poison);
                if let Some(m) = meta {
                    self.golden.set_meta(address, m.code());
                }
            }
            Op::Invalidate { meta, .. } => {
                if ndr.meta_field == MetaField::Meta0State {
                    done.meta = Some(ndr.meta_value);
                    what = what.or(self.check_meta(address, ndr.meta_value));
                }
                self.golden.set_meta(address, meta.code());
            }
        }
        self.conclude(waiting, done, what);
    }

    fn receive_drs(&mut self, now: u64, drs: &S2mDrs, line: &Line) {
        let Some(op) = self.take(now, drs.tag, "DRS") else {
            return;
        };
        let InFlight {
            waiting,
            tag,
            launched,
        } = op;
        let address = waiting.address;
        let nxm = drs.opcode == S2mDrsOpcode::MemDataNxm;
        let mut done = self.done(now, launched, tag, &waiting);
        done.data = Some(*line);
        done.poison = drs.poison;
        done.nxm = nxm;
        done.dev_load = drs.dev_load;
        let mut what = None;
        match waiting.op {
            Op::Read { meta } => {
                if nxm {
                    if *line != [0xFF; 64] {
                        what = Some("MemData-NXM whose data is not all ones".to_string());
                    }
                } else {
                    if !(self.contained && drs.poison) {
                        what = self.check_line(address, line, drs.poison);
                    }
                    if let Some(new) = meta {
                        if drs.meta_field == MetaField::Meta0State {
                            done.meta = Some(drs.meta_value);
                            what = what.or(self.check_meta(address, drs.meta_value));
                        }
                        self.golden.set_meta(address, new.code());
                    }
                }
            }
            _ => what = Some(format!("DRS to {}", waiting.op.name())),
        }
        self.conclude(waiting, done, what);
    }

    /// Compares a read with the golden memory; a line that was unknown becomes known.
    fn check_line(&mut self, address: u64, line: &Line, poison: bool) -> Option<String> {
        let Some((expected, expected_poison)) = self.golden.expected(address).line else {
            if self.golden.covers(address) {
                self.golden.set(address, line, poison);
            }
            return None;
        };
        self.counters.compared += 1;
        if poison != expected_poison {
            return Some(format!("poison is {poison}, expected {expected_poison}"));
        }
        // Data of a poisoned line is arbitrary (cxl-mem 5.3).
        if poison || *line == expected {
            return None;
        }
        let at = line
            .iter()
            .zip(&expected)
            .position(|(a, b)| a != b)
            .unwrap_or(0);
        Some(format!(
            "byte {at} is {:#04x}, expected {:#04x} (line {}, expected {})",
            line[at],
            expected[at],
            hex(line),
            hex(&expected)
        ))
    }

    fn check_meta(&self, address: u64, got: MetaValue) -> Option<String> {
        let expected = self.golden.expected(address).meta?;
        (got.code() != expected)
            .then(|| format!("Meta0 is {:#04b}, expected {expected:#04b}", got.code()))
    }

    fn conclude(&mut self, waiting: Waiting, done: Done, what: Option<String>) {
        let result = match what {
            None => Ok(done),
            Some(what) => {
                let (cycle, tag) = (done.finished, done.tag);
                let d = Difference {
                    cycle,
                    tag,
                    position: waiting.ticket.0,
                    address: done.address,
                    what,
                };
                self.wrong.get_or_insert_with(|| d.clone());
                Err(HomeError::Wrong(Box::new(d)))
            }
        };
        self.settle(waiting, result);
    }
}

fn hex(line: &Line) -> String {
    line.iter().map(|b| format!("{b:02x}")).collect()
}
