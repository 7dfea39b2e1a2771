//! Requests and completions both ways: splitting, reordering, timeouts, and every way an answer can be wrong.

mod common;

use common::{Answer, Dice, Rig, BAR};
use pcie_sim::completion::{split, Reassembly, SplitRules};
use pcie_sim::host::{Event, IssueError, Options};
use pcie_sim::tlp::{Completion, MemRequest, Status};
use pcie_sim::{Bdf, HostMemory, Kind, Limits, RequestError, RootComplex, Tlp};
use proptest::prelude::*;

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
