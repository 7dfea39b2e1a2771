//! `cxlmem vm`: Linux in an emulated machine that holds the simulated device.

mod apt;
mod bench;
mod build;
mod cache;
mod cpio;
mod host;
mod initramfs;
mod log;
mod machine;
mod parallel;
mod qemu;
mod results;
mod setup;
mod space;
mod stamp;
mod suite;
mod test;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, Result};
use clap::{Args as ClapArgs, Subcommand};

use build::Build;
use cache::Cache;
use machine::Guest;
use qemu::Mode;
use space::Space;

use suite::Suite;
use test::{Count, Run};

use crate::cli::{self, usage, Skipped, Status};

const SETUP_EXAMPLES: &str = "\
Examples:
  cxlmem vm setup                          every kernel on offer
  cxlmem vm setup --kernel 7.3             one of them
  cxlmem vm setup --kernel debug           the debug kernel, compiled here: some minutes, 1.5 GB
  cxlmem vm setup --refresh --dir /var/tmp/guest
                                           ask again what is on offer

Needs x86-64, the way to Debian's mirrors, and root or user namespaces. What is done is not done again; a step that was cut short is.

Exit status: 0 set up, 1 failed, 2 wrong usage, 3 not possible on this machine, for the reason it prints.";

const RUN_EXAMPLES: &str = "\
Examples:
  cxlmem vm run                                         a shell in the guest, with the device and its driver
  cxlmem vm run -- dmesg                                one command; its output and exit status
  cxlmem vm run --kernel 6.12 --mode bar -- sh -c 'lspci; cat /proc/iomem'
  cxlmem vm run --no-device -- uname -r                 without the simulated device

Exit status: the command's; 1 if the guest did not come so far, 2 wrong usage, 3 not possible on this machine.";

const TEST_EXAMPLES: &str = "\
Examples:
  cxlmem vm test                                  every suite on every kernel that is set up
  cxlmem vm test --suite boot --kernel 7.3        one suite on one kernel
  cxlmem vm test --long --json report.json        the long ones too, with a report for a program
  cxlmem vm test --kernel debug                   with a kernel that looks for mistakes
  cxlmem vm test --no-device --suite boot --suite search
                                                  that guest and search work, without the simulated device

A suite is a script in tests/guest. After each test the kernel's log is searched for warnings and worse.

Exit status: 0 nothing failed, 1 something did, 2 wrong usage, 3 not possible on this machine, or all was skipped.";

const BENCH_EXAMPLES: &str = "\
Examples:
  cxlmem vm bench --quick                         a few shapes, in one or two minutes
  cxlmem vm bench --kernel 7.3 --json rows.json   all of them, with a file for a program

Moves pages to the device and home: 4 KiB to 256 MiB, by the device's engine (up to 4 MiB) and by the CPU, batches of 1 to all, threads 1 to 4. In the same
guest, in turn: move_pages between two NUMA nodes, and the kernel's test_hmm. In a second guest: move_pages to the same range as a NUMA node.
Each sample checks where the pages are and what they hold.

Exit status: 0 measured, 1 failed (with --check also if a bound is not kept), 2 wrong usage, 3 not possible on this machine.";

/// Arguments of `cxlmem vm`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: VmCommand,
}

#[derive(Subcommand, Debug)]
enum VmCommand {
    /// Make the guest's root, QEMU and kernels from Debian's packages, in one folder
    #[command(after_help = SETUP_EXAMPLES)]
    Setup(SetupArgs),
    /// Boot the guest with the simulated device, for a shell or one command
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// Boot the guest once for each suite of tests and judge results and kernel log
    #[command(after_help = TEST_EXAMPLES)]
    Test(TestArgs),
    /// Measure migrations in the guest, against the kernel's own ways to move pages
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(bench::BenchArgs),
}

#[derive(ClapArgs, Debug)]
struct Folder {
    /// Folder for the guest: CXLMEM_VM_DIR, or cxlmem/vm in the user's cache folder, if not given
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(ClapArgs, Debug)]
struct SetupArgs {
    #[command(flatten)]
    folder: Folder,
    /// Kernel by major and minor number, or `debug`, more than once for several [default: all on offer, without `debug`]
    #[arg(long, value_name = "SERIES", value_parser = series)]
    kernel: Vec<String>,
    /// Ask the mirrors again which versions there are
    #[arg(long)]
    refresh: bool,
}

#[derive(ClapArgs, Debug)]
struct MachineArgs {
    /// Memory of the guest
    #[arg(long, value_name = "MIB", default_value_t = 3072, value_parser = clap::value_parser!(u64).range(qemu::LEAST_MIB..=16_384))]
    memory_mib: u64,
    /// Leave the simulated device away
    #[arg(long)]
    no_device: bool,
}

#[derive(ClapArgs, Debug)]
struct RunArgs {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    machine: MachineArgs,
    /// What backs the device's memory as the guest's processors see it
    #[arg(long, value_enum, default_value_t = Mode::Spm)]
    mode: Mode,
    /// Kernel by major and minor number, or `debug` [default: the newest that is set up]
    #[arg(long, value_name = "SERIES", value_parser = series)]
    kernel: Option<String>,
    /// Seconds of wall-clock time that the guest may take for a command; a shell has no limit
    #[arg(long, value_name = "SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// Fault that the device begins with, as `cxlmem serve` takes it; more than once for several
    #[arg(long, value_name = "COMMAND")]
    fault: Vec<String>,
    /// Parameter for the driver's module; more than once for several
    #[arg(long, value_name = "NAME=VALUE")]
    parameter: Vec<String>,
    /// Print the kernel's log at the end, to standard error
    #[arg(long)]
    log: bool,
    /// Command and arguments; a shell if not given
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "COMMAND"
    )]
    command: Vec<String>,
}

#[derive(ClapArgs, Debug)]
struct TestArgs {
    #[command(flatten)]
    folder: Folder,
    #[command(flatten)]
    machine: MachineArgs,
    /// In this mode alone [default: each that a suite names]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    /// Kernel by major and minor number, or `debug`, more than once for several [default: all that are set up, without `debug`]
    #[arg(long, value_name = "SERIES", value_parser = series)]
    kernel: Vec<String>,
    /// Suite by name, more than once for several [default: all]
    #[arg(long, value_name = "NAME")]
    suite: Vec<String>,
    /// Guests at a time [default: as many as there are processors, if there is memory for them]
    #[arg(long, value_name = "N", value_parser = guests)]
    jobs: Option<usize>,
    /// Run the long suites too, and the long form of others
    #[arg(long)]
    long: bool,
    /// Write the results as JSON; - or no FILE is standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Reads a kernel series such as `7.3`.
fn series(text: &str) -> Result<String, String> {
    match apt::series_of(text) {
        Some(s) if s == text => Ok(s),
        _ if text == cache::DEBUG => Ok(text.into()),
        _ => Err("give major and minor number, such as 7.3, or `debug`".into()),
    }
}

/// Reads a number of guests.
fn guests(text: &str) -> Result<usize, String> {
    let fits = |n: &usize| (1..=64).contains(n);
    text.parse()
        .ok()
        .filter(fits)
        .ok_or_else(|| "give a number from 1 to 64".into())
}

/// Carries out `cxlmem vm`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        VmCommand::Setup(args) => {
            let cache = Cache::new(args.folder.dir.as_deref())?;
            let space = Space::probe()?;
            let _lock = cache.lock()?;
            setup::Setup::new(&cache, &space).run(&args.kernel, args.refresh)
        }
        VmCommand::Run(args) => run_guest(&args),
        VmCommand::Test(args) => run_suites(&args),
        VmCommand::Bench(args) => bench::run(&args),
    }
}

/// The kernel series to boot: the one asked for, else the newest.
fn kernel(cache: &Cache, asked: Option<&str>) -> Result<String> {
    let found = match asked {
        Some(s) => cache.kernel_version(s).map(|_| s.to_string()),
        None => cache.series().into_iter().next(),
    };
    let Some(found) = found else {
        let option = asked.map_or(String::new(), |s| format!(" --kernel {s}"));
        bail!(
            "{} holds no kernel {}: run `cxlmem vm setup{option}` first, with the same --dir",
            cache.dir().display(),
            asked.unwrap_or("at all")
        );
    };
    Ok(found)
}

/// Whether this build can serve the device.
fn can_serve() -> bool {
    use clap::CommandFactory;
    crate::Cli::command().find_subcommand("serve").is_some()
}

fn need_server(no_device: bool) -> Result<()> {
    match no_device || can_serve() {
        true => Ok(()),
        false => Err(Skipped("this build has no `cxlmem serve`; give --no-device".into()).into()),
    }
}

fn run_guest(args: &RunArgs) -> Result<()> {
    let cache = Cache::new(args.folder.dir.as_deref())?;
    let series = kernel(&cache, args.kernel.as_deref())?;
    need_server(args.machine.no_device)?;
    let space = Space::probe()?;
    build(&cache, &space, &series)?;
    let is_shell = args.command.is_empty();
    if is_shell && !std::io::stdin().is_terminal() {
        usage!("a shell needs a terminal: give a command");
    }
    let script = match is_shell {
        true => "#!/bin/sh\nexec sh -i\n".to_string(),
        false => format!("#!/bin/sh\nexec {}\n", initramfs::quote(&args.command)),
    };
    let mut words = vec![
        "cxlmem.run=/run.sh".to_string(),
        format!("cxlmem.series={series}"),
    ];
    words.extend(parameters(&args.parameter)?);
    let guest = Guest {
        series: &series,
        mode: args.mode,
        memory_mib: args.machine.memory_mib,
        has_peers: false,
        has_device: !args.machine.no_device,
        faults: &args.fault,
        script: &script,
        words,
        to_terminal: true,
        is_interactive: is_shell,
        limit: (!is_shell).then_some(Duration::from_secs(args.limit)),
    };
    let outcome = machine::boot(&cache, &space, &guest)?;
    if args.log {
        eprint!("{}", outcome.log);
    }
    if let Some(trouble) = outcome.trouble {
        let log = cxlmem_hdl::gates::tools::tail(&outcome.log, 10);
        bail!("{trouble}\nthe end of the kernel's log:\n{log}");
    }
    match outcome.code {
        Some(0) => Ok(()),
        code => Err(Status(code.unwrap_or(1)).into()),
    }
}

/// The driver's parameters as a word of the kernel command line: `/init` gives them to insmod.
fn parameters(all: &[String]) -> Result<Option<String>> {
    if let Some(bad) = all
        .iter()
        .find(|p| !p.contains('=') || p.contains([' ', '\t', '\n', ';']))
    {
        usage!("parameter `{bad}`: give NAME=VALUE without blanks and semicolons");
    }
    Ok((!all.is_empty()).then(|| format!("cxlmem.parameters={}", all.join(";"))))
}

/// Builds what the guest is to hold, if its sources changed.
fn build(cache: &Cache, space: &Space, series: &str) -> Result<()> {
    let _lock = cache.lock()?;
    let build = Build::new(cache, space);
    build.module(series)?;
    if series == cache::DEBUG {
        build.provoke()?;
    }
    build.programs()?;
    build.tool()
}

fn run_suites(args: &TestArgs) -> Result<()> {
    cli::check_output(args.json.as_deref())?;
    let mut suites = chosen(&args.suite)?;
    let cache = Cache::new(args.folder.dir.as_deref())?;
    let kernels = match args.kernel.is_empty() {
        true => cache.series(),
        false => args.kernel.clone(),
    };
    kernel(&cache, None)?;
    for series in &kernels {
        kernel(&cache, Some(series))?;
    }
    // What is for none of these kernels is no news, unless it was asked for.
    suites.retain(|s| !args.suite.is_empty() || kernels.iter().any(|k| s.is_for(k)));
    need_server(args.machine.no_device)?;
    let space = Space::probe()?;
    let mut guests = Vec::new();
    for series in &kernels {
        build(&cache, &space, series)?;
        for suite in &suites {
            let modes = suite.modes.iter();
            let modes = modes.filter(|m| args.mode.is_none_or(|a| a == **m));
            guests.extend(modes.map(|mode| (suite, series, *mode)));
        }
    }
    let at_once = args
        .jobs
        .unwrap_or_else(|| parallel::fitting_guests(args.machine.memory_mib));
    let runs = parallel::at_once(at_once, &guests, |(suite, series, mode)| {
        let run = run_suite(args, &cache, &space, suite, series, *mode)?;
        let count = Count::of(std::slice::from_ref(&run));
        let what = format!("{} {series} {}", suite.name, mode.name());
        eprintln!("{what}: {count}, {:.1} s", run.seconds);
        // Not only in the table, which comes when all is over.
        for failure in run.failures() {
            eprintln!("{failure}");
        }
        Ok(run)
    })?;
    let count = Count::of(&runs);
    let is_json = cli::is_stdout(args.json.as_deref());
    cli::say!(is_json, "{}\n{count}", test::table(&runs));
    if let Some(file) = &args.json {
        cli::write_json(file, &serde_json::json!({"count": count, "runs": runs}))?;
    }
    if count.failed > 0 {
        // Once more, for readers of a log's end.
        let failures: Vec<String> = runs.iter().flat_map(Run::failures).collect();
        bail!(
            "{} of {} tests failed:\n{}",
            count.failed,
            count.passed + count.failed,
            failures.join("\n")
        );
    }
    if count.passed == 0 {
        return Err(Skipped("no test was run".into()).into());
    }
    Ok(())
}

/// How much more time the debug kernel gets: each access to memory is checked there, in an emulated machine.
const DEBUG_SLOW: u32 = 5;

/// The suites with these names, or all.
fn chosen(names: &[String]) -> Result<Vec<Suite>> {
    let mut suites = suite::all(&initramfs::workspace().join("tests/guest"))?;
    let known: Vec<String> = suites.iter().map(|s| s.name.clone()).collect();
    if let Some(unknown) = names.iter().find(|n| !known.contains(n)) {
        usage!("no suite {unknown}: there are {}", known.join(", "));
    }
    suites.retain(|s| names.is_empty() || names.contains(&s.name));
    Ok(suites)
}

fn run_suite(
    args: &TestArgs,
    cache: &Cache,
    space: &Space,
    suite: &Suite,
    series: &str,
    mode: Mode,
) -> Result<Run> {
    let not_run = if suite.is_long && !args.long {
        Some("needs --long".to_string())
    } else if !suite.is_for(series) {
        Some(format!("is for kernel {}", suite.kernels.join(", ")))
    } else {
        None
    };
    if let Some(why) = not_run {
        let version = cache.kernel_version(series).unwrap_or_default();
        return Ok(Run::skipped(suite, version, mode, why));
    }
    let mut words = suite.words(args.long);
    words.push(format!("cxlmem.series={series}"));
    let slow = if series == cache::DEBUG {
        DEBUG_SLOW
    } else {
        1
    };
    words.push(format!("cxlmem.slow={slow}"));
    if series == cache::DEBUG {
        // The option alone does nothing.
        words.push("page_poison=1".into());
    }
    if let Some(seed) = std::env::var("CXLMEM_SEED")
        .ok()
        .filter(|s| s.parse::<u64>().is_ok())
    {
        words.push(format!("cxlmem.seed={seed}"));
    }
    let guest = Guest {
        series,
        mode,
        memory_mib: args.machine.memory_mib,
        has_peers: false,
        has_device: !args.machine.no_device,
        faults: &suite.faults,
        script: "",
        words,
        to_terminal: false,
        is_interactive: false,
        limit: Some(suite.limit * slow),
    };
    test::run(cache, space, suite, &guest)
}
