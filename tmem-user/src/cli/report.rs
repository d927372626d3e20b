//! `tmem report`: a trace as one page of HTML.

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;

use super::commands::print;
use super::export::warn_of;
use crate::trace::reader::Reader;
use crate::trace::report::report;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The trace
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The file to write [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<u8> {
    let (page, end) = report(&mut Reader::open(&options.file)?)?;
    warn_of(&options.file, &end);
    match &options.output {
        None => print(&page)?,
        Some(path) => {
            fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(0)
}
