//! What the cores hold of a line: their copies, and taking them away.

use super::agent::Agent;
use super::cache::{CoreState, NONE};
use super::{Line, LINE};
use cxlmem_protocol::hdm_db::host::{Held, Row};

impl Agent {
    /// What the cores together hold of the line at `address`.
    pub fn held(&self, address: u64) -> Held {
        let n = self.table.find(address / LINE);
        n.map_or(Held::I, |n| self.table.entries[n].held)
    }

    /// True if a snoop of the line at `address` has come and is not answered: its answer will be what the cores hold then.
    pub fn is_snooped(&self, address: u64) -> bool {
        let n = self.table.find(address / LINE);
        n.is_some_and(|n| self.table.entries[n].snoop.is_some())
    }

    /// A store of the line at `address` that was made outside the cores, by who was given it with [`CoreOp::Own`](super::CoreOp::Own).
    /// Takes no time. False if no core has the line for itself any more, or something of it is under way: nothing is stored then.
    #[must_use = "a line that is not taken is lost"]
    pub fn deposit(&mut self, address: u64, data: &Line) -> bool {
        let Some(n) = self.table.find(address / LINE) else {
            return false;
        };
        let e = &mut self.table.entries[n];
        let Some(owner) = e.owner else { return false };
        // As a core's own store: not while a Req is outstanding; a write-back that keeps the line has left with the old data.
        if e.held < Held::E || e.pending.is_some_and(|p| p.row < Row::WrA) || e.dead {
            return false;
        }
        let cache = &mut self.cores[usize::from(owner)].cache;
        let Some(way) = cache.find(e.line) else {
            return false;
        };
        e.held = Held::M;
        let copy = cache.way_mut(way);
        copy.state = CoreState::M;
        copy.data = *data;
        true
    }

    /// Brings the entry's data up to date with its owner's.
    pub(super) fn pull(&mut self, n: usize) {
        let e = &mut self.table.entries[n];
        let Some(owner) = e.owner else { return };
        let cache = &self.cores[usize::from(owner)].cache;
        if let Some(way) = cache.find(e.line) {
            if cache.way(way).state == CoreState::M {
                e.data = cache.way(way).data;
            }
        }
    }

    pub(super) fn set_state(&mut self, n: usize, core: u8, state: CoreState) {
        let line = self.table.entries[n].line;
        let cache = &mut self.cores[usize::from(core)].cache;
        if let Some(way) = cache.find(line) {
            cache.way_mut(way).state = state;
        }
    }

    /// Takes the line from one core. Call [`Agent::pull`] before.
    pub(super) fn drop_copy(&mut self, n: usize, core: u8) {
        let e = &mut self.table.entries[n];
        let cache = &mut self.cores[usize::from(core)].cache;
        if let Some(way) = cache.find(e.line) {
            cache.way_mut(way).line = NONE;
        }
        e.sharers &= !(1 << core);
        if e.owner == Some(core) {
            e.owner = None;
        }
    }

    /// The agent holds nothing of the line any more.
    pub(super) fn drop_all(&mut self, n: usize) {
        let sharers = self.table.entries[n].sharers;
        for core in (0..8).filter(|c| sharers >> c & 1 == 1) {
            self.drop_copy(n, core);
        }
        self.table.entries[n].held = Held::I;
    }

    /// The agent holds no more than this of the line any more. Dirty data must have been taken ([`Agent::pull`]).
    pub(super) fn hold(&mut self, n: usize, held: Held) {
        if held == Held::I {
            return self.drop_all(n);
        }
        let state = if held == Held::S {
            CoreState::S
        } else {
            CoreState::E
        };
        if let Some(owner) = self.table.entries[n].owner {
            self.set_state(n, owner, state);
        }
        let e = &mut self.table.entries[n];
        e.held = held;
        if held == Held::S {
            e.owner = None;
        }
    }
}
