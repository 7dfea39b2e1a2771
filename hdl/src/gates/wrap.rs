//! Synthesis harness: a controller with about a thousand pins, behind three.
//!
//! No package has the pins for place and route of the bare controller, and a controller whose inputs are tied off is optimised away.
//! So every input bit comes from one long shift register, and every output bit is registered and folded by exclusive-or to one pin: no
//! input is constant, every output matters, and all paths of the controller start and end at flip-flops, as they will behind a real
//! link. The fold is a pipelined tree of four-input gates, so it is never the critical path. Its cost is counted apart: the harness
//! synthesised around the controller as a black box.

use crate::{Pin, PinDir};
use std::fmt::Write;

/// Name of the harness's module.
pub const TOP: &str = "synth_top";

/// Verilog of the harness around a module `inner` with these pins. One input is the clock, by the name `clock`.
pub fn harness(inner: &str, pins: &[Pin]) -> String {
    let inputs: Vec<&Pin> = pins
        .iter()
        .filter(|p| p.dir == PinDir::In && p.name != "clock")
        .collect();
    let outputs: Vec<&Pin> = pins.iter().filter(|p| p.dir == PinDir::Out).collect();
    let n_in = inputs.iter().map(|p| p.width).sum::<usize>().max(1);
    let n_out = outputs.iter().map(|p| p.width).sum::<usize>().max(1);
    let mut v = String::new();
    // write! to a String cannot fail.
    let _ = writeln!(
        v,
        "module {TOP}(input wire clock, input wire si, output wire so);"
    );
    let _ = writeln!(
        v,
        "reg [{n_in}:0] shift;\nalways @(posedge clock) shift <= {{shift[{}:0], si}};",
        n_in - 1
    );
    let _ = writeln!(
        v,
        "wire [{}:0] out;\nreg [{}:0] fold0;\nalways @(posedge clock) fold0 <= out;",
        n_out - 1,
        n_out - 1
    );
    let (mut level, mut bits) = (0, n_out);
    while bits > 1 {
        let next = bits.div_ceil(4);
        let _ = writeln!(v, "reg [{}:0] fold{};", next - 1, level + 1);
        for i in 0..next {
            let high = (4 * i + 3).min(bits - 1);
            let _ = writeln!(
                v,
                "always @(posedge clock) fold{}[{i}] <= ^fold{level}[{high}:{}];",
                level + 1,
                4 * i
            );
        }
        level += 1;
        bits = next;
    }
    let _ = writeln!(v, "assign so = fold{level}[0];");
    let _ = write!(v, "{inner} controller(.clock(clock)");
    // Bit 0 of the shift register is the pin itself, registered: not used as a source, so that no input pad's delay is in a path.
    let mut at = 1;
    for p in &inputs {
        let _ = write!(v, ",\n  .{}(shift[{}:{at}])", p.name, at + p.width - 1);
        at += p.width;
    }
    let mut at = 0;
    for p in &outputs {
        let _ = write!(v, ",\n  .{}(out[{}:{at}])", p.name, at + p.width - 1);
        at += p.width;
    }
    v.push_str(");\nendmodule\n");
    v
}

/// A module with these pins and no contents, to count the harness alone.
pub fn black_box(inner: &str, pins: &[Pin]) -> String {
    let mut v = String::new();
    let names: Vec<&str> = pins.iter().map(|p| p.name.as_str()).collect();
    let _ = writeln!(
        v,
        "(* blackbox *) (* keep *)\nmodule {inner}({});",
        names.join(", ")
    );
    for p in pins {
        let dir = match p.dir {
            PinDir::In => "input",
            PinDir::Out => "output",
        };
        let _ = writeln!(v, "  {dir} wire [{}:0] {};", p.width - 1, p.name);
    }
    v.push_str("endmodule\n");
    v
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gates::{verilator, yosys};

    fn pins() -> Vec<Pin> {
        [
            ("clock", PinDir::In, 1),
            ("a", PinDir::In, 37),
            ("go", PinDir::In, 1),
            ("y", PinDir::Out, 21),
            ("done", PinDir::Out, 1),
        ]
        .map(|(name, dir, width)| Pin {
            name: name.into(),
            dir,
            width,
        })
        .into()
    }

    /// A block that uses every input in every output.
    const INNER: &str = "module inner(clock, a, go, y, done);\ninput wire clock; input wire [36:0] a; input wire go; output reg [20:0] y; output reg done;\n\
                         always @(posedge clock) begin y <= a[20:0] + a[36:16]; done <= go ^ (^a); end\nendmodule\n";

    #[test]
    fn harness_is_clean_and_connects_every_bit() {
        let v = harness("inner", &pins());
        assert!(
            v.contains(".a(shift[37:1])") && v.contains(".go(shift[38:38])"),
            "{v}"
        );
        assert!(
            v.contains(".y(out[20:0])") && v.contains(".done(out[21:21])"),
            "{v}"
        );
        let text = format!("{INNER}{v}");
        assert_eq!(verilator::check(&text, TOP).unwrap(), []);
        assert_eq!(yosys::check(&text, TOP).unwrap(), []);
    }

    #[test]
    fn nothing_is_trimmed() {
        let v = format!("{INNER}{}", harness("inner", &pins()));
        let log = yosys::run(
            &crate::gates::tools::Yosys::find().unwrap(),
            &[("d.v", &v)],
            "read_verilog d.v\nsynth_ecp5 -no-rw-check -top synth_top\nlog BEGIN-STAT\nstat -json\n",
        )
        .unwrap();
        let cells = crate::gates::ram::cells_by_type(&log.text).unwrap();
        // 39 shift + 22 out + fold 6 + 2 + 1 + the block's own 22.
        assert_eq!(cells["TRELLIS_FF"], 39 + 22 + 6 + 2 + 1 + 22);
    }

    #[test]
    fn black_box_counts_the_harness_alone() {
        let v = format!(
            "{}{}",
            black_box("inner", &pins()),
            harness("inner", &pins())
        );
        let log = yosys::run(
            &crate::gates::tools::Yosys::find().unwrap(),
            &[("d.v", &v)],
            "read_verilog d.v\nsynth_ecp5 -no-rw-check -top synth_top\nlog BEGIN-STAT\nstat -json\n",
        )
        .unwrap();
        let cells = crate::gates::ram::cells_by_type(&log.text).unwrap();
        assert_eq!(cells["TRELLIS_FF"], 39 + 22 + 6 + 2 + 1);
    }
}
