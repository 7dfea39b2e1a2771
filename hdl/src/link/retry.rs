//! Link-level retry: both machines of `cxl-mem 3.9`, the pointers, and the buffer of flits until they are acknowledged.
//!
//! The rules are those of `cxlmem_protocol::retry::Retry`, which the simulated host runs. A flit's number is its entry in the
//! buffer. Nothing is added to the path of new flits but a multiplexer in front of the transmitter's slot register.

use crate::prim::{BlockRam, LutRam};
use rust_hdl::prelude::*;

/// Entries of the buffer, and so the wrap value of INIT.Param: four block RAMs.
pub const ENTRIES: u8 = 64;

/// Local retry state machine (`RETRY_LOCAL_*`).
#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum Machine {
    Normal,
    LlrReq,
    Idle,
    PhyReinit,
    Abort,
}

#[derive(LogicBlock, Default)]
pub struct LinkRetry {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // thresholds
    pub timeout: Signal<In, Bits<13>>,
    pub max_num_retry: Signal<In, Bits<5>>,
    pub max_num_phy_reinit: Signal<In, Bits<5>>,
    /// Flit times without an acknowledgement for a flit that matters; 0: no limit.
    pub tail: Signal<In, Bits<13>>,
    // physical layer: is down; shall re-initialise
    pub phy_down: Signal<In, Bit>,
    pub phy_reinit: Signal<Out, Bit>,
    // receiver, in the cycle of a flit's last slot
    pub ended: Signal<In, Bit>,
    pub crc_ok: Signal<In, Bit>,
    /// A flit with a good CRC has been seen before: until then damage means nothing.
    pub heard: Signal<In, Bit>,
    pub retry_flit: Signal<In, Bit>,
    pub subtype: Signal<In, Bits<4>>,
    /// Of RETRY.Req: ESeq. Of both: NUM_RETRY. Of RETRY.Ack: Empty.
    pub asked: Signal<In, Bits<8>>,
    pub count: Signal<In, Bits<5>>,
    pub empty: Signal<In, Bit>,
    /// The flit was taken, and with it these acknowledgements.
    pub delivered: Signal<In, Bit>,
    pub acks: Signal<In, Bits<8>>,
    /// A rule was broken elsewhere: give up.
    pub broken: Signal<In, Bit>,
    pub peer_entries: Signal<In, Bits<8>>,
    pub dropping: Signal<Out, Bit>,
    /// Number that the next retryable flit should have.
    pub eseq: Signal<Out, Bits<8>>,
    // transmitter: a flit may start in this cycle, and the packer would make it an all-data flit
    pub flit_time: Signal<In, Bit>,
    pub all_data: Signal<In, Bit>,
    pub choose_control: Signal<Out, Bit>,
    pub control: Signal<Out, Bits<128>>,
    pub choose_replay: Signal<Out, Bit>,
    pub replay_slot: Signal<Out, Bits<128>>,
    /// A slot of the replay goes out.
    pub replay_taken: Signal<In, Bit>,
    /// Nothing may be sent.
    pub silent: Signal<Out, Bit>,
    /// RETRY.Idle rather than nothing.
    pub idle: Signal<Out, Bit>,
    /// Number of the flit that starts.
    pub number: Signal<Out, Bits<6>>,
    // new retryable flits: at their start, and their slots
    pub begins: Signal<In, Bit>,
    pub matters: Signal<In, Bit>,
    pub store: Signal<In, Bit>,
    pub store_index: Signal<In, Bits<2>>,
    /// The slot, in the cycle after `store`.
    pub kept_slot: Signal<In, Bits<128>>,
    /// Room for a flit that carries acknowledgements; for any; for one with a data header.
    pub room_ack: Signal<Out, Bit>,
    pub room_any: Signal<Out, Bit>,
    pub room_data: Signal<Out, Bit>,
    /// A flit should be sent for its number alone.
    pub late: Signal<Out, Bit>,
    // status
    pub aborted: Signal<Out, Bit>,
    pub status: Signal<Out, Bits<16>>,
    pub ev_request: Signal<Out, Bit>,
    pub ev_replay: Signal<Out, Bit>,
    pub ev_reinit: Signal<Out, Bit>,
    pub ev_abort: Signal<Out, Bit>,

    machine: DFF<Machine>,
    remote: DFF<Bit>,
    framed: DFF<Bit>,
    frames: DFF<Bits<3>>,
    // what the other end asked for
    want: DFF<Bits<6>>,
    echo: DFF<Bits<5>>,
    // what this end asks for
    expected: DFF<Bits<8>>,
    num_retry: DFF<Bits<5>>,
    num_phy_reinit: DFF<Bits<5>>,
    timer: DFF<Bits<13>>,
    went_down: DFF<Bit>,
    /// As many requests as may be were made.
    spent: DFF<Bit>,
    // buffer
    flits: BlockRam<Bits<128>, 8>,
    all_data_flags: LutRam<Bit, 6>,
    /// The entry to be replayed next is an all-data flit.
    replays_data: DFF<Bit>,
    /// A slot that is being kept, a cycle after it was made: `kept_slot` has it then.
    keeps: DFF<Bit>,
    keeps_at: DFF<Bits<8>>,
    wr: DFF<Bits<6>>,
    /// Entry and slot of the replay.
    rd: DFF<Bits<8>>,
    replaying: DFF<Bits<6>>,
    unacked: DFF<Bits<7>>,
    /// Unacknowledged flits up to the last that matters.
    guarded: DFF<Bits<7>>,
    tail_timer: DFF<Bits<13>>,
    tail_late: DFF<Bit>,
    // acknowledgements, a cycle after their flit
    got: DFF<Bit>,
    got_acks: DFF<Bits<8>>,
    room2: DFF<Bit>,
    room3: DFF<Bit>,
    room6: DFF<Bit>,
    // wires
    good: Signal<Local, Bit>,
    request: Signal<Local, Bit>,
    answer: Signal<Local, Bit>,
    behind: Signal<Local, Bits<6>>,
    known: Signal<Local, Bit>,
    in_replay: Signal<Local, Bit>,
    next_all_data: Signal<Local, Bit>,
    asking: Signal<Local, Bit>,
    give_up: Signal<Local, Bit>,
    framing: Signal<Local, Bit>,
    sends_control: Signal<Local, Bit>,
    message: Signal<Local, Bit>,
    to_replay: Signal<Local, Bits<6>>,
    rd_next: Signal<Local, Bits<8>>,
    free: Signal<Local, Bits<7>>,
    next_expected: Signal<Local, Bits<8>>,
    next_timer: Signal<Local, Bits<13>>,
    next_retry: Signal<Local, Bits<5>>,
    unacked_less: Signal<Local, Bits<7>>,
    unacked_next: Signal<Local, Bits<7>>,
    guarded_less: Signal<Local, Bits<7>>,
    too_many: Signal<Local, Bit>,
    state_bits: Signal<Local, Bits<3>>,
}

impl Logic for LinkRetry {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            machine,
            remote,
            framed,
            frames,
            want,
            echo,
            expected,
            num_retry,
            num_phy_reinit,
            timer,
            went_down,
            spent,
            wr,
            rd,
            replaying,
            unacked,
            guarded,
            tail_timer,
            tail_late,
            got,
            got_acks,
            replays_data,
            keeps,
            keeps_at,
            room2,
            room3,
            room6
        );
        self.flits.clock.next = self.clock.val();
        self.all_data_flags.clock.next = self.clock.val();

        self.next_retry.next = self.num_retry.q.val() + 1;

        // What arrived
        self.good.next = self.ended.val() & self.crc_ok.val();
        self.request.next = self.good.val()
            & self.retry_flit.val()
            & (self.subtype.val() == 1)
            & self.framed.q.val();
        self.answer.next = self.good.val()
            & self.retry_flit.val()
            & (self.subtype.val() == 2)
            & self.framed.q.val()
            & (self.count.val() == self.num_retry.q.val());
        self.behind.next = self.wr.q.val() - self.asked.val().get_bits::<6>(0);
        self.known.next = (self.asked.val().get_bits::<2>(6) == 0)
            & (bit_cast::<7, 6>(self.behind.val()) <= self.unacked.q.val());

        // What may be sent
        self.to_replay.next = self.wr.q.val() - self.want.q.val();
        self.in_replay.next = self.replaying.q.val() != 0;
        self.next_all_data.next = self.all_data.val();
        if self.in_replay.val() {
            self.next_all_data.next = self.replays_data.q.val();
        }
        self.asking.next = self.machine.q.val() == Machine::LlrReq;
        self.give_up.next = self.asking.val() & self.spent.q.val() & (self.frames.q.val() == 0);
        self.framing.next = !self.next_all_data.val()
            & (self.remote.q.val() | self.asking.val())
            & !self.give_up.val();
        self.silent.next = (self.machine.q.val() == Machine::PhyReinit)
            | (self.machine.q.val() == Machine::Abort)
            | (self.give_up.val() & !self.next_all_data.val());
        self.choose_control.next = self.framing.val() & !self.silent.val();
        self.choose_replay.next = self.in_replay.val() & !self.framing.val() & !self.silent.val();
        self.idle.next = self.machine.q.val() == Machine::Idle;
        self.number.next = self.wr.q.val();
        if self.in_replay.val() {
            self.number.next = self.rd.q.val().get_bits::<6>(2);
        }
        self.message.next = self.frames.q.val() == 5;
        self.free.next = bits::<7>(64) - self.unacked.q.val();
        // RETRY.Frame, RETRY.Ack, RETRY.Req
        self.control.next = bits::<128>(0x31_0000_0001_u64);
        if self.message.val() {
            if self.remote.q.val() {
                self.control.next = bits::<128>(0x21_0000_0001_u64)
                    | (bit_cast::<128, 5>(self.echo.q.val()) << 67)
                    | (bit_cast::<128, 6>(self.wr.q.val()) << 72)
                    | (bit_cast::<128, 6>(self.want.q.val()) << 80)
                    | (bit_cast::<128, 7>(self.free.val()) << 88);
                if self.to_replay.val() == 0 {
                    self.control.next = bits::<128>(0x21_0000_0001_u64)
                        | (bits::<128>(1) << 64)
                        | (bit_cast::<128, 5>(self.echo.q.val()) << 67)
                        | (bit_cast::<128, 6>(self.wr.q.val()) << 72)
                        | (bit_cast::<128, 6>(self.want.q.val()) << 80)
                        | (bit_cast::<128, 7>(self.free.val()) << 88);
                }
            } else {
                self.control.next = bits::<128>(0x11_0000_0001_u64)
                    | (bit_cast::<128, 8>(self.expected.q.val()) << 64)
                    | (bit_cast::<128, 5>(self.next_retry.val()) << 80)
                    | (bit_cast::<128, 5>(self.num_phy_reinit.q.val()) << 85);
            }
        }
        self.sends_control.next = self.flit_time.val() & self.choose_control.val();

        // Replay: the buffer's output is always the slot that would go next.
        self.rd_next.next = self.rd.q.val();
        if self.replay_taken.val() {
            self.rd_next.next = self.rd.q.val() + 1;
        }
        if self.flit_time.val() & self.choose_replay.val() {
            self.replaying.d.next = self.replaying.q.val() - 1;
        }
        self.ev_replay.next = self.flit_time.val() & self.choose_replay.val();
        self.ev_request.next = false;
        self.ev_reinit.next = false;

        // The waiting for RETRY.Ack
        self.next_timer.next = self.timer.q.val() + 1;
        if (self.machine.q.val() == Machine::Idle) & self.flit_time.val() {
            self.timer.d.next = self.next_timer.val();
            if self.next_timer.val() >= self.timeout.val() {
                self.machine.d.next = Machine::LlrReq;
            }
        }

        // Frames and messages
        self.spent.d.next = self.num_retry.q.val() >= self.max_num_retry.val();
        if self.sends_control.val() {
            if self.message.val() {
                self.frames.d.next = 0.into();
                if self.remote.q.val() {
                    self.remote.d.next = false;
                    self.replaying.d.next = self.to_replay.val();
                    self.rd_next.next = bit_cast::<8, 6>(self.want.q.val()) << 2;
                } else {
                    self.num_retry.d.next = self.next_retry.val();
                    self.timer.d.next = 0.into();
                    self.machine.d.next = Machine::Idle;
                    self.ev_request.next = true;
                }
            } else {
                self.frames.d.next = self.frames.q.val() + 1;
            }
        }
        self.ev_abort.next = false;
        if self.flit_time.val() & self.give_up.val() & !self.next_all_data.val() {
            if self.num_phy_reinit.q.val() >= self.max_num_phy_reinit.val() {
                self.machine.d.next = Machine::Abort;
                self.ev_abort.next = true;
            } else {
                self.num_phy_reinit.d.next = self.num_phy_reinit.q.val() + 1;
                self.machine.d.next = Machine::PhyReinit;
                self.went_down.d.next = false;
                self.ev_reinit.next = true;
            }
        }

        // Arrivals
        if self.ended.val() & self.crc_ok.val() {
            self.framed.d.next = self.retry_flit.val() & (self.subtype.val() == 3);
        }
        if self.ended.val() & !self.crc_ok.val() & self.heard.val() {
            if self.machine.q.val() == Machine::Normal {
                self.machine.d.next = Machine::LlrReq;
            }
        }
        if self.answer.val() & (self.machine.q.val() == Machine::Idle) {
            self.machine.d.next = Machine::Normal;
            if self.empty.val() {
                self.num_retry.d.next = 0.into();
                self.num_phy_reinit.d.next = 0.into();
            }
        }
        if self.request.val() & self.known.val() {
            self.remote.d.next = true;
            self.want.d.next = self.asked.val().get_bits::<6>(0);
            self.echo.d.next = self.count.val();
        }
        self.next_expected.next = self.expected.q.val() + 1;
        if self.delivered.val() {
            self.num_retry.d.next = 0.into();
            self.num_phy_reinit.d.next = 0.into();
            self.expected.d.next = self.next_expected.val();
            if self.next_expected.val() == self.peer_entries.val() {
                self.expected.d.next = 0.into();
            }
        }
        self.eseq.next = self.expected.q.val();
        self.dropping.next = self.machine.q.val() != Machine::Normal;

        // Entries in use
        self.got.d.next = self.delivered.val();
        self.got_acks.d.next = self.acks.val();
        self.unacked_less.next = self.unacked.q.val();
        self.guarded_less.next = self.guarded.q.val();
        self.too_many.next = false;
        if self.got.q.val() {
            self.too_many.next = self.got_acks.q.val() > bit_cast::<8, 7>(self.unacked.q.val());
            self.unacked_less.next = self.unacked.q.val() - bit_cast::<7, 8>(self.got_acks.q.val());
            self.guarded_less.next = 0.into();
            if self.got_acks.q.val() < bit_cast::<8, 7>(self.guarded.q.val()) {
                self.guarded_less.next =
                    self.guarded.q.val() - bit_cast::<7, 8>(self.got_acks.q.val());
            }
        }
        self.unacked_next.next = self.unacked_less.val();
        self.guarded.d.next = self.guarded_less.val();
        if self.begins.val() {
            self.unacked_next.next = self.unacked_less.val() + 1;
            if self.matters.val() {
                self.guarded.d.next = self.unacked_less.val() + 1;
            }
        }
        self.unacked.d.next = self.unacked_next.val();
        self.room2.d.next = self.unacked_next.val() < 63;
        self.room3.d.next = self.unacked_next.val() < 62;
        self.room6.d.next = self.unacked_next.val() < 59;
        self.room_ack.next = self.room2.q.val();
        self.room_any.next = self.room3.q.val();
        self.room_data.next = self.room6.q.val();

        // The last flits of a burst
        self.tail_late.d.next = (self.tail.val() != 0)
            & (self.guarded.q.val() != 0)
            & (self.tail_timer.q.val() >= self.tail.val());
        if self.flit_time.val() & (self.guarded.q.val() != 0) & !self.tail_timer.q.val().all() {
            self.tail_timer.d.next = self.tail_timer.q.val() + 1;
        }
        if self.begins.val() | (self.got.q.val() & (self.got_acks.q.val() != 0)) {
            self.tail_timer.d.next = 0.into();
            self.tail_late.d.next = false;
        }
        self.late.next = self.tail_late.q.val();

        // Buffer
        self.keeps.d.next = self.store.val();
        self.keeps_at.d.next =
            (bit_cast::<8, 6>(self.wr.q.val()) << 2) | bit_cast::<8, 2>(self.store_index.val());
        self.flits.write.next = self.keeps.q.val();
        self.flits.write_address.next = self.keeps_at.q.val();
        self.flits.write_data.next = self.kept_slot.val();
        self.all_data_flags.write.next = self.begins.val();
        self.all_data_flags.write_address.next = self.wr.q.val();
        self.all_data_flags.write_data.next = self.all_data.val();
        if self.store.val() & (self.store_index.val() == 3) {
            self.wr.d.next = self.wr.q.val() + 1;
        }
        self.rd.d.next = self.rd_next.val();
        self.all_data_flags.read_address.next = self.rd_next.val().get_bits::<6>(2);
        self.replays_data.d.next = self.all_data_flags.read_data.val();
        self.flits.read.next = true;
        self.flits.read_address.next = self.rd_next.val();
        self.replay_slot.next = self.flits.read_data.val();

        // Physical layer
        self.phy_reinit.next =
            (self.machine.q.val() == Machine::PhyReinit) & !self.went_down.q.val();
        if (self.machine.q.val() == Machine::PhyReinit) & self.went_down.q.val() {
            self.num_retry.d.next = 0.into();
            self.machine.d.next = Machine::LlrReq;
        }
        if self.phy_down.val() {
            self.remote.d.next = false;
            self.framed.d.next = false;
            self.frames.d.next = 0.into();
            self.replaying.d.next = 0.into();
            if self.machine.q.val() != Machine::Abort {
                self.machine.d.next = Machine::PhyReinit;
                self.went_down.d.next = true;
            }
        }
        if self.broken.val() | self.too_many.val() | (self.request.val() & !self.known.val()) {
            self.machine.d.next = Machine::Abort;
            self.ev_abort.next = self.machine.q.val() != Machine::Abort;
        }
        if self.machine.q.val() == Machine::Abort {
            self.machine.d.next = Machine::Abort;
        }
        self.aborted.next = self.machine.q.val() == Machine::Abort;
        self.state_bits.next = 0.into();
        match self.machine.q.val() {
            Machine::Normal => {
                self.state_bits.next = 0.into();
            }
            Machine::LlrReq => {
                self.state_bits.next = 1.into();
            }
            Machine::Idle => {
                self.state_bits.next = 2.into();
            }
            Machine::PhyReinit => {
                self.state_bits.next = 3.into();
            }
            Machine::Abort => {
                self.state_bits.next = 4.into();
            }
            _ => {
                self.state_bits.next = 4.into();
            }
        }
        self.status.next = bit_cast::<16, 3>(self.state_bits.val())
            | (bit_cast::<16, 1>(self.remote.q.val().into()) << 3)
            | (bit_cast::<16, 5>(self.num_retry.q.val()) << 4)
            | (bit_cast::<16, 7>(self.free.val()) << 9);

        if self.reset.val() {
            self.machine.d.next = Machine::Normal;
            self.remote.d.next = false;
            self.framed.d.next = false;
            self.frames.d.next = 0.into();
            self.expected.d.next = 0.into();
            self.num_retry.d.next = 0.into();
            self.num_phy_reinit.d.next = 0.into();
            self.wr.d.next = 0.into();
            self.rd.d.next = 0.into();
            self.replaying.d.next = 0.into();
            self.unacked.d.next = 0.into();
            self.guarded.d.next = 0.into();
            self.got.d.next = false;
            self.keeps.d.next = false;
        }
    }
}
