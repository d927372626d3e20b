//! `cargo xtask bench`: measures, and prints a table for people or one JSON object a line.
//!
//! Native figures want optimised code, so xtask starts itself again under the profile
//! `bench-native`: one codegen unit and fat LTO, as the kernel object is built.

mod against_zram;
mod codec;
mod engine;
mod file;
mod machine;
mod record;
mod swap;
mod trace;
mod watch;
mod zram;

use std::env;
use std::fmt::Write as _;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use tmem_tests::Kernel;

use crate::corpus::Split;
use crate::process::{cargo, run as run_program, say};

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Topic {
    /// The engine in this process, against its codec alone.
    Engine,
    /// The codecs alone, against the kernel's LZ4.
    Codec,
    /// The engine against zram, on the heaps that the codecs are judged by.
    Zram,
    /// Replays of a trace in this process, against a plain cache.
    Trace,
    /// A swap workload in a virtual machine, in counted instructions.
    Swap,
    /// Files that are read again, in a virtual machine, in counted instructions.
    File,
    /// What recording costs the swap workload.
    Record,
    /// What leaving the dashboard open costs.
    Watch,
}

impl Topic {
    /// Whether it is measured in this process, which then has to be optimised.
    fn is_native(self) -> bool {
        match self {
            Self::Engine | Self::Codec | Self::Zram => true,
            Self::Trace | Self::Swap | Self::File | Self::Record | Self::Watch => false,
        }
    }
}

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What to measure; everything if not given.
    topic: Option<Topic>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// Codecs: on the pages that they are tuned with, instead of those they are judged by.
    #[arg(long)]
    train: bool,
    /// The kernel of the machine.
    #[arg(long, default_value = "6.12")]
    kernel: Kernel,
}

/// What a figure must keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Bound {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtMost(most) => figure <= most,
            Self::AtLeast(least) => figure >= least,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtMost(most) => format!("<= {most:.2}"),
            Self::AtLeast(least) => format!(">= {least:.2}"),
        }
    }
}

/// One figure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Row {
    /// What was measured: `topic/what/of what`.
    pub(crate) name: String,
    /// The figure.
    pub(crate) value: f64,
    /// Its unit; empty for a ratio.
    pub(crate) unit: &'static str,
    /// What it is compared with, in the same unit.
    pub(crate) baseline: Option<f64>,
    /// Value / baseline, as measured (a median of ratios is not the ratio of medians).
    pub(crate) ratio: Option<f64>,
    /// Half the range that the middle half of the rounds lies in, of the ratio if
    /// there is one, else of the value.
    pub(crate) spread: Option<f64>,
    /// Of the ratio if there is one, else of the value.
    pub(crate) bound: Option<Bound>,
}

impl Row {
    /// A figure that stands alone.
    pub(crate) fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            name: name.into(),
            value,
            unit,
            baseline: None,
            ratio: None,
            spread: None,
            bound: None,
        }
    }

    /// Compared with `baseline`.
    pub(crate) fn against(mut self, baseline: f64) -> Self {
        self.baseline = Some(baseline);
        self.ratio = Some(self.value / baseline);
        self
    }

    /// With a bound.
    pub(crate) fn bound(mut self, bound: Bound) -> Self {
        self.bound = Some(bound);
        self
    }

    /// Whether the bound holds, if there is one.
    pub(crate) fn ok(&self) -> Option<bool> {
        Some(self.bound?.holds(self.ratio.unwrap_or(self.value)))
    }

    fn json(&self) -> String {
        let mut fields = Map::new();
        fields.insert("name".into(), json!(self.name));
        fields.insert("value".into(), json!(self.value));
        fields.insert("unit".into(), json!(self.unit));
        for (key, figure) in [
            ("baseline", self.baseline),
            ("ratio", self.ratio),
            ("spread", self.spread),
        ] {
            if let Some(figure) = figure {
                fields.insert(key.into(), json!(figure));
            }
        }
        if let (Some(bound), Some(ok)) = (self.bound, self.ok()) {
            fields.insert("bound".into(), json!(bound.text()));
            fields.insert("ok".into(), json!(ok));
        }
        Value::Object(fields).to_string()
    }
}

/// What one topic measured.
#[derive(Clone, Debug, Default)]
pub(crate) struct Report {
    /// The figures.
    pub(crate) rows: Vec<Row>,
    /// What to know about them, shown below the table.
    pub(crate) notes: Vec<String>,
}

/// A figure with about four digits.
fn digits(figure: f64) -> String {
    let decimals = match figure.abs() {
        a if a >= 1000.0 => 0,
        a if a >= 100.0 => 1,
        a if a >= 10.0 => 2,
        _ => 3,
    };
    format!("{figure:.decimals$}")
}

/// The table for people.
fn table(rows: &[Row]) -> String {
    let head = [
        "figure", "value", "unit", "baseline", "ratio", "spread", "bound", "",
    ];
    let mut cells = vec![head.map(String::from)];
    for row in rows {
        let figure = |f: Option<f64>| f.map_or_else(String::new, digits);
        cells.push([
            row.name.clone(),
            digits(row.value),
            row.unit.to_owned(),
            figure(row.baseline),
            figure(row.ratio),
            row.spread
                .map_or_else(String::new, |s| format!("±{}", digits(s))),
            row.bound.map_or_else(String::new, Bound::text),
            row.ok()
                .map_or("", |ok| if ok { "ok" } else { "FAILS" })
                .to_owned(),
        ]);
    }
    let widths: Vec<usize> = (0..head.len())
        .map(|i| {
            cells
                .iter()
                .map(|line| line[i].chars().count())
                .max()
                .unwrap_or(0)
        })
        .collect();
    let mut text = String::new();
    for line in cells {
        let mut out = String::new();
        for (i, (cell, width)) in line.iter().zip(&widths).enumerate() {
            // Numbers to the right, words to the left.
            let _ = match i {
                1 | 3 | 4 | 5 => write!(out, "{cell:>width$}  "),
                _ => write!(out, "{cell:<width$}  "),
            };
        }
        let _ = writeln!(text, "{}", out.trim_end());
    }
    text
}

/// The middle of `figures`.
pub(crate) fn median(figures: &[f64]) -> f64 {
    quantile(figures, 0.5)
}

/// Half the range that the middle half of `figures` lies in.
pub(crate) fn spread(figures: &[f64]) -> f64 {
    (quantile(figures, 0.75) - quantile(figures, 0.25)) / 2.0
}

fn quantile(figures: &[f64], q: f64) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        n => {
            let at = q * (n - 1) as f64;
            let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
            low + (high - low) * at.fract()
        }
    }
}

/// Measures and prints.
///
/// # Errors
/// What could not be measured, or how many figures are out of bounds.
pub(crate) fn run(args: &Args) -> Result<()> {
    let topics = args
        .topic
        .map_or_else(|| Topic::value_variants().to_vec(), |topic| vec![topic]);
    if cfg!(debug_assertions) && topics.iter().any(|topic| topic.is_native()) {
        let mut again = cargo()?;
        again.args([
            "run",
            "--quiet",
            "--profile",
            "bench-native",
            "--package",
            "xtask",
            "--features",
            "baselines",
            "--",
        ]);
        return run_program(again.args(env::args_os().skip(1)));
    }
    let mut failed = 0;
    for topic in topics {
        let Report { rows, notes } = match topic {
            Topic::Engine => engine::run()?,
            Topic::Codec => codec::run(if args.train {
                Split::Train
            } else {
                Split::Test
            })?,
            Topic::Zram => against_zram::run()?,
            Topic::Trace => trace::run()?,
            Topic::Swap => swap::run(args.kernel)?,
            Topic::File => file::run(args.kernel)?,
            Topic::Record => record::run(args.kernel)?,
            Topic::Watch => watch::run(args.kernel)?,
        };
        failed += rows.iter().filter(|row| row.ok() == Some(false)).count();
        if args.json {
            rows.iter().for_each(|row| println!("{}", row.json()));
        } else {
            print!("{}", table(&rows));
            notes.iter().for_each(|note| println!("# {note}"));
            println!();
        }
    }
    match failed {
        0 => Ok(()),
        n => {
            say("each figure out of bounds is marked FAILS");
            bail!("{n} figures out of bounds")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_of_the_ratio_if_there_is_one() {
        let row = Row::new("put", 6.0, "us/page")
            .against(5.0)
            .bound(Bound::AtMost(1.1));
        assert_eq!(row.ok(), Some(false));
        let row = Row::new("density", 0.98, "").bound(Bound::AtLeast(0.97));
        assert_eq!(row.ok(), Some(true));
        assert_eq!(Row::new("memcpy", 0.3, "us/page").ok(), None);
    }

    #[test]
    fn json_has_only_what_is_known() {
        assert_eq!(
            Row::new("a", 2.0, "s").json(),
            r#"{"name":"a","unit":"s","value":2.0}"#
        );
        let bounded = Row::new("a", 2.0, "s")
            .against(4.0)
            .bound(Bound::AtMost(1.1))
            .json();
        assert_eq!(
            bounded,
            r#"{"baseline":4.0,"bound":"<= 1.10","name":"a","ok":true,"ratio":0.5,"unit":"s","value":2.0}"#
        );
    }

    #[test]
    fn medians_and_spreads() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[1.0, 2.0]) - 1.5).abs() < 1e-9);
        assert!((spread(&[1.0, 2.0, 3.0, 4.0, 5.0]) - 1.0).abs() < 1e-9);
    }
}
