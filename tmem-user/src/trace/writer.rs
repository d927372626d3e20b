//! Writes a trace, block by block: what was written before a failure or a crash
//! stays readable.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;
use tmem_common::event::Event;

use super::TraceError;
use super::format::{Kind, MAX_EVENTS, block, encode_events, file_header};
use super::record::{Finish, Meta, Reading};

/// A trace being written to `W`. Each block is one write.
pub struct Writer<W> {
    output: W,
    events: Vec<Event>,
    finish: Finish,
}

impl Writer<File> {
    /// Begins a trace in a file, in place of what it held.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(path: &Path, meta: &Meta) -> Result<Self, TraceError> {
        File::create(path)
            .and_then(|file| Self::new(file, meta))
            .map_err(|error| TraceError::Io {
                path: path.to_owned(),
                error,
            })
    }
}

impl<W: Write> Writer<W> {
    /// Begins a trace.
    ///
    /// # Errors
    /// When the output fails.
    pub fn new(mut output: W, meta: &Meta) -> io::Result<Self> {
        output.write_all(&file_header())?;
        let mut writer = Self {
            output,
            events: Vec::new(),
            finish: Finish::default(),
        };
        writer.json(Kind::Meta, meta)?;
        Ok(writer)
    }

    /// Adds an event. It is written when there is a block full of them, with the
    /// next reading, or at the end.
    ///
    /// # Errors
    /// When the output fails.
    pub fn event(&mut self, event: Event) -> io::Result<()> {
        self.events.push(event);
        if self.events.len() == MAX_EVENTS {
            self.write_events()?;
        }
        Ok(())
    }

    /// Adds a block of `events` events as [`super::format::block`] made it, behind the events before it.
    ///
    /// # Errors
    /// When the output fails.
    pub fn event_block(&mut self, block: &[u8], events: u64) -> io::Result<()> {
        self.write_events()?;
        self.finish.events += events;
        self.output.write_all(block)
    }

    /// Adds a reading, behind the events before it.
    ///
    /// # Errors
    /// When the output fails.
    pub fn reading(&mut self, reading: &Reading) -> io::Result<()> {
        self.write_events()?;
        self.json(Kind::Reading, reading)?;
        self.finish.readings += 1;
        Ok(())
    }

    /// Ends the trace at `time_ns` (CLOCK_MONOTONIC); the output, and what was
    /// written to it.
    ///
    /// # Errors
    /// When the output fails.
    pub fn finish(mut self, time_ns: u64, exit_code: Option<i32>) -> io::Result<(W, Finish)> {
        self.write_events()?;
        self.finish.time_ns = time_ns;
        self.finish.exit_code = exit_code;
        let finish = self.finish.clone();
        self.json(Kind::End, &finish)?;
        self.output.flush()?;
        Ok((self.output, finish))
    }

    fn write_events(&mut self) -> io::Result<()> {
        if self.events.is_empty() {
            return Ok(());
        }
        let raw = encode_events(&self.events);
        self.finish.events += self.events.len() as u64;
        self.events.clear();
        self.block(Kind::Events, &raw)
    }

    fn json(&mut self, kind: Kind, value: &impl Serialize) -> io::Result<()> {
        let raw = serde_json::to_vec(value).map_err(io::Error::other)?;
        self.block(kind, &raw)
    }

    fn block(&mut self, kind: Kind, raw: &[u8]) -> io::Result<()> {
        let bytes = block(kind, raw).map_err(io::Error::other)?;
        self.output.write_all(&bytes)
    }
}
