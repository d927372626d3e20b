//! `tmem advise`: what to set, from a trace or from what happens meanwhile.

use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::USAGE;
use super::args::{Global, Table};
use super::commands::{Watch, open};
use super::export::warn_of;
use super::record::{POLL, parse_sample};
use super::replay::{Replays, replay_all};
use super::table;
use crate::columns::{Cell, Column, usual};
use crate::trace::TraceError;
use crate::trace::advise::{Advice, Plan};
use crate::trace::reader::{End, Reader};
use crate::trace::recorder::{Recorder, describe};
use crate::trace::requests::Requests;
use crate::trace::writer::Writer;
use crate::units::{Size, parse_duration, parse_size};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The trace [default: what happens from now on]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Without FILE: how long to look
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_duration,
          conflicts_with = "file")]
    duration: Duration,
    /// Take the operations on one page in N [default: all in FILE, else 1/100]
    #[arg(long, value_name = "1/N", value_parser = parse_sample)]
    sample: Option<u32>,
    /// The budget to start from [default: the recorded one]
    #[arg(long, value_name = "SIZE", value_parser = parse_limit)]
    limit: Option<u64>,
    #[command(flatten)]
    replays: Replays,
    #[command(flatten)]
    table: Table,
}

fn parse_limit(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Some(Size::Bytes(bytes)) if bytes > 0 => Ok(bytes),
        _ => Err("a size such as 256M is wanted".to_owned()),
    }
}

static COLUMNS: &[Column<Advice>] = &[
    usual("setting", |row| Cell::Text(row.what.to_owned())),
    usual("advice", |row| Cell::Text(row.advice.clone())),
    usual("hit_rate", |row| Cell::Text(points(row.gain))),
    usual("uncertainty", |row| {
        Cell::Text(format!("\u{b1}{:.1}", row.uncertainty * 100.0))
    }),
    usual("memory_mib", |row| {
        Cell::Text(format!("{:+.1}", row.memory as f64 / f64::from(1 << 20)))
    }),
    usual("cpu", |row| Cell::of(row.cpu.map(points), Cell::Text)),
    usual("command", |row| Cell::of(row.command.clone(), Cell::Text)),
];

/// Percentage points with their sign.
fn points(share: f64) -> String {
    format!("{:+.1}", share * 100.0)
}

pub(super) async fn run(global: &Global, options: &Options) -> anyhow::Result<u8> {
    if options.sample == Some(0) {
        log::error!("--sample 0: nothing would be looked at; 1/N such as 1/100 is wanted");
        return Ok(USAGE);
    }
    match &options.file {
        Some(path) => advise(global, options, Reader::open(path)?),
        None => {
            let trace = watch(global, options).await?;
            advise(
                global,
                options,
                Reader::new(&trace[..], Path::new("what happened"))?,
            )
        }
    }
}

/// A trace of what happens for a while.
async fn watch(global: &Global, options: &Options) -> anyhow::Result<Vec<u8>> {
    let one_in = options.sample.unwrap_or(100);
    let watch = Watch {
        observe: true,
        sample_one_in: one_in,
    };
    let mut source = open(global, watch)?;
    let meta = describe(source.as_mut(), one_in, options.duration, &[])?;
    let writer = Writer::new(Vec::new(), &meta)?;
    let mut recorder = Recorder::start(source, writer)?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut polls = tokio::time::interval(POLL);
    let over = tokio::time::sleep(options.duration);
    tokio::pin!(over);
    loop {
        tokio::select! {
            () = &mut over => break,
            _ = interrupts.recv() => break,
            _ = polls.tick() => recorder.take_events()?,
        }
    }
    let (trace, _, dropped) = recorder.finish(None)?;
    if dropped > 0 {
        log::warn!("{dropped} events were lost: look at fewer pages (--sample)");
    }
    Ok(trace)
}

fn advise<R: Read>(
    global: &Global,
    options: &Options,
    mut reader: Reader<R>,
) -> anyhow::Result<u8> {
    let requests = Requests::read(&mut reader, options.sample.unwrap_or(1))?;
    if !matches!(requests.end, End::Whole(_)) {
        warn_of(reader.path(), &requests.end);
    }
    let recorded = requests.readings.as_ref().map(|(_, last)| last.limit_bytes);
    let Some(limit_bytes) = options.limit.or(recorded) else {
        log::error!("--limit is wanted, for the trace has none of its own");
        return Ok(USAGE);
    };
    let plan = Plan::new(&requests, limit_bytes, options.replays.seed);
    let progress = io::stderr().is_terminal() && !global.json;
    let replayed = replay_all(
        &requests,
        &plan.settings(),
        options.replays.threads,
        progress,
    )?;
    let advice = plan.advice(&replayed);
    if advice.is_empty() {
        return Err(TraceError::Unfit {
            path: reader.path().to_owned(),
            why: "no page was asked for in the sample".to_owned(),
        }
        .into());
    }
    table::print_table(global, &options.table, "advise", COLUMNS, &advice)?;
    Ok(0)
}
