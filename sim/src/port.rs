//! The accelerator beside the controller: loads, stores and atomics through the line port's pins (`interfaces.md`).

use crate::dut::Dut;
use crate::home::golden::Line;
use std::collections::VecDeque;

/// What the host may keep of a line that the device loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// Whatever it has.
    All,
    /// A shared copy.
    Shared,
    /// Nothing.
    Nothing,
}

/// An operation on a line of the device's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortOp {
    /// Reads the line.
    Load(Keep),
    /// Writes the bytes whose bit is set (bit *n* = byte *n*).
    Store(Line, u64),
    /// Adds to 64-bit word `word` (0 to 7) and returns what it was.
    FetchAdd {
        /// Which.
        word: u8,
        /// Summand.
        add: u64,
    },
    /// Puts `swap` into word `word` if it is `compare`; returns what it was.
    CompareSwap {
        /// Which.
        word: u8,
        /// Expected.
        compare: u64,
        /// New.
        swap: u64,
    },
}

/// Why an operation was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The line is poisoned: a load's data means nothing, an atomic was not done.
    #[error("the line is poisoned: overwrite all of it")]
    Poison,
    /// The host did not give the line up in time, or there is no link.
    #[error("the host did not give the line up: see SnoopFailures and the state of the link")]
    NotReleased,
    /// Beyond the memory.
    #[error("no such line: see CapacityLo")]
    BadLine,
}

/// What came of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortDone {
    /// A load's line; of an atomic, what its word was, in the first 8 bytes.
    pub data: Line,
    /// Whether it was done.
    pub result: Result<(), PortError>,
    /// Cycle in which the port took it.
    pub started: u64,
    /// Cycle of the last beat of its outcome.
    pub finished: u64,
}

struct Running {
    started: u64,
    beats_sent: usize,
    beats_got: usize,
    data: Line,
}

/// Drives the port: operations are done in the order given, one at a time.
#[derive(Default)]
pub struct DevicePort {
    waiting: VecDeque<(u64, PortOp)>,
    running: Option<Running>,
    done: VecDeque<PortDone>,
}

impl DevicePort {
    /// Adds an operation on line number `line`.
    pub fn issue(&mut self, line: u64, op: PortOp) {
        self.waiting.push_back((line, op));
    }

    /// The next outcome, in order.
    pub fn poll(&mut self) -> Option<PortDone> {
        self.done.pop_front()
    }

    /// Operations without outcome.
    pub fn open(&self) -> usize {
        self.waiting.len()
    }

    /// Forgets everything: the controller was reset.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.running = None;
        self.done.clear();
    }

    /// The pins of this cycle.
    #[inline]
    pub(crate) fn drive(&mut self, dut: &mut Dut) {
        let Some((line, op)) = self.waiting.front() else {
            dut.set_lp_valid(false);
            return;
        };
        dut.set_lp_out_ready(true);
        dut.set_lp_valid(self.running.is_none());
        dut.set_lp_line(*line as u32 & 0x3FF_FFFF);
        let (code, word, operand, swap) = match op {
            PortOp::Load(Keep::All) => (0, 0, 0, 0),
            PortOp::Load(Keep::Shared) => (1, 0, 0, 0),
            PortOp::Load(Keep::Nothing) => (2, 0, 0, 0),
            PortOp::Store(..) => (3, 0, 0, 0),
            PortOp::FetchAdd { word, add } => (4, *word, *add, 0),
            PortOp::CompareSwap {
                word,
                compare,
                swap,
            } => (5, *word, *compare, *swap),
        };
        dut.set_lp_op(code);
        dut.set_lp_word(word & 7);
        dut.set_lp_operand(operand);
        dut.set_lp_swap(swap);
        let beat = self.running.as_ref().map_or(4, |r| r.beats_sent);
        match op {
            PortOp::Store(data, enables) if beat < 4 => {
                let mut bytes = [0; 16];
                bytes.copy_from_slice(&data[beat * 16..][..16]);
                dut.set_lp_data_valid(true);
                dut.set_lp_data(u128::from_le_bytes(bytes));
                dut.set_lp_data_be((enables >> (16 * beat)) as u16);
            }
            _ => dut.set_lp_data_valid(false),
        }
    }

    /// What the pins say in this cycle.
    #[inline]
    pub(crate) fn sample(&mut self, now: u64, dut: &Dut) {
        let Some((_, op)) = self.waiting.front() else {
            return;
        };
        let Some(running) = &mut self.running else {
            if dut.lp_ready() {
                self.running = Some(Running {
                    started: now,
                    beats_sent: if matches!(op, PortOp::Store(..)) {
                        0
                    } else {
                        4
                    },
                    beats_got: 0,
                    data: [0; 64],
                });
            }
            return;
        };
        if running.beats_sent < 4 && dut.lp_data_ready() {
            running.beats_sent += 1;
        }
        if !dut.lp_out_valid() {
            return;
        }
        let at = running.beats_got.min(3) * 16;
        running.data[at..at + 16].copy_from_slice(&dut.lp_out_data().to_le_bytes());
        running.beats_got += 1;
        if dut.lp_out_last() {
            self.done.push_back(PortDone {
                data: running.data,
                result: match dut.lp_out_status() {
                    0 => Ok(()),
                    1 => Err(PortError::Poison),
                    2 => Err(PortError::NotReleased),
                    _ => Err(PortError::BadLine),
                },
                started: running.started,
                finished: now,
            });
            self.running = None;
            self.waiting.pop_front();
        }
    }
}
