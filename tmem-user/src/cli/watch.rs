//! `tmem mount watch`: the mounts sections of files are made true when the table of mounts
//! changes, so that a file system takes part from its mount on, whenever that is. The kernel
//! tells of a change; in between nothing runs.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Global, MountWatch};
use super::commands::{Watch, open, print};
use super::configure::files;
use super::mount::{self, change, tell};
use super::{MISSING_RIGHTS, exit_code};
use crate::config::{self, ConfigError, Setting};
use crate::control::split_mount;
use crate::json::MountChangeJson;
use crate::mountinfo::{MOUNTINFO, Mounted, mounted_at};
use crate::mounts::MountError;
use crate::source::{KEEP, SourceError};
use crate::text::error_chain;

/// A section that says whether a file system takes part, and how.
struct Rule {
    path: PathBuf,
    settings: Vec<Setting>,
}

/// What was told, so that it is told once.
#[derive(Default)]
struct Told {
    /// Why nothing can be added at all.
    obstacle: Option<String>,
    /// Why the file system that is mounted at a path could not be added.
    failures: HashMap<PathBuf, Failure>,
}

struct Failure {
    of: Mounted,
    why: String,
    /// The module does not take it, now or later; asking again would fill the kernel's log.
    refused: bool,
}

/// Watches until SIGTERM or SIGINT.
pub(super) async fn run(global: &Global, options: &MountWatch) -> anyhow::Result<u8> {
    let mut rules = read(options)?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut reloads = signal(SignalKind::hangup())?;
    // Changes are told from here on, before the first look.
    let table = File::open(MOUNTINFO).context(MOUNTINFO)?;
    // SAFETY: a file keeps its descriptor until it is dropped, which is after its registration.
    let table = unsafe { AsyncFd::register_with_interest(table, Interest::PRIORITY) };
    let table = table.context(MOUNTINFO)?;
    let mut told = Told::default();
    look(global, &rules, &mut told)?;
    if !global.json {
        print(&format!("watching for {} file systems\n", rules.len()))?;
    }
    // Fails only where there is no service manager to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    loop {
        tokio::select! {
            changed = table.ready(Interest::PRIORITY) => changed?.clear_ready(),
            _ = reloads.recv() => match read(options) {
                Ok(read) => {
                    rules = read;
                    told = Told::default();
                }
                Err(error) => log::error!("{}; what was read before holds", error_chain(&error)),
            },
            _ = terminations.recv() => break,
            _ = interrupts.recv() => break,
        }
        look(global, &rules, &mut told)?;
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    Ok(0)
}

fn read(options: &MountWatch) -> Result<Vec<Rule>, ConfigError> {
    let mut rules: Vec<Rule> = Vec::new();
    for setting in config::read_files(&files(&options.files, &options.root)?)? {
        let Some((path, _)) = split_mount(&setting.key) else {
            continue;
        };
        match rules.iter_mut().find(|rule| rule.path == path) {
            Some(rule) => rule.settings.push(setting),
            None => rules.push(Rule {
                path: path.to_owned(),
                settings: vec![setting],
            }),
        }
    }
    // Others are about file systems that take part by somebody else's doing.
    rules.retain(|rule| {
        let mut keys = rule.settings.iter().map(|setting| &setting.key);
        keys.any(|key| split_mount(key).is_some_and(|(_, name)| name == KEEP))
    });
    Ok(rules)
}

/// Makes the rules true of what is mounted now. One that fails is no reason to leave out the
/// rest, nor to end: only missing rights are.
fn look(global: &Global, rules: &[Rule], told: &mut Told) -> anyhow::Result<()> {
    if let Some(obstacle) = obstacle(global)? {
        if told.obstacle.as_ref() != Some(&obstacle) {
            log::warn!("{obstacle}; looking again when something is mounted");
        }
        // What takes its place is asked anew.
        *told = Told {
            obstacle: Some(obstacle),
            ..Told::default()
        };
        return Ok(());
    }
    told.obstacle = None;
    for rule in rules {
        let Some(here) = mounted_at(&rule.path) else {
            told.failures.remove(&rule.path);
            continue;
        };
        let before = told.failures.get(&rule.path);
        let before = before.filter(|failure| failure.of == here);
        if before.is_some_and(|failure| failure.refused) {
            continue;
        }
        let error = match make_true(global, rule) {
            Ok(done) => {
                told.failures.remove(&rule.path);
                if let Some(outcome) = done {
                    tell(global, vec![change(&rule.path, outcome)])?;
                }
                continue;
            }
            Err(error) if exit_code(&error) == MISSING_RIGHTS => return Err(error),
            Err(error) => error,
        };
        let failure = Failure {
            of: here,
            why: error_chain(error.as_ref()),
            refused: is_refused(&error),
        };
        if before.is_none_or(|before| before.why != failure.why) {
            let failed = MountChangeJson {
                why: Some(failure.why.clone()),
                ..change(&rule.path, "failed")
            };
            tell(global, vec![failed])?;
        }
        told.failures.insert(rule.path.clone(), failure);
    }
    Ok(())
}

/// Why nothing can be added now: no module, or one that found a page that was not what is on
/// the disk. It removed all file systems then, which is not for a service to undo.
fn obstacle(global: &Global) -> anyhow::Result<Option<String>> {
    let mismatches = mount::open(global).and_then(|mounts| mounts.mismatches());
    match mismatches {
        Ok(0) => Ok(None),
        Ok(count) => Ok(Some(format!(
            "{count} pages of files differed from the disk: no file system is added until the module is loaded anew"
        ))),
        Err(error @ SourceError::MissingRights { .. }) => Err(error.into()),
        Err(error) => Ok(Some(error_chain(&error))),
    }
}

/// What was done to make a rule true; `None`: it was so.
fn make_true(global: &Global, rule: &Rule) -> anyhow::Result<Option<&'static str>> {
    let mut source = open(global, Watch::NOTHING)?;
    let (planned, _) = config::plan(source.as_mut(), &rule.settings)?;
    let keep = planned
        .iter()
        .find(|planned| split_mount(&planned.change.key).is_some_and(|(_, name)| name == KEEP));
    // Settings of one that takes part already may be as somebody wants them by now.
    let Some(keep) = keep else {
        return Ok(None);
    };
    let outcome = match keep.change.new.as_str() {
        "1" => "added",
        _ => "removed",
    };
    config::make_true(source.as_mut(), &planned)?;
    Ok(Some(outcome))
}

/// Whether the module does not take the file system.
fn is_refused(error: &anyhow::Error) -> bool {
    let Some(ConfigError::Refused { error, .. }) = error.downcast_ref() else {
        return false;
    };
    matches!(&**error, SourceError::Mount(error) if matches!(**error, MountError::Refused { .. }))
}
