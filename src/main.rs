//! The `cxlmem` command: one file a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod flit;
mod hdl;
mod list;
mod sim;
mod target;
mod tools;
mod traffic;

const EXAMPLES: &str = "\
Examples:
  cxlmem bench all                                latency, bandwidth, a real file's pages there and back; report
  cxlmem sim run random --ops 100000 --seed 7     line operations against a golden memory
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
    /// Measure latency, bandwidth, migration and locality
    Bench(bench::Args),
    /// Read a flit field by field, or make one
    Flit(flit::Args),
    /// Print, check and place the RTL
    Hdl(hdl::Args),
    /// List devices, regions, links and errors
    List(list::Args),
    /// Drive the simulated controller
    Sim(sim::Args),
}

/// Makes a reader that goes away (`| head`) or a full disk an ordinary end instead of a panic.
fn survive_lost_output() {
    // SAFETY: the default action of SIGPIPE ends the process; no handler of ours runs.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info
            .payload()
            .downcast_ref::<String>()
            .map_or("", String::as_str);
        if text.starts_with("failed printing to stdout") {
            eprintln!("error: cannot write to standard output: {text}");
            std::process::exit(1);
        }
        default(info);
    }));
}

fn main() -> ExitCode {
    survive_lost_output();
    let result = match Cli::parse().command {
        Command::Bench(args) => bench::run(args),
        Command::Flit(args) => flit::run(args),
        Command::Hdl(args) => hdl::run(args),
        Command::List(args) => list::run(args),
        Command::Sim(args) => sim::run(args),
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
