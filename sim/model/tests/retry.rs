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

struct Explored {
    states: usize,
    seen: Vec<&'static str>,
}

/// Explores everything; `seen` has the properties for which a state was found: a counterexample, or an example.
fn explore(name: &str, model: RetryModel) -> Explored {
    let start = std::time::Instant::now();
    let checker = model.checker().threads(2).spawn_bfs().join();
    let mut seen: Vec<&str> = checker.discoveries().into_keys().collect();
    seen.sort_unstable();
    println!(
        "{name}: {} states explored ({} generated), depth {}, {:.1} s; found: {seen:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        start.elapsed().as_secs_f64()
    );
    Explored {
        states: checker.unique_state_count(),
        seen,
    }
}

const REPLAY: &str = "a replay happens";
const REPEATED: &str = "a request is repeated";
const DELIVERED: &str = "all delivered after every fault";

#[test]
fn damage_loses_nothing() {
    let one = explore("one payload, one fault", model([1, 0], 1, false, false));
    assert_eq!(one.seen, [REPLAY, DELIVERED]);
    let two = explore("three payloads, two faults", model([2, 1], 2, false, false));
    assert_eq!(two.seen, [REPLAY, REPEATED, DELIVERED]);
    assert!(two.states > 100_000, "the model has shrunk");
}

#[test]
fn slow_with_seq_loss_and_repetition_lose_nothing() {
    let e = explore(
        "two payloads, one loss or repetition",
        model([1, 1], 1, true, true),
    );
    assert_eq!(e.seen, [REPLAY, REPEATED, DELIVERED]);
    assert!(e.states > 1_000_000, "the model has shrunk");
}

/// The model can fail: without sequence numbers a lost or repeated flit breaks the order (cxl-mem 8.4).
#[test]
fn without_seq_the_hole_is_found() {
    let e = explore(
        "no SEQ, two payloads, one loss or repetition",
        model([2, 0], 1, true, false),
    );
    assert!(
        e.seen.contains(&"in order, nothing lost, nothing twice"),
        "{:?}",
        e.seen
    );
}

/// A time-out below the round trip repeats requests although nothing was lost, and still loses nothing.
#[test]
fn an_early_time_out_only_repeats() {
    let mut short = model([1, 0], 1, false, false);
    short.limits.timeout = 1;
    let e = explore("time-out of one flit", short);
    assert_eq!(e.seen, [REPLAY, REPEATED, DELIVERED]);
}
