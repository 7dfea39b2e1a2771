//! The flit link: CRC, receive with rollover and commit-on-CRC queues, transmit with packing and credit return.
//!
//! `retry` makes it lossless (`cxl-mem 3.9`): a receiver that sees a damaged flit drops all that follows and asks for a replay.

pub mod answers;
pub mod crc;
pub mod messages;
pub mod ndr;
pub mod retry;
pub mod rx;
pub mod tx;

#[cfg(test)]
mod tests;
