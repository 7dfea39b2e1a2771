//! One slot a cycle of the flit CRC, as XOR masks generated from the protocol's polynomial (`cxl-mem 3.10`).

use cxlmem_protocol::crc;
use rust_hdl::prelude::*;

/// `crc = x^-128 * acc + slot * x^400 mod P`: after slots 0..3, starting from `acc` = 0, the CRC of the flit.
/// One tree serves all four slots.
#[derive(LogicBlock, Default)]
pub struct CrcStep {
    pub acc: Signal<In, Bits<16>>,
    pub slot: Signal<In, Bits<128>>,
    pub crc: Signal<Out, Bits<16>>,
}

impl Logic for CrcStep {
    fn update(&mut self) {
        let next = crc::step(self.acc.val().to_u16(), self.slot.val().to_u128());
        self.crc.next = u64::from(next).into();
    }
    fn connect(&mut self) {
        self.crc.connect();
    }
    fn hdl(&self) -> Verilog {
        let mut code = String::new();
        for b in 0..16 {
            code += &format!(
                "always @(*) crc[{b}] = ^(slot & 128'h{:032x}) ^ ^(acc & 16'h{:04x});\n",
                crc::STEP_SLOT[b],
                crc::STEP_ACC[b],
            );
        }
        Verilog::Custom(code)
    }
}
