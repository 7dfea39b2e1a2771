//! Snoops: the conflict handshake, write-backs before answers, and the answers. The rules are [`host::on_snoop`] and
//! [`host::replies`]; when several replies are legal one is drawn.

use super::agent::Agent;
use super::cache::{room, Pool, Snoop, Stage, SNOOPS};
use super::{Port, LINE};
use cxlmem_protocol::hdm_db::host::{self, Handshake, Held, React, Reply, Row};
use cxlmem_protocol::msg::{M2sBiRsp, M2sBiRspOpcode, M2sRwd, M2sRwdOpcode, MetaValue, S2mBiSnp};

impl Agent {
    pub(super) fn take_snoop(&mut self, now: u64, snoop: &S2mBiSnp) {
        let line = snoop.address / LINE;
        if host::replies(snoop.opcode, Held::I).is_empty() {
            let what = format!("{} is not part of this protocol", snoop.opcode.name());
            return self.violation(now, line, what);
        }
        if self.snoops >= SNOOPS {
            let what = format!("more than {SNOOPS} snoops are out");
            return self.violation(now, line, what);
        }
        let n = self.table.entry(line);
        let e = &mut self.table.entries[n];
        if e.snoop.is_some() {
            return self.violation(
                now,
                line,
                "a second snoop before the first was answered".into(),
            );
        }
        self.snoops += 1;
        e.snoop = Some(Snoop {
            kind: snoop.opcode,
            bi_id: snoop.bi_id,
            bi_tag: snoop.bi_tag,
            stage: Stage::Fresh,
            since: now,
            tag: None,
        });
        self.look_at(n);
    }

    /// Puts a line on the list of those whose snoop may go on.
    pub(super) fn look_at(&mut self, n: usize) {
        let e = &mut self.table.entries[n];
        if e.snoop.is_some() && !e.queued {
            e.queued = true;
            self.todo.push_back(n);
        }
    }

    /// Takes every snoop on the list as far as it goes.
    pub(super) fn run_snoops(&mut self, now: u64, port: &mut impl Port) {
        for _ in 0..self.todo.len() {
            let Some(n) = self.todo.pop_front() else {
                return;
            };
            self.table.entries[n].queued = false;
            if !self.react(now, n, port) {
                self.look_at(n);
            }
            self.table.release_if_empty(n);
        }
    }

    /// False if there was no room for what is to be sent.
    fn react(&mut self, now: u64, n: usize, port: &mut impl Port) -> bool {
        let e = &self.table.entries[n];
        let Some(snoop) = e.snoop else { return true };
        let handshake = match snoop.stage {
            Stage::Flush => return true,
            Stage::Fresh => None,
            Stage::Race(h) => Some(h),
        };
        match host::on_snoop(e.pending.as_ref().map(|p| p.view()), handshake) {
            React::Wait => true,
            React::Conflict => self.conflict(n, port),
            React::Answer => self.answer(now, n, snoop, port),
        }
    }

    fn conflict(&mut self, n: usize, port: &mut impl Port) -> bool {
        let e = &mut self.table.entries[n];
        let (Some(pending), Some(snoop)) = (e.pending, &mut e.snoop) else {
            return true;
        };
        if !port.room_for_rwd() {
            return false;
        }
        snoop.stage = Stage::Race(Handshake::Sent);
        self.counters.conflicts += 1;
        let header = M2sRwd {
            opcode: M2sRwdOpcode::BiConflict,
            tag: pending.tag,
            address: e.line * LINE,
            ..M2sRwd::default()
        };
        port.send_rwd(&header, &[0; 64], u64::MAX);
        true
    }

    fn answer(&mut self, now: u64, n: usize, snoop: Snoop, port: &mut impl Port) -> bool {
        let held = self.table.entries[n].held;
        let replies = host::replies(snoop.kind, held);
        let Some(&reply) = replies.get(self.rng.below(replies.len() as u64) as usize) else {
            return true;
        };
        match reply {
            Reply::WriteBack(keeps) => {
                if !room(port, &self.tags, Pool::Snoop) {
                    return false;
                }
                let row = match keeps {
                    MetaValue::A => Row::WrA,
                    MetaValue::S => Row::WrS,
                    _ => Row::WrI,
                };
                self.send(now, n, row, None, false, port);
                if let Some(s) = &mut self.table.entries[n].snoop {
                    s.stage = Stage::Flush;
                }
            }
            Reply::Answer(opcode, keeps) => {
                if !port.room_for_birsp() {
                    return false;
                }
                self.hold(n, keeps);
                self.counters.answers[match opcode {
                    M2sBiRspOpcode::BiRspI => 0,
                    M2sBiRspOpcode::BiRspS => 1,
                    _ => 2,
                }] += 1;
                port.send_birsp(&M2sBiRsp {
                    opcode,
                    bi_id: snoop.bi_id,
                    bi_tag: snoop.bi_tag,
                    ..M2sBiRsp::default()
                });
                self.table.entries[n].snoop = None;
                self.snoops -= 1;
                self.wake(n);
            }
        }
        true
    }
}
