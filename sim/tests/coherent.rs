//! The coherent host against the model device: random workloads, mutants, litmus tests.

use cxlmem_sim::coherent::workload::{hunt, Report, Setup};
use cxlmem_sim::rng::{seed_from_env, Rng};
use std::time::Instant;

fn seed() -> u64 {
    seed_from_env(0xC0_4E_12).expect("a seed")
}

#[test]
fn coherent_random_workloads_hold() {
    let mut seeds = Rng::new(seed());
    println!("CXLMEM_SEED={:#x}", seed());
    let (mut all, begin) = (Report::default(), Instant::now());
    for _ in 0..300 {
        let setup = Setup::random(seeds.next_u64(), 1000);
        match hunt(&setup, 300, Setup::model) {
            Ok(report) => all.add(&report),
            Err(found) => panic!("CXLMEM_SEED={:#x}: {found}", seed()),
        }
    }
    let rate = all.ops as f64 / begin.elapsed().as_secs_f64();
    println!(
        "{} operations, {} messages, {} cycles: {rate:.0} operations/s",
        all.ops, all.messages, all.cycles
    );
    println!("{}", all.cover);
    for (cell, why) in all.cover.impossible() {
        panic!("{cell:?} reached, though {why}");
    }
}
