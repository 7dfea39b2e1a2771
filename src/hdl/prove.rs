//! `cxlmem hdl prove`: formal proofs on the emitted Verilog.

use std::path::Path;
use std::time::Instant;

use anyhow::{bail, Context, Result};
use comfy_table::Table;
use cxlmem_hdl::prove::{Proof, Verdict, PROOFS};
use cxlmem_hdl::Config;
use serde_json::json;

use crate::cli::{self, say};

/// The proof of that name.
pub fn proof(name: &str) -> Result<&'static Proof, String> {
    PROOFS.iter().find(|p| p.name == name).ok_or_else(|| {
        let names: Vec<&str> = PROOFS.iter().map(|p| p.name).collect();
        format!("no proof of that name; there are: {}", names.join(", "))
    })
}

/// Runs one proof or all on a configuration, and each on its mutant if asked for.
pub fn run(
    config: &Config,
    only: Option<&'static Proof>,
    mutants: bool,
    json: Option<&Path>,
) -> Result<()> {
    cli::check_output(json)?;
    let verilog = cxlmem_hdl::emit(config)?;
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::ASCII_MARKDOWN);
    table.set_header(["proof", "module", "what", "method", "s", "verdict"]);
    let (mut passed, mut failed, mut rows) = (0, 0, Vec::new());
    for proof in PROOFS
        .iter()
        .filter(|p| only.is_none_or(|o| o.name == p.name))
    {
        for mutant in [false, true].into_iter().take(1 + usize::from(mutants)) {
            let name = match mutant {
                false => proof.name.to_string(),
                true => format!("{} (mutant)", proof.name),
            };
            eprintln!("{name} ...");
            let start = Instant::now();
            let verdict = proof
                .run(&verilog, mutant)
                .with_context(|| format!("proof {name} could not be run"))?;
            let seconds = start.elapsed().as_secs_f64();
            let wanted = if mutant {
                Verdict::Failed
            } else {
                Verdict::Proved
            };
            let text = match &verdict {
                Verdict::Proved => "proved, unbounded",
                Verdict::Failed if mutant => "killed",
                Verdict::Failed => "FAILED",
                Verdict::Unknown(why) => {
                    eprintln!("{name}: no verdict: {why}");
                    "UNKNOWN"
                }
            };
            if verdict == wanted {
                passed += 1;
            } else {
                failed += 1;
            }
            table.add_row([
                &name,
                proof.module,
                proof.what,
                proof.method.name(),
                &format!("{seconds:.1}"),
                text,
            ]);
            rows.push(json!({
                "proof": proof.name, "module": proof.module, "what": proof.what, "method": proof.method.name(),
                "mutant": mutant, "verdict": text, "seconds": seconds,
            }));
        }
    }
    let quiet = cli::is_stdout(json);
    say!(quiet, "{table}");
    say!(quiet, "{passed} passed, {failed} failed");
    if let Some(file) = json {
        cli::write_json(
            file,
            &json!({ "class": "formal", "config": config.name, "passed": passed, "failed": failed, "proofs": rows }),
        )?;
    }
    if failed > 0 {
        bail!(
            "{failed} of {} runs did not end as they should (docs/developer/proofs.md)",
            passed + failed
        );
    }
    Ok(())
}
