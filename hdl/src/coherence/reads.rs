//! The request path: takes M2S Req from its queue, checks it, reads the memory and queues DRS or NDR in the memory's order.
//!
//! A device-coherent line's request (HDM-DB) asks the point of coherence first: two cycles more. What it is granted, or that it is
//! refused, stands in the stage from then on; its NDR goes with the DRS.
//!
//! A request is taken from the queue into a stage register with its rule looked up; from there it is checked against the trackers and
//! issued. The memory's answer is registered too. Both cut the longest paths and cost a cycle each. What kind of response a request
//! gets is settled in the cycle after its issue, when the memory has only begun with it.
//!
//! Everything goes through the memory in order, also what needs no data: a miss reads some line and the answer is replaced by all
//! ones, so no response can overtake another and no second source of responses exists.

use super::db_rules::DbReqRule;
use super::rules::ReqRule;
use super::tracker::Pool;
use crate::config::{Backend, Config};
use crate::link::messages::{Completion, M2sReq, Request};
use crate::prim::{Fifo, Param};
use rust_hdl::prelude::*;

/// What the memory's next answer is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Pending {
    pub tag: Bits<16>,
    pub ld_id: Bits<4>,
    /// Answer with DRS (else NDR).
    pub data: Bits<1>,
    /// Give the stored Meta0 back.
    pub meta: Bits<1>,
    /// Replace data by all ones.
    pub ones: Bits<1>,
    /// Poison the replaced data.
    pub poison: Bits<1>,
    /// MemData-NXM.
    pub nxm: Bits<1>,
    /// HDM-DB: an NDR besides DRS; its opcode; the directory state that the answers carry if `meta`.
    pub ndr: Bits<1>,
    pub grant: Bits<3>,
    pub db: Bits<1>,
    pub dir: Bits<2>,
}

#[derive(LogicBlock, Default)]
pub struct Reads {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // from the receiver
    pub req_valid: Signal<In, Bit>,
    pub req: Signal<In, Request>,
    pub req_pop: Signal<Out, Bit>,
    // CAM: the head's line against the RwD pool, and the RwD head's line against ours
    pub head_line: Signal<Out, Bits<26>>,
    pub rwd_match: Signal<In, Bit>,
    /// `rwd_match` of the cycle before.
    pub rwd_matched: Signal<In, Bit>,
    pub rwd_line: Signal<In, Bits<26>>,
    /// A cycle late.
    pub req_matched: Signal<Out, Bit>,
    // point of coherence
    pub dir_ask: Signal<Out, Bit>,
    pub dir_next: Signal<Out, Bits<3>>,
    pub dir_held: Signal<Out, Bit>,
    pub dir_go: Signal<In, Bit>,
    pub dir_second: Signal<In, Bit>,
    pub dir_grant: Signal<In, Bits<3>>,
    pub dir_state: Signal<In, Bits<2>>,
    pub dir_lookup: Signal<In, Bits<26>>,
    pub dir_matched: Signal<Out, Bit>,
    // memory port
    pub rd_valid: Signal<Out, Bit>,
    pub rd_ready: Signal<In, Bit>,
    pub rd_line: Signal<Out, Bits<26>>,
    pub rd_nodata: Signal<Out, Bit>,
    pub rd_meta_we: Signal<Out, Bit>,
    pub rd_meta: Signal<Out, Bits<2>>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub rsp_data: Signal<In, Bits<128>>,
    pub rsp_poison: Signal<In, Bit>,
    pub rsp_meta: Signal<In, Bits<2>>,
    // to the transmitter
    pub chunk_write: Signal<Out, Bit>,
    pub chunk: Signal<Out, Bits<128>>,
    pub drs_write: Signal<Out, Bit>,
    pub ndr_write: Signal<Out, Bit>,
    /// For DRS.
    pub completion: Signal<Out, Completion>,
    /// For NDR.
    pub ndr_completion: Signal<Out, Completion>,
    /// One line has left the transmit buffer.
    pub line_sent: Signal<In, Bit>,
    /// An NDR entry is free to reserve.
    pub ndr_room: Signal<In, Bit>,
    pub ndr_reserve: Signal<Out, Bit>,
    pub poison_on_miss: Signal<In, Bit>,
    pub dev_load: Signal<In, Bits<2>>,
    /// Lines reserved in the transmit buffer.
    pub lines_used: Signal<Out, Bits<5>>,
    pub ev_req: Signal<Out, Bit>,
    pub ev_nxm: Signal<Out, Bit>,
    pub ev_error: Signal<Out, Bit>,
    /// The request that `ev_error` is about, as a G4 slot; the address field holds the device's line.
    pub error_slot: Signal<Out, Bits<128>>,
    rule: ReqRule,
    db_rule: DbReqRule,
    stage_valid: DFF<Bit>,
    stage: DFF<Request>,
    stage_legal: DFF<Bit>,
    stage_silent: DFF<Bit>,
    stage_data: DFF<Bit>,
    stage_store: DFF<Bit>,
    stage_meta: DFF<Bit>,
    stage_next: DFF<Bits<3>>,
    /// The point of coherence has spoken; what it said.
    decided: DFF<Bit>,
    granted: DFF<Bit>,
    grant: DFF<Bits<3>>,
    dir: DFF<Bits<2>>,
    answer_valid: DFF<Bit>,
    answer_idx: DFF<Bits<2>>,
    answer_data: DFF<Bits<128>>,
    answer_poison: DFF<Bit>,
    answer_meta: DFF<Bits<2>>,
    pool: Pool<16, 4>,
    pending: Fifo<Pending, 5>,
    used: DFF<Bits<5>>,
    /// All 16 lines of the transmit buffer are reserved; computed one cycle ahead, like the pool's `full`.
    lines_full: DFF<Bit>,
    head: Signal<Local, Request>,
    legal: Signal<Local, Bit>,
    hit: Signal<Local, Bit>,
    left_legal: Signal<Local, Bit>,
    room: Signal<Local, Bit>,
    db: Signal<Local, Bit>,
    asks: Signal<Local, Bit>,
    with_ndr: Signal<Local, Bit>,
    go: Signal<Local, Bit>,
    dropped: Signal<Local, Bit>,
    next_pending: Signal<Local, Pending>,
    oldest: Signal<Local, Pending>,
    finish: Signal<Local, Bit>,
    used_next: Signal<Local, Bits<5>>,
    load: Signal<Local, Bit>,
    error: Signal<Local, M2sReq>,
    // the request that left the stage in the cycle before, to the memory (`sent`) or dropped (`left`: either)
    sent: DFF<Bit>,
    left: DFF<Bit>,
    left_tag: DFF<Bits<16>>,
    left_ld_id: DFF<Bits<4>>,
    left_rule: DFF<Bit>,
    left_silent: DFF<Bit>,
    left_data: DFF<Bit>,
    left_hit: DFF<Bit>,
    left_db: DFF<Bit>,
    left_granted: DFF<Bit>,
    left_ndr: DFF<Bit>,
    left_meta: DFF<Bit>,
    left_grant: DFF<Bits<3>>,
    left_dir: DFF<Bits<2>>,
    error_bits: DFF<Bits<87>>,
    announce: Signal<Local, Bit>,
    /// The back end gives a line's beats in consecutive cycles: the DRS header may leave with the first of them, since chunk *k* is
    /// needed no earlier than *k* + 1 cycles after the header (and one without must wait for the last: `cxl-mem 8.1`).
    contiguous: Param<Bit>,
}

impl Reads {
    pub fn new(config: &Config) -> Self {
        Self {
            pool: Pool::new(config.req_trackers),
            contiguous: Param::new(config.backend == Backend::Block),
            ..Default::default()
        }
    }
}

impl Logic for Reads {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            used,
            lines_full,
            stage_valid,
            stage,
            stage_legal,
            stage_silent,
            stage_data,
            stage_store,
            stage_meta,
            stage_next,
            decided,
            granted,
            grant,
            dir,
            answer_valid,
            answer_idx,
            answer_data,
            answer_poison,
            answer_meta,
            sent,
            left,
            left_tag,
            left_ld_id,
            left_rule,
            left_silent,
            left_data,
            left_hit,
            left_db,
            left_granted,
            left_ndr,
            left_meta,
            left_grant,
            left_dir,
            error_bits
        );
        self.pool.clock.next = self.clock.val();
        self.pool.reset.next = self.reset.val();
        self.pending.clock.next = self.clock.val();
        self.pending.reset.next = self.reset.val();

        // The stage
        self.head_line.next = self.stage.q.val().line;
        self.pool.lookup0.next = self.stage.q.val().line;
        self.pool.lookup1.next = self.rwd_line.val();
        self.req_matched.next = self.pool.matched1.val();
        self.hit.next = self.stage.q.val().hit == 1;
        // A second request for a line in flight breaks the host's obligation (cxl-mem 8.1): handled as an illegal one.
        // MemSpecRd is exempt: it has no completion that the host could wait for.
        self.legal.next = self.stage_legal.q.val()
            & !(self.hit.val()
                & !self.stage_silent.q.val()
                & (self.pool.match0.val() | self.rwd_match.val()));
        // The same, for the request that left in the cycle before.
        self.left_legal.next = self.left_rule.q.val()
            & !(self.left_hit.q.val()
                & !self.left_silent.q.val()
                & (self.pool.matched0.val() | self.rwd_matched.val()));
        if self.left_db.q.val() {
            self.left_legal.next = self.left_rule.q.val()
                & (!self.left_hit.q.val() | self.left_silent.q.val() | self.left_granted.q.val());
        }
        // HDM-DB: the NDR, which a miss with data goes without.
        self.db.next = self.stage.q.val().db == 1;
        self.asks.next = self.db.val() & self.stage_legal.q.val() & self.hit.val();
        self.with_ndr.next = !self.stage_data.q.val()
            | (self.db.val() & !(self.stage_legal.q.val() & !self.hit.val()));
        self.room.next = !self.pool.full.val();
        if self.stage_data.q.val() {
            if self.lines_full.q.val() {
                self.room.next = false;
            }
        }
        if self.with_ndr.val() {
            if !self.ndr_room.val() {
                self.room.next = false;
            }
        }
        // MemSpecRd is a hint without completion; it is not acted upon.
        self.dropped.next = self.stage_valid.q.val() & self.stage_silent.q.val();
        self.rd_valid.next = self.stage_valid.q.val()
            & self.room.val()
            & !self.stage_silent.q.val()
            & (!self.asks.val() | self.decided.q.val());
        self.go.next = self.rd_valid.val() & self.rd_ready.val();
        self.rd_line.next = self.stage.q.val().line;
        self.rd_nodata.next = !self.stage_data.q.val();
        self.rd_meta_we.next =
            self.legal.val() & self.hit.val() & self.stage_store.q.val() & !self.db.val();
        self.rd_meta.next = self.stage.q.val().meta_value;
        self.pool.allocate.next = self.go.val();
        self.pool.allocate_line.next = self.stage.q.val().line;
        self.ndr_reserve.next = self.go.val() & self.with_ndr.val();
        self.ev_req.next = self.go.val() | self.dropped.val();
        self.ev_nxm.next = self.go.val() & !self.hit.val();

        // The point of coherence. It is asked once there is room for the answer, so that nothing waits long for the line.
        self.dir_ask.next = self.stage_valid.q.val()
            & self.asks.val()
            & !self.stage_silent.q.val()
            & !self.decided.q.val()
            & self.room.val();
        self.dir_next.next = self.stage_next.q.val();
        self.dir_held.next = self.stage_valid.q.val() & self.decided.q.val();
        self.pool.lookup2.next = self.dir_lookup.val();
        self.dir_matched.next = self.pool.matched2.val();
        if self.dir_go.val() | self.dir_second.val() {
            self.decided.d.next = true;
            self.granted.d.next = self.dir_go.val();
            self.dir.d.next = self.dir_state.val();
            self.grant.d.next = 0.into();
            if self.dir_go.val() {
                self.grant.d.next = self.dir_grant.val();
            }
        }

        // What the response will be. The memory answers two cycles after the issue at the earliest, so this is in time.
        self.sent.d.next = self.go.val();
        self.left.d.next = self.ev_req.val();
        self.left_tag.d.next = self.stage.q.val().tag;
        self.left_ld_id.d.next = self.stage.q.val().ld_id;
        self.left_rule.d.next = self.stage_legal.q.val();
        self.left_silent.d.next = self.stage_silent.q.val();
        self.left_data.d.next = self.stage_data.q.val();
        self.left_hit.d.next = self.hit.val();
        self.left_db.d.next = self.db.val();
        self.left_granted.d.next = self.granted.q.val();
        self.left_ndr.d.next = self.with_ndr.val();
        self.left_meta.d.next = self.stage_meta.q.val();
        self.left_grant.d.next = 0.into();
        if self.asks.val() {
            self.left_grant.d.next = self.grant.q.val();
        }
        self.left_dir.d.next = self.dir.q.val();
        self.next_pending.next.ndr = 0.into();
        if self.left_ndr.q.val() & self.left_data.q.val() {
            self.next_pending.next.ndr = 1.into();
        }
        self.next_pending.next.grant = self.left_grant.q.val();
        self.next_pending.next.dir = self.left_dir.q.val();
        self.next_pending.next.db = 0.into();
        if self.left_db.q.val() {
            self.next_pending.next.db = 1.into();
        }
        self.next_pending.next.tag = self.left_tag.q.val();
        self.next_pending.next.ld_id = self.left_ld_id.q.val();
        self.next_pending.next.data = 0.into();
        if self.left_data.q.val() {
            self.next_pending.next.data = 1.into();
        }
        self.next_pending.next.meta = 0.into();
        self.next_pending.next.ones = 0.into();
        self.next_pending.next.poison = 0.into();
        self.next_pending.next.nxm = 0.into();
        if self.left_legal.val() & self.left_hit.q.val() {
            if self.left_meta.q.val() {
                self.next_pending.next.meta = 1.into();
            }
        } else {
            self.next_pending.next.ones = 1.into();
            if !self.left_legal.val() | self.poison_on_miss.val() {
                self.next_pending.next.poison = 1.into();
            }
            if self.left_legal.val() {
                self.next_pending.next.nxm = 1.into();
            }
        }
        self.pending.write.next = self.sent.q.val();
        self.pending.write_data.next = self.next_pending.val();
        self.ev_error.next = self.left.q.val() & !self.left_legal.val();

        self.error.next.valid = 1.into();
        self.error.next.opcode = self.stage.q.val().opcode;
        self.error.next.snp_type = self.stage.q.val().snp_type;
        self.error.next.meta_field = self.stage.q.val().meta_field;
        self.error.next.meta_value = self.stage.q.val().meta_value;
        self.error.next.tag = self.stage.q.val().tag;
        self.error.next.address = bit_cast::<47, 26>(self.stage.q.val().line) << 1;
        self.error.next.tc = 0.into();
        self.error.next.ld_id = self.stage.q.val().ld_id;
        self.error.next.rsvd = 0.into();
        self.error_bits.d.next = self.error.val().into();
        self.error_slot.next = bit_cast::<128, 87>(self.error_bits.q.val());

        // From the queue to the stage
        self.head.next = self.req.val();
        self.rule.opcode.next = self.head.val().opcode;
        self.rule.meta_field.next = self.head.val().meta_field;
        self.rule.snp_type.next = self.head.val().snp_type;
        self.db_rule.opcode.next = self.head.val().opcode;
        self.db_rule.meta_field.next = self.head.val().meta_field;
        self.db_rule.meta_value.next = self.head.val().meta_value;
        self.db_rule.snp_type.next = self.head.val().snp_type;
        self.load.next =
            self.req_valid.val() & (!self.stage_valid.q.val() | self.go.val() | self.dropped.val());
        self.req_pop.next = self.load.val();
        if self.go.val() | self.dropped.val() {
            self.stage_valid.d.next = false;
        }
        if self.load.val() {
            self.stage_valid.d.next = true;
            self.stage.d.next = self.req.val();
            self.stage_legal.d.next = self.rule.legal.val();
            self.stage_silent.d.next = self.rule.silent.val();
            self.stage_data.d.next = self.rule.data.val();
            self.stage_store.d.next = self.rule.store_meta.val();
            self.stage_meta.d.next = self.rule.store_meta.val();
            self.stage_next.d.next = self.db_rule.goes.val();
            self.decided.d.next = false;
            if self.head.val().db == 1 {
                self.stage_legal.d.next = self.db_rule.legal.val().any();
                self.stage_silent.d.next = self.db_rule.silent.val().any();
                self.stage_data.d.next = self.db_rule.data.val().any();
                self.stage_meta.d.next = self.db_rule.meta.val().any();
            }
        }

        // The memory's answer
        self.answer_valid.d.next = self.rsp_valid.val();
        self.answer_idx.d.next = self.rsp_idx.val();
        self.answer_data.d.next = self.rsp_data.val();
        self.answer_poison.d.next = self.rsp_poison.val();
        self.answer_meta.d.next = self.rsp_meta.val();
        self.oldest.next = self.pending.read_data.val();
        self.finish.next = self.answer_valid.q.val() & (self.answer_idx.q.val() == 3);
        self.announce.next = self.finish.val();
        if self.contiguous.val() {
            self.announce.next = self.answer_valid.q.val() & (self.answer_idx.q.val() == 0);
        }
        self.pending.read.next = self.finish.val();
        self.pool.done.next = self.finish.val();
        self.chunk.next = self.answer_data.q.val();
        if self.oldest.val().ones == 1 {
            self.chunk.next = !bits::<128>(0);
        }
        self.chunk_write.next = self.answer_valid.q.val() & (self.oldest.val().data == 1);
        self.drs_write.next = self.announce.val() & (self.oldest.val().data == 1);
        self.ndr_write.next = (self.finish.val() & (self.oldest.val().data == 0))
            | (self.announce.val() & (self.oldest.val().data == 1) & (self.oldest.val().ndr == 1));
        self.completion.next.tag = self.oldest.val().tag;
        self.completion.next.ld_id = self.oldest.val().ld_id;
        self.completion.next.dev_load = self.dev_load.val();
        self.completion.next.opcode = 0.into();
        self.completion.next.meta_field = 3.into();
        self.completion.next.meta_value = 0.into();
        self.completion.next.poison = 0.into();
        if self.oldest.val().meta == 1 {
            self.completion.next.meta_field = 0.into();
            self.completion.next.meta_value = self.answer_meta.q.val();
            if self.oldest.val().db == 1 {
                self.completion.next.meta_value = self.oldest.val().dir;
            }
        }
        if self.oldest.val().data == 1 {
            if self.oldest.val().nxm == 1 {
                self.completion.next.opcode = 1.into();
            }
            if self.oldest.val().ones == 1 {
                self.completion.next.poison = self.oldest.val().poison;
            } else {
                if self.answer_poison.q.val() {
                    self.completion.next.poison = 1.into();
                }
            }
        }

        self.ndr_completion.next = self.completion.val();
        self.ndr_completion.next.opcode = self.oldest.val().grant;

        // Lines reserved in the transmit buffer, from issue to the last chunk sent
        self.used_next.next = self.used.q.val();
        if self.go.val() & self.stage_data.q.val() & !self.line_sent.val() {
            self.used_next.next = self.used.q.val() + 1;
        }
        if !(self.go.val() & self.stage_data.q.val()) & self.line_sent.val() {
            self.used_next.next = self.used.q.val() - 1;
        }
        self.used.d.next = self.used_next.val();
        self.lines_full.d.next = self.used_next.val() > 15;
        self.lines_used.next = self.used.q.val();
        if self.reset.val() {
            self.used.d.next = 0.into();
            self.lines_full.d.next = false;
            self.stage_valid.d.next = false;
            self.decided.d.next = false;
            self.sent.d.next = false;
            self.left.d.next = false;
            self.answer_valid.d.next = false;
        }
    }
}
