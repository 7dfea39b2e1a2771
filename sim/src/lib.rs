//! The Verilated controller and everything around it: the wire, the home agent and host caches, PCIe, memory back ends.

pub mod dut;

pub use dut::{Dut, DutError};
