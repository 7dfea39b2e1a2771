//! `CoherentRegion`: plain pointers over the behavioural transport, with real page faults.

mod common;
#[path = "../core/tests/model/seed.rs"]
mod seed;

use common::{TestTransport, HDM_BASE, PAGE};
use cxlmem_driver::{
    CloseReport, CoherentRegion, Device, Error, Intent, Mapped, PageResult, PoolError,
    RegionOptions, Residency, Side,
};
use cxlmem_protocol::engine::Status;
use proptest::prelude::*;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

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

#[test]
fn threads_on_one_page_end_in_bounded_time_with_one_result_each() {
    for threads in [2usize, 16, 64] {
        let transport = TestTransport::new(16);
        let device = transport.open();
        let busy_wait = Duration::from_millis(20);
        let region = RegionOptions {
            busy_wait,
            ..RegionOptions::default()
        };
        let mut region = CoherentRegion::with_options(&device, 2 * PAGE, &region).unwrap();
        region.as_mut_slice().fill(0x3C);
        transport.lock().model.faults.slow_us = 3000;
        let start = Instant::now();
        let busy = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for n in 0..threads {
                let (pager, busy) = (region.pager(), &busy);
                scope.spawn(move || {
                    let to = if n % 2 == 0 { Side::Host } else { Side::Device };
                    let result = pager.migrate(0..PAGE, to).unwrap();
                    match result.pages[..] {
                        [PageResult::Moved | PageResult::AlreadyThere] => {}
                        [PageResult::Busy] => drop(busy.fetch_add(1, Ordering::Relaxed)),
                        _ => panic!("{result:?}"),
                    }
                });
            }
        });
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "{threads} threads: {:?}",
            start.elapsed()
        );
        println!("{threads} threads: {} busy", busy.into_inner());
        assert!(region.as_slice().iter().all(|byte| *byte == 0x3C));
        transport.assert_clean();
    }
}

#[test]
fn a_held_page_is_busy_after_the_bound() {
    let transport = TestTransport::new(16);
    let device = transport.open();
    let options = RegionOptions {
        busy_wait: Duration::from_millis(10),
        ..RegionOptions::default()
    };
    let region = CoherentRegion::with_options(&device, 3 * PAGE, &options).unwrap();
    // A migration that takes long: 100 ms at each wait.
    transport.lock().model.faults.slow_us = 100_000;
    let pager = region.pager();
    let slow = std::thread::spawn(move || pager.migrate_to_host(0..PAGE).unwrap());
    while region.mapped(0).unwrap() != Mapped::Busy {
        std::thread::yield_now();
    }
    let start = Instant::now();
    assert!(matches!(
        region.evict(0..PAGE),
        Err(Error::Busy { page: 0 })
    ));
    assert!(matches!(
        region.prefault(0..PAGE, false),
        Err(Error::Busy { page: 0 })
    ));
    assert!(
        start.elapsed() < Duration::from_millis(90),
        "bounded by the option, not by the other operation"
    );
    assert!(slow.join().unwrap().is_complete());
    transport.lock().model.faults.slow_us = 0;
}

#[test]
fn threads_on_disjoint_ranges_do_not_wait_for_each_other() {
    let transport = TestTransport::new(256);
    let device = transport.open();
    let mut region = CoherentRegion::new(&device, 64 * PAGE).unwrap();
    let pager = region.pager();
    std::thread::scope(|scope| {
        for (n, part) in region.as_mut_slice().chunks_mut(8 * PAGE).enumerate() {
            let pager = pager.clone();
            scope.spawn(move || {
                let range = n * 8 * PAGE..(n + 1) * 8 * PAGE;
                for round in 0..20u8 {
                    // Stores go on while the pages move under them.
                    part.iter_mut()
                        .for_each(|byte| *byte = byte.wrapping_add(round ^ n as u8));
                    let to = if round % 2 == 0 {
                        Side::Host
                    } else {
                        Side::Device
                    };
                    assert!(pager.migrate(range.clone(), to).unwrap().is_complete());
                }
            });
        }
    });
    for (n, part) in region.as_slice().chunks(8 * PAGE).enumerate() {
        let expected = (0..20u8).fold(0u8, |sum, round| sum.wrapping_add(round ^ n as u8));
        assert!(part.iter().all(|byte| *byte == expected), "range {n}");
    }
    transport.assert_clean();
}

#[test]
fn stores_and_migrations_race_and_no_store_is_lost() {
    let transport = TestTransport::new(64);
    let device = transport.open();
    let region = CoherentRegion::new(&device, 4 * PAGE).unwrap();
    let stop = AtomicBool::new(false);
    let base = region.as_mut_ptr() as usize;
    let counts: Vec<u64> = std::thread::scope(|scope| {
        let pager = region.pager();
        let stop = &stop;
        let writers: Vec<_> = (0..4usize)
            .map(|n| {
                scope.spawn(move || {
                    // One counter a thread in each page, so that writers share pages and no counter.
                    let mut rounds = 0u64;
                    while !stop.load(Ordering::Relaxed) {
                        for page in 0..4 {
                            let at = (base + page * PAGE + n * 8) as *const AtomicU64;
                            // SAFETY: inside the region, which outlives the scope; 8-byte aligned; accessed as an atomic only.
                            let before = unsafe { &*at }.fetch_add(1, Ordering::Relaxed);
                            assert_eq!(before, rounds, "thread {n}, page {page}");
                        }
                        rounds += 1;
                    }
                    rounds
                })
            })
            .collect();
        for round in 0..100usize {
            let page = round % 4 * PAGE;
            match round % 3 {
                0 => drop(
                    pager
                        .migrate_to_host(page..page + PAGE)
                        .unwrap()
                        .complete()
                        .unwrap(),
                ),
                1 => drop(
                    pager
                        .migrate_to_device(0..4 * PAGE)
                        .unwrap()
                        .complete()
                        .unwrap(),
                ),
                _ => pager.evict(page..page + PAGE).unwrap(),
            }
        }
        stop.store(true, Ordering::Relaxed);
        writers
            .into_iter()
            .map(|writer| writer.join().unwrap())
            .collect()
    });
    for (n, rounds) in counts.iter().enumerate() {
        for page in 0..4 {
            let at = page * PAGE + n * 8;
            let stored = u64::from_le_bytes(region.as_slice()[at..at + 8].try_into().unwrap());
            assert_eq!(stored, *rounds, "thread {n}, page {page}");
        }
    }
    assert!(counts.iter().sum::<u64>() > 0);
    transport.assert_clean();
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

/// Runs one of the tests below in a process of its own, which is expected to end in a certain way.
fn child(test: &str, part: &str) -> std::process::Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env("CXLMEM_TEST_PART", part)
        .output()
        .unwrap()
}

fn part() -> Option<String> {
    std::env::var("CXLMEM_TEST_PART").ok()
}

#[test]
fn a_load_of_poison_or_of_a_dead_device_is_a_sigbus() {
    let Some(part) = part() else {
        for part in [
            "uffd,poison",
            "map,poison",
            "uffd,gone",
            "map,gone",
            "uffd,store",
            "map,store",
        ] {
            let output = child("a_load_of_poison_or_of_a_dead_device_is_a_sigbus", part);
            assert_eq!(
                output.status.signal(),
                Some(libc::SIGBUS),
                "{part}: {output:?}"
            );
            assert!(
                String::from_utf8_lossy(&output.stdout).contains("before the access"),
                "{part}: {output:?}"
            );
        }
        return;
    };
    let transport = TestTransport::new(8);
    let device = transport.open();
    let options = RegionOptions {
        uffd_poison: part.starts_with("uffd"),
        ..RegionOptions::default()
    };
    let mut region = CoherentRegion::with_options(&device, 3 * PAGE, &options).unwrap();
    region.as_mut_slice().fill(1);
    region.evict(0..3 * PAGE).unwrap();
    let Residency::Device { dpa } = region.residency(1).unwrap() else {
        panic!()
    };
    transport.lock().model.poison.insert(dpa + 3 * 64);
    // The neighbours are fine, and a page that became good again is, too.
    assert_eq!((region.as_slice()[0], region.as_slice()[2 * PAGE]), (1, 1));
    assert!(region.prefault(PAGE..2 * PAGE, false).is_err());
    transport.lock().model.poison.clear();
    region.evict(PAGE..2 * PAGE).unwrap();
    assert_eq!(region.as_slice()[PAGE], 1);
    region.evict(PAGE..2 * PAGE).unwrap();
    transport.lock().model.poison.insert(dpa);
    transport.lock().model.faults.gone = part.ends_with("gone");
    println!("before the access");
    if part.ends_with("store") {
        region.as_mut_slice()[PAGE] = 2;
    } else {
        std::hint::black_box(region.as_slice()[PAGE + 2000]);
    }
    println!("not reached");
}

/// Makes the kernel answer userfaultfd(2) with an error in this process from now on.
fn forbid_userfaultfd(errno: i32) {
    const LOAD: u16 = 0x20;
    const JUMP_IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const ALLOW: u32 = 0x7FFF_0000;
    const ERRNO: u32 = 0x0005_0000;
    let step = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let mut filter = [
        step(LOAD, 0, 0, 0),
        step(JUMP_IF_EQUAL, 0, 1, libc::SYS_userfaultfd as u32),
        step(RETURN, 0, 0, ERRNO | errno as u32),
        step(RETURN, 0, 0, ALLOW),
    ];
    let program = libc::sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(result, 0);
    // SAFETY: `program` and `filter` live during the call, which copies them.
    let result = unsafe { libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_forbidden_userfaultfd_is_an_error_that_says_what_to_change() {
    let Some(part) = part() else {
        for (errno, text) in [
            (libc::EPERM, "vm.unprivileged_userfaultfd=1"),
            (libc::ENOSYS, "CONFIG_USERFAULTFD"),
        ] {
            let output = child(
                "a_forbidden_userfaultfd_is_an_error_that_says_what_to_change",
                &errno.to_string(),
            );
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success() && said.contains(text), "{output:?}");
        }
        return;
    };
    let transport = TestTransport::new(8);
    let device = transport.open();
    forbid_userfaultfd(part.parse().unwrap());
    let error = CoherentRegion::new(&device, PAGE).unwrap_err();
    assert!(matches!(
        error,
        Error::Userfaultfd {
            call: "userfaultfd",
            ..
        }
    ));
    println!("{error}");
    assert_eq!(device.free_bytes(), 8 * PAGE as u64, "nothing was taken");
}
