//! A million flits over a wire with faults: every message delivered once, by both ends' counts, and every read compared. Replay with `CXLMEM_SEED`.

use cxlmem_protocol::flit::Direction;
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::msg::{M2sBiRsp, M2sBiRspOpcode, M2sReq, M2sReqOpcode};
use cxlmem_protocol::regs;
use cxlmem_sim::home::golden::LINE;
use cxlmem_sim::home::HomeOptions;
use cxlmem_sim::link::Response;
use cxlmem_sim::port::{Keep, PortError, PortOp};
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

/// One operation during which a flit is lost, or comes twice, on a link without sequence numbers; what the ledger says of it.
fn losses_of(op: Op, direction: Direction, twice: bool) -> Vec<String> {
    let home = HomeOptions {
        timeout: 1_000,
        ..Default::default()
    };
    let mut s = System::new(
        "sim",
        Options {
            home,
            ..Default::default()
        },
    )
    .unwrap();
    s.bring_up().unwrap();
    assert!(!s.link().has_seq());
    let (base, _) = s.hdm_window();
    s.operate(base, Op::write([1; 64])).unwrap();
    s.run(200);
    let before = Counted::of(&mut s).unwrap();
    if twice {
        let faults = WireFaults {
            repeat: 1.0,
            ..Default::default()
        };
        s.link_mut().set_faults(match direction {
            Direction::M2s => Faults {
                m2s: faults,
                ..Default::default()
            },
            Direction::S2m => Faults {
                s2m: faults,
                ..Default::default()
            },
        });
        let ticket = s.issue(base, op).unwrap();
        s.run_until(100, "a repeated flit", |s| {
            s.link().wire_counters(direction).repeated > 0
        })
        .unwrap();
        s.link_mut().set_faults(Faults::default());
        s.wait(ticket).unwrap();
    } else {
        s.link_mut().drop_next(direction);
        s.operate(base, op).unwrap_err();
    }
    s.run(1_000);
    Counted::of(&mut s).unwrap().since(&before).losses()
}

/// The ledger can tell: what it says when a message is lost or doubled, one kind after the other (cxl-mem 8.4: without SEQ nobody else does).
#[test]
fn a_message_that_is_lost_or_comes_twice_is_in_the_ledger() {
    let unanswered = "1 operations without a response".to_string();
    let lost = |what: &str| vec![format!("{what}: 1 sent, 0 delivered"), unanswered.clone()];
    assert_eq!(losses_of(Op::READ, Direction::M2s, false), lost("Req"));
    let of_ndr = losses_of(Op::write([2; 64]), Direction::S2m, false);
    assert_eq!(of_ndr, lost("NDR"));
    // Of messages with data the rest still comes, and means nothing.
    for (op, direction, what) in [
        (Op::write([2; 64]), Direction::M2s, "RwD"),
        (Op::READ, Direction::S2m, "DRS"),
    ] {
        let said = losses_of(op, direction, false);
        let first = format!("{what}: 1 sent, 0 delivered");
        assert!(
            said.contains(&first) && said.contains(&unanswered),
            "{said:?}"
        );
    }
    let said = losses_of(Op::READ, Direction::M2s, true);
    assert_eq!(said[0], "Req: 1 sent, 2 delivered");
    assert!(said.contains(&"1 responses that no operation waits for".to_string()));
}

/// The same of a snoop and of its answer.
#[test]
fn a_snoop_or_an_answer_that_is_lost_is_in_the_ledger() {
    for direction in [Direction::S2m, Direction::M2s] {
        let mut s = System::new(
            "full",
            Options {
                device_coherent: true,
                ..Default::default()
            },
        )
        .unwrap();
        s.bring_up().unwrap();
        s.replace_home();
        s.mmio_write32(regs::SnoopTimeout::OFFSET, 500).unwrap();
        let (base, _) = s.hdm_window();
        let request = Row::RdA.request();
        assert!(s.link_mut().send_req(&M2sReq {
            opcode: M2sReqOpcode::MemRd,
            meta_field: request.meta_field,
            meta_value: request.meta_value,
            snp_type: request.snp_type,
            address: base,
            ..Default::default()
        }));
        s.run(500);
        while s.take_response().is_some() {}
        let before = Counted::of(&mut s).unwrap();
        if direction == Direction::S2m {
            s.link_mut().drop_next(direction);
        }
        s.port_mut().issue(0, PortOp::Load(Keep::Nothing));
        let done = loop {
            s.run(1);
            if let Some(Response::BiSnp(snoop)) = s.take_response() {
                s.link_mut().drop_next(Direction::M2s);
                assert!(s.link_mut().send_birsp(&M2sBiRsp {
                    opcode: M2sBiRspOpcode::BiRspI,
                    bi_tag: snoop.bi_tag,
                    ..Default::default()
                }));
            }
            assert!(s.now() < 1_000_000, "the access does not end");
            if let Some(done) = s.port_mut().poll() {
                break done;
            }
        };
        assert_eq!(done.result, Err(PortError::NotReleased));
        let what = match direction {
            Direction::S2m => "BISnp",
            Direction::M2s => "BIRsp",
        };
        let said = Counted::of(&mut s).unwrap().since(&before).losses();
        assert_eq!(said, [format!("{what}: 1 sent, 0 delivered")]);
    }
}
