//! Bounds of every wait, in one place.

/// How long the driver waits for what. All values are ticks of the [`crate::Clock`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Media ready after reset.
    pub media: u64,
    /// Link up.
    pub link: u64,
    /// Commit or release of an HDM decoder.
    pub commit: u64,
    /// Engine idle after its reset.
    pub idle: u64,
    /// Any engine command, whatever its size.
    pub command: u64,
    /// More for each 4 KiB that a command touches.
    pub per_page: u64,
    /// Hard cap of one wait for the engine.
    pub cap: u64,
    /// Longest time between two polls: what a lost interrupt costs.
    pub slice: u64,
}

impl Limits {
    /// Limits of hardware with a clock of `hz` ticks a second: media and link 1 s, decoder 20 ms (twice what hardware may take,
    /// cxl-mem 4.4), idle 1 s, a command 20 ms + 1 ms a page and at most 2 s, a poll every 100 us.
    ///
    /// A command's share is far above the engine's own DMA time-out (`EngTimeout`), so that a bad host page is reported by the engine
    /// as that page's error, not by this bound.
    pub fn hardware(hz: u64) -> Limits {
        let ms = (hz / 1000).max(1);
        Limits {
            media: ms.saturating_mul(1000),
            link: ms.saturating_mul(1000),
            commit: ms.saturating_mul(20),
            idle: ms.saturating_mul(1000),
            command: ms.saturating_mul(20),
            per_page: ms,
            cap: ms.saturating_mul(2000),
            slice: (hz / 10_000).max(1),
        }
    }

    /// Limits of a simulation, in device cycles. A simulator takes seconds for a million cycles and has no physical link to train, so
    /// these are cycle counts with room, not times.
    pub const SIMULATED: Limits = Limits {
        media: 20_000_000,
        link: 100_000,
        commit: 10_000,
        idle: 1_000_000,
        command: 1_000_000,
        per_page: 20_000,
        cap: 20_000_000,
        slice: 2_000,
    };

    /// Limits of a simulated device for a clock in nanoseconds: it makes about half a million cycles a second, on a machine that has other work. A copy
    /// of 512 pages takes 0.3 s there; the cap is that of hardware, so that nobody waits longer.
    pub const fn simulated_ns() -> Limits {
        const MS: u64 = 1_000_000;
        Limits {
            media: 20_000 * MS,
            link: 5_000 * MS,
            commit: 1_000 * MS,
            idle: 1_000 * MS,
            command: 500 * MS,
            per_page: 4 * MS,
            cap: 2_000 * MS,
            slice: 10 * MS,
        }
    }

    /// Limits of a device behind a line on which 16 bytes pass in a tick, `hz` ticks a second: a page is some 500 ticks each way, and beside it the host
    /// on the other side may take a second to answer.
    pub const fn line(hz: u64) -> Limits {
        Limits {
            media: 5 * hz,
            link: 5 * hz,
            commit: hz,
            idle: 2 * hz,
            command: hz + 2_000,
            per_page: 4_000,
            cap: hz + 500_000,
            slice: 16,
        }
    }

    /// Bound of a command that touches `bytes`.
    pub fn command_ticks(&self, bytes: u64) -> u64 {
        let pages = bytes.div_ceil(crate::PAGE_BYTES);
        self.command
            .saturating_add(self.per_page.saturating_mul(pages))
            .min(self.cap)
    }
}
