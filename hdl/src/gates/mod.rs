//! Gates: checks that stand between rust-hdl's sources, the Verilog printed from them, and anyone who uses that Verilog.
//!
//! rust-hdl turns some Rust into hardware that differs from its own simulation, and the tools that notice only warn. Each gate is a
//! function that returns findings; none found means passed. A missing tool is an error that says what to install, never a pass.
//!
//! | Gate | Reads | Finds |
//! |---|---|---|
//! | [`source`] | `hdl/src/**/*.rs` | match guards, constants, nested fields, precedence and width slips inside `update()` |
//! | [`verilator`] | emitted Verilog | lint warnings |
//! | [`yosys`] | emitted Verilog | implicit wires, latches, missing and multiple drivers, logic loops, every other warning |
//! | [`ram`] | emitted Verilog | memories that the synthesiser would not map to block RAM or LUT RAM |
//!
//! [`wrap`] is the harness that lets a controller with a thousand pins be placed and routed.

pub mod ram;
pub mod source;
pub mod tools;
pub mod verilator;
pub mod wrap;
pub mod yosys;

use std::path::{Path, PathBuf};

/// Which gate found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// [`source`]
    Source,
    /// [`verilator`]
    Verilator,
    /// [`yosys`]
    Yosys,
    /// [`ram`]
    Ram,
}

impl std::fmt::Display for Gate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Gate::Source => "source",
            Gate::Verilator => "verilator",
            Gate::Yosys => "yosys",
            Gate::Ram => "ram",
        })
    }
}

/// One thing to put right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The gate.
    pub gate: Gate,
    /// Stable short name of the rule within the gate.
    pub rule: &'static str,
    /// Where: `file:line[:column]`, or a module of the Verilog.
    pub place: String,
    /// What is wrong, and what to do where that is known.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}: {}/{}: {}",
            self.place, self.gate, self.rule, self.message
        )
    }
}

/// The gate itself could not be carried out: neither a pass nor a finding.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// A tool is not on this machine.
    #[error("{tool} is not installed; {install}")]
    ToolMissing {
        /// The tool.
        tool: &'static str,
        /// What to do.
        install: &'static str,
    },
    /// A tool ran and failed without saying anything that this gate reads as a finding.
    #[error("{tool} failed ({status}); the end of its output:\n{tail}")]
    ToolFailed {
        /// The tool.
        tool: &'static str,
        /// Its exit status.
        status: String,
        /// Last lines of its output.
        tail: String,
    },
    /// Reading or writing a file.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// The operation.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The sources are not where they were expected.
    #[error("no .rs file below {}: run from a checkout of the repository", .0.display())]
    NothingToCheck(PathBuf),
    /// A tool's output did not have the expected form.
    #[error("{tool}: unexpected output: {what}")]
    BadOutput {
        /// The tool.
        tool: &'static str,
        /// What was wrong.
        what: String,
    },
}

impl GateError {
    pub(crate) fn io(what: &'static str, path: &Path, source: std::io::Error) -> Self {
        GateError::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// Folder of this crate's sources, as it was when the crate was built.
pub fn source_tree() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
