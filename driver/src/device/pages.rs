//! Results of page migrations.

use crate::error::Error;
use cxlmem_driver_core as core;
use cxlmem_protocol::engine::Status;
use std::fmt;

/// A page of host memory that the device can reach. Made by [`crate::HostBuffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPage {
    pub(crate) bus: u64,
}

impl HostPage {
    /// Its bus address, bytes.
    pub fn bus(self) -> u64 {
        self.bus
    }
}

/// What became of one page. Everything but [`PageResult::Moved`] means: its data is where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PageResult {
    /// It moved.
    Moved,
    /// It was there already.
    AlreadyThere,
    /// Another operation has the page (or an earlier entry of the same list). Try again.
    Busy,
    /// No free page on the side where it should go.
    NoSpace,
    /// Not a page of a [`crate::HostBuffer`] of this device.
    NotRegistered,
    /// The engine refused or failed it, with this status code.
    Failed {
        /// Status code of the completion record.
        code: u8,
    },
    /// Dirty lines of the page could not be written back, so it was not touched.
    FlushFailed,
    /// The engine stopped or did not answer, and was reset; it is idle.
    Aborted,
    /// The engine did not become idle after its reset: source and destination are never used again.
    Quarantined,
    /// Not tried, because an earlier page ended the whole run.
    NotTried,
    /// The page's data was lost before (its home was quarantined).
    Lost,
}

impl PageResult {
    /// The page is where it was asked to be.
    pub fn is_ok(self) -> bool {
        matches!(self, PageResult::Moved | PageResult::AlreadyThere)
    }
}

impl From<core::PageResult> for PageResult {
    fn from(result: core::PageResult) -> PageResult {
        match result {
            core::PageResult::Done => PageResult::Moved,
            core::PageResult::Failed { code } => PageResult::Failed { code },
            core::PageResult::FlushFailed(_) => PageResult::FlushFailed,
            core::PageResult::Aborted => PageResult::Aborted,
            core::PageResult::Quarantined => PageResult::Quarantined,
            core::PageResult::Pending | core::PageResult::NotTried => PageResult::NotTried,
        }
    }
}

impl fmt::Display for PageResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PageResult::Moved => f.write_str("moved"),
            PageResult::AlreadyThere => f.write_str("was there already"),
            PageResult::Busy => f.write_str("busy with another operation; retry"),
            PageResult::NoSpace => {
                f.write_str("no free page at the destination; migrate other pages away first")
            }
            PageResult::NotRegistered => f.write_str("not a page of this device's host buffers"),
            PageResult::Failed { code } => match Status::from_code(*code) {
                Some(status) => write!(f, "engine status {code}: {status}"),
                None => write!(f, "engine status {code}, which this driver does not know"),
            },
            PageResult::FlushFailed => f.write_str("dirty lines could not be written back"),
            PageResult::Aborted => f.write_str("the engine stopped and was reset; retry"),
            PageResult::Quarantined => f.write_str(
                "the engine is stuck, source and destination are quarantined; reset the function",
            ),
            PageResult::NotTried => f.write_str("not tried, because the run ended before"),
            PageResult::Lost => f.write_str("data lost: its home was quarantined"),
        }
    }
}

/// What a migration did.
#[derive(Debug, Default)]
#[must_use = "pages can fail one by one"]
pub struct Migration {
    /// One result a page, in the order asked.
    pub pages: Vec<PageResult>,
    /// Cycles of the engine's copy commands, from their completion records.
    pub engine_cycles: u64,
    /// Device cycles from the first call to the last completion, hand-over and flushes included.
    pub device_cycles: u64,
    /// The error of the device as a whole that ended the run early, if one did.
    pub error: Option<Error>,
}

impl Migration {
    /// Every page is where it was asked to be.
    pub fn is_complete(&self) -> bool {
        self.error.is_none() && self.pages.iter().all(|page| page.is_ok())
    }

    /// Pages that moved.
    pub fn moved(&self) -> usize {
        self.pages
            .iter()
            .filter(|page| **page == PageResult::Moved)
            .count()
    }

    /// As an error if a page is not where it should be.
    ///
    /// # Errors
    /// The device's error, or [`Error::Evict`] for the first page that failed.
    pub fn complete(self) -> Result<Migration, Error> {
        if let Some(error) = self.error {
            return Err(error);
        }
        match self.pages.iter().position(|page| !page.is_ok()) {
            None => Ok(self),
            Some(first) => Err(Error::Evict {
                failed: self.pages.iter().filter(|page| !page.is_ok()).count(),
                pages: self.pages.len(),
                first,
                result: self.pages[first],
            }),
        }
    }

    /// Adds the outcome of the next pages.
    pub(crate) fn append(&mut self, next: Migration) {
        self.pages.extend(next.pages);
        self.engine_cycles += next.engine_cycles;
        self.device_cycles += next.device_cycles;
        if self.error.is_none() {
            self.error = next.error;
        }
    }
}

/// Counters of the driver since the device was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Pages copied to the device.
    pub pages_to_device: u64,
    /// Pages copied to the host.
    pub pages_to_host: u64,
    /// Pages that the CPU brought home because the engine was out of use.
    pub pages_by_cpu: u64,
    /// Pages of migrations that failed.
    pub page_errors: u64,
    /// Pages lost to quarantine, on both sides.
    pub quarantined: u64,
    /// Engine resets after a time-out or a fault.
    pub engine_resets: u64,
    /// Engine commands other than copies.
    pub commands: u64,
    /// Lines loaded through the coherent protocol.
    pub lines_read: u64,
    /// Lines stored through the coherent protocol.
    pub lines_written: u64,
    /// Poisoned lines seen by loads.
    pub poisoned_lines: u64,
}
