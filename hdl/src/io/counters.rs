//! Event counters: a few pending bits per event, one adder, and a 32-bit sum per event in LUT RAM.
//!
//! A scan visits one counter a cycle and adds what is pending. An event at most once a cycle and a scan of 16 cycles bound the
//! pending number at 17, so nothing is lost.

use crate::prim::LutRam;
use rust_hdl::prelude::*;

/// Number of counters; at most 16.
pub const COUNT: usize = 16;

/// The counter file. `value` belongs to counter `select` in the cycles where `hit` is set (once in 16).
#[derive(LogicBlock, Default)]
pub struct Counters {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub clear: Signal<In, Bit>,
    pub event: [Signal<In, Bit>; COUNT],
    pub select: Signal<In, Bits<4>>,
    pub hit: Signal<Out, Bit>,
    pub value: Signal<Out, Bits<32>>,
    mem: LutRam<Bits<32>, 4>,
    scan: DFF<Bits<4>>,
    /// Cycles left of a wipe of the sums.
    wipe: DFF<Bits<5>>,
    pending: [DFF<Bits<5>>; COUNT],
    now: Signal<Local, Bits<5>>,
    sum: Signal<Local, Bits<32>>,
}

impl Logic for Counters {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, scan, wipe);
        for i in 0..16 {
            self.pending[i].clock.next = self.clock.val();
            self.pending[i].d.next = self.pending[i].q.val();
        }
        self.mem.clock.next = self.clock.val();
        self.mem.read_address.next = self.scan.q.val();
        self.mem.write_address.next = self.scan.q.val();
        self.mem.write.next = true;
        self.now.next = 0.into();
        for i in 0..16 {
            if self.event[i].val() {
                self.pending[i].d.next = self.pending[i].q.val() + 1;
            }
            if self.scan.q.val().index() == i {
                self.now.next = self.pending[i].q.val();
                self.pending[i].d.next = 0.into();
                if self.event[i].val() {
                    self.pending[i].d.next = 1.into();
                }
            }
        }
        self.sum.next = self.mem.read_data.val() + bit_cast::<32, 5>(self.now.val());
        self.value.next = self.sum.val();
        self.hit.next = self.scan.q.val() == self.select.val();
        self.mem.write_data.next = self.sum.val();
        self.scan.d.next = self.scan.q.val() + 1;
        if self.wipe.q.val().any() {
            self.wipe.d.next = self.wipe.q.val() - 1;
            self.mem.write_data.next = 0.into();
        }
        if self.clear.val() | self.reset.val() {
            self.wipe.d.next = 16.into();
            for i in 0..16 {
                self.pending[i].d.next = 0.into();
            }
        }
    }
}
