//! `Device` against the behavioural transport: discovery, bring-up, migration with its failures, engine commands, close.

mod common;

use common::pages::{assert_intact, filled, pattern};
use common::{TestTransport, HDM_BASE, LIMITS, LOCATOR, MSIX_CAP, PAGE};
use cxlmem_driver::{CoreError, Error, HostPage, Operand, PageResult, PoolError};
use cxlmem_protocol::engine::Status;
use cxlmem_protocol::regs;

#[test]
fn opens_and_says_what_it_found() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let info = device.info();
    assert_eq!((info.window.base, info.window.size), (HDM_BASE, 256 << 20));
    assert_eq!(
        (info.identity.capacity, info.interrupts),
        (64 * PAGE as u64, true)
    );
    assert_eq!(info.function.vendor, 0x1AF4);
    let shared = transport.lock();
    assert_eq!(shared.config[1] & 6, 6, "memory space and bus master on");
    assert_eq!(
        shared.config[usize::from(MSIX_CAP) / 4] >> 30,
        2,
        "MSI-X on, not masked"
    );
    assert!(shared.model.writes.contains(&(regs::MSIX_TABLE + 8, 0x40)));
}

#[test]
fn another_function_is_named_by_offset_and_value() {
    type Break = fn(&mut Vec<u32>);
    let cases: [(&str, Break, u16, &str); 8] = [
        ("no function", |c| c[0] = u32::MAX, 0, "0xffffffff"),
        ("class", |c| c[2] = 0x0108_0201, 8, "0x10802"),
        (
            "vendor of the DVSEC",
            |c| c[0x114 / 4] = 0x1234 | (0x3C << 20),
            0x100,
            "CXL device DVSEC",
        ),
        ("no CXL.mem", |c| c[0x118 / 4] = 0x2 << 16, 0x11A, "CXL.mem"),
        (
            "no locator",
            |c| c[usize::from(LOCATOR + 8) / 4] = 9,
            0x100,
            "register locator",
        ),
        (
            "component block elsewhere",
            |c| c[usize::from(LOCATOR + 0x14) / 4] = 1 << 8 | 2,
            LOCATOR + 0x14,
            "BAR0",
        ),
        (
            "MSI-X table elsewhere",
            |c| c[usize::from(MSIX_CAP + 4) / 4] = 0x3000,
            MSIX_CAP + 4,
            "MSI-X",
        ),
        (
            "endless list",
            |c| c[0x110 / 4] = 1 | (1 << 16) | (0x100 << 20),
            0x110,
            "ends",
        ),
    ];
    for (name, damage, at, text) in cases {
        let transport = TestTransport::new(4);
        damage(&mut transport.lock().config);
        let error = transport.try_open().unwrap_err();
        assert!(
            matches!(error, Error::Discovery { offset, .. } if offset == at || name == "endless list"),
            "{name}: {error}"
        );
        assert!(error.to_string().contains(text), "{name}: {error}");
    }
}

#[test]
fn bring_up_failures_are_bounded_and_named() {
    type Inject = fn(&mut common::model::Faults);
    let cases: [(Inject, &str); 6] = [
        (|f| f.link_down = true, "LinkStatus"),
        (|f| f.media_down = true, "MediaStatus"),
        (|f| f.decoder_error = true, "Hdm0Ctrl"),
        (|f| f.decoder_silent = true, "Hdm0Ctrl"),
        (
            |f| f.override_read.extend([(regs::Id::OFFSET, 0xDEAD_BEEF)]),
            "0xdeadbeef",
        ),
        (
            |f| f.override_read.extend([(regs::Caps::OFFSET, 0)]),
            "migration engine",
        ),
    ];
    for (inject, text) in cases {
        let transport = TestTransport::new(4);
        inject(&mut transport.lock().model.faults);
        let error = transport.try_open().unwrap_err();
        assert!(
            matches!(error, Error::Device { .. }) && error.to_string().contains(text),
            "{error}"
        );
        assert!(transport.lock().model.now < 2 * (LIMITS.link + LIMITS.media + LIMITS.commit));
    }
}

#[test]
fn a_transport_error_keeps_its_words() {
    let transport = TestTransport::new(4);
    transport.lock().model.faults.gone = true;
    let error = transport.try_open().unwrap_err().to_string();
    assert!(
        error.contains("transport: the device answers no more: injected"),
        "{error}"
    );
}

#[test]
fn pages_move_there_and_back() {
    let transport = TestTransport::new(1200);
    let device = transport.open();
    let buffer = filled(&device, 1100);
    let pages = buffer.pages();
    let there = device.migrate_to_device(&pages);
    assert!(there.is_complete() && there.moved() == 1100 && there.engine_cycles > 0);
    assert!(there.device_cycles >= there.engine_cycles);
    let dpa = device.device_address(pages[1099]).unwrap();
    assert!(
        matches!(buffer.read(1099 * PAGE as u64, &mut [0; 8]), Err(Error::OnDevice { dpa: at, .. }) if at == dpa)
    );
    assert!(matches!(
        buffer.write(5, &[0; 8]),
        Err(Error::OnDevice { .. })
    ));
    assert_eq!(
        device.migrate_to_device(&pages[..2]).pages,
        [PageResult::AlreadyThere; 2]
    );
    assert_eq!(device.free_bytes(), 100 * PAGE as u64);

    let back = device.migrate_to_host(&pages);
    assert!(back.is_complete() && back.moved() == 1100);
    assert_intact(&buffer, &[]);
    assert_eq!(device.free_bytes(), 1200 * PAGE as u64);
    assert_eq!(
        (device.stats().pages_to_device, device.stats().pages_to_host),
        (1100, 1100)
    );
    transport.assert_clean();
}

#[test]
fn foreign_double_and_surplus_pages_are_their_own_results() {
    let transport = TestTransport::new(4);
    let device = transport.open();
    let other = TestTransport::new(4).open();
    // Six pages, so that the foreign one is at an address that this device has not.
    let foreign = other.alloc_host(64 * PAGE).unwrap().pages()[63];
    let buffer = filled(&device, 6);
    let pages = buffer.pages();
    let list = [
        pages[0], foreign, pages[1], pages[0], pages[2], pages[3], pages[4],
    ];
    let result = device.migrate_to_device(&list);
    use PageResult::{Busy, Moved, NoSpace, NotRegistered};
    assert_eq!(
        result.pages,
        [Moved, NotRegistered, Moved, Busy, Moved, Moved, NoSpace]
    );
    assert!(!result.is_complete() && result.error.is_none());
    let back = device.migrate_to_host(&[pages[0], pages[0], foreign, pages[5]]);
    assert_eq!(
        back.pages,
        [Moved, Busy, NotRegistered, PageResult::AlreadyThere]
    );
    let _ = device.migrate_to_host(&pages).complete().unwrap();
    assert_intact(&buffer, &[]);
}

#[test]
fn engine_commands_agree_with_the_cpu_on_both_sides() {
    let transport = TestTransport::new(1100);
    let device = transport.open();
    let bytes = 600 * PAGE;
    let data: Vec<u8> = (0..bytes).map(|i| (i ^ (i >> 9)) as u8).collect();
    let host = device.alloc_host(bytes).unwrap();
    let dev = device.alloc_device(bytes as u64).unwrap();
    host.write(0, &data).unwrap();
    dev.write(0, &data).unwrap();
    let sum = data.chunks_exact(8).fold(0u64, |sum, word| {
        sum.wrapping_add(u64::from_le_bytes(word.try_into().unwrap()))
    });
    let crc = u64::from(common::model::engine_model::crc32c(0, &data));
    for operand in [host.operand(), dev.operand()] {
        assert_eq!(device.sum64(operand).unwrap().value, sum);
        assert_eq!(device.crc32c(operand, 0).unwrap().value, crc);
        assert_eq!(device.sum64(operand).unwrap().done, bytes as u64);
    }
    // Pointers: 0 -> 4096 -> 64 -> 0.
    for (at, to) in [(0u64, 4096u64), (4096, 64), (64, 0)] {
        host.write(at, &to.to_le_bytes()).unwrap();
        dev.write(at, &to.to_le_bytes()).unwrap();
    }
    for operand in [host.operand(), dev.operand()] {
        assert_eq!(device.chase(operand, 4).unwrap().value, 4096);
    }
    device.fill(dev.operand(), 0x0123_4567_89AB_CDEF).unwrap();
    let mut some = [0; 16];
    dev.read(100 * PAGE as u64 + 5, &mut some).unwrap();
    assert_eq!(some[3..11], 0x0123_4567_89AB_CDEFu64.to_le_bytes());
    transport.assert_clean();
}

#[test]
fn bad_operands_are_refused_or_named_by_status() {
    let transport = TestTransport::new(16);
    let device = transport.open();
    let dev = device.alloc_device(2 * PAGE as u64).unwrap();
    let dpa = dev.dpa();
    let at = |dpa, bytes| Operand::Device { dpa, bytes };
    assert!(matches!(
        device.sum64(at(dpa + 1, 64)),
        Err(Error::Unaligned { .. })
    ));
    assert!(matches!(
        device.sum64(at(dpa, 65)),
        Err(Error::Unaligned { .. })
    ));
    assert!(matches!(device.sum64(at(dpa, 0)), Err(Error::Size { .. })));
    assert!(matches!(
        device.sum64(at(0u64.wrapping_sub(64), 64)),
        Err(Error::Size { .. })
    ));
    assert!(matches!(
        device.sum64(at(1 << 30, 64)),
        Err(Error::Pool(PoolError::OutOfRange { .. }))
    ));
    assert!(matches!(
        device.fill(at(dpa + 2 * PAGE as u64, 64), 0),
        Err(Error::Pool(PoolError::DoubleFree { .. }))
    ));
    assert!(matches!(
        device.chase(dev.operand(), 0),
        Err(Error::Size { .. })
    ));
    assert!(matches!(
        device.chase(dev.operand(), (1 << 20) + 1),
        Err(Error::Size { .. })
    ));
    let status = |result: cxlmem_driver::Result<_>, status: Status| {
        assert!(
            matches!(result, Err(Error::Device { error: CoreError::Command { code, .. }, .. }) if code == status as u8)
        );
    };
    dev.write(0, &3u64.to_le_bytes()).unwrap();
    status(device.chase(dev.operand(), 2), Status::BadPointer);
    status(
        device.fill(Operand::Host { bus: 0, bytes: 64 }, 0),
        Status::BadFlags,
    );
    status(
        device.sum64(Operand::Host {
            bus: HDM_BASE,
            bytes: 64,
        }),
        Status::HostInHdm,
    );
    status(
        device.sum64(Operand::Host {
            bus: 0x5000,
            bytes: 64,
        }),
        Status::DmaError,
    );
    transport.lock().model.poison.insert(dpa);
    status(device.sum64(dev.operand()), Status::Poison);
    assert!(matches!(dev.read(0, &mut [0; 8]), Err(Error::Poison { dpa: at }) if at == dpa));
    assert!(
        device.sum64(at(dpa + 64, 64)).is_ok(),
        "the engine goes on after each"
    );
}

#[test]
fn buffers_check_their_sizes_and_ranges() {
    let transport = TestTransport::new(16);
    let device = transport.open();
    assert!(matches!(device.alloc_host(0), Err(Error::Size { .. })));
    assert!(matches!(device.alloc_device(0), Err(Error::Size { .. })));
    assert!(
        matches!(device.alloc_device(17 * PAGE as u64), Err(Error::Size { limit, .. }) if limit == 16 * PAGE as u64)
    );
    let (_a, b, _c) = (
        device.alloc_device(PAGE as u64),
        device.alloc_device(5 * PAGE as u64),
        device.alloc_device(PAGE as u64),
    );
    drop(b);
    assert!(
        matches!(device.alloc_device(14 * PAGE as u64), Err(Error::Size { limit, .. }) if limit == 9 * PAGE as u64)
    );
    let host = device.alloc_host(10).unwrap();
    assert_eq!(host.bytes(), PAGE as u64);
    assert!(matches!(
        host.write(PAGE as u64 - 1, &[0; 2]),
        Err(Error::Range { .. })
    ));
    assert!(matches!(
        host.read(u64::MAX, &mut [0; 2]),
        Err(Error::Range { .. })
    ));
    transport.lock().dma_limit = 0;
    assert!(matches!(
        device.alloc_host(PAGE),
        Err(Error::Transport { .. })
    ));
}

#[test]
fn close_brings_all_pages_home() {
    for resident in [0usize, 1, 30] {
        let transport = TestTransport::new(64);
        let device = transport.open();
        let buffer = filled(&device, 30);
        let pages: Vec<HostPage> = buffer.pages();
        let _ = device
            .migrate_to_device(&pages[..resident])
            .complete()
            .unwrap();
        let memory = device.alloc_device(PAGE as u64).unwrap();
        assert!(matches!(device.close(), Err(Error::InUse { pages: 1 })));
        drop(memory);
        device.close().unwrap();
        device.close().unwrap();
        assert_eq!(transport.lock().config[1] & 4, 0, "bus mastering is off");
        assert!(matches!(
            device.migrate_to_device(&pages).error,
            Some(Error::Closed)
        ));
        assert!(matches!(device.alloc_device(64), Err(Error::Closed)));
        let shared = transport.lock();
        for (n, page) in pages.iter().enumerate() {
            let home = shared.model.host_page(page.bus());
            assert_eq!(home, pattern(n), "page {n}");
        }
        drop(shared);
        drop(buffer);
        assert_eq!(
            transport.lock().model.host_pages(),
            0,
            "all DMA memory is given back"
        );
        transport.assert_clean();
    }
}

#[test]
fn dropping_everything_with_pages_resident_frees_all() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let buffer = filled(&device, 30);
    let _ = device
        .migrate_to_device(&buffer.pages()[3..20])
        .complete()
        .unwrap();
    drop(device);
    drop(buffer);
    assert_eq!(transport.lock().model.host_pages(), 0);
    transport.assert_clean();
}

#[test]
fn threads_migrate_disjoint_and_shared_pages() {
    let transport = TestTransport::new(256);
    let device = transport.open();
    let buffer = filled(&device, 128);
    let pages = buffer.pages();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (device, pages) = (&device, &pages);
            scope.spawn(move || {
                let own = &pages[thread * 12..(thread + 1) * 12];
                for _ in 0..10 {
                    let _ = device.migrate_to_device(own).complete().unwrap();
                    let _ = device.migrate_to_host(own).complete().unwrap();
                    // All threads want this one: each call ends, with one of the results that a lost race has.
                    let shared = device.migrate_to_device(&pages[100..101]);
                    assert!(shared.is_complete() && shared.pages.len() == 1);
                    let _ = device.migrate_to_host(&pages[100..101]).complete().unwrap();
                }
            });
        }
    });
    let _ = device.migrate_to_host(&pages).complete().unwrap();
    assert_intact(&buffer, &[]);
    transport.assert_clean();
}

#[test]
fn counters_have_their_names() {
    let transport = TestTransport::new(4);
    let device = transport.open();
    transport
        .lock()
        .model
        .regs
        .insert(regs::TxFlits::OFFSET, 77);
    let counters = device.counters().unwrap();
    assert!(counters.contains(&("TxFlits", 77)) && counters.len() > 5);
    assert!(device
        .with_transport(|transport| transport.describe())
        .contains("test"));
}
