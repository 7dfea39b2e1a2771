//! The user-space driver: a device's memory as coherent memory behind plain pointers, and pages that migrate to where they are used.
//!
//! [`Device`] finds and brings up a device behind any [`Transport`], moves host pages to the device and back with its engine, and runs the
//! engine's other commands. [`CoherentRegion`] is ordinary memory for unchanged code: its page faults are served through the coherent
//! protocol (userfaultfd), and its pages move between device and host while pointers stay valid.
//!
//! ```no_run
//! # fn transport() -> Box<dyn cxlmem_driver::Transport> { unreachable!() }
//! use cxlmem_driver::{CoherentRegion, Device, Options};
//! let device = Device::open_boxed(transport(), &Options::default())?;
//! let mut region = CoherentRegion::new(&device, 1 << 20)?;
//! region.as_mut_slice()[..5].copy_from_slice(b"hello"); // stores through the protocol
//! let moved = region.migrate_to_host(0..4096)?;          // the page's home is host memory now
//! assert!(moved.is_complete() && &region.as_slice()[..5] == b"hello");
//! region.close()?;
//! # Ok::<(), cxlmem_driver::Error>(())
//! ```
//!
//! With [`Options::device_coherent`] the device snoops: threads of the program and the engine work on the same page of a region at the same time
//! ([`CoherentRegion::share`]).
//!
//! On Linux with the module, [`devfile::DevFile`] is a device whose memory the kernel itself hands out: ordinary memory whose pages migrate.
//!
//! The logic itself (page pool, command ring, migrations, bounded waits) is `cxlmem-driver-core`, which the kernel module shares.

pub mod config;
pub mod devfile;
mod device;
mod error;
pub mod region;
pub mod transport;

pub use cxlmem_driver_core::{Error as CoreError, Limits, PoolError};
pub use device::{
    Device, DeviceBuffer, HostBuffer, HostPage, Info, Migration, OpResult, Operand, Options,
    PageResult, Stats,
};
pub use error::{Error, Result};
pub use region::{
    CloseReport, CoherentRegion, Mapped, Pager, RegionOptions, RegionStats, Residency,
    SharedRegion, Side,
};
pub use transport::{
    ChangedLine, HpaWindow, Intent, MsiMessage, PageHolder, Transport, TransportError,
};
