//! What stands in a page: a function of (seed, page, version), so that every
//! page can be verified and a stale copy recognised. The mix is that of real
//! anonymous memory: zero and same-filled pages, records with pointers, small
//! numbers and text, and some pages that no codec makes smaller.

use tmem_common::{PAGE_SIZE, random};

/// Memory of one page.
pub type Page = [u8; PAGE_SIZE];

/// Words in a page.
const WORDS: usize = PAGE_SIZE / 8;

/// A small, fast generator: xorshift64* (Vigna, 2016).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`; seeds that differ in one bit give unrelated sequences.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        Self(random::next(&mut state) | 1)
    }

    /// The next 64 bits.
    #[expect(
        clippy::should_implement_trait,
        reason = "it never ends and is no iterator"
    )]
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        ((self.next() >> 32) as usize * bound) >> 32
    }
}

const TEXT: &[u8] = b"the page was found in the cache and given back to its owner; no I/O \
was needed. error: could not open file /var/lib/app/state.json (permission denied), retry in 5 s\n\
GET /index.html HTTP/1.1 Host: example.org Accept: text/html User-Agent: test/1.0 Connection: clos\n";

/// Fills `page` with the content of version `version` of page `index`.
pub fn fill(page: &mut Page, seed: u64, index: usize, version: u32) {
    let mut rng = Rng::new(seed ^ ((index as u64) << 32) ^ u64::from(version));
    match rng.below(100) {
        0..8 => page.fill(0),
        8..12 => same_filled(page, &mut rng),
        12..72 => records(page, &mut rng),
        72..90 => text(page, &mut rng),
        _ => random(page, &mut rng),
    }
}

fn same_filled(page: &mut Page, rng: &mut Rng) {
    let word = (rng.next() as u32).to_le_bytes();
    page.as_chunks_mut::<4>().0.fill(word);
}

fn records(page: &mut Page, rng: &mut Rng) {
    const RECORD: usize = 8;
    let heap = 0x7f00_0000_0000 | (rng.next() & 0xff_ffff_f000);
    let words = page.as_chunks_mut::<8>().0;
    for record in 0..WORDS / RECORD {
        let bits = rng.next();
        let label: [u8; 8] = *TEXT[(bits >> 57) as usize..]
            .first_chunk()
            .unwrap_or(b"........");
        words[record * RECORD..][..RECORD].copy_from_slice(&[
            (0x5555_5555_0000 | ((bits & 7) << 6)).to_le_bytes(),
            (heap + ((bits >> 3) & 0xfff) * 64).to_le_bytes(),
            (heap + (record as u64) * 64).to_le_bytes(),
            ((bits >> 16) & 0xff).to_le_bytes(),
            1u64.to_le_bytes(),
            label,
            ((bits >> 24) & 0xffff).to_le_bytes(),
            [0; 8],
        ]);
    }
}

fn text(page: &mut Page, rng: &mut Rng) {
    for chunk in page.as_chunks_mut::<16>().0 {
        let at = rng.below(TEXT.len() - 16);
        chunk.copy_from_slice(&TEXT[at..at + 16]);
    }
}

fn random(page: &mut Page, rng: &mut Rng) {
    for word in page.as_chunks_mut::<8>().0 {
        *word = rng.next().to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(seed: u64, index: usize, version: u32) -> Page {
        let mut page = [0xee; PAGE_SIZE];
        fill(&mut page, seed, index, version);
        page
    }

    #[test]
    fn content_depends_on_seed_page_and_version_only() {
        assert_eq!(page(1, 2, 3), page(1, 2, 3));
        let distinct: std::collections::HashSet<Page> = (0..4u32)
            .flat_map(|version| (0..250).map(move |index| page(7, index, version)))
            .collect();
        // All but the zero pages differ.
        assert!(
            distinct.len() > 880 && distinct.len() < 960,
            "{}",
            distinct.len()
        );
    }

    #[test]
    fn the_mix_is_what_it_says() {
        let (mut zero, mut same) = (0, 0);
        for index in 0..10_000 {
            let page = page(1, index, 1);
            let words = page.as_chunks::<4>().0;
            if words.iter().all(|word| word == &words[0]) {
                *(if page[0] == 0 && page[1] == 0 {
                    &mut zero
                } else {
                    &mut same
                }) += 1;
            }
        }
        assert!((700..900).contains(&zero), "{zero}");
        assert!((300..500).contains(&same), "{same}");
    }
}
