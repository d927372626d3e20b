//! Where the files are: a file system on its disk, what stands on top of it, and what
//! it can do. What it cannot do is known here and not asked of it, so that an operation
//! which suddenly fails is a failure.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tmem_tests::FileSystem;
use tmem_tests::protocol::BUSYBOX;

use crate::context::Context;
use crate::sys;

/// Where the file system under test is mounted.
pub(crate) const BASE: &str = "/mnt/files";
/// Where what stands on top of it is mounted.
pub(crate) const TOP: &str = "/mnt/top";
/// The loop device that one of them uses.
pub(crate) const LOOP: &str = "/dev/loop0";
/// Size of the disk in a file, bytes.
const IMAGE_BYTES: u64 = 48 << 20;

/// What the files are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Top {
    /// The file system itself.
    Nothing,
    /// ext2 in a file of it, through a loop device.
    Loop,
    /// An overlay whose layers are in it.
    Overlay,
}

/// How a file's blocks are moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Defragment {
    /// EXT4_IOC_MOVE_EXT.
    Ext4,
    /// BTRFS_IOC_DEFRAG_RANGE.
    Btrfs,
    /// No way.
    Never,
}

/// What can be done to files.
#[derive(Clone, Copy, Debug)]
pub(super) struct Abilities {
    /// FALLOC_FL_COLLAPSE_RANGE and FALLOC_FL_INSERT_RANGE.
    pub(super) shift: bool,
    /// Plain fallocate.
    pub(super) allocate: bool,
    /// FALLOC_FL_ZERO_RANGE.
    pub(super) zero: bool,
    /// FICLONERANGE.
    pub(super) clone: bool,
    /// XFS_IOC_SWAPEXT.
    pub(super) exchange: bool,
    /// How blocks are moved.
    pub(super) defragment: Defragment,
    /// Block size: what ranges of the above are aligned to, bytes.
    pub(super) block: usize,
    /// What direct I/O is aligned to, bytes.
    pub(super) direct: usize,
}

/// A mounted file system with what stands on top.
#[derive(Debug)]
pub(crate) struct Place {
    file_system: FileSystem,
    disk: PathBuf,
    top: Top,
    /// Major and minor number.
    kernel: (u32, u32),
}

impl Place {
    /// Mounts the scenario's disk, removes all files if it can be written, and puts `top`
    /// on it.
    pub(crate) fn new(context: &Context, top: Top) -> Result<Self> {
        let (file_system, disk) = context.disk()?;
        let place = Self {
            file_system,
            disk,
            top,
            kernel: context.kernel,
        };
        place.mount_base()?;
        if file_system.read_only() {
            return Ok(place);
        }
        for entry in fs::read_dir(BASE)?.flatten() {
            let path = entry.path();
            if entry.file_name() == "lost+found" {
                continue;
            }
            if path.is_dir() {
                fs::remove_dir_all(&path)
            } else {
                fs::remove_file(&path)
            }
            .with_context(|| format!("removing {}", path.display()))?;
        }
        match top {
            Top::Nothing => {}
            Top::Loop => File::create(image())?.set_len(IMAGE_BYTES)?,
            Top::Overlay => {
                for layer in ["lower", "upper", "work"] {
                    fs::create_dir(Path::new(BASE).join(layer))?;
                }
            }
        }
        if top == Top::Loop {
            attach()?;
            let made = std::process::Command::new(BUSYBOX)
                .args(["mke2fs", "-F", LOOP])
                .stdout(std::process::Stdio::null())
                .status()
                .context("mke2fs")?;
            if !made.success() {
                bail!("mke2fs of {LOOP}: {made}");
            }
            detach()?;
        }
        place.mount_top()?;
        Ok(place)
    }

    /// The file system on the disk.
    pub(crate) fn file_system(&self) -> FileSystem {
        self.file_system
    }

    /// The folder of the files.
    pub(super) fn folder(&self) -> &'static Path {
        Path::new(if self.top == Top::Nothing { BASE } else { TOP })
    }

    /// The disk.
    pub(super) fn disk(&self) -> &Path {
        &self.disk
    }

    /// What can be done to the files.
    pub(super) fn abilities(&self) -> Abilities {
        let usual = Abilities {
            shift: true,
            allocate: true,
            zero: true,
            clone: false,
            exchange: false,
            defragment: Defragment::Ext4,
            block: 4096,
            direct: 512,
        };
        let ext4 = Abilities {
            // On 7.2 what was there before shows where a range was zeroed, also without the module.
            zero: self.kernel < (7, 2),
            ..usual
        };
        let base = match self.file_system {
            FileSystem::Ext4 | FileSystem::Ext4Features => ext4,
            FileSystem::Ext4Small => Abilities {
                block: 1024,
                ..ext4
            },
            FileSystem::Ext4Journal => Abilities {
                // Shifting extents loses data before 6.4, and brings older contents back on 7.2,
                // with no module loaded.
                shift: self.kernel >= (6, 4) && self.kernel < (7, 2),
                allocate: self.kernel < (7, 2),
                defragment: Defragment::Never,
                ..ext4
            },
            FileSystem::Xfs => Abilities {
                clone: true,
                // In Debian's 6.1.0-56 readers get what stood in the other file, with no module loaded.
                exchange: self.kernel >= (6, 4),
                defragment: Defragment::Never,
                ..usual
            },
            FileSystem::Btrfs => Abilities {
                shift: false,
                clone: true,
                defragment: Defragment::Btrfs,
                direct: 4096,
                ..usual
            },
            FileSystem::F2fs | FileSystem::F2fsCompressing => Abilities {
                defragment: Defragment::Never,
                direct: 4096,
                ..usual
            },
            // Nothing is changed there.
            FileSystem::Squashfs
            | FileSystem::Erofs
            | FileSystem::ErofsLz4
            | FileSystem::Iso9660 => usual,
        };
        match self.top {
            Top::Nothing => base,
            // ext2 has no extents.
            Top::Loop => Abilities {
                shift: false,
                allocate: false,
                zero: false,
                defragment: Defragment::Never,
                block: 4096,
                ..usual
            },
            // An overlay hands on what works on file contents, not a file system's own.
            Top::Overlay => Abilities {
                exchange: false,
                defragment: Defragment::Never,
                ..base
            },
        }
    }

    fn mount_base(&self) -> Result<()> {
        sys::mount_disk(
            &self.disk,
            BASE,
            self.file_system.kind(),
            self.file_system.mount_options(),
        )
        .with_context(|| format!("mounting {}", self.file_system.name()))
    }

    fn mount_top(&self) -> Result<()> {
        match self.top {
            Top::Nothing => Ok(()),
            Top::Loop => {
                attach()?;
                sys::mount_disk(Path::new(LOOP), TOP, "ext4", "")
                    .context("mounting the loop device")
            }
            Top::Overlay => {
                let options =
                    format!("lowerdir={BASE}/lower,upperdir={BASE}/upper,workdir={BASE}/work");
                sys::mount("overlay", TOP, &options).context("mounting the overlay")
            }
        }
    }

    fn unmount_top(&self) -> Result<()> {
        if self.top == Top::Nothing {
            return Ok(());
        }
        patiently(|| sys::unmount(TOP)).context("unmounting the top")?;
        if self.top == Top::Loop {
            patiently(detach)?;
        }
        Ok(())
    }

    /// Unmounts everything and mounts it again, `between` in between. Nobody may have a file
    /// open.
    pub(super) fn mount_again(&self) -> Result<()> {
        self.unmount()?;
        self.mount_base()?;
        self.mount_top()
    }

    /// Makes the file system under test (and the top) unwritable, and writable again.
    pub(super) fn remount(&self) -> Result<()> {
        // What stands on top keeps files open for writing.
        self.unmount_top()?;
        patiently(|| sys::remount(BASE, true)).context("remounting read-only")?;
        patiently(|| sys::remount(BASE, false)).context("remounting writable")?;
        self.mount_top()
    }

    /// Unmounts everything.
    pub(crate) fn unmount(&self) -> Result<()> {
        self.unmount_top()?;
        patiently(|| sys::unmount(BASE)).context("unmounting")
    }

    /// Reads and writes since the machine started, in sectors of 512 bytes.
    pub(crate) fn sectors(&self) -> Result<(u64, u64)> {
        let name = self.disk.file_name().context("the disk has no name")?;
        let path = Path::new("/sys/block").join(name).join("stat");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let numbers: Vec<u64> = text
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        match (numbers.get(2), numbers.get(6)) {
            (Some(read), Some(written)) => Ok((*read, *written)),
            _ => bail!("{}: too few fields", path.display()),
        }
    }
}

fn image() -> PathBuf {
    Path::new(BASE).join("image")
}

/// What was just closed may still be in use for a moment.
fn patiently(mut action: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    for _ in 0..500 {
        match action() {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    action()
}

fn attach() -> Result<()> {
    const LOOP_SET_FD: u64 = 0x4c00;
    let open = |path: &Path| {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| path.display().to_string())
    };
    let (device, file) = (open(Path::new(LOOP))?, open(&image())?);
    // SAFETY: LOOP_SET_FD takes a descriptor.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_SET_FD as _, file.as_raw_fd()) } < 0 {
        return Err(io::Error::last_os_error()).context("LOOP_SET_FD");
    }
    Ok(())
}

fn detach() -> io::Result<()> {
    const LOOP_CLR_FD: u64 = 0x4c01;
    let device = File::open(LOOP)?;
    // SAFETY: LOOP_CLR_FD takes no argument.
    if unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CLR_FD as _, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    drop(device);
    // It lets go of its file when the last user has closed it.
    for _ in 0..500 {
        if !Path::new("/sys/block/loop0/loop/backing_file").exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

/// Unmounts what a scenario that failed left behind.
pub(crate) fn clean_up() -> Result<()> {
    for target in [TOP, BASE] {
        let mounts = fs::read_to_string("/proc/mounts").context("/proc/mounts")?;
        if !mounts.lines().any(|l| l.split(' ').nth(1) == Some(target)) {
            continue;
        }
        if let Ok(folder) = File::open(target) {
            // An error says that it was not frozen.
            let _ = super::io::freeze(&folder, false);
        }
        patiently(|| sys::unmount(target)).with_context(|| format!("unmounting {target}"))?;
        if target == TOP && Path::new("/sys/block/loop0/loop/backing_file").exists() {
            patiently(detach).context("detaching the loop device")?;
        }
    }
    Ok(())
}
