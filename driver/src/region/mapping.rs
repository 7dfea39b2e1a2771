//! The anonymous mapping behind a region.

use crate::error::{Error, Result};
use crate::transport::PAGE;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

/// Anonymous memory whose pages are put in place, protected and taken away one by one. Unmapped on drop.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is plain memory of the process. The methods that touch its content (`read_page`) or its pages (`discard`, `bus_error`,
// `restore`) are called by the one thread that has claimed the page, or that has it in its hands under the lock of [`super::held`].
unsafe impl Send for Mapping {}
// SAFETY: as above; `&Mapping` gives no access to the content except through the claim rule.
unsafe impl Sync for Mapping {}

fn anonymous(at: *mut libc::c_void, bytes: usize, fixed: libc::c_int) -> *mut libc::c_void {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
    // SAFETY: without MAP_FIXED the kernel chooses unused addresses; with it, the callers pass a range of a mapping that they own.
    unsafe { libc::mmap(at, bytes, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) }
}

impl Mapping {
    /// Maps `bytes`, a multiple of the page size. Not inherited by children (they would miss its fault handler), never a huge page.
    pub fn new(bytes: usize) -> Result<Mapping> {
        // SAFETY: sysconf(3) touches no memory.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        if page != PAGE as libc::c_long {
            return Err(Error::Size {
                what: "system page size",
                wanted: page as u64,
                limit: PAGE as u64,
            });
        }
        let base = anonymous(std::ptr::null_mut(), bytes, 0);
        if base == libc::MAP_FAILED {
            return Err(Error::system("mmap"));
        }
        let base = NonNull::new(base.cast()).ok_or_else(|| Error::system("mmap"))?;
        let mapping = Mapping { base, bytes };
        mapping.advise(base.as_ptr() as usize, bytes)?;
        Ok(mapping)
    }

    fn advise(&self, address: usize, bytes: usize) -> Result<()> {
        for advice in [libc::MADV_DONTFORK, libc::MADV_NOHUGEPAGE] {
            // SAFETY: the range is this mapping's; neither advice changes content.
            let result = unsafe { libc::madvise(address as *mut _, bytes, advice) };
            // A kernel without huge pages does not know MADV_NOHUGEPAGE, and needs it not.
            if result != 0 && advice == libc::MADV_DONTFORK {
                return Err(Error::system("madvise(MADV_DONTFORK)"));
            }
        }
        Ok(())
    }

    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Address of a page.
    pub fn address(&self, page: usize) -> usize {
        assert!(
            page < self.bytes / PAGE,
            "page {page} of a mapping of {} bytes",
            self.bytes
        );
        self.base.as_ptr() as usize + page * PAGE
    }

    /// Copies a page that is present and write-protected.
    pub fn read_page(&self, page: usize) -> Box<[u8; PAGE]> {
        let mut copy = Box::new([0u8; PAGE]);
        let from = self.address(page) as *const u8;
        // SAFETY: `address` checked that the page is inside the mapping; it is present and write-protected, and this thread has claimed
        // it or the lock of `held`, so nobody writes to it or takes it away meanwhile. The destination is a new page on the heap.
        unsafe { std::ptr::copy_nonoverlapping(from, copy.as_mut_ptr(), PAGE) };
        copy
    }

    /// Takes a page away: the next access faults again.
    pub fn discard(&self, page: usize) -> Result<()> {
        // SAFETY: the page is inside the mapping (`address`); its content was saved, or is a copy of its home.
        let result =
            unsafe { libc::madvise(self.address(page) as *mut _, PAGE, libc::MADV_DONTNEED) };
        if result == 0 {
            Ok(())
        } else {
            Err(Error::system("madvise(MADV_DONTNEED)"))
        }
    }

    /// Makes every access to an absent page a SIGBUS, on kernels without `UFFDIO_POISON`: maps a file of no length there.
    pub fn bus_error(&self, page: usize) -> Result<()> {
        // SAFETY: the name is a C string; the call touches no other memory.
        let fd = unsafe { libc::memfd_create(c"cxlmem-poison".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(Error::system("memfd_create"));
        }
        // SAFETY: the call just returned this descriptor, so nobody else owns it.
        let file = unsafe { OwnedFd::from_raw_fd(fd) };
        let flags = libc::MAP_SHARED | libc::MAP_FIXED;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: replaces one page of this mapping, which is absent: no content is lost.
        let at = unsafe {
            libc::mmap(
                self.address(page) as *mut _,
                PAGE,
                protection,
                flags,
                file.as_raw_fd(),
                0,
            )
        };
        if at == libc::MAP_FAILED {
            Err(Error::system("mmap over a poisoned page"))
        } else {
            Ok(())
        }
    }

    /// Undoes [`Mapping::bus_error`]; the page must be registered with the userfaultfd again.
    pub fn restore(&self, page: usize) -> Result<()> {
        let address = self.address(page);
        if anonymous(address as *mut _, PAGE, libc::MAP_FIXED) == libc::MAP_FAILED {
            return Err(Error::system("mmap over a poisoned page"));
        }
        self.advise(address, PAGE)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping is this object's alone, and slices of it borrow the region that owns it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}
