//! `cxlmem board verify`: what can be found out about the bitstreams without a board.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};
use comfy_table::{presets, Table};
use cxlmem_hdl::gates::tools as hdl_tools;
use serde_json::json;

use super::data::{self, Board};
use super::fpga::Fpga;
use super::manifest::{self, Row};
use super::{build, ecp5, flash};
use crate::{cli, tools};

const EXAMPLES: &str = "\
Examples:
  cxlmem board verify                                   all bitstreams: some seconds each
  cxlmem board verify ulx3s-85f --rebuild               built again with the manifest's seed, and compared byte by byte: some ten minutes
  cxlmem board verify --json -                          for a program

Looked at: the file against the manifest; the part and the id code in it; the manifest against the Verilog of the RTL that is here; that every clock was met; and
for an ECP5 that the file, unpacked into its bits' meanings and packed again, is the same (needs `./x setup`).";

/// Arguments of `cxlmem board verify`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Verify {
    /// Boards of `cxlmem board list` [default: all that have a bitstream]
    boards: Vec<String>,
    /// Build each again, with the seed of the manifest, and compare
    #[arg(long)]
    rebuild: bool,
    /// Write what was found as JSON; - is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Something that was looked at: its name, and what is wrong, or nothing.
type Finding = (&'static str, Result<()>);

/// Carries out `cxlmem board verify`.
///
/// # Errors
/// A board without a bitstream, a bitstream that is not what it has to be, a missing tool.
pub fn run(args: &Verify) -> Result<()> {
    cli::check_output(args.json.as_deref())?;
    let rows = manifest::load()?;
    let names = match args.boards.is_empty() {
        true => rows.keys().cloned().collect(),
        false => args.boards.clone(),
    };
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    let (mut all, mut failed) = (Vec::new(), 0);
    for name in &names {
        let board = data::load(&data::folder(), name)?;
        let row = rows.get(name).with_context(|| {
            format!("{name} has no bitstream in the manifest: `cxlmem board build {name}`")
        })?;
        let bits = manifest::read(&manifest::bitstream(&board))
            .with_context(|| format!("cannot read the bitstream of {name}"))?;
        let mut found = on_file(&board, row, &bits)?;
        if let Fpga::Ecp5(_) = board.fpga {
            let (unpack, _) = ecp5::UNPACK.find()?;
            let (pack, _) = ecp5::PACK.find()?;
            let result = round_trip(&unpack, &pack, &bits);
            found.push(("unpacked and packed again", result));
        }
        if args.rebuild {
            found.push(("built again", rebuild(&board, row, &bits)));
        }
        for (what, result) in found {
            let value = match &result {
                Ok(()) => "pass".to_string(),
                Err(e) => format!("FAIL: {e:#}"),
            };
            failed += usize::from(result.is_err());
            eprintln!("{name}: {what}: {value}");
            all.push(json!({ "board": name, "check": what, "ok": result.is_ok(), "value": value }));
            table.add_row([name.as_str(), what, &value]);
        }
    }
    let passed = all.len() - failed;
    if let Some(file) = &args.json {
        cli::write_json(file, &json!({ "failed": failed, "checks": all }))?;
    }
    let json_is_out = cli::is_stdout(args.json.as_deref());
    cli::say!(json_is_out, "{table}");
    cli::say!(json_is_out, "{passed} passed, {failed} failed");
    ensure!(failed == 0, "{failed} checks of bitstreams failed");
    Ok(())
}

/// What the file and the manifest say.
fn on_file(board: &Board, row: &Row, bits: &[u8]) -> Result<Vec<Finding>> {
    let same = |what: &str, found: &str, wanted: &str| -> Result<()> {
        ensure!(
            found == wanted,
            "{what} is {found}, the manifest has {wanted}; `cxlmem board build {}` makes both anew",
            board.name
        );
        Ok(())
    };
    let met = row.clocks.values().all(|(asked, reached)| reached >= asked);
    let clocks = || {
        ensure!(
            met && !row.clocks.is_empty(),
            "not met: {}",
            row.clocks_reached()
        );
        Ok(())
    };
    let rtl = build::verilog(board)?.sha256;
    Ok(vec![
        (
            "file of the manifest",
            same("SHA-256", &build::sha256(bits), &row.bitstream_sha256),
        ),
        ("part and id code", flash::matches(board, bits)),
        (
            "configuration",
            same("the board's", board.config.name, &row.config),
        ),
        (
            "RTL that is here",
            same("SHA-256 of the Verilog", &rtl, &row.verilog_sha256),
        ),
        ("clocks", clocks()),
    ])
}

/// An ECP5's bitstream into text, each bit by its name, and back.
fn round_trip(unpack: &Path, pack: &Path, bits: &[u8]) -> Result<()> {
    let scratch = hdl_tools::scratch()?;
    let at = |name: &str| scratch.path().join(name);
    std::fs::write(at("a.bit"), bits).context("cannot write a temporary file")?;
    let stage = |name, command: &mut Command| {
        tools::stage(
            name,
            command.current_dir(scratch.path()),
            &at("log"),
            &at("out"),
        )
    };
    stage(
        "unpacking",
        Command::new(unpack).args(["a.bit", "a.config"]),
    )?;
    stage("packing", &mut ecp5::pack(pack, "a.config", "b.bit"))?;
    let again = std::fs::read(at("b.bit")).context("cannot read what was packed")?;
    compare(bits, &again)
}

/// The whole way, from the RTL.
fn rebuild(board: &Board, row: &Row, bits: &[u8]) -> Result<()> {
    let scratch = hdl_tools::scratch()?;
    let built = build::make(board, &[row.seed], scratch.path())?;
    compare(bits, &built.bits)?;
    ensure!(
        built.row == *row,
        "the bitstream is the same, and its row in the manifest is not: {:?}",
        built.row
    );
    Ok(())
}

fn compare(one: &[u8], other: &[u8]) -> Result<()> {
    let differ = one.iter().zip(other).position(|(a, b)| a != b);
    ensure!(
        one.len() == other.len() && differ.is_none(),
        "{} bytes, and {} the other time; they differ first at {:?}",
        one.len(),
        other.len(),
        differ
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(change: impl FnOnce(&mut Row, &mut Vec<u8>)) -> Vec<&'static str> {
        let board = data::load(&data::folder(), "ulx3s-85f").unwrap();
        let mut row = manifest::load().unwrap().remove("ulx3s-85f").unwrap();
        let mut bits = manifest::read(&manifest::bitstream(&board)).unwrap();
        change(&mut row, &mut bits);
        let found = on_file(&board, &row, &bits).unwrap();
        let failed = found.into_iter().filter(|(_, r)| r.is_err());
        failed.map(|(name, _)| name).collect()
    }

    #[test]
    fn every_bitstream_is_the_manifests_and_its_boards() {
        let rows = manifest::load().unwrap();
        assert!(rows.len() >= 3);
        for (name, row) in &rows {
            let board = data::load(&data::folder(), name).unwrap();
            let bits = manifest::read(&manifest::bitstream(&board)).unwrap();
            assert_eq!(row.bytes, bits.len() as u64, "{name}");
            for (what, result) in on_file(&board, row, &bits).unwrap() {
                assert!(result.is_ok(), "{name}: {what}: {result:?}");
            }
        }
    }

    #[test]
    fn what_is_wrong_is_found() {
        assert!(failures(|_, _| ()).is_empty());
        assert_eq!(
            failures(|_, bits| *bits.last_mut().unwrap() ^= 1),
            ["file of the manifest"]
        );
        assert_eq!(
            failures(|row, _| row.verilog_sha256 = "0".into()),
            ["RTL that is here"]
        );
        assert_eq!(
            failures(|row, _| row.config = "full".into()),
            ["configuration"]
        );
        assert_eq!(
            failures(|row, _| row.clocks.values_mut().for_each(|c| c.1 = c.0 - 0.01)),
            ["clocks"]
        );
        assert_eq!(failures(|row, _| row.clocks.clear()), ["clocks"]);
        assert_eq!(
            failures(|_, bits| bits.truncate(10)),
            ["file of the manifest", "part and id code"]
        );
        assert!(compare(b"ab", b"abc").is_err() && compare(b"ab", b"ac").is_err());
        assert!(compare(b"ab", b"ab").is_ok());
    }
}
