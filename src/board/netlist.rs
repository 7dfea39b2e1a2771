//! `cxlmem board netlist`: what synthesis made of the simulated board, as Verilog that simulates.

use std::path::PathBuf;

use anyhow::{bail, ensure, Context, Result};
use cxlmem_hdl::board::simulated;
use cxlmem_hdl::gates::tools as hdl_tools;

use super::ecp5;
use crate::{cli, tools};

const EXAMPLES: &str = "\
Examples:
  cxlmem board netlist -o netlist.v                     some three minutes
  cxlmem board netlist -o broken.v --fault 1234         with one wrong gate: does a test bench find it?
  CXLMEM_BOARD_NETLIST=$PWD/netlist.v cargo nextest run -p cxlmem-sim --lib serial
                                                        the tests of the board's RTL, on it: `./x netlist` does both

The board is the simulated one: a ULX3S, but for the line, of four cycles a bit. Cells are yosys' models of them; the block RAM's is the project's own. Needs `./x setup`.";

/// Arguments of `cxlmem board netlist`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Netlist {
    /// Where the netlist goes
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Invert the table of one LUT, counted from 0
    #[arg(long, value_name = "N")]
    fault: Option<usize>,
}

/// What a block RAM does, in the place of the primitive.
const BLOCK_RAM: &str = include_str!("dp16kd.v");
/// Parameters of the primitive that the model has no need of: [`check`] has looked at those that matter.
const UNUSED: [&str; 9] = [
    "REGMODE_A",
    "REGMODE_B",
    "RESETMODE",
    "ASYNC_RESET_RELEASE",
    "CSDECODE_A",
    "CSDECODE_B",
    "CLKAMUX",
    "CLKBMUX",
    "GSR",
];

/// Carries out `cxlmem board netlist`.
///
/// # Errors
/// A missing tool, what a tool says, a netlist that the models are not made for.
pub fn run(args: &Netlist) -> Result<()> {
    cli::check_output(Some(&args.output))?;
    let yosys = hdl_tools::Yosys::pinned().context(
        "pyosys is not installed; run `./x setup`: it makes .venv with the pinned tools of requirements.txt",
    )?;
    let scratch = hdl_tools::scratch()?;
    let dir = scratch.path();
    let at = |name: &str| dir.join(name);
    let stage = |name: &str, script: &str| {
        hdl_tools::write(&at("script.ys"), script)?;
        let mut command = yosys.command(dir, &at("script.ys"), &at("log"));
        tools::stage(name, &mut command, &at("log"), &at("out"))
    };
    hdl_tools::write(&at("top.v"), &cxlmem_hdl::board::verilog(&simulated())?)?;
    stage(
        "synthesis",
        &format!(
            "read_verilog top.v\n{} -top top\nwrite_rtlil netlist.il\n",
            ecp5::SYNTHESIS
        ),
    )?;
    let mut netlist = hdl_tools::read(&at("netlist.il"))?;
    check(&netlist)?;
    if let Some(n) = args.fault {
        netlist = invert(&netlist, n)?;
        hdl_tools::write(&at("netlist.il"), &netlist)?;
    }
    hdl_tools::write(&at("dp16kd.v"), BLOCK_RAM)?;
    let contents = (0..64).map(|n| format!("INITVAL_{n:02X}"));
    let unset: String = contents
        .chain(UNUSED.map(String::from))
        .map(|p| format!(" -unset {p}"))
        .collect();
    // What synthesis had as boxes comes back with its logic.
    stage(
        "cells",
        &format!(
            "read_rtlil netlist.il\ndelete =A:blackbox\nread_verilog -overwrite +/ecp5/cells_sim.v\nsetparam{unset} t:DP16KD\nread_verilog -overwrite dp16kd.v\n\
             hierarchy -top top\nproc\nflatten\nopt_expr\nopt_clean -purge\nwrite_verilog -noattr netlist.v\n"
        ),
    )?;
    let verilog = defined(&hdl_tools::read(&at("netlist.v"))?);
    hdl_tools::write(&args.output, &verilog)?;
    println!(
        "{}: {} LUTs, {} flip-flops, {} block RAMs",
        args.output.display(),
        cells(&netlist, "LUT4"),
        cells(&netlist, "TRELLIS_FF"),
        cells(&netlist, "DP16KD")
    );
    Ok(())
}

fn cells(netlist: &str, kind: &str) -> usize {
    let start = format!("cell \\{kind} ");
    let lines = netlist.lines().map(str::trim_start);
    lines.filter(|l| l.starts_with(&start)).count()
}

/// Whether the netlist is one that the models are made for: memories that start empty, block RAMs with ports of one width each and nothing beside them.
fn check(netlist: &str) -> Result<()> {
    let mut width = None;
    for line in netlist.lines() {
        let Some(parameter) = line.trim_start().strip_prefix("parameter \\") else {
            continue;
        };
        let (name, value) = parameter.split_once(' ').unwrap_or((parameter, ""));
        let bits = value.split_once('\'').map_or("", |(_, bits)| bits);
        let fits = match name {
            "DATA_WIDTH_A" => {
                width = Some(value.to_string());
                true
            }
            "DATA_WIDTH_B" => width.as_deref() == Some(value),
            "REGMODE_A" | "REGMODE_B" => value == "\"NOREG\"",
            "CLKAMUX" => value == "\"CLKA\"",
            "CLKBMUX" => value == "\"CLKB\"",
            _ if name.starts_with("INITVAL") => !bits.contains('1'),
            _ => true,
        };
        ensure!(fits, "a memory of the netlist has {name} = {value}, which its model (src/board/dp16kd.v) has not");
    }
    ensure!(width.is_some(), "there is no block RAM in the netlist");
    Ok(())
}

/// The netlist with the table of its n-th LUT inverted.
fn invert(netlist: &str, n: usize) -> Result<String> {
    const TABLE: &str = "parameter \\INIT 16'";
    let mut tables = netlist.match_indices(TABLE);
    let Some((at, _)) = tables.nth(n) else {
        bail!(
            "--fault {n}: the netlist has {} LUTs",
            netlist.matches(TABLE).count()
        );
    };
    let (before, after) = netlist.split_at(at + TABLE.len());
    let (table, rest) = after.split_at(16);
    let inverted = table.chars().map(|c| if c == '1' { '0' } else { '1' });
    Ok(format!("{before}{}{rest}", inverted.collect::<String>()))
}

/// The netlist with zeros for what is open: Verilator has no undefined addresses.
fn defined(verilog: &str) -> String {
    let mut parts = verilog.split('\'');
    let mut all = parts.next().unwrap_or_default().to_string();
    for part in parts {
        all.push('\'');
        let digits = match part.strip_prefix(['h', 'b']) {
            None => 0,
            Some(rest) => {
                1 + rest
                    .chars()
                    .take_while(|c| c.is_ascii_hexdigit() || *c == 'x')
                    .count()
            }
        };
        all += &part[..digits].replace('x', "0");
        all += &part[digits..];
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const CELL: &str = "  cell \\DP16KD \\ram\n    parameter \\DATA_WIDTH_A 18\n    parameter \\DATA_WIDTH_B 18\n    parameter \\CLKAMUX \"CLKA\"\n    parameter \\INITVAL_00 320'0000\n  end\n";

    #[test]
    fn memories_that_the_model_is_not_made_for_are_refused() {
        check(CELL).unwrap();
        for (from, to) in [
            ("DATA_WIDTH_B 18", "DATA_WIDTH_B 9"),
            ("\"CLKA\"", "\"INV\""),
            ("320'0000", "320'0100"),
            ("\\INITVAL_00 320'0000", "\\REGMODE_A \"OUTREG\""),
        ] {
            let e = check(&CELL.replace(from, to)).unwrap_err().to_string();
            assert!(e.contains("a memory of the netlist has"), "{from}: {e}");
        }
        assert!(check("").is_err());
        assert_eq!((cells(CELL, "DP16KD"), cells(CELL, "LUT4")), (1, 0));
    }

    #[test]
    fn one_table_is_inverted() {
        let two = "parameter \\INIT 16'0000000011111111\nparameter \\INIT 16'1111000000000000\n";
        let one = invert(two, 1).unwrap();
        assert!(one.contains("16'0000111111111111") && one.contains("16'0000000011111111"));
        assert!(invert(two, 2)
            .unwrap_err()
            .to_string()
            .contains("has 2 LUTs"));
    }

    #[test]
    fn what_is_open_is_zero() {
        assert_eq!(
            defined("a [13'hxxxx][1:0] <= 1'hx; \\x'y x = 4'b1x0x;"),
            "a [13'h0000][1:0] <= 1'h0; \\x'y x = 4'b1000;"
        );
    }
}
