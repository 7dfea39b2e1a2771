//! The device: directory, trackers and its own accesses.

use super::cover::{Cover, Race};
use super::{waiting, Age, Config, DrsMsg, Fault, LineState, NdrMsg, Relax, ReqMsg, State};
use cxlmem_protocol::hdm_db::host::{Held, Row};
use cxlmem_protocol::hdm_db::{
    self, Dir, Local, LocalStep, Op, Outcome, Place, Request, Step, Write,
};
use cxlmem_protocol::msg::{
    M2sBiRspOpcode, M2sRwdOpcode, MetaField, MetaValue, S2mBiSnpOpcode, S2mNdrOpcode, SnpType,
};

const CONFLICT: Request = Request {
    op: Op::Rwd(M2sRwdOpcode::BiConflict),
    meta_field: MetaField::NoOp,
    meta_value: MetaValue::I,
    snp_type: SnpType::NoOp,
};

impl State {
    pub(super) fn take_req(&mut self, config: &Config, i: u8, cover: Option<&Cover>) -> Option<()> {
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
    pub(super) fn claim_room(&mut self, config: &Config) {
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
        // While a snoop is out its entry stays taken, whatever a write-back has said: the answer may raise the record again.
        let keeps = config.relax != Some(Relax::RoomWhileSnooped);
        let taken = |l: &&LineState| l.line.dir != Dir::I || (keeps && waiting(l.line).is_some());
        let used = self.lines.iter().filter(taken).count();
        used < config.entries && !claimed
    }

    /// False if it must wait.
    pub(super) fn serve_req(
        &mut self,
        config: &Config,
        msg: ReqMsg,
        cover: Option<&Cover>,
    ) -> bool {
        let n = usize::from(msg.line);
        let line = &self.lines[n];
        let place = if line.stalled.is_some() {
            Place::Outstanding
        } else {
            Place::Hit
        };
        let before = line.line;
        let Step::Act(act) =
            hdm_db::request(before, msg.row.request().rule(), place, config.policy)
        else {
            return false;
        };
        let answers = act.ndr.is_none_or(|_| self.ndr.fits(config.depth))
            && act.drs.is_none_or(|_| self.drs.fits(config.depth));
        if !answers || !self.has_room(config, msg) {
            return false;
        }
        if let Some(cover) = cover {
            let race = waiting(before).map_or(Race::Quiet, |a| Race::During(a.snoop()));
            cover.reach(msg.row, before.dir, race);
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

    pub(super) fn take_rwd(&mut self, config: &Config, i: u8, cover: Option<&Cover>) -> Option<()> {
        let msg = self.rwd.remove(usize::from(i))?;
        let n = usize::from(msg.line);
        let stalled = self.lines.iter().filter(|l| l.stalled.is_some()).count();
        if config.relax == Some(Relax::SharedPool) && stalled >= config.trackers {
            return None;
        }
        let line = &mut self.lines[n];
        if config.relax == Some(Relax::WriteWaits) && waiting(line.line).is_some() {
            return None;
        }
        let request = msg.row.map_or(CONFLICT, Row::request);
        let place = if line.stalled.is_some() {
            Place::Outstanding
        } else {
            Place::Hit
        };
        let Step::Act(act) = hdm_db::request(line.line, request.rule(), place, config.policy)
        else {
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

    pub(super) fn take_birsp(&mut self, config: &Config, i: u8) -> Option<()> {
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

    pub(super) fn start_local(&mut self, config: &Config, n: u8, access: Local) -> Option<()> {
        let line = &mut self.lines[usize::from(n)];
        // A request that waits for this line's entry counts too, unless this access is what makes room for it.
        let claimed = access != Local::Evict && self.claim.is_some_and(|l| l != n);
        let stalled = match config.relax {
            Some(Relax::SnoopBeforeStalled) => false,
            Some(Relax::RequestsFirst) => line.pending.is_some(),
            Some(Relax::SnoopBeforeRoom) => line.stalled.is_some(),
            _ => line.stalled.is_some() || claimed,
        };
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
}
