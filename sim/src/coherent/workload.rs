//! Random operations of cores and device ports on few lines: false sharing, evictions, atomics from both sides. Every value is checked.

mod setup;

pub use setup::{Kind, Setup, WorkOp};

use super::bench::{Bench, Check, Failure};
use super::cover::Cover;
use super::history::{self, Event};
use super::shadow::Shadow;
use super::shrink::shrink;
use super::{set_word, word, AgentCounters, CoreOp, DeviceOp, Endpoint, Line, LINE};
use std::fmt;

/// What a run that found nothing wrong did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Operations done.
    pub ops: u64,
    /// Words whose values were checked.
    pub events: u64,
    /// Messages compared with the rules.
    pub messages: u64,
    /// Cycles.
    pub cycles: u64,
    /// What the agent did, of all runs together.
    pub agent: AgentCounters,
    /// Requests x directory x races.
    pub cover: Cover,
}

impl Report {
    /// Adds another run.
    pub fn add(&mut self, other: &Self) {
        self.ops += other.ops;
        self.events += other.events;
        self.messages += other.messages;
        self.cycles += other.cycles;
        self.agent.done += other.agent.done;
        self.agent.conflicts += other.agent.conflicts;
        self.agent.silent_drops += other.agent.silent_drops;
        let rows = self.agent.rows.iter_mut().zip(other.agent.rows);
        let answers = self.agent.answers.iter_mut().zip(other.agent.answers);
        for (mine, theirs) in rows.chain(answers) {
            *mine += theirs;
        }
        self.cover.add(&other.cover);
    }
}

/// A line whose word 0 is a counter: only additions write that.
fn has_counter(line: u16) -> bool {
    line % 2 == 0
}

/// An actor's operation under way.
#[derive(Clone, Copy)]
struct Open {
    op: WorkOp,
    start: u64,
    /// What the operation came to be.
    does: Does,
}

#[derive(Clone, Copy)]
enum Does {
    Load,
    LoadLine,
    Store,
    StoreLine,
    Add(u64),
    Swap { expected: u64 },
    Flush,
}

struct Run<'a, E> {
    bench: Bench<E>,
    ops: &'a [WorkOp],
    /// Next operation of each actor, and when it may start.
    next: Vec<(usize, u64)>,
    open: Vec<Option<Open>>,
    /// Last value that the actor read of each word.
    last: Vec<Vec<u64>>,
    events: Vec<Event>,
    sums: Vec<u64>,
    /// Cycle of the last start or end.
    moved: u64,
    done: u64,
}

/// Runs a list of operations and checks everything.
///
/// # Errors
/// The first check that failed.
pub fn run<E: Endpoint>(setup: &Setup, device: E, ops: &[WorkOp]) -> Result<Report, Failure> {
    let mut bench = Bench::new(setup.agent, device, setup.device.policy);
    if !setup.shadow {
        bench.shadow = None;
    }
    let (actors, lines) = (bench.actors(), setup.device.lines as usize);
    let mut run = Run {
        bench,
        ops,
        next: vec![(0, 0); actors],
        open: vec![None; actors],
        last: vec![vec![0; lines * 8]; actors],
        events: Vec::with_capacity(2 * ops.len()),
        sums: vec![0; lines],
        moved: 0,
        done: 0,
    };
    for actor in 0..actors {
        run.advance(actor, 0);
    }
    let limit = 64 * setup.agent.timeout;
    let mut left = ops.len() as u64;
    while left > 0 {
        left -= run.cycle()?;
        if run.bench.now() - run.moved > limit {
            let open: Vec<_> = run.open.iter().flatten().map(|o| o.op).collect();
            let what = format!("nothing has moved for {limit} cycles: {open:?}");
            return Err(Failure::new(Check::Progress, what));
        }
    }
    run.read_all()?;
    run.bench.look()?;
    run.conclude()
}

impl<E: Endpoint> Run<'_, E> {
    /// Finds the actor's next operation from position `from` on.
    fn advance(&mut self, actor: usize, from: usize) {
        let rest = self.ops.get(from..).unwrap_or(&[]);
        let n = rest.iter().position(|o| usize::from(o.actor) == actor);
        let n = n.map_or(self.ops.len(), |n| from + n);
        let think = self.ops.get(n).map_or(0, |o| u64::from(o.think));
        self.next[actor] = (n, self.bench.now() + think);
    }

    /// One cycle; how many operations ended.
    fn cycle(&mut self) -> Result<u64, Failure> {
        let mut ended = 0;
        for actor in 0..self.open.len() {
            if let Some(open) = self.open[actor] {
                if let Some(data) = self.bench.poll(actor)? {
                    self.open[actor] = None;
                    self.record(&open, &data);
                    ended += 1;
                    self.advance(actor, self.next[actor].0 + 1);
                }
            }
        }
        for actor in 0..self.open.len() {
            let (n, at) = self.next[actor];
            if self.open[actor].is_none() && n < self.ops.len() && at <= self.bench.now() {
                self.start(self.ops[n])?;
            }
        }
        self.bench.cycle()?;
        self.done += ended;
        Ok(ended)
    }

    fn start(&mut self, op: WorkOp) -> Result<(), Failure> {
        let actor = usize::from(op.actor);
        let line = u64::from(op.line) * LINE;
        let counter = has_counter(op.line);
        let w = usize::from(op.word);
        let at = line + 8 * w as u64;
        let number = u64::from(op.number);
        let mut data: Line = [0; 64];
        let does = match op.kind {
            Kind::Load => Does::Load,
            Kind::LoadLine => Does::LoadLine,
            Kind::StoreLine if !counter => {
                for n in 0..8 {
                    set_word(&mut data, n, history::value(op.actor, number, n));
                }
                Does::StoreLine
            }
            Kind::Store | Kind::StoreLine => Does::Store,
            Kind::FetchAdd if counter => Does::Add(1 + number % 5),
            Kind::FetchAdd | Kind::CompareSwap => Does::Swap {
                expected: self.last[actor][usize::from(op.line) * 8 + w],
            },
            Kind::Flush => Does::Flush,
        };
        let new = history::value(op.actor, number, w);
        let cores = self.bench.agent.cores();
        self.moved = self.bench.now();
        self.open[actor] = Some(Open {
            op,
            start: 2 * self.bench.now() + 1,
            does,
        });
        if actor < cores {
            let bench = &mut self.bench;
            return match does {
                Does::Load => bench.core(actor, at, 8, CoreOp::Load),
                Does::LoadLine => bench.core(actor, line, 64, CoreOp::Load),
                Does::Store => {
                    set_word(&mut data, 0, new);
                    bench.core(actor, at, 8, CoreOp::Store(data))
                }
                Does::StoreLine => bench.core(actor, line, 64, CoreOp::Store(data)),
                Does::Add(add) => bench.core(actor, line, 8, CoreOp::FetchAdd(add)),
                Does::Swap { expected } => {
                    bench.core(actor, at, 8, CoreOp::CompareSwap { expected, new })
                }
                Does::Flush => bench.core(actor, line, 1, CoreOp::Flush),
            };
        }
        let access = match does {
            Does::Load | Does::Flush => DeviceOp::Load,
            Does::LoadLine => DeviceOp::LoadOnce,
            Does::Store => {
                set_word(&mut data, w, new);
                DeviceOp::Store {
                    data,
                    enables: 0xFF << (8 * w),
                }
            }
            Does::StoreLine => DeviceOp::Store {
                data,
                enables: u64::MAX,
            },
            Does::Add(add) => DeviceOp::FetchAdd { word: 0, add },
            Does::Swap { expected } => DeviceOp::CompareSwap {
                word: op.word,
                expected,
                new,
            },
        };
        self.bench.port(actor - cores, line, access)
    }

    /// Notes what an operation read and wrote. `data`: a core's from the word on, a device's line from before.
    fn record(&mut self, open: &Open, data: &Line) {
        let Open { op, start, does } = *open;
        self.moved = self.bench.now();
        let of_core = usize::from(op.actor) < self.bench.agent.cores();
        let end = 2 * self.bench.now();
        let w = usize::from(op.word);
        let number = u64::from(op.number);
        let read_at = |n: usize| word(data, if of_core { 0 } else { n });
        let mut note = |n: usize, read: Option<u64>, wrote: Option<u64>| {
            if let Some(v) = read {
                self.last[usize::from(op.actor)][usize::from(op.line) * 8 + n] = v;
            }
            self.events.push(Event {
                address: u64::from(op.line) * LINE + 8 * n as u64,
                actor: op.actor,
                start,
                end,
                read,
                wrote,
            });
        };
        let new = |n: usize| Some(history::value(op.actor, number, n));
        match does {
            Does::Load => note(w, Some(read_at(w)), None),
            Does::LoadLine => (0..8).for_each(|n| note(n, Some(word(data, n)), None)),
            Does::Store => note(w, None, new(w)),
            Does::StoreLine => (0..8).for_each(|n| note(n, None, new(n))),
            Does::Add(add) => {
                let old = read_at(0);
                note(0, Some(old), Some(old.wrapping_add(add)));
                let sum = &mut self.sums[usize::from(op.line)];
                *sum = sum.wrapping_add(add);
            }
            Does::Swap { expected } => {
                let old = read_at(w);
                note(w, Some(old), if old == expected { new(w) } else { None });
            }
            Does::Flush => {}
        }
    }

    /// Reads every line at the end: some from the host's caches, some from the device.
    fn read_all(&mut self) -> Result<(), Failure> {
        let (cores, actors) = (self.bench.agent.cores(), self.bench.actors());
        for line in 0..self.sums.len() as u16 {
            let first = usize::from(line) % actors;
            // A flush first leaves memory alone to answer.
            let kinds = [(0, Kind::Flush), (first, Kind::LoadLine)];
            for (actor, kind) in &kinds[usize::from(line % 3 != 0)..] {
                let op = WorkOp {
                    number: 0,
                    actor: *actor as u8,
                    kind: *kind,
                    line,
                    word: 1,
                    think: 0,
                };
                self.start(op)?;
                let began = self.bench.now();
                let data = loop {
                    self.bench.cycle()?;
                    if let Some(data) = self.bench.poll(*actor)? {
                        break data;
                    }
                    if self.bench.now() - began > 1_000_000 {
                        let what = format!("{op:?} at the end does not end");
                        return Err(Failure::new(Check::Progress, what));
                    }
                };
                if let Some(open) = self.open[*actor].take() {
                    self.record(&open, &data);
                }
                if *kind == Kind::LoadLine && has_counter(line) {
                    let sum = self.sums[usize::from(line)];
                    let got = word(&data, 0);
                    if got != sum {
                        let by = if *actor < cores { "host" } else { "device" };
                        let what = format!(
                            "line {:#x}: the counter is {got}, additions make {sum} (read by the {by})",
                            u64::from(line) * LINE
                        );
                        return Err(Failure::new(Check::Sum, what));
                    }
                }
            }
        }
        Ok(())
    }

    fn conclude(mut self) -> Result<Report, Failure> {
        history::check(&mut self.events, |_| 0).map_err(|e| Failure::new(Check::Values, e))?;
        let shadow = self.bench.shadow.as_ref();
        Ok(Report {
            ops: self.done,
            events: self.events.len() as u64,
            messages: shadow.map_or(0, Shadow::messages),
            cycles: self.bench.now(),
            agent: self.bench.agent.counters(),
            cover: shadow.map(|s| s.cover().clone()).unwrap_or_default(),
        })
    }
}

/// A failing run, made short.
#[derive(Clone, Debug)]
pub struct Found {
    /// What failed in the short run.
    pub failure: Failure,
    /// What failed at first.
    pub first: Failure,
    /// Its setup: run [`Found::ops`] with it again.
    pub setup: Setup,
    /// The operations that are left.
    pub ops: Vec<WorkOp>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.first)?;
        writeln!(
            f,
            "shrunk from {} to {} operations:",
            self.setup.ops,
            self.ops.len()
        )?;
        for op in self.ops.iter().take(50) {
            writeln!(f, "  {op:?}")?;
        }
        writeln!(f, "there: {}", self.failure)?;
        write!(f, "setup: {:?}", self.setup)
    }
}

/// Runs a setup on the device that `make` makes for it; a failing run is shrunk with at most `budget` more runs.
///
/// # Errors
/// The failing run, shrunk.
pub fn hunt<E: Endpoint>(
    setup: &Setup,
    budget: usize,
    make: impl Fn(&Setup) -> E,
) -> Result<Report, Box<Found>> {
    let ops = setup.operations();
    run(setup, make(setup), &ops).map_err(|first| {
        let fails = |ops: &[WorkOp]| run(setup, make(setup), ops).is_err();
        let ops = shrink(&ops, budget, fails);
        let failure = run(setup, make(setup), &ops).err();
        Box::new(Found {
            failure: failure.unwrap_or_else(|| first.clone()),
            first,
            setup: setup.clone(),
            ops,
        })
    })
}
