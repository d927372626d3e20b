//! `tmem record`: a trace of what happens, for a time, while a command runs, or
//! until interrupted.

use std::future;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::args::Global;
use super::child;
use super::commands::{Watch, open};
use super::conditions::Conditions;
use super::pageout::parse_bytes;
use super::{USAGE, hindsight, table};
use crate::columns::{Cell, Column, usual};
use crate::trace::TraceError;
use crate::trace::record::Finish;
use crate::trace::recorder::{RecordError, Recorder, describe};
use crate::trace::writer::Writer;
use crate::units::parse_duration;

/// Time between two looks at the events that wait: the eBPF ring buffer holds 16384.
pub(super) const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The file, replaced if it is there
    #[arg(short = 'o', long, value_name = "FILE", default_value = "tmem.trace")]
    pub(super) output: PathBuf,
    /// Record the operations on one page in N, chosen by a hash; 0: counters only
    #[arg(long, value_name = "1/N", default_value = "1/100", value_parser = parse_sample)]
    pub(super) sample: u32,
    /// Stop after this time; with a COMMAND, stop it then [default: until it ends, or until interrupted]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) duration: Option<Duration>,
    /// Time between two readings of the counters and histograms
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(super) interval: Duration,
    /// Keep the last of it in memory, this long, and write it to FILE with a number when SIGUSR1 comes, when a condition begins to fail between two readings, or when COMMAND fails
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    hindsight: Option<Duration>,
    /// Most memory for the events of --hindsight; the oldest leave
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = parse_bytes, requires = "hindsight")]
    pub(super) memory: u64,
    #[command(flatten, next_help_heading = "Conditions for --hindsight")]
    pub(super) conditions: Conditions,
    /// Record while this command runs; its input, output and exit code are untouched
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl Options {
    /// Ends when the command does, which it then tells of; without one when the time is over, or never.
    pub(super) async fn to_its_end(&self) -> anyhow::Result<Option<child::Ended>> {
        if self.command.is_empty() {
            match self.duration {
                Some(time) => tokio::time::sleep(time).await,
                None => future::pending().await,
            }
            return Ok(None);
        }
        child::run(&self.command, Stdio::inherit(), self.duration)
            .await
            .map(Some)
    }

    /// Prints a row: on standard error where standard output is the command's.
    pub(super) fn print<R>(
        &self,
        global: &Global,
        name: &'static str,
        columns: &'static [Column<R>],
        row: R,
    ) -> anyhow::Result<()> {
        if self.command.is_empty() {
            table::print_rows(global, name, columns, &[row])
        } else {
            table::print_rows_to_stderr(global, name, columns, &[row])
        }
    }
}

/// Reads `1/N`, or 0 for nothing.
pub(super) fn parse_sample(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("1/") {
        Some(number) => number.parse().ok().filter(|number| *number > 0),
        None => (text == "0").then_some(0),
    };
    number.ok_or_else(|| "1/N such as 1/100, or 0 for none, is wanted".to_owned())
}

/// What was recorded.
struct Summary {
    file: String,
    bytes: u64,
    finish: Finish,
    dropped: u64,
    seconds: f64,
}

static COLUMNS: &[Column<Summary>] = &[
    usual("file", |sum| Cell::Text(sum.file.clone())),
    usual("bytes", |sum| Cell::Bytes(sum.bytes)),
    usual("seconds", |sum| Cell::Number(sum.seconds)),
    usual("readings", |sum| Cell::Count(sum.finish.readings)),
    usual("events", |sum| Cell::Count(sum.finish.events)),
    usual("dropped", |sum| Cell::Count(sum.dropped)),
];

pub(super) async fn run(global: &Global, options: &Options) -> anyhow::Result<u8> {
    if let Some(span) = options.hindsight {
        return hindsight::run(global, options, span).await;
    }
    if let Some(condition) = options.conditions.list().first() {
        log::error!("--{}: conditions are for --hindsight", condition.name);
        return Ok(USAGE);
    }
    let failed = |error| TraceError::Io {
        path: options.output.clone(),
        error,
    };
    let in_file = |error| match error {
        RecordError::Write(error) => anyhow::Error::from(failed(error)),
        RecordError::Source(error) => error.into(),
    };
    let watch = Watch {
        observe: true,
        sample_one_in: options.sample,
    };
    let mut source = open(global, watch)?;
    let meta = describe(
        source.as_mut(),
        options.sample,
        options.interval,
        &options.command,
    )?;
    let writer = Writer::create(&options.output, &meta)?;
    let mut recorder = Recorder::start(source, writer).map_err(in_file)?;

    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut polls = tokio::time::interval(POLL);
    let mut readings = tokio::time::interval(options.interval);
    readings.tick().await;
    let command = options.to_its_end();
    tokio::pin!(command);
    let ended = loop {
        let done = tokio::select! {
            ended = &mut command => break ended?,
            // An interrupt from the terminal reaches the command too, whose end is waited for.
            _ = interrupts.recv(), if options.command.is_empty() => break None,
            _ = terminations.recv() => break None,
            _ = polls.tick() => recorder.take_events(),
            _ = readings.tick() => recorder.take_reading().map(drop),
        };
        if let Err(error) = done {
            let error = in_file(error);
            if !options.command.is_empty() {
                log::error!("{error:#}; waiting for the command to end");
                command.await?;
            }
            return Err(error);
        }
    };
    let exit_code = ended.as_ref().map(|ended| ended.exit_code);
    let (file, finish, dropped) = recorder.finish(exit_code).map_err(in_file)?;
    let summary = Summary {
        file: options.output.display().to_string(),
        bytes: file.metadata().map_err(failed)?.len(),
        seconds: finish.time_ns.saturating_sub(meta.started_ns) as f64 / 1e9,
        finish,
        dropped,
    };
    options.print(global, "record", COLUMNS, summary)?;
    Ok(ended.map_or(0, |ended| ended.as_ours()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_one_in_so_many() {
        assert_eq!(parse_sample("1/100"), Ok(100));
        assert_eq!(parse_sample("0"), Ok(0));
        for bad in ["1/0", "2/3", "100", "", "1/", "1/x", "-1"] {
            assert!(parse_sample(bad).is_err(), "{bad}");
        }
    }
}
