//! Line operations: what the home agent can be asked, and what it answers.

use super::golden::Line;
use cxlmem_protocol::msg::{DevLoad, MetaValue};

/// What to do with one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// MemRd. With `meta`, the stored Meta0 is returned and replaced.
    Read {
        /// New Meta0.
        meta: Option<MetaValue>,
    },
    /// MemWr of the whole line.
    Write {
        /// The line.
        data: Line,
        /// The line is known to be bad.
        poison: bool,
        /// New Meta0.
        meta: Option<MetaValue>,
    },
    /// MemWrPtl: the device merges the bytes whose enable (bit *n* = byte *n*) is set.
    WritePartial {
        /// The bytes, in their places.
        data: Line,
        /// Byte enables.
        enables: u64,
        /// The line is known to be bad.
        poison: bool,
        /// New Meta0.
        meta: Option<MetaValue>,
    },
    /// MemInv, or MemInvNT: stores Meta0, returns the old value.
    Invalidate {
        /// New Meta0.
        meta: MetaValue,
        /// MemInvNT instead of MemInv.
        non_temporal: bool,
    },
    /// MemSpecRd: a hint, done as soon as it is sent.
    Prefetch,
}

impl Op {
    /// A plain read.
    pub const READ: Op = Op::Read { meta: None };

    /// A plain write of a whole line.
    pub fn write(data: Line) -> Self {
        Op::Write {
            data,
            poison: false,
            meta: None,
        }
    }

    /// Name in the reference.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Read { .. } => "MemRd",
            Op::Write { .. } => "MemWr",
            Op::WritePartial { .. } => "MemWrPtl",
            Op::Invalidate {
                non_temporal: false,
                ..
            } => "MemInv",
            Op::Invalidate {
                non_temporal: true, ..
            } => "MemInvNT",
            Op::Prefetch => "MemSpecRd",
        }
    }

    /// True if it travels on RwD.
    pub(crate) fn has_data(&self) -> bool {
        matches!(self, Op::Write { .. } | Op::WritePartial { .. })
    }
}

/// A finished operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// Address of the line.
    pub address: u64,
    /// Tag it had; 0 for a prefetch, which has none.
    pub tag: u16,
    /// What a read returned.
    pub data: Option<Line>,
    /// A read returned poison.
    pub poison: bool,
    /// The device does not decode the address (MemData-NXM).
    pub nxm: bool,
    /// Meta0 as stored before the operation, if it was asked for.
    pub meta: Option<MetaValue>,
    /// Load that the device reported.
    pub dev_load: DevLoad,
    /// Cycle in which the operation was issued.
    pub issued: u64,
    /// Cycle in which the link took its message.
    pub launched: u64,
    /// Cycle in which its response was complete.
    pub finished: u64,
}

/// A read, or a response, that is not what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Cycle in which it was seen.
    pub cycle: u64,
    /// Tag of the operation.
    pub tag: u16,
    /// Position of the operation in the order of issue, from 0.
    pub position: u64,
    /// Address of the line.
    pub address: u64,
    /// What differs.
    pub what: String,
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "operation {} (tag {:#06x}, address {:#x}) at cycle {}: {}",
            self.position, self.tag, self.address, self.cycle, self.what
        )
    }
}

/// Why an operation failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HomeError {
    /// No response came.
    #[error("no response after {after} cycles to {what} of address {address:#x} (tag {tag:?}): a flit was lost, or the device stopped; bring the link up again")]
    Timeout {
        /// Cycles waited.
        after: u64,
        /// Name of the message.
        what: &'static str,
        /// Tag, if the message was sent; else it waited for a credit or for the link.
        tag: Option<u16>,
        /// Address of the line.
        address: u64,
    },
    /// A response was wrong.
    #[error("wrong response: {0}")]
    Wrong(Box<Difference>),
    /// The address cannot travel.
    #[error("address {0:#x} is not a multiple of 64 below 2^52")]
    BadAddress(u64),
    /// Too many operations wait.
    #[error("{0} operations already wait: poll some first")]
    QueueFull(usize),
    /// The link was brought down with the operation under way.
    #[error("the link was reset during {what} of address {address:#x}")]
    LinkReset {
        /// Name of the message.
        what: &'static str,
        /// Address of the line.
        address: u64,
    },
    /// The ticket was polled already, or never given out.
    #[error("ticket {0} is unknown or was polled already")]
    UnknownTicket(u64),
}
