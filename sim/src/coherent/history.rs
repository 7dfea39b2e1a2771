//! Are the values that everybody saw those of one memory?
//!
//! Every operation is known by the interval in which it happened and by what it read and wrote. Written values are never equal, so that
//! a read names the write that it saw, and each location can be checked exactly (Gibbons and Korach, "Testing shared memories", SIAM J.
//! Comput. 26, 1997, 4.1): each value is current in one stretch of time, and the stretches must not overlap. This is coherence in real
//! time; what holds between locations is for [`litmus`](super::litmus) to show.

use super::cache::LineMap;
use std::fmt;

/// What one operation did to one 8-byte word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Address of the word.
    pub address: u64,
    /// Who did it; only for messages.
    pub actor: u8,
    /// The operation happened after this moment.
    pub start: u64,
    /// And before this one.
    pub end: u64,
    /// What it read.
    pub read: Option<u64>,
    /// What it wrote. With `read` too it is one atomic step.
    pub wrote: Option<u64>,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "actor {} at {}..{}", self.actor, self.start, self.end)?;
        if let Some(v) = self.read {
            write!(f, " read {}", Value(v))?;
        }
        if let Some(v) = self.wrote {
            write!(f, " wrote {}", Value(v))?;
        }
        Ok(())
    }
}

/// A value that says who wrote it: see [`value`].
pub struct Value(pub u64);

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 >> 48 {
            0 => write!(f, "{:#x}", self.0),
            actor => {
                let (op, word) = ((self.0 & 0xFFFF_FFFF_FFFF) >> 3, self.0 & 7);
                write!(
                    f,
                    "{:#x} (actor {}, operation {op}, word {word})",
                    self.0,
                    actor - 1
                )
            }
        }
    }
}

/// The value that an actor's operation writes to a word (0 to 7): different from every other, and never below 2^48.
pub fn value(actor: u8, operation: u64, word: usize) -> u64 {
    (u64::from(actor) + 1) << 48 | (operation << 3 & 0xFFFF_FFFF_FFFF) | (word as u64 & 7)
}

/// One value's write and reads at one location.
struct Cluster {
    write: Event,
    /// The atomic step that replaced it.
    replaced: Option<Event>,
    first_end: Event,
    last_start: Event,
}

/// Checks the events of a run, in any order; every location held `initial` before (at moment 0), and moments count from 1.
///
/// # Errors
/// The first location that cannot have behaved as memory, and the operations that show it.
pub fn check(events: &mut [Event], initial: impl Fn(u64) -> u64) -> Result<(), String> {
    events.sort_unstable_by_key(|e| (e.address, e.start));
    let mut clusters = LineMap::default();
    for location in events.chunk_by(|a, b| a.address == b.address) {
        if let Some(first) = location.first() {
            clusters.clear();
            check_location(location, initial(first.address), &mut clusters)
                .map_err(|what| format!("word {:#x}: {what}", first.address))?;
        }
    }
    Ok(())
}

fn check_location(
    events: &[Event],
    initial: u64,
    clusters: &mut LineMap<Cluster>,
) -> Result<(), String> {
    let before = Event {
        address: 0,
        actor: u8::MAX,
        start: 0,
        end: 0,
        read: None,
        wrote: Some(initial),
    };
    for write in std::iter::once(&before).chain(events) {
        let Some(value) = write.wrote else { continue };
        let cluster = Cluster {
            write: *write,
            replaced: None,
            first_end: *write,
            last_start: *write,
        };
        if let Some(other) = clusters.insert(value, cluster) {
            return Err(format!("the same value twice: {write}; {}", other.write));
        }
    }
    for read in events {
        let Some(value) = read.read else { continue };
        let Some(c) = clusters.get_mut(&value) else {
            return Err(format!("nobody wrote what was read: {read}"));
        };
        if read.end < c.write.start {
            return Err(format!("read before it was written: {read}; {}", c.write));
        }
        if read.wrote.is_some() {
            if let Some(other) = c.replaced.replace(*read) {
                return Err(format!(
                    "two atomic steps replaced one value: {read}; {other}"
                ));
            }
        }
        if read.end < c.first_end.end {
            c.first_end = *read;
        }
        if read.start > c.last_start.start {
            c.last_start = *read;
        }
    }
    // A value seen early and late was there all the while.
    let mut whiles: Vec<&Cluster> = Vec::new();
    for c in clusters.values() {
        if let Some(step) = &c.replaced {
            if c.last_start.start > step.end {
                return Err(format!("{} after {step}", c.last_start));
            }
        }
        if c.first_end.end < c.last_start.start {
            whiles.push(c);
        }
    }
    whiles.sort_unstable_by_key(|c| c.first_end.end);
    for pair in whiles.windows(2) {
        if let [a, b] = pair {
            if b.first_end.end < a.last_start.start {
                return Err(format!(
                    "an old value after a new one: {} but {}; {}",
                    a.first_end, a.last_start, b.first_end
                ));
            }
        }
    }
    for c in clusters.values() {
        if c.first_end.end < c.last_start.start {
            continue;
        }
        // Written and read inside another value's time?
        let n = whiles.partition_point(|w| w.first_end.end < c.last_start.start);
        let Some(w) = n.checked_sub(1).and_then(|n| whiles.get(n)) else {
            continue;
        };
        if c.first_end.end < w.last_start.start {
            return Err(format!(
                "an old value after a new one: {} and {}, with {} in between",
                w.first_end, w.last_start, c.write
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(span: (u64, u64), read: Option<u64>, wrote: Option<u64>) -> Event {
        Event {
            address: 8,
            actor: 0,
            start: span.0,
            end: span.1,
            read,
            wrote,
        }
    }

    fn verdict(events: &[Event]) -> Result<(), String> {
        check(&mut events.to_vec(), |_| 0)
    }

    #[test]
    fn coherent_history_accepts_what_memory_can_do() {
        // Overlapping writes in either order, seen in one.
        let w = [event((1, 9), None, Some(7)), event((2, 8), None, Some(8))];
        for (first, second) in [(7, 8), (8, 7)] {
            let reads = [
                event((3, 4), Some(first), None),
                event((10, 11), Some(second), None),
            ];
            assert_eq!(verdict(&[w[0], w[1], reads[0], reads[1]]), Ok(()));
        }
        let sums = [
            event((1, 5), Some(0), Some(1)),
            event((2, 6), Some(1), Some(2)),
        ];
        assert_eq!(verdict(&sums), Ok(()));
    }

    #[test]
    fn coherent_history_refuses_what_memory_cannot_do() {
        let w = event((1, 2), None, Some(7));
        let cases = [
            ("nobody wrote", vec![event((1, 2), Some(9), None)]),
            (
                "before it was written",
                vec![event((1, 2), Some(7), None), event((3, 4), None, Some(7))],
            ),
            ("an old value", vec![w, event((3, 4), Some(0), None)]),
            (
                "an old value",
                vec![
                    w,
                    event((3, 4), None, Some(8)),
                    event((5, 6), Some(7), None),
                ],
            ),
            (
                "two atomic steps",
                vec![
                    event((1, 5), Some(0), Some(1)),
                    event((2, 6), Some(0), Some(2)),
                ],
            ),
            (
                "the same value twice",
                vec![
                    event((1, 5), Some(0), Some(1)),
                    event((2, 6), Some(0), Some(1)),
                ],
            ),
            (
                " after ",
                vec![
                    event((1, 2), Some(0), Some(1)),
                    event((3, 4), Some(0), None),
                ],
            ),
            (
                "an old value",
                vec![
                    event((1, 20), None, Some(7)),
                    event((1, 20), None, Some(8)),
                    event((3, 4), Some(7), None),
                    event((5, 6), Some(8), None),
                    event((7, 8), Some(7), None),
                ],
            ),
        ];
        for (what, events) in cases {
            let error = verdict(&events).unwrap_err();
            assert!(error.contains(what), "{error} for {what}");
        }
    }
}
