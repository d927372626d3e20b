//! `tmem import`: a public cache trace as a trace of ours.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, ValueEnum};

use super::args::Global;
use super::table;
use crate::columns::{Cell, Column, usual};
use crate::trace::import::{self, Mapping};
use crate::trace::writer::Writer;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The file to import
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Its format
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// For csv: the column of the object, by name or by place from 0
    #[arg(long, value_name = "COLUMN", default_value = "0", value_parser = parse_column)]
    id: import::Column,
    /// For csv: the column of the time in seconds
    #[arg(long, value_name = "COLUMN", value_parser = parse_column)]
    time: Option<import::Column>,
    /// For csv: the column of the size in bytes [default: all are 4096]
    #[arg(long, value_name = "COLUMN", value_parser = parse_column)]
    size: Option<import::Column>,
    /// For csv: what separates fields
    #[arg(long, value_name = "CHARACTER", default_value = ",", value_parser = parse_delimiter)]
    delimiter: u8,
    /// The trace to write, replaced if it is there
    #[arg(short = 'o', long, value_name = "FILE", default_value = "tmem.trace")]
    output: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// libCacheSim's binary format
    OracleGeneral,
    /// Comma-separated values
    Csv,
}

fn parse_column(text: &str) -> Result<import::Column, String> {
    if text.is_empty() {
        return Err("a column's name or place is wanted".to_owned());
    }
    Ok(match text.parse() {
        Ok(place) => import::Column::Place(place),
        Err(_) => import::Column::Name(text.to_owned()),
    })
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [one] if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r') => Ok(*one),
        _ => Err("one ASCII character is wanted".to_owned()),
    }
}

struct Summary {
    file: String,
    bytes: u64,
    events: u64,
}

static COLUMNS: &[Column<Summary>] = &[
    usual("file", |sum| Cell::Text(sum.file.clone())),
    usual("bytes", |sum| Cell::Bytes(sum.bytes)),
    usual("events", |sum| Cell::Count(sum.events)),
];

pub(super) fn run(global: &Global, options: &Options) -> anyhow::Result<u8> {
    let name = options.file.display().to_string();
    let input = File::open(&options.file).with_context(|| format!("cannot read {name}"))?;
    let input = BufReader::with_capacity(1 << 16, input);
    let writer = Writer::create(&options.output, &import::meta(name.clone()))?;
    let imported = match options.format {
        Format::OracleGeneral => import::oracle_general(input, writer),
        Format::Csv => {
            let mapping = Mapping {
                id: options.id.clone(),
                time: options.time.clone(),
                size: options.size.clone(),
                delimiter: options.delimiter,
            };
            import::csv(input, &mapping, writer)
        }
    };
    let (file, finish) = imported.with_context(|| format!("importing {name}"))?;
    let summary = Summary {
        file: options.output.display().to_string(),
        bytes: file.metadata().context("the trace")?.len(),
        events: finish.events,
    };
    table::print_rows(global, "import", COLUMNS, &[summary])?;
    Ok(0)
}
