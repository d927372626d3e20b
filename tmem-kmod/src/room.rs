//! Making room: eviction of ephemeral pages, the budget, and compaction.
//!
//! Evicted pages leave holes in spans; compaction then moves what is left of
//! sparse spans together, span by span, so that whole pages go back to the host.

use core::sync::atomic::Ordering::Relaxed;

use crate::engine::{BATCH, Engine};
use crate::host::{Host, PAGE, SHARDS};
use crate::index::{Body, Entry, Removed};
use crate::memory::Frames;
use crate::pool::{Pool, PoolError};
use crate::store::{self, Occupant};

/// How one step of compaction ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compaction {
    /// A span's pages went back to the host.
    Freed,
    /// A span was chosen but could not be emptied.
    Stuck,
    /// No span is worth emptying.
    Nothing,
}

impl<H: Host> Engine<H> {
    /// The budget for everything that the engine takes from the host, in bytes.
    pub fn limit(&self) -> u64 {
        self.memory.limit()
    }

    /// Sets the budget and evicts ephemeral pages until it holds. Bytes held beyond
    /// it, since persistent pages stay. May sleep.
    pub fn set_limit(&self, bytes: u64) -> u64 {
        self.memory.set_limit(bytes);
        while self.memory.overhang() > 0 && self.make_room(0) {}
        self.memory.overhang()
    }

    /// Bytes held beyond the budget.
    pub fn overhang(&self) -> u64 {
        self.memory.overhang()
    }

    /// Evicts ephemeral pages until `pages` whole pages went back to the host, or
    /// none are left; how many went back. May sleep.
    pub fn shrink(&self, pages: u64) -> u64 {
        let before = self.memory.used_pages();
        let gone = || before.saturating_sub(self.memory.used_pages());
        while gone() < pages && (self.evict() > 0 || self.compact() == Compaction::Freed) {
            while gone() < pages && self.compact() == Compaction::Freed {}
        }
        gone()
    }

    /// Whole pages that [`Engine::shrink`] could give back at the most. Any context.
    pub fn shrinkable(&self) -> u64 {
        let ephemeral = self
            .pools
            .iter()
            .filter(|pool| pool.is_live() && !pool.is_persistent());
        ephemeral.map(Pool::bytes).sum::<u64>() / PAGE as u64
    }

    /// One bounded step of compaction; true while more is worth doing. May sleep.
    pub fn maintain(&self) -> bool {
        self.maintenance_begins();
        match self.compact() {
            Compaction::Freed => true,
            Compaction::Stuck => self.lock_store().part.may_retry(),
            Compaction::Nothing => self.compact_records(),
        }
    }

    /// Tells the engine the time, ns by any clock that does not go back: pages of pools that have a time to live grow older
    /// by it, and some of those that are past it are dropped. In how many ns it is worth calling again, 0 if there
    /// is more to do now; `None` if no pool has one, until [`Engine::set_pool_ttl`] gives it one. May sleep.
    pub fn expire(&self, now: u64) -> Option<u64> {
        let mut next = None;
        for (number, home) in self.pools.iter().enumerate() {
            if !home.expires() {
                continue;
            }
            let ticked = {
                let _pools = self.lock_pools();
                home.tick(now)
            };
            let Some((shard, mut due)) = ticked else {
                continue;
            };
            if let Some(shard) = shard {
                due = 0;
                if self.evict_expired(home, number as u32, shard) == 0 {
                    let _pools = self.lock_pools();
                    home.end_sweep_of(shard);
                }
            }
            next = Some(next.map_or(due, |next: u64| next.min(due)));
        }
        next
    }

    /// Drops up to [`BATCH`] expired pages of a pool in a shard; how many. They are at the old ends of its queues.
    fn evict_expired(&self, home: &Pool, pool: u32, shard: usize) -> usize {
        let mut batch = [Removed::default(); BATCH];
        let n = self.unlink_where(home, pool, shard, &mut batch, |entry| {
            home.is_expired(entry.epoch())
        });
        self.end_evicted(home, pool, &batch[..n]);
        n
    }

    /// Unlinks those pages of a pool in a shard that are `wanted` among the next to go, as many as `batch` takes; how many.
    pub(crate) fn unlink_where(
        &self,
        home: &Pool,
        pool: u32,
        shard: usize,
        batch: &mut [Removed],
        wanted: impl Fn(&Entry) -> bool,
    ) -> usize {
        let records = self.records();
        let shard = self.lock_shard(shard);
        let aged = self.aged(&records);
        for (n, removed) in batch.iter_mut().enumerate() {
            let wanted = |id| wanted(records.entry(id));
            let id = shard.part.next_where(&aged, pool, wanted);
            if id == 0 {
                return n;
            }
            let entry = records.entry(id);
            *removed = self.unlink(shard.part, &records, home, (id, entry), false);
        }
        batch.len()
    }

    /// One round of making room for `pages` pages under the budget; false if
    /// nothing could be done.
    pub(crate) fn make_room(&self, pages: u64) -> bool {
        const COMPACTIONS: usize = 4;
        let evicted = self.evict();
        let names = u64::from(self.lacks_ghosts());
        let fits =
            || (self.memory.used_pages() + pages + names) * PAGE as u64 <= self.memory.limit();
        let mut compacted = false;
        for _ in 0..COMPACTIONS {
            if fits() || self.compact() != Compaction::Freed {
                break;
            }
            compacted = true;
        }
        self.grow_ghosts();
        // Names give way to pages, but after those that may vanish.
        evicted > 0 || compacted || self.drop_ghosts()
    }

    /// Evicts a batch from a pool over its own limit; false if nothing could be done.
    pub(crate) fn make_room_in(&self, pool: u32) -> bool {
        let home = &self.pools[pool as usize];
        let evicted = self.evict_from(home, pool) > 0;
        self.grow_ghosts();
        evicted
    }

    /// Evicts a batch of pages of cgroups that hold more than their share, if shares were given, else
    /// from the ephemeral pool that has the most bytes for its weight; how many pages.
    fn evict(&self) -> usize {
        if self.groups.has_weights() {
            let evicted = self.evict_beyond_shares();
            if evicted > 0 {
                return evicted;
            }
        }
        let mut victim: Option<(u32, &Pool, u64, u64)> = None;
        for (number, pool) in self.pools.iter().enumerate() {
            if !pool.is_live() || pool.is_persistent() || !pool.has_pages() {
                continue;
            }
            let (bytes, weight) = (pool.bytes(), u64::from(pool.weight.load(Relaxed)));
            if victim.is_none_or(|(_, _, most, its)| bytes * its > most * weight) {
                victim = Some((number as u32, pool, bytes, weight));
            }
        }
        victim.map_or(0, |(number, pool, ..)| self.evict_from(pool, number))
    }

    /// Whether the pools want more names of pages remembered than there is room for.
    fn lacks_ghosts(&self) -> bool {
        let wanted: u64 = self.pools.iter().filter_map(Pool::ghosts).sum();
        self.ghosts.room() < wanted
    }

    /// Takes one more page of memory for names, if they are wanted and there is one: else fewer
    /// are remembered. Without locks; may sleep.
    pub(crate) fn grow_ghosts(&self) {
        if !self.lacks_ghosts() {
            return;
        }
        if let Ok(frame) = self.memory.alloc(true) {
            let refused = {
                let _store = self.lock_store();
                self.ghosts.grow(&self.memory, frame)
            };
            if let Err(frame) = refused {
                self.memory.free(frame);
            }
        }
    }

    /// Gives the memory of remembered names back when no pool wants any. Without locks.
    pub(crate) fn trim_ghosts(&self) {
        if !self.pools.iter().any(|pool| pool.ghosts().is_some()) {
            self.drop_ghosts();
        }
    }

    /// Forgets all names and gives their memory back; false if there were none. Without locks.
    fn drop_ghosts(&self) -> bool {
        if self.ghosts.room() == 0 {
            return false;
        }
        let _pools = self.lock_pools();
        {
            let _store = self.lock_store();
            self.ghosts.forget();
        }
        // Who found the names in use has a shard locked.
        for shard in 0..SHARDS {
            let _shard = self.lock_shard(shard);
        }
        loop {
            let frame = {
                let _store = self.lock_store();
                self.ghosts.take()
            };
            match frame {
                Some(frame) => self.memory.free(frame),
                None => break true,
            }
        }
    }

    /// Evicts up to [`BATCH`] of a pool's pages, those first that its policy chooses; how many. Shards
    /// take turns and give one part in 64 of what they hold, so that a shard with a
    /// large object gives as much more.
    fn evict_from(&self, home: &Pool, pool: u32) -> usize {
        let Some(policy) = home.policy() else {
            return 0;
        };
        let records = self.records();
        let mut batch = [Removed::default(); BATCH];
        let mut n = 0;
        for _ in 0..=SHARDS {
            let i = home.evict_shard.load(Relaxed) as usize % SHARDS;
            let mut left = home.evict_left.load(Relaxed);
            {
                let shard = self.lock_shard(i);
                while n < BATCH && left > 0 {
                    let id = shard.part.choose(&self.aged(&records), policy, pool);
                    if id == 0 {
                        left = 0;
                        break;
                    }
                    let entry = records.entry(id);
                    batch[n] = shard.part.unlink(&records, (id, entry), false);
                    n += 1;
                    left -= 1;
                }
            }
            home.evict_left.store(left, Relaxed);
            if n == BATCH {
                break;
            }
            let next = (i + 1) % SHARDS;
            let pages = self.lock_shard(next).part.aged_pages(pool);
            home.evict_shard.store(next as u32, Relaxed);
            home.evict_left
                .store(pages.div_ceil(SHARDS as u32), Relaxed);
        }
        self.end_evicted(home, pool, &batch[..n]);
        n
    }

    /// Tells of pages that were evicted from a pool, and frees them.
    pub(crate) fn end_evicted(&self, home: &Pool, pool: u32, batch: &[Removed]) {
        let records = self.records();
        for page in batch {
            let entry = records.entry(page.entry);
            home.count(tmem_common::op::Outcome::Evicted);
            self.note_evicted(entry.owner());
            self.memory.host.evicted(
                pool,
                page.key,
                entry.index(),
                entry.body().len(),
                entry.owner(),
            );
        }
        self.free_records(Some(home), batch);
    }

    /// Tries to empty one sparse span by moving its slots into others.
    fn compact(&self) -> Compaction {
        let Some(span) = self.lock_store().part.isolate(&self.memory, &self.spans) else {
            return Compaction::Nothing;
        };
        let mut slot = 0;
        loop {
            let (occupant, shard) = {
                let store = self.lock_store();
                let Some(occupant) = store.part.occupant(&self.memory, &self.spans, span, slot)
                else {
                    break;
                };
                // The record is alive: it is freed together with its slot.
                let shard = self.entries.at(&self.memory, occupant.entry).shard();
                (occupant, shard)
            };
            slot = occupant.next_slot();
            if !self.move_slot(&occupant, shard) {
                break;
            }
        }
        let mut hand = Frames::new();
        let freed = self
            .lock_store()
            .part
            .finish(&self.memory, &self.spans, span, &mut hand);
        hand.give_back(&self.memory);
        if freed {
            Compaction::Freed
        } else {
            Compaction::Stuck
        }
    }

    /// Moves a slot's data to another span, unless the slot was freed meanwhile or its
    /// page is just being put. False if there is no other slot.
    fn move_slot(&self, from: &Occupant, shard: usize) -> bool {
        let records = self.records();
        let _shard = self.lock_shard(shard);
        let entry;
        let old;
        let to = {
            let store = self.lock_store();
            if !store.part.occupied_by(&self.memory, &self.spans, from) {
                return true;
            }
            entry = records.entry(from.entry);
            // An entry of another shard took the record over, or it is not, or no longer, in the index.
            if entry.shard() != shard || !entry.is_linked() {
                return true;
            }
            let Body::Slot(slot) = entry.body() else {
                return true;
            };
            if slot.place != from.place {
                return true;
            }
            old = slot;
            let len = slot.len as usize;
            match store
                .part
                .alloc_for_move(&self.memory, &self.spans, len, from.place, from.entry)
            {
                Some(taken) => taken,
                None => return false,
            }
        };
        if H::KEEPS_DATA {
            // SAFETY: the old slot is the entry's, which is in the index and whose shard is locked; the
            // new one was just allocated for it.
            unsafe { store::copy(&self.memory, old.site, to.site, old.len as usize) };
        }
        entry.set_place(to.place, to.site);
        // An isolated span keeps its pages until `finish`, so nothing comes to hand.
        let mut hand = Frames::new();
        let home = &self.pools[records.object(entry.object()).pool() as usize];
        let store = self.lock_store();
        let (size, _) = store
            .part
            .free(&self.memory, &self.spans, from.place, &mut hand);
        home.moved(size, to.size);
        true
    }

    /// Tries to empty one page of records by moving them into others; true if it was given back.
    fn compact_records(&self) -> bool {
        let chosen = {
            let _store = self.lock_store();
            self.entries.isolate(&self.memory)
        };
        let Some(page) = chosen else {
            return false;
        };
        for id in self.entries.ids_of(&self.memory, page) {
            if !self.move_record(id) {
                break;
            }
        }
        let mut hand = Frames::new();
        let emptied = {
            let _store = self.lock_store();
            self.entries.finish(&self.memory, page, &mut hand)
        };
        hand.give_back(&self.memory);
        emptied
    }

    /// Moves a record of an isolated page to another page, unless it is free or its page is just
    /// being put or freed. False if no other page has room.
    fn move_record(&self, id: u32) -> bool {
        let records = self.records();
        // The page is there as long as it is isolated, and what it says of its shard is looked at
        // again under the lock: a record that is linked in a locked shard stays so.
        let entry = records.entry(id);
        let shard = entry.shard();
        if !entry.is_linked() {
            return true;
        }
        let locked = self.lock_shard(shard);
        if !entry.is_linked() || entry.shard() != shard {
            return true;
        }
        let home = &self.pools[records.object(entry.object()).pool() as usize];
        let aged = self.aged(&records);
        let aged = (!home.is_persistent()).then_some(&aged);
        let store = self.lock_store();
        let mut hand = Frames::new();
        let Ok((copy, record)) = self.entries.alloc(&self.memory, &mut hand) else {
            return false;
        };
        locked.part.replace(&records, aged, (id, copy));
        if let Body::Slot(slot) = record.body() {
            store
                .part
                .set_occupant(&self.memory, &self.spans, slot.place, copy);
        }
        // An isolated page stays until `finish`, so nothing comes to hand.
        self.entries.free(&self.memory, id, &mut hand);
        true
    }

    /// A pool's number by its uuid.
    pub fn pool_by_uuid(&self, uuid: &[u8; 16]) -> Result<u32, PoolError> {
        let found = self
            .pools
            .iter()
            .position(|pool| pool.is_live() && pool.uuid() == *uuid);
        found.map(|number| number as u32).ok_or(PoolError::NotFound)
    }
}
