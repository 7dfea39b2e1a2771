use super::bench::{figures, Ask, Bench, Memory};
use super::*;
use crate::blocks::{Sdram16, Sdram32};
use crate::rng::Rng;
use cxlmem_hdl::memory::sdram::{CHIPS, SDRAM16_KHZ, SDRAM32_KHZ};

fn narrow() -> Bench<Sdram16> {
    Bench::<Sdram16>::new(CHIPS[0], SDRAM16_KHZ).unwrap()
}

fn wide() -> Bench<Sdram32> {
    Bench::<Sdram32>::new(CHIPS[1], SDRAM32_KHZ).unwrap()
}

fn seed() -> u64 {
    let given = std::env::var("CXLMEM_SEED").ok();
    let seed = given.and_then(|s| s.parse().ok()).unwrap_or(11);
    println!("CXLMEM_SEED={seed}");
    seed
}

/// Random reads and writes against an array, with gaps; returns the bench.
fn exercise(mut m: impl Memory, lines: u32, requests: usize, seed: u64) -> Vec<String> {
    let mut rng = Rng::new(seed);
    let mut data: HashMap<u32, [u128; 4]> = HashMap::new();
    let mut tags: HashMap<u32, (bool, u8)> = HashMap::new();
    // What an answer has to be: of a whole line or none of its data.
    let mut due: VecDeque<(u32, Option<[u128; 4]>, bool, u8)> = VecDeque::new();
    let (mut read, mut write) = (None, None);
    let (mut asked, mut answered, mut beats) = (0, 0, 0);
    // Some lines are asked for again and again; others are in the next row of the same bank.
    let line = |rng: &mut Rng| match rng.below(3) {
        0 => rng.below(40) as u32,
        1 => (rng.below(4) as u32 * 64 + rng.below(2) as u32) % lines,
        _ => rng.below(lines.into()) as u32,
    };
    for _ in 0..requests as u64 * 200 + 40_000 {
        if asked < requests && read.is_none() && rng.chance(0.5) {
            asked += 1;
            let meta = rng.chance(0.2).then(|| rng.below(4) as u8);
            read = Some(Ask::Read {
                line: line(&mut rng),
                nodata: rng.chance(0.2),
                meta,
            });
        }
        if asked < requests && write.is_none() && rng.chance(0.3) {
            asked += 1;
            let be = if rng.chance(0.5) {
                0xFFFF
            } else {
                rng.next_u64() as u16
            };
            let data = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
            write = Some(Ask::Write {
                line: line(&mut rng),
                idx: rng.below(4) as u8,
                data,
                be,
                poison: rng.chance(0.1).then(|| rng.chance(0.5)),
                meta: rng.chance(0.1).then(|| rng.below(4) as u8),
            });
        }
        let (took_read, took_write, beat) = m.cycle(read, write);
        assert!(!(took_read && took_write), "one request a cycle");
        if let (true, Some(Ask::Read { line, nodata, meta })) = (took_read, read) {
            let (poison, old) = tags.get(&line).copied().unwrap_or_default();
            let content = (!nodata).then(|| data.get(&line).copied().unwrap_or_default());
            due.push_back((line, content, poison, old));
            if let Some(meta) = meta {
                tags.insert(line, (poison, meta));
            }
            read = None;
        }
        if let (
            true,
            Some(Ask::Write {
                line,
                idx,
                data: new,
                be,
                poison,
                meta,
            }),
        ) = (took_write, write)
        {
            let old = &mut data.entry(line).or_default()[usize::from(idx)];
            for byte in (0..16).filter(|b| be >> b & 1 == 1) {
                let mask = 0xFFu128 << (8 * byte);
                *old = *old & !mask | new & mask;
            }
            let tag = tags.entry(line).or_default();
            *tag = (poison.unwrap_or(tag.0), meta.unwrap_or(tag.1));
            write = None;
        }
        if let Some((_, idx, word, poison, meta)) = beat {
            let (line, content, due_poison, due_meta) =
                *due.front().expect("an answer that nobody asked for");
            let at = content.map_or(3, |_| beats);
            assert_eq!(
                (usize::from(idx), poison, meta),
                (at, due_poison, due_meta),
                "seed {seed}, line {line}"
            );
            if let Some(content) = content {
                assert_eq!(
                    word, content[beats],
                    "seed {seed}, line {line}, beat {beats}"
                );
                beats += 1;
            }
            if content.is_none() || beats == 4 {
                beats = 0;
                answered += 1;
                due.pop_front();
            }
        }
        if asked == requests && read.is_none() && write.is_none() && due.is_empty() {
            break;
        }
    }
    assert!(
        due.is_empty() && read.is_none() && write.is_none(),
        "seed {seed}: {} answers are missing",
        due.len()
    );
    assert!(answered > requests / 3, "{answered}");
    println!(
        "{asked} requests in {} cycles, commands {:?}",
        m.now(),
        m.chip().counts
    );
    m.chip().violations().to_vec()
}

#[test]
fn random_traffic_on_a_narrow_chip() {
    assert_eq!(exercise(narrow(), 1 << 19, 6_000, seed()), [""; 0]);
}

#[test]
fn random_traffic_on_a_wide_chip() {
    assert_eq!(exercise(wide(), 1 << 17, 8_000, seed()), [""; 0]);
}

#[test]
fn a_chip_that_is_a_little_slower_finds_every_time_too_short() {
    // Each time of the data sheet a cycle longer than what the controller was made for.
    let (fast, khz) = (CHIPS[1], SDRAM32_KHZ);
    let t = fast.timing(khz).unwrap();
    let period = 1e6 / f64::from(khz);
    let longer = |cycles: u32| f64::from(cycles) * period + 1.0;
    type Change = (&'static str, fn(&mut SdramChip, f64), u32);
    let changes: [Change; 7] = [
        ("tRCD", |c, ns| c.t_rcd = ns, t.t_rcd),
        ("tRP", |c, ns| c.t_rp = ns, t.t_rp),
        ("tRAS", |c, ns| c.t_ras = ns, t.t_ras.max(t.t_rcd + t.burst)),
        (
            "tRC",
            |c, ns| c.t_rc = ns,
            t.t_rc.max(t.t_rcd + t.burst + t.t_rp),
        ),
        ("tRFC", |c, ns| c.t_rfc = ns, t.t_rfc),
        ("tWR", |c, ns| c.t_wr = ns, t.t_wr),
        ("power-on", |c, ns| c.init = ns, t.init + 4),
    ];
    for (name, change, cycles) in changes {
        let mut slow = fast;
        change(&mut slow, longer(cycles));
        let found = exercise(Bench::<Sdram32>::new(slow, khz).unwrap(), 1 << 17, 3_000, 5);
        assert!(found.iter().any(|v| v.contains(name)), "{name}: {found:?}");
    }
    let forgetful = SdramChip {
        retention: fast.retention * 0.9,
        ..fast
    };
    let found = exercise(
        Bench::<Sdram32>::new(forgetful, khz).unwrap(),
        1 << 17,
        8_000,
        5,
    );
    assert!(
        found.iter().any(|v| v.contains("refreshes of")),
        "{found:?}"
    );
}

#[test]
fn latency_and_rate() {
    let f = figures().unwrap();
    println!("{f:?}");
    assert!(f.row_hit <= 6 && f.closed_bank <= 9, "{f:?}");
    assert!(f.last_word <= 37, "{f:?}");
    assert!(f.share_16 >= 0.9 && f.share_32 >= 0.9, "{f:?}");
    assert_eq!(f.violations, 0);
}

/// A chip that is past its start.
fn started() -> Chip {
    let mut chip = Chip::new(CHIPS[0], 100_000);
    let mut send = |command, a, wait: u32| {
        chip.edge(ChipPins {
            command,
            a,
            ..Default::default()
        });
        (0..wait).for_each(|_| _ = chip.edge(ChipPins::default()));
    };
    send(NOP, 0, 10_001);
    send(PRECHARGE, 0x400, 10);
    send(REFRESH, 0, 10);
    send(REFRESH, 0, 10);
    send(MODE, 0x23, 10);
    assert_eq!(chip.violations(), [""; 0]);
    chip
}

#[test]
fn what_is_against_the_rules_is_found() {
    let pins = ChipPins::default();
    let activate = ChipPins {
        command: ACTIVATE,
        ..pins
    };
    let read = ChipPins {
        command: READ,
        ..pins
    };
    let write = ChipPins {
        command: WRITE,
        dq: Some(1),
        ..pins
    };
    let close = ChipPins {
        command: PRECHARGE,
        ..pins
    };
    let wait = |n: usize| vec![pins; n];
    let data = |n: usize| {
        vec![
            ChipPins {
                dq: Some(2),
                ..pins
            };
            n
        ]
    };
    let cases: Vec<(&str, Vec<ChipPins>)> = vec![
        ("while it is closed", vec![read]),
        (
            "opened twice",
            [vec![activate], wait(20), vec![activate]].concat(),
        ),
        ("tRCD", vec![activate, read]),
        ("tRRD", vec![activate, ChipPins { ba: 1, ..activate }]),
        ("tRAS", [vec![activate], wait(2), vec![close]].concat()),
        (
            "tRP",
            [vec![activate], wait(8), vec![close, activate]].concat(),
        ),
        (
            "tRC",
            [
                vec![activate],
                wait(4),
                vec![close],
                wait(0),
                vec![activate],
            ]
            .concat(),
        ),
        (
            "tRFC",
            vec![
                ChipPins {
                    command: REFRESH,
                    ..pins
                },
                pins,
                activate,
            ],
        ),
        (
            "bank is open",
            [
                vec![activate],
                wait(9),
                vec![ChipPins {
                    command: REFRESH,
                    ..pins
                }],
            ]
            .concat(),
        ),
        (
            "middle of a burst",
            [vec![activate], wait(9), vec![read, pins, close]].concat(),
        ),
        (
            "interrupted",
            [vec![activate], wait(9), vec![read, pins, read]].concat(),
        ),
        (
            "not driven",
            [vec![activate], wait(9), vec![write], wait(9)].concat(),
        ),
        (
            "tWR",
            [vec![activate], wait(9), vec![write], data(7), vec![close]].concat(),
        ),
        (
            "both ends drive",
            [vec![activate], wait(9), vec![read], data(9)].concat(),
        ),
        (
            "masked",
            [
                vec![activate],
                wait(9),
                vec![read, pins, ChipPins { dqm: 1, ..pins }],
                wait(9),
            ]
            .concat(),
        ),
        (
            "start of a burst",
            [vec![activate], wait(9), vec![ChipPins { a: 1, ..read }]].concat(),
        ),
        (
            "automatic precharge",
            [vec![activate], wait(9), vec![ChipPins { a: 0x400, ..read }]].concat(),
        ),
        (
            "not what this memory needs",
            vec![ChipPins {
                command: MODE,
                a: 0x22,
                ..pins
            }],
        ),
        ("too short for this clock", vec![]),
        (
            "terminated",
            vec![ChipPins {
                command: TERMINATE,
                ..pins
            }],
        ),
        ("refreshes of", wait(10_000)),
        ("does not exist", vec![]),
    ];
    for (said, sequence) in cases.into_iter().filter(|(_, s)| !s.is_empty()) {
        let mut chip = started();
        sequence.into_iter().for_each(|p| _ = chip.edge(p));
        assert!(
            chip.violations().iter().any(|v| v.contains(said)),
            "{said}: {:?}",
            chip.violations()
        );
    }
    let mut fast = Chip::new(CHIPS[0], 130_000);
    fast.edge(ChipPins {
        command: MODE,
        a: 0x23,
        ..pins
    });
    assert!(fast.violations().iter().any(|v| v.contains("too short")));
    assert!(fast
        .violations()
        .iter()
        .any(|v| v.contains("after power-on")));
    let mut small = Chip::new(CHIPS[1], 50_000);
    small.edge(ChipPins {
        a: 0x1000,
        ..activate
    });
    assert!(small
        .violations()
        .iter()
        .any(|v| v.contains("does not exist")));
}
