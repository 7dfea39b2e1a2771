//! Tables on the terminal.

use comfy_table::{presets, CellAlignment, ContentArrangement, Table};
use cxlmem_hdl::probes;

use super::figures::{self, number, Class, Figures, Kind};
use super::migrate::{TO_DEVICE, TO_HOST};
use super::Bench;

/// Fewest characters of a line that a table is fitted into.
const NARROWEST: u16 = 20;

/// A table before it is laid out: for the terminal and for the report.
pub struct Grid {
    /// What it shows and how it came to be.
    pub title: String,
    /// Names of the columns.
    pub head: Vec<String>,
    /// Rows; the first cell names the row.
    pub rows: Vec<Vec<String>>,
}

impl Grid {
    /// A row for every argument of `kinds` (which take one argument last), a column for every kind.
    fn of(
        figures: &Figures,
        title: &str,
        first: &str,
        columns: &[(&'static Kind, &[&str], &str)],
    ) -> Grid {
        let mut arguments: Vec<String> = Vec::new();
        for (kind, leading, _) in columns {
            for (argument, _) in figures.series_of(kind, leading) {
                if !arguments.contains(&argument) {
                    arguments.push(argument);
                }
            }
        }
        let cell = |kind: &'static Kind, leading: &[&str], argument: &str| {
            let series = figures.series_of(kind, leading);
            series
                .iter()
                .find(|(a, _)| a == argument)
                .map_or("-".to_string(), |(_, v)| number(*v))
        };
        let row = |argument: &String| {
            let cells = columns
                .iter()
                .map(|(kind, leading, _)| cell(kind, leading, argument));
            std::iter::once(argument.clone()).chain(cells).collect()
        };
        Grid {
            title: title.to_string(),
            head: std::iter::once(first)
                .chain(columns.iter().map(|c| c.2))
                .map(str::to_string)
                .collect(),
            rows: arguments.iter().map(row).collect(),
        }
    }
}

/// The tables of a run; those without rows are left out.
pub fn grids(b: &Bench) -> Vec<Grid> {
    let f = &b.figures;
    let saturated = |mix: &str| match mix {
        "read" => &figures::READ_SHARE,
        "write" => &figures::WRITE_SHARE,
        "mix21" => &figures::MIX21_SHARE,
        _ => &figures::MIX11_SHARE,
    };
    let mut bandwidth = Grid::of(
        f,
        "Bandwidth, saturated, data slots (16 bytes) a cycle (simulated; bounds: model)",
        "mix",
        &[
            (&figures::BW_PAYLOAD, &[], "slots/cycle"),
            (&figures::BW_SLOT_BOUND, &[], "slot bound"),
            (&figures::BW_MEMORY_BOUND, &[], "memory bound"),
            (&figures::BW_STALL, &[], "credit stalls"),
            (&figures::BW_WAIT, &[], "host waits"),
            (&figures::BW_BYTES, &[], "bytes/s"),
        ],
    );
    bandwidth.head.push("share".to_string());
    for row in &mut bandwidth.rows {
        let share = f.value(saturated(&row[0]).id);
        row.push(share.map_or("-".to_string(), percent));
    }
    let mut stages = Grid::of(
        f,
        "Where the cycles of an idle access go, chosen configuration (simulated)",
        "stage",
        &[
            (&figures::READ_STAGE, &[], "read, cycles"),
            (&figures::WRITE_STAGE, &[], "write, cycles"),
        ],
    );
    // Reads and writes share most of the pipeline: rows in its order, the pins (no stage of the list) first.
    stages.rows.sort_by_key(|r| probes::bit(&r[0]));
    stages.head.push("what happens".to_string());
    for row in &mut stages.rows {
        let stage = probes::STAGES.iter().find(|s| s.name == row[0]);
        row.push(
            stage
                .map_or("the request's last slot arrives", |s| s.what)
                .to_string(),
        );
    }
    let all = vec![
        Grid::of(
            f,
            "Idle latency of the controller, cycles (simulated)",
            "configuration",
            &[
                (&figures::READ_IDLE_CONFIG, &[], "read"),
                (&figures::READ_PHASE_MEAN, &[], "phases, mean"),
                (&figures::READ_PHASE_WORST, &[], "phases, worst"),
                (&figures::READ_LINE, &[], "whole line"),
                (&figures::READ_DEPENDENT, &[], "dependent"),
                (&figures::READ_IDLE_CONFIG_NS, &[], "read, ns"),
                (&figures::WRITE_IDLE_CONFIG, &[], "write"),
                (&figures::WRITE_PHASE_WORST, &[], "phases, worst"),
                (&figures::WRITE_IDLE_CONFIG_NS, &[], "write, ns"),
            ],
        ),
        stages,
        Grid::of(
            f,
            &format!(
                "This machine's own memory, ns a dependent access ({})",
                f.time_label()
            ),
            "working set",
            &[
                (&figures::DRAM_READ, &[], "read, best"),
                (&figures::DRAM_READ_MEDIAN, &[], "median"),
                (&figures::DRAM_WRITE, &[], "read and write, best"),
                (&figures::DRAM_WRITE_MEDIAN, &[], "median"),
            ],
        ),
        Grid::of(
            f,
            &format!("The same memory with its pages on the device, ns a dependent access ({})", f.time_label()),
            "working set",
            &[
                (&figures::NODE_READ, &[], "read, best"),
                (&figures::NODE_READ_MEDIAN, &[], "median"),
                (&figures::NODE_WRITE, &[], "read and write, best"),
                (&figures::NODE_WRITE_MEDIAN, &[], "median"),
                (&figures::NODE_READ_RATIO, &[], "read, times own memory"),
            ],
        ),
        bandwidth,
        Grid::of(
            f,
            &format!("Bandwidth of one thread, bytes/s ({})", f.time_label()),
            "pass",
            &[
                (&figures::HOME_BANDWIDTH, &[], "own memory"),
                (&figures::NODE_BANDWIDTH, &[], "on the device"),
                (&figures::NODE_BANDWIDTH_RATIO, &[], "ratio"),
            ],
        ),
        Grid::of(
            f,
            &format!("The engine's work on memory of this process ({})", f.cycles_label()),
            "operation",
            &[(&figures::NODE_ENGINE, &[], "bytes/cycle"), (&figures::NODE_ATOMIC, &[], "cycles each")],
        ),
        Grid::of(
            f,
            &format!("Migration of 4 KiB pages by the kernel's driver, pages/s ({}); cycles/page of the engine's copy ({})", f.time_label(), f.cycles_label()),
            "size",
            &[
                (&figures::NODE_MIGRATE_PAGES, &[TO_DEVICE, "engine"], "to device, engine"),
                (&figures::NODE_MIGRATE_CYCLES, &[TO_DEVICE], "cycles/page"),
                (&figures::NODE_MIGRATE_PAGES, &[TO_DEVICE, "cpu"], "to device, CPU"),
                (&figures::NODE_MIGRATE_PAGES, &[TO_HOST, "engine"], "to host, engine"),
                (&figures::NODE_MIGRATE_CYCLES, &[TO_HOST], "cycles/page"),
                (&figures::NODE_MIGRATE_PAGES, &[TO_HOST, "cpu"], "to host, CPU"),
            ],
        ),
        Grid::of(
            f,
            &format!("A board's memory over its line: a line alone, and pages ({})", f.time_label()),
            "pass",
            &[
                (&figures::LINE_ACCESS, &[], "line, us"),
                (&figures::LINE_ACCESS_MEDIAN, &[], "median"),
                (&figures::LINE_PAGES, &[], "pages, bytes/s"),
            ],
        ),
        Grid::of(
            f,
            &format!("Migration of 4 KiB pages by a board's engine, pages/s ({})", f.time_label()),
            "size",
            &[
                (&figures::LINE_MIGRATE, &[TO_DEVICE], "to device"),
                (&figures::LINE_MIGRATE, &[TO_HOST], "to host"),
            ],
        ),
        Grid::of(
            f,
            "Migration of 4 KiB pages (simulated)",
            "size",
            &[
                (
                    &figures::MIGRATE_PAGES,
                    &["to_device"],
                    "to device, pages/s",
                ),
                (&figures::MIGRATE_CYCLES, &["to_device"], "cycles/page"),
                (&figures::MIGRATE_SHARE, &["to_device"], "engine's share"),
                (&figures::MIGRATE_PAGES, &["to_host"], "to host, pages/s"),
                (&figures::MIGRATE_CYCLES, &["to_host"], "cycles/page"),
                (&figures::MIGRATE_SHARE, &["to_host"], "engine's share"),
            ],
        ),
        Grid::of(
            f,
            &format!("Locality: the engine's work by the place of the data ({})", f.cycles_label()),
            "data",
            &[
                (&figures::LOCAL_SUM, &[], "sum, cycles"),
                (&figures::LOCAL_CHASE, &[], "chase, cycles/hop"),
            ],
        ),
        targets(f),
    ];
    all.into_iter().filter(|g| !g.rows.is_empty()).collect()
}

/// A share for people.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Figures with a target.
fn targets(f: &Figures) -> Grid {
    let with_target = f.all().iter().filter_map(|f| Some((f, f.target?)));
    let row = |(f, target): (&figures::Figure, figures::Target)| {
        let verdict = match f.holds {
            Some(true) => "met",
            Some(false) => "MISSED",
            None => Class::NotRun.label(),
        };
        vec![
            f.id.clone(),
            f.value.map_or("-".to_string(), number),
            if f.unit == "1" {
                String::new()
            } else {
                f.unit.to_string()
            },
            target.to_string(),
            verdict.to_string(),
            f.class.label().to_string(),
        ]
    };
    Grid {
        title: "Targets".to_string(),
        head: ["figure", "value", "unit", "target", "verdict", "class"]
            .map(str::to_string)
            .into(),
        rows: with_target.map(row).collect(),
    }
}

/// Prints all tables and notes.
pub fn print(b: &Bench) {
    for grid in grids(b) {
        println!("\n{}\n{}", grid.title, layout(&grid));
    }
    if !b.notes.is_empty() {
        println!();
    }
    for note in &b.notes {
        println!("* {note}");
    }
    for figure in b.figures.all().iter().filter(|f| f.class == Class::NotRun) {
        println!("* not run: {}: {}", figure.id, figure.why());
    }
    let missed: Vec<&str> = b.figures.missed().map(|f| f.id.as_str()).collect();
    let judged = b.figures.all().iter().filter(|f| f.holds.is_some()).count();
    match missed.is_empty() {
        true => println!("\nall {judged} targets met"),
        false => println!(
            "\n{} of {judged} targets missed: {}",
            missed.len(),
            missed.join(", ")
        ),
    }
}

fn layout(grid: &Grid) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic);
    // A terminal on a serial line may not know how wide it is.
    if table.width().is_some_and(|w| w < NARROWEST) {
        table.set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(&grid.head);
    for row in &grid.rows {
        table.add_row(row);
    }
    let numeric = |n: usize| {
        let is_number = |c: &str| c.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        grid.rows
            .iter()
            .all(|r| r.get(n).is_some_and(|c| is_number(c)))
    };
    for (n, column) in table.column_iter_mut().enumerate() {
        if n > 0 && numeric(n) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_from_arguments_and_gaps_show() {
        let mut f = Figures::default();
        f.add(&figures::READ_IDLE_CONFIG, &["tiny"], 14.0);
        f.add(&figures::READ_IDLE_CONFIG, &["sim"], 10.0);
        f.add(&figures::WRITE_IDLE_CONFIG, &["sim"], 9.5);
        let columns: &[(&Kind, &[&str], &str)] = &[
            (&figures::READ_IDLE_CONFIG, &[], "read"),
            (&figures::WRITE_IDLE_CONFIG, &[], "write"),
        ];
        let g = Grid::of(&f, "t", "configuration", columns);
        assert_eq!(g.head, ["configuration", "read", "write"]);
        assert_eq!(g.rows, [["tiny", "14", "-"], ["sim", "10", "9.5"]]);
        let text = layout(&g).to_string();
        assert!(text.contains("tiny") && text.contains("9.5"), "{text}");
    }

    #[test]
    fn targets_say_met_missed_or_not_run() {
        let mut f = Figures::default();
        f.add(&figures::READ_IDLE, &[], 10.0);
        f.add(&figures::WRITE_IDLE, &[], 11.0);
        f.add(&figures::LOCAL_SUM_GAIN, &[], 2.0);
        f.add_not_run(&figures::ENGINE_COPY, &[], "no engine");
        let verdicts: Vec<_> = targets(&f)
            .rows
            .iter()
            .map(|r| (r[0].clone(), r[4].clone()))
            .collect();
        let expected = [
            ("read.idle.cycles", "met"),
            ("write.idle.cycles", "MISSED"),
            ("engine.copy.share", "not run"),
        ];
        assert_eq!(
            verdicts,
            expected.map(|(a, b)| (a.to_string(), b.to_string()))
        );
    }
}
