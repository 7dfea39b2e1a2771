#![doc = include_str!("../README.md")]

pub mod dut;
pub mod ext;
pub mod home;
pub mod link;
pub mod pcie;
pub mod rng;
pub mod system;
pub mod workload;

pub use dut::{Dut, DutError};
pub use home::{Done, HomeError, Op, Ticket};
pub use link::Faults;
pub use system::{Access, Options, System, SystemError};
