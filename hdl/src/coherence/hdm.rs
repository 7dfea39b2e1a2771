//! HDM decode: host physical address to device line (`cxl-mem 4.4`, no interleave). Base, limit and DPA base of committed decoders come
//! from the registers in 256 MB units; the sum `dpa - base` is kept registered so that a lookup is two compares and one add.

use crate::config::Config;
use crate::prim::Param;
use rust_hdl::prelude::*;

#[derive(LogicBlock, Default)]
pub struct Hdm {
    pub clock: Signal<In, Clock>,
    pub enable: Signal<In, Bit>,
    pub committed0: Signal<In, Bit>,
    pub base0: Signal<In, Bits<24>>,
    pub limit0: Signal<In, Bits<24>>,
    pub dpa0: Signal<In, Bits<24>>,
    pub committed1: Signal<In, Bit>,
    pub base1: Signal<In, Bits<24>>,
    pub limit1: Signal<In, Bits<24>>,
    pub dpa1: Signal<In, Bits<24>>,
    /// The decoder is device-coherent (HDM-DB).
    pub db0: Signal<In, Bit>,
    pub db1: Signal<In, Bit>,
    /// HPA[51:6].
    pub address: Signal<In, Bits<46>>,
    pub hit: Signal<Out, Bit>,
    /// DPA / 64.
    pub line: Signal<Out, Bits<26>>,
    /// A device-coherent decoder takes the address.
    pub db: Signal<Out, Bit>,
    // and back: a line's host physical address
    pub back_line: Signal<In, Bits<26>>,
    pub back_address: Signal<Out, Bits<46>>,
    delta0: DFF<Bits<24>>,
    delta1: DFF<Bits<24>>,
    high: Signal<Local, Bits<24>>,
    in0: Signal<Local, Bit>,
    in1: Signal<Local, Bit>,
    dpa: Signal<Local, Bits<24>>,
    found: Signal<Local, Bits<26>>,
    beyond: Signal<Local, Bits<26>>,
    granule: Signal<Local, Bits<24>>,
    back: Signal<Local, Bits<24>>,
    line_bits: Param<Bits<5>>,
}

impl Hdm {
    pub fn new(config: &Config) -> Self {
        Self {
            line_bits: Param::new((config.line_bits as u64).into()),
            ..Default::default()
        }
    }
}

impl Logic for Hdm {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, delta0, delta1);
        self.delta0.d.next = self.dpa0.val() - self.base0.val();
        self.delta1.d.next = self.dpa1.val() - self.base1.val();
        self.high.next = self.address.val().get_bits::<24>(22);
        self.in0.next = self.enable.val()
            & self.committed0.val()
            & (self.high.val() >= self.base0.val())
            & (self.high.val() < self.limit0.val());
        self.in1.next = self.enable.val()
            & self.committed1.val()
            & (self.high.val() >= self.base1.val())
            & (self.high.val() < self.limit1.val());
        self.dpa.next = self.high.val() + self.delta0.q.val();
        if self.in1.val() {
            self.dpa.next = self.high.val() + self.delta1.q.val();
        }
        self.db.next = (self.in0.val() & self.db0.val()) | (self.in1.val() & self.db1.val());
        self.found.next = bit_cast::<26, 22>(self.address.val().get_bits::<22>(0))
            | (bit_cast::<26, 4>(self.dpa.val().get_bits::<4>(0)) << 22);
        self.line.next = self.found.val();
        // Lines beyond the capacity do not exist: decoders cover 256 MB, boards hold less.
        self.beyond.next = self.found.val() >> self.line_bits.val();
        self.hit.next = (self.in0.val() | self.in1.val())
            & (self.beyond.val() == 0)
            & (self.dpa.val().get_bits::<20>(4) == 0);
        // Decoders lie in DPA order.
        self.granule.next = bit_cast::<24, 4>(self.back_line.val().get_bits::<4>(22));
        self.back.next = self.granule.val() - self.delta0.q.val();
        if self.committed1.val() & (self.granule.val() >= self.dpa1.val()) {
            self.back.next = self.granule.val() - self.delta1.q.val();
        }
        self.back_address.next = bit_cast::<46, 22>(self.back_line.val().get_bits::<22>(0))
            | (bit_cast::<46, 24>(self.back.val()) << 22);
    }
}
