//! Idle latency of every configuration, in cycles between pins, and this machine's own memory beside it.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use cxlmem_hdl::{Backend, Config};
use cxlmem_sim::system::{Options, System};
use cxlmem_sim::workload::latency;
use cxlmem_sim::Op;

use super::figures::{self, size_name, Kind};
use super::{dram, Bench};
use crate::traffic::{Traffic, Workload};

/// Cycles that let everything come to rest: longer than any latency, credits returned.
const REST: u64 = 200;
/// Slots of a flit, cycles.
const FLIT: u64 = 4;
/// Bound of a wait for one operation.
const PATIENCE: u64 = 10_000;

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
    if let Err(e) = stages(b, samples) {
        for kind in [&figures::READ_STAGE, &figures::WRITE_STAGE] {
            b.figures.add_not_run(kind, &["request"], &format!("{e:#}"));
        }
    }
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
    chosen_ns: &'static Kind,
}

static READS: Kinds = Kinds {
    probe: Probe::Read,
    idle: &figures::READ_IDLE_CONFIG,
    ns: &figures::READ_IDLE_CONFIG_NS,
    mean: &figures::READ_PHASE_MEAN,
    worst: &figures::READ_PHASE_WORST,
    dependent: &figures::READ_DEPENDENT,
    chosen: &figures::READ_IDLE,
    chosen_ns: &figures::READ_IDLE_NS,
};

static WRITES: Kinds = Kinds {
    probe: Probe::Write,
    idle: &figures::WRITE_IDLE_CONFIG,
    ns: &figures::WRITE_IDLE_CONFIG_NS,
    mean: &figures::WRITE_PHASE_MEAN,
    worst: &figures::WRITE_PHASE_WORST,
    dependent: &figures::WRITE_DEPENDENT,
    chosen: &figures::WRITE_IDLE,
    chosen_ns: &figures::WRITE_IDLE_NS,
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
            b.figures.add_judged(
                kinds.chosen_ns,
                &[],
                Bench::ns(config, first),
                judged(kinds.chosen_ns),
            );
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

/// Parts of an idle read and write, from the pins of the external memory port with a memory that answers in the next cycle: the only place where the
/// pipeline shows its inside without changing it.
fn stages(b: &mut Bench, samples: usize) -> Result<()> {
    let Some(config) = Config::all()
        .iter()
        .find(|c| c.backend == Backend::External)
    else {
        return Ok(());
    };
    let mut options = Options {
        seed: b.seed,
        host_mem_bytes: 1 << 20,
        ..Options::default()
    };
    options.ext.latency = 1;
    let mut system = System::new(config.name, options)?;
    system.bring_up()?;
    let mut lines = Traffic::new(Workload::Read, &system, u64::MAX, b.rng(4).next_u64());
    for (probe, kind) in [
        (Probe::Read, &figures::READ_STAGE),
        (Probe::Write, &figures::WRITE_STAGE),
    ] {
        let mut slowest = [0; STAGES.len()];
        for _ in 0..samples {
            let cycles = port_stages(&mut system, lines.address(), probe)?;
            slowest = std::array::from_fn(|n| cycles[n].max(slowest[n]));
        }
        for (name, cycles) in STAGES.iter().zip(slowest) {
            b.figures.add(kind, &[name], cycles as f64);
        }
    }
    b.note(format!(
        "stages are those of configuration {}, the only one whose memory port has pins, with a memory that answers in the next cycle: request (CRC, decode, HDM \
         decoder, tracker), memory (to the last beat), response (tracker, packing, first slot out); block RAM needs fewer cycles in all, see read.idle.cycles",
        config.name
    ));
    Ok(())
}

/// Parts that the memory port's pins divide an operation into.
const STAGES: [&str; 3] = ["request", "memory", "response"];

/// Cycles of one operation in each of [`STAGES`].
fn port_stages(system: &mut System, address: u64, probe: Probe) -> Result<[u64; 3]> {
    system.run(REST);
    let (start, mut first, mut last) = (system.now(), None, 0);
    let ticket = system.issue(address, probe.op())?;
    let marks = loop {
        let now = system.now();
        let dut = system.dut_mut();
        let at_port = match probe {
            Probe::Read => dut.ext_rd_valid(),
            Probe::Write => dut.ext_wr_valid(),
        };
        if at_port {
            first.get_or_insert(now);
            last = now;
        }
        if let Some(result) = system.poll(ticket) {
            result?;
            break system.link().marks();
        }
        ensure!(
            now < start + PATIENCE,
            "no response within {PATIENCE} cycles: the device hangs"
        );
        system.cycle();
    };
    let first: u64 = first.context("the operation was not seen at the memory port")?;
    if probe == Probe::Read {
        // The memory takes one cycle to its first beat; the line's last beat is three more.
        last = first + FLIT;
    }
    // A write's first beats may reach the port before its last flit is complete.
    let entered = first.max(marks.request_end);
    let span = |from: u64, to: u64| {
        to.checked_sub(from)
            .context("the stages of the pipeline overlap")
    };
    Ok([
        span(marks.request_end, entered)?,
        span(entered, last)?,
        span(last, marks.response_start)?,
    ])
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
            Some(l) => {
                b.figures.add(&figures::DRAM_READ, &[&name], l.read.min);
                b.figures
                    .add(&figures::DRAM_READ_MEDIAN, &[&name], l.read.median);
                b.figures.add(&figures::DRAM_WRITE, &[&name], l.write.min);
                b.figures
                    .add(&figures::DRAM_WRITE_MEDIAN, &[&name], l.write.median);
                b.figures
                    .add(&figures::DRAM_SPREAD, &[&name], l.read.max - l.read.min);
                huge = l.huge_share;
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
