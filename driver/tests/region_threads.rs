//! `CoherentRegion` under many threads: bounded, and no store lost.

mod common;

use common::{TestTransport, PAGE};
use cxlmem_driver::{CoherentRegion, Error, Mapped, PageResult, RegionOptions, Side};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

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
    const WRITERS: usize = 4;
    const PAGES: usize = 4;
    const ROUNDS: u64 = 30;
    let transport = TestTransport::new(64);
    let device = transport.open();
    let region = CoherentRegion::new(&device, PAGES * PAGE).unwrap();
    transport.lock().slow_store = Duration::from_micros(100);
    let rounds: [AtomicU64; WRITERS] = std::array::from_fn(|_| AtomicU64::new(0));
    let stop = AtomicBool::new(false);
    let base = region.as_mut_ptr() as usize;
    let (mut moves, start) = (0usize, Instant::now());
    std::thread::scope(|scope| {
        for (n, rounds) in rounds.iter().enumerate() {
            let stop = &stop;
            scope.spawn(move || {
                // One counter a thread in each page: writers share pages, and no counter.
                while !stop.load(Ordering::Relaxed) {
                    for page in 0..PAGES {
                        let at = (base + page * PAGE + n * 8) as *const AtomicU64;
                        // SAFETY: inside the region, which outlives the scope; 8-byte aligned; accessed as an atomic only.
                        let before = unsafe { &*at }.fetch_add(1, Ordering::Relaxed);
                        if before != rounds.load(Ordering::Relaxed) {
                            stop.store(true, Ordering::Relaxed);
                            panic!("thread {n}, page {page}: {before} stored, {rounds:?} made");
                        }
                    }
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        // Pages move all the time, and every writer gets on all the same.
        let pager = region.pager();
        while !stop.load(Ordering::Relaxed)
            && rounds
                .iter()
                .any(|rounds| rounds.load(Ordering::Relaxed) < ROUNDS)
            && start.elapsed() < Duration::from_secs(30)
        {
            let page = moves % PAGES * PAGE;
            match moves % 3 {
                0 => assert!(pager
                    .migrate_to_host(page..page + PAGE)
                    .unwrap()
                    .is_complete()),
                1 => assert!(pager
                    .migrate_to_device(0..PAGES * PAGE)
                    .unwrap()
                    .is_complete()),
                _ => pager.evict(page..page + PAGE).unwrap(),
            }
            moves += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
    println!("{moves} moves, {rounds:?} rounds in {:?}", start.elapsed());
    for (n, rounds) in rounds.iter().enumerate() {
        let rounds = rounds.load(Ordering::Relaxed);
        assert!(
            rounds >= ROUNDS,
            "writer {n} made {rounds} rounds during {moves} moves"
        );
        for page in 0..PAGES {
            let at = page * PAGE + n * 8;
            let stored = u64::from_le_bytes(region.as_slice()[at..at + 8].try_into().unwrap());
            assert_eq!(stored, rounds, "thread {n}, page {page}");
        }
    }
    transport.assert_clean();
}
