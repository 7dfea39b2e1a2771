//! What a device handle needs from the world: registers, configuration space, DMA memory, coherent lines, interrupts, time.
//!
//! The simulator implements [`Transport`] with the model's host side; a serial board or a device file implement the same trait.
//! Every call is bounded by the transport itself and returns a `Result`; times are device cycles.
//!
//! # Rules for implementers
//!
//! * A [`crate::Device`] calls from several threads, one at a time (it holds its lock around each call).
//! * Never touch memory of a [`crate::CoherentRegion`] inside a call: its faults are served by a thread that needs the same lock.
//!   Slices given to a call are never region memory.
//! * Device-coherent memory: snoops are answered inside calls only, where device cycles pass. [`PageHolder::recall`] is called for each, by the
//!   thread that makes the call, before the answer. What a call returned of lines ([`Transport::lines_read`]) is held when it returns,
//!   and given up only inside a later one.
//! * Posted work must go on by itself inside [`Transport::wait_irq`]: the driver waits nowhere else.

use std::sync::Arc;
use thiserror::Error;

/// Bytes of a line.
pub const LINE: usize = cxlmem_driver_core::LINE_BYTES as usize;
/// Bytes of a page.
pub const PAGE: usize = cxlmem_driver_core::PAGE_BYTES as usize;

/// Why a transport could not do what it was asked.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportError {
    /// The access was sent; no answer came.
    #[error("{operation} at {address:#x}: no answer within {cycles} cycles; check that the device still runs")]
    Timeout {
        /// What was tried.
        operation: &'static str,
        /// Register offset, bus address or host physical address.
        address: u64,
        /// Cycles waited.
        cycles: u64,
    },
    /// The device was removed or the simulator behind the transport ended.
    #[error("the device answers no more: {reason}; open it again")]
    Gone {
        /// What happened.
        reason: String,
    },
    /// The address is not one that this transport gave out or maps.
    #[error("{operation} of {bytes} bytes at {address:#x} is outside what the transport maps")]
    Address {
        /// What was tried.
        operation: &'static str,
        /// First address.
        address: u64,
        /// Length.
        bytes: u64,
    },
    /// No more memory that the device can reach.
    #[error("no {bytes} bytes of DMA memory left; free some or give the transport more")]
    OutOfDmaMemory {
        /// Bytes wanted.
        bytes: u64,
    },
    /// The device answered the register or configuration access with an error (Unsupported Request, Completer Abort).
    #[error("{operation} at {address:#x} was answered {status}; check that the function is enabled and the offset exists")]
    Completion {
        /// What was tried.
        operation: &'static str,
        /// Register or configuration offset.
        address: u64,
        /// Completion status in words.
        status: String,
    },
    /// No HDM decoder took the line, or it is beyond the capacity (the answer was NXM).
    #[error("no memory behind host physical address {address:#x}; check the HDM decoder and the capacity")]
    NoMemory {
        /// Host physical address.
        address: u64,
    },
    /// Anything else that the transport has to say.
    #[error("{0}")]
    Other(String),
}

/// Result of a transport call.
pub type Result<T> = std::result::Result<T, TransportError>;

/// What the CPU is going to do with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Intent {
    /// Read it: other readers may hold it too.
    Shared,
    /// Write it: nobody else may hold it.
    Exclusive,
}

/// A range of host physical addresses reserved for the device's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HpaWindow {
    /// First address, a multiple of the HDM decoder's granule (256 MiB).
    pub base: u64,
    /// Bytes.
    pub size: u64,
}

pub use cxlmem_driver_core::bringup::MsiMessage;

/// A changed line of a page: its host physical address and its content.
pub type ChangedLine = (u64, [u8; LINE]);

/// Pages of process memory that hold lines of the device's memory: one more cache of the host, which the transport does not see.
pub trait PageHolder: Send + Sync {
    /// Takes the page away from the process that the line at `hpa` is in, and returns the lines that the process has changed. When this
    /// returns nobody reads or writes the page any more. Empty: nobody held it, or nothing was changed.
    ///
    /// # Errors
    /// Why the page is not given up: it stays as it is, and the snoop must wait.
    fn recall(&self, hpa: u64) -> std::result::Result<Vec<ChangedLine>, String>;
}

/// A way to a device. See the module's rules.
pub trait Transport: Send {
    /// One line for people: what this is ("simulator, configuration sim, seed 7").
    fn describe(&self) -> String;

    /// Reads a DW of configuration space; `offset` is a multiple of 4 below 4096.
    ///
    /// # Errors
    /// [`TransportError`]. A register that does not exist reads zero; a function that does not exist reads all ones.
    fn config_read32(&mut self, offset: u16) -> Result<u32>;
    /// Writes a DW of configuration space.
    ///
    /// # Errors
    /// [`TransportError`].
    fn config_write32(&mut self, offset: u16, value: u32) -> Result<()>;

    /// Reads a register; `offset` is in bytes from the start of BAR0, a multiple of 4.
    ///
    /// # Errors
    /// [`TransportError::Timeout`] when no completion comes; a device that is gone may as well read all ones.
    fn mmio_read32(&mut self, offset: u32) -> Result<u32>;
    /// Writes a register (posted). Earlier [`Transport::dma_write`]s are visible to the device before it.
    ///
    /// # Errors
    /// [`TransportError`].
    fn mmio_write32(&mut self, offset: u32, value: u32) -> Result<()>;

    /// Allocates `bytes` of zeroed host memory that the device can reach, aligned to `align` (a power of two, at most 4096), contiguous
    /// in bus addresses, outside the HDM window. Returns its bus address.
    ///
    /// # Errors
    /// [`TransportError::OutOfDmaMemory`].
    fn dma_alloc(&mut self, bytes: usize, align: usize) -> Result<u64>;
    /// Gives an allocation back: `bus` and `bytes` as they were allocated.
    fn dma_free(&mut self, bus: u64, bytes: usize);
    /// Reads DMA memory as the CPU does.
    ///
    /// # Errors
    /// [`TransportError::Address`].
    fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Result<()>;
    /// Writes DMA memory as the CPU does.
    ///
    /// # Errors
    /// [`TransportError::Address`].
    fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<()>;

    /// Where in host physical memory the device's memory shall appear.
    ///
    /// # Errors
    /// [`TransportError`].
    fn hdm_window(&mut self) -> Result<HpaWindow>;
    /// Loads one line through the coherent protocol and the host's caches, with the right that `intent` names. Returns `true` if the line
    /// is poisoned (`line` is then arbitrary).
    ///
    /// # Errors
    /// [`TransportError::NoMemory`], [`TransportError::Timeout`].
    fn line_read(&mut self, hpa: u64, intent: Intent, line: &mut [u8; LINE]) -> Result<bool>;
    /// Stores one whole line: takes ownership if the host does not have it. It may stay dirty in a host cache.
    ///
    /// # Errors
    /// As [`Transport::line_read`].
    fn line_write(&mut self, hpa: u64, line: &[u8; LINE]) -> Result<()>;
    /// Writes back every dirty line of `hpa..hpa + bytes` that a host cache holds, waits until the device has acknowledged them, and
    /// drops all lines of the range from the host's caches. `hpa` and `bytes` are multiples of 64.
    ///
    /// # Errors
    /// As [`Transport::line_read`]; what was not written back stays cached.
    fn line_flush(&mut self, hpa: u64, bytes: u64) -> Result<()>;

    /// Loads consecutive lines, at most 64. Bit *n* of the result: line *n* is poisoned. Transports that keep several requests in
    /// flight override this.
    ///
    /// # Errors
    /// As [`Transport::line_read`].
    fn lines_read(&mut self, hpa: u64, intent: Intent, lines: &mut [[u8; LINE]]) -> Result<u64> {
        let mut poison = 0;
        for (n, line) in lines.iter_mut().enumerate() {
            if self.line_read(hpa + (n * LINE) as u64, intent, line)? {
                poison |= 1 << (n % 64);
            }
        }
        Ok(poison)
    }

    /// Before bring-up: the memory will be device-coherent. The host's end offers back-invalidate (BI-68) at the next start of the link, and from
    /// then on the host answers snoops, asking `pages` first.
    ///
    /// # Errors
    /// [`TransportError::Other`] from a transport whose host cannot, as this default does.
    fn device_coherent(&mut self, pages: Arc<dyn PageHolder>) -> Result<()> {
        drop(pages);
        Err(TransportError::Other(format!(
            "{}: this host answers no snoops; open the device without device coherence",
            self.describe()
        )))
    }
    /// Takes changed lines of a page back that the process has held, all of them. With device-coherent memory no time passes: a snoop finds
    /// either the page at its [`PageHolder`] or its lines in the host's caches.
    ///
    /// # Errors
    /// As [`Transport::line_read`].
    fn lines_return(&mut self, lines: &[ChangedLine]) -> Result<()> {
        lines
            .iter()
            .try_for_each(|(hpa, line)| self.line_write(*hpa, line))
    }

    /// The message of an MSI-X vector if the driver has to write the table itself; `None` where the platform has done it (or has no
    /// interrupts: the driver then polls).
    ///
    /// # Errors
    /// [`TransportError`].
    fn irq_message(&mut self, vector: u16) -> Result<Option<MsiMessage>>;
    /// Lets time pass until `vector` was raised since the last call, at most `budget` cycles. `true`: raised.
    ///
    /// # Errors
    /// [`TransportError`].
    fn wait_irq(&mut self, vector: u16, budget: u64) -> Result<bool>;
    /// Device cycles since the transport was made. Never goes back.
    ///
    /// # Errors
    /// [`TransportError`].
    fn now_cycles(&mut self) -> Result<u64>;
    /// Cycles per second that a cycle count stands for.
    fn clock_hz(&self) -> u64;

    /// How long to wait for what, where the way to the device is slower than a bus. `None`: as the device's capability word says.
    fn limits(&self) -> Option<cxlmem_driver_core::Limits> {
        None
    }
}
