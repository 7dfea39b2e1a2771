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
mod page;
mod placed;
pub mod progress;
mod region;
mod source;
mod tables;

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{bail, ensure, Context, Result};
use clap::ValueEnum;
use cxlmem_driver::Device;
use cxlmem_hdl::Config;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::system::{Options, System};
use serde_json::json;

use crate::target::{self, SimTarget};
use figures::Figures;
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

/// Arguments of `cxlmem bench`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// What to measure
    #[arg(value_enum)]
    what: What,
    /// What to measure it on: `sim`
    #[arg(long, default_value = "sim")]
    target: String,
    /// Named configuration
    #[arg(long, default_value = "sim", value_name = "NAME")]
    config: String,
    /// Seed of every random choice; printed, and equal seeds give equal simulated figures (also CXLMEM_SEED)
    #[arg(long)]
    seed: Option<u64>,
    /// File whose pages migrate; this program itself if not given
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
    /// Most bytes to migrate at once, for example 64KiB [default: 16MiB, or what the configuration holds]
    #[arg(long, value_name = "BYTES", value_parser = source::parse_size)]
    size: Option<u64>,
    /// Write all figures to this file, as JSON
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
            notes: Vec::new(),
        }
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// Carries out `cxlmem bench`.
pub fn run(args: Args) -> Result<()> {
    target::check(&args.target)?;
    let config = target::config(&args.config).map_err(anyhow::Error::msg)?;
    let wants = |what| args.what == what || args.what == What::All;
    if !config.engine && matches!(args.what, What::Migrate | What::Locality) {
        let with: Vec<_> = Config::all()
            .iter()
            .filter(|c| c.engine)
            .map(|c| c.name)
            .collect();
        bail!(
            "configuration {} has no engine, so nothing can migrate or be compared by place: use --config {}",
            config.name,
            with.join(" or ")
        );
    }
    let migrates = wants(What::Migrate);
    if !migrates && (args.file.is_some() || args.size.is_some()) {
        bail!("--file and --size are for `cxlmem bench migrate` and `all`: leave them out");
    }
    let seed = args.seed.unwrap_or_else(|| seed_from_env(1));
    // Whatever can be wrong with the arguments shows before the first measurement.
    let limit = migrate::limit(config, args.size, args.quick)?;
    let file = if migrates {
        Some(source::Source::open(args.file.as_deref(), limit)?)
    } else {
        None
    };
    if let Some(path) = &args.json {
        ensure_writable(path)?;
    }
    let mut bench = Bench {
        config,
        seed,
        quick: args.quick,
        progress: Progress::new(args.quiet),
        figures: Figures::default(),
        notes: Vec::new(),
    };
    if !args.quiet {
        println!(
            "configuration {} ({}), clock {} MHz as stated, seed {seed}",
            config.name,
            config.about,
            f64::from(config.clock_khz) / 1000.0
        );
    }
    let start = std::time::Instant::now();
    let mut intact = Ok(());
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
    let seconds = start.elapsed().as_secs_f64();
    if !args.quiet {
        tables::print(&bench);
    }
    let report = args
        .report
        .or_else(|| (args.what == What::All).then(|| PathBuf::from("target/report")));
    if let Some(path) = &args.json {
        write(
            path,
            &(serde_json::to_string_pretty(&as_json(&bench, &args.target))? + "\n"),
        )?;
    }
    if let Some(dir) = report {
        std::fs::create_dir_all(&dir).with_context(|| {
            format!(
                "cannot make {}: give another folder with --report",
                dir.display()
            )
        })?;
        let path = dir.join("index.html");
        write(&path, &page::html(&bench))?;
        write(
            &dir.join("figures.json"),
            &(serde_json::to_string_pretty(&as_json(&bench, &args.target))? + "\n"),
        )?;
        if !args.quiet {
            println!("report: {}", path.display());
        }
    }
    if !args.quiet {
        println!("seed {seed}, {seconds:.1} s");
    }
    intact
}

/// The object that `--json` writes.
fn as_json(bench: &Bench, target: &str) -> serde_json::Value {
    json!({
        "figures": bench.figures.all(),
        "seed": bench.seed,
        "config": bench.config.name,
        "target": target,
        "quick": bench.quick,
        "clock_hz": u64::from(bench.config.clock_khz) * 1000,
        "versions": versions(),
        "processor": dram::processor(),
        "notes": bench.notes,
    })
}

/// What made the figures.
fn versions() -> serde_json::Value {
    json!({ "cxlmem": env!("CARGO_PKG_VERSION"), "verilator": cxlmem_sim::VERILATOR_VERSION })
}

/// Fails early where a file cannot be written at the end.
fn ensure_writable(path: &std::path::Path) -> Result<()> {
    ensure!(
        !path.is_dir(),
        "cannot write {}: it is a folder; give a file",
        path.display()
    );
    let parent = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(std::path::Path::new("."));
    ensure!(
        parent.is_dir(),
        "cannot write {}: there is no folder {}; make it first",
        path.display(),
        parent.display()
    );
    Ok(())
}

fn write(path: &std::path::Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
