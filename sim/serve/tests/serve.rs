//! A server and its client in one process: every way to reach the device, and what must not be reached.

mod client;

use client::{descriptor, options, wait_event, Guest, BAR0, BAR2, CONFIG, MSIX, RAM, RAM_BYTES};
use cxlmem_protocol::engine::{Opcode, Status};
use cxlmem_protocol::identity::{DEVICE_ID, VENDOR_ID};
use cxlmem_protocol::regs;
use cxlmem_serve::{Mode, Options, ANSWER, WINDOW};
use cxlmem_sim::shared::SharedMemory;
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// Where the client of these tests puts BAR2.
const BAR2_AT: u64 = 0x40_0000_0000;
/// Where it has memory for the device to live in.
const SPM: u64 = 0x20_0000_0000;
const CAPACITY: u64 = 512 << 20;
/// Of the client's memory, what pages are copied from and to.
const SOURCE: u64 = 0x10_0000;
const TARGET: u64 = 0x20_0000;

fn pattern(seed: u8, bytes: usize) -> Vec<u8> {
    (0..bytes)
        .map(|n| (n * 31 + n / 4096) as u8 ^ seed)
        .collect()
}

#[test]
fn the_function_is_found_with_its_bars_and_registers() {
    let mut g = Guest::new(options());
    let id = u32::from(VENDOR_ID) | u32::from(DEVICE_ID) << 16;
    assert_eq!(g.config(0), id);
    let region = |index| g.client.region(index).unwrap();
    assert_eq!(region(BAR0).size, u64::from(regs::BAR0_SIZE));
    assert_eq!(region(BAR2).size, CAPACITY);
    let area = region(BAR2).sparse_areas[0];
    assert_eq!((area.offset, area.size), (WINDOW, CAPACITY - WINDOW));
    assert_eq!(region(CONFIG).size, 4096);
    for (index, count) in [(0, 0), (1, 0), (MSIX, regs::MSIX_VECTORS), (3, 1), (4, 0)] {
        assert_eq!(
            g.client.get_irq_info(index).unwrap().count,
            count,
            "{index}"
        );
    }
    // BARs are sized and placed as firmware does it, and registers answer wherever they are.
    g.client.region_write(CONFIG, 0x10, &[0xFF; 4]).unwrap();
    assert_eq!(g.config(0x10), !(regs::BAR0_SIZE - 1) | 4);
    for (offset, size) in [(0x18, !(CAPACITY - 1) as u32 | 0xC), (0x1C, u32::MAX)] {
        g.client.region_write(CONFIG, offset, &[0xFF; 4]).unwrap();
        assert_eq!(g.config(offset), size);
    }
    g.client.region_write(CONFIG, 0x12, &[0xAB, 0xCD]).unwrap();
    assert_eq!(g.config(0x10), 0xCDAB_0004);
    assert_eq!(g.read(regs::Id::OFFSET), regs::Id::RESET);
    let caps = g.read(regs::Caps::OFFSET);
    assert!(regs::Caps::SIMULATED.is_set(caps) && regs::Caps::EXTERNAL_MEMORY.is_set(caps));
    let mut wide = [0; 8];
    let at = u64::from(regs::CapacityLo::OFFSET);
    g.client.region_read(BAR0, at, &mut wide).unwrap();
    assert_eq!(u64::from_le_bytes(wide), CAPACITY);
    g.client
        .region_write(BAR0, regs::Scratch::OFFSET.into(), &7u32.to_le_bytes())
        .unwrap();
    let mut byte = [0];
    let at = u64::from(regs::Scratch::OFFSET);
    g.client.region_read(BAR0, at, &mut byte).unwrap();
    assert_eq!(byte, [7]);
    assert_eq!(g.counters().errors(), 0);
    // Without memory space nothing answers.
    g.client.region_write(CONFIG, 4, &[4, 0]).unwrap();
    assert_eq!(g.read(regs::Id::OFFSET), u32::MAX);
    assert_eq!(g.counters().register_errors.load(Relaxed), 1);
}

/// FILL, COPY to the host, COPY to the device; by interrupts, in the client's memory. Returns the guest and the pattern in device page 2.
fn copies(options: Options, base: u64) -> (Guest, Vec<u8>) {
    let mut g = Guest::new(options);
    g.bring_up(base, CAPACITY);
    g.engine();
    g.own(16);
    let mut fill = descriptor(Opcode::Fill, 8192);
    fill.dev_addr = 4096;
    fill.arg = 0x1122_3344_5566_7788;
    assert_eq!(g.run(&fill).status, Status::Ok as u8);
    let mut home = descriptor(Opcode::CopyToHost, 4096);
    home.dev_addr = 4096;
    home.host_addr = RAM + TARGET;
    assert_eq!(g.run(&home).status, Status::Ok as u8);
    let mut page = vec![0; 4096];
    g.ram.read(TARGET, &mut page).unwrap();
    assert_eq!(page, fill.arg.to_le_bytes().repeat(512));
    let data = pattern(3, 4096);
    g.ram.write(SOURCE, &data).unwrap();
    let mut away = descriptor(Opcode::CopyToDevice, 4096);
    away.dev_addr = 8192;
    away.host_addr = RAM + SOURCE;
    assert_eq!(g.run(&away).status, Status::Ok as u8);
    assert_eq!(wait_event(&g.event, 50), None, "one interrupt each");
    (g, data)
}

#[test]
fn the_engine_copies_both_ways_and_the_window_and_the_mapping_agree() {
    let (mut g, data) = copies(options(), BAR2_AT);
    assert_eq!(g.store(), "bar");
    let bar2 = g.bar2();
    let mut page = vec![0; 4096];
    bar2.read(8192, &mut page).unwrap();
    assert_eq!(page, data, "what the engine wrote shows in the mapping");
    // Loads and stores of every size and alignment through the window.
    assert_eq!(g.load(8192 + 60, 8), data[60..68], "across lines");
    let before = g.read(regs::RwdCount::OFFSET);
    let loads = g.read(regs::ReqCount::OFFSET);
    let mut expected = data;
    for (n, bytes) in [1usize, 2, 4, 8, 16, 64, 200].into_iter().enumerate() {
        let at = 64 * n * 4 + 13;
        let new = pattern(n as u8, bytes);
        g.store_bytes(8192 + at as u64, &new);
        expected[at..at + bytes].copy_from_slice(&new);
        assert_eq!(g.load(8192 + at as u64, bytes), new);
    }
    bar2.read(8192, &mut page).unwrap();
    assert_eq!(page, expected, "what the window wrote shows in the mapping");
    assert!(g.read(regs::RwdCount::OFFSET) - before >= 7, "in RTL");
    assert!(g.read(regs::ReqCount::OFFSET) - loads >= 7, "in RTL");
    bar2.write(12288, &[0xA5; 64]).unwrap();
    assert_eq!(g.load(12288, 64), [0xA5; 64], "and the other way");
    assert_eq!(g.counters().errors(), 0, "{}", g.counters().summary());
}

#[test]
fn device_memory_is_the_clients_where_the_decoder_says_so() {
    let (file, spm) = SharedMemory::create(c"spm", CAPACITY).unwrap();
    for mode in [Mode::Auto, Mode::Spm, Mode::Bar] {
        let mut g = Guest::new(Options { mode, ..options() });
        g.client
            .dma_map(0, SPM, CAPACITY, file.as_raw_fd())
            .unwrap();
        assert_eq!(g.store(), "bar", "{mode:?}: no decoder yet");
        g.bring_up(SPM, CAPACITY);
        let here = mode != Mode::Bar;
        assert_eq!(g.store(), if here { "spm" } else { "bar" });
        let new = pattern(mode as u8, 64);
        g.store_bytes(4096, &new);
        // The store is posted: a load comes after it.
        assert_eq!(g.load(4096, 64), new);
        let mut line = [0; 64];
        spm.read(4096, &mut line).unwrap();
        assert_eq!(line[..] == new[..], here, "{mode:?}");
        // A reset takes the decoder away, and the memory keeps what it holds.
        g.client.reset().unwrap();
        assert_eq!(g.store(), "bar");
        spm.read(4096, &mut line).unwrap();
        assert_eq!(line[..] == new[..], here, "{mode:?}");
        // Without the mapping there is nothing to be had.
        g.client.dma_unmap(SPM, CAPACITY).unwrap();
        g.enable();
        g.bring_up(SPM, CAPACITY);
        let strict = mode == Mode::Spm;
        assert_eq!(g.store(), if strict { "none" } else { "bar" });
        assert_eq!(g.load(4096, 8) == [0; 8], here, "{mode:?}");
        // The counter is copied when the next access is done.
        assert_eq!(g.read(regs::Id::OFFSET), regs::Id::RESET);
        let beyond = g.counters().out_of_range.load(Relaxed);
        assert_eq!(beyond > 0, strict, "{mode:?}: {beyond}");
    }
}

#[test]
fn without_a_decoder_and_beyond_it_there_is_nothing() {
    let mut g = Guest::new(options());
    assert_eq!(g.load(0, 8), [0xFF; 8]);
    g.store_bytes(0, &[1; 8]);
    assert_eq!(g.read(regs::Id::OFFSET), regs::Id::RESET);
    assert_eq!(g.counters().undecoded.load(Relaxed), 2);
    g.bring_up(BAR2_AT, 256 << 20);
    assert_eq!(g.load(0, 8), [0; 8], "and the store did nothing");
    assert_eq!(g.load((256 << 20) - 8, 8), [0; 8]);
    assert_eq!(g.load((256 << 20) - 7, 8), [0xFF; 8]);
    assert_eq!(g.counters().undecoded.load(Relaxed), 3);
}

#[test]
fn a_device_that_hangs_answers_ones_in_bounded_time_until_it_is_reset() {
    let mut g = Guest::new(options());
    g.bring_up(BAR2_AT, CAPACITY);
    let bound = ANSWER + Duration::from_millis(400);
    let ones = |g: &mut Guest| {
        let begin = Instant::now();
        assert_eq!(g.read(regs::Id::OFFSET), u32::MAX);
        g.write(regs::Scratch::OFFSET, 1);
        assert_eq!(g.load(0, 8), [0xFF; 8]);
        g.store_bytes(0, &[1; 8]);
        assert!(begin.elapsed() < 2 * bound, "{:?}", begin.elapsed());
    };
    g.command("hang on");
    ones(&mut g);
    assert_ne!(
        g.config(0),
        u32::MAX,
        "configuration space is the hard block's"
    );
    assert!(g.counters().register_errors.load(Relaxed) >= 1);
    g.client.reset().unwrap();
    g.enable();
    assert_eq!(g.read(regs::Id::OFFSET), regs::Id::RESET);
    g.bring_up(BAR2_AT, CAPACITY);
    // The store that had no answer may have happened, or not: never in part.
    let byte = g.load(0, 1)[0];
    assert!(byte < 2 && g.load(0, 8) == [byte; 8]);
    // The model itself stands still.
    let handle = g.handle.clone();
    let stall = std::thread::spawn(move || handle.command("stall 1500".parse().unwrap()));
    std::thread::sleep(Duration::from_millis(100));
    ones(&mut g);
    assert!(g.counters().late.load(Relaxed) >= 2);
    stall.join().unwrap().unwrap();
    assert_eq!(g.read(regs::Id::OFFSET), regs::Id::RESET);
}

#[test]
fn a_reset_forgets_registers_and_keeps_memory() {
    let (mut g, data) = copies(options(), BAR2_AT);
    // Found as the kernel does it: Function Level Reset of the PCI Express capability.
    let mut at = u64::from(g.config(0x34) & 0xFC);
    while g.config(at) & 0xFF != 0x10 {
        at = u64::from(g.config(at) >> 8 & 0xFC);
        assert_ne!(at, 0, "no PCI Express capability");
    }
    assert_ne!(g.config(at + 4) & 1 << 28, 0, "offers FLR");
    for flr in [false, true] {
        g.write(regs::Scratch::OFFSET, 5);
        if flr {
            g.client.region_write(CONFIG, at + 8, &[0, 0x80]).unwrap();
        } else {
            g.client.reset().unwrap();
        }
        assert_eq!(g.config(4) & 7, 0);
        g.enable();
        assert_eq!(g.read(regs::Scratch::OFFSET), 0);
        assert_eq!(g.load(8192, 8), [0xFF; 8], "no decoder");
        g.bring_up(BAR2_AT, CAPACITY);
        assert_eq!(g.load(8192, 64), data[..64]);
        // Pages are the host's again; the engine, its interrupt and the DMA ranges work as before.
        g.engine();
        g.own(1);
    }
    assert_eq!(g.counters().resets.load(Relaxed), 2);
}

#[test]
fn memory_taken_away_under_a_busy_engine_is_not_written() {
    let (mut g, _) = copies(options(), BAR2_AT);
    g.own(512);
    // 2 MiB take seconds; the rings are in the same range, so the engine stops with a ring error or its own time-out.
    let mut home = descriptor(Opcode::CopyToHost, 2 << 20);
    home.host_addr = RAM + TARGET;
    g.ram.write(TARGET, &vec![0xEE; 2 << 20]).unwrap();
    let n = g.submit(&home);
    let begin = Instant::now();
    g.client.dma_unmap(RAM, RAM_BYTES).unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(2),
        "{:?}",
        begin.elapsed()
    );
    let mut now = vec![0; 2 << 20];
    g.ram.read(TARGET, &mut now).unwrap();
    assert_ne!(now[(2 << 20) - 64..], [0; 64], "it was still at work");
    g.wait(regs::EngStatus::OFFSET, "an end", |v| {
        !regs::EngStatus::BUSY.is_set(v) || regs::EngStatus::FAULT.is_set(v)
    });
    let mut later = vec![0; 2 << 20];
    g.ram.read(TARGET, &mut later).unwrap();
    assert!(now == later, "written after DMA_UNMAP");
    assert_eq!(g.record(n).done, 0, "no record either");
}

#[test]
fn every_byte_of_bar2_is_a_transaction_if_asked() {
    let mut g = Guest::new(Options {
        trap_all: true,
        ..options()
    });
    let region = g.client.region(BAR2).unwrap();
    assert!(region.sparse_areas.is_empty() && region.file_offset.is_none());
    g.bring_up(BAR2_AT, CAPACITY);
    g.store_bytes(CAPACITY - 8, &[9; 8]);
    assert_eq!(g.load(CAPACITY - 8, 8), [9; 8]);
    assert_eq!(g.counters().errors(), 0);
}

#[test]
fn cycles_pass_only_while_there_is_work() {
    let mut g = Guest::new(options());
    g.bring_up(BAR2_AT, CAPACITY);
    let settle = |g: &Guest| {
        let mut last = 0;
        loop {
            let now = g.counters().rtl_cycles.load(Relaxed);
            if now == last {
                return now;
            }
            last = now;
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    let before = settle(&g);
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(g.counters().rtl_cycles.load(Relaxed), before);
    let busy = g.counters().busy_cycles.load(Relaxed);
    g.load(0, 8);
    let after = settle(&g);
    let work = g.counters().busy_cycles.load(Relaxed) - busy;
    assert!((10..1000).contains(&work), "{work}");
    assert!(after - before < 5000, "{}", after - before);
}

#[test]
fn faults_do_what_they_say() {
    let (mut g, _) = copies(options(), BAR2_AT);
    let nop = descriptor(Opcode::Nop, 0);
    g.command("lose-irq 1");
    let n = g.submit(&nop);
    assert_eq!(wait_event(&g.event, 500), None);
    assert_eq!(g.record(n).id, 7, "done all the same");
    assert_eq!(g.counters().irqs_lost.load(Relaxed), 1);
    g.command("wrong-completion 1");
    assert_ne!(g.run(&nop).id, 7);
    assert_eq!(g.run(&nop).id, 7);
    g.command("poison 300");
    assert_eq!(g.load(300 * 64 - 8, 8), [0; 8]);
    assert_eq!(g.load(300 * 64, 8), [0xFF; 8]);
    assert_eq!(g.counters().poisoned_loads.load(Relaxed), 1);
    g.store_bytes(300 * 64, &[4; 64]);
    assert_eq!(g.load(300 * 64, 8), [4; 8]);
    g.command("link off");
    assert_eq!(g.load(0, 8), [0xFF; 8]);
    g.command("link on");
    let control = g.read(regs::LinkCtrl::OFFSET);
    g.write(regs::LinkCtrl::OFFSET, control & !1);
    g.write(regs::LinkCtrl::OFFSET, control | 1);
    g.wait(regs::LinkStatus::OFFSET, "link", |v| {
        regs::LinkStatus::UP.is_set(v)
    });
    assert_eq!(g.load(300 * 64, 8), [4; 8]);
}
