//! Reads of device lines: requests to the memory port and the buffer that their answers, which know no back-pressure, need.

use crate::prim::BlockRam;
use rust_hdl::prelude::*;

/// Reads lines in order. A line is offered when all of it is here. The first poisoned line ends the stream: `poisoned` is set
/// once every line before it was taken; only `flush` (held until `idle`) goes on from there.
#[derive(LogicBlock, Default)]
pub struct DevRead {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub issue_valid: Signal<In, Bit>,
    pub issue_ready: Signal<Out, Bit>,
    pub issue_line: Signal<In, Bits<26>>,
    pub mem_rd_valid: Signal<Out, Bit>,
    pub mem_rd_ready: Signal<In, Bit>,
    pub mem_rd_line: Signal<Out, Bits<26>>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub rsp_data: Signal<In, Bits<128>>,
    pub rsp_poison: Signal<In, Bit>,
    pub out_valid: Signal<Out, Bit>,
    pub out_ready: Signal<In, Bit>,
    pub out_data: Signal<Out, Bits<128>>,
    /// Lines here whose last beat `line_taken` has not reported.
    pub level: Signal<Out, Bits<6>>,
    pub line_taken: Signal<In, Bit>,
    /// A poisoned line came; the lines before it are all that `level` counts.
    pub poison_seen: Signal<Out, Bit>,
    pub poisoned: Signal<Out, Bit>,
    pub flush: Signal<In, Bit>,
    pub idle: Signal<Out, Bit>,
    data: BlockRam<Bits<128>, 7>,
    /// Lines requested, answered, offered, read; modulo 64.
    requested: DFF<Bits<6>>,
    answered: DFF<Bits<6>>,
    offered: DFF<Bits<6>>,
    read: DFF<Bits<6>>,
    in_beat: DFF<Bits<2>>,
    out_beat: DFF<Bits<2>>,
    o_valid: DFF<Bit>,
    level_r: DFF<Bits<6>>,
    poison: DFF<Bit>,
    line_poison: DFF<Bit>,
    used: Signal<Local, Bits<6>>,
    advance: Signal<Local, Bit>,
    line_in: Signal<Local, Bit>,
}

impl Logic for DevRead {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            requested,
            answered,
            offered,
            read,
            in_beat,
            out_beat,
            o_valid,
            level_r,
            poison,
            line_poison
        );
        self.data.clock.next = self.clock.val();
        self.used.next = self.requested.q.val() - self.read.q.val();
        self.mem_rd_valid.next =
            self.issue_valid.val() & !self.used.val().get_bit(5) & !self.flush.val();
        self.issue_ready.next =
            self.mem_rd_ready.val() & !self.used.val().get_bit(5) & !self.flush.val();
        self.mem_rd_line.next = self.issue_line.val();
        if self.mem_rd_valid.val() & self.mem_rd_ready.val() {
            self.requested.d.next = self.requested.q.val() + 1;
        }

        self.data.write.next = self.rsp_valid.val();
        self.data.write_address.next = (bit_cast::<7, 5>(self.answered.q.val().get_bits::<5>(0))
            << 2)
            | bit_cast::<7, 2>(self.rsp_idx.val());
        self.data.write_data.next = self.rsp_data.val();
        self.line_in.next = false;
        if self.rsp_valid.val() {
            self.in_beat.d.next = self.in_beat.q.val() + 1;
            self.line_poison.d.next = self.line_poison.q.val() | self.rsp_poison.val();
            if self.in_beat.q.val().all() {
                self.line_poison.d.next = false;
                self.answered.d.next = self.answered.q.val() + 1;
                if self.line_poison.q.val() | self.rsp_poison.val() | self.poison.q.val() {
                    self.poison.d.next = true;
                } else {
                    self.offered.d.next = self.offered.q.val() + 1;
                    self.line_in.next = true;
                }
            }
        }
        if self.line_in.val() & !self.line_taken.val() {
            self.level_r.d.next = self.level_r.q.val() + 1;
        }
        if !self.line_in.val() & self.line_taken.val() {
            self.level_r.d.next = self.level_r.q.val() - 1;
        }

        self.advance.next = (self.offered.q.val() != self.read.q.val())
            & (!self.o_valid.q.val() | self.out_ready.val());
        self.data.read.next = self.advance.val();
        self.data.read_address.next = (bit_cast::<7, 5>(self.read.q.val().get_bits::<5>(0)) << 2)
            | bit_cast::<7, 2>(self.out_beat.q.val());
        if self.out_ready.val() {
            self.o_valid.d.next = false;
        }
        if self.advance.val() {
            self.o_valid.d.next = true;
            self.out_beat.d.next = self.out_beat.q.val() + 1;
            if self.out_beat.q.val().all() {
                self.read.d.next = self.read.q.val() + 1;
            }
        }
        self.out_valid.next = self.o_valid.q.val();
        self.out_data.next = self.data.read_data.val();
        self.level.next = self.level_r.q.val();
        self.poison_seen.next = self.poison.q.val();
        self.poisoned.next = self.poison.q.val()
            & (self.offered.q.val() == self.read.q.val())
            & !self.o_valid.q.val();
        self.idle.next = (self.requested.q.val() == self.answered.q.val())
            & (self.requested.q.val() == self.read.q.val())
            & !self.o_valid.q.val()
            & !self.poison.q.val();
        if self.flush.val() {
            self.o_valid.d.next = false;
            self.level_r.d.next = 0.into();
            if self.requested.q.val() == self.answered.q.val() {
                self.offered.d.next = self.answered.q.val();
                self.read.d.next = self.answered.q.val();
                self.out_beat.d.next = 0.into();
                self.poison.d.next = false;
            }
        }
        if self.reset.val() {
            self.requested.d.next = 0.into();
            self.answered.d.next = 0.into();
            self.offered.d.next = 0.into();
            self.read.d.next = 0.into();
            self.in_beat.d.next = 0.into();
            self.out_beat.d.next = 0.into();
            self.o_valid.d.next = false;
            self.level_r.d.next = 0.into();
            self.poison.d.next = false;
            self.line_poison.d.next = false;
        }
    }
}
