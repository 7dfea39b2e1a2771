//! Seeds for the random tests.

/// The seed of this run: `CXLMEM_SEED` if set, else from the clock. Printed, so that a failure can be replayed.
pub fn seed() -> u64 {
    let seed = match std::env::var("CXLMEM_SEED") {
        Ok(text) => text.parse().expect("CXLMEM_SEED must be a decimal number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |d| d.as_nanos() as u64),
    };
    println!("replay with CXLMEM_SEED={seed}");
    seed
}

/// Property-test settings that follow [`seed`].
#[allow(dead_code)] // each test binary uses what it needs
pub fn config() -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        rng_seed: proptest::test_runner::RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..Default::default()
    }
}
