//! CRC-32C (Castagnoli, reflected, polynomial 0x82F63B78), 32 bits a cycle.

use rust_hdl::prelude::*;
use std::fmt::Write;

/// Reflected polynomial.
const POLY: u32 = 0x82F6_3B78;

/// The register after four more bytes, lowest first.
pub fn step(register: u32, word: u32) -> u32 {
    (0..32).fold(register ^ word, |r, _| {
        (r >> 1) ^ if r & 1 == 1 { POLY } else { 0 }
    })
}

/// `next` = [`step`]`(register, word)`, generated from it: it is linear, so the image of each bit says which inputs an output sums.
#[derive(LogicBlock, Default)]
pub struct CrcStep {
    pub register: Signal<In, Bits<32>>,
    pub word: Signal<In, Bits<32>>,
    pub next_register: Signal<Out, Bits<32>>,
}

impl Logic for CrcStep {
    fn update(&mut self) {
        self.next_register.next =
            u64::from(step(self.register.val().to_u32(), self.word.val().to_u32())).into();
    }
    fn connect(&mut self) {
        self.next_register.connect();
    }
    fn hdl(&self) -> Verilog {
        let mut v = String::from("wire [31:0] s = register ^ word;\nalways @(*) begin\n");
        for out in 0..32 {
            let mask: u32 = (0..32)
                .filter(|i| step(1 << i, 0) >> out & 1 == 1)
                .map(|i| 1 << i)
                .sum();
            let _ = writeln!(v, "   next_register[{out}] = ^(s & 32'h{mask:08x});");
        }
        v.push_str("end\n");
        Verilog::Custom(v)
    }
}

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn check_value_of_the_catalogue() {
        // "123456789" has CRC-32C 0xE3069283; a multiple of four bytes is what the step takes.
        let bytewise = |data: &[u8]| {
            !data.iter().fold(!0u32, |r, b| {
                (0..8).fold(r ^ u32::from(*b), |r, _| {
                    (r >> 1) ^ if r & 1 == 1 { super::POLY } else { 0 }
                })
            })
        };
        assert_eq!(bytewise(b"123456789"), 0xE306_9283);
        let data = b"12345678";
        let words = data.chunks(4).fold(!0u32, |r, w| {
            step(r, u32::from_le_bytes(w.try_into().unwrap()))
        });
        assert_eq!(!words, bytewise(data));
    }
}
