//! Random tests that print their seed and replay from `CXLMEM_SEED`.

use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The seed of this run: `CXLMEM_SEED` (decimal or 0x...), else the time.
pub fn seed() -> u64 {
    let text = std::env::var("CXLMEM_SEED").ok();
    let given = text.as_deref().map(|text| match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).expect("CXLMEM_SEED is hexadecimal"),
        None => text.parse().expect("CXLMEM_SEED is a number"),
    });
    let now = || {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(1, |time| time.as_nanos() as u64)
    };
    let seed = given.unwrap_or_else(now);
    println!("CXLMEM_SEED={seed}");
    seed
}

/// A proptest runner with that seed.
pub fn runner(cases: u32) -> TestRunner {
    let mut bytes = [0u8; 32];
    bytes[..8].copy_from_slice(&seed().to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}
