//! Prints the tables of files and of the commands about traces: aligned, as CSV, as bare
//! words, or as one JSON object.

use std::io::{self, Write as _};

use super::args::{Global, Table};
use super::commands::print;
use crate::columns::{Column, Layout, Style};
use crate::json::{Body, Document};

/// Prints rows as the options ask.
pub(super) fn print_table<R>(
    global: &Global,
    options: &Table,
    name: &'static str,
    columns: &'static [Column<R>],
    rows: &[R],
) -> anyhow::Result<()> {
    let layout = layout(options, columns)?;
    print_layout(global, name, columns, &layout, !options.no_headings, rows)
}

/// The columns that the options choose, told before anything is done.
pub(super) fn layout<R>(
    options: &Table,
    columns: &'static [Column<R>],
) -> anyhow::Result<Layout<R>> {
    Ok(Layout::choose(columns, &options.columns, options.style())?)
}

/// Prints rows as JSON or in this layout.
pub(super) fn print_layout<R>(
    global: &Global,
    name: &'static str,
    columns: &'static [Column<R>],
    layout: &Layout<R>,
    heading: bool,
    rows: &[R],
) -> anyhow::Result<()> {
    let text = if global.json {
        json(name, columns, rows)?
    } else {
        layout.table(rows, heading)
    };
    Ok(print(&text)?)
}

/// Prints rows with their usual columns.
pub(super) fn print_rows<R>(
    global: &Global,
    name: &'static str,
    columns: &'static [Column<R>],
    rows: &[R],
) -> anyhow::Result<()> {
    Ok(print(&text(global, name, columns, rows)?)?)
}

/// The same where standard output is somebody else's.
pub(super) fn print_rows_to_stderr<R>(
    global: &Global,
    name: &'static str,
    columns: &'static [Column<R>],
    rows: &[R],
) -> anyhow::Result<()> {
    Ok(io::stderr().write_all(text(global, name, columns, rows)?.as_bytes())?)
}

fn text<R>(
    global: &Global,
    name: &'static str,
    columns: &'static [Column<R>],
    rows: &[R],
) -> anyhow::Result<String> {
    if global.json {
        return json(name, columns, rows);
    }
    Ok(Layout::choose(columns, &[], Style::People)?.table(rows, true))
}

fn json<R>(
    table: &'static str,
    columns: &'static [Column<R>],
    rows: &[R],
) -> anyhow::Result<String> {
    let rows = rows
        .iter()
        .map(|row| Layout::object(columns, row))
        .collect();
    Ok(Document::new(Body::Table { table, rows }).to_line()? + "\n")
}
