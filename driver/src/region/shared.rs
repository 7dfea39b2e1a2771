//! A region whose words threads of the program and the device's engine change at the same time.

use super::serve::Inner;
use super::{CoherentRegion, Pager, Residency};
use crate::device::{check_range, Atomic, OpResult};
use crate::error::{Error, Result};
use crate::transport::PAGE;
use std::sync::atomic::AtomicU64;

const WORD: usize = size_of::<AtomicU64>();

/// A region as 64-bit words that threads of the program and the engine share, by [`CoherentRegion::share`]. Copies go to as many threads as
/// wanted.
///
/// * Threads use the words as any atomics. Their page is in the process, or comes when it is touched.
/// * The engine's atomics act at the device's memory. The device first takes the word's line back by a snoop, for which the process loses the
///   page; a thread that touches it meanwhile waits. All atomics on a word, of threads and of the engine, are in one order.
/// * The words are little-endian in the device's memory.
#[derive(Clone, Copy, Debug)]
pub struct SharedRegion<'a> {
    region: &'a CoherentRegion,
}

impl CoherentRegion {
    /// The region for threads and the engine at once. It is borrowed alone: no slice of it exists meanwhile, for its content changes by itself.
    ///
    /// # Errors
    /// [`Error::HostOnly`] on a device that does not snoop.
    pub fn share(&mut self) -> Result<SharedRegion<'_>> {
        if self.inner.device.info().device_coherent {
            Ok(SharedRegion { region: self })
        } else {
            Err(Error::HostOnly)
        }
    }
}

impl<'a> SharedRegion<'a> {
    /// All words.
    pub fn words(self) -> &'a [AtomicU64] {
        let mapping = &self.region.inner.window.mapping;
        let words = mapping.bytes() / WORD;
        // SAFETY: the mapping starts at a page, is that many words long, and lives as long as the region, which `share` has borrowed alone for
        // 'a: the process accesses it through these atomics only. Taking the page away keeps the content for the next access.
        unsafe { std::slice::from_raw_parts(mapping.base().as_ptr().cast(), words) }
    }

    /// The word at a byte offset.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::Range`].
    pub fn word(self, offset: usize) -> Result<&'a AtomicU64> {
        self.check(offset)?;
        Ok(&self.words()[offset / WORD])
    }

    /// The engine adds to the word at a byte offset, wrapping. [`OpResult::value`] is what it was.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::Range`]; [`Error::OnHost`] when the page's home is host memory; [`Error::Busy`] when a migration has the page
    /// for longer than the bound; [`Error::Device`] with status NOT_RELEASED when the host did not give the line up in time, or POISON: the
    /// word is as it was then.
    pub fn device_fetch_add(self, offset: usize, add: u64) -> Result<OpResult> {
        self.check(offset)?;
        self.region.inner.atomic(offset, Atomic::Add(add))
    }

    /// The engine puts `new` into the word at a byte offset if it is `expected`. [`OpResult::value`] is what it was.
    ///
    /// # Errors
    /// As [`SharedRegion::device_fetch_add`].
    pub fn device_compare_swap(self, offset: usize, expected: u64, new: u64) -> Result<OpResult> {
        self.check(offset)?;
        let swap = Atomic::CompareSwap { expected, new };
        self.region.inner.atomic(offset, swap)
    }

    /// Moves pages meanwhile.
    pub fn pager(self) -> Pager {
        self.region.pager()
    }

    fn check(self, offset: usize) -> Result<()> {
        if offset % WORD != 0 {
            return Err(Error::Unaligned {
                what: "offset of a word",
                value: offset as u64,
                unit: WORD as u64,
            });
        }
        check_range(offset as u64, WORD, self.region.bytes() as u64)
    }
}

impl Inner {
    /// An atomic of the engine on a word inside the region.
    fn atomic(&self, offset: usize, atomic: Atomic) -> Result<OpResult> {
        let page = offset / PAGE;
        // Faults on the page are served meanwhile; only its home stays.
        let home = self.table.pin(page, self.deadline())?;
        let result = match home {
            Residency::Device { dpa } => {
                let at = dpa + (offset % PAGE) as u64;
                self.device.lock().atomic(at, atomic)
            }
            Residency::Host { .. } => Err(Error::OnHost { page }),
        };
        self.table.unpin(page);
        result
    }
}
