//! `tmem replay`: what a trace's requests would have met under other settings.

use std::io::{self, IsTerminal as _, Write as _};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tmem_common::policy::Policy;

use super::USAGE;
use super::args::{Global, Table};
use super::bars::{Bars, Scale, bars, line};
use super::commands::print;
use super::export::warn_of;
use super::record::parse_sample;
use super::table;
use crate::columns::{Cell, Column, Style, more, usual};
use crate::trace::codecs::{KNOWN, Known};
use crate::trace::reader::Reader;
use crate::trace::replay::{Arena, ReplayError, Replayed, Setting, Sizes, replay};
use crate::trace::requests::Requests;
use crate::units::{Size, parse_size, show_bytes, show_ns, show_share};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The trace
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Budgets, such as 256M,1G or 20% of the recorded machine's memory [default: the recorded one]
    #[arg(long, value_name = "SIZE,...", value_delimiter = ',', value_parser = parse_limit)]
    limit: Vec<Size>,
    /// How large pages are: recorded, as lz4, lzo-rle, zstd, px64 or adaptive would make them, none
    /// (kept as they are), or zstd=0.8 (so much the recorded size)
    #[arg(long, value_name = "CODEC,...", value_delimiter = ',', default_value = "recorded",
          value_parser = parse_codec)]
    codec: Vec<Wanted>,
    /// Which pages of ephemeral pools go first: lru, fifo, clock, s3fifo, sieve or 2q [default: as recorded]
    #[arg(long, value_name = "POLICY,...", value_delimiter = ',', value_parser = parse_policy)]
    policy: Vec<Policy>,
    /// Replay the requests of one page in N, with budgets as much smaller [default: all that are recorded]
    #[arg(long, value_name = "1/N", value_parser = parse_sample)]
    sample: Option<u32>,
    #[command(flatten)]
    replays: Replays,
    #[command(flatten)]
    table: Table,
}

/// How settings are replayed.
#[derive(Debug, Args)]
pub(super) struct Replays {
    /// Start of the random numbers that stand for sizes that the trace does not tell
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) seed: u64,
    /// Settings that are replayed at the same time [default: one a CPU]
    #[arg(long, value_name = "N")]
    pub(super) threads: Option<NonZero<usize>>,
}

fn parse_limit(text: &str) -> Result<Size, String> {
    parse_size(text).ok_or_else(|| "a size such as 256M or 20% is wanted".to_owned())
}

/// A policy by its name.
pub(super) fn parse_policy(text: &str) -> Result<Policy, String> {
    Policy::from_name(text).ok_or_else(|| {
        let names = Policy::ALL.map(Policy::name).join(", ");
        format!("one of {names} is wanted")
    })
}

/// How large pages are to be.
#[derive(Clone, Debug, PartialEq)]
enum Wanted {
    /// Said outright.
    Sizes(Sizes),
    /// As this codec would make them.
    Codec(&'static Known),
}

impl Wanted {
    /// The sizes for a trace; `None` where it does not tell what made its own.
    fn sizes(&self, requests: &Requests) -> Option<Sizes> {
        Some(match self {
            Wanted::Sizes(sizes) => sizes.clone(),
            Wanted::Codec(known) => {
                let factors = known.factors(Known::of_trace(requests)?, requests);
                // As exact as the table shows it.
                let factor = (factors.expected * 1000.0).round() / 1000.0;
                Sizes::Scaled(known.codec.name().to_owned(), factor)
            }
        })
    }
}

fn parse_codec(text: &str) -> Result<Wanted, String> {
    match text {
        "recorded" => return Ok(Wanted::Sizes(Sizes::Recorded)),
        "none" => return Ok(Wanted::Sizes(Sizes::None)),
        _ => {}
    }
    if let Some(known) = Known::named(text) {
        return Ok(Wanted::Codec(known));
    }
    text.split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .and_then(|(name, factor)| Some((name, factor.parse::<f64>().ok()?)))
        .filter(|(_, factor)| (0.01..=10.0).contains(factor))
        .map(|(name, factor)| Wanted::Sizes(Sizes::Scaled(name.to_owned(), factor)))
        .ok_or_else(|| {
            let names = KNOWN.each_ref().map(|known| known.codec.name()).join(", ");
            format!(
                "recorded, none, {names}, or a name with a factor from 0.01 to 10, such as zstd=0.8, is wanted"
            )
        })
}

/// A line of the table: what was recorded, or what a replay gave.
struct Row {
    codec: String,
    policy: Option<Policy>,
    limit_bytes: Option<u64>,
    hit_share: Option<f64>,
    replayed: Option<Replayed>,
    cpu_ns: Option<f64>,
}

fn counted(row: &Row, count: fn(&Replayed) -> u64) -> Cell {
    Cell::of(row.replayed.as_ref().map(count), Cell::Count)
}

static COLUMNS: &[Column<Row>] = &[
    usual("what", |row| {
        let what = match row.replayed {
            Some(_) => "replayed",
            None => "recorded",
        };
        Cell::Text(what.to_owned())
    }),
    usual("limit", |row| Cell::of(row.limit_bytes, Cell::Bytes)),
    usual("codec", |row| Cell::Text(row.codec.clone())),
    usual("policy", |row| {
        Cell::of(row.policy, |policy| Cell::Text(policy.name().to_owned()))
    }),
    usual("hit_rate", |row| Cell::of(row.hit_share, Cell::Share)),
    usual("gets", |row| counted(row, |done| done.gets)),
    usual("hits", |row| counted(row, |done| done.hits)),
    usual("refused", |row| counted(row, |done| done.refused)),
    usual("evicted", |row| counted(row, |done| done.evicted)),
    usual("pages", |row| counted(row, |done| done.pages)),
    usual("used", |row| {
        Cell::of(
            row.replayed.as_ref().map(|done| done.used_bytes),
            Cell::Bytes,
        )
    }),
    usual("cpu", |row| Cell::of(row.cpu_ns, |ns| Cell::Ns(ns as u64))),
    more("requests", |row| counted(row, |done| done.requests)),
    more("wall", |row| {
        let wall = row.replayed.as_ref().map(|done| done.wall);
        Cell::of(wall, |wall| {
            Cell::Ns(u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX))
        })
    }),
];

pub(super) fn run(global: &Global, options: &Options) -> anyhow::Result<u8> {
    let mut reader = Reader::open(&options.file)?;
    if options.sample == Some(0) {
        log::error!("--sample 0: nothing would be replayed; 1/N such as 1/100 is wanted");
        return Ok(USAGE);
    }
    let requests = Requests::read(&mut reader, options.sample.unwrap_or(1))?;
    warn_of(&options.file, &requests.end);
    let recorded = requests.readings.as_ref().map(|(_, last)| last.limit_bytes);
    let mut limits = Vec::new();
    for limit in &options.limit {
        limits.push(match (*limit, requests.meta.ram_bytes) {
            (Size::Bytes(bytes), _) => bytes,
            (Size::Percent(_), 0) => {
                log::error!("--limit in percent: the trace does not tell of how much memory");
                return Ok(USAGE);
            }
            (Size::Percent(percent), ram) => ram / 100 * u64::from(percent),
        });
    }
    if limits.is_empty() {
        let Some(limit) = recorded else {
            log::error!("--limit is wanted, for the trace has none of its own");
            return Ok(USAGE);
        };
        limits.push(limit);
    }
    let mut codecs = Vec::new();
    for wanted in &options.codec {
        let Some(sizes) = wanted.sizes(&requests) else {
            log::error!(
                "--codec: the trace does not tell which codec made its sizes; say how much smaller, such as zstd=0.8"
            );
            return Ok(USAGE);
        };
        codecs.push(sizes);
    }
    let policies: Vec<Option<Policy>> = match &options.policy[..] {
        [] => vec![None],
        chosen => chosen.iter().copied().map(Some).collect(),
    };
    let settings: Vec<Setting> = limits
        .iter()
        .flat_map(|limit_bytes| {
            codecs.iter().flat_map(|codec| {
                policies.iter().map(|policy| Setting {
                    limit_bytes: *limit_bytes,
                    codec: codec.clone(),
                    policy: *policy,
                    admission: None,
                    seed: options.replays.seed,
                    keep_incompressible: None,
                })
            })
        })
        .collect();
    let progress = io::stderr().is_terminal() && !global.json;
    let replayed = replay_all(&requests, &settings, options.replays.threads, progress)?;

    let as_recorded = requests.ephemeral().next();
    let as_recorded = as_recorded.map_or(Policy::Lru, |pool| requests.policy_of(pool.id));
    let mut rows = Vec::new();
    if recorded.is_some() {
        rows.push(Row {
            codec: Sizes::Recorded.name(),
            policy: None,
            limit_bytes: recorded,
            hit_share: requests.recorded_hit_share(),
            replayed: None,
            cpu_ns: None,
        });
    }
    for (setting, replayed) in settings.iter().zip(replayed) {
        rows.push(Row {
            codec: setting.codec.name(),
            policy: Some(setting.policy.unwrap_or(as_recorded)),
            limit_bytes: Some(setting.limit_bytes),
            hit_share: replayed.hit_share(),
            cpu_ns: replayed.cpu_ns(&requests, &setting.codec),
            replayed: Some(replayed),
        });
    }
    table::print_table(global, &options.table, "replay", COLUMNS, &rows)?;
    let for_people = !global.json && options.table.style() == Style::People;
    if for_people && options.table.columns.is_empty() && settings.len() > 1 {
        print(&format!("\n{}", plot(&rows)))?;
    }
    Ok(0)
}

/// Bars of what was replayed, by codec and policy: read downwards, the curve over the budgets.
fn plot(rows: &[Row]) -> String {
    let name = |row: &Row| {
        let policy = row.policy.map_or("", Policy::name);
        format!("{policy}, {}", row.codec)
    };
    let mut groups: Vec<(String, Vec<Bars>)> = Vec::new();
    for row in rows {
        let Some(replayed) = &row.replayed else {
            continue;
        };
        let bars = Bars {
            label: row.limit_bytes.map_or_else(String::new, show_bytes),
            values: vec![row.hit_share, Some(replayed.used_bytes as f64), row.cpu_ns],
        };
        match groups.iter_mut().find(|(known, _)| *known == name(row)) {
            Some((_, all)) => all.push(bars),
            None => groups.push((name(row), vec![bars])),
        }
    }
    let scales = [
        Scale {
            title: "hit rate",
            top: Some(1.0),
            show: |share| show_share(Some(share)),
        },
        Scale {
            title: "memory at the end",
            top: None,
            show: |bytes| show_bytes(bytes as u64),
        },
        Scale {
            title: "CPU",
            top: None,
            show: |ns| show_ns(ns as u64),
        },
    ];
    bars(&scales, &groups)
}

/// Replays each setting, several at the same time; the results in their order.
pub(super) fn replay_all(
    requests: &Requests,
    settings: &[Setting],
    threads: Option<NonZero<usize>>,
    progress: bool,
) -> anyhow::Result<Vec<Replayed>> {
    let threads = match threads {
        Some(threads) => threads,
        None => thread::available_parallelism().context("counting CPUs")?,
    };
    let (next, done, over) = (
        AtomicUsize::new(0),
        AtomicU64::new(0),
        AtomicBool::new(false),
    );
    let results: Mutex<Vec<Option<Result<Replayed, ReplayError>>>> =
        Mutex::new(settings.iter().map(|_| None).collect());
    let all = requests.list.len() as u64 * settings.len() as u64;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get().min(settings.len()))
            .map(|_| {
                scope.spawn(|| {
                    let mut arena = Arena::default();
                    loop {
                        let number = next.fetch_add(1, Relaxed);
                        let Some(setting) = settings.get(number) else {
                            return;
                        };
                        let result = replay(requests, setting, &mut arena, &done);
                        let mut results = results
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner);
                        results[number] = Some(result);
                    }
                })
            })
            .collect();
        if progress {
            scope.spawn(|| show_progress(&done, all, &over));
        }
        for worker in workers {
            // A panic of the thread has been printed already; its result is missing below.
            let _ = worker.join();
        }
        over.store(true, Relaxed);
    });
    results
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
        .into_iter()
        .map(|result| Ok(result.context("a replay did not end")??))
        .collect()
}

/// Shows how much is done until it is over, on a line of its own that is then cleared.
fn show_progress(done: &AtomicU64, all: u64, over: &AtomicBool) {
    while !over.load(Relaxed) {
        let share = done.load(Relaxed) as f64 / all.max(1) as f64;
        // Progress that nobody can see is no reason to stop.
        let _ = write!(io::stderr(), "\r{}", progress_line(share));
        thread::sleep(Duration::from_millis(100));
    }
    let _ = write!(io::stderr(), "\r\x1b[K");
}

fn progress_line(share: f64) -> String {
    const WIDTH: usize = 30;
    let filled = line(WIDTH, share);
    format!("replaying [{filled}] {:3.0} %", share * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_bar() {
        let half = format!("replaying [{}{}]  50 %", "█".repeat(15), " ".repeat(15));
        assert_eq!(progress_line(0.5), half);
    }

    #[test]
    fn codecs_are_recorded_known_or_a_factor() {
        assert_eq!(parse_codec("recorded"), Ok(Wanted::Sizes(Sizes::Recorded)));
        assert_eq!(parse_codec("none"), Ok(Wanted::Sizes(Sizes::None)));
        assert_eq!(
            parse_codec("zstd=0.8"),
            Ok(Wanted::Sizes(Sizes::Scaled("zstd".to_owned(), 0.8)))
        );
        for known in &KNOWN {
            assert_eq!(parse_codec(known.codec.name()), Ok(Wanted::Codec(known)));
        }
        for bad in ["", "gzip", "zstd=", "=0.5", "zstd=0", "zstd=x", "zstd=NaN"] {
            assert!(parse_codec(bad).is_err(), "{bad}");
        }
    }
}
