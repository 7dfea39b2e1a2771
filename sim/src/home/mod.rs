//! The home agent: turns line operations into messages with tags, keeps one operation per line in flight, and checks every response.
//!
//! At most one outstanding Req or RwD per line is a MUST on the host (cxl-mem 8.1). Operations on one line, and only those, are done in the order of issue.

pub mod cache;
pub mod golden;
mod op;
mod respond;

pub use op::{Difference, Done, HomeError, Op};

use crate::link::HostLink;
use cxlmem_protocol::msg::{M2sReq, M2sReqOpcode, M2sRwd, M2sRwdOpcode, MetaField, MetaValue};
use golden::{Golden, LINE};
use std::collections::VecDeque;

/// Names an operation until it is polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(u64);

/// Choices of the home agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HomeOptions {
    /// Operations in flight at once, 1 to 256.
    pub outstanding: usize,
    /// Cycles after which an operation without response fails.
    pub timeout: u64,
    /// Operations that may wait or be unpolled at once.
    pub queue: usize,
}

impl Default for HomeOptions {
    fn default() -> Self {
        Self {
            outstanding: 64,
            timeout: 20_000,
            queue: 1 << 20,
        }
    }
}

/// Counts since construction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HomeCounters {
    /// Operations finished without error.
    pub done: u64,
    /// Operations that failed for lack of a response.
    pub timeouts: u64,
    /// Reads compared with the golden memory.
    pub compared: u64,
    /// Responses whose tag no operation has: answers to timed-out ones, or errors of the device.
    pub strays: u64,
}

/// An operation that waits for its line, a tag or the link.
struct Waiting {
    ticket: Ticket,
    address: u64,
    /// Its turn on the line.
    turn: u32,
    issued: u64,
    op: Op,
}

/// An operation under way.
struct InFlight {
    waiting: Waiting,
    tag: u16,
    launched: u64,
}

enum Outcome {
    /// Under way.
    Open,
    /// Under way, and nobody will poll.
    Posted,
    Finished(Result<Done, HomeError>),
    /// Polled.
    Taken,
}

/// Lines share turn counters by the low bits of their number. Two lines with one counter are only serialised needlessly.
const TURNS: usize = 1 << 14;
const SLOTS: usize = 256;

/// The home agent.
pub struct Home {
    options: HomeOptions,
    /// Next turn to give out, and turn being served.
    turns: Vec<(u32, u32)>,
    req: VecDeque<Waiting>,
    rwd: VecDeque<Waiting>,
    slots: Vec<Option<InFlight>>,
    free: Vec<u8>,
    /// High byte of a slot's next tag: a late answer to an earlier use is recognised.
    generation: Vec<u8>,
    outcomes: VecDeque<Outcome>,
    /// Ticket of the first outcome.
    first: u64,
    golden: Golden,
    counters: HomeCounters,
    wrong: Option<Difference>,
    next_check: u64,
    /// The device is viral: what it marks as poison is not compared.
    contained: bool,
}

impl Home {
    /// An idle home agent. Reads in `golden`'s range are compared with it.
    pub fn new(options: HomeOptions, golden: Golden) -> Self {
        let outstanding = options.outstanding.clamp(1, SLOTS);
        Self {
            options: HomeOptions {
                outstanding,
                ..options
            },
            turns: vec![(0, 0); TURNS],
            req: VecDeque::new(),
            rwd: VecDeque::new(),
            slots: std::iter::repeat_with(|| None).take(SLOTS).collect(),
            free: (0..outstanding).rev().map(|n| n as u8).collect(),
            generation: vec![0; SLOTS],
            outcomes: VecDeque::new(),
            first: 0,
            golden,
            counters: HomeCounters::default(),
            wrong: None,
            next_check: 0,
            contained: false,
        }
    }

    /// Counts since construction.
    pub fn counters(&self) -> HomeCounters {
        self.counters
    }

    /// The first wrong response ever seen.
    pub fn first_difference(&self) -> Option<&Difference> {
        self.wrong.as_ref()
    }

    /// What memory is expected to hold.
    pub fn golden_mut(&mut self) -> &mut Golden {
        &mut self.golden
    }

    /// Operations issued and not finished.
    pub fn open(&self) -> usize {
        self.req.len() + self.rwd.len() + self.in_flight()
    }

    /// Operations with a message on its way.
    pub fn in_flight(&self) -> usize {
        self.options.outstanding - self.free.len()
    }

    /// True if nothing is under way. Constant time.
    pub fn is_idle(&self) -> bool {
        self.req.is_empty() && self.rwd.is_empty() && self.in_flight() == 0
    }

    /// Starts an operation on the line at `address` (host physical, a multiple of 64).
    ///
    /// # Errors
    /// [`HomeError::BadAddress`], [`HomeError::QueueFull`].
    pub fn issue(&mut self, now: u64, address: u64, op: Op) -> Result<Ticket, HomeError> {
        self.enter(now, address, op, Outcome::Open)
    }

    /// As [`Home::issue`], for an operation that nobody will poll: errors show in the counters and in [`Home::first_difference`].
    ///
    /// # Errors
    /// As [`Home::issue`].
    pub fn post(&mut self, now: u64, address: u64, op: Op) -> Result<(), HomeError> {
        self.enter(now, address, op, Outcome::Posted).map(drop)
    }

    fn enter(
        &mut self,
        now: u64,
        address: u64,
        op: Op,
        outcome: Outcome,
    ) -> Result<Ticket, HomeError> {
        if address % LINE != 0 || address >> 52 != 0 {
            return Err(HomeError::BadAddress(address));
        }
        if self.outcomes.len() >= self.options.queue {
            return Err(HomeError::QueueFull(self.outcomes.len()));
        }
        let ticket = Ticket(self.first + self.outcomes.len() as u64);
        self.outcomes.push_back(outcome);
        let turns = &mut self.turns[turn_index(address)];
        let turn = turns.0;
        turns.0 = turn.wrapping_add(1);
        let has_data = op.has_data();
        let waiting = Waiting {
            ticket,
            address,
            turn,
            issued: now,
            op,
        };
        // Req and RwD never share a queue (cxl-mem 2.8). Turns keep the order per line across both.
        if has_data {
            &mut self.rwd
        } else {
            &mut self.req
        }
        .push_back(waiting);
        Ok(ticket)
    }

    /// The result of an operation, once: `None` while it is under way.
    pub fn poll(&mut self, ticket: Ticket) -> Option<Result<Done, HomeError>> {
        let slot = ticket
            .0
            .checked_sub(self.first)
            .and_then(|n| self.outcomes.get_mut(n as usize));
        let Some(slot) = slot else {
            return Some(Err(HomeError::UnknownTicket(ticket.0)));
        };
        match slot {
            Outcome::Open => return None,
            Outcome::Posted | Outcome::Taken => {
                return Some(Err(HomeError::UnknownTicket(ticket.0)))
            }
            Outcome::Finished(_) => {}
        }
        let outcome = std::mem::replace(slot, Outcome::Taken);
        self.trim();
        match outcome {
            Outcome::Finished(result) => Some(result),
            _ => None,
        }
    }

    fn trim(&mut self) {
        while matches!(self.outcomes.front(), Some(Outcome::Taken)) {
            self.outcomes.pop_front();
            self.first += 1;
        }
    }

    /// Gives the link what it can take. Call once a cycle.
    #[inline]
    pub fn pump(&mut self, now: u64, link: &mut HostLink) {
        self.contained = link.peer_is_viral();
        if !self.rwd.is_empty() {
            self.launch_rwd(now, link);
        }
        if !self.req.is_empty() {
            self.launch_req(now, link);
        }
        if now >= self.next_check {
            self.expire(now);
        }
    }

    fn launch_req(&mut self, now: u64, link: &mut HostLink) {
        while let Some(head) = self.req.front() {
            if self.turns[turn_index(head.address)].1 != head.turn || !link.room_for_req() {
                return;
            }
            let needs_tag = head.op != Op::Prefetch;
            if needs_tag && self.free.is_empty() {
                return;
            }
            let Some(waiting) = self.req.pop_front() else {
                return;
            };
            let (opcode, meta) = match waiting.op {
                Op::Invalidate {
                    meta,
                    non_temporal: false,
                } => (M2sReqOpcode::MemInv, Some(meta)),
                Op::Invalidate {
                    meta,
                    non_temporal: true,
                } => (M2sReqOpcode::MemInvNt, Some(meta)),
                Op::Prefetch => (M2sReqOpcode::MemSpecRd, None),
                Op::Read { meta } => (M2sReqOpcode::MemRd, meta),
                // Operations with data are queued for RwD.
                Op::Write { .. } | Op::WritePartial { .. } => return,
            };
            let (meta_field, meta_value) = meta_fields(meta);
            let address = waiting.address;
            let tag = if needs_tag {
                self.place(now, waiting)
            } else {
                self.finish_prefetch(now, waiting)
            };
            link.send_req(&M2sReq {
                opcode,
                meta_field,
                meta_value,
                tag,
                address,
                ..Default::default()
            });
        }
    }

    fn launch_rwd(&mut self, now: u64, link: &mut HostLink) {
        while let Some(head) = self.rwd.front() {
            let blocked = self.turns[turn_index(head.address)].1 != head.turn;
            if blocked || !link.room_for_rwd() || self.free.is_empty() {
                return;
            }
            let (opcode, data, enables, poison, meta) = match &head.op {
                Op::Write { data, poison, meta } => {
                    (M2sRwdOpcode::MemWr, *data, u64::MAX, *poison, *meta)
                }
                Op::WritePartial {
                    data,
                    enables,
                    poison,
                    meta,
                } => (M2sRwdOpcode::MemWrPtl, *data, *enables, *poison, *meta),
                // Operations without data are queued for Req.
                _ => return,
            };
            let Some(waiting) = self.rwd.pop_front() else {
                return;
            };
            let (meta_field, meta_value) = meta_fields(meta);
            let address = waiting.address;
            let tag = self.place(now, waiting);
            let header = M2sRwd {
                opcode,
                meta_field,
                meta_value,
                tag,
                address,
                poison,
                ..Default::default()
            };
            link.send_rwd(header, data, enables);
        }
    }

    /// Gives an operation a slot and its tag. The caller has seen that a slot is free.
    fn place(&mut self, now: u64, waiting: Waiting) -> u16 {
        let slot = self.free.pop().unwrap_or(0);
        let n = usize::from(slot);
        let tag = u16::from(self.generation[n]) << 8 | u16::from(slot);
        self.slots[n] = Some(InFlight {
            waiting,
            tag,
            launched: now,
        });
        tag
    }

    fn finish_prefetch(&mut self, now: u64, waiting: Waiting) -> u16 {
        let done = self.done(now, now, 0, &waiting);
        self.settle(waiting, Ok(done));
        0
    }

    fn done(&self, now: u64, launched: u64, tag: u16, waiting: &Waiting) -> Done {
        Done {
            address: waiting.address,
            tag,
            data: None,
            poison: false,
            nxm: false,
            meta: None,
            dev_load: Default::default(),
            issued: waiting.issued,
            launched,
            finished: now,
        }
    }

    /// The operation is over: its line is free and its result can be polled.
    fn settle(&mut self, waiting: Waiting, result: Result<Done, HomeError>) {
        self.counters.done += u64::from(result.is_ok());
        let turns = &mut self.turns[turn_index(waiting.address)];
        turns.1 = turns.1.wrapping_add(1);
        let n = waiting.ticket.0.wrapping_sub(self.first) as usize;
        if let Some(slot) = self.outcomes.get_mut(n) {
            *slot = match slot {
                Outcome::Posted => Outcome::Taken,
                _ => Outcome::Finished(result),
            };
        }
        self.trim();
    }

    /// Fails what waits too long. Looks every 1/16 of the time-out, so that the scan costs nothing per cycle.
    #[cold]
    fn expire(&mut self, now: u64) {
        let timeout = self.options.timeout;
        self.next_check = now + (timeout / 16).max(1);
        let late = |since: u64| now.saturating_sub(since) >= timeout;
        for n in 0..SLOTS {
            if let Some(op) = self.slots[n].take_if(|op| late(op.launched)) {
                // The slot comes back with another tag: a late answer is recognised.
                self.release(n);
                self.give_up(op.waiting, Some(op.tag), now - op.launched);
            }
        }
        // Per queue, the head has waited longest since the link last took anything from it.
        for rwd in [false, true] {
            loop {
                let queue = if rwd { &mut self.rwd } else { &mut self.req };
                // A head behind an operation of its own line waits for that one's response or time-out.
                let turns = &self.turns;
                let expired = queue
                    .front()
                    .is_some_and(|w| late(w.issued) && turns[turn_index(w.address)].1 == w.turn);
                if !expired || !self.is_stuck(now) {
                    break;
                }
                let queue = if rwd { &mut self.rwd } else { &mut self.req };
                let Some(w) = queue.pop_front() else { break };
                let after = now - w.issued;
                self.give_up(w, None, after);
            }
        }
    }

    /// True if nothing was launched during the last time-out: a long queue that moves is not late.
    fn is_stuck(&self, now: u64) -> bool {
        self.slots
            .iter()
            .flatten()
            .all(|op| now.saturating_sub(op.launched) >= self.options.timeout)
    }

    fn give_up(&mut self, waiting: Waiting, tag: Option<u16>, after: u64) {
        self.counters.timeouts += 1;
        // Whether a write reached memory is unknown.
        self.golden.forget(waiting.address, LINE);
        let error = HomeError::Timeout {
            after,
            what: waiting.op.name(),
            tag,
            address: waiting.address,
        };
        self.settle(waiting, Err(error));
    }

    /// The link went down: everything under way fails, and its lines are unknown.
    pub fn link_reset(&mut self) {
        let mut lost: Vec<Waiting> = Vec::new();
        for n in 0..SLOTS {
            if let Some(op) = self.slots[n].take() {
                self.release(n);
                lost.push(op.waiting);
            }
        }
        lost.extend(self.req.drain(..));
        lost.extend(self.rwd.drain(..));
        for waiting in lost {
            self.golden.forget(waiting.address, LINE);
            let error = HomeError::LinkReset {
                what: waiting.op.name(),
                address: waiting.address,
            };
            self.settle(waiting, Err(error));
        }
    }
}

fn turn_index(address: u64) -> usize {
    (address / LINE) as usize & (TURNS - 1)
}

fn meta_fields(meta: Option<MetaValue>) -> (MetaField, MetaValue) {
    match meta {
        Some(v) => (MetaField::Meta0State, v),
        None => (MetaField::NoOp, MetaValue::I),
    }
}
