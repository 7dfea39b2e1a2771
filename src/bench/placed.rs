//! Nanoseconds at the clock that place and route reached.

use super::figures::{self, Kind};
use super::Bench;
use crate::hdl::record;

/// The configuration whose placement counts.
const CONFIG: &str = "full";

/// Adds `read.idle.ns` and `write.idle.ns`: cycles of `full`, measured in this run, at the recorded clock of its slowest placement. Cycles and clock cannot be traded: both
/// are of the same RTL, or the figure is not run.
pub fn idle(b: &mut Bench) {
    let clock = clock_mhz();
    let pairs: [(&'static Kind, &'static Kind); 2] = [
        (&figures::READ_IDLE_NS, &figures::READ_IDLE_CONFIG),
        (&figures::WRITE_IDLE_NS, &figures::WRITE_IDLE_CONFIG),
    ];
    for (ns, cycles) in pairs {
        let measured = b
            .figures
            .series(cycles)
            .into_iter()
            .find(|(config, _)| config == CONFIG);
        match (&clock, measured) {
            (Ok(mhz), Some((_, cycles))) => b.figures.add(ns, &[], cycles * 1000.0 / mhz),
            (Ok(_), None) => {
                let why = format!("configuration {CONFIG} was not measured");
                b.figures.add_not_run(ns, &[], &why);
            }
            (Err(why), _) => b.figures.add_not_run(ns, &[], why),
        }
    }
}

/// The recorded clock.
///
/// # Errors
/// Why there is none, and what to do.
fn clock_mhz() -> Result<f64, String> {
    let row = record::placed(CONFIG)?;
    if row.stale {
        let seeds: Vec<String> = row.seeds.keys().map(u32::to_string).collect();
        return Err(format!(
            "the placement of configuration {CONFIG} in hdl/synthesis.json is of an earlier RTL; `cxlmem hdl synth --config {CONFIG} --freq {} --seeds {} --record` makes one of this",
            row.target_mhz,
            seeds.join(",")
        ));
    }
    Ok(row.fmax_mhz)
}
