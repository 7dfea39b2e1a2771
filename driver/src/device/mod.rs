//! A device: discovery, bring-up, migration of host pages, engine commands, statistics, close.

mod buffer;
mod pages;
mod port;
mod state;

pub(crate) use buffer::check_range;
pub use buffer::{DeviceBuffer, HostBuffer};
pub use pages::{HostPage, Migration, PageResult, Stats};
pub(crate) use state::{Atomic, State, OWNER_REGIONS};

use crate::config::{self, Function};
use crate::error::{Error, Result};
use crate::region::Holdings;
use crate::transport::{HpaWindow, Transport};
use core::bringup::{self, Coherence, Decoder, Identity};
use core::{Extent, PagePool, PageSlot, Ring, RingMemory, LIST_BYTES, LIST_PAGES, PAGE_BYTES};
use cxlmem_driver_core as core;
use cxlmem_protocol::engine::{
    flags, Completion, Descriptor, Opcode, LINE_BYTES, MAX_BYTES, MAX_HOPS, WORD_BYTES,
};
use cxlmem_protocol::regs;
use port::Port;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How to open a device.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where in host physical memory the device's memory shall appear; `None`: the transport's window.
    pub hdm_base: Option<u64>,
    /// Lock the HDM decoder until the next reset.
    pub lock_decoder: bool,
    /// Device-coherent memory (HDM-DB over BI-68): the device's own accesses take lines back from the host by snoops, and pages have no owner. Off:
    /// HDM-H, where the driver hands pages over.
    pub device_coherent: bool,
    /// With `device_coherent`: cycles that the host has for the answer to a snoop (register `SnoopTimeout`, below 2^24). `None`: as after reset.
    pub snoop_timeout: Option<u32>,
    /// log2 of the number of descriptors in the command ring, 2 to 10.
    pub ring_log2: u32,
    /// MSI-X vector for completions.
    pub vector: u16,
    /// Bounds of all waits; `None`: the transport's ([`Transport::limits`]), else [`core::Limits::SIMULATED`] or [`core::Limits::hardware`], as the
    /// capability word says.
    pub limits: Option<core::Limits>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            hdm_base: None,
            lock_decoder: false,
            device_coherent: false,
            snoop_timeout: None,
            ring_log2: 6,
            vector: 0,
            limits: None,
        }
    }
}

/// What is known of an open device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// The transport's own description.
    pub transport: String,
    /// Configuration space.
    pub function: Function,
    /// Identity registers.
    pub identity: Identity,
    /// Where its memory appears in host physical memory.
    pub window: HpaWindow,
    /// Whether the memory is device-coherent.
    pub device_coherent: bool,
    /// Cycles per second.
    pub clock_hz: u64,
    /// Whether the function has MSI-X (completions are polled otherwise, and whenever an interrupt is lost).
    pub interrupts: bool,
}

/// Memory that an engine command works on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Device memory of a [`DeviceBuffer`] or of migrated pages.
    Device {
        /// Device physical address, a multiple of 64.
        dpa: u64,
        /// Length, a multiple of 64.
        bytes: u64,
    },
    /// Host memory of a [`HostBuffer`].
    Host {
        /// Bus address, a multiple of 64.
        bus: u64,
        /// Length, a multiple of 64.
        bytes: u64,
    },
}

impl Operand {
    fn bytes(self) -> u64 {
        match self {
            Operand::Device { bytes, .. } | Operand::Host { bytes, .. } => bytes,
        }
    }

    fn part(self, offset: u64, bytes: u64) -> Operand {
        match self {
            Operand::Device { dpa, .. } => Operand::Device {
                dpa: dpa + offset,
                bytes,
            },
            Operand::Host { bus, .. } => Operand::Host {
                bus: bus + offset,
                bytes,
            },
        }
    }
}

/// Outcome of an engine command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpResult {
    /// Sum, checksum, last pointer, or what the word was; 0 for fill.
    pub value: u64,
    /// Engine cycles, from the completion records.
    pub cycles: u64,
    /// Bytes or hops done.
    pub done: u64,
}

/// An open device. Shared by regions and buffers through `Arc`; all calls may come from any thread.
pub struct Device {
    state: Mutex<State>,
    /// Whoever gets this waits for the state next: threads that use the device over and over leave turns for the one that serves faults.
    turn: Mutex<()>,
    /// Pages of regions that hold lines.
    pub(crate) holdings: Arc<Holdings>,
    info: Info,
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Device")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

impl Device {
    /// Finds, checks and brings up the device behind a transport: configuration space, identity, media, link, HDM decoder, interrupt,
    /// command ring.
    ///
    /// # Errors
    /// [`Error::Discovery`] and [`Error::Config`] for another function; [`Error::Device`] names the register where bring-up ended, and what is
    /// missing for device coherence; [`Error::Transport`] (a host that answers no snoops).
    pub fn open(transport: impl Transport + 'static, options: &Options) -> Result<Arc<Device>> {
        Device::open_boxed(Box::new(transport), options)
    }

    /// As [`Device::open`], for a transport chosen at run time.
    ///
    /// # Errors
    /// As [`Device::open`].
    pub fn open_boxed(transport: Box<dyn Transport>, options: &Options) -> Result<Arc<Device>> {
        let mut port = Port::new(transport, options.vector);
        let function = config::discover(port.transport.as_mut())?;
        config::enable(port.transport.as_mut(), true)?;
        let clock_hz = port.transport.clock_hz();
        let identity =
            bringup::identify(&mut port).map_err(|error| device_error(&mut port, error))?;
        let simulated = identity.has(regs::Caps::SIMULATED);
        let limits = options.limits.or(port.transport.limits());
        let limits = limits.unwrap_or(if simulated {
            core::Limits::SIMULATED
        } else {
            core::Limits::hardware(clock_hz)
        });
        let base = match options.hdm_base {
            Some(base) => base,
            None => {
                port.transport
                    .hdm_window()
                    .map_err(|source| Error::Transport {
                        what: "asking for the HDM window",
                        source,
                    })?
                    .base
            }
        };
        let holdings = Arc::new(Holdings::default());
        let coherence = if options.device_coherent {
            prepare_coherence(&mut port, &identity, holdings.clone(), options)?;
            Coherence::Device
        } else {
            Coherence::HostOnly
        };
        let up = bringup::bring_up(&mut port, base, options.lock_decoder, coherence, &limits);
        let (identity, decoder) = up.map_err(|error| device_error(&mut port, error))?;
        let engine = identity.require(regs::Caps::ENGINE, "the migration engine");
        engine.map_err(|error| device_error(&mut port, error))?;
        let interrupts = enable_interrupts(&mut port, &function)?;
        let state = start_engine(port, &identity, &decoder, options, limits)?;
        let info = Info {
            transport: state.port.transport.describe(),
            function,
            identity,
            window: HpaWindow {
                base: decoder.base,
                size: decoder.size,
            },
            device_coherent: options.device_coherent,
            clock_hz,
            interrupts,
        };
        Ok(Arc::new(Device {
            state: Mutex::new(state),
            turn: Mutex::new(()),
            holdings,
            info,
        }))
    }

    /// What is known of the device.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The state. Whoever holds this must not touch region memory (see [`state`]).
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `act` with the transport, between other uses of the device. `act` must not touch region memory.
    pub fn with_transport<T>(&self, act: impl FnOnce(&mut dyn Transport) -> T) -> T {
        act(self.lock().port.transport.as_mut())
    }

    /// Bytes of device memory that can still be given out.
    pub fn free_bytes(&self) -> u64 {
        self.lock().pool.free_pages() * PAGE_BYTES
    }

    /// Counters of the driver.
    pub fn stats(&self) -> Stats {
        self.lock().stats
    }

    /// Counters of the device, by register name; they wrap at 32 bits.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn counters(&self) -> Result<Vec<(&'static str, u32)>> {
        let mut state = self.lock();
        let counters = regs::RxFlits::OFFSET..regs::CounterCtrl::OFFSET;
        let read = |reg: &regs::RegDef| {
            let value = core::Mmio::read32(&mut state.port, reg.offset);
            value.map(|value| (reg.name, value)).map_err(|source| {
                state.device_error(core::Error::Io {
                    at: reg.offset.into(),
                    source,
                })
            })
        };
        regs::REGS
            .iter()
            .filter(|reg| counters.contains(&reg.offset))
            .map(read)
            .collect()
    }

    /// Allocates host memory that the device can reach, zeroed, rounded up to whole pages.
    ///
    /// # Errors
    /// [`Error::Size`] for zero bytes, [`Error::Transport`] when there is no more, [`Error::Closed`].
    pub fn alloc_host(self: &Arc<Self>, bytes: usize) -> Result<HostBuffer> {
        HostBuffer::new(self, bytes)
    }

    /// Allocates contiguous device memory, rounded up to whole pages.
    ///
    /// # Errors
    /// [`Error::Size`] with the longest free run, [`Error::Closed`].
    pub fn alloc_device(self: &Arc<Self>, bytes: u64) -> Result<DeviceBuffer> {
        DeviceBuffer::new(self, bytes)
    }

    /// Moves host pages to the device, in commands of up to 512 pages. The lock is given up between commands, so page faults and other
    /// threads go on meanwhile.
    pub fn migrate_to_device(&self, pages: &[HostPage]) -> Migration {
        self.migrate(pages, State::residents_to_device)
    }

    /// Moves pages that are on the device back to their host pages.
    pub fn migrate_to_host(&self, pages: &[HostPage]) -> Migration {
        self.migrate(pages, State::residents_to_host)
    }

    fn migrate(
        &self,
        pages: &[HostPage],
        act: fn(&mut State, &[HostPage]) -> Migration,
    ) -> Migration {
        let mut all = Migration::default();
        for part in pages.chunks(LIST_PAGES) {
            if all.error.is_some() {
                all.pages.extend(part.iter().map(|_| PageResult::NotTried));
            } else {
                all.append(act(&mut self.lock(), part));
            }
        }
        all
    }

    /// Where a host page's data is: its DPA while it is on the device.
    pub fn device_address(&self, page: HostPage) -> Option<u64> {
        self.lock().resident.get(&page.bus).copied()
    }

    /// Fills device memory with a 64-bit pattern.
    ///
    /// # Errors
    /// [`Error::Unaligned`], [`Error::Size`], [`Error::Pool`] for memory that is not a buffer's or a migrated page's, [`Error::Device`].
    /// Host memory is `Error::Device` with status BAD_FLAGS: the engine fills device memory only.
    pub fn fill(&self, operand: Operand, pattern: u64) -> Result<OpResult> {
        self.each_part(operand, |state, part| {
            state.operate(Opcode::Fill, part, part.bytes() as u32, pattern)
        })
        .map(|result| OpResult { value: 0, ..result })
    }

    /// The wrapping sum of all little-endian u64.
    ///
    /// # Errors
    /// As [`Device::fill`]; poison and DMA errors are [`Error::Device`] with the status code.
    pub fn sum64(&self, operand: Operand) -> Result<OpResult> {
        let mut sum = 0u64;
        let result = self.each_part(operand, |state, part| {
            let record = state.operate(Opcode::Sum64, part, part.bytes() as u32, 0)?;
            sum = sum.wrapping_add(record.result);
            Ok(record)
        })?;
        Ok(OpResult {
            value: sum,
            ..result
        })
    }

    /// CRC-32C (inverted in and out), going on from `initial`, the checksum of what comes before: 0 at the start. Each 2 MiB are a command.
    ///
    /// # Errors
    /// As [`Device::sum64`].
    pub fn crc32c(&self, operand: Operand, initial: u32) -> Result<OpResult> {
        let mut crc = u64::from(initial);
        let result = self.each_part(operand, |state, part| {
            let record = state.operate(Opcode::Crc32c, part, part.bytes() as u32, crc)?;
            crc = record.result & u64::from(u32::MAX);
            Ok(record)
        })?;
        Ok(OpResult {
            value: crc,
            ..result
        })
    }

    /// Follows `hops` pointers (u64 offsets from the operand's start, first at offset 0). Returns the last one.
    ///
    /// # Errors
    /// As [`Device::sum64`]; [`Error::Size`] for 0 or more than 2^20 hops; a bad pointer is [`Error::Device`] with status BAD_POINTER.
    pub fn chase(&self, operand: Operand, hops: u32) -> Result<OpResult> {
        if hops == 0 || hops > MAX_HOPS {
            return Err(Error::Size {
                what: "hops",
                wanted: hops.into(),
                limit: MAX_HOPS.into(),
            });
        }
        check_operand(operand)?;
        let record = self.lock().operate(Opcode::Chase, operand, hops, 0)?;
        Ok(OpResult {
            value: record.result,
            cycles: record.cycles.into(),
            done: record.done.into(),
        })
    }

    /// Adds to a 64-bit word of device memory, wrapping, at the memory. [`OpResult::value`] is what it was. For words of regions
    /// see [`crate::SharedRegion::device_fetch_add`].
    ///
    /// # Errors
    /// [`Error::Unaligned`]; [`Error::Pool`] for memory that is not a buffer's or a migrated page's; [`Error::Device`] with status POISON, or
    /// NOT_RELEASED when the host did not give the line up in time: the word is as it was then.
    pub fn fetch_add(&self, dpa: u64, add: u64) -> Result<OpResult> {
        self.lock().atomic_of_buffer(dpa, Atomic::Add(add))
    }

    /// Puts `new` into a 64-bit word of device memory if it is `expected`. [`OpResult::value`] is what it was.
    ///
    /// # Errors
    /// As [`Device::fetch_add`].
    pub fn compare_swap(&self, dpa: u64, expected: u64, new: u64) -> Result<OpResult> {
        let swap = Atomic::CompareSwap { expected, new };
        self.lock().atomic_of_buffer(dpa, swap)
    }

    fn each_part(
        &self,
        operand: Operand,
        mut act: impl FnMut(&mut State, Operand) -> Result<Completion>,
    ) -> Result<OpResult> {
        check_operand(operand)?;
        let mut total = OpResult::default();
        while total.done < operand.bytes() {
            let part = operand.part(
                total.done,
                (operand.bytes() - total.done).min(MAX_BYTES.into()),
            );
            let record = act(&mut self.lock(), part)?;
            total.cycles += u64::from(record.cycles);
            total.done += part.bytes();
        }
        Ok(total)
    }

    /// Brings all migrated pages home, stops the engine, gives up bus mastering. Also done on drop, best effort.
    ///
    /// # Errors
    /// [`Error::InUse`] while regions or device buffers exist (nothing is changed); [`Error::Evict`] or [`Error::Device`] when a page
    /// could not come home: the device stays open, and the page where it was.
    pub fn close(&self) -> Result<()> {
        let state = self.lock();
        if state.closed {
            return Ok(());
        }
        let owned = state.pool.pages() - state.pool.free_pages() - state.pool.quarantined_pages();
        let others = owned.saturating_sub(state.pool.owned_by(state::OWNER_RESIDENT));
        if others != 0 {
            return Err(Error::InUse { pages: others });
        }
        let resident: Vec<HostPage> = state.resident.keys().map(|&bus| HostPage { bus }).collect();
        drop(state);
        let _ = self.migrate_to_host(&resident).complete()?;
        self.lock().shut_down();
        Ok(())
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // Buffers hold the device, so none is left and no host page either.
        self.lock().shut_down();
    }
}

impl State {
    /// One command on an operand that is checked and no region's.
    fn operate(
        &mut self,
        opcode: Opcode,
        operand: Operand,
        count: u32,
        arg: u64,
    ) -> Result<Completion> {
        let mut descriptor = Descriptor {
            opcode: opcode as u8,
            flags: flags::IRQ,
            count,
            arg,
            ..Descriptor::default()
        };
        match operand {
            Operand::Device { dpa, bytes } => {
                self.claim_for_engine(dpa, bytes)?;
                descriptor.dev_addr = dpa;
            }
            Operand::Host { bus, .. } => {
                descriptor.flags |= flags::HOST;
                descriptor.host_addr = bus;
            }
        }
        // A hop is at most one DMA read: the limit of a page each is ample.
        let bytes = if opcode == Opcode::Chase {
            u64::from(count) * LINE_BYTES
        } else {
            operand.bytes()
        };
        self.command(&descriptor, bytes)
    }

    /// Checks that memory is no region's, and makes the engine its holder.
    fn claim_for_engine(&mut self, dpa: u64, bytes: u64) -> Result<()> {
        let first = dpa - dpa % PAGE_BYTES;
        let pages = (dpa - first + bytes).div_ceil(PAGE_BYTES);
        let extent = Extent {
            dpa: first,
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
        };
        for page in extent.iter() {
            if let PageSlot::Owned { owner, .. } = self.pool.slot(page)? {
                if owner >= OWNER_REGIONS {
                    return Err(core::PoolError::NotOwner { dpa: page, owner }.into());
                }
            } else {
                return Err(core::PoolError::DoubleFree { dpa: page }.into());
            }
        }
        self.claim_device(extent)
    }

    fn atomic_of_buffer(&mut self, dpa: u64, atomic: Atomic) -> Result<OpResult> {
        atomic.check(dpa)?;
        self.claim_for_engine(dpa, WORD_BYTES)?;
        self.atomic(dpa, atomic)
    }

    fn shut_down(&mut self) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        let idle = self.ring.stop(&mut self.port).is_ok();
        let transport = self.port.transport.as_mut();
        // Best effort: the device may be gone.
        let _ = config::enable(transport, false);
        if idle {
            let RingMemory {
                descriptors,
                completions,
                log2,
            } = self.ring_memory;
            transport.dma_free(descriptors, RingMemory::descriptor_bytes(log2));
            transport.dma_free(completions, RingMemory::completion_bytes(log2));
            transport.dma_free(self.list, LIST_BYTES);
        }
    }
}

fn check_operand(operand: Operand) -> Result<()> {
    let (what, at) = match operand {
        Operand::Device { dpa, .. } => ("device address", dpa),
        Operand::Host { bus, .. } => ("bus address", bus),
    };
    for (what, value) in [(what, at), ("operand length", operand.bytes())] {
        if value % LINE_BYTES != 0 {
            return Err(Error::Unaligned {
                what,
                value,
                unit: LINE_BYTES,
            });
        }
    }
    match at.checked_add(operand.bytes()) {
        Some(_) if operand.bytes() > 0 => Ok(()),
        _ => Err(Error::Size {
            what: "operand",
            wanted: operand.bytes(),
            limit: u64::MAX - at,
        }),
    }
}

/// What must be before the link starts: a device that snoops, a host that answers, and the time for an answer.
fn prepare_coherence(
    port: &mut Port,
    identity: &Identity,
    pages: Arc<Holdings>,
    options: &Options,
) -> Result<()> {
    use regs::SnoopTimeout;
    let capable = identity.require(regs::Caps::BACK_INVALIDATE, "back-invalidate (BI-68)");
    capable.map_err(|error| device_error(port, error))?;
    if let Some(cycles) = options.snoop_timeout {
        let limit = SnoopTimeout::CYCLES.get(u32::MAX);
        if cycles == 0 || cycles > limit {
            return Err(Error::Parameter {
                what: "snoop_timeout (cycles)",
                value: cycles.into(),
                limit: limit.into(),
            });
        }
        let value = SnoopTimeout::CYCLES.with(0, cycles);
        core::Mmio::write32(port, SnoopTimeout::OFFSET, value).map_err(|source| {
            let at = SnoopTimeout::OFFSET.into();
            device_error(port, core::Error::Io { at, source })
        })?;
    }
    let offered = port.transport.device_coherent(pages);
    offered.map_err(|source| Error::Transport {
        what: "making the host answer snoops",
        source,
    })
}

fn device_error(port: &mut Port, error: core::Error) -> Error {
    Error::Device {
        error,
        transport: port.last_error.take(),
    }
}

/// Sets the completion vector up. `false`: completions are polled.
fn enable_interrupts(port: &mut Port, function: &Function) -> Result<bool> {
    let Some(capability) = function.msix else {
        return Ok(false);
    };
    let vector = port.vector;
    let message = port.transport.irq_message(vector);
    let message = message.map_err(|source| Error::Transport {
        what: "asking for an interrupt message",
        source,
    })?;
    if let Some(message) = message {
        let programmed = bringup::program_msix(port, vector.into(), message);
        programmed.map_err(|error| device_error(port, error))?;
        config::enable_msix(port.transport.as_mut(), capability)?;
    }
    Ok(true)
}

fn start_engine(
    mut port: Port,
    identity: &Identity,
    decoder: &Decoder,
    options: &Options,
    limits: core::Limits,
) -> Result<State> {
    let log2 = options.ring_log2;
    let mut alloc = |bytes: usize| {
        let result = port.transport.dma_alloc(bytes, crate::transport::PAGE);
        result.map_err(|source| Error::Transport {
            what: "allocating the command ring",
            source,
        })
    };
    let ring_memory = RingMemory {
        descriptors: alloc(RingMemory::descriptor_bytes(log2))?,
        completions: alloc(RingMemory::completion_bytes(log2))?,
        log2,
    };
    let list = alloc(LIST_BYTES)?;
    let ring = Ring::new(ring_memory, options.vector.into(), limits);
    let mut ring = ring.map_err(|error| device_error(&mut port, error))?;
    ring.start(&mut port)
        .map_err(|error| device_error(&mut port, error))?;
    // DPA beyond the decoder is not reachable; beyond the capacity there is nothing.
    let pages = identity.capacity.min(decoder.size) / PAGE_BYTES;
    let pages = usize::try_from(pages).map_err(|_| Error::Size {
        what: "device memory",
        wanted: identity.capacity,
        limit: usize::MAX as u64,
    })?;
    Ok(State {
        port,
        ring,
        ring_memory,
        list,
        pool: PagePool::new(vec![PageSlot::Free; pages]),
        limits,
        hdm_base: decoder.base,
        device_coherent: decoder.coherence == Coherence::Device,
        resident: Default::default(),
        host_pages: Default::default(),
        lost_host: Default::default(),
        next_owner: OWNER_REGIONS,
        stats: Stats::default(),
        closed: false,
    })
}
