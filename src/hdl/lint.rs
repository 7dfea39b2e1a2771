//! `cxlmem hdl lint`: every gate over the sources and the emitted Verilog.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use cxlmem_hdl::board;
use cxlmem_hdl::gates::{self, ram, source, verilator, yosys, Finding};
use cxlmem_hdl::memory::sdram::{Sdram, CHIPS, SDRAM16_KHZ, SDRAM32_KHZ};
use cxlmem_hdl::Config;
use serde_json::json;

use super::MOST_BLOCK_RAMS;
use crate::cli::{self, say};

/// Runs the gates over one configuration or all.
pub fn run(only: Option<&'static Config>, json: Option<&Path>) -> Result<()> {
    cli::check_output(json)?;
    let configs: Vec<&Config> = match only {
        Some(c) => vec![c],
        None => Config::all().iter().collect(),
    };
    let mut lint = Lint {
        stdout_is_json: cli::is_stdout(json),
        ..Lint::default()
    };
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
    if only.is_none() {
        for (name, verilog) in blocks()? {
            lint.gate(&format!("verilator {name}"), || {
                verilator::check(&verilog, "top")
            })?;
            lint.gate(&format!("yosys {name}"), || yosys::check(&verilog, "top"))?;
            lint.gate(&format!("ram {name}"), || {
                ram::check(&verilog, &mut memories)
            })?;
        }
    }
    let failed = lint.failed;
    say!(
        lint.stdout_is_json,
        "{} passed, {failed} failed",
        lint.passed
    );
    if let Some(file) = json {
        let findings: Vec<_> = lint.findings.iter().map(finding_json).collect();
        cli::write_json(
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

/// Blocks that are in no configuration, as they are simulated. The SDRAM's tables are small here: what is looked at is the logic.
fn blocks() -> Result<Vec<(String, String)>> {
    let board = board::verilog(&board::simulated())?;
    let mut all = vec![("board".to_string(), board)];
    for (chip, khz) in CHIPS.iter().zip([SDRAM16_KHZ, SDRAM32_KHZ]) {
        let verilog = cxlmem_hdl::emit_block(Sdram::new(&chip.timing(khz)?, 9))?;
        all.push((format!("sdram {}", chip.name), verilog));
    }
    Ok(all)
}

#[derive(Default)]
struct Lint {
    passed: usize,
    failed: usize,
    findings: Vec<Finding>,
    stdout_is_json: bool,
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
            say!(self.stdout_is_json, "{f}");
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

#[cfg(test)]
mod tests {
    use super::*;

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
