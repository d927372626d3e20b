//! The module's tracepoints, as anyone with tracefs sees them.

use std::fs;
use std::io::{BufRead as _, BufReader};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tmem_common::op::Outcome;

use super::contents::Stage;
use crate::context::Context;
use crate::tier::Stats;

/// What the module's tracepoint of that name says while `work` runs, a line for each time.
pub(super) fn of(event: &str, work: impl FnOnce() -> Result<()>) -> Result<Vec<String>> {
    write("trace", "")?;
    write("buffer_size_kb", "8192")?;
    write(&format!("events/tmem/{event}/enable"), "1")?;
    work()?;
    write(&format!("events/tmem/{event}/enable"), "0")?;
    let path = format!("{TRACING}/trace");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    write("trace", "")?;
    write("buffer_size_kb", "1408")?;
    let counts = text
        .lines()
        .find_map(|line| line.strip_prefix("# entries-in-buffer/entries-written: "))
        .and_then(|numbers| numbers.split_whitespace().next()?.split_once('/'));
    let (kept, written) = counts.context("no number of entries")?;
    ensure!(
        kept == written,
        "the trace buffer was too small: {kept}/{written}"
    );
    let said = format!(" {event}: ");
    Ok(text
        .lines()
        .filter_map(|line| Some(line.split_once(&said)?.1.to_owned()))
        .collect())
}

const TRACING: &str = "/sys/kernel/tracing";
const FIELDS: &[&str] = &[
    "pool", "object", "index", "outcome", "bytes", "ns", "cgroup",
];

fn write(file: &str, value: &str) -> Result<()> {
    let path = format!("{TRACING}/{file}");
    fs::write(&path, value).with_context(|| format!("writing {value:?} to {path}"))
}

/// Every tracepoint describes its fields, and their number is that of the statistics.
pub(super) fn tracepoints(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    for event in ["tmem_put", "tmem_get", "tmem_flush", "tmem_evict"] {
        let path = format!("{TRACING}/events/tmem/{event}/format");
        let format = fs::read_to_string(&path).context(path)?;
        for field in FIELDS {
            let described = format
                .lines()
                .filter_map(|line| line.trim().strip_prefix("field:")?.split(';').next())
                .any(|declaration| declaration.split_whitespace().last() == Some(field));
            ensure!(described, "{event} has no field {field}: {format}");
        }
    }

    write("trace", "")?;
    write("buffer_size_kb", "16384")?;
    let before = Stats::read()?;
    write("events/tmem/enable", "1")?;
    stage.exercise(context, context.number("stores")?)?;
    write("events/tmem/enable", "0")?;
    let after = Stats::read()?;
    let seen = count()?;
    write("trace", "")?;
    write("buffer_size_kb", "1408")?;

    let since = |name: &str| after.get(name) - before.get(name);
    let sum = |outcomes: &[Outcome]| outcomes.iter().map(|o| since(o.name())).sum::<u64>();
    let puts = sum(&[
        Outcome::Stored,
        Outcome::StoredSame,
        Outcome::StoredRaw,
        Outcome::RefusedLimit,
        Outcome::RefusedNoMemory,
        Outcome::RefusedIncompressible,
        Outcome::RefusedFrozen,
    ]);
    let gets = sum(&[Outcome::Hit, Outcome::Miss, Outcome::Corrupt]);
    let flushes = sum(&[Outcome::Flushed]);
    context.data(json!({
        "traced": { "put": seen.put, "get": seen.get, "flushed": seen.flushed },
        "counted": { "put": puts, "get": gets, "flushed": flushes },
    }));
    ensure!(
        (seen.put, seen.get, seen.flushed) == (puts, gets, flushes),
        "traced {seen:?}, counted {puts} puts, {gets} gets, {flushes} flushed"
    );
    stage.finish(context)
}

/// Events in the trace buffer.
#[derive(Debug, Default)]
struct Seen {
    put: u64,
    get: u64,
    flushed: u64,
}

fn count() -> Result<Seen> {
    let path = format!("{TRACING}/trace");
    let mut seen = Seen::default();
    let flushed = format!(" outcome={} ", Outcome::Flushed as u32);
    let file = fs::File::open(&path).with_context(|| path.clone())?;
    for line in BufReader::new(file).lines() {
        let line = line.with_context(|| path.clone())?;
        if let Some(numbers) = line.strip_prefix("# entries-in-buffer/entries-written: ") {
            let numbers = numbers.split_whitespace().next().unwrap_or_default();
            let (kept, written) = numbers.split_once('/').context("no number of entries")?;
            ensure!(kept == written, "the trace buffer was too small: {numbers}");
        } else if line.contains("tmem_put:") {
            seen.put += 1;
        } else if line.contains("tmem_get:") {
            seen.get += 1;
        } else if line.contains("tmem_flush:") && line.contains(&flushed) {
            seen.flushed += 1;
        }
    }
    Ok(seen)
}
