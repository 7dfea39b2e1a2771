//! One bank of the chip, as the controller sees it.

use super::chip::SdramTiming;
use crate::prim::Param;
use rust_hdl::prelude::*;

/// A bank: whether a row is open, and what it may be asked for.
#[derive(LogicBlock, Default)]
pub struct Bank {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub activate: Signal<In, Bit>,
    pub row: Signal<In, Bits<13>>,
    pub precharge: Signal<In, Bit>,
    /// A burst begins.
    pub access: Signal<In, Bit>,
    pub is_write: Signal<In, Bit>,
    pub open: Signal<Out, Bit>,
    pub open_row: Signal<Out, Bits<13>>,
    pub can_access: Signal<Out, Bit>,
    pub can_precharge: Signal<Out, Bit>,
    pub can_activate: Signal<Out, Bit>,
    is_open: DFF<Bit>,
    row_is: DFF<Bits<13>>,
    /// Cycles until it can.
    to_access: DFF<Bits<5>>,
    to_precharge: DFF<Bits<5>>,
    to_activate: DFF<Bits<5>>,
    /// Each less one.
    t_rcd: Param<Bits<5>>,
    t_rp: Param<Bits<5>>,
    t_ras: Param<Bits<5>>,
    t_rc: Param<Bits<5>>,
    /// Of a whole burst, of one with write recovery from its last word.
    read: Param<Bits<5>>,
    write: Param<Bits<5>>,
}

/// A time that a counter counts down from, which is one less.
pub fn less_one<const N: usize>(cycles: u32) -> Param<Bits<N>> {
    Param::new(u64::from(cycles.saturating_sub(1)).into())
}

impl Bank {
    pub fn new(t: &SdramTiming) -> Self {
        Self {
            t_rcd: less_one(t.t_rcd),
            t_rp: less_one(t.t_rp),
            t_ras: less_one(t.t_ras),
            t_rc: less_one(t.t_rc),
            read: less_one(t.burst),
            write: less_one(t.burst + t.t_wr - 1),
            ..Default::default()
        }
    }
}

impl Logic for Bank {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            is_open,
            row_is,
            to_access,
            to_precharge,
            to_activate
        );
        self.open.next = self.is_open.q.val();
        self.open_row.next = self.row_is.q.val();
        self.can_access.next = self.is_open.q.val() & (self.to_access.q.val() == 0);
        self.can_precharge.next = self.to_precharge.q.val() == 0;
        self.can_activate.next = !self.is_open.q.val() & (self.to_activate.q.val() == 0);
        if self.to_access.q.val() != 0 {
            self.to_access.d.next = self.to_access.q.val() - 1;
        }
        if self.to_precharge.q.val() != 0 {
            self.to_precharge.d.next = self.to_precharge.q.val() - 1;
        }
        if self.to_activate.q.val() != 0 {
            self.to_activate.d.next = self.to_activate.q.val() - 1;
        }
        if self.activate.val() {
            self.is_open.d.next = true;
            self.row_is.d.next = self.row.val();
            self.to_access.d.next = self.t_rcd.val();
            self.to_precharge.d.next = self.t_ras.val();
            self.to_activate.d.next = self.t_rc.val();
        }
        if self.precharge.val() {
            self.is_open.d.next = false;
            if self.to_activate.q.val() <= self.t_rp.val() {
                self.to_activate.d.next = self.t_rp.val();
            }
        }
        if self.access.val() {
            if self.is_write.val() {
                self.to_precharge.d.next = self.write.val();
            } else if self.to_precharge.q.val() <= self.read.val() {
                self.to_precharge.d.next = self.read.val();
            }
        }
        if self.reset.val() {
            self.is_open.d.next = false;
            self.to_access.d.next = 0.into();
            self.to_precharge.d.next = 0.into();
            self.to_activate.d.next = 0.into();
        }
    }
}
