//! Records that eBPF programs hand to the tool: sampled events through a ring
//! buffer, and the keys and cells of the aggregating maps.

use core::mem::{offset_of, size_of};

use crate::histogram::BUCKETS;

/// Index of a flush that withdrew a whole object.
pub const WHOLE_OBJECT: u64 = u64::MAX;

/// One operation, sampled.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Event {
    /// CLOCK_MONOTONIC at the end of the operation, in ns.
    pub time_ns: u64,
    /// The object's number within its pool.
    pub object: u64,
    /// The page's index within its object, or [`WHOLE_OBJECT`].
    pub index: u64,
    /// Duration of the operation in ns.
    pub latency_ns: u64,
    /// Id of the cgroup that the page belongs to; 0 if unknown.
    pub cgroup: u64,
    /// The pool's number.
    pub pool: u32,
    /// Bytes of data kept, returned or freed.
    pub bytes: u32,
    /// An [`crate::op::Op`] as a number.
    pub op: u32,
    /// An [`crate::op::Outcome`] as a number.
    pub outcome: u32,
}

const _: () = assert!(size_of::<Event>() == 56);
const _: () = assert!(offset_of!(Event, pool) == 40);

/// Key of the aggregating map: (pool, op, outcome).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CellKey {
    /// The pool's number.
    pub pool: u32,
    /// An [`crate::op::Op`] as a number.
    pub op: u32,
    /// An [`crate::op::Outcome`] as a number.
    pub outcome: u32,
}

/// One CPU's share of a cell of the aggregating map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// Operations.
    pub count: u64,
    /// Sum of the operations' bytes.
    pub bytes: u64,
    /// Sum of the operations' durations in ns.
    pub total_ns: u64,
    /// Durations, laid out as in [`crate::histogram`].
    pub histogram: [u64; BUCKETS],
}

const _: () = assert!(size_of::<Cell>() == 24 + 8 * BUCKETS);

/// Key of the per-cgroup map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct CgroupKey {
    /// Id of the cgroup (its directory's inode number in cgroup2).
    pub cgroup: u64,
    /// An [`crate::op::Op`] as a number.
    pub op: u32,
    /// An [`crate::op::Outcome`] as a number.
    pub outcome: u32,
}

/// One CPU's share of a cell of the per-cgroup map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct CgroupCell {
    /// Operations.
    pub count: u64,
    /// Sum of the operations' bytes.
    pub bytes: u64,
}

/// The pool in [`CellKey`] that stands for zswap, where there is no module.
pub const STOCK_ZSWAP: u32 = 0;

/// The pool in [`CellKey`] that stands for all zram devices, where there is no module.
pub const STOCK_ZRAM: u32 = u32::MAX;

/// What the tracepoint `tmem_file` tells of pages.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileTold {
    /// They were offered to the engine.
    Put = 0,
    /// Of these, the engine kept them.
    Stored = 1,
    /// They were found by a read.
    Hit = 2,
    /// They were asked for and not found.
    Miss = 3,
}

/// How many [`FileTold`] there are.
pub const FILE_TOLD: usize = 4;

/// Bytes of a file's name that are kept, with the zero behind it.
pub const FILE_NAME: usize = 48;

/// Key of the per-file map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct FileKey {
    /// Number of its inode.
    pub inode: u64,
    /// Device of its file system: 20 bits of minor number below the major one.
    pub device: u64,
}

/// One CPU's share of a cell of the per-file map.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCell {
    /// Pages, by [`FileTold`].
    pub pages: [u64; FILE_TOLD],
    /// The last part of its path, up to a zero; empty where nobody told it to this CPU.
    pub name: [u8; FILE_NAME],
}

const _: () = assert!(size_of::<FileCell>() == 8 * FILE_TOLD + FILE_NAME);

/// One CPU's count of what could not be recorded.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lost {
    /// Sampled events for which the ring buffer had no room.
    pub events: u64,
    /// Operations that found no room in the aggregating map.
    pub cells: u64,
    /// Operations that found no room in the per-cgroup map.
    pub cgroups: u64,
    /// Pages that found no room in the per-file map.
    pub files: u64,
}
