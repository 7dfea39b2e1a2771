//! What a board is: `boards/<name>/board.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use cxlmem_hdl::board::BoardOptions;
use cxlmem_hdl::Config;
use serde::Deserialize;

use crate::cli::usage;
use crate::target;
use crate::tools::Part as Ecp5;

/// A board.
#[derive(Clone, Debug)]
pub struct Board {
    /// Its folder's name.
    pub name: String,
    /// What the file says.
    pub data: Data,
    /// The controller.
    pub config: &'static Config,
    /// The FPGA, as the tools want it.
    pub part: Ecp5,
    /// Clock cycles in a bit of the line.
    pub divisor: u16,
}

/// The file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// One line for people.
    pub title: String,
    /// Named configuration.
    pub config: String,
    /// The FPGA.
    pub part: Part,
    /// Its oscillator.
    pub clock: Clock,
    /// The way to the host.
    pub host: Host,
    /// Holds the design in reset.
    pub button: Button,
    /// Light-emitting diodes, up to eight.
    pub leds: Leds,
    /// Memory beside the FPGA.
    pub memory: Memory,
    /// How it is loaded.
    pub loader: Loader,
    /// What a build is held to.
    pub limits: Limits,
}

/// The FPGA.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// With family, size and speed.
    pub name: String,
    /// As nextpnr names it.
    pub package: String,
    /// What the part answers when it is asked over JTAG.
    pub idcode: u32,
}

/// The oscillator, and the clock that a PLL makes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// Ball.
    pub pin: String,
    /// MHz.
    pub mhz: f64,
    /// Of the controller, MHz.
    pub core_mhz: f64,
}

/// The line to the host.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Kind: `uart`.
    pub link: String,
    /// What is at its other end.
    pub chip: String,
    /// Into the FPGA.
    pub rx: String,
    /// Out of the FPGA.
    pub tx: String,
    /// Rate.
    pub baud: u32,
    /// Longest time that the host takes to answer, µs.
    pub answer_us: u32,
}

/// A level at a pin.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Low.
    Low,
    /// High.
    High,
}

/// A push button.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Button {
    /// Ball.
    pub pin: String,
    /// Its level while pressed.
    pub pressed: Level,
}

/// Light-emitting diodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leds {
    /// Balls, diode 0 first.
    pub pins: Vec<String>,
    /// The level that lights them.
    pub lit: Level,
}

/// Memory beside the FPGA.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Its name.
    pub chip: String,
    /// Whether the design has a controller for it.
    pub used: bool,
}

/// openFPGALoader's names.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loader {
    /// Its option `--board`.
    pub board: String,
}

/// What a build is held to.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Seeds of place and route.
    pub seeds: Vec<u32>,
    /// Largest bitstream.
    pub bitstream_kib: u64,
}

/// The folder of all boards.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("boards")
}

/// Names of all boards in a folder, sorted.
///
/// # Errors
/// A folder that cannot be read.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| e.path().join("board.toml").is_file())
        .filter_map(|e| e.file_name().into_string().ok())
        .collect();
    names.sort();
    Ok(names)
}

/// A board by its name.
///
/// # Errors
/// An unknown name, with the nearest one; a file with something wrong in it.
pub fn load(folder: &Path, name: &str) -> Result<Board> {
    let all = names(folder)?;
    if !all.iter().any(|n| n == name) {
        let hint = target::nearest(name, all.iter().map(String::as_str));
        let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        usage!(
            "no board is called `{name}`{hint} There are: {}",
            all.join(", ")
        );
    }
    let file = folder.join(name).join("board.toml");
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    parse(name, &text).with_context(|| format!("in {}", file.display()))
}

/// Reads and checks a board's file.
///
/// # Errors
/// What is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Board> {
    let data: Data = toml::from_str(text)
        .context("it is not what a board's file has to be (docs/developer/adding-a-board.md)")?;
    let config = target::config(&data.config).map_err(anyhow::Error::msg)?;
    let part: Ecp5 = data.part.name.parse().map_err(anyhow::Error::msg)?;
    ensure!(
        data.host.link == "uart",
        "host.link `{}`: there is `uart`",
        data.host.link
    );
    ensure!(
        !data.leds.pins.is_empty() && data.leds.pins.len() <= 8,
        "leds.pins: one to eight"
    );
    ensure!(!data.limits.seeds.is_empty(), "limits.seeds: at least one");
    let mut users: BTreeMap<&str, String> = BTreeMap::new();
    for (signal, pin) in pins(&data) {
        if let Some(other) = users.insert(pin, signal.clone()) {
            bail!("pin {pin} is used twice: for {other} and {signal}");
        }
    }
    let divisor = cxlmem_hdl::board::divisor(core_khz(&data), data.host.baud)?;
    Ok(Board {
        name: name.to_string(),
        config,
        part,
        divisor,
        data,
    })
}

fn core_khz(data: &Data) -> u32 {
    (data.clock.core_mhz * 1000.0).round() as u32
}

/// Every signal of the board's top and its pin.
pub fn pins(data: &Data) -> Vec<(String, &str)> {
    let mut all = vec![
        ("oscillator".to_string(), data.clock.pin.as_str()),
        ("uart_rx".to_string(), &data.host.rx),
        ("uart_tx".to_string(), &data.host.tx),
        ("button".to_string(), &data.button.pin),
    ];
    let leds = data.leds.pins.iter().enumerate();
    all.extend(leds.map(|(n, pin)| (format!("leds[{n}]"), pin.as_str())));
    all
}

impl Board {
    /// What the RTL has to know.
    pub fn options(&self) -> BoardOptions {
        BoardOptions {
            config: self.config,
            clock_khz: core_khz(&self.data),
            divisor: self.divisor,
            answer_us: self.data.host.answer_us,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text() -> String {
        std::fs::read_to_string(folder().join("ulx3s-85f/board.toml")).unwrap()
    }

    fn wrong(from: &str, to: &str) -> String {
        assert!(text().contains(from), "{from}");
        format!("{:#}", parse("x", &text().replace(from, to)).unwrap_err())
    }

    #[test]
    fn every_board_is_complete() {
        let all = names(&folder()).unwrap();
        assert!(all.len() >= 2, "{all:?}");
        for name in all {
            let board = load(&folder(), &name).unwrap();
            let readme = std::fs::read_to_string(folder().join(&name).join("README.md")).unwrap();
            for part in [
                "## What it is",
                "## Build",
                "## Flash",
                "## Check",
                "## What is verified",
            ] {
                assert!(readme.contains(part), "{name}: README.md lacks `{part}`");
            }
            assert!(
                readme.contains(&format!("cxlmem board build {name}")),
                "{name}"
            );
            assert!(readme.contains(&board.data.title), "{name}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        assert!(parse("x", &text()).is_ok());
        for (from, to, said) in [
            (
                "\"M1\"",
                "\"L4\"",
                "pin L4 is used twice: for uart_rx and uart_tx",
            ),
            ("\"H3\"", "\"G2\"", "pin G2 is used twice"),
            ("\"full\"", "\"ful\"", "did you mean `full`"),
            ("LFE5U-85F-6", "LFE9-85F", "unknown part"),
            ("\"uart\"", "\"usb\"", "host.link `usb`"),
            ("3000000", "7000000", "7000000 baud cannot be made"),
            ("[1, 2]", "[]", "at least one"),
            ("idcode", "id", "unknown field"),
        ] {
            let e = wrong(from, to);
            assert!(e.contains(said), "{from} {to}: {e}");
        }
    }

    #[test]
    fn an_unknown_board_is_answered_with_the_nearest() {
        let e = load(&folder(), "ulx3s-85").unwrap_err().to_string();
        assert!(
            e.contains("did you mean `ulx3s-85f`?") && e.contains("colorlight-i9"),
            "{e}"
        );
        let e = load(&folder(), "enormous").unwrap_err().to_string();
        assert!(!e.contains("did you mean"), "{e}");
    }
}
