//! When pages move by themselves: by how often operations of the engine touch them.
//!
//! What the CPU does with a device page is not observable: coherent pages never fault, and no hint reaches them. So the engine's touches alone
//! decide, and time is counted in operations. Hysteresis: a page comes after [`Rule::in_after`] touches and leaves after [`Rule::home_after`]
//! operations without one, and what it did before it last moved counts no more. A page therefore moves at most twice in
//! `in_after + home_after` operations, whatever the pattern.

/// When a page moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Touches that bring a page to the device; those before a pause of more than `home_after` operations do not count.
    in_after: u16,
    /// Operations without a touch after which it goes home.
    home_after: u32,
}

impl Rule {
    /// Most touches to wait for.
    pub const MOST_TOUCHES: u32 = 1 << 12;
    /// Most operations to wait for.
    pub const MOST_OPERATIONS: u32 = 1 << 24;

    /// A rule, unless a number is out of bounds or a page would leave before it could have come.
    pub fn new(in_after: u32, home_after: u32) -> Option<Rule> {
        let fits = (1..=Self::MOST_TOUCHES).contains(&in_after)
            && (in_after..=Self::MOST_OPERATIONS).contains(&home_after);
        Some(Rule {
            in_after: u16::try_from(in_after).ok().filter(|_| fits)?,
            home_after,
        })
    }
}

/// What is known of one page. All zero is a page that was never touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PageHistory {
    /// Operation that touched it last. The count wraps: a page that comes at the same number again stays longer, nothing worse.
    last: u32,
    /// Touches since it moved or was forgotten.
    touches: u16,
    /// Whether it was on the device when it was last looked at.
    is_there: bool,
}

/// A range of pages that moves by itself.
#[derive(Debug)]
pub struct Policy<S> {
    rule: Rule,
    now: u32,
    hand: usize,
    pages: S,
}

impl<S: AsRef<[PageHistory]> + AsMut<[PageHistory]>> Policy<S> {
    /// Pages of which nothing is known yet: what is on the device already stays until it was touched.
    pub fn new(rule: Rule, mut pages: S) -> Policy<S> {
        pages.as_mut().fill(PageHistory::default());
        Policy {
            rule,
            now: 0,
            hand: 0,
            pages,
        }
    }

    /// An operation begins.
    pub fn tick(&mut self) {
        self.now = self.now.wrapping_add(1);
    }

    /// The operation touches a page, which `is_there` or is not. Returns whether it ought to come. A page out of range is no business of the policy's.
    pub fn touch(&mut self, page: usize, is_there: bool) -> bool {
        let (now, rule) = (self.now, self.rule);
        let Some(page) = self.pages.as_mut().get_mut(page) else {
            return false;
        };
        if now.wrapping_sub(page.last) > rule.home_after {
            page.touches = 0;
        }
        page.last = now;
        page.touches = page.touches.saturating_add(1);
        page.is_there = is_there;
        !is_there && page.touches >= rule.in_after
    }

    /// A page was moved, or could not be: either way its touches, and the wait until it goes home, begin anew.
    pub fn settle(&mut self, page: usize, is_there: bool) {
        let now = self.now;
        if let Some(page) = self.pages.as_mut().get_mut(page) {
            page.touches = 0;
            page.last = now;
            page.is_there = is_there;
        }
    }

    /// The next run of pages that ought to go home, as first page and number; looks at no more than `budget` pages, from where the last call
    /// stopped, and takes from it what it looked at.
    pub fn next_home(&mut self, budget: &mut usize) -> Option<(usize, usize)> {
        let (now, home_after) = (self.now, self.rule.home_after);
        let pages = self.pages.as_ref();
        let is_idle = |p: &PageHistory| p.is_there && now.wrapping_sub(p.last) > home_after;
        let (mut first, mut count) = (0, 0);
        while *budget > 0 {
            let at = self.hand;
            let Some(page) = pages.get(at) else {
                self.hand = 0;
                if count > 0 || pages.is_empty() {
                    break;
                }
                continue;
            };
            if is_idle(page) {
                if count == 0 {
                    first = at;
                }
                count += 1;
            } else if count > 0 {
                break;
            }
            self.hand = at.saturating_add(1);
            *budget -= 1;
        }
        (count > 0).then_some((first, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::vec;
    use std::vec::Vec;

    fn policy(in_after: u32, home_after: u32, pages: usize) -> Policy<Vec<PageHistory>> {
        let rule = Rule::new(in_after, home_after).unwrap();
        Policy::new(rule, vec![PageHistory::default(); pages])
    }

    fn home(p: &mut Policy<Vec<PageHistory>>, mut budget: usize) -> Option<(usize, usize)> {
        p.next_home(&mut budget)
    }

    #[test]
    fn rules_have_bounds() {
        for (in_after, home_after) in [
            (0, 5),
            (3, 2),
            (Rule::MOST_TOUCHES + 1, Rule::MOST_OPERATIONS),
            (1, Rule::MOST_OPERATIONS + 1),
            (u32::MAX, u32::MAX),
        ] {
            assert_eq!(Rule::new(in_after, home_after), None);
        }
        assert!(Rule::new(1, 1).is_some());
        assert!(Rule::new(Rule::MOST_TOUCHES, Rule::MOST_OPERATIONS).is_some());
    }

    #[test]
    fn a_page_comes_by_touches_and_leaves_by_their_absence() {
        let mut p = policy(3, 4, 8);
        let mut came = Vec::new();
        for _ in 0..3 {
            p.tick();
            came.push(p.touch(5, false));
        }
        assert_eq!(came, [false, false, true]);
        p.settle(5, true);
        for _ in 0..4 {
            p.tick();
            assert_eq!(home(&mut p, 8), None);
        }
        p.tick();
        assert_eq!(home(&mut p, 8), Some((5, 1)));
        p.settle(5, false);
        assert_eq!(home(&mut p, 8), None);
        assert!(!p.touch(5, false));
        assert!(!p.touch(99, false), "out of range");
    }

    #[test]
    fn touches_before_a_pause_do_not_count() {
        let mut p = policy(2, 3, 1);
        p.tick();
        assert!(!p.touch(0, false));
        for _ in 0..4 {
            p.tick();
        }
        assert!(!p.touch(0, false));
        p.tick();
        assert!(p.touch(0, false));
    }

    #[test]
    fn a_page_that_cannot_come_is_tried_again_after_as_many_touches() {
        let mut p = policy(3, 9, 1);
        let tried: Vec<bool> = (0..7)
            .map(|_| {
                p.tick();
                let wanted = p.touch(0, false);
                if wanted {
                    p.settle(0, false);
                }
                wanted
            })
            .collect();
        assert_eq!(tried, [false, false, true, false, false, true, false]);
    }

    #[test]
    fn what_nobody_touched_stays_where_it_is() {
        let mut p = policy(1, 1, 4);
        for _ in 0..10 {
            p.tick();
            assert_eq!(home(&mut p, 4), None);
        }
    }

    #[test]
    fn runs_go_home_whole_and_the_hand_goes_round() {
        let mut p = policy(1, 1, 10);
        p.tick();
        for page in [0, 1, 4, 5, 6, 9] {
            p.touch(page, true);
        }
        p.tick();
        p.tick();
        let mut runs = Vec::new();
        let mut budget = 25;
        while let Some((first, count)) = p.next_home(&mut budget) {
            runs.push((first, count));
            for page in first..first + count {
                p.settle(page, false);
            }
        }
        assert_eq!(runs, [(0, 2), (4, 3), (9, 1)]);
        assert_eq!(budget, 0);
        // A run is cut where the budget ends, and goes on there.
        p.tick();
        for page in 0..6 {
            p.touch(page, true);
        }
        p.tick();
        p.tick();
        p.hand = 0;
        assert_eq!(home(&mut p, 4), Some((0, 4)));
        assert_eq!(home(&mut p, 4), Some((4, 2)));
        assert_eq!(policy(1, 1, 0).next_home(&mut 5), None);
    }

    /// Any pattern, every count near its wrap too: a page moves at most twice in `in_after + home_after` operations, and a page that is there
    /// when it ought to be is never moved.
    #[test]
    fn no_pattern_makes_a_page_ping_pong() {
        let mut random = 0x1234_5678_9ABC_DEFFu64;
        let mut below = |n: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % n
        };
        for turn in 0..200 {
            let in_after = 1 + below(6) as u32;
            let home_after = in_after + below(12) as u32;
            let mut p = policy(in_after, home_after, 1);
            p.now = u32::MAX - 500;
            let (mut there, mut moves, operations) = (false, 0u32, 2000);
            let odds = 1 + below(u64::from(home_after) + 2);
            for _ in 0..operations {
                p.tick();
                if below(odds) == 0 && p.touch(0, there) {
                    assert!(!there);
                    there = true;
                    moves += 1;
                    p.settle(0, true);
                }
                if home(&mut p, 1).is_some() {
                    assert!(there);
                    there = false;
                    moves += 1;
                    p.settle(0, false);
                }
            }
            let most = 2 * operations / (in_after + home_after) + 2;
            assert!(moves <= most, "turn {turn}: {moves} moves, at most {most}");
            assert!(odds > 1 || moves == 1, "always touched: it stays");
        }
    }
}
