//! Records a live source: what its events and snapshots say goes into a trace.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use tmem_common::event::Event;

use super::record::{Finish, Meta, Reading};
use super::writer::Writer;
use crate::source::{Snapshot, Source, SourceError};
use crate::system;

/// Why a recording stopped. What was written before stays readable.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The source failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The trace could not be written on.
    #[error("writing the trace: {0}")]
    Write(#[from] io::Error),
}

/// What the trace of `source` is to say of its making, from now on.
///
/// # Errors
/// When the source does not tell.
pub fn describe(
    source: &mut dyn Source,
    sample_one_in: u32,
    interval: Duration,
    command: &[String],
) -> Result<Meta, SourceError> {
    let since_1970 = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let tunables: BTreeMap<String, String> = source
        .tunables()?
        .into_iter()
        .map(|tunable| (tunable.key, tunable.value))
        .collect();
    Ok(Meta {
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        source: source.describe(),
        // Only what people read: without it the trace is as good.
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
            .unwrap_or_default()
            .trim_end()
            .to_owned(),
        sample_one_in,
        interval_ns: ns(interval),
        started_ns: system::monotonic_ns(),
        started_unix_ns: ns(since_1970),
        ram_bytes: source.ram_bytes()?,
        command: command.to_vec(),
        tunables,
        cache: false,
    })
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a recording goes to.
pub trait Sink {
    /// Takes the next event.
    ///
    /// # Errors
    /// When the output fails.
    fn event(&mut self, event: Event) -> io::Result<()>;

    /// Takes the next reading, behind the events before it.
    ///
    /// # Errors
    /// When the output fails.
    fn reading(&mut self, reading: &Reading) -> io::Result<()>;
}

impl<W: Write> Sink for Writer<W> {
    fn event(&mut self, event: Event) -> io::Result<()> {
        Writer::event(self, event)
    }

    fn reading(&mut self, reading: &Reading) -> io::Result<()> {
        Writer::reading(self, reading)
    }
}

/// A recording under way.
pub struct Recorder<S> {
    source: Box<dyn Source>,
    sink: S,
    events: Vec<Event>,
    /// Events lost before the recording.
    dropped_before: u64,
    dropped: u64,
}

impl<S: Sink> Recorder<S> {
    /// Takes the first reading, the zero of all counters, and drops the events before it.
    ///
    /// # Errors
    /// When the source or the output fails.
    pub fn start(source: Box<dyn Source>, sink: S) -> Result<Self, RecordError> {
        let mut recorder = Self {
            source,
            sink,
            events: Vec::new(),
            dropped_before: 0,
            dropped: 0,
        };
        let snapshot = recorder.source.snapshot()?;
        let mut reading = Reading::from(&snapshot);
        if let Some(why) = reading.unmeasured.get("latency") {
            log::warn!("only counters are recorded, neither events nor durations: {why}");
        }
        recorder.dropped_before = reading.events_dropped;
        reading.events_dropped = 0;
        recorder.sink.reading(&reading)?;
        Ok(recorder)
    }

    /// Takes over the events that wait, so that there is room for new ones.
    ///
    /// # Errors
    /// When the source or the output fails.
    pub fn take_events(&mut self) -> Result<(), RecordError> {
        self.source.take_events(&mut self.events)?;
        for event in self.events.drain(..) {
            self.sink.event(event)?;
        }
        Ok(())
    }

    /// Takes a reading, and the events before it; what was read.
    ///
    /// # Errors
    /// When the source or the output fails.
    pub fn take_reading(&mut self) -> Result<Snapshot, RecordError> {
        let snapshot = self.source.snapshot()?;
        for event in snapshot.observed.iter().flat_map(|seen| &seen.events) {
            self.sink.event(*event)?;
        }
        let mut reading = Reading::from(&snapshot);
        reading.events_dropped = reading.events_dropped.saturating_sub(self.dropped_before);
        self.dropped = reading.events_dropped;
        self.sink.reading(&reading)?;
        Ok(snapshot)
    }

    /// Where it goes to.
    pub fn sink(&mut self) -> &mut S {
        &mut self.sink
    }
}

impl<W: Write> Recorder<Writer<W>> {
    /// Takes the last reading and ends the trace; the output, what was written,
    /// and how many events were lost.
    ///
    /// # Errors
    /// When the source or the output fails.
    pub fn finish(mut self, exit_code: Option<i32>) -> Result<(W, Finish, u64), RecordError> {
        self.take_reading()?;
        let (output, finish) = self.sink.finish(system::monotonic_ns(), exit_code)?;
        Ok((output, finish, self.dropped))
    }
}
