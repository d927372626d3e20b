//! Names of pages that are not held: which went lately, and which were offered.
//!
//! A name is a hash of (pool, object, index), of which 27 bits are kept, so that
//! it takes four bytes (as SOSP'23 proposes for s3fifo). A row of sixteen names is one line of the
//! caches, newest first; a name that comes drops the oldest of its row. So rows are queues that
//! together remember about as many names as there are places, and a wrong name is met once
//! in 2^27 / 16 questions. Rows lie in pages of the host's. A page more takes over half of the rows of
//! another one (linear hashing, Litwin 1980), whose names are forgotten.
//!
//! All that is remembered is a hint: it may be forgotten at any time.
//!
//! Rows are read and written under the lock of the shard that the name's page is in. Names of
//! other shards may be in the same row at the same time: a lost or doubled name does no harm.
//! Pages come and go under the store lock; they go only when every shard's lock was taken since
//! `count` became 0.

use core::sync::atomic::{
    AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use tmem_common::policy::MAX_SIGHTINGS;

use crate::host::{Frame, Host, PAGE};
use crate::memory::Memory;
use crate::slab::Word;

/// Pages of rows at the most: four million names.
const FRAMES: usize = 4096;
/// Names of a row.
const ROW: usize = 16;
/// Rows of a page.
const ROWS: usize = PAGE / (ROW * size_of::<Word>());
/// Names of a page.
pub(crate) const NAMES: u64 = (ROWS * ROW) as u64;

const NAME_BITS: u32 = 27;
const NAME: u32 = (1 << NAME_BITS) - 1;
/// It was asked for since it was offered.
const ASKED: u32 = 1 << NAME_BITS;
/// One sighting; they are counted in the bits above [`ASKED`].
const SIGHTING: u32 = ASKED << 1;

const _: () = assert!(MAX_SIGHTINGS == u32::MAX / SIGHTING);

/// What a name is remembered for; the names of both are told apart.
#[derive(Clone, Copy)]
pub(crate) enum Why {
    /// Its page went.
    Went = 0,
    /// Its page was offered.
    Offered = 1,
}

/// Valid, and empty, when all bytes are zero.
pub(crate) struct Ghosts {
    frames: [Word; FRAMES],
    /// Pages in use.
    count: AtomicU32,
    /// Pages that were in use and are still to be given back.
    leaving: Word,
}

/// The hash that stands for a page.
#[derive(Clone, Copy)]
pub(crate) struct Name {
    row: u32,
    name: u32,
}

impl Name {
    pub(crate) fn of(why: Why, pool: u32, object: u64, index: u64) -> Name {
        let seed = u64::from(pool) << 1 | why as u64;
        let mut hash = object ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash = (hash ^ hash >> 31).wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ index;
        hash = (hash ^ hash >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        hash ^= hash >> 29;
        // 0 is no name.
        let name = ((hash >> 32) as u32 & NAME).max(1);
        Name {
            row: hash as u32,
            name,
        }
    }
}

impl Ghosts {
    /// Names that there is room for.
    pub(crate) fn room(&self) -> u64 {
        u64::from(self.count.load(Relaxed)) * NAMES
    }

    /// Caller must hold the store lock. Adds a page for rows; gives it back when there are as
    /// many as can be, or when they are being given back.
    pub(crate) fn grow<H: Host>(&self, memory: &Memory<H>, frame: Frame) -> Result<(), Frame> {
        let count = self.count.load(Relaxed);
        let place = self.frames.get(count as usize);
        let Some(place) = place.filter(|_| self.leaving.get() == 0) else {
            return Err(frame);
        };
        // SAFETY: the page was just taken and belongs to nobody else.
        unsafe { memory.page(frame).write_bytes(0, PAGE) };
        place.set(frame);
        self.count.store(count + 1, Release);
        Ok(())
    }

    /// Caller must hold the store lock. No name is remembered from now on, until all pages were taken back.
    pub(crate) fn forget(&self) {
        let count = self.count.swap(0, Relaxed);
        self.leaving.set(self.leaving.get().max(count));
    }

    /// Caller must hold the store lock, and every shard's lock was taken since `forget`. A page
    /// that is to go back to the host, if there is one left.
    pub(crate) fn take(&self) -> Option<Frame> {
        let left = self.leaving.get().checked_sub(1)?;
        self.leaving.set(left);
        Some(self.frames[left as usize].get())
    }

    fn row<'a, H: Host>(&'a self, memory: &'a Memory<H>, name: Name) -> Option<&'a [Word; ROW]> {
        let count = self.count.load(Acquire);
        if count == 0 {
            return None;
        }
        let all = count.next_power_of_two() - 1;
        let mut page = name.row & all;
        if page >= count {
            page &= all >> 1;
        }
        let frame = self.frames[page as usize].get();
        let row = (name.row >> 16) as usize % ROWS;
        // SAFETY: the page is ours while the shard's lock is held, and the row lies within it.
        Some(unsafe { &*memory.words(frame).cast::<[Word; ROW]>().add(row) })
    }

    /// Puts a word first in its row, at the place of `at` or of the oldest.
    fn put_first(row: &[Word; ROW], at: Option<usize>, word: u32) {
        for i in (0..at.unwrap_or(ROW - 1)).rev() {
            row[i + 1].set(row[i].get());
        }
        row[0].set(word);
    }

    fn find(row: &[Word; ROW], name: Name) -> Option<usize> {
        row.iter().position(|word| word.get() & NAME == name.name)
    }

    /// Remembers a name. Caller must hold the shard's lock, as for all below.
    pub(crate) fn remember<H: Host>(&self, memory: &Memory<H>, name: Name) {
        if let Some(row) = self.row(memory, name) {
            Self::put_first(row, Self::find(row, name), name.name);
        }
    }

    /// Whether a name was remembered; it is not any more.
    pub(crate) fn recall<H: Host>(&self, memory: &Memory<H>, name: Name) -> bool {
        let Some(row) = self.row(memory, name) else {
            return false;
        };
        let Some(at) = Self::find(row, name) else {
            return false;
        };
        for i in at..ROW - 1 {
            row[i].set(row[i + 1].get());
        }
        row[ROW - 1].set(0);
        true
    }

    /// A page was offered: how often it was seen before, and whether it was asked for in between.
    pub(crate) fn sight<H: Host>(&self, memory: &Memory<H>, name: Name) -> (u32, bool) {
        let Some(row) = self.row(memory, name) else {
            return (0, false);
        };
        let at = Self::find(row, name);
        let word = at.map_or(name.name, |at| row[at].get());
        let seen = word / SIGHTING;
        let word = if seen < MAX_SIGHTINGS {
            word + SIGHTING
        } else {
            word
        };
        Self::put_first(row, at, word);
        (seen, word & ASKED != 0)
    }

    /// A page was asked for.
    pub(crate) fn ask<H: Host>(&self, memory: &Memory<H>, name: Name) {
        if let Some(row) = self.row(memory, name)
            && let Some(at) = Self::find(row, name)
        {
            row[at].set(row[at].get() | ASKED);
        }
    }
}
