//! `cxlmem board flash`: a bitstream into a board, by openFPGALoader.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};
use cxlmem_hdl::gates::tools as hdl_tools;

use super::build::sha256;
use super::data::{self, Board};
use super::manifest;

const EXAMPLES: &str = "\
Examples:
  cxlmem board flash ulx3s-85f --dry-run                the loader's command line, after the file was compared with the board
  cxlmem board flash ulx3s-85f                          into the FPGA, until power goes
  cxlmem board flash ulx3s-85f --persist                into its flash memory
  cxlmem board flash colorlight-i9 --file i9.bit        a bitstream of your own";

/// Arguments of `cxlmem board flash`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Flash {
    /// A board of `cxlmem board list`
    board: String,
    /// A bitstream of your own [default: the board's in bitstreams/]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Into the flash memory of the board, from which it starts when it is switched on
    #[arg(long)]
    persist: bool,
    /// Show what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Checks that a bitstream is for a board's part.
///
/// # Errors
/// What does not match.
pub fn matches(board: &Board, bits: &[u8]) -> Result<()> {
    let found = board.fpga.identity(bits)?;
    let part = &board.data.part;
    ensure!(
        found.idcode == part.idcode,
        "it is for id code {:#010x}, and the board's part has {:#010x}",
        found.idcode,
        part.idcode
    );
    // The comment is like LFE5U-85F-6CABGA381.
    let wanted = format!("{}{}", part.name, part.package);
    if let Some(found) = found.part {
        ensure!(
            found == wanted,
            "it is for the part {found}, and the board has {wanted}"
        );
    }
    Ok(())
}

/// Carries out `cxlmem board flash`.
///
/// # Errors
/// No bitstream, one that is not the board's, no loader, what the loader says.
pub fn run(args: &Flash) -> Result<()> {
    let board = data::load(&data::folder(), &args.board)?;
    let own = args.file.is_none();
    let file = args
        .file
        .clone()
        .unwrap_or_else(|| manifest::bitstream(&board));
    let bits = manifest::read(&file).with_context(|| match own {
        true => format!(
            "{} has no bitstream yet: `cxlmem board build {}`",
            board.name, board.name
        ),
        false => format!("cannot read {}", file.display()),
    })?;
    if own {
        let row = manifest::load()?.remove(&board.name);
        let row = row.with_context(|| {
            format!(
                "{} is not in the manifest: `cxlmem board build {}`",
                file.display(),
                board.name
            )
        })?;
        ensure!(
            row.bitstream_sha256 == sha256(&bits),
            "{} is not the file of the manifest: `cxlmem board build {}`",
            file.display(),
            board.name
        );
    }
    matches(&board, &bits)
        .with_context(|| format!("{} is not for {}", file.display(), board.name))?;
    let loader = hdl_tools::on_path("openFPGALoader");
    let mut arguments = vec!["--board".to_string(), board.data.loader.board.clone()];
    if args.persist {
        arguments.push("--write-flash".into());
    }
    // Loaders older than a few years read no compressed file.
    let scratch = hdl_tools::scratch()?;
    let mut given = file.clone();
    if file.extension() == Some("gz".as_ref()) {
        given = scratch.path().join(file.file_stem().unwrap_or_default());
        if !args.dry_run {
            std::fs::write(&given, &bits)
                .with_context(|| format!("cannot write {}", given.display()))?;
        }
    }
    arguments.push(given.display().to_string());
    if args.dry_run {
        println!("openFPGALoader {}", arguments.join(" "));
        if given != file {
            eprintln!("where the last is {}, unpacked", file.display());
        }
        if loader.is_none() {
            eprintln!("openFPGALoader is not on PATH; Debian: apt-get install openfpgaloader");
        }
        return Ok(());
    }
    let loader = loader.context("openFPGALoader is not on PATH: install it (Debian: apt-get install openfpgaloader), or see --dry-run")?;
    let status = Command::new(&loader)
        .args(&arguments)
        .status()
        .with_context(|| format!("cannot start {}", loader.display()))?;
    if !status.success() {
        bail!("openFPGALoader ended with {status}: is the board connected, and may you use it (udev rules)? Its output is above");
    }
    println!(
        "loaded; next: cxlmem board check serial:PORT,{}",
        board.data.host.baud
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bitstream(part: &str, idcode: u32) -> Vec<u8> {
        let mut bits = vec![0xFF, 0x00];
        bits.extend(format!("Part: {part}\0").bytes());
        bits.extend([
            0xFF, 0xFF, 0xFF, 0xBD, 0xB3, 0xFF, 0xFF, 0xFF, 0xFF, 0x3B, 0, 0, 0, 0xE2, 0, 0, 0,
        ]);
        bits.extend(idcode.to_be_bytes());
        bits.extend([0x22, 0, 0, 0]);
        bits
    }

    #[test]
    fn a_bitstream_for_something_else_is_refused() {
        let board = data::load(&data::folder(), "ulx3s-85f").unwrap();
        let check = |bits: &[u8]| matches(&board, bits).map_err(|e| format!("{e:#}"));
        assert_eq!(
            check(&bitstream("LFE5U-85F-6CABGA381", 0x4111_3043)),
            Ok(())
        );
        for (bits, said) in [
            (bitstream("LFE5U-85F-6CABGA381", 0x4111_2043), "0x41112043"),
            (
                bitstream("LFE5U-45F-6CABGA381", 0x4111_3043),
                "LFE5U-45F-6CABGA381",
            ),
            (b"\x7fELF".to_vec(), "preamble"),
            (Vec::new(), "preamble"),
        ] {
            assert!(check(&bits).unwrap_err().contains(said), "{said}");
        }
        let whole = bitstream("LFE5U-85F-6CABGA381", 0x4111_3043);
        for cut in 0..whole.len() {
            // Nothing that is cut off makes it panic.
            let _ = check(&whole[..cut]);
        }
    }
}
