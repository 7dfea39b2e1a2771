//! `cxlmem sim run coherence`: hosts with cores and caches against device-coherent memory, while the device uses it too; every message, every
//! value and the single writer are checked.

use std::fmt::Write as _;
use std::time::Instant;

use anyhow::{anyhow, bail, Context, Result};
use cxlmem_sim::coherent::cover::{Cell, Cover, DeviceCover};
use cxlmem_sim::coherent::rtl::{reachable, RtlDevice, RtlOptions};
use cxlmem_sim::coherent::workload::{hunt, run as run_setup, Report, Setup};
use cxlmem_sim::rng::Rng;
use cxlmem_sim::workload::{Counted, Ledger};
use cxlmem_sim::{Faults, WireFaults};
use serde_json::{json, Value};

use super::{faults, Run};
use crate::cli::{self, usage};

/// Operations of one host and device; then another pair is made, of another shape.
const SLICE: u64 = 2_000;
/// Cycles after which nothing of a slice is under way, credits and acknowledgements included.
const QUIET: u64 = 2_000;
/// Runs that making a failure short may cost.
const BUDGET: usize = 200;
/// Lines apart that share a set of the filter.
const COMPETING: u64 = 1024;

/// Carries out the run.
pub fn run(args: &Run) -> Result<()> {
    let seed = cli::seed(args.seed)?;
    cli::check_output(args.json.as_deref())?;
    if !args.config.coherent() {
        usage!(
            "configuration {} has no directory: give --config small, full, sim or sim-ext",
            args.config.name
        );
    }
    if args.lines.is_some() || args.trace.is_some() {
        usage!("coherence chooses its lines and writes no trace: leave out --lines and --trace");
    }
    let spec = args.faults.unwrap_or(faults::Spec(WireFaults::default()));
    if spec.needs_seq() && !args.seq {
        eprintln!("without --seq a lost, repeated or swapped flit goes unnoticed: this run will show what that does");
    }
    let bar = crate::bench::progress::Progress::new(args.json.is_some()).bar(args.ops, "coherence");
    let clock = Instant::now();
    let mut rng = Rng::new(seed);
    let (mut all, mut ledger) = (Report::default(), Ledger::default());
    while all.ops < args.ops {
        let ops = SLICE.min(args.ops - all.ops) as usize;
        let (n, hot) = (rng.next_u64(), rng.chance(0.5));
        let setup = if hot {
            Setup::hot(n, ops)
        } else {
            Setup::random(n, ops)
        };
        let options = RtlOptions {
            config: args.config.name,
            // Lines of one set, or neighbours.
            stride: match args.config.line_bits {
                ..=12 => 1,
                _ if rng.chance(0.5) => COMPETING,
                _ => 1,
            },
            faults: Faults::both(spec.0),
            seq: args.seq,
            ..RtlOptions::default()
        };
        let mut device = RtlDevice::new(&setup, options).context("cannot start the simulation")?;
        let before = Counted::of(device.system_mut()).context("cannot read the counters")?;
        match run_setup(&setup, &mut device, &setup.operations()) {
            Ok(report) => all.add(&report),
            Err(first) => {
                drop(bar);
                let made = |s: &Setup| {
                    // It came up a moment ago; a run that cannot start shows as the failure that it is.
                    RtlDevice::new(s, options).unwrap_or_else(|e| panic!("{e}"))
                };
                let what = match hunt(&setup, BUDGET, made) {
                    Err(found) => found.to_string(),
                    Ok(_) => first.to_string(),
                };
                bail!("{what}\n{}", replay(args, seed));
            }
        }
        device.system_mut().run(QUIET);
        let after = Counted::of(device.system_mut()).context("cannot read the counters")?;
        ledger += after.since(&before);
        bar.add(ops as u64);
    }
    drop(bar);
    let seconds = clock.elapsed().as_secs_f64();
    let rate = (all.ops as f64 / seconds).round();
    if let Some(file) = &args.json {
        let value = json!({
            "workload": "coherence", "config": args.config.name, "seed": seed,
            "operations": all.ops, "cycles": all.cycles, "messages_checked": all.messages,
            "words_checked": all.events, "operations_per_s": rate,
            "link": faults::json(spec, &ledger), "coverage": coverage(&covered(&all.cover, args, seed)?),
        });
        cli::write_json(file, &value)?;
    } else {
        println!(
            "coherence, configuration {}, seed {seed}; all simulated but operations_per_s, which is measured here",
            args.config.name
        );
        for (name, value) in [
            ("operations", all.ops as f64),
            ("cycles", all.cycles as f64),
            ("messages_checked", all.messages as f64),
            ("words_checked", all.events as f64),
            ("operations_per_s", rate),
        ] {
            println!("  {name:<24} {value}");
        }
        println!("{}", faults::table(spec, &ledger));
        let device = covered(&all.cover, args, seed)?;
        println!("\nRequests by directory state and race with a snoop, as the host's end of the link sees them: how often; - not reached; . cannot be\n{}\n{device}", all.cover);
    }
    let losses = ledger.losses();
    if !losses.is_empty() {
        bail!(
            "the link did not deliver every message once: {}; {}",
            losses.join(", "),
            replay(args, seed)
        );
    }
    Ok(())
}

fn replay(args: &Run, seed: u64) -> String {
    let mut text = format!(
        "replay it with `cxlmem sim run coherence --config {} --ops {} --seed {seed}",
        args.config.name, args.ops
    );
    if let Some(spec) = args.faults {
        // Writing to a string cannot fail.
        let _ = write!(text, " --faults {spec}");
    }
    if args.seq {
        text += " --seq";
    }
    text + "`"
}

/// Coverage of what this device can reach; a cell that it cannot, reached, is an error.
fn covered(cover: &Cover, args: &Run, seed: u64) -> Result<DeviceCover> {
    cover
        .of_device(reachable)
        .map_err(|((row, dir, race), why)| {
            anyhow!(
                "{row:?} met {dir:?} and {race}, which cannot be: {why}; {}",
                replay(args, seed)
            )
        })
}

fn coverage(cover: &DeviceCover) -> Value {
    let name = |(row, dir, race): &Cell| format!("{row:?} {dir:?} {race}");
    let missing: Vec<String> = cover.missing.iter().map(name).collect();
    json!({ "reached": cover.reached, "reachable": cover.all, "missing": missing })
}
