//! userfaultfd, by its own ioctls.
//!
//! The structures and numbers are those of the kernel's interface (`linux/userfaultfd.h`); Debian 12's headers lack the newest, so they
//! are declared here.

use crate::error::{Error, Result};
use crate::transport::PAGE;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const API: u64 = 0xAA;
const USER_MODE_ONLY: libc::c_int = 1;
const FEATURE_PAGEFAULT_FLAG_WP: u64 = 1 << 0;
const FEATURE_POISON: u64 = 1 << 14;
const REGISTER_MISSING: u64 = 1 << 0;
const REGISTER_WP: u64 = 1 << 1;
const COPY_DONTWAKE: u64 = 1 << 0;
const COPY_WP: u64 = 1 << 1;
const WP_PROTECT: u64 = 1 << 0;
const WP_DONTWAKE: u64 = 1 << 1;
const POISON_DONTWAKE: u64 = 1 << 0;
const EVENT_PAGEFAULT: u8 = 0x12;
const FAULT_WRITE: u64 = 1 << 0;
/// Retries of a call that lost a race with another change of the address space.
const MAX_AGAIN: u32 = 1000;

#[repr(C)]
struct ApiArg {
    api: u64,
    features: u64,
    ioctls: u64,
}

#[repr(C)]
struct Range {
    start: u64,
    len: u64,
}

#[repr(C)]
struct RegisterArg {
    range: Range,
    mode: u64,
    ioctls: u64,
}

#[repr(C)]
struct CopyArg {
    dst: u64,
    src: u64,
    len: u64,
    mode: u64,
    copied: i64,
}

#[repr(C)]
struct WriteProtectArg {
    range: Range,
    mode: u64,
}

#[repr(C)]
struct PoisonArg {
    range: Range,
    mode: u64,
    updated: i64,
}

#[repr(C)]
struct Message {
    event: u8,
    reserved: [u8; 7],
    flags: u64,
    address: u64,
    extra: u64,
}

const fn iowr<T>(number: u64) -> u64 {
    (3 << 30) | ((size_of::<T>() as u64) << 16) | (API << 8) | number
}

const IOCTL_API: u64 = iowr::<ApiArg>(0x3F);
const IOCTL_REGISTER: u64 = iowr::<RegisterArg>(0x00);
/// Declared read-only by the kernel.
const IOCTL_WAKE: u64 = (2 << 30) | ((size_of::<Range>() as u64) << 16) | (API << 8) | 0x02;
const IOCTL_COPY: u64 = iowr::<CopyArg>(0x03);
const IOCTL_WRITEPROTECT: u64 = iowr::<WriteProtectArg>(0x06);
const IOCTL_POISON: u64 = iowr::<PoisonArg>(0x08);

/// A page fault.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub address: usize,
    pub write: bool,
}

/// A userfaultfd.
#[derive(Debug)]
pub(crate) struct Uffd {
    fd: OwnedFd,
    /// The kernel has `UFFDIO_POISON` (6.6 and later).
    pub has_poison: bool,
}

impl Uffd {
    /// Opens one for faults of user mode, non-blocking, with write-protection faults, and with poison where the kernel has it.
    pub fn open() -> Result<Uffd> {
        // Features can be asked for once per descriptor, and an unknown one is an error: look first, with another descriptor.
        let offered = handshake(&open_fd()?, 0)?;
        if offered & FEATURE_PAGEFAULT_FLAG_WP == 0 {
            return Err(unavailable(
                "UFFDIO_API",
                io::Error::from_raw_os_error(libc::EOPNOTSUPP),
            ));
        }
        let fd = open_fd()?;
        let wanted = FEATURE_PAGEFAULT_FLAG_WP | (offered & FEATURE_POISON);
        handshake(&fd, wanted)?;
        Ok(Uffd {
            fd,
            has_poison: offered & FEATURE_POISON != 0,
        })
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Takes over the faults of a range: absent pages and writes to protected ones.
    pub fn register(&self, address: usize, bytes: usize) -> Result<()> {
        let range = Range {
            start: address as u64,
            len: bytes as u64,
        };
        let mut arg = RegisterArg {
            range,
            mode: REGISTER_MISSING | REGISTER_WP,
            ioctls: 0,
        };
        self.ioctl(IOCTL_REGISTER, &mut arg)
            .map_err(|source| unavailable("UFFDIO_REGISTER", source))
    }

    /// Puts a page in place of an absent one; wakes nobody.
    pub fn copy(&self, address: usize, page: &[u8; PAGE], protect: bool) -> Result<()> {
        let mode = COPY_DONTWAKE | if protect { COPY_WP } else { 0 };
        let mut arg = CopyArg {
            dst: address as u64,
            src: page.as_ptr() as u64,
            len: PAGE as u64,
            mode,
            copied: 0,
        };
        self.call("UFFDIO_COPY", IOCTL_COPY, &mut arg)
    }

    /// Protects a present page from writes, or lifts that; wakes nobody.
    pub fn write_protect(&self, address: usize, protect: bool) -> Result<()> {
        let range = Range {
            start: address as u64,
            len: PAGE as u64,
        };
        let mut arg = WriteProtectArg {
            range,
            mode: if protect { WP_PROTECT } else { WP_DONTWAKE },
        };
        self.call("UFFDIO_WRITEPROTECT", IOCTL_WRITEPROTECT, &mut arg)
    }

    /// Makes every access to an absent page a SIGBUS; wakes nobody. Only with [`Uffd::has_poison`].
    pub fn poison(&self, address: usize) -> Result<()> {
        let range = Range {
            start: address as u64,
            len: PAGE as u64,
        };
        let mut arg = PoisonArg {
            range,
            mode: POISON_DONTWAKE,
            updated: 0,
        };
        self.call("UFFDIO_POISON", IOCTL_POISON, &mut arg)
    }

    /// Lets the threads that wait for a page try their access again.
    pub fn wake(&self, address: usize) -> Result<()> {
        let mut arg = Range {
            start: address as u64,
            len: PAGE as u64,
        };
        self.call("UFFDIO_WAKE", IOCTL_WAKE, &mut arg)
    }

    /// The next fault; `None` if there is none now.
    pub fn next_fault(&self) -> Result<Option<Fault>> {
        let mut message = Message {
            event: 0,
            reserved: [0; 7],
            flags: 0,
            address: 0,
            extra: 0,
        };
        let size = size_of::<Message>();
        // SAFETY: `message` is a live, writable object of `size` bytes, and any bytes are a valid `Message`.
        let got = unsafe { libc::read(self.raw(), (&raw mut message).cast(), size) };
        if got == size as isize {
            let fault = Fault {
                address: message.address as usize,
                write: message.flags & FAULT_WRITE != 0,
            };
            return Ok((message.event == EVENT_PAGEFAULT).then_some(fault));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EINTR) => Ok(None),
            _ => Err(Error::System {
                call: "read of a userfaultfd",
                source: error,
            }),
        }
    }

    fn call<T>(&self, name: &'static str, number: u64, arg: &mut T) -> Result<()> {
        for _ in 0..MAX_AGAIN {
            match self.ioctl(number, arg) {
                // Another thread is changing the address space.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {
                    std::thread::yield_now()
                }
                result => return result.map_err(|source| Error::System { call: name, source }),
            }
        }
        Err(Error::System {
            call: name,
            source: io::Error::from_raw_os_error(libc::EAGAIN),
        })
    }

    fn ioctl<T>(&self, number: u64, arg: &mut T) -> io::Result<()> {
        ioctl(&self.fd, number, arg)
    }
}

fn ioctl<T>(fd: &OwnedFd, number: u64, arg: &mut T) -> io::Result<()> {
    // SAFETY: `number` encodes the size of `T` (see `iowr` and the constants), `arg` is a live object of it, and addresses inside it
    // are checked by the kernel, which answers EFAULT or EINVAL for bad ones.
    let result = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            number as libc::Ioctl,
            std::ptr::from_mut(arg),
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

fn open_fd() -> Result<OwnedFd> {
    let flags = libc::O_CLOEXEC | libc::O_NONBLOCK | USER_MODE_ONLY;
    // SAFETY: userfaultfd(2) takes flags only and touches no memory.
    let fd = unsafe { libc::syscall(libc::SYS_userfaultfd, flags) };
    if fd < 0 {
        return Err(unavailable("userfaultfd", io::Error::last_os_error()));
    }
    // SAFETY: the call just returned this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

fn handshake(fd: &OwnedFd, features: u64) -> Result<u64> {
    let mut arg = ApiArg {
        api: API,
        features,
        ioctls: 0,
    };
    ioctl(fd, IOCTL_API, &mut arg).map_err(|source| unavailable("UFFDIO_API", source))?;
    Ok(arg.features)
}

/// The error for a kernel or a policy that does not let this process use userfaultfd, with what to change.
fn unavailable(call: &'static str, source: io::Error) -> Error {
    let advice = match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "not permitted. In a container, allow userfaultfd in its seccomp profile; on the machine, set \
             sysctl vm.unprivileged_userfaultfd=1 or give the process CAP_SYS_PTRACE"
        }
        Some(libc::ENOSYS) => {
            "this kernel has no userfaultfd (CONFIG_USERFAULTFD), or a seccomp profile hides it: use a kernel that has it, or allow the call"
        }
        Some(libc::EINVAL) => "this kernel is too old: Linux 5.11 or later is needed (UFFD_USER_MODE_ONLY)",
        Some(libc::EOPNOTSUPP) => "this kernel lacks write-protection faults (CONFIG_HAVE_ARCH_USERFAULTFD_WP)",
        Some(libc::EMFILE | libc::ENFILE) => "no file descriptor left: raise the limit (ulimit -n)",
        _ => "see the system's error",
    };
    Error::Userfaultfd {
        call,
        source,
        advice,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ioctl_numbers_are_the_kernels() {
        // As the kernel's header gives them on 64-bit machines.
        let expected = [
            0xC018_AA3F,
            0xC020_AA00,
            0x8010_AA02,
            0xC028_AA03,
            0xC018_AA06,
            0xC020_AA08,
        ];
        let ours = [
            IOCTL_API,
            IOCTL_REGISTER,
            IOCTL_WAKE,
            IOCTL_COPY,
            IOCTL_WRITEPROTECT,
            IOCTL_POISON,
        ];
        assert_eq!(ours, expected);
        assert_eq!(size_of::<Message>(), 32);
    }

    #[test]
    fn refusals_say_what_to_change() {
        for (errno, word) in [
            (libc::EPERM, "unprivileged_userfaultfd"),
            (libc::ENOSYS, "CONFIG_USERFAULTFD"),
            (libc::EINVAL, "5.11"),
            (libc::EOPNOTSUPP, "write-protection"),
            (libc::EMFILE, "ulimit"),
        ] {
            let text = unavailable("userfaultfd", io::Error::from_raw_os_error(errno)).to_string();
            assert!(text.contains(word), "{text}");
        }
    }
}
