//! The disks of a machine: an empty one for swap, and fresh file systems.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tmem_tests::FileSystem;

use crate::process::{capture, describe};

/// A file of `bytes` bytes that takes no room until it is written.
pub(super) fn sparse(path: &Path, bytes: u64) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.set_len(bytes)
        .with_context(|| path.display().to_string())
}

/// A disk with an empty file system, in `folder`.
pub(super) fn make(file_system: FileSystem, folder: &Path) -> Result<PathBuf> {
    let path = folder.join(file_system.name());
    sparse(&path, u64::from(file_system.disk_mib()) << 20)?;
    let words = file_system.mkfs();
    let mut command = Command::new(words[0]);
    // mkfs is in a folder that only root's PATH names.
    command.args(&words[1..]).arg(&path).env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    let output = capture(&mut command)?;
    if !output.success {
        bail!("`{}` failed: {}", describe(&command), output.stderr);
    }
    Ok(path)
}
