//! `cxlmem serve`: the simulated controller as a device of a virtual machine.

mod board;

use std::path::{Path, PathBuf};
use std::process::exit;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use cxlmem_hdl::Config;
use cxlmem_serve::{Command, Handle, Mode, Options, Service};

use crate::cli;
use crate::target;

const EXAMPLES: &str = r#"Examples:
  cxlmem serve vfio-user /tmp/cxlmem.sock                   until it is told to end
  cxlmem serve vfio-user /tmp/cxlmem.sock --once --json served.json
                                                            for one virtual machine; the counters to a file

Then, with QEMU 11.1 or later:
  qemu-system-x86_64 -machine q35,memory-backend=ram -m 3G \
    -object memory-backend-memfd,id=ram,size=3G,share=on \
    -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"/tmp/cxlmem.sock"}}' ...

SIGUSR1 prints the counters, SIGTERM and SIGINT end it. /tmp/cxlmem.sock.ctl takes commands, one a line: hang on|off, stall MS,
lose-irq N, link on|off, poison LINE, wrong-completion N, stats."#;

const BOARD_EXAMPLES: &str = "\
Examples:
  cxlmem serve board --link /tmp/board                  until it is told to end
  cxlmem serve board --noise 1e-5 --seed 7              a line that is not perfect

Then, in another terminal, at a rate that the simulator keeps up with: `cxlmem list -u --target serial:/tmp/board,100000`.";

/// Arguments of `cxlmem serve`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: ServeCommand,
}

#[derive(Subcommand, Debug)]
enum ServeCommand {
    /// Listen on a Unix socket for a client of the vfio-user protocol, such as QEMU
    #[command(after_help = EXAMPLES)]
    VfioUser(VfioUser),
    /// Be a board on a pseudo-terminal: the Verilated top of a board, its UART at the other end
    #[command(after_help = BOARD_EXAMPLES)]
    Board(board::Board),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    /// In the client's memory if HDM decoder 0 is committed over a range that it mapped for DMA, else behind BAR2
    Auto,
    /// In such a range, or nowhere
    Spm,
    /// Behind BAR2
    Bar,
}

#[derive(ClapArgs, Debug)]
struct VfioUser {
    /// The socket to make; what an ended server left there is replaced
    socket: PathBuf,
    /// Named configuration
    #[arg(long, default_value = "sim-ext", value_name = "NAME", value_parser = target::config)]
    config: &'static Config,
    /// Where device memory is
    #[arg(long, value_enum, default_value_t = ModeName::Auto)]
    mode: ModeName,
    /// Make every access to BAR2 a transaction, not only those to its first 2 MiB
    #[arg(long)]
    trap_all: bool,
    /// End when the first client has gone
    #[arg(long)]
    once: bool,
    /// Begin with a fault, as the control socket takes it; may be repeated
    #[arg(long, value_name = "COMMAND")]
    fault: Vec<Command>,
    /// Write the counters as JSON at the end and at SIGUSR1; `-` prints them
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs the subcommand.
///
/// # Errors
/// A socket that cannot be had, a simulation that does not start, a file that cannot be written.
pub fn run(args: Args) -> Result<()> {
    let args = match args.command {
        ServeCommand::Board(args) => return board::run(args),
        ServeCommand::VfioUser(args) => args,
    };
    cli::check_output(args.json.as_deref())?;
    block_signals();
    let service = Service::bind(
        &args.socket,
        Options {
            config: args.config.name.into(),
            mode: match args.mode {
                ModeName::Auto => Mode::Auto,
                ModeName::Spm => Mode::Spm,
                ModeName::Bar => Mode::Bar,
            },
            trap_all: args.trap_all,
            once: args.once,
            quiet: false,
            faults: args.fault,
        },
    )
    .context("cannot serve")?;
    let handle = service.handle();
    let socket = args.socket.display();
    eprintln!(
        "serving configuration {} on {socket}; commands on {socket}.ctl",
        args.config.name
    );
    let (for_signals, json) = (handle.clone(), args.json.clone());
    std::thread::spawn(move || on_signals(&for_signals, json.as_deref()));
    let served = service.run();
    report(&handle, args.json.as_deref())?;
    served.context("the server ended")
}

/// The signals that a server takes on a thread of its own.
fn signals() -> libc::sigset_t {
    // SAFETY: `set` is filled in by the first call.
    unsafe {
        let mut set = std::mem::zeroed::<libc::sigset_t>();
        libc::sigemptyset(&mut set);
        for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGUSR1] {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// From now on no thread is interrupted by [`signals`], nor by a client that does not wait for its answer.
fn block_signals() {
    // SAFETY: no other thread runs yet, and those to come inherit the mask. Ignoring SIGPIPE makes such a write fail with an error.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &signals(), std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_IGN);
    }
}

/// SIGUSR1 reports; any other of [`signals`] ends the process, in order.
fn on_signals(handle: &Handle, json: Option<&Path>) {
    loop {
        let mut signal = 0;
        // SAFETY: `signals` is a set, and `signal` is there to be written.
        if unsafe { libc::sigwait(&signals(), &mut signal) } != 0 {
            return;
        }
        let reported = report(handle, json);
        if let Err(e) = &reported {
            eprintln!("error: {e:#}");
        }
        if signal != libc::SIGUSR1 {
            handle.end();
            // The client that is there has until now got its answers; it sees the connection close.
            std::thread::sleep(Duration::from_millis(10));
            exit(i32::from(reported.is_err()));
        }
    }
}

/// One line for people, and the file.
fn report(handle: &Handle, json: Option<&Path>) -> Result<()> {
    eprintln!("served: {}", handle.counters().summary());
    match json {
        Some(file) => cli::write_json(file, &handle.counters().to_json()),
        None => Ok(()),
    }
}
