//! The host side of HDM-DB (device-coherent memory with back-invalidate), on the level of messages, and its checks.
//!
//! | Part | Where |
//! |---|---|
//! | Home agent: cores with private MESI caches, one request a line, snoops, conflict handshake | [`Agent`] |
//! | A device for tests: directory, memory, its own accesses; random legal orders, mutants | [`model_device`] |
//! | Is each message of the device one that the rules allow? | [`shadow`] |
//! | Agent, device and shadow together, cycle by cycle | [`mod@bench`] |
//! | Are the values that everybody saw those of one memory? | [`history`] |
//! | Litmus tests | [`litmus`] |
//! | Random workload, coverage, shrinking of a failing run | [`workload`], [`cover`], [`shrink`] |
//!
//! Every part talks to the others through [`Port`] and [`Endpoint`], which a model device and the Verilated controller both have.
//! The rules themselves are [`cxlmem_protocol::hdm_db`]; there is no second copy of them here.

mod agent;
pub mod bench;
mod cache;
mod copies;
pub mod cover;
pub mod cuts;
pub mod history;
pub mod litmus;
pub mod model_device;
mod op;
mod request;
mod reset;
pub mod rtl;
mod send;
pub mod shadow;
pub mod shrink;
mod snoop;
#[cfg(test)]
mod tests;
pub mod workload;

pub use agent::{Agent, AgentCounters, AgentOptions, Choices, Loss, LostLine, Ticket};
pub use op::{AgentError, CoreOp, Done};

use cxlmem_protocol::hdm_db::Dir;
use cxlmem_protocol::msg::{M2sBiRsp, M2sReq, M2sRwd, S2mBiSnp, S2mDrs, S2mNdr};

/// A line.
pub type Line = [u8; LINE as usize];

/// Bytes of a line.
pub const LINE: u64 = 64;

/// Where the agent's messages go. `send_*` is called only after `room_for_*` said true, once for each.
pub trait Port {
    /// True if a Req can be sent.
    fn room_for_req(&self) -> bool;
    /// True if a RwD can be sent. Must become true whatever happens to the Reqs that were sent before (cxl-mem 2.8).
    fn room_for_rwd(&self) -> bool;
    /// True if a BIRsp can be sent. Must become true whatever happens to everything else.
    fn room_for_birsp(&self) -> bool;
    /// Sends a request.
    fn send_req(&mut self, req: &M2sReq);
    /// Sends a request with data; `enables` (bit *n* = byte *n*) travel with MemWrPtl only.
    fn send_rwd(&mut self, header: &M2sRwd, data: &Line, enables: u64);
    /// Sends the answer to a snoop.
    fn send_birsp(&mut self, birsp: &M2sBiRsp);
}

/// What comes from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromDevice {
    /// A completion or a BI-ConflictAck.
    Ndr(S2mNdr),
    /// Read data.
    Drs(S2mDrs, Line),
    /// A back-invalidate snoop.
    BiSnp(S2mBiSnp),
}

/// What a user of the device's own port can ask for. Words are 8 bytes, little endian, aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceOp {
    /// Reads a line; the host may keep a shared copy.
    Load,
    /// Reads a line once; the host may keep what it has.
    LoadOnce,
    /// Writes the bytes whose enable is set.
    Store {
        /// The bytes, in their places.
        data: Line,
        /// Bit *n* = byte *n*.
        enables: u64,
    },
    /// Adds to a word, wrapping.
    FetchAdd {
        /// Which of the line's words, 0 to 7.
        word: u8,
        /// The summand.
        add: u64,
    },
    /// Replaces a word if it is as expected.
    CompareSwap {
        /// Which of the line's words, 0 to 7.
        word: u8,
        /// The value that it must have.
        expected: u64,
        /// The value that it gets.
        new: u64,
    },
}

/// Why an access of the device failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// The host did not answer the snoop in time, or kept more than it may.
    #[error("device access to line {0:#x}: the host did not give the line up; see the host's errors, or restart the link")]
    Snoop(u64),
    /// The line is poisoned.
    #[error("device access to line {0:#x}: the line is poisoned; write it whole")]
    Poison(u64),
    /// The device does not have the line.
    #[error("device access to line {0:#x}: beyond the device's memory")]
    Range(u64),
}

/// A device with its ports, as tests drive it. Time moves with [`Endpoint::step`] only.
pub trait Endpoint: Port {
    /// One cycle.
    fn step(&mut self);
    /// The next message for the host.
    fn receive(&mut self) -> Option<FromDevice>;
    /// Ports of its own that it offers. Each does one access at a time, in order.
    fn ports(&self) -> usize;
    /// Starts an access of a line (`address` in bytes, host physical); false if the port is busy.
    fn start(&mut self, port: usize, address: u64, op: DeviceOp) -> bool;
    /// The result of the port's access, once: the line as it was before the access (of an atomic, at least its word).
    fn finish(&mut self, port: usize) -> Option<Result<Line, DeviceError>>;
    /// The first thing that the host did against the rules, if the device says so.
    fn host_violation(&self) -> Option<String>;
    /// What its directory records of the line at `address` now; `None` if it does not show that. Only coverage asks.
    fn recorded(&self, address: u64) -> Option<Dir> {
        let _ = address;
        None
    }
}

impl<E: Port> Port for &mut E {
    fn room_for_req(&self) -> bool {
        (**self).room_for_req()
    }
    fn room_for_rwd(&self) -> bool {
        (**self).room_for_rwd()
    }
    fn room_for_birsp(&self) -> bool {
        (**self).room_for_birsp()
    }
    fn send_req(&mut self, req: &M2sReq) {
        (**self).send_req(req);
    }
    fn send_rwd(&mut self, header: &M2sRwd, data: &Line, enables: u64) {
        (**self).send_rwd(header, data, enables);
    }
    fn send_birsp(&mut self, birsp: &M2sBiRsp) {
        (**self).send_birsp(birsp);
    }
}

/// A device that is looked at afterwards.
impl<E: Endpoint> Endpoint for &mut E {
    fn step(&mut self) {
        (**self).step();
    }
    fn receive(&mut self) -> Option<FromDevice> {
        (**self).receive()
    }
    fn ports(&self) -> usize {
        (**self).ports()
    }
    fn start(&mut self, port: usize, address: u64, op: DeviceOp) -> bool {
        (**self).start(port, address, op)
    }
    fn finish(&mut self, port: usize) -> Option<Result<Line, DeviceError>> {
        (**self).finish(port)
    }
    fn host_violation(&self) -> Option<String> {
        (**self).host_violation()
    }
    fn recorded(&self, address: u64) -> Option<Dir> {
        (**self).recorded(address)
    }
}

/// Word `n` (0 to 7) of a line.
pub(crate) fn word(line: &Line, n: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&line[(n & 7) * 8..][..8]);
    u64::from_le_bytes(bytes)
}

/// Sets word `n` (0 to 7) of a line.
pub(crate) fn set_word(line: &mut Line, n: usize, value: u64) {
    line[(n & 7) * 8..][..8].copy_from_slice(&value.to_le_bytes());
}
