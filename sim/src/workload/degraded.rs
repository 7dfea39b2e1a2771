//! What bit errors cost: operations a cycle under faults against the clean link of the same run, and the shortest usable TIMEOUT.

use super::{drain, Mix, Saturate, WARM_UP};
use crate::link::{Faults, WireFaults};
use crate::rng::Rng;
use crate::system::{Options, System, SystemError};
use cxlmem_protocol::flit::Direction;
use cxlmem_protocol::regs;
use cxlmem_protocol::retry::Limits;

/// A bit error rate, the share of the clean link that is to be reached, and what an ideal go-back-N simulation reaches (cxl-mem 8.4).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Goal {
    /// Errors per bit, in both directions.
    pub ber: f64,
    /// Share to be reached.
    pub share: f64,
    /// Bound of go-back-N, about.
    pub bound: f64,
}

/// The goals, rarest errors first.
pub const GOALS: [Goal; 3] = [
    Goal {
        ber: 1e-6,
        share: 0.98,
        bound: 0.98,
    },
    Goal {
        ber: 1e-5,
        share: 0.87,
        bound: 0.89,
    },
    Goal {
        ber: 1e-4,
        share: 0.28,
        bound: 0.35,
    },
];

/// A measurement of what bit errors cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Degraded {
    /// What ran.
    pub mix: Mix,
    /// Errors per bit, in both directions.
    pub ber: f64,
    /// Cycles of each of the two runs.
    pub cycles: u64,
    /// Operations done with a clean wire.
    pub clean: u64,
    /// Operations done with bit errors.
    pub faulty: u64,
    /// Flits damaged on the wire, both directions.
    pub damaged: u64,
    /// RETRY.Req sent, both ends.
    pub requests: u64,
    /// Flits sent again, both ends.
    pub replayed: u64,
    /// Re-initialisations of the physical layer.
    pub reinits: u64,
}

impl Degraded {
    /// Operations a cycle with bit errors over those without.
    pub fn share(&self) -> f64 {
        self.faulty as f64 / self.clean.max(1) as f64
    }
}

/// Sets TIMEOUT (flits) at both ends; the other thresholds are the defaults.
///
/// # Errors
/// [`SystemError::Access`].
pub fn set_timeout(system: &mut System, timeout: u16) -> Result<(), SystemError> {
    system.link_mut().set_limits(Limits {
        timeout,
        ..Limits::default()
    });
    let limits = system.mmio_read32(regs::LlrLimits::OFFSET)?;
    let limits = regs::LlrLimits::TIMEOUT.with(limits, timeout.into());
    system.mmio_write32(regs::LlrLimits::OFFSET, limits)?;
    system.mmio_read32(regs::LlrLimits::OFFSET)?;
    Ok(())
}

/// What both ends and the wire counted.
struct Sum {
    damaged: u64,
    requests: [u64; 2],
    replayed: u64,
    reinits: u64,
}

impl Sum {
    fn of(system: &mut System) -> Result<Self, SystemError> {
        let mut device = |offset| system.mmio_read32(offset).map(u64::from);
        let requests = device(regs::RetryRequests::OFFSET)?;
        let replays = device(regs::RetryReplays::OFFSET)?;
        let link = system.link();
        Ok(Self {
            damaged: [Direction::M2s, Direction::S2m]
                .map(|d| link.wire_counters(d).damaged)
                .iter()
                .sum(),
            requests: [requests, link.counters().retry_requests],
            replayed: replays + link.counters().replayed,
            reinits: link.counters().reinits,
        })
    }
}

/// Runs a mix for `cycles` cycles on a clean wire and for as many with bit errors in both directions.
///
/// # Errors
/// [`SystemError`]: a wrong response, or the link was given up.
pub fn degraded(
    system: &mut System,
    mix: Mix,
    ber: f64,
    cycles: u64,
    seed: u64,
) -> Result<Degraded, SystemError> {
    let mut traffic = Saturate::new(system, mix, &mut Rng::new(seed));
    traffic.run(system, WARM_UP)?;
    let start = system.home().counters().done;
    traffic.run(system, cycles)?;
    let clean = system.home().counters().done - start;
    system.link_mut().set_faults(Faults::both(WireFaults {
        ber,
        ..Default::default()
    }));
    let before = Sum::of(system)?;
    // The registers were read while the link was running: what was done meanwhile is not counted.
    let start = system.home().counters().done;
    traffic.run(system, cycles)?;
    let faulty = system.home().counters().done - start;
    system.link_mut().set_faults(Faults::default());
    let after = Sum::of(system)?;
    drain(system)?;
    Ok(Degraded {
        mix,
        ber,
        cycles,
        clean,
        faulty,
        damaged: after.damaged - before.damaged,
        requests: after.requests.iter().sum::<u64>() - before.requests.iter().sum::<u64>(),
        replayed: after.replayed - before.replayed,
        reinits: after.reinits - before.reinits,
    })
}

/// Single errors of one probe of a TIMEOUT, and the cycles between them.
const PROBES: u64 = 32;
const BETWEEN: u64 = 397;

/// The round trip of a request in flits, from RETRY.Req to its RETRY.Ack: the smallest TIMEOUT with which each of some single errors in `direction`
/// costs exactly one RETRY.Req under full load in both directions. It covers the way there, the frames, what is in front of the answer, and the way back.
/// Uses a system of its own, whose link is given up when the search ends.
///
/// # Errors
/// [`SystemError`]; [`SystemError::Timeout`] if even `limit` is too short.
pub fn round_trip(
    config: &str,
    options: Options,
    direction: Direction,
    limit: u16,
) -> Result<u16, SystemError> {
    let mut system = System::new(config, options)?;
    system.bring_up()?;
    let mut traffic = Saturate::new(&system, Mix::OneToOne, &mut Rng::new(1));
    // The device asks for what is damaged on the way to it.
    let end = usize::from(direction == Direction::S2m);
    // Downwards: with a TIMEOUT that is too short no answer is ever taken.
    let mut shortest = None;
    for timeout in (1..=limit).rev() {
        set_timeout(&mut system, timeout)?;
        let before = Sum::of(&mut system)?.requests[end];
        for _ in 0..PROBES {
            system.link_mut().corrupt_next(direction);
            traffic.run(&mut system, BETWEEN)?;
        }
        if Sum::of(&mut system)?.requests[end] - before != PROBES {
            break;
        }
        shortest = Some(timeout);
    }
    shortest.ok_or(SystemError::Timeout {
        what: "an answer to RETRY.Req (raise the limit)",
        after: limit.into(),
    })
}
