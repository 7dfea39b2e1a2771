//! What a core can ask for, and what it gets.

#[cfg(doc)]
use super::Agent;
use super::{word, Line};
use cxlmem_protocol::hdm_db::host::Row;

/// An operation of one core inside one line. A core does one at a time, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoreOp {
    /// Reads.
    Load,
    /// Reads, and makes sure that nobody else may have the line: for a store that is made elsewhere ([`Agent::deposit`]).
    Own,
    /// Writes the first `len` bytes of this.
    Store(Line),
    /// Adds to an aligned 8-byte word, wrapping; returns the old value.
    FetchAdd(u64),
    /// Replaces an aligned 8-byte word if it is `expected`; returns the old value.
    CompareSwap {
        /// The value that it must have.
        expected: u64,
        /// The value that it gets.
        new: u64,
    },
    /// Gives the line up in all caches; dirty data goes to the device first. Done when the device has completed it.
    Flush,
}

impl CoreOp {
    /// What it is called in messages.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Own => "load for ownership",
            Self::Store(_) => "store",
            Self::FetchAdd(_) => "fetch-add",
            Self::CompareSwap { .. } => "compare-and-swap",
            Self::Flush => "flush",
        }
    }

    /// It changes the line.
    pub(super) fn writes(&self) -> bool {
        self.owns() && *self != Self::Own
    }

    /// It needs the line for itself alone.
    pub(super) fn owns(&self) -> bool {
        !matches!(self, Self::Load | Self::Flush)
    }
}

/// A finished operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The bytes as they were before the operation, the first `len` of them; nothing for a store or a flush.
    pub data: Line,
    /// Bytes of `data` that mean something.
    pub len: u8,
    /// Cycles from issue to completion.
    pub cycles: u64,
}

impl Done {
    /// The first eight bytes, little endian.
    pub fn word(&self) -> u64 {
        word(&self.data, 0)
    }
}

/// Why an operation of a core failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// The core has an operation under way, or one whose result nobody has polled.
    #[error("core {0} has an operation that is not polled: a core does one at a time, poll its ticket first")]
    Busy(usize),
    /// There is no such core.
    #[error("there is no core {0}: the agent was made with {1} of them")]
    NoCore(usize, usize),
    /// The address, length or alignment cannot be.
    #[error("{what} of {len} bytes at {address:#x}: must lie inside one 64-byte line below 2^52, and atomics must be aligned 8-byte words")]
    BadAddress {
        /// Name of the operation.
        what: &'static str,
        /// Address in bytes.
        address: u64,
        /// Bytes.
        len: usize,
    },
    /// The ticket was polled already, or never given out.
    #[error("ticket {0} is unknown or was polled already")]
    UnknownTicket(u64),
    /// No response came. The line stays unusable until [`Agent::link_reset`].
    #[error("{what} at {address:#x}: no response to {message:?} after {after} cycles: a message was lost, or the device stopped; bring the link up again and call link_reset")]
    Timeout {
        /// Name of the operation.
        what: &'static str,
        /// Address of the line.
        address: u64,
        /// The request that was outstanding on the line; `None`: it waited for a credit, a tag, or the end of a snoop.
        message: Option<Row>,
        /// Cycles waited.
        after: u64,
    },
    /// The link was reset meanwhile. Whether a write happened is unknown.
    #[error("{what} at {address:#x}: the link was reset meanwhile; whether a write happened is unknown, read the line again")]
    LinkReset {
        /// Name of the operation.
        what: &'static str,
        /// Address of the line.
        address: u64,
    },
    /// The device marked the line as bad.
    #[error(
        "{what} at {address:#x}: the line is poisoned; store all 64 bytes of it to make it good"
    )]
    Poison {
        /// Name of the operation.
        what: &'static str,
        /// Address of the line.
        address: u64,
    },
    /// The device does not decode the address.
    #[error("{what} at {address:#x}: no memory there (MemData-NXM); see the HDM decoders")]
    NoMemory {
        /// Name of the operation.
        what: &'static str,
        /// Address of the line.
        address: u64,
    },
}
