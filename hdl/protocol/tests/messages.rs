//! Messages: bit positions against a table typed in by hand from cxl-mem 1.2, every encoding, random round trips.

mod common;

use bitvec::prelude::*;
use cxlmem_protocol::msg::*;
use proptest::prelude::*;

/// `(message, bits, [(field, high, low)])`, from the reference's tables, not from the code.
type Table = (MessageDef, u32, &'static [(&'static str, u32, u32)]);

const TABLES: [Table; 6] = [
    (
        M2sReq::DEF,
        87,
        &[
            ("Valid", 0, 0),
            ("MemOpcode", 4, 1),
            ("SnpType", 7, 5),
            ("MetaField", 9, 8),
            ("MetaValue", 11, 10),
            ("Tag", 27, 12),
            ("Address", 74, 28),
            ("TC", 76, 75),
            ("LD-ID", 80, 77),
            ("RSVD", 86, 81),
        ],
    ),
    (
        M2sRwd::DEF,
        87,
        &[
            ("Valid", 0, 0),
            ("MemOpcode", 4, 1),
            ("SnpType", 7, 5),
            ("MetaField", 9, 8),
            ("MetaValue", 11, 10),
            ("Tag", 27, 12),
            ("Address", 73, 28),
            ("Poison", 74, 74),
            ("TC", 76, 75),
            ("LD-ID", 80, 77),
            ("RSVD", 86, 81),
        ],
    ),
    (
        M2sBiRsp::DEF,
        40,
        &[
            ("Valid", 0, 0),
            ("Opcode", 4, 1),
            ("BI-ID", 16, 5),
            ("BITag", 28, 17),
            ("LowAddr", 30, 29),
            ("RSVD", 39, 31),
        ],
    ),
    (
        S2mBiSnp::DEF,
        84,
        &[
            ("Valid", 0, 0),
            ("Opcode", 4, 1),
            ("BI-ID", 16, 5),
            ("BITag", 28, 17),
            ("Address", 74, 29),
            ("RSVD", 83, 75),
        ],
    ),
    (
        S2mNdr::DEF,
        30,
        &[
            ("Valid", 0, 0),
            ("Opcode", 3, 1),
            ("MetaField", 5, 4),
            ("MetaValue", 7, 6),
            ("Tag", 23, 8),
            ("LD-ID", 27, 24),
            ("DevLoad", 29, 28),
        ],
    ),
    (
        S2mDrs::DEF,
        40,
        &[
            ("Valid", 0, 0),
            ("Opcode", 3, 1),
            ("MetaField", 5, 4),
            ("MetaValue", 7, 6),
            ("Tag", 23, 8),
            ("Poison", 24, 24),
            ("LD-ID", 28, 25),
            ("DevLoad", 30, 29),
            ("RSVD", 39, 31),
        ],
    ),
];

#[test]
fn layouts_equal_the_reference() {
    for (def, bits, fields) in TABLES {
        assert_eq!(def.bits, bits, "{}", def.name);
        assert_eq!(def.fields.len(), fields.len(), "{}", def.name);
        for (have, (name, high, low)) in def.fields.iter().zip(fields) {
            assert_eq!(
                (have.name, have.lsb, have.lsb + have.width - 1),
                (*name, *low, *high),
                "{}",
                def.name
            );
        }
    }
}

/// Bits `high:low` of a packed message.
fn bits(raw: u128, high: usize, low: usize) -> u64 {
    let words = [raw as u64, (raw >> 64) as u64];
    words.view_bits::<Lsb0>()[low..=high].load_le()
}

/// One message of each type with a different value in every field, checked bit by bit without the code's own table.
#[test]
fn packed_bits_are_where_the_reference_says() {
    let req = M2sReq {
        opcode: M2sReqOpcode::MemInvNt,
        snp_type: SnpType::SnpInv,
        meta_field: MetaField::Meta0State,
        meta_value: MetaValue::A,
        tag: 0xA55A,
        address: 0xF_0123_4567_89A0,
        tc: 1,
        ld_id: 0xB,
    }
    .pack();
    for (high, low, value) in [
        (0, 0, 1),
        (4, 1, 9),
        (7, 5, 3),
        (9, 8, 0),
        (11, 10, 2),
        (27, 12, 0xA55A),
        (74, 28, 0xF_0123_4567_89A0 >> 5),
        (76, 75, 1),
        (80, 77, 0xB),
        (86, 81, 0),
    ] {
        assert_eq!(bits(req, high, low), value, "M2S Req [{high}:{low}]");
    }
    assert_eq!(req >> 87, 0);

    let rwd = M2sRwd {
        opcode: M2sRwdOpcode::MemWrPtl,
        snp_type: SnpType::SnpData,
        meta_field: MetaField::NoOp,
        meta_value: MetaValue::S,
        tag: 0x1234,
        address: 0xA_BCDE_F012_3440,
        poison: true,
        tc: 2,
        ld_id: 5,
    }
    .pack();
    for (high, low, value) in [
        (0, 0, 1),
        (4, 1, 2),
        (7, 5, 1),
        (9, 8, 3),
        (11, 10, 3),
        (27, 12, 0x1234),
        (73, 28, 0xA_BCDE_F012_3440 >> 6),
        (74, 74, 1),
        (76, 75, 2),
        (80, 77, 5),
        (86, 81, 0),
    ] {
        assert_eq!(bits(rwd, high, low), value, "M2S RwD [{high}:{low}]");
    }

    let birsp = M2sBiRsp {
        opcode: M2sBiRspOpcode::BiRspE,
        bi_id: 0xABC,
        bi_tag: 0x123,
        low_addr: 2,
    }
    .pack();
    for (high, low, value) in [
        (0, 0, 1),
        (4, 1, 2),
        (16, 5, 0xABC),
        (28, 17, 0x123),
        (30, 29, 2),
        (39, 31, 0),
    ] {
        assert_eq!(bits(birsp, high, low), value, "M2S BIRsp [{high}:{low}]");
    }

    let bisnp = S2mBiSnp {
        opcode: S2mBiSnpOpcode::BiSnpInvBlk,
        bi_id: 0x765,
        bi_tag: 0xFED,
        address: 0xF_FFFF_0000_00C0,
    }
    .pack();
    for (high, low, value) in [
        (0, 0, 1),
        (4, 1, 6),
        (16, 5, 0x765),
        (28, 17, 0xFED),
        (74, 29, 0xF_FFFF_0000_00C0 >> 6),
        (83, 75, 0),
    ] {
        assert_eq!(bits(bisnp, high, low), value, "S2M BISnp [{high}:{low}]");
    }

    let ndr = S2mNdr {
        opcode: S2mNdrOpcode::BiConflictAck,
        meta_field: MetaField::Meta0State,
        meta_value: MetaValue::S,
        tag: 0xBEEF,
        ld_id: 9,
        dev_load: DevLoad::Moderate,
    }
    .pack();
    for (high, low, value) in [
        (0, 0, 1),
        (3, 1, 4),
        (5, 4, 0),
        (7, 6, 3),
        (23, 8, 0xBEEF),
        (27, 24, 9),
        (29, 28, 2),
    ] {
        assert_eq!(bits(ndr, high, low), value, "S2M NDR [{high}:{low}]");
    }
    assert_eq!(ndr >> 30, 0);

    let drs = S2mDrs {
        opcode: S2mDrsOpcode::MemDataNxm,
        meta_field: MetaField::NoOp,
        meta_value: MetaValue::ExplicitNoOp,
        tag: 0xC0DE,
        poison: true,
        ld_id: 6,
        dev_load: DevLoad::Optimal,
    }
    .pack();
    for (high, low, value) in [
        (0, 0, 1),
        (3, 1, 1),
        (5, 4, 3),
        (7, 6, 1),
        (23, 8, 0xC0DE),
        (24, 24, 1),
        (28, 25, 6),
        (30, 29, 1),
        (39, 31, 0),
    ] {
        assert_eq!(bits(drs, high, low), value, "S2M DRS [{high}:{low}]");
    }
}

/// `(field, supported codes)` per message, typed in from cxl-mem 1.3 and 1.4. All other codes must be refused.
const CODES: [(&str, &str, &[u64]); 18] = [
    ("M2S Req", "MemOpcode", &[0, 1, 2, 3, 4, 8, 9, 10]),
    ("M2S Req", "SnpType", &[0, 1, 2, 3]),
    ("M2S Req", "MetaField", &[0, 3]),
    ("M2S Req", "MetaValue", &[0, 1, 2, 3]),
    ("M2S RwD", "MemOpcode", &[1, 2, 4]),
    ("M2S RwD", "SnpType", &[0, 1, 2, 3]),
    ("M2S RwD", "MetaField", &[0, 3]),
    ("M2S RwD", "MetaValue", &[0, 1, 2, 3]),
    ("M2S BIRsp", "Opcode", &[0, 1, 2, 4, 5, 6]),
    ("S2M BISnp", "Opcode", &[0, 1, 2, 4, 5, 6]),
    ("S2M NDR", "Opcode", &[0, 1, 2, 4]),
    ("S2M NDR", "MetaField", &[0, 3]),
    ("S2M NDR", "MetaValue", &[0, 1, 2, 3]),
    ("S2M NDR", "DevLoad", &[0, 1, 2, 3]),
    ("S2M DRS", "Opcode", &[0, 1]),
    ("S2M DRS", "MetaField", &[0, 3]),
    ("S2M DRS", "MetaValue", &[0, 1, 2, 3]),
    ("S2M DRS", "DevLoad", &[0, 1, 2, 3]),
];

fn unpack_any(message: &str, raw: u128) -> Result<bool, DecodeError> {
    Ok(match message {
        "M2S Req" => M2sReq::unpack(raw)?.is_some(),
        "M2S RwD" => M2sRwd::unpack(raw)?.is_some(),
        "M2S BIRsp" => M2sBiRsp::unpack(raw)?.is_some(),
        "S2M BISnp" => S2mBiSnp::unpack(raw)?.is_some(),
        "S2M NDR" => S2mNdr::unpack(raw)?.is_some(),
        "S2M DRS" => S2mDrs::unpack(raw)?.is_some(),
        other => panic!("no message {other}"),
    })
}

#[test]
fn reserved_and_unsupported_codes_are_errors_that_name_them() {
    for (message, field, good) in CODES {
        let (def, ..) = TABLES.iter().find(|(def, ..)| def.name == message).unwrap();
        let bits = def.fields.iter().find(|f| f.name == field).unwrap();
        // A legal message to start from: an ordinary opcode, MetaField No-Op.
        let base = match message {
            "M2S Req" | "M2S RwD" => 1 | (1 << 1) | (3 << 8),
            _ => 1u128,
        };
        assert_eq!(unpack_any(message, base), Ok(true), "{message}");
        for code in 0..1u64 << bits.width {
            let raw = bits.with(base, code);
            let got = unpack_any(message, raw);
            if good.contains(&code) {
                assert_eq!(got, Ok(true), "{message} {field} {code}");
            } else {
                let text = got.expect_err("must be refused").to_string();
                assert!(text.contains(message) && text.contains(field), "{text}");
                assert!(text.contains(&format!("{code:#x}")), "{text}");
            }
            assert_eq!(
                unpack_any(message, raw & !1),
                Ok(false),
                "Valid 0 is empty, whatever follows"
            );
        }
    }
}

#[test]
fn unused_fields_of_hints_and_conflicts_are_ignored() {
    let junk = 1 | (0x7f << 5);
    let req = M2sReq::unpack(junk | (8 << 1)).unwrap().unwrap();
    assert_eq!(
        (req.opcode, req.meta_field),
        (M2sReqOpcode::MemSpecRd, MetaField::NoOp)
    );
    let rwd = M2sRwd::unpack(junk | (4 << 1)).unwrap().unwrap();
    assert_eq!(
        (rwd.opcode, rwd.snp_type),
        (M2sRwdOpcode::BiConflict, SnpType::NoOp)
    );
}

fn one_of<T: Copy + std::fmt::Debug + 'static>(
    all: &'static [T],
    supported: fn(T) -> bool,
) -> impl Strategy<Value = T> {
    prop::sample::select(
        all.iter()
            .copied()
            .filter(|v| supported(*v))
            .collect::<Vec<_>>(),
    )
}
fn meta() -> impl Strategy<Value = (MetaField, MetaValue)> {
    (
        one_of(MetaField::ALL, MetaField::supported),
        one_of(MetaValue::ALL, MetaValue::supported),
    )
}

prop_compose! {
    fn any_req()(opcode in one_of(M2sReqOpcode::ALL, M2sReqOpcode::supported), snp in one_of(SnpType::ALL, SnpType::supported),
                 meta in meta(), tag: u16, line in 0u64..1 << 47, tc in 0u8..4, ld_id in 0u8..16) -> M2sReq {
        let hint = opcode == M2sReqOpcode::MemSpecRd;
        M2sReq {
            opcode,
            snp_type: if hint { SnpType::NoOp } else { snp },
            meta_field: if hint { MetaField::NoOp } else { meta.0 },
            meta_value: if hint { MetaValue::I } else { meta.1 },
            tag, address: line << 5, tc, ld_id,
        }
    }
}
prop_compose! {
    fn any_rwd()(opcode in one_of(M2sRwdOpcode::ALL, M2sRwdOpcode::supported), snp in one_of(SnpType::ALL, SnpType::supported),
                 meta in meta(), tag: u16, line in 0u64..1 << 46, poison: bool, tc in 0u8..4, ld_id in 0u8..16) -> M2sRwd {
        let conflict = opcode == M2sRwdOpcode::BiConflict;
        M2sRwd {
            opcode,
            snp_type: if conflict { SnpType::NoOp } else { snp },
            meta_field: if conflict { MetaField::NoOp } else { meta.0 },
            meta_value: if conflict { MetaValue::I } else { meta.1 },
            tag, address: line << 6, poison, tc, ld_id,
        }
    }
}

proptest! {
    #![proptest_config(common::config())]
    #[test]
    fn req_round_trip(m in any_req(), rsvd in 0u128..64) {
        prop_assert_eq!(M2sReq::unpack(m.pack()), Ok(Some(m)));
        prop_assert_eq!(M2sReq::unpack(m.pack() | (rsvd << 81) | (1 << 87)), Ok(Some(m)), "reserved bits are ignored");
    }
    #[test]
    fn rwd_round_trip(m in any_rwd()) {
        prop_assert_eq!(M2sRwd::unpack(m.pack()), Ok(Some(m)));
    }
    #[test]
    fn birsp_round_trip(opcode in one_of(M2sBiRspOpcode::ALL, M2sBiRspOpcode::supported),
                        bi_id in 0u16..4096, bi_tag in 0u16..4096, low_addr in 0u8..4) {
        let m = M2sBiRsp { opcode, bi_id, bi_tag, low_addr };
        prop_assert_eq!(M2sBiRsp::unpack(m.pack()), Ok(Some(m)));
    }
    #[test]
    fn bisnp_round_trip(opcode in one_of(S2mBiSnpOpcode::ALL, S2mBiSnpOpcode::supported),
                        bi_id in 0u16..4096, bi_tag in 0u16..4096, line in 0u64..1 << 46) {
        let m = S2mBiSnp { opcode, bi_id, bi_tag, address: line << 6 };
        prop_assert_eq!(S2mBiSnp::unpack(m.pack()), Ok(Some(m)));
    }
    #[test]
    fn ndr_round_trip(opcode in one_of(S2mNdrOpcode::ALL, S2mNdrOpcode::supported), meta in meta(),
                      tag: u16, ld_id in 0u8..16, dev_load in one_of(DevLoad::ALL, DevLoad::supported)) {
        let m = S2mNdr { opcode, meta_field: meta.0, meta_value: meta.1, tag, ld_id, dev_load };
        prop_assert_eq!(S2mNdr::unpack(m.pack()), Ok(Some(m)));
    }
    #[test]
    fn drs_round_trip(opcode in one_of(S2mDrsOpcode::ALL, S2mDrsOpcode::supported), meta in meta(), poison: bool,
                      tag: u16, ld_id in 0u8..16, dev_load in one_of(DevLoad::ALL, DevLoad::supported)) {
        let m = S2mDrs { opcode, meta_field: meta.0, meta_value: meta.1, tag, poison, ld_id, dev_load };
        prop_assert_eq!(S2mDrs::unpack(m.pack()), Ok(Some(m)));
    }
    #[test]
    fn no_bits_make_unpack_panic(raw: u128) {
        for (def, ..) in TABLES {
            let _ = unpack_any(def.name, raw | 1);
        }
    }
}
