//! `Device` when something fails: bad pages, a stopped or stuck engine, lost completions, a device that is gone.

mod common;

use common::pages::{assert_intact, failed, filled};
use common::{TestTransport, LIMITS, PAGE};
use cxlmem_driver::{CoreError, Error, PageResult};
use cxlmem_protocol::engine::Status;
use std::time::{Duration, Instant};

#[test]
fn bad_pages_in_the_middle_do_not_fail_the_range() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let buffer = filled(&device, 32);
    let pages = buffer.pages();
    transport.lock().model.faults.bad_host_pages.extend([
        pages[0].bus(),
        pages[7].bus(),
        pages[31].bus(),
    ]);
    let there = device.migrate_to_device(&pages);
    let bad = [0, 7, 31];
    for (n, result) in there.pages.iter().enumerate() {
        let expected = if bad.contains(&n) {
            failed(Status::DmaError)
        } else {
            PageResult::Moved
        };
        assert_eq!(*result, expected, "page {n}");
    }
    assert_eq!(
        device.free_bytes(),
        (64 - 29) * PAGE as u64,
        "pages of failed moves are free again"
    );

    transport.lock().model.faults.bad_host_pages.clear();
    let poisoned = device.device_address(pages[9]).unwrap();
    transport.lock().model.poison.insert(poisoned + 64);
    let back = device.migrate_to_host(&pages);
    assert_eq!(back.pages[9], failed(Status::Poison));
    assert_eq!(back.pages.iter().filter(|page| page.is_ok()).count(), 31);
    assert_intact(&buffer, &[9]);
    assert!(back.complete().unwrap_err().to_string().contains("poison"));
    transport.assert_clean();
}

#[test]
fn an_engine_that_stops_is_reset_and_nothing_is_lost() {
    for freeze_after in 0..6 {
        let transport = TestTransport::new(64);
        let device = transport.open();
        let buffer = filled(&device, 40);
        let pages = buffer.pages();
        transport.lock().model.faults.freeze_after = Some(freeze_after);
        let there = device.migrate_to_device(&pages);
        let hit = transport.lock().model.faults.freeze_after.is_none();
        assert_eq!(there.error.is_some(), hit, "{freeze_after}");
        if let Some(error) = there.error {
            assert!(
                matches!(
                    error,
                    Error::Device {
                        error: CoreError::CommandTimeout { .. },
                        ..
                    }
                ),
                "{error}"
            );
        }
        // The next migration works, and everything is where it says.
        transport.lock().model.faults.freeze_after = None;
        let again = device.migrate_to_device(&pages).complete().unwrap();
        assert_eq!(again.pages.len(), 40);
        let _ = device.migrate_to_host(&pages).complete().unwrap();
        assert_intact(&buffer, &[]);
        assert_eq!(device.free_bytes(), 64 * PAGE as u64);
        transport.assert_clean();
    }
}

#[test]
fn a_completion_that_never_arrives_ends_in_bounded_time() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let buffer = filled(&device, 4);
    transport.lock().model.faults.drop_completion = Some(1);
    let start = transport.lock().model.now;
    let there = device.migrate_to_device(&buffer.pages());
    assert!(there.error.is_some() && there.pages.iter().all(|page| *page == PageResult::Aborted));
    let spent = transport.lock().model.now - start;
    assert!(
        spent < 2 * LIMITS.command_ticks(4 * PAGE as u64),
        "{spent} cycles"
    );
    assert_intact(&buffer, &[]);
}

#[test]
fn a_stuck_engine_is_cut_off_and_its_pages_are_never_reused() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let safe = filled(&device, 4);
    let _ = device.migrate_to_device(&safe.pages()).complete().unwrap();
    let buffer = filled(&device, 8);
    {
        let mut shared = transport.lock();
        // The hand-over runs, the copy hangs.
        shared.model.faults.freeze_after = Some(3);
        shared.model.faults.stuck = true;
    }
    let there = device.migrate_to_device(&buffer.pages());
    assert!(
        matches!(
            there.error,
            Some(Error::Device {
                error: CoreError::EngineStuck { .. },
                ..
            })
        ),
        "{:?}",
        there.error
    );
    assert_eq!(there.pages, [PageResult::Quarantined; 8]);
    assert_eq!(transport.lock().config[1] & 4, 0, "bus mastering is off");
    assert_eq!(device.free_bytes(), (64 - 4 - 8) * PAGE as u64);
    assert_intact(&buffer, &[]);
    assert!(device
        .migrate_to_device(&buffer.pages())
        .pages
        .iter()
        .all(|page| *page == PageResult::NotRegistered));
    assert!(device.sum64(safe.operand()).is_err());

    // What was on the device comes home by the CPU.
    let back = device.migrate_to_host(&safe.pages()).complete().unwrap();
    assert_eq!(
        (
            back.moved(),
            back.engine_cycles,
            device.stats().pages_by_cpu
        ),
        (4, 0, 4)
    );
    assert_intact(&safe, &[]);
    let before = transport.lock().model.host_pages();
    drop(buffer);
    assert_eq!(
        transport.lock().model.host_pages(),
        before,
        "memory under live DMA is never freed"
    );
    drop(safe);
    device.close().unwrap();
    transport.assert_clean();
}

#[test]
fn a_device_that_is_gone_is_an_error_at_every_call_and_no_hang() {
    let transport = TestTransport::new(16);
    let device = transport.open();
    let buffer = filled(&device, 4);
    let memory = device.alloc_device(PAGE as u64).unwrap();
    transport.lock().model.faults.gone = true;
    let start = Instant::now();
    assert!(device.migrate_to_device(&buffer.pages()).error.is_some());
    assert!(device.sum64(memory.operand()).is_err());
    assert!(memory.read(0, &mut [0; 64]).is_err());
    assert!(memory.write(0, &[0; 64]).is_err());
    assert!(device.counters().is_err());
    drop((buffer, memory));
    drop(device);
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_page_that_cannot_come_home_keeps_the_device_open() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let buffer = filled(&device, 3);
    let pages = buffer.pages();
    let _ = device.migrate_to_device(&pages).complete().unwrap();
    transport
        .lock()
        .model
        .faults
        .bad_host_pages
        .insert(pages[1].bus());
    let error = device.close().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Evict {
                failed: 1,
                first: 1,
                ..
            }
        ),
        "{error}"
    );
    transport.lock().model.faults.bad_host_pages.clear();
    device.close().unwrap();
}
