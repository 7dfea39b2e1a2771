//! Finds the outside tools and runs them to a log.
//!
//! Python tools live in a virtual environment: `$CXLMEM_VENV` if set, else `.venv` at the repository root, as `./x setup` makes it from
//! `requirements.txt`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::GateError;

const INSTALL_VERILATOR: &str =
    "run `./x setup`, or install Debian's package: apt-get install verilator";
const INSTALL_YOSYS: &str =
    "run `./x setup` (it makes .venv with pyosys from requirements.txt), or install Debian's package: apt-get install yosys";

/// The virtual environment's folder; it need not exist.
pub fn venv() -> PathBuf {
    match std::env::var_os("CXLMEM_VENV") {
        Some(v) => PathBuf::from(v),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv"),
    }
}

/// A program of the virtual environment, if it is there.
pub fn venv_program(name: &str) -> Option<PathBuf> {
    let p = venv().join("bin").join(name);
    p.is_file().then_some(p)
}

/// Folder of a Python package inside the virtual environment, if it is there.
pub fn venv_package(name: &str) -> Option<PathBuf> {
    let lib = venv().join("lib");
    let entries = std::fs::read_dir(lib).ok()?;
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .map(|e| e.path().join("site-packages").join(name))
        .filter(|p| p.is_dir())
        .collect();
    found.sort();
    found.pop()
}

/// Version of a Python package inside the virtual environment, from the name of its metadata folder.
pub fn venv_version(package: &str) -> Option<String> {
    let site = venv_package(package)?;
    let prefix = format!("{package}-");
    std::fs::read_dir(site.parent()?)
        .ok()?
        .flatten()
        .find_map(|e| {
            let name = e.file_name().into_string().ok()?;
            Some(
                name.strip_prefix(&prefix)?
                    .strip_suffix(".dist-info")?
                    .to_string(),
            )
        })
}

/// A program on `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?)
        .map(|d| d.join(name))
        .find(|p| p.is_file())
}

/// Verilator: `$CXLMEM_VERILATOR` if set, else the one on `PATH`, else the virtual environment's.
pub fn verilator() -> Result<Command, GateError> {
    let missing = GateError::ToolMissing {
        tool: "verilator",
        install: INSTALL_VERILATOR,
    };
    let program = std::env::var_os("CXLMEM_VERILATOR")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
        .or_else(|| on_path("verilator"))
        .or_else(|| Some(venv_package("verilator")?.join("bin/verilator_bin")))
        .ok_or(missing)?;
    let mut c = Command::new(&program);
    // The Python package has its data beside `bin` and must be told; a distribution's knows its place and must not be.
    let root = program.parent().and_then(Path::parent);
    if let Some(root) = root.filter(|r| r.join("include/verilated.h").is_file()) {
        c.env("VERILATOR_ROOT", root);
    }
    Ok(c)
}

/// A yosys, and how it is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yosys {
    /// The Python package `pyosys`, by this interpreter.
    Python(PathBuf),
    /// The program.
    Native(PathBuf),
}

impl Yosys {
    /// pyosys of the virtual environment, which is pinned, else the program on `PATH`.
    pub fn find() -> Result<Yosys, GateError> {
        Self::pinned()
            .or_else(|| on_path("yosys").map(Yosys::Native))
            .ok_or(GateError::ToolMissing {
                tool: "yosys",
                install: INSTALL_YOSYS,
            })
    }

    /// pyosys of the virtual environment only: figures come from the pinned version.
    pub fn pinned() -> Option<Yosys> {
        venv_package("pyosys")?;
        venv_program("python3").map(Yosys::Python)
    }

    /// A command that runs `script` (yosys commands, one a line) in `dir`, logging to `log`.
    pub fn command(&self, dir: &Path, script: &Path, log: &Path) -> Command {
        let mut c = match self {
            Yosys::Native(p) => {
                let mut c = Command::new(p);
                c.arg("-q").arg("-l").arg(log).arg("-s").arg(script);
                c
            }
            Yosys::Python(p) => {
                let mut c = Command::new(p);
                // The paths are arguments, not text of the program: they may hold anything but a blank, which yosys splits at.
                c.arg("-c")
                    .arg("import sys\nfrom pyosys import libyosys as ys\nys.run_pass('tee -q -o ' + sys.argv[2] + ' script ' + sys.argv[1], ys.Design())")
                    .arg(script)
                    .arg(log);
                c
            }
        };
        c.current_dir(dir);
        c
    }
}

/// Runs a command to its end with its output kept; the exit status is the caller's to judge.
pub fn run(tool: &'static str, command: &mut Command) -> Result<(bool, String), GateError> {
    let program = PathBuf::from(command.get_program());
    let out = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| GateError::io("start", &program, e))?;
    let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&out.stderr));
    if out.status.code().is_none() {
        return Err(failed(tool, &out.status, &text));
    }
    Ok((out.status.success(), text))
}

/// The error for a tool that failed in a way no gate reads as a finding.
pub fn failed(tool: &'static str, status: &impl ToString, output: &str) -> GateError {
    GateError::ToolFailed {
        tool,
        status: status.to_string(),
        tail: tail(output, 15),
    }
}

/// Last `n` lines.
pub fn tail(text: &str, n: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(n)..].join("\n")
}

/// The temporary folders in use.
static SCRATCH: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

fn scratch_folders() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    // A set of paths is whole whatever a thread that panicked was doing.
    SCRATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder below the system's temporary folder, removed when dropped.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        scratch_folders().remove(self.path());
    }
}

/// Makes a [`Scratch`].
pub fn scratch() -> Result<Scratch, GateError> {
    let made = tempfile::Builder::new()
        .prefix("cxlmem-")
        .tempdir()
        .map_err(|e| GateError::io("make a folder in", &std::env::temp_dir(), e))?;
    scratch_folders().insert(made.path().to_path_buf());
    Ok(Scratch(made))
}

/// Removes every [`Scratch`] that is in use: for a process that is about to be ended by a signal. No other can be made until it ends.
pub fn remove_scratch() {
    let folders = scratch_folders();
    // A tool that gets the same signal may still be writing.
    for _ in 0..20 {
        let left = folders.iter().filter(|f| {
            let _ = std::fs::remove_dir_all(f);
            f.exists()
        });
        if left.count() == 0 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    // The lock is never given back: a thread that would make another folder waits for the end.
    std::mem::forget(folders);
}

/// Writes a file.
pub fn write(path: &Path, text: &str) -> Result<(), GateError> {
    std::fs::write(path, text).map_err(|e| GateError::io("write", path, e))
}

/// Reads a file.
pub fn read(path: &Path) -> Result<String, GateError> {
    std::fs::read(path)
        .map(|b| String::from_utf8_lossy(&b).into_owned())
        .map_err(|e| GateError::io("read", path, e))
}
