//! How a root complex is set up.

use crate::tlp::{Bdf, Limits};

/// How a root complex behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its own routing id, as requester and completer.
    pub bdf: Bdf,
    /// The bus of the link: configuration requests to it are type 0, others type 1.
    pub link_bus: u8,
    /// Max_Payload_Size both ways, and the longest read taken from the device.
    pub limits: Limits,
    /// Read Completion Boundary, 64 or 128 bytes, as completer.
    pub rcb: u16,
    /// Requests outstanding at most, 1..=1024.
    pub tags: u16,
    /// Ticks from issuing a request to its completion timeout.
    pub completion_timeout: u64,
    /// Ticks from a read of the device to its first completion.
    pub read_latency: u64,
    /// Up to this many ticks more before each completion, at random: completions of different tags overtake each other.
    pub jitter: u64,
    /// Cut completions at random boundaries instead of as rarely as allowed.
    pub random_split: bool,
    /// Seed of both.
    pub seed: u64,
    /// [`RootComplex::ready`](super::RootComplex::ready) turns false when this many packets wait for the link.
    pub queue: usize,
}

impl Default for Options {
    /// Root 00:00.0, link bus 1, 128-byte limits, boundary 64, 32 tags, 100,000 ticks of timeout, no latency, nothing random,
    /// a queue of 256.
    fn default() -> Self {
        Options {
            bdf: Bdf::new(0, 0, 0),
            link_bus: 1,
            limits: Limits::default(),
            rcb: 64,
            tags: 32,
            completion_timeout: 100_000,
            read_latency: 0,
            jitter: 0,
            random_split: false,
            seed: 0,
            queue: 256,
        }
    }
}

/// An option that the root complex cannot work with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("root complex option {option} = {value}: {rule}")]
pub struct OptionError {
    /// The option.
    pub option: &'static str,
    /// Its value.
    pub value: u64,
    /// What it may be.
    pub rule: &'static str,
}

impl Options {
    pub(super) fn check(&self) -> Result<(), OptionError> {
        let wrong = |option, value, rule| {
            Err(OptionError {
                option,
                value,
                rule,
            })
        };
        if self.tags == 0 || self.tags > 1024 {
            return wrong("tags", self.tags.into(), "1 to 1024");
        }
        if self.rcb != 64 && self.rcb != 128 {
            return wrong("rcb", self.rcb.into(), "64 or 128");
        }
        for (name, size) in [
            ("max_payload", self.limits.max_payload),
            ("max_read_request", self.limits.max_read_request),
        ] {
            if !size.is_power_of_two() || !(128..=4096).contains(&size) {
                return wrong(name, size.into(), "128, 256, 512, 1024, 2048 or 4096");
            }
        }
        Ok(())
    }
}
