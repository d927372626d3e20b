//! The command line: what is asked for, and how it ends.

mod advise;
mod args;
mod bars;
mod cgroup;
mod child;
mod commands;
mod compare;
mod conditions;
mod configure;
mod export;
mod files;
mod hindsight;
mod import;
mod measure;
mod mount;
mod mrc;
mod pageout;
mod record;
mod replay;
mod report;
mod serve;
mod shell;
mod table;
mod tune;
mod watch;

use std::io::{self, ErrorKind, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

use crate::columns::UnknownColumn;
use crate::config::ConfigError;
use crate::drain::DrainError;
use crate::mounts::MountError;
use crate::pageout::PageoutError;
use crate::source::SourceError;
use crate::text::{Palette, error_chain};
use args::Cli;

/// It was tried and did not work.
const FAILED: u8 = 1;
/// The command line, a key or a value is wrong.
const USAGE: u8 = 2;
/// There is nothing to measure: no module, or one of another version; the kernel
/// cannot do it.
const CANNOT_MEASURE: u8 = 3;
/// The caller lacks rights.
const MISSING_RIGHTS: u8 = 4;

/// Runs `tmem` with the arguments of this process.
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    start_logging(cli.global.verbose);
    let palette = cli.global.palette_for_stderr();
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return report(&error.into(), palette),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => report(&error, palette),
    }
}

fn report(error: &anyhow::Error, palette: Palette) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let text = format!("{} {}\n", palette.bad("tmem:"), error_chain(error.as_ref()));
    // Nothing is left to tell when even this cannot be written.
    let _ = io::stderr().write_all(text.as_bytes());
    ExitCode::from(exit_code(error))
}

/// Whoever read the output has seen enough.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(error) = error.downcast_ref() {
        return source_exit_code(error);
    }
    if error.is::<UnknownColumn>() {
        return USAGE;
    }
    if let Some(error) = error.downcast_ref() {
        return match error {
            ConfigError::Refused { error, .. } | ConfigError::Source(error) => {
                source_exit_code(error)
            }
            error if configure::is_usage(error) => USAGE,
            _ => FAILED,
        };
    }
    if let Some(error) = error.downcast_ref() {
        return match error {
            PageoutError::NoProcess(_) | PageoutError::NoCgroup(_) => USAGE,
            PageoutError::TooOld { .. } => CANNOT_MEASURE,
            PageoutError::MissingRights { .. } => MISSING_RIGHTS,
            PageoutError::Io { .. } => FAILED,
        };
    }
    match error.downcast_ref() {
        Some(DrainError::Source(error)) => source_exit_code(error),
        Some(DrainError::Swap { error, .. }) if error.kind() == ErrorKind::PermissionDenied => {
            MISSING_RIGHTS
        }
        _ => match error.downcast_ref() {
            Some(error) => mount_exit_code(error),
            None => FAILED,
        },
    }
}

fn mount_exit_code(error: &MountError) -> u8 {
    match error {
        MountError::Source(error) => source_exit_code(error),
        MountError::NotMounted(_) | MountError::BadLine { .. } => USAGE,
        _ => FAILED,
    }
}

fn source_exit_code(error: &SourceError) -> u8 {
    match error {
        SourceError::Mount(error) => mount_exit_code(error),
        SourceError::Absent { .. } | SourceError::WrongAbi { .. } => CANNOT_MEASURE,
        SourceError::MissingRights { .. } => MISSING_RIGHTS,
        SourceError::UnknownKey { .. }
        | SourceError::BadValue { .. }
        | SourceError::NoCgroup(_) => USAGE,
        _ => FAILED,
    }
}

/// Diagnostics of the eBPF programs and of the libraries, on standard error.
struct StderrLog;

impl log::Log for StderrLog {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        // The libraries' own details would drown ours.
        metadata.level() <= log::Level::Warn
            || (metadata.level() <= log::max_level() && metadata.target().starts_with("tmem"))
    }

    fn log(&self, record: &log::Record<'_>) {
        if self.enabled(record.metadata()) {
            let text = format!(
                "tmem: {}: {}\n",
                record.level().as_str().to_lowercase(),
                record.args()
            );
            // A diagnostic that cannot be written is lost.
            let _ = io::stderr().write_all(text.as_bytes());
        }
    }

    fn flush(&self) {}
}

fn start_logging(verbose: bool) {
    // Fails only when called twice.
    if log::set_logger(&StderrLog).is_ok() {
        log::set_max_level(if verbose {
            log::LevelFilter::Debug
        } else {
            log::LevelFilter::Warn
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_left_is_no_failure() {
        let error = anyhow::Error::from(io::Error::from(ErrorKind::BrokenPipe));
        assert!(is_broken_pipe(&error.context("writing")));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }

    #[test]
    fn errors_end_with_their_documented_code() {
        let absent = SourceError::Absent {
            what: "it".to_owned(),
            path: "/x".into(),
            hint: "look".to_owned(),
        };
        assert_eq!(exit_code(&absent.into()), 3);
        let rights = SourceError::MissingRights {
            what: "it".to_owned(),
            needed: "root",
            path: "/x".into(),
        };
        let error = anyhow::Error::from(DrainError::from(rights)).context("draining");
        assert_eq!(exit_code(&error), 4);
        assert_eq!(exit_code(&DrainError::PagesLeft(1).into()), 1);
    }
}
