//! What the CRC of a flit detects, by exhaustion: an error is unseen exactly if its syndrome is zero, and the CRC is linear.

use cxlmem_protocol::flit::Flit;

/// Bits of a flit on the wire, the CRC last.
const BITS: usize = 528;

/// The syndrome of an error in each single bit.
fn syndromes() -> [u16; BITS] {
    std::array::from_fn(|bit| {
        let mut flit = Flit::new([0; 4]);
        let clean = cxlmem_protocol::crc::of(&flit.slots) ^ flit.crc;
        assert_eq!(clean, 0);
        match bit {
            0..512 => flit.slots[bit / 128] ^= 1 << (bit % 128),
            _ => flit.crc ^= 1 << (bit - 512),
        }
        cxlmem_protocol::crc::of(&flit.slots) ^ flit.crc
    })
}

#[test]
fn all_errors_of_one_two_and_three_bits_are_seen() {
    let s = syndromes();
    let (mut patterns, mut unseen) = (0u64, 0u64);
    for i in 0..BITS {
        patterns += 1;
        unseen += u64::from(s[i] == 0);
        for j in i + 1..BITS {
            let two = s[i] ^ s[j];
            patterns += 1;
            unseen += u64::from(two == 0);
            for three in &s[j + 1..] {
                patterns += 1;
                unseen += u64::from(two == *three);
            }
        }
    }
    println!("{patterns} patterns of one to three bits, {unseen} unseen");
    assert_eq!(patterns, 528 + 528 * 527 / 2 + 528 * 527 * 526 / 6);
    assert_eq!(unseen, 0);
}

/// Every burst of up to 16 bits (first and last bit wrong, any between) at every place. Those that escape lie across the boundary of data and CRC, where the
/// order of the CRC's bits breaks the polynomial's own; `seven_short_bursts_across_the_crc_boundary_escape` lists them.
#[test]
fn all_bursts_up_to_16_bits_but_seven_are_seen() {
    let s = syndromes();
    let mut patterns = 0u64;
    let mut unseen = Vec::new();
    for first in 0..BITS {
        let length = 16.min(BITS - first);
        // Sixteen bits from `first` on, of which the first is wrong: every burst that begins there, once. In Gray order each differs from the one before in
        // one bit.
        let (mut syndrome, mut wrong) = (s[first], 1u32);
        for n in 0..1u32 << (length - 1) {
            if n > 0 {
                let bit = n.trailing_zeros() as usize + 1;
                syndrome ^= s[first + bit];
                wrong ^= 1 << bit;
            }
            patterns += 1;
            if syndrome == 0 {
                unseen.push((first, wrong));
            }
        }
    }
    println!("{patterns} bursts of up to 16 bits, unseen (first bit, pattern): {unseen:x?}");
    assert_eq!(patterns, 513 * (1 << 15) + ((1 << 15) - 1));
    assert_eq!(unseen.len(), 7);
    for (first, wrong) in unseen {
        let last = first + wrong.ilog2() as usize;
        assert!(first < 512 && last >= 512, "bits {first} to {last}");
    }
}

/// A burst longer than the CRC escapes at one in 2^16, as any other pattern; with 17 bits at one in 2^15.
#[test]
fn longer_bursts_escape_at_the_rate_of_chance() {
    const BURSTS: u64 = 4_000_000;
    let s = syndromes();
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        random.wrapping_mul(0x2545_F491_4F6C_DD1D)
    };
    for (length, rate) in [
        (17u64, 1.0 / 32768.0),
        (24, 1.0 / 65536.0),
        (48, 1.0 / 65536.0),
    ] {
        let mut escaped = 0u64;
        for _ in 0..BURSTS {
            let first = (next() >> 20) % (BITS as u64 - length + 1);
            let between = next() >> 8 & ((1 << (length - 2)) - 1);
            let mut pattern = 1 | between << 1 | 1 << (length - 1);
            let mut syndrome = 0;
            while pattern != 0 {
                syndrome ^= s[(first + u64::from(pattern.trailing_zeros())) as usize];
                pattern &= pattern - 1;
            }
            escaped += u64::from(syndrome == 0);
        }
        let expected = BURSTS as f64 * rate;
        println!("bursts of {length} bits: {escaped} of {BURSTS} escaped, expected {expected:.0}");
        // Five standard deviations of a rare event; the run is the same every time.
        assert!((escaped as f64 - expected).abs() < 5.0 * expected.sqrt());
    }
}
