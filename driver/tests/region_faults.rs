//! `CoherentRegion` when something fails: bad pages, a stopped engine, refused write-backs and allocations.

mod common;

use common::{TestTransport, PAGE};
use cxlmem_driver::{
    CoherentRegion, Device, Error, Mapped, PageResult, RegionOptions, Residency, Side,
};
use cxlmem_protocol::engine::Status;
use std::sync::Arc;

fn setup(device_pages: usize, region_pages: usize) -> (TestTransport, Arc<Device>, CoherentRegion) {
    let transport = TestTransport::new(device_pages);
    let device = transport.open();
    let region = CoherentRegion::new(&device, region_pages * PAGE).unwrap();
    (transport, device, region)
}

fn options(home: Side) -> RegionOptions {
    RegionOptions {
        home,
        ..RegionOptions::default()
    }
}

#[test]
fn bad_pages_in_the_middle_stay_and_the_rest_moves() {
    let (transport, _device, mut region) = setup(64, 20);
    region
        .as_mut_slice()
        .iter_mut()
        .enumerate()
        .for_each(|(i, byte)| *byte = (i / PAGE) as u8 + 1);
    region.evict(0..20 * PAGE).unwrap();
    let Residency::Device { dpa } = region.residency(11).unwrap() else {
        panic!()
    };
    transport.lock().model.poison.insert(dpa + 128);
    let home = region.migrate_to_host(0..20 * PAGE).unwrap();
    let poison = PageResult::Failed {
        code: Status::Poison as u8,
    };
    for (n, result) in home.pages.iter().enumerate() {
        assert_eq!(
            *result,
            if n == 11 { poison } else { PageResult::Moved },
            "page {n}"
        );
    }
    assert_eq!(region.residency(11).unwrap(), Residency::Device { dpa });
    assert!((0..20)
        .filter(|n| *n != 11)
        .all(|n| region.as_slice()[n * PAGE + 9] == n as u8 + 1));

    // A prefault says what a load would get as a SIGBUS; a whole-line store elsewhere does not help, clearing the poison does.
    assert!(
        matches!(region.prefault(11 * PAGE..12 * PAGE, false), Err(Error::Poison { dpa: at }) if at == dpa + 128)
    );
    assert_eq!(region.mapped(11).unwrap(), Mapped::Poisoned);
    assert!(matches!(
        region.last_error(),
        Some((11, Error::Poison { .. }))
    ));
    assert!(matches!(
        region.prefault(11 * PAGE..12 * PAGE, false),
        Err(Error::Fault { page: 11, .. })
    ));
    transport.lock().model.poison.clear();
    region.evict(11 * PAGE..12 * PAGE).unwrap();
    assert_eq!(region.as_slice()[11 * PAGE + 9], 12);
    transport.assert_clean();
}

#[test]
fn an_engine_that_stops_leaves_every_page_readable() {
    for stuck in [false, true] {
        let (transport, device, mut region) = setup(64, 20);
        region
            .as_mut_slice()
            .iter_mut()
            .enumerate()
            .for_each(|(i, byte)| *byte = (i / PAGE) as u8 + 1);
        {
            let mut shared = transport.lock();
            let done = shared.model.log.len() as u32;
            shared.model.faults.freeze_after = Some(done + 1);
            shared.model.faults.stuck = stuck;
        }
        let before = transport.lock().model.host_pages();
        let home = region.migrate_to_host(0..20 * PAGE).unwrap();
        assert!(home.error.is_some());
        let expected = if stuck {
            PageResult::Quarantined
        } else {
            PageResult::Aborted
        };
        assert_eq!(home.pages, [expected; 20]);
        assert!(
            (0..20 * PAGE).all(|i| region.as_slice()[i] == (i / PAGE) as u8 + 1),
            "the data is at its source"
        );
        let again = region.migrate_to_host(0..20 * PAGE).unwrap();
        assert!(again.is_complete(), "{again:?}");
        assert_eq!(device.stats().pages_by_cpu, if stuck { 20 } else { 0 });
        assert!((0..20 * PAGE).all(|i| region.as_slice()[i] == (i / PAGE) as u8 + 1));
        region.close().unwrap();
        let leaked = transport.lock().model.host_pages() - before;
        assert_eq!(
            leaked,
            if stuck { 20 } else { 0 },
            "memory under live DMA is never freed"
        );
        transport.assert_clean();
    }
}

#[test]
fn lines_that_cannot_be_written_back_stay_in_the_page() {
    let (transport, _device, mut region) = setup(16, 2);
    region.as_mut_slice()[10] = 1;
    transport.lock().write_fails = true;
    assert!(matches!(
        region.evict(0..PAGE),
        Err(Error::Transport { .. })
    ));
    let home = region.migrate_to_host(0..2 * PAGE).unwrap();
    assert_eq!(home.pages, [PageResult::FlushFailed, PageResult::Moved]);
    region.as_mut_slice()[11] = 2;
    assert_eq!(
        region.as_slice()[10..12],
        [1, 2],
        "and can be changed again"
    );
    transport.lock().write_fails = false;
    assert!(region.migrate_to_host(0..PAGE).unwrap().is_complete());
    assert_eq!(region.as_slice()[10..12], [1, 2]);

    region.as_mut_slice()[10] = 3;
    assert!(region.migrate_to_device(0..PAGE).unwrap().is_complete());
    region.as_mut_slice()[10] = 4;
    transport.lock().write_fails = true;
    let error = region.close().unwrap_err();
    assert!(
        matches!(
            error,
            Error::Evict {
                failed: 1,
                first: 0,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn failing_allocations_leave_nothing_behind() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let base = transport.lock().model.host_pages();
    for room in 0..6 {
        transport.lock().dma_limit = base + room;
        let result = CoherentRegion::with_options(&device, 6 * PAGE, &options(Side::Host));
        assert!(matches!(result, Err(Error::Transport { .. })));
        assert_eq!(transport.lock().model.host_pages(), base);
        let region = CoherentRegion::new(&device, 6 * PAGE).unwrap();
        let home = region.migrate_to_host(0..6 * PAGE).unwrap();
        assert_eq!(home.moved(), room);
        assert!(home.pages[room..]
            .iter()
            .all(|page| *page == PageResult::NoSpace));
        drop(region);
        assert_eq!(transport.lock().model.host_pages(), base);
        assert_eq!(device.free_bytes(), 64 * PAGE as u64);
    }
    // The engine fails while the region is made: it does not come to be.
    transport.lock().dma_limit = usize::MAX;
    let done = transport.lock().model.log.len() as u32;
    transport.lock().model.faults.freeze_after = Some(done + 1);
    assert!(matches!(
        CoherentRegion::new(&device, 6 * PAGE),
        Err(Error::Device { .. })
    ));
    assert_eq!(device.free_bytes(), 64 * PAGE as u64);
    transport.assert_clean();
}
