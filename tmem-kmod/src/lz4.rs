//! LZ4 blocks of one page.
//!
//! The format: `doc/lz4_Block_format.md` of LZ4 (Collet, 2011). Finding matches goes as in its reference
//! implementation, but that more of a match's positions are remembered. Short literals and matches are copied
//! whole words at a time where both buffers have room behind them.

use crate::host::{PAGE, Page};

/// Bytes that [`compress`] may write, also for pages that it gives up: one length byte for 255 literals, and
/// room for whole words.
pub(crate) const OUT: usize = PAGE + PAGE / 255 + 32;

/// The shortest match.
const MATCH: usize = 4;
/// The last bytes are literals, so many at least.
const LAST_LITERALS: usize = 5;
/// No match begins behind this.
const LAST_MATCH: usize = PAGE - 12;

/// Literals and matches up to 14 and 18 bytes are decoded with one test: what a sequence may read and write then.
const READS: usize = 16;
const WRITES: usize = 14 + 18;

const HASH_BITS: u32 = 13;

/// Working space of [`compress`]: for each hash of four bytes, the last position that had it.
pub(crate) struct Table([u16; 1 << HASH_BITS]);

impl Table {
    /// A table to begin with.
    pub(crate) const fn new() -> Table {
        Table([0; 1 << HASH_BITS])
    }

    /// The last position of the same four bytes' hash, or 0, and `at` in its place.
    #[inline(always)]
    fn swap(&mut self, bytes: u32, at: usize) -> usize {
        // The factor is the reference implementation's: Knuth's golden ratio.
        let hash = bytes.wrapping_mul(2_654_435_761) >> (u32::BITS - HASH_BITS);
        usize::from(core::mem::replace(&mut self.0[hash as usize], at as u16))
    }
}

/// Compresses a page; its length in `out` in bytes. What lies behind that length is undefined.
#[inline(never)]
pub(crate) fn compress(page: &Page, table: &mut Table, out: &mut [u8; OUT]) -> usize {
    table.0.fill(0);
    let mut writer = Writer { page, out, to: 0 };
    table.swap(load4(page, 0), 0);
    // The first byte that is not written; where to search.
    let (mut from, mut at) = (0, 1);
    'search: loop {
        let mut tries = 1 << 6;
        let mut candidate = loop {
            if at > LAST_MATCH {
                break 'search;
            }
            let bytes = load4(page, at);
            let candidate = table.swap(bytes, at);
            if load4(page, candidate) == bytes {
                break candidate;
            }
            // The longer nothing is found, the larger the steps.
            at += tries >> 6;
            tries += 1;
        };
        while at > from && candidate > 0 && byte(page, at - 1) == byte(page, candidate - 1) {
            at -= 1;
            candidate -= 1;
        }
        loop {
            let length = MATCH + alike(page, candidate + MATCH, at + MATCH);
            writer.sequence(from, at, at - candidate, length);
            at += length;
            from = at;
            if at > LAST_MATCH {
                break 'search;
            }
            // Of what a match covers only the end; its last byte is remembered for the sake of text.
            for covered in [at - 2, at - 1] {
                table.swap(load4(page, covered), covered);
            }
            // One match may follow another.
            let bytes = load4(page, at);
            candidate = table.swap(bytes, at);
            if load4(page, candidate) != bytes {
                break;
            }
        }
        at += 1;
    }
    writer.literals(from, PAGE, 0);
    writer.to
}

/// The byte at `at < PAGE`.
#[inline(always)]
fn byte(page: &Page, at: usize) -> u8 {
    debug_assert!(at < PAGE, "{at}");
    // SAFETY: all callers' positions are those of bytes or one before them, and not 0 there.
    unsafe { *page.get_unchecked(at) }
}

/// Four bytes from `at <= PAGE - 4` on.
#[inline(always)]
fn load4(page: &Page, at: usize) -> u32 {
    debug_assert!(at <= PAGE - 4, "{at}");
    // SAFETY: all callers' positions are 12 and more before the page's end, or found in the table, which has
    // only such and 0.
    u32::from_le(unsafe { page.as_ptr().add(at).cast::<u32>().read_unaligned() })
}

/// How many bytes from `one` on are as those from `two > one` on, before the last literals.
#[inline(always)]
fn alike(page: &Page, one: usize, two: usize) -> usize {
    let mut length = 0;
    // SAFETY: the higher of both words ends where the last literals begin, or before.
    let word = |at: usize| unsafe { page.as_ptr().add(at).cast::<u64>().read_unaligned() };
    while two + length + 8 <= PAGE - LAST_LITERALS {
        let difference = u64::from_le(word(one + length) ^ word(two + length));
        if difference != 0 {
            return length + difference.trailing_zeros() as usize / 8;
        }
        length += 8;
    }
    while two + length < PAGE - LAST_LITERALS
        && byte(page, one + length) == byte(page, two + length)
    {
        length += 1;
    }
    length
}

/// Writes sequences.
///
/// All fit, with 16 bytes of room behind them: a sequence takes a byte more than it stands for for every 255
/// literals, and one less for its match at least.
struct Writer<'a> {
    page: &'a Page,
    out: &'a mut [u8; OUT],
    to: usize,
}

impl Writer<'_> {
    #[inline(always)]
    fn byte(&mut self, byte: u8) {
        debug_assert!(self.to < OUT - 16, "{}", self.to);
        // SAFETY: all fit.
        unsafe { *self.out.get_unchecked_mut(self.to) = byte };
        self.to += 1;
    }

    /// The bytes that lengthen a length of 15 in the token.
    #[inline(always)]
    fn rest(&mut self, length: usize) {
        let Some(mut rest) = length.checked_sub(15) else {
            return;
        };
        while rest >= 255 {
            self.byte(255);
            rest -= 255;
        }
        self.byte(rest as u8);
    }

    /// Literals from `from` to `at <= PAGE`, and what of the token is theirs.
    #[inline(always)]
    fn literals(&mut self, from: usize, at: usize, token: u8) {
        let count = at - from;
        self.byte((count.min(15) as u8) << 4 | token);
        self.rest(count);
        debug_assert!(
            at <= PAGE && self.to + count <= OUT - 16,
            "{count} literals"
        );
        // SAFETY: all fit, and there is room for 16 bytes; 16 are read only where the page has them.
        unsafe {
            let source = self.page.as_ptr().add(from);
            let to = self.out.as_mut_ptr().add(self.to);
            if count <= 16 && from <= PAGE - 16 {
                copy16(source, to);
            } else {
                core::ptr::copy_nonoverlapping(source, to, count);
            }
        }
        self.to += count;
    }

    /// `length` bytes that repeat those `distance` before, behind the literals.
    #[inline(always)]
    fn sequence(&mut self, from: usize, at: usize, distance: usize, length: usize) {
        let length = length - MATCH;
        self.literals(from, at, length.min(15) as u8);
        let [low, high] = (distance as u16).to_le_bytes();
        self.byte(low);
        self.byte(high);
        self.rest(length);
    }
}

/// Whether `data` decoded to exactly one page; what is in `page` is undefined if not. Nothing is read but
/// `data` and what was written to `page`, whatever the bytes are.
#[inline(never)]
pub(crate) fn decompress(data: &[u8], page: &mut Page) -> bool {
    let (input, output) = (data.as_ptr(), page.as_mut_ptr());
    // Bytes read and written.
    let (mut at, mut to) = (0, 0);
    loop {
        let Some(&token) = data.get(at) else {
            return false;
        };
        at += 1;
        let (mut literals, mut matched) = (usize::from(token >> 4), usize::from(token & 15));
        if literals < 15 && data.len() - at >= READS && PAGE - to >= WRITES {
            // SAFETY: 16 bytes are there to be read, and to be written. At most 14 of them are literals.
            let distance = unsafe {
                copy16(input.add(at), output.add(to));
                let distance = input.add(at + literals).cast::<[u8; 2]>();
                usize::from(u16::from_le_bytes(*distance))
            };
            at += literals;
            to += literals;
            if matched < 15 && (8..=to).contains(&distance) {
                at += 2;
                // SAFETY: `distance` bytes were written, 18 bytes have room. Each word's source is 8 bytes or
                // more before it.
                unsafe {
                    let (from, to) = (output.add(to - distance), output.add(to));
                    copy16(from, to);
                    let word = from.add(16).cast::<u16>().read_unaligned();
                    to.add(16).cast::<u16>().write_unaligned(word);
                }
                to += matched + MATCH;
                continue;
            }
        } else {
            if literals == 15 && !lengthen(&mut literals, data, &mut at) {
                return false;
            }
            if literals > data.len() - at || literals > PAGE - to {
                return false;
            }
            // SAFETY: just tested.
            unsafe { core::ptr::copy_nonoverlapping(input.add(at), output.add(to), literals) };
            at += literals;
            to += literals;
            if at == data.len() {
                // The last sequence has no match.
                return to == PAGE;
            }
        }
        let Some(distance) = data.get(at..at + 2) else {
            return false;
        };
        let distance = usize::from(u16::from_le_bytes([distance[0], distance[1]]));
        at += 2;
        if matched == 15 && !lengthen(&mut matched, data, &mut at) {
            return false;
        }
        matched += MATCH;
        if distance == 0 || distance > to || matched > PAGE - to {
            return false;
        }
        // SAFETY: just tested.
        unsafe { repeat(output.add(to), distance, matched, PAGE - to) };
        to += matched;
    }
}

/// Adds the bytes that lengthen a length; whether they were there.
#[inline]
fn lengthen(length: &mut usize, data: &[u8], at: &mut usize) -> bool {
    loop {
        let Some(&more) = data.get(*at) else {
            return false;
        };
        *at += 1;
        *length += usize::from(more);
        if more != 255 {
            return true;
        }
    }
}

/// Copies 16 bytes, 8 after 8.
///
/// # Safety
/// They can be read and written; `to` is not within the 7 bytes behind `from`.
#[inline(always)]
unsafe fn copy16(from: *const u8, to: *mut u8) {
    // SAFETY: by the caller's promise.
    unsafe {
        let word = from.cast::<u64>().read_unaligned();
        to.cast::<u64>().write_unaligned(word);
        let word = from.add(8).cast::<u64>().read_unaligned();
        to.add(8).cast::<u64>().write_unaligned(word);
    }
}

/// Writes `length` bytes that repeat those from `distance` before `to` on.
///
/// # Safety
/// `distance` bytes, 1 or more, are before `to`; `room` can be written from it on, and `length` is not more.
#[inline]
unsafe fn repeat(to: *mut u8, mut distance: usize, length: usize, room: usize) {
    let mut done = 0;
    // SAFETY: whole words are written while they end within `room`, single bytes within `length`. What is
    // read is `distance` bytes before what is written, or else within `room`.
    unsafe {
        if distance < 8 && room >= 8 {
            let word = u64::from_le(to.sub(distance).cast::<u64>().read_unaligned());
            let word = repeated(word, distance);
            to.cast::<u64>().write_unaligned(word.to_le());
            done = 8;
            // The same bytes lie a multiple of the distance before.
            distance = [8, 8, 8, 9, 8, 10, 12, 14][distance];
        }
        if distance >= 8 {
            while done < length && done + 8 <= room {
                let word = to.add(done).sub(distance).cast::<u64>().read_unaligned();
                to.add(done).cast::<u64>().write_unaligned(word);
                done += 8;
            }
        }
        while done < length {
            *to.add(done) = *to.add(done).sub(distance);
            done += 1;
        }
    }
}

/// The lowest `distance` bytes, 1 to 7, again and again.
#[inline(always)]
const fn repeated(word: u64, distance: usize) -> u64 {
    let mut bits = 8 * distance as u32;
    let mut word = word & ((1 << bits) - 1);
    while bits < u64::BITS {
        word |= word << bits;
        bits *= 2;
    }
    word
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;

    use super::*;

    #[test]
    fn what_was_seen_on_other_pages_is_not_used() {
        let mut used = Table::new();
        for seed in 0..100 {
            let page = page(seed % 7);
            let [mut one, mut two] = [[0; OUT]; 2];
            let len = compress(&page, &mut used, &mut one);
            assert_eq!(len, compress(&page, &mut Table::new(), &mut two));
            assert!(one[..len] == two[..len], "seed {seed}");
        }
    }

    /// Text-like and word-like pages with matches of all distances.
    fn page(seed: u64) -> Page {
        let mut state = seed | 1;
        let mut next = move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let mut bytes: Vec<u8> = Vec::new();
        while bytes.len() < PAGE {
            let length = 1 + next() % [6, 20, 300][next() % 3];
            let back = 1 + next() % [3, 16, 4000][next() % 3];
            for _ in 0..length {
                let old = bytes.len().checked_sub(back).map(|i| bytes[i]);
                let new = (next() % 50) as u8;
                bytes.push(old.filter(|_| back != 3).unwrap_or(new));
            }
        }
        let mut page = [0; PAGE];
        page.copy_from_slice(&bytes[..PAGE]);
        page
    }

    #[test]
    fn it_is_the_format_of_another_implementation() {
        let mut table = Table::new();
        let mut good = 0;
        for seed in 0..if cfg!(miri) { 2 } else { 600 } {
            let page = page(seed);
            let mut out = [0; OUT];
            let len = compress(&page, &mut table, &mut out);
            let data = out[..len].to_vec();
            let mut two = [0; PAGE];
            let theirs = lz4_flex::block::decompress_into(&data, &mut two);
            assert!(
                theirs.is_ok_and(|len| len == PAGE) && two == page,
                "seed {seed}"
            );
            let mut one = [0x55; PAGE];
            assert!(decompress(&data, &mut one) && one == page, "seed {seed}");
            for damage in 0..if cfg!(miri) { 3 } else { 60 } {
                let mut data = data.clone();
                let at = (damage * 7919 + seed as usize * 31) % data.len();
                match damage % 3 {
                    0 => data.truncate(at),
                    1 => data[at] ^= 1 << (damage % 8),
                    _ => data[at] = damage as u8,
                }
                // A box of its own, so that Miri and the like see each byte read beyond it.
                let data = data.into_boxed_slice();
                let [mut one, mut two] = [[0x55; PAGE]; 2];
                let ours = decompress(&data, &mut one);
                let theirs =
                    lz4_flex::block::decompress_into(&data, &mut two).is_ok_and(|len| len == PAGE);
                assert_eq!(ours, theirs, "seed {seed}, damage {damage}");
                assert!(!ours || one == two, "seed {seed}, damage {damage}");
                good += u32::from(ours);
            }
        }
        assert!(
            cfg!(miri) || good > 1000,
            "only {good} damaged pages decoded"
        );
    }
}
