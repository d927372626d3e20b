//! The files under `/sys/kernel/mm/tmem`: what they take, what they refuse, and
//! who may.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tmem_common::ABI_VERSION;
use tmem_common::sysfs as names;

use super::contents::Stage;
use crate::context::Context;
use crate::{process, sys, tier};

/// Number of a user without any right.
const NOBODY: u32 = 65534;

/// A tunable, values that it takes (and reads back), and values that it refuses.
const TUNABLES: &[(&str, &[&str], &[&str])] = &[
    (
        names::ENABLED,
        &["0", "1"],
        &["2", "-1", "maybe", "\n", "1 1"],
    ),
    (
        names::LIMIT,
        &["1%", "100%", "16M", "33554432", "20%"],
        &[
            "101%",
            "-1",
            "%",
            "12Q",
            "many",
            "\n",
            "1.5G",
            "99999999999999999999",
            "20% 20%",
        ],
    ),
    (
        names::CODEC,
        &["none", "lz4"],
        &["lz5", "LZ4 ", "\n", "0", "lz"],
    ),
    (names::KEEP_INCOMPRESSIBLE, &["0", "1"], &["2", "x", "\n"]),
];

/// Files of the module's directory that nobody writes.
const READ_ONLY: &[&str] = &[
    names::ABI,
    names::LIMIT_BYTES,
    names::CODECS,
    names::OVERHANG_BYTES,
    names::USED_BYTES,
];

/// Every tunable keeps its word; only root may set; everyone may read.
pub(super) fn tunables(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    let abi: u32 = tier::attribute(names::ABI)?.parse().context("abi")?;
    ensure!(abi == ABI_VERSION, "abi {abi}, not {ABI_VERSION}");
    for (name, good, bad) in TUNABLES {
        for value in *good {
            tier::set(name, value)?;
            ensure!(
                tier::attribute(name)? == *value,
                "{name}: {value} reads back otherwise"
            );
        }
        let kept = tier::attribute(name)?;
        for value in *bad {
            match tier::try_set(name, value) {
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                other => bail!("{name}={value:?}: {other:?}, not EINVAL"),
            }
            ensure!(
                tier::attribute(name)? == kept,
                "{name}: refused {value:?}, not kept {kept}"
            );
        }
    }
    for codec in tier::codecs()? {
        tier::set(names::CODEC, &codec)?;
        ensure!(
            tier::attribute(names::CODEC)? == codec,
            "{codec} reads back otherwise"
        );
    }
    tier::set(names::LIMIT, "64M")?;
    let bytes: u64 = tier::attribute(names::LIMIT_BYTES)?.parse()?;
    ensure!(bytes == 64 << 20, "64M are {bytes} bytes");

    stage.exercise(context, 500)?;
    permissions()?;
    process::spawn(|| {
        sys::become_user(NOBODY).context("becoming a plain user")?;
        as_plain_user()
    })?
    .join()?;
    stage.finish(context)
}

/// All files below a directory.
fn files(directory: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, found)?;
        } else {
            found.push(path);
        }
    }
    Ok(())
}

/// Whether a file takes commands, which cannot be read.
fn is_command(path: &Path) -> bool {
    [
        (names::MOUNTS, names::MOUNTS_ADD),
        (names::MOUNTS, names::MOUNTS_REMOVE),
        (names::CGROUPS, names::CGROUPS_WEIGHT),
        (names::CGROUPS, names::CGROUPS_LIMIT),
    ]
    .iter()
    .any(|(directory, name)| path == Path::new(names::ROOT).join(directory).join(name))
}

fn permissions() -> Result<()> {
    let mut all = Vec::new();
    files(Path::new(names::ROOT), &mut all)?;
    ensure!(all.len() > 20, "only {} files", all.len());
    for path in &all {
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        let allowed: &[u32] = if is_command(path) {
            &[0o200]
        } else {
            &[0o644, 0o444]
        };
        ensure!(allowed.contains(&mode), "{}: mode {mode:o}", path.display());
        let statistic = path.parent().is_some_and(|p| p.ends_with(names::STATS));
        if statistic {
            ensure!(mode == 0o444, "{}: mode {mode:o}", path.display());
        }
    }
    for name in READ_ONLY {
        let mode = fs::metadata(Path::new(names::ROOT).join(name))?
            .permissions()
            .mode()
            & 0o777;
        ensure!(mode == 0o444, "{name}: mode {mode:o}");
    }
    Ok(())
}

fn as_plain_user() -> Result<()> {
    let mut all = Vec::new();
    files(Path::new(names::ROOT), &mut all)?;
    for path in &all {
        match fs::read_to_string(path) {
            Err(error) if is_command(path) && error.raw_os_error() == Some(libc::EACCES) => {}
            Ok(_) if !is_command(path) => {}
            other => bail!("{} to read: {other:?}", path.display()),
        }
        match OpenOptions::new().write(true).open(path) {
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => {}
            other => bail!("{} to write: {other:?}, not EACCES", path.display()),
        }
    }
    Ok(())
}
