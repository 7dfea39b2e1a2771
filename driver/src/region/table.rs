//! State of a region's pages, and the right to change a page.

use super::Residency;
use crate::error::{Error, Result};
use crate::transport::PAGE;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How a page is mapped now.
#[derive(Debug, Default)]
pub(crate) enum Map {
    /// Not: the next access faults.
    #[default]
    Absent,
    /// Present, write-protected.
    Shared,
    /// Present and writable. The page as it was when it became writable: lines that differ are dirty.
    Owned(Box<[u8; PAGE]>),
    /// Every access is a SIGBUS.
    Poisoned,
}

#[derive(Debug)]
struct Page {
    home: Residency,
    map: Map,
    busy: bool,
    /// Operations that rely on the home.
    pins: usize,
    /// The home is going to change: no further pins.
    moving: bool,
}

#[derive(Debug)]
struct Pages {
    list: Vec<Page>,
    closed: bool,
}

/// The table. A page's home and mapping are changed only by the thread that holds its [`Claim`];
/// a home that others rely on ([`Table::pin`]) only after [`Table::moving`].
/// Pages held of device-coherent memory are [`Map::Absent`] here: [`super::held`] knows.
#[derive(Debug)]
pub(crate) struct Table {
    pages: Mutex<Pages>,
    released: Condvar,
}

/// The right to change one page. Give it back with [`Table::release`].
#[derive(Debug)]
#[must_use = "the page stays busy until it is released"]
pub(crate) struct Claim {
    pub page: usize,
    pub home: Residency,
    pub map: Map,
}

impl Table {
    pub fn new(homes: Vec<Residency>) -> Table {
        let list = homes
            .into_iter()
            .map(|home| Page {
                home,
                map: Map::Absent,
                busy: false,
                pins: 0,
                moving: false,
            })
            .collect();
        Table {
            pages: Mutex::new(Pages {
                list,
                closed: false,
            }),
            released: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims a page if nobody else has it.
    pub fn try_claim(&self, page: usize) -> Option<Claim> {
        claim(&mut self.lock(), page)
    }

    /// Claims a page, waiting for its present holder until `deadline`.
    ///
    /// # Errors
    /// [`Error::Busy`], [`Error::Closed`].
    pub fn claim(&self, page: usize, deadline: Instant) -> Result<Claim> {
        self.wait(page, deadline, |pages| match pages.closed {
            true => Some(Err(Error::Closed)),
            false => claim(pages, page).map(Ok),
        })
    }

    /// Waits until nobody relies on the home of a page that is claimed, so that it may change.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub fn moving(&self, claim: &Claim, deadline: Instant) -> Result<()> {
        self.wait(claim.page, deadline, |pages| {
            let page = pages.list.get_mut(claim.page)?;
            page.moving = true;
            (page.pins == 0).then_some(Ok(()))
        })
    }

    /// The home of a page, which stays until [`Table::unpin`].
    ///
    /// # Errors
    /// As [`Table::claim`].
    pub fn pin(&self, page: usize, deadline: Instant) -> Result<Residency> {
        self.wait(page, deadline, |pages| {
            if pages.closed {
                return Some(Err(Error::Closed));
            }
            let page = pages.list.get_mut(page)?;
            if page.moving {
                return None;
            }
            page.pins += 1;
            Some(Ok(page.home))
        })
    }

    /// Ends a [`Table::pin`].
    pub fn unpin(&self, page: usize) {
        if let Some(page) = self.lock().list.get_mut(page) {
            page.pins = page.pins.saturating_sub(1);
        }
        self.released.notify_all();
    }

    fn wait<T>(
        &self,
        page: usize,
        deadline: Instant,
        mut ready: impl FnMut(&mut Pages) -> Option<Result<T>>,
    ) -> Result<T> {
        let mut pages = self.lock();
        loop {
            if let Some(result) = ready(&mut pages) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return Err(Error::Busy { page });
            }
            pages = self
                .released
                .wait_timeout(pages, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Gives a page back with its new state. The caller then wakes the threads that wait for the page: one whose fault was dropped
    /// because the page was busy faults again.
    pub fn release(&self, claim: Claim) {
        let mut pages = self.lock();
        if let Some(page) = pages.list.get_mut(claim.page) {
            page.home = claim.home;
            page.map = claim.map;
            page.busy = false;
            page.moving = false;
        }
        drop(pages);
        self.released.notify_all();
    }

    /// No page can be claimed any more by [`Table::claim`].
    pub fn close(&self) {
        self.lock().closed = true;
        self.released.notify_all();
    }

    /// Home of a page, and a word on its mapping.
    pub fn inspect(&self, page: usize) -> Option<(Residency, super::Mapped)> {
        let pages = self.lock();
        let page = pages.list.get(page)?;
        let mapped = match (page.busy, &page.map) {
            (true, _) => super::Mapped::Busy,
            (_, Map::Absent) => super::Mapped::Absent,
            (_, Map::Shared) => super::Mapped::Shared,
            (_, Map::Owned(_)) => super::Mapped::Owned,
            (_, Map::Poisoned) => super::Mapped::Poisoned,
        };
        Some((page.home, mapped))
    }
}

fn claim(pages: &mut Pages, index: usize) -> Option<Claim> {
    let page = pages.list.get_mut(index)?;
    if std::mem::replace(&mut page.busy, true) {
        return None;
    }
    Some(Claim {
        page: index,
        home: page.home,
        map: std::mem::take(&mut page.map),
    })
}
