//! Device-coherent memory (HDM-DB), message by message, with the home agent played by hand: grants, snoops, the conflict handshake early and
//! late, time-outs and the loss of the link.

use cxlmem_protocol::engine::{Completion, Descriptor, Opcode, Status};
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::Op;
use cxlmem_protocol::msg::{
    M2sBiRspOpcode, M2sReq, MetaField, MetaValue, S2mBiSnp, S2mBiSnpOpcode, S2mNdrOpcode,
};
use cxlmem_protocol::regs;
use cxlmem_sim::link::Response;
use cxlmem_sim::port::{Keep, PortError, PortOp};
use cxlmem_sim::{Options, System};

mod hand;

use hand::{word, Hand, Ring};

#[test]
fn grants_and_the_stored_state() {
    for config in ["small", "full", "sim", "sim-ext"] {
        let mut h = Hand::new(config);
        // Row, grant; each on the line as the row before left it. The answer's Meta0 is the state before.
        for (n, (row, grant, before)) in [
            (Row::RdS, S2mNdrOpcode::CmpS, MetaValue::I),
            (Row::RdS, S2mNdrOpcode::CmpS, MetaValue::S),
            (Row::RdA, S2mNdrOpcode::CmpE, MetaValue::S),
            (Row::RdS, S2mNdrOpcode::CmpS, MetaValue::A),
            (Row::InvA, S2mNdrOpcode::CmpE, MetaValue::S),
            (Row::InvI, S2mNdrOpcode::Cmp, MetaValue::A),
            (Row::RdIInv, S2mNdrOpcode::Cmp, MetaValue::I),
            (Row::InvS, S2mNdrOpcode::CmpS, MetaValue::I),
            (Row::ClnEvct, S2mNdrOpcode::Cmp, MetaValue::S),
            (Row::RdA, S2mNdrOpcode::CmpE, MetaValue::I),
        ]
        .into_iter()
        .enumerate()
        {
            h.send(row, 5, n as u16, [0; 64]);
            let ndr = h.ndr(n as u16);
            assert_eq!(ndr.opcode, grant, "{config} {row:?}");
            assert_eq!(
                (ndr.meta_field, ndr.meta_value),
                (MetaField::Meta0State, before),
                "{config} {row:?}"
            );
            if row.request().rule().data {
                h.data(n as u16);
            }
        }
        // Rows that say nothing of Meta0.
        h.send(Row::RdData, 6, 20, [0; 64]);
        let ndr = h.ndr(20);
        assert_eq!(ndr.opcode, S2mNdrOpcode::CmpE);
        assert_eq!(ndr.meta_field, MetaField::NoOp);
        h.data(20);
        h.send(Row::RdKeep, 6, 21, [0; 64]);
        assert_eq!(h.ndr(21).opcode, S2mNdrOpcode::Cmp);
        h.data(21);
        // Write-backs.
        h.send(Row::WrS, 5, 22, [0x55; 64]);
        assert_eq!(h.ndr(22).opcode, S2mNdrOpcode::Cmp);
        h.send(Row::RdS, 5, 23, [0; 64]);
        assert_eq!(h.data(23), [0x55; 64]);
        assert_eq!(h.ndr(23).meta_value, MetaValue::S);
        h.end();
    }
}

#[test]
fn the_device_reads_and_writes_what_no_host_holds_without_a_snoop() {
    let mut h = Hand::new("full");
    h.port(9, PortOp::Store([0xA5; 64], u64::MAX));
    assert_eq!(h.port_done().result, Ok(()));
    h.port(9, PortOp::Store([0; 64], 0xFF));
    assert_eq!(h.port_done().result, Ok(()));
    h.port(9, PortOp::Load(Keep::Nothing));
    let mut want = [0xA5; 64];
    want[..8].fill(0);
    assert_eq!(h.port_done().data, want);
    h.port(9, PortOp::FetchAdd { word: 0, add: 5 });
    assert_eq!(word(&h.port_done().data, 0), 0);
    h.port(
        9,
        PortOp::CompareSwap {
            word: 0,
            compare: 5,
            swap: 77,
        },
    );
    assert_eq!(word(&h.port_done().data, 0), 5);
    h.port(
        9,
        PortOp::CompareSwap {
            word: 0,
            compare: 5,
            swap: 78,
        },
    );
    assert_eq!(word(&h.port_done().data, 0), 77);
    h.send(Row::RdS, 9, 1, [0; 64]);
    let line = h.data(1);
    assert_eq!(word(&line, 0), 77);
    assert_eq!(line[8..], want[8..]);
    h.ndr(1);
    h.port(1 << 20, PortOp::Load(Keep::All));
    assert_eq!(h.port_done().result, Err(PortError::BadLine));
    // S at the host: a load goes on, a store snoops.
    h.port(9, PortOp::Load(Keep::All));
    assert_eq!(word(&h.port_done().data, 0), 77);
    assert!(h.snoops.is_empty());
    h.end();
}

#[test]
fn a_snoop_for_each_kind_of_access() {
    for (op, opcode, answer) in [
        (
            PortOp::Load(Keep::All),
            S2mBiSnpOpcode::BiSnpCur,
            M2sBiRspOpcode::BiRspE,
        ),
        (
            PortOp::Load(Keep::Shared),
            S2mBiSnpOpcode::BiSnpData,
            M2sBiRspOpcode::BiRspS,
        ),
        (
            PortOp::Load(Keep::Nothing),
            S2mBiSnpOpcode::BiSnpInv,
            M2sBiRspOpcode::BiRspI,
        ),
        (
            PortOp::FetchAdd { word: 1, add: 3 },
            S2mBiSnpOpcode::BiSnpInv,
            M2sBiRspOpcode::BiRspI,
        ),
    ] {
        let mut h = Hand::new("full");
        assert_eq!(h.take(Row::RdA, 33), S2mNdrOpcode::CmpE);
        h.port(33, op.clone());
        let snoop = h.snoop();
        assert_eq!(snoop.opcode, opcode, "{op:?}");
        assert_eq!(snoop.address, h.address(33));
        // Dirty data first.
        let keeps = match answer {
            M2sBiRspOpcode::BiRspE => Row::WrA,
            M2sBiRspOpcode::BiRspS => Row::WrS,
            _ => Row::WrI,
        };
        h.send(keeps, 33, 40, [0x11; 64]);
        assert_eq!(h.ndr(40).opcode, S2mNdrOpcode::Cmp);
        h.quiet(100);
        assert_eq!(h.s.port_mut().open(), 1, "it waits for the answer");
        h.answer(&snoop, answer);
        let done = h.port_done();
        assert_eq!(done.result, Ok(()));
        assert_eq!(
            word(&done.data, 0),
            0x1111_1111_1111_1111,
            "{op:?} sees the written back data"
        );
        // What is recorded now is what the answer said.
        h.send(Row::RdS, 33, 41, [0; 64]);
        let before = h.ndr(41).meta_value;
        let want = match answer {
            M2sBiRspOpcode::BiRspE => MetaValue::A,
            M2sBiRspOpcode::BiRspS => MetaValue::S,
            _ => MetaValue::I,
        };
        assert_eq!(before, want, "{op:?}");
        let line = h.data(41);
        let added = u64::from(matches!(op, PortOp::FetchAdd { .. })) * 3;
        assert_eq!(word(&line, 1), 0x1111_1111_1111_1111 + added);
        h.end();
    }
}

#[test]
fn conflict_early_the_request_waits_for_the_answer() {
    let mut h = Hand::new("full");
    h.take(Row::RdS, 3);
    h.port(3, PortOp::Store([9; 64], u64::MAX));
    let snoop = h.snoop();
    // The upgrade meets the snoop: early, since the device blocks it.
    h.send(Row::RdA, 3, 50, [0; 64]);
    h.conflict(3, 50);
    let ack = h.ndr(50);
    assert_eq!(ack.opcode, S2mNdrOpcode::BiConflictAck);
    h.quiet(200);
    assert!(
        h.ndrs.is_empty() && h.drss.is_empty(),
        "the Req waits: {:?} {:?}",
        h.ndrs,
        h.drss
    );
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    assert_eq!(h.data(50), [9; 64], "the store went before the Req");
    assert_eq!(h.ndr(50).opcode, S2mNdrOpcode::CmpE);
    assert_eq!(h.port_done().result, Ok(()));
    h.end();
}

#[test]
fn rwd_drains_while_req_waits() {
    let mut h = Hand::new("full");
    h.take(Row::RdA, 3);
    for n in 0..12 {
        h.take(Row::RdA, 100 + n);
    }
    h.port(3, PortOp::Store([9; 64], u64::MAX));
    let snoop = h.snoop();
    for n in 0..4 {
        h.send(
            Row::RdS,
            if n == 0 { 3 } else { 200 + n },
            60 + n as u16,
            [0; 64],
        );
    }
    h.quiet(50);
    for n in 0..12 {
        h.until("room", |h| h.s.link().room_for_rwd());
        h.send(Row::WrI, 100 + n, 70 + n as u16, [n as u8; 64]);
    }
    for n in 0..12 {
        assert_eq!(h.ndr(70 + n).opcode, S2mNdrOpcode::Cmp);
    }
    assert!(h.drss.is_empty());
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    assert_eq!(h.data(60), [9; 64]);
    for n in 0..4 {
        if n > 0 {
            h.data(60 + n);
        }
        h.ndr(60 + n);
    }
    assert_eq!(h.port_done().result, Ok(()));
    h.end();
}

#[test]
fn a_snoop_that_is_not_answered_fails_the_access_and_nothing_else() {
    let mut h = Hand::new("full");
    h.s.mmio_write32(regs::SnoopTimeout::OFFSET, 300).unwrap();
    h.take(Row::RdA, 3);
    h.port(3, PortOp::Store([9; 64], u64::MAX));
    let snoop = h.snoop();
    assert_eq!(h.port_done().result, Err(PortError::NotReleased));
    assert_eq!(h.register(regs::SnoopFailures::OFFSET), 1);
    // The line is as it was, requests go on, and another access fails at once: an answer is owed.
    h.send(Row::RdS, 3, 1, [0; 64]);
    assert_eq!(h.data(1), [0; 64]);
    assert_eq!(h.ndr(1).meta_value, MetaValue::A);
    h.port(3, PortOp::Store([9; 64], u64::MAX));
    let done = h.port_done();
    assert_eq!(done.result, Err(PortError::NotReleased));
    assert!(done.finished - done.started < 40);
    // The late answer is logged and ends it.
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    h.quiet(100);
    assert_eq!(h.register(regs::RxProtocolErrors::OFFSET), 1);
    h.port(3, PortOp::Store([9; 64], u64::MAX));
    let snoop = h.snoop();
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    assert_eq!(h.port_done().result, Ok(()));
    assert_eq!(h.register(regs::Snoops::OFFSET), 2);
}

#[test]
fn a_link_that_goes_down_fails_the_access_and_keeps_the_directory() {
    let mut h = Hand::new("full");
    h.take(Row::RdA, 3);
    h.port(3, PortOp::Store([9; 64], u64::MAX));
    h.snoop();
    h.s.reset_link().unwrap();
    assert_eq!(h.port_done().result, Err(PortError::NotReleased));
    h.port(3, PortOp::Store([9; 64], u64::MAX));
    let snoop = h.snoop();
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    assert_eq!(h.port_done().result, Ok(()));
    h.end();
}

#[test]
fn the_filter_makes_room_by_invalidating() {
    let mut h = Hand::new("sim");
    // Five lines of one set.
    for n in 0..4 {
        h.take(Row::RdA, 17 + n * 1024);
    }
    h.send(Row::RdA, 17 + 4 * 1024, 80, [0; 64]);
    let snoop = h.snoop();
    assert_eq!(snoop.opcode, S2mBiSnpOpcode::BiSnpInv);
    assert_eq!(snoop.address, h.address(17));
    h.quiet(200);
    assert!(h.ndrs.is_empty());
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    h.data(80);
    assert_eq!(h.ndr(80).opcode, S2mNdrOpcode::CmpE);
    // The others still have their entries.
    for n in 1..5 {
        h.send(Row::RdS, 17 + n * 1024, 81, [0; 64]);
        assert_eq!(h.ndr(81).meta_value, MetaValue::A, "line {n}");
        h.data(81);
    }
    h.end();
}

/// No write-back comes before these answers: what they say is all that the directory learns. And a write-back alone is recorded too.
#[test]
fn a_clean_answer_and_a_write_back_are_recorded() {
    for (keep, answer, want) in [
        (Keep::All, M2sBiRspOpcode::BiRspE, MetaValue::A),
        (Keep::Shared, M2sBiRspOpcode::BiRspS, MetaValue::S),
        (Keep::Nothing, M2sBiRspOpcode::BiRspI, MetaValue::I),
    ] {
        let mut h = Hand::new("full");
        h.take(Row::RdA, 12);
        h.port(12, PortOp::Load(keep));
        let snoop = h.snoop();
        h.answer(&snoop, answer);
        assert_eq!(h.port_done().result, Ok(()));
        h.send(Row::RdKeep, 12, 1, [0; 64]);
        h.ndr(1);
        h.data(1);
        h.send(Row::RdS, 12, 2, [0; 64]);
        assert_eq!(h.ndr(2).meta_value, want);
        h.data(2);
        h.end();
    }
    let mut h = Hand::new("full");
    h.take(Row::RdA, 12);
    h.send(Row::WrI, 12, 1, [5; 64]);
    h.ndr(1);
    h.send(Row::RdS, 12, 2, [0; 64]);
    assert_eq!(h.ndr(2).meta_value, MetaValue::I);
    assert_eq!(h.data(2), [5; 64]);
    h.end();
}

/// The answer to a snoop writes into its entry: until it has come, a write-back of the line must not free the entry for another line.
#[test]
fn the_entry_of_a_snooped_line_is_not_given_away() {
    let mut h = Hand::new("sim");
    for n in 0..4 {
        h.take(Row::RdA, 17 + n * 1024);
    }
    h.port(17, PortOp::Store([9; 64], u64::MAX));
    let snoop = h.snoop();
    h.send(Row::WrI, 17, 40, [1; 64]);
    assert_eq!(h.ndr(40).opcode, S2mNdrOpcode::Cmp);
    let fifth = 17 + 4 * 1024;
    h.send(Row::RdA, fifth, 41, [0; 64]);
    h.quiet(200);
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    // Whoever else is asked to make room does.
    h.until("the fifth line", |h| {
        for snoop in std::mem::take(&mut h.snoops) {
            h.answer(&snoop, M2sBiRspOpcode::BiRspI);
        }
        h.ndrs.iter().any(|n| n.tag == 41)
    });
    assert_eq!(h.ndr(41).opcode, S2mNdrOpcode::CmpE);
    h.data(41);
    assert_eq!(h.port_done().result, Ok(()));
    // It is on record as owned.
    h.port(fifth, PortOp::Load(Keep::Nothing));
    let snoop = h.snoop();
    assert_eq!(snoop.address, h.address(fifth));
    h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    assert_eq!(h.port_done().result, Ok(()));
    h.end();
}

/// The host asks for the line in every cycle of an atomic: it gets the old value and is snooped, or the new one.
#[test]
fn an_atomic_is_whole_while_the_host_asks_for_its_line() {
    let mut h = Hand::new("full");
    let mut snooped = 0;
    for phase in 0..40 {
        let (line, tag) = (phase, 100 + phase as u16);
        h.send(Row::RdA, line, tag, [0; 64]);
        h.quiet(phase);
        h.port(line, PortOp::FetchAdd { word: 2, add: 1 });
        let seen = word(&h.data(tag), 2);
        assert_eq!(h.ndr(tag).opcode, S2mNdrOpcode::CmpE);
        h.quiet(60);
        if seen == 0 {
            let snoop = h.snoop();
            h.answer(&snoop, M2sBiRspOpcode::BiRspI);
            snooped += 1;
        }
        let done = h.port_done();
        assert_eq!((done.result, word(&done.data, 0)), (Ok(()), 0));
        assert!(h.snoops.is_empty());
    }
    assert!((1..40).contains(&snooped), "both orders: {snooped} of 40");
    h.end();
}

#[test]
fn what_the_host_may_not_do_is_answered_and_logged() {
    let mut h = Hand::new("full");
    let errors = |h: &mut Hand| h.register(regs::RxProtocolErrors::OFFSET);
    // A write-back without ownership: accepted.
    h.send(Row::WrI, 4, 1, [3; 64]);
    assert_eq!(h.ndr(1).opcode, S2mNdrOpcode::Cmp);
    assert_eq!(errors(&mut h), 1);
    // BIConflict without a snoop: answered.
    h.conflict(4, 2);
    assert_eq!(h.ndr(2).opcode, S2mNdrOpcode::BiConflictAck);
    assert_eq!(errors(&mut h), 2);
    // An answer that keeps too much: recorded, and the access fails.
    h.take(Row::RdA, 4);
    h.port(4, PortOp::Store([9; 64], u64::MAX));
    let snoop = h.snoop();
    h.answer(&snoop, M2sBiRspOpcode::BiRspS);
    assert_eq!(h.port_done().result, Err(PortError::NotReleased));
    assert_eq!(errors(&mut h), 3);
    h.send(Row::RdS, 4, 3, [0; 64]);
    assert_eq!(h.data(3), [3; 64]);
    assert_eq!(h.ndr(3).meta_value, MetaValue::S);
}

/// One descriptor, to its end; the host answers snoops by `answer`.
fn engine(h: &mut Hand, d: Descriptor, mut answer: impl FnMut(&mut Hand, &S2mBiSnp)) -> Completion {
    let ring = Ring::start(&mut h.s, &d);
    for _ in 0..100_000 {
        h.step();
        if let Some(snoop) = h.snoops.pop() {
            answer(h, &snoop);
        }
        if let Some(c) = ring.poll(&h.s) {
            ring.free(&mut h.s);
            return c;
        }
    }
    panic!("{d:?} does not end");
}

#[test]
fn the_engine_recalls_the_lines_that_the_host_holds() {
    let mut h = Hand::new("full");
    let bus = h.s.dma_alloc(8192).unwrap();
    let copy = |opcode: Opcode, dev_addr, count| Descriptor {
        opcode: opcode as u8,
        count,
        dev_addr,
        host_addr: bus,
        ..Default::default()
    };
    // The host holds every fourth line of the page, dirty.
    for n in (0..64).step_by(4) {
        h.take(Row::RdA, 64 + n);
    }
    let mut tag = 100;
    let snoops = std::cell::Cell::new(0);
    let mut give_up = |h: &mut Hand, snoop: &S2mBiSnp| {
        let line = (snoop.address - h.address(0)) / 64;
        snoops.set(snoops.get() + 1);
        tag += 1;
        h.send(Row::WrI, line, tag, [line as u8; 64]);
        assert_eq!(h.ndr(tag).opcode, S2mNdrOpcode::Cmp);
        h.answer(snoop, M2sBiRspOpcode::BiRspI);
    };
    // No page has an owner: nothing is refused.
    let c = engine(&mut h, copy(Opcode::CopyToHost, 4096, 4096), &mut give_up);
    assert_eq!((c.status, c.done), (0, 4096), "{c:?}");
    let mut page = vec![0; 4096];
    h.s.dma_read(bus, &mut page).unwrap();
    for (n, line) in page.chunks(64).enumerate() {
        let want = if n % 4 == 0 { 64 + n as u8 } else { 0 };
        assert_eq!(line, [want; 64], "line {n}");
    }
    // It left the host: nothing is snooped the second time.
    let c = engine(&mut h, copy(Opcode::CopyToHost, 4096, 4096), |_, s| {
        panic!("{s:?}")
    });
    assert_eq!(c.status, 0);
    // Writes invalidate; sums do not.
    h.take(Row::RdA, 70);
    let c = engine(&mut h, copy(Opcode::Sum64, 4096, 4096), |h, snoop| {
        assert_eq!(snoop.opcode, S2mBiSnpOpcode::BiSnpCur);
        h.answer(snoop, M2sBiRspOpcode::BiRspE);
    });
    assert_eq!(c.status, 0);
    let c = engine(&mut h, copy(Opcode::CopyToDevice, 4096, 4096), &mut give_up);
    assert_eq!((c.status, c.done), (0, 4096));
    assert_eq!(snoops.get(), 17);
    h.take(Row::RdA, 64);
    let add = Descriptor {
        opcode: Opcode::FetchAdd as u8,
        count: 1,
        dev_addr: 4096 + 8,
        arg: 5,
        ..Default::default()
    };
    let c = engine(&mut h, add, &mut give_up);
    assert_eq!((c.status, c.result), (0, 0x4040_4040_4040_4040));
    h.send(Row::RdS, 64, 90, [0; 64]);
    assert_eq!(word(&h.data(90), 1), 0x4040_4040_4040_4045);
    h.ndr(90);
    h.end();
}

#[test]
fn a_host_that_does_not_answer_fails_the_descriptor_and_says_how_far_it_came() {
    let mut h = Hand::new("full");
    let bus = h.s.dma_alloc(4096).unwrap();
    h.s.mmio_write32(regs::SnoopTimeout::OFFSET, 400).unwrap();
    h.take(Row::RdA, 64 + 10);
    for (opcode, done) in [
        (Opcode::CopyToHost, 10 * 64),
        (Opcode::CopyToDevice, 10 * 64),
        (Opcode::Fill, 10 * 64),
    ] {
        let d = Descriptor {
            opcode: opcode as u8,
            count: 4096,
            dev_addr: 4096,
            host_addr: if opcode == Opcode::Fill { 0 } else { bus },
            ..Default::default()
        };
        let mut asked = 0;
        let c = engine(&mut h, d, |_, _| asked += 1);
        assert_eq!(
            (Status::from_code(c.status), c.done),
            (Some(Status::NotReleased), done),
            "{opcode:?}"
        );
        // The link starts anew, so that nothing is owed.
        h.s.reset_link().unwrap();
    }
}

/// Cycles from the call that sends a read of a line that nobody holds to its data at the host's end, over several phases of the transmitter.
fn read_cycles(device_coherent: bool) -> Vec<u64> {
    let mut s = System::new(
        "full",
        Options {
            device_coherent,
            ..Default::default()
        },
    )
    .unwrap();
    s.bring_up().unwrap();
    s.replace_home();
    let row = if device_coherent {
        Row::RdA
    } else {
        // MemRd without Meta0 or SnpType: HDM-H.
        Row::RdKeep
    };
    let r = row.request();
    let Op::Req(opcode) = r.op else {
        unreachable!("a read is a Req")
    };
    (0..16)
        .map(|n| {
            s.run(60 + n);
            let address = s.hdm_window().0 + n * 64;
            assert!(s.link_mut().send_req(&M2sReq {
                opcode,
                meta_field: r.meta_field,
                meta_value: r.meta_value,
                snp_type: r.snp_type,
                address,
                ..Default::default()
            }));
            let start = s.now();
            let mut data = false;
            let mut ndr = !device_coherent;
            while !(data && ndr) {
                assert!(s.now() < start + 200);
                s.cycle();
                match s.take_response() {
                    Some(Response::Drs(..)) => data = true,
                    Some(Response::Ndr(_)) => ndr = true,
                    _ => {}
                }
            }
            s.now() - start
        })
        .collect()
}

#[test]
fn a_read_at_an_idle_directory_costs_at_most_two_cycles_more() {
    let (host, device) = (read_cycles(false), read_cycles(true));
    println!("cycles, HDM-H {host:?}, HDM-DB {device:?}");
    for (h, d) in host.iter().zip(&device) {
        assert!(*d <= *h + 2, "HDM-H {h}, HDM-DB {d}");
    }
}

/// From the line port's command to slot 0 of the BISnp at the pins, and from slot 0 of the BIRsp's flit at the pins to the access's first
/// request to the memory.
#[test]
fn a_snoop_adds_at_most_fourteen_cycles_of_the_devices_own() {
    let mut worst = 0;
    for phase in 0..8 {
        let mut h = Hand::new("full");
        h.take(Row::RdA, 1);
        h.quiet(100 + phase);
        h.port(1, PortOp::Load(Keep::Nothing));
        let snoop = h.snoop();
        let sent = h.s.link().marks().response_start;
        h.answer(&snoop, M2sBiRspOpcode::BiRspI);
        let done = h.port_done();
        // The memory's first beat is there a cycle after its request; four beats go through the port's buffer and are given: 1 + 4 + 4.
        let out = sent - done.started;
        let back = done.finished - (h.s.link().marks().request_end - 3);
        println!("phase {phase}: out {out}, back until the load's last beat {back}");
        worst = worst.max(out + back - 9);
    }
    println!("own overhead of a snooped access: {worst} cycles (the flits in and out included)");
    assert!(worst <= 14, "{worst}");
}
