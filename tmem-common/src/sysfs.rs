//! Names of the files under `/sys/kernel/mm/tmem`, one value each.

/// The module's directory.
pub const ROOT: &str = "/sys/kernel/mm/tmem";
/// Version of this ABI, see [`crate::ABI_VERSION`]. Read only.
pub const ABI: &str = "abi";
/// Whether new pages are accepted: `1` or `0`.
pub const ENABLED: &str = "enabled";
/// The budget for everything the module holds: bytes (suffix K, M, G allowed)
/// or percent of RAM (`20%`). Reads back as written.
pub const LIMIT: &str = "limit";
/// The budget in bytes. Read only.
pub const LIMIT_BYTES: &str = "limit_bytes";
/// Codec of the pools that have none of their own: one of [`CODECS`].
pub const CODEC: &str = "codec";
/// Codecs that can be chosen now, separated by blanks. Read only.
pub const CODECS: &str = "codecs";
/// Whether incompressible pages are kept raw (`1`) or refused (`0`).
pub const KEEP_INCOMPRESSIBLE: &str = "keep_incompressible";
/// Bytes held beyond the budget, since persistent pages cannot be evicted. Read only.
pub const OVERHANG_BYTES: &str = "overhang_bytes";
/// Directory of statistics of the whole; each pool has one of its own too.
pub const STATS: &str = "stats";
/// Directory with one directory a pool, named by the pool's number.
pub const POOLS: &str = "pools";
/// Bytes of memory held for all purposes. Read only.
pub const USED_BYTES: &str = "used_bytes";
/// Whether file pages are given only where the kernel remembers their eviction: `1` or `0`.
pub const FILE_CLAIM_GUARD: &str = "file_claim_guard";
/// Whether file pages go when their inode's ctime changes: `1`, `0` or `auto`.
pub const FILE_CTIME_GUARD: &str = "file_ctime_guard";
/// Whether file pages are only looked up, and read from disk all the same: `1` or `0`.
pub const FILE_SHADOW: &str = "file_shadow";
/// Whether file pages that are found are compared with what the disk has: `1` or `0`.
pub const FILE_VERIFY: &str = "file_verify";

/// In a pool's directory: the name its frontend gave it, 32 hexadecimal digits
/// without separators. Read only.
pub const POOL_UUID: &str = "uuid";
/// In a pool's directory: `persistent` or `ephemeral`. Read only.
pub const POOL_KIND: &str = "kind";
/// In a pool's directory: version of its frontend's handle scheme. Read only.
pub const POOL_VERSION: &str = "version";
/// In a pool's directory: its codec, one of [`CODECS`] or [`POOL_CODEC_DEFAULT`].
pub const POOL_CODEC: &str = "codec";
/// Value of [`POOL_CODEC`] for a pool that follows [`CODEC`].
pub const POOL_CODEC_DEFAULT: &str = "default";
/// In a pool's directory: its own limit in bytes (suffix K, M, G allowed when
/// written) or [`POOL_LIMIT_NONE`].
pub const POOL_LIMIT: &str = "limit";
/// Value of [`POOL_LIMIT`] for a pool with no limit of its own.
pub const POOL_LIMIT_NONE: &str = "max";
/// In a pool's directory: its share among pools of its kind, 1 to 1000.
pub const POOL_WEIGHT: &str = "weight";
/// In a pool's directory: whether it refuses new pages, `1` or `0`.
pub const POOL_FROZEN: &str = "frozen";
/// In the directory of an ephemeral pool: which page goes first, a name of
/// [`crate::policy::Policy`].
pub const POOL_POLICY: &str = "policy";
/// In the directory of an ephemeral pool: which pages it takes, [`POOL_ADMISSION_ALWAYS`],
/// [`POOL_ADMISSION_REFAULTED`], or the number of earlier offers that are wanted, 1 to
/// [`crate::policy::MAX_SIGHTINGS`].
pub const POOL_ADMISSION: &str = "admission";
/// Value of [`POOL_ADMISSION`] for a pool that takes every page.
pub const POOL_ADMISSION_ALWAYS: &str = "always";
/// Value of [`POOL_ADMISSION`] for a pool that takes pages that were asked for since they were offered before.
pub const POOL_ADMISSION_REFAULTED: &str = "refaulted";
/// In the directory of an ephemeral pool: pages that take more percent of their size are
/// refused, 1 to 100.
pub const POOL_MAX_RATIO: &str = "max_ratio";
/// In the directory of an ephemeral pool: seconds after which a page is dropped, up to [`crate::policy::MAX_TTL`]; 0: never.
pub const POOL_TTL: &str = "ttl";

/// Files of a [`STATS`] directory, named as the fields of
/// [`crate::stats::Stats`]; beside them one file an outcome, named by
/// [`crate::op::Outcome::name`].
pub const STATS_FIELDS: [&str; 8] = [
    "pages",
    "same_pages",
    "raw_pages",
    "data_bytes",
    "store_bytes",
    "metadata_bytes",
    "flush_misses",
    "moved_pages",
];

/// Directory about what cgroups hold and may hold.
pub const CGROUPS: &str = "cgroups";
/// In [`CGROUPS`]: one line a cgroup: its id, weight, limit, swap pages and their bytes, file
/// pages and their bytes, puts refused for want of room, file pages that made room. Filled
/// up with blanks. Read only.
pub const CGROUPS_LIST: &str = "list";
/// In [`CGROUPS`]: takes a cgroup's id and its weight, 1 to 1000 or [`CGROUP_WEIGHT_NONE`]. Write only.
pub const CGROUPS_WEIGHT: &str = "weight";
/// In [`CGROUPS`]: takes a cgroup's id and its limit in bytes (suffix K, M, G allowed) or
/// [`CGROUP_LIMIT_NONE`]. Write only.
pub const CGROUPS_LIMIT: &str = "limit";
/// The weight of a cgroup that was given none: it is counted with all others.
pub const CGROUP_WEIGHT_NONE: &str = "default";
/// The limit of a cgroup that has none.
pub const CGROUP_LIMIT_NONE: &str = "max";

/// Directory about the file systems whose clean pages are kept. Where the module keeps no file pages on this
/// kernel, none can be added (`EOPNOTSUPP`).
pub const MOUNTS: &str = "mounts";
/// In [`MOUNTS`]: takes the path of a mounted directory whose file system joins. Write only.
/// `EINVAL`: nothing is mounted there; `EOPNOTSUPP`: refused, see
/// [`MOUNTS_LAST_REFUSAL`]; `EEXIST`: it takes part already.
pub const MOUNTS_ADD: &str = "add";
/// In [`MOUNTS`]: takes the path of a file system that leaves. Write only. `ENOENT`: it
/// takes no part.
pub const MOUNTS_REMOVE: &str = "remove";
/// In [`MOUNTS`]: one line a file system, `<major>:<minor> <type> <pool> <path as added>`,
/// in the path blanks, tabs, line ends and backslashes as `\ooo`. Read only.
pub const MOUNTS_LIST: &str = "list";
/// In [`MOUNTS`]: why the last file system was refused. Read only.
pub const MOUNTS_LAST_REFUSAL: &str = "last_refusal";
/// In [`MOUNTS`]: pages that differed from the disk, of those that were compared. Read only.
pub const MOUNTS_MISMATCHES: &str = "mismatches";
