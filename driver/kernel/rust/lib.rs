//! The driver's logic for the Linux module: [`cxlmem_driver_core`] behind C functions, declared for C in `driver/kernel/core.h`.
//!
//! Three objects, each in memory that C allocates and each under a lock that C holds around every call: the [`engine`] (bring-up, command ring,
//! copies; task context, may sleep in `cxlmem_k_pause`), the [`pool`] of device pages (any context), and a file's [`policy`] (task context). What Rust needs of the kernel is the five
//! `cxlmem_k_` functions of [`hw`].
//!
//! Functions return 0 or a negative errno; the engine keeps the error itself for `cxlmem_engine_error`.
#![cfg_attr(not(test), no_std)]

pub mod engine;
mod errno;
pub mod hw;
pub mod policy;
pub mod pool;

/// A panic of the driver's logic is a bug of ours: the kernel's BUG(), with a stack.
#[cfg(all(feature = "module", not(test)))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    extern "C" {
        fn cxlmem_k_bug() -> !;
    }
    // SAFETY: takes nothing and does not return.
    unsafe { cxlmem_k_bug() }
}
