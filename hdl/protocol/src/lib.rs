#![cfg_attr(not(feature = "std"), no_std)]
//! The single source of this project: CXL.mem-style messages, slots and flits, CRC, coherence rules, the register map and the
//! engine's descriptors.
//!
//! RTL, simulator, driver, documentation and C header all derive from this crate. It is `no_std`, allocates nothing, and every
//! function is total: an encoding it does not know is an error value that names the field. Section numbers such as
//! "cxl-mem 3.4" are those of the project's CXL.mem reference. The project claims no compliance with the CXL specification.

pub mod crc;
pub mod engine;
pub mod flit;
pub mod hdm;
pub mod hdm_db;
pub mod hdm_h;
pub mod identity;
pub mod msg;
pub mod pack;
pub mod regs;
pub mod retry;
pub mod serial;
