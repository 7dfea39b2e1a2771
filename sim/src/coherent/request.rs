//! How the agent does what a core asks for: hits, transfers between cores, requests to the device, evictions.

use super::agent::Agent;
use super::cache::{CoreState, Pending};
use super::op::{AgentError, CoreOp, Done};
use super::{set_word, word, Port, LINE};
use cxlmem_protocol::hdm_db::host::{self, Held, Row};

/// An operation under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Active {
    pub ticket: u64,
    pub op: CoreOp,
    pub address: u64,
    pub len: u8,
    pub issued: u64,
    /// A legal request besides what the operation needs was already made for it.
    pub extra_done: bool,
    /// Its flush has sent all that it will.
    pub flushed: bool,
}

impl Active {
    pub fn line(&self) -> u64 {
        self.address / LINE
    }
    pub(super) fn offset(&self) -> usize {
        (self.address % LINE) as usize
    }
    fn whole(&self) -> bool {
        matches!(self.op, CoreOp::Store(_)) && u64::from(self.len) == LINE
    }
}

/// Loads that leave the line uncached.
const UNCACHED: [Row; 5] = [
    Row::RdIInv,
    Row::RdICur,
    Row::RdKeepInv,
    Row::RdKeepCur,
    Row::RdKeep,
];

/// What a core's turn came to.
enum Turn {
    /// Done, or waiting for something that will wake it.
    Sleeps,
    /// There was no room: try again.
    NoRoom,
}

impl Agent {
    /// Gives every core that may be able to go on its turn.
    pub(super) fn run_cores(&mut self, now: u64, port: &mut impl Port) {
        let mut left = std::mem::take(&mut self.ready);
        while left != 0 {
            let core = left.trailing_zeros() as u8;
            left &= left - 1;
            if matches!(self.turn(now, core, port), Turn::NoRoom) {
                self.ready |= 1 << core;
            }
        }
    }

    fn wait_for(&mut self, n: usize, core: u8) -> Turn {
        self.table.entries[n].waiters |= 1 << core;
        Turn::Sleeps
    }

    fn turn(&mut self, now: u64, core: u8, port: &mut impl Port) -> Turn {
        let Some(active) = self.cores[usize::from(core)].active else {
            return Turn::Sleeps;
        };
        let line = active.line();
        let hit = self.cores[usize::from(core)].cache.find(line);
        let known = self.table.find(line);
        if let (Some(way), Some(n)) = (hit, known) {
            if self.hit(now, core, active, way, n) {
                return Turn::Sleeps;
            }
        }
        let n = self.table.entry(line);
        if self.table.entries[n].busy() {
            return self.wait_for(n, core);
        }
        let turn = self.go_on(now, core, active, n, port);
        self.table.release_if_empty(n);
        turn
    }

    /// Does the operation in the core's own cache, if its state allows that.
    fn hit(&mut self, now: u64, core: u8, active: Active, way: usize, n: usize) -> bool {
        let e = &self.table.entries[n];
        if e.dead {
            return false;
        }
        let state = self.cores[usize::from(core)].cache.way(way).state;
        match active.op {
            CoreOp::Flush => return false,
            CoreOp::Load => {}
            _ if state == CoreState::S => return false,
            // An outstanding Req must not meet an M (see `host::may_issue`); a write-back that keeps the line may.
            _ if e.pending.is_some_and(|p| p.row < Row::WrA) => return false,
            // The core may write on while a snoop waits, but not for ever.
            _ if e.snoop.is_some() && !self.rng.chance(0.25) => return false,
            _ => {}
        }
        self.perform(now, core, way, n);
        true
    }

    /// Does the core's operation on its own copy, which must allow it.
    fn perform(&mut self, now: u64, core: u8, way: usize, n: usize) {
        let c = &mut self.cores[usize::from(core)];
        let Some(active) = c.active else { return };
        let copy = c.cache.way_mut(way);
        let mut done = Done {
            data: [0; 64],
            len: 0,
            cycles: now - active.issued,
        };
        let (offset, len) = (active.offset(), usize::from(active.len));
        if !matches!(active.op, CoreOp::Store(_)) {
            done.data[..len].copy_from_slice(&copy.data[offset..offset + len]);
            done.len = active.len;
        }
        if active.op.writes() {
            copy.state = CoreState::M;
            let e = &mut self.table.entries[n];
            if e.held < Held::E || e.sharers != 1 << core || e.owner != Some(core) {
                let what = "a core writes a line that it does not own";
                self.violation(now, active.line(), format!("agent: {what}"));
                return;
            }
            e.held = Held::M;
            match active.op {
                CoreOp::Store(data) => {
                    copy.data[offset..offset + len].copy_from_slice(&data[..len])
                }
                CoreOp::FetchAdd(add) => {
                    let new = word(&done.data, 0).wrapping_add(add);
                    set_word(&mut copy.data, offset / 8, new);
                }
                CoreOp::CompareSwap { expected, new } if word(&done.data, 0) == expected => {
                    set_word(&mut copy.data, offset / 8, new);
                }
                _ => {}
            }
        }
        self.finish(core, Ok(done));
    }

    /// The line is free; does what the operation needs next.
    fn go_on(
        &mut self,
        now: u64,
        core: u8,
        active: Active,
        n: usize,
        port: &mut impl Port,
    ) -> Turn {
        let choices = self.options.choices;
        if !active.extra_done {
            if let Some(a) = &mut self.cores[usize::from(core)].active {
                a.extra_done = true;
            }
            if self.rng.chance(choices.extra) {
                if let Some(turn) = self.extra(now, core, n, port) {
                    return turn;
                }
            }
        }
        let held = self.table.entries[n].held;
        if active.op == CoreOp::Flush {
            return self.give_up_line(now, core, active, n, port);
        }
        let writes = active.op.owns();
        if held >= Held::E || (held == Held::S && !writes) {
            // The agent has it: no message.
            let Some(way) = self.place(now, core, n, port) else {
                return self.retry_place(core, active.line());
            };
            self.share(core, n, way, writes);
            self.perform(now, core, way, n);
            return Turn::Sleeps;
        }
        let uncached = held == Held::I && self.rng.chance(choices.uncached);
        let row = match (active.op, held) {
            (CoreOp::Load, _) if uncached => {
                UNCACHED[self.rng.below(UNCACHED.len() as u64) as usize]
            }
            (CoreOp::Store(_), _) if uncached && active.whole() => Row::WrNew,
            (CoreOp::Store(_), _) if uncached => Row::WrPtl,
            (CoreOp::Load, _) if self.rng.chance(choices.load_any) => Row::RdData,
            (CoreOp::Load, _) if self.rng.chance(choices.load_owns) => Row::RdA,
            (CoreOp::Load, _) => Row::RdS,
            (CoreOp::Store(_), _)
                if active.whole() && self.rng.chance(choices.own_without_data) =>
            {
                Row::InvA
            }
            _ => Row::RdA,
        };
        if !self.room_for(row, port) {
            return Turn::NoRoom;
        }
        let caches = matches!(row, Row::RdA | Row::RdS | Row::RdData | Row::InvA);
        if caches && self.place(now, core, n, port).is_none() {
            return self.retry_place(core, active.line());
        }
        // The eviction may have taken the room.
        if !self.room_for(row, port) {
            return Turn::NoRoom;
        }
        self.send(now, n, row, Some(core), active.whole(), port);
        Turn::Sleeps
    }

    /// No way was free: if all are busy waits for one of them, else it was the port.
    fn retry_place(&mut self, core: u8, line: u64) -> Turn {
        let cache = &self.cores[usize::from(core)].cache;
        let mut blocker = None;
        for w in cache.set_of(line) {
            match self.table.find(cache.way(w).line) {
                Some(n) if self.table.entries[n].busy() => blocker = Some(n),
                _ => return Turn::NoRoom,
            }
        }
        match blocker {
            Some(n) => self.wait_for(n, core),
            None => Turn::NoRoom,
        }
    }

    /// A place in the core's cache for the line, evicting another if need be. `None`: no victim can go now.
    fn place(&mut self, now: u64, core: u8, n: usize, port: &mut impl Port) -> Option<usize> {
        let line = self.table.entries[n].line;
        let cache = &self.cores[usize::from(core)].cache;
        let set = cache.set_of(line);
        if let Some(way) = cache.find(line) {
            return Some(way);
        }
        if let Some(way) = set
            .clone()
            .find(|w| cache.way(*w).line == super::cache::NONE)
        {
            return Some(way);
        }
        let first = self.rng.below(set.len() as u64) as usize;
        for turn in 0..set.len() {
            let way = set.start + (first + turn) % set.len();
            let victim = self.cores[usize::from(core)].cache.way(way).line;
            let Some(v) = self.table.find(victim) else {
                continue;
            };
            if !self.table.entries[v].busy() && self.evict(now, core, v, port) {
                return Some(way);
            }
        }
        None
    }

    /// Drops a line from a core's cache, and from the agent if no other core has it. False if there is no room for the message.
    fn evict(&mut self, now: u64, core: u8, v: usize, port: &mut impl Port) -> bool {
        let e = &self.table.entries[v];
        let last = e.sharers & !(1 << core) == 0;
        let row = match e.held {
            Held::M if last => Some(Row::WrI),
            Held::S | Held::E if last && self.rng.chance(self.options.choices.clean_evict) => {
                Some(Row::ClnEvct)
            }
            _ => None,
        };
        if row.is_some_and(|row| !self.room_for(row, port)) {
            return false;
        }
        if let Some(row) = row {
            self.send(now, v, row, None, false, port);
        } else if last {
            self.counters.silent_drops += 1;
            self.drop_all(v);
        } else {
            self.pull(v);
            self.drop_copy(v, core);
        }
        self.table.release_if_empty(v);
        true
    }

    /// Gives the core the line that the agent holds.
    fn share(&mut self, core: u8, n: usize, way: usize, writes: bool) {
        self.pull(n);
        let others = self.table.entries[n].sharers & !(1 << core);
        if writes {
            for other in (0..8).filter(|c| others >> c & 1 == 1) {
                self.drop_copy(n, other);
            }
        } else if let Some(owner) = self.table.entries[n].owner {
            if owner != core {
                self.set_state(n, owner, CoreState::S);
                self.table.entries[n].owner = None;
            }
        }
        let e = &mut self.table.entries[n];
        let alone = writes || others == 0;
        let state = if alone && e.held >= Held::E {
            e.owner = Some(core);
            CoreState::E
        } else {
            CoreState::S
        };
        e.sharers |= 1 << core;
        let copy = self.cores[usize::from(core)].cache.way_mut(way);
        copy.line = e.line;
        copy.state = state;
        copy.data = e.data;
    }

    fn give_up_line(
        &mut self,
        now: u64,
        core: u8,
        active: Active,
        n: usize,
        port: &mut impl Port,
    ) -> Turn {
        let done = Done {
            data: [0; 64],
            len: 0,
            cycles: now - active.issued,
        };
        if active.flushed {
            self.finish(core, Ok(done));
            return Turn::Sleeps;
        }
        let row = match self.table.entries[n].held {
            Held::M => Row::WrI,
            Held::S | Held::E => Row::ClnEvct,
            // The device's caches, if it had any.
            Held::I => Row::InvI,
        };
        if !self.room_for(row, port) {
            return Turn::NoRoom;
        }
        if let Some(a) = &mut self.cores[usize::from(core)].active {
            a.flushed = true;
        }
        self.send(now, n, row, None, false, port);
        self.wait_for(n, core)
    }

    /// Makes a request that the rules allow and nobody needs: what the host may do it will do sometimes.
    fn extra(&mut self, now: u64, core: u8, n: usize, port: &mut impl Port) -> Option<Turn> {
        // Not the rows that bring the line: they come with the operations.
        const ROWS: [Row; 14] = [
            Row::RdIInv,
            Row::RdICur,
            Row::RdKeepInv,
            Row::RdKeepCur,
            Row::RdKeep,
            Row::InvS,
            Row::InvI,
            Row::InvKeep,
            Row::ClnEvct,
            Row::SpecRd,
            Row::WrA,
            Row::WrS,
            Row::WrI,
            Row::WrKeep,
        ];
        let held = self.table.entries[n].held;
        let allowed = |row: &Row| host::may_issue(row.request(), held, false);
        let count = ROWS.iter().filter(|r| allowed(r)).count() as u64;
        let nth = self.rng.below(count) as usize;
        let row = ROWS.into_iter().filter(allowed).nth(nth)?;
        if !self.room_for(row, port) {
            return None;
        }
        self.send(now, n, row, None, false, port);
        // A hint ends nothing.
        (row != Row::SpecRd).then(|| self.wait_for(n, core))
    }

    /// The row's request is complete: does what its core waited for.
    pub(super) fn conclude(&mut self, now: u64, n: usize, pending: &Pending, most: Held) {
        let (core, line) = (pending.core, self.table.entries[n].line);
        let Some(core) = core else {
            // Without data a grant is worth something only to who still holds the line.
            if pending.row == Row::InvS && self.table.entries[n].held != Held::I {
                let e = &mut self.table.entries[n];
                e.held = e.held.max(most);
            }
            return self.check_copy(now, n, pending);
        };
        let Some(active) = self.cores[usize::from(core)].active else {
            return;
        };
        let what = active.op.name();
        let address = line * LINE;
        if pending.nxm || pending.poison {
            let error = if pending.nxm {
                AgentError::NoMemory { what, address }
            } else {
                AgentError::Poison { what, address }
            };
            // What was granted is dropped silently.
            self.drop_all(n);
            return self.finish(core, Err(error));
        }
        match pending.row {
            Row::RdA | Row::RdS | Row::RdData | Row::InvA => {
                let e = &mut self.table.entries[n];
                if pending.row != Row::InvA {
                    e.data = e.incoming;
                }
                e.held = most;
                let cache = &self.cores[usize::from(core)].cache;
                let free = |w: &usize| cache.way(*w).line == super::cache::NONE;
                let way = cache.find(line).or_else(|| cache.set_of(line).find(free));
                let Some(way) = way else {
                    return self.violation(now, line, "agent: no way kept free for a fill".into());
                };
                self.share(core, n, way, active.op.owns());
                self.perform(now, core, way, n);
            }
            // Past the caches.
            _ => {
                let len = usize::from(active.len);
                let mut done = Done {
                    data: [0; 64],
                    len: 0,
                    cycles: now - active.issued,
                };
                if active.op == CoreOp::Load {
                    let from = &self.table.entries[n].incoming[active.offset()..];
                    done.data[..len].copy_from_slice(&from[..len]);
                    done.len = active.len;
                }
                self.finish(core, Ok(done));
            }
        }
    }

    /// What a read brought that nobody waits for must be what a holder has: the agent held the line, clean, all the while.
    fn check_copy(&mut self, now: u64, n: usize, pending: &Pending) {
        let e = &self.table.entries[n];
        let keeps = matches!(pending.row, Row::RdKeepInv | Row::RdKeepCur | Row::RdKeep);
        if keeps && matches!(e.held, Held::S | Held::E) && !pending.poison && e.incoming != e.data {
            let (line, row) = (e.line, pending.row);
            let what = format!("{row:?} brought other data than the host holds, clean");
            self.violation(now, line, what);
        }
    }
}
