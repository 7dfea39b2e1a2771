//! The point of coherence of device-coherent lines (HDM-DB): the host's requests and the device's own accesses go past the directory one
//! at a time, and what they leave behind is seen by the next (`cxl-mem` 2.4, 2.11, 8.1).
//!
//! Two cycles each. In the first an asker is chosen, its line looked up in the directory and compared with everything under way; in the
//! second the rules decide and the asker is told; who is told nothing asks again. What changes goes into the directory in a third, in
//! which nobody is chosen. The end of a snoop takes one cycle and that one: its tracker has kept the entry.
//!
//! RwD goes first, so that it drains while Req waits (`cxl-mem` 2.8); the others take turns. A Req that had to wait goes before the next
//! snoop of its line, and before any snoop while it waits for an entry.

use super::db_rules::{LocalRule, Settle};
use super::directory::Directory;
use super::snoops::{Snooped, Snoops};
use crate::config::Config;
use crate::prim::Param;
use rust_hdl::prelude::*;

/// Who is being served.
#[derive(Clone, Copy, Debug, PartialEq, LogicState)]
pub enum Asker {
    Nobody,
    Rwd,
    Req,
    Local,
    /// The directory, to make room for a Req.
    Evict,
}

#[derive(LogicBlock, Default)]
pub struct Order {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    /// No link, or one without BI-68.
    pub link_down: Signal<In, Bit>,
    /// Bits of `hdm_db::Policy`: S asks get E; MemRdData gets E.
    pub policy: Signal<In, Bits<2>>,
    pub snoop_timeout: Signal<In, Bits<24>>,
    pub swept: Signal<Out, Bit>,
    // M2S Req: asks until it is told to go; `waits` while it was told nothing
    pub req_ask: Signal<In, Bit>,
    pub req_line: Signal<In, Bits<26>>,
    pub req_next: Signal<In, Bits<3>>,
    /// It may go, but is not yet among the trackers.
    pub req_held: Signal<In, Bit>,
    pub req_go: Signal<Out, Bit>,
    /// The line has a request outstanding: it is refused.
    pub req_second: Signal<Out, Bit>,
    pub req_grant: Signal<Out, Bits<3>>,
    pub req_dir: Signal<Out, Bits<2>>,
    // M2S RwD: asks until it is done; `rwd_allowed` a cycle later, and from then on
    pub rwd_ask: Signal<In, Bit>,
    pub rwd_line: Signal<In, Bits<26>>,
    pub rwd_next: Signal<In, Bits<3>>,
    pub rwd_owner: Signal<In, Bit>,
    pub rwd_conflict: Signal<In, Bit>,
    pub rwd_allowed: Signal<In, Bit>,
    pub rwd_done: Signal<Out, Bit>,
    /// With `rwd_done`: a write-back by a host that is not the owner; a BIConflict without a snoop.
    pub rwd_wrong: Signal<Out, Bit>,
    // the device's own accesses: engine reads, engine writes, line port
    pub local_ask: Signal<In, Bits<3>>,
    pub local_line0: Signal<In, Bits<26>>,
    pub local_line1: Signal<In, Bits<26>>,
    pub local_line2: Signal<In, Bits<26>>,
    pub local_access0: Signal<In, Bits<2>>,
    pub local_access1: Signal<In, Bits<2>>,
    pub local_access2: Signal<In, Bits<2>>,
    /// A snoop is out for it: it has nothing to ask until one of the next two.
    pub local_snooped: Signal<Out, Bits<3>>,
    pub local_serve: Signal<Out, Bits<3>>,
    pub local_fail: Signal<Out, Bits<3>>,
    // everything under way, a cycle after `lookup`
    pub lookup: Signal<Out, Bits<26>>,
    pub req_matched: Signal<In, Bit>,
    pub rwd_matched: Signal<In, Bit>,
    pub local_matched: Signal<In, Bit>,
    // back-invalidate
    pub answer_valid: Signal<In, Bits<4>>,
    pub answer_codes: Signal<In, Bits<16>>,
    pub snoop_valid: Signal<Out, Bit>,
    pub snoop: Signal<Out, Snooped>,
    pub snoop_opcode: Signal<Out, Bits<4>>,
    pub snoop_pop: Signal<In, Bit>,
    /// The next snoop's line, and its host physical address.
    pub next_line: Signal<Out, Bits<26>>,
    pub next_address: Signal<In, Bits<46>>,
    pub ev_wrong_answer: Signal<Out, Bit>,
    pub ev_snoop: Signal<Out, Bit>,
    pub ev_timeout: Signal<Out, Bit>,
    pub ev_evict: Signal<Out, Bit>,
    directory: Directory,
    snoops: Snoops,
    settle: Settle,
    rule: LocalRule,
    asker: DFF<Asker>,
    which: DFF<Bits<2>>,
    line: DFF<Bits<26>>,
    goes: DFF<Bits<3>>,
    access: DFF<Bits<2>>,
    owner: DFF<Bit>,
    conflict: DFF<Bit>,
    held_matched: DFF<Bit>,
    stalled_matched: DFF<Bit>,
    turn: DFF<Bits<2>>,
    /// A Req was told nothing, and this is its line.
    stalled: DFF<Bit>,
    stalled_line: DFF<Bits<26>>,
    evicting: DFF<Bit>,
    /// The eviction's snoop is out.
    evict_out: DFF<Bit>,
    evict_line: DFF<Bits<26>>,
    evict_way: DFF<Bits<2>>,
    /// What goes into the directory in the cycle after: nothing is looked up in it then.
    put: DFF<Bit>,
    put_line: DFF<Bits<26>>,
    put_way: DFF<Bits<2>>,
    put_state: DFF<Bits<2>>,
    idle: Signal<Local, Bit>,
    choose: Signal<Local, Asker>,
    choose_local: Signal<Local, Bits<2>>,
    asks: Signal<Local, Bits<3>>,
    chosen_line: Signal<Local, Bits<26>>,
    chosen_access: Signal<Local, Bits<2>>,
    dir: Signal<Local, Bits<2>>,
    keeps: Signal<Local, Bit>,
    busy: Signal<Local, Bit>,
    served: Signal<Local, Bit>,
    refused: Signal<Local, Bit>,
    local_hot: Signal<Local, Bits<3>>,
    end_hot: Signal<Local, Bits<4>>,
    own_hot: Signal<Local, Bits<4>>,
    own_id: Signal<Local, Bits<2>>,
    start: Signal<Local, Bit>,
    snooped: Signal<Local, Bit>,
    absent: Param<Bit>,
}

impl Order {
    pub fn new(config: &Config) -> Self {
        Self {
            directory: Directory::new(config),
            absent: Param::new(!config.coherent()),
            ..Default::default()
        }
    }
}

impl Logic for Order {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            asker,
            which,
            line,
            goes,
            access,
            owner,
            conflict,
            held_matched,
            stalled_matched,
            turn,
            stalled,
            stalled_line,
            evicting,
            evict_out,
            evict_line,
            evict_way,
            put,
            put_line,
            put_way,
            put_state
        );
        self.directory.clock.next = self.clock.val();
        self.directory.reset.next = self.reset.val();
        self.snoops.clock.next = self.clock.val();
        self.snoops.reset.next = self.reset.val();
        self.snoops.link_down.next = self.link_down.val();
        self.snoops.timeout.next = self.snoop_timeout.val();
        self.snoops.answer_valid.next = self.answer_valid.val();
        self.snoops.answer_codes.next = self.answer_codes.val();
        self.snoops.snoop_pop.next = self.snoop_pop.val();
        self.next_line.next = self.snoops.next_line.val();
        self.snoops.next_address.next = self.next_address.val();
        self.snoop_valid.next = self.snoops.snoop_valid.val();
        self.snoop.next = self.snoops.snoop.val();
        self.snoop_opcode.next = self.snoops.snoop_opcode.val();
        self.ev_wrong_answer.next = self.snoops.ev_wrong.val();
        self.swept.next = self.directory.swept.val() | self.absent.val();

        // First cycle: who, and where
        self.idle.next = self.asker.q.val() == Asker::Nobody;
        self.snoops.end_take.next = self.idle.val() & self.snoops.end_valid.val();
        self.asks.next = self.local_ask.val();
        self.choose_local.next = 2.into();
        if (self.turn.q.val() == 1) & self.asks.val().get_bit(2) {
            self.choose_local.next = 2.into();
        } else if self.asks.val().get_bit(0) & (self.turn.q.val() == 3) {
            self.choose_local.next = 0.into();
        } else if self.asks.val().get_bit(1) {
            self.choose_local.next = 1.into();
        } else if self.asks.val().get_bit(0) {
            self.choose_local.next = 0.into();
        }
        self.choose.next = Asker::Nobody;
        if self.idle.val()
            & !self.put.q.val()
            & !self.snoops.end_valid.val()
            & self.directory.swept.val()
        {
            if self.rwd_ask.val() {
                self.choose.next = Asker::Rwd;
            } else if self.evicting.q.val() & !self.evict_out.q.val() {
                self.choose.next = Asker::Evict;
            } else if self.req_ask.val() & (!self.turn.q.val().get_bit(0) | !self.asks.val().any())
            {
                self.choose.next = Asker::Req;
            } else if self.asks.val().any() {
                self.choose.next = Asker::Local;
            }
        }
        self.chosen_line.next = self.req_line.val();
        self.chosen_access.next = 3.into();
        if self.choose_local.val() == 0 {
            self.chosen_access.next = self.local_access0.val();
        } else if self.choose_local.val() == 1 {
            self.chosen_access.next = self.local_access1.val();
        } else {
            self.chosen_access.next = self.local_access2.val();
        }
        match self.choose.val() {
            Asker::Rwd => {
                self.chosen_line.next = self.rwd_line.val();
            }
            Asker::Local => {
                if self.choose_local.val() == 0 {
                    self.chosen_line.next = self.local_line0.val();
                } else if self.choose_local.val() == 1 {
                    self.chosen_line.next = self.local_line1.val();
                } else {
                    self.chosen_line.next = self.local_line2.val();
                }
            }
            Asker::Evict => {
                self.chosen_line.next = self.evict_line.q.val();
                self.chosen_access.next = 3.into();
            }
            _ => {}
        }
        self.lookup.next = self.chosen_line.val();
        self.snoops.lookup.next = self.chosen_line.val();
        self.directory.line.next = self.chosen_line.val();
        self.directory.look.next = self.choose.val() != Asker::Nobody;
        self.directory.write.next = self.put.q.val();
        self.directory.write_line.next = self.put_line.q.val();
        self.directory.write_way.next = self.put_way.q.val();
        self.directory.write_state.next = self.put_state.q.val();
        self.directory.victim_way.next = self.evict_way.q.val();
        self.asker.d.next = self.choose.val();
        self.which.d.next = self.choose_local.val();
        self.line.d.next = self.chosen_line.val();
        self.access.d.next = self.chosen_access.val();
        self.goes.d.next = self.req_next.val();
        if self.choose.val() == Asker::Rwd {
            self.goes.d.next = self.rwd_next.val();
        }
        self.owner.d.next = self.rwd_owner.val();
        self.conflict.d.next = self.rwd_conflict.val();
        self.held_matched.d.next =
            self.req_held.val() & (self.req_line.val() == self.chosen_line.val());
        self.stalled_matched.d.next =
            self.stalled.q.val() & (self.stalled_line.q.val() == self.chosen_line.val());
        if (self.choose.val() == Asker::Req) | (self.choose.val() == Asker::Local) {
            self.turn.d.next = self.turn.q.val() + 1;
        }

        // Second cycle: the rules
        self.dir.next = self.directory.state.val();
        if self.directory.state.val() == 1 {
            self.dir.next = 0.into();
        }
        self.settle.goes.next = self.goes.q.val();
        self.settle.dir.next = self.dir.val();
        self.settle.policy.next = self.policy.val();
        self.keeps.next = self.goes.q.val() == 0;
        self.rule.access.next = self.access.q.val();
        self.rule.dir.next = self.dir.val();
        self.rule.overdue.next = 0.into();
        if self.snoops.matched_overdue.val() {
            self.rule.overdue.next = 1.into();
        }
        self.rule.stalled.next = 0.into();
        if (self.stalled_matched.q.val() | self.evicting.q.val())
            & (self.asker.q.val() != Asker::Evict)
        {
            self.rule.stalled.next = 1.into();
        }
        self.busy.next = self.req_matched.val()
            | self.rwd_matched.val()
            | self.held_matched.q.val()
            | self.local_matched.val()
            | self.snoops.matched.val();
        self.own_id.next = 0.into();
        if self.asker.q.val() == Asker::Local {
            self.own_id.next = self.which.q.val() + 1;
        }
        self.own_hot.next = bits::<4>(1) << self.own_id.val();
        self.local_hot.next = 0.into();
        self.put.d.next = false;
        self.put_line.d.next = self.line.q.val();
        self.put_way.d.next = self.directory.way.val();
        self.put_state.d.next = self.settle.after.val();
        self.req_go.next = false;
        self.req_second.next = false;
        self.req_grant.next = self.settle.grant.val();
        self.req_dir.next = self.dir.val();
        self.rwd_done.next = false;
        self.rwd_wrong.next = false;
        self.served.next = false;
        self.refused.next = false;
        self.snooped.next = false;
        self.start.next = false;
        self.ev_evict.next = false;
        match self.asker.q.val() {
            Asker::Rwd => {
                // It waits for no snoop, only for an access that has the memory at this moment.
                if !self.local_matched.val() {
                    self.rwd_done.next = true;
                    if self.rwd_allowed.val() & self.conflict.q.val() {
                        self.rwd_wrong.next = !self.snoops.matched.val();
                    } else if self.rwd_allowed.val() {
                        self.rwd_wrong.next = self.owner.q.val() & (self.dir.val() != 2);
                        self.put.d.next = !self.keeps.val() & self.directory.hit.val();
                        if self.snoops.matched.val() & (self.settle.after.val() == 0) {
                            self.put_state.d.next = 1.into();
                        }
                    }
                }
            }
            Asker::Req => {
                if self.req_matched.val() | self.rwd_matched.val() {
                    self.req_second.next = true;
                } else if !self.local_matched.val() & !self.snoops.matched.val() {
                    if !self.directory.room.val()
                        & !self.keeps.val()
                        & (self.settle.after.val() != 0)
                    {
                        if !self.evicting.q.val() {
                            self.evicting.d.next = true;
                            self.evict_line.d.next = self.directory.victim.val();
                        }
                    } else {
                        self.req_go.next = true;
                        self.put.d.next = !self.keeps.val()
                            & (self.directory.hit.val() | (self.settle.after.val() != 0));
                    }
                }
                self.stalled.d.next = !self.req_go.val() & !self.req_second.val();
                self.stalled_line.d.next = self.line.q.val();
            }
            Asker::Local => {
                if !self.busy.val() {
                    self.served.next = self.rule.serve.val().any();
                    self.refused.next = self.rule.fail.val().any();
                    if self.rule.snoop.val().any() {
                        if self.link_down.val()
                            | (self.snoops.busy.val() & self.own_hot.val()).any()
                        {
                            self.refused.next = true;
                        } else {
                            self.snooped.next = true;
                        }
                    }
                }
                self.local_hot.next = bits::<3>(1) << self.which.q.val();
            }
            Asker::Evict => {
                // The next try takes the next way.
                self.evicting.d.next = false;
                self.evict_way.d.next = self.evict_way.q.val() + 1;
                if !self.busy.val() {
                    if self.rule.serve.val().any() {
                        self.put.d.next = self.directory.hit.val();
                        self.put_state.d.next = 0.into();
                    } else if self.rule.snoop.val().any()
                        & !self.link_down.val()
                        & !self.snoops.busy.val().get_bit(0)
                    {
                        self.snooped.next = true;
                        self.evicting.d.next = true;
                        self.evict_out.d.next = true;
                        self.ev_evict.next = true;
                    }
                }
            }
            _ => {}
        }
        self.snoops.start.next = self.snooped.val();
        self.snoops.start_id.next = self.own_id.val();
        self.snoops.start_line.next = self.line.q.val();
        self.snoops.start_way.next = self.directory.way.val();
        self.snoops.start_access.next = self.access.q.val();
        self.ev_snoop.next = self.snooped.val();

        // The end of a snoop
        self.end_hot.next = 0.into();
        if self.snoops.end_take.val() {
            self.end_hot.next = bits::<4>(1) << self.snoops.end_id.val();
            self.put.d.next = self.snoops.end_answered.val();
            self.put_line.d.next = self.snoops.end_line.val();
            self.put_way.d.next = self.snoops.end_way.val();
            self.put_state.d.next = self.snoops.end_after.val();
            if self.snoops.end_id.val() == 0 {
                self.evicting.d.next = false;
                self.evict_out.d.next = false;
            }
        }
        self.local_snooped.next = 0.into();
        if self.snooped.val() {
            self.local_snooped.next = self.local_hot.val();
        }
        self.local_serve.next = 0.into();
        self.local_fail.next = 0.into();
        if self.served.val() {
            self.local_serve.next = self.local_hot.val();
        }
        if self.refused.val() {
            self.local_fail.next = self.local_hot.val();
        }
        if self.end_hot.val().get_bits::<3>(1).any() {
            if self.snoops.end_serve.val() {
                self.local_serve.next = self.end_hot.val().get_bits::<3>(1);
            } else {
                self.local_fail.next = self.end_hot.val().get_bits::<3>(1);
            }
        }
        self.ev_timeout.next = self.snoops.ev_timeout.val();

        // A Req that is gone waits no more (its link went down).
        if !self.req_ask.val() {
            self.stalled.d.next = false;
        }
        if self.reset.val() {
            self.asker.d.next = Asker::Nobody;
            self.turn.d.next = 0.into();
            self.stalled.d.next = false;
            self.evicting.d.next = false;
            self.evict_out.d.next = false;
            self.evict_way.d.next = 0.into();
            self.put.d.next = false;
        }
    }
}
