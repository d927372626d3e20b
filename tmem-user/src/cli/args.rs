//! The arguments of `tmem`.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::text::Palette;
use crate::units::parse_duration;
use crate::workload::Spec;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage: unknown option, key or value
  3  cannot measure: the module is not loaded, or of another version
  4  missing rights: setting and draining need root, latencies CAP_BPF and CAP_PERFMON";

/// Watch and tune tmem, a compressed second chance for pages that memory reclaim throws out.
#[derive(Debug, Parser)]
#[command(name = "tmem", version, after_help = EXIT_CODES)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Global {
    /// Run the engine inside this process on a made-up workload: no module, no root
    #[arg(long, global = true)]
    pub(super) embedded: bool,
    /// The workload of --embedded, such as zipf:pages=20000,mix=heap,rate=0
    #[arg(long, global = true, value_name = "SPEC", requires = "embedded",
          value_parser = Spec::parse)]
    pub(super) workload: Option<Spec>,
    /// Print JSON, one object a line
    #[arg(long, global = true)]
    pub(super) json: bool,
    /// Colour the output
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub(super) color: When,
    /// Show diagnostics on standard error
    #[arg(long, short, global = true)]
    pub(super) verbose: bool,
    /// The module's directory
    #[arg(long, global = true, value_name = "DIR", default_value = tmem_common::sysfs::ROOT)]
    pub(super) sysfs: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum When {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Global {
    pub(super) fn palette_for_stdout(&self) -> Palette {
        self.palette(io::stdout().is_terminal())
    }

    pub(super) fn palette_for_stderr(&self) -> Palette {
        self.palette(io::stderr().is_terminal())
    }

    fn palette(&self, terminal: bool) -> Palette {
        // https://no-color.org: set and not empty.
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Palette {
            on: match self.color {
                When::Auto => terminal && !refused,
                When::Always => true,
                When::Never => false,
            },
        }
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show whether tmem works, what it holds, and every tunable
    Status,
    /// Count and time operations for a while
    Stats(Stats),
    /// List the pools
    Pools,
    /// Change tunables: all of them, or none if one is not allowed
    Set(Set),
    /// Empty the module by taking every swap device off and on, so that it can be unloaded
    Drain(Drain),
    /// Watch and tune in a dashboard
    Top(Top),
}

#[derive(Debug, Args)]
pub(super) struct Stats {
    /// How long to measure, also between two reports of --watch [default: 1s]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration,
          conflicts_with = "command")]
    pub(super) time: Option<Duration>,
    /// Go on, with a report after each interval
    #[arg(long, conflicts_with = "command")]
    pub(super) watch: bool,
    /// Stop after this many reports of --watch
    #[arg(long, short = 'n', value_name = "N", requires = "watch")]
    pub(super) count: Option<u64>,
    /// Show operations by cgroup too
    #[arg(long)]
    pub(super) cgroups: bool,
    /// Do without eBPF: counts only, no latencies
    #[arg(long)]
    pub(super) no_ebpf: bool,
    /// Measure while this command runs; its output goes to standard error
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// What to change, such as limit=20%, pools.0.codec=zstd or pool.swap.limit=1G
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_assignment)]
    pub(super) changes: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Leave the module refusing new pages, so that it can be unloaded at leisure
    #[arg(long)]
    pub(super) keep_disabled: bool,
}

#[derive(Debug, Args)]
pub(super) struct Top {
    /// Time between two refreshes
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = parse_duration)]
    pub(super) interval: Duration,
    /// Sample one page in this many for the list of events; 0: none
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(super) sample: u32,
    /// Draw with ASCII characters only
    #[arg(long, conflicts_with = "batch")]
    pub(super) ascii: bool,
    /// Print reports instead of drawing, for files and pipes
    #[arg(long)]
    pub(super) batch: bool,
    /// Stop after this many reports of --batch
    #[arg(long, short = 'n', value_name = "N", requires = "batch")]
    pub(super) count: Option<u64>,
}

fn parse_assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE is wanted".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn an_assignment_has_a_key() {
        assert_eq!(
            parse_assignment("a=b=c"),
            Ok(("a".to_owned(), "b=c".to_owned()))
        );
        assert_eq!(parse_assignment("a="), Ok(("a".to_owned(), String::new())));
        assert!(parse_assignment("a").is_err());
        assert!(parse_assignment("=b").is_err());
    }
}
