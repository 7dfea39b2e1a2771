//! What the device does with a request: address decode, trackers, and the HDM-H request and write paths.
//!
//! The directory and back-invalidate (HDM-DB) come between the trackers and the memory port; here every line is host-coherent.

pub mod hdm;
pub mod reads;
pub mod rules;
pub mod tracker;
pub mod writes;
