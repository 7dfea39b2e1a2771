//! The home agent: what it sends, and what it does with what comes.

use super::cover::{Cover, Race};
use super::{Age, Config, Core, Fault, LineState, Pending, Relax, ReqMsg, RwdMsg, Stage, State};
use cxlmem_protocol::hdm_db::host::{self, Held, React, Reply, Row};
use cxlmem_protocol::msg::{M2sBiRspOpcode, MetaValue, S2mBiSnpOpcode, S2mNdrOpcode};

/// What a host may also answer to BISnpInv if it is [`Config::stubborn`].
const KEEP: [Reply; 2] = [
    Reply::Answer(M2sBiRspOpcode::BiRspS, Held::S),
    Reply::Answer(M2sBiRspOpcode::BiRspE, Held::E),
];

impl State {
    pub(super) fn issue(&mut self, config: &Config, n: u8, row: Row, core: u8) -> Option<()> {
        let line = &mut self.lines[usize::from(n)];
        if line.pending.is_some() || line.snoop.is_some() {
            return None;
        }
        // What is overwritten in full is what InvA is for; `Relax::UpgradeByMemInv` writes a part.
        let from_modified = config.relax == Some(Relax::RequestFromModified)
            && line.held == Held::M
            && matches!(row, Row::RdKeep | Row::InvKeep);
        if !host::may_issue(row.request(), line.held, true) && !from_modified {
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

    pub(super) fn forget(&mut self, config: &Config, n: u8, row: Row) -> Option<()> {
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
    pub(super) fn store(&mut self, n: usize, core: u8) {
        let fresh = self.lines[n].copy == Age::Latest;
        self.supersede(n);
        let line = &mut self.lines[n];
        line.held = Held::M;
        // What is left of an old line stays old.
        line.copy = if fresh { Age::Latest } else { Age::Old };
        line.cores = [Core::I; 2];
        line.cores[usize::from(core)] = Core::Owner;
    }

    pub(super) fn take_ndr(&mut self, config: &Config, i: u8, cover: Option<&Cover>) -> Option<()> {
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

    pub(super) fn take_drs(&mut self, config: &Config, i: u8) -> Option<()> {
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

    pub(super) fn take_snoop(
        &mut self,
        config: &Config,
        i: u8,
        cover: Option<&Cover>,
    ) -> Option<()> {
        let (n, kind) = self.bisnp.remove(usize::from(i))?;
        let line = &mut self.lines[usize::from(n)];
        if line.snoop.is_some() {
            self.fault(Fault::Unexpected);
            return Some(());
        }
        line.snoop = Some((kind, Stage::Fresh));
        let react = line.react(config, None);
        if let (Some(p), Some(cover), React::Wait) = (line.pending, cover, react) {
            cover.reach(p.row, line.line.dir, Race::LateData(kind));
        }
        let handshake = match react {
            React::Answer => return Some(()),
            React::Wait if !config.cautious => return Some(()),
            React::Wait => host::Handshake::Late,
            React::Conflict => host::Handshake::Sent,
        };
        line.snoop = Some((kind, Stage::Race(handshake)));
        let conflict = RwdMsg {
            line: n,
            row: None,
            data: Age::Old,
            forgotten: false,
        };
        (self.rwd.fits(config.depth) && self.rwd.push(conflict)).then_some(())
    }

    /// The replies that the agent may give now to the snoop of a line.
    pub(super) fn replies(&self, config: &Config, n: u8) -> Vec<Reply> {
        let line = &self.lines[usize::from(n)];
        let Some((kind, stage)) = line.snoop else {
            return Vec::new();
        };
        let handshake = match stage {
            Stage::Fresh => None,
            Stage::Race(h) => Some(h),
            Stage::Flush => return Vec::new(),
        };
        if line.react(config, handshake) != React::Answer {
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

    pub(super) fn reply(&mut self, config: &Config, n: u8, choice: u8) -> Option<()> {
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
    /// What the agent does with the snoop that it has taken.
    fn react(&self, config: &Config, handshake: Option<host::Handshake>) -> React {
        if config.relax == Some(Relax::NoHandshake) {
            return React::Answer;
        }
        host::on_snoop(self.pending.map(Pending::view), handshake)
    }

    /// The agent holds no more than this from now on.
    pub(super) fn hold(&mut self, held: Held) {
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
