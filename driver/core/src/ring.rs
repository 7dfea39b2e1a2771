//! The engine's command ring: descriptors in, completion records out, in order.

use crate::engine::{
    Completion, Descriptor, Status, COMPLETION_BYTES, DESCRIPTOR_BYTES, RING_LOG2_MAX,
    RING_LOG2_MIN,
};
use crate::error::Error;
use crate::io::{field, read, write, write64, Hw, IoError, Wait};
use crate::limits::Limits;
use cxlmem_protocol::regs;

/// Where a ring lies: DMA memory that stays the device's until the ring is dropped *and* the engine is idle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingMemory {
    /// Bus address of the descriptors, 64-byte aligned, [`RingMemory::descriptor_bytes`] long.
    pub descriptors: u64,
    /// Bus address of the completion records, 32-byte aligned, [`RingMemory::completion_bytes`] long.
    pub completions: u64,
    /// log2 of the number of descriptors, 2 to 10.
    pub log2: u32,
}

impl RingMemory {
    /// Bytes that 2^`log2` descriptors take.
    pub const fn descriptor_bytes(log2: u32) -> usize {
        DESCRIPTOR_BYTES << bounded(log2)
    }
    /// Bytes that 2^`log2` completion records take.
    pub const fn completion_bytes(log2: u32) -> usize {
        COMPLETION_BYTES << bounded(log2)
    }
}

const fn bounded(log2: u32) -> u32 {
    if log2 < RING_LOG2_MAX {
        log2
    } else {
        RING_LOG2_MAX
    }
}

/// State of the engine behind the ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Stopped,
    Running,
    /// Not idle after its reset: takes nothing any more.
    Stuck {
        status: u32,
    },
}

/// The ring. At most 2^n - 1 descriptors are outstanding (head = tail means empty). One user at a time.
#[derive(Debug)]
pub struct Ring {
    memory: RingMemory,
    vector: u32,
    limits: Limits,
    /// Descriptors submitted and completions taken since the last start, both free-running.
    tail: u32,
    reaped: u32,
    /// Completion id of the descriptor that `tail` 0 will have: ids go on over restarts, so that a record of before a reset is foreign.
    id_base: u16,
    state: State,
}

impl Ring {
    /// A ring in `memory` that raises `vector`; not started.
    ///
    /// # Errors
    /// [`Error::Parameter`] for a size, an alignment or a vector that the engine does not take.
    pub fn new(memory: RingMemory, vector: u32, limits: Limits) -> Result<Ring, Error> {
        let reject = |what, value| Err(Error::Parameter { what, value });
        if !(RING_LOG2_MIN..=RING_LOG2_MAX).contains(&memory.log2) {
            return reject("log2 of the ring size (2 to 10)", u64::from(memory.log2));
        }
        if memory.descriptors % DESCRIPTOR_BYTES as u64 != 0 {
            return reject("alignment of the descriptor ring", memory.descriptors);
        }
        if memory.completions % COMPLETION_BYTES as u64 != 0 {
            return reject("alignment of the completion ring", memory.completions);
        }
        if vector >= regs::MSIX_VECTORS {
            return reject("MSI-X vector", u64::from(vector));
        }
        Ok(Ring {
            memory,
            vector,
            limits,
            tail: 0,
            reaped: 0,
            id_base: 0,
            state: State::Stopped,
        })
    }

    /// Descriptors that may be outstanding at once.
    pub fn capacity(&self) -> u32 {
        self.mask()
    }

    /// Descriptors submitted and not yet reaped.
    pub fn outstanding(&self) -> u32 {
        self.tail.wrapping_sub(self.reaped)
    }

    /// The bounds in use.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether the engine takes commands.
    pub fn is_running(&self) -> bool {
        self.state == State::Running
    }

    /// Resets the engine, waits until it is idle, gives it empty rings and enables it.
    ///
    /// # Errors
    /// [`Error::EngineStuck`] when it does not become idle: the rings' memory must not be reused. [`Error::Io`], [`Error::Gone`].
    pub fn start(&mut self, hw: &mut (impl Hw + ?Sized)) -> Result<(), Error> {
        self.stop(hw)?;
        self.id_base = self.id_base.wrapping_add(self.tail as u16);
        (self.tail, self.reaped) = (0, 0);
        for index in 0..=self.mask() {
            let at = self.record_address(index);
            hw.dma_write(at, &[0; COMPLETION_BYTES])
                .map_err(|source| Error::Io { at, source })?;
        }
        write64(
            hw,
            regs::EngRingLo::OFFSET,
            regs::EngRingHi::OFFSET,
            self.memory.descriptors,
        )?;
        write64(
            hw,
            regs::EngCplLo::OFFSET,
            regs::EngCplHi::OFFSET,
            self.memory.completions,
        )?;
        write(
            hw,
            regs::EngRingLog2::OFFSET,
            field(regs::EngRingLog2::LOG2, self.memory.log2),
        )?;
        write(
            hw,
            regs::EngVector::OFFSET,
            field(regs::EngVector::VECTOR, self.vector),
        )?;
        write(hw, regs::EngTail::OFFSET, 0)?;
        write(hw, regs::EngCtrl::OFFSET, field(regs::EngCtrl::ENABLE, 1))?;
        self.state = State::Running;
        Ok(())
    }

    /// Aborts whatever the engine does and confirms that it is idle. After this the rings' memory may be reused.
    ///
    /// # Errors
    /// As [`Ring::start`].
    pub fn stop(&mut self, hw: &mut (impl Hw + ?Sized)) -> Result<(), Error> {
        if let State::Stuck { status } = self.state {
            return Err(Error::EngineStuck {
                register: regs::EngStatus::OFFSET,
                status,
            });
        }
        let result = self.reset(hw);
        self.state = match result {
            Ok(()) => State::Stopped,
            Err(Error::EngineStuck { status, .. }) => State::Stuck { status },
            // Nothing answers, so nothing says that the engine is idle.
            Err(_) => State::Stuck { status: u32::MAX },
        };
        result
    }

    /// The whole function was reset, by other means than the engine's registers: whatever it did has ended. [`Ring::start`] is next.
    pub fn function_was_reset(&mut self) {
        self.state = State::Stopped;
    }

    fn reset(&self, hw: &mut (impl Hw + ?Sized)) -> Result<(), Error> {
        write(
            hw,
            regs::EngCtrl::OFFSET,
            field(regs::EngCtrl::SOFT_RESET, 1),
        )?;
        self.wait_idle(hw, regs::EngCtrl::OFFSET, |value| {
            !regs::EngCtrl::SOFT_RESET.is_set(value)
        })?;
        self.wait_idle(hw, regs::EngStatus::OFFSET, |value| {
            !regs::EngStatus::BUSY.is_set(value)
        })?;
        Ok(())
    }

    /// Waits for the engine's idleness in a register. A device that does not answer may do so later: it has the whole time for it.
    fn wait_idle(
        &self,
        hw: &mut (impl Hw + ?Sized),
        register: u32,
        done: impl Fn(u32) -> bool,
    ) -> Result<(), Error> {
        let mut wait = Wait::new(hw, self.limits.idle, self.limits.slice);
        let mut more = true;
        loop {
            let status = match read(hw, register) {
                Ok(value) if done(value) => return Ok(()),
                Ok(value) => value,
                Err(Error::Gone { .. }) => u32::MAX,
                Err(other) => return Err(other),
            };
            if !more {
                return Err(Error::EngineStuck { register, status });
            }
            more = wait.pause(hw);
        }
    }

    /// Writes descriptors and rings the doorbell once. The ring sets the ids.
    ///
    /// # Errors
    /// [`Error::RingFull`] when they do not all fit (none is taken), [`Error::EngineStuck`], [`Error::Io`].
    pub fn submit(
        &mut self,
        hw: &mut (impl Hw + ?Sized),
        descriptors: &[Descriptor],
    ) -> Result<(), Error> {
        self.expect_running()?;
        let room = self.capacity().saturating_sub(self.outstanding());
        if descriptors.len() > room as usize {
            return Err(Error::RingFull {
                capacity: self.capacity(),
            });
        }
        let mut tail = self.tail;
        for descriptor in descriptors {
            let with_id = Descriptor {
                id: self.id(tail),
                ..*descriptor
            };
            let at = self.descriptor_address(tail);
            hw.dma_write(at, &with_id.pack())
                .map_err(|source| Error::Io { at, source })?;
            tail = tail.wrapping_add(1);
        }
        write(
            hw,
            regs::EngTail::OFFSET,
            field(regs::EngTail::INDEX, tail & self.mask()),
        )?;
        self.tail = tail;
        Ok(())
    }

    /// Takes the next completion if it is there; `None` if not (or if nothing is outstanding).
    ///
    /// # Errors
    /// [`Error::EngineFault`] when the engine stopped, [`Error::ForeignCompletion`], [`Error::Io`], [`Error::Gone`]. After an error the
    /// ring needs [`Ring::start`].
    pub fn reap(&mut self, hw: &mut (impl Hw + ?Sized)) -> Result<Option<Completion>, Error> {
        self.expect_running()?;
        if self.outstanding() == 0 {
            return Ok(None);
        }
        if let Some(record) = self.record(hw)? {
            return Ok(Some(record));
        }
        let status = read(hw, regs::EngStatus::OFFSET)?;
        if regs::EngStatus::FAULT.is_set(status) {
            // A record may have arrived between the two reads.
            if let Some(record) = self.record(hw)? {
                return Ok(Some(record));
            }
            let code = regs::EngStatus::FAULT_CODE.get(status) as u8;
            return Err(Error::EngineFault {
                register: regs::EngStatus::OFFSET,
                code,
            });
        }
        Ok(None)
    }

    fn record(&mut self, hw: &mut (impl Hw + ?Sized)) -> Result<Option<Completion>, Error> {
        let at = self.record_address(self.reaped);
        let failed = |source: IoError| Error::Io { at, source };
        // The head of the record first: its phase says whether the rest is there.
        let mut bytes = [0; COMPLETION_BYTES];
        let (head, _) = bytes.split_at_mut(4);
        hw.dma_read(at, head).map_err(failed)?;
        let pass = (self.reaped >> self.memory.log2) as u8;
        if (Completion::unpack(&bytes).phase ^ pass) & 1 == 0 {
            return Ok(None);
        }
        hw.dma_read(at, &mut bytes).map_err(failed)?;
        let record = Completion::unpack(&bytes);
        let expected = self.id(self.reaped);
        if record.id != expected {
            return Err(Error::ForeignCompletion {
                at,
                expected,
                found: record.id,
            });
        }
        self.reaped = self.reaped.wrapping_add(1);
        Ok(Some(record))
    }

    /// Waits for the next completion, at most `ticks`. Does not abort: call [`Ring::start`] after an error.
    ///
    /// # Errors
    /// [`Error::CommandTimeout`]; those of [`Ring::reap`].
    pub fn wait(&mut self, hw: &mut (impl Hw + ?Sized), ticks: u64) -> Result<Completion, Error> {
        let mut wait = Wait::new(hw, ticks, self.limits.slice);
        let mut more = true;
        loop {
            if let Some(record) = self.reap(hw)? {
                return Ok(record);
            }
            if !more {
                return Err(self.timeout(ticks));
            }
            more = wait.pause(hw);
        }
    }

    /// Runs one command to its end and returns its record. On a time-out or a ring error the engine is restarted, so that the next
    /// command finds it idle.
    ///
    /// # Errors
    /// [`Error::Command`] for an error status; [`Error::EngineStuck`] when the engine had to be reset and is not idle (takes precedence);
    /// those of [`Ring::submit`] and [`Ring::wait`]. Outstanding commands of others are a [`Error::RingFull`].
    pub fn run(
        &mut self,
        hw: &mut (impl Hw + ?Sized),
        descriptor: &Descriptor,
        ticks: u64,
    ) -> Result<Completion, Error> {
        if self.outstanding() != 0 {
            return Err(Error::RingFull {
                capacity: self.capacity(),
            });
        }
        let result = self
            .submit(hw, core::slice::from_ref(descriptor))
            .and_then(|()| self.wait(hw, ticks));
        match result {
            Ok(record) if record.status == Status::Ok as u8 => Ok(record),
            Ok(record) => Err(Error::Command {
                opcode: descriptor.opcode,
                code: record.status,
                done: record.done,
            }),
            Err(error) => {
                self.start(hw)?;
                Err(error)
            }
        }
    }

    /// The error for the oldest outstanding command.
    pub(crate) fn timeout(&self, ticks: u64) -> Error {
        Error::CommandTimeout {
            id: self.id(self.reaped),
            ticks,
        }
    }

    pub(crate) fn expect_running(&self) -> Result<(), Error> {
        match self.state {
            State::Running => Ok(()),
            State::Stuck { status } => Err(Error::EngineStuck {
                register: regs::EngStatus::OFFSET,
                status,
            }),
            State::Stopped => Err(Error::Parameter {
                what: "command for a ring that was not started",
                value: 0,
            }),
        }
    }

    fn mask(&self) -> u32 {
        (1u32 << self.memory.log2.min(RING_LOG2_MAX)).saturating_sub(1)
    }

    fn id(&self, sequence: u32) -> u16 {
        self.id_base.wrapping_add(sequence as u16)
    }

    fn descriptor_address(&self, sequence: u32) -> u64 {
        let index = u64::from(sequence & self.mask());
        self.memory
            .descriptors
            .saturating_add(index.saturating_mul(DESCRIPTOR_BYTES as u64))
    }

    fn record_address(&self, sequence: u32) -> u64 {
        let index = u64::from(sequence & self.mask());
        self.memory
            .completions
            .saturating_add(index.saturating_mul(COMPLETION_BYTES as u64))
    }
}
