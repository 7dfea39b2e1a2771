//! Memory behind the external port (`docs/developer/interfaces.md` section 3): host memory with a latency and random stalls.

use crate::dut::Dut;
use crate::rng::Rng;
use std::collections::VecDeque;

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

/// The memory. A read answers with what was stored when it was accepted.
pub struct ExtMemory {
    data: Vec<u128>,
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
            data: vec![0; lines * BEATS],
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
        let mut beats = [0; BEATS];
        beats.copy_from_slice(&self.data[line * BEATS..][..BEATS]);
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
        let beat = &mut self.data[line * BEATS + usize::from(dut.ext_wr_idx())];
        let mask = byte_mask(dut.ext_wr_be());
        *beat = (*beat & !mask) | (dut.ext_wr_data() & mask);
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
