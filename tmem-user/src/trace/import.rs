//! Public cache traces as traces of ours: each request becomes a get of an object
//! that, when it misses, is followed by a put.

use std::io::{self, Read, Write};

use tmem_common::event::Event;
use tmem_common::op::{Op, Outcome};

use super::record::{Finish, Meta};
use super::writer::Writer;

/// Why a trace cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The input cannot be read.
    #[error("reading: {0}")]
    Input(#[source] io::Error),
    /// The trace cannot be written.
    #[error("writing: {0}")]
    Output(#[source] io::Error),
    /// A record of the input is not as it should be.
    #[error("line {line}: {why}")]
    Line {
        /// Its number, from 1.
        line: u64,
        /// What is wrong with it.
        why: String,
    },
    /// The input ends within a record.
    #[error("record {record} has {found} of {REQUEST_BYTES} bytes")]
    Short {
        /// Its number, from 0.
        record: u64,
        /// Bytes that are there.
        found: usize,
    },
}

/// Bytes of a request in oracleGeneral.
const REQUEST_BYTES: usize = 24;

/// Which columns of a CSV file hold what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The object: a number, or any text.
    pub id: Column,
    /// The time in seconds, whole or not; without it requests are 1 us apart.
    pub time: Option<Column>,
    /// The size in bytes; without it a page.
    pub size: Option<Column>,
    /// What separates fields.
    pub delimiter: u8,
}

/// A column, by the name in the first line or by its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Column {
    /// The name; the file then begins with a line of names.
    Name(String),
    /// The place, from 0.
    Place(usize),
}

/// How an imported trace describes itself.
pub fn meta(source: String) -> Meta {
    Meta {
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        source,
        sample_one_in: 1,
        cache: true,
        ..Meta::default()
    }
}

fn request(time_ns: u64, object: u64, bytes: u32) -> Event {
    Event {
        time_ns,
        object,
        bytes,
        op: Op::Get as u32,
        outcome: Outcome::Miss as u32,
        ..Event::default()
    }
}

/// Imports libCacheSim's oracleGeneral (see [`super::export::OracleGeneral`]).
///
/// # Errors
/// When the input is cut short, or cannot be read, or the output fails.
pub fn oracle_general<W: Write>(
    mut input: impl Read,
    mut writer: Writer<W>,
) -> Result<(W, Finish), ImportError> {
    let mut record = 0;
    let mut time_ns = 0;
    loop {
        let mut bytes = Vec::with_capacity(REQUEST_BYTES);
        let found = (&mut input)
            .take(REQUEST_BYTES as u64)
            .read_to_end(&mut bytes)
            .map_err(ImportError::Input)?;
        if found == 0 {
            return writer.finish(time_ns, None).map_err(ImportError::Output);
        }
        let whole: [u8; REQUEST_BYTES] = bytes
            .try_into()
            .map_err(|_| ImportError::Short { record, found })?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = whole;
        time_ns = u64::from(u32::from_le_bytes([a, b, c, d])) * 1_000_000_000;
        let id = u64::from_le_bytes([e, f, g, h, i, j, k, l]);
        let size = u32::from_le_bytes([m, n, o, p]);
        writer
            .event(request(time_ns, id, size))
            .map_err(ImportError::Output)?;
        record += 1;
    }
}

/// Imports a CSV file.
///
/// # Errors
/// The line that is not as the mapping says, or when the input cannot be read or
/// the output fails.
pub fn csv<W: Write>(
    input: impl Read,
    mapping: &Mapping,
    mut writer: Writer<W>,
) -> Result<(W, Finish), ImportError> {
    let columns = [
        Some(&mapping.id),
        mapping.time.as_ref(),
        mapping.size.as_ref(),
    ];
    let named = columns
        .iter()
        .flatten()
        .any(|column| matches!(column, Column::Name(_)));
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(named)
        .delimiter(mapping.delimiter)
        .trim(csv::Trim::All)
        .from_reader(input);
    let mut places = [None; 3];
    for (place, column) in places.iter_mut().zip(columns) {
        *place = match column {
            None => None,
            Some(Column::Place(place)) => Some(*place),
            Some(Column::Name(name)) => {
                let headers = reader.headers().map_err(|error| bad_csv(&error))?;
                let found = headers.iter().position(|header| header == name);
                Some(found.ok_or_else(|| ImportError::Line {
                    line: 1,
                    why: format!(
                        "no column {name:?}; there are {}",
                        headers.iter().collect::<Vec<_>>().join(", ")
                    ),
                })?)
            }
        };
    }
    let [id_place, time_place, size_place] = places;
    let mut row = csv::StringRecord::new();
    let mut number = 0_u64;
    let mut time_ns = 0;
    while reader
        .read_record(&mut row)
        .map_err(|error| bad_csv(&error))?
    {
        let line = row.position().map_or(0, csv::Position::line);
        let bad = |why: String| ImportError::Line { line, why };
        let field = |place: usize| {
            row.get(place).ok_or_else(|| {
                bad(format!(
                    "no column {place}: it has {} columns, from 0",
                    row.len()
                ))
            })
        };
        let id = field(id_place.unwrap_or(0))?;
        let id = id.parse().unwrap_or_else(|_| text_id(id));
        let size = match size_place.map(field).transpose()? {
            None => tmem_common::PAGE_SIZE as u32,
            Some(text) => text
                .parse::<u64>()
                .map(|size| u32::try_from(size).unwrap_or(u32::MAX))
                .map_err(|_| bad(format!("size {text:?} is no number of bytes")))?,
        };
        time_ns = match time_place.map(field).transpose()? {
            None => number * 1_000,
            Some(text) => text
                .parse::<f64>()
                .ok()
                .filter(|seconds| (0.0..1e10).contains(seconds))
                .map(|seconds| (seconds * 1e9) as u64)
                .ok_or_else(|| bad(format!("time {text:?} is no number of seconds")))?,
        };
        writer
            .event(request(time_ns, id, size))
            .map_err(ImportError::Output)?;
        number += 1;
    }
    writer.finish(time_ns, None).map_err(ImportError::Output)
}

fn bad_csv(error: &csv::Error) -> ImportError {
    ImportError::Line {
        line: error.position().map_or(0, csv::Position::line),
        why: error.to_string(),
    }
}

/// A number for an object that is named by text: FNV-1a (Fowler, Noll, Vo), 64 bits.
fn text_id(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
