//! Plots of the report, as SVG text. Colours are names: the page's style sheet gives them their light and dark values.

use plotters::coord::types::RangedCoordf64;
use plotters::drawing::DrawingAreaErrorKind;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

/// Colours that the style sheet replaces: ink, grid, then the series.
const INK: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(2, 2, 2);
const SERIES: [RGBColor; 6] = [
    RGBColor(3, 3, 1),
    RGBColor(3, 3, 2),
    RGBColor(3, 3, 3),
    RGBColor(3, 3, 4),
    RGBColor(3, 3, 5),
    RGBColor(3, 3, 6),
];

/// Style sheet rules that colour the plots. Blue, orange, green, purple, ochre, grey: distinct for colour-blind readers, too.
pub const STYLE: &str = "\
:root{--s1:#2563a8;--s2:#d9730d;--s3:#2e8b6f;--s4:#8e4fb5;--s5:#a8891a;--s6:#7a8288}
@media (prefers-color-scheme:dark){:root{--s1:#6aa8ee;--s2:#f29a4a;--s3:#5cc4a2;--s4:#c291e6;--s5:#d8bd55;--s6:#a3abb2}}
svg [fill='#010101']{fill:var(--ink)}svg [stroke='#010101']{stroke:var(--ink)}
svg [fill='#020202']{fill:var(--grid)}svg [stroke='#020202']{stroke:var(--grid)}
svg [fill='#030301']{fill:var(--s1)}svg [stroke='#030301']{stroke:var(--s1)}
svg [fill='#030302']{fill:var(--s2)}svg [stroke='#030302']{stroke:var(--s2)}
svg [fill='#030303']{fill:var(--s3)}svg [stroke='#030303']{stroke:var(--s3)}
svg [fill='#030304']{fill:var(--s4)}svg [stroke='#030304']{stroke:var(--s4)}
svg [fill='#030305']{fill:var(--s5)}svg [stroke='#030305']{stroke:var(--s5)}
svg [fill='#030306']{fill:var(--s6)}svg [stroke='#030306']{stroke:var(--s6)}
";

/// Pixels of the view box; narrow, so that text stays legible on a phone.
const SIZE: (u32, u32) = (560, 320);
/// Values in figures above bars at most: more would run into each other.
const MOST_VALUES: usize = 16;
/// Names below the horizontal axis at most.
const MOST_LABELS: usize = 12;

/// One series: its name and a value for each category (none: no bar, a gap in the line).
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// One value a category.
    pub values: Vec<Option<f64>>,
}

/// How series are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Groups of bars side by side.
    Bars,
    /// Lines with points.
    Lines,
}

/// A plot over named categories.
pub struct Plot {
    /// For the vertical axis.
    pub unit: &'static str,
    /// Names below the horizontal axis.
    pub categories: Vec<String>,
    /// What is drawn.
    pub series: Vec<Series>,
    /// How.
    pub form: Form,
    /// Logarithmic vertical axis (bars then start at its lower end).
    pub log: bool,
    /// A dashed horizontal line: a bound or a target, and its name.
    pub line: Option<(f64, &'static str)>,
}

impl Plot {
    /// The SVG element; none when there is nothing to show.
    pub fn svg(&self) -> Option<String> {
        let highest = self.values().fold(0.0, f64::max);
        let top = self.line.map_or(highest, |(at, _)| highest.max(at));
        if self.categories.is_empty() || highest <= 0.0 {
            return None;
        }
        let (bottom, top) = match self.log {
            true => {
                // A decade below, unless the smallest bar would vanish on it.
                let least = self
                    .values()
                    .filter(|v| *v > 0.0)
                    .fold(top, f64::min)
                    .log10();
                (least.floor().min(least - 0.1), top.log10() + 0.2)
            }
            false => (0.0, top * 1.1),
        };
        let mut text = String::new();
        // Drawing into a string cannot fail; a plot that cannot be laid out is left out.
        self.draw(&mut text, bottom, top).ok()?;
        let start = text.find("<svg")?;
        Some(text.split_off(start))
    }

    /// The legend as HTML.
    pub fn legend(&self) -> String {
        let keys = self.series.iter().enumerate().map(|(n, s)| {
            let colour = n % SERIES.len() + 1;
            format!(
                "<span class=key><i style='background:var(--s{colour})'></i>{}</span>",
                escape(&s.name)
            )
        });
        let line = self
            .line
            .map(|(_, name)| format!("<span class=key><i class=dash></i>{}</span>", escape(name)));
        keys.chain(line).collect()
    }

    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.series
            .iter()
            .flat_map(|s| s.values.iter().flatten().copied())
    }

    /// Place of a series among those with a value in a category, and how many those are.
    fn neighbours(&self, series: usize, category: usize) -> (usize, usize) {
        let has = |s: &&Series| s.values.get(category).is_some_and(Option::is_some);
        let before = self.series.iter().take(series).filter(has).count();
        (before, self.series.iter().filter(has).count().max(1))
    }

    /// Where a value lies on the vertical axis.
    fn height(&self, value: f64) -> f64 {
        match self.log {
            true => value.max(f64::MIN_POSITIVE).log10(),
            false => value,
        }
    }

    fn draw(
        &self,
        text: &mut String,
        bottom: f64,
        top: f64,
    ) -> Result<(), Box<dyn std::error::Error + '_>> {
        let area = SVGBackend::with_string(text, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(28)
            .y_label_area_size(78)
            .build_cartesian_2d(0.0..self.categories.len() as f64, bottom..top)
            .map_err(|e| e.to_string())?;
        let show = |v: &f64| short(if self.log { 10f64.powf(*v) } else { *v });
        let decades = (top - bottom).floor() as usize + 1;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .disable_x_axis()
            .y_desc(self.unit)
            .y_label_formatter(&show)
            .y_labels(if self.log { decades } else { 6 })
            .max_light_lines(0)
            .axis_style(GRID)
            .bold_line_style(GRID)
            .label_style(label(17))
            .axis_desc_style(label(17))
            .draw()
            .map_err(|e| e.to_string())?;
        self.draw_series(&mut chart, bottom)
            .map_err(|e| e.to_string())?;
        let size = if self.categories.len() > 9 { 13 } else { 17 };
        let centred = label(size).pos(Pos::new(HPos::Center, VPos::Top));
        let names = self.categories.iter().enumerate();
        for (n, name) in names.step_by(self.categories.len().div_ceil(MOST_LABELS)) {
            let (x, y) = chart.backend_coord(&(n as f64 + 0.5, bottom));
            area.draw_text(name, &centred, (x, y + 7))
                .map_err(|e| e.to_string())?;
        }
        area.present().map_err(|e| e.to_string())?;
        Ok(())
    }

    fn draw_series(
        &self,
        chart: &mut Chart<'_, '_>,
        bottom: f64,
    ) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let labelled = self.values().count() <= MOST_VALUES;
        let over = label(15).pos(Pos::new(HPos::Center, VPos::Bottom));
        for (n, series) in self.series.iter().enumerate() {
            let colour = SERIES[n % SERIES.len()];
            let present = series
                .values
                .iter()
                .enumerate()
                .filter_map(|(i, v)| Some((i, (*v)?)));
            match self.form {
                Form::Lines => {
                    let points: Vec<_> = present
                        .map(|(i, v)| (i as f64 + 0.5, self.height(v)))
                        .collect();
                    chart.draw_series(LineSeries::new(
                        points.iter().copied(),
                        colour.stroke_width(3),
                    ))?;
                    chart
                        .draw_series(points.iter().map(|p| Circle::new(*p, 5, colour.filled())))?;
                }
                Form::Bars => {
                    for (i, v) in present {
                        // Bars of a category stand together in its middle, whatever series it lacks.
                        let (place, all) = self.neighbours(n, i);
                        let width = (0.8 / all as f64).min(0.4);
                        let left = i as f64 + 0.5 + (place as f64 - all as f64 / 2.0) * width;
                        let (from, to) = (left + 0.01, left + width - 0.01);
                        let bar = [(from, bottom), (to, self.height(v))];
                        chart.draw_series([Rectangle::new(bar, colour.filled())])?;
                        if labelled {
                            let above = ((from + to) / 2.0, self.height(v));
                            let text = short(v);
                            chart
                                .draw_series([EmptyElement::at(above)
                                    + Text::new(text, (0, -4), over.clone())])?;
                        }
                    }
                }
            }
        }
        if let Some((at, _)) = self.line {
            let ends = [
                (0.0, self.height(at)),
                (self.categories.len() as f64, self.height(at)),
            ];
            chart.draw_series(DashedLineSeries::new(ends, 7, 5, INK.stroke_width(1)))?;
        }
        Ok(())
    }
}

/// A number where there is little room.
fn short(value: f64) -> String {
    match value {
        v if v >= 1e6 => format!("{} M", short(v / 1e6)),
        v if v >= 1e4 => format!("{} k", short(v / 1e3)),
        v => super::figures::number((v * 100.0).round() / 100.0),
    }
}

/// Text of the plots.
fn label(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&INK)
}

type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// Text as it may stand in HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(form: Form, log: bool) -> Plot {
        Plot {
            unit: "ns",
            categories: vec!["a".into(), "b".into()],
            series: vec![
                Series {
                    name: "one <1>".into(),
                    values: vec![Some(1.0), Some(200.0)],
                },
                Series {
                    name: "two".into(),
                    values: vec![None, Some(30.0)],
                },
            ],
            form,
            log,
            line: Some((100.0, "bound")),
        }
    }

    #[test]
    fn every_form_draws_every_value() {
        for (form, log) in [(Form::Bars, true), (Form::Bars, false), (Form::Lines, true)] {
            let svg = plot(form, log).svg().unwrap();
            assert!(
                svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"),
                "{form:?}"
            );
            let marks = |colour: &str| svg.matches(&format!("fill=\"{colour}\"")).count();
            // A line is an outline and two points; its stroke is no fill.
            assert_eq!(
                (marks("#030301"), marks("#030302")),
                (2, 1),
                "{form:?} {log}\n{svg}"
            );
            assert!(svg.contains(">\na\n") || svg.contains(">a<"), "{svg}");
        }
    }

    #[test]
    fn nothing_to_show_is_no_plot() {
        let mut p = plot(Form::Bars, true);
        p.series.iter_mut().for_each(|s| s.values.fill(None));
        assert!(p.svg().is_none());
        p.categories.clear();
        assert!(p.svg().is_none());
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [1.3333, 0.0, 850.0, 1234.0, 200_000.0, 1_250_000.0].map(short),
            ["1.33", "0", "850", "1,234", "200 k", "1.25 M"]
        );
    }

    #[test]
    fn names_are_escaped() {
        assert!(plot(Form::Bars, true).legend().contains("one &lt;1&gt;"));
    }
}
