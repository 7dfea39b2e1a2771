//! Page frames of a process as the kernel shows them: `/proc/PID/maps`, `/proc/PID/pagemap`, the ranges of devices, the NUMA nodes of memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Entries of pagemap that are read at once.
const CHUNK: u64 = 64 << 10;

/// One mapping of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First byte.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// `rw-p` and the like.
    pub permissions: String,
    /// The file, `[heap]` and the like; empty for anonymous memory.
    pub name: String,
}

impl Mapping {
    /// Pages in it, there or not.
    pub fn pages(&self) -> u64 {
        (self.end - self.start) / PAGE
    }

    /// A line of `/proc/PID/maps`.
    fn parse(line: &str) -> Option<Mapping> {
        let (range, rest) = line.split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end) = (number(start)?, number(end)?);
        let (permissions, rest) = rest.split_once(' ')?;
        // Offset, device, inode; then blanks and the name, which may hold blanks itself.
        let name = rest.splitn(4, ' ').nth(3).unwrap_or("").trim();
        (start < end).then(|| Mapping {
            start,
            end,
            permissions: permissions.to_string(),
            name: name.to_string(),
        })
    }
}

/// The mappings in the text of `/proc/PID/maps`.
///
/// # Errors
/// A line in another form.
pub fn mappings(text: &str) -> Result<Vec<Mapping>> {
    let parse = |line| Mapping::parse(line).with_context(|| format!("this is no mapping: {line}"));
    text.lines().map(parse).collect()
}

/// Physical memory that belongs to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// The device's name.
    pub name: String,
    /// First byte.
    pub base: u64,
    /// Length.
    pub bytes: u64,
}

/// Where a page that is present is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the device with this index.
    Device(usize),
    /// In memory of this NUMA node.
    Node(u32),
    /// Present, but in nobody's memory that is known here.
    Elsewhere,
}

/// Which node a block of physical memory is of.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    block: u64,
    blocks: BTreeMap<u64, u32>,
}

impl Nodes {
    /// As sysfs tells; without that, all memory is of node 0.
    pub fn of_system() -> Nodes {
        let read = |path: &Path| std::fs::read_to_string(path).ok();
        let size = read(Path::new("/sys/devices/system/memory/block_size_bytes"));
        let block = size.and_then(|t| u64::from_str_radix(t.trim(), 16).ok());
        let mut blocks = BTreeMap::new();
        for node in std::fs::read_dir("/sys/devices/system/node")
            .into_iter()
            .flatten()
            .flatten()
        {
            let Some(number) = suffix(&node.file_name().to_string_lossy(), "node") else {
                continue;
            };
            for entry in std::fs::read_dir(node.path())
                .into_iter()
                .flatten()
                .flatten()
            {
                if let Some(block) = suffix(&entry.file_name().to_string_lossy(), "memory") {
                    blocks.insert(block, number as u32);
                }
            }
        }
        Nodes {
            block: block.unwrap_or(0),
            blocks,
        }
    }

    fn of(&self, address: u64) -> Option<u32> {
        if self.block == 0 || self.blocks.is_empty() {
            return Some(0);
        }
        self.blocks.get(&(address / self.block)).copied()
    }
}

/// `node12` is 12.
fn suffix(name: &str, prefix: &str) -> Option<u64> {
    name.strip_prefix(prefix)?.parse().ok()
}

/// Pages by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Those that are present.
    pub places: BTreeMap<Place, u64>,
    /// Those in swap space.
    pub swapped: u64,
}

impl Count {
    /// All that are present.
    pub fn present(&self) -> u64 {
        self.places.values().sum()
    }

    /// Those at one place.
    pub fn at(&self, place: Place) -> u64 {
        self.places.get(&place).copied().unwrap_or(0)
    }

    /// Those on any device.
    pub fn on_devices(&self) -> u64 {
        let on_device = |p: &Place| matches!(p, Place::Device(_));
        self.places
            .iter()
            .filter(|(p, _)| on_device(p))
            .map(|(_, n)| n)
            .sum()
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Count) {
        for (place, n) in &other.places {
            *self.places.entry(*place).or_default() += n;
        }
        self.swapped += other.swapped;
    }
}

/// The kernel did not show a frame's number.
#[derive(Debug)]
pub struct Hidden;

impl std::fmt::Display for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(
            "the kernel hides physical addresses from this user: run as root (CAP_SYS_ADMIN)",
        )
    }
}

impl std::error::Error for Hidden {}

/// Counts pages by what `/proc/PID/pagemap` says.
pub struct Counter<'a> {
    pagemap: File,
    devices: &'a [Range],
    nodes: &'a Nodes,
    /// Whether the kernel tells which pages there are, so that holes need not be read (PAGEMAP_SCAN, Linux 6.7).
    can_scan: bool,
    entries: Vec<u8>,
}

impl<'a> Counter<'a> {
    /// Of this file.
    pub fn new(pagemap: File, devices: &'a [Range], nodes: &'a Nodes) -> Counter<'a> {
        Counter {
            pagemap,
            devices,
            nodes,
            can_scan: true,
            entries: Vec::new(),
        }
    }

    /// Counts the pages of a mapping; `step` gets the number of pages that are behind, piece by piece.
    ///
    /// # Errors
    /// [`Hidden`], and those of reading.
    pub fn count(&mut self, mapping: &Mapping, mut step: impl FnMut(u64)) -> Result<Count> {
        let mut count = Count::default();
        // The kernel's half of the addresses: vsyscall, which is no memory of the process.
        if mapping.start >= 1 << 63 {
            step(mapping.pages());
            return Ok(count);
        }
        let mut at = mapping.start;
        while at < mapping.end {
            let (found, next) = self.populated(at, mapping.end)?;
            for (start, end) in found {
                self.read(start, end, &mut count)?;
            }
            step((next - at) / PAGE);
            at = next;
        }
        Ok(count)
    }

    /// Ranges from `start` on that hold pages, and how far that is known.
    fn populated(&mut self, start: u64, end: u64) -> Result<(Vec<(u64, u64)>, u64)> {
        if self.can_scan {
            match scan(&self.pagemap, start, end) {
                Ok(found) => return Ok(found),
                Err(e) if matches!(e.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL)) => {
                    self.can_scan = false
                }
                // The address space is gone: so are its pages.
                Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok((Vec::new(), end)),
                Err(e) => return Err(e).context("cannot scan /proc/PID/pagemap"),
            }
        }
        let next = end.min(start + CHUNK * PAGE);
        Ok((vec![(start, next)], next))
    }

    /// Adds the pages of a range.
    fn read(&mut self, start: u64, end: u64, count: &mut Count) -> Result<()> {
        let mut at = start;
        while at < end {
            let pages = ((end - at) / PAGE).min(CHUNK);
            self.entries.resize(pages as usize * 8, 0);
            let read = self.pagemap.read_at(&mut self.entries, at / PAGE * 8);
            let bytes = match read {
                Ok(bytes) => bytes / 8 * 8,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e).context("cannot read /proc/PID/pagemap"),
            };
            // The process ended, or the range is not of user space.
            if bytes == 0 {
                return Ok(());
            }
            for entry in self.entries[..bytes].chunks_exact(8) {
                let entry = u64::from_ne_bytes(entry.try_into().unwrap_or_default());
                self.note(entry, count)?;
            }
            at += bytes as u64 / 8 * PAGE;
        }
        Ok(())
    }

    /// Adds one entry: bit 63 present, bit 62 swapped, else bits 54:0 the frame's number, zero for those who may not know.
    fn note(&self, entry: u64, count: &mut Count) -> Result<()> {
        if entry >> 62 & 1 == 1 {
            count.swapped += 1;
        } else if entry >> 63 == 1 {
            let frame = entry & ((1 << 55) - 1);
            if frame == 0 {
                return Err(Hidden.into());
            }
            *count.places.entry(self.place(frame * PAGE)).or_default() += 1;
        }
        Ok(())
    }

    fn place(&self, address: u64) -> Place {
        let of_device = |d: &Range| address.checked_sub(d.base).is_some_and(|n| n < d.bytes);
        match (
            self.devices.iter().position(of_device),
            self.nodes.of(address),
        ) {
            (Some(n), _) => Place::Device(n),
            (None, Some(node)) => Place::Node(node),
            (None, None) => Place::Elsewhere,
        }
    }
}

/// `struct page_region` of linux/fs.h.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Region {
    start: u64,
    end: u64,
    categories: u64,
}

/// `struct pm_scan_arg` of linux/fs.h.
#[repr(C)]
#[derive(Default)]
struct Scan {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

/// `_IOWR('f', 16, struct pm_scan_arg)`.
const PAGEMAP_SCAN: u64 = 3 << 30 | (size_of::<Scan>() as u64) << 16 | (b'f' as u64) << 8 | 16;
/// `PAGE_IS_PRESENT | PAGE_IS_SWAPPED`.
const THERE: u64 = 1 << 3 | 1 << 4;

/// Ranges from `start` on that hold pages or swapped ones, and how far that is known.
fn scan(pagemap: &File, start: u64, end: u64) -> std::io::Result<(Vec<(u64, u64)>, u64)> {
    let mut regions = [Region::default(); 256];
    let mut scan = Scan {
        size: size_of::<Scan>() as u64,
        start,
        end,
        vec: regions.as_mut_ptr() as u64,
        vec_len: regions.len() as u64,
        // So that there is progress to show.
        max_pages: CHUNK,
        category_anyof_mask: THERE,
        return_mask: THERE,
        ..Default::default()
    };
    // SAFETY: the call writes `scan`, and to `regions` not more than `vec_len`.
    let found = unsafe {
        libc::ioctl(
            pagemap.as_raw_fd(),
            PAGEMAP_SCAN as libc::c_ulong,
            &mut scan,
        )
    };
    if found < 0 {
        return Err(std::io::Error::last_os_error());
    }
    let found = regions[..(found as usize).min(regions.len())]
        .iter()
        .map(|r| (r.start, r.end))
        .collect();
    // One that makes no headway would be asked for ever.
    let next = if scan.walk_end > start {
        scan.walk_end.min(end)
    } else {
        end
    };
    Ok((found, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_are_read_with_all_their_names() {
        let text = "55d0c8a00000-55d0c8a02000 r--p 00000000 fe:01 1234                       /usr/bin/with blank\n\
                    7f0000000000-7f0000200000 rw-p 00000000 00:00 0 \n\
                    7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n";
        let all = mappings(text).unwrap();
        assert_eq!(
            all.iter()
                .map(|m| (m.pages(), &*m.name, &*m.permissions))
                .collect::<Vec<_>>(),
            [
                (2, "/usr/bin/with blank", "r--p"),
                (512, "", "rw-p"),
                (33, "[stack]", "rw-p")
            ]
        );
        assert_eq!(all[0].start, 0x55d0_c8a0_0000);
        for bad in ["x", "5-4 rw-p 0 0 0", "zz-4 rw-p 0 0 0"] {
            assert!(mappings(bad).unwrap_err().to_string().contains(bad));
        }
        assert!(
            !mappings(&std::fs::read_to_string("/proc/self/maps").unwrap())
                .unwrap()
                .is_empty()
        );
    }

    /// A file in the form of pagemap that begins with these entries.
    fn pagemap(entries: &[u64]) -> File {
        let bytes: Vec<u8> = entries.iter().flat_map(|e| e.to_ne_bytes()).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        file
    }

    fn mapping(pages: u64) -> Mapping {
        Mapping {
            start: 0,
            end: pages * PAGE,
            permissions: "rw-p".into(),
            name: String::new(),
        }
    }

    #[test]
    fn frames_are_counted_by_place() {
        const PRESENT: u64 = 1 << 63;
        let devices = [("cxlmem0", 0x10), ("cxlmem1", 0x20)].map(|(name, frame)| Range {
            name: name.into(),
            base: frame * PAGE,
            bytes: 4 * PAGE,
        });
        let nodes = Nodes {
            block: 16 * PAGE,
            blocks: BTreeMap::from([(0, 0), (4, 3)]),
        };
        let frames = [1, 15, 0x10, 0x13, 0x14, 0x20, 0x23, 0x40, 0x4F, 0x50];
        let mut entries: Vec<u64> = frames
            .iter()
            .map(|f| PRESENT | 1 << 61 | 1 << 55 | f)
            .collect();
        // A hole, swapped.
        entries.extend([0, 1 << 62 | 77]);
        let mut counter = Counter::new(pagemap(&entries), &devices, &nodes);
        let mut seen = 0;
        // Longer than the file: what is not there is not counted.
        let count = counter.count(&mapping(200_000), |n| seen += n).unwrap();
        let places = [
            (Place::Device(0), 2),
            (Place::Device(1), 2),
            (Place::Node(0), 2),
            (Place::Node(3), 2),
            (Place::Elsewhere, 2),
        ];
        assert_eq!(
            count,
            Count {
                places: places.into(),
                swapped: 1
            }
        );
        assert_eq!(
            (count.present(), count.on_devices(), seen),
            (10, 4, 200_000)
        );
        let mut twice = count.clone();
        twice.add(&count);
        assert_eq!(
            (twice.present(), twice.swapped, twice.at(Place::Node(3))),
            (20, 2, 4)
        );
        let mut hidden = Counter::new(pagemap(&[0, PRESENT]), &devices, &nodes);
        assert!(hidden
            .count(&mapping(2), |_| ())
            .unwrap_err()
            .is::<Hidden>());
    }

    #[test]
    fn pages_of_this_process_are_found_and_holes_are_not() {
        let text = std::fs::read_to_string("/proc/self/maps").unwrap();
        let nodes = Nodes::of_system();
        let mut counter = Counter::new(File::open("/proc/self/pagemap").unwrap(), &[], &nodes);
        for can_scan in [true, false] {
            counter.can_scan &= can_scan;
            let all = mappings(&text).unwrap();
            let stack = all
                .iter()
                .find(|m| m.name == "[heap]" || m.name == "[stack]")
                .unwrap();
            match counter.count(stack, |_| ()) {
                Ok(count) => assert!((1..=stack.pages()).contains(&count.present()), "{count:?}"),
                Err(e) => assert!(e.is::<Hidden>(), "{e:#}"),
            }
            let at = |start: u64, pages: u64| Mapping {
                start,
                end: start + pages * PAGE,
                ..mapping(0)
            };
            let vsyscall = counter.count(&at(0xFFFF_FFFF_FF60_0000, 1), |_| ());
            assert_eq!(vsyscall.unwrap(), Count::default());
            // 16 TiB in which nothing is are behind at once where the kernel can tell; else it would take minutes.
            if counter.can_scan {
                let nothing = counter.count(&at(1 << 45, 1 << 32), |_| ());
                assert_eq!(nothing.unwrap(), Count::default());
            }
        }
    }
}
