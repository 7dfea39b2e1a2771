//! Saturated traffic against its bounds, and the speed of the simulator that carries it.

use anyhow::{ensure, Context, Result};
use cxlmem_sim::workload::{bandwidth, harness_cost, Mix};

use super::figures::{self, Kind, Target};
use super::Bench;

/// Bytes of a slot.
const SLOT: f64 = 16.0;

/// How a mix is called in ids, and its figure.
fn names(mix: Mix) -> (&'static str, &'static Kind) {
    match mix {
        Mix::Reads => ("read", &figures::READ_SHARE),
        Mix::Writes => ("write", &figures::WRITE_SHARE),
        Mix::TwoToOne => ("mix21", &figures::MIX21_SHARE),
        Mix::OneToOne => ("mix11", &figures::MIX11_SHARE),
    }
}

/// Measures.
pub fn run(b: &mut Bench) -> Result<()> {
    let cycles = if b.quick { 8_000 } else { 60_000 };
    let bar = b.progress.bar(Mix::ALL.len() as u64 + 1, "bandwidth");
    for mix in Mix::ALL {
        bar.say(format!("bandwidth, {}", mix.name()));
        one(b, mix, cycles).with_context(|| format!("saturated traffic, {}", mix.name()))?;
        bar.add(1);
    }
    bar.say("speed of the simulator");
    speed(b)
}

fn one(b: &mut Bench, mix: Mix, cycles: u64) -> Result<()> {
    let mut system = b.system(b.config)?;
    let found = bandwidth(&mut system, mix, cycles, b.rng(6).next_u64())?;
    let (name, share) = names(mix);
    let payload = found.reached.read + found.reached.write;
    b.figures.add(share, &[], found.share);
    b.figures.add(&figures::BW_PAYLOAD, &[name], payload);
    b.figures.add(
        &figures::BW_SLOT_BOUND,
        &[name],
        found.slot_bound.read + found.slot_bound.write,
    );
    // The memory serves a mix in proportion: the direction that it limits first decides.
    let memory = |slots: f64, port: f64| {
        if slots > 0.0 {
            port / slots
        } else {
            f64::INFINITY
        }
    };
    let scale = memory(found.slot_bound.read, found.backend_bound.read)
        .min(memory(found.slot_bound.write, found.backend_bound.write));
    b.figures.add(
        &figures::BW_MEMORY_BOUND,
        &[name],
        scale * (found.slot_bound.read + found.slot_bound.write),
    );
    // Where answers are the limit, requests pile up by design and the host waits for their credits; where the host's own wire is, it must not.
    let by_answers = found.slot_bound.read > found.slot_bound.write;
    let host = if by_answers {
        0
    } else {
        found.host_credit_wait
    };
    b.figures.add(
        &figures::BW_STALL,
        &[name],
        (found.device_credit_stall + host) as f64,
    );
    b.figures.add(
        &figures::BW_WAIT,
        &[name],
        found.host_credit_wait as f64 / found.cycles as f64,
    );
    b.figures
        .add(&figures::BW_BYTES, &[name], payload * SLOT * b.clock_hz());
    Ok(())
}

/// Cycles a second with the harness, and side by side the same cycles in a bare C++ loop.
fn speed(b: &mut Bench) -> Result<()> {
    let cycles = if b.quick { 40_000 } else { 400_000 };
    let cost = harness_cost(b.config.name, cycles, b.rng(7).next_u64())
        .context("speed of the simulator")?;
    ensure!(cost.same_output, "the bare loop did not make the device send what the harness made it send: their times cannot be compared");
    let version = cxlmem_sim::VERILATOR_VERSION;
    b.figures.add_judged(
        &figures::SIM_SPEED,
        &[],
        cost.rust_cycles_per_s,
        Some(Target::AtLeast(speed_target(version))),
    );
    b.figures.add(&figures::SIM_HARNESS, &[], cost.ratio);
    b.note(format!("speed of the simulator: models made by Verilator {version}; saturated reads, {} cycles each way, harness and bare loop in turns", cost.cycles));
    Ok(())
}

/// Cycles a second to reach, by the Verilator that made the models: from 5.040 on they are much faster.
fn speed_target(version: &str) -> f64 {
    let mut parts = version.split('.').map(|p| p.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    if version < (5, 40) {
        200_000.0
    } else {
        500_000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_to_reach_depends_on_verilator() {
        for (version, target) in [
            ("5.006", 200_000.0),
            ("5.039", 200_000.0),
            ("5.040", 500_000.0),
            ("5.048", 500_000.0),
            ("6.000", 500_000.0),
        ] {
            assert_eq!(speed_target(version), target, "{version}");
        }
        // What was built says which Verilator made it.
        assert!(cxlmem_sim::VERILATOR_VERSION.starts_with("5."));
    }
}
