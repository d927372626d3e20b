//! Reads any bytes as a trace, for tests and the fuzzer.

use std::path::Path;

use tmem_user::trace::TraceError;
use tmem_user::trace::reader::{End, Reader};
use tmem_user::trace::record::Record;

/// What can be read of `bytes`. Any bytes give an error or an end.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<(Vec<Record>, End), TraceError> {
    let mut reader = Reader::new(bytes, Path::new("bytes"))?;
    let mut records = Vec::new();
    while let Some(record) = reader.next_record()? {
        records.push(record);
    }
    let end = reader.end().expect("there was no record left").clone();
    Ok((records, end))
}
