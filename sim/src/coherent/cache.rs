//! The caches of the cores, and the agent's table of lines.

use super::{Line, Port};
use cxlmem_protocol::hdm_db::host::{self, Handshake, Held, Row};
use cxlmem_protocol::msg::{S2mBiSnpOpcode, S2mNdrOpcode};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A core's state of a line; lines that are not in the cache are I.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoreState {
    S,
    E,
    M,
}

/// No line.
pub(super) const NONE: u64 = u64::MAX;

#[derive(Clone, Debug)]
pub(super) struct Way {
    /// Number of the line (address / 64), or [`NONE`].
    pub line: u64,
    pub state: CoreState,
    pub data: Line,
}

/// One core's cache.
pub(super) struct Cache {
    ways: Vec<Way>,
    sets: u64,
    per_set: usize,
}

impl Cache {
    pub fn new(sets: usize, per_set: usize) -> Self {
        let way = Way {
            line: NONE,
            state: CoreState::S,
            data: [0; 64],
        };
        let (sets, per_set) = (sets.max(1), per_set.max(1));
        Self {
            ways: vec![way; sets * per_set],
            sets: sets as u64,
            per_set,
        }
    }

    /// Places where the line can be.
    pub fn set_of(&self, line: u64) -> std::ops::Range<usize> {
        let first = (line % self.sets) as usize * self.per_set;
        first..first + self.per_set
    }

    /// Where the line is.
    pub fn find(&self, line: u64) -> Option<usize> {
        self.set_of(line).find(|n| self.ways[*n].line == line)
    }

    pub fn way(&self, n: usize) -> &Way {
        &self.ways[n]
    }

    pub fn way_mut(&mut self, n: usize) -> &mut Way {
        &mut self.ways[n]
    }

    pub fn lines(&self) -> impl Iterator<Item = &Way> {
        self.ways.iter().filter(|w| w.line != NONE)
    }
}

/// The outstanding Req or RwD of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pending {
    pub row: Row,
    /// The core whose operation it serves.
    pub core: Option<u8>,
    pub tag: u16,
    pub sent: u64,
    pub ndr: Option<S2mNdrOpcode>,
    /// Its data is in [`Entry::incoming`].
    pub data: bool,
    pub poison: bool,
    pub nxm: bool,
}

impl Pending {
    /// As the host's rules see it.
    pub fn view(&self) -> host::Pending {
        host::Pending {
            write: self.row >= Row::WrA,
            completed: self.ndr.is_some(),
            data_missing: self.row.request().rule().data && !self.data,
        }
    }
}

/// How far the agent is with a snoop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// Just come, or its write-back is done.
    Fresh,
    /// BIConflict was sent.
    Race(Handshake),
    /// Its write-back is outstanding.
    Flush,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Snoop {
    pub kind: S2mBiSnpOpcode,
    pub bi_id: u16,
    pub bi_tag: u16,
    pub stage: Stage,
    pub since: u64,
    /// Tag of a completed request whose BI-ConflictAck has not come.
    pub tag: Option<u16>,
}

/// What the agent knows of a line that it holds, or that has something outstanding.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub line: u64,
    /// What the agent holds, its cores taken together.
    pub held: Held,
    /// The line, unless the owner has modified it since.
    pub data: Line,
    /// What a read has brought.
    pub incoming: Line,
    /// The core that has it in E or M.
    pub owner: Option<u8>,
    /// Cores that have it, the owner too.
    pub sharers: u8,
    /// Cores that wait for something to end here.
    pub waiters: u8,
    pub pending: Option<Pending>,
    pub snoop: Option<Snoop>,
    /// In the list of snoops to look at.
    pub queued: bool,
    /// A response never came: nothing is known of the line until the link is reset.
    pub dead: bool,
}

impl Entry {
    fn new(line: u64) -> Self {
        Self {
            line,
            held: Held::I,
            data: [0; 64],
            incoming: [0; 64],
            owner: None,
            sharers: 0,
            waiters: 0,
            pending: None,
            snoop: None,
            queued: false,
            dead: false,
        }
    }

    /// True if nothing new may be started on the line.
    pub fn busy(&self) -> bool {
        self.pending.is_some() || self.snoop.is_some() || self.dead
    }
}

/// Multiplication by an odd number: line numbers are dense, so that this is enough.
#[derive(Default)]
pub(super) struct LineHasher(u64);

impl Hasher for LineHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.write_u64(u64::from(*b));
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0 ^ n)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(29);
    }
}

/// A map from line numbers.
pub(super) type LineMap<T> = HashMap<u64, T, BuildHasherDefault<LineHasher>>;

/// The agent's lines, by number. Entries come back: no allocation once the largest number was in use.
pub(super) struct Table {
    pub entries: Vec<Entry>,
    free: Vec<usize>,
    at: LineMap<usize>,
}

impl Table {
    pub fn new(expected: usize) -> Self {
        Self {
            entries: Vec::with_capacity(expected),
            free: Vec::with_capacity(expected),
            at: HashMap::with_capacity_and_hasher(2 * expected, BuildHasherDefault::default()),
        }
    }

    pub fn find(&self, line: u64) -> Option<usize> {
        self.at.get(&line).copied()
    }

    /// The entry of a line, made if need be.
    pub fn entry(&mut self, line: u64) -> usize {
        if let Some(n) = self.find(line) {
            return n;
        }
        let n = match self.free.pop() {
            Some(n) => {
                self.entries[n] = Entry::new(line);
                n
            }
            None => {
                self.entries.push(Entry::new(line));
                self.entries.len() - 1
            }
        };
        self.at.insert(line, n);
        n
    }

    /// Gives the entry back if nothing is known of its line.
    pub fn release_if_empty(&mut self, n: usize) {
        let e = &mut self.entries[n];
        if e.line != NONE && e.held == Held::I && !e.busy() && !e.queued && e.waiters == 0 {
            self.at.remove(&e.line);
            e.line = NONE;
            self.free.push(n);
        }
    }

    /// Entries in use.
    pub fn used(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.entries
            .iter()
            .enumerate()
            .filter(|(_, e)| e.line != NONE)
    }
}

/// Tags: the low byte names a slot, the high byte how often it was used, so that a late answer is recognised. Requests, write-backs
/// and the write-backs of snoops have slots of their own (cxl-mem 8.1, "Pools").
pub(super) struct Tags {
    /// Entry that uses the slot, and the tag.
    slots: Vec<Option<(usize, u16)>>,
    generation: Vec<u8>,
    free: [Vec<u8>; 3],
}

/// Which pool a tag comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pool {
    Req = 0,
    Rwd = 1,
    Snoop = 2,
}

/// Slots for the write-backs of snoops: one for each snoop that can be out.
pub(super) const SNOOPS: usize = 64;

impl Tags {
    /// `each`: slots for Req, and as many for RwD, 1 to 96.
    pub fn new(each: usize) -> Self {
        let each = each.clamp(1, 96);
        let total = 2 * each + SNOOPS;
        let pool = |from: usize, to: usize| (from..to).rev().map(|n| n as u8).collect();
        Self {
            slots: vec![None; total],
            generation: vec![0; total],
            free: [pool(0, each), pool(each, 2 * each), pool(2 * each, total)],
        }
    }

    pub fn has(&self, pool: Pool) -> bool {
        !self.free[pool as usize].is_empty()
    }

    pub fn take(&mut self, pool: Pool, entry: usize) -> Option<u16> {
        let slot = self.free[pool as usize].pop()?;
        let n = usize::from(slot);
        let tag = u16::from(self.generation[n]) << 8 | u16::from(slot);
        self.slots[n] = Some((entry, tag));
        Some(tag)
    }

    /// The entry that has this tag outstanding.
    pub fn entry(&self, tag: u16) -> Option<usize> {
        match self.slots.get(usize::from(tag as u8)) {
            Some(Some((entry, t))) if *t == tag => Some(*entry),
            _ => None,
        }
    }

    pub fn release(&mut self, tag: u16) {
        let n = usize::from(tag as u8);
        if self.entry(tag).is_none() {
            return;
        }
        self.slots[n] = None;
        self.generation[n] = self.generation[n].wrapping_add(1);
        let each = (self.slots.len() - SNOOPS) / 2;
        self.free[(n / each).min(2)].push(n as u8);
    }
}

/// True if the port and the tags have room for a message of this kind.
pub(super) fn room(port: &impl Port, tags: &Tags, pool: Pool) -> bool {
    tags.has(pool)
        && match pool {
            Pool::Req => port.room_for_req(),
            Pool::Rwd | Pool::Snoop => port.room_for_rwd(),
        }
}
