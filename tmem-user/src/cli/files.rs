//! `tmem files`: which files profit. What became of their pages in the measured
//! time, file by file.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;

use super::args::{Global, Table};
use super::commands::{Watch, open};
use super::{CANNOT_MEASURE, FAILED, child, measure, table};
use crate::columns::{Cell, Column, more, usual};
use crate::interval::Interval;
use crate::source::{FileSnapshot, ONLY_OF_THE_MODULE};
use crate::units::parse_duration;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// How long to measure [default: 1s]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration,
          conflicts_with = "command")]
    time: Option<Duration>,
    /// Only so many files, those with the most hits
    #[arg(long, value_name = "N")]
    top: Option<usize>,
    #[command(flatten)]
    table: Table,
    /// The same as --no-headings
    #[arg(short = 'n')]
    bare: bool,
    /// Measure while this command runs; its output goes to standard error
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

static COLUMNS: &[Column<FileSnapshot>] = &[
    usual("name", |file| Cell::Text(file.label())),
    usual("device", |file| Cell::Text(file.device_name())),
    usual("inode", |file| Cell::Count(file.inode)),
    usual("hits", |file| Cell::Count(file.hits)),
    usual("misses", |file| Cell::Count(file.misses)),
    usual("hit_rate", |file| Cell::of(file.hit_share(), Cell::Share)),
    usual("puts", |file| Cell::Count(file.puts)),
    usual("stored", |file| Cell::Count(file.stored)),
    usual("mount", |file| Cell::of(file.mount.clone(), Cell::Text)),
    more("reads_avoided", |file| {
        Cell::Bytes(file.hits * tmem_common::PAGE_SIZE as u64)
    }),
];

/// Measures for a time or while a command runs; the exit code.
pub(super) async fn run(global: &Global, options: &Options) -> anyhow::Result<u8> {
    let columns = table::layout(&options.table, COLUMNS)?;
    let watch = Watch {
        observe: true,
        sample_one_in: 0,
    };
    let mut source = open(global, watch)?;
    let earlier = source.snapshot()?;
    let mut code = 0;
    if options.command.is_empty() {
        tokio::time::sleep(options.time.unwrap_or(measure::DEFAULT_TIME)).await;
    } else {
        let ended = child::run(&options.command, Stdio::from(io::stderr()), None).await?;
        code = u8::try_from(ended.exit_code).unwrap_or(FAILED);
    }
    let snapshot = source.snapshot()?;
    for part in &snapshot.unmeasured {
        if matches!(part.what, "latency" | "files" | ONLY_OF_THE_MODULE) {
            log::error!("files: not measured: {}", part.why);
        }
    }
    let Some(mut files) = Interval::between(&earlier, &snapshot).files else {
        return Ok(CANNOT_MEASURE);
    };
    files.sort_by_key(|file| (std::cmp::Reverse((file.hits, file.stored)), file.inode));
    files.truncate(options.top.unwrap_or(usize::MAX));
    let heading = !(options.table.no_headings || options.bare);
    table::print_layout(global, "files", COLUMNS, &columns, heading, &files)?;
    Ok(code)
}
