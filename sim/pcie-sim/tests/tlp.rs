//! Header bits and rules, one by one.

use pcie_sim::tlp::{Attr, CfgRequest, Completion, MemRequest, Message, Status};
use pcie_sim::{Bdf, Kind, Limits, Malformed, Packet, Tlp};

fn mem(tag: u16, addr: u64, dwords: u16, first_be: u8, last_be: u8) -> MemRequest {
    MemRequest {
        requester: Bdf::new(1, 0, 0),
        tag,
        addr,
        dwords,
        first_be,
        last_be,
    }
}

fn cfg(type1: bool, register: u16) -> CfgRequest {
    CfgRequest {
        requester: Bdf::new(0, 0, 0),
        tag: 5,
        target: Bdf::new(2, 3, 1),
        register,
        first_be: 0xF,
        type1,
    }
}

fn cpl(status: Status, byte_count: u16, lower_addr: u8) -> Completion {
    let (completer, requester) = (Bdf::new(1, 0, 0), Bdf::new(0, 0, 0));
    Completion {
        completer,
        status,
        bcm: false,
        byte_count,
        requester,
        tag: 12,
        lower_addr,
    }
}

/// Headers written down from the bit tables of the books, not from the code.
#[test]
fn header_vectors() {
    let mut decorated = Tlp::new(
        Kind::MemWrite(mem(0x3A5, 0x1000, 1, 0xF, 0)),
        vec![1, 2, 3, 4],
    );
    decorated.tc = 5;
    decorated.attr = Attr {
        no_snoop: true,
        relaxed: false,
        id_based: true,
    };
    decorated.at = 2;
    decorated.poisoned = true;
    decorated.digest = Some(0x8765_4321);
    let message = Message {
        requester: Bdf::new(1, 0, 0),
        tag: 0,
        routing: 0,
        code: 0x31,
        dw2: 0,
        dw3: 0,
    };
    let slot_power = Message {
        requester: Bdf::new(0, 0, 0),
        tag: 7,
        routing: 4,
        code: 0x50,
        dw2: 0,
        dw3: 0,
    };
    let table: Vec<(&str, Tlp, [u32; 4], Vec<u8>)> = vec![
        (
            "MRd, 3 DW",
            Tlp::new(Kind::MemRead(mem(0x0C, 0xFDAF_F040, 1, 0xF, 0)), vec![]),
            [0x0000_0001, 0x0100_0C0F, 0xFDAF_F040, 0],
            vec![],
        ),
        (
            "MRd, 4 DW, 1024 DW",
            Tlp::new(
                Kind::MemRead(mem(0xFF, 0x12_3456_7000, 1024, 0xF, 0xF)),
                vec![],
            ),
            [0x2000_0000, 0x0100_FFFF, 0x0000_0012, 0x3456_7000],
            vec![],
        ),
        (
            "MWr, 3 DW",
            Tlp::new(
                Kind::MemWrite(mem(0, 0xFEE0_0000, 1, 0xF, 0)),
                vec![0x41, 0, 0, 0],
            ),
            [0x4000_0001, 0x0100_000F, 0xFEE0_0000, 0],
            vec![0x41, 0, 0, 0],
        ),
        (
            "MWr, 4 DW, byte enables",
            Tlp::new(
                Kind::MemWrite(mem(2, 0x1_0000_0008, 2, 0b1100, 0b0011)),
                vec![0; 8],
            ),
            [0x6000_0002, 0x0100_023C, 0x0000_0001, 0x0000_0008],
            vec![0; 8],
        ),
        (
            "MWr with TC, Attr, AT, EP, TD and a ten-bit tag",
            decorated,
            [0x40DC_D801, 0x0100_A50F, 0x0000_1000, 0],
            vec![1, 2, 3, 4, 0x21, 0x43, 0x65, 0x87],
        ),
        (
            "CfgRd0",
            Tlp::new(Kind::CfgRead(cfg(false, 0x010)), vec![]),
            [0x0400_0001, 0x0000_050F, 0x0219_0010, 0],
            vec![],
        ),
        (
            "CfgRd1",
            Tlp::new(Kind::CfgRead(cfg(true, 0xFFC)), vec![]),
            [0x0500_0001, 0x0000_050F, 0x0219_0FFC, 0],
            vec![],
        ),
        (
            "CfgWr0",
            Tlp::new(Kind::CfgWrite(cfg(false, 0x100)), vec![6, 0, 0, 0]),
            [0x4400_0001, 0x0000_050F, 0x0219_0100, 0],
            vec![6, 0, 0, 0],
        ),
        (
            "CfgWr1",
            Tlp::new(Kind::CfgWrite(cfg(true, 0x004)), vec![6, 0, 0, 0]),
            [0x4500_0001, 0x0000_050F, 0x0219_0004, 0],
            vec![6, 0, 0, 0],
        ),
        (
            "CplD",
            Tlp::new(
                Kind::Completion(cpl(Status::Success, 4, 0x40)),
                vec![9, 8, 7, 6],
            ),
            [0x4A00_0001, 0x0100_0004, 0x0000_0C40, 0],
            vec![9, 8, 7, 6],
        ),
        (
            "CplD, 4096 bytes to come",
            Tlp::new(
                Kind::Completion(cpl(Status::Success, 4096, 0)),
                vec![0; 128],
            ),
            [0x4A00_0020, 0x0100_0000, 0x0000_0C00, 0],
            vec![0; 128],
        ),
        (
            "Cpl, UR",
            Tlp::new(
                Kind::Completion(cpl(Status::UnsupportedRequest, 4, 0)),
                vec![],
            ),
            [0x0A00_0000, 0x0100_2004, 0x0000_0C00, 0],
            vec![],
        ),
        (
            "Cpl, Retry",
            Tlp::new(Kind::Completion(cpl(Status::Retry, 4, 0)), vec![]),
            [0x0A00_0000, 0x0100_4004, 0x0000_0C00, 0],
            vec![],
        ),
        (
            "Cpl, CA",
            Tlp::new(Kind::Completion(cpl(Status::CompleterAbort, 4, 0)), vec![]),
            [0x0A00_0000, 0x0100_8004, 0x0000_0C00, 0],
            vec![],
        ),
        (
            "Msg ERR_NONFATAL",
            Tlp::new(Kind::Message(message), vec![]),
            [0x3000_0000, 0x0100_0031, 0, 0],
            vec![],
        ),
        (
            "MsgD Set_Slot_Power_Limit",
            Tlp::new(Kind::Message(slot_power), vec![75, 0, 0, 0]),
            [0x7400_0001, 0x0000_0750, 0, 0],
            vec![75, 0, 0, 0],
        ),
    ];
    for (name, tlp, header, payload) in table {
        let packet = Packet { header, payload };
        assert_eq!(tlp.clone().encode(), packet, "encode {name}");
        assert_eq!(
            packet.clone().decode(&Limits::LARGEST),
            Ok(tlp),
            "decode {name}"
        );
        let bytes = packet.to_bytes();
        assert_eq!(
            bytes[0],
            (header[0] >> 24) as u8,
            "{name}: first byte of the wire"
        );
        assert_eq!(Packet::from_bytes(&bytes), Ok(packet), "bytes {name}");
    }
}

/// One broken rule per row, on a packet that is otherwise right.
#[test]
fn malformed_table() {
    let bytes = |n: usize| vec![0u8; n];
    let be = |dwords, addr, first, last| Malformed::ByteEnables {
        first,
        last,
        dwords,
        addr,
    };
    let field = |field, value, rule| Malformed::Field { field, value, rule };
    let table: Vec<(&str, [u32; 4], Vec<u8>, Malformed)> = vec![
        (
            "TLP prefix",
            [0x8000_0000, 0, 0, 0],
            bytes(0),
            Malformed::UnknownFmtType { fmt: 4, ty: 0 },
        ),
        (
            "I/O read",
            [0x0200_0001, 0xF, 0x10, 0],
            bytes(0),
            Malformed::UnknownFmtType { fmt: 0, ty: 2 },
        ),
        (
            "locked read",
            [0x0100_0001, 0xF, 0x10, 0],
            bytes(0),
            Malformed::UnknownFmtType { fmt: 0, ty: 1 },
        ),
        (
            "FetchAdd",
            [0x4C00_0001, 0xF, 0x10, 0],
            bytes(4),
            Malformed::UnknownFmtType { fmt: 2, ty: 0xC },
        ),
        (
            "configuration request with 4 DW",
            [0x2400_0001, 0xF, 0, 0],
            bytes(0),
            Malformed::UnknownFmtType { fmt: 1, ty: 4 },
        ),
        (
            "completion with 4 DW",
            [0x2A00_0000, 4, 0, 0],
            bytes(0),
            Malformed::UnknownFmtType { fmt: 1, ty: 0xA },
        ),
        (
            "message with 3 DW",
            [0x1000_0000, 0x31, 0, 0],
            bytes(0),
            Malformed::UnknownFmtType { fmt: 0, ty: 0x10 },
        ),
        (
            "message routing 6",
            [0x3600_0000, 0x31, 0, 0],
            bytes(0),
            field("Message Routing", 6, "0 to 5"),
        ),
        (
            "payload too short",
            [0x4000_0002, 0xFF, 0, 0],
            bytes(4),
            Malformed::PayloadLength {
                expected: 8,
                found: 4,
            },
        ),
        (
            "payload too long",
            [0x4000_0001, 0x0F, 0, 0],
            bytes(8),
            Malformed::PayloadLength {
                expected: 4,
                found: 8,
            },
        ),
        (
            "no payload",
            [0x4000_0001, 0x0F, 0, 0],
            bytes(0),
            Malformed::PayloadLength {
                expected: 4,
                found: 0,
            },
        ),
        (
            "read with payload",
            [0x0000_0001, 0x0F, 0, 0],
            bytes(4),
            Malformed::PayloadLength {
                expected: 0,
                found: 4,
            },
        ),
        (
            "odd payload",
            [0x4000_0001, 0x0F, 0, 0],
            bytes(3),
            Malformed::PayloadLength {
                expected: 4,
                found: 3,
            },
        ),
        (
            "digest missing",
            [0x4000_8001, 0x0F, 0, 0],
            bytes(4),
            Malformed::PayloadLength {
                expected: 8,
                found: 4,
            },
        ),
        (
            "over MPS",
            [0x4000_0021, 0xFF, 0, 0],
            bytes(132),
            Malformed::PayloadTooLong {
                bytes: 132,
                limit: 128,
            },
        ),
        (
            "completion over MPS",
            [0x4A00_0021, 132, 0, 0],
            bytes(132),
            Malformed::PayloadTooLong {
                bytes: 132,
                limit: 128,
            },
        ),
        (
            "over MRRS",
            [0x0000_0021, 0xFF, 0, 0],
            bytes(0),
            Malformed::ReadTooLong {
                bytes: 132,
                limit: 128,
            },
        ),
        (
            "read over 4 KiB",
            [0x0000_0002, 0xFF, 0xFFC, 0],
            bytes(0),
            Malformed::Crosses4K {
                addr: 0xFFC,
                bytes: 8,
            },
        ),
        (
            "write over 4 KiB",
            [0x6000_0020, 0xFF, 1, 0x2F90],
            bytes(128),
            Malformed::Crosses4K {
                addr: 0x1_0000_2F90,
                bytes: 128,
            },
        ),
        (
            "one DW with last BE",
            [0x0000_0001, 0x1F, 0, 0],
            bytes(0),
            be(1, 0, 0xF, 1),
        ),
        (
            "two DW without last BE",
            [0x0000_0002, 0x0F, 0, 0],
            bytes(0),
            be(2, 0, 0xF, 0),
        ),
        (
            "two DW without first BE",
            [0x0000_0002, 0xF0, 0, 0],
            bytes(0),
            be(2, 0, 0, 0xF),
        ),
        (
            "two DW at a DW, sparse",
            [0x0000_0002, 0xF5, 4, 0],
            bytes(0),
            be(2, 4, 5, 0xF),
        ),
        (
            "three DW, first with a gap",
            [0x0000_0003, 0xF7, 0, 0],
            bytes(0),
            be(3, 0, 7, 0xF),
        ),
        (
            "three DW, last with a gap",
            [0x0000_0003, 0xEF, 0, 0],
            bytes(0),
            be(3, 0, 0xF, 0xE),
        ),
        (
            "4 DW header below 4 GiB",
            [0x2000_0001, 0xF, 0, 0x1000],
            bytes(0),
            field("Address", 0x1000, "below 4 GiB the three-DW header is used"),
        ),
        (
            "DW3 of a 3 DW header",
            [0x0000_0001, 0xF, 0, 1],
            bytes(0),
            field("DW3", 1, "a three-DW header ends before it"),
        ),
        (
            "configuration read of two DW",
            [0x0400_0002, 0xF, 0, 0],
            bytes(0),
            field("Length", 2, "one DW in a configuration request"),
        ),
        (
            "configuration read with last BE",
            [0x0400_0001, 0xFF, 0, 0],
            bytes(0),
            field("Last DW BE", 0xF, "zero in a configuration request"),
        ),
        (
            "configuration read with TC",
            [0x0410_0001, 0x0F, 0, 0],
            bytes(0),
            field("TC", 1, "zero in a configuration request"),
        ),
        (
            "configuration read with Attr",
            [0x0400_2001, 0x0F, 0, 0],
            bytes(0),
            field("Attr", 2, "zero in a configuration request"),
        ),
        (
            "configuration read with AT",
            [0x0400_0401, 0x0F, 0, 0],
            bytes(0),
            field("AT", 1, "zero in a configuration request"),
        ),
        (
            "undefined completion status",
            [0x0A00_0000, 0x0000_6004, 0, 0],
            bytes(0),
            field("Completion Status", 3, "not a defined status"),
        ),
        (
            "refusal with data",
            [0x4A00_0001, 0x0000_2004, 0, 0],
            bytes(4),
            field("Completion Status", 1, "only success carries data"),
        ),
    ];
    for (name, header, payload, expected) in table {
        let got = Packet { header, payload }.decode(&Limits::default());
        assert_eq!(got, Err(expected), "{name}");
    }
    assert_eq!(
        Packet::from_bytes(&[0x20; 15]),
        Err(Malformed::ShortHeader {
            found: 15,
            needed: 16
        })
    );
    assert_eq!(
        Packet::from_bytes(&[]),
        Err(Malformed::ShortHeader {
            found: 0,
            needed: 12
        })
    );
}

#[test]
fn errors_name_field_and_value() {
    let packet = Packet {
        header: [0x0A00_0000, 0x0000_E004, 0, 0],
        payload: vec![],
    };
    let text = packet.decode(&Limits::default()).map_err(|e| e.to_string());
    assert_eq!(
        text,
        Err("TLP field Completion Status = 0x7: not a defined status".to_string())
    );
}

#[test]
fn constructors_refuse() {
    let me = Bdf::new(1, 0, 0);
    assert!(matches!(
        Tlp::mem_read(me, 0, 0x1000, 0),
        Err(Malformed::Field {
            field: "Length",
            ..
        })
    ));
    assert!(matches!(
        Tlp::mem_read(me, 0, 0x1000, 4097),
        Err(Malformed::Field {
            field: "Length",
            ..
        })
    ));
    assert!(matches!(
        Tlp::mem_read(me, 0x400, 0x1000, 4),
        Err(Malformed::Field { field: "Tag", .. })
    ));
    assert!(matches!(
        Tlp::mem_write(me, 0x1FFF, &[1, 2]),
        Err(Malformed::Crosses4K {
            addr: 0x1FFC,
            bytes: 8
        })
    ));
    assert!(
        Tlp::mem_write(me, u64::MAX, &[1]).is_ok(),
        "the last byte of the address space"
    );
    assert!(Tlp::mem_write(me, u64::MAX, &[1, 2]).is_err());
    assert!(matches!(
        Tlp::mem_read_be(mem(0, 2, 1, 0xF, 0)),
        Err(Malformed::Field {
            field: "Address",
            ..
        })
    ));
    assert!(matches!(
        Tlp::mem_read_be(mem(0, 0, 0, 0xF, 0)),
        Err(Malformed::Field {
            field: "Length",
            ..
        })
    ));
    assert!(matches!(
        Tlp::mem_read_be(mem(0, 0, 1025, 0xF, 0xF)),
        Err(Malformed::Field {
            field: "Length",
            ..
        })
    ));
    assert!(
        Tlp::mem_read_be(mem(0, 0, 1, 0, 0)).is_ok(),
        "a zero-length read"
    );
    assert!(Tlp::mem_read_be(mem(0, 0, 1, 0x10, 0)).is_err());
    assert!(Tlp::mem_write_be(mem(0, 0, 2, 0xF, 0xF), vec![0; 4]).is_err());
    assert!(Tlp::cfg_read(cfg(false, 0x1000)).is_err());
    assert!(Tlp::cfg_write(cfg(false, 0x12), 0).is_err());
    assert!(Tlp::completion(cpl(Status::Success, 0, 0), vec![]).is_err());
    assert!(Tlp::completion(cpl(Status::Success, 4, 0x80), vec![0; 4]).is_err());
    assert!(Tlp::completion(cpl(Status::Success, 4, 0), vec![0; 3]).is_err());
    assert!(Tlp::completion(cpl(Status::CompleterAbort, 4, 0), vec![0; 4]).is_err());
    let message = Message {
        requester: me,
        tag: 0,
        routing: 7,
        code: 0x30,
        dw2: 0,
        dw3: 0,
    };
    assert!(Tlp::message(message, vec![]).is_err());
}

#[test]
fn byte_count_and_lower_address_of_one_dw() {
    for be in 0..16u8 {
        let request = mem(0, 0x1040, 1, be, 0);
        let enabled: Vec<usize> = (0..4).filter(|k| be >> k & 1 == 1).collect();
        let (count, first) = match (enabled.first(), enabled.last()) {
            (Some(first), Some(last)) => (last - first + 1, *first as u64),
            _ => (1, 0),
        };
        assert_eq!(request.byte_count(), count, "BE {be:04b}");
        assert_eq!(request.first_byte(), 0x1040 + first, "BE {be:04b}");
    }
}
