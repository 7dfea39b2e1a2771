//! The `cxlmem` command: one file a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod bench;
mod board;
mod cli;
mod flit;
mod hdl;
mod list;
mod pages;
mod serve;
mod sim;
mod target;
mod tools;
mod traffic;
mod vm;

const EXAMPLES: &str = "\
Examples:
  cxlmem bench all                                latency, bandwidth, a real file's pages there and back; report
  cxlmem sim run random --ops 100000 --seed 7     line operations against a golden memory
  cxlmem hdl emit --config full -o target/rtl     write the controller's Verilog
  cxlmem hdl lint                                 every gate, every configuration
  cxlmem hdl synth --config full --seeds 1,2,3    area and speed
  cxlmem board list                               boards, and their bitstreams
  cxlmem vm test                                  Linux in an emulated machine that holds the simulated device
  cxlmem pages 1234                               which pages of a process are on a device

Every subcommand's --help has more. --json FILE writes JSON, and --json - prints it; `flit decode` always prints.

Exit status: 0 done, 1 failed (the message says why and what to do), 2 wrong usage, 3 not possible on this machine.";

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
    /// Build, load and check bitstreams of real boards
    Board(board::Args),
    /// Read a flit field by field, or make one
    Flit(flit::Args),
    /// Print, check and place the RTL
    Hdl(hdl::Args),
    /// List devices, regions, links and errors
    List(list::Args),
    /// Show where the pages of a process are: on a device, in memory, swapped
    Pages(pages::Args),
    /// Be a device of a virtual machine
    Serve(serve::Args),
    /// Drive the simulated controller
    Sim(sim::Args),
    /// Run Linux in an emulated machine that holds the simulated device
    Vm(vm::Args),
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

/// Makes Ctrl-C, a hang-up and a request to end remove temporary folders before they end the process.
fn clean_up_on_signals() {
    // SAFETY: `set` is filled in by the calls that get it. No other thread runs yet, so that all threads will block these signals and the one below gets them;
    // `Command` unblocks them in its children. `raise` ends the process by the same signal, so that a shell sees what ended it.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
            let mut old = std::mem::zeroed::<libc::sigaction>();
            libc::sigaction(signal, std::ptr::null(), &mut old);
            // What `nohup` and background jobs ignore stays ignored.
            if old.sa_sigaction != libc::SIG_IGN {
                libc::sigaddset(&mut set, signal);
            }
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        std::thread::spawn(move || {
            let mut signal = 0;
            if libc::sigwait(&set, &mut signal) == 0 {
                cxlmem_hdl::gates::tools::remove_scratch();
                libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
                libc::raise(signal);
            }
        });
    }
}

fn main() -> ExitCode {
    survive_lost_output();
    let command = Cli::parse().command;
    // A server has an end of its own.
    if !matches!(command, Command::Serve(_)) {
        clean_up_on_signals();
    }
    let result = match command {
        Command::Bench(args) => bench::run(args),
        Command::Board(args) => board::run(args),
        Command::Flit(args) => flit::run(args),
        Command::Hdl(args) => hdl::run(args),
        Command::List(args) => list::run(args),
        Command::Pages(args) => pages::run(&args),
        Command::Serve(args) => serve::run(args),
        Command::Sim(args) => sim::run(args),
        Command::Vm(args) => vm::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(skipped) = error.downcast_ref::<cli::Skipped>() {
                eprintln!("skipped: {skipped}");
                return ExitCode::from(3);
            }
            if let Some(status) = error.downcast_ref::<cli::Status>() {
                return ExitCode::from(status.0);
            }
            eprintln!("error: {error}");
            for cause in error.chain().skip(1) {
                eprintln!("  because: {cause}");
            }
            match error.is::<cli::Usage>() {
                true => ExitCode::from(2),
                false => ExitCode::FAILURE,
            }
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

    /// Every subcommand without subcommands of its own, by its path, with its long help.
    fn leaves(c: &clap::Command, path: &str, out: &mut Vec<(String, String)>) {
        let subcommands: Vec<_> = c.get_subcommands().collect();
        for s in &subcommands {
            leaves(s, &format!("{path} {}", s.get_name()), out);
        }
        if subcommands.is_empty() {
            out.push((path.to_string(), c.clone().render_long_help().to_string()));
        }
    }

    /// The words of a line of shell: blanks part them, but not between single quotes; what a pipe or redirection follows is left out.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut quoted) = (vec![String::new()], false);
        for c in line.chars() {
            match c {
                '\'' => quoted = !quoted,
                '|' | '<' if !quoted => break,
                ' ' if !quoted => words.push(String::new()),
                c => words[..].last_mut().unwrap().push(c),
            }
        }
        words.retain(|w| !w.is_empty());
        words
    }

    #[test]
    fn every_subcommand_has_examples_that_parse() {
        let (mut all, command) = (Vec::new(), Cli::command());
        leaves(&command, "cxlmem", &mut all);
        all.push((
            "cxlmem".into(),
            command.clone().render_long_help().to_string(),
        ));
        assert!(all.len() >= 8, "{all:?}");
        for (path, help) in all {
            let examples: Vec<&str> = help
                .lines()
                .filter_map(|l| l.strip_prefix("  "))
                .filter(|l| l.starts_with("cxlmem "))
                .collect();
            assert!(examples.len() >= 2, "{path}: two examples or more\n{help}");
            for example in examples {
                assert!(example.contains(&path), "{path}: {example}");
                // Three blanks part an example from what it does.
                let line = example.split("   ").next().unwrap();
                if let Err(e) = Cli::try_parse_from(words(line)) {
                    panic!("{line}: {e}");
                }
            }
        }
    }
}
