//! Snoop answers of the host (BI-68, `cxl-mem 8.2`): collected while their flit comes in, told when it is accepted.
//!
//! There is no queue: a tag names a tracker of the device, which always takes its answer. What is far to decide, whether a message is
//! one of the answers that the device can have asked for, is decided a cycle early, in the receiver's stage 1.

use super::messages::{M2sBiRsp, View};
use rust_hdl::prelude::*;

/// What the place of one BIRsp in a slot holds, a cycle later.
#[derive(LogicBlock, Default)]
pub struct AnswerPlace {
    pub clock: Signal<In, Clock>,
    pub raw: Signal<In, Bits<40>>,
    /// A message; it answers snoop 0 to 3 (none of them: nobody asked for it); how.
    pub valid: Signal<Out, Bit>,
    pub tags: Signal<Out, Bits<4>>,
    pub code: Signal<Out, Bits<2>>,
    view: View<M2sBiRsp, 40>,
    tag: Signal<Local, Bits<12>>,
    opcode: Signal<Local, Bits<4>>,
    present: DFF<Bit>,
    hot: DFF<Bits<4>>,
    how: DFF<Bits<2>>,
}

impl Logic for AnswerPlace {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, present, hot, how);
        self.view.raw.next = self.raw.val();
        self.tag.next = self.view.msg.val().bi_tag;
        self.opcode.next = self.view.msg.val().opcode;
        self.present.d.next = self.view.msg.val().valid == 1;
        self.how.d.next = self.opcode.val().get_bits::<2>(0);
        // BIRspI, BIRspS, BIRspE of this device (BI-ID 0): neither block answers nor reserved codes.
        self.hot.d.next = 0.into();
        if (self.view.msg.val().valid == 1)
            & (self.view.msg.val().bi_id == 0)
            & (self.tag.val().get_bits::<10>(2) == 0)
            & (self.opcode.val() < 3)
        {
            self.hot.d.next = bits::<4>(1) << self.tag.val().get_bits::<2>(0);
        }
        self.valid.next = self.present.q.val();
        self.tags.next = self.hot.q.val();
        self.code.next = self.how.q.val();
    }
}

/// The answer to one snoop.
#[derive(LogicBlock, Default)]
pub struct AnswerTag {
    pub clock: Signal<In, Clock>,
    /// A slot is in stage 2; it is slot 0.
    pub valid: Signal<In, Bit>,
    pub first: Signal<In, Bit>,
    /// Which messages of the slot answer this snoop, and their codes.
    pub hit0: Signal<In, Bit>,
    pub hit1: Signal<In, Bit>,
    pub hit2: Signal<In, Bit>,
    pub code0: Signal<In, Bits<2>>,
    pub code1: Signal<In, Bits<2>>,
    pub code2: Signal<In, Bits<2>>,
    /// Answered by the slots of this flit, up to the one before; the first answer counts.
    pub answered: Signal<Out, Bit>,
    pub code: Signal<Out, Bits<2>>,
    /// Another answer to the same snoop in this slot.
    pub again: Signal<Out, Bit>,
    seen: DFF<Bit>,
    kept: DFF<Bits<2>>,
    earlier: Signal<Local, Bit>,
    any: Signal<Local, Bit>,
}

impl Logic for AnswerTag {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, seen, kept);
        self.any.next = self.hit0.val() | self.hit1.val() | self.hit2.val();
        self.earlier.next = self.seen.q.val() & !self.first.val();
        if self.valid.val() {
            self.seen.d.next = self.earlier.val() | self.any.val();
            if !self.earlier.val() {
                self.kept.d.next = self.code2.val();
                if self.hit1.val() {
                    self.kept.d.next = self.code1.val();
                }
                if self.hit0.val() {
                    self.kept.d.next = self.code0.val();
                }
            }
        }
        self.again.next = (self.earlier.val() & self.any.val())
            | (self.hit0.val() & self.hit1.val())
            | (self.hit0.val() & self.hit2.val())
            | (self.hit1.val() & self.hit2.val());
        self.answered.next = self.seen.q.val();
        self.code.next = self.kept.q.val();
    }
}

/// All four, and what is wrong with a flit's answers.
#[derive(LogicBlock, Default)]
pub struct Answers {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    /// Stage 1: the slot; it is slot 0.
    pub slot: Signal<In, Bits<128>>,
    pub head: Signal<In, Bit>,
    /// Stage 2, a cycle later: a slot; it is slot 0; its format is that of answers; its flit ends with it and is accepted.
    pub valid: Signal<In, Bit>,
    pub first: Signal<In, Bit>,
    pub holds: Signal<In, Bit>,
    pub accept: Signal<In, Bit>,
    /// Stage 2: an answer of this slot is dropped: nobody can have asked for it, or it is the second to its snoop in the flit.
    pub offence: Signal<Out, Bit>,
    /// The cycle after `accept`: which snoops are answered, how (four bits each), that an answer was dropped, and how many messages
    /// came, dropped ones included: each has cost the host a credit.
    pub answer_valid: Signal<Out, Bits<4>>,
    pub answer_codes: Signal<Out, Bits<16>>,
    pub answer_stray: Signal<Out, Bit>,
    pub answers: Signal<Out, Bits<3>>,
    place0: AnswerPlace,
    place1: AnswerPlace,
    place2: AnswerPlace,
    tag: [AnswerTag; 4],
    stray: DFF<Bit>,
    count: DFF<Bits<3>>,
    accepted: DFF<Bit>,
    came: Signal<Local, Bits<3>>,
    hot0: Signal<Local, Bits<4>>,
    hot1: Signal<Local, Bits<4>>,
    hot2: Signal<Local, Bits<4>>,
    nobody: Signal<Local, Bit>,
    wrong: Signal<Local, Bit>,
    pair: Signal<Local, Bits<4>>,
    sum: Signal<Local, Bits<4>>,
    valid_bits: Signal<Local, Bits<4>>,
}

impl Logic for Answers {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, stray, count, accepted);
        self.place0.clock.next = self.clock.val();
        self.place1.clock.next = self.clock.val();
        self.place2.clock.next = self.clock.val();

        // Stage 1. H7 holds two, above the flit header; G6 three.
        self.place0.raw.next = self.slot.val().get_bits::<40>(0);
        self.place1.raw.next = self.slot.val().get_bits::<40>(40);
        self.place2.raw.next = self.slot.val().get_bits::<40>(80);
        if self.head.val() {
            self.place0.raw.next = self.slot.val().get_bits::<40>(32);
            self.place1.raw.next = self.slot.val().get_bits::<40>(72);
            self.place2.raw.next = 0.into();
        }

        // Stage 2
        self.came.next = 0.into();
        self.hot0.next = 0.into();
        self.hot1.next = 0.into();
        self.hot2.next = 0.into();
        self.nobody.next = false;
        if self.holds.val() {
            self.came.next = bit_cast::<3, 1>(self.place0.valid.val().into())
                | (bit_cast::<3, 1>(self.place1.valid.val().into()) << 1)
                | (bit_cast::<3, 1>(self.place2.valid.val().into()) << 2);
            self.hot0.next = self.place0.tags.val();
            self.hot1.next = self.place1.tags.val();
            self.hot2.next = self.place2.tags.val();
            self.nobody.next = (self.place0.valid.val() & !self.place0.tags.val().any())
                | (self.place1.valid.val() & !self.place1.tags.val().any())
                | (self.place2.valid.val() & !self.place2.tags.val().any());
        }
        self.wrong.next = self.nobody.val();
        self.valid_bits.next = 0.into();
        for i in 0..4 {
            self.tag[i].clock.next = self.clock.val();
            self.tag[i].valid.next = self.valid.val();
            self.tag[i].first.next = self.first.val();
            self.tag[i].hit0.next = self.hot0.val().get_bit(i);
            self.tag[i].hit1.next = self.hot1.val().get_bit(i);
            self.tag[i].hit2.next = self.hot2.val().get_bit(i);
            self.tag[i].code0.next = self.place0.code.val();
            self.tag[i].code1.next = self.place1.code.val();
            self.tag[i].code2.next = self.place2.code.val();
            if self.tag[i].again.val() {
                self.wrong.next = true;
            }
            self.valid_bits.next = self
                .valid_bits
                .val()
                .replace_bit(i, self.tag[i].answered.val());
        }
        self.offence.next = self.valid.val() & self.wrong.val();
        // Seven are more than can have been sent with a credit.
        self.pair.next = bit_cast::<4, 1>(self.came.val().get_bits::<1>(0))
            + bit_cast::<4, 1>(self.came.val().get_bits::<1>(1))
            + bit_cast::<4, 1>(self.came.val().get_bits::<1>(2));
        self.sum.next = self.pair.val();
        if !self.first.val() {
            self.sum.next = self.pair.val() + bit_cast::<4, 3>(self.count.q.val());
        }
        if self.valid.val() {
            self.stray.d.next = self.wrong.val() | (self.stray.q.val() & !self.first.val());
            self.count.d.next = self.sum.val().get_bits::<3>(0);
            if self.sum.val().get_bit(3) {
                self.count.d.next = 7.into();
            }
        }
        self.accepted.d.next = self.accept.val();

        self.answer_valid.next = 0.into();
        self.answers.next = 0.into();
        if self.accepted.q.val() {
            self.answer_valid.next = self.valid_bits.val();
            self.answers.next = self.count.q.val();
        }
        self.answer_stray.next = self.accepted.q.val() & self.stray.q.val();
        self.answer_codes.next = bit_cast::<16, 2>(self.tag[0].code.val())
            | (bit_cast::<16, 2>(self.tag[1].code.val()) << 4)
            | (bit_cast::<16, 2>(self.tag[2].code.val()) << 8)
            | (bit_cast::<16, 2>(self.tag[3].code.val()) << 12);
        if self.reset.val() {
            self.accepted.d.next = false;
        }
    }
}
