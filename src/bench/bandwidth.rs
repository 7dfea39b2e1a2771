//! Saturated traffic against its bounds, and the speed of the simulator that carries it.

use std::time::Instant;

use anyhow::{ensure, Context, Result};
use cxlmem_protocol::regs;
use cxlmem_sim::system::{Options, System};
use cxlmem_sim::Dut;

use super::figures::{self, Kind, Target};
use super::Bench;
use crate::traffic::{Traffic, Workload};

/// Operations kept under way: several times what the device can hold, so that it never waits for the host.
const OPEN: u64 = 256;
/// Cycles between top-ups; in this time at most 26 operations end.
const BATCH: u64 = 32;
/// Slots of a line.
const LINE_SLOTS: u64 = 4;
/// Cycles until traffic is steady.
const WARM_UP: u64 = 2_000;

/// A mix with its bounds, data slots a cycle.
struct Mix {
    name: &'static str,
    workload: Workload,
    share: &'static Kind,
    /// By the slot formats (cxl-mem 8.3, HDM-H).
    slots: f64,
    /// By a memory that reads a beat and writes a beat a cycle.
    memory: f64,
    /// The device's transmitter is the direction that limits this mix: a credit that the host waits for costs only while that rests.
    limited_by_answers: bool,
}

const MIXES: &[Mix] = &[
    Mix { name: "read", workload: Workload::Read, share: &figures::READ_SHARE, slots: 4.0 / 5.0, memory: 1.0, limited_by_answers: true },
    Mix { name: "write", workload: Workload::Write, share: &figures::WRITE_SHARE, slots: 4.0 / 5.0, memory: 1.0, limited_by_answers: false },
    Mix { name: "mix21", workload: Workload::Mixed21, share: &figures::MIX21_SHARE, slots: 0.8 + 0.4, memory: 1.5, limited_by_answers: true },
    Mix { name: "mix11", workload: Workload::Mixed, share: &figures::MIX11_SHARE, slots: 2.0 / 3.0 + 2.0 / 3.0, memory: 2.0, limited_by_answers: false },
];

/// Measures.
pub fn run(b: &mut Bench) -> Result<()> {
    let window = if b.quick { 4_000 } else { 40_000 };
    let bar = b.progress.bar(MIXES.len() as u64 + 1, "bandwidth");
    for mix in MIXES {
        bar.say(format!("bandwidth, {}", mix.name));
        saturate(b, mix, window).with_context(|| format!("saturated traffic, {}", mix.name))?;
        bar.add(1);
    }
    bar.say("speed of the simulator");
    speed(b)
}

fn saturate(b: &mut Bench, mix: &Mix, window: u64) -> Result<()> {
    let mut system = b.system(b.config)?;
    let mut traffic = Traffic::new(mix.workload, &system, b.rng(6).next_u64());
    drive(&mut system, &mut traffic, WARM_UP)?;
    let stalled = |s: &mut System| s.mmio_read32(regs::CreditStall::OFFSET).context("cannot read the device's counter");
    let device_before = stalled(&mut system)?;
    let (before, start) = (system.link().counters(), system.now());
    let mut waits = 0;
    let mut seen = before.credit_wait;
    while system.now() < start + window {
        if (system.now() - start) % BATCH == 0 {
            traffic.top_up(&mut system, OPEN, u64::MAX)?;
        }
        system.cycle();
        let now = system.link().counters().credit_wait;
        if now != seen && !(mix.limited_by_answers && system.dut_mut().tx_valid()) {
            waits += 1;
        }
        seen = now;
    }
    let (after, cycles) = (system.link().counters(), system.now() - start);
    let device_stalls = stalled(&mut system)?.wrapping_sub(device_before);
    ensure!(system.home().first_difference().is_none(), "a wrong response: {}", system.home().first_difference().map_or(String::new(), |d| d.to_string()));
    ensure!(system.home().counters().timeouts == 0, "{} operations got no response", system.home().counters().timeouts);
    let slots = (after.data_slots_received - before.data_slots_received) + LINE_SLOTS * (after.lines_sent - before.lines_sent);
    let payload = slots as f64 / cycles as f64;
    let bytes = payload * 16.0 * f64::from(b.config.clock_khz) * 1000.0;
    b.figures.add(mix.share, &[], payload / mix.slots.min(mix.memory));
    b.figures.add(&figures::BW_PAYLOAD, &[mix.name], payload);
    b.figures.add(&figures::BW_SLOT_BOUND, &[mix.name], mix.slots);
    b.figures.add(&figures::BW_MEMORY_BOUND, &[mix.name], mix.memory);
    b.figures.add(&figures::BW_STALL, &[mix.name], (waits + u64::from(device_stalls)) as f64);
    b.figures.add(&figures::BW_BYTES, &[mix.name], bytes);
    Ok(())
}

/// Keeps the traffic saturated for so many cycles.
fn drive(system: &mut System, traffic: &mut Traffic, cycles: u64) -> Result<()> {
    for start in (0..cycles).step_by(BATCH as usize) {
        traffic.top_up(system, OPEN, u64::MAX)?;
        system.run(BATCH.min(cycles - start));
    }
    Ok(())
}

/// Cycles a second with the harness, and side by side the same cycles in a bare C++ loop.
fn speed(b: &mut Bench) -> Result<()> {
    let (rounds, chunk) = if b.quick { (3, 8_192) } else { (9, 32_768) };
    let cycles = rounds * chunk;
    let seed = b.rng(7).next_u64();
    let start = || -> Result<System> { Ok(System::new(b.config.name, Options { seed: b.seed, host_mem_bytes: 1 << 20, ..Options::default() })?) };
    let busy = |system: &mut System| -> Result<Traffic> {
        system.bring_up()?;
        let mut traffic = Traffic::new(Workload::Mixed, system, seed);
        drive(system, &mut traffic, WARM_UP)?;
        Ok(traffic)
    };
    // Once with every input kept: what the bare loop will be fed.
    let mut recorded = start()?;
    let powered = recorded.now();
    recorded.dut_mut().start_recording((cycles + 4 * WARM_UP) as usize);
    let mut traffic = busy(&mut recorded)?;
    let from = (recorded.now() - powered) as usize;
    drive(&mut recorded, &mut traffic, cycles)?;
    let recording = recorded.dut_mut().stop_recording();
    drop(recorded);
    // Then the same run without recording, in turns with the bare loop.
    let mut harness = start()?;
    let mut bare = Dut::new(b.config.name)?;
    bare.reset(powered as u32);
    let mut traffic = busy(&mut harness)?;
    bare.replay(&recording, 0, from);
    let mut rates = Vec::new();
    let mut ratios = Vec::new();
    let mut digest = 0u64;
    let sent = harness.link().counters().flits_received;
    for round in 0..rounds {
        let at = from + (round * chunk) as usize;
        let clock = Instant::now();
        drive(&mut harness, &mut traffic, chunk)?;
        let with = clock.elapsed().as_secs_f64();
        let clock = Instant::now();
        digest ^= bare.replay(&recording, at, at + chunk as usize);
        let without = clock.elapsed().as_secs_f64();
        rates.push(chunk as f64 / with);
        ratios.push(with / without);
    }
    std::hint::black_box(digest);
    let flits = harness.link().counters().flits_received - sent;
    ensure!(flits > cycles / 8, "only {flits} flits in {cycles} cycles: the speed would be that of an idle device");
    ensure!(bare.cycles() == harness.now(), "the bare loop ran {} cycles, the harness {}", bare.cycles(), harness.now());
    ensure!(outputs(&mut bare) == outputs(harness.dut_mut()), "the bare loop did not do what the harness did");
    rates.sort_by(f64::total_cmp);
    ratios.sort_by(f64::total_cmp);
    let middle = rates.len() / 2;
    b.figures.add_judged(&figures::SIM_SPEED, &[], rates[middle], speed_target());
    b.figures.add(&figures::SIM_HARNESS, &[], ratios[middle]);
    b.note(format!("speed of the simulator: median of {rounds} turns of {chunk} cycles each, harness and bare loop alternating"));
    Ok(())
}

/// What the device sends in this cycle.
fn outputs(dut: &mut Dut) -> (bool, u128) {
    (dut.tx_valid(), dut.tx_slot())
}

/// Verilator 5.006 gives slower models than later ones, and the floor goes with it.
fn speed_target() -> Option<Target> {
    Some(Target::AtLeast(200_000.0))
}
