//! What is around the controller on an ECP5: the PLL, the reset, the pins.

use anyhow::{bail, Result};

use super::data::{pins, Board, Level};

/// Dividers of an ECP5's PLL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pll {
    /// Of the input.
    pub input: u32,
    /// Of the feedback: the output is the input by `input` times this.
    pub feedback: u32,
    /// Of the oscillator inside, which runs at the output times this.
    pub output: u32,
}

/// The dividers for a frequency, MHz: exact, with the oscillator inside its 400 to 800 MHz and the phase detector at 10 MHz or more if it can be (3.125
/// MHz at least). (Lattice's limits for the ECP5 at any speed grade.)
///
/// # Errors
/// A frequency that cannot be made.
pub fn pll(input_mhz: f64, output_mhz: f64) -> Result<Pll> {
    for input in 1..=128 {
        let detector = input_mhz / f64::from(input);
        if !(3.125..=400.0).contains(&detector) {
            continue;
        }
        let feedback = (output_mhz / detector).round();
        if !(1.0..=80.0).contains(&feedback) || (feedback * detector - output_mhz).abs() > 1e-6 {
            continue;
        }
        // In the middle of its range.
        let output = (600.0 / output_mhz).round().clamp(1.0, 128.0);
        if (400.0..=800.0).contains(&(output * output_mhz)) {
            return Ok(Pll {
                input,
                feedback: feedback as u32,
                output: output as u32,
            });
        }
    }
    bail!("no PLL setting makes {output_mhz} MHz of {input_mhz} MHz: choose a clock.core_mhz that is a fraction of it with small numbers")
}

/// The Verilog of the board's top, `board`.
///
/// # Errors
/// A clock that cannot be made.
pub fn verilog(board: &Board) -> Result<String> {
    let d = &board.data;
    let Pll {
        input,
        feedback,
        output,
    } = pll(d.clock.mhz, d.clock.core_mhz)?;
    let (mhz, core_mhz) = (d.clock.mhz, d.clock.core_mhz);
    let leds = d.leds.pins.len();
    let pressed = match d.button.pressed {
        Level::High => "button",
        Level::Low => "~button",
    };
    let lit = match d.leds.lit {
        Level::High => "",
        Level::Low => "~",
    };
    // One diode shows the link; more show all that the controller says.
    let shown = match leds {
        1 => "{diodes[7] ^ diodes[1]}".to_string(),
        n => format!("diodes[{}:0]", n - 1),
    };
    Ok(format!(
        "\
// Around the controller on the board {name}: made from boards/{name}/board.toml.
module board(input oscillator, input uart_rx, output uart_tx, input button, output [{top}:0] leds);
   wire clock, locked;
   wire [7:0] diodes;
   (* FREQUENCY_PIN_CLKI=\"{mhz}\" *)
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
      .FEEDBK_PATH(\"CLKOP\"),
      .CLKFB_DIV({feedback})
   ) pll (
      .RST(1'b0), .STDBY(1'b0), .CLKI(oscillator), .CLKOP(clock), .CLKFB(clock), .CLKINTFB(),
      .PHASESEL0(1'b0), .PHASESEL1(1'b0), .PHASEDIR(1'b1), .PHASESTEP(1'b1), .PHASELOADREG(1'b1),
      .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0), .LOCK(locked)
   );

   // In reset until the PLL has locked and the button is up, each seen through two registers, and 255 cycles longer.
   reg [1:0] seen = 0;
   reg [7:0] count = 0;
   reg reset = 1;
   always @(posedge clock) begin
      seen <= {{seen[0], locked & ~({pressed})}};
      count <= seen[1] ? count + {{7'd0, ~&count}} : 8'd0;
      reset <= ~&count;
   end

   top controller(.clock(clock), .reset(reset), .uart_rx(uart_rx), .uart_tx(uart_tx), .leds(diodes));
   assign leds = {lit}{shown};
endmodule
",
        name = board.name,
        top = leds - 1,
        phase = output - 1,
    ))
}

/// The constraints: pins, and the oscillator's frequency, from which the tools have the PLL's.
pub fn constraints(board: &Board) -> String {
    let d = &board.data;
    let mut text = format!("FREQUENCY PORT \"oscillator\" {} MHZ;\n", d.clock.mhz);
    for (signal, pin) in pins(d) {
        let pull = match (signal.as_str(), d.button.pressed) {
            ("button", Level::High) => " PULLMODE=DOWN",
            ("button", Level::Low) | ("uart_rx", _) => " PULLMODE=UP",
            _ => "",
        };
        text += &format!("LOCATE COMP \"{signal}\" SITE \"{pin}\";\nIOBUF PORT \"{signal}\" IO_TYPE=LVCMOS33{pull};\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::data;

    #[test]
    fn dividers() {
        for (input, output) in [
            (25.0, 50.0),
            (25.0, 60.0),
            (25.0, 66.666_666_666_667),
            (25.0, 25.0),
            (12.0, 24.0),
        ] {
            let p = pll(input, output).unwrap();
            let made = input * f64::from(p.feedback) / f64::from(p.input);
            assert!((made - output).abs() < 1e-5, "{p:?}");
            assert!(
                (400.0..=800.0).contains(&(output * f64::from(p.output))),
                "{p:?}"
            );
        }
        assert!(pll(25.0, 66.1)
            .unwrap_err()
            .to_string()
            .contains("66.1 MHz"));
        assert!(pll(25.0, 900.0).is_err());
    }

    #[test]
    fn a_shell_and_its_pins() {
        let board = data::load(&data::folder(), "colorlight-i9").unwrap();
        let verilog = verilog(&board).unwrap();
        assert!(
            verilog.contains("locked & ~(~button)") && verilog.contains("output [0:0] leds"),
            "{verilog}"
        );
        let pins = constraints(&board);
        assert!(
            pins.contains("LOCATE COMP \"uart_tx\" SITE \"J17\";"),
            "{pins}"
        );
        assert!(
            pins.contains("FREQUENCY PORT \"oscillator\" 25 MHZ;"),
            "{pins}"
        );
    }
}
