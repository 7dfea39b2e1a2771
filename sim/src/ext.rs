//! Memory behind the external port (`docs/developer/interfaces.md` section 3): host memory with a latency and random stalls.

use crate::dut::Dut;
use crate::rng::Rng;
use crate::shared::SharedMemory;
use std::collections::VecDeque;
use std::sync::Arc;

/// Timing of the external memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExtTiming {
    /// Cycles from an accepted read to its first beat, at least 1.
    pub latency: u32,
    /// Probability, each cycle, that the read channel is not ready.
    pub read_stall: f64,
    /// Probability, each cycle, that the write channel is not ready.
    pub write_stall: f64,
    /// Reads that may be waiting for their answer, at least 1.
    pub depth: usize,
}

impl Default for ExtTiming {
    fn default() -> Self {
        Self {
            latency: 8,
            read_stall: 0.0,
            write_stall: 0.0,
            depth: 32,
        }
    }
}

/// An answer under way.
struct Answer {
    due: u64,
    line: [u128; 4],
    next: u8,
    poison: bool,
    meta: u8,
}

/// Beats of one line are 128 bits.
const BEATS: usize = 4;
const META: u8 = 0b011;
const POISON: u8 = 0b100;

/// What holds the lines.
enum Store {
    Owned(Vec<u128>),
    /// Memory that others map too: line 0 is `offset` bytes into it.
    Shared {
        memory: Arc<SharedMemory>,
        offset: u64,
    },
    /// Nothing answers: every access is out of range.
    Absent,
}

impl Store {
    /// The line's beats; `None` beyond the end.
    fn read(&self, line: usize) -> Option<[u128; BEATS]> {
        let mut beats = [0; BEATS];
        match self {
            Store::Owned(data) => beats.copy_from_slice(data.get(line * BEATS..)?.get(..BEATS)?),
            Store::Shared { memory, offset } => {
                let mut bytes = [0; BEATS * 16];
                memory.read(offset + (line * bytes.len()) as u64, &mut bytes)?;
                for (beat, bytes) in beats.iter_mut().zip(bytes.chunks_exact(16)) {
                    *beat = u128::from_le_bytes(bytes.try_into().unwrap_or_default());
                }
            }
            Store::Absent => return None,
        }
        Some(beats)
    }

    /// Stores the enabled bytes of a beat; `None` beyond the end.
    fn write(&mut self, beat: usize, data: u128, enables: u16) -> Option<()> {
        match self {
            Store::Owned(old) => {
                let old = old.get_mut(beat)?;
                let mask = byte_mask(enables);
                *old = (*old & !mask) | (data & mask);
            }
            Store::Shared { memory, offset } => {
                let at = *offset + (beat * 16) as u64;
                let bytes = data.to_le_bytes();
                if enables == u16::MAX {
                    return memory.write(at, &bytes);
                }
                // Only the enabled bytes: the others may be written by somebody else at this moment.
                for (n, byte) in bytes.iter().enumerate() {
                    if enables >> n & 1 != 0 {
                        memory.write(at + n as u64, std::slice::from_ref(byte))?;
                    }
                }
            }
            Store::Absent => return None,
        }
        Some(())
    }
}

/// The memory. A read answers with what was stored when it was accepted.
pub struct ExtMemory {
    store: Store,
    /// Per line: Meta0 in bits 1:0, poison in bit 2.
    tags: Vec<u8>,
    timing: ExtTiming,
    rng: Rng,
    answers: VecDeque<Answer>,
    read_ready: bool,
    write_ready: bool,
    out_of_range: u64,
}

impl ExtMemory {
    /// Zero-filled memory of `lines` lines. The host gives pages only as they are touched.
    pub fn new(lines: usize, timing: ExtTiming, rng: Rng) -> Self {
        let timing = ExtTiming {
            latency: timing.latency.max(1),
            depth: timing.depth.max(1),
            ..timing
        };
        Self {
            store: Store::Owned(vec![0; lines * BEATS]),
            tags: vec![0; lines],
            answers: VecDeque::with_capacity(timing.depth),
            timing,
            rng,
            read_ready: false,
            write_ready: false,
            out_of_range: 0,
        }
    }

    /// Accesses beyond the memory's end: reads of zero, writes without effect. A correct controller makes none.
    pub fn out_of_range(&self) -> u64 {
        self.out_of_range
    }

    /// From the next access on, line 0 is `offset` bytes into `memory`, which others map too. Poison and metadata stay with their lines.
    pub fn share(&mut self, memory: Arc<SharedMemory>, offset: u64) {
        self.store = Store::Shared { memory, offset };
    }

    /// From the next access on nothing answers: reads give zero, and all accesses count as out of range.
    pub fn detach(&mut self) {
        self.store = Store::Absent;
    }

    /// Fault: line `line` is poisoned until it is written whole. False: there is no such line.
    pub fn poison(&mut self, line: usize) -> bool {
        self.tags.get_mut(line).map(|tag| *tag |= POISON).is_some()
    }

    /// No answer is under way.
    pub fn is_idle(&self) -> bool {
        self.answers.is_empty()
    }

    /// The controller was reset: nobody waits for the answers under way.
    pub fn reset_port(&mut self) {
        self.answers.clear();
    }

    /// Drives the port's inputs for this cycle.
    #[inline]
    pub fn drive(&mut self, dut: &mut Dut) {
        let now = dut.cycles();
        match self.answers.front_mut().filter(|a| a.due <= now) {
            Some(a) => {
                dut.set_ext_rsp_valid(true);
                dut.set_ext_rsp_idx(a.next);
                dut.set_ext_rsp_data(a.line[usize::from(a.next)]);
                dut.set_ext_rsp_poison(a.poison);
                dut.set_ext_rsp_meta(a.meta);
                a.next += 1;
                if usize::from(a.next) == BEATS {
                    self.answers.pop_front();
                }
            }
            None => dut.set_ext_rsp_valid(false),
        }
        self.read_ready =
            self.answers.len() < self.timing.depth && !self.rng.chance(self.timing.read_stall);
        self.write_ready = !self.rng.chance(self.timing.write_stall);
        dut.set_ext_rd_ready(self.read_ready);
        dut.set_ext_wr_ready(self.write_ready);
    }

    /// Takes what the controller asks in this cycle, after its outputs have settled.
    #[inline]
    pub fn sample(&mut self, dut: &Dut) {
        if self.write_ready && dut.ext_wr_valid() {
            self.write(dut);
        }
        if self.read_ready && dut.ext_rd_valid() {
            self.read(dut);
        }
    }

    fn read(&mut self, dut: &Dut) {
        let line = dut.ext_rd_line() as usize;
        let due = dut.cycles() + u64::from(self.timing.latency);
        // With `nodata` a single beat, the last one, carries only the metadata.
        let next = if dut.ext_rd_nodata() {
            BEATS as u8 - 1
        } else {
            0
        };
        let Some(tag) = self.tags.get_mut(line) else {
            self.out_of_range += 1;
            self.answers.push_back(Answer {
                due,
                line: [0; BEATS],
                next,
                poison: false,
                meta: 0,
            });
            return;
        };
        let (poison, meta) = (*tag & POISON != 0, *tag & META);
        if dut.ext_rd_meta_we() {
            *tag = (*tag & !META) | (dut.ext_rd_meta() & META);
        }
        let beats = self.store.read(line).unwrap_or_else(|| {
            self.out_of_range += 1;
            [0; BEATS]
        });
        self.answers.push_back(Answer {
            due,
            line: beats,
            next,
            poison,
            meta,
        });
    }

    fn write(&mut self, dut: &Dut) {
        let line = dut.ext_wr_line() as usize;
        let Some(tag) = self.tags.get_mut(line) else {
            self.out_of_range += 1;
            return;
        };
        if dut.ext_wr_poison_we() {
            *tag = (*tag & !POISON) | if dut.ext_wr_poison() { POISON } else { 0 };
        }
        if dut.ext_wr_meta_we() {
            *tag = (*tag & !META) | (dut.ext_wr_meta() & META);
        }
        let beat = line * BEATS + usize::from(dut.ext_wr_idx());
        let written = self.store.write(beat, dut.ext_wr_data(), dut.ext_wr_be());
        if written.is_none() {
            self.out_of_range += 1;
        }
    }
}

/// Bits of the bytes whose enable is set.
fn byte_mask(enables: u16) -> u128 {
    let mut mask = 0;
    for n in 0..16 {
        if enables >> n & 1 != 0 {
            mask |= 0xFF << (8 * n);
        }
    }
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_mask_places_bytes() {
        assert_eq!(byte_mask(0), 0);
        assert_eq!(byte_mask(0xFFFF), u128::MAX);
        assert_eq!(byte_mask(0x8001), 0xFF | 0xFF << 120);
    }
}
