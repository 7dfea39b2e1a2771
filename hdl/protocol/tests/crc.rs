//! CRC-16 against the vectors of cxl-mem 3.10, and its forms against each other.

mod common;

use cxlmem_protocol::{crc, flit::Flit};
use proptest::prelude::*;

fn bytes(set: &[(usize, u8)]) -> [u8; 64] {
    let mut out = [0; 64];
    for (at, value) in set {
        out[*at] = *value;
    }
    out
}

fn slots(bytes: &[u8; 64]) -> [u128; 4] {
    std::array::from_fn(|n| u128::from_le_bytes(bytes[16 * n..16 * n + 16].try_into().unwrap()))
}

/// The bit-serial form of cxl-mem 3.10, bit 511 first.
fn serial(bytes: &[u8; 64]) -> u16 {
    let mut crc = 0u16;
    for i in (0..512).rev() {
        let d = u16::from(bytes[i / 8] >> (i % 8) & 1);
        let fb = crc >> 15 ^ d;
        crc = (crc << 1) ^ if fb == 1 { 0xF053 } else { 0 };
    }
    crc
}

fn all_forms(bytes: &[u8; 64]) -> [u16; 4] {
    let slots = slots(bytes);
    [
        serial(bytes),
        crc::of(&slots),
        crc::by_masks(&slots),
        slots.iter().fold(0, |acc, slot| crc::step(acc, *slot)),
    ]
}

#[test]
fn vectors() {
    let ascending: [u8; 64] = std::array::from_fn(|n| n as u8);
    let descending: [u8; 64] = std::array::from_fn(|n| 0x3F - n as u8);
    let cases: [(&str, [u8; 64], u16); 14] = [
        ("all zero", [0; 64], 0x0000),
        ("bit 0", bytes(&[(0, 1)]), 0xF053),
        ("bit 1", bytes(&[(0, 2)]), 0x10F5),
        ("bit 31", bytes(&[(3, 0x80)]), 0x1989),
        ("bit 511", bytes(&[(63, 0x80)]), 0xC47D),
        ("all ones", [0xFF; 64], 0x7856),
        ("ascending", ascending, 0xABF7),
        ("descending", descending, 0x6BBD),
        ("A5", [0xA5; 64], 0xBE29),
        ("RETRY.Idle", bytes(&[(0, 1), (4, 1)]), 0xC341),
        ("RETRY.Frame", bytes(&[(0, 1), (4, 0x31)]), 0x4198),
        (
            "RETRY.Req",
            bytes(&[(0, 1), (4, 0x11), (8, 5), (10, 1)]),
            0xBE8F,
        ),
        ("LLCRD.Ack", bytes(&[(0, 1), (4, 0x10)]), 0x21D5),
        (
            "INIT.Param",
            bytes(&[(0, 1), (4, 0x8C), (8, 2), (11, 9)]),
            0xFF03,
        ),
    ];
    for (name, flit, want) in cases {
        assert_eq!(all_forms(&flit), [want; 4], "{name}");
    }
}

#[test]
fn one_tree_serves_all_slots() {
    for b in 0..16 {
        assert_eq!(crc::STEP_SLOT[b], crc::MASKS[b][3]);
    }
}

proptest! {
    #![proptest_config(common::config())]
    #[test]
    fn forms_agree(slots: [u128; 4]) {
        let bytes: [u8; 64] = Flit::new(slots).to_bytes()[..64].try_into().unwrap();
        let forms = all_forms(&bytes);
        prop_assert!(forms.iter().all(|crc| *crc == forms[0]), "{forms:x?}");
    }
    #[test]
    fn short_bursts_in_the_slots_are_seen(slots: [u128; 4], at in 0usize..497, burst in 1u16..) {
        let mut bytes = Flit::new(slots).to_bytes();
        let mut wide = u32::from(burst) << (at % 8);
        for byte in &mut bytes[at / 8..(at / 8 + 3).min(64)] {
            *byte ^= wide as u8;
            wide >>= 8;
        }
        prop_assert!(!Flit::from_bytes(&bytes).crc_ok());
    }
}

/// The CRC's highest power sits next to the flit's highest bit, not its lowest: so bursts of up to 16 bits that straddle flit
/// bit 511 and the CRC are not all seen. These seven are the whole list, as flit bits 511:498 and CRC.
#[test]
fn seven_short_bursts_across_the_crc_boundary_escape() {
    let mut escapes = std::collections::BTreeSet::new();
    for in_flit in 1u32..16 {
        for pattern in 1u128..1 << in_flit {
            let top = pattern << (128 - in_flit);
            let crc = crc::of(&[0, 0, 0, top]);
            if u32::from(crc) < 1 << (16 - in_flit) {
                escapes.insert(((top >> 112) as u16, crc));
            }
        }
    }
    let want = [
        (0xD000, 1275),
        (0xF200, 188),
        (0xF200 >> 1, 94),
        (0xF200 >> 2, 47),
        (0x8B00, 226),
        (0x8B00 >> 1, 113),
        (8635 << 2, 1),
    ];
    assert_eq!(escapes, want.into_iter().collect());
}
