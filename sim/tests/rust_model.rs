//! The same stimulus on rust-hdl's own simulation of the controller and on the Verilated Verilog: every output, every cycle.
//!
//! This is what catches constructs that rust-hdl's Rust side honours and its Verilog does not. The stimulus need not be legal: both
//! sides must agree on nonsense too.

use cxlmem_hdl::top::Top;
use cxlmem_hdl::Config;
use cxlmem_protocol::crc;
use cxlmem_protocol::flit::control::{self, Control};
use cxlmem_protocol::flit::FlitHeader;
use cxlmem_protocol::regs;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::Dut;
use rust_hdl::prelude::*;
use std::collections::VecDeque;

const CYCLES: usize = 1500;

/// What is on the input pins in one cycle.
#[derive(Clone, Copy, Default)]
struct Inputs {
    reset: bool,
    rx: Option<(u128, bool, u16)>,
    tlp: Option<(u128, bool)>,
    tx_ready: bool,
    tlp_tx_ready: bool,
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Outputs {
    tx: Option<(u128, bool, u16)>,
    tlp: Option<(u128, bool)>,
    tlp_rx_ready: bool,
}

struct Stimulus {
    rng: Rng,
    slots: VecDeque<(u128, bool, u16)>,
    beats: VecDeque<(u128, bool)>,
    cycle: usize,
}

impl Stimulus {
    fn new(seed: u64) -> Self {
        let mut s = Self {
            rng: Rng::new(seed),
            slots: VecDeque::new(),
            beats: VecDeque::new(),
            cycle: 0,
        };
        // Decoder 0 at 4 GiB, 256 MiB.
        s.mmio_write(regs::Hdm0BaseHi::OFFSET, 1);
        s.mmio_write(regs::Hdm0SizeLo::OFFSET, 0x1000_0000);
        s.mmio_write(regs::Hdm0Ctrl::OFFSET, 0x1200);
        s.mmio_write(regs::HdmGlobalCtrl::OFFSET, 3);
        let control = regs::LinkCtrl::ENABLE.mask() | regs::LinkCtrl::OFFER_BI.mask();
        s.mmio_write(regs::LinkCtrl::OFFSET, control);
        s
    }

    fn mmio_write(&mut self, offset: u32, value: u32) {
        self.beats
            .push_back((0x4000_0001 | 0x0F << 32 | u128::from(offset) << 64, false));
        self.beats.push_back((u128::from(value), true));
    }

    fn mmio_read(&mut self, offset: u32, tag: u8) {
        self.beats.push_back((
            0x0000_0001 | (0x0F | u128::from(tag) << 8) << 32 | u128::from(offset) << 64,
            true,
        ));
    }

    fn flit(&mut self, slots: [u128; 4]) {
        let crc = crc::of(&slots);
        for (i, slot) in slots.into_iter().enumerate() {
            self.slots.push_back((slot, i == 0, crc));
        }
    }

    fn word(&mut self) -> u128 {
        u128::from(self.rng.next_u64()) << 64 | u128::from(self.rng.next_u64())
    }

    /// A message that is often legal: valid, an opcode, an address inside the decoder's first lines.
    fn message(&mut self) -> u128 {
        let opcode = [1, 1, 1, 0, 2, 9, 8, 4][self.rng.below(8) as usize];
        let meta = [3, 3, 0, 0, 1][self.rng.below(5) as usize];
        let line = self.rng.below(24) | if self.rng.chance(0.1) { 1 << 20 } else { 0 };
        let tag = self.rng.below(1 << 16);
        let address = if self.rng.chance(0.95) { 1u64 << 32 } else { 0 } + line * 64;
        1 | opcode << 1
            | meta << 8
            | u128::from(self.rng.below(4)) << 10
            | u128::from(tag) << 12
            | u128::from(address >> if self.rng.chance(0.5) { 5 } else { 6 }) << 28
    }

    fn random_flit(&mut self) {
        let format = |r: u64| [0, 0, 0, 4, 5, 0, 4, 6][r as usize & 7] as u128;
        let f: Vec<u128> = (0..3).map(|_| format(self.rng.next_u64())).collect();
        let head = [4u128, 5, 4, 5, 7][self.rng.below(5) as usize];
        let be = u128::from(self.rng.chance(0.2));
        let credits = u128::from(self.rng.below(1 << 12)) << 20;
        let header = be << 3 | 1 << 4 | head << 5 | f[0] << 8 | f[1] << 11 | f[2] << 14 | credits;
        let message = self.message();
        let mut slots = [header | message << 32, 0, 0, 0];
        for (slot, format) in slots[1..].iter_mut().zip(&f) {
            *slot = if *format == 0 {
                self.word()
            } else {
                self.message()
            };
        }
        if self.rng.chance(0.03) {
            slots[0] = self.word();
        }
        self.flit(slots);
    }

    fn next(&mut self) -> Inputs {
        let c = self.cycle;
        self.cycle += 1;
        if c == 120 {
            let init = Control::InitParam {
                version: 2,
                llr_wrap: 9,
                signature: control::signature(control::BI68),
            };
            self.flit(init.flit(FlitHeader::default()).slots);
            // LLCRD: 64 response and 64 data credits.
            self.flit([0x10_F0F0_0001, 0, 0, 0]);
        }
        if c > 150 && self.slots.is_empty() && self.rng.chance(0.3) {
            self.random_flit();
        }
        if c > 200 && self.beats.is_empty() && self.rng.chance(0.05) {
            let offset = 4 * self.rng.below(0x2200 / 4) as u32;
            let tag = self.rng.below(256) as u8;
            self.mmio_read(offset, tag);
        }
        // Late, a bad CRC: the link goes down and is enabled again.
        if c == CYCLES * 3 / 4 {
            if let Some(s) = self.slots.back_mut() {
                s.2 ^= 1;
            }
            self.mmio_write(regs::LinkCtrl::OFFSET, 0);
            self.mmio_write(regs::LinkCtrl::OFFSET, 1);
        }
        Inputs {
            reset: c < 4,
            rx: if c < 4 {
                None
            } else {
                self.slots.front().copied()
            },
            tlp: if c < 8 {
                None
            } else {
                self.beats.front().copied()
            },
            tx_ready: self.rng.chance(0.8),
            tlp_tx_ready: self.rng.chance(0.7),
        }
    }

    fn accepted(&mut self, i: &Inputs, o: &Outputs) {
        if i.rx.is_some() {
            self.slots.pop_front();
        }
        if i.tlp.is_some() && o.tlp_rx_ready {
            self.beats.pop_front();
        }
    }
}

/// Settles the Rust model on its inputs as driven.
fn settle(top: &mut Top) {
    for _ in 0..500 {
        top.update_all();
        if !top.has_changed() {
            return;
        }
    }
    panic!("the Rust model does not settle: a combinational loop");
}

fn bits128(v: u128) -> Bits<128> {
    (bits::<128>((v >> 64) as u64) << 64) | bits::<128>(v as u64)
}

fn drive_rust(top: &mut Top, i: &Inputs) -> Outputs {
    top.reset.next = i.reset;
    let (slot, sof, crc) = i.rx.unwrap_or_default();
    top.rx_valid.next = i.rx.is_some();
    top.rx_slot.next = bits128(slot);
    top.rx_sof.next = sof;
    top.rx_crc.next = u64::from(crc).into();
    let (data, last) = i.tlp.unwrap_or_default();
    top.tlp_rx_valid.next = i.tlp.is_some();
    top.tlp_rx_data.next = bits128(data);
    top.tlp_rx_last.next = last;
    top.tx_ready.next = i.tx_ready;
    top.tlp_tx_ready.next = i.tlp_tx_ready;
    top.cfg_bdf.next = 0x0100.into();
    top.cfg_bme.next = true;
    top.clock.next = Clock { clk: false };
    settle(top);
    let out = Outputs {
        tx: top.tx_valid.val().then(|| {
            (
                top.tx_slot.val().to_u128(),
                top.tx_sof.val(),
                top.tx_crc.val().to_u16(),
            )
        }),
        tlp: top
            .tlp_tx_valid
            .val()
            .then(|| (top.tlp_tx_data.val().to_u128(), top.tlp_tx_last.val())),
        tlp_rx_ready: top.tlp_rx_ready.val(),
    };
    top.clock.next = Clock { clk: true };
    settle(top);
    out
}

fn drive_verilated(dut: &mut Dut, i: &Inputs) -> Outputs {
    dut.set_reset(i.reset);
    let (slot, sof, crc) = i.rx.unwrap_or_default();
    dut.set_rx_valid(i.rx.is_some());
    dut.set_rx_slot(slot);
    dut.set_rx_sof(sof);
    dut.set_rx_crc(crc);
    let (data, last) = i.tlp.unwrap_or_default();
    dut.set_tlp_rx_valid(i.tlp.is_some());
    dut.set_tlp_rx_data(data);
    dut.set_tlp_rx_last(last);
    dut.set_tx_ready(i.tx_ready);
    dut.set_tlp_tx_ready(i.tlp_tx_ready);
    dut.set_cfg_bdf(0x0100);
    dut.set_cfg_bme(true);
    dut.settle();
    let out = Outputs {
        tx: dut
            .tx_valid()
            .then(|| (dut.tx_slot(), dut.tx_sof(), dut.tx_crc())),
        tlp: dut
            .tlp_tx_valid()
            .then(|| (dut.tlp_tx_data(), dut.tlp_tx_last())),
        tlp_rx_ready: dut.tlp_rx_ready(),
    };
    dut.edge();
    out
}

#[test]
fn rust_model_and_verilog_agree() {
    let seed = seed_from_env(0x5EED_0001).unwrap();
    println!("CXLMEM_SEED={seed}");
    for config in ["tiny", "small"] {
        let named = Config::by_name(config).expect("a named configuration");
        let mut top = Top::new(named);
        top.connect_all();
        let mut dut = Dut::new(config).expect("a built configuration");
        let mut stimulus = Stimulus::new(seed);
        let (mut slots, mut beats) = (0, 0);
        for cycle in 0..CYCLES {
            let i = stimulus.next();
            let rust = drive_rust(&mut top, &i);
            let verilog = drive_verilated(&mut dut, &i);
            // The CRC is meaningful with the fourth slot only, but both sides compute it the same way throughout.
            assert_eq!(
                rust, verilog,
                "{config}: cycle {cycle}, CXLMEM_SEED={seed}: left is the Rust model, right the Verilog"
            );
            slots += usize::from(rust.tx.is_some());
            beats += usize::from(rust.tlp.is_some());
            stimulus.accepted(&i, &rust);
        }
        println!("{config}: {slots} slots and {beats} TLP beats agreed in {CYCLES} cycles");
        // The comparison means something only if both sides did something.
        assert!(
            slots > 300 && beats > 10,
            "{config}: {slots} slots, {beats} beats"
        );
    }
}
