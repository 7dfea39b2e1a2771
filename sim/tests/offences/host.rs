//! A host without manners: flits and TLPs put on the controller's pins by hand. It keeps no rules of its own, so that it can break any; it
//! acknowledges and gives credits only when it is told to.

use cxlmem_protocol::flit::control::{self, Control};
use cxlmem_protocol::flit::{Direction, Flit, FlitHeader};
use cxlmem_protocol::msg::{M2sReq, M2sReqOpcode, M2sRwd, S2mNdr};
use cxlmem_protocol::pack::{Event, Extensions, Read, Receiver};
use cxlmem_protocol::regs;
use cxlmem_sim::Dut;
use std::collections::VecDeque;

/// Where decoder 0 begins: 4 GiB.
pub const BASE: u64 = 1 << 32;

/// One granule of a decoder: 256 MiB.
pub const GRANULE: u32 = 1 << 28;

/// Code 4: eight credits, in a flit header.
pub const EIGHT: u8 = 12;

/// The controller and what it said.
pub struct Host {
    pub dut: Dut,
    receiver: Receiver,
    slots: Vec<u128>,
    rx: VecDeque<(u128, bool, u16)>,
    tlp_rx: VecDeque<(u128, bool)>,
    tlp_tx: Vec<u128>,
    /// Retryable flits that came since the last acknowledgement, and since the start.
    unacked: u8,
    pub received: u8,
    /// Sequence numbers are in force.
    pub seq: bool,
    /// For each retryable flit that came: whether it was an LLCRD.
    pub llcrds: Vec<bool>,
    /// RETRY.* and INIT that came.
    pub controls: Vec<Control>,
    /// Completions that came.
    pub ndrs: Vec<S2mNdr>,
    pub reads: Vec<Read>,
}

impl Host {
    /// A controller after reset, with decoder 0 over its memory; the link is not up.
    pub fn new(config: &str) -> Self {
        let mut dut = Dut::new(config).unwrap();
        dut.set_cfg_bme(true);
        dut.set_tlp_tx_ready(true);
        dut.set_tx_ready(true);
        dut.set_ext_rd_ready(true);
        dut.set_ext_wr_ready(true);
        dut.reset(4);
        let mut host = Self {
            dut,
            receiver: Receiver::new(Direction::S2m, Extensions::default()),
            slots: Vec::new(),
            rx: VecDeque::new(),
            tlp_rx: VecDeque::new(),
            tlp_tx: Vec::new(),
            unacked: 0,
            received: 0,
            seq: false,
            llcrds: Vec::new(),
            controls: Vec::new(),
            ndrs: Vec::new(),
            reads: Vec::new(),
        };
        host.run(20_000); // the directory and the engine sweep their tables
        host.write_register(regs::Hdm0BaseHi::OFFSET, (BASE >> 32) as u32);
        host.write_register(regs::Hdm0SizeLo::OFFSET, GRANULE);
        let control = regs::Hdm0Ctrl::TARGET_TYPE.mask() | regs::Hdm0Ctrl::COMMIT.mask();
        host.write_register(regs::Hdm0Ctrl::OFFSET, control);
        host.write_register(
            regs::HdmGlobalCtrl::OFFSET,
            regs::HdmGlobalCtrl::ENABLE.mask(),
        );
        host.run(50);
        let committed = host.register(regs::Hdm0Ctrl::OFFSET);
        assert!(regs::Hdm0Ctrl::COMMITTED.is_set(committed));
        host
    }

    /// With the link up, and these credit codes of a flit header given for NDR and DRS.
    pub fn up(config: &str, rsp_crd: u8, data_crd: u8) -> Self {
        Self::new(config).initialised(0, rsp_crd, data_crd)
    }

    /// The same with BI-68, decoder 0 device-coherent, and decoder 1, host-only, above it.
    pub fn with_back_invalidate(config: &str, rsp_crd: u8, data_crd: u8) -> Self {
        let mut host = Self::new(config);
        let enabled = regs::LinkCtrl::OFFER_BI.with(regs::LinkCtrl::RESET, 1);
        host.write_register(regs::LinkCtrl::OFFSET, enabled);
        let commit = regs::Hdm0Ctrl::COMMIT.mask();
        // A decoder is changed while it is not committed.
        host.write_register(regs::Hdm0Ctrl::OFFSET, regs::Hdm0Ctrl::BI.mask());
        host.write_register(regs::Hdm0Ctrl::OFFSET, regs::Hdm0Ctrl::BI.mask() | commit);
        host.write_register(regs::Hdm1BaseLo::OFFSET, GRANULE);
        host.write_register(regs::Hdm1BaseHi::OFFSET, (BASE >> 32) as u32);
        host.write_register(regs::Hdm1SizeLo::OFFSET, GRANULE);
        host.write_register(
            regs::Hdm1Ctrl::OFFSET,
            regs::Hdm1Ctrl::TARGET_TYPE.mask() | commit,
        );
        host.run(50);
        for control in [regs::Hdm0Ctrl::OFFSET, regs::Hdm1Ctrl::OFFSET] {
            let committed = host.register(control);
            assert!(regs::Hdm0Ctrl::COMMITTED.is_set(committed));
        }
        let extensions = Extensions {
            bi68: true,
            ..Extensions::default()
        };
        host.receiver = Receiver::new(Direction::S2m, extensions);
        host.initialised(control::signature(control::BI68), rsp_crd, data_crd)
    }

    fn initialised(mut self, signature: u16, rsp_crd: u8, data_crd: u8) -> Self {
        let host = &mut self;
        host.control(Control::RetryIdle);
        host.run(100);
        host.control(Control::InitParam {
            version: 2,
            llr_wrap: 64,
            signature,
        });
        host.credits(rsp_crd, data_crd);
        host.run(100);
        assert!(host
            .controls
            .iter()
            .any(|c| matches!(c, Control::InitParam { .. })));
        assert!(host.status(regs::LinkStatus::UP) == 1);
        host.acknowledge();
        host.controls.clear();
        self
    }

    fn cycle(&mut self) {
        let (slot, sof, crc) = self.rx.front().copied().unwrap_or_default();
        self.dut.set_rx_valid(!self.rx.is_empty());
        self.dut.set_rx_slot(slot);
        self.dut.set_rx_sof(sof);
        self.dut.set_rx_crc(crc);
        let (data, last) = self.tlp_rx.front().copied().unwrap_or_default();
        self.dut.set_tlp_rx_valid(!self.tlp_rx.is_empty());
        self.dut.set_tlp_rx_data(data);
        self.dut.set_tlp_rx_last(last);
        self.dut.settle();
        self.rx.pop_front();
        if self.dut.tlp_rx_ready() {
            self.tlp_rx.pop_front();
        }
        if self.dut.tlp_tx_valid() {
            self.tlp_tx.push(self.dut.tlp_tx_data());
        }
        if self.dut.tx_valid() {
            if self.dut.tx_sof() {
                self.slots.clear();
            }
            self.slots.push(self.dut.tx_slot());
            if let Ok(slots) = <[u128; 4]>::try_from(&self.slots[..]) {
                let crc = self.dut.tx_crc();
                self.take(&Flit { slots, crc });
            }
        }
        self.dut.edge();
    }

    fn take(&mut self, flit: &Flit) {
        // With sequence numbers, that of the flit is in the CRC.
        let mut numbered = *flit;
        numbered.crc ^= control::NUMBERED | u16::from(self.received % 64);
        let ok = flit.crc_ok() || self.seq && numbered.crc_ok();
        assert!(ok, "the device sent a bad CRC");
        let control = Control::unpack(flit.slots[0]).ok();
        let control = control.filter(|_| flit.slots[0] & 1 == 1 && self.receiver.rollover() < 4);
        if let Some(c) = control {
            if !matches!(c, Control::LlcrdAck { .. } | Control::RetryIdle) {
                self.controls.push(c);
            }
            if c.retryable() {
                self.retryable(matches!(c, Control::LlcrdAck { .. }));
            }
            return;
        }
        self.retryable(false);
        let owed = self.receiver.rollover();
        let (ndrs, reads) = (&mut self.ndrs, &mut self.reads);
        let mut lines = 0;
        self.receiver.accept(&flit.slots, |_, event| match event {
            Event::Ndr(ndr) => ndrs.push(ndr),
            Event::DrsHeader(_) => lines += 1,
            Event::Read(read) => reads.push(read),
            Event::Error(e) => panic!("the device broke a rule: {e}"),
            _ => {}
        });
        if owed < 4 {
            let h = flit.header();
            let formats = [h.slot1, h.slot2, h.slot3];
            let unused = formats.iter().skip((owed + 4 * lines) as usize);
            assert!(
                unused.clone().all(|f| *f == 5),
                "G5 says that it is empty: {h:?}"
            );
        }
    }

    fn retryable(&mut self, llcrd: bool) {
        self.unacked += 1;
        self.received = self.received.wrapping_add(1);
        self.llcrds.push(llcrd);
    }

    /// Lets time pass.
    pub fn run(&mut self, cycles: u32) {
        for _ in 0..cycles {
            self.cycle();
        }
    }

    /// Puts a flit on the wire, after those that wait.
    pub fn flit(&mut self, flit: Flit) {
        for (n, slot) in flit.slots.into_iter().enumerate() {
            self.rx.push_back((slot, n == 0, flit.crc));
        }
    }

    /// Only the first slots of a flit: the rest is lost.
    pub fn half_flit(&mut self, flit: Flit, slots: usize) {
        self.flit(flit);
        self.rx.truncate(slots);
        self.run(slots as u32);
    }

    /// A flit with a bad CRC.
    pub fn damaged_flit(&mut self) {
        let mut flit = Control::RetryIdle.flit(FlitHeader::default());
        flit.crc ^= 1;
        self.flit(flit);
    }

    pub fn control(&mut self, control: Control) {
        self.flit(control.flit(FlitHeader::default()));
    }

    /// RETRY.Frame and a message.
    pub fn framed(&mut self, control: Control) {
        self.control(Control::RetryFrame);
        self.control(control);
    }

    /// LLCRD with credit codes.
    pub fn credits(&mut self, rsp_crd: u8, data_crd: u8) {
        let header = FlitHeader {
            rsp_crd,
            data_crd,
            ..Default::default()
        };
        self.flit(Control::LlcrdAck { ack: 0 }.flit(header));
    }

    /// LLCRD with a credit code for BISnp (BI-68).
    pub fn snoop_credits(&mut self, req_crd: u8) {
        let header = FlitHeader {
            req_crd,
            ..Default::default()
        };
        self.flit(Control::LlcrdAck { ack: 0 }.flit(header));
    }

    /// Acknowledges all that came.
    pub fn acknowledge(&mut self) {
        let ack = std::mem::take(&mut self.unacked);
        self.control(Control::LlcrdAck { ack });
        self.run(20);
    }

    /// Takes all that the device has to say.
    pub fn drain(&mut self) {
        while {
            let before = self.received;
            self.run(200);
            self.acknowledge();
            self.received != before
        } {}
    }

    fn mmio(&mut self, header: u128, payload: Option<u32>) {
        self.tlp_tx.clear();
        self.tlp_rx.push_back((header, payload.is_none()));
        if let Some(value) = payload {
            self.tlp_rx.push_back((value.into(), true));
        }
        self.run(40);
        assert!(self.tlp_rx.is_empty(), "the endpoint takes no TLP");
    }

    pub fn write_register(&mut self, offset: u32, value: u32) {
        let header = 0x4000_0001 | 0x0F << 32 | u128::from(offset) << 64;
        self.mmio(header, Some(value));
    }

    pub fn register(&mut self, offset: u32) -> u32 {
        self.mmio(1 | 0x0F << 32 | u128::from(offset) << 64, None);
        // Header, then the value.
        assert_eq!(self.tlp_tx.len(), 2, "no completion");
        self.tlp_tx[1] as u32
    }

    /// A field of `LinkStatus`.
    pub fn status(&mut self, field: regs::Field) -> u32 {
        field.get(self.register(regs::LinkStatus::OFFSET))
    }

    pub fn errors(&mut self) -> u32 {
        self.register(regs::RxProtocolErrors::OFFSET)
    }

    /// The header log, and clears it.
    pub fn log(&mut self) -> u128 {
        let word = |h: &mut Self, n: u32| u128::from(h.register(regs::RasLog0::OFFSET + 4 * n));
        let log = (0..4).map(|n| word(self, n) << (32 * n)).sum();
        self.write_register(regs::RasUncStatus::OFFSET, u32::MAX);
        log
    }

    /// Requests, each as a raw message (at most four), in one flit: H5 and G4.
    pub fn requests(&mut self, messages: &[u128]) {
        self.flit(requests(messages));
        self.run(200);
    }

    /// A write as a raw message, with or without byte enables: H4, then its chunks.
    pub fn write(&mut self, message: u128, data: u8, enables: Option<u64>) {
        let header = FlitHeader {
            slot0: 4,
            sz: 1,
            be: u8::from(enables.is_some()),
            ..Default::default()
        };
        let chunk = u128::from_le_bytes([data; 16]);
        let first = u128::from(header.pack()) | message << 32;
        self.flit(Flit::new([first, chunk, chunk, chunk]));
        let header = FlitHeader {
            sz: 1,
            ..Default::default()
        };
        let last = enables.map_or(0, u128::from);
        self.flit(Flit::new([u128::from(header.pack()), chunk, last, 0]));
        self.run(200);
    }

    /// The answer to one legal read.
    pub fn read(&mut self, address: u64, tag: u16) -> Read {
        self.reads.clear();
        self.requests(&[read(address, tag).pack()]);
        assert_eq!(self.reads.len(), 1, "answers to tag {tag}");
        assert_eq!(self.reads[0].header.tag, tag);
        self.reads[0]
    }
}

/// INIT.Param of a host with a retry buffer of 64.
pub fn init() -> Control {
    Control::InitParam {
        version: 2,
        llr_wrap: 64,
        signature: 0,
    }
}

/// A flit of requests.
pub fn requests(messages: &[u128]) -> Flit {
    let used = |n: usize| if messages.len() > n { 4 } else { 0 };
    let header = FlitHeader {
        slot0: 5,
        slot1: used(1),
        slot2: used(2),
        slot3: used(3),
        ..Default::default()
    };
    let message = |n: usize| messages.get(n).copied().unwrap_or(0);
    let first = u128::from(header.pack()) | message(0) << 32;
    Flit::new([first, message(1), message(2), message(3)])
}

/// MemRd without metadata.
pub fn read(address: u64, tag: u16) -> M2sReq {
    M2sReq {
        opcode: M2sReqOpcode::MemRd,
        meta_field: cxlmem_protocol::msg::MetaField::NoOp,
        address,
        tag,
        ..Default::default()
    }
}

/// MemWr without metadata.
pub fn write(address: u64, tag: u16) -> M2sRwd {
    M2sRwd {
        opcode: cxlmem_protocol::msg::M2sRwdOpcode::MemWr,
        meta_field: cxlmem_protocol::msg::MetaField::NoOp,
        address,
        tag,
        ..Default::default()
    }
}
