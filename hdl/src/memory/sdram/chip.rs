//! What the controller has to know of a chip: times of its data sheet, and the same in cycles of a clock.

/// What a chip's data sheet says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SdramChip {
    /// Name.
    pub name: &'static str,
    /// Bits of a word: 16 or 32.
    pub width: u32,
    /// Address bits of a row.
    pub row_bits: u32,
    /// Activate to read or write, ns.
    pub t_rcd: f64,
    /// Precharge to activate, ns.
    pub t_rp: f64,
    /// Activate to precharge at least, ns.
    pub t_ras: f64,
    /// Activate to activate of one bank, ns.
    pub t_rc: f64,
    /// Refresh to anything, ns.
    pub t_rfc: f64,
    /// Activate to activate of another bank, ns.
    pub t_rrd: f64,
    /// Last data written to precharge, ns.
    pub t_wr: f64,
    /// From power-on to the first command, ns.
    pub init: f64,
    /// All rows within this time, ns.
    pub retention: f64,
    /// Fastest clock at CAS latency 2, kHz.
    pub khz_cl2: u32,
    /// Fastest clock at CAS latency 3, kHz.
    pub khz_cl3: u32,
}

/// Chips of boards; figures are those of their data sheets at the slower of the common speed grades.
pub const CHIPS: &[SdramChip] = &[
    SdramChip {
        name: "MT48LC16M16",
        width: 16,
        row_bits: 13,
        t_rcd: 20.0,
        t_rp: 20.0,
        t_ras: 44.0,
        t_rc: 66.0,
        t_rfc: 66.0,
        t_rrd: 15.0,
        t_wr: 15.0,
        init: 100_000.0,
        retention: 64e6,
        khz_cl2: 100_000,
        khz_cl3: 133_000,
    },
    SdramChip {
        name: "M12L64322A",
        width: 32,
        row_bits: 11,
        t_rcd: 20.0,
        t_rp: 20.0,
        t_ras: 42.0,
        t_rc: 63.0,
        t_rfc: 63.0,
        t_rrd: 14.0,
        t_wr: 14.0,
        init: 200_000.0,
        retention: 32e6,
        khz_cl2: 100_000,
        khz_cl3: 143_000,
    },
];

/// Clocks of the controllers that simulations run, one for each of [`CHIPS`], kHz.
pub const SDRAM16_KHZ: u32 = 50_000;
/// See [`SDRAM16_KHZ`].
pub const SDRAM32_KHZ: u32 = 66_667;

/// The same in cycles of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SdramTiming {
    /// Words of a burst: one beat.
    pub burst: u32,
    /// CAS latency.
    pub cas: u32,
    /// As of [`SdramChip`].
    pub t_rcd: u32,
    /// As of [`SdramChip`].
    pub t_rp: u32,
    /// As of [`SdramChip`].
    pub t_ras: u32,
    /// As of [`SdramChip`].
    pub t_rc: u32,
    /// As of [`SdramChip`].
    pub t_rfc: u32,
    /// As of [`SdramChip`].
    pub t_rrd: u32,
    /// As of [`SdramChip`].
    pub t_wr: u32,
    /// As of [`SdramChip`].
    pub init: u32,
    /// Between two refreshes.
    pub refresh: u32,
}

impl SdramTiming {
    /// As short as it may be.
    pub const SHORTEST: Self = Self {
        burst: 8,
        cas: 2,
        t_rcd: 1,
        t_rp: 1,
        t_ras: 1,
        t_rc: 1,
        t_rfc: 1,
        t_rrd: 1,
        t_wr: 1,
        init: 1,
        refresh: 64,
    };
}

/// A chip and a clock that do not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdramError {
    /// Too fast for the chip.
    #[error("{chip} takes at most {most} kHz, not {khz}: choose a slower clock")]
    TooFast {
        /// The chip.
        chip: &'static str,
        /// Its limit.
        most: u32,
        /// What was asked for.
        khz: u32,
    },
    /// A time that the counters cannot hold.
    #[error("{chip}: {what} is {cycles} cycles at {khz} kHz, and the controller counts to {most}: choose another clock")]
    TooLong {
        /// The chip.
        chip: &'static str,
        /// Which time.
        what: &'static str,
        /// How long.
        cycles: u64,
        /// The clock.
        khz: u32,
        /// The counter's limit.
        most: u64,
    },
}

impl SdramChip {
    /// The chip of that name.
    pub fn by_name(name: &str) -> Option<&'static SdramChip> {
        CHIPS.iter().find(|c| c.name == name)
    }

    /// log2 of its lines of 64 bytes: rows, four banks of them, 16 lines each.
    pub fn line_bits(&self) -> u32 {
        self.row_bits + 2 + 4
    }

    /// Its times in cycles of a clock, rounded up; the time between refreshes rounded down.
    ///
    /// # Errors
    /// [`SdramError`].
    pub fn timing(&self, khz: u32) -> Result<SdramTiming, SdramError> {
        if khz > self.khz_cl3 {
            return Err(SdramError::TooFast {
                chip: self.name,
                most: self.khz_cl3,
                khz,
            });
        }
        let cycles = |what: &'static str, ns: f64, most: u64| -> Result<u32, SdramError> {
            // A picosecond less: what is a whole number of cycles does not become one more.
            let n = ((ns - 1e-3) * f64::from(khz) * 1e-6).ceil().max(1.0) as u64;
            match n <= most {
                true => Ok(n as u32),
                false => Err(SdramError::TooLong {
                    chip: self.name,
                    what,
                    cycles: n,
                    khz,
                    most,
                }),
            }
        };
        let rows = f64::from(1u32 << self.row_bits);
        let between = self.retention / rows * f64::from(khz) * 1e-6;
        Ok(SdramTiming {
            burst: 128 / self.width,
            cas: if khz <= self.khz_cl2 { 2 } else { 3 },
            t_rcd: cycles("tRCD", self.t_rcd, 15)?,
            t_rp: cycles("tRP", self.t_rp, 15)?,
            t_ras: cycles("tRAS", self.t_ras, 15)?,
            t_rc: cycles("tRC", self.t_rc, 31)?,
            t_rfc: cycles("tRFC", self.t_rfc, 31)?,
            t_rrd: cycles("tRRD", self.t_rrd, 15)?,
            t_wr: cycles("tWR", self.t_wr, 15)?,
            init: cycles("the time after power-on", self.init, 65_535)?,
            refresh: (between as u32).clamp(64, 65_535),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_become_cycles() {
        let chip = SdramChip::by_name("MT48LC16M16").unwrap();
        assert_eq!(chip.line_bits(), 19);
        let slow = chip.timing(50_000).unwrap();
        assert_eq!(
            (slow.t_rcd, slow.t_ras, slow.t_rc, slow.t_rfc),
            (1, 3, 4, 4)
        );
        assert_eq!((slow.burst, slow.cas, slow.init), (8, 2, 5_000));
        // 7.8125 us.
        assert_eq!(slow.refresh, 390);
        let fast = chip.timing(133_000).unwrap();
        assert_eq!((fast.t_rcd, fast.t_rp, fast.cas), (3, 3, 3));
        let e = chip.timing(166_000).unwrap_err().to_string();
        assert!(e.contains("133000") && e.contains("slower"), "{e}");
        let slow_chip = SdramChip {
            t_ras: 400.0,
            ..*chip
        };
        let e = slow_chip.timing(100_000).unwrap_err().to_string();
        assert!(e.contains("tRAS is 40 cycles"), "{e}");
        assert_eq!(CHIPS[1].line_bits(), 17);
    }
}
