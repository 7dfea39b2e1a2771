//! The coherent host against the model device: random workloads, litmus tests, and mutants that each check must catch.
//!
//! `CXLMEM_SEED` replays, `CXLMEM_OPS` sets the operations of the random workload.

use cxlmem_sim::coherent::bench::{Bench, Check};
use cxlmem_sim::coherent::litmus::{self, Tally};
use cxlmem_sim::coherent::model_device::{DeviceOptions, ModelDevice, Mutant, Speeds};
use cxlmem_sim::coherent::workload::{hunt, run, Report, Setup};
use cxlmem_sim::coherent::AgentOptions;
use cxlmem_sim::rng::{seed_from_env, Rng};
use std::collections::BTreeMap;
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

#[test]
fn coherent_random_workloads_hold() {
    let (seed, mut rng) = seeds(0xC0_4E12);
    let (mut all, begin) = (Report::default(), Instant::now());
    while all.ops < ops() {
        let (n, hot) = (rng.next_u64(), rng.below(2) == 0);
        let setup = if hot {
            Setup::hot(n, 500)
        } else {
            Setup::random(n, 500)
        };
        match hunt(&setup, BUDGET, Setup::model) {
            Ok(report) => all.add(&report),
            Err(found) => panic!("CXLMEM_SEED={seed:#x}: {found}"),
        }
    }
    let rate = all.ops as f64 / begin.elapsed().as_secs_f64();
    let (ops, messages, events) = (all.ops, all.messages, all.events);
    println!(
        "{ops} operations, {messages} messages and {events} words checked: {rate:.0} operations/s"
    );
    println!("{}", all.cover);
    let impossible: Vec<_> = all.cover.impossible().collect();
    assert!(
        impossible.is_empty(),
        "reached against the rules: {impossible:?}"
    );
    assert!(all.agent.rows.iter().all(|n| *n > 0), "{:?}", all.agent);
    assert!(all.agent.answers.iter().all(|n| *n > 0), "{:?}", all.agent);
}

#[test]
fn coherent_mutants_are_killed() {
    let mut checks = BTreeMap::<Check, Vec<Mutant>>::new();
    for mutant in Mutant::ALL {
        let (_, mut rng) = seeds(0xBAD);
        let killed = (0..200).find_map(|n| {
            let setup = Setup::hot(rng.next_u64(), 300).with(mutant);
            hunt(&setup, BUDGET, Setup::model).err().map(|f| (n, f))
        });
        let (n, found) = killed.unwrap_or_else(|| panic!("{mutant:?} survives"));
        let (check, left) = (found.failure.check, found.ops.len());
        println!("{mutant:?}: run {n}, {left} operations left, {check:?}");
        assert!(left <= 75, "{found}");
        checks.entry(check).or_default().push(mutant);
    }
    // Without the shadow, values and sums must tell by themselves.
    for (mutant, check) in [
        (Mutant::ReadsStale, Check::Values),
        (Mutant::WritesUnderSharers, Check::Values),
        (Mutant::ForgetsEntry, Check::Values),
        (Mutant::GrantsTooMuch, Check::Values),
        (Mutant::LosesAdd, Check::Sum),
    ] {
        let (_, mut rng) = seeds(0xBAD);
        let found = (0..2000).any(|_| {
            let mut setup = Setup::hot(rng.next_u64(), 300).with(mutant);
            setup.shadow = false;
            let failure = run(&setup, setup.model(), &setup.operations()).err();
            failure.is_some_and(|f| f.check == check)
        });
        assert!(found, "{mutant:?} is not seen by {check:?}");
        checks.entry(check).or_default().push(mutant);
    }
    println!("{checks:#?}");
    for check in [Check::Messages, Check::Values, Check::Sum, Check::Progress] {
        assert!(checks.contains_key(&check), "{check:?} caught nothing");
    }
}

fn bench(seed: u64, mutant: Option<Mutant>) -> Bench<ModelDevice> {
    let device = DeviceOptions {
        ports: 4,
        speed: Speeds::all(0.3),
        seed,
        mutant,
        ..DeviceOptions::default()
    };
    let agent = AgentOptions {
        seed,
        ..AgentOptions::default()
    };
    Bench::new(agent, ModelDevice::new(device), device.policy)
}

fn litmus_tallies(seed: u64, mutant: Option<Mutant>, runs: usize) -> Vec<Tally> {
    let mut tallies = Vec::new();
    for (n, test) in litmus::ALL.iter().enumerate() {
        let mut bench = bench(seed, mutant);
        if mutant.is_some() {
            // The outcomes must show it, not the messages.
            bench.shadow = None;
        }
        match litmus::run(&mut bench, test, runs, seed + n as u64) {
            Ok(t) => tallies.extend(t),
            Err(e) => panic!("CXLMEM_SEED={seed:#x}: {}: {e}", test.name),
        }
    }
    tallies
}

#[test]
fn coherent_litmus_shows_only_interleavings() {
    let (seed, _) = seeds(0x117);
    let tallies = litmus_tallies(seed, None, 300);
    for tally in &tallies {
        println!("{tally}");
        assert_eq!(
            tally.forbidden(),
            0,
            "CXLMEM_SEED={seed:#x}: {:?}",
            tally.seen
        );
    }
    // Every placement of the threads of all nine.
    assert_eq!(tallies.len(), 8 * 4 + 16);
    let all_seen = |t: &&Tally| t.allowed.iter().all(|o| t.seen.contains_key(o));
    let full = tallies.iter().filter(all_seen).count();
    println!(
        "{full} of {} with every allowed outcome seen",
        tallies.len()
    );
}

#[test]
fn coherent_litmus_catches_a_device_that_reads_stale_memory() {
    let forbidden: u64 = litmus_tallies(0x117, Some(Mutant::ReadsStale), 100)
        .iter()
        .map(Tally::forbidden)
        .sum();
    println!("{forbidden} forbidden outcomes");
    assert!(forbidden > 0);
}

#[test]
fn coherent_host_is_fast() {
    let mut setup = Setup::random(5, 100_000);
    setup.agent.cores = 8;
    setup.device.lines = 64;
    setup.device.ports = 2;
    setup.device.speed = Speeds::all(0.9);
    setup.shadow = false;
    let ops = setup.operations();
    let begin = Instant::now();
    let report = run(&setup, setup.model(), &ops).unwrap_or_else(|e| panic!("{e}"));
    let rate = report.ops as f64 / begin.elapsed().as_secs_f64();
    println!("{rate:.0} operations/s with device, values checked, without shadow");
}
