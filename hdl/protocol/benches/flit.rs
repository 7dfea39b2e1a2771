//! What the host side pays per flit: CRC, packing, receiving.

#![allow(missing_docs)] // criterion_group makes an undocumented function

use criterion::{black_box, criterion_group, criterion_main, Criterion, Throughput};
use cxlmem_protocol::crc;
use cxlmem_protocol::flit::{Credits, Direction, Flit};
use cxlmem_protocol::msg::*;
use cxlmem_protocol::pack::{Event, Extensions, M2sPacker, Read, Receiver, S2mPacker, Write};

const PLENTY: Credits = Credits {
    req: u16::MAX,
    data: u16::MAX,
    rsp: u16::MAX,
};
const FLITS: usize = 1000;

fn crcs(c: &mut Criterion) {
    let slots = [0x0123_4567_89AB_CDEF_u128 << 40, 1, u128::MAX, 7 << 90];
    let mut group = c.benchmark_group("crc");
    group.bench_function("of", |b| b.iter(|| crc::of(black_box(&slots))));
    group.bench_function("by_masks", |b| b.iter(|| crc::by_masks(black_box(&slots))));
    group.finish();
}

fn messages(c: &mut Criterion) {
    let req = M2sReq {
        opcode: M2sReqOpcode::MemRd,
        tag: 9,
        address: 0x1234_5640,
        ..Default::default()
    };
    let raw = req.pack();
    c.bench_function("M2S Req pack", |b| b.iter(|| black_box(&req).pack()));
    c.bench_function("M2S Req unpack", |b| {
        b.iter(|| M2sReq::unpack(black_box(raw)))
    });
}

fn m2s_stream(reads: bool, writes: bool) -> Vec<Flit> {
    let mut packer = M2sPacker::<8, 8>::new();
    packer.grant(PLENTY);
    let write = Write {
        header: M2sRwd::default(),
        data: [3; 64],
        be: None,
    };
    (0..FLITS)
        .map(|_| {
            while reads
                && packer
                    .push_req(&M2sReq {
                        opcode: M2sReqOpcode::MemRd,
                        ..Default::default()
                    })
                    .is_ok()
            {}
            while writes && packer.push_write(&write).is_ok() {}
            packer.next_flit().unwrap_or_default()
        })
        .collect()
}

fn streams(c: &mut Criterion) {
    let mut group = c.benchmark_group("flits");
    group.throughput(Throughput::Elements(FLITS as u64));
    for (name, reads, writes) in [
        ("reads", true, false),
        ("writes", false, true),
        ("mixed", true, true),
    ] {
        group.bench_function(format!("M2S pack, {name}"), |b| {
            b.iter(|| m2s_stream(reads, writes))
        });
        let flits = m2s_stream(reads, writes);
        group.bench_function(format!("M2S receive, {name}"), |b| {
            b.iter(|| {
                let mut receiver = Receiver::new(Direction::M2s, Extensions::default());
                let mut count = 0u32;
                for flit in &flits {
                    receiver.push(flit, |_, event| {
                        count += u32::from(matches!(event, Event::Req(_) | Event::Write(_)))
                    });
                }
                count
            })
        });
    }
    let mut packer = S2mPacker::<8, 8>::new();
    packer.grant(PLENTY);
    let read = Read {
        header: S2mDrs::default(),
        data: [5; 64],
        half: false,
    };
    let flits: Vec<Flit> = (0..FLITS)
        .map(|_| {
            while packer.push_read(&read).is_ok() {}
            packer.next_flit().unwrap_or_default()
        })
        .collect();
    group.bench_function("S2M receive, reads", |b| {
        b.iter(|| {
            let mut receiver = Receiver::new(Direction::S2m, Extensions::default());
            let mut sum = 0u32;
            for flit in &flits {
                receiver.push(flit, |_, event| {
                    if let Event::Read(read) = event {
                        sum += u32::from(read.data[63]);
                    }
                });
            }
            sum
        })
    });
    group.finish();
}

criterion_group!(benches, crcs, messages, streams);
criterion_main!(benches);
