//! Measurements on a device of this machine's kernel, by its node: memory of this process whose pages are on the device, beside the same memory at home.
//!
//! Nothing is measured that is not there: before and after each measurement every page is asked for.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Context, Result};
use cxlmem_driver::devfile::{Backing, CopyBy, DevFile, Memory, NodePolicy};
use cxlmem_driver::Side;

use super::dram::{self, Cycle};
use super::figures::{self, size_name};
use super::migrate::{self, sum64, TO_DEVICE, TO_HOST};
use super::source::{self, Source, PAGE};
use super::Bench;

/// Working sets of a full run, bytes.
const SETS: &[u64] = &[
    16 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
    256 << 20,
];
/// Working sets of a quick run, bytes.
const QUICK_SETS: &[u64] = &[16 << 10, 1 << 20, 16 << 20];
/// The engine of a simulated device moves some thousand pages a second: larger sizes are for the CPU's copy.
const ENGINE_LIMIT: u64 = 4 << 20;
/// Bytes that the engine moves in a cycle at best.
const ENGINE_WIDTH: u64 = 16;
/// Bytes that the engine's operations work on.
const OPERAND: usize = 64 << 10;
/// Rounds of a bandwidth, home and device in turns.
const ROUNDS: u64 = 5;
/// Passes over the memory in a round.
const PASSES: u64 = 3;

/// The pages of `memory` are all on that side, or the measurement is none.
fn resident(node: &DevFile, memory: &[u8], side: Side) -> Result<()> {
    let places = node.query(memory)?;
    let pages = places.pages.len() as u64;
    let there = match side {
        Side::Device => places.on_device,
        Side::Host => pages - places.on_device,
    };
    let name = match side {
        Side::Device => "on the device",
        Side::Host => "at home",
    };
    ensure!(
        there == pages,
        "{there} of {pages} pages are {name}, so nothing is measured; see what else uses the device (`cxlmem pages`, {})",
        node.path().display()
    );
    Ok(())
}

/// Moves all of it, or says which page did not move and why.
fn moved(node: &DevFile, memory: &[u8], to: Side) -> Result<()> {
    let result = node.migrate(memory, to, CopyBy::Cpu)?;
    if let Some((n, why)) = result.first_failure() {
        bail!(
            "page {n} of {} did not move: {why}",
            memory.len() / PAGE as usize
        );
    }
    resident(node, memory, to)
}

/// Whether the device has room for so many bytes; if not, why not.
fn room(node: &DevFile, bytes: u64) -> Result<Option<String>> {
    let free = node.stats()?.free * PAGE;
    Ok((free < bytes).then(|| format!("the device has {} free", size_name(free))))
}

/// A dependent access to pages at home, and to the same pages on the device.
pub fn latency(b: &mut Bench, node: &DevFile) -> Result<()> {
    let (sets, budget) = if b.quick {
        (QUICK_SETS, Duration::from_millis(60))
    } else {
        (SETS, Duration::from_millis(400))
    };
    let bar = b.progress.bar(3 * sets.len() as u64, "dependent accesses");
    let mut rng = b.rng(5);
    for &bytes in sets {
        let name = size_name(bytes);
        let full = room(node, bytes)?;
        let cycle = match full {
            None => Cycle::new(bytes, Backing::Small, &mut rng),
            Some(_) => None,
        };
        let Some(mut cycle) = cycle else {
            let why = full.unwrap_or("the system gave no memory for the working set".into());
            b.figures.add_not_run(&figures::NODE_READ, &[&name], &why);
            continue;
        };
        resident(node, cycle.memory(), Side::Host)?;
        let before = cycle.measure(budget);
        bar.add(1);
        let there = on_device(node, &mut cycle, budget)
            .with_context(|| format!("working set of {name}"))?;
        bar.add(1);
        moved(node, cycle.memory(), Side::Host)?;
        let after = cycle.measure(budget);
        bar.add(1);
        // What else goes on in the machine, and which came first, must not decide.
        let home = if after.read.min < before.read.min {
            after
        } else {
            before
        };
        b.add_own_memory(&name, &home);
        let f = &mut b.figures;
        f.add(&figures::NODE_READ, &[&name], there.read.min);
        f.add(&figures::NODE_READ_MEDIAN, &[&name], there.read.median);
        f.add(&figures::NODE_WRITE, &[&name], there.write.min);
        f.add(&figures::NODE_WRITE_MEDIAN, &[&name], there.write.median);
        f.add(
            &figures::NODE_SPREAD,
            &[&name],
            there.read.max - there.read.min,
        );
        f.add(
            &figures::NODE_READ_RATIO,
            &[&name],
            there.read.min / home.read.min,
        );
    }
    drop(bar);
    b.note("latency: home and device are the same memory, walked in the same order, in pages of 4 KiB; at home it is walked before and after, and the faster counts");
    b.note("latency: stages of the controller and latencies between its pins are not observable here; `--target sim` has them");
    b.note(format!("processor: {}", dram::processor()));
    Ok(())
}

/// Walks through a working set whose pages are on the device, all of them, from start to end.
fn on_device(node: &DevFile, cycle: &mut Cycle, budget: Duration) -> Result<dram::Walks> {
    moved(node, cycle.memory(), Side::Device)?;
    let walks = cycle.measure(budget);
    resident(node, cycle.memory(), Side::Device).context("after the walk")?;
    Ok(walks)
}

/// What a pass does with the memory.
#[derive(Clone, Copy)]
enum Pass {
    Read,
    Write,
    Copy,
}

impl Pass {
    const ALL: [(Pass, &'static str); 3] = [
        (Pass::Read, "read"),
        (Pass::Write, "write"),
        (Pass::Copy, "copy"),
    ];

    /// One pass over all of it, seconds.
    fn run(self, memory: &mut Memory) -> f64 {
        let bytes = memory.as_mut_slice();
        let start = Instant::now();
        match self {
            Pass::Read => {
                // SAFETY: every bit pattern is a number.
                let (_, words, _) = unsafe { bytes.align_to::<u64>() };
                std::hint::black_box(words.iter().fold(0u64, |s, w| s.wrapping_add(*w)));
            }
            Pass::Write => std::hint::black_box(bytes).fill(0x5A),
            Pass::Copy => {
                let (to, from) = bytes.split_at_mut(bytes.len() / 2);
                to.copy_from_slice(std::hint::black_box(from));
            }
        }
        start.elapsed().as_secs_f64().max(1e-9)
    }

    /// Bytes a second of the fastest pass.
    fn rate(self, memory: &mut Memory) -> f64 {
        let bytes = memory.as_slice().len() as f64;
        let passes = (0..PASSES).map(|_| self.run(memory));
        bytes / passes.fold(f64::INFINITY, f64::min)
    }
}

/// One thread that reads, writes and copies memory at home, and the same memory on the device.
pub fn bandwidth(b: &mut Bench, node: &DevFile) -> Result<()> {
    let bytes: u64 = if b.quick { 8 << 20 } else { 64 << 20 };
    if let Some(why) = room(node, bytes)? {
        for (_, name) in Pass::ALL {
            b.figures
                .add_not_run(&figures::NODE_BANDWIDTH, &[name], &why);
        }
        return Ok(());
    }
    let bar = b.progress.bar(2 * ROUNDS, "bandwidth");
    let mut memory = Memory::new(bytes as usize, Backing::Small)?;
    memory.as_mut_slice().fill(1);
    let mut rates = [[0.0f64; 3]; 2];
    // In turns, so that what else goes on in the machine meets both.
    for _ in 0..ROUNDS {
        for (side, rates) in [Side::Host, Side::Device].into_iter().zip(&mut rates) {
            moved(node, memory.as_slice(), side)?;
            for ((pass, _), rate) in Pass::ALL.into_iter().zip(rates) {
                *rate = rate.max(pass.rate(&mut memory));
            }
            resident(node, memory.as_slice(), side).context("after the passes")?;
            bar.add(1);
        }
    }
    drop(bar);
    let [home, there] = rates;
    for (n, (_, name)) in Pass::ALL.into_iter().enumerate() {
        b.figures.add(&figures::HOME_BANDWIDTH, &[name], home[n]);
        b.figures.add(&figures::NODE_BANDWIDTH, &[name], there[n]);
        b.figures
            .add(&figures::NODE_BANDWIDTH_RATIO, &[name], there[n] / home[n]);
    }
    b.note(format!(
        "bandwidth: {} in pages of 4 KiB, one thread, fastest of {} passes; a copy reads one half and writes the other",
        size_name(bytes),
        ROUNDS * PASSES
    ));
    b.note("bandwidth: slots, credits and bounds of the link are not observable here; `--target sim` has them");
    Ok(())
}

/// The engine's operations on memory of this process, checked against the CPU's. The inner result is the verdict.
pub fn engine(b: &mut Bench, node: &DevFile) -> Result<Result<()>> {
    let verdict = operations(b, node);
    let is_intact = f64::from(u8::from(verdict.is_ok()));
    b.figures.add(&figures::NODE_ENGINE_INTACT, &[], is_intact);
    Ok(verdict.context("the engine's operations"))
}

fn operations(b: &mut Bench, node: &DevFile) -> Result<()> {
    let mut memory = Memory::new(OPERAND, Backing::Small)?;
    let mut rng = b.rng(9);
    memory
        .as_mut_slice()
        .chunks_mut(64)
        .for_each(|line| line.copy_from_slice(&rng.line()));
    let refused = node.sum64(memory.as_slice());
    ensure!(
        matches!(refused, Err(cxlmem_driver::Error::OffDevice)),
        "the engine worked on memory at home: {refused:?}"
    );
    // With a policy the first operation is refused as without one, and the second brings the pages.
    let policy = NodePolicy {
        in_after: 2,
        home_after: 1 << 20,
        copy: CopyBy::Cpu,
    };
    node.set_policy(memory.as_slice(), &policy)?;
    let refused = node.sum64(memory.as_slice());
    ensure!(
        matches!(refused, Err(cxlmem_driver::Error::OffDevice)),
        "the policy moved pages at the first touch: {refused:?}"
    );
    let wanted = sum64(memory.as_slice());
    let sum = node.sum64(memory.as_slice()).context("with a policy")?;
    same("sum", sum.value, wanted)?;
    let moves = node.policy_moves()?;
    same(
        "pages that the policy moved",
        moves.to_device,
        OPERAND as u64 / PAGE,
    )?;
    node.clear_policy()?;
    resident(node, memory.as_slice(), Side::Device)?;
    let crc = node.crc32c(memory.as_slice(), 0)?;
    same(
        "CRC-32C",
        crc.value,
        migrate::crc32c(0, memory.as_slice()).into(),
    )?;
    let pattern = rng.next_u64();
    let fill = node.fill(memory.as_mut_slice(), pattern)?;
    let is_filled = memory
        .as_slice()
        .chunks(8)
        .all(|w| w == pattern.to_le_bytes());
    ensure!(
        is_filled,
        "the engine's fill left other words than {pattern:#x}"
    );
    for (name, result) in [("fill", fill), ("sum", sum), ("crc", crc)] {
        let rate = OPERAND as f64 / result.cycles.max(1) as f64;
        b.figures.add(&figures::NODE_ENGINE, &[name], rate);
    }
    // SAFETY: memory begins at a page, is longer than a word, and nobody else uses it while this borrow lives.
    let word = unsafe { AtomicU64::from_ptr(memory.as_ptr().cast()) };
    let (mut add, mut swap) = (u64::MAX, u64::MAX);
    for n in 0..8 {
        let was = word.load(Ordering::SeqCst);
        let one = node.fetch_add(word, n)?;
        same("word before the addition", one.value, was)?;
        let now = was.wrapping_add(n);
        same("word after the addition", word.load(Ordering::SeqCst), now)?;
        // Every other one expects what is not there.
        let two = node.compare_swap(word, now.wrapping_add(n % 2), !now)?;
        same("word before the exchange", two.value, now)?;
        let then = if n % 2 == 0 { !now } else { now };
        same("word after the exchange", word.load(Ordering::SeqCst), then)?;
        (add, swap) = (add.min(one.cycles), swap.min(two.cycles));
    }
    b.figures
        .add(&figures::NODE_ATOMIC, &["fetch_add"], add as f64);
    b.figures
        .add(&figures::NODE_ATOMIC, &["compare_swap"], swap as f64);
    resident(node, memory.as_slice(), Side::Device).context("after the operations")
}

fn same(what: &str, found: u64, wanted: u64) -> Result<()> {
    ensure!(found == wanted, "{what}: {found:#x}, not {wanted:#x}");
    Ok(())
}

/// One way of a trip.
#[derive(Clone, Copy, Default)]
struct Leg {
    seconds: f64,
    cycles: u64,
}

/// A file's pages to the device and home, by the engine and by the CPU. The inner result is the verdict on the data.
pub fn migrate(b: &mut Bench, node: &DevFile, file: &Source, limit: u64) -> Result<Result<()>> {
    b.note(format!("migrated file: {}", file.describe()));
    let wanted = migrate::wanted(b, limit);
    let sizes = source::sizes(&wanted, file.data.len() as u64);
    for missing in wanted.iter().filter(|s| !sizes.contains(s)) {
        let arguments = [TO_DEVICE, "engine", &size_name(*missing)];
        b.figures.add_not_run(
            &figures::NODE_MIGRATE_PAGES,
            &arguments,
            "the file is shorter",
        );
    }
    let trips = if b.quick { 3 } else { 7 };
    let bar = b.progress.bar(2 * sizes.len() as u64, "migrating");
    let mut verdict = Ok(());
    'sizes: for size in sizes {
        let name = size_name(size);
        bar.say(format!("migrating {name}"));
        for (copy, by) in [(CopyBy::Engine, "engine"), (CopyBy::Cpu, "cpu")] {
            let why = match room(node, size)? {
                None if copy == CopyBy::Engine && size > ENGINE_LIMIT => Some(format!(
                    "the engine's copies are measured up to {}",
                    size_name(ENGINE_LIMIT)
                )),
                why => why,
            };
            if let Some(why) = why {
                b.figures
                    .add_not_run(&figures::NODE_MIGRATE_PAGES, &[TO_DEVICE, by, &name], &why);
                continue;
            }
            match round_trips(node, &file.data, size, copy, trips) {
                Ok(legs) => add_legs(b, by, &name, size, &legs),
                Err(e) => {
                    verdict = Err(e.context(format!("migration of {name} by {by} failed")));
                    break 'sizes;
                }
            }
            bar.add(1);
        }
    }
    drop(bar);
    b.figures.add(
        &figures::NODE_MIGRATE_INTACT,
        &[],
        f64::from(u8::from(verdict.is_ok())),
    );
    b.note(format!("migrate: pages/s are of the median of {trips} trips, the system call whole; cycles are the engine's for the copy alone"));
    Ok(verdict)
}

fn add_legs(b: &mut Bench, by: &str, name: &str, size: u64, legs: &[[Leg; 2]]) {
    let pages = size.div_ceil(PAGE) as f64;
    for (n, way) in [TO_DEVICE, TO_HOST].into_iter().enumerate() {
        let mut seconds: Vec<f64> = legs.iter().map(|l| l[n].seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        b.figures.add(
            &figures::NODE_MIGRATE_PAGES,
            &[way, by, name],
            pages / median,
        );
        if by == "engine" {
            let cycles = legs.iter().map(|l| l[n].cycles).min().unwrap_or(0);
            b.figures.add(
                &figures::NODE_MIGRATE_CYCLES,
                &[way, name],
                cycles as f64 / pages,
            );
        }
    }
}

/// There and home several times, checked at every step.
fn round_trips(
    node: &DevFile,
    data: &[u8],
    size: u64,
    copy: CopyBy,
    trips: usize,
) -> Result<Vec<[Leg; 2]>> {
    let mut memory = Memory::new(size as usize, Backing::Small)?;
    let all = memory.as_mut_slice();
    let content = data.len().min(size as usize);
    all[..content].copy_from_slice(&data[..content]);
    // Pages that were never written would be born on the device instead of moved.
    for page in all.chunks_mut(PAGE as usize) {
        // SAFETY: inside the page, which is exclusively ours; volatile so that the store is made.
        unsafe { page.as_mut_ptr().write_volatile(page[0]) };
    }
    let mut expected = memory.as_slice().to_vec();
    (0..trips)
        .map(|trip| {
            let there = leg(node, &memory, &expected, Side::Device, copy)?;
            // What comes home must be what was written on the device.
            for (page, copy) in memory
                .as_mut_slice()
                .chunks_mut(PAGE as usize)
                .zip(expected.chunks_mut(PAGE as usize))
            {
                page[trip * 64] ^= 0xFF;
                copy[trip * 64] ^= 0xFF;
            }
            let back = leg(node, &memory, &expected, Side::Host, copy)?;
            Ok([there, back])
        })
        .collect()
}

fn leg(node: &DevFile, memory: &Memory, expected: &[u8], to: Side, copy: CopyBy) -> Result<Leg> {
    let slice = memory.as_slice();
    let pages = slice.len() as u64 / PAGE;
    let before = node.stats()?;
    let start = Instant::now();
    let result = node.migrate(slice, to, copy)?;
    let seconds = start.elapsed().as_secs_f64().max(1e-9);
    if let Some((n, why)) = result.first_failure() {
        bail!("page {n} of {pages}: {why}");
    }
    ensure!(
        result.moved == pages,
        "{} of {pages} pages moved, the others were there before",
        result.moved
    );
    resident(node, slice, to)?;
    let after = node.stats()?;
    let counted = match to {
        Side::Device => after.to_device - before.to_device,
        Side::Host => after.to_host - before.to_host,
    };
    ensure!(
        counted >= pages,
        "the module counted {counted} pages, not {pages}"
    );
    if copy == CopyBy::Engine {
        // Copies faster than the wires would be copies that did not happen.
        let least = pages * PAGE / ENGINE_WIDTH;
        ensure!(
            result.cycles >= least,
            "{} cycles of the engine for {pages} pages, and {least} are the least possible",
            result.cycles
        );
        if to == Side::Device {
            let sum = node.sum64(slice).context("the engine's sum failed")?.value;
            ensure!(
                sum == sum64(expected),
                "the engine's sum on the device is {sum:#018x}, the CPU's {:#018x}",
                sum64(expected)
            );
        }
    }
    ensure!(
        slice == expected,
        "the content changed when its pages moved"
    );
    Ok(Leg {
        seconds,
        cycles: result.cycles,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_do_what_they_say() {
        let mut memory = Memory::new(4 * PAGE as usize, Backing::Small).unwrap();
        let half = 2 * PAGE as usize;
        assert!(Pass::Write.rate(&mut memory) > 0.0);
        assert!(memory.as_slice().iter().all(|b| *b == 0x5A));
        memory.as_mut_slice()[half..].fill(3);
        assert!(Pass::Copy.rate(&mut memory) > 0.0);
        assert!(memory.as_slice().iter().all(|b| *b == 3));
        assert!(Pass::Read.rate(&mut memory).is_finite());
    }

    #[test]
    fn legs_become_figures() {
        let mut b = Bench::for_test("sim-ext");
        let leg = |seconds, cycles| Leg { seconds, cycles };
        let legs = [
            [leg(0.5, 600), leg(1.0, 700)],
            [leg(0.25, 800), leg(2.0, 900)],
            [leg(1.0, 640), leg(4.0, 720)],
        ];
        add_legs(&mut b, "engine", "8KiB", 8192, &legs);
        add_legs(&mut b, "cpu", "8KiB", 8192, &legs);
        for (id, value) in [
            ("node.migrate.to_device.engine.pages_per_s.8KiB", Some(4.0)),
            ("node.migrate.to_host.cpu.pages_per_s.8KiB", Some(1.0)),
            (
                "node.migrate.to_device.engine.cycles_per_page.8KiB",
                Some(300.0),
            ),
            (
                "node.migrate.to_host.engine.cycles_per_page.8KiB",
                Some(350.0),
            ),
            ("node.migrate.to_host.cpu.cycles_per_page.8KiB", None),
        ] {
            assert_eq!(b.figures.value(id), value, "{id}");
        }
    }
}
