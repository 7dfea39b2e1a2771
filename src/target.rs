//! What `--target` names: the simulator as a transport of the driver.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use cxlmem_driver::{
    ChangedLine, HpaWindow, Intent, Limits, MsiMessage, PageHolder, Transport, TransportError,
};
use cxlmem_hdl::Config;
use cxlmem_protocol::serial::Hello;
use cxlmem_sim::coherent::AgentError;
use cxlmem_sim::home::HomeError;
use cxlmem_sim::serial::{EndCounters, LineState};
use cxlmem_sim::system::{Access, Options, System, SystemError};
use pcie_sim::config::AccessError;
use pcie_sim::host::RequestError;

use crate::cli::usage;

#[cfg(test)]
mod coherent;
pub mod serial;

/// Bytes of a line.
const LINE: usize = 64;

/// The simulator behind the driver, or a board whose host it simulates.
pub struct SimTarget {
    system: System,
    board: Option<Board>,
    #[cfg(test)]
    hooks: coherent::Hooks,
}

/// A board that stands where a model of the controller would.
struct Board {
    name: String,
    baud: u32,
    line: LineState,
    hello: Hello,
}

impl SimTarget {
    /// A board on a serial port: it is reset, and identified.
    ///
    /// # Errors
    /// A port that does not open, something that is no board, and [`SystemError`].
    pub fn board(path: &Path, baud: u32, options: Options) -> Result<SimTarget> {
        let name = path.display().to_string();
        let port = serial::PortLine::open(path, baud)?;
        // Different from the last one that was used, or the board would not be reset.
        let time = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let nonce = time.map_or(1, |t| t.subsec_micros() as u8);
        let opened = cxlmem_sim::serial::open(Box::new(port), nonce);
        let (dut, hello, line) =
            opened.with_context(|| format!("no board on {name} at {baud} baud"))?;
        let system = System::over(dut, options);
        let system = system.with_context(|| format!("the board on {name} cannot be used"))?;
        let mut target = SimTarget::of(system);
        target.board = Some(Board {
            name,
            baud,
            line,
            hello,
        });
        Ok(target)
    }

    /// The configuration.
    pub fn config(&self) -> &'static Config {
        self.system.config()
    }

    /// What the board said of itself, and the frames of its line so far; none of a simulator.
    pub fn on_line(&self) -> Option<(Hello, EndCounters)> {
        let board = self.board.as_ref()?;
        Some((board.hello, board.line.counters()))
    }

    /// The board's line, to ask how it is.
    pub fn line_state(&self) -> Option<LineState> {
        Some(self.board.as_ref()?.line.clone())
    }

    fn of(system: System) -> SimTarget {
        SimTarget {
            system,
            board: None,
            #[cfg(test)]
            hooks: coherent::Hooks::default(),
        }
    }

    /// Powers a simulated device up.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn new(config: &str, options: Options) -> Result<SimTarget, SystemError> {
        Ok(SimTarget::of(System::new(config, options)?))
    }

    /// Media ready, decoder 0 committed, link up: for a device that the driver will not open.
    ///
    /// # Errors
    /// [`SystemError`].
    pub fn bring_up(&mut self) -> Result<(), SystemError> {
        self.system.bring_up()
    }
}

/// What `--target` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The simulator, inside this program.
    Sim,
    /// A device of this machine's kernel, by its node.
    Node(PathBuf),
    /// A board on a serial port, and the line's rate, baud.
    Serial(PathBuf, u32),
}

/// Reads a target.
///
/// # Errors
/// [`crate::cli::Usage`], with the targets that there are.
pub fn parse(target: &str) -> Result<Target> {
    match target.split_once(':') {
        None if target == "sim" => Ok(Target::Sim),
        Some(("dev", "")) => usage!("target `dev:`: give the device's node too, such as `dev:/dev/cxlmem0`"),
        Some(("dev", path)) => Ok(Target::Node(path.into())),
        Some(("serial", "")) => usage!("target `serial:`: give the port too, such as `serial:/dev/ttyUSB0`"),
        Some(("serial", port)) => match port.split_once(',') {
            None => Ok(Target::Serial(port.into(), serial::BAUD)),
            Some((path, baud)) => match baud.parse::<u32>() {
                Ok(baud @ 300..) => Ok(Target::Serial(path.into(), baud)),
                _ => usage!("target `{target}`: `{baud}` is no rate; write it in baud, such as `serial:{path},{}`", serial::BAUD),
            },
        },
        _ => usage!("unknown target `{target}`: there are `sim`, `serial:PORT` for a board, and `dev:PATH` for a device of this machine's kernel"),
    }
}

/// Refuses every target but the simulator, for what needs one.
///
/// # Errors
/// As [`parse`].
pub fn check(target: &str) -> Result<()> {
    match parse(target)? {
        Target::Sim => Ok(()),
        _ => usage!("target `{target}` is not for this command: use `--target sim` here"),
    }
}

/// The configuration of that name, for clap.
pub fn config(name: &str) -> Result<&'static Config, String> {
    let known = || {
        Config::all()
            .iter()
            .map(|c| c.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let found = Config::all().iter().find(|c| c.name == name);
    found.ok_or_else(|| {
        let nearest = nearest(name, Config::all().iter().map(|c| c.name));
        let hint = nearest.map_or(String::new(), |c| format!("; did you mean `{c}`?"));
        format!(
            "no configuration is called `{name}`{hint} There are: {}",
            known()
        )
    })
}

/// The name that was perhaps meant: at most two letters are different.
pub fn nearest<'a>(name: &str, all: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let by_distance = all.map(|n| (distance(n, name), n)).min();
    by_distance.filter(|(d, _)| *d <= 2).map(|(_, n)| n)
}

/// Edit distance: insertions, deletions and replacements that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

type Answer<T> = Result<T, TransportError>;

/// A refused or unanswered access to a register or to configuration space.
fn access(operation: &'static str, address: u64, error: &AccessError) -> TransportError {
    match error {
        AccessError::Request {
            error: RequestError::Timeout { ticks },
            ..
        } => TransportError::Timeout {
            operation,
            address,
            cycles: *ticks,
        },
        AccessError::Request { error, .. } => TransportError::Completion {
            operation,
            address,
            status: error.to_string(),
        },
        other => TransportError::Other(format!("{operation}: {other}")),
    }
}

/// What a failure is due to, where it is the line's.
fn blame(board: &Option<Board>, error: TransportError) -> TransportError {
    match board.as_ref().and_then(|b| Some((b, b.line.error()?))) {
        Some((board, why)) => TransportError::Gone {
            reason: format!("{}: {why}", board.name),
        },
        None => error,
    }
}

/// A failed line operation or DMA access.
fn failed(operation: &'static str, address: u64, bytes: u64, error: SystemError) -> TransportError {
    match error {
        SystemError::NoMemory(address) => TransportError::NoMemory { address },
        SystemError::Line(HomeError::Timeout { after, .. }) => TransportError::Timeout {
            operation,
            address,
            cycles: after,
        },
        SystemError::Coherent(AgentError::Timeout { after, .. }) => TransportError::Timeout {
            operation,
            address,
            cycles: after,
        },
        SystemError::OutOfDmaMemory(bytes) => TransportError::OutOfDmaMemory { bytes },
        SystemError::DmaAddress { .. } => TransportError::Address {
            operation,
            address,
            bytes,
        },
        SystemError::Access(error) => access(operation, address, &error),
        other => TransportError::Other(format!("{operation} at {address:#x}: {other}")),
    }
}

fn right(intent: Intent) -> Access {
    match intent {
        Intent::Shared => Access::Shared,
        Intent::Exclusive => Access::Exclusive,
    }
}

impl Transport for SimTarget {
    fn describe(&self) -> String {
        if let Some(Board { name, baud, .. }) = &self.board {
            let config = self.system.config().name;
            return format!("board on {name}, configuration {config}, {baud} baud");
        }
        format!(
            "simulator, configuration {}, seed {}",
            self.system.config().name,
            self.system.options().seed
        )
    }

    fn config_read32(&mut self, offset: u16) -> Answer<u32> {
        self.system
            .config_read32(offset)
            .map_err(|e| blame(&self.board, access("configuration read", offset.into(), &e)))
    }

    fn config_write32(&mut self, offset: u16, value: u32) -> Answer<()> {
        self.system.config_write32(offset, value).map_err(|e| {
            blame(
                &self.board,
                access("configuration write", offset.into(), &e),
            )
        })
    }

    fn mmio_read32(&mut self, offset: u32) -> Answer<u32> {
        self.system
            .mmio_read32(offset)
            .map_err(|e| blame(&self.board, access("register read", offset.into(), &e)))
    }

    fn mmio_write32(&mut self, offset: u32, value: u32) -> Answer<()> {
        self.system
            .mmio_write32(offset, value)
            .map_err(|e| blame(&self.board, access("register write", offset.into(), &e)))
    }

    fn dma_alloc(&mut self, bytes: usize, _align: usize) -> Answer<u64> {
        // Every allocation is whole pages, the largest alignment that can be asked for.
        self.system
            .dma_alloc(bytes)
            .map_err(|e| blame(&self.board, failed("DMA allocation", 0, bytes as u64, e)))
    }

    fn dma_free(&mut self, bus: u64, bytes: usize) {
        // The trait has no way to report a range that was never given out; nothing is freed then.
        let _ = self.system.dma_free(bus, bytes);
    }

    fn dma_read(&mut self, bus: u64, out: &mut [u8]) -> Answer<()> {
        let bytes = out.len() as u64;
        self.system
            .dma_read(bus, out)
            .map_err(|e| blame(&self.board, failed("DMA memory read", bus, bytes, e)))
    }

    fn dma_write(&mut self, bus: u64, data: &[u8]) -> Answer<()> {
        self.system.dma_write(bus, data).map_err(|e| {
            blame(
                &self.board,
                failed("DMA memory write", bus, data.len() as u64, e),
            )
        })
    }

    fn hdm_window(&mut self) -> Answer<HpaWindow> {
        let (base, size) = self.system.hdm_window();
        Ok(HpaWindow { base, size })
    }

    fn line_read(&mut self, hpa: u64, intent: Intent, line: &mut [u8; LINE]) -> Answer<bool> {
        let result = self.system.read_line(hpa, right(intent));
        let (data, poison) =
            result.map_err(|e| blame(&self.board, failed("line read", hpa, LINE as u64, e)))?;
        *line = data;
        Ok(poison)
    }

    fn line_write(&mut self, hpa: u64, line: &[u8; LINE]) -> Answer<()> {
        self.system
            .write_line(hpa, line)
            .map_err(|e| blame(&self.board, failed("line write", hpa, LINE as u64, e)))
    }

    fn line_flush(&mut self, hpa: u64, bytes: u64) -> Answer<()> {
        self.system
            .flush(hpa, bytes)
            .map_err(|e| blame(&self.board, failed("line flush", hpa, bytes, e)))
    }

    fn lines_read(&mut self, hpa: u64, intent: Intent, lines: &mut [[u8; LINE]]) -> Answer<u64> {
        let bytes = (lines.len() * LINE) as u64;
        self.system
            .read_lines(hpa, right(intent), lines)
            .map_err(|e| blame(&self.board, failed("line read", hpa, bytes, e)))
    }

    fn device_coherent(&mut self, pages: Arc<dyn PageHolder>) -> Answer<()> {
        #[cfg(test)]
        let pages = self.hooks.around(pages);
        let recall = move |hpa| pages.recall(hpa);
        self.system.use_coherent_host(Some(Box::new(recall)));
        Ok(())
    }

    fn lines_return(&mut self, lines: &[ChangedLine]) -> Answer<()> {
        let (address, bytes) = (lines.first().map_or(0, |l| l.0), lines.len() * LINE);
        let result = if self.system.has_coherent_host() {
            self.system.return_lines(lines)
        } else {
            lines
                .iter()
                .try_for_each(|(hpa, line)| self.system.write_line(*hpa, line))
        };
        result.map_err(|e| {
            blame(
                &self.board,
                failed("return of lines", address, bytes as u64, e),
            )
        })
    }

    fn irq_message(&mut self, vector: u16) -> Answer<Option<MsiMessage>> {
        let (address, data) = self.system.irq_message(vector);
        Ok(Some(MsiMessage { address, data }))
    }

    fn wait_irq(&mut self, vector: u16, budget: u64) -> Answer<bool> {
        Ok(self.system.wait_irq(vector, budget))
    }

    fn now_cycles(&mut self) -> Answer<u64> {
        #[cfg(test)]
        self.hooks.run(&mut self.system);
        Ok(self.system.now())
    }

    fn clock_hz(&self) -> u64 {
        match &self.board {
            Some(board) => serial::cycles_per_second(board.baud),
            None => self.system.clock_hz(),
        }
    }

    fn limits(&self) -> Option<Limits> {
        self.board
            .as_ref()
            .map(|board| Limits::line(serial::cycles_per_second(board.baud)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_configurations_name_the_nearest() {
        assert_eq!(config("full").unwrap().name, "full");
        let e = config("smal").unwrap_err();
        assert!(
            e.contains("`smal`") && e.contains("did you mean `small`?") && e.contains("sim-ext"),
            "{e}"
        );
        assert!(!config("enormous").unwrap_err().contains("did you mean"));
    }

    #[test]
    fn targets_are_read_and_others_refused() {
        check("sim").unwrap();
        assert_eq!(
            parse("dev:/dev/cxlmem0").unwrap(),
            Target::Node("/dev/cxlmem0".into())
        );
        assert_eq!(
            parse("serial:/dev/ttyUSB1,115200").unwrap(),
            Target::Serial("/dev/ttyUSB1".into(), 115_200)
        );
        assert_eq!(
            parse("serial:/dev/ttyUSB1").unwrap(),
            Target::Serial("/dev/ttyUSB1".into(), serial::BAUD)
        );
        assert!(parse("dev:")
            .unwrap_err()
            .to_string()
            .contains("dev:/dev/cxlmem0"));
        for bad in [
            "serial:/dev/ttyUSB0,fast",
            "serial:",
            "dev:/dev/cxlmem0",
            "sim:2",
            "",
            "moon",
        ] {
            let e = check(bad).unwrap_err().to_string();
            assert!(
                e.contains("`sim`") || e.contains("--target sim") || e.contains("serial:"),
                "{e}"
            );
        }
    }

    #[test]
    fn distances() {
        for (a, b, d) in [
            ("", "", 0),
            ("sim", "sim", 0),
            ("sim", "", 3),
            ("", "ab", 2),
            ("small", "smal", 1),
            ("full", "fool", 2),
            ("tiny", "tinny", 1),
        ] {
            assert_eq!(distance(a, b), d, "{a} {b}");
        }
    }
}
