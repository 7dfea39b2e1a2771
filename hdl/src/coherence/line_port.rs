//! The line port: loads, stores and atomics of an accelerator that stands beside the controller. One operation at a time, through the
//! same directory as everything else.
//!
//! An atomic works on one 64-bit word of a line, with the line granted to the device alone from its read to its write.

use crate::memory::arbiter::Beat;
use crate::prim::{LutRam, Param};
use rust_hdl::prelude::*;

/// An operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, LogicStruct)]
pub struct Command {
    /// 0 load, the host keeps what it has; 1 load, the host keeps a shared copy at most; 2 load, the host gives the line up;
    /// 3 store by byte enables; 4 fetch and add; 5 compare and swap. Others are refused.
    pub op: Bits<3>,
    /// DPA / 64.
    pub line: Bits<26>,
    /// Atomics: which 64-bit word of the line.
    pub word: Bits<3>,
    /// Atomics: what to add, or what to compare with.
    pub operand: Bits<64>,
    /// Compare and swap: what to put there.
    pub swap: Bits<64>,
}

#[derive(Clone, Copy, Debug, PartialEq, LogicState)]
enum State {
    Idle,
    /// Store: four beats come.
    Gather,
    Ask,
    Wait,
    Read,
    ReadBeats,
    /// Atomic: the word is here; what it is.
    Fetch,
    Modify,
    Write,
    /// Load: four beats go.
    Give,
    /// One beat: done, or an atomic's old value.
    Tell,
}

#[derive(LogicBlock, Default)]
pub struct LinePort {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // pins
    pub cmd_valid: Signal<In, Bit>,
    pub cmd_ready: Signal<Out, Bit>,
    pub cmd: Signal<In, Command>,
    /// Store data, four beats.
    pub data_valid: Signal<In, Bit>,
    pub data_ready: Signal<Out, Bit>,
    pub data: Signal<In, Bits<128>>,
    pub data_be: Signal<In, Bits<16>>,
    /// A load's four beats, or one beat: an atomic's old value, or nothing but `out_status`.
    pub out_valid: Signal<Out, Bit>,
    pub out_ready: Signal<In, Bit>,
    pub out_data: Signal<Out, Bits<128>>,
    pub out_last: Signal<Out, Bit>,
    /// 0 good; 1 the line is poisoned (an atomic left it alone); 2 the host did not give it up; 3 no such line or operation.
    pub out_status: Signal<Out, Bits<2>>,
    // point of coherence
    pub ask: Signal<Out, Bit>,
    pub line: Signal<Out, Bits<26>>,
    pub access: Signal<Out, Bits<2>>,
    pub snooped: Signal<In, Bit>,
    pub serve: Signal<In, Bit>,
    pub fail: Signal<In, Bit>,
    pub lookup: Signal<In, Bits<26>>,
    pub matched: Signal<Out, Bit>,
    // memory port
    pub rd_valid: Signal<Out, Bit>,
    pub rd_ready: Signal<In, Bit>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub rsp_data: Signal<In, Bits<128>>,
    pub rsp_poison: Signal<In, Bit>,
    pub wr_valid: Signal<Out, Bit>,
    pub wr_ready: Signal<In, Bit>,
    pub wr: Signal<Out, Beat>,
    /// In the middle of a line's beats.
    pub in_line: Signal<Out, Bit>,
    state: DFF<State>,
    command: DFF<Command>,
    beats: LutRam<Bits<128>, 2>,
    enables: DFF<Bits<64>>,
    beat: DFF<Bits<2>>,
    status: DFF<Bits<2>>,
    old: DFF<Bits<64>>,
    granted: DFF<Bit>,
    matched_r: DFF<Bit>,
    c: Signal<Local, Command>,
    given: Signal<Local, Command>,
    given_line: Signal<Local, Bits<26>>,
    beyond: Signal<Local, Bits<26>>,
    atomic: Signal<Local, Bit>,
    half: Signal<Local, Bits<64>>,
    swap: Signal<Local, Bits<64>>,
    sum: Signal<Local, Bits<64>>,
    word: Signal<Local, Bits<3>>,
    word_beat: Signal<Local, Bits<2>>,
    word_high: Signal<Local, Bit>,
    be_now: Signal<Local, Bits<16>>,
    next_wr: Signal<Local, Beat>,
    line_bits: Param<Bits<5>>,
}

impl LinePort {
    /// For a memory of `2^line_bits` lines.
    pub fn new(line_bits: usize) -> Self {
        Self {
            line_bits: Param::new((line_bits as u64).into()),
            ..Default::default()
        }
    }
}

impl Logic for LinePort {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(self, clock, state, command, enables, beat, status, old, granted, matched_r);
        self.beats.clock.next = self.clock.val();
        self.c.next = self.command.q.val();
        self.given.next = self.cmd.val();
        self.given_line.next = self.given.val().line;
        self.beyond.next = self.given_line.val() >> self.line_bits.val();
        self.atomic.next = (self.c.val().op == 4) | (self.c.val().op == 5);
        self.word.next = self.c.val().word;
        self.word_beat.next = self.word.val().get_bits::<2>(1);
        self.word_high.next = self.word.val().get_bit(0);
        self.line.next = self.c.val().line;
        self.access.next = 2.into();
        if self.c.val().op == 0 {
            self.access.next = 0.into();
        } else if self.c.val().op == 1 {
            self.access.next = 1.into();
        }
        self.cmd_ready.next = self.state.q.val() == State::Idle;
        self.data_ready.next = self.state.q.val() == State::Gather;
        self.ask.next = self.state.q.val() == State::Ask;
        self.rd_valid.next = self.state.q.val() == State::Read;
        self.wr_valid.next = self.state.q.val() == State::Write;
        self.in_line.next = self.wr_valid.val() & self.beat.q.val().any();
        self.matched_r.d.next = self.granted.q.val() & (self.c.val().line == self.lookup.val());
        self.matched.next = self.matched_r.q.val();

        self.beats.write.next = false;
        self.beats.write_address.next = self.beat.q.val();
        self.beats.write_data.next = self.data.val();
        self.beats.read_address.next = self.beat.q.val();
        if self.state.q.val() == State::Fetch {
            self.beats.read_address.next = self.word_beat.val();
        }
        self.half.next = self.beats.read_data.val().get_bits::<64>(0);
        if self.word_high.val() {
            self.half.next = self.beats.read_data.val().get_bits::<64>(64);
        }
        self.swap.next = self.c.val().swap;
        self.sum.next = self.old.q.val() + self.c.val().operand;
        self.be_now.next = self.enables.q.val().get_bits::<16>(48);
        if self.beat.q.val() == 0 {
            self.be_now.next = self.enables.q.val().get_bits::<16>(0);
        } else if self.beat.q.val() == 1 {
            self.be_now.next = self.enables.q.val().get_bits::<16>(16);
        } else if self.beat.q.val() == 2 {
            self.be_now.next = self.enables.q.val().get_bits::<16>(32);
        }
        self.next_wr.next.line = self.c.val().line;
        self.next_wr.next.idx = self.beat.q.val();
        self.next_wr.next.data = self.beats.read_data.val();
        self.next_wr.next.be = self.be_now.val();
        self.next_wr.next.poison_we = self.enables.q.val().all();
        self.next_wr.next.poison = false;
        if self.atomic.val() {
            // The word in both halves; the byte enables say which.
            self.next_wr.next.be = 0.into();
            if self.beat.q.val() == self.word_beat.val() {
                self.next_wr.next.be = 0xFF.into();
                if self.word_high.val() {
                    self.next_wr.next.be = 0xFF00.into();
                }
            }
            self.next_wr.next.poison_we = false;
            self.next_wr.next.data =
                bit_cast::<128, 64>(self.sum.val()) | (bit_cast::<128, 64>(self.sum.val()) << 64);
            if self.c.val().op == 5 {
                self.next_wr.next.data = bit_cast::<128, 64>(self.swap.val())
                    | (bit_cast::<128, 64>(self.swap.val()) << 64);
            }
        }
        self.wr.next = self.next_wr.val();
        self.out_valid.next =
            (self.state.q.val() == State::Give) | (self.state.q.val() == State::Tell);
        self.out_data.next = self.beats.read_data.val();
        self.out_last.next = (self.state.q.val() == State::Tell) | self.beat.q.val().all();
        if self.state.q.val() == State::Tell {
            self.out_data.next = bit_cast::<128, 64>(self.old.q.val());
        }
        self.out_status.next = self.status.q.val();

        match self.state.q.val() {
            State::Idle => {
                self.command.d.next = self.cmd.val();
                self.beat.d.next = 0.into();
                self.status.d.next = 0.into();
                self.old.d.next = 0.into();
                if self.cmd_valid.val() {
                    self.state.d.next = State::Ask;
                    if self.given.val().op == 3 {
                        self.state.d.next = State::Gather;
                    }
                    if self.beyond.val().any() | (self.given.val().op > 5) {
                        self.status.d.next = 3.into();
                        // A store's data is taken all the same.
                        if self.given.val().op != 3 {
                            self.state.d.next = State::Tell;
                        }
                    }
                }
            }
            State::Gather => {
                self.beats.write.next = self.data_valid.val();
                if self.data_valid.val() {
                    self.enables.d.next = (self.enables.q.val() >> 16)
                        | (bit_cast::<64, 16>(self.data_be.val()) << 48);
                    self.beat.d.next = self.beat.q.val() + 1;
                    if self.beat.q.val().all() {
                        self.state.d.next = State::Ask;
                        if self.status.q.val().any() {
                            self.state.d.next = State::Tell;
                        }
                    }
                }
            }
            State::Ask => {
                if self.snooped.val() {
                    self.state.d.next = State::Wait;
                }
            }
            State::Read => {
                if self.rd_ready.val() {
                    self.state.d.next = State::ReadBeats;
                }
            }
            State::ReadBeats => {
                self.beats.write.next = self.rsp_valid.val();
                self.beats.write_address.next = self.rsp_idx.val();
                self.beats.write_data.next = self.rsp_data.val();
                if self.rsp_valid.val() & self.rsp_poison.val() {
                    self.status.d.next = 1.into();
                }
                if self.rsp_valid.val() & (self.rsp_idx.val() == 3) {
                    self.state.d.next = State::Give;
                    if self.atomic.val() {
                        self.state.d.next = State::Fetch;
                    } else {
                        self.granted.d.next = false;
                    }
                }
            }
            State::Fetch => {
                self.old.d.next = self.half.val();
                self.state.d.next = State::Modify;
            }
            State::Modify => {
                self.state.d.next = State::Write;
                if self.status.q.val().any()
                    | ((self.c.val().op == 5) & (self.old.q.val() != self.c.val().operand))
                {
                    self.granted.d.next = false;
                    self.state.d.next = State::Tell;
                }
            }
            State::Write => {
                if self.wr_ready.val() {
                    self.beat.d.next = self.beat.q.val() + 1;
                    if self.beat.q.val().all() {
                        self.granted.d.next = false;
                        self.state.d.next = State::Tell;
                    }
                }
            }
            State::Give => {
                if self.out_ready.val() {
                    self.beat.d.next = self.beat.q.val() + 1;
                    if self.beat.q.val().all() {
                        self.state.d.next = State::Idle;
                    }
                }
            }
            State::Tell => {
                if self.out_ready.val() {
                    self.state.d.next = State::Idle;
                }
            }
            _ => {}
        }
        // Whether a snoop was needed or not: granted, or refused.
        if self.serve.val() {
            self.granted.d.next = true;
            self.state.d.next = State::Read;
            if self.c.val().op == 3 {
                self.state.d.next = State::Write;
            }
        }
        if self.fail.val() {
            self.status.d.next = 2.into();
            self.state.d.next = State::Tell;
        }
        if self.reset.val() {
            self.state.d.next = State::Idle;
            self.granted.d.next = false;
        }
    }
}
