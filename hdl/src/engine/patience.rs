//! How long the engine waits for the host.

use rust_hdl::prelude::*;

/// `timed_out`, for one cycle, when `waiting` was held for `limit` cycles without `progress`.
#[derive(LogicBlock, Default)]
pub struct Patience {
    pub clock: Signal<In, Clock>,
    /// Cycles, `EngTimeout`.
    pub limit: Signal<In, Bits<32>>,
    pub waiting: Signal<In, Bit>,
    pub progress: Signal<In, Bit>,
    pub timed_out: Signal<Out, Bit>,
    /// Both are registered: a wait ends in a flush, which stops requests, and requests are progress.
    stuck: DFF<Bit>,
    expired: DFF<Bit>,
    left: DFF<Bits<32>>,
}

impl Logic for Patience {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, stuck, expired, left);
        self.stuck.d.next = self.waiting.val() & !self.progress.val();
        self.left.d.next = self.limit.val();
        if self.stuck.q.val() {
            self.left.d.next = self.left.q.val() - 1;
        }
        self.expired.d.next = self.stuck.q.val() & !self.left.q.val().any() & !self.expired.q.val();
        self.timed_out.next = self.expired.q.val();
    }
}
