//! Line operations as a stream: what the simulator is driven with in `cxlmem sim run` and `cxlmem bench bandwidth`.

use clap::ValueEnum;
use cxlmem_protocol::msg::MetaValue;
use cxlmem_sim::rng::Rng;
use cxlmem_sim::system::{System, SystemError};
use cxlmem_sim::{HomeError, Op};

/// Bytes of a line.
const LINE: u64 = 64;

/// A pattern of operations on random lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Workload {
    /// Whole-line reads
    Read,
    /// Whole-line writes
    Write,
    /// A read, a write, and so on
    Mixed,
    /// Two reads, a write, and so on
    Mixed21,
    /// Reads, whole and partial writes, invalidations and prefetches with metadata, at random
    Random,
}

impl Workload {
    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Workload::Read => "read",
            Workload::Write => "write",
            Workload::Mixed => "mixed",
            Workload::Mixed21 => "mixed21",
            Workload::Random => "random",
        }
    }
}

/// The stream of one workload on one device.
pub struct Traffic {
    workload: Workload,
    rng: Rng,
    base: u64,
    lines: u64,
    issued: u64,
    /// Operations of the system that were settled before the first of these.
    before: u64,
}

impl Traffic {
    /// On `lines` lines in the middle of the device's memory, at most all of it; equal seeds give equal streams.
    pub fn new(workload: Workload, system: &System, lines: u64, seed: u64) -> Traffic {
        let all = system.capacity() / LINE;
        let lines = lines.clamp(1, all);
        Traffic {
            workload,
            rng: Rng::new(seed),
            base: system.hdm_window().0 + (all - lines) / 2 * LINE,
            lines,
            issued: 0,
            before: settled(system),
        }
    }

    /// Writes every line once and waits for it, so that each read has something to be compared with. Not part of the stream.
    ///
    /// # Errors
    /// [`SystemError`]: the device stopped answering.
    pub fn fill(&mut self, system: &mut System, open: u64) -> Result<(), SystemError> {
        let mut posted = 0;
        while posted < self.lines || !system.home().is_idle() {
            while posted < self.lines && posted.saturating_sub(settled(system) - self.before) < open
            {
                let data = self.rng.line();
                system.post(self.base + posted * LINE, Op::write(data))?;
                posted += 1;
            }
            system.cycle();
        }
        self.before = settled(system);
        Ok(())
    }

    /// Operations given out.
    pub fn issued(&self) -> u64 {
        self.issued
    }

    /// A random line's host physical address.
    pub fn address(&mut self) -> u64 {
        self.base + self.rng.below(self.lines) * LINE
    }

    /// The next operation and its address.
    pub fn next(&mut self) -> (u64, Op) {
        let address = self.address();
        let n = self.issued;
        self.issued += 1;
        let op = match self.workload {
            Workload::Read => Op::READ,
            Workload::Write => Op::write(self.rng.line()),
            Workload::Mixed if n % 2 == 0 => Op::READ,
            Workload::Mixed21 if n % 3 < 2 => Op::READ,
            Workload::Mixed | Workload::Mixed21 => Op::write(self.rng.line()),
            Workload::Random => self.random(),
        };
        (address, op)
    }

    fn random(&mut self) -> Op {
        let meta = match self.rng.below(4) {
            0 => Some(MetaValue::I),
            1 => Some(MetaValue::S),
            _ => None,
        };
        match self.rng.below(16) {
            0..=6 => Op::Read { meta },
            7..=10 => Op::Write {
                data: self.rng.line(),
                poison: false,
                meta,
            },
            11..=13 => Op::WritePartial {
                data: self.rng.line(),
                enables: self.rng.next_u64(),
                poison: false,
                meta,
            },
            14 => Op::Invalidate {
                meta: MetaValue::I,
                non_temporal: self.rng.chance(0.5),
            },
            _ => Op::Prefetch,
        }
    }

    /// Posts operations until `open` of them are under way, or `most` were given out.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn top_up(&mut self, system: &mut System, open: u64, most: u64) -> Result<(), HomeError> {
        let settled = settled(system) - self.before;
        while self.issued < most && self.issued.saturating_sub(settled) < open {
            let (address, op) = self.next();
            system.post(address, op)?;
        }
        Ok(())
    }
}

/// Operations that have ended, one way or the other.
fn settled(system: &System) -> u64 {
    let counters = system.home().counters();
    counters.done + counters.timeouts
}
