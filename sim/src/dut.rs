//! The Verilated controller as a safe Rust value.

use std::ffi::{c_char, c_int, CString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Opaque C++ model.
#[repr(C)]
pub(crate) struct Model {
    _private: [u8; 0],
}

/// The C functions of one configuration's model.
pub(crate) struct Entry {
    pub(crate) name: &'static str,
    new: unsafe extern "C" fn(*mut Ports) -> *mut Model,
    free: unsafe extern "C" fn(*mut Model),
    settle: unsafe extern "C" fn(*mut Model),
    edge: unsafe extern "C" fn(*mut Model),
    replay: unsafe extern "C" fn(*mut Model, *const Record, usize, u64) -> u64,
    probes: unsafe extern "C" fn(*const Model) -> u32,
    directory: unsafe extern "C" fn(*const Model) -> u64,
    trace: unsafe extern "C" fn(*mut Model, *const c_char) -> c_int,
    coverage: unsafe extern "C" fn(*mut Model, *const c_char) -> c_int,
}

#[inline(always)]
pub(crate) fn wide(w: [u32; 4]) -> u128 {
    u128::from(w[0]) | u128::from(w[1]) << 32 | u128::from(w[2]) << 64 | u128::from(w[3]) << 96
}

#[inline(always)]
pub(crate) fn words(v: u128) -> [u32; 4] {
    [
        v as u32,
        (v >> 32) as u32,
        (v >> 64) as u32,
        (v >> 96) as u32,
    ]
}

include!(concat!(env!("OUT_DIR"), "/model.rs"));

/// Why a model could not be made or asked.
#[derive(Debug, thiserror::Error)]
pub enum DutError {
    /// No configuration of that name was built.
    #[error("no configuration is called {name:?}; there are: {known}")]
    UnknownConfig {
        /// What was asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The model's memory could not be allocated.
    #[error("the model of configuration {0} could not be allocated")]
    OutOfMemory(&'static str),
    /// The build lacks a feature.
    #[error("this build has no {what}: build with `--features {what}`")]
    NotBuilt {
        /// Cargo feature.
        what: &'static str,
    },
    /// A file could not be written.
    #[error("cannot write {0}")]
    File(std::path::PathBuf),
    /// `CXLMEM_MUTANT` names no mutant, or this build has none.
    #[error("CXLMEM_MUTANT={0}: {why}", why = if cfg!(feature = "mutants") {
        "no mutant of that name; `cxlmem hdl mutants --list` prints them"
    } else {
        "this build has no mutants: build with `--features mutants`"
    })]
    Mutant(String),
}

/// One Verilated controller. Pins are accessed by the generated methods (`set_rx_slot`, `tx_slot`, ...).
///
/// A clock cycle is: drive the inputs, [`settle`](Dut::settle) (clock low: outputs follow the inputs), read the outputs, [`edge`](Dut::edge) (rising edge).
pub struct Dut {
    entry: &'static Entry,
    config: &'static str,
    model: *mut Model,
    ports: Ports,
    cycles: u64,
    recording: Option<Box<Recording>>,
}

// SAFETY: the model is reachable only through this value. The one thread-local that Verilator keeps, the current context, is set when a model is made and before one is
// freed, and evaluations do not use it.
unsafe impl Send for Dut {}

impl Dut {
    /// A new model in its power-on state; `reset` is not asserted.
    pub fn new(config: &str) -> Result<Self, DutError> {
        let Some(entry) = MODELS.iter().find(|m| m.name == config) else {
            let known = MODELS.iter().map(|m| m.name).collect::<Vec<_>>().join(", ");
            return Err(DutError::UnknownConfig {
                name: config.into(),
                known,
            });
        };
        #[cfg_attr(not(feature = "mutants"), allow(unused_variables))]
        let mutant = mutant_from_env()?;
        let mut ports = std::mem::MaybeUninit::<Ports>::uninit();
        // SAFETY: `new` fills every pointer of `Ports` (both are generated from one list) unless it returns null.
        let (model, ports) = unsafe {
            let model = (entry.new)(ports.as_mut_ptr());
            if model.is_null() {
                return Err(DutError::OutOfMemory(entry.name));
            }
            (model, ports.assume_init())
        };
        #[allow(unused_mut)]
        let mut dut = Self {
            entry,
            config: entry.name,
            model,
            ports,
            cycles: 0,
            recording: None,
        };
        #[cfg(feature = "mutants")]
        dut.set_mutant(mutant);
        Ok(dut)
    }

    /// Name of the configuration.
    pub fn config(&self) -> &'static str {
        self.config
    }

    /// Something else at the pins than a Verilated model. `config` is the configuration that it is.
    pub fn remote(config: &'static str, remote: Box<dyn Remote>) -> Self {
        let model = Box::into_raw(Box::new(RemoteModel {
            pins: Pins::default(),
            remote,
        }));
        Self {
            entry: &REMOTE,
            config,
            model: model.cast(),
            // SAFETY: `model` is valid; the pointers stay so until `remote_free`.
            ports: unsafe { Ports::of(std::ptr::addr_of_mut!((*model).pins)) },
            cycles: 0,
            recording: None,
        }
    }

    /// Whether a device of its own stands at the pins, and not a model of this process.
    pub fn is_remote(&self) -> bool {
        std::ptr::eq(self.entry, &REMOTE)
    }

    /// Cycles since construction.
    pub fn cycles(&self) -> u64 {
        self.cycles
    }

    /// Clock low: outputs settle on the inputs as driven.
    #[inline(always)]
    pub fn settle(&mut self) {
        if let Some(r) = &mut self.recording {
            // SAFETY: the model owns the ports and lives as long as `self`.
            r.inputs.push(unsafe { Record::read(&self.ports) });
        }
        // SAFETY: `model` came from this entry's `new` and is freed only in `drop`.
        unsafe { (self.entry.settle)(self.model) }
    }

    /// Rising edge of the clock.
    #[inline(always)]
    pub fn edge(&mut self) {
        if self.recording.is_some() {
            self.record_outputs();
        }
        // SAFETY: as in `settle`.
        unsafe { (self.entry.edge)(self.model) }
        self.cycles += 1;
    }

    /// Time passes, and the clock does not tick: a device that hangs.
    pub fn skip_cycle(&mut self) {
        self.cycles += 1;
    }

    /// One whole cycle with the inputs as driven.
    pub fn cycle(&mut self) {
        self.settle();
        self.edge();
    }

    /// Ports as they are, then `cycles` cycles of reset.
    pub fn reset(&mut self, cycles: u32) {
        self.set_reset(true);
        for _ in 0..cycles {
            self.cycle();
        }
        self.set_reset(false);
    }

    /// From now on the inputs of every cycle are kept, for [`Dut::replay`]. About 100 bytes a cycle.
    pub fn start_recording(&mut self) {
        self.recording = Some(Box::default());
    }

    /// The slots sent from here on count for [`Recording::digest`].
    pub fn mark_recording(&mut self) {
        if let Some(r) = &mut self.recording {
            r.mark = r.inputs.len();
            r.digest = 0;
        }
    }

    /// Ends recording.
    pub fn stop_recording(&mut self) -> Recording {
        *self.recording.take().unwrap_or_default()
    }

    /// The stages, and the digest by the same arithmetic as in the shim's replay loop.
    #[cold]
    fn record_outputs(&mut self) {
        let probes = self.probes();
        if let Some(r) = &mut self.recording {
            r.probes.push(probes);
        }
        if self.tx_valid() {
            let slot = words(self.tx_slot());
            if let Some(r) = &mut self.recording {
                for word in slot {
                    r.digest = r
                        .digest
                        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
                        .wrapping_add(u64::from(word));
                }
            }
        }
    }

    /// Runs recorded cycles `from..to` in a bare C++ loop: the yardstick for the cost of this harness.
    /// `digest` is that of the slots sent before; returns it with those of this range. The range is clipped to the recording.
    pub fn replay(&mut self, recording: &Recording, from: usize, to: usize, digest: u64) -> u64 {
        let to = to.min(recording.inputs.len());
        let records = &recording.inputs[from.min(to)..to];
        self.cycles += records.len() as u64;
        // SAFETY: `records` is valid for `records.len()` reads, and `Record` is generated from the same list on both sides.
        unsafe { (self.entry.replay)(self.model, records.as_ptr(), records.len(), digest) }
    }

    /// Stages of the pipeline that are occupied in this cycle, after [`settle`](Dut::settle): bit *n* is entry *n* of [`cxlmem_hdl::probes::STAGES`].
    pub fn probes(&self) -> u32 {
        // SAFETY: as in `settle`; the function only reads.
        unsafe { (self.entry.probes)(self.model) }
    }

    /// What goes into the directory at the next edge: the line's number and the code of its new state ([`cxlmem_hdl::probes::DIRECTORY`]).
    #[inline]
    pub fn directory_write(&self) -> Option<(u32, u8)> {
        // SAFETY: as in `settle`; the function only reads.
        let word = unsafe { (self.entry.directory)(self.model) };
        (word & 1 != 0).then_some(((word >> 8) as u32, (word >> 1) as u8 & 3))
    }

    /// Starts an FST trace. Only in a build with feature `trace`.
    pub fn trace_to(&mut self, path: &Path) -> Result<(), DutError> {
        if !cfg!(feature = "trace") {
            return Err(DutError::NotBuilt { what: "trace" });
        }
        let c = c_path(path)?;
        // SAFETY: `c` is a NUL-terminated string that outlives the call.
        match unsafe { (self.entry.trace)(self.model, c.as_ptr()) } {
            0 => Err(DutError::File(path.into())),
            _ => Ok(()),
        }
    }

    /// Writes coverage counts for `verilator_coverage`. Only in a build with feature `coverage`.
    pub fn write_coverage(&mut self, path: &Path) -> Result<(), DutError> {
        if !cfg!(feature = "coverage") {
            return Err(DutError::NotBuilt { what: "coverage" });
        }
        let c = c_path(path)?;
        // SAFETY: as in `trace_to`.
        match unsafe { (self.entry.coverage)(self.model, c.as_ptr()) } {
            0 => Err(DutError::File(path.into())),
            _ => Ok(()),
        }
    }
}

/// A controller that is not in this program: at the other end of a line.
pub trait Remote: Send {
    /// The rising edge of a clock that it does not have: takes the inputs as they were driven, and sets the outputs for what follows. It must not panic.
    fn edge(&mut self, pins: &mut Pins);
}

struct RemoteModel {
    pins: Pins,
    remote: Box<dyn Remote>,
}

unsafe extern "C" fn remote_new(_: *mut Ports) -> *mut Model {
    std::ptr::null_mut()
}

unsafe extern "C" fn remote_free(model: *mut Model) {
    // SAFETY: made by `Box::into_raw` in `Dut::remote`, freed once.
    drop(unsafe { Box::from_raw(model.cast::<RemoteModel>()) });
}

unsafe extern "C" fn remote_settle(_: *mut Model) {}

unsafe extern "C" fn remote_edge(model: *mut Model) {
    // SAFETY: made by `Dut::remote`; the pointers to its pins are not used while this runs.
    let model = unsafe { &mut *model.cast::<RemoteModel>() };
    model.remote.edge(&mut model.pins);
}

unsafe extern "C" fn remote_replay(_: *mut Model, _: *const Record, _: usize, digest: u64) -> u64 {
    digest
}

unsafe extern "C" fn remote_probes(_: *const Model) -> u32 {
    0
}

unsafe extern "C" fn remote_directory(_: *const Model) -> u64 {
    0
}

unsafe extern "C" fn remote_file(_: *mut Model, _: *const c_char) -> c_int {
    0
}

/// What a [`Remote`] cannot do, does nothing.
static REMOTE: Entry = Entry {
    name: "remote",
    new: remote_new,
    free: remote_free,
    settle: remote_settle,
    edge: remote_edge,
    replay: remote_replay,
    probes: remote_probes,
    directory: remote_directory,
    trace: remote_file,
    coverage: remote_file,
};

/// Number of the seeded fault that `CXLMEM_MUTANT` names; 0 if it is not set.
fn mutant_from_env() -> Result<u8, DutError> {
    match std::env::var("CXLMEM_MUTANT") {
        Err(_) => Ok(0),
        Ok(name) if name.is_empty() => Ok(0),
        Ok(name) => match cxlmem_hdl::mutants::Mutant::by_name(&name) {
            Some(m) if cfg!(feature = "mutants") => Ok(m.number()),
            _ => Err(DutError::Mutant(name)),
        },
    }
}

pub(crate) fn c_path(path: &Path) -> Result<CString, DutError> {
    CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| DutError::File(path.into()))
}

/// Where a build with feature `coverage` leaves the counts of every model, if `CXLMEM_COVERAGE` names a folder: `<configuration>-<process>-<number>.dat`.
fn coverage_file(config: &str) -> Option<PathBuf> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let dir = std::env::var_os("CXLMEM_COVERAGE").filter(|_| cfg!(feature = "coverage"))?;
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Some(Path::new(&dir).join(format!("{config}-{}-{number}.dat", std::process::id())))
}

impl Drop for Dut {
    fn drop(&mut self) {
        let is_model = !std::ptr::eq(self.entry, &REMOTE);
        if let Some(file) = coverage_file(self.entry.name).filter(|_| is_model) {
            if let Err(e) = self.write_coverage(&file) {
                // Nothing can be returned from here; lost counts show as lines not covered.
                eprintln!("coverage is lost: {e}");
            }
        }
        // SAFETY: made by `new`, freed once.
        unsafe { (self.entry.free)(self.model) }
    }
}

/// Inputs of a stretch of cycles, and the stages that were occupied in each.
#[derive(Default)]
pub struct Recording {
    inputs: Vec<Record>,
    probes: Vec<u32>,
    mark: usize,
    digest: u64,
}

impl Recording {
    /// Cycles held.
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// True if nothing was recorded.
    pub fn is_empty(&self) -> bool {
        self.inputs.is_empty()
    }

    /// Cycle of [`Dut::mark_recording`].
    pub fn mark(&self) -> usize {
        self.mark
    }

    /// [`Dut::probes`] of every cycle.
    pub fn probes(&self) -> &[u32] {
        &self.probes
    }

    /// Digest of the slots sent since the mark.
    pub fn digest(&self) -> u64 {
        self.digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_configuration_runs() {
        for c in cxlmem_hdl::Config::all() {
            let mut dut = Dut::new(c.name).unwrap();
            assert_eq!(dut.config(), c.name);
            dut.reset(4);
            assert_eq!(dut.cycles(), 4);
        }
    }

    #[test]
    fn models_are_freed_in_any_order_and_on_any_thread() {
        let duts = ["tiny", "sim", "tiny"].map(|c| Dut::new(c).unwrap());
        let [mut first, second, third] = duts;
        drop(third);
        std::thread::spawn(move || drop(second)).join().unwrap();
        first.reset(4);
        drop(first);
        Dut::new("full").unwrap().reset(4);
    }

    #[test]
    fn unknown_configuration_names_the_known_ones() {
        let text = Dut::new("nosuch").err().unwrap().to_string();
        assert!(
            text.contains("nosuch") && text.contains("tiny") && text.contains("sim-ext"),
            "{text}"
        );
    }

    #[test]
    fn wide_ports_keep_every_bit() {
        let v = 0x0011_2233_4455_6677_8899_AABB_CCDD_EEFFu128;
        assert_eq!(wide(words(v)), v);
    }

    #[test]
    #[cfg(not(any(feature = "trace", feature = "coverage")))]
    fn missing_features_are_named() {
        let mut dut = Dut::new("tiny").unwrap();
        assert!(dut
            .trace_to(Path::new("x"))
            .unwrap_err()
            .to_string()
            .contains("--features trace"));
        assert!(dut
            .write_coverage(Path::new("x"))
            .unwrap_err()
            .to_string()
            .contains("--features coverage"));
    }

    #[test]
    #[cfg(feature = "trace")]
    fn a_trace_is_written() {
        let path = std::env::temp_dir().join(format!("cxlmem-{}.fst", std::process::id()));
        let mut dut = Dut::new("tiny").unwrap();
        dut.trace_to(&path).unwrap();
        dut.reset(20);
        drop(dut);
        let bytes = std::fs::metadata(&path).unwrap().len();
        std::fs::remove_file(&path).unwrap();
        assert!(bytes > 1000);
        let mut dut = Dut::new("tiny").unwrap();
        assert!(dut.trace_to(Path::new("/nonexistent/x.fst")).is_err());
    }

    #[test]
    #[cfg(feature = "coverage")]
    fn coverage_is_written() {
        let path = std::env::temp_dir().join(format!("cxlmem-{}.dat", std::process::id()));
        let mut dut = Dut::new("tiny").unwrap();
        dut.reset(20);
        dut.write_coverage(&path).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(text.contains("top"));
    }
}
