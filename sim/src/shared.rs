//! Memory that another process maps too: pages of a file descriptor.

use pcie_sim::SharedRegion;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr::NonNull;
use std::sync::Arc;

/// A mapping, shared with whoever else maps the same file. Every access is volatile, whole aligned words of eight bytes where it can be.
///
/// A file that somebody shortens under the mapping ends the process with SIGBUS at the next access; [`SharedMemory::create`]'s cannot be shortened.
#[derive(Debug)]
pub struct SharedMemory {
    at: NonNull<u8>,
    size: usize,
    writable: bool,
}

// SAFETY: the mapping is valid until the value is dropped, on whatever thread, and no reference into it ever exists: all accesses are volatile copies.
unsafe impl Send for SharedMemory {}
// SAFETY: as above; what concurrent accesses see is what the machine's memory gives any two processes that share pages.
unsafe impl Sync for SharedMemory {}

/// Bytes of a word.
const WORD: usize = 8;

impl SharedMemory {
    /// Maps `size` bytes of `file` from `offset` on, which is a multiple of the page size.
    ///
    /// # Errors
    /// The system's; `InvalidInput` for an empty range and one beyond the file's end.
    pub fn map(file: &File, offset: u64, size: u64, writable: bool) -> io::Result<Arc<Self>> {
        let invalid = |why| io::Error::new(io::ErrorKind::InvalidInput, why);
        let end = offset.checked_add(size).filter(|_| size > 0);
        // A device file has no length; a file has.
        let about = file.metadata()?;
        if end.is_none_or(|end| about.is_file() && end > about.len()) {
            return Err(invalid(format!(
                "{size:#x} bytes at {offset:#x} of a file of {:#x} bytes",
                about.len()
            )));
        }
        let length = usize::try_from(size).map_err(|_| invalid("too large to map".into()))?;
        let start = i64::try_from(offset).map_err(|_| invalid("offset too large".into()))?;
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address that the system chooses touches no memory of this process.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                protection,
                libc::MAP_SHARED | libc::MAP_NORESERVE,
                file.as_raw_fd(),
                start,
            )
        };
        if at == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let at = NonNull::new(at.cast()).ok_or_else(|| invalid("mapped at 0".into()))?;
        Ok(Arc::new(Self {
            at,
            size: length,
            writable,
        }))
    }

    /// Anonymous memory of `size` bytes, all zero, whose file can be given to another process and can neither grow nor shrink.
    ///
    /// # Errors
    /// The system's.
    pub fn create(name: &std::ffi::CStr, size: u64) -> io::Result<(File, Arc<Self>)> {
        // SAFETY: `name` is a string with its end; a new descriptor is returned, or -1.
        let fd = unsafe {
            libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING)
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new, and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(size)?;
        let seals = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;
        // SAFETY: no memory is passed.
        if unsafe { libc::fcntl(fd, libc::F_ADD_SEALS, seals) } < 0 {
            return Err(io::Error::last_os_error());
        }
        let memory = Self::map(&file, 0, size, true)?;
        Ok((file, memory))
    }

    fn place(&self, offset: u64, bytes: usize) -> Option<*mut u8> {
        let offset = usize::try_from(offset).ok()?;
        let end = offset.checked_add(bytes)?;
        // SAFETY: `offset` is inside the mapping, or one past its end.
        (end <= self.size).then(|| unsafe { self.at.as_ptr().add(offset) })
    }

    /// Copies out of it; `None`, with `out` as it was, beyond its end.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> Option<()> {
        let mut from: *const u8 = self.place(offset, out.len())?;
        let mut rest = out;
        while !rest.is_empty() {
            let n = if from.align_offset(WORD) == 0 && rest.len() >= WORD {
                // SAFETY: eight aligned bytes inside the mapping (`place`).
                let word = unsafe { from.cast::<u64>().read_volatile() };
                rest[..WORD].copy_from_slice(&word.to_ne_bytes());
                WORD
            } else {
                // SAFETY: a byte inside the mapping (`place`).
                rest[0] = unsafe { from.read_volatile() };
                1
            };
            rest = &mut rest[n..];
            // SAFETY: at most one past the end of what `place` checked.
            from = unsafe { from.add(n) };
        }
        Some(())
    }

    /// Copies into it; `None`, with nothing written, beyond its end or if it is read-only.
    pub fn write(&self, offset: u64, data: &[u8]) -> Option<()> {
        let mut to = self.place(offset, data.len()).filter(|_| self.writable)?;
        let mut rest = data;
        while !rest.is_empty() {
            let n = if to.align_offset(WORD) == 0 && rest.len() >= WORD {
                let mut word = [0; WORD];
                word.copy_from_slice(&rest[..WORD]);
                // SAFETY: eight aligned bytes inside the mapping (`place`), which is writable.
                unsafe { to.cast::<u64>().write_volatile(u64::from_ne_bytes(word)) };
                WORD
            } else {
                // SAFETY: a byte inside the mapping (`place`), which is writable.
                unsafe { to.write_volatile(rest[0]) };
                1
            };
            rest = &rest[n..];
            // SAFETY: at most one past the end of what `place` checked.
            to = unsafe { to.add(n) };
        }
        Some(())
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: this mapping, made by `map` with this size; nothing refers to it any more.
        unsafe { libc::munmap(self.at.as_ptr().cast(), self.size) };
    }
}

impl SharedRegion for SharedMemory {
    fn size(&self) -> u64 {
        self.size as u64
    }

    fn is_writable(&self) -> bool {
        self.writable
    }

    fn read(&self, offset: u64, buf: &mut [u8]) {
        // The caller keeps inside the region.
        let _ = SharedMemory::read(self, offset, buf);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        let _ = SharedMemory::write(self, offset, data);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_one_file_agree_at_any_alignment() {
        let (file, a) = SharedMemory::create(c"test", 8192).unwrap();
        let b = SharedMemory::map(&file, 4096, 4096, true).unwrap();
        let data: Vec<u8> = (0..100).collect();
        for at in 0..17u64 {
            a.write(4096 + at, &data).unwrap();
            for len in [0, 1, 7, 8, 9, 100] {
                let mut out = vec![0xFF; len];
                SharedMemory::read(&b, at, &mut out).unwrap();
                assert_eq!(out, data[..len], "{at}");
            }
        }
        let mut tail = [0; 2];
        assert_eq!(SharedMemory::read(&b, 4095, &mut tail), None);
        assert_eq!(SharedMemory::read(&b, u64::MAX, &mut tail), None);
        assert_eq!(SharedMemory::write(&b, 4095, &tail), None);
        assert_eq!(SharedMemory::read(&b, 4094, &mut tail), Some(()));
    }

    #[test]
    fn what_cannot_be_mapped_says_why() {
        let (file, memory) = SharedMemory::create(c"test", 4096).unwrap();
        for (offset, size) in [(0, 0), (0, 8192), (4096, 1), (u64::MAX, 2)] {
            let e = SharedMemory::map(&file, offset, size, true).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::InvalidInput, "{e}");
        }
        let read_only = SharedMemory::map(&file, 0, 4096, false).unwrap();
        assert_eq!(SharedMemory::write(&read_only, 0, &[1]), None);
        assert!(file.set_len(0).is_err(), "sealed");
        memory.write(0, &[7]).unwrap();
        let mut byte = [0];
        SharedMemory::read(&read_only, 0, &mut byte).unwrap();
        assert_eq!(byte, [7]);
    }
}
