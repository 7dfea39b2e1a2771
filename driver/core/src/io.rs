//! What the logic needs from its surroundings: registers, memory that the device can reach, and time.

use crate::error::Error;
use cxlmem_protocol::regs::Field;

/// Why an access to the device or to DMA memory did not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// The device answers no more (removed, link down, transport closed).
    Gone,
    /// The access was sent and no answer came within the transport's own bound.
    Timeout,
    /// The address is outside what the surroundings gave out.
    Address,
    /// Any other failure, by the surroundings' own code.
    Other(i32),
}

/// Registers of BAR0. Offsets are bytes from its start and multiples of four.
pub trait Mmio {
    /// Reads one register.
    ///
    /// # Errors
    /// Any [`IoError`]; the read had no effect that the caller may rely on.
    fn read32(&mut self, offset: u32) -> Result<u32, IoError>;
    /// Writes one register. All earlier [`DmaMem::dma_write`]s must be visible to the device before this write is.
    ///
    /// # Errors
    /// Any [`IoError`]; the write may or may not have reached the device.
    fn write32(&mut self, offset: u32, value: u32) -> Result<(), IoError>;
}

/// Host memory that the device reads and writes, named by its bus address.
pub trait DmaMem {
    /// Copies memory into `out`. Reads happen in program order (the phase bit of a completion record is read before its body).
    ///
    /// # Errors
    /// [`IoError::Address`] when the range is not DMA memory; other [`IoError`]s from the surroundings.
    fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Result<(), IoError>;
    /// Copies `data` into memory.
    ///
    /// # Errors
    /// As [`DmaMem::dma_read`].
    fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<(), IoError>;
}

/// Time in ticks of the surroundings' choice: device cycles in user space, nanoseconds in a kernel.
pub trait Clock {
    /// The present time. Never goes back.
    fn now(&mut self) -> u64;
    /// Lets up to `ticks` pass; returns earlier when the device raised its completion interrupt. A lost interrupt thus costs one
    /// pause, never a hang.
    fn pause(&mut self, ticks: u64);
}

/// Everything together.
pub trait Hw: Mmio + DmaMem + Clock {}
impl<T: Mmio + DmaMem + Clock + ?Sized> Hw for T {}

/// A bounded wait: ends at a deadline of the clock *and* after a number of pauses, so that a clock that stands still (a device
/// that stopped, a simulator that cannot step) ends it too.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    deadline: u64,
    slice: u64,
    ticks: u64,
    pauses: u64,
}

impl Wait {
    /// A wait of `ticks` from now, polling at least every `slice` ticks. Interrupts may wake it early: it takes four times the
    /// regular number of pauses, and 64 more, before it gives up on a clock that stands still.
    pub fn new(hw: &mut (impl Clock + ?Sized), ticks: u64, slice: u64) -> Wait {
        let slice = slice.max(1);
        let pauses = (ticks / slice).saturating_mul(4).saturating_add(64);
        Wait {
            deadline: hw.now().saturating_add(ticks),
            slice,
            ticks,
            pauses,
        }
    }

    /// Lets one slice pass. `false` when the wait is over; poll once more after that, the time may have passed elsewhere.
    pub fn pause(&mut self, hw: &mut (impl Clock + ?Sized)) -> bool {
        let left = self.deadline.saturating_sub(hw.now());
        if left == 0 || self.pauses == 0 {
            return false;
        }
        self.pauses -= 1;
        hw.pause(left.min(self.slice));
        true
    }

    /// The ticks this wait was given.
    pub fn ticks(&self) -> u64 {
        self.ticks
    }
}

/// Waits until `done` accepts the register's value and returns that value.
///
/// # Errors
/// [`Error::Timeout`] with the last value seen, [`Error::Gone`] for a value of all ones, [`Error::Io`].
pub fn wait_register(
    hw: &mut (impl Hw + ?Sized),
    offset: u32,
    ticks: u64,
    slice: u64,
    done: impl Fn(u32) -> bool,
) -> Result<u32, Error> {
    let mut wait = Wait::new(hw, ticks, slice);
    let mut more = true;
    loop {
        let value = read(hw, offset)?;
        if done(value) {
            return Ok(value);
        }
        if !more {
            return Err(Error::Timeout {
                register: offset,
                last: value,
                ticks,
            });
        }
        more = wait.pause(hw);
    }
}

/// Reads a register of which all ones cannot be a value: it means that nothing answered.
///
/// # Errors
/// [`Error::Gone`], [`Error::Io`].
pub fn read(hw: &mut (impl Mmio + ?Sized), offset: u32) -> Result<u32, Error> {
    match hw.read32(offset) {
        Ok(u32::MAX) => Err(Error::Gone { register: offset }),
        Ok(value) => Ok(value),
        Err(source) => Err(Error::Io {
            at: u64::from(offset),
            source,
        }),
    }
}

/// Writes a register.
///
/// # Errors
/// [`Error::Io`].
pub fn write(hw: &mut (impl Mmio + ?Sized), offset: u32, value: u32) -> Result<(), Error> {
    hw.write32(offset, value).map_err(|source| Error::Io {
        at: u64::from(offset),
        source,
    })
}

/// Writes a 64-bit value to a low register and the high one after it.
///
/// # Errors
/// [`Error::Io`].
pub fn write64(
    hw: &mut (impl Mmio + ?Sized),
    low: u32,
    high: u32,
    value: u64,
) -> Result<(), Error> {
    write(hw, low, value as u32)?;
    write(hw, high, (value >> 32) as u32)
}

/// Reads a 64-bit value from a low and a high register.
///
/// # Errors
/// [`Error::Io`], [`Error::Gone`] when both halves read all ones.
pub fn read64(hw: &mut (impl Mmio + ?Sized), low: u32, high: u32) -> Result<u64, Error> {
    let half = |hw: &mut _, offset| {
        Mmio::read32(hw, offset).map_err(|source| Error::Io {
            at: u64::from(offset),
            source,
        })
    };
    let lo = half(hw, low)?;
    let hi = half(hw, high)?;
    match (hi, lo) {
        (u32::MAX, u32::MAX) => Err(Error::Gone { register: low }),
        _ => Ok((u64::from(hi) << 32) | u64::from(lo)),
    }
}

/// A register value with one field set, all others zero.
pub fn field(field: Field, value: u32) -> u32 {
    field.with(0, value)
}
