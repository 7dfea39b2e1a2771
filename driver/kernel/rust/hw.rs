//! What the kernel provides: registers, DMA memory, time.

use core::ffi::{c_int, c_void};
use cxlmem_driver_core::{Clock, DmaMem, IoError, Mmio};

extern "C" {
    /// Reads a register of BAR0 in its byte order. Returns 0, or a negative errno.
    fn cxlmem_k_read32(device: *mut c_void, offset: u32, value: *mut u32) -> c_int;
    /// Writes one, after all earlier writes to DMA memory.
    fn cxlmem_k_write32(device: *mut c_void, offset: u32, value: u32) -> c_int;
    /// The address of `bytes` of DMA memory at a bus address, or null.
    fn cxlmem_k_dma(device: *mut c_void, bus: u64, bytes: usize) -> *mut u8;
    /// Nanoseconds that never go back.
    fn cxlmem_k_now(device: *mut c_void) -> u64;
    /// Sleeps, uninterruptibly, for up to `ns` or until the next completion interrupt.
    fn cxlmem_k_pause(device: *mut c_void, ns: u64);
}

/// The kernel's device, as the driver's logic sees it. Not `Send`: whoever holds C's lock uses it.
#[derive(Debug)]
pub struct Kernel {
    device: *mut c_void,
}

impl Kernel {
    /// `device` is handed back to the functions as it is.
    pub fn new(device: *mut c_void) -> Kernel {
        Kernel { device }
    }
}

fn check(code: c_int) -> Result<(), IoError> {
    match code {
        0 => Ok(()),
        c if c == -crate::errno::ENODEV => Err(IoError::Gone),
        c => Err(IoError::Other(c)),
    }
}

impl Mmio for Kernel {
    fn read32(&mut self, offset: u32) -> Result<u32, IoError> {
        let mut value = 0;
        // SAFETY: C checks the offset; `value` lives through the call.
        check(unsafe { cxlmem_k_read32(self.device, offset, &mut value) })?;
        Ok(value)
    }

    fn write32(&mut self, offset: u32, value: u32) -> Result<(), IoError> {
        // SAFETY: C checks the offset.
        check(unsafe { cxlmem_k_write32(self.device, offset, value) })
    }
}

impl DmaMem for Kernel {
    fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Result<(), IoError> {
        // SAFETY: C checks the range.
        let at = unsafe { cxlmem_k_dma(self.device, bus, out.len()) };
        if at.is_null() {
            return Err(IoError::Address);
        }
        for (n, byte) in out.iter_mut().enumerate() {
            // SAFETY: C has said that `out.len()` bytes are there; volatile, because the device writes them at any time, and in order, because
            // a record's last byte is its phase.
            *byte = unsafe { at.add(n).read_volatile() };
        }
        Ok(())
    }

    fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<(), IoError> {
        // SAFETY: C checks the range.
        let at = unsafe { cxlmem_k_dma(self.device, bus, data.len()) };
        if at.is_null() {
            return Err(IoError::Address);
        }
        for (n, byte) in data.iter().enumerate() {
            // SAFETY: as in `dma_read`; the doorbell that follows orders them before the device looks.
            unsafe { at.add(n).write_volatile(*byte) };
        }
        Ok(())
    }
}

impl Clock for Kernel {
    fn now(&mut self) -> u64 {
        // SAFETY: no condition.
        unsafe { cxlmem_k_now(self.device) }
    }

    fn pause(&mut self, ticks: u64) {
        // SAFETY: the engine's functions are called where sleeping is allowed.
        unsafe { cxlmem_k_pause(self.device, ticks) }
    }
}
