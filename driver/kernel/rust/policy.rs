//! A file's policy. Called under C's mutex.

use crate::errno;
use core::ffi::{c_int, c_void};
use cxlmem_driver_core::{PageHistory, Rule};

type Policy = cxlmem_driver_core::Policy<&'static mut [PageHistory]>;

/// Bytes for a policy of `pages` pages, its object included.
#[no_mangle]
pub extern "C" fn cxlmem_policy_bytes(pages: usize) -> usize {
    size_of::<Policy>().saturating_add(size_of::<PageHistory>().saturating_mul(pages))
}

/// Makes a policy, or returns -EINVAL for numbers that make none.
///
/// # Safety
/// `policy` points to [`cxlmem_policy_bytes`] writable bytes, aligned to 16, that stay until the policy is used no more.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_policy_init(
    policy: *mut c_void,
    pages: usize,
    in_after: u32,
    home_after: u32,
) -> c_int {
    let Some(rule) = Rule::new(in_after, home_after) else {
        return -errno::EINVAL;
    };
    // SAFETY: the caller's; the histories follow the object, whose size is a multiple of their alignment.
    unsafe {
        let histories = policy
            .cast::<u8>()
            .add(size_of::<Policy>())
            .cast::<PageHistory>();
        for n in 0..pages {
            histories.add(n).write(PageHistory::default());
        }
        let histories = core::slice::from_raw_parts_mut(histories, pages);
        policy.cast::<Policy>().write(Policy::new(rule, histories));
    }
    0
}

/// The policy behind C's pointer.
///
/// # Safety
/// It comes from [`cxlmem_policy_init`], and the caller holds the lock of it.
unsafe fn object<'a>(policy: *mut c_void) -> &'a mut Policy {
    // SAFETY: the caller's.
    unsafe { &mut *policy.cast::<Policy>() }
}

/// An operation begins.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_policy_tick(policy: *mut c_void) {
    // SAFETY: the caller's.
    unsafe { object(policy) }.tick();
}

/// It touches a page, which is there or is not: whether the page ought to come.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_policy_touch(
    policy: *mut c_void,
    page: usize,
    is_there: bool,
) -> bool {
    // SAFETY: the caller's.
    unsafe { object(policy) }.touch(page, is_there)
}

/// A page was moved, or could not be.
///
/// # Safety
/// As all functions here.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_policy_settle(policy: *mut c_void, page: usize, is_there: bool) {
    // SAFETY: the caller's.
    unsafe { object(policy) }.settle(page, is_there);
}

/// The next pages to go home: their number, 0 if there are none, with the first in `first`. Looks at no more than `budget` pages and lowers it.
///
/// # Safety
/// As all functions here; `budget` and `first` are writable.
#[no_mangle]
pub unsafe extern "C" fn cxlmem_policy_next_home(
    policy: *mut c_void,
    budget: *mut usize,
    first: *mut usize,
) -> usize {
    // SAFETY: the caller's.
    unsafe {
        match object(policy).next_home(&mut *budget) {
            Some((page, count)) => {
                *first = page;
                count
            }
            None => 0,
        }
    }
}
