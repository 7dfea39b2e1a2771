//! `bitstreams/manifest.json`: where each bitstream came from.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use flate2::Compression;
use serde::{Deserialize, Serialize};

use super::data::Board;

/// No bitstream is longer: what a damaged file may unpack to ends here.
const LONGEST: u64 = 64 << 20;

/// A bitstream.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Row {
    /// Configuration.
    pub config: String,
    /// FPGA and package.
    pub part: String,
    /// Seed of place and route.
    pub seed: u32,
    /// Versions.
    pub tools: BTreeMap<String, String>,
    /// Of the Verilog that was synthesised, shell included.
    pub verilog_sha256: String,
    /// Of the bitstream, uncompressed.
    pub bitstream_sha256: String,
    /// Its length, uncompressed.
    pub bytes: u64,
    /// Primitives in use.
    pub area: BTreeMap<String, u64>,
    /// Clocks: MHz asked for, and reached (synthesized, not measured).
    pub clocks: BTreeMap<String, (f64, f64)>,
}

impl Row {
    /// Of all clocks, MHz.
    pub fn slowest_mhz(&self) -> f64 {
        self.clocks
            .values()
            .map(|c| c.1)
            .fold(f64::INFINITY, f64::min)
    }

    /// All clocks, for people.
    pub fn clocks_reached(&self) -> String {
        let all = self.clocks.iter();
        reached(all.map(|(net, (asked, got))| (net, *asked, *got)))
    }
}

/// Clocks for people: net, MHz asked for, MHz reached.
pub fn reached<'a>(clocks: impl Iterator<Item = (&'a String, f64, f64)>) -> String {
    let all: Vec<String> = clocks
        .map(|(net, asked, got)| format!("{net} {got:.2} MHz of {asked:.2}"))
        .collect();
    all.join(", ")
}

/// Boards by name.
pub type Manifest = BTreeMap<String, Row>;

/// The folder of bitstreams.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bitstreams")
}

/// A board's bitstream: text is kept compressed.
pub fn bitstream(board: &Board) -> PathBuf {
    let packed = if board.fpga.is_text() { ".gz" } else { "" };
    let extension = board.fpga.extension();
    folder().join(format!("{}.{extension}{packed}", board.name))
}

/// Reads a bitstream, compressed or not.
///
/// # Errors
/// A file that cannot be read.
pub fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let bytes = std::fs::read(file)?;
    if file.extension() != Some("gz".as_ref()) {
        return Ok(bytes);
    }
    let mut unpacked = Vec::new();
    GzDecoder::new(&bytes[..])
        .take(LONGEST)
        .read_to_end(&mut unpacked)?;
    Ok(unpacked)
}

/// What goes into a file: compressed, if it is named so.
///
/// # Errors
/// None but those of the compressor.
pub fn packed(file: &Path, bits: &[u8]) -> std::io::Result<Vec<u8>> {
    if file.extension() != Some("gz".as_ref()) {
        return Ok(bits.to_vec());
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bits)?;
    encoder.finish()
}

/// Reads the manifest; without a file it is empty.
///
/// # Errors
/// A file that is there and cannot be read.
pub fn load() -> Result<Manifest> {
    let file = folder().join("manifest.json");
    if !file.exists() {
        return Ok(Manifest::new());
    }
    let text = std::fs::read_to_string(&file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what it has to be", file.display()))
}

/// Sets a board's row.
///
/// # Errors
/// A file that cannot be read or written.
pub fn store(board: &str, row: Row) -> Result<()> {
    let mut all = load()?;
    all.insert(board.to_string(), row);
    let file = folder().join("manifest.json");
    let text =
        serde_json::to_string_pretty(&all).context("the manifest cannot be written as JSON")?;
    std::fs::write(&file, text + "\n").with_context(|| format!("cannot write {}", file.display()))
}
