//! CRC-16 of the 68-byte flit (cxl-mem 3.10): polynomial 0x1F053, init 0, flit bit *i* is the coefficient of x^i.
//!
//! Every burst of up to 16 bits inside the four slots, or inside the CRC, is seen. Of those that straddle flit bit 511 and the CRC
//! seven are not (the test `seven_short_bursts_across_the_crc_boundary_escape` lists them): that is a property of the bit order, so "no
//! loss for bursts up to 16 bits" (cxl-mem 8.4) holds but for these. `tests/crc_detects.rs` tries all short bursts and all errors of
//! one to three bits.
//!
//! Three forms of one function, all generated from the polynomial at compile time: XOR masks over the whole flit ([`MASKS`]), a
//! step per slot for hardware that sees slots 0, 1, 2, 3 in order ([`STEP_ACC`], [`STEP_SLOT`]), and tables for software ([`of`]).

/// The polynomial, x^16 included.
pub const POLY: u32 = 0x1_F053;

/// `v * x mod P`.
const fn times_x(v: u16) -> u16 {
    if v & 0x8000 != 0 {
        (v << 1) ^ (POLY as u16)
    } else {
        v << 1
    }
}

/// `v * x^-1 mod P`; exists because P has a constant term.
const fn over_x(v: u16) -> u16 {
    if v & 1 != 0 {
        ((v as u32 ^ POLY) >> 1) as u16
    } else {
        v >> 1
    }
}

/// `x^n mod P`.
const fn x_to(n: u32) -> u16 {
    let mut v = 1u16;
    let mut k = 0;
    while k < n {
        v = times_x(v);
        k += 1;
    }
    v
}

/// XOR masks: CRC bit *b* is the parity of `slot[n] & MASKS[b][n]` over the four slots *n*.
pub static MASKS: [[u128; 4]; 16] = {
    let mut masks = [[0u128; 4]; 16];
    let mut power = x_to(16);
    let mut i = 0;
    while i < 512 {
        let mut b = 0;
        while b < 16 {
            if power >> b & 1 == 1 {
                masks[b][i / 128] |= 1 << (i % 128);
            }
            b += 1;
        }
        power = times_x(power);
        i += 1;
    }
    masks
};

/// Step matrix for the accumulator: bit *b* of the next accumulator includes the parity of `acc & STEP_ACC[b]` (x^-128).
pub static STEP_ACC: [u16; 16] = {
    let mut rows = [0u16; 16];
    let mut i = 0;
    while i < 16 {
        let mut v = 1u16 << i;
        let mut k = 0;
        while k < 128 {
            v = over_x(v);
            k += 1;
        }
        let mut b = 0;
        while b < 16 {
            rows[b] |= (v >> b & 1) << i;
            b += 1;
        }
        i += 1;
    }
    rows
};

/// Step matrix for the slot: bit *b* of the next accumulator includes the parity of `slot & STEP_SLOT[b]` (x^(16+384)).
///
/// The same as slot 3 of [`MASKS`], so that one XOR tree serves all four slots: an accumulator starts at 0 with slot 0 and is
/// the flit's CRC after slot 3.
pub static STEP_SLOT: [u128; 16] = {
    let mut rows = [0u128; 16];
    let mut power = x_to(16 + 384);
    let mut i = 0;
    while i < 128 {
        let mut b = 0;
        while b < 16 {
            rows[b] |= ((power >> b & 1) as u128) << i;
            b += 1;
        }
        power = times_x(power);
        i += 1;
    }
    rows
};

/// One hardware step: `x^-128 * acc + slot * x^400 mod P`.
pub fn step(acc: u16, slot: u128) -> u16 {
    let mut next = 0u16;
    for b in 0..16 {
        let ones = (acc & STEP_ACC[b]).count_ones() + (slot & STEP_SLOT[b]).count_ones();
        next |= ((ones & 1) as u16) << b;
    }
    next
}

/// The CRC by masks, as hardware that sees the whole flit would compute it.
pub fn by_masks(slots: &[u128; 4]) -> u16 {
    let mut crc = 0u16;
    for (b, mask) in MASKS.iter().enumerate() {
        let ones: u32 = slots
            .iter()
            .zip(mask)
            .map(|(slot, mask)| (slot & mask).count_ones())
            .sum();
        crc |= ((ones & 1) as u16) << b;
    }
    crc
}

/// `TABLE[k][byte]` = `byte * x^(8k+16) mod P`: 16 tables, one slot at a time, 8 KiB.
static TABLE: [[u16; 256]; 16] = {
    let mut table = [[0u16; 256]; 16];
    let mut base = x_to(16);
    let mut k = 0;
    while k < 16 {
        let mut byte = 1;
        while byte < 256 {
            let half = table[k][byte >> 1];
            // byte = 2 * (byte >> 1) + low bit
            table[k][byte] = times_x(half) ^ if byte & 1 == 1 { base } else { 0 };
            byte += 1;
        }
        let mut n = 0;
        while n < 8 {
            base = times_x(base);
            n += 1;
        }
        k += 1;
    }
    table
};

/// The CRC of a flit given as its four slots; the form for software.
#[inline]
pub fn of(slots: &[u128; 4]) -> u16 {
    let mut crc = 0u16;
    // The highest power first: what is folded so far enters as the top 16 bits of the next slot (x^128 * crc).
    for slot in slots.iter().rev() {
        let bytes = (slot ^ (u128::from(crc) << 112)).to_le_bytes();
        crc = 0;
        for (table, byte) in TABLE.iter().zip(bytes) {
            crc ^= table[usize::from(byte)];
        }
    }
    crc
}
