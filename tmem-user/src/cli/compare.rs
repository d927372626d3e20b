//! `tmem compare`: two recordings side by side.

use std::path::PathBuf;

use clap::Args;

use super::args::{Global, Table};
use super::export::warn_of;
use super::table;
use crate::columns::{Cell, Column, usual};
use crate::trace::reader::Reader;
use crate::trace::summary::{Value, summarize};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The earlier recording
    #[arg(value_name = "A")]
    earlier: PathBuf,
    /// The later one
    #[arg(value_name = "B")]
    later: PathBuf,
    #[command(flatten)]
    table: Table,
}

struct Row {
    name: &'static str,
    earlier: Value,
    later: Value,
}

fn cell(value: Value) -> Cell {
    match value {
        Value::Share(value) => Cell::of(value, Cell::Share),
        Value::Bytes(value) => Cell::of(value, |bytes| Cell::Bytes(bytes as u64)),
        Value::Ns(value) => Cell::of(value, |ns| Cell::Ns(ns as u64)),
        Value::PerSecond(value) | Value::Number(value) => Cell::of(value, Cell::Number),
    }
}

static COLUMNS: &[Column<Row>] = &[
    usual("figure", |row| Cell::Text(row.name.to_owned())),
    usual("a", |row| cell(row.earlier)),
    usual("b", |row| cell(row.later)),
    usual("ratio", |row| {
        let ratio = row.earlier.number().zip(row.later.number());
        Cell::of(
            ratio
                .filter(|(earlier, _)| *earlier > 0.0)
                .map(|(earlier, later)| later / earlier),
            Cell::Number,
        )
    }),
];

pub(super) fn run(global: &Global, options: &Options) -> anyhow::Result<u8> {
    let mut sides = Vec::new();
    for path in [&options.earlier, &options.later] {
        let (figures, end) = summarize(&mut Reader::open(path)?)?;
        warn_of(path, &end);
        sides.push(figures);
    }
    let rows: Vec<Row> = sides[0]
        .iter()
        .zip(&sides[1])
        .map(|((name, earlier), (_, later))| Row {
            name,
            earlier: *earlier,
            later: *later,
        })
        .collect();
    table::print_table(global, &options.table, "compare", COLUMNS, &rows)?;
    Ok(0)
}
