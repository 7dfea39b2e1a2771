//! The one NDR queue: two banks so that the packer sees its first two entries. Order is kept: no completion passes another.

use super::messages::Completion;
use crate::prim::LutRam;
use rust_hdl::prelude::*;

/// 32 entries; the writers reserve before they write, so it never overflows.
#[derive(LogicBlock, Default)]
pub struct NdrQueue {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub write: Signal<In, Bit>,
    pub write_data: Signal<In, Completion>,
    pub first: Signal<Out, Completion>,
    pub second: Signal<Out, Completion>,
    pub count: Signal<Out, Bits<6>>,
    /// Entries taken in this cycle: 0, 1 or 2.
    pub take: Signal<In, Bits<2>>,
    even: LutRam<Completion, 4>,
    odd: LutRam<Completion, 4>,
    wr: DFF<Bits<6>>,
    rd: DFF<Bits<6>>,
    /// Entries held; a register of its own, since the packer's decision starts from it.
    held: DFF<Bits<6>>,
    more: Signal<Local, Bits<6>>,
    rd_up: Signal<Local, Bits<6>>,
    odd_first: Signal<Local, Bit>,
}

impl Logic for NdrQueue {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, wr, rd, held);
        self.even.clock.next = self.clock.val();
        self.odd.clock.next = self.clock.val();
        self.even.write_data.next = self.write_data.val();
        self.odd.write_data.next = self.write_data.val();
        self.even.write_address.next = self.wr.q.val().get_bits::<4>(1);
        self.odd.write_address.next = self.wr.q.val().get_bits::<4>(1);
        self.even.write.next = self.write.val() & !self.wr.q.val().get_bit(0);
        self.odd.write.next = self.write.val() & self.wr.q.val().get_bit(0);
        if self.write.val() {
            self.wr.d.next = self.wr.q.val() + 1;
        }
        self.rd.d.next = self.rd.q.val() + bit_cast::<6, 2>(self.take.val());
        self.odd_first.next = self.rd.q.val().get_bit(0);
        self.rd_up.next = self.rd.q.val() + 1;
        self.even.read_address.next = self.rd_up.val().get_bits::<4>(1);
        self.odd.read_address.next = self.rd.q.val().get_bits::<4>(1);
        if self.odd_first.val() {
            self.first.next = self.odd.read_data.val();
            self.second.next = self.even.read_data.val();
        } else {
            self.first.next = self.even.read_data.val();
            self.second.next = self.odd.read_data.val();
        }
        self.more.next = self.held.q.val();
        if self.write.val() {
            self.more.next = self.held.q.val() + 1;
        }
        self.held.d.next = self.more.val() - bit_cast::<6, 2>(self.take.val());
        self.count.next = self.held.q.val();
        if self.reset.val() {
            self.wr.d.next = 0.into();
            self.rd.d.next = 0.into();
            self.held.d.next = 0.into();
        }
    }
}
