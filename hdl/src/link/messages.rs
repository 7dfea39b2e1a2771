//! The protocol's messages as hardware structs: derived from the same field lists as the host's types.

use cxlmem_protocol::{
    for_m2s_birsp_fields, for_m2s_req_fields, for_m2s_rwd_fields, for_s2m_bisnp_fields,
    for_s2m_drs_fields, for_s2m_ndr_fields,
};
use rust_hdl::prelude::*;

/// A hardware struct that can be read from its packed bits.
pub trait FromBits<const W: usize> {
    /// First field lowest, as the protocol packs.
    fn from_bits(raw: Bits<W>) -> Self;
}

macro_rules! hardware_struct {
    ($name:ident; $($field:ident : $width:tt),* $(,)?) => {
        #[doc = concat!("`", stringify!($name), "` as wires; field order and widths are the protocol's.")]
        #[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
        pub struct $name {
            $(pub $field: Bits<$width>,)*
        }

        impl FromBits<{ 0 $(+ $width)* }> for $name {
            fn from_bits(raw: Bits<{ 0 $(+ $width)* }>) -> Self {
                let mut at = 0;
                let mut m = Self::default();
                $(
                    m.$field = raw.get_bits::<$width>(at);
                    #[allow(unused_assignments)]
                    { at += $width; }
                )*
                m
            }
        }
    };
}

for_m2s_req_fields!(hardware_struct);
for_m2s_rwd_fields!(hardware_struct);
for_s2m_ndr_fields!(hardware_struct);
for_s2m_drs_fields!(hardware_struct);
for_m2s_birsp_fields!(hardware_struct);
for_s2m_bisnp_fields!(hardware_struct);

/// Names the fields of packed bits: wires only.
#[derive(LogicBlock)]
pub struct View<T: Synth + FromBits<W>, const W: usize> {
    pub raw: Signal<In, Bits<W>>,
    pub msg: Signal<Out, T>,
}

impl<T: Synth + FromBits<W>, const W: usize> Default for View<T, W> {
    fn default() -> Self {
        Self {
            raw: Default::default(),
            msg: Default::default(),
        }
    }
}

impl<T: Synth + FromBits<W>, const W: usize> Logic for View<T, W> {
    fn update(&mut self) {
        self.msg.next = T::from_bits(self.raw.val());
    }
    fn connect(&mut self) {
        self.msg.connect();
    }
    fn hdl(&self) -> Verilog {
        Verilog::Custom("always @(*) msg = raw;\n".into())
    }
}

/// A request as the coherence side sees it: the message without what the device does not use, with its address decoded.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Request {
    pub opcode: Bits<4>,
    pub snp_type: Bits<3>,
    pub meta_field: Bits<2>,
    pub meta_value: Bits<2>,
    pub tag: Bits<16>,
    pub ld_id: Bits<4>,
    /// RwD only.
    pub poison: Bits<1>,
    /// RwD only: a byte-enable chunk follows the data.
    pub be: Bits<1>,
    /// A committed HDM decoder covers the address and the line exists.
    pub hit: Bits<1>,
    /// The decoder that covers the address is device-coherent (HDM-DB).
    pub db: Bits<1>,
    /// DPA / 64; meaningful with `hit`.
    pub line: Bits<26>,
}

/// A completion waiting to be packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Completion {
    pub opcode: Bits<3>,
    pub meta_field: Bits<2>,
    pub meta_value: Bits<2>,
    pub tag: Bits<16>,
    pub ld_id: Bits<4>,
    /// DRS only.
    pub poison: Bits<1>,
    pub dev_load: Bits<2>,
}

/// A snoop waiting to be sent (BI-68).
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Snoop {
    pub opcode: Bits<4>,
    /// Number of the snoop tracker, which is the BITag.
    pub tag: Bits<2>,
    /// HPA[51:6].
    pub address: Bits<46>,
}
