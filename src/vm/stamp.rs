//! Which steps of a long job are done: a stamp holds what the step was made from.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Stamps in a folder, one file a step.
#[derive(Debug)]
pub struct Stamps {
    dir: PathBuf,
}

impl Stamps {
    /// Those in `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> Stamps {
        Stamps { dir }
    }

    /// Whether the step ended well with these inputs and its results are still there.
    pub fn is_done(&self, step: &str, inputs: &str, results: &[PathBuf]) -> bool {
        let stamp = std::fs::read_to_string(self.dir.join(step));
        stamp.is_ok_and(|s| s == inputs) && results.iter().all(|r| r.exists())
    }

    /// Carries out a step unless it is done. Its stamp is absent while it runs, so that a step which was cut short is done again.
    ///
    /// # Errors
    /// The step's, and those of writing the stamp. Whether the step was carried out is the result.
    pub fn step(
        &self,
        step: &str,
        inputs: &str,
        results: &[PathBuf],
        action: impl FnOnce() -> Result<()>,
    ) -> Result<bool> {
        if self.is_done(step, inputs, results) {
            return Ok(false);
        }
        self.forget(step)?;
        action()?;
        if let Some(missing) = results.iter().find(|r| !r.exists()) {
            anyhow::bail!("step `{step}` ended, but there is no {}", missing.display());
        }
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}", self.dir.display()))?;
        let file = self.dir.join(step);
        std::fs::write(&file, inputs)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(true)
    }

    /// Makes a step not done.
    ///
    /// # Errors
    /// If the stamp cannot be removed.
    pub fn forget(&self, step: &str) -> Result<()> {
        let file = self.dir.join(step);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                Err(e).with_context(|| format!("cannot remove {}", file.display()))
            }
            _ => Ok(()),
        }
    }
}

/// SHA-256 of files' names and contents, folders entered, in order of their names; absent ones count as such.
///
/// # Errors
/// A file that cannot be read.
pub fn digest(base: &Path, names: &[&str]) -> Result<String> {
    use sha2::{Digest, Sha256};
    let mut hash = Sha256::new();
    let mut todo: Vec<PathBuf> = names.iter().rev().map(|n| base.join(n)).collect();
    while let Some(path) = todo.pop() {
        let name = path.strip_prefix(base).unwrap_or(&path);
        hash.update(name.as_os_str().as_encoded_bytes());
        if path.is_dir() {
            hash.update([1]);
            let entries = std::fs::read_dir(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let mut inside: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
            inside.sort();
            todo.extend(inside.into_iter().rev().filter(|p| !p.ends_with("target")));
        } else if path.exists() {
            let bytes =
                std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
            hash.update([2]);
            hash.update((bytes.len() as u64).to_le_bytes());
            hash.update(&bytes);
        } else {
            hash.update([0]);
        }
    }
    Ok(format!("{:x}", hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_run_once_and_again_when_something_changed() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = Stamps::new(dir.path().join("stamps"));
        let result = dir.path().join("result");
        let runs = std::cell::Cell::new(0);
        let go = |inputs: &str, makes: bool| {
            stamps.step("s", inputs, std::slice::from_ref(&result), || {
                runs.set(runs.get() + 1);
                if makes {
                    std::fs::write(&result, "x")?;
                }
                Ok(())
            })
        };
        let e = go("1", false).unwrap_err().to_string();
        assert!(e.contains("there is no"), "{e}");
        assert!(go("1", true).unwrap());
        assert!(!go("1", true).unwrap());
        assert_eq!(runs.get(), 2);
        // Other inputs, a lost result, a forgotten stamp.
        assert!(go("2", true).unwrap());
        std::fs::remove_file(&result).unwrap();
        assert!(go("2", true).unwrap());
        stamps.forget("s").unwrap();
        assert!(go("2", true).unwrap());
        assert!(!go("2", true).unwrap());
    }

    #[test]
    fn failed_step_is_not_done() {
        let dir = tempfile::tempdir().unwrap();
        let stamps = Stamps::new(dir.path().join("stamps"));
        assert!(stamps.step("s", "1", &[], || Ok(())).unwrap());
        // Other inputs take the old stamp away before the work, whatever becomes of it.
        assert!(stamps.step("s", "2", &[], || anyhow::bail!("cut")).is_err());
        assert!(!stamps.is_done("s", "1", &[]) && !stamps.is_done("s", "2", &[]));
    }

    #[test]
    fn digest_sees_names_contents_and_new_files() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path();
        std::fs::create_dir_all(base.join("d/e")).unwrap();
        std::fs::write(base.join("d/a"), "1").unwrap();
        let of = || digest(base, &["d", "f"]).unwrap();
        let mut seen = vec![of()];
        let mut now = |what: &str| {
            let d = of();
            assert!(!seen.contains(&d), "{what}");
            seen.push(d);
        };
        std::fs::write(base.join("d/a"), "2").unwrap();
        now("contents");
        std::fs::write(base.join("d/e/b"), "2").unwrap();
        now("a file in a folder");
        std::fs::rename(base.join("d/e/b"), base.join("d/e/c")).unwrap();
        now("a name");
        std::fs::write(base.join("f"), "").unwrap();
        now("a file that was absent");
        assert_eq!(of(), of());
    }
}
