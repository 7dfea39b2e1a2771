//! What is around the controller on a board: clock, reset, pins.

use anyhow::Result;

use super::data::{Board, Level};
use super::fpga::Around;
use super::gowin;

/// The Verilog of the board's top, `board`.
///
/// # Errors
/// A clock that cannot be made.
pub fn verilog(board: &Board) -> Result<String> {
    let d = &board.data;
    let around = board.fpga.around(board)?;
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
    let memory = memory(board, &around);
    Ok(format!(
        "\
// Around the controller on the board {name}: made from boards/{name}/board.toml.
module board(input oscillator, input uart_rx, output uart_tx, input button, output [{top}:0] leds{memory_ports});
   wire clock, later, locked;
   wire [7:0] diodes;
{pll}

   // In reset until the PLL has locked and the button is up, each seen through two registers, and 255 cycles longer.
   reg [1:0] seen = 0;
   reg [7:0] count = 0;
   reg reset = 1;
   always @(posedge clock) begin
      seen <= {{seen[0], locked & ~({pressed})}};
      count <= seen[1] ? count + {{7'd0, ~&count}} : 8'd0;
      reset <= ~&count;
   end
{memory_wires}
   top controller(.clock(clock), .reset(reset), .uart_rx(uart_rx), .uart_tx(uart_tx), .leds(diodes){memory_pins});
   assign leds = {lit}{shown};
endmodule
",
        name = board.name,
        top = leds - 1,
        pll = around.pll,
        memory_ports = memory.ports,
        memory_wires = memory.wires,
        memory_pins = memory.pins,
    ))
}

/// What an SDRAM adds to the top: text each.
struct MemoryText {
    ports: String,
    wires: String,
    pins: String,
}

/// The SDRAM's pins, and its clock, which is a quarter of a cycle behind the controller's: what either end drives has then half a cycle or more to reach the
/// other, pads included.
fn memory(board: &Board, around: &Around) -> MemoryText {
    let Some(chip) = board.sdram else {
        return MemoryText {
            ports: String::new(),
            wires: String::new(),
            pins: ", .sdram_dq_in(32'd0)".into(),
        };
    };
    let (width, masks, rows) = (chip.width, chip.width / 8, chip.row_bits);
    let port = |signal: &str| match board.data.memory.in_package {
        true => gowin::in_package(signal),
        false => format!("sdram_{signal}"),
    };
    let single = ["cke", "cs_n", "ras_n", "cas_n", "we_n"];
    let ports = single.map(|s| format!(", output {}", port(s))).concat();
    let joined = single.map(|s| format!(", .sdram_{s}({})", port(s)));
    let joined = joined.concat();
    let unused = match width {
        32 => String::new(),
        _ => format!("   assign dq_in[31:{width}] = {}'d0;\n", 32 - width),
    };
    MemoryText {
        ports: format!(
            ",\n   output {clk}{ports},\n   output [1:0] {ba}, output [{}:0] {a}, output [{}:0] {dqm}, inout [{}:0] {dq}",
            rows - 1,
            masks - 1,
            width - 1,
            clk = port("clk"),
            ba = port("ba"),
            a = port("a"),
            dqm = port("dqm"),
            dq = port("dq"),
        ),
        wires: format!(
            "
   {clock_out}
   wire [12:0] address;
   wire [3:0] masks;
   wire [31:0] dq_out, dq_in;
   wire dq_oe;
   assign {a} = address[{}:0];
   assign {dqm} = masks[{}:0];
   {pads}
{unused}",
            rows - 1,
            masks - 1,
            a = port("a"),
            dqm = port("dqm"),
            clock_out = (around.clock_out)(&port("clk")),
            pads = (around.pads)(width - 1, &port("dq")),
        ),
        pins: format!(
            "{joined},\n      .sdram_ba({}), .sdram_a(address), .sdram_dqm(masks), .sdram_dq_out(dq_out), .sdram_dq_oe(dq_oe), .sdram_dq_in(dq_in)",
            port("ba")
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::data;

    #[test]
    fn a_shell_and_its_pins() {
        let board = data::load(&data::folder(), "colorlight-i9").unwrap();
        let verilog = verilog(&board).unwrap();
        assert!(
            verilog.contains("locked & ~(~button)") && verilog.contains("output [0:0] leds"),
            "{verilog}"
        );
        let pins = board.fpga.constraints(&board);
        assert!(
            pins.contains("LOCATE COMP \"uart_tx\" SITE \"J17\";"),
            "{pins}"
        );
        assert!(
            pins.contains("FREQUENCY PORT \"oscillator\" 25 MHZ;"),
            "{pins}"
        );
    }

    #[test]
    fn an_sdram_in_the_package_has_the_names_that_its_tools_want() {
        let board = data::load(&data::folder(), "tang-nano-20k").unwrap();
        let verilog = verilog(&board).unwrap();
        for text in [
            "output O_sdram_wen_n",
            "output [10:0] O_sdram_addr",
            "inout [31:0] IO_sdram_dq",
            ".sdram_we_n(O_sdram_wen_n)",
            ".PSDA_SEL(\"0100\")",
        ] {
            assert!(verilog.contains(text), "{text}: {verilog}");
        }
        let pins = board.fpga.constraints(&board);
        assert!(
            pins.contains("IO_LOC \"leds[5]\" 20;") && !pins.contains("sdram"),
            "{pins}"
        );
    }
}
