//! The home agent of device-coherent memory: cores with private caches, which it serialises line by line.

use super::cache::{Cache, Stage, Table, Tags, NONE};
use super::op::{AgentError, CoreOp, Done};
use super::request::Active;
use super::{FromDevice, Line, Port, LINE};
use crate::rng::Rng;
use cxlmem_protocol::hdm_db::host::{self, Held, Row};
use cxlmem_protocol::msg::{S2mDrs, S2mDrsOpcode, S2mNdr, S2mNdrOpcode};
use std::collections::VecDeque;

/// How often the agent uses what it may do but need not, each a probability. All of it is legal (cxl-mem 2.3, 2.9).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choices {
    /// Loads and stores of a line that the host does not hold go past the caches.
    pub uncached: f64,
    /// A load asks for anything (MemRdData).
    pub load_any: f64,
    /// A load asks for ownership.
    pub load_owns: f64,
    /// A store of a whole line asks for ownership without data (MemInv).
    pub own_without_data: f64,
    /// A clean line leaves with MemClnEvct, else silently.
    pub clean_evict: f64,
    /// A request that nobody needs goes before the one that an operation needs.
    pub extra: f64,
}

impl Default for Choices {
    /// What a plain host does.
    fn default() -> Self {
        Self {
            uncached: 0.0,
            load_any: 0.0,
            load_owns: 0.0,
            own_without_data: 1.0,
            clean_evict: 0.0,
            extra: 0.0,
        }
    }
}

impl Choices {
    /// Everything that the rules allow, often.
    pub const ANYTHING: Self = Self {
        uncached: 0.25,
        load_any: 0.3,
        load_owns: 0.2,
        own_without_data: 0.5,
        clean_evict: 0.5,
        extra: 0.3,
    };
}

/// Shape and behaviour of the agent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgentOptions {
    /// Cores, 1 to 8.
    pub cores: usize,
    /// Sets of a core's cache.
    pub sets: usize,
    /// Ways of a core's cache.
    pub ways: usize,
    /// Req outstanding at once, and as many RwD, 1 to 96; snoops have 64 besides.
    pub outstanding: usize,
    /// Cycles after which a request without response has failed.
    pub timeout: u64,
    /// How it chooses.
    pub choices: Choices,
    /// Seed of its choices.
    pub seed: u64,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            cores: 4,
            sets: 4,
            ways: 2,
            outstanding: 32,
            timeout: 20_000,
            choices: Choices::default(),
            seed: 1,
        }
    }
}

/// Counts since construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentCounters {
    /// Operations of cores finished without error.
    pub done: u64,
    /// Operations of cores that failed.
    pub failed: u64,
    /// Requests sent, by [`Row`].
    pub rows: [u64; Row::ALL.len()],
    /// Clean lines dropped without a message.
    pub silent_drops: u64,
    /// BIConflicts sent.
    pub conflicts: u64,
    /// BIRspI, BIRspS and BIRspE sent.
    pub answers: [u64; 3],
}

/// Names an operation until it is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    pub(super) core: u8,
    pub(super) number: u64,
}

/// What was lost on the way to [`Agent::link_reset`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The link was given up or restarted; the device kept its directory (cxl-mem 8.1, "Link retrain").
    Link,
    /// The device was reset: its directory says that the host holds nothing.
    Device,
}

/// A line whose last value the host had, and may have lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostLine {
    /// Its address.
    pub address: u64,
    /// False if its write-back was on the way and may have arrived.
    pub certain: bool,
}

pub(super) struct Core {
    pub cache: Cache,
    pub active: Option<Active>,
    result: Option<(u64, Result<Done, AgentError>)>,
}

/// The home agent. Give it what the device sends ([`Agent::receive`]), call [`Agent::pump`] once a cycle.
///
/// At most one Req or RwD of a line is outstanding, from issue to completion (cxl-mem 8.1). Cores are sequential: an operation of a
/// core has been done, for every other core and for the device, when its ticket can be polled.
pub struct Agent {
    pub(super) options: AgentOptions,
    pub(super) rng: Rng,
    pub(super) cores: Vec<Core>,
    pub(super) table: Table,
    pub(super) tags: Tags,
    /// Cores that may be able to go on.
    pub(super) ready: u8,
    /// Lines whose snoop may be able to go on.
    pub(super) todo: VecDeque<usize>,
    /// Snoops not answered yet.
    pub(super) snoops: usize,
    /// Requests without completion.
    pub(super) outstanding: usize,
    pub(super) counters: AgentCounters,
    tickets: u64,
    pub(super) next_check: u64,
    violation: Option<String>,
}

impl Agent {
    /// An agent that holds nothing.
    pub fn new(options: AgentOptions) -> Self {
        let cores = options.cores.clamp(1, 8);
        let core = |_| Core {
            cache: Cache::new(options.sets, options.ways),
            active: None,
            result: None,
        };
        let lines = cores * options.sets.max(1) * options.ways.max(1);
        Self {
            rng: Rng::new(options.seed),
            cores: (0..cores).map(core).collect(),
            table: Table::new(lines + 256),
            tags: Tags::new(options.outstanding),
            ready: 0,
            todo: VecDeque::with_capacity(64),
            snoops: 0,
            outstanding: 0,
            counters: AgentCounters::default(),
            tickets: 0,
            next_check: 0,
            violation: None,
            options,
        }
    }

    /// Cores.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Counts since construction.
    pub fn counters(&self) -> AgentCounters {
        self.counters
    }

    /// The first thing that the device, or the agent itself, did against the rules: cycle, line and what.
    pub fn first_violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// True if no operation, request or snoop is under way. Constant time.
    pub fn is_idle(&self) -> bool {
        self.outstanding == 0 && self.snoops == 0 && self.cores.iter().all(|c| c.active.is_none())
    }

    /// True if the core can be given an operation.
    pub fn is_free(&self, core: usize) -> bool {
        self.cores
            .get(core)
            .is_some_and(|c| c.active.is_none() && c.result.is_none())
    }

    /// True while an operation of the core is under way.
    pub fn is_busy(&self, core: usize) -> bool {
        self.cores.get(core).is_some_and(|c| c.active.is_some())
    }

    /// Starts an operation of a core on `len` bytes at `address` (host physical).
    ///
    /// # Errors
    /// [`AgentError::NoCore`], [`AgentError::Busy`], [`AgentError::BadAddress`].
    pub fn issue(
        &mut self,
        now: u64,
        core: usize,
        address: u64,
        len: usize,
        op: CoreOp,
    ) -> Result<Ticket, AgentError> {
        let cores = self.cores.len();
        let c = self.cores.get_mut(core);
        let c = c.ok_or(AgentError::NoCore(core, cores))?;
        let atomic = matches!(op, CoreOp::FetchAdd(_) | CoreOp::CompareSwap { .. });
        let inside = (1..=LINE as usize).contains(&len) && address % LINE + len as u64 <= LINE;
        if !inside || address >> 52 != 0 || (atomic && (len != 8 || address % 8 != 0)) {
            let what = op.name();
            return Err(AgentError::BadAddress { what, address, len });
        }
        if c.active.is_some() || c.result.is_some() {
            return Err(AgentError::Busy(core));
        }
        self.tickets += 1;
        c.active = Some(Active {
            ticket: self.tickets,
            op,
            address,
            len: len as u8,
            issued: now,
            extra_done: false,
            flushed: false,
        });
        self.ready |= 1 << core;
        Ok(Ticket {
            core: core as u8,
            number: self.tickets,
        })
    }

    /// Starts a load of `len` bytes. See [`Agent::issue`].
    ///
    /// # Errors
    /// As [`Agent::issue`].
    pub fn load(
        &mut self,
        now: u64,
        core: usize,
        address: u64,
        len: usize,
    ) -> Result<Ticket, AgentError> {
        self.issue(now, core, address, len, CoreOp::Load)
    }

    /// Starts a store. See [`Agent::issue`].
    ///
    /// # Errors
    /// As [`Agent::issue`].
    pub fn store(
        &mut self,
        now: u64,
        core: usize,
        address: u64,
        bytes: &[u8],
    ) -> Result<Ticket, AgentError> {
        let mut data = [0; 64];
        let len = bytes.len().min(64);
        data[..len].copy_from_slice(&bytes[..len]);
        self.issue(now, core, address, bytes.len(), CoreOp::Store(data))
    }

    /// Starts an atomic addition to an aligned 8-byte word. See [`Agent::issue`].
    ///
    /// # Errors
    /// As [`Agent::issue`].
    pub fn fetch_add(
        &mut self,
        now: u64,
        core: usize,
        address: u64,
        add: u64,
    ) -> Result<Ticket, AgentError> {
        self.issue(now, core, address, 8, CoreOp::FetchAdd(add))
    }

    /// Starts an atomic compare-and-swap of an aligned 8-byte word. See [`Agent::issue`].
    ///
    /// # Errors
    /// As [`Agent::issue`].
    pub fn cas(
        &mut self,
        now: u64,
        core: usize,
        address: u64,
        expected: u64,
        new: u64,
    ) -> Result<Ticket, AgentError> {
        self.issue(now, core, address, 8, CoreOp::CompareSwap { expected, new })
    }

    /// Starts giving a line up in all caches. See [`Agent::issue`].
    ///
    /// # Errors
    /// As [`Agent::issue`].
    pub fn flush(&mut self, now: u64, core: usize, address: u64) -> Result<Ticket, AgentError> {
        self.issue(now, core, address, 1, CoreOp::Flush)
    }

    /// The result of an operation, once: `None` while it is under way.
    pub fn poll(&mut self, ticket: Ticket) -> Option<Result<Done, AgentError>> {
        let unknown = Some(Err(AgentError::UnknownTicket(ticket.number)));
        let Some(c) = self.cores.get_mut(usize::from(ticket.core)) else {
            return unknown;
        };
        match (&c.active, &c.result) {
            (_, Some((number, result))) if *number == ticket.number => {
                let result = *result;
                c.result = None;
                Some(result)
            }
            (Some(a), _) if a.ticket == ticket.number => None,
            _ => unknown,
        }
    }

    /// Takes a message from the device. Whatever it leads to is sent by the next [`Agent::pump`].
    pub fn receive(&mut self, now: u64, message: &FromDevice) {
        match message {
            FromDevice::Ndr(ndr) => self.take_ndr(now, ndr),
            FromDevice::Drs(drs, data) => self.take_drs(now, drs, data),
            FromDevice::BiSnp(snoop) => self.take_snoop(now, snoop),
        }
    }

    /// Sends what there is room for. Call once a cycle. Snoops go before the cores' requests.
    pub fn pump(&mut self, now: u64, port: &mut impl Port) {
        if !self.todo.is_empty() {
            self.run_snoops(now, port);
        }
        if self.ready != 0 {
            self.run_cores(now, port);
        }
        if now >= self.next_check {
            self.expire(now);
        }
    }

    fn take_ndr(&mut self, now: u64, ndr: &S2mNdr) {
        let name = ndr.opcode.name();
        let Some(n) = self.tags.entry(ndr.tag) else {
            let what = format!("{name} with tag {:#06x}, which is not in use", ndr.tag);
            return self.violation(now, NONE, what);
        };
        let e = &mut self.table.entries[n];
        let ack = ndr.opcode == S2mNdrOpcode::BiConflictAck;
        let mut wrong = ack;
        if let Some(snoop) = &mut e.snoop {
            if let Stage::Race(h) = snoop.stage {
                let next = if ack { h.acked() } else { h.completed() };
                wrong = next.is_none();
                snoop.stage = Stage::Race(next.unwrap_or(h));
                if ack && !wrong {
                    if let Some(tag) = snoop.tag.take() {
                        self.tags.release(tag);
                    }
                }
            }
        }
        if !ack {
            match &mut e.pending {
                Some(p) if p.ndr.is_none() => p.ndr = Some(ndr.opcode),
                _ => wrong = true,
            }
        }
        let line = e.line;
        if wrong {
            return self.violation(now, line, format!("{name} that nothing waits for"));
        }
        if !ack {
            self.complete(now, n);
        }
        self.look_at(n);
    }

    fn take_drs(&mut self, now: u64, drs: &S2mDrs, data: &Line) {
        let Some(n) = self.tags.entry(drs.tag) else {
            let what = format!("DRS with tag {:#06x}, which is not in use", drs.tag);
            return self.violation(now, NONE, what);
        };
        let e = &mut self.table.entries[n];
        match &mut e.pending {
            Some(p) if !p.data && p.row.request().rule().data => {
                p.data = true;
                p.poison = drs.poison;
                p.nxm = drs.opcode == S2mDrsOpcode::MemDataNxm;
                e.incoming = *data;
            }
            _ => {
                let line = e.line;
                return self.violation(now, line, "DRS that nothing waits for".into());
            }
        }
        self.complete(now, n);
        self.look_at(n);
    }

    /// Ends the outstanding request, if everything has come.
    fn complete(&mut self, now: u64, n: usize) {
        let e = &mut self.table.entries[n];
        let Some(p) = e.pending else { return };
        let request = p.row.request();
        if request.rule().data && !p.data {
            return;
        }
        // MemData-NXM comes without an NDR (cxl-mem G-09).
        let granted = match (p.ndr, p.nxm) {
            (Some(ndr), _) => host::granted(request, e.held, ndr),
            (None, true) => Some(Held::I),
            (None, false) => return,
        };
        e.pending = None;
        let line = e.line;
        if let Some(snoop) = &mut e.snoop {
            if snoop.stage == Stage::Flush {
                snoop.stage = Stage::Fresh;
            }
        }
        // With an ack to come the tag stays in use.
        let acks = matches!(e.snoop.map(|s| s.stage), Some(Stage::Race(h)) if h.acked().is_some());
        if !acks {
            self.tags.release(p.tag);
        } else if let Some(snoop) = &mut self.table.entries[n].snoop {
            snoop.tag = Some(p.tag);
        }
        self.outstanding -= 1;
        match granted {
            Some(most) => self.conclude(now, n, &p, most),
            None => {
                let ndr = p.ndr.map_or("", |o| o.name());
                let what = format!("{ndr} does not answer {:?}", p.row);
                self.violation(now, line, what);
            }
        }
        self.wake(n);
        self.table.release_if_empty(n);
    }

    /// Lets the cores that wait for the line try again, if it is free.
    pub(super) fn wake(&mut self, n: usize) {
        let e = &mut self.table.entries[n];
        if !e.busy() {
            self.ready |= std::mem::take(&mut e.waiters);
        }
    }

    /// The core's operation is over.
    pub(super) fn finish(&mut self, core: u8, result: Result<Done, AgentError>) {
        match result {
            Ok(_) => self.counters.done += 1,
            Err(_) => self.counters.failed += 1,
        }
        let c = &mut self.cores[usize::from(core)];
        if let Some(active) = c.active.take() {
            c.result = Some((active.ticket, result));
        }
    }

    pub(super) fn violation(&mut self, now: u64, line: u64, what: String) {
        self.violation.get_or_insert_with(|| match line {
            NONE => format!("cycle {now}: {what}"),
            _ => format!("cycle {now}, line {:#x}: {what}", line * LINE),
        });
    }
}
