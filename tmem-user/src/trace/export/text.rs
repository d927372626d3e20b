//! CSV and JSON lines.

use std::io::{self, Write};

use serde::Serialize;
use tmem_common::event::{Event, WHOLE_OBJECT};

use super::{Export, FIGURES, op_name, outcome_name};
use crate::trace::reader::End;
use crate::trace::record::{Finish, Meta, Reading, Record};

/// Which table of a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Table {
    /// One row a sampled operation.
    #[default]
    Events,
    /// One row a reading of the counters.
    Readings,
}

/// Comma-separated values. No field needs quotes.
pub struct Csv<W> {
    output: W,
    table: Table,
}

impl<W: Write> Csv<W> {
    /// Writes the names of the columns.
    ///
    /// # Errors
    /// When the output fails.
    pub fn new(mut output: W, table: Table) -> io::Result<Self> {
        match table {
            Table::Events => writeln!(
                output,
                "time_ns,pool,op,outcome,object,index,bytes,latency_ns,cgroup"
            )?,
            Table::Readings => {
                let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
                writeln!(output, "time_ns,{}", names.join(","))?;
            }
        }
        Ok(Self { output, table })
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let index = match event.index {
            WHOLE_OBJECT => String::new(),
            index => index.to_string(),
        };
        writeln!(
            self.output,
            "{},{},{},{},{},{index},{},{},{}",
            event.time_ns,
            event.pool,
            op_name(event),
            outcome_name(event),
            event.object,
            event.bytes,
            event.latency_ns,
            event.cgroup
        )
    }
}

impl<W: Write> Export for Csv<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match (record, self.table) {
            (Record::Events(events), Table::Events) => {
                events.iter().try_for_each(|event| self.event(event))
            }
            (Record::Reading(reading), Table::Readings) => {
                write!(self.output, "{}", reading.time_ns)?;
                for figure in FIGURES {
                    match (figure.value)(reading) {
                        Some(value) => write!(self.output, ",{value}")?,
                        None => write!(self.output, ",")?,
                    }
                }
                writeln!(self.output)
            }
            _ => Ok(()),
        }
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        self.output.flush()
    }
}

/// One JSON object a line; `kind` is `meta`, `event`, `reading` or `end`.
pub struct Jsonl<W> {
    output: W,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Line<'a> {
    Meta(&'a Meta),
    Event(EventLine),
    Reading(&'a Reading),
    End(&'a Finish),
}

#[derive(Serialize)]
struct EventLine {
    time_ns: u64,
    pool: u32,
    op: &'static str,
    outcome: &'static str,
    object: u64,
    /// None: the whole object.
    index: Option<u64>,
    bytes: u32,
    latency_ns: u64,
    cgroup: u64,
}

impl<W: Write> Jsonl<W> {
    /// Writes the first line.
    ///
    /// # Errors
    /// When the output fails.
    pub fn new(output: W, meta: &Meta) -> io::Result<Self> {
        let mut jsonl = Self { output };
        jsonl.line(&Line::Meta(meta))?;
        Ok(jsonl)
    }

    fn line(&mut self, line: &Line<'_>) -> io::Result<()> {
        serde_json::to_writer(&mut self.output, line)?;
        self.output.write_all(b"\n")
    }
}

impl<W: Write> Export for Jsonl<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Reading(reading) => self.line(&Line::Reading(reading)),
            Record::Events(events) => events.iter().try_for_each(|event| {
                self.line(&Line::Event(EventLine {
                    time_ns: event.time_ns,
                    pool: event.pool,
                    op: op_name(event),
                    outcome: outcome_name(event),
                    object: event.object,
                    index: (event.index != WHOLE_OBJECT).then_some(event.index),
                    bytes: event.bytes,
                    latency_ns: event.latency_ns,
                    cgroup: event.cgroup,
                }))
            }),
        }
    }

    fn finish(&mut self, end: &End) -> io::Result<()> {
        if let End::Whole(finish) = end {
            self.line(&Line::End(finish))?;
        }
        self.output.flush()
    }
}
