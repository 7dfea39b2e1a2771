//! Is a host address inside the device's own HDM range?

use rust_hdl::prelude::*;

/// `hit` tells, two cycles later, whether granule `granule` (address bits 63:28) lies in a committed decoder's range.
#[derive(LogicBlock, Default)]
pub struct HdmCheck {
    pub clock: Signal<In, Clock>,
    pub hdm0_committed: Signal<In, Bit>,
    pub hdm0_base: Signal<In, Bits<24>>,
    pub hdm0_limit: Signal<In, Bits<24>>,
    pub hdm1_committed: Signal<In, Bit>,
    pub hdm1_base: Signal<In, Bits<24>>,
    pub hdm1_limit: Signal<In, Bits<24>>,
    pub granule: Signal<In, Bits<36>>,
    pub hit: Signal<Out, Bit>,
    at: DFF<Bits<36>>,
    hit_r: DFF<Bit>,
    low: Signal<Local, Bits<24>>,
}

impl Logic for HdmCheck {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, at, hit_r);
        self.at.d.next = self.granule.val();
        self.low.next = self.at.q.val().get_bits::<24>(0);
        self.hit_r.d.next = !self.at.q.val().get_bits::<12>(24).any()
            & ((self.hdm0_committed.val()
                & (self.low.val() >= self.hdm0_base.val())
                & (self.low.val() < self.hdm0_limit.val()))
                | (self.hdm1_committed.val()
                    & (self.low.val() >= self.hdm1_base.val())
                    & (self.low.val() < self.hdm1_limit.val())));
        self.hit.next = self.hit_r.q.val();
    }
}
