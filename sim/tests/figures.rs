//! The figures that the design promises, measured on the controller (issue targets: idle read at most 12 cycles, idle write at most 10, saturated shares at
//! least 0.9 of the smaller bound, no credit stall caused by the controller).

use cxlmem_hdl::probes;
use cxlmem_sim::workload::{bandwidth, harness_cost, latency, stages, Mix};
use cxlmem_sim::{Op, Options, System};

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

/// The stages are read off the RTL's registers, the latency off its pins by another measurement: their sum must be the latency, in every configuration.
#[test]
fn stages_add_up_to_the_idle_latency() {
    for config in cxlmem_hdl::Config::all() {
        let mut options = Options::default();
        options.ext.latency = 3;
        let mut s = System::new(config.name, options).unwrap();
        s.bring_up().unwrap();
        for (write, way) in [(false, probes::READ), (true, probes::WRITE)] {
            let b = stages(&mut s, write, 8, 1).unwrap();
            println!("{} write {write}: {b:?}", config.name);
            let idle = latency(&mut s, write, false, 4, 2).unwrap();
            let slowest = idle.iter().map(|l| l.first.max).max().unwrap();
            assert_eq!(
                b.stages.iter().map(|(_, cycles)| cycles).sum::<u64>(),
                slowest
            );
            assert_eq!(b.total, slowest);
            let names: Vec<_> = b.stages.iter().map(|(name, _)| *name).collect();
            assert_eq!((names[0], &names[1..]), (probes::PINS, way));
            assert!(b.stages.iter().all(|(_, cycles)| *cycles > 0), "{b:?}");
            if config.backend == cxlmem_hdl::Backend::Block {
                // One register a stage, but for the four beats of a write: were a register added without a stage, its cycle would hide in another's.
                for (name, cycles) in &b.stages {
                    assert_eq!(
                        *cycles,
                        if *name == "beats" { 4 } else { 1 },
                        "{name}: {b:?}"
                    );
                }
            }
        }
    }
}

/// A probe that shows something while nothing is under way would be found by any search.
#[test]
fn probes_are_dark_at_rest() {
    let mut s = system("sim");
    let (base, _) = s.hdm_window();
    s.operate(base, Op::READ).unwrap();
    s.run(200);
    s.dut_mut().start_recording();
    s.run(200);
    let rest = s.dut_mut().stop_recording();
    assert_eq!(rest.probes(), [0; 200]);
    s.dut_mut().start_recording();
    s.operate(base, Op::READ).unwrap();
    s.operate(base, Op::write([1; 64])).unwrap();
    let seen = s.dut_mut().stop_recording();
    let all = seen.probes().iter().fold(0, |all, word| all | word);
    assert_eq!(all, (1 << probes::STAGES.len()) - 1);
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
