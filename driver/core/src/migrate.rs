//! Moving pages with the engine: a list of (host page, device page) pairs becomes list commands of up to 512 pages.
//!
//! What the engine and the driver owe each other (cxl-mem 8.6, interfaces 5):
//!
//! 1. The caller has unmapped or write-protected the pages before it starts a [`Migrator`].
//! 2. The host's lines of a device page are flushed ([`FlushHost`]) *before* `SET_OWNER device` hands it to the engine.
//! 3. A bad page does not fail the range: its result is noted and the command goes out again from the next page.
//! 4. A page whose host side is to read it (a copy home, or [`Holder::Host`] asked for) is handed back at the end.
//! 5. Every wait is bounded. When the engine does not answer it is reset; when it is not idle after that, the pages of the command are
//!    [`PageResult::Quarantined`]: neither the host page nor the device page may be reused, because DMA may still run.

use crate::engine::{self, Completion, Descriptor, Opcode, Status};
use crate::error::Error;
use crate::io::{Hw, IoError, Wait};
use crate::pool::Holder;
use crate::ring::Ring;
use crate::PAGE_BYTES;

/// Pages that one list command can hold.
pub const LIST_PAGES: usize = engine::MAX_PAGES as usize;
/// Bytes of DMA memory that a [`Migrator`] needs for its lists.
pub const LIST_BYTES: usize = LIST_PAGES * size_of::<u64>();

/// Which way pages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From host memory to device memory.
    ToDevice,
    /// From device memory to host memory.
    ToHost,
}

/// What became of one page. Everything but [`PageResult::Done`] means: the page's data is where it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageResult {
    /// Not yet tried.
    Pending,
    /// Copied.
    Done,
    /// The engine refused or failed it, with this status code.
    Failed {
        /// Status code of the completion record.
        code: u8,
    },
    /// The host's lines could not be flushed.
    FlushFailed(IoError),
    /// The engine stopped or did not answer, and was reset; it is idle.
    Aborted,
    /// The engine did not become idle: DMA may still touch *both* pages. Never reuse either.
    Quarantined,
    /// Not tried, because an earlier page ended the whole run.
    NotTried,
}

/// One page to move.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageMove {
    /// Bus address of the host page, 4 KiB aligned.
    pub host: u64,
    /// DPA of the device page, 4 KiB aligned.
    pub device: u64,
    /// Which side holds the device page: as it is before, and, afterwards, as the migrator left it.
    pub holder: Holder,
    /// Filled in by the migrator.
    pub result: PageResult,
}

impl PageMove {
    /// A page to move whose device page has this holder.
    pub fn new(host: u64, device: u64, holder: Holder) -> PageMove {
        PageMove {
            host,
            device,
            holder,
            result: PageResult::Pending,
        }
    }
}

/// The host's caches.
pub trait FlushHost<H: ?Sized> {
    /// Writes back and drops every line of `pages` device pages from `dpa` that a host cache holds. After it returns, the host must not
    /// touch these lines until it holds the pages again.
    ///
    /// # Errors
    /// The pages stay the host's and are not moved.
    fn flush_host(&mut self, hw: &mut H, dpa: u64, pages: u32) -> Result<(), IoError>;
}

impl<H: ?Sized, F: FnMut(&mut H, u64, u32) -> Result<(), IoError>> FlushHost<H> for F {
    fn flush_host(&mut self, hw: &mut H, dpa: u64, pages: u32) -> Result<(), IoError> {
        self(hw, dpa, pages)
    }
}

/// Whether more steps are needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Call again.
    Working,
    /// Every page has its result.
    Finished,
}

/// What a command in flight does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// `SET_OWNER device` and the copy.
    TakeAndCopy,
    /// The copy of pages that the device holds already.
    Copy,
    /// `SET_OWNER host`.
    GiveBack,
}

/// Commands in flight for the pages `first..first + count`.
#[derive(Clone, Copy, Debug)]
struct Chain {
    work: Work,
    first: usize,
    count: usize,
    taken: Option<Completion>,
    wait: Wait,
}

/// A migration in progress: a state machine over pages in the caller's storage. Each [`Migrator::step`] is bounded.
#[derive(Debug)]
pub struct Migrator<'a> {
    pages: &'a mut [PageMove],
    direction: Direction,
    after: Holder,
    list: u64,
    /// All pages before it are settled, in the present phase: copying, then handing back.
    next: usize,
    copied: bool,
    /// Pages have an owner, whom the engine heeds.
    owned: bool,
    chain: Option<Chain>,
    /// Engine cycles of all copies so far.
    cycles: u64,
}

impl<'a> Migrator<'a> {
    /// A migration of `pages` in `direction`. `after` says who holds a page that arrived on the device; a page that is not there at the
    /// end (copied home, or failed) is always handed to the host. `list` is the bus address of [`LIST_BYTES`] of DMA memory, 8-byte
    /// aligned, this migration's alone. Pages whose result is not [`PageResult::Pending`] are left alone.
    ///
    /// Pages with contiguous device addresses share a command.
    pub fn new(
        pages: &'a mut [PageMove],
        direction: Direction,
        after: Holder,
        list: u64,
    ) -> Migrator<'a> {
        Migrator {
            pages,
            direction,
            after,
            list,
            next: 0,
            copied: false,
            owned: true,
            chain: None,
            cycles: 0,
        }
    }

    /// For device-coherent memory: pages have no owner and the engine takes the host's lines itself, so that nothing is flushed or handed over,
    /// and [`PageMove::holder`] is left alone.
    #[must_use]
    pub fn without_owners(mut self) -> Migrator<'a> {
        self.owned = false;
        self
    }

    /// Engine cycles that the copies took, from their completion records.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// As [`Migrator::step`]; every page has its result then, too.
    pub fn run<H: Hw + ?Sized>(
        &mut self,
        hw: &mut H,
        ring: &mut Ring,
        flush: &mut impl FlushHost<H>,
    ) -> Result<(), Error> {
        while self.step(hw, ring, flush)? == Step::Working {}
        Ok(())
    }

    /// One step: sends the next command, or takes completions, or lets one slice pass.
    ///
    /// # Errors
    /// An error of the engine as a whole. The pages of the command are [`PageResult::Aborted`] (the engine was restarted) or
    /// [`PageResult::Quarantined`] (it was not idle: [`Error::EngineStuck`]); the pages after them [`PageResult::NotTried`].
    pub fn step<H: Hw + ?Sized>(
        &mut self,
        hw: &mut H,
        ring: &mut Ring,
        flush: &mut impl FlushHost<H>,
    ) -> Result<Step, Error> {
        let outcome = match self.chain.take() {
            Some(chain) => self.poll(hw, ring, chain),
            None => self.send(hw, ring, flush),
        };
        outcome.map_err(|(chain, error)| self.abort(hw, ring, chain, error))
    }

    fn send<H: Hw + ?Sized>(
        &mut self,
        hw: &mut H,
        ring: &mut Ring,
        flush: &mut impl FlushHost<H>,
    ) -> Result<Step, (Option<Chain>, Error)> {
        let Some((work, first, count)) = self.next_run() else {
            return Ok(Step::Finished);
        };
        // An engine that does not run has got none of these pages: they stay what they are.
        ring.expect_running().map_err(|error| (None, error))?;
        let device = self.pages.get(first).map_or(0, |page| page.device);
        if work == Work::TakeAndCopy {
            if let Err(error) = flush.flush_host(hw, device, count as u32) {
                self.each(first, count, |page| {
                    page.result = PageResult::FlushFailed(error)
                });
                return Ok(Step::Working);
            }
        }
        let ticks = ring
            .limits()
            .command_ticks((count as u64).saturating_mul(PAGE_BYTES));
        let chain = Chain {
            work,
            first,
            count,
            taken: None,
            wait: Wait::new(hw, ticks, ring.limits().slice),
        };
        let own = |side: Holder| Descriptor {
            opcode: Opcode::SetOwner as u8,
            flags: 0,
            id: 0,
            count: count as u32,
            dev_addr: device,
            host_addr: 0,
            arg: u64::from(side == Holder::Device),
        };
        let copy = Descriptor {
            opcode: match self.direction {
                Direction::ToDevice => Opcode::CopyToDevice as u8,
                Direction::ToHost => Opcode::CopyToHost as u8,
            },
            flags: engine::flags::IRQ | engine::flags::LIST,
            host_addr: self.list,
            arg: 0,
            ..own(Holder::Host)
        };
        if work != Work::GiveBack {
            self.write_list(hw, first, count)
                .map_err(|error| (None, error))?;
        }
        let sent = match work {
            Work::TakeAndCopy => ring.submit(hw, &[own(Holder::Device), copy]),
            Work::Copy => ring.submit(hw, &[copy]),
            Work::GiveBack => ring.submit(
                hw,
                &[Descriptor {
                    flags: engine::flags::IRQ,
                    ..own(Holder::Host)
                }],
            ),
        };
        // A doorbell that failed may have reached the device all the same.
        sent.map_err(|error| (Some(chain), error))?;
        self.chain = Some(chain);
        Ok(Step::Working)
    }

    fn poll<H: Hw + ?Sized>(
        &mut self,
        hw: &mut H,
        ring: &mut Ring,
        mut chain: Chain,
    ) -> Result<Step, (Option<Chain>, Error)> {
        match ring.reap(hw) {
            Err(error) => return Err((Some(chain), error)),
            Ok(Some(record)) if chain.work == Work::TakeAndCopy && chain.taken.is_none() => {
                chain.taken = Some(record);
                self.chain = Some(chain);
            }
            Ok(Some(record)) => self.settle(&chain, &record),
            Ok(None) => {
                if !chain.wait.pause(hw) {
                    // Once more: the time may have passed elsewhere.
                    match ring.reap(hw) {
                        Ok(Some(record))
                            if chain.work != Work::TakeAndCopy || chain.taken.is_some() =>
                        {
                            self.settle(&chain, &record);
                            return Ok(Step::Working);
                        }
                        Err(error) => return Err((Some(chain), error)),
                        _ => return Err((Some(chain), ring.timeout(chain.wait.ticks()))),
                    }
                }
                self.chain = Some(chain);
            }
        }
        Ok(Step::Working)
    }

    /// Gives the pages of a finished chain their results.
    fn settle(&mut self, chain: &Chain, record: &Completion) {
        let Chain {
            work,
            first,
            count,
            taken,
            ..
        } = *chain;
        let ok = |record: &Completion| record.status == Status::Ok as u8;
        let done = if ok(record) {
            count
        } else {
            (record.done as usize).min(count.saturating_sub(1))
        };
        if work == Work::GiveBack {
            // A page that could not be handed back stays the device's; its data is safe, so its result stays.
            self.each(first, done, |page| page.holder = Holder::Host);
            self.next = if ok(record) {
                first.saturating_add(count)
            } else {
                first.saturating_add(done).saturating_add(1)
            };
            return;
        }
        let owned = match &taken {
            Some(take) if !ok(take) => take.done as usize,
            _ => count,
        };
        if self.owned {
            self.each(first, owned, |page| page.holder = Holder::Device);
        }
        self.cycles = self.cycles.saturating_add(u64::from(record.cycles));
        self.each(first, done, |page| page.result = PageResult::Done);
        if ok(record) {
            return;
        }
        // The hand-over's own error is the cause of the copy's.
        let code = taken
            .filter(|take| !ok(take) && owned <= done)
            .map_or(record.status, |take| take.status);
        let (at, failed) = match Status::from_code(code) {
            // The engine checks the whole range first, and the last page is the one that must be beyond the capacity.
            Some(Status::DeviceRange) => (count.saturating_sub(1), 1),
            Some(
                Status::Misaligned
                | Status::HostInHdm
                | Status::HostOwned
                | Status::DmaError
                | Status::DmaTimeout
                | Status::Poison
                | Status::NotReleased,
            ) => (done, 1),
            // Not about a page: the command itself is wrong, or an unknown code.
            _ => (done, count.saturating_sub(done)),
        };
        self.each(first.saturating_add(at), failed, |page| {
            page.result = PageResult::Failed { code }
        });
    }

    /// The engine as a whole failed: reset it, and say what that means for the pages.
    fn abort<H: Hw + ?Sized>(
        &mut self,
        hw: &mut H,
        ring: &mut Ring,
        chain: Option<Chain>,
        error: Error,
    ) -> Error {
        let restarted = ring.start(hw);
        if let Some(Chain {
            work, first, count, ..
        }) = chain
        {
            let result = match restarted {
                Ok(()) => PageResult::Aborted,
                Err(_) => PageResult::Quarantined,
            };
            let owned = self.owned;
            self.each(first, count, |page| {
                if work != Work::GiveBack {
                    page.result = result;
                    // The hand-over may have happened.
                    if owned {
                        page.holder = Holder::Device;
                    }
                }
            });
        }
        self.pages
            .iter_mut()
            .filter(|page| page.result == PageResult::Pending)
            .for_each(|page| page.result = PageResult::NotTried);
        if restarted.is_ok() {
            self.give_back_all(hw, ring);
        }
        match restarted {
            Err(stuck @ Error::EngineStuck { .. }) => stuck,
            _ => error,
        }
    }

    /// After an abort: one bounded try to hand the pages back that the host should hold. What fails stays the device's, as
    /// [`PageMove::holder`] then says.
    fn give_back_all<H: Hw + ?Sized>(&mut self, hw: &mut H, ring: &mut Ring) {
        self.next = 0;
        while let Some((first, count)) = self.next_give_back() {
            let device = self.pages.get(first).map_or(0, |page| page.device);
            let give = Descriptor {
                opcode: Opcode::SetOwner as u8,
                flags: engine::flags::IRQ,
                id: 0,
                count: count as u32,
                dev_addr: device,
                host_addr: 0,
                arg: 0,
            };
            let ticks = ring.limits().command_ticks(0);
            match ring.run(hw, &give, ticks) {
                Ok(_) => self.each(first, count, |page| page.holder = Holder::Host),
                Err(Error::Command { .. }) => {}
                Err(_) => return,
            }
            self.next = first.saturating_add(count);
        }
    }

    /// The next run of pages to work on: copies first, then pages to hand back.
    fn next_run(&mut self) -> Option<(Work, usize, usize)> {
        if !self.copied {
            if let Some((first, count)) =
                self.run_from(self.next, |page| page.result == PageResult::Pending)
            {
                let work = match self.pages.get(first).map(|page| page.holder) {
                    _ if !self.owned => Work::Copy,
                    Some(Holder::Device) => Work::Copy,
                    _ => Work::TakeAndCopy,
                };
                self.next = first;
                return Some((work, first, count));
            }
            (self.copied, self.next) = (true, 0);
        }
        self.next_give_back()
            .map(|(first, count)| (Work::GiveBack, first, count))
    }

    fn next_give_back(&self) -> Option<(usize, usize)> {
        let stays = self.direction == Direction::ToDevice && self.after == Holder::Device;
        self.run_from(self.next, |page| {
            page.holder == Holder::Device && !(stays && page.result == PageResult::Done)
        })
    }

    /// First run of wanted pages at or after `from`: contiguous device addresses, one holder, at most [`LIST_PAGES`].
    fn run_from(&self, from: usize, wanted: impl Fn(&PageMove) -> bool) -> Option<(usize, usize)> {
        let mut pages = self
            .pages
            .iter()
            .enumerate()
            .skip(from)
            .skip_while(|(_, page)| !wanted(page));
        let (first, start) = pages.next()?;
        let same = |&(n, page): &(usize, &PageMove)| {
            let offset = (n.saturating_sub(first) as u64).saturating_mul(PAGE_BYTES);
            wanted(page)
                && page.holder == start.holder
                && Some(page.device) == start.device.checked_add(offset)
        };
        let more = pages
            .take(LIST_PAGES.saturating_sub(1))
            .take_while(same)
            .count();
        Some((first, more.saturating_add(1)))
    }

    fn write_list(
        &self,
        hw: &mut (impl Hw + ?Sized),
        first: usize,
        count: usize,
    ) -> Result<(), Error> {
        /// Entries written at once, from the stack.
        const BLOCK: usize = 64;
        let mut at = self.list;
        let mut left = count;
        let mut index = first;
        while left > 0 {
            let mut block = [0u8; BLOCK * 8];
            let now = left.min(BLOCK);
            let entries = self.pages.iter().skip(index).take(now);
            for (slot, page) in block.chunks_exact_mut(8).zip(entries) {
                slot.copy_from_slice(&page.host.to_le_bytes());
            }
            let bytes = block.get(..now.saturating_mul(8)).unwrap_or(&block);
            hw.dma_write(at, bytes)
                .map_err(|source| Error::Io { at, source })?;
            at = at.saturating_add(bytes.len() as u64);
            index = index.saturating_add(now);
            left = left.saturating_sub(now);
        }
        Ok(())
    }

    fn each(&mut self, first: usize, count: usize, act: impl FnMut(&mut PageMove)) {
        self.pages.iter_mut().skip(first).take(count).for_each(act);
    }
}
