//! Temporary.
pub mod hdm_h {
    pub struct R { pub legal: bool, pub silent: bool, pub data: bool, pub store_meta: bool }
    pub fn req_rule(op: u8, mf: u8, snp: u8) -> R {
        let silent = op == 8;
        let data = op == 1;
        let legal = silent || (snp == 0 && match op { 1 => mf == 3 || mf == 0, 0 | 9 => mf == 0, _ => false });
        R { legal, silent, data: data, store_meta: legal && mf == 0 && !silent }
    }
    pub fn rwd_rule(op: u8, mf: u8, snp: u8, be: bool) -> R {
        let legal = snp == 0 && (mf == 3 || mf == 0) && ((op == 1 && !be) || (op == 2 && be));
        R { legal, silent: false, data: false, store_meta: legal && mf == 0 }
    }
}
use rust_hdl::prelude::*;
macro_rules! io { (ins {$($i:ident : $t:ty),*} outs {$($o:ident : $u:ty = $v:expr),*}) => {
#[derive(LogicBlock, Default)] pub struct Io { pub clock: Signal<In, Clock>, $(pub $i: Signal<In,$t>,)* $(pub $o: Signal<Out,$u>,)* }
impl Io { pub fn new(_: &crate::Config) -> Self { Self::default() } }
impl Logic for Io { fn update(&mut self) { } fn connect(&mut self) { $(self.$o.connect();)* } fn hdl(&self) -> Verilog { Verilog::Custom([$(format!("initial {} = {};\n", stringify!($o), $v)),*].concat()) } }
}}
io!{ ins { reset: Bit, tlp_rx_valid: Bit, tlp_rx_data: Bits<128>, tlp_rx_last: Bit, tlp_tx_ready: Bit, cfg_bdf: Bits<16>, cfg_bme: Bit, cfg_msix_en: Bit, cfg_msix_mask: Bit,
 link_up: Bit, init_received: Bit, init_sent: Bit, media_ready: Bit, ev_rx_flit: Bit, ev_crc_error: Bit, ev_protocol_error: Bit, ev_tx_flit: Bit, ev_req: Bit, ev_rwd: Bit, ev_ndr: Bit, ev_drs: Bit, ev_nxm: Bit, ev_credit_stall: Bit, ev_poison_rx: Bit, error_header: Bits<128>, mem_rd_ready: Bit, rsp_valid: Bit, rsp_idx: Bits<2>, rsp_data: Bits<128>, rsp_poison: Bit, mem_wr_ready: Bit }
 outs { tlp_rx_ready: Bit = 1, tlp_tx_valid: Bit = 0, tlp_tx_data: Bits<128> = 0, tlp_tx_last: Bit = 0, link_enable: Bit = 1, link_free_running: Bit = 0, hdm_enable: Bit = 1, poison_on_miss: Bit = 1, hdm0_committed: Bit = 1, hdm0_base: Bits<24> = 16, hdm0_limit: Bits<24> = 17, hdm0_dpa: Bits<24> = 0, hdm1_committed: Bit = 0, hdm1_base: Bits<24> = 0, hdm1_limit: Bits<24> = 0, hdm1_dpa: Bits<24> = 0,
 mem_rd_valid: Bit = 0, mem_rd_line: Bits<26> = 0, mem_wr_valid: Bit = 0, mem_wr_line: Bits<26> = 0, mem_wr_idx: Bits<2> = 0, mem_wr_data: Bits<128> = 0, mem_wr_be: Bits<16> = 0, mem_wr_poison_we: Bit = 0, mem_wr_poison: Bit = 0 } }
