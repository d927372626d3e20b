//! Replays of a trace: requests a second of the engine and of the simulator, beside those
//! of a `HashMap` and a list on the same requests. The tool's example `bench_trace` runs them, since
//! xtask has to be built before what the tool needs.

use anyhow::{Context, Result};

use super::{Bound, Report, Row, median, spread};
use crate::process::{cargo, output};

/// Requests a second, in millions, of a replay by the engine under least recently used.
const LRU: Bound = Bound::AtLeast(2.0);
/// A replay's line of the example.
const ENGINE: &str = "engine";

pub(super) fn run() -> Result<Report> {
    let mut example = cargo()?;
    example.args([
        "run",
        "--quiet",
        "--profile",
        "bench-native",
        "--package",
        "tmem-user",
        "--example",
        "bench_trace",
    ]);
    let text = output(&mut example)?;
    let mut figures = Vec::new();
    for line in text.lines() {
        let (name, rounds) = line
            .split_once('\t')
            .with_context(|| format!("a name and figures are wanted: {line:?}"))?;
        let rounds = rounds
            .split(' ')
            .map(|ns| {
                ns.parse::<f64>()
                    .with_context(|| format!("a number: {ns:?}"))
            })
            .collect::<Result<Vec<f64>>>()?;
        figures.push((name.to_owned(), rounds));
    }
    let (_, plain) = figures.first().context("no figures")?;
    let mut report = Report::default();
    for (name, rounds) in &figures {
        // Nanoseconds a request as millions of requests a second.
        let per_second = 1e3 / median(rounds);
        let mut row = Row::new(format!("trace/replay/{name}"), per_second, "M/s");
        let ratios: Vec<f64> = plain.iter().zip(rounds).map(|(a, b)| a / b).collect();
        if name == ENGINE {
            report
                .rows
                .push(Row::new("trace/replay/engine lru", per_second, "M/s").bound(LRU));
        }
        row.baseline = Some(1e3 / median(plain));
        row.ratio = Some(median(&ratios));
        row.spread = Some(spread(&ratios));
        report.rows.push(row);
    }
    report.notes.push(
        "CPU time of one thread; 2 million gets of 400,000 pages (Zipf 0.9), a quarter fits; baseline: a HashMap and a list"
            .to_owned(),
    );
    Ok(report)
}
