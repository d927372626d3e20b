//! Plots as SVG, for a page without scripts: lines over time or size, and bars. Colours
//! come from the page's style sheet (classes `s0`, `s1`, ...), so that they follow its
//! light or dark scheme.

use std::fmt::Write as _;

use super::html::escaped;
use crate::units::{show_bytes, show_count, show_ns, show_share};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 40.0;
/// More points than this are drawn as means of neighbours.
const MOST_POINTS: usize = 360;

/// How numbers on an axis are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Bytes,
    Count,
    Ns,
    Share,
    Seconds,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Unit::Bytes => show_bytes(value as u64),
            Unit::Count if value < 10.0 && value.fract() != 0.0 => format!("{value:.1}"),
            Unit::Count => show_count(value as u64),
            Unit::Ns => show_ns(value as u64),
            Unit::Share => show_share(Some(value)),
            Unit::Seconds if value >= 7200.0 => format!("{:.1} h", value / 3600.0),
            Unit::Seconds if value >= 120.0 => format!("{:.1} min", value / 60.0),
            Unit::Seconds => format!("{} s", (value * 10.0).round() / 10.0),
        }
    }

    /// Whether round numbers are powers of two.
    fn binary(self) -> bool {
        self == Unit::Bytes
    }
}

/// A line: its name and its points; `None`: there is no value, and the line has a gap.
pub(super) struct Series {
    pub(super) name: &'static str,
    pub(super) points: Vec<(f64, Option<f64>)>,
}

impl Series {
    fn has_values(&self) -> bool {
        self.points.iter().any(|(_, value)| value.is_some())
    }

    /// Points that a screen can tell apart.
    fn thinned(&self) -> Vec<(f64, Option<f64>)> {
        let group = self.points.len().div_ceil(MOST_POINTS).max(1);
        self.points
            .chunks(group)
            .map(|chunk| {
                let values: Vec<f64> = chunk.iter().filter_map(|(_, value)| *value).collect();
                let mean =
                    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
                let at = chunk.iter().map(|(at, _)| at).sum::<f64>() / chunk.len() as f64;
                (at, mean)
            })
            .collect()
    }
}

/// A plot of lines.
pub(super) struct Lines {
    pub(super) title: &'static str,
    pub(super) about: String,
    pub(super) x: Unit,
    pub(super) y: Unit,
    pub(super) series: Vec<Series>,
    /// A vertical line with its name.
    pub(super) mark: Option<(f64, String)>,
    /// The top of the scale, where it is known.
    pub(super) top: Option<f64>,
}

/// A figure for the page; empty without a value.
pub(super) fn lines(plot: &Lines) -> String {
    let drawn: Vec<(usize, &Series)> = plot
        .series
        .iter()
        .enumerate()
        .filter(|(_, series)| series.has_values())
        .collect();
    if drawn.is_empty() {
        return String::new();
    }
    let points = || drawn.iter().flat_map(|(_, series)| &series.points);
    let mark = plot.mark.as_ref().map(|(at, _)| *at);
    let right = points().map(|(at, _)| *at).chain(mark).fold(0.0, f64::max);
    let left = points().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
    let left = left.min(right);
    let highest = points().filter_map(|(_, value)| *value).fold(0.0, f64::max);
    let scale = Scale::new(plot.top.unwrap_or(highest), plot.y.binary());
    let x_of = |at: f64| {
        let part = if right > left {
            (at - left) / (right - left)
        } else {
            0.5
        };
        LEFT + part * (WIDTH - LEFT - RIGHT)
    };
    let mut svg = open(plot.title);
    scale.grid(&mut svg, plot.y);
    for step in 0..=4 {
        let at = left + (right - left) * f64::from(step) / 4.0;
        let anchor = ["start", "middle", "middle", "middle", "end"][step as usize];
        label(
            &mut svg,
            x_of(at),
            HEIGHT - 18.0,
            anchor,
            &plot
                .x
                .show(at - if plot.x == Unit::Seconds { left } else { 0.0 }),
        );
    }
    for (number, series) in &drawn {
        let mut path = String::new();
        let mut pen_down = false;
        for (at, value) in series.thinned() {
            let Some(value) = value else {
                pen_down = false;
                continue;
            };
            let command = if pen_down { 'L' } else { 'M' };
            let _ = write!(path, "{command}{:.1} {:.1}", x_of(at), scale.y_of(value));
            if !pen_down {
                // A point alone is seen as a dot, for its line has round ends.
                path.push_str("h0");
            }
            pen_down = true;
        }
        let _ = write!(svg, "<path class=\"line s{number}\" d=\"{path}\"/>");
    }
    if let Some((at, name)) = &plot.mark {
        let x = x_of(*at);
        let _ = write!(
            svg,
            "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>",
            HEIGHT - BOTTOM
        );
        let (at, anchor) = if x > WIDTH / 2.0 {
            (x - 5.0, "end")
        } else {
            (x + 5.0, "start")
        };
        label(&mut svg, at, TOP + 11.0, anchor, name);
    }
    let names: Vec<(usize, &str)> = drawn
        .iter()
        .map(|(number, series)| (*number, series.name))
        .collect();
    figure(plot.title, &plot.about, &svg, &names)
}

/// A figure of bars of `width` each, the first beginning at 0; empty without a value.
pub(super) fn bars(
    title: &'static str,
    about: &str,
    width: f64,
    x: Unit,
    values: &[u64],
) -> String {
    let highest = values.iter().copied().max().unwrap_or(0);
    if highest == 0 {
        return String::new();
    }
    let scale = Scale::new(highest as f64, false);
    let mut svg = open(title);
    scale.grid(&mut svg, Unit::Count);
    let room = (WIDTH - LEFT - RIGHT) / values.len() as f64;
    for (number, value) in values.iter().enumerate() {
        let at = LEFT + number as f64 * room;
        let y = scale.y_of(*value as f64);
        let _ = write!(
            svg,
            "<rect class=\"bar s0\" x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\">\
             <title>{} to {}: {value}</title></rect>",
            at + 1.0,
            room - 2.0,
            HEIGHT - BOTTOM - y,
            x.show(number as f64 * width),
            x.show((number + 1) as f64 * width),
        );
        if number % 4 == 0 {
            label(
                &mut svg,
                at,
                HEIGHT - 18.0,
                "middle",
                &x.show(number as f64 * width),
            );
        }
    }
    figure(title, about, &svg, &[])
}

fn open(title: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
        escaped(title)
    )
}

fn label(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = write!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>",
        escaped(text)
    );
}

/// Closes the drawing, with its title, and its legend if there are lines to tell apart.
fn figure(title: &str, about: &str, svg: &str, names: &[(usize, &str)]) -> String {
    let mut legend = String::new();
    if names.len() > 1 {
        for (number, name) in names {
            let _ = write!(
                legend,
                "<span><i class=\"key s{number}\"></i>{}</span>",
                escaped(name)
            );
        }
    }
    format!(
        "<figure><figcaption><b>{}</b> {}</figcaption>{svg}</svg><div class=\"legend\">{legend}</div></figure>\n",
        escaped(title),
        escaped(about)
    )
}

/// The vertical axis, from 0 to a round number.
struct Scale {
    top: f64,
    step: f64,
}

impl Scale {
    fn new(highest: f64, binary: bool) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let rough = highest / 4.0;
        let step = if binary {
            2_f64.powf(rough.log2().ceil())
        } else {
            let power = 10_f64.powf(rough.log10().floor());
            let rounds = [1.0, 2.0, 2.5, 5.0, 10.0];
            let round = rounds
                .into_iter()
                .find(|round| round * power >= rough * (1.0 - 1e-9));
            round.unwrap_or(10.0) * power
        };
        Self {
            top: (highest / step - 1e-9).ceil().max(1.0) * step,
            step,
        }
    }

    fn y_of(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value / self.top).clamp(0.0, 1.0) * (HEIGHT - TOP - BOTTOM)
    }

    fn grid(&self, svg: &mut String, unit: Unit) {
        let steps = (self.top / self.step).round() as u32;
        for number in 0..=steps {
            let value = f64::from(number) * self.step;
            let y = self.y_of(value);
            let _ = write!(
                svg,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>",
                WIDTH - RIGHT
            );
            label(svg, LEFT - 8.0, y + 4.0, "end", &unit.show(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(points: Vec<(f64, Option<f64>)>) -> String {
        lines(&Lines {
            title: "it",
            about: "a <plot>".to_owned(),
            x: Unit::Seconds,
            y: Unit::Share,
            series: vec![Series {
                name: "one",
                points,
            }],
            mark: Some((0.5, "here".to_owned())),
            top: Some(1.0),
        })
    }

    #[test]
    fn a_line_has_its_points_and_its_gaps() {
        let svg = plot(vec![
            (0.0, Some(0.0)),
            (1.0, Some(1.0)),
            (2.0, None),
            (3.0, Some(0.5)),
        ]);
        assert!(
            svg.contains("M84.0 200.0h0L292.0 12.0M708.0 106.0h0"),
            "{svg}"
        );
        assert!(
            svg.contains("a &lt;plot&gt;") && svg.contains(">here<"),
            "{svg}"
        );
        assert_eq!(plot(vec![(0.0, None)]), "");
        assert_eq!(plot(vec![]), "");
    }

    #[test]
    fn many_points_are_thinned() {
        let points = (0..10_000).map(|at| (f64::from(at), Some(0.5))).collect();
        let svg = plot(points);
        assert!(svg.matches('L').count() <= MOST_POINTS, "{}", svg.len());
    }

    #[test]
    fn scales_end_with_a_round_number() {
        for (highest, top) in [
            (0.0, 1.0),
            (1.0, 1.0),
            (7.3, 8.0),
            (120.0, 150.0),
            (1e6, 1e6),
        ] {
            let scale = Scale::new(highest, false);
            assert!(
                (scale.top - top).abs() < top * 1e-9,
                "{highest}: {}",
                scale.top
            );
        }
        let scale = Scale::new(f64::from(100 << 20), true);
        assert_eq!(scale.top, f64::from(128 << 20));
    }
}
