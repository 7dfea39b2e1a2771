//! The `cxlmem` command: one file a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod flit;
mod hdl;
mod tools;

const EXAMPLES: &str = "\
Examples:
  cxlmem hdl emit --config full -o target/rtl     write the controller's Verilog
  cxlmem hdl lint                                 every gate, every configuration
  cxlmem hdl synth --config full --part LFE5U-85F-6 --json synth.json

Exit status: 0 done, 1 failed (the message says why and what to do), 2 wrong usage.";

/// Open prototype of coherent device memory: controller RTL, simulator, driver and benchmarks.
#[derive(Parser)]
#[command(name = "cxlmem", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Read a flit field by field, or make one
    Flit(flit::Args),
    /// Print, check and place the RTL
    Hdl(hdl::Args),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Flit(args) => flit::run(args),
        Command::Hdl(args) => hdl::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
