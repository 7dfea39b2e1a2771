//! Measurements on a board at the end of a serial line. What the host sees is the line's time; what the engine counts are cycles of the board's clock.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use cxlmem_driver::transport::{Intent, Transport, LINE};
use cxlmem_driver::{CoherentRegion, Device, Side};
use cxlmem_hdl::Config;

use super::figures::{self, size_name};
use super::migrate::{TO_DEVICE, TO_HOST};
use super::source::{self, Source, PAGE};
use super::Bench;
use crate::cli::usage;

/// Sizes to migrate in a full run, bytes: over a line of 3 Mbaud the largest takes some seconds.
const SIZES: &[u64] = &[4 << 10, 64 << 10, 256 << 10];
/// In a quick run.
const QUICK_SIZES: &[u64] = &[4 << 10, 16 << 10];

/// Page-sized reads cannot be faster, bytes a second: ten bits a byte, of five slots four are data, and of 68 bytes 64 are slots (cxl-mem 8.5).
pub fn bound(baud: u32) -> f64 {
    f64::from(baud) / 10.0 * 0.8 * 64.0 / 68.0
}

/// The most bytes to migrate at once.
///
/// # Errors
/// More than half of the board's memory.
pub fn limit(config: &Config, asked: Option<u64>, quick: bool) -> Result<u64> {
    let sizes = if quick { QUICK_SIZES } else { SIZES };
    let most = sizes.iter().copied().max().unwrap_or(PAGE);
    let half = config.capacity() / 2;
    let bytes = asked.unwrap_or(most.min(half));
    if bytes > half {
        usage!(
            "--size {} is more than half of the board's memory: use --size {}",
            size_name(bytes),
            size_name(half)
        );
    }
    Ok(bytes)
}

/// Lines one at a time.
pub fn latency(b: &mut Bench) -> Result<()> {
    let repeats = if b.quick { 8 } else { 64 };
    let mut target = b.target(1 << 20)?;
    target.bring_up().context("the board does not come up")?;
    let base = target.hdm_window()?.base;
    let lines = b.config.capacity() / LINE as u64;
    let mut rng = b.rng(7);
    let bar = b.progress.bar(repeats, "lines");
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..repeats {
        let at = base + rng.below(lines) * LINE as u64;
        let line = rng.line();
        let start = Instant::now();
        target.line_write(at, &line)?;
        target.line_flush(at, LINE as u64)?;
        writes.push(start.elapsed().as_secs_f64() * 1e6);
        let mut found = [0; LINE];
        let start = Instant::now();
        target.line_read(at, Intent::Shared, &mut found)?;
        reads.push(start.elapsed().as_secs_f64() * 1e6);
        anyhow::ensure!(found == line, "the line at {at:#x} is not what was written");
        bar.add(1);
    }
    drop(bar);
    for (pass, mut samples) in [("read", reads), ("write", writes)] {
        samples.sort_by(f64::total_cmp);
        let f = &mut b.figures;
        f.add(&figures::LINE_ACCESS, &[pass], samples[0]);
        f.add(
            &figures::LINE_ACCESS_MEDIAN,
            &[pass],
            samples[samples.len() / 2],
        );
    }
    b.note("latency: of the line and of the host's end; what the device itself takes is in `locality`, in cycles of its clock");
    Ok(())
}

/// Pages one after the other.
pub fn bandwidth(b: &mut Bench, baud: Option<u32>) -> Result<()> {
    let pages = if b.quick { 2 } else { 16 };
    let mut target = b.target(1 << 20)?;
    target.bring_up().context("the board does not come up")?;
    let base = target.hdm_window()?.base;
    let pages = pages.min(b.config.capacity() / PAGE);
    let bar = b.progress.bar(2 * pages, "pages");
    let mut rng = b.rng(8);
    let (mut reading, mut writing) = (0.0, 0.0);
    for page in 0..pages {
        let at = base + page * PAGE;
        let data: Vec<[u8; LINE]> = (0..64).map(|_| rng.line()).collect();
        let start = Instant::now();
        for (n, line) in data.iter().enumerate() {
            target.line_write(at + (n * LINE) as u64, line)?;
        }
        target.line_flush(at, PAGE)?;
        writing += start.elapsed().as_secs_f64();
        bar.add(1);
        let mut lines = [[0; LINE]; 64];
        let start = Instant::now();
        target.lines_read(at, Intent::Shared, &mut lines)?;
        reading += start.elapsed().as_secs_f64();
        anyhow::ensure!(lines[..] == data[..], "page {page} is not what was written");
        bar.add(1);
    }
    drop(bar);
    let bytes = (pages * PAGE) as f64;
    for (pass, seconds) in [("read", reading), ("write", writing)] {
        b.figures
            .add(&figures::LINE_PAGES, &[pass], bytes / seconds);
    }
    match baud {
        Some(baud) => {
            let share = bytes / reading / bound(baud);
            b.figures.add(&figures::LINE_SHARE, &[], share);
        }
        None => b.figures.add_not_run(
            &figures::LINE_SHARE,
            &[],
            "a pseudo-terminal has no rate of its own",
        ),
    }
    Ok(())
}

/// A file's pages to the board and home, by its engine; the inner result is the verdict on the data.
pub fn migrate(b: &mut Bench, file: &Source, limit: u64) -> Result<Result<()>> {
    b.note(format!("migrated file: {}", file.describe()));
    let offered = if b.quick { QUICK_SIZES } else { SIZES };
    let mut wanted: Vec<u64> = offered.iter().copied().filter(|s| *s < limit).collect();
    wanted.push(limit);
    let sizes = source::sizes(&wanted, file.data.len() as u64);
    let largest = sizes.iter().copied().max().unwrap_or(PAGE);
    let device = b.device(largest as usize + (1 << 20))?;
    let bar = b.progress.bar(sizes.len() as u64, "migrating");
    let mut verdict = Ok(());
    for size in sizes {
        let name = size_name(size);
        let trip = round_trip(&device, &file.data[..size as usize])
            .with_context(|| format!("migration of {name} failed"));
        match trip {
            Ok(trip) if trip.wrong == 0 => {
                let pages = size.div_ceil(PAGE) as f64;
                for (way, seconds) in [(TO_DEVICE, trip.there), (TO_HOST, trip.home)] {
                    b.figures
                        .add(&figures::LINE_MIGRATE, &[way, &name], pages / seconds);
                }
            }
            Ok(trip) => {
                verdict = Err(anyhow::anyhow!("{} bytes of {name} are wrong", trip.wrong));
                break;
            }
            Err(e) => {
                verdict = Err(e);
                break;
            }
        }
        bar.add(1);
    }
    drop(bar);
    if verdict.is_ok() {
        verdict = device.close().context("the device did not close");
    }
    let intact = f64::from(u8::from(verdict.is_ok()));
    b.figures.add(&figures::LINE_MIGRATE_INTACT, &[], intact);
    Ok(verdict)
}

/// What became of memory that went to the device and home.
pub struct RoundTrip {
    /// Seconds to the device.
    pub there: f64,
    /// Seconds home.
    pub home: f64,
    /// Bytes that differ then.
    pub wrong: usize,
}

/// Moves pages of a region to the device by its engine, and home.
///
/// # Errors
/// What the driver says.
pub fn round_trip(device: &Arc<Device>, data: &[u8]) -> Result<RoundTrip> {
    let bytes = data.len().next_multiple_of(PAGE as usize);
    let mut region = CoherentRegion::new(device, bytes)?;
    region.as_mut_slice()[..data.len()].copy_from_slice(data);
    let pager = region.pager();
    let go = |to: Side| -> Result<f64> {
        let start = Instant::now();
        let moved = match to {
            Side::Device => pager.migrate_to_device(0..bytes)?,
            Side::Host => pager.migrate_to_host(0..bytes)?,
        };
        let seconds = start.elapsed().as_secs_f64();
        drop(
            moved
                .complete()
                .with_context(|| format!("pages do not move ({to:?})"))?,
        );
        for page in 0..bytes / PAGE as usize {
            let is = region.residency(page)?.side();
            anyhow::ensure!(
                is == to,
                "page {page} is said to have moved, and is not there ({to:?})"
            );
        }
        Ok(seconds)
    };
    // A region begins on the device.
    go(Side::Host)?;
    let (there, home) = (go(Side::Device)?, go(Side::Host)?);
    let pairs = region.as_slice().iter().zip(data);
    let wrong = pairs.filter(|(a, b)| a != b).count();
    region.close()?;
    Ok(RoundTrip { there, home, wrong })
}
