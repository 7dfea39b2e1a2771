//! The coherent host against the Verilated controller: random workloads and litmus tests, every message and every value checked.
//!
//! `CXLMEM_SEED` replays, `CXLMEM_OPS` sets the operations of the random workload.

use cxlmem_sim::coherent::bench::Bench;
use cxlmem_sim::coherent::cuts::{self, Cuts};
use cxlmem_sim::coherent::litmus;
use cxlmem_sim::coherent::rtl::{reachable, RtlDevice, RtlOptions};
use cxlmem_sim::coherent::workload::{hunt, run, Report, Setup};
use cxlmem_sim::coherent::AgentOptions;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::{Faults, WireFaults};
use std::time::Instant;

/// Runs of a workload that a shrinking may cost.
const BUDGET: usize = 300;

fn seeds(default: u64) -> (u64, Rng) {
    let seed = seed_from_env(default).expect("CXLMEM_SEED");
    println!("CXLMEM_SEED={seed:#x}");
    (seed, Rng::new(seed))
}

fn ops() -> u64 {
    let ops = std::env::var("CXLMEM_OPS").ok();
    ops.map_or(200_000, |n| n.parse().expect("CXLMEM_OPS: a number"))
}

fn device(setup: &Setup) -> RtlDevice {
    RtlDevice::new(setup, RtlOptions::random(setup)).expect("a controller that comes up")
}

#[test]
fn slow_coherent_rtl_random_workloads_hold() {
    let (seed, mut rng) = seeds(0xC0_4E12);
    let (mut all, begin) = (Report::default(), Instant::now());
    while all.ops < ops() {
        let (n, hot) = (rng.next_u64(), rng.below(2) == 0);
        let setup = if hot {
            Setup::hot(n, 2000)
        } else {
            Setup::random(n, 2000)
        };
        match hunt(&setup, BUDGET, device) {
            Ok(report) => all.add(&report),
            Err(found) => panic!("CXLMEM_SEED={seed:#x}: {found}"),
        }
    }
    let rate = all.ops as f64 / begin.elapsed().as_secs_f64();
    let (ops, messages, events) = (all.ops, all.messages, all.events);
    println!(
        "{ops} operations in {} cycles, {messages} messages and {events} words checked: {rate:.0} operations/s",
        all.cycles
    );
    println!("{}", all.cover);
    match all.cover.of_device(reachable) {
        Ok(cover) => println!("{cover}"),
        Err((cell, why)) => panic!("{cell:?} was reached, and cannot be: {why}"),
    }
}

#[test]
fn slow_coherent_rtl_litmus_shows_only_interleavings() {
    let (seed, mut rng) = seeds(0x117);
    for (n, test) in litmus::ALL.iter().enumerate() {
        let mut setup = Setup::hot(rng.next_u64(), 0);
        setup.device.ports = 4;
        setup.agent.cores = 4;
        let mut bench = Bench::new(setup.agent, device(&setup), setup.device.policy);
        let tallies = litmus::run(&mut bench, test, 100, seed + n as u64)
            .unwrap_or_else(|e| panic!("CXLMEM_SEED={seed:#x}: {}: {e}", test.name));
        for tally in tallies {
            println!("{tally}");
            assert_eq!(tally.forbidden(), 0, "{:?}", tally.seen);
        }
    }
}

/// The link starts anew in the middle of whatever is under way: reads, writes, snoops, answers, conflicts, the device's own stores.
#[test]
fn slow_coherent_rtl_link_cuts_keep_every_line_that_is_not_named() {
    let (seed, mut rng) = seeds(0x10_55);
    let mut all = Cuts::default();
    for n in 0..12 {
        let mut setup = Setup::hot(rng.next_u64(), 0);
        setup.device.ports = cuts::PORTS;
        let options = RtlOptions {
            config: ["full", "sim"][n % 2],
            stride: [1, 1024][n % 2],
            ..RtlOptions::default()
        };
        let device = RtlDevice::new(&setup, options).expect("a controller that comes up");
        let cut = |b: &mut Bench<RtlDevice>| b.device.cut_link().map_err(|e| e.to_string());
        match cuts::run(device, setup.device.policy, 20, &mut rng, cut) {
            Ok(more) => all += more,
            Err(e) => panic!("CXLMEM_SEED={seed:#x}: {e}"),
        }
    }
    println!("{all:?}");
    assert!(all.failed > 100 && all.named > 0 && all.old > 0, "{all:?}");
}

/// The device hangs in the middle of whatever is under way: every operation of a core ends by the agent's time-out, and when the device
/// lives again and the link starts anew, every line that the agent does not name as lost has its value.
#[test]
fn slow_coherent_rtl_a_hung_device_ends_every_operation() {
    let (seed, mut rng) = seeds(0x4A_46);
    let bound = 17 * AgentOptions::default().timeout;
    let mut all = Cuts::default();
    for n in 0..8 {
        let mut setup = Setup::hot(rng.next_u64(), 0);
        setup.device.ports = cuts::PORTS;
        let options = RtlOptions {
            config: ["full", "sim"][n % 2],
            stride: [1, 1024][n % 2],
            ..RtlOptions::default()
        };
        let device = RtlDevice::new(&setup, options).expect("a controller that comes up");
        let hang = |b: &mut Bench<RtlDevice>| {
            b.device.system_mut().set_hung(true);
            let end = b.now() + bound;
            while (0..cuts::CORES).any(|core| b.agent.is_busy(core)) {
                if b.now() > end {
                    return Err(format!("an operation is under way {bound} cycles after"));
                }
                b.cycle().map_err(|e| e.to_string())?;
            }
            b.device.system_mut().set_hung(false);
            b.device.cut_link().map_err(|e| e.to_string())
        };
        match cuts::run(device, setup.device.policy, 10, &mut rng, hang) {
            Ok(more) => all += more,
            Err(e) => panic!("CXLMEM_SEED={seed:#x}: {e}"),
        }
    }
    println!("{all:?}");
    assert!(all.failed > 50, "{all:?}");
}

/// The physical layer re-initialises again and again, in the middle of whatever is under way, and nothing of it shows.
#[test]
fn slow_coherent_rtl_reinitialisations_lose_nothing() {
    let (seed, mut rng) = seeds(0x9E);
    let mut reinits = 0;
    for _ in 0..30 {
        let setup = Setup::hot(rng.next_u64(), 500);
        let options = RtlOptions {
            config: "full",
            faults: Faults::both(WireFaults {
                ber: 3e-4,
                ..WireFaults::default()
            }),
            seq: true,
            max_num_retry: Some(1),
            ..RtlOptions::default()
        };
        let mut device = RtlDevice::new(&setup, options).expect("a controller that comes up");
        if let Err(e) = run(&setup, &mut device, &setup.operations()) {
            panic!("CXLMEM_SEED={seed:#x}: {e}; {setup:?}");
        }
        reinits += device.system_mut().link().counters().reinits;
    }
    println!("{reinits} re-initialisations");
    assert!(reinits > 50, "{reinits}");
}
