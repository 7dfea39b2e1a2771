//! The controller: joins link, coherence, memory, io and engine. Pins: `docs/developer/interfaces.md` section 1.

use crate::config::Config;
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
}

impl Top {
    pub fn new(_config: &Config) -> Self {
        Self::default()
    }
}

impl Logic for Top {
    #[hdl_gen]
    fn update(&mut self) {
        self.tx_valid.next = false;
        self.tx_slot.next = 0.into();
        self.tx_sof.next = false;
        self.tx_crc.next = 0.into();
        self.tlp_rx_ready.next = true;
        self.tlp_tx_valid.next = false;
        self.tlp_tx_data.next = 0.into();
        self.tlp_tx_last.next = false;
        self.ext_rd_valid.next = false;
        self.ext_rd_line.next = 0.into();
        self.ext_rd_nodata.next = false;
        self.ext_rd_meta_we.next = false;
        self.ext_rd_meta.next = 0.into();
        self.ext_wr_valid.next = false;
        self.ext_wr_line.next = 0.into();
        self.ext_wr_idx.next = 0.into();
        self.ext_wr_data.next = 0.into();
        self.ext_wr_be.next = 0.into();
        self.ext_wr_poison_we.next = false;
        self.ext_wr_poison.next = false;
        self.ext_wr_meta_we.next = false;
        self.ext_wr_meta.next = 0.into();
    }
}
