//! The swap disk.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use tmem_common::PAGE_SIZE;

use crate::sys;

/// A disk formatted as swap; off when dropped.
#[derive(Debug)]
pub(crate) struct SwapDisk {
    path: PathBuf,
    on: bool,
}

impl SwapDisk {
    /// Formats the disk and switches it on.
    pub(crate) fn start(path: &Path) -> Result<Self> {
        // Swap space for whole huge pages is given out on disks without seek times only.
        fs::write(block_attribute(path, "queue/rotational")?, "0")
            .context("declaring the disk free of seek times")?;
        format(path).with_context(|| format!("formatting {}", path.display()))?;
        let mut disk = Self {
            path: path.to_owned(),
            on: false,
        };
        disk.on()?;
        Ok(disk)
    }

    /// Switches it on (again).
    pub(crate) fn on(&mut self) -> Result<()> {
        sys::swapon(&self.path).with_context(|| format!("swapon {}", self.path.display()))?;
        self.on = true;
        Ok(())
    }

    /// Switches it off; every page comes back into memory.
    pub(crate) fn off(&mut self) -> Result<()> {
        sys::swapoff(&self.path).with_context(|| format!("swapoff {}", self.path.display()))?;
        self.on = false;
        Ok(())
    }

    /// Bytes written to the disk since the machine started.
    pub(crate) fn written_bytes(&self) -> Result<u64> {
        const SECTOR: u64 = 512;
        let path = block_attribute(&self.path, "stat")?;
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let sectors: u64 = text
            .split_whitespace()
            .nth(6)
            .context("too few fields")?
            .parse()?;
        Ok(sectors * SECTOR)
    }
}

impl Drop for SwapDisk {
    fn drop(&mut self) {
        if self.on {
            // A failure shows when the machine is cleaned up after the scenario.
            let _ = sys::swapoff(&self.path);
        }
    }
}

fn block_attribute(disk: &Path, attribute: &str) -> Result<PathBuf> {
    let name = disk.file_name().context("the swap disk has no name")?;
    Ok(Path::new("/sys/block").join(name).join(attribute))
}

/// Writes the header of a version 1 swap space, as mkswap(8) does.
pub(crate) fn format(path: &Path) -> Result<()> {
    const MAGIC: &[u8; 10] = b"SWAPSPACE2";
    let mut disk = OpenOptions::new().read(true).write(true).open(path)?;
    let pages = disk.seek(SeekFrom::End(0))? / PAGE_SIZE as u64;
    ensure!(pages > 1, "too small for a swap space");
    let mut header = [0; PAGE_SIZE];
    header[1024..1028].copy_from_slice(&1u32.to_le_bytes());
    header[1028..1032].copy_from_slice(&u32::try_from(pages - 1)?.to_le_bytes());
    header[PAGE_SIZE - MAGIC.len()..].copy_from_slice(MAGIC);
    disk.rewind()?;
    disk.write_all(&header)?;
    disk.sync_all()?;
    Ok(())
}

/// Disks that are swap now.
pub(crate) fn active() -> Result<Vec<PathBuf>> {
    let mut text = String::new();
    File::open("/proc/swaps")?.read_to_string(&mut text)?;
    Ok(text
        .lines()
        .skip(1)
        .filter_map(|line| line.split_whitespace().next())
        .map(PathBuf::from)
        .collect())
}
