//! Memory that the host alone keeps coherent (HDM-H), through its home agent; and the engine there, which needs no link.

use super::hand::Ring;
use super::link::{beats, Cut, Cutter};
use super::{seeds, Tally};
use cxlmem_protocol::engine::{Descriptor, Opcode};
use cxlmem_protocol::msg::MetaValue;
use cxlmem_protocol::regs;
use cxlmem_sim::home::{HomeError, HomeOptions};
use cxlmem_sim::rng::Rng;
use cxlmem_sim::{Op, Options, System};

/// The home agent's own time-out, cycles.
const TIMEOUT: u64 = 3_000;
/// Cycles in which a caller has its outcome, whatever was cut.
const BOUND: u64 = 3 * TIMEOUT;
const ENABLES: u64 = 0xFF00_0FF0_F0F0_00FF;

#[derive(Clone, Copy, Debug)]
enum Kind {
    Read,
    Write,
    WritePartial,
    Invalidate,
}

impl Kind {
    const ALL: [Self; 4] = [
        Self::Read,
        Self::Write,
        Self::WritePartial,
        Self::Invalidate,
    ];

    fn op(self, new: [u8; 64]) -> Op {
        match self {
            Self::Read => Op::READ,
            Self::Write => Op::write(new),
            Self::WritePartial => Op::WritePartial {
                data: new,
                enables: ENABLES,
                poison: false,
                meta: None,
            },
            Self::Invalidate => Op::Invalidate {
                meta: MetaValue::S,
                non_temporal: false,
            },
        }
    }

    fn after(self, old: [u8; 64]) -> [u8; 64] {
        match self {
            Self::Read | Self::Invalidate => old,
            Self::Write => old.map(|b| !b),
            Self::WritePartial => std::array::from_fn(|n| {
                if ENABLES >> n & 1 == 1 {
                    !old[n]
                } else {
                    old[n]
                }
            }),
        }
    }
}

fn system(config: &str, rng: &mut Rng) -> System {
    let home = HomeOptions {
        timeout: TIMEOUT,
        ..Default::default()
    };
    let options = Options {
        home,
        seed: rng.next_u64(),
        ..Default::default()
    };
    let mut s = System::new(config, options).unwrap();
    s.link_mut().offer_seq(rng.chance(0.5));
    s.bring_up().unwrap();
    s
}

fn cut_once(s: &mut System, cutter: &Cutter, kind: Kind, offset: u64, rng: &mut Rng) -> Tally {
    let cut = cutter.cut;
    let what = format!("{kind:?}, {cut:?}, {offset}");
    let at = s.hdm_window().0 + 64 * rng.below(64);
    let old = rng.line();
    let new = kind.after(old);
    s.operate(at, Op::write(old)).unwrap();
    // Nothing else is under way, so that what the wire does meets this operation.
    s.run(100);
    let (begun, reinits) = (s.now(), s.link().counters().reinits);
    let ticket = s.issue(at, kind.op(new)).unwrap();
    s.run(offset);
    cutter.begin(s, 1 + rng.below(TIMEOUT / 2));
    if cut == Cut::Restart {
        cutter.end(s);
    }
    let result = s.wait(ticket);
    let took = s.now() - begun;
    assert!(took < BOUND, "{what}: {took} cycles");
    let given_up = s.link().has_failed()
        || regs::LinkStatus::ABORTED.is_set(s.mmio_read32(regs::LinkStatus::OFFSET).unwrap());
    if cut != Cut::Restart {
        cutter.end(s);
    }
    assert!(s.link().is_up() && !s.link().has_failed(), "{what}");
    let got = s
        .operate(at, Op::READ)
        .unwrap_or_else(|e| panic!("{what}: {e}"));
    let got = got.data.unwrap();
    let mut tally = Tally {
        reinits: s.link().counters().reinits - reinits,
        given_up: u64::from(given_up),
        ..Tally::default()
    };
    match result {
        Ok(_) => {
            tally.done = 1;
            assert_eq!(got, new, "{what}: completed");
        }
        Err(HomeError::LinkReset { .. } | HomeError::Timeout { .. }) if !cut.loses_nothing() => {
            tally.failed = 1;
            let (of_old, of_new) = beats(&got, &old, &new)
                .unwrap_or_else(|| panic!("{what}: {got:?} is neither {old:?} nor {new:?}"));
            match (of_old, of_new) {
                (0, _) => tally.new = 1,
                (_, 0) => tally.old = 1,
                _ => tally.torn = 1,
            }
        }
        Err(e) => panic!("{what}: {e}"),
    }
    if tally.torn > 0 {
        assert!(matches!(cut, Cut::Restart | Cut::Off), "{what}: torn");
    }
    tally
}

#[test]
fn every_operation_of_the_host_ends_whenever_the_link_is_cut() {
    let mut rng = seeds(0xC3);
    for kind in Kind::ALL {
        for cut in Cut::ALL {
            let config = ["sim", "full", "sim-ext"][rng.below(3) as usize];
            let mut s = system(config, &mut rng);
            let cutter = Cutter::new(cut, &mut s);
            let runs = if matches!(cut, Cut::Restart | Cut::Off) {
                60
            } else {
                15
            };
            let mut sum = Tally::default();
            for n in 0..runs {
                sum += cut_once(&mut s, &cutter, kind, n * 60 / runs, &mut rng);
            }
            println!("{kind:?}, {cut:?}, {config}: {sum:?}");
            match cut {
                Cut::Reinit => assert!(sum.done == runs && sum.reinits > 0),
                Cut::Hang => assert_eq!(sum.done, runs),
                // Damage shows, and so does that nothing helps. Zeros are what an idle wire has.
                Cut::Stuck(true) => assert!(sum.failed > 0 && sum.given_up >= sum.failed),
                _ => assert!(sum.done > 0 && sum.failed > 0),
            }
            assert_eq!(s.home().first_difference(), None);
            assert_eq!(s.mmio_read32(regs::RxProtocolErrors::OFFSET).unwrap(), 0);
        }
    }
}

/// Pages that the device owns are the engine's: the link may come and go.
#[test]
fn the_engine_of_host_coherent_memory_needs_no_link() {
    const BYTES: u32 = 1024;
    let mut rng = seeds(0xC4);
    let mut s = system("full", &mut rng);
    let bus = s.dma_alloc(4096).unwrap();
    let run = |s: &mut System, d: &Descriptor, cut: Option<(&Cutter, u64, u64)>| {
        let ring = Ring::start(s, d);
        let begun = s.now();
        if let Some((cutter, offset, hang)) = cut {
            s.run(offset);
            cutter.begin(s, hang);
        }
        while ring.poll(s).is_none() {
            assert!(s.now() < begun + BOUND, "{d:?} does not end");
            s.cycle();
        }
        let c = ring.poll(s).unwrap();
        assert_eq!((c.status, c.done), (0, d.count), "{d:?}");
        ring.free(s);
        if let Some((cutter, ..)) = cut {
            cutter.end(s);
        }
    };
    let own = Descriptor {
        opcode: Opcode::SetOwner as u8,
        count: 1,
        arg: 1,
        ..Default::default()
    };
    run(&mut s, &own, None);
    for cut in [
        Cut::Off,
        Cut::Restart,
        Cut::Stuck(true),
        Cut::Reinit,
        Cut::Hang,
    ] {
        let cutter = Cutter::new(cut, &mut s);
        for _ in 0..10 {
            let (offset, hang) = (rng.below(400), 1 + rng.below(5_000));
            let lines = (0..BYTES / 64).flat_map(|_| rng.line());
            let content: Vec<u8> = lines.collect();
            s.dma_write(bus, &content).unwrap();
            let copy = |opcode: Opcode| Descriptor {
                opcode: opcode as u8,
                count: BYTES,
                host_addr: bus,
                ..Default::default()
            };
            run(
                &mut s,
                &copy(Opcode::CopyToDevice),
                Some((&cutter, offset, hang)),
            );
            s.dma_write(bus, &vec![0; BYTES as usize]).unwrap();
            run(
                &mut s,
                &copy(Opcode::CopyToHost),
                Some((&cutter, offset, hang)),
            );
            let mut got = vec![0; BYTES as usize];
            s.dma_read(bus, &mut got).unwrap();
            assert_eq!(got, content, "{cut:?}, {offset}");
        }
    }
}
