//! Verilator's lint as a gate.

use super::tools;
use super::{Finding, Gate, GateError};

/// `-Wall` less what rust-hdl's correct output always has: literals of 32 bits (the source gate has its own width rule), ports that a
/// configuration leaves unused, file names, and combinational blocks that read what they write.
pub const FLAGS: &[&str] = &[
    "--lint-only",
    "-Wall",
    "-Wno-WIDTH",
    "-Wno-UNUSEDSIGNAL",
    "-Wno-UNUSEDPARAM",
    "-Wno-DECLFILENAME",
    "-Wno-UNOPTFLAT",
    "-Wno-VARHIDDEN",
];

/// Lints Verilog text with the given top module.
pub fn check(verilog: &str, top: &str) -> Result<Vec<Finding>, GateError> {
    let dir = tools::scratch()?;
    let file = dir.path().join("design.v");
    tools::write(&file, verilog)?;
    let mut command = tools::verilator()?;
    command
        .current_dir(dir.path())
        .args(FLAGS)
        .args(["--top-module", top, "design.v"]);
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
