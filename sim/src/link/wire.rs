//! The wire between host and device: it carries flits as four slots, and can damage, lose and delay them.

use crate::dut::Dut;
use crate::rng::Rng;
use cxlmem_protocol::crc;
use cxlmem_protocol::flit::Flit;

/// What one direction of the wire does wrong. Probabilities are 0 to 1, per flit if not said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct WireFaults {
    /// Bit error rate: probability per bit.
    pub ber: f64,
    /// One to three bits of the flit are flipped.
    pub corrupt: f64,
    /// A burst hits the flit: its first and last bit are flipped, those between at random.
    pub burst: f64,
    /// Length of a burst in bits, 1 to 528.
    pub burst_bits: u16,
    /// The flit is lost.
    pub lose: f64,
    /// The flit arrives twice.
    pub repeat: f64,
    /// The flit arrives after the next one.
    pub swap: f64,
    /// Every bit is stuck at this value.
    pub stuck: Option<bool>,
}

/// What the wire does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Host to device.
    pub m2s: WireFaults,
    /// Device to host.
    pub s2m: WireFaults,
    /// Probability, each cycle, that the wire does not take a slot from the device.
    pub tx_stall: f64,
}

impl Faults {
    /// The same faults in both directions.
    pub fn both(faults: WireFaults) -> Self {
        Self {
            m2s: faults,
            s2m: faults,
            tx_stall: 0.0,
        }
    }
}

/// Faults injected so far in one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounters {
    /// Flits that were sent.
    pub flits: u64,
    /// Flits that arrived with flipped bits.
    pub damaged: u64,
    /// Bits flipped.
    pub bits: u64,
    /// Flits lost.
    pub lost: u64,
    /// Flits that arrived twice.
    pub repeated: u64,
    /// Flits that arrived after their successor.
    pub swapped: u64,
    /// Damaged flits whose CRC is right all the same: no receiver can tell.
    pub escaped: u64,
}

/// One direction of the wire.
pub(super) struct Wire {
    faults: WireFaults,
    rng: Rng,
    /// Bits until the next bit error.
    gap: u64,
    /// The flit that its successor overtakes.
    held: Option<Flit>,
    pub(super) counters: WireCounters,
    /// The next flits to damage, whatever the probability.
    pub(super) corrupt_next: u32,
    /// The next flits to lose, whatever the probability.
    pub(super) lose_next: u32,
}

/// Bits of a flit on the wire.
const FLIT_BITS: u64 = 528;

impl Wire {
    pub(super) fn new(faults: WireFaults, rng: Rng) -> Self {
        let mut wire = Self {
            faults,
            rng,
            gap: 0,
            held: None,
            counters: WireCounters::default(),
            corrupt_next: 0,
            lose_next: 0,
        };
        wire.set(faults);
        wire
    }

    pub(super) fn set(&mut self, faults: WireFaults) {
        self.faults = faults;
        self.gap = self.next_gap();
    }

    /// What was held back is lost too when the physical layer goes down.
    pub(super) fn clear(&mut self) {
        self.held = None;
    }

    /// Bits to the next bit error: geometric.
    fn next_gap(&mut self) -> u64 {
        if self.faults.ber <= 0.0 {
            return u64::MAX;
        }
        let u = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let gap = (1.0 - u).ln() / (1.0 - self.faults.ber.min(0.5)).ln();
        gap as u64
    }

    /// What arrives for a flit that is sent, in order.
    #[inline]
    pub(super) fn pass(&mut self, flit: Flit) -> [Option<Flit>; 3] {
        self.counters.flits += 1;
        if self.lose_next > 0 || self.rng.chance(self.faults.lose) {
            self.lose_next = self.lose_next.saturating_sub(1);
            self.counters.lost += 1;
            return [None; 3];
        }
        let flit = self.damage(flit);
        let again = self.rng.chance(self.faults.repeat).then_some(flit);
        self.counters.repeated += u64::from(again.is_some());
        match self.held.take() {
            Some(held) => {
                self.counters.swapped += 1;
                [Some(flit), Some(held), again]
            }
            None if self.rng.chance(self.faults.swap) => {
                self.held = Some(flit);
                [None; 3]
            }
            None => [Some(flit), again, None],
        }
    }

    #[inline]
    fn damage(&mut self, mut flit: Flit) -> Flit {
        let sent = flit;
        if let Some(level) = self.faults.stuck {
            flit = Flit {
                slots: [if level { u128::MAX } else { 0 }; 4],
                crc: if level { u16::MAX } else { 0 },
            };
        }
        while self.gap < FLIT_BITS {
            flip(&mut flit, self.gap);
            self.gap += 1 + self.next_gap();
        }
        if self.gap != u64::MAX {
            self.gap -= FLIT_BITS;
        }
        if self.corrupt_next > 0 || self.rng.chance(self.faults.corrupt) {
            self.corrupt_next = self.corrupt_next.saturating_sub(1);
            // Two more draws fall on the same few bits or elsewhere; an even count on one bit would undo itself.
            let mut bits = [(); 3].map(|()| self.rng.below(FLIT_BITS));
            bits.sort_unstable();
            let count = 1 + self.rng.below(3) as usize;
            let mut last = u64::MAX;
            for &bit in &bits[..count] {
                if bit != last {
                    flip(&mut flit, bit);
                }
                last = bit;
            }
        }
        if self.rng.chance(self.faults.burst) {
            let length = u64::from(self.faults.burst_bits).clamp(1, FLIT_BITS);
            let first = self.rng.below(FLIT_BITS - length + 1);
            for bit in first..first + length {
                if bit == first || bit == first + length - 1 || self.rng.chance(0.5) {
                    flip(&mut flit, bit);
                }
            }
        }
        if flit != sent {
            let flips = |a: u128, b: u128| u64::from((a ^ b).count_ones());
            self.counters.damaged += 1;
            self.counters.bits += u64::from((flit.crc ^ sent.crc).count_ones())
                + (0..4)
                    .map(|n| flips(flit.slots[n], sent.slots[n]))
                    .sum::<u64>();
            // The sequence number that may be in the CRC is the same before and after.
            let (was, is) = (crc::of(&sent.slots), crc::of(&flit.slots));
            self.counters.escaped += u64::from(was ^ is == sent.crc ^ flit.crc);
        }
        flit
    }
}

/// Flips flit bit `bit`, 0 to 527 (512 and above are the CRC).
pub fn flip(flit: &mut Flit, bit: u64) {
    match bit {
        0..512 => flit.slots[(bit / 128) as usize] ^= 1 << (bit % 128),
        _ => flit.crc ^= 1 << (bit % 16),
    }
}

/// Puts flits on the `rx_*` pins, a slot a cycle, without gaps inside a flit.
#[derive(Default)]
pub(super) struct SlotSender {
    flit: Flit,
    /// Next slot; 4 when the flit is through.
    next: usize,
}

impl SlotSender {
    pub(super) fn new() -> Self {
        Self {
            flit: Flit::default(),
            next: 4,
        }
    }

    /// True if the next flit can start in this cycle.
    #[inline]
    pub(super) fn idle(&self) -> bool {
        self.next == 4
    }

    /// Breaks off: the physical layer went down.
    pub(super) fn clear(&mut self) {
        self.next = 4;
    }

    pub(super) fn start(&mut self, flit: Flit) {
        self.flit = flit;
        self.next = 0;
    }

    /// Drives the pins for this cycle. True in the cycle of a flit's last slot.
    #[inline]
    pub(super) fn drive(&mut self, dut: &mut Dut) -> bool {
        if self.next == 4 {
            dut.set_rx_valid(false);
            return false;
        }
        dut.set_rx_valid(true);
        dut.set_rx_slot(self.flit.slots[self.next]);
        dut.set_rx_sof(self.next == 0);
        dut.set_rx_crc(self.flit.crc);
        self.next += 1;
        self.next == 4
    }
}

/// Takes slots from the `tx_*` pins and gives whole flits.
#[derive(Default)]
pub(super) struct SlotReceiver {
    slots: [u128; 4],
    have: usize,
    /// Slots until the next start of a flit belong to one that was broken off.
    lost_start: bool,
    /// Cycle of the first slot of the flit in work.
    pub(super) started: u64,
    /// Slots that came in the wrong place: a start of flit inside a flit, or none at its start.
    pub(super) framing_errors: u64,
}

impl SlotReceiver {
    /// Breaks off: the physical layer went down, and may have in the middle of a flit of which the rest still comes.
    pub(super) fn clear(&mut self) {
        self.have = 0;
        self.lost_start = true;
    }

    /// Takes the slot of this cycle; the flit if it is complete.
    #[inline]
    pub(super) fn sample(&mut self, dut: &Dut) -> Option<Flit> {
        let sof = dut.tx_sof();
        if self.lost_start && !sof {
            return None;
        }
        self.lost_start = false;
        if sof != (self.have == 0) {
            self.framing_errors += 1;
            self.have = 0;
            if !sof {
                return None;
            }
        }
        if sof {
            self.started = dut.cycles();
        }
        self.slots[self.have] = dut.tx_slot();
        self.have += 1;
        if self.have < 4 {
            return None;
        }
        self.have = 0;
        Some(Flit {
            slots: self.slots,
            crc: dut.tx_crc(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(arrived: [Option<Flit>; 3]) -> Option<Flit> {
        assert_eq!(arrived[1], None);
        arrived[0]
    }

    #[test]
    fn corruption_always_changes_the_flit_and_is_always_seen() {
        let faults = WireFaults {
            corrupt: 1.0,
            ..Default::default()
        };
        let mut wire = Wire::new(faults, Rng::new(3));
        for _ in 0..10_000 {
            let sent = Flit::new([1, 2, 3, 4]);
            let got = only(wire.pass(sent)).unwrap();
            assert_ne!(got, sent);
            assert!(!got.crc_ok(), "up to three flipped bits escape no CRC-16");
        }
        assert_eq!((wire.counters.damaged, wire.counters.escaped), (10_000, 0));
    }

    #[test]
    fn bit_errors_come_at_their_rate() {
        let faults = WireFaults {
            ber: 1e-3,
            ..Default::default()
        };
        let mut wire = Wire::new(faults, Rng::new(5));
        for _ in 0..100_000 {
            only(wire.pass(Flit::new([7; 4])));
        }
        let expected = 100_000.0 * 528.0 * 1e-3;
        let seen = wire.counters.bits as f64;
        assert!((seen / expected - 1.0).abs() < 0.02, "{seen} of {expected}");
    }

    #[test]
    fn bursts_have_their_length() {
        let faults = WireFaults {
            burst: 1.0,
            burst_bits: 16,
            ..Default::default()
        };
        let mut wire = Wire::new(faults, Rng::new(5));
        for _ in 0..1_000 {
            let sent = Flit::new([9; 4]);
            let got = only(wire.pass(sent)).unwrap();
            let at: Vec<u32> = (0..528u32)
                .filter(|&b| match b {
                    0..512 => {
                        (got.slots[b as usize / 128] ^ sent.slots[b as usize / 128]) >> (b % 128)
                            & 1
                            == 1
                    }
                    _ => (got.crc ^ sent.crc) >> (b - 512) & 1 == 1,
                })
                .collect();
            assert_eq!(at[at.len() - 1] - at[0], 15);
        }
    }

    #[test]
    fn losses_repeats_swaps_and_forced_faults() {
        let mut wire = Wire::new(WireFaults::default(), Rng::new(3));
        let (a, b) = (Flit::new([5; 4]), Flit::new([6; 4]));
        assert_eq!(wire.pass(a), [Some(a), None, None]);
        wire.lose_next = 1;
        assert_eq!(wire.pass(a), [None; 3]);
        wire.corrupt_next = 1;
        assert!(!only(wire.pass(a)).unwrap().crc_ok());
        assert_eq!(wire.pass(a), [Some(a), None, None]);
        let always = |f: fn(&mut WireFaults)| {
            let mut faults = WireFaults::default();
            f(&mut faults);
            faults
        };
        wire.set(always(|f| f.lose = 1.0));
        assert_eq!(wire.pass(a), [None; 3]);
        wire.set(always(|f| f.repeat = 1.0));
        assert_eq!(wire.pass(a), [Some(a), Some(a), None]);
        wire.set(always(|f| f.swap = 1.0));
        assert_eq!(wire.pass(a), [None; 3]);
        assert_eq!(wire.pass(b), [Some(b), Some(a), None]);
        wire.set(always(|f| f.stuck = Some(false)));
        assert_eq!(wire.pass(a), [Some(Flit::default()), None, None]);
    }
}
