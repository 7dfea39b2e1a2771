//! Requests and completions both ways: splitting, reordering, timeouts, and every way an answer can be wrong.

mod common;

use common::{Answer, Dice, Rig, BAR, MEMORY_BASE};
use pcie_sim::completion::{split, Reassembly, SplitRules};
use pcie_sim::host::{Event, IssueError, Options, INTERRUPT_QUEUE, LOG_ENTRIES};
use pcie_sim::tlp::{CfgRequest, Completion, MemRequest, Message, Status};
use pcie_sim::{Bdf, HostMem, HostMemory, Kind, Limits, Packet, RequestError, RootComplex, Tlp};
use proptest::prelude::*;

fn page(rig: &mut Rig, dice: &mut Dice) -> (u64, Vec<u8>) {
    let addr = rig.mem.alloc_pages(1).expect("a free page");
    let bytes: Vec<u8> = (0..4096).map(|_| dice.below(256) as u8).collect();
    rig.mem.write(addr, &bytes).expect("host memory");
    (addr, bytes)
}

proptest! {
    #![proptest_config(common::proptest_config(2000))]

    /// Any read, however cut, is whole again; each completion obeys boundary and payload size.
    #[test]
    fn split_and_reassemble(
        offset in 0..4096u64, bytes in 1..=4096usize, wide in any::<bool>(), mps in 0..3u32, seed in any::<u64>(), random in any::<bool>()
    ) {
        let bytes = bytes.min(4096 - offset as usize);
        let request = MemRequest::span(Bdf::new(1, 0, 0), 3, 0xFFFF_FFFF_FFFF_F000 | offset, bytes).expect("in a page");
        let data: Vec<u8> = (0..usize::from(request.dwords) * 4).map(|k| (k * 13 + 5) as u8).collect();
        let rules = SplitRules { rcb: if wide { 128 } else { 64 }, max_payload: 128 << mps };
        let mut dice = Dice::new(seed);
        let mut pieces = Vec::new();
        let choose = |most| if random { 1 + dice.below(most) } else { most };
        split(&request, Bdf::default(), &data, rules, choose, |tlp| pieces.push(tlp));

        let mut reassembly = Reassembly::new(&request, rules.rcb);
        let mut at = offset;
        for (n, tlp) in pieces.iter().enumerate() {
            let limits = Limits { max_payload: rules.max_payload, max_read_request: 4096 };
            prop_assert_eq!(tlp.validate(&limits), Ok(()));
            let Kind::Completion(c) = tlp.kind else { panic!("a completion") };
            prop_assert_eq!(u64::from(c.lower_addr), at & 0x7F);
            prop_assert_eq!(u64::from(c.byte_count), offset + bytes as u64 - at);
            at = (at & !3) + tlp.data.len() as u64;
            let last = n + 1 == pieces.len();
            prop_assert!(last || at % u64::from(rules.rcb) == 0, "ends at {:#x}", at);
            prop_assert_eq!(reassembly.accept(&c, &tlp.data), Ok(last));
        }
        if !random {
            let most = pieces.len() - 1;
            prop_assert!(most * usize::from(rules.max_payload) <= bytes + 127, "{} pieces", most + 1);
        }
        let first = (offset & 3) as usize;
        prop_assert_eq!(reassembly.into_bytes(), &data[first..first + bytes]);
    }

    /// Requests that a receiver would refuse do not break the splitter or the reassembly.
    #[test]
    fn split_is_total(addr in any::<u64>(), dwords in any::<u16>(), first_be in any::<u8>(), last_be in any::<u8>(), len in 0..300usize) {
        let request = MemRequest { requester: Bdf::default(), tag: 0, addr, dwords, first_be, last_be };
        let mut pieces = 0;
        let mut reassembly = Reassembly::new(&request, 64);
        split(&request, Bdf::default(), &vec![0; len], SplitRules { rcb: 64, max_payload: 128 }, |n| n, |tlp| {
            pieces += 1;
            if let Kind::Completion(c) = tlp.kind {
                let _judged = reassembly.accept(&c, &tlp.data);
            }
        });
        prop_assert!(pieces <= 6);
    }
}

#[test]
fn reads_and_writes_of_registers() {
    let mut rig = Rig::brought_up(Options::default());
    rig.root
        .mem_write(BAR + 0x11, &[1, 2, 3, 4, 5, 6, 7])
        .expect("legal");
    let id = rig
        .root
        .mem_read(rig.now, BAR + 0x10, 9)
        .expect("a free tag");
    assert_eq!(rig.wait(id), Ok(vec![0, 1, 2, 3, 4, 5, 6, 7, 0]));
    assert_eq!(rig.root.take(id), None, "a result is taken once");
    for (k, byte) in rig.device.registers[..0x1_0000].iter_mut().enumerate() {
        *byte = (k / 3) as u8;
    }
    // The device cuts at 64 bytes.
    let id = rig
        .root
        .mem_read(rig.now, BAR + 0x33, 125)
        .expect("a free tag");
    let expected = rig.device.registers[0x33..0x33 + 125].to_vec();
    assert_eq!(rig.wait(id), Ok(expected));
    assert_eq!(rig.root.counters().errors(), 0);
    assert_eq!(rig.root.outstanding(), 0);
}

/// 32 reads of a device outstanding at once, cut and reordered at random, each with its own data.
#[test]
fn dma_reads_reordered_and_cut() {
    let seed = common::seed();
    let mut dice = Dice::new(seed);
    let options = Options {
        read_latency: 20,
        jitter: 50,
        random_split: true,
        seed,
        tags: 8,
        ..Options::default()
    };
    let mut rig = Rig::brought_up(options);
    let (addr, bytes) = page(&mut rig, &mut dice);
    let mut overtaken = false;
    let mut interleaved = false;
    let mut pieces = 0;
    for _ in 0..50 {
        let mut expected = Vec::new();
        for tag in 0..32u16 {
            let len = 1 + dice.below(128);
            let offset = dice.below(4096 - len) / 4 * 4;
            let len = len.min(128 - (offset & 3)) as usize;
            rig.device.dma_read(tag, addr + offset, len);
            expected.push(bytes[offset as usize..offset as usize + len].to_vec());
        }
        for _ in 0..1000 {
            rig.step();
        }
        for (tag, expected) in (0..32u16).zip(expected) {
            assert_eq!(
                rig.device.arrived.remove(&tag),
                Some(Ok(expected)),
                "tag {tag}"
            );
        }
        let order = std::mem::take(&mut rig.device.order);
        pieces += order.len();
        overtaken |= order.windows(2).any(|pair| pair[0] > pair[1]);
        interleaved |= order.windows(3).any(|w| w[0] == w[2] && w[0] != w[1]);
    }
    assert!(overtaken && interleaved, "the test must see reordering");
    assert!(pieces > 50 * 32, "the test must see cutting");
    assert_eq!(rig.root.counters().errors(), 0);
}

#[test]
fn latency_is_what_was_asked_for() {
    let mut root = RootComplex::new(Options {
        read_latency: 7,
        ..Options::default()
    })
    .expect("legal");
    let mut mem = HostMemory::new(0, 4096);
    let read = Tlp::mem_read(Bdf::new(1, 0, 0), 1, 0, 128).expect("legal");
    let mut ticks = Vec::new();
    for now in 0..20 {
        let from_device = (now == 3).then(|| read.clone().encode());
        if root.tick(now, &mut mem, from_device).is_some() {
            ticks.push(now);
        }
    }
    assert_eq!(
        ticks,
        [10],
        "one completion of 128 bytes, seven ticks after the read"
    );
}

/// A completion must not pass a write that the host issued before it was due.
#[test]
fn completions_stay_behind_writes() {
    let mut root = RootComplex::new(Options {
        read_latency: 2,
        ..Options::default()
    })
    .expect("legal");
    let mut mem = HostMemory::new(0, 4096);
    let read = Tlp::mem_read(Bdf::new(1, 0, 0), 1, 0, 4).expect("legal");
    root.receive(0, &mut mem, read.encode());
    for _ in 0..3 {
        root.mem_write(BAR, &[0; 4]).expect("legal");
    }
    // The link was busy until the completion was long due.
    let sent: Vec<bool> = (10..14)
        .map(|now| root.transmit(now).expect("queued").is_completion())
        .collect();
    assert_eq!(sent, [false, false, false, true]);
}

#[test]
fn dma_writes_with_byte_enables() {
    let mut rig = Rig::brought_up(Options::default());
    let addr = rig.mem.alloc_pages(1).expect("free");
    rig.mem.write(addr, &[0xEE; 64]).expect("host memory");
    let requester = rig.device.bdf;
    let sparse = MemRequest {
        requester,
        tag: 0,
        addr,
        dwords: 2,
        first_be: 0b0101,
        last_be: 0b1010,
    };
    rig.device
        .send(Tlp::mem_write_be(sparse, (1..=8).collect()).expect("legal"));
    let none = MemRequest {
        requester,
        tag: 0,
        addr: addr + 8,
        dwords: 1,
        first_be: 0,
        last_be: 0,
    };
    rig.device
        .send(Tlp::mem_write_be(none, vec![9; 4]).expect("legal"));
    rig.device.dma_write(addr + 13, &[7; 10]);
    rig.run(10);
    let mut expected = [0xEE; 32];
    expected[..8].copy_from_slice(&[1, 0xEE, 3, 0xEE, 0xEE, 6, 0xEE, 8]);
    expected[13..23].fill(7);
    assert_eq!(rig.mem.slice(addr, 32), Ok(&expected[..]));
    assert_eq!(rig.root.counters().bytes_written, 14);
    assert_eq!(rig.root.counters().errors(), 0);
}

#[test]
fn refusals_and_poison_reach_the_host() {
    let cases = [
        (
            Answer::Refuse(Status::UnsupportedRequest),
            RequestError::UnsupportedRequest,
        ),
        (
            Answer::Refuse(Status::CompleterAbort),
            RequestError::CompleterAbort,
        ),
        (Answer::Refuse(Status::Retry), RequestError::Retry),
        (Answer::Poison, RequestError::Poisoned),
    ];
    for (answer, expected) in cases {
        let mut rig = Rig::brought_up(Options::default());
        rig.device.answer = answer;
        // Three pieces: the tag must serve all of a poisoned one.
        let id = rig
            .root
            .mem_read(rig.now, BAR + 4, 128)
            .expect("a free tag");
        assert_eq!(rig.wait(id), Err(expected.clone()));
        rig.run(10);
        let counters = *rig.root.counters();
        assert_eq!(counters.errors(), 1, "{answer:?}: {counters:?}");
        assert_eq!(
            counters.poisoned_completion,
            u64::from(expected == RequestError::Poisoned)
        );
        assert_eq!(rig.root.outstanding(), 0);
        rig.device.answer = Answer::Data;
        let id = rig.root.mem_read(rig.now, BAR, 4).expect("a free tag");
        assert!(rig.wait(id).is_ok(), "the link goes on");
    }
}

#[test]
fn timeout_after_exactly_its_ticks() {
    let mut rig = Rig::brought_up(Options {
        completion_timeout: 100,
        tags: 4,
        ..Options::default()
    });
    rig.device.answer = Answer::Nothing;
    let start = rig.now;
    let first = rig.root.mem_read(rig.now, BAR, 4).expect("a free tag");
    rig.run(30);
    let second = rig.root.mem_read(rig.now, BAR, 4).expect("a free tag");
    rig.run(69);
    assert_eq!(rig.root.take(first), None);
    rig.run(1);
    assert_eq!(rig.now, start + 100);
    assert_eq!(
        rig.root.take(first),
        Some(Err(RequestError::Timeout { ticks: 100 }))
    );
    assert_eq!(rig.root.take(second), None);
    rig.run(30);
    assert_eq!(
        rig.root.take(second),
        Some(Err(RequestError::Timeout { ticks: 100 }))
    );
    assert_eq!(rig.root.counters().completion_timeout, 2);
    assert!(matches!(
        rig.root.log()[0].event,
        Event::CompletionTimeout { .. }
    ));
    assert_eq!(rig.root.log()[0].tick, start + 100);
    assert_eq!(rig.root.outstanding(), 0);
}

/// The answer that comes too late is unexpected, and does not land on the next request.
#[test]
fn late_completion_is_unexpected() {
    let mut rig = Rig::brought_up(Options {
        completion_timeout: 50,
        tags: 2,
        ..Options::default()
    });
    rig.device.answer = Answer::Nothing;
    let id = rig.root.mem_read(rig.now, BAR, 4).expect("a free tag");
    rig.run(60);
    assert_eq!(
        rig.root.take(id),
        Some(Err(RequestError::Timeout { ticks: 50 }))
    );
    let Event::CompletionTimeout { tag, .. } = rig.root.log()[0].event else {
        panic!("a timeout")
    };
    let late = Completion {
        completer: rig.device.bdf,
        status: Status::Success,
        bcm: false,
        byte_count: 4,
        requester: Bdf::default(),
        tag,
        lower_addr: 0,
    };
    let next = rig.root.mem_read(rig.now, BAR, 4).expect("a free tag");
    rig.device
        .send(Tlp::completion(late, vec![0xBD; 4]).expect("legal"));
    rig.run(5);
    assert_eq!(rig.root.take(next), None, "the older free tag was used");
    assert_eq!(rig.root.counters().unexpected_completion, 1);
}

/// A link that takes nothing: requests still end, and are not sent afterwards.
#[test]
fn unsent_requests_time_out() {
    let mut root = RootComplex::new(Options {
        completion_timeout: 10,
        ..Options::default()
    })
    .expect("legal");
    root.mem_write(BAR, &[1; 4]).expect("legal");
    let id = root.mem_read(0, BAR, 4).expect("a free tag");
    root.expire(10);
    assert_eq!(
        root.take(id),
        Some(Err(RequestError::Timeout { ticks: 10 }))
    );
    assert!(
        root.transmit(11).is_some_and(|p| !p.payload.is_empty()),
        "the write stays"
    );
    assert_eq!(root.transmit(12), None);
}

#[test]
fn tags_run_out_and_come_back() {
    let mut rig = Rig::brought_up(Options {
        tags: 3,
        ..Options::default()
    });
    let ids: Vec<_> = (0..3)
        .map(|_| rig.root.mem_read(rig.now, BAR, 4).expect("a free tag"))
        .collect();
    assert_eq!(
        rig.root.mem_read(rig.now, BAR, 4),
        Err(IssueError::NoFreeTag { tags: 3 })
    );
    assert_eq!(rig.root.outstanding(), 3);
    for id in ids {
        assert!(rig.wait(id).is_ok());
    }
    assert!(rig.root.mem_read(rig.now, BAR, 4).is_ok());
}

/// Completions that name an outstanding tag and do not fit its read.
#[test]
fn wrong_completions() {
    let good = Completion {
        completer: Bdf::new(1, 0, 0),
        status: Status::Success,
        bcm: false,
        byte_count: 100,
        requester: Bdf::default(),
        tag: 0,
        lower_addr: 0x10,
    };
    let table = [
        (
            "Byte Count",
            Completion {
                byte_count: 96,
                ..good
            },
            48,
        ),
        (
            "Lower Address",
            Completion {
                lower_addr: 0x14,
                ..good
            },
            48,
        ),
        ("Length in bytes", good, 0),
        ("Length in bytes", good, 104),
        ("end of payload", good, 44),
    ];
    for (field, completion, len) in table {
        let mut root = RootComplex::new(Options::default()).expect("legal");
        let mut mem = HostMemory::new(0, 4096);
        let id = root.mem_read(0, BAR + 0x10, 100).expect("tag 0");
        let tlp = Tlp::completion(completion, vec![0; len]).expect("well-formed");
        root.receive(1, &mut mem, tlp.encode());
        match root.take(id) {
            Some(Err(RequestError::Wrong(error))) => assert_eq!(error.field, field),
            other => panic!("{field}: {other:?}"),
        }
        assert_eq!(
            (root.counters().wrong_completion, root.outstanding()),
            (1, 0)
        );
    }
    // Data for a configuration write, none for a configuration read.
    for (write, len) in [(true, 4), (false, 0)] {
        let mut root = RootComplex::new(Options::default()).expect("legal");
        let mut mem = HostMemory::new(0, 4096);
        let target = Bdf::new(1, 0, 0);
        let id = if write {
            root.cfg_write(0, target, 4, 0, 0xF)
        } else {
            root.cfg_read(0, target, 4)
        };
        let completion = Completion {
            byte_count: 4,
            lower_addr: 0,
            ..good
        };
        let tlp = Tlp::completion(completion, vec![0; len]).expect("well-formed");
        root.receive(1, &mut mem, tlp.encode());
        let got = root.take(id.expect("tag 0"));
        assert!(matches!(got, Some(Err(RequestError::Wrong(_)))), "{got:?}");
    }
}

#[test]
fn dma_outside_of_memory() {
    let mut rig = Rig::brought_up(Options::default());
    let end = MEMORY_BASE + rig.mem.size();
    for (tag, addr) in [
        (0, 0),
        (1, end),
        (2, u64::MAX - 127),
        (3, MEMORY_BASE - 64),
        (4, 0xFEE0_0000),
    ] {
        rig.device.dma_read(tag, addr, 64);
    }
    rig.device.dma_read(5, end - 64, 64);
    rig.device.dma_write(end, &[1; 8]);
    rig.run(30);
    for tag in 0..5 {
        assert_eq!(
            rig.device.arrived.remove(&tag),
            Some(Err(Status::UnsupportedRequest)),
            "tag {tag}"
        );
    }
    assert_eq!(rig.device.arrived.remove(&5), Some(Ok(vec![0; 64])));
    assert_eq!(rig.root.counters().unsupported_request, 6);
    assert_eq!(rig.root.counters().errors(), 6);
    assert_eq!(
        rig.root.log()[1].event,
        Event::UnsupportedRequest { addr: end }
    );
}

/// Host memory that refuses one page and has a poisoned line.
#[test]
fn memory_that_refuses() {
    struct Picky(HostMemory);
    impl HostMem for Picky {
        fn read(&mut self, addr: u64, buf: &mut [u8]) -> Result<(), pcie_sim::memory::MemoryError> {
            if addr >> 12 == 1 {
                return Err(pcie_sim::memory::MemoryError::Refused { addr });
            }
            self.0.read(addr, buf)
        }
        fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), pcie_sim::memory::MemoryError> {
            if addr >> 12 == 1 {
                return Err(pcie_sim::memory::MemoryError::Refused { addr });
            }
            self.0.write(addr, data)
        }
    }
    let me = Bdf::new(1, 0, 0);
    let mut mem = Picky(HostMemory::new(0, 0x3000));
    mem.0.poison(0x2040, 1).expect("in range");
    let mut root = RootComplex::new(Options::default()).expect("legal");
    let mut ask = |tlp: Tlp| {
        root.receive(0, &mut mem, tlp.encode());
        root.transmit(0)
            .map(|p| p.decode(&Limits::default()).expect("well-formed"))
    };
    let refused = ask(Tlp::mem_read(me, 1, 0x1000, 64).expect("legal")).expect("answered");
    assert!(matches!(
        refused.kind,
        Kind::Completion(Completion {
            status: Status::CompleterAbort,
            ..
        })
    ));
    let poisoned = ask(Tlp::mem_read(me, 2, 0x2000, 128).expect("legal")).expect("answered");
    assert!(poisoned.poisoned && poisoned.data.len() == 128);
    let clean = ask(Tlp::mem_read(me, 3, 0x2000, 64).expect("legal")).expect("answered");
    assert!(!clean.poisoned);
    assert_eq!(
        ask(Tlp::mem_write(me, 0x2040, &[1; 64]).expect("legal")),
        None
    );
    let healed = ask(Tlp::mem_read(me, 4, 0x2000, 128).expect("legal")).expect("answered");
    assert!(!healed.poisoned, "a whole write heals");
    assert_eq!(
        ask(Tlp::mem_write(me, 0x1000, &[1; 64]).expect("legal")),
        None
    );
    assert_eq!(root.counters().refused_by_memory, 2);
    assert_eq!(root.counters().poisoned_memory, 1);
}

#[test]
fn odd_packets_from_the_device() {
    let me = Bdf::new(1, 0, 0);
    let mut root = RootComplex::new(Options::default()).expect("legal");
    let mut mem = HostMemory::new(0, 4096);
    // A poisoned write leaves memory as it was.
    let mut write = Tlp::mem_write(me, 0, &[1; 4]).expect("legal");
    write.poisoned = true;
    root.receive(0, &mut mem, write.encode());
    assert_eq!(
        (mem.slice(0, 4), root.counters().poisoned_write),
        (Ok(&[0; 4][..]), 1)
    );
    // A configuration request upstream is refused.
    let request = CfgRequest {
        requester: me,
        tag: 9,
        target: Bdf::default(),
        register: 0,
        first_be: 0xF,
        type1: false,
    };
    root.receive(0, &mut mem, Tlp::cfg_read(request).expect("legal").encode());
    let answer = root
        .transmit(0)
        .expect("answered")
        .decode(&Limits::default())
        .expect("well-formed");
    let refused = Status::UnsupportedRequest;
    assert!(
        matches!(answer.kind, Kind::Completion(Completion { tag: 9, status, .. }) if status == refused)
    );
    // An interrupt is one whole DW.
    for bytes in [&[1u8; 2][..], &[1; 8][..]] {
        root.receive(
            0,
            &mut mem,
            Tlp::mem_write(me, 0xFEE0_0000, bytes)
                .expect("legal")
                .encode(),
        );
    }
    assert_eq!(
        (root.counters().bad_interrupt, root.take_interrupt()),
        (2, None)
    );
    // Too long for the link.
    root.receive(
        0,
        &mut mem,
        Tlp::mem_write(me, 0, &[1; 132]).expect("legal").encode(),
    );
    root.receive(
        0,
        &mut mem,
        Tlp::mem_read(me, 0, 0, 132).expect("legal").encode(),
    );
    assert_eq!(root.counters().malformed, 2);
    // Messages: errors are logged, others are not.
    for (code, errors) in [(0x30, 1), (0x31, 2), (0x33, 3), (0x20, 3)] {
        let message = Message {
            requester: me,
            tag: 0,
            routing: 0,
            code,
            dw2: 0,
            dw3: 0,
        };
        root.receive(
            0,
            &mut mem,
            Tlp::message(message, vec![]).expect("legal").encode(),
        );
        assert_eq!(root.counters().error_message, errors);
    }
    // A completion for somebody else's tag, or somebody else.
    let id = root.mem_read(0, BAR, 4).expect("tag 0");
    let completion = Completion {
        completer: me,
        status: Status::Success,
        bcm: false,
        byte_count: 4,
        requester: Bdf::default(),
        tag: 1,
        lower_addr: 0,
    };
    let strangers = [
        completion,
        Completion {
            tag: 0x3FF,
            ..completion
        },
        Completion {
            tag: 0,
            requester: me,
            ..completion
        },
        Completion {
            status: Status::CompleterAbort,
            ..completion
        },
    ];
    for stranger in strangers {
        let data = if stranger.status == Status::Success {
            vec![0; 4]
        } else {
            vec![]
        };
        root.receive(
            0,
            &mut mem,
            Tlp::completion(stranger, data).expect("legal").encode(),
        );
    }
    assert_eq!(root.counters().unexpected_completion, 4);
    assert_eq!((root.take(id), root.outstanding()), (None, 1));
    let texts: Vec<String> = root
        .take_log()
        .iter()
        .map(|entry| entry.event.to_string())
        .collect();
    assert_eq!(texts.len() as u64, root.counters().errors());
    assert!(root.log().is_empty());
}

#[test]
fn queues_and_log_are_bounded() {
    let me = Bdf::new(1, 0, 0);
    let mut root = RootComplex::new(Options {
        queue: 4,
        ..Options::default()
    })
    .expect("legal");
    let mut mem = HostMemory::new(0, 4096);
    let message = Tlp::mem_write(me, 0xFEE0_0000, &[5, 0, 0, 0])
        .expect("legal")
        .encode();
    for _ in 0..INTERRUPT_QUEUE + 3 {
        root.receive(0, &mut mem, message.clone());
    }
    assert_eq!(root.counters().interrupts_lost, 3);
    for _ in 0..LOG_ENTRIES + 10 {
        root.receive(
            0,
            &mut mem,
            Packet {
                header: [u32::MAX; 4],
                payload: vec![],
            },
        );
    }
    assert_eq!(
        (root.log().len(), root.counters().malformed),
        (LOG_ENTRIES, LOG_ENTRIES as u64 + 10)
    );
    assert!(root.ready());
    for tag in 0..4 {
        root.receive(
            0,
            &mut mem,
            Tlp::mem_read(me, tag, 0, 4).expect("legal").encode(),
        );
    }
    assert!(!root.ready());
    assert!(root.transmit(0).is_some() && root.ready());
}

#[test]
fn options_are_checked() {
    let refuse = |options| {
        RootComplex::new(options)
            .map(|_| ())
            .expect_err("illegal")
            .option
    };
    assert_eq!(
        refuse(Options {
            tags: 0,
            ..Options::default()
        }),
        "tags"
    );
    assert_eq!(
        refuse(Options {
            tags: 1025,
            ..Options::default()
        }),
        "tags"
    );
    assert_eq!(
        refuse(Options {
            rcb: 32,
            ..Options::default()
        }),
        "rcb"
    );
    let limits = |max_payload, max_read_request| Options {
        limits: Limits {
            max_payload,
            max_read_request,
        },
        ..Options::default()
    };
    assert_eq!(refuse(limits(64, 128)), "max_payload");
    assert_eq!(refuse(limits(128, 8192)), "max_read_request");
}
