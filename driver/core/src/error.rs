//! Errors of the driver's logic: each names the register or address, the value found, and what to do next.

use crate::io::IoError;
use core::fmt;
use cxlmem_protocol::engine::Status;
use cxlmem_protocol::hdm::CommitError;
use cxlmem_protocol::regs::Reg;

/// What went wrong with the device as a whole. Errors of single pages are [`crate::PageResult`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The surroundings could not make an access.
    Io {
        /// Register offset or bus address.
        at: u64,
        /// Their reason.
        source: IoError,
    },
    /// A register read all ones: nothing answers behind BAR0.
    Gone {
        /// Register offset.
        register: u32,
    },
    /// The identity register holds something else: not this device.
    Identity {
        /// Register offset.
        register: u32,
        /// Value of this project's devices.
        expected: u32,
        /// Value read.
        found: u32,
    },
    /// The register map has a major version that this driver does not know.
    Version {
        /// Register offset.
        register: u32,
        /// Major version of this driver's map.
        supported: u32,
        /// Major version read.
        found: u32,
    },
    /// The configuration lacks what was asked for.
    Missing {
        /// Register offset of the capability word.
        register: u32,
        /// Name of the capability.
        what: &'static str,
    },
    /// The link is up without back-invalidate: the host's end did not offer it.
    NotAgreed {
        /// Offset of the status register.
        register: u32,
        /// Its value.
        status: u32,
    },
    /// A register did not take the awaited value in time.
    Timeout {
        /// Register offset.
        register: u32,
        /// Value at the end.
        last: u32,
        /// Ticks waited.
        ticks: u64,
    },
    /// The range asked for cannot be an HDM decoder's.
    DecoderRange(CommitError),
    /// The HDM decoder refused to commit.
    DecoderError {
        /// Offset of the decoder's control register.
        register: u32,
        /// Its value.
        control: u32,
    },
    /// The decoder is committed and locked with other values: only a reset frees it.
    DecoderLocked {
        /// Offset of the decoder's control register.
        register: u32,
        /// Its value.
        control: u32,
    },
    /// A parameter of the caller is out of range.
    Parameter {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: u64,
    },
    /// The ring has no room: reap completions first.
    RingFull {
        /// Descriptors that it can hold.
        capacity: u32,
    },
    /// The engine stopped with a ring error.
    EngineFault {
        /// Offset of the status register.
        register: u32,
        /// Status code of the ring error.
        code: u8,
    },
    /// A completion record holds another id than the descriptor at its place.
    ForeignCompletion {
        /// Bus address of the record.
        at: u64,
        /// Id of the descriptor.
        expected: u16,
        /// Id in the record.
        found: u16,
    },
    /// A command got no completion in time; the engine was reset and is idle.
    CommandTimeout {
        /// Id of the descriptor.
        id: u16,
        /// Ticks waited.
        ticks: u64,
    },
    /// A command got no completion and the engine did not become idle after its reset: DMA may still run. Nothing it could touch may be
    /// reused, and no further command is taken.
    EngineStuck {
        /// Offset of the status register.
        register: u32,
        /// Its value.
        status: u32,
    },
    /// A command completed with an error status.
    Command {
        /// Operation code of the descriptor.
        opcode: u8,
        /// Status code of the record.
        code: u8,
        /// Units finished before the error.
        done: u32,
    },
}

impl Error {
    /// What to do next, in a sentence.
    pub fn next_step(&self) -> &'static str {
        match self {
            Error::Io { source: IoError::Address, .. } => "use addresses inside BAR0 and inside allocated DMA memory",
            Error::Io { .. } | Error::Gone { .. } => "check that the device (or the simulator behind it) still runs, then open it again",
            Error::Identity { .. } => "check that BAR0 belongs to this device and that memory space is enabled",
            Error::Version { .. } => "use a driver and a device built from the same register map",
            Error::Missing { .. } => "choose a configuration that has it",
            Error::NotAgreed { .. } => "let the host's end of the link offer BI-68 before the device is opened, or open it without device coherence",
            Error::Timeout { .. } => "check clock and reset of the device and the peer of its link, or raise the limit",
            Error::DecoderError { .. } => "give a base and a size that are multiples of the decoder's granule and overlap no other decoder",
            Error::DecoderLocked { .. } => "use the committed range, or reset the device",
            Error::DecoderRange(_) | Error::Parameter { .. } => "correct the parameter",
            Error::RingFull { .. } => "wait for completions",
            Error::EngineFault { .. } => "check that the rings are in DMA memory and that Bus Master is enabled, then reset the engine",
            Error::ForeignCompletion { .. } => "the completion ring was overwritten: reset the engine",
            Error::CommandTimeout { .. } => "the engine is idle again: retry, or raise the limit",
            Error::EngineStuck { .. } => "reset the function (FLR) and open the device again",
            Error::Command { code, .. } if *code == Status::NotReleased as u8 => {
                "see the errors of the host and of the link, raise SnoopTimeout if the host is only slow, then retry"
            }
            Error::Command { .. } => "see the status code in the engine's table",
        }
    }

    /// The register that the error is about, if any.
    pub fn register(&self) -> Option<u32> {
        match *self {
            Error::Gone { register }
            | Error::Identity { register, .. }
            | Error::Version { register, .. }
            | Error::Missing { register, .. }
            | Error::NotAgreed { register, .. }
            | Error::Timeout { register, .. }
            | Error::DecoderError { register, .. }
            | Error::DecoderLocked { register, .. }
            | Error::EngineFault { register, .. }
            | Error::EngineStuck { register, .. } => Some(register),
            _ => None,
        }
    }
}

/// A register by name and offset.
struct Name(u32);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Reg::from_offset(self.0).def() {
            Some(def) => write!(f, "{} ({:#06x})", def.name, self.0),
            None => write!(f, "register {:#06x}", self.0),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Error::Io { at, source } => write!(f, "access at {at:#x} failed: {source}")?,
            Error::Gone { register } => {
                write!(f, "{} reads all ones: nothing answers", Name(register))?
            }
            Error::Identity {
                register,
                expected,
                found,
            } => write!(
                f,
                "{} is {found:#010x}, expected {expected:#010x}",
                Name(register)
            )?,
            Error::Version {
                register,
                supported,
                found,
            } => write!(
                f,
                "{} has major version {found}, this driver knows {supported}",
                Name(register)
            )?,
            Error::Missing { register, what } => {
                write!(f, "{} does not report {what}", Name(register))?
            }
            Error::NotAgreed { register, status } => write!(
                f,
                "{} is {status:#010x}: the link is up without back-invalidate (BI)",
                Name(register)
            )?,
            Error::Timeout {
                register,
                last,
                ticks,
            } => write!(
                f,
                "{} still {last:#010x} after {ticks} ticks",
                Name(register)
            )?,
            Error::DecoderRange(source) => write!(f, "{source}")?,
            Error::DecoderError { register, control } => {
                write!(f, "{} did not commit: {control:#010x}", Name(register))?
            }
            Error::DecoderLocked { register, control } => write!(
                f,
                "{} is locked with another range: {control:#010x}",
                Name(register)
            )?,
            Error::Parameter { what, value } => write!(f, "{what}: {value:#x} is not allowed")?,
            Error::RingFull { capacity } => {
                write!(f, "the command ring already holds {capacity} descriptors")?
            }
            Error::EngineFault { register, code } => write!(
                f,
                "{}: the engine stopped with ring error {code}",
                Name(register)
            )?,
            Error::ForeignCompletion {
                at,
                expected,
                found,
            } => write!(
                f,
                "completion record at {at:#x} has id {found}, expected {expected}"
            )?,
            Error::CommandTimeout { id, ticks } => {
                write!(f, "command {id} not complete after {ticks} ticks")?
            }
            Error::EngineStuck { register, status } => write!(
                f,
                "{} is {status:#010x}: the engine is not idle after its reset",
                Name(register)
            )?,
            Error::Command { opcode, code, done } => {
                write!(f, "command with opcode {opcode} ended with status {code}")?;
                if let Some(status) = Status::from_code(code) {
                    write!(f, " ({status})")?;
                }
                write!(f, " after {done} units")?;
            }
        }
        write!(f, "; {}", self.next_step())
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IoError::Gone => f.write_str("the device answers no more"),
            IoError::Timeout => f.write_str("no answer in time"),
            IoError::Address => f.write_str("address outside the allowed range"),
            IoError::Other(code) => write!(f, "code {code}"),
        }
    }
}

impl core::error::Error for Error {}
impl core::error::Error for IoError {}
