//! The table of scenarios that run in a virtual machine. The host reads from it
//! what machine to make; the guest reads from it the parameters.

use std::fmt;
use std::str::FromStr;

/// The kernels that this project runs on, each the newest of its Debian suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kernel {
    /// 5.10, Debian bullseye.
    V5_10,
    /// 6.1, Debian bookworm.
    V6_1,
    /// 6.12, Debian trixie.
    V6_12,
    /// 7.2, Debian sid.
    V7_2,
}

impl Kernel {
    /// Oldest first.
    pub const ALL: [Self; 4] = [Self::V5_10, Self::V6_1, Self::V6_12, Self::V7_2];

    /// As people say it: `6.12`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V5_10 => "5.10",
            Self::V6_1 => "6.1",
            Self::V6_12 => "6.12",
            Self::V7_2 => "7.2",
        }
    }

    /// The Debian suite that it comes from.
    #[must_use]
    pub const fn suite(self) -> &'static str {
        match self {
            Self::V5_10 => "bullseye",
            Self::V6_1 => "bookworm",
            Self::V6_12 => "trixie",
            Self::V7_2 => "sid",
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Kernel {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|k| k.name() == s || k.suite() == s)
            .ok_or_else(|| format!("no kernel {s:?}; there are 5.10, 6.1, 6.12 and 7.2"))
    }
}

/// What a scenario runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Machine {
    /// QEMU, on any of the kernels.
    Qemu,
    /// Bochs with Indirect Branch Tracking enforced; 6.12 and 7.2, one CPU.
    Ibt,
}

/// A file system on a disk of its own, which the host makes anew for each boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileSystem {
    /// ext4 with blocks as large as pages.
    Ext4,
    /// ext4 with blocks of 1 KiB.
    Ext4Small,
    /// ext4 mounted with `data=journal`.
    Ext4Journal,
    /// ext4 whose files may be encrypted or under fs-verity.
    Ext4Features,
    /// XFS.
    Xfs,
    /// Btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// F2FS with the feature to compress files.
    F2fsCompressing,
    /// SquashFS, compressed by zlib, with the [file set](crate::file_set).
    Squashfs,
    /// EROFS, not compressed, with the file set.
    Erofs,
    /// EROFS, compressed by LZ4, with the file set.
    ErofsLz4,
    /// ISO 9660 with Rock Ridge names, with the file set.
    Iso9660,
}

impl FileSystem {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Ext4,
        Self::Ext4Small,
        Self::Ext4Journal,
        Self::Ext4Features,
        Self::Xfs,
        Self::Btrfs,
        Self::F2fs,
        Self::F2fsCompressing,
        Self::Squashfs,
        Self::Erofs,
        Self::ErofsLz4,
        Self::Iso9660,
    ];

    /// What host and guest call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Ext4Small => "ext4_1k",
            Self::Ext4Journal => "ext4_journal",
            Self::Ext4Features => "ext4_features",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::F2fs => "f2fs",
            Self::F2fsCompressing => "f2fs_compressing",
            Self::Squashfs => "squashfs",
            Self::Erofs => "erofs",
            Self::ErofsLz4 => "erofs_lz4",
            Self::Iso9660 => "iso9660",
        }
    }

    /// What the kernel calls it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Ext4 | Self::Ext4Small | Self::Ext4Journal | Self::Ext4Features => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
            Self::F2fs | Self::F2fsCompressing => "f2fs",
            Self::Squashfs => "squashfs",
            Self::Erofs | Self::ErofsLz4 => "erofs",
            Self::Iso9660 => "iso9660",
        }
    }

    /// What it is mounted with.
    #[must_use]
    pub const fn mount_options(self) -> &'static str {
        match self {
            Self::Ext4Journal => "data=journal",
            Self::Squashfs | Self::Erofs | Self::ErofsLz4 | Self::Iso9660 => "ro",
            _ => "",
        }
    }

    /// Whether it cannot be written; then its disk has the [file set](crate::file_set).
    #[must_use]
    pub const fn read_only(self) -> bool {
        matches!(
            self,
            Self::Squashfs | Self::Erofs | Self::ErofsLz4 | Self::Iso9660
        )
    }

    /// Size of its disk, MiB; 0: as its files need. mkfs.xfs makes none below 300.
    #[must_use]
    pub const fn disk_mib(self) -> u32 {
        match self {
            Self::Ext4Features => 64,
            Self::Ext4 | Self::Ext4Small | Self::Ext4Journal => 128,
            Self::F2fs | Self::F2fsCompressing => 256,
            Self::Xfs => 320,
            Self::Btrfs => 512,
            Self::Squashfs | Self::Erofs | Self::ErofsLz4 | Self::Iso9660 => 0,
        }
    }

    /// The command that makes it; [`MKFS_DISK`] and [`MKFS_FILES`] stand for paths.
    #[must_use]
    pub const fn mkfs(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 | Self::Ext4Journal => &["mkfs.ext4", "-q", "-F", "-b", "4096", MKFS_DISK],
            Self::Ext4Small => &["mkfs.ext4", "-q", "-F", "-b", "1024", MKFS_DISK],
            Self::Ext4Features => &[
                "mkfs.ext4",
                "-q",
                "-F",
                "-b",
                "4096",
                "-O",
                "encrypt,verity",
                MKFS_DISK,
            ],
            Self::Xfs => &["mkfs.xfs", "-q", "-f", MKFS_DISK],
            Self::Btrfs => &["mkfs.btrfs", "-q", "-f", MKFS_DISK],
            Self::F2fs => &["mkfs.f2fs", "-q", "-f", MKFS_DISK],
            Self::F2fsCompressing => &[
                "mkfs.f2fs",
                "-q",
                "-f",
                "-O",
                "extra_attr,compression",
                MKFS_DISK,
            ],
            Self::Squashfs => &[
                "mksquashfs",
                MKFS_FILES,
                MKFS_DISK,
                "-quiet",
                "-no-progress",
            ],
            Self::Erofs => &["mkfs.erofs", MKFS_DISK, MKFS_FILES],
            Self::ErofsLz4 => &["mkfs.erofs", "-zlz4", MKFS_DISK, MKFS_FILES],
            Self::Iso9660 => &[
                "xorriso", "-as", "mkisofs", "-quiet", "-R", "-o", MKFS_DISK, MKFS_FILES,
            ],
        }
    }
}

/// In [`FileSystem::mkfs`], the path of the disk.
pub const MKFS_DISK: &str = "DISK";
/// In [`FileSystem::mkfs`], the path of a folder with the file set.
pub const MKFS_FILES: &str = "FILES";

impl FromStr for FileSystem {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|f| f.name() == s)
            .ok_or_else(|| format!("no file system {s:?}"))
    }
}

/// Which of a scenario's two parameter sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For `cargo xtask test`.
    Quick,
    /// For `cargo xtask soak`: more operations.
    Soak,
}

/// What a scenario's end has to be for its test to pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Expect {
    /// The guest says pass.
    Pass,
    /// A negative control: the guest must say fail, with this in its message.
    Fail(&'static str),
    /// A negative control: the kernel must die with this on the console.
    Death(&'static str),
}

/// One scenario.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// `topic_what`: `swap_*`, `tool_*`, `trace_*`; what `--filter` looks at.
    pub name: &'static str,
    /// Where it runs; each machine is a test of its own.
    pub machines: &'static [Machine],
    /// Kernels it runs on (with [`Machine::Ibt`]: those of 6.12 and 7.2 among them).
    pub kernels: &'static [Kernel],
    /// Memory of the machine, MiB.
    pub memory_mib: u32,
    /// Swap disk, MiB; 0 for none.
    pub swap_mib: u32,
    /// The file system that it works on; `None`: it has no disk for files.
    pub file_system: Option<FileSystem>,
    /// Whether it runs fio or stress-ng, from a disk that has them.
    pub programs: bool,
    /// CPUs (always 1 on [`Machine::Ibt`]).
    pub cpus: u32,
    /// Kernel modules that must be there, by name; dependencies come along. Those that end
    /// in `?` only on kernels that have them.
    pub modules: &'static [&'static str],
    /// More kernel arguments.
    pub kernel_args: &'static str,
    /// Not to share a boot with others.
    pub own_boot: bool,
    /// `key=value,...` for [`Effort::Quick`].
    pub quick: &'static str,
    /// `key=value,...` for [`Effort::Soak`]; empty: no soak.
    pub soak: &'static str,
    /// Longest time it may take in QEMU without KVM, seconds, boot not counted.
    pub timeout_s: u32,
    /// How it has to end.
    pub expects: Expect,
}

impl Scenario {
    /// The usual machine: QEMU, all kernels, 256 MiB and 512 MiB of swap, two CPUs,
    /// five minutes, shared boot, no parameters, must pass.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            machines: &[Machine::Qemu],
            kernels: &Kernel::ALL,
            memory_mib: 256,
            swap_mib: 512,
            file_system: None,
            programs: false,
            cpus: 2,
            modules: &[],
            kernel_args: "",
            own_boot: false,
            quick: "",
            soak: "",
            timeout_s: 300,
            expects: Expect::Pass,
        }
    }

    /// The part of the name before the first `_`.
    #[must_use]
    pub fn topic(&self) -> &'static str {
        self.name
            .split_once('_')
            .map_or(self.name, |(topic, _)| topic)
    }

    /// `key=value,...` of this effort.
    #[must_use]
    pub const fn params(&self, effort: Effort) -> &'static str {
        match effort {
            Effort::Quick => self.quick,
            Effort::Soak => self.soak,
        }
    }

    /// The scenario of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<&'static Self> {
        SCENARIOS.iter().find(|s| s.name == name)
    }
}

/// The machine of most swap scenarios; they share its boots.
const fn swap(name: &'static str, quick: &'static str, soak: &'static str) -> Scenario {
    Scenario {
        memory_mib: 512,
        swap_mib: 1024,
        modules: &[
            "virtio_pci",
            "virtio_blk",
            "lz4",
            "lzo-rle",
            "zstd",
            "zsmalloc",
        ],
        quick,
        soak,
        timeout_s: 600,
        ..Scenario::new(name)
    }
}

/// The machine with IBT enforced.
const fn ibt(name: &'static str, quick: &'static str, soak: &'static str) -> Scenario {
    Scenario {
        machines: &[Machine::Ibt],
        kernels: &[Kernel::V6_12, Kernel::V7_2],
        memory_mib: 384,
        swap_mib: 256,
        cpus: 1,
        modules: &["ata_piix", "sd_mod", "lz4", "zstd"],
        own_boot: true,
        ..swap(name, quick, soak)
    }
}

/// The same with a file system on its disk.
const fn file_ibt(name: &'static str, quick: &'static str, soak: &'static str) -> Scenario {
    Scenario {
        swap_mib: 0,
        file_system: Some(FileSystem::Ext4),
        modules: &["ata_piix", "sd_mod", "crc32c_generic?", "ext4", "lz4"],
        ..ibt(name, quick, soak)
    }
}

/// Where the module takes file pages.
const FILE_KERNELS: &[Kernel] = &[Kernel::V6_1, Kernel::V6_12, Kernel::V7_2];

/// Where F2FS is among the file systems of which it does.
const F2FS_KERNELS: &[Kernel] = &[Kernel::V6_12, Kernel::V7_2];

/// The machine of the file scenarios; they share its boots.
const fn file(
    name: &'static str,
    file_system: FileSystem,
    quick: &'static str,
    soak: &'static str,
) -> Scenario {
    Scenario {
        kernels: FILE_KERNELS,
        memory_mib: 512,
        swap_mib: 0,
        file_system: Some(file_system),
        modules: &[
            "virtio_pci",
            "virtio_blk",
            "crc32c_generic?",
            "ext4",
            "xfs",
            "btrfs",
            "loop",
            "overlay",
            "lz4",
        ],
        quick,
        soak,
        timeout_s: 300,
        ..Scenario::new(name)
    }
}

/// The same with a file system that few use, and its kernel modules.
const fn rare(
    name: &'static str,
    file_system: FileSystem,
    quick: &'static str,
    soak: &'static str,
) -> Scenario {
    Scenario {
        modules: &[
            "virtio_pci",
            "virtio_blk",
            "crc32c_generic?",
            "crc32_generic?",
            "f2fs",
            "squashfs",
            "erofs",
            "isofs",
            "lz4",
        ],
        ..file(name, file_system, quick, soak)
    }
}

/// With what encrypts files; on some kernels parts of it are built in.
const fn excluded(name: &'static str, quick: &'static str) -> Scenario {
    Scenario {
        kernels: &[Kernel::V6_12],
        modules: &[
            "virtio_pci",
            "virtio_blk",
            "crc32c_generic?",
            "cbc?",
            "cts?",
            "ecb?",
            "xts?",
            "sha256_generic?",
            "sha512_generic?",
            "ext4",
            "lz4",
        ],
        ..file(name, FileSystem::Ext4Features, quick, "")
    }
}

/// A negative control: the stress with something of the module left out.
const fn broken(name: &'static str, file_system: FileSystem, quick: &'static str) -> Scenario {
    Scenario {
        expects: Expect::Fail("bad bytes"),
        ..file(name, file_system, quick, "")
    }
}

/// On one kernel only, since there is little time for all.
const fn file_on_6_12(name: &'static str, quick: &'static str) -> Scenario {
    Scenario {
        kernels: &[Kernel::V6_12],
        ..file(name, FileSystem::Ext4, quick, "")
    }
}

const fn broken_on_6_12(name: &'static str, quick: &'static str) -> Scenario {
    Scenario {
        kernels: &[Kernel::V6_12],
        ..broken(name, FileSystem::Ext4, quick)
    }
}

/// Of the stress with the module.
const KEPT: &str = "operations=800";
/// A round of the soak with these parameters and a pace: other things than operations are done less often
/// than in a short run, in which each of them has to happen.
macro_rules! soak_round {
    ($parameters:literal) => {
        concat!($parameters, ",pages=48,reads=1,reclaim=12")
    };
}
const KEPT_SOAK: &str = soak_round!("operations=10000,disturb=1000");
/// Of the stress without it.
const PLAIN: &str = "operations=500";

/// All scenarios, in the order in which they run. `stores` is the number of page
/// stores to reach, `operations` that of the file-system stress's, `seconds` the guest time of those that run for a time.
pub const SCENARIOS: &[Scenario] = &[
    swap("swap_rmmod_idle", "", ""),
    swap("swap_sysfs", "", ""),
    swap("swap_anon", "stores=40000", "stores=2000000"),
    swap("swap_codecs", "", ""),
    swap("swap_fork", "stores=20000", "stores=500000"),
    swap("swap_thp", "stores=20000", "stores=500000"),
    swap("swap_shmem", "stores=20000", "stores=500000"),
    swap("swap_parallel", "stores=40000", "stores=1000000"),
    // A small machine, so that all of its memory is soon used.
    Scenario {
        memory_mib: 256,
        swap_mib: 512,
        ..swap("swap_pressure", "stores=40000", "stores=1000000")
    },
    swap("swap_zswap_behind", "stores=10000", "stores=200000"),
    swap("swap_swapoff", "stores=10000", "stores=200000"),
    swap("swap_load_unload", "stores=10000", "stores=100000"),
    swap("swap_vain_unload", "", ""),
    swap("swap_flip", "seconds=60", "seconds=1800"),
    swap("swap_no_memory", "stores=5000", "stores=100000"),
    swap("swap_undecodable", "", ""),
    swap("swap_ftrace_off", "stores=1000", ""),
    swap("swap_livepatch_conflict", "stores=1000", ""),
    swap("swap_function_tracer", "stores=1500", "stores=50000"),
    swap("swap_tracepoints", "stores=3000", "stores=50000"),
    swap("swap_leak", "stores=10000", "stores=200000"),
    Scenario {
        expects: Expect::Fail("bad page"),
        ..swap("swap_control_engine", "stores=5000", "")
    },
    Scenario {
        expects: Expect::Fail("bad page"),
        ..swap("swap_control_hook", "stores=5000", "")
    },
    // 5.10 frees the swap entry as soon as its page is written, so nothing stale is left.
    Scenario {
        kernels: &[Kernel::V6_1, Kernel::V6_12, Kernel::V7_2],
        expects: Expect::Fail("bad page"),
        ..swap("swap_control_stale", "stores=5000", "")
    },
    Scenario {
        kernels: FILE_KERNELS,
        ..file("file_reread", FileSystem::Ext4, "", "")
    },
    Scenario {
        kernels: &[Kernel::V6_12, Kernel::V7_2],
        ..file("file_reread_xfs", FileSystem::Xfs, "", "")
    },
    // On 7.2 Btrfs reads large folios, which are not taken.
    Scenario {
        kernels: &[Kernel::V6_12],
        ..file("file_reread_btrfs", FileSystem::Btrfs, "", "")
    },
    rare("file_reread_squashfs", FileSystem::Squashfs, "", ""),
    rare("file_reread_erofs", FileSystem::Erofs, "", ""),
    rare("file_reread_erofs_lz4", FileSystem::ErofsLz4, "", ""),
    rare("file_reread_iso9660", FileSystem::Iso9660, "", ""),
    Scenario {
        kernels: FILE_KERNELS,
        ..file("file_mounts", FileSystem::Ext4, "", "")
    },
    file_on_6_12("file_refused", ""),
    rare("file_refused_f2fs", FileSystem::F2fsCompressing, "", ""),
    file("file_unwanted", FileSystem::Ext4, "", ""),
    file_on_6_12("file_drop_caches", "break_hook=no_try_invalidate"),
    Scenario {
        kernels: FILE_KERNELS,
        ..excluded("file_excluded", "")
    },
    Scenario {
        expects: Expect::Fail("pages were kept"),
        ..excluded("file_control_no_exclusion", "break_hook=no_exclusion")
    },
    file("file_shrink", FileSystem::Ext4, "", ""),
    file("file_ttl", FileSystem::Ext4, "", ""),
    Scenario {
        expects: Expect::Fail("still accounts for"),
        ..file_on_6_12("file_control_no_ttl", "ttl=0")
    },
    file("file_whoever_reads", FileSystem::Ext4, "", ""),
    // A disk of its own: it looks there for pages that others would have left twice.
    Scenario {
        kernels: FILE_KERNELS,
        own_boot: true,
        ..file("file_verify", FileSystem::Ext4, "", "")
    },
    Scenario {
        kernels: &[Kernel::V6_12, Kernel::V7_2],
        ..file_on_6_12("file_verify_memory", "break_hook=flipped_bit")
    },
    Scenario {
        kernels: &[Kernel::V5_10],
        ..file("file_absent", FileSystem::Ext4, "", "")
    },
    // The stress on the kernel alone: what it finds wrong is wrong in the stress.
    file("file_plain_ext4", FileSystem::Ext4, PLAIN, ""),
    file("file_plain_ext4_1k", FileSystem::Ext4Small, PLAIN, ""),
    file(
        "file_plain_ext4_journal",
        FileSystem::Ext4Journal,
        PLAIN,
        KEPT_SOAK,
    ),
    file("file_plain_xfs", FileSystem::Xfs, PLAIN, ""),
    file("file_plain_btrfs", FileSystem::Btrfs, PLAIN, ""),
    file(
        "file_plain_loop",
        FileSystem::Ext4,
        "operations=400,top=loop",
        "",
    ),
    file(
        "file_plain_overlay",
        FileSystem::Xfs,
        "operations=400,top=overlay",
        "",
    ),
    file("file_ext4", FileSystem::Ext4, KEPT, KEPT_SOAK),
    file("file_ext4_1k", FileSystem::Ext4Small, KEPT, KEPT_SOAK),
    file(
        "file_ext4_journal",
        FileSystem::Ext4Journal,
        KEPT,
        KEPT_SOAK,
    ),
    file("file_xfs", FileSystem::Xfs, KEPT, KEPT_SOAK),
    file("file_btrfs", FileSystem::Btrfs, KEPT, KEPT_SOAK),
    // Readers that race with changes find what is nobody's there, without the module too.
    Scenario {
        kernels: &[Kernel::V6_12],
        ..rare(
            "file_plain_f2fs",
            FileSystem::F2fs,
            "operations=500,readers=0",
            "",
        )
    },
    Scenario {
        kernels: F2FS_KERNELS,
        ..rare(
            "file_f2fs",
            FileSystem::F2fs,
            "operations=500,readers=0",
            soak_round!("operations=10000,readers=0,disturb=1000"),
        )
    },
    file(
        "file_loop",
        FileSystem::Ext4,
        "operations=400,top=loop",
        soak_round!("operations=2000,disturb=1000,top=loop"),
    ),
    file(
        "file_overlay",
        FileSystem::Xfs,
        "operations=400,top=overlay",
        soak_round!("operations=2000,disturb=1000,top=overlay"),
    ),
    file(
        "file_reload",
        FileSystem::Ext4,
        "operations=800,reload=1",
        soak_round!("operations=2000,reload=1"),
    ),
    Scenario {
        kernels: &[Kernel::V6_12],
        ..file(
            "file_policies",
            FileSystem::Ext4,
            "operations=300,policies=1",
            soak_round!("operations=2000,policies=1"),
        )
    },
    Scenario {
        swap_mib: 256,
        ..file("file_beside_swap", FileSystem::Ext4, "", "")
    },
    Scenario {
        programs: true,
        ..file("file_fio", FileSystem::Ext4, "mib=24", "mib=24")
    },
    Scenario {
        programs: true,
        ..file("file_stress_ng", FileSystem::Xfs, "seconds=1", "seconds=5")
    },
    Scenario {
        kernels: &[Kernel::V6_12, Kernel::V7_2],
        ..file(
            "file_verified",
            FileSystem::Ext4,
            "operations=200,tunable.file_verify=1",
            soak_round!("operations=10000,disturb=1000,tunable.file_verify=1"),
        )
    },
    Scenario {
        kernels: &[Kernel::V6_12],
        ..file(
            "file_verified_xfs",
            FileSystem::Xfs,
            "operations=100,tunable.file_verify=1",
            soak_round!("operations=10000,disturb=1000,tunable.file_verify=1"),
        )
    },
    // The first failure gives the file system up, so it is added again and again.
    file(
        "file_no_memory",
        FileSystem::Ext4,
        "operations=500,disturb=10,again=1,break_hook=no_records",
        "",
    ),
    file(
        "file_no_pages",
        FileSystem::Ext4,
        "operations=300,break_hook=no_pages",
        "",
    ),
    Scenario {
        expects: Expect::Fail("bad bytes"),
        ..file(
            "file_control_model",
            FileSystem::Ext4,
            "operations=400,spoil=model",
            "",
        )
    },
    Scenario {
        expects: Expect::Fail("bad bytes"),
        ..file(
            "file_control_disk",
            FileSystem::Ext4,
            "operations=400,spoil=disk",
            "",
        )
    },
    file_on_6_12("file_slow", "operations=300,break_hook=slow"),
    file_on_6_12(
        "file_ext4_claims",
        "operations=400,tunable.file_claim_guard=1",
    ),
    broken(
        "file_control_no_truncate",
        FileSystem::Ext4,
        "operations=2000,break_hook=no_truncate",
    ),
    // Where two cover each other both are left out.
    broken_on_6_12(
        "file_control_no_direct",
        "operations=1500,break_hook=no_dio_begin+no_invalidate_range",
    ),
    file_on_6_12("file_cut", "break_hook=held_open"),
    broken_on_6_12(
        "file_control_no_withdraw",
        "break_hook=held_open+no_withdraw,moment=before_put",
    ),
    broken_on_6_12(
        "file_control_no_change",
        "break_hook=held_open+no_change,moment=after_cut",
    ),
    file("file_unmount_unload", FileSystem::Ext4, "", ""),
    file_on_6_12("file_end_reuse", ""),
    broken_on_6_12(
        "file_control_no_wait_put",
        "break_hook=held_open+no_wait_put,moment=after_put",
    ),
    file_on_6_12("file_overtaken", ""),
    broken_on_6_12("file_control_no_wait_direct", "break_hook=no_wait_direct"),
    broken_on_6_12("file_control_no_dio_begin", "break_hook=no_dio_begin"),
    file_on_6_12("file_began_before", ""),
    broken_on_6_12("file_control_no_freeze", "break_hook=no_freeze"),
    file_on_6_12("file_deleted", ""),
    broken_on_6_12("file_control_no_delete", "break_hook=no_delete+no_dirty"),
    Scenario {
        kernels: &[Kernel::V6_12],
        ..file("file_block", FileSystem::Ext4Small, "", "")
    },
    Scenario {
        kernels: &[Kernel::V6_12],
        ..broken(
            "file_control_no_unfilled",
            FileSystem::Ext4Small,
            "break_hook=no_unfilled+no_dirty",
        )
    },
    Scenario {
        kernels: &[Kernel::V6_12],
        ..broken(
            "file_control_no_clean",
            FileSystem::Ext4Small,
            "break_hook=no_clean",
        )
    },
    Scenario {
        expects: Expect::Fail("after a remount"),
        ..file_on_6_12("file_control_no_remount", "break_hook=no_remount")
    },
    Scenario {
        expects: Expect::Fail("unmounted, and still in the list"),
        ..file_on_6_12("file_control_no_umount", "break_hook=no_umount")
    },
    file_on_6_12("file_moved", ""),
    broken_on_6_12("file_control_no_swap_extents", "break_hook=no_swap_extents"),
    Scenario {
        kernels: F2FS_KERNELS,
        ..rare("file_moved_f2fs", FileSystem::F2fs, "", "")
    },
    // Of a hook and a guard that cover each other, each alone, and neither.
    Scenario {
        kernels: &[Kernel::V7_2],
        ..file(
            "file_cloned",
            FileSystem::Btrfs,
            "tunable.file_ctime_guard=0",
            "",
        )
    },
    Scenario {
        kernels: &[Kernel::V7_2],
        ..file(
            "file_cloned_ctime",
            FileSystem::Btrfs,
            "break_hook=no_invalidate_inode",
            "",
        )
    },
    Scenario {
        kernels: &[Kernel::V7_2],
        ..broken(
            "file_control_no_invalidate_inode",
            FileSystem::Btrfs,
            "break_hook=no_invalidate_inode,tunable.file_ctime_guard=0",
        )
    },
    file_on_6_12("file_busy", "break_hook=held_open+busy_page+no_errors"),
    file_on_6_12("file_busy_error", "break_hook=held_open+busy_page+no_taint"),
    broken_on_6_12(
        "file_control_no_taint",
        "break_hook=held_open+busy_page+no_errors+no_taint",
    ),
    Scenario {
        expects: Expect::Fail("after POSIX_FADV_DONTNEED"),
        ..file_on_6_12(
            "file_control_no_try_invalidate",
            "break_hook=no_try_invalidate",
        )
    },
    Scenario {
        expects: Expect::Fail("after drop_caches"),
        ..file_on_6_12(
            "file_control_no_drop_caches",
            "break_hook=no_drop_caches+no_try_invalidate",
        )
    },
    swap("tool_status", "stores=2000", ""),
    swap("tool_observe", "stores=2000", ""),
    swap("tool_set", "", ""),
    swap("tool_config", "", ""),
    swap("tool_check", "stores=1000", ""),
    Scenario {
        kernels: &[Kernel::V6_12],
        ..swap("tool_pageout", "", "")
    },
    Scenario {
        kernels: &[Kernel::V5_10, Kernel::V6_12],
        ..swap("tool_pageout_cgroup", "", "")
    },
    Scenario {
        kernels: &[Kernel::V6_12],
        ..swap("tool_dashboard", "", "")
    },
    file("tool_files", FileSystem::Ext4, "", ""),
    file_on_6_12("tool_sections", ""),
    file("tool_mount", FileSystem::Ext4, "", ""),
    file("tool_mount_watch", FileSystem::Ext4, "", ""),
    swap("tool_stock", "backend=disk", ""),
    Scenario {
        kernels: &[Kernel::V5_10, Kernel::V6_12, Kernel::V7_2],
        modules: &["lz4", "zsmalloc", "zram"],
        swap_mib: 0,
        ..swap("tool_stock_zram", "", "")
    },
    swap("tool_drain", "stores=2000", ""),
    Scenario {
        kernels: &[Kernel::V5_10, Kernel::V6_12, Kernel::V7_2],
        ..swap("tool_cgroups", "", "")
    },
    swap("tool_rights", "stores=500", ""),
    Scenario {
        kernels: &[Kernel::V6_12],
        ..swap("tool_no_bpf", "stores=500", "")
    },
    Scenario {
        kernels: &[Kernel::V6_12],
        ..swap("tool_tune", "", "")
    },
    Scenario {
        swap_mib: 256,
        ..file_on_6_12("tool_tune_share", "")
    },
    swap("tool_no_module", "", ""),
    swap("trace_record", "stores=6000", "stores=200000"),
    Scenario {
        kernels: &[Kernel::V6_12],
        ..swap("trace_what_if_swap", "", "")
    },
    file_on_6_12("trace_what_if_file", ""),
    ibt("swap_ibt", "stores=5000", "stores=100000"),
    file_ibt("file_ibt", "operations=100", "operations=3000"),
    Scenario {
        expects: Expect::Death("Missing ENDBR"),
        ..ibt("swap_ibt_control", "", "")
    },
];

/// `cargo xtask run`: a memory-hungry workload, and the dashboard or a summary of it.
pub const DEMO: Scenario = Scenario {
    memory_mib: 1024,
    swap_mib: 2048,
    own_boot: true,
    ..swap("demo", "seconds=40", "")
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::FILE_CONTROLS;

    #[test]
    fn names_are_unique_and_say_their_topic() {
        for (i, s) in SCENARIOS.iter().enumerate() {
            assert!(
                SCENARIOS[..i].iter().all(|t| t.name != s.name),
                "{} twice",
                s.name
            );
            assert!(
                ["swap", "file", "tool", "trace"].contains(&s.topic()),
                "{}",
                s.name
            );
        }
    }

    #[test]
    fn file_systems_are_found_by_name() {
        for file_system in FileSystem::ALL {
            assert_eq!(file_system.name().parse(), Ok(file_system));
        }
        assert!("nfs".parse::<FileSystem>().is_err());
    }

    #[test]
    fn parameters_are_pairs() {
        for s in SCENARIOS {
            for pair in s
                .quick
                .split(',')
                .chain(s.soak.split(','))
                .filter(|p| !p.is_empty())
            {
                assert!(pair.contains('='), "{}: {pair}", s.name);
            }
        }
    }

    #[test]
    fn what_is_broken_on_purpose_is_known() {
        for s in SCENARIOS.iter().filter(|s| s.topic() == "file") {
            let broken = s
                .quick
                .split(',')
                .filter_map(|pair| pair.strip_prefix("break_hook="))
                .flat_map(|names| names.split('+'));
            for name in broken {
                assert!(FILE_CONTROLS.contains(&name), "{}: {name}", s.name);
            }
        }
    }

    #[test]
    fn kernels_are_found_by_name_and_suite() {
        for kernel in Kernel::ALL {
            assert_eq!(kernel.name().parse(), Ok(kernel));
            assert_eq!(kernel.suite().parse(), Ok(kernel));
        }
        assert!("4.19".parse::<Kernel>().is_err());
    }
}
