//! Apache Parquet, one table a file, in row groups of bounded size. Columns are
//! those of the CSV export, and `time`, the same moment since 1970 in UTC, as a
//! timestamp of nanoseconds. How the trace was made stands in the file's own
//! metadata, as JSON under the key `tmem`.

use std::io::{self, Write};
use std::slice;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tmem_common::event::{Event, WHOLE_OBJECT};

use super::{Export, FIGURES, op_name, outcome_name};
use crate::trace::reader::End;
use crate::trace::record::{Meta, Reading, Record};

/// What a row has in a column.
enum Cell {
    /// A number or a time; `None`: it has none.
    Long(Option<u64>),
    Int(u32),
    Text(&'static str),
}

type Value<R> = Box<dyn Fn(&R) -> Cell + Send>;

/// A column: its line in Parquet's schema, and what a row has there.
struct Column<R> {
    schema: String,
    value: Value<R>,
}

fn column<R>(schema: &str, value: impl Fn(&R) -> Cell + Send + 'static) -> Column<R> {
    Column {
        schema: schema.to_owned(),
        value: Box::new(value),
    }
}

fn required<R: 'static>(name: &str, value: fn(&R) -> u64) -> Column<R> {
    column(
        &format!("required int64 {name} (INTEGER(64,false));"),
        move |row| Cell::Long(Some(value(row))),
    )
}

fn optional<R: 'static>(name: &str, value: fn(&R) -> Option<u64>) -> Column<R> {
    column(
        &format!("optional int64 {name} (INTEGER(64,false));"),
        move |row| Cell::Long(value(row)),
    )
}

fn small<R: 'static>(name: &str, value: fn(&R) -> u32) -> Column<R> {
    column(
        &format!("required int32 {name} (INTEGER(32,false));"),
        move |row| Cell::Int(value(row)),
    )
}

fn text<R: 'static>(name: &str, value: fn(&R) -> &'static str) -> Column<R> {
    column(&format!("required binary {name} (STRING);"), move |row| {
        Cell::Text(value(row))
    })
}

/// The moment since 1970, of which `shift` tells how far CLOCK_MONOTONIC is off.
fn time<R: 'static>(shift: u64, monotonic_ns: fn(&R) -> u64) -> Column<R> {
    column("required int64 time (TIMESTAMP(NANOS,true));", move |row| {
        Cell::Long(Some(monotonic_ns(row).wrapping_add(shift)))
    })
}

/// What a table has a row for.
pub trait Row: Clone + Send + Sized + 'static {
    /// Rows that are written together, which bounds the memory.
    const GROUP: usize;

    /// The rows that a record brings.
    fn rows(record: &Record) -> &[Self];

    #[doc(hidden)]
    fn columns(shift: u64) -> Columns<Self>;
}

/// The columns of a table.
pub struct Columns<R>(Vec<Column<R>>);

impl Row for Event {
    const GROUP: usize = 1 << 17;

    fn rows(record: &Record) -> &[Self] {
        match record {
            Record::Events(events) => events,
            Record::Reading(_) => &[],
        }
    }

    fn columns(shift: u64) -> Columns<Self> {
        Columns(vec![
            time(shift, |event: &Event| event.time_ns),
            required("time_ns", |event| event.time_ns),
            small("pool", |event| event.pool),
            text("op", op_name),
            text("outcome", outcome_name),
            required("object", |event| event.object),
            optional("index", |event| {
                Some(event.index).filter(|index| *index != WHOLE_OBJECT)
            }),
            small("bytes", |event| event.bytes),
            required("latency_ns", |event| event.latency_ns),
            required("cgroup", |event| event.cgroup),
        ])
    }
}

impl Row for Reading {
    const GROUP: usize = 256;

    fn rows(record: &Record) -> &[Self] {
        match record {
            Record::Events(_) => &[],
            Record::Reading(reading) => slice::from_ref(reading),
        }
    }

    fn columns(shift: u64) -> Columns<Self> {
        let mut columns = vec![
            time(shift, |reading: &Reading| reading.time_ns),
            required("time_ns", |reading| reading.time_ns),
        ];
        columns.extend(
            FIGURES
                .iter()
                .map(|figure| optional(figure.name, figure.value)),
        );
        Columns(columns)
    }
}

/// A Parquet file of one table.
pub struct Parquet<W: Write + Send, R> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Column<R>>,
    rows: Vec<R>,
}

impl<W: Write + Send, R: Row> Parquet<W, R> {
    /// Begins the file.
    ///
    /// # Errors
    /// When the output fails.
    pub fn new(output: W, meta: &Meta) -> io::Result<Self> {
        let shift = meta.started_unix_ns.wrapping_sub(meta.started_ns);
        let Columns(columns) = R::columns(shift);
        let lines: Vec<&str> = columns
            .iter()
            .map(|column| column.schema.as_str())
            .collect();
        let schema = format!("message tmem {{ {} }}", lines.join(" "));
        let schema = parse_message_type(&schema).map_err(output_error)?;
        let made = KeyValue::new("tmem".to_owned(), serde_json::to_string(meta)?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::LZ4_RAW)
            .set_created_by(format!("tmem {}", env!("CARGO_PKG_VERSION")))
            .set_key_value_metadata(Some(vec![made]))
            .build();
        let writer = SerializedFileWriter::new(output, Arc::new(schema), Arc::new(properties))
            .map_err(output_error)?;
        Ok(Self {
            writer,
            columns,
            rows: Vec::new(),
        })
    }

    /// Writes the rows that wait as one group.
    fn write_group(&mut self) -> Result<(), ParquetError> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut group = self.writer.next_row_group()?;
        let mut columns = self.columns.iter();
        while let Some(mut writer) = group.next_column()? {
            let Some(column) = columns.next() else { break };
            let cells = self.rows.iter().map(|row| (column.value)(row));
            match writer.untyped() {
                ColumnWriter::Int64ColumnWriter(writer) => {
                    let mut values = Vec::with_capacity(self.rows.len());
                    let mut levels = Vec::with_capacity(self.rows.len());
                    for cell in cells {
                        let value = match cell {
                            Cell::Long(value) => value,
                            Cell::Int(_) | Cell::Text(_) => None,
                        };
                        levels.push(i16::from(value.is_some()));
                        values.extend(value.map(u64::cast_signed));
                    }
                    writer.write_batch(&values, Some(&levels), None)?;
                }
                ColumnWriter::Int32ColumnWriter(writer) => {
                    let values: Vec<i32> = cells
                        .filter_map(|cell| match cell {
                            Cell::Int(value) => Some(value.cast_signed()),
                            Cell::Long(_) | Cell::Text(_) => None,
                        })
                        .collect();
                    writer.write_batch(&values, None, None)?;
                }
                ColumnWriter::ByteArrayColumnWriter(writer) => {
                    let values: Vec<ByteArray> = cells
                        .filter_map(|cell| match cell {
                            Cell::Text(text) => Some(text.into()),
                            Cell::Int(_) | Cell::Long(_) => None,
                        })
                        .collect();
                    writer.write_batch(&values, None, None)?;
                }
                _ => return Err(ParquetError::NYI("a column of another type".to_owned())),
            }
            writer.close()?;
        }
        group.close()?;
        self.rows.clear();
        Ok(())
    }
}

/// The output's own error, where there is one, so that a reader who left is known as one.
fn output_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(error) => match error.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(error) => io::Error::other(error),
        },
        error => io::Error::other(error),
    }
}

impl<W: Write + Send, R: Row> Export for Parquet<W, R> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        self.rows.extend_from_slice(R::rows(record));
        if self.rows.len() >= R::GROUP {
            self.write_group().map_err(output_error)?;
        }
        Ok(())
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        self.write_group().map_err(output_error)?;
        self.writer.finish().map_err(output_error)?;
        self.writer.inner_mut().flush()
    }
}
