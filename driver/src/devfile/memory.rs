//! Memory of the process whose pages can move.

use crate::error::{Error, Result};
use crate::transport::PAGE;
use std::ptr::NonNull;

/// Bytes of a huge page, and the alignment of all memory.
const HUGE: usize = 2 << 20;

/// Which pages the kernel may back memory with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backing {
    /// Huge ones where it can.
    Huge,
    /// Those of 4096 bytes alone, as on a device.
    Small,
}

/// Anonymous memory of whole pages, zero at first, aligned to 2 MiB. Unmapped when dropped, wherever its pages are.
#[derive(Debug)]
pub struct Memory {
    base: NonNull<u8>,
    bytes: usize,
    /// What was mapped, alignment included.
    mapped: (*mut libc::c_void, usize),
}

// SAFETY: plain memory of the process; the slices that give access borrow `self` by the usual rules.
unsafe impl Send for Memory {}
// SAFETY: as above: `&Memory` gives shared slices alone.
unsafe impl Sync for Memory {}

impl Memory {
    /// At least `bytes`, in whole pages.
    ///
    /// # Errors
    /// [`Error::Size`] for 0 or more than the address space has, [`Error::System`] if the system has no memory for it.
    pub fn new(bytes: usize, backing: Backing) -> Result<Memory> {
        let limit = isize::MAX as usize - 2 * HUGE;
        if bytes == 0 || bytes > limit {
            return Err(Error::Size {
                what: "memory",
                wanted: bytes as u64,
                limit: limit as u64,
            });
        }
        let bytes = bytes.next_multiple_of(PAGE);
        let length = bytes + HUGE;
        let (access, flags) = (
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
        );
        // SAFETY: the kernel chooses an unused range.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), length, access, flags, -1, 0) };
        let aligned = (start as usize).next_multiple_of(HUGE);
        let Some(base) = NonNull::new(aligned as *mut u8).filter(|_| start != libc::MAP_FAILED)
        else {
            return Err(Error::system("mmap"));
        };
        let advice = match backing {
            Backing::Huge => libc::MADV_HUGEPAGE,
            Backing::Small => libc::MADV_NOHUGEPAGE,
        };
        // SAFETY: the range is this mapping's; advice changes no content, and a kernel without huge pages refuses it and needs none.
        unsafe { libc::madvise(base.as_ptr().cast(), bytes, advice) };
        Ok(Memory {
            base,
            bytes,
            mapped: (start, length),
        })
    }

    /// First byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    /// All of it.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: mapped, `bytes` long, initialised (zero), and shared as `self` is.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.bytes) }
    }

    /// All of it, to write.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: as in `as_slice`, and exclusive as `self` is.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.bytes) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, whose slices cannot outlive `self`.
        unsafe { libc::munmap(self.mapped.0, self.mapped.1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_whole_aligned_pages() {
        for backing in [Backing::Huge, Backing::Small] {
            let mut m = Memory::new(5000, backing).unwrap();
            assert_eq!(m.as_slice(), [0; 2 * PAGE]);
            assert_eq!(m.as_ptr() as usize % HUGE, 0);
            m.as_mut_slice()[8191] = 7;
            assert_eq!(m.as_slice()[8191], 7);
        }
        for bad in [0, usize::MAX] {
            assert!(matches!(
                Memory::new(bad, Backing::Small),
                Err(Error::Size { .. })
            ));
        }
    }
}
