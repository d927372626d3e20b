//! Cgroups: how much of what is held belongs to whom, and how much each may hold.
//!
//! A table of places, eight to a set; the set of a cgroup follows from its id. The first page of a
//! cgroup takes a place. It goes to another cgroup only when its set is full, it counts no page and nothing
//! is set for it. Where all are taken the page is not counted, and its record says so: what was not added
//! is not taken away. Places change hands under the pools lock and the store lock, counts change
//! under the store lock, like the gauges of pools; reading takes no lock.
//!
//! Two things hold a cgroup back. Its limit: beyond it, its own ephemeral pages go, and then puts
//! are refused. And its share, when little of the budget is left: the budget is divided by weight among
//! the cgroups that were given one and, with the usual weight, all others together. Who has more than
//! its share makes room from its own pages, so that the rest is left to those who have less.
//! A limit is no part of this: the share of one does not change with the limit of another.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::engine::{BATCH, Engine};
use crate::host::{Host, PAGE, SHARDS};
use crate::index::{Entry, Removed};
use crate::pool::{Footprint, Gauge, PAGE_METADATA, Pool, PoolError};

/// Cgroups that can be told apart.
pub const GROUPS: usize = SETS * WAYS;
/// Weight of all cgroups together that were not given one.
pub const WEIGHT_OF_OTHERS: u32 = 100;

// Miri looks at every place whenever the engine is lent: with all of them its tests would take an hour.
const SETS: usize = if cfg!(miri) { 1 } else { 64 };
const WAYS: usize = 8;

/// Persistent and ephemeral pages are counted apart.
const KINDS: usize = 2;

/// A count of pages and, below it, of their bytes in units of [`UNIT`], so that both change at once.
const PAGES_SHIFT: u32 = 36;
const UNITS: u64 = (1 << PAGES_SHIFT) - 1;
const UNIT: u64 = 16;

/// The budget counts as tight when less than one part in so many of it is free.
const TIGHT: u64 = 8;

/// What is known of a cgroup; laid out for C as well.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// Its id.
    pub id: u64,
    /// Bytes that it may hold; `u64::MAX` if it has no limit.
    pub limit_bytes: u64,
    /// Its share of the budget when that is tight, 1..=1000; 0 if it was given none.
    pub weight: u64,
    /// Pages held, persistent and ephemeral.
    pub pages: [u64; KINDS],
    /// Bytes of their data, and of 52 bytes of bookkeeping for each.
    pub bytes: [u64; KINDS],
    /// Puts that were refused for want of room.
    pub refused: u64,
    /// Ephemeral pages that made room.
    pub evicted: u64,
}

/// One place. Valid, and free, when all bytes are zero.
struct Group {
    /// 0: nobody's.
    id: AtomicU32,
    /// 0: none of its own.
    weight: AtomicU32,
    /// 0: none.
    limit: AtomicU64,
    held: [Gauge; KINDS],
    refused: AtomicU64,
    evicted: AtomicU64,
}

/// The cgroups. Valid, and empty, when all bytes are zero.
pub(crate) struct Groups {
    sets: [[Group; WAYS]; SETS],
    /// Sum of the weights that were given. Changes under the store lock, as the next.
    weights: Gauge,
    /// What the cgroups with these weights hold, in units of [`UNIT`].
    weighted: Gauge,
}

/// Whether a page was counted with its pool's and its owner's, or why not.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    /// It was.
    Done,
    /// The pool may not have more.
    PoolFull,
    /// The owner may not have more.
    GroupFull,
    /// The owner has no place yet.
    NoPlace,
    /// The host cannot stay for the pool's first page.
    NoPin,
}

/// What a page with so many bytes of data adds to a count.
#[inline(always)]
fn cost(len: u32) -> u64 {
    1 << PAGES_SHIFT | (PAGE_METADATA + u64::from(len)).div_ceil(UNIT)
}

fn kind_of(home: &Pool) -> usize {
    usize::from(!home.is_persistent())
}

impl Group {
    #[inline(always)]
    fn is_of(&self, id: u32) -> bool {
        self.id.load(Relaxed) == id
    }

    fn pages(&self, kind: usize) -> u64 {
        self.held[kind].get() >> PAGES_SHIFT
    }

    fn bytes(&self) -> u64 {
        (0..KINDS).map(|kind| self.bytes_of(kind)).sum()
    }

    fn bytes_of(&self, kind: usize) -> u64 {
        (self.held[kind].get() & UNITS) * UNIT
    }

    fn limit(&self) -> Option<u64> {
        Some(self.limit.load(Relaxed)).filter(|limit| *limit != 0)
    }

    fn weight(&self) -> Option<u32> {
        Some(self.weight.load(Relaxed)).filter(|weight| *weight != 0)
    }

    /// Caller must hold the pools lock and the store lock. Makes the place free if nobody needs it.
    fn leave(&self) -> bool {
        let held = |held: &Gauge| held.get() != 0;
        if self.limit().is_some() || self.weight().is_some() || self.held.iter().any(held) {
            return false;
        }
        self.id.store(0, Relaxed);
        self.refused.store(0, Relaxed);
        self.evicted.store(0, Relaxed);
        true
    }

    fn info(&self) -> Option<GroupInfo> {
        let id = self.id.load(Relaxed);
        (id != 0).then(|| GroupInfo {
            id: id.into(),
            limit_bytes: self.limit().unwrap_or(u64::MAX),
            weight: self.weight.load(Relaxed).into(),
            pages: [0, 1].map(|kind| self.pages(kind)),
            bytes: [0, 1].map(|kind| self.bytes_of(kind)),
            refused: self.refused.load(Relaxed),
            evicted: self.evicted.load(Relaxed),
        })
    }
}

impl Groups {
    fn set_of(&self, id: u32) -> &[Group; WAYS] {
        // Ids are given out one after the other.
        &self.sets[id as usize % SETS]
    }

    #[inline(always)]
    fn find(&self, id: u32) -> Option<&Group> {
        self.set_of(id).iter().find(|group| group.is_of(id))
    }

    /// Caller must hold the pools lock and the store lock. The place of a cgroup, a new one if it has none; `None` if all
    /// of its set are in use.
    fn claim(&self, id: u32) -> Option<&Group> {
        if let Some(group) = self.find(id) {
            return Some(group);
        }
        let mut places = self.set_of(id).iter();
        let group = places.find(|group| group.is_of(0) || group.leave())?;
        group.id.store(id, Relaxed);
        Some(group)
    }

    /// Caller must hold the store lock. Adds a page to a place.
    #[inline(always)]
    fn add(&self, group: &Group, kind: usize, cost: u64) {
        group.held[kind].add(cost);
        if group.weight().is_some() {
            self.weighted.add(cost & UNITS);
        }
    }

    /// Caller must hold the store lock. Takes a page away from a place.
    #[inline(always)]
    fn subtract(&self, group: &Group, kind: usize, cost: u64) {
        group.held[kind].sub(cost);
        if group.weight().is_some() {
            self.weighted.sub(cost & UNITS);
        }
    }

    /// Caller must hold the store lock. 0 takes the weight away.
    fn set_weight(&self, group: &Group, weight: u32) {
        let old = group.weight.swap(weight, Relaxed);
        self.weights.add(weight);
        self.weights.sub(old);
        let units = group.bytes() / UNIT;
        match (old, weight) {
            (0, 1..) => self.weighted.add(units),
            (1.., 0) => self.weighted.sub(units),
            _ => {}
        }
    }

    /// Somebody was given a weight.
    pub(crate) fn has_weights(&self) -> bool {
        self.weights.get() != 0
    }
}

impl<H: Host> Engine<H> {
    /// Caller must hold the store lock. Counts a page, which is not in the index yet, with those of its pool and
    /// of its owner; one whose owner has no place only if it `may_miss` it.
    /// The first page of a persistent pool pins the host.
    #[inline(always)]
    pub(crate) fn charge(
        &self,
        home: &Pool,
        entry: &Entry,
        page: Footprint,
        may_miss: bool,
    ) -> Charge {
        let id = id_of(entry.owner());
        let group = id.and_then(|id| self.groups.find(id));
        let (kind, cost) = (kind_of(home), cost(page.data));
        match group {
            Some(group) if self.is_beyond(group, (cost & UNITS) * UNIT) => {
                return Charge::GroupFull;
            }
            None if id.is_some() && !may_miss => return Charge::NoPlace,
            _ => {}
        }
        let is_first = home.is_persistent() && !home.has_pages() && !home.has_lost();
        if is_first && !self.memory.host.pin() {
            return Charge::NoPin;
        }
        if !home.charge(page) {
            if is_first {
                self.memory.host.unpin();
            }
            return Charge::PoolFull;
        }
        if let Some(group) = group {
            self.groups.add(group, kind, cost);
            entry.set_counted();
        }
        Charge::Done
    }

    /// As [`Engine::charge`], which was in vain, without a lock: takes a place for the owner, or makes room.
    /// [`Charge::Done`], or why not. May sleep.
    #[inline(never)]
    pub(crate) fn charge_with_room(
        &self,
        home: &Pool,
        pool: u32,
        entry: &Entry,
        page: Footprint,
    ) -> Charge {
        /// Batches of its own pages that a put may drive out.
        const ROUNDS: u32 = 8;
        let mut made_room = false;
        let mut charge = Charge::NoPlace;
        for _ in 0..ROUNDS {
            if let Some(id) = id_of(entry.owner())
                && self.groups.find(id).is_none()
            {
                let _pools = self.lock_pools();
                let _store = self.lock_store();
                self.groups.claim(id);
            }
            charge = {
                let _store = self.lock_store();
                self.charge(home, entry, page, true)
            };
            match charge {
                Charge::PoolFull if !made_room && self.make_room_in(pool) => made_room = true,
                Charge::GroupFull => {
                    let group = id_of(entry.owner()).and_then(|id| self.groups.find(id));
                    let has_own = group.is_none_or(|group| group.pages(1) != 0);
                    if !has_own || self.evict_where(|owner| owner == entry.owner()) == 0 {
                        break;
                    }
                }
                _ => break,
            }
        }
        charge
    }

    /// Caller must hold the store lock. Takes a page away from its pool's count, and its owner's if it was in it.
    /// The last one of a persistent pool lets the host go, unless one was lost.
    #[inline(always)]
    pub(crate) fn uncharge(&self, home: &Pool, entry: &Entry, page: Footprint) {
        if entry.is_counted()
            && let Some(group) = id_of(entry.owner()).and_then(|id| self.groups.find(id))
        {
            self.groups.subtract(group, kind_of(home), cost(page.data));
        }
        // Read before: with no pages left the pool's place may be used again.
        let persistent = home.is_persistent();
        if home.uncharge(page) == 0 && persistent && !home.has_lost() {
            self.memory.host.unpin();
        }
    }

    /// A put of this owner's was refused for want of room.
    pub(crate) fn note_refused(&self, owner: u64) {
        if let Some(group) = id_of(owner).and_then(|id| self.groups.find(id)) {
            group.refused.fetch_add(1, Relaxed);
        }
    }

    /// A page of this owner's made room.
    pub(crate) fn note_evicted(&self, owner: u64) {
        if let Some(group) = id_of(owner).and_then(|id| self.groups.find(id)) {
            group.evicted.fetch_add(1, Relaxed);
        }
    }

    /// Whether a cgroup would hold more than it may now with so many bytes more.
    #[inline(always)]
    fn is_beyond(&self, group: &Group, more: u64) -> bool {
        group
            .limit()
            .is_some_and(|limit| group.bytes() + more > limit)
            || (self.groups.has_weights() && self.is_tight() && self.is_beyond_share(group))
    }

    fn is_tight(&self) -> bool {
        let limit = self.memory.limit();
        self.used_bytes() > limit - limit / TIGHT
    }

    /// Whether a cgroup, or all without a weight if it has none, holds more than its share.
    #[cold]
    fn is_beyond_share(&self, group: &Group) -> bool {
        let given = self.groups.weights.get();
        let (bytes, weight) = match group.weight() {
            Some(weight) => (group.bytes(), weight),
            None => {
                let weighted = self.groups.weighted.get() * UNIT;
                (self.used_bytes().saturating_sub(weighted), WEIGHT_OF_OTHERS)
            }
        };
        let all = u128::from(given + u64::from(WEIGHT_OF_OTHERS));
        u128::from(bytes) * all > u128::from(self.memory.limit()) * u128::from(weight)
    }

    /// Evicts ephemeral pages of those who hold more than their share; how many. Those of a cgroup
    /// that has no more than its share are spared.
    pub(crate) fn evict_beyond_shares(&self) -> usize {
        self.evict_where(|owner| {
            let group = id_of(owner).and_then(|id| self.groups.find(id));
            group.is_none_or(|group| group.weight().is_none() || self.is_beyond_share(group))
        })
    }

    /// Evicts up to [`BATCH`] ephemeral pages of owners that are `wanted`, among the next to go of each
    /// pool and shard; how many.
    #[inline(never)]
    fn evict_where(&self, wanted: impl Fn(u64) -> bool) -> usize {
        for (number, home) in self.pools.iter().enumerate() {
            if !home.is_live() || home.is_persistent() || !home.has_pages() {
                continue;
            }
            let mut batch = [Removed::default(); BATCH];
            let mut evicted = 0;
            let first = home.evict_shard.load(Relaxed) as usize;
            for i in 0..SHARDS {
                let (shard, rest) = ((first + i) % SHARDS, &mut batch[evicted..]);
                evicted += self.unlink_where(home, number as u32, shard, rest, |entry| {
                    wanted(entry.owner())
                });
                if evicted == BATCH {
                    break;
                }
            }
            self.end_evicted(home, number as u32, &batch[..evicted]);
            if evicted > 0 {
                return evicted;
            }
        }
        0
    }

    /// Bytes that a cgroup may hold; `u64::MAX` for no limit. Evicts what ephemeral pages it holds
    /// beyond it. May sleep.
    pub fn set_group_limit(&self, id: u64, bytes: u64) -> Result<(), PoolError> {
        let wanted = u64::from(id_of(id).ok_or(PoolError::Invalid)?);
        if bytes == 0 {
            return Err(PoolError::Invalid);
        }
        self.with_group(id, |group| {
            group
                .limit
                .store(if bytes == u64::MAX { 0 } else { bytes }, Relaxed);
        })?;
        let beyond = || {
            let group = id_of(id).and_then(|id| self.groups.find(id));
            group.is_some_and(|group| group.bytes() > bytes && group.pages(1) > 0)
        };
        while beyond() && self.evict_where(|owner| owner == wanted) > 0 {}
        Ok(())
    }

    /// A cgroup's share of the budget when that is tight, 1..=1000; 0 to count it with the others.
    pub fn set_group_weight(&self, id: u64, weight: u32) -> Result<(), PoolError> {
        if weight > 1000 {
            return Err(PoolError::Invalid);
        }
        self.with_group(id, |group| self.groups.set_weight(group, weight))
    }

    fn with_group(&self, id: u64, change: impl FnOnce(&Group)) -> Result<(), PoolError> {
        let id = id_of(id).ok_or(PoolError::Invalid)?;
        let _pools = self.lock_pools();
        let _store = self.lock_store();
        change(self.groups.claim(id).ok_or(PoolError::NoSpace)?);
        Ok(())
    }

    /// What is known of the cgroup at a place, `0..GROUPS`, if there is one. Any context.
    pub fn group_info(&self, place: usize) -> Option<GroupInfo> {
        self.groups.sets.get(place / WAYS)?[place % WAYS].info()
    }
}

/// Ids that can be counted; 0 is nobody's.
fn id_of(owner: u64) -> Option<u32> {
    u32::try_from(owner).ok().filter(|id| *id != 0)
}

const _: () = assert!(PAGE as u64 + PAGE_METADATA < UNITS * UNIT);
