//! `cxlmem sim coverage`: which lines of the emitted Verilog the simulator's tests execute.
//!
//! Verilator counts *points*: a block of statements, or a branch of an `if` or `case`, with the lines it stands for. A line is covered if one
//! of its points was reached; a branch is taken if its point was. A module that several configurations emit alike is one module
//! here: what one of them reaches is reached.

mod reasons;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use comfy_table::{presets, Table};
use cxlmem_hdl::gates::tools::scratch;
use cxlmem_hdl::Config;
use serde::Serialize;

use crate::cli::{self, say, usage};
use crate::{target, tools};
use reasons::Explained;

/// Share of the lines that must be covered, percent.
const GOAL: usize = 95;
/// The simulator's tests that are run: all but those that measure time or speed and those of the Rust description.
const TESTS: &[&str] = &[
    "coherent_rtl",
    "cut",
    "engine",
    "hdm_db",
    "io",
    "link",
    "link_bi",
    "link_ledger",
    "offences",
    "system",
];
/// Operations of the random coherent workloads.
const OPS: &str = "60000";

pub const EXAMPLES: &str = "\
Examples:
  cxlmem sim coverage                                   build with counters, run the simulator's tests, print
  cxlmem sim coverage --branches --config small         branches that were never taken, too
  cxlmem sim coverage --keep target/coverage            keep the counts
  cxlmem sim coverage --from target/coverage --json -   read them again

The first run compiles the simulator with counters: a few minutes. It is no part of `./x test`.
It ends with status 1 if less than 95 % of the lines are covered and, for configuration full, if a line that is not
has no reason or a reason is of lines that are covered.";

/// Arguments of `cxlmem sim coverage`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Configuration whose lines are shown; those it shares with others count wherever they were reached
    #[arg(long, default_value = "full", value_name = "NAME", value_parser = target::config)]
    config: &'static Config,
    /// Read counts that --keep left, instead of running the tests
    #[arg(long, value_name = "DIR", conflicts_with = "keep")]
    from: Option<PathBuf>,
    /// Keep the counts in this folder, which must be empty or new
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// List the branches that were never taken, too
    #[arg(long)]
    branches: bool,
    /// Write blocks, lines and branches as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// A place in the Verilog that was never reached.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Place {
    /// Module, which is the block of the RTL by its path.
    block: String,
    /// Line of `top.v` as `cxlmem hdl emit` writes it.
    line: usize,
    /// `block`, `if`, `else`, `case` ...
    kind: String,
    /// The line.
    text: String,
}

/// Counts of one module.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Block {
    block: String,
    lines: usize,
    covered: usize,
    branches: usize,
    taken: usize,
}

#[derive(Debug, Serialize)]
struct Coverage {
    config: String,
    lines: usize,
    covered: usize,
    branches: usize,
    taken: usize,
    blocks: Vec<Block>,
    uncovered_lines: Vec<Place>,
    untaken_branches: Vec<Place>,
    /// Of the configuration that the reasons are about.
    reasons: Option<Explained>,
}

/// Carries out `cxlmem sim coverage`.
pub fn run(args: &Args) -> Result<()> {
    cli::check_output(args.json.as_deref())?;
    let temporary = scratch()?;
    let dir = match (&args.from, &args.keep) {
        (Some(dir), _) => dir.clone(),
        (None, keep) => {
            let dir = keep
                .clone()
                .unwrap_or_else(|| temporary.path().join("counts"));
            cli::check_folder(&dir)?;
            if dir.read_dir()?.next().is_some() {
                usage!("{} is not empty: old counts would mix with new ones; give another folder with --keep", dir.display());
            }
            let dir = dir.canonicalize()?;
            run_tests(&dir, temporary.path())?;
            dir
        }
    };
    let mut counts = Counts::default();
    for config in Config::all() {
        let verilog = cxlmem_hdl::emit(config)?;
        let texts = files_of(&dir, config.name)?;
        counts
            .add(&verilog, texts.iter().map(String::as_str))
            .with_context(|| {
                format!(
                    "counts of configuration {} in {}",
                    config.name,
                    dir.display()
                )
            })?;
    }
    let mut coverage = counts.of(args.config.name, &cxlmem_hdl::emit(args.config)?)?;
    if args.config.name == reasons::CONFIG {
        coverage.reasons = Some(reasons::explain(&coverage.uncovered_lines, reasons::ALL));
    }
    let to_stderr = cli::is_stdout(args.json.as_deref());
    print(&coverage, args.branches, to_stderr);
    if let Some(file) = &args.json {
        cli::write_json(file, &coverage)?;
    }
    verdict(&coverage)
}

/// Fails if too few lines are covered, or if the reasons for the others are not true.
fn verdict(c: &Coverage) -> Result<()> {
    let mut wrong = Vec::new();
    if 100 * c.covered < GOAL * c.lines {
        let covered = share(c.covered, c.lines);
        wrong.push(format!(
            "{covered} % of the lines are covered, wanted: {GOAL} %"
        ));
    }
    if let Some(e) = &c.reasons {
        wrong.extend(e.unexplained.iter().map(|p| format!("no reason for {p}")));
        wrong.extend(e.stale.iter().map(|p| format!("reason to remove: {p}")));
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}

/// Builds the simulator with counters and runs its tests, which leave their counts in `dir`.
fn run_tests(dir: &Path, temporary: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let log = temporary.join("tests.log");
    let mut command = Command::new(cargo);
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CXLMEM_COVERAGE", dir)
        .env("CXLMEM_OPS", OPS)
        // The same lines in every run.
        .env_remove("CXLMEM_SEED")
        .args(["test", "-p", "cxlmem-sim", "--features", "coverage"])
        .args(["--lib", "--no-fail-fast"])
        .args(TESTS.iter().flat_map(|t| ["--test", *t]));
    tools::stage("tests with counters", &mut command, &log, &log)?;
    Ok(())
}

/// The texts of the count files of a configuration: `<configuration>-<process>-<number>.dat`.
fn files_of(dir: &Path, config: &str) -> Result<Vec<String>> {
    let read = |e: &Path| {
        std::fs::read_to_string(e).with_context(|| format!("cannot read {}", e.display()))
    };
    let entries = std::fs::read_dir(dir).with_context(|| {
        format!(
            "cannot read {}: give the folder that --keep made",
            dir.display()
        )
    })?;
    let mut texts = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path
            .file_name()
            .map(|n| n.to_string_lossy().into_owned())
            .unwrap_or_default();
        let of = name
            .strip_suffix(".dat")
            .and_then(|n| n.rsplitn(3, '-').nth(2));
        if of == Some(config) {
            texts.push(read(&path)?);
        }
    }
    Ok(texts)
}

/// A point of one module, by line within the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    line: usize,
    column: usize,
    kind: String,
    lines: Vec<usize>,
}

/// Counts by the text of a module.
#[derive(Default)]
struct Counts {
    points: HashMap<String, BTreeMap<Point, u64>>,
}

impl Counts {
    /// Adds the counts of one configuration's runs.
    fn add<'a>(&mut self, verilog: &str, texts: impl Iterator<Item = &'a str>) -> Result<()> {
        let modules = modules(verilog);
        let by_name: HashMap<&str, &Module> = modules.iter().map(|m| (m.name, m)).collect();
        for line in texts.flat_map(str::lines) {
            let Some(raw) = parse(line)? else { continue };
            let module = by_name.get(raw.module).filter(|m| {
                raw.line > m.first
                    && raw
                        .lines
                        .iter()
                        .all(|l| (m.first..m.first + m.lines).contains(l))
            });
            let Some(module) = module else {
                bail!("{} line {} is not of the RTL as it is: the counts are of another one; run the tests again", raw.module, raw.line);
            };
            let point = Point {
                line: raw.line - module.first,
                column: raw.column,
                kind: raw.kind.to_string(),
                lines: raw.lines.iter().map(|l| l - module.first).collect(),
            };
            *self
                .points
                .entry(module.text.to_string())
                .or_default()
                .entry(point)
                .or_default() += raw.count;
        }
        Ok(())
    }

    /// What was reached of one configuration's Verilog.
    fn of(&self, config: &str, verilog: &str) -> Result<Coverage> {
        let mut all = Coverage {
            config: config.to_string(),
            lines: 0,
            covered: 0,
            branches: 0,
            taken: 0,
            blocks: Vec::new(),
            uncovered_lines: Vec::new(),
            untaken_branches: Vec::new(),
            reasons: None,
        };
        for module in modules(verilog) {
            let Some(points) = self.points.get(module.text) else {
                continue;
            };
            let text: Vec<&str> = module.text.lines().collect();
            let place = |line: usize, kind: &str| Place {
                block: module.name.to_string(),
                line: module.first + line,
                kind: kind.to_string(),
                text: text.get(line).map_or("", |t| t.trim()).to_string(),
            };
            let mut lines: BTreeMap<usize, (bool, &str)> = BTreeMap::new();
            let mut block = Block {
                block: module.name.to_string(),
                ..Block::default()
            };
            for (point, &count) in points {
                for &l in &point.lines {
                    let (reached, kind) = lines.entry(l).or_insert((false, &point.kind));
                    *reached |= count > 0;
                    *kind = &point.kind;
                }
                if point.kind != "block" {
                    block.branches += 1;
                    block.taken += usize::from(count > 0);
                    if count == 0 {
                        all.untaken_branches.push(place(point.line, &point.kind));
                    }
                }
            }
            block.lines = lines.len();
            for (line, (reached, kind)) in lines {
                block.covered += usize::from(reached);
                if !reached {
                    all.uncovered_lines.push(place(line, kind));
                }
            }
            all.lines += block.lines;
            all.covered += block.covered;
            all.branches += block.branches;
            all.taken += block.taken;
            all.blocks.push(block);
        }
        if all.lines == 0 {
            bail!("there are no counts of configuration {config}: no test runs it, or the simulator was built without feature `coverage`");
        }
        Ok(all)
    }
}

/// A module's text, and where it begins.
struct Module<'a> {
    name: &'a str,
    /// Number of its first line, from 1.
    first: usize,
    lines: usize,
    text: &'a str,
}

fn modules(verilog: &str) -> Vec<Module<'_>> {
    let mut found = Vec::new();
    let mut begun: Option<(&str, usize, usize)> = None;
    let mut at = 0;
    for (n, line) in verilog.split_inclusive('\n').enumerate() {
        if let Some(rest) = line.strip_prefix("module ") {
            let name = rest.split(['(', ';', ' ', '#', '\n']).next().unwrap_or("");
            begun = Some((name, n + 1, at));
        }
        at += line.len();
        if line.split_whitespace().next() == Some("endmodule") {
            if let Some((name, first, start)) = begun.take() {
                let text = &verilog[start..at];
                found.push(Module {
                    name,
                    first,
                    lines: n + 2 - first,
                    text,
                });
            }
        }
    }
    found
}

/// A line of a count file.
#[derive(Debug, PartialEq, Eq)]
struct Raw<'a> {
    module: &'a str,
    line: usize,
    column: usize,
    kind: &'a str,
    lines: BTreeSet<usize>,
    count: u64,
}

/// Reads a line of Verilator's counts: `C '<0x01 key 0x02 value>...' <count>`. None for what is no point.
fn parse(line: &str) -> Result<Option<Raw<'_>>> {
    let Some(rest) = line.strip_prefix("C '") else {
        return Ok(None);
    };
    let bad = || format!("not a line of Verilator's counts: {line:?}");
    let (keys, count) = rest.rsplit_once("' ").with_context(bad)?;
    let keys: HashMap<&str, &str> = keys
        .split('\x01')
        .filter_map(|k| k.split_once('\x02'))
        .collect();
    let number = |text: &str| text.trim().parse::<usize>().ok().with_context(bad);
    let get = |key: &str| keys.get(key).copied().with_context(bad);
    let (_, module) = get("page")?.split_once('/').with_context(bad)?;
    let mut lines = BTreeSet::new();
    for range in keys
        .get("S")
        .unwrap_or(&"")
        .split(',')
        .filter(|r| !r.is_empty())
    {
        let (a, b) = range.split_once('-').unwrap_or((range, range));
        let (a, b) = (number(a)?, number(b)?);
        if b < a || b - a > 1_000_000 {
            bail!(bad());
        }
        lines.extend(a..=b);
    }
    Ok(Some(Raw {
        module,
        line: number(get("l")?)?,
        column: number(get("n")?)?,
        kind: get("o")?,
        lines,
        count: count.trim().parse().ok().with_context(bad)?,
    }))
}

fn share(part: usize, all: usize) -> String {
    // Cut, not rounded: 100.0 % means all of it.
    format!("{:.1}", (1000 * part / all.max(1)) as f64 / 10.0)
}

fn print(c: &Coverage, branches: bool, to_stderr: bool) {
    let mut t = Table::new();
    t.load_preset(presets::ASCII_MARKDOWN);
    t.set_header(["block", "lines", "covered", "%", "branches", "taken", "%"]);
    for b in &c.blocks {
        t.add_row([
            b.block.clone(),
            b.lines.to_string(),
            b.covered.to_string(),
            share(b.covered, b.lines),
            b.branches.to_string(),
            b.taken.to_string(),
            share(b.taken, b.branches),
        ]);
    }
    say!(to_stderr, "{t}");
    let list = |title: &str, places: &[Place]| {
        say!(to_stderr, "{title}:");
        for p in places {
            say!(
                to_stderr,
                "  {} top.v:{} {}: {}",
                p.block,
                p.line,
                p.kind,
                p.text
            );
        }
    };
    list("lines not covered", &c.uncovered_lines);
    if branches {
        list("branches never taken", &c.untaken_branches);
    }
    if let Some(e) = &c.reasons {
        let mut t = Table::new();
        t.load_preset(presets::ASCII_MARKDOWN);
        t.set_header(["block", "lines", "kind", "why they are not covered"]);
        for g in &e.given {
            t.add_row([
                g.block.to_string(),
                g.lines.to_string(),
                format!("{:?}", g.class).to_lowercase(),
                g.why.to_string(),
            ]);
        }
        say!(to_stderr, "{t}");
    }
    say!(
        to_stderr,
        "configuration {}, simulated: lines {} of {} ({} %), branches {} of {} ({} %)",
        c.config,
        c.covered,
        c.lines,
        share(c.covered, c.lines),
        c.taken,
        c.branches,
        share(c.taken, c.branches)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str =
        "// v\nmodule a(x);\nif (x)\n  y;\nelse\n  z;\nendmodule // a\n\nmodule b(x);\nw;\nendmodule\n";
    /// Module `a` four lines later, and another `b`.
    const TWO: &str = "//\n//\n//\n//\n//\nmodule a(x);\nif (x)\n  y;\nelse\n  z;\nendmodule // a\nmodule b(x);\nv;\nendmodule\n";

    fn point(module: &str, line: usize, kind: &str, lines: &str, count: u64) -> String {
        format!("C '\x01f\x02/x/top.v\x01l\x02{line}\x01n\x025\x01t\x02line\x01page\x02v_line/{module}\x01o\x02{kind}\x01S\x02{lines}\x01h\x02top' {count}\n")
    }

    #[test]
    fn counts_of_a_shared_module_add_up() {
        let mut counts = Counts::default();
        let one = point("a", 3, "if", "3-4", 0)
            + &point("a", 3, "else", "6", 2)
            + &point("b", 10, "block", "10", 0);
        counts.add(ONE, [one.as_str(), &one].into_iter()).unwrap();
        let before = counts.of("one", ONE).unwrap();
        assert_eq!(
            (before.lines, before.covered, before.branches, before.taken),
            (4, 1, 2, 1)
        );
        assert_eq!(
            before
                .uncovered_lines
                .iter()
                .map(|p| (p.line, p.text.as_str()))
                .collect::<Vec<_>>(),
            [(3, "if (x)"), (4, "y;"), (10, "w;")]
        );
        let two = point("a", 7, "if", "7-8", 1) + &point("b", 13, "block", "13", 5);
        counts.add(TWO, [two.as_str()].into_iter()).unwrap();
        let after = counts.of("one", ONE).unwrap();
        assert_eq!(
            (after.lines, after.covered, after.branches, after.taken),
            (4, 3, 2, 2)
        );
        assert_eq!(after.uncovered_lines[0].block, "b");
        assert_eq!(
            after.blocks[0],
            Block {
                block: "a".into(),
                lines: 3,
                covered: 3,
                branches: 2,
                taken: 2
            }
        );
    }

    #[test]
    fn counts_of_another_rtl_are_refused() {
        for bad in [point("c", 3, "if", "3", 1), point("a", 9, "if", "9", 1)] {
            let e = Counts::default()
                .add(ONE, [bad.as_str()].into_iter())
                .unwrap_err();
            assert!(e.to_string().contains("run the tests again"), "{e}");
        }
        assert!(Counts::default().of("one", ONE).is_err());
    }

    #[test]
    fn damaged_lines_are_errors() {
        assert_eq!(parse("# SystemC::Coverage-3").unwrap(), None);
        let good = point("a", 3, "if", "3-4", 7);
        assert_eq!(parse(good.trim_end()).unwrap().unwrap().count, 7);
        for bad in [
            "C 'x",
            "C '' 1",
            "C '\x01page\x02v_line/a\x01l\x02x\x01n\x021\x01o\x02if' 1",
            "C '\x01page\x02v_line/a\x01l\x021\x01n\x021\x01o\x02if\x01S\x029-1' 1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn too_few_lines_and_untrue_reasons_fail() {
        let mut c = Coverage {
            config: "full".into(),
            lines: 100,
            covered: 95,
            branches: 0,
            taken: 0,
            blocks: Vec::new(),
            uncovered_lines: Vec::new(),
            untaken_branches: Vec::new(),
            reasons: Some(Explained::default()),
        };
        verdict(&c).unwrap();
        c.covered = 94;
        assert!(verdict(&c).unwrap_err().to_string().contains("94.0 %"));
        c.covered = 95;
        c.reasons = Some(reasons::explain(&[], reasons::ALL));
        let e = verdict(&c).unwrap_err().to_string();
        assert!(e.contains("reason to remove"), "{e}");
    }

    #[test]
    fn a_share_is_never_rounded_up() {
        assert_eq!(
            [share(999_999, 1_000_000), share(3, 3), share(0, 0)],
            ["99.9", "100.0", "0.0"]
        );
    }
}
