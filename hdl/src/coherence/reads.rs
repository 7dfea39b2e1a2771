//! The request path: takes M2S Req from its queue, checks it, reads the memory and queues DRS or NDR in the memory's order.
//!
//! Everything goes through the memory in order, also what needs no data: a miss reads some line and the answer is replaced by all
//! ones, so no response can overtake another and no second source of responses exists.

use super::rules::ReqRule;
use super::tracker::Pool;
use crate::config::Config;
use crate::link::messages::{Completion, Request};
use crate::prim::Fifo;
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
    pub rwd_line: Signal<In, Bits<26>>,
    pub req_match: Signal<Out, Bit>,
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
    pub completion: Signal<Out, Completion>,
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
    rule: ReqRule,
    pool: Pool<16, 4>,
    pending: Fifo<Pending, 5>,
    used: DFF<Bits<5>>,
    head: Signal<Local, Request>,
    legal: Signal<Local, Bit>,
    hit: Signal<Local, Bit>,
    room: Signal<Local, Bit>,
    go: Signal<Local, Bit>,
    dropped: Signal<Local, Bit>,
    next_pending: Signal<Local, Pending>,
    oldest: Signal<Local, Pending>,
    finish: Signal<Local, Bit>,
}

impl Reads {
    pub fn new(config: &Config) -> Self {
        Self {
            pool: Pool::new(config.req_trackers),
            ..Default::default()
        }
    }
}

impl Logic for Reads {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, used);
        self.pool.clock.next = self.clock.val();
        self.pool.reset.next = self.reset.val();
        self.pending.clock.next = self.clock.val();
        self.pending.reset.next = self.reset.val();

        // The head of the queue
        self.head.next = self.req.val();
        self.head_line.next = self.head.val().line;
        self.rule.opcode.next = self.head.val().opcode;
        self.rule.meta_field.next = self.head.val().meta_field;
        self.rule.snp_type.next = self.head.val().snp_type;
        self.pool.lookup0.next = self.head.val().line;
        self.pool.lookup1.next = self.rwd_line.val();
        self.req_match.next = self.pool.match1.val();
        self.hit.next = self.head.val().hit == 1;
        // A second request for a line in flight breaks the host's obligation (cxl-mem 8.1): handled as an illegal one.
        self.legal.next = self.rule.legal.val()
            & !(self.hit.val() & (self.pool.match0.val() | self.rwd_match.val()));
        self.room.next = !self.pool.full.val() & !self.pending.full.val();
        if self.rule.data.val() {
            if self.used.q.val() > 15 {
                self.room.next = false;
            }
        } else {
            if !self.ndr_room.val() {
                self.room.next = false;
            }
        }
        // MemSpecRd is a hint without completion; it is not acted upon.
        self.dropped.next = self.req_valid.val() & self.rule.silent.val();
        self.rd_valid.next = self.req_valid.val() & self.room.val() & !self.rule.silent.val();
        self.go.next = self.rd_valid.val() & self.rd_ready.val();
        self.req_pop.next = self.go.val() | self.dropped.val();
        self.rd_line.next = self.head.val().line;
        self.rd_nodata.next = !self.rule.data.val();
        self.rd_meta_we.next = self.legal.val() & self.hit.val() & self.rule.store_meta.val();
        self.rd_meta.next = self.head.val().meta_value;
        self.pool.allocate.next = self.go.val();
        self.pool.allocate_line.next = self.head.val().line;
        self.ndr_reserve.next = self.go.val() & !self.rule.data.val();
        self.next_pending.next.tag = self.head.val().tag;
        self.next_pending.next.ld_id = self.head.val().ld_id;
        self.next_pending.next.data = 0.into();
        if self.rule.data.val() {
            self.next_pending.next.data = 1.into();
        }
        self.next_pending.next.meta = 0.into();
        self.next_pending.next.ones = 0.into();
        self.next_pending.next.poison = 0.into();
        self.next_pending.next.nxm = 0.into();
        if self.legal.val() & self.hit.val() {
            if self.rule.store_meta.val() {
                self.next_pending.next.meta = 1.into();
            }
        } else {
            self.next_pending.next.ones = 1.into();
            if !self.legal.val() | self.poison_on_miss.val() {
                self.next_pending.next.poison = 1.into();
            }
            if self.legal.val() {
                self.next_pending.next.nxm = 1.into();
            }
        }
        self.pending.write.next = self.go.val();
        self.pending.write_data.next = self.next_pending.val();
        self.ev_req.next = self.req_pop.val();
        self.ev_nxm.next = self.go.val() & !self.hit.val();
        self.ev_error.next = self.req_pop.val() & !self.legal.val();

        // The memory's answer
        self.oldest.next = self.pending.read_data.val();
        self.finish.next = self.rsp_valid.val() & (self.rsp_idx.val() == 3);
        self.pending.read.next = self.finish.val();
        self.pool.done.next = self.finish.val();
        self.chunk.next = self.rsp_data.val();
        if self.oldest.val().ones == 1 {
            self.chunk.next = !bits::<128>(0);
        }
        self.chunk_write.next = self.rsp_valid.val() & (self.oldest.val().data == 1);
        self.drs_write.next = self.finish.val() & (self.oldest.val().data == 1);
        self.ndr_write.next = self.finish.val() & (self.oldest.val().data == 0);
        self.completion.next.tag = self.oldest.val().tag;
        self.completion.next.ld_id = self.oldest.val().ld_id;
        self.completion.next.dev_load = self.dev_load.val();
        self.completion.next.opcode = 0.into();
        self.completion.next.meta_field = 3.into();
        self.completion.next.meta_value = 0.into();
        self.completion.next.poison = 0.into();
        if self.oldest.val().meta == 1 {
            self.completion.next.meta_field = 0.into();
            self.completion.next.meta_value = self.rsp_meta.val();
        }
        if self.oldest.val().data == 1 {
            if self.oldest.val().nxm == 1 {
                self.completion.next.opcode = 1.into();
            }
            if self.oldest.val().ones == 1 {
                self.completion.next.poison = self.oldest.val().poison;
            } else {
                if self.rsp_poison.val() {
                    self.completion.next.poison = 1.into();
                }
            }
        }

        // Lines reserved in the transmit buffer, from issue to the last chunk sent
        if self.go.val() & self.rule.data.val() & !self.line_sent.val() {
            self.used.d.next = self.used.q.val() + 1;
        }
        if !(self.go.val() & self.rule.data.val()) & self.line_sent.val() {
            self.used.d.next = self.used.q.val() - 1;
        }
        self.lines_used.next = self.used.q.val();
        if self.reset.val() {
            self.used.d.next = 0.into();
        }
    }
}
