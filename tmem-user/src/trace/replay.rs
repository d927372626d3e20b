//! Replays a trace's requests through the engine itself, in this process, under
//! other settings: what would have been kept, refused and evicted.
//!
//! A page's contents are not in a trace, only how small they became. So the
//! engine gets pages that carry their compressed size, and a codec that reports
//! it: index, store, budget and eviction are the engine's, compression costs
//! nothing, and no data is copied. One thread asks it, so that its locks exclude nobody. When only one page in N is replayed, the budget is divided by N
//! (miniature simulation, Waldspurger et al., USENIX ATC 2017).

use std::cell::Cell;
use std::io;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tmem_common::PAGE_SIZE;
use tmem_common::codec::Codec;
use tmem_common::event::WHOLE_OBJECT;
use tmem_common::op::{Op, Outcome};
use tmem_common::policy::Policy;
use tmem_kmod::userspace::boxed_engine;
use tmem_kmod::{
    Engine, Frame, Host, POOL_EXCLUSIVE_GET, POOL_PERSISTENT, Page, PoolError, PoolSpec, Scratch,
};

use super::codecs::Known;
use super::record::PoolReading;
use super::requests::{Request, Requests, Size};
use crate::workload::Random;

/// What is replayed differently.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The budget in bytes, for all pages (not only the sampled ones).
    pub limit_bytes: u64,
    /// How large pages are.
    pub codec: Sizes,
    /// Which pages of ephemeral pools go first; `None`: as recorded.
    pub policy: Option<Policy>,
    /// Which pages ephemeral pools take, as a pool's admission; `None`: as recorded.
    pub admission: Option<u32>,
    /// Start of the random numbers that stand for sizes that the trace does not tell.
    pub seed: u64,
    /// Whether pages that no codec makes smaller are kept; `None`: as recorded.
    pub keep_incompressible: Option<bool>,
}

/// How large pages are, compared to the trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// As recorded.
    Recorded,
    /// Pages are kept as they are.
    None,
    /// Data of so much the recorded size, by a codec of that name.
    Scaled(String, f64),
}

impl Sizes {
    /// The name for tables.
    pub fn name(&self) -> String {
        match self {
            Sizes::Recorded => "recorded".to_owned(),
            Sizes::None => Codec::None.name().to_owned(),
            Sizes::Scaled(name, factor) => format!("{name}={factor}"),
        }
    }

    /// Bytes of data of a page with `bytes` of them in the trace.
    fn of(&self, bytes: u16) -> u16 {
        const WHOLE: u16 = PAGE_SIZE as u16;
        match self {
            Sizes::Recorded => bytes,
            Sizes::None => WHOLE,
            // What no codec made smaller, none makes smaller.
            Sizes::Scaled(..) if bytes >= WHOLE => bytes,
            Sizes::Scaled(_, factor) => (f64::from(bytes) * factor).clamp(1.0, 4096.0) as u16,
        }
    }
}

/// What came of a replay, counted over the requests that were replayed.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Requests that were made of the engine.
    pub requests: u64,
    /// Gets.
    pub gets: u64,
    /// Gets that found their page.
    pub hits: u64,
    /// Puts that were accepted, by [`Outcome`].
    pub outcomes: [u64; tmem_common::op::OUTCOMES],
    /// Puts that were refused.
    pub refused: u64,
    /// Pages that the engine dropped.
    pub evicted: u64,
    /// Pages held at the end, of all pages (scaled up).
    pub pages: u64,
    /// Memory used at the end in bytes, for all pages (scaled up).
    pub used_bytes: u64,
    /// How long the replay took.
    pub wall: Duration,
}

impl Replayed {
    /// Share of gets that hit; `None` without gets.
    pub fn hit_share(&self) -> Option<f64> {
        (self.gets > 0).then(|| self.hits as f64 / self.gets as f64)
    }

    /// CPU time in ns that these operations would have taken, for all pages, by the
    /// mean durations while it was recorded, and by what is known of the codec if it is another;
    /// `None` where one is not known.
    pub fn cpu_ns(&self, requests: &Requests, codec: &Sizes) -> Option<f64> {
        let means = requests.mean_ns();
        let mut sum = match codec {
            Sizes::Recorded => 0.0,
            Sizes::None => return None,
            Sizes::Scaled(name, _) => {
                let puts = self.outcomes[Outcome::Stored as usize];
                Known::named(name)?.more_ns(Known::of_trace(requests)?, puts, self.hits)
            }
        };
        for outcome in Outcome::ALL {
            let op = match outcome {
                Outcome::Hit | Outcome::Miss | Outcome::Corrupt => Op::Get,
                Outcome::Flushed => Op::Flush,
                // Part of the put that needed the room.
                Outcome::Evicted => continue,
                _ => Op::Put,
            };
            let count = self.outcomes[outcome as usize];
            if count > 0 {
                sum += count as f64 * means[op as usize][outcome as usize]?;
            }
        }
        Some(sum.max(0.0) * f64::from(requests.one_in))
    }
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The engine refused a pool.
    #[error("creating a pool for the replay: {0}")]
    Pool(#[from] PoolError),
    /// An engine cannot be set up.
    #[error("setting up an engine for the replay: {0}")]
    Engine(#[from] io::Error),
}

/// The codec that the engine is told to use; any of the host's would do.
const MODEL: Codec = Codec::Zstd;

/// Memory that one replay after the other takes its pages from: the system has to find and clear
/// it only once.
#[derive(Default)]
pub struct Arena {
    base: Option<NonNull<u8>>,
    bytes: usize,
}

// SAFETY: memory of its own, tied to no thread.
unsafe impl Send for Arena {}

impl Arena {
    /// The address of so many bytes, whatever they contain; page-aligned.
    fn at_least(&mut self, bytes: usize) -> io::Result<NonNull<u8>> {
        if let Some(base) = self.base.filter(|_| self.bytes >= bytes) {
            return Ok(base);
        }
        *self = Self::default();
        // SAFETY: a new mapping, which touches no other.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let base = NonNull::new(base.cast::<u8>()).filter(|_| base != libc::MAP_FAILED);
        let base = base.ok_or_else(io::Error::last_os_error)?;
        // Records lie all over it: with small pages most looks at one would have to find its page's
        // address first, which a kernel's own memory spares it.
        // SAFETY: advice on that mapping, which changes no contents. Where it is not taken, replays
        // are slower.
        let _ = unsafe { libc::madvise(base.as_ptr().cast(), bytes, libc::MADV_HUGEPAGE) };
        *self = Self {
            base: Some(base),
            bytes,
        };
        Ok(base)
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        if let Some(base) = self.base {
            // SAFETY: the mapping that at_least made; who used it had borrowed the arena.
            unsafe { libc::munmap(base.as_ptr().cast(), self.bytes) };
        }
    }
}

/// A thread as the engine's surroundings, with a codec that reports the size that a
/// page carries. It may be moved but not shared: [`Replay`] keeps it to itself.
struct ModelHost<'a> {
    arena: PhantomData<&'a mut Arena>,
    /// Where frame 0 would be.
    base: NonNull<u8>,
    /// Frames that were given back.
    free: Cell<Vec<Frame>>,
    /// Never handed out: this one and those up to `end`.
    fresh: Cell<Frame>,
    end: Frame,
    maintenance: Cell<bool>,
    evictions: Cell<u64>,
    scratch: Cell<Option<Box<Scratch>>>,
}

impl<'a> ModelHost<'a> {
    fn new(arena: &'a mut Arena, bytes: u64) -> io::Result<Self> {
        // Frame 0 names no page, so one more than asked for.
        let frames = (bytes / PAGE_SIZE as u64).clamp(1, u64::from(u32::MAX) - 2) + 1;
        Ok(Self {
            arena: PhantomData,
            base: arena.at_least(frames as usize * PAGE_SIZE)?,
            free: Cell::default(),
            fresh: Cell::new(1),
            end: frames as Frame,
            maintenance: Cell::new(false),
            evictions: Cell::new(0),
            scratch: Cell::new(None),
        })
    }
}

// SAFETY: it is asked by one thread at a time, since the engine of a replay is never shared.
unsafe impl Sync for ModelHost<'_> {}

// SAFETY: frames come from the free list or above it, are in [1, end) and lie in the arena, which is
// borrowed; with one thread each lock is held by one at the most, and everything is in order; a scratch
// is taken out while it is used.
unsafe impl Host for ModelHost<'_> {
    const KEEPS_DATA: bool = false;

    fn page_base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    fn page_alloc(&self, _: bool) -> Option<Frame> {
        let mut free = self.free.take();
        let used_before = free.pop();
        self.free.set(free);
        used_before.or_else(|| {
            let fresh = self.fresh.get();
            (fresh < self.end).then(|| self.fresh.replace(fresh + 1))
        })
    }

    unsafe fn page_free(&self, frame: Frame) {
        let mut free = self.free.take();
        free.push(frame);
        self.free.set(free);
    }

    fn lock(&self, _: usize) -> usize {
        0
    }

    unsafe fn unlock(&self, _: usize, _: usize) {}

    fn scratch_get(&self) -> NonNull<Scratch> {
        let kept = self.scratch.take();
        NonNull::from(Box::leak(kept.unwrap_or_else(Scratch::boxed)))
    }

    unsafe fn scratch_put(&self, scratch: NonNull<Scratch>) {
        // SAFETY: it is a box's, leaked in scratch_get, and nobody uses it any more.
        self.scratch
            .set(Some(unsafe { Box::from_raw(scratch.as_ptr()) }));
    }

    fn codec_available(&self, codec: Codec) -> bool {
        codec == MODEL
    }

    fn compress(&self, _: Codec, page: &Page, _: &mut [u8]) -> Option<usize> {
        Some(usize::from(u16::from_le_bytes([page[0], page[1]])))
    }

    fn decompress(&self, _: Codec, _: &[u8], _: &mut Page) -> bool {
        true
    }

    fn evicted(&self, _: u32, _: u64, _: u64, _: u32, _: u64) {
        self.evictions.set(self.evictions.get() + 1);
    }

    fn wake_maintenance(&self) {
        self.maintenance.set(true);
    }

    fn pin(&self) -> bool {
        true
    }

    fn unpin(&self) {}
}

/// An engine with the pools of a trace.
struct Replay<'a> {
    requests: &'a Requests,
    setting: &'a Setting,
    engine: Box<Engine<ModelHost<'a>>>,
    /// The engine's number of each of the trace's pools.
    pools: Vec<(u32, u32)>,
    /// The page that is put: all but its first bytes is the same for all.
    page: Box<Page>,
    /// Where a page is read to.
    read: Box<Page>,
    result: Replayed,
}

/// Requests between two looks at what is to be maintained and told.
const BATCH: usize = 256;
/// Requests whose records are fetched into the caches at the same time. Else a request would wait for
/// memory twice, one after the other: for its bucket and for its record.
const AHEAD: usize = 16;

/// Replays all requests, counting them in `done` as it goes.
///
/// # Errors
/// When the engine cannot be set up.
pub fn replay(
    requests: &Requests,
    setting: &Setting,
    arena: &mut Arena,
    done: &AtomicU64,
) -> Result<Replayed, ReplayError> {
    let mut replay = Replay::new(requests, setting, arena)?;
    for put in requests.untouched() {
        replay.put(&put);
    }
    for put in &requests.before {
        replay.put(put);
    }
    replay.result = Replayed::nothing();
    let evicted_before = replay.engine.host().evictions.get();
    let started = Instant::now();
    for batch in requests.list.chunks(BATCH) {
        for few in batch.chunks(AHEAD) {
            for request in few {
                let (object, index) = replay.place(request);
                let pool = replay.pool(request.pool);
                replay.engine.prefetch(pool, object, index);
            }
            for request in few {
                replay.step(request);
            }
        }
        if replay.engine.host().maintenance.replace(false) {
            while replay.engine.maintain() {}
        }
        done.fetch_add(batch.len() as u64, Relaxed);
    }
    let wall = started.elapsed();
    let scale = u64::from(requests.one_in);
    let evicted = replay.engine.host().evictions.get() - evicted_before;
    let mut result = replay.result;
    result.outcomes[Outcome::Evicted as usize] = evicted;
    Ok(Replayed {
        evicted,
        pages: replay.engine.stats().pages * scale,
        used_bytes: replay.engine.used_bytes() * scale,
        wall,
        ..result
    })
}

impl Replayed {
    fn nothing() -> Self {
        Self {
            requests: 0,
            gets: 0,
            hits: 0,
            outcomes: [0; tmem_common::op::OUTCOMES],
            refused: 0,
            evicted: 0,
            pages: 0,
            used_bytes: 0,
            wall: Duration::ZERO,
        }
    }
}

impl<'a> Replay<'a> {
    fn new(
        requests: &'a Requests,
        setting: &'a Setting,
        arena: &'a mut Arena,
    ) -> Result<Self, ReplayError> {
        let limit_bytes = setting.limit_bytes / u64::from(requests.one_in);
        // Address space only; the budget is what is used of it.
        let host = ModelHost::new(arena, limit_bytes.saturating_mul(2).max(64 << 20))?;
        let engine = boxed_engine(host, limit_bytes);
        let codec = match setting.codec {
            Sizes::None => Codec::None,
            Sizes::Recorded | Sizes::Scaled(..) => MODEL,
        };
        engine.set_default_codec(codec as u32)?;
        let recorded = requests.meta.tunables.get("keep_incompressible");
        let keep = setting
            .keep_incompressible
            .unwrap_or_else(|| recorded.is_none_or(|value| value == "1"));
        engine.set_keep_incompressible(keep);
        let mut replay = Self {
            requests,
            setting,
            engine,
            pools: Vec::new(),
            page: Box::new([0; PAGE_SIZE]),
            read: Box::new([0; PAGE_SIZE]),
            result: Replayed::nothing(),
        };
        // So that no page is taken for one that a word fills, unless it is to be.
        replay.page[PAGE_SIZE - 1] = 1;
        if requests.meta.cache {
            let number = replay.add_pool(0, 0)?;
            replay.choose(number, 0)?;
        }
        for pool in &requests.pools {
            let flags = if pool.is_persistent() {
                POOL_PERSISTENT
            } else {
                POOL_EXCLUSIVE_GET
            };
            let number = replay.add_pool(pool.id, flags)?;
            replay.settle(number, pool)?;
        }
        Ok(replay)
    }

    fn add_pool(&mut self, id: u32, flags: u32) -> Result<u32, PoolError> {
        let mut uuid = [0; 16];
        uuid[..4].copy_from_slice(&id.to_le_bytes());
        uuid[15] = 1;
        let number = self.engine.pool_create(&PoolSpec {
            uuid,
            flags,
            version: 1,
        })?;
        self.pools.push((id, number));
        Ok(number)
    }

    /// What an ephemeral pool takes and lets go.
    fn choose(&self, number: u32, id: u32) -> Result<(), PoolError> {
        let (setting, requests) = (self.setting, self.requests);
        let policy = setting.policy.unwrap_or_else(|| requests.policy_of(id));
        self.engine.set_pool_policy(number, policy as u32)?;
        let admission = setting
            .admission
            .unwrap_or_else(|| requests.admission_of(id));
        self.engine.set_pool_admission(number, admission)?;
        let ratio = requests.pool_tunable(id, "max_ratio");
        match ratio.and_then(|percent| percent.parse().ok()) {
            Some(percent) => self.engine.set_pool_max_ratio(number, percent),
            None => Ok(()),
        }
    }

    fn settle(&self, number: u32, pool: &PoolReading) -> Result<(), PoolError> {
        if !pool.is_persistent() {
            self.choose(number, pool.id)?;
        }
        if pool.weight > 0 {
            self.engine.set_pool_weight(number, pool.weight)?;
        }
        match pool.limit_bytes {
            Some(bytes) => self
                .engine
                .set_pool_limit(number, bytes / u64::from(self.requests.one_in)),
            None => Ok(()),
        }
    }

    /// The engine's number of a pool; one that no pool has when the trace has not
    /// told of it.
    fn pool(&self, id: u32) -> u32 {
        self.pools
            .iter()
            .find(|(known, _)| *known == id)
            .map_or(u32::MAX, |(_, number)| *number)
    }

    fn step(&mut self, request: &Request) {
        self.result.requests += 1;
        match request.op {
            Op::Put => self.put(request),
            Op::Get => {
                if !self.get(request) && self.requests.meta.cache {
                    self.put(request);
                }
            }
            Op::Flush if request.index == WHOLE_OBJECT => {
                let flushed = self
                    .engine
                    .flush_object(self.pool(request.pool), request.object);
                self.result.outcomes[Outcome::Flushed as usize] += flushed;
            }
            Op::Flush => {
                let report =
                    self.engine
                        .flush_page(self.pool(request.pool), request.object, request.index);
                if report.outcome == Outcome::Flushed {
                    self.result.outcomes[Outcome::Flushed as usize] += 1;
                }
            }
            Op::Evict => {}
        }
    }

    /// Where a page is in the engine. Ids of a cache's trace are any 64 bits: they
    /// are spread over objects and indexes as the engine takes them.
    fn place(&self, request: &Request) -> (u64, u64) {
        if !self.requests.meta.cache {
            return (request.object, request.index);
        }
        let hash = Random::new(request.object).draw();
        (hash >> 58, hash & ((1 << 36) - 1))
    }

    fn get(&mut self, request: &Request) -> bool {
        let (object, index) = self.place(request);
        let report = self
            .engine
            .get(self.pool(request.pool), object, index, &mut self.read);
        self.result.gets += 1;
        self.result.outcomes[report.outcome as usize] += 1;
        let hit = report.outcome == Outcome::Hit;
        self.result.hits += u64::from(hit);
        hit
    }

    fn put(&mut self, request: &Request) {
        let (object, index) = self.place(request);
        let size = match request.size {
            Size::Unknown => self.drawn(object, index),
            size => size,
        };
        let bytes = match size {
            Size::Same | Size::Unknown => None,
            Size::Bytes(bytes) => Some(self.setting.codec.of(bytes)),
        };
        self.page[PAGE_SIZE - 1] = u8::from(bytes.is_some());
        self.page[..2].copy_from_slice(&bytes.unwrap_or(0).to_le_bytes());
        let pool = self.pool(request.pool);
        let report = self.engine.put(pool, object, index, &self.page, 0);
        self.result.outcomes[report.outcome as usize] += 1;
        self.result.refused += u64::from(!report.outcome.is_stored());
    }

    /// The size of some page of the trace, always the same for one page; a whole
    /// page when the trace has none.
    fn drawn(&self, object: u64, index: u64) -> Size {
        let sizes = &self.requests.sizes;
        if sizes.is_empty() {
            return Size::Bytes(PAGE_SIZE as u16);
        }
        let mut random = Random::new(self.setting.seed ^ object.rotate_left(32) ^ index);
        sizes[random.below(sizes.len() as u64) as usize]
    }
}
