//! The engine against a Rust model: every operation, every error, wrap of ring and phase, time-outs, poison, a stalling host.
//! Replay a run with `CXLMEM_SEED`.

mod bench;
mod errors;

use bench::{copy, crc32c, seed, sum64, Bench, PAGE};
use cxlmem_protocol::engine::{flags, Descriptor, Opcode, Status, COMPLETION_BYTES};
use cxlmem_protocol::regs;
use cxlmem_sim::ext::ExtTiming;
use cxlmem_sim::pcie::IoOptions;
use cxlmem_sim::rng::Rng;
use cxlmem_sim::system::Access;
use cxlmem_sim::{Op, Options};

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
    match rng.below(9) {
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
        7 | 8 => {
            let at = d + 8 * rng.below(lines * 8) as usize;
            let word = u64::from_le_bytes(b.memory[at..at + 8].try_into().unwrap());
            let add = rng.chance(0.5);
            let (arg, swap) = if add || rng.chance(0.3) {
                (rng.next_u64(), rng.next_u64())
            } else {
                (word, rng.next_u64())
            };
            let opcode = if add {
                Opcode::FetchAdd
            } else {
                Opcode::CompareSwap
            };
            let desc = Descriptor {
                arg,
                ..copy(opcode, at as u64, swap, 1)
            };
            let (status, done) = if b.owns(at as u64, 8) {
                (Status::Ok, 1)
            } else {
                (Status::HostOwned, 0)
            };
            let c = b.expect(desc, status, done);
            if status == Status::Ok {
                assert_eq!(c.result, word, "{desc:?}");
                let new = match add {
                    true => word.wrapping_add(arg),
                    false if word == arg => swap,
                    false => word,
                };
                b.memory[at..at + 8].copy_from_slice(&new.to_le_bytes());
                let line = at as u64 & !63;
                if b.owns(line, 64) {
                    b.check_device(line, 64, host);
                }
            } else {
                assert_eq!(c.result, 0, "{desc:?}");
            }
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
            (!63, true),
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

/// The engine fills pages while the host writes others as fast as it can.
#[test]
fn the_engine_writes_while_the_host_does() {
    let mut b = Bench::new("full", IoOptions::default(), 2);
    let (hpa, _) = b.s.hdm_window();
    b.own(0, 2, true);
    let mut written = 0u64;
    for round in 1..=10u64 {
        let fill = copy(Opcode::Fill, 0, 0, 2 * PAGE as u32);
        let arg = 0x0101_0101_0101_0101 * round;
        b.put(Descriptor { arg, ..fill });
        let mut cycles = 0;
        while !b.has_record() {
            while b.s.home().open() < 32 {
                let address = hpa + 2 * PAGE + written % 512 * 64;
                let data = [written as u8; 64];
                b.s.post(address, Op::write(data)).unwrap();
                written += 1;
            }
            b.s.cycle();
            cycles += 1;
            assert!(cycles < 100_000, "no record");
        }
        let last = hpa + 2 * PAGE - 64;
        let golden = b.s.home_mut().golden_mut();
        golden.set(last, &[round as u8; 64], false);
        b.s.operate(last, Op::READ).unwrap();
        b.record();
    }
    for line in 0..128 {
        let golden = b.s.home_mut().golden_mut();
        golden.set(hpa + line * 64, &[10; 64], false);
    }
    for line in 0..128 + 512.min(written) {
        b.s.operate(hpa + line * 64, Op::READ).unwrap();
    }
    assert_eq!(b.s.home().first_difference(), None);
}

/// The memory takes writes slowly and reads at once: whoever sees the record sees the data all the same.
#[test]
fn the_record_comes_after_the_data() {
    let options = Options {
        ext: ExtTiming {
            latency: 1,
            write_stall: 0.97,
            ..Default::default()
        },
        ..Default::default()
    };
    let mut b = Bench::with("sim-ext", options, 2);
    let (hpa, _) = b.s.hdm_window();
    b.own(0, 1, true);
    for round in 1..=5u64 {
        let fill = copy(Opcode::Fill, 0, 0, 1024);
        let arg = 0x0101_0101_0101_0101 * round;
        b.expect(Descriptor { arg, ..fill }, Status::Ok, 1024);
        let last = hpa + 1024 - 64;
        let golden = b.s.home_mut().golden_mut();
        golden.set(last, &[round as u8; 64], false);
        b.s.operate(last, Op::READ).unwrap();
    }
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
