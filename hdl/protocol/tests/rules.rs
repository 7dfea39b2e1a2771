//! HDM-H rules, HDM decoder and engine records against tables typed in by hand.

mod common;

use cxlmem_protocol::engine::{self, flags, Completion, Descriptor, Opcode, Status};
use cxlmem_protocol::hdm::{check_commit, decode, CommitError, Decode, Decoder, GRANULE};
use cxlmem_protocol::hdm_h::{self, respond, Data, Op, Response, Write};
use cxlmem_protocol::msg::*;
use proptest::prelude::*;

const CMP: Response = Response::Ndr(S2mNdrOpcode::Cmp);
const DATA: Response = Response::Drs(S2mDrsOpcode::MemData);
const NXM: Response = Response::Drs(S2mDrsOpcode::MemDataNxm);

/// cxl-mem 2.2, row by row: request, MetaField, answer, MetaField of the answer, Meta0 stored, write.
#[test]
fn accepted_requests_of_hdm_h() {
    use M2sReqOpcode as R;
    use M2sRwdOpcode as W;
    use MetaField::{Meta0State as M0, NoOp};
    let rows = [
        (Op::Req(R::MemRd), NoOp, DATA, NoOp, false, Write::None),
        (Op::Req(R::MemRd), M0, DATA, M0, true, Write::None),
        (Op::Req(R::MemInv), M0, CMP, M0, true, Write::None),
        (Op::Req(R::MemInvNt), M0, CMP, M0, true, Write::None),
        (
            Op::Req(R::MemSpecRd),
            NoOp,
            Response::None,
            NoOp,
            false,
            Write::None,
        ),
        (Op::Rwd(W::MemWr), NoOp, CMP, NoOp, false, Write::Full),
        (Op::Rwd(W::MemWr), M0, CMP, NoOp, true, Write::Full),
        (Op::Rwd(W::MemWrPtl), NoOp, CMP, NoOp, false, Write::Merge),
        (Op::Rwd(W::MemWrPtl), M0, CMP, NoOp, true, Write::Merge),
    ];
    for (op, meta, response, answer_meta, store, write) in rows {
        let hit = respond(op, meta, SnpType::NoOp, true);
        assert_eq!(
            (
                hit.response,
                hit.meta_field,
                hit.store_meta,
                hit.write,
                hit.illegal,
                hit.nxm
            ),
            (response, answer_meta, store, write, false, false),
            "{op:?} {meta:?}"
        );
        assert_eq!(
            hit.data,
            if response == DATA {
                Data::Memory
            } else {
                Data::None
            }
        );

        let miss = respond(op, meta, SnpType::NoOp, false);
        let (answer, data) = if response == DATA {
            (NXM, Data::AllOnes)
        } else {
            (response, Data::None)
        };
        assert_eq!(
            (miss.response, miss.data, miss.nxm),
            (answer, data, response != Response::None),
            "{op:?} miss"
        );
        assert!(
            !miss.store_meta
                && miss.write == Write::None
                && miss.meta_field == NoOp
                && !miss.illegal
        );
    }
    // Whatever is not in the rows is illegal and changes nothing.
    let ops = R::ALL
        .iter()
        .map(|o| Op::Req(*o))
        .chain(W::ALL.iter().map(|o| Op::Rwd(*o)));
    for op in ops {
        for meta in MetaField::ALL {
            for snoop in SnpType::ALL {
                let hint = op == Op::Req(R::MemSpecRd);
                let known = hint
                    || (*snoop == SnpType::NoOp && rows.iter().any(|r| r.0 == op && r.1 == *meta));
                let action = respond(op, *meta, *snoop, true);
                assert_eq!(action.illegal, !known, "{op:?} {meta:?} {snoop:?}");
                if !known {
                    assert!(!action.store_meta && action.write == Write::None && !action.nxm);
                    assert_ne!(action.data, Data::Memory);
                }
            }
        }
    }
}

#[test]
fn reserved_codes_are_illegal_and_answered() {
    for opcode in 0..16 {
        for meta in 0..4 {
            for snoop in 0..8 {
                let rule = hdm_h::req_rule(opcode, meta, snoop);
                let legal = match opcode {
                    8 => true,
                    1 => snoop == 0 && (meta == 0 || meta == 3),
                    0 | 9 => snoop == 0 && meta == 0,
                    _ => false,
                };
                assert_eq!(rule.legal, legal, "Req {opcode} {meta} {snoop}");
                assert_eq!(rule.silent, opcode == 8 || opcode == 12);
                assert_eq!(rule.data, [1, 2, 5, 6].contains(&opcode));
                for be in [false, true] {
                    let rule = hdm_h::rwd_rule(opcode, meta, snoop, be);
                    let legal =
                        snoop == 0 && (meta == 0 || meta == 3) && opcode == if be { 2 } else { 1 };
                    assert_eq!(
                        (rule.legal, rule.silent, rule.data),
                        (legal, false, false),
                        "RwD {opcode} {meta} {snoop}"
                    );
                    assert_eq!(rule.store_meta, legal && meta == 0);
                }
            }
        }
    }
}

#[test]
fn partial_writes_merge_bytes_and_poison() {
    let mut line = [1; 64];
    hdm_h::merge(&mut line, &[2; 64], 1 | 1 << 63);
    assert_eq!((line[0], line[1], line[62], line[63]), (2, 1, 1, 2));
    for (stored, message, be, want) in [
        (false, false, 1, false),
        (true, false, 1, true),
        (true, false, u64::MAX, false),
        (false, true, 1, true),
        (true, true, u64::MAX, true),
    ] {
        assert_eq!(hdm_h::merged_poison(stored, message, be), want);
    }
}

fn decoder(base: u64, size: u64, skip: u64) -> Decoder {
    Decoder {
        base: base * GRANULE,
        size: size * GRANULE,
        skip: skip * GRANULE,
        iw: 0,
        host_only: true,
        committed: true,
    }
}

#[test]
fn decoders_map_in_order_with_skips() {
    let two = [decoder(4, 1, 0), decoder(8, 2, 1)];
    let all = u64::MAX;
    assert_eq!(decode(&two, true, all, 4 * GRANULE + 64), Decode::Hit(64));
    assert_eq!(decode(&two, true, all, 5 * GRANULE), Decode::Miss);
    assert_eq!(
        decode(&two, true, all, 8 * GRANULE),
        Decode::Hit(2 * GRANULE),
        "size of the first, then the skip"
    );
    assert_eq!(
        decode(&two, true, all, 10 * GRANULE - 1),
        Decode::Hit(4 * GRANULE - 1)
    );
    assert_eq!(decode(&two, true, all, 10 * GRANULE), Decode::Miss);
    assert_eq!(
        decode(&two, true, 1 << 20, 4 * GRANULE + (1 << 20)),
        Decode::BeyondCapacity(1 << 20)
    );
    assert_eq!(decode(&two, false, all, 4 * GRANULE), Decode::Miss);
    assert_eq!(
        decode(
            &[Decoder {
                committed: false,
                ..two[0]
            }],
            true,
            all,
            4 * GRANULE
        ),
        Decode::Miss
    );
    // The top of the address space does not wrap into a hit.
    assert_eq!(decode(&two, true, all, u64::MAX), Decode::Miss);
}

#[test]
fn commits_are_checked() {
    let free = |d: Decoder| Decoder {
        committed: false,
        ..d
    };
    let first = decoder(4, 1, 0);
    assert_eq!(check_commit(&[free(first)], 0), Ok(()));
    assert_eq!(check_commit(&[first, free(decoder(5, 1, 0))], 1), Ok(()));
    assert_eq!(
        check_commit(&[free(first)], 3),
        Err(CommitError::NoSuchDecoder)
    );
    assert_eq!(
        check_commit(&[free(first), free(decoder(5, 1, 0))], 1),
        Err(CommitError::Order { missing: 0 })
    );
    assert_eq!(
        check_commit(&[first, free(decoder(4, 1, 0))], 1),
        Err(CommitError::Overlap { with: 0 })
    );
    assert_eq!(
        check_commit(&[Decoder { size: 0, ..first }], 0),
        Err(CommitError::Empty)
    );
    assert_eq!(
        check_commit(&[Decoder { iw: 1, ..first }], 0),
        Err(CommitError::Interleave { iw: 1 })
    );
    assert_eq!(
        check_commit(
            &[Decoder {
                host_only: false,
                ..first
            }],
            0
        ),
        Err(CommitError::TargetType)
    );
    assert_eq!(
        check_commit(
            &[Decoder {
                base: (1 << 52) - GRANULE,
                size: 2 * GRANULE,
                ..first
            }],
            0
        ),
        Err(CommitError::Overflow)
    );
    assert_eq!(
        check_commit(
            &[Decoder {
                base: !(GRANULE - 1),
                size: GRANULE,
                ..first
            }],
            0
        ),
        Err(CommitError::Overflow)
    );
    let odd = Decoder {
        base: 4096,
        ..first
    };
    assert_eq!(
        check_commit(&[odd], 0),
        Err(CommitError::Granularity {
            field: "base",
            value: 4096
        })
    );
    for text in [
        check_commit(&[odd], 0),
        check_commit(&[Decoder { iw: 9, ..first }], 0),
    ] {
        assert!(text.unwrap_err().to_string().starts_with("HDM decoder: "));
    }
    let from = Decoder::from_registers(&[0x4000_0FFF, 1, 0x1000_0000, 0, 0x1400, 0x2000_0000, 0]);
    assert_eq!(
        from,
        Decoder {
            base: 0x1_4000_0000,
            size: GRANULE,
            skip: 2 * GRANULE,
            ..first
        }
    );
}

#[test]
fn records_are_laid_out_as_documented() {
    let descriptor = Descriptor {
        opcode: 0x11,
        flags: 0x22,
        id: 0x4433,
        count: 0x8877_6655,
        dev_addr: 0x0102_0304_0506_0708,
        host_addr: 0x1112_1314_1516_1718,
        arg: 0x2122_2324_2526_2728,
    };
    let bytes = descriptor.pack();
    let head = [
        0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 8, 7, 6, 5, 4, 3, 2, 1, 0x18, 0x17, 0x16,
        0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23, 0x22, 0x21,
    ];
    assert_eq!(bytes[..32], head);
    assert_eq!(bytes[32..], [0; 32]);
    assert_eq!(Descriptor::unpack(&bytes), Ok(descriptor));
    for at in 32..64 {
        let mut bad = bytes;
        bad[at] = 1;
        assert_eq!(Descriptor::unpack(&bad), Err(Status::BadFlags), "byte {at}");
    }
    let completion = Completion {
        id: 0x2211,
        status: 0x33,
        phase: 1,
        done: 0x7766_5544,
        result: 0x0102_0304_0506_0708,
        cycles: 0xA9,
    };
    let bytes = completion.pack();
    let head = [
        0x11, 0x22, 0x33, 1, 0x44, 0x55, 0x66, 0x77, 8, 7, 6, 5, 4, 3, 2, 1, 0xA9, 0, 0, 0,
    ];
    assert_eq!(bytes[..20], head);
    assert_eq!(bytes[20..], [0; 12]);
    assert_eq!(Completion::unpack(&bytes), completion);
}

#[test]
fn bad_descriptors_get_the_right_status() {
    const CAPACITY: u64 = 1 << 20;
    let copy = Descriptor {
        opcode: 1,
        count: 4096,
        host_addr: 0x1000,
        ..Default::default()
    };
    let list = Descriptor {
        flags: flags::LIST,
        count: 2,
        host_addr: 0x1008,
        ..copy
    };
    let chase = Descriptor {
        opcode: 6,
        count: 10,
        ..Default::default()
    };
    let owner = Descriptor {
        opcode: 7,
        count: 1,
        arg: 1,
        ..Default::default()
    };
    let cases = [
        (copy, Ok(Opcode::CopyToDevice)),
        (list, Ok(Opcode::CopyToDevice)),
        (chase, Ok(Opcode::Chase)),
        (owner, Ok(Opcode::SetOwner)),
        (Descriptor::default(), Ok(Opcode::Nop)),
        (Descriptor { opcode: 10, ..copy }, Err(Status::BadOpcode)),
        (Descriptor { flags: 8, ..copy }, Err(Status::BadFlags)),
        (
            Descriptor {
                flags: flags::HOST,
                ..copy
            },
            Err(Status::BadFlags),
        ),
        (
            Descriptor {
                flags: flags::LIST,
                ..owner
            },
            Err(Status::BadFlags),
        ),
        (Descriptor { count: 0, ..copy }, Err(Status::BadCount)),
        (Descriptor { count: 65, ..copy }, Err(Status::BadCount)),
        (
            Descriptor {
                count: engine::MAX_BYTES + 64,
                ..copy
            },
            Err(Status::BadCount),
        ),
        (Descriptor { count: 513, ..list }, Err(Status::BadCount)),
        (Descriptor { count: 0, ..chase }, Err(Status::BadCount)),
        (
            Descriptor {
                count: engine::MAX_HOPS + 1,
                ..chase
            },
            Err(Status::BadCount),
        ),
        (
            Descriptor {
                dev_addr: 32,
                ..copy
            },
            Err(Status::Misaligned),
        ),
        (
            Descriptor {
                host_addr: 8,
                ..copy
            },
            Err(Status::Misaligned),
        ),
        (
            Descriptor {
                dev_addr: 64,
                ..list
            },
            Err(Status::Misaligned),
        ),
        (
            Descriptor {
                host_addr: 4,
                ..list
            },
            Err(Status::Misaligned),
        ),
        (
            Descriptor {
                dev_addr: 64,
                ..owner
            },
            Err(Status::Misaligned),
        ),
        (
            Descriptor {
                dev_addr: CAPACITY - 4096,
                ..copy
            },
            Ok(Opcode::CopyToDevice),
        ),
        (
            Descriptor {
                dev_addr: CAPACITY - 4032,
                ..copy
            },
            Err(Status::DeviceRange),
        ),
        (
            Descriptor {
                dev_addr: u64::MAX - 63,
                ..copy
            },
            Err(Status::DeviceRange),
        ),
        (
            Descriptor {
                dev_addr: CAPACITY - 4096,
                ..list
            },
            Err(Status::DeviceRange),
        ),
        (
            Descriptor {
                opcode: 4,
                flags: flags::HOST,
                dev_addr: u64::MAX,
                ..copy
            },
            Ok(Opcode::Sum64),
        ),
        (
            Descriptor {
                opcode: 8,
                count: 1,
                dev_addr: CAPACITY - 8,
                host_addr: 3,
                ..Default::default()
            },
            Ok(Opcode::FetchAdd),
        ),
        (
            Descriptor {
                opcode: 9,
                count: 1,
                dev_addr: 12,
                ..Default::default()
            },
            Err(Status::Misaligned),
        ),
        (
            Descriptor {
                opcode: 9,
                count: 64,
                dev_addr: 8,
                ..Default::default()
            },
            Err(Status::BadCount),
        ),
    ];
    for (descriptor, want) in cases {
        assert_eq!(descriptor.check(CAPACITY), want, "{descriptor:?}");
    }
}

proptest! {
    #![proptest_config(common::config())]
    #[test]
    fn any_descriptor_is_answered(bytes in prop::collection::vec(any::<u8>(), 32), capacity: u64) {
        let mut raw = [0; 64];
        raw[..32].copy_from_slice(&bytes);
        let descriptor = Descriptor::unpack(&raw).unwrap();
        prop_assert_eq!(descriptor.pack(), raw);
        let _ = descriptor.check(capacity);
    }
    #[test]
    fn decoded_lines_are_inside_the_capacity(hpa: u64, base in 0u64..64, size in 1u64..8, capacity in 0u64..1 << 40) {
        let one = [decoder(base, size, 0)];
        match decode(&one, true, capacity, hpa) {
            Decode::Hit(dpa) => prop_assert!(dpa < capacity && hpa - one[0].base == dpa),
            Decode::BeyondCapacity(dpa) => prop_assert!(dpa >= capacity && dpa < one[0].size),
            Decode::Miss => prop_assert!(hpa < one[0].base || hpa - one[0].base >= one[0].size),
        }
    }
}

#[test]
fn codes_of_status_and_opcode() {
    for (n, status) in Status::ALL.iter().enumerate() {
        assert_eq!(Status::from_code(n as u8), Some(*status));
        assert_eq!(*status as usize, n);
    }
    assert_eq!(Status::from_code(14), None);
    for (n, opcode) in Opcode::ALL.iter().enumerate() {
        assert_eq!(
            (Opcode::from_code(n as u8), *opcode as usize),
            (Some(*opcode), n)
        );
    }
    assert_eq!(Opcode::from_code(10), None);
}
