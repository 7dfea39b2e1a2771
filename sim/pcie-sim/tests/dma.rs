//! The device's side of the root complex: DMA, interrupts, and everything odd that a device may send.

mod common;

use common::{Dice, Rig, BAR, MEMORY_BASE};
use pcie_sim::host::{Event, Options, INTERRUPT_QUEUE, LOG_ENTRIES};
use pcie_sim::tlp::{CfgRequest, Completion, MemRequest, Message, Status};
use pcie_sim::{Bdf, HostMem, HostMemory, Kind, Limits, Packet, RootComplex, Tlp};

fn page(rig: &mut Rig, dice: &mut Dice) -> (u64, Vec<u8>) {
    let addr = rig.mem.alloc_pages(1).expect("a free page");
    let bytes: Vec<u8> = (0..4096).map(|_| dice.below(256) as u8).collect();
    rig.mem.write(addr, &bytes).expect("host memory");
    (addr, bytes)
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
