//! A hash table that grows and shrinks by a few buckets at a time (linear hashing,
//! W. Litwin 1980), so that no operation ever rehashes it.
//!
//! Buckets are chains of records linked by one of their own words. The first
//! buckets lie in the table itself; more of them lie in whole pages, found
//! through a short list and, behind it, one page of frame numbers. A page that
//! cannot be had only makes chains longer. Valid when all bytes are zero. Each
//! table is guarded by the lock of the shard that it belongs to.

use crate::host::{Frame, Host, PAGE};
use crate::memory::Memory;
use crate::slab::Word;

const PER_PAGE: u32 = (PAGE / 4) as u32;
const NEAR_PAGES: usize = 16;
/// Buckets that come or go together: what there is to do for one is little beside finding them.
const GROUP: usize = 8;

/// How a table reads the records in its chains.
pub(crate) trait Chain {
    /// The word that links a record to the next one in its bucket.
    fn link(&self, id: u32) -> &Word;
    /// The same word, and the record's hash.
    fn hashed(&self, id: u32) -> (&Word, u32);
    /// Asks the caches for a record that will be looked at soon.
    fn prefetch(&self, id: u32);
}

/// A table with `NEAR` (a power of two) buckets of its own.
pub(crate) struct Table<const NEAR: usize> {
    near: [Word; NEAR],
    pages: [Frame; NEAR_PAGES],
    /// Page of the frame numbers of further pages of buckets.
    far: Frame,
    /// Buckets beyond `near`.
    grown: u32,
    items: u32,
}

impl<const NEAR: usize> Table<NEAR> {
    /// Chains may get this long on average before the first page of buckets is taken.
    const NEAR_LOAD: u32 = 3;
    const MAX_GROWN: u32 = (NEAR_PAGES as u32 + PER_PAGE) * PER_PAGE;

    fn buckets(&self) -> u32 {
        NEAR as u32 + self.grown
    }

    #[inline(always)]
    fn bucket_of(&self, hash: u32) -> u32 {
        let n = self.buckets();
        let mask = u32::MAX >> (n - 1).leading_zeros();
        let bucket = hash & mask;
        if bucket < n {
            bucket
        } else {
            bucket & (mask >> 1)
        }
    }

    #[inline(always)]
    fn bucket<'a, H: Host>(&'a self, memory: &'a Memory<H>, bucket: u32) -> &'a Word {
        if (bucket as usize) < NEAR {
            return &self.near[bucket as usize];
        }
        let far = bucket - NEAR as u32;
        let frame = self.page(memory, far / PER_PAGE);
        // SAFETY: buckets below `buckets()` have a page, which is ours while the shard lock is held.
        unsafe { &*memory.words(frame).add((far % PER_PAGE) as usize) }
    }

    #[inline(always)]
    fn page<H: Host>(&self, memory: &Memory<H>, page: u32) -> Frame {
        if (page as usize) < NEAR_PAGES {
            return self.pages[page as usize];
        }
        // SAFETY: the page of frame numbers exists while the near pages are all taken; the index is below 1024.
        unsafe { (*memory.words(self.far).add(page as usize - NEAR_PAGES)).get() }
    }

    /// First record of the chain in which records with this hash are.
    #[inline(always)]
    pub(crate) fn first<H: Host>(&self, memory: &Memory<H>, hash: u32) -> u32 {
        self.bucket(memory, self.bucket_of(hash)).get()
    }

    /// Adds a record, which is not in the table, by its id and the word that links it.
    pub(crate) fn insert<H: Host>(
        &mut self,
        memory: &Memory<H>,
        chain: &impl Chain,
        (id, link): (u32, &Word),
        hash: u32,
    ) {
        let head = self.bucket(memory, self.bucket_of(hash));
        link.set(head.get());
        head.set(id);
        self.items += 1;
        if self.items > self.buckets() && self.items > Self::NEAR_LOAD * NEAR as u32 {
            self.grow(memory, chain);
        }
    }

    /// Removes a record that is in the table.
    pub(crate) fn remove<H: Host>(
        &mut self,
        memory: &Memory<H>,
        chain: &impl Chain,
        (id, its_link): (u32, &Word),
        hash: u32,
    ) {
        let mut link = self.bucket(memory, self.bucket_of(hash));
        while link.get() != id {
            link = chain.link(link.get());
        }
        link.set(its_link.get());
        self.items -= 1;
        let loose = self.items < self.buckets() / 4 * 3;
        if self.grown > 0 && (loose || self.items < 2 * NEAR as u32) {
            self.shrink(memory, chain);
        }
    }

    /// Puts `new`, whose link is that of `old` already, in the place of `old`, which is in the table.
    pub(crate) fn replace<H: Host>(
        &mut self,
        memory: &Memory<H>,
        chain: &impl Chain,
        (old, new): (u32, u32),
        hash: u32,
    ) {
        let mut link = self.bucket(memory, self.bucket_of(hash));
        while link.get() != old {
            link = chain.link(link.get());
        }
        link.set(new);
    }

    /// The buckets of the group that begins with this one. Groups do not straddle pages.
    fn group<'a, H: Host>(&'a self, memory: &'a Memory<H>, first: u32) -> &'a [Word; GROUP] {
        const { assert!(NEAR.is_multiple_of(GROUP) && PER_PAGE.is_multiple_of(GROUP as u32)) };
        let group = core::ptr::from_ref(self.bucket(memory, first)).cast();
        // SAFETY: the buckets of a group follow each other in memory, and come and go together.
        unsafe { &*group }
    }

    /// Splits the next group of buckets in turn.
    fn grow<H: Host>(&mut self, memory: &Memory<H>, chain: &impl Chain) {
        if self.grown >= Self::MAX_GROWN
            || (self.grown.is_multiple_of(PER_PAGE) && !self.add_page(memory))
        {
            return;
        }
        let first = self.buckets();
        self.grown += GROUP as u32;
        let old = self.group(memory, Self::split_from(first));
        let new = self.group(memory, first);
        // A record of an old bucket goes to the new one if its hash has the bit that tells them apart.
        let bit = 1 << first.ilog2();
        for (mut link, new) in old.iter().zip(new) {
            let mut moved = 0;
            while link.get() != 0 {
                let id = link.get();
                let (next, hash) = chain.hashed(id);
                if hash & bit != 0 {
                    link.set(next.get());
                    next.set(moved);
                    moved = id;
                } else {
                    link = next;
                }
            }
            new.set(moved);
        }
        // What is split next comes to the caches in time.
        for head in self.group(memory, Self::split_from(self.buckets())) {
            if head.get() != 0 {
                chain.prefetch(head.get());
            }
        }
    }

    /// The bucket that a new one takes its records from.
    fn split_from(new: u32) -> u32 {
        new & (u32::MAX >> (new.leading_zeros() + 1))
    }

    /// Joins the last group of buckets to the one that it was split from.
    fn shrink<H: Host>(&mut self, memory: &Memory<H>, chain: &impl Chain) {
        let first = self.buckets() - GROUP as u32;
        let into = self.group(memory, Self::split_from(first));
        for (mut link, last) in into.iter().zip(self.group(memory, first)) {
            if last.get() != 0 {
                while link.get() != 0 {
                    link = chain.link(link.get());
                }
                link.set(last.get());
            }
        }
        self.grown -= GROUP as u32;
        if self.grown.is_multiple_of(PER_PAGE) {
            self.remove_page(memory);
        }
    }

    /// Takes the page that holds the next bucket; false if it is not to be had.
    fn add_page<H: Host>(&mut self, memory: &Memory<H>) -> bool {
        let page = (self.grown / PER_PAGE) as usize;
        let Ok(frame) = memory.alloc(false) else {
            return false;
        };
        if page < NEAR_PAGES {
            self.pages[page] = frame;
            return true;
        }
        if page == NEAR_PAGES {
            match memory.alloc(false) {
                Ok(far) => self.far = far,
                Err(_) => {
                    memory.free(frame);
                    return false;
                }
            }
        }
        // SAFETY: as in `page`; the word is within the page of frame numbers.
        unsafe { (*memory.words(self.far).add(page - NEAR_PAGES)).set(frame) };
        true
    }

    /// Gives back the page behind the last bucket.
    fn remove_page<H: Host>(&mut self, memory: &Memory<H>) {
        let page = self.grown / PER_PAGE;
        memory.free(self.page(memory, page));
        if page as usize == NEAR_PAGES {
            memory.free(self.far);
            self.far = 0;
        }
    }
}
