//! What all subcommands share: wrong usage, the seed, where output goes.

use std::path::Path;

use anyhow::{Context, Result};

/// Wrong usage that clap cannot see, because it takes more than one argument to see it. The command ends with status 2, as it does for what clap sees.
#[derive(Debug)]
pub struct Usage(pub String);

impl std::fmt::Display for Usage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// Ends the function with a [`Usage`] error.
macro_rules! usage {
    ($($text:tt)*) => {
        return Err(anyhow::Error::new($crate::cli::Usage(format!($($text)*))))
    };
}
pub(crate) use usage;

/// What this machine cannot do, with the reason in one line. The command ends with status 3: nothing failed, and nothing was shown to work.
#[derive(Debug)]
pub struct Skipped(pub String);

impl std::fmt::Display for Skipped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Skipped {}

/// Ends the command with this status and no message: all there is to say was said by what ran.
#[derive(Debug)]
pub struct Status(pub u8);

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exit status {}", self.0)
    }
}

impl std::error::Error for Status {}

/// The seed of a run: the option's, else `CXLMEM_SEED`, else 1.
///
/// # Errors
/// [`Usage`] if `CXLMEM_SEED` is not a number: a run with another seed than the one asked for replays nothing.
pub fn seed(option: Option<u64>) -> Result<u64> {
    match option {
        Some(seed) => Ok(seed),
        None => cxlmem_sim::rng::seed_from_env(1).map_err(|e| Usage(e).into()),
    }
}

/// Whether an output path names standard output.
pub fn is_stdout(file: Option<&Path>) -> bool {
    file == Some(Path::new("-"))
}

/// Fails before long work where a file could not be written after it; `-` is standard output.
///
/// # Errors
/// [`Usage`], with the path and what to do.
pub fn check_output(file: Option<&Path>) -> Result<()> {
    let Some(file) = file.filter(|f| !is_stdout(Some(f))) else {
        return Ok(());
    };
    if file.is_dir() {
        usage!(
            "cannot write {}: it is a folder; give a file",
            file.display()
        );
    }
    let parent = file
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    if !parent.is_dir() {
        usage!(
            "cannot write {}: there is no folder {}; make it first",
            file.display(),
            parent.display()
        );
    }
    // Opening to append changes nothing in a file that is there, and shows what permissions and read-only file systems forbid.
    let existed = file.exists();
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file);
    if let Err(e) = opened {
        usage!("cannot write {}: {e}; give another file", file.display());
    }
    if !existed {
        std::fs::remove_file(file).with_context(|| format!("cannot remove {}", file.display()))?;
    }
    Ok(())
}

/// Makes the folder of a report before long work.
///
/// # Errors
/// [`Usage`], with the path and what to do.
pub fn check_folder(dir: &Path) -> Result<()> {
    if let Err(e) = std::fs::create_dir_all(dir) {
        usage!("cannot make {}: {e}; give another folder", dir.display());
    }
    Ok(())
}

/// Writes JSON to a file, or to standard output for `-`.
///
/// # Errors
/// The file's.
pub fn write_json(file: &Path, value: &impl serde::Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).context("cannot print JSON")?;
    if is_stdout(Some(file)) {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}

/// Prints to standard output, or to standard error where standard output carries JSON.
macro_rules! say {
    ($to_stderr:expr, $($text:tt)*) => {
        if $to_stderr { eprintln!($($text)*) } else { println!($($text)*) }
    };
}
pub(crate) use say;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_checked_and_left_as_they_were() {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old");
        std::fs::write(&old, "kept").unwrap();
        for good in [dir.path().join("new"), old.clone(), "-".into()] {
            check_output(Some(&good)).unwrap();
        }
        check_output(None).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "kept");
        assert!(!dir.path().join("new").exists());
        for (bad, says) in [
            (dir.path().to_path_buf(), "it is a folder"),
            (dir.path().join("no/x"), "there is no folder"),
            ("/proc/none".into(), "cannot write /proc/none"),
        ] {
            let e = check_output(Some(&bad)).unwrap_err();
            assert!(e.to_string().contains(says) && e.is::<Usage>(), "{e}");
        }
        assert!(check_folder(&old).unwrap_err().is::<Usage>());
    }
}
