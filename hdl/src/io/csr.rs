//! The register file of BAR0.
//!
//! What software writes lives in one 128-word block RAM, filled with the reset values after reset; flip-flops shadow only what
//! the hardware uses. What the hardware reports is OR-ed over the RAM's word on the way out.

use super::counters::Counters;
use super::hdm::HdmDecoder;
use super::msix::Msix;
use super::table::{Reg, RegTable};
use crate::config::Config;
use crate::prim::{BlockRam, Param};
use cxlmem_protocol::regs;
use rust_hdl::prelude::*;

#[derive(Copy, Clone, Debug, PartialEq, LogicState)]
enum State {
    /// Reset values into the RAM.
    Fill,
    Idle,
    Read,
    Serve,
    Done,
}

/// The register file. One access at a time: `bus_valid` is held until `bus_done`; `bus_rdata` is valid with it.
/// `bus_address` counts DWs.
#[derive(LogicBlock, Default)]
pub struct Csr {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub bus_valid: Signal<In, Bit>,
    pub bus_write: Signal<In, Bit>,
    pub bus_address: Signal<In, Bits<14>>,
    pub bus_wdata: Signal<In, Bits<32>>,
    pub bus_rdata: Signal<Out, Bits<32>>,
    pub bus_done: Signal<Out, Bit>,
    // configuration block
    pub cfg_bdf: Signal<In, Bits<16>>,
    pub cfg_bme: Signal<In, Bit>,
    pub cfg_msix_en: Signal<In, Bit>,
    pub cfg_msix_mask: Signal<In, Bit>,
    // link and coherence
    pub link_enable: Signal<Out, Bit>,
    pub link_free_running: Signal<Out, Bit>,
    pub link_offer_seq: Signal<Out, Bit>,
    pub link_offer_bi: Signal<Out, Bit>,
    pub link_viral: Signal<Out, Bit>,
    pub llr_timeout: Signal<Out, Bits<13>>,
    pub llr_max_num_retry: Signal<Out, Bits<5>>,
    pub llr_max_num_phy_reinit: Signal<Out, Bits<5>>,
    pub llr_tail: Signal<Out, Bits<13>>,
    pub link_aborted: Signal<In, Bit>,
    pub link_seq: Signal<In, Bit>,
    pub link_bi: Signal<In, Bit>,
    pub llr_status: Signal<In, Bits<16>>,
    pub link_up: Signal<In, Bit>,
    pub init_received: Signal<In, Bit>,
    pub init_sent: Signal<In, Bit>,
    pub media_ready: Signal<In, Bit>,
    pub hdm_enable: Signal<Out, Bit>,
    pub poison_on_miss: Signal<Out, Bit>,
    pub hdm0_committed: Signal<Out, Bit>,
    pub hdm0_base: Signal<Out, Bits<24>>,
    pub hdm0_limit: Signal<Out, Bits<24>>,
    pub hdm0_dpa: Signal<Out, Bits<24>>,
    pub hdm1_committed: Signal<Out, Bit>,
    pub hdm1_base: Signal<Out, Bits<24>>,
    pub hdm1_limit: Signal<Out, Bits<24>>,
    pub hdm1_dpa: Signal<Out, Bits<24>>,
    pub hdm0_db: Signal<Out, Bit>,
    pub hdm1_db: Signal<Out, Bit>,
    pub coh_policy: Signal<Out, Bits<2>>,
    pub snoop_timeout: Signal<Out, Bits<24>>,
    // events, one cycle each
    pub ev_rx_flit: Signal<In, Bit>,
    pub ev_crc_error: Signal<In, Bit>,
    pub ev_protocol_error: Signal<In, Bit>,
    pub ev_tx_flit: Signal<In, Bit>,
    pub ev_req: Signal<In, Bit>,
    pub ev_rwd: Signal<In, Bit>,
    pub ev_ndr: Signal<In, Bit>,
    pub ev_drs: Signal<In, Bit>,
    pub ev_nxm: Signal<In, Bit>,
    pub ev_credit_stall: Signal<In, Bit>,
    pub ev_poison_rx: Signal<In, Bit>,
    pub ev_retry_request: Signal<In, Bit>,
    pub ev_replay: Signal<In, Bit>,
    pub ev_reinit: Signal<In, Bit>,
    pub ev_abort: Signal<In, Bit>,
    pub ev_io_error: Signal<In, Bit>,
    pub ev_snoop: Signal<In, Bit>,
    pub ev_snoop_failure: Signal<In, Bit>,
    pub error_header: Signal<In, Bits<128>>,
    // engine
    pub eng_enable: Signal<Out, Bit>,
    /// One cycle.
    pub eng_soft_reset: Signal<Out, Bit>,
    /// Address of the descriptor ring, bits 63:6.
    pub eng_ring: Signal<Out, Bits<58>>,
    pub eng_ring_log2: Signal<Out, Bits<4>>,
    pub eng_tail: Signal<Out, Bits<10>>,
    /// Address of the completion ring, bits 63:5.
    pub eng_cpl: Signal<Out, Bits<59>>,
    pub eng_vector: Signal<Out, Bits<2>>,
    pub eng_timeout: Signal<Out, Bits<32>>,
    pub eng_busy: Signal<In, Bit>,
    pub eng_fault: Signal<In, Bit>,
    pub eng_fault_code: Signal<In, Bits<8>>,
    pub eng_head: Signal<In, Bits<10>>,
    pub eng_done: Signal<In, Bits<32>>,
    // MSI-X
    pub irq: Signal<In, Bit>,
    pub irq_vector: Signal<In, Bits<2>>,
    pub msi_valid: Signal<Out, Bit>,
    pub msi_ready: Signal<In, Bit>,
    pub msi_address: Signal<Out, Bits<64>>,
    pub msi_data: Signal<Out, Bits<32>>,
    decode: RegTable,
    mem: BlockRam<Bits<32>, 7>,
    counters: Counters,
    msix: Msix,
    hdm0: HdmDecoder,
    hdm1: HdmDecoder,
    state: DFF<State>,
    fill: DFF<Bits<7>>,
    id: DFF<Reg>,
    window: DFF<Bits<4>>,
    rdata: DFF<Bits<32>>,
    ctrl: DFF<Bits<5>>,
    limits: DFF<Bits<23>>,
    tail_limit: DFF<Bits<13>>,
    policy: DFF<Bits<2>>,
    patience: DFF<Bits<24>>,
    hdm_global: DFF<Bits<2>>,
    enable: DFF<Bit>,
    ring: DFF<Bits<58>>,
    log2: DFF<Bits<4>>,
    tail: DFF<Bits<10>>,
    cpl: DFF<Bits<59>>,
    vector: DFF<Bits<2>>,
    timeout: DFF<Bits<32>>,
    unc_reserved: DFF<Bit>,
    unc_reinit: DFF<Bit>,
    cor_retry: DFF<Bit>,
    cor_crc: DFF<Bit>,
    cor_poison: DFF<Bit>,
    log: DFF<Bits<128>>,
    cycles_lo: DFF<Bits<32>>,
    cycles_hi: DFF<Bits<32>>,
    cycles_carry: DFF<Bit>,
    cycles_latch: DFF<Bits<32>>,
    serve: Signal<Local, Bit>,
    write: Signal<Local, Bit>,
    deny: Signal<Local, Bit>,
    live: Signal<Local, Bits<32>>,
    hdm_sel: Signal<Local, Bits<4>>,
    merged: Signal<Local, Bits<32>>,
    ctrl_reset: Param<Bits<5>>,
    limits_reset: Param<Bits<23>>,
    tail_reset: Param<Bits<13>>,
    policy_reset: Param<Bits<2>>,
    patience_reset: Param<Bits<24>>,
    timeout_reset: Param<Bits<32>>,
}

/// `LlrLimits` without its gaps: TIMEOUT, MAX_NUM_RETRY, MAX_NUM_PHY_REINIT.
fn limits(register: u32) -> u64 {
    u64::from(register & 0x1fff | (register >> 16 & 31) << 13 | (register >> 24 & 31) << 18)
}

impl Csr {
    /// The register file of one configuration.
    pub fn new(config: &Config) -> Self {
        Self {
            decode: RegTable::new(config),
            ctrl_reset: Param::new(u64::from(regs::LinkCtrl::RESET).into()),
            limits_reset: Param::new(limits(regs::LlrLimits::RESET).into()),
            tail_reset: Param::new(u64::from(regs::LlrTail::RESET).into()),
            policy_reset: Param::new(u64::from(regs::CohCtrl::RESET).into()),
            patience_reset: Param::new(u64::from(regs::SnoopTimeout::RESET).into()),
            hdm0: HdmDecoder::new(config.coherent()),
            hdm1: HdmDecoder::new(config.coherent()),
            timeout_reset: Param::new(u64::from(regs::ENG_TIMEOUT_DEFAULT).into()),
            ..Self::default()
        }
    }
}

impl Logic for Csr {
    #[hdl_gen]
    fn update(&mut self) {
        dff_setup!(
            self,
            clock,
            state,
            fill,
            id,
            window,
            rdata,
            ctrl,
            limits,
            tail_limit,
            policy,
            patience,
            hdm_global,
            enable,
            ring,
            log2,
            tail,
            cpl,
            vector,
            timeout,
            unc_reserved,
            unc_reinit,
            cor_retry,
            cor_crc,
            cor_poison,
            log,
            cycles_lo,
            cycles_hi,
            cycles_carry,
            cycles_latch
        );
        // Sub-blocks.
        self.mem.clock.next = self.clock.val();
        self.counters.clock.next = self.clock.val();
        self.counters.reset.next = self.reset.val();
        self.counters.clear.next = false;
        self.counters.event[0].next = self.ev_rx_flit.val();
        self.counters.event[1].next = self.ev_crc_error.val();
        self.counters.event[2].next = self.ev_protocol_error.val();
        self.counters.event[3].next = self.ev_tx_flit.val();
        self.counters.event[4].next = self.ev_req.val();
        self.counters.event[5].next = self.ev_rwd.val();
        self.counters.event[6].next = self.ev_ndr.val();
        self.counters.event[7].next = self.ev_drs.val();
        self.counters.event[8].next = self.ev_nxm.val();
        self.counters.event[9].next = self.ev_credit_stall.val();
        self.counters.event[10].next = self.ev_io_error.val();
        self.counters.event[11].next = self.ev_retry_request.val();
        self.counters.event[12].next = self.ev_replay.val();
        self.counters.event[13].next = self.ev_reinit.val();
        self.counters.event[14].next = self.ev_snoop.val();
        self.counters.event[15].next = self.ev_snoop_failure.val();
        self.msix.clock.next = self.clock.val();
        self.msix.reset.next = self.reset.val();
        self.msix.enable.next = self.cfg_msix_en.val();
        self.msix.function_mask.next = self.cfg_msix_mask.val();
        self.msix.bus_master.next = self.cfg_bme.val();
        self.msix.bus_address.next = self.bus_address.val().get_bits::<4>(0);
        self.msix.bus_wdata.next = self.bus_wdata.val();
        self.msix.bus_write.next = false;
        self.msix.request.next = self.irq.val();
        self.msix.vector.next = self.irq_vector.val();
        self.msi_valid.next = self.msix.tx_valid.val();
        self.msix.tx_ready.next = self.msi_ready.val();
        self.msi_address.next = self.msix.tx_address.val();
        self.msi_data.next = self.msix.tx_data.val();

        // Decode, then the register RAM.
        self.decode.address.next = self.bus_address.val();
        self.decode.index.next = bit_cast::<7, 7>(self.id.q.val().into());
        if self.state.q.val() == State::Fill {
            self.decode.index.next = self.fill.q.val();
        }
        self.mem.read.next = true;
        self.mem.read_address.next = self.decode.index.val();
        self.mem.write_address.next = self.decode.index.val();
        self.mem.write.next = false;
        self.merged.next = (self.mem.read_data.val() & !self.decode.mask.val())
            | (self.bus_wdata.val() & self.decode.mask.val());
        self.mem.write_data.next = self.merged.val();

        self.serve.next = false;
        self.bus_done.next = false;
        match self.state.q.val() {
            State::Fill => {
                self.mem.write.next = true;
                self.mem.write_data.next = self.decode.reset_value.val();
                self.fill.d.next = self.fill.q.val() + 1;
                if self.fill.q.val() == 127 {
                    self.state.d.next = State::Idle;
                }
            }
            State::Idle => {
                self.id.d.next = self.decode.reg_id.val();
                self.window.d.next = self.bus_address.val().get_bits::<4>(10);
                if self.bus_valid.val() {
                    self.state.d.next = State::Read;
                }
            }
            State::Read => {
                self.state.d.next = State::Serve;
            }
            State::Serve => {
                // A counter is there once in 16 cycles; the MSI-X table is busy for three while it is read.
                if (!self.decode.is_counter.val() | self.counters.hit.val()) & !self.msix.busy.val()
                {
                    self.serve.next = true;
                    self.state.d.next = State::Done;
                }
            }
            State::Done => {
                self.bus_done.next = true;
                self.state.d.next = State::Idle;
            }
            _ => {
                self.state.d.next = State::Idle;
            }
        }
        self.write.next = self.serve.val() & self.bus_write.val();
        self.bus_rdata.next = self.rdata.q.val();

        // HDM decoders.
        self.hdm_sel.next = self.decode.hdm.val();
        self.hdm0.clock.next = self.clock.val();
        self.hdm0.reset.next = self.reset.val();
        self.hdm0.write.next =
            self.write.val() & self.decode.is_hdm.val() & !self.hdm_sel.val().get_bit(3);
        self.hdm0.select.next = self.hdm_sel.val().get_bits::<3>(0);
        self.hdm0.data.next = self.bus_wdata.val();
        self.hdm0.prev_committed.next = true;
        self.hdm0.prev_limit.next = 0.into();
        self.hdm0.prev_dpa_end.next = 0.into();
        self.hdm0.next_committed.next = self.hdm1.committed.val();
        self.hdm1.clock.next = self.clock.val();
        self.hdm1.reset.next = self.reset.val();
        self.hdm1.write.next =
            self.write.val() & self.decode.is_hdm.val() & self.hdm_sel.val().get_bit(3);
        self.hdm1.select.next = self.hdm_sel.val().get_bits::<3>(0);
        self.hdm1.data.next = self.bus_wdata.val();
        self.hdm1.prev_committed.next = self.hdm0.committed.val();
        self.hdm1.prev_limit.next = self.hdm0.limit.val();
        self.hdm1.prev_dpa_end.next = self.hdm0.dpa_end.val();
        self.hdm1.next_committed.next = false;
        self.deny.next = false;
        if self.decode.is_hdm.val() {
            self.deny.next = self.hdm0.deny.val();
            if self.hdm_sel.val().get_bit(3) {
                self.deny.next = self.hdm1.deny.val();
            }
        }
        self.hdm0_committed.next = self.hdm0.committed.val();
        self.hdm0_base.next = self.hdm0.base.val();
        self.hdm0_limit.next = self.hdm0.limit.val();
        self.hdm0_dpa.next = self.hdm0.dpa.val();
        self.hdm1_committed.next = self.hdm1.committed.val();
        self.hdm1_base.next = self.hdm1.base.val();
        self.hdm1_limit.next = self.hdm1.limit.val();
        self.hdm1_dpa.next = self.hdm1.dpa.val();
        self.hdm0_db.next = self.hdm0.db.val();
        self.hdm1_db.next = self.hdm1.db.val();

        // Events.
        self.cycles_lo.d.next = self.cycles_lo.q.val() + 1;
        self.cycles_carry.d.next = self.cycles_lo.q.val().all();
        self.cycles_hi.d.next =
            self.cycles_hi.q.val() + bit_cast::<32, 1>(self.cycles_carry.q.val().into());
        self.eng_soft_reset.next = false;

        // What the hardware reports.
        self.counters.select.next = self.decode.counter.val();
        self.live.next = 0.into();
        match self.id.q.val() {
            Reg::RasUncStatus => {
                self.live.next = (bit_cast::<32, 1>(self.unc_reserved.q.val().into()) << 9)
                    | (bit_cast::<32, 1>(self.unc_reinit.q.val().into()) << 8);
            }
            Reg::RasCorStatus => {
                self.live.next = (bit_cast::<32, 1>(self.cor_crc.q.val().into()) << 2)
                    | (bit_cast::<32, 1>(self.cor_retry.q.val().into()) << 3)
                    | (bit_cast::<32, 1>(self.cor_poison.q.val().into()) << 5);
            }
            Reg::RasCapCtrl => {
                if self.unc_reserved.q.val() {
                    self.live.next = 9.into();
                } else if self.unc_reinit.q.val() {
                    self.live.next = 8.into();
                }
            }
            Reg::RasLog0 => {
                self.live.next = self.log.q.val().get_bits::<32>(0);
            }
            Reg::RasLog1 => {
                self.live.next = self.log.q.val().get_bits::<32>(32);
            }
            Reg::RasLog2 => {
                self.live.next = self.log.q.val().get_bits::<32>(64);
            }
            Reg::RasLog3 => {
                self.live.next = self.log.q.val().get_bits::<32>(96);
            }
            Reg::Hdm0Ctrl => {
                self.live.next = (bit_cast::<32, 1>(self.hdm0.committed.val().into()) << 10)
                    | (bit_cast::<32, 1>(self.hdm0.error.val().into()) << 11);
            }
            Reg::Hdm1Ctrl => {
                self.live.next = (bit_cast::<32, 1>(self.hdm1.committed.val().into()) << 10)
                    | (bit_cast::<32, 1>(self.hdm1.error.val().into()) << 11);
            }
            Reg::MediaStatus => {
                self.live.next = bit_cast::<32, 1>(self.media_ready.val().into());
            }
            Reg::LinkStatus => {
                self.live.next = bit_cast::<32, 1>(self.link_up.val().into())
                    | (bit_cast::<32, 1>(self.init_received.val().into()) << 1)
                    | (bit_cast::<32, 1>(self.init_sent.val().into()) << 2)
                    | (bit_cast::<32, 1>(self.link_aborted.val().into()) << 3)
                    | (bit_cast::<32, 1>(self.link_seq.val().into()) << 4)
                    | (bit_cast::<32, 1>(self.link_bi.val().into()) << 5)
                    | (bit_cast::<32, 16>(self.llr_status.val()) << 16);
            }
            Reg::BdfInfo => {
                self.live.next = bit_cast::<32, 16>(self.cfg_bdf.val());
            }
            Reg::CyclesLo => {
                self.live.next = self.cycles_lo.q.val();
            }
            Reg::CyclesHi => {
                self.live.next = self.cycles_latch.q.val();
            }
            Reg::EngStatus => {
                self.live.next = bit_cast::<32, 1>(self.enable.q.val().into())
                    | (bit_cast::<32, 1>(self.eng_busy.val().into()) << 1)
                    | (bit_cast::<32, 1>(self.eng_fault.val().into()) << 2)
                    | (bit_cast::<32, 8>(self.eng_fault_code.val()) << 8);
            }
            Reg::EngTail => {
                self.live.next = bit_cast::<32, 10>(self.tail.q.val());
            }
            Reg::EngHead => {
                self.live.next = bit_cast::<32, 10>(self.eng_head.val());
            }
            Reg::EngDone => {
                self.live.next = self.eng_done.val();
            }
            _ => {}
        }
        if self.decode.is_counter.val() {
            self.live.next = self.counters.value.val();
        }
        if self.serve.val() {
            self.rdata.d.next = self.mem.read_data.val() | self.live.val();
            if self.window.q.val() == 8 {
                self.rdata.d.next = 0.into();
                if !self.bus_address.val().get_bits::<6>(4).any() {
                    self.rdata.d.next = self.msix.bus_rdata.val();
                    self.msix.bus_write.next = self.bus_write.val();
                }
            }
            if self.window.q.val() == 9 {
                self.rdata.d.next = 0.into();
                if !self.bus_address.val().get_bits::<10>(0).any() {
                    self.rdata.d.next = bit_cast::<32, 4>(self.msix.pending.val());
                }
            }
            if !self.bus_write.val() & (self.id.q.val() == Reg::CyclesLo) {
                self.cycles_latch.d.next =
                    self.cycles_hi.q.val() + bit_cast::<32, 1>(self.cycles_carry.q.val().into());
            }
        }

        // Writes.
        if self.write.val() {
            self.mem.write.next = !self.deny.val();
            match self.id.q.val() {
                Reg::RasUncStatus => {
                    if self.bus_wdata.val().get_bit(9) {
                        self.unc_reserved.d.next = false;
                    }
                    if self.bus_wdata.val().get_bit(8) {
                        self.unc_reinit.d.next = false;
                    }
                }
                Reg::RasCorStatus => {
                    if self.bus_wdata.val().get_bit(2) {
                        self.cor_crc.d.next = false;
                    }
                    if self.bus_wdata.val().get_bit(3) {
                        self.cor_retry.d.next = false;
                    }
                    if self.bus_wdata.val().get_bit(5) {
                        self.cor_poison.d.next = false;
                    }
                }
                Reg::HdmGlobalCtrl => {
                    self.hdm_global.d.next = self.bus_wdata.val().get_bits::<2>(0);
                }
                Reg::LinkCtrl => {
                    self.ctrl.d.next = self.bus_wdata.val().get_bits::<5>(0);
                }
                Reg::LlrLimits => {
                    self.limits.d.next = bit_cast::<23, 13>(self.bus_wdata.val().get_bits::<13>(0))
                        | (bit_cast::<23, 5>(self.bus_wdata.val().get_bits::<5>(16)) << 13)
                        | (bit_cast::<23, 5>(self.bus_wdata.val().get_bits::<5>(24)) << 18);
                }
                Reg::LlrTail => {
                    self.tail_limit.d.next = self.bus_wdata.val().get_bits::<13>(0);
                }
                Reg::CohCtrl => {
                    self.policy.d.next = self.bus_wdata.val().get_bits::<2>(0);
                }
                Reg::SnoopTimeout => {
                    self.patience.d.next = self.bus_wdata.val().get_bits::<24>(0);
                }
                Reg::CounterCtrl => {
                    if self.bus_wdata.val().get_bit(0) {
                        self.counters.clear.next = true;
                        self.cycles_lo.d.next = 0.into();
                        self.cycles_hi.d.next = 0.into();
                        self.cycles_carry.d.next = false;
                    }
                }
                Reg::EngCtrl => {
                    self.enable.d.next = self.bus_wdata.val().get_bit(0);
                    if self.bus_wdata.val().get_bit(1) {
                        self.eng_soft_reset.next = true;
                        self.tail.d.next = 0.into();
                    }
                }
                Reg::EngRingLo => {
                    self.ring.d.next = (self.ring.q.val() & 0x3FF_FFFF_FC00_0000u64)
                        | bit_cast::<58, 26>(self.bus_wdata.val().get_bits::<26>(6));
                }
                Reg::EngRingHi => {
                    self.ring.d.next = (self.ring.q.val() & 0x3FF_FFFF)
                        | (bit_cast::<58, 32>(self.bus_wdata.val()) << 26);
                }
                Reg::EngRingLog2 => {
                    self.log2.d.next = self.bus_wdata.val().get_bits::<4>(0);
                }
                Reg::EngTail => {
                    self.tail.d.next = self.bus_wdata.val().get_bits::<10>(0);
                }
                Reg::EngCplLo => {
                    self.cpl.d.next = (self.cpl.q.val() & 0x7FF_FFFF_F800_0000u64)
                        | bit_cast::<59, 27>(self.bus_wdata.val().get_bits::<27>(5));
                }
                Reg::EngCplHi => {
                    self.cpl.d.next = (self.cpl.q.val() & 0x7FF_FFFF)
                        | (bit_cast::<59, 32>(self.bus_wdata.val()) << 27);
                }
                Reg::EngVector => {
                    self.vector.d.next = self.bus_wdata.val().get_bits::<2>(0);
                }
                Reg::EngTimeout => {
                    self.timeout.d.next = self.bus_wdata.val();
                }
                _ => {}
            }
        }
        // An error in the cycle of a write that clears its bit is not lost.
        if self.ev_protocol_error.val() {
            self.unc_reserved.d.next = true;
            if !self.unc_reserved.q.val() {
                self.log.d.next = self.error_header.val();
            }
        }
        if self.ev_crc_error.val() {
            self.cor_crc.d.next = true;
        }
        if self.ev_reinit.val() {
            self.cor_retry.d.next = true;
        }
        if self.ev_abort.val() {
            self.unc_reinit.d.next = true;
        }
        if self.ev_poison_rx.val() {
            self.cor_poison.d.next = true;
        }
        self.link_enable.next = self.ctrl.q.val().get_bit(0);
        self.link_free_running.next = self.ctrl.q.val().get_bit(1);
        self.link_offer_seq.next = self.ctrl.q.val().get_bit(2);
        self.link_viral.next = self.ctrl.q.val().get_bit(3);
        self.link_offer_bi.next = self.ctrl.q.val().get_bit(4);
        self.llr_timeout.next = self.limits.q.val().get_bits::<13>(0);
        self.llr_max_num_retry.next = self.limits.q.val().get_bits::<5>(13);
        self.llr_max_num_phy_reinit.next = self.limits.q.val().get_bits::<5>(18);
        self.llr_tail.next = self.tail_limit.q.val();
        self.coh_policy.next = self.policy.q.val();
        self.snoop_timeout.next = self.patience.q.val();
        self.poison_on_miss.next = self.hdm_global.q.val().get_bit(0);
        self.hdm_enable.next = self.hdm_global.q.val().get_bit(1);
        self.eng_enable.next = self.enable.q.val();
        self.eng_ring.next = self.ring.q.val();
        self.eng_ring_log2.next = self.log2.q.val();
        self.eng_tail.next = self.tail.q.val();
        self.eng_cpl.next = self.cpl.q.val();
        self.eng_vector.next = self.vector.q.val();
        self.eng_timeout.next = self.timeout.q.val();
        if self.reset.val() {
            self.state.d.next = State::Fill;
            self.fill.d.next = 0.into();
            self.id.d.next = Reg::None;
            self.ctrl.d.next = self.ctrl_reset.val();
            self.limits.d.next = self.limits_reset.val();
            self.tail_limit.d.next = self.tail_reset.val();
            self.policy.d.next = self.policy_reset.val();
            self.patience.d.next = self.patience_reset.val();
            self.hdm_global.d.next = 0.into();
            self.enable.d.next = false;
            self.ring.d.next = 0.into();
            self.log2.d.next = 0.into();
            self.tail.d.next = 0.into();
            self.cpl.d.next = 0.into();
            self.vector.d.next = 0.into();
            self.timeout.d.next = self.timeout_reset.val();
            self.unc_reserved.d.next = false;
            self.unc_reinit.d.next = false;
            self.cor_retry.d.next = false;
            self.cor_crc.d.next = false;
            self.cor_poison.d.next = false;
            self.log.d.next = 0.into();
            self.cycles_lo.d.next = 0.into();
            self.cycles_hi.d.next = 0.into();
            self.cycles_carry.d.next = false;
        }
    }
}
