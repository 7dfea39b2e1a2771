//! The receiver against hand-made flits: positions of slots, half lines, and every broken rule.

mod common;

use bitvec::prelude::*;
use cxlmem_protocol::flit::{
    control::{self, Control},
    format::{self, Class, Kind},
    take_nibble, view, Credits, Direction, Flit, FlitHeader,
};
use cxlmem_protocol::msg::*;
use cxlmem_protocol::pack::{Event, Extensions, FlitError, Receiver};
use proptest::prelude::*;

fn events(receiver: &mut Receiver, flit: Flit) -> Vec<(usize, Event)> {
    let mut out = Vec::new();
    receiver.push(&flit, |slot, event| out.push((slot, event)));
    out
}

fn errors(events: &[(usize, Event)]) -> Vec<(usize, FlitError)> {
    events
        .iter()
        .filter_map(|(slot, e)| {
            if let Event::Error(e) = e {
                Some((*slot, *e))
            } else {
                None
            }
        })
        .collect()
}

fn m2s() -> Receiver {
    Receiver::new(Direction::M2s, Extensions::default())
}
fn s2m() -> Receiver {
    Receiver::new(Direction::S2m, Extensions::default())
}

/// A flit from a header and the four slots' contents (slot 0 without the header's bits).
fn flit(header: FlitHeader, mut slots: [u128; 4]) -> Flit {
    slots[0] |= u128::from(header.pack());
    Flit::new(slots)
}

/// Formats, typed in from cxl-mem 3.3, 3.4 and 8.2: direction, H slot, code, [(message, low bit, low bit of a split DevLoad)].
type Row = (Direction, bool, u8, &'static [(Kind, u32, u32)]);
const FORMATS: [Row; 16] = [
    (Direction::M2s, true, 4, &[(Kind::Rwd, 32, 0)]),
    (Direction::M2s, true, 5, &[(Kind::Req, 32, 0)]),
    (
        Direction::M2s,
        true,
        7,
        &[(Kind::BiRsp, 32, 0), (Kind::BiRsp, 72, 0)],
    ),
    (Direction::M2s, false, 4, &[(Kind::Req, 0, 0)]),
    (Direction::M2s, false, 5, &[(Kind::Rwd, 0, 0)]),
    (
        Direction::M2s,
        false,
        6,
        &[
            (Kind::BiRsp, 0, 0),
            (Kind::BiRsp, 40, 0),
            (Kind::BiRsp, 80, 0),
        ],
    ),
    (Direction::S2m, true, 0, &[(Kind::Ndr, 89, 0)]),
    (
        Direction::S2m,
        true,
        3,
        &[(Kind::Drs, 32, 0), (Kind::Ndr, 72, 0)],
    ),
    (
        Direction::S2m,
        true,
        4,
        &[(Kind::Ndr, 32, 90), (Kind::Ndr, 60, 0)],
    ),
    (
        Direction::S2m,
        true,
        5,
        &[(Kind::Drs, 32, 0), (Kind::Drs, 72, 0)],
    ),
    (Direction::S2m, true, 7, &[(Kind::BiSnp, 32, 0)]),
    (
        Direction::S2m,
        false,
        4,
        &[(Kind::Drs, 0, 0), (Kind::Ndr, 40, 98), (Kind::Ndr, 68, 0)],
    ),
    (
        Direction::S2m,
        false,
        5,
        &[(Kind::Ndr, 0, 58), (Kind::Ndr, 28, 0)],
    ),
    (
        Direction::S2m,
        false,
        6,
        &[(Kind::Drs, 0, 0), (Kind::Drs, 40, 0), (Kind::Drs, 80, 0)],
    ),
    (
        Direction::S2m,
        false,
        7,
        &[(Kind::BiSnp, 0, 0), (Kind::Ndr, 84, 0)],
    ),
    (Direction::M2s, false, 0, &[]),
];

#[test]
fn messages_sit_where_the_reference_says() {
    for (direction, h, code, want) in FORMATS {
        let format = format::format(direction, usize::from(!h), code);
        let have: Vec<_> = format
            .places
            .iter()
            .map(|p| (p.kind, p.lsb, p.split.unwrap_or(0)))
            .collect();
        assert_eq!(have, want, "{direction:?} {}", format.name);
        assert_eq!(format.name, format!("{}{code}", if h { "H" } else { "G" }));
        // Each place gives back what is put in, touches nothing else, and no two overlap.
        let mut used = 0u128;
        for place in format.places {
            let ones = (1u128 << place.kind.def().bits) - 1;
            let bits = place.put(0, ones);
            assert_eq!(bits & used, 0, "{} overlaps", format.name);
            assert_eq!(bits.count_ones(), ones.count_ones());
            assert_eq!(place.get(bits), ones);
            used |= bits;
        }
        assert!(
            !h || used & 0xFFFF_FFFF == 0,
            "{} is over the flit header",
            format.name
        );
        for bit in format.cache_valid {
            assert_eq!(used >> bit & 1, 0, "{}", format.name);
        }
    }
    // All codes not in the table hold no CXL.mem message.
    for direction in [Direction::M2s, Direction::S2m] {
        for slot in 0..2 {
            for code in 0..8 {
                let listed = FORMATS
                    .iter()
                    .any(|r| (r.0, r.1, r.2) == (direction, slot == 0, code));
                assert!(listed || format::format(direction, slot, code).places.is_empty());
            }
        }
    }
}

/// cxl-mem 3.2, typed in by hand: name, high bit, low bit.
#[test]
fn header_bits() {
    let want = [
        ("Type", 0, 0),
        ("RSVD", 1, 1),
        ("Ak", 2, 2),
        ("BE", 3, 3),
        ("Sz", 4, 4),
        ("Slot0", 7, 5),
        ("Slot1", 10, 8),
        ("Slot2", 13, 11),
        ("Slot3", 16, 14),
        ("RSVD", 19, 17),
        ("RspCrd", 23, 20),
        ("ReqCrd", 27, 24),
        ("DataCrd", 31, 28),
    ];
    let have: Vec<_> = FlitHeader::FIELDS
        .iter()
        .map(|(name, lsb, width)| (*name, lsb + width - 1, *lsb))
        .collect();
    assert_eq!(have, want);
    let header = FlitHeader {
        ak: 1,
        slot0: 5,
        slot3: 4,
        rsp_crd: 9,
        req_crd: 0xA,
        data_crd: 0xF,
        ..Default::default()
    };
    assert_eq!(
        header.pack(),
        1 << 2 | 5 << 5 | 4 << 14 | 9 << 20 | 0xA << 24 | 0xF << 28
    );
    let words = flit(header, [0; 4]).words();
    assert_eq!(view(&words)[20..24].load_le::<u8>(), 9);
    assert_eq!(
        header.credits(),
        Credits {
            rsp: 1,
            req: 2,
            data: 64
        }
    );
    assert_eq!(
        FlitHeader {
            rsp_crd: 7,
            ..Default::default()
        }
        .credits(),
        Credits::default(),
        "CXL.cache class"
    );
}

#[test]
fn nibbles_return_all_that_is_owed() {
    for owed in [0u16, 1, 2, 3, 5, 63, 64, 65, 1000, u16::MAX] {
        let (mut left, mut returned, mut nibbles) = (owed, 0u32, 0);
        while left > 0 {
            let nibble = take_nibble(&mut left);
            returned += u32::from(cxlmem_protocol::flit::credit_amount(nibble));
            nibbles += 1;
        }
        assert_eq!(returned, u32::from(owed));
        assert!(nibbles <= u32::from(owed) / 64 + 6);
    }
}

#[test]
fn half_lines_and_multi_header_flits() {
    let drs = S2mDrs {
        tag: 7,
        ..Default::default()
    };
    let mut receiver = s2m();
    let header = FlitHeader {
        slot0: 3,
        ..Default::default()
    }; // Sz = 0
    let got = events(&mut receiver, flit(header, [drs.pack() << 32, 1, 2, 0]));
    let Some((_, Event::Read(read))) = got.iter().find(|(_, e)| matches!(e, Event::Read(_))) else {
        panic!("{got:?}")
    };
    assert!(read.half && read.header == drs);
    assert_eq!((read.data[0], read.data[16], read.data[32]), (1, 2, 0));
    assert_eq!(receiver.rollover(), 0);

    let both = Extensions {
        bi68: false,
        multi_header: true,
    };
    let mut receiver = Receiver::new(Direction::S2m, both);
    let header = FlitHeader {
        slot0: 5,
        sz: 1,
        ..Default::default()
    };
    let second = S2mDrs { tag: 8, ..drs };
    events(
        &mut receiver,
        flit(header, [drs.pack() << 32 | second.pack() << 72, 1, 2, 3]),
    );
    assert_eq!(receiver.rollover(), 5);
    let got = events(&mut receiver, Flit::new([4, 5, 6, 7]));
    assert!(
        matches!(got[1], (0, Event::Read(r)) if r.header.tag == 7 && r.data[48] == 4),
        "{got:?}"
    );
    let got = events(&mut receiver, flit(FlitHeader::default(), [0, 8, 0, 0]));
    assert!(
        matches!(got[1], (1, Event::Read(r)) if r.header.tag == 8 && r.data[48] == 8),
        "{got:?}"
    );

    // The same flit where MDH was not agreed on.
    let got = events(
        &mut s2m(),
        flit(header, [drs.pack() << 32 | second.pack() << 72, 0, 0, 0]),
    );
    assert_eq!(
        errors(&got),
        [(
            0,
            FlitError::Format {
                format: "H5",
                class: Class::MultiHeader
            }
        )]
    );
}

#[test]
fn every_broken_rule_is_an_error_and_the_stream_goes_on() {
    let req = M2sReq {
        opcode: M2sReqOpcode::MemRd,
        tag: 3,
        ..Default::default()
    };
    let rwd = M2sRwd {
        tag: 4,
        ..Default::default()
    };
    let h = |slot0, slot1| FlitHeader {
        slot0,
        slot1,
        slot2: 4,
        slot3: 4,
        sz: 1,
        ..Default::default()
    };

    let mut damaged = flit(h(5, 4), [req.pack() << 32, 0, 0, 0]);
    damaged.crc ^= 1;
    let computed = damaged.crc ^ 1;
    let cases: [(FlitError, Flit); 10] = [
        (
            FlitError::Crc {
                received: damaged.crc,
                computed,
            },
            damaged,
        ),
        (
            FlitError::Message(DecodeError::Reserved {
                message: "M2S Req",
                field: "MemOpcode",
                value: 7,
            }),
            flit(h(5, 4), [(1 | 7 << 1 | 3 << 8) << 32, 0, 0, 0]),
        ),
        (
            FlitError::Format {
                format: "G7",
                class: Class::Reserved,
            },
            flit(h(5, 7), [0, 1, 0, 0]),
        ),
        (
            FlitError::Format {
                format: "H6",
                class: Class::Ide,
            },
            flit(h(6, 4), [1 << 40, 0, 0, 0]),
        ),
        (
            FlitError::Format {
                format: "H7",
                class: Class::Bi68,
            },
            flit(h(7, 4), [1 << 32, 0, 0, 0]),
        ),
        (
            FlitError::CacheMessage {
                format: "G1",
                bit: 32,
            },
            flit(h(5, 1), [0, 1 << 32, 0, 0]),
        ),
        (FlitError::DataWithoutHeader, flit(h(5, 0), [0, 1, 0, 0])),
        (
            FlitError::HalfLineWrite,
            flit(
                FlitHeader {
                    sz: 0,
                    slot2: 0,
                    slot3: 0,
                    ..h(4, 0)
                },
                [rwd.pack() << 32, 0, 0, 0],
            ),
        ),
        (
            FlitError::ByteEnables,
            flit(
                FlitHeader {
                    be: 1,
                    slot2: 0,
                    slot3: 0,
                    ..h(4, 0)
                },
                [rwd.pack() << 32, 0, 0, 0],
            ),
        ),
        (
            FlitError::Control {
                llctrl: 5,
                sub_type: 2,
            },
            flit(
                FlitHeader {
                    control: 1,
                    ..Default::default()
                },
                [0x25 << 32, 0, 0, 0],
            ),
        ),
    ];
    for (want, bad) in cases {
        let mut receiver = m2s();
        let found = errors(&events(&mut receiver, bad));
        assert_eq!(found.iter().map(|e| e.1).collect::<Vec<_>>(), [want]);
        assert!(want.to_string().len() > 30, "{want}");
        // What the bad flit still owes is taken and dropped; then a good one is understood.
        while receiver.rollover() > 0 {
            let zeros = events(&mut receiver, Flit::new([0; 4]));
            assert!(
                zeros
                    .iter()
                    .all(|(_, e)| matches!(e, Event::Chunk(_) | Event::ByteEnables(_))),
                "{zeros:?}"
            );
        }
        let good = events(
            &mut receiver,
            flit(h(5, 4), [req.pack() << 32, req.pack(), 0, 0]),
        );
        assert_eq!(
            good,
            [(0, Event::Req(req)), (1, Event::Req(req))],
            "after {want}"
        );
    }
}

#[test]
fn rollover_rules_are_checked() {
    let rwd = M2sRwd {
        tag: 4,
        ..Default::default()
    };
    // Header in slot 3: four chunks owed, so the next flit is all data whatever its bits say.
    let header = FlitHeader {
        slot0: 5,
        slot1: 4,
        slot2: 4,
        slot3: 5,
        sz: 1,
        ..Default::default()
    };
    let mut receiver = m2s();
    assert_eq!(
        events(&mut receiver, flit(header, [0, 0, 0, rwd.pack()])),
        [(3, Event::RwdHeader(rwd))]
    );
    assert_eq!(receiver.rollover(), 4);
    let got = events(&mut receiver, Flit::new([u128::MAX; 4]));
    assert!(matches!(got[4], (3, Event::Write(w)) if w.data == [0xFF; 64]));

    // Two data headers in a flit.
    let header = FlitHeader {
        slot0: 4,
        slot1: 5,
        sz: 1,
        ..Default::default()
    };
    let got = events(
        &mut m2s(),
        flit(header, [rwd.pack() << 32, rwd.pack(), 0, 0]),
    );
    assert_eq!(errors(&got), [(1, FlitError::TwoDataHeaders)]);

    // A forced slot with another code.
    let mut receiver = m2s();
    receiver.assume_rollover(1);
    let got = events(
        &mut receiver,
        flit(
            FlitHeader {
                slot0: 5,
                slot1: 4,
                ..Default::default()
            },
            [0; 4],
        ),
    );
    assert_eq!(errors(&got), [(1, FlitError::ForcedSlot { code: 4 })]);
    assert_eq!(got[1], (1, Event::Chunk(0)));
}

#[test]
fn empty_and_control_flits() {
    assert_eq!(
        events(&mut m2s(), Flit::default()),
        [],
        "an all-zero flit is empty"
    );
    let controls = [
        Control::LlcrdAck { ack: 0b1010_1101 },
        Control::RetryIdle,
        Control::RetryFrame,
        Control::RetryReq {
            eseq: 5,
            num_retry: 1,
            num_phy_reinit: 30,
        },
        Control::RetryAck {
            empty: true,
            viral: false,
            num_retry: 17,
            wr_ptr: 1,
            eseq: 2,
            num_free_buf: 3,
            viral_ld: 0x8001,
        },
        Control::Ide { sub_type: 1 },
        Control::InitParam {
            version: 2,
            llr_wrap: 9,
            signature: control::signature(control::BI68),
        },
    ];
    for control in controls {
        let header = FlitHeader {
            rsp_crd: 0xF,
            ..Default::default()
        };
        let got = events(&mut m2s(), control.flit(header));
        assert_eq!(got[0], (0, Event::Control(control)));
        assert_eq!(
            got.len(),
            if matches!(control, Control::LlcrdAck { .. }) {
                3
            } else {
                1
            },
            "{got:?}"
        );
        assert_eq!(control.retryable(), !control.name().starts_with("RETRY"));
    }
    // CRCs of cxl-mem 3.10 for the flits built here.
    let crc = |control: Control| control.flit(FlitHeader::default()).crc;
    assert_eq!(crc(Control::RetryIdle), 0xC341);
    assert_eq!(crc(Control::RetryFrame), 0x4198);
    assert_eq!(
        crc(Control::RetryReq {
            eseq: 5,
            num_retry: 1,
            num_phy_reinit: 0
        }),
        0xBE8F
    );
    assert_eq!(crc(Control::LlcrdAck { ack: 0 }), 0x21D5);
    assert_eq!(
        crc(Control::InitParam {
            version: 2,
            llr_wrap: 9,
            signature: 0
        }),
        0xFF03
    );
    // Ack = {Ack[7:4], Ak, Ack[2:0]}.
    let slot = Control::LlcrdAck { ack: 0b1010_1101 }
        .flit(FlitHeader::default())
        .slots[0];
    assert_eq!(
        (slot >> 64 & 7, slot >> 68 & 15, slot >> 2 & 1),
        (0b101, 0b1010, 1)
    );
}

proptest! {
    #![proptest_config(common::config())]
    #[test]
    fn no_flits_make_the_receiver_panic(flits in prop::collection::vec(any::<[u128; 4]>(), 1..12), m2s: bool, ext: bool) {
        let direction = if m2s { Direction::M2s } else { Direction::S2m };
        let mut receiver = Receiver::new(direction, Extensions { bi68: ext, multi_header: ext });
        for mut slots in flits {
            slots[0] &= !1; // protocol flits: the busiest path
            let mut count = 0;
            receiver.accept(&slots, |slot, _| {
                assert!(slot < 4);
                count += 1;
            });
            prop_assert!(count < 64);
        }
        prop_assert!(receiver.rollover() < 1000);
    }
    #[test]
    fn bytes_round_trip(slots: [u128; 4], crc: u16) {
        let flit = Flit { slots, crc };
        prop_assert_eq!(Flit::from_bytes(&flit.to_bytes()), flit);
        let words = flit.words();
        let bits = view(&words);
        prop_assert_eq!(bits.len(), 528);
        prop_assert_eq!(bits[512..].load_le::<u16>(), crc);
        prop_assert_eq!(bits[128 * 2 + 5..128 * 2 + 5 + 60].load_le::<u64>(), (slots[2] >> 5) as u64 & ((1 << 60) - 1));
    }
}
