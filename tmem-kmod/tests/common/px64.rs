//! Tools for testing px64: a decoder written from its description alone, pages of
//! many structures, and the function that fuzzing calls.
#![allow(dead_code)]

use tmem_kmod::px64::{Corrupt, OUT, Table};
use tmem_kmod::{PAGE, Page};

/// Base and bytes of payload by tag.
pub(crate) const TAGS: [(char, usize); 16] = [
    ('Z', 0),
    ('R', 0),
    ('Z', 1),
    ('R', 1),
    ('T', 0),
    ('R', 2),
    ('T', 1),
    ('R', 3),
    ('T', 2),
    ('Z', 4),
    ('R', 4),
    ('R', 5),
    ('Z', 6),
    ('R', 6),
    ('R', 7),
    ('Z', 8),
];

/// Random numbers from a seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        tmem_common::random::next(&mut self.0)
    }
}

/// The next `n` bytes as a number.
fn take(rest: &mut &[u8], n: usize) -> Result<u64, Corrupt> {
    let (head, tail) = rest.split_at_checked(n).ok_or(Corrupt)?;
    *rest = tail;
    Ok(head
        .iter()
        .rev()
        .fold(0, |all, byte| all << 8 | u64::from(*byte)))
}

/// Decodes word by word, as docs/reference/px64-format.md says.
pub(crate) fn reference(data: &[u8]) -> Result<Page, Corrupt> {
    let mut rest = data;
    let bitmap = take(&mut rest, 8)?;
    let lines: Vec<u64> = (0..bitmap.count_ones())
        .map(|_| take(&mut rest, 4))
        .collect::<Result<_, _>>()?;
    let mut lines = lines.into_iter();
    let after_tags = rest.len();
    let mut distances = rest.iter().rev();
    let mut words: Vec<u64> = Vec::new();
    let (mut stride, mut newest) = (1_usize, 1);
    for line in 0..64 {
        if bitmap >> line & 1 == 0 {
            words.extend([0; 8]);
            continue;
        }
        let tags = lines.next().unwrap();
        for place in 0..8 {
            let (base, bytes) = TAGS[(tags >> (4 * place) & 15) as usize];
            let mut distance = stride;
            if base == 'T' {
                distance = 256 - usize::from(*distances.next().ok_or(Corrupt)?);
                newest = distance;
            }
            let before = words.len().checked_sub(distance).map_or(0, |i| words[i]);
            let kept = if base == 'Z' || bytes == 8 {
                0
            } else {
                before >> (8 * bytes) << (8 * bytes)
            };
            words.push(kept | take(&mut rest, bytes)?);
            if place % 2 == 1 {
                stride = newest;
            }
        }
    }
    // Payload and distances meet, and neither is left over.
    let read_from_the_end = after_tags - distances.len();
    if read_from_the_end == rest.len() {
        Ok(page_of(&words))
    } else {
        Err(Corrupt)
    }
}

/// A page that begins with these words and is zero beyond them.
pub(crate) fn page_of(words: &[u64]) -> Page {
    let mut page = [0; PAGE];
    for (bytes, word) in page.as_chunks_mut::<8>().0.iter_mut().zip(words) {
        *bytes = word.to_le_bytes();
    }
    page
}

/// A page of the kind that the seed chooses; random bytes for `u64::MAX`.
pub(crate) fn structured(seed: u64) -> Page {
    let mut random = Random(seed);
    let stride = 1 + random.next() as usize % 40;
    let region = random.next() & 0x7fff_ffff_0000;
    let kind = if seed == u64::MAX { 9 } else { seed % 9 };
    let mut words: Vec<u64> = Vec::new();
    for i in 0..512_usize {
        let any = random.next();
        let old = words.get(i.wrapping_sub(stride)).copied().unwrap_or(any);
        words.push(match kind {
            0 => any >> (any & 63),
            1 => region + (any & 0xfff) * 8,
            2 => old ^ any >> 40 >> (any & 31),
            3 => (any as i32 >> (any >> 59)) as i64 as u64,
            4 if i / 8 % 3 == 0 => 0,
            4 => old.wrapping_add(8),
            5 => (any as f64).to_bits(),
            6 => (any & 0xff_00ff_00ff_00ff) | 0x20_0020_0020_0020,
            7 if any & 3 == 0 => any >> (any >> 58),
            7 => {
                [0, region | any & 0xffff, old, old ^ any & 0xff_ffff_ffff][(any >> 8 & 3) as usize]
            }
            8 => (any & 0xffff) << 32 | i as u64,
            _ => any,
        });
    }
    page_of(&words)
}

/// Compressed bytes, in a fresh table and buffer.
pub(crate) fn compress(page: &Page) -> Option<Vec<u8>> {
    let mut out = [0; OUT];
    let len = tmem_kmod::px64::compress(page, &mut Table::new(), &mut out)?;
    Some(out[..len].to_vec())
}

/// Compresses and decodes with both decoders; the bytes.
pub(crate) fn round_trip(page: &Page) -> Option<Vec<u8>> {
    let data = compress(page)?;
    assert!(
        Guarded::decode(&data) == Ok(*page),
        "a page came back wrong"
    );
    assert!(
        reference(&data) == Ok(*page),
        "the description says otherwise"
    );
    Some(data)
}

/// Counts the tags of a good stream.
pub(crate) fn count_tags(data: &[u8], seen: &mut [u32; 16]) {
    let lines = u64::from_le_bytes(data[..8].try_into().unwrap()).count_ones() as usize;
    for byte in &data[8..8 + 4 * lines] {
        seen[usize::from(byte & 15)] += 1;
        seen[usize::from(byte >> 4)] += 1;
    }
}

/// A page between canaries.
#[repr(C)]
pub(crate) struct Guarded {
    before: [u8; 64],
    page: Page,
    after: [u8; 64],
}

impl Guarded {
    /// Decodes twice, over pages that held different things: nothing is written beyond the page, and the
    /// result is of the bytes alone.
    pub(crate) fn decode(data: &[u8]) -> Result<Page, Corrupt> {
        let [one, two] = [0x00, 0xFF].map(|old| {
            let mut guarded = Guarded {
                before: [0xC5; 64],
                page: [old; PAGE],
                after: [0xC5; 64],
            };
            let result = tmem_kmod::px64::decompress(data, &mut guarded.page);
            assert!(
                guarded.before == [0xC5; 64] && guarded.after == [0xC5; 64],
                "written beyond the page"
            );
            result.map(|()| guarded.page)
        });
        assert!(one == two, "the result depends on what was in the page");
        one
    }
}

/// The fuzz target: bytes as they are, as a page, and as damage to a compressed page.
pub(crate) fn try_bytes(bytes: &[u8]) {
    assert!(
        Guarded::decode(bytes) == reference(bytes),
        "decoded otherwise than described"
    );
    let mut page = [0; PAGE];
    let len = bytes.len().min(PAGE);
    page[..len].copy_from_slice(&bytes[..len]);
    if let Some(mut data) = round_trip(&page) {
        for damage in bytes.as_chunks::<3>().0.iter().take(8) {
            let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % data.len();
            data[at] ^= damage[2];
            assert!(
                Guarded::decode(&data) == reference(&data),
                "decoded otherwise than described"
            );
        }
    }
}
