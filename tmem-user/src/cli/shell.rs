//! What is made from the arguments' own description: completions and manual pages.

use std::fs;
use std::io;

use anyhow::Context as _;
use clap::CommandFactory as _;

use super::args::{Cli, Completions, Man};

/// `tmem completions`.
pub(super) fn completions(options: &Completions) -> anyhow::Result<u8> {
    clap_complete::generate(
        options.shell,
        &mut Cli::command(),
        "tmem",
        &mut io::stdout().lock(),
    );
    Ok(0)
}

/// `tmem man`: `tmem.1`, and `tmem-COMMAND.1` for each command, into a directory.
pub(super) fn man(options: &Man) -> anyhow::Result<u8> {
    fs::create_dir_all(&options.directory)
        .with_context(|| format!("cannot make {}", options.directory.display()))?;
    clap_mangen::generate_to(Cli::command(), &options.directory)
        .with_context(|| format!("cannot write to {}", options.directory.display()))?;
    Ok(0)
}
