//! stub
use crate::config::Config;
use rust_hdl::prelude::*;
#[derive(LogicBlock, Default)]
pub struct Engine {
    pub clock: Signal<In, Clock>,
    pub reset: Signal<In, Bit>,
    pub eng_enable: Signal<In, Bit>,
    pub eng_soft_reset: Signal<In, Bit>,
    pub eng_ring: Signal<In, Bits<58>>,
    pub eng_ring_log2: Signal<In, Bits<4>>,
    pub eng_tail: Signal<In, Bits<10>>,
    pub eng_cpl: Signal<In, Bits<59>>,
    pub eng_vector: Signal<In, Bits<2>>,
    pub eng_timeout: Signal<In, Bits<32>>,
    pub hdm0_committed: Signal<In, Bit>,
    pub hdm0_base: Signal<In, Bits<24>>,
    pub hdm0_limit: Signal<In, Bits<24>>,
    pub hdm1_committed: Signal<In, Bit>,
    pub hdm1_base: Signal<In, Bits<24>>,
    pub hdm1_limit: Signal<In, Bits<24>>,
    pub cfg_bdf: Signal<In, Bits<16>>,
    pub cfg_bme: Signal<In, Bit>,
    pub eng_busy: Signal<Out, Bit>,
    pub eng_fault: Signal<Out, Bit>,
    pub eng_fault_code: Signal<Out, Bits<8>>,
    pub eng_head: Signal<Out, Bits<10>>,
    pub eng_done: Signal<Out, Bits<32>>,
    pub irq: Signal<Out, Bit>,
    pub irq_vector: Signal<Out, Bits<2>>,
    pub swept: Signal<Out, Bit>,
    pub ev_unexpected: Signal<Out, Bit>,
    pub cpl_valid: Signal<In, Bit>,
    pub cpl_header: Signal<In, Bit>,
    pub cpl_last: Signal<In, Bit>,
    pub cpl_data: Signal<In, Bits<128>>,
    pub rd_valid: Signal<Out, Bit>,
    pub rd_ready: Signal<In, Bit>,
    pub rd_line: Signal<Out, Bits<58>>,
    pub rd_two: Signal<Out, Bit>,
    pub rd_tag: Signal<Out, Bits<8>>,
    pub wr_valid: Signal<Out, Bit>,
    pub wr_ready: Signal<In, Bit>,
    pub wr_address: Signal<Out, Bits<59>>,
    pub wr_beats: Signal<Out, Bits<4>>,
    pub wr_data: Signal<Out, Bits<128>>,
    pub wr_data_valid: Signal<Out, Bit>,
    pub wr_pop: Signal<In, Bit>,
    pub mem_rd_valid: Signal<Out, Bit>,
    pub mem_rd_ready: Signal<In, Bit>,
    pub mem_rd_line: Signal<Out, Bits<26>>,
    pub rsp_valid: Signal<In, Bit>,
    pub rsp_idx: Signal<In, Bits<2>>,
    pub rsp_data: Signal<In, Bits<128>>,
    pub rsp_poison: Signal<In, Bit>,
    pub mem_wr_valid: Signal<Out, Bit>,
    pub mem_wr_ready: Signal<In, Bit>,
    pub mem_wr_line: Signal<Out, Bits<26>>,
    pub mem_wr_idx: Signal<Out, Bits<2>>,
    pub mem_wr_data: Signal<Out, Bits<128>>,
    pub mem_wr_be: Signal<Out, Bits<16>>,
    pub mem_wr_poison_we: Signal<Out, Bit>,
    pub mem_wr_poison: Signal<Out, Bit>,
}
impl Engine {
 pub fn new(_: &Config) -> Self { Self::default() } }
impl Logic for Engine {
    #[hdl_gen]
    fn update(&mut self) {
        self.eng_busy.next = false;
        self.eng_fault.next = false;
        self.eng_fault_code.next = 0.into();
        self.eng_head.next = 0.into();
        self.eng_done.next = 0.into();
        self.irq.next = false;
        self.irq_vector.next = 0.into();
        self.swept.next = false;
        self.ev_unexpected.next = false;
        self.rd_valid.next = false;
        self.rd_line.next = 0.into();
        self.rd_two.next = false;
        self.rd_tag.next = 0.into();
        self.wr_valid.next = false;
        self.wr_address.next = 0.into();
        self.wr_beats.next = 0.into();
        self.wr_data.next = 0.into();
        self.wr_data_valid.next = false;
        self.mem_rd_valid.next = false;
        self.mem_rd_line.next = 0.into();
        self.mem_wr_valid.next = false;
        self.mem_wr_line.next = 0.into();
        self.mem_wr_idx.next = 0.into();
        self.mem_wr_data.next = 0.into();
        self.mem_wr_be.next = 0.into();
        self.mem_wr_poison_we.next = false;
        self.mem_wr_poison.next = false;
    self.swept.next = true; }
}
