//! What the cores hold of a line: their copies, and taking them away.

use super::agent::Agent;
use super::cache::{CoreState, NONE};
use cxlmem_protocol::hdm_db::host::Held;

impl Agent {
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
