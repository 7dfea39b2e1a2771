//! Pages of device-coherent memory that the process holds: one more cache of the host, whose content is in the process's own memory.
//!
//! A page is here from the moment it is put in place, when the host has all its lines, until it is taken away: by its region (a
//! [`Claim`](super::table::Claim)), or for a snoop ([`PageHolder::recall`]), which asks no region. What is not here is not in the process.
//!
//! Putting in place and taking away are done under the device's lock, so that no device cycle, and with it no snoop, comes between a load of
//! lines and the page's entry here, or between the entry's end and the return of its lines.

use super::mapping::Mapping;
use super::uffd::Uffd;
use crate::error::Result;
use crate::transport::{ChangedLine, PageHolder, LINE, PAGE};
use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A region's memory and the means to change its pages. Not its device: the last one of these may be dropped inside a call of the device.
#[derive(Debug)]
pub(crate) struct Window {
    pub mapping: Mapping,
    pub uffd: Uffd,
    /// Use `UFFDIO_POISON`.
    pub poison_by_uffd: bool,
    /// Pages taken away for a snoop, and their changed lines.
    pub pages_recalled: AtomicU64,
    pub lines_recalled: AtomicU64,
}

#[derive(Debug)]
struct Held {
    window: Arc<Window>,
    page: usize,
    /// Writable. The page as it was when it became so: lines that differ are changed.
    before: Option<Box<[u8; PAGE]>>,
}

/// The pages held, by host physical address. Its lock is the last of all (see [`super::serve`]).
#[derive(Debug, Default)]
pub(crate) struct Holdings {
    pages: Mutex<BTreeMap<u64, Held>>,
}

impl Holdings {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Held>> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the page at `hpa` is held, and writable.
    pub fn writable(&self, hpa: u64) -> Option<bool> {
        self.lock().get(&hpa).map(|held| held.before.is_some())
    }

    /// Whether the page is held with the right asked for; lifts the write protection that a failed return has left.
    pub fn grant(&self, hpa: u64, write: bool) -> Result<bool> {
        let pages = self.lock();
        let Some(held) = pages.get(&hpa) else {
            return Ok(false);
        };
        if write && held.before.is_some() {
            let address = held.window.mapping.address(held.page);
            held.window.uffd.write_protect(address, false)?;
        }
        Ok(!write || held.before.is_some())
    }

    /// Puts a page in place whose lines the host has just got: `data`. To be called under the device's lock, held since they came.
    pub fn put(
        &self,
        hpa: u64,
        window: &Arc<Window>,
        page: usize,
        data: Box<[u8; PAGE]>,
        write: bool,
    ) -> Result<()> {
        let address = window.mapping.address(page);
        match self.lock().entry(hpa) {
            // For reading until now, and not taken away while the lines came: it holds the same data.
            Entry::Occupied(mut held) => {
                if write {
                    window.uffd.write_protect(address, false)?;
                    held.get_mut().before = Some(data);
                }
            }
            Entry::Vacant(place) => {
                window.uffd.copy(address, &data, !write)?;
                place.insert(Held {
                    window: window.clone(),
                    page,
                    before: write.then_some(data),
                });
            }
        }
        Ok(())
    }

    /// Protects a page that is held from stores, and returns the lines changed. `None`: not held.
    pub fn changed(&self, hpa: u64) -> Result<Option<Vec<ChangedLine>>> {
        self.lock()
            .get(&hpa)
            .map(|held| held.changed(hpa))
            .transpose()
    }

    /// Takes a page away whose changes are elsewhere.
    pub fn release(&self, hpa: u64) -> Result<()> {
        release(&mut self.lock(), hpa)
    }

    /// The page's region is gone.
    pub fn forget(&self, hpa: u64) {
        self.lock().remove(&hpa);
    }
}

fn release(pages: &mut BTreeMap<u64, Held>, hpa: u64) -> Result<()> {
    if let Some(held) = pages.get(&hpa) {
        held.window.mapping.discard(held.page)?;
        pages.remove(&hpa);
    }
    Ok(())
}

impl Held {
    fn changed(&self, hpa: u64) -> Result<Vec<ChangedLine>> {
        let Some(before) = &self.before else {
            return Ok(Vec::new());
        };
        let Window { mapping, uffd, .. } = &*self.window;
        // A store is before this, and seen below, or it faults and waits until the page is back: none is torn.
        uffd.write_protect(mapping.address(self.page), true)?;
        let now = mapping.read_page(self.page);
        let lines = now.chunks_exact(LINE).zip(before.chunks_exact(LINE));
        let changed = lines.enumerate().filter(|(_, (new, old))| new != old);
        Ok(changed
            .map(|(n, (new, _))| {
                let mut line = [0; LINE];
                line.copy_from_slice(new);
                (hpa + (n * LINE) as u64, line)
            })
            .collect())
    }
}

impl PageHolder for Holdings {
    fn recall(&self, hpa: u64) -> std::result::Result<Vec<ChangedLine>, String> {
        let hpa = hpa - hpa % PAGE as u64;
        let mut pages = self.lock();
        let Some(held) = pages.get(&hpa) else {
            return Ok(Vec::new());
        };
        let window = held.window.clone();
        let lines = held.changed(hpa);
        let taken = lines.and_then(|lines| release(&mut pages, hpa).map(|()| lines));
        let lines = taken.map_err(|error| format!("page at {hpa:#x}: {error}"))?;
        window.pages_recalled.fetch_add(1, Ordering::Relaxed);
        let count = lines.len() as u64;
        window.lines_recalled.fetch_add(count, Ordering::Relaxed);
        Ok(lines)
    }
}
