//! The host's cache: set-associative, write-back, with MESI states.
//!
//! On HDM-H memory the host owns every line, so the states decide only what the cache must do: S and E can be dropped, M must be written back, and a write to S or
//! E needs no message (cxl-mem 2.1, 2.9).

use super::golden::{Line, LINE};

/// State of a line in the cache; absent lines are I.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Shared: clean.
    S,
    /// Exclusive: clean, and no other cache has it.
    E,
    /// Modified: memory is stale.
    M,
}

/// Shape of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Sets, rounded up to a power of two.
    pub sets: usize,
    /// Ways, at least 1.
    pub ways: usize,
}

impl Default for CacheShape {
    /// 256 KiB, 8 ways.
    fn default() -> Self {
        Self { sets: 512, ways: 8 }
    }
}

#[derive(Clone)]
struct Way {
    address: u64,
    state: State,
    used: u64,
    data: Line,
}

/// A line that left the cache and must be written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dirty {
    /// Address of the line.
    pub address: u64,
    /// Its content.
    pub data: Line,
}

/// The cache.
pub struct Cache {
    sets: Vec<Vec<Way>>,
    ways: usize,
    clock: u64,
    hits: u64,
    misses: u64,
}

impl Cache {
    /// An empty cache.
    pub fn new(shape: CacheShape) -> Self {
        let sets = shape.sets.max(1).next_power_of_two();
        Self {
            sets: vec![Vec::new(); sets],
            ways: shape.ways.max(1),
            clock: 0,
            hits: 0,
            misses: 0,
        }
    }

    fn set(&mut self, address: u64) -> &mut Vec<Way> {
        let n = (address / LINE) as usize & (self.sets.len() - 1);
        &mut self.sets[n]
    }

    fn find(&mut self, address: u64) -> Option<&mut Way> {
        self.clock += 1;
        let clock = self.clock;
        let way = self
            .set(address)
            .iter_mut()
            .find(|w| w.address == address)?;
        way.used = clock;
        Some(way)
    }

    /// Accesses that found their line, and those that did not.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (self.hits, self.misses)
    }

    /// The line's state, `None` for I.
    pub fn state(&self, address: u64) -> Option<State> {
        let n = (address / LINE) as usize & (self.sets.len() - 1);
        self.sets[n]
            .iter()
            .find(|w| w.address == address)
            .map(|w| w.state)
    }

    /// The line's content if it is here.
    pub fn read(&mut self, address: u64) -> Option<Line> {
        let found = self.find(address).map(|w| w.data);
        match found {
            Some(_) => self.hits += 1,
            None => self.misses += 1,
        }
        found
    }

    /// Writes the bytes that `enables` names, if the line is here; it is M then. False on a miss.
    pub fn write(&mut self, address: u64, data: &Line, enables: u64) -> bool {
        let Some(way) = self.find(address) else {
            self.misses += 1;
            return false;
        };
        for (n, (to, from)) in way.data.iter_mut().zip(data).enumerate() {
            if enables >> n & 1 != 0 {
                *to = *from;
            }
        }
        way.state = State::M;
        self.hits += 1;
        true
    }

    /// The line that must be written back before `address` can be filled.
    pub fn victim(&mut self, address: u64) -> Option<Dirty> {
        let ways = self.ways;
        let set = self.set(address);
        if set.len() < ways || set.iter().any(|w| w.address == address) {
            return None;
        }
        let way = set.iter().min_by_key(|w| w.used)?;
        (way.state == State::M).then_some(Dirty {
            address: way.address,
            data: way.data,
        })
    }

    /// Puts a line in, in place of the one used longest ago if the set is full. Write [`Cache::victim`] back first.
    pub fn fill(&mut self, address: u64, data: &Line, state: State) {
        if let Some(way) = self.find(address) {
            way.data = *data;
            way.state = state;
            return;
        }
        let (ways, used) = (self.ways, self.clock);
        let set = self.set(address);
        if set.len() >= ways {
            let oldest = (0..set.len()).min_by_key(|&n| set[n].used).unwrap_or(0);
            set.swap_remove(oldest);
        }
        set.push(Way {
            address,
            state,
            used,
            data: *data,
        });
    }

    /// The line was written back and stays, exclusive.
    pub fn mark_clean(&mut self, address: u64) {
        if let Some(way) = self.set(address).iter_mut().find(|w| w.address == address) {
            way.state = State::E;
        }
    }

    /// Content of the line if it is M.
    pub fn modified(&mut self, address: u64) -> Option<Line> {
        let way = self.set(address).iter().find(|w| w.address == address)?;
        (way.state == State::M).then_some(way.data)
    }

    /// Drops the line, modified or not.
    pub fn drop_line(&mut self, address: u64) {
        self.set(address).retain(|w| w.address != address);
    }

    /// Addresses of the lines held in a range, ascending.
    pub fn addresses_in(&self, range: std::ops::Range<u64>) -> Vec<u64> {
        let lines = (range.end.saturating_sub(range.start)).div_ceil(LINE);
        let mut found: Vec<u64> = if lines < self.sets.len() as u64 {
            // Few lines: look each up.
            (0..lines)
                .map(|n| range.start + n * LINE)
                .filter(|&a| self.state(a).is_some())
                .collect()
        } else {
            self.sets
                .iter()
                .flatten()
                .map(|w| w.address)
                .filter(|a| range.contains(a))
                .collect()
        };
        found.sort_unstable();
        found
    }

    /// Drops everything without write-back: the memory behind it is gone.
    pub fn discard(&mut self) {
        self.sets.iter_mut().for_each(Vec::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fills_hits_and_dirty_evictions() {
        let mut c = Cache::new(CacheShape { sets: 1, ways: 2 });
        assert_eq!(c.read(0), None);
        c.fill(0, &[1; 64], State::S);
        c.fill(64, &[2; 64], State::E);
        assert!(c.write(0, &[9; 64], 1));
        assert_eq!(c.state(0), Some(State::M));
        assert_eq!(c.read(0).unwrap()[..2], [9, 1]);
        // 64 is the oldest and clean: no write-back.
        assert_eq!(c.victim(128), None);
        c.fill(128, &[3; 64], State::E);
        assert_eq!(c.state(64), None);
        // 0 is the oldest now, and dirty.
        let dirty = c.victim(192).unwrap();
        assert_eq!((dirty.address, &dirty.data[..2]), (0, &[9, 1][..]));
        c.mark_clean(0);
        assert_eq!((c.victim(192), c.state(0)), (None, Some(State::E)));
        c.fill(192, &[4; 64], State::M);
        assert!(!c.write(0, &[0; 64], 1));
        assert_eq!(c.hits_and_misses(), (2, 2));
        assert_eq!(c.addresses_in(0..u64::MAX), [128, 192]);
        assert_eq!(c.modified(192), Some([4; 64]));
        c.drop_line(192);
        assert_eq!(c.addresses_in(128..192), [128]);
    }
}
