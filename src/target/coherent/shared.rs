//! Counters, queues and locks.

use super::{both, wait, Bench, Instant, LINE, PAGE, PATIENCE};
use cxlmem_driver::SharedRegion;
use cxlmem_sim::port::PortOp;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const WORD: usize = 8;

/// The engine's add: what the word was.
fn add(shared: SharedRegion<'_>, at: usize, add: u64) -> Result<u64, String> {
    let result = shared.device_fetch_add(at, add);
    result.map(|r| r.value).map_err(|e| e.to_string())
}

/// The engine's load: it adds nothing.
fn load(shared: SharedRegion<'_>, at: usize) -> Result<u64, String> {
    add(shared, at, 0)
}

/// Threads and the engine add to the counters at `places`, thread *n* to those of `of(n, _)`, until the engine has added to each `rounds` times.
fn count(
    shared: SharedRegion<'_>,
    places: &[usize],
    rounds: u64,
    of: impl Fn(usize, usize) -> bool + Sync,
) -> Result<(), String> {
    const THREADS: usize = 3;
    let made: Vec<AtomicU64> = places.iter().map(|_| AtomicU64::new(0)).collect();
    let stop = AtomicBool::new(false);
    let engine = std::thread::scope(|scope| {
        for n in 0..THREADS {
            let (made, stop, of) = (&made, &stop, &of);
            scope.spawn(move || loop {
                for (k, at) in places.iter().enumerate().filter(|(k, _)| of(n, *k)) {
                    let word = shared.word(*at).unwrap();
                    word.fetch_add(1, Ordering::Relaxed);
                    made[k].fetch_add(1, Ordering::Relaxed);
                }
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                std::thread::sleep(Duration::from_micros(50));
            });
        }
        let mut last = vec![0; places.len()];
        let mut engine = || {
            for round in 0..rounds {
                for (k, at) in places.iter().enumerate() {
                    let was = add(shared, *at, 1)?;
                    if round > 0 && was <= last[k] {
                        return Err(format!("counter {k} was {was} after {}", last[k]));
                    }
                    last[k] = was;
                    // The threads get the page back in between, mostly.
                    let all = || made.iter().map(|m| m.load(Ordering::Relaxed)).sum::<u64>();
                    let (before, end) = (all(), Instant::now() + Duration::from_millis(2));
                    while all() == before && Instant::now() < end {
                        std::thread::yield_now();
                    }
                }
            }
            Ok(())
        };
        let result = engine();
        stop.store(true, Ordering::Relaxed);
        result
    });
    engine?;
    for (k, at) in places.iter().enumerate() {
        let made = made[k].load(Ordering::Relaxed);
        let here = shared.word(*at).unwrap().load(Ordering::Relaxed);
        let there = load(shared, *at)?;
        if here != made + rounds || there != here {
            return Err(format!(
                "counter {k}: {here} in the process, {there} on the device; {made} by threads, {rounds} by the engine"
            ));
        }
    }
    Ok(())
}

#[test]
fn counters_of_threads_and_the_engine_add_up() {
    // Two words of one line, another line of the page, another page. Able to fail: see `both`.
    let places = [0, WORD, 5 * LINE, PAGE + 3 * WORD];
    both("full", 2, |shared, _| {
        count(shared, &places, 25, |_, _| true)
    });
}

#[test]
fn falsely_shared_words_keep_their_values() {
    // Each thread has a word of its own in a line of all, and a line of its own in a page of all; the last two are the engine's alone. Able to
    // fail: see `both`; a write-back of whole pages in place of changed words' lines would lose the engine's.
    let places = [
        0,
        WORD,
        2 * WORD,
        8 * LINE,
        9 * LINE,
        10 * LINE,
        7 * WORD,
        11 * LINE,
    ];
    both("full", 1, |shared, _| {
        count(shared, &places, 10, |n, k| k < 6 && k % 3 == n)
    });
}

#[test]
fn the_filter_takes_pages_too() {
    // 80 pages are more lines than the snoop filter of `sim` has: it takes pages back while the process loads others. Able to fail: with caches
    // of the host as large as the filter, lines of pages in the process leave by themselves, and their changes are refused.
    both("sim", 80, |shared, _| {
        let places: Vec<usize> = (0..80).map(|n| n * PAGE + n % 64 * LINE).collect();
        for at in &places {
            let word = shared.word(*at + WORD).unwrap();
            word.store(*at as u64, Ordering::Relaxed);
        }
        count(shared, &places, 2, |n, k| k % 3 == n)?;
        let kept = |at: &usize| shared.word(*at + WORD).unwrap().load(Ordering::Relaxed);
        match places.iter().find(|at| kept(at) != **at as u64) {
            Some(at) => Err(format!("the word after {at:#x} is {:#x}", kept(at))),
            None => Ok(()),
        }
    });
}

#[test]
fn an_accelerator_adds_too() {
    // Threads, the engine and the line port on one word; what the port finds rises. Able to fail: the second turn.
    const ADDS: u64 = 40;
    for keep in [false, true] {
        let bench = Bench::new("full");
        let mut region = bench.region(1);
        bench.hooks.keep_pages.store(keep, Ordering::Relaxed);
        let at = super::dpa(&region, 3 * WORD);
        let shared = region.share().unwrap();
        let result: Result<(), String> = std::thread::scope(|scope| {
            let port = scope.spawn(|| {
                let mut last = None;
                for _ in 0..ADDS {
                    let done = bench.port_at(at, PortOp::FetchAdd { word: 3, add: 1 });
                    done.result.map_err(|e| e.to_string())?;
                    let mut was = [0; 8];
                    was.copy_from_slice(&done.data[..8]);
                    let was = Some(u64::from_le_bytes(was));
                    if was <= last {
                        return Err(format!("{was:?} after {last:?}"));
                    }
                    last = was;
                }
                Ok(())
            });
            for _ in 0..ADDS {
                add(shared, 3 * WORD, 1)?;
                let word = shared.word(3 * WORD).unwrap();
                word.fetch_add(1, Ordering::Relaxed);
            }
            port.join().unwrap()
        });
        let sum = load(shared, 3 * WORD);
        if keep {
            let found = result.is_err() || sum != Ok(3 * ADDS);
            assert!(found, "a host that keeps its pages was not found");
        } else {
            result.unwrap();
            assert_eq!(sum, Ok(3 * ADDS));
            bench.assert_clean();
        }
    }
}

/// A queue of one producer and one consumer: its ends in lines of their own, then slots.
const HEAD: usize = 0;
const TAIL: usize = LINE;
const SLOTS: usize = 2 * LINE;
const SIZE: u64 = 8;
const ITEMS: u64 = 60;

fn slot(n: u64) -> usize {
    SLOTS + (n % SIZE) as usize * WORD
}

fn item(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1
}

#[test]
fn a_thread_feeds_the_engine_by_a_queue() {
    // Able to fail: see `both`.
    both("full", 1, |shared, end| {
        std::thread::scope(|scope| {
            let producer = scope.spawn(move || {
                let word = |at| shared.word(at).unwrap();
                for n in 0..ITEMS {
                    wait("room", end, || {
                        Ok(n - word(HEAD).load(Ordering::Acquire) < SIZE)
                    })?;
                    word(slot(n)).store(item(n), Ordering::Relaxed);
                    word(TAIL).store(n + 1, Ordering::Release);
                }
                Ok::<(), String>(())
            });
            let consume = || {
                for n in 0..ITEMS {
                    wait("an item", end, || Ok(load(shared, TAIL)? > n))?;
                    let got = load(shared, slot(n))?;
                    if got != item(n) {
                        return Err(format!("item {n} is {got:#x}"));
                    }
                    add(shared, HEAD, 1)?;
                }
                Ok(())
            };
            let consumed = consume();
            producer.join().unwrap().and(consumed)
        })
    });
}

#[test]
fn the_engine_feeds_a_thread_by_a_queue() {
    // Able to fail: see `both`.
    both("full", 1, |shared, end| {
        std::thread::scope(|scope| {
            let consumer = scope.spawn(move || {
                let word = |at| shared.word(at).unwrap();
                for n in 0..ITEMS {
                    wait(
                        "an item",
                        end,
                        || Ok(word(TAIL).load(Ordering::Acquire) > n),
                    )?;
                    let got = word(slot(n)).load(Ordering::Relaxed);
                    if got != item(n) {
                        return Err(format!("item {n} is {got:#x}"));
                    }
                    word(HEAD).store(n + 1, Ordering::Release);
                }
                Ok::<(), String>(())
            });
            let produce = || {
                for n in 0..ITEMS {
                    wait("room", end, || Ok(n - load(shared, HEAD)? < SIZE))?;
                    let old = load(shared, slot(n))?;
                    add(shared, slot(n), item(n).wrapping_sub(old))?;
                    add(shared, TAIL, 1)?;
                }
                Ok(())
            };
            let produced = produce();
            consumer.join().unwrap().and(produced)
        })
    });
}

#[test]
fn many_threads_feed_the_engine_by_a_queue() {
    const PRODUCERS: u64 = 3;
    const EACH: u64 = 20;
    // Slots of a turn and a value: free for ticket n when the turn is n, filled when it is n + 1, free again at n + SIZE. Able to fail: see `both`.
    let turn = |n: u64| SLOTS + (n % SIZE) as usize * 2 * WORD;
    both("full", 1, |shared, end| {
        for n in 0..SIZE {
            shared.word(turn(n)).unwrap().store(n, Ordering::Relaxed);
        }
        std::thread::scope(|scope| {
            let producer = |id: u64| {
                move || {
                    let word = |at| shared.word(at).unwrap();
                    for k in 0..EACH {
                        let n = word(TAIL).fetch_add(1, Ordering::Relaxed);
                        wait("a free slot", end, || {
                            Ok(word(turn(n)).load(Ordering::Acquire) == n)
                        })?;
                        word(turn(n) + WORD).store(id << 32 | k, Ordering::Relaxed);
                        word(turn(n)).store(n + 1, Ordering::Release);
                    }
                    Ok::<(), String>(())
                }
            };
            let producers: Vec<_> = (0..PRODUCERS).map(|id| scope.spawn(producer(id))).collect();
            let consume = || {
                let mut next = [0; PRODUCERS as usize];
                for n in 0..PRODUCERS * EACH {
                    wait("an item", end, || Ok(load(shared, turn(n))? == n + 1))?;
                    let got = load(shared, turn(n) + WORD)?;
                    let (id, k) = ((got >> 32) as usize, got & 0xFFFF_FFFF);
                    if next.get(id) != Some(&k) {
                        return Err(format!("item {n} is number {k} of {id}: {next:?}"));
                    }
                    next[id] += 1;
                    add(shared, turn(n), SIZE - 1)?;
                }
                Ok(())
            };
            let consumed = consume();
            let produced: Result<Vec<()>, _> =
                producers.into_iter().map(|p| p.join().unwrap()).collect();
            produced.map(drop).and(consumed)
        })
    });
}

#[test]
fn a_lock_word_keeps_threads_and_the_engine_apart() {
    const LOCK: usize = 0;
    const THREADS: u64 = 2;
    const TURNS: u64 = 15;
    // What the lock guards: changed by a load and a store, on the lock's page and elsewhere. Able to fail: see `both`.
    const GUARDED: [usize; 2] = [9 * LINE, PAGE];
    both("full", 2, |shared, end| {
        // Turns had: nobody gets ahead of the others, however they are scheduled.
        let (by_threads, by_engine) = (&AtomicU64::new(0), &AtomicU64::new(0));
        let behind = |of: &'static str, turns: &AtomicU64, turn| {
            wait(of, end, || Ok(turns.load(Ordering::Relaxed) >= turn))
        };
        std::thread::scope(|scope| {
            let thread = |id: u64| {
                move || {
                    let word = |at| shared.word(at).unwrap();
                    let (taken, else_) = (Ordering::Acquire, Ordering::Relaxed);
                    for turn in 0..TURNS {
                        behind("the engine", by_engine, turn)?;
                        wait("the lock", end, || {
                            let lock = word(LOCK).compare_exchange(0, id + 1, taken, else_);
                            Ok(lock.is_ok())
                        })?;
                        for at in GUARDED {
                            let old = word(at).load(Ordering::Relaxed);
                            std::thread::yield_now();
                            word(at).store(old + 1, Ordering::Relaxed);
                        }
                        word(LOCK).store(0, Ordering::Release);
                        by_threads.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<(), String>(())
                }
            };
            let threads: Vec<_> = (0..THREADS).map(|id| scope.spawn(thread(id))).collect();
            let swap = |at, old, new| {
                let was = shared.device_compare_swap(at, old, new);
                was.map(|was| was.value == old).map_err(|e| e.to_string())
            };
            let engine = || {
                for turn in 0..TURNS {
                    behind("the threads", by_threads, turn)?;
                    wait("the lock", end, || swap(LOCK, 0, 99))?;
                    for at in GUARDED {
                        let old = load(shared, at)?;
                        if !swap(at, old, old + 1)? {
                            return Err(format!("{at} changed under the engine's lock"));
                        }
                    }
                    if !swap(LOCK, 99, 0)? {
                        return Err("the engine's lock was broken".into());
                    }
                    by_engine.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            };
            let locked = engine();
            by_engine.store(TURNS, Ordering::Relaxed);
            let others: Result<Vec<()>, _> =
                threads.into_iter().map(|t| t.join().unwrap()).collect();
            others.map(drop).and(locked)
        })?;
        for at in GUARDED {
            let sum = load(shared, at)?;
            if sum != (THREADS + 1) * TURNS {
                return Err(format!("{sum} turns counted at {at}"));
            }
        }
        Ok(())
    });
}

#[test]
fn counters_add_up_while_pages_move() {
    // The engine's atomics on a page in host memory are refused; all others count. Able to fail: without the pin an atomic goes to the home that the
    // page has just left.
    let bench = Bench::new("full");
    let mut region = bench.region(2);
    let shared = region.share().unwrap();
    let stop = AtomicBool::new(false);
    let moves = AtomicU64::new(0);
    let (made, added, refused) = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let mut made = 0u64;
            while !stop.load(Ordering::Relaxed) {
                let word = shared.word(LINE).unwrap();
                word.fetch_add(1, Ordering::Relaxed);
                made += 1;
                std::thread::sleep(Duration::from_micros(20));
            }
            made
        });
        let mover = scope.spawn(|| {
            let pager = shared.pager();
            while !stop.load(Ordering::Relaxed) {
                let there = pager.migrate_to_host(0..2 * PAGE).unwrap();
                assert!(there.is_complete(), "{there:?}");
                let back = pager.migrate_to_device(0..2 * PAGE).unwrap();
                assert!(back.is_complete(), "{back:?}");
                moves.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let (mut added, mut refused) = (0, 0);
        let end = Instant::now() + PATIENCE;
        while (added < 50 || moves.load(Ordering::Relaxed) < 10) && Instant::now() < end {
            match shared.device_fetch_add(LINE, 1) {
                Ok(_) => added += 1,
                Err(cxlmem_driver::Error::OnHost { page: 0 }) => refused += 1,
                Err(error) => panic!("{error}"),
            }
        }
        stop.store(true, Ordering::Relaxed);
        mover.join().unwrap();
        (thread.join().unwrap(), added, refused)
    });
    println!("{made} by the thread, {added} by the engine, {refused} refused, {moves:?} moves");
    let sum = shared.word(LINE).unwrap().load(Ordering::Relaxed);
    assert_eq!(sum, made + added);
    assert!(made > 0 && added >= 50 && moves.into_inner() >= 10);
    bench.assert_clean();
    region.close().unwrap();
}
