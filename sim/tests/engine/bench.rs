//! A system with a running engine ring, and the model of what it should hold.

use cxlmem_protocol::engine::{
    Completion, Descriptor, Opcode, Status, COMPLETION_BYTES, DESCRIPTOR_BYTES,
};
use cxlmem_protocol::regs;
use cxlmem_sim::pcie::IoOptions;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::{Options, System};

pub const PAGE: u64 = 4096;
/// Cycles within which any descriptor of these tests completes.
const PATIENCE: u64 = 400_000;

pub fn seed(default: u64) -> u64 {
    let seed = seed_from_env(default).unwrap();
    println!("CXLMEM_SEED={seed}");
    seed
}

/// A system with a running ring, and what the device's memory and its owners should be.
pub struct Bench {
    pub s: System,
    pub ring: u64,
    pub records: u64,
    pub log2: u32,
    pub tail: u32,
    pub next_record: u32,
    pub phase: u8,
    pub next_id: u16,
    pub memory: Vec<u8>,
    pub owned: Vec<bool>,
}

impl Bench {
    pub fn new(config: &str, io: IoOptions, log2: u32) -> Self {
        let options = Options {
            io,
            ..Options::default()
        };
        Self::with(config, options, log2)
    }

    pub fn with(config: &str, options: Options, log2: u32) -> Self {
        let mut s = System::new(config, options).unwrap();
        s.bring_up().unwrap();
        s.enable_msix().unwrap();
        let ring = s.dma_alloc(DESCRIPTOR_BYTES << log2).unwrap();
        let records = s.dma_alloc(COMPLETION_BYTES << log2).unwrap();
        let capacity = s.capacity();
        let mut b = Bench {
            s,
            ring,
            records,
            log2,
            tail: 0,
            next_record: 0,
            phase: 1,
            next_id: 1,
            memory: vec![0; capacity as usize],
            owned: vec![false; (capacity / PAGE) as usize],
        };
        b.start();
        b
    }

    pub fn write(&mut self, register: u32, value: u32) {
        self.s.mmio_write32(register, value).unwrap();
    }

    pub fn read(&mut self, register: u32) -> u32 {
        self.s.mmio_read32(register).unwrap()
    }

    /// Soft reset, then the ring from its start.
    pub fn start(&mut self) {
        self.write(regs::EngCtrl::OFFSET, regs::EngCtrl::SOFT_RESET.mask());
        let mut polls = 0;
        while regs::EngStatus::BUSY.is_set(self.read(regs::EngStatus::OFFSET)) {
            polls += 1;
            assert!(polls < 10_000, "soft reset does not end");
        }
        let zero = vec![0; COMPLETION_BYTES << self.log2];
        self.s.dma_write(self.records, &zero).unwrap();
        (self.tail, self.next_record, self.phase) = (0, 0, 1);
        for (register, value) in [
            (regs::EngRingLo::OFFSET, self.ring as u32),
            (regs::EngRingHi::OFFSET, (self.ring >> 32) as u32),
            (regs::EngCplLo::OFFSET, self.records as u32),
            (regs::EngCplHi::OFFSET, (self.records >> 32) as u32),
            (regs::EngRingLog2::OFFSET, self.log2),
            (regs::EngVector::OFFSET, 2),
            (regs::EngCtrl::OFFSET, regs::EngCtrl::ENABLE.mask()),
        ] {
            self.write(register, value);
        }
    }

    pub fn put_raw(&mut self, bytes: &[u8; DESCRIPTOR_BYTES]) {
        let at = self.ring + u64::from(self.tail) * DESCRIPTOR_BYTES as u64;
        self.s.dma_write(at, bytes).unwrap();
        self.tail = (self.tail + 1) & ((1 << self.log2) - 1);
        self.write(regs::EngTail::OFFSET, self.tail);
    }

    /// Writes a descriptor and rings; returns its id.
    pub fn put(&mut self, d: Descriptor) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.put_raw(&Descriptor { id, ..d }.pack());
        id
    }

    /// The next record's place, as it is now.
    fn peek(&self) -> Completion {
        let at = self.records + u64::from(self.next_record) * COMPLETION_BYTES as u64;
        let mut bytes = [0; COMPLETION_BYTES];
        self.s.dma_read(at, &mut bytes).unwrap();
        Completion::unpack(&bytes)
    }

    /// Whether [`Bench::record`] has not to wait.
    pub fn has_record(&self) -> bool {
        self.peek().phase & 1 == self.phase
    }

    pub fn record(&mut self) -> Completion {
        for _ in 0..PATIENCE {
            let c = self.peek();
            if c.phase & 1 == self.phase {
                self.next_record = (self.next_record + 1) & ((1 << self.log2) - 1);
                if self.next_record == 0 {
                    self.phase ^= 1;
                }
                return c;
            }
            self.s.cycle();
        }
        panic!(
            "no completion: EngStatus {:#x}",
            self.read(regs::EngStatus::OFFSET)
        );
    }

    pub fn run(&mut self, d: Descriptor) -> Completion {
        let id = self.put(d);
        let c = self.record();
        assert_eq!(c.id, id, "{d:?}");
        c
    }

    #[track_caller]
    pub fn expect(&mut self, d: Descriptor, status: Status, done: u32) -> Completion {
        let c = self.run(d);
        assert_eq!(
            (Status::from_code(c.status), c.done),
            (Some(status), done),
            "{d:?}"
        );
        c
    }

    pub fn own(&mut self, page: u64, pages: u32, device: bool) {
        let d = Descriptor {
            opcode: Opcode::SetOwner as u8,
            count: pages,
            dev_addr: page * PAGE,
            arg: u64::from(device),
            ..Default::default()
        };
        self.expect(d, Status::Ok, pages);
        self.owned[page as usize..page as usize + pages as usize].fill(device);
    }

    pub fn owns(&self, address: u64, bytes: u64) -> bool {
        (address / PAGE..=(address + bytes - 1) / PAGE).all(|p| self.owned[p as usize])
    }

    pub fn host(&self, bus: u64, bytes: usize) -> Vec<u8> {
        let mut v = vec![0; bytes];
        self.s.dma_read(bus, &mut v).unwrap();
        v
    }

    pub fn fill_host(&mut self, rng: &mut Rng, bus: u64, bytes: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..bytes).map(|_| rng.next_u64() as u8).collect();
        self.s.dma_write(bus, &data).unwrap();
        data
    }

    /// Copies a range of the device to `bus` and compares it with the model.
    pub fn check_device(&mut self, address: u64, bytes: u32, bus: u64) {
        self.expect(
            copy(Opcode::CopyToHost, address, bus, bytes),
            Status::Ok,
            bytes,
        );
        let want = &self.memory[address as usize..(address + u64::from(bytes)) as usize];
        assert!(
            self.host(bus, bytes as usize) == want,
            "device memory at {address:#x}"
        );
    }
}

pub fn copy(opcode: Opcode, dev_addr: u64, host_addr: u64, count: u32) -> Descriptor {
    Descriptor {
        opcode: opcode as u8,
        count,
        dev_addr,
        host_addr,
        ..Default::default()
    }
}

pub fn sum64(data: &[u8]) -> u64 {
    data.chunks_exact(8).fold(0, |s, w| {
        s.wrapping_add(u64::from_le_bytes(w.try_into().unwrap()))
    })
}

pub fn crc32c(initial: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!initial, |r, b| {
        (0..8).fold(r ^ u32::from(*b), |r, _| {
            (r >> 1) ^ if r & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    })
}
