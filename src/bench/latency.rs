//! Idle latency of every configuration, in cycles between pins, and this machine's own memory beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use cxlmem_hdl::{Backend, Config};
use cxlmem_protocol::regs;
use cxlmem_sim::home::Done;
use cxlmem_sim::link::Marks;
use cxlmem_sim::system::{Options, System};
use cxlmem_sim::{Op, Ticket};

use super::figures::{self, size_name, Kind};
use super::{dram, is_on_chip, Bench};
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

/// One operation from an idle device.
struct Idle {
    /// Last request slot in, to first response slot out.
    first: u64,
    /// Last request slot in, to last slot of the flit that completes the response.
    whole: u64,
}

/// Measures.
pub fn run(b: &mut Bench) -> Result<()> {
    let repeats = if b.quick { 4 } else { 32 };
    let bar = b.progress.bar(Config::all().len() as u64, "idle latency");
    for config in Config::all() {
        bar.say(format!("idle latency of {}", config.name));
        one(b, config, repeats).with_context(|| format!("idle latency of configuration {}", config.name))?;
        bar.add(1);
    }
    drop(bar);
    stages(b, repeats)?;
    host(b);
    Ok(())
}

fn one(b: &mut Bench, config: &'static Config, repeats: u64) -> Result<()> {
    let mut system = b.system(config)?;
    let mut lines = Traffic::new(Workload::Read, &system, b.rng(3).next_u64());
    let name = config.name;
    let mut worst = BTreeMap::new();
    for (probe, kind, kind_ns) in [
        (Probe::Read, &figures::READ_IDLE_CONFIG, &figures::READ_IDLE_CONFIG_NS),
        (Probe::Write, &figures::WRITE_IDLE_CONFIG, &figures::WRITE_IDLE_CONFIG_NS),
    ] {
        let mut slowest = Idle { first: 0, whole: 0 };
        for _ in 0..repeats {
            let idle = idle(&mut system, lines.address(), probe, REST)?;
            slowest = Idle { first: slowest.first.max(idle.first), whole: slowest.whole.max(idle.whole) };
        }
        b.figures.add(kind, &[name], slowest.first as f64);
        b.figures.add(kind_ns, &[name], Bench::ns(config, slowest.first as f64));
        if probe == Probe::Read {
            b.figures.add(&figures::READ_LINE, &[name], slowest.whole as f64);
        }
        worst.insert(probe == Probe::Write, slowest.first);
        phases(b, &mut system, &mut lines, probe, repeats)?;
    }
    let chain = repeats * 4;
    let read = dependent(&mut system, &mut lines, Probe::Read, chain)?;
    let write = dependent(&mut system, &mut lines, Probe::Write, chain)?;
    b.figures.add(&figures::READ_DEPENDENT, &[name], read);
    b.figures.add(&figures::WRITE_DEPENDENT, &[name], write);
    b.figures.add(&figures::READ_DEPENDENT_NS, &[name], Bench::ns(config, read));
    ensure!(system.home().first_difference().is_none(), "a wrong response: {}", system.home().first_difference().map_or(String::new(), |d| d.to_string()));
    if config.name == b.config.name {
        let (read, write) = (worst[&false] as f64, worst[&true] as f64);
        // The targets are the RTL's: behind the external port the memory's own latency is in the figure.
        let judged = |kind: &'static Kind| kind.target.filter(|_| is_on_chip(config));
        b.figures.add_judged(&figures::READ_IDLE, &[], read, judged(&figures::READ_IDLE));
        b.figures.add_judged(&figures::WRITE_IDLE, &[], write, judged(&figures::WRITE_IDLE));
        b.figures.add_judged(&figures::READ_IDLE_NS, &[], Bench::ns(config, read), judged(&figures::READ_IDLE_NS));
        b.figures.add(&figures::WRITE_IDLE_NS, &[], Bench::ns(config, write));
    }
    Ok(())
}

/// Runs until the operation is done; its result and the marks of that cycle.
fn finish(system: &mut System, ticket: Ticket) -> Result<(Done, Marks)> {
    for _ in 0..PATIENCE {
        if let Some(result) = system.poll(ticket) {
            return Ok((result?, system.link().marks()));
        }
        system.cycle();
    }
    anyhow::bail!("no response within {PATIENCE} cycles: the device hangs")
}

/// One operation on a device that has rested for so many cycles.
fn idle(system: &mut System, address: u64, probe: Probe, rest: u64) -> Result<Idle> {
    system.run(rest);
    let ticket = system.issue(address, probe.op())?;
    let (_, marks) = finish(system, ticket)?;
    let since = |cycle: u64| cycle.checked_sub(marks.request_end).context("a response before its request");
    Ok(Idle { first: since(marks.response_start)?, whole: since(marks.response_end)? })
}

/// The same with a transmitter that never rests: the request meets its flits at each of their four slots in turn.
fn phases(b: &mut Bench, system: &mut System, lines: &mut Traffic, probe: Probe, repeats: u64) -> Result<()> {
    let (mean, worst) = match probe {
        Probe::Read => (&figures::READ_PHASE_MEAN, &figures::READ_PHASE_WORST),
        Probe::Write => (&figures::WRITE_PHASE_MEAN, &figures::WRITE_PHASE_WORST),
    };
    let control = system.mmio_read32(regs::LinkCtrl::OFFSET).context("cannot read LinkCtrl")?;
    let set = |s: &mut System, value| s.mmio_write32(regs::LinkCtrl::OFFSET, value).context("cannot write LinkCtrl");
    set(system, regs::LinkCtrl::FREE_RUNNING.with(control, 1))?;
    let mut slowest = [0; FLIT as usize];
    for (phase, slowest) in (0..).zip(&mut slowest) {
        for _ in 0..repeats.div_ceil(4) {
            system.run(REST);
            while system.now() % FLIT != phase {
                system.cycle();
            }
            *slowest = idle(system, lines.address(), probe, 0)?.first.max(*slowest);
        }
    }
    set(system, control)?;
    let config = system.config().name;
    b.figures.add(mean, &[config], slowest.iter().sum::<u64>() as f64 / FLIT as f64);
    b.figures.add(worst, &[config], slowest.iter().copied().max().unwrap_or(0) as f64);
    Ok(())
}

/// Cycles an operation when each waits for the one before, as the host sees it.
fn dependent(system: &mut System, lines: &mut Traffic, probe: Probe, count: u64) -> Result<f64> {
    system.run(REST);
    let start = system.now();
    for _ in 0..count {
        let ticket = system.issue(lines.address(), probe.op())?;
        finish(system, ticket)?;
    }
    Ok((system.now() - start) as f64 / count as f64)
}

/// Parts of an idle read and write, from the pins of the external memory port with a memory that answers in the next cycle: the only place where the
/// pipeline shows its inside without changing it.
fn stages(b: &mut Bench, repeats: u64) -> Result<()> {
    let Some(config) = Config::all().iter().find(|c| c.backend == Backend::External) else { return Ok(()) };
    let mut options = Options { seed: b.seed, host_mem_bytes: 1 << 20, ..Options::default() };
    options.ext.latency = 1;
    let mut system = System::new(config.name, options)?;
    system.bring_up()?;
    let mut lines = Traffic::new(Workload::Read, &system, b.rng(4).next_u64());
    for (probe, kind) in [(Probe::Read, &figures::READ_STAGE), (Probe::Write, &figures::WRITE_STAGE)] {
        let mut parts: BTreeMap<&str, u64> = BTreeMap::new();
        for _ in 0..repeats {
            for (name, cycles) in port_stages(&mut system, lines.address(), probe)? {
                let entry = parts.entry(name).or_default();
                *entry = cycles.max(*entry);
            }
        }
        for (name, cycles) in parts {
            b.figures.add(kind, &[name], cycles as f64);
        }
    }
    b.note(format!(
        "stages are seen at the memory port's pins of configuration {} with a memory that answers in the next cycle: request (CRC, decode, HDM decoder, tracker), \
         memory (first to last beat), response (tracker, packing, first slot out)",
        config.name
    ));
    Ok(())
}

/// Cycles of one operation before, at and after the memory port.
fn port_stages(system: &mut System, address: u64, probe: Probe) -> Result<Vec<(&'static str, u64)>> {
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
        ensure!(now < start + PATIENCE, "no response within {PATIENCE} cycles: the device hangs");
        system.cycle();
    };
    let first: u64 = first.context("the operation was not seen at the memory port")?;
    if probe == Probe::Read {
        // One cycle of the memory, and the line's four beats.
        last = first + FLIT;
    }
    let span = |from: u64, to: u64| to.checked_sub(from).context("the stages of the pipeline overlap");
    // A write's first beats reach the port before its last flit is complete.
    let entered = first.max(marks.request_end);
    Ok(vec![
        ("1-request", span(marks.request_end, entered)?),
        ("2-memory", span(entered, last)?),
        ("3-response", span(last, marks.response_start)?),
    ])
}

/// This machine's own memory.
fn host(b: &mut Bench) {
    let (sets, budget) = if b.quick { (dram::QUICK_SETS, Duration::from_millis(60)) } else { (dram::SETS, Duration::from_millis(400)) };
    let bar = b.progress.bar(sets.len() as u64, "this machine's own memory");
    let mut rng = b.rng(5);
    let mut huge = None;
    for &bytes in sets {
        let name = size_name(bytes);
        match dram::measure(bytes, budget, &mut rng) {
            None => b.figures.add_not_run(&figures::DRAM_READ, &[&name], "the system gave no memory for the working set"),
            Some(l) => {
                b.figures.add(&figures::DRAM_READ, &[&name], l.read.min);
                b.figures.add(&figures::DRAM_READ_MEDIAN, &[&name], l.read.median);
                b.figures.add(&figures::DRAM_WRITE, &[&name], l.write.min);
                b.figures.add(&figures::DRAM_WRITE_MEDIAN, &[&name], l.write.median);
                b.figures.add(&figures::DRAM_SPREAD, &[&name], l.read.max - l.read.min);
                huge = l.huge_share;
            }
        }
        bar.add(1);
    }
    drop(bar);
    match huge {
        Some(share) => b.figures.add(&figures::DRAM_HUGE, &[], share),
        None => b.figures.add_not_run(&figures::DRAM_HUGE, &[], "the system does not tell (/proc/self/smaps_rollup)"),
    }
    b.note(format!("own memory measured on: {}", dram::processor()));
}
