//! Host memory and its page allocator.

mod common;

use common::Dice;
use pcie_sim::memory::{MemoryError, PageError, PAGE};
use pcie_sim::{HostMem, HostMemory};

#[test]
fn ranges() {
    let mut mem = HostMemory::new(0x1_0000_0123, 5000);
    assert_eq!((mem.base(), mem.size()), (0x1_0000_0000, 8192));
    mem.write(0x1_0000_0FFE, &[1, 2, 3, 4]).expect("inside");
    let mut buf = [0; 4];
    mem.read(0x1_0000_0FFE, &mut buf).expect("inside");
    assert_eq!(buf, [1, 2, 3, 4]);
    for (addr, bytes) in [
        (0, 4),
        (0xFFFF_FFFF, 4),
        (0x1_0000_1FFD, 4),
        (u64::MAX, 4),
        (0x1_0000_2000, 1),
    ] {
        let error = Err(MemoryError::OutOfRange { addr, bytes });
        assert_eq!(mem.write(addr, &vec![0; bytes as usize]), error);
        assert_eq!(mem.read(addr, &mut vec![0; bytes as usize]), error);
    }
    assert_eq!(mem.slice(0x1_0000_2000, 0), Ok(&[][..]));
    let mut top = HostMemory::new(u64::MAX, 1);
    assert!(
        top.write(u64::MAX - 3, &[1; 4]).is_ok(),
        "the last page there is"
    );
    assert!(top.poison(u64::MAX - 3, 4).is_ok());
    assert!(top.write(u64::MAX - 3, &[1; 4]).is_ok());
}

#[test]
fn poison_sticks_until_a_whole_line_is_written() {
    let mut mem = HostMemory::new(0, 4096);
    mem.poison(100, 100).expect("inside");
    let mut buf = [0; 64];
    assert_eq!(mem.read(0, &mut buf), Ok(()));
    assert_eq!(
        mem.read(64, &mut buf),
        Err(MemoryError::Poisoned { addr: 64 })
    );
    assert_eq!(
        mem.read(70, &mut buf[..4]),
        Err(MemoryError::Poisoned { addr: 70 })
    );
    assert_eq!(mem.read(256, &mut buf), Ok(()));
    mem.write(65, &[5; 63]).expect("inside");
    assert_eq!(
        mem.read(64, &mut buf),
        Err(MemoryError::Poisoned { addr: 64 })
    );
    assert_eq!(&buf[1..], [5; 63], "the bytes come with the error");
    mem.write(60, &[6; 140]).expect("inside");
    assert_eq!(mem.read(64, &mut buf), Ok(()));
    assert_eq!(mem.read(128, &mut buf), Ok(()));
    assert_eq!(
        mem.read(192, &mut buf),
        Err(MemoryError::Poisoned { addr: 192 })
    );
}

#[test]
fn pages_run_out() {
    let mut mem = HostMemory::new(0x8000, 4 * PAGE as usize);
    assert_eq!(
        mem.alloc_pages(0),
        Err(PageError::Exhausted { pages: 0, free: 4 })
    );
    assert_eq!(
        mem.alloc_pages(5),
        Err(PageError::Exhausted { pages: 5, free: 4 })
    );
    let all: Vec<u64> = (0..4).map(|_| mem.alloc_pages(1).expect("free")).collect();
    assert_eq!(
        mem.alloc_pages(1),
        Err(PageError::Exhausted { pages: 1, free: 0 })
    );
    mem.free_pages(all[0], 1).expect("allocated");
    mem.free_pages(all[2], 1).expect("allocated");
    assert_eq!(
        mem.alloc_pages(2),
        Err(PageError::Exhausted { pages: 2, free: 2 }),
        "not contiguous"
    );
    mem.free_pages(all[1], 1).expect("allocated");
    assert_eq!(mem.alloc_pages(3), Ok(all[0]));
    for (addr, pages) in [
        (all[0] + 1, 1),
        (all[0], 0),
        (all[0], 5),
        (0, 1),
        (all[0], u64::MAX),
    ] {
        assert_eq!(
            mem.free_pages(addr, pages),
            Err(PageError::NotAllocated { addr, pages })
        );
    }
    mem.free_pages(all[0], 4).expect("a run across allocations");
    assert_eq!(
        mem.free_pages(all[0], 1),
        Err(PageError::NotAllocated {
            addr: all[0],
            pages: 1
        }),
        "twice"
    );
    assert_eq!(mem.free_page_count(), 4);
}

/// Random allocation against a plain list: no overlap, no leak, and what fits in a fresh run is found.
#[test]
fn allocator_against_a_list() {
    let mut dice = Dice::new(common::seed());
    let total = 64;
    let mut mem = HostMemory::new(0x10_0000, total * PAGE as usize);
    let mut held: Vec<(u64, u64)> = Vec::new();
    for _ in 0..5000 {
        if dice.below(2) == 0 {
            let pages = 1 + dice.below(12);
            let mut used = vec![false; total];
            for &(addr, n) in &held {
                let first = ((addr - 0x10_0000) / PAGE) as usize;
                used[first..first + n as usize].fill(true);
            }
            let fits = used
                .windows(pages as usize)
                .any(|run| run.iter().all(|u| !u));
            match mem.alloc_pages(pages) {
                Ok(addr) => {
                    assert_eq!(addr % PAGE, 0);
                    let first = ((addr - 0x10_0000) / PAGE) as usize;
                    assert!(
                        used[first..first + pages as usize].iter().all(|u| !u),
                        "{addr:#x} overlaps"
                    );
                    held.push((addr, pages));
                }
                Err(_) => assert!(!fits, "{pages} pages fit"),
            }
        } else if !held.is_empty() {
            let (addr, pages) = held.swap_remove(dice.below(held.len() as u64) as usize);
            mem.free_pages(addr, pages).expect("held");
        }
        let in_use: u64 = held.iter().map(|(_, pages)| pages).sum();
        assert_eq!(mem.free_page_count(), total as u64 - in_use);
    }
}

/// Memory of the test that host memory holds too.
#[derive(Debug)]
struct Shared(std::sync::Mutex<Vec<u8>>, bool);

impl pcie_sim::SharedRegion for Shared {
    fn size(&self) -> u64 {
        self.0.lock().expect("one thread").len() as u64
    }
    fn is_writable(&self) -> bool {
        self.1
    }
    fn read(&self, offset: u64, buf: &mut [u8]) {
        let bytes = self.0.lock().expect("one thread");
        buf.copy_from_slice(&bytes[offset as usize..][..buf.len()]);
    }
    fn write(&self, offset: u64, data: &[u8]) {
        let mut bytes = self.0.lock().expect("one thread");
        bytes[offset as usize..][..data.len()].copy_from_slice(data);
    }
}

#[test]
fn shared_regions_come_and_go_without_overlap() {
    use std::sync::{Arc, Mutex};
    let region = |bytes, writable| Arc::new(Shared(Mutex::new(vec![0; bytes]), writable));
    let mut memory = HostMemory::new(0x1_0000, 4096);
    let (a, b) = (region(0x1000, true), region(0x1000, false));
    memory.add_region(0x4000, a.clone()).expect("free");
    memory.add_region(0x5000, b.clone()).expect("free");
    for at in [0x3001, 0x4000, 0x5FFF, 0xFFFF, 0x1_0FFF, u64::MAX - 1] {
        assert!(
            memory.add_region(at, region(0x1000, true)).is_err(),
            "{at:#x}"
        );
    }
    assert!(memory.add_region(0x9000, region(0, true)).is_err(), "empty");
    memory.write(0x4FFE, &[1, 2]).expect("inside");
    assert_eq!(a.0.lock().expect("one thread")[0xFFE..], [1, 2]);
    let mut out = [0; 2];
    memory.read(0x4FFE, &mut out).expect("inside");
    assert_eq!(out, [1, 2]);
    let refused = Err(MemoryError::Refused { addr: 0x5000 });
    assert_eq!(memory.write(0x5000, &[1]), refused);
    memory.read(0x5000, &mut out).expect("readable");
    let beyond = |r| matches!(r, Err(MemoryError::OutOfRange { .. }));
    assert!(beyond(memory.read(0x4FFF, &mut out)), "two regions");
    assert!(beyond(memory.read(0x3FFF, &mut out)));
    memory.write(0x1_0000, &[5]).expect("its own");
    assert!(memory.remove_regions(0x4800, 0x1000).is_err(), "in part");
    assert_eq!(memory.remove_regions(0x4000, 0x1000), Ok(1));
    assert!(beyond(memory.write(0x4FFE, &[1])));
    assert_eq!(memory.remove_regions(0, u64::MAX), Ok(1));
    assert_eq!(memory.remove_regions(0, u64::MAX), Ok(0));
}
