//! The driver's logic, without an operating system: device pages, the engine's command ring, migration of pages, bring-up.
//!
//! `no_std`, no allocation (tables live in storage that the caller provides), no `unsafe`, and every wait bounded. The surroundings
//! come in through four small traits ([`Mmio`], [`DmaMem`], [`Clock`], [`FlushHost`]); the user-space driver and the kernel module
//! implement them. Register offsets, descriptor layout and status codes are those of `cxlmem-protocol`.
//!
//! The order of use: [`bringup::bring_up`], [`Ring::start`], then [`PagePool`] and [`Migrator`].
#![no_std]
#![forbid(unsafe_code)]

pub mod bringup;
mod error;
mod io;
mod limits;
mod migrate;
mod policy;
mod pool;
mod ring;

pub use cxlmem_protocol::{engine, regs};
pub use error::Error;
pub use io::{Clock, DmaMem, Hw, IoError, Mmio, Wait};
pub use limits::Limits;
pub use migrate::{
    Direction, FlushHost, Migrator, PageMove, PageResult, Step, LIST_BYTES, LIST_PAGES,
};
pub use policy::{PageHistory, Policy, Rule};
pub use pool::{Extent, Holder, OwnerId, PagePool, PageSlot, PoolError};
pub use ring::{Ring, RingMemory};

/// Bytes of a page, on the host and on the device.
pub const PAGE_BYTES: u64 = engine::PAGE_BYTES;
/// Bytes of a line.
pub const LINE_BYTES: u64 = engine::LINE_BYTES;
