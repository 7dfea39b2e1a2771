//! Packers against receivers: nothing lost, nothing changed, order kept, credits and packing rules kept, slots well used.

mod common;

use cxlmem_protocol::flit::{control::Control, format, Credits, Direction, Flit};
use cxlmem_protocol::msg::*;
use cxlmem_protocol::pack::{
    Event, Extensions, M2sPacker, Read, Receiver, Refused, S2mPacker, Write,
};

/// xorshift64*: enough for traffic, replayable from its seed.
struct Rng(u64);

impl Rng {
    fn new() -> Self {
        Self(common::seed() | 1)
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
    fn line(&mut self) -> [u8; 64] {
        std::array::from_fn(|_| (self.next() >> 40) as u8)
    }
    fn req(&mut self) -> M2sReq {
        let opcode = [
            M2sReqOpcode::MemRd,
            M2sReqOpcode::MemInv,
            M2sReqOpcode::MemSpecRd,
        ][self.below(3) as usize];
        M2sReq {
            opcode,
            tag: self.next() as u16,
            address: self.next() >> 12 & !31,
            ..Default::default()
        }
    }
    fn write(&mut self) -> Write {
        let partial = self.below(3) == 0;
        Write {
            header: M2sRwd {
                opcode: if partial {
                    M2sRwdOpcode::MemWrPtl
                } else {
                    M2sRwdOpcode::MemWr
                },
                tag: self.next() as u16,
                address: self.next() >> 12 & !63,
                poison: self.below(8) == 0,
                ..Default::default()
            },
            data: self.line(),
            be: partial.then(|| self.next()),
        }
    }
    fn ndr(&mut self) -> S2mNdr {
        S2mNdr {
            tag: self.next() as u16,
            dev_load: DevLoad::ALL[self.below(4) as usize],
            ld_id: self.below(16) as u8,
            ..Default::default()
        }
    }
    fn read(&mut self) -> Read {
        Read {
            header: S2mDrs {
                tag: self.next() as u16,
                poison: self.below(8) == 0,
                ..Default::default()
            },
            data: self.line(),
            half: false,
        }
    }
}

const PLENTY: Credits = Credits {
    req: u16::MAX,
    data: u16::MAX,
    rsp: u16::MAX,
};
const BI68: Extensions = Extensions {
    bi68: true,
    multi_header: false,
};

/// Packing rules of cxl-mem 3.5 on one flit, read from its bits alone. `roll` is the rollover before it.
fn check_rules(direction: Direction, flit: &Flit, roll: u32) {
    assert!(flit.crc_ok());
    if roll > 3 {
        return;
    }
    let header = flit.header();
    if header.control == 1 {
        return;
    }
    let mut data_headers = 0;
    let mut counts = std::collections::BTreeMap::new();
    for n in 0..4 {
        let code = header.slot(n);
        if n >= 1 && n <= roll as usize {
            assert_eq!(code, 0, "slot {n} is forced to data by rollover {roll}");
            continue;
        }
        for place in format::format(direction, n, code).places {
            if place.get(flit.slots[n]) & 1 == 1 {
                data_headers += u32::from(place.kind.has_data());
                *counts.entry(format!("{:?}", place.kind)).or_insert(0) += 1;
            }
        }
    }
    assert!(data_headers <= 1, "one data header in a flit without MDH");
    for (kind, limit) in [
        ("Req", 2),
        ("Rwd", 1),
        ("Ndr", 2),
        ("Drs", 1),
        ("BiRsp", 3),
        ("BiSnp", 2),
    ] {
        assert!(
            counts.get(kind).copied().unwrap_or(0) <= limit,
            "{counts:?}"
        );
    }
}

#[test]
fn m2s_random_mix_arrives_whole() {
    let mut rng = Rng::new();
    let mut packer = M2sPacker::<16, 16>::new();
    packer.set_bi68(true);
    let mut receiver = Receiver::new(Direction::M2s, BI68);
    let (mut reqs, mut writes, mut birsps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut got_reqs, mut got_writes, mut got_birsps) = (Vec::new(), Vec::new(), Vec::new());
    let mut given = Credits::default();
    let mut returned = Credits::default();
    let mut got_credits = Credits::default();
    for round in 0..20_000u32 {
        // Phases of reads, of writes, of both; and an end in which all drains.
        let (p_req, p_write) = [(8, 1), (1, 8), (5, 5), (0, 9), (9, 0)][(round / 997 % 5) as usize];
        if round < 19_000 {
            if rng.below(10) < p_req {
                let req = rng.req();
                if packer.push_req(&req).is_ok() {
                    reqs.push(req);
                }
            }
            if rng.below(10) < p_write {
                let write = rng.write();
                if packer.push_write(&write).is_ok() {
                    writes.push(write);
                }
            }
            if rng.below(20) == 0 {
                let birsp = M2sBiRsp {
                    bi_tag: rng.below(4096) as u16,
                    ..Default::default()
                };
                if packer.push_birsp(&birsp).is_ok() {
                    birsps.push(birsp);
                }
            }
        }
        let more = Credits {
            req: rng.below(2) as u16,
            data: rng.below(2) as u16,
            rsp: rng.below(2) as u16,
        };
        packer.grant(more);
        given.add(more);
        let owe = Credits {
            req: 0,
            data: rng.below(3) as u16,
            rsp: rng.below(5) as u16,
        };
        packer.owe(owe);
        returned.add(owe);
        let roll = receiver.rollover();
        assert_eq!(packer.rollover(), roll as usize);
        let Some(flit) = packer.next_flit() else {
            continue;
        };
        check_rules(Direction::M2s, &flit, roll);
        receiver.push(
            &Flit::from_bytes(&flit.to_bytes()),
            |_, event| match event {
                Event::Req(m) => got_reqs.push(m),
                Event::Write(w) => got_writes.push(w),
                Event::BiRsp(m) => got_birsps.push(m),
                Event::Credits(c) => got_credits.add(c),
                Event::Error(e) => panic!("{e}"),
                _ => {}
            },
        );
        assert!(
            got_reqs.len() <= usize::from(given.req) && got_writes.len() <= usize::from(given.data)
        );
    }
    packer.grant(PLENTY);
    while let Some(flit) = packer.next_flit() {
        receiver.push(&flit, |_, event| match event {
            Event::Req(m) => got_reqs.push(m),
            Event::Write(w) => got_writes.push(w),
            Event::BiRsp(m) => got_birsps.push(m),
            Event::Credits(c) => got_credits.add(c),
            Event::Error(e) => panic!("{e}"),
            _ => {}
        });
    }
    for _ in 0..200 {
        if let Some(flit) = packer.next_flit() {
            receiver.push(&flit, |_, event| {
                if let Event::Credits(c) = event {
                    got_credits.add(c);
                }
            });
        }
    }
    assert!(packer.is_idle());
    assert!(reqs.len() > 1000 && writes.len() > 1000 && birsps.len() > 100);
    assert_eq!((got_reqs, got_writes, got_birsps), (reqs, writes, birsps));
    assert_eq!(got_credits, returned, "every credit owed was returned");
}

#[test]
fn s2m_random_mix_arrives_whole() {
    let mut rng = Rng::new();
    let mut packer = S2mPacker::<16, 16>::new();
    packer.set_bi68(true);
    let mut receiver = Receiver::new(Direction::S2m, BI68);
    let (mut ndrs, mut reads, mut bisnps) = (Vec::new(), Vec::new(), Vec::new());
    let (mut got_ndrs, mut got_reads, mut got_bisnps) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..20_000u32 {
        let (p_ndr, p_read) = [(8, 1), (1, 8), (5, 5), (0, 9), (9, 0)][(round / 997 % 5) as usize];
        if rng.below(10) < p_ndr {
            let ndr = rng.ndr();
            if packer.push_ndr(&ndr).is_ok() {
                ndrs.push(ndr);
            }
        }
        if rng.below(10) < p_read {
            let read = rng.read();
            if packer.push_read(&read).is_ok() {
                reads.push(read);
            }
        }
        if rng.below(20) == 0 {
            let bisnp = S2mBiSnp {
                bi_tag: rng.below(4096) as u16,
                address: rng.next() >> 12 & !63,
                ..Default::default()
            };
            if packer.push_bisnp(&bisnp).is_ok() {
                bisnps.push(bisnp);
            }
        }
        packer.grant(Credits {
            req: rng.below(2) as u16,
            data: rng.below(2) as u16,
            rsp: rng.below(2) as u16,
        });
        if round > 19_000 {
            packer.grant(PLENTY);
        }
        let roll = receiver.rollover();
        let Some(flit) = packer.next_flit() else {
            continue;
        };
        check_rules(Direction::S2m, &flit, roll);
        receiver.push(&flit, |_, event| match event {
            Event::Ndr(m) => got_ndrs.push(m),
            Event::Read(r) => got_reads.push(r),
            Event::BiSnp(m) => got_bisnps.push(m),
            Event::Error(e) => panic!("{e}"),
            _ => {}
        });
    }
    while let Some(flit) = packer.next_flit() {
        receiver.push(&flit, |_, event| match event {
            Event::Ndr(m) => got_ndrs.push(m),
            Event::Read(r) => got_reads.push(r),
            Event::BiSnp(m) => got_bisnps.push(m),
            Event::Error(e) => panic!("{e}"),
            _ => {}
        });
    }
    assert!(packer.is_idle());
    assert!(ndrs.len() > 1000 && reads.len() > 1000 && bisnps.len() > 100);
    assert_eq!((got_ndrs, got_reads, got_bisnps), (ndrs, reads, bisnps));
}

/// Payload chunks per slot of a saturated M2S stream, `reqs` requests to `writes` writes.
fn m2s_share(reqs: u32, writes: u32, partial: bool) -> (f64, f64) {
    let mut packer = M2sPacker::<8, 8>::new();
    let mut receiver = Receiver::new(Direction::M2s, Extensions::default());
    let (mut lines, mut heads, mut sent_r, mut sent_w) = (0u32, 0u32, 0u32, 0u32);
    const FLITS: u32 = 6000;
    for _ in 0..FLITS {
        packer.grant(PLENTY);
        // Keep the ratio by feeding whichever is behind.
        while packer.reqs_queued() < 8 && packer.writes_queued() < 8 {
            if writes == 0 || (reqs > 0 && sent_r * writes <= sent_w * reqs) {
                packer.push_req(&M2sReq::default()).unwrap();
                sent_r += 1;
            } else {
                let opcode = if partial {
                    M2sRwdOpcode::MemWrPtl
                } else {
                    M2sRwdOpcode::MemWr
                };
                let header = M2sRwd {
                    opcode,
                    ..Default::default()
                };
                packer
                    .push_write(&Write {
                        header,
                        data: [7; 64],
                        be: partial.then_some(1),
                    })
                    .unwrap();
                sent_w += 1;
            }
        }
        let flit = packer.next_flit().unwrap();
        receiver.push(&flit, |_, event| match event {
            Event::Write(_) => lines += 1,
            Event::Req(_) => heads += 1,
            Event::Error(e) => panic!("{e}"),
            _ => {}
        });
    }
    (
        f64::from(4 * lines) / f64::from(4 * FLITS),
        f64::from(heads) / f64::from(FLITS),
    )
}

/// The slot formats' own bounds (cxl-mem 8.3) are reached, not approached.
#[test]
fn packers_reach_the_slot_bounds() {
    let (_, reqs_per_flit) = m2s_share(1, 0, false);
    assert_eq!(reqs_per_flit, 2.0, "reads only: two Req a flit");
    let (writes, _) = m2s_share(0, 1, false);
    assert!(writes > 0.799, "writes: 4/5, got {writes}");
    let (mixed, reqs) = m2s_share(1, 1, false);
    assert!(
        mixed > 0.665 && reqs > 0.665,
        "1:1: 2/3, got {mixed} and {reqs}"
    );
    let (partial, _) = m2s_share(0, 1, true);
    assert!(
        partial > 0.59,
        "partial writes: 4/6 less the wait for one byte-enable message at a time, got {partial}"
    );

    // S2M: DRS alone, then DRS with an NDR each: both 4/5, because the NDR rides in H3.
    for with_ndr in [false, true] {
        let mut packer = S2mPacker::<8, 8>::new();
        let mut receiver = Receiver::new(Direction::S2m, Extensions::default());
        let (mut lines, mut ndrs) = (0, 0);
        for _ in 0..5000 {
            packer.grant(PLENTY);
            while packer
                .push_read(&Read {
                    header: S2mDrs::default(),
                    data: [1; 64],
                    half: false,
                })
                .is_ok()
            {
                if with_ndr {
                    packer.push_ndr(&S2mNdr::default()).unwrap_or(());
                }
            }
            receiver.push(&packer.next_flit().unwrap(), |_, event| match event {
                Event::Read(_) => lines += 1,
                Event::Ndr(_) => ndrs += 1,
                Event::Error(e) => panic!("{e}"),
                _ => {}
            });
        }
        assert!(lines >= 3999, "4 lines in 5 flits: {lines} in 5000");
        assert!(!with_ndr || ndrs >= 3990, "{ndrs}");
    }
}

#[test]
fn without_credits_nothing_goes() {
    let mut packer = M2sPacker::<4, 4>::new();
    packer.push_req(&M2sReq::default()).unwrap();
    packer
        .push_write(&Write {
            header: M2sRwd::default(),
            data: [0; 64],
            be: None,
        })
        .unwrap();
    for _ in 0..100 {
        assert_eq!(packer.next_flit(), None);
    }
    assert!(packer.is_starved());
    for _ in 0..3 {
        packer.push_req(&M2sReq::default()).unwrap();
    }
    let full = packer.push_req(&M2sReq::default()).unwrap_err();
    assert!(full.to_string().contains("Req"));
    packer.grant(Credits {
        req: 1,
        data: 0,
        rsp: 0,
    });
    assert!(packer.next_flit().is_some());
    assert_eq!(packer.next_flit(), None, "one credit, one request");
    assert_eq!(packer.reqs_queued(), 3);
}

#[test]
fn idle_link_returns_credits_and_acks_in_llcrd() {
    let mut packer = M2sPacker::<4, 4>::new();
    packer.set_flush_after(3);
    packer.owe(Credits {
        req: 0,
        data: 5,
        rsp: 100,
    });
    for _ in 0..21 {
        packer.owe_ack();
    }
    let mut receiver = Receiver::new(Direction::M2s, Extensions::default());
    let (mut credits, mut acks, mut flits) = (Credits::default(), 0u32, 0);
    for _ in 0..40 {
        if let Some(flit) = packer.next_flit() {
            flits += 1;
            assert_eq!(flit.header().control, 1);
            receiver.push(&flit, |_, event| match event {
                Event::Credits(c) => credits.add(c),
                Event::Ack(n) => acks += u32::from(n),
                Event::Control(Control::LlcrdAck { .. }) => {}
                other => panic!("{other:?}"),
            });
        }
    }
    assert_eq!(
        credits,
        Credits {
            req: 0,
            data: 5,
            rsp: 100
        }
    );
    assert_eq!(acks, 21);
    assert_eq!(flits, 3, "100 = 64 + 32 + 4");
}

#[test]
fn bi68_is_refused_until_it_is_agreed_on() {
    let mut host = M2sPacker::<4, 4>::new();
    let mut device = S2mPacker::<4, 4>::new();
    host.grant(PLENTY);
    device.grant(PLENTY);
    assert_eq!(host.push_birsp(&M2sBiRsp::default()), Err(Refused::Off));
    assert_eq!(device.push_bisnp(&S2mBiSnp::default()), Err(Refused::Off));
    assert!(host.next_flit().is_none() && device.next_flit().is_none());
    host.set_bi68(true);
    device.set_bi68(true);
    while host.push_birsp(&M2sBiRsp::default()).is_ok() {}
    let full = host.push_birsp(&M2sBiRsp::default()).unwrap_err();
    assert!(
        matches!(full, Refused::Full(_)) && full.to_string().contains("BIRsp"),
        "{full}"
    );
    assert_eq!(device.push_bisnp(&S2mBiSnp::default()), Ok(()));
}

/// Where the messages sit (cxl-mem 8.2), in bits written out here: three answers in two slots, a snoop, a snoop beside an NDR.
#[test]
fn bi68_flits_as_bits() {
    let mut host = M2sPacker::<4, 4>::new();
    host.set_bi68(true);
    host.grant(PLENTY);
    for bi_tag in 1..=4 {
        let opcode = M2sBiRspOpcode::BiRspS;
        host.push_birsp(&M2sBiRsp {
            opcode,
            bi_tag,
            ..Default::default()
        })
        .unwrap();
    }
    let birsp = |tag: u128| 1 | 1 << 1 | tag << 17;
    let flit = host.next_flit().unwrap();
    assert_eq!(flit.header().slot(0), 7);
    assert_eq!(flit.header().slot(1), 6);
    assert_eq!(flit.slots[0] >> 32, birsp(1) | birsp(2) << 40);
    assert_eq!(flit.slots[1..], [birsp(3), 0, 0], "three in a flit at most");
    assert_eq!(host.next_flit().unwrap().slots[0] >> 32, birsp(4));

    let mut device = S2mPacker::<4, 4>::new();
    device.set_bi68(true);
    device.grant(PLENTY);
    for bi_tag in 1..=2 {
        let snoop = S2mBiSnp {
            opcode: S2mBiSnpOpcode::BiSnpInv,
            bi_tag,
            address: 0x1_0000_0040,
            ..Default::default()
        };
        device.push_bisnp(&snoop).unwrap();
    }
    let ndr = S2mNdr {
        tag: 9,
        ..Default::default()
    };
    device.push_ndr(&ndr).unwrap();
    let bisnp = |tag: u128| 1 | 2 << 1 | tag << 17 | (0x1_0000_0040 >> 6) << 29;
    let flits: Vec<Flit> = std::iter::from_fn(|| device.next_flit()).collect();
    let slots: Vec<(u8, u128)> = flits
        .iter()
        .flat_map(|f| {
            (0..4).map(|n| {
                (
                    f.header().slot(n),
                    if n == 0 { f.slots[0] >> 32 } else { f.slots[n] },
                )
            })
        })
        .filter(|(_, content)| *content != 0)
        .collect();
    assert_eq!(
        slots,
        [
            (4, ndr.pack() & 0x0fff_ffff | ndr.pack() >> 28 << 58),
            (7, bisnp(1)),
            (7, bisnp(2))
        ]
    );
}
