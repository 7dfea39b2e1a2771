//! The suites of `tests/guest`: shell scripts whose head says what guest they want.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::ValueEnum;

use super::qemu::Mode;

/// Wall-clock limit of a suite that names none, seconds.
const LIMIT_S: u64 = 300;

/// A suite and the guest it wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suite {
    /// Name: that of its file without `.sh`.
    pub name: String,
    /// Mapped modes; it is run once in each.
    pub modes: Vec<Mode>,
    /// Kernel series; all if none is named.
    pub kernels: Vec<String>,
    /// Wall-clock limit.
    pub limit: Duration,
    /// Parameters for the driver's module; none if it is not to be loaded.
    pub parameters: Option<Vec<String>>,
    /// Faults that the device server begins with, as its `--fault` takes them.
    pub faults: Vec<String>,
    /// Runs with `--long` alone.
    pub is_long: bool,
    /// Words of a fault that the suite provokes: the search of the log must find it, and nothing else.
    pub provokes: Option<String>,
    /// Words of faults that are the kernel's own and may come: they are counted and shown, and fail nothing.
    pub tolerates: Vec<String>,
}

impl Suite {
    /// Reads a suite's head: lines `#: WORD VALUE...`.
    ///
    /// `modes spm bar`, `kernels 7.3`, `limit SECONDS`, `parameters A=1 B=2`, `module no`, `fault COMMAND`, `long`, `provokes WORDS`,
    /// `tolerates WORDS`.
    ///
    /// # Errors
    /// A line that says something else.
    pub fn parse(name: &str, text: &str) -> Result<Suite> {
        let mut suite = Suite {
            name: name.to_string(),
            modes: vec![Mode::Spm],
            kernels: Vec::new(),
            limit: Duration::from_secs(LIMIT_S),
            parameters: Some(Vec::new()),
            faults: Vec::new(),
            is_long: false,
            provokes: None,
            tolerates: Vec::new(),
        };
        for line in text.lines().filter_map(|l| l.strip_prefix("#:")) {
            let (word, value) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
            let words = || value.split_whitespace().map(str::to_string);
            match word {
                "modes" => {
                    let modes = words().map(|m| Mode::from_str(&m, false));
                    match modes.collect() {
                        Ok(modes) => suite.modes = modes,
                        Err(e) => bail!("suite {name}: `#:{line}`: {e}"),
                    }
                }
                "kernels" => suite.kernels = words().collect(),
                "limit" => match value.parse() {
                    Ok(seconds) => suite.limit = Duration::from_secs(seconds),
                    Err(e) => bail!("suite {name}: `#:{line}`: {e}"),
                },
                "parameters" => suite.parameters = Some(words().collect()),
                "module" if value == "no" => suite.parameters = None,
                "fault" if !value.is_empty() => suite.faults.push(value.to_string()),
                "long" if value.is_empty() => suite.is_long = true,
                "provokes" if !value.is_empty() => suite.provokes = Some(value.to_string()),
                "tolerates" if !value.is_empty() => suite.tolerates.push(value.to_string()),
                _ => bail!("suite {name}: `#:{line}` says nothing known"),
            }
        }
        if suite.modes.is_empty() {
            bail!("suite {name}: no mode");
        }
        Ok(suite)
    }

    /// Whether it is for a kernel.
    pub fn is_for(&self, series: &str) -> bool {
        self.kernels.is_empty() || self.kernels.iter().any(|k| k == series)
    }

    /// Words for the kernel command line.
    pub fn words(&self, is_long: bool) -> Vec<String> {
        let mut words = vec![format!("cxlmem.run=/suites/{}.sh", self.name)];
        match &self.parameters {
            None => words.push("cxlmem.load=no".into()),
            Some(all) if all.is_empty() => {}
            Some(all) => words.push(format!("cxlmem.parameters={}", all.join(";"))),
        }
        if is_long {
            words.push("cxlmem.long=yes".into());
        }
        words
    }
}

/// All suites of a folder by name. `lib.sh` is what they share.
///
/// # Errors
/// A file that cannot be read, a head that says something unknown.
pub fn all(dir: &Path) -> Result<Vec<Suite>> {
    let entries =
        std::fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    let mut suites = Vec::new();
    for path in entries.flatten().map(|e| e.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some(name) = name.strip_suffix(".sh").filter(|n| *n != "lib") else {
            continue;
        };
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        suites.push(Suite::parse(name, &text)?);
    }
    suites.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads() {
        let plain = Suite::parse("a", "#!/bin/sh\n# text\n").unwrap();
        assert_eq!((&plain.modes[..], plain.is_long), (&[Mode::Spm][..], false));
        assert_eq!(plain.words(false), ["cxlmem.run=/suites/a.sh"]);
        let text = "#: modes bar none\n#: kernels 7.3 6.12\n#: limit 9\n#: parameters a=1 b=2\n#: long\n#: fault stall 9\n#: fault hang on\n#: provokes WARNING: x y\n";
        let full = Suite::parse("b", text).unwrap();
        assert_eq!(full.modes, [Mode::Bar, Mode::None]);
        assert_eq!(full.kernels, ["7.3", "6.12"]);
        assert_eq!(full.limit, Duration::from_secs(9));
        assert_eq!(full.provokes.as_deref(), Some("WARNING: x y"));
        assert!(full.is_long);
        assert_eq!(full.faults, ["stall 9", "hang on"]);
        assert_eq!(
            full.words(true)[1..],
            ["cxlmem.parameters=a=1;b=2", "cxlmem.long=yes"]
        );
        let without = Suite::parse("c", "#: module no\n").unwrap();
        assert_eq!(without.words(false)[1..], ["cxlmem.load=no"]);
        for bad in [
            "#: modes sp",
            "#: limit x",
            "#: modus spm",
            "#: module yes",
            "#: provokes",
            "#: tolerates",
            "#: long 3",
            "#: modes",
        ] {
            assert!(Suite::parse("d", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn suites_of_this_repository() {
        let suites = all(&super::super::initramfs::workspace().join("tests/guest")).unwrap();
        let names: Vec<&str> = suites.iter().map(|s| s.name.as_str()).collect();
        assert!(
            names.contains(&"boot") && names.contains(&"search"),
            "{names:?}"
        );
    }
}
