//! Registers, configuration space, DMA memory and interrupts of a [`System`].

use super::{System, SystemError};
use cxlmem_protocol::regs;
use pcie_sim::config::{AccessError, ConfigAccess};
use pcie_sim::host::{Counters, IssueError, MmioAccess, RequestError, RequestId};
use pcie_sim::memory::PAGE;
use pcie_sim::root::{setup_msix, MsixMessage};
use pcie_sim::{Bdf, HostMemory, Packet};

/// Cycles until media must be ready, the link up and a decoder committed: the longest is the sweep of the page table, one page a cycle.
const BRING_UP_CYCLES: u64 = 1_000_000;

impl System {
    /// Issues a request of the host, waiting for a free tag, and runs until it is completed or timed out.
    fn request(
        &mut self,
        mut issue: impl FnMut(&mut pcie_sim::RootComplex, u64) -> Result<RequestId, IssueError>,
    ) -> Result<Vec<u8>, RequestError> {
        // The root complex ends every request: by its completion or its own time-out. The bound here only backs that up.
        let bound = 4 * self.pcie.root.options().completion_timeout;
        let mut id = None;
        for _ in 0..bound {
            match id {
                None => match issue(self.pcie.root_mut(), self.dut.cycles()) {
                    Ok(new) => id = Some(new),
                    Err(IssueError::NoFreeTag { .. }) => {}
                    Err(e) => return Err(e.into()),
                },
                Some(id) => {
                    if let Some(result) = self.pcie.root.take(id) {
                        return result;
                    }
                }
            }
            self.cycle();
        }
        Err(RequestError::Timeout { ticks: bound })
    }

    /// Reads the register at byte `offset` of BAR0, a multiple of 4.
    ///
    /// # Errors
    /// [`AccessError`]: Unsupported Request, time-out.
    pub fn mmio_read32(&mut self, offset: u32) -> Result<u32, AccessError> {
        self.read32(self.registers + u64::from(offset))
    }

    /// Writes the register at byte `offset` of BAR0. Posted: it is on its way when this returns.
    ///
    /// # Errors
    /// [`AccessError`] if it could not be issued.
    pub fn mmio_write32(&mut self, offset: u32, value: u32) -> Result<(), AccessError> {
        self.write32(self.registers + u64::from(offset), value)
    }

    /// Reads a DW of configuration space; `offset` is a multiple of 4 below 4096.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn config_read32(&mut self, offset: u16) -> Result<u32, AccessError> {
        self.cfg_read(self.function.bdf, offset)
    }

    /// Writes a DW of configuration space.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn config_write32(&mut self, offset: u16, value: u32) -> Result<(), AccessError> {
        self.cfg_write(self.function.bdf, offset, value, 0xF)
    }

    /// Gives the device a packet as it is: for truncated, foreign and malformed ones.
    pub fn inject_packet(&mut self, packet: Packet) {
        self.pcie.pass_to_function(packet);
    }

    /// Errors and traffic that the root complex saw.
    pub fn io_counters(&self) -> &Counters {
        self.pcie.root.counters()
    }

    /// What went wrong on the CXL.io side since the last call, oldest first.
    pub fn take_io_log(&mut self) -> Vec<pcie_sim::host::LogEntry> {
        self.pcie.root.take_log()
    }

    /// DMA memory.
    pub fn memory(&self) -> &HostMemory {
        &self.pcie.memory
    }

    /// DMA memory, to change or poison.
    pub fn memory_mut(&mut self) -> &mut HostMemory {
        &mut self.pcie.memory
    }

    /// Allocates zeroed, page-aligned, contiguous DMA memory; returns its bus address.
    ///
    /// # Errors
    /// [`SystemError::OutOfDmaMemory`].
    pub fn dma_alloc(&mut self, bytes: usize) -> Result<u64, SystemError> {
        let pages = (bytes.max(1) as u64).div_ceil(PAGE);
        let out = SystemError::OutOfDmaMemory(bytes as u64);
        let Ok(at) = self.pcie.memory.alloc_pages(pages) else {
            return Err(out);
        };
        match self.pcie.memory.slice_mut(at, (pages * PAGE) as usize) {
            Ok(slice) => slice.fill(0),
            Err(_) => return Err(out),
        }
        Ok(at)
    }

    /// Gives an allocation back.
    ///
    /// # Errors
    /// [`SystemError::DmaAddress`] if it is none.
    pub fn dma_free(&mut self, bus: u64, bytes: usize) -> Result<(), SystemError> {
        let pages = (bytes.max(1) as u64).div_ceil(PAGE);
        let freed = self.pcie.memory.free_pages(bus, pages);
        freed.map_err(|_| SystemError::DmaAddress {
            address: bus,
            bytes: bytes as u64,
        })
    }

    /// Reads DMA memory as the CPU does.
    ///
    /// # Errors
    /// [`SystemError::DmaAddress`].
    pub fn dma_read(&self, bus: u64, out: &mut [u8]) -> Result<(), SystemError> {
        let bad = SystemError::DmaAddress {
            address: bus,
            bytes: out.len() as u64,
        };
        out.copy_from_slice(self.pcie.memory.slice(bus, out.len()).map_err(|_| bad)?);
        Ok(())
    }

    /// Writes DMA memory as the CPU does.
    ///
    /// # Errors
    /// [`SystemError::DmaAddress`].
    pub fn dma_write(&mut self, bus: u64, data: &[u8]) -> Result<(), SystemError> {
        let bad = SystemError::DmaAddress {
            address: bus,
            bytes: data.len() as u64,
        };
        self.pcie
            .memory
            .slice_mut(bus, data.len())
            .map_err(|_| bad)?
            .copy_from_slice(data);
        Ok(())
    }

    /// Address and data that make vector `vector` arrive as interrupt `vector` of [`System::wait_irq`].
    pub fn irq_message(&self, vector: u16) -> (u64, u32) {
        let message = MsixMessage::vector(u32::from(vector));
        (message.address, message.data)
    }

    /// Writes the MSI-X table so that vector *n* is interrupt *n*, and turns MSI-X on.
    ///
    /// # Errors
    /// [`SystemError::Msix`].
    pub fn enable_msix(&mut self) -> Result<(), SystemError> {
        let function = self.function.clone();
        let messages: Vec<_> = (0..regs::MSIX_VECTORS).map(MsixMessage::vector).collect();
        Ok(setup_msix(self, &function, &messages)?)
    }

    /// Interrupts of `vector` that arrived since the last call; 0 for a vector that does not exist.
    pub fn take_irqs(&mut self, vector: u16) -> u64 {
        while let Some(irq) = self.pcie.root.take_interrupt() {
            if let Some(n) = self.irqs.get_mut(irq.vector as usize) {
                *n += 1;
            }
        }
        self.irqs
            .get_mut(usize::from(vector))
            .map_or(0, std::mem::take)
    }

    /// Runs until `vector` was raised since the last call, at most `budget` cycles. True if it was.
    pub fn wait_irq(&mut self, vector: u16, budget: u64) -> bool {
        for _ in 0..budget {
            if self.take_irqs(vector) > 0 {
                return true;
            }
            self.cycle();
        }
        self.take_irqs(vector) > 0
    }

    /// What firmware or a driver does first, for tests and benches that have none: media ready, link up, HDM decoder 0 over the memory window.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn bring_up(&mut self) -> Result<(), SystemError> {
        self.wait_register(regs::MediaStatus::OFFSET, "media ready", |v| {
            regs::MediaStatus::READY.is_set(v)
        })?;
        let (base, size) = self.hdm_window();
        self.program_decoder(0, base, size)?;
        self.mmio_write32(
            regs::HdmGlobalCtrl::OFFSET,
            regs::HdmGlobalCtrl::ENABLE.mask(),
        )?;
        if self.options.back_invalidate || self.options.device_coherent {
            return self.offer_back_invalidate(true);
        }
        self.restart_link()
    }

    /// Offers BI-68 (or no longer) at both ends and brings the link down and up again. Without error, it is in force if it was offered
    /// ([`HostLink::has_bi`](crate::link::HostLink::has_bi)).
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn offer_back_invalidate(&mut self, offer: bool) -> Result<(), SystemError> {
        let control = self.mmio_read32(regs::LinkCtrl::OFFSET)?;
        self.mmio_write32(
            regs::LinkCtrl::OFFSET,
            regs::LinkCtrl::OFFER_BI.with(control, u32::from(offer)),
        )?;
        self.link.offer_bi(offer);
        self.reset_link()?;
        if offer && !self.link.has_bi() {
            return Err(SystemError::Timeout {
                what: "BI-68 in force (LinkCtrl.OFFER_BI)",
                after: 0,
            });
        }
        Ok(())
    }

    /// Writes decoder `n` (0 or 1) and waits for its commit. Base and size are multiples of 256 MiB.
    ///
    /// # Errors
    /// [`SystemError`]; a refused commit is a time-out.
    pub fn program_decoder(&mut self, n: u32, base: u64, size: u64) -> Result<(), SystemError> {
        let at = |register: u32| register + n * regs::HDM_STRIDE;
        self.mmio_write32(at(regs::Hdm0BaseLo::OFFSET), base as u32)?;
        self.mmio_write32(at(regs::Hdm0BaseHi::OFFSET), (base >> 32) as u32)?;
        self.mmio_write32(at(regs::Hdm0SizeLo::OFFSET), size as u32)?;
        self.mmio_write32(at(regs::Hdm0SizeHi::OFFSET), (size >> 32) as u32)?;
        let kind = if self.options.device_coherent {
            regs::Hdm0Ctrl::BI.mask()
        } else {
            regs::Hdm0Ctrl::TARGET_TYPE.mask()
        };
        let control = kind | regs::Hdm0Ctrl::COMMIT.mask();
        self.mmio_write32(at(regs::Hdm0Ctrl::OFFSET), control)?;
        self.wait_register(at(regs::Hdm0Ctrl::OFFSET), "HDM decoder commit", |v| {
            regs::Hdm0Ctrl::COMMITTED.is_set(v)
        })?;
        Ok(())
    }

    /// Brings the link down and up again unless it works and nothing is under way: the way out when it was given up, or when an operation
    /// timed out.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn restart_link(&mut self) -> Result<(), SystemError> {
        let status = self.mmio_read32(regs::LinkStatus::OFFSET)?;
        if regs::LinkStatus::UP.is_set(status) && self.link.is_up() && self.host_is_idle() {
            return Ok(());
        }
        self.reset_link()
    }

    /// Brings the link down and up again: both ends initialise anew.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn reset_link(&mut self) -> Result<(), SystemError> {
        let control = self.mmio_read32(regs::LinkCtrl::OFFSET)?;
        for enable in [0, 1] {
            self.mmio_write32(
                regs::LinkCtrl::OFFSET,
                regs::LinkCtrl::ENABLE.with(control, enable),
            )?;
            self.mmio_read32(regs::LinkCtrl::OFFSET)?;
        }
        self.wait_register(regs::LinkStatus::OFFSET, "link up", |v| {
            regs::LinkStatus::UP.is_set(v)
        })?;
        self.run_until(BRING_UP_CYCLES, "the host's end of the link up", |s| {
            let credits = s.link.credits();
            s.link.is_up()
                && credits.req > 0
                && credits.data > 0
                && (credits.rsp > 0 || !s.link.has_bi())
        })?;
        Ok(())
    }

    fn wait_register(
        &mut self,
        offset: u32,
        what: &'static str,
        done: impl Fn(u32) -> bool,
    ) -> Result<u32, SystemError> {
        let end = self.now() + BRING_UP_CYCLES;
        loop {
            let value = self.mmio_read32(offset)?;
            if done(value) {
                return Ok(value);
            }
            if self.now() > end {
                return Err(SystemError::Timeout {
                    what,
                    after: BRING_UP_CYCLES,
                });
            }
        }
    }
}

fn dword(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .rev()
        .fold(0, |value, &byte| value << 8 | u32::from(byte))
}

impl ConfigAccess for System {
    fn cfg_read(&mut self, bdf: Bdf, offset: u16) -> Result<u32, AccessError> {
        match self.request(|root, now| root.cfg_read(now, bdf, offset & !3)) {
            Ok(bytes) => Ok(dword(&bytes)),
            // Nothing there: a PC's host bridge returns ones.
            Err(RequestError::UnsupportedRequest) => Ok(u32::MAX),
            Err(error) => Err(AccessError::Request {
                at: offset.into(),
                error,
            }),
        }
    }

    fn cfg_write(&mut self, bdf: Bdf, offset: u16, value: u32, be: u8) -> Result<(), AccessError> {
        match self.request(|root, now| root.cfg_write(now, bdf, offset & !3, value, be)) {
            Ok(_) if self.pcie.function.config_mut().take_reset_request() => {
                // What enumeration says when it fails has no place in this error; the device does not answer.
                self.reset().map_err(|_| AccessError::Request {
                    at: offset.into(),
                    error: RequestError::Retry,
                })
            }
            Ok(_) | Err(RequestError::UnsupportedRequest) => Ok(()),
            Err(error) => Err(AccessError::Request {
                at: offset.into(),
                error,
            }),
        }
    }
}

impl MmioAccess for System {
    fn read32(&mut self, addr: u64) -> Result<u32, AccessError> {
        match self.request(|root, now| root.mem_read(now, addr, 4)) {
            Ok(bytes) => Ok(dword(&bytes)),
            Err(error) => Err(AccessError::Request { at: addr, error }),
        }
    }

    fn write32(&mut self, addr: u64, value: u32) -> Result<(), AccessError> {
        let issued = self.pcie.root_mut().mem_write(addr, &value.to_le_bytes());
        issued.map_err(|error| AccessError::Request {
            at: addr,
            error: error.into(),
        })?;
        // Let it leave, so that a run of writes does not pile up in the host. Against a device that takes nothing this gives up: the write is posted.
        for _ in 0..self.pcie.root.options().queue {
            if self.pcie.root.queued() == 0 {
                break;
            }
            self.cycle();
        }
        Ok(())
    }
}
