//! Errors of the user-space driver: where, which code, what to do next.

use crate::transport::TransportError;
use cxlmem_driver_core as core;
use std::path::PathBuf;
use thiserror::Error;

/// Result of a driver call.
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong. Errors of single pages are [`crate::PageResult`]s.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Configuration space does not describe this kind of device.
    #[error("configuration space {offset:#05x}: expected {what} ({expected:#x}), found {found:#x}; check that this is the right function")]
    Discovery {
        /// Offset in configuration space.
        offset: u16,
        /// What should be there.
        what: &'static str,
        /// Its value.
        expected: u32,
        /// The value found.
        found: u32,
    },
    /// An access to configuration space failed.
    #[error("configuration space {offset:#05x}: {source}")]
    Config {
        /// Offset in configuration space.
        offset: u16,
        /// The transport's reason.
        source: TransportError,
    },
    /// The device or its engine failed. The text names register, value and next step.
    #[error("{error}{}", because(.transport))]
    Device {
        /// What the driver's logic saw.
        error: core::Error,
        /// What the transport said before, if it had an error.
        #[source]
        transport: Option<TransportError>,
    },
    /// An access to memory failed.
    #[error("{what}: {source}")]
    Transport {
        /// What was tried.
        what: &'static str,
        /// The transport's reason.
        source: TransportError,
    },
    /// Device pages: none left, registered twice, foreign.
    #[error(transparent)]
    Pool(#[from] core::PoolError),
    /// An address or length is no multiple of what it must be.
    #[error("{what} {value:#x} is no multiple of {unit}; align it")]
    Unaligned {
        /// Which one.
        what: &'static str,
        /// Its value, bytes.
        value: u64,
        /// The unit, bytes.
        unit: u64,
    },
    /// A size is zero or more than there is.
    #[error("{what}: {wanted} bytes wanted, 1 to {limit} possible; use a smaller size")]
    Size {
        /// Which one.
        what: &'static str,
        /// Bytes wanted.
        wanted: u64,
        /// Bytes possible.
        limit: u64,
    },
    /// An option is out of range.
    #[error("{what}: {value} is not allowed, 1 to {limit} are; correct it")]
    Parameter {
        /// Which one.
        what: &'static str,
        /// Its value.
        value: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// A range ends beyond the region or buffer.
    #[error("range {start:#x}..{end:#x} is outside 0..{length:#x}; use a range inside")]
    Range {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
        /// Length of the region or buffer.
        length: u64,
    },
    /// The data of a host page is on the device now.
    #[error(
        "host page {bus:#x} is resident on the device (DPA {dpa:#x}); migrate it to the host first"
    )]
    OnDevice {
        /// Bus address.
        bus: u64,
        /// Where its data is.
        dpa: u64,
    },
    /// The device works on its own memory only.
    #[error("page {page} of the region is in host memory; migrate it to the device first")]
    OnHost {
        /// Index of the page.
        page: usize,
    },
    /// The device does not snoop.
    #[error(
        "the device's memory is host-only coherent; open the device with Options::device_coherent"
    )]
    HostOnly,
    /// A page is part of another operation, longer than the bound.
    #[error("page {page} is busy with another operation; retry")]
    Busy {
        /// Index of the page.
        page: usize,
    },
    /// A line is poisoned.
    #[error("poisoned line at DPA {dpa:#x}; its data is lost, write the whole line to clear it")]
    Poison {
        /// Device physical address.
        dpa: u64,
    },
    /// A page of a region could not be brought in; accesses to it are a SIGBUS.
    #[error("page {page} of the region could not be brought in: {reason}")]
    Fault {
        /// Index of the page.
        page: usize,
        /// Why.
        reason: String,
    },
    /// The device is still used.
    #[error("{pages} device pages are still registered by regions or buffers; close them first")]
    InUse {
        /// Pages.
        pages: u64,
    },
    /// Pages that could not be brought home.
    #[error(
        "{failed} of {pages} pages could not be brought home; the first: page {first}: {result}"
    )]
    Evict {
        /// Pages that failed.
        failed: usize,
        /// Pages tried.
        pages: usize,
        /// Index of the first that failed.
        first: usize,
        /// Why.
        result: crate::PageResult,
    },
    /// The device was closed.
    #[error("the device is closed; open it again")]
    Closed,
    /// The kernel does not let this process use userfaultfd.
    #[error("userfaultfd is not available ({call}: {source}): {advice}")]
    Userfaultfd {
        /// The call that failed.
        call: &'static str,
        /// The system's error.
        source: std::io::Error,
        /// What to change.
        advice: &'static str,
    },
    /// There is no such node.
    #[error("there is no {}: load the driver's module (insmod cxlmem.ko), or use a guest that has device and module (cxlmem vm run)", path.display())]
    NoNode {
        /// The node's path.
        path: PathBuf,
    },
    /// This user may not open the node.
    #[error("{} may not be opened by this user: it is root's, mode 0600; run as root, or have root change its owner", path.display())]
    NodePermission {
        /// The node's path.
        path: PathBuf,
    },
    /// A path that is something else.
    #[error("{} is not a cxlmem device: {reason}; /sys/class/cxlmem lists those that are there", path.display())]
    NotNode {
        /// The path.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// The module is of another version.
    #[error("{} has version {found} of the interface, this program knows {known}: build module and program from the same sources", path.display())]
    NodeVersion {
        /// The node's path.
        path: PathBuf,
        /// The module's version.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// The module was unbound from the device.
    #[error("the device behind {} is gone: it was unbound or removed; bind it and open the node again", path.display())]
    Gone {
        /// The node's path.
        path: PathBuf,
    },
    /// The device is being reset.
    #[error("the device behind {} is being reset; try again", path.display())]
    Resetting {
        /// The node's path.
        path: PathBuf,
    },
    /// The engine works on device memory only.
    #[error("a page of the memory is not on the device; migrate it there first")]
    OffDevice,
    /// A system call failed.
    #[error("{call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
}

fn because(transport: &Option<TransportError>) -> String {
    transport
        .as_ref()
        .map_or_else(String::new, |source| format!(" (transport: {source})"))
}

impl Error {
    /// The error of a system call, from `errno`.
    pub(crate) fn system(call: &'static str) -> Error {
        Error::System {
            call,
            source: std::io::Error::last_os_error(),
        }
    }
}
