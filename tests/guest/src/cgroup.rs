//! Groups of processes with limited memory (cgroup2).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tmem_common::PAGE_SIZE;

const ROOT: &str = "/sys/fs/cgroup";

/// A group; removed when dropped. Its processes must have ended by then.
#[derive(Debug)]
pub(crate) struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// A new group with at most `mib` MiB of memory.
    pub(crate) fn new(name: &str, mib: u64) -> Result<Self> {
        fs::write(format!("{ROOT}/cgroup.subtree_control"), "+memory")
            .context("switching the memory controller on")?;
        let path = PathBuf::from(ROOT).join(name);
        fs::create_dir(&path).with_context(|| format!("creating {}", path.display()))?;
        let group = Self { path };
        group.set("memory.max", &format!("{mib}M"))?;
        Ok(group)
    }

    /// Its directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Moves the calling process in.
    pub(crate) fn enter(&self) -> Result<()> {
        self.set("cgroup.procs", "0")
    }

    /// Lets the group use all memory, for a swapoff.
    pub(crate) fn lift_limit(&self) -> Result<()> {
        self.set("memory.high", "max")?;
        self.set("memory.max", "max")
    }

    /// Limits the group again; what it uses beyond is reclaimed. Not by `memory.max`, which
    /// kills the group's processes where reclaim does not keep up.
    pub(crate) fn limit(&self, mib: u64) -> Result<()> {
        self.set("memory.high", &format!("{mib}M"))
    }

    /// Asks the kernel to take `bytes` of the group's memory; it takes what it finds.
    pub(crate) fn reclaim(&self, bytes: u64) -> Result<()> {
        let path = self.path.join("memory.reclaim");
        if !path.exists() {
            // Before 5.19: reclaim down to a limit, at once.
            let current = fs::read_to_string(self.path.join("memory.current"))?;
            let current: u64 = current.trim().parse().context("memory.current")?;
            self.set("memory.high", &current.saturating_sub(bytes).to_string())?;
            return self.set("memory.high", "max");
        }
        match fs::write(&path, bytes.to_string()) {
            // Less than that could be had.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Ok(()),
            other => other.with_context(|| format!("writing {bytes} to {}", path.display())),
        }
    }

    /// Pages of files that the group has in the page cache.
    pub(crate) fn file_pages(&self) -> Result<u64> {
        let path = self.path.join("memory.stat");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let bytes = text.lines().find_map(|line| line.strip_prefix("file "));
        let bytes: u64 = bytes.context("memory.stat has no file")?.parse()?;
        Ok(bytes / PAGE_SIZE as u64)
    }

    /// Asks the kernel to take all memory of the group that can be had.
    pub(crate) fn reclaim_all(&self) -> Result<()> {
        self.reclaim(1 << 30)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.path.join(file);
        fs::write(&path, value).with_context(|| format!("writing {value} to {}", path.display()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to forget processes that have just ended. A group that
        // stays behind does no harm.
        for _ in 0..50 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// From now on groups also pay for the memory of what they read and write through devices
/// of the kernel's, such as loop devices.
pub(crate) fn account_io() -> Result<()> {
    fs::write(format!("{ROOT}/cgroup.subtree_control"), "+memory +io")
        .context("switching the io controller on")
}

/// Removes groups that a killed scenario left behind.
pub(crate) fn remove_leftovers() {
    for entry in fs::read_dir(ROOT).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            // Not ours to remove, or still busy: then creating it anew will say so.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
