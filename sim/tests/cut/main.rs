//! The link is lost, re-initialised or stuck, or the device stands still, in every cycle of every kind of transaction: each ends for its
//! caller within a bound, and each line afterwards is what `interfaces.md`, section 2, promises. Replay with `CXLMEM_SEED`.

mod coherent;
// Both tests of messages use it, each not all of it.
#[allow(dead_code)]
#[path = "../hdm_db/hand.rs"]
mod hand;
mod host;
mod link;

use cxlmem_sim::rng::{seed_from_env, Rng};

fn seeds(default: u64) -> Rng {
    let seed = seed_from_env(default).unwrap();
    println!("CXLMEM_SEED={seed}");
    Rng::new(seed)
}

/// What came of many cuts of one kind of transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// The caller was told that it is done.
    done: u64,
    /// The caller got an error.
    failed: u64,
    /// Of those that failed: memory afterwards is as before.
    old: u64,
    /// Of those that failed: it was done all the same.
    new: u64,
    /// Of those that failed: a line is half old and half new.
    torn: u64,
    /// The physical layer re-initialised.
    reinits: u64,
    /// An end gave the link up.
    given_up: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, more: Self) {
        self.done += more.done;
        self.failed += more.failed;
        self.old += more.old;
        self.new += more.new;
        self.torn += more.torn;
        self.reinits += more.reinits;
        self.given_up += more.given_up;
    }
}
