//! The tools of the build script: finding them, running them, and a cache key that covers them.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Errors are shown to the person who builds: they say what to do next.
pub type Result<T> = std::result::Result<T, String>;

const INSTALL: &str = "Install Verilator 5.006 or later: `apt install verilator` (Debian 12, Ubuntu 24.04), or the Python package \
`verilator` in `.venv` at the root of the workspace; or set CXLMEM_VERILATOR to the binary.";

/// A Verilator installation.
pub struct Verilator {
    /// What to run.
    pub binary: PathBuf,
    /// `VERILATOR_ROOT` for it; none if it knows its own place.
    pub root: Option<PathBuf>,
    /// Folder of `verilated.h`.
    pub include: PathBuf,
    /// Changes when the installation does.
    pub identity: String,
}

impl Verilator {
    /// Looks at `CXLMEM_VERILATOR`, then PATH, then `.venv`.
    pub fn find() -> Result<Self> {
        if let Some(path) = std::env::var_os("CXLMEM_VERILATOR").filter(|v| !v.is_empty()) {
            return Self::at(Path::new(&path))
                .map_err(|e| format!("CXLMEM_VERILATOR: {e}. {INSTALL}"));
        }
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let mut candidates: Vec<PathBuf> = std::env::split_paths(&on_path)
            .map(|d| d.join("verilator"))
            .collect();
        let manifest = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
        if let Ok(libs) = std::fs::read_dir(manifest.join("../.venv/lib")) {
            candidates.extend(
                libs.flatten()
                    .map(|e| e.path().join("site-packages/verilator/bin/verilator_bin")),
            );
        }
        match candidates.iter().find(|c| c.is_file()) {
            Some(path) => Self::at(path).map_err(|e| format!("{e}. {INSTALL}")),
            None => Err(format!("no Verilator found. {INSTALL}")),
        }
    }

    fn at(path: &Path) -> Result<Self> {
        let binary = path
            .canonicalize()
            .map_err(|e| format!("{}: {e}", path.display()))?;
        let bin = binary.parent().unwrap_or(Path::new("/"));
        // A relocated installation (the Python package) has `include` beside `bin` and must be told; a distribution's wrapper must not be.
        let relocated = bin.join("../include/verilated.h").is_file();
        let root = if relocated {
            bin.join("..")
        } else {
            bin.join("../share/verilator")
        };
        let root = root.canonicalize().map_err(|e| {
            format!(
                "{}: no data folder {}: {e}",
                binary.display(),
                root.display()
            )
        })?;
        let include = root.join("include");
        if !include.join("verilated.h").is_file() {
            return Err(format!(
                "{} has no {}/verilated.h",
                binary.display(),
                include.display()
            ));
        }
        let root = relocated.then_some(root);
        let config =
            std::fs::read_to_string(include.join("verilated_config.h")).unwrap_or_default();
        let size = std::fs::metadata(&binary).map(|m| m.len()).unwrap_or(0);
        let identity = hash(&[&binary.display().to_string(), &config, &size.to_string()]);
        Ok(Self {
            binary,
            root,
            include,
            identity,
        })
    }

    /// Its version as its own header has it, the minor number in three digits: `5.006`. (`--version` of the Python package names no version.)
    pub fn version(&self) -> Result<String> {
        let path = self.include.join("verilated_config.h");
        let text =
            std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let number = |line: &str| {
            let quoted = line.strip_prefix("#define VERILATOR_VERSION \"")?;
            let (major, rest) = quoted.split_once('.')?;
            let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
            Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?))
        };
        match text.lines().find_map(number) {
            Some((major, minor)) => Ok(format!("{major}.{minor:03}")),
            None => Err(format!(
                "{} defines no VERILATOR_VERSION \"major.minor\"",
                path.display()
            )),
        }
    }

    /// The runtime's C++ files for this variant.
    pub fn runtime_sources(&self, trace: bool, coverage: bool) -> Vec<PathBuf> {
        let mut names = vec!["verilated.cpp", "verilated_threads.cpp"];
        names.extend(trace.then_some("verilated_fst_c.cpp"));
        names.extend(coverage.then_some("verilated_cov.cpp"));
        names.iter().map(|n| self.include.join(n)).collect()
    }
}

/// The C++ compiler and the flags that every file gets.
pub struct Compiler {
    command: PathBuf,
    base: Vec<std::ffi::OsString>,
    archiver: PathBuf,
    /// Level for code that runs every cycle. A build for coverage is not for speed.
    level: &'static str,
    /// Changes when the compiler, its flags or the CPU (`-march=native`) does.
    pub identity: String,
}

impl Compiler {
    pub fn find(verilator: &Verilator, trace: bool, coverage: bool) -> Result<Self> {
        let mut build = cc::Build::new();
        // The model is worth its optimisation in a debug build of ours, too; levels are chosen per file.
        build
            .cpp(true)
            .cargo_metadata(false)
            .opt_level(0)
            .debug(false)
            .warnings(false)
            .flag("-std=gnu++17")
            .flag("-w");
        for flag in ["-march=native", "-fcf-protection=none", "-fno-plt"] {
            build.flag_if_supported(flag);
        }
        let define = |on: bool| Some(if on { "1" } else { "0" });
        build
            .define("VERILATOR", "1")
            .define("VM_SC", "0")
            .define("VM_COVERAGE", define(coverage));
        build
            .define("VM_TRACE", define(trace))
            .define("VM_TRACE_FST", define(trace));
        build
            .include(&verilator.include)
            .include(verilator.include.join("vltstd"));
        let missing = |e: cc::Error| {
            format!("no C++ compiler: {e}. Install one (`apt install g++`), or set CXX.")
        };
        let tool = build.try_get_compiler().map_err(missing)?;
        let archiver = build
            .try_get_archiver()
            .map_err(missing)?
            .get_program()
            .into();
        let version = Command::new(tool.path()).arg("--version").output();
        let version = version.map_err(|e| {
            format!(
                "{}: {e}. Install a C++ compiler (`apt install g++`), or set CXX.",
                tool.path().display()
            )
        })?;
        let base: Vec<_> = tool
            .args()
            .iter()
            .filter(|a| *a != "-O0")
            .cloned()
            .collect();
        let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu: String = cpu
            .lines()
            .take_while(|l| !l.is_empty())
            .filter(|l| l.starts_with("flags") || l.starts_with("model name"))
            .collect();
        let identity = hash(&[
            &String::from_utf8_lossy(&version.stdout),
            &format!("{base:?}"),
            &cpu,
        ]);
        Ok(Self {
            command: tool.path().into(),
            base,
            archiver,
            level: if coverage { "-O1" } else { "-O3" },
            identity,
        })
    }

    /// Compiles one file of a model: code that runs every cycle at -O3, constructors and the like (`Slow`) at -O1.
    pub fn compile(&self, source: &Path, object: &Path) -> Result<()> {
        let level = if is_slow(source) { "-O1" } else { self.level };
        self.compile_with(source, object, &[level])
    }

    /// Compiles one file of a netlist: so many gates in one function take a compiler that tries hard half an hour.
    pub fn compile_netlist(&self, source: &Path, object: &Path) -> Result<()> {
        let level = if is_slow(source) { "-O0" } else { "-O1" };
        self.compile_with(source, object, &[level])
    }

    /// Compiles one file of the runtime, for any processor of the kind: its constructors run in every program that a model is linked into, also on a
    /// machine that runs no model, such as the guest of `cxlmem vm`.
    pub fn compile_portable(&self, source: &Path, object: &Path) -> Result<()> {
        let is_native = self.base.iter().any(|f| f == "-march=native");
        let portable = is_native && cfg!(target_arch = "x86_64");
        let level = if is_slow(source) { "-O1" } else { self.level };
        let portable = portable.then_some("-march=x86-64");
        let flags: Vec<&str> = portable.into_iter().chain([level]).collect();
        self.compile_with(source, object, &flags)
    }

    fn compile_with(&self, source: &Path, object: &Path, flags: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.command);
        command.args(&self.base).args(flags);
        command.arg("-c").arg(source).arg("-o").arg(object);
        run(&mut command, &format!("compiling {}", source.display()))
    }

    /// Makes a static library; it appears under its name only when complete.
    pub fn archive(&self, path: &Path, objects: &[PathBuf]) -> Result<()> {
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        run(
            Command::new(&self.archiver)
                .arg("crs")
                .arg(&temporary)
                .args(objects),
            &format!("archiving {}", path.display()),
        )?;
        std::fs::rename(&temporary, path).map_err(|e| format!("{}: {e}", path.display()))
    }

    /// Libraries of the system that the model needs.
    pub fn system_libraries(&self, trace: bool, verilator: &Verilator) -> Vec<&'static str> {
        let mut libs = vec![if cfg!(target_os = "macos") {
            "c++"
        } else {
            "stdc++"
        }];
        if trace {
            libs.push("z");
            // Newer FST writers compress with LZ4 from the system; older ones bring their own.
            if verilator.include.join("fstcpp").is_dir() {
                libs.push("lz4");
            }
        }
        libs
    }
}

/// Verilator puts code that does not run every cycle into files with this in their names.
pub fn is_slow(source: &Path) -> bool {
    source
        .file_name()
        .is_some_and(|n| n.to_string_lossy().contains("Slow"))
}

/// The folder of finished archives: shared by all profiles of one target folder.
pub fn cache_dir(out: &Path) -> PathBuf {
    // <target>[/<triple>]/<profile>/build/<package>-<hash>/out
    out.ancestors().nth(4).unwrap_or(out).join("verilated")
}

/// Runs a command; its output is shown only if it fails.
pub fn run(command: &mut Command, what: &str) -> Result<()> {
    let output = command.output().map_err(|e| {
        format!(
            "{what}: cannot run {}: {e}",
            command.get_program().to_string_lossy()
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let text = [output.stdout, output.stderr].concat();
    Err(format!(
        "{what}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&text)
    ))
}

/// Writes a file and names it in the error.
pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))
}

/// A name for content: 16 hexadecimal digits.
pub fn hash(parts: &[&str]) -> String {
    let mut h = DefaultHasher::new();
    for p in parts {
        h.write(p.as_bytes());
        h.write_u8(0xFF);
    }
    format!("{:016x}", h.finish())
}

/// Runs `f` on every item, on as many threads as Cargo allows; results keep the items' order. The first error ends it.
pub fn parallel<T: Send, R: Send>(
    items: Vec<T>,
    f: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let jobs = std::env::var("NUM_JOBS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(2)
        .clamp(1, items.len().max(1));
    let results: Vec<Mutex<Option<Result<R>>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let queue = Mutex::new(items.into_iter().enumerate());
    let poisoned = |_| "a build thread panicked".to_string();
    std::thread::scope(|s| {
        for _ in 0..jobs {
            s.spawn(|| {
                while let Some((n, item)) = queue.lock().ok().and_then(|mut q| q.next()) {
                    let result = f(item);
                    let failed = result.is_err();
                    if let Ok(mut slot) = results[n].lock() {
                        *slot = Some(result);
                    }
                    if failed {
                        // Drain the queue: one clear error is enough.
                        while queue.lock().ok().and_then(|mut q| q.next()).is_some() {}
                    }
                }
            });
        }
    });
    let mut done = Vec::new();
    let mut unfinished = false;
    for slot in results {
        match slot.into_inner().map_err(poisoned)? {
            Some(r) => done.push(r?),
            None => unfinished = true,
        }
    }
    if unfinished {
        return Err("the build stopped before all parts were made".into());
    }
    Ok(done)
}
