//! The families of FPGAs that boards have: which tools they need, and what of the Verilog around the controller differs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};
use cxlmem_hdl::gates::tools as hdl_tools;

use super::data::Board;
use super::{ecp5, gowin};
use crate::tools;

/// The name of the file with the constraints.
pub const CONSTRAINTS: &str = "board.constraints";

/// A Python tool of the virtual environment.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    /// Its program.
    pub program: &'static str,
    /// The package, as its folder is named.
    pub package: &'static str,
}

impl Tool {
    /// Where it is, and its version.
    ///
    /// # Errors
    /// It is not installed.
    pub fn find(&self) -> Result<(PathBuf, String)> {
        let missing = "run `./x setup`: it makes .venv with the pinned tools of requirements.txt";
        let path = hdl_tools::venv_program(self.program)
            .with_context(|| format!("{} is not installed; {missing}", self.program))?;
        let version = hdl_tools::venv_version(self.package)
            .with_context(|| format!("{} does not state its version; {missing}", self.package))?;
        Ok((path, version))
    }
}

/// Dividers of a PLL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pll {
    /// Of the input.
    pub input: u32,
    /// Of the feedback: the output is the input by `input` times this.
    pub feedback: u32,
    /// Of the oscillator inside, which runs at the output times this.
    pub output: u32,
}

/// What a family's PLL can do.
pub struct PllLimits {
    /// Slowest and fastest input of the phase detector, MHz.
    pub detector_mhz: (f64, f64),
    /// Slowest and fastest oscillator inside, MHz.
    pub oscillator_mhz: (f64, f64),
    /// Largest divider of the input.
    pub input: u32,
    /// Largest divider of the feedback.
    pub feedback: u32,
    /// Dividers of the oscillator for an output, MHz, best first.
    pub outputs: fn(mhz: f64) -> Vec<u32>,
}

impl PllLimits {
    /// The dividers for a frequency, exact, with the smallest divider of the input.
    ///
    /// # Errors
    /// A frequency that cannot be made.
    pub fn dividers(&self, input_mhz: f64, output_mhz: f64) -> Result<Pll> {
        let within = |(least, most): (f64, f64), mhz: f64| (least..=most).contains(&mhz);
        for input in 1..=self.input {
            let detector = input_mhz / f64::from(input);
            let feedback = (output_mhz / detector).round();
            if !within(self.detector_mhz, detector)
                || !(1.0..=f64::from(self.feedback)).contains(&feedback)
                || (feedback * detector - output_mhz).abs() > 1e-6
            {
                continue;
            }
            let mut outputs = (self.outputs)(output_mhz).into_iter();
            let fits = |n: &u32| within(self.oscillator_mhz, output_mhz * f64::from(*n));
            if let Some(output) = outputs.find(fits) {
                return Ok(Pll {
                    input,
                    feedback: feedback as u32,
                    output,
                });
            }
        }
        bail!("no PLL setting makes {output_mhz} MHz of {input_mhz} MHz: choose a clock.core_mhz that is a fraction of it with small numbers")
    }
}

/// What of the Verilog around the controller is a family's.
pub struct Around {
    /// Makes `clock` and `locked` of `oscillator`, and if there is an SDRAM `later`, a quarter of a cycle behind `clock`.
    pub pll: String,
    /// Drives a pin with `later`.
    pub clock_out: fn(pin: &str) -> String,
    /// Connects pins, so many less one, with `dq_out`, `dq_oe` and `dq_in`.
    pub pads: fn(top: u32, pins: &str) -> String,
}

/// What a bitstream says of itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Identity {
    /// The part and its package, if it names one.
    pub part: Option<String>,
    /// The id code that the configuration logic compares with its own.
    pub idcode: u32,
}

/// An FPGA.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fpga {
    /// Lattice's ECP5.
    Ecp5(tools::Part),
    /// Gowin's GW2A.
    Gowin(&'static gowin::Part),
}

impl std::str::FromStr for Fpga {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        if let Some(part) = gowin::PARTS.iter().find(|p| p.name == name) {
            return Ok(Fpga::Gowin(part));
        }
        let part = name.parse().map_err(|e| {
            let others: Vec<&str> = gowin::PARTS.iter().map(|p| p.name).collect();
            anyhow::anyhow!("{e}, or {}", others.join(", "))
        })?;
        Ok(Fpga::Ecp5(part))
    }
}

impl Fpga {
    /// Place and route, and what makes the bitstream.
    pub fn tools(&self) -> [Tool; 2] {
        match self {
            Fpga::Ecp5(_) => [ecp5::PLACE, ecp5::PACK],
            Fpga::Gowin(_) => [gowin::PLACE, gowin::PACK],
        }
    }

    /// The command of yosys.
    pub fn synthesis(&self) -> &'static str {
        match self {
            Fpga::Ecp5(_) => ecp5::SYNTHESIS,
            Fpga::Gowin(_) => gowin::SYNTHESIS,
        }
    }

    /// How a file with a bitstream is named.
    pub fn extension(&self) -> &'static str {
        match self {
            Fpga::Ecp5(_) => "bit",
            Fpga::Gowin(_) => "fs",
        }
    }

    /// Whether bitstreams are text.
    pub fn is_text(&self) -> bool {
        matches!(self, Fpga::Gowin(_))
    }

    /// The Verilog that is the family's.
    ///
    /// # Errors
    /// A clock that cannot be made.
    pub fn around(&self, board: &Board) -> Result<Around> {
        match self {
            Fpga::Ecp5(_) => ecp5::around(board),
            Fpga::Gowin(part) => gowin::around(board, part),
        }
    }

    /// The text of [`CONSTRAINTS`].
    pub fn constraints(&self, board: &Board) -> String {
        match self {
            Fpga::Ecp5(_) => ecp5::constraints(board),
            Fpga::Gowin(_) => gowin::constraints(board),
        }
    }

    /// Adds nextpnr's arguments that are the family's: from [`CONSTRAINTS`] to a file `placed`.
    pub fn place(&self, command: &mut Command, board: &Board, placed: &str) {
        match self {
            Fpga::Ecp5(part) => ecp5::place(command, part, &board.data.part.package, placed),
            Fpga::Gowin(part) => gowin::place(command, part, board.data.clock.core_mhz, placed),
        }
    }

    /// The command that makes a bitstream.
    pub fn pack(&self, program: &Path, placed: &str, bitstream: &str) -> Command {
        match self {
            Fpga::Ecp5(_) => ecp5::pack(program, placed, bitstream),
            Fpga::Gowin(part) => gowin::pack(program, part, placed, bitstream),
        }
    }

    /// What a bitstream says of itself.
    ///
    /// # Errors
    /// It is none of this family.
    pub fn identity(&self, bits: &[u8]) -> Result<Identity> {
        match self {
            Fpga::Ecp5(_) => ecp5::identity(bits),
            Fpga::Gowin(_) => gowin::identity(bits),
        }
    }
}
