//! The controller: joins link, coherence, memory, io and engine. Pins: `docs/developer/interfaces.md` section 1.

use crate::coherence::hdm::Hdm;
use crate::coherence::line_port::Command;
use crate::coherence::local::LocalAccess;
use crate::coherence::order::Order;
use crate::coherence::reads::Reads;
use crate::coherence::writes::Writes;
use crate::config::{Backend, Config};
use crate::io::Io;
use crate::link::messages::Snoop;
use crate::link::retry::LinkRetry;
use crate::link::rx::Rx;
use crate::link::tx::Tx;
use crate::memory::arbiter::{Arbiter, Beat};
use crate::memory::block::BlockMemory;
use crate::prim::Param;
use rust_hdl::prelude::*;

#[derive(LogicBlock, Default)]
pub struct Top {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    // flit slots from and to the host
    pub rx_valid: Signal<In, Bit>,
    pub rx_slot: Signal<In, Bits<128>>,
    pub rx_sof: Signal<In, Bit>,
    pub rx_crc: Signal<In, Bits<16>>,
    pub tx_valid: Signal<Out, Bit>,
    pub tx_slot: Signal<Out, Bits<128>>,
    pub tx_sof: Signal<Out, Bit>,
    pub tx_crc: Signal<Out, Bits<16>>,
    pub tx_ready: Signal<In, Bit>,
    // physical layer: is down (re-initialises); shall re-initialise
    pub phy_down: Signal<In, Bit>,
    pub phy_reinit: Signal<Out, Bit>,
    /// 0: this end is silent and has forgotten the link, as after a reset.
    pub link_enabled: Signal<Out, Bit>,
    // TLP beats from and to the host
    pub tlp_rx_valid: Signal<In, Bit>,
    pub tlp_rx_data: Signal<In, Bits<128>>,
    pub tlp_rx_last: Signal<In, Bit>,
    pub tlp_rx_ready: Signal<Out, Bit>,
    pub tlp_tx_valid: Signal<Out, Bit>,
    pub tlp_tx_data: Signal<Out, Bits<128>>,
    pub tlp_tx_last: Signal<Out, Bit>,
    pub tlp_tx_ready: Signal<In, Bit>,
    // from the configuration block
    pub cfg_bdf: Signal<In, Bits<16>>,
    pub cfg_bme: Signal<In, Bit>,
    pub cfg_msix_en: Signal<In, Bit>,
    pub cfg_msix_mask: Signal<In, Bit>,
    // line port of an accelerator beside the controller: `coherence::line_port`
    pub lp_valid: Signal<In, Bit>,
    pub lp_ready: Signal<Out, Bit>,
    pub lp_op: Signal<In, Bits<3>>,
    pub lp_line: Signal<In, Bits<26>>,
    pub lp_word: Signal<In, Bits<3>>,
    pub lp_operand: Signal<In, Bits<64>>,
    pub lp_swap: Signal<In, Bits<64>>,
    pub lp_data_valid: Signal<In, Bit>,
    pub lp_data_ready: Signal<Out, Bit>,
    pub lp_data: Signal<In, Bits<128>>,
    pub lp_data_be: Signal<In, Bits<16>>,
    pub lp_out_valid: Signal<Out, Bit>,
    pub lp_out_ready: Signal<In, Bit>,
    pub lp_out_data: Signal<Out, Bits<128>>,
    pub lp_out_last: Signal<Out, Bit>,
    pub lp_out_status: Signal<Out, Bits<2>>,
    // external memory port
    pub ext_rd_valid: Signal<Out, Bit>,
    pub ext_rd_ready: Signal<In, Bit>,
    pub ext_rd_line: Signal<Out, Bits<26>>,
    pub ext_rd_nodata: Signal<Out, Bit>,
    pub ext_rd_meta_we: Signal<Out, Bit>,
    pub ext_rd_meta: Signal<Out, Bits<2>>,
    pub ext_rsp_valid: Signal<In, Bit>,
    pub ext_rsp_idx: Signal<In, Bits<2>>,
    pub ext_rsp_data: Signal<In, Bits<128>>,
    pub ext_rsp_poison: Signal<In, Bit>,
    pub ext_rsp_meta: Signal<In, Bits<2>>,
    pub ext_wr_valid: Signal<Out, Bit>,
    pub ext_wr_ready: Signal<In, Bit>,
    pub ext_wr_line: Signal<Out, Bits<26>>,
    pub ext_wr_idx: Signal<Out, Bits<2>>,
    pub ext_wr_data: Signal<Out, Bits<128>>,
    pub ext_wr_be: Signal<Out, Bits<16>>,
    pub ext_wr_poison_we: Signal<Out, Bit>,
    pub ext_wr_poison: Signal<Out, Bit>,
    pub ext_wr_meta_we: Signal<Out, Bit>,
    pub ext_wr_meta: Signal<Out, Bits<2>>,
    io: Io,
    rx: Rx,
    hdm: Hdm,
    tx: Tx,
    retry: LinkRetry,
    reads: Reads,
    writes: Writes,
    order: Order,
    local_access: LocalAccess,
    arbiter: Arbiter,
    memory: BlockMemory,
    /// NDR entries reserved or queued.
    ndr_used: DFF<Bits<6>>,
    dev_load: DFF<Bits<2>>,
    /// A flit link is held in reset while it is disabled.
    link_down: DFF<Bit>,
    /// An error and its header, on their way to the log.
    error_seen: DFF<Bit>,
    error_header: DFF<Bits<128>>,
    load: Signal<Local, Bits<6>>,
    /// INIT.Param has come, and what it says is in force.
    heard: DFF<Bit>,
    /// Sequence numbers are in force.
    seq: DFF<Bit>,
    /// BI-68 is in force.
    bi: DFF<Bit>,
    extended: Signal<Local, Bit>,
    snoop: Signal<Local, Snoop>,
    /// Room for both paths to reserve in the same cycle.
    ndr_room: DFF<Bit>,
    ndr_next: Signal<Local, Bits<6>>,
    ndr_more: Signal<Local, Bits<6>>,
    command: Signal<Local, Command>,
    port_out_data: Signal<Local, Bits<128>>,
    beat: Signal<Local, Beat>,
    external: Param<Bit>,
    /// It has a directory.
    coherent: Param<Bit>,
}

impl Top {
    pub fn new(config: &Config) -> Self {
        let external = config.backend == Backend::External;
        Self {
            io: Io::new(config),
            hdm: Hdm::new(config),
            tx: Tx::new(config),
            reads: Reads::new(config),
            writes: Writes::new(config),
            order: Order::new(config),
            local_access: LocalAccess::new(config),
            memory: BlockMemory::new(if external { 1 } else { config.line_bits }),
            external: Param::new(external),
            coherent: Param::new(config.coherent()),
            ..Default::default()
        }
    }
}

impl Logic for Top {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            ndr_used,
            ndr_room,
            dev_load,
            link_down,
            bi,
            seq,
            heard,
            error_seen,
            error_header
        );
        self.io.clock.next = self.clock.val();
        self.hdm.clock.next = self.clock.val();
        self.rx.clock.next = self.clock.val();
        self.tx.clock.next = self.clock.val();
        self.retry.clock.next = self.clock.val();
        self.reads.clock.next = self.clock.val();
        self.writes.clock.next = self.clock.val();
        self.order.clock.next = self.clock.val();
        self.local_access.clock.next = self.clock.val();
        self.arbiter.clock.next = self.clock.val();
        self.memory.clock.next = self.clock.val();

        // Resets. A disabled link stays down until the memory has given back what the link had asked for: a late answer would be
        // taken for a new request's.
        self.link_down.d.next = self.reset.val()
            | !self.io.link_enable.val()
            | (self.link_down.q.val() & self.arbiter.link_busy.val());
        self.io.reset.next = self.reset.val();
        self.arbiter.reset.next = self.reset.val();
        self.memory.reset.next = self.reset.val();
        self.order.reset.next = self.reset.val();
        self.local_access.reset.next = self.reset.val();
        self.rx.reset.next = self.link_down.q.val();
        self.tx.reset.next = self.link_down.q.val();
        self.retry.reset.next = self.link_down.q.val();
        self.reads.reset.next = self.link_down.q.val();
        self.writes.reset.next = self.link_down.q.val();

        // Pins
        self.rx.rx_valid.next = self.rx_valid.val();
        self.rx.rx_slot.next = self.rx_slot.val();
        self.rx.rx_sof.next = self.rx_sof.val();
        self.rx.rx_crc.next = self.rx_crc.val();
        self.tx_valid.next = self.tx.tx_valid.val();
        self.tx_slot.next = self.tx.tx_slot.val();
        self.tx_sof.next = self.tx.tx_sof.val();
        self.tx_crc.next = self.tx.tx_crc.val();
        self.tx.tx_ready.next = self.tx_ready.val();
        self.io.tlp_rx_valid.next = self.tlp_rx_valid.val();
        self.io.tlp_rx_data.next = self.tlp_rx_data.val();
        self.io.tlp_rx_last.next = self.tlp_rx_last.val();
        self.io.tlp_tx_ready.next = self.tlp_tx_ready.val();
        self.io.cfg_bdf.next = self.cfg_bdf.val();
        self.io.cfg_bme.next = self.cfg_bme.val();
        self.io.cfg_msix_en.next = self.cfg_msix_en.val();
        self.io.cfg_msix_mask.next = self.cfg_msix_mask.val();
        self.tlp_rx_ready.next = self.io.tlp_rx_ready.val();
        self.tlp_tx_valid.next = self.io.tlp_tx_valid.val();
        self.tlp_tx_data.next = self.io.tlp_tx_data.val();
        self.tlp_tx_last.next = self.io.tlp_tx_last.val();

        // Registers to link and decode
        self.tx.free_running.next = self.io.link_free_running.val();
        self.hdm.enable.next = self.io.hdm_enable.val();
        self.hdm.committed0.next = self.io.hdm0_committed.val();
        self.hdm.base0.next = self.io.hdm0_base.val();
        self.hdm.limit0.next = self.io.hdm0_limit.val();
        self.hdm.dpa0.next = self.io.hdm0_dpa.val();
        self.hdm.committed1.next = self.io.hdm1_committed.val();
        self.hdm.base1.next = self.io.hdm1_base.val();
        self.hdm.limit1.next = self.io.hdm1_limit.val();
        self.hdm.dpa1.next = self.io.hdm1_dpa.val();
        self.hdm.db0.next = self.io.hdm0_db.val();
        self.hdm.db1.next = self.io.hdm1_db.val();
        self.reads.poison_on_miss.next = self.io.poison_on_miss.val();

        self.hdm.address.next = self.rx.address.val();
        self.rx.hit.next = self.hdm.hit.val();
        self.rx.line.next = self.hdm.line.val();
        self.rx.db.next = self.hdm.db.val();

        // Receiver to the request and write paths
        self.reads.req_valid.next = self.rx.req_valid.val();
        self.reads.req.next = self.rx.req.val();
        self.rx.req_pop.next = self.reads.req_pop.val();
        self.writes.rwd_valid.next = self.rx.rwd_valid.val();
        self.writes.rwd.next = self.rx.rwd.val();
        self.writes.data.next = self.rx.data.val();
        self.rx.rwd_pop.next = self.writes.rwd_pop.val();
        self.rx.fetch.next = self.writes.fetch.val();
        self.rx.fetch_be.next = self.writes.fetch_be.val();
        self.reads.rwd_line.next = self.writes.head_line.val();
        self.writes.req_line.next = self.reads.head_line.val();
        self.reads.rwd_match.next = self.writes.rwd_match.val();
        self.reads.rwd_matched.next = self.writes.rwd_matched.val();
        self.writes.req_matched.next = self.reads.req_matched.val();

        // Responses to the transmitter
        self.tx.chunk_write.next = self.reads.chunk_write.val();
        self.tx.chunk.next = self.reads.chunk.val();
        self.tx.drs_write.next = self.reads.drs_write.val();
        self.tx.drs.next = self.reads.completion.val();
        self.tx.ndr_write.next = self.reads.ndr_write.val() | self.writes.ndr_write.val();
        self.writes.ndr_ready.next = !self.reads.ndr_write.val();
        if self.reads.ndr_write.val() {
            self.tx.ndr.next = self.reads.ndr_completion.val();
        } else {
            self.tx.ndr.next = self.writes.completion.val();
        }
        self.reads.line_sent.next = self.tx.line_sent.val();
        self.reads.ndr_room.next = self.ndr_room.q.val();
        self.writes.ndr_room.next = self.ndr_room.q.val();
        self.ndr_more.next = self.ndr_used.q.val() - bit_cast::<6, 2>(self.tx.ndr_taken.val());
        self.ndr_next.next = self.ndr_more.val();
        if self.reads.ndr_reserve.val() & self.writes.ndr_reserve.val() {
            self.ndr_next.next = self.ndr_more.val() + 2;
        } else if self.reads.ndr_reserve.val() | self.writes.ndr_reserve.val() {
            self.ndr_next.next = self.ndr_more.val() + 1;
        }
        if self.link_down.q.val() {
            self.ndr_next.next = 0.into();
        }
        self.ndr_used.d.next = self.ndr_next.val();
        self.ndr_room.d.next = self.ndr_next.val() < 30;
        // DevLoad: requests waiting plus lines on their way out, 0 ..= 32 in four steps.
        self.load.next = bit_cast::<6, 5>(self.rx.req_level.val())
            + bit_cast::<6, 5>(self.reads.lines_used.val());
        self.dev_load.d.next = 3.into();
        if self.load.val() < 8 {
            self.dev_load.d.next = 0.into();
        } else if self.load.val() < 16 {
            self.dev_load.d.next = 1.into();
        } else if self.load.val() < 24 {
            self.dev_load.d.next = 2.into();
        }
        self.reads.dev_load.next = self.dev_load.q.val();
        self.writes.dev_load.next = self.dev_load.q.val();

        // Link state and credits
        self.tx.ndr_credit.next = self.rx.ndr_credit.val();
        self.tx.drs_credit.next = self.rx.drs_credit.val();
        self.tx.good_flit_seen.next = self.rx.good_flit_seen.val();
        self.heard.d.next = self.rx.init_received.val() & !self.link_down.q.val();
        self.tx.init_received.next = self.heard.q.val();
        self.tx.req_popped.next = self.reads.req_pop.val();
        self.tx.rwd_popped.next = self.writes.rwd_pop.val();
        self.io.link_up.next =
            self.tx.init_sent.val() & self.rx.init_received.val() & !self.retry.aborted.val();

        // Link-level retry
        self.retry.timeout.next = self.io.llr_timeout.val();
        self.retry.max_num_retry.next = self.io.llr_max_num_retry.val();
        self.retry.max_num_phy_reinit.next = self.io.llr_max_num_phy_reinit.val();
        self.retry.tail.next = 0.into();
        self.retry.phy_down.next = self.phy_down.val();
        self.phy_reinit.next = self.retry.phy_reinit.val();
        self.link_enabled.next = !self.link_down.q.val();
        self.rx.phy_down.next = self.phy_down.val();
        // What both ends offered in INIT.Param: 0xB16, bit 0 sequence numbers, bit 3 back-invalidate.
        self.extended.next = self.rx.signature.val().get_bits::<12>(4) == 0xB16;
        self.seq.d.next = self.tx.offered_seq.val()
            & self.extended.val()
            & self.rx.signature.val().get_bit(0)
            & !self.link_down.q.val();
        self.tx.offer_seq.next = self.io.link_offer_seq.val();
        self.tx.seq.next = self.seq.q.val();
        self.bi.d.next = self.tx.offered_bi.val()
            & self.extended.val()
            & self.rx.signature.val().get_bit(3)
            & !self.link_down.q.val();
        self.tx.offer_bi.next = self.io.link_offer_bi.val() & self.coherent.val();
        self.tx.bi.next = self.bi.q.val();
        self.rx.bi.next = self.bi.q.val();
        self.io.link_bi.next = self.bi.q.val();
        self.tx.snoop_credit.next = self.rx.snoop_credit.val();
        self.tx.answers.next = self.rx.answers.val();
        self.snoop.next.opcode = self.order.snoop_opcode.val();
        self.snoop.next.tag = self.order.snoop.val().tag;
        self.snoop.next.address = self.order.snoop.val().address;
        self.tx.snoop.next = self.snoop.val();
        self.tx.snoop_valid.next = self.order.snoop_valid.val();
        self.tx.viral.next = self.io.link_viral.val();
        self.retry.viral.next = self.io.link_viral.val();
        self.rx.flit_number.next = 0.into();
        if self.seq.q.val() {
            self.rx.flit_number.next = self.retry.eseq.val() | 0x40;
            self.retry.tail.next = self.io.llr_tail.val();
        }
        self.retry.ended.next = self.rx.ended.val();
        self.retry.crc_ok.next = self.rx.crc_good.val();
        self.retry.heard.next = self.rx.good_flit_seen.val();
        self.retry.retry_flit.next = self.rx.retry_flit.val();
        self.retry.subtype.next = self.rx.retry_subtype.val();
        self.retry.asked.next = self.rx.asked.val();
        self.retry.count.next = self.rx.count.val();
        self.retry.empty.next = self.rx.empty.val();
        self.retry.delivered.next = self.rx.delivered.val();
        self.retry.acks.next = self.rx.acks.val();
        self.retry.broken.next = self.rx.broken.val();
        self.retry.peer_entries.next = self.rx.peer_entries.val();
        self.rx.dropping.next = self.retry.dropping.val();
        self.tx.delivered.next = self.rx.delivered.val();
        self.retry.flit_time.next = self.tx.flit_time.val();
        self.retry.all_data.next = self.tx.new_all_data.val();
        self.tx.choose_control.next = self.retry.choose_control.val();
        self.tx.control.next = self.retry.control.val();
        self.tx.choose_replay.next = self.retry.choose_replay.val();
        self.tx.replay_slot.next = self.retry.replay_slot.val();
        self.retry.replay_taken.next = self.tx.replay_taken.val();
        self.tx.silent.next = self.retry.silent.val();
        self.tx.idle.next = self.retry.idle.val();
        self.tx.number.next = self.retry.number.val();
        self.retry.begins.next = self.tx.begins.val();
        self.retry.matters.next = self.tx.matters.val();
        self.retry.store.next = self.tx.store.val();
        self.retry.store_index.next = self.tx.store_index.val();
        self.retry.kept_slot.next = self.tx.kept_slot.val();
        self.tx.room_ack.next = self.retry.room_ack.val();
        self.tx.room_any.next = self.retry.room_any.val();
        self.tx.room_data.next = self.retry.room_data.val();
        self.tx.late.next = self.retry.late.val();
        self.io.link_aborted.next = self.retry.aborted.val();
        self.io.link_seq.next = self.seq.q.val();
        self.io.llr_status.next = self.retry.status.val();
        self.io.ev_retry_request.next = self.retry.ev_request.val();
        self.io.ev_replay.next = self.retry.ev_replay.val();
        self.io.ev_reinit.next = self.retry.ev_reinit.val();
        self.io.ev_abort.next = self.retry.ev_abort.val();
        self.io.init_received.next = self.rx.init_received.val();
        self.io.init_sent.next = self.tx.init_sent.val();
        self.io.media_ready.next = self.order.swept.val();

        // Events
        self.io.ev_rx_flit.next = self.rx.ev_flit.val();
        self.io.ev_crc_error.next = self.rx.ev_crc_error.val();
        self.io.ev_tx_flit.next = self.tx.ev_flit.val();
        self.io.ev_req.next = self.reads.ev_req.val();
        self.io.ev_rwd.next = self.writes.ev_rwd.val();
        self.io.ev_ndr.next = self.tx.ndr_write.val();
        self.io.ev_drs.next = self.tx.drs_write.val();
        self.io.ev_credit_stall.next = self.tx.ev_credit_stall.val();
        self.io.ev_poison_rx.next = self.writes.ev_poison.val();
        self.error_header.d.next = self.rx.error_slot.val();
        if self.reads.ev_error.val() {
            self.error_header.d.next = self.reads.error_slot.val();
        }
        if self.writes.ev_error.val() {
            self.error_header.d.next = self.writes.error_slot.val();
        }
        self.io.error_header.next = self.error_header.q.val();
        self.io.ev_protocol_error.next = self.error_seen.q.val();
        self.error_seen.d.next = self.rx.ev_protocol_error.val()
            | self.reads.ev_error.val()
            | self.writes.ev_error.val()
            | self.order.ev_wrong_answer.val();
        self.io.ev_nxm.next = self.reads.ev_nxm.val() | self.writes.ev_nxm.val();

        // Memory clients
        self.arbiter.link_rd_valid.next = self.reads.rd_valid.val();
        self.arbiter.link_rd_line.next = self.reads.rd_line.val();
        self.arbiter.link_rd_nodata.next = self.reads.rd_nodata.val();
        self.arbiter.link_rd_meta_we.next = self.reads.rd_meta_we.val();
        self.reads.rd_ready.next = self.arbiter.link_rd_ready.val();
        self.reads.rsp_valid.next = self.arbiter.link_rsp_valid.val();
        self.arbiter.link_wr_valid.next = self.writes.wr_valid.val();
        self.arbiter.link_wr_claim.next = self.writes.wr_claim.val();
        self.arbiter.link_wr_line.next = self.writes.wr_line.val();
        self.arbiter.link_wr_idx.next = self.writes.wr_idx.val();
        self.arbiter.link_wr_data.next = self.writes.wr_data.val();
        self.arbiter.link_wr_be.next = self.writes.wr_be.val();
        self.arbiter.link_wr_poison_we.next = self.writes.wr_poison_we.val();
        self.arbiter.link_wr_poison.next = self.writes.wr_poison.val();
        self.arbiter.link_wr_meta_we.next = self.writes.wr_meta_we.val();
        self.writes.wr_ready.next = self.arbiter.link_wr_ready.val();
        self.arbiter.local_rd_valid.next = self.local_access.rd_valid.val();
        self.arbiter.local_rd_line.next = self.local_access.rd_line.val();
        self.local_access.rd_ready.next = self.arbiter.local_rd_ready.val();
        self.local_access.rsp_valid.next = self.arbiter.local_rsp_valid.val();
        self.arbiter.local_wr_valid.next = self.local_access.wr_valid.val();
        self.arbiter.local_wr.next = self.local_access.wr.val();
        self.local_access.wr_ready.next = self.arbiter.local_wr_ready.val();

        // The device's own accesses
        self.local_access.engine_rd_valid.next = self.io.mem_rd_valid.val();
        self.local_access.engine_rd_line.next = self.io.mem_rd_line.val();
        self.local_access.engine_rd_own.next = self.io.mem_rd_own.val();
        self.io.mem_rd_ready.next = self.local_access.engine_rd_ready.val();
        self.io.rsp_valid.next = self.local_access.engine_rsp_valid.val();
        self.local_access.engine_wr_valid.next = self.io.mem_wr_valid.val();
        self.beat.next.line = self.io.mem_wr_line.val();
        self.beat.next.idx = self.io.mem_wr_idx.val();
        self.beat.next.data = self.io.mem_wr_data.val();
        self.beat.next.be = self.io.mem_wr_be.val();
        self.beat.next.poison_we = self.io.mem_wr_poison_we.val();
        self.beat.next.poison = self.io.mem_wr_poison.val();
        self.local_access.engine_wr.next = self.beat.val();
        self.local_access.engine_wr_drop.next = self.io.mem_wr_drop.val();
        self.io.mem_wr_ready.next = self.local_access.engine_wr_ready.val();
        self.io.mem_wr_idle.next = self.local_access.engine_wr_idle.val();
        self.io.mem_wr_done.next = self.local_access.engine_wr_done.val();
        self.io.mem_refused.next = self.local_access.engine_refused.val();
        self.local_access.atomic_valid.next = self.io.port_valid.val();
        self.io.port_ready.next = self.local_access.atomic_ready.val();
        self.local_access.atomic.next = self.io.port.val();
        self.io.port_out_valid.next = self.local_access.atomic_out_valid.val();
        self.port_out_data.next = self.local_access.port_out_data.val();
        self.io.port_out_data.next = self.port_out_data.val().get_bits::<64>(0);
        self.io.port_out_status.next = self.local_access.port_out_status.val();
        self.local_access.port_cmd_valid.next = self.lp_valid.val();
        self.lp_ready.next = self.local_access.port_cmd_ready.val();
        self.command.next.op = self.lp_op.val();
        self.command.next.line = self.lp_line.val();
        self.command.next.word = self.lp_word.val();
        self.command.next.operand = self.lp_operand.val();
        self.command.next.swap = self.lp_swap.val();
        self.local_access.port_cmd.next = self.command.val();
        self.local_access.port_data_valid.next = self.lp_data_valid.val();
        self.lp_data_ready.next = self.local_access.port_data_ready.val();
        self.local_access.port_data.next = self.lp_data.val();
        self.local_access.port_data_be.next = self.lp_data_be.val();
        self.lp_out_valid.next = self.local_access.port_out_valid.val();
        self.local_access.port_out_ready.next = self.lp_out_ready.val();
        self.lp_out_data.next = self.local_access.port_out_data.val();
        self.lp_out_last.next = self.local_access.port_out_last.val();
        self.lp_out_status.next = self.local_access.port_out_status.val();

        // The point of coherence
        self.order.policy.next = self.io.coh_policy.val();
        self.order.snoop_timeout.next = self.io.snoop_timeout.val();
        self.order.link_down.next = self.link_down.q.val() | !self.bi.q.val();
        self.order.req_ask.next = self.reads.dir_ask.val();
        self.order.req_line.next = self.reads.head_line.val();
        self.order.req_next.next = self.reads.dir_next.val();
        self.order.req_held.next = self.reads.dir_held.val();
        self.reads.dir_go.next = self.order.req_go.val();
        self.reads.dir_second.next = self.order.req_second.val();
        self.reads.dir_grant.next = self.order.req_grant.val();
        self.reads.dir_state.next = self.order.req_dir.val();
        self.order.rwd_ask.next = self.writes.dir_ask.val();
        self.order.rwd_line.next = self.writes.head_line.val();
        self.order.rwd_next.next = self.writes.dir_next.val();
        self.order.rwd_owner.next = self.writes.dir_owner.val();
        self.order.rwd_conflict.next = self.writes.dir_conflict.val();
        self.order.rwd_allowed.next = self.writes.dir_allowed.val();
        self.writes.dir_done.next = self.order.rwd_done.val();
        self.writes.dir_wrong.next = self.order.rwd_wrong.val();
        self.order.local_ask.next = self.local_access.ask.val();
        self.order.local_line0.next = self.local_access.line0.val();
        self.order.local_line1.next = self.local_access.line1.val();
        self.order.local_line2.next = self.local_access.line2.val();
        self.order.local_access0.next = self.local_access.access0.val();
        self.order.local_access1.next = self.local_access.access1.val();
        self.order.local_access2.next = self.local_access.access2.val();
        self.local_access.snooped.next = self.order.local_snooped.val();
        self.local_access.serve.next = self.order.local_serve.val();
        self.local_access.fail.next = self.order.local_fail.val();
        self.local_access.lookup.next = self.order.lookup.val();
        self.reads.dir_lookup.next = self.order.lookup.val();
        self.writes.dir_lookup.next = self.order.lookup.val();
        self.order.local_matched.next = self.local_access.matched.val();
        self.order.req_matched.next = self.reads.dir_matched.val();
        self.order.rwd_matched.next = self.writes.dir_matched.val();
        self.hdm.back_line.next = self.order.next_line.val();
        self.order.next_address.next = self.hdm.back_address.val();
        self.order.answer_valid.next = self.rx.answer_valid.val();
        self.order.answer_codes.next = self.rx.answer_codes.val();
        self.order.snoop_pop.next = self.tx.snoop_pop.val();
        self.io.ev_snoop.next = self.order.ev_snoop.val();
        self.io.ev_snoop_failure.next = self.order.ev_timeout.val();
        // Configurations hold less than a decoder's granule: the first one that covers it decides.
        self.io.device_coherent.next =
            (self.io.hdm0_committed.val() & self.io.hdm0_db.val() & (self.io.hdm0_dpa.val() == 0))
                | (self.io.hdm1_committed.val()
                    & self.io.hdm1_db.val()
                    & (self.io.hdm1_dpa.val() == 0));

        // Memory: block RAM inside, or the same port at the pins
        self.memory.rd_line.next = self.arbiter.rd_line.val();
        self.ext_rd_line.next = self.arbiter.rd_line.val();
        self.memory.rd_nodata.next = self.arbiter.rd_nodata.val();
        self.ext_rd_nodata.next = self.arbiter.rd_nodata.val();
        self.memory.rd_meta_we.next = self.arbiter.rd_meta_we.val();
        self.ext_rd_meta_we.next = self.arbiter.rd_meta_we.val();
        self.memory.wr_line.next = self.arbiter.wr_line.val();
        self.ext_wr_line.next = self.arbiter.wr_line.val();
        self.memory.wr_idx.next = self.arbiter.wr_idx.val();
        self.ext_wr_idx.next = self.arbiter.wr_idx.val();
        self.memory.wr_data.next = self.arbiter.wr_data.val();
        self.ext_wr_data.next = self.arbiter.wr_data.val();
        self.memory.wr_be.next = self.arbiter.wr_be.val();
        self.ext_wr_be.next = self.arbiter.wr_be.val();
        self.memory.wr_poison_we.next = self.arbiter.wr_poison_we.val();
        self.ext_wr_poison_we.next = self.arbiter.wr_poison_we.val();
        self.memory.wr_poison.next = self.arbiter.wr_poison.val();
        self.ext_wr_poison.next = self.arbiter.wr_poison.val();
        self.memory.wr_meta_we.next = self.arbiter.wr_meta_we.val();
        self.ext_wr_meta_we.next = self.arbiter.wr_meta_we.val();
        self.memory.rd_meta.next = self.reads.rd_meta.val();
        self.ext_rd_meta.next = self.reads.rd_meta.val();
        self.memory.wr_meta.next = self.writes.wr_meta.val();
        self.ext_wr_meta.next = self.writes.wr_meta.val();
        self.memory.rd_valid.next = self.arbiter.rd_valid.val() & !self.external.val();
        self.memory.wr_valid.next = self.arbiter.wr_valid.val() & !self.external.val();
        self.ext_rd_valid.next = self.arbiter.rd_valid.val() & self.external.val();
        self.ext_wr_valid.next = self.arbiter.wr_valid.val() & self.external.val();
        if self.external.val() {
            self.arbiter.rd_ready.next = self.ext_rd_ready.val();
            self.arbiter.wr_ready.next = self.ext_wr_ready.val();
            self.arbiter.rsp_valid.next = self.ext_rsp_valid.val();
            self.arbiter.rsp_idx.next = self.ext_rsp_idx.val();
            self.reads.rsp_idx.next = self.ext_rsp_idx.val();
            self.reads.rsp_data.next = self.ext_rsp_data.val();
            self.reads.rsp_poison.next = self.ext_rsp_poison.val();
            self.reads.rsp_meta.next = self.ext_rsp_meta.val();
            self.io.rsp_idx.next = self.ext_rsp_idx.val();
            self.local_access.rsp_idx.next = self.ext_rsp_idx.val();
            self.local_access.rsp_data.next = self.ext_rsp_data.val();
            self.local_access.rsp_poison.next = self.ext_rsp_poison.val();
            self.io.rsp_data.next = self.ext_rsp_data.val();
            self.io.rsp_poison.next =
                self.ext_rsp_poison.val() | self.local_access.engine_rsp_bad.val();
        } else {
            self.arbiter.rd_ready.next = self.memory.rd_ready.val();
            self.arbiter.wr_ready.next = self.memory.wr_ready.val();
            self.arbiter.rsp_valid.next = self.memory.rsp_valid.val();
            self.arbiter.rsp_idx.next = self.memory.rsp_idx.val();
            self.reads.rsp_idx.next = self.memory.rsp_idx.val();
            self.reads.rsp_data.next = self.memory.rsp_data.val();
            self.reads.rsp_poison.next = self.memory.rsp_poison.val();
            self.reads.rsp_meta.next = self.memory.rsp_meta.val();
            self.io.rsp_idx.next = self.memory.rsp_idx.val();
            self.local_access.rsp_idx.next = self.memory.rsp_idx.val();
            self.local_access.rsp_data.next = self.memory.rsp_data.val();
            self.local_access.rsp_poison.next = self.memory.rsp_poison.val();
            self.io.rsp_data.next = self.memory.rsp_data.val();
            self.io.rsp_poison.next =
                self.memory.rsp_poison.val() | self.local_access.engine_rsp_bad.val();
        }
    }
}
