//! Bytes of the line to frames: undoes COBS, checks the CRC, reads the header.

use super::tables::{CrcByte, Kinds};
use rust_hdl::prelude::*;

/// Takes a byte a cycle. Each byte of the body is given as it comes, before it is known whether the frame is good.
#[derive(LogicBlock, Default)]
pub struct Decode {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub valid: Signal<In, Bit>,
    pub data: Signal<In, Bits<8>>,
    // byte of the body
    pub write: Signal<Out, Bit>,
    pub index: Signal<Out, Bits<7>>,
    pub value: Signal<Out, Bits<8>>,
    /// A frame ended in this cycle; what follows is its header.
    pub done: Signal<Out, Bit>,
    pub good: Signal<Out, Bit>,
    pub kind: Signal<Out, Bits<4>>,
    pub number: Signal<Out, Bits<8>>,
    pub ack: Signal<Out, Bits<8>>,
    /// Bytes of payload.
    pub length: Signal<Out, Bits<7>>,
    kinds: Kinds,
    crc: CrcByte,
    /// Bytes until the next code.
    left: DFF<Bits<8>>,
    begun: DFF<Bit>,
    overflow: DFF<Bit>,
    len: DFF<Bits<7>>,
    sum: DFF<Bits<16>>,
    code: DFF<Bits<16>>,
    number_is: DFF<Bits<8>>,
    ack_is: DFF<Bits<8>>,
    put: Signal<Local, Bit>,
    put_value: Signal<Local, Bits<8>>,
}

impl Logic for Decode {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, left, begun, overflow, len, sum, code, number_is, ack_is);
        self.kinds.code.next = self.code.q.val();
        self.kinds.of_kind.next = 0.into();
        self.kind.next = self.kinds.kind.val();
        self.number.next = self.number_is.q.val();
        self.ack.next = self.ack_is.q.val();
        self.length.next = self.len.q.val() - 7;
        self.done.next = false;
        self.good.next = false;
        self.put.next = false;
        self.put_value.next = self.data.val();
        if self.valid.val() {
            if self.data.val() == 0 {
                self.done.next = self.begun.q.val();
                self.good.next = self.begun.q.val()
                    & (self.left.q.val() == 0)
                    & !self.overflow.q.val()
                    & (self.sum.q.val() == 0)
                    & (self.kinds.kind.val() != 0)
                    & (self.len.q.val() >= 7);
                self.left.d.next = 0.into();
            } else if self.left.q.val() != 0 {
                self.left.d.next = self.left.q.val() - 1;
                self.put.next = true;
            } else {
                self.put.next = self.begun.q.val();
                self.put_value.next = 0.into();
                self.begun.d.next = true;
                self.left.d.next = self.data.val() - 1;
            }
        }
        self.crc.sum.next = self.sum.q.val();
        self.crc.data.next = self.put_value.val();
        self.value.next = self.put_value.val();
        self.index.next = self.len.q.val();
        self.write.next = false;
        if self.put.val() {
            // Longer than any body.
            if self.len.q.val() == 73 {
                self.overflow.d.next = true;
            } else {
                self.write.next = true;
                self.len.d.next = self.len.q.val() + 1;
                self.sum.d.next = self.crc.out.val();
                if self.len.q.val() == 0 {
                    self.code.d.next = bit_cast::<16, 8>(self.put_value.val());
                } else if self.len.q.val() == 1 {
                    self.code.d.next =
                        self.code.q.val() | (bit_cast::<16, 8>(self.put_value.val()) << 8);
                } else if self.len.q.val() == 2 {
                    self.number_is.d.next = self.put_value.val();
                } else if self.len.q.val() == 3 {
                    self.ack_is.d.next = self.put_value.val();
                }
            }
        }
        if self.reset.val() | (self.valid.val() & (self.data.val() == 0)) {
            self.left.d.next = 0.into();
            self.begun.d.next = false;
            self.overflow.d.next = false;
            self.len.d.next = 0.into();
            self.sum.d.next = 0xFFFF.into();
        }
    }
}
