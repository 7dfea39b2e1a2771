//! Idle latency of every configuration, in cycles between pins, and this machine's own memory beside it.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use cxlmem_hdl::{Backend, Config};
use cxlmem_sim::system::System;
use cxlmem_sim::workload::{latency, stages};
use cxlmem_sim::Op;

use super::figures::{self, size_name, Kind};
use super::{dram, placed, Bench};
use crate::traffic::{Traffic, Workload};

/// Cycles that let everything come to rest: longer than any latency, credits returned.
const REST: u64 = 200;

/// Which operation is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probe {
    Read,
    Write,
}

impl Probe {
    fn op(self) -> Op {
        match self {
            Probe::Read => Op::READ,
            Probe::Write => Op::write([0xC3; 64]),
        }
    }
}

/// Measures.
pub fn run(b: &mut Bench) -> Result<()> {
    let samples = if b.quick { 4 } else { 32 };
    let bar = b.progress.bar(Config::all().len() as u64, "idle latency");
    for config in Config::all() {
        bar.say(format!("idle latency of {}", config.name));
        match one(b, config, samples) {
            Ok(()) => {}
            Err(e) if config.name != b.config.name => {
                // The chosen configuration must work; another one's trouble is shown and does not keep the rest from running.
                for kind in [&figures::READ_IDLE_CONFIG, &figures::WRITE_IDLE_CONFIG] {
                    b.figures
                        .add_not_run(kind, &[config.name], &format!("{e:#}"));
                }
            }
            Err(e) => {
                return Err(e.context(format!("idle latency of configuration {}", config.name)))
            }
        }
        bar.add(1);
    }
    drop(bar);
    breakdown(b, samples).context("stages of an idle access")?;
    placed::idle(b);
    host(b);
    Ok(())
}

/// Figures of one kind of operation.
struct Kinds {
    probe: Probe,
    idle: &'static Kind,
    ns: &'static Kind,
    mean: &'static Kind,
    worst: &'static Kind,
    dependent: &'static Kind,
    chosen: &'static Kind,
    stage: &'static Kind,
}

static READS: Kinds = Kinds {
    probe: Probe::Read,
    idle: &figures::READ_IDLE_CONFIG,
    ns: &figures::READ_IDLE_CONFIG_NS,
    mean: &figures::READ_PHASE_MEAN,
    worst: &figures::READ_PHASE_WORST,
    dependent: &figures::READ_DEPENDENT,
    chosen: &figures::READ_IDLE,
    stage: &figures::READ_STAGE,
};

static WRITES: Kinds = Kinds {
    probe: Probe::Write,
    idle: &figures::WRITE_IDLE_CONFIG,
    ns: &figures::WRITE_IDLE_CONFIG_NS,
    mean: &figures::WRITE_PHASE_MEAN,
    worst: &figures::WRITE_PHASE_WORST,
    dependent: &figures::WRITE_DEPENDENT,
    chosen: &figures::WRITE_IDLE,
    stage: &figures::WRITE_STAGE,
};

fn one(b: &mut Bench, config: &'static Config, samples: usize) -> Result<()> {
    let mut system = b.system(config)?;
    let name = config.name;
    for kinds in [&READS, &WRITES] {
        let is_write = kinds.probe == Probe::Write;
        let seed = b.rng(3).next_u64();
        // From an idle transmitter the phase makes no difference; the slowest sample of all phases is the figure all the same.
        let idle = latency(&mut system, is_write, false, samples, seed)?;
        let first = idle.iter().map(|l| l.first.max).max().unwrap_or(0) as f64;
        let whole = idle.iter().map(|l| l.whole.max).max().unwrap_or(0) as f64;
        let running = latency(&mut system, is_write, true, samples, seed)?;
        let mean = running.iter().map(|l| l.first.mean).sum::<f64>() / running.len() as f64;
        let worst = running.iter().map(|l| l.first.max).max().unwrap_or(0) as f64;
        b.figures.add(kinds.idle, &[name], first);
        b.figures.add(kinds.ns, &[name], Bench::ns(config, first));
        b.figures.add(kinds.mean, &[name], mean);
        b.figures.add(kinds.worst, &[name], worst);
        let chain = dependent(&mut system, kinds.probe, samples * 8, b.rng(8).next_u64())?;
        b.figures.add(kinds.dependent, &[name], chain);
        if !is_write {
            b.figures.add(&figures::READ_LINE, &[name], whole);
            b.figures.add(
                &figures::READ_DEPENDENT_NS,
                &[name],
                Bench::ns(config, chain),
            );
        }
        if name == b.config.name {
            // The targets are the RTL's: behind the external port the memory's own latency is in the figure.
            let judged =
                |kind: &'static Kind| kind.target.filter(|_| config.backend == Backend::Block);
            b.figures
                .add_judged(kinds.chosen, &[], first, judged(kinds.chosen));
        }
    }
    match system.home().first_difference() {
        None => Ok(()),
        Some(difference) => bail!("a wrong response: {difference}"),
    }
}

/// Cycles an operation when each waits for the one before, as the host sees it.
fn dependent(system: &mut System, probe: Probe, count: usize, seed: u64) -> Result<f64> {
    let mut lines = Traffic::new(Workload::Read, system, u64::MAX, seed);
    system.run(REST);
    let start = system.now();
    for _ in 0..count {
        system.operate(lines.address(), probe.op())?;
    }
    Ok((system.now() - start) as f64 / count as f64)
}

/// Where the cycles of an idle read and write go in the chosen configuration.
fn breakdown(b: &mut Bench, samples: usize) -> Result<()> {
    let mut system = b.system(b.config)?;
    for kinds in [&READS, &WRITES] {
        let is_write = kinds.probe == Probe::Write;
        let found = stages(&mut system, is_write, samples, b.rng(4).next_u64())?;
        // Another measurement, on other lines, by the pins alone: were a stage missed or counted twice, the two would differ.
        let idle = b.figures.value(kinds.chosen.id);
        ensure!(
            idle == Some(found.total as f64),
            "the stages add up to {} cycles, `{}` is {}",
            found.total,
            kinds.chosen.id,
            idle.map_or("missing".to_string(), figures::number)
        );
        for (stage, cycles) in found.stages {
            b.figures.add(kinds.stage, &[stage], cycles as f64);
        }
    }
    Ok(())
}

/// This machine's own memory.
fn host(b: &mut Bench) {
    let (sets, budget) = if b.quick {
        (dram::QUICK_SETS, Duration::from_millis(60))
    } else {
        (dram::SETS, Duration::from_millis(400))
    };
    let bar = b
        .progress
        .bar(sets.len() as u64, "this machine's own memory");
    let mut rng = b.rng(5);
    let mut huge = None;
    for &bytes in sets {
        let name = size_name(bytes);
        match dram::measure(bytes, budget, &mut rng) {
            None => b.figures.add_not_run(
                &figures::DRAM_READ,
                &[&name],
                "the system gave no memory for the working set",
            ),
            Some((walks, share)) => {
                b.add_own_memory(&name, &walks);
                huge = share;
            }
        }
        bar.add(1);
    }
    drop(bar);
    match huge {
        Some(share) => b.figures.add(&figures::DRAM_HUGE, &[], share),
        None => b.figures.add_not_run(
            &figures::DRAM_HUGE,
            &[],
            "the system does not tell (/proc/self/smaps_rollup)",
        ),
    }
    b.note(format!("own memory measured on: {}", dram::processor()));
}
