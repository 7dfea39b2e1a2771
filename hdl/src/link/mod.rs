//! The flit link: CRC, receive with rollover and commit-on-CRC queues, transmit with packing and credit return.
//!
//! Link-level retry sits between these blocks and the pins when it comes (`cxl-mem 3.9`); until then a flit with a bad CRC takes
//! the link down (`LinkStatus.up` = 0, error counted) until software re-enables it: after a lost flit the receiver can no longer
//! tell an all-data flit from a protocol flit, and executing data as requests would corrupt memory.

pub mod crc;
pub mod messages;
pub mod ndr;
pub mod rx;
pub mod tx;
