//! A hash table that grows and shrinks one bucket at a time (linear hashing,
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

/// How a table reads the records in its chains.
pub(crate) trait Chain {
    /// The word that links a record to the next one in its bucket.
    fn link(&self, id: u32) -> &Word;
    /// The record's hash.
    fn hash(&self, id: u32) -> u32;
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
    /// Buckets that one removal may give up.
    const SHRINK_STEP: u32 = 4;
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

    /// Adds a record that is not in the table.
    pub(crate) fn insert<H: Host>(
        &mut self,
        memory: &Memory<H>,
        chain: &impl Chain,
        id: u32,
        hash: u32,
    ) {
        let head = self.bucket(memory, self.bucket_of(hash));
        chain.link(id).set(head.get());
        head.set(id);
        self.items += 1;
        // Two at a time until the load is back at one, after a start with long chains.
        for _ in 0..2 {
            if self.items > self.buckets() && self.items > Self::NEAR_LOAD * NEAR as u32 {
                self.grow(memory, chain);
            }
        }
    }

    /// Removes a record that is in the table.
    pub(crate) fn remove<H: Host>(
        &mut self,
        memory: &Memory<H>,
        chain: &impl Chain,
        id: u32,
        hash: u32,
    ) {
        let mut link = self.bucket(memory, self.bucket_of(hash));
        while link.get() != id {
            link = chain.link(link.get());
        }
        link.set(chain.link(id).get());
        self.items -= 1;
        for _ in 0..Self::SHRINK_STEP {
            let loose = self.items < self.buckets() / 4 * 3;
            if self.grown > 0 && (loose || self.items < 2 * NEAR as u32) {
                self.shrink(memory, chain);
            }
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

    /// Splits the next bucket in turn.
    fn grow<H: Host>(&mut self, memory: &Memory<H>, chain: &impl Chain) {
        if self.grown >= Self::MAX_GROWN
            || (self.grown.is_multiple_of(PER_PAGE) && !self.add_page(memory))
        {
            return;
        }
        let new = self.buckets();
        let old = Self::split_from(new);
        self.grown += 1;
        let mut link = self.bucket(memory, old);
        let new_head = self.bucket(memory, new);
        new_head.set(0);
        while link.get() != 0 {
            let id = link.get();
            if self.bucket_of(chain.hash(id)) == new {
                link.set(chain.link(id).get());
                chain.link(id).set(new_head.get());
                new_head.set(id);
            } else {
                link = chain.link(id);
            }
        }
        // What the next insertions split comes to the caches in time: the second record of the next
        // bucket, the first of the one after it.
        let head = |ahead| {
            self.bucket(memory, Self::split_from(self.buckets() + ahead))
                .get()
        };
        let mut soon = [head(0), head(1)];
        if soon[0] != 0 {
            soon[0] = chain.link(soon[0]).get();
        }
        for id in soon {
            if id != 0 {
                chain.prefetch(id);
            }
        }
    }

    /// The bucket that a new one takes its records from.
    fn split_from(new: u32) -> u32 {
        new & (u32::MAX >> (new.leading_zeros() + 1))
    }

    /// Joins the last bucket to the one that it was split from.
    fn shrink<H: Host>(&mut self, memory: &Memory<H>, chain: &impl Chain) {
        let last = self.buckets() - 1;
        let into = Self::split_from(last);
        let head = self.bucket(memory, last).get();
        let mut link = self.bucket(memory, into);
        while link.get() != 0 {
            link = chain.link(link.get());
        }
        link.set(head);
        self.grown -= 1;
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
