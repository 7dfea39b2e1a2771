//! Latency of this machine's own memory: a pointer chase over working sets from the first cache to main memory.
//!
//! Every line of a working set holds the address of the next, in one random cycle through all of them (Sattolo's algorithm), so that each load waits for
//! the one before and no prefetcher can guess. The chase that writes also increments a counter in each line it visits: the line is owned, dirtied,
//! and written back when it leaves a cache.
//!
//! Where the system allows it the memory is backed by huge pages; else large sets also measure address translation. The figure says which.

use std::time::{Duration, Instant};

use cxlmem_driver::devfile::{Backing, Memory};
use cxlmem_sim::rng::Rng;

/// Bytes of a line.
const LINE: usize = 64;
/// Fewest loads of a repeat.
const STEPS: u64 = 1 << 12;

/// Working sets of a full run, bytes: from well inside the first cache to main memory.
pub const SETS: &[u64] = &[
    16 << 10,
    64 << 10,
    256 << 10,
    1 << 20,
    4 << 20,
    16 << 20,
    64 << 20,
    256 << 20,
];
/// Working sets of a quick run, bytes.
pub const QUICK_SETS: &[u64] = &[16 << 10, 1 << 20, 16 << 20, 256 << 20];

/// One line of a working set.
#[repr(C, align(64))]
struct Node {
    /// The next line of the cycle.
    next: *mut Node,
    /// What the chase that writes increments.
    count: u64,
    _rest: [u64; 6],
}

/// What one working set showed, nanoseconds a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Chase {
    /// Fastest repeat.
    pub min: f64,
    /// Median repeat.
    pub median: f64,
    /// Slowest repeat.
    pub max: f64,
}

impl Chase {
    fn of(mut repeats: [f64; REPEATS]) -> Chase {
        repeats.sort_by(f64::total_cmp);
        Chase {
            min: repeats[0],
            median: repeats[REPEATS / 2],
            max: repeats[REPEATS - 1],
        }
    }
}

/// Both walks through one working set.
#[derive(Clone, Copy, Debug)]
pub struct Walks {
    /// Loads.
    pub read: Chase,
    /// Load and store.
    pub write: Chase,
}

/// A working set linked into one random cycle.
pub struct Cycle {
    memory: Memory,
    nodes: *mut Node,
    count: usize,
    /// Where the next walk begins: where the last one ended. A walk that began again at the first node would find the lines of the walk before in a cache.
    at: *mut Node,
}

impl Cycle {
    /// `bytes` is a multiple of 64 and at least two lines. `None` when the system has no memory for it.
    pub fn new(bytes: u64, backing: Backing, rng: &mut Rng) -> Option<Cycle> {
        let count = (bytes as usize / LINE).max(2);
        let memory = Memory::new(count * LINE, backing).ok()?;
        let nodes = memory.as_ptr().cast::<Node>();
        let mut cycle = Cycle {
            memory,
            nodes,
            count,
            at: nodes,
        };
        cycle.link(rng);
        Some(cycle)
    }

    /// The working set, whose pages may move.
    pub fn memory(&self) -> &[u8] {
        self.memory.as_slice()
    }

    /// Walks it both ways, in about `budget`.
    pub fn measure(&mut self, budget: Duration) -> Walks {
        let each = budget / (2 * REPEATS as u32);
        let (reads, writes) = (self.steps_in::<false>(each), self.steps_in::<true>(each));
        let (mut read, mut write) = ([0.0; REPEATS], [0.0; REPEATS]);
        // In turns, so that what else goes on in the machine meets both.
        for (r, w) in read.iter_mut().zip(&mut write) {
            *r = self.walk::<false>(reads);
            *w = self.walk::<true>(writes);
        }
        Walks {
            read: Chase::of(read),
            write: Chase::of(write),
        }
    }

    /// Sattolo's algorithm: exchanging with an *earlier* element only makes a permutation of one single cycle. Writes every node for the first time, after
    /// the advice, so that the system can back them as advised.
    fn link(&mut self, rng: &mut Rng) {
        let mut order: Vec<u32> = (0..self.count as u32).collect();
        for n in (1..self.count).rev() {
            order.swap(n, rng.below(n as u64) as usize);
        }
        for (n, &next) in order.iter().enumerate() {
            // SAFETY: `n` and `next` are below `count`, the number of nodes that the memory holds.
            unsafe {
                let node = Node {
                    next: self.nodes.add(next as usize),
                    count: 0,
                    _rest: [0; 6],
                };
                self.nodes.add(n).write(node);
            }
        }
    }

    /// Nanoseconds a step; `WRITE` stores to each line as well.
    fn walk<const WRITE: bool>(&mut self, steps: u64) -> f64 {
        let mut node = self.at;
        let start = Instant::now();
        for _ in 0..steps {
            // SAFETY: `node` is a node of the memory: the first one, or one that `link` stored (also where the last walk ended).
            unsafe {
                if WRITE {
                    (*node).count = (*node).count.wrapping_add(1);
                }
                node = (*node).next;
            }
        }
        let elapsed = start.elapsed();
        self.at = std::hint::black_box(node);
        elapsed.as_nanos() as f64 / steps as f64
    }

    /// Steps that take about that long, found by a walk after one that fills the caches: a set that a last-level cache can hold is visited as a whole.
    fn steps_in<const WRITE: bool>(&mut self, time: Duration) -> u64 {
        let once = (self.count as u64).clamp(STEPS, 1 << 19);
        self.walk::<WRITE>(once);
        let guess = self.walk::<WRITE>(once.min(1 << 18)).max(0.1);
        ((time.as_nanos() as f64 / guess) as u64).max(STEPS)
    }
}

/// Walks of each kind.
const REPEATS: usize = 7;

/// Measures one working set of `bytes`, in about `budget` and the time to link it, and the share of it that is in huge pages, if the system tells. `None`
/// when the system has no memory for it.
pub fn measure(bytes: u64, budget: Duration, rng: &mut Rng) -> Option<(Walks, Option<f64>)> {
    let before = huge_page_bytes();
    let mut cycle = Cycle::new(bytes, Backing::Huge, rng)?;
    let after = huge_page_bytes();
    let huge_share = before
        .zip(after)
        .map(|(b, a)| (a.saturating_sub(b) as f64 / bytes as f64).min(1.0));
    Some((cycle.measure(budget), huge_share))
}

/// Bytes of this process in anonymous huge pages.
fn huge_page_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("AnonHugePages:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

/// The processor's name, as the system gives it.
pub fn processor() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text
        .lines()
        .find(|l| l.starts_with("model name"))
        .and_then(|l| l.split_once(':'));
    name.map_or_else(
        || std::env::consts::ARCH.to_string(),
        |(_, name)| name.trim().to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chase_visits_every_line_once() {
        for count in [2usize, 3, 64, 1000] {
            let mut cycle = Cycle::new(
                (count * LINE) as u64,
                Backing::Huge,
                &mut Rng::new(count as u64),
            )
            .unwrap();
            // In two walks: the second goes on where the first ended.
            cycle.walk::<true>(count as u64 / 3);
            cycle.walk::<true>(count as u64 - count as u64 / 3);
            // SAFETY: as many nodes as the allocation holds.
            let nodes = unsafe { std::slice::from_raw_parts(cycle.nodes, count) };
            assert!(nodes.iter().all(|n| n.count == 1), "{count}");
        }
    }

    #[test]
    fn repeats_are_ordered_and_plausible() {
        let (l, _) = measure(16 << 10, Duration::from_millis(20), &mut Rng::new(1)).unwrap();
        for c in [l.read, l.write] {
            assert!(
                c.min > 0.0 && c.min <= c.median && c.median <= c.max,
                "{c:?}"
            );
            // A step that takes no time was optimised away; one in the first cache takes no millisecond.
            assert!(c.min > 0.05 && c.min < 1e6, "{c:?}");
        }
    }

    #[test]
    fn seeds_decide_the_order() {
        let order = |seed| {
            let c = Cycle::new(64 * 64, Backing::Small, &mut Rng::new(seed)).unwrap();
            // SAFETY: node 0 exists, and its link points into the allocation.
            unsafe { (*c.nodes).next.offset_from(c.nodes) }
        };
        assert_eq!(order(7), order(7));
        assert!((1..20).any(|s| order(s) != order(7)));
    }
}
