//! `tmem export`: a trace in the format of another tool.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use crate::trace::export::{self, Table};
use crate::trace::reader::{End, Reader};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The trace
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The format
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// Which table, for csv and parquet
    #[arg(long, value_name = "TABLE", default_value = "events")]
    table: Which,
    /// The file to write [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values of one table
    Csv,
    /// The same table for DuckDB, pandas and their kin
    Parquet,
    /// Everything, one JSON object a line
    Jsonl,
    /// The requests for libCacheSim
    OracleGeneral,
    /// The counters for Prometheus and its kin
    Openmetrics,
    /// Time lines for ui.perfetto.dev and trace_processor
    Perfetto,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// One row a sampled operation
    Events,
    /// One row a reading of the counters
    Readings,
}

pub(super) fn run(options: &Options) -> anyhow::Result<u8> {
    let mut reader = Reader::open(&options.file)?;
    let (output, name): (Box<dyn Write + Send>, _) = match &options.output {
        Some(path) => {
            let name = path.display().to_string();
            let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
            (Box::new(file), name)
        }
        None => (Box::new(io::stdout()), "standard output".to_owned()),
    };
    let format = match options.format {
        Format::Csv => export::Format::Csv,
        Format::Parquet => export::Format::Parquet,
        Format::Jsonl => export::Format::Jsonl,
        Format::OracleGeneral => export::Format::OracleGeneral,
        Format::Openmetrics => export::Format::OpenMetrics,
        Format::Perfetto => export::Format::Perfetto,
    };
    let table = match options.table {
        Which::Events => Table::Events,
        Which::Readings => Table::Readings,
    };
    let meta = reader.meta().clone();
    let mut writer = export::open(format, table, &meta, BufWriter::new(output))?;
    let end = match export::export(&mut reader, writer.as_mut()) {
        Ok(end) => end,
        // So that a reader who left is known as one.
        Err(export::ExportError::Output(error)) => {
            return Err(anyhow::Error::from(error).context(format!("writing {name}")));
        }
        Err(export::ExportError::Trace(error)) => return Err(error.into()),
    };
    warn_of(&options.file, &end);
    Ok(0)
}

/// Says so when a trace is not whole.
pub(super) fn warn_of(file: &std::path::Path, end: &End) {
    if !matches!(end, End::Whole(_)) {
        log::warn!("{}: {end}", file.display());
    }
}
