//! `tmem mrc`: the miss-ratio curve of a trace.

use std::path::{Path, PathBuf};

use clap::Args;
use tmem_common::policy::Policy;

use super::USAGE;
use super::args::{Global, Table};
use super::export::warn_of;
use super::record::parse_sample;
use super::replay::parse_policy;
use super::table;
use crate::columns::{Cell, Column, Style as TableStyle, usual};
use crate::trace::TraceError;
use crate::trace::mrc::{Rate, Shards, Style};
use crate::trace::reader::{End, Reader};
use crate::trace::record::{Reading, Record};
use crate::trace::requests::Request;
use crate::trace::simulate::Miniature;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The trace
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Look at one page in N [default: at all that are recorded]
    #[arg(long, value_name = "1/N", value_parser = parse_sample, conflicts_with = "pages")]
    sample: Option<u32>,
    /// Look at this many pages at the most, and at fewer in N as more come
    #[arg(long, value_name = "PAGES")]
    pages: Option<usize>,
    /// Which page goes first: lru by its stack, fifo, clock, s3fifo, sieve or 2q by small simulations
    #[arg(long, value_name = "POLICY", default_value = "lru", value_parser = parse_policy)]
    policy: Policy,
    /// Sizes to print, from nothing to the largest that makes a difference
    #[arg(long, value_name = "N", default_value_t = 20,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    points: u32,
    /// Look at every recorded page as well, and print the difference
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    table: Table,
}

struct Row {
    pages: f64,
    memory: Option<f64>,
    misses: Option<f64>,
    exact: Option<f64>,
}

impl Row {
    fn error(&self) -> Option<f64> {
        Some((self.misses? - self.exact?).abs())
    }
}

static COLUMNS: &[Column<Row>] = &[
    usual("pages", |row| Cell::Count(row.pages as u64)),
    usual("memory", |row| {
        Cell::of(row.memory, |bytes| Cell::Bytes(bytes as u64))
    }),
    usual("miss_rate", |row| Cell::of(row.misses, Cell::Share)),
    usual("exact", |row| Cell::of(row.exact, Cell::Share)),
    usual("error", |row| Cell::of(row.error(), Cell::Share)),
];

pub(super) fn run(global: &Global, options: &Options) -> anyhow::Result<u8> {
    let rate = match (options.sample, options.pages) {
        (Some(0), _) | (_, Some(0)) => {
            log::error!("nothing would be looked at: at least one page is wanted");
            return Ok(USAGE);
        }
        (_, Some(pages)) => Rate::Pages(pages),
        (sample, None) => Rate::Fixed(sample.unwrap_or(1)),
    };
    if options.policy != Policy::Lru && options.pages.is_some() {
        log::error!(
            "--pages: --policy {} is simulated with --sample 1/N instead",
            options.policy.name()
        );
        return Ok(USAGE);
    }
    let reader = Reader::open(&options.file)?;
    let style = if reader.meta().cache {
        Style::Cache
    } else {
        Style::Exclusive
    };
    let given = reader.meta().sample_one_in.max(1);
    drop(reader);
    let mut sampled = Shards::new(rate, style, given);
    let mut exact = options
        .exact
        .then(|| Shards::new(Rate::Fixed(1), style, given));
    let (last, end) = each_request(&options.file, |request| {
        sampled.request(request);
        if let Some(exact) = &mut exact {
            exact.request(request);
        }
    })?;
    warn_of(&options.file, &end);
    if sampled.miss_share(0.0).is_none() {
        return Err(TraceError::Unfit {
            path: options.file.clone(),
            why: "there is no curve, for no page of an ephemeral pool was asked for in the sample"
                .to_owned(),
        }
        .into());
    }
    let page_memory = last
        .filter(|reading| reading.totals.pages > 0)
        .map(|reading| reading.used_bytes as f64 / reading.totals.pages as f64);
    let largest = exact.as_ref().unwrap_or(&sampled).largest();
    let sizes: Vec<f64> = (1..=options.points)
        .map(|point| (largest * f64::from(point) / f64::from(options.points)).ceil())
        .collect();
    let of_stack = |shards: &Shards| -> Vec<Option<f64>> {
        sizes
            .iter()
            .map(|pages| shards.miss_share(*pages))
            .collect()
    };
    let (misses, exact) = if options.policy == Policy::Lru {
        (of_stack(&sampled), exact.as_ref().map(of_stack))
    } else {
        let one_in = options.sample.unwrap_or(1);
        let mut small = Miniature::new(options.policy, style, &sizes, one_in, given);
        let mut whole = options
            .exact
            .then(|| Miniature::new(options.policy, style, &sizes, 1, given));
        each_request(&options.file, |request| {
            small.request(request);
            if let Some(whole) = &mut whole {
                whole.request(request);
            }
        })?;
        let shares = |caches: &Miniature| (0..sizes.len()).map(|i| caches.miss_share(i)).collect();
        (shares(&small), whole.as_ref().map(shares))
    };
    let rows: Vec<Row> = sizes
        .iter()
        .enumerate()
        .map(|(number, pages)| Row {
            pages: *pages,
            memory: page_memory.map(|bytes| bytes * pages),
            misses: misses[number],
            exact: exact.as_ref().and_then(|exact| exact[number]),
        })
        .collect();
    table::print_table(global, &options.table, "mrc", COLUMNS, &rows)?;
    let errors: Vec<f64> = rows.iter().filter_map(Row::error).collect();
    if !errors.is_empty() && !global.json && options.table.style() == TableStyle::People {
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        super::commands::print(&format!(
            "mean absolute error {mean:.4}, looking at one page in {:.0}\n",
            sampled.one_in()
        ))?;
    }
    Ok(0)
}

/// Reads a trace's requests of ephemeral pools; the last reading, and where the trace ends.
fn each_request(
    file: &Path,
    mut take: impl FnMut(&Request),
) -> Result<(Option<Reading>, End), TraceError> {
    let mut reader = Reader::open(file)?;
    let mut last: Option<Reading> = None;
    while let Some(record) = reader.next_record()? {
        let events = match record {
            Record::Events(events) => events,
            Record::Reading(reading) => {
                last = Some(*reading);
                continue;
            }
        };
        for event in &events {
            let persistent = last.iter().flat_map(|reading| &reading.pools).any(|pool| {
                // Persistent pools refuse where others evict.
                pool.id == event.pool && pool.is_persistent()
            });
            if let Some(request) = Request::of(event).filter(|_| !persistent) {
                take(&request);
            }
        }
    }
    let end = reader.end().cloned().unwrap_or(End::Open);
    Ok((last, end))
}
