//! Verilated blocks beside the controller: the top of a board, controllers of SDRAM.

use crate::dut::{c_path, wide, words, DutError, Model};
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/board.rs"));

include!(concat!(env!("OUT_DIR"), "/sdram16.rs"));

include!(concat!(env!("OUT_DIR"), "/sdram32.rs"));
