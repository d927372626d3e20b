//! Small records (entries, objects, spans) in whole pages, named by 32-bit ids.
//!
//! An id is (page number << 7 | slot); page numbers lead through a two-level
//! directory to frames. Records consist of [`Word`]s, so a shared reference to
//! one is always sound; who may change what is said at the records. The words of
//! the directory on the way to a live record do not change, hence looking an id
//! up takes no lock. Ids are followed only by those who know the record alive:
//! holders of the lock that guards the list or bucket in which they found the id.
//! Id 0 names no record. Everything is valid when all bytes are zero.

use core::marker::PhantomData;
use core::mem::size_of;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::host::{Frame, Host, PAGE};
use crate::memory::{Frames, Memory, prefetch_to_write};

/// A 32-bit cell that may be read while another thread changes it.
#[repr(transparent)]
#[derive(Default)]
pub(crate) struct Word(AtomicU32);

impl Word {
    #[inline(always)]
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Relaxed)
    }

    #[inline(always)]
    pub(crate) fn set(&self, value: u32) {
        self.0.store(value, Relaxed);
    }
}

/// A record that lives in a slab: made of [`Word`]s only.
///
/// # Safety
/// Every bit pattern is a valid value, the alignment is that of `u32`, and
/// nothing is to be dropped.
pub(crate) unsafe trait Record: Sized {
    /// The word that links free records while the record is free.
    fn free_link(&self) -> &Word;
}

const SLOT_BITS: u32 = 7;
const LEAF_BITS: u32 = 10;
const LEAF: usize = 1 << LEAF_BITS;
/// Bits of an id in a slab of 1024 leaves.
pub(crate) const ID_BITS: u32 = 10 + LEAF_BITS + SLOT_BITS;

/// First bytes of a slab page.
#[repr(C)]
struct Header {
    /// Records in use.
    used: Word,
    /// First free record that was used before, as slot + 1.
    free: Word,
    /// Slots from here on were never used.
    fresh: Word,
    /// Neighbours among the pages with free records, as page numbers.
    next: Word,
    prev: Word,
    /// 1 while compaction is emptying the page, which is not listed then.
    isolated: Word,
    reserved: [Word; 2],
}

/// How many more frames an allocation wants in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need(pub(crate) usize);

/// Pages of records of one type; at most `LEAVES * 1024` pages.
pub(crate) struct Slab<T, const LEAVES: usize> {
    root: [Word; LEAVES],
    /// Used words of each leaf. Guarded by the store lock, as everything below.
    leaf_used: [Word; LEAVES],
    /// First page that has a free record.
    partial: Word,
    /// No leaf before this one has a free word.
    first_free_leaf: Word,
    /// Pages, and records in use.
    pages: Word,
    used: Word,
    /// Records to be freed before compaction is asked for again, after a page could not be emptied.
    calm: Word,
    record: PhantomData<T>,
}

impl<T: Record, const LEAVES: usize> Slab<T, LEAVES> {
    const PER_PAGE: u32 = {
        let n = (PAGE - size_of::<Header>()) / size_of::<T>();
        if n < 1 << SLOT_BITS {
            n as u32
        } else {
            1 << SLOT_BITS
        }
    };

    /// Where the records of a page begin: they end with it, so that records as large as a line of
    /// the caches lie in one each.
    const FIRST: usize = PAGE - Self::PER_PAGE as usize * size_of::<T>();

    /// The record of a live id.
    #[inline(always)]
    pub(crate) fn at<'a, H: Host>(&'a self, memory: &'a Memory<H>, id: u32) -> &'a T {
        // The id is live (module documentation), so its page exists and the record lies within it.
        let frame = self.frame_of(memory, id >> SLOT_BITS);
        self.in_page(memory, frame, id & ((1 << SLOT_BITS) - 1)).0
    }

    #[inline(always)]
    fn frame_of<H: Host>(&self, memory: &Memory<H>, number: u32) -> Frame {
        let leaf = self.root[(number >> LEAF_BITS) as usize % LEAVES].get();
        self.leaf_word(memory, leaf, number as usize % LEAF).get()
    }

    #[inline(always)]
    fn leaf_word<'a, H: Host>(&'a self, memory: &'a Memory<H>, leaf: Frame, i: usize) -> &'a Word {
        // SAFETY: the leaf exists while one of its words is in use, and i < LEAF.
        unsafe { &*memory.words(leaf).add(i) }
    }

    fn header<'a, H: Host>(&'a self, memory: &'a Memory<H>, number: u32) -> &'a Header {
        // SAFETY: the page is one of the slab's, its header was written when it joined.
        unsafe { &*memory.words(self.frame_of(memory, number)).cast::<Header>() }
    }

    /// The record in a slot of a page, and the page's header.
    #[inline(always)]
    fn in_page<'a, H: Host>(
        &'a self,
        memory: &'a Memory<H>,
        frame: Frame,
        slot: u32,
    ) -> (&'a T, &'a Header) {
        let page = memory.words(frame);
        // SAFETY: the page is one of the slab's and the slot below its number of slots, by the caller's promise.
        unsafe {
            let record = page.byte_add(Self::FIRST + slot as usize * size_of::<T>());
            (&*record.cast::<T>(), &*page.cast::<Header>())
        }
    }

    /// Caller must hold the store lock. A fresh id and its record, whose words are what they were when it
    /// was last in use, or zero.
    /// With too few frames in hand nothing changes.
    pub(crate) fn alloc<'a, H: Host>(
        &'a self,
        memory: &'a Memory<H>,
        hand: &mut Frames,
    ) -> Result<(u32, &'a T), Need> {
        let mut number = self.partial.get();
        if number == 0 {
            number = self.add_page(memory, hand)?;
        }
        let frame = self.frame_of(memory, number);
        let (_, header) = self.in_page(memory, frame, 0);
        let free = header.free.get();
        let (slot, record) = if free == 0 {
            let slot = header.fresh.get();
            header.fresh.set(slot + 1);
            (slot, self.in_page(memory, frame, slot).0)
        } else {
            let record = self.in_page(memory, frame, free - 1).0;
            let next = record.free_link().get();
            header.free.set(next);
            if next != 0 {
                // Its link is read by the next call, and its words are written soon after.
                let next = core::ptr::from_ref(self.in_page(memory, frame, next - 1).0);
                prefetch_to_write(next.cast(), size_of::<T>());
            }
            (free - 1, record)
        };
        header.used.set(header.used.get() + 1);
        self.used.set(self.used.get() + 1);
        if header.used.get() == Self::PER_PAGE {
            self.unlist(memory, header);
        }
        Ok((number << SLOT_BITS | slot, record))
    }

    /// Caller must hold the store lock. Ends a record's life; emptied pages go to `hand`
    /// (at most two).
    pub(crate) fn free<H: Host>(&self, memory: &Memory<H>, id: u32, hand: &mut Frames) {
        let (number, slot) = (id >> SLOT_BITS, id & ((1 << SLOT_BITS) - 1));
        let (record, header) = self.in_page(memory, self.frame_of(memory, number), slot);
        record.free_link().set(header.free.get());
        header.free.set(slot + 1);
        let used = header.used.get();
        header.used.set(used - 1);
        self.used.set(self.used.get() - 1);
        self.calm.set(self.calm.get().saturating_sub(1));
        if header.isolated.get() != 0 {
            return;
        }
        if used == Self::PER_PAGE {
            self.list(memory, number, header);
        }
        if used == 1 {
            self.unlist(memory, header);
            self.remove_page(memory, number, hand);
        }
    }

    /// Puts a page at the head of the pages that have a free record.
    fn list<H: Host>(&self, memory: &Memory<H>, number: u32, header: &Header) {
        let next = self.partial.get();
        header.next.set(next);
        header.prev.set(0);
        if next != 0 {
            self.header(memory, next).prev.set(number);
        }
        self.partial.set(number);
    }

    fn unlist<H: Host>(&self, memory: &Memory<H>, header: &Header) {
        let (next, prev) = (header.next.get(), header.prev.get());
        if next != 0 {
            self.header(memory, next).prev.set(prev);
        }
        if prev != 0 {
            self.header(memory, prev).next.set(next);
        } else {
            self.partial.set(next);
        }
    }

    /// Joins a frame from `hand` to the slab and lists it. Page number 0 stays unused.
    fn add_page<H: Host>(&self, memory: &Memory<H>, hand: &mut Frames) -> Result<u32, Need> {
        let mut leaf = self.first_free_leaf.get() as usize;
        while leaf < LEAVES && self.leaf_used[leaf].get() as usize == Self::words_of(leaf) {
            leaf += 1;
        }
        self.first_free_leaf.set(leaf as u32);
        if leaf == LEAVES {
            return Err(Need(usize::MAX));
        }
        let new_leaf = self.leaf_used[leaf].get() == 0;
        let need = 1 + usize::from(new_leaf);
        if hand.len() < need {
            return Err(Need(need));
        }
        if new_leaf && let Some(frame) = hand.pop() {
            // SAFETY: the frame is in hand, so it is ours alone; zero bytes are valid words.
            unsafe { memory.page(frame).write_bytes(0, PAGE) };
            self.root[leaf].set(frame);
        }
        let Some(frame) = hand.pop() else {
            return Err(Need(need));
        };
        let first = usize::from(leaf == 0);
        let mut i = first;
        while i + 1 < LEAF && self.leaf_word(memory, self.root[leaf].get(), i).get() != 0 {
            i += 1;
        }
        self.leaf_word(memory, self.root[leaf].get(), i).set(frame);
        self.leaf_used[leaf].set(self.leaf_used[leaf].get() + 1);
        // The records too: compaction looks at those that were never filled in.
        // SAFETY: the frame is in hand, so it is ours alone; zero bytes are a valid header.
        unsafe { memory.page(frame).write_bytes(0, PAGE) };
        self.pages.set(self.pages.get() + 1);
        let number = (leaf << LEAF_BITS | i) as u32;
        self.list(memory, number, self.header(memory, number));
        Ok(number)
    }

    fn remove_page<H: Host>(&self, memory: &Memory<H>, number: u32, hand: &mut Frames) {
        let leaf = (number >> LEAF_BITS) as usize;
        let word = self.leaf_word(memory, self.root[leaf].get(), number as usize % LEAF);
        hand.push(word.get());
        word.set(0);
        self.pages.set(self.pages.get() - 1);
        let used = self.leaf_used[leaf].get() - 1;
        self.leaf_used[leaf].set(used);
        if used == 0 {
            hand.push(self.root[leaf].get());
            self.root[leaf].set(0);
        }
        if (leaf as u32) < self.first_free_leaf.get() {
            self.first_free_leaf.set(leaf as u32);
        }
    }

    // -- compaction -----------------------------------------------------------

    /// Whether moving records together would empty a page and win back more than a 16th.
    fn is_sparse(&self) -> bool {
        let records = self.pages.get() * Self::PER_PAGE;
        records - self.used.get() >= Self::PER_PAGE + records / 16
    }

    /// Caller must hold the store lock. Whether [`Slab::isolate`] is worth a call.
    pub(crate) fn wants_compaction(&self) -> bool {
        self.calm.get() == 0 && self.is_sparse()
    }

    /// Caller must hold the store lock. Chooses a page that is worth emptying, whose number
    /// goes to `finish`: until then nothing is allocated from it and it stays a page of the slab.
    pub(crate) fn isolate<H: Host>(&self, memory: &Memory<H>) -> Option<u32> {
        /// Pages to choose from.
        const LOOK_AT: usize = 16;
        if !self.is_sparse() {
            return None;
        }
        let listed = |number: u32| (number != 0).then_some(number);
        let pages = core::iter::successors(listed(self.partial.get()), |number| {
            listed(self.header(memory, *number).next.get())
        });
        let number = pages
            .take(LOOK_AT)
            .min_by_key(|number| self.header(memory, *number).used.get())?;
        let header = self.header(memory, number);
        self.unlist(memory, header);
        header.isolated.set(1);
        Some(number)
    }

    /// The ids of an isolated page that may be in use.
    pub(crate) fn ids_of<H: Host>(
        &self,
        memory: &Memory<H>,
        number: u32,
    ) -> impl Iterator<Item = u32> + use<T, H, LEAVES> {
        let fresh = self.header(memory, number).fresh.get();
        (0..fresh).map(move |slot| number << SLOT_BITS | slot)
    }

    /// Caller must hold the store lock. Ends the isolation: an empty page goes to `hand` (at most
    /// two), another one back on its list. True if it was empty.
    pub(crate) fn finish<H: Host>(
        &self,
        memory: &Memory<H>,
        number: u32,
        hand: &mut Frames,
    ) -> bool {
        let header = self.header(memory, number);
        header.isolated.set(0);
        let empty = header.used.get() == 0;
        if empty {
            self.remove_page(memory, number, hand);
        } else {
            self.list(memory, number, header);
            self.calm.set(Self::PER_PAGE);
        }
        empty
    }

    /// Words of a leaf that can name pages: the first leaf has none for page number 0.
    const fn words_of(leaf: usize) -> usize {
        if leaf == 0 { LEAF - 1 } else { LEAF }
    }
}
