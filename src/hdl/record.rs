//! `hdl/synthesis.json`: the last placement of each configuration, committed, and what is shown of it.
//!
//! A row names the RTL it is of by the hash of its Verilog. When the RTL changes, the row stays, marked stale wherever it is shown, until
//! `cxlmem hdl synth --record` replaces it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use cxlmem_hdl::Config;
use serde::{Deserialize, Serialize};

use super::emit::sha256;

/// The part of every recorded placement: figures of different parts must not stand side by side.
pub const PART: &str = "LFE5U-85F-6";
/// The package of every recorded placement.
pub const PACKAGE: &str = "CABGA381";

/// The record as it was when this command was built, beside the RTL that was built in.
const TEXT: &str = include_str!("../../hdl/synthesis.json");

/// The placement of one configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Configuration.
    pub config: String,
    /// Part, without package.
    pub part: String,
    /// Package.
    pub package: String,
    /// Clock that the placer was asked for, MHz.
    pub target_mhz: f64,
    /// Hash of the Verilog that was placed.
    pub verilog_sha256: String,
    /// Versions of the tools.
    pub tools: BTreeMap<String, String>,
    /// The slowest of the seeds: `area`, `clocks` and `fmax_mhz` are its.
    pub seed: u32,
    /// Primitives in use by nextpnr's names, the harness among them.
    pub area: BTreeMap<String, u64>,
    /// Of `area`, what the harness alone was synthesised to.
    pub harness_area: BTreeMap<String, u64>,
    /// Clocks by net, MHz.
    pub clocks: BTreeMap<String, f64>,
    /// The slowest clock, MHz.
    pub fmax_mhz: f64,
    /// The slowest clock that each seed reached, MHz.
    pub seeds: BTreeMap<u32, f64>,
    /// Whether the RTL has changed since: its Verilog has another hash now. Not written; [`placed`] works it out.
    #[serde(skip)]
    pub stale: bool,
}

/// The recorded placement of a configuration.
///
/// # Errors
/// There is none, or the record cannot be read: a text that says what to do.
pub fn placed(config: &str) -> Result<Row, String> {
    let missing = || {
        format!("no placement of configuration {config} is recorded; `cxlmem hdl synth --config {config} --seeds 1,2,3 --record` makes one")
    };
    let rows = parse(TEXT).map_err(|e| format!("hdl/synthesis.json: {e:#}"))?;
    let mut row = rows
        .into_iter()
        .find(|r| r.config == config)
        .ok_or_else(missing)?;
    let known = Config::by_name(config).ok_or_else(missing)?;
    let verilog = cxlmem_hdl::emit(known).map_err(|e| e.to_string())?;
    row.stale = row.verilog_sha256 != sha256(&verilog);
    Ok(row)
}

/// Where the record is written: the checkout that this command was built from.
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("hdl/synthesis.json")
}

/// The rows on disk.
pub fn load(file: &Path) -> Result<Vec<Row>> {
    let text = std::fs::read_to_string(file).with_context(|| {
        format!(
            "cannot read {}: --record needs the checkout that this command was built from",
            file.display()
        )
    })?;
    parse(&text).with_context(|| format!("cannot read {}", file.display()))
}

/// Puts a row in the place of its configuration's old one; the file is whole at any time.
pub fn store(file: &Path, row: Row) -> Result<()> {
    let rows = with(load(file)?, row);
    let text = serde_json::to_string_pretty(&rows).context("cannot print JSON")? + "\n";
    let new = file.with_extension("json.new");
    std::fs::write(&new, text).with_context(|| format!("cannot write {}", new.display()))?;
    std::fs::rename(&new, file).with_context(|| format!("cannot write {}", file.display()))
}

fn with(mut rows: Vec<Row>, row: Row) -> Vec<Row> {
    rows.retain(|r| r.config != row.config);
    rows.push(row);
    rows.sort_by(|a, b| a.config.cmp(&b.config));
    rows
}

fn parse(text: &str) -> Result<Vec<Row>> {
    let rows: Vec<Row> = serde_json::from_str(text).context("it is not an array of rows")?;
    if !rows.windows(2).all(|w| w[0].config < w[1].config) {
        bail!("its rows are not sorted by configuration, one for each");
    }
    for r in &rows {
        let slowest = r.seeds.values().copied().fold(f64::INFINITY, f64::min);
        if r.seeds.get(&r.seed) != Some(&r.fmax_mhz) || slowest != r.fmax_mhz {
            bail!(
                "configuration {}: fmax_mhz {} is not that of its slowest seed ({slowest})",
                r.config,
                r.fmax_mhz
            );
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(config: &str, mhz: f64) -> Row {
        Row {
            config: config.into(),
            part: PART.into(),
            package: PACKAGE.into(),
            target_mhz: 70.0,
            verilog_sha256: "00".into(),
            tools: BTreeMap::new(),
            seed: 2,
            area: [("TRELLIS_COMB".to_string(), 12345)].into(),
            harness_area: BTreeMap::new(),
            clocks: [("clk".to_string(), mhz)].into(),
            fmax_mhz: mhz,
            seeds: [(1, mhz + 3.0), (2, mhz)].into(),
            stale: false,
        }
    }

    #[test]
    fn rows_replace_their_own_and_stay_sorted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("synthesis.json");
        std::fs::write(&file, "[]\n").unwrap();
        for r in [row("tiny", 70.0), row("full", 60.0), row("tiny", 71.5)] {
            store(&file, r).unwrap();
        }
        assert_eq!(load(&file).unwrap(), [row("full", 60.0), row("tiny", 71.5)]);
        std::fs::write(&file, "{}").unwrap();
        let e = store(&file, row("full", 1.0)).unwrap_err();
        assert!(format!("{e:#}").contains("synthesis.json"), "{e:#}");
    }

    #[test]
    fn the_figure_is_the_slowest_seed() {
        let mut better = row("full", 60.0);
        (better.seed, better.fmax_mhz) = (1, 63.0);
        let text = serde_json::to_string(&[better]).unwrap();
        assert!(parse(&text)
            .unwrap_err()
            .to_string()
            .contains("slowest seed (60)"));
    }

    #[test]
    fn the_committed_record_is_readable_and_of_one_part() {
        for r in parse(TEXT).unwrap() {
            assert_eq!((r.part.as_str(), r.package.as_str()), (PART, PACKAGE));
            assert_eq!(placed(&r.config).unwrap().config, r.config);
        }
        assert!(placed("huge").unwrap_err().contains("--record"));
    }

    const BEGIN: &str = "<!-- placements: generated from hdl/synthesis.json -->\n";
    const END: &str = "<!-- end of placements -->";

    /// The README's table of placements.
    fn table(placed: impl Fn(&str) -> Result<Row, String>) -> String {
        let mut t = format!("| Configuration | Area, {PART} (TRELLIS_COMB / FF / DP16KD) | Of it the pin harness | Placed Fmax | RTL |\n|---|---|---|---|---|\n");
        for c in Config::all() {
            let Ok(r) = placed(c.name) else {
                let why = match super::super::is_simulation_only(c) {
                    true => "has none: simulation only",
                    false => "not run",
                };
                t += &format!("| `{}` | {why} | | {why} | |\n", c.name);
                continue;
            };
            let area = |of: &BTreeMap<String, u64>| {
                ["TRELLIS_COMB", "TRELLIS_FF", "DP16KD"]
                    .map(|kind| thousands(of.get(kind).copied().unwrap_or(0)))
                    .join(" / ")
            };
            let seeds: Vec<String> = r.seeds.keys().map(u32::to_string).collect();
            t += &format!(
                "| `{}` | {} | {} | {:.1} MHz, {} {} | {} |\n",
                c.name,
                area(&r.area),
                area(&r.harness_area),
                // Cut, not rounded: a figure shown is one that was reached.
                (r.fmax_mhz * 10.0).floor() / 10.0,
                if seeds.len() == 1 {
                    "seed"
                } else {
                    "slowest of seeds"
                },
                seeds.join(", "),
                if r.stale {
                    "**an earlier one**"
                } else {
                    "this one"
                },
            );
        }
        t
    }

    fn thousands(n: u64) -> String {
        match n {
            0..1000 => n.to_string(),
            _ => format!("{},{:03}", thousands(n / 1000), n % 1000),
        }
    }

    #[test]
    fn table_shows_what_is_stale_and_what_is_missing() {
        let t = table(|c| match c {
            "full" => Ok(row("full", 62.59)),
            "tiny" => Ok(Row {
                stale: true,
                ..row("tiny", 70.0)
            }),
            _ => Err(String::new()),
        });
        for line in [
            "| `full` | 12,345 / 0 / 0 | 0 / 0 / 0 | 62.5 MHz, slowest of seeds 1, 2 | this one |",
            "| `tiny` | 12,345 / 0 / 0 | 0 / 0 / 0 | 70.0 MHz, slowest of seeds 1, 2 | **an earlier one** |",
            "| `small` | not run | | not run | |",
            "| `sim` | has none: simulation only | | has none: simulation only | |",
        ] {
            assert!(t.contains(&format!("{line}\n")), "{t}");
        }
    }

    /// `CXLMEM_BLESS=1` writes the table; a placement that an RTL change left behind stays in it, marked.
    #[test]
    fn readme_shows_the_record() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = std::fs::read_to_string(&file).unwrap();
        let (head, rest) = readme.split_once(BEGIN).expect("README.md: no placements");
        let (old, tail) = rest
            .split_once(END)
            .expect("README.md: no end of placements");
        let new = table(placed);
        if std::env::var_os("CXLMEM_BLESS").is_some() {
            std::fs::write(&file, format!("{head}{BEGIN}{new}{END}{tail}")).unwrap();
        } else {
            assert!(old == new, "README.md: the table of placements is not that of hdl/synthesis.json and the RTL; run `CXLMEM_BLESS=1 cargo test -p cxlmem readme`. It should be\n{new}");
        }
    }
}
