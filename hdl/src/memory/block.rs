//! Block RAM back end: a line in four beats, the first one cycle after the request; poison and Meta0 beside it, one entry a line.

use crate::prim::{BlockRam, LineRam};
use rust_hdl::prelude::*;

#[derive(LogicBlock, Default)]
pub struct BlockMemory {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub rd_valid: Signal<In, Bit>,
    pub rd_ready: Signal<Out, Bit>,
    pub rd_line: Signal<In, Bits<26>>,
    pub rd_nodata: Signal<In, Bit>,
    pub rd_meta_we: Signal<In, Bit>,
    pub rd_meta: Signal<In, Bits<2>>,
    pub rsp_valid: Signal<Out, Bit>,
    pub rsp_idx: Signal<Out, Bits<2>>,
    pub rsp_data: Signal<Out, Bits<128>>,
    pub rsp_poison: Signal<Out, Bit>,
    pub rsp_meta: Signal<Out, Bits<2>>,
    pub wr_valid: Signal<In, Bit>,
    pub wr_ready: Signal<Out, Bit>,
    pub wr_line: Signal<In, Bits<26>>,
    pub wr_idx: Signal<In, Bits<2>>,
    pub wr_data: Signal<In, Bits<128>>,
    pub wr_be: Signal<In, Bits<16>>,
    pub wr_poison_we: Signal<In, Bit>,
    pub wr_poison: Signal<In, Bit>,
    pub wr_meta_we: Signal<In, Bit>,
    pub wr_meta: Signal<In, Bits<2>>,
    lines: LineRam,
    poison: BlockRam<Bits<1>, 26>,
    meta: BlockRam<Bits<2>, 26>,
    /// The beat whose address is presented in this cycle; 0 = none in progress.
    beat: DFF<Bits<2>>,
    line: DFF<Bits<26>>,
    out_valid: DFF<Bit>,
    out_idx: DFF<Bits<2>>,
    /// A read's metadata update, written one cycle after the old value was read.
    update: DFF<Bit>,
    update_meta: DFF<Bits<2>>,
    // the write beat, registered: its fan-out is the whole memory
    w_valid: DFF<Bit>,
    w_line: DFF<Bits<26>>,
    w_idx: DFF<Bits<2>>,
    w_data: DFF<Bits<128>>,
    w_be: DFF<Bits<16>>,
    w_poison_we: DFF<Bit>,
    w_poison: DFF<Bit>,
    w_meta_we: DFF<Bit>,
    w_meta: DFF<Bits<2>>,
    accept: Signal<Local, Bit>,
    write: Signal<Local, Bit>,
    address: Signal<Local, Bits<26>>,
}

impl BlockMemory {
    /// `2^line_bits` lines.
    pub fn new(line_bits: usize) -> Self {
        Self {
            lines: LineRam::with_depth_bits(line_bits + 2),
            poison: BlockRam::with_depth_bits(line_bits),
            meta: BlockRam::with_depth_bits(line_bits),
            ..Default::default()
        }
    }
}

impl Logic for BlockMemory {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            beat,
            line,
            out_valid,
            out_idx,
            update,
            update_meta,
            w_valid,
            w_line,
            w_idx,
            w_data,
            w_be,
            w_poison_we,
            w_poison,
            w_meta_we,
            w_meta
        );
        self.lines.clock.next = self.clock.val();
        self.poison.clock.next = self.clock.val();
        self.meta.clock.next = self.clock.val();

        // Read: four addresses, one a cycle
        self.rd_ready.next = self.beat.q.val() == 0;
        self.accept.next = self.rd_valid.val() & self.rd_ready.val();
        // The address does not wait for `rd_valid`: reading without a request does no harm.
        self.address.next = self.line.q.val();
        if self.rd_ready.val() {
            self.address.next = self.rd_line.val();
        }
        self.out_valid.d.next = false;
        self.out_idx.d.next = self.beat.q.val();
        self.update.d.next = false;
        if self.accept.val() {
            self.line.d.next = self.rd_line.val();
            self.out_valid.d.next = true;
            self.update.d.next = self.rd_meta_we.val();
            self.update_meta.d.next = self.rd_meta.val();
            if self.rd_nodata.val() {
                self.out_idx.d.next = 3.into();
            } else {
                self.beat.d.next = 1.into();
            }
        }
        if self.beat.q.val() != 0 {
            self.out_valid.d.next = true;
            self.beat.d.next = self.beat.q.val() + 1;
        }
        self.lines.read.next = true;
        self.lines.read_address.next =
            (bit_cast::<28, 26>(self.address.val()) << 2) | bit_cast::<28, 2>(self.beat.q.val());
        // Poison and metadata are read once, with the request, and keep their place.
        self.poison.read.next = self.accept.val();
        self.poison.read_address.next = self.address.val();
        self.meta.read.next = self.accept.val();
        self.meta.read_address.next = self.address.val();
        self.rsp_valid.next = self.out_valid.q.val();
        self.rsp_idx.next = self.out_idx.q.val();
        self.rsp_data.next = self.lines.read_data.val();
        self.rsp_poison.next = self.poison.read_data.val().any();
        self.rsp_meta.next = self.meta.read_data.val();

        // Write. Only a read's metadata update in the same cycle holds a beat up.
        self.wr_ready.next = !(self.update.q.val() & self.w_valid.q.val() & self.w_meta_we.q.val());
        if self.wr_ready.val() {
            self.w_valid.d.next = self.wr_valid.val();
            self.w_line.d.next = self.wr_line.val();
            self.w_idx.d.next = self.wr_idx.val();
            self.w_data.d.next = self.wr_data.val();
            self.w_be.d.next = self.wr_be.val();
            self.w_poison_we.d.next = self.wr_poison_we.val();
            self.w_poison.d.next = self.wr_poison.val();
            self.w_meta_we.d.next = self.wr_meta_we.val();
            self.w_meta.d.next = self.wr_meta.val();
        }
        self.write.next = self.w_valid.q.val() & self.wr_ready.val();
        self.lines.write.next = self.w_valid.q.val();
        self.lines.write_address.next =
            (bit_cast::<28, 26>(self.w_line.q.val()) << 2) | bit_cast::<28, 2>(self.w_idx.q.val());
        self.lines.write_data.next = self.w_data.q.val();
        self.lines.write_be.next = self.w_be.q.val();
        self.poison.write.next = self.write.val() & self.w_poison_we.q.val();
        self.poison.write_address.next = self.w_line.q.val();
        self.poison.write_data.next = 0.into();
        if self.w_poison.q.val() {
            self.poison.write_data.next = 1.into();
        }
        self.meta.write.next = self.write.val() & self.w_meta_we.q.val();
        self.meta.write_address.next = self.w_line.q.val();
        self.meta.write_data.next = self.w_meta.q.val();
        if self.update.q.val() {
            self.meta.write.next = true;
            self.meta.write_address.next = self.line.q.val();
            self.meta.write_data.next = self.update_meta.q.val();
        }
        if self.reset.val() {
            self.beat.d.next = 0.into();
            self.out_valid.d.next = false;
            self.update.d.next = false;
            self.w_valid.d.next = false;
        }
    }
}
