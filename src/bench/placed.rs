//! Nanoseconds at the clock that place and route reached.

use super::figures::{self, Kind};
use super::Bench;
use crate::hdl::record::{self, Row};

/// The configuration whose placement counts.
const CONFIG: &str = "full";

/// Adds `read.idle.ns` and `write.idle.ns`: cycles of `full`, measured in this run, at the recorded clock of its slowest placement. Cycles and clock cannot be traded: both
/// are of the same RTL, or the figure is not run.
pub fn idle(b: &mut Bench) {
    idle_at(b, clock_mhz(record::placed(CONFIG)));
}

fn idle_at(b: &mut Bench, clock: Result<f64, String>) {
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
fn clock_mhz(placed: Result<Row, String>) -> Result<f64, String> {
    let row = placed?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn row(stale: bool) -> Row {
        Row {
            config: CONFIG.into(),
            part: record::PART.into(),
            package: record::PACKAGE.into(),
            target_mhz: 70.0,
            verilog_sha256: String::new(),
            tools: Default::default(),
            seed: 1,
            area: Default::default(),
            harness_area: Default::default(),
            clocks: Default::default(),
            fmax_mhz: 50.0,
            seeds: Default::default(),
            stale,
        }
    }

    #[test]
    fn cycles_and_clock_are_of_one_rtl_or_the_figure_is_not_run() {
        let run = |placed: Result<Row, String>| {
            let mut b = Bench::for_test("sim");
            b.figures.add(&figures::READ_IDLE_CONFIG, &["sim"], 99.0);
            b.figures.add(&figures::READ_IDLE_CONFIG, &[CONFIG], 9.0);
            idle_at(&mut b, clock_mhz(placed));
            b.figures
        };
        let f = run(Ok(row(false)));
        assert_eq!(f.value("read.idle.ns"), Some(180.0));
        let why = |f: &figures::Figures, id: &str| {
            let found = f.all().iter().find(|f| f.id == id);
            found.map(|f| f.why().to_string()).unwrap_or_default()
        };
        assert!(why(&f, "write.idle.ns").contains("was not measured"));
        let f = run(Ok(row(true)));
        assert_eq!(f.value("read.idle.ns"), None);
        let stale = why(&f, "read.idle.ns");
        assert!(
            stale.contains("earlier RTL") && stale.contains("--record"),
            "{stale}"
        );
        assert_eq!(why(&run(Err("none".into())), "read.idle.ns"), "none");
    }
}
