//! Seeded faults of the emitted Verilog, all in one model: a switch that the generator puts in, for the simulator's feature `mutants` only.
//!
//! A mutant is a text of a module, and what stands there instead while the switch holds its number. The text must be there exactly once, so that an
//! RTL change cannot lose a mutant silently. See `docs/developer/mutants.md`.

mod table;

pub use table::MUTANTS;

use crate::{Config, Pin, PinDir};

/// Name of the pin that selects a mutant: 0 is none, *n* the *n*th of [`MUTANTS`]. It is registered; what it selects begins with the first clock edge.
pub const PIN: &str = "mutant";

/// The register behind the pin, from anywhere in the design.
const SWITCH: &str = "top.mutant_now";

/// What is expected to find a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// A test of the simulator: its file in `sim/tests` and its name.
    Test(&'static str, &'static str),
    /// A formal proof: its name in [`crate::prove::PROOFS`].
    Proof(&'static str),
}

impl std::fmt::Display for Check {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Check::Test(file, test) => write!(f, "{file}::{test}"),
            Check::Proof(name) => write!(f, "proof {name}"),
        }
    }
}

/// What is expected of a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// This check fails on it.
    Killed(Check),
    /// No check can tell it from the right text, and this is why.
    Survives(&'static str),
}

/// One seeded fault.
#[derive(Debug)]
pub struct Mutant {
    /// Name on the command line.
    pub name: &'static str,
    /// Module of the emitted Verilog.
    pub module: &'static str,
    /// What is wrong, in a line.
    pub what: &'static str,
    /// Text that stands before `right` and makes the place unique; may be empty.
    before: &'static str,
    /// Statements (the text ends with `;`), or a whole operand of an expression.
    right: &'static str,
    /// The same kind of text, with the fault.
    wrong: &'static str,
    /// What comes of it.
    pub fate: Fate,
}

/// Why a mutant cannot be put in.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("mutant {mutant}: {why}; see docs/developer/mutants.md")]
pub struct MutantError {
    /// Its name.
    pub mutant: &'static str,
    /// What is the matter with it.
    pub why: String,
}

impl Mutant {
    /// The mutant of that name.
    pub fn by_name(name: &str) -> Option<&'static Mutant> {
        MUTANTS.iter().find(|m| m.name == name)
    }

    /// Number on the switch; 0 for a mutant that is not in the table.
    pub fn number(&self) -> u8 {
        let place = MUTANTS.iter().position(|m| m.name == self.name);
        place.map_or(0, |p| u8::try_from(p + 1).unwrap_or(0))
    }

    /// Where `right` stands, in bytes; `None` if there is no such module.
    fn place(&self, verilog: &str) -> Result<Option<std::ops::Range<usize>>, MutantError> {
        let (start, end) = (
            format!("module {}(", self.module),
            format!("endmodule // {}\n", self.module),
        );
        let (Some(from), Some(to)) = (verilog.find(&start), verilog.find(&end)) else {
            return Ok(None);
        };
        let text = format!("{}{}", self.before, self.right);
        let found: Vec<usize> = verilog[from..to]
            .match_indices(&text)
            .map(|m| m.0)
            .collect();
        let [at] = found[..] else {
            return Err(self.error(format!(
                "`{text}` is {} times in module {}, must be once",
                found.len(),
                self.module
            )));
        };
        let begin = from + at + self.before.len();
        Ok(Some(begin..begin + self.right.len()))
    }

    fn error(&self, why: String) -> MutantError {
        MutantError {
            mutant: self.name,
            why,
        }
    }

    /// The Verilog with this fault and no switch, for proofs; `None` if the module is not in it.
    ///
    /// # Errors
    /// [`MutantError`] if the text is not there exactly once.
    pub fn apply(&self, verilog: &str) -> Result<Option<String>, MutantError> {
        Ok(self.place(verilog)?.map(|place| {
            format!(
                "{}{}{}",
                &verilog[..place.start],
                self.wrong,
                &verilog[place.end..]
            )
        }))
    }

    /// `right` and `wrong` behind the switch.
    fn switched(&self) -> String {
        let (right, wrong) = (self.right, self.wrong);
        let on = format!("{SWITCH} == 8'd{}", self.number());
        if right.ends_with(';') {
            format!("if ({on}) begin {wrong} end else begin {right} end")
        } else {
            format!("(({on}) ? ({wrong}) : ({right}))")
        }
    }
}

/// The pin that selects a mutant.
pub fn pin() -> Pin {
    Pin {
        name: PIN.into(),
        dir: PinDir::In,
        width: 8,
    }
}

/// The controller's Verilog with every mutant of its modules behind the switch. Simulation only: the switch is read across the hierarchy.
///
/// # Errors
/// [`MutantError`] if a mutant's text is not in its module exactly once, or two mutants overlap.
pub fn instrument(verilog: &str) -> Result<String, MutantError> {
    let mut edits = Vec::new();
    for mutant in MUTANTS {
        if let Some(place) = mutant.place(verilog)? {
            edits.push((place, mutant));
        }
    }
    edits.sort_by_key(|(place, _)| place.start);
    for pair in edits.windows(2) {
        if pair[0].0.end > pair[1].0.start {
            return Err(pair[1]
                .1
                .error(format!("its text overlaps that of {}", pair[0].1.name)));
        }
    }
    let mut out = verilog.to_string();
    for (place, mutant) in edits.into_iter().rev() {
        out.replace_range(place, &mutant.switched());
    }
    let pins = format!("    input wire [7:0] {PIN};\n    reg [7:0] mutant_now;\n    always @(posedge clock) mutant_now <= {PIN};\n");
    Ok(out
        .replacen("module top(", &format!("module top({PIN},"), 1)
        .replacen("    // Module arguments\n", &pins, 1))
}

/// That every mutant is in some configuration, and fits wherever its module is.
///
/// # Errors
/// [`MutantError`] with the first that is not or does not; its `why` names the configuration.
pub fn check() -> Result<(), MutantError> {
    let mut missing: Vec<&Mutant> = MUTANTS.iter().collect();
    for config in Config::all() {
        let Ok(verilog) = crate::emit(config) else {
            continue; // The build says why.
        };
        let in_config = |mut e: MutantError| {
            e.why = format!("configuration {}: {}", config.name, e.why);
            e
        };
        instrument(&verilog).map_err(in_config)?;
        missing.retain(|m| matches!(m.place(&verilog), Ok(None)));
    }
    match missing.first() {
        None => Ok(()),
        Some(m) => Err(m.error(format!("no configuration has a module {}", m.module))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prove::PROOFS;

    #[test]
    fn every_mutant_has_its_place() {
        check().unwrap();
        assert!(MUTANTS.len() < 256, "the switch has eight bits");
        for (n, m) in MUTANTS.iter().enumerate() {
            assert_eq!(usize::from(m.number()), n + 1, "{}: a name twice", m.name);
            assert_ne!(m.right, m.wrong, "{}", m.name);
            assert_eq!(
                m.right.ends_with(';'),
                m.wrong.ends_with(';'),
                "{}: statements for statements",
                m.name
            );
            if let Fate::Killed(Check::Proof(name)) = m.fate {
                assert!(
                    PROOFS
                        .iter()
                        .any(|p| p.name == name && p.module == m.module),
                    "{}: there is no proof {name} of {}",
                    m.name,
                    m.module
                );
            }
        }
    }

    #[test]
    fn what_is_synthesised_has_no_switch() {
        for config in Config::all() {
            let verilog = crate::emit(config).unwrap();
            assert!(!verilog.contains(PIN), "{}", config.name);
            let switched = instrument(&verilog).unwrap();
            // Without the switch, the right texts and the pin taken out again, it is what it was.
            let mut back = switched.clone();
            for m in MUTANTS {
                back = back.replace(&m.switched(), m.right);
            }
            let lines = back.lines().filter(|l| !l.contains("mutant_now"));
            let plain: Vec<&str> = lines.filter(|l| !l.contains("[7:0] mutant;")).collect();
            let plain = plain.join("\n").replace("top(mutant,", "top(");
            let was: Vec<&str> = verilog
                .lines()
                .filter(|l| !l.contains("// Module arguments"))
                .collect();
            let rest: Vec<&str> = plain
                .lines()
                .filter(|l| !l.contains("// Module arguments"))
                .collect();
            assert!(rest == was, "{}", config.name);
        }
    }

    const MODULE: &str = "module m(a);\n a = b & c;\n b = c;\n b = c;\nendmodule // m\n";

    fn mutant(before: &'static str, right: &'static str, wrong: &'static str) -> Mutant {
        Mutant {
            name: "test",
            module: "m",
            what: "",
            before,
            right,
            wrong,
            fate: Fate::Survives(""),
        }
    }

    #[test]
    fn a_text_that_is_gone_or_there_twice_is_an_error() {
        for (text, times) in [("b = c;", "2 times"), ("b = d;", "0 times")] {
            let e = mutant("", text, "b = 0;").apply(MODULE).unwrap_err();
            assert!(
                e.to_string().contains("mutant test") && e.why.contains(times),
                "{e}"
            );
        }
        let changed = mutant("a = ", "b & c", "b").apply(MODULE).unwrap().unwrap();
        assert_eq!(changed, MODULE.replace("b & c", "b"));
        let elsewhere = "module n(a);\nendmodule // n\n";
        assert_eq!(mutant("", "x;", "y;").apply(elsewhere), Ok(None));
    }

    #[test]
    fn statements_and_expressions_are_switched() {
        let m = mutant("", "b & c", "b");
        assert_eq!(m.switched(), "((top.mutant_now == 8'd0) ? (b) : (b & c))");
        let m = mutant("", "a = b;", "a = c;");
        assert_eq!(
            m.switched(),
            "if (top.mutant_now == 8'd0) begin a = c; end else begin a = b; end"
        );
    }
}
