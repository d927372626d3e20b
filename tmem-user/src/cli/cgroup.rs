//! `tmem cgroup`: what cgroups hold, and what each may hold.

use clap::{Args, Subcommand};
use tmem_common::sysfs;

use super::USAGE;
use super::args::{Global, Table, parse_assignment};
use super::{configure, table};
use crate::cgroups::{Cgroup, Cgroups};
use crate::columns::{Cell, Column, usual};
use crate::control::Control;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the cgroups of which pages are held, or for which something was set
    List(List),
    /// Set what a cgroup may hold
    Set(Set),
    /// Take back what was set for a cgroup
    Rm {
        /// Its path below /sys/fs/cgroup, or id:N of one that is gone
        path: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct List {
    #[command(flatten)]
    table: Table,
    /// The same as --no-headings
    #[arg(short = 'n')]
    bare: bool,
}

#[derive(Debug, Args)]
pub(super) struct Set {
    /// Its path below /sys/fs/cgroup, or id:N
    path: String,
    /// weight=200, limit=512M, limit='ram / 8'; weight=default and limit=max take them back
    #[arg(required = true, value_name = "KEY=VALUE", value_parser = parse_assignment)]
    changes: Vec<(String, String)>,
}

static COLUMNS: &[Column<Cgroup>] = &[
    usual("cgroup", |cgroup| Cell::Text(cgroup.name())),
    usual("weight", |cgroup| {
        Cell::of(cgroup.weight, |weight| Cell::Count(weight.into()))
    }),
    usual("limit", |cgroup| Cell::of(cgroup.limit_bytes, Cell::Bytes)),
    usual("swap_pages", |cgroup| Cell::Count(cgroup.swap_pages)),
    usual("swap_bytes", |cgroup| Cell::Bytes(cgroup.swap_bytes)),
    usual("file_pages", |cgroup| Cell::Count(cgroup.file_pages)),
    usual("file_bytes", |cgroup| Cell::Bytes(cgroup.file_bytes)),
    usual("refused", |cgroup| Cell::Count(cgroup.refused)),
    usual("evicted", |cgroup| Cell::Count(cgroup.evicted)),
    usual("id", |cgroup| Cell::Count(cgroup.id)),
];

/// Runs one of the commands; the exit code.
pub(super) fn run(global: &Global, command: &Command) -> anyhow::Result<u8> {
    if global.embedded {
        log::error!("cgroup is for the loaded module, not for --embedded");
        return Ok(USAGE);
    }
    match command {
        Command::List(options) => list(global, options),
        Command::Set(options) => set(global, &options.path, &options.changes),
        Command::Rm { path } => {
            let nothing = [
                (sysfs::CGROUPS_WEIGHT, sysfs::CGROUP_WEIGHT_NONE),
                (sysfs::CGROUPS_LIMIT, sysfs::CGROUP_LIMIT_NONE),
            ];
            let nothing = nothing.map(|(key, value)| (key.to_owned(), value.to_owned()));
            set(global, path, &nothing)
        }
    }
}

fn list(global: &Global, options: &List) -> anyhow::Result<u8> {
    let layout = table::layout(&options.table, COLUMNS)?;
    let cgroups = Cgroups::open(&Control::open(global.sysfs.clone())?)?.list()?;
    let heading = !(options.table.no_headings || options.bare);
    table::print_layout(global, "cgroups", COLUMNS, &layout, heading, &cgroups)?;
    Ok(0)
}

fn set(global: &Global, path: &str, changes: &[(String, String)]) -> anyhow::Result<u8> {
    configure::change(global, changes, |name| {
        format!("{}.{path}.{name}", sysfs::CGROUPS)
    })
}
