//! What the root complex counts and logs, after the manner of AER.

use super::RequestId;
use crate::completion::WrongCompletion;
use crate::tlp::{Bdf, Malformed, Status};

/// Entries kept until [`take_log`](super::RootComplex::take_log); later ones are counted only. The first errors explain the others.
pub const LOG_ENTRIES: usize = 64;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Event {
    /// The device sent a malformed packet; it was dropped.
    #[error("malformed TLP from the device: {0}")]
    Malformed(Malformed),
    /// A completion came that no outstanding request waits for; it was dropped.
    #[error("unexpected completion for requester {requester} tag {tag:#x}")]
    UnexpectedCompletion {
        /// Requester id in the completion.
        requester: Bdf,
        /// Tag in the completion.
        tag: u16,
    },
    /// A completion did not continue the read that its tag names; that read failed.
    #[error("wrong completion for tag {tag:#x}: {error}")]
    WrongCompletion {
        /// The tag.
        tag: u16,
        /// What disagrees.
        error: WrongCompletion,
    },
    /// A request was not completed in time.
    #[error("completion timeout of tag {tag:#x} ({id:?})")]
    CompletionTimeout {
        /// The tag, free again.
        tag: u16,
        /// The request.
        id: RequestId,
    },
    /// The device refused a request.
    #[error("request with tag {tag:#x} completed with {status:?}")]
    RefusedByDevice {
        /// The tag.
        tag: u16,
        /// How.
        status: Status,
    },
    /// The device completed a request with poisoned data.
    #[error("poisoned completion for tag {tag:#x}")]
    PoisonedCompletion {
        /// The tag.
        tag: u16,
    },
    /// The device wrote poisoned data; host memory keeps what it had.
    #[error("poisoned write of the device to {addr:#x}")]
    PoisonedWrite {
        /// Address of the write.
        addr: u64,
    },
    /// The device asked for something that is not there (an address outside of host memory, a configuration request).
    #[error("unsupported request of the device at {addr:#x}")]
    UnsupportedRequest {
        /// Address, or the register number.
        addr: u64,
    },
    /// Host memory refused the device's access.
    #[error("host memory refused the device at {addr:#x}")]
    RefusedByMemory {
        /// Address.
        addr: u64,
    },
    /// Host memory returned poisoned data for the device's read; the completions are poisoned.
    #[error("poisoned host memory read by the device at {addr:#x}")]
    PoisonedMemory {
        /// Address.
        addr: u64,
    },
    /// A write to the interrupt window that is not one whole DW; no interrupt came of it.
    #[error("write to the interrupt window at {addr:#x} is not one whole DW")]
    BadInterrupt {
        /// Address.
        addr: u64,
    },
    /// The device sent an ERR_COR, ERR_NONFATAL or ERR_FATAL message.
    #[error("error message {code:#04x} from {requester}")]
    ErrorMessage {
        /// Who sent it.
        requester: Bdf,
        /// Message code.
        code: u8,
    },
}

/// One event in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// When.
    pub tick: u64,
    /// What.
    pub event: Event,
    /// Header of the packet at fault; for a timeout, of the request.
    pub header: [u32; 4],
}

/// How often each [`Event`] happened, and traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)] // The names are those of `Event`.
pub struct Counters {
    pub malformed: u64,
    pub unexpected_completion: u64,
    pub wrong_completion: u64,
    pub completion_timeout: u64,
    pub refused_by_device: u64,
    pub poisoned_completion: u64,
    pub poisoned_write: u64,
    pub unsupported_request: u64,
    pub refused_by_memory: u64,
    pub poisoned_memory: u64,
    pub bad_interrupt: u64,
    pub error_message: u64,
    /// Packets taken from the device, malformed ones included.
    pub packets_received: u64,
    /// Packets given to the device.
    pub packets_sent: u64,
    /// Payload bytes the device read from host memory.
    pub bytes_read: u64,
    /// Payload bytes the device wrote to host memory.
    pub bytes_written: u64,
    /// Interrupts delivered.
    pub interrupts: u64,
    /// Interrupts dropped because nobody took the earlier ones.
    pub interrupts_lost: u64,
}

impl Counters {
    /// All errors; zero in a run without faults.
    pub fn errors(&self) -> u64 {
        self.malformed
            + self.unexpected_completion
            + self.wrong_completion
            + self.completion_timeout
            + self.refused_by_device
            + self.poisoned_completion
            + self.poisoned_write
            + self.unsupported_request
            + self.refused_by_memory
            + self.poisoned_memory
            + self.bad_interrupt
            + self.error_message
    }

    fn of(&mut self, event: &Event) -> &mut u64 {
        match event {
            Event::Malformed(_) => &mut self.malformed,
            Event::UnexpectedCompletion { .. } => &mut self.unexpected_completion,
            Event::WrongCompletion { .. } => &mut self.wrong_completion,
            Event::CompletionTimeout { .. } => &mut self.completion_timeout,
            Event::RefusedByDevice { .. } => &mut self.refused_by_device,
            Event::PoisonedCompletion { .. } => &mut self.poisoned_completion,
            Event::PoisonedWrite { .. } => &mut self.poisoned_write,
            Event::UnsupportedRequest { .. } => &mut self.unsupported_request,
            Event::RefusedByMemory { .. } => &mut self.refused_by_memory,
            Event::PoisonedMemory { .. } => &mut self.poisoned_memory,
            Event::BadInterrupt { .. } => &mut self.bad_interrupt,
            Event::ErrorMessage { .. } => &mut self.error_message,
        }
    }
}

/// Counters and log together.
#[derive(Debug, Clone, Default)]
pub(super) struct Report {
    pub(super) counters: Counters,
    pub(super) log: Vec<LogEntry>,
}

impl Report {
    pub(super) fn add(&mut self, tick: u64, event: Event, header: [u32; 4]) {
        *self.counters.of(&event) += 1;
        if self.log.len() < LOG_ENTRIES {
            self.log.push(LogEntry {
                tick,
                event,
                header,
            });
        }
    }
}
