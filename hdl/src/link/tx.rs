//! Flit transmitter: packs NDR and DRS at the best rate the slot formats allow, returns credits, adds the CRC.
//!
//! A flit's header names the format of all four slots, so everything is decided at slot 0 from what is *complete* by then: H3 carries a
//! DRS header and an NDR, H4 two NDRs, H7 a snoop (BI-68; it goes first: few can wait), G slots only data; with data waiting no slot stays empty (four lines in five flits,
//! `cxl-mem 8.3`). Two cycles from the decision to the pins: the packer fills a slot register, and the CRC starts from there.

use super::crc::CrcStep;
use super::messages::{Completion, S2mBiSnp, S2mDrs, S2mNdr, Snoop};
use super::ndr::NdrQueue;
use crate::config::Config;
use crate::prim::{BlockRam, Fifo, Param};
use rust_hdl::prelude::*;

#[derive(LogicBlock, Default)]
pub struct Tx {
    pub clock: Signal<In, Clock>,
    /// Reset, or link disabled.
    pub reset: Signal<In, Bit>,
    pub free_running: Signal<In, Bit>,
    // pins
    pub tx_valid: Signal<Out, Bit>,
    pub tx_slot: Signal<Out, Bits<128>>,
    pub tx_sof: Signal<Out, Bit>,
    pub tx_crc: Signal<Out, Bits<16>>,
    pub tx_ready: Signal<In, Bit>,
    // responses
    pub chunk_write: Signal<In, Bit>,
    pub chunk: Signal<In, Bits<128>>,
    pub drs_write: Signal<In, Bit>,
    pub drs: Signal<In, Completion>,
    pub ndr_write: Signal<In, Bit>,
    pub ndr: Signal<In, Completion>,
    pub line_sent: Signal<Out, Bit>,
    /// NDR entries taken from the queue in the cycle before.
    pub ndr_taken: Signal<Out, Bits<2>>,
    // credits: given back by the host, and owed to it
    pub ndr_credit: Signal<In, Bits<7>>,
    pub drs_credit: Signal<In, Bits<7>>,
    pub req_popped: Signal<In, Bit>,
    pub rwd_popped: Signal<In, Bit>,
    // BI-68: a snoop that waits (from registers: nothing is between here and the packer), taken in the cycle of `snoop_pop`
    pub snoop_valid: Signal<In, Bit>,
    pub snoop: Signal<In, Snoop>,
    pub snoop_pop: Signal<Out, Bit>,
    /// Credits for snoops, from the host; answers received, for each of which it is owed one.
    pub snoop_credit: Signal<In, Bits<7>>,
    pub answers: Signal<In, Bits<3>>,
    // link state
    pub good_flit_seen: Signal<In, Bit>,
    pub init_received: Signal<In, Bit>,
    pub init_sent: Signal<Out, Bit>,
    // extensions: to be offered in INIT.Param; offered in the one that was sent; agreed on
    /// Sequence numbers go into the CRC of retryable flits.
    pub offer_seq: Signal<In, Bit>,
    pub offered_seq: Signal<Out, Bit>,
    pub seq: Signal<In, Bit>,
    /// Back-invalidate.
    pub offer_bi: Signal<In, Bit>,
    pub offered_bi: Signal<Out, Bit>,
    pub bi: Signal<In, Bit>,
    /// Contained (`cxl-mem 3.11`): the next flit is spoiled once, and no data leaves as good.
    pub viral: Signal<In, Bit>,
    /// Good retryable flits from the host, to be acknowledged.
    pub delivered: Signal<In, Bit>,
    // link-level retry (`LinkRetry`)
    pub flit_time: Signal<Out, Bit>,
    pub new_all_data: Signal<Out, Bit>,
    pub choose_control: Signal<In, Bit>,
    pub control: Signal<In, Bits<128>>,
    pub choose_replay: Signal<In, Bit>,
    pub replay_slot: Signal<In, Bits<128>>,
    pub replay_taken: Signal<Out, Bit>,
    pub silent: Signal<In, Bit>,
    pub idle: Signal<In, Bit>,
    pub number: Signal<In, Bits<6>>,
    pub begins: Signal<Out, Bit>,
    pub matters: Signal<Out, Bit>,
    pub store: Signal<Out, Bit>,
    pub store_index: Signal<Out, Bits<2>>,
    /// The slot, in the cycle after `store`.
    pub kept_slot: Signal<Out, Bits<128>>,
    pub room_ack: Signal<In, Bit>,
    pub room_any: Signal<In, Bit>,
    pub room_data: Signal<In, Bit>,
    pub late: Signal<In, Bit>,
    pub ev_flit: Signal<Out, Bit>,
    pub ev_credit_stall: Signal<Out, Bit>,

    ndrs: NdrQueue,
    drss: Fifo<Completion, 5>,
    chunks: BlockRam<Bits<128>, 6>,
    chunk_wr: DFF<Bits<6>>,
    chunk_rd: DFF<Bits<6>>,
    ndr_credits: DFF<Bits<10>>,
    drs_credits: DFF<Bits<10>>,
    req_owed: DFF<Bits<5>>,
    rwd_owed: DFF<Bits<5>>,
    snoop_credits: DFF<Bits<8>>,
    /// BI-68 is in force and there is a credit for a snoop.
    snoop_may: DFF<Bit>,
    /// Answers to be paid with credits; all trackers' at first.
    birsp_owed: DFF<Bits<4>>,
    /// There are (a cycle ago; a flit takes four), and BI-68 is in force.
    birsp_due: DFF<Bit>,
    said_seq: DFF<Bit>,
    said_bi: DFF<Bit>,
    owed_timer: DFF<Bits<5>>,
    /// Good retryable flits not yet acknowledged.
    acks: DFF<Bits<8>>,
    got: DFF<Bit>,
    sent: DFF<Bit>,
    taken: DFF<Bits<2>>,
    // packer
    index: DFF<Bits<2>>,
    /// The flit under way holds no data slots of the packer; is a replay; is kept for one.
    plain: DFF<Bit>,
    replay: DFF<Bit>,
    keep: DFF<Bit>,
    roll: DFF<Bits<3>>,
    // stage P: a slot, whatever it is made of; all that goes to the wire passes here
    p_valid: DFF<Bit>,
    p_first: DFF<Bit>,
    p_slot: DFF<Bits<128>>,
    p_number: DFF<Bits<7>>,
    /// Every number has been used: 0 is INIT.Param's no more.
    wrapped: DFF<Bit>,
    p_spoiled: DFF<Bit>,
    // output
    step: CrcStep,
    acc: DFF<Bits<16>>,
    o_valid: DFF<Bit>,
    o_first: DFF<Bit>,
    o_slot: DFF<Bits<128>>,
    o_number: DFF<Bits<7>>,
    o_spoiled: DFF<Bit>,
    was_viral: DFF<Bit>,
    spoil: DFF<Bit>,
    check: Signal<Local, Bits<16>>,
    spoil_now: Signal<Local, Bit>,
    // wires
    up: Signal<Local, Bit>,
    advance: Signal<Local, Bit>,
    at_start: Signal<Local, Bit>,
    all_data: Signal<Local, Bit>,
    ndr_one: Signal<Local, Bit>,
    ndr_two: Signal<Local, Bit>,
    snoop_now: Signal<Local, Bit>,
    take_snoop: Signal<Local, Bit>,
    take_drs: Signal<Local, Bit>,
    take_first: Signal<Local, Bit>,
    take_second: Signal<Local, Bit>,
    fresh: Signal<Local, Bit>,
    overdue: Signal<Local, Bit>,
    pay: Signal<Local, Bit>,
    begins_now: Signal<Local, Bit>,
    store_now: Signal<Local, Bit>,
    replay_now: Signal<Local, Bit>,
    acks_left: Signal<Local, Bits<8>>,
    protocol: Signal<Local, Bit>,
    llcrd: Signal<Local, Bit>,
    init: Signal<Local, Bit>,
    retry_idle: Signal<Local, Bit>,
    start: Signal<Local, Bit>,
    roll_now: Signal<Local, Bits<3>>,
    has_data: Signal<Local, Bit>,
    send_data: Signal<Local, Bit>,
    chunk_next: Signal<Local, Bits<6>>,
    word: Signal<Local, Bits<128>>,
    req_code: Signal<Local, Bits<4>>,
    req_amount: Signal<Local, Bits<5>>,
    rwd_code: Signal<Local, Bits<4>>,
    rwd_amount: Signal<Local, Bits<5>>,
    birsp_code: Signal<Local, Bits<4>>,
    birsp_amount: Signal<Local, Bits<4>>,
    birsp_more: Signal<Local, Bits<4>>,
    snoop_gain: Signal<Local, Bits<8>>,
    snoop_message: Signal<Local, S2mBiSnp>,
    snoop_bits: Signal<Local, Bits<84>>,
    waiting: Signal<Local, Snoop>,
    credits_sent: Signal<Local, Bit>,
    owed: Signal<Local, Bit>,
    drs_head: Signal<Local, Completion>,
    drs_message: Signal<Local, S2mDrs>,
    ndr0: Signal<Local, S2mNdr>,
    ndr1: Signal<Local, S2mNdr>,
    drs_bits: Signal<Local, Bits<40>>,
    ndr0_bits: Signal<Local, Bits<30>>,
    ndr1_bits: Signal<Local, Bits<30>>,
    made: Signal<Local, Bits<128>>,
    ndr_gain: Signal<Local, Bits<10>>,
    drs_gain: Signal<Local, Bits<10>>,
    req_credits: Param<Bits<5>>,
    rwd_credits: Param<Bits<5>>,
}

impl Tx {
    pub fn new(config: &Config) -> Self {
        Self {
            req_credits: Param::new((config.req_trackers as u64).into()),
            rwd_credits: Param::new((config.rwd_trackers as u64).into()),
            ..Default::default()
        }
    }
}

impl Logic for Tx {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            chunk_wr,
            chunk_rd,
            ndr_credits,
            drs_credits,
            req_owed,
            rwd_owed,
            snoop_credits,
            snoop_may,
            birsp_owed,
            birsp_due,
            said_seq,
            said_bi,
            owed_timer,
            acks,
            got,
            sent,
            taken,
            index,
            plain,
            replay,
            keep,
            roll,
            p_valid,
            p_first,
            p_slot,
            p_number,
            wrapped,
            p_spoiled,
            acc,
            o_valid,
            o_first,
            o_slot,
            o_number,
            o_spoiled,
            was_viral,
            spoil
        );
        self.ndrs.clock.next = self.clock.val();
        self.drss.clock.next = self.clock.val();
        self.chunks.clock.next = self.clock.val();
        self.ndrs.reset.next = self.reset.val();
        self.drss.reset.next = self.reset.val();

        // Queues
        self.ndrs.write.next = self.ndr_write.val();
        self.ndrs.write_data.next = self.ndr.val();
        self.drss.write.next = self.drs_write.val();
        self.drss.write_data.next = self.drs.val();
        self.chunks.write.next = self.chunk_write.val();
        self.chunks.write_address.next = self.chunk_wr.q.val();
        self.chunks.write_data.next = self.chunk.val();
        if self.chunk_write.val() {
            self.chunk_wr.d.next = self.chunk_wr.q.val() + 1;
        }

        // What a flit that starts now would carry
        self.up.next = self.sent.q.val() & self.init_received.val();
        self.advance.next = self.tx_ready.val();
        self.at_start.next = self.index.q.val() == 0;
        self.all_data.next = self.roll.q.val() > 3;
        self.flit_time.next = self.at_start.val() & self.advance.val() & !self.reset.val();
        self.new_all_data.next = self.all_data.val();
        // Nothing of the retry machines goes first, and no acknowledgement is overdue.
        self.fresh.next =
            !self.choose_control.val() & !self.choose_replay.val() & !self.silent.val();
        self.overdue.next = (self.acks.q.val() > 15) & self.up.val() & self.room_ack.val();
        self.ndr_one.next = (self.ndrs.count.val() != 0) & (self.ndr_credits.q.val() != 0);
        self.ndr_two.next = (self.ndrs.count.val() > 1) & (self.ndr_credits.q.val() > 1);
        // A snoop takes slot 0; NDR and DRS headers wait for the next flit.
        self.snoop_now.next = self.snoop_valid.val() & self.snoop_may.q.val();
        self.take_snoop.next = self.up.val()
            & self.fresh.val()
            & !self.overdue.val()
            & self.room_any.val()
            & !self.all_data.val()
            & self.snoop_now.val();
        self.take_drs.next = self.up.val()
            & !self.snoop_now.val()
            & self.fresh.val()
            & !self.overdue.val()
            & self.room_data.val()
            & !self.all_data.val()
            & !self.drss.empty.val()
            & (self.drs_credits.q.val() != 0);
        self.take_first.next = self.up.val()
            & !self.snoop_now.val()
            & self.fresh.val()
            & !self.overdue.val()
            & self.room_any.val()
            & !self.all_data.val()
            & self.ndr_one.val();
        self.take_second.next = self.take_first.val() & self.ndr_two.val() & !self.take_drs.val();
        self.owed.next = (self.req_owed.q.val() != 0)
            | (self.rwd_owed.q.val() != 0)
            | self.birsp_due.q.val()
            | (self.acks.q.val() > 1);
        self.protocol.next = !self.all_data.val()
            & self.fresh.val()
            & !self.overdue.val()
            & (self.take_snoop.val()
                | self.take_drs.val()
                | self.take_first.val()
                | ((self.roll.q.val() != 0) & self.room_any.val())
                | (self.up.val() & self.free_running.val() & self.room_any.val()));
        self.llcrd.next = !self.all_data.val()
            & self.fresh.val()
            & !self.protocol.val()
            & self.up.val()
            & self.room_ack.val()
            & (self.overdue.val() | self.owed_timer.q.val().all() | self.late.val());
        self.init.next = self.fresh.val() & !self.sent.q.val() & self.good_flit_seen.val();
        self.retry_idle.next = self.fresh.val()
            & !self.all_data.val()
            & !self.protocol.val()
            & !self.llcrd.val()
            & !self.init.val()
            & (!self.sent.q.val() | self.idle.val());
        self.begins_now.next = self.flit_time.val()
            & self.fresh.val()
            & (self.all_data.val() | self.protocol.val() | self.llcrd.val() | self.init.val());
        self.start.next = self.begins_now.val()
            | (self.flit_time.val()
                & (self.choose_control.val() | self.choose_replay.val() | self.retry_idle.val()));
        self.begins.next = self.begins_now.val();
        // LLCRD matters if it returns credits.
        self.matters.next = !self.llcrd.val()
            | (self.req_owed.q.val() != 0)
            | (self.rwd_owed.q.val() != 0)
            | self.birsp_due.q.val();

        // Credits owed to the host: the largest power of two
        self.req_code.next = 0.into();
        self.req_amount.next = 0.into();
        if self.req_owed.q.val() > 15 {
            self.req_code.next = 13.into();
            self.req_amount.next = 16.into();
        } else if self.req_owed.q.val() > 7 {
            self.req_code.next = 12.into();
            self.req_amount.next = 8.into();
        } else if self.req_owed.q.val() > 3 {
            self.req_code.next = 11.into();
            self.req_amount.next = 4.into();
        } else if self.req_owed.q.val() > 1 {
            self.req_code.next = 10.into();
            self.req_amount.next = 2.into();
        } else if self.req_owed.q.val() == 1 {
            self.req_code.next = 9.into();
            self.req_amount.next = 1.into();
        }
        self.rwd_code.next = 0.into();
        self.rwd_amount.next = 0.into();
        if self.rwd_owed.q.val() > 7 {
            self.rwd_code.next = 12.into();
            self.rwd_amount.next = 8.into();
        } else if self.rwd_owed.q.val() > 3 {
            self.rwd_code.next = 11.into();
            self.rwd_amount.next = 4.into();
        } else if self.rwd_owed.q.val() > 1 {
            self.rwd_code.next = 10.into();
            self.rwd_amount.next = 2.into();
        } else if self.rwd_owed.q.val() == 1 {
            self.rwd_code.next = 9.into();
            self.rwd_amount.next = 1.into();
        }
        self.birsp_code.next = 0.into();
        self.birsp_amount.next = 0.into();
        if self.birsp_due.q.val() {
            if self.birsp_owed.q.val() > 3 {
                self.birsp_code.next = 11.into();
                self.birsp_amount.next = 4.into();
            } else if self.birsp_owed.q.val() > 1 {
                self.birsp_code.next = 10.into();
                self.birsp_amount.next = 2.into();
            } else if self.birsp_owed.q.val() == 1 {
                self.birsp_code.next = 9.into();
                self.birsp_amount.next = 1.into();
            }
        }
        self.credits_sent.next = self.start.val() & (self.protocol.val() | self.llcrd.val());

        // Acknowledgements owed to the host: eight by the Ak bit, all of them in LLCRD
        self.got.d.next = self.delivered.val();
        self.pay.next = self.acks.q.val() > 7;
        self.acks_left.next = self.acks.q.val();
        if self.start.val() & self.protocol.val() & self.pay.val() {
            self.acks_left.next = self.acks.q.val() - 8;
        }
        if self.start.val() & self.llcrd.val() {
            self.acks_left.next = 0.into();
        }
        self.acks.d.next = self.acks_left.val();
        if self.got.q.val() & !self.acks_left.val().all() {
            self.acks.d.next = self.acks_left.val() + 1;
        }

        // Messages
        self.drs_head.next = self.drss.read_data.val();
        self.drs_message.next.valid = 1.into();
        self.drs_message.next.opcode = self.drs_head.val().opcode;
        self.drs_message.next.meta_field = self.drs_head.val().meta_field;
        self.drs_message.next.meta_value = self.drs_head.val().meta_value;
        self.drs_message.next.tag = self.drs_head.val().tag;
        self.drs_message.next.poison = self.drs_head.val().poison;
        if self.viral.val() {
            self.drs_message.next.poison = 1.into();
        }
        self.drs_message.next.ld_id = self.drs_head.val().ld_id;
        self.drs_message.next.dev_load = self.drs_head.val().dev_load;
        self.drs_message.next.rsvd = 0.into();
        self.ndr0.next.valid = 1.into();
        self.ndr0.next.opcode = self.ndrs.first.val().opcode;
        self.ndr0.next.meta_field = self.ndrs.first.val().meta_field;
        self.ndr0.next.meta_value = self.ndrs.first.val().meta_value;
        self.ndr0.next.tag = self.ndrs.first.val().tag;
        self.ndr0.next.ld_id = self.ndrs.first.val().ld_id;
        self.ndr0.next.dev_load = self.ndrs.first.val().dev_load;
        self.ndr1.next.valid = 1.into();
        self.ndr1.next.opcode = self.ndrs.second.val().opcode;
        self.ndr1.next.meta_field = self.ndrs.second.val().meta_field;
        self.ndr1.next.meta_value = self.ndrs.second.val().meta_value;
        self.ndr1.next.tag = self.ndrs.second.val().tag;
        self.ndr1.next.ld_id = self.ndrs.second.val().ld_id;
        self.ndr1.next.dev_load = self.ndrs.second.val().dev_load;
        self.drs_bits.next = 0.into();
        if self.take_drs.val() {
            self.drs_bits.next = self.drs_message.val().into();
        }
        self.ndr0_bits.next = 0.into();
        if self.take_first.val() {
            self.ndr0_bits.next = self.ndr0.val().into();
        }
        self.ndr1_bits.next = 0.into();
        if self.take_second.val() {
            self.ndr1_bits.next = self.ndr1.val().into();
        }

        self.waiting.next = self.snoop.val();
        self.snoop_message.next.valid = 1.into();
        self.snoop_message.next.opcode = self.waiting.val().opcode;
        self.snoop_message.next.bi_id = 0.into();
        self.snoop_message.next.bi_tag = bit_cast::<12, 2>(self.waiting.val().tag);
        self.snoop_message.next.address = self.waiting.val().address;
        self.snoop_message.next.rsvd = 0.into();
        self.snoop_bits.next = 0.into();
        if self.take_snoop.val() {
            self.snoop_bits.next = self.snoop_message.val().into();
        }
        self.snoop_pop.next = self.start.val() & self.take_snoop.val();

        // Slot 0
        self.roll_now.next = self.roll.q.val();
        if self.at_start.val() & self.take_drs.val() {
            self.roll_now.next = self.roll.q.val() + 4;
        }
        self.word.next = 0.into();
        if self.at_start.val() {
            if self.protocol.val() {
                // Sz = 1; credit nibbles; then formats: data slots are G0, unused ones an empty G5.
                self.word.next = (bit_cast::<128, 4>(self.birsp_code.val()) << 20)
                    | (bit_cast::<128, 4>(self.req_code.val()) << 24)
                    | (bit_cast::<128, 4>(self.rwd_code.val()) << 28)
                    | (bit_cast::<128, 84>(self.snoop_bits.val()) << 32)
                    | bits::<128>(0x10);
                if self.take_snoop.val() {
                    // H7: BISnp [115:32]; with the 0x80 below
                    self.word.next = self.word.val() | bits::<128>(0x60);
                }
                if self.pay.val() {
                    self.word.next = self.word.val() | bits::<128>(4);
                }
                if self.roll_now.val() == 0 {
                    self.word.next = self.word.val() | bits::<128>(0x500);
                }
                if self.roll_now.val() < 2 {
                    self.word.next = self.word.val() | bits::<128>(0x2800);
                }
                if self.roll_now.val() < 3 {
                    self.word.next = self.word.val() | bits::<128>(0x14000);
                }
                if self.take_drs.val() {
                    // H3: DRS [71:32], NDR [101:72]
                    self.word.next = self.word.val()
                        | bits::<128>(0x60)
                        | (bit_cast::<128, 40>(self.drs_bits.val()) << 32)
                        | (bit_cast::<128, 30>(self.ndr0_bits.val()) << 72);
                } else {
                    // H4: NDR0[27:0] at 32, NDR1 at 60, NDR0.DevLoad at 90
                    self.word.next = self.word.val()
                        | bits::<128>(0x80)
                        | (bit_cast::<128, 28>(self.ndr0_bits.val().get_bits::<28>(0)) << 32)
                        | (bit_cast::<128, 30>(self.ndr1_bits.val()) << 60)
                        | (bit_cast::<128, 2>(self.ndr0_bits.val().get_bits::<2>(28)) << 90);
                }
            } else if self.llcrd.val() {
                // LLCRD.Acknowledge: the count is {Ack[7:4], Ak, Ack[2:0]}
                self.word.next = (bit_cast::<128, 4>(self.birsp_code.val()) << 20)
                    | (bit_cast::<128, 4>(self.req_code.val()) << 24)
                    | (bit_cast::<128, 4>(self.rwd_code.val()) << 28)
                    | (bit_cast::<128, 1>(self.acks.q.val().get_bits::<1>(3)) << 2)
                    | (bit_cast::<128, 3>(self.acks.q.val().get_bits::<3>(0)) << 64)
                    | (bit_cast::<128, 4>(self.acks.q.val().get_bits::<4>(4)) << 68)
                    | bits::<128>(0x10_0000_0001_u64);
            } else if self.init.val() {
                // INIT.Param: version 2, wrap value 64, signature of the extensions
                self.word.next =
                    bits::<128>(0x8C_0000_0001_u64) | (bits::<128>(0x4000_0002_u64) << 64);
                if self.offer_seq.val() {
                    self.word.next =
                        self.word.val() | (bits::<128>(0xB161_0000_0000_0000_u64) << 64);
                }
                if self.offer_bi.val() {
                    self.word.next =
                        self.word.val() | (bits::<128>(0xB168_0000_0000_0000_u64) << 64);
                }
            } else if self.retry_idle.val() {
                // RETRY.Idle
                self.word.next = bits::<128>(0x1_0000_0001_u64);
            }
        }

        // Data: the buffer's output is always the next chunk, read a cycle before the packer asks for it. Chunk k of a line enters
        // the buffer at least two cycles before it is taken here (`Reads::contiguous`), so that it costs no latency.
        self.has_data.next = (self.roll.q.val() != 0) & !self.plain.q.val();
        if self.at_start.val() {
            self.has_data.next = self.all_data.val() & self.fresh.val();
        }
        self.send_data.next = self.has_data.val() & self.advance.val();
        self.chunk_next.next = self.chunk_rd.q.val();
        if self.send_data.val() {
            self.chunk_next.next = self.chunk_rd.q.val() + 1;
        }
        self.chunk_rd.d.next = self.chunk_next.val();
        self.chunks.read.next = true;
        self.chunks.read_address.next = self.chunk_next.val();
        self.line_sent.next = self.send_data.val() & (self.chunk_rd.q.val().get_bits::<2>(0) == 3);
        self.made.next = self.word.val();
        if self.has_data.val() {
            self.made.next = self.chunks.read_data.val();
        }
        if self.at_start.val() & self.choose_control.val() {
            self.made.next = self.control.val();
        }
        self.replay_now.next = self.replay.q.val();
        if self.at_start.val() {
            self.replay_now.next = self.choose_replay.val();
        }
        if self.replay_now.val() {
            self.made.next = self.replay_slot.val();
        }
        self.replay_taken.next = self.replay_now.val() & self.advance.val() & !self.reset.val();

        // Kept until it is acknowledged
        self.store_now.next = self.keep.q.val();
        if self.at_start.val() {
            self.store_now.next = self.begins_now.val();
        }
        self.store.next = self.store_now.val() & self.advance.val();
        self.store_index.next = self.index.q.val();
        self.kept_slot.next = self.p_slot.q.val();

        // Stage P
        self.spoil_now.next = self.spoil.q.val() | (self.viral.val() & !self.was_viral.q.val());
        self.ndrs.take.next = 0.into();
        self.drss.read.next = false;
        if self.advance.val() {
            self.p_first.d.next = self.start.val();
            self.p_slot.d.next = self.made.val();
            if self.at_start.val() {
                self.p_valid.d.next = self.start.val();
                self.p_spoiled.d.next = self.spoil_now.val();
                self.p_number.d.next = 0.into();
                // A number has the bit beside it that INIT.Param and RETRY.* go without (`control::NUMBERED`).
                if self.seq.val()
                    & !self.choose_control.val()
                    & !self.retry_idle.val()
                    & (self.number.val().any() | self.wrapped.q.val())
                {
                    self.p_number.d.next = bit_cast::<7, 6>(self.number.val()) | 0x40;
                }
                if self.start.val() {
                    self.index.d.next = 1.into();
                    if self.begins_now.val() & self.number.val().all() {
                        self.wrapped.d.next = true;
                    }
                    self.plain.d.next =
                        !self.protocol.val() & !(self.all_data.val() & self.fresh.val());
                    self.replay.d.next = self.choose_replay.val();
                    self.keep.d.next = self.begins_now.val();
                    self.drss.read.next = self.take_drs.val();
                    if self.take_second.val() {
                        self.ndrs.take.next = 2.into();
                    } else if self.take_first.val() {
                        self.ndrs.take.next = 1.into();
                    }
                    if self.init.val() {
                        self.sent.d.next = true;
                        self.said_seq.d.next = self.offer_seq.val();
                        self.said_bi.d.next = self.offer_bi.val();
                    }
                }
            } else {
                self.p_valid.d.next = true;
                self.index.d.next = self.index.q.val() + 1;
            }
        }
        self.roll.d.next = self.roll.q.val();
        if self.send_data.val() {
            self.roll.d.next = self.roll.q.val() - 1;
        }
        if self.start.val() & self.take_drs.val() {
            self.roll.d.next = self.roll_now.val();
        }
        self.taken.d.next = self.ndrs.take.val();
        self.ndr_taken.next = self.taken.q.val();

        // Output: slot and CRC
        self.step.slot.next = self.p_slot.q.val();
        self.step.acc.next = self.acc.q.val();
        if self.p_first.q.val() {
            self.step.acc.next = 0.into();
        }
        if self.advance.val() {
            self.o_valid.d.next = self.p_valid.q.val();
            self.o_first.d.next = self.p_first.q.val();
            self.o_slot.d.next = self.p_slot.q.val();
            self.o_number.d.next = self.p_number.q.val();
            self.o_spoiled.d.next = self.p_spoiled.q.val();
            self.acc.d.next = self.step.crc.val();
        }
        self.tx_valid.next = self.o_valid.q.val();
        self.tx_sof.next = self.o_first.q.val();
        self.tx_slot.next = self.o_slot.q.val();
        self.check.next = self.acc.q.val() ^ bit_cast::<16, 7>(self.o_number.q.val());
        self.tx_crc.next = self.check.val();
        if self.o_spoiled.q.val() {
            self.tx_crc.next = self.check.val() ^ 0x8000;
        }
        self.was_viral.d.next = self.viral.val();
        self.spoil.d.next = self.spoil_now.val() & !self.start.val();

        // Credit counters
        self.ndr_gain.next = self.ndr_credits.q.val() + bit_cast::<10, 7>(self.ndr_credit.val())
            - bit_cast::<10, 2>(self.ndrs.take.val());
        self.drs_gain.next = self.drs_credits.q.val() + bit_cast::<10, 7>(self.drs_credit.val());
        self.drs_credits.d.next = self.drs_gain.val();
        if self.drss.read.val() {
            self.drs_credits.d.next = self.drs_gain.val() - 1;
        }
        self.ndr_credits.d.next = self.ndr_gain.val();
        // Saturate: a count with the top bit set takes no more.
        if self.ndr_gain.val().get_bit(9) {
            self.ndr_credits.d.next = 511.into();
        }
        if self.drs_gain.val().get_bit(9) {
            self.drs_credits.d.next = 511.into();
        }
        self.req_owed.d.next = self.req_owed.q.val();
        self.rwd_owed.d.next = self.rwd_owed.q.val();
        if self.credits_sent.val() {
            self.req_owed.d.next = self.req_owed.q.val() - self.req_amount.val();
            self.rwd_owed.d.next = self.rwd_owed.q.val() - self.rwd_amount.val();
            self.owed_timer.d.next = 0.into();
        } else {
            if self.owed.val() & !self.owed_timer.q.val().all() {
                self.owed_timer.d.next = self.owed_timer.q.val() + 1;
            }
        }
        if self.req_popped.val() {
            if self.credits_sent.val() {
                self.req_owed.d.next = self.req_owed.q.val() - self.req_amount.val() + 1;
            } else {
                self.req_owed.d.next = self.req_owed.q.val() + 1;
            }
        }
        if self.rwd_popped.val() {
            if self.credits_sent.val() {
                self.rwd_owed.d.next = self.rwd_owed.q.val() - self.rwd_amount.val() + 1;
            } else {
                self.rwd_owed.d.next = self.rwd_owed.q.val() + 1;
            }
        }

        // BI-68: snoops are paid with the host's credits, and answers with the device's.
        self.snoop_gain.next =
            self.snoop_credits.q.val() + bit_cast::<8, 7>(self.snoop_credit.val());
        self.snoop_credits.d.next = self.snoop_gain.val();
        if self.snoop_pop.val() {
            self.snoop_credits.d.next = self.snoop_gain.val() - 1;
        }
        if self.snoop_gain.val().get_bit(7) {
            self.snoop_credits.d.next = 127.into();
        }
        self.snoop_may.d.next = self.bi.val() & (self.snoop_credits.q.val() != 0);
        self.birsp_more.next = self.birsp_owed.q.val() + bit_cast::<4, 3>(self.answers.val());
        self.birsp_owed.d.next = self.birsp_more.val();
        if self.credits_sent.val() {
            self.birsp_owed.d.next = self.birsp_more.val() - self.birsp_amount.val();
        } else {
            // More answers than credits: a host that sends them gets no more than it may have.
            if self.birsp_more.val() > 4 {
                self.birsp_owed.d.next = 4.into();
            }
        }
        self.birsp_due.d.next = self.bi.val() & (self.birsp_owed.q.val() != 0);

        self.init_sent.next = self.sent.q.val();
        self.offered_seq.next = self.said_seq.q.val();
        self.offered_bi.next = self.said_bi.q.val();
        self.ev_flit.next = self.start.val();
        self.ev_credit_stall.next = self.up.val()
            & ((!self.drss.empty.val() & (self.drs_credits.q.val() == 0))
                | ((self.ndrs.count.val() != 0) & (self.ndr_credits.q.val() == 0))
                | (self.snoop_valid.val() & self.bi.val() & !self.snoop_may.q.val()));

        if self.reset.val() {
            self.chunk_wr.d.next = 0.into();
            self.chunk_rd.d.next = 0.into();
            self.ndr_credits.d.next = 0.into();
            self.drs_credits.d.next = 0.into();
            self.req_owed.d.next = self.req_credits.val();
            self.rwd_owed.d.next = self.rwd_credits.val();
            self.owed_timer.d.next = 31.into();
            self.spoil.d.next = false;
            self.acks.d.next = 0.into();
            self.got.d.next = false;
            self.snoop_credits.d.next = 0.into();
            self.snoop_may.d.next = false;
            self.birsp_owed.d.next = 4.into();
            self.birsp_due.d.next = false;
            self.sent.d.next = false;
            self.said_seq.d.next = false;
            self.said_bi.d.next = false;
            self.wrapped.d.next = false;
            self.index.d.next = 0.into();
            self.roll.d.next = 0.into();
            self.p_valid.d.next = false;
            self.o_valid.d.next = false;
        }
    }
}
