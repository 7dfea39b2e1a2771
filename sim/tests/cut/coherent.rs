//! Device-coherent memory, the home agent played by hand: messages, snoops, the line port and the engine.

use super::hand::{word, Hand, Ring};
use super::link::{beats, Cut, Cutter};
use super::{seeds, Tally};
use cxlmem_protocol::engine::{Completion, Descriptor, Opcode, Status};
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::msg::{M2sBiRspOpcode, S2mNdrOpcode};
use cxlmem_protocol::regs;
use cxlmem_sim::port::{Keep, PortDone, PortError, PortOp};
use cxlmem_sim::rng::Rng;
use std::cmp::Ordering;

type Line = [u8; 64];

/// Cycles in which a caller has its outcome, whatever was cut: twice the snoop's time-out, and the retries of a stuck wire.
const BOUND: u64 = 30_000;
/// SnoopTimeout, cycles.
const PATIENCE: u32 = 2_000;
/// First line of a transaction; the engine's take four.
const AT: u64 = 16;
const LINES: usize = 4;
/// Tags of the transaction's own request, and of a write-back before an answer.
const TAG: u16 = 50;
const DIRTY: u16 = 51;
const ENABLES: u64 = 0xFF00_0FF0_F0F0_00FF;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The host reads to own.
    Read,
    /// The host writes back what it owns.
    Write,
    /// The host writes some bytes of what nobody holds.
    WritePartial,
    /// The port loads what the host holds dirty: BISnp, write-back, BIRsp.
    LoadDirty,
    /// The port stores to what the host holds clean: BISnp, BIRsp.
    Store,
    /// The port stores while the host asks to own the same line: BISnp, Req, BIConflict, BI-ConflictAck, BIRsp.
    Conflict,
    /// An atomic of the port on what the host holds.
    FetchAdd,
    /// The engine, with two of four lines at the host.
    CopyToDevice,
    CopyToHost,
    Fill,
    EngineAdd,
}

impl Kind {
    const ALL: [Self; 11] = [
        Self::Read,
        Self::Write,
        Self::WritePartial,
        Self::LoadDirty,
        Self::Store,
        Self::Conflict,
        Self::FetchAdd,
        Self::CopyToDevice,
        Self::CopyToHost,
        Self::Fill,
        Self::EngineAdd,
    ];

    fn of_engine(self) -> Option<Opcode> {
        Some(match self {
            Self::CopyToDevice => Opcode::CopyToDevice,
            Self::CopyToHost => Opcode::CopyToHost,
            Self::Fill => Opcode::Fill,
            Self::EngineAdd => Opcode::FetchAdd,
            _ => return None,
        })
    }

    fn of_host(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::WritePartial)
    }

    fn lines(self) -> usize {
        match self {
            Self::CopyToDevice | Self::CopyToHost | Self::Fill => LINES,
            _ => 1,
        }
    }

    /// Cycles in which all of it happens, and some more.
    fn span(self) -> u64 {
        match self {
            Self::Read | Self::Write | Self::WritePartial => 60,
            Self::LoadDirty | Self::Conflict => 160,
            Self::Store | Self::FetchAdd => 110,
            Self::CopyToDevice | Self::CopyToHost | Self::Fill => 500,
            Self::EngineAdd => 350,
        }
    }

    /// What the line becomes.
    fn after(self, old: &Line) -> Line {
        let mut new = *old;
        match self {
            Self::Read | Self::CopyToHost => {}
            Self::WritePartial => {
                for n in (0..64).filter(|n| ENABLES >> n & 1 == 1) {
                    new[n] = !old[n];
                }
            }
            Self::FetchAdd | Self::EngineAdd => {
                let sum = word(old, 2).wrapping_add(1);
                new[16..24].copy_from_slice(&sum.to_le_bytes());
            }
            _ => new = old.map(|b| !b),
        }
        new
    }
}

/// What the caller was told.
#[derive(Debug)]
enum Outcome {
    /// The host's own: whether its completion came.
    Host(bool),
    Port(PortDone),
    Engine(Completion),
}

/// Where a transaction stands.
struct Running {
    kind: Kind,
    old: Line,
    new: Line,
    ring: Option<Ring>,
    bus: u64,
    /// The snoop that waits for its write-back or its conflict's ack.
    snooped: Option<cxlmem_protocol::msg::S2mBiSnp>,
    outcome: Option<Outcome>,
}

impl Running {
    /// Brings lines and caches to where it starts, and starts it.
    fn start(h: &mut Hand, kind: Kind, bus: u64, value: u8) -> Self {
        let old = std::array::from_fn(|n| value ^ (n as u8 & 8));
        let new = kind.after(&old);
        for line in AT..AT + kind.lines() as u64 {
            h.port(line, PortOp::Store(old, u64::MAX));
            let done = outcome_of_port(h);
            assert_eq!(done.result, Ok(()));
        }
        let held: &[(Row, u64)] = match kind {
            Kind::Read | Kind::WritePartial => &[],
            Kind::Conflict => &[(Row::RdS, AT)],
            Kind::CopyToDevice | Kind::CopyToHost | Kind::Fill => {
                &[(Row::RdA, AT + 1), (Row::RdA, AT + 3)]
            }
            _ => &[(Row::RdA, AT)],
        };
        for (row, line) in held {
            h.take(*row, *line);
        }
        let mut ring = None;
        match kind {
            Kind::Read => h.send(Row::RdA, AT, TAG, [0; 64]),
            Kind::Write => h.send(Row::WrI, AT, TAG, new),
            Kind::WritePartial => h.send_some(Row::WrPtl, AT, TAG, new, ENABLES),
            Kind::LoadDirty => h.port(AT, PortOp::Load(Keep::Nothing)),
            Kind::Store | Kind::Conflict => h.port(AT, PortOp::Store(new, u64::MAX)),
            Kind::FetchAdd => h.port(AT, PortOp::FetchAdd { word: 2, add: 1 }),
            Kind::CopyToDevice | Kind::CopyToHost | Kind::Fill | Kind::EngineAdd => {
                let content = if kind == Kind::CopyToDevice {
                    new
                } else {
                    [0; 64]
                };
                for n in 0..LINES as u64 {
                    h.s.dma_write(bus + 64 * n, &content).unwrap();
                }
                let copies = matches!(kind, Kind::CopyToDevice | Kind::CopyToHost);
                let add = kind == Kind::EngineAdd;
                let d = Descriptor {
                    opcode: kind.of_engine().unwrap() as u8,
                    count: if add { 1 } else { 64 * LINES as u32 },
                    dev_addr: 64 * AT + if add { 16 } else { 0 },
                    host_addr: if copies { bus } else { 0 },
                    arg: match kind {
                        Kind::Fill => word(&new, 0),
                        Kind::EngineAdd => 1,
                        _ => 0,
                    },
                    ..Default::default()
                };
                ring = Some(Ring::start(&mut h.s, &d));
            }
        }
        // A pattern of one word cannot be what a line with two kinds of words becomes.
        let new = match kind {
            Kind::Fill => std::array::from_fn(|n| new[n % 8]),
            _ => new,
        };
        Self {
            kind,
            old,
            new,
            ring,
            bus,
            snooped: None,
            outcome: None,
        }
    }

    /// A cycle in which everybody does what it should.
    fn play(&mut self, h: &mut Hand) {
        h.step();
        if let Some(snoop) = h.snoops.pop() {
            match self.kind {
                Kind::LoadDirty => {
                    h.send(Row::WrI, AT, DIRTY, self.new);
                    self.snooped = Some(snoop);
                }
                Kind::Conflict => {
                    h.send(Row::RdA, AT, TAG, [0; 64]);
                    h.conflict(AT, TAG);
                    self.snooped = Some(snoop);
                }
                _ => h.answer(&snoop, M2sBiRspOpcode::BiRspI),
            }
        }
        let may_answer = |n: &cxlmem_protocol::msg::S2mNdr| {
            n.tag == DIRTY || n.opcode == S2mNdrOpcode::BiConflictAck
        };
        if self.snooped.is_some() && h.ndrs.iter().any(may_answer) {
            h.ndrs.retain(|n| n.opcode != S2mNdrOpcode::BiConflictAck);
            if let Some(snoop) = self.snooped.take() {
                h.answer(&snoop, M2sBiRspOpcode::BiRspI);
            }
        }
        self.look(h);
    }

    /// A cycle after the cut: the host has forgotten what it was doing, and gives up what it is asked for.
    fn forget(&mut self, h: &mut Hand) {
        h.step();
        give_up(h);
        self.look(h);
    }

    fn look(&mut self, h: &mut Hand) {
        if self.outcome.is_some() {
            return;
        }
        self.outcome = if let Some(ring) = &self.ring {
            ring.poll(&h.s).map(Outcome::Engine)
        } else if self.kind.of_host() {
            self.completed(h).then_some(Outcome::Host(true))
        } else {
            h.s.port_mut().poll().map(Outcome::Port)
        };
    }

    fn completed(&self, h: &Hand) -> bool {
        let ndr = h.ndrs.iter().any(|n| n.tag == TAG);
        ndr && (self.kind != Kind::Read || h.drss.iter().any(|d| d.0 == TAG))
    }
}

fn give_up(h: &mut Hand) {
    while let Some(snoop) = h.snoops.pop() {
        h.answer(&snoop, M2sBiRspOpcode::BiRspI);
    }
}

/// The outcome of the port's access, whatever it takes from the host.
fn outcome_of_port(h: &mut Hand) -> PortDone {
    for _ in 0..BOUND {
        h.step();
        give_up(h);
        if let Some(done) = h.s.port_mut().poll() {
            return done;
        }
    }
    panic!("the port's access does not end");
}

/// One transaction, cut `offset` cycles after its start.
fn cut_once(
    h: &mut Hand,
    cutter: &Cutter,
    kind: Kind,
    bus: u64,
    offset: u64,
    rng: &mut Rng,
) -> Tally {
    let cut = cutter.cut;
    let mut r = Running::start(h, kind, bus, rng.next_u64() as u8);
    let reinits = h.s.link().counters().reinits;
    for _ in 0..offset {
        r.play(h);
    }
    cutter.begin(&mut h.s, 1 + rng.below(3_000));
    let before_cut = h.s.now();
    if !cut.loses_nothing() {
        // What has come counts; what was to be answered is forgotten with the link.
        h.gather();
        r.look(h);
        h.snoops.clear();
        r.snooped = None;
        if kind.of_host() && r.outcome.is_none() {
            if let Cut::Stuck(_) = cut {
                // The host's own time-out; nothing comes any more.
                h.s.run(u64::from(PATIENCE));
                h.gather();
                assert!(!r.completed(h), "through a stuck wire");
            }
            r.outcome = Some(Outcome::Host(false));
        }
        if cut == Cut::Restart {
            cutter.end(&mut h.s);
        }
    }
    while r.outcome.is_none() {
        if cut.loses_nothing() {
            r.play(h);
        } else {
            r.forget(h);
        }
        let took = h.s.now() - before_cut;
        assert!(
            took < BOUND,
            "{kind:?}, {cut:?}, {offset}: no outcome after {took} cycles"
        );
    }
    if matches!(cut, Cut::Off | Cut::Stuck(_)) {
        h.snoops.clear();
        cutter.end(&mut h.s);
    }
    if kind == Kind::Conflict && cut.loses_nothing() {
        assert_eq!(h.data(TAG), r.new, "the store went first");
        h.ndr(TAG);
    }
    for _ in 0..200 {
        h.step();
        give_up(h);
    }
    h.ndrs.clear();
    h.drss.clear();
    let mut tally = r.check(h, &format!("{kind:?}, {cut:?}, {offset}"), cut);
    tally.reinits = h.s.link().counters().reinits - reinits;
    if let Some(ring) = r.ring.take() {
        ring.free(&mut h.s);
    }
    tally
}

impl Running {
    /// Compares memory with what the caller was told.
    fn check(&mut self, h: &mut Hand, what: &str, cut: Cut) -> Tally {
        let (kind, old, new) = (self.kind, self.old, self.new);
        let outcome = self.outcome.take().unwrap();
        let mut got = Vec::new();
        for n in 0..kind.lines() as u64 {
            h.port(AT + n, PortOp::Load(Keep::All));
            let done = outcome_of_port(h);
            assert_eq!(done.result, Ok(()), "{what}: reading line {n} afterwards");
            got.push(done.data);
        }
        let state = |line: &Line| {
            beats(line, &old, &new)
                .unwrap_or_else(|| panic!("{what}: {line:?} is neither {old:?} nor {new:?}"))
        };
        let mut tally = Tally::default();
        let (done, must) = match &outcome {
            // Whether an unanswered write of the host happened is not known.
            Outcome::Host(done) => (*done, done.then_some(kind.lines())),
            Outcome::Port(done) => match done.result {
                Ok(()) if kind == Kind::LoadDirty => {
                    // The value that it gave is the one that stays.
                    assert_eq!(done.data, got[0], "{what}");
                    (true, None)
                }
                Ok(()) => (true, Some(1)),
                // The write-back before the answer may have happened.
                Err(PortError::NotReleased) if kind == Kind::LoadDirty => (false, None),
                Err(PortError::NotReleased) => (false, Some(0)),
                Err(e) => panic!("{what}: {e}"),
            },
            Outcome::Engine(c) => {
                let unit = if kind == Kind::EngineAdd { 8 } else { 64 };
                match Status::from_code(c.status) {
                    Some(Status::Ok) => (true, Some(kind.lines())),
                    Some(Status::NotReleased) => (false, Some(c.done as usize / unit)),
                    other => panic!("{what}: {other:?}"),
                }
            }
        };
        if cut.loses_nothing() {
            assert!(done, "{what}: {outcome:?}");
        }
        let states: Vec<_> = got.iter().map(state).collect();
        if let Some(moved) = must {
            for (n, line) in got.iter().enumerate() {
                let want = match n.cmp(&moved) {
                    Ordering::Less => &new,
                    Ordering::Equal => &old,
                    // Lines after the one that was refused may have gone before it, each whole.
                    Ordering::Greater => [&old, &new][usize::from(*line == new)],
                };
                assert_eq!(
                    line, want,
                    "{what}: line {n} of which {moved} are done; {outcome:?}"
                );
            }
            if kind == Kind::CopyToHost {
                let mut copied = vec![0; 64 * LINES];
                h.s.dma_read(self.bus, &mut copied).unwrap();
                for (n, line) in copied.chunks(64).enumerate() {
                    let whole = line == old || n > moved && line == [0; 64];
                    let refused = n == moved && line == [0; 64];
                    assert!(
                        whole && n != moved || refused,
                        "{what}: copied line {n}; {outcome:?}"
                    );
                }
            }
        }
        tally.done = u64::from(done);
        tally.failed = u64::from(!done);
        if !done {
            let any = |f: fn(&(usize, usize)) -> bool| states.iter().any(f);
            tally.torn = u64::from(any(|s| s.0 > 0 && s.1 > 0));
            tally.new = u64::from(any(|s| s.0 == 0 && s.1 > 0));
            tally.old = u64::from(any(|s| s.0 > 0 && s.1 == 0));
        }
        if tally.torn > 0 {
            assert!(matches!(cut, Cut::Restart | Cut::Off), "{what}: torn");
        }
        tally
    }
}

/// `runs` cuts at moments spread over the transaction: every cycle of it if there are as many.
fn sweep(kind: Kind, cut: Cut, runs: u64, rng: &mut Rng) -> Tally {
    let config = ["full", "sim"][rng.below(2) as usize];
    let mut h = Hand::new(config);
    if rng.chance(0.5) {
        h.s.link_mut().offer_seq(true);
        h.s.reset_link().unwrap();
    }
    h.s.mmio_write32(regs::SnoopTimeout::OFFSET, PATIENCE)
        .unwrap();
    let cutter = Cutter::new(cut, &mut h.s);
    let bus = h.s.dma_alloc(4096).unwrap();
    let mut sum = Tally::default();
    for n in 0..runs {
        // Every so many cycles, and in between at random.
        let step = (kind.span() / runs).max(1);
        let offset = n * kind.span() / runs + rng.below(step);
        sum += cut_once(&mut h, &cutter, kind, bus, offset, rng);
    }
    println!("{kind:?}, {cut:?}, {config}: {sum:?}");
    assert_eq!(
        h.register(regs::RxProtocolErrors::OFFSET),
        0,
        "{kind:?}, {cut:?}"
    );
    sum
}

#[test]
fn a_link_that_is_turned_off_ends_every_transaction() {
    let mut rng = seeds(0xC0);
    for kind in Kind::ALL {
        for cut in [Cut::Restart, Cut::Off] {
            let t = sweep(kind, cut, kind.span().min(160), &mut rng);
            assert!(t.done > 0, "{kind:?}, {cut:?}: {t:?}");
            assert!(t.failed > 0, "{kind:?}, {cut:?}: {t:?}");
        }
    }
}

#[test]
fn a_stuck_wire_ends_every_transaction() {
    let mut rng = seeds(0xC1);
    for kind in Kind::ALL {
        for level in [false, true] {
            let t = sweep(kind, Cut::Stuck(level), 12, &mut rng);
            assert!(t.failed > 0, "{kind:?}: {t:?}");
        }
    }
}

#[test]
fn a_re_initialisation_or_a_pause_loses_nothing_of_any_transaction() {
    let mut rng = seeds(0xC2);
    let mut reinits = 0;
    for kind in Kind::ALL {
        for cut in [Cut::Reinit, Cut::Hang] {
            let t = sweep(kind, cut, 20, &mut rng);
            assert_eq!((t.done, t.failed), (20, 0), "{kind:?}, {cut:?}");
            reinits += t.reinits;
        }
    }
    println!("{reinits} re-initialisations");
    assert!(reinits > 50);
}
