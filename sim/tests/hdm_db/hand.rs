//! A home agent played by hand, and a ring of the engine, for tests that say every message themselves.

use cxlmem_protocol::engine::{Completion, Descriptor, COMPLETION_BYTES, DESCRIPTOR_BYTES};
use cxlmem_protocol::hdm_db::host::Row;
use cxlmem_protocol::hdm_db::Op;
use cxlmem_protocol::msg::{
    M2sBiRsp, M2sBiRspOpcode, M2sReq, M2sRwd, M2sRwdOpcode, S2mBiSnp, S2mDrsOpcode, S2mNdr,
    S2mNdrOpcode,
};
use cxlmem_protocol::regs;
use cxlmem_sim::link::Response;
use cxlmem_sim::port::{PortDone, PortOp};
use cxlmem_sim::{Options, System};

pub type Line = [u8; 64];

/// Cycles that nothing here takes.
pub const BOUND: u64 = 5_000;

/// A host that says exactly what the test says.
pub struct Hand {
    pub s: System,
    pub ndrs: Vec<S2mNdr>,
    pub drss: Vec<(u16, bool, Line)>,
    pub snoops: Vec<S2mBiSnp>,
}

impl Hand {
    pub fn new(config: &str) -> Self {
        let mut s = System::new(
            config,
            Options {
                device_coherent: true,
                ..Default::default()
            },
        )
        .unwrap();
        s.bring_up().unwrap();
        s.replace_home();
        Self {
            s,
            ndrs: Vec::new(),
            drss: Vec::new(),
            snoops: Vec::new(),
        }
    }

    pub fn address(&self, line: u64) -> u64 {
        self.s.hdm_window().0 + line * 64
    }

    pub fn step(&mut self) {
        self.s.cycle();
        self.gather();
    }

    /// Takes what has come.
    pub fn gather(&mut self) {
        while let Some(r) = self.s.take_response() {
            match r {
                Response::Ndr(n) => self.ndrs.push(n),
                Response::Drs(d, line) => {
                    assert_eq!(d.opcode, S2mDrsOpcode::MemData);
                    self.drss.push((d.tag, d.poison, line));
                }
                Response::BiSnp(b) => self.snoops.push(b),
            }
        }
    }

    pub fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..BOUND {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("{what}: not within {BOUND} cycles");
    }

    pub fn quiet(&mut self, cycles: u64) {
        (0..cycles).for_each(|_| self.step());
    }

    pub fn send(&mut self, row: Row, line: u64, tag: u16, data: Line) {
        self.send_some(row, line, tag, data, u64::MAX);
    }

    /// With the byte enables of a partial write.
    pub fn send_some(&mut self, row: Row, line: u64, tag: u16, data: Line, enables: u64) {
        let r = row.request();
        let address = self.address(line);
        match r.op {
            Op::Req(opcode) => {
                assert!(self.s.link_mut().send_req(&M2sReq {
                    opcode,
                    meta_field: r.meta_field,
                    meta_value: r.meta_value,
                    snp_type: r.snp_type,
                    tag,
                    address,
                    ..Default::default()
                }));
            }
            Op::Rwd(opcode) => {
                let header = M2sRwd {
                    opcode,
                    meta_field: r.meta_field,
                    meta_value: r.meta_value,
                    snp_type: r.snp_type,
                    tag,
                    address,
                    ..Default::default()
                };
                assert!(self.s.link_mut().send_rwd(header, data, enables));
            }
        }
    }

    pub fn conflict(&mut self, line: u64, tag: u16) {
        let header = M2sRwd {
            opcode: M2sRwdOpcode::BiConflict,
            tag,
            address: self.address(line),
            ..Default::default()
        };
        assert!(self.s.link_mut().send_rwd(header, [0; 64], u64::MAX));
    }

    pub fn answer(&mut self, snoop: &S2mBiSnp, opcode: M2sBiRspOpcode) {
        assert!(self.s.link_mut().send_birsp(&M2sBiRsp {
            opcode,
            bi_id: snoop.bi_id,
            bi_tag: snoop.bi_tag,
            low_addr: (snoop.address >> 6) as u8 & 3,
        }));
    }

    /// The completion of `tag`.
    pub fn ndr(&mut self, tag: u16) -> S2mNdr {
        self.until("the completion", |h| h.ndrs.iter().any(|n| n.tag == tag));
        let at = self.ndrs.iter().position(|n| n.tag == tag).unwrap();
        self.ndrs.remove(at)
    }

    pub fn data(&mut self, tag: u16) -> Line {
        self.until("the data", |h| h.drss.iter().any(|d| d.0 == tag));
        let at = self.drss.iter().position(|d| d.0 == tag).unwrap();
        let (_, poison, line) = self.drss.remove(at);
        assert!(!poison);
        line
    }

    pub fn snoop(&mut self) -> S2mBiSnp {
        self.until("a snoop", |h| !h.snoops.is_empty());
        self.snoops.remove(0)
    }

    /// Takes a line with this row; the grant.
    pub fn take(&mut self, row: Row, line: u64) -> S2mNdrOpcode {
        self.send(row, line, 7, [0; 64]);
        self.data(7);
        self.ndr(7).opcode
    }

    pub fn port(&mut self, line: u64, op: PortOp) {
        self.s.port_mut().issue(line, op);
    }

    pub fn port_done(&mut self) -> PortDone {
        let mut got = None;
        self.until("the port's outcome", |h| {
            got = h.s.port_mut().poll();
            got.is_some()
        });
        got.unwrap()
    }

    pub fn register(&mut self, offset: u32) -> u32 {
        self.s.mmio_read32(offset).unwrap()
    }

    /// Nothing was logged, nothing is left over.
    pub fn end(mut self) {
        self.quiet(300);
        assert!(self.ndrs.is_empty(), "{:?}", self.ndrs);
        assert!(self.drss.is_empty() && self.snoops.is_empty());
        assert_eq!(self.register(regs::RxProtocolErrors::OFFSET), 0);
        assert_eq!(self.register(regs::RasUncStatus::OFFSET), 0);
    }
}

pub fn word(line: &Line, n: usize) -> u64 {
    u64::from_le_bytes(line[n * 8..][..8].try_into().unwrap())
}

/// The engine with one descriptor.
pub struct Ring {
    ring: u64,
    records: u64,
}

const RING_BYTES: usize = 4 * DESCRIPTOR_BYTES;
const RECORDS_BYTES: usize = 4 * COMPLETION_BYTES;

impl Ring {
    /// Stops what the engine does and gives it `d`.
    pub fn start(s: &mut System, d: &Descriptor) -> Self {
        let ring = s.dma_alloc(RING_BYTES).unwrap();
        let records = s.dma_alloc(RECORDS_BYTES).unwrap();
        s.mmio_write32(regs::EngCtrl::OFFSET, regs::EngCtrl::SOFT_RESET.mask())
            .unwrap();
        s.run(500);
        s.dma_write(ring, &d.pack()).unwrap();
        for (register, value) in [
            (regs::EngRingLo::OFFSET, ring as u32),
            (regs::EngRingHi::OFFSET, (ring >> 32) as u32),
            (regs::EngCplLo::OFFSET, records as u32),
            (regs::EngCplHi::OFFSET, (records >> 32) as u32),
            (regs::EngRingLog2::OFFSET, 2),
            (regs::EngCtrl::OFFSET, regs::EngCtrl::ENABLE.mask()),
            (regs::EngTail::OFFSET, 1),
        ] {
            s.mmio_write32(register, value).unwrap();
        }
        Self { ring, records }
    }

    /// Its completion, if it has come.
    pub fn poll(&self, s: &System) -> Option<Completion> {
        let mut bytes = [0; COMPLETION_BYTES];
        s.dma_read(self.records, &mut bytes).unwrap();
        let c = Completion::unpack(&bytes);
        (c.phase & 1 == 1).then_some(c)
    }

    /// Gives its memory back.
    pub fn free(self, s: &mut System) {
        s.dma_free(self.ring, RING_BYTES).unwrap();
        s.dma_free(self.records, RECORDS_BYTES).unwrap();
    }
}
