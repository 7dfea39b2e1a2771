//! What the Rust harness costs over a bare C++ loop that drives the same model with the same inputs.

use super::{Mix, Saturate};
use crate::dut::Dut;
use crate::rng::Rng;
use crate::system::{Options, System, SystemError};
use std::time::{Duration, Instant};

/// Speed of the simulation with and without the harness, side by side.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HarnessCost {
    /// Cycles timed, each way.
    pub cycles: u64,
    /// Simulated cycles per second of wall clock, Rust harness: link, home agent, checker, CXL.io.
    pub rust_cycles_per_s: f64,
    /// The same of the bare loop.
    pub bare_cycles_per_s: f64,
    /// Time of the Rust harness over time of the bare loop: 1.0 costs nothing.
    pub ratio: f64,
    /// True if both made the device send the same slots.
    pub same_output: bool,
}

/// Rounds of a measurement: both ways take turns, and the fastest round of each counts, so that other load on the machine shows little.
const ROUNDS: u64 = 32;
const WARM_UP: u64 = 2_000;

/// Measures saturated reads of a configuration over `cycles` cycles each way.
///
/// # Errors
/// [`SystemError`].
pub fn harness_cost(config: &str, cycles: u64, seed: u64) -> Result<HarnessCost, SystemError> {
    let chunk = (cycles / ROUNDS).max(1);
    let start = |record| -> Result<(System, Saturate), SystemError> {
        let mut system = System::new(
            config,
            Options {
                seed,
                record,
                ..Default::default()
            },
        )?;
        system.bring_up()?;
        let mut traffic = Saturate::new(&system, Mix::Reads, &mut Rng::new(seed));
        traffic.run(&mut system, WARM_UP)?;
        Ok((system, traffic))
    };
    // Equal options give equal runs: once with recording, once timed.
    let (mut recorded, mut traffic) = start(true)?;
    recorded.dut_mut().mark_recording();
    traffic.run(&mut recorded, chunk * ROUNDS)?;
    let recording = recorded.dut_mut().stop_recording();
    drop(recorded);

    let (mut system, mut traffic) = start(false)?;
    let mut bare = Dut::new(config)?;
    bare.replay(&recording, 0, recording.mark(), 0);
    let (mut rust_time, mut bare_time) = (Duration::MAX, Duration::MAX);
    let mut digest = 0;
    for round in 0..ROUNDS {
        let begin = Instant::now();
        traffic.run(&mut system, chunk)?;
        rust_time = rust_time.min(begin.elapsed());
        let from = recording.mark() + (round * chunk) as usize;
        let begin = Instant::now();
        digest = bare.replay(&recording, from, from + chunk as usize, digest);
        bare_time = bare_time.min(begin.elapsed());
    }
    Ok(HarnessCost {
        cycles: chunk * ROUNDS,
        rust_cycles_per_s: chunk as f64 / rust_time.as_secs_f64(),
        bare_cycles_per_s: chunk as f64 / bare_time.as_secs_f64(),
        ratio: rust_time.as_secs_f64() / bare_time.as_secs_f64(),
        same_output: digest == recording.digest(),
    })
}
