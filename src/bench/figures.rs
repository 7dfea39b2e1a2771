//! Every figure that `cxlmem bench` prints: its stable id, unit, class and target are written here, once.
//!
//! Measurements name a [`Kind`] and give a value; the JSON, the tables, the HTML report and `docs/reference/figures.md` come from the same list.

use serde::{Serialize, Serializer};

/// How a figure came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Cycles of the Verilated RTL, or cycles divided by the clock that the configuration states.
    Simulated,
    /// Simulated cycles divided by a clock that place and route reached.
    Synthesized,
    /// Wall-clock time on the machine that runs the benchmark.
    MeasuredHere,
    /// Wall-clock time in a machine whose device is a simulation: figures of one run can be compared with each other, and with nothing else.
    Emulated,
    /// Cycles that a device counted which says that it is no simulation.
    Hardware,
    /// Arithmetic on the protocol's own rules.
    Model,
    /// No value: the reason stands beside it.
    NotRun,
}

impl Class {
    /// The label in tables and JSON.
    pub fn label(self) -> &'static str {
        match self {
            Class::Simulated => "simulated",
            Class::Synthesized => "synthesized",
            Class::MeasuredHere => "measured here",
            Class::Emulated => "emulated",
            Class::Hardware => "measured on hardware",
            Class::Model => "model",
            Class::NotRun => "not run",
        }
    }
}

impl Serialize for Class {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.label())
    }
}

/// What a figure should reach.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// The value or less.
    AtMost(f64),
    /// The value or more.
    AtLeast(f64),
    /// The value.
    Exactly(f64),
}

impl Target {
    /// Whether `value` reaches it.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Target::AtMost(t) => value <= t,
            Target::AtLeast(t) => value >= t,
            Target::Exactly(t) => value == t,
        }
    }

    /// The number.
    pub fn number(self) -> f64 {
        match self {
            Target::AtMost(t) | Target::AtLeast(t) | Target::Exactly(t) => t,
        }
    }

    /// The direction, in words.
    pub fn sense(self) -> &'static str {
        match self {
            Target::AtMost(_) => "at most",
            Target::AtLeast(_) => "at least",
            Target::Exactly(_) => "exactly",
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.sense(), number(self.number()))
    }
}

/// A kind of figure. `<name>` in the id stands for an argument.
#[derive(Debug)]
pub struct Kind {
    /// Stable id.
    pub id: &'static str,
    /// Unit of the value.
    pub unit: &'static str,
    /// Class of a value that was obtained.
    pub class: Class,
    /// Target, if there is one.
    pub target: Option<Target>,
    /// One sentence: what was measured, from where to where.
    pub what: &'static str,
}

macro_rules! catalogue {
    ($($name:ident $id:literal $unit:literal $class:ident $target:expr, $what:literal;)*) => {
        $(#[doc = $what] pub static $name: Kind = Kind { id: $id, unit: $unit, class: Class::$class, target: $target, what: $what };)*
        /// Every kind, in the order of the page.
        #[cfg(test)]
        pub static CATALOGUE: &[&Kind] = &[$(&$name),*];
    };
}

/// At most.
const fn max(value: f64) -> Option<Target> {
    Some(Target::AtMost(value))
}
/// At least.
const fn min(value: f64) -> Option<Target> {
    Some(Target::AtLeast(value))
}
/// Exactly.
const fn is(value: f64) -> Option<Target> {
    Some(Target::Exactly(value))
}

catalogue! {
    READ_IDLE "read.idle.cycles" "cycles" Simulated max(12.0), "64-byte read, device idle, chosen configuration: last slot of the request flit in, to first slot of the response flit out";
    WRITE_IDLE "write.idle.cycles" "cycles" Simulated max(10.0), "64-byte write, device idle, chosen configuration: last slot of the flit with the last data chunk in, to first slot of the flit with the completion out";
    READ_IDLE_NS "read.idle.ns" "ns" Synthesized max(200.0), "`read.idle.cycles.full` at the slowest clock that place and route of configuration `full` on LFE5U-85F-6 reached (`hdl/synthesis.json`)";
    WRITE_IDLE_NS "write.idle.ns" "ns" Synthesized max(200.0), "`write.idle.cycles.full`, as `read.idle.ns`";
    READ_IDLE_CONFIG "read.idle.cycles.<config>" "cycles" Simulated None, "`read.idle.cycles` of each configuration";
    WRITE_IDLE_CONFIG "write.idle.cycles.<config>" "cycles" Simulated None, "`write.idle.cycles` of each configuration";
    READ_IDLE_CONFIG_NS "read.idle.ns.<config>" "ns" Simulated None, "`read.idle.cycles.<config>` at the clock that the configuration states";
    WRITE_IDLE_CONFIG_NS "write.idle.ns.<config>" "ns" Simulated None, "`write.idle.cycles.<config>` at the clock that the configuration states";
    READ_PHASE_MEAN "read.phase.mean.cycles.<config>" "cycles" Simulated None, "as `read.idle.cycles`, with a transmitter that never rests: mean over the four slots of its flits that the request can meet";
    READ_PHASE_WORST "read.phase.worst.cycles.<config>" "cycles" Simulated None, "as `read.phase.mean.cycles`: the worst of the four slots";
    WRITE_PHASE_MEAN "write.phase.mean.cycles.<config>" "cycles" Simulated None, "as `write.idle.cycles`, with a transmitter that never rests: mean over the four slots of its flits that the request can meet";
    WRITE_PHASE_WORST "write.phase.worst.cycles.<config>" "cycles" Simulated None, "as `write.phase.mean.cycles`: the worst of the four slots";
    READ_LINE "read.line.cycles.<config>" "cycles" Simulated None, "64-byte read, device idle: last slot of the request flit in, to last slot of the flit that completes the line (a line needs two flits)";
    READ_DEPENDENT "read.dependent.cycles.<config>" "cycles" Simulated None, "chain of dependent 64-byte reads over random lines: cycles a read as the host sees them, flits in both directions included";
    WRITE_DEPENDENT "write.dependent.cycles.<config>" "cycles" Simulated None, "chain of 64-byte writes, each issued when the one before has completed: cycles a write as the host sees them";
    READ_DEPENDENT_NS "read.dependent.ns.<config>" "ns" Simulated None, "`read.dependent.cycles` at the clock that the configuration states";
    READ_STAGE "read.idle.stage.<stage>" "cycles" Simulated None, "cycles that an idle read spends in a stage of the pipeline (`hdl/src/probes.rs`), chosen configuration; the stages add up to `read.idle.cycles`";
    WRITE_STAGE "write.idle.stage.<stage>" "cycles" Simulated None, "as `read.idle.stage.<stage>`, of an idle write; they add up to `write.idle.cycles`";
    DRAM_READ "dram.read.ns.<set>" "ns" MeasuredHere None, "this machine's own memory: a dependent load from a random line of the working set, fastest of the repeats";
    DRAM_READ_MEDIAN "dram.read.median.ns.<set>" "ns" MeasuredHere None, "as `dram.read.ns`: median of the repeats";
    DRAM_SPREAD "dram.read.spread.ns.<set>" "ns" MeasuredHere None, "as `dram.read.ns`: slowest minus fastest of the repeats";
    DRAM_WRITE "dram.write.ns.<set>" "ns" MeasuredHere None, "this machine's own memory: a dependent load from a random line of the working set, and a store to the same line, fastest of the repeats";
    DRAM_WRITE_MEDIAN "dram.write.median.ns.<set>" "ns" MeasuredHere None, "as `dram.write.ns`: median of the repeats";
    DRAM_HUGE "dram.huge_pages.share" "1" MeasuredHere None, "share of the largest working set that the system backed with huge pages (without them, large sets pay for address translation too)";
    NODE_READ "node.read.ns.<set>" "ns" MeasuredHere None, "as `dram.read.ns`, the same memory with all its pages on the device (`--target dev:PATH`)";
    NODE_READ_MEDIAN "node.read.median.ns.<set>" "ns" MeasuredHere None, "as `node.read.ns`: median of the repeats";
    NODE_SPREAD "node.read.spread.ns.<set>" "ns" MeasuredHere None, "as `node.read.ns`: slowest minus fastest of the repeats";
    NODE_WRITE "node.write.ns.<set>" "ns" MeasuredHere None, "as `dram.write.ns`, the same memory with all its pages on the device";
    NODE_WRITE_MEDIAN "node.write.median.ns.<set>" "ns" MeasuredHere None, "as `node.write.ns`: median of the repeats";
    NODE_READ_RATIO "node.read.ratio.<set>" "x" MeasuredHere None, "`node.read.ns` / `dram.read.ns` of the same run";
    HOME_BANDWIDTH "dram.bandwidth.<pass>.bytes_per_s" "B/s" MeasuredHere None, "this machine's own memory: one thread, fastest pass over memory in pages of 4 KiB (`--target dev:PATH`)";
    NODE_BANDWIDTH "node.bandwidth.<pass>.bytes_per_s" "B/s" MeasuredHere None, "as `dram.bandwidth.<pass>.bytes_per_s`, the same memory with all its pages on the device";
    NODE_BANDWIDTH_RATIO "node.bandwidth.<pass>.ratio" "x" MeasuredHere None, "`node.bandwidth.<pass>.bytes_per_s` / `dram.bandwidth.<pass>.bytes_per_s` of the same run";
    NODE_MIGRATE_PAGES "node.migrate.<way>.<copy>.pages_per_s.<size>" "pages/s" MeasuredHere None, "4 KiB pages moved a second by the kernel's driver: one system call from start to end, median of the trips";
    NODE_MIGRATE_CYCLES "node.migrate.<way>.engine.cycles_per_page.<size>" "cycles" Simulated None, "the engine's cycles for the copy alone, a page: what the driver gives for the call, fewest of the trips";
    NODE_ENGINE "node.engine.<op>.bytes_per_cycle" "B/cycle" Simulated None, "the engine's work on memory of this process on the device, 64 KiB: bytes by the cycles that the driver gives for the call";
    NODE_ATOMIC "node.engine.<op>.cycles" "cycles" Simulated None, "an atomic of the engine on a word of this process on the device: cycles that the driver gives for the call, fewest of eight";
    NODE_ENGINE_INTACT "node.engine.intact" "1" Simulated is(1.0), "1 if the engine's operations on memory of this process gave what the CPU computes, were refused for memory at home, and with a policy brought the pages themselves; else 0";
    NODE_MIGRATE_INTACT "node.migrate.intact" "1" MeasuredHere is(1.0), "1 if every page of the file moved there and home each time (results, residency and counters say so) and what was read back was what was last written; else 0";
    LINE_ACCESS "line.<pass>.us" "us" MeasuredHere None, "64-byte read or write of a board's memory over its line, nothing else under way, a write until it has completed: fastest of the repeats (`--target serial:PORT`)";
    LINE_ACCESS_MEDIAN "line.<pass>.median.us" "us" MeasuredHere None, "as `line.<pass>.us`: median of the repeats";
    LINE_PAGES "line.<pass>.bytes_per_s" "B/s" MeasuredHere None, "pages read or written over a board's line, one after the other";
    LINE_SHARE "line.read.share" "1" MeasuredHere min(0.7), "`line.read.bytes_per_s` as a share of the line's bound: of ten bits eight are a byte, of five slots four are data, of 68 bytes 64 are slots (cxl-mem 8.5)";
    LINE_MIGRATE "line.migrate.<way>.pages_per_s.<size>" "pages/s" MeasuredHere None, "4 KiB pages moved a second by a board's engine, whose host memory is at the other end of the line: the driver's call from start to end";
    LINE_MIGRATE_INTACT "line.migrate.intact" "1" MeasuredHere is(1.0), "1 if every page of the file went to the board and came home and no byte differs; else 0";
    READ_SHARE "read.saturated.share" "1" Simulated min(0.9), "reads only, saturated: data slots a cycle, as a share of the lower of the slot format's and the memory's bound, in the direction that comes closest to its own";
    WRITE_SHARE "write.saturated.share" "1" Simulated min(0.9), "writes only, saturated: as `read.saturated.share`";
    MIX21_SHARE "mix21.saturated.share" "1" Simulated min(0.9), "two reads to a write, saturated: as `read.saturated.share`";
    MIX11_SHARE "mix11.saturated.share" "1" Simulated min(0.9), "a read to a write, saturated: as `read.saturated.share`";
    BW_PAYLOAD "bandwidth.<mix>.payload" "slots/cycle" Simulated None, "data slots a cycle, both directions together";
    BW_SLOT_BOUND "bandwidth.<mix>.bound.slots" "slots/cycle" Model None, "the most data slots a cycle that the slot formats allow for this mix (cxl-mem 8.3)";
    BW_MEMORY_BOUND "bandwidth.<mix>.bound.memory" "slots/cycle" Model None, "the most data slots a cycle that the memory's ports allow for this mix";
    BW_STALL "bandwidth.<mix>.credit_stall.cycles" "cycles" Simulated is(0.0), "credit stalls that the RTL causes: cycles in which the device had a response and no credit for it, and, where the host's wire is the limit, flit times in which the host had a message and no credit";
    BW_WAIT "bandwidth.<mix>.host_wait.share" "1" Simulated None, "flit times in which the host had a message and no credit, a cycle; where the answers are the limit, requests pile up and this is not 0 by design";
    BW_BYTES "bandwidth.<mix>.bytes_per_s" "B/s" Simulated None, "payload at the clock that the configuration states";
    ENGINE_COPY "engine.copy.share" "1" Simulated min(0.85), "engine's copies, largest size of the run, slower direction: bytes a cycle as a share of the lower of the TLP stream's and the memory port's bound; judged from 256 KiB on, where start and end of a command no longer weigh";
    ENGINE_COPY_PAYLOAD "engine.copy.payload.bytes" "B" Model None, "payload of one TLP, on which the stream's bound rests (one header beat for each payload)";
    ENGINE_COPY_BOUND "engine.copy.bound.bytes_per_cycle" "B/cycle" Model None, "min(TLP stream, memory port) with that payload";
    MIGRATE_SHARE "migrate.<way>.engine.share.<size>" "1" Simulated None, "engine's copy commands of one migration, as a share of `engine.copy.bound.bytes_per_cycle`";
    MIGRATE_PAGES "migrate.<way>.pages_per_s.<size>" "pages/s" Simulated None, "4 KiB pages moved a second: device cycles of the whole migration (flush, hand-over, copy, completion, interrupt) at the clock that the configuration states";
    MIGRATE_CYCLES "migrate.<way>.cycles_per_page.<size>" "cycles" Simulated None, "device cycles of the whole migration, a page";
    MIGRATE_INTACT "migrate.intact" "1" Simulated is(1.0), "1 if every page of the file really moved there and back (residency and the engine's counters say so), no page failed, and every hash and checksum agrees; else 0";
    REGION_INTACT "migrate.region.intact" "1" Simulated is(1.0), "1 if ordinary code (sum, sort) over a plain slice of device memory gave the host's result before, while and after its pages moved; else 0";
    LOCAL_SUM "locality.sum.<place>.cycles" "cycles" Simulated None, "engine's 64-bit sum over the operand, in host memory or on the device";
    LOCAL_SUM_GAIN "locality.sum.gain" "x" Simulated None, "`locality.sum.host.cycles` / `locality.sum.device.cycles`";
    LOCAL_CHASE "locality.chase.<place>.cycles_per_hop" "cycles" Simulated None, "engine's pointer chase over random lines, in host memory or on the device";
    LOCAL_CHASE_GAIN "locality.chase.gain" "x" Simulated None, "`locality.chase.host.cycles_per_hop` / `locality.chase.device.cycles_per_hop`";
    SIM_SPEED "sim.cycles_per_s" "cycles/s" MeasuredHere min(200_000.0), "simulator under saturated traffic on one core, this program's harness included; the target is 200,000 for models made by Verilator before 5.040 and 500,000 from there";
    SIM_HARNESS "sim.harness.ratio" "x" MeasuredHere max(1.10), "time of the same cycles in this program's harness / in a bare C++ loop that drives the same pins";
}

/// A figure with its value.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// Stable id, arguments filled in.
    pub id: String,
    /// The value; none when class is "not run".
    pub value: Option<f64>,
    /// Unit of the value.
    pub unit: &'static str,
    /// How it came to be.
    pub class: Class,
    /// What it should reach.
    #[serde(serialize_with = "target_number")]
    pub target: Option<Target>,
    /// "at most", "at least" or "exactly", with a target.
    pub sense: Option<&'static str>,
    /// Whether it does; none without target or value.
    pub holds: Option<bool>,
    /// What was measured.
    pub what: String,
    /// The kind's id, to find figures of one kind.
    #[serde(skip)]
    pub kind: &'static str,
}

fn target_number<S: Serializer>(target: &Option<Target>, s: S) -> Result<S::Ok, S::Error> {
    target.map(Target::number).serialize(s)
}

/// Between a figure's description and the reason why it was not measured.
const NOT_RUN: &str = ". Not run: ";

impl Figure {
    /// Why it was not measured; empty for one that was.
    pub fn why(&self) -> &str {
        self.what.rsplit_once(NOT_RUN).map_or("", |(_, why)| why)
    }
}

/// What a run's figures are measured on: decides the class of time and cycles.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Machine {
    /// The simulator inside this program, on this machine: as each [`Kind`] says.
    #[default]
    Here,
    /// A device of this machine's kernel that says that it is a simulation.
    Simulated,
    /// A device of this machine's kernel that says nothing of the kind.
    Hardware,
}

impl Machine {
    /// The class of a figure on it.
    fn class(self, class: Class) -> Class {
        match (self, class) {
            (Machine::Simulated, Class::MeasuredHere) => Class::Emulated,
            (Machine::Hardware, Class::Simulated) => Class::Hardware,
            (_, class) => class,
        }
    }
}

/// The figures of a run, in the order they were measured.
#[derive(Debug, Default)]
pub struct Figures {
    all: Vec<Figure>,
    machine: Machine,
}

impl Figures {
    /// None yet, measured on this machine.
    pub fn on(machine: Machine) -> Figures {
        Figures {
            all: Vec::new(),
            machine,
        }
    }

    /// How figures of wall-clock time are labelled.
    pub fn time_label(&self) -> &'static str {
        self.machine.class(Class::MeasuredHere).label()
    }

    /// How the device's cycles are labelled.
    pub fn cycles_label(&self) -> &'static str {
        self.machine.class(Class::Simulated).label()
    }

    /// Notes a value; `arguments` replace the `<...>` of the id in order.
    pub fn add(&mut self, kind: &'static Kind, arguments: &[&str], value: f64) {
        self.add_judged(kind, arguments, value, kind.target);
    }

    /// As [`Figures::add`], with a target that depends on the run.
    pub fn add_judged(
        &mut self,
        kind: &'static Kind,
        arguments: &[&str],
        value: f64,
        target: Option<Target>,
    ) {
        if !value.is_finite() {
            return self.add_not_run(kind, arguments, "no finite value came out");
        }
        self.push(kind, arguments, Some(value), kind.class, target, None);
    }

    /// Notes that a figure was not measured, and why.
    pub fn add_not_run(&mut self, kind: &'static Kind, arguments: &[&str], why: &str) {
        self.push(kind, arguments, None, Class::NotRun, kind.target, Some(why));
    }

    fn push(
        &mut self,
        kind: &'static Kind,
        arguments: &[&str],
        value: Option<f64>,
        class: Class,
        target: Option<Target>,
        why: Option<&str>,
    ) {
        let class = self.machine.class(class);
        self.all.push(Figure {
            id: fill(kind.id, arguments),
            value,
            unit: kind.unit,
            class,
            target,
            sense: target.map(Target::sense),
            holds: target.zip(value).map(|(t, v)| t.holds(v)),
            what: match why {
                Some(why) => format!("{}{NOT_RUN}{why}", kind.what),
                None => kind.what.to_string(),
            },
            kind: kind.id,
        });
    }

    /// All of them.
    pub fn all(&self) -> &[Figure] {
        &self.all
    }

    /// The value under that id.
    pub fn value(&self, id: &str) -> Option<f64> {
        self.all.iter().find(|f| f.id == id)?.value
    }

    /// Argument and value of every figure of a kind that has one argument, in order.
    pub fn series(&self, kind: &'static Kind) -> Vec<(String, f64)> {
        self.series_of(kind, &[])
    }

    /// As [`Figures::series`], with the leading arguments fixed: the last one varies.
    pub fn series_of(&self, kind: &'static Kind, leading: &[&str]) -> Vec<(String, f64)> {
        let pattern = fill(kind.id, leading);
        let Some((head, rest)) = pattern.split_once('<') else {
            return Vec::new();
        };
        let tail = rest.split_once('>').map_or("", |(_, tail)| tail);
        let of_kind = self.all.iter().filter(|f| f.kind == kind.id);
        of_kind
            .filter_map(|f| {
                let argument = f.id.strip_prefix(head)?.strip_suffix(tail)?;
                Some((argument.to_string(), f.value?))
            })
            .collect()
    }

    /// Figures with a target that they miss.
    pub fn missed(&self) -> impl Iterator<Item = &Figure> {
        self.all.iter().filter(|f| f.holds == Some(false))
    }
}

/// The pattern with its first `<...>`s replaced; those without argument stay.
fn fill(pattern: &str, arguments: &[&str]) -> String {
    let mut id = String::new();
    let mut rest = pattern;
    for argument in arguments {
        let Some((before, after)) = rest.split_once('<') else {
            break;
        };
        id += before;
        id += argument;
        rest = after.split_once('>').map_or("", |(_, after)| after);
    }
    id + rest
}

/// A number for people: as many digits as help.
pub fn number(value: f64) -> String {
    let magnitude = value.abs();
    if magnitude >= 1e6 {
        return grouped(value);
    }
    let text = match magnitude {
        m if m >= 1000.0 => return grouped(value),
        m if m >= 100.0 => format!("{value:.0}"),
        m if m >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    };
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// A whole number with a thin grouping of thousands.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as they stand in ids: `4KiB`, `16MiB`, else plain bytes.
pub fn size_name(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 && b % (1 << 30) == 0 => format!("{}GiB", b >> 30),
        b if b >= 1 << 20 && b % (1 << 20) == 0 => format!("{}MiB", b >> 20),
        b if b >= 1 << 10 && b % (1 << 10) == 0 => format!("{}KiB", b >> 10),
        b => format!("{b}B"),
    }
}

/// The text of `docs/reference/figures.md`.
#[cfg(test)]
fn markdown() -> String {
    let mut text = String::from(
        "# Figures\n\n\
         Generated from `src/bench/figures.rs`; do not edit. To change it, edit the list and run\n\
         `CXLMEM_BLESS=1 cargo test -p cxlmem figures`.\n\n\
         `cxlmem bench ... --json FILE` writes one object: `figures`, an array of `{id, value, unit, class, target, sense, holds, what}`, and beside it\n\
         `seed`, `config`, `target`, `device` (null, or with `--target dev:PATH` or `serial:PORT` what the device says of itself), `quick`, `clock_hz`, `versions`, `processor` and `notes`. Ids are stable: a program may rely on them.\n\n\
         * `class` is one of `simulated` (cycles of the Verilated RTL, or those divided by the clock that the configuration states),\n\
         \x20 `synthesized` (cycles divided by the clock that place and route reached), `measured here` (wall clock of the machine that ran the benchmark), `emulated` (the same in a\n\
         \x20 machine whose device is a simulation: compare it with figures of the same run alone), `measured on hardware` (a real device's cycles), `model` (arithmetic on the protocol's rules) and `not run`\n\
         \x20 (`value` is null, and `what` ends with the reason). Wall-clock time of the simulator is never shown as a latency.\n\
         * `target` is a number or null, `sense` says how it is meant, `holds` whether the value reaches it (null without target or value).\n\
         * In ids, `<config>` is a configuration, `<set>` and `<size>` are bytes (`16KiB`, `4MiB`), `<mix>` is `read`, `write`, `mix21` or `mix11`,\n\
         \x20 `<way>` is `to_device` or `to_host`, `<copy>` is `engine` or `cpu`, `<pass>` is `read`, `write` or `copy`,\n\
         \x20 `<op>` is `fill`, `sum`, `crc`, `fetch_add` or `compare_swap`, `<place>` is `host` or `device`, `<stage>` is a stage of the pipeline.\n\n\
         | Id | Unit | Class | Target | What |\n|---|---|---|---|---|\n",
    );
    for k in CATALOGUE {
        let target = k.target.map_or(String::new(), |t| t.to_string());
        text += &format!(
            "| `{}` | {} | {} | {target} | {} |\n",
            k.id,
            k.unit,
            k.class.label(),
            k.what
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_is_fresh() {
        let path =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/figures.md");
        let fresh = markdown();
        if std::env::var_os("CXLMEM_BLESS").is_some_and(|v| v == "1") {
            std::fs::write(&path, &fresh).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(stored == fresh, "docs/reference/figures.md is stale: run CXLMEM_BLESS=1 cargo test -p cxlmem figures, and commit the result");
    }

    #[test]
    fn ids_are_unique_and_the_promised_ones_exist() {
        let ids: std::collections::BTreeSet<_> = CATALOGUE.iter().map(|k| k.id).collect();
        assert_eq!(ids.len(), CATALOGUE.len());
        for id in [
            "read.idle.cycles",
            "write.idle.cycles",
            "read.saturated.share",
            "write.saturated.share",
            "engine.copy.share",
            "sim.cycles_per_s",
            "sim.harness.ratio",
            "migrate.intact",
        ] {
            assert!(ids.contains(id), "{id}");
        }
    }

    #[test]
    fn the_machine_decides_the_class() {
        let classes = |machine| {
            let mut f = Figures::on(machine);
            f.add(&NODE_READ, &["16KiB"], 1.0);
            f.add(&NODE_MIGRATE_CYCLES, &["to_host", "4KiB"], 1.0);
            f.add_not_run(&NODE_BANDWIDTH, &["read"], "full");
            f.all().iter().map(|f| f.class.label()).collect::<Vec<_>>()
        };
        assert_eq!(
            classes(Machine::Here),
            ["measured here", "simulated", "not run"]
        );
        assert_eq!(
            classes(Machine::Simulated),
            ["emulated", "simulated", "not run"]
        );
        assert_eq!(
            classes(Machine::Hardware),
            ["measured here", "measured on hardware", "not run"]
        );
    }

    #[test]
    fn targets_are_judged() {
        let mut f = Figures::default();
        f.add(&READ_IDLE, &[], 12.0);
        f.add(&READ_IDLE, &[], 12.5);
        f.add(&READ_SHARE, &[], 0.89);
        f.add(&MIGRATE_INTACT, &[], 1.0);
        f.add(&READ_IDLE_CONFIG, &["tiny"], 30.0);
        f.add_not_run(&ENGINE_COPY, &[], "no engine in tiny");
        f.add(&WRITE_SHARE, &[], f64::NAN);
        let holds: Vec<_> = f.all().iter().map(|f| f.holds).collect();
        assert_eq!(
            holds,
            [
                Some(true),
                Some(false),
                Some(false),
                Some(true),
                None,
                None,
                None
            ]
        );
        assert_eq!(f.missed().count(), 2);
        let json = serde_json::to_value(f.all()).unwrap();
        assert_eq!(json[0]["target"], 12.0);
        assert_eq!(json[0]["sense"], "at most");
        assert_eq!(json[4]["id"], "read.idle.cycles.tiny");
        assert_eq!(json[4]["target"], serde_json::Value::Null);
        for n in [5, 6] {
            assert_eq!(json[n]["class"], "not run");
            assert_eq!(json[n]["value"], serde_json::Value::Null);
        }
        assert!(json[5]["what"]
            .as_str()
            .unwrap()
            .ends_with("no engine in tiny"));
    }

    #[test]
    fn series_vary_the_last_argument() {
        let mut f = Figures::default();
        f.add(&MIGRATE_PAGES, &["to_device", "4KiB"], 1.0);
        f.add(&MIGRATE_PAGES, &["to_host", "4KiB"], 2.0);
        f.add(&MIGRATE_PAGES, &["to_device", "16KiB"], 3.0);
        f.add_not_run(
            &MIGRATE_PAGES,
            &["to_device", "64KiB"],
            "the file is shorter",
        );
        f.add(&LOCAL_SUM, &["host"], 4.0);
        let series = f.series_of(&MIGRATE_PAGES, &["to_device"]);
        assert_eq!(
            series,
            [("4KiB".to_string(), 1.0), ("16KiB".to_string(), 3.0)]
        );
        assert_eq!(f.series(&LOCAL_SUM), [("host".to_string(), 4.0)]);
        assert_eq!(f.value("migrate.to_host.pages_per_s.4KiB"), Some(2.0));
    }

    #[test]
    fn numbers_for_people() {
        let shown: Vec<_> = [
            0.0, 0.8888, 1.5, 10.0, 12.34, 166.67, 1234.0, 1234567.0, -1500.0,
        ]
        .map(number)
        .into();
        assert_eq!(
            shown,
            [
                "0",
                "0.889",
                "1.5",
                "10",
                "12.3",
                "167",
                "1,234",
                "1,234,567",
                "-1,500"
            ]
        );
        let sizes: Vec<_> = [64, 4096, 96 << 10, 1 << 20, 256 << 20]
            .map(size_name)
            .into();
        assert_eq!(sizes, ["64B", "4KiB", "96KiB", "1MiB", "256MiB"]);
    }
}
