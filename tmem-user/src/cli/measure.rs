//! Commands that measure for a time or while a command runs: stats, batch, check
//! and run.

use std::fs;
use std::io::{self, Write as _};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;

use super::args::{Check, Global, Run, Stats, Table};
use super::child::{self, Ended};
use super::commands::{Watch, open, print, print_json};
use super::{CANNOT_MEASURE, FAILED, USAGE};
use crate::check::{self, Sum};
use crate::columns::{Layout, Report, STATS_COLUMNS};
use crate::interval::Interval;
use crate::json::{Body, CommandJson, Document, StatsJson};
use crate::source::{Snapshot, Source};
use crate::text::{self, Palette};

/// Measured when nobody says how long.
pub(super) const DEFAULT_TIME: Duration = Duration::from_secs(1);

/// How reports are printed: as JSON, as a line of a table each, or as text.
pub(super) enum Printer {
    Json,
    Table {
        layout: Layout<Report>,
        heading: bool,
    },
    Text {
        palette: Palette,
        cgroups: bool,
    },
}

impl Printer {
    pub(super) fn new(global: &Global, table: &Table, cgroups: bool) -> anyhow::Result<Self> {
        if global.json {
            return Ok(Self::Json);
        }
        if table.wanted() {
            return Ok(Self::Table {
                layout: Layout::choose(STATS_COLUMNS, &table.columns, table.style())?,
                heading: !table.no_headings,
            });
        }
        Ok(Self::Text {
            palette: global.palette_for_stdout(),
            cgroups,
        })
    }

    /// Prints one report; the `number`th, from 0.
    fn print(
        &self,
        number: u64,
        source: &str,
        (earlier, snapshot): (&Snapshot, &Snapshot),
        command: Option<CommandJson>,
    ) -> anyhow::Result<()> {
        let interval = Interval::between(earlier, snapshot);
        match self {
            Printer::Json => {
                let stats = StatsJson::new(source.to_owned(), snapshot, &interval, command);
                print_json(Body::Stats(Box::new(stats)))
            }
            Printer::Table { layout, heading } => {
                let mut lines = String::new();
                if *heading && number == 0 {
                    lines.push_str(&layout.heading());
                }
                let snapshot = snapshot.clone();
                lines.push_str(&layout.row(&Report { snapshot, interval }));
                Ok(print(&lines)?)
            }
            Printer::Text { palette, cgroups } => {
                let mut report = String::new();
                if number > 0 {
                    report.push('\n');
                }
                report.push_str(&text::stats(source, snapshot, &interval, *palette));
                if *cgroups {
                    report.push_str(&text::cgroups(&interval, *palette));
                }
                Ok(print(&report)?)
            }
        }
    }
}

/// Prints a report after each `time`, so many of them, or without end.
pub(super) async fn report(
    printer: Printer,
    mut source: Box<dyn Source>,
    time: Duration,
    reports: Option<u64>,
) -> anyhow::Result<u8> {
    let mut earlier = source.snapshot()?;
    let mut ticks = tokio::time::interval(time);
    ticks.tick().await;
    let mut printed = 0;
    while reports.is_none_or(|reports| printed < reports) {
        ticks.tick().await;
        let snapshot = source.snapshot()?;
        printer.print(printed, &source.describe(), (&earlier, &snapshot), None)?;
        earlier = snapshot;
        printed += 1;
    }
    Ok(0)
}

fn command_json(command: &[String], ended: &Ended) -> CommandJson {
    let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    CommandJson {
        argv: command.to_vec(),
        exit_code: ended.exit_code,
        wall_ns: ns(ended.wall),
        user_ns: ns(ended.usage.user),
        system_ns: ns(ended.usage.system),
        peak_resident_bytes: ended.usage.peak_resident_bytes,
        major_faults: ended.usage.major_faults,
    }
}

/// Measures while a command runs. Its standard output goes to standard error,
/// so that ours holds the report alone; its exit code becomes ours.
pub(super) async fn stats_of_command(global: &Global, stats: &Stats) -> anyhow::Result<u8> {
    let printer = Printer::new(global, &stats.table, stats.cgroups)?;
    let mut source = open(global, Watch::of(stats))?;
    let earlier = source.snapshot()?;
    let ended = child::run(&stats.command, Stdio::from(io::stderr()), None).await?;
    let snapshot = source.snapshot()?;
    let command = command_json(&stats.command, &ended);
    printer.print(0, &source.describe(), (&earlier, &snapshot), Some(command))?;
    Ok(ended.as_ours())
}

/// Runs a command with its input and output untouched, and reports on standard
/// error or into a file.
pub(super) async fn run(global: &Global, options: &Run) -> anyhow::Result<u8> {
    let watch = Watch {
        observe: !options.no_ebpf,
        sample_one_in: 0,
    };
    let mut source = open(global, watch)?;
    let mut file = match &options.report {
        Some(path) => Some(
            fs::File::create(path).with_context(|| format!("cannot write {}", path.display()))?,
        ),
        None => None,
    };
    let earlier = source.snapshot()?;
    let ended = child::run(&options.command, Stdio::inherit(), None).await?;
    let snapshot = source.snapshot()?;
    let interval = Interval::between(&earlier, &snapshot);
    let command = command_json(&options.command, &ended);
    let name = source.describe();
    let report = if global.json {
        let stats = StatsJson::new(name, &snapshot, &interval, Some(command));
        Document::new(Body::Stats(Box::new(stats))).to_line()? + "\n"
    } else {
        let palette = match file {
            Some(_) => Palette { on: false },
            None => global.palette_for_stderr(),
        };
        let stats = text::stats(&name, &snapshot, &interval, palette);
        let cgroups = text::cgroups(&interval, palette);
        text::command(&command) + &stats + &cgroups
    };
    match &mut file {
        Some(file) => file
            .write_all(report.as_bytes())
            .context("writing the report")?,
        None => io::stderr().write_all(report.as_bytes())?,
    }
    Ok(ended.as_ours())
}

/// Measures for a time or while a command runs, and says which conditions held.
pub(super) async fn check(global: &Global, options: &Check) -> anyhow::Result<u8> {
    let conditions = options.conditions();
    if conditions.is_empty() {
        log::error!("no condition: at least one such as --min-hit-rate 0.6 is wanted");
        return Ok(USAGE);
    }
    let watch = Watch {
        observe: true,
        sample_one_in: 0,
    };
    let mut source = open(global, watch)?;
    let earlier = source.snapshot()?;
    let mut command = None;
    if options.command.is_empty() {
        tokio::time::sleep(options.time.unwrap_or(DEFAULT_TIME)).await;
    } else {
        let mut ended =
            child::run(&options.command, Stdio::from(io::stderr()), options.time).await?;
        if ended.stopped {
            // Stopping it was asked for, so it is no failure of the command.
            ended.exit_code = 0;
        }
        command = Some(command_json(&options.command, &ended));
    }
    let snapshot = source.snapshot()?;
    let interval = Interval::between(&earlier, &snapshot);
    let exit_code = command.as_ref().map(|command| command.exit_code);
    let outcomes = check::judge(&conditions, &snapshot, &interval, exit_code);
    let sum = check::sum(&outcomes);
    if global.json {
        print_json(Body::Check {
            held: match sum {
                Sum::Held => Some(true),
                Sum::Failed => Some(false),
                Sum::NotMeasured => None,
            },
            conditions: outcomes.iter().map(Into::into).collect(),
            report: Box::new(StatsJson::new(
                source.describe(),
                &snapshot,
                &interval,
                command,
            )),
        })?;
    } else {
        print(&text::conditions(&outcomes, global.palette_for_stdout()))?;
    }
    Ok(match sum {
        Sum::Held => 0,
        Sum::Failed => FAILED,
        Sum::NotMeasured => CANNOT_MEASURE,
    })
}
