//! Memory of a device handle: host memory that the device reaches, and device memory.

use super::state::OWNER_BUFFER;
use super::{Device, HostPage, Operand};
use crate::error::{Error, Result};
use crate::transport::{Intent, LINE, PAGE};
use cxlmem_driver_core::{Extent, PAGE_BYTES};
use std::sync::Arc;

/// Checks a range of a buffer.
pub(crate) fn check_range(start: u64, bytes: usize, length: u64) -> Result<()> {
    match start.checked_add(bytes as u64) {
        Some(end) if end <= length => Ok(()),
        end => Err(Error::Range {
            start,
            end: end.unwrap_or(u64::MAX),
            length,
        }),
    }
}

/// Host memory that the device can reach, in whole pages, zeroed. Its pages can be migrated to the device and back; while a page is on
/// the device, reading or writing it here is [`Error::OnDevice`]. Dropping the buffer frees it, and what is on the device of it.
#[derive(Debug)]
pub struct HostBuffer {
    device: Arc<Device>,
    bus: u64,
    pages: usize,
}

impl HostBuffer {
    pub(super) fn new(device: &Arc<Device>, bytes: usize) -> Result<HostBuffer> {
        if bytes == 0 {
            return Err(Error::Size {
                what: "host buffer",
                wanted: 0,
                limit: u64::MAX,
            });
        }
        let pages = bytes.div_ceil(PAGE);
        let mut state = device.lock();
        let bus = state.dma_alloc(pages * PAGE)?;
        state
            .host_pages
            .extend((0..pages).map(|n| bus + (n * PAGE) as u64));
        Ok(HostBuffer {
            device: device.clone(),
            bus,
            pages,
        })
    }

    /// Bus address of its first byte.
    pub fn bus(&self) -> u64 {
        self.bus
    }

    /// Its length in bytes, whole pages.
    pub fn bytes(&self) -> u64 {
        self.pages as u64 * PAGE_BYTES
    }

    /// Its pages, in order.
    pub fn pages(&self) -> Vec<HostPage> {
        (0..self.pages)
            .map(|n| HostPage {
                bus: self.bus + (n * PAGE) as u64,
            })
            .collect()
    }

    /// The whole buffer as operand of an engine command.
    pub fn operand(&self) -> Operand {
        Operand::Host {
            bus: self.bus,
            bytes: self.bytes(),
        }
    }

    /// Reads bytes as the CPU does.
    ///
    /// # Errors
    /// [`Error::Range`], [`Error::OnDevice`], [`Error::Transport`].
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(offset, out.len(), self.bytes())?;
        // Local memory between: `out` may be region memory, which must not be touched under the lock.
        let mut block = [0u8; PAGE];
        for (n, part) in out.chunks_mut(PAGE).enumerate() {
            let at = self.bus + offset + (n * PAGE) as u64;
            let block = &mut block[..part.len()];
            self.access(at, block.len(), |state| state.dma_read(at, block))?;
            part.copy_from_slice(block);
        }
        Ok(())
    }

    /// Writes bytes as the CPU does.
    ///
    /// # Errors
    /// As [`HostBuffer::read`].
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        check_range(offset, data.len(), self.bytes())?;
        let mut block = [0u8; PAGE];
        for (n, part) in data.chunks(PAGE).enumerate() {
            let at = self.bus + offset + (n * PAGE) as u64;
            let block = &mut block[..part.len()];
            block.copy_from_slice(part);
            self.access(at, block.len(), |state| state.dma_write(at, block))?;
        }
        Ok(())
    }

    fn access(
        &self,
        at: u64,
        bytes: usize,
        act: impl FnOnce(&mut super::State) -> Result<()>,
    ) -> Result<()> {
        let mut state = self.device.lock();
        state.open_check()?;
        for bus in [at, at + bytes as u64 - 1].map(|byte| byte - byte % PAGE_BYTES) {
            if let Some(&dpa) = state.resident.get(&bus) {
                return Err(Error::OnDevice { bus, dpa });
            }
        }
        act(&mut state)
    }
}

impl Drop for HostBuffer {
    fn drop(&mut self) {
        let mut state = self.device.lock();
        let mut lost = false;
        for page in self.pages() {
            state.host_pages.remove(&page.bus);
            lost |= state.lost_host.contains(&page.bus);
            if let Some(dpa) = state.resident.remove(&page.bus) {
                // A page that cannot be freed is quarantined: nothing more to do here.
                let _ = state.free_page(super::state::OWNER_RESIDENT, dpa);
            }
        }
        // Memory that DMA may still touch is never given back.
        if !lost {
            state.port.transport.dma_free(self.bus, self.pages * PAGE);
        }
    }
}

/// Device memory, contiguous in device addresses, in whole pages; what it holds at first is undefined. Loads and stores go through the
/// coherent protocol, engine commands ([`DeviceBuffer::operand`]) act on it in place. Dropping it frees it.
#[derive(Debug)]
pub struct DeviceBuffer {
    device: Arc<Device>,
    extent: Extent,
}

impl DeviceBuffer {
    pub(super) fn new(device: &Arc<Device>, bytes: u64) -> Result<DeviceBuffer> {
        let mut state = device.lock();
        state.open_check()?;
        let limit = state.pool.free_pages() * PAGE_BYTES;
        let pages = u32::try_from(bytes.div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX);
        if bytes == 0 || bytes > limit {
            return Err(Error::Size {
                what: "device buffer",
                wanted: bytes,
                limit,
            });
        }
        let extent = state.pool.alloc(OWNER_BUFFER, pages)?;
        if extent.pages < pages {
            state.pool.free(OWNER_BUFFER, extent)?;
            let limit = u64::from(extent.pages) * PAGE_BYTES;
            return Err(Error::Size {
                what: "device buffer (the longest free run)",
                wanted: bytes,
                limit,
            });
        }
        Ok(DeviceBuffer {
            device: device.clone(),
            extent,
        })
    }

    /// Device physical address of its first byte.
    pub fn dpa(&self) -> u64 {
        self.extent.dpa
    }

    /// Its length in bytes, whole pages.
    pub fn bytes(&self) -> u64 {
        u64::from(self.extent.pages) * PAGE_BYTES
    }

    /// The whole buffer as operand of an engine command.
    pub fn operand(&self) -> Operand {
        Operand::Device {
            dpa: self.extent.dpa,
            bytes: self.bytes(),
        }
    }

    /// Loads bytes through the coherent protocol.
    ///
    /// # Errors
    /// [`Error::Range`], [`Error::Poison`], [`Error::Transport`], [`Error::Device`].
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        check_range(offset, out.len(), self.bytes())?;
        self.each_page(offset, out.len(), |page, within, range| {
            let data = self.device.lock().load_page(page, Intent::Shared)?;
            let length = range.len();
            out[range].copy_from_slice(&data.as_flattened()[within..within + length]);
            Ok(())
        })
    }

    /// Stores bytes through the coherent protocol.
    ///
    /// # Errors
    /// As [`DeviceBuffer::read`].
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        check_range(offset, data.len(), self.bytes())?;
        self.each_page(offset, data.len(), |page, within, range| {
            let length = range.len();
            let lines = within / LINE..(within + length).div_ceil(LINE);
            let whole = within % LINE == 0 && length % LINE == 0;
            let mut content = if whole {
                Box::default_page()
            } else {
                self.device.lock().load_page(page, Intent::Exclusive)?
            };
            content.as_flattened_mut()[within..within + length].copy_from_slice(&data[range]);
            let mut state = self.device.lock();
            lines
                .into_iter()
                .try_for_each(|n| state.store_line(page + (n * LINE) as u64, &content[n]))
        })
    }

    fn each_page(
        &self,
        offset: u64,
        bytes: usize,
        mut act: impl FnMut(u64, usize, std::ops::Range<usize>) -> Result<()>,
    ) -> Result<()> {
        let mut done = 0;
        while done < bytes {
            let at = offset + done as u64;
            let within = (at % PAGE_BYTES) as usize;
            let size = (PAGE - within).min(bytes - done);
            act(
                self.extent.dpa + at - within as u64,
                within,
                done..done + size,
            )?;
            done += size;
        }
        Ok(())
    }
}

/// A zeroed page on the heap.
trait DefaultPage {
    fn default_page() -> Self;
}

impl DefaultPage for Box<super::state::PageData> {
    fn default_page() -> Self {
        Box::new([[0; LINE]; PAGE / LINE])
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        let mut state = self.device.lock();
        for dpa in self.extent.iter() {
            // A page that cannot be freed is quarantined.
            let _ = state.free_page(OWNER_BUFFER, dpa);
        }
    }
}
