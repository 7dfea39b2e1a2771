//! `cxlmem vm bench`: migration by the module, against what else moves pages in the same guest, in the same run.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::Args;
use serde::Serialize;

use super::build::Build;
use super::cache::Cache;
use super::machine::{self, Guest, Outcome};
use super::qemu::{self, Mode};
use super::space::Space;
use crate::cli;

/// What a migration may cost beside its copy, us a page, on a machine of two cores without KVM.
const MOST_OWN_US: [(&str, f64); 2] = [("in", 8.0), ("home", 18.0)];
/// Pages of the measurement that is judged: the largest that all contenders have.
const JUDGED_PAGES: [u64; 2] = [16384, 4096];

/// Loads the kernel's test_hmm on the upper range of specific-purpose memory, which is not the device's.
const COHERENT: &str = r#"#!/bin/sh
peer=
if [ -e /modules/test_hmm.ko ]; then
    top=0
    for entry in /sys/firmware/memmap/*; do
        [ "$(cat "$entry/type")" = "Soft Reserved" ] || continue
        end=$(($(cat "$entry/end") + 1))
        if [ $end -gt $top ]; then top=$end; fi
    done
    insmod /modules/test_hmm.ko spm_addr_dev0=$((top - (CXLMEM_SPM_MIB << 20))) spm_addr_dev1=$((top - (CXLMEM_SPM_MIB << 19))) && peer=test_hmm
fi
# The kernel numbers its nodes itself: the other one with memory.
mount -t debugfs none /sys/kernel/debug 2>/dev/null
node=$(sed 's/.*[-,]//' /sys/devices/system/node/has_memory)
echo 0 >/proc/sys/kernel/numa_balancing
bench $CXLMEM_QUICK cpu engine move_pages=$node $peer
"#;

/// The same range as a NUMA node by stock drivers.
const NUMA: &str = r#"#!/bin/sh
. /suites/lib.sh
numa_online || exit 1
echo 0 >/proc/sys/kernel/numa_balancing
bench $CXLMEM_QUICK numa=1
"#;

/// Arguments of `cxlmem vm bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    #[command(flatten)]
    folder: super::Folder,
    /// Memory of the guest
    #[arg(long, value_name = "MIB", default_value_t = 3072, value_parser = clap::value_parser!(u64).range(qemu::LEAST_MIB..=16_384))]
    memory_mib: u64,
    /// Kernel by major and minor number [default: the newest that is set up]
    #[arg(long, value_name = "SERIES", value_parser = super::series)]
    kernel: Option<String>,
    /// Fewer shapes and samples: a minute or two instead of about ten
    #[arg(long)]
    quick: bool,
    /// End with status 1 if a bound is not kept
    #[arg(long)]
    check: bool,
    /// Write the results as JSON; - or no FILE is standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Least, middle and 99th percentile of samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    min: f64,
    median: f64,
    p99: f64,
}

impl Spread {
    /// Of at least one sample, by nearest rank: with fewer than a hundred the 99th percentile is the largest.
    fn of(samples: &[f64]) -> Spread {
        let mut all = samples.to_vec();
        all.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            all.get((all.len() * percent).div_ceil(100).max(1) - 1)
                .copied()
                .unwrap_or(f64::NAN)
        };
        Spread {
            min: rank(0),
            median: rank(50),
            p99: rank(99),
        }
    }
}

/// One contender at one shape in one direction. Times are those of the emulated guest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// `cpu` and `engine` are the module's, `move_pages` and `test_hmm` the kernel's, `numa` is move_pages to the range as a NUMA node.
    who: String,
    /// `in` or `home`.
    direction: String,
    /// Pages moved a sample, in all.
    pages: u64,
    /// Pages a call.
    batch: u64,
    /// Threads that share them.
    threads: u64,
    /// Samples.
    samples: usize,
    /// Time a page, us: its 99th percentile is the slow end.
    us_per_page: Spread,
    /// Pages a second: `p99` is the rate that 99 of 100 samples reached, `min` the slowest.
    pages_per_s: Spread,
    /// Engine cycles a page, in RTL.
    #[serde(skip_serializing_if = "Option::is_none")]
    cycles_per_page: Option<f64>,
    /// Time without the copy, us a page.
    #[serde(skip_serializing_if = "Option::is_none")]
    own_us_per_page: Option<Spread>,
    /// Middle time of each step, us a page.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    steps_us_per_page: BTreeMap<String, f64>,
    /// Median time over that of the module's CPU copy at the same shape.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio_to_cpu: Option<f64>,
}

impl Row {
    /// Reads a line of the guest's program: `who=cpu direction=in pages=1 batch=1 threads=1 cycles=0 ns=1,2 copy=1,1 ...`.
    fn parse(line: &str) -> Result<Row> {
        let fields: BTreeMap<&str, &str> = line
            .split_whitespace()
            .filter_map(|w| w.split_once('='))
            .collect();
        let field = |name: &str| {
            let value = fields.get(name).copied();
            value.with_context(|| format!("no {name} in the guest's line `{line}`"))
        };
        let number = |name: &str| -> Result<u64> {
            let bad = || format!("{name} is no number in the guest's line `{line}`");
            field(name)?.parse().with_context(bad)
        };
        let list = |name: &str| -> Result<Vec<f64>> {
            let bad = || format!("{name} are no numbers in the guest's line `{line}`");
            let values: Result<Vec<f64>, _> = field(name)?.split(',').map(str::parse).collect();
            values.with_context(bad)
        };
        let (pages, ns, cycles) = (number("pages")?, list("ns")?, number("cycles")?);
        if pages == 0 || ns.iter().any(|t| *t <= 0.0) {
            bail!("nothing was measured in the guest's line `{line}`");
        }
        let per_page = |t: f64| t / 1000.0 / pages as f64;
        let times: Vec<f64> = ns.iter().map(|t| per_page(*t)).collect();
        let time = Spread::of(&times);
        let rate = |us: f64| 1e6 / us;
        let threads = number("threads")?;
        let mut row = Row {
            who: field("who")?.into(),
            direction: field("direction")?.into(),
            pages,
            batch: number("batch")?,
            threads,
            samples: ns.len(),
            us_per_page: time,
            pages_per_s: Spread {
                min: rate(times.iter().copied().fold(0.0, f64::max)),
                median: rate(time.median),
                p99: rate(time.p99),
            },
            cycles_per_page: (cycles > 0).then(|| cycles as f64 / pages as f64),
            own_us_per_page: None,
            steps_us_per_page: BTreeMap::new(),
            ratio_to_cpu: None,
        };
        for step in ["setup", "alloc", "copy", "link", "finalize"] {
            if !fields.contains_key(step) {
                continue;
            }
            let spent: Vec<f64> = list(step)?.iter().map(|t| per_page(*t)).collect();
            // Where threads wait for each other, the sum of their copies says nothing about the whole's time.
            if step == "copy" && threads == 1 {
                let own: Vec<f64> = times.iter().zip(&spent).map(|(t, c)| t - c).collect();
                row.own_us_per_page = Some(Spread::of(&own));
            }
            row.steps_us_per_page
                .insert(step.into(), Spread::of(&spent).median);
        }
        Ok(row)
    }

    fn is_same_shape(&self, other: &Row) -> bool {
        (&self.direction, self.pages, self.batch, self.threads)
            == (&other.direction, other.pages, other.batch, other.threads)
    }
}

/// Reads the guest's lines, and puts the ratios beside.
fn rows(output: &str) -> Result<Vec<Row>> {
    let lines = output.lines().filter_map(|l| l.strip_prefix("ROW "));
    lines.map(Row::parse).collect()
}

/// Adds to each row its ratio to the module's CPU copy.
fn compare(rows: &mut [Row]) {
    let own: Vec<Row> = rows.iter().filter(|r| r.who == "cpu").cloned().collect();
    for row in rows.iter_mut().filter(|r| r.who != "cpu") {
        let same = own.iter().find(|o| o.is_same_shape(row));
        row.ratio_to_cpu = same.map(|o| row.us_per_page.median / o.us_per_page.median);
    }
}

/// Whether a bound is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// What was compared with what.
    what: String,
    /// Measured, us a page.
    us_per_page: f64,
    /// Bound, us a page.
    most_us_per_page: f64,
    /// Whether it is.
    is_kept: bool,
}

/// Judges: the cost of our own at the largest shape that all contenders have, and the whole cost against the kernel's test_hmm at every shape.
fn judge(rows: &[Row]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for (direction, most) in MOST_OWN_US {
        let of = |who: &'static str| {
            let all = rows.iter().filter(move |r| r.who == who);
            all.filter(|r| r.direction == direction)
        };
        let mut add = |what: &str, pages: u64, us: f64, most: f64| {
            verdicts.push(Verdict {
                what: format!("{what}, {direction}, {pages} pages"),
                us_per_page: us,
                most_us_per_page: most,
                is_kept: us <= most,
            });
        };
        let judged = |r: &&Row| (r.threads, r.batch) == (1, 512) && JUDGED_PAGES.contains(&r.pages);
        if let Some(cpu) = of("cpu").filter(judged).max_by_key(|r| r.pages) {
            if let Some(own) = cpu.own_us_per_page {
                let what = "own cost without the copy";
                add(what, cpu.pages, own.median, most);
                if let Some(peer) = of("move_pages").find(|r| r.is_same_shape(cpu)) {
                    let what = format!("{what} against move_pages");
                    add(&what, cpu.pages, own.median, peer.us_per_page.median);
                }
            }
        }
        // Of all shapes the one where it is nearest to the peer's, or worst.
        let pairs = of("test_hmm").filter_map(|peer| {
            let cpu = of("cpu").find(|r| r.is_same_shape(peer))?;
            Some((cpu, peer.us_per_page.median))
        });
        let ratio = |(cpu, peer): &(&Row, f64)| cpu.us_per_page.median / peer;
        let (count, worst) = (pairs.clone().count(), pairs);
        if let Some((cpu, peer)) = worst.max_by(|a, b| ratio(a).total_cmp(&ratio(b))) {
            let what = format!(
                "whole cost with CPU copy against test_hmm, worst of {count} shapes (batch {}, threads {})",
                cpu.batch, cpu.threads
            );
            add(&what, cpu.pages, cpu.us_per_page.median, peer);
        }
    }
    verdicts
}

/// The table for people.
fn table(rows: &[Row]) -> String {
    let mut table = comfy_table::Table::new();
    table.load_preset(comfy_table::presets::UTF8_BORDERS_ONLY);
    table.set_header([
        "",
        "way",
        "KiB",
        "batch",
        "threads",
        "us a page: min",
        "median",
        "p99",
        "without copy",
        "pages/s",
        "against cpu",
        "cycles a page",
    ]);
    for r in rows {
        let maybe = |value: Option<f64>, digits: usize| {
            value.map_or(String::new(), |v| format!("{v:.digits$}"))
        };
        table.add_row([
            r.direction.clone(),
            r.who.clone(),
            (r.pages * 4).to_string(),
            r.batch.to_string(),
            r.threads.to_string(),
            format!("{:.2}", r.us_per_page.min),
            format!("{:.2}", r.us_per_page.median),
            format!("{:.2}", r.us_per_page.p99),
            maybe(r.own_us_per_page.map(|o| o.median), 2),
            format!("{:.0}", r.pages_per_s.median),
            maybe(r.ratio_to_cpu, 2),
            maybe(r.cycles_per_page, 0),
        ]);
    }
    table.to_string()
}

/// Carries out `cxlmem vm bench`.
pub fn run(args: &BenchArgs) -> Result<()> {
    cli::check_output(args.json.as_deref())?;
    let cache = Cache::new(args.folder.dir.as_deref())?;
    let series = super::kernel(&cache, args.kernel.as_deref())?;
    super::need_server(false)?;
    let space = Space::probe()?;
    super::build(&cache, &space, &series)?;
    let without_peer = {
        let _lock = cache.lock()?;
        Build::new(&cache, &space).test_hmm(&series)?
    };
    let mut all = Vec::new();
    for (name, script, load) in [("coherent", COHERENT, true), ("numa", NUMA, false)] {
        eprintln!("measuring: {name} ...");
        let mut words = vec![
            "cxlmem.run=/run.sh".to_string(),
            format!("cxlmem.series={series}"),
        ];
        words.extend(args.quick.then(|| "cxlmem.quick=quick".into()));
        words.extend((!load).then(|| "cxlmem.load=no".into()));
        let guest = Guest {
            series: &series,
            mode: Mode::Spm,
            memory_mib: args.memory_mib,
            has_peers: load,
            has_device: load,
            faults: &[],
            script,
            words,
            to_terminal: false,
            is_interactive: false,
            limit: Some(Duration::from_secs(if args.quick { 400 } else { 1800 })),
        };
        let outcome = machine::boot(&cache, &space, &guest)?;
        let rows = rows(&outcome.output)?;
        if outcome.code != Some(0) || rows.is_empty() {
            bail!("{name}: {}", trouble(&outcome));
        }
        all.extend(rows);
    }
    compare(&mut all);
    let verdicts = judge(&all);
    let is_json = cli::is_stdout(args.json.as_deref());
    cli::say!(
        is_json,
        "{}\nTimes are those of an emulated guest (TCG): only their ratios count; cycles are the RTL's.",
        table(&all)
    );
    if let Some(why) = &without_peer {
        cli::say!(is_json, "without test_hmm: {why}");
    }
    for v in &verdicts {
        let how = if v.is_kept { "kept" } else { "NOT KEPT" };
        cli::say!(
            is_json,
            "{how}: {}: {:.2} us a page, at most {:.2}",
            v.what,
            v.us_per_page,
            v.most_us_per_page
        );
    }
    if let Some(file) = &args.json {
        let value = serde_json::json!({
            "kernel": cache.kernel_version(&series),
            "time": "emulated (TCG)",
            "quick": args.quick,
            "without": without_peer,
            "rows": all,
            "verdicts": verdicts,
        });
        cli::write_json(file, &value)?;
    }
    let missed = verdicts.iter().filter(|v| !v.is_kept).count();
    if args.check && missed > 0 {
        bail!("{missed} of {} bounds are not kept", verdicts.len());
    }
    Ok(())
}

/// What went wrong in a guest.
fn trouble(outcome: &Outcome) -> String {
    let tail = |text: &str| cxlmem_hdl::gates::tools::tail(text, 8);
    let rest: Vec<&str> = outcome
        .output
        .lines()
        .filter(|l| !l.starts_with("ROW "))
        .collect();
    format!(
        "{}; status {:?}; it said:\n{}\nthe end of the kernel's log:\n{}",
        outcome
            .trouble
            .as_deref()
            .unwrap_or("the measurement failed"),
        outcome.code,
        tail(&rest.join("\n")),
        tail(&outcome.log)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: &str = "ROW who=cpu direction=in pages=4096 batch=512 threads=1 cycles=0 ns=40960000,81920000,61440000 setup=4096000,4096000,4096000 alloc=0,0,0 copy=20480000,20480000,20480000 link=0,0,0 finalize=0,0,0";

    #[test]
    fn a_line_is_times_a_page() {
        let row = Row::parse(CPU).unwrap();
        let expected = Spread {
            min: 10.0,
            median: 15.0,
            p99: 20.0,
        };
        assert_eq!((row.samples, row.us_per_page), (3, expected));
        let own = Spread {
            min: 5.0,
            median: 10.0,
            p99: 15.0,
        };
        assert_eq!(row.own_us_per_page, Some(own));
        assert_eq!(row.steps_us_per_page["setup"], 1.0);
        assert_eq!((row.pages_per_s.min, row.pages_per_s.p99), (5e4, 5e4));
        assert_eq!(row.cycles_per_page, None);
    }

    #[test]
    fn percentiles_by_nearest_rank() {
        let all: Vec<f64> = (1..=200).rev().map(f64::from).collect();
        let expected = Spread {
            min: 1.0,
            median: 100.0,
            p99: 198.0,
        };
        assert_eq!(Spread::of(&all), expected);
        let one = Spread::of(&[7.0]);
        assert_eq!((one.min, one.median, one.p99), (7.0, 7.0, 7.0));
    }

    #[test]
    fn a_line_without_a_measurement_is_an_error() {
        for bad in [
            "ROW who=cpu direction=in pages=0 batch=1 threads=1 cycles=0 ns=1",
            "ROW who=cpu direction=in pages=1 batch=1 threads=1 cycles=0 ns=0",
            "ROW who=cpu direction=in pages=1 batch=1 threads=1 cycles=0",
            "ROW who=cpu direction=in pages=x batch=1 threads=1 cycles=0 ns=1",
            "ROW who=cpu direction=in pages=1 batch=1 threads=1 cycles=0 ns=1,",
        ] {
            assert!(rows(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_are_judged_against_the_same_shape() {
        let output = format!(
            "{CPU}\nROW who=move_pages direction=in pages=4096 batch=512 threads=1 cycles=0 ns=30720000\n\
             ROW who=test_hmm direction=in pages=4096 batch=512 threads=1 cycles=0 ns=122880000\n\
             ROW who=engine direction=in pages=64 batch=64 threads=1 cycles=64000 ns=64000\n"
        );
        let mut rows = rows(&output).unwrap();
        compare(&mut rows);
        assert_eq!(rows[1].ratio_to_cpu, Some(0.5));
        assert_eq!(
            (rows[3].ratio_to_cpu, rows[3].cycles_per_page),
            (None, Some(1000.0))
        );
        let kept: Vec<(f64, f64, bool)> = judge(&rows)
            .iter()
            .map(|v| (v.us_per_page, v.most_us_per_page, v.is_kept))
            .collect();
        assert_eq!(
            kept,
            [(10.0, 8.0, false), (10.0, 7.5, false), (15.0, 30.0, true)]
        );
    }

    #[test]
    fn against_test_hmm_the_worst_shape_counts() {
        let row = |who: &str, pages: u64, threads: u64, us: u64| {
            let ns = us * pages * 1000;
            format!("ROW who={who} direction=home pages={pages} batch=8 threads={threads} cycles=0 ns={ns}\n")
        };
        let mut output = row("cpu", 64, 1, 10) + &row("test_hmm", 64, 1, 20);
        output += &(row("cpu", 64, 2, 7) + &row("test_hmm", 64, 2, 6));
        output += &(row("cpu", 1, 1, 99) + &row("move_pages", 1, 1, 1));
        let verdicts = judge(&rows(&output).unwrap());
        let seen: Vec<(f64, f64, bool)> = verdicts
            .iter()
            .map(|v| (v.us_per_page, v.most_us_per_page, v.is_kept))
            .collect();
        assert_eq!(seen, [(7.0, 6.0, false)]);
        assert!(verdicts[0]
            .what
            .contains("worst of 2 shapes (batch 8, threads 2)"));
    }
}
