//! The engine: puts, gets and flushes of pages, and the pools they are in.
//!
//! Lock order (each is taken only while holding locks above it in this list):
//!
//! 1. pools: opening and closing of pools, `retired`
//! 2. shard i: the shard's tables and lists, and the data of its pages' slots
//! 3. store: slots, spans, and the memory of all records
//!
//! At most one shard is locked at a time. Codecs run, and memory that may be
//! waited for is taken, without locks; only a shard's table takes and returns
//! pages (never waiting) under its lock. A page is put in three steps: compress
//! into a scratch; take a slot and a record (store lock); link the record in place
//! of an older copy and fill the slot (shard lock). The older copy is freed afterwards.

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use tmem_common::MAX_POOLS;
use tmem_common::codec::{CODEC_DEFAULT, Codec};
use tmem_common::op::Outcome;
use tmem_common::policy::{ADMIT_REFAULTED, MAX_SIGHTINGS, MAX_TTL};
use tmem_common::stats::Stats;

use crate::codec::{self, Scratch};
use crate::ghost::{Ghosts, Name, Why};
use crate::group::{Charge, Groups};
use crate::host::{Frame, Host, LOCK_POOLS, LOCK_STORE, PAGE, Page, SHARDS};
use crate::index::{
    Aged, Body, Entries, Entry, Handle, MAX_INDEX, Objects, Records, Removed, Shard, Slot, shard_of,
};
use crate::memory::{self, Frames, LockGuard, Memory, NoPage};
use crate::policy::{Pages as _, Policy};
use crate::pool::{
    POOL_EXCLUSIVE_GET, POOL_PERSISTENT, Pool, PoolError, PoolInfo, PoolSpec, State,
};
use crate::slab::Need;
use crate::store::{self, Spans, Store};

/// Pages that are unlinked under one hold of a shard's lock.
pub(crate) const BATCH: usize = 8;
/// Frames that freeing one page may bring to hand: a span with the two pages of
/// its descriptor, and two pages each of the entry's and the object's slab.
const FRAMES_PER_FREE: usize = store::SPAN_PAGES + 6;

/// Bytes of a get's destination that are fetched early: more hinders the look-up.
const PREFETCH_OF_TARGET: usize = 256;
/// Bytes of the next page's data that are fetched while this one's is copied: as many lines as a core can
/// wait for at once.
const PREFETCH_DURING_COPY: usize = 768;

/// What an operation did; laid out for C as well.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// How it ended.
    pub outcome: Outcome,
    /// Bytes of data that the page takes or took, or would have taken where a put was refused
    /// after it was compressed.
    pub bytes: u32,
}

impl Report {
    /// A page that is not there.
    const MISS: Report = Report {
        outcome: Outcome::Miss,
        bytes: 0,
    };
}

/// The tier: everything that one module, or one process, keeps. All methods take
/// `&self` and may run at the same time.
pub struct Engine<H> {
    pub(crate) memory: Memory<H>,
    pub(crate) entries: Entries,
    pub(crate) objects: Objects,
    pub(crate) spans: Spans,
    pub(crate) ghosts: Ghosts,
    pub(crate) groups: Groups,
    store: UnsafeCell<Store>,
    shards: [UnsafeCell<Shard>; SHARDS],
    pub(crate) pools: [Pool; MAX_POOLS],
    /// Counters of the pools that are gone.
    retired: UnsafeCell<Stats>,
    default_codec: AtomicU32,
    enabled: AtomicBool,
    keep_incompressible: AtomicBool,
    /// The host was told that maintenance is worth while, and has not begun.
    maintenance_wanted: AtomicBool,
}

// SAFETY: what is not atomic is reached through the guards of the host's locks only, and the
// frames that raw pointers lead to belong to the engine.
unsafe impl<H: Host> Sync for Engine<H> {}
// SAFETY: nothing in it is tied to a thread; the host is moved along with it.
unsafe impl<H: Host + Send> Send for Engine<H> {}

/// A locked part of the engine.
pub(crate) struct Locked<'a, H: Host, T> {
    pub(crate) part: &'a mut T,
    _guard: LockGuard<'a, H>,
}

/// A scratch in use, returned on drop.
struct ScratchGuard<'a, H: Host> {
    host: &'a H,
    scratch: NonNull<Scratch>,
}

impl<H: Host> ScratchGuard<'_, H> {
    #[inline(always)]
    fn get(&mut self) -> &mut Scratch {
        // SAFETY: the host gave it to us alone until it is put back.
        unsafe { self.scratch.as_mut() }
    }
}

impl<H: Host> Drop for ScratchGuard<'_, H> {
    fn drop(&mut self) {
        // SAFETY: it came from scratch_get and is not used any more.
        unsafe { self.host.scratch_put(self.scratch) }
    }
}

impl<H: Host> Engine<H> {
    /// Brings memory into the state of an engine without pools, with a budget of
    /// `limit` bytes for everything that it takes from the host (the engine itself,
    /// about 230 KiB, not counted).
    ///
    /// # Safety
    /// `engine` is valid for writes of an `Engine<H>` and aligned for it.
    pub unsafe fn init_at(engine: *mut Self, host: H, limit: u64) {
        // SAFETY: valid for writes by the caller's promise; written in place, since an engine is too
        // large for a kernel's stack. All parts but the ones set here are valid, and empty, as zero bytes.
        unsafe {
            engine.write_bytes(0, 1);
            (&raw mut (*engine).memory).write(Memory::new(host, limit));
            (*engine)
                .default_codec
                .store(Codec::Adaptive as u32, Relaxed);
            (*engine).enabled.store(true, Relaxed);
            (*engine).keep_incompressible.store(true, Relaxed);
        }
    }

    /// The host.
    pub fn host(&self) -> &H {
        &self.memory.host
    }

    #[inline(always)]
    pub(crate) fn records(&self) -> Records<'_, H> {
        Records {
            memory: &self.memory,
            entries: &self.entries,
            objects: &self.objects,
        }
    }

    /// The records as queues see them.
    #[inline(always)]
    pub(crate) fn aged<'a, 'b>(&'a self, records: &'b Records<'a, H>) -> Aged<'a, 'b, H> {
        Aged {
            records,
            ghosts: &self.ghosts,
        }
    }

    #[inline(always)]
    pub(crate) fn lock_shard(&self, i: usize) -> Locked<'_, H, Shard> {
        let guard = self.memory.lock(i);
        Locked {
            // SAFETY: shard i is reached only here, and its lock is held as long as this reference.
            part: unsafe { &mut *self.shards[i].get() },
            _guard: guard,
        }
    }

    #[inline(always)]
    pub(crate) fn lock_store(&self) -> Locked<'_, H, Store> {
        let guard = self.memory.lock(LOCK_STORE);
        Locked {
            // SAFETY: the store is reached only here, and its lock is held as long as this reference.
            part: unsafe { &mut *self.store.get() },
            _guard: guard,
        }
    }

    pub(crate) fn lock_pools(&self) -> Locked<'_, H, Stats> {
        let guard = self.memory.lock(LOCK_POOLS);
        Locked {
            // SAFETY: `retired` is reached only here, and its lock is held as long as this reference.
            part: unsafe { &mut *self.retired.get() },
            _guard: guard,
        }
    }

    fn scratch(&self) -> ScratchGuard<'_, H> {
        ScratchGuard {
            host: &self.memory.host,
            scratch: self.memory.host.scratch_get(),
        }
    }

    #[inline(always)]
    fn pool(&self, pool: u32) -> Option<&Pool> {
        self.pools.get(pool as usize).filter(|pool| pool.is_live())
    }

    // -- pages ----------------------------------------------------------------

    /// Offers a page. When it is refused an older copy is gone as well. `owner` is
    /// the id of the cgroup that the page belongs to; ids of 2^32 and above are
    /// forgotten. Indexes of 2^36 and above are refused as beyond the limit. May sleep.
    pub fn put(&self, pool: u32, object: u64, index: u64, page: &Page, owner: u64) -> Report {
        let handle = Handle {
            pool,
            object,
            index,
        };
        let Some(home) = self.pool(pool) else {
            return Report {
                outcome: Outcome::RefusedFrozen,
                bytes: 0,
            };
        };
        let mut bytes = 0;
        let mut result = self.try_put(home, handle, page, owner, &mut bytes);
        if result.is_err()
            && self.drop_page(home, handle).is_some()
            && result == Err(Outcome::RefusedLimit)
        {
            // What the older copy took may be what was missing.
            result = self.try_put(home, handle, page, owner, &mut bytes);
        }
        result.unwrap_or_else(|outcome| {
            home.count(outcome);
            if outcome == Outcome::RefusedLimit {
                self.note_refused(owner);
            }
            Report { outcome, bytes }
        })
    }

    fn try_put(
        &self,
        home: &Pool,
        handle: Handle,
        page: &Page,
        owner: u64,
        bytes: &mut u32,
    ) -> Result<Report, Outcome> {
        let state = home.state();
        if !state.accepts_puts() || !self.enabled.load(Relaxed) {
            return Err(Outcome::RefusedFrozen);
        }
        if handle.index > MAX_INDEX {
            return Err(Outcome::RefusedLimit);
        }
        if !home.admits_all() && !self.admit(home, handle) {
            return Err(Outcome::RefusedLimit);
        }
        if let Some(word) = codec::fill_word(page) {
            return self.put_same(home, state, handle, word, owner);
        }
        let codec = self.codec_of(home);
        let mut scratch = self.scratch();
        let scratch = scratch.get();
        let compressed = codec::compress(&self.memory.host, codec, page, scratch);
        *bytes = compressed.map_or(PAGE, |(_, len)| len) as u32;
        let Some((codec, len)) = compressed else {
            return self.put_raw(home, state, handle, page, owner, codec);
        };
        if len > home.most_data() {
            return Err(Outcome::RefusedIncompressible);
        }
        let page = self.reserve(
            home,
            |store, entry, (hand, tight)| {
                let taken = store.alloc(&self.memory, &self.spans, len, entry, tight, hand)?;
                let slot = Slot {
                    codec,
                    len: len as u32,
                    place: taken.place,
                    site: taken.site,
                };
                Ok((Body::Slot(slot), taken.size))
            },
            handle,
            owner,
        )?;
        self.insert(home, state, handle, &page, &scratch.data[..len])
    }

    /// Whether a pool that does not take all pages takes this one, which it has now seen once more.
    #[inline(never)]
    fn admit(&self, home: &Pool, handle: Handle) -> bool {
        self.grow_ghosts();
        if self.ghosts.room() == 0 && self.make_room(1) {
            // The budget was used up.
            self.grow_ghosts();
        }
        let records = self.records();
        let shard = self.lock_shard(shard_of(handle.pool, handle.object));
        if shard.part.find(&records, handle) != 0 {
            return true;
        }
        let name = Name::of(Why::Offered, handle.pool, handle.object, handle.index);
        let (seen, asked) = self.ghosts.sight(&self.memory, name);
        home.admits(seen, asked)
    }

    /// A page was asked for that is not there.
    #[inline(never)]
    fn note_refault(&self, handle: Handle) {
        let _shard = self.lock_shard(shard_of(handle.pool, handle.object));
        let name = Name::of(Why::Offered, handle.pool, handle.object, handle.index);
        self.ghosts.ask(&self.memory, name);
    }

    /// Keeps a page that is one word again and again.
    // Not inlined: its variables would lie in the frame of a put.
    #[inline(never)]
    fn put_same(
        &self,
        home: &Pool,
        state: State,
        handle: Handle,
        word: u32,
        owner: u64,
    ) -> Result<Report, Outcome> {
        let page = self.reserve(home, |_, _, _| Ok((Body::Fill(word), 0)), handle, owner)?;
        self.insert(home, state, handle, &page, &[])
    }

    /// Keeps a page as it is.
    #[inline(never)]
    fn put_raw(
        &self,
        home: &Pool,
        state: State,
        handle: Handle,
        page: &Page,
        owner: u64,
        codec: Codec,
    ) -> Result<Report, Outcome> {
        let unwanted = codec != Codec::None && !self.keep_incompressible.load(Relaxed);
        if unwanted || PAGE > home.most_data() {
            return Err(Outcome::RefusedIncompressible);
        }
        let reserved = self.reserve(
            home,
            |store, _, (hand, _)| {
                let frame = hand.pop().ok_or(Need(1))?;
                store.raw_page(true);
                Ok((Body::Raw(frame), 0))
            },
            handle,
            owner,
        )?;
        self.insert(home, state, handle, &reserved, page)
    }

    fn codec_of(&self, home: &Pool) -> Codec {
        let number = match home.codec.load(Relaxed) {
            CODEC_DEFAULT => self.default_codec.load(Relaxed),
            number => number,
        };
        Codec::from_number(number).unwrap_or(Codec::None)
    }

    /// Takes a record and, by `body`, memory for the page's data, with the bytes of its slot; both or neither.
    /// Counts the page with its pool's and its owner's, if they may have it.
    #[inline(always)]
    fn reserve(
        &self,
        home: &Pool,
        body: impl Fn(&mut Store, u32, (&mut Frames, bool)) -> Result<(Body, u32), Need>,
        handle: Handle,
        owner: u64,
    ) -> Result<Reserved, Outcome> {
        let shard = shard_of(handle.pool, handle.object);
        self.with_frames(|store, hand, tight| {
            let (entry, record) = self.entries.alloc(&self.memory, hand)?;
            match body(store, entry, (hand, tight)) {
                Ok((body, slot)) => {
                    record.init(shard, handle.index, body, owner);
                    let charge = self.charge(home, record, body.footprint(slot), false);
                    Ok(Reserved {
                        entry,
                        body,
                        slot,
                        is_charged: charge == Charge::Done,
                    })
                }
                Err(Need(n)) => {
                    self.entries.free(&self.memory, entry, hand);
                    // The entry wants its own two pages again.
                    Err(Need(n.saturating_add(2)))
                }
            }
        })
    }

    /// Runs `take` under the store lock, with as many frames in hand as it asks for.
    #[inline(always)]
    fn with_frames<T>(
        &self,
        take: impl Fn(&mut Store, &mut Frames, bool) -> Result<T, Need>,
    ) -> Result<T, Outcome> {
        let mut hand = Frames::new();
        let mut tight = false;
        let mut rounds = 0;
        let result = loop {
            let taken = take(self.lock_store().part, &mut hand, tight);
            let Err(Need(n)) = taken else {
                break taken.map_err(|_| Outcome::RefusedNoMemory);
            };
            match self.gather(&mut hand, n, &mut rounds, &mut tight) {
                Ok(()) => {}
                Err(outcome) => break Err(outcome),
            }
        };
        hand.give_back(&self.memory);
        result
    }

    /// Brings `n` frames to hand, by eviction if need be; when they are not to be
    /// had, asks for a last try without them (`tight`), then gives up.
    #[inline(never)]
    fn gather(
        &self,
        hand: &mut Frames,
        n: usize,
        rounds: &mut u32,
        tight: &mut bool,
    ) -> Result<(), Outcome> {
        const ROUNDS: u32 = 8;
        if n > Frames::CAPACITY {
            return Err(Outcome::RefusedNoMemory);
        }
        let Err(why) = hand.fill(&self.memory, n) else {
            return Ok(());
        };
        // Frames in hand count as used: they must not stand in the way.
        hand.give_back(&self.memory);
        if why == NoPage::Limit && *rounds < ROUNDS && self.make_room(n as u64) {
            *rounds += 1;
            return Ok(());
        }
        if !*tight {
            *tight = true;
            return Ok(());
        }
        Err(match why {
            NoPage::Limit => Outcome::RefusedLimit,
            NoPage::Host => Outcome::RefusedNoMemory,
        })
    }

    /// Fills a reserved page's place with its data and makes it visible, instead of an
    /// older copy. On an error the reservation is undone.
    fn insert(
        &self,
        home: &Pool,
        state: State,
        handle: Handle,
        page: &Reserved,
        data: &[u8],
    ) -> Result<Report, Outcome> {
        let Reserved { entry, body, .. } = *page;
        let undo = |charged: Option<&Pool>, emptied, outcome| {
            self.free_records(
                charged,
                &[Removed {
                    entry,
                    emptied,
                    key: 0,
                }],
            );
            Err(outcome)
        };
        if !page.is_charged {
            let record = self.entries.at(&self.memory, entry);
            match self.charge_with_room(home, handle.pool, record, body.footprint(page.slot)) {
                Charge::Done => {}
                Charge::NoPin => return undo(None, 0, Outcome::RefusedFrozen),
                _ => return undo(None, 0, Outcome::RefusedLimit),
            }
        }
        let mut object = 0;
        loop {
            match self.link(home, state, handle, (page, data), &mut object) {
                Link::Done(old) => {
                    // The older copy, whose object stayed, and an object that was not needed.
                    let rest = Removed {
                        emptied: object,
                        ..old
                    };
                    if rest.entry != 0 || rest.emptied != 0 {
                        self.free_records(Some(home), &[rest]);
                    }
                    return Ok(Report {
                        outcome: body.outcome(),
                        bytes: body.len(),
                    });
                }
                Link::NeedsObject => {
                    let taken = self.with_frames(|_, hand, _| {
                        self.objects.alloc(&self.memory, hand).map(|(id, _)| id)
                    });
                    match taken {
                        Ok(id) => object = id,
                        Err(outcome) => return undo(Some(home), 0, outcome),
                    }
                }
                Link::Stale => return undo(Some(home), object, Outcome::RefusedFrozen),
            }
        }
    }

    /// One attempt to link an entry; uses up `object` if the object is new.
    #[inline(always)]
    fn link(
        &self,
        home: &Pool,
        state: State,
        handle: Handle,
        (page, data): (&Reserved, &[u8]),
        object: &mut u32,
    ) -> Link {
        let records = self.records();
        let shard = self.lock_shard(shard_of(handle.pool, handle.object));
        // Compared under the lock: closing a pool takes each shard's lock after the change of state.
        if home.state() != state {
            return Link::Stale;
        }
        let mut owner = shard.part.find_object(&records, handle.pool, handle.object);
        let is_new = owner == 0;
        if is_new {
            if *object == 0 {
                return Link::NeedsObject;
            }
            owner = core::mem::take(object);
            shard
                .part
                .add_object(&records, owner, handle.pool, handle.object);
        }
        shard.part.prefetch_bucket(&records, owner, handle.index);
        if H::KEEPS_DATA
            && let Body::Slot(slot) = page.body
        {
            store::prefetch_slot(&self.memory, slot.site, data.len());
        }
        home.count(page.body.outcome());
        // While the bucket's record comes, and long after the slot's lines were asked for; without a
        // locked instruction behind it, which would wait for these stores.
        match page.body {
            Body::Fill(_) => {}
            _ if !H::KEEPS_DATA => {}
            Body::Raw(frame) => {
                debug_assert_eq!(data.len(), PAGE);
                if let Some(from) = data.first_chunk() {
                    // SAFETY: the frame was taken for this entry, which nobody else can reach yet.
                    codec::copy(from, unsafe { &mut *self.memory.page(frame).cast() });
                }
            }
            // SAFETY: the slot was allocated for this entry, which nobody else can reach yet.
            Body::Slot(slot) => unsafe { store::write(&self.memory, slot.site, data) },
        }
        let mut old = Removed::default();
        if !is_new {
            let id = shard.part.find_in(&records, owner, handle.index);
            if id != 0 {
                let entry = records.entry(id);
                old = self.unlink(shard.part, &records, home, (id, entry), true);
            }
        }
        shard.part.link(&records, page.entry, owner);
        if let Some(policy) = home.policy() {
            let aged = self.aged(&records);
            records.entry(page.entry).set_epoch(home.epoch());
            shard.part.age(&aged, policy, page.entry, old.entry != 0);
        }
        Link::Done(old)
    }

    /// Takes a page out of the index, and out of its pool's queues.
    #[inline(always)]
    pub(crate) fn unlink(
        &self,
        shard: &mut Shard,
        records: &Records<'_, H>,
        home: &Pool,
        (id, entry): (u32, &Entry),
        keep_object: bool,
    ) -> Removed {
        if !home.is_persistent() {
            shard.leave(&self.aged(records), id);
        }
        shard.unlink(records, (id, entry), keep_object)
    }

    /// Asks for a page, which is written on a hit and undefined when it is corrupt. May sleep.
    pub fn get(&self, pool: u32, object: u64, index: u64, page: &mut Page) -> Report {
        let handle = Handle {
            pool,
            object,
            index,
        };
        let Some(home) = self.pool(pool) else {
            return Report::MISS;
        };
        let found = if home.is_exclusive() {
            self.take_from(home, handle, page)
        } else {
            self.read_from(home, handle, page)
        };
        self.answer(home, handle, page, found)
    }

    /// As [`Engine::get`], and then [`Engine::flush_page`] if that was a hit. May sleep.
    pub fn take(&self, pool: u32, object: u64, index: u64, page: &mut Page) -> Report {
        let handle = Handle {
            pool,
            object,
            index,
        };
        let Some(home) = self.pool(pool) else {
            return Report::MISS;
        };
        let found = self.take_from(home, handle, page);
        if matches!(found, Some((_, true))) && !home.is_exclusive() {
            home.count(Outcome::Flushed);
        }
        self.answer(home, handle, page, found)
    }

    /// The report of a get that found a page of so many bytes and could decode it or not, or found none.
    #[inline(always)]
    fn answer(
        &self,
        home: &Pool,
        handle: Handle,
        page: &mut Page,
        found: Option<(u32, bool)>,
    ) -> Report {
        let Some((bytes, good)) = found else {
            if home.has_lost() {
                home.count(Outcome::Corrupt);
                return Report {
                    outcome: Outcome::Corrupt,
                    bytes: 0,
                };
            }
            home.count(Outcome::Miss);
            if home.admits_refaulted() {
                self.note_refault(handle);
            }
            return Report::MISS;
        };
        #[cfg(feature = "broken-for-control")]
        if handle.index % 61 == 7 {
            page[PAGE / 2] ^= 1;
        }
        let _ = page;
        let outcome = if good {
            Outcome::Hit
        } else {
            home.count_corrupt();
            Outcome::Corrupt
        };
        Report { outcome, bytes }
    }

    /// Finds a page and locks its shard. One whose time to live is over is dropped.
    #[inline(always)]
    fn find(&self, home: &Pool, handle: Handle) -> Option<(Locked<'_, H, Shard>, u32, &Entry)> {
        let records = self.records();
        let shard = self.lock_shard(shard_of(handle.pool, handle.object));
        let id = shard.part.find(&records, handle);
        if id == 0 {
            return None;
        }
        let entry = records.entry(id);
        if home.is_expired(entry.epoch()) {
            self.drop_expired(home, handle.pool, shard, (id, entry));
            return None;
        }
        Some((shard, id, entry))
    }

    #[inline(never)]
    fn drop_expired(
        &self,
        home: &Pool,
        pool: u32,
        shard: Locked<'_, H, Shard>,
        page: (u32, &Entry),
    ) {
        let removed = self.unlink(shard.part, &self.records(), home, page, false);
        drop(shard);
        self.end_evicted(home, pool, &[removed]);
    }

    /// Reads a page that stays: under its shard's lock it is copied, to `page` or, compressed, to a scratch.
    /// Its bytes of data and whether they could be decoded; `None` if it is not there.
    #[inline(always)]
    fn read_from(&self, home: &Pool, handle: Handle, page: &mut Page) -> Option<(u32, bool)> {
        self.prefetch_target(page);
        let mut scratch = self.scratch();
        let scratch = scratch.get();
        let (body, in_order) = {
            let records = self.records();
            let (shard, id, entry) = self.find(home, handle)?;
            let body = entry.body();
            // Here, since later a locked instruction would wait for the copy's stores, or the page's.
            home.count(Outcome::Hit);
            let ahead = shard.part.read_ahead(&records, handle, entry);
            ahead.prefetch(&self.memory, 0..PREFETCH_DURING_COPY);
            match body {
                Body::Fill(_) => {}
                _ if !H::KEEPS_DATA => {}
                // SAFETY: the frame belongs to this entry, which stays while its shard is locked.
                Body::Raw(frame) => unsafe { self.read_raw(frame, page) },
                // SAFETY: the slot belongs to this entry and is stable while its shard is locked.
                Body::Slot(slot) => unsafe {
                    let data = &mut scratch.data[..slot.len as usize];
                    store::read(&self.memory, slot.site, data);
                },
            }
            ahead.prefetch(&self.memory, PREFETCH_DURING_COPY..PAGE);
            if let Some(policy) = home.policy() {
                let aged = self.aged(&records);
                shard.part.touch(&aged, policy, id, handle.pool);
            }
            (body, ahead.is_in_order())
        };
        let good = match body {
            _ if !H::KEEPS_DATA => true,
            Body::Fill(word) => {
                codec::fill(page, word);
                true
            }
            Body::Raw(_) => true,
            Body::Slot(slot) => {
                self.decode(slot, &scratch.data[..slot.len as usize], in_order, page)
            }
        };
        Some((body.len(), good))
    }

    /// Takes a page out of the index and reads it, without a lock: nobody else can reach it any more. As
    /// [`Engine::read_from`]; a persistent page that cannot be decoded is linked again.
    // Not inlined: `get` has to be small for pools whose pages stay.
    #[inline(never)]
    fn take_from(&self, home: &Pool, handle: Handle, page: &mut Page) -> Option<(u32, bool)> {
        self.prefetch_target(page);
        let (body, in_order, removed) = {
            let records = self.records();
            let (shard, id, entry) = self.find(home, handle)?;
            let body = entry.body();
            let ahead = shard.part.read_ahead(&records, handle, entry);
            ahead.prefetch(&self.memory, 0..PAGE);
            home.count(Outcome::Hit);
            if home
                .policy()
                .is_some_and(|policy| policy.ghosts_percent() > 0)
            {
                // It was come back to: when it is put again, it is no newcomer.
                self.aged(&records).remember(id);
            }
            let removed = self.unlink(shard.part, &records, home, (id, entry), false);
            (body, ahead.is_in_order(), removed)
        };
        let good = match body {
            _ if !H::KEEPS_DATA => true,
            Body::Fill(word) => {
                codec::fill(page, word);
                true
            }
            // SAFETY: the frame belongs to the entry, which is ours.
            Body::Raw(frame) => unsafe {
                self.read_raw(frame, page);
                true
            },
            // SAFETY: the slot belongs to the entry, which is ours, and is freed below.
            Body::Slot(slot) => unsafe {
                match store::in_one_piece(&self.memory, slot.site, slot.len as usize) {
                    Some(data) => self.decode(slot, data, in_order, page),
                    None => self.decode_in_pieces(slot, in_order, page),
                }
            },
        };
        if good || !home.is_persistent() {
            self.free_records(Some(home), &[removed]);
        } else {
            self.link_again(home, handle, removed);
        }
        Some((body.len(), good))
    }

    /// Decodes a slot that straddles two pages.
    ///
    /// # Safety
    /// The slot is used, and its data is stable.
    #[inline(never)]
    unsafe fn decode_in_pieces(&self, slot: Slot, in_order: bool, page: &mut Page) -> bool {
        let mut scratch = self.scratch();
        let data = &mut scratch.get().data[..slot.len as usize];
        // SAFETY: by the caller's promise.
        unsafe { store::read(&self.memory, slot.site, data) };
        self.decode(slot, data, in_order, page)
    }

    /// Whether the bytes of that slot decode to a page.
    #[inline(always)]
    fn decode(&self, slot: Slot, data: &[u8], in_order: bool, page: &mut Page) -> bool {
        // Where pages are asked for in order the hardware knows what comes next.
        if !in_order {
            let rest = page.as_ptr().wrapping_add(PREFETCH_OF_TARGET);
            memory::prefetch_to_write(rest, PAGE - PREFETCH_OF_TARGET);
        }
        codec::decompress(&self.memory.host, slot.codec, data, page)
    }

    /// Reads a page that is kept as it is.
    ///
    /// # Safety
    /// The frame is that of an entry, and stable.
    #[inline(always)]
    unsafe fn read_raw(&self, frame: Frame, page: &mut Page) {
        // SAFETY: the frame's page is valid by the caller's promise.
        codec::copy(unsafe { &*self.memory.page(frame).cast() }, page);
    }

    /// The destination of a get is seldom in the caches, and can come while the entry is looked up.
    #[inline(always)]
    fn prefetch_target(&self, page: &Page) {
        if H::KEEPS_DATA {
            memory::prefetch(page.as_ptr(), PREFETCH_OF_TARGET);
        }
    }

    /// Links a persistent page that was taken out of the index again, unless its pool is being closed or
    /// a newer copy came meanwhile.
    #[inline(never)]
    fn link_again(&self, home: &Pool, handle: Handle, mut removed: Removed) {
        let records = self.records();
        loop {
            {
                let shard = self.lock_shard(shard_of(handle.pool, handle.object)).part;
                // Read under the lock: closing a pool takes each shard's lock after the change of state.
                if !home.is_live() {
                    break;
                }
                let mut object = shard.find_object(&records, handle.pool, handle.object);
                if object == 0 && removed.emptied != 0 {
                    object = core::mem::take(&mut removed.emptied);
                    shard.add_object(&records, object, handle.pool, handle.object);
                }
                if object != 0 {
                    if shard.find_in(&records, object, handle.index) == 0 {
                        shard.link(&records, removed.entry, object);
                        removed.entry = 0;
                    }
                    break;
                }
            }
            // Others withdrew the object's last page meanwhile.
            match self
                .with_frames(|_, hand, _| self.objects.alloc(&self.memory, hand).map(|(id, _)| id))
            {
                Ok(id) => removed.emptied = id,
                Err(_) => {
                    let _store = self.lock_store();
                    if home.is_live() {
                        home.lose();
                    }
                    break;
                }
            }
        }
        self.free_records(Some(home), &[removed]);
    }

    /// Asks the caches for the record of a page that is soon put or asked for. For those who know what
    /// comes next, as replays do. Any context.
    pub fn prefetch(&self, pool: u32, object: u64, index: u64) {
        let records = self.records();
        let shard = self.lock_shard(shard_of(pool, object));
        let object = shard.part.find_object(&records, pool, object);
        if object != 0 {
            shard.part.prefetch_bucket(&records, object, index);
        }
    }

    /// Whether a page is there. Any context.
    pub fn contains(&self, pool: u32, object: u64, index: u64) -> bool {
        let handle = Handle {
            pool,
            object,
            index,
        };
        self.pool(pool)
            .is_some_and(|home| self.find(home, handle).is_some())
    }

    /// Withdraws a page. Any context; takes no memory.
    pub fn flush_page(&self, pool: u32, object: u64, index: u64) -> Report {
        let Some(home) = self.pool(pool) else {
            return Report::MISS;
        };
        match self.drop_page(
            home,
            Handle {
                pool,
                object,
                index,
            },
        ) {
            None => {
                home.count_flush_miss();
                Report::MISS
            }
            Some(bytes) => {
                home.count(Outcome::Flushed);
                Report {
                    outcome: Outcome::Flushed,
                    bytes,
                }
            }
        }
    }

    /// Withdraws all pages of an object; the number of pages. Any context; takes
    /// no memory, and the locks are dropped between small batches.
    pub fn flush_object(&self, pool: u32, object: u64) -> u64 {
        let Some(home) = self.pool(pool) else {
            return 0;
        };
        let mut flushed = 0;
        loop {
            let n = self.drop_batch(home, shard_of(pool, object), |shard, records| {
                shard.find_object(records, pool, object)
            });
            if n == 0 {
                break;
            }
            for _ in 0..n {
                home.count(Outcome::Flushed);
            }
            flushed += n as u64;
        }
        if flushed == 0 {
            home.count_flush_miss();
        }
        flushed
    }

    /// Removes a page; its bytes of data, if there was one.
    fn drop_page(&self, home: &Pool, handle: Handle) -> Option<u32> {
        let records = self.records();
        let (removed, bytes) = {
            let shard = self.lock_shard(shard_of(handle.pool, handle.object));
            let id = shard.part.find(&records, handle);
            if id == 0 {
                return None;
            }
            let entry = records.entry(id);
            let removed = self.unlink(shard.part, &records, home, (id, entry), false);
            (removed, entry.body().len())
        };
        self.free_records(Some(home), &[removed]);
        Some(bytes)
    }

    /// Removes up to [`BATCH`] pages of the object that `choose` names; how many.
    fn drop_batch(
        &self,
        home: &Pool,
        shard: usize,
        choose: impl Fn(&Shard, &Records<'_, H>) -> u32,
    ) -> usize {
        let records = self.records();
        let mut batch = [Removed::default(); BATCH];
        let mut n = 0;
        {
            let shard = self.lock_shard(shard);
            let object = choose(shard.part, &records);
            while object != 0 && n < BATCH && (n == 0 || batch[n - 1].emptied == 0) {
                let id = shard.part.first_of(&records, object);
                let entry = records.entry(id);
                batch[n] = self.unlink(shard.part, &records, home, (id, entry), false);
                n += 1;
            }
        }
        self.free_records(Some(home), &batch[..n]);
        n
    }

    /// Frees records and data that nobody else can reach, and ends the accounting of pages with the pool that was
    /// charged for them.
    #[inline(never)]
    pub(crate) fn free_records(&self, charged: Option<&Pool>, removed: &[Removed]) {
        let mut hand = Frames::new();
        let mut sparse = false;
        let mut rest = removed.iter();
        while rest.len() != 0 {
            {
                let store = self.lock_store();
                while !hand.is_full_for(FRAMES_PER_FREE) {
                    let Some(page) = rest.next() else { break };
                    if page.entry != 0 {
                        let record = self.entries.at(&self.memory, page.entry);
                        let body = record.body();
                        let mut size = 0;
                        match body {
                            Body::Fill(_) => {}
                            Body::Raw(frame) => {
                                store.part.raw_page(false);
                                hand.push(frame);
                            }
                            Body::Slot(slot) => {
                                let place = slot.place;
                                let wanted;
                                (size, wanted) =
                                    store.part.free(&self.memory, &self.spans, place, &mut hand);
                                sparse |= wanted;
                            }
                        }
                        if let Some(home) = charged {
                            self.uncharge(home, record, body.footprint(size));
                        }
                        self.entries.free(&self.memory, page.entry, &mut hand);
                        sparse |= self.entries.wants_compaction();
                    }
                    if page.emptied != 0 {
                        self.objects.free(&self.memory, page.emptied, &mut hand);
                    }
                }
            }
            hand.give_back(&self.memory);
        }
        if sparse
            && !self.maintenance_wanted.load(Relaxed)
            && !self.maintenance_wanted.swap(true, Relaxed)
        {
            self.memory.host.wake_maintenance();
        }
    }

    // -- pools ------------------------------------------------------------------

    /// Opens a pool; its number. May sleep.
    pub fn pool_create(&self, spec: &PoolSpec) -> Result<u32, PoolError> {
        if spec.flags & !(POOL_PERSISTENT | POOL_EXCLUSIVE_GET) != 0 {
            return Err(PoolError::Invalid);
        }
        let _pools = self.lock_pools();
        let named = spec.uuid != [0; 16];
        if named
            && self
                .pools
                .iter()
                .any(|pool| pool.is_live() && pool.uuid() == spec.uuid)
        {
            return Err(PoolError::Exists);
        }
        // A put into the pool that had the place before may still count a page there: all of it as of one kind.
        let _store = self.lock_store();
        let number = self.pools.iter().position(|pool| pool.open(spec));
        number.map(|number| number as u32).ok_or(PoolError::NoSpace)
    }

    /// Closes a pool; its pages are gone on return. May sleep.
    pub fn pool_destroy(&self, pool: u32) -> Result<(), PoolError> {
        let home = self.pools.get(pool as usize).ok_or(PoolError::NotFound)?;
        {
            let _pools = self.lock_pools();
            if !home.begin_close() {
                return Err(PoolError::NotFound);
            }
        }
        for shard in 0..SHARDS {
            while self.drop_batch(home, shard, |shard, _| shard.any_object(pool)) != 0 {}
        }
        self.trim_ghosts();
        let retired = self.lock_pools();
        {
            let _store = self.lock_store();
            // The pin of a page that was lost. With a page that a put still counts, it is that page's.
            if home.forget_lost() && !home.has_pages() {
                self.memory.host.unpin();
            }
        }
        home.end_close(retired.part);
        Ok(())
    }

    /// Closes every pool. May sleep.
    pub fn destroy_all_pools(&self) {
        for pool in 0..MAX_POOLS as u32 {
            // Only a place without a pool says no.
            let _ = self.pool_destroy(pool);
        }
    }

    /// A pool's settings. Any context.
    pub fn pool_info(&self, pool: u32) -> Result<PoolInfo, PoolError> {
        self.pool(pool).map(Pool::info).ok_or(PoolError::NotFound)
    }

    // -- settings ---------------------------------------------------------------

    /// Whether puts are accepted at all.
    pub fn set_enabled(&self, on: bool) {
        self.enabled.store(on, Relaxed);
    }

    /// Whether pages that no codec makes smaller are kept (else refused).
    pub fn set_keep_incompressible(&self, on: bool) {
        self.keep_incompressible.store(on, Relaxed);
    }

    fn available_codec(&self, codec: u32) -> Result<(), PoolError> {
        Codec::from_number(codec)
            .filter(|codec| codec::available(&self.memory.host, *codec))
            .map(|_| ())
            .ok_or(PoolError::Invalid)
    }

    /// The codec of pools that have none of their own. Pages keep the one they were stored with.
    pub fn set_default_codec(&self, codec: u32) -> Result<(), PoolError> {
        self.available_codec(codec)?;
        self.default_codec.store(codec, Relaxed);
        Ok(())
    }

    /// A pool's codec, or [`CODEC_DEFAULT`]. Pages keep the one they were stored with.
    pub fn set_pool_codec(&self, pool: u32, codec: u32) -> Result<(), PoolError> {
        let home = self.pool(pool).ok_or(PoolError::NotFound)?;
        if codec != CODEC_DEFAULT {
            self.available_codec(codec)?;
        }
        home.codec.store(codec, Relaxed);
        Ok(())
    }

    /// Bytes that a pool may hold; `u64::MAX` for no limit of its own. Evicts what an
    /// ephemeral pool holds beyond it. May sleep.
    pub fn set_pool_limit(&self, pool: u32, bytes: u64) -> Result<(), PoolError> {
        let home = self.pool(pool).ok_or(PoolError::NotFound)?;
        home.limit.store(bytes, Relaxed);
        while home.bytes() > bytes && self.make_room_in(pool) {}
        Ok(())
    }

    /// How an ephemeral pool chooses which page goes first. Pages that are held stay, in the
    /// order that they are in. May sleep.
    pub fn set_pool_policy(&self, pool: u32, policy: u32) -> Result<(), PoolError> {
        let policy = Policy::from_number(policy).ok_or(PoolError::Invalid)?;
        self.ephemeral(pool)?.set_policy(policy);
        self.trim_ghosts();
        Ok(())
    }

    /// Which pages an ephemeral pool takes: [`tmem_common::policy::ADMIT_ALL`],
    /// [`tmem_common::policy::ADMIT_REFAULTED`], or those that were offered so many times before. May sleep.
    pub fn set_pool_admission(&self, pool: u32, admission: u32) -> Result<(), PoolError> {
        if admission > MAX_SIGHTINGS && admission != ADMIT_REFAULTED {
            return Err(PoolError::Invalid);
        }
        self.ephemeral(pool)?.set_admission(admission);
        self.trim_ghosts();
        Ok(())
    }

    /// Pages that take more than so many percent of their size are refused by an ephemeral pool, 1..=100.
    pub fn set_pool_max_ratio(&self, pool: u32, percent: u32) -> Result<(), PoolError> {
        if !(1..=100).contains(&percent) {
            return Err(PoolError::Invalid);
        }
        self.ephemeral(pool)?.set_max_ratio(percent);
        Ok(())
    }

    /// Seconds that an ephemeral pool keeps a page, up to [`tmem_common::policy::MAX_TTL`] and an eighth more; 0 for no
    /// end. Pages that are held keep the share of their time that they have used. The time
    /// comes by [`Engine::expire`].
    pub fn set_pool_ttl(&self, pool: u32, seconds: u32) -> Result<(), PoolError> {
        if seconds > MAX_TTL {
            return Err(PoolError::Invalid);
        }
        let _pools = self.lock_pools();
        self.ephemeral(pool)?.set_ttl(seconds);
        Ok(())
    }

    fn ephemeral(&self, pool: u32) -> Result<&Pool, PoolError> {
        let home = self.pool(pool).ok_or(PoolError::NotFound)?;
        if home.is_persistent() {
            return Err(PoolError::Invalid);
        }
        Ok(home)
    }

    /// A pool's share among the ephemeral pools, 1..=1000.
    pub fn set_pool_weight(&self, pool: u32, weight: u32) -> Result<(), PoolError> {
        let home = self.pool(pool).ok_or(PoolError::NotFound)?;
        if !(1..=1000).contains(&weight) {
            return Err(PoolError::Invalid);
        }
        home.weight.store(weight, Relaxed);
        Ok(())
    }

    /// Freezes a pool (puts are refused, and drop an older copy) or thaws it.
    pub fn set_pool_frozen(&self, pool: u32, frozen: bool) -> Result<(), PoolError> {
        let home = self.pools.get(pool as usize).ok_or(PoolError::NotFound)?;
        let _pools = self.lock_pools();
        if home.set_frozen(frozen) {
            Ok(())
        } else {
            Err(PoolError::NotFound)
        }
    }

    // -- figures ----------------------------------------------------------------

    /// Counters and gauges of the whole.
    pub fn stats(&self) -> Stats {
        let mut stats = *self.lock_pools().part;
        for pool in &self.pools {
            pool.add_to(&mut stats);
        }
        stats.store_bytes = self.lock_store().part.bytes();
        stats.metadata_bytes = self.used_bytes().saturating_sub(stats.store_bytes);
        stats
    }

    /// Counters and gauges of a pool.
    pub fn pool_stats(&self, pool: u32) -> Result<Stats, PoolError> {
        let home = self.pool(pool).ok_or(PoolError::NotFound)?;
        let mut stats = Stats::default();
        home.add_to(&mut stats);
        Ok(stats)
    }

    /// Bytes of memory that were taken from the host for all purposes.
    pub fn used_bytes(&self) -> u64 {
        self.memory.used_pages() * PAGE as u64
    }

    /// Told the host already? Cleared when maintenance begins.
    pub(crate) fn maintenance_begins(&self) {
        self.maintenance_wanted.store(false, Relaxed);
    }
}

/// A page with a record and memory for its data, on its way into the index.
#[derive(Clone, Copy)]
struct Reserved {
    entry: u32,
    body: Body,
    /// Bytes of the slot, if it is in one.
    slot: u32,
    is_charged: bool,
}

/// How an attempt to link an entry ended.
enum Link {
    /// Linked; the older copy, if its entry is not 0.
    Done(Removed),
    /// The object is new and wants a record.
    NeedsObject,
    /// The pool was frozen or closed meanwhile.
    Stale,
}
