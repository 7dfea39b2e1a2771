//! What a board is: `boards/<name>/board.toml`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use cxlmem_hdl::board::BoardOptions;
use cxlmem_hdl::config::{BOARD_CONFIGS, CONFIGS};
use cxlmem_hdl::memory::sdram::{SdramChip, CHIPS};
use cxlmem_hdl::Config;
use serde::Deserialize;

use super::fpga::Fpga;
use crate::cli::usage;
use crate::target;

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
    pub fpga: Fpga,
    /// Clock cycles in a bit of the line.
    pub divisor: u16,
    /// The device's memory, or `None` for block RAM.
    pub sdram: Option<&'static SdramChip>,
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
    /// Where it is connected, if it is the device's memory; else that is block RAM.
    pub pins: Option<SdramPins>,
    /// It is in the FPGA's package and has no pins, and it is the device's memory.
    #[serde(default)]
    pub in_package: bool,
}

/// Balls of an SDRAM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SdramPins {
    /// Clock.
    pub clk: String,
    /// Clock enable.
    pub cke: String,
    /// Chip select.
    pub cs_n: String,
    /// Row address strobe.
    pub ras_n: String,
    /// Column address strobe.
    pub cas_n: String,
    /// Write enable.
    pub we_n: String,
    /// Bank, bit 0 first.
    pub ba: Vec<String>,
    /// Address, bit 0 first.
    pub a: Vec<String>,
    /// Masks of bytes: the device writes bytes, so that a board which ties them low cannot use its memory.
    pub dqm: Vec<String>,
    /// Data, bit 0 first.
    pub dq: Vec<String>,
}

impl SdramPins {
    /// Signals that are one pin each.
    fn single(&self) -> [(&'static str, &str); 6] {
        [
            ("sdram_clk", &self.clk),
            ("sdram_cke", &self.cke),
            ("sdram_cs_n", &self.cs_n),
            ("sdram_ras_n", &self.ras_n),
            ("sdram_cas_n", &self.cas_n),
            ("sdram_we_n", &self.we_n),
        ]
    }

    /// Signals of several pins.
    fn wide(&self) -> [(&'static str, &[String]); 4] {
        [
            ("sdram_ba", &self.ba),
            ("sdram_a", &self.a),
            ("sdram_dqm", &self.dqm),
            ("sdram_dq", &self.dq),
        ]
    }

    /// Pins that the chip lacks, or that it has besides.
    fn check(&self, chip: &SdramChip) -> Result<()> {
        let width = chip.width as usize;
        let want = [2, chip.row_bits as usize, width / 8, width];
        for ((signal, pins), want) in self.wide().into_iter().zip(want) {
            ensure!(
                pins.len() == want,
                "memory.pins: {} pins of {signal}, and {} has {want}",
                pins.len(),
                chip.name
            );
        }
        Ok(())
    }
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
    let config = configuration(&data.config)?;
    let fpga: Fpga = data.part.name.parse()?;
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
    let memory = &data.memory;
    ensure!(
        !(memory.in_package && memory.pins.is_some()),
        "memory.in_package: it has no memory.pins then"
    );
    ensure!(
        !memory.in_package || matches!(fpga, Fpga::Gowin(_)),
        "memory.in_package: {} has none",
        data.part.name
    );
    let mut sdram = None;
    if memory.in_package || memory.pins.is_some() {
        let known: Vec<&str> = CHIPS.iter().map(|c| c.name).collect();
        let chip = SdramChip::by_name(&data.memory.chip).with_context(|| {
            format!(
                "memory.chip `{}`: there is no controller for it; there is one for {}",
                data.memory.chip,
                known.join(", ")
            )
        })?;
        if let Some(pins) = &memory.pins {
            pins.check(chip)?;
        }
        sdram = Some(chip);
    }
    let board = Board {
        name: name.to_string(),
        config,
        fpga,
        divisor,
        sdram,
        data,
    };
    board.options().memory()?;
    Ok(board)
}

/// A configuration by its name, those of boards included.
fn configuration(name: &str) -> Result<&'static Config> {
    Config::by_name(name).with_context(|| {
        let all = || CONFIGS.iter().chain(BOARD_CONFIGS).map(|c| c.name);
        let hint = target::nearest(name, all());
        let hint = hint.map_or(String::new(), |n| format!("; did you mean `{n}`?"));
        let all: Vec<&str> = all().collect();
        format!(
            "no configuration is called `{name}`{hint} There are: {}",
            all.join(", ")
        )
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
    for m in data.memory.pins.iter() {
        all.extend(m.single().map(|(s, pin)| (s.to_string(), pin)));
        for (signal, pins) in m.wide() {
            let pins = pins.iter().enumerate();
            all.extend(pins.map(|(n, pin)| (format!("{signal}[{n}]"), pin.as_str())));
        }
    }
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
            sdram: self.sdram,
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
            ("\"sdram-32m\"", "\"ful\"", "did you mean `full`"),
            ("\"sdram-32m\"", "\"sdram-32\"", "did you mean `sdram-32m`"),
            ("\"sdram-32m\"", "\"full\"", "full has block RAM"),
            ("[memory.pins]", "[other]", "unknown field `other`"),
            (
                "MT48LC16M16",
                "MT48",
                "there is one for MT48LC16M16, M12L64322A",
            ),
            (
                "MT48LC16M16",
                "M12L64322A",
                "13 pins of sdram_a, and M12L64322A has 11",
            ),
            (
                "\"U19\", ",
                "",
                "1 pins of sdram_dqm, and MT48LC16M16 has 2",
            ),
            (
                "\"J18\"",
                "\"F20\"",
                "pin F20 is used twice: for sdram_cke and sdram_dq[14]",
            ),
            ("core_mhz = 50.0", "core_mhz = 150.0", "at most 133000 kHz"),
            (
                "[memory.pins]",
                "in_package = true\n[memory.pins]",
                "has no memory.pins then",
            ),
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
