//! `cxlmem hdl`: print, check and place the RTL.

mod emit;
mod lint;
mod mutants;
mod prove;
pub mod record;
mod sdram;
mod synth;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};
use cxlmem_hdl::mutants::Mutant;
use cxlmem_hdl::prove::Proof;
use cxlmem_hdl::Config;

use crate::target::config;
use crate::tools::Part;

/// Block RAMs of the largest ECP5: a configuration that declares more exists only in simulation.
const MOST_BLOCK_RAMS: usize = 208;

const EMIT_EXAMPLES: &str = "\
Examples:
  cxlmem hdl emit -o target/rtl                         configuration full as target/rtl/top.v
  cxlmem hdl emit --config tiny --out target/rtl/tiny";

const LINT_EXAMPLES: &str = "\
Examples:
  cxlmem hdl lint                                       every gate, every configuration
  cxlmem hdl lint --config tiny                         one configuration
  cxlmem hdl lint --json -                              for a program; what is for people goes to standard error

Exit status: 0 all gates passed, 1 a gate found something or could not be run, 2 wrong usage.";

const PROVE_EXAMPLES: &str = "\
Examples:
  cxlmem hdl prove                                      every proof
  cxlmem hdl prove --only retry --mutants               one, and its mutant, on which it must fail

Exit status: 0 all as it should be, 1 not, 2 wrong usage.";

const MUTANTS_EXAMPLES: &str = "\
Examples:
  cxlmem hdl mutants                                    every one; builds the simulator's tests with them first
  cxlmem hdl mutants --list                             what there is, and what is to find each
  cxlmem hdl mutants --only rx-half-crc,tx-format       some

Exit status: 0 each was found by the check that its row names, or survives with a reason; 1 not; 2 wrong usage.";

const SDRAM_EXAMPLES: &str = "\
Examples:
  cxlmem hdl sdram                                      simulated, and placed with three seeds
  cxlmem hdl sdram --simulate --json -                  without synthesis";

const SYNTH_EXAMPLES: &str = "\
Examples:
  cxlmem hdl synth --config tiny                        a quick one
  cxlmem hdl synth --config full --freq 70 --seeds 1,2,3 --record
                                                        three placements; the slowest goes to hdl/synthesis.json
  cxlmem hdl synth --seeds 4 --json synth.json --keep target/synth

The figure of several seeds is the slowest. A row that an RTL change has left behind is marked wherever it is shown.";

/// Arguments of `cxlmem hdl`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: HdlCommand,
}

#[derive(Subcommand, Debug)]
enum HdlCommand {
    /// Write the controller's Verilog as DIR/top.v
    #[command(after_help = EMIT_EXAMPLES)]
    Emit {
        /// Named configuration
        #[arg(long, value_name = "NAME", default_value = "full", value_parser = config)]
        config: &'static Config,
        /// Folder to write to; made if missing
        #[arg(short = 'o', long = "out", value_name = "DIR")]
        out: PathBuf,
    },
    /// Run every gate over the sources and the emitted Verilog
    #[command(after_help = LINT_EXAMPLES)]
    Lint {
        /// Named configuration; all of them if not given
        #[arg(long, value_name = "NAME", value_parser = config)]
        config: Option<&'static Config>,
        /// Write the findings as JSON; - is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Prove properties of the emitted Verilog; print a table
    #[command(after_help = PROVE_EXAMPLES)]
    Prove {
        /// Named configuration
        #[arg(long, value_name = "NAME", default_value = "full", value_parser = config)]
        config: &'static Config,
        /// One proof; all of them if not given
        #[arg(long, value_name = "PROOF", value_parser = prove::proof)]
        only: Option<&'static Proof>,
        /// Run each on its mutant too: it must fail there
        #[arg(long)]
        mutants: bool,
        /// Write the result as JSON; - is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Measure the SDRAM controller beside LiteDRAM: cycles, rate, area, speed
    #[command(after_help = SDRAM_EXAMPLES)]
    Sdram(sdram::Args),
    /// Run the simulator's tests and the proofs on seeded faults: each must be found
    #[command(after_help = MUTANTS_EXAMPLES)]
    Mutants {
        /// Some mutants; all of them if not given
        #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = mutants::mutant)]
        only: Vec<&'static Mutant>,
        /// Print the table of mutants, run nothing
        #[arg(long, conflicts_with_all = ["only", "json"])]
        list: bool,
        /// Write the result as JSON; - is standard output
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Synthesise, place and route for an ECP5; print area and the speed of each clock
    #[command(after_help = SYNTH_EXAMPLES)]
    Synth(Synth),
}

/// Arguments of `cxlmem hdl synth`.
#[derive(ClapArgs, Debug)]
struct Synth {
    /// Named configuration
    #[arg(long, value_name = "NAME", default_value = "full", value_parser = config)]
    config: &'static Config,
    /// ECP5 part, without its package
    #[arg(long, default_value = record::PART)]
    part: Part,
    /// Package
    #[arg(long, default_value = record::PACKAGE)]
    package: String,
    /// Seeds of the placer, one placement each; seeds differ by about 10 % in speed
    #[arg(
        long,
        visible_alias = "seed",
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1"
    )]
    seeds: Vec<u32>,
    /// Clock to aim for, MHz; the configuration's own if not given
    #[arg(long, value_name = "MHz", value_parser = megahertz)]
    freq: Option<f64>,
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Keep netlist, logs and nextpnr's reports here
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Put the slowest placement into hdl/synthesis.json
    #[arg(long)]
    record: bool,
}

fn megahertz(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|f| (1.0..=1000.0).contains(f))
        .ok_or_else(|| "give a number of MHz from 1 to 1000".to_string())
}

/// Carries out `cxlmem hdl`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        HdlCommand::Emit { config, out } => emit::run(config, &out),
        HdlCommand::Lint { config, json } => lint::run(config, json.as_deref()),
        HdlCommand::Prove {
            config,
            only,
            mutants,
            json,
        } => prove::run(config, only, mutants, json.as_deref()),
        HdlCommand::Sdram(args) => sdram::run(&args),
        HdlCommand::Mutants { list: true, .. } => mutants::list(),
        HdlCommand::Mutants { only, json, .. } => mutants::run(&only, json.as_deref()),
        HdlCommand::Synth(args) => synth::run(&args),
    }
}

/// Whether a configuration needs more block RAM than any ECP5 has.
#[cfg(test)]
fn is_simulation_only(config: &Config) -> bool {
    let verilog = cxlmem_hdl::emit(config).expect("configurations can be emitted");
    cxlmem_hdl::gates::ram::block_rams(&verilog) > MOST_BLOCK_RAMS
}
