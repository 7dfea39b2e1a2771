//! Builds the Verilated controller in every configuration.
//!
//! For each configuration: rust-hdl emits Verilog, Verilator turns it into C++, and the C++ is compiled together with a shim that is generated from the top's own
//! pins. Finished archives are kept under `<target>/verilated`, named by a hash of the Verilog, the shim, the flags, the tools and the CPU: a change that is only
//! Rust compiles no C++.
//!
//! Environment: `CXLMEM_BOARD_NETLIST` names a file with a netlist of the board's top (`cxlmem board netlist`), which takes the place of its RTL; `CXLMEM_VERILATOR` names the Verilator binary (else `verilator` on PATH, else the one of a Python package in `<workspace>/.venv`).

#[path = "build/plain.rs"]
mod plain;
#[path = "build/shim.rs"]
mod shim;
#[path = "build/tool.rs"]
mod tool;

use cxlmem_hdl::board::{self, BoardTop};
use cxlmem_hdl::memory::sdram::{Sdram, SdramChip, SDRAM16_KHZ, SDRAM32_KHZ};
use cxlmem_hdl::{mutants, probes, Config, Pin};
use std::path::{Path, PathBuf};
use std::process::Command;
use tool::{hash, Compiler, Result, Verilator};

/// Where the board's top comes from, if not from its RTL.
const NETLIST: &str = "CXLMEM_BOARD_NETLIST";

/// Flags that make the model fast. Verilator 5.006 and later accept all of them.
const VERILATOR_FLAGS: &[&str] = &[
    "--cc",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--noassert",
    "--no-timing",
    "--threads",
    "1",
    "--output-split",
    "0",
    "-Wno-fatal",
    "-Wno-lint",
    "-Wno-style",
];

/// Verilator's instructions: those of the lint gate, and the probes' signals readable from the shim. They are read between evaluations, by name; the Verilog stays as it
/// is.
fn verilator_config() -> String {
    let mut text = String::from(cxlmem_hdl::gates::verilator::CONFIG);
    for c in probes::signals() {
        let line = format!(
            "public_flat_rd -module \"{}\" -var \"{}\"\n",
            c.module(),
            c.signal
        );
        // Verilator 5.006 wants a `$` of a name by its code, later ones as it is written; a line that names nothing has no effect.
        text += &line.replace('$', "__024");
        text += &line;
    }
    text
}

/// What to build, beside the configuration.
struct Variant {
    trace: bool,
    coverage: bool,
    mutants: bool,
}

/// One configuration's model: its archive, and the C++ to compile if the archive is missing.
struct Model {
    archive: Archive,
    sources: Vec<PathBuf>,
}

/// A static library in the cache.
struct Archive {
    /// Library name without `lib` and `.a`.
    name: String,
    path: PathBuf,
}

impl Archive {
    fn new(cache: &Path, stem: &str, key: &str) -> Self {
        let name = format!("cxlmem_{stem}_{key}");
        Self {
            path: cache.join(format!("lib{name}.a")),
            name,
        }
    }
}

fn main() {
    if let Err(e) = run() {
        // Not a panic: its backtrace hint would bury the message.
        eprintln!("cannot build the Verilated controller: {e}");
        std::process::exit(1);
    }
}

fn run() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    for v in [
        NETLIST,
        "CXLMEM_VERILATOR",
        "VERILATOR_ROOT",
        "PATH",
        "CXX",
        "CXXFLAGS",
    ] {
        println!("cargo:rerun-if-env-changed={v}");
    }
    let out = PathBuf::from(std::env::var("OUT_DIR").map_err(|e| format!("OUT_DIR: {e}"))?);
    let variant = Variant {
        trace: std::env::var_os("CARGO_FEATURE_TRACE").is_some(),
        coverage: std::env::var_os("CARGO_FEATURE_COVERAGE").is_some(),
        mutants: std::env::var_os("CARGO_FEATURE_MUTANTS").is_some(),
    };
    let verilator = Verilator::find()?;
    let compiler = Compiler::find(&verilator, variant.trace, variant.coverage)?;
    let cache = tool::cache_dir(&out);
    std::fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;

    let mut pins = shared_pins()?;
    if variant.mutants {
        pins.push(mutants::pin());
    }
    let names: Vec<&str> = Config::all().iter().map(|c| c.name).collect();
    tool::write(&out.join("model.rs"), &shim::rust(&names, &pins)?)?;

    let mut flags = VERILATOR_FLAGS.to_vec();
    flags.extend(variant.trace.then_some("--trace-fst"));
    flags.extend(variant.coverage.then_some("--coverage-line"));
    let vlt = verilator_config();
    let stamp = hash(&[
        &verilator.identity,
        &compiler.identity,
        &flags.join(" "),
        &vlt,
    ]);

    let models = tool::parallel(Config::all().iter().collect(), |c: &Config| {
        let failed = |e: &dyn std::fmt::Display| format!("configuration {}: {e}", c.name);
        let verilog = cxlmem_hdl::emit(c).map_err(|e| failed(&e))?;
        probes::check(&verilog).map_err(|e| failed(&e))?;
        let verilog = if variant.mutants {
            mutants::instrument(&verilog).map_err(|e| failed(&e))?
        } else {
            verilog
        };
        let ident = shim::ident(c.name);
        let cpp = shim::cpp(&ident, &pins);
        let archive = Archive::new(&cache, &ident, &hash(&[&stamp, &verilog, &cpp]));
        let sources = if archive.path.exists() {
            Vec::new()
        } else {
            verilate(
                &verilator,
                &flags,
                &out.join(&ident),
                &ident,
                &verilog,
                &vlt,
                &cpp,
            )?
        };
        Ok(Model { archive, sources })
    })?;
    let mut models = models;
    for block in blocks()? {
        let cpp = plain::cpp(block.ident, &block.pins);
        let rust = plain::rust(block.ident, block.name, block.about, &block.pins)?;
        tool::write(&out.join(format!("{}.rs", block.ident)), &rust)?;
        let archive = Archive::new(&cache, block.ident, &hash(&[&stamp, &block.verilog, &cpp]));
        let sources = match archive.path.exists() {
            true => Vec::new(),
            false => verilate(
                &verilator,
                &flags,
                &out.join(block.ident),
                block.ident,
                &block.verilog,
                cxlmem_hdl::gates::verilator::CONFIG,
                &cpp,
            )?,
        };
        models.push(Model { archive, sources });
    }
    let runtime = Archive::new(&cache, "portable_runtime", &stamp);

    // All C++ in one pool, the long compilations first so that the pool ends evenly.
    let mut jobs: Vec<PathBuf> = models.iter().flat_map(|m| m.sources.clone()).collect();
    let mut runtime_sources = Vec::new();
    if !runtime.path.exists() {
        runtime_sources = verilator.runtime_sources(variant.trace, variant.coverage);
        jobs.extend(runtime_sources.clone());
    }
    jobs.sort_by_key(|j| tool::is_slow(j));
    let netlist = std::env::var_os(NETLIST).map(|_| out.join("board"));
    tool::parallel(jobs, |source: PathBuf| {
        let object = object(&out, &source);
        if runtime_sources.contains(&source) {
            compiler.compile_portable(&source, &object)
        } else if netlist.as_ref().is_some_and(|dir| source.starts_with(dir)) {
            compiler.compile_netlist(&source, &object)
        } else {
            compiler.compile(&source, &object)
        }
    })?;
    let missing = models
        .iter()
        .map(|m| (&m.archive, &m.sources))
        .chain([(&runtime, &runtime_sources)]);
    for (archive, sources) in missing.filter(|(_, s)| !s.is_empty()) {
        compiler.archive(
            &archive.path,
            &sources.iter().map(|s| object(&out, s)).collect::<Vec<_>>(),
        )?;
    }

    let source = if netlist.is_some() { "netlist" } else { "RTL" };
    println!("cargo:rustc-env=CXLMEM_BOARD_SOURCE={source}");
    println!(
        "cargo:rustc-env=CXLMEM_VERILATOR_VERSION={}",
        verilator.version()?
    );
    println!("cargo:rustc-link-search=native={}", cache.display());
    for archive in models.iter().map(|m| &m.archive).chain([&runtime]) {
        println!("cargo:rustc-link-lib=static={}", archive.name);
    }
    for lib in compiler.system_libraries(variant.trace, &verilator) {
        println!("cargo:rustc-link-lib=dylib={lib}");
    }
    Ok(())
}

/// A block that is no controller of its own.
struct Block {
    ident: &'static str,
    /// Rust type.
    name: &'static str,
    about: &'static str,
    verilog: String,
    pins: Vec<Pin>,
}

fn blocks() -> Result<Vec<Block>> {
    let options = board::simulated();
    let memory = options.memory().map_err(|e| format!("board: {e}"))?;
    let board = || BoardTop::new(&options, memory.as_ref());
    let verilog = match std::env::var_os(NETLIST) {
        None => board::verilog(&options).map_err(|e| format!("board: {e}"))?,
        Some(file) => {
            let file = PathBuf::from(file);
            println!("cargo:rerun-if-changed={}", file.display());
            std::fs::read_to_string(&file)
                .map_err(|e| format!("{NETLIST}: cannot read {}: {e}", file.display()))?
        }
    };
    let mut all = vec![Block {
        ident: "board",
        name: "BoardModel",
        about: "The Verilated top of a board ([`cxlmem_hdl::board::simulated`]).",
        verilog,
        pins: cxlmem_hdl::pins_of(&board()),
    }];
    for (ident, name, chip, khz) in [
        ("sdram16", "Sdram16", "MT48LC16M16", SDRAM16_KHZ),
        ("sdram32", "Sdram32", "M12L64322A", SDRAM32_KHZ),
    ] {
        let chip = SdramChip::by_name(chip).ok_or("an SDRAM chip has lost its name")?;
        let timing = chip.timing(khz).map_err(|e| format!("{ident}: {e}"))?;
        let block = || Sdram::new(&timing, chip.line_bits() as usize);
        all.push(Block {
            ident,
            name,
            about: "The Verilated controller of an SDRAM (`crate::sdram`).",
            verilog: cxlmem_hdl::emit_block(block()).map_err(|e| format!("{ident}: {e}"))?,
            pins: cxlmem_hdl::pins_of(&block()),
        });
    }
    Ok(all)
}

/// The pins of the controller: the same in every configuration, or the one shim would not fit.
fn shared_pins() -> Result<Vec<Pin>> {
    let configs = Config::all();
    let first = configs.first().ok_or("there is no configuration")?;
    let pins = cxlmem_hdl::pins(first);
    match configs.iter().find(|c| cxlmem_hdl::pins(c) != pins) {
        None => Ok(pins),
        Some(c) => Err(format!(
            "configurations {} and {} have different pins",
            first.name, c.name
        )),
    }
}

/// Where the object of `source` goes: beside it if it was generated, else below `out`.
fn object(out: &Path, source: &Path) -> PathBuf {
    if source.starts_with(out) {
        source.with_extension("o")
    } else {
        out.join(source.file_name().unwrap_or_default())
            .with_extension("o")
    }
}

/// Runs Verilator; returns the C++ files of the model and its shim.
fn verilate(
    verilator: &Verilator,
    flags: &[&str],
    dir: &Path,
    ident: &str,
    verilog: &str,
    vlt: &str,
    cpp: &str,
) -> Result<Vec<PathBuf>> {
    // A file that an earlier run left behind must not be compiled into this model.
    let _ = std::fs::remove_dir_all(dir);
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let top = dir.join("top.v");
    tool::write(&top, verilog)?;
    let config = dir.join("model.vlt");
    tool::write(&config, vlt)?;
    let mut command = Command::new(&verilator.binary);
    if let Some(root) = &verilator.root {
        command.env("VERILATOR_ROOT", root);
    }
    command.args(flags);
    command
        .args([
            "--top-module",
            "top",
            "--prefix",
            &format!("V{ident}"),
            "--Mdir",
        ])
        .arg(dir)
        .arg(&config)
        .arg(&top);
    tool::run(&mut command, &format!("Verilator, configuration {ident}"))?;
    tool::write(&dir.join(format!("shim_{ident}.cpp")), cpp)?;
    // Reading the headers takes longer than compiling most of Verilator's files: two files instead of some twenty.
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    let mut sources = Vec::new();
    for (file, slow) in [("all_fast.cpp", false), ("all_Slow.cpp", true)] {
        let parts = names
            .iter()
            .filter(|n| n.ends_with(".cpp") && n.contains("Slow") == slow);
        let text: String = parts.map(|n| format!("#include \"{n}\"\n")).collect();
        tool::write(&dir.join(file), &text)?;
        sources.push(dir.join(file));
    }
    Ok(sources)
}
