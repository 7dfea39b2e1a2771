//! What the device does with a request: address decode, trackers, the request and write paths, and the directory.
//!
//! Host-coherent lines (HDM-H) go from the trackers to the memory port. Device-coherent ones (HDM-DB), and every access of the device
//! itself, go past `order`, the point of coherence.

pub mod db_rules;
pub mod directory;
pub mod hdm;
pub mod line_port;
pub mod local;
pub mod order;
pub mod reads;
pub mod rules;
pub mod snoops;
pub mod tracker;
pub mod writes;
