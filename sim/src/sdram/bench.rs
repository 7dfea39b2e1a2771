//! The Verilated controller in front of the chip: a cycle at a time, and how fast it is.

use super::{Chip, ChipPins};
use crate::blocks::{Sdram16, Sdram32};
use crate::dut::DutError;
use cxlmem_hdl::memory::sdram::{SdramChip, CHIPS, SDRAM16_KHZ, SDRAM32_KHZ};

/// A request of the memory port.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// A line.
    Read {
        /// Its number.
        line: u32,
        /// Its metadata alone.
        nodata: bool,
        /// Metadata to store.
        meta: Option<u8>,
    },
    /// A quarter of a line.
    Write {
        /// Its number.
        line: u32,
        /// Which quarter.
        idx: u8,
        /// Data.
        data: u128,
        /// Bytes of it to write.
        be: u16,
        /// Poison to store.
        poison: Option<bool>,
        /// Metadata to store.
        meta: Option<u8>,
    },
}

/// Answer beats: cycle, index, data, poison, metadata.
pub type Beat = (u64, u8, u128, bool, u8);

/// The controller with its chip.
pub trait Memory {
    /// A cycle with requests at the port; whether each was taken, and the answer.
    fn cycle(&mut self, read: Option<Ask>, write: Option<Ask>) -> (bool, bool, Option<Beat>);
    /// The chip.
    fn chip(&self) -> &Chip;
    /// Cycles so far.
    fn now(&self) -> u64;
}

/// A controller and a chip.
pub struct Bench<M> {
    model: M,
    chip: Chip,
}

macro_rules! memory {
    ($model:ident) => {
        impl Bench<$model> {
            /// The controller just reset, the chip just switched on, with that clock.
            ///
            /// # Errors
            /// [`DutError`].
            pub fn new(chip: SdramChip, khz: u32) -> Result<Self, DutError> {
                let mut model = $model::new()?;
                model.set_reset(true);
                for _ in 0..4 {
                    model.settle();
                    model.edge();
                }
                model.set_reset(false);
                Ok(Bench {
                    model,
                    chip: Chip::new(chip, khz),
                })
            }
        }

        impl Memory for Bench<$model> {
            fn cycle(
                &mut self,
                read: Option<Ask>,
                write: Option<Ask>,
            ) -> (bool, bool, Option<Beat>) {
                let m = &mut self.model;
                m.set_rd_valid(read.is_some());
                if let Some(Ask::Read { line, nodata, meta }) = read {
                    m.set_rd_line(line);
                    m.set_rd_nodata(nodata);
                    m.set_rd_meta_we(meta.is_some());
                    m.set_rd_meta(meta.unwrap_or(0));
                }
                m.set_wr_valid(write.is_some());
                if let Some(Ask::Write {
                    line,
                    idx,
                    data,
                    be,
                    poison,
                    meta,
                }) = write
                {
                    m.set_wr_line(line);
                    m.set_wr_idx(idx);
                    m.set_wr_data(data);
                    m.set_wr_be(be);
                    m.set_wr_poison_we(poison.is_some());
                    m.set_wr_poison(poison.unwrap_or(false));
                    m.set_wr_meta_we(meta.is_some());
                    m.set_wr_meta(meta.unwrap_or(0));
                }
                m.settle();
                let taken = (
                    read.is_some() && m.rd_ready(),
                    write.is_some() && m.wr_ready(),
                );
                let beat = m.rsp_valid().then(|| {
                    (
                        m.cycles(),
                        m.rsp_idx(),
                        m.rsp_data(),
                        m.rsp_poison(),
                        m.rsp_meta(),
                    )
                });
                let pins = ChipPins {
                    cke: m.cke(),
                    cs_n: m.cs_n(),
                    command: u8::from(m.ras_n()) << 2
                        | u8::from(m.cas_n()) << 1
                        | u8::from(m.we_n()),
                    ba: m.ba(),
                    a: m.a(),
                    dqm: m.dqm(),
                    dq: m.dq_oe().then(|| m.dq_out()),
                };
                // What nobody drives is anything.
                let dq = self.chip.edge(pins).unwrap_or(0xDEAD_BEEF);
                m.set_dq_in(dq);
                m.edge();
                (taken.0, taken.1, beat)
            }

            fn chip(&self) -> &Chip {
                &self.chip
            }

            fn now(&self) -> u64 {
                self.model.cycles()
            }
        }
    };
}

memory!(Sdram16);
memory!(Sdram32);

/// Cycles from that in which a read is taken to its first and last beat.
fn latency(m: &mut impl Memory, line: u32) -> Option<(u64, u64)> {
    let ask = Ask::Read {
        line,
        nodata: false,
        meta: None,
    };
    let (mut taken, mut beats) = (None, Vec::new());
    for _ in 0..20_000 {
        let now = m.now();
        let (took, _, beat) = m.cycle(taken.is_none().then_some(ask), None);
        if took {
            taken = Some(now);
        }
        beats.extend(beat.map(|b| b.0));
        if beats.len() == 4 {
            break;
        }
    }
    let taken = taken?;
    Some((beats.first()? - taken, beats.get(3)? - taken))
}

/// Bytes a cycle of reads one after the other, against what the pins carry.
fn sustained(m: &mut impl Memory, bytes: f64) -> f64 {
    let (mut line, mut beats, mut start) = (0, 0u64, 0);
    let lines = 2_000;
    while beats < 4 * u64::from(lines) && m.now() < 1_000_000 {
        let ask = Ask::Read {
            line,
            nodata: false,
            meta: None,
        };
        let (took, _, beat) = m.cycle((line < lines).then_some(ask), None);
        line += u32::from(took);
        if let Some((cycle, ..)) = beat {
            if beats == 0 {
                start = cycle;
            }
            beats += 1;
        }
    }
    (beats - 1) as f64 * 16.0 / ((m.now() - start) as f64 * bytes)
}

/// How fast the controllers are, in cycles of their clocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SdramFigures {
    /// From the cycle in which a read is taken to the first word of its data in the controller, row open; 16 bits.
    pub row_hit: u64,
    /// The same with the bank closed.
    pub closed_bank: u64,
    /// To the last word of the line, row open.
    pub last_word: u64,
    /// Reads one after the other, of what the pins carry; 16 bits.
    pub share_16: f64,
    /// 32 bits.
    pub share_32: f64,
    /// Commands against the chip's rules.
    pub violations: usize,
}

/// Measures both controllers.
///
/// # Errors
/// [`DutError`].
pub fn figures() -> Result<SdramFigures, DutError> {
    let mut m = Bench::<Sdram16>::new(CHIPS[0], SDRAM16_KHZ)?;
    let mut wide = Bench::<Sdram32>::new(CHIPS[1], SDRAM32_KHZ)?;
    // No answer at all is a very late one.
    let mut latency = |line| latency(&mut m, line).unwrap_or((u64::MAX, u64::MAX));
    latency(0);
    let hit = latency(1);
    // The next bank, which nobody has opened.
    let closed = latency(16);
    // A beat is given a cycle after its last word, and its first one came seven before that.
    let (whole, words) = (1, 7);
    let share_16 = sustained(&mut m, 2.0);
    let share_32 = sustained(&mut wide, 4.0);
    Ok(SdramFigures {
        row_hit: hit.0 - whole - words,
        closed_bank: closed.0 - whole - words,
        last_word: hit.1 - whole,
        share_16,
        share_32,
        violations: m.chip().violations().len() + wide.chip().violations().len(),
    })
}
