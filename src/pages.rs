//! `cxlmem pages`: where the pages of a process are.

mod frames;

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use comfy_table::{presets, CellAlignment, Table};
use cxlmem_driver::devfile::{self, DevFile};
use serde_json::{json, Map, Value};

use crate::bench::progress::{Bar, Progress};
use crate::cli;
use frames::{mappings, Count, Counter, Hidden, Mapping, Nodes, Place, Range, PAGE};

const EXAMPLES: &str = "\
Examples:
  cxlmem pages 1234                       where the pages of process 1234 are, mapping by mapping
  cxlmem pages 1234 --all                 mappings without any page too
  cxlmem pages 1234 --json -              for a program
  cxlmem vm run -- sh -c 'cxlmem pages $$'

Needs root, and a device with the driver's module (cxlmem vm run has both). It looks and moves nothing: pages migrate by calls of
the process they belong to, because the kernel gives modules no way to another one's memory. What it shows is a moment's picture.";

/// How long it may take without showing how far it is.
const PATIENCE: Duration = Duration::from_secs(2);
/// Characters of the bar that shows a share.
const BAR: u64 = 10;

/// Arguments of `cxlmem pages`.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Process by its number
    #[arg(value_name = "PID", value_parser = clap::value_parser!(u32).range(1..))]
    pid: u32,
    /// Show mappings without any page too
    #[arg(long)]
    all: bool,
    /// For programs: one object; - or no FILE is standard output
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "-")]
    json: Option<PathBuf>,
}

/// Carries out `cxlmem pages`.
pub fn run(args: &Args) -> Result<()> {
    cli::check_output(args.json.as_deref())?;
    let pid = args.pid;
    let process = Process::open(pid)?;
    let devices = devices()?;
    let nodes = Nodes::of_system();
    let (counts, total) = process.count(&devices, &nodes)?;
    if let Some(file) = &args.json {
        cli::write_json(file, &as_json(&process, &devices, &counts, &total))?;
        if cli::is_stdout(args.json.as_deref()) {
            return Ok(());
        }
    }
    let shown: Vec<_> = counts
        .iter()
        .filter(|(_, c)| args.all || c.present() + c.swapped > 0)
        .collect();
    if !shown.is_empty() {
        println!("{}", table(&shown, &total, &devices));
    }
    println!("{}", summary(&process, &devices, &total));
    Ok(())
}

/// A process that is looked at.
struct Process {
    pid: u32,
    name: String,
    mappings: Vec<Mapping>,
    pagemap: File,
}

impl Process {
    fn open(pid: u32) -> Result<Process> {
        let refused = |e: std::io::Error, what: &str| match (e.kind(), e.raw_os_error()) {
            (ErrorKind::NotFound, _) | (_, Some(libc::ESRCH)) => {
                anyhow::anyhow!("there is no process {pid}: `ps` lists those that are there")
            }
            (ErrorKind::PermissionDenied, _) => {
                anyhow::anyhow!("this user may not look at process {pid}: run as root")
            }
            _ => anyhow::Error::new(e).context(format!("cannot read /proc/{pid}/{what}")),
        };
        let read = |what: &str| {
            std::fs::read_to_string(format!("/proc/{pid}/{what}")).map_err(|e| refused(e, what))
        };
        let name = read("comm")?.trim_end().to_string();
        let mappings = mappings(&read("maps")?)?;
        if mappings.is_empty() {
            bail!("process {pid} ({name}) has no memory of its own: it is a thread of the kernel, or has ended");
        }
        let pagemap =
            File::open(format!("/proc/{pid}/pagemap")).map_err(|e| refused(e, "pagemap"))?;
        Ok(Process {
            pid,
            name,
            mappings,
            pagemap,
        })
    }

    /// Counts of each mapping, and of all.
    fn count<'a>(
        &'a self,
        devices: &[Range],
        nodes: &Nodes,
    ) -> Result<(Vec<(&'a Mapping, Count)>, Count)> {
        let pagemap = self.pagemap.try_clone().context("cannot share a file")?;
        let mut counter = Counter::new(pagemap, devices, nodes);
        let (start, mut behind, mut bar) = (Instant::now(), 0, None::<Bar>);
        let pages = self.mappings.iter().map(Mapping::pages).sum();
        let (mut all, mut total) = (Vec::new(), Count::default());
        for mapping in &self.mappings {
            let step = |n| {
                behind += n;
                if start.elapsed() > PATIENCE {
                    let bar = bar.get_or_insert_with(|| {
                        let bar = Progress::new(false)
                            .bar(pages, format!("pages of process {}", self.pid));
                        bar.add(behind - n);
                        bar
                    });
                    bar.add(n);
                }
            };
            let count = counter
                .count(mapping, step)
                .map_err(|e| match e.is::<Hidden>() {
                    true => e,
                    false => e.context(format!("cannot look at process {}", self.pid)),
                })?;
            total.add(&count);
            all.push((mapping, count));
        }
        Ok((all, total))
    }
}

/// The memory of every device that the module is bound to.
fn devices() -> Result<Vec<Range>> {
    let nodes = devfile::nodes().context("cannot find devices")?;
    if nodes.is_empty() {
        bail!("no cxlmem device is there: load the driver's module (insmod cxlmem.ko), or use a guest that has device and module (cxlmem vm run)");
    }
    let mut all = Vec::new();
    for path in nodes {
        let name = path
            .file_name()
            .map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        // Open no longer than this takes: an open node keeps the module.
        let info = DevFile::open(&path)?.info().clone();
        all.push(Range {
            name,
            base: info.base,
            bytes: info.bytes,
        });
    }
    Ok(all)
}

/// Every place that occurs, devices first and always.
fn places(total: &Count, devices: &[Range]) -> Vec<(Place, String)> {
    let mut all: Vec<_> = devices
        .iter()
        .enumerate()
        .map(|(n, d)| (Place::Device(n), d.name.clone()))
        .collect();
    for place in total.places.keys() {
        match place {
            Place::Device(_) => {}
            Place::Node(n) => all.push((*place, format!("node{n}"))),
            Place::Elsewhere => all.push((*place, "elsewhere".into())),
        }
    }
    all
}

/// A share as a bar of blocks; what is not nothing shows.
fn bar(part: u64, whole: u64) -> String {
    let blocks = match whole {
        0 => 0,
        _ => (u128::from(part) * u128::from(BAR)).div_ceil(u128::from(whole)) as usize,
    };
    "█".repeat(blocks) + &"·".repeat(BAR as usize - blocks.min(BAR as usize))
}

fn table(rows: &[&(&Mapping, Count)], total: &Count, devices: &[Range]) -> Table {
    let places = places(total, devices);
    let mut table = Table::new();
    table.load_preset(presets::UTF8_BORDERS_ONLY);
    let mut head = vec![
        "addresses".to_string(),
        "access".into(),
        "pages".into(),
        "present".into(),
    ];
    head.extend(places.iter().map(|(_, name)| name.clone()));
    head.extend(["swapped".into(), "on devices".into(), "mapping".into()]);
    let numbers = 2..head.len() - 2;
    table.set_header(head);
    let mut add = |addresses: String, access: &str, pages: u64, count: &Count, name: &str| {
        let mut row = vec![
            addresses,
            access.to_string(),
            pages.to_string(),
            count.present().to_string(),
        ];
        row.extend(places.iter().map(|(place, _)| count.at(*place).to_string()));
        row.extend([
            count.swapped.to_string(),
            bar(count.on_devices(), count.present()),
            name.to_string(),
        ]);
        table.add_row(row);
    };
    for (m, count) in rows {
        let name = if m.name.is_empty() {
            "anonymous"
        } else {
            &m.name
        };
        add(
            format!("{:x}-{:x}", m.start, m.end),
            &m.permissions,
            m.pages(),
            count,
            name,
        );
    }
    let pages = rows.iter().map(|(m, _)| m.pages()).sum();
    add("total".into(), "", pages, total, "");
    for n in numbers {
        if let Some(column) = table.column_mut(n) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// One line on the whole process.
fn summary(process: &Process, devices: &[Range], total: &Count) -> String {
    let (on, present) = (total.on_devices(), total.present());
    let share = if present == 0 {
        0.0
    } else {
        on as f64 * 100.0 / present as f64
    };
    let names: Vec<&str> = devices.iter().map(|d| d.name.as_str()).collect();
    format!(
        "process {} ({}): {on} of {present} present pages ({share:.1} %) on {}",
        process.pid,
        process.name,
        names.join(", ")
    )
}

/// What `--json` writes.
fn as_json(
    process: &Process,
    devices: &[Range],
    counts: &[(&Mapping, Count)],
    total: &Count,
) -> Value {
    let of = |count: &Count| {
        let mut map = Map::new();
        let mut by_place = [Map::new(), Map::new()];
        for (place, name) in places(total, devices) {
            let of_device = usize::from(!matches!(place, Place::Device(_)));
            by_place[of_device].insert(name, count.at(place).into());
        }
        let [on, ram] = by_place;
        map.insert("present".into(), count.present().into());
        map.insert("on_devices".into(), count.on_devices().into());
        map.insert("devices".into(), on.into());
        map.insert("memory".into(), ram.into());
        map.insert("swapped".into(), count.swapped.into());
        map
    };
    let mapping = |(m, count): &(&Mapping, Count)| {
        let mut map = Map::new();
        map.insert("start".into(), m.start.into());
        map.insert("end".into(), m.end.into());
        map.insert("access".into(), m.permissions.clone().into());
        map.insert("name".into(), m.name.clone().into());
        map.insert("pages".into(), m.pages().into());
        map.extend(of(count));
        map
    };
    let device = |d: &Range| json!({"name": d.name, "base": d.base, "bytes": d.bytes});
    json!({
        "pid": process.pid,
        "command": process.name,
        "page_bytes": PAGE,
        "devices": devices.iter().map(device).collect::<Vec<_>>(),
        "mappings": counts.iter().map(mapping).collect::<Vec<_>>(),
        "total": of(total),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_shares() {
        assert_eq!(bar(0, 0), "··········");
        assert_eq!(bar(0, 5), "··········");
        assert_eq!(bar(1, 1000), "█·········");
        assert_eq!(bar(5, 10), "█████·····");
        assert_eq!(bar(7, 7), "██████████");
    }

    fn of(places: &[(Place, u64)]) -> Count {
        Count {
            places: places.iter().copied().collect(),
            swapped: 1,
        }
    }

    #[test]
    fn table_and_json_say_the_same() {
        let process = Process {
            pid: 12,
            name: "x y".into(),
            mappings: mappings("1000-5000 rw-p 0 00:00 0 \n8000-9000 r--p 0 00:00 0 [vdso]\n")
                .unwrap(),
            pagemap: File::open("/dev/null").unwrap(),
        };
        let devices = [Range {
            name: "cxlmem0".into(),
            base: 0,
            bytes: PAGE,
        }];
        let counts = [
            (
                &process.mappings[0],
                of(&[(Place::Device(0), 3), (Place::Node(0), 1)]),
            ),
            (&process.mappings[1], of(&[(Place::Node(2), 1)])),
        ];
        let mut total = Count::default();
        counts.iter().for_each(|(_, c)| total.add(c));
        let rows: Vec<_> = counts.iter().collect();
        let text = table(&rows, &total, &devices).to_string();
        for word in [
            "1000-5000",
            "cxlmem0",
            "node0",
            "node2",
            "anonymous",
            "[vdso]",
            "████████··",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        let value = as_json(&process, &devices, &counts, &total);
        assert_eq!(value["mappings"][0]["devices"]["cxlmem0"], 3);
        assert_eq!(
            value["mappings"][1]["memory"],
            json!({"node0": 0, "node2": 1})
        );
        assert_eq!(value["total"]["present"], 5);
        assert_eq!(value["total"]["swapped"], 2);
        assert_eq!(
            summary(&process, &devices, &total),
            "process 12 (x y): 3 of 5 present pages (60.0 %) on cxlmem0"
        );
    }

    #[test]
    fn no_such_process_is_said() {
        // Above the largest number that a process can have.
        let e = Process::open(1 << 30).err().unwrap().to_string();
        assert!(e.contains("no process 1073741824"), "{e}");
    }
}
