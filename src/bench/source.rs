//! The file whose pages migrate, and sizes as people write them.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};

/// Bytes of a page.
pub const PAGE: u64 = 4096;

/// The running program itself: a real file that is always there. Never padded or repeated: sizes beyond it are not run.
const DEFAULT: &str = "/proc/self/exe";

/// Content that migrates.
pub struct Source {
    /// Where it came from.
    pub path: PathBuf,
    /// Its first bytes, at most as many as asked for.
    pub data: Vec<u8>,
    /// Length of the whole file.
    pub length: u64,
}

impl Source {
    /// The first `limit` bytes of a file; `None` is the running program.
    ///
    /// # Errors
    /// A file that is not there, not readable, empty, or no regular file: named, with what to do.
    pub fn open(path: Option<&Path>, limit: u64) -> Result<Source> {
        let given = path.is_some();
        let path = match path {
            Some(path) => path.to_path_buf(),
            None => Path::new(DEFAULT)
                .canonicalize()
                .unwrap_or_else(|_| PathBuf::from(DEFAULT)),
        };
        let name = path.display();
        let open = || -> Result<(File, u64)> {
            // Asked of the path first: opening a pipe would wait for its other end.
            let meta = std::fs::metadata(&path).with_context(|| format!("cannot read {name}"))?;
            ensure!(!meta.is_dir(), "{name} is a folder");
            ensure!(meta.is_file(), "{name} is not a regular file");
            let file = File::open(&path).with_context(|| format!("cannot read {name}"))?;
            Ok((file, meta.len()))
        };
        let advice = || {
            if given {
                "give --file another file"
            } else {
                "give a file with --file"
            }
        };
        let (file, length) =
            open().with_context(|| format!("no pages to migrate: {}", advice()))?;
        let mut data = Vec::new();
        file.take(limit)
            .read_to_end(&mut data)
            .with_context(|| format!("cannot read {name}: {}", advice()))?;
        if data.is_empty() {
            bail!(
                "{name} is empty, there are no pages to migrate: {}",
                advice()
            );
        }
        Ok(Source { path, data, length })
    }

    /// One line for people.
    pub fn describe(&self) -> String {
        let part = match self.length > self.data.len() as u64 {
            true => format!("first {} bytes of {}", self.data.len(), self.length),
            false => format!("{} bytes", self.length),
        };
        format!("{} ({part})", self.path.display())
    }
}

/// Sizes to migrate out of `wanted`, given what the file holds: those it fills, and its whole length in pages where it is shorter than the largest.
pub fn sizes(wanted: &[u64], bytes: u64) -> Vec<u64> {
    let mut sizes: Vec<u64> = wanted.iter().copied().filter(|s| *s <= bytes).collect();
    let whole = bytes.next_multiple_of(PAGE);
    let largest = wanted.iter().copied().max().unwrap_or(0);
    if whole <= largest && !sizes.contains(&whole) {
        sizes.push(whole);
    }
    sizes
}

const SIZES: &str =
    "write a whole number with a unit of 1024s: 65536 or 65536B (bytes), 64KiB, 2MiB, 1GiB";

/// A size such as `4096`, `64KiB`, `64K`, `2MiB`; for clap.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let split = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(split);
    let shift = match unit.trim() {
        "" | "B" => 0,
        "K" | "KiB" => 10,
        "M" | "MiB" => 20,
        "G" | "GiB" => 30,
        _ if digits.is_empty() => return Err(SIZES.to_string()),
        _ => return Err(format!("`{unit}` is no unit: {SIZES}")),
    };
    let number: u64 = digits.parse().map_err(|_| SIZES.to_string())?;
    number
        .checked_mul(1 << shift)
        .filter(|n| *n > 0)
        .ok_or_else(|| format!("it must be above 0 B and below 2^64 B: {SIZES}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(e: anyhow::Error) -> String {
        format!("{e:#}")
    }

    #[test]
    fn bad_files_are_named_with_the_next_step() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty");
        std::fs::write(&empty, "").unwrap();
        let missing = dir.path().join("missing");
        for (path, word) in [
            (dir.path(), "folder"),
            (&empty, "empty"),
            (&missing, "No such file"),
            (Path::new("/dev/null"), "regular"),
        ] {
            let e = chain(Source::open(Some(path), 100).err().unwrap());
            assert!(
                e.contains(word) && e.contains("--file") && e.contains(&*path.to_string_lossy()),
                "{e}"
            );
        }
    }

    #[test]
    fn the_default_is_this_program() {
        let s = Source::open(None, 10_000).unwrap();
        assert_eq!(s.data.len(), 10_000);
        assert_eq!(&s.data[..4], b"\x7fELF");
        assert!(s.length > 10_000 && s.describe().contains("first 10000 bytes"));
    }

    #[test]
    fn sizes_follow_the_file() {
        let wanted = [4096, 16384, 65536];
        assert_eq!(sizes(&wanted, 1), [4096]);
        assert_eq!(sizes(&wanted, 4096), [4096]);
        assert_eq!(sizes(&wanted, 20_000), [4096, 16384, 20_480]);
        assert_eq!(sizes(&wanted, 65_536), wanted);
        assert_eq!(sizes(&wanted, 1 << 30), wanted);
    }

    #[test]
    fn sizes_as_people_write_them() {
        assert_eq!(
            ["4096", "64KiB", "64K", "2MiB", "1GiB", "7B"].map(|t| parse_size(t).unwrap()),
            [4096, 65536, 65536, 2 << 20, 1 << 30, 7]
        );
        for bad in [
            "",
            "0",
            "KiB",
            "12XB",
            "-4",
            "99999999999999999999",
            "18446744073709551615GiB",
            "1.5MiB",
        ] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
