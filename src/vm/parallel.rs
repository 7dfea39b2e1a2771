//! Guests at the same time.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Mutex;

use anyhow::Result;

/// Memory that QEMU, the device server and the kernel's page tables take beside a guest's own, MiB.
const BESIDE_MIB: u64 = 1024;

/// How many guests with so much memory this machine takes at a time: one for each processor, if there is memory for it, and at least one.
pub fn fitting_guests(memory_mib: u64) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    by_memory(&meminfo, memory_mib).min(processors).max(1)
}

/// How many fit into the memory that is available.
fn by_memory(meminfo: &str, memory_mib: u64) -> usize {
    let available = meminfo
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:"));
    let kib = available.and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok());
    let mib = kib.map_or(0, |k| k / 1024);
    usize::try_from(mib / memory_mib.saturating_add(BESIDE_MIB)).unwrap_or(usize::MAX)
}

/// Runs `work` on each of `all`, so many at the same time, and returns the results in the order of `all`. After an error nothing more is begun.
///
/// # Errors
/// The first of `work`'s, in the order of `all`.
pub fn at_once<T: Sync, R: Send>(
    workers: usize,
    all: &[T],
    work: impl Fn(&T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let (next, has_failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results: Vec<Mutex<Option<Result<R>>>> = all.iter().map(|_| Mutex::new(None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..workers.clamp(1, all.len().max(1)) {
            scope.spawn(|| {
                while !has_failed.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(item), Some(slot)) = (all.get(n), results.get(n)) else {
                        break;
                    };
                    let result = work(item);
                    has_failed.fetch_or(result.is_err(), Ordering::Relaxed);
                    *slot.lock().unwrap_or_else(|e| e.into_inner()) = Some(result);
                }
            });
        }
    });
    let results = results.into_iter();
    results
        .filter_map(|r| r.into_inner().unwrap_or_else(|e| e.into_inner()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;
    use std::time::Duration;

    #[test]
    fn results_keep_their_order() {
        let most = AtomicUsize::new(0);
        let now = AtomicUsize::new(0);
        let all: Vec<u64> = (0..20).collect();
        let results = at_once(3, &all, |n| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20 - n));
            now.fetch_sub(1, Ordering::SeqCst);
            Ok(n * 10)
        });
        assert_eq!(
            results.unwrap(),
            all.iter().map(|n| n * 10).collect::<Vec<_>>()
        );
        assert!((2..=3).contains(&most.into_inner()));
        assert!(at_once(3, &[] as &[u64], |_| Ok(())).unwrap().is_empty());
    }

    #[test]
    fn an_error_ends_it() {
        let begun = AtomicUsize::new(0);
        let all: Vec<usize> = (0..50).collect();
        let result = at_once(2, &all, |n| {
            begun.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
            if *n == 3 {
                bail!("number {n}");
            }
            Ok(())
        });
        assert_eq!(result.unwrap_err().to_string(), "number 3");
        assert!(begun.into_inner() < 10);
    }

    #[test]
    fn guests_fit_into_memory() {
        let meminfo = "MemTotal: 99 kB\nMemAvailable:   16777216 kB\n";
        assert_eq!(by_memory(meminfo, 3072), 4);
        assert_eq!(by_memory(meminfo, 16384), 0);
        assert_eq!(by_memory("", 3072), 0);
        assert!(fitting_guests(u64::MAX) == 1);
    }
}
