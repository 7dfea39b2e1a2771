//! The engine against a Rust model: every operation, every error, wrap of ring and phase, time-outs, poison, a stalling host.
//! Replay a run with `CXLMEM_SEED`.

use cxlmem_protocol::engine::{
    flags, Completion, Descriptor, Opcode, Status, COMPLETION_BYTES, DESCRIPTOR_BYTES,
};
use cxlmem_protocol::regs;
use cxlmem_sim::pcie::IoOptions;
use cxlmem_sim::rng::{seed_from_env, Rng};
use cxlmem_sim::system::Access;
use cxlmem_sim::{Op, Options, System};

const PAGE: u64 = 4096;
/// Cycles within which any descriptor of these tests completes.
const PATIENCE: u64 = 400_000;

fn seed(default: u64) -> u64 {
    let seed = seed_from_env(default);
    println!("CXLMEM_SEED={seed}");
    seed
}

/// A system with a running ring, and what the device's memory and its owners should be.
struct Bench {
    s: System,
    ring: u64,
    records: u64,
    log2: u32,
    tail: u32,
    next_record: u32,
    phase: u8,
    next_id: u16,
    memory: Vec<u8>,
    owned: Vec<bool>,
}

impl Bench {
    fn new(config: &str, io: IoOptions, log2: u32) -> Self {
        let options = Options {
            io,
            ..Options::default()
        };
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

    fn write(&mut self, register: u32, value: u32) {
        self.s.mmio_write32(register, value).unwrap();
    }

    fn read(&mut self, register: u32) -> u32 {
        self.s.mmio_read32(register).unwrap()
    }

    /// Soft reset, then the ring from its start.
    fn start(&mut self) {
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

    fn put_raw(&mut self, bytes: &[u8; DESCRIPTOR_BYTES]) {
        let at = self.ring + u64::from(self.tail) * DESCRIPTOR_BYTES as u64;
        self.s.dma_write(at, bytes).unwrap();
        self.tail = (self.tail + 1) & ((1 << self.log2) - 1);
        self.write(regs::EngTail::OFFSET, self.tail);
    }

    /// Writes a descriptor and rings; returns its id.
    fn put(&mut self, d: Descriptor) -> u16 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.put_raw(&Descriptor { id, ..d }.pack());
        id
    }

    fn record(&mut self) -> Completion {
        let at = self.records + u64::from(self.next_record) * COMPLETION_BYTES as u64;
        for _ in 0..PATIENCE {
            let mut bytes = [0; COMPLETION_BYTES];
            self.s.dma_read(at, &mut bytes).unwrap();
            let c = Completion::unpack(&bytes);
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

    fn run(&mut self, d: Descriptor) -> Completion {
        let id = self.put(d);
        let c = self.record();
        assert_eq!(c.id, id, "{d:?}");
        c
    }

    #[track_caller]
    fn expect(&mut self, d: Descriptor, status: Status, done: u32) -> Completion {
        let c = self.run(d);
        assert_eq!(
            (Status::from_code(c.status), c.done),
            (Some(status), done),
            "{d:?}"
        );
        c
    }

    fn own(&mut self, page: u64, pages: u32, device: bool) {
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

    fn owns(&self, address: u64, bytes: u64) -> bool {
        (address / PAGE..=(address + bytes - 1) / PAGE).all(|p| self.owned[p as usize])
    }

    fn host(&self, bus: u64, bytes: usize) -> Vec<u8> {
        let mut v = vec![0; bytes];
        self.s.dma_read(bus, &mut v).unwrap();
        v
    }

    fn fill_host(&mut self, rng: &mut Rng, bus: u64, bytes: usize) -> Vec<u8> {
        let data: Vec<u8> = (0..bytes).map(|_| rng.next_u64() as u8).collect();
        self.s.dma_write(bus, &data).unwrap();
        data
    }

    /// Copies a range of the device to `bus` and compares it with the model.
    fn check_device(&mut self, address: u64, bytes: u32, bus: u64) {
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

fn copy(opcode: Opcode, dev_addr: u64, host_addr: u64, count: u32) -> Descriptor {
    Descriptor {
        opcode: opcode as u8,
        count,
        dev_addr,
        host_addr,
        ..Default::default()
    }
}

fn sum64(data: &[u8]) -> u64 {
    data.chunks_exact(8).fold(0, |s, w| {
        s.wrapping_add(u64::from_le_bytes(w.try_into().unwrap()))
    })
}

fn crc32c(initial: u32, data: &[u8]) -> u32 {
    !data.iter().fold(!initial, |r, b| {
        (0..8).fold(r ^ u32::from(*b), |r, _| {
            (r >> 1) ^ if r & 1 == 1 { 0x82F6_3B78 } else { 0 }
        })
    })
}

/// One random operation, its outcome predicted.
fn random_operation(b: &mut Bench, rng: &mut Rng, buffer: u64, buffer_pages: u64) {
    let pages = 1 + rng.below(4);
    let first = rng.below(b.owned.len() as u64 - pages + 1);
    if rng.chance(0.4) {
        b.own(first, pages as u32, rng.chance(0.8));
    }
    let lines = 1 + rng.below(pages * 64);
    let bytes = lines * 64;
    let device = first * PAGE + 64 * rng.below(pages * 64 - lines + 1);
    let host = buffer + 64 * rng.below(buffer_pages * 64 - lines + 1);
    let (d, h) = (device as usize, bytes as usize);
    let allowed = b.owns(device, bytes);
    let (status, done) = if allowed {
        (Status::Ok, bytes as u32)
    } else {
        (Status::HostOwned, 0)
    };
    match rng.below(7) {
        0 => {
            let data = b.fill_host(rng, host, h);
            b.expect(
                copy(Opcode::CopyToDevice, device, host, bytes as u32),
                status,
                done,
            );
            if allowed {
                b.memory[d..d + h].copy_from_slice(&data);
                b.check_device(device, bytes as u32, host);
            }
        }
        1 => {
            b.expect(
                copy(Opcode::CopyToHost, device, host, bytes as u32),
                status,
                done,
            );
            if allowed {
                assert!(
                    b.host(host, h) == b.memory[d..d + h],
                    "copy to host of {device:#x}"
                );
            }
        }
        2 => {
            let arg = rng.next_u64();
            let fill = copy(Opcode::Fill, device, 0, bytes as u32);
            b.expect(Descriptor { arg, ..fill }, status, done);
            if allowed {
                for w in b.memory[d..d + h].chunks_exact_mut(8) {
                    w.copy_from_slice(&arg.to_le_bytes());
                }
                b.check_device(device, bytes as u32, host);
            }
        }
        3 | 4 => {
            let sum = rng.chance(0.5);
            let on_host = rng.chance(0.5);
            let data = if on_host {
                b.fill_host(rng, host, h)
            } else {
                b.memory[d..d + h].to_vec()
            };
            let initial = rng.next_u64() as u32;
            let (opcode, arg, want) = if sum {
                (Opcode::Sum64, 0, sum64(&data))
            } else {
                (
                    Opcode::Crc32c,
                    u64::from(initial),
                    u64::from(crc32c(initial, &data)),
                )
            };
            let desc = Descriptor {
                flags: if on_host { flags::HOST } else { 0 },
                arg,
                ..copy(opcode, device, host, bytes as u32)
            };
            let (status, done) = if on_host {
                (Status::Ok, bytes as u32)
            } else {
                (status, done)
            };
            let c = b.expect(desc, status, done);
            assert_eq!(
                c.result,
                if status == Status::Ok { want } else { 0 },
                "{desc:?}"
            );
        }
        _ => random_list(b, rng, first, pages as u32, buffer, buffer_pages),
    }
}

/// A copy by list, sometimes with one bad entry.
fn random_list(
    b: &mut Bench,
    rng: &mut Rng,
    first: u64,
    pages: u32,
    buffer: u64,
    buffer_pages: u64,
) {
    let to_device = rng.chance(0.5);
    // Distinct pages; the list has the page after the last.
    let start = rng.below(buffer_pages - u64::from(pages));
    let mut entries: Vec<u64> = (0..u64::from(pages))
        .map(|n| buffer + (start + n) * PAGE)
        .collect();
    for n in (1..entries.len()).rev() {
        entries.swap(n, rng.below(n as u64 + 1) as usize);
    }
    let list = buffer + (buffer_pages) * PAGE + 8 * rng.below(8);
    let (mut status, mut done) = (Status::Ok, pages);
    if let Some(n) = (0..pages).find(|n| !b.owned[(first + u64::from(*n)) as usize]) {
        (status, done) = (Status::HostOwned, n);
    }
    let mut written = entries.clone();
    if rng.chance(0.3) {
        let n = rng.below(u64::from(pages)) as u32;
        let (entry, why) = match rng.below(if to_device { 3 } else { 2 }) {
            0 => (entries[n as usize] | 64, Status::Misaligned),
            1 => (b.s.hdm_window().0 + 7 * PAGE, Status::HostInHdm),
            // Nothing is there: the host refuses.
            _ => (0x7777_0000_0000, Status::DmaError),
        };
        if n < done {
            (status, done) = (why, n);
        }
        written[n as usize] = entry;
    }
    let bytes: Vec<u8> = written.iter().flat_map(|e| e.to_le_bytes()).collect();
    b.s.dma_write(list, &bytes).unwrap();
    let opcode = if to_device {
        Opcode::CopyToDevice
    } else {
        Opcode::CopyToHost
    };
    let mut sources = Vec::new();
    for page in &entries {
        sources.push(b.fill_host(rng, *page, PAGE as usize));
    }
    let desc = Descriptor {
        flags: flags::LIST,
        ..copy(opcode, first * PAGE, list, pages)
    };
    b.expect(desc, status, done);
    for n in 0..done as usize {
        let d = (first as usize + n) * PAGE as usize;
        if to_device {
            b.memory[d..d + PAGE as usize].copy_from_slice(&sources[n]);
            b.check_device(d as u64, PAGE as u32, entries[n]);
        } else {
            let got = b.host(entries[n], PAGE as usize);
            assert!(
                got == b.memory[d..d + PAGE as usize],
                "page {n} of {desc:?}"
            );
        }
    }
}

/// Random operations on all of the memory of `full`.
fn random_run(io: IoOptions, log2: u32, seed: u64, operations: u32) {
    let mut rng = Rng::new(seed);
    let mut b = Bench::new("full", io, log2);
    let all = b.owned.len() as u32;
    b.own(0, all, true);
    let fill = copy(Opcode::Fill, 0, 0, b.memory.len() as u32);
    b.expect(fill, Status::Ok, fill.count);
    let buffer_pages = 12;
    let buffer = b.s.dma_alloc(((buffer_pages + 1) * PAGE) as usize).unwrap();
    for _ in 0..operations {
        random_operation(&mut b, &mut rng, buffer, buffer_pages);
    }
}

#[test]
fn random_operations_against_the_model() {
    random_run(IoOptions::default(), 2, seed(11), 150);
}

#[test]
fn random_operations_with_a_slow_host_that_stalls() {
    let io = IoOptions {
        read_latency: 60,
        jitter: 80,
        stall: 0.4,
        ..IoOptions::default()
    };
    random_run(io, 3, seed(12), 100);
}

#[test]
fn every_static_error_agrees_with_the_protocol() {
    let mut rng = Rng::new(seed(13));
    let mut b = Bench::new("full", IoOptions::default(), 4);
    let capacity = b.s.capacity();
    let host = b.s.dma_alloc(PAGE as usize).unwrap();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..300 {
        let pick = |rng: &mut Rng, from: &[u64]| from[rng.below(from.len() as u64) as usize];
        let d = Descriptor {
            opcode: if rng.chance(0.1) {
                rng.next_u64() as u8
            } else {
                rng.below(9) as u8
            },
            flags: if rng.chance(0.6) {
                0
            } else {
                rng.below(16) as u8 & !flags::IRQ
            },
            count: pick(
                &mut rng,
                &[
                    0,
                    1,
                    63,
                    64,
                    128,
                    512,
                    513,
                    4096,
                    1 << 20,
                    (1 << 20) + 1,
                    2 << 20,
                    (2 << 20) + 64,
                    1 << 31,
                ],
            ) as u32,
            dev_addr: pick(
                &mut rng,
                &[
                    0,
                    32,
                    64,
                    4096,
                    capacity - 64,
                    capacity,
                    capacity + 4096,
                    1 << 32,
                    1 << 63,
                ],
            ),
            host_addr: pick(&mut rng, &[host, host + 4, host + 8, host + 64]),
            ..Default::default()
        };
        let Err(status) = d.check(capacity) else {
            continue;
        };
        seen.insert(status as u8);
        b.expect(d, status, 0);
    }
    assert!(
        seen.len() == 5,
        "the seed must reach all five static errors, it reached {seen:?}"
    );
    // Reserved bytes.
    for at in 0x20..DESCRIPTOR_BYTES {
        let mut raw = Descriptor::default().pack();
        raw[at] = 1;
        b.put_raw(&raw);
        assert_eq!(
            b.record().status,
            Status::BadFlags as u8,
            "reserved byte {at:#x}"
        );
    }
    b.expect(
        Descriptor {
            count: 5,
            ..Default::default()
        },
        Status::Ok,
        5,
    );
}

#[test]
fn host_addresses_in_the_devices_own_range_are_refused() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    b.own(0, 4, true);
    let (base, size) = b.s.hdm_window();
    for (host, count) in [(base, 64), (base + size - 64, 64), (base - 64, 128)] {
        b.expect(
            copy(Opcode::CopyToDevice, 0, host, count),
            Status::HostInHdm,
            0,
        );
        b.expect(
            copy(Opcode::CopyToHost, 0, host, count),
            Status::HostInHdm,
            0,
        );
        let d = Descriptor {
            flags: flags::HOST,
            ..copy(Opcode::Sum64, 0, host, count)
        };
        b.expect(d, Status::HostInHdm, 0);
    }
}

#[test]
fn ring_and_phase_wrap_and_interrupts_come_after_records() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    let mut waiting = std::collections::VecDeque::new();
    for n in 0..40u32 {
        while waiting.len() == 3 {
            let c = b.record();
            assert_eq!(Some(c.id), waiting.pop_front());
        }
        let d = Descriptor {
            flags: if n % 2 == 0 { flags::IRQ } else { 0 },
            count: n,
            ..Default::default()
        };
        waiting.push_back(b.put(d));
    }
    while let Some(id) = waiting.pop_front() {
        assert_eq!(b.record().id, id);
    }
    b.s.run(200);
    assert_eq!(b.s.take_irqs(2), 20);
    assert_eq!(b.read(regs::EngDone::OFFSET), 40);
    b.put(Descriptor {
        flags: flags::IRQ,
        ..Default::default()
    });
    assert!(b.s.wait_irq(2, 1000));
    let mut bytes = [0; COMPLETION_BYTES];
    let at = b.records + u64::from(b.next_record) * COMPLETION_BYTES as u64;
    b.s.dma_read(at, &mut bytes).unwrap();
    assert_eq!(
        bytes[3] & 1,
        b.phase,
        "the record is there when the interrupt comes"
    );
}

/// Lines chained at random: the last pointer, and each error of a chain.
#[test]
fn chase_follows_pointers_on_both_sides() {
    let mut rng = Rng::new(seed(14));
    let mut b = Bench::new("full", IoOptions::default(), 2);
    b.own(0, 8, true);
    let host = b.s.dma_alloc(8 * PAGE as usize).unwrap();
    let mut order: Vec<u64> = (1..512).collect();
    for n in (1..order.len()).rev() {
        order.swap(n, rng.below(n as u64 + 1) as usize);
    }
    order.insert(0, 0);
    let mut chain = vec![0u8; 8 * PAGE as usize];
    for w in order.windows(2) {
        chain[w[0] as usize * 64..][..8].copy_from_slice(&(w[1] * 64).to_le_bytes());
    }
    b.s.dma_write(host, &chain).unwrap();
    b.expect(
        copy(Opcode::CopyToDevice, 0, host, chain.len() as u32),
        Status::Ok,
        chain.len() as u32,
    );
    for on_host in [false, true] {
        let chase = Descriptor {
            flags: if on_host { flags::HOST } else { 0 },
            ..copy(Opcode::Chase, 0, host, 100)
        };
        assert_eq!(b.expect(chase, Status::Ok, 100).result, order[100] * 64);
        let broken = order[50] as usize * 64;
        for (pointer, bad) in [
            (1u64, true),
            (1 << 28, true),
            (u64::MAX & !63, true),
            (b.s.capacity(), !on_host),
        ] {
            let mut changed = chain.clone();
            changed[broken..broken + 8].copy_from_slice(&pointer.to_le_bytes());
            b.s.dma_write(host, &changed).unwrap();
            b.expect(
                copy(Opcode::CopyToDevice, 0, host, chain.len() as u32),
                Status::Ok,
                chain.len() as u32,
            );
            if bad {
                assert_eq!(b.expect(chase, Status::BadPointer, 51).result, pointer);
            }
            // The last pointer is not followed, so it is not checked.
            let short = Descriptor { count: 51, ..chase };
            assert_eq!(b.expect(short, Status::Ok, 51).result, pointer);
        }
        b.s.dma_write(host, &chain).unwrap();
        b.expect(
            copy(Opcode::CopyToDevice, 0, host, chain.len() as u32),
            Status::Ok,
            chain.len() as u32,
        );
    }
    let page = order[20] * 64 / PAGE;
    b.own(page, 1, false);
    let stop = order
        .iter()
        .position(|line| line * 64 / PAGE == page)
        .unwrap() as u32;
    b.expect(copy(Opcode::Chase, 0, 0, 100), Status::HostOwned, stop);
}

#[test]
fn poison_stops_an_operation_and_a_write_heals() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    let (hpa, _) = b.s.hdm_window();
    let host = b.s.dma_alloc(2 * PAGE as usize).unwrap();
    b.s.operate(
        hpa + 5 * 64,
        Op::Write {
            data: [7; 64],
            poison: true,
            meta: None,
        },
    )
    .unwrap();
    b.own(0, 1, true);
    b.expect(copy(Opcode::Sum64, 0, 0, 4096), Status::Poison, 5 * 64);
    let c = b.run(copy(Opcode::CopyToHost, 0, host, 4096));
    assert_eq!(c.status, Status::Poison as u8);
    assert!(c.done <= 5 * 64);
    b.expect(copy(Opcode::Chase, 5 * 64, 0, 3), Status::Poison, 0);
    // Poisoned host memory never reaches the device.
    b.s.memory_mut().poison(host + 1024, 64).unwrap();
    b.expect(
        copy(Opcode::CopyToDevice, 0, host, 4096),
        Status::Poison,
        1024,
    );
    let d = Descriptor {
        flags: flags::HOST,
        ..copy(Opcode::Sum64, 0, host, 4096)
    };
    b.expect(d, Status::Poison, 1024);
    b.expect(copy(Opcode::Fill, 0, 0, 4096), Status::Ok, 4096);
    b.expect(copy(Opcode::Sum64, 0, 0, 4096), Status::Ok, 4096);
}

#[test]
fn time_outs_end_and_late_completions_change_nothing() {
    let mut rng = Rng::new(seed(15));
    let io = IoOptions {
        read_latency: 400,
        jitter: 200,
        ..IoOptions::default()
    };
    let mut b = Bench::new("full", io, 3);
    b.own(0, 16, true);
    let host = b.s.dma_alloc(16 * PAGE as usize).unwrap();
    let data = b.fill_host(&mut rng, host, 16 * PAGE as usize);
    b.expect(
        copy(Opcode::CopyToDevice, 0, host, 65_536),
        Status::Ok,
        65_536,
    );
    b.memory[..65_536].copy_from_slice(&data);
    for _ in 0..6 {
        // A descriptor whose data come after the engine has given up, then one that waits for long enough.
        b.fill_host(&mut rng, host, 4096);
        let d = copy(Opcode::CopyToDevice, 8 * PAGE, host, 4096);
        b.put(d);
        let c = loop {
            // The fetch of the descriptor itself must not run into the short time.
            b.s.cycle();
            if b.s.now() % 16 == 0 && regs::EngStatus::BUSY.is_set(b.read(regs::EngStatus::OFFSET))
            {
                b.s.run(620);
                b.write(regs::EngTimeout::OFFSET, 20);
                break b.record();
            }
        };
        assert!(
            [Status::DmaTimeout as u8, Status::Ok as u8].contains(&c.status),
            "{c:?}"
        );
        b.write(regs::EngTimeout::OFFSET, 100_000);
        b.s.run(64);
        let data = b.fill_host(&mut rng, host, 65_536);
        b.start();
        b.expect(
            copy(Opcode::CopyToDevice, 0, host, 65_536),
            Status::Ok,
            65_536,
        );
        b.memory[..65_536].copy_from_slice(&data);
        b.check_device(0, 65_536, host);
    }
    assert!(
        b.read(regs::IoErrors::OFFSET) > 0,
        "late completions were seen"
    );
}

#[test]
fn ring_faults_stop_the_engine_until_it_is_reset() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    let fault = |b: &mut Bench, code: Status| {
        b.s.run(2000);
        let status = b.read(regs::EngStatus::OFFSET);
        assert!(regs::EngStatus::FAULT.is_set(status), "{status:#x}");
        assert_eq!(regs::EngStatus::FAULT_CODE.get(status), code as u32);
        let ring = b.ring;
        b.write(regs::EngRingLo::OFFSET, ring as u32);
        b.write(regs::EngRingHi::OFFSET, (ring >> 32) as u32);
        b.start();
        b.expect(
            Descriptor {
                count: 3,
                ..Default::default()
            },
            Status::Ok,
            3,
        );
        b.write(regs::EngCtrl::OFFSET, 0);
    };
    let enable = regs::EngCtrl::ENABLE.mask();
    // Nothing answers there.
    b.write(regs::EngCtrl::OFFSET, 0);
    b.write(regs::EngRingHi::OFFSET, 0x7777);
    b.write(regs::EngCtrl::OFFSET, enable);
    b.write(regs::EngTail::OFFSET, 1);
    fault(&mut b, Status::DmaError);
    // In the device's own range.
    let (base, _) = b.s.hdm_window();
    b.write(regs::EngRingLo::OFFSET, base as u32);
    b.write(regs::EngRingHi::OFFSET, (base >> 32) as u32);
    b.write(regs::EngCtrl::OFFSET, enable);
    fault(&mut b, Status::HostInHdm);
    for log2 in [0, 1, 11, 15] {
        b.write(regs::EngRingLog2::OFFSET, log2);
        b.write(regs::EngCtrl::OFFSET, enable);
        fault(&mut b, Status::BadCount);
    }
}

#[test]
fn a_soft_reset_at_any_moment_leaves_a_working_engine() {
    let mut rng = Rng::new(seed(16));
    let io = IoOptions {
        jitter: 30,
        stall: 0.2,
        ..IoOptions::default()
    };
    let mut b = Bench::new("full", io, 3);
    b.own(0, 16, true);
    let host = b.s.dma_alloc(16 * PAGE as usize).unwrap();
    for _ in 0..25 {
        for _ in 0..3 {
            let opcode = [
                Opcode::CopyToDevice,
                Opcode::CopyToHost,
                Opcode::Sum64,
                Opcode::Crc32c,
                Opcode::Chase,
            ][rng.below(5) as usize];
            let on_host = opcode as u8 >= Opcode::Sum64 as u8 && rng.chance(0.5);
            b.put(Descriptor {
                flags: if on_host { flags::HOST } else { 0 },
                ..copy(opcode, 0, host, 16_384)
            });
        }
        let wait = rng.below(2500);
        b.s.run(wait);
        b.start();
        let data = b.fill_host(&mut rng, host, 16_384);
        b.expect(
            copy(Opcode::CopyToDevice, 0, host, 16_384),
            Status::Ok,
            16_384,
        );
        b.memory[..16_384].copy_from_slice(&data);
        b.check_device(0, 16_384, host);
    }
}

/// What the engine wrote is what the host reads through CXL.mem, and the other way.
#[test]
fn engine_and_cxl_mem_see_the_same_lines() {
    let mut rng = Rng::new(seed(17));
    let mut b = Bench::new("full", IoOptions::default(), 2);
    let (hpa, _) = b.s.hdm_window();
    let host = b.s.dma_alloc(PAGE as usize).unwrap();
    b.own(3, 1, true);
    let data = b.fill_host(&mut rng, host, PAGE as usize);
    b.s.flush(hpa + 3 * PAGE, PAGE).unwrap();
    b.expect(
        copy(Opcode::CopyToDevice, 3 * PAGE, host, PAGE as u32),
        Status::Ok,
        PAGE as u32,
    );
    b.own(3, 1, false);
    for n in 0..64u64 {
        let (line, poison) =
            b.s.read_line(hpa + 3 * PAGE + n * 64, Access::Exclusive)
                .unwrap();
        assert!(
            !poison && line[..] == data[n as usize * 64..][..64],
            "line {n}"
        );
        b.s.write_line(hpa + 3 * PAGE + n * 64, &[n as u8; 64])
            .unwrap();
    }
    b.s.flush(hpa + 3 * PAGE, PAGE).unwrap();
    b.own(3, 1, true);
    b.expect(
        copy(Opcode::CopyToHost, 3 * PAGE, host, PAGE as u32),
        Status::Ok,
        PAGE as u32,
    );
    let got = b.host(host, PAGE as usize);
    assert!((0..4096).all(|n| got[n] == (n / 64) as u8));
}

/// Copies by list at 85 % of the TLP stream or more: payload 128 bytes, 8 beats of data in 9.
#[test]
fn copies_by_list_keep_the_tlp_stream_busy() {
    let io = IoOptions {
        read_latency: 80,
        ..IoOptions::default()
    };
    let mut b = Bench::new("full", io, 2);
    let pages = b.owned.len() as u32;
    b.own(0, pages, true);
    let buffer = b.s.dma_alloc((u64::from(pages) * PAGE) as usize).unwrap();
    let list = b.s.dma_alloc(PAGE as usize).unwrap();
    let entries: Vec<u8> = (0..u64::from(pages))
        .flat_map(|n| (buffer + (n * 37 % u64::from(pages)) * PAGE).to_le_bytes())
        .collect();
    b.s.dma_write(list, &entries).unwrap();
    for opcode in [Opcode::CopyToDevice, Opcode::CopyToHost] {
        let c = b.expect(
            Descriptor {
                flags: flags::LIST,
                ..copy(opcode, 0, list, pages)
            },
            Status::Ok,
            pages,
        );
        let bound = f64::from(pages) * PAGE as f64 / 16.0 * 9.0 / 8.0;
        let share = bound / f64::from(c.cycles);
        println!(
            "{opcode:?}: {pages} pages in {} cycles, {:.1} % of the TLP stream",
            c.cycles,
            100.0 * share
        );
        assert!(share >= 0.85);
    }
}
