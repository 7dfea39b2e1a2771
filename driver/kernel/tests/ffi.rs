//! The functions that C calls, with a behavioural device in the kernel's place; and that `core.h` says what Rust does.

#[path = "../../core/tests/model/mod.rs"]
mod model;

use cxlmem_driver_core::{regs, Clock, Mmio, PAGE_BYTES};
use cxlmem_kernel::engine::*;
use cxlmem_kernel::pool::*;
use model::Model;
use std::ffi::{c_char, c_int, c_void, CStr};

const BASE: u64 = 0x20_0000_0000;
const PAGE: usize = PAGE_BYTES as usize;
const EIO: c_int = -5;
const ENODEV: c_int = -19;
const EINVAL: c_int = -22;

/// The model behind a pointer that Rust hands back.
fn model_of<'a>(device: *mut c_void) -> &'a mut Model {
    // SAFETY: every test gives the address of its own model, which outlives the engine, and calls from one thread.
    unsafe { &mut *device.cast::<Model>() }
}

#[no_mangle]
extern "C" fn cxlmem_k_read32(device: *mut c_void, offset: u32, value: *mut u32) -> c_int {
    match model_of(device).read32(offset) {
        Ok(v) => {
            // SAFETY: Rust's own.
            unsafe { *value = v };
            0
        }
        Err(_) => ENODEV,
    }
}

#[no_mangle]
extern "C" fn cxlmem_k_write32(device: *mut c_void, offset: u32, value: u32) -> c_int {
    model_of(device)
        .write32(offset, value)
        .map_or(ENODEV, |()| 0)
}

#[no_mangle]
extern "C" fn cxlmem_k_dma(device: *mut c_void, bus: u64, bytes: usize) -> *mut u8 {
    let mut at = std::ptr::null_mut();
    let mut parts = 0;
    let found = model_of(device).host_access(bus, bytes, |part, _| {
        at = part.as_mut_ptr();
        parts += 1;
    });
    assert!(parts <= 1, "{bytes} bytes at {bus:#x} cross a page");
    found.map_or(std::ptr::null_mut(), |()| at)
}

#[no_mangle]
extern "C" fn cxlmem_k_now(device: *mut c_void) -> u64 {
    model_of(device).now()
}

#[no_mangle]
extern "C" fn cxlmem_k_pause(device: *mut c_void, ns: u64) {
    model_of(device).pause(ns);
}

/// What C does around an engine.
struct Driver {
    model: Box<Model>,
    storage: Vec<u128>,
}

impl Driver {
    fn new(pages: usize) -> Driver {
        let mut d = Driver {
            model: Box::new(Model::new(pages)),
            storage: vec![0; cxlmem_engine_bytes().div_ceil(16)],
        };
        let device = std::ptr::from_mut(&mut *d.model).cast();
        // SAFETY: the storage is large and aligned enough.
        unsafe { cxlmem_engine_init(d.engine(), device) };
        d
    }

    fn engine(&mut self) -> *mut c_void {
        self.storage.as_mut_ptr().cast()
    }

    fn start(&mut self) -> c_int {
        let dma = self.model.alloc(cxlmem_engine_dma_bytes());
        // SAFETY: an engine that was made; the DMA memory stays.
        unsafe { cxlmem_engine_start(self.engine(), BASE, dma, 0) }
    }

    fn up(pages: usize) -> Driver {
        let mut d = Driver::new(pages);
        assert_eq!(d.start(), 0, "{}", d.error());
        d
    }

    fn error(&mut self) -> String {
        let mut text = [0x55 as c_char; 200];
        // SAFETY: as many bytes as it is told.
        unsafe { cxlmem_engine_error(self.engine(), text.as_mut_ptr(), text.len()) };
        // SAFETY: zero-terminated, which is checked here by not running over the end.
        let text = unsafe { CStr::from_ptr(text.as_ptr()) };
        text.to_str().unwrap().to_string()
    }

    fn copy(&mut self, moves: &mut [Move], to_device: bool) -> (c_int, u64) {
        let mut cycles = 0;
        // SAFETY: `moves` has that many items.
        let ret = unsafe {
            cxlmem_engine_copy(
                self.engine(),
                moves.as_mut_ptr(),
                moves.len(),
                to_device,
                &mut cycles,
            )
        };
        (ret, cycles)
    }

    fn operate(&mut self, opcode: u8, count: u32, device: u64, arg: u64) -> (c_int, u64) {
        let (mut result, mut cycles) = (0, 0);
        // SAFETY: both are writable.
        let ret = unsafe {
            cxlmem_engine_operate(
                self.engine(),
                opcode,
                count,
                device,
                arg,
                0,
                &mut result,
                &mut cycles,
            )
        };
        (ret, result)
    }
}

fn constant(header: &str, name: &str) -> u32 {
    let line = header.lines().find(|l| l.trim().starts_with(name));
    let line = line.unwrap_or_else(|| panic!("{name} is not in core.h"));
    let value = line.split('=').nth(1).unwrap().trim().trim_end_matches(',');
    value.parse().unwrap()
}

#[test]
fn the_header_has_the_codes_and_every_function() {
    let header = include_str!("../core.h");
    for (name, code) in MOVE_CODES {
        assert_eq!(
            constant(header, &format!("CXLMEM_MOVE_{name} ")),
            *code,
            "{name}"
        );
    }
    assert_eq!(size_of::<Move>(), 24);
    assert_eq!(size_of::<CIdentity>(), 24);
    let sources = [
        include_str!("../rust/engine.rs"),
        include_str!("../rust/pool.rs"),
    ];
    let exported = sources.iter().flat_map(|s| s.lines()).filter_map(|l| {
        let (_, rest) = l.split_once("extern \"C\" fn ")?;
        Some(rest.split('(').next().unwrap())
    });
    let mut count = 0;
    for name in exported {
        assert!(
            header.contains(&format!("{name}(")),
            "core.h does not declare {name}"
        );
        count += 1;
    }
    assert!(count > 12);
}

#[test]
fn pages_go_there_and_home_and_a_poisoned_one_says_which_lines() {
    let mut d = Driver::up(8);
    let host = d.model.alloc(3 * PAGE);
    for n in 0..3 {
        let at = host + (n * PAGE) as u64;
        let fill = |part: &mut [u8], _: usize| part.fill(n as u8 + 1);
        d.model.host_access(at, PAGE, fill).unwrap();
    }
    let mut moves: Vec<Move> = (0..3)
        .map(|n| Move::pending(host + n * PAGE_BYTES, (n + 2) * PAGE_BYTES))
        .collect();
    let (ret, cycles) = d.copy(&mut moves, true);
    assert_eq!(ret, 0);
    assert!(cycles > 0 && moves.iter().all(|m| m.code() == "DONE"));
    for n in 0..3 {
        assert!(d.model.dev[(n + 2) * PAGE..][..PAGE]
            .iter()
            .all(|b| *b == n as u8 + 1));
    }
    d.model.poison.insert(3 * PAGE_BYTES + 64 * 7);
    d.model.poison.insert(3 * PAGE_BYTES + 64 * 63);
    let mut moves: Vec<Move> = (0..3)
        .map(|n| Move::pending(host + n * PAGE_BYTES, (n + 2) * PAGE_BYTES))
        .collect();
    assert_eq!(d.copy(&mut moves, false).0, 0);
    let codes: Vec<_> = moves.iter().map(|m| m.code()).collect();
    assert_eq!(codes, ["DONE", "POISONED", "DONE"]);
    let mut lines = 0;
    // SAFETY: writable.
    let ret = unsafe { cxlmem_engine_bad_lines(d.engine(), 3 * PAGE_BYTES, &mut lines) };
    assert_eq!((ret, lines), (0, 1 << 7 | 1 << 63));
    assert!(
        d.model.device_owned.iter().all(|o| !o),
        "the host has its pages again"
    );
    assert_eq!(d.model.violations, Vec::<String>::new());
}

#[test]
fn operations_take_the_pages_and_hand_them_back() {
    let mut d = Driver::up(4);
    assert_eq!(d.operate(3, 4096, PAGE_BYTES, 0x0101_0101_0101_0101).0, 0);
    let (ret, sum) = d.operate(4, 8192, 0, 0);
    let words = |byte: u8| u64::from_ne_bytes([byte; 8]).wrapping_mul(512);
    let want = words(0xDD).wrapping_add(words(1));
    assert_eq!((ret, sum), (0, want));
    assert_eq!(d.operate(1, 64, 0, 0).0, EINVAL, "a copy is no operation");
    assert_eq!(d.operate(200, 64, 0, 0).0, EINVAL);
    assert_eq!(
        d.operate(4, 64, 64 << 20, 0).0,
        EIO,
        "beyond the memory: {}",
        d.error()
    );
    assert!(d.model.device_owned.iter().all(|o| !o));
}

#[test]
fn what_is_wrong_is_a_number_and_a_text_that_ends() {
    let mut d = Driver::new(4);
    assert_eq!(d.operate(4, 64, 0, 0).0, ENODEV, "not started");
    assert_eq!(d.error(), "no error");
    d.model
        .faults
        .override_read
        .insert(regs::Version::OFFSET, 0x0009_0000);
    assert_eq!(d.start(), -71, "EPROTO");
    let text = d.error();
    assert!(
        text.contains("Version") && text.len() <= 199,
        "{}: {text}",
        text.len()
    );
    d.model.faults.override_read.clear();
    d.model.faults.gone = true;
    assert_eq!(d.start(), ENODEV);
    // One byte: only the end.
    let mut byte = [0x55 as c_char];
    // SAFETY: one byte is there.
    unsafe { cxlmem_engine_error(d.engine(), byte.as_mut_ptr(), 1) };
    assert_eq!(byte, [0]);
    // More moves than a batch has.
    let mut d = Driver::up(4);
    let mut moves = vec![Move::pending(0, 0); 513];
    assert_eq!(d.copy(&mut moves, true).0, EINVAL);
}

#[test]
fn a_stuck_engine_quarantines_the_pair() {
    let mut d = Driver::up(4);
    d.model.faults.freeze_after = Some(0);
    d.model.faults.stuck = true;
    let host = d.model.alloc(PAGE);
    let mut moves = [Move::pending(host, 0)];
    assert_eq!(d.copy(&mut moves, true).0, EIO);
    assert_eq!(moves[0].code(), "QUARANTINED");
    // SAFETY: an engine that was made.
    assert_ne!(unsafe { cxlmem_engine_stop(d.engine()) }, 0);
    // A reset of the function frees it.
    let pages = d.model.dev.len() / PAGE;
    let mut fresh = Model::new(pages);
    std::mem::swap(&mut *d.model, &mut fresh);
    let dma = d.model.alloc(cxlmem_engine_dma_bytes());
    let host = d.model.alloc(PAGE);
    assert!(dma < host, "the same bus addresses as before");
    // SAFETY: as above.
    assert_eq!(unsafe { cxlmem_engine_restart(d.engine(), BASE) }, 0);
    let mut moves = [Move::pending(host, 0)];
    assert_eq!(d.copy(&mut moves, true).0, 0, "{}", d.error());
    assert_eq!(moves[0].code(), "DONE");
}

#[test]
fn the_pool_gives_runs_and_refuses_what_is_wrong() {
    let mut storage = vec![0u128; cxlmem_pool_bytes(10).div_ceil(16)];
    let pool: *mut c_void = storage.as_mut_ptr().cast();
    // SAFETY: the storage is large and aligned enough; all calls come from here.
    unsafe {
        cxlmem_pool_init(pool, 10);
        let mut at = 0;
        assert_eq!(cxlmem_pool_alloc(pool, 4, &mut at), 4);
        assert_eq!(at, 0);
        assert_eq!(cxlmem_pool_alloc(pool, 8, &mut at), 6, "what there is");
        assert_eq!(at, 4 * PAGE_BYTES);
        assert_eq!(cxlmem_pool_alloc(pool, 1, &mut at), -28, "ENOSPC");
        assert_eq!(cxlmem_pool_free(pool, 2 * PAGE_BYTES), 0);
        assert_eq!(cxlmem_pool_free(pool, 2 * PAGE_BYTES), EINVAL, "twice");
        assert_eq!(cxlmem_pool_free(pool, 99 * PAGE_BYTES), EINVAL);
        assert!(!cxlmem_pool_in_use(pool, 2 * PAGE_BYTES));
        assert!(cxlmem_pool_in_use(pool, 3 * PAGE_BYTES + 17));
        assert_eq!(cxlmem_pool_quarantine(pool, 3 * PAGE_BYTES), 0);
        assert_eq!(cxlmem_pool_free(pool, 3 * PAGE_BYTES), EIO, "stays");
        let mut stats = std::mem::zeroed::<Stats>();
        cxlmem_pool_stats(pool, &mut stats);
        assert_eq!(stats.counts(), (10, 1, 1));
    }
}
