//! `cxlmem bench`: latency, bandwidth, migration and locality of the controller, beside this machine's own memory.
//!
//! Device figures are cycles of the Verilated RTL, or those at the clock that the configuration states; the wall-clock time of the simulator is never shown as a
//! latency. Each figure says which class it is of (`docs/reference/figures.md`).

mod bandwidth;
mod chart;
mod dram;
pub mod figures;
mod latency;
pub mod line;
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
  cxlmem bench all --target serial:/dev/ttyUSB0         a board: the line's latency and rate, migration, and its engine in its own cycles
  cxlmem vm run -- cxlmem bench migrate --quick --target dev:/dev/cxlmem0

With serial:PORT it is a board: times are those of its line, and the engine's cycles those of its clock. On a pseudo-terminal (`cxlmem serve board`) times are of class
`emulated` and cycles of class `simulated`.

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
    /// What to measure it on: `sim`, `serial:PORT` for a board, or `dev:PATH` for the device behind a node of the Linux module
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
pub struct Bench {
    /// Chosen configuration.
    config: &'static Config,
    seed: u64,
    quick: bool,
    progress: Progress,
    figures: Figures,
    /// The device of this machine's kernel that is measured; none if it is another.
    node: Option<DevFile>,
    /// The board that is measured; none if it is another.
    board: Option<Board>,
    /// What a reader of the figures should know of this run.
    notes: Vec<String>,
}

/// A board on a serial line.
#[derive(Clone)]
struct Board {
    port: PathBuf,
    baud: u32,
    /// Of the device.
    clock_khz: u32,
    /// It is at the other end of a pseudo-terminal.
    is_simulated: bool,
}

impl Board {
    /// Asks what is on a port.
    fn find(port: PathBuf, baud: u32) -> Result<(Board, &'static Config)> {
        let is_simulated = std::fs::canonicalize(&port).is_ok_and(|p| p.starts_with("/dev/pts"));
        let target = SimTarget::board(&port, baud, Options::default())?;
        let (hello, _) = target.on_line().context("the target is no board")?;
        let board = Board {
            port,
            baud,
            clock_khz: hello.clock_khz,
            is_simulated,
        };
        Ok((board, target.config()))
    }
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

    /// The simulated device, or the board, after a reset; `host_bytes` of host memory that it reaches.
    fn target(&self, host_bytes: usize) -> Result<SimTarget> {
        let options = Options {
            seed: self.seed,
            host_mem_bytes: host_bytes,
            ..Options::default()
        };
        match &self.board {
            Some(board) => SimTarget::board(&board.port, board.baud, options),
            None => Ok(SimTarget::new(self.config.name, options)?),
        }
    }

    /// An open device behind the real driver; `host_bytes` of host memory that it reaches.
    fn device(&self, host_bytes: usize) -> Result<Arc<Device>> {
        let open = || -> Result<Arc<Device>> {
            let options = cxlmem_driver::Options::default();
            Ok(Device::open(self.target(host_bytes)?, &options)?)
        };
        open().with_context(|| {
            format!(
                "cannot open the {} (configuration {})",
                match &self.board {
                    Some(_) => "board",
                    None => "simulated device",
                },
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
            board: None,
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
    let chosen = target::parse(&args.target)?;
    if chosen != Target::Sim && args.config.is_some() {
        usage!("--config is for `--target sim`: the device has its own configuration");
    }
    let mut board = None;
    let node = match chosen {
        Target::Sim => None,
        Target::Serial(port, baud) => {
            board = Some(Board::find(port, baud)?);
            None
        }
        Target::Node(path) => {
            if args.what == What::Locality {
                usage!("locality is measured by `--target sim` and `--target serial:PORT` alone: a driver's calls show no cycles of the engine's work on host memory");
            }
            Some(DevFile::open(&path)?)
        }
    };
    let config = match (&node, &board) {
        (Some(node), _) => configuration(node)?,
        (None, Some((_, config))) => config,
        (None, None) => args
            .config
            .map_or_else(|| target::config("sim"), Ok)
            .map_err(cli::Usage)?,
    };
    let board = board.map(|(board, _)| board);
    let wants = |what| args.what == what || args.what == What::All;
    if !config.engine && matches!(args.what, What::Migrate | What::Locality) {
        if board.is_some() {
            usage!(
                "the board has configuration {}, which has no engine, so nothing can migrate or be compared by place: measure latency or bandwidth",
                config.name
            );
        }
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
    let limit = match &board {
        Some(_) => line::limit(config, args.size, args.quick)?,
        None => migrate::limit(config, args.size, args.quick)?,
    };
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
        figures: Figures::on(match (&node, &board) {
            (None, None) => Machine::Here,
            (Some(node), _) if node.info().is_simulated() => Machine::Simulated,
            (None, Some(board)) if board.is_simulated => Machine::Simulated,
            _ => Machine::Hardware,
        }),
        node: None,
        board,
        notes: Vec::new(),
    };
    if !silent {
        if let Some(node) = &node {
            println!("{}", describe(node));
        }
        if let Some(board) = &bench.board {
            println!("{}", describe_board(board));
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
    } else if let Some(board) = bench.board.clone() {
        if wants(What::Latency) {
            line::latency(&mut bench)?;
        }
        if wants(What::Bandwidth) {
            let baud = (!board.is_simulated).then_some(board.baud);
            line::bandwidth(&mut bench, baud)?;
        }
        if let Some(file) = file.as_ref().filter(|_| config.engine) {
            intact = line::migrate(&mut bench, file, limit)?;
        }
        if wants(What::Locality) {
            locality::run(&mut bench)?;
        }
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

/// One line on a board.
fn describe_board(board: &Board) -> String {
    format!(
        "board on {}, {} baud, {} kHz{}",
        board.port.display(),
        board.baud,
        board.clock_khz,
        match board.is_simulated {
            true => ", on a pseudo-terminal: times are emulated, only their ratios count",
            false => "",
        }
    )
}

/// The same for programs.
fn board_json(board: &Board) -> Value {
    json!({
        "port": board.port,
        "baud": board.baud,
        "clock_khz": board.clock_khz,
        "is_simulated": board.is_simulated,
    })
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
    let node = bench.node.as_ref();
    let board = bench.board.as_ref();
    let clock_khz = node.map(|n| n.info().clock_khz);
    let clock_khz = clock_khz.or(board.map(|b| b.clock_khz));
    json!({
        "figures": bench.figures.all(),
        "seed": bench.seed,
        "config": bench.config.name,
        "target": target,
        "device": node.map(device_json).or(board.map(board_json)),
        "quick": bench.quick,
        "clock_hz": u64::from(clock_khz.unwrap_or(bench.config.clock_khz)) * 1000,
        "versions": versions(),
        "processor": dram::processor(),
        "notes": bench.notes,
    })
}

/// What made the figures.
fn versions() -> serde_json::Value {
    json!({ "cxlmem": env!("CARGO_PKG_VERSION"), "verilator": cxlmem_sim::VERILATOR_VERSION })
}
