//! The block of counters that the engine fills for the whole and for each pool.
//! C reads the same layout as `struct tmem_stats`.

use core::mem::size_of;

use crate::op::OUTCOMES;

/// Counters and gauges of a pool, or summed over all pools.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stats {
    /// Pages held now.
    pub pages: u64,
    /// Of these, same-filled pages, which hold no data.
    pub same_pages: u64,
    /// Of these, pages kept uncompressed.
    pub raw_pages: u64,
    /// Bytes of data held for the pages (compressed and raw).
    pub data_bytes: u64,
    /// Bytes of memory taken from the host for data: whole pages of the store
    /// for the sum, the slots' sizes for one pool.
    pub store_bytes: u64,
    /// Bytes of memory taken for index and bookkeeping (for one pool: its
    /// entries' share).
    pub metadata_bytes: u64,
    /// Operations that ended so, since the start: puts, gets, flushes and
    /// evictions by [`crate::op::Outcome`] (`Miss` counts gets only).
    pub outcomes: [u64; OUTCOMES],
    /// Flushes that found nothing.
    pub flush_misses: u64,
    /// Pages moved to give whole pages back.
    pub moved_pages: u64,
}

const _: () = assert!(size_of::<Stats>() == 8 * (8 + OUTCOMES));
