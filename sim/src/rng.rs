//! Seeds: every random decision of the simulator comes from a [`Rng`], and every random test prints its seed.

/// SplitMix64: small, fast, and good enough for stimulus.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator with this seed; equal seeds give equal sequences.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator for another purpose: draws from one do not shift the other.
    pub fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }

    /// 64 random bits.
    #[inline]
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 if `n` is 0.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// True with probability `p` (clipped to 0..=1). Draws nothing when the outcome is certain.
    #[inline]
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && (p >= 1.0 || ((self.next_u64() >> 11) as f64) < p * (1u64 << 53) as f64)
    }

    /// Fills a line with random bytes.
    pub fn line(&mut self) -> [u8; 64] {
        let mut line = [0; 64];
        for chunk in line.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes());
        }
        line
    }
}

/// The seed for a test or run: the environment's `CXLMEM_SEED` (decimal or `0x` hexadecimal), else `default`.
///
/// # Errors
/// `CXLMEM_SEED` is set and no such number: a run with another seed would replay nothing.
pub fn seed_from_env(default: u64) -> Result<u64, String> {
    match std::env::var_os("CXLMEM_SEED") {
        None => Ok(default),
        Some(text) => parse_seed(&text.to_string_lossy()),
    }
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| {
        format!("CXLMEM_SEED={text:?} is no seed: give a number below 2^64, decimal or hexadecimal after 0x, or unset it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_numbers_or_errors() {
        assert_eq!(parse_seed("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(parse_seed("0xff"), Ok(255));
        for bad in ["", "seven", "-1", "0x", "1.5", "18446744073709551616"] {
            assert!(parse_seed(bad).unwrap_err().contains("CXLMEM_SEED"));
        }
    }

    #[test]
    fn equal_seeds_replay_and_forks_differ() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert_eq!((a.next_u64(), a.line()), (b.next_u64(), b.line()));
        assert_ne!(a.fork().next_u64(), a.next_u64());
    }

    #[test]
    fn chance_and_below_keep_their_bounds() {
        let mut r = Rng::new(1);
        assert!(!r.chance(0.0) && r.chance(1.0));
        let hits = (0..10_000).filter(|_| r.chance(0.25)).count();
        assert!((2_200..2_800).contains(&hits), "{hits}");
        assert!((0..1000).all(|_| r.below(10) < 10));
        assert_eq!(r.below(0), 0);
    }
}
