//! Device pages: who owns them, and which side may touch them.
//!
//! The driver, not the system allocator, gives device pages out. It prefers contiguous extents, so that one descriptor copies up to
//! 512 pages. The table lives in storage that the caller provides (one [`PageSlot`] a page), allocates nothing, and no call sleeps:
//! pages can be freed from interrupt context.

use crate::PAGE_BYTES;
use core::fmt;

/// Which side may touch a page (the ownership bit of the engine, cxl-mem 8.6 h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// The host may cache its lines; the engine refuses it. The state of every page after reset, and of every free page.
    #[default]
    Host,
    /// The engine may touch it; the host must not.
    Device,
}

/// Who a page was given to: a region, a file, a process. Chosen by the caller.
pub type OwnerId = u32;

/// State of one device page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PageSlot {
    /// Can be given out.
    #[default]
    Free,
    /// Given out.
    Owned {
        /// To whom.
        owner: OwnerId,
        /// Which side may touch it.
        holder: Holder,
    },
    /// Lost: the engine may still write to it, or its memory is bad. Never given out again.
    Quarantined,
}

/// A contiguous run of device pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Device physical address of the first page, bytes.
    pub dpa: u64,
    /// Number of pages, at least 1.
    pub pages: u32,
}

impl Extent {
    /// DPAs of its pages, in order.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        (0..u64::from(self.pages))
            .map(move |n| self.dpa.saturating_add(n.saturating_mul(PAGE_BYTES)))
    }
}

/// Errors of the pool. Addresses are DPAs in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// Not enough free pages.
    NoSpace {
        /// Pages asked for.
        wanted: u64,
        /// Pages free.
        free: u64,
    },
    /// The address is no multiple of the page size, or a page count is zero.
    Unaligned {
        /// The address.
        dpa: u64,
    },
    /// The address is beyond the capacity.
    OutOfRange {
        /// The address.
        dpa: u64,
    },
    /// The page is registered already.
    AlreadyOwned {
        /// The page.
        dpa: u64,
        /// Its owner.
        owner: OwnerId,
    },
    /// The page belongs to another owner.
    NotOwner {
        /// The page.
        dpa: u64,
        /// Its owner.
        owner: OwnerId,
    },
    /// The page is free already.
    DoubleFree {
        /// The page.
        dpa: u64,
    },
    /// The page is quarantined.
    Quarantined {
        /// The page.
        dpa: u64,
    },
    /// The page is still held by the device: hand it back to the host before freeing it.
    DeviceHeld {
        /// The page.
        dpa: u64,
    },
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            PoolError::NoSpace { wanted, free } => {
                write!(f, "{wanted} device pages wanted, {free} free: migrate pages home or use a smaller region")
            }
            PoolError::Unaligned { dpa } => write!(f, "device address {dpa:#x} is no whole page: use multiples of {PAGE_BYTES}"),
            PoolError::OutOfRange { dpa } => write!(f, "device page {dpa:#x} is beyond the capacity: use a smaller region"),
            PoolError::AlreadyOwned { dpa, owner } => {
                write!(f, "device page {dpa:#x} is registered already (owner {owner}): free it first")
            }
            PoolError::NotOwner { dpa, owner } => {
                write!(f, "device page {dpa:#x} belongs to owner {owner}: only that owner may use or free it")
            }
            PoolError::DoubleFree { dpa } => write!(f, "device page {dpa:#x} is free already: free each page once"),
            PoolError::Quarantined { dpa } => write!(f, "device page {dpa:#x} is quarantined after a fault: reset the device to use it again"),
            PoolError::DeviceHeld { dpa } => write!(f, "device page {dpa:#x} is still held by the engine: hand it to the host first"),
        }
    }
}

impl core::error::Error for PoolError {}

/// The table of device pages, in storage `S` (an array, a `Vec`, a `&mut` slice).
#[derive(Debug)]
pub struct PagePool<S> {
    slots: S,
    free: u64,
    quarantined: u64,
    next: usize,
}

impl<S: AsRef<[PageSlot]> + AsMut<[PageSlot]>> PagePool<S> {
    /// A pool of all pages for which `slots` has room: page *n* is at DPA *n* x 4 KiB. What the storage held is forgotten.
    pub fn new(mut slots: S) -> PagePool<S> {
        slots.as_mut().fill(PageSlot::Free);
        let free = slots.as_ref().len() as u64;
        PagePool {
            slots,
            free,
            quarantined: 0,
            next: 0,
        }
    }

    /// Number of pages, whatever their state.
    pub fn pages(&self) -> u64 {
        self.slots.as_ref().len() as u64
    }

    /// Number of free pages.
    pub fn free_pages(&self) -> u64 {
        self.free
    }

    /// Number of quarantined pages.
    pub fn quarantined_pages(&self) -> u64 {
        self.quarantined
    }

    /// Pages that `owner` has.
    pub fn owned_by(&self, owner: OwnerId) -> u64 {
        self.slots
            .as_ref()
            .iter()
            .filter(|slot| matches!(slot, PageSlot::Owned { owner: o, .. } if *o == owner))
            .count() as u64
    }

    /// State of the page at `dpa`.
    ///
    /// # Errors
    /// [`PoolError::Unaligned`], [`PoolError::OutOfRange`].
    pub fn slot(&self, dpa: u64) -> Result<PageSlot, PoolError> {
        let index = self.index(dpa)?;
        self.slots
            .as_ref()
            .get(index)
            .copied()
            .ok_or(PoolError::OutOfRange { dpa })
    }

    /// Gives `owner` up to `wanted` contiguous pages, held by the host. The first run that is long enough is taken, beginning
    /// behind the last allocation; if none is, the longest one. Call again for the rest.
    ///
    /// # Errors
    /// [`PoolError::NoSpace`] when no page is free; [`PoolError::Unaligned`] when `wanted` is 0.
    pub fn alloc(&mut self, owner: OwnerId, wanted: u32) -> Result<Extent, PoolError> {
        if wanted == 0 {
            return Err(PoolError::Unaligned { dpa: 0 });
        }
        let (start, length) = self.find(wanted).ok_or(PoolError::NoSpace {
            wanted: u64::from(wanted),
            free: self.free,
        })?;
        let run = self
            .slots
            .as_mut()
            .iter_mut()
            .skip(start)
            .take(length as usize);
        run.for_each(|slot| {
            *slot = PageSlot::Owned {
                owner,
                holder: Holder::Host,
            }
        });
        self.free = self.free.saturating_sub(u64::from(length));
        self.next = start.saturating_add(length as usize);
        Ok(Extent {
            dpa: (start as u64).saturating_mul(PAGE_BYTES),
            pages: length,
        })
    }

    /// Gives `owner` exactly these pages (a range that something else has chosen). All or nothing.
    ///
    /// # Errors
    /// [`PoolError::AlreadyOwned`] names the first page registered before; [`PoolError::Quarantined`], [`PoolError::OutOfRange`],
    /// [`PoolError::Unaligned`].
    pub fn reserve(&mut self, owner: OwnerId, extent: Extent) -> Result<(), PoolError> {
        self.check(extent, |slot, dpa| match slot {
            PageSlot::Free => Ok(()),
            PageSlot::Owned { owner, .. } => Err(PoolError::AlreadyOwned { dpa, owner }),
            PageSlot::Quarantined => Err(PoolError::Quarantined { dpa }),
        })?;
        self.set(
            extent,
            PageSlot::Owned {
                owner,
                holder: Holder::Host,
            },
        );
        self.free = self.free.saturating_sub(u64::from(extent.pages));
        Ok(())
    }

    /// Takes pages back from `owner`. All or nothing.
    ///
    /// # Errors
    /// [`PoolError::DoubleFree`], [`PoolError::NotOwner`], [`PoolError::DeviceHeld`], [`PoolError::Quarantined`],
    /// [`PoolError::OutOfRange`], [`PoolError::Unaligned`].
    pub fn free(&mut self, owner: OwnerId, extent: Extent) -> Result<(), PoolError> {
        self.check_owner(owner, extent, true)?;
        self.set(extent, PageSlot::Free);
        self.free = self.free.saturating_add(u64::from(extent.pages));
        Ok(())
    }

    /// Checks that every page of the extent is `owner`'s.
    ///
    /// # Errors
    /// As [`PagePool::free`], without [`PoolError::DeviceHeld`].
    pub fn expect_owner(&self, owner: OwnerId, extent: Extent) -> Result<(), PoolError> {
        self.check_owner(owner, extent, false)
    }

    /// Notes which side may touch the pages of an extent. Only pages given out change.
    ///
    /// # Errors
    /// [`PoolError::OutOfRange`], [`PoolError::Unaligned`].
    pub fn set_holder(&mut self, extent: Extent, side: Holder) -> Result<(), PoolError> {
        self.check(extent, |_, _| Ok(()))?;
        self.each(extent, |slot| {
            if let PageSlot::Owned { holder, .. } = slot {
                *holder = side;
            }
        });
        Ok(())
    }

    /// Takes pages out of use for good, whatever their state was.
    ///
    /// # Errors
    /// [`PoolError::OutOfRange`], [`PoolError::Unaligned`].
    pub fn quarantine(&mut self, extent: Extent) -> Result<(), PoolError> {
        self.check(extent, |_, _| Ok(()))?;
        let (mut free, mut lost) = (0, 0);
        self.each(extent, |slot| {
            free += u64::from(*slot == PageSlot::Free);
            lost += u64::from(*slot != PageSlot::Quarantined);
            *slot = PageSlot::Quarantined;
        });
        self.free = self.free.saturating_sub(free);
        self.quarantined = self.quarantined.saturating_add(lost);
        Ok(())
    }

    /// The first run of at least `wanted` pages behind the last allocation, then from the start, then the longest run.
    fn find(&self, wanted: u32) -> Option<(usize, u32)> {
        let slots = self.slots.as_ref();
        // Callers hold a lock: where there is nothing, nothing is looked for.
        if self.free == 0 {
            return None;
        }
        let mut best: Option<(usize, u32)> = None;
        for from in [self.next, 0] {
            let mut run: Option<(usize, u32)> = None;
            for (index, slot) in slots.iter().enumerate().skip(from) {
                if *slot != PageSlot::Free {
                    run = None;
                    continue;
                }
                let (start, length) = run.map_or((index, 1), |(start, length)| {
                    (start, length.saturating_add(1))
                });
                if length >= wanted {
                    return Some((start, length));
                }
                run = Some((start, length));
                if best.is_none_or(|(_, most)| length > most) {
                    best = run;
                }
            }
        }
        best
    }

    fn index(&self, dpa: u64) -> Result<usize, PoolError> {
        if dpa % PAGE_BYTES != 0 {
            return Err(PoolError::Unaligned { dpa });
        }
        usize::try_from(dpa / PAGE_BYTES).map_err(|_| PoolError::OutOfRange { dpa })
    }

    fn check(
        &self,
        extent: Extent,
        ok: impl Fn(PageSlot, u64) -> Result<(), PoolError>,
    ) -> Result<(), PoolError> {
        if extent.pages == 0 {
            return Err(PoolError::Unaligned { dpa: extent.dpa });
        }
        for dpa in extent.iter() {
            ok(self.slot(dpa)?, dpa)?;
        }
        Ok(())
    }

    fn check_owner(&self, owner: OwnerId, extent: Extent, freeing: bool) -> Result<(), PoolError> {
        self.check(extent, |slot, dpa| match slot {
            PageSlot::Free => Err(PoolError::DoubleFree { dpa }),
            PageSlot::Quarantined => Err(PoolError::Quarantined { dpa }),
            PageSlot::Owned { owner: other, .. } if other != owner => {
                Err(PoolError::NotOwner { dpa, owner: other })
            }
            PageSlot::Owned {
                holder: Holder::Device,
                ..
            } if freeing => Err(PoolError::DeviceHeld { dpa }),
            PageSlot::Owned { .. } => Ok(()),
        })
    }

    fn each(&mut self, extent: Extent, act: impl FnMut(&mut PageSlot)) {
        let start = usize::try_from(extent.dpa / PAGE_BYTES).unwrap_or(usize::MAX);
        self.slots
            .as_mut()
            .iter_mut()
            .skip(start)
            .take(extent.pages as usize)
            .for_each(act);
    }

    fn set(&mut self, extent: Extent, value: PageSlot) {
        self.each(extent, |slot| *slot = value);
    }
}
