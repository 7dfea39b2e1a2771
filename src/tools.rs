//! Place and route with the pinned Python tools: running them with progress, and reading what they report.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// An ECP5 by Lattice's name, as the tools want it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Lattice's name without the package, for example `LFE5U-85F-6`.
    pub name: String,
    /// nextpnr's option for the die.
    pub die: String,
    /// Speed grade.
    pub speed: String,
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let wanted = || {
            format!("unknown part `{name}`: give an ECP5 such as LFE5U-85F-6 (LFE5U, LFE5UM or LFE5UM5G; 12F, 25F, 45F or 85F; speed 6, 7 or 8)")
        };
        let fields: Vec<&str> = name.split('-').collect();
        let [family, size, speed] = fields[..] else {
            return Err(wanted());
        };
        let prefix = match family {
            "LFE5U" => "",
            "LFE5UM" => "um-",
            "LFE5UM5G" => "um5g-",
            _ => return Err(wanted()),
        };
        let k = match (prefix, size) {
            ("", "12F") => "12k",
            (_, "25F") => "25k",
            (_, "45F") => "45k",
            (_, "85F") => "85k",
            _ => return Err(wanted()),
        };
        if !["6", "7", "8"].contains(&speed) {
            return Err(wanted());
        }
        Ok(Part {
            name: name.to_string(),
            die: format!("--{prefix}{k}"),
            speed: speed.to_string(),
        })
    }
}

/// Used and available of one kind of primitive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Placed.
    pub used: u64,
    /// On the part.
    pub available: u64,
}

/// Speed of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Clock {
    /// Reached, MHz.
    pub achieved_mhz: f64,
    /// Asked for, MHz.
    pub target_mhz: f64,
}

/// One critical path: where it runs and what it is made of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CriticalPath {
    /// First cell.
    pub from: String,
    /// Last cell.
    pub to: String,
    /// Whole delay, ns.
    pub ns: f64,
    /// Of it, in routing, ns.
    pub routing_ns: f64,
    /// Logic cells passed.
    pub levels: usize,
    /// Nets on the way, first to last.
    pub nets: Vec<String>,
}

/// What nextpnr's `--report` holds.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Primitives by nextpnr's names.
    pub area: BTreeMap<String, Use>,
    /// Clocks by net.
    pub clocks: BTreeMap<String, Clock>,
    /// The slowest path of each clock.
    pub critical: Vec<CriticalPath>,
}

impl Report {
    /// Reads a report.
    pub fn parse(text: &str) -> Result<Report> {
        let json: serde_json::Value =
            serde_json::from_str(text).context("nextpnr's report is not JSON")?;
        let mut report = Report::default();
        let area = json["utilization"]
            .as_object()
            .context("nextpnr's report has no `utilization`")?;
        for (name, v) in area {
            let (Some(used), Some(available)) = (v["used"].as_u64(), v["available"].as_u64())
            else {
                bail!("nextpnr's report: `utilization.{name}` has no numbers");
            };
            report.area.insert(name.clone(), Use { used, available });
        }
        let clocks = json["fmax"]
            .as_object()
            .context("nextpnr's report has no `fmax`")?;
        for (name, v) in clocks {
            let (Some(achieved_mhz), Some(target_mhz)) =
                (v["achieved"].as_f64(), v["constraint"].as_f64())
            else {
                bail!("nextpnr's report: `fmax.{name}` has no numbers");
            };
            report.clocks.insert(
                name.clone(),
                Clock {
                    achieved_mhz,
                    target_mhz,
                },
            );
        }
        for path in json["critical_paths"].as_array().into_iter().flatten() {
            report.critical.extend(critical_path(path));
        }
        Ok(report)
    }

    /// Primitives of one kind in use; a kind the part does not list is not used.
    pub fn used(&self, kind: &str) -> u64 {
        self.area.get(kind).map_or(0, |u| u.used)
    }

    /// Speed of the slowest clock, MHz; none if there is no clock.
    pub fn slowest_mhz(&self) -> Option<f64> {
        let reached = self.clocks.values().map(|c| c.achieved_mhz);
        reached.min_by(f64::total_cmp)
    }
}

/// A path between two edges of one clock; paths from and to pins are of no interest here.
fn critical_path(path: &serde_json::Value) -> Option<CriticalPath> {
    let is_clocked = |end: &str| path[end].as_str().is_some_and(|s| s.contains("edge "));
    if !is_clocked("from") || !is_clocked("to") {
        return None;
    }
    let steps = path["path"].as_array()?;
    let cell = |step: &serde_json::Value, end: &str| step[end]["cell"].as_str().map(str::to_string);
    let delay = |kind: Option<&str>| -> f64 {
        let of_kind = steps
            .iter()
            .filter(|s| kind.is_none() || s["type"].as_str() == kind);
        of_kind.filter_map(|s| s["delay"].as_f64()).sum()
    };
    Some(CriticalPath {
        from: cell(steps.first()?, "from")?,
        to: cell(steps.last()?, "to")?,
        ns: delay(None),
        routing_ns: delay(Some("routing")),
        levels: steps
            .iter()
            .filter(|s| s["type"].as_str() == Some("logic"))
            .count(),
        nets: steps
            .iter()
            .filter_map(|s| Some(s["net"].as_str()?.to_string()))
            .collect(),
    })
}

/// Runs one stage to its end, showing its name, its time and the last line of its log meanwhile.
///
/// On a terminal that is a spinner; elsewhere a line every ten seconds. Standard output and error of the tool go to `output`.
pub fn stage(name: &str, command: &mut Command, log: &Path, output: &Path) -> Result<Duration> {
    let start = Instant::now();
    let program = Path::new(command.get_program()).to_path_buf();
    let file = std::fs::File::create(output)
        .with_context(|| format!("cannot write {}", output.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(file.try_clone().context("cannot share the output file")?)
        .stderr(file)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{spinner} {prefix} {elapsed} {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    bar.set_prefix(name.to_string());
    let mut next_line = Duration::from_secs(10);
    let status = loop {
        if let Some(status) = child.try_wait().context("cannot wait for a tool")? {
            break status;
        }
        std::thread::sleep(Duration::from_millis(100));
        bar.set_message(last_line(log));
        bar.tick();
        if bar.is_hidden() && start.elapsed() >= next_line {
            eprintln!(
                "{name}: {} s, {}",
                start.elapsed().as_secs(),
                last_line(log)
            );
            next_line += Duration::from_secs(10);
        }
    };
    bar.finish_and_clear();
    if !status.success() {
        let mut text = std::fs::read_to_string(log).unwrap_or_default();
        text.push_str(&std::fs::read_to_string(output).unwrap_or_default());
        let tail = cxlmem_hdl::gates::tools::tail(&text, 12);
        bail!(
            "{name} failed: {} ended with {status}; the end of its log:\n{tail}",
            program.display()
        );
    }
    let took = start.elapsed();
    eprintln!("{name}: {:.1} s", took.as_secs_f64());
    Ok(took)
}

/// The last line with text in it, from the last 4 KiB of a file that may not exist yet.
fn last_line(log: &Path) -> String {
    let read = || -> std::io::Result<String> {
        let mut f = std::fs::File::open(log)?;
        let len = f.metadata()?.len();
        f.seek(SeekFrom::Start(len.saturating_sub(4096)))?;
        let mut bytes = Vec::new();
        f.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let line = text.lines().rev().find(|l| !l.trim().is_empty());
    line.unwrap_or("").trim().chars().take(100).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let p: Part = "LFE5U-85F-6".parse().unwrap();
        assert_eq!((p.die.as_str(), p.speed.as_str()), ("--85k", "6"));
        let p: Part = "LFE5UM5G-45F-8".parse().unwrap();
        assert_eq!((p.die.as_str(), p.speed.as_str()), ("--um5g-45k", "8"));
        for bad in [
            "",
            "LFE5U-85F",
            "LFE5U-84F-6",
            "LFE5U-85F-5",
            "iCE40UP5K",
            "LFE5UM-12F-6",
            "LFE5U-85F-6-6",
        ] {
            let e = bad.parse::<Part>().unwrap_err();
            assert!(e.contains("LFE5U-85F-6"), "{e}");
        }
    }

    #[test]
    fn report() {
        let text = r#"{
            "critical_paths": [
                {"from": "async", "to": "posedge clk", "path": [{"delay": 9.0, "from": {"cell": "p", "port": "O"}, "to": {"cell": "q", "port": "D"}, "type": "routing"}]},
                {"from": "posedge clk", "to": "posedge clk", "path": [
                    {"delay": 0.5, "from": {"cell": "a", "port": "CLK"}, "to": {"cell": "a", "port": "Q"}, "type": "clk-to-q"},
                    {"delay": 1.0, "from": {"cell": "a", "port": "Q"}, "to": {"cell": "l", "port": "A"}, "net": "a.q", "type": "routing"},
                    {"delay": 0.25, "from": {"cell": "l", "port": "A"}, "to": {"cell": "l", "port": "F"}, "type": "logic"},
                    {"delay": 0.75, "from": {"cell": "l", "port": "F"}, "to": {"cell": "b", "port": "DI"}, "type": "routing"},
                    {"delay": 0.0, "from": {"cell": "b", "port": "DI"}, "to": {"cell": "b", "port": "CLK"}, "type": "setup"}]}],
            "fmax": {"clk": {"achieved": 71.5, "constraint": 60.0}},
            "utilization": {"TRELLIS_COMB": {"available": 83640, "used": 9706}, "DP16KD": {"available": 208, "used": 17}}}"#;
        let r = Report::parse(text).unwrap();
        assert_eq!(r.used("TRELLIS_COMB"), 9706);
        assert_eq!(r.used("MULT18X18D"), 0);
        assert_eq!(r.clocks["clk"].achieved_mhz, 71.5);
        assert_eq!(
            r.critical,
            [CriticalPath {
                from: "a".into(),
                to: "b".into(),
                ns: 2.5,
                routing_ns: 1.75,
                levels: 1,
                nets: vec!["a.q".into()],
            }]
        );
        for bad in [
            "",
            "{}",
            r#"{"utilization": {"X": {}}, "fmax": {}}"#,
            r#"{"utilization": {}, "fmax": {"c": {}}}"#,
        ] {
            assert!(Report::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn failed_stage_says_what_the_tool_said() {
        let dir = tempfile::tempdir().unwrap();
        let (log, out) = (dir.path().join("log"), dir.path().join("out"));
        let mut c = Command::new("sh");
        c.arg("-c").arg(format!(
            "echo from the log > {}; echo from stderr >&2; exit 3",
            log.display()
        ));
        let e = stage("placing", &mut c, &log, &out)
            .unwrap_err()
            .to_string();
        assert!(
            e.contains("placing failed") && e.contains("from the log") && e.contains("from stderr"),
            "{e}"
        );
        let e = stage("placing", &mut Command::new("/no/such/tool"), &log, &out)
            .unwrap_err()
            .to_string();
        assert!(e.contains("/no/such/tool"), "{e}");
    }

    #[test]
    fn last_line_skips_blanks_and_missing_files() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        assert_eq!(last_line(&log), "");
        std::fs::write(&log, "one\n  two \n\n").unwrap();
        assert_eq!(last_line(&log), "two");
    }
}
