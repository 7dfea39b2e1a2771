//! A million flits over a wire with faults: every message delivered once, by both ends' counts, and every read compared. Replay with `CXLMEM_SEED`.

use cxlmem_protocol::flit::Direction;
use cxlmem_sim::home::golden::LINE;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::workload::{Counted, Ledger};
use cxlmem_sim::{Faults, Op, Options, System, WireFaults};

/// Random operations on 512 lines until `flits` flits have gone over the wire, both directions together.
fn run(seq: bool, faults: WireFaults, flits: u64, seed: u64) -> Ledger {
    let mut s = System::new(
        "sim",
        Options {
            seed,
            forget_on_flush: false,
            ..Default::default()
        },
    )
    .unwrap();
    s.bring_up().unwrap();
    if seq {
        s.link_mut().offer_seq(true);
        s.reset_link().unwrap();
        assert!(s.link().has_seq());
    }
    let before = Counted::of(&mut s).unwrap();
    let mut rng = Rng::new(seed);
    let (base, _) = s.hdm_window();
    s.link_mut().set_faults(Faults::both(faults));
    let sent = |s: &System| {
        [Direction::M2s, Direction::S2m]
            .iter()
            .map(|d| s.link().wire_counters(*d).flits)
            .sum::<u64>()
    };
    let start = sent(&s);
    while sent(&s) - start < flits {
        while s.home().open() < 128 {
            let address = base + rng.below(512) * LINE;
            let op = match rng.below(8) {
                0..=3 => Op::READ,
                4..=5 => Op::write(rng.line()),
                6 => Op::WritePartial {
                    data: rng.line(),
                    enables: rng.next_u64(),
                    poison: false,
                    meta: None,
                },
                _ => Op::Prefetch,
            };
            s.post(address, op).unwrap();
        }
        s.run(16);
    }
    s.run_until(200_000, "the last responses", |s| s.home().is_idle())
        .unwrap();
    s.link_mut().set_faults(Faults::default());
    s.run(1_000);
    assert_eq!(s.home().first_difference(), None);
    assert!(s.home().counters().compared > flits / 20);
    let ledger = Counted::of(&mut s).unwrap().since(&before);
    println!("SEQ {seq}: {ledger:#?}");
    ledger
}

fn seed(default: u64) -> u64 {
    let seed = seed_from_env(default).unwrap();
    println!("CXLMEM_SEED={seed}");
    seed
}

#[test]
fn a_million_flits_with_bit_errors_and_short_bursts() {
    let faults = WireFaults {
        ber: 1e-5,
        burst: 1e-3,
        burst_bits: 16,
        ..Default::default()
    };
    let l = run(false, faults, 1_000_000, seed(21));
    assert_eq!(l.losses(), [""; 0]);
    for way in [l.to_device, l.to_host] {
        assert!(way.damaged > 2_000 && way.requests > 1_000 && way.replayed > 1_000);
        assert!(way.detected <= way.damaged && way.escaped == 0);
    }
}

#[test]
fn a_million_flits_with_every_fault_and_sequence_numbers() {
    let faults = WireFaults {
        ber: 1e-5,
        burst: 1e-3,
        burst_bits: 16,
        lose: 1e-3,
        repeat: 1e-3,
        swap: 1e-3,
        ..Default::default()
    };
    let l = run(true, faults, 1_000_000, seed(22));
    assert_eq!(l.losses(), [""; 0]);
    for way in [l.to_device, l.to_host] {
        assert!(way.damaged > 2_000 && way.lost > 300 && way.repeated > 300 && way.swapped > 300);
        assert_eq!(way.escaped, 0);
    }
}
