//! yosys's warnings as a gate.

use super::tools::{self, Yosys};
use super::{Finding, Gate, GateError};

/// What yosys only mentions, by the text it uses. Anything else it marks "Warning:" is found under `warning`.
const RULES: &[(&str, &str)] = &[
    ("is implicitly declared", "implicit-wire"),
    ("Latch inferred", "latch"),
    ("is used but has no driver", "no-driver"),
    ("multiple conflicting drivers", "multiple-drivers"),
    ("found logic loop", "logic-loop"),
    ("Replacing memory", "memory-as-registers"),
];

/// Reads, elaborates and checks Verilog text with the given top module: first module by module, where names are the author's, then
/// flattened, where a loop through several modules shows.
pub fn check(verilog: &str, top: &str) -> Result<Vec<Finding>, GateError> {
    let log = run(
        &Yosys::find()?,
        &[("design.v", verilog)],
        &format!("read_verilog design.v\nhierarchy -check -top {top}\nproc\ncheck\nflatten\nopt_clean\ncheck\n"),
    )?;
    let findings = parse(&log.text);
    if !log.ok && findings.is_empty() {
        return Err(tools::failed("yosys", &"non-zero exit", &log.text));
    }
    Ok(findings)
}

/// A finished run.
pub(crate) struct Log {
    pub ok: bool,
    pub text: String,
}

/// Runs a script over files in a scratch folder.
pub(crate) fn run(yosys: &Yosys, files: &[(&str, &str)], script: &str) -> Result<Log, GateError> {
    let dir = tools::scratch()?;
    for (name, text) in files {
        tools::write(&dir.path().join(name), text)?;
    }
    let (script_file, log_file) = (dir.path().join("script.ys"), dir.path().join("yosys.log"));
    tools::write(&script_file, script)?;
    let (ok, output) = tools::run(
        "yosys",
        &mut yosys.command(dir.path(), &script_file, &log_file),
    )?;
    let mut text = if log_file.exists() {
        tools::read(&log_file)?
    } else {
        String::new()
    };
    // An error may reach only the error stream.
    for line in output.lines().filter(|l| l.contains("ERROR: ")) {
        if !text.contains(line) {
            text.push_str(line);
            text.push('\n');
        }
    }
    Ok(Log { ok, text })
}

fn parse(log: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    let lines: Vec<&str> = log.lines().collect();
    for (at, &line) in lines.iter().enumerate() {
        let known = RULES
            .iter()
            .find(|(text, _)| line.contains(text))
            .map(|(_, rule)| *rule);
        let rule = match known {
            Some(rule) => rule,
            None if line.contains("Warning: ") => "warning",
            None if line.contains("ERROR: ") => "error",
            None => continue,
        };
        let (place, message) = match line
            .split_once("Warning: ")
            .or_else(|| line.split_once("ERROR: "))
        {
            Some((place, message)) => (place.trim_end_matches([' ', ':']), message),
            None => ("", line),
        };
        let place = if place.is_empty() { "design.v" } else { place };
        let finding = Finding {
            gate: Gate::Yosys,
            rule,
            place: place.to_string(),
            message: format!("{message}{}", details(rule, &lines[at + 1..])),
        };
        // yosys repeats its warnings at the end of the log.
        if !findings.contains(&finding) {
            findings.push(finding);
        }
    }
    findings
}

/// The named wires of a logic loop, which yosys lists in the lines that follow.
fn details(rule: &str, following: &[&str]) -> String {
    if rule != "logic-loop" {
        return String::new();
    }
    let wires: Vec<&str> = following
        .iter()
        .take_while(|l| l.starts_with(' '))
        .filter_map(|l| l.trim().strip_prefix("wire \\")?.split(' ').next())
        .collect();
    format!(" through {}", wires.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(verilog: &str) -> Vec<&'static str> {
        let mut r: Vec<_> = check(verilog, "top")
            .unwrap()
            .iter()
            .map(|f| f.rule)
            .collect();
        r.sort();
        r.dedup();
        r
    }

    #[test]
    fn clean_design_passes() {
        assert_eq!(
            rules("module top(input clock, input [3:0] a, output reg [3:0] q); always @(posedge clock) q <= a; endmodule"),
            [] as [&str; 0]
        );
    }

    #[test]
    fn constant_that_became_a_wire_is_found() {
        let r = rules(
            "module top(input [3:0] a, output [3:0] y); assign y = a & {4{LIMIT}}; endmodule",
        );
        assert!(r.contains(&"implicit-wire"), "{r:?}");
        assert!(r.contains(&"no-driver"), "{r:?}");
    }

    #[test]
    fn latch_is_found() {
        let r = rules(
            "module top(input g, input a, output reg y); always @(*) if (g) y = a; endmodule",
        );
        assert!(r.contains(&"latch"), "{r:?}");
    }

    #[test]
    fn missing_driver_is_found() {
        assert_eq!(
            rules("module top(input a, output y); wire u; assign y = a & u; endmodule"),
            ["no-driver"]
        );
    }

    #[test]
    fn two_drivers_are_found() {
        let r =
            rules("module top(input a, input b, output y); assign y = a; assign y = b; endmodule");
        assert!(r.contains(&"multiple-drivers"), "{r:?}");
    }

    #[test]
    fn logic_loop_is_found() {
        let r = rules("module top(input a, output y); wire x; assign x = ~(y & a); assign y = x | a; endmodule");
        assert!(r.contains(&"logic-loop"), "{r:?}");
    }

    #[test]
    fn logic_loop_through_modules_is_found_and_named() {
        let v = "module half(input wire a, input wire x, output wire y); assign y = a & ~x; endmodule\n\
                 module top(input wire a, output wire y); wire there, back;\n\
                 half one(.a(a), .x(back), .y(there)); half two(.a(a), .x(there), .y(back)); assign y = there; endmodule";
        let found = check(v, "top").unwrap();
        assert!(
            !found.is_empty() && found.iter().all(|f| f.rule == "logic-loop"),
            "{found:?}"
        );
        assert!(
            found[0].message.contains("one.x") && found[0].message.contains("two.x"),
            "{found:?}"
        );
    }

    #[test]
    fn missing_module_and_syntax_errors_are_found() {
        assert_eq!(
            rules("module top(input a, output y); nowhere n(.a(a), .y(y)); endmodule"),
            ["error"]
        );
        assert_eq!(rules("module top(; endmodule"), ["error"]);
    }
}
