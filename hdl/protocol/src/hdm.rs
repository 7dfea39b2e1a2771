//! The HDM decoder: host physical address to device physical address (cxl-mem 4.4), without interleave.

use crate::regs::{Hdm0BaseLo, Hdm0Ctrl};
use core::fmt;

/// Granularity of base, size and skip: 256 MiB.
pub const GRANULE: u64 = 1 << 28;

/// One decoder's programming.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Decoder {
    /// First host physical address, bytes.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// DPA bytes left out before this decoder's range.
    pub skip: u64,
    /// Interleave ways as coded in the control register.
    pub iw: u8,
    /// 1 host-only (HDM-H), 0 device-coherent.
    pub host_only: bool,
    /// In force.
    pub committed: bool,
}

impl Decoder {
    /// From the seven registers `Hdm0BaseLo` .. `Hdm0SkipHi`, in address order. Reserved low bits are ignored.
    pub fn from_registers(registers: &[u32; 7]) -> Self {
        let [base_lo, base_hi, size_lo, size_hi, ctrl, skip_lo, skip_hi] = *registers;
        let granules =
            |low: u32, high: u32| u64::from(high) << 32 | u64::from(Hdm0BaseLo::BASE.mask() & low);
        Self {
            base: granules(base_lo, base_hi),
            size: granules(size_lo, size_hi),
            skip: granules(skip_lo, skip_hi),
            iw: Hdm0Ctrl::IW.get(ctrl) as u8,
            host_only: Hdm0Ctrl::TARGET_TYPE.is_set(ctrl),
            committed: Hdm0Ctrl::COMMITTED.is_set(ctrl),
        }
    }
}

/// Why a decoder cannot commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitError {
    /// Base, size or skip is not a multiple of 256 MiB.
    Granularity {
        /// Which.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Size is 0.
    Empty,
    /// Base + size or the DPA passes 2^64, or the host range passes the 52-bit address of a request.
    Overflow,
    /// More than one way.
    Interleave {
        /// The coded ways.
        iw: u8,
    },
    /// Only host-only coherency is offered.
    TargetType,
    /// A decoder with a lower index is not committed: commit in order.
    Order {
        /// That decoder.
        missing: usize,
    },
    /// Below the end of the decoder before it, or over another one.
    Overlap {
        /// The other decoder.
        with: usize,
    },
    /// There is no decoder with that index.
    NoSuchDecoder,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Granularity { field, value } => {
                write!(
                    f,
                    "HDM decoder: {field} {value:#x} is not a multiple of 256 MiB; align it"
                )
            }
            Self::Empty => write!(f, "HDM decoder: size is 0; give at least 256 MiB"),
            Self::Overflow => write!(
                f,
                "HDM decoder: the range ends beyond 52 bits of address; lower the base"
            ),
            Self::Interleave { iw } => write!(
                f,
                "HDM decoder: interleave ways code {iw} is not offered; set it to 0"
            ),
            Self::TargetType => write!(
                f,
                "HDM decoder: only host-only coherency is offered; set the target type bit"
            ),
            Self::Order { missing } => {
                write!(f, "HDM decoder: decoder {missing} must be committed first")
            }
            Self::Overlap { with } => write!(
                f,
                "HDM decoder: the range overlaps or precedes decoder {with}; move it up"
            ),
            Self::NoSuchDecoder => write!(f, "HDM decoder: no decoder with this index"),
        }
    }
}

impl core::error::Error for CommitError {}

/// Bits of host physical address that requests carry.
pub const HPA_BITS: u32 = 52;

/// Checks whether decoder `index` may commit, given all decoders.
///
/// # Errors
/// The first reason against it.
pub fn check_commit(decoders: &[Decoder], index: usize) -> Result<(), CommitError> {
    let decoder = decoders.get(index).ok_or(CommitError::NoSuchDecoder)?;
    for (field, value) in [
        ("base", decoder.base),
        ("size", decoder.size),
        ("skip", decoder.skip),
    ] {
        if value % GRANULE != 0 {
            return Err(CommitError::Granularity { field, value });
        }
    }
    if decoder.size == 0 {
        return Err(CommitError::Empty);
    }
    if decoder.iw != 0 {
        return Err(CommitError::Interleave { iw: decoder.iw });
    }
    if !decoder.host_only {
        return Err(CommitError::TargetType);
    }
    let end = decoder
        .base
        .checked_add(decoder.size)
        .ok_or(CommitError::Overflow)?;
    if end > 1 << HPA_BITS {
        return Err(CommitError::Overflow);
    }
    let mut dpa = 0u64;
    for (n, before) in decoders[..index].iter().enumerate() {
        if !before.committed {
            return Err(CommitError::Order { missing: n });
        }
        if decoder.base < before.base.saturating_add(before.size) {
            return Err(CommitError::Overlap { with: n });
        }
        dpa = dpa.saturating_add(before.skip).saturating_add(before.size);
    }
    dpa.checked_add(decoder.skip)
        .and_then(|dpa| dpa.checked_add(decoder.size))
        .ok_or(CommitError::Overflow)?;
    Ok(())
}

/// Where a host physical address lands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decode {
    /// Inside the memory: device physical address, bytes.
    Hit(u64),
    /// A decoder takes it, but it is beyond the capacity: answered as a miss (cxl-mem 8.7).
    BeyondCapacity(u64),
    /// No decoder takes it.
    Miss,
}

impl Decode {
    /// The DPA, if the memory has it.
    pub const fn dpa(self) -> Option<u64> {
        match self {
            Decode::Hit(dpa) => Some(dpa),
            _ => None,
        }
    }
}

/// Decodes `hpa` with the committed decoders, for a memory of `capacity` bytes. `enabled` is the global enable.
pub fn decode(decoders: &[Decoder], enabled: bool, capacity: u64, hpa: u64) -> Decode {
    if !enabled {
        return Decode::Miss;
    }
    let mut dpa_base = 0u64;
    for decoder in decoders.iter().filter(|decoder| decoder.committed) {
        dpa_base = dpa_base.wrapping_add(decoder.skip);
        let offset = hpa.wrapping_sub(decoder.base);
        if offset < decoder.size {
            let dpa = dpa_base.wrapping_add(offset);
            return if dpa < capacity {
                Decode::Hit(dpa)
            } else {
                Decode::BeyondCapacity(dpa)
            };
        }
        dpa_base = dpa_base.wrapping_add(decoder.size);
    }
    Decode::Miss
}
