//! `tmem record --hindsight`: the last minutes in memory, written when asked for by a
//! signal, when a condition begins to fail, or when the command fails.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::args::Global;
use super::child;
use super::commands::{Watch, open};
use super::record::{Options, POLL};
use crate::check::{self, Condition, Verdict};
use crate::columns::{Cell, Column, usual};
use crate::interval::Interval;
use crate::source::Snapshot;
use crate::trace::TraceError;
use crate::trace::hindsight::Hindsight;
use crate::trace::record::{Finish, Meta};
use crate::trace::recorder::{Recorder, describe};

/// A trace that was written.
struct Written {
    file: PathBuf,
    why: String,
    bytes: u64,
    seconds: f64,
    finish: Finish,
}

static COLUMNS: &[Column<Written>] = &[
    usual("file", |one| Cell::Text(one.file.display().to_string())),
    usual("why", |one| Cell::Text(one.why.clone())),
    usual("bytes", |one| Cell::Bytes(one.bytes)),
    usual("seconds", |one| Cell::Number(one.seconds)),
    usual("readings", |one| Cell::Count(one.finish.readings)),
    usual("events", |one| Cell::Count(one.finish.events)),
];

/// What there is to do next.
enum Wake {
    Poll,
    Reading,
    Asked,
    Ended(Option<child::Ended>),
}

pub(super) async fn run(global: &Global, options: &Options, span: Duration) -> anyhow::Result<u8> {
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
    let hindsight = Hindsight::new(span, usize::try_from(options.memory)?);
    let mut recorder = Recorder::start(source, hindsight)?;
    let mut earlier = recorder.take_reading()?;
    let conditions = options.conditions.list();
    let mut failing = Vec::new();

    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut requests = signal(SignalKind::user_defined1())?;
    let mut polls = tokio::time::interval(POLL);
    let mut readings = tokio::time::interval(options.interval);
    readings.tick().await;
    let said = format!(
        "tmem: keeping the last {} s; kill -USR1 {} writes them\n",
        span.as_secs_f64(),
        std::process::id()
    );
    // Whoever does not see it can still send the signal.
    let _ = io::stderr().write_all(said.as_bytes());
    let command = options.to_its_end();
    tokio::pin!(command);
    loop {
        let wake = tokio::select! {
            ended = &mut command => Wake::Ended(ended?),
            _ = interrupts.recv(), if options.command.is_empty() => Wake::Ended(None),
            _ = terminations.recv() => Wake::Ended(None),
            _ = requests.recv() => Wake::Asked,
            _ = polls.tick() => Wake::Poll,
            _ = readings.tick() => Wake::Reading,
        };
        let why = match &wake {
            Wake::Poll => {
                recorder.take_events()?;
                continue;
            }
            Wake::Reading => {
                let now = recorder.take_reading()?;
                let failed = failed(&conditions, &earlier, &now);
                earlier = now;
                // Once when it begins, not each time until it is over.
                let new = failed.iter().find(|name| !failing.contains(*name)).copied();
                failing = failed;
                new.map(|name| format!("--{name}"))
            }
            Wake::Asked => {
                recorder.take_reading()?;
                Some("SIGUSR1".to_owned())
            }
            Wake::Ended(Some(ended)) if !ended.stopped && ended.exit_code != 0 => {
                recorder.take_reading()?;
                Some(format!("exit code {}", ended.exit_code))
            }
            Wake::Ended(_) => None,
        };
        if let Some(why) = why {
            // The recording goes on: there may be room the next time.
            match write(&options.output, &mut recorder, &meta, why) {
                Ok(written) => options.print(global, "hindsight", COLUMNS, written)?,
                Err(error) => log::error!("{error}"),
            }
        }
        if let Wake::Ended(ended) = wake {
            return Ok(ended.map_or(0, |ended| ended.as_ours()));
        }
    }
}

/// The conditions that did not hold in between. What was not measured is no failure:
/// there is an interval without gets now and then.
fn failed(conditions: &[Condition], earlier: &Snapshot, now: &Snapshot) -> Vec<&'static str> {
    let interval = Interval::between(earlier, now);
    check::judge(conditions, now, &interval, None)
        .into_iter()
        .filter(|outcome| outcome.verdict == Verdict::Failed)
        .map(|outcome| outcome.condition.name)
        .collect()
}

/// Writes what is kept to the first file of a number that is not there yet.
fn write(
    output: &Path,
    recorder: &mut Recorder<Hindsight>,
    meta: &Meta,
    why: String,
) -> Result<Written, TraceError> {
    let mut number = 1;
    while numbered(output, number).exists() {
        number += 1;
    }
    let path = numbered(output, number);
    // Whoever waits for the file finds it whole.
    let unfinished = path.with_extension("tmp");
    let written = File::create(&unfinished)
        .and_then(|file| recorder.sink().write(file, meta))
        .and_then(|(file, finish)| Ok((file.metadata()?.len(), finish)))
        .and_then(|done| fs::rename(&unfinished, &path).map(|()| done));
    match written {
        Ok((bytes, finish)) => Ok(Written {
            file: path,
            why,
            bytes,
            seconds: recorder.sink().kept_ns() as f64 / 1e9,
            finish,
        }),
        Err(error) => {
            // What cannot be removed either is left for people to see.
            let _ = fs::remove_file(&unfinished);
            Err(TraceError::Io { path, error })
        }
    }
}

/// The name with a number before its extension: `tmem.3.trace`.
fn numbered(output: &Path, number: u32) -> PathBuf {
    let extension = output.extension().unwrap_or(OsStr::new("trace"));
    let mut with_number = OsString::from(format!("{number}."));
    with_number.push(extension);
    output.with_extension(with_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_before_the_extension() {
        let name = |output: &str| numbered(Path::new(output), 3).display().to_string();
        assert_eq!(name("tmem.trace"), "tmem.3.trace");
        assert_eq!(name("/tmp/a.b.c"), "/tmp/a.b.3.c");
        assert_eq!(name("plain"), "plain.3.trace");
    }
}
