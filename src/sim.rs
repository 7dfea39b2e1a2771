//! `cxlmem sim`: drive the simulated controller with a workload; every read is compared with a golden memory.

mod coherence;
mod coverage;
mod faults;

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use cxlmem_hdl::Config;
use cxlmem_protocol::regs;
use cxlmem_sim::home::HomeCounters;
use cxlmem_sim::link::LinkCounters;
use cxlmem_sim::system::{Options, System};
use cxlmem_sim::workload::{Counted, Ledger};
use serde_json::{json, Value};

use crate::cli::{self, usage};
use crate::target;
use crate::traffic::{Traffic, Workload};

/// Operations under way at once.
const OPEN: u64 = 128;
/// Cycles between top-ups.
const BATCH: u64 = 16;

const RUN_EXAMPLES: &str = "\
Examples:
  cxlmem sim run random --ops 100000 --seed 7           reads and writes of 1024 lines, mixed
  cxlmem sim run read --config tiny --lines 64          reads alone, in the smallest configuration
  cxlmem sim run write --ops 1000 --json -              for a program
  cxlmem sim run random --faults ber=1e-5,burst=1e-3    what a wire with bit errors and bursts of 16 bits costs; nothing may be lost
  cxlmem sim run random --seq --faults lose=1e-3,repeat=1e-3,swap=1e-3
                                                        flits that never come, come twice or too late
  cxlmem sim run coherence --ops 200000 --faults ber=1e-5 --json out.json
                                                        cores, caches, snoops and the device's own accesses; every message and value checked

Exit status: 0 all reads compared equal, 1 one did not, a message was lost or the device broke a rule, 2 wrong usage.";

/// Arguments of `cxlmem sim`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Subcommand, Debug)]
enum SimCommand {
    /// Run a workload of line operations and check the responses: a read must give what was last written or read there
    #[command(after_help = RUN_EXAMPLES)]
    Run(Run),
    /// Print which lines of the emitted Verilog the simulator's tests execute
    #[command(after_help = coverage::EXAMPLES)]
    Coverage(coverage::Args),
}

/// What to run.
#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Lines(Workload),
    Coherence,
}

/// Reads a [`What`]; its names show in the help.
fn what() -> impl TypedValueParser<Value = What> {
    let lines = Workload::value_variants()
        .iter()
        .filter_map(|w| w.to_possible_value());
    let coherence = PossibleValue::new("coherence")
        .help("Cores with caches, snoops and the device's own accesses, in device-coherent memory");
    PossibleValuesParser::new(lines.chain([coherence]))
        .map(|name| Workload::from_str(&name, true).map_or(What::Coherence, What::Lines))
}

#[derive(ClapArgs, Debug)]
struct Run {
    /// What to run: line operations of a host alone, or coherence, with cores, caches and the device on the same lines
    #[arg(value_parser = what())]
    workload: What,
    /// Named configuration
    #[arg(long, default_value = "sim", value_name = "NAME", value_parser = target::config)]
    config: &'static Config,
    /// Line operations
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    ops: u64,
    /// Lines that the operations go to; each is written once before the run, so that every read is compared [default: 1024, or all there are]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    lines: Option<u64>,
    /// Seed; printed, and equal seeds give equal runs (also CXLMEM_SEED)
    #[arg(long)]
    seed: Option<u64>,
    /// What the wire does wrong, in both directions: probabilities of ber (a bit), burst, lose, repeat and swap (a flit), and the
    /// bits of a burst [default: 16]. Shows what was injected, detected, sent again and delivered
    #[arg(long, value_name = "NAME=VALUE,..")]
    faults: Option<faults::Spec>,
    /// Sequence numbers in the CRC (option SEQ), without which lost, repeated and swapped flits are not noticed
    #[arg(long)]
    seq: bool,
    /// Write an FST trace of every signal; needs a build with `--features cxlmem-sim/trace`
    #[arg(long, value_name = "FILE.fst")]
    trace: Option<PathBuf>,
    /// Write the outcome as JSON; - or no FILE is standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Carries out `cxlmem sim`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        SimCommand::Run(run) => match run.workload {
            What::Lines(lines) => workload(&run, lines),
            What::Coherence => coherence::run(&run),
        },
        SimCommand::Coverage(args) => coverage::run(&args),
    }
}

fn workload(args: &Run, what: Workload) -> Result<()> {
    let config = args.config;
    let seed = cli::seed(args.seed)?;
    cli::check_output(args.json.as_deref())?;
    cli::check_output(args.trace.as_deref())?;
    let options = Options {
        seed,
        host_mem_bytes: 1 << 20,
        trace: args.trace.clone(),
        ..Options::default()
    };
    let mut system = System::new(config.name, options).context("cannot start the simulation")?;
    system.bring_up().context("the device does not come up")?;
    if args.seq {
        system.link_mut().offer_seq(true);
        system.reset_link().context("the link does not come up")?;
        if !system.link().has_seq() {
            bail!("the device does not offer sequence numbers");
        }
    }
    let all = config.capacity() / 64;
    let lines = args.lines.unwrap_or(1024.min(all));
    if lines > all {
        usage!(
            "configuration {} has {all} lines: give --lines {all} or less",
            config.name
        );
    }
    let mut traffic = Traffic::new(what, &system, lines, seed);
    traffic
        .fill(&mut system, OPEN)
        .context("the lines cannot be written before the run")?;
    let counted = Counted::of(&mut system).context("cannot read the device's counters")?;
    if let Some(spec) = args.faults {
        if spec.needs_seq() && !args.seq {
            eprintln!("without --seq a lost, repeated or swapped flit goes unnoticed: this run will show what that does");
        }
        system.link_mut().set_faults(spec.both());
    }
    let bar = crate::bench::progress::Progress::new(args.json.is_some()).bar(args.ops, what.name());
    let start = Start::of(&system);
    let mut shown = start.home.done;
    while traffic.issued() < args.ops || !system.home().is_idle() {
        traffic.top_up(&mut system, OPEN, args.ops)?;
        for _ in 0..BATCH {
            system.cycle();
            // The last response ends the run, in its cycle.
            if traffic.issued() == args.ops && system.home().is_idle() {
                break;
            }
        }
        let done = system.home().counters().done;
        bar.add(done - shown);
        shown = done;
        if system.home().first_difference().is_some() || system.home().counters().timeouts > 0 {
            break;
        }
        if system.link().has_failed() {
            break;
        }
    }
    drop(bar);
    let mut outcome = outcome(&mut system, &start)?;
    let ledger = Counted::of(&mut system)
        .context("cannot read the device's counters")?
        .since(&counted);
    if let (Some(spec), Some(all)) = (args.faults, outcome.as_object_mut()) {
        if args.json.is_some() {
            all.insert("link".into(), faults::json(spec, &ledger));
        }
    }
    if let Some(file) = &args.json {
        let mut all =
            json!({ "workload": what.name(), "config": config.name, "seed": seed, "lines": lines });
        if let (Some(all), Value::Object(outcome)) = (all.as_object_mut(), outcome) {
            all.extend(outcome);
        }
        cli::write_json(file, &all)?;
    } else {
        println!(
            "{}, configuration {}, {lines} lines, seed {seed}; all simulated but simulated_cycles_per_s, which is measured here",
            what.name(),
            config.name
        );
        for (name, value) in outcome.as_object().into_iter().flatten() {
            println!("  {name:<24} {value}");
        }
        if let Some(spec) = args.faults {
            println!("{}", faults::table(spec, &ledger));
        }
    }
    verdict(&system, args, what, lines, seed, &ledger)
}

/// What had been counted when the run began.
struct Start {
    cycle: u64,
    clock: Instant,
    home: HomeCounters,
    link: LinkCounters,
}

impl Start {
    fn of(system: &System) -> Start {
        Start {
            cycle: system.now(),
            clock: Instant::now(),
            home: system.home().counters(),
            link: system.link().counters(),
        }
    }
}

fn outcome(system: &mut System, start: &Start) -> Result<Value> {
    let seconds = start.clock.elapsed().as_secs_f64();
    let (home, link) = (system.home().counters(), system.link().counters());
    let cycles = system.now() - start.cycle;
    let data_slots = (link.data_slots_received - start.link.data_slots_received)
        + 4 * (link.lines_sent - start.link.lines_sent);
    let mut count = |offset| {
        system
            .mmio_read32(offset)
            .context("cannot read the device's counters")
    };
    Ok(json!({
        "operations": home.done - start.home.done,
        "cycles": cycles,
        "compared_reads": home.compared - start.home.compared,
        "timeouts": home.timeouts,
        "stray_responses": home.strays,
        "flits_to_device": link.flits_sent - start.link.flits_sent,
        "flits_to_host": link.flits_received - start.link.flits_received,
        "data_slots_per_cycle": data_slots as f64 / cycles as f64,
        "crc_errors_device": count(regs::RxCrcErrors::OFFSET)?,
        "crc_errors_host": link.crc_errors,
        "protocol_errors_device": count(regs::RxProtocolErrors::OFFSET)?,
        "protocol_errors_host": link.protocol_errors,
        "simulated_cycles_per_s": (cycles as f64 / seconds).round(),
    }))
}

/// Errors are shown after the figures, with what replays them.
fn verdict(
    system: &System,
    args: &Run,
    what: Workload,
    lines: u64,
    seed: u64,
    ledger: &Ledger,
) -> Result<()> {
    let replay = || {
        let config = system.config().name;
        let faults = args.faults.map(|f| format!(" --faults {f}"));
        format!(
            "replay it with `cxlmem sim run {} --config {config} --ops {} --lines {lines} --seed {seed}{}{}`",
            what.name(),
            args.ops,
            faults.unwrap_or_default(),
            if args.seq { " --seq" } else { "" },
        )
    };
    if let Some(difference) = system.home().first_difference() {
        bail!("a response is wrong: {difference}; {}", replay());
    }
    let timeouts = system.home().counters().timeouts;
    if timeouts > 0 {
        bail!("{timeouts} operations got no response; {}", replay());
    }
    if let Some((cycle, error)) = system.link().first_error() {
        bail!(
            "the device broke a rule of the link at cycle {cycle}: {error}; {}",
            replay()
        );
    }
    if system.link().has_failed() {
        bail!(
            "the link was given up: no replay came through; lower the probabilities, or {}",
            replay()
        );
    }
    let losses = ledger.losses();
    if !losses.is_empty() {
        bail!(
            "the link did not deliver every message once: {}; {}",
            losses.join(", "),
            replay()
        );
    }
    if what != Workload::Write && system.home().counters().compared == 0 {
        bail!("no read was compared, so nothing was checked: raise --ops");
    }
    Ok(())
}
