//! The pins of a UART, 8N1.

use crate::prim::Param;
use rust_hdl::prelude::*;

/// Sends bytes: a byte is taken while `ready`, and the next when its stop bit is out.
#[derive(LogicBlock, Default)]
pub struct UartTx {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub valid: Signal<In, Bit>,
    pub data: Signal<In, Bits<8>>,
    pub ready: Signal<Out, Bit>,
    pub tx: Signal<Out, Bit>,
    /// Bits to come, the present one lowest; ones behind the stop bit.
    shift: DFF<Bits<10>>,
    bits: DFF<Bits<4>>,
    count: DFF<Bits<16>>,
    /// Clock cycles in a bit, less one.
    last_cycle: Param<Bits<16>>,
}

impl UartTx {
    pub fn new(divisor: u16) -> Self {
        Self {
            last_cycle: Param::new(u64::from(divisor.max(1) - 1).into()),
            ..Default::default()
        }
    }
}

impl Logic for UartTx {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, shift, bits, count);
        self.ready.next = self.bits.q.val() == 0;
        self.tx.next = (self.bits.q.val() == 0) | self.shift.q.val().get_bit(0);
        if self.bits.q.val() == 0 {
            self.count.d.next = 0.into();
            if self.valid.val() {
                // Start bit, eight bits, stop bit.
                self.shift.d.next = (bit_cast::<10, 8>(self.data.val()) << 1) | 0x200;
                self.bits.d.next = 10.into();
            }
        } else if self.count.q.val() == self.last_cycle.val() {
            self.count.d.next = 0.into();
            self.shift.d.next = self.shift.q.val() >> 1;
            self.bits.d.next = self.bits.q.val() - 1;
        } else {
            self.count.d.next = self.count.q.val() + 1;
        }
        if self.reset.val() {
            self.bits.d.next = 0.into();
        }
    }
}

/// Receives bytes: each bit is looked at once, in its middle. A byte without its stop bit is dropped.
#[derive(LogicBlock, Default)]
pub struct UartRx {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub rx: Signal<In, Bit>,
    /// A byte came, in this cycle.
    pub valid: Signal<Out, Bit>,
    pub data: Signal<Out, Bits<8>>,
    /// The pin, brought into this clock; a line that is not connected idles.
    low: DFF<Bits<3>>,
    shift: DFF<Bits<8>>,
    /// Bits to come, the start and the stop bit included.
    bits: DFF<Bits<4>>,
    count: DFF<Bits<16>>,
    pin_low: Signal<Local, Bit>,
    high: Signal<Local, Bit>,
    last_cycle: Param<Bits<16>>,
    half: Param<Bits<16>>,
}

impl UartRx {
    pub fn new(divisor: u16) -> Self {
        Self {
            last_cycle: Param::new(u64::from(divisor.max(1) - 1).into()),
            half: Param::new(u64::from(divisor.max(2) / 2 - 1).into()),
            ..Default::default()
        }
    }
}

impl Logic for UartRx {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, low, shift, bits, count);
        // Inverted, so that registers that begin at 0 are an idle line.
        self.pin_low.next = !self.rx.val();
        self.low.d.next = (self.low.q.val() << 1) | bit_cast::<3, 1>(self.pin_low.val().into());
        self.high.next = !self.low.q.val().get_bit(1);
        self.valid.next = false;
        self.data.next = self.shift.q.val();
        if self.bits.q.val() == 0 {
            self.count.d.next = self.half.val();
            if self.low.q.val().get_bit(1) & !self.low.q.val().get_bit(2) {
                self.bits.d.next = 10.into();
            }
        } else if self.count.q.val() == 0 {
            self.count.d.next = self.last_cycle.val();
            self.bits.d.next = self.bits.q.val() - 1;
            if self.bits.q.val() == 10 {
                // No start bit after all.
                if self.high.val() {
                    self.bits.d.next = 0.into();
                }
            } else if self.bits.q.val() == 1 {
                self.valid.next = self.high.val();
            } else {
                self.shift.d.next =
                    (self.shift.q.val() >> 1) | (bit_cast::<8, 1>(self.high.val().into()) << 7);
            }
        } else {
            self.count.d.next = self.count.q.val() - 1;
        }
        if self.reset.val() {
            self.bits.d.next = 0.into();
        }
    }
}
