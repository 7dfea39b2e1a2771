//! `cxlmem bench`: latency, bandwidth, migration and locality of the controller, beside this machine's own memory.
//!
//! Device figures are cycles of the Verilated RTL, or those at the clock that the configuration states; the wall-clock time of the simulator is never shown as a
//! latency. Each figure says which class it is of (`docs/reference/figures.md`).

mod bandwidth;
mod chart;
mod dram;
pub mod figures;
mod latency;
mod locality;
mod migrate;
mod node;
mod page;
mod placed;
pub mod progress;
mod region;
mod source;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use cxlmem_driver::devfile::DevFile;
use cxlmem_driver::Device;
use cxlmem_hdl::Config;
use cxlmem_sim::rng::Rng;
use cxlmem_sim::system::{Options, System};
use serde_json::{json, Value};

use crate::cli::{self, usage};
use crate::target::{self, SimTarget, Target};
use figures::{Figures, Machine};
use progress::Progress;

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Idle reads and writes of every configuration, and this machine's own memory beside them
    Latency,
    /// Saturated reads, writes and mixes, against the bounds of slot format and memory; speed of the simulator
    Bandwidth,
    /// A real file's pages to the device and back, verified
    Migrate,
    /// Sum and pointer chase by the engine, data in host memory and on the device
    Locality,
    /// Everything, and the report
    All,
}

/// Files of a report: the page, and the figures that it shows.
const REPORT: [&str; 2] = ["index.html", "figures.json"];

const EXAMPLES: &str = "\
Examples:
  cxlmem bench latency --quick                          a few seconds
  cxlmem bench bandwidth --config full --json -         for a program
  cxlmem bench migrate --file data.bin --size 4MiB      a file of your own
  cxlmem bench locality --seed 7
  cxlmem bench all --report target/report               everything, and the report
  cxlmem bench latency --quick --target dev:/dev/cxlmem0
                                                        pages of this process on a device of this machine's kernel
  cxlmem vm run -- cxlmem bench migrate --quick --target dev:/dev/cxlmem0

With dev:PATH (root, the driver's module) it is the memory of this process that is measured, at home and with its pages on the device, in the
same run. If the device says that it is a simulation, times are of class `emulated`: only their ratios count.

Exit status: 0 measured and every byte intact, whether or not a figure holds its target; 1 failed; 2 wrong usage.";

/// Arguments of `cxlmem bench`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,
    /// What to measure it on: `sim`, or `dev:PATH` for the device behind a node of the Linux module
    #[arg(long, default_value = "sim")]
    target: String,
    /// Named configuration of the simulator [default: sim]
    #[arg(long, value_name = "NAME", value_parser = target::config)]
    config: Option<&'static Config>,
    /// Seed of every random choice; printed, and equal seeds give equal simulated figures (also CXLMEM_SEED)
    #[arg(long)]
    seed: Option<u64>,
    /// File whose pages migrate; this program itself if not given
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Most bytes to migrate at once: a number with B (or nothing), KiB, MiB or GiB, such as 64KiB [default: 16MiB, or what the configuration holds]
    #[arg(long, value_name = "SIZE", value_parser = source::parse_size)]
    size: Option<u64>,
    /// Write all figures to this file, as JSON; - is standard output, which then has no tables
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report with its plots to DIR/index.html [default with `all`: target/report]
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Fewer and smaller measurements: a few seconds
    #[arg(long)]
    quick: bool,
    /// No tables, no progress bars: the figures go to the files alone
    #[arg(long)]
    quiet: bool,
}

/// A benchmark run under way.
struct Bench {
    /// Chosen configuration.
    config: &'static Config,
    seed: u64,
    quick: bool,
    progress: Progress,
    figures: Figures,
    /// The device of this machine's kernel that is measured; none if it is the simulator.
    node: Option<DevFile>,
    /// What a reader of the figures should know of this run.
    notes: Vec<String>,
}

impl Bench {
    /// A generator for one purpose: measurements do not shift each other's draws.
    fn rng(&self, purpose: u64) -> Rng {
        Rng::new(self.seed ^ purpose.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A simulated device with link and decoder up, without driver.
    fn system(&self, config: &'static Config) -> Result<System> {
        let up = || -> Result<System> {
            let mut system = System::new(
                config.name,
                Options {
                    seed: self.seed,
                    host_mem_bytes: 1 << 20,
                    ..Options::default()
                },
            )?;
            system.bring_up()?;
            Ok(system)
        };
        up().with_context(|| {
            format!(
                "cannot bring up the simulated device (configuration {})",
                config.name
            )
        })
    }

    /// An open device behind the real driver; `host_bytes` of host memory that it reaches.
    fn device(&self, host_bytes: usize) -> Result<Arc<Device>> {
        let options = Options {
            seed: self.seed,
            host_mem_bytes: host_bytes,
            ..Options::default()
        };
        let open = || -> Result<Arc<Device>> {
            Ok(Device::open(
                SimTarget::new(self.config.name, options)?,
                &cxlmem_driver::Options::default(),
            )?)
        };
        open().with_context(|| {
            format!(
                "cannot open the simulated device (configuration {})",
                self.config.name
            )
        })
    }

    /// Nanoseconds of so many cycles at the configuration's stated clock.
    fn ns(config: &Config, cycles: f64) -> f64 {
        cycles * 1e6 / f64::from(config.clock_khz)
    }

    /// Cycles per second that the chosen configuration states.
    fn clock_hz(&self) -> f64 {
        f64::from(self.config.clock_khz) * 1000.0
    }

    /// A run without figures yet, for tests.
    #[cfg(test)]
    fn for_test(config: &str) -> Bench {
        Bench {
            config: Config::by_name(config).unwrap(),
            seed: 1,
            quick: true,
            progress: Progress::new(true),
            figures: Figures::default(),
            node: None,
            notes: Vec::new(),
        }
    }

    /// A walk through this machine's own memory.
    fn add_own_memory(&mut self, set: &str, walks: &dram::Walks) {
        let f = &mut self.figures;
        let (read, write) = (&walks.read, &walks.write);
        f.add(&figures::DRAM_READ, &[set], read.min);
        f.add(&figures::DRAM_READ_MEDIAN, &[set], read.median);
        f.add(&figures::DRAM_WRITE, &[set], write.min);
        f.add(&figures::DRAM_WRITE_MEDIAN, &[set], write.median);
        f.add(&figures::DRAM_SPREAD, &[set], read.max - read.min);
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Carries out `cxlmem bench`.
pub fn run(args: Args) -> Result<()> {
    let node = match target::parse(&args.target)? {
        Target::Sim => None,
        Target::Serial(..) => {
            usage!("`cxlmem bench` does not measure boards yet: use `cxlmem board check`, `--target sim`, or `--target dev:PATH`");
        }
        Target::Node(path) => {
            if args.config.is_some() {
                usage!("--config is for `--target sim`: the device has its own configuration");
            }
            if args.what == What::Locality {
                usage!("locality is measured by `--target sim` alone: a driver's calls show no cycles of the engine's work on host memory");
            }
            Some(DevFile::open(&path)?)
        }
    };
    let config = match &node {
        None => args
            .config
            .map_or_else(|| target::config("sim"), Ok)
            .map_err(cli::Usage)?,
        Some(node) => configuration(node)?,
    };
    let wants = |what| args.what == what || args.what == What::All;
    if !config.engine && matches!(args.what, What::Migrate | What::Locality) {
        let with: Vec<_> = Config::all()
            .iter()
            .filter(|c| c.engine)
            .map(|c| c.name)
            .collect();
        usage!(
            "configuration {} has no engine, so nothing can migrate or be compared by place: use --config {}",
            config.name,
            with.join(" or ")
        );
    }
    let migrates = wants(What::Migrate);
    if !migrates && (args.file.is_some() || args.size.is_some()) {
        usage!("--file and --size are for `cxlmem bench migrate` and `all`: leave them out");
    }
    let seed = cli::seed(args.seed)?;
    // Whatever can be wrong with the arguments shows before the first measurement.
    let limit = migrate::limit(config, args.size, args.quick)?;
    let file = if migrates {
        Some(source::Source::open(args.file.as_deref(), limit)?)
    } else {
        None
    };
    let report = args
        .report
        .or_else(|| (args.what == What::All).then(|| PathBuf::from("target/report")));
    cli::check_output(args.json.as_deref())?;
    if let Some(dir) = &report {
        cli::check_folder(dir)?;
        for file in REPORT {
            cli::check_output(Some(&dir.join(file)))?;
        }
    }
    // What is for people would not be JSON.
    let silent = args.quiet || cli::is_stdout(args.json.as_deref());
    let mut bench = Bench {
        config,
        seed,
        quick: args.quick,
        progress: Progress::new(args.quiet),
        figures: Figures::on(match &node {
            None => Machine::Here,
            Some(node) if node.info().is_simulated() => Machine::Simulated,
            Some(_) => Machine::Hardware,
        }),
        node: None,
        notes: Vec::new(),
    };
    if !silent {
        if let Some(node) = &node {
            println!("{}", describe(node));
        }
        println!(
            "configuration {} ({}), clock {} MHz as stated, seed {seed}",
            config.name,
            config.about,
            f64::from(config.clock_khz) / 1000.0
        );
    }
    let start = std::time::Instant::now();
    let mut intact = Ok(());
    if let Some(node) = node {
        if wants(What::Latency) {
            node::latency(&mut bench, &node)?;
        }
        if wants(What::Bandwidth) {
            node::bandwidth(&mut bench, &node)?;
        }
        if let Some(file) = &file {
            intact = node::migrate(&mut bench, &node, file, limit)?;
            if intact.is_ok() {
                intact = node::engine(&mut bench, &node)?;
            }
        }
        bench.node = Some(node);
    } else {
        if wants(What::Latency) {
            latency::run(&mut bench)?;
        }
        if wants(What::Bandwidth) {
            bandwidth::run(&mut bench)?;
        }
        if let Some(file) = &file {
            intact = migrate::run(&mut bench, file, limit)?;
        }
        if wants(What::Locality) {
            locality::run(&mut bench)?;
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    if !silent {
        tables::print(&bench);
    }
    let figures = as_json(&bench, &args.target);
    if let Some(path) = &args.json {
        cli::write_json(path, &figures)?;
    }
    if let Some(dir) = report {
        let [path, json] = REPORT.map(|file| dir.join(file));
        std::fs::write(&path, page::html(&bench))
            .with_context(|| format!("cannot write {}", path.display()))?;
        cli::write_json(&json, &figures)?;
        if !silent {
            println!("report: {}", path.display());
        }
    }
    if !silent {
        println!("seed {seed}, {seconds:.1} s");
    }
    intact
}

/// The configuration that a device says it is.
fn configuration(node: &DevFile) -> Result<&'static Config> {
    let number = node.info().config;
    let found = Config::by_id(number);
    found.with_context(|| {
        format!(
            "{}: the device has configuration number {number}, which this program does not know: use a program of the device's version",
            node.path().display()
        )
    })
}

/// One line on a device.
fn describe(node: &DevFile) -> String {
    let info = node.info();
    format!(
        "{}: {} at {:#x} ({}){}",
        node.path().display(),
        figures::size_name(info.bytes),
        info.base,
        info.memory.name(),
        if info.is_simulated() {
            ", a simulation: times are emulated, only their ratios count"
        } else {
            ""
        }
    )
}

/// The same for programs.
fn device_json(node: &DevFile) -> Value {
    let info = node.info();
    json!({
        "memory": info.memory.name(),
        "base": info.base,
        "bytes": info.bytes,
        "capabilities": info.caps,
        "is_simulated": info.is_simulated(),
    })
}

/// The object that `--json` writes.
fn as_json(bench: &Bench, target: &str) -> serde_json::Value {
    json!({
        "figures": bench.figures.all(),
        "seed": bench.seed,
        "config": bench.config.name,
        "target": target,
        "device": bench.node.as_ref().map(device_json),
        "quick": bench.quick,
        "clock_hz": bench.node.as_ref().map_or(u64::from(bench.config.clock_khz), |n| n.info().clock_khz.into()) * 1000,
        "versions": versions(),
        "processor": dram::processor(),
        "notes": bench.notes,
    })
}

/// What made the figures.
fn versions() -> serde_json::Value {
    json!({ "cxlmem": env!("CARGO_PKG_VERSION"), "verilator": cxlmem_sim::VERILATOR_VERSION })
}
