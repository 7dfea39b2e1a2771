//! What the polite host of this crate never does, and rules that only show then: requests outside the table, requests without credits, RETRY messages out
//! of place, and a wire that is cut. Most of these tests were written for mutants that survived the others (`docs/developer/mutants.md`).

mod host;
mod sweep;

use cxlmem_protocol::flit::control::{self, Control};
use cxlmem_protocol::msg::{M2sReq, M2sReqOpcode, MetaField, S2mDrsOpcode};
use cxlmem_protocol::regs;
use host::{init, read, requests, write, Host, BASE, EIGHT, GRANULE};

/// Place of MetaField in a request: bits 9:8.
const META_FIELD: u32 = 8;

fn up() -> Host {
    Host::up("full", EIGHT, EIGHT)
}

/// All ones, and marked: what a refused read gets (cxl-mem G-03).
fn is_refused(read: &cxlmem_protocol::pack::Read) -> bool {
    read.data == [0xFF; 64] && read.header.poison && read.header.opcode == S2mDrsOpcode::MemData
}

#[test]
fn a_request_outside_the_table_is_refused_and_logged() {
    let mut h = up();
    h.write(write(BASE + 64, 1).pack(), 0x5A, None);
    assert_eq!((h.ndrs.len(), h.ndrs[0].tag), (1, 1));
    assert_eq!(h.read(BASE + 64, 2).data, [0x5A; 64]);
    assert_eq!(h.errors(), 0);

    // MemRd with the reserved MetaField.
    let illegal = |m: M2sReq| m.pack() & !(3 << META_FIELD) | 2 << META_FIELD;
    h.reads.clear();
    h.requests(&[illegal(read(BASE + 64, 3))]);
    assert!(
        h.reads.len() == 1 && is_refused(&h.reads[0]),
        "{:?}",
        h.reads
    );
    assert_eq!(h.errors(), 1);
    assert_eq!(h.log(), illegal(read(64, 3)), "the device's address");

    // MemWr with byte enables: an answer, and the line stays.
    h.write(write(BASE + 64, 4).pack(), 0xA5, Some(u64::MAX));
    assert_eq!((h.ndrs.len(), h.ndrs[1].tag), (2, 4));
    assert_eq!(h.errors(), 2);
    assert_eq!(h.read(BASE + 64, 5).data, [0x5A; 64]);
}

#[test]
fn a_second_request_to_a_line_is_refused() {
    let mut h = up();
    h.write(write(BASE, 1).pack(), 0x11, None);
    h.requests(&[read(BASE, 2).pack(), read(BASE, 3).pack()]);
    assert_eq!(h.reads.len(), 2);
    assert_eq!(h.reads[0].data, [0x11; 64]);
    assert!(is_refused(&h.reads[1]), "{:?}", h.reads[1]);
    assert_eq!(h.errors(), 1);
    // Other lines at the same time are welcome.
    h.requests(&[read(BASE, 4).pack(), read(BASE + 64, 5).pack()]);
    assert_eq!(h.errors(), 1);
}

#[test]
fn a_decoder_that_is_off_decodes_nothing() {
    let mut h = up();
    assert_eq!(h.read(BASE, 1).header.opcode, S2mDrsOpcode::MemData);
    h.write_register(regs::HdmGlobalCtrl::OFFSET, 0);
    let r = h.read(BASE, 2);
    assert_eq!(r.header.opcode, S2mDrsOpcode::MemDataNxm);
    assert_eq!(r.data, [0xFF; 64]);
}

#[test]
fn data_of_no_memory_is_poisoned_if_asked_for() {
    let mut h = up();
    let beyond = BASE + u64::from(GRANULE);
    assert!(!h.read(beyond, 1).header.poison);
    let control = regs::HdmGlobalCtrl::ENABLE.mask() | regs::HdmGlobalCtrl::POISON_ON_ERROR.mask();
    h.write_register(regs::HdmGlobalCtrl::OFFSET, control);
    let r = h.read(beyond, 2);
    assert!(r.header.poison && r.data == [0xFF; 64], "{r:?}");
    assert!(!h.read(BASE, 3).header.poison, "memory is not concerned");
}

#[test]
fn nothing_is_sent_without_a_credit() {
    // Code 10: two credits.
    let mut h = Host::up("full", 10, 10);
    for n in 0..5u16 {
        h.write(write(BASE + 64 * u64::from(n), n).pack(), n as u8, None);
    }
    let reads: Vec<u128> = (0..4)
        .map(|n| read(BASE + 64 * n, 16 + n as u16).pack())
        .collect();
    h.requests(&reads);
    h.run(500);
    assert_eq!((h.ndrs.len(), h.reads.len()), (2, 2));
    assert!(h.register(regs::CreditStall::OFFSET) > 0);
    h.credits(EIGHT, EIGHT);
    h.run(500);
    let tags: Vec<u16> = h.ndrs.iter().map(|n| n.tag).collect();
    assert_eq!(tags, [0, 1, 2, 3, 4]);
    let tags: Vec<u16> = h.reads.iter().map(|r| r.header.tag).collect();
    assert_eq!(tags, [16, 17, 18, 19]);
    for r in &h.reads {
        assert_eq!(r.data, [r.header.tag as u8 - 16; 64]);
    }
}

/// More answers than the transmitter can hold: the rest waits where it is, and nothing is lost.
#[test]
fn nothing_is_lost_while_no_credit_comes() {
    // Code 15: 64 credits for one kind, none for the other.
    let mut h = Host::up("full", 15, 0);
    for n in 0..20u16 {
        h.write(write(BASE + 64 * u64::from(n), n).pack(), n as u8, None);
    }
    h.acknowledge();
    for n in 0..20u16 {
        h.requests(&[read(BASE + 64 * u64::from(n), n).pack()]);
    }
    assert!(h.reads.is_empty());
    h.credits(0, 15);
    h.drain();
    let data: Vec<(u16, u8)> = h.reads.iter().map(|r| (r.header.tag, r.data[63])).collect();
    let sent: Vec<(u16, u8)> = (0..20).map(|n| (n, n as u8)).collect();
    assert_eq!(data, sent);

    let mut h = Host::up("full", 0, 15);
    for n in 0..40u16 {
        let request = M2sReq {
            opcode: M2sReqOpcode::MemInv,
            meta_field: MetaField::Meta0State,
            ..read(BASE + 64 * u64::from(n), n)
        };
        h.requests(&[request.pack()]);
    }
    assert!(h.ndrs.is_empty());
    h.credits(15, 0);
    h.drain();
    let tags: Vec<u16> = h.ndrs.iter().map(|n| n.tag).collect();
    assert_eq!(tags, (0..40).collect::<Vec<u16>>());
    assert_eq!(h.errors(), 0);
}

#[test]
fn a_second_init_gives_the_link_up() {
    let mut h = up();
    h.control(init());
    h.run(100);
    assert_eq!(h.status(regs::LinkStatus::ABORTED), 1);
}

#[test]
fn acknowledgements_are_counted_exactly_and_go_first_when_overdue() {
    let mut h = Host::up("full", 15, 15);
    // All free but what came after the last acknowledgement.
    let free = |h: &mut Host| h.status(regs::LinkStatus::FREE);
    let all = free(&mut h);
    for n in 0..20u16 {
        h.requests(&[read(BASE + 64 * u64::from(n), n).pack()]);
    }
    assert!(free(&mut h) + 16 < all, "more than one LLCRD's low part");
    h.acknowledge();
    h.run(100);
    h.acknowledge();
    assert_eq!(free(&mut h), 64);

    // The wire to the host stands still, and much comes from it.
    h.llcrds.clear();
    h.dut.set_tx_ready(false);
    for n in 0..20u16 {
        h.requests(&[read(BASE + 64 * u64::from(n), n).pack()]);
    }
    h.dut.set_tx_ready(true);
    h.run(200);
    assert!(h.llcrds.len() > 5);
    assert!(h.llcrds[..2].contains(&true), "{:?}", h.llcrds);
}

#[test]
fn acknowledging_what_was_not_sent_gives_the_link_up() {
    let mut h = up();
    h.acknowledge();
    assert_eq!(h.status(regs::LinkStatus::ABORTED), 0);
    h.control(Control::LlcrdAck { ack: 60 });
    h.run(100);
    assert_eq!(h.status(regs::LinkStatus::ABORTED), 1);
}

/// With sequence numbers, the device goes on until what it said is acknowledged: else a lost last flit would stay lost (cxl-mem 8.4).
#[test]
fn what_is_not_acknowledged_is_followed_by_an_llcrd() {
    let mut h = Host::new("full");
    h.write_register(regs::LlrTail::OFFSET, 50);
    h.control(Control::RetryIdle);
    h.run(100);
    h.seq = true;
    h.control(Control::InitParam {
        version: 2,
        llr_wrap: 64,
        signature: control::signature(control::SEQ),
    });
    h.run(300);
    assert_eq!(h.status(regs::LinkStatus::SEQ), 1);
    let before = h.llcrds.len();
    h.run(1_000);
    assert!(h.llcrds.len() > before, "{before}");
    assert!(h.llcrds[before..].iter().all(|llcrd| *llcrd));
}

/// RETRY.Req for a number.
fn request(eseq: u8) -> Control {
    Control::RetryReq {
        eseq,
        num_retry: 1,
        num_phy_reinit: 0,
    }
}

/// RETRY.Ack to a request of that count.
fn answer(num_retry: u8) -> Control {
    Control::RetryAck {
        empty: false,
        viral: false,
        num_retry,
        wr_ptr: 0,
        eseq: 0,
        num_free_buf: 0,
        viral_ld: 0,
    }
}

fn answers(h: &Host) -> usize {
    let is_answer = |c: &&Control| matches!(c, Control::RetryAck { .. });
    h.controls.iter().filter(is_answer).count()
}

#[test]
fn asking_for_a_flit_that_is_gone_gives_the_link_up() {
    let mut h = up();
    h.framed(request(40));
    h.run(200);
    assert_eq!(answers(&h), 0);
    assert_eq!(h.status(regs::LinkStatus::ABORTED), 1);
}

#[test]
fn retry_messages_out_of_place_change_nothing() {
    let mut h = up();
    // All that was sent is acknowledged: only the next number may be asked for.
    let next = h.received % 64;
    // Without a frame before it, the same request is nothing.
    h.control(request(next));
    h.run(200);
    assert_eq!((answers(&h), h.status(regs::LinkStatus::ABORTED)), (0, 0));
    h.framed(request(next));
    h.run(200);
    assert_eq!(answers(&h), 1);

    // The device asks: an answer to another request is nothing.
    h.controls.clear();
    h.damaged_flit();
    h.run(60);
    let asked = h.controls.iter().find_map(|c| match c {
        Control::RetryReq { num_retry, .. } => Some(*num_retry),
        _ => None,
    });
    assert_eq!(asked, Some(1), "{:?}", h.controls);
    assert_eq!(h.status(regs::LinkStatus::LOCAL), 2);
    h.framed(answer(2));
    h.control(answer(1)); // unframed
    h.run(16);
    assert_eq!(h.status(regs::LinkStatus::LOCAL), 2);
    let mut again = up();
    again.damaged_flit();
    again.run(60);
    again.framed(answer(1));
    again.run(16);
    assert_eq!(again.status(regs::LinkStatus::LOCAL), 0);
}

#[test]
fn every_bit_of_the_crc_counts() {
    for bit in 0..16 {
        let mut h = up();
        let mut flit = requests(&[read(BASE, 1).pack()]);
        flit.crc ^= 1 << bit;
        h.flit(flit);
        h.run(60);
        assert_eq!(h.status(regs::LinkStatus::LOCAL), 2, "bit {bit}");
        assert!(h.reads.is_empty(), "bit {bit}");
    }
}

/// Requests, re-initialisations, the end: each as often as the register says.
#[test]
fn a_dead_wire_uses_up_requests_and_re_initialisations() {
    let mut h = up();
    // TIMEOUT 24 flits, 3 requests, 2 re-initialisations.
    h.write_register(regs::LlrLimits::OFFSET, 24 | 3 << 16 | 2 << 24);
    h.damaged_flit();
    let mut reinits = 0;
    for _ in 0..200 {
        h.run(50);
        if h.dut.phy_reinit() {
            reinits += 1;
            h.dut.set_phy_down(true);
            h.run(50);
            h.dut.set_phy_down(false);
        }
    }
    let requests = h
        .controls
        .iter()
        .filter(|c| matches!(c, Control::RetryReq { .. }))
        .count();
    assert_eq!((reinits, requests), (2, 9));
    assert_eq!(h.status(regs::LinkStatus::ABORTED), 1);
    assert_eq!(h.register(regs::PhyReinits::OFFSET), 2);
    assert_eq!(h.register(regs::RetryRequests::OFFSET), 9);
    // The number of the first error is that of the re-initialisations.
    let control = h.register(regs::RasCapCtrl::OFFSET);
    assert_eq!(regs::RasCapCtrl::FIRST_ERROR.get(control), 8);
}

/// What came of a flit that was cut is forgotten: its requests, its data, its place in the flit.
#[test]
fn a_request_cut_by_a_re_initialisation_is_forgotten() {
    let mut h = up();
    h.write(write(BASE, 1).pack(), 0x77, None);
    h.half_flit(
        requests(&[read(BASE, 2).pack(), read(BASE + 64, 3).pack()]),
        2,
    );
    h.run(2);
    h.dut.set_phy_down(true);
    h.run(50);
    h.dut.set_phy_down(false);
    h.run(100);
    let asked = h.controls.iter().rev().find_map(|c| match c {
        Control::RetryReq { num_retry, .. } => Some(*num_retry),
        _ => None,
    });
    h.framed(answer(asked.expect("the device asks what it missed")));
    h.run(50);
    assert_eq!(h.status(regs::LinkStatus::LOCAL), 0);
    assert!(h.reads.is_empty());
    assert_eq!(h.read(BASE, 4).data, [0x77; 64]);
    h.run(500);
    assert_eq!(h.reads.len(), 1, "{:?}", h.reads);
}

#[test]
fn a_restart_waits_for_reads_on_their_way() {
    let mut h = Host::up("sim-ext", EIGHT, EIGHT);
    h.requests(&[read(BASE, 1).pack()]); // the memory takes it and does not answer
    for enable in [0, 1] {
        h.write_register(regs::LinkCtrl::OFFSET, enable);
        assert!(!h.dut.link_enabled());
    }
    h.run(1000);
    assert!(!h.dut.link_enabled(), "its answer would be a stranger's");
    for beat in 0..4 {
        h.dut.set_ext_rsp_valid(true);
        h.dut.set_ext_rsp_idx(beat);
        h.run(1);
    }
    h.dut.set_ext_rsp_valid(false);
    h.run(10);
    assert!(h.dut.link_enabled());
    h.control(Control::RetryIdle);
    h.run(100);
    h.control(init());
    h.credits(EIGHT, EIGHT);
    h.run(500);
    assert_eq!(h.status(regs::LinkStatus::UP), 1);
    assert!(h.reads.is_empty(), "{:?}", h.reads);
    assert_eq!(h.errors(), 0);
}
