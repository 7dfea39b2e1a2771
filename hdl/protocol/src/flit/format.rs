//! Slot formats and where the messages sit in them (cxl-mem 3.3, 3.4; BI-68: 8.2).
//!
//! Offsets are within the 128-bit slot. In slot 0 bits 31:0 are the flit header.

use super::Direction;

/// First bit of an H slot's content.
pub const H_BASE: u32 = 32;

/// Format codes of M2S flits, slot 0.
pub mod m2s_h {
    /// RwD header.
    pub const RWD: u8 = 4;
    /// Req.
    pub const REQ: u8 = 5;
    /// Two BIRsp (BI-68).
    pub const BIRSP: u8 = 7;
    /// What this project's senders use for an empty slot 0: a Req with Valid 0.
    pub const EMPTY: u8 = REQ;
}
/// Format codes of M2S flits, slots 1 to 3.
pub mod m2s_g {
    /// Data chunk or byte-enable chunk.
    pub const DATA: u8 = 0;
    /// Req.
    pub const REQ: u8 = 4;
    /// RwD header.
    pub const RWD: u8 = 5;
    /// Three BIRsp (BI-68).
    pub const BIRSP: u8 = 6;
    /// What this project's senders use for an empty slot: a Req with Valid 0.
    pub const EMPTY: u8 = REQ;
}
/// Format codes of S2M flits, slot 0.
pub mod s2m_h {
    /// CXL.cache messages and one NDR; tolerated on receive.
    pub const NDR: u8 = 0;
    /// DRS header and NDR.
    pub const DRS_NDR: u8 = 3;
    /// Two NDR.
    pub const NDR2: u8 = 4;
    /// Two DRS headers (MDH).
    pub const DRS2: u8 = 5;
    /// One BISnp (BI-68).
    pub const BISNP: u8 = 7;
    /// What this project's senders use for an empty slot 0: two NDR with Valid 0.
    pub const EMPTY: u8 = NDR2;
}
/// Format codes of S2M flits, slots 1 to 3.
pub mod s2m_g {
    /// Data chunk.
    pub const DATA: u8 = 0;
    /// DRS header and two NDR.
    pub const DRS_NDR2: u8 = 4;
    /// Two NDR.
    pub const NDR2: u8 = 5;
    /// Three DRS headers (MDH).
    pub const DRS3: u8 = 6;
    /// BISnp and NDR (BI-68).
    pub const BISNP_NDR: u8 = 7;
    /// What this project's senders use for an empty slot: two NDR with Valid 0.
    pub const EMPTY: u8 = NDR2;
}

/// Kind of message in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// M2S Req.
    Req,
    /// M2S RwD header.
    Rwd,
    /// M2S BIRsp (BI-68).
    BiRsp,
    /// S2M NDR.
    Ndr,
    /// S2M DRS header.
    Drs,
    /// S2M BISnp (BI-68).
    BiSnp,
}

impl Kind {
    /// Name, size and fields of the message.
    pub const fn def(self) -> &'static crate::msg::MessageDef {
        use crate::msg::{M2sBiRsp, M2sReq, M2sRwd, S2mBiSnp, S2mDrs, S2mNdr};
        match self {
            Kind::Req => &M2sReq::DEF,
            Kind::Rwd => &M2sRwd::DEF,
            Kind::BiRsp => &M2sBiRsp::DEF,
            Kind::Ndr => &S2mNdr::DEF,
            Kind::Drs => &S2mDrs::DEF,
            Kind::BiSnp => &S2mBiSnp::DEF,
        }
    }
    /// True for headers that data follows.
    pub const fn has_data(self) -> bool {
        matches!(self, Kind::Rwd | Kind::Drs)
    }
}

/// One message in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// What sits there.
    pub kind: Kind,
    /// Its lowest bit in the slot.
    pub lsb: u32,
    /// For the first NDR of a pair: bits 27:0 are at `lsb`, and the two DevLoad bits here.
    pub split: Option<u32>,
}

const fn at(kind: Kind, lsb: u32) -> Place {
    Place {
        kind,
        lsb,
        split: None,
    }
}
const fn split(lsb: u32, dev_load: u32) -> Place {
    Place {
        kind: Kind::Ndr,
        lsb,
        split: Some(dev_load),
    }
}

/// Bits of a split NDR that stay together; DevLoad is the rest.
const SPLIT_BITS: u32 = 28;

impl Place {
    /// The packed message in `slot`, bits above its size zero.
    #[inline]
    pub const fn get(&self, slot: u128) -> u128 {
        match self.split {
            None => (slot >> self.lsb) & ((1 << self.kind.def().bits) - 1),
            Some(dev_load) => {
                ((slot >> self.lsb) & ((1 << SPLIT_BITS) - 1))
                    | (((slot >> dev_load) & 0b11) << SPLIT_BITS)
            }
        }
    }

    /// `slot` with the packed message put into a place that is zero.
    #[inline]
    pub const fn put(&self, slot: u128, message: u128) -> u128 {
        match self.split {
            None => slot | (message << self.lsb),
            Some(dev_load) => {
                slot | ((message & ((1 << SPLIT_BITS) - 1)) << self.lsb)
                    | ((message >> SPLIT_BITS & 0b11) << dev_load)
            }
        }
    }
}

/// What a format is for, and whether a receiver of this project takes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// CXL.mem messages (and perhaps CXL.cache messages, whose Valid bits must be 0).
    Mem,
    /// A data or byte-enable chunk.
    Data,
    /// More than one data header; only if both ends agreed.
    MultiHeader,
    /// BI-68 extension; only if both ends agreed.
    Bi68,
    /// CXL.cache messages only.
    Cache,
    /// Integrity and encryption.
    Ide,
    /// No meaning.
    Reserved,
}

/// One slot format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Name, e.g. `H5`.
    pub name: &'static str,
    /// What it is for.
    pub class: Class,
    /// The CXL.mem messages in bit order.
    pub places: &'static [Place],
    /// Valid bits of the CXL.cache messages in it: a set one means a message that this project does not handle.
    pub cache_valid: &'static [u32],
}

const fn f(
    name: &'static str,
    class: Class,
    places: &'static [Place],
    cache_valid: &'static [u32],
) -> Format {
    Format {
        name,
        class,
        places,
        cache_valid,
    }
}
const NONE: &[Place] = &[];

/// M2S slot 0, by code.
pub static M2S_H: [Format; 8] = [
    f("H0", Class::Cache, NONE, &[32, 96]),
    f("H1", Class::Cache, NONE, &[32, 56, 88]),
    f("H2", Class::Cache, NONE, &[32, 96]),
    f("H3", Class::Cache, NONE, &[32, 56, 80, 104]),
    f("H4", Class::Mem, &[at(Kind::Rwd, 32)], &[]),
    f("H5", Class::Mem, &[at(Kind::Req, 32)], &[]),
    f("H6", Class::Ide, NONE, &[]),
    f(
        "H7",
        Class::Bi68,
        &[at(Kind::BiRsp, 32), at(Kind::BiRsp, 72)],
        &[],
    ),
];

/// M2S slots 1 to 3, by code.
pub static M2S_G: [Format; 8] = [
    f("G0", Class::Data, NONE, &[]),
    f("G1", Class::Cache, NONE, &[0, 32, 64, 96]),
    f("G2", Class::Cache, NONE, &[0, 64, 88]),
    f("G3", Class::Cache, NONE, &[0, 24, 48, 72, 96]),
    f("G4", Class::Mem, &[at(Kind::Req, 0)], &[88]),
    f("G5", Class::Mem, &[at(Kind::Rwd, 0)], &[88]),
    f(
        "G6",
        Class::Bi68,
        &[at(Kind::BiRsp, 0), at(Kind::BiRsp, 40), at(Kind::BiRsp, 80)],
        &[],
    ),
    f("G7", Class::Reserved, NONE, &[]),
];

/// S2M slot 0, by code.
pub static S2M_H: [Format; 8] = [
    f("H0", Class::Mem, &[at(Kind::Ndr, 89)], &[32, 49, 69]),
    f("H1", Class::Cache, NONE, &[32, 111]),
    f("H2", Class::Cache, NONE, &[32, 49, 66, 83, 100]),
    f(
        "H3",
        Class::Mem,
        &[at(Kind::Drs, 32), at(Kind::Ndr, 72)],
        &[],
    ),
    f("H4", Class::Mem, &[split(32, 90), at(Kind::Ndr, 60)], &[]),
    f(
        "H5",
        Class::MultiHeader,
        &[at(Kind::Drs, 32), at(Kind::Drs, 72)],
        &[],
    ),
    f("H6", Class::Ide, NONE, &[]),
    f("H7", Class::Bi68, &[at(Kind::BiSnp, 32)], &[]),
];

/// S2M slots 1 to 3, by code.
pub static S2M_G: [Format; 8] = [
    f("G0", Class::Data, NONE, &[]),
    f("G1", Class::Cache, NONE, &[0, 79, 99]),
    f("G2", Class::Cache, NONE, &[0, 79, 96]),
    f("G3", Class::Cache, NONE, &[0, 17, 34, 51]),
    f(
        "G4",
        Class::Mem,
        &[at(Kind::Drs, 0), split(40, 98), at(Kind::Ndr, 68)],
        &[],
    ),
    f("G5", Class::Mem, &[split(0, 58), at(Kind::Ndr, 28)], &[]),
    f(
        "G6",
        Class::MultiHeader,
        &[at(Kind::Drs, 0), at(Kind::Drs, 40), at(Kind::Drs, 80)],
        &[],
    ),
    f(
        "G7",
        Class::Bi68,
        &[at(Kind::BiSnp, 0), at(Kind::Ndr, 84)],
        &[],
    ),
];

/// The format with a 3-bit `code` in slot `slot`; higher bits of `code` are ignored.
#[inline]
pub fn format(direction: Direction, slot: usize, code: u8) -> &'static Format {
    let table = match (direction, slot) {
        (Direction::M2s, 0) => &M2S_H,
        (Direction::M2s, _) => &M2S_G,
        (Direction::S2m, 0) => &S2M_H,
        (Direction::S2m, _) => &S2M_G,
    };
    &table[usize::from(code & 7)]
}
