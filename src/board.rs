//! `cxlmem board`: builds, loads and checks bitstreams of real boards.

mod build;
mod check;
mod data;
mod ecp5;
mod flash;
mod fpga;
mod gowin;
mod manifest;
mod netlist;
mod shell;
mod verify;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args as ClapArgs, Subcommand};
use comfy_table::{presets, Table};
use serde_json::json;

use crate::cli;

const EXAMPLES: &str = "\
Examples:
  cxlmem board list                                     what there is
  cxlmem board build ulx3s-85f                          RTL, synthesis, place and route, bitstream: some ten minutes
  cxlmem board verify                                   the bitstreams that are here, without a board
  cxlmem board flash ulx3s-85f --dry-run                the loader's command line
  cxlmem board flash ulx3s-85f                          into the FPGA; --persist for its flash memory
  cxlmem board check serial:/dev/ttyUSB0                link, identity, memory, engine, latency

`build` needs `./x setup`. No board has been seen to run: what is verified of each is in boards/<name>/README.md.";

/// Arguments of `cxlmem board`.
#[derive(ClapArgs, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

const LIST_EXAMPLES: &str = "\
Examples:
  cxlmem board list                                     a table
  cxlmem board list --json -                            for a program";

/// Arguments of `cxlmem board list`.
#[derive(ClapArgs, Debug)]
#[command(after_help = LIST_EXAMPLES)]
struct List {
    /// Write the list as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Show all boards, and the bitstreams that are built
    List(List),
    /// Build a board's bitstream: fails unless every clock meets its constraint
    Build(build::Build),
    /// Write what synthesis made of the simulated board, for its test benches
    Netlist(netlist::Netlist),
    /// Load a bitstream into a board, by openFPGALoader
    Flash(flash::Flash),
    /// Find out whether the bitstreams are what they are said to be, without a board
    Verify(verify::Verify),
    /// Find out whether a board works: link, identity, memory, engine, latency
    Check(check::Check),
}

/// Runs the subcommand.
///
/// # Errors
/// As the subcommands say.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::List(args) => list(args.json),
        Command::Build(args) => build::run(&args),
        Command::Netlist(args) => netlist::run(&args),
        Command::Flash(args) => flash::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Check(args) => check::run(&args),
    }
}

fn list(file: Option<PathBuf>) -> Result<()> {
    cli::check_output(file.as_deref())?;
    let rows = manifest::load()?;
    let mut all = Vec::new();
    for name in data::names(&data::folder())? {
        let board = data::load(&data::folder(), &name)?;
        let built = rows.get(&name);
        all.push((board, built));
    }
    if let Some(file) = &file {
        let value: Vec<_> = all
            .iter()
            .map(|(b, built)| {
                json!({ "board": b.name, "title": b.data.title, "config": b.config.name, "part": b.data.part.name,
                    "clock_mhz": b.data.clock.core_mhz, "host": b.data.host.chip, "baud": b.data.host.baud,
                    "memory": { "chip": b.data.memory.chip, "used": b.sdram.is_some() }, "bitstream": built })
            })
            .collect();
        cli::write_json(file, &value)?;
    }
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["board", "part", "configuration", "MHz", "baud", "bitstream"]);
    for (b, built) in &all {
        let built = match built {
            None => "not built".to_string(),
            Some(row) => {
                let stale = match row.verilog_sha256 == build::verilog(b)?.sha256 {
                    true => "",
                    false => ", of earlier RTL",
                };
                format!("{:.1} MHz reached (synthesized){stale}", row.slowest_mhz())
            }
        };
        table.add_row([
            b.name.clone(),
            b.data.part.name.clone(),
            b.config.name.to_string(),
            b.data.clock.core_mhz.to_string(),
            b.data.host.baud.to_string(),
            built,
        ]);
    }
    cli::say!(cli::is_stdout(file.as_deref()), "{table}");
    Ok(())
}
