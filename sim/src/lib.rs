#![doc = include_str!("../README.md")]

pub mod blocks;
pub mod coherent;
pub mod dut;
pub mod ext;
pub mod home;
pub mod link;
pub mod pcie;
pub mod port;
pub mod rng;
pub mod sdram;
pub mod serial;
pub mod shared;
pub mod system;
pub mod workload;

/// Version of the Verilator that made the models, minor number in three digits, as its header has it: `5.006`.
pub const VERILATOR_VERSION: &str = env!("CXLMEM_VERILATOR_VERSION");

pub use dut::{Dut, DutError};
pub use home::{Done, HomeError, Op, Ticket};
pub use link::{Faults, WireFaults};
pub use system::{Access, Options, System, SystemError};
