//! `tmem mount`: which file systems take part. `watch` is beside it.

use std::io::{self, Write as _};
use std::path::Path;

use super::FAILED;
use super::USAGE;
use super::args::{Global, Mount as Command};
use super::commands::{print, print_json};
use super::watch;
use crate::control::Control;
use crate::json::{Body, MountChangeJson};
use crate::mounts::{MountError, Mounts, read_paths};
use crate::source::SourceError;
use crate::text;

/// Runs one of the commands; the exit code.
pub(super) async fn run(global: &Global, command: &Command) -> anyhow::Result<u8> {
    if global.embedded {
        log::error!("mount is for the loaded module, not for --embedded");
        return Ok(USAGE);
    }
    match command {
        Command::List => list(global, &open(global)?),
        Command::Add { path } => {
            open(global)?.add(path)?;
            tell(global, vec![change(path, "added")])
        }
        Command::Rm { path } => {
            open(global)?.remove(path)?;
            tell(global, vec![change(path, "removed")])
        }
        Command::Apply { file } => {
            // A bad file is told before anything is looked for or changed.
            let paths = read_paths(file)?;
            let mounts = open(global)?;
            let changes: Vec<_> = paths.iter().map(|path| apply(&mounts, path)).collect();
            let failed = changes.iter().any(|change| change.why.is_some());
            tell(global, changes)?;
            Ok(if failed { FAILED } else { 0 })
        }
        Command::Watch(options) => watch::run(global, options).await,
    }
}

pub(super) fn open(global: &Global) -> Result<Mounts, SourceError> {
    Mounts::open(&Control::open(global.sysfs.clone())?)
}

pub(super) fn change(path: &Path, outcome: &'static str) -> MountChangeJson<'static> {
    MountChangeJson {
        path: path.display().to_string(),
        outcome,
        why: None,
    }
}

/// Adds one path; that another cannot be added is no reason to leave out the rest.
fn apply(mounts: &Mounts, path: &Path) -> MountChangeJson<'static> {
    match mounts.add(path) {
        Ok(()) => change(path, "added"),
        Err(MountError::Already(_)) => change(path, "already"),
        Err(error) => MountChangeJson {
            why: Some(text::error_chain(&error)),
            ..change(path, "failed")
        },
    }
}

pub(super) fn tell(global: &Global, changes: Vec<MountChangeJson<'_>>) -> anyhow::Result<u8> {
    if global.json {
        print_json(Body::MountChanges { changes })?;
        return Ok(0);
    }
    for change in &changes {
        match &change.why {
            None => print(&format!("{}: {}\n", change.path, change.outcome))?,
            Some(why) => writeln!(io::stderr(), "tmem: {why}")?,
        }
    }
    Ok(0)
}

fn list(global: &Global, mounts: &Mounts) -> anyhow::Result<u8> {
    let mounts = mounts.list()?;
    if global.json {
        print_json(Body::Mounts {
            mounts: mounts.iter().map(Into::into).collect(),
        })?;
        return Ok(0);
    }
    if mounts.is_empty() {
        print("no file system takes part; `tmem mount add PATH` adds one\n")?;
        return Ok(0);
    }
    let mut table = format!("{:<9} {:<8} {:>4}  path\n", "device", "type", "pool");
    for mount in &mounts {
        table.push_str(&format!(
            "{:<9} {:<8} {:>4}  {}\n",
            mount.device, mount.file_system, mount.pool, mount.path
        ));
    }
    print(&table)?;
    Ok(0)
}
