//! `cxlmem board check`: a smoke test of a board on its serial port.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{ensure, Context, Result};
use comfy_table::{presets, Table};
use cxlmem_driver::transport::{Intent, Transport, LINE};
use cxlmem_driver::{Device, Options};
use cxlmem_hdl::config::Backend;
use cxlmem_protocol::regs;
use cxlmem_sim::rng::Rng;
use serde_json::json;

use crate::bench::line;
use crate::cli::{self, usage};
use crate::target::{self, SimTarget, Target};

/// Pages that are written and read as a whole: over a serial line many more would take minutes.
const WHOLE_PAGES: usize = 4;
/// Bytes that the engine moves at most.
const MIGRATED: usize = 16 << 10;
/// Page-sized reads reach this share of the bound of the line: of five slots four are data, and of 68 bytes 64 are slots (cxl-mem 8.5).
const LINE_SHARE: f64 = 0.70;
/// Cycles of the device's clock that the engine takes for a hop of a pointer chase in block RAM, at most.
const HOP_CYCLES: f64 = 40.0;
/// The same in an SDRAM.
const SDRAM_HOP_CYCLES: f64 = 64.0;
/// Damaged frames of all that were received, at most.
const DAMAGED_SHARE: f64 = 0.01;

const EXAMPLES: &str = "\
Examples:
  cxlmem board check serial:/dev/ttyUSB0                link, identity, memory, engine, latency
  cxlmem board check serial:/dev/ttyUSB0,1000000        a board at another rate than 3 Mbaud
  cxlmem board check serial:link --any-speed --json -   a simulated board: `cxlmem serve board --link link`";

/// Arguments of `cxlmem board check`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Check {
    /// The board's port: `serial:PORT` or `serial:PORT,BAUD`
    target: String,
    /// Seed of what is written (also CXLMEM_SEED)
    #[arg(long)]
    seed: Option<u64>,
    /// Do not judge how fast the line is: for a simulated board
    #[arg(long)]
    any_speed: bool,
    /// Write what was found as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One thing that was looked at.
struct Found {
    name: &'static str,
    ok: bool,
    value: String,
}

/// Carries out `cxlmem board check`.
///
/// # Errors
/// A board that does not answer, or fails a check.
pub fn run(args: &Check) -> Result<()> {
    let Target::Serial(port, baud) = target::parse(&args.target)? else {
        usage!(
            "target `{}`: a board is on a port, such as `serial:/dev/ttyUSB0`",
            args.target
        );
    };
    cli::check_output(args.json.as_deref())?;
    let seed = cli::seed(args.seed)?;
    let options = cxlmem_sim::system::Options {
        seed,
        host_mem_bytes: 4 << 20,
        ..Default::default()
    };
    let mut target = SimTarget::board(&port, baud, options)?;
    let (hello, _) = target.on_line().context("the target is no board")?;
    let config = target.config();
    let state = target.line_state().context("the target is no board")?;
    let mut found = vec![Found {
        name: "identity",
        ok: true,
        value: format!(
            "configuration {}, {} kHz, {} cycles a bit",
            config.name, hello.clock_khz, hello.divisor
        ),
    }];
    let mut add = |name, ok, value: String| {
        eprintln!("{name}: {value}{}", if ok { "" } else { " FAILED" });
        found.push(Found { name, ok, value });
    };
    target.bring_up().context("the board does not come up")?;
    let status = target.mmio_read32(regs::LinkStatus::OFFSET)?;
    add(
        "link",
        regs::LinkStatus::UP.is_set(status),
        format!("status {status:#x}"),
    );

    let memory = memory(&mut target, seed)?;
    add(
        "memory",
        memory.wrong == 0,
        format!(
            "{} KiB all over {} KiB written and read, {} bytes wrong, seed {seed}",
            memory.bytes >> 10,
            config.capacity() >> 10,
            memory.wrong
        ),
    );
    let bound = line::bound(baud);
    add(
        "read rate",
        args.any_speed || memory.rate >= LINE_SHARE * bound,
        format!(
            "{:.1} kB/s, {:.1} % of the line's bound",
            memory.rate / 1e3,
            100.0 * memory.rate / bound
        ),
    );
    if config.engine {
        let device =
            Device::open(target, &Options::default()).context("the driver does not open it")?;
        // Half of what is there at most: a page is left for the chase.
        let bytes = (device.free_bytes() as usize / 2).min(MIGRATED) / 4096 * 4096;
        let mut rng = Rng::new(!seed);
        let data: Vec<u8> = (0..bytes).map(|_| rng.next_u64() as u8).collect();
        let wrong = line::round_trip(&device, &data)?.wrong;
        add(
            "migration",
            wrong == 0,
            format!("{} pages there and back, {wrong} bytes wrong", bytes / 4096),
        );
        let per_hop = chase(&device)?;
        let limit = match config.backend {
            Backend::Block => HOP_CYCLES,
            Backend::External => SDRAM_HOP_CYCLES,
        };
        let ns = per_hop * 1e6 / f64::from(hello.clock_khz);
        add(
            "engine",
            per_hop <= limit,
            format!("{per_hop:.1} cycles a hop, {ns:.0} ns"),
        );
        device.close()?;
    } else {
        eprintln!(
            "configuration {} has no engine: migration and latency are not looked at",
            config.name
        );
    }

    let frames = state.counters();
    let share = frames.damaged as f64 / (frames.received.max(1) as f64);
    add(
        "line",
        share <= DAMAGED_SHARE,
        format!(
            "{} frames received, {} damaged, {} sent again, {} time-outs; nothing lost",
            frames.received, frames.damaged, frames.repeated, frames.timeouts
        ),
    );
    let failed = found.iter().filter(|f| !f.ok).count();
    if let Some(file) = &args.json {
        let all: Vec<_> = found
            .iter()
            .map(|f| json!({ "check": f.name, "ok": f.ok, "value": f.value }))
            .collect();
        cli::write_json(
            file,
            &json!({ "target": args.target, "seed": seed, "failed": failed, "checks": all }),
        )?;
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    for f in &found {
        table.add_row([f.name, if f.ok { "pass" } else { "FAIL" }, &f.value]);
    }
    cli::say!(cli::is_stdout(args.json.as_deref()), "{table}");
    cli::say!(
        cli::is_stdout(args.json.as_deref()),
        "Look at the diodes: 0 and 1 are lit, 2 and 3 have changed with the bytes, 7 blinks.\n{} passed, {failed} failed",
        found.len() - failed
    );
    ensure!(failed == 0, "{failed} of {} checks failed", found.len());
    Ok(())
}

/// What became of memory that was written and read again.
struct Memory {
    bytes: usize,
    /// Of them, those that differ.
    wrong: usize,
    /// Bytes per second in reads of whole pages.
    rate: f64,
}

/// Writes memory all over the device, takes it out of the host's caches, and reads it: a few lines at every power of two and at the end, so that an address line
/// that is missing or connected twice shows, and whole pages at random.
fn memory(target: &mut SimTarget, seed: u64) -> Result<Memory> {
    let base = target.hdm_window()?.base;
    let pages = target.config().capacity() / 4096;
    let mut rng = Rng::new(seed);
    // Pages, and how many of their lines.
    let mut places = BTreeMap::from([(0, 8), (pages - 1, 8)]);
    places.extend((0..pages.ilog2()).map(|bit| (1 << bit, 8)));
    for _ in 0..WHOLE_PAGES {
        places.insert(rng.below(pages), 64);
    }
    let mut written = Vec::new();
    for (page, lines) in places {
        let at = base + page * 4096;
        let data: Vec<[u8; LINE]> = (0..lines)
            .map(|_| std::array::from_fn(|_| rng.next_u64() as u8))
            .collect();
        for (n, line) in data.iter().enumerate() {
            target.line_write(at + (n * LINE) as u64, line)?;
        }
        target.line_flush(at, 4096)?;
        written.push((at, data));
    }
    let (mut bytes, mut wrong, mut whole, mut seconds) = (0, 0, 0, 0.0);
    for (at, data) in &written {
        let mut lines = vec![[0; LINE]; data.len()];
        let start = Instant::now();
        let poison = target.lines_read(*at, Intent::Shared, &mut lines)?;
        if lines.len() == 64 {
            whole += 4096;
            seconds += start.elapsed().as_secs_f64();
        }
        let differ = lines.iter().flatten().zip(data.iter().flatten());
        wrong += differ.filter(|(a, b)| a != b).count() + LINE * poison.count_ones() as usize;
        bytes += lines.len() * LINE;
    }
    Ok(Memory {
        bytes,
        wrong,
        rate: f64::from(whole) / seconds,
    })
}

/// Cycles of the device's clock for a hop of a pointer chase in its memory, by the engine: what the line costs is not in it.
fn chase(device: &Arc<Device>) -> Result<f64> {
    const HOPS: u32 = 64;
    let buffer = device.alloc_device(4096)?;
    // A ring of 64 lines: each points to the next.
    let mut ring = vec![0u8; 4096];
    for line in 0..64usize {
        let next = ((line + 1) % 64 * LINE) as u64;
        ring[line * LINE..][..8].copy_from_slice(&next.to_le_bytes());
    }
    buffer.write(0, &ring)?;
    let chased = device.chase(buffer.operand(), HOPS)?;
    Ok(chased.cycles as f64 / f64::from(HOPS))
}
