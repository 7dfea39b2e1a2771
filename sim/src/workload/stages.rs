//! Where the cycles of an idle access go: one operation followed through the stages of the pipeline.

use super::GAP;
use crate::home::golden::LINE;
use crate::rng::Rng;
use crate::system::{System, SystemError};
use crate::Op;
use cxlmem_hdl::probes;

/// Cycles that one operation spent in each stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakdown {
    /// Stage and cycles, in order of the pipeline, [`probes::PINS`] first. They add up to `total`.
    pub stages: Vec<(&'static str, u64)>,
    /// Latency as the pins show it: last slot of the request's flit in, to first slot of the response's flit out.
    pub total: u64,
}

/// Why an operation could not be followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// The operation failed.
    #[error(transparent)]
    System(#[from] SystemError),
    /// The operation was not seen where it must pass.
    #[error("the operation was not seen in stage `{stage}` between cycles {from} and {to}: correct hdl/src/probes.rs")]
    NotSeen {
        /// Stage that was waited for.
        stage: &'static str,
        /// First cycle in which it could have been there.
        from: u64,
        /// Cycle of the response at the pins.
        to: u64,
    },
}

/// Follows `samples` idle operations on random lines, one at a time; returns the slowest.
///
/// # Errors
/// [`StageError`].
pub fn stages(
    system: &mut System,
    write: bool,
    samples: usize,
    seed: u64,
) -> Result<Breakdown, StageError> {
    let mut rng = Rng::new(seed);
    let (base, _) = system.hdm_window();
    let lines = system.capacity() / LINE;
    let mut next = |system: &mut System| {
        system.run(GAP);
        let address = base + rng.below(lines) * LINE;
        let op = if write {
            Op::write(rng.line())
        } else {
            Op::READ
        };
        follow(system, address, op)
    };
    let mut slowest = next(system)?;
    for _ in 1..samples {
        let other = next(system)?;
        if other.total > slowest.total {
            slowest = other;
        }
    }
    Ok(slowest)
}

/// Runs one operation and finds the first cycle of every stage on its way, each later than the one before.
fn follow(system: &mut System, address: u64, op: Op) -> Result<Breakdown, StageError> {
    let way = if matches!(op, Op::Read { .. }) {
        probes::READ
    } else {
        probes::WRITE
    };
    let start = system.now();
    system.dut_mut().start_recording();
    let done = system.operate(address, op);
    let recording = system.dut_mut().stop_recording();
    done.map_err(SystemError::from)?;
    let marks = system.link().marks();
    let (mut name, mut entered) = (probes::PINS, marks.request_end);
    let mut stages = Vec::with_capacity(way.len() + 1);
    for stage in way {
        let from = entered + 1;
        let bit = probes::bit(stage).unwrap_or(u32::MAX);
        let seen = (from..marks.response_start).find(|cycle| {
            let word = recording.probes().get((cycle - start) as usize);
            word.is_some_and(|w| w.checked_shr(bit).unwrap_or(0) & 1 == 1)
        });
        let at = seen.ok_or(StageError::NotSeen {
            stage,
            from,
            to: marks.response_start,
        })?;
        stages.push((name, at - entered));
        (name, entered) = (stage, at);
    }
    stages.push((name, marks.response_start - entered));
    Ok(Breakdown {
        stages,
        total: marks.response_start - marks.request_end,
    })
}
