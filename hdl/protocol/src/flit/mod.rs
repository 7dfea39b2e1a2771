//! The 68-byte flit: four 16-byte slots and a CRC-16 (cxl-mem 3.1, 3.2); credits; formats and control flits in the submodules.

pub mod control;
pub mod format;

use crate::crc;
use bitvec::{order::Lsb0, slice::BitSlice, view::BitView};

/// Bytes of a flit without its CRC.
pub const PAYLOAD_BYTES: usize = 64;
/// Bytes of a flit with its CRC, as `cxlmem flit` reads and prints it.
pub const FLIT_BYTES: usize = 66;

/// Which way a flit goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Host to device.
    M2s,
    /// Device to host.
    S2m,
}

/// A flit: slot *n* is bits 128n+127..128n; CRC bit *b* is flit bit 512+*b*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flit {
    /// The four slots in order.
    pub slots: [u128; 4],
    /// The CRC as sent or received; see [`Flit::crc_ok`].
    pub crc: u16,
}

impl Flit {
    /// A flit with the right CRC.
    #[inline]
    pub fn new(slots: [u128; 4]) -> Self {
        Self {
            crc: crc::of(&slots),
            slots,
        }
    }

    /// True if the CRC matches the slots.
    #[inline]
    pub fn crc_ok(&self) -> bool {
        crc::of(&self.slots) == self.crc
    }

    /// The header, meaningful unless the flit is an all-data flit.
    #[inline]
    pub fn header(&self) -> FlitHeader {
        FlitHeader::unpack(self.slots[0] as u32)
    }

    /// 64 bytes and the CRC, little endian, in wire order.
    pub fn to_bytes(&self) -> [u8; FLIT_BYTES] {
        let mut bytes = [0; FLIT_BYTES];
        for (chunk, slot) in bytes.chunks_exact_mut(16).zip(self.slots) {
            chunk.copy_from_slice(&slot.to_le_bytes());
        }
        bytes[PAYLOAD_BYTES..].copy_from_slice(&self.crc.to_le_bytes());
        bytes
    }

    /// The reverse of [`Flit::to_bytes`]; the CRC is taken as it is.
    pub fn from_bytes(bytes: &[u8; FLIT_BYTES]) -> Self {
        Self {
            slots: core::array::from_fn(|n| {
                let mut slot = [0; 16];
                slot.copy_from_slice(&bytes[16 * n..16 * n + 16]);
                u128::from_le_bytes(slot)
            }),
            crc: u16::from_le_bytes([bytes[PAYLOAD_BYTES], bytes[PAYLOAD_BYTES + 1]]),
        }
    }

    /// Words for [`view`]: the flit and its CRC as 64-bit words, bit *i* of the flit in bit *i* mod 64 of word *i* div 64.
    pub fn words(&self) -> [u64; 9] {
        core::array::from_fn(|n| match n {
            8 => u64::from(self.crc),
            n => (self.slots[n / 2] >> (64 * (n % 2))) as u64,
        })
    }
}

/// The 528 bits of a flit, given by [`Flit::words`], as a bit slice: `view(&words)[a..b]` is flit bits b-1..a.
pub fn view(words: &[u64; 9]) -> &BitSlice<u64, Lsb0> {
    &words.view_bits::<Lsb0>()[..8 * FLIT_BYTES]
}

/// Calls `$cb` with the fields of the flit header in bit order, in the manner of the message macros (cxl-mem 3.2).
#[macro_export]
macro_rules! for_flit_header_fields {
    ($cb:ident) => {
        $cb! { FlitHeader;
            control: 1, rsvd0: 1, ak: 1, be: 1, sz: 1, slot0: 3, slot1: 3, slot2: 3, slot3: 3, rsvd1: 3,
            rsp_crd: 4, req_crd: 4, data_crd: 4
        }
    };
}

macro_rules! derive_header {
    ($name:ident; $($f:ident : $w:literal),*) => {
        /// The 32-bit flit header (cxl-mem 3.2). Members are the raw bits.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[allow(missing_docs)] // the reference's table is the documentation; `control` is its field Type
        pub struct $name {
            $(pub $f: u8,)*
        }

        impl $name {
            /// Name (as in the reference), lowest bit and width of each field.
            pub const FIELDS: &'static [(&'static str, u32, u32)] = &{
                let mut fields = [$((header_name!($f), 0, $w)),*];
                let mut n = 1;
                while n < fields.len() {
                    fields[n].1 = fields[n - 1].1 + fields[n - 1].2;
                    n += 1;
                }
                fields
            };

            /// The 32 bits; bits of a member beyond its width are dropped.
            #[inline]
            pub const fn pack(&self) -> u32 {
                let mut raw = 0u32;
                let mut at = 0u32;
                $(
                    raw |= (self.$f as u32 & ((1 << $w) - 1)) << at;
                    at += $w;
                )*
                debug_assert!(at == 32);
                raw
            }

            /// The fields of 32 bits.
            #[inline]
            #[allow(unused_assignments)]
            pub const fn unpack(raw: u32) -> Self {
                let mut at = 0u32;
                $(
                    let $f = (raw >> at & ((1 << $w) - 1)) as u8;
                    at += $w;
                )*
                Self { $($f),* }
            }
        }
    };
}
macro_rules! header_name {
    (control) => {
        "Type"
    };
    (ak) => {
        "Ak"
    };
    (be) => {
        "BE"
    };
    (sz) => {
        "Sz"
    };
    (slot0) => {
        "Slot0"
    };
    (slot1) => {
        "Slot1"
    };
    (slot2) => {
        "Slot2"
    };
    (slot3) => {
        "Slot3"
    };
    (rsp_crd) => {
        "RspCrd"
    };
    (req_crd) => {
        "ReqCrd"
    };
    (data_crd) => {
        "DataCrd"
    };
    ($f:ident) => {
        "RSVD"
    };
}
for_flit_header_fields!(derive_header);

impl FlitHeader {
    /// Format code of slot `n`; 0 for an `n` above 3.
    #[inline]
    pub const fn slot(&self, n: usize) -> u8 {
        match n {
            0 => self.slot0,
            1 => self.slot1,
            2 => self.slot2,
            3 => self.slot3,
            _ => 0,
        }
    }

    /// Sets the format code of slot `n`; nothing for an `n` above 3.
    #[inline]
    pub fn set_slot(&mut self, n: usize, code: u8) {
        match n {
            0 => self.slot0 = code,
            1 => self.slot1 = code,
            2 => self.slot2 = code,
            3 => self.slot3 = code,
            _ => {}
        }
    }

    /// The credits that the three nibbles return, CXL.mem class only.
    #[inline]
    pub const fn credits(&self) -> Credits {
        Credits {
            req: credit_amount(self.req_crd),
            data: credit_amount(self.data_crd),
            rsp: credit_amount(self.rsp_crd),
        }
    }

    /// Puts as much of `owed` into the three nibbles as one flit can return, and takes it off `owed`.
    #[inline]
    pub fn return_credits(&mut self, owed: &mut Credits) {
        self.req_crd = take_nibble(&mut owed.req);
        self.data_crd = take_nibble(&mut owed.data);
        self.rsp_crd = take_nibble(&mut owed.rsp);
    }
}

/// Credits by header field. What they count depends on the direction (cxl-mem 3.2):
///
/// | Field | flits device to host return | flits host to device return |
/// |---|---|---|
/// | `req` | M2S Req | S2M BISnp (BI-68) |
/// | `data` | M2S RwD | S2M DRS |
/// | `rsp` | M2S BIRsp (BI-68) | S2M NDR |
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Credits {
    /// ReqCrd.
    pub req: u16,
    /// DataCrd.
    pub data: u16,
    /// RspCrd.
    pub rsp: u16,
}

impl Credits {
    /// Adds, saturating as cxl-mem 3.2 asks.
    #[inline]
    pub fn add(&mut self, more: Credits) {
        self.req = self.req.saturating_add(more.req);
        self.data = self.data.saturating_add(more.data);
        self.rsp = self.rsp.saturating_add(more.rsp);
    }

    /// True if there is no credit of any kind.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.req == 0 && self.data == 0 && self.rsp == 0
    }
}

/// Bit 3 of a credit nibble: CXL.mem class.
pub const CREDIT_MEM: u8 = 8;
/// Amount for each code in bits 2:0 of a credit nibble.
pub const CREDIT_AMOUNTS: [u16; 8] = [0, 1, 2, 4, 8, 16, 32, 64];

/// CXL.mem credits in a nibble; 0 for the CXL.cache class.
#[inline]
pub const fn credit_amount(nibble: u8) -> u16 {
    if nibble & CREDIT_MEM == 0 {
        0
    } else {
        CREDIT_AMOUNTS[(nibble & 7) as usize]
    }
}

/// The nibble that returns the most of `owed`, which it reduces.
#[inline]
pub fn take_nibble(owed: &mut u16) -> u8 {
    if *owed == 0 {
        return 0;
    }
    // Codes are powers of two: 1 << (code - 1), 64 at most.
    let code = (owed.ilog2() + 1).min(7) as u8;
    *owed -= CREDIT_AMOUNTS[usize::from(code)];
    CREDIT_MEM | code
}
