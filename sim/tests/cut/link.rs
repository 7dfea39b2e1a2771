//! What cuts the link.

use cxlmem_protocol::regs;
use cxlmem_protocol::retry::Limits;
use cxlmem_sim::{Faults, System, WireFaults};

/// What happens to the link or the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Software turns the link off, and on again at once.
    Restart,
    /// Software turns it off, and on again when the caller has its outcome.
    Off,
    /// Every bit in both directions is stuck until the caller has its outcome; then software starts the link anew.
    Stuck(bool),
    /// Every flit in both directions is damaged until the physical layer has re-initialised.
    Reinit,
    /// The device's clock stands still for a while.
    Hang,
}

impl Cut {
    pub const ALL: [Self; 6] = [
        Self::Restart,
        Self::Off,
        Self::Stuck(false),
        Self::Stuck(true),
        Self::Reinit,
        Self::Hang,
    ];

    /// Whether what is under way goes on as if nothing had been.
    pub fn loses_nothing(self) -> bool {
        matches!(self, Self::Reinit | Self::Hang)
    }
}

/// A cut, ready to be made.
pub struct Cutter {
    pub cut: Cut,
    /// LinkCtrl: reading it takes longer than the transactions that are cut.
    control: u32,
}

impl Cutter {
    /// Sets the thresholds of both ends that go with the cut.
    pub fn new(cut: Cut, s: &mut System) -> Self {
        let control = s.mmio_read32(regs::LinkCtrl::OFFSET).unwrap();
        let (retries, reinits) = match cut {
            Cut::Reinit => (1, 31),
            Cut::Stuck(_) => (2, 2),
            _ => return Self { cut, control },
        };
        let limits = regs::LlrLimits::MAX_NUM_RETRY.with(
            regs::LlrLimits::MAX_NUM_PHY_REINIT.with(regs::LlrLimits::RESET, reinits),
            retries,
        );
        s.mmio_write32(regs::LlrLimits::OFFSET, limits).unwrap();
        s.mmio_read32(regs::LlrLimits::OFFSET).unwrap();
        let limits = Limits {
            max_num_retry: retries as u8,
            max_num_phy_reinit: reinits as u8,
            ..s.link().limits()
        };
        s.link_mut().set_limits(limits);
        Self { cut, control }
    }

    /// Begins; [`Cutter::end`] is to follow.
    pub fn begin(&self, s: &mut System, hang: u64) {
        match self.cut {
            Cut::Restart | Cut::Off => self.off(s),
            Cut::Stuck(level) => s.link_mut().set_faults(Faults::both(WireFaults {
                stuck: Some(level),
                ..WireFaults::default()
            })),
            Cut::Reinit => {
                let before = s.link().counters().reinits;
                s.link_mut().set_faults(Faults::both(WireFaults {
                    corrupt: 1.0,
                    ..WireFaults::default()
                }));
                // An idle link has nothing to damage.
                for _ in 0..3_000 {
                    if s.link().counters().reinits > before {
                        break;
                    }
                    s.cycle();
                }
                s.link_mut().set_faults(Faults::default());
            }
            Cut::Hang => {
                s.set_hung(true);
                s.run(hang);
                s.set_hung(false);
            }
        }
    }

    /// Brings the link up again, if that is for software to do.
    pub fn end(&self, s: &mut System) {
        if self.cut.loses_nothing() {
            return;
        }
        if let Cut::Stuck(_) = self.cut {
            // Off first: a link that recovers by itself would deliver what everybody has given up.
            self.off(s);
            s.link_mut().set_faults(Faults::default());
        }
        s.reset_link().unwrap();
    }

    /// Turns the link off and waits until the host's end has noticed.
    fn off(&self, s: &mut System) {
        let off = regs::LinkCtrl::ENABLE.with(self.control, 0);
        s.mmio_write32(regs::LinkCtrl::OFFSET, off).unwrap();
        for _ in 0..1_000 {
            if !s.dut_mut().link_enabled() {
                s.run(2);
                return;
            }
            s.cycle();
        }
        panic!("LinkCtrl.ENABLE does not turn the link off");
    }
}

/// Whether `got` is `old` or `new`, beat by beat: `None` if a beat is neither, `Some((beats old, beats new))` of those that differ.
pub fn beats(got: &[u8], old: &[u8], new: &[u8]) -> Option<(usize, usize)> {
    let mut count = (0, 0);
    for ((g, o), n) in got.chunks(16).zip(old.chunks(16)).zip(new.chunks(16)) {
        match (g == o, g == n) {
            (true, true) => {}
            (true, false) => count.0 += 1,
            (false, true) => count.1 += 1,
            (false, false) => return None,
        }
    }
    Some(count)
}
