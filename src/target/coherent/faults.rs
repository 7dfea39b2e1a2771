//! What the process loses and gets back, hosts that do not answer, regions that go, and wrong uses.

use super::{coherent, dpa, Bench, SimTarget, LINE, PAGE, PATIENCE};
use cxlmem_driver::{CoreError, Device, Error, Mapped, Options};
use cxlmem_protocol::engine::Status;
use cxlmem_sim::port::{Keep, PortOp};
use cxlmem_sim::system;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

fn first_word(line: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&line[..8]);
    u64::from_le_bytes(word)
}

#[test]
fn the_page_is_lost_and_comes_back() {
    // Able to fail: a recall that takes nothing away leaves the page Owned and the counters at 0.
    let bench = Bench::new("full");
    let mut region = bench.region(2);
    let pager = region.pager();
    let shared = region.share().unwrap();
    // Two changed lines, and one stored to without a change.
    for (at, value) in [(0, 5), (3 * LINE, 7), (9 * LINE, 0)] {
        shared.word(at).unwrap().store(value, Relaxed);
    }
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Owned);
    // Another page does not take it away.
    assert_eq!(shared.device_fetch_add(PAGE, 1).unwrap().value, 0);
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Owned);
    assert_eq!(shared.device_fetch_add(3 * LINE, 10).unwrap().value, 7);
    let stats = pager.stats();
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Absent);
    assert_eq!((stats.pages_recalled, stats.lines_recalled), (1, 2));
    // Every word has its value, and a page held for reading only is lost and comes back as well.
    let words = [0, LINE / 8, 3 * LINE / 8].map(|n| shared.words()[n].load(Relaxed));
    assert_eq!(words, [5, 0, 17]);
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Shared);
    assert_eq!(shared.device_compare_swap(0, 4, 1).unwrap().value, 5);
    assert_eq!(shared.device_compare_swap(0, 5, 6).unwrap().value, 5);
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Absent);
    assert_eq!(shared.words()[0].fetch_add(1, Relaxed), 6);
    assert_eq!(pager.mapped(0).unwrap(), Mapped::Owned);
    let after = pager.stats();
    assert_eq!((after.pages_recalled, after.lines_recalled), (2, 2));
    assert!(after.read_faults > stats.read_faults && after.write_faults > stats.write_faults);
    // Evicted, all of it is on the device: the accelerator's load asks for no line back.
    pager.evict(0..PAGE).unwrap();
    let snoops = bench.system(|system| system.host_counters().snoops);
    let line = bench.port_at(dpa(&region, 0), PortOp::Load(Keep::Nothing));
    assert_eq!(first_word(&line.data), 7);
    assert_eq!(bench.system(|system| system.host_counters().snoops), snoops);
    bench.assert_clean();
    region.close().unwrap();
}

#[test]
fn a_host_that_never_answers_is_an_error_in_time() {
    // Able to fail: without the time-out the first atomic ends after the limit of a command, with another error.
    let options = Options {
        snoop_timeout: Some(3000),
        ..coherent()
    };
    let bench = Bench::with("full", &options);
    let mut region = bench.region(2);
    let shared = region.share().unwrap();
    shared.words()[0].store(41, Relaxed);
    bench.system(|system| system.set_silent_to_snoops(true));
    // Both times: the second finds the answer still owed, and does not wait for ever.
    for _ in 0..2 {
        let from = bench.system(|system| system.now());
        let error = shared.device_fetch_add(0, 1).unwrap_err();
        let cycles = bench.system(|system| system.now()) - from;
        let Error::Device { error: inner, .. } = &error else {
            panic!("{error:?}")
        };
        let refused = Status::NotReleased as u8;
        assert!(
            matches!(inner, CoreError::Command { code, .. } if *code == refused),
            "{inner:?}"
        );
        assert!(error.to_string().contains("SnoopTimeout"), "{error}");
        assert!(cycles < 3000 + 10_000, "{cycles} cycles");
    }
    // Nobody lost anything: the process has its page, other lines are the engine's to change.
    assert_eq!(shared.words()[0].fetch_add(1, Relaxed), 41);
    assert_eq!(shared.device_fetch_add(PAGE, 3).unwrap().value, 0);
    // The host answers at last: the error does not stay.
    bench.system(|system| {
        system.set_silent_to_snoops(false);
        system.run(5000);
    });
    assert_eq!(shared.device_fetch_add(0, 1).unwrap().value, 42);
    assert_eq!(shared.words()[0].load(Relaxed), 43);
    bench.assert_clean();
    region.close().unwrap();
}

#[test]
fn a_device_that_hangs_is_an_error_in_time() {
    // Able to fail: a load that waits for its answer without a bound does not return.
    let bench = Bench::new("full");
    let mut region = bench.region(2);
    let pager = region.pager();
    let shared = region.share().unwrap();
    shared.words()[0].store(1, Relaxed);
    bench.system(|system| system.set_hung(true));
    let start = Instant::now();
    let fault = pager.prefault(PAGE..2 * PAGE, true).unwrap_err();
    assert!(matches!(fault, Error::Fault { page: 1, .. }), "{fault:?}");
    assert_eq!(pager.mapped(1).unwrap(), Mapped::Poisoned);
    let error = shared.device_fetch_add(0, 1).unwrap_err();
    assert!(matches!(error, Error::Device { .. }), "{error:?}");
    // What the process has, it keeps.
    assert_eq!(shared.words()[0].load(Relaxed), 1);
    drop(region);
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
}

#[test]
fn a_region_goes_while_the_device_works_on_it() {
    // The accelerator adds to words that the process has changed; the region is dropped in between. The changes of both are in memory then. Able
    // to fail: without the return of changed lines at the end, the process's are missing.
    const ADDS: u64 = 2000;
    for config in ["full", "sim"] {
        let bench = Bench::new(config);
        let mut region = bench.region(4);
        let places: Vec<usize> = (0..4).map(|page| page * PAGE + page * LINE).collect();
        let at: Vec<u64> = places.iter().map(|offset| dpa(&region, *offset)).collect();
        let shared = region.share().unwrap();
        for offset in &places {
            shared.word(*offset).unwrap().store(1000, Relaxed);
        }
        let lines: Vec<u64> = at.iter().map(|dpa| dpa / LINE as u64).collect();
        bench.system(move |system| {
            for n in 0..ADDS {
                let line = lines[n as usize % lines.len()];
                let add = PortOp::FetchAdd { word: 0, add: 1 };
                system.port_mut().issue(line, add);
            }
        });
        for offset in &places {
            shared.word(*offset).unwrap().fetch_add(100, Relaxed);
        }
        let start = Instant::now();
        drop(region);
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
        let open = bench.system(|system| {
            let open = system.port_mut().open();
            let end = system.run_until(1_000_000, "the accelerator's end", |system| {
                system.port_mut().open() == 0
            });
            end.unwrap();
            while let Some(done) = system.port_mut().poll() {
                done.result.unwrap();
            }
            open
        });
        println!("{config}: {open} of {ADDS} left when the region was gone");
        for dpa in at {
            let line = bench.port_at(dpa, PortOp::Load(Keep::Nothing));
            let word = first_word(&line.data);
            assert_eq!(word, 1100 + ADDS / 4, "{config}, {dpa:#x}");
        }
        bench.assert_clean();
        bench.device.close().unwrap();
    }
}

#[test]
fn a_region_goes_while_a_pager_moves_it() {
    // Able to fail: a migration that holds its pages without a bound is Busy here.
    let bench = Bench::new("full");
    let region = bench.region(8);
    let pager = region.pager();
    let mover = std::thread::spawn(move || {
        let mut moves = 0;
        loop {
            let there = pager.migrate_to_host(0..8 * PAGE);
            match there.and_then(|_| pager.migrate_to_device(0..8 * PAGE)) {
                Ok(_) => moves += 1,
                Err(Error::Closed) => return moves,
                Err(error) => panic!("{error}"),
            }
        }
    });
    std::thread::sleep(Duration::from_millis(200));
    let start = Instant::now();
    region.close().unwrap();
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert!(mover.join().unwrap() > 0);
    bench.assert_clean();
    bench.device.close().unwrap();
}

#[test]
fn wrong_uses_say_what_to_do() {
    let bench = Bench::with("full", &Options::default());
    let error = bench.region(1).share().unwrap_err();
    assert!(error.to_string().contains("device_coherent"), "{error}");

    let bench = Bench::new("full");
    let mut region = bench.region(2);
    let moved = region.migrate_to_host(PAGE..2 * PAGE).unwrap();
    assert!(moved.is_complete());
    let inside = dpa(&region, 0);
    let shared = region.share().unwrap();
    assert!(matches!(
        shared.device_fetch_add(PAGE, 1),
        Err(Error::OnHost { page: 1 })
    ));
    assert!(matches!(
        shared.device_fetch_add(4, 1),
        Err(Error::Unaligned { .. })
    ));
    for at in [2 * PAGE, usize::MAX - 7] {
        assert!(matches!(shared.word(at), Err(Error::Range { .. })));
        let swapped = shared.device_compare_swap(at, 0, 1);
        assert!(matches!(swapped, Err(Error::Range { .. })));
    }
    // Memory of a region is not a buffer's.
    let refused = bench.device.fetch_add(inside, 1);
    assert!(matches!(refused, Err(Error::Pool(_))), "{refused:?}");

    for cycles in [0, 1 << 24] {
        let options = Options {
            snoop_timeout: Some(cycles),
            ..coherent()
        };
        let target = SimTarget::new("small", system::Options::default()).unwrap();
        let error = Device::open(target, &options).err().unwrap();
        assert!(matches!(error, Error::Parameter { .. }), "{error}");
    }
    let target = SimTarget::new("tiny", system::Options::default()).unwrap();
    let error = Device::open(target, &coherent()).err().unwrap().to_string();
    assert!(
        error.contains("back-invalidate") && error.contains("choose a configuration"),
        "{error}"
    );
}

#[test]
fn buffers_have_atomics_in_both_kinds_of_memory() {
    // Able to fail: an engine that ignores the host's changed line finds 0, not 7.
    for options in [Options::default(), coherent()] {
        let bench = Bench::with("full", &options);
        let buffer = bench.device.alloc_device(PAGE as u64).unwrap();
        buffer.write(0, &7u64.to_le_bytes()).unwrap();
        let at = buffer.dpa();
        assert_eq!(bench.device.fetch_add(at, 5).unwrap().value, 7);
        let swapped = bench.device.compare_swap(at, 12, 1);
        assert_eq!(swapped.unwrap().value, 12);
        let mut word = [0; 8];
        buffer.read(0, &mut word).unwrap();
        assert_eq!(u64::from_le_bytes(word), 1);
    }
}
