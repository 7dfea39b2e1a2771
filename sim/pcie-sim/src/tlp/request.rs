//! Memory requests: which bytes they cover.

use super::{Bdf, Malformed};

/// Address, length and byte enables of a memory request, with who asks.
///
/// Addresses below 4 GiB travel in the 3-DW header and others in the 4-DW header; the choice follows from the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemRequest {
    /// Who asks.
    pub requester: Bdf,
    /// Transaction tag, 10 bits.
    pub tag: u16,
    /// Address of the first DW; a multiple of 4.
    pub addr: u64,
    /// Length in DW, 1..=1024.
    pub dwords: u16,
    /// First DW byte enables, 4 bits.
    pub first_be: u8,
    /// Last DW byte enables, 4 bits; zero for one DW.
    pub last_be: u8,
}

impl MemRequest {
    /// The request that covers exactly `bytes` bytes at `addr`, whatever their alignment.
    ///
    /// # Errors
    /// [`Malformed`] if `bytes` is zero, the span crosses 4 KiB, or `tag` has more than ten bits.
    pub fn span(requester: Bdf, tag: u16, addr: u64, bytes: usize) -> Result<Self, Malformed> {
        if bytes == 0 || bytes > 4096 {
            return Err(Malformed::field(
                "Length",
                bytes as u64,
                "a byte span holds 1 to 4096 bytes",
            ));
        }
        let lead = (addr & 3) as usize;
        let dwords = (lead + bytes).div_ceil(4);
        let end = (lead + bytes) & 3;
        let head = 0xF << lead & 0xF;
        let tail = if end == 0 { 0xF } else { 0xF >> (4 - end) };
        let (first_be, last_be) = if dwords == 1 {
            (head & tail, 0)
        } else {
            (head, tail)
        };
        let request = MemRequest {
            requester,
            tag,
            addr: addr & !3,
            dwords: dwords as u16,
            first_be,
            last_be,
        };
        request.validate()?;
        Ok(request)
    }

    /// Bytes from the first enabled to the last enabled one: the Byte Count of a read's first completion. A zero-length read counts 1.
    pub fn byte_count(&self) -> usize {
        let bytes = self.dwords as usize * 4;
        let skipped = self.first_be.trailing_zeros().min(3) as usize;
        match (self.dwords, self.first_be) {
            (1, 0) => 1,
            (1, be) => 8 - be.leading_zeros() as usize - skipped,
            _ => {
                bytes.saturating_sub(skipped + (self.last_be << 4).leading_zeros().min(3) as usize)
            }
        }
    }

    /// Address of the first enabled byte (of the first DW for a zero-length request).
    pub fn first_byte(&self) -> u64 {
        let skipped = if self.first_be == 0 {
            0
        } else {
            self.first_be.trailing_zeros()
        };
        self.addr.wrapping_add(u64::from(skipped))
    }

    /// Whether payload byte `index` (from the first DW's byte 0) is enabled.
    pub fn byte_enabled(&self, index: usize) -> bool {
        let dw = index / 4;
        let be = if dw == 0 {
            self.first_be
        } else if dw + 1 == self.dwords as usize {
            self.last_be
        } else {
            0xF
        };
        be >> (index % 4) & 1 == 1
    }

    pub(super) fn validate(&self) -> Result<(), Malformed> {
        let MemRequest {
            addr,
            dwords,
            first_be: first,
            last_be: last,
            ..
        } = *self;
        check_tag(self.tag)?;
        if addr & 3 != 0 {
            return Err(Malformed::field(
                "Address",
                addr,
                "a request starts at a DW",
            ));
        }
        if dwords == 0 || dwords > 1024 {
            return Err(Malformed::field("Length", dwords, "1 to 1024 DW"));
        }
        if first > 15 || last > 15 || !byte_enables_allowed(addr, dwords, first, last) {
            return Err(Malformed::ByteEnables {
                first,
                last,
                dwords,
                addr,
            });
        }
        let bytes = dwords as usize * 4;
        if (addr & 0xFFF) as usize + bytes > 4096 {
            return Err(Malformed::Crosses4K { addr, bytes });
        }
        Ok(())
    }
}

/// One DW: any first enables, no last ones. Two DW at a QW boundary: any but zero. Otherwise the enabled bytes must be contiguous.
fn byte_enables_allowed(addr: u64, dwords: u16, first: u8, last: u8) -> bool {
    match dwords {
        1 => last == 0,
        2 if addr & 7 == 0 => first != 0 && last != 0,
        _ => matches!(first, 0xF | 0xE | 0xC | 0x8) && matches!(last, 0xF | 0x7 | 0x3 | 0x1),
    }
}

pub(super) fn check_tag(tag: u16) -> Result<(), Malformed> {
    if tag > 0x3FF {
        return Err(Malformed::field("Tag", tag, "ten bits"));
    }
    Ok(())
}
