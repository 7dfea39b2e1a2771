//! Makes a failing list of operations short (delta debugging).

/// The shortest list found that still fails: parts of `list`, halves first, are left out while `fails` says that the rest fails.
/// At most `budget` calls. `list` itself must fail.
pub fn shrink<T: Clone>(list: &[T], budget: usize, mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut best = list.to_vec();
    let mut calls = 0;
    let mut part = best.len().div_ceil(2);
    while part > 0 {
        let mut from = 0;
        let mut shorter = false;
        while from < best.len() {
            if calls >= budget {
                return best;
            }
            let to = (from + part).min(best.len());
            let rest: Vec<T> = best[..from].iter().chain(&best[to..]).cloned().collect();
            calls += 1;
            if fails(&rest) {
                best = rest;
                shorter = true;
            } else {
                from = to;
            }
        }
        if part == 1 && !shorter {
            break;
        }
        part = if part == 1 { 1 } else { part / 2 };
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coherent_shrink_finds_the_two_that_matter() {
        let list: Vec<u32> = (0..1000).collect();
        let fails = |l: &[u32]| l.contains(&17) && l.contains(&800);
        assert_eq!(shrink(&list, 10_000, fails), [17, 800]);
    }

    #[test]
    fn coherent_shrink_keeps_its_budget() {
        let list: Vec<u32> = (0..1000).collect();
        let mut calls = 0;
        let rest = shrink(&list, 5, |l| {
            calls += 1;
            l.contains(&999)
        });
        assert!(calls <= 5 && rest.contains(&999));
    }
}
