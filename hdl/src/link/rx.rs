//! Flit receiver: framing, CRC check, slot decode with rollover, address decode, and queues that show a flit's content only once its
//! CRC is good. Three cycles from the last slot at the pins to a request at the head of its queue.

use super::answers::Answers;
use super::crc::CrcStep;
use super::messages::{M2sReq, M2sRwd, Request, View};
use crate::prim::{BlockRam, CommitFifo};
use rust_hdl::prelude::*;

#[derive(LogicBlock, Default)]
pub struct Rx {
    pub clock: Signal<In, Clock>,
    /// Reset, or link disabled: queues are emptied.
    pub reset: Signal<In, Bit>,
    // pins
    pub rx_valid: Signal<In, Bit>,
    pub rx_slot: Signal<In, Bits<128>>,
    pub rx_sof: Signal<In, Bit>,
    pub rx_crc: Signal<In, Bits<16>>,
    // address decode (combinational, from a register)
    pub address: Signal<Out, Bits<46>>,
    pub hit: Signal<In, Bit>,
    pub line: Signal<In, Bits<26>>,
    pub db: Signal<In, Bit>,
    // M2S Req queue head
    pub req_valid: Signal<Out, Bit>,
    pub req: Signal<Out, Request>,
    pub req_pop: Signal<In, Bit>,
    // M2S RwD queue head: valid once the whole line is here
    pub rwd_valid: Signal<Out, Bit>,
    pub rwd: Signal<Out, Request>,
    pub rwd_pop: Signal<In, Bit>,
    /// Fetch the head's next data chunk, or (`fetch_be`) its byte-enable chunk: `data` follows one cycle later and is held.
    pub fetch: Signal<In, Bit>,
    pub fetch_be: Signal<In, Bit>,
    pub data: Signal<Out, Bits<128>>,
    /// Requests waiting, for DevLoad.
    pub req_level: Signal<Out, Bits<5>>,
    // credits returned by the host, for the transmitter
    pub ndr_credit: Signal<Out, Bits<7>>,
    pub drs_credit: Signal<Out, Bits<7>>,
    // BI-68, if it is in force: answers to snoops (ports of `Answers`), and credits for snoops
    pub bi: Signal<In, Bit>,
    pub answer_valid: Signal<Out, Bits<4>>,
    pub answer_codes: Signal<Out, Bits<16>>,
    pub answer_stray: Signal<Out, Bit>,
    pub answers: Signal<Out, Bits<3>>,
    pub snoop_credit: Signal<Out, Bits<7>>,
    // status
    pub good_flit_seen: Signal<Out, Bit>,
    pub init_received: Signal<Out, Bit>,
    /// What the host's INIT.Param says: wrap value and extension signature.
    pub peer_entries: Signal<Out, Bits<8>>,
    pub signature: Signal<Out, Bits<16>>,
    // link-level retry
    pub phy_down: Signal<In, Bit>,
    /// A replay is awaited: only RETRY.* counts.
    pub dropping: Signal<In, Bit>,
    /// Sequence number mixed into the CRC of the next retryable flit; 0 without SEQ.
    pub flit_number: Signal<In, Bits<8>>,
    pub ended: Signal<Out, Bit>,
    pub crc_good: Signal<Out, Bit>,
    pub retry_flit: Signal<Out, Bit>,
    pub retry_subtype: Signal<Out, Bits<4>>,
    pub asked: Signal<Out, Bits<8>>,
    pub count: Signal<Out, Bits<5>>,
    pub empty: Signal<Out, Bit>,
    pub delivered: Signal<Out, Bit>,
    pub acks: Signal<Out, Bits<8>>,
    /// INIT.Param missing or repeated.
    pub broken: Signal<Out, Bit>,
    pub ev_flit: Signal<Out, Bit>,
    pub ev_crc_error: Signal<Out, Bit>,
    pub ev_protocol_error: Signal<Out, Bit>,
    /// The slot that `ev_protocol_error` is about.
    pub error_slot: Signal<Out, Bits<128>>,

    /// A flit's start has been seen since the reset: slots before it belong to a flit that began earlier.
    aligned: DFF<Bit>,
    // stage 1: pins registered, CRC step
    s1_valid: DFF<Bit>,
    s1_index: DFF<Bits<2>>,
    s1_slot: DFF<Bits<128>>,
    s1_crc: DFF<Bits<16>>,
    step: CrcStep,
    acc: DFF<Bits<16>>,
    // stage 2: decode
    s2_valid: DFF<Bit>,
    s2_index: DFF<Bits<2>>,
    s2_slot: DFF<Bits<128>>,
    s2_crc: DFF<Bits<16>>,
    /// HPA[51:6] of the slot, if it is a request: picked out a cycle early, since the address decode is a long path.
    s2_address: DFF<Bits<46>>,
    // flit state, held from slot 0
    formats: DFF<Bits<9>>,
    control: DFF<Bit>,
    be: DFF<Bit>,
    all_data: DFF<Bit>,
    rwd_seen: DFF<Bit>,
    credits: DFF<Bits<12>>,
    is_init: DFF<Bit>,
    /// RETRY.*: not counted, not acknowledged, without a sequence number.
    exempt: DFF<Bit>,
    sub: DFF<Bits<4>>,
    /// Slot bits 87:64 of a control flit: the fields of RETRY.Req and RETRY.Ack.
    payload: DFF<Bits<24>>,
    flit_acks: DFF<Bits<8>>,
    wrap: DFF<Bits<8>>,
    sign: DFF<Bits<16>>,
    peer_wrap: DFF<Bits<8>>,
    peer_sign: DFF<Bits<16>>,
    /// No bit of the flit was set so far: an idle or dead wire, which passes the CRC.
    zero: DFF<Bit>,
    /// A rule was broken in this flit, and the slot.
    suspect: DFF<Bit>,
    suspect_slot: DFF<Bits<128>>,
    // rollover: chunks owed, and its value before this flit
    roll: DFF<Bits<4>>,
    roll_good: DFF<Bits<4>>,
    // link state
    init_seen: DFF<Bit>,
    flit_seen: DFF<Bit>,
    snoop_answers: Answers,
    // queues
    req_view: View<M2sReq, 87>,
    rwd_view: View<M2sRwd, 87>,
    reqs: CommitFifo<Request, 4, 5>,
    rwds: CommitFifo<Request, 3, 4>,
    chunks: BlockRam<Bits<128>, 6>,
    chunk_wr: DFF<Bits<7>>,
    chunk_good: DFF<Bits<7>>,
    chunk_rd: DFF<Bits<7>>,
    /// Next data chunk of the head to fetch, and the place of its byte enables.
    chunk_next: DFF<Bits<7>>,
    chunk_be: DFF<Bits<7>>,
    // wires
    slot: Signal<Local, Bits<128>>,
    message: Signal<Local, Bits<87>>,
    first: Signal<Local, Bit>,
    last: Signal<Local, Bit>,
    format: Signal<Local, Bits<3>>,
    now_all_data: Signal<Local, Bit>,
    now_control: Signal<Local, Bit>,
    now_be: Signal<Local, Bit>,
    is_data: Signal<Local, Bit>,
    is_req: Signal<Local, Bit>,
    is_rwd: Signal<Local, Bit>,
    is_answers: Signal<Local, Bit>,
    head_slot: Signal<Local, Bit>,
    roll_next: Signal<Local, Bits<4>>,
    chunk_end: Signal<Local, Bits<7>>,
    chunk_level: Signal<Local, Bits<7>>,
    chunk_popped: Signal<Local, Bits<7>>,
    crc_want: Signal<Local, Bits<16>>,
    crc_ok: Signal<Local, Bit>,
    zero_now: Signal<Local, Bit>,
    counts: Signal<Local, Bit>,
    offence: Signal<Local, Bit>,
    suspect_now: Signal<Local, Bit>,
    accept: Signal<Local, Bit>,
    llctrl: Signal<Local, Bits<4>>,
    subtype: Signal<Local, Bits<4>>,
    formats_next: Signal<Local, Bits<9>>,
    s1_rwd: Signal<Local, Bit>,
    s1_message: Signal<Local, Bits<87>>,
    s1_req: View<M2sReq, 87>,
    s1_rwd_view: View<M2sRwd, 87>,
    req_address: Signal<Local, Bits<47>>,
    request: Signal<Local, Request>,
    rwd_head: Signal<Local, Request>,
    /// Credit nibbles of the flit accepted in the cycle before.
    drs_code: DFF<Bits<4>>,
    rsp_code: DFF<Bits<4>>,
    req_code: DFF<Bits<4>>,
    ndr_power: Signal<Local, Bits<8>>,
    drs_power: Signal<Local, Bits<8>>,
    snoop_power: Signal<Local, Bits<8>>,
}

impl Logic for Rx {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            aligned,
            s1_valid,
            s1_index,
            s1_slot,
            s1_crc,
            acc,
            s2_valid,
            s2_index,
            s2_slot,
            s2_crc,
            s2_address,
            formats,
            control,
            be,
            all_data,
            rwd_seen,
            credits,
            is_init,
            exempt,
            sub,
            payload,
            flit_acks,
            wrap,
            sign,
            peer_wrap,
            peer_sign,
            zero,
            suspect,
            suspect_slot,
            roll,
            roll_good,
            init_seen,
            flit_seen,
            chunk_wr,
            chunk_good,
            chunk_rd,
            chunk_next,
            chunk_be,
            drs_code,
            rsp_code,
            req_code
        );
        self.snoop_answers.clock.next = self.clock.val();
        self.snoop_answers.reset.next = self.reset.val();
        self.reqs.clock.next = self.clock.val();
        self.rwds.clock.next = self.clock.val();
        self.chunks.clock.next = self.clock.val();
        self.reqs.reset.next = self.reset.val();
        self.rwds.reset.next = self.reset.val();

        // Stage 1
        self.s1_valid.d.next = self.rx_valid.val() & (self.aligned.q.val() | self.rx_sof.val());
        if self.rx_valid.val() & self.rx_sof.val() {
            self.aligned.d.next = true;
        }
        self.s1_slot.d.next = self.rx_slot.val();
        self.s1_crc.d.next = self.rx_crc.val();
        if self.rx_valid.val() {
            self.s1_index.d.next = self.s1_index.q.val() + 1;
            if self.rx_sof.val() {
                self.s1_index.d.next = 0.into();
            }
        }
        self.step.slot.next = self.s1_slot.q.val();
        self.step.acc.next = self.acc.q.val();
        if self.s1_index.q.val() == 0 {
            self.step.acc.next = 0.into();
        }
        if self.s1_valid.q.val() {
            self.acc.d.next = self.step.crc.val();
        }
        self.s2_valid.d.next = self.s1_valid.q.val();
        self.s2_index.d.next = self.s1_index.q.val();
        self.s2_slot.d.next = self.s1_slot.q.val();
        self.s2_crc.d.next = self.s1_crc.q.val();

        // Stage 2: what this slot is
        self.slot.next = self.s2_slot.q.val();
        self.first.next = self.s2_index.q.val() == 0;
        self.last.next = self.s2_valid.q.val() & (self.s2_index.q.val() == 3);
        self.now_all_data.next = self.all_data.q.val();
        self.now_control.next = self.control.q.val();
        self.now_be.next = self.be.q.val();
        self.format.next = self.formats.q.val().get_bits::<3>(0);
        self.message.next = self.slot.val().get_bits::<87>(0);
        self.llctrl.next = self.slot.val().get_bits::<4>(32);
        self.subtype.next = self.slot.val().get_bits::<4>(36);
        if self.first.val() {
            self.now_all_data.next = (self.roll.q.val() > 3) & !self.dropping.val();
            self.now_control.next = self.slot.val().get_bit(0);
            self.now_be.next = self.slot.val().get_bit(3);
            self.format.next = self.slot.val().get_bits::<3>(5);
            self.message.next = self.slot.val().get_bits::<87>(32);
        }
        self.head_slot.next =
            self.s2_valid.q.val() & !self.now_all_data.val() & !self.now_control.val();
        self.req_view.raw.next = self.message.val();
        self.rwd_view.raw.next = self.message.val();
        self.is_data.next = self.s2_valid.q.val()
            & (self.now_all_data.val()
                | (self.head_slot.val()
                    & !self.first.val()
                    & (self.format.val() == 0)
                    & (self.roll.q.val() != 0)));
        // H5 and G4 carry Req, H4 and G5 an RwD header (cxl-mem 3.3).
        self.is_req.next = self.head_slot.val()
            & ((self.first.val() & (self.format.val() == 5))
                | (!self.first.val() & (self.format.val() == 4)))
            & (self.req_view.msg.val().valid == 1);
        self.is_rwd.next = self.head_slot.val()
            & ((self.first.val() & (self.format.val() == 4))
                | (!self.first.val() & (self.format.val() == 5)))
            & (self.rwd_view.msg.val().valid == 1)
            & (self.first.val() | !self.rwd_seen.q.val());
        // H7 and G6 carry BIRsp (cxl-mem 8.2).
        self.is_answers.next = self.head_slot.val()
            & self.bi.val()
            & ((self.first.val() & (self.format.val() == 7))
                | (!self.first.val() & (self.format.val() == 6)));
        self.snoop_answers.slot.next = self.s1_slot.q.val();
        self.snoop_answers.head.next = self.s1_index.q.val() == 0;
        self.snoop_answers.valid.next = self.s2_valid.q.val();
        self.snoop_answers.first.next = self.first.val();
        self.snoop_answers.holds.next = self.is_answers.val();

        // Flit state
        self.formats_next.next = self.formats.q.val();
        if self.s2_valid.q.val() {
            self.formats_next.next = self.formats.q.val() >> 3;
            if self.first.val() {
                self.formats_next.next = self.slot.val().get_bits::<9>(8);
            }
        }
        self.formats.d.next = self.formats_next.val();
        if self.s2_valid.q.val() {
            if self.first.val() {
                self.control.d.next = self.now_control.val();
                self.be.d.next = self.now_be.val();
                self.all_data.d.next = self.now_all_data.val();
                self.rwd_seen.d.next = false;
                self.is_init.d.next = false;
                self.exempt.d.next = false;
                // Credits ride on protocol flits and on LLCRD: response, request and data nibble.
                self.credits.d.next = 0.into();
                if !self.now_all_data.val() & (!self.now_control.val() | (self.llctrl.val() == 0)) {
                    self.credits.d.next = self.slot.val().get_bits::<12>(20);
                }
                self.sub.d.next = self.subtype.val();
                self.payload.d.next = self.slot.val().get_bits::<24>(64);
                self.wrap.d.next = self.slot.val().get_bits::<8>(88);
                self.sign.d.next = self.slot.val().get_bits::<16>(112);
                // Acknowledgements: eight by the Ak bit, or an exact count in LLCRD.
                self.flit_acks.d.next = 0.into();
                if !self.now_all_data.val() & !self.now_control.val() {
                    self.flit_acks.d.next = bit_cast::<8, 1>(self.slot.val().get_bits::<1>(2)) << 3;
                }
                if !self.now_all_data.val() & self.now_control.val() & (self.llctrl.val() == 0) {
                    self.flit_acks.d.next = (bit_cast::<8, 1>(self.slot.val().get_bits::<1>(2))
                        << 3)
                        | bit_cast::<8, 3>(self.slot.val().get_bits::<3>(64))
                        | (bit_cast::<8, 4>(self.slot.val().get_bits::<4>(68)) << 4);
                }
                if !self.now_all_data.val() & self.now_control.val() {
                    self.is_init.d.next = (self.llctrl.val() == 12) & (self.subtype.val() == 8);
                    self.exempt.d.next = self.llctrl.val() == 1;
                }
            }
            if self.is_rwd.val() {
                self.rwd_seen.d.next = true;
            }
        }

        // The next slot's address, while that slot is in stage 1. Req and RwD hold it a bit apart; what is no request has none, and any
        // bits will do.
        self.s1_message.next = self.s1_slot.q.val().get_bits::<87>(0);
        self.s1_rwd.next = self.formats_next.val().get_bits::<3>(0) == 5;
        if self.s1_index.q.val() == 0 {
            self.s1_message.next = self.s1_slot.q.val().get_bits::<87>(32);
            self.s1_rwd.next = self.s1_slot.q.val().get_bits::<3>(5) == 4;
        }
        self.s1_req.raw.next = self.s1_message.val();
        self.s1_rwd_view.raw.next = self.s1_message.val();
        self.req_address.next = self.s1_req.msg.val().address;
        self.s2_address.d.next = self.req_address.val().get_bits::<46>(1);
        if self.s1_rwd.val() {
            self.s2_address.d.next = self.s1_rwd_view.msg.val().address;
        }

        // Rollover
        self.roll_next.next = self.roll.q.val();
        if self.is_data.val() {
            self.roll_next.next = self.roll.q.val() - 1;
        }
        if self.is_rwd.val() {
            self.roll_next.next = self.roll.q.val() + 4;
            if self.now_be.val() {
                self.roll_next.next = self.roll.q.val() + 5;
            }
        }
        self.roll.d.next = self.roll_next.val();

        // The request, with its address decoded
        self.address.next = self.s2_address.q.val();
        self.request.next.opcode = self.req_view.msg.val().opcode;
        self.request.next.snp_type = self.req_view.msg.val().snp_type;
        self.request.next.meta_field = self.req_view.msg.val().meta_field;
        self.request.next.meta_value = self.req_view.msg.val().meta_value;
        self.request.next.tag = self.req_view.msg.val().tag;
        self.request.next.ld_id = self.req_view.msg.val().ld_id;
        self.request.next.poison = 0.into();
        self.request.next.be = 0.into();
        if self.is_rwd.val() {
            self.request.next.poison = self.rwd_view.msg.val().poison;
            if self.now_be.val() {
                self.request.next.be = 1.into();
            }
        }
        self.request.next.hit = 0.into();
        if self.hit.val() {
            self.request.next.hit = 1.into();
        }
        self.request.next.db = 0.into();
        if self.db.val() {
            self.request.next.db = 1.into();
        }
        self.request.next.line = self.line.val();

        // Queues
        self.reqs.write.next = self.is_req.val();
        self.reqs.write_data.next = self.request.val();
        self.rwds.write.next = self.is_rwd.val();
        self.rwds.write_data.next = self.request.val();
        self.chunks.write.next = self.is_data.val();
        self.chunks.write_address.next = bit_cast::<6, 7>(self.chunk_wr.q.val());
        self.chunks.write_data.next = self.slot.val();
        self.chunk_end.next = self.chunk_wr.q.val();
        if self.is_data.val() {
            self.chunk_end.next = self.chunk_wr.q.val() + 1;
        }
        self.chunk_wr.d.next = self.chunk_end.val();

        // End of the flit
        self.crc_want.next = self.s2_crc.q.val();
        if !self.exempt.q.val() {
            self.crc_want.next = self.s2_crc.q.val() ^ bit_cast::<16, 8>(self.flit_number.val());
        }
        self.crc_ok.next = self.acc.q.val() == self.crc_want.val();
        self.zero_now.next = !self.slot.val().any() & (self.first.val() | self.zero.q.val());
        if self.s2_valid.q.val() {
            self.zero.d.next = self.zero_now.val();
        }
        self.counts.next = self.last.val()
            & self.crc_ok.val()
            & !self.exempt.q.val()
            & !self.dropping.val()
            & (self.now_all_data.val() | !self.zero_now.val());
        self.accept.next = self.counts.val() & (self.init_seen.q.val() != self.is_init.q.val());
        self.broken.next = self.counts.val() & (self.init_seen.q.val() == self.is_init.q.val());
        self.snoop_answers.accept.next = self.accept.val();
        self.reqs.commit.next = self.accept.val();
        self.rwds.commit.next = self.accept.val();
        self.reqs.abort.next = (self.last.val() & !self.accept.val()) | self.phy_down.val();
        self.rwds.abort.next = (self.last.val() & !self.accept.val()) | self.phy_down.val();
        self.drs_code.d.next = 0.into();
        self.rsp_code.d.next = 0.into();
        self.req_code.d.next = 0.into();
        if self.last.val() {
            if self.accept.val() {
                self.roll_good.d.next = self.roll_next.val();
                self.chunk_good.d.next = self.chunk_end.val();
                self.rsp_code.d.next = self.credits.q.val().get_bits::<4>(0);
                self.req_code.d.next = self.credits.q.val().get_bits::<4>(4);
                self.drs_code.d.next = self.credits.q.val().get_bits::<4>(8);
                if self.is_init.q.val() {
                    self.init_seen.d.next = true;
                    self.peer_wrap.d.next = self.wrap.q.val();
                    self.peer_sign.d.next = self.sign.q.val();
                }
            } else {
                self.roll.d.next = self.roll_good.q.val();
                self.chunk_wr.d.next = self.chunk_good.q.val();
            }
            if self.crc_ok.val() {
                self.flit_seen.d.next = true;
            }
        }
        if self.phy_down.val() {
            // The flit that was under way has no end.
            self.aligned.d.next = false;
            self.s1_valid.d.next = false;
            self.s2_valid.d.next = false;
            self.roll.d.next = self.roll_good.q.val();
            self.chunk_wr.d.next = self.chunk_good.q.val();
        }
        self.ended.next = self.last.val();
        self.crc_good.next = self.crc_ok.val();
        self.retry_flit.next = self.exempt.q.val();
        self.retry_subtype.next = self.sub.q.val();
        self.asked.next = self.payload.q.val().get_bits::<8>(0);
        self.count.next = self.payload.q.val().get_bits::<5>(16);
        if self.sub.q.val() == 2 {
            self.count.next = self.payload.q.val().get_bits::<5>(3);
        }
        self.empty.next = self.payload.q.val().get_bit(0);
        self.delivered.next = self.accept.val();
        self.acks.next = self.flit_acks.q.val();
        self.peer_entries.next = self.peer_wrap.q.val();
        self.signature.next = self.peer_sign.q.val();

        // Rules: what a flit breaks counts only if the flit counts.
        self.offence.next = self.reqs.overflow.val()
            | self.rwds.overflow.val()
            | (self.head_slot.val() & (self.format.val() > 5) & !self.is_answers.val())
            | self.snoop_answers.offence.val()
            | (self.s2_valid.q.val()
                & self.first.val()
                & !self.now_all_data.val()
                & self.now_control.val()
                & (self.llctrl.val() != 0)
                & (self.llctrl.val() != 1)
                & (self.llctrl.val() != 12));
        self.suspect_now.next = self.offence.val() | (self.suspect.q.val() & !self.first.val());
        if self.s2_valid.q.val() {
            self.suspect.d.next = self.suspect_now.val();
        }
        if self.s2_valid.q.val() & (self.first.val() | (self.offence.val() & !self.suspect.q.val()))
        {
            self.suspect_slot.d.next = self.slot.val();
        }
        self.ev_flit.next = self.last.val() & self.crc_ok.val();
        self.ev_crc_error.next = self.last.val() & !self.crc_ok.val() & !self.dropping.val();
        self.ev_protocol_error.next =
            (self.accept.val() & self.suspect_now.val()) | self.broken.val();
        self.error_slot.next = self.suspect_slot.q.val();
        if self.offence.val() & !self.suspect.q.val() {
            self.error_slot.next = self.slot.val();
        }

        // Credit nibbles: bit 3 = CXL.mem, then 0, 1, 2, 4, ... 64.
        // Code n is 2^(n-1): one shifted left by n, without its lowest bit.
        self.ndr_credit.next = 0.into();
        self.ndr_power.next = bits::<8>(1) << self.rsp_code.q.val().get_bits::<3>(0);
        if self.rsp_code.q.val().get_bit(3) {
            self.ndr_credit.next = self.ndr_power.val().get_bits::<7>(1);
        }
        self.drs_credit.next = 0.into();
        self.drs_power.next = bits::<8>(1) << self.drs_code.q.val().get_bits::<3>(0);
        if self.drs_code.q.val().get_bit(3) {
            self.drs_credit.next = self.drs_power.val().get_bits::<7>(1);
        }

        self.snoop_credit.next = 0.into();
        self.snoop_power.next = bits::<8>(1) << self.req_code.q.val().get_bits::<3>(0);
        if self.req_code.q.val().get_bit(3) & self.bi.val() {
            self.snoop_credit.next = self.snoop_power.val().get_bits::<7>(1);
        }
        self.answer_valid.next = self.snoop_answers.answer_valid.val();
        self.answer_codes.next = self.snoop_answers.answer_codes.val();
        self.answer_stray.next = self.snoop_answers.answer_stray.val();
        self.answers.next = self.snoop_answers.answers.val();

        // Heads
        self.req.next = self.reqs.read_data.val();
        self.req_valid.next = !self.reqs.empty.val();
        self.reqs.read.next = self.req_pop.val();
        self.req_level.next = self.reqs.level.val();
        self.rwd_head.next = self.rwds.read_data.val();
        self.rwd.next = self.rwds.read_data.val();
        self.rwds.read.next = self.rwd_pop.val();
        self.chunk_level.next = self.chunk_good.q.val() - self.chunk_rd.q.val();
        self.rwd_valid.next = false;
        if !self.rwds.empty.val() {
            if self.rwd_head.val().be == 1 {
                self.rwd_valid.next = self.chunk_level.val() > 4;
            } else {
                self.rwd_valid.next = self.chunk_level.val() > 3;
            }
        }
        // Addresses come straight from registers; only the read enable is decided late.
        if self.fetch.val() {
            self.chunk_next.d.next = self.chunk_next.q.val() + 1;
        }
        self.chunk_popped.next = self.chunk_rd.q.val() + 4;
        if self.rwd_head.val().be == 1 {
            self.chunk_popped.next = self.chunk_rd.q.val() + 5;
        }
        if self.rwd_pop.val() {
            self.chunk_rd.d.next = self.chunk_popped.val();
            self.chunk_next.d.next = self.chunk_popped.val();
        }
        self.chunk_be.d.next = self.chunk_rd.q.val() + 4;
        self.chunks.read.next = self.fetch.val() | self.fetch_be.val();
        self.chunks.read_address.next = bit_cast::<6, 7>(self.chunk_next.q.val());
        if self.fetch_be.val() {
            self.chunks.read_address.next = bit_cast::<6, 7>(self.chunk_be.q.val());
        }
        self.data.next = self.chunks.read_data.val();

        self.good_flit_seen.next = self.flit_seen.q.val();
        self.init_received.next = self.init_seen.q.val();

        if self.reset.val() {
            self.aligned.d.next = false;
            self.s1_valid.d.next = false;
            self.s2_valid.d.next = false;
            self.roll.d.next = 0.into();
            self.roll_good.d.next = 0.into();
            self.init_seen.d.next = false;
            self.flit_seen.d.next = false;
            self.suspect.d.next = false;
            self.peer_wrap.d.next = 9.into();
            self.peer_sign.d.next = 0.into();
            self.chunk_wr.d.next = 0.into();
            self.chunk_good.d.next = 0.into();
            self.chunk_rd.d.next = 0.into();
            self.chunk_next.d.next = 0.into();
            self.rsp_code.d.next = 0.into();
            self.drs_code.d.next = 0.into();
            self.req_code.d.next = 0.into();
        }
    }
}
