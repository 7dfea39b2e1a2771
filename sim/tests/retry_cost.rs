//! What bit errors cost, measured on the controller: the goals of the link, and the round trip that TIMEOUT is derived from.

use cxlmem_protocol::flit::Direction;
use cxlmem_protocol::regs;
use cxlmem_protocol::retry::Limits;
use cxlmem_sim::rng::seed_from_env;
use cxlmem_sim::workload::{degraded, round_trip, Mix, GOALS};
use cxlmem_sim::{Options, System};

/// The shortest legal TIMEOUT is the round trip and 16 flits (cxl-mem 8.4). A longer one costs throughput where errors are frequent.
#[test]
fn timeout_follows_from_the_round_trip() {
    let trip = [Direction::M2s, Direction::S2m]
        .map(|d| round_trip("sim", Options::default(), d, 40).unwrap());
    println!(
        "round trip in flits: of the device's requests {}, of the host's {}; TIMEOUT {}",
        trip[0],
        trip[1],
        Limits::default().timeout
    );
    let longest = trip[0].max(trip[1]);
    assert!(
        longest > 6,
        "five frames and the answer alone take six flits"
    );
    assert_eq!(Limits::default().timeout, longest + 16);
    assert_eq!(
        regs::LlrLimits::TIMEOUT.get(regs::LlrLimits::RESET),
        u32::from(Limits::default().timeout)
    );
}

/// With the default thresholds, at rates where an error hits every other replay: the goals, without a re-initialisation.
#[test]
fn throughput_under_bit_errors() {
    let seed = seed_from_env(3).unwrap();
    println!("CXLMEM_SEED={seed}");
    for goal in GOALS {
        for mix in [Mix::Reads, Mix::Writes, Mix::OneToOne] {
            let cycles = if goal.ber < 5e-6 { 1_000_000 } else { 300_000 };
            let mut s = System::new(
                "sim",
                Options {
                    seed,
                    ..Default::default()
                },
            )
            .unwrap();
            s.bring_up().unwrap();
            let d = degraded(&mut s, mix, goal.ber, cycles, seed).unwrap();
            println!(
                "{:e} {:<6} {:.3} of the clean link (goal {}, go-back-N about {}): {d:?}",
                goal.ber,
                mix.name(),
                d.share(),
                goal.share,
                goal.bound
            );
            assert!(d.share() >= goal.share, "{d:?}");
            assert!(d.share() < 1.0 && d.damaged > 0, "{d:?}");
            assert!(!s.link().has_failed());
            assert_eq!(s.home().counters().timeouts + s.home().counters().strays, 0);
        }
    }
}
