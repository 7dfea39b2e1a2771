//! DMA reads: up to 32 outstanding requests of one or two 64-byte lines, answered in any order and in any legal split, handed
//! on as one stream in the order of issue.
//!
//! Each request owns a slot of 128 bytes in a block RAM, so a completion always has room and never waits on the memory port. A
//! completion is matched by its tag: slot in bits 4:0, generation in bits 7:5. `flush` abandons whatever is outstanding: nothing is
//! taken or given while that goes on, and it ends with a new generation, so a late completion finds no slot and changes nothing.

use crate::prim::{BlockRam, LutRam};
use rust_hdl::prelude::*;

/// The reader. Stream status: 0 good, 1 refused or malformed, 2 poisoned; the same for all four beats of a line, whose data
/// means nothing if it is not 0.
#[derive(LogicBlock, Default)]
pub struct HostRead {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub cfg_bdf: Signal<In, Bits<16>>,
    // requests
    pub issue_valid: Signal<In, Bit>,
    pub issue_ready: Signal<Out, Bit>,
    pub issue_line: Signal<In, Bits<58>>,
    pub issue_two: Signal<In, Bit>,
    pub issue_kind: Signal<In, Bits<2>>,
    pub rd_valid: Signal<Out, Bit>,
    pub rd_ready: Signal<In, Bit>,
    pub rd_line: Signal<Out, Bits<58>>,
    pub rd_two: Signal<Out, Bit>,
    pub rd_tag: Signal<Out, Bits<8>>,
    // completions
    pub cpl_valid: Signal<In, Bit>,
    pub cpl_header: Signal<In, Bit>,
    pub cpl_last: Signal<In, Bit>,
    pub cpl_data: Signal<In, Bits<128>>,
    /// A completion that no outstanding request of this generation explains.
    pub ev_unexpected: Signal<Out, Bit>,
    // stream
    pub out_valid: Signal<Out, Bit>,
    pub out_ready: Signal<In, Bit>,
    pub out_data: Signal<Out, Bits<128>>,
    pub out_kind: Signal<Out, Bits<2>>,
    pub out_status: Signal<Out, Bits<2>>,
    pub out_beat: Signal<Out, Bits<2>>,
    // control
    pub flush: Signal<In, Bit>,
    /// Nothing outstanding, nothing buffered.
    pub idle: Signal<Out, Bit>,
    /// The next line of the stream has not come.
    pub waiting: Signal<Out, Bit>,
    /// Kind of the oldest request, if any is outstanding.
    pub head_kind: Signal<Out, Bits<2>>,
    /// A completion of ours arrived.
    pub progress: Signal<Out, Bit>,
    data: BlockRam<Bits<128>, 8>,
    /// Per slot: second line wanted, first line is the upper one, kind.
    info: LutRam<Bits<4>, 5>,
    /// Per slot and line: pass (bit 0) and status. A line is there when its pass bit is the inverse of the slot's wrap bit.
    done_low: LutRam<Bits<3>, 5>,
    done_high: LutRam<Bits<3>, 5>,
    /// Lower two bits of `info`, for the completion side.
    asked: LutRam<Bits<2>, 5>,
    /// The request on its way to the transmitter.
    r_valid: DFF<Bit>,
    r_line: DFF<Bits<58>>,
    r_two: DFF<Bit>,
    r_tag: DFF<Bits<8>>,
    head: DFF<Bits<6>>,
    tail: DFF<Bits<6>>,
    generation: DFF<Bits<3>>,
    /// Slots still to be cleared after reset.
    clearing: DFF<Bits<6>>,
    flushing: DFF<Bit>,
    // completion at hand
    c_ours: DFF<Bit>,
    c_good: DFF<Bit>,
    c_slot: DFF<Bits<5>>,
    c_pass: DFF<Bit>,
    c_lines: DFF<Bits<2>>,
    c_status: DFF<Bits<2>>,
    c_left: DFF<Bits<4>>,
    c_at: DFF<Bits<3>>,
    // its entry in `done_*`, one cycle after its last beat
    k_valid: DFF<Bit>,
    k_lines: DFF<Bits<2>>,
    k_status: DFF<Bits<2>>,
    k_slot: DFF<Bits<5>>,
    k_pass: DFF<Bit>,
    // stream position
    second: DFF<Bit>,
    beat: DFF<Bits<2>>,
    o_valid: DFF<Bit>,
    o_kind: DFF<Bits<2>>,
    o_status: DFF<Bits<2>>,
    o_beat: DFF<Bits<2>>,
    open: Signal<Local, Bit>,
    accept: Signal<Local, Bit>,
    outstanding: Signal<Local, Bit>,
    used: Signal<Local, Bits<6>>,
    gap: Signal<Local, Bits<5>>,
    slot_number: Signal<Local, Bits<6>>,
    tag: Signal<Local, Bits<8>>,
    lower: Signal<Local, Bits<7>>,
    dws: Signal<Local, Bits<10>>,
    ours: Signal<Local, Bit>,
    good: Signal<Local, Bit>,
    want: Signal<Local, Bits<2>>,
    upper_line: Signal<Local, Bit>,
    word: Signal<Local, Bits<3>>,
    here: Signal<Local, Bit>,
    advance: Signal<Local, Bit>,
    about: Signal<Local, Bits<4>>,
    mark: Signal<Local, Bits<3>>,
}

impl Logic for HostRead {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, r_valid, r_line, r_two, r_tag, head, tail, generation, clearing, flushing,
            c_ours, c_good, c_slot, c_pass, c_lines, c_status, c_left, c_at, k_valid, k_lines,
            k_status, k_slot, k_pass, second, beat, o_valid, o_kind, o_status, o_beat
        );
        self.data.clock.next = self.clock.val();
        self.info.clock.next = self.clock.val();
        self.done_low.clock.next = self.clock.val();
        self.done_high.clock.next = self.clock.val();
        self.asked.clock.next = self.clock.val();

        // Requests. One taken in the cycle of a flush is abandoned by it: it has the old generation.
        self.used.next = self.tail.q.val() - self.head.q.val();
        self.outstanding.next = self.used.val().any();
        self.open.next =
            !self.used.val().get_bit(5) & !self.flushing.q.val() & !self.clearing.q.val().any();
        self.issue_ready.next = (!self.r_valid.q.val() | self.rd_ready.val()) & self.open.val();
        self.accept.next = self.issue_valid.val() & self.issue_ready.val();
        self.rd_valid.next = self.r_valid.q.val();
        self.rd_line.next = self.r_line.q.val();
        self.rd_two.next = self.r_two.q.val();
        self.rd_tag.next = self.r_tag.q.val();
        if self.rd_ready.val() {
            self.r_valid.d.next = false;
        }
        self.info.write.next = self.accept.val();
        self.info.write_address.next = self.tail.q.val().get_bits::<5>(0);
        self.info.write_data.next = bit_cast::<4, 1>(self.issue_two.val().into())
            | (bit_cast::<4, 1>(self.issue_line.val().get_bit(0).into()) << 1)
            | (bit_cast::<4, 2>(self.issue_kind.val()) << 2);
        self.asked.write.next = self.accept.val();
        self.asked.write_address.next = self.tail.q.val().get_bits::<5>(0);
        self.asked.write_data.next = bit_cast::<2, 1>(self.issue_two.val().into())
            | (bit_cast::<2, 1>(self.issue_line.val().get_bit(0).into()) << 1);
        if self.accept.val() {
            self.r_valid.d.next = true;
            self.r_line.d.next = self.issue_line.val();
            self.r_two.d.next = self.issue_two.val();
            self.r_tag.d.next = (bit_cast::<8, 3>(self.generation.q.val()) << 5)
                | bit_cast::<8, 5>(self.tail.q.val().get_bits::<5>(0));
            self.tail.d.next = self.tail.q.val() + 1;
        }

        // Completions: header.
        self.tag.next = self.cpl_data.val().get_bits::<8>(72);
        self.lower.next = self.cpl_data.val().get_bits::<7>(64);
        self.dws.next = self.cpl_data.val().get_bits::<10>(0);
        self.gap.next = self.tag.val().get_bits::<5>(0) - self.head.q.val().get_bits::<5>(0);
        self.slot_number.next = self.head.q.val() + bit_cast::<6, 5>(self.gap.val());
        self.ours.next = (self.tag.val().get_bits::<3>(5) == self.generation.q.val())
            & (bit_cast::<6, 5>(self.gap.val()) < self.used.val())
            & !self.flushing.q.val()
            & (self.cpl_data.val().get_bits::<16>(80) == self.cfg_bdf.val());
        self.asked.read_address.next = self.tag.val().get_bits::<5>(0);
        self.want.next = self.asked.read_data.val();
        self.good.next = self.cpl_data.val().get_bit(30)
            & !self.cpl_data.val().get_bits::<3>(45).any()
            & !self.cpl_last.val()
            & !self.lower.val().get_bits::<6>(0).any()
            & (((self.dws.val() == 16)
                & (self.want.val().get_bit(0)
                    | (self.lower.val().get_bit(6) == self.want.val().get_bit(1))))
                | ((self.dws.val() == 32)
                    & self.want.val().get_bit(0)
                    & !self.lower.val().get_bit(6)));
        self.ev_unexpected.next = false;
        self.progress.next = false;
        self.k_valid.d.next = false;
        self.k_slot.d.next = self.c_slot.q.val();
        self.k_pass.d.next = self.c_pass.q.val();
        self.k_lines.d.next = self.c_lines.q.val();
        self.k_status.d.next = self.c_status.q.val();
        self.data.write.next = false;
        self.data.write_address.next =
            (bit_cast::<8, 5>(self.c_slot.q.val()) << 3) | bit_cast::<8, 3>(self.c_at.q.val());
        self.data.write_data.next = self.cpl_data.val();
        if self.cpl_valid.val() {
            if self.cpl_header.val() {
                self.ev_unexpected.next = !self.ours.val();
                self.progress.next = self.ours.val();
                self.c_ours.d.next = self.ours.val();
                self.c_good.d.next = self.good.val();
                self.c_slot.d.next = self.tag.val().get_bits::<5>(0);
                self.c_pass.d.next = !self.slot_number.val().get_bit(5);
                self.c_at.d.next = bit_cast::<3, 1>(self.lower.val().get_bit(6).into()) << 2;
                self.c_left.d.next = 4.into();
                self.c_lines.d.next = 1.into();
                self.c_status.d.next = 0.into();
                if self.lower.val().get_bit(6) {
                    self.c_lines.d.next = 2.into();
                }
                if self.dws.val().get_bit(5) {
                    self.c_left.d.next = 8.into();
                    self.c_lines.d.next = 3.into();
                }
                if self.cpl_data.val().get_bit(14) {
                    self.c_status.d.next = 2.into();
                }
                if !self.want.val().get_bit(0) {
                    // The line that nobody asked for goes through the same passes as the other.
                    self.c_lines.d.next = 3.into();
                }
                if !self.good.val() {
                    // No payload that could be placed: the whole request fails.
                    self.c_lines.d.next = 3.into();
                    self.c_status.d.next = 1.into();
                }
                if self.cpl_last.val() {
                    self.k_valid.d.next = self.ours.val();
                    self.k_slot.d.next = self.tag.val().get_bits::<5>(0);
                    self.k_pass.d.next = !self.slot_number.val().get_bit(5);
                    self.k_lines.d.next = 3.into();
                    self.k_status.d.next = 1.into();
                }
            } else {
                if self.c_left.q.val().any() {
                    self.data.write.next = self.c_ours.q.val() & self.c_good.q.val();
                    self.c_left.d.next = self.c_left.q.val() - 1;
                    self.c_at.d.next = self.c_at.q.val() + 1;
                } else {
                    // More beats than the header promised.
                    self.c_lines.d.next = 3.into();
                    self.c_status.d.next = 1.into();
                }
                if self.cpl_last.val() {
                    self.k_valid.d.next = self.c_ours.q.val();
                    if self.c_left.q.val() != 1 {
                        self.k_lines.d.next = 3.into();
                        self.k_status.d.next = 1.into();
                    }
                }
            }
        }

        // Stream, in the order of issue.
        self.info.read_address.next = self.head.q.val().get_bits::<5>(0);
        self.done_low.read_address.next = self.head.q.val().get_bits::<5>(0);
        self.done_high.read_address.next = self.head.q.val().get_bits::<5>(0);
        self.about.next = self.info.read_data.val();
        self.head_kind.next = self.about.val().get_bits::<2>(2);
        self.upper_line.next = self.about.val().get_bit(1) | self.second.q.val();
        self.word.next = self.done_low.read_data.val();
        if self.upper_line.val() {
            self.word.next = self.done_high.read_data.val();
        }
        self.here.next =
            self.outstanding.val() & (self.word.val().get_bit(0) != self.head.q.val().get_bit(5));
        self.advance.next = self.here.val()
            & (!self.o_valid.q.val() | self.out_ready.val())
            & !self.flushing.q.val();
        self.data.read.next = self.advance.val();
        self.data.read_address.next = (bit_cast::<8, 5>(self.head.q.val().get_bits::<5>(0)) << 3)
            | (bit_cast::<8, 1>(self.upper_line.val().into()) << 2)
            | bit_cast::<8, 2>(self.beat.q.val());
        self.out_valid.next = self.o_valid.q.val() & !self.flushing.q.val();
        self.out_data.next = self.data.read_data.val();
        self.out_kind.next = self.o_kind.q.val();
        self.out_status.next = self.o_status.q.val();
        self.out_beat.next = self.o_beat.q.val();
        if self.out_ready.val() {
            self.o_valid.d.next = false;
        }
        if self.advance.val() {
            self.o_valid.d.next = true;
            self.o_kind.d.next = self.about.val().get_bits::<2>(2);
            self.o_status.d.next = self.word.val().get_bits::<2>(1);
            self.o_beat.d.next = self.beat.q.val();
            self.beat.d.next = self.beat.q.val() + 1;
            if self.beat.q.val().all() {
                if self.about.val().get_bit(0) & !self.second.q.val() {
                    self.second.d.next = true;
                } else {
                    self.second.d.next = false;
                    self.head.d.next = self.head.q.val() + 1;
                }
            }
        }
        self.idle.next = !self.outstanding.val() & !self.o_valid.q.val() & !self.flushing.q.val();
        self.waiting.next = self.outstanding.val()
            & !self.here.val()
            & !self.o_valid.q.val()
            & !self.flushing.q.val();

        // Marks: a completion's, or those that a flush or the reset makes.
        self.mark.next = bit_cast::<3, 1>(self.k_pass.q.val().into())
            | (bit_cast::<3, 2>(self.k_status.q.val()) << 1);
        self.done_low.write.next = self.k_valid.q.val() & self.k_lines.q.val().get_bit(0);
        self.done_high.write.next = self.k_valid.q.val() & self.k_lines.q.val().get_bit(1);
        self.done_low.write_address.next = self.k_slot.q.val();
        self.done_high.write_address.next = self.k_slot.q.val();
        if self.flush.val() {
            self.flushing.d.next = true;
        }
        if self.flushing.q.val() {
            self.c_ours.d.next = false;
            self.k_valid.d.next = false;
            self.o_valid.d.next = false;
            self.second.d.next = false;
            self.beat.d.next = 0.into();
            if self.outstanding.val() {
                self.done_low.write.next = true;
                self.done_high.write.next = true;
                self.done_low.write_address.next = self.head.q.val().get_bits::<5>(0);
                self.done_high.write_address.next = self.head.q.val().get_bits::<5>(0);
                self.mark.next = 1.into();
                if self.head.q.val().get_bit(5) {
                    self.mark.next = 0.into();
                }
                self.head.d.next = self.head.q.val() + 1;
            } else {
                self.flushing.d.next = false;
                self.generation.d.next = self.generation.q.val() + 1;
            }
        }
        if self.clearing.q.val().any() {
            self.clearing.d.next = self.clearing.q.val() - 1;
            self.done_low.write.next = true;
            self.done_high.write.next = true;
            self.done_low.write_address.next = self.clearing.q.val().get_bits::<5>(0);
            self.done_high.write_address.next = self.clearing.q.val().get_bits::<5>(0);
            self.mark.next = 0.into();
        }
        self.done_low.write_data.next = self.mark.val();
        self.done_high.write_data.next = self.mark.val();
        if self.reset.val() {
            self.head.d.next = 0.into();
            self.tail.d.next = 0.into();
            self.r_valid.d.next = false;
            self.clearing.d.next = 32.into();
            self.flushing.d.next = false;
            self.c_ours.d.next = false;
            self.k_valid.d.next = false;
            self.second.d.next = false;
            self.beat.d.next = 0.into();
            self.o_valid.d.next = false;
        }
    }
}
