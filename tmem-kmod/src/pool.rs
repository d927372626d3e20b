//! Pools: what a frontend creates to keep its pages in, their settings, and
//! their share of the counters.

use core::fmt;
use core::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};

use tmem_common::codec::CODEC_DEFAULT;
use tmem_common::op::{OUTCOMES, Outcome};
use tmem_common::policy::{ADMIT_ALL, ADMIT_REFAULTED, Policy};
use tmem_common::stats::Stats;

use crate::host::{PAGE, SHARDS};
use crate::slab::Word;

/// Pages of the pool stay until they are flushed; otherwise (ephemeral) they may vanish at any time.
pub const POOL_PERSISTENT: u32 = 1;
/// A hit removes the page.
pub const POOL_EXCLUSIVE_GET: u32 = 2;

/// Bytes of bookkeeping that one page costs at the least: its entry and a bucket.
pub(crate) const PAGE_METADATA: u64 = 52;

/// What a pool is created with.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PoolSpec {
    /// Names the pool for good; all zero if it needs no name.
    pub uuid: [u8; 16],
    /// `POOL_*` bits.
    pub flags: u32,
    /// Version of the frontend's handles.
    pub version: u32,
}

/// A pool's settings as they are now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolInfo {
    /// What it was created with.
    pub spec: PoolSpec,
    /// Bytes that it may hold; `u64::MAX` if it has no limit of its own.
    pub limit_bytes: u64,
    /// Its share of the memory of ephemeral pools, 1..=1000: under pressure the pool with the most bytes
    /// by weight gives way first.
    pub weight: u32,
    /// A [`tmem_common::codec::Codec`] as a number, or [`CODEC_DEFAULT`].
    pub codec: u32,
    /// Whether puts are refused.
    pub frozen: bool,
    /// Which page goes first, if the pool is ephemeral.
    pub policy: Policy,
    /// Which pages it takes: a number of earlier offers, or [`ADMIT_REFAULTED`].
    pub admission: u32,
    /// Pages that take more percent of their size are refused, 1..=100.
    pub max_ratio: u32,
    /// Seconds after which a page is dropped; 0: never.
    pub ttl: u32,
}

/// Why a call about a pool or a setting was refused. Nothing changed then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolError {
    /// No such pool.
    NotFound,
    /// Another pool has this uuid.
    Exists,
    /// As many pools as there can be.
    NoSpace,
    /// A value out of its range, or a codec that is not available.
    Invalid,
}

impl fmt::Display for PoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PoolError::NotFound => "no such pool",
            PoolError::Exists => "a pool with this uuid exists",
            PoolError::NoSpace => "no room for another pool",
            PoolError::Invalid => "value out of range or codec not available",
        })
    }
}

impl core::error::Error for PoolError {}

/// Names of offered pages that a pool remembers which does not take all, at the least.
const OFFERS: u64 = 1 << 14;

const LIVE: u32 = 1;
const FROZEN: u32 = 2;
const CLOSING: u32 = 4;
/// What is above the bits counts the pools that had this number, so that an
/// operation that began with one pool cannot end in the next.
const GENERATION: u32 = 8;

/// A pool's state in one word, compared before a page becomes visible.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u32);

impl State {
    pub(crate) fn accepts_puts(self) -> bool {
        self.0 & (LIVE | FROZEN) == LIVE
    }
}

/// One place in the table of pools. Valid, and empty, when all bytes are zero.
/// Settings and counters are atomics; `state` changes only under the pools lock, gauges only
/// under the store lock, what kind of pool it is only under both and without pages.
pub(crate) struct Pool {
    state: AtomicU32,
    flags: AtomicU32,
    version: AtomicU32,
    uuid: [Word; 4],
    pub(crate) weight: AtomicU32,
    pub(crate) codec: AtomicU32,
    pub(crate) limit: AtomicU64,
    policy: AtomicU32,
    admission: AtomicU32,
    /// Pages with more bytes of data are refused.
    most_data: AtomicU32,
    /// Not 0 once a persistent page was lost.
    lost: AtomicU32,
    ages: Ages,

    pages: Gauge,
    same_pages: Gauge,
    raw_pages: Gauge,
    data_bytes: Gauge,
    slot_bytes: Gauge,
    moved_pages: AtomicU64,
    flush_misses: AtomicU64,
    outcomes: [AtomicU64; OUTCOMES],

    /// Where eviction goes on: the shard, and how many pages it is still to give.
    pub(crate) evict_shard: AtomicU32,
    pub(crate) evict_left: AtomicU32,
}

/// Bits of an epoch's number that a page's record has.
pub(crate) const EPOCH_BITS: u32 = 5;
/// A pool's time to live has so many epochs. A page's first is not over when it is put: it lives for at least the time
/// to live, and at most an epoch more.
const EPOCHS: u32 = 8;
/// The clock of a pool may be so many epochs ahead of its last sweep: no page that is left then can have become so
/// old that it seems young again. One that was used, and so went back in its queue, may have hidden behind
/// others twice as long as pages live.
const AHEAD: u32 = (1 << EPOCH_BITS) - 2 * (EPOCHS + 1) - 2;

/// How old a pool's pages are, in epochs. All changes under the pools lock.
struct Ages {
    /// Seconds; 0: pages do not grow older.
    ttl: AtomicU32,
    epoch: AtomicU32,
    /// When it began, ns of the clock; 0: the clock has not been seen since the time to live was set.
    since: AtomicU64,
    /// The shard that the sweep has come to; [`SHARDS`] if there is none.
    shard: AtomicU32,
    /// The epochs in which this sweep began, and the last one that came to its end.
    began: AtomicU32,
    swept: AtomicU32,
}

/// A sum that changes under the store lock only, so that no locked instruction is needed for it, and may
/// be read at any time.
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    #[inline(always)]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Caller must hold the store lock.
    #[inline(always)]
    pub(crate) fn add(&self, n: impl Into<u64>) {
        self.0.store(self.get() + n.into(), Relaxed);
    }

    /// Caller must hold the store lock.
    #[inline(always)]
    pub(crate) fn sub(&self, n: impl Into<u64>) {
        self.0.store(self.get() - n.into(), Relaxed);
    }
}

/// What a page adds to its pool's gauges.
#[derive(Clone, Copy)]
pub(crate) struct Footprint {
    pub(crate) same: u32,
    pub(crate) raw: u32,
    /// Bytes of data, and of the slots and pages that it is in.
    pub(crate) data: u32,
    pub(crate) slot: u32,
}

impl Pool {
    pub(crate) fn state(&self) -> State {
        State(self.state.load(Relaxed))
    }

    pub(crate) fn is_live(&self) -> bool {
        self.state.load(Relaxed) & LIVE != 0
    }

    /// Also false while an operation that began before the last pool here was
    /// closed has still to end its accounting.
    fn is_unused(&self) -> bool {
        self.state.load(Relaxed) & (LIVE | CLOSING) == 0 && self.pages.0.load(Acquire) == 0
    }

    pub(crate) fn is_persistent(&self) -> bool {
        self.flags.load(Relaxed) & POOL_PERSISTENT != 0
    }

    pub(crate) fn is_exclusive(&self) -> bool {
        self.flags.load(Relaxed) & POOL_EXCLUSIVE_GET != 0
    }

    /// Caller must hold the pools lock and the store lock. Opens an unused place; false if it is in use.
    pub(crate) fn open(&self, spec: &PoolSpec) -> bool {
        if !self.is_unused() {
            return false;
        }
        self.flags.store(spec.flags, Relaxed);
        self.version.store(spec.version, Relaxed);
        for (word, bytes) in self.uuid.iter().zip(spec.uuid.as_chunks::<4>().0) {
            word.set(u32::from_ne_bytes(*bytes));
        }
        self.weight.store(100, Relaxed);
        self.codec.store(CODEC_DEFAULT, Relaxed);
        self.limit.store(u64::MAX, Relaxed);
        self.set_policy(Policy::Lru);
        self.set_admission(ADMIT_ALL);
        self.set_max_ratio(100);
        self.ages.epoch.store(0, Relaxed);
        self.ages.swept.store(0, Relaxed);
        self.set_ttl(0);
        self.evict_shard.store(0, Relaxed);
        self.evict_left.store(0, Relaxed);
        self.state.fetch_add(LIVE, Relaxed);
        true
    }

    /// Caller must hold the pools lock. From now on no page enters; false if there is no pool.
    pub(crate) fn begin_close(&self) -> bool {
        let state = self.state.load(Relaxed);
        if state & LIVE == 0 {
            return false;
        }
        self.state
            .store((state & !(LIVE | FROZEN)) | CLOSING, Relaxed);
        self.set_ttl(0);
        true
    }

    /// Caller must hold the pools lock. Hands the counters over to `retired` and empties the place.
    pub(crate) fn end_close(&self, retired: &mut Stats) {
        for (sum, counter) in retired.outcomes.iter_mut().zip(&self.outcomes) {
            *sum += counter.swap(0, Relaxed);
        }
        retired.flush_misses += self.flush_misses.swap(0, Relaxed);
        retired.moved_pages += self.moved_pages.swap(0, Relaxed);
        let state = self.state.load(Relaxed);
        self.state
            .store((state & !CLOSING).wrapping_add(GENERATION), Relaxed);
    }

    /// Caller must hold the pools lock. False if there is no pool.
    pub(crate) fn set_frozen(&self, frozen: bool) -> bool {
        let state = self.state.load(Relaxed);
        if state & LIVE == 0 {
            return false;
        }
        let state = if frozen {
            state | FROZEN
        } else {
            state & !FROZEN
        };
        self.state.store(state, Relaxed);
        true
    }

    pub(crate) fn uuid(&self) -> [u8; 16] {
        let mut uuid = [0; 16];
        for (bytes, word) in uuid.as_chunks_mut::<4>().0.iter_mut().zip(&self.uuid) {
            *bytes = word.get().to_ne_bytes();
        }
        uuid
    }

    pub(crate) fn info(&self) -> PoolInfo {
        PoolInfo {
            spec: PoolSpec {
                uuid: self.uuid(),
                flags: self.flags.load(Relaxed),
                version: self.version.load(Relaxed),
            },
            limit_bytes: self.limit.load(Relaxed),
            weight: self.weight.load(Relaxed),
            codec: self.codec.load(Relaxed),
            frozen: self.state.load(Relaxed) & FROZEN != 0,
            policy: self.its_policy(),
            admission: self.admission.load(Relaxed),
            max_ratio: self.most_data.load(Relaxed) * 100 / PAGE as u32,
            ttl: self.ages.ttl.load(Relaxed),
        }
    }

    fn its_policy(&self) -> Policy {
        Policy::from_number(self.policy.load(Relaxed)).unwrap_or(Policy::Lru)
    }

    /// Which page goes first; `None` if none goes by itself.
    #[inline(always)]
    pub(crate) fn policy(&self) -> Option<Policy> {
        (!self.is_persistent()).then(|| self.its_policy())
    }

    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(policy as u32, Relaxed);
    }

    pub(crate) fn set_admission(&self, admission: u32) {
        self.admission.store(admission, Relaxed);
    }

    pub(crate) fn set_max_ratio(&self, percent: u32) {
        let bytes = (PAGE as u32 * percent).div_ceil(100);
        self.most_data.store(bytes, Relaxed);
    }

    #[inline(always)]
    pub(crate) fn admits_all(&self) -> bool {
        self.admission.load(Relaxed) == ADMIT_ALL
    }

    #[inline(always)]
    pub(crate) fn admits_refaulted(&self) -> bool {
        self.admission.load(Relaxed) == ADMIT_REFAULTED
    }

    /// Whether it takes a page that was offered so many times before, and `asked` for since.
    pub(crate) fn admits(&self, seen: u32, asked: bool) -> bool {
        match self.admission.load(Relaxed) {
            ADMIT_REFAULTED => asked,
            wanted => seen >= wanted,
        }
    }

    /// Bytes of data of a page that is worth keeping.
    #[inline(always)]
    pub(crate) fn most_data(&self) -> usize {
        self.most_data.load(Relaxed) as usize
    }

    /// Caller must hold the pools lock. Sets the time to live, in seconds; 0: none. Pages that are held keep the
    /// share of theirs that they have used, to an eighth; the same time again changes nothing.
    pub(crate) fn set_ttl(&self, seconds: u32) {
        if self.ages.ttl.swap(seconds, Relaxed) == seconds {
            return;
        }
        self.ages.since.store(0, Relaxed);
        self.ages.shard.store(SHARDS as u32, Relaxed);
    }

    /// Whether pages expire.
    #[inline(always)]
    pub(crate) fn expires(&self) -> bool {
        self.ages.ttl.load(Relaxed) != 0
    }

    /// The epoch of a page that is put now, for its record.
    #[inline(always)]
    pub(crate) fn epoch(&self) -> u32 {
        self.ages.epoch.load(Relaxed) % (1 << EPOCH_BITS)
    }

    /// Whether the time to live of a page is over that was put in that epoch.
    #[inline(always)]
    pub(crate) fn is_expired(&self, epoch: u32) -> bool {
        let age = || self.ages.epoch.load(Relaxed).wrapping_sub(epoch) % (1 << EPOCH_BITS);
        self.expires() && age() > EPOCHS
    }

    /// Caller must hold the pools lock. It is `now`, in ns: pages grow older. The shard that is to be swept next, if
    /// any, and in how many ns the next epoch begins; `None` if pages do not expire.
    pub(crate) fn tick(&self, now: u64) -> Option<(Option<usize>, u64)> {
        let ages = &self.ages;
        let ttl = ages.ttl.load(Relaxed);
        if ttl == 0 {
            return None;
        }
        let epoch = u64::from(ttl) * (1_000_000_000 / u64::from(EPOCHS));
        let mut since = ages.since.load(Relaxed);
        if since == 0 {
            since = now.max(1);
        }
        let passed = now.saturating_sub(since) / epoch;
        since += passed * epoch;
        ages.since.store(since, Relaxed);
        let swept = ages.swept.load(Relaxed);
        let ahead = ages.epoch.load(Relaxed).wrapping_sub(swept);
        let step = passed.min(u64::from(AHEAD.saturating_sub(ahead))) as u32;
        let now_is = ages.epoch.load(Relaxed).wrapping_add(step);
        ages.epoch.store(now_is, Relaxed);
        if ages.shard.load(Relaxed) as usize == SHARDS && now_is != swept {
            ages.shard.store(0, Relaxed);
            ages.began.store(now_is, Relaxed);
        }
        let shard = Some(ages.shard.load(Relaxed) as usize).filter(|shard| *shard < SHARDS);
        Some((shard, (since + epoch).saturating_sub(now)))
    }

    /// Caller must hold the pools lock. The sweep found no expired page in that shard.
    pub(crate) fn end_sweep_of(&self, shard: usize) {
        let ages = &self.ages;
        // Unless another has said so already.
        if ages.shard.load(Relaxed) as usize != shard {
            return;
        }
        ages.shard.store(shard as u32 + 1, Relaxed);
        if shard + 1 == SHARDS {
            ages.swept.store(ages.began.load(Relaxed), Relaxed);
        }
    }

    /// Names of pages that are not held which the pool wants remembered, if any.
    pub(crate) fn ghosts(&self) -> Option<u64> {
        if !self.is_live() {
            return None;
        }
        let percent = self.policy()?.ghosts_percent();
        let held = self.pages.get();
        match (percent, self.admits_all()) {
            (0, true) => None,
            (percent, true) => Some(held * u64::from(percent) / 100),
            // Enough for a pool that has yet to get its first pages.
            (percent, false) => Some(held * u64::from(percent) / 100 + held.max(OFFERS)),
        }
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Relaxed);
    }

    /// A page that was counted as a hit when it was found could not be decoded.
    pub(crate) fn count_corrupt(&self) {
        // Unless the pool was closed meanwhile, and the hit went where its counters went.
        let hits = &self.outcomes[Outcome::Hit as usize];
        let _ = hits.try_update(Relaxed, Relaxed, |hits| hits.checked_sub(1));
        self.count(Outcome::Corrupt);
    }

    pub(crate) fn count_flush_miss(&self) {
        self.flush_misses.fetch_add(1, Relaxed);
    }

    /// A persistent page could not be decoded, and could not be kept either. From now on no miss is
    /// reported, since the frontend would take what an older copy holds for the page.
    /// Caller must hold the store lock: the pool stays pinned until it is closed, so that it is asked.
    #[cold]
    pub(crate) fn lose(&self) {
        self.lost.store(1, Relaxed);
    }

    /// Caller must hold the store lock. Whether a page was lost, which is forgotten.
    pub(crate) fn forget_lost(&self) -> bool {
        self.lost.swap(0, Relaxed) != 0
    }

    #[inline(always)]
    pub(crate) fn has_lost(&self) -> bool {
        self.lost.load(Relaxed) != 0
    }

    /// Caller must hold the store lock. Adds one page, unless that would break the pool's limit.
    #[inline(always)]
    pub(crate) fn charge(&self, page: Footprint) -> bool {
        let slots = self.slot_bytes.get() + u64::from(page.slot);
        if slots + (self.pages.get() + 1) * PAGE_METADATA > self.limit.load(Relaxed) {
            return false;
        }
        self.pages.add(1_u32);
        self.slot_bytes.add(page.slot);
        self.data_bytes.add(page.data);
        self.same_pages.add(page.same);
        self.raw_pages.add(page.raw);
        true
    }

    /// Caller must hold the store lock. Takes a page away that was charged; how many are left.
    #[inline(always)]
    pub(crate) fn uncharge(&self, page: Footprint) -> u64 {
        self.slot_bytes.sub(page.slot);
        self.data_bytes.sub(page.data);
        self.same_pages.sub(page.same);
        self.raw_pages.sub(page.raw);
        // Last: with no pages left the place may be used again.
        let left = self.pages.get() - 1;
        self.pages.0.store(left, Release);
        left
    }

    /// Caller must hold the store lock. A page went from a slot of one size to one of another.
    pub(crate) fn moved(&self, from: u32, to: u32) {
        self.moved_pages.fetch_add(1, Relaxed);
        self.slot_bytes.add(to);
        self.slot_bytes.sub(from);
    }

    /// Bytes that the pool's pages take, with their share of the bookkeeping.
    pub(crate) fn bytes(&self) -> u64 {
        self.slot_bytes.get() + self.pages.get() * PAGE_METADATA
    }

    pub(crate) fn has_pages(&self) -> bool {
        self.pages.get() != 0
    }

    pub(crate) fn add_to(&self, stats: &mut Stats) {
        let pages = self.pages.get();
        stats.pages += pages;
        stats.same_pages += self.same_pages.get();
        stats.raw_pages += self.raw_pages.get();
        stats.data_bytes += self.data_bytes.get();
        stats.store_bytes += self.slot_bytes.get();
        stats.metadata_bytes += pages * PAGE_METADATA;
        for (sum, counter) in stats.outcomes.iter_mut().zip(&self.outcomes) {
            *sum += counter.load(Relaxed);
        }
        stats.flush_misses += self.flush_misses.load(Relaxed);
        stats.moved_pages += self.moved_pages.load(Relaxed);
    }
}
