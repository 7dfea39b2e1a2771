//! A controller of single-data-rate SDRAM behind the memory port (`docs/developer/interfaces.md` section 3).
//!
//! A beat of the port, 16 bytes, is one burst of the chip: eight words of 16 bits, or four of 32. Beats of consecutive lines fill a row of a bank (64
//! beats), then the same row of the next bank, so that the next row is opened while this one is read. Reads and writes pass in the order
//! in which they were taken. Poison and metadata are in a table of block RAM.

mod bank;
mod chip;

use crate::prim::{BlockRam, Fifo, Param};
use bank::{less_one, Bank};
pub use chip::{SdramChip, SdramError, SdramTiming, CHIPS, SDRAM16_KHZ, SDRAM32_KHZ};
use rust_hdl::prelude::*;
#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    /// Power and clock become stable.
    PowerUp,
    PrechargeFirst,
    RefreshFirst,
    RefreshSecond,
    Mode,
    Run,
    /// A refresh is due: what is open is closed as soon as it may be.
    CloseAll,
    Refresh,
}

/// A read that was taken.
#[derive(Copy, Clone, Debug, Default, PartialEq, LogicStruct)]
pub struct Pending {
    pub nodata: Bit,
    pub poison: Bit,
    pub meta: Bits<2>,
}

/// The controller. On its right side everything is registered; the chip's clock is the controller's, turned round so that it sees what is stable.
#[derive(LogicBlock, Default)]
pub struct Sdram {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // memory port
    pub rd_valid: Signal<In, Bit>,
    pub rd_ready: Signal<Out, Bit>,
    pub rd_line: Signal<In, Bits<26>>,
    pub rd_nodata: Signal<In, Bit>,
    pub rd_meta_we: Signal<In, Bit>,
    pub rd_meta: Signal<In, Bits<2>>,
    pub rsp_valid: Signal<Out, Bit>,
    pub rsp_idx: Signal<Out, Bits<2>>,
    pub rsp_data: Signal<Out, Bits<128>>,
    pub rsp_poison: Signal<Out, Bit>,
    pub rsp_meta: Signal<Out, Bits<2>>,
    pub wr_valid: Signal<In, Bit>,
    pub wr_ready: Signal<Out, Bit>,
    pub wr_line: Signal<In, Bits<26>>,
    pub wr_idx: Signal<In, Bits<2>>,
    pub wr_data: Signal<In, Bits<128>>,
    pub wr_be: Signal<In, Bits<16>>,
    pub wr_poison_we: Signal<In, Bit>,
    pub wr_poison: Signal<In, Bit>,
    pub wr_meta_we: Signal<In, Bit>,
    pub wr_meta: Signal<In, Bits<2>>,
    // chip; a narrow one leaves the upper half of the data unused
    pub cke: Signal<Out, Bit>,
    pub cs_n: Signal<Out, Bit>,
    pub ras_n: Signal<Out, Bit>,
    pub cas_n: Signal<Out, Bit>,
    pub we_n: Signal<Out, Bit>,
    pub ba: Signal<Out, Bits<2>>,
    pub a: Signal<Out, Bits<13>>,
    pub dqm: Signal<Out, Bits<4>>,
    pub dq_out: Signal<Out, Bits<32>>,
    pub dq_oe: Signal<Out, Bit>,
    pub dq_in: Signal<In, Bits<32>>,
    banks: [Bank; 4],
    poisons: BlockRam<Bit, 26>,
    metas: BlockRam<Bits<2>, 26>,
    pending: Fifo<Pending, 4>,
    state: DFF<State>,
    pause: DFF<Bits<16>>,
    refresh_in: DFF<Bits<16>>,
    refresh_due: DFF<Bit>,
    // the burst to come
    op_valid: DFF<Bit>,
    op_write: DFF<Bit>,
    op_beat: DFF<Bits<28>>,
    op_data: DFF<Bits<128>>,
    op_be: DFF<Bits<16>>,
    // the read that is being split into bursts
    splitting: DFF<Bit>,
    split_line: DFF<Bits<26>>,
    split_idx: DFF<Bits<2>>,
    /// A read was taken in the cycle before: its table entries come, and are changed.
    asked: DFF<Bit>,
    asked_nodata: DFF<Bit>,
    asked_line: DFF<Bits<26>>,
    asked_meta_we: DFF<Bit>,
    asked_meta: DFF<Bits<2>>,
    /// Answers without data that wait, at most two: a third might still wait when data comes.
    nodatas: DFF<Bits<2>>,
    /// Requests of one kind in a row, and which.
    streak: DFF<Bits<4>>,
    was_write: DFF<Bit>,
    // the chip's bus: cycles until a burst, a write burst, an activation may begin
    to_burst: DFF<Bits<5>>,
    to_write: DFF<Bits<5>>,
    to_activate: DFF<Bits<5>>,
    // data on its way out and in
    out_data: DFF<Bits<128>>,
    out_be: DFF<Bits<16>>,
    out_left: DFF<Bits<4>>,
    coming: DFF<Bits<16>>,
    in_data: DFF<Bits<128>>,
    in_words: DFF<Bits<4>>,
    in_beat: DFF<Bits<2>>,
    dq: DFF<Bits<32>>,
    // pins
    command: DFF<Bits<3>>,
    ba_is: DFF<Bits<2>>,
    a_is: DFF<Bits<13>>,
    dqm_is: DFF<Bits<4>>,
    dq_is: DFF<Bits<32>>,
    oe_is: DFF<Bit>,
    awake: DFF<Bit>,
    /// The chip was set up: before that no request is taken.
    started: DFF<Bit>,
    // answer
    answer: DFF<Bit>,
    answer_idx: DFF<Bits<2>>,
    answer_poison: DFF<Bit>,
    answer_meta: DFF<Bits<2>>,
    answer_data: DFF<Bits<128>>,
    can_take: Signal<Local, Bit>,
    takes_read: Signal<Local, Bit>,
    takes_write: Signal<Local, Bit>,
    write_turn: Signal<Local, Bit>,
    issue: Signal<Local, Bit>,
    activate: Signal<Local, Bit>,
    precharge: Signal<Local, Bit>,
    close_all: Signal<Local, Bit>,
    bank: Signal<Local, Bits<2>>,
    bank_hot: Signal<Local, Bits<4>>,
    row: Signal<Local, Bits<13>>,
    column: Signal<Local, Bits<6>>,
    open: Signal<Local, Bit>,
    open_row: Signal<Local, Bits<13>>,
    can_access: Signal<Local, Bit>,
    can_precharge: Signal<Local, Bit>,
    can_activate: Signal<Local, Bit>,
    all_can_precharge: Signal<Local, Bit>,
    got: Signal<Local, Bits<128>>,
    entry: Signal<Local, Pending>,
    nodata_done: Signal<Local, Bit>,
    nodata_put: Signal<Local, Bit>,
    beat_done: Signal<Local, Bit>,
    waiting: Signal<Local, Bit>,
    /// The chip's words are 32 bits wide.
    wide: Param<Bit>,
    mode: Param<Bits<13>>,
    /// Each less one.
    burst: Param<Bits<5>>,
    read_to_write: Param<Bits<5>>,
    t_rrd: Param<Bits<5>>,
    t_rp: Param<Bits<16>>,
    t_rfc: Param<Bits<16>>,
    init: Param<Bits<16>>,
    refresh: Param<Bits<16>>,
    /// Ones for each word of a burst, where their data will be.
    expected: Param<Bits<16>>,
}

impl Sdram {
    /// For a chip of `line_bits` lines with words of `128 / burst` bits.
    pub fn new(t: &SdramTiming, line_bits: usize) -> Self {
        // Sequential bursts of four or eight words.
        let mode = t.cas << 4 | if t.burst == 8 { 3 } else { 2 };
        let ones = (1u64 << t.burst) - 1;
        Self {
            banks: std::array::from_fn(|_| Bank::new(t)),
            poisons: BlockRam::with_depth_bits(line_bits),
            metas: BlockRam::with_depth_bits(line_bits),
            wide: Param::new(t.burst == 4),
            mode: Param::new(u64::from(mode).into()),
            burst: less_one(t.burst),
            read_to_write: less_one(t.burst + t.cas + 1),
            t_rrd: less_one(t.t_rrd),
            t_rp: less_one(t.t_rp),
            t_rfc: less_one(t.t_rfc),
            init: less_one(t.init),
            refresh: less_one(t.refresh),
            expected: Param::new((ones << (t.cas + 1)).into()),
            ..Default::default()
        }
    }
}

impl Logic for Sdram {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            pause,
            refresh_in,
            refresh_due,
            op_valid,
            op_write,
            op_beat,
            op_data,
            op_be,
            splitting,
            split_line,
            split_idx,
            asked,
            asked_nodata,
            asked_line,
            asked_meta_we,
            asked_meta,
            nodatas,
            streak,
            was_write,
            to_burst,
            to_write,
            to_activate,
            out_data,
            out_be,
            out_left,
            coming,
            in_data,
            in_words,
            in_beat,
            dq,
            command,
            ba_is,
            a_is,
            dqm_is,
            dq_is,
            oe_is,
            awake,
            started,
            answer,
            answer_idx,
            answer_poison,
            answer_meta,
            answer_data
        );
        self.poisons.clock.next = self.clock.val();
        self.metas.clock.next = self.clock.val();
        self.pending.clock.next = self.clock.val();
        self.pending.reset.next = self.reset.val();

        // The burst to come: where it goes, and what its bank can do.
        self.column.next = self.op_beat.q.val().get_bits::<6>(0);
        self.bank.next = self.op_beat.q.val().get_bits::<2>(6);
        self.row.next = self.op_beat.q.val().get_bits::<13>(8);
        self.bank_hot.next = 8.into();
        if self.bank.val() == 0 {
            self.bank_hot.next = 1.into();
        } else if self.bank.val() == 1 {
            self.bank_hot.next = 2.into();
        } else if self.bank.val() == 2 {
            self.bank_hot.next = 4.into();
        }
        self.open.next = false;
        self.open_row.next = 0.into();
        self.can_access.next = false;
        self.can_precharge.next = false;
        self.can_activate.next = false;
        self.all_can_precharge.next = true;
        for i in 0..4 {
            self.banks[i].clock.next = self.clock.val();
            self.banks[i].reset.next = self.reset.val();
            if self.bank_hot.val().get_bit(i) {
                self.open.next = self.banks[i].open.val();
                self.open_row.next = self.banks[i].open_row.val();
                self.can_access.next = self.banks[i].can_access.val();
                self.can_precharge.next = self.banks[i].can_precharge.val();
                self.can_activate.next = self.banks[i].can_activate.val();
            }
            if !self.banks[i].can_precharge.val() {
                self.all_can_precharge.next = false;
            }
        }
        self.issue.next = (self.state.q.val() == State::Run)
            & !self.refresh_due.q.val()
            & self.op_valid.q.val()
            & self.can_access.val()
            & (self.open_row.val() == self.row.val())
            & (self.to_burst.q.val() == 0)
            & (!self.op_write.q.val() | (self.to_write.q.val() == 0));
        self.activate.next = (self.state.q.val() == State::Run)
            & !self.refresh_due.q.val()
            & self.op_valid.q.val()
            & self.can_activate.val()
            & (self.to_activate.q.val() == 0);
        self.precharge.next = (self.state.q.val() == State::Run)
            & !self.refresh_due.q.val()
            & self.op_valid.q.val()
            & self.open.val()
            & (self.open_row.val() != self.row.val())
            & self.can_precharge.val();

        // What is taken: what a kind has begun goes on for 16 requests if the other one waits.
        self.write_turn.next = self.wr_valid.val() & !self.rd_valid.val();
        if self.wr_valid.val() & self.rd_valid.val() {
            self.write_turn.next = self.was_write.q.val() ^ (self.streak.q.val() == 15);
        }
        self.can_take.next = self.started.q.val()
            & (!self.op_valid.q.val() | self.issue.val())
            & !self.splitting.q.val()
            & !self.asked.q.val();
        self.waiting.next = self.pending.full.val() | (self.pending.level.val() >= 13);
        self.takes_write.next = self.can_take.val() & self.write_turn.val();
        self.takes_read.next = self.can_take.val()
            & !self.write_turn.val()
            & self.rd_valid.val()
            & !self.waiting.val()
            & (!self.rd_nodata.val() | (self.nodatas.q.val() < 2));
        self.rd_ready.next = self.can_take.val()
            & !self.write_turn.val()
            & !self.waiting.val()
            & (!self.rd_nodata.val() | (self.nodatas.q.val() < 2));
        self.wr_ready.next = self.takes_write.val();
        if self.takes_read.val() | self.takes_write.val() {
            self.was_write.d.next = self.takes_write.val();
            self.streak.d.next = 0.into();
            if (self.was_write.q.val() == self.takes_write.val()) & (self.streak.q.val() != 15) {
                self.streak.d.next = self.streak.q.val() + 1;
            }
        }

        // Tables of poison and metadata: read with a request, changed a cycle later.
        self.poisons.read.next = self.takes_read.val();
        self.poisons.read_address.next = self.rd_line.val();
        self.metas.read.next = self.takes_read.val();
        self.metas.read_address.next = self.rd_line.val();
        self.asked.d.next = self.takes_read.val();
        self.asked_nodata.d.next = self.rd_nodata.val();
        self.asked_line.d.next = self.rd_line.val();
        self.asked_meta_we.d.next = self.rd_meta_we.val();
        self.asked_meta.d.next = self.rd_meta.val();
        self.entry.next.nodata = self.asked_nodata.q.val();
        self.entry.next.poison = self.poisons.read_data.val();
        self.entry.next.meta = self.metas.read_data.val();
        self.pending.write.next = self.asked.q.val();
        self.pending.write_data.next = self.entry.val();
        self.poisons.write.next = self.takes_write.val() & self.wr_poison_we.val();
        self.poisons.write_address.next = self.wr_line.val();
        self.poisons.write_data.next = self.wr_poison.val();
        self.metas.write.next = self.takes_write.val() & self.wr_meta_we.val();
        self.metas.write_address.next = self.wr_line.val();
        self.metas.write_data.next = self.wr_meta.val();
        if self.asked.q.val() {
            self.metas.write.next = self.asked_meta_we.q.val();
            self.metas.write_address.next = self.asked_line.q.val();
            self.metas.write_data.next = self.asked_meta.q.val();
        }

        // The next burst.
        if self.issue.val() {
            self.op_valid.d.next = false;
        }
        if self.takes_write.val() {
            self.op_valid.d.next = true;
            self.op_write.d.next = true;
            self.op_beat.d.next = (bit_cast::<28, 26>(self.wr_line.val()) << 2)
                | bit_cast::<28, 2>(self.wr_idx.val());
            self.op_data.d.next = self.wr_data.val();
            self.op_be.d.next = self.wr_be.val();
        } else if self.takes_read.val() & !self.rd_nodata.val() {
            self.op_valid.d.next = true;
            self.op_write.d.next = false;
            self.op_beat.d.next = bit_cast::<28, 26>(self.rd_line.val()) << 2;
            self.splitting.d.next = true;
            self.split_line.d.next = self.rd_line.val();
            self.split_idx.d.next = 1.into();
        } else if self.splitting.q.val() & (!self.op_valid.q.val() | self.issue.val()) {
            self.op_valid.d.next = true;
            self.op_write.d.next = false;
            self.op_beat.d.next = (bit_cast::<28, 26>(self.split_line.q.val()) << 2)
                | bit_cast::<28, 2>(self.split_idx.q.val());
            self.split_idx.d.next = self.split_idx.q.val() + 1;
            if self.split_idx.q.val() == 3 {
                self.splitting.d.next = false;
            }
        }

        // Commands.
        self.awake.d.next = true;
        self.command.d.next = 7.into();
        self.ba_is.d.next = self.bank.val();
        self.a_is.d.next = self.row.val();
        self.close_all.next = false;
        if self.to_burst.q.val() != 0 {
            self.to_burst.d.next = self.to_burst.q.val() - 1;
        }
        if self.to_write.q.val() != 0 {
            self.to_write.d.next = self.to_write.q.val() - 1;
        }
        if self.to_activate.q.val() != 0 {
            self.to_activate.d.next = self.to_activate.q.val() - 1;
        }
        if self.issue.val() {
            self.command.d.next = 5.into();
            if self.op_write.q.val() {
                self.command.d.next = 4.into();
            }
            self.a_is.d.next = bit_cast::<13, 6>(self.column.val()) << 3;
            if self.wide.val() {
                self.a_is.d.next = bit_cast::<13, 6>(self.column.val()) << 2;
            }
            self.to_burst.d.next = self.burst.val();
            if !self.op_write.q.val() {
                self.to_write.d.next = self.read_to_write.val();
            }
        } else if self.activate.val() {
            self.command.d.next = 3.into();
            self.to_activate.d.next = self.t_rrd.val();
        } else if self.precharge.val() {
            self.command.d.next = 2.into();
            // One bank: bit 10 is 0.
            self.a_is.d.next = 0.into();
        }

        // Power-on, and refreshes.
        self.refresh_in.d.next = self.refresh_in.q.val() - 1;
        if self.refresh_in.q.val() == 0 {
            self.refresh_in.d.next = self.refresh.val();
            self.refresh_due.d.next = true;
        }
        if self.pause.q.val() != 0 {
            self.pause.d.next = self.pause.q.val() - 1;
        }
        match self.state.q.val() {
            State::PowerUp => {
                if self.pause.q.val() == 0 {
                    self.command.d.next = 2.into();
                    self.a_is.d.next = 0x400.into();
                    self.pause.d.next = self.t_rp.val();
                    self.state.d.next = State::PrechargeFirst;
                }
            }
            State::PrechargeFirst => {
                if self.pause.q.val() == 0 {
                    self.command.d.next = 1.into();
                    self.pause.d.next = self.t_rfc.val();
                    self.state.d.next = State::RefreshFirst;
                }
            }
            State::RefreshFirst => {
                if self.pause.q.val() == 0 {
                    self.command.d.next = 1.into();
                    self.pause.d.next = self.t_rfc.val();
                    self.state.d.next = State::RefreshSecond;
                }
            }
            State::RefreshSecond => {
                if self.pause.q.val() == 0 {
                    self.command.d.next = 0.into();
                    self.ba_is.d.next = 0.into();
                    self.a_is.d.next = self.mode.val();
                    // Two cycles until it is in force.
                    self.pause.d.next = 1.into();
                    self.state.d.next = State::Mode;
                }
            }
            State::Mode => {
                self.refresh_in.d.next = self.refresh.val();
                self.refresh_due.d.next = false;
                if self.pause.q.val() == 0 {
                    self.started.d.next = true;
                    self.state.d.next = State::Run;
                }
            }
            State::Run => {
                if self.refresh_due.q.val()
                    & self.all_can_precharge.val()
                    & (self.to_burst.q.val() == 0)
                {
                    self.close_all.next = true;
                    self.command.d.next = 2.into();
                    self.a_is.d.next = 0x400.into();
                    self.pause.d.next = self.t_rp.val();
                    self.state.d.next = State::CloseAll;
                }
            }
            State::CloseAll => {
                if self.pause.q.val() == 0 {
                    self.command.d.next = 1.into();
                    self.pause.d.next = self.t_rfc.val();
                    self.refresh_due.d.next = false;
                    self.state.d.next = State::Refresh;
                }
            }
            State::Refresh => {
                if self.pause.q.val() == 0 {
                    self.state.d.next = State::Run;
                }
            }
            _ => {
                self.state.d.next = State::PowerUp;
            }
        }
        for i in 0..4 {
            self.banks[i].row.next = self.row.val();
            self.banks[i].is_write.next = self.op_write.q.val();
            self.banks[i].activate.next = self.activate.val() & self.bank_hot.val().get_bit(i);
            self.banks[i].precharge.next =
                (self.precharge.val() & self.bank_hot.val().get_bit(i)) | self.close_all.val();
            self.banks[i].access.next = self.issue.val() & self.bank_hot.val().get_bit(i);
        }

        // Data to the chip: the first word with its command, and masks with it.
        self.oe_is.d.next = false;
        self.dqm_is.d.next = 0.into();
        self.dq_is.d.next = self.out_data.q.val().get_bits::<32>(0);
        if self.issue.val() & self.op_write.q.val() {
            self.out_data.d.next = self.op_data.q.val() >> 16;
            self.out_be.d.next = self.op_be.q.val() >> 2;
            self.out_left.d.next = 7.into();
            self.dq_is.d.next = self.op_data.q.val().get_bits::<32>(0);
            self.dqm_is.d.next = !self.op_be.q.val().get_bits::<4>(0);
            self.oe_is.d.next = true;
            if self.wide.val() {
                self.out_data.d.next = self.op_data.q.val() >> 32;
                self.out_be.d.next = self.op_be.q.val() >> 4;
                self.out_left.d.next = 3.into();
            }
        } else if self.out_left.q.val() != 0 {
            self.out_left.d.next = self.out_left.q.val() - 1;
            self.out_data.d.next = self.out_data.q.val() >> 16;
            self.out_be.d.next = self.out_be.q.val() >> 2;
            self.dqm_is.d.next = !self.out_be.q.val().get_bits::<4>(0);
            self.oe_is.d.next = true;
            if self.wide.val() {
                self.out_data.d.next = self.out_data.q.val() >> 32;
                self.out_be.d.next = self.out_be.q.val() >> 4;
            }
        }

        // Data from the chip.
        self.dq.d.next = self.dq_in.val();
        self.coming.d.next = self.coming.q.val() >> 1;
        if self.issue.val() & !self.op_write.q.val() {
            self.coming.d.next = (self.coming.q.val() >> 1) | self.expected.val();
        }
        self.got.next = (self.in_data.q.val() >> 16)
            | (bit_cast::<128, 16>(self.dq.q.val().get_bits::<16>(0)) << 112);
        if self.wide.val() {
            self.got.next =
                (self.in_data.q.val() >> 32) | (bit_cast::<128, 32>(self.dq.q.val()) << 96);
        }
        self.beat_done.next = false;
        if self.coming.q.val().get_bit(0) {
            self.in_data.d.next = self.got.val();
            self.in_words.d.next = self.in_words.q.val() + 1;
            if bit_cast::<5, 4>(self.in_words.q.val()) == self.burst.val() {
                self.in_words.d.next = 0.into();
                self.in_beat.d.next = self.in_beat.q.val() + 1;
                self.beat_done.next = true;
            }
        }

        // Answers, in order.
        self.nodata_done.next =
            !self.pending.empty.val() & self.pending.read_data.val().nodata & !self.beat_done.val();
        self.nodata_put.next = self.takes_read.val() & self.rd_nodata.val();
        if self.nodata_put.val() & !self.nodata_done.val() {
            self.nodatas.d.next = self.nodatas.q.val() + 1;
        } else if !self.nodata_put.val() & self.nodata_done.val() {
            self.nodatas.d.next = self.nodatas.q.val() - 1;
        }
        self.pending.read.next =
            self.nodata_done.val() | (self.beat_done.val() & (self.in_beat.q.val() == 3));
        self.answer.d.next = self.beat_done.val() | self.nodata_done.val();
        self.answer_idx.d.next = 3.into();
        if self.beat_done.val() {
            self.answer_idx.d.next = self.in_beat.q.val();
        }
        self.answer_data.d.next = self.got.val();
        self.answer_poison.d.next = self.pending.read_data.val().poison;
        self.answer_meta.d.next = self.pending.read_data.val().meta;
        self.rsp_valid.next = self.answer.q.val();
        self.rsp_idx.next = self.answer_idx.q.val();
        self.rsp_data.next = self.answer_data.q.val();
        self.rsp_poison.next = self.answer_poison.q.val();
        self.rsp_meta.next = self.answer_meta.q.val();

        self.cke.next = self.awake.q.val();
        self.cs_n.next = !self.awake.q.val();
        self.ras_n.next = self.command.q.val().get_bit(2);
        self.cas_n.next = self.command.q.val().get_bit(1);
        self.we_n.next = self.command.q.val().get_bit(0);
        self.ba.next = self.ba_is.q.val();
        self.a.next = self.a_is.q.val();
        self.dqm.next = self.dqm_is.q.val();
        self.dq_out.next = self.dq_is.q.val();
        self.dq_oe.next = self.oe_is.q.val();

        if self.reset.val() {
            self.state.d.next = State::PowerUp;
            self.pause.d.next = self.init.val();
            self.started.d.next = false;
            self.refresh_due.d.next = false;
            self.op_valid.d.next = false;
            self.splitting.d.next = false;
            self.asked.d.next = false;
            self.nodatas.d.next = 0.into();
            self.to_burst.d.next = 0.into();
            self.to_write.d.next = 0.into();
            self.to_activate.d.next = 0.into();
            self.out_left.d.next = 0.into();
            self.oe_is.d.next = false;
            // The chip may be in the middle of a burst of writes: what is left of it is masked.
            self.dqm_is.d.next = 15.into();
            self.coming.d.next = 0.into();
            self.in_words.d.next = 0.into();
            self.in_beat.d.next = 0.into();
            self.command.d.next = 7.into();
            self.answer.d.next = false;
        }
    }
}
