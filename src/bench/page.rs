//! The report: one HTML file with everything in it, for light and dark screens, wide and narrow.

use super::chart::{self, escape, Form, Plot, Series};
use super::figures::{self, number, Class, Kind};
use super::tables::{grids, percent};
use super::Bench;
use cxlmem_hdl::probes;

const STYLE: &str = "\
:root{color-scheme:light dark;--paper:#fbfbf9;--card:#fff;--ink:#1d2329;--soft:#5d6770;--grid:#dfe3e6;--met:#1f7a4d;--missed:#b3261e}
@media (prefers-color-scheme:dark){:root{--paper:#14181c;--card:#1c2126;--ink:#e4e8eb;--soft:#9aa5ae;--grid:#343c43;--met:#62c795;--missed:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:1180px;margin:0 auto;padding:1.25rem}
h1{font-size:1.5rem;margin:.5rem 0 0}h2{font-size:1.1rem;margin:2.2rem 0 .6rem}
p{margin:.3rem 0;max-width:75ch}.soft{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(165px,1fr));gap:.7rem;margin-top:1.2rem}
.tile,figure{background:var(--card);border:1px solid var(--grid);border-radius:8px;padding:.7rem .9rem;margin:0}
.tile b{display:block;font-size:1.45rem;line-height:1.3;font-variant-numeric:tabular-nums}
.tile b small{font-size:.85rem;font-weight:400}.tile .id{font-size:.8rem;overflow-wrap:anywhere}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem}
figcaption{font-weight:600;margin-bottom:.3rem}figcaption .chip{float:right;margin-left:.5rem}
svg{display:block;width:100%;height:auto}
.chip{font-size:.75rem;font-weight:400;border:1px solid var(--grid);border-radius:1em;padding:0 .6em;color:var(--soft);white-space:nowrap}
.key{display:inline-block;margin-right:1em;font-size:.85rem}
.key i{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em}
.key i.dash{height:0;border-top:2px dashed var(--ink);vertical-align:middle;border-radius:0;width:1.2em}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--grid);border-radius:8px}
table{border-collapse:collapse;width:100%;font-size:.9rem;font-variant-numeric:tabular-nums}
th,td{padding:.35rem .8rem;text-align:right;border-top:1px solid var(--grid);white-space:nowrap}
thead th{border-top:0;color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}
.met{color:var(--met)}.missed{color:var(--missed);font-weight:600}
";

/// The page.
pub fn html(b: &Bench) -> String {
    let judged = b.figures.all().iter().filter(|f| f.holds.is_some()).count();
    let missed = b.figures.missed().count();
    let mut page = String::from("<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width,initial-scale=1'>");
    page += &format!(
        "<title>cxlmem: benchmark of configuration {}</title>\n<style>{STYLE}{}</style>\n<main>\n",
        b.config.name,
        chart::STYLE
    );
    page += "<h1>cxlmem benchmark</h1>\n";
    page += &format!(
        "<p>Configuration <b>{}</b> ({}), clock {} MHz as stated, seed {}{}. {} of {judged} targets met.</p>\n",
        escape(b.config.name),
        escape(b.config.about),
        number(f64::from(b.config.clock_khz) / 1000.0),
        b.seed,
        if b.quick { ", quick run" } else { "" },
        judged - missed,
    );
    if let Some(node) = &b.node {
        page += &format!(
            "<p>Measured on {}.</p>\n<p class=soft>Memory of the benchmark's own process, at home and with its pages on the device, in the same run.</p>\n",
            escape(&super::describe(node))
        );
    }
    page += "<p class=soft>Simulated figures are cycles of the controller's RTL, run by Verilator, or those cycles at the stated clock. \
             The time that the simulator takes is never shown as a latency. Figures of this machine's own memory were measured while this report was made.</p>\n";
    page += &tiles(b);
    let plots: String = plots(b)
        .into_iter()
        .filter_map(|(title, class, plot)| figure(title, class, &plot))
        .collect();
    page += &format!("<h2>At a glance</h2>\n<div class=plots>\n{plots}</div>\n");
    for grid in grids(b) {
        page += &format!(
            "<h2>{}</h2>\n{}",
            escape(&grid.title),
            table(&grid.head, &grid.rows)
        );
    }
    let skipped: Vec<_> = b
        .figures
        .all()
        .iter()
        .filter(|f| f.class == Class::NotRun)
        .collect();
    if !skipped.is_empty() {
        let rows: Vec<_> = skipped
            .iter()
            .map(|f| vec![f.id.clone(), f.why().to_string()])
            .collect();
        page += &format!(
            "<h2>Not run</h2>\n{}",
            table(&["figure".to_string(), "why".to_string()], &rows)
        );
    }
    if !b.notes.is_empty() {
        page += "<h2>Notes</h2>\n";
        page.extend(b.notes.iter().map(|n| format!("<p>{}</p>\n", escape(n))));
    }
    page += "<p class=soft>Every figure with its id, unit and class is in figures.json beside this file.</p>\n</main>\n</html>\n";
    page
}

/// Figures with a target, large.
fn tiles(b: &Bench) -> String {
    let mut text = String::from("<div class=tiles>\n");
    for f in b.figures.all() {
        let Some(target) = f.target else { continue };
        let (class, word) = match f.holds {
            Some(true) => ("met", "met"),
            Some(false) => ("missed", "missed"),
            None => ("soft", "not run"),
        };
        let value = f.value.map_or("&ndash;".to_string(), |v| {
            if f.unit == "1" && f.id.ends_with("share") {
                percent(v)
            } else {
                number(v)
            }
        });
        let unit = if f.unit == "1" { "" } else { f.unit };
        let goal = match f.id.ends_with("share") {
            true => format!("{} {}", target.sense(), percent(target.number())),
            false => target.to_string(),
        };
        text += &format!(
            "<div class=tile title=\"{}\"><span class=id>{}</span><b>{value} <small>{}</small></b><span class={class}>{word}</span> <span class=soft>{goal}</span><br><span class=chip>{}</span></div>\n",
            escape(&f.what),
            escape(&f.id),
            escape(unit),
            f.class.label(),
        );
    }
    text + "</div>\n"
}

fn figure(title: &str, class: &str, plot: &Plot) -> Option<String> {
    let svg = plot.svg()?;
    Some(format!(
        "<figure><figcaption>{} <span class=chip>{class}</span></figcaption>{}{svg}</figure>\n",
        escape(title),
        plot.legend()
    ))
}

fn table(head: &[String], rows: &[Vec<String>]) -> String {
    let cells = |cells: &[String], tag: &str| -> String {
        let cell = |c: &String| match c.as_str() {
            "met" => "<td class=met>met</td>".to_string(),
            "MISSED" => "<td class=missed>missed</td>".to_string(),
            c => format!("<{tag}>{}</{tag}>", escape(c)),
        };
        cells.iter().map(cell).collect()
    };
    let body: String = rows
        .iter()
        .map(|r| format!("<tr>{}</tr>\n", cells(r, "td")))
        .collect();
    format!("<div class=scroll><table><thead><tr>{}</tr></thead><tbody>\n{body}</tbody></table></div>\n", cells(head, "th"))
}

/// A plot with one series for each kind and leading argument; categories are the arguments that occur.
fn over(
    b: &Bench,
    unit: &'static str,
    form: Form,
    log: bool,
    kinds: &[(&'static Kind, &[&str], &str)],
) -> Plot {
    let all: Vec<_> = kinds
        .iter()
        .map(|(kind, leading, name)| (b.figures.series_of(kind, leading), *name))
        .collect();
    let mut categories: Vec<String> = Vec::new();
    for (argument, _) in all.iter().flat_map(|(series, _)| series) {
        if !categories.contains(argument) {
            categories.push(argument.clone());
        }
    }
    let series = all.iter().map(|(series, name)| Series {
        name: name.to_string(),
        values: categories
            .iter()
            .map(|c| series.iter().find(|(a, _)| a == c).map(|(_, v)| *v))
            .collect(),
    });
    Plot {
        unit,
        series: series.collect(),
        categories,
        form,
        log,
        line: None,
    }
}

/// All plots with title and class.
fn plots(b: &Bench) -> Vec<(&'static str, &'static str, Plot)> {
    if b.node.is_some() {
        return node_plots(b);
    }
    vec![
        (
            "A dependent access: device (at its placed clock, or the stated one if none is recorded) beside this machine's memory",
            "synthesized or simulated / measured here",
            latency(b),
        ),
        (
            "An idle access by stage of the pipeline",
            "simulated",
            stages(b),
        ),
        (
            "Saturated: data slots a cycle and their bounds",
            "simulated; bounds: model",
            bandwidth(b),
        ),
        (
            "Pages migrated a second, at the stated clock",
            "simulated",
            over(
                b,
                "pages/s",
                Form::Lines,
                false,
                &[
                    (&figures::MIGRATE_PAGES, &["to_device"], "to the device"),
                    (&figures::MIGRATE_PAGES, &["to_host"], "to the host"),
                ],
            ),
        ),
        (
            "The engine's copies, share of their bound",
            "simulated",
            Plot {
                line: Some((0.85, "target")),
                ..over(
                    b,
                    "share of bound",
                    Form::Lines,
                    false,
                    &[
                        (&figures::MIGRATE_SHARE, &["to_device"], "to the device"),
                        (&figures::MIGRATE_SHARE, &["to_host"], "to the host"),
                    ],
                )
            },
        ),
        (
            "Pointer chase by the engine, by the place of the data",
            "simulated",
            over(
                b,
                "cycles/hop",
                Form::Bars,
                false,
                &[(&figures::LOCAL_CHASE, &[], "chase")],
            ),
        ),
        (
            "64-bit sum by the engine, by the place of the data",
            "simulated",
            over(
                b,
                "cycles",
                Form::Bars,
                false,
                &[(&figures::LOCAL_SUM, &[], "sum")],
            ),
        ),
    ]
}

/// Plots of a device of this machine's kernel.
fn node_plots(b: &Bench) -> Vec<(&'static str, &'static str, Plot)> {
    let pages: [(&'static Kind, &[&str], &str); 4] = [
        (
            &figures::NODE_MIGRATE_PAGES,
            &["to_device", "cpu"],
            "to the device, CPU",
        ),
        (
            &figures::NODE_MIGRATE_PAGES,
            &["to_host", "cpu"],
            "to the host, CPU",
        ),
        (
            &figures::NODE_MIGRATE_PAGES,
            &["to_device", "engine"],
            "to the device, engine",
        ),
        (
            &figures::NODE_MIGRATE_PAGES,
            &["to_host", "engine"],
            "to the host, engine",
        ),
    ];
    let reads: [(&'static Kind, &[&str], &str); 2] = [
        (&figures::DRAM_READ, &[], "own memory"),
        (&figures::NODE_READ, &[], "pages on the device"),
    ];
    let rates: [(&'static Kind, &[&str], &str); 2] = [
        (&figures::HOME_BANDWIDTH, &[], "own memory"),
        (&figures::NODE_BANDWIDTH, &[], "pages on the device"),
    ];
    let label = b.figures.time_label();
    vec![
        (
            "A dependent read",
            label,
            over(b, "ns", Form::Bars, true, &reads),
        ),
        (
            "Bandwidth of one thread",
            label,
            over(b, "B/s", Form::Bars, false, &rates),
        ),
        (
            "Pages migrated a second",
            label,
            over(b, "pages/s", Form::Lines, true, &pages),
        ),
    ]
}

/// Working sets of the host, then the device.
fn latency(b: &Bench) -> Plot {
    let kinds: [(&'static Kind, &[&str], &str); 2] = [
        (&figures::DRAM_READ, &[], "read"),
        (&figures::DRAM_WRITE, &[], "write (host: read and write)"),
    ];
    let mut plot = over(b, "ns", Form::Bars, true, &kinds);
    let placed = [&figures::READ_IDLE_NS, &figures::WRITE_IDLE_NS].map(|k| b.figures.value(k.id));
    let stated = [
        &figures::READ_IDLE_CONFIG_NS,
        &figures::WRITE_IDLE_CONFIG_NS,
    ]
    .map(|k| {
        let all = b.figures.series(k);
        all.into_iter()
            .find(|(c, _)| c == b.config.name)
            .map(|(_, ns)| ns)
    });
    let device = if placed.iter().any(Option::is_some) {
        placed
    } else {
        stated
    };
    if device.iter().any(Option::is_some) {
        plot.categories.push("device".to_string());
        for (series, value) in plot.series.iter_mut().zip(device) {
            series.values.push(value);
        }
    }
    plot
}

/// A group of bars for each stage that one of the two passes, in the pipeline's order.
fn stages(b: &Bench) -> Plot {
    let kinds: [(&'static Kind, &[&str], &str); 2] = [
        (&figures::READ_STAGE, &[], "read"),
        (&figures::WRITE_STAGE, &[], "write"),
    ];
    let mut plot = over(b, "cycles", Form::Bars, false, &kinds);
    let mut order: Vec<usize> = (0..plot.categories.len()).collect();
    order.sort_by_key(|&n| probes::bit(&plot.categories[n]));
    for series in &mut plot.series {
        series.values = order.iter().map(|&n| series.values[n]).collect();
    }
    plot.categories = order.iter().map(|&n| plot.categories[n].clone()).collect();
    plot
}

fn bandwidth(b: &Bench) -> Plot {
    over(
        b,
        "slots/cycle",
        Form::Bars,
        false,
        &[
            (&figures::BW_PAYLOAD, &[], "reached"),
            (&figures::BW_SLOT_BOUND, &[], "bound of the slot format"),
            (&figures::BW_MEMORY_BOUND, &[], "bound of the memory"),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::super::figures::Figures;
    use super::*;

    fn bench() -> Bench {
        let mut f = Figures::default();
        f.add(&figures::READ_IDLE, &[], 10.0);
        f.add(&figures::WRITE_IDLE, &[], 11.0);
        f.add(&figures::READ_IDLE_NS, &[], 166.7);
        f.add(&figures::DRAM_READ, &["16KiB"], 1.2);
        f.add(&figures::DRAM_READ, &["256MiB"], 95.0);
        f.add(&figures::READ_SHARE, &[], 0.97);
        f.add(&figures::MIGRATE_PAGES, &["to_device", "4KiB"], 1e5);
        f.add(&figures::MIGRATE_PAGES, &["to_host", "4KiB"], 9e4);
        f.add(&figures::LOCAL_CHASE, &["host"], 60.0);
        f.add(&figures::LOCAL_CHASE, &["device"], 9.0);
        f.add(&figures::READ_STAGE, &["decode"], 4.0);
        f.add_not_run(&figures::REGION_INTACT, &[], "no <userfaultfd> here");
        Bench {
            seed: 77,
            figures: f,
            notes: vec!["a <note>".to_string()],
            ..Bench::for_test("sim")
        }
    }

    #[test]
    fn the_page_stands_alone_and_labels_everything() {
        let page = html(&bench());
        for outside in ["http:", "https:", "<script", "<link", "src="] {
            // The name space of SVG is a name, nothing is fetched.
            assert!(
                !page
                    .replace("http://www.w3.org/2000/svg", "")
                    .contains(outside),
                "{outside}"
            );
        }
        for part in [
            "seed 77",
            "quick run",
            "3 of 4 targets met",
            "simulated",
            "measured here",
            "not run",
            "prefers-color-scheme:dark",
            "width=device-width",
        ] {
            assert!(page.contains(part), "{part}");
        }
        assert!(page.contains("a &lt;note&gt;") && page.contains("no &lt;userfaultfd&gt; here"));
        assert_eq!(
            page.matches("<figure>").count(),
            4,
            "latency, stages, migration, chase: plots without data are left out"
        );
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn the_device_stands_beside_the_working_sets() {
        let plot = latency(&bench());
        assert_eq!(plot.categories, ["16KiB", "256MiB", "device"]);
        assert_eq!(plot.series[0].values, [Some(1.2), Some(95.0), Some(166.7)]);
        assert_eq!(plot.series[1].values, [None; 3]);
    }
}
