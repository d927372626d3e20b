//! Reads a trace up to its end or to the last whole block, and says which.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use super::TraceError;
use super::format::{
    BLOCK_HEADER, BlockHeader, Damage, FILE_HEADER, Kind, VERSION, decode_events, version_of,
};
use super::record::{Finish, Meta, Record};

/// Where reading ended.
#[derive(Clone, Debug, PartialEq)]
pub enum End {
    /// At the end that the writer wrote.
    Whole(Finish),
    /// At the end of the file behind a whole block: the recording was cut off.
    Open,
    /// At something that is no whole block; what is behind it is not read.
    Damaged {
        /// Where the block begins, in bytes from the start.
        offset: u64,
        /// What is wrong with it.
        damage: Damage,
    },
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Whole(_) => f.write_str("whole"),
            End::Open => f.write_str("the recording was cut off"),
            End::Damaged { offset, damage } => {
                write!(
                    f,
                    "damaged at byte {offset} ({damage}); what is before it was read"
                )
            }
        }
    }
}

/// A trace being read.
pub struct Reader<R> {
    input: R,
    path: PathBuf,
    offset: u64,
    meta: Meta,
    end: Option<End>,
}

/// What comes next in a file.
enum Next {
    Block(Option<Kind>, Vec<u8>),
    Nothing,
}

impl Reader<BufReader<File>> {
    /// Opens a trace.
    ///
    /// # Errors
    /// When it cannot be read, is no trace, is of a newer version, or has no
    /// whole first block.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let file = File::open(path).map_err(|error| TraceError::Io {
            path: path.to_owned(),
            error,
        })?;
        Self::new(BufReader::with_capacity(1 << 16, file), path)
    }
}

impl<R: Read> Reader<R> {
    /// Begins to read; `path` names the input in errors.
    ///
    /// # Errors
    /// As for [`Reader::open`].
    pub fn new(mut input: R, path: &Path) -> Result<Self, TraceError> {
        let not = |why: String| TraceError::NotATrace {
            path: path.to_owned(),
            why,
        };
        let mut header = [0; FILE_HEADER];
        let found = read_up_to(&mut input, &mut header).map_err(|error| TraceError::Io {
            path: path.to_owned(),
            error,
        })?;
        if found < FILE_HEADER {
            return Err(not(format!("it has {found} bytes, less than a header")));
        }
        let version = version_of(&header).map_err(|damage| match damage {
            Damage::NoBlock => not("it does not begin as one".to_owned()),
            damage => not(format!("its header is damaged: {damage}")),
        })?;
        if version > VERSION {
            return Err(TraceError::TooNew {
                path: path.to_owned(),
                found: version,
            });
        }
        let mut reader = Self {
            input,
            path: path.to_owned(),
            offset: FILE_HEADER as u64,
            meta: Meta::default(),
            end: None,
        };
        match reader.next_block()? {
            Ok(Next::Block(Some(Kind::Meta), raw)) => {
                reader.meta = parse(&raw).map_err(|damage| not(damage.to_string()))?;
                Ok(reader)
            }
            Ok(_) => Err(not("its first block says nothing of its making".to_owned())),
            Err(damage) => Err(not(format!("its first block is damaged: {damage}"))),
        }
    }

    /// Where and how the trace was made.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The file's name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next block; `None` at the end, which [`Reader::end`] then tells.
    ///
    /// # Errors
    /// When the input fails.
    pub fn next_record(&mut self) -> Result<Option<Record>, TraceError> {
        while self.end.is_none() {
            let offset = self.offset;
            let record = match self.next_block()? {
                Ok(Next::Nothing) => {
                    self.end = Some(End::Open);
                    break;
                }
                Ok(Next::Block(kind, raw)) => self.take(kind, &raw),
                Err(damage) => Err(damage),
            };
            match record {
                Ok(None) => {}
                Ok(record) => return Ok(record),
                Err(damage) => self.end = Some(End::Damaged { offset, damage }),
            }
        }
        Ok(None)
    }

    /// Where reading ended; `None` before [`Reader::next_record`] said so.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// A record, or nothing for what only concerns the reader.
    fn take(&mut self, kind: Option<Kind>, raw: &[u8]) -> Result<Option<Record>, Damage> {
        match kind {
            Some(Kind::Events) => decode_events(raw).map(|events| Some(Record::Events(events))),
            Some(Kind::Reading) => {
                parse(raw).map(|reading| Some(Record::Reading(Box::new(reading))))
            }
            Some(Kind::End) => {
                self.end = Some(End::Whole(parse(raw)?));
                Ok(None)
            }
            Some(Kind::Meta) => Err(Damage::Malformed("a second first block".to_owned())),
            None => Ok(None),
        }
    }

    fn next_block(&mut self) -> Result<Result<Next, Damage>, TraceError> {
        let mut header = [0; BLOCK_HEADER];
        let found = self.fill(&mut header)?;
        if found == 0 {
            return Ok(Ok(Next::Nothing));
        }
        if found < BLOCK_HEADER {
            return Ok(Err(Damage::Short {
                found,
                wanted: BLOCK_HEADER,
            }));
        }
        let header = match BlockHeader::parse(&header) {
            Ok(header) => header,
            Err(damage) => return Ok(Err(damage)),
        };
        let mut stored = vec![0; header.stored];
        let found = self.fill(&mut stored)?;
        if found < stored.len() {
            return Ok(Err(Damage::Short {
                found,
                wanted: stored.len(),
            }));
        }
        Ok(header
            .unpack(stored)
            .map(|(kind, raw)| Next::Block(kind, raw)))
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, TraceError> {
        let found = read_up_to(&mut self.input, bytes).map_err(|error| TraceError::Io {
            path: self.path.clone(),
            error,
        })?;
        self.offset += found as u64;
        Ok(found)
    }
}

fn parse<T: DeserializeOwned>(raw: &[u8]) -> Result<T, Damage> {
    serde_json::from_slice(raw).map_err(|error| Damage::Malformed(error.to_string()))
}

/// Reads until `bytes` are full or the input is at its end; how many were read.
fn read_up_to(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut found = 0;
    while found < bytes.len() {
        match input.read(&mut bytes[found..]) {
            Ok(0) => break,
            Ok(count) => found += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}
