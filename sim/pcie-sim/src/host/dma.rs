//! The device's reads and writes of host memory, and its interrupts.

use std::cmp::Reverse;
use std::ops::Range;

use super::{Event, Options, RootComplex};
use crate::completion::{split, SplitRules};
use crate::memory::{HostMem, MemoryError};
use crate::rng::Rng;
use crate::tlp::{MemRequest, Packet, Status, Tlp};

/// Writes of the device to these addresses are message-signalled interrupts.
pub const INTERRUPT_WINDOW: Range<u64> = 0xFEE0_0000..0xFEF0_0000;

/// Interrupts kept until taken; later ones are counted as lost.
pub const INTERRUPT_QUEUE: usize = 4096;

/// A message-signalled interrupt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupt {
    /// The data written: the vector.
    pub vector: u32,
    /// Where it was written.
    pub addr: u64,
    /// When it arrived.
    pub tick: u64,
}

/// A completion on its way out of host memory.
#[derive(Debug)]
pub(super) struct Delayed {
    pub(super) ready: u64,
    /// Keeps packets of the same tick in order.
    order: u64,
    pub(super) packet: Packet,
}

impl PartialEq for Delayed {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}
impl Eq for Delayed {}
impl PartialOrd for Delayed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Delayed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.ready, self.order).cmp(&(other.ready, other.order))
    }
}

impl RootComplex {
    pub(super) fn dma_write<M: HostMem>(
        &mut self,
        now: u64,
        mem: &mut M,
        request: &MemRequest,
        tlp: &Tlp,
    ) -> Result<(), Event> {
        let addr = request.addr;
        if tlp.poisoned {
            return Err(Event::PoisonedWrite { addr });
        }
        if INTERRUPT_WINDOW.contains(&addr) {
            let &[a, b, c, d] = tlp.data.as_slice() else {
                return Err(Event::BadInterrupt { addr });
            };
            if request.first_be != 0xF {
                return Err(Event::BadInterrupt { addr });
            }
            if self.interrupts.len() == INTERRUPT_QUEUE {
                self.report.counters.interrupts_lost += 1;
                return Ok(());
            }
            self.report.counters.interrupts += 1;
            self.interrupts.push_back(Interrupt {
                vector: u32::from_le_bytes([a, b, c, d]),
                addr,
                tick: now,
            });
            return Ok(());
        }
        let mut from = request.first_be.trailing_zeros().min(4) as usize;
        while from < tlp.data.len() {
            // Beyond two DW the enabled bytes are one run.
            let to = if request.dwords > 2 {
                from + request.byte_count()
            } else {
                (from..tlp.data.len())
                    .find(|&k| !request.byte_enabled(k))
                    .unwrap_or(tlp.data.len())
            };
            mem.write(addr + from as u64, &tlp.data[from..to])
                .map_err(|error| match error {
                    MemoryError::OutOfRange { .. } => Event::UnsupportedRequest { addr },
                    MemoryError::Refused { .. } | MemoryError::Poisoned { .. } => {
                        Event::RefusedByMemory { addr }
                    }
                })?;
            self.report.counters.bytes_written += (to - from) as u64;
            from = (to..tlp.data.len())
                .find(|&k| request.byte_enabled(k))
                .unwrap_or(tlp.data.len());
        }
        Ok(())
    }

    pub(super) fn dma_read<M: HostMem>(
        &mut self,
        now: u64,
        mem: &mut M,
        request: &MemRequest,
        tlp: &Tlp,
        header: [u32; 4],
    ) {
        let addr = request.addr;
        let mut data = std::mem::take(&mut self.scratch);
        data.resize(usize::from(request.dwords) * 4, 0);
        let mut poisoned = false;
        match mem.read(addr, &mut data) {
            Ok(()) => {}
            Err(MemoryError::Poisoned { addr }) => {
                poisoned = true;
                self.report.add(now, Event::PoisonedMemory { addr }, header);
            }
            Err(error) => {
                let (event, status) = match error {
                    MemoryError::OutOfRange { .. } => (
                        Event::UnsupportedRequest { addr },
                        Status::UnsupportedRequest,
                    ),
                    _ => (Event::RefusedByMemory { addr }, Status::CompleterAbort),
                };
                self.report.add(now, event, header);
                self.scratch = data;
                return self.refuse(now, tlp, status);
            }
        }
        let Options {
            rcb,
            limits,
            read_latency,
            jitter,
            random_split,
            bdf,
            ..
        } = self.options;
        let mut ready = now.saturating_add(read_latency);
        let (rng, delayed, order) = (&mut self.rng, &mut self.delayed, &mut self.next_order);
        let mut split_rng = Rng::new(rng.next());
        let choose = |most| {
            if random_split {
                1 + split_rng.below(most)
            } else {
                most
            }
        };
        split(
            request,
            bdf,
            &data,
            SplitRules {
                rcb,
                max_payload: limits.max_payload,
            },
            choose,
            |mut completion| {
                completion.tc = tlp.tc;
                completion.attr = tlp.attr;
                completion.poisoned = poisoned;
                ready = ready.saturating_add(rng.below(jitter.saturating_add(1)));
                delayed.push(Reverse(Delayed {
                    ready,
                    order: *order,
                    packet: completion.encode(),
                }));
                *order += 1;
            },
        );
        self.report.counters.bytes_read += request.byte_count() as u64;
        self.scratch = data;
    }

    pub(super) fn refuse(&mut self, now: u64, tlp: &Tlp, status: Status) {
        if let Some(completion) = Tlp::refuse(tlp, self.options.bdf, status) {
            let ready = now.saturating_add(self.options.read_latency);
            self.delayed.push(Reverse(Delayed {
                ready,
                order: self.next_order,
                packet: completion.encode(),
            }));
            self.next_order += 1;
        }
    }
}
