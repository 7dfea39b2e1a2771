//! `CoherentRegion`: plain pointers over the behavioural transport, with real page faults.

mod common;
#[path = "../core/tests/model/seed.rs"]
mod seed;

use common::{TestTransport, HDM_BASE, PAGE};
use cxlmem_driver::{
    CloseReport, CoherentRegion, Device, Error, Intent, Mapped, PageResult, PoolError,
    RegionOptions, Residency, Side,
};
use proptest::prelude::*;
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
fn loads_fetch_shared_lines_and_stores_take_ownership() {
    let (transport, _device, mut region) = setup(16, 4);
    assert_eq!(region.mapped(1).unwrap(), Mapped::Absent);
    assert_eq!(region.as_slice()[PAGE], 0, "new regions are zero");
    assert_eq!(region.mapped(1).unwrap(), Mapped::Shared);
    let Residency::Device { dpa } = region.residency(1).unwrap() else {
        panic!("a new page is on the device")
    };
    let expected: Vec<_> = (0..64)
        .map(|n| (HDM_BASE + dpa + n * 64, Intent::Shared))
        .collect();
    assert_eq!(transport.lock().reads, expected, "64 lines, shared");

    region.as_mut_slice()[PAGE + 100] = 7;
    assert_eq!(region.mapped(1).unwrap(), Mapped::Owned);
    assert!(transport.lock().reads[64..]
        .iter()
        .all(|read| read.1 == Intent::Exclusive));
    region.as_mut_slice()[2 * PAGE] = 8;
    assert_eq!(region.mapped(2).unwrap(), Mapped::Owned);
    assert_eq!(
        (region.stats().read_faults, region.stats().write_faults),
        (1, 2)
    );

    // The store is in the page; it reaches the device by eviction, one line of it.
    assert_eq!(transport.lock().model.dev[dpa as usize + 100], 0);
    region.evict(0..4 * PAGE).unwrap();
    assert_eq!(transport.lock().model.dev[dpa as usize + 100], 7);
    assert_eq!(
        (
            region.stats().pages_written_back,
            region.stats().lines_written_back
        ),
        (2, 2)
    );
    assert!((0..4).all(|page| region.mapped(page).unwrap() == Mapped::Absent));
    assert!(
        transport.lock().model.cache.is_empty(),
        "the host's caches are flushed"
    );
    assert_eq!(
        (region.as_slice()[PAGE + 100], region.as_slice()[2 * PAGE]),
        (7, 8)
    );
    assert_eq!(
        region.close().unwrap(),
        CloseReport {
            pages: 4,
            poisoned: vec![]
        }
    );
    transport.assert_clean();
}

#[test]
fn pages_move_under_valid_pointers() {
    let (transport, device, mut region) = setup(1500, 1100);
    let data: Vec<u8> = (0..1100 * PAGE).map(|i| (i ^ (i >> 11)) as u8).collect();
    region.as_mut_slice().copy_from_slice(&data);
    let all = 0..region.bytes();
    let home = region.migrate_to_host(all.clone()).unwrap();
    assert!(home.is_complete() && home.moved() == 1100 && home.engine_cycles > 0);
    assert_eq!(
        device.free_bytes(),
        1500 * PAGE as u64,
        "the device pages are free again"
    );
    assert!(matches!(
        region.residency(1099).unwrap(),
        Residency::Host { .. }
    ));
    assert!(region.as_slice() == data, "after the move home");

    region.as_mut_slice()[5 * PAGE..6 * PAGE].fill(0xEE);
    let there = region.migrate_to_device(all.clone()).unwrap();
    assert!(there.is_complete());
    assert_eq!(
        region.migrate_to_device(all).unwrap().pages,
        vec![PageResult::AlreadyThere; 1100]
    );
    let mut expected = data;
    expected[5 * PAGE..6 * PAGE].fill(0xEE);
    assert!(region.as_slice() == expected, "after the move back");
    region.close().unwrap();
    assert_eq!(device.free_bytes(), 1500 * PAGE as u64);
    device.close().unwrap();
    drop(device);
    assert_eq!(
        transport.lock().model.host_pages(),
        0,
        "all host memory is given back"
    );
    transport.assert_clean();
}

#[test]
fn a_region_can_start_in_host_memory() {
    let transport = TestTransport::new(8);
    let device = transport.open();
    let mut region =
        CoherentRegion::with_options(&device, 20 * PAGE, &options(Side::Host)).unwrap();
    region
        .as_mut_slice()
        .iter_mut()
        .enumerate()
        .for_each(|(i, byte)| *byte = i as u8);
    let there = region.migrate_to_device(0..20 * PAGE).unwrap();
    assert_eq!(there.pages[..8], [PageResult::Moved; 8]);
    assert_eq!(there.pages[8..], [PageResult::NoSpace; 12]);
    assert!(region
        .as_slice()
        .iter()
        .enumerate()
        .all(|(i, byte)| *byte == i as u8));
    region.close().unwrap();
    transport.assert_clean();
}

#[test]
fn sizes_and_ranges_are_checked() {
    let transport = TestTransport::new(16);
    let device = transport.open();
    let error = CoherentRegion::new(&device, 17 * PAGE).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Pool(PoolError::NoSpace {
                wanted: 17,
                free: 16
            })
        ),
        "{error}"
    );
    assert!(matches!(
        CoherentRegion::new(&device, 0),
        Err(Error::Size { .. })
    ));
    assert!(matches!(
        CoherentRegion::new(&device, usize::MAX),
        Err(Error::Size { .. })
    ));
    let region = CoherentRegion::new(&device, 3 * PAGE + 1).unwrap();
    assert_eq!((region.bytes(), region.pages()), (4 * PAGE, 4));
    let error = CoherentRegion::new(&device, 13 * PAGE).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("13 device pages wanted, 12 free"),
        "{error}"
    );
    for (start, end) in [(1, PAGE), (0, PAGE + 64), (64, 128)] {
        assert!(matches!(
            region.migrate_to_host(start..end),
            Err(Error::Unaligned { unit: 4096, .. })
        ));
        assert!(matches!(
            region.evict(start..end),
            Err(Error::Unaligned { .. })
        ));
        assert!(matches!(
            region.prefault(start..end, false),
            Err(Error::Unaligned { .. })
        ));
    }
    #[allow(clippy::reversed_empty_ranges)]
    for range in [0..5 * PAGE, 4 * PAGE..5 * PAGE, 2 * PAGE..PAGE] {
        assert!(matches!(
            region.migrate_to_device(range),
            Err(Error::Range { .. })
        ));
    }
    assert!(region.migrate_to_host(PAGE..PAGE).unwrap().pages.is_empty());
    assert!(matches!(region.residency(4), Err(Error::Range { .. })));
    assert!(matches!(device.close(), Err(Error::InUse { pages: 4 })));
    // Engine commands on a region's pages would bypass its write-back.
    let Residency::Device { dpa } = region.residency(0).unwrap() else {
        panic!()
    };
    let operand = cxlmem_driver::Operand::Device { dpa, bytes: 64 };
    assert!(matches!(
        device.sum64(operand),
        Err(Error::Pool(PoolError::NotOwner { .. }))
    ));
}

#[test]
fn system_calls_need_a_prefault() {
    let (_transport, _device, mut region) = setup(8, 2);
    region.as_mut_slice()[..5].copy_from_slice(b"hello");
    region.evict(0..PAGE).unwrap();
    let file = std::env::temp_dir().join(format!("cxlmem-prefault-{}", std::process::id()));
    let error = std::fs::write(&file, &region.as_slice()[..5]).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EFAULT));
    region.prefault(0..PAGE, false).unwrap();
    assert_eq!(region.mapped(0).unwrap(), Mapped::Shared);
    std::fs::write(&file, &region.as_slice()[..5]).unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), b"hello");
    region.prefault(0..2 * PAGE, true).unwrap();
    assert_eq!(
        (region.mapped(0).unwrap(), region.mapped(1).unwrap()),
        (Mapped::Owned, Mapped::Owned)
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn buffers_may_be_given_region_memory() {
    let (transport, device, mut region) = setup(16, 4);
    let host = device.alloc_host(4 * PAGE).unwrap();
    let memory = device.alloc_device(4 * PAGE as u64).unwrap();
    region
        .as_mut_slice()
        .iter_mut()
        .enumerate()
        .for_each(|(i, byte)| *byte = (i / 5) as u8);
    for round in 0..2 {
        // Absent pages on both sides of each copy: a touch under the device's lock would never end.
        region.evict(0..4 * PAGE).unwrap();
        host.write(3, &region.as_slice()[..3 * PAGE]).unwrap();
        region.evict(0..4 * PAGE).unwrap();
        memory.write(7, &region.as_slice()[..3 * PAGE]).unwrap();
        region.evict(0..4 * PAGE).unwrap();
        if round == 0 {
            host.read(3, &mut region.as_mut_slice()[..3 * PAGE])
                .unwrap();
        } else {
            memory
                .read(7, &mut region.as_mut_slice()[..3 * PAGE])
                .unwrap();
        }
        assert!(region
            .as_slice()
            .iter()
            .enumerate()
            .all(|(i, byte)| *byte == (i / 5) as u8));
    }
    transport.assert_clean();
}

#[test]
fn dropping_with_none_one_all_pages_mapped() {
    for mapped in [0, 1, 8] {
        let (transport, device, mut region) = setup(16, 8);
        region.as_mut_slice()[..mapped * PAGE].fill(1);
        let pager = region.pager();
        drop(region);
        assert_eq!(device.free_bytes(), 16 * PAGE as u64);
        assert!(transport.lock().model.cache.is_empty());
        assert!(matches!(pager.migrate_to_host(0..PAGE), Err(Error::Closed)));
        assert!(matches!(pager.evict(0..PAGE), Err(Error::Closed)));
        transport.assert_clean();
    }
}

#[derive(Clone, Debug)]
enum Op {
    Store(usize, u8, usize),
    Load(usize),
    ToHost(usize, usize),
    ToDevice(usize, usize),
    Evict(usize, usize),
    Prefault(usize, bool),
}

#[test]
fn random_operations_agree_with_an_array() {
    const PAGES: usize = 6;
    let page = 0..PAGES;
    let span = (page.clone(), 1..=PAGES);
    let op = prop_oneof![
        4 => (0..PAGES * PAGE, any::<u8>(), 1..300usize).prop_map(|(at, value, length)| Op::Store(at, value, length)),
        4 => (0..PAGES * PAGE).prop_map(Op::Load),
        2 => span.clone().prop_map(|(page, count)| Op::ToHost(page, count)),
        2 => span.clone().prop_map(|(page, count)| Op::ToDevice(page, count)),
        1 => span.prop_map(|(page, count)| Op::Evict(page, count)),
        1 => (page, any::<bool>()).prop_map(|(page, write)| Op::Prefault(page, write)),
    ];
    let check = |ops: Vec<Op>| {
        let (transport, _device, mut region) = setup(8, PAGES);
        let mut plain = vec![0u8; PAGES * PAGE];
        let range = |page: usize, count: usize| page * PAGE..(page + count).min(PAGES) * PAGE;
        for op in ops {
            match op {
                Op::Store(at, value, length) => {
                    let end = (at + length).min(plain.len());
                    plain[at..end].fill(value);
                    region.as_mut_slice()[at..end].fill(value);
                }
                Op::Load(at) => prop_assert_eq!(region.as_slice()[at], plain[at]),
                Op::ToHost(page, count) => prop_assert!(region
                    .migrate_to_host(range(page, count))
                    .unwrap()
                    .is_complete()),
                Op::ToDevice(page, count) => prop_assert!(region
                    .migrate_to_device(range(page, count))
                    .unwrap()
                    .is_complete()),
                Op::Evict(page, count) => region.evict(range(page, count)).unwrap(),
                Op::Prefault(page, write) => region.prefault(range(page, 1), write).unwrap(),
            }
        }
        prop_assert!(region.as_slice() == plain);
        region.close().unwrap();
        transport.assert_clean();
        Ok(())
    };
    seed::runner(40)
        .run(&prop::collection::vec(op, 1..40), check)
        .unwrap();
}
