//! The index: which pages there are, by pool, object and index.
//!
//! It is cut into shards by a hash of (pool, object), so that all pages of an
//! object are in one shard; what a shard's tables and lists lead to is guarded by
//! that shard's lock. The memory of the records is managed under the store lock:
//! a record is allocated before it is linked here and freed after it is unlinked,
//! and in between it belongs to the one who did so.

use core::ops::Range;

use crate::ghost::{Ghosts, Name, Why};
use crate::host::{Frame, Host, SHARDS};
use crate::memory::{Memory, prefetch};
use crate::policy::{Pages, Policy, Queues, STATES};
use crate::pool::{EPOCH_BITS, Footprint};
use crate::slab::{ID_BITS, Record, Slab, Word};
use crate::store::{self, MAX_DATA, Place, STEP_BITS, Site};
use crate::table::{Chain, Table};
use tmem_common::MAX_POOLS;
use tmem_common::codec::Codec;
use tmem_common::op::Outcome;

/// Bits of a page's index within its object.
const INDEX_BITS: u32 = 36;
/// The largest index a page can have: objects end at 256 TiB.
pub(crate) const MAX_INDEX: u64 = (1 << INDEX_BITS) - 1;

/// A page's name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Handle {
    pub(crate) pool: u32,
    pub(crate) object: u64,
    pub(crate) index: u64,
}

/// Where a page's data is.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    /// Nowhere: this word fills the page.
    Fill(u32),
    /// Uncompressed in this frame.
    Raw(Frame),
    /// Compressed, in a slot.
    Slot(Slot),
}

/// Compressed data in a slot.
#[derive(Clone, Copy)]
pub(crate) struct Slot {
    pub(crate) codec: Codec,
    /// Bytes.
    pub(crate) len: u32,
    pub(crate) place: Place,
    pub(crate) site: Site,
}

/// One page: 48 bytes. What a get reads comes first, so that it is seldom in two lines of the caches.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Entry {
    /// Next in the bucket.
    hash_next: Word,
    /// Id of the object, and above it the high bits of the index.
    object: Word,
    /// Low bits of the index.
    index: Word,
    /// Bits: 0-11 length of the data, 12-15 kind, 16-21 shard, 22 linked, 23-29 step of the site, 30 counted
    /// with its owner's.
    /// The shard is set when the record is allocated, so that compaction, which comes from the slot,
    /// knows which lock to take.
    meta: Word,
    /// Fill word, or the frame that the data begins in.
    first: Word,
    /// The frame that the data ends in.
    second: Word,
    place: Word,
    /// Neighbours in the pool's queues of this shard (ephemeral pools only); above `newer` the
    /// state that the policy gave the page, above `older` the epoch of the pool in which it was put.
    newer: Word,
    older: Word,
    /// Neighbours in the object's list.
    next: Word,
    prev: Word,
    /// Low 32 bits of the owner's id; 0 if it is larger.
    owner: Word,
}

const LEN_BITS: u32 = 12;
const KIND_SHIFT: u32 = 12;
const KIND_FILL: u32 = 15;
const SHARD_SHIFT: u32 = 16;
const LINKED: u32 = 1 << 22;
const STEP_SHIFT: u32 = 23;
const COUNTED: u32 = 1 << 30;
/// In `object`.
const INDEX_SHIFT: u32 = 28;
/// In `newer`.
const STATE_SHIFT: u32 = 28;
const LINK: u32 = (1 << STATE_SHIFT) - 1;
/// In `older`.
const EPOCH_SHIFT: u32 = 27;
const OLDER_LINK: u32 = (1 << EPOCH_SHIFT) - 1;

const _: () = assert!(MAX_DATA < 1 << LEN_BITS);
const _: () = assert!(STEP_SHIFT + STEP_BITS <= 30);
const _: () = assert!(ID_BITS <= INDEX_SHIFT && INDEX_SHIFT + INDEX_BITS - 32 <= 32);
const _: () = assert!(ID_BITS <= EPOCH_SHIFT && EPOCH_SHIFT + EPOCH_BITS == 32);
const _: () =
    assert!(ID_BITS <= STATE_SHIFT && (STATES - 1) << STATE_SHIFT >> STATE_SHIFT == STATES - 1);

// SAFETY: made of words only.
unsafe impl Record for Entry {
    fn free_link(&self) -> &Word {
        &self.hash_next
    }
}

impl Entry {
    /// Fills in a fresh record.
    pub(crate) fn init(&self, shard: usize, index: u64, body: Body, owner: u64) {
        let (kind, len, step) = match body {
            Body::Fill(word) => {
                self.first.set(word);
                (KIND_FILL, 0, 0)
            }
            Body::Raw(frame) => {
                self.first.set(frame);
                (Codec::None as u32, 0, 0)
            }
            Body::Slot(slot) => {
                self.first.set(slot.site.first);
                self.second.set(slot.site.second);
                self.place.set(slot.place);
                (slot.codec as u32, slot.len, slot.site.step)
            }
        };
        self.meta
            .set(len | kind << KIND_SHIFT | (shard as u32) << SHARD_SHIFT | step << STEP_SHIFT);
        self.object.set(((index >> 32) as u32) << INDEX_SHIFT);
        self.index.set(index as u32);
        self.owner.set(u32::try_from(owner).unwrap_or(0));
    }

    pub(crate) fn index(&self) -> u64 {
        u64::from(self.object.get() >> INDEX_SHIFT) << 32 | u64::from(self.index.get())
    }

    pub(crate) fn shard(&self) -> usize {
        (self.meta.get() >> SHARD_SHIFT) as usize % SHARDS
    }

    pub(crate) fn owner(&self) -> u64 {
        self.owner.get().into()
    }

    /// Caller must have the record to itself: it is counted with its owner's.
    pub(crate) fn set_counted(&self) {
        self.meta.set(self.meta.get() | COUNTED);
    }

    pub(crate) fn is_counted(&self) -> bool {
        self.meta.get() & COUNTED != 0
    }

    /// The low bits of the pool's epoch in which the page was put.
    #[inline(always)]
    pub(crate) fn epoch(&self) -> u32 {
        self.older.get() >> EPOCH_SHIFT
    }

    /// Caller must have the record to itself.
    #[inline(always)]
    pub(crate) fn set_epoch(&self, epoch: u32) {
        self.older.set(epoch << EPOCH_SHIFT);
    }

    /// Id of the object; of a linked record only.
    pub(crate) fn object(&self) -> u32 {
        self.object.get() & ((1 << INDEX_SHIFT) - 1)
    }

    /// Whether the record is linked as that page.
    #[inline(always)]
    fn is(&self, object: u32, index: u64) -> bool {
        self.index.get() == index as u32
            && self.object.get() == object | ((index >> 32) as u32) << INDEX_SHIFT
    }

    /// Whether the record is in the index. Meaningful under the lock of its shard only.
    pub(crate) fn is_linked(&self) -> bool {
        self.meta.get() & LINKED != 0
    }

    #[inline(always)]
    pub(crate) fn body(&self) -> Body {
        let meta = self.meta.get();
        let first = self.first.get();
        match meta >> KIND_SHIFT & 15 {
            KIND_FILL => Body::Fill(first),
            kind => match Codec::from_number(kind) {
                None | Some(Codec::None) => Body::Raw(first),
                Some(codec) => Body::Slot(Slot {
                    codec,
                    len: meta & ((1 << LEN_BITS) - 1),
                    place: self.place.get(),
                    site: Site {
                        first,
                        second: self.second.get(),
                        step: meta >> STEP_SHIFT & ((1 << STEP_BITS) - 1),
                    },
                }),
            },
        }
    }

    fn words(&self) -> [&Word; size_of::<Entry>() / size_of::<Word>()] {
        [
            &self.hash_next,
            &self.object,
            &self.index,
            &self.meta,
            &self.first,
            &self.second,
            &self.place,
            &self.newer,
            &self.older,
            &self.next,
            &self.prev,
            &self.owner,
        ]
    }

    /// Caller must hold the shard's lock: the data is now in that slot.
    pub(crate) fn set_place(&self, place: Place, site: Site) {
        self.place.set(place);
        self.first.set(site.first);
        self.second.set(site.second);
        let others = self.meta.get() & !(((1 << STEP_BITS) - 1) << STEP_SHIFT);
        self.meta.set(others | site.step << STEP_SHIFT);
    }
}

impl Body {
    /// `slot`: bytes of the slot, if it is in one.
    #[inline(always)]
    pub(crate) fn footprint(self, slot: u32) -> Footprint {
        const PAGE: u32 = crate::host::PAGE as u32;
        let (same, raw, data, slot) = match self {
            Body::Fill(_) => (1, 0, 0, 0),
            Body::Raw(_) => (0, 1, PAGE, PAGE),
            Body::Slot(it) => (0, 0, it.len, slot),
        };
        Footprint {
            same,
            raw,
            data,
            slot,
        }
    }

    /// How a put ends that keeps a page so.
    pub(crate) fn outcome(self) -> Outcome {
        match self {
            Body::Fill(_) => Outcome::StoredSame,
            Body::Raw(_) => Outcome::StoredRaw,
            Body::Slot(_) => Outcome::Stored,
        }
    }

    /// Bytes of data.
    pub(crate) fn len(self) -> u32 {
        match self {
            Body::Fill(_) => 0,
            Body::Raw(_) => crate::host::PAGE as u32,
            Body::Slot(slot) => slot.len,
        }
    }
}

/// One object that has pages: 32 bytes.
#[repr(C)]
#[derive(Default)]
pub(crate) struct Object {
    hash_next: Word,
    key_low: Word,
    key_high: Word,
    pool: Word,
    /// First of its pages.
    first: Word,
    /// Neighbours among the pool's objects in this shard.
    next: Word,
    prev: Word,
    reserved: Word,
}

// SAFETY: made of words only.
unsafe impl Record for Object {
    fn free_link(&self) -> &Word {
        &self.hash_next
    }
}

impl Object {
    pub(crate) fn key(&self) -> u64 {
        u64::from(self.key_high.get()) << 32 | u64::from(self.key_low.get())
    }

    pub(crate) fn pool(&self) -> u32 {
        self.pool.get()
    }
}

/// Entries: at most 2^20 pages of 84.
pub(crate) type Entries = Slab<Entry, 1024>;
/// Objects: at most 2^20 pages of 127.
pub(crate) type Objects = Slab<Object, 1024>;

#[inline(always)]
fn mix(a: u64, b: u64) -> u64 {
    let h = (a ^ b.rotate_left(29)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (h ^ h >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}

#[inline(always)]
fn object_hash(pool: u32, object: u64) -> u64 {
    mix(object, u64::from(pool) << 8 | 1)
}

/// The pages of a row of 64 neighbouring indexes have 64 neighbouring buckets, which share
/// lines of the caches: pages come and go in runs. Rows are scattered, and each begins at
/// another place in its buckets, so that strides do no harm.
#[inline(always)]
fn entry_hash(object: u32, index: u64) -> u32 {
    const ROW_BITS: u32 = 6;
    let row = mix(index >> ROW_BITS, object.into());
    let place = (index ^ row >> 26) & ((1 << ROW_BITS) - 1);
    (row >> 32) as u32 >> ROW_BITS << ROW_BITS | place as u32
}

/// The shard of an object.
#[inline(always)]
pub(crate) fn shard_of(pool: u32, object: u64) -> usize {
    (object_hash(pool, object) >> 58) as usize
}

/// The records, for those who hold a shard's lock.
pub(crate) struct Records<'a, H> {
    pub(crate) memory: &'a Memory<H>,
    pub(crate) entries: &'a Entries,
    pub(crate) objects: &'a Objects,
}

impl<'a, H: Host> Records<'a, H> {
    #[inline(always)]
    pub(crate) fn entry(&self, id: u32) -> &'a Entry {
        self.entries.at(self.memory, id)
    }

    #[inline(always)]
    pub(crate) fn object(&self, id: u32) -> &'a Object {
        self.objects.at(self.memory, id)
    }
}

struct EntryChain<'a, 'b, H>(&'b Records<'a, H>);

impl<H: Host> Chain for EntryChain<'_, '_, H> {
    #[inline(always)]
    fn link(&self, id: u32) -> &Word {
        &self.0.entry(id).hash_next
    }

    #[inline(always)]
    fn hashed(&self, id: u32) -> (&Word, u32) {
        let entry = self.0.entry(id);
        let hash = entry_hash(entry.object(), entry.index());
        (&entry.hash_next, hash)
    }

    fn prefetch(&self, id: u32) {
        let entry = core::ptr::from_ref(self.0.entry(id));
        prefetch(entry.cast(), size_of::<Entry>());
    }
}

struct ObjectChain<'a, 'b, H>(&'b Records<'a, H>);

impl<H: Host> Chain for ObjectChain<'_, '_, H> {
    #[inline(always)]
    fn link(&self, id: u32) -> &Word {
        &self.0.object(id).hash_next
    }

    fn hashed(&self, id: u32) -> (&Word, u32) {
        let object = self.0.object(id);
        let hash = object_hash(object.pool.get(), object.key()) as u32;
        (&object.hash_next, hash)
    }

    fn prefetch(&self, id: u32) {
        let object = core::ptr::from_ref(self.0.object(id));
        prefetch(object.cast(), size_of::<Object>());
    }
}

/// The records as the queues of a policy see them, for those who hold a shard's lock.
pub(crate) struct Aged<'a, 'b, H> {
    pub(crate) records: &'b Records<'a, H>,
    pub(crate) ghosts: &'a Ghosts,
}

impl<H: Host> Aged<'_, '_, H> {
    /// The name of a linked page.
    pub(crate) fn name(&self, id: u32, why: Why) -> Name {
        let entry = self.records.entry(id);
        let object = self.records.object(entry.object());
        Name::of(why, object.pool(), object.key(), entry.index())
    }
}

impl<H: Host> Pages for Aged<'_, '_, H> {
    fn newer(&self, id: u32) -> u32 {
        self.records.entry(id).newer.get() & LINK
    }

    fn older(&self, id: u32) -> u32 {
        self.records.entry(id).older.get() & OLDER_LINK
    }

    fn set_newer(&self, id: u32, to: u32) {
        let word = &self.records.entry(id).newer;
        word.set(word.get() & !LINK | to);
    }

    fn set_older(&self, id: u32, to: u32) {
        let word = &self.records.entry(id).older;
        word.set(word.get() & !OLDER_LINK | to);
    }

    fn state(&self, id: u32) -> u32 {
        self.records.entry(id).newer.get() >> STATE_SHIFT
    }

    fn set_state(&self, id: u32, state: u32) {
        let word = &self.records.entry(id).newer;
        word.set(word.get() & LINK | state << STATE_SHIFT);
    }

    fn remember(&self, id: u32) {
        let name = self.name(id, Why::Went);
        self.ghosts.remember(self.records.memory, name);
    }
}

/// What left the index and is to be freed.
#[derive(Clone, Copy, Default)]
pub(crate) struct Removed {
    pub(crate) entry: u32,
    /// The object, if this was its last page; else 0.
    pub(crate) emptied: u32,
    /// The object's key.
    pub(crate) key: u64,
}

/// One shard. Valid, and empty, when all bytes are zero.
pub(crate) struct Shard {
    entries: Table<128>,
    objects: Table<32>,
    /// The pages of ephemeral pools, by what goes first.
    queues: [Queues; MAX_POOLS],
    /// First object of each pool.
    pool_objects: [u32; MAX_POOLS],
    expected: Expected,
}

/// What the next get asks for if pages are asked for one after the other.
struct Expected {
    handle: Handle,
    /// Its entry, if that was found already, else 0.
    entry: u32,
    /// The first record of the bucket of the page after it, which was asked for, or 0.
    after: u32,
}

/// What a get knows of the next one.
#[derive(Clone, Copy)]
pub(crate) enum Ahead {
    /// Pages are not asked for one after the other.
    Unknown,
    /// They are; the next one is not there, or in no slot.
    Next,
    /// They are, and the next one's data is in this slot.
    Slot(Slot),
}

impl Ahead {
    pub(crate) fn is_in_order(self) -> bool {
        !matches!(self, Ahead::Unknown)
    }

    /// Caller must hold the shard's lock. Asks the caches for these bytes of the next page's data.
    #[inline(always)]
    pub(crate) fn prefetch<H: Host>(self, memory: &Memory<H>, bytes: Range<usize>) {
        if let Ahead::Slot(slot) = self {
            let end = bytes.end.min(slot.len as usize);
            if bytes.start < end {
                store::prefetch_data(memory, slot.site, bytes.start..end);
            }
        }
    }
}

impl Expected {
    /// That record has another id from now on, or is gone (0).
    #[inline(always)]
    fn rename(&mut self, old: u32, new: u32) {
        if self.entry == old {
            self.entry = new;
        }
        if self.after == old {
            self.after = new;
        }
    }
}

impl Shard {
    /// The id of an object, or 0.
    #[inline(always)]
    pub(crate) fn find_object<H: Host>(
        &self,
        records: &Records<'_, H>,
        pool: u32,
        object: u64,
    ) -> u32 {
        let mut id = self
            .objects
            .first(records.memory, object_hash(pool, object) as u32);
        while id != 0 {
            let record = records.object(id);
            if record.key() == object && record.pool.get() == pool {
                break;
            }
            id = record.hash_next.get();
        }
        id
    }

    /// Asks the caches for the record that [`Shard::find_in`] will look at first.
    #[inline(always)]
    pub(crate) fn prefetch_bucket<H: Host>(
        &self,
        records: &Records<'_, H>,
        object: u32,
        index: u64,
    ) {
        let id = self
            .entries
            .first(records.memory, entry_hash(object, index));
        if id != 0 {
            EntryChain(records).prefetch(id);
        }
    }

    /// The id of a page's entry, or 0.
    #[inline(always)]
    pub(crate) fn find_in<H: Host>(
        &self,
        records: &Records<'_, H>,
        object: u32,
        index: u64,
    ) -> u32 {
        let mut id = self
            .entries
            .first(records.memory, entry_hash(object, index));
        while id != 0 {
            let record = records.entry(id);
            if record.is(object, index) {
                break;
            }
            id = record.hash_next.get();
        }
        id
    }

    /// The id of a page's entry, or 0.
    #[inline(always)]
    pub(crate) fn find<H: Host>(&self, records: &Records<'_, H>, handle: Handle) -> u32 {
        // No page has such an index, but a record does not tell it from a smaller one.
        if handle.index > MAX_INDEX {
            return 0;
        }
        if self.expected.entry != 0 && self.expected.handle == handle {
            return self.expected.entry;
        }
        match self.find_object(records, handle.pool, handle.object) {
            0 => 0,
            object => self.find_in(records, object, handle.index),
        }
    }

    /// Told of each get: where pages are asked for one after the other, finds the next one, and asks the
    /// caches for the record of the one after it.
    #[inline(always)]
    pub(crate) fn read_ahead<H: Host>(
        &mut self,
        records: &Records<'_, H>,
        handle: Handle,
        entry: &Entry,
    ) -> Ahead {
        let next = Handle {
            index: handle.index + 1,
            ..handle
        };
        let in_order = self.expected.handle == handle;
        let id = self.expected.after;
        self.expected = Expected {
            handle: next,
            entry: 0,
            after: 0,
        };
        if !in_order {
            return Ahead::Unknown;
        }
        let object = entry.object();
        let hash = entry_hash(object, next.index + 1);
        let after = self.entries.first(records.memory, hash);
        self.expected.after = after;
        if after != 0 {
            EntryChain(records).prefetch(after);
        }
        if id != 0 {
            let entry = records.entry(id);
            if entry.is(object, next.index) {
                self.expected.entry = id;
                if H::KEEPS_DATA
                    && let Body::Slot(slot) = entry.body()
                {
                    return Ahead::Slot(slot);
                }
            }
        }
        Ahead::Next
    }

    /// Makes a fresh record the object's, which has none.
    pub(crate) fn add_object<H: Host>(
        &mut self,
        records: &Records<'_, H>,
        id: u32,
        pool: u32,
        object: u64,
    ) {
        let record = records.object(id);
        record.key_low.set(object as u32);
        record.key_high.set((object >> 32) as u32);
        record.pool.set(pool);
        record.first.set(0);
        let head = &mut self.pool_objects[pool as usize];
        record.next.set(*head);
        record.prev.set(0);
        if *head != 0 {
            records.object(*head).prev.set(id);
        }
        *head = id;
        let hash = object_hash(pool, object) as u32;
        let chain = ObjectChain(records);
        self.objects
            .insert(records.memory, &chain, (id, &record.hash_next), hash);
    }

    /// Links a filled-in record; the object has no page of that index.
    pub(crate) fn link<H: Host>(&mut self, records: &Records<'_, H>, id: u32, object: u32) {
        let entry = records.entry(id);
        let owner = records.object(object);
        entry
            .object
            .set(entry.object.get() >> INDEX_SHIFT << INDEX_SHIFT | object);
        let first = owner.first.get();
        entry.next.set(first);
        entry.prev.set(0);
        if first != 0 {
            records.entry(first).prev.set(id);
        }
        owner.first.set(id);
        entry.meta.set(entry.meta.get() | LINKED);
        let hash = entry_hash(object, entry.index());
        let chain = EntryChain(records);
        self.entries
            .insert(records.memory, &chain, (id, &entry.hash_next), hash);
    }

    /// Unlinks an entry that is in no queue, and its object if that was its last page and `keep_object` is false.
    pub(crate) fn unlink<H: Host>(
        &mut self,
        records: &Records<'_, H>,
        (id, entry): (u32, &Entry),
        keep_object: bool,
    ) -> Removed {
        self.expected.rename(id, 0);
        let object = entry.object();
        let owner = records.object(object);
        let hash = entry_hash(object, entry.index());
        let chain = EntryChain(records);
        self.entries
            .remove(records.memory, &chain, (id, &entry.hash_next), hash);
        let (next, prev) = (entry.next.get(), entry.prev.get());
        if next != 0 {
            records.entry(next).prev.set(prev);
        }
        if prev != 0 {
            records.entry(prev).next.set(next);
        } else {
            owner.first.set(next);
        }
        entry.meta.set(entry.meta.get() & !LINKED);
        let mut removed = Removed {
            entry: id,
            emptied: 0,
            key: owner.key(),
        };
        if owner.first.get() == 0 && !keep_object {
            self.remove_object(records, object);
            removed.emptied = object;
        }
        removed
    }

    /// Puts the record `new`, of which nobody knows yet, in the place of the linked record `old`.
    /// `aged`: as the queues see the records, if the page is in one.
    pub(crate) fn replace<H: Host>(
        &mut self,
        records: &Records<'_, H>,
        aged: Option<&Aged<'_, '_, H>>,
        (old, new): (u32, u32),
    ) {
        let (entry, copy) = (records.entry(old), records.entry(new));
        for (to, from) in copy.words().iter().zip(entry.words()) {
            to.set(from.get());
        }
        let object = entry.object();
        let owner = records.object(object);
        let hash = entry_hash(object, entry.index());
        let chain = EntryChain(records);
        self.entries
            .replace(records.memory, &chain, (old, new), hash);
        match entry.next.get() {
            0 => {}
            next => records.entry(next).prev.set(new),
        }
        match entry.prev.get() {
            0 => owner.first.set(new),
            prev => records.entry(prev).next.set(new),
        }
        if let Some(aged) = aged {
            self.queues[owner.pool() as usize].replace(aged, old, new);
        }
        self.expected.rename(old, new);
        entry.meta.set(entry.meta.get() & !LINKED);
    }

    fn remove_object<H: Host>(&mut self, records: &Records<'_, H>, id: u32) {
        let record = records.object(id);
        let pool = record.pool.get();
        let (next, prev) = (record.next.get(), record.prev.get());
        if next != 0 {
            records.object(next).prev.set(prev);
        }
        if prev != 0 {
            records.object(prev).next.set(next);
        } else {
            self.pool_objects[pool as usize] = next;
        }
        let hash = object_hash(pool, record.key()) as u32;
        let chain = ObjectChain(records);
        self.objects
            .remove(records.memory, &chain, (id, &record.hash_next), hash);
    }

    /// Any page of an object, or 0.
    pub(crate) fn first_of<H: Host>(&self, records: &Records<'_, H>, object: u32) -> u32 {
        records.object(object).first.get()
    }

    /// Any object of a pool, or 0.
    pub(crate) fn any_object(&self, pool: u32) -> u32 {
        self.pool_objects[pool as usize]
    }

    /// Pages of an ephemeral pool in this shard.
    pub(crate) fn aged_pages(&self, pool: u32) -> u32 {
        self.queues[pool as usize].pages()
    }

    /// Brings a linked page of an ephemeral pool into its queues; `replaces` if an older copy was there.
    pub(crate) fn age<H: Host>(
        &mut self,
        aged: &Aged<'_, '_, H>,
        policy: Policy,
        id: u32,
        replaces: bool,
    ) {
        let known = policy.ghosts_percent() > 0
            && (aged
                .ghosts
                .recall(aged.records.memory, aged.name(id, Why::Went))
                || replaces);
        let pool = aged.records.object(aged.records.entry(id).object()).pool();
        self.queues[pool as usize].insert(policy, aged, id, known);
    }

    /// Takes a page of an ephemeral pool out of its queues.
    pub(crate) fn leave<H: Host>(&mut self, aged: &Aged<'_, '_, H>, id: u32) {
        let pool = aged.records.object(aged.records.entry(id).object()).pool();
        self.queues[pool as usize].remove(aged, id);
    }

    /// A page of an ephemeral pool was found.
    pub(crate) fn touch<H: Host>(
        &mut self,
        aged: &Aged<'_, '_, H>,
        policy: Policy,
        id: u32,
        pool: u32,
    ) {
        self.queues[pool as usize].hit(policy, aged, id);
    }

    /// Takes the page of an ephemeral pool that goes first out of its queues; 0 if there is none.
    pub(crate) fn choose<H: Host>(
        &mut self,
        aged: &Aged<'_, '_, H>,
        policy: Policy,
        pool: u32,
    ) -> u32 {
        /// So many pages are looked at for each one that goes, at the most.
        const CHANCES: u32 = 32;
        self.queues[pool as usize].evict(policy, aged, CHANCES)
    }

    /// The first of the pages of an ephemeral pool that went soon which is `wanted`; it stays in its queues.
    /// 0 if there is none.
    pub(crate) fn next_where<H: Host>(
        &self,
        aged: &Aged<'_, '_, H>,
        pool: u32,
        wanted: impl Fn(u32) -> bool,
    ) -> u32 {
        /// So many pages of each queue are looked at, at the most.
        const LOOKS: usize = 16;
        self.queues[pool as usize].next_where(aged, LOOKS, wanted)
    }
}
