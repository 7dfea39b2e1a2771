//! Small functions of the frame format as logic, generated from `cxlmem_protocol::serial`.

use cxlmem_protocol::serial::{crc_step, Kind};
use rust_hdl::prelude::*;

/// The frame's CRC with one byte more.
#[derive(LogicBlock, Default)]
pub struct CrcByte {
    pub sum: Signal<In, Bits<16>>,
    pub data: Signal<In, Bits<8>>,
    pub out: Signal<Out, Bits<16>>,
}

impl Logic for CrcByte {
    fn update(&mut self) {
        let next = crc_step(self.sum.val().to_u16(), self.data.val().to_u8());
        self.out.next = u64::from(next).into();
    }
    fn connect(&mut self) {
        self.out.connect();
    }
    fn hdl(&self) -> Verilog {
        // Linear: each output bit is the parity of the input bits that reach it.
        let mut code = String::new();
        for b in 0..16 {
            let mask = |n: usize, of: &dyn Fn(usize) -> u16| {
                (0..n).fold(0u16, |m, i| m | (of(i) >> b & 1) << i)
            };
            let sum = mask(16, &|i| crc_step(1 << i, 0));
            let byte = mask(8, &|i| crc_step(0, 1 << i));
            code += &format!(
                "always @(*) out[{b}] = ^(sum & 16'h{sum:04x}) ^ ^(data & 8'h{byte:02x});\n"
            );
        }
        Verilog::Custom(code)
    }
}

/// Kinds to code words and back. The code of 0 is 0, and what is no code word is kind 0.
#[derive(LogicBlock, Default)]
pub struct Kinds {
    pub code: Signal<In, Bits<16>>,
    pub kind: Signal<Out, Bits<4>>,
    pub of_kind: Signal<In, Bits<4>>,
    pub of_code: Signal<Out, Bits<16>>,
}

impl Logic for Kinds {
    fn update(&mut self) {
        let kind = Kind::from_code(self.code.val().to_u16()).map_or(0, |k| k as u64);
        self.kind.next = kind.into();
        let of = self.of_kind.val().to_u8();
        let code = Kind::ALL.into_iter().find(|k| *k as u8 == of);
        self.of_code.next = code.map_or(0, |k| u64::from(k.code())).into();
    }
    fn connect(&mut self) {
        self.kind.connect();
        self.of_code.connect();
    }
    fn hdl(&self) -> Verilog {
        let of = |f: &dyn Fn(Kind) -> String| -> String { Kind::ALL.into_iter().map(f).collect() };
        let kinds = of(&|k| format!("      16'h{:04x}: kind = 4'd{};\n", k.code(), k as u8));
        let codes = of(&|k| format!("      4'd{}: of_code = 16'h{:04x};\n", k as u8, k.code()));
        Verilog::Custom(format!(
            "\
always @(*) begin
   case (code)
{kinds}      default: kind = 4'd0;
   endcase
   case (of_kind)
{codes}      default: of_code = 16'd0;
   endcase
end
"
        ))
    }
}
