//! The client's messages, passed to the model's thread; every one is answered in bounded time.

use crate::counters::Counters;
use crate::job::{Bar, Job, Reply};
use cxlmem_protocol::regs;
use cxlmem_sim::pcie::{MEMORY_BAR, REGISTER_BAR};
use cxlmem_sim::shared::SharedMemory;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::sync::mpsc::{sync_channel, SyncSender, TrySendError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use vfio_bindings::bindings::vfio::{
    VFIO_IRQ_SET_ACTION_TRIGGER, VFIO_IRQ_SET_ACTION_TYPE_MASK, VFIO_IRQ_SET_DATA_EVENTFD,
    VFIO_PCI_CONFIG_REGION_INDEX, VFIO_PCI_MSIX_IRQ_INDEX,
};
use vfio_user::{DmaMapFlags, DmaUnmapFlags, ServerBackend};

/// Longest time for an answer to an access: a reply that takes longer stops the whole virtual machine, and one that takes 5 s ends the connection.
pub const ANSWER: Duration = Duration::from_millis(100);

/// Longest time for mappings and resets, during which no processor of the client waits.
const SLOW_ANSWER: Duration = Duration::from_secs(2);

/// Longest access to a BAR in one message.
const LONGEST: usize = 4096;

/// The vfio-user side.
pub(crate) struct Backend {
    pub(crate) jobs: SyncSender<Job>,
    pub(crate) counters: Arc<Counters>,
    /// Bytes of the memory BAR.
    pub(crate) memory_bar: u64,
}

fn invalid(why: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(ErrorKind::InvalidInput, why)
}

impl Backend {
    /// Gives the model a job; false if too many wait until `due`.
    fn send(&self, mut job: Job, due: Instant) -> bool {
        loop {
            match self.jobs.try_send(job) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if Instant::now() < due => job = back,
                Err(_) => return false,
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// Gives the model a job and waits for its answer until `after` from now.
    fn ask<T>(&self, after: Duration, job: impl FnOnce(Reply<T>) -> Job) -> Option<T> {
        let due = Instant::now() + after;
        let (to, from) = sync_channel(1);
        if !self.send(job(Reply { to, due }), due) {
            return None;
        }
        from.recv_timeout(due.saturating_duration_since(Instant::now()))
            .ok()
    }

    /// As [`Backend::ask`], where no answer is an error for the client.
    fn demand(&self, what: &str, job: impl FnOnce(Reply<Result<()>>) -> Job) -> Result<()> {
        self.ask(SLOW_ANSWER, job).unwrap_or_else(|| {
            Counters::one(&self.counters.late);
            Err(Error::new(
                ErrorKind::TimedOut,
                format!("{what}: the model did not answer within {SLOW_ANSWER:?}"),
            ))
        })
    }

    /// Which BAR takes an access.
    fn bar(&self, region: u32, offset: u64, bytes: usize) -> Result<Bar> {
        let (bar, size) = match u8::try_from(region) {
            Ok(REGISTER_BAR) => (Bar::Registers, u64::from(regs::BAR0_SIZE)),
            Ok(MEMORY_BAR) => (Bar::Memory, self.memory_bar),
            _ => (Bar::Registers, 0),
        };
        let end = offset.checked_add(bytes as u64);
        if bytes > LONGEST || end.is_none_or(|end| end > size) {
            Counters::one(&self.counters.refused);
            return Err(invalid(format!(
                "{bytes} bytes at {offset:#x} of region {region}"
            )));
        }
        Ok(bar)
    }

    /// The client is gone: forget what it gave. Waits until the model has done so.
    pub(crate) fn detach(&self) -> Result<()> {
        self.demand("detach", Job::Detach)
    }
}

impl ServerBackend for Backend {
    fn region_read(&mut self, region: u32, offset: u64, data: &mut [u8]) -> Result<()> {
        let bytes = data.len();
        let answer = if region == VFIO_PCI_CONFIG_REGION_INDEX {
            if bytes > LONGEST {
                return Err(invalid("longer than configuration space"));
            }
            self.ask(ANSWER, |reply| Job::ConfigRead {
                offset,
                bytes,
                reply,
            })
        } else {
            let bar = self.bar(region, offset, bytes)?;
            self.ask(ANSWER, |reply| Job::Read {
                bar,
                offset,
                bytes,
                reply,
            })
        };
        match answer {
            Some(answer) if answer.len() == bytes => data.copy_from_slice(&answer),
            _ => {
                Counters::one(&self.counters.late);
                data.fill(0xFF);
            }
        }
        Ok(())
    }

    fn region_write(&mut self, region: u32, offset: u64, data: &[u8]) -> Result<()> {
        let job = if region == VFIO_PCI_CONFIG_REGION_INDEX {
            if data.len() > LONGEST {
                return Err(invalid("longer than configuration space"));
            }
            Job::ConfigWrite {
                offset,
                data: data.to_vec(),
            }
        } else {
            Job::Write {
                bar: self.bar(region, offset, data.len())?,
                offset,
                data: data.to_vec(),
            }
        };
        if !self.send(job, Instant::now() + ANSWER) {
            Counters::one(&self.counters.dropped);
        }
        Ok(())
    }

    fn dma_map(
        &mut self,
        flags: DmaMapFlags,
        offset: u64,
        address: u64,
        size: u64,
        fd: Option<File>,
    ) -> Result<()> {
        let Some(file) = fd else {
            Counters::one(&self.counters.dma_maps_ignored);
            return Ok(());
        };
        let writable = flags.contains(DmaMapFlags::WRITE);
        let memory = SharedMemory::map(&file, offset, size, writable)?;
        self.demand("DMA_MAP", |reply| Job::Map {
            address,
            memory,
            reply,
        })
    }

    fn dma_unmap(&mut self, flags: DmaUnmapFlags, address: u64, size: u64) -> Result<()> {
        let (address, size) = match flags.contains(DmaUnmapFlags::UNMAP_ALL) {
            true => (0, u64::MAX),
            false => (address, size),
        };
        self.demand("DMA_UNMAP", |reply| Job::Unmap {
            address,
            size,
            reply,
        })
    }

    fn reset(&mut self) -> Result<()> {
        self.demand("DEVICE_RESET", Job::Reset)
    }

    fn set_irqs(
        &mut self,
        index: u32,
        flags: u32,
        start: u32,
        count: u32,
        fds: Vec<File>,
    ) -> Result<()> {
        if index != VFIO_PCI_MSIX_IRQ_INDEX {
            // There is no INTx and no MSI, and errors are not signalled past AER: what the client sets up for them is never used.
            return Ok(());
        }
        if flags & VFIO_IRQ_SET_ACTION_TYPE_MASK != VFIO_IRQ_SET_ACTION_TRIGGER {
            return Err(invalid("MSI-X vectors are masked by their table"));
        }
        let end = start.checked_add(count);
        if end.is_none_or(|end| end > regs::MSIX_VECTORS) || fds.len() > count as usize {
            return Err(invalid(format!(
                "vectors {start} and {} more of {}",
                count.saturating_sub(1),
                regs::MSIX_VECTORS
            )));
        }
        let events = flags & VFIO_IRQ_SET_DATA_EVENTFD != 0;
        self.demand("SET_IRQS", |reply| match (events, count) {
            // No data and no vector: all of them off.
            (false, 0) => Job::Events {
                start: 0,
                events: (0..regs::MSIX_VECTORS).map(|_| None).collect(),
                reply,
            },
            (false, _) => Job::Trigger {
                start,
                count,
                reply,
            },
            (true, _) => {
                let mut fds = fds.into_iter();
                Job::Events {
                    start,
                    events: (0..count).map(|_| fds.next()).collect(),
                    reply,
                }
            }
        })
    }
}
