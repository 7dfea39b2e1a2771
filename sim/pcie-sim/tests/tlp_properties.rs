//! Properties of TLPs: whatever is well-formed survives the wire, whatever is not is judged.

mod common;

use pcie_sim::tlp::{Attr, CfgRequest, Completion, MemRequest, Message, Status};
use pcie_sim::{Bdf, Kind, Limits, Packet, Tlp};
use proptest::prelude::*;

fn any_bdf() -> impl Strategy<Value = Bdf> {
    any::<u16>().prop_map(Bdf::from_raw)
}

fn any_span() -> impl Strategy<Value = (u64, usize)> {
    (any::<u64>(), any::<bool>(), 0..4096u64).prop_flat_map(|(page, low, offset)| {
        let page = if low {
            page & 0xFFFF_F000
        } else {
            page & !0xFFF
        };
        (Just(page | offset), 1..=(4096 - offset) as usize)
    })
}

fn any_kind() -> impl Strategy<Value = (Kind, Vec<u8>)> {
    let tag = 0..1024u16;
    let read = (any_bdf(), tag.clone(), any_span()).prop_map(|(requester, tag, (addr, bytes))| {
        (
            Kind::MemRead(MemRequest::span(requester, tag, addr, bytes).expect("within 4 KiB")),
            Vec::new(),
        )
    });
    let write = (any_bdf(), tag.clone(), any_span(), any::<u8>()).prop_map(
        |(requester, tag, (addr, bytes), fill)| {
            let request = MemRequest::span(requester, tag, addr, bytes).expect("within 4 KiB");
            (
                Kind::MemWrite(request),
                (0..request.dwords * 4)
                    .map(|k| fill.wrapping_add(k as u8))
                    .collect(),
            )
        },
    );
    let sparse = (
        any_bdf(),
        tag.clone(),
        0..0x2_0000_0000u64,
        1..16u8,
        1..16u8,
    )
        .prop_map(|(requester, tag, addr, first_be, last_be)| {
            let request = MemRequest {
                requester,
                tag,
                addr: addr & !7,
                dwords: 2,
                first_be,
                last_be,
            };
            (Kind::MemWrite(request), vec![7; 8])
        });
    let config = (
        any_bdf(),
        tag.clone(),
        any_bdf(),
        0..1024u16,
        0..16u8,
        any::<(bool, bool, u32)>(),
    )
        .prop_map(
            |(requester, tag, target, dw, first_be, (type1, write, value))| {
                let request = CfgRequest {
                    requester,
                    tag,
                    target,
                    register: dw * 4,
                    first_be,
                    type1,
                };
                if write {
                    (Kind::CfgWrite(request), value.to_le_bytes().to_vec())
                } else {
                    (Kind::CfgRead(request), Vec::new())
                }
            },
        );
    let completion = (
        any_bdf(),
        any_bdf(),
        tag.clone(),
        0..4usize,
        any::<bool>(),
        1..=4096u16,
        0..128u8,
        0..=1024usize,
    )
        .prop_map(
            |(completer, requester, tag, status, bcm, byte_count, lower_addr, dwords)| {
                let statuses = [
                    Status::Success,
                    Status::UnsupportedRequest,
                    Status::Retry,
                    Status::CompleterAbort,
                ];
                let status = statuses[status];
                let data = if status == Status::Success {
                    vec![0xA5; dwords * 4]
                } else {
                    Vec::new()
                };
                let header = Completion {
                    completer,
                    status,
                    bcm,
                    byte_count,
                    requester,
                    tag,
                    lower_addr,
                };
                (Kind::Completion(header), data)
            },
        );
    let message = (any_bdf(), tag, 0..6u8, any::<(u8, u32, u32)>(), 0..8usize).prop_map(
        |(requester, tag, routing, (code, dw2, dw3), dwords)| {
            (
                Kind::Message(Message {
                    requester,
                    tag,
                    routing,
                    code,
                    dw2,
                    dw3,
                }),
                vec![0x5A; dwords * 4],
            )
        },
    );
    prop_oneof![read, write, sparse, config, completion, message]
}

fn any_tlp() -> impl Strategy<Value = Tlp> {
    (
        any_kind(),
        0..8u8,
        any::<(bool, bool, bool)>(),
        0..4u8,
        any::<bool>(),
        any::<Option<u32>>(),
    )
        .prop_map(
            |((kind, data), tc, (no_snoop, relaxed, id_based), at, poisoned, digest)| {
                let mut tlp = Tlp {
                    poisoned,
                    digest,
                    ..Tlp::new(kind, data)
                };
                if !matches!(kind, Kind::CfgRead(_) | Kind::CfgWrite(_)) {
                    (tlp.tc, tlp.at, tlp.attr) = (
                        tc,
                        at,
                        Attr {
                            no_snoop,
                            relaxed,
                            id_based,
                        },
                    );
                }
                tlp
            },
        )
}

proptest! {
    #![proptest_config(common::proptest_config(2000))]

    #[test]
    fn round_trip(tlp in any_tlp()) {
        prop_assert_eq!(tlp.validate(&Limits::LARGEST), Ok(()));
        let packet = tlp.clone().encode();
        prop_assert_eq!(packet.payload.len(), packet.promised_bytes());
        let bytes = packet.to_bytes();
        let again = Packet::from_bytes(&bytes);
        prop_assert_eq!(again.as_ref(), Ok(&packet));
        prop_assert_eq!(packet.decode(&Limits::LARGEST), Ok(tlp));
    }

    /// Any bytes decode or are refused; what decodes means the same when encoded again.
    #[test]
    fn garbage_is_judged(dw0 in any::<u32>(), rest in any::<[u32; 3]>(), fits in any::<bool>(), extra in 0..64usize) {
        let mut packet = Packet { header: [dw0, rest[0], rest[1], rest[2]], payload: Vec::new() };
        if fits {
            if packet.header_dwords() == 3 {
                packet.header[3] = 0;
            }
            packet.payload = vec![0x3C; packet.promised_bytes()];
        } else {
            packet.payload = vec![0x3C; extra];
        }
        if let Ok(tlp) = packet.decode(&Limits::LARGEST) {
            prop_assert_eq!(tlp.clone().encode().decode(&Limits::LARGEST), Ok(tlp));
        }
    }

    #[test]
    fn span_enables_exactly_its_bytes((addr, bytes) in any_span()) {
        let request = MemRequest::span(Bdf::default(), 0, addr, bytes).expect("within 4 KiB");
        prop_assert_eq!(request.first_byte(), addr);
        prop_assert_eq!(request.byte_count(), bytes);
        let first = (addr & 3) as usize;
        for k in 0..usize::from(request.dwords) * 4 {
            prop_assert_eq!(request.byte_enabled(k), (first..first + bytes).contains(&k), "byte {}", k);
        }
    }
}
