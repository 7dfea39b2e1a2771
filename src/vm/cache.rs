//! The folder that holds the guest's root, kernels and what was built for it.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use crate::cli::usage;

/// The cache folder. All that the guest needs is in it, and nothing is written elsewhere.
#[derive(Clone, Debug)]
pub struct Cache {
    dir: PathBuf,
}

impl Cache {
    /// The folder the option names, else `$CXLMEM_VM_DIR`, else `$XDG_CACHE_HOME/cxlmem/vm`, else `~/.cache/cxlmem/vm`. It need not exist.
    ///
    /// # Errors
    /// [`crate::cli::Usage`] if nothing says where.
    pub fn new(option: Option<&Path>) -> Result<Cache> {
        let dir = folder(option, |name| std::env::var_os(name))?;
        let dir =
            std::path::absolute(&dir).with_context(|| format!("cannot use {}", dir.display()))?;
        Ok(Cache { dir })
    }

    /// The folder itself.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Debian's root, in which QEMU and compilers run.
    pub fn root(&self) -> PathBuf {
        self.path("root")
    }

    /// A kernel series' folder: `vmlinuz`, `version`, `modules/`, `guest/`.
    pub fn kernel(&self, series: &str) -> PathBuf {
        self.path("kernels").join(series)
    }

    /// The full version of a series that is set up.
    pub fn kernel_version(&self, series: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.kernel(series).join("version")).ok()?;
        Some(text.trim().to_string())
    }

    /// The stock series that are set up, newest first. The debug kernel is none of them: who wants it says so.
    pub fn series(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("kernels"));
        let mut all: Vec<String> = entries
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|s| s != DEBUG && self.kernel_version(s).is_some())
            .collect();
        all.sort_by(|a, b| super::apt::compare(b, a));
        all
    }

    /// A path as the root sees it: the cache folder is mounted at `/vm` there.
    pub fn inside(&self, path: &Path) -> String {
        match path.strip_prefix(&self.dir) {
            Ok(rest) => format!("/vm/{}", rest.display()),
            Err(_) => path.display().to_string(),
        }
    }

    /// Makes the folder and takes its lock, so that two commands do not change it at once. Waits for the other one.
    ///
    /// # Errors
    /// Those of the folder.
    pub fn lock(&self) -> Result<Lock> {
        std::fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot make {}; give another --dir", self.dir.display()))?;
        let path = self.path("lock");
        let file =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let flock = |how| {
            // SAFETY: the descriptor is open for as long as `file` lives.
            unsafe { libc::flock(file.as_raw_fd(), how) }
        };
        if flock(libc::LOCK_EX | libc::LOCK_NB) != 0 {
            eprintln!(
                "waiting for another command that uses {} ...",
                self.dir.display()
            );
            if flock(libc::LOCK_EX) != 0 {
                let e = std::io::Error::last_os_error();
                bail!("cannot lock {}: {e}", path.display());
            }
        }
        Ok(Lock { _file: file })
    }
}

/// Name of the kernel that looks for mistakes, in place of a series.
pub const DEBUG: &str = "debug";

/// The lock of a cache folder, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

fn folder(option: Option<&Path>, env: impl Fn(&str) -> Option<OsString>) -> Result<PathBuf> {
    let env = |name: &str| env(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    if let Some(dir) = option {
        return Ok(dir.to_path_buf());
    }
    if let Some(dir) = env("CXLMEM_VM_DIR") {
        return Ok(dir);
    }
    if let Some(dir) = env("XDG_CACHE_HOME") {
        return Ok(dir.join("cxlmem/vm"));
    }
    match env("HOME") {
        Some(home) => Ok(home.join(".cache/cxlmem/vm")),
        None => usage!("no folder for the guest: give --dir, or set CXLMEM_VM_DIR"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_by_option_then_environment() {
        let env = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect();
            move |name: &str| {
                let found = set.iter().find(|(k, _)| k == name);
                found.map(|(_, v)| OsString::from(v))
            }
        };
        let all = [
            ("CXLMEM_VM_DIR", "/a"),
            ("XDG_CACHE_HOME", "/b"),
            ("HOME", "/c"),
        ];
        let of = |option, from| folder(option, env(from)).unwrap();
        assert_eq!(of(Some(Path::new("o")), &all), Path::new("o"));
        assert_eq!(of(None, &all), Path::new("/a"));
        assert_eq!(of(None, &all[1..]), Path::new("/b/cxlmem/vm"));
        assert_eq!(of(None, &all[2..]), Path::new("/c/.cache/cxlmem/vm"));
        let empty = [("CXLMEM_VM_DIR", ""), ("HOME", "/c")];
        assert_eq!(of(None, &empty), Path::new("/c/.cache/cxlmem/vm"));
        assert!(folder(None, env(&[])).is_err());
    }

    #[test]
    fn series_are_those_with_a_version_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::new(Some(dir.path())).unwrap();
        assert!(cache.series().is_empty());
        for (series, version) in [
            ("6.9", Some("6.9.1")),
            ("6.12", Some("6.12.3\n")),
            ("7.3", None),
        ] {
            let kernel = cache.kernel(series);
            std::fs::create_dir_all(&kernel).unwrap();
            if let Some(version) = version {
                std::fs::write(kernel.join("version"), version).unwrap();
            }
        }
        assert_eq!(cache.series(), ["6.12", "6.9"]);
        assert_eq!(cache.kernel_version("6.12").as_deref(), Some("6.12.3"));
        let kernel = cache.kernel("6.12").join("vmlinuz");
        assert_eq!(cache.inside(&kernel), "/vm/kernels/6.12/vmlinuz");
    }
}
