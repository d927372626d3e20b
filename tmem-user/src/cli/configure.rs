//! Commands that change tunables, or deal with files that say what they shall be.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

use super::USAGE;
use super::args::{Apply, Global, Save, Set, ShowConfig};
use super::commands::{Watch, open, print, print_json};
use crate::config::{self, ConfigError, Setting, Unmounted};
use crate::json::Body;
use crate::source::{Change, apply};
use crate::text;

/// `tmem set`.
pub(super) fn set(global: &Global, set: &Set) -> anyhow::Result<u8> {
    change(global, &set.changes, str::to_owned)
}

/// Makes changes that were named on the command line; `key_of` gives the key that a name stands for.
pub(super) fn change(
    global: &Global,
    changes: &[(String, String)],
    key_of: impl Fn(&str) -> String,
) -> anyhow::Result<u8> {
    let mut source = open(global, Watch::NOTHING)?;
    let ram = source.ram_bytes()?;
    let mut wanted = Vec::with_capacity(changes.len());
    for (key, value) in changes {
        match config::resolve(key, value, ram) {
            Ok(resolved) => wanted.push((key_of(key), resolved)),
            Err(error) => {
                log::error!("{key}: {value:?}: {error}");
                return Ok(USAGE);
            }
        }
    }
    let changes = apply(source.as_mut(), &wanted)?;
    if global.json {
        print_json(Body::Set {
            changes: changes.iter().map(Into::into).collect(),
        })?;
    } else {
        print(&text::changes(&changes, global.palette_for_stdout()))?;
    }
    Ok(0)
}

/// The files to read: those named, or the drop-ins below `root`.
pub(super) fn files(
    named: &[PathBuf],
    root: &std::path::Path,
) -> Result<Vec<PathBuf>, ConfigError> {
    if named.is_empty() {
        config::drop_ins(root)
    } else {
        Ok(named.to_vec())
    }
}

/// `tmem apply`.
pub(super) fn apply_files(global: &Global, options: &Apply) -> anyhow::Result<u8> {
    let settings = config::read_files(&files(&options.files, &options.root)?)?;
    let mut source = open(global, Watch::NOTHING)?;
    let (planned, unmounted) = config::plan(source.as_mut(), &settings)?;
    for Unmounted { path, place } in unmounted {
        log::warn!(
            "{place}: {}: nothing is mounted there; this section was left out",
            path.display()
        );
    }
    let changes = if options.dry_run {
        planned.into_iter().map(|planned| planned.change).collect()
    } else {
        config::make_true(source.as_mut(), &planned)?
    };
    if global.json {
        print_json(Body::Apply {
            dry_run: options.dry_run,
            settings: settings.len(),
            changes: changes.iter().map(Into::into).collect(),
        })?;
    } else if options.diff {
        print(&diff(&changes))?;
    } else if changes.is_empty() {
        print(&format!(
            "nothing to change: {} settings hold\n",
            settings.len()
        ))?;
    } else {
        print(&text::changes(&changes, global.palette_for_stdout()))?;
        if options.dry_run {
            print("nothing was changed (--dry-run)\n")?;
        }
    }
    Ok(0)
}

/// Changes in the manner of diff.
fn diff(changes: &[Change]) -> String {
    let mut text = String::new();
    for change in changes {
        for (sign, value) in [('-', &change.old), ('+', &change.new)] {
            let _ = writeln!(text, "{sign}{} = {}", change.key, config::quoted(value));
        }
    }
    text
}

/// `tmem show-config`.
pub(super) fn show(global: &Global, options: &ShowConfig) -> anyhow::Result<u8> {
    let paths = files(&options.files, &options.root)?;
    let settings = config::read_files(&paths)?;
    if global.json {
        print_json(Body::Config {
            files: paths
                .iter()
                .map(|path| path.display().to_string())
                .collect(),
            settings: settings.iter().map(Into::into).collect(),
        })?;
        return Ok(0);
    }
    print(&merged(&paths, &settings))?;
    Ok(0)
}

/// The settings that count as one file, each below the place that it is from.
fn merged(paths: &[PathBuf], settings: &[Setting]) -> String {
    let mut text = String::new();
    for path in paths {
        let _ = writeln!(text, "# read: {}", path.display());
    }
    if paths.is_empty() {
        text.push_str("# no files\n");
    }
    let mut tables: Vec<(&str, Vec<(&str, &Setting)>)> = vec![("", Vec::new())];
    for setting in settings {
        let (table, name) = setting.key.rsplit_once('.').unwrap_or(("", &setting.key));
        match tables.iter_mut().find(|(known, _)| *known == table) {
            Some((_, inside)) => inside.push((name, setting)),
            None => tables.push((table, vec![(name, setting)])),
        }
    }
    for (table, inside) in tables {
        if !table.is_empty() {
            let parts: Vec<_> = table.splitn(2, '.').map(config::key).collect();
            let _ = writeln!(text, "\n[{}]", parts.join("."));
        }
        for (name, setting) in inside {
            let _ = writeln!(text, "\n# {}", setting.place);
            let _ = writeln!(
                text,
                "{} = {}",
                config::key(name),
                config::quoted(&setting.value)
            );
        }
    }
    text
}

/// `tmem save`.
pub(super) fn save(global: &Global, options: &Save) -> anyhow::Result<u8> {
    let mut source = open(global, Watch::NOTHING)?;
    let tunables = source.tunables()?;
    let snapshot = source.snapshot()?;
    let text = format!(
        "# Running state of: {}\n# Made by `tmem save`; `tmem apply` makes it so again.\n\n{}",
        source.describe(),
        config::save(&tunables, &snapshot.pools)
    );
    match &options.file {
        Some(path) => config::write_whole(path, &text)?,
        None => print(&text)?,
    }
    Ok(0)
}

/// Whether a configuration could not be read as it stands, as opposed to made true.
pub(super) fn is_usage(error: &ConfigError) -> bool {
    match error {
        ConfigError::Syntax { .. }
        | ConfigError::Kind { .. }
        | ConfigError::Bad { .. }
        | ConfigError::NotKept { .. }
        | ConfigError::Expression { .. } => true,
        ConfigError::Read { error, .. } => error.kind() == io::ErrorKind::NotFound,
        ConfigError::Refused { .. } | ConfigError::Source(_) => false,
    }
}
