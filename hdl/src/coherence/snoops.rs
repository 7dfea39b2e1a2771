//! Snoops that are out: four trackers, one for each of who may ask (`cxl-mem` 8.1, pools): 0 the directory itself, which makes room,
//! 1 the engine's reads, 2 its writes, 3 the line port. A tracker's number is its BITag.
//!
//! An answer is always taken: the tracker stands ready for it. A snoop that is not answered in time makes the access fail; the tracker
//! stays owed until the answer comes or the link starts anew, so that a late answer is never taken for the next one's.

use super::db_rules::{AnswerRule, SnoopOf};
use rust_hdl::prelude::*;

/// A snoop on its way to the transmitter.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Snooped {
    pub access: Bits<2>,
    pub tag: Bits<2>,
    /// HPA[51:6].
    pub address: Bits<46>,
}

/// One tracker.
#[derive(LogicBlock, Default)]
pub struct SnoopTracker {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub start: Signal<In, Bit>,
    pub start_line: Signal<In, Bits<26>>,
    pub start_way: Signal<In, Bits<2>>,
    pub start_access: Signal<In, Bits<2>>,
    pub sent: Signal<In, Bit>,
    pub answer: Signal<In, Bit>,
    pub code: Signal<In, Bits<4>>,
    pub tick: Signal<In, Bit>,
    pub link_down: Signal<In, Bit>,
    /// What came of it is told.
    pub settled: Signal<In, Bit>,
    /// A snoop waits for its answer; one is overdue.
    pub waiting: Signal<Out, Bit>,
    pub overdue: Signal<Out, Bit>,
    pub unsent: Signal<Out, Bit>,
    pub line: Signal<Out, Bits<26>>,
    pub way: Signal<Out, Bits<2>>,
    pub access: Signal<Out, Bits<2>>,
    /// It has ended: by an answer that goes into the directory, or without.
    pub ended: Signal<Out, Bit>,
    pub answered: Signal<Out, Bit>,
    pub serve: Signal<Out, Bit>,
    pub after: Signal<Out, Bits<2>>,
    /// An answer that nobody waits for, or that keeps too much.
    pub ev_wrong: Signal<Out, Bit>,
    rule: AnswerRule,
    waiting_r: DFF<Bit>,
    overdue_r: DFF<Bit>,
    unsent_r: DFF<Bit>,
    got: DFF<Bit>,
    failed: DFF<Bit>,
    serve_r: DFF<Bit>,
    after_r: DFF<Bits<2>>,
    age: DFF<Bits<2>>,
    line_r: DFF<Bits<26>>,
    way_r: DFF<Bits<2>>,
    access_r: DFF<Bits<2>>,
}

impl Logic for SnoopTracker {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self, clock, waiting_r, overdue_r, unsent_r, got, failed, serve_r, after_r, age,
            line_r, way_r, access_r
        );
        self.rule.opcode.next = self.code.val();
        self.rule.access.next = self.access_r.q.val();
        self.ev_wrong.next = false;
        if self.sent.val() {
            self.unsent_r.d.next = false;
        }
        if self.answer.val() {
            if self.waiting_r.q.val() & !self.unsent_r.q.val() & !self.got.q.val() {
                self.ev_wrong.next = self.rule.wrong.val().any();
                if self.rule.ends.val().any() {
                    self.got.d.next = true;
                    self.serve_r.d.next = self.rule.serve.val().any();
                    self.after_r.d.next = self.rule.after.val();
                }
            } else {
                self.ev_wrong.next = true;
                self.overdue_r.d.next = false;
            }
        }
        // Between one and two ticks of the clock that times snoops.
        if self.tick.val() & self.waiting_r.q.val() {
            self.age.d.next = self.age.q.val() + 1;
            if self.age.q.val().get_bit(0) {
                self.failed.d.next = true;
            }
        }
        if self.link_down.val() {
            self.failed.d.next = true;
        }
        self.ended.next = self.waiting_r.q.val() & (self.got.q.val() | self.failed.q.val());
        self.answered.next = self.got.q.val();
        self.serve.next = self.got.q.val() & self.serve_r.q.val();
        self.after.next = self.after_r.q.val();
        self.waiting.next = self.waiting_r.q.val();
        self.overdue.next = self.overdue_r.q.val();
        self.unsent.next = self.unsent_r.q.val();
        self.line.next = self.line_r.q.val();
        self.way.next = self.way_r.q.val();
        self.access.next = self.access_r.q.val();
        if self.settled.val() {
            self.waiting_r.d.next = false;
            self.unsent_r.d.next = false;
            // The answer is owed, unless it came or the snoop never left.
            self.overdue_r.d.next = !self.got.q.val() & !self.unsent_r.q.val() & !self.answer.val();
        }
        if self.link_down.val() {
            self.overdue_r.d.next = false;
        }
        if self.start.val() {
            self.waiting_r.d.next = true;
            self.unsent_r.d.next = true;
            self.got.d.next = false;
            self.failed.d.next = false;
            self.age.d.next = 0.into();
            self.line_r.d.next = self.start_line.val();
            self.way_r.d.next = self.start_way.val();
            self.access_r.d.next = self.start_access.val();
        }
        if self.reset.val() {
            self.waiting_r.d.next = false;
            self.overdue_r.d.next = false;
            self.unsent_r.d.next = false;
        }
    }
}

/// The four trackers.
#[derive(LogicBlock, Default)]
pub struct Snoops {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    /// No link, or one without BI-68: nothing can be asked, and what is out fails.
    pub link_down: Signal<In, Bit>,
    /// Cycles; a snoop fails after one to two times as many.
    pub timeout: Signal<In, Bits<24>>,
    pub start: Signal<In, Bit>,
    pub start_id: Signal<In, Bits<2>>,
    pub start_line: Signal<In, Bits<26>>,
    pub start_way: Signal<In, Bits<2>>,
    pub start_access: Signal<In, Bits<2>>,
    /// Trackers that take no snoop.
    pub busy: Signal<Out, Bits<4>>,
    /// In the cycle before, `lookup` was the line of a snoop that is out; of one that is overdue.
    pub lookup: Signal<In, Bits<26>>,
    pub matched: Signal<Out, Bit>,
    pub matched_overdue: Signal<Out, Bit>,
    // from the receiver
    pub answer_valid: Signal<In, Bits<4>>,
    pub answer_codes: Signal<In, Bits<16>>,
    // to the transmitter
    pub snoop_valid: Signal<Out, Bit>,
    pub snoop: Signal<Out, Snooped>,
    pub snoop_opcode: Signal<Out, Bits<4>>,
    pub snoop_pop: Signal<In, Bit>,
    /// The next one's line, and its host physical address.
    pub next_line: Signal<Out, Bits<26>>,
    pub next_address: Signal<In, Bits<46>>,
    // one snoop's end at a time
    pub end_valid: Signal<Out, Bit>,
    pub end_take: Signal<In, Bit>,
    pub end_id: Signal<Out, Bits<2>>,
    pub end_line: Signal<Out, Bits<26>>,
    pub end_way: Signal<Out, Bits<2>>,
    /// The directory takes `end_after`.
    pub end_answered: Signal<Out, Bit>,
    pub end_serve: Signal<Out, Bit>,
    pub end_after: Signal<Out, Bits<2>>,
    pub ev_wrong: Signal<Out, Bit>,
    pub ev_timeout: Signal<Out, Bit>,
    trackers: [SnoopTracker; 4],
    opcode: SnoopOf,
    clock_ticks: DFF<Bits<24>>,
    matched_r: DFF<Bits<4>>,
    overdue_r: DFF<Bits<4>>,
    out_valid: DFF<Bit>,
    out: DFF<Snooped>,
    tick: Signal<Local, Bit>,
    hits: Signal<Local, Bits<4>>,
    overdues: Signal<Local, Bits<4>>,
    taken: Signal<Local, Bits<4>>,
    wrongs: Signal<Local, Bits<4>>,
    unsents: Signal<Local, Bits<4>>,
    ends: Signal<Local, Bits<4>>,
    pick: Signal<Local, Bits<2>>,
    load: Signal<Local, Bit>,
    which: Signal<Local, Bits<2>>,
    start_hot: Signal<Local, Bits<4>>,
    load_hot: Signal<Local, Bits<4>>,
    end_hot: Signal<Local, Bits<4>>,
    next_out: Signal<Local, Snooped>,
}

impl Logic for Snoops {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            clock_ticks,
            matched_r,
            overdue_r,
            out_valid,
            out
        );
        self.tick.next = self.clock_ticks.q.val() >= self.timeout.val();
        self.clock_ticks.d.next = self.clock_ticks.q.val() + 1;
        if self.tick.val() {
            self.clock_ticks.d.next = 0.into();
        }
        self.hits.next = 0.into();
        self.overdues.next = 0.into();
        self.taken.next = 0.into();
        self.wrongs.next = 0.into();
        self.unsents.next = 0.into();
        self.ends.next = 0.into();
        for i in 0..4 {
            self.unsents.next = self
                .unsents
                .val()
                .replace_bit(i, self.trackers[i].unsent.val());
            self.ends.next = self.ends.val().replace_bit(i, self.trackers[i].ended.val());
        }
        // Two on their way out at once would need two registers: the next is loaded when this one is taken.
        self.pick.next = 3.into();
        if self.unsents.val().get_bit(0) {
            self.pick.next = 0.into();
        } else if self.unsents.val().get_bit(1) {
            self.pick.next = 1.into();
        } else if self.unsents.val().get_bit(2) {
            self.pick.next = 2.into();
        }
        self.load.next = self.unsents.val().any()
            & (!self.out_valid.q.val() | self.snoop_pop.val())
            & !self.link_down.val();
        self.which.next = 3.into();
        if self.ends.val().get_bit(0) {
            self.which.next = 0.into();
        } else if self.ends.val().get_bit(1) {
            self.which.next = 1.into();
        } else if self.ends.val().get_bit(2) {
            self.which.next = 2.into();
        }
        self.start_hot.next = 0.into();
        if self.start.val() {
            self.start_hot.next = bits::<4>(1) << self.start_id.val();
        }
        self.load_hot.next = 0.into();
        if self.load.val() {
            self.load_hot.next = bits::<4>(1) << self.pick.val();
        }
        self.end_hot.next = 0.into();
        if self.end_take.val() {
            self.end_hot.next = bits::<4>(1) << self.which.val();
        }
        for i in 0..4 {
            self.trackers[i].clock.next = self.clock.val();
            self.trackers[i].reset.next = self.reset.val();
            self.trackers[i].start.next = self.start_hot.val().get_bit(i);
            self.trackers[i].start_line.next = self.start_line.val();
            self.trackers[i].start_way.next = self.start_way.val();
            self.trackers[i].start_access.next = self.start_access.val();
            self.trackers[i].sent.next = self.load_hot.val().get_bit(i);
            self.trackers[i].answer.next = self.answer_valid.val().get_bit(i);
            self.trackers[i].tick.next = self.tick.val();
            self.trackers[i].link_down.next = self.link_down.val();
            self.trackers[i].settled.next = self.end_hot.val().get_bit(i);
            self.hits.next = self.hits.val().replace_bit(
                i,
                self.trackers[i].waiting.val() & (self.trackers[i].line.val() == self.lookup.val()),
            );
            self.overdues.next = self.overdues.val().replace_bit(
                i,
                self.trackers[i].overdue.val() & (self.trackers[i].line.val() == self.lookup.val()),
            );
            self.taken.next = self.taken.val().replace_bit(
                i,
                self.trackers[i].waiting.val() | self.trackers[i].overdue.val(),
            );
            self.wrongs.next = self
                .wrongs
                .val()
                .replace_bit(i, self.trackers[i].ev_wrong.val());
        }
        self.trackers[0].code.next = self.answer_codes.val().get_bits::<4>(0);
        self.trackers[1].code.next = self.answer_codes.val().get_bits::<4>(4);
        self.trackers[2].code.next = self.answer_codes.val().get_bits::<4>(8);
        self.trackers[3].code.next = self.answer_codes.val().get_bits::<4>(12);
        self.matched_r.d.next = self.hits.val();
        self.overdue_r.d.next = self.overdues.val();
        self.matched.next = self.matched_r.q.val().any();
        self.matched_overdue.next = self.overdue_r.q.val().any();
        self.busy.next = self.taken.val();
        self.ev_wrong.next = self.wrongs.val().any();

        if self.snoop_pop.val() {
            self.out_valid.d.next = false;
        }
        self.next_out.next.address = self.next_address.val();
        self.next_out.next.tag = self.pick.val();
        if self.pick.val() == 0 {
            self.next_line.next = self.trackers[0].line.val();
            self.next_out.next.access = self.trackers[0].access.val();
        } else if self.pick.val() == 1 {
            self.next_line.next = self.trackers[1].line.val();
            self.next_out.next.access = self.trackers[1].access.val();
        } else if self.pick.val() == 2 {
            self.next_line.next = self.trackers[2].line.val();
            self.next_out.next.access = self.trackers[2].access.val();
        } else {
            self.next_line.next = self.trackers[3].line.val();
            self.next_out.next.access = self.trackers[3].access.val();
        }
        if self.load.val() {
            self.out_valid.d.next = true;
            self.out.d.next = self.next_out.val();
        }
        self.snoop_valid.next = self.out_valid.q.val();
        self.snoop.next = self.out.q.val();
        self.opcode.access.next = self.out.q.val().access;
        self.snoop_opcode.next = self.opcode.opcode.val();

        self.end_valid.next = self.ends.val().any();
        self.end_id.next = self.which.val();
        if self.which.val() == 0 {
            self.end_line.next = self.trackers[0].line.val();
            self.end_way.next = self.trackers[0].way.val();
            self.end_answered.next = self.trackers[0].answered.val();
            self.end_serve.next = self.trackers[0].serve.val();
            self.end_after.next = self.trackers[0].after.val();
        } else if self.which.val() == 1 {
            self.end_line.next = self.trackers[1].line.val();
            self.end_way.next = self.trackers[1].way.val();
            self.end_answered.next = self.trackers[1].answered.val();
            self.end_serve.next = self.trackers[1].serve.val();
            self.end_after.next = self.trackers[1].after.val();
        } else if self.which.val() == 2 {
            self.end_line.next = self.trackers[2].line.val();
            self.end_way.next = self.trackers[2].way.val();
            self.end_answered.next = self.trackers[2].answered.val();
            self.end_serve.next = self.trackers[2].serve.val();
            self.end_after.next = self.trackers[2].after.val();
        } else {
            self.end_line.next = self.trackers[3].line.val();
            self.end_way.next = self.trackers[3].way.val();
            self.end_answered.next = self.trackers[3].answered.val();
            self.end_serve.next = self.trackers[3].serve.val();
            self.end_after.next = self.trackers[3].after.val();
        }
        self.ev_timeout.next = self.end_take.val() & !self.end_answered.val();

        if self.link_down.val() | self.reset.val() {
            self.out_valid.d.next = false;
        }
        if self.reset.val() {
            self.clock_ticks.d.next = 0.into();
        }
    }
}
