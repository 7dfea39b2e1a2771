//! The retry machines, explored to the end.

use cxlmem_model::retry::RetryModel;
use cxlmem_protocol::retry::Limits;
use stateright::{Checker, Model};

fn model(payloads: [u8; 2], faults: u8, lossy: bool, seq: bool) -> RetryModel {
    RetryModel {
        payloads,
        faults,
        lossy,
        seq,
        limits: Limits {
            frames: 1,
            timeout: 14,
            max_num_retry: 2,
            max_num_phy_reinit: 1,
            tail: if seq { 6 } else { 0 },
        },
    }
}

fn check(name: &str, model: RetryModel) -> usize {
    let start = std::time::Instant::now();
    let checker = model
        .checker()
        .threads(2)
        .target_state_count(20_000_000)
        .spawn_bfs()
        .join();
    println!(
        "{name}: {} states explored ({} generated), depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64()
    );
    println!("{:?}", checker.discoveries().keys().collect::<Vec<_>>());
    checker.unique_state_count()
}

#[test]
fn explore() {
    check("1,0 damage 1", model([1, 0], 1, false, false));
    check("2,1 damage 2", model([2, 1], 2, false, false));
    check("1,1 lossy 1", model([1, 1], 1, true, true));
}
