//! What happened in a recording, in figures that can be compared: from its first
//! reading to its last.

use std::io::Read;

use tmem_common::PAGE_SIZE;
use tmem_common::op::{Op, Outcome};

use super::TraceError;
use super::reader::{End, Reader};
use super::record::{Reading, Record};
use crate::histogram::Histogram;

/// A figure and its unit; `None`: not measured or not defined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A share, 0 to 1.
    Share(Option<f64>),
    /// How often in a second.
    PerSecond(Option<f64>),
    /// Bytes.
    Bytes(Option<f64>),
    /// Nanoseconds.
    Ns(Option<f64>),
    /// Any other number.
    Number(Option<f64>),
}

impl Value {
    /// The number.
    pub const fn number(self) -> Option<f64> {
        match self {
            Value::Share(value)
            | Value::PerSecond(value)
            | Value::Bytes(value)
            | Value::Ns(value)
            | Value::Number(value) => value,
        }
    }
}

/// A name and what was measured.
pub type Figure = (&'static str, Value);

/// Reads a trace to its end: each figure with its name, in a fixed order, and where reading ended.
///
/// # Errors
/// When it cannot be read or has fewer than two readings.
pub fn summarize<R: Read>(reader: &mut Reader<R>) -> Result<(Vec<Figure>, End), TraceError> {
    let mut readings: Option<(Box<Reading>, Box<Reading>)> = None;
    while let Some(record) = reader.next_record()? {
        if let Record::Reading(reading) = record {
            readings = Some(match readings {
                Some((first, _)) => (first, reading),
                None => (reading.clone(), reading),
            });
        }
    }
    let end = reader.end().cloned().unwrap_or(End::Open);
    match readings {
        Some((first, last)) if first.time_ns < last.time_ns => Ok((figures(&first, &last), end)),
        _ => Err(TraceError::Unfit {
            path: reader.path().to_owned(),
            why: "it has fewer than two readings of the counters".to_owned(),
        }),
    }
}

/// Durations up to a reading of the operations of a kind that ended in one of `outcomes`.
pub(super) fn durations(reading: &Reading, op: Op, outcomes: &[Outcome]) -> Histogram {
    let mut all = Histogram::default();
    for cell in &reading.cells {
        let wanted = cell.outcome().is_some_and(|one| outcomes.contains(&one));
        if cell.op() == Some(op) && wanted {
            all.merge(&cell.histogram());
        }
    }
    all
}

/// The figures of the time between two readings.
pub(super) fn figures(first: &Reading, last: &Reading) -> Vec<Figure> {
    let seconds = (last.time_ns - first.time_ns) as f64 / 1e9;
    let since = |outcomes: &[Outcome]| last.totals.since(&first.totals, outcomes) as f64;
    let stored = since(&Outcome::STORED);
    let refused = since(&Outcome::REFUSED);
    let (hits, gets) = last.totals.hits_and_gets_since(&first.totals);
    let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    let grown = |value: fn(&Reading) -> Option<u64>| {
        Some(value(last)?.saturating_sub(value(first)?) as f64 / seconds)
    };
    let latency = |op, outcomes: &[Outcome], quantile| {
        let histogram = durations(last, op, outcomes).since(&durations(first, op, outcomes));
        histogram.percentile(quantile).map(|ns| ns as f64)
    };
    let gets_hit = [Outcome::Hit];
    vec![
        ("seconds", Value::Number(Some(seconds))),
        ("limit", Value::Bytes(Some(last.limit_bytes as f64))),
        ("used", Value::Bytes(Some(last.used_bytes as f64))),
        ("pages", Value::Number(Some(last.totals.pages as f64))),
        (
            "effective",
            Value::Number(share(
                last.totals.pages as f64 * PAGE_SIZE as f64,
                last.used_bytes as f64,
            )),
        ),
        ("stores", Value::PerSecond(Some(stored / seconds))),
        ("refused", Value::Share(share(refused, stored + refused))),
        ("gets", Value::PerSecond(Some(gets as f64 / seconds))),
        ("hit_rate", Value::Share(share(hits as f64, gets as f64))),
        (
            "evicted",
            Value::PerSecond(Some(since(&[Outcome::Evicted]) / seconds)),
        ),
        (
            "put_p50",
            Value::Ns(latency(Op::Put, &Outcome::STORED, 0.5)),
        ),
        (
            "put_p99",
            Value::Ns(latency(Op::Put, &Outcome::STORED, 0.99)),
        ),
        ("get_p50", Value::Ns(latency(Op::Get, &gets_hit, 0.5))),
        ("get_p99", Value::Ns(latency(Op::Get, &gets_hit, 0.99))),
        (
            "swap_written",
            Value::PerSecond(grown(|reading| reading.swap_pages_written)),
        ),
        (
            "swap_read",
            Value::PerSecond(grown(|reading| reading.swap_pages_read)),
        ),
        (
            "pressure",
            Value::Share(grown(|reading| reading.pressure_some_us).map(|us| us / 1e6)),
        ),
    ]
}
