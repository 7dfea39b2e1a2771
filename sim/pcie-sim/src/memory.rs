//! Host memory as DMA sees it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// Bytes in the unit that carries poison.
const LINE: u64 = 64;

/// Why host memory did not serve an access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    /// Some of the bytes are not memory. A read completes with Unsupported Request.
    #[error("{bytes} bytes at {addr:#x} are not all host memory")]
    OutOfRange {
        /// First byte.
        addr: u64,
        /// Length in bytes.
        bytes: u64,
    },
    /// The memory refuses. A read completes with Completer Abort.
    #[error("access at {addr:#x} refused")]
    Refused {
        /// First byte.
        addr: u64,
    },
    /// The bytes were returned but are known to be bad. A read completes with poisoned data.
    #[error("poisoned data at {addr:#x}")]
    Poisoned {
        /// First poisoned byte.
        addr: u64,
    },
}

/// What the root complex needs of host memory. Reads take `&mut self` so that a coherent implementation may snoop.
pub trait HostMem {
    /// Fills `buf` from `addr`.
    ///
    /// # Errors
    /// [`MemoryError`]; with `Poisoned` the buffer is filled all the same.
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError>;

    /// Stores `data` at `addr`. All of it or nothing.
    ///
    /// # Errors
    /// [`MemoryError`].
    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), MemoryError>;
}

/// Why pages could not be allocated or freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PageError {
    /// No run of free pages is that long.
    #[error("no {pages} contiguous pages are free ({free} free in all)")]
    Exhausted {
        /// Pages asked for.
        pages: u64,
        /// Pages free.
        free: u64,
    },
    /// The pages to free are not all allocated ones.
    #[error("{pages} pages at {addr:#x} are not all allocated")]
    NotAllocated {
        /// Address given.
        addr: u64,
        /// Pages given.
        pages: u64,
    },
}

/// A range cannot be added to host memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes:#x} bytes at {addr:#x} are empty, beyond 2^64 or overlap memory that is there")]
pub struct RegionError {
    /// First byte.
    pub addr: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Memory that others hold too: another process' pages, say. Offsets are in bytes; callers keep inside [`SharedRegion::size`].
pub trait SharedRegion: Debug + Send + Sync {
    /// Bytes.
    fn size(&self) -> u64;

    /// Whether the device may write it.
    fn is_writable(&self) -> bool;

    /// Copies out of it.
    fn read(&self, offset: u64, buf: &mut [u8]);

    /// Copies into it.
    fn write(&self, offset: u64, data: &[u8]);
}

/// A flat piece of host memory at a physical address, with a page allocator, and regions that others share. The operating system's zero pages back what
/// is untouched.
#[derive(Debug, Clone)]
pub struct HostMemory {
    /// By address, without overlap.
    regions: Vec<(u64, Arc<dyn SharedRegion>)>,
    base: u64,
    bytes: Vec<u8>,
    used: Vec<bool>,
    next: usize,
    free: u64,
    poisoned: BTreeSet<u64>,
}

impl HostMemory {
    /// Zeroed memory of `size` bytes at `base`; both are rounded to whole pages (`base` down, `size` up).
    pub fn new(base: u64, size: usize) -> Self {
        let pages = size.div_ceil(PAGE as usize);
        HostMemory {
            regions: Vec::new(),
            base: base & !(PAGE - 1),
            bytes: vec![0; pages * PAGE as usize],
            used: vec![false; pages],
            next: 0,
            free: pages as u64,
            poisoned: BTreeSet::new(),
        }
    }

    /// Physical address of the first byte.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Size in bytes.
    pub fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Pages not allocated.
    pub fn free_page_count(&self) -> u64 {
        self.free
    }

    /// Adds memory that others share at physical address `addr`. It is not for [`HostMemory::alloc_pages`], and has no poison.
    ///
    /// # Errors
    /// [`RegionError`].
    pub fn add_region(
        &mut self,
        addr: u64,
        region: Arc<dyn SharedRegion>,
    ) -> Result<(), RegionError> {
        let bytes = region.size();
        let error = RegionError { addr, bytes };
        let end = addr.checked_add(bytes).filter(|_| bytes > 0).ok_or(error)?;
        let own = self.base..self.base + self.size();
        let clash = |from: u64, to: u64| from < end && addr < to;
        let taken = self.regions.iter().any(|(a, r)| clash(*a, a + r.size()));
        if taken || !own.is_empty() && clash(own.start, own.end) {
            return Err(error);
        }
        let at = self.regions.partition_point(|(a, _)| *a < addr);
        self.regions.insert(at, (addr, region));
        Ok(())
    }

    /// Removes the regions that lie wholly inside `bytes` bytes at `addr`; returns how many.
    ///
    /// # Errors
    /// [`RegionError`] if a region lies inside in part; then none is removed.
    pub fn remove_regions(&mut self, addr: u64, bytes: u64) -> Result<usize, RegionError> {
        let end = addr.saturating_add(bytes);
        let inside = |a: u64, size: u64| a >= addr && a + size <= end;
        let touched = |a: u64, size: u64| a < end && addr < a + size;
        let partly =
            |(a, r): &(u64, Arc<dyn SharedRegion>)| touched(*a, r.size()) && !inside(*a, r.size());
        if self.regions.iter().any(partly) {
            return Err(RegionError { addr, bytes });
        }
        let before = self.regions.len();
        self.regions.retain(|(a, r)| !inside(*a, r.size()));
        Ok(before - self.regions.len())
    }

    /// The region that holds all `len` bytes at `addr`, and the offset in it.
    fn region(&self, addr: u64, len: usize) -> Option<(&dyn SharedRegion, u64)> {
        let n = self.regions.partition_point(|(a, _)| *a <= addr);
        let (at, region) = self.regions.get(n.checked_sub(1)?)?;
        let offset = addr - at;
        (offset.checked_add(len as u64)? <= region.size()).then_some((&**region, offset))
    }

    fn index(&self, addr: u64, len: usize) -> Result<usize, MemoryError> {
        let error = MemoryError::OutOfRange {
            addr,
            bytes: len as u64,
        };
        let at = addr
            .checked_sub(self.base)
            .and_then(|at| usize::try_from(at).ok())
            .ok_or(error)?;
        match at.checked_add(len) {
            Some(end) if end <= self.bytes.len() => Ok(at),
            _ => Err(error),
        }
    }

    /// The bytes themselves.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`]. Poison is not looked at.
    pub fn slice(&self, addr: u64, len: usize) -> Result<&[u8], MemoryError> {
        let at = self.index(addr, len)?;
        Ok(&self.bytes[at..at + len])
    }

    /// The bytes themselves, to change.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`]. Poison is not looked at, and stays.
    pub fn slice_mut(&mut self, addr: u64, len: usize) -> Result<&mut [u8], MemoryError> {
        let at = self.index(addr, len)?;
        Ok(&mut self.bytes[at..at + len])
    }

    /// Marks the 64-byte lines that `len` bytes at `addr` touch as poisoned, until they are written whole.
    ///
    /// # Errors
    /// [`MemoryError::OutOfRange`].
    pub fn poison(&mut self, addr: u64, len: usize) -> Result<(), MemoryError> {
        self.index(addr, len)?;
        self.poisoned.extend(
            (addr / LINE..addr.saturating_add(len as u64).div_ceil(LINE)).map(|line| line * LINE),
        );
        Ok(())
    }

    /// Takes `pages` contiguous pages; their content is what was left there. Returns the physical address.
    ///
    /// # Errors
    /// [`PageError::Exhausted`].
    pub fn alloc_pages(&mut self, pages: u64) -> Result<u64, PageError> {
        let error = PageError::Exhausted {
            pages,
            free: self.free,
        };
        let wanted = usize::try_from(pages)
            .ok()
            .filter(|&n| n > 0 && pages <= self.free)
            .ok_or(error)?;
        let (total, next) = (self.used.len(), self.next);
        let start = self
            .find_run(next, total, wanted)
            .or_else(|| self.find_run(0, (next + wanted).min(total), wanted))
            .ok_or(error)?;
        self.used[start..start + wanted].fill(true);
        self.next = start + wanted;
        self.free -= pages;
        Ok(self.base + start as u64 * PAGE)
    }

    fn find_run(&self, from: usize, to: usize, wanted: usize) -> Option<usize> {
        let mut run = 0;
        for at in from..to {
            run = if self.used[at] { 0 } else { run + 1 };
            if run == wanted {
                return Some(at + 1 - wanted);
            }
        }
        None
    }

    /// Gives `pages` pages at `addr` back.
    ///
    /// # Errors
    /// [`PageError::NotAllocated`] if any of them is not allocated; then none is freed.
    pub fn free_pages(&mut self, addr: u64, pages: u64) -> Result<(), PageError> {
        let error = PageError::NotAllocated { addr, pages };
        let len = pages
            .checked_mul(PAGE)
            .and_then(|n| usize::try_from(n).ok())
            .ok_or(error)?;
        let start = self.index(addr, len).map_err(|_| error)? / PAGE as usize;
        let run = &mut self.used[start..start + pages as usize];
        if addr % PAGE != 0 || pages == 0 || run.contains(&false) {
            return Err(error);
        }
        run.fill(false);
        self.free += pages;
        Ok(())
    }
}

impl HostMem for HostMemory {
    fn read(&mut self, addr: u64, buf: &mut [u8]) -> Result<(), MemoryError> {
        if let Some((region, offset)) = self.region(addr, buf.len()) {
            region.read(offset, buf);
            return Ok(());
        }
        buf.copy_from_slice(self.slice(addr, buf.len())?);
        if !self.poisoned.is_empty() {
            let end = addr.saturating_add(buf.len() as u64);
            if let Some(&line) = self.poisoned.range(addr / LINE * LINE..end).next() {
                return Err(MemoryError::Poisoned {
                    addr: line.max(addr),
                });
            }
        }
        Ok(())
    }

    fn write(&mut self, addr: u64, data: &[u8]) -> Result<(), MemoryError> {
        if let Some((region, offset)) = self.region(addr, data.len()) {
            if !region.is_writable() {
                return Err(MemoryError::Refused { addr });
            }
            region.write(offset, data);
            return Ok(());
        }
        self.slice_mut(addr, data.len())?.copy_from_slice(data);
        if !self.poisoned.is_empty() {
            let end = addr.saturating_add(data.len() as u64);
            self.poisoned
                .retain(|&line| line < addr || end - line.min(end) < LINE);
        }
        Ok(())
    }
}
