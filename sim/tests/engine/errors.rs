//! Every error: bad descriptors, refused and poisoned data, time-outs, ring faults, soft resets.

use crate::bench::{copy, seed, Bench, PAGE};
use cxlmem_protocol::engine::{flags, Descriptor, Opcode, Status, DESCRIPTOR_BYTES};
use cxlmem_protocol::regs;
use cxlmem_sim::pcie::IoOptions;
use cxlmem_sim::rng::Rng;
use cxlmem_sim::Op;

#[test]
fn every_static_error_agrees_with_the_protocol() {
    let mut rng = Rng::new(seed(13));
    let mut b = Bench::new("full", IoOptions::default(), 4);
    let capacity = b.s.capacity();
    let host = b.s.dma_alloc(PAGE as usize).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let pick = |rng: &mut Rng, from: &[u64]| from[rng.below(from.len() as u64) as usize];
        let d = Descriptor {
            opcode: if rng.chance(0.1) {
                rng.next_u64() as u8
            } else {
                rng.below(11) as u8
            },
            flags: if rng.chance(0.6) {
                0
            } else {
                rng.below(16) as u8 & !flags::IRQ
            },
            count: pick(
                &mut rng,
                &[
                    0,
                    1,
                    63,
                    64,
                    128,
                    512,
                    513,
                    4096,
                    1 << 20,
                    (1 << 20) + 1,
                    2 << 20,
                    (2 << 20) + 64,
                    1 << 31,
                ],
            ) as u32,
            dev_addr: pick(
                &mut rng,
                &[
                    0,
                    32,
                    36,
                    64,
                    4096,
                    capacity - 64,
                    capacity,
                    capacity + 4096,
                    1 << 32,
                    1 << 63,
                ],
            ),
            host_addr: pick(&mut rng, &[host, host + 4, host + 8, host + 64]),
            ..Default::default()
        };
        let Err(status) = d.check(capacity) else {
            continue;
        };
        seen.insert(status as u8);
        b.expect(d, status, 0);
    }
    assert!(
        seen.len() == 5,
        "the seed must reach all five static errors, it reached {seen:?}"
    );
    // Reserved bytes.
    for at in 0x20..DESCRIPTOR_BYTES {
        let mut raw = Descriptor::default().pack();
        raw[at] = 1;
        b.put_raw(&raw);
        assert_eq!(
            b.record().status,
            Status::BadFlags as u8,
            "reserved byte {at:#x}"
        );
    }
    b.expect(
        Descriptor {
            count: 5,
            ..Default::default()
        },
        Status::Ok,
        5,
    );
}

#[test]
fn host_addresses_in_the_devices_own_range_are_refused() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    b.own(0, 4, true);
    let (base, size) = b.s.hdm_window();
    for (host, count) in [(base, 64), (base + size - 64, 64), (base - 64, 128)] {
        b.expect(
            copy(Opcode::CopyToDevice, 0, host, count),
            Status::HostInHdm,
            0,
        );
        b.expect(
            copy(Opcode::CopyToHost, 0, host, count),
            Status::HostInHdm,
            0,
        );
        let d = Descriptor {
            flags: flags::HOST,
            ..copy(Opcode::Sum64, 0, host, count)
        };
        b.expect(d, Status::HostInHdm, 0);
    }
}

#[test]
fn poison_stops_an_operation_and_a_write_heals() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    let (hpa, _) = b.s.hdm_window();
    let host = b.s.dma_alloc(2 * PAGE as usize).unwrap();
    b.s.operate(
        hpa + 5 * 64,
        Op::Write {
            data: [7; 64],
            poison: true,
            meta: None,
        },
    )
    .unwrap();
    b.own(0, 1, true);
    b.expect(copy(Opcode::Sum64, 0, 0, 4096), Status::Poison, 5 * 64);
    let c = b.run(copy(Opcode::CopyToHost, 0, host, 4096));
    assert_eq!(c.status, Status::Poison as u8);
    assert!(c.done <= 5 * 64);
    b.expect(copy(Opcode::Chase, 5 * 64, 0, 3), Status::Poison, 0);
    // Poisoned host memory never reaches the device.
    b.s.memory_mut().poison(host + 1024, 64).unwrap();
    b.expect(
        copy(Opcode::CopyToDevice, 0, host, 4096),
        Status::Poison,
        1024,
    );
    let d = Descriptor {
        flags: flags::HOST,
        ..copy(Opcode::Sum64, 0, host, 4096)
    };
    b.expect(d, Status::Poison, 1024);
    b.expect(copy(Opcode::Fill, 0, 0, 4096), Status::Ok, 4096);
    b.expect(copy(Opcode::Sum64, 0, 0, 4096), Status::Ok, 4096);
}

#[test]
fn time_outs_end_and_late_completions_change_nothing() {
    let mut rng = Rng::new(seed(15));
    let io = IoOptions {
        read_latency: 400,
        jitter: 200,
        ..IoOptions::default()
    };
    let mut b = Bench::new("full", io, 3);
    b.own(0, 16, true);
    let host = b.s.dma_alloc(16 * PAGE as usize).unwrap();
    let data = b.fill_host(&mut rng, host, 16 * PAGE as usize);
    b.expect(
        copy(Opcode::CopyToDevice, 0, host, 65_536),
        Status::Ok,
        65_536,
    );
    b.memory[..65_536].copy_from_slice(&data);
    for _ in 0..6 {
        // A descriptor whose data come after the engine has given up, then one that waits for long enough.
        b.fill_host(&mut rng, host, 4096);
        let d = copy(Opcode::CopyToDevice, 8 * PAGE, host, 4096);
        b.put(d);
        let c = loop {
            // The fetch of the descriptor itself must not run into the short time.
            b.s.cycle();
            if b.s.now() % 16 == 0 && regs::EngStatus::BUSY.is_set(b.read(regs::EngStatus::OFFSET))
            {
                b.s.run(620);
                b.write(regs::EngTimeout::OFFSET, 20);
                break b.record();
            }
        };
        assert!(
            [Status::DmaTimeout as u8, Status::Ok as u8].contains(&c.status),
            "{c:?}"
        );
        b.write(regs::EngTimeout::OFFSET, 100_000);
        b.s.run(64);
        let data = b.fill_host(&mut rng, host, 65_536);
        b.start();
        b.expect(
            copy(Opcode::CopyToDevice, 0, host, 65_536),
            Status::Ok,
            65_536,
        );
        b.memory[..65_536].copy_from_slice(&data);
        b.check_device(0, 65_536, host);
    }
    assert!(
        b.read(regs::IoErrors::OFFSET) > 0,
        "late completions were seen"
    );
}

#[test]
fn ring_faults_stop_the_engine_until_it_is_reset() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    let fault = |b: &mut Bench, code: Status| {
        b.s.run(2000);
        let status = b.read(regs::EngStatus::OFFSET);
        assert!(regs::EngStatus::FAULT.is_set(status), "{status:#x}");
        assert_eq!(regs::EngStatus::FAULT_CODE.get(status), code as u32);
        let ring = b.ring;
        b.write(regs::EngRingLo::OFFSET, ring as u32);
        b.write(regs::EngRingHi::OFFSET, (ring >> 32) as u32);
        b.start();
        b.expect(
            Descriptor {
                count: 3,
                ..Default::default()
            },
            Status::Ok,
            3,
        );
        b.write(regs::EngCtrl::OFFSET, 0);
    };
    let enable = regs::EngCtrl::ENABLE.mask();
    // Nothing answers there.
    b.write(regs::EngCtrl::OFFSET, 0);
    b.write(regs::EngRingHi::OFFSET, 0x7777);
    b.write(regs::EngCtrl::OFFSET, enable);
    b.write(regs::EngTail::OFFSET, 1);
    fault(&mut b, Status::DmaError);
    // In the device's own range.
    let (base, _) = b.s.hdm_window();
    b.write(regs::EngRingLo::OFFSET, base as u32);
    b.write(regs::EngRingHi::OFFSET, (base >> 32) as u32);
    b.write(regs::EngCtrl::OFFSET, enable);
    fault(&mut b, Status::HostInHdm);
    for log2 in [0, 1, 11, 15] {
        b.write(regs::EngRingLog2::OFFSET, log2);
        b.write(regs::EngCtrl::OFFSET, enable);
        fault(&mut b, Status::BadCount);
    }
}

#[test]
fn a_soft_reset_at_any_moment_leaves_a_working_engine() {
    let mut rng = Rng::new(seed(16));
    let io = IoOptions {
        jitter: 30,
        stall: 0.2,
        ..IoOptions::default()
    };
    let mut b = Bench::new("full", io, 3);
    b.own(0, 16, true);
    let host = b.s.dma_alloc(16 * PAGE as usize).unwrap();
    for _ in 0..25 {
        for _ in 0..3 {
            let opcode = [
                Opcode::CopyToDevice,
                Opcode::CopyToHost,
                Opcode::Sum64,
                Opcode::Crc32c,
                Opcode::Chase,
            ][rng.below(5) as usize];
            let on_host = opcode as u8 >= Opcode::Sum64 as u8 && rng.chance(0.5);
            b.put(Descriptor {
                flags: if on_host { flags::HOST } else { 0 },
                ..copy(opcode, 0, host, 16_384)
            });
        }
        let wait = rng.below(2500);
        b.s.run(wait);
        b.start();
        let data = b.fill_host(&mut rng, host, 16_384);
        b.expect(
            copy(Opcode::CopyToDevice, 0, host, 16_384),
            Status::Ok,
            16_384,
        );
        b.memory[..16_384].copy_from_slice(&data);
        b.check_device(0, 16_384, host);
    }
}
