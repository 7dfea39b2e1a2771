//! BI-68 between host and controller (cxl-mem 8.2): who must offer it, and a storm of answers on a bad wire. Replay with `CXLMEM_SEED`.

use cxlmem_protocol::flit::control::BI_TAGS as TRACKERS;
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::msg::{
    M2sBiRsp, M2sBiRspOpcode, M2sReq, M2sReqOpcode, S2mBiSnpOpcode, S2mNdrOpcode,
};
use cxlmem_protocol::regs;
use cxlmem_sim::home::golden::LINE;
use cxlmem_sim::link::Response;
use cxlmem_sim::port::PortOp;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::workload::Counted;
use cxlmem_sim::{Faults, Op, Options, System, WireFaults};

/// A link that is up, with BI-68 offered by these.
fn system(device: bool, host: bool, options: Options) -> System {
    let mut s = System::new(
        "sim",
        Options {
            forget_on_flush: false,
            ..options
        },
    )
    .unwrap();
    s.bring_up().unwrap();
    let control = s.mmio_read32(regs::LinkCtrl::OFFSET).unwrap();
    assert!(
        !regs::LinkCtrl::OFFER_BI.is_set(control) && !s.link().has_bi(),
        "off after reset"
    );
    s.mmio_write32(
        regs::LinkCtrl::OFFSET,
        regs::LinkCtrl::OFFER_BI.with(control, u32::from(device)),
    )
    .unwrap();
    s.link_mut().offer_bi(host);
    s.reset_link().unwrap();
    s.run(500);
    s
}

fn device_has_bi(s: &mut System) -> bool {
    regs::LinkStatus::BI.is_set(s.mmio_read32(regs::LinkStatus::OFFSET).unwrap())
}

/// Random reads and writes, `count` of them.
fn traffic(s: &mut System, rng: &mut Rng, count: usize) {
    let (base, _) = s.hdm_window();
    for _ in 0..count {
        let address = base + rng.below(64) * LINE;
        let op = if rng.chance(0.5) {
            Op::READ
        } else {
            Op::write(rng.line())
        };
        s.post(address, op).unwrap();
    }
    s.run_until(200_000, "the last responses", |s| s.home().is_idle())
        .unwrap();
}

#[test]
fn both_ends_must_offer_it_and_without_it_the_link_is_plain() {
    let seed = seed_from_env(68).unwrap();
    println!("CXLMEM_SEED={seed}");
    let mut plain = None;
    for (device, host) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut s = system(
            device,
            host,
            Options {
                seed,
                record: true,
                ..Default::default()
            },
        );
        let both = device && host;
        assert_eq!(s.link().has_bi(), both);
        assert_eq!(device_has_bi(&mut s), both);
        assert_eq!(s.link().credits().rsp, if both { TRACKERS } else { 0 });
        assert_eq!(s.link().room_for_birsp(), both);
        if !both {
            assert!(!s.link_mut().send_birsp(&M2sBiRsp::default()));
        }
        // Nothing of it is seen on the wire unless it is in force: every slot is the same. In force, the credits for snoops are a flit more
        // at the start, and acknowledgements, which count flits, fall elsewhere.
        s.dut_mut().mark_recording();
        traffic(&mut s, &mut Rng::new(seed), 500);
        s.run(500);
        let digest = s.dut_mut().stop_recording().digest();
        if !both {
            assert_eq!(*plain.get_or_insert(digest), digest, "{device} {host}");
        }
        assert_eq!(s.home().first_difference(), None);
        assert_eq!(s.mmio_read32(regs::RxProtocolErrors::OFFSET).unwrap(), 0);
        assert_eq!(s.link().counters().protocol_errors, 0);
    }
}

#[test]
fn it_is_switched_at_init_only() {
    let mut s = System::new(
        "sim",
        Options {
            back_invalidate: true,
            ..Default::default()
        },
    )
    .unwrap();
    s.bring_up().unwrap();
    assert!(s.link().has_bi() && device_has_bi(&mut s));
    // Registers and flags alone change nothing.
    let control = s.mmio_read32(regs::LinkCtrl::OFFSET).unwrap();
    s.mmio_write32(
        regs::LinkCtrl::OFFSET,
        regs::LinkCtrl::OFFER_BI.with(control, 0),
    )
    .unwrap();
    s.link_mut().offer_bi(false);
    traffic(&mut s, &mut Rng::new(1), 20);
    assert!(s.link().has_bi() && device_has_bi(&mut s));
    s.reset_link().unwrap();
    assert!(!s.link().has_bi() && !device_has_bi(&mut s));
    s.offer_back_invalidate(true).unwrap();
    assert!(s.link().has_bi() && device_has_bi(&mut s));
    assert!(s.reset().is_ok() && s.bring_up().is_ok());
    assert!(s.link().has_bi() && device_has_bi(&mut s));
}

/// Each answer that arrives gives one credit back: one that was lost would leave fewer than at first, one that came twice more.
#[test]
fn a_storm_of_answers_on_a_bad_wire_conserves_credits() {
    let seed = seed_from_env(69).unwrap();
    println!("CXLMEM_SEED={seed}");
    for seq in [false, true] {
        let mut s = system(
            true,
            true,
            Options {
                seed,
                ..Default::default()
            },
        );
        if seq {
            s.link_mut().offer_seq(true);
            s.reset_link().unwrap();
            assert!(s.link().has_seq() && s.link().has_bi());
        }
        let lost = if seq { 0.003 } else { 0.0 };
        s.link_mut().set_faults(Faults::both(WireFaults {
            ber: 1e-4,
            burst: 0.01,
            burst_bits: 16,
            lose: lost,
            repeat: lost,
            swap: lost,
            ..Default::default()
        }));
        let mut rng = Rng::new(seed);
        let (base, _) = s.hdm_window();
        let before = Counted::of(&mut s).unwrap();
        let mut sent = 0u16;
        while sent < 5_000 {
            if s.link().room_for_birsp() {
                let birsp = M2sBiRsp {
                    opcode: M2sBiRspOpcode::ALL[rng.below(3) as usize],
                    bi_tag: sent % TRACKERS,
                    low_addr: rng.below(4) as u8,
                    ..Default::default()
                };
                assert!(s.link_mut().send_birsp(&birsp));
                sent += 1;
            }
            if s.home().open() < 64 && rng.chance(0.3) {
                let op = if rng.chance(0.5) {
                    Op::READ
                } else {
                    Op::write(rng.line())
                };
                s.post(base + rng.below(64) * LINE, op).unwrap();
            }
            s.run(rng.below(8));
            assert!(s.link().credits().rsp <= TRACKERS);
        }
        s.run_until(400_000, "the last answers", |s| {
            s.home().is_idle() && s.link().credits().rsp == TRACKERS
        })
        .unwrap();
        s.link_mut().set_faults(Faults::default());
        s.run(2_000);
        let ledger = Counted::of(&mut s).unwrap().since(&before);
        assert_eq!(
            (ledger.to_device.sent[2], ledger.to_device.delivered[2]),
            (5_000, 5_000)
        );
        assert_eq!(ledger.strays + ledger.timeouts, 0);
        // Nobody had asked: a flit with answers is logged once, and holds three at most.
        assert!(
            (1_667..=5_000).contains(&ledger.protocol_errors),
            "{}",
            ledger.protocol_errors
        );
        assert_eq!(s.link().counters().protocol_errors, 0);
        assert_eq!(s.home().first_difference(), None);
        let errors = s.mmio_read32(regs::RxCrcErrors::OFFSET).unwrap();
        println!(
            "SEQ {seq}: {errors} damaged flits, {:?}",
            s.link().counters()
        );
        assert!(errors > 50);
    }
}

/// Nobody has tag 9: the message is dropped and logged, its credit comes back, the link goes on.
#[test]
fn an_answer_to_nobody_is_logged() {
    let mut s = system(true, true, Options::default());
    let birsp = M2sBiRsp {
        bi_tag: 9,
        ..Default::default()
    };
    assert!(s.link_mut().send_birsp(&birsp));
    s.run(500);
    assert_eq!(s.link().credits().rsp, TRACKERS);
    assert_eq!(s.mmio_read32(regs::RxProtocolErrors::OFFSET).unwrap(), 1);
    let log: Vec<u32> = [regs::RasLog1::OFFSET, regs::RasLog2::OFFSET]
        .into_iter()
        .map(|offset| s.mmio_read32(offset).unwrap())
        .collect();
    assert_eq!(
        u128::from(log[0]) | u128::from(log[1]) << 32,
        birsp.pack(),
        "slot 0 above the flit header"
    );
    traffic(&mut s, &mut Rng::new(1), 50);
    assert_eq!(s.home().first_difference(), None);
}

/// The host takes a line, the device's accelerator adds to it: a snoop and an answer each time, on a wire with all faults. By both
/// ends' counts each message is delivered once, and the sum is right.
#[test]
fn snoops_and_their_answers_survive_a_bad_wire() {
    const ROUNDS: u64 = 400;
    let seed = seed_from_env(70).unwrap();
    println!("CXLMEM_SEED={seed}");
    let mut s = System::new(
        "sim",
        Options {
            seed,
            device_coherent: true,
            ..Default::default()
        },
    )
    .unwrap();
    s.link_mut().offer_seq(true);
    s.bring_up().unwrap();
    assert!(s.link().has_seq() && s.link().has_bi());
    s.replace_home();
    let before = Counted::of(&mut s).unwrap();
    s.link_mut().set_faults(Faults::both(WireFaults {
        ber: 2e-4,
        burst: 0.01,
        burst_bits: 16,
        lose: 0.01,
        repeat: 0.01,
        swap: 0.01,
        ..Default::default()
    }));
    let (base, _) = s.hdm_window();
    for round in 0..ROUNDS {
        let request = Row::RdA.request();
        assert!(s.link_mut().send_req(&M2sReq {
            opcode: M2sReqOpcode::MemRd,
            meta_field: request.meta_field,
            meta_value: request.meta_value,
            snp_type: request.snp_type,
            tag: round as u16,
            address: base,
            ..Default::default()
        }));
        let mut due = 2;
        while due > 0 {
            s.run(1);
            match s.take_response() {
                Some(Response::Ndr(n)) => {
                    assert_eq!((n.tag, n.opcode), (round as u16, S2mNdrOpcode::CmpE));
                    due -= 1;
                }
                Some(Response::Drs(d, line)) => {
                    assert_eq!(d.tag, round as u16);
                    assert_eq!(line[..2], (round as u16).to_le_bytes());
                    due -= 1;
                }
                Some(Response::BiSnp(b)) => panic!("round {round}: {b:?}"),
                None => assert!(
                    s.dut_mut().cycles() < 2_000_000,
                    "round {round} does not end"
                ),
            }
        }
        s.port_mut().issue(0, PortOp::FetchAdd { word: 0, add: 1 });
        let mut snooped = false;
        let done = loop {
            s.run(1);
            match s.take_response() {
                Some(Response::BiSnp(b)) => {
                    assert!(!snooped, "round {round}: twice");
                    assert_eq!((b.opcode, b.address), (S2mBiSnpOpcode::BiSnpInv, base));
                    snooped = true;
                    assert!(s.link_mut().send_birsp(&M2sBiRsp {
                        opcode: M2sBiRspOpcode::BiRspI,
                        bi_tag: b.bi_tag,
                        ..Default::default()
                    }));
                }
                Some(other) => panic!("round {round}: {other:?}"),
                None => assert!(
                    s.dut_mut().cycles() < 2_000_000,
                    "round {round} does not end"
                ),
            }
            if let Some(done) = s.port_mut().poll() {
                break done;
            }
        };
        assert!(snooped && done.result.is_ok(), "round {round}: {done:?}");
        assert_eq!(done.data[..8], round.to_le_bytes());
    }
    s.link_mut().set_faults(Faults::default());
    s.run(2_000);
    let ledger = Counted::of(&mut s).unwrap().since(&before);
    println!("{ledger:?}");
    assert_eq!(ledger.losses(), Vec::<String>::new());
    assert_eq!(ledger.to_host.delivered, [ROUNDS; 3], "NDR, DRS, BISnp");
    assert_eq!(ledger.to_device.delivered, [ROUNDS, 0, ROUNDS]);
    assert!(ledger.to_host.injected() > 50 && ledger.to_device.injected() > 50);
}
