use super::*;
use cxlmem_protocol::flit::control::Control;
use cxlmem_protocol::flit::{Credits, FlitHeader};
use cxlmem_protocol::msg::*;
use cxlmem_protocol::pack::{self, M2sPacker, S2mPacker};
use proptest::prelude::*;
use serde_json::json;

const PLENTY: Credits = Credits {
    req: 99,
    data: 99,
    rsp: 99,
};

fn decode_text(direction: Way, hex: &str, rollover: u8, json: bool) -> Result<String> {
    decode(&Decode {
        direction,
        rollover,
        json,
        hex: vec![hex.to_owned()],
    })
}

fn encode_text(json: &str) -> Result<String> {
    encode(&Encode {
        direction: None,
        json: json.to_owned(),
    })
}

/// A write with byte enables and a read, as the packer sends them: three flits, one all data.
fn m2s_stream() -> String {
    let mut packer = M2sPacker::<4, 4>::new();
    packer.grant(PLENTY);
    packer.owe(Credits {
        req: 0,
        data: 3,
        rsp: 1,
    });
    let header = M2sRwd {
        opcode: M2sRwdOpcode::MemWrPtl,
        tag: 0x77,
        address: 0x1040,
        ..Default::default()
    };
    let data = std::array::from_fn(|n| n as u8);
    packer
        .push_write(&pack::Write {
            header,
            data,
            be: Some(0xF0),
        })
        .unwrap();
    packer
        .push_write(&pack::Write {
            header: M2sRwd {
                tag: 0x78,
                ..header
            },
            data,
            be: Some(1),
        })
        .unwrap();
    packer
        .push_req(&M2sReq {
            opcode: M2sReqOpcode::MemRd,
            tag: 5,
            address: 0x4000_0020,
            ..Default::default()
        })
        .unwrap();
    std::iter::from_fn(|| packer.next_flit())
        .map(|flit| hex::print(&flit.to_bytes()) + "\n")
        .collect()
}

#[test]
fn a_stream_in_words() {
    insta::assert_snapshot!(decode_text(Way::M2s, &m2s_stream(), 0, false).unwrap());
}

#[test]
fn a_flit_in_json() {
    let mut packer = S2mPacker::<4, 4>::new();
    packer.grant(PLENTY);
    packer.owe(Credits {
        req: 16,
        data: 2,
        rsp: 0,
    });
    for tag in [1, 2] {
        packer
            .push_ndr(&S2mNdr {
                tag,
                dev_load: DevLoad::Optimal,
                ..Default::default()
            })
            .unwrap();
    }
    let flit = packer.next_flit().unwrap();
    let text = decode_text(Way::S2m, &hex::print(&flit.to_bytes()), 0, true).unwrap();
    let ndr = |tag, bit| {
        json!({
            "slot": 0, "message": "S2M NDR", "bit": bit, "Valid": 1, "Opcode": "Cmp", "MetaField": "No-Op",
            "MetaValue": "I", "Tag": tag, "LD-ID": 0, "DevLoad": "Optimal-Load",
        })
    };
    let empty = |slot| json!({ "slot": slot, "format": "G5", "content": "empty" });
    let want = json!({
        "direction": "s2m", "kind": "protocol", "rollover": 0, "crc": format!("{:#06x}", flit.crc), "crc_ok": true,
        "header": {
            "Type": 0, "Ak": 0, "BE": 0, "Sz": 0, "Slot0": 4, "Slot1": 5, "Slot2": 5, "Slot3": 5, "RspCrd": 0,
            "ReqCrd": 13, "DataCrd": 10,
        },
        "slots": [{ "slot": 0, "format": "H4", "content": "S2M NDR + S2M NDR" }, empty(1), empty(2), empty(3)],
        "messages": [ndr(1, 32), ndr(2, 60)],
        "lines": [],
        "errors": [],
    });
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&text).unwrap(),
        want
    );
}

#[test]
fn decode_then_encode_is_the_identity() {
    let stream = m2s_stream();
    let json = decode_text(Way::M2s, &stream, 0, true).unwrap();
    assert_eq!(encode_text(&json).unwrap(), stream);
    assert!(stream.lines().count() > 2 && json.contains("\"all-data\""));
}

#[test]
fn short_objects_are_enough() {
    let hex = encode_text(
        r#"{"direction":"m2s","messages":[{"slot":0,"message":"M2S Req","MemOpcode":"MemRd","Tag":7,"Address":"0x1000"}]}"#,
    )
    .unwrap();
    let json: serde_json::Value =
        serde_json::from_str(&decode_text(Way::M2s, &hex, 0, true).unwrap()).unwrap();
    let message = &json["messages"][0];
    assert_eq!(
        (&message["MemOpcode"], &message["Tag"], &message["Address"]),
        (&"MemRd".into(), &7.into(), &4096.into())
    );
    assert_eq!(message["MetaField"], "No-Op");
    assert_eq!(
        (&json["crc_ok"], &json["header"]["Slot0"]),
        (&true.into(), &5.into())
    );
    assert_eq!(json["errors"].as_array().unwrap().len(), 0);

    let init =
        encode_text(r#"{"direction":"m2s","control":{"INIT.Param":{"Version":2,"LLRWrap":9}}}"#)
            .unwrap();
    assert!(
        init.trim_end().ends_with("03ff"),
        "CRC FF03 of cxl-mem 3.10, low byte first: {init}"
    );
}

#[test]
fn bad_crc_is_stated_and_kept() {
    let hex = format!("01{}", "00".repeat(65));
    let text = decode_text(Way::M2s, &hex, 0, false).unwrap();
    assert!(text.contains("CRC 0x0000 BAD"), "{text}");
    let json = decode_text(Way::M2s, &hex, 0, true).unwrap();
    assert_eq!(encode_text(&json).unwrap().trim_end(), hex);
}

/// A flit header of nothing but slot formats.
fn header_codes(codes: [u8; 4]) -> u128 {
    let mut header = FlitHeader::default();
    for (n, code) in codes.into_iter().enumerate() {
        header.set_slot(n, code);
    }
    header.pack().into()
}

/// The errors of one flit with a good CRC.
fn errors_of(direction: Direction, slots: [u128; 4]) -> Vec<(usize, String)> {
    let doc = decode_flits(&[Flit::new(slots)], direction, 0).remove(0);
    doc.errors.into_iter().map(|e| (e.slot, e.error)).collect()
}

#[test]
fn broken_rules_are_errors() {
    let req = M2sReq {
        opcode: M2sReqOpcode::MemRd,
        ..Default::default()
    };
    let fields = header_codes([5, 4, 4, 4]);
    let good = [fields | req.pack() << 32, 0, 0, 0];
    assert_eq!(errors_of(Direction::M2s, good), []);

    let mut flit = Flit::new(good);
    flit.crc ^= 1;
    let doc = decode_flits(&[flit], Direction::M2s, 0).remove(0);
    assert!(doc.errors[0].error.contains("CRC"), "{:?}", doc.errors);
    assert_eq!(doc.messages.len(), 1);

    let one = |direction, slots: [u128; 4], at: usize, says: &str| {
        let errors = errors_of(direction, slots);
        assert!(
            matches!(&errors[..], [(n, e)] if *n == at && e.contains(says)),
            "{says}: {errors:?}"
        );
    };
    // The header's first reserved field, a bit above the request, and a request's own reserved bits.
    let (_, lsb, _) = doc::header_fields()
        .find(|(key, ..)| key.starts_with("RSVD"))
        .unwrap();
    one(
        Direction::M2s,
        [good[0] | 1 << lsb, 0, 0, 0],
        0,
        "header RSVD",
    );
    one(
        Direction::M2s,
        [good[0] | 1 << 127, 0, 0, 0],
        0,
        "outside the messages",
    );
    let field = M2sReq::DEF.fields.iter().find(|f| f.name == "RSVD");
    if let Some(field) = field {
        let raw = field.with(req.pack(), 1);
        one(
            Direction::M2s,
            [fields | raw << 32, 0, 0, 0],
            0,
            "reserved bits are 0x1",
        );
    }
    let bisnp = S2mBiSnp::default().pack() | 1;
    let bi = header_codes([7, 5, 5, 5]) | bisnp << 32;
    one(Direction::S2m, [bi, 0, 0, 0], 0, "BI-68");
    let init = Control::InitParam {
        version: 2,
        llr_wrap: 9,
        signature: 0,
    };
    let mut slots = init.flit(FlitHeader::default()).slots;
    assert_eq!(errors_of(Direction::M2s, slots), []);
    slots[3] = 1;
    one(Direction::M2s, slots, 3, "control flit does not define");
}

#[test]
fn contradictions_are_refused() {
    let read = r#"{"slot":0,"message":"M2S Req","MemOpcode":"MemRd"}"#;
    let data = format!(r#"{{"slot":1,"data":"{}"}}"#, "00".repeat(16));
    let m2s = |rest: &str| encode_text(&format!(r#"{{"direction":"m2s",{rest}}}"#));
    let cases = [
        (m2s(r#""direction":"s2m""#), "\"direction\" is given twice"),
        (
            m2s(r#""messages":[{"slot":0,"message":"M2S Req","MemOpcode":1,"Tag":1,"Tag":2}]"#),
            "\"Tag\" is given twice",
        ),
        (
            m2s(&format!(r#""slots":[{data},{data}]"#)),
            "slot 1 is given twice",
        ),
        (
            m2s(&format!(
                r#""messages":[{read}],"slots":[{{"slot":0,"format":"H4"}}]"#
            )),
            "\"format\" is \"H4\", but header and messages make it H5",
        ),
        (
            m2s(&format!(r#""messages":[{read}],"header":{{"Slot0":4}}"#)),
            "format H4 does not hold M2S Req",
        ),
        (
            m2s(&format!(r#""messages":[{read},{read}]"#)),
            "no format of this direction holds",
        ),
        (
            m2s(r#""kind":"protocol","control":{"INIT.Param":{"Version":2,"LLRWrap":9}}"#),
            "\"kind\" is \"protocol\"",
        ),
        (
            m2s(&format!(
                r#""slots":[{data}],"control":{{"INIT.Param":{{"Version":2,"LLRWrap":9}}}}"#
            )),
            "no data slots",
        ),
        (
            m2s(r#""kind":"all-data","header":{"Ak":1}"#),
            "no header and no control",
        ),
        (
            encode(&Encode {
                direction: Some(Way::S2m),
                json: format!(r#"{{"direction":"m2s","messages":[{read}]}}"#),
            }),
            "not that of --direction",
        ),
    ];
    for (result, want) in cases {
        let error = format!("{:#}", result.expect_err(want));
        assert!(error.contains(want), "{error:?} should contain {want:?}");
    }
}

#[test]
fn errors_say_what_where_and_what_next() {
    let zeros = "00".repeat(64);
    let m2s = |fields: &str| {
        format!(r#"{{"direction":"m2s","messages":[{{"slot":0,"message":"M2S Req",{fields}}}]}}"#)
    };
    let cases = [
        (decode_text(Way::M2s, "0", 0, false), "1 hex digits"),
        (decode_text(Way::M2s, "", 0, false), "no hex digits"),
        (
            decode_text(Way::M2s, "00\n0z", 0, false),
            "'z' in \"0z\" (line 2)",
        ),
        (decode_text(Way::M2s, &zeros, 0, false), "append 0000"),
        (
            decode_text(Way::M2s, &"00".repeat(70), 0, false),
            "1 whole flit(s) and 4 bytes more",
        ),
        (encode_text("{"), "not JSON"),
        (encode_text("[]"), "no flit"),
        (encode_text("{}"), "no direction"),
        (encode_text(r#"{"direction":"up"}"#), "m2s"),
        (
            encode_text(r#"{"direction":"m2s","mesages":[]}"#),
            "mesages",
        ),
        (encode_text(&m2s(r#""Tag":1"#)), "add its MemOpcode"),
        (
            encode_text(&m2s(r#""MemOpcode":"MemRx""#)),
            "there are MemInv, MemRd",
        ),
        (
            encode_text(&m2s(r#""MemOpcode":16"#)),
            "does not fit 4 bits",
        ),
        (
            encode_text(&m2s(r#""MemOpcode":1,"Tag":-1"#)),
            "not a whole number",
        ),
        (
            encode_text(&m2s(r#""MemOpcode":1,"Address":17"#)),
            "multiple of 32",
        ),
        (
            encode_text(&m2s(r#""MemOpcode":1,"Poison":1"#)),
            "no field \"Poison\"",
        ),
        (
            encode_text(
                r#"{"direction":"s2m","messages":[{"slot":0,"message":"M2S Req","MemOpcode":1}]}"#,
            ),
            "no format",
        ),
        (
            encode_text(
                r#"{"direction":"s2m","messages":[{"slot":4,"message":"S2M NDR","Opcode":0}]}"#,
            ),
            "slots 0 to 3",
        ),
        (
            encode_text(r#"{"direction":"s2m","messages":[{"slot":0,"message":"NDR"}]}"#),
            "one of M2S Req",
        ),
        (
            encode_text(r#"{"direction":"s2m","header":{"Foo":1}}"#),
            "no field \"Foo\"",
        ),
        (
            encode_text(r#"{"direction":"s2m","slots":[{"slot":1,"data":"00"}]}"#),
            "1 bytes of hex",
        ),
        (
            encode_text(r#"{"direction":"s2m","crc_ok":false}"#),
            "no \"crc\"",
        ),
        (
            encode_text(r#"{"direction":"s2m","crc_ok":false,"crc":"x"}"#),
            "16-bit hex",
        ),
    ];
    for (result, want) in cases {
        let error = format!("{:#}", result.expect_err(want));
        assert!(error.contains(want), "{error:?} should contain {want:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, rng_seed: seed(), ..Default::default() })]
    /// Any 66 bytes, in any context: decoded without a panic, and encoded to the same bytes.
    #[test]
    fn any_flit_survives(slots: [u128; 4], crc: u16, good: bool, rollover in 0u8..9, m2s: bool, clear in 0u32..128) {
        let mut flit = Flit { slots, crc };
        flit.slots[0] &= u128::MAX << clear | 0xFFFF_FFFE; // mostly protocol flits
        if good {
            flit = Flit::new(flit.slots);
        }
        let direction = if m2s { Direction::M2s } else { Direction::S2m };
        let docs = decode_flits(&[flit], direction, rollover);
        let json = serde_json::to_string(&docs[0]).unwrap();
        let back: FlitDoc = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(back.encode().map_err(|e| TestCaseError::fail(format!("{e:#}: {json}")))?, flit);
        let verdict = if flit.crc_ok() { "good" } else { "BAD" };
        prop_assert!(docs[0].to_text(0).contains(verdict));
    }
}

/// `CXLMEM_SEED` if set, else the clock; printed for replay.
fn seed() -> proptest::test_runner::RngSeed {
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |d| d.as_nanos() as u64);
    let seed = std::env::var("CXLMEM_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(clock);
    println!("replay with CXLMEM_SEED={seed}");
    proptest::test_runner::RngSeed::Fixed(seed)
}
