//! `cxlmem board check`: a smoke test of a board on its serial port.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{ensure, Context, Result};
use comfy_table::{presets, Table};
use cxlmem_driver::{CoherentRegion, Device, Options};
use cxlmem_protocol::regs;
use cxlmem_sim::rng::Rng;
use serde_json::json;

use crate::cli::{self, usage};
use crate::target::{self, SimTarget, Target};

/// Most memory that is tested, bytes: over a serial line more would take minutes.
const MEMORY: usize = 64 << 10;
/// Page-sized reads reach this share of the bound of the line: of five slots four are data, and of 68 bytes 64 are slots (cxl-mem 8.5).
const LINE_SHARE: f64 = 0.70;
/// Cycles of the device's clock that the engine takes for a hop of a pointer chase in its own memory, at most.
const HOP_CYCLES: f64 = 40.0;
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
    let target = SimTarget::board(&port, baud, options)?;
    let (hello, _) = target.on_line().context("the target is no board")?;
    let config = target.config();
    let line = target.line_state().context("the target is no board")?;
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
    ensure!(
        config.engine,
        "configuration {} has no engine: this check needs one (`cxlmem list --target {}` reads its registers)",
        config.name,
        args.target
    );
    let device = Device::open(target, &Options::default()).context("the board does not come up")?;
    let status = device.with_transport(|t| t.mmio_read32(regs::LinkStatus::OFFSET))?;
    add(
        "link",
        regs::LinkStatus::UP.is_set(status),
        format!("status {status:#x}"),
    );

    // Lines of the device's memory, written, taken out of the host's caches, and read.
    // Half of it: a page is left for the engine.
    let bytes = (device.free_bytes() as usize / 2).min(MEMORY) / 4096 * 4096;
    let mut region = CoherentRegion::new(&device, bytes)?;
    let mut rng = Rng::new(seed);
    let data: Vec<u8> = (0..bytes).map(|_| rng.next_u64() as u8).collect();
    region.as_mut_slice().copy_from_slice(&data);
    let pager = region.pager();
    let moved = pager.migrate_to_device(0..bytes)?.complete();
    drop(moved.context("pages do not move to the board")?);
    pager.prefault(0..bytes, true)?;
    pager.evict(0..bytes)?;
    let start = Instant::now();
    pager.prefault(0..bytes, false)?;
    let seconds = start.elapsed().as_secs_f64();
    let wrong = region
        .as_slice()
        .iter()
        .zip(&data)
        .filter(|(a, b)| a != b)
        .count();
    add(
        "memory",
        wrong == 0,
        format!(
            "{} bytes there and back, {wrong} of them wrong, seed {seed}",
            data.len()
        ),
    );
    let rate = data.len() as f64 / seconds;
    let bound = f64::from(baud) / 10.0 * 0.8 * 64.0 / 68.0;
    add(
        "read rate",
        args.any_speed || rate >= LINE_SHARE * bound,
        format!(
            "{:.1} kB/s, {:.1} % of the line's bound",
            rate / 1e3,
            100.0 * rate / bound
        ),
    );
    region.close()?;

    // The engine, in cycles of its own clock: what the line costs is not in it.
    let buffer = device.alloc_device(4096)?;
    // A ring of 64 lines: each points to the next.
    let mut ring = vec![0u8; 4096];
    for line in 0..64usize {
        let next = ((line + 1) % 64 * 64) as u64;
        ring[line * 64..][..8].copy_from_slice(&next.to_le_bytes());
    }
    buffer.write(0, &ring)?;
    let hops = 64;
    let chased = device.chase(buffer.operand(), hops)?;
    let per_hop = chased.cycles as f64 / f64::from(hops);
    let ns = per_hop * 1e6 / f64::from(hello.clock_khz);
    add(
        "engine",
        per_hop <= HOP_CYCLES,
        format!("{per_hop:.1} cycles a hop, {ns:.0} ns"),
    );
    drop(buffer);
    device.close()?;

    let frames = line.counters();
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
