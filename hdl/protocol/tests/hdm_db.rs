//! HDM-DB rules against tables typed in by hand (cxl-mem 2.3, 2.4, 2.5, 2.6, 2.11 with 8.1).

use cxlmem_protocol::hdm_db::host::{
    after_write_back, granted, may_issue, on_snoop, replies, Handshake, Held, Pending, React,
    Reply, Row,
};
use cxlmem_protocol::hdm_db::*;
use cxlmem_protocol::msg::*;
use S2mNdrOpcode::{BiConflictAck as ACK, Cmp, CmpE, CmpS};

const SS: Policy = Policy {
    shared_gets_e: false,
    any_gets_e: false,
};
const SE: Policy = Policy {
    shared_gets_e: false,
    any_gets_e: true,
};
const ES: Policy = Policy {
    shared_gets_e: true,
    any_gets_e: false,
};
const EE: Policy = Policy {
    shared_gets_e: true,
    any_gets_e: true,
};

/// Codes of opcode, MetaField, MetaValue, SnpType as the wire has them; `None`: any code.
type Codes = (u8, u8, Option<u8>, Option<u8>);
/// Completion and directory afterwards.
type Cell = (S2mNdrOpcode, Dir);

const I: Dir = Dir::I;
const S: Dir = Dir::S;
const A: Dir = Dir::A;
const ANY: Option<u8> = None;

/// Rows 1-13 of cxl-mem 2.3: codes, data, and the cells of I, S and A under the policy Cmp-S for S, Cmp-E for MemRdData.
#[rustfmt::skip] // a table, read by column
const REQUESTS: [(&str, Codes, bool, [Cell; 3]); 17] = [
    ("1", (1, 0, Some(2), Some(3)), true, [(CmpE, A), (CmpE, A), (CmpE, A)]),
    ("2", (1, 0, Some(3), Some(1)), true, [(CmpS, S), (CmpS, S), (CmpS, S)]),
    ("3", (1, 0, Some(0), Some(3)), true, [(Cmp, I), (Cmp, I), (Cmp, I)]),
    ("4", (1, 0, Some(0), Some(2)), true, [(Cmp, I), (Cmp, I), (Cmp, I)]),
    ("5", (1, 3, ANY, Some(3)), true, [(Cmp, I), (Cmp, S), (Cmp, A)]),
    ("6", (1, 3, ANY, Some(2)), true, [(Cmp, I), (Cmp, S), (Cmp, A)]),
    ("7", (1, 3, ANY, Some(0)), true, [(Cmp, I), (Cmp, S), (Cmp, A)]),
    ("8", (2, 3, ANY, Some(1)), true, [(CmpE, A), (CmpE, A), (CmpE, A)]),
    ("9", (0, 0, Some(2), Some(3)), false, [(CmpE, A), (CmpE, A), (CmpE, A)]),
    ("9 NT", (9, 0, Some(2), Some(3)), false, [(CmpE, A), (CmpE, A), (CmpE, A)]),
    ("10", (0, 0, Some(3), Some(1)), false, [(CmpS, S), (CmpS, S), (CmpS, S)]),
    ("10 NT", (9, 0, Some(3), Some(1)), false, [(CmpS, S), (CmpS, S), (CmpS, S)]),
    ("11", (0, 0, Some(0), Some(3)), false, [(Cmp, I), (Cmp, I), (Cmp, I)]),
    ("11 NT", (9, 0, Some(0), Some(3)), false, [(Cmp, I), (Cmp, I), (Cmp, I)]),
    ("12", (0, 3, ANY, Some(3)), false, [(Cmp, I), (Cmp, S), (Cmp, A)]),
    ("12 NT", (9, 3, ANY, Some(3)), false, [(Cmp, I), (Cmp, S), (Cmp, A)]),
    ("13", (10, 0, Some(0), Some(0)), false, [(Cmp, I), (Cmp, I), (Cmp, I)]),
];

/// Where the other policies differ: row, policy, cells.
#[rustfmt::skip] // a table, read by column
const POLICIES: [(&str, Policy, [Cell; 3]); 9] = [
    ("2", EE, [(CmpE, A), (CmpS, S), (CmpE, A)]),
    ("2", ES, [(CmpE, A), (CmpS, S), (CmpE, A)]),
    ("2", SS, [(CmpS, S), (CmpS, S), (CmpS, S)]),
    ("10", EE, [(CmpE, A), (CmpS, S), (CmpE, A)]),
    ("10", ES, [(CmpE, A), (CmpS, S), (CmpE, A)]),
    ("10", SS, [(CmpS, S), (CmpS, S), (CmpS, S)]),
    ("8", EE, [(CmpE, A), (CmpE, A), (CmpE, A)]),
    ("8", ES, [(CmpS, S), (CmpS, S), (CmpS, S)]),
    ("8", SS, [(CmpS, S), (CmpS, S), (CmpS, S)]),
];

/// Rows 20-25 of cxl-mem 2.3 and G-04: codes, byte enables, write, completion, directory after I, S, A, logged from I and S.
#[allow(clippy::type_complexity)]
#[rustfmt::skip] // a table, read by column
const WRITES: [(&str, Codes, bool, Write, S2mNdrOpcode, [Dir; 3], bool); 7] = [
    ("20", (1, 0, Some(2), Some(0)), false, Write::Full, Cmp, [A, A, A], true),
    ("21", (1, 0, Some(3), Some(0)), false, Write::Full, Cmp, [S, S, S], true),
    ("22", (1, 0, Some(0), Some(0)), false, Write::Full, Cmp, [I, I, I], true),
    ("G-04", (1, 3, ANY, Some(0)), false, Write::Full, Cmp, [I, S, A], false),
    ("23", (1, 0, Some(0), Some(3)), false, Write::Full, Cmp, [I, I, I], false),
    ("24", (2, 0, Some(0), Some(3)), true, Write::Merge, Cmp, [I, I, I], false),
    // BIConflict is answered whatever its other fields say; these are the ones with names.
    ("25", (4, 3, Some(0), Some(0)), false, Write::None, ACK, [I, S, A], false),
];

fn fits(codes: Codes, op: u8, field: u8, value: u8, snoop: u8) -> bool {
    codes.0 == op
        && codes.1 == field
        && codes.2.is_none_or(|v| v == value)
        && codes.3.is_none_or(|s| s == snoop)
}

fn req(codes: Codes) -> Request {
    Request {
        op: Op::Req(M2sReqOpcode::from_code(codes.0.into()).unwrap()),
        meta_field: MetaField::from_code(codes.1.into()).unwrap(),
        meta_value: MetaValue::from_code(codes.2.unwrap_or(1).into()).unwrap(),
        snp_type: SnpType::from_code(codes.3.unwrap_or(0).into()).unwrap(),
    }
}

fn rwd(codes: Codes) -> Request {
    Request {
        op: Op::Rwd(M2sRwdOpcode::from_code(codes.0.into()).unwrap()),
        ..req((0, codes.1, codes.2, codes.3))
    }
}

fn act(step: Step) -> Action {
    match step {
        Step::Act(action) => action,
        Step::Stall => panic!("stalls"),
    }
}

#[test]
fn each_req_in_each_state() {
    for (row, codes, data, cells) in REQUESTS {
        let others = POLICIES.iter().filter(|p| p.0 == row).map(|p| (p.1, p.2));
        for (policy, cells) in std::iter::once((SE, cells)).chain(others) {
            for (dir, (ndr, after)) in Dir::ALL.into_iter().zip(cells) {
                for phase in [Phase::Stable, Phase::Overdue] {
                    let line = Line { dir, phase };
                    let want = Action {
                        ndr: Some(ndr),
                        drs: data.then_some(S2mDrsOpcode::MemData),
                        data: if data { Data::Memory } else { Data::None },
                        meta: (codes.1 == 0).then_some(dir),
                        write: Write::None,
                        next: Line { dir: after, phase },
                        violation: None,
                        nxm: false,
                    };
                    let got = request(line, req(codes).rule(), Place::Hit, policy);
                    assert_eq!(got, Step::Act(want), "row {row} in {line:?}, {policy:?}");
                }
                for access in Local::ALL {
                    let phase = Phase::Wait(access);
                    let got = request(Line { dir, phase }, req(codes).rule(), Place::Hit, policy);
                    assert_eq!(got, Step::Stall, "row {row} in {dir:?}, {phase:?}");
                }
            }
        }
    }
    assert_eq!(Policy::default(), SE);
}

#[test]
fn a_hint_changes_nothing_and_never_waits() {
    for dir in Dir::ALL {
        for phase in Phase::ALL {
            for snoop in 0..8 {
                for field in 0..4 {
                    let rule = req_rule(8, field, 1, snoop);
                    assert!(rule.legal && rule.silent && !rule.data && rule.next == Next::Keep);
                }
            }
            let line = Line { dir, phase };
            for place in [Place::Hit, Place::Miss, Place::Outstanding] {
                let got = act(request(line, req((8, 3, ANY, Some(0))).rule(), place, SE));
                assert_eq!((got.ndr, got.drs, got.next), (None, None, line));
                assert_eq!((got.violation, got.nxm), (None, false));
            }
        }
    }
}

#[test]
fn each_rwd_in_each_state() {
    for (row, codes, _, write, ndr, after, logged) in WRITES {
        for (dir, after) in Dir::ALL.into_iter().zip(after) {
            for phase in Phase::ALL {
                let snooped = matches!(phase, Phase::Wait(_));
                let violation = match row {
                    "25" if !snooped => Some(Violation::StrayConflict),
                    _ if logged && dir != A => Some(Violation::UnownedWrite),
                    _ => None,
                };
                let want = Action {
                    ndr: Some(ndr),
                    drs: None,
                    data: Data::None,
                    meta: None,
                    write,
                    next: Line { dir: after, phase },
                    violation,
                    nxm: false,
                };
                let got = request(Line { dir, phase }, rwd(codes).rule(), Place::Hit, SE);
                assert_eq!(got, Step::Act(want), "row {row} in {dir:?}, {phase:?}");
            }
        }
    }
}

/// Every code of every field, reserved ones too: legal is what the tables above have, and nothing else.
#[test]
fn all_encodings_are_legal_or_refused() {
    for word in 0..1u16 << 12 {
        let field = |at: u32, width: u32| (word >> at & ((1 << width) - 1)) as u8;
        let (op, mf, mv, snp) = (field(0, 4), field(4, 2), field(6, 2), field(8, 3));
        let be = field(11, 1) != 0;
        let rule = req_rule(op, mf, mv, snp);
        let row = REQUESTS.iter().find(|r| fits(r.1, op, mf, mv, snp));
        assert_eq!(rule.legal, row.is_some() || op == 8, "Req {word:#x}");
        assert_eq!(rule.silent, op == 8 || op == 12);
        assert_eq!(rule.data, [1, 2, 5, 6].contains(&op));
        assert!(!rule.rwd && !rule.conflict && !rule.owner && rule.write == Write::None);
        assert_eq!(rule.meta, row.is_some_and(|r| r.1 .1 == 0));
        assert!(rule.legal || rule.next == Next::Keep);

        let rule = rwd_rule(op, mf, mv, snp, be);
        let row = WRITES
            .iter()
            .find(|r| r.2 == be && fits(r.1, op, mf, mv, snp));
        let conflict = op == 4 && !be;
        assert_eq!(rule.legal, row.is_some() || conflict, "RwD {word:#x}");
        assert_eq!(rule.conflict, conflict);
        assert!(rule.rwd && !rule.silent && !rule.data && !rule.meta);
        assert_eq!(rule.owner, row.is_some_and(|r| r.6));
        let write = row.map_or(Write::None, |r| r.3);
        assert_eq!(rule.write, write);
        assert!(rule.legal || rule.next == Next::Keep);
    }
    for code in 0..=255 {
        let dir = Dir::from_code(code);
        assert!([0, 2, 3].contains(&dir.code()));
        assert_eq!(dir.code() == code & 3, code & 3 != 1);
    }
    assert_eq!(Dir::from_code(1), A);
}

/// Every named request in every state, place and policy: an answer, and nothing happens that was not asked for.
#[test]
fn every_request_is_answered() {
    let reqs = M2sReqOpcode::ALL.iter().map(|o| Op::Req(*o));
    let rwds = M2sRwdOpcode::ALL.iter().map(|o| Op::Rwd(*o));
    let mut cells = 0;
    for op in reqs.chain(rwds) {
        for (mf, mv, snp) in combinations() {
            for dir in Dir::ALL {
                for phase in Phase::ALL {
                    for place in [Place::Hit, Place::Miss, Place::Outstanding] {
                        for policy in [SS, SE, ES, EE] {
                            cells += 1;
                            let asked = Request {
                                op,
                                meta_field: mf,
                                meta_value: mv,
                                snp_type: snp,
                            };
                            check_answer(Line { dir, phase }, asked, place, policy);
                        }
                    }
                }
            }
        }
    }
    println!("{cells} cells");
    assert_eq!(cells, 19 * 3 * 4 * 4 * 3 * 6 * 3 * 4);
}

fn combinations() -> impl Iterator<Item = (MetaField, MetaValue, SnpType)> {
    MetaField::ALL.iter().flat_map(|mf| {
        MetaValue::ALL
            .iter()
            .flat_map(move |mv| SnpType::ALL.iter().map(move |snp| (*mf, *mv, *snp)))
    })
}

fn check_answer(line: Line, asked: Request, place: Place, policy: Policy) {
    let rule = asked.rule();
    let is_req = matches!(asked.op, Op::Req(_));
    let got = match request(line, rule, place, policy) {
        Step::Stall => {
            let waits = matches!(line.phase, Phase::Wait(_));
            assert!(is_req && waits && rule.legal && !rule.silent && place == Place::Hit);
            return;
        }
        Step::Act(got) => got,
    };
    let what = format!("{asked:?} in {line:?}, {place:?}");
    assert_eq!(got.next.phase, line.phase, "{what}");
    // One completion, or the one DRS that closes an undecoded read.
    let closed_by_data = place == Place::Miss && rule.legal && rule.data;
    assert_eq!(got.ndr.is_some(), !rule.silent && !closed_by_data, "{what}");
    assert_eq!(got.drs.is_some(), rule.data, "{what}");
    assert_eq!(got.ndr == Some(ACK), rule.conflict, "{what}");
    assert_eq!(got.nxm, rule.legal && place == Place::Miss && !rule.silent);
    // Never more granted than recorded.
    match got.ndr {
        Some(CmpE) => assert_eq!(got.next.dir, A, "{what}"),
        Some(CmpS) => assert_eq!(got.next.dir, S, "{what}"),
        _ => {}
    }
    let served = rule.legal && place == Place::Hit;
    if !served {
        assert_eq!(
            (got.next, got.write, got.meta),
            (line, Write::None, None),
            "{what}"
        );
        assert_ne!(got.data, Data::Memory, "{what}");
        assert!(matches!(got.ndr, None | Some(Cmp | ACK)), "{what}");
    }
    let data = match (rule.data, rule.legal, place) {
        (false, ..) => Data::None,
        (_, false, _) | (_, _, Place::Outstanding) => Data::AllOnesPoisoned,
        (_, _, Place::Miss) => Data::AllOnes,
        _ => Data::Memory,
    };
    assert_eq!(got.data, data, "{what}");
    if !rule.legal {
        assert_eq!(got.violation, Some(Violation::IllegalRequest), "{what}");
    } else if place == Place::Outstanding && !rule.conflict && !rule.silent {
        assert_eq!(got.violation, Some(Violation::SecondRequest), "{what}");
    }
}

#[test]
fn device_accesses() {
    use Local::{Evict, ReadCurrent, ReadData, Write as WriteLine};
    use S2mBiSnpOpcode::{BiSnpCur, BiSnpData, BiSnpInv};
    // Access; served at once from I, S, A; its snoop else.
    for (access, at_once, kind) in [
        (ReadCurrent, [true, true, false], BiSnpCur),
        (ReadData, [true, true, false], BiSnpData),
        (WriteLine, [true, false, false], BiSnpInv),
        (Evict, [true, false, false], BiSnpInv),
    ] {
        for (dir, at_once) in Dir::ALL.into_iter().zip(at_once) {
            let stable = Line {
                dir,
                phase: Phase::Stable,
            };
            let wait = Line {
                dir,
                phase: Phase::Wait(access),
            };
            let overdue = Line {
                dir,
                phase: Phase::Overdue,
            };
            let (free, behind, late) = if at_once {
                (LocalStep::Serve, LocalStep::Serve, LocalStep::Serve)
            } else {
                let snoop = LocalStep::Snoop(kind, wait);
                (snoop, LocalStep::Stall, LocalStep::Fail)
            };
            assert_eq!(local(stable, access, false), free, "{access:?} {dir:?}");
            assert_eq!(local(stable, access, true), behind, "{access:?} {dir:?}");
            assert_eq!(local(overdue, access, false), late, "{access:?} {dir:?}");
            for other in Local::ALL {
                let phase = Phase::Wait(other);
                for stalled in [false, true] {
                    let got = local(Line { dir, phase }, access, stalled);
                    assert_eq!(got, LocalStep::Stall);
                }
            }
            assert_eq!(timeout(wait), (overdue, Some(Outcome::Fail(access))));
            assert_eq!(timeout(stable), (stable, None));
            assert_eq!(timeout(overdue), (overdue, None));
        }
    }
}

#[test]
fn answers_to_snoops() {
    use M2sBiRspOpcode::{BiRspE, BiRspI, BiRspS};
    // Access; whether it goes on after I, S, E.
    for (access, goes_on) in [
        (Local::ReadCurrent, [true, true, true]),
        (Local::ReadData, [true, true, false]),
        (Local::Write, [true, false, false]),
        (Local::Evict, [true, false, false]),
    ] {
        for dir in Dir::ALL {
            let wait = Line {
                dir,
                phase: Phase::Wait(access),
            };
            for ((birsp, after), goes_on) in [(BiRspI, I), (BiRspS, S), (BiRspE, A)]
                .into_iter()
                .zip(goes_on)
            {
                let got = answer(wait, birsp);
                let (outcome, violation) = if goes_on {
                    (Outcome::Serve(access), None)
                } else {
                    (Outcome::Fail(access), Some(Violation::KeptTooMuch))
                };
                let next = Line {
                    dir: after,
                    phase: Phase::Stable,
                };
                assert_eq!((got.next, got.outcome), (next, Some(outcome)), "{birsp:?}");
                assert_eq!(got.violation, violation);
                // Nothing waits for it: the record stays, and the line can be snooped again.
                for phase in [Phase::Stable, Phase::Overdue] {
                    let got = answer(Line { dir, phase }, birsp);
                    let next = Line {
                        dir,
                        phase: Phase::Stable,
                    };
                    assert_eq!((got.next, got.outcome), (next, None));
                    assert_eq!(got.violation, Some(Violation::StrayAnswer));
                }
            }
        }
    }
    for dir in Dir::ALL {
        for phase in Phase::ALL {
            for code in 4..=6 {
                let line = Line { dir, phase };
                let got = answer(line, M2sBiRspOpcode::from_code(code).unwrap());
                assert_eq!((got.next, got.outcome), (line, None));
                assert_eq!(got.violation, Some(Violation::BlockAnswer));
            }
        }
    }
}

#[test]
fn host_replies() {
    use M2sBiRspOpcode::{BiRspE, BiRspI, BiRspS};
    use MetaValue as V;
    use Reply::{Answer, WriteBack};
    use S2mBiSnpOpcode::{BiSnpCur, BiSnpData, BiSnpInv};
    let give_up = Answer(BiRspI, Held::I);
    let share = Answer(BiRspS, Held::S);
    for (snoop, held, want) in [
        (BiSnpInv, Held::I, vec![give_up]),
        (BiSnpInv, Held::S, vec![give_up]),
        (BiSnpInv, Held::E, vec![give_up]),
        (BiSnpInv, Held::M, vec![WriteBack(V::I)]),
        (BiSnpData, Held::I, vec![give_up]),
        (BiSnpData, Held::S, vec![share, give_up]),
        (BiSnpData, Held::E, vec![share, give_up]),
        (BiSnpData, Held::M, vec![WriteBack(V::S), WriteBack(V::I)]),
        (BiSnpCur, Held::I, vec![give_up]),
        (BiSnpCur, Held::S, vec![share]),
        (BiSnpCur, Held::E, vec![Answer(BiRspE, Held::E)]),
        (
            BiSnpCur,
            Held::M,
            vec![WriteBack(V::A), WriteBack(V::S), WriteBack(V::I)],
        ),
    ] {
        assert_eq!(replies(snoop, held), want, "{snoop:?} {held:?}");
        for code in 4..=6 {
            let block = S2mBiSnpOpcode::from_code(code).unwrap();
            assert!(replies(block, held).is_empty());
        }
    }
    assert_eq!(after_write_back(Some(V::A)), Held::E);
    assert_eq!(after_write_back(Some(V::S)), Held::S);
    assert_eq!(after_write_back(Some(V::I)), Held::I);
    assert_eq!(after_write_back(None), Held::E);
}

/// Row; may be issued from I, S, E, M; what its completions Cmp, Cmp-S, Cmp-E let the agent hold ("=": what it held).
#[test]
fn host_requests() {
    let rows = [
        (Row::RdA, "IS", "..E"),
        (Row::RdS, "IS", ".SE"),
        (Row::RdIInv, "I", "=.."),
        (Row::RdICur, "I", "=.."),
        (Row::RdKeepInv, "ISE", "=.."),
        (Row::RdKeepCur, "ISE", "=.."),
        (Row::RdKeep, "ISE", "=.."),
        (Row::RdData, "IS", ".SE"),
        (Row::InvA, "IS", "..E"),
        (Row::InvS, "IS", ".SE"),
        (Row::InvI, "I", "=.."),
        (Row::InvKeep, "ISE", "=.."),
        (Row::ClnEvct, "SE", "=.."),
        (Row::SpecRd, "ISEM", "=.."),
        (Row::WrA, "M", "=.."),
        (Row::WrS, "M", "=.."),
        (Row::WrI, "M", "=.."),
        (Row::WrKeep, "M", "=.."),
        (Row::WrNew, "I", "=.."),
        (Row::WrPtl, "I", "=.."),
    ];
    let all = [Held::I, Held::S, Held::E, Held::M];
    for (n, (row, from, grants)) in rows.into_iter().enumerate() {
        assert_eq!((row, row as usize), (Row::ALL[n], n));
        let asked = row.request();
        assert!(asked.rule().legal, "{row:?}");
        for (held, letter) in all.into_iter().zip(["I", "S", "E", "M"]) {
            let may = from.contains(letter);
            assert_eq!(may_issue(asked, held, true), may, "{row:?} from {held:?}");
            let part = may && row != Row::InvA;
            assert_eq!(may_issue(asked, held, false), part, "{row:?} from {held:?}");
            for (ndr, grant) in [Cmp, CmpS, CmpE].into_iter().zip(grants.chars()) {
                let want = match grant {
                    '=' => Some(held),
                    'S' => Some(Held::S),
                    'E' => Some(Held::E),
                    _ => None,
                };
                assert_eq!(granted(asked, held, ndr), want, "{row:?} {ndr:?}");
            }
            assert_eq!(granted(asked, held, ACK), None);
        }
    }
    let conflict = rwd((4, 3, Some(0), Some(0)));
    let illegal = req((1, 0, Some(2), Some(1)));
    for held in all {
        assert!(!may_issue(conflict, held, true) && !may_issue(illegal, held, true));
    }
}

#[test]
fn conflict_handshake() {
    use Handshake::{Both, Early, Late, Sent};
    for (state, ack, cmp) in [
        (Sent, Some(Early), Some(Late)),
        (Early, None, Some(Both)),
        (Late, Some(Both), None),
        (Both, None, None),
    ] {
        assert_eq!((state.acked(), state.completed()), (ack, cmp), "{state:?}");
    }
    let pending = |write, completed, data_missing| {
        Some(Pending {
            write,
            completed,
            data_missing,
        })
    };
    let req = pending(false, false, false);
    let read = pending(false, false, true);
    let granted = pending(false, true, true);
    let write = pending(true, false, false);
    for (pending, handshake, want) in [
        (None, None, React::Answer),
        (req, None, React::Conflict),
        (read, None, React::Conflict),
        (write, None, React::Conflict),
        // Granted, its data on the way: late without a handshake.
        (granted, None, React::Wait),
        (req, Some(Sent), React::Wait),
        (read, Some(Sent), React::Wait),
        (write, Some(Sent), React::Wait),
        (req, Some(Early), React::Answer),
        (read, Some(Early), React::Answer),
        (write, Some(Early), React::Wait),
        (None, Some(Late), React::Wait),
        (granted, Some(Late), React::Wait),
        (None, Some(Both), React::Answer),
        (granted, Some(Both), React::Wait),
    ] {
        assert_eq!(
            on_snoop(pending, handshake),
            want,
            "{pending:?} {handshake:?}"
        );
    }
}

#[test]
fn every_violation_says_what_to_do() {
    use Violation::*;
    for violation in [
        IllegalRequest,
        SecondRequest,
        UnownedWrite,
        StrayConflict,
        StrayAnswer,
        KeptTooMuch,
        BlockAnswer,
    ] {
        let text = violation.to_string();
        let (what, next) = text.split_once(';').unwrap_or_default();
        assert!(what.starts_with("HDM-DB: ") && next.len() > 10, "{text}");
    }
}
