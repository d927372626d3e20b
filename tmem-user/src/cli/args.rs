//! The arguments of `tmem`.

use std::io::{self, IsTerminal};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::conditions::Conditions;
use super::pageout::{parse_bytes, parse_idle};
use super::{advise, cgroup, compare, export, files, import, mrc, record, replay, report};
use crate::check::{Condition, Quantity, Side};
use crate::columns::Style;
use crate::text::Palette;
use crate::units::parse_duration;
use crate::workload::Spec;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  wrong usage: unknown option, key or value
  3  cannot measure: the module is not loaded, or of another version
  4  missing rights: setting and draining need root";

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
    /// Watch the kernel's own zswap and zram instead of the module
    #[arg(long, global = true, conflicts_with = "embedded")]
    pub(super) stock: bool,
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
    Pools(Pools),
    /// List the files of which pages were kept or asked for, and which of them profit
    Files(files::Options),
    /// Measure, and end with 0 only if every condition held
    Check(Check),
    /// Run a command, and report what tmem did meanwhile
    Run(Run),
    /// Have memory of a process or a cgroup reclaimed now, and see what became of it
    Pageout(Pageout),
    /// Move the limit by feedback from memory pressure and refaults, until ended
    Tune(Tune),
    /// Serve metrics over HTTP for monitoring systems (OpenMetrics)
    Serve(Serve),
    /// Print completions for a shell
    Completions(Completions),
    /// Write the manual pages into a directory
    Man(Man),
    /// Look at this machine: would tmem work, and what to do where it would not
    Doctor(Doctor),
    /// Change tunables: all of them, or none if one is not allowed
    Set(Set),
    /// Make files true: every setting in them, or none
    Apply(Apply),
    /// Print what the files say together, and where each setting is from
    ShowConfig(ShowConfig),
    /// Write the running state as a file for apply
    Save(Save),
    /// Choose the file systems whose clean pages are kept
    #[command(subcommand)]
    Mount(Mount),
    /// See and choose how much cgroups hold
    #[command(subcommand)]
    Cgroup(cgroup::Command),
    /// Empty the module by taking every swap device off and on, so that it can be unloaded
    Drain(Drain),
    /// Record what happens into a trace
    Record(record::Options),
    /// Write a trace in the format of another tool
    Export(export::Options),
    /// Make a trace of a public cache trace
    Import(import::Options),
    /// Replay a trace's requests through the engine under other settings
    Replay(replay::Options),
    /// What to set, from a trace or from what happens now
    Advise(advise::Options),
    /// A trace as one page of HTML, with plots
    Report(report::Options),
    /// Two recordings side by side
    Compare(compare::Options),
    /// The miss-ratio curve of a trace
    Mrc(mrc::Options),
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
    #[arg(long, conflicts_with_all = ["csv", "raw", "columns"])]
    pub(super) cgroups: bool,
    #[command(flatten)]
    pub(super) table: Table,
    /// Do without eBPF: counts only, no latencies
    #[arg(long)]
    pub(super) no_ebpf: bool,
    /// Measure while this command runs; its output goes to standard error
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

/// How a table is printed.
#[derive(Debug, Args)]
pub(super) struct Table {
    /// Print these columns, in this order
    #[arg(
        short = 'o',
        long = "output",
        value_name = "COLUMN,...",
        value_delimiter = ',',
        conflicts_with = "json"
    )]
    pub(super) columns: Vec<String>,
    /// Comma-separated values with plain numbers
    #[arg(long, conflicts_with = "json")]
    pub(super) csv: bool,
    /// Words with a blank between them, and plain numbers
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    pub(super) raw: bool,
    /// No line with the names of the columns
    #[arg(long, conflicts_with = "json")]
    pub(super) no_headings: bool,
}

impl Table {
    /// Whether a table was asked for where a report is usual.
    pub(super) fn wanted(&self) -> bool {
        self.csv || self.raw || !self.columns.is_empty()
    }

    pub(super) fn style(&self) -> Style {
        if self.csv {
            Style::Csv
        } else if self.raw {
            Style::Raw
        } else {
            Style::People
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Pools {
    #[command(flatten)]
    pub(super) table: Table,
    /// The same as --no-headings
    #[arg(short = 'n')]
    pub(super) bare: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Exit codes:
  0  every condition held
  1  a condition failed
  2  wrong usage
  3  no condition failed, but at least one cannot be measured")]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) conditions: Conditions,
    /// How long to measure; with a COMMAND, stop it after that time [default: 1s]
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub(super) time: Option<Duration>,
    /// Measure while this command runs, which has to end with 0
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

impl Check {
    /// The conditions asked for, in the order of the options; the last is the command's.
    pub(super) fn conditions(&self) -> Vec<Condition> {
        let mut conditions = self.conditions.list();
        if !self.command.is_empty() {
            conditions.push(Condition {
                name: "command",
                quantity: Quantity::ExitCode,
                side: Side::Max,
                bound: 0.0,
            });
        }
        conditions
    }
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Write the report to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    pub(super) report: Option<PathBuf>,
    /// Do without eBPF: counts only, no latencies
    #[arg(long)]
    pub(super) no_ebpf: bool,
    /// The command; its input, output and exit code are untouched
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(super) command: Vec<String>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("target").required(true).args(["pid", "cgroup"]))]
pub(super) struct Pageout {
    /// The process
    #[arg(long, value_name = "PID")]
    pub(super) pid: Option<i32>,
    /// The cgroup: its path below /sys/fs/cgroup
    #[arg(long, value_name = "PATH")]
    pub(super) cgroup: Option<PathBuf>,
    /// About so much of it [default: all that the kernel gives up]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(super) bytes: Option<u64>,
    /// Wait so long, and take only mappings of which nothing was touched meanwhile
    #[arg(long, value_name = "TIME", value_parser = parse_idle)]
    pub(super) idle_for: Option<Duration>,
}

#[derive(Debug, Args)]
pub(super) struct Tune {
    /// Never below this
    #[arg(long, value_name = "SIZE", default_value = "5%")]
    pub(super) min_limit: String,
    /// Never above this
    #[arg(long, value_name = "SIZE", default_value = "40%")]
    pub(super) max_limit: String,
    /// Share of the time in which some task waits for memory, above which the limit is not raised
    #[arg(long, value_name = "SHARE", default_value = "10%", value_parser = parse_share)]
    pub(super) max_pressure: f64,
    /// Time between two looks
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    pub(super) every: Duration,
    /// End after this time
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    pub(super) time: Option<Duration>,
    /// Say what would be changed, and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
}

#[derive(Debug, Args)]
pub(super) struct Serve {
    /// The address to listen on; port 0: any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9711")]
    pub(super) listen: SocketAddr,
    /// Do without eBPF: counters only, no histograms
    #[arg(long)]
    pub(super) no_ebpf: bool,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// The shell
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// The directory; made if it is not there
    #[arg(value_name = "DIR")]
    pub(super) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Look at the system whose root directory is here
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub(super) root: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// What to change: limit=20%, pools.0.codec=zstd, pool.swap.limit='min(ram / 4, 1G)'
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_assignment)]
    pub(super) changes: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Mount {
    /// The file system mounted at PATH takes part from now on
    Add {
        /// A directory on which a file system is mounted
        path: PathBuf,
    },
    /// List the file systems that take part
    List,
    /// The file system at PATH leaves, and its pages go
    Rm {
        /// Where it is mounted, or as it is listed
        path: PathBuf,
    },
    /// Add every path that FILE lists and that takes no part yet
    Apply {
        /// One absolute path a line; # begins a comment
        file: PathBuf,
    },
    /// Make the mounts sections of files true now and whenever something is mounted, until ended
    Watch(MountWatch),
}

#[derive(Debug, Args)]
pub(super) struct MountWatch {
    /// The files; read again at SIGHUP [default: those that apply reads]
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Look for tmem.conf.d below this directory
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        conflicts_with = "files"
    )]
    pub(super) root: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// The files; of two settings for one key the later counts [default: all
    /// tmem.conf.d/*.conf in /usr/lib, /etc and /run]
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Check everything and show what would change, but change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Show changes in the manner of diff
    #[arg(long, conflicts_with = "json")]
    pub(super) diff: bool,
    /// Look for tmem.conf.d below this directory
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        conflicts_with = "files"
    )]
    pub(super) root: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct ShowConfig {
    /// The files [default: those that apply reads]
    #[arg(value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Look for tmem.conf.d below this directory
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/",
        conflicts_with = "files"
    )]
    pub(super) root: PathBuf,
}

#[derive(Debug, Args)]
pub(super) struct Save {
    /// The file, replaced as a whole [default: standard output]
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Drain {
    /// Leave the module refusing new pages, so that it can be unloaded at leisure
    #[arg(long)]
    pub(super) keep_disabled: bool,
}

#[derive(Debug, Args)]
pub(super) struct Top {
    /// Look at a recording made by tmem record instead
    #[arg(value_name = "FILE", conflicts_with_all = ["batch", "interval", "sample"])]
    pub(super) file: Option<PathBuf>,
    /// Time between two refreshes [default: 1s]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub(super) interval: Option<Duration>,
    /// Keys, colours and layout [default: tmem/top.toml in $XDG_CONFIG_HOME or
    /// ~/.config, else /etc/tmem/top.toml]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Print a configuration that says what holds without one
    #[arg(long)]
    pub(super) print_config: bool,
    /// Sample one page in this many for the list of events; 0: none
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub(super) sample: u32,
    /// Draw with ASCII characters only
    #[arg(long, conflicts_with = "batch")]
    pub(super) ascii: bool,
    /// Print reports instead of drawing, for files and pipes
    #[arg(long, required_if_eq_any = [("csv", "true"), ("raw", "true")])]
    pub(super) batch: bool,
    /// Stop after this many reports of --batch
    #[arg(long, short = 'n', value_name = "N", requires = "batch")]
    pub(super) count: Option<u64>,
    #[command(flatten)]
    pub(super) table: Table,
}

pub(super) fn parse_share(text: &str) -> Result<f64, String> {
    let (digits, whole) = match text.strip_suffix('%') {
        Some(digits) => (digits.trim_end(), 100.0),
        None => (text, 1.0),
    };
    digits
        .parse::<f64>()
        .map(|share| share / whole)
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "a share from 0 to 1 or 0% to 100% is wanted".to_owned())
}

pub(super) fn parse_assignment(text: &str) -> Result<(String, String), String> {
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
    fn shares_are_parts_or_percents() {
        assert_eq!(parse_share("0.6"), Ok(0.6));
        assert_eq!(parse_share("60%"), Ok(0.6));
        for bad in ["60", "-1%", "x", "NaN", ""] {
            assert!(parse_share(bad).is_err(), "{bad:?}");
        }
        for bad in [
            ["--min-ratio", "inf"],
            ["--max-p99-get", "50"],
            ["--max-swap-written", "-1"],
        ] {
            let bad = Cli::try_parse_from(["tmem", "check", bad[0], bad[1]]);
            assert!(bad.is_err(), "{bad:?}");
        }
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
