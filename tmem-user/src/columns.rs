//! Tables for scripts: columns with stable names, chosen and ordered by the
//! caller, printed aligned for people, as CSV, or as bare words.
//!
//! A column's name and unit never change within one version of the JSON schema;
//! columns are only ever added.

use serde_json::{Map, Value};
use tmem_common::op::{Op, Outcome};

use crate::interval::{Interval, compression_ratio, memory_ratio};
use crate::source::{PoolSnapshot, Snapshot};
use crate::units::{show_bytes, show_count, show_ns, show_share};

/// One value of a table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A name.
    Text(String),
    /// A number of things.
    Count(u64),
    /// Bytes.
    Bytes(u64),
    /// A duration in ns.
    Ns(u64),
    /// A part of a whole, 0 to 1.
    Share(f64),
    /// Any other number.
    Number(f64),
    /// Not measured, or not defined.
    None,
}

impl Cell {
    /// For people: `1.50 MiB`, `12.3 us`, `83.3 %`, `-`.
    fn shown(&self) -> String {
        match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(count) => show_count(*count),
            Cell::Bytes(bytes) => show_bytes(*bytes),
            Cell::Ns(ns) => show_ns(*ns),
            Cell::Share(share) => show_share(Some(*share)),
            Cell::Number(number) => format!("{number:.2}"),
            Cell::None => "-".to_owned(),
        }
    }

    /// For programs: plain numbers in the column's unit; `None` when there is
    /// no value.
    fn bare(&self) -> Option<String> {
        Some(match self {
            Cell::Text(text) => text.clone(),
            Cell::Count(number) | Cell::Bytes(number) | Cell::Ns(number) => number.to_string(),
            Cell::Share(number) | Cell::Number(number) => format!("{number:.6}"),
            Cell::None => return None,
        })
    }

    pub(crate) fn of<T>(value: Option<T>, cell: impl FnOnce(T) -> Cell) -> Cell {
        value.map_or(Cell::None, cell)
    }
}

/// A column: its stable name, and its value in a row made of `R`.
pub struct Column<R: ?Sized> {
    /// The name, for `-o` and for headings.
    pub name: &'static str,
    /// The value, with its unit.
    value: fn(&R) -> Cell,
    /// Whether it is shown when nobody chose columns.
    usual: bool,
}

/// How rows are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Aligned, with units.
    #[default]
    People,
    /// Comma-separated values (RFC 4180), plain numbers, nothing for no value.
    Csv,
    /// Words separated by one blank, plain numbers, `-` for no value.
    Raw,
}

/// A choice of columns, and how they are printed.
pub struct Layout<R: ?Sized + 'static> {
    columns: Vec<&'static Column<R>>,
    style: Style,
}

/// A name that no column has.
#[derive(Debug, thiserror::Error)]
#[error("unknown column {name:?}; known columns: {known}")]
pub struct UnknownColumn {
    name: String,
    known: String,
}

impl<R: ?Sized + 'static> Layout<R> {
    /// The columns of `all` that `names` chooses, in that order; the usual ones
    /// when it is empty.
    ///
    /// # Errors
    /// A name that no column has.
    pub fn choose(
        all: &'static [Column<R>],
        names: &[String],
        style: Style,
    ) -> Result<Self, UnknownColumn> {
        let columns = if names.is_empty() {
            all.iter().filter(|column| column.usual).collect()
        } else {
            let find = |name: &String| {
                all.iter()
                    .find(|column| column.name == name)
                    .ok_or_else(|| UnknownColumn {
                        name: name.clone(),
                        known: all
                            .iter()
                            .map(|column| column.name)
                            .collect::<Vec<_>>()
                            .join(" "),
                    })
            };
            names.iter().map(find).collect::<Result<_, _>>()?
        };
        Ok(Self { columns, style })
    }

    /// The names of the columns as a line.
    pub fn heading(&self) -> String {
        let names: Vec<Vec<String>> =
            vec![self.columns.iter().map(|c| c.name.to_owned()).collect()];
        self.lines(&names, &self.stream_widths())
    }

    /// One row as a line, aligned with [`Layout::heading`].
    pub fn row(&self, row: &R) -> String {
        self.lines(&[self.texts(row)], &self.stream_widths())
    }

    /// Heading, unless it is unwanted, and all rows; as wide as they need.
    pub fn table<'a>(&self, rows: impl IntoIterator<Item = &'a R>, heading: bool) -> String
    where
        R: 'a,
    {
        let mut lines: Vec<Vec<String>> = Vec::new();
        if heading {
            lines.push(self.columns.iter().map(|c| c.name.to_owned()).collect());
        }
        lines.extend(rows.into_iter().map(|row| self.texts(row)));
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        self.lines(&lines, &widths)
    }

    /// The row with every column of `all`, for JSON: plain numbers, null for no value.
    pub fn object(all: &'static [Column<R>], row: &R) -> Map<String, Value> {
        let value = |cell: Cell| match cell {
            Cell::Text(text) => text.into(),
            Cell::Count(number) | Cell::Bytes(number) | Cell::Ns(number) => number.into(),
            Cell::Share(number) | Cell::Number(number) => number.into(),
            Cell::None => Value::Null,
        };
        all.iter()
            .map(|column| (column.name.to_owned(), value((column.value)(row))))
            .collect()
    }

    /// Widths for rows that come one by one.
    fn stream_widths(&self) -> Vec<usize> {
        const USUAL: usize = 9;
        self.columns
            .iter()
            .map(|column| column.name.len().max(USUAL))
            .collect()
    }

    fn texts(&self, row: &R) -> Vec<String> {
        let text = |cell: Cell| match self.style {
            Style::People => cell.shown(),
            Style::Csv => cell.bare().unwrap_or_default(),
            Style::Raw => cell.bare().unwrap_or_else(|| "-".to_owned()),
        };
        self.columns
            .iter()
            .map(|column| text((column.value)(row)))
            .collect()
    }

    fn lines(&self, lines: &[Vec<String>], widths: &[usize]) -> String {
        let mut text = String::new();
        for line in lines {
            let joined = match self.style {
                Style::Csv => line
                    .iter()
                    .map(|cell| csv(cell))
                    .collect::<Vec<_>>()
                    .join(","),
                Style::Raw => line
                    .iter()
                    .map(|cell| word(cell))
                    .collect::<Vec<_>>()
                    .join(" "),
                Style::People => aligned(line, widths),
            };
            text.push_str(&joined);
            text.push('\n');
        }
        text
    }
}

/// The first cell to the left, the others to the right.
fn aligned(line: &[String], widths: &[usize]) -> String {
    let mut text = String::new();
    for (position, (cell, &width)) in line.iter().zip(widths).enumerate() {
        if position == 0 {
            text.push_str(&format!("{cell:<width$}"));
        } else {
            text.push_str(&format!("  {cell:>width$}"));
        }
    }
    text.trim_end().to_owned()
}

/// A field as RFC 4180 wants it.
fn csv(field: &str) -> String {
    if field.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

/// A field that is one word whatever it holds.
fn word(field: &str) -> String {
    if field.is_empty() {
        return "-".to_owned();
    }
    field.replace(char::is_whitespace, "_")
}

pub(crate) const fn usual<R: ?Sized>(name: &'static str, value: fn(&R) -> Cell) -> Column<R> {
    Column {
        name,
        value,
        usual: true,
    }
}

pub(crate) const fn more<R: ?Sized>(name: &'static str, value: fn(&R) -> Cell) -> Column<R> {
    Column {
        name,
        value,
        usual: false,
    }
}

fn pool_outcome(pool: &PoolSnapshot, outcome: Outcome) -> Cell {
    Cell::Count(pool.stats.outcomes[outcome as usize])
}

/// Columns of `tmem pools`.
pub static POOL_COLUMNS: &[Column<PoolSnapshot>] = &[
    usual("name", |pool| Cell::Text(pool.name())),
    usual("id", |pool| Cell::Count(pool.id.into())),
    usual("kind", |pool| Cell::Text(pool.kind.name().to_owned())),
    usual("codec", |pool| Cell::Text(pool.codec.clone())),
    usual("weight", |pool| Cell::Count(pool.weight.into())),
    usual("limit", |pool| Cell::of(pool.limit_bytes, Cell::Bytes)),
    usual("frozen", |pool| Cell::Count(pool.frozen.into())),
    usual("pages", |pool| Cell::Count(pool.stats.pages)),
    usual("data", |pool| Cell::Bytes(pool.stats.data_bytes)),
    usual("store", |pool| Cell::Bytes(pool.stats.store_bytes)),
    usual("ratio", |pool| {
        Cell::of(compression_ratio(&pool.stats), Cell::Number)
    }),
    more("metadata", |pool| Cell::Bytes(pool.stats.metadata_bytes)),
    more("same", |pool| Cell::Count(pool.stats.same_pages)),
    more("raw", |pool| Cell::Count(pool.stats.raw_pages)),
    more("hits", |pool| pool_outcome(pool, Outcome::Hit)),
    more("misses", |pool| pool_outcome(pool, Outcome::Miss)),
    more("refused_limit", |pool| {
        pool_outcome(pool, Outcome::RefusedLimit)
    }),
    more("flushed", |pool| pool_outcome(pool, Outcome::Flushed)),
    more("evicted", |pool| pool_outcome(pool, Outcome::Evicted)),
];

/// A row of `tmem stats`: a snapshot, and what happened before it.
#[derive(Clone, Debug)]
pub struct Report {
    /// How things stand.
    pub snapshot: Snapshot,
    /// What happened in the measured time.
    pub interval: Interval,
}

fn latency(report: &Report, op: Op, quantile: f64) -> Cell {
    let histogram = report.interval.work_latency(op);
    Cell::of(histogram.and_then(|all| all.percentile(quantile)), Cell::Ns)
}

/// Columns of `tmem stats` and `tmem top --batch`.
pub static STATS_COLUMNS: &[Column<Report>] = &[
    usual("seconds", |report| {
        Cell::Number(report.interval.duration.as_secs_f64())
    }),
    usual("used", |report| Cell::Bytes(report.snapshot.used_bytes)),
    usual("pages", |report| Cell::Count(report.snapshot.totals.pages)),
    usual("effective", |report| {
        Cell::of(
            memory_ratio(report.snapshot.totals.pages, report.snapshot.used_bytes),
            Cell::Number,
        )
    }),
    usual("stores", |report| Cell::Count(report.interval.stores())),
    usual("refused", |report| Cell::Count(report.interval.refusals())),
    usual("hits", |report| Cell::Count(report.interval.hits())),
    usual("misses", |report| Cell::Count(report.interval.misses())),
    usual("hit_rate", |report| {
        Cell::of(report.interval.hit_share(), Cell::Share)
    }),
    usual("put_p99", |report| latency(report, Op::Put, 0.99)),
    usual("get_p99", |report| latency(report, Op::Get, 0.99)),
    more("limit", |report| Cell::Bytes(report.snapshot.limit_bytes)),
    more("overhang", |report| {
        Cell::Bytes(report.snapshot.overhang_bytes)
    }),
    more("same", |report| {
        Cell::Count(report.snapshot.totals.same_pages)
    }),
    more("raw", |report| {
        Cell::Count(report.snapshot.totals.raw_pages)
    }),
    more("data", |report| {
        Cell::Bytes(report.snapshot.totals.data_bytes)
    }),
    more("metadata", |report| {
        Cell::Bytes(report.snapshot.totals.metadata_bytes)
    }),
    more("ratio", |report| {
        Cell::of(compression_ratio(&report.snapshot.totals), Cell::Number)
    }),
    more("flushed", |report| {
        Cell::Count(report.interval.count(Outcome::Flushed))
    }),
    more("evicted", |report| {
        Cell::Count(report.interval.count(Outcome::Evicted))
    }),
    more("writes_avoided", |report| {
        Cell::Count(report.interval.writes_avoided)
    }),
    more("reads_avoided", |report| {
        Cell::Count(report.interval.reads_avoided)
    }),
    more("swap_written", |report| {
        Cell::of(report.interval.disk, |disk| {
            Cell::Count(disk.swap_pages_written)
        })
    }),
    more("swap_read", |report| {
        Cell::of(report.interval.disk, |disk| {
            Cell::Count(disk.swap_pages_read)
        })
    }),
    more("pressure", |report| {
        Cell::of(report.interval.pressure, Cell::Share)
    }),
    more("put_p50", |report| latency(report, Op::Put, 0.5)),
    more("put_p999", |report| latency(report, Op::Put, 0.999)),
    more("get_p50", |report| latency(report, Op::Get, 0.5)),
    more("get_p999", |report| latency(report, Op::Get, 0.999)),
    more("own_cpu", |report| Cell::Ns(report.interval.own_cpu_ns)),
    more("own_memory", |report| {
        Cell::Bytes(report.snapshot.cost.resident_bytes)
    }),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> PoolSnapshot {
        let mut uuid = [0; 16];
        uuid[..4].copy_from_slice(b"a,\"b");
        PoolSnapshot {
            uuid,
            limit_bytes: Some(3 << 20),
            ..PoolSnapshot::default()
        }
    }

    fn layout(names: &[&str], style: Style) -> Layout<PoolSnapshot> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        Layout::choose(POOL_COLUMNS, &names, style).expect("known columns")
    }

    #[test]
    fn columns_come_as_chosen_in_every_style() {
        let names = ["limit", "name", "ratio"];
        let table = |style| layout(&names, style).table([&pool()], true);
        assert_eq!(
            table(Style::Csv),
            "limit,name,ratio\n3145728,\"a,\"\"b\",\n"
        );
        assert_eq!(table(Style::Raw), "limit name ratio\n3145728 a,\"b -\n");
        assert_eq!(
            table(Style::People),
            "limit     name  ratio\n3.00 MiB  a,\"b      -\n"
        );
    }

    #[test]
    fn rows_stand_below_their_headings() {
        let layout = layout(&["name", "limit"], Style::People);
        let (heading, row) = (layout.heading(), layout.row(&pool()));
        assert_eq!(heading.trim_end().len(), row.trim_end().len());
    }

    #[test]
    fn an_unknown_column_is_named_with_those_there_are() {
        let error = Layout::choose(POOL_COLUMNS, &["nmae".to_owned()], Style::Raw)
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default();
        assert!(
            error.contains("nmae") && error.contains("weight"),
            "{error}"
        );
    }

    #[test]
    fn no_name_is_used_twice() {
        let mut names: Vec<_> = STATS_COLUMNS.iter().map(|column| column.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), STATS_COLUMNS.len());
    }
}
