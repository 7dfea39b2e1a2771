//! Measurements: bandwidth of saturating mixes, dependent latencies, and what the harness costs. They return numbers; printing is the caller's.

mod degraded;
mod harness;
mod stages;

pub use degraded::{degraded, round_trip, set_timeout, Degraded, Goal, GOALS};
pub use harness::{harness_cost, HarnessCost};
pub use stages::{stages, Breakdown, StageError};

use crate::home::golden::LINE;
use crate::home::HomeError;
use crate::rng::Rng;
use crate::system::{System, SystemError};
use crate::Op;
use cxlmem_hdl::Backend;
use cxlmem_protocol::regs;

/// Proportion of reads and writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Reads only.
    Reads,
    /// Writes only.
    Writes,
    /// Two reads to a write.
    TwoToOne,
    /// One read to a write.
    OneToOne,
}

impl Mix {
    /// All mixes.
    pub const ALL: [Mix; 4] = [Mix::Reads, Mix::Writes, Mix::TwoToOne, Mix::OneToOne];

    /// Name for tables.
    pub fn name(self) -> &'static str {
        match self {
            Mix::Reads => "reads",
            Mix::Writes => "writes",
            Mix::TwoToOne => "2:1",
            Mix::OneToOne => "1:1",
        }
    }

    /// True if operation `n` of the stream is a write.
    fn is_write(self, n: u64) -> bool {
        match self {
            Mix::Reads => false,
            Mix::Writes => true,
            Mix::TwoToOne => n % 3 == 2,
            Mix::OneToOne => n % 2 == 1,
        }
    }

    /// Payload slots per slot cycle that the slot formats allow on HDM-H: device to host, host to device (cxl-mem 8.3).
    pub fn slot_bound(self) -> Shares {
        let (read, write) = match self {
            Mix::Reads => (4.0 / 5.0, 0.0),
            Mix::Writes => (0.0, 4.0 / 5.0),
            Mix::TwoToOne => (4.0 / 5.0, 2.0 / 5.0),
            Mix::OneToOne => (2.0 / 3.0, 2.0 / 3.0),
        };
        Shares { read, write }
    }
}

/// Payload (data slots) per cycle.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares {
    /// Device to host.
    pub read: f64,
    /// Host to device.
    pub write: f64,
}

/// A bandwidth measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bandwidth {
    /// What ran.
    pub mix: Mix,
    /// Cycles measured, after the warm-up.
    pub cycles: u64,
    /// Payload per cycle reached.
    pub reached: Shares,
    /// What the slot formats allow.
    pub slot_bound: Shares,
    /// What the memory allows: one 128-bit beat a cycle and channel, less the stalls of external memory.
    pub backend_bound: Shares,
    /// Reached over the smaller bound: of the direction that comes closest to its own.
    pub share: f64,
    /// Cycles in which the device had a response and no credit for it (its own counter, warm-up included).
    pub device_credit_stall: u64,
    /// Flit times in which the host had a message and no credit for it.
    pub host_credit_wait: u64,
}

/// Operations kept issued, so that a queue never runs dry.
const DEPTH: usize = 160;
const WARM_UP: u64 = 2_000;

/// Posts operations so that the system never idles.
struct Saturate {
    mix: Mix,
    base: u64,
    /// Lines of each of the two halves: reads below, writes above.
    half: u64,
    next: u64,
    data: [u8; 64],
}

impl Saturate {
    fn new(system: &System, mix: Mix, rng: &mut Rng) -> Self {
        Self {
            mix,
            base: system.hdm_window().0,
            half: system.capacity() / LINE / 2,
            next: 0,
            data: rng.line(),
        }
    }

    #[inline]
    fn feed(&mut self, system: &mut System) -> Result<(), HomeError> {
        while system.home().open() < DEPTH {
            let n = self.next;
            self.next += 1;
            let line = n % self.half;
            if self.mix.is_write(n) {
                self.data[..8].copy_from_slice(&n.to_le_bytes());
                system.post(self.base + (self.half + line) * LINE, Op::write(self.data))?;
            } else {
                system.post(self.base + line * LINE, Op::READ)?;
            }
        }
        Ok(())
    }

    fn run(&mut self, system: &mut System, cycles: u64) -> Result<(), HomeError> {
        for _ in 0..cycles {
            self.feed(system)?;
            system.cycle();
        }
        Ok(())
    }
}

/// Runs a mix against a system that is up, and measures `cycles` cycles of it.
///
/// # Errors
/// [`SystemError`], among them the first wrong response.
pub fn bandwidth(
    system: &mut System,
    mix: Mix,
    cycles: u64,
    seed: u64,
) -> Result<Bandwidth, SystemError> {
    let mut traffic = Saturate::new(system, mix, &mut Rng::new(seed));
    system.mmio_write32(regs::CounterCtrl::OFFSET, regs::CounterCtrl::CLEAR.mask())?;
    system.mmio_read32(regs::CounterCtrl::OFFSET)?;
    traffic.run(system, WARM_UP)?;
    let before = system.link().counters();
    traffic.run(system, cycles)?;
    let after = system.link().counters();
    drain(system)?;
    let device_credit_stall = u64::from(system.mmio_read32(regs::CreditStall::OFFSET)?);
    let reached = Shares {
        read: (after.data_slots_received - before.data_slots_received) as f64 / cycles as f64,
        write: (after.lines_sent - before.lines_sent) as f64 * 4.0 / cycles as f64,
    };
    let slot_bound = mix.slot_bound();
    let backend_bound = backend_bound(system);
    let ratio = |reached: f64, slots: f64, backend: f64| {
        if slots > 0.0 {
            reached / slots.min(backend)
        } else {
            0.0
        }
    };
    let share = ratio(reached.read, slot_bound.read, backend_bound.read).max(ratio(
        reached.write,
        slot_bound.write,
        backend_bound.write,
    ));
    Ok(Bandwidth {
        mix,
        cycles,
        reached,
        slot_bound,
        backend_bound,
        share,
        device_credit_stall,
        host_credit_wait: after.credit_wait - before.credit_wait,
    })
}

fn backend_bound(system: &System) -> Shares {
    match system.config().backend {
        Backend::Block => Shares {
            read: 1.0,
            write: 1.0,
        },
        Backend::External => {
            let ext = system.options().ext;
            // A read request brings four beats: stalls of the request channel cost bandwidth only beyond three in four.
            Shares {
                read: (4.0 * (1.0 - ext.read_stall)).min(1.0),
                write: 1.0 - ext.write_stall,
            }
        }
    }
}

/// Waits for all operations, and reports the first wrong response if there was one.
fn drain(system: &mut System) -> Result<(), SystemError> {
    let bound = 4 * system.options().home.timeout;
    system.run_until(bound, "completion of all line operations", |s| {
        s.home().is_idle()
    })?;
    match system.home().first_difference() {
        None => Ok(()),
        Some(d) => Err(HomeError::Wrong(Box::new(d.clone())).into()),
    }
}

/// Smallest, mean and largest of some samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Smallest.
    pub min: u64,
    /// Mean.
    pub mean: f64,
    /// Largest.
    pub max: u64,
}

impl Spread {
    fn of(samples: &[u64]) -> Self {
        Self {
            min: samples.iter().copied().min().unwrap_or(0),
            mean: samples.iter().sum::<u64>() as f64 / samples.len().max(1) as f64,
            max: samples.iter().copied().max().unwrap_or(0),
        }
    }
}

/// Latency of dependent operations, in cycles: from the last slot of the flit with the end of the request at the `rx` pins.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latency {
    /// Cycle modulo 4 in which the operations were issued: the phase against a transmitter that runs freely.
    pub phase: u8,
    /// To the first slot of the flit with the response's header at the `tx` pins.
    pub first: Spread,
    /// To the last slot of the flit that completes the response. A line takes two flits.
    pub whole: Spread,
}

/// Cycles between two operations: credits have been returned and the transmitter is idle.
const GAP: u64 = 40;

/// Measures `samples` dependent operations in each of the four flit phases, one in flight at a time, on random lines. `write` chooses writes (the flit with
/// the last chunk to the NDR) instead of reads; `free_running` lets the device's transmitter send a flit in every frame.
///
/// # Errors
/// [`SystemError`].
pub fn latency(
    system: &mut System,
    write: bool,
    free_running: bool,
    samples: usize,
    seed: u64,
) -> Result<[Latency; 4], SystemError> {
    let control = regs::LinkCtrl::ENABLE.mask();
    let running = regs::LinkCtrl::FREE_RUNNING.with(control, u32::from(free_running));
    system.mmio_write32(regs::LinkCtrl::OFFSET, running)?;
    let mut rng = Rng::new(seed);
    let (base, _) = system.hdm_window();
    let lines = system.capacity() / LINE;
    let mut result = [Latency {
        phase: 0,
        first: Spread::of(&[]),
        whole: Spread::of(&[]),
    }; 4];
    for (phase, out) in result.iter_mut().enumerate() {
        let (mut first, mut whole) = (Vec::with_capacity(samples), Vec::with_capacity(samples));
        for _ in 0..samples {
            system.run(GAP);
            while system.now() % 4 != phase as u64 {
                system.cycle();
            }
            let op = if write {
                Op::write(rng.line())
            } else {
                Op::READ
            };
            system.operate(base + rng.below(lines) * LINE, op)?;
            let marks = system.link().marks();
            first.push(marks.response_start.saturating_sub(marks.request_end));
            whole.push(marks.response_end.saturating_sub(marks.request_end));
        }
        *out = Latency {
            phase: phase as u8,
            first: Spread::of(&first),
            whole: Spread::of(&whole),
        };
    }
    system.mmio_write32(regs::LinkCtrl::OFFSET, control)?;
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixes_have_their_proportions() {
        let writes = |mix: Mix| (0..600).filter(|&n| mix.is_write(n)).count();
        assert_eq!(Mix::ALL.map(writes), [0, 600, 200, 300]);
    }

    #[test]
    fn spread_of_samples() {
        assert_eq!(
            Spread::of(&[3, 1, 2]),
            Spread {
                min: 1,
                mean: 2.0,
                max: 3
            }
        );
        assert_eq!(
            Spread::of(&[]),
            Spread {
                min: 0,
                mean: 0.0,
                max: 0
            }
        );
    }
}
