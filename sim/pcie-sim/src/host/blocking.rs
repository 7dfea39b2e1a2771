//! A driver's view: an access returns when it is done.

use super::{IssueError, RequestError, RequestId, RootComplex};
use crate::config::{AccessError, ConfigAccess};
use crate::memory::HostMem;
use crate::tlp::{Bdf, Packet};

/// Registers of a device as a driver reaches them. Addresses are physical and aligned to the access.
pub trait MmioAccess {
    /// Reads four bytes.
    ///
    /// # Errors
    /// [`AccessError`] with what the root complex reports.
    fn read32(&mut self, addr: u64) -> Result<u32, AccessError>;

    /// Writes four bytes. The write is posted: the device has it, or it is on its way, before any later access.
    ///
    /// # Errors
    /// [`AccessError`] if it could not be issued.
    fn write32(&mut self, addr: u64, value: u32) -> Result<(), AccessError>;
}

/// Runs the root complex and a device, tick by tick, until an access is done.
///
/// `device` is one tick of everything behind the link: it gets the tick and the packet for the device, if any, and returns the
/// device's packet, if any. Every access ends: by its completion or by the root complex's completion timeout.
pub struct Blocking<'a, M, D> {
    root: &'a mut RootComplex,
    mem: &'a mut M,
    now: &'a mut u64,
    device: D,
}

impl<'a, M: HostMem, D: FnMut(u64, Option<Packet>) -> Option<Packet>> Blocking<'a, M, D> {
    /// Borrows the parts; `now` is advanced as time passes.
    pub fn new(root: &'a mut RootComplex, mem: &'a mut M, now: &'a mut u64, device: D) -> Self {
        Blocking {
            root,
            mem,
            now,
            device,
        }
    }

    /// The root complex.
    pub fn root(&mut self) -> &mut RootComplex {
        self.root
    }

    /// Host memory.
    pub fn memory(&mut self) -> &mut M {
        self.mem
    }

    /// One tick of everything.
    pub fn step(&mut self) {
        *self.now += 1;
        let to_device = self.root.transmit(*self.now);
        if let Some(packet) = (self.device)(*self.now, to_device) {
            self.root.receive(*self.now, self.mem, packet);
        }
        self.root.expire(*self.now);
    }

    /// Ticks until the request is done.
    ///
    /// # Errors
    /// [`RequestError`] as the request ended; `Timeout` also for a result that was taken before.
    pub fn wait(&mut self, id: RequestId) -> Result<Vec<u8>, RequestError> {
        let ticks = self.root.options().completion_timeout;
        let end = self.now.saturating_add(ticks);
        loop {
            if let Some(result) = self.root.take(id) {
                return result;
            }
            if *self.now > end {
                return Err(RequestError::Timeout { ticks });
            }
            self.step();
        }
    }

    /// Reads `bytes` bytes in one request.
    ///
    /// # Errors
    /// [`RequestError`].
    pub fn read(&mut self, addr: u64, bytes: usize) -> Result<Vec<u8>, RequestError> {
        let id = self.issue(|root, now| root.mem_read(now, addr, bytes))?;
        self.wait(id)
    }

    /// Issues, waiting for a free tag: another request's completion or timeout frees one.
    fn issue(
        &mut self,
        mut request: impl FnMut(&mut RootComplex, u64) -> Result<RequestId, IssueError>,
    ) -> Result<RequestId, RequestError> {
        loop {
            match request(self.root, *self.now) {
                Err(IssueError::NoFreeTag { .. }) => self.step(),
                other => return Ok(other?),
            }
        }
    }

    /// A configuration request, repeated while the function says Retry, for at most one completion timeout.
    fn configure(
        &mut self,
        mut request: impl FnMut(&mut RootComplex, u64) -> Result<RequestId, IssueError>,
    ) -> Result<Vec<u8>, RequestError> {
        let end = self
            .now
            .saturating_add(self.root.options().completion_timeout);
        loop {
            let id = self.issue(&mut request)?;
            match self.wait(id) {
                Err(RequestError::Retry) if *self.now < end => {}
                result => return result,
            }
        }
    }
}

impl<M: HostMem, D: FnMut(u64, Option<Packet>) -> Option<Packet>> ConfigAccess
    for Blocking<'_, M, D>
{
    fn cfg_read(&mut self, bdf: Bdf, offset: u16) -> Result<u32, AccessError> {
        match self.configure(|root, now| root.cfg_read(now, bdf, offset & !3)) {
            Ok(bytes) => Ok(little_endian(&bytes)),
            // Nothing there: a PC's host bridge returns ones.
            Err(RequestError::UnsupportedRequest) => Ok(u32::MAX),
            Err(error) => Err(AccessError::Request {
                at: offset.into(),
                error,
            }),
        }
    }

    fn cfg_write(&mut self, bdf: Bdf, offset: u16, value: u32, be: u8) -> Result<(), AccessError> {
        match self.configure(|root, now| root.cfg_write(now, bdf, offset & !3, value, be)) {
            Ok(_) | Err(RequestError::UnsupportedRequest) => Ok(()),
            Err(error) => Err(AccessError::Request {
                at: offset.into(),
                error,
            }),
        }
    }
}

impl<M: HostMem, D: FnMut(u64, Option<Packet>) -> Option<Packet>> MmioAccess
    for Blocking<'_, M, D>
{
    fn read32(&mut self, addr: u64) -> Result<u32, AccessError> {
        match self.read(addr, 4) {
            Ok(bytes) => Ok(little_endian(&bytes)),
            Err(error) => Err(AccessError::Request { at: addr, error }),
        }
    }

    fn write32(&mut self, addr: u64, value: u32) -> Result<(), AccessError> {
        let issued = self.root.mem_write(addr, &value.to_le_bytes());
        issued.map_err(|error| AccessError::Request {
            at: addr,
            error: error.into(),
        })?;
        for _ in 0..self.root.ahead() {
            self.step();
        }
        Ok(())
    }
}

fn little_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}
