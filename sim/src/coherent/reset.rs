//! What does not go well: time-outs, the loss of the link, and the audit of the agent's own state.

use super::agent::{Agent, Loss, LostLine};
use super::cache::{CoreState, Stage, NONE};
use super::op::AgentError;
use super::LINE;
use cxlmem_protocol::hdm_db::host::{Held, Row};

impl Agent {
    /// Fails what waits too long. Looks every 1/16 of the time-out, so that the scan costs nothing per cycle.
    #[cold]
    pub(super) fn expire(&mut self, now: u64) {
        let timeout = self.options.timeout;
        self.next_check = now + (timeout / 16).max(1);
        let late = |since: u64| now.saturating_sub(since) >= timeout;
        for e in &mut self.table.entries {
            let request = e.pending.is_some_and(|p| late(p.sent));
            // With the handshake not done either, or the snoop's own write-back.
            let snoop = e
                .snoop
                .is_some_and(|s| late(s.since) && s.stage != Stage::Fresh);
            e.dead |= e.line != NONE && (request || snoop);
        }
        for core in 0..self.cores.len() as u8 {
            let Some(active) = self.cores[usize::from(core)].active else {
                continue;
            };
            let n = self.table.find(active.line());
            let dead = n.is_some_and(|n| self.table.entries[n].dead);
            // It may have to wait for several others first, each with a time-out of its own.
            if dead || now.saturating_sub(active.issued) >= 16 * timeout {
                let pending = n.and_then(|n| self.table.entries[n].pending);
                let error = AgentError::Timeout {
                    what: active.op.name(),
                    address: active.line() * LINE,
                    message: pending.map(|p| p.row),
                    after: now - pending.map_or(active.issued, |p| p.sent.min(active.issued)),
                };
                self.finish(core, Err(error));
            }
        }
    }

    /// Everything that was under way is lost. Operations fail with [`AgentError::LinkReset`]; lines with something outstanding are
    /// dropped, with [`Loss::Device`] all are. Returns the lines whose last value may be lost, in no order; the others keep theirs.
    pub fn link_reset(&mut self, loss: Loss) -> Vec<LostLine> {
        let mut lost = Vec::new();
        for core in 0..self.cores.len() as u8 {
            if let Some(active) = self.cores[usize::from(core)].active {
                let error = AgentError::LinkReset {
                    what: active.op.name(),
                    address: active.line() * LINE,
                };
                self.finish(core, Err(error));
            }
        }
        self.todo.clear();
        self.ready = 0;
        for n in 0..self.table.entries.len() {
            let e = &mut self.table.entries[n];
            if e.line == NONE {
                continue;
            }
            let address = e.line * LINE;
            let tag = e.snoop.and_then(|s| s.tag);
            let pending = e.pending.take();
            (e.snoop, e.queued, e.dead, e.waiters) = (None, false, false, 0);
            for tag in pending.map(|p| p.tag).into_iter().chain(tag) {
                self.tags.release(tag);
            }
            let row = pending.map(|p| p.row);
            if loss == Loss::Link && matches!(row, Some(Row::WrA | Row::WrKeep)) {
                // Arrived or not, the directory says A and the host has the last value: nothing is lost if it counts as dirty.
                let e = &mut self.table.entries[n];
                e.held = Held::M;
                if let Some(owner) = e.owner {
                    self.set_state(n, owner, CoreState::M);
                }
                continue;
            }
            let written = row.is_some_and(|r| (Row::WrA..=Row::WrKeep).contains(&r));
            let dirty = self.table.entries[n].held == Held::M;
            let unknown = row.is_some() || loss == Loss::Device;
            if unknown && (dirty || written) {
                // What was not sent cannot have arrived.
                let certain = dirty;
                lost.push(LostLine { address, certain });
            }
            if unknown {
                self.drop_all(n);
            }
            self.table.release_if_empty(n);
        }
        self.outstanding = 0;
        self.snoops = 0;
        lost
    }

    /// Checks every line: one writer, no more in the cores than the agent holds, equal copies.
    ///
    /// # Errors
    /// The first line where that does not hold, and what is wrong with it.
    pub fn audit(&self) -> Result<(), String> {
        for (c, core) in self.cores.iter().enumerate() {
            for way in core.cache.lines() {
                let wrong = |what: &str| {
                    Err(format!(
                        "line {:#x}, core {c} in {:?}: {what}",
                        way.line * LINE,
                        way.state
                    ))
                };
                let Some(n) = self.table.find(way.line) else {
                    return wrong("the agent does not know it");
                };
                let e = &self.table.entries[n];
                let most = match way.state {
                    CoreState::S => Held::S,
                    CoreState::E => Held::E,
                    CoreState::M => Held::M,
                };
                if e.held < most {
                    return wrong(&format!("the agent holds {:?}", e.held));
                }
                if e.sharers >> c & 1 == 0 {
                    return wrong("not among the line's sharers");
                }
                if way.state != CoreState::S && (e.owner != Some(c as u8) || e.sharers != 1 << c) {
                    return wrong("other cores have it too, or it is not the owner");
                }
                if way.state != CoreState::M && way.data != e.data {
                    return wrong("its copy differs from the agent's");
                }
            }
        }
        for (_, e) in self.table.used() {
            let has = |c: &u8| self.cores[usize::from(*c)].cache.find(e.line).is_some();
            let count = (0..self.cores.len() as u8).filter(has).count();
            if count != e.sharers.count_ones() as usize || (e.held == Held::I && count != 0) {
                let (held, sharers) = (e.held, e.sharers);
                return Err(format!(
                    "line {:#x}: {held:?} with sharers {sharers:#b}, but {count} cores have it",
                    e.line * LINE
                ));
            }
        }
        Ok(())
    }
}
