//! Faults on the link: every request ends with data or a typed error, nothing is silently wrong, nothing panics.

mod common;

use common::{Dice, Rig, BAR};
use pcie_sim::faults::{Fault, FaultPlan, Injector};
use pcie_sim::host::{Event, Options};
use pcie_sim::{HostMem, Malformed, Packet, RequestError, Tlp};

/// A rig with an injector in each direction, around the function and its device.
struct Faulty {
    rig: Rig,
    down: Injector,
    up: Injector,
}

impl Faulty {
    fn new(down: FaultPlan, up: FaultPlan) -> Self {
        let rig = Rig::brought_up(Options {
            completion_timeout: 300,
            ..Options::default()
        });
        Faulty {
            rig,
            down: Injector::new(down),
            up: Injector::new(up),
        }
    }

    fn step(&mut self) {
        let Rig {
            root,
            mem,
            function,
            device,
            now,
        } = &mut self.rig;
        *now += 1;
        if let Some(packet) = root.transmit(*now) {
            self.down.push(*now, packet);
        }
        if let Some(packet) = self.down.pop(*now) {
            function.receive_host(packet);
        }
        let to_device = function.send_device();
        if let Some(packet) = device.tick(to_device) {
            function.receive_device(packet);
        }
        if let Some(packet) = function.send_host() {
            self.up.push(*now, packet);
        }
        if let Some(packet) = self.up.pop(*now) {
            root.receive(*now, mem, packet);
        }
        root.expire(*now);
    }

    fn read(&mut self, addr: u64, bytes: usize) -> Result<Vec<u8>, RequestError> {
        let id = self
            .rig
            .root
            .mem_read(self.rig.now, addr, bytes)
            .expect("a free tag");
        for _ in 0..400 {
            self.step();
            if let Some(result) = self.rig.root.take(id) {
                return result;
            }
        }
        panic!("a read outlived its timeout");
    }
}

fn once(fault: Fault) -> FaultPlan {
    FaultPlan {
        at: vec![(0, fault)],
        ..FaultPlan::default()
    }
}

fn quiet() -> FaultPlan {
    FaultPlan::default()
}

/// One fault on the completion of a register read: what the host sees, and what it counts.
#[test]
fn each_fault_on_a_completion() {
    let timeout = || Err(RequestError::Timeout { ticks: 300 });
    let read = |fault| {
        let mut link = Faulty::new(quiet(), once(fault));
        link.rig.device.registers[0..4].copy_from_slice(&[1, 2, 3, 4]);
        let result = link.read(BAR, 4);
        for _ in 0..10 {
            link.step();
        }
        assert_eq!(
            link.read(BAR, 4),
            Ok(vec![1, 2, 3, 4]),
            "after {fault:?} the link goes on"
        );
        assert_eq!(link.up.events(), [(0, fault)]);
        let events: Vec<Event> = link
            .rig
            .root
            .take_log()
            .into_iter()
            .map(|entry| entry.event)
            .collect();
        (result, events)
    };
    let fine = || Ok(vec![1, 2, 3, 4]);

    let (result, events) = read(Fault::Drop);
    assert_eq!(result, timeout());
    assert!(matches!(events[..], [Event::CompletionTimeout { .. }]));

    let (result, events) = read(Fault::Truncate);
    assert_eq!(result, timeout());
    assert!(matches!(
        events[..],
        [
            Event::Malformed(Malformed::PayloadLength {
                expected: 4,
                found: 0
            }),
            Event::CompletionTimeout { .. }
        ]
    ));

    let (result, events) = read(Fault::Poison);
    assert_eq!(result, Err(RequestError::Poisoned));
    assert!(matches!(events[..], [Event::PoisonedCompletion { .. }]));

    let (result, events) = read(Fault::Duplicate);
    assert_eq!(result, fine());
    assert!(matches!(events[..], [Event::UnexpectedCompletion { .. }]));

    let (result, events) = read(Fault::Foreign);
    assert_eq!(result, fine());
    assert!(matches!(
        events[..],
        [Event::Malformed(Malformed::UnknownFmtType {
            fmt: 0,
            ty: 2
        })]
    ));

    let (result, events) = read(Fault::StrayCompletion);
    assert_eq!(result, fine());
    assert!(matches!(
        events[..],
        [Event::UnexpectedCompletion { tag: 0x3FF, .. }]
    ));

    let (result, events) = read(Fault::Delay(100));
    assert_eq!((result, events), (fine(), vec![]));

    let (result, events) = read(Fault::Delay(301));
    assert_eq!(result, timeout());
    assert!(matches!(
        events[..],
        [
            Event::CompletionTimeout { .. },
            Event::UnexpectedCompletion { .. }
        ]
    ));

    let (result, events) = read(Fault::CorruptPayload);
    let differing = result.as_ref().map(|got| {
        got.iter()
            .zip([1u8, 2, 3, 4])
            .map(|(a, b)| (a ^ b).count_ones())
            .sum()
    });
    assert_eq!(
        (differing, events),
        (Ok(1), vec![]),
        "silent: that is what a digest is for"
    );
}

/// Flips every header bit of a completion in turn: the read ends with its data or an error, and never with wrong data.
#[test]
fn every_header_bit_of_a_completion() {
    let mut rig = Rig::brought_up(Options {
        completion_timeout: 20,
        ..Options::default()
    });
    rig.device.registers[8..12].copy_from_slice(&[5, 6, 7, 8]);
    let mut undetected = 0;
    for bit in 0..96 {
        let id = rig.root.mem_read(rig.now, BAR + 8, 4).expect("a free tag");
        let request = rig.root.transmit(rig.now).expect("queued");
        rig.function.receive_host(request);
        let packet = rig.function.send_device();
        let mut completion = rig.device.tick(packet).expect("answered");
        completion.header[bit / 32] ^= 1 << (bit % 32);
        let errors = rig.root.counters().errors();
        rig.root.receive(rig.now, &mut rig.mem, completion);
        let detected = rig.root.counters().errors() > errors;
        rig.run(25);
        match rig.root.take(id).expect("ended") {
            Ok(bytes) => {
                assert_eq!(bytes, [5, 6, 7, 8], "bit {bit}");
                undetected += 1;
            }
            Err(error) => assert!(detected, "bit {bit}: {error} without an event"),
        }
        assert_eq!(rig.root.outstanding(), 0, "bit {bit}");
    }
    // TC, Attr, AT, TH, LN, completer id, BCM and reserved bits do not matter to a read.
    assert!(
        (20..60).contains(&undetected),
        "{undetected} bits do not matter"
    );
}

#[test]
fn a_device_that_stops() {
    let mut link = Faulty::new(
        quiet(),
        FaultPlan {
            silent_from: Some(3),
            ..quiet()
        },
    );
    for _ in 0..3 {
        assert!(link.read(BAR, 4).is_ok());
    }
    for _ in 0..3 {
        assert_eq!(link.read(BAR, 4), Err(RequestError::Timeout { ticks: 300 }));
    }
    assert_eq!(link.rig.root.outstanding(), 0);
}

#[test]
fn the_same_seed_does_the_same() {
    let seed = common::seed();
    let run = || {
        let rates = vec![
            (Fault::Drop, 100_000),
            (Fault::CorruptHeader, 100_000),
            (Fault::Delay(3), 100_000),
        ];
        let mut injector = Injector::new(FaultPlan {
            seed,
            rates,
            ..FaultPlan::default()
        });
        let mut out = Vec::new();
        for n in 0..1000u64 {
            let tlp = Tlp::mem_write(Default::default(), n * 64, &n.to_le_bytes()).expect("legal");
            injector.push(n, tlp.encode());
            out.push(injector.pop(n));
        }
        (injector.events().to_vec(), out)
    };
    let (events, out) = run();
    assert_eq!((events.clone(), out), run());
    assert!(
        (200..400).contains(&events.len()),
        "{} faults at a rate of 0.3",
        events.len()
    );
}

#[test]
fn delayed_packets_keep_their_order() {
    let at = vec![(1, Fault::Delay(10))];
    let mut injector = Injector::new(FaultPlan {
        at,
        ..FaultPlan::default()
    });
    let packet = |n: u32| Packet {
        header: [n, 0, 0, 0],
        payload: vec![],
    };
    for n in 0..3 {
        injector.push(0, packet(n));
    }
    assert_eq!(injector.pop(0), Some(packet(0)));
    assert_eq!(
        (injector.pop(9), injector.pop(10), injector.pop(10)),
        (None, Some(packet(1)), Some(packet(2)))
    );
}

/// Everything at once, both ways, under traffic both ways: every host request ends, and a DMA read that
/// completes without a fault on its way has the right data.
#[test]
fn storm() {
    let seed = common::seed();
    let mut dice = Dice::new(seed);
    // No silent corruption: payload bits carry no check here.
    let rates = vec![
        (Fault::Drop, 10_000),
        (Fault::Truncate, 10_000),
        (Fault::Poison, 10_000),
        (Fault::Foreign, 10_000),
        (Fault::Delay(17), 20_000),
    ];
    let plan = |seed| FaultPlan {
        seed,
        rates: rates.clone(),
        ..FaultPlan::default()
    };
    let mut link = Faulty::new(plan(seed), plan(!seed));
    let addr = link.rig.mem.alloc_pages(1).expect("free");
    let bytes: Vec<u8> = (0..4096).map(|k| (k * 31 % 251) as u8).collect();
    link.rig.mem.write(addr, &bytes).expect("host memory");
    for (k, byte) in link.rig.device.registers.iter_mut().enumerate() {
        *byte = (k * 17 % 253) as u8;
    }
    let expected = link.rig.device.registers.clone();
    let mut asked = std::collections::HashMap::new();
    let (mut good, mut bad, mut dma) = (0, 0, 0);
    for round in 0..2000u64 {
        let tag = (round % 32) as u16;
        if !link.rig.device.waiting.contains_key(&tag) {
            let offset = dice.below(31) * 128;
            asked.insert(tag, offset as usize);
            link.rig.device.dma_read(tag, addr + offset, 128);
        }
        let offset = dice.below(0x2000) * 8;
        match link.read(BAR + offset, 8) {
            Ok(got) => {
                assert_eq!(got, expected[offset as usize..offset as usize + 8]);
                good += 1;
            }
            Err(RequestError::Timeout { .. } | RequestError::Poisoned) => bad += 1,
            Err(other) => panic!("{other}"),
        }
        for (tag, result) in link.rig.device.arrived.drain() {
            let offset = asked[&tag];
            assert_eq!(
                result.as_deref(),
                Ok(&bytes[offset..offset + 128]),
                "tag {tag}"
            );
            dma += 1;
        }
    }
    assert!(
        good > 1500 && bad > 20 && dma > 100,
        "{good} good, {bad} bad, {dma} by DMA"
    );
    assert!(link.up.injected() > 50 && link.down.injected() > 50);
}
