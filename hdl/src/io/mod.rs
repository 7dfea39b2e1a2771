//! CXL.io of the controller: TLP endpoint, registers, MSI-X, and the engine that works behind them.

pub mod counters;
pub mod csr;
pub mod endpoint;
pub mod hdm;
pub mod msix;
pub mod table;
pub mod transmit;

use crate::coherence::line_port::Command;
use crate::config::Config;
use crate::engine::Engine;
use crate::prim::Param;
use csr::Csr;
use endpoint::Endpoint;
use rust_hdl::prelude::*;
use transmit::Transmit;

/// CXL.io and the engine. Streams and the memory port are those of `docs/developer/interfaces.md` sections 1 and 3.
///
/// `hdmN_base`, `hdmN_limit` (exclusive) and `hdmN_dpa` count 256 MiB granules. `media_ready` in is the memory's own; what
/// software reads also waits for the engine's page-ownership sweep. `ev_*` are one-cycle events.
#[derive(LogicBlock, Default)]
pub struct Io {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub tlp_rx_valid: Signal<In, Bit>,
    pub tlp_rx_data: Signal<In, Bits<128>>,
    pub tlp_rx_last: Signal<In, Bit>,
    pub tlp_rx_ready: Signal<Out, Bit>,
    pub tlp_tx_valid: Signal<Out, Bit>,
    pub tlp_tx_data: Signal<Out, Bits<128>>,
    pub tlp_tx_last: Signal<Out, Bit>,
    pub tlp_tx_ready: Signal<In, Bit>,
    pub link_enable: Signal<Out, Bit>,
    pub link_free_running: Signal<Out, Bit>,
    pub link_offer_seq: Signal<Out, Bit>,
    pub link_offer_bi: Signal<Out, Bit>,
    pub link_viral: Signal<Out, Bit>,
    pub llr_timeout: Signal<Out, Bits<13>>,
    pub llr_max_num_retry: Signal<Out, Bits<5>>,
    pub llr_max_num_phy_reinit: Signal<Out, Bits<5>>,
    pub llr_tail: Signal<Out, Bits<13>>,
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
    /// The device's memory is device-coherent: no page has an owner.
    pub device_coherent: Signal<In, Bit>,
    pub link_up: Signal<In, Bit>,
    pub link_aborted: Signal<In, Bit>,
    pub link_seq: Signal<In, Bit>,
    pub link_bi: Signal<In, Bit>,
    pub llr_status: Signal<In, Bits<16>>,
    pub init_received: Signal<In, Bit>,
    pub init_sent: Signal<In, Bit>,
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
    pub ev_retry_request: Signal<In, Bit>,
    pub ev_replay: Signal<In, Bit>,
    pub ev_reinit: Signal<In, Bit>,
    pub ev_abort: Signal<In, Bit>,
    pub ev_poison_rx: Signal<In, Bit>,
    pub ev_snoop: Signal<In, Bit>,
    pub ev_snoop_failure: Signal<In, Bit>,
    pub error_header: Signal<In, Bits<128>>,
    pub cfg_bdf: Signal<In, Bits<16>>,
    pub cfg_bme: Signal<In, Bit>,
    pub cfg_msix_en: Signal<In, Bit>,
    pub cfg_msix_mask: Signal<In, Bit>,
    pub media_ready: Signal<In, Bit>,
    pub mem_rd_valid: Signal<Out, Bit>,
    pub mem_rd_ready: Signal<In, Bit>,
    pub mem_rd_line: Signal<Out, Bits<26>>,
    pub mem_rd_own: Signal<Out, Bit>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub rsp_data: Signal<In, Bits<128>>,
    pub rsp_poison: Signal<In, Bit>,
    pub mem_wr_valid: Signal<Out, Bit>,
    pub mem_wr_ready: Signal<In, Bit>,
    pub mem_wr_idle: Signal<In, Bit>,
    pub mem_wr_done: Signal<In, Bit>,
    pub mem_refused: Signal<In, Bit>,
    pub port_valid: Signal<Out, Bit>,
    pub port_ready: Signal<In, Bit>,
    pub port: Signal<Out, Command>,
    pub port_out_valid: Signal<In, Bit>,
    pub port_out_data: Signal<In, Bits<64>>,
    pub port_out_status: Signal<In, Bits<2>>,
    pub mem_wr_line: Signal<Out, Bits<26>>,
    pub mem_wr_idx: Signal<Out, Bits<2>>,
    pub mem_wr_data: Signal<Out, Bits<128>>,
    pub mem_wr_be: Signal<Out, Bits<16>>,
    pub mem_wr_poison_we: Signal<Out, Bit>,
    pub mem_wr_poison: Signal<Out, Bit>,
    pub mem_wr_drop: Signal<Out, Bit>,
    endpoint: Endpoint,
    transmit: Transmit,
    csr: Csr,
    engine: Engine,
    engine_present: Param<Bit>,
}

impl Io {
    /// CXL.io of one configuration; without the engine its logic is held in reset and optimised away.
    pub fn new(config: &Config) -> Self {
        Self {
            csr: Csr::new(config),
            engine: Engine::new(config),
            engine_present: Param::new(config.engine),
            ..Self::default()
        }
    }
}

impl Logic for Io {
    #[hdl_gen]
    fn update(&mut self) {
        self.endpoint.clock.next = self.clock.val();
        self.endpoint.reset.next = self.reset.val();
        self.transmit.clock.next = self.clock.val();
        self.transmit.reset.next = self.reset.val();
        self.csr.clock.next = self.clock.val();
        self.csr.reset.next = self.reset.val();
        self.engine.clock.next = self.clock.val();
        self.engine.reset.next = self.reset.val() | !self.engine_present.val();

        self.endpoint.tlp_rx_valid.next = self.tlp_rx_valid.val();
        self.endpoint.tlp_rx_data.next = self.tlp_rx_data.val();
        self.endpoint.tlp_rx_last.next = self.tlp_rx_last.val();
        self.tlp_rx_ready.next = self.endpoint.tlp_rx_ready.val();
        self.tlp_tx_valid.next = self.transmit.tlp_tx_valid.val();
        self.tlp_tx_data.next = self.transmit.tlp_tx_data.val();
        self.tlp_tx_last.next = self.transmit.tlp_tx_last.val();
        self.transmit.tlp_tx_ready.next = self.tlp_tx_ready.val();
        self.transmit.cfg_bdf.next = self.cfg_bdf.val();

        // Endpoint to registers and transmitter.
        self.csr.bus_valid.next = self.endpoint.bus_valid.val();
        self.csr.bus_write.next = self.endpoint.bus_write.val();
        self.csr.bus_address.next = self.endpoint.bus_address.val();
        self.csr.bus_wdata.next = self.endpoint.bus_wdata.val();
        self.endpoint.bus_rdata.next = self.csr.bus_rdata.val();
        self.endpoint.bus_done.next = self.csr.bus_done.val();
        self.transmit.resp_valid.next = self.endpoint.resp_valid.val();
        self.transmit.resp_dw0.next = self.endpoint.resp_dw0.val();
        self.transmit.resp_dw1.next = self.endpoint.resp_dw1.val();
        self.transmit.resp_dw2.next = self.endpoint.resp_dw2.val();
        self.transmit.resp_ur.next = self.endpoint.resp_ur.val();
        self.transmit.resp_data.next = self.endpoint.resp_data.val();
        self.endpoint.resp_ready.next = self.transmit.resp_ready.val();
        self.transmit.msi_valid.next = self.csr.msi_valid.val();
        self.transmit.msi_address.next = self.csr.msi_address.val();
        self.transmit.msi_data.next = self.csr.msi_data.val();
        self.csr.msi_ready.next = self.transmit.msi_ready.val();

        // Registers to link, coherence and memory.
        self.link_enable.next = self.csr.link_enable.val();
        self.link_free_running.next = self.csr.link_free_running.val();
        self.link_offer_seq.next = self.csr.link_offer_seq.val();
        self.link_offer_bi.next = self.csr.link_offer_bi.val();
        self.link_viral.next = self.csr.link_viral.val();
        self.llr_timeout.next = self.csr.llr_timeout.val();
        self.llr_max_num_retry.next = self.csr.llr_max_num_retry.val();
        self.llr_max_num_phy_reinit.next = self.csr.llr_max_num_phy_reinit.val();
        self.llr_tail.next = self.csr.llr_tail.val();
        self.hdm_enable.next = self.csr.hdm_enable.val();
        self.poison_on_miss.next = self.csr.poison_on_miss.val();
        self.hdm0_committed.next = self.csr.hdm0_committed.val();
        self.hdm0_base.next = self.csr.hdm0_base.val();
        self.hdm0_limit.next = self.csr.hdm0_limit.val();
        self.hdm0_dpa.next = self.csr.hdm0_dpa.val();
        self.hdm1_committed.next = self.csr.hdm1_committed.val();
        self.hdm1_base.next = self.csr.hdm1_base.val();
        self.hdm1_limit.next = self.csr.hdm1_limit.val();
        self.hdm1_dpa.next = self.csr.hdm1_dpa.val();
        self.hdm0_db.next = self.csr.hdm0_db.val();
        self.hdm1_db.next = self.csr.hdm1_db.val();
        self.coh_policy.next = self.csr.coh_policy.val();
        self.snoop_timeout.next = self.csr.snoop_timeout.val();
        self.csr.ev_snoop.next = self.ev_snoop.val();
        self.csr.ev_snoop_failure.next = self.ev_snoop_failure.val();
        self.engine.device_coherent.next = self.device_coherent.val();
        self.csr.link_up.next = self.link_up.val();
        self.csr.link_aborted.next = self.link_aborted.val();
        self.csr.link_seq.next = self.link_seq.val();
        self.csr.link_bi.next = self.link_bi.val();
        self.csr.llr_status.next = self.llr_status.val();
        self.csr.ev_retry_request.next = self.ev_retry_request.val();
        self.csr.ev_replay.next = self.ev_replay.val();
        self.csr.ev_reinit.next = self.ev_reinit.val();
        self.csr.ev_abort.next = self.ev_abort.val();
        self.csr.init_received.next = self.init_received.val();
        self.csr.init_sent.next = self.init_sent.val();
        self.csr.ev_rx_flit.next = self.ev_rx_flit.val();
        self.csr.ev_crc_error.next = self.ev_crc_error.val();
        self.csr.ev_protocol_error.next = self.ev_protocol_error.val();
        self.csr.ev_tx_flit.next = self.ev_tx_flit.val();
        self.csr.ev_req.next = self.ev_req.val();
        self.csr.ev_rwd.next = self.ev_rwd.val();
        self.csr.ev_ndr.next = self.ev_ndr.val();
        self.csr.ev_drs.next = self.ev_drs.val();
        self.csr.ev_nxm.next = self.ev_nxm.val();
        self.csr.ev_credit_stall.next = self.ev_credit_stall.val();
        self.csr.ev_poison_rx.next = self.ev_poison_rx.val();
        self.csr.error_header.next = self.error_header.val();
        self.csr.cfg_bdf.next = self.cfg_bdf.val();
        self.csr.cfg_bme.next = self.cfg_bme.val();
        self.csr.cfg_msix_en.next = self.cfg_msix_en.val();
        self.csr.cfg_msix_mask.next = self.cfg_msix_mask.val();
        self.csr.media_ready.next =
            self.media_ready.val() & (self.engine.swept.val() | !self.engine_present.val());
        self.csr.ev_io_error.next = self.endpoint.ev_error.val() | self.engine.ev_unexpected.val();

        // Engine.
        self.engine.eng_enable.next = self.csr.eng_enable.val();
        self.engine.eng_soft_reset.next = self.csr.eng_soft_reset.val();
        self.engine.eng_ring.next = self.csr.eng_ring.val();
        self.engine.eng_ring_log2.next = self.csr.eng_ring_log2.val();
        self.engine.eng_tail.next = self.csr.eng_tail.val();
        self.engine.eng_cpl.next = self.csr.eng_cpl.val();
        self.engine.eng_vector.next = self.csr.eng_vector.val();
        self.engine.eng_timeout.next = self.csr.eng_timeout.val();
        self.engine.hdm0_committed.next = self.csr.hdm0_committed.val();
        self.engine.hdm0_base.next = self.csr.hdm0_base.val();
        self.engine.hdm0_limit.next = self.csr.hdm0_limit.val();
        self.engine.hdm1_committed.next = self.csr.hdm1_committed.val();
        self.engine.hdm1_base.next = self.csr.hdm1_base.val();
        self.engine.hdm1_limit.next = self.csr.hdm1_limit.val();
        self.csr.eng_busy.next = self.engine.eng_busy.val();
        self.csr.eng_fault.next = self.engine.eng_fault.val();
        self.csr.eng_fault_code.next = self.engine.eng_fault_code.val();
        self.csr.eng_head.next = self.engine.eng_head.val();
        self.csr.eng_done.next = self.engine.eng_done.val();
        self.csr.irq.next = self.engine.irq.val();
        self.csr.irq_vector.next = self.engine.irq_vector.val();
        self.engine.cpl_valid.next = self.endpoint.cpl_valid.val();
        self.engine.cpl_header.next = self.endpoint.cpl_header.val();
        self.engine.cpl_last.next = self.endpoint.cpl_last.val();
        self.engine.cpl_data.next = self.endpoint.cpl_data.val();
        self.transmit.rd_valid.next = self.engine.rd_valid.val();
        self.transmit.rd_line.next = self.engine.rd_line.val();
        self.transmit.rd_two.next = self.engine.rd_two.val();
        self.transmit.rd_tag.next = self.engine.rd_tag.val();
        self.transmit.wr_valid.next = self.engine.wr_valid.val();
        self.transmit.wr_address.next = self.engine.wr_address.val();
        self.transmit.wr_beats.next = self.engine.wr_beats.val();
        self.transmit.wr_data.next = self.engine.wr_data.val();
        self.transmit.wr_data_valid.next = self.engine.wr_data_valid.val();
        self.engine.rd_ready.next = self.transmit.rd_ready.val();
        self.engine.wr_ready.next = self.transmit.wr_ready.val();
        self.engine.wr_pop.next = self.transmit.wr_pop.val();
        self.engine.cfg_bdf.next = self.cfg_bdf.val();
        self.engine.cfg_bme.next = self.cfg_bme.val();
        self.mem_rd_valid.next = self.engine.mem_rd_valid.val();
        self.engine.mem_rd_ready.next = self.mem_rd_ready.val();
        self.mem_rd_line.next = self.engine.mem_rd_line.val();
        self.mem_rd_own.next = self.engine.mem_rd_own.val();
        self.engine.rsp_valid.next = self.rsp_valid.val();
        self.engine.rsp_idx.next = self.rsp_idx.val();
        self.engine.rsp_data.next = self.rsp_data.val();
        self.engine.rsp_poison.next = self.rsp_poison.val();
        self.mem_wr_valid.next = self.engine.mem_wr_valid.val();
        self.engine.mem_wr_ready.next = self.mem_wr_ready.val();
        self.engine.mem_wr_idle.next = self.mem_wr_idle.val();
        self.engine.mem_wr_done.next = self.mem_wr_done.val();
        self.engine.mem_refused.next = self.mem_refused.val();
        self.port_valid.next = self.engine.port_valid.val();
        self.engine.port_ready.next = self.port_ready.val();
        self.port.next = self.engine.port.val();
        self.engine.port_out_valid.next = self.port_out_valid.val();
        self.engine.port_out_data.next = self.port_out_data.val();
        self.engine.port_out_status.next = self.port_out_status.val();
        self.mem_wr_line.next = self.engine.mem_wr_line.val();
        self.mem_wr_idx.next = self.engine.mem_wr_idx.val();
        self.mem_wr_data.next = self.engine.mem_wr_data.val();
        self.mem_wr_be.next = self.engine.mem_wr_be.val();
        self.mem_wr_poison_we.next = self.engine.mem_wr_poison_we.val();
        self.mem_wr_poison.next = self.engine.mem_wr_poison.val();
        self.mem_wr_drop.next = self.engine.mem_wr_drop.val();
    }
}
