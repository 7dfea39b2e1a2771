//! Receiver and transmitter alone, in rust-hdl's simulator, against the protocol's packers and receivers: BI-68 mixed with all else.
//! Replay with `CXLMEM_SEED`.

use super::rx::Rx;
use super::tx::Tx;
use crate::Config;
use cxlmem_protocol::flit::control::{self, Control};
use cxlmem_protocol::flit::{Credits, Direction, Flit, FlitHeader};
use cxlmem_protocol::msg::*;
use cxlmem_protocol::pack::{Event, Extensions, M2sPacker, Read, Receiver, Write};
use rust_hdl::prelude::*;
use std::collections::VecDeque;

/// xorshift64*.
struct Rng(u64);

impl Rng {
    fn new() -> Self {
        let seed = std::env::var("CXLMEM_SEED").map_or(68, |s| s.parse().expect("a number"));
        println!("CXLMEM_SEED={seed}");
        Self(seed | 1)
    }
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 33) % n
    }
}

fn settle(block: &mut impl Block) {
    for _ in 0..200 {
        block.update_all();
        if !block.has_changed() {
            return;
        }
    }
    panic!("a combinational loop");
}

fn bits128(v: u128) -> Bits<128> {
    (bits::<128>((v >> 64) as u64) << 64) | bits::<128>(v as u64)
}

const BI68: Extensions = Extensions {
    bi68: true,
    multi_header: false,
};

fn init() -> Flit {
    Control::InitParam {
        version: 2,
        llr_wrap: 64,
        signature: control::signature(control::BI68),
    }
    .flit(FlitHeader::default())
}

/// What the receiver says about a flit's answers, and about rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Told {
    valid: u64,
    codes: u64,
    count: u64,
    stray: bool,
}

#[derive(Default)]
struct RxBench {
    rx: Rx,
    told: Vec<Told>,
    reqs: u64,
    rwds: u64,
    snoop_credits: u64,
    errors: u64,
    error_slots: Vec<u128>,
}

impl RxBench {
    fn new(bi: bool) -> Self {
        let mut bench = Self::default();
        bench.rx.connect_all();
        bench.rx.bi.next = bi;
        bench.rx.reset.next = true;
        bench.cycle(None);
        bench.cycle(None);
        bench.rx.reset.next = false;
        bench.flit(&init());
        bench
    }

    fn cycle(&mut self, slot: Option<(u128, bool, u16)>) {
        let rx = &mut self.rx;
        let (word, sof, crc) = slot.unwrap_or_default();
        rx.rx_valid.next = slot.is_some();
        rx.rx_slot.next = bits128(word);
        rx.rx_sof.next = sof;
        rx.rx_crc.next = u64::from(crc).into();
        rx.clock.next = Clock { clk: false };
        settle(rx);
        let told = Told {
            valid: rx.answer_valid.val().to_u64(),
            codes: rx.answer_codes.val().to_u64(),
            count: rx.answers.val().to_u64(),
            stray: rx.answer_stray.val(),
        };
        if told.valid != 0 || told.count != 0 || told.stray {
            let mask = (0..4).fold(0, |m, n| m | ((told.valid >> n & 1) * (0xf << (4 * n))));
            self.told.push(Told {
                codes: told.codes & mask,
                ..told
            });
        }
        self.snoop_credits += rx.snoop_credit.val().to_u64();
        if rx.ev_protocol_error.val() {
            self.errors += 1;
            self.error_slots.push(rx.error_slot.val().to_u128());
        }
        // Whatever comes is taken.
        self.reqs += u64::from(rx.req_valid.val());
        self.rwds += u64::from(rx.rwd_valid.val());
        rx.req_pop.next = rx.req_valid.val();
        rx.rwd_pop.next = rx.rwd_valid.val();
        settle(rx);
        rx.clock.next = Clock { clk: true };
        settle(rx);
    }

    fn flit(&mut self, flit: &Flit) {
        for (n, slot) in flit.slots.iter().enumerate() {
            self.cycle(Some((*slot, n == 0, flit.crc)));
        }
    }

    fn gap(&mut self, cycles: u64) {
        for _ in 0..cycles {
            self.cycle(None);
        }
    }
}

/// A protocol flit of answers alone: `wild` ones may have any field. With what must be told of it, and the first slot that breaks a rule.
fn answers_flit(rng: &mut Rng, wild: bool) -> (Flit, Told, Option<usize>) {
    let mut header = FlitHeader {
        slot0: [5, 7][rng.below(2) as usize],
        ..Default::default()
    };
    let mut slots = [0u128; 4];
    let (mut told, mut bad) = (Told::default(), None);
    for (n, slot) in slots.iter_mut().enumerate() {
        if n > 0 {
            header.set_slot(n, [4, 6][rng.below(2) as usize]);
        }
        let (places, code): (&[u32], u8) = if n == 0 {
            (&[32, 72], 7)
        } else {
            (&[0, 40, 80], 6)
        };
        for lsb in places {
            if header.slot(n) != code || rng.below(4) != 0 {
                continue;
            }
            let odd = wild && rng.below(3) == 0;
            let (opcode, id, tag) = if odd {
                let id = [0, 0, 1 << rng.below(12)][rng.below(3) as usize];
                (
                    rng.below(16),
                    id,
                    [rng.below(8), 1 << rng.below(12)][rng.below(2) as usize],
                )
            } else {
                (rng.below(3), 0, rng.below(4))
            };
            *slot |=
                u128::from(1 | opcode << 1 | id << 5 | tag << 17 | rng.below(1 << 11) << 29) << lsb;
            told.count = (told.count + 1).min(7);
            if opcode < 3 && id == 0 && tag < 4 && told.valid >> tag & 1 == 0 {
                told.valid |= 1 << tag;
                told.codes |= opcode << (4 * tag);
            } else {
                told.stray = true;
                bad.get_or_insert(n);
            }
        }
    }
    slots[0] |= u128::from(header.pack());
    (Flit::new(slots), told, bad)
}

#[test]
fn a_storm_of_answers_is_told_once_between_damaged_flits() {
    let mut rng = Rng::new();
    let mut bench = RxBench::new(true);
    let mut packer = M2sPacker::<16, 16>::new();
    packer.set_bi68(true);
    let mut reference = Receiver::new(Direction::M2s, BI68);
    let (mut expected, mut error_slots) = (Vec::new(), Vec::new());
    let (mut reqs, mut rwds, mut credits, mut damaged) = (0, 0, 0, 0);
    let mut next_tag = 0;
    for _ in 0..1_500 {
        let flit = if packer.rollover() == 0 && rng.below(3) == 0 {
            let (flit, told, bad) = answers_flit(&mut rng, true);
            if told.count > 0 {
                expected.push(told);
            }
            error_slots.extend(bad.map(|n| flit.slots[n]));
            flit
        } else {
            if rng.below(2) == 0 {
                let _ = packer.push_req(&M2sReq::default());
            }
            if rng.below(3) == 0 {
                let _ = packer.push_write(&Write {
                    header: M2sRwd::default(),
                    data: [rng.next() as u8; 64],
                    be: None,
                });
            }
            if rng.below(3) == 0 {
                for _ in 0..rng.below(4) {
                    // Three of these in a flit have three tags.
                    next_tag = (next_tag + 1) % 4;
                    let bi_tag = next_tag;
                    let opcode = M2sBiRspOpcode::ALL[rng.below(3) as usize];
                    packer
                        .push_birsp(&M2sBiRsp {
                            opcode,
                            bi_tag,
                            ..Default::default()
                        })
                        .unwrap();
                }
                packer.owe(Credits {
                    req: rng.below(3) as u16,
                    ..Default::default()
                });
            }
            packer.grant(Credits {
                req: 1,
                data: 1,
                rsp: 8,
            });
            let Some(flit) = packer.next_flit() else {
                continue;
            };
            let mut told = Told::default();
            reference.accept(&flit.slots, |_, event| match event {
                Event::BiRsp(m) => {
                    told.count += 1;
                    if told.valid >> m.bi_tag & 1 == 0 {
                        told.valid |= 1 << m.bi_tag;
                        told.codes |= u64::from(m.opcode.code()) << (4 * m.bi_tag);
                    } else {
                        told.stray = true;
                    }
                }
                Event::Req(_) => reqs += 1,
                Event::Write(_) => rwds += 1,
                Event::Credits(c) => credits += u64::from(c.req),
                Event::Error(e) => panic!("{e}"),
                _ => {}
            });
            assert!(!told.stray, "three tags in a flit");
            if told.count > 0 {
                expected.push(told);
            }
            flit
        };
        // Damaged copies go before the good one, as a retry has it.
        while rng.below(4) == 0 {
            let mut bad = flit;
            bad.slots[rng.below(4) as usize] ^= 1 << rng.below(128);
            bench.flit(&bad);
            damaged += 1;
            let gap = rng.below(3);
            bench.gap(gap);
        }
        bench.flit(&flit);
        let gap = rng.below(3);
        bench.gap(gap);
    }
    bench.gap(8);
    println!(
        "{} flits with answers, {} of them with strays, {damaged} damaged",
        expected.len(),
        error_slots.len()
    );
    assert!(expected.len() > 400 && error_slots.len() > 100 && damaged > 200);
    assert_eq!(bench.told, expected);
    assert_eq!(bench.error_slots, error_slots);
    assert_eq!((bench.reqs, bench.rwds), (reqs, rwds));
    assert_eq!(bench.snoop_credits, credits);
}

#[test]
fn answers_are_offences_while_bi68_is_off() {
    let mut rng = Rng::new();
    let mut bench = RxBench::new(false);
    let mut error_slots = Vec::new();
    for _ in 0..300 {
        let (flit, _, _) = answers_flit(&mut rng, false);
        let header = flit.header();
        error_slots.extend((0..4).find(|n| header.slot(*n) > 5).map(|n| flit.slots[n]));
        bench.flit(&flit);
    }
    let credits = FlitHeader {
        req_crd: 15,
        slot0: 5,
        slot1: 4,
        slot2: 4,
        slot3: 4,
        ..Default::default()
    };
    bench.flit(&Flit::new([u128::from(credits.pack()), 0, 0, 0]));
    bench.gap(8);
    assert!(error_slots.len() > 200);
    assert_eq!(bench.error_slots, error_slots);
    assert_eq!((bench.told.len(), bench.snoop_credits), (0, 0));
    // The same with BI-68 is none, and the credits count.
    let mut bench = RxBench::new(true);
    bench.flit(&Flit::new([u128::from(credits.pack()), 0, 0, 0]));
    bench.gap(8);
    assert_eq!((bench.errors, bench.snoop_credits), (0, 64));
}

/// The transmitter with a link that is up, no retry, and a host that takes everything.
struct TxBench {
    tx: Tx,
    slots: Vec<u128>,
    flits: Vec<Flit>,
    /// Cycle, and those in which a flit started at the pins.
    now: u64,
    starts: Vec<u64>,
    popped: bool,
    lines_sent: u64,
    ndrs_taken: u64,
}

impl TxBench {
    fn new(bi: bool) -> Self {
        let mut tx = Tx::new(Config::by_name("full").expect("a named configuration"));
        tx.connect_all();
        tx.offer_bi.next = bi;
        tx.bi.next = bi;
        tx.room_ack.next = true;
        tx.room_any.next = true;
        tx.room_data.next = true;
        tx.good_flit_seen.next = true;
        tx.init_received.next = true;
        tx.tx_ready.next = true;
        tx.reset.next = true;
        let mut bench = Self {
            tx,
            slots: Vec::new(),
            flits: Vec::new(),
            now: 0,
            starts: Vec::new(),
            popped: false,
            lines_sent: 0,
            ndrs_taken: 0,
        };
        bench.cycle();
        bench.cycle();
        bench.tx.reset.next = false;
        bench
    }

    fn cycle(&mut self) {
        let tx = &mut self.tx;
        tx.clock.next = Clock { clk: false };
        settle(tx);
        if tx.tx_valid.val() && tx.tx_ready.val() {
            assert_eq!(tx.tx_sof.val(), self.slots.is_empty());
            if tx.tx_sof.val() {
                self.starts.push(self.now);
            }
            self.slots.push(tx.tx_slot.val().to_u128());
            if let [a, b, c, d] = self.slots[..] {
                let crc = tx.tx_crc.val().to_u16();
                self.flits.push(Flit {
                    slots: [a, b, c, d],
                    crc,
                });
                self.slots.clear();
            }
        }
        self.popped = tx.snoop_pop.val();
        self.lines_sent += u64::from(tx.line_sent.val());
        self.ndrs_taken += tx.ndr_taken.val().to_u64();
        tx.clock.next = Clock { clk: true };
        settle(tx);
        self.now += 1;
    }

    /// Until the credits of INIT are through.
    fn idle(&mut self) {
        for _ in 0..80 {
            self.cycle();
        }
    }

    fn grant(&mut self, snoops: u64, ndrs: u64, drss: u64) {
        self.tx.snoop_credit.next = snoops.into();
        self.tx.ndr_credit.next = ndrs.into();
        self.tx.drs_credit.next = drss.into();
    }
}

fn completion(tag: u64) -> super::messages::Completion {
    super::messages::Completion {
        tag: tag.into(),
        meta_field: 3.into(),
        ..Default::default()
    }
}

/// Snoops, NDR, data and credits in any mix, over a wire that stalls: each arrives once and in its channel's order.
#[test]
fn snoops_leave_between_all_else() {
    let mut rng = Rng::new();
    let mut bench = TxBench::new(true);
    let mut receiver = Receiver::new(Direction::S2m, BI68);
    let mut credits = Credits::default();
    let (mut snoops, mut ndrs) = (Vec::new(), Vec::new());
    let mut reads: Vec<(Option<u16>, [u8; 64])> = Vec::new();
    let (mut got_snoops, mut got_ndrs, mut got_reads) = (Vec::new(), Vec::new(), Vec::new());
    let mut waiting: Option<S2mBiSnp> = None;
    let (mut granted, mut answers) = (0u64, 0u64);
    let mut owed = Credits::default();
    let mut line: VecDeque<Option<u128>> = VecDeque::new();
    for cycle in 0..6_000u64 {
        let busy = cycle < 5_000;
        bench.tx.tx_ready.next = !busy || rng.below(5) > 0;
        // A snoop, from a register.
        if bench.popped {
            snoops.extend(waiting.take());
        }
        if busy && waiting.is_none() && rng.below(12) == 0 {
            waiting = Some(S2mBiSnp {
                opcode: S2mBiSnpOpcode::ALL[rng.below(3) as usize],
                bi_id: 0,
                bi_tag: rng.below(4) as u16,
                address: rng.next() >> 12 & !63,
            });
        }
        bench.tx.snoop_valid.next = waiting.is_some();
        if let Some(m) = waiting {
            bench.tx.snoop.next = super::messages::Snoop {
                opcode: u64::from(m.opcode.code()).into(),
                tag: u64::from(m.bi_tag).into(),
                address: (m.address >> 6).into(),
            };
        }
        // Credits: snoops starve now and then.
        let snoop_credit = u64::from(cycle % 700 > 200 && rng.below(20) == 0);
        granted += snoop_credit;
        let more = |r: &mut Rng| [0, 1][r.below(2) as usize];
        let (n, d) = (more(&mut rng), more(&mut rng));
        bench.grant(snoop_credit, n, d);
        // Completions, in room that they have.
        let ndr = busy && rng.below(6) == 0 && ndrs.len() as u64 - bench.ndrs_taken < 28;
        bench.tx.ndr_write.next = ndr;
        if ndr {
            bench.tx.ndr.next = completion(cycle);
            ndrs.push(cycle as u16);
        }
        bench.tx.chunk_write.next = false;
        bench.tx.drs_write.next = false;
        match line.pop_front() {
            Some(Some(chunk)) => {
                bench.tx.chunk_write.next = true;
                bench.tx.chunk.next = bits128(chunk);
            }
            Some(None) if line.is_empty() => {
                bench.tx.drs_write.next = true;
                bench.tx.drs.next = completion(cycle);
                if let Some(last) = reads.last_mut() {
                    last.0 = Some(cycle as u16);
                }
            }
            Some(None) => {}
            None => {
                if busy && rng.below(8) == 0 && reads.len() as u64 - bench.lines_sent < 12 {
                    let data: [u8; 64] = std::array::from_fn(|_| (rng.next() >> 40) as u8);
                    for chunk in data.chunks_exact(16) {
                        line.push_back(Some(u128::from_le_bytes(chunk.try_into().unwrap())));
                    }
                    line.extend([None, None, None]);
                    reads.push((None, data));
                }
            }
        }
        // Answers of the host: no more than it has credits for, when it knows of the last.
        let answer = u64::from(credits.rsp.min(3)) * u64::from(rng.below(7) == 0);
        credits.rsp -= answer as u16;
        answers += answer;
        bench.tx.answers.next = answer.into();
        bench.cycle();
        for flit in bench.flits.drain(..) {
            receiver.push(&flit, |_, event| match event {
                Event::BiSnp(m) => got_snoops.push(m),
                Event::Ndr(m) => got_ndrs.push(m.tag),
                Event::Read(Read { header, data, .. }) => got_reads.push((Some(header.tag), data)),
                Event::Credits(c) => {
                    credits.add(c);
                    owed.add(c);
                }
                Event::Error(e) => panic!("cycle {cycle}: {e}"),
                _ => {}
            });
        }
        assert!(got_snoops.len() as u64 <= granted);
        assert!(credits.rsp <= 4);
    }
    println!(
        "{} snoops, {} NDR, {} reads, {answers} answers",
        snoops.len(),
        ndrs.len(),
        reads.len()
    );
    assert!(snoops.len() > 100 && ndrs.len() > 300 && reads.len() > 200 && answers > 300);
    assert_eq!(got_snoops, snoops);
    assert_eq!(got_ndrs, ndrs);
    assert_eq!(got_reads, reads);
    // The answers of the last cycles may be unpaid.
    let paid = u64::from(owed.rsp);
    assert!(
        paid <= 4 + answers && paid >= answers,
        "{paid} for {answers}"
    );
    assert_eq!((owed.req, owed.data), (16, 8), "those of INIT");
}

/// An idle transmitter sends a snoop as fast as an NDR: the slot register, the output register, the pins.
#[test]
fn a_lone_snoop_leaves_at_once() {
    let mut bench = TxBench::new(true);
    bench.idle();
    bench.grant(1, 1, 0);
    bench.cycle();
    bench.grant(0, 0, 0);
    bench.idle();
    let before = bench.starts.len();
    bench.tx.snoop_valid.next = true;
    let asked = bench.now;
    bench.cycle();
    assert!(bench.popped);
    bench.tx.snoop_valid.next = false;
    bench.idle();
    assert_eq!(bench.starts[before] - asked, 2);
    // An NDR is in its queue a cycle after it was written.
    let before = bench.starts.len();
    bench.tx.ndr_write.next = true;
    bench.cycle();
    bench.tx.ndr_write.next = false;
    let asked = bench.now;
    bench.idle();
    assert_eq!(bench.starts[before] - asked, 2);
}

/// With BI-68 off nothing of it is sent: INIT.Param without a signature, no snoop, no credit for answers.
#[test]
fn nothing_of_bi68_leaves_while_it_is_off() {
    let mut bench = TxBench::new(false);
    bench.tx.snoop_valid.next = true;
    bench.grant(64, 64, 64);
    bench.cycle();
    bench.grant(0, 0, 0);
    for _ in 0..300 {
        bench.cycle();
        assert!(!bench.popped);
    }
    let mut receiver = Receiver::new(Direction::S2m, Extensions::default());
    let mut events = Vec::new();
    for flit in &bench.flits {
        receiver.push(flit, |_, e| events.push(e));
    }
    assert!(matches!(
        events[0],
        Event::Control(Control::InitParam { signature: 0, .. })
    ));
    let mut owed = Credits::default();
    for event in &events {
        if let Event::Credits(c) = event {
            owed.add(*c);
        }
    }
    assert_eq!(
        owed,
        Credits {
            req: 16,
            data: 8,
            rsp: 0
        }
    );
}
