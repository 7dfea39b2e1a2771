//! The figures that the design promises, measured on the controller (issue targets: idle read at most 12 cycles, idle write at most 10, saturated shares at
//! least 0.9 of the smaller bound, no credit stall caused by the controller).

use cxlmem_sim::workload::{bandwidth, harness_cost, latency, Mix};
use cxlmem_sim::{Options, System};

fn system(config: &str) -> System {
    let mut s = System::new(config, Options::default()).unwrap();
    s.bring_up().unwrap();
    s
}

#[test]
fn idle_latencies() {
    let mut s = system("sim");
    for (write, bound) in [(false, 12), (true, 10)] {
        for l in latency(&mut s, write, false, 20, 1).unwrap() {
            println!("write {write}: {l:?}");
            assert!(
                l.first.min >= 5,
                "faster than the pipeline can be: the marks are wrong"
            );
            assert!(l.first.max <= bound);
            assert!(l.whole.min > l.first.max);
        }
        // A transmitter that runs freely makes a response wait for the next frame: up to three cycles more.
        let free = latency(&mut s, write, true, 20, 1).unwrap();
        assert!(free.iter().all(|l| l.first.max <= bound + 3), "{free:?}");
        assert!(
            free.iter().any(|l| l.first.max != free[0].first.max),
            "phases must differ: {free:?}"
        );
    }
}

#[test]
fn saturated_shares() {
    for config in ["sim", "full"] {
        let mut s = system(config);
        for mix in Mix::ALL {
            let b = bandwidth(&mut s, mix, 10_000, 1).unwrap();
            println!("{config}: {b:?}");
            assert!(b.share >= 0.9 && b.share < 1.001, "{b:?}");
            assert_eq!(b.device_credit_stall, 0);
            let used = b.reached.read + b.reached.write;
            let bound = b.slot_bound.read + b.slot_bound.write;
            assert!(used >= 0.9 * bound, "{b:?}");
        }
        assert!(s.home().counters().compared > 0);
    }
}

#[test]
fn the_bare_loop_does_the_same_work() {
    let cost = harness_cost("sim", 32_000, 1).unwrap();
    println!("{cost:?}");
    assert!(cost.same_output, "the recording does not replay: {cost:?}");
}
