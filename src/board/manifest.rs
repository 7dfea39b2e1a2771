//! `bitstreams/manifest.json`: where each bitstream came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

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
    /// Of the file.
    pub bitstream_sha256: String,
    /// Its length.
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
}

/// Boards by name.
pub type Manifest = BTreeMap<String, Row>;

/// The folder of bitstreams.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("bitstreams")
}

/// A board's bitstream.
pub fn bitstream(board: &str) -> PathBuf {
    folder().join(format!("{board}.bit"))
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
