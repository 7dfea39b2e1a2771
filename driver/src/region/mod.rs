//! Plain pointers: ordinary memory whose pages live on the device or in host memory, and are fetched through the coherent protocol.
//!
//! # How a page lives
//!
//! Every page has a **home**: a device page, or a page of host DMA memory. Loads and stores act on a page of process memory that stands
//! for the lines a CPU cache would hold:
//!
//! * The first load faults; the page's 64 lines are fetched from the home (from the device: shared lines, through the protocol) and put
//!   in place write-protected.
//! * The first store faults; the lines are fetched for ownership and the protection is lifted. The page as it was is kept, so that only
//!   lines that changed are written back.
//! * [`Pager::evict`] write-protects the page, writes the dirty lines back through the protocol, flushes them from the host's caches, and
//!   takes the page away; the next access faults.
//! * [`Pager::migrate_to_device`] and [`Pager::migrate_to_host`] take the page away in the same manner and move its home with the
//!   device's engine. Pointers stay valid; a thread that accesses a page meanwhile waits.
//!
//! # Device-coherent memory
//!
//! With [`crate::Options::device_coherent`] the device takes lines back by snoops. The process is then one more cache of the host: a page is
//! put in place when the host has got all its lines, with ownership for a store, and for a snoop of any of them it is taken away, its changed
//! lines going to the host's caches, before the snoop is answered. The next access faults and gets it back. So the engine may work on a page
//! that threads use: [`CoherentRegion::share`]. Pages go and come whole: two words of one page that both sides use all the time cost a fault
//! for each turn.
//!
//! # What cannot work
//!
//! * A **system call** that is given a pointer to an absent page fails with EFAULT, because the handler serves faults of user mode only
//!   (which needs no privilege). Call [`Pager::prefault`] before.
//! * **Poison** (and a home that cannot be read at all) is a SIGBUS at the access, by `UFFDIO_POISON` on Linux 6.6 and later and by a
//!   mapping of an empty file before. No zeros are ever put in place of lost data. [`Pager::evict`] lifts the SIGBUS; the next access
//!   tries again.
//! * After **fork** the region is not mapped in the child.
//! * Without device coherence the device's engine acts on a page's home, not on the process's copy: evict first.

mod held;
mod mapping;
mod serve;
mod shared;
mod table;
mod uffd;

use crate::device::{check_range, Device, Migration, PageResult, OWNER_REGIONS};
use crate::error::{Error, Result};
use crate::transport::PAGE;
use cxlmem_driver_core::{Extent, LIST_PAGES};
pub(crate) use held::Holdings;
use held::Window;
use mapping::Mapping;
use serve::{Counters, Inner};
pub use shared::SharedRegion;
use std::ops::{Deref, Range};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use table::{Claim, Table};
use uffd::Uffd;

/// Where a page's home is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Residency {
    /// On the device.
    Device {
        /// Device physical address.
        dpa: u64,
    },
    /// In host memory.
    Host {
        /// Bus address.
        bus: u64,
    },
}

impl Residency {
    /// The side alone.
    pub fn side(self) -> Side {
        match self {
            Residency::Device { .. } => Side::Device,
            Residency::Host { .. } => Side::Host,
        }
    }
}

/// Device or host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Device memory.
    Device,
    /// Host memory.
    Host,
}

/// How the process holds a page now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mapped {
    /// Not at all: the next access faults.
    Absent,
    /// Readable.
    Shared,
    /// Writable.
    Owned,
    /// Every access is a SIGBUS.
    Poisoned,
    /// Part of an operation.
    Busy,
}

/// How to make a region.
#[derive(Clone, Debug)]
pub struct RegionOptions {
    /// Where its pages live at first.
    pub home: Side,
    /// How long an operation waits for a page that another one has before it reports [`PageResult::Busy`].
    pub busy_wait: Duration,
    /// Use `UFFDIO_POISON` where the kernel has it. Off: as on kernels before 6.6.
    pub uffd_poison: bool,
}

impl Default for RegionOptions {
    fn default() -> RegionOptions {
        RegionOptions {
            home: Side::Device,
            busy_wait: Duration::from_secs(5),
            uffd_poison: true,
        }
    }
}

/// Counters of a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegionStats {
    /// Faults of loads.
    pub read_faults: u64,
    /// Faults of stores.
    pub write_faults: u64,
    /// Pages that had dirty lines to write back.
    pub pages_written_back: u64,
    /// Their dirty lines.
    pub lines_written_back: u64,
    /// Pages made a SIGBUS: poisoned, or unreadable.
    pub bus_errors: u64,
    /// Device-coherent memory: pages that the process lost for a snoop.
    pub pages_recalled: u64,
    /// Their changed lines.
    pub lines_recalled: u64,
}

/// What closing a region did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CloseReport {
    /// Pages of the region.
    pub pages: usize,
    /// Pages that were a SIGBUS at the end.
    pub poisoned: Vec<usize>,
}

/// The calls that move pages of a region: a handle of its own, so that one thread can migrate while others use the slices.
#[derive(Clone, Debug)]
pub struct Pager {
    inner: Arc<Inner>,
}

/// Coherent device memory as ordinary memory. See the [module](self) for how its pages live. Dropping it evicts all pages and frees them;
/// [`CoherentRegion::close`] does the same and reports errors.
#[derive(Debug)]
pub struct CoherentRegion {
    pager: Pager,
    server: Option<Server>,
}

impl Deref for CoherentRegion {
    type Target = Pager;
    fn deref(&self) -> &Pager {
        &self.pager
    }
}

impl CoherentRegion {
    /// A region of `bytes` (rounded up to whole pages), zeroed, all of it on the device.
    ///
    /// # Errors
    /// [`Error::Size`] for zero bytes, [`Error::Pool`] for more than the device has free, [`Error::Userfaultfd`] where the kernel does
    /// not let this process handle its faults (it says what to change), [`Error::Device`], [`Error::Transport`], [`Error::System`].
    pub fn new(device: &Arc<Device>, bytes: usize) -> Result<CoherentRegion> {
        CoherentRegion::with_options(device, bytes, &RegionOptions::default())
    }

    /// As [`CoherentRegion::new`], with options.
    ///
    /// # Errors
    /// As [`CoherentRegion::new`].
    pub fn with_options(
        device: &Arc<Device>,
        bytes: usize,
        options: &RegionOptions,
    ) -> Result<CoherentRegion> {
        if bytes == 0 || bytes > isize::MAX as usize - PAGE {
            return Err(Error::Size {
                what: "region",
                wanted: bytes as u64,
                limit: isize::MAX as u64,
            });
        }
        let pages = bytes.div_ceil(PAGE);
        // What can fail without the device comes first.
        let uffd = Uffd::open()?;
        let mapping = Mapping::new(pages * PAGE)?;
        uffd.register(mapping.base().as_ptr() as usize, mapping.bytes())?;
        let (owner, homes) = homes(device, pages, options.home)?;
        let inner = Arc::new(Inner {
            device: device.clone(),
            owner,
            window: Arc::new(Window {
                mapping,
                poison_by_uffd: options.uffd_poison && uffd.has_poison,
                uffd,
                pages_recalled: AtomicU64::new(0),
                lines_recalled: AtomicU64::new(0),
            }),
            table: Table::new(homes),
            counters: Counters::default(),
            busy_wait: options.busy_wait,
            last_error: Mutex::new(None),
        });
        // From here on dropping the region frees everything.
        let mut region = CoherentRegion {
            pager: Pager { inner },
            server: None,
        };
        region.server = Some(Server::start(region.inner.clone())?);
        Ok(region)
    }

    /// The region as a slice. Loads fetch pages as they need them.
    pub fn as_slice(&self) -> &[u8] {
        let mapping = &self.inner.window.mapping;
        // SAFETY: the mapping is `bytes` long and lives as long as `self`; any content is valid. Bytes that other code sees change only
        // through `as_mut_slice`, which borrows the region alone: migration and eviction keep the content.
        unsafe { std::slice::from_raw_parts(mapping.base().as_ptr(), mapping.bytes()) }
    }

    /// The region as a mutable slice. Stores take ownership of pages as they need them. [`CoherentRegion::pager`] moves pages meanwhile.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        let mapping = &self.inner.window.mapping;
        // SAFETY: as in `as_slice`, and `&mut self` makes this the only slice.
        unsafe { std::slice::from_raw_parts_mut(mapping.base().as_ptr(), mapping.bytes()) }
    }

    /// The region's first byte, for code that shares the memory between threads by itself. Valid until the region is closed or dropped.
    pub fn as_mut_ptr(&self) -> *mut u8 {
        self.inner.window.mapping.base().as_ptr()
    }

    /// A handle for migrations while the slices are in use.
    pub fn pager(&self) -> Pager {
        self.pager.clone()
    }

    /// Evicts all pages (dirty lines are written back through the protocol), frees them on both sides, and unmaps the region.
    ///
    /// # Errors
    /// [`Error::Evict`] when dirty lines of a page could not be written back; [`Error::Busy`] when a [`Pager`] is still at work on a page
    /// after the bound (that page's home is then never freed). The region is gone in each case; its address range is reused when the last
    /// [`Pager`] is dropped, too.
    pub fn close(mut self) -> Result<CloseReport> {
        self.shut_down()
    }

    fn shut_down(&mut self) -> Result<CloseReport> {
        let inner = &self.pager.inner;
        let pages = inner.pages();
        let mut report = CloseReport {
            pages,
            ..CloseReport::default()
        };
        let mut failed: Option<(usize, usize)> = None;
        let deadline = inner.deadline();
        let mut claims: Vec<Claim> = Vec::with_capacity(pages);
        let mut busy = Ok(());
        for page in 0..pages {
            match inner.table.claim(page, deadline) {
                Ok(claim) => claims.push(claim),
                Err(error) => busy = Err(error),
            }
        }
        // All claims are held: pagers get no further page, and none is at work unless `busy` says so.
        inner.table.close();
        for claim in &mut claims {
            if matches!(claim.map, table::Map::Poisoned) {
                report.poisoned.push(claim.page);
            }
            if inner.evict(claim).is_err() {
                failed = Some(failed.map_or((claim.page, 1), |(first, count)| (first, count + 1)));
                if let Some(hpa) = inner.held_at(claim.home) {
                    inner.device.holdings.forget(hpa);
                }
            }
        }
        if let Some(server) = self.server.take() {
            server.stop();
        }
        let mut state = inner.device.lock();
        for claim in claims {
            // A page that cannot be freed is quarantined.
            let _ = inner.free_home(&mut state, claim.home);
        }
        drop(state);
        busy?;
        match failed {
            None => Ok(report),
            Some((first, failed)) => Err(Error::Evict {
                failed,
                pages,
                first,
                result: PageResult::FlushFailed,
            }),
        }
    }
}

impl Drop for CoherentRegion {
    fn drop(&mut self) {
        // After `close` the table is closed: nothing is claimed, nothing done twice.
        let _ = self.shut_down();
    }
}

/// Homes for `pages` pages, zeroed.
fn homes(device: &Arc<Device>, pages: usize, side: Side) -> Result<(u32, Vec<Residency>)> {
    let mut state = device.lock();
    state.open_check()?;
    let owner = state.next_owner.max(OWNER_REGIONS);
    state.next_owner = owner.wrapping_add(1).max(OWNER_REGIONS);
    if side == Side::Host {
        let mut homes = Vec::with_capacity(pages);
        for _ in 0..pages {
            match state.dma_alloc(PAGE) {
                Ok(bus) => homes.push(Residency::Host { bus }),
                Err(error) => {
                    for home in homes {
                        if let Residency::Host { bus } = home {
                            state.port.transport.dma_free(bus, PAGE);
                        }
                    }
                    return Err(error);
                }
            }
        }
        return Ok((owner, homes));
    }
    let extents = state.alloc(owner, pages as u64)?;
    let zeroed = extents
        .iter()
        .try_for_each(|&extent| state.fill(extent, 0).map(drop));
    let devices = extents.into_iter().flat_map(Extent::iter);
    match zeroed {
        Ok(()) => Ok((
            owner,
            devices.map(|dpa| Residency::Device { dpa }).collect(),
        )),
        Err(error) => {
            for dpa in devices {
                // A page that cannot be freed is quarantined.
                let _ = state.free_page(owner, dpa);
            }
            Err(error)
        }
    }
}

impl Pager {
    /// Length of the region in bytes, whole pages.
    pub fn bytes(&self) -> usize {
        self.inner.window.mapping.bytes()
    }

    /// Number of pages.
    pub fn pages(&self) -> usize {
        self.inner.pages()
    }

    /// Home of a page.
    ///
    /// # Errors
    /// [`Error::Range`].
    pub fn residency(&self, page: usize) -> Result<Residency> {
        self.inspect(page).map(|(home, _)| home)
    }

    /// How the process holds a page.
    ///
    /// # Errors
    /// [`Error::Range`].
    pub fn mapped(&self, page: usize) -> Result<Mapped> {
        self.inspect(page).map(|(_, mapped)| mapped)
    }

    fn inspect(&self, page: usize) -> Result<(Residency, Mapped)> {
        let outside = || Error::Range {
            start: (page * PAGE) as u64,
            end: ((page + 1) * PAGE) as u64,
            length: self.bytes() as u64,
        };
        let (home, mapped) = self.inner.table.inspect(page).ok_or_else(outside)?;
        let held = self.inner.held_at(home);
        let held = held.and_then(|hpa| self.inner.device.holdings.writable(hpa));
        let mapped = match (mapped, held) {
            (Mapped::Absent, Some(true)) => Mapped::Owned,
            (Mapped::Absent, Some(false)) => Mapped::Shared,
            (mapped, _) => mapped,
        };
        Ok((home, mapped))
    }

    /// Moves the home of a range of bytes (whole pages) to the device. Pages that are there already stay as they are.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::Range`]; [`Error::Closed`]. Errors of pages and of the engine are in the [`Migration`].
    pub fn migrate_to_device(&self, range: Range<usize>) -> Result<Migration> {
        self.migrate(range, Side::Device)
    }

    /// Moves the home of a range of bytes (whole pages) to host memory.
    ///
    /// # Errors
    /// As [`Pager::migrate_to_device`].
    pub fn migrate_to_host(&self, range: Range<usize>) -> Result<Migration> {
        self.migrate(range, Side::Host)
    }

    /// Moves the home of a range of bytes (whole pages). Runs in commands of up to 512 pages; faults on other pages are served between
    /// them. After an error of the engine as a whole the rest is [`PageResult::NotTried`].
    ///
    /// # Errors
    /// As [`Pager::migrate_to_device`].
    pub fn migrate(&self, range: Range<usize>, to: Side) -> Result<Migration> {
        let pages = self.page_range(&range)?;
        let mut all = Migration::default();
        for start in pages.clone().step_by(LIST_PAGES) {
            let part = start..pages.end.min(start + LIST_PAGES);
            if all.error.is_some() {
                all.pages.extend(part.map(|_| PageResult::NotTried));
                continue;
            }
            let next = self.inner.migrate(part, to);
            if matches!(next.error, Some(Error::Closed)) {
                return Err(Error::Closed);
            }
            all.append(next);
        }
        Ok(all)
    }

    /// Makes a range of bytes (whole pages) present, so that system calls can be given pointers to it: for reading, or also for writing.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::Range`], [`Error::Busy`], [`Error::Poison`], [`Error::Fault`], [`Error::Closed`]: pages before the
    /// one that failed are present.
    pub fn prefault(&self, range: Range<usize>, write: bool) -> Result<()> {
        self.each(range, |claim| self.inner.install(claim, write))
    }

    /// Writes the dirty lines of a range of bytes (whole pages) back to its home and takes the pages away.
    ///
    /// # Errors
    /// As [`Pager::prefault`]; [`Error::Transport`] when a line cannot be written back: that page stays, with its changes.
    pub fn evict(&self, range: Range<usize>) -> Result<()> {
        self.each(range, |claim| self.inner.evict(claim))
    }

    fn each(&self, range: Range<usize>, act: impl Fn(&mut Claim) -> Result<()>) -> Result<()> {
        let deadline = self.inner.deadline();
        for page in self.page_range(&range)? {
            let mut claim = self.inner.table.claim(page, deadline)?;
            let result = act(&mut claim);
            self.inner.release(claim);
            result?;
        }
        Ok(())
    }

    /// Counters.
    pub fn stats(&self) -> RegionStats {
        self.inner.stats()
    }

    /// The last fault that ended in a SIGBUS: its page, and why. Taken out.
    pub fn last_error(&self) -> Option<(usize, Error)> {
        self.inner
            .last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }

    fn page_range(&self, range: &Range<usize>) -> Result<Range<usize>> {
        for (what, value) in [
            ("start of the range", range.start),
            ("end of the range", range.end),
        ] {
            if value % PAGE != 0 {
                return Err(Error::Unaligned {
                    what,
                    value: value as u64,
                    unit: PAGE as u64,
                });
            }
        }
        let length = range.end.checked_sub(range.start);
        let outside = Error::Range {
            start: range.start as u64,
            end: range.end as u64,
            length: self.bytes() as u64,
        };
        check_range(
            range.start as u64,
            length.ok_or(outside)?,
            self.bytes() as u64,
        )?;
        Ok(range.start / PAGE..range.end / PAGE)
    }
}

/// The thread that serves a region's faults.
#[derive(Debug)]
struct Server {
    thread: JoinHandle<()>,
    stop: OwnedFd,
}

impl Server {
    fn start(inner: Arc<Inner>) -> Result<Server> {
        // SAFETY: eventfd(2) takes numbers only.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
        if fd < 0 {
            return Err(Error::system("eventfd"));
        }
        // SAFETY: the call just returned this descriptor, so nobody else owns it.
        let stop = unsafe { OwnedFd::from_raw_fd(fd) };
        let watched = stop.try_clone().map_err(|source| Error::System {
            call: "dup of an eventfd",
            source,
        })?;
        let thread = std::thread::Builder::new()
            .name("cxlmem-faults".into())
            .spawn(move || serve(&inner, &watched));
        let thread = thread.map_err(|source| Error::System {
            call: "thread creation",
            source,
        })?;
        Ok(Server { thread, stop })
    }

    fn stop(self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: `one` is eight readable bytes, what an eventfd takes.
        unsafe { libc::write(self.stop.as_raw_fd(), one.as_ptr().cast(), one.len()) };
        // It ends by itself only on an error of its descriptors.
        let _ = self.thread.join();
    }
}

/// Serves faults until told to stop.
fn serve(inner: &Inner, stop: &OwnedFd) {
    let watch = |fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut fds = [watch(inner.window.uffd.raw()), watch(stop.as_raw_fd())];
    let base = inner.window.mapping.base().as_ptr() as usize;
    loop {
        // SAFETY: `fds` is an array of as many entries as are named.
        let ready = unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, -1) };
        if ready < 0 && std::io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
            return;
        }
        if fds[1].revents != 0 {
            return;
        }
        loop {
            match inner.window.uffd.next_fault() {
                Ok(Some(fault)) => {
                    let page = fault.address.wrapping_sub(base) / PAGE;
                    if page < inner.pages() {
                        inner.fault(page, fault.write);
                    }
                }
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}
