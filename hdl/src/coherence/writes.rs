//! The write path: takes M2S RwD with its whole line, checks it, writes the memory beat by beat and queues NDR Cmp after the last beat.
//! A device-coherent line's RwD (HDM-DB) passes the point of coherence before its first beat; BIConflict ends there, with its ack.
//! It never waits for the request path: RwD drains while Req is blocked (`cxl-mem 2.8`).

use super::db_rules::DbRwdRule;
use super::rules::RwdRule;
use super::tracker::Pool;
use crate::config::Config;
use crate::link::messages::{Completion, M2sRwd, Request};
use rust_hdl::prelude::*;

/// Where the write path is with the head of its queue.
#[derive(Clone, Copy, Debug, PartialEq, LogicState)]
pub enum WriteState {
    Idle,
    /// At the point of coherence.
    Ask,
    /// The byte-enable chunk is being fetched.
    FetchEnables,
    /// It is at the buffer's output; the first data chunk is being fetched.
    Enables,
    Beats,
}

#[derive(LogicBlock, Default)]
pub struct Writes {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // from the receiver
    pub rwd_valid: Signal<In, Bit>,
    pub rwd: Signal<In, Request>,
    pub rwd_pop: Signal<Out, Bit>,
    pub fetch: Signal<Out, Bit>,
    pub fetch_be: Signal<Out, Bit>,
    pub data: Signal<In, Bits<128>>,
    // CAM, as in `Reads`; `req_matched` comes a cycle after `head_line`
    pub head_line: Signal<Out, Bits<26>>,
    pub req_matched: Signal<In, Bit>,
    pub req_line: Signal<In, Bits<26>>,
    pub rwd_match: Signal<Out, Bit>,
    pub rwd_matched: Signal<Out, Bit>,
    // point of coherence
    pub dir_ask: Signal<Out, Bit>,
    pub dir_next: Signal<Out, Bits<3>>,
    pub dir_owner: Signal<Out, Bit>,
    pub dir_conflict: Signal<Out, Bit>,
    pub dir_allowed: Signal<Out, Bit>,
    pub dir_done: Signal<In, Bit>,
    pub dir_wrong: Signal<In, Bit>,
    pub dir_lookup: Signal<In, Bits<26>>,
    pub dir_matched: Signal<Out, Bit>,
    // memory port
    pub wr_valid: Signal<Out, Bit>,
    /// Nobody else writes.
    pub wr_claim: Signal<Out, Bit>,
    pub wr_ready: Signal<In, Bit>,
    pub wr_line: Signal<Out, Bits<26>>,
    pub wr_idx: Signal<Out, Bits<2>>,
    pub wr_data: Signal<Out, Bits<128>>,
    pub wr_be: Signal<Out, Bits<16>>,
    pub wr_poison_we: Signal<Out, Bit>,
    pub wr_poison: Signal<Out, Bit>,
    pub wr_meta_we: Signal<Out, Bit>,
    pub wr_meta: Signal<Out, Bits<2>>,
    // to the transmitter
    pub ndr_write: Signal<Out, Bit>,
    /// The queue takes an NDR from here in this cycle (the request path does not write one).
    pub ndr_ready: Signal<In, Bit>,
    pub ndr_room: Signal<In, Bit>,
    pub ndr_reserve: Signal<Out, Bit>,
    pub completion: Signal<Out, Completion>,
    pub dev_load: Signal<In, Bits<2>>,
    pub ev_rwd: Signal<Out, Bit>,
    pub ev_nxm: Signal<Out, Bit>,
    pub ev_error: Signal<Out, Bit>,
    /// The header that `ev_error` is about, as a G5 slot; the address field holds the device's line.
    pub error_slot: Signal<Out, Bits<128>>,
    pub ev_poison: Signal<Out, Bit>,
    rule: RwdRule,
    db_rule: DbRwdRule,
    pool: Pool<8, 3>,
    state: DFF<WriteState>,
    beat: DFF<Bits<2>>,
    /// The head was started in the cycle before: the CAM's word about it is here now.
    fresh: DFF<Bit>,
    start_hit: DFF<Bit>,
    start_legal: DFF<Bit>,
    /// BIConflict: no beats, and no other request of the line is in its way.
    conflict: DFF<Bit>,
    allowed_held: DFF<Bit>,
    store_meta: DFF<Bit>,
    enables: DFF<Bits<64>>,
    /// A Cmp that found the queue's write port taken: it waits here, so that the memory port need not.
    held: DFF<Bit>,
    held_cmp: DFF<Completion>,
    /// The error is told two cycles after the start, when the head is still there.
    erred: DFF<Bit>,
    cmp: Signal<Local, Completion>,
    head: Signal<Local, Request>,
    hit: Signal<Local, Bit>,
    legal: Signal<Local, Bit>,
    db: Signal<Local, Bit>,
    is_conflict: Signal<Local, Bit>,
    writes: Signal<Local, Bit>,
    allowed: Signal<Local, Bit>,
    start: Signal<Local, Bit>,
    advance: Signal<Local, Bit>,
    error: Signal<Local, M2sRwd>,
    error_bits: Signal<Local, Bits<87>>,
    last: Signal<Local, Bit>,
    finish: Signal<Local, Bit>,
}

impl Writes {
    pub fn new(config: &Config) -> Self {
        Self {
            pool: Pool::new(config.rwd_trackers),
            ..Default::default()
        }
    }
}

impl Logic for Writes {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            beat,
            fresh,
            start_hit,
            start_legal,
            conflict,
            allowed_held,
            store_meta,
            enables,
            held,
            held_cmp,
            erred
        );
        self.pool.clock.next = self.clock.val();
        self.pool.reset.next = self.reset.val();

        self.head.next = self.rwd.val();
        self.head_line.next = self.head.val().line;
        self.rule.opcode.next = self.head.val().opcode;
        self.rule.meta_field.next = self.head.val().meta_field;
        self.rule.snp_type.next = self.head.val().snp_type;
        self.rule.be.next = self.head.val().be;
        self.db_rule.opcode.next = self.head.val().opcode;
        self.db_rule.meta_field.next = self.head.val().meta_field;
        self.db_rule.meta_value.next = self.head.val().meta_value;
        self.db_rule.snp_type.next = self.head.val().snp_type;
        self.db_rule.be.next = self.head.val().be;
        self.db.next = self.head.val().db == 1;
        self.is_conflict.next = self.db.val() & self.db_rule.conflict.val().any();
        self.pool.lookup0.next = self.head.val().line;
        self.pool.lookup1.next = self.req_line.val();
        self.rwd_match.next = self.pool.match1.val();
        self.rwd_matched.next = self.pool.matched1.val();
        self.hit.next = self.head.val().hit == 1;
        self.start.next = (self.state.q.val() == WriteState::Idle)
            & self.rwd_valid.val()
            & self.ndr_room.val()
            & !self.pool.full.val();
        // BIConflict is no request of the line: the Req that it is about may not find it here.
        self.pool.allocate.next = self.start.val() & !self.is_conflict.val();
        self.pool.allocate_line.next = self.head.val().line;
        self.ndr_reserve.next = self.start.val();

        // From the queue's head through the CAM is a long path: what comes of it is joined a cycle later, in time for the first beat.
        self.fresh.d.next = self.start.val();
        self.start_hit.d.next = self.hit.val();
        self.start_legal.d.next = self.rule.legal.val();
        if self.db.val() {
            self.start_legal.d.next = self.db_rule.legal.val().any();
        }
        if self.start.val() {
            self.conflict.d.next = self.is_conflict.val();
        }
        self.legal.next = self.start_legal.q.val()
            & (self.conflict.q.val()
                | !(self.start_hit.q.val() & (self.pool.matched0.val() | self.req_matched.val())));
        self.allowed.next = self.allowed_held.q.val();
        if self.fresh.q.val() {
            self.allowed.next = self.start_hit.q.val() & self.legal.val();
        }
        self.allowed_held.d.next = self.allowed.val();

        self.last.next = self.beat.q.val() == 3;
        self.writes.next = self.allowed.val() & !self.conflict.q.val();
        self.wr_claim.next = self.state.q.val() == WriteState::Beats;
        self.wr_valid.next = (self.state.q.val() == WriteState::Beats)
            & self.writes.val()
            & (!self.last.val() | !self.held.q.val());
        self.advance.next = (self.state.q.val() == WriteState::Beats)
            & (self.wr_ready.val() | !self.writes.val())
            & (!self.last.val() | !self.held.q.val());
        self.finish.next = self.advance.val() & self.last.val();

        // The point of coherence
        self.dir_ask.next = (self.start.val() & self.db.val() & self.hit.val())
            | (self.state.q.val() == WriteState::Ask);
        self.dir_next.next = self.db_rule.goes.val();
        self.dir_owner.next = self.db_rule.owner.val().any();
        self.dir_conflict.next = self.is_conflict.val();
        self.dir_allowed.next = self.allowed.val();
        self.pool.lookup2.next = self.dir_lookup.val();
        self.dir_matched.next = self.pool.matched2.val();

        self.fetch.next = false;
        self.fetch_be.next = false;
        match self.state.q.val() {
            WriteState::Idle => {
                self.beat.d.next = 0.into();
                self.enables.d.next = !bits::<64>(0);
                if self.start.val() {
                    self.store_meta.d.next = self.rule.store_meta.val() & !self.db.val();
                    if self.db.val() & self.hit.val() {
                        self.state.d.next = WriteState::Ask;
                    } else if self.head.val().be == 1 {
                        self.state.d.next = WriteState::FetchEnables;
                    } else {
                        self.fetch.next = true;
                        self.state.d.next = WriteState::Beats;
                    }
                }
            }
            WriteState::Ask => {
                if self.dir_done.val() {
                    self.state.d.next = WriteState::Beats;
                    if !self.writes.val() {
                        self.beat.d.next = 3.into();
                    } else if self.head.val().be == 1 {
                        self.state.d.next = WriteState::FetchEnables;
                    } else {
                        self.fetch.next = true;
                    }
                }
            }
            WriteState::FetchEnables => {
                self.fetch_be.next = true;
                self.state.d.next = WriteState::Enables;
            }
            WriteState::Enables => {
                self.fetch.next = true;
                self.enables.d.next = self.data.val().get_bits::<64>(0);
                self.state.d.next = WriteState::Beats;
            }
            WriteState::Beats => {
                if self.advance.val() {
                    self.fetch.next = !self.last.val();
                    self.beat.d.next = self.beat.q.val() + 1;
                    if self.last.val() {
                        self.state.d.next = WriteState::Idle;
                    }
                }
            }
        }

        self.wr_line.next = self.head.val().line;
        self.wr_idx.next = self.beat.q.val();
        self.wr_data.next = self.data.val();
        if self.beat.q.val() == 0 {
            self.wr_be.next = self.enables.q.val().get_bits::<16>(0);
        } else if self.beat.q.val() == 1 {
            self.wr_be.next = self.enables.q.val().get_bits::<16>(16);
        } else if self.beat.q.val() == 2 {
            self.wr_be.next = self.enables.q.val().get_bits::<16>(32);
        } else {
            self.wr_be.next = self.enables.q.val().get_bits::<16>(48);
        }
        // A full write sets or clears poison; a partial one can only add it (cxl-mem 5.3).
        self.wr_poison.next = self.head.val().poison == 1;
        self.wr_poison_we.next =
            self.last.val() & ((self.head.val().poison == 1) | self.enables.q.val().all());
        self.wr_meta_we.next = self.last.val() & self.store_meta.q.val();
        self.wr_meta.next = self.head.val().meta_value;

        self.rwd_pop.next = self.finish.val();
        self.pool.done.next = self.finish.val() & !self.conflict.q.val();
        self.cmp.next.opcode = 0.into();
        if self.conflict.q.val() {
            self.cmp.next.opcode = 4.into();
        }
        self.cmp.next.meta_field = 3.into();
        self.cmp.next.meta_value = 0.into();
        self.cmp.next.tag = self.head.val().tag;
        self.cmp.next.ld_id = self.head.val().ld_id;
        self.cmp.next.poison = 0.into();
        self.cmp.next.dev_load = self.dev_load.val();
        self.ndr_write.next = (self.finish.val() | self.held.q.val()) & self.ndr_ready.val();
        self.completion.next = self.cmp.val();
        if self.held.q.val() {
            self.completion.next = self.held_cmp.q.val();
        }
        if self.finish.val() {
            self.held_cmp.d.next = self.cmp.val();
        }
        self.held.d.next = (self.finish.val() | self.held.q.val()) & !self.ndr_ready.val();
        self.error.next.valid = 1.into();
        self.error.next.opcode = self.head.val().opcode;
        self.error.next.snp_type = self.head.val().snp_type;
        self.error.next.meta_field = self.head.val().meta_field;
        self.error.next.meta_value = self.head.val().meta_value;
        self.error.next.tag = self.head.val().tag;
        self.error.next.address = bit_cast::<46, 26>(self.head.val().line);
        self.error.next.poison = self.head.val().poison;
        self.error.next.tc = 0.into();
        self.error.next.ld_id = self.head.val().ld_id;
        self.error.next.rsvd = 0.into();
        self.error_bits.next = self.error.val().into();
        self.error_slot.next = bit_cast::<128, 87>(self.error_bits.val());
        self.ev_rwd.next = self.finish.val();
        self.ev_nxm.next = self.start.val() & !self.hit.val();
        self.erred.d.next = (self.fresh.q.val() & !self.legal.val()) | self.dir_wrong.val();
        self.ev_error.next = self.erred.q.val();
        self.ev_poison.next = self.start.val() & (self.head.val().poison == 1);

        if self.reset.val() {
            self.state.d.next = WriteState::Idle;
            self.held.d.next = false;
            self.fresh.d.next = false;
        }
    }
}
