//! One step of the coherence model: who may act, and what then happens.

use super::{Config, Core, Cover, Fault, Relax, State, LINES};
use cxlmem_protocol::hdm_db::host::{Held, Row};
use cxlmem_protocol::hdm_db::{self, Dir, Local, Phase};

/// A step. Lines and cores are numbered from 0, messages from the oldest of their channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The agent sends a request of this line for a core.
    Issue(u8, Row, u8),
    /// The agent sends an eviction that it does not count ([`Relax`]).
    Forget(u8, Row),
    /// A core loads from what the agent holds.
    Load(u8, u8),
    /// A core stores to what the agent holds exclusively.
    Store(u8, u8),
    /// The agent drops a clean line silently.
    Drop(u8),
    /// The device starts an access.
    Local(u8, Local),
    /// The device gives up waiting for a snoop's answer.
    Timeout(u8),
    /// The device takes a Req.
    TakeReq(u8),
    /// The device serves a Req that waited.
    ServeStalled(u8),
    /// The device evicts this line to make room in the directory.
    MakeRoom(u8),
    /// The device takes an RwD.
    TakeRwd(u8),
    /// The device takes a BIRsp.
    TakeBiRsp(u8),
    /// The agent takes an NDR.
    TakeNdr(u8),
    /// The agent takes a DRS.
    TakeDrs(u8),
    /// The agent takes a BISnp.
    TakeSnoop(u8),
    /// The agent answers the snoop of this line, with the n-th of its legal replies.
    Reply(u8, u8),
}

impl Action {
    /// Kinds of deliveries that take turns.
    pub(super) const TURNS: usize = 9;

    /// The kind of a delivery.
    pub(super) fn turn(&self) -> usize {
        match self {
            Self::TakeReq(_) => 0,
            Self::ServeStalled(_) => 1,
            Self::MakeRoom(_) => 2,
            Self::TakeRwd(_) => 3,
            Self::TakeBiRsp(_) => 4,
            Self::TakeNdr(_) => 5,
            Self::TakeDrs(_) => 6,
            Self::TakeSnoop(_) => 7,
            Self::Reply(..) => 8,
            _ => Self::TURNS,
        }
    }

    /// The line, of a delivery that is not the head of a channel.
    pub(super) fn line(&self) -> Option<u8> {
        match self {
            Self::ServeStalled(n) | Self::MakeRoom(n) | Self::Reply(n, _) => Some(*n),
            _ => None,
        }
    }
}

impl State {
    /// What host and device may start, in this state.
    pub(super) fn choices(&self, config: &Config, actions: &mut Vec<Action>) {
        for n in 0..config.lines.min(LINES) as u8 {
            for row in config.rows {
                let cores = match row {
                    Row::RdA | Row::RdS | Row::RdData | Row::InvA => config.cores.min(2) as u8,
                    _ => 1,
                };
                actions.extend((0..cores).map(|core| Action::Issue(n, *row, core)));
            }
            match config.relax {
                Some(Relax::ForgottenCleanEvict) => actions.push(Action::Forget(n, Row::ClnEvct)),
                Some(Relax::ForgottenDirtyEvict) => actions.push(Action::Forget(n, Row::WrI)),
                _ => {}
            }
            for core in 0..config.cores.min(2) as u8 {
                actions.push(Action::Load(n, core));
                actions.push(Action::Store(n, core));
            }
            actions.push(Action::Drop(n));
            actions.extend(config.locals.iter().map(|access| Action::Local(n, *access)));
            if config.timeouts {
                actions.push(Action::Timeout(n));
            }
        }
    }

    /// What host and device do with what is on its way.
    pub(super) fn deliveries(&self, config: &Config, actions: &mut Vec<Action>) {
        let heads = |len: usize| 0..if config.reorder { len } else { len.min(1) } as u8;
        actions.extend(heads(self.ndr.len()).map(Action::TakeNdr));
        actions.extend(heads(self.drs.len()).map(Action::TakeDrs));
        actions.extend(heads(self.birsp.len()).map(Action::TakeBiRsp));
        actions.extend(heads(self.rwd.len()).map(Action::TakeRwd));
        actions.extend(heads(self.bisnp.len()).map(Action::TakeSnoop));
        for n in 0..config.lines.min(LINES) as u8 {
            actions.push(Action::ServeStalled(n));
            if self.claim.is_some_and(|line| line != n) {
                actions.push(Action::MakeRoom(n));
            }
            actions.extend((0..self.replies(config, n).len() as u8).map(|c| Action::Reply(n, c)));
        }
        actions.extend(heads(self.req.len()).map(Action::TakeReq));
    }

    /// The state after a step; `None` if it cannot happen now or changes nothing.
    pub(super) fn after(
        &self,
        config: &Config,
        action: Action,
        cover: Option<&Cover>,
    ) -> Option<Self> {
        let mut state = *self;
        state.step(config, action, cover)?;
        for n in 0..config.lines.min(LINES) {
            state.settle(n);
        }
        state.claim_room(config);
        let recorded = state.lines.iter().filter(|l| l.line.dir != Dir::I).count();
        if recorded > config.entries {
            state.fault(Fault::NoRoom);
        }
        (state != *self).then_some(state)
    }

    fn step(&mut self, config: &Config, action: Action, cover: Option<&Cover>) -> Option<()> {
        match action {
            Action::Issue(n, row, core) => self.issue(config, n, row, core),
            Action::Forget(n, row) => self.forget(config, n, row),
            Action::Load(n, core) => {
                let line = &mut self.lines[usize::from(n)];
                let cores = &mut line.cores;
                if line.held == Held::I
                    || line.snoop.is_some()
                    || cores[usize::from(core)] != Core::I
                {
                    return None;
                }
                *cores = cores.map(|c| c.min(Core::Shared));
                cores[usize::from(core)] = Core::Shared;
                Some(())
            }
            Action::Store(n, core) => {
                let line = &self.lines[usize::from(n)];
                let free = line.pending.is_none_or(|p| p.row >= Row::WrA);
                if line.held < Held::E || line.snoop.is_some() || !free {
                    return None;
                }
                self.store(usize::from(n), core);
                Some(())
            }
            Action::Drop(n) => {
                let line = &mut self.lines[usize::from(n)];
                if !matches!(line.held, Held::S | Held::E) || line.snoop.is_some() {
                    return None;
                }
                line.hold(Held::I);
                Some(())
            }
            Action::Local(n, access) => self.start_local(config, n, access),
            Action::Timeout(n) => {
                let line = &mut self.lines[usize::from(n)];
                let (next, outcome) = hdm_db::timeout(line.line);
                outcome?;
                line.line = next;
                if config.relax == Some(Relax::SnoopWhileOverdue) {
                    line.line.phase = Phase::Stable;
                }
                Some(())
            }
            Action::TakeReq(i) => self.take_req(config, i, cover),
            Action::ServeStalled(n) => {
                let msg = self.lines[usize::from(n)].stalled.take()?;
                self.serve_req(config, msg, cover).then_some(())
            }
            Action::MakeRoom(n) => {
                let line = &self.lines[usize::from(n)];
                if line.line.dir == Dir::I {
                    return None;
                }
                self.start_local(config, n, Local::Evict)
            }
            Action::TakeRwd(i) => self.take_rwd(config, i, cover),
            Action::TakeBiRsp(i) => self.take_birsp(config, i),
            Action::TakeNdr(i) => self.take_ndr(config, i, cover),
            Action::TakeDrs(i) => self.take_drs(config, i),
            Action::TakeSnoop(i) => self.take_snoop(config, i, cover),
            Action::Reply(n, choice) => self.reply(config, n, choice),
        }
    }
}
