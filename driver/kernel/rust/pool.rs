//! The pool of device pages. Called under C's spinlock, in interrupts too: no function sleeps, allocates or takes long.

use crate::errno;
use core::ffi::{c_int, c_void};
use cxlmem_driver_core::{Extent, OwnerId, PagePool, PageSlot, PAGE_BYTES};

/// All pages that are given out: who has them is the kernel's to know.
const OWNER: OwnerId = 1;

type Pool = PagePool<&'static mut [PageSlot]>;

/// `struct cxlmem_pool_stats`, in pages.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stats {
    pages: u64,
    free: u64,
    quarantined: u64,
}

impl Stats {
    /// Pages, free ones, quarantined ones.
    pub fn counts(&self) -> (u64, u64, u64) {
        (self.pages, self.free, self.quarantined)
    }
}

/// Bytes for the table of a device with `pages` pages, pool object included.
#[no_mangle]
pub extern "C" fn cxlmem_pool_bytes(pages: usize) -> usize {
    size_of::<Pool>().saturating_add(size_of::<PageSlot>().saturating_mul(pages))
}

/// Makes a pool of free pages. Its addresses are bytes from the first page of its range.
///
/// # Safety
/// `pool` points to [`cxlmem_pool_bytes`] writable bytes, aligned to 16, that stay until the pool is used no more.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_pool_init(pool: *mut c_void, pages: usize) {
    // SAFETY: the caller's; the slots follow the object, whose size is a multiple of their alignment.
    unsafe {
        let slots = pool.cast::<u8>().add(size_of::<Pool>()).cast::<PageSlot>();
        for n in 0..pages {
            slots.add(n).write(PageSlot::Free);
        }
        let slots = core::slice::from_raw_parts_mut(slots, pages);
        pool.cast::<Pool>().write(PagePool::new(slots));
    }
}

/// The pool behind C's pointer.
///
/// # Safety
/// It comes from [`cxlmem_pool_init`], and the caller holds the lock of it.
unsafe fn object<'a>(pool: *mut c_void) -> &'a mut Pool {
    // SAFETY: the caller's.
    unsafe { &mut *pool.cast::<Pool>() }
}

/// Takes up to `wanted` contiguous pages: their number, with the first one's in `address`, or a negative errno.
///
/// # Safety
/// As all functions here; `address` is writable.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_pool_alloc(
    pool: *mut c_void,
    wanted: u32,
    address: *mut u64,
) -> c_int {
    // SAFETY: the caller's.
    match unsafe { object(pool) }.alloc(OWNER, wanted) {
        Ok(extent) => {
            // SAFETY: the caller's.
            unsafe { *address = extent.dpa };
            extent.pages as c_int
        }
        Err(error) => errno::of_pool(error),
    }
}

/// Gives a page back. A quarantined page stays quarantined.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_pool_free(pool: *mut c_void, address: u64) -> c_int {
    let page = Extent {
        dpa: address,
        pages: 1,
    };
    // SAFETY: the caller's.
    let freed = unsafe { object(pool) }.free(OWNER, page);
    freed.map_or_else(errno::of_pool, |()| 0)
}

/// Takes a page out of use for good.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_pool_quarantine(pool: *mut c_void, address: u64) -> c_int {
    let page = Extent {
        dpa: address,
        pages: 1,
    };
    // SAFETY: the caller's.
    let gone = unsafe { object(pool) }.quarantine(page);
    gone.map_or_else(errno::of_pool, |()| 0)
}

/// Whether a page is given out, and thus perhaps mapped.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_pool_in_use(pool: *mut c_void, address: u64) -> bool {
    // SAFETY: the caller's.
    let slot = unsafe { object(pool) }.slot(address - address % PAGE_BYTES);
    matches!(slot, Ok(PageSlot::Owned { owner: OWNER, .. }))
}

/// How many pages there are.
///
/// # Safety
/// As all functions here; `stats` is writable.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_pool_stats(pool: *mut c_void, stats: *mut Stats) {
    // SAFETY: the caller's.
    unsafe {
        let pool = object(pool);
        stats.write(Stats {
            pages: pool.pages(),
            free: pool.free_pages(),
            quarantined: pool.quarantined_pages(),
        });
    }
}
