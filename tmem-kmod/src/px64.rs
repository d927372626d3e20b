//! px64: a codec for pages of program memory, which are mostly words that are
//! small, or differ little from a word a stride or a neighbour away.
//!
//! A page is 512 words of 64 bits in 64 lines of 8. Each word is written as the low
//! bytes in which it differs from one of three bases: zero (`Z`), the word at the
//! stride of a recent match (`R`), or a word of like upper bits found through a
//! table (`T`). A 4-bit tag per word says which and how many. Both directions do the
//! same work for every word: no branch depends on what a word holds, since on heaps
//! such a branch is a coin's toss. `docs/reference/px64-format.md` defines the format.
//!
//! The idea of coding words against recently seen ones by their upper bits is that of
//! WKdm (Wilson, Kaplan, Smaragdakis: "The Case for Compressed Caching in Virtual
//! Memory Systems", 1999).

use core::fmt;

use crate::host::{PAGE, Page};

/// Bytes that [`compress`] may write, also for pages that it gives up: a bitmap, the
/// tags, and eight bytes for each word, with room for a whole store behind them.
pub const OUT: usize = BITMAP + LINES * TAGS + PAGE + 8;

/// Words in a page.
const WORDS: usize = PAGE / 8;
/// Words in a line.
const LINE: usize = 8;
/// Lines in a page.
const LINES: usize = WORDS / LINE;
/// Bytes of the bitmap of lines that are not zero.
const BITMAP: usize = 8;
/// Bytes of tags of a line.
const TAGS: usize = 4;
/// The most bytes that a line's payload takes.
const LINE_MAX: usize = LINE * 8;
/// The distance of base R at the start of a page, as the byte that stands for it: 1.
const FIRST_STRIDE: u64 = 255;

/// The bases.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Base {
    /// Zero.
    Z,
    /// The word at the stride.
    R,
    /// The word whose distance is stored.
    T,
}

/// What a tag stands for: base, and bytes of payload. T takes one more for its distance:
/// in the order of the tags no entry is dearer than the next, so that the smallest tag
/// that does is the cheapest. Which sixteen there are was chosen on the training corpora of
/// `cargo xtask bench codec`: R of 5 and 7 bytes in place of Z of 2 and T of 4 makes them 1.8 % smaller.
const TAG: [(Base, u8); 16] = [
    (Base::Z, 0),
    (Base::R, 0),
    (Base::Z, 1),
    (Base::R, 1),
    (Base::T, 0),
    (Base::R, 2),
    (Base::T, 1),
    (Base::R, 3),
    (Base::T, 2),
    (Base::Z, 4),
    (Base::R, 4),
    (Base::R, 5),
    (Base::Z, 6),
    (Base::R, 6),
    (Base::R, 7),
    (Base::Z, 8),
];

/// The cheapest way to write a difference of `bits` bits to a base: the tag in the uppermost 4 bits,
/// and its bytes in the lowest 8. All ones if there is none.
const fn choice(base: Base, bits: usize) -> u64 {
    let mut tag = 0;
    while tag < TAG.len() {
        let (of, bytes) = TAG[tag];
        if of as u8 == base as u8 && bits <= bytes as usize * 8 {
            return (tag as u64) << 60 | bytes as u64;
        }
        tag += 1;
    }
    u64::MAX
}

/// Bits at a word's lower end that words found through the table may differ in. Of 8 to 24 this one makes the training
/// corpora of `cargo xtask bench codec` smallest, by 1.5 % against 16.
const UNLIKE: u32 = 12;

/// What an encoder looks up, behind one pointer.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Lookup {
    /// For each hash of upper bits, the number of the newest word that has it, modulo 256.
    seen: [u8; 256],
    /// 2^64 / the golden ratio (Knuth: "The Art of Computer Programming" 3, 6.4).
    factor: u64,
    /// Choices for Z, R and T by what [`Instruction`] gives for the difference.
    choices: [[u64; 65]; 3],
}

/// What the opcode of LZCNT does: on processors that do not have it, it is BSR.
#[derive(Clone, Copy)]
enum Instruction {
    /// It gives the number of zeros above the highest bit set; 64 for 0.
    Lzcnt,
    /// It gives the number of the highest bit set, and leaves its destination alone for 0:
    /// AMD says so in its manual, and Linux' fls64() relies on it for every x86-64
    /// processor. The destination was 64.
    Bsr,
}

impl Lookup {
    const fn new(instruction: Instruction) -> Lookup {
        let mut choices = [[0; 65]; 3];
        let mut bits = 0;
        while bits <= 64 {
            let index = match instruction {
                Instruction::Lzcnt => 64 - bits,
                Instruction::Bsr if bits == 0 => 64,
                Instruction::Bsr => bits - 1,
            };
            choices[0][index] = choice(Base::Z, bits);
            choices[1][index] = choice(Base::R, bits);
            choices[2][index] = choice(Base::T, bits);
            bits += 1;
        }
        Lookup {
            seen: [0; 256],
            factor: 0x9E37_79B9_7F4A_7C15,
            choices,
        }
    }
}

/// Working space of [`compress`].
#[derive(Clone, Debug)]
#[repr(C, align(64))]
pub struct Table {
    /// By [`Instruction`].
    lookups: [Lookup; 2],
    /// Distances, from the end down; one more may be written than counts.
    nears: [u8; WORDS + 1],
}

impl Table {
    /// A table to begin with.
    pub const fn new() -> Table {
        Table {
            lookups: [
                Lookup::new(Instruction::Lzcnt),
                Lookup::new(Instruction::Bsr),
            ],
            nears: [0; WORDS + 1],
        }
    }
}

impl Default for Table {
    fn default() -> Self {
        Table::new()
    }
}

/// The bytes are not what [`compress`] writes for a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a px64 page")
    }
}

impl core::error::Error for Corrupt {}

/// Compresses a page; its length in `out` in bytes, or `None` if it is not smaller than
/// a page. What lies behind that length is undefined.
pub fn compress(page: &Page, table: &mut Table, out: &mut [u8; OUT]) -> Option<usize> {
    compress_within(page, table, out, TAGS + LINE_MAX).filter(|len| *len < PAGE)
}

/// Compresses a page unless its lines that are not zero take more than `per_line` bytes each, on an average; that
/// is looked at after a quarter and three quarters of the page, and at its end. Else as [`compress`].
pub fn compress_within(
    page: &Page,
    table: &mut Table,
    out: &mut [u8; OUT],
    per_line: usize,
) -> Option<usize> {
    match Native::instruction() {
        Instruction::Lzcnt => compress_by::<Native>(page, table, out, per_line),
        Instruction::Bsr => compress_by::<WithoutLzcnt>(page, table, out, per_line),
    }
}

#[inline(never)]
fn compress_by<W: WordByWord>(
    page: &Page,
    table: &mut Table,
    out: &mut [u8; OUT],
    per_line: usize,
) -> Option<usize> {
    let bitmap = lines_with_contents(page);
    out[..BITMAP].copy_from_slice(&bitmap.to_le_bytes());
    let payload = BITMAP + TAGS * bitmap.count_ones() as usize;
    let Table { lookups, nears } = table;
    let lookup = &mut lookups[W::COUNTS_BY as usize];
    lookup.seen = [0; 256];
    let mut encoder = Encoder {
        page,
        lookup,
        nears,
        out,
        tags: BITMAP,
        payload,
        near: WORDS,
        stride: FIRST_STRIDE,
        newest: FIRST_STRIDE,
    };
    let mut left = bitmap;
    if left & 1 != 0 {
        left &= left - 1;
        encoder.first_line::<W>();
    }
    for lines in [16, 48, LINES] {
        while left.trailing_zeros() < lines as u32 {
            encoder.line::<W>(left.trailing_zeros() as usize);
            left &= left - 1;
        }
        let tags = encoder.tags - BITMAP;
        let bytes = tags + encoder.payload - payload + (WORDS - encoder.near);
        if bytes > tags / TAGS * per_line {
            return None;
        }
    }
    let (end, nears) = (encoder.payload, &encoder.nears[encoder.near + 1..]);
    let len = end + nears.len();
    // It never is beyond `out`; without that the compiler could not know.
    encoder.out.get_mut(end..len)?.copy_from_slice(nears);
    Some(len)
}

/// A bit for each line that is not all zero.
#[inline]
fn lines_with_contents(page: &Page) -> u64 {
    let mut bitmap = 0;
    for line in page.as_chunks::<LINE_MAX>().0.iter().rev() {
        let words = line.as_chunks::<8>().0.iter();
        let any = words.fold(0, |any, word| any | u64::from_ne_bytes(*word)) != 0;
        bitmap = bitmap << 1 | u64::from(any);
    }
    bitmap
}

/// A page being written. Each word takes at most 8 bytes of `out` and of those and the
/// distances together.
struct Encoder<'a> {
    page: &'a Page,
    lookup: &'a mut Lookup,
    nears: &'a mut [u8; WORDS + 1],
    out: &'a mut [u8; OUT],
    /// Where the tags of the next line, and the payload of the next word go in `out`.
    tags: usize,
    payload: usize,
    /// Where the next distance goes in `nears`.
    near: usize,
    /// 256 - distance of base R, in words.
    stride: u64,
    /// 256 - distance of the newest T, in words.
    newest: u64,
}

impl Encoder<'_> {
    /// Writes line 0. Its first word has no base but zero.
    fn first_line<W: WordByWord>(&mut self) {
        let word = load(self.page, 0);
        let choice = choice(Base::Z, 64 - word.leading_zeros() as usize);
        store(self.out, self.payload, word);
        self.payload += (choice & 0xFF) as usize;
        // SAFETY: line 0 is a line, and its first word is done.
        let tags = unsafe { W::encode::<1>(self, 0, choice) };
        self.finish_line(tags);
    }

    /// Writes line `line`: 1 to 63.
    #[inline(always)]
    fn line<W: WordByWord>(&mut self, line: usize) {
        debug_assert!((1..LINES).contains(&line), "line {line}");
        // SAFETY: it is a line, and not the first.
        let tags = unsafe { W::encode::<0>(self, line, 0) };
        self.finish_line(tags);
    }

    #[inline(always)]
    fn finish_line(&mut self, tags: u64) {
        let tags = (tags >> 32) as u32;
        self.out[self.tags..self.tags + TAGS].copy_from_slice(&tags.to_le_bytes());
        self.tags += TAGS;
    }
}

/// Decodes a page.
///
/// # Errors
/// [`Corrupt`] if `data` is not one page, exactly; `page` is undefined then. Nothing is read
/// but `data` and `page`, whatever the bytes are.
#[inline(never)]
pub fn decompress(data: &[u8], page: &mut Page) -> Result<(), Corrupt> {
    decompress_by::<Native>(data, page)
}

#[inline(always)]
fn decompress_by<W: WordByWord>(data: &[u8], page: &mut Page) -> Result<(), Corrupt> {
    let (head, rest) = data.split_first_chunk::<BITMAP>().ok_or(Corrupt)?;
    let bitmap = u64::from_le_bytes(*head);
    let lines = bitmap.count_ones() as usize;
    let (tags, payload) = rest.split_at_checked(TAGS * lines).ok_or(Corrupt)?;
    page.fill(0);
    // The last lines are read from a copy with room behind it, so that whole words can be loaded.
    let mut tail = [0; 2 * LINE_MAX];
    let copied = payload.len().min(LINE_MAX - 1);
    tail[..copied].copy_from_slice(&payload[payload.len() - copied..]);
    // Bytes of `input` that are not of `payload`.
    let mut padding = 0;
    let mut input = payload;
    let mut decoder = Decoder {
        page,
        data,
        near: data.len() - 1,
        stride: FIRST_STRIDE,
        newest: FIRST_STRIDE,
    };
    let mut left = bitmap;
    for tags in tags.as_chunks::<TAGS>().0 {
        let line = left.trailing_zeros() as usize % LINES;
        left &= left.wrapping_sub(1);
        if padding == 0 && input.len() < LINE_MAX {
            input = &tail[copied - input.len()..];
            padding = tail.len() - copied;
        }
        let window = input.first_chunk::<LINE_MAX>().ok_or(Corrupt)?;
        if decoder.near < LINE {
            return Err(Corrupt);
        }
        // SAFETY: it is a line, and `near` was looked at.
        let used = unsafe { W::decode(&mut decoder, line, *tags, window) };
        input = input.get(used..).ok_or(Corrupt)?;
    }
    // Behind the payload there is one byte for each T.
    if input.len() != padding + data.len() - 1 - decoder.near {
        return Err(Corrupt);
    }
    Ok(())
}

/// A page being decoded.
struct Decoder<'a> {
    page: &'a mut Page,
    data: &'a [u8],
    /// Where the next distance is in `data`, if a word has one.
    near: usize,
    /// 256 - distance of base R, in words.
    stride: u64,
    /// 256 - distance of the newest T, in words.
    newest: u64,
}

/// The work on the words of a line.
trait WordByWord {
    /// What the differences' bits are counted by.
    const COUNTS_BY: Instruction;

    /// Writes the payload of a line's words from word `FROM` on, 0 or 1, with their distances. The tags
    /// of that and those before, in the upper half.
    ///
    /// # Safety
    /// `line` is one of the [`LINES`], and it or `FROM` is not 0. The encoder has room for the line: 8 bytes
    /// for each of its words and 8 more in `out`, and as many distances and one more in `nears`.
    unsafe fn encode<const FROM: usize>(encoder: &mut Encoder<'_>, line: usize, tags: u64) -> u64;

    /// Decodes a line that is zero so far; the bytes that it took of `input`.
    ///
    /// # Safety
    /// `line` is one of the [`LINES`], and the decoder's `near` is within `data` and [`LINE`] or more.
    unsafe fn decode(
        decoder: &mut Decoder<'_>,
        line: usize,
        tags: [u8; TAGS],
        input: &[u8; LINE_MAX],
    ) -> usize;
}

/// Word `i`, modulo [`WORDS`].
#[inline(always)]
fn load(page: &Page, i: usize) -> u64 {
    u64::from_le_bytes(page.as_chunks::<8>().0[i % WORDS])
}

/// Writes eight bytes at `at`.
#[inline(always)]
fn store(out: &mut [u8; OUT], at: usize, word: u64) {
    out[at..at + 8].copy_from_slice(&word.to_le_bytes());
}

/// In portable Rust: where there is no assembly, and what the assembly is tested against.
#[cfg(any(test, miri, not(target_arch = "x86_64")))]
struct Portable;

#[cfg(any(miri, not(target_arch = "x86_64")))]
impl Portable {
    /// What it counts by.
    fn instruction() -> Instruction {
        Self::COUNTS_BY
    }
}

#[cfg(any(test, miri, not(target_arch = "x86_64")))]
impl WordByWord for Portable {
    const COUNTS_BY: Instruction = Instruction::Lzcnt;

    unsafe fn encode<const FROM: usize>(
        encoder: &mut Encoder<'_>,
        line: usize,
        mut tags: u64,
    ) -> u64 {
        let Lookup {
            seen,
            factor,
            choices,
        } = &mut *encoder.lookup;
        for i in line * LINE + FROM..line * LINE + LINE {
            let word = load(encoder.page, i);
            let slot = (word >> UNLIKE).wrapping_mul(*factor) >> 56;
            let near = seen[slot as usize].wrapping_sub(i as u8);
            seen[slot as usize] = i as u8;
            let base = |near: u64| {
                load(
                    encoder.page,
                    i.wrapping_add(near as usize).wrapping_sub(256),
                )
            };
            let choice = |base: Base, difference: u64| {
                choices[base as usize][difference.leading_zeros() as usize]
            };
            let by_stride = choice(Base::R, word ^ base(encoder.stride));
            let by_table = choice(Base::T, word ^ base(u64::from(near)));
            let mut best = choice(Base::Z, word).min(by_stride);
            encoder.nears[encoder.near] = near;
            store(encoder.out, encoder.payload, word);
            if by_table < best {
                best = by_table;
                encoder.newest = u64::from(near);
                encoder.near -= 1;
            }
            encoder.payload += (best & 0xFF) as usize;
            tags = tags >> 4 | best;
            if i % 2 == 1 {
                encoder.stride = encoder.newest;
            }
        }
        tags
    }

    unsafe fn decode(
        decoder: &mut Decoder<'_>,
        line: usize,
        tags: [u8; TAGS],
        input: &[u8; LINE_MAX],
    ) -> usize {
        let mut used = 0;
        for j in 0..LINE {
            let i = line * LINE + j;
            let (base, bytes) = TAG[usize::from(tags[j / 2] >> (j % 2 * 4) & 15)];
            let mut near = decoder.stride;
            if base == Base::T {
                near = u64::from(decoder.data[decoder.near]);
                decoder.newest = near;
                decoder.near -= 1;
            }
            let low = low_bytes(bytes);
            let mut word = 0;
            if base != Base::Z {
                word = load(
                    decoder.page,
                    i.wrapping_add(near as usize).wrapping_sub(256),
                ) & !low;
            }
            let mut loaded = [0; 8];
            let there = &input[used..][..usize::from(bytes)];
            loaded[..there.len()].copy_from_slice(there);
            word |= u64::from_le_bytes(loaded);
            decoder.page[i * 8..][..8].copy_from_slice(&word.to_le_bytes());
            used += usize::from(bytes);
            if j % 2 == 1 {
                decoder.stride = decoder.newest;
            }
        }
        used
    }
}

/// A mask of the lowest `bytes` bytes.
const fn low_bytes(bytes: u8) -> u64 {
    if bytes == 0 {
        0
    } else {
        u64::MAX >> (64 - 8 * bytes as u32)
    }
}

#[cfg(any(miri, not(target_arch = "x86_64")))]
use Portable as Native;
#[cfg(any(miri, not(target_arch = "x86_64")))]
use Portable as WithoutLzcnt;
#[cfg(all(target_arch = "x86_64", not(miri)))]
type Native = x86_64::Counting<true>;
#[cfg(all(target_arch = "x86_64", not(miri)))]
type WithoutLzcnt = x86_64::Counting<false>;

/// In assembly, because the compiler makes branches of such choices, or keeps what should be in registers
/// on the stack: 2 to 4 times the cost.
#[cfg(all(target_arch = "x86_64", not(miri)))]
mod x86_64 {
    use core::arch::asm;
    use core::mem::offset_of;

    use super::{
        Decoder, Encoder, Instruction, LINE, LINE_MAX, Lookup, TAG, TAGS, UNLIKE, WordByWord,
        low_bytes,
    };

    /// By LZCNT, or by what every x86-64 processor has.
    pub(super) struct Counting<const LZCNT: bool>;

    /// The tags with base T, a bit each.
    const T_TAGS: u64 = {
        let (mut bits, mut tag) = (0, 0);
        while tag < TAG.len() {
            bits |= (matches!(TAG[tag].0, super::Base::T) as u64) << tag;
            tag += 1;
        }
        bits
    };

    /// Bytes between the choices of two bases.
    const ROW: usize = 65 * 8;

    /// What the decoder looks up by tag.
    #[repr(C, align(64))]
    struct Meaning {
        /// The bits of a word that come from the payload.
        low: [u64; 16],
        /// The bits of a word that come from the base.
        high: [u64; 16],
        /// Bytes of payload.
        bytes: [u64; 16],
    }

    static MEANING: Meaning = {
        let mut meaning = Meaning {
            low: [0; 16],
            high: [0; 16],
            bytes: [0; 16],
        };
        let mut tag = 0;
        while tag < TAG.len() {
            let (base, bytes) = TAG[tag];
            meaning.low[tag] = low_bytes(bytes);
            meaning.high[tag] = match base {
                super::Base::Z => 0,
                _ => !low_bytes(bytes),
            };
            meaning.bytes[tag] = bytes as u64;
            tag += 1;
        }
        meaning
    };

    impl Counting<true> {
        /// What this processor counts by.
        #[inline(always)]
        pub(super) fn instruction() -> Instruction {
            let mut zeros = 64_u64;
            // SAFETY: registers only. A processor without LZCNT takes it for BSR.
            unsafe {
                asm!("lzcnt {zeros}, {one}", one = in(reg) 1_u64, zeros = inout(reg) zeros,
                    options(pure, nomem, nostack));
            }
            if zeros == 63 {
                Instruction::Lzcnt
            } else {
                Instruction::Bsr
            }
        }
    }

    impl<const LZCNT: bool> WordByWord for Counting<LZCNT> {
        const COUNTS_BY: Instruction = if LZCNT {
            Instruction::Lzcnt
        } else {
            Instruction::Bsr
        };

        #[inline(always)]
        unsafe fn encode<const FROM: usize>(
            encoder: &mut Encoder<'_>,
            line: usize,
            mut tags: u64,
        ) -> u64 {
            let lookup: *mut Lookup = encoder.lookup;
            let (mut stride, mut newest) = (encoder.stride, encoder.newest);
            let mut i = line * LINE + FROM;
            // SAFETY: the line is in the page; the caller promises that payload and distances have room.
            let (words, mut out, mut near_to) = unsafe {
                (
                    encoder.page.as_ptr().add(line * LINE_MAX),
                    encoder.out.as_mut_ptr().add(encoder.payload),
                    encoder.nears.as_mut_ptr().add(encoder.near),
                )
            };
            macro_rules! word {
                ($j:literal, $count:literal, $a:literal, $b:literal, $c:literal) => {
                    asm!(
                        "mov {word}, qword ptr [{words} + 8 * {j}]",
                        // The newest word of the same hash, and this one in its place.
                        "mov {a}, {word}",
                        "shr {a}, {unlike}",
                        "imul {a}, qword ptr [{lookup} + {factor}]",
                        "shr {a}, 56",
                        "movzx {near:e}, byte ptr [{lookup} + {a}]",
                        "mov byte ptr [{lookup} + {a}], {i:l}",
                        "sub {near:l}, {i:l}",
                        "inc {i:e}",
                        // Differences.
                        "mov {b}, qword ptr [{words} + 8 * {stride} + 8 * {j} - 2048]",
                        "mov {c}, qword ptr [{words} + 8 * {near} + 8 * {j} - 2048]",
                        "xor {b}, {word}",
                        "xor {c}, {word}",
                        // Their choices.
                        concat!($a, $count, " {a}, {b}"),
                        concat!($b, $count, " {b}, {c}"),
                        concat!($c, $count, " {c}, {word}"),
                        "mov {a}, qword ptr [{lookup} + 8 * {a} + {choices_r}]",
                        "mov {b}, qword ptr [{lookup} + 8 * {b} + {choices_t}]",
                        "mov {c}, qword ptr [{lookup} + 8 * {c} + {choices_z}]",
                        // The smallest. What is written for T beside its choice is written always, and counts
                        // if it is T.
                        "mov byte ptr [{near_to}], {near:l}",
                        "mov qword ptr [{out}], {word}",
                        "cmp {a}, {c}",
                        "cmovb {c}, {a}",
                        "cmp {b}, {c}",
                        "cmovb {c}, {b}",
                        "cmovb {newest}, {near}",
                        "sbb {near_to}, 0",
                        "movzx {b:e}, {c:l}",
                        "add {out}, {b}",
                        "shr {tags}, 4",
                        "or {tags}, {c}",
                        j = const $j,
                        unlike = const UNLIKE,
                        factor = const offset_of!(Lookup, factor),
                        choices_z = const offset_of!(Lookup, choices),
                        choices_r = const offset_of!(Lookup, choices) + ROW,
                        choices_t = const offset_of!(Lookup, choices) + 2 * ROW,
                        words = in(reg) words,
                        lookup = in(reg) lookup,
                        stride = in(reg) stride,
                        newest = inout(reg) newest,
                        i = inout(reg) i,
                        out = inout(reg) out,
                        near_to = inout(reg) near_to,
                        tags = inout(reg) tags,
                        word = out(reg) _,
                        near = out(reg) _,
                        a = out(reg) _,
                        b = out(reg) _,
                        c = out(reg) _,
                        options(nostack),
                    )
                };
            }
            macro_rules! words {
                ($count:literal, $a:literal, $b:literal, $c:literal) => {
                    if FROM == 0 {
                        word!(0, $count, $a, $b, $c);
                    }
                    word!(1, $count, $a, $b, $c);
                    stride = newest;
                    word!(2, $count, $a, $b, $c);
                    word!(3, $count, $a, $b, $c);
                    stride = newest;
                    word!(4, $count, $a, $b, $c);
                    word!(5, $count, $a, $b, $c);
                    stride = newest;
                    word!(6, $count, $a, $b, $c);
                    word!(7, $count, $a, $b, $c);
                };
            }
            // SAFETY: T is 1 to 256 words back, of the words before if there are as many: a slot that was not
            // written names word 0, or 256 from there on. R is such a distance, used later, or 1. Nothing is
            // before a line but lines, and nothing before word 1 of the first but word 0. What is
            // written is in `seen`, and where the caller promises room.
            unsafe {
                if LZCNT {
                    words!("lzcnt", "", "", "");
                } else {
                    words!(
                        "bsr",
                        "mov {a:e}, 64\n",
                        "mov {b:e}, 64\n",
                        "mov {c:e}, 64\n"
                    );
                }
                encoder.payload = out.offset_from_unsigned(encoder.out.as_ptr());
                encoder.near = near_to.offset_from_unsigned(encoder.nears.as_ptr());
            }
            debug_assert_eq!(i, line * LINE + LINE, "words counted");
            encoder.stride = newest;
            encoder.newest = newest;
            tags
        }

        #[inline(always)]
        unsafe fn decode(
            decoder: &mut Decoder<'_>,
            line: usize,
            tags: [u8; TAGS],
            input: &[u8; LINE_MAX],
        ) -> usize {
            let meaning: *const Meaning = &raw const MEANING;
            let (mut stride, mut newest) = (decoder.stride, decoder.newest);
            let mut tags = u32::from_le_bytes(tags);
            let mut from = input.as_ptr();
            let page = decoder.page.as_mut_ptr();
            let first = line * LINE;
            // SAFETY: `near` is within `data`, and the line within the page.
            let (mut near_from, words) = unsafe {
                (
                    decoder.data.as_ptr().add(decoder.near),
                    page.add(line * LINE_MAX),
                )
            };
            macro_rules! word {
                ($j:literal, $load:literal, $store:literal, $($operand:ident)*) => {
                    asm!(
                        "mov {tag:e}, {tags:e}",
                        "and {tag:e}, 15",
                        "shr {tags:e}, 4",
                        "movzx {near:e}, byte ptr [{near_from}]",
                        "mov {word}, qword ptr [{from}]",
                        // The distance, which is the newest if it is T.
                        "mov {base}, {stride}",
                        "bt {t_tags:e}, {tag:e}",
                        "cmovb {newest}, {near}",
                        "cmovb {base}, {near}",
                        "sbb {near_from}, 0",
                        $load,
                        "and {word}, qword ptr [{meaning} + 8 * {tag}]",
                        "and {base}, qword ptr [{meaning} + 8 * {tag} + {high}]",
                        "add {from}, qword ptr [{meaning} + 8 * {tag} + {bytes}]",
                        "or {word}, {base}",
                        $store,
                        j = const $j,
                        high = const offset_of!(Meaning, high),
                        bytes = const offset_of!(Meaning, bytes),
                        $($operand = in(reg) $operand,)*
                        meaning = in(reg) meaning,
                        t_tags = in(reg) T_TAGS,
                        stride = in(reg) stride,
                        newest = inout(reg) newest,
                        from = inout(reg) from,
                        near_from = inout(reg) near_from,
                        tags = inout(reg) tags,
                        tag = out(reg) _,
                        near = out(reg) _,
                        word = out(reg) _,
                        base = out(reg) _,
                        options(nostack),
                    )
                };
            }
            macro_rules! words {
                ($load:literal, $store:literal, $($operand:ident)*) => {
                    word!(0, $load, $store, $($operand)*);
                    word!(1, $load, $store, $($operand)*);
                    stride = newest;
                    word!(2, $load, $store, $($operand)*);
                    word!(3, $load, $store, $($operand)*);
                    stride = newest;
                    word!(4, $load, $store, $($operand)*);
                    word!(5, $load, $store, $($operand)*);
                    stride = newest;
                    word!(6, $load, $store, $($operand)*);
                    word!(7, $load, $store, $($operand)*);
                };
            }
            // SAFETY: bases are words of the page: up to 256 before the line's, or those of the first lines
            // masked to be so. Words are of a line of it. Eight bytes are read from `input` after at most
            // 8 for each word before, and a distance for each word, of which there are as many and one
            // more before `near`.
            unsafe {
                if first >= 256 {
                    words!(
                        "mov {base}, qword ptr [{words} + 8 * {base} + 8 * {j} - 2048]",
                        "mov qword ptr [{words} + 8 * {j}], {word}",
                        words
                    );
                } else {
                    words!(
                        "lea {base:e}, [{base} + {first} + {j} - 256]\n\
                         and {base:e}, 511\n\
                         mov {base}, qword ptr [{page} + 8 * {base}]",
                        "mov qword ptr [{page} + 8 * {first} + 8 * {j}], {word}",
                        page first
                    );
                }
                debug_assert_eq!(tags, 0, "tags used");
                decoder.near = near_from.offset_from_unsigned(decoder.data.as_ptr());
                decoder.stride = newest;
                decoder.newest = newest;
                from.offset_from_unsigned(input.as_ptr())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pages of words of all sizes, alike in their upper bits now and then.
    fn page(seed: u64) -> Page {
        let mut state = seed;
        let mut page = [0; PAGE];
        for i in 0..WORDS {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let mixed = state ^ state >> 29;
            let back = load(&page, i.wrapping_sub(1 + (mixed as usize >> 8) % 250));
            let word = match mixed & 7 {
                0 | 1 => 0,
                2 => back,
                3 | 4 => back ^ mixed.rotate_left(17) >> (mixed >> 3 & 63),
                _ => mixed.rotate_left(17) >> (mixed >> 3 & 63),
            };
            page[i * 8..][..8].copy_from_slice(&word.to_le_bytes());
        }
        page
    }

    #[test]
    fn assembly_and_portable_code_agree() {
        agree::<Native>();
        agree::<WithoutLzcnt>();
    }

    fn agree<W: WordByWord>() {
        let mut table = Table::new();
        for seed in 0..400 {
            let page = page(seed);
            let mut one = [0; OUT];
            let len = compress_by::<W>(&page, &mut table, &mut one, TAGS + LINE_MAX);
            let mut two = [0; OUT];
            let same = compress_by::<Portable>(&page, &mut table, &mut two, TAGS + LINE_MAX);
            assert_eq!(len, same, "seed {seed}");
            let Some(len) = len else { continue };
            assert!(one[..len] == two[..len], "seed {seed}");
            // As they are, and damaged.
            for damage in 0..20 {
                let mut data = one[..len].to_vec();
                let at = damage * 977 % len;
                data[at] ^= damage as u8;
                let [mut one, mut two] = [[0x55; PAGE], [0xAA; PAGE]];
                let results = (
                    decompress_by::<W>(&data, &mut one),
                    decompress_by::<Portable>(&data, &mut two),
                );
                assert_eq!(results.0, results.1, "seed {seed}, damage {damage}");
                assert!(results.0.is_err() || one == two, "seed {seed}");
                assert!(damage != 0 || one == page, "seed {seed}");
            }
        }
    }

    #[test]
    fn choices_are_by_bits_whatever_counts_them() {
        let (lzcnt, bsr) = (
            Lookup::new(Instruction::Lzcnt),
            Lookup::new(Instruction::Bsr),
        );
        for bits in 0..=64_u32 {
            let word = if bits == 0 {
                0
            } else {
                u64::MAX >> (64 - bits)
            };
            let by_bsr = word.checked_ilog2().map_or(64, |bit| bit as usize);
            let by_lzcnt = word.leading_zeros() as usize;
            for (row, base) in [Base::Z, Base::R, Base::T].into_iter().enumerate() {
                let choice = choice(base, bits as usize);
                assert_eq!(lzcnt.choices[row][by_lzcnt], choice);
                assert_eq!(bsr.choices[row][by_bsr], choice);
            }
        }
    }

    #[test]
    fn tags_are_in_the_order_of_their_costs() {
        let costs = TAG.map(|(base, bytes)| bytes + u8::from(base == Base::T));
        assert!(costs.is_sorted(), "{costs:?}");
    }
}
