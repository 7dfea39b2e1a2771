//! Verilator's lint as a gate.

use super::tools;
use super::{Finding, Gate, GateError};

/// Verilator's configuration file for rust-hdl's Verilog, for this gate and for the simulator: every signal gets an `always` block of its own.
///
/// rust-hdl writes one combinational block per module, so that a signal which depends on another one of the same block looks like a loop
/// (UNOPTFLAT). Verilator 5.006 simulates such loops slowly, and wrongly where they depend on an input pin. With this, what is still a loop is one.
pub const CONFIG: &str = "`verilator_config\nisolate_assignments -module \"*\" -var \"*\"\n";

/// `-Wall` less what rust-hdl's correct output always has: literals of 32 bits (the source gate has its own width rule), ports that a
/// configuration leaves unused, file names.
pub const FLAGS: &[&str] = &[
    "--lint-only",
    "-Wall",
    "-Wno-WIDTH",
    "-Wno-UNUSEDSIGNAL",
    "-Wno-UNUSEDPARAM",
    "-Wno-DECLFILENAME",
    "-Wno-VARHIDDEN",
];

/// Lints Verilog text with the given top module.
pub fn check(verilog: &str, top: &str) -> Result<Vec<Finding>, GateError> {
    let dir = tools::scratch()?;
    let file = dir.path().join("design.v");
    tools::write(&file, verilog)?;
    tools::write(&dir.path().join("design.vlt"), CONFIG)?;
    let mut command = tools::verilator()?;
    command.current_dir(dir.path()).args(FLAGS).args([
        "--top-module",
        top,
        "design.vlt",
        "design.v",
    ]);
    let (ok, output) = tools::run("verilator", &mut command)?;
    let findings = parse(&output);
    if !ok && findings.is_empty() {
        return Err(tools::failed("verilator", &"non-zero exit", &output));
    }
    Ok(findings)
}

/// Verilator's messages: `%Warning-CODE: file:line:col: text` and `%Error[-CODE]: ...`.
fn parse(output: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for line in output.lines() {
        let (rule, rest) = match (line.strip_prefix("%Warning"), line.strip_prefix("%Error")) {
            (Some(r), _) => ("warning", r),
            (_, Some(r)) => ("error", r),
            _ => continue,
        };
        if rest.starts_with(": Exiting due to") {
            continue;
        }
        let (code, rest) = rest.split_once(": ").unwrap_or(("", rest));
        let (place, message) = rest.split_once(": ").unwrap_or(("design.v", rest));
        findings.push(Finding {
            gate: Gate::Verilator,
            rule,
            place: place.to_string(),
            message: format!(
                "{}{}",
                code.trim_start_matches('-'),
                if code.is_empty() {
                    message.to_string()
                } else {
                    format!(": {message}")
                }
            ),
        });
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "module top(input clock, input [3:0] a, output reg [3:0] q);\nalways @(posedge clock) q <= a;\nendmodule\n";

    fn messages(verilog: &str) -> Vec<String> {
        check(verilog, "top")
            .unwrap()
            .into_iter()
            .map(|f| f.message)
            .collect()
    }

    #[test]
    fn clean_design_passes() {
        assert_eq!(messages(GOOD), [] as [String; 0]);
    }

    #[test]
    fn missing_pin_is_found() {
        let bad = format!("{GOOD}module outer(input clock, output [3:0] q); top t(.clock(clock), .q(q)); endmodule\n");
        let found = check(&bad, "outer").unwrap();
        assert!(
            found.iter().any(|f| f.message.starts_with("PINMISSING")),
            "{found:?}"
        );
        assert!(
            found.iter().all(|f| f.place.starts_with("design.v:")),
            "{found:?}"
        );
    }

    #[test]
    fn undriven_signal_is_found() {
        let found =
            messages("module top(input a, output y);\nwire u; assign y = a & u;\nendmodule\n");
        assert_eq!(found, ["UNDRIVEN: Signal is not driven: 'u'"]);
    }

    #[test]
    fn latch_is_found() {
        let found = messages(
            "module top(input g, input a, output reg y);\nalways @(*) if (g) y = a;\nendmodule\n",
        );
        assert!(found.iter().any(|m| m.starts_with("LATCH")), "{found:?}");
    }

    /// Two modules, so that no gate within one module sees it.
    const LOOP: &str = "module inner(input a, input b, output reg y);\nalways @(*) y = a ^ b;\nendmodule\n\
        module top(input a, output y);\nwire back; inner x(.a(a), .b(y), .y(back)); inner z(.a(a), .b(back), .y(y));\nendmodule\n";

    #[test]
    fn combinational_loop_is_found() {
        let found = messages(LOOP);
        assert!(
            found.iter().any(|m| m.starts_with("UNOPTFLAT")),
            "{found:?}"
        );
        let own = "module top(input a, output reg y);\nreg t;\nalways @(*) begin t = y ^ a; y = t; end\nendmodule\n";
        let found = messages(own);
        assert!(
            found.iter().any(|m| m.starts_with("UNOPTFLAT")),
            "{found:?}"
        );
    }

    #[test]
    fn signals_of_one_block_are_no_loop() {
        let chain = "module top(input a, output reg y);\nreg p, q;\nalways @(*) begin q = p; p = a; y = q ^ a; end\nendmodule\n";
        let found = messages(chain);
        assert!(
            !found.iter().any(|m| m.starts_with("UNOPTFLAT")),
            "{found:?}"
        );
    }

    #[test]
    fn syntax_error_is_found() {
        assert!(!check("module top(; endmodule", "top").unwrap().is_empty());
    }

    #[test]
    fn failure_without_a_message_is_an_error() {
        assert!(matches!(
            tools::failed("verilator", &"x", "boom"),
            GateError::ToolFailed { .. }
        ));
        assert_eq!(parse("Killed\n"), []);
    }
}
