//! What the tests share: seeds, and a device with registers and DMA made of this crate's own parts.
#![allow(dead_code)] // Each test binary uses some of it.

use std::collections::{HashMap, VecDeque};

use pcie_sim::completion::{split, Reassembly, SplitRules};
use pcie_sim::config::{DvsecBody, PcieEndpoint};
use pcie_sim::host::Options;
use pcie_sim::tlp::{MemRequest, Status};
use pcie_sim::{Bdf, ConfigSpace, Function, HostMemory, Kind, Limits, Packet, RootComplex, Tlp};
use proptest::test_runner::{Config, RngSeed};

/// `CXLMEM_SEED` if set, else a new one; printed, so that a failing test shows it.
pub fn seed() -> u64 {
    let seed = match std::env::var("CXLMEM_SEED") {
        Ok(text) => text.parse().expect("CXLMEM_SEED is a decimal number"),
        Err(_) => std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64),
    };
    println!("replay with CXLMEM_SEED={seed}");
    seed
}

pub fn proptest_config(cases: u32) -> Config {
    Config {
        cases,
        rng_seed: RngSeed::Fixed(seed()),
        failure_persistence: None,
        ..Config::default()
    }
}

/// A generator independent of the crate's own.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % bound
    }
}

pub const MEMORY_BASE: u64 = 0x10_0000;

/// How a device answers reads of its registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Data,
    Refuse(Status),
    Poison,
    Nothing,
}

/// 64 KiB of registers and a DMA engine that a test drives.
pub struct Device {
    pub bdf: Bdf,
    pub registers: Vec<u8>,
    pub answer: Answer,
    pub out: VecDeque<Packet>,
    pub waiting: HashMap<u16, Reassembly>,
    pub arrived: HashMap<u16, Result<Vec<u8>, Status>>,
    /// Tags in the order of their completions, one entry each.
    pub order: Vec<u16>,
    pub poisoned: Vec<u16>,
}

impl Device {
    pub fn new() -> Self {
        Device {
            bdf: Bdf::new(1, 0, 0),
            registers: vec![0; 0x1_0000],
            answer: Answer::Data,
            out: VecDeque::new(),
            waiting: HashMap::new(),
            arrived: HashMap::new(),
            order: Vec::new(),
            poisoned: Vec::new(),
        }
    }

    pub fn dma_read(&mut self, tag: u16, addr: u64, bytes: usize) {
        let request =
            MemRequest::span(self.bdf, tag, addr, bytes).expect("the test asks for a legal read");
        self.waiting.insert(tag, Reassembly::new(&request, 64));
        self.send(Tlp::new(Kind::MemRead(request), Vec::new()));
    }

    pub fn dma_write(&mut self, addr: u64, bytes: &[u8]) {
        self.send(Tlp::mem_write(self.bdf, addr, bytes).expect("the test asks for a legal write"));
    }

    pub fn send(&mut self, tlp: Tlp) {
        self.out.push_back(tlp.encode());
    }

    /// One tick: takes a packet, gives one.
    pub fn tick(&mut self, packet: Option<Packet>) -> Option<Packet> {
        if let Some(packet) = packet {
            self.take(packet);
        }
        self.out.pop_front()
    }

    fn take(&mut self, packet: Packet) {
        let tlp = packet
            .decode(&Limits::default())
            .expect("the function passes only well-formed packets");
        match tlp.kind {
            Kind::MemWrite(r) => {
                let offset = (r.addr & 0xFFFF) as usize;
                for (k, byte) in tlp.data.iter().enumerate() {
                    if r.byte_enabled(k) {
                        self.registers[offset + k] = *byte;
                    }
                }
            }
            Kind::MemRead(r) => self.answer(&r, &tlp),
            Kind::Completion(c) => {
                self.order.push(c.tag);
                if tlp.poisoned {
                    self.poisoned.push(c.tag);
                }
                if c.status != Status::Success {
                    self.waiting
                        .remove(&c.tag)
                        .expect("a completion for an outstanding read");
                    self.arrived.insert(c.tag, Err(c.status));
                    return;
                }
                let reassembly = self
                    .waiting
                    .get_mut(&c.tag)
                    .expect("a completion for an outstanding read");
                if reassembly
                    .accept(&c, &tlp.data)
                    .expect("a completion that continues the read")
                {
                    let done = self.waiting.remove(&c.tag).expect("just seen");
                    self.arrived.insert(c.tag, Ok(done.into_bytes()));
                }
            }
            other => panic!("the function passed {other:?} on"),
        }
    }

    fn answer(&mut self, r: &MemRequest, tlp: &Tlp) {
        let offset = (r.addr & 0xFFFF) as usize;
        let data = self.registers[offset..offset + usize::from(r.dwords) * 4].to_vec();
        match self.answer {
            Answer::Nothing => {}
            Answer::Refuse(status) => {
                let refusal = Tlp::refuse(tlp, self.bdf, status).expect("a read is answered");
                self.send(refusal);
            }
            Answer::Data | Answer::Poison => {
                let (out, poisoned) = (&mut self.out, self.answer == Answer::Poison);
                let rules = SplitRules {
                    rcb: 64,
                    max_payload: 64,
                };
                split(
                    r,
                    self.bdf,
                    &data,
                    rules,
                    |most| most,
                    |mut tlp| {
                        tlp.poisoned = poisoned;
                        out.push_back(tlp.encode());
                    },
                );
            }
        }
    }
}

pub const VENDOR: u16 = 0x1AF4;
pub const CLASS: u32 = 0x05_0210;

/// A configuration space with everything in it; BAR0 is 64 KiB.
pub fn config(is_64: bool) -> ConfigSpace {
    let builder = ConfigSpace::builder(VENDOR, 0xC0DE, CLASS)
        .revision(3)
        .subsystem(VENDOR, 0x0001);
    let builder = if is_64 {
        builder.bar64(0, 0x1_0000, true)
    } else {
        builder.bar32(0, 0x1_0000, false)
    };
    builder
        .power_management()
        .msix(8, 0, 0x8000, 0x9000)
        .pcie_endpoint(PcieEndpoint::default())
        .aer()
        .serial_number(0x0123_4567_89AB_CDEF)
        .dvsec(DvsecBody {
            vendor: 0x1E98,
            revision: 2,
            id: 7,
            body: vec![0x11, 0x22, 0x33, 0x44, 0x55, 0x66],
            writable: vec![0, 0, 0xF0],
            clear_on_one: vec![0, 0, 0, 0x44],
        })
        .build()
        .expect("a legal layout")
}

/// A link with a root complex on one end and a function with a device on the other.
pub struct Rig {
    pub root: RootComplex,
    pub mem: HostMemory,
    pub function: Function,
    pub device: Device,
    pub now: u64,
}

impl Rig {
    pub fn new(options: Options) -> Self {
        Rig {
            root: RootComplex::new(options).expect("legal options"),
            mem: HostMemory::new(MEMORY_BASE, 1 << 20),
            function: Function::new(config(true)),
            device: Device::new(),
            now: 0,
        }
    }

    /// BAR0 at `BAR`, memory space and bus mastering on, routing id captured.
    pub fn brought_up(options: Options) -> Self {
        let mut rig = Rig::new(options);
        let bdf = rig.device.bdf;
        for (register, value) in [(0x10, BAR as u32), (0x14, (BAR >> 32) as u32), (0x04, 0x6)] {
            let id = rig
                .root
                .cfg_write(rig.now, bdf, register, value, 0xF)
                .expect("a free tag");
            assert_eq!(rig.wait(id), Ok(Vec::new()));
        }
        rig
    }

    pub fn step(&mut self) {
        self.now += 1;
        if let Some(packet) = self.root.transmit(self.now) {
            self.function.receive_host(packet);
        }
        let to_device = self.function.send_device();
        if let Some(packet) = self.device.tick(to_device) {
            self.function.receive_device(packet);
        }
        if let Some(packet) = self.function.send_host() {
            self.root.receive(self.now, &mut self.mem, packet);
        }
        self.root.expire(self.now);
    }

    pub fn run(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.step();
        }
    }

    pub fn wait(&mut self, id: pcie_sim::RequestId) -> Result<Vec<u8>, pcie_sim::RequestError> {
        for _ in 0..1_000_000 {
            if let Some(result) = self.root.take(id) {
                return result;
            }
            self.step();
        }
        panic!("{id:?} did not end within a million ticks");
    }
}

/// Where `Rig::brought_up` puts BAR0.
pub const BAR: u64 = 0x40_0000_0000;
