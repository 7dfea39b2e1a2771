//! One step of the coherence model: who may act, and what then happens.

use super::cover::{Cover, Race};
use super::{
    provoked, waiting, Age, Config, Core, DrsMsg, Fault, LineState, NdrMsg, Pending, Relax, ReqMsg,
    RwdMsg, Stage, State, LINES,
};
use cxlmem_protocol::hdm_db::host::{self, Held, React, Reply, Row};
use cxlmem_protocol::hdm_db::{
    self, Dir, Local, LocalStep, Op, Outcome, Phase, Place, Request, Step, Violation, Write,
};
use cxlmem_protocol::msg::{
    M2sBiRspOpcode, M2sRwdOpcode, MetaField, MetaValue, S2mBiSnpOpcode, S2mNdrOpcode, SnpType,
};

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

const CONFLICT: Request = Request {
    op: Op::Rwd(M2sRwdOpcode::BiConflict),
    meta_field: MetaField::NoOp,
    meta_value: MetaValue::I,
    snp_type: SnpType::NoOp,
};

/// What a host may also answer to BISnpInv if it is [`Config::stubborn`].
const KEEP: [Reply; 2] = [
    Reply::Answer(M2sBiRspOpcode::BiRspS, Held::S),
    Reply::Answer(M2sBiRspOpcode::BiRspE, Held::E),
];

impl State {
    /// What host and device may start, in this state.
    pub(super) fn choices(&self, config: &Config, actions: &mut Vec<Action>) {
        for n in 0..config.lines.min(LINES) as u8 {
            for row in config.rows {
                let cores = match row {
                    Row::RdA | Row::RdS | Row::RdData | Row::InvA => config.cores as u8,
                    _ => 1,
                };
                actions.extend((0..cores).map(|core| Action::Issue(n, *row, core)));
            }
            match config.relax {
                Some(Relax::ForgottenCleanEvict) => actions.push(Action::Forget(n, Row::ClnEvct)),
                Some(Relax::ForgottenDirtyEvict) => actions.push(Action::Forget(n, Row::WrI)),
                _ => {}
            }
            for core in 0..config.cores as u8 {
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
            Action::TakeDrs(i) => {
                let msg = self.drs.remove(usize::from(i))?;
                let n = usize::from(msg.line);
                match &mut self.lines[n].pending {
                    Some(p) if p.data.is_none() && p.row.request().rule().data => {
                        p.data = Some(msg.data);
                        self.complete(config, n);
                    }
                    _ => self.fault(Fault::Unexpected),
                }
                Some(())
            }
            Action::TakeSnoop(i) => self.take_snoop(config, i, cover),
            Action::Reply(n, choice) => self.reply(config, n, choice),
        }
    }

    // The host.

    fn issue(&mut self, config: &Config, n: u8, row: Row, core: u8) -> Option<()> {
        let line = &mut self.lines[usize::from(n)];
        if line.pending.is_some() || line.snoop.is_some() {
            return None;
        }
        // What is overwritten in full is what InvA is for; `Relax::UpgradeByMemInv` writes a part.
        if !host::may_issue(row.request(), line.held, true) {
            return None;
        }
        if config.relax == Some(Relax::UpgradeByMemInv) && row == Row::InvA && line.held != Held::S
        {
            return None;
        }
        if row == Row::SpecRd {
            let hint = ReqMsg {
                line: n,
                row,
                forgotten: true,
            };
            let again = self.req.iter().any(|m| m == hint);
            return (!again && self.req.fits(config.depth) && self.req.push(hint)).then_some(());
        }
        line.pending = Some(Pending {
            row,
            core,
            ndr: None,
            data: None,
        });
        self.send(config, n, row, false)
    }

    fn forget(&mut self, config: &Config, n: u8, row: Row) -> Option<()> {
        let line = &self.lines[usize::from(n)];
        let free = line.pending.is_none() && line.snoop.is_none();
        if !free || !host::may_issue(row.request(), line.held, false) {
            return None;
        }
        self.send(config, n, row, true)
    }

    /// Puts a request on its channel; a write-back or an eviction leaves the agent with what it keeps.
    fn send(&mut self, config: &Config, n: u8, row: Row, forgotten: bool) -> Option<()> {
        let line = &mut self.lines[usize::from(n)];
        let data = line.copy;
        match row {
            Row::ClnEvct => line.hold(Held::I),
            Row::WrA | Row::WrS | Row::WrI => {
                line.hold(host::after_write_back(Some(row.request().meta_value)));
            }
            Row::WrKeep => line.hold(host::after_write_back(None)),
            _ => {}
        }
        let sent = if row >= Row::WrA {
            // The value of a write from nothing is not there before the device has it.
            let data = if row <= Row::WrKeep { data } else { Age::Old };
            let row = Some(row);
            self.rwd.fits(config.depth)
                && self.rwd.push(RwdMsg {
                    line: n,
                    row,
                    data,
                    forgotten,
                })
        } else {
            self.req.fits(config.depth)
                && self.req.push(ReqMsg {
                    line: n,
                    row,
                    forgotten,
                })
        };
        sent.then_some(())
    }

    /// A core writes a part of a line that the agent holds exclusively.
    fn store(&mut self, n: usize, core: u8) {
        let fresh = self.lines[n].copy == Age::Latest;
        self.supersede(n);
        let line = &mut self.lines[n];
        line.held = Held::M;
        // What is left of an old line stays old.
        line.copy = if fresh { Age::Latest } else { Age::Old };
        line.cores = [Core::I; 2];
        line.cores[usize::from(core)] = Core::Owner;
    }

    fn take_ndr(&mut self, config: &Config, i: u8, cover: Option<&Cover>) -> Option<()> {
        let msg = self.ndr.get(usize::from(i))?;
        let n = usize::from(msg.line);
        let is_ack = msg.opcode == S2mNdrOpcode::BiConflictAck;
        // The one order that NDR keeps (cxl-mem 2.7).
        let passes = is_ack
            && (self.ndr.iter().take(usize::from(i)))
                .any(|m| m.line == msg.line && m.opcode != S2mNdrOpcode::BiConflictAck);
        if passes && config.relax != Some(Relax::AckPassesCompletion) {
            return None;
        }
        self.ndr.remove(usize::from(i));
        if msg.forgotten {
            return Some(());
        }
        let line = &mut self.lines[n];
        let dir = line.line.dir;
        let next = match line.snoop {
            Some((kind, Stage::Race(h))) => {
                let next = if is_ack { h.acked() } else { h.completed() };
                if let (Some(p), Some(cover), host::Handshake::Sent) = (line.pending, cover, h) {
                    let race = if is_ack {
                        Race::Early(kind)
                    } else {
                        Race::Late(kind)
                    };
                    cover.reach(p.row, dir, race);
                }
                next.map(|h| Some((kind, Stage::Race(h))))
            }
            other => (!is_ack).then_some(other),
        };
        match (next, &mut line.pending) {
            (Some(snoop), _) if is_ack => line.snoop = snoop,
            (Some(snoop), Some(p)) if p.ndr.is_none() => {
                line.snoop = snoop;
                p.ndr = Some(msg.opcode);
                self.complete(config, n);
            }
            _ => self.fault(Fault::Unexpected),
        }
        Some(())
    }

    /// Ends the outstanding request, if everything has come.
    fn complete(&mut self, config: &Config, n: usize) {
        let line = &mut self.lines[n];
        let Some(p) = line.pending else { return };
        let request = p.row.request();
        let Some(ndr) = p.ndr else { return };
        if request.rule().data && p.data.is_none() {
            return;
        }
        line.pending = None;
        if let Some((kind, Stage::Flush)) = line.snoop {
            line.snoop = Some((kind, Stage::Fresh));
        }
        let Some(most) = host::granted(request, line.held, ndr) else {
            return self.fault(Fault::Unexpected);
        };
        match p.row {
            Row::RdA => {
                line.copy = p.data.unwrap_or_default();
                line.held = most;
                self.store(n, p.core);
            }
            Row::RdS | Row::RdData => {
                line.copy = p.data.unwrap_or_default();
                line.held = most;
                line.cores[usize::from(p.core)] = Core::Shared;
            }
            Row::InvA => {
                line.held = most;
                let whole = config.relax != Some(Relax::UpgradeByMemInv);
                self.store(n, p.core);
                if whole {
                    self.lines[n].copy = Age::Latest;
                }
            }
            // Without data it is worth something only to who still holds the line.
            Row::InvS if line.held != Held::I => line.held = most,
            _ => {}
        }
    }

    fn take_snoop(&mut self, config: &Config, i: u8, cover: Option<&Cover>) -> Option<()> {
        let (n, kind) = self.bisnp.remove(usize::from(i))?;
        let line = &mut self.lines[usize::from(n)];
        if line.snoop.is_some() {
            self.fault(Fault::Unexpected);
            return Some(());
        }
        line.snoop = Some((kind, Stage::Fresh));
        match host::on_snoop(line.pending.map(Pending::view), None) {
            React::Answer => {}
            React::Wait => {
                if let (Some(p), Some(cover)) = (line.pending, cover) {
                    cover.reach(p.row, line.line.dir, Race::LateData(kind));
                }
            }
            React::Conflict => {
                line.snoop = Some((kind, Stage::Race(host::Handshake::Sent)));
                let conflict = RwdMsg {
                    line: n,
                    row: None,
                    data: Age::Old,
                    forgotten: false,
                };
                if !self.rwd.fits(config.depth) || !self.rwd.push(conflict) {
                    return None;
                }
            }
        }
        Some(())
    }

    /// The replies that the agent may give now to the snoop of a line.
    fn replies(&self, config: &Config, n: u8) -> Vec<Reply> {
        let line = &self.lines[usize::from(n)];
        let Some((kind, stage)) = line.snoop else {
            return Vec::new();
        };
        let handshake = match stage {
            Stage::Fresh => None,
            Stage::Race(h) => Some(h),
            Stage::Flush => return Vec::new(),
        };
        if host::on_snoop(line.pending.map(Pending::view), handshake) != React::Answer {
            return Vec::new();
        }
        let forgets = config.relax == Some(Relax::NotWrittenBackAgain)
            && handshake == Some(host::Handshake::Both);
        let held = if forgets {
            line.held.min(Held::E)
        } else {
            line.held
        };
        let mut replies = host::replies(kind, held).to_vec();
        if config.stubborn && kind == S2mBiSnpOpcode::BiSnpInv {
            replies.extend(KEEP.iter().filter(|r| match r {
                Reply::Answer(_, after) => *after <= held && held != Held::M,
                Reply::WriteBack(_) => false,
            }));
        }
        replies
    }

    fn reply(&mut self, config: &Config, n: u8, choice: u8) -> Option<()> {
        let reply = *self.replies(config, n).get(usize::from(choice))?;
        let line = &mut self.lines[usize::from(n)];
        let (kind, _) = line.snoop?;
        match reply {
            Reply::Answer(birsp, after) => {
                line.snoop = None;
                line.hold(after);
                (self.birsp.fits(config.depth) && self.birsp.push((n, birsp))).then_some(())
            }
            Reply::WriteBack(keeps) => {
                let row = match keeps {
                    MetaValue::A => Row::WrA,
                    MetaValue::S => Row::WrS,
                    _ => Row::WrI,
                };
                line.snoop = Some((kind, Stage::Flush));
                line.pending = Some(Pending {
                    row,
                    core: 0,
                    ndr: None,
                    data: None,
                });
                self.send(config, n, row, false)
            }
        }
    }

    // The device.

    fn take_req(&mut self, config: &Config, i: u8, cover: Option<&Cover>) -> Option<()> {
        let msg = self.req.remove(usize::from(i))?;
        let n = usize::from(msg.line);
        let mut served = *self;
        if served.serve_req(config, msg, cover) {
            *self = served;
            return Some(());
        }
        // It cannot be served. If that is for a snoop or for room in the directory, it waits in a tracker.
        let waits = waiting(self.lines[n].line).is_some() || !self.has_room(config, msg);
        let used = self.lines.iter().filter(|l| l.stalled.is_some()).count();
        if !waits || used >= config.trackers {
            return None;
        }
        if let (Some(access), Some(cover)) = (waiting(self.lines[n].line), cover) {
            let race = Race::During(access.snoop());
            cover.reach(msg.row, self.lines[n].line.dir, race);
        }
        self.lines[n].stalled = Some(msg);
        Some(())
    }

    /// The next entry that becomes free is for a request that waits for nothing else. Looked at in every step and not only when
    /// the request comes: another line may have taken the room while the request waited for a snoop.
    fn claim_room(&mut self, config: &Config) {
        let waits = |l: &LineState| {
            l.stalled
                .filter(|m| waiting(l.line).is_none() && !self.has_room(config, *m))
        };
        if self.claim.is_none() {
            self.claim = self.lines.iter().find_map(waits).map(|m| m.line);
        }
    }

    /// False if the directory has no entry left for what this request would record.
    fn has_room(&self, config: &Config, msg: ReqMsg) -> bool {
        let line = self.lines[usize::from(msg.line)].line;
        let after = hdm_db::settle(msg.row.request().rule().next, line.dir, config.policy);
        if line.dir != Dir::I || after == Dir::I {
            return true;
        }
        let claimed = self.claim.is_some_and(|n| n != msg.line);
        let used = self.lines.iter().filter(|l| l.line.dir != Dir::I).count();
        used < config.entries && !claimed
    }

    /// False if it must wait.
    fn serve_req(&mut self, config: &Config, msg: ReqMsg, cover: Option<&Cover>) -> bool {
        let n = usize::from(msg.line);
        let line = &self.lines[n];
        let place = if line.stalled.is_some() {
            Place::Outstanding
        } else {
            Place::Hit
        };
        let before = line.line;
        let Step::Act(act) = hdm_db::request(before, msg.row.request(), place, config.policy)
        else {
            return false;
        };
        let answers = act.ndr.is_none_or(|_| self.ndr.fits(config.depth))
            && act.drs.is_none_or(|_| self.drs.fits(config.depth));
        if !answers || !self.has_room(config, msg) {
            return false;
        }
        if let Some(cover) = cover {
            cover.reach(msg.row, before.dir, Race::Quiet);
        }
        let line = &mut self.lines[n];
        line.line = act.next;
        if config.relax == Some(Relax::DirectoryBehindGrant)
            && msg.row == Row::RdData
            && before.dir == Dir::S
        {
            line.line.dir = before.dir;
        }
        // An uncached read is the value of this moment; a cached one is checked when the agent holds it.
        let uncached = act.drs.is_some() && act.ndr == Some(S2mNdrOpcode::Cmp);
        let stale = uncached && line.held != Held::M && line.memory != Age::Latest;
        let data = line.memory;
        if act.drs.is_some() {
            self.drs.push(DrsMsg {
                line: msg.line,
                data,
            });
        }
        if let Some(opcode) = act.ndr {
            self.ndr.push(NdrMsg {
                line: msg.line,
                opcode,
                forgotten: msg.forgotten,
            });
        }
        if self.claim == Some(msg.line) {
            self.claim = None;
        }
        if stale {
            self.fault(Fault::Stale);
        }
        self.log(config, act.violation);
        true
    }

    fn take_rwd(&mut self, config: &Config, i: u8, cover: Option<&Cover>) -> Option<()> {
        let msg = self.rwd.remove(usize::from(i))?;
        let n = usize::from(msg.line);
        let stalled = self.lines.iter().filter(|l| l.stalled.is_some()).count();
        if config.relax == Some(Relax::SharedPool) && stalled >= config.trackers {
            return None;
        }
        let line = &mut self.lines[n];
        let request = msg.row.map_or(CONFLICT, Row::request);
        let place = if line.stalled.is_some() {
            Place::Outstanding
        } else {
            Place::Hit
        };
        let Step::Act(act) = hdm_db::request(line.line, request, place, config.policy) else {
            self.fault(Fault::Unexpected);
            return Some(());
        };
        if let (Some(row), Some(cover)) = (msg.row, cover) {
            let race = waiting(line.line).map_or(Race::Quiet, |a| Race::During(a.snoop()));
            cover.reach(row, line.line.dir, race);
        }
        line.line = act.next;
        let from_nothing = msg.row.is_some_and(|row| row > Row::WrKeep);
        let base_is_old = act.write == Write::Merge && line.memory != Age::Latest;
        match act.write {
            Write::None => {}
            Write::Full | Write::Merge if from_nothing => {
                self.supersede(n);
                self.lines[n].memory = Age::Latest;
            }
            Write::Full | Write::Merge => line.memory = msg.data,
        }
        if base_is_old {
            self.fault(Fault::Stale);
        }
        let opcode = act.ndr?;
        let answer = NdrMsg {
            line: msg.line,
            opcode,
            forgotten: msg.forgotten,
        };
        if !self.ndr.fits(config.depth) || !self.ndr.push(answer) {
            return None;
        }
        self.log(config, act.violation);
        Some(())
    }

    fn take_birsp(&mut self, config: &Config, i: u8) -> Option<()> {
        let (n, mut birsp) = self.birsp.remove(usize::from(i))?;
        let line = &mut self.lines[usize::from(n)];
        let inv = waiting(line.line).is_some_and(|a| a.snoop() == S2mBiSnpOpcode::BiSnpInv);
        if inv && config.relax == Some(Relax::KeptTakenAsInvalid) {
            birsp = M2sBiRspOpcode::BiRspI;
        }
        let answered = hdm_db::answer(line.line, birsp);
        line.line = answered.next;
        if let Some(Outcome::Serve(access)) = answered.outcome {
            self.access(usize::from(n), access);
        }
        self.log(config, answered.violation);
        Some(())
    }

    fn start_local(&mut self, config: &Config, n: u8, access: Local) -> Option<()> {
        let line = &mut self.lines[usize::from(n)];
        let stalled = line.stalled.is_some() && config.relax != Some(Relax::SnoopBeforeStalled);
        match hdm_db::local(line.line, access, stalled) {
            LocalStep::Serve => {
                self.access(usize::from(n), access);
                Some(())
            }
            LocalStep::Snoop(kind, next) => {
                line.line = next;
                (self.bisnp.fits(config.depth) && self.bisnp.push((n, kind))).then_some(())
            }
            LocalStep::Stall | LocalStep::Fail => None,
        }
    }

    /// The device's access to memory.
    fn access(&mut self, n: usize, access: Local) {
        let line = &self.lines[n];
        let (memory, held) = (line.memory, line.held);
        let (needs, most) = match access {
            Local::ReadCurrent => (Age::Recent, Held::M),
            Local::ReadData => (Age::Latest, Held::S),
            Local::Write => (Age::Latest, Held::I),
            Local::Evict => (Age::Old, Held::I),
        };
        if held > most {
            self.fault(Fault::TwoOwners);
        }
        // A write stands for an atomic too: it must start from the last value.
        if memory < needs {
            self.fault(Fault::Stale);
        }
        if access == Local::Write {
            self.supersede(n);
            self.lines[n].memory = Age::Latest;
        }
    }

    // What is not part of the protocol: ages, faults, canonical form.

    fn fault(&mut self, fault: Fault) {
        self.fault = self.fault.or(Some(fault));
    }

    fn log(&mut self, config: &Config, violation: Option<Violation>) {
        if let Some(v) = violation.filter(|v| !provoked(config, *v)) {
            self.fault(Fault::Violation(v));
        }
    }

    fn ages(&mut self, n: usize, mut change: impl FnMut(&mut Age)) {
        let line = &mut self.lines[n];
        change(&mut line.copy);
        change(&mut line.memory);
        if let Some(Pending {
            data: Some(age), ..
        }) = &mut line.pending
        {
            change(age);
        }
        let here = |line: u8| usize::from(line) == n;
        for msg in self.rwd.iter_mut().filter(|m| here(m.line)) {
            change(&mut msg.data);
        }
        for msg in self.drs.iter_mut().filter(|m| here(m.line)) {
            change(&mut msg.data);
        }
    }

    /// A write happens: no copy is the latest any more.
    fn supersede(&mut self, n: usize) {
        let reading = waiting(self.lines[n].line) == Some(Local::ReadCurrent);
        let age = if reading { Age::Recent } else { Age::Old };
        self.ages(n, |a| {
            if *a == Age::Latest {
                *a = age;
            }
        });
    }

    /// Brings a line into canonical form and looks for faults.
    fn settle(&mut self, n: usize) {
        if waiting(self.lines[n].line) != Some(Local::ReadCurrent) {
            self.ages(n, |a| {
                if *a == Age::Recent {
                    *a = Age::Old;
                }
            });
        }
        let line = &mut self.lines[n];
        // The cores are alike: the one that holds more is number 0.
        if line.cores[0] < line.cores[1] {
            line.cores.swap(0, 1);
            if let Some(p) = &mut line.pending {
                p.core ^= 1;
            }
        }
        let line = *line;
        let most = match line.held {
            Held::I => Core::I,
            Held::S => Core::Shared,
            Held::E | Held::M => Core::Owner,
        };
        let owned_alone = line.cores[0] != Core::Owner || line.cores[1] == Core::I;
        if !line.line.dir.covers(line.held) || line.cores[0] > most || !owned_alone {
            self.fault(Fault::TwoOwners);
        }
        let coming = self.rwd.iter().any(|m| {
            usize::from(m.line) == n && m.row.is_some_and(|r| (Row::WrA..=Row::WrKeep).contains(&r))
        });
        let lost = line.held != Held::M && !coming && line.memory != Age::Latest;
        if lost || (line.held != Held::I && line.copy != Age::Latest) {
            self.fault(Fault::Stale);
        }
    }
}

impl Pending {
    /// As the host's rules see it.
    fn view(self) -> host::Pending {
        host::Pending {
            write: self.row >= Row::WrA,
            completed: self.ndr.is_some(),
            data_missing: self.row.request().rule().data && self.data.is_none(),
        }
    }
}

impl LineState {
    /// The agent holds no more than this from now on.
    fn hold(&mut self, held: Held) {
        self.held = held;
        match held {
            Held::I => {
                self.cores = [Core::I; 2];
                self.copy = Age::Old;
            }
            Held::S => self.cores = self.cores.map(|c| c.min(Core::Shared)),
            Held::E | Held::M => {}
        }
    }
}
