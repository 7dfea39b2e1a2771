//! `cxlmem vm test`: boots each suite, reads its results, searches the kernel's log, prints a table.

use anyhow::Result;
use serde::Serialize;

use super::cache::Cache;
use super::log::{self, Fault};
use super::machine::{self, Guest, Outcome};
use super::qemu::Mode;
use super::results::{self, Test, Verdict};
use super::space::Space;
use super::suite::Suite;

/// The test that stands for the search of the log.
const LOG: &str = "kernel-log";

/// What was run, and how its tests ended.
#[derive(Debug, Serialize)]
pub struct Run {
    /// Suite.
    pub suite: String,
    /// Kernel version.
    pub kernel: String,
    /// Mapped mode.
    pub mode: &'static str,
    /// Wall-clock time, s.
    pub seconds: f64,
    /// Its tests.
    pub tests: Vec<Test>,
}

impl Run {
    /// A line for each test that failed: where, which, why.
    pub fn failures(&self) -> impl Iterator<Item = String> + '_ {
        let failed = self.tests.iter().filter(|t| t.verdict == Verdict::Fail);
        failed.map(|t| {
            let (suite, kernel, mode) = (&self.suite, &self.kernel, self.mode);
            format!("{suite} {kernel} {mode}: FAIL {}: {}", t.name, t.note)
        })
    }

    /// Of a suite that was not booted.
    pub fn skipped(suite: &Suite, kernel: String, mode: Mode, why: String) -> Run {
        Run {
            suite: suite.name.clone(),
            kernel,
            mode: mode.name(),
            seconds: 0.0,
            tests: vec![Test {
                name: suite.name.clone(),
                verdict: Verdict::Skip,
                note: why,
            }],
        }
    }
}

/// Tests by verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Held.
    pub passed: usize,
    /// Did not hold.
    pub failed: usize,
    /// Were not run; these show nothing.
    pub skipped: usize,
}

impl Count {
    /// Of runs.
    pub fn of(runs: &[Run]) -> Count {
        let mut count = Count::default();
        for test in runs.iter().flat_map(|r| &r.tests) {
            match test.verdict {
                Verdict::Pass => count.passed += 1,
                Verdict::Fail => count.failed += 1,
                Verdict::Skip => count.skipped += 1,
            }
        }
        count
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Count {
            passed,
            failed,
            skipped,
        } = self;
        write!(f, "{passed} passed, {failed} failed, {skipped} skipped")
    }
}

/// Boots a suite.
///
/// # Errors
/// What keeps the guest from starting.
pub fn run(cache: &Cache, space: &Space, suite: &Suite, guest: &Guest) -> Result<Run> {
    let outcome = machine::boot(cache, space, guest)?;
    let run = Run {
        suite: suite.name.clone(),
        kernel: cache.kernel_version(guest.series).unwrap_or_default(),
        mode: guest.mode.name(),
        seconds: outcome.took.as_secs_f64(),
        tests: judge(suite, &outcome),
    };
    if run.failures().next().is_some() {
        let name = format!("suite-{}-{}-{}", run.suite, guest.series, run.mode);
        let file = cache.path("log").join(name);
        let text = format!("{}\n==== kernel ====\n{}", outcome.output, outcome.log);
        match std::fs::write(&file, text) {
            Ok(()) => eprintln!("output and kernel's log: {}", file.display()),
            Err(e) => eprintln!("cannot write {}: {e}", file.display()),
        }
    }
    Ok(run)
}

/// A suite's tests with what the log says of them.
fn judge(suite: &Suite, outcome: &Outcome) -> Vec<Test> {
    let mut tests = results::read(&suite.name, &outcome.output, outcome.code);
    if let Some(trouble) = &outcome.trouble {
        tests.push(Test::failed("guest", trouble.clone()));
    }
    let mut faults = log::faults(&outcome.log);
    let all = faults.len();
    faults.retain(|f| !suite.tolerates.iter().any(|t| f.line.contains(t)));
    let tolerated = all - faults.len();
    let (provoked, others): (Vec<Fault>, Vec<Fault>) = faults
        .into_iter()
        .partition(|f| suite.provokes.as_ref().is_some_and(|p| f.line.contains(p)));
    for (i, fault) in others.iter().enumerate() {
        let when = match &fault.after {
            Some(test) => format!("after {test}"),
            None => "before the first result".into(),
        };
        let name = if i == 0 {
            LOG.to_string()
        } else {
            format!("{LOG}-{}", i + 1)
        };
        tests.push(Test::failed(
            &name,
            format!("{} {when}: {}", fault.kind, fault.line),
        ));
    }
    match &suite.provokes {
        Some(words) if provoked.is_empty() => {
            tests.push(Test::failed(
                LOG,
                format!("the search did not find the provoked `{words}`"),
            ));
        }
        Some(words) if others.is_empty() => tests.push(Test {
            name: LOG.into(),
            verdict: Verdict::Pass,
            note: format!("found the provoked `{words}`"),
        }),
        _ if others.is_empty() => tests.push(Test {
            name: LOG.into(),
            verdict: Verdict::Pass,
            note: match tolerated {
                0 => format!("{} lines", outcome.log.lines().count()),
                n => format!(
                    "{} lines, {n} faults of the kernel's own ({})",
                    outcome.log.lines().count(),
                    suite.tolerates.join(", ")
                ),
            },
        }),
        _ => {}
    }
    tests
}

/// The table for people.
pub fn table(runs: &[Run]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header(["suite", "kernel", "mode", "test", "", "note"]);
    for run in runs {
        for (i, test) in run.tests.iter().enumerate() {
            let head = |text: &str| {
                if i == 0 {
                    text.to_string()
                } else {
                    String::new()
                }
            };
            let verdict = match test.verdict {
                Verdict::Pass => "pass",
                Verdict::Fail => "FAIL",
                Verdict::Skip => "skip",
            };
            table.add_row([
                head(&run.suite),
                head(&run.kernel),
                head(run.mode),
                test.name.clone(),
                verdict.to_string(),
                test.note.clone(),
            ]);
        }
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn outcome(output: &str, log: &str) -> Outcome {
        Outcome {
            code: Some(0),
            output: output.into(),
            log: log.into(),
            trouble: None,
            took: Duration::ZERO,
        }
    }

    fn verdicts(suite: &str, outcome: &Outcome) -> Vec<(String, Verdict)> {
        let suite = Suite::parse("s", suite).unwrap();
        let tests = judge(&suite, outcome);
        tests.into_iter().map(|t| (t.name, t.verdict)).collect()
    }

    #[test]
    fn a_fault_in_the_log_fails_a_suite_whose_tests_pass() {
        let clean = outcome("PASS a\n", "[ 1.0] x\n");
        let pair = |n: &str, v| (n.to_string(), v);
        assert_eq!(
            verdicts("", &clean),
            [pair("a", Verdict::Pass), pair(LOG, Verdict::Pass)]
        );
        let dirty = outcome("PASS a\n", "[ 1.0] WARNING: x\n[ 2.0] BUG: y\n");
        assert_eq!(
            verdicts("", &dirty),
            [
                pair("a", Verdict::Pass),
                pair(LOG, Verdict::Fail),
                pair("kernel-log-2", Verdict::Fail)
            ]
        );
    }

    #[test]
    fn a_provoked_fault_must_be_found_and_be_the_only_one() {
        let head = "#: provokes WARNING: x";
        let log = |log: &str| verdicts(head, &outcome("PASS a\n", log)).pop().unwrap().1;
        assert_eq!(log("WARNING: x\n"), Verdict::Pass);
        assert_eq!(log("nothing\n"), Verdict::Fail);
        assert_eq!(log("WARNING: x\nWARNING: y\n"), Verdict::Fail);
    }

    #[test]
    fn what_is_the_kernels_own_is_counted_and_nothing_else_is_let_through() {
        let suite = Suite::parse("s", "#: tolerates x.c:").unwrap();
        let log = |log: &str| judge(&suite, &outcome("PASS a\n", log)).pop().unwrap();
        let own = log("WARNING: x.c:7\n");
        assert_eq!(own.verdict, Verdict::Pass);
        assert_eq!(own.note, "1 lines, 1 faults of the kernel's own (x.c:)");
        assert_eq!(log("WARNING: x.c:7\nBUG: y\n").verdict, Verdict::Fail);
    }

    #[test]
    fn a_guest_that_was_ended_fails() {
        let mut ended = outcome("PASS a\n", "");
        (ended.code, ended.trouble) = (None, Some("the guest was ended".into()));
        assert!(verdicts("", &ended).contains(&("guest".into(), Verdict::Fail)));
    }

    #[test]
    fn skipped_is_not_passed() {
        let run = Run {
            suite: "s".into(),
            kernel: "7".into(),
            mode: "spm",
            seconds: 0.0,
            tests: results::read(
                "s",
                "PASS a\nSKIP b: no device\nFAIL c: x\nSKIP d: y\n",
                Some(1),
            ),
        };
        let count = Count::of(std::slice::from_ref(&run));
        assert_eq!(count.to_string(), "1 passed, 1 failed, 2 skipped");
        let failures: Vec<String> = run.failures().collect();
        assert_eq!(failures, ["s 7 spm: FAIL c: x"]);
        let text = table(&[run]);
        assert!(
            text.contains("no device") && text.contains("FAIL"),
            "{text}"
        );
    }
}
