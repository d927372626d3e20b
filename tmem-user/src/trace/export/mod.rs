//! Traces in the formats of other tools. Each writer takes the trace record by
//! record and writes to any output.

mod openmetrics;
mod oracle;
mod parquet;
mod perfetto;
mod text;

use std::io::{self, Write};

pub use openmetrics::OpenMetrics;
pub use oracle::OracleGeneral;
pub use parquet::Parquet;
pub use perfetto::Perfetto;
pub use text::{Csv, Jsonl, Table};

use tmem_common::event::Event;
use tmem_common::op::{Op, Outcome};

use super::TraceError;
use super::reader::{End, Reader};
use super::record::{Meta, Reading, Record};

/// A format that a trace is written in.
pub trait Export {
    /// Takes the next record.
    ///
    /// # Errors
    /// When the output fails.
    fn record(&mut self, record: &Record) -> io::Result<()>;

    /// Takes the end.
    ///
    /// # Errors
    /// When the output fails.
    fn finish(&mut self, end: &End) -> io::Result<()>;
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The trace cannot be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
    /// The output failed.
    #[error("writing the export: {0}")]
    Output(#[from] io::Error),
}

/// Passes what is left of a trace on to `export`; where reading ended.
///
/// # Errors
/// When the trace cannot be read, or the output fails.
pub fn export<R: io::Read>(
    reader: &mut Reader<R>,
    export: &mut dyn Export,
) -> Result<End, ExportError> {
    while let Some(record) = reader.next_record()? {
        export.record(&record)?;
    }
    let end = reader.end().cloned().unwrap_or(End::Open);
    export.finish(&end)?;
    Ok(end)
}

/// Name of an event's op, also of one that this version does not know.
fn op_name(event: &Event) -> &'static str {
    Op::ALL
        .get(event.op as usize)
        .map_or("unknown", |op| op.name())
}

/// Name of an event's outcome, also of one that this version does not know.
fn outcome_name(event: &Event) -> &'static str {
    Outcome::ALL
        .get(event.outcome as usize)
        .map_or("unknown", |outcome| outcome.name())
}

/// A figure of a reading: its name, whether it only rises, its unit, and where it stands.
struct Figure {
    name: &'static str,
    rises: bool,
    bytes: bool,
    value: fn(&Reading) -> Option<u64>,
}

const fn gauge(name: &'static str, bytes: bool, value: fn(&Reading) -> Option<u64>) -> Figure {
    Figure {
        name,
        rises: false,
        bytes,
        value,
    }
}

const fn counter(name: &'static str, value: fn(&Reading) -> Option<u64>) -> Figure {
    Figure {
        name,
        rises: true,
        bytes: false,
        value,
    }
}

/// The figures of a reading, in the order of columns.
static FIGURES: &[Figure] = &[
    gauge("used_bytes", true, |r| Some(r.used_bytes)),
    gauge("limit_bytes", true, |r| Some(r.limit_bytes)),
    gauge("pages", false, |r| Some(r.totals.pages)),
    gauge("same_pages", false, |r| Some(r.totals.same_pages)),
    gauge("raw_pages", false, |r| Some(r.totals.raw_pages)),
    gauge("data_bytes", true, |r| Some(r.totals.data_bytes)),
    gauge("store_bytes", true, |r| Some(r.totals.store_bytes)),
    gauge("metadata_bytes", true, |r| Some(r.totals.metadata_bytes)),
    counter("stored", |r| Some(r.totals.outcome(Outcome::Stored))),
    counter("stored_same", |r| {
        Some(r.totals.outcome(Outcome::StoredSame))
    }),
    counter("stored_raw", |r| Some(r.totals.outcome(Outcome::StoredRaw))),
    counter("refused_limit", |r| {
        Some(r.totals.outcome(Outcome::RefusedLimit))
    }),
    counter("refused_no_memory", |r| {
        Some(r.totals.outcome(Outcome::RefusedNoMemory))
    }),
    counter("refused_incompressible", |r| {
        Some(r.totals.outcome(Outcome::RefusedIncompressible))
    }),
    counter("refused_frozen", |r| {
        Some(r.totals.outcome(Outcome::RefusedFrozen))
    }),
    counter("hit", |r| Some(r.totals.outcome(Outcome::Hit))),
    counter("miss", |r| Some(r.totals.outcome(Outcome::Miss))),
    counter("corrupt", |r| Some(r.totals.outcome(Outcome::Corrupt))),
    counter("flushed", |r| Some(r.totals.outcome(Outcome::Flushed))),
    counter("evicted", |r| Some(r.totals.outcome(Outcome::Evicted))),
    counter("events_dropped", |r| Some(r.events_dropped)),
    counter("swap_pages_written", |r| r.swap_pages_written),
    counter("swap_pages_read", |r| r.swap_pages_read),
    counter("pressure_some_us", |r| r.pressure_some_us),
];

/// Opens the format of that name for a trace; `None` when there is none.
pub fn open<'a>(
    format: Format,
    table: Table,
    meta: &Meta,
    output: impl Write + Send + 'a,
) -> io::Result<Box<dyn Export + 'a>> {
    Ok(match format {
        Format::Csv => Box::new(Csv::new(output, table)?),
        Format::Parquet => match table {
            Table::Events => Box::new(Parquet::<_, Event>::new(output, meta)?),
            Table::Readings => Box::new(Parquet::<_, Reading>::new(output, meta)?),
        },
        Format::Jsonl => Box::new(Jsonl::new(output, meta)?),
        Format::OracleGeneral => Box::new(OracleGeneral::new(output, meta)),
        Format::OpenMetrics => Box::new(OpenMetrics::new(output, meta)),
        Format::Perfetto => Box::new(Perfetto::new(output, meta)?),
    })
}

/// Formats to export to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values (RFC 4180) with a line of names.
    Csv,
    /// Apache Parquet, for DuckDB, pandas and their kin.
    Parquet,
    /// One JSON object a line, with everything that the trace holds.
    Jsonl,
    /// The requests (gets) for libCacheSim.
    OracleGeneral,
    /// The counters with their times, for Prometheus and its kin.
    OpenMetrics,
    /// Counters and operations on time lines, for Perfetto's viewer and `trace_processor`.
    Perfetto,
}
