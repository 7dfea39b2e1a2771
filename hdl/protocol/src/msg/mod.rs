//! CXL.mem-style messages: types, bit layouts, `pack` and `unpack` (cxl-mem 1.2, 68B column; BISnp and BIRsp as in BI-68).
//!
//! A packed message is a `u128` with the message right-aligned, bit 0 = Valid. `pack` always sets Valid; `unpack` gives
//! `Ok(None)` for an invalid (empty) message.

mod encoding;
#[macro_use]
mod list;
#[macro_use]
mod derive;

pub use encoding::*;

use core::fmt;
use derive::{name_of_value, refuse};

/// Why a message cannot be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// The code has no meaning.
    Reserved {
        /// Message, as the reference names it.
        message: &'static str,
        /// Field, as the reference names it.
        field: &'static str,
        /// The code.
        value: u64,
    },
    /// The code has a meaning that this project does not implement (cxl-mem 7, G-11).
    Unsupported {
        /// Message, as the reference names it.
        message: &'static str,
        /// Field, as the reference names it.
        field: &'static str,
        /// The code.
        value: u64,
        /// What the code means.
        name: &'static str,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reserved { message, field, value } => write!(
                f,
                "{message}: {field} = {value:#x} is a reserved encoding; log the header and handle it as an illegal request (cxl-mem G-03)"
            ),
            Self::Unsupported { message, field, value, name } => write!(
                f,
                "{message}: {field} = {value:#x} ({name}) is not supported in 68-byte flits here (cxl-mem G-11); the sender must not use it"
            ),
        }
    }
}

impl core::error::Error for DecodeError {}

/// A value that a message field can hold.
pub trait FieldValue: Copy {
    /// For coded fields, the function from code to name.
    const NAME_OF: Option<fn(u64) -> Option<&'static str>> = None;
    /// The field's bits.
    fn to_raw(self) -> u64;
    /// The value of these bits, `None` if the encoding is reserved.
    fn from_raw(raw: u64) -> Option<Self>;
    /// False if this project refuses the value on receipt.
    fn is_supported(self) -> bool {
        true
    }
}

macro_rules! number {
    ($($t:ty),*) => {$(
        impl FieldValue for $t {
            fn to_raw(self) -> u64 {
                self as u64
            }
            fn from_raw(raw: u64) -> Option<Self> {
                Some(raw as $t)
            }
        }
    )*};
}
number!(u8, u16, u64);

impl FieldValue for bool {
    fn to_raw(self) -> u64 {
        u64::from(self)
    }
    fn from_raw(raw: u64) -> Option<Self> {
        Some(raw != 0)
    }
}

/// Position and names of one field.
#[derive(Clone, Copy, Debug)]
pub struct FieldBits {
    /// Name in the reference, e.g. `MemOpcode`.
    pub name: &'static str,
    /// Name of the struct member, e.g. `opcode`.
    pub member: &'static str,
    /// Lowest bit in the message.
    pub lsb: u32,
    /// Width in bits.
    pub width: u32,
    /// Address bit that the field's bit 0 stands for (0 unless the field is an address).
    pub shift: u32,
    /// For coded fields, the function from code to name.
    pub name_of: Option<fn(u64) -> Option<&'static str>>,
}

impl FieldBits {
    /// The field's bits in a packed message.
    pub const fn get(&self, message: u128) -> u64 {
        ((message >> self.lsb) & ((1 << self.width) - 1)) as u64
    }
    /// `message` with the field replaced; bits of `value` that do not fit are dropped.
    pub const fn with(&self, message: u128, value: u64) -> u128 {
        let mask = (1u128 << self.width) - 1;
        (message & !(mask << self.lsb)) | ((value as u128 & mask) << self.lsb)
    }
}

/// Name, size and fields of a message, for tools that print or build messages by table.
#[derive(Clone, Copy, Debug)]
pub struct MessageDef {
    /// Name in the reference, e.g. `M2S Req`.
    pub name: &'static str,
    /// Size in bits.
    pub bits: u32,
    /// Fields in bit order, Valid first, reserved bits included.
    pub fields: &'static [FieldBits],
}

/// M2S Req: a request without data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct M2sReq {
    /// What is asked.
    pub opcode: M2sReqOpcode,
    /// What the device does to its own caches.
    pub snp_type: SnpType,
    /// Whether `meta_value` means something.
    pub meta_field: MetaField,
    /// Metadata.
    pub meta_value: MetaValue,
    /// Echoed in the response.
    pub tag: u16,
    /// Host physical address in bytes; bits 51:5 travel (bit 5 is the critical half).
    pub address: u64,
    /// Traffic class, 2 bits; no defined behaviour.
    pub tc: u8,
    /// Logical device, 4 bits.
    pub ld_id: u8,
}

/// M2S RwD: the header of a request with data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct M2sRwd {
    /// What is asked.
    pub opcode: M2sRwdOpcode,
    /// What the device does to its own caches.
    pub snp_type: SnpType,
    /// Whether `meta_value` means something.
    pub meta_field: MetaField,
    /// Metadata.
    pub meta_value: MetaValue,
    /// Echoed in the response.
    pub tag: u16,
    /// Host physical address in bytes; bits 51:6 travel.
    pub address: u64,
    /// The whole line is poisoned.
    pub poison: bool,
    /// Traffic class, 2 bits; no defined behaviour.
    pub tc: u8,
    /// Logical device, 4 bits.
    pub ld_id: u8,
}

/// M2S BIRsp: the answer to a back-invalidate snoop (BI-68).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct M2sBiRsp {
    /// State in which the host ends.
    pub opcode: M2sBiRspOpcode,
    /// Snooping device, 12 bits, echoed.
    pub bi_id: u16,
    /// Tag, 12 bits, echoed.
    pub bi_tag: u16,
    /// Address bits 7:6 of the line in per-line answers to a block snoop, else 0.
    pub low_addr: u8,
}

/// S2M BISnp: a back-invalidate snoop (BI-68).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct S2mBiSnp {
    /// What the device wants.
    pub opcode: S2mBiSnpOpcode,
    /// Snooping device, 12 bits.
    pub bi_id: u16,
    /// Tag, 12 bits, unique among this device's snoops in flight.
    pub bi_tag: u16,
    /// Host physical address in bytes; bits 51:6 travel. Block forms code the size in bits 7:6 (cxl-mem 1.3.5).
    pub address: u64,
}

/// S2M NDR: a completion without data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct S2mNdr {
    /// Completion and grant.
    pub opcode: S2mNdrOpcode,
    /// Whether `meta_value` means something.
    pub meta_field: MetaField,
    /// Metadata as stored before the request (cxl-mem G-03).
    pub meta_value: MetaValue,
    /// Copied from the request.
    pub tag: u16,
    /// Logical device, 4 bits.
    pub ld_id: u8,
    /// Load of the device.
    pub dev_load: DevLoad,
}

/// S2M DRS: the header of read data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct S2mDrs {
    /// Kind of data.
    pub opcode: S2mDrsOpcode,
    /// Whether `meta_value` means something.
    pub meta_field: MetaField,
    /// Metadata as stored before the request (cxl-mem G-03).
    pub meta_value: MetaValue,
    /// Copied from the request.
    pub tag: u16,
    /// The whole line is poisoned.
    pub poison: bool,
    /// Logical device, 4 bits.
    pub ld_id: u8,
    /// Load of the device.
    pub dev_load: DevLoad,
}

for_m2s_req_fields!(derive_message);
for_m2s_rwd_fields!(derive_message);
for_m2s_birsp_fields!(derive_message);
for_s2m_bisnp_fields!(derive_message);
for_s2m_ndr_fields!(derive_message);
for_s2m_drs_fields!(derive_message);

/// SnpType 2:0, MetaField 1:0 and MetaValue 1:0 of a Req or RwD header as No-Op, No-Op, I.
const fn without_state(raw: u128) -> u128 {
    (raw & !(0x7f << 5)) | (0b11 << 8)
}

impl M2sReq {
    /// MemSpecRd has reserved SnpType and metadata: whatever they hold is no error (cxl-mem 2.2).
    const fn ignore_unused(raw: u128) -> u128 {
        if (raw >> 1) & 0xf == M2sReqOpcode::MemSpecRd as u128 {
            without_state(raw)
        } else {
            raw
        }
    }
}
impl M2sRwd {
    /// BIConflict has neither SnpType nor metadata (cxl-mem 2.3).
    const fn ignore_unused(raw: u128) -> u128 {
        if (raw >> 1) & 0xf == M2sRwdOpcode::BiConflict as u128 {
            without_state(raw)
        } else {
            raw
        }
    }
}
macro_rules! nothing_unused {
    ($($name:ident),*) => {$(impl $name {
        const fn ignore_unused(raw: u128) -> u128 {
            raw
        }
    })*};
}
nothing_unused!(M2sBiRsp, S2mBiSnp, S2mNdr, S2mDrs);
