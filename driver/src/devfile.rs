//! `/dev/cxlmemN` of the Linux module: memory of this process that lives on a device, by ordinary pointers.
//!
//! The module's interface is `driver/kernel/uapi/cxlmem.h`. Memory is named by slices, which begin and end with a page of 4096 bytes; [`Memory`] is some.
//! Where its pages are makes no difference to who reads and writes it.
//!
//! ```no_run
//! use cxlmem_driver::devfile::{Backing, CopyBy, DevFile, Memory};
//! use cxlmem_driver::Side;
//! let node = DevFile::open("/dev/cxlmem0".as_ref())?;
//! let mut memory = Memory::new(1 << 20, Backing::Small)?;
//! memory.as_mut_slice().fill(1);
//! let moved = node.migrate(memory.as_slice(), Side::Device, CopyBy::Engine)?;
//! assert!(moved.is_complete() && node.query(memory.as_slice())?.on_device == 256);
//! assert_eq!(node.sum64(memory.as_slice())?.value, 0x0101_0101_0101_0101 * (1 << 17));
//! # Ok::<(), cxlmem_driver::Error>(())
//! ```

mod abi;
mod memory;
mod results;

use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use crate::error::{Error, Result};
use crate::region::Side;
use crate::transport::PAGE;
use crate::OpResult;

pub use abi::Stats as NodeStats;
pub use memory::{Backing, Memory};
pub use results::{
    CopyBy, NodeInfo, NodeMemory, NodeMigration, NodePage, NodePolicy, PagePlace, Places,
    PolicyMoves,
};

/// Where the system lists the nodes.
const CLASS: &str = "/sys/class/cxlmem";
/// Bytes of one call of the engine: the module takes 512 pages, whole or not.
const OPERATION: usize = 1 << 20;
/// What operands begin and end with, bytes.
const LINE: usize = 64;

/// An open node.
#[derive(Debug)]
pub struct DevFile {
    file: File,
    path: PathBuf,
    info: NodeInfo,
}

/// The nodes that the system has: one for each device that the module is bound to.
///
/// # Errors
/// [`Error::System`] if the system cannot tell.
pub fn nodes() -> Result<Vec<PathBuf>> {
    let system = |source| Error::System {
        call: "list /sys/class/cxlmem",
        source,
    };
    let entries = match std::fs::read_dir(CLASS) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(system(e)),
    };
    let mut all = Vec::new();
    for entry in entries {
        all.push(Path::new("/dev").join(entry.map_err(system)?.file_name()));
    }
    all.sort();
    Ok(all)
}

impl DevFile {
    /// Opens a node and asks it what it is.
    ///
    /// # Errors
    /// [`Error::NoNode`], [`Error::NodePermission`], [`Error::NotNode`], [`Error::NodeVersion`], [`Error::Gone`].
    pub fn open(path: &Path) -> Result<DevFile> {
        let name = || path.to_path_buf();
        let not_node = |reason: String| Error::NotNode {
            path: name(),
            reason,
        };
        let refused = |e: std::io::Error| match (e.kind(), e.raw_os_error()) {
            (ErrorKind::NotFound, _) => Error::NoNode { path: name() },
            (ErrorKind::PermissionDenied, _) => Error::NodePermission { path: name() },
            (_, Some(libc::ENODEV | libc::ENXIO)) => Error::Gone { path: name() },
            _ => not_node(e.to_string()),
        };
        let meta = std::fs::metadata(path).map_err(refused)?;
        if !meta.file_type().is_char_device() {
            return Err(not_node("it is no character device".into()));
        }
        // To open another driver's node can have effects.
        let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
        let class = std::fs::read_link(format!("/sys/dev/char/{major}:{minor}/subsystem"));
        if let Some(class) = class.ok().as_deref().and_then(Path::file_name) {
            if class != "cxlmem" {
                return Err(not_node(format!(
                    "its class is {}",
                    class.to_string_lossy()
                )));
            }
        }
        let file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .map_err(refused)?;
        let mut raw = abi::Info::default();
        // SAFETY: the call writes an `Info` to the pointer.
        if let Err(e) = unsafe { call(&file, abi::INFO, &mut raw) } {
            return Err(match e.raw_os_error() {
                Some(libc::ENOTTY | libc::EINVAL) => {
                    not_node("it does not know CXLMEM_IOC_INFO".into())
                }
                Some(libc::ENODEV) => Error::Gone { path: name() },
                _ => Error::System {
                    call: "CXLMEM_IOC_INFO",
                    source: e,
                },
            });
        }
        if u64::from(raw.abi) != abi::ABI {
            return Err(Error::NodeVersion {
                path: name(),
                found: raw.abi,
                known: abi::ABI as u32,
            });
        }
        let info = NodeInfo {
            memory: match u64::from(raw.memory) {
                abi::MEMORY_SPM => NodeMemory::Spm,
                abi::MEMORY_BAR => NodeMemory::Bar,
                other => return Err(not_node(format!("{other} is no kind of memory"))),
            },
            base: raw.base,
            bytes: raw.bytes,
            caps: raw.caps,
            config: raw.config,
            clock_khz: raw.clock_khz,
        };
        Ok(DevFile {
            file,
            path: name(),
            info,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it said of itself when it was opened.
    pub fn info(&self) -> &NodeInfo {
        &self.info
    }

    /// Counters since the module was bound to the device.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::System`].
    pub fn stats(&self) -> Result<NodeStats> {
        let mut stats = NodeStats::default();
        // SAFETY: the call writes a `Stats` to the pointer.
        unsafe { self.call("CXLMEM_IOC_STATS", abi::STATS, &mut stats) }?;
        Ok(stats)
    }

    /// Moves the pages of `memory` to the device or home. Content and addresses stay.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::Gone`], [`Error::System`]. Pages fail one by one, in the result.
    pub fn migrate(&self, memory: &[u8], to: Side, copy: CopyBy) -> Result<NodeMigration> {
        let mut flags = 0;
        if to == Side::Host {
            flags |= abi::MIGRATE_TO_HOST;
        }
        if copy == CopyBy::Cpu {
            flags |= abi::MIGRATE_CPU_COPY;
        }
        let mut all = NodeMigration::default();
        for part in parts(memory)? {
            let mut results = vec![abi::PAGE_NOT_TRIED as u8; part.len() / PAGE];
            let mut args = abi::Migrate {
                addr: part.as_ptr() as u64,
                npages: results.len() as u64,
                flags: flags as u32,
                results: results.as_mut_ptr() as u64,
                ..Default::default()
            };
            // SAFETY: the call writes a `Migrate`, and a byte a page to `results`, which is as long. It changes where pages are, not what they hold.
            unsafe { self.call("CXLMEM_IOC_MIGRATE", abi::MIGRATE, &mut args) }?;
            all.pages.extend(results.into_iter().map(NodePage::of));
            all.moved += args.moved;
            all.cycles += args.cycles;
        }
        Ok(all)
    }

    /// Where the pages of `memory` are.
    ///
    /// # Errors
    /// As [`DevFile::migrate`].
    pub fn query(&self, memory: &[u8]) -> Result<Places> {
        let mut all = Places::default();
        for part in parts(memory)? {
            let pages = part.len() / PAGE;
            let (mut places, mut addresses) = (vec![0u8; pages], vec![0u64; pages]);
            let mut args = abi::Query {
                addr: part.as_ptr() as u64,
                npages: pages as u64,
                r#where: places.as_mut_ptr() as u64,
                addresses: addresses.as_mut_ptr() as u64,
                ..Default::default()
            };
            // SAFETY: the call writes a `Query`, a byte a page to `places`, and 8 bytes a page to `addresses`, which are as long.
            unsafe { self.call("CXLMEM_IOC_QUERY", abi::QUERY, &mut args) }?;
            let has = |place: u8, bit: u64| u64::from(place) & bit != 0;
            all.pages.extend(
                places
                    .into_iter()
                    .zip(addresses)
                    .map(|(place, address)| PagePlace {
                        is_present: has(place, abi::WHERE_PRESENT),
                        is_writable: has(place, abi::WHERE_WRITABLE),
                        device: has(place, abi::WHERE_DEVICE).then_some(address),
                    }),
            );
            all.on_device += args.on_device;
        }
        Ok(all)
    }

    /// Has the engine's operations of this open file move pages of `memory`; a policy that was set before is replaced.
    ///
    /// # Errors
    /// [`Error::Size`] for more than 2^17 pages or none, [`Error::Parameter`], [`Error::Unaligned`], [`Error::Gone`], [`Error::System`].
    pub fn set_policy(&self, memory: &[u8], policy: &NodePolicy) -> Result<()> {
        aligned(memory, PAGE)?;
        let pages = (memory.len() / PAGE) as u64;
        if pages == 0 || pages > abi::MAX_POLICY_PAGES {
            return Err(Error::Size {
                what: "memory of a policy",
                wanted: memory.len() as u64,
                limit: abi::MAX_POLICY_PAGES * PAGE as u64,
            });
        }
        for (what, value, least, limit) in [
            ("in_after", policy.in_after, 1, 1 << 12),
            (
                "home_after, at least in_after",
                policy.home_after,
                policy.in_after,
                1 << 24,
            ),
        ] {
            if !(least..=limit).contains(&value) {
                return Err(Error::Parameter {
                    what,
                    value: value.into(),
                    limit: limit.into(),
                });
            }
        }
        let mut args = abi::Policy {
            addr: memory.as_ptr() as u64,
            npages: pages,
            in_after: policy.in_after,
            home_after: policy.home_after,
            flags: if policy.copy == CopyBy::Cpu {
                abi::MIGRATE_CPU_COPY as u32
            } else {
                0
            },
            ..Default::default()
        };
        // SAFETY: the call writes a `Policy`. What it will do changes where pages are, not what they hold, also when the memory is something else by then.
        unsafe { self.call("CXLMEM_IOC_POLICY", abi::POLICY, &mut args) }
    }

    /// Ends the policy of this open file, if there is one. Pages stay where they are.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::System`].
    pub fn clear_policy(&self) -> Result<()> {
        // SAFETY: the call writes a `Policy`.
        unsafe {
            self.call(
                "CXLMEM_IOC_POLICY",
                abi::POLICY,
                &mut abi::Policy::default(),
            )
        }
    }

    /// What the policy of this open file has moved.
    ///
    /// # Errors
    /// [`Error::Gone`], [`Error::System`].
    pub fn policy_moves(&self) -> Result<PolicyMoves> {
        let mut args = abi::Policy {
            flags: abi::POLICY_READ as u32,
            ..Default::default()
        };
        // SAFETY: the call writes a `Policy`.
        unsafe { self.call("CXLMEM_IOC_POLICY", abi::POLICY, &mut args) }?;
        Ok(PolicyMoves {
            to_device: args.moved_in,
            to_host: args.moved_home,
        })
    }

    /// The engine fills memory on the device with `pattern`. It begins and ends at lines of 64 bytes.
    ///
    /// # Errors
    /// [`Error::OffDevice`] if a page is not there, [`Error::Unaligned`], [`Error::Gone`], [`Error::System`].
    pub fn fill(&self, memory: &mut [u8], pattern: u64) -> Result<OpResult> {
        self.lines(abi::OP_FILL, memory, pattern)
    }

    /// The engine's sum of the 64-bit words of memory on the device.
    ///
    /// # Errors
    /// As [`DevFile::fill`].
    pub fn sum64(&self, memory: &[u8]) -> Result<OpResult> {
        self.lines(abi::OP_SUM64, memory, 0)
    }

    /// The engine's CRC-32C of memory on the device; `initial` as in [`crate::Device::crc32c`].
    ///
    /// # Errors
    /// As [`DevFile::fill`].
    pub fn crc32c(&self, memory: &[u8], initial: u32) -> Result<OpResult> {
        self.lines(abi::OP_CRC32C, memory, initial.into())
    }

    /// The engine adds to a word on the device; the result is what it was.
    ///
    /// # Errors
    /// As [`DevFile::fill`].
    pub fn fetch_add(&self, word: &AtomicU64, summand: u64) -> Result<OpResult> {
        // SAFETY: an atomic may change while it is shared.
        unsafe { self.operate(abi::OP_FETCH_ADD, word.as_ptr() as u64, 8, summand, 0) }
    }

    /// The engine stores `new` to a word on the device if it holds `expected`; the result is what it was.
    ///
    /// # Errors
    /// As [`DevFile::fill`].
    pub fn compare_swap(&self, word: &AtomicU64, expected: u64, new: u64) -> Result<OpResult> {
        // SAFETY: as in `fetch_add`.
        unsafe { self.operate(abi::OP_COMPARE_SWAP, word.as_ptr() as u64, 8, expected, new) }
    }

    /// An operation on lines; `memory` is the caller's to write if the operation writes.
    fn lines(&self, opcode: u64, memory: &[u8], arg: u64) -> Result<OpResult> {
        aligned(memory, LINE)?;
        let mut all = OpResult {
            value: 0,
            cycles: 0,
            done: 0,
        };
        let mut arg = arg;
        if opcode == abi::OP_CRC32C {
            all.value = arg;
        }
        for part in memory.chunks(OPERATION) {
            // SAFETY: the range is the caller's, who may write it if the operation does.
            let one = unsafe { self.operate(opcode, part.as_ptr() as u64, part.len(), arg, 0) }?;
            all.cycles += one.cycles;
            all.done += one.done;
            match opcode {
                abi::OP_SUM64 => all.value = all.value.wrapping_add(one.value),
                abi::OP_CRC32C => (arg, all.value) = (one.value, one.value),
                _ => {}
            }
        }
        Ok(all)
    }

    /// # Safety
    /// The caller may read, and write if the operation does, `bytes` at `address`.
    unsafe fn operate(
        &self,
        opcode: u64,
        address: u64,
        bytes: usize,
        arg: u64,
        arg2: u64,
    ) -> Result<OpResult> {
        let mut args = abi::Operate {
            opcode: opcode as u32,
            addr: address,
            bytes: bytes as u64,
            arg,
            arg2,
            ..Default::default()
        };
        // SAFETY: the call writes an `Operate`; the memory is the caller's.
        unsafe { self.call("CXLMEM_IOC_OPERATE", abi::OPERATE, &mut args) }?;
        Ok(OpResult {
            value: args.result,
            cycles: args.cycles,
            done: bytes as u64,
        })
    }

    /// # Safety
    /// `number` is a call whose argument is a `T`, and what that points to is as the call wants it.
    unsafe fn call<T>(&self, name: &'static str, number: u64, argument: &mut T) -> Result<()> {
        // SAFETY: the caller's promise.
        unsafe { call(&self.file, number, argument) }.map_err(|source| {
            match source.raw_os_error() {
                Some(libc::ENODEV) => Error::Gone {
                    path: self.path.clone(),
                },
                Some(libc::EAGAIN) => Error::Resetting {
                    path: self.path.clone(),
                },
                Some(libc::EXDEV) => Error::OffDevice,
                _ => Error::System { call: name, source },
            }
        })
    }
}

/// # Safety
/// `number` is a call whose argument is a `T`, and what that points to is as the call wants it.
unsafe fn call<T>(file: &File, number: u64, argument: &mut T) -> std::io::Result<()> {
    // SAFETY: the caller's promise; the descriptor is open.
    let result = unsafe {
        libc::ioctl(
            file.as_raw_fd(),
            number as libc::c_ulong,
            std::ptr::from_mut(argument),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The pages of `memory`, as many as a call takes at a time.
fn parts(memory: &[u8]) -> Result<std::slice::Chunks<'_, u8>> {
    aligned(memory, PAGE)?;
    Ok(memory.chunks(abi::MAX_PAGES as usize * PAGE))
}

fn aligned(memory: &[u8], unit: usize) -> Result<()> {
    for (what, value) in [
        ("memory address", memory.as_ptr() as usize),
        ("bytes of memory", memory.len()),
    ] {
        if value % unit != 0 {
            return Err(Error::Unaligned {
                what,
                value: value as u64,
                unit: unit as u64,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_node_is_said_with_the_next_step() {
        let dir = std::env::temp_dir();
        for (path, words) in [
            (
                Path::new("/dev/cxlmem-none"),
                vec!["cxlmem vm run", "module", "/dev/cxlmem-none"],
            ),
            (&dir, vec!["no character device"]),
            (
                Path::new("/dev/null"),
                vec!["not a cxlmem device", "/sys/class/cxlmem"],
            ),
        ] {
            let e = DevFile::open(path).unwrap_err().to_string();
            for word in words {
                assert!(e.contains(word), "{e}");
            }
        }
        assert!(matches!(
            DevFile::open(Path::new("/dev/null")),
            Err(Error::NotNode { .. })
        ));
    }

    #[test]
    fn memory_has_to_be_whole_pages() {
        let memory = Memory::new(3 * PAGE, Backing::Small).unwrap();
        let all = memory.as_slice();
        assert_eq!(parts(all).unwrap().count(), 1);
        for bad in [&all[1..], &all[..PAGE + 64], &all[64..PAGE]] {
            assert!(matches!(parts(bad), Err(Error::Unaligned { .. })));
        }
        aligned(&all[64..PAGE], LINE).unwrap();
        assert!(aligned(&all[64..70], LINE).is_err());
    }

    #[test]
    fn every_result_has_a_meaning_and_unknown_ones_say_so() {
        for n in abi::PAGE_MOVED..=abi::PAGE_POISONED {
            assert!(
                !matches!(NodePage::of(n as u8), NodePage::Unknown(_)),
                "{n}"
            );
        }
        assert_eq!(NodePage::of(77), NodePage::Unknown(77));
        assert!(NodePage::of(77).to_string().contains("77"));
        let migration = NodeMigration {
            pages: vec![NodePage::Moved, NodePage::Busy],
            ..Default::default()
        };
        assert!(!migration.is_complete());
        assert_eq!(migration.first_failure(), Some((1, NodePage::Busy)));
    }
}
