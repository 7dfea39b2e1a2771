//! The host side against the Verilated controller: every read is compared with the golden memory. Replay a run with `CXLMEM_SEED`.

use cxlmem_protocol::flit::Direction;
use cxlmem_protocol::msg::MetaValue;
use cxlmem_protocol::regs;
use cxlmem_protocol::retry::Limits;
use cxlmem_sim::ext::ExtTiming;
use cxlmem_sim::home::golden::LINE;
use cxlmem_sim::home::{HomeError, HomeOptions};
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::{Faults, Op, Options, System, SystemError, WireFaults};

fn system(config: &str, options: Options) -> System {
    let mut s = System::new(
        config,
        Options {
            forget_on_flush: false,
            ..options
        },
    )
    .unwrap();
    s.bring_up().unwrap();
    s
}

fn seed(default: u64) -> u64 {
    let seed = seed_from_env(default).unwrap();
    println!("CXLMEM_SEED={seed}");
    seed
}

fn meta(rng: &mut Rng) -> Option<MetaValue> {
    rng.chance(0.3)
        .then(|| MetaValue::ALL[rng.below(4) as usize])
}

fn random_op(rng: &mut Rng) -> Op {
    match rng.below(10) {
        0..4 => Op::Read { meta: meta(rng) },
        4..7 => Op::Write {
            data: rng.line(),
            poison: rng.chance(0.05),
            meta: meta(rng),
        },
        7 => {
            let enables = match rng.below(4) {
                0 => 0,
                1 => u64::MAX,
                _ => rng.next_u64(),
            };
            Op::WritePartial {
                data: rng.line(),
                enables,
                poison: rng.chance(0.05),
                meta: meta(rng),
            }
        }
        8 => Op::Invalidate {
            meta: MetaValue::ALL[rng.below(4) as usize],
            non_temporal: rng.chance(0.5),
        },
        _ => Op::Prefetch,
    }
}

/// Random operations on a few lines (so that they meet), each result looked at.
fn random_mix(s: &mut System, rng: &mut Rng, operations: usize, lines: u64) {
    let (base, _) = s.hdm_window();
    let mut tickets = Vec::new();
    for n in 0..operations {
        let address = base + rng.below(lines) * LINE;
        tickets.push(s.issue(address, random_op(rng)).unwrap());
        // Bursts and pauses.
        if rng.chance(0.1) || n % 200 == 0 {
            s.run(rng.below(100));
        }
    }
    for ticket in tickets {
        s.wait(ticket).unwrap_or_else(|e| panic!("{e}"));
    }
    assert_eq!(s.home().first_difference(), None);
    assert_eq!(
        s.link().counters().protocol_errors,
        0,
        "{:?}",
        s.link().first_error()
    );
    assert!(s.home().counters().compared > 0);
    let errors = s.mmio_read32(regs::RxProtocolErrors::OFFSET).unwrap();
    let log: Vec<u32> = (0..4)
        .map(|n| s.mmio_read32(regs::RasLog0::OFFSET + 4 * n).unwrap())
        .collect();
    assert_eq!(
        errors,
        0,
        "{}: the controller logged {log:08x?}",
        s.config().name
    );
    assert_eq!(s.io_counters().errors(), 0);
}

#[test]
fn random_mixes_in_every_configuration() {
    let seed = seed(11);
    for c in cxlmem_hdl::Config::all() {
        let mut s = system(
            c.name,
            Options {
                seed,
                ..Default::default()
            },
        );
        random_mix(&mut s, &mut Rng::new(seed), 3_000, 40);
        println!("{}: {:?}", c.name, s.home().counters());
    }
}

#[test]
fn back_pressure_from_none_to_nearly_all() {
    let seed = seed(12);
    for tx_stall in [0.0, 0.1, 0.5, 0.9, 0.98] {
        let faults = Faults {
            tx_stall,
            ..Default::default()
        };
        let mut s = system(
            "sim",
            Options {
                seed,
                faults,
                ..Default::default()
            },
        );
        random_mix(&mut s, &mut Rng::new(seed), 400, 20);
    }
}

#[test]
fn a_wire_that_takes_nothing_times_out_and_recovers() {
    let home = HomeOptions {
        timeout: 2_000,
        ..Default::default()
    };
    let mut s = system(
        "sim",
        Options {
            home,
            ..Default::default()
        },
    );
    let (base, _) = s.hdm_window();
    s.operate(base, Op::write([3; 64])).unwrap();
    s.link_mut().set_faults(Faults {
        tx_stall: 1.0,
        ..Default::default()
    });
    let error = s.operate(base, Op::READ).unwrap_err();
    assert!(
        matches!(error, HomeError::Timeout { what: "MemRd", tag: Some(_), address, .. } if address == base),
        "{error}"
    );
    // The answer was only late: it comes when the wire runs again, and is told from answers to later operations.
    s.link_mut().set_faults(Faults::default());
    assert!(s.operate(base, Op::READ).is_ok());
    assert_eq!(
        (s.home().counters().strays, s.home().counters().timeouts),
        (1, 1)
    );
    assert_eq!(s.home().first_difference(), None);
}

#[test]
fn external_memory_with_latency_and_stalls() {
    let seed = seed(13);
    for (latency, stall) in [(1, 0.0), (30, 0.0), (5, 0.5), (60, 0.9)] {
        let ext = ExtTiming {
            latency,
            read_stall: stall,
            write_stall: stall,
            ..Default::default()
        };
        let mut s = system(
            "sim-ext",
            Options {
                seed,
                ext,
                ..Default::default()
            },
        );
        random_mix(&mut s, &mut Rng::new(seed), 400, 20);
        assert_eq!(s.ext().unwrap().out_of_range(), 0);
    }
}

#[test]
fn a_damaged_flit_is_replayed() {
    let seed = seed(14);
    let mut rng = Rng::new(seed);
    let mut s = system(
        "sim",
        Options {
            seed,
            ..Default::default()
        },
    );
    let (base, _) = s.hdm_window();
    for round in 0..40u64 {
        let address = base + rng.below(64) * LINE;
        let before = rng.line();
        s.operate(address, Op::write(before)).unwrap();
        s.run(200);
        let direction = [Direction::M2s, Direction::S2m][round as usize % 2];
        let device = s.mmio_read32(regs::RxCrcErrors::OFFSET).unwrap();
        let host = s.link().counters().crc_errors;
        s.link_mut().corrupt_next(direction);
        let op = if rng.chance(0.5) {
            Op::READ
        } else {
            Op::write(rng.line())
        };
        s.operate(address, op).unwrap();
        s.run(400);
        let seen = match direction {
            Direction::M2s => u64::from(s.mmio_read32(regs::RxCrcErrors::OFFSET).unwrap() - device),
            Direction::S2m => s.link().counters().crc_errors - host,
        };
        assert_eq!(seen, 1, "round {round}, {direction:?}");
        assert!(s.operate(address, Op::READ).is_ok());
    }
    let status = s.mmio_read32(regs::LinkStatus::OFFSET).unwrap();
    assert!(regs::LinkStatus::UP.is_set(status));
    assert_eq!(regs::LinkStatus::LOCAL.get(status), 0);
    assert_eq!(s.home().counters().timeouts, 0);
    assert_eq!(s.home().first_difference(), None);
    let requests = s.mmio_read32(regs::RetryRequests::OFFSET).unwrap();
    assert_eq!(u64::from(requests), 20, "one request a damaged flit");
    assert_eq!(s.link().counters().retry_requests, 20);
    assert!(s.mmio_read32(regs::RetryReplays::OFFSET).unwrap() >= 20);
}

/// Without sequence numbers a lost flit leaves no trace on the link (cxl-mem 8.4): the operation ends in an error, within its bound.
#[test]
fn without_seq_a_lost_flit_is_lost() {
    let home = HomeOptions {
        timeout: 1_000,
        ..Default::default()
    };
    let mut s = system(
        "sim",
        Options {
            home,
            ..Default::default()
        },
    );
    assert!(!s.link().has_seq());
    let (base, _) = s.hdm_window();
    for direction in [Direction::M2s, Direction::S2m] {
        s.operate(base, Op::write([1; 64])).unwrap();
        s.run(200);
        s.link_mut().drop_next(direction);
        let error = s.operate(base, Op::READ).unwrap_err();
        assert!(matches!(error, HomeError::Timeout { .. }), "{error}");
        s.restart_link().unwrap();
        assert!(s.operate(base, Op::READ).is_ok());
    }
}

/// A running link with sequence numbers in force.
fn with_seq(options: Options) -> System {
    let mut s = system("sim", options);
    s.link_mut().offer_seq(true);
    s.reset_link().unwrap();
    assert!(s.link().has_seq());
    let status = s.mmio_read32(regs::LinkStatus::OFFSET).unwrap();
    assert!(regs::LinkStatus::SEQ.is_set(status));
    s
}

#[test]
fn with_seq_lost_repeated_and_swapped_flits_are_recovered() {
    let seed = seed(16);
    for (name, faults) in [
        (
            "lost",
            WireFaults {
                lose: 0.01,
                ..Default::default()
            },
        ),
        (
            "repeated",
            WireFaults {
                repeat: 0.01,
                ..Default::default()
            },
        ),
        (
            "swapped",
            WireFaults {
                swap: 0.01,
                ..Default::default()
            },
        ),
        (
            "all",
            WireFaults {
                ber: 1e-5,
                lose: 0.003,
                repeat: 0.003,
                swap: 0.003,
                burst: 0.003,
                burst_bits: 16,
                ..Default::default()
            },
        ),
    ] {
        let mut s = with_seq(Options {
            seed,
            ..Default::default()
        });
        s.link_mut().set_faults(Faults::both(faults));
        random_mix(&mut s, &mut Rng::new(seed), 3_000, 40);
        let (m2s, s2m) = (
            s.link().wire_counters(Direction::M2s),
            s.link().wire_counters(Direction::S2m),
        );
        println!(
            "{name}: to the device {m2s:?}\n  to the host {s2m:?}\n  {:?}",
            s.link().counters()
        );
        let injected =
            |w: cxlmem_sim::link::WireCounters| w.lost + w.repeated + w.swapped + w.damaged;
        assert!(injected(m2s) > 0 && injected(s2m) > 0);
        assert_eq!(s.home().counters().strays + s.home().counters().timeouts, 0);
    }
}

/// A write on a link with sequence numbers that loses flit `lose` of those that follow in a direction; how many do.
fn write_and_lose(direction: Direction, lose: Option<u64>) -> u64 {
    let mut s = with_seq(Options::default());
    if direction == Direction::S2m {
        // The device alone looks after what it lost: no tail at the host.
        s.link_mut().set_limits(Limits::default());
    }
    let (base, _) = s.hdm_window();
    s.run(2_000);
    let credits = s.link().credits();
    let sent = |s: &System| s.link().wire_counters(direction).flits;
    let start = sent(&s);
    let ticket = s.issue(base, Op::write([2; 64])).unwrap();
    let mut lose = lose.map(|n| start + n);
    for _ in 0..5_000 {
        if lose.take_if(|n| *n == sent(&s)).is_some() {
            s.link_mut().drop_next(direction);
        }
        s.run(1);
    }
    s.wait(ticket).unwrap();
    assert_eq!(s.link().credits(), credits, "{direction:?}");
    sent(&s) - start
}

/// The last flit too: only the acknowledgement that does not come shows that it was lost (cxl-mem 8.4).
#[test]
fn with_seq_any_lost_flit_of_a_write_is_noticed() {
    for direction in [Direction::M2s, Direction::S2m] {
        let flits = write_and_lose(direction, None);
        assert!(flits > 1);
        for n in 0..flits {
            write_and_lose(direction, Some(n));
        }
        println!("{direction:?}: {flits} flits");
    }
}

#[test]
fn random_damage_under_load_loses_nothing() {
    let seed = seed(15);
    for ber in [1e-6, 1e-5, 1e-4] {
        let mut s = system(
            "sim",
            Options {
                seed,
                ..Default::default()
            },
        );
        s.link_mut().set_faults(Faults::both(WireFaults {
            ber,
            burst: ber * 100.0,
            burst_bits: 16,
            ..Default::default()
        }));
        random_mix(&mut s, &mut Rng::new(seed), 5_000, 64);
        println!("{ber:e}: {:?}", s.link().counters());
        assert_eq!(s.home().counters().strays + s.home().counters().timeouts, 0);
        if ber > 1e-6 {
            assert!(s.link().counters().crc_errors > 0);
        }
    }
}

/// A wire that delivers nothing good: retries, re-initialisations, then the end, at both ends and for the callers; and a restart helps.
#[test]
fn a_dead_wire_is_given_up_and_can_be_restarted() {
    for stuck in [false, true] {
        let mut s = system("sim", Options::default());
        let (base, _) = s.hdm_window();
        s.operate(base, Op::write([9; 64])).unwrap();
        s.link_mut().set_faults(Faults::both(WireFaults {
            stuck: Some(stuck),
            ..Default::default()
        }));
        let error = s.operate(base, Op::READ).unwrap_err();
        assert!(
            matches!(
                error,
                HomeError::Timeout { .. } | HomeError::LinkReset { .. }
            ),
            "{error}"
        );
        s.link_mut().set_faults(Faults::default());
        s.reset_link().unwrap();
        assert_eq!(
            s.operate(base, Op::READ).unwrap().data,
            Some([9; 64]),
            "memory keeps what was written"
        );
    }
}

/// Viral (cxl-mem 3.11): the host learns it by a spoiled flit and its retry, nothing is lost, and no data leaves as good.
#[test]
fn a_viral_device_says_so_and_contains_its_data() {
    let mut s = system("sim", Options::default());
    let (base, _) = s.hdm_window();
    s.operate(base, Op::write([4; 64])).unwrap();
    let control = s.mmio_read32(regs::LinkCtrl::OFFSET).unwrap();
    let errors = s.link().counters().crc_errors;
    s.mmio_write32(
        regs::LinkCtrl::OFFSET,
        regs::LinkCtrl::VIRAL.with(control, 1),
    )
    .unwrap();
    let done = s.issue(base, Op::READ).and_then(|t| s.wait(t));
    s.run(400);
    assert!(s.link().peer_is_viral());
    assert_eq!(s.link().counters().crc_errors, errors + 1, "spoiled once");
    assert!(done.is_ok_and(|d| d.poison), "the data is marked");
    s.mmio_write32(regs::LinkCtrl::OFFSET, control).unwrap();
    s.reset_link().unwrap();
    assert!(!s.link().peer_is_viral());
    let done = s.operate(base, Op::READ).unwrap();
    assert!(!done.poison && done.data == Some([4; 64]));
}

#[test]
fn addresses_that_nothing_decodes() {
    let mut s = system("sim", Options::default());
    let (base, size) = s.hdm_window();
    let before = s.mmio_read32(regs::NxmCount::OFFSET).unwrap();
    // Beyond the capacity, beyond the decoder, and below it.
    for address in [base + s.capacity(), base + size, base - LINE, 0] {
        s.operate(address, Op::write([1; 64])).unwrap();
        let done = s.operate(address, Op::READ).unwrap();
        assert!(done.nxm && done.data == Some([0xFF; 64]), "{done:?}");
        assert!(
            matches!(s.read_line(address, cxlmem_sim::Access::Shared), Err(SystemError::NoMemory(a)) if a == address)
        );
    }
    assert_eq!(s.mmio_read32(regs::NxmCount::OFFSET).unwrap() - before, 12);
    let last = base + s.capacity() - LINE;
    s.operate(last, Op::write([2; 64])).unwrap();
    assert_eq!(s.operate(last, Op::READ).unwrap().data, Some([2; 64]));
}

#[test]
fn meta0_is_stored_and_the_old_value_returned() {
    let mut s = system("small", Options::default());
    let (base, _) = s.hdm_window();
    s.operate(
        base,
        Op::Write {
            data: [1; 64],
            poison: false,
            meta: Some(MetaValue::A),
        },
    )
    .unwrap();
    let read = |s: &mut System, meta| s.operate(base, Op::Read { meta }).unwrap().meta;
    assert_eq!(read(&mut s, Some(MetaValue::S)), Some(MetaValue::A));
    assert_eq!(read(&mut s, None), None);
    assert_eq!(
        read(&mut s, Some(MetaValue::I)),
        Some(MetaValue::S),
        "a read without metadata leaves it"
    );
    let inv = s
        .operate(
            base,
            Op::Invalidate {
                meta: MetaValue::ExplicitNoOp,
                non_temporal: false,
            },
        )
        .unwrap();
    assert_eq!(inv.meta, Some(MetaValue::I));
    s.operate(base, Op::write([2; 64])).unwrap();
    assert_eq!(
        read(&mut s, Some(MetaValue::I)),
        Some(MetaValue::ExplicitNoOp),
        "a write without metadata leaves it"
    );
}

#[test]
fn poison_stays_until_the_whole_line_is_written() {
    let mut s = system("sim", Options::default());
    let (base, _) = s.hdm_window();
    s.operate(
        base,
        Op::Write {
            data: [1; 64],
            poison: true,
            meta: None,
        },
    )
    .unwrap();
    assert!(s.operate(base, Op::READ).unwrap().poison);
    s.operate(
        base,
        Op::WritePartial {
            data: [2; 64],
            enables: 0xFF,
            poison: false,
            meta: None,
        },
    )
    .unwrap();
    assert!(s.operate(base, Op::READ).unwrap().poison);
    s.operate(base, Op::write([3; 64])).unwrap();
    let done = s.operate(base, Op::READ).unwrap();
    assert!(!done.poison && done.data == Some([3; 64]));
    assert!(
        regs::RasCorStatus::MEM_POISON.is_set(s.mmio_read32(regs::RasCorStatus::OFFSET).unwrap())
    );
}

#[test]
fn a_wrong_byte_is_reported_with_its_place() {
    let mut s = system("sim", Options::default());
    let (base, _) = s.hdm_window();
    s.operate(base, Op::write([5; 64])).unwrap();
    let mut wrong = [5; 64];
    wrong[17] = 6;
    s.home_mut().golden_mut().set(base, &wrong, false);
    let error = s.operate(base, Op::READ).unwrap_err();
    let HomeError::Wrong(d) = &error else {
        panic!("{error}")
    };
    assert_eq!((d.position, d.address), (1, base));
    assert!(
        error.to_string().contains("byte 17 is 0x05, expected 0x06"),
        "{error}"
    );
    assert_eq!(s.home().first_difference(), Some(d.as_ref()));
}
