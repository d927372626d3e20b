//! `tmem mrc`: the miss-ratio curve of a trace.

use std::path::PathBuf;

use clap::Args;

use super::USAGE;
use super::args::{Global, Table};
use super::export::warn_of;
use super::record::parse_sample;
use super::table;
use crate::columns::{Cell, Column, Style as TableStyle, usual};
use crate::trace::TraceError;
use crate::trace::mrc::{Rate, Shards, Style};
use crate::trace::reader::Reader;
use crate::trace::record::{Reading, Record};
use crate::trace::requests::Request;

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
    let mut reader = Reader::open(&options.file)?;
    let meta = reader.meta().clone();
    let style = if meta.cache {
        Style::Cache
    } else {
        Style::Exclusive
    };
    let given = meta.sample_one_in.max(1);
    let mut sampled = Shards::new(rate, style, given);
    let mut exact = options
        .exact
        .then(|| Shards::new(Rate::Fixed(1), style, given));
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
            let Some(request) = Request::of(event).filter(|_| !persistent) else {
                continue;
            };
            sampled.request(&request);
            if let Some(exact) = &mut exact {
                exact.request(&request);
            }
        }
    }
    warn_of(
        &options.file,
        reader.end().unwrap_or(&crate::trace::reader::End::Open),
    );
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
    let rows: Vec<Row> = (1..=options.points)
        .map(|point| {
            let pages = (largest * f64::from(point) / f64::from(options.points)).ceil();
            Row {
                pages,
                memory: page_memory.map(|bytes| bytes * pages),
                misses: sampled.miss_share(pages),
                exact: exact.as_ref().and_then(|exact| exact.miss_share(pages)),
            }
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
