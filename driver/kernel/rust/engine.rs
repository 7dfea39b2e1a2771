//! The device behind its registers: bring-up, the command ring, copies of pages and operations on device memory.
//!
//! Every function is called with C's lock of this device held, in a context that may sleep, and with a pointer that
//! [`cxlmem_engine_init`] has filled.

use crate::errno;
use crate::hw::Kernel;
use core::ffi::{c_char, c_int, c_void};
use core::fmt::{self, Write};
use cxlmem_driver_core::bringup::{self, Coherence, Identity};
use cxlmem_driver_core::engine::{flags, Descriptor, Opcode, Status, LINE_BYTES, PAGE_BYTES};
use cxlmem_driver_core::{
    Direction, Error, Holder, IoError, Limits, Migrator, PageMove, PageResult, Ring, RingMemory,
    LIST_BYTES, LIST_PAGES,
};

/// log2 of the descriptors in the ring: a chain of three and room.
const RING_LOG2: u32 = 4;
/// Bytes of DMA memory that [`cxlmem_engine_start`] is given: list, descriptors, completions.
const DMA_BYTES: usize =
    LIST_BYTES + RingMemory::descriptor_bytes(RING_LOG2) + RingMemory::completion_bytes(RING_LOG2);

/// A page to copy: `struct cxlmem_move`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Move {
    /// Bus address of the host page.
    host: u64,
    /// Device physical address of the device page.
    device: u64,
    /// In: [`PENDING`], or anything else for a page to leave out. Out: one of the `CXLMEM_MOVE_` codes.
    result: u32,
    /// Status code of the engine for [`FAILED`].
    status: u32,
}

const DONE: u32 = 0;
const PENDING: u32 = 1;
const FAILED: u32 = 2;
const ABORTED: u32 = 3;
const QUARANTINED: u32 = 4;
const NOT_TRIED: u32 = 5;
const POISONED: u32 = 6;

/// Names of the codes in [`Move`], without `CXLMEM_MOVE_`.
pub const MOVE_CODES: &[(&str, u32)] = &[
    ("DONE", DONE),
    ("PENDING", PENDING),
    ("FAILED", FAILED),
    ("ABORTED", ABORTED),
    ("QUARANTINED", QUARANTINED),
    ("NOT_TRIED", NOT_TRIED),
    ("POISONED", POISONED),
];

impl Move {
    /// A page to copy.
    pub fn pending(host: u64, device: u64) -> Move {
        Move {
            host,
            device,
            result: PENDING,
            status: 0,
        }
    }

    /// Name of the result's code.
    pub fn code(&self) -> &'static str {
        let known = MOVE_CODES.iter().find(|(_, code)| *code == self.result);
        known.map_or("unknown", |(name, _)| name)
    }
}

/// What the identity registers say: `struct cxlmem_identity`.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CIdentity {
    capacity: u64,
    caps: u32,
    config: u32,
    clock_khz: u32,
    version: u32,
}

/// The object; its size is [`cxlmem_engine_bytes`].
#[derive(Debug)]
pub struct Engine {
    hw: Kernel,
    limits: Limits,
    identity: Option<Identity>,
    ring: Option<Ring>,
    /// Bus address of the page list.
    list: u64,
    moves: [PageMove; LIST_PAGES],
    error: Option<Error>,
}

impl Engine {
    /// Keeps an error for [`cxlmem_engine_error`].
    fn keep<T>(&mut self, result: Result<T, Error>) -> Result<T, c_int> {
        result.map_err(|error| {
            let code = errno::of(&error);
            self.error = Some(error);
            code
        })
    }
}

/// The object behind C's pointer.
///
/// # Safety
/// `engine` comes from [`cxlmem_engine_init`], and the caller holds the lock of it.
unsafe fn object<'a>(engine: *mut c_void) -> &'a mut Engine {
    // SAFETY: the caller's.
    unsafe { &mut *engine.cast::<Engine>() }
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(0)
}

/// Bytes of an engine object; C allocates it, aligned to 16.
#[no_mangle]
pub extern "C" fn cxlmem_engine_bytes() -> usize {
    size_of::<Engine>()
}

/// Bytes of DMA memory for [`cxlmem_engine_start`].
#[no_mangle]
pub extern "C" fn cxlmem_engine_dma_bytes() -> usize {
    DMA_BYTES
}

/// Makes the object. `device` is handed to the `cxlmem_k_` functions.
///
/// # Safety
/// `engine` points to [`cxlmem_engine_bytes`] writable bytes, aligned to 16.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_init(engine: *mut c_void, device: *mut c_void) {
    // SAFETY: the caller's. Field by field, since the whole is too large for a kernel stack.
    unsafe {
        let engine = engine.cast::<Engine>();
        (&raw mut (*engine).hw).write(Kernel::new(device));
        (&raw mut (*engine).limits).write(Limits::hardware(1_000_000_000));
        (&raw mut (*engine).identity).write(None);
        (&raw mut (*engine).ring).write(None);
        (&raw mut (*engine).list).write(0);
        (&raw mut (*engine).error).write(None);
        let moves = (&raw mut (*engine).moves).cast::<PageMove>();
        for n in 0..LIST_PAGES {
            moves.add(n).write(PageMove::new(0, 0, Holder::Host));
        }
    }
}

/// Reads and checks identity and version.
///
/// # Safety
/// As all functions here; `identity` is writable.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_identify(
    engine: *mut c_void,
    identity: *mut CIdentity,
) -> c_int {
    // SAFETY: the caller's.
    let e = unsafe { object(engine) };
    let found = bringup::identify(&mut e.hw);
    code(e.keep(found).map(|found| {
        e.identity = Some(found);
        if found.has(cxlmem_driver_core::regs::Caps::SIMULATED) {
            e.limits = Limits::simulated_ns();
        }
        let (major, minor) = found.version;
        // SAFETY: the caller's.
        unsafe {
            identity.write(CIdentity {
                capacity: found.capacity,
                caps: found.caps,
                config: found.config_id,
                clock_khz: found.clock_khz,
                version: (u32::from(major) << 16) | u32::from(minor),
            });
        }
    }))
}

/// Brings memory, link, HDM decoder 0 at `hdm_base` and the command ring up. `dma` is the bus address of [`cxlmem_engine_dma_bytes`] bytes, aligned to
/// 4096, which stay the device's until [`cxlmem_engine_stop`] has said that it is idle.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_start(
    engine: *mut c_void,
    hdm_base: u64,
    dma: u64,
    vector: u32,
) -> c_int {
    // SAFETY: the caller's.
    let e = unsafe { object(engine) };
    let up = bringup::bring_up(&mut e.hw, hdm_base, false, Coherence::HostOnly, &e.limits);
    let up = up.and_then(|(identity, _)| {
        identity.require(
            cxlmem_driver_core::regs::Caps::ENGINE,
            "the migration engine",
        )?;
        e.list = dma;
        let descriptors = dma.saturating_add(LIST_BYTES as u64);
        let memory = RingMemory {
            descriptors,
            completions: descriptors.saturating_add(RingMemory::descriptor_bytes(RING_LOG2) as u64),
            log2: RING_LOG2,
        };
        let mut ring = Ring::new(memory, vector, e.limits)?;
        ring.start(&mut e.hw)?;
        e.ring = Some(ring);
        Ok(())
    });
    code(e.keep(up))
}

/// Stops the engine and confirms that it is idle. 0: its DMA memory, and every page it was given, may be reused.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_stop(engine: *mut c_void) -> c_int {
    // SAFETY: the caller's.
    let e = unsafe { object(engine) };
    let stopped = match &mut e.ring {
        Some(ring) => ring.stop(&mut e.hw),
        None => Ok(()),
    };
    code(e.keep(stopped))
}

/// Whether it takes commands. If not after an error, it may not be idle either: what it was given must not be used again.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_is_running(engine: *mut c_void) -> bool {
    // SAFETY: the caller's.
    let e = unsafe { object(engine) };
    e.ring.as_ref().is_some_and(|ring| ring.is_running())
}

/// Starts the engine again after a reset of the function, also one that was stuck.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_restart(engine: *mut c_void, hdm_base: u64) -> c_int {
    // SAFETY: the caller's.
    let e = unsafe { object(engine) };
    let up =
        bringup::bring_up(&mut e.hw, hdm_base, false, Coherence::HostOnly, &e.limits).map(drop);
    let up = up.and_then(|()| match &mut e.ring {
        Some(ring) => {
            ring.function_was_reset();
            ring.start(&mut e.hw)
        }
        None => Ok(()),
    });
    code(e.keep(up))
}

/// Copies up to 512 pages, to the device or to the host; each [`Move`] says what became of it. `cycles` gets the engine's own.
///
/// Returns an error of the engine as a whole; pages have their results then, too.
///
/// # Safety
/// As all functions here; `moves` has `count` items.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_copy(
    engine: *mut c_void,
    moves: *mut Move,
    count: usize,
    to_device: bool,
    cycles: *mut u64,
) -> c_int {
    // SAFETY: the caller's.
    let (e, moves) = unsafe {
        (
            object(engine),
            core::slice::from_raw_parts_mut(moves, count),
        )
    };
    let Some(pages) = e.moves.get_mut(..count) else {
        return -errno::EINVAL;
    };
    for (page, m) in pages.iter_mut().zip(moves.iter()) {
        *page = PageMove::new(m.host, m.device, Holder::Host);
        if m.result != PENDING {
            page.result = PageResult::NotTried;
        }
    }
    let direction = if to_device {
        Direction::ToDevice
    } else {
        Direction::ToHost
    };
    let Some(ring) = &mut e.ring else {
        return -errno::ENODEV;
    };
    let mut migrator = Migrator::new(pages, direction, Holder::Host, e.list);
    // Nothing to flush: the kernel's mappings of the pages are gone, and what backs them is coherent with the device or simulated as such.
    let mut flush = |_: &mut Kernel, _: u64, _: u32| -> Result<(), IoError> { Ok(()) };
    let result = migrator.run(&mut e.hw, ring, &mut flush);
    // SAFETY: the caller's.
    unsafe { *cycles = migrator.cycles() };
    for (page, m) in e.moves.iter().zip(moves.iter_mut()) {
        (m.result, m.status) = match page.result {
            PageResult::Done => (DONE, 0),
            PageResult::Failed { code } if code == Status::Poison as u8 => (POISONED, code.into()),
            PageResult::Failed { code } => (FAILED, code.into()),
            PageResult::FlushFailed(_) | PageResult::Aborted => (ABORTED, 0),
            PageResult::Quarantined => (QUARANTINED, 0),
            PageResult::Pending | PageResult::NotTried => (NOT_TRIED, 0),
        };
    }
    code(e.keep(result))
}

/// An operation on device memory: `opcode` with `count` at `device`, between taking its pages from the host and handing them back.
///
/// # Safety
/// As all functions here; `result` and `cycles` are writable.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_operate(
    engine: *mut c_void,
    opcode: u8,
    count: u32,
    device: u64,
    arg: u64,
    arg2: u64,
    result: *mut u64,
    cycles: *mut u64,
) -> c_int {
    // SAFETY: the caller's.
    let e = unsafe { object(engine) };
    let Some(ring) = &mut e.ring else {
        return -errno::ENODEV;
    };
    let bytes = match Opcode::from_code(opcode) {
        Some(Opcode::Fill | Opcode::Sum64 | Opcode::Crc32c) => u64::from(count),
        Some(Opcode::FetchAdd | Opcode::CompareSwap) => 8,
        _ => return -errno::EINVAL,
    };
    let first = device - device % PAGE_BYTES;
    let pages = device
        .saturating_sub(first)
        .saturating_add(bytes)
        .div_ceil(PAGE_BYTES) as u32;
    let owner = |side: u64| Descriptor {
        opcode: Opcode::SetOwner as u8,
        count: pages,
        dev_addr: first,
        arg: side,
        flags: flags::IRQ,
        ..Descriptor::default()
    };
    let work = Descriptor {
        opcode,
        flags: flags::IRQ,
        count,
        dev_addr: device,
        host_addr: arg2,
        arg,
        ..Descriptor::default()
    };
    let ticks = ring.limits().command_ticks(bytes);
    let taken = ring.run(&mut e.hw, &owner(1), ticks);
    let done = taken.and_then(|_| ring.run(&mut e.hw, &work, ticks));
    // Whatever came of it, the host gets its pages back; the first error is the one that counts.
    let back = ring.run(&mut e.hw, &owner(0), ticks);
    let done = done.and_then(|record| back.map(|_| record));
    code(e.keep(done).map(|record| {
        // SAFETY: the caller's.
        unsafe {
            *result = record.result;
            *cycles = record.cycles.into();
        }
    }))
}

/// Which lines of a device page are poisoned: bit *n* of `lines` for line *n*.
///
/// # Safety
/// As all functions here; `lines` is writable.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_bad_lines(
    engine: *mut c_void,
    device: u64,
    lines: *mut u64,
) -> c_int {
    // SAFETY: the caller's.
    let e = unsafe { object(engine) };
    let Some(ring) = &mut e.ring else {
        return -errno::ENODEV;
    };
    let ticks = ring.limits().command_ticks(PAGE_BYTES);
    let owner = |side: u64| Descriptor {
        opcode: Opcode::SetOwner as u8,
        count: 1,
        dev_addr: device,
        arg: side,
        flags: flags::IRQ,
        ..Descriptor::default()
    };
    let mut bad = 0u64;
    let mut result = ring.run(&mut e.hw, &owner(1), ticks).map(drop);
    for line in 0..PAGE_BYTES / LINE_BYTES {
        if result.is_err() {
            break;
        }
        let read = Descriptor {
            opcode: Opcode::Sum64 as u8,
            flags: flags::IRQ,
            count: LINE_BYTES as u32,
            dev_addr: device.saturating_add(line.saturating_mul(LINE_BYTES)),
            ..Descriptor::default()
        };
        result = match ring.run(&mut e.hw, &read, ticks) {
            Err(Error::Command { code, .. }) if code == Status::Poison as u8 => {
                bad |= 1u64.wrapping_shl(line as u32);
                Ok(())
            }
            other => other.map(drop),
        };
    }
    let back = ring.run(&mut e.hw, &owner(0), ticks).map(drop);
    // SAFETY: the caller's.
    unsafe { *lines = bad };
    code(e.keep(result.and(back)))
}

/// A line of text in C's buffer, cut where it ends.
struct Line<'a> {
    text: &'a mut [u8],
    used: usize,
}

impl fmt::Write for Line<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for (to, from) in self.text.iter_mut().skip(self.used).zip(s.bytes()) {
            *to = from;
            self.used += 1;
        }
        Ok(())
    }
}

/// The text of the last error with its next step, zero-terminated.
///
/// # Safety
/// As all functions here; `text` has `bytes` writable bytes, at least 1.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_engine_error(engine: *mut c_void, text: *mut c_char, bytes: usize) {
    // SAFETY: the caller's.
    let (e, text) = unsafe {
        (
            object(engine),
            core::slice::from_raw_parts_mut(text.cast::<u8>(), bytes),
        )
    };
    let Some((last, text)) = text.split_last_mut() else {
        return;
    };
    *last = 0;
    text.fill(0);
    let mut line = Line { text, used: 0 };
    let _ = match &e.error {
        Some(error) => write!(line, "{error}"),
        None => line.write_str("no error"),
    };
}
