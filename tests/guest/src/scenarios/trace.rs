//! Traces of the live module: nothing is lost, the file reads back, and what it
//! counts is what the module counts, and its replay says what was.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tmem_common::op::{Op, Outcome};
use tmem_common::sysfs;

use super::contents::{GROUP_MIB, Stage};
use super::reread;
use super::tool::{meanwhile, succeed, tmem};
use crate::cgroup::Cgroup;
use crate::content::Rng;
use crate::context::Context;
use crate::region::Region;
use crate::tier;

const TRACE: &str = "/tmp/record.trace";

/// Records the swap workload at 1/100 and at 1/1, and keeps the last of it in memory.
pub(super) fn record(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    for one_in in [100, 1] {
        once(&stage, context, one_in).with_context(|| format!("recording 1/{one_in}"))?;
    }
    hindsight(&stage, context).context("recording with hindsight")?;
    stage.finish(context)
}

/// A condition that begins to fail writes the trace, which ends with what made it fail.
fn hindsight(stage: &Stage, context: &Context) -> Result<()> {
    const KEPT: &str = "/tmp/record.1.trace";
    let stores = context.number("stores")? / 4;
    let arguments = [
        "record",
        "--hindsight",
        "10m",
        "-o",
        TRACE,
        "--sample",
        "1/10",
    ];
    // Nothing here is a thousand times smaller, so it fails as soon as a page is held.
    let condition = ["--interval", "500ms", "--min-ratio", "1000"];
    meanwhile(&[&arguments[..], &condition].concat(), || {
        stage.exercise(context, stores)?;
        for _ in 0..600 {
            if fs::exists(KEPT)? {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("no {KEPT}")
    })?;
    let said = read(KEPT)?;
    fs::remove_file(KEPT)?;
    ensure!(said.ended && said.readings.len() == 2, "it is not whole");
    context.data(json!({ "hindsight_events": said.events }));
    Ok(())
}

/// Operations at a time, of which each makes three events at the most: the ring buffer has room for 16384.
const BATCH: usize = 1000;

/// Work in batches, while all of it is recorded; what a replay at the recorded setting says of it is what was.
fn what_if(context: &Context, work: impl FnOnce(&dyn Fn()) -> Result<()>) -> Result<()> {
    // Lets the recorder take over what happened.
    let settle = || thread::sleep(Duration::from_millis(200));
    let (before, after, _) = meanwhile(&["record", "-o", TRACE, "--sample", "1/1"], || {
        work(&settle)
    })?;
    // Else any replay would do as well.
    let grown = |outcome| after.outcome(outcome) - before.outcome(outcome);
    let (refused, evicted) = (grown(Outcome::RefusedLimit), grown(Outcome::Evicted));
    ensure!(
        refused + evicted > 500,
        "{refused} refused and {evicted} evicted: there was room"
    );
    let said = read(TRACE)?;
    let table = succeed(tmem(&["--json", "replay", TRACE]))?;
    fs::remove_file(TRACE)?;
    let table: Value = serde_json::from_str(&table).context("the table of replays")?;
    let rate = |row: usize| {
        let rate = table["rows"][row]["hit_rate"].as_f64();
        rate.with_context(|| format!("no hit rate in line {row} of {table}"))
    };
    let (recorded, replayed) = (rate(0)?, rate(1)?);
    context.data(json!({
        "recorded": recorded,
        "replayed": replayed,
        "events": said.events,
        "refused_limit": refused,
        "evicted": evicted,
    }));
    let dropped = said.readings.last().map(|last| &last["events_dropped"]);
    ensure!(dropped == Some(&json!(0)), "{dropped:?} events were lost");
    ensure!(
        (0.1..0.9).contains(&recorded),
        "a hit rate of {recorded} says little"
    );
    ensure!(
        (recorded - replayed).abs() <= 0.02,
        "the hit rate was {recorded}, and {replayed} is predicted"
    );
    Ok(())
}

/// Swap pages, for half of which there is no room.
pub(super) fn what_if_swap(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    stage.tier.set(sysfs::LIMIT, "6M")?;
    what_if(context, |settle| {
        let worker = stage.worker(|| {
            let pages = 2 * GROUP_MIB as usize * 256;
            let mut region = Region::anonymous(pages, context.seed)?;
            let mut rng = Rng::new(context.seed);
            for first in (0..pages).step_by(BATCH) {
                for index in first..pages.min(first + BATCH) {
                    region.write(index);
                }
                settle();
            }
            for _ in 0..8 {
                for _ in 0..BATCH {
                    region.touch(&mut rng, stage.tally);
                }
                settle();
            }
            Ok(())
        })?;
        worker.join()
    })?;
    stage.finish(context)
}

/// File pages read at random, some more often than others, of which a part fits.
pub(super) fn what_if_file(context: &Context) -> Result<()> {
    let place = reread::start(context)?;
    tier::set(sysfs::LIMIT, "1536K")?;
    let group = Cgroup::new("files", 6)?;
    what_if(context, |settle| {
        reread::read_at_random(&group, context.seed, 16, BATCH, settle)
    })?;
    place.unmount()?;
    reread::finish()
}

/// What a trace says, in sum.
#[derive(Default)]
struct Said {
    /// The first and the last reading.
    readings: Vec<Value>,
    events: u64,
    /// Sampled puts that were stored.
    stored: u64,
    ended: bool,
}

fn once(stage: &Stage, context: &Context, one_in: u32) -> Result<()> {
    let sample = format!("1/{one_in}");
    let stores = context.number("stores")?;
    let (before, after, _) = meanwhile(&["record", "-o", TRACE, "--sample", &sample], || {
        stage.exercise(context, stores)
    })?;
    let said = read(TRACE)?;
    fs::remove_file(TRACE)?;
    ensure!(said.ended, "the trace has no end");
    let [first, last] = &said.readings[..] else {
        bail!("the trace has no readings");
    };
    let dropped = last["events_dropped"].as_u64();
    let mut counted = 0;
    for outcome in [
        Outcome::Stored,
        Outcome::StoredSame,
        Outcome::StoredRaw,
        Outcome::Hit,
    ] {
        let of = |reading: &Value| reading["totals"]["outcomes"][outcome.name()].as_u64();
        let recorded = of(last).zip(of(first)).map(|(last, first)| last - first);
        let real = after.outcome(outcome) - before.outcome(outcome);
        ensure!(
            recorded == Some(real),
            "{}: recorded {recorded:?}, counted {real}",
            outcome.name()
        );
        if outcome.is_stored() {
            counted += real;
        }
    }
    context.data(json!({
        "sample": sample,
        "events": said.events,
        "dropped": dropped,
        "stored": counted,
        "sampled_stores": said.stored,
    }));
    if one_in == 1 {
        // What the ring buffer had no room for is counted, and nothing else is missing.
        ensure!(
            said.stored <= counted && said.stored + dropped.unwrap_or(0) >= counted,
            "{} stores in events and {dropped:?} dropped, {counted} counted",
            said.stored
        );
    } else {
        ensure!(dropped == Some(0), "{dropped:?} events lost at 1/{one_in}");
        ensure!(said.events > 0, "no events at 1/{one_in}");
    }
    Ok(())
}

/// Reads the trace back, by the tool.
fn read(trace: &str) -> Result<Said> {
    let text = succeed(tmem(&["export", trace, "--format", "jsonl"]))?;
    let mut said = Said::default();
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).context("a line of the export")?;
        match line["kind"].as_str() {
            Some("event") => {
                said.events += 1;
                let stored = Outcome::ALL
                    .iter()
                    .any(|outcome| outcome.is_stored() && line["outcome"] == outcome.name());
                said.stored += u64::from(stored && line["op"] == Op::Put.name());
            }
            Some("reading") => {
                said.readings.truncate(1);
                said.readings.push(line);
            }
            Some("end") => said.ended = true,
            _ => {}
        }
    }
    Ok(said)
}
