//! Verilated blocks beside the controller: the tops of boards.

use crate::dut::{c_path, DutError, Model};
use std::path::Path;

include!(concat!(env!("OUT_DIR"), "/board.rs"));
