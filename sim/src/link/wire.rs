//! The wire between host and device: it carries flits as four slots, and can damage, lose and delay them.

use crate::dut::Dut;
use crate::rng::Rng;
use cxlmem_protocol::flit::Flit;

/// What the wire does wrong. Probabilities are 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Probability that a host-to-device flit has one to three bits flipped.
    pub m2s_corrupt: f64,
    /// Probability that a device-to-host flit has one to three bits flipped.
    pub s2m_corrupt: f64,
    /// Probability that a host-to-device flit is lost.
    pub m2s_drop: f64,
    /// Probability that a device-to-host flit is lost.
    pub s2m_drop: f64,
    /// Probability, each cycle, that the wire does not take a slot from the device.
    pub tx_stall: f64,
}

/// One direction's fault generator.
pub(super) struct FaultSource {
    corrupt: f64,
    drop: f64,
    rng: Rng,
    /// The next flits to damage, whatever the probability.
    pub(super) corrupt_next: u32,
    /// The next flits to lose, whatever the probability.
    pub(super) drop_next: u32,
}

impl FaultSource {
    pub(super) fn new(corrupt: f64, drop: f64, rng: Rng) -> Self {
        Self {
            corrupt,
            drop,
            rng,
            corrupt_next: 0,
            drop_next: 0,
        }
    }

    pub(super) fn set(&mut self, corrupt: f64, drop: f64) {
        self.corrupt = corrupt;
        self.drop = drop;
    }

    /// What arrives of a flit that is sent: `None` if it is lost.
    #[inline]
    pub(super) fn pass(&mut self, mut flit: Flit) -> Option<Flit> {
        if self.drop_next > 0 || self.rng.chance(self.drop) {
            self.drop_next = self.drop_next.saturating_sub(1);
            return None;
        }
        if self.corrupt_next > 0 || self.rng.chance(self.corrupt) {
            self.corrupt_next = self.corrupt_next.saturating_sub(1);
            let first = self.rng.below(528);
            // Two more draws fall on the same few bits or elsewhere; an even count on one bit would undo itself.
            let mut bits = [first, self.rng.below(528), self.rng.below(528)];
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
        Some(flit)
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
    /// Cycle of the first slot of the flit in work.
    pub(super) started: u64,
    /// Slots that came in the wrong place: a start of flit inside a flit, or none at its start.
    pub(super) framing_errors: u64,
}

impl SlotReceiver {
    /// Takes the slot of this cycle; the flit if it is complete.
    #[inline]
    pub(super) fn sample(&mut self, dut: &Dut) -> Option<Flit> {
        let sof = dut.tx_sof();
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

    #[test]
    fn corruption_always_changes_the_flit_and_is_always_seen() {
        let mut source = FaultSource::new(1.0, 0.0, Rng::new(3));
        for _ in 0..10_000 {
            let sent = Flit::new([1, 2, 3, 4]);
            let got = source.pass(sent).unwrap();
            assert_ne!(got, sent);
            assert!(!got.crc_ok(), "up to three flipped bits escape no CRC-16");
        }
    }

    #[test]
    fn drops_and_forced_faults() {
        let mut source = FaultSource::new(0.0, 0.0, Rng::new(3));
        let flit = Flit::new([5; 4]);
        assert_eq!(source.pass(flit), Some(flit));
        source.drop_next = 1;
        assert_eq!(source.pass(flit), None);
        source.corrupt_next = 1;
        assert!(!source.pass(flit).unwrap().crc_ok());
        assert_eq!(source.pass(flit), Some(flit));
        source.set(0.0, 1.0);
        assert_eq!(source.pass(flit), None);
    }
}
