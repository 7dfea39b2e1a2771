//! Numbers, acknowledgements and repetition: the RTL of `cxlmem_protocol::serial::arq`, with its timer.

use crate::prim::Param;
use rust_hdl::prelude::*;

/// Pointers of the device's end. What comes in one cycle is taken in the order: a frame that arrives, then one that is sent.
#[derive(LogicBlock, Default)]
pub struct ArqEnd {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // sender
    pub has_room: Signal<Out, Bit>,
    pub add: Signal<In, Bit>,
    /// A frame waits for the line: what is collected now would only be packed worse than later.
    pub is_ahead: Signal<Out, Bit>,
    /// Number of the next new frame.
    pub number: Signal<Out, Bits<8>>,
    pub to_send: Signal<Out, Bit>,
    pub cursor: Signal<Out, Bits<8>>,
    pub sent: Signal<In, Bit>,
    // a good frame, and what it says
    pub good: Signal<In, Bit>,
    pub ack: Signal<In, Bits<8>>,
    pub again: Signal<In, Bit>,
    /// It has a number, and there is room for it.
    pub arrived: Signal<In, Bit>,
    pub arrived_number: Signal<In, Bits<8>>,
    /// It is the expected one.
    pub deliver: Signal<Out, Bit>,
    /// Something was damaged, or there was no room.
    pub missed: Signal<In, Bit>,
    pub expected: Signal<Out, Bits<8>>,
    pub wants_repeat: Signal<Out, Bit>,
    pub owes_ack: Signal<Out, Bit>,
    pub told: Signal<In, Bit>,
    base: DFF<Bits<8>>,
    next_number: DFF<Bits<8>>,
    at: DFF<Bits<8>>,
    expects: DFF<Bits<8>>,
    asked: DFF<Bit>,
    wants: DFF<Bit>,
    owes: DFF<Bit>,
    timer: DFF<Bits<28>>,
    in_flight: Signal<Local, Bits<8>>,
    unsent: Signal<Local, Bits<8>>,
    gone: Signal<Local, Bits<8>>,
    behind: Signal<Local, Bits<8>>,
    ahead: Signal<Local, Bits<8>>,
    progress: Signal<Local, Bit>,
    base_next: Signal<Local, Bits<8>>,
    late: Signal<Local, Bit>,
    /// Cycles without progress after which all is sent again.
    patience: Param<Bits<28>>,
}

impl ArqEnd {
    /// `patience`: cycles without progress after which everything is sent again.
    pub fn new(patience: u32) -> Self {
        Self {
            patience: Param::new(u64::from(patience.clamp(1, (1 << 28) - 1)).into()),
            ..Default::default()
        }
    }
}

impl Logic for ArqEnd {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            base,
            next_number,
            at,
            expects,
            asked,
            wants,
            owes,
            timer
        );
        self.in_flight.next = self.next_number.q.val() - self.base.q.val();
        self.has_room.next = self.in_flight.val() < 16;
        self.unsent.next = self.next_number.q.val() - self.at.q.val();
        self.is_ahead.next = self.unsent.val() != 0;
        self.number.next = self.next_number.q.val();
        self.to_send.next = self.at.q.val() != self.next_number.q.val();
        self.cursor.next = self.at.q.val();
        self.expected.next = self.expects.q.val();
        self.wants_repeat.next = self.wants.q.val();
        self.owes_ack.next = self.owes.q.val();
        if self.add.val() {
            self.next_number.d.next = self.next_number.q.val() + 1;
        }

        // What was acknowledged.
        self.gone.next = self.ack.val() - self.base.q.val();
        self.behind.next = self.at.q.val() - self.base.q.val();
        self.progress.next =
            self.good.val() & (self.gone.val() != 0) & (self.gone.val() <= self.in_flight.val());
        self.base_next.next = self.base.q.val();
        if self.progress.val() {
            self.base_next.next = self.ack.val();
        }
        self.base.d.next = self.base_next.val();

        // Time without progress while all is on its way.
        self.timer.d.next = self.timer.q.val() + 1;
        self.late.next = self.timer.q.val() == self.patience.val();
        if self.progress.val()
            | self.sent.val()
            | self.late.val()
            | (self.at.q.val() != self.next_number.q.val())
            | (self.in_flight.val() == 0)
        {
            self.timer.d.next = 0.into();
        }

        if self.sent.val() {
            self.at.d.next = self.at.q.val() + 1;
            self.owes.d.next = false;
        }
        if self.told.val() {
            self.wants.d.next = false;
            self.owes.d.next = false;
        }
        if (self.good.val() & self.again.val())
            | self.late.val()
            | (self.progress.val() & (self.behind.val() < self.gone.val()))
        {
            self.at.d.next = self.base_next.val();
        }

        // What arrived.
        self.ahead.next = self.arrived_number.val() - self.expects.q.val();
        self.deliver.next = self.arrived.val() & (self.ahead.val() == 0);
        if self.arrived.val() & (self.ahead.val() == 0) {
            self.expects.d.next = self.expects.q.val() + 1;
            self.asked.d.next = false;
            self.owes.d.next = true;
        } else if self.arrived.val() & (self.ahead.val() >= 128) {
            self.owes.d.next = true;
        } else if self.arrived.val() | self.missed.val() {
            if !self.asked.q.val() {
                self.wants.d.next = true;
            }
            self.asked.d.next = true;
        }

        if self.reset.val() {
            self.base.d.next = 0.into();
            self.next_number.d.next = 0.into();
            self.at.d.next = 0.into();
            self.expects.d.next = 0.into();
            self.asked.d.next = false;
            self.wants.d.next = false;
            self.owes.d.next = false;
            self.timer.d.next = 0.into();
        }
    }
}
