//! The Verilated top of a board as a line: its UART pins, bit by bit, with noise.

use super::{ByteLine, CYCLE_BYTES};
use crate::blocks::BoardModel;
use crate::dut::DutError;
use crate::rng::Rng;
use crate::sdram::{Chip, ChipPins};
use cxlmem_hdl::board::simulated;
use std::collections::VecDeque;
use std::io;

/// What the simulated board is made of: `RTL`, or `netlist` if this crate was built with `CXLMEM_BOARD_NETLIST`.
pub const SOURCE: &str = env!("CXLMEM_BOARD_SOURCE");

/// What the line does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Noise {
    /// Probability that a bit, start and stop bits included, is the other one.
    pub bit: f64,
    /// Probability that a byte is lost as a whole.
    pub lose: f64,
}

/// A byte on its way, bit by bit.
struct Sender {
    bits: u16,
    left: u32,
    cycles: u32,
}

/// The board, and the host's side of its UART.
pub struct BoardLine {
    board: BoardModel,
    chip: Option<Chip>,
    divisor: u32,
    noise: Noise,
    rng: Rng,
    queue: VecDeque<u8>,
    sender: Sender,
    /// Of the host's receiver: the bits so far, how many, cycles until the next look.
    got: u16,
    have: u32,
    wait: u32,
    tx_before: bool,
}

impl BoardLine {
    /// Powers the board up.
    ///
    /// # Errors
    /// [`DutError`].
    pub fn new(noise: Noise, seed: u64) -> Result<Self, DutError> {
        let mut board = BoardModel::new()?;
        board.set_uart_rx(true);
        board.set_reset(true);
        for _ in 0..8 {
            board.settle();
            board.edge();
        }
        board.set_reset(false);
        let options = simulated();
        Ok(Self {
            board,
            chip: options.sdram.map(|c| Chip::new(*c, options.clock_khz)),
            divisor: options.divisor.into(),
            noise,
            rng: Rng::new(seed),
            queue: VecDeque::new(),
            sender: Sender {
                bits: 1,
                left: 0,
                cycles: 0,
            },
            got: 0,
            have: 0,
            wait: 0,
            tx_before: true,
        })
    }

    /// Changes what the line does wrong.
    pub fn set_noise(&mut self, noise: Noise) {
        self.noise = noise;
    }

    /// Cycles of the board's clock since power-on.
    pub fn cycles(&self) -> u64 {
        self.board.cycles()
    }

    /// The light-emitting diodes.
    pub fn leds(&self) -> u8 {
        self.board.leds()
    }

    /// A cycle of the board's clock.
    fn clock(&mut self, received: &mut Vec<u8>) {
        if self.sender.left == 0 {
            if let Some(byte) = self.queue.pop_front() {
                if !self.rng.chance(self.noise.lose) {
                    self.sender = Sender {
                        bits: u16::from(byte) << 1 | 0x200,
                        left: 10,
                        cycles: 0,
                    };
                    self.flip_next();
                }
            }
        }
        let level = self.sender.left == 0 || self.sender.bits & 1 != 0;
        self.board.set_uart_rx(level);
        if self.sender.left > 0 {
            self.sender.cycles += 1;
            if self.sender.cycles == self.divisor {
                self.sender.cycles = 0;
                self.sender.bits >>= 1;
                self.sender.left -= 1;
                if self.sender.left > 0 {
                    self.flip_next();
                }
            }
        }
        self.board.settle();
        let tx = self.board.uart_tx();
        if let Some(chip) = &mut self.chip {
            let b = &self.board;
            let pins = ChipPins {
                cke: b.sdram_cke(),
                cs_n: b.sdram_cs_n(),
                command: u8::from(b.sdram_ras_n()) << 2
                    | u8::from(b.sdram_cas_n()) << 1
                    | u8::from(b.sdram_we_n()),
                ba: b.sdram_ba(),
                a: b.sdram_a(),
                dqm: b.sdram_dqm(),
                dq: b.sdram_dq_oe().then(|| b.sdram_dq_out()),
            };
            // What nobody drives is anything.
            let dq = chip.edge(pins).unwrap_or(0xDEAD_BEEF);
            self.board.set_sdram_dq_in(dq);
        }
        self.board.edge();
        if self.have == 0 {
            if self.tx_before && !tx {
                self.have = 1;
                // The middle of the first data bit.
                self.wait = self.divisor + self.divisor / 2;
            }
        } else {
            self.wait -= 1;
            if self.wait == 0 {
                self.wait = self.divisor;
                let bit = tx ^ self.rng.chance(self.noise.bit);
                self.got = self.got >> 1 | u16::from(bit) << 8;
                self.have += 1;
                if self.have == 10 {
                    self.have = 0;
                    let has_stop = self.got & 0x100 != 0;
                    if has_stop && !self.rng.chance(self.noise.lose) {
                        received.push(self.got as u8);
                    }
                }
            }
        }
        self.tx_before = tx;
    }

    fn flip_next(&mut self) {
        if self.rng.chance(self.noise.bit) {
            self.sender.bits ^= 1;
        }
    }
}

impl ByteLine for BoardLine {
    fn pass(&mut self, received: &mut Vec<u8>) -> io::Result<()> {
        for _ in 0..CYCLE_BYTES * 10 * self.divisor {
            self.clock(received);
        }
        let broken = self.chip.as_ref().and_then(|c| c.violations().first());
        broken.map_or(Ok(()), |rule| {
            Err(io::Error::other(format!(
                "the board broke a rule of its SDRAM: {rule}"
            )))
        })
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = (2 * CYCLE_BYTES as usize).saturating_sub(self.queue.len());
        let taken = bytes.len().min(room);
        self.queue.extend(&bytes[..taken]);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cxlmem_hdl::memory::sdram::CHIPS;

    fn run(clock_khz: u32) -> io::Result<()> {
        let mut line = BoardLine::new(Noise::default(), 1).unwrap();
        line.chip = Some(Chip::new(CHIPS[0], clock_khz));
        (0..400).try_for_each(|_| line.pass(&mut Vec::new()))
    }

    #[test]
    fn a_rule_of_the_sdram_that_is_broken_ends_the_line() {
        let right = simulated().clock_khz;
        run(right).unwrap();
        // A slower clock is a longer time between refreshes, a faster one a shorter set-up.
        for wrong in [right / 4, right * 2] {
            let e = run(wrong).unwrap_err().to_string();
            assert!(e.contains("broke a rule of its SDRAM"), "{e}");
        }
    }
}
