//! The controller on a board: behind the pins of a UART.

use crate::config::{Backend, Config, BOARD_CONFIGS};
use crate::memory::sdram::{Sdram, SdramChip, SdramError, SdramTiming, CHIPS};
use crate::prim::Param;
use crate::serial::uart::{UartRx, UartTx};
use crate::serial::{SerialLink, TLP_ROOM};
use crate::top::Top;
use crate::EmitError;
use cxlmem_protocol::serial::{Hello, VERSION, WIRE_MAX};
use rust_hdl::prelude::*;

/// What a board chooses, beside the controller's configuration.
#[derive(Clone, Copy, Debug)]
pub struct BoardOptions {
    /// The controller.
    pub config: &'static Config,
    /// Its clock, kHz.
    pub clock_khz: u32,
    /// Clock cycles in a bit of the line.
    pub divisor: u16,
    /// Time that the host's end may take to answer, µs: the latency of USB and of its processes.
    pub answer_us: u32,
    /// The SDRAM that is the device's memory, or `None` for block RAM.
    pub sdram: Option<&'static SdramChip>,
}

/// A board's memory does not fit its configuration.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum BadMemory {
    /// A chip and a configuration of block RAM, or no chip.
    #[error("configuration {config} {has}, and the board {gives}: choose another configuration, or other pins of memory")]
    Backend {
        /// The configuration.
        config: &'static str,
        /// What it needs.
        has: &'static str,
        /// What there is.
        gives: &'static str,
    },
    /// The capacity is another.
    #[error("configuration {config} has {want} MiB, and {chip} holds {holds}: choose another configuration")]
    Capacity {
        /// The configuration.
        config: &'static str,
        /// Its capacity.
        want: u64,
        /// The chip.
        chip: &'static str,
        /// Its capacity.
        holds: u64,
    },
    /// The clock does not suit the chip.
    #[error(transparent)]
    Clock(#[from] SdramError),
}

/// The line's rate cannot be made from the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{baud} baud cannot be made from {clock_khz} kHz: the nearest is {nearest}, and both ends may differ by 2 % at most; choose a rate that divides the clock")]
pub struct BadRate {
    baud: u32,
    clock_khz: u32,
    nearest: u32,
}

/// Clock cycles in a bit.
///
/// # Errors
/// [`BadRate`] if that is less than four, or off by more than 2 %.
pub fn divisor(clock_khz: u32, baud: u32) -> Result<u16, BadRate> {
    let clock = u64::from(clock_khz) * 1000;
    let cycles = (clock + u64::from(baud) / 2) / u64::from(baud.max(1));
    let nearest = clock / cycles.max(1);
    let bad = BadRate {
        baud,
        clock_khz,
        nearest: nearest as u32,
    };
    if nearest.abs_diff(baud.into()) * 50 > u64::from(baud) || cycles < 4 {
        return Err(bad);
    }
    u16::try_from(cycles).map_err(|_| bad)
}

/// The board that simulations run: a ULX3S, but for the line, of four cycles a bit.
pub fn simulated() -> BoardOptions {
    BoardOptions {
        config: &BOARD_CONFIGS[0],
        clock_khz: 50_000,
        divisor: 4,
        answer_us: 2_000,
        sdram: Some(&CHIPS[0]),
    }
}

impl BoardOptions {
    /// Cycles without progress after which frames are sent again: a full window, there and back, and the host.
    pub fn patience(&self) -> u32 {
        let byte = 10 * u32::from(self.divisor);
        let window = WIRE_MAX as u32 * u32::from(cxlmem_protocol::serial::arq::WINDOW) * byte;
        let answer = u64::from(self.clock_khz) * u64::from(self.answer_us) / 1000;
        window.saturating_add(answer as u32)
    }

    /// The memory's times at the board's clock, or `None` for block RAM.
    ///
    /// # Errors
    /// [`BadMemory`].
    pub fn memory(&self) -> Result<Option<SdramTiming>, BadMemory> {
        let config = self.config.name;
        match (self.config.backend, self.sdram) {
            (Backend::Block, None) => Ok(None),
            (Backend::External, None) => Err(BadMemory::Backend {
                config,
                has: "needs memory outside",
                gives: "uses none",
            }),
            (Backend::Block, Some(_)) => Err(BadMemory::Backend {
                config,
                has: "has block RAM",
                gives: "gives pins of an SDRAM",
            }),
            (Backend::External, Some(chip)) if chip.line_bits() != self.config.line_bits as u32 => {
                Err(BadMemory::Capacity {
                    config,
                    want: self.config.capacity() >> 20,
                    chip: chip.name,
                    holds: 64 << chip.line_bits() >> 20,
                })
            }
            (Backend::External, Some(chip)) => Ok(Some(chip.timing(self.clock_khz)?)),
        }
    }

    fn hello(&self) -> Hello {
        Hello {
            version: VERSION,
            config: self.config.id as u8,
            tlp_room: TLP_ROOM,
            clock_khz: self.clock_khz,
            divisor: self.divisor,
        }
    }
}

/// The board's top: one with block RAM leaves the pins of the SDRAM open, and synthesis leaves out what is behind them.
/// Light-emitting diodes: 0 the host has been here, 1 the flit link is enabled, 2 and 3 change with each byte from and to the host, 7 blinks.
#[derive(LogicBlock, Default)]
pub struct BoardTop {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub uart_rx: Signal<In, Bit>,
    pub uart_tx: Signal<Out, Bit>,
    pub leds: Signal<Out, Bits<8>>,
    // SDRAM: what it sees at an edge of its clock, which is between two of ours
    pub sdram_cke: Signal<Out, Bit>,
    pub sdram_cs_n: Signal<Out, Bit>,
    pub sdram_ras_n: Signal<Out, Bit>,
    pub sdram_cas_n: Signal<Out, Bit>,
    pub sdram_we_n: Signal<Out, Bit>,
    pub sdram_ba: Signal<Out, Bits<2>>,
    pub sdram_a: Signal<Out, Bits<13>>,
    pub sdram_dqm: Signal<Out, Bits<4>>,
    pub sdram_dq_out: Signal<Out, Bits<32>>,
    pub sdram_dq_oe: Signal<Out, Bit>,
    pub sdram_dq_in: Signal<In, Bits<32>>,
    uart_in: UartRx,
    uart_out: UartTx,
    link: SerialLink,
    core: Top,
    sdram: Sdram,
    in_seen: DFF<Bit>,
    out_seen: DFF<Bit>,
    blink: DFF<Bits<25>>,
    zero: Param<Bits<64>>,
}

impl BoardTop {
    /// With the memory's times from [`BoardOptions::memory`].
    pub fn new(options: &BoardOptions, memory: Option<&SdramTiming>) -> Self {
        Self {
            uart_in: UartRx::new(options.divisor),
            uart_out: UartTx::new(options.divisor),
            link: SerialLink::new(options.hello(), options.patience()),
            core: Top::new(options.config),
            sdram: match memory {
                Some(times) => Sdram::new(times, options.config.line_bits),
                // Nobody asks it for anything, and synthesis leaves it out.
                None => Sdram::new(&SdramTiming::SHORTEST, 1),
            },
            ..Default::default()
        }
    }
}

/// A board's Verilog is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum BoardError {
    /// Its memory does not fit.
    #[error(transparent)]
    Memory(#[from] BadMemory),
    /// rust-hdl refuses it.
    #[error(transparent)]
    Emit(#[from] EmitError),
    /// The thread that emits it was not to be had.
    #[error("no thread to emit the board's Verilog: {0}; free memory, and try again")]
    Thread(#[from] std::io::Error),
}

/// The Verilog of a board's top.
///
/// # Errors
/// [`BoardError`].
pub fn verilog(options: &BoardOptions) -> Result<String, BoardError> {
    // The design is a value of a third of a MiB that is moved several times: too much for the stack of a test's thread.
    const STACK: usize = 32 << 20;
    let memory = options.memory()?;
    std::thread::scope(|scope| {
        let emit = || crate::emit_block(BoardTop::new(options, memory.as_ref()));
        let thread = std::thread::Builder::new().stack_size(STACK);
        match thread.spawn_scoped(scope, emit)?.join() {
            Ok(text) => Ok(text?),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

impl Logic for BoardTop {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, in_seen, out_seen, blink);
        self.uart_in.clock.next = self.clock.val();
        self.uart_out.clock.next = self.clock.val();
        self.link.clock.next = self.clock.val();
        self.core.clock.next = self.clock.val();
        self.sdram.clock.next = self.clock.val();
        self.uart_in.reset.next = self.reset.val();
        self.uart_out.reset.next = self.reset.val();
        self.link.reset.next = self.reset.val();
        self.core.reset.next = self.reset.val() | self.link.core_reset.val();

        self.uart_in.rx.next = self.uart_rx.val();
        self.link.in_valid.next = self.uart_in.valid.val();
        self.link.in_data.next = self.uart_in.data.val();
        self.uart_out.valid.next = self.link.out_valid.val();
        self.uart_out.data.next = self.link.out_data.val();
        self.link.out_ready.next = self.uart_out.ready.val();
        self.uart_tx.next = self.uart_out.tx.val();

        self.core.rx_valid.next = self.link.rx_valid.val();
        self.core.rx_slot.next = self.link.rx_slot.val();
        self.core.rx_sof.next = self.link.rx_sof.val();
        self.core.rx_crc.next = self.link.rx_crc.val();
        self.core.tlp_rx_valid.next = self.link.tlp_rx_valid.val();
        self.core.tlp_rx_data.next = self.link.tlp_rx_data.val();
        self.core.tlp_rx_last.next = self.link.tlp_rx_last.val();
        self.link.tlp_rx_ready.next = self.core.tlp_rx_ready.val();
        self.core.cfg_bdf.next = self.link.cfg_bdf.val();
        self.core.cfg_bme.next = self.link.cfg_bme.val();
        self.core.cfg_msix_en.next = self.link.cfg_msix_en.val();
        self.core.cfg_msix_mask.next = self.link.cfg_msix_mask.val();
        self.core.phy_down.next = self.link.phy_down.val();
        self.link.tx_valid.next = self.core.tx_valid.val();
        self.link.tx_slot.next = self.core.tx_slot.val();
        self.link.tx_sof.next = self.core.tx_sof.val();
        self.link.tx_crc.next = self.core.tx_crc.val();
        self.core.tx_ready.next = self.link.tx_ready.val();
        self.link.tlp_tx_valid.next = self.core.tlp_tx_valid.val();
        self.link.tlp_tx_data.next = self.core.tlp_tx_data.val();
        self.link.tlp_tx_last.next = self.core.tlp_tx_last.val();
        self.core.tlp_tx_ready.next = self.link.tlp_tx_ready.val();
        self.link.link_enabled.next = self.core.link_enabled.val();
        self.link.phy_reinit.next = self.core.phy_reinit.val();

        // Memory. A reset that comes over the line is none of its own: what it has begun is done before the controller is back.
        self.sdram.reset.next = self.reset.val();
        self.sdram.rd_valid.next = self.core.ext_rd_valid.val();
        self.sdram.rd_line.next = self.core.ext_rd_line.val();
        self.sdram.rd_nodata.next = self.core.ext_rd_nodata.val();
        self.sdram.rd_meta_we.next = self.core.ext_rd_meta_we.val();
        self.sdram.rd_meta.next = self.core.ext_rd_meta.val();
        self.core.ext_rd_ready.next = self.sdram.rd_ready.val();
        self.core.ext_rsp_valid.next = self.sdram.rsp_valid.val();
        self.core.ext_rsp_idx.next = self.sdram.rsp_idx.val();
        self.core.ext_rsp_data.next = self.sdram.rsp_data.val();
        self.core.ext_rsp_poison.next = self.sdram.rsp_poison.val();
        self.core.ext_rsp_meta.next = self.sdram.rsp_meta.val();
        self.sdram.wr_valid.next = self.core.ext_wr_valid.val();
        self.sdram.wr_line.next = self.core.ext_wr_line.val();
        self.sdram.wr_idx.next = self.core.ext_wr_idx.val();
        self.sdram.wr_data.next = self.core.ext_wr_data.val();
        self.sdram.wr_be.next = self.core.ext_wr_be.val();
        self.sdram.wr_poison_we.next = self.core.ext_wr_poison_we.val();
        self.sdram.wr_poison.next = self.core.ext_wr_poison.val();
        self.sdram.wr_meta_we.next = self.core.ext_wr_meta_we.val();
        self.sdram.wr_meta.next = self.core.ext_wr_meta.val();
        self.core.ext_wr_ready.next = self.sdram.wr_ready.val();
        self.sdram_cke.next = self.sdram.cke.val();
        self.sdram_cs_n.next = self.sdram.cs_n.val();
        self.sdram_ras_n.next = self.sdram.ras_n.val();
        self.sdram_cas_n.next = self.sdram.cas_n.val();
        self.sdram_we_n.next = self.sdram.we_n.val();
        self.sdram_ba.next = self.sdram.ba.val();
        self.sdram_a.next = self.sdram.a.val();
        self.sdram_dqm.next = self.sdram.dqm.val();
        self.sdram_dq_out.next = self.sdram.dq_out.val();
        self.sdram_dq_oe.next = self.sdram.dq_oe.val();
        self.sdram.dq_in.next = self.sdram_dq_in.val();

        // No accelerator.
        self.core.lp_valid.next = false;
        self.core.lp_op.next = 0.into();
        self.core.lp_line.next = 0.into();
        self.core.lp_word.next = 0.into();
        self.core.lp_operand.next = self.zero.val();
        self.core.lp_swap.next = self.zero.val();
        self.core.lp_data_valid.next = false;
        self.core.lp_data.next = bit_cast::<128, 64>(self.zero.val());
        self.core.lp_data_be.next = 0.into();
        self.core.lp_out_ready.next = false;

        self.blink.d.next = self.blink.q.val() + 1;
        if self.uart_in.valid.val() {
            self.in_seen.d.next = !self.in_seen.q.val();
        }
        if self.link.out_valid.val() & self.uart_out.ready.val() {
            self.out_seen.d.next = !self.out_seen.q.val();
        }
        self.leds.next = bit_cast::<8, 1>(self.link.linked.val().into())
            | (bit_cast::<8, 1>(self.core.link_enabled.val().into()) << 1)
            | (bit_cast::<8, 1>(self.in_seen.q.val().into()) << 2)
            | (bit_cast::<8, 1>(self.out_seen.q.val().into()) << 3)
            | (bit_cast::<8, 1>(self.blink.q.val().get_bit(24).into()) << 7);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_emitted() {
        let text = verilog(&simulated()).unwrap();
        assert!(text.contains("uart_tx"));
    }

    #[test]
    fn memory_that_does_not_fit() {
        let refused = |change: fn(&mut BoardOptions)| {
            let mut options = simulated();
            change(&mut options);
            options.memory().unwrap_err().to_string()
        };
        let e = refused(|o| o.sdram = None);
        assert!(e.contains("needs memory outside"), "{e}");
        let e = refused(|o| o.config = &Config::all()[0]);
        assert!(e.contains("tiny has block RAM"), "{e}");
        let e = refused(|o| o.sdram = Some(&CHIPS[1]));
        assert!(
            e.contains("32 MiB") && e.contains("M12L64322A holds 8"),
            "{e}"
        );
        let e = refused(|o| o.clock_khz = 140_000);
        assert!(e.contains("at most 133000 kHz"), "{e}");
    }

    #[test]
    fn rates_that_the_clock_gives_and_others() {
        assert_eq!(divisor(60_000, 3_000_000), Ok(20));
        assert_eq!(divisor(66_000, 3_000_000), Ok(22));
        assert_eq!(divisor(24_000, 115_200), Ok(208));
        assert_eq!(divisor(12_000, 3_000_000), Ok(4));
        assert!(divisor(10_000, 3_000_000).is_err());
        let e = divisor(25_000, 3_000_000).unwrap_err().to_string();
        assert!(e.contains("3125000"), "{e}");
        assert!(divisor(60_000, 300).is_err());
    }
}
