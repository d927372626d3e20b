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
