//! Shares the memory port between the link (first) and the device's own accesses. The link fills at most four of five cycles, so those
//! always get their turn. Answers come in order; a queue of owners routes them.

use crate::prim::Fifo;
use rust_hdl::prelude::*;

/// One beat of the device's own writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Beat {
    pub line: Bits<26>,
    pub idx: Bits<2>,
    pub data: Bits<128>,
    pub be: Bits<16>,
    pub poison_we: Bit,
    pub poison: Bit,
}

#[derive(LogicBlock, Default)]
pub struct Arbiter {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // link
    pub link_rd_valid: Signal<In, Bit>,
    pub link_rd_ready: Signal<Out, Bit>,
    pub link_rd_line: Signal<In, Bits<26>>,
    pub link_rd_nodata: Signal<In, Bit>,
    pub link_rd_meta_we: Signal<In, Bit>,
    pub link_rsp_valid: Signal<Out, Bit>,
    pub link_wr_valid: Signal<In, Bit>,
    /// The link is in the middle of a line: known early, while whether it writes is on a long path.
    pub link_wr_claim: Signal<In, Bit>,
    pub link_wr_ready: Signal<Out, Bit>,
    pub link_wr_line: Signal<In, Bits<26>>,
    pub link_wr_idx: Signal<In, Bits<2>>,
    pub link_wr_data: Signal<In, Bits<128>>,
    pub link_wr_be: Signal<In, Bits<16>>,
    pub link_wr_poison_we: Signal<In, Bit>,
    pub link_wr_poison: Signal<In, Bit>,
    pub link_wr_meta_we: Signal<In, Bit>,
    // the device's own
    pub local_rd_valid: Signal<In, Bit>,
    pub local_rd_ready: Signal<Out, Bit>,
    pub local_rd_line: Signal<In, Bits<26>>,
    pub local_rsp_valid: Signal<Out, Bit>,
    pub local_wr_valid: Signal<In, Bit>,
    pub local_wr_ready: Signal<Out, Bit>,
    pub local_wr: Signal<In, Beat>,
    // memory
    pub rd_valid: Signal<Out, Bit>,
    pub rd_ready: Signal<In, Bit>,
    pub rd_line: Signal<Out, Bits<26>>,
    pub rd_nodata: Signal<Out, Bit>,
    pub rd_meta_we: Signal<Out, Bit>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub wr_valid: Signal<Out, Bit>,
    pub wr_ready: Signal<In, Bit>,
    pub wr_line: Signal<Out, Bits<26>>,
    pub wr_idx: Signal<Out, Bits<2>>,
    pub wr_data: Signal<Out, Bits<128>>,
    pub wr_be: Signal<Out, Bits<16>>,
    pub wr_poison_we: Signal<Out, Bit>,
    pub wr_poison: Signal<Out, Bit>,
    pub wr_meta_we: Signal<Out, Bit>,
    /// Link reads are on their way: a link that was disabled may not start again before they have come back.
    pub link_busy: Signal<Out, Bit>,
    owners: Fifo<Bits<1>, 5>,
    beat: Signal<Local, Beat>,
    link_reads: DFF<Bits<6>>,
    room: Signal<Local, Bit>,
    link_start: Signal<Local, Bit>,
    link_end: Signal<Local, Bit>,
}

impl Logic for Arbiter {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, link_reads);
        self.owners.clock.next = self.clock.val();
        self.owners.reset.next = self.reset.val();

        self.room.next = !self.owners.full.val();
        self.rd_valid.next =
            (self.link_rd_valid.val() | self.local_rd_valid.val()) & self.room.val();
        self.link_rd_ready.next = self.rd_ready.val() & self.room.val();
        self.local_rd_ready.next =
            self.rd_ready.val() & self.room.val() & !self.link_rd_valid.val();
        self.owners.write.next = self.rd_valid.val() & self.rd_ready.val();
        if self.link_rd_valid.val() {
            self.rd_line.next = self.link_rd_line.val();
            self.rd_nodata.next = self.link_rd_nodata.val();
            self.rd_meta_we.next = self.link_rd_meta_we.val();
            self.owners.write_data.next = 0.into();
        } else {
            self.rd_line.next = self.local_rd_line.val();
            self.rd_nodata.next = false;
            self.rd_meta_we.next = false;
            self.owners.write_data.next = 1.into();
        }
        self.link_rsp_valid.next = self.rsp_valid.val() & !self.owners.read_data.val().any();
        self.local_rsp_valid.next = self.rsp_valid.val() & self.owners.read_data.val().any();
        self.owners.read.next = self.rsp_valid.val() & (self.rsp_idx.val() == 3);

        self.link_start.next = self.link_rd_valid.val() & self.link_rd_ready.val();
        self.link_end.next = self.link_rsp_valid.val() & (self.rsp_idx.val() == 3);
        if self.link_start.val() & !self.link_end.val() {
            self.link_reads.d.next = self.link_reads.q.val() + 1;
        }
        if !self.link_start.val() & self.link_end.val() {
            self.link_reads.d.next = self.link_reads.q.val() - 1;
        }
        self.link_busy.next = self.link_reads.q.val() != 0;
        if self.reset.val() {
            self.link_reads.d.next = 0.into();
        }

        self.beat.next = self.local_wr.val();
        self.wr_valid.next =
            self.link_wr_valid.val() | (self.local_wr_valid.val() & !self.link_wr_claim.val());
        self.link_wr_ready.next = self.wr_ready.val();
        self.local_wr_ready.next = self.wr_ready.val() & !self.link_wr_claim.val();
        if self.link_wr_claim.val() {
            self.wr_line.next = self.link_wr_line.val();
            self.wr_idx.next = self.link_wr_idx.val();
            self.wr_data.next = self.link_wr_data.val();
            self.wr_be.next = self.link_wr_be.val();
            self.wr_poison_we.next = self.link_wr_poison_we.val();
            self.wr_poison.next = self.link_wr_poison.val();
            self.wr_meta_we.next = self.link_wr_meta_we.val();
        } else {
            self.wr_line.next = self.beat.val().line;
            self.wr_idx.next = self.beat.val().idx;
            self.wr_data.next = self.beat.val().data;
            self.wr_be.next = self.beat.val().be;
            self.wr_poison_we.next = self.beat.val().poison_we;
            self.wr_poison.next = self.beat.val().poison;
            self.wr_meta_we.next = false;
        }
    }
}
