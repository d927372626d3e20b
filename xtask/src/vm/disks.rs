//! The disks of a machine: an empty one for swap, and fresh file systems.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use tmem_tests::scenario::{MKFS_DISK, MKFS_FILES};
use tmem_tests::{FileSystem, file_set};

use crate::process::{capture, describe};

/// A file of `bytes` bytes that takes no room until it is written.
pub(super) fn sparse(path: &Path, bytes: u64) -> Result<()> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    file.set_len(bytes)
        .with_context(|| path.display().to_string())
}

/// Disks with those file systems, each in a file of `folder`.
pub(super) fn make_all(
    file_systems: &[FileSystem],
    folder: &Path,
) -> Result<Vec<(FileSystem, PathBuf)>> {
    let files = folder.join("files");
    let read_only = file_systems.iter().any(|f| f.read_only());
    if read_only {
        fs::create_dir(&files)
            .and_then(|()| file_set::write(&files, file_set::HOST_SEED))
            .with_context(|| files.display().to_string())?;
    }
    let disks = file_systems
        .iter()
        .map(|&file_system| Ok((file_system, make(file_system, folder, &files)?)))
        .collect();
    if read_only {
        fs::remove_dir_all(&files).with_context(|| files.display().to_string())?;
    }
    disks
}

/// A disk with a file system: an empty one, or one with what is in `files`.
fn make(file_system: FileSystem, folder: &Path, files: &Path) -> Result<PathBuf> {
    let path = folder.join(file_system.name());
    if !file_system.read_only() {
        sparse(&path, u64::from(file_system.disk_mib()) << 20)?;
    }
    let words = file_system.mkfs();
    let mut command = Command::new(words[0]);
    command.args(words[1..].iter().map(|&word| match word {
        MKFS_DISK => path.as_os_str(),
        MKFS_FILES => files.as_os_str(),
        word => OsStr::new(word),
    }));
    // mkfs is in a folder that only root's PATH names.
    command.env(
        "PATH",
        "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    );
    let output = capture(&mut command)?;
    if !output.success {
        bail!("`{}` failed: {}", describe(&command), output.stderr);
    }
    Ok(path)
}
