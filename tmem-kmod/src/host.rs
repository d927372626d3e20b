//! What the engine needs from its surroundings: pages, locks, scratch space,
//! codecs that it does not have itself, and a few notices.

use core::ptr::NonNull;

use tmem_common::codec::Codec;

use crate::codec::Scratch;

/// Bytes in a page.
pub const PAGE: usize = tmem_common::PAGE_SIZE;

/// The contents of a page.
pub type Page = [u8; PAGE];

/// Number of index shards, each with a lock of its own.
pub const SHARDS: usize = 64;

/// Number of the lock of the page store.
pub const LOCK_STORE: usize = SHARDS;

/// Number of the lock of the table of pools.
pub const LOCK_POOLS: usize = SHARDS + 1;

/// Number of locks that a host provides.
pub const LOCKS: usize = SHARDS + 2;

/// A page of memory: frame `f` is at `page_base() + f * 4096`. The number 0 and
/// `u32::MAX` name no page.
pub type Frame = u32;

/// The surroundings of an engine.
///
/// # Safety
/// The engine's memory safety rests on these promises:
/// * `page_base` never changes; a frame from `page_alloc` is neither 0 nor `u32::MAX`, and its
///   page is valid, page-aligned and used by nobody else until `page_free`;
/// * `lock(i)` excludes every other holder of `i` until `unlock(i)`, and orders memory as a lock does;
/// * a scratch from `scratch_get` is initialised and used by nobody else until `scratch_put`.
pub unsafe trait Host: Sync {
    /// Whether pages' data is kept. Without, hits return pages of unknown contents: for replays, which
    /// ask only what is kept and how much memory that takes.
    const KEEPS_DATA: bool = true;

    /// Where frame 0 would be.
    fn page_base(&self) -> *mut u8;
    /// A page of unknown contents, or `None`. `may_sleep` is false when the engine holds a lock.
    fn page_alloc(&self, may_sleep: bool) -> Option<Frame>;
    /// Takes a page back. Any context, also under locks.
    ///
    /// # Safety
    /// `frame` came from `page_alloc` of this host and is no longer used.
    unsafe fn page_free(&self, frame: Frame);

    /// Takes lock `i < LOCKS` (in a kernel: spinning, with interrupts off). The value goes to `unlock`.
    fn lock(&self, i: usize) -> usize;
    /// Releases lock `i`.
    ///
    /// # Safety
    /// The caller holds lock `i`, and `flags` came from its `lock`.
    unsafe fn unlock(&self, i: usize, flags: usize);

    /// Exclusive use of a scratch; may sleep. Never called under a lock.
    fn scratch_get(&self) -> NonNull<Scratch>;
    /// Ends the use of a scratch.
    ///
    /// # Safety
    /// `scratch` came from `scratch_get` of this host and is no longer used.
    unsafe fn scratch_put(&self, scratch: NonNull<Scratch>);

    /// Whether `compress` and `decompress` know this codec, which is not one of the engine's own.
    fn codec_available(&self, codec: Codec) -> bool;
    /// Compresses a page into `out`; the length in bytes, or `None` if it does not fit or fails. May sleep.
    fn compress(&self, codec: Codec, page: &Page, out: &mut [u8]) -> Option<usize>;
    /// Whether `data` decoded to exactly one page. May sleep.
    fn decompress(&self, codec: Codec, data: &[u8], page: &mut Page) -> bool;

    /// An ephemeral page of `bytes` bytes of data was dropped, to make room or since its time to
    /// live was over. Called without locks.
    fn evicted(&self, pool: u32, object: u64, index: u64, bytes: u32, owner: u64);
    /// [`crate::Engine::maintain`] is worth calling. Any context, also under locks.
    fn wake_maintenance(&self);

    /// A persistent pool is about to get its first page: false refuses it. Any context, also under locks.
    fn pin(&self) -> bool;
    /// A persistent pool has no page any more. Any context, also under locks.
    fn unpin(&self);
}
