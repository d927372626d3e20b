//! Recordings of what a machine did with its pages: the file format, and what
//! writes and reads it. `docs/reference/trace-format.md` is the specification.

pub mod advise;
pub mod codecs;
pub mod curve;
pub mod export;
pub mod format;
pub mod hindsight;
pub mod import;
pub mod mrc;
pub mod reader;
pub mod record;
pub mod recorder;
pub mod replay;
pub mod report;
pub mod requests;
pub mod simulate;
pub mod summary;
pub mod writer;

use std::io;
use std::path::PathBuf;

/// Why a trace cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// The file is something else.
    #[error("{}: not a trace: {why}", path.display())]
    NotATrace {
        /// The file.
        path: PathBuf,
        /// What is wrong with its beginning.
        why: String,
    },
    /// The file was written by a newer tool.
    #[error(
        "{}: trace format version {found} is newer than this tool, which reads version {}",
        path.display(), format::VERSION
    )]
    TooNew {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// The trace has nothing that the request could work on.
    #[error("{}: {why}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
}
