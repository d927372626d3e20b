//! The page store: compressed pages in slots of size classes, made so that whole
//! pages of memory go back to the host.
//!
//! A span is a group of 1 to 12 pages, not contiguous, cut into slots of one size;
//! a slot may straddle two of its pages. Each slot begins with one word: in a used
//! slot the id of the entry that it belongs to (so that compaction finds whom to
//! tell), in a free one the next free slot. A span exists while it has a used slot.
//!
//! Everything here is guarded by the store lock, except a slot's data behind the
//! first word: that belongs to the one who allocated the slot until its entry is
//! in the index, and from then on to the holder of the entry's shard lock. The
//! frames of a span do not change while it has a used slot.

use core::ops::Range;

use crate::host::{Frame, Host, PAGE};
use crate::memory::{Frames, Memory, prefetch, prefetch_to_write};
use crate::slab::{Need, Record, Slab, Word};

/// Pages of a span at the most.
pub(crate) const SPAN_PAGES: usize = 12;
/// Bytes of a slot before its data.
const SLOT_HEADER: usize = 4;
/// Slots of a span at the most.
const SPAN_SLOTS: usize = 256;
const SLOT_BITS: u32 = SPAN_SLOTS.ilog2();
/// Bytes of data that a slot holds at the most; larger pages are kept raw.
pub(crate) const MAX_DATA: usize = 3968 - SLOT_HEADER;

/// Slot sizes are the multiples of this many bytes.
const STEP: usize = 32;
const CLASSES: usize = (MAX_DATA + SLOT_HEADER).div_ceil(STEP);

/// Spans are listed by how full they are, so that slots are taken from the
/// fullest and moved away from the emptiest.
const FULLNESS: usize = 4;

/// The mark of a free slot in its first word.
const FREE: u32 = 1 << 31;

/// The class of slots that hold so many bytes of data.
#[inline(always)]
const fn class_of(len: usize) -> usize {
    (len + SLOT_HEADER).div_ceil(STEP) - 1
}

/// Bytes of a class's slots.
#[inline(always)]
const fn size_of_class(class: usize) -> usize {
    (class + 1) * STEP
}

/// Pages of a class's spans, at most `most`: as few as hold `slots` and leave 1 % or less unused behind the
/// last slot, else those that waste least.
const fn span_pages(class: usize, slots: usize, most: usize) -> usize {
    let size = size_of_class(class);
    let fewest = (slots * size).div_ceil(PAGE);
    let mut pages = if fewest < most { fewest } else { most };
    let mut best = pages;
    while pages <= most && pages * PAGE / size <= SPAN_SLOTS {
        // Compares wasted shares: waste / bytes of the span.
        if (pages * PAGE % size) * best < (best * PAGE % size) * pages {
            best = pages;
        }
        if (best * PAGE % size) * 100 <= best * PAGE {
            break;
        }
        pages += 1;
    }
    best
}

/// What depends on how much the store holds: the less, the more a half-empty span
/// weighs against a few bytes lost in each slot.
struct Scale {
    /// Up to so many bytes of spans.
    below: u64,
    /// A page may take a slot larger by this share (as a shift) rather than a new span.
    slack_shift: u32,
    /// Pages of each class's spans.
    pages: [u8; CLASSES],
}

/// `slots` of a span at the least, if `most` pages hold them: with fewer its descriptor would weigh too much.
const fn scale(below: u64, slack_shift: u32, slots: usize, most: usize) -> Scale {
    let mut pages = [0; CLASSES];
    let mut class = 0;
    while class < CLASSES {
        pages[class] = span_pages(class, slots, most) as u8;
        class += 1;
    }
    Scale {
        below,
        slack_shift,
        pages,
    }
}

/// Bytes of spans up to which all classes are compacted together.
const SMALL: u64 = 128 << 20;

static SCALES: [Scale; 3] = [
    scale(8 << 20, 3, 6, 8),
    scale(16 << 20, 4, 6, 8),
    scale(u64::MAX, 6, 8, SPAN_PAGES),
];

/// The name of a slot: (span id << 8 | slot).
pub(crate) type Place = u32;

/// Where a slot's data is, for those who have no time to ask its span. It does not
/// change while the slot is used.
#[derive(Clone, Copy)]
pub(crate) struct Site {
    /// The page that it begins in.
    pub(crate) first: Frame,
    /// The page that it ends in; the same unless the slot straddles two.
    pub(crate) second: Frame,
    /// Where its slot begins in the first page, in steps.
    pub(crate) step: u32,
}

/// Bits of a [`Site`]'s step.
pub(crate) const STEP_BITS: u32 = (PAGE / STEP).ilog2();

/// Descriptor of a span: 64 bytes.
#[repr(C)]
pub(crate) struct Span {
    frames: [Word; SPAN_PAGES],
    next: Word,
    prev: Word,
    /// See the fields below.
    shape: Word,
    fill: Word,
}

/// Some bits of one of a span's words.
struct Field {
    shift: u32,
    bits: u32,
}

/// In `shape`; the slots' number is that of a whole span.
const CLASS: Field = Field { shift: 0, bits: 8 };
const PAGES: Field = Field { shift: 8, bits: 4 };
const SLOTS: Field = Field { shift: 12, bits: 9 };
/// Not listed: compaction is emptying it.
const ISOLATED: Field = Field { shift: 21, bits: 1 };
/// In `fill`: used slots; the first free slot that was used before, as slot + 1; slots from
/// the last one on were never used.
const USED: Field = Field { shift: 0, bits: 9 };
const FREE_SLOT: Field = Field { shift: 9, bits: 9 };
const FRESH: Field = Field { shift: 18, bits: 9 };

impl Field {
    #[inline(always)]
    fn of(&self, word: &Word) -> u32 {
        word.get() >> self.shift & ((1 << self.bits) - 1)
    }

    #[inline(always)]
    fn set(&self, word: &Word, value: u32) {
        let mask = ((1 << self.bits) - 1) << self.shift;
        word.set(word.get() & !mask | value << self.shift);
    }
}

// SAFETY: made of words only.
unsafe impl Record for Span {
    fn free_link(&self) -> &Word {
        &self.next
    }
}

impl Span {
    #[inline(always)]
    fn class(&self) -> usize {
        CLASS.of(&self.shape) as usize
    }

    #[inline(always)]
    fn slots(&self) -> u32 {
        SLOTS.of(&self.shape)
    }

    #[inline(always)]
    fn used(&self) -> u32 {
        USED.of(&self.fill)
    }
}

/// The span slab's ids must fit above the slot number of a [`Place`].
pub(crate) type Spans = Slab<Span, 128>;

/// The lists of spans and their sums.
pub(crate) struct Store {
    lists: [[u32; FULLNESS]; CLASSES],
    /// Classes with a listed span, one bit each.
    listed: u128,
    slots: [u32; CLASSES],
    used: [u32; CLASSES],
    /// Pages that hold data: those of spans, and raw pages.
    pages: u64,
    /// Bytes of spans, and bytes of their used slots.
    span_bytes: u64,
    slot_bytes: u64,
    /// Where the search for a class to compact goes on.
    cursor: usize,
    /// Slots to be freed before compaction is asked for again, after it found nothing to do.
    calm: u64,
    /// Spans in a row that could not be emptied.
    stuck: u32,
}

/// A used slot of a span that is being emptied.
pub(crate) struct Occupant {
    pub(crate) place: Place,
    pub(crate) entry: u32,
}

/// A slot that was just taken.
#[derive(Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) place: Place,
    pub(crate) site: Site,
    /// Its bytes, with header and rounding.
    pub(crate) size: u32,
}

/// Where a slot of a span with slots of so many bytes is.
#[inline(always)]
fn site(span: &Span, slot: u32, size: usize) -> Site {
    let start = slot as usize * size;
    let (first, last) = (start / PAGE, (start + size - 1) / PAGE);
    Site {
        first: span.frames[first % SPAN_PAGES].get(),
        second: span.frames[last % SPAN_PAGES].get(),
        step: (start % PAGE / STEP) as u32,
    }
}

/// The pieces of memory that make up a slot's data: one, or two if it straddles pages.
#[inline(always)]
fn pieces<H: Host>(memory: &Memory<H>, site: Site, len: usize) -> (*mut u8, usize, *mut u8) {
    let offset = site.step as usize * STEP + SLOT_HEADER;
    let first = memory.page(site.first).wrapping_add(offset);
    let room = PAGE - offset;
    if len <= room {
        return (first, len, first);
    }
    (first, room, memory.page(site.second))
}

/// Copies a slot's data out.
///
/// # Safety
/// The slot is used, holds at least `out.len()` bytes, and its data is stable (see the module's text).
#[inline(always)]
pub(crate) unsafe fn read<H: Host>(memory: &Memory<H>, site: Site, out: &mut [u8]) {
    let (first, n, second) = pieces(memory, site, out.len());
    // SAFETY: both pieces lie in the slot, which is stable by the caller's promise.
    unsafe {
        core::ptr::copy_nonoverlapping(first, out.as_mut_ptr(), n);
        if n < out.len() {
            core::ptr::copy_nonoverlapping(second, out.as_mut_ptr().add(n), out.len() - n);
        }
    }
}

/// A slot's data, where it does not straddle two pages.
///
/// # Safety
/// The slot is used, holds at least `len` bytes, and its data is stable as long as the result is used.
#[inline(always)]
pub(crate) unsafe fn in_one_piece<H: Host>(
    memory: &Memory<H>,
    site: Site,
    len: usize,
) -> Option<&[u8]> {
    let (first, n, _) = pieces(memory, site, len);
    // SAFETY: the piece lies in the slot, which is stable by the caller's promise.
    (n == len).then(|| unsafe { core::slice::from_raw_parts(first, len) })
}

/// Asks for these bytes of a slot's data.
#[inline(always)]
pub(crate) fn prefetch_data<H: Host>(memory: &Memory<H>, site: Site, bytes: Range<usize>) {
    let (first, n, second) = pieces(memory, site, bytes.end);
    prefetch(
        first.wrapping_add(bytes.start),
        n.saturating_sub(bytes.start),
    );
    let begin = bytes.start.max(n);
    prefetch(
        second.wrapping_add(begin - n),
        bytes.end.saturating_sub(begin),
    );
}

/// Asks for the lines that a slot's data will be written to.
#[inline(always)]
pub(crate) fn prefetch_slot<H: Host>(memory: &Memory<H>, site: Site, len: usize) {
    let (first, n, second) = pieces(memory, site, len);
    prefetch_to_write(first, n);
    prefetch_to_write(second, len - n);
}

/// Fills a slot's data.
///
/// # Safety
/// The slot is used, has room for `data`, and its data is the caller's alone.
#[inline(always)]
pub(crate) unsafe fn write<H: Host>(memory: &Memory<H>, site: Site, data: &[u8]) {
    let (first, n, second) = pieces(memory, site, data.len());
    // SAFETY: both pieces lie in the slot, which is the caller's alone.
    unsafe {
        core::ptr::copy_nonoverlapping(data.as_ptr(), first, n);
        if n < data.len() {
            core::ptr::copy_nonoverlapping(data.as_ptr().add(n), second, data.len() - n);
        }
    }
}

/// Copies the data of one slot to another.
///
/// # Safety
/// Both slots are used and hold at least `len` bytes; the first is stable, the second the caller's alone.
pub(crate) unsafe fn copy<H: Host>(memory: &Memory<H>, from: Site, to: Site, len: usize) {
    let (source, n, rest) = pieces(memory, from, len);
    let (target, m, further) = pieces(memory, to, len);
    let mut done = 0;
    while done < len {
        let (s, s_room) = if done < n {
            (source.wrapping_add(done), n - done)
        } else {
            (rest.wrapping_add(done - n), len - done)
        };
        let (t, t_room) = if done < m {
            (target.wrapping_add(done), m - done)
        } else {
            (further.wrapping_add(done - m), len - done)
        };
        let step = s_room.min(t_room);
        // SAFETY: within a piece of each slot, by the caller's promise; distinct slots do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(s, t, step) };
        done += step;
    }
}

/// The first word of a slot.
#[inline(always)]
fn slot_word<'a, H: Host>(memory: &'a Memory<H>, span: &Span, slot: u32) -> &'a Word {
    let start = slot as usize * size_of_class(span.class());
    let page = memory.words(span.frames[start / PAGE % SPAN_PAGES].get());
    // SAFETY: slot sizes are multiples of 32, so the word is aligned and in one page; the slot is in the span.
    unsafe { &*page.byte_add(start % PAGE) }
}

/// The list that a span with so many used slots belongs to; [`FULLNESS`], which is none, if it is full.
#[inline(always)]
fn fullness(used: u32, slots: u32) -> usize {
    const { assert!(FULLNESS == 4) };
    // Quarters, without a division.
    let full = |quarters: u32| usize::from(4 * used >= quarters * slots);
    full(1) + full(2) + full(3) + full(4)
}

impl Store {
    /// Bytes of memory taken for data.
    pub(crate) fn bytes(&self) -> u64 {
        self.pages * PAGE as u64
    }

    /// Counts a frame that becomes a raw page, or ends being one.
    pub(crate) fn raw_page(&mut self, joins: bool) {
        if joins {
            self.pages += 1;
        } else {
            self.pages -= 1;
        }
    }

    /// A slot for `len` bytes that belongs to `entry`. With too few frames in hand
    /// nothing changes. `tight`: rather a much larger slot than a new span.
    pub(crate) fn alloc<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        len: usize,
        entry: u32,
        tight: bool,
        hand: &mut Frames,
    ) -> Result<Taken, Need> {
        let class = class_of(len);
        let reach = if tight {
            class / 4 + 1
        } else {
            self.reach(class)
        };
        match self.alloc_listed(memory, spans, class, reach, entry) {
            Some(taken) => Ok(taken),
            None => self.alloc_in_new_span(memory, spans, class, entry, hand),
        }
    }

    /// As [`Store::alloc`], where no listed span will do.
    // Not inlined: most puts need no new span, and a put's frame is large enough.
    #[inline(never)]
    fn alloc_in_new_span<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        class: usize,
        entry: u32,
        hand: &mut Frames,
    ) -> Result<Taken, Need> {
        let (class, pages) = self.shape(class);
        if hand.len() < pages {
            return Err(Need(pages));
        }
        let (id, span) = spans
            .alloc(memory, hand)
            .map_err(|Need(n)| Need(n.saturating_add(pages)))?;
        if hand.len() < pages {
            spans.free(memory, id, hand);
            return Err(Need(pages + 2));
        }
        for word in &span.frames[..pages] {
            word.set(hand.pop().unwrap_or_default());
        }
        let slots = (pages * PAGE / size_of_class(class)) as u32;
        span.shape.set(0);
        CLASS.set(&span.shape, class as u32);
        PAGES.set(&span.shape, pages as u32);
        SLOTS.set(&span.shape, slots);
        span.fill.set(0);
        self.pages += pages as u64;
        self.span_bytes += (pages * PAGE) as u64;
        self.slots[class] += slots;
        self.list(memory, spans, id, span, 0);
        Ok(self.take(memory, spans, id, entry))
    }

    fn scale(&self) -> &'static Scale {
        let fits = |scale: &&Scale| self.span_bytes < scale.below;
        SCALES
            .iter()
            .find(fits)
            .unwrap_or(&SCALES[SCALES.len() - 1])
    }

    /// How many larger classes may lend a slot before a new span is opened.
    fn reach(&self, class: usize) -> usize {
        (size_of_class(class) >> self.scale().slack_shift) / STEP
    }

    /// How many larger classes may take a page that leaves its span: where the store is
    /// scattered any hole is better filled than kept.
    fn reach_of_moves(&self, class: usize) -> usize {
        if self.is_scattered() {
            class / 3 + 1
        } else {
            self.reach(class)
        }
    }

    /// Class and pages of a new span for a page of that class: of the classes within
    /// reach the one whose slots cost least memory, the largest if several do, so
    /// that a small store opens spans of few classes.
    fn shape(&self, class: usize) -> (usize, usize) {
        let scale = self.scale();
        let slots = |class: usize, pages: usize| pages * PAGE / size_of_class(class);
        let mut best = (class, usize::from(scale.pages[class]));
        for other in class + 1..CLASSES.min(class + self.reach(class) + 1) {
            let pages = usize::from(scale.pages[other]);
            if pages * slots(best.0, best.1) <= best.1 * slots(other, pages) {
                best = (other, pages);
            }
        }
        best
    }

    /// A slot in an existing span of this class or of one of the next `reach` classes.
    fn alloc_listed<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        class: usize,
        reach: usize,
        entry: u32,
    ) -> Option<Taken> {
        let nearest = (self.listed >> class).trailing_zeros() as usize;
        if nearest > reach {
            return None;
        }
        let lists = &self.lists[class + nearest];
        let id = lists.iter().rev().copied().find(|id| *id != 0)?;
        Some(self.take(memory, spans, id, entry))
    }

    /// A slot in an existing span, for `len` bytes that leave the slot `from` of a
    /// span which is being emptied. Never a larger one than could be had for a new
    /// page, unless `from` is that large already.
    pub(crate) fn alloc_for_move<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        len: usize,
        from: Place,
        entry: u32,
    ) -> Option<Taken> {
        let class = class_of(len);
        let now = spans.at(memory, from >> SLOT_BITS).class();
        let reach = now + self.reach_of_moves(now) - class;
        self.alloc_listed(memory, spans, class, reach, entry)
    }

    /// Takes a free slot of a listed span.
    fn take<H: Host>(&mut self, memory: &Memory<H>, spans: &Spans, id: u32, entry: u32) -> Taken {
        let span = spans.at(memory, id);
        let class = span.class();
        let size = size_of_class(class);
        let slot = match FREE_SLOT.of(&span.fill) {
            0 => {
                let slot = FRESH.of(&span.fill);
                FRESH.set(&span.fill, slot + 1);
                slot
            }
            free => {
                let next = slot_word(memory, span, free - 1).get() & !FREE;
                FREE_SLOT.set(&span.fill, next);
                if next != 0 {
                    // It is read by the next one who takes a slot here.
                    let next = core::ptr::from_ref(slot_word(memory, span, next - 1));
                    prefetch_to_write(next.cast(), size_of::<Word>());
                }
                free - 1
            }
        };
        slot_word(memory, span, slot).set(entry);
        self.used[class] += 1;
        self.slot_bytes += size as u64;
        let used = span.used();
        self.relist(memory, spans, id, span, used, used + 1);
        Taken {
            place: id << SLOT_BITS | slot,
            site: site(span, slot, size),
            size: size as u32,
        }
    }

    /// Ends the use of a slot; the pages of an emptied span go to `hand` (at most
    /// `SPAN_PAGES` and two of its descriptor). The slot's bytes, with header and rounding,
    /// and whether compaction became worth while.
    pub(crate) fn free<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        place: Place,
        hand: &mut Frames,
    ) -> (u32, bool) {
        let id = place >> SLOT_BITS;
        let span = spans.at(memory, id);
        let class = span.class();
        let size = size_of_class(class);
        let slot = place % SPAN_SLOTS as u32;
        slot_word(memory, span, slot).set(FREE | FREE_SLOT.of(&span.fill));
        FREE_SLOT.set(&span.fill, slot + 1);
        self.used[class] -= 1;
        self.slot_bytes -= size as u64;
        let used = span.used();
        if ISOLATED.of(&span.shape) != 0 {
            USED.set(&span.fill, used - 1);
        } else {
            self.relist(memory, spans, id, span, used, used - 1);
            if used == 1 {
                self.unlist(memory, spans, id, span, 0);
                self.release(memory, spans, id, span, hand);
            }
        }
        self.calm = self.calm.saturating_sub(1);
        let sparse = self.calm == 0 && (self.class_is_sparse(class) || self.is_scattered());
        (size as u32, sparse)
    }

    /// Gives an empty, unlisted span back.
    fn release<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        id: u32,
        span: &Span,
        hand: &mut Frames,
    ) {
        let class = span.class();
        let pages = PAGES.of(&span.shape) as usize;
        for word in &span.frames[..pages] {
            hand.push(word.get());
        }
        self.pages -= pages as u64;
        self.span_bytes -= (pages * PAGE) as u64;
        self.slots[class] -= span.slots();
        spans.free(memory, id, hand);
    }

    #[inline(always)]
    fn relist<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        id: u32,
        span: &Span,
        was: u32,
        is: u32,
    ) {
        let slots = span.slots();
        USED.set(&span.fill, is);
        let (from, to) = (fullness(was, slots), fullness(is, slots));
        if from != to {
            if from != FULLNESS {
                self.unlist(memory, spans, id, span, from);
            }
            if to != FULLNESS {
                self.list(memory, spans, id, span, to);
            }
        }
    }

    fn list<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        id: u32,
        span: &Span,
        list: usize,
    ) {
        let class = span.class();
        let next = self.lists[class][list];
        span.next.set(next);
        span.prev.set(0);
        if next != 0 {
            spans.at(memory, next).prev.set(id);
        }
        self.lists[class][list] = id;
        self.listed |= 1 << class;
    }

    fn unlist<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        id: u32,
        span: &Span,
        list: usize,
    ) {
        let class = span.class();
        let (next, prev) = (span.next.get(), span.prev.get());
        if next != 0 {
            spans.at(memory, next).prev.set(prev);
        }
        if prev != 0 {
            spans.at(memory, prev).next.set(next);
        } else {
            debug_assert_eq!(self.lists[class][list], id);
            self.lists[class][list] = next;
        }
        if self.lists[class].iter().all(|id| *id == 0) {
            self.listed &= !(1 << class);
        }
    }

    // -- compaction ---------------------------------------------------------

    /// Whether moving a class's slots together would free a span and win back more
    /// than a 32nd of the class.
    fn class_is_sparse(&self, class: usize) -> bool {
        let free = self.slots[class] - self.used[class];
        let span = usize::from(self.scale().pages[class]) * PAGE / size_of_class(class);
        free as usize >= span + self.slots[class] as usize / 32
    }

    /// Whether more than a 32nd of a small store lies in free slots. In a large one the classes
    /// are large too, and each sees to its own.
    fn is_scattered(&self) -> bool {
        self.span_bytes < SMALL && self.span_bytes - self.slot_bytes > self.span_bytes / 32
    }

    /// Chooses a span that is worth emptying and takes it off the lists; ends with
    /// `finish`. In order of preference: the emptiest span of a sparse class, whose
    /// slots go to others of the class; in a small store, the emptiest span of a class
    /// if the classes within reach have room for it.
    pub(crate) fn isolate<H: Host>(&mut self, memory: &Memory<H>, spans: &Spans) -> Option<u32> {
        let scattered = self.is_scattered();
        for borrow in [false, true] {
            if borrow && !scattered {
                break;
            }
            for step in 0..CLASSES {
                let class = (self.cursor + step) % CLASSES;
                if !borrow && !self.class_is_sparse(class) {
                    continue;
                }
                let Some(list) = self.lists[class].iter().position(|id| *id != 0) else {
                    continue;
                };
                let id = self.lists[class][list];
                let span = spans.at(memory, id);
                let last = if borrow {
                    class + self.reach_of_moves(class)
                } else {
                    class
                };
                if self.room(class, last) >= span.slots() {
                    self.unlist(memory, spans, id, span, list);
                    ISOLATED.set(&span.shape, 1);
                    self.cursor = class;
                    return Some(id);
                }
            }
        }
        // In a large store a wake-up for every few slots would cost more than it finds; in a
        // small one the few that are missed would show.
        self.calm = (self.span_bytes / (64 * PAGE as u64)).min(1024);
        None
    }

    /// Free slots of these classes.
    fn room(&self, first: usize, last: usize) -> u32 {
        let classes = first..CLASSES.min(last + 1);
        classes
            .map(|class| self.slots[class] - self.used[class])
            .sum()
    }

    /// Whether another span may be tried although the last one could not be emptied,
    /// since slots in it were just being filled or others were taken meanwhile.
    pub(crate) fn may_retry(&self) -> bool {
        !self.stuck.is_multiple_of(8)
    }

    /// The next used slot of an isolated span, from slot `from` on.
    pub(crate) fn occupant<H: Host>(
        &self,
        memory: &Memory<H>,
        spans: &Spans,
        id: u32,
        from: u32,
    ) -> Option<Occupant> {
        let span = spans.at(memory, id);
        (from..FRESH.of(&span.fill)).find_map(|slot| {
            let entry = slot_word(memory, span, slot).get();
            (entry & FREE == 0).then_some(Occupant {
                place: id << SLOT_BITS | slot,
                entry,
            })
        })
    }

    /// Whether a slot of an isolated span still belongs to that entry.
    pub(crate) fn occupied_by<H: Host>(
        &self,
        memory: &Memory<H>,
        spans: &Spans,
        occupant: &Occupant,
    ) -> bool {
        let span = spans.at(memory, occupant.place >> SLOT_BITS);
        let slot = occupant.place % SPAN_SLOTS as u32;
        slot_word(memory, span, slot).get() == occupant.entry
    }

    /// Tells a used slot that its entry's record is now another one.
    pub(crate) fn set_occupant<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        place: Place,
        entry: u32,
    ) {
        let span = spans.at(memory, place >> SLOT_BITS);
        slot_word(memory, span, place % SPAN_SLOTS as u32).set(entry);
    }

    /// Ends the isolation: an empty span goes to `hand`, another one back on its
    /// list. True if it was empty.
    pub(crate) fn finish<H: Host>(
        &mut self,
        memory: &Memory<H>,
        spans: &Spans,
        id: u32,
        hand: &mut Frames,
    ) -> bool {
        let span = spans.at(memory, id);
        ISOLATED.set(&span.shape, 0);
        let used = span.used();
        if used == 0 {
            self.release(memory, spans, id, span, hand);
            self.stuck = 0;
            return true;
        }
        self.stuck += 1;
        self.cursor = span.class() + 1;
        match fullness(used, span.slots()) {
            FULLNESS => {}
            list => self.list(memory, spans, id, span, list),
        }
        false
    }
}

impl Occupant {
    /// The slot number after this one, within its span.
    pub(crate) fn next_slot(&self) -> u32 {
        self.place % SPAN_SLOTS as u32 + 1
    }
}
