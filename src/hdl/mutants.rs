//! `cxlmem hdl mutants`: seeded faults in the RTL, and the check that finds each.
//!
//! The simulator is built once with all of them behind a switch (`CXLMEM_MUTANT`). A mutant's named check runs first; if it finds nothing, every test of the
//! simulator does. The comparison with rust-hdl's own simulation is left out: it would find the switch, not the fault, since a fault of the design is on both of its sides.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use comfy_table::{presets, Table};
use cxlmem_hdl::gates::tools::{scratch, tail, Scratch};
use cxlmem_hdl::mutants::{self, Check, Fate, Mutant, MUTANTS};
use cxlmem_hdl::prove::{Verdict, PROOFS};
use cxlmem_hdl::Config;
use serde::Serialize;

use crate::cli::{self, say};
use crate::tools;

/// Test files that say nothing about a fault of the design.
const LEFT_OUT: &[&str] = &["rust_model"];

/// A check that takes longer than this found the mutant: on the right RTL none takes a tenth of it.
const CHECK_SECONDS: u64 = 60;

/// The same for a whole file of tests.
const FILE_SECONDS: u64 = 120;

/// The mutant of that name.
pub fn mutant(name: &str) -> Result<&'static Mutant, String> {
    Mutant::by_name(name).ok_or_else(|| {
        "no mutant of that name; `cxlmem hdl mutants --list` prints them".to_string()
    })
}

/// Prints the table of mutants.
pub fn list() -> Result<()> {
    mutants::check()?;
    let mut table = new_table(&["mutant", "block", "what is wrong", "found by"]);
    for m in MUTANTS {
        let found = match m.fate {
            Fate::Killed(check) => check.to_string(),
            Fate::Survives(why) => format!("nothing: {why}"),
        };
        table.add_row([m.name, &block(m), m.what, &found]);
    }
    println!("{table}");
    Ok(())
}

/// What came of one mutant.
#[derive(Debug, Serialize)]
struct Row {
    mutant: &'static str,
    block: String,
    what: &'static str,
    /// The check that found it.
    killed_by: Option<String>,
    /// Why nothing does.
    survives: Option<&'static str>,
    seconds: f64,
    /// As the table of mutants says.
    ok: bool,
}

/// Runs mutants, all of them if none is named.
pub fn run(only: &[&'static Mutant], json: Option<&Path>) -> Result<()> {
    cli::check_output(json)?;
    mutants::check()?;
    let chosen: Vec<&'static Mutant> = MUTANTS
        .iter()
        .filter(|m| only.is_empty() || only.iter().any(|o| o.name == m.name))
        .collect();
    let mut bench = Bench::build()?;
    bench.right_rtl_passes(&chosen)?;
    let mut rows = Vec::new();
    for m in chosen {
        let start = Instant::now();
        let killed_by = bench.killer(m)?;
        let (ok, survives) = match (m.fate, &killed_by) {
            (Fate::Killed(check), Some(by)) => (*by == check.to_string(), None),
            (Fate::Killed(_), None) => (false, None),
            (Fate::Survives(why), by) => (by.is_none(), Some(why)),
        };
        let seconds = start.elapsed().as_secs_f64();
        let found = killed_by.as_deref().unwrap_or("survives");
        eprintln!("{}: {found}, {seconds:.1} s", m.name);
        rows.push(Row {
            mutant: m.name,
            block: block(m),
            what: m.what,
            killed_by,
            survives,
            seconds,
            ok,
        });
    }
    print(&rows, cli::is_stdout(json));
    if let Some(file) = json {
        cli::write_json(
            file,
            &serde_json::json!({ "class": "mutants", "mutants": rows }),
        )?;
    }
    let failed = rows.iter().filter(|r| !r.ok).count();
    if failed > 0 {
        bail!("{failed} of {} mutants did not end as hdl/src/mutants/table.rs says (docs/developer/mutants.md)", rows.len());
    }
    Ok(())
}

fn print(rows: &[Row], to_stderr: bool) {
    let mut table = new_table(&["mutant", "block", "what is wrong", "killed by", "s"]);
    for r in rows {
        let by = r.killed_by.as_deref().unwrap_or("-");
        table.add_row([r.mutant, &r.block, r.what, by, &format!("{:.1}", r.seconds)]);
    }
    say!(to_stderr, "{table}");
    for r in rows.iter().filter(|r| r.killed_by.is_none()) {
        let why = r
            .survives
            .unwrap_or("NOT EXPLAINED: a check is missing, or the mutant changes nothing");
        say!(to_stderr, "survives: {}: {why}", r.mutant);
    }
    for r in rows.iter().filter(|r| !r.ok) {
        if let Some(by) = &r.killed_by {
            say!(
                to_stderr,
                "FAILED: {} was killed by {by}, which is not what its row says",
                r.mutant
            );
        }
    }
    let killed = rows.iter().filter(|r| r.killed_by.is_some()).count();
    say!(
        to_stderr,
        "{killed} of {} killed, {} survive with a reason",
        rows.len(),
        rows.iter().filter(|r| r.ok && r.survives.is_some()).count()
    );
    let passed = rows.iter().filter(|r| r.ok).count();
    say!(to_stderr, "{passed} passed, {} failed", rows.len() - passed);
}

fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::ASCII_MARKDOWN);
    table.set_header(header);
    table
}

/// The block of the RTL by its path.
fn block(m: &Mutant) -> String {
    m.module.replace('$', ".")
}

/// The test binaries with the switch.
struct Bench {
    /// Executable of each file of tests.
    files: BTreeMap<String, PathBuf>,
    /// Verilog of every configuration, for proofs.
    verilog: String,
    /// What tests write; the last run's.
    log: Scratch,
    /// Every file passed on the right RTL.
    files_pass: bool,
}

/// How a run of tests ended.
#[derive(Debug, PartialEq, Eq)]
enum Run {
    Passed,
    /// With the first test that failed, if it could say so.
    Failed(Option<String>),
    TimedOut,
}

impl Bench {
    fn build() -> Result<Self> {
        let log = scratch()?;
        let output = log.path().join("build.log");
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["test", "--no-run", "-p", "cxlmem-sim", "--tests"])
            .args([
                "--features",
                "mutants",
                "--message-format",
                "json-render-diagnostics",
            ]);
        // What cargo prints is for programs: no line of it is worth showing.
        let silent = log.path().join("silent.log");
        tools::stage(
            "building tests with mutants",
            &mut command,
            &silent,
            &output,
        )?;
        let text = std::fs::read_to_string(&output).context("cannot read what cargo printed")?;
        let files = executables(&text);
        if files.is_empty() {
            bail!("cargo built no tests of cxlmem-sim");
        }
        let full = Config::by_name("full").context("there is no configuration full")?;
        Ok(Self {
            files,
            verilog: cxlmem_hdl::emit(full)?,
            log,
            files_pass: false,
        })
    }

    /// Each check that the mutants name passes without a mutant.
    fn right_rtl_passes(&self, chosen: &[&'static Mutant]) -> Result<()> {
        let mut seen = BTreeSet::new();
        for m in chosen {
            let Fate::Killed(check) = m.fate else {
                continue;
            };
            if seen.insert(check.to_string()) && self.finds(check, None)? {
                bail!(
                    "{check} fails on the right RTL; mend that first\n{}",
                    self.last_words()
                );
            }
        }
        eprintln!("{} checks pass on the right RTL", seen.len());
        Ok(())
    }

    /// The check that finds a mutant: the one that its row names, or another.
    fn killer(&mut self, m: &'static Mutant) -> Result<Option<String>> {
        if let Fate::Killed(check) = m.fate {
            if self.finds(check, Some(m))? {
                return Ok(Some(check.to_string()));
            }
            eprintln!("{}: not found by {check}; all tests ...", m.name);
        }
        let files: Vec<String> = self.files.keys().cloned().collect();
        if !self.files_pass {
            for file in &files {
                if self.run(file, &[], "", FILE_SECONDS)? != Run::Passed {
                    bail!(
                        "{file} fails on the right RTL; mend that first\n{}",
                        self.last_words()
                    );
                }
            }
            self.files_pass = true;
        }
        for file in &files {
            match self.run(file, &[], m.name, FILE_SECONDS)? {
                Run::Passed => {}
                Run::Failed(test) => {
                    return Ok(Some(format!("{file}::{}", test.unwrap_or_default())))
                }
                Run::TimedOut => return Ok(Some(format!("{file}, timed out"))),
            }
        }
        let named = |c: Check| Fate::Killed(c) == m.fate;
        for p in PROOFS
            .iter()
            .filter(|p| p.module == m.module && !named(Check::Proof(p.name)))
        {
            if self.finds(Check::Proof(p.name), Some(m))? {
                return Ok(Some(Check::Proof(p.name).to_string()));
            }
        }
        Ok(None)
    }

    /// Whether a check fails, or comes to no end, on a mutant or on the right RTL.
    fn finds(&self, check: Check, m: Option<&'static Mutant>) -> Result<bool> {
        match check {
            Check::Test(file, test) => {
                let name = m.map_or("", |m| m.name);
                let run = self.run(file, &["--exact", test], name, CHECK_SECONDS)?;
                Ok(run != Run::Passed)
            }
            Check::Proof(name) => {
                let proof = PROOFS
                    .iter()
                    .find(|p| p.name == name)
                    .with_context(|| format!("there is no proof {name}"))?;
                let changed = m
                    .map(|m| m.apply(&self.verilog))
                    .transpose()
                    .context("the mutant does not fit")?
                    .flatten();
                match proof.run(changed.as_deref().unwrap_or(&self.verilog), false)? {
                    Verdict::Proved => Ok(false),
                    Verdict::Failed => Ok(true),
                    Verdict::Unknown(why) => bail!("proof {name} came to no end: {why}"),
                }
            }
        }
    }

    /// Runs tests of a file with a mutant; "" is none.
    fn run(&self, file: &str, args: &[&str], mutant: &str, seconds: u64) -> Result<Run> {
        let exe = self
            .files
            .get(file)
            .with_context(|| format!("there is no file of tests sim/tests/{file}"))?;
        let output = std::fs::File::create(self.output()).context("cannot write a log")?;
        let mut child = Command::new(exe)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("sim"))
            .args(args)
            .env("CXLMEM_MUTANT", mutant)
            .env_remove("CXLMEM_SEED")
            .stdin(Stdio::null())
            .stdout(output.try_clone().context("cannot share a log")?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("cannot start {}", exe.display()))?;
        let end = Instant::now() + Duration::from_secs(seconds);
        let status = loop {
            if let Some(status) = child.try_wait().context("cannot wait for a test")? {
                break status;
            }
            if Instant::now() >= end {
                child.kill().context("cannot end a test")?;
                child.wait().context("cannot wait for a test")?;
                return Ok(Run::TimedOut);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let text = self.text();
        if text.contains("\nrunning 0 tests") {
            bail!("{file} has no test {}", args.join(" "));
        }
        Ok(if status.success() {
            Run::Passed
        } else {
            Run::Failed(first_failure(&text))
        })
    }

    fn output(&self) -> PathBuf {
        self.log.path().join("test.log")
    }

    fn text(&self) -> String {
        let bytes = std::fs::read(self.output()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn last_words(&self) -> String {
        tail(&self.text(), 12)
    }
}

/// Test executables by the name of their file, from cargo's JSON.
fn executables(text: &str) -> BTreeMap<String, PathBuf> {
    let mut files = BTreeMap::new();
    for line in text.lines().filter(|l| l.starts_with('{')) {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let target = &message["target"];
        let is_test = target["kind"] == serde_json::json!(["test"]);
        if let (true, Some(name), Some(exe)) = (
            is_test,
            target["name"].as_str(),
            message["executable"].as_str(),
        ) {
            if !LEFT_OUT.contains(&name) {
                files.insert(name.to_string(), exe.into());
            }
        }
    }
    files
}

/// The first test that libtest says failed.
fn first_failure(text: &str) -> Option<String> {
    let failed = |l: &str| {
        l.strip_prefix("test ")?
            .strip_suffix(" ... FAILED")
            .map(str::to_string)
    };
    text.lines().find_map(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_found_in_what_cargo_prints() {
        let text = r#"   Compiling cxlmem-sim
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"link"},"executable":"/t/link-1"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"rust_model"},"executable":"/t/rust_model-1"}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"cxlmem_sim"},"executable":"/t/cxlmem_sim-1"}
{"reason":"compiler-artifact","target":{"kind":["test"],"name":"none"},"executable":null}
{"reason":"build-finished","success":true}
{broken"#;
        let files = executables(text);
        assert_eq!(files.len(), 1);
        assert_eq!(files["link"], Path::new("/t/link-1"));
    }

    #[test]
    fn the_first_failure_is_named() {
        let text = "\nrunning 2 tests\ntest good ... ok\ntest errors::bad ... FAILED\ntest worse ... FAILED\n";
        assert_eq!(first_failure(text).as_deref(), Some("errors::bad"));
        assert_eq!(first_failure("killed by a signal"), None);
    }

    #[test]
    fn mutants_are_known_by_name() {
        assert!(mutant("rx-half-crc").is_ok());
        assert!(mutant("nosuch").unwrap_err().contains("--list"));
    }
}
