//! Which codec suits a page: px64 for program memory, LZ4 for what else there is. A
//! glance at a few words tells most pages apart; pages that it misjudges show soon by
//! the size that px64 makes of them.

use crate::host::Page;

/// Words that are looked at: every `STRIDE`th, an odd distance, so that structures
/// that repeat are met at different fields.
const SAMPLES: usize = 30;
const STRIDE: usize = 17;
const FIRST: usize = 3;
/// More samples than this that are dense: text, code, or packed data.
const DENSE: usize = 18;

/// If px64 takes more bytes than this for a line that is not zero, LZ4 will do better. Chosen, as the numbers
/// above, on the training corpora of `cargo xtask bench codec`.
pub const PER_LINE: usize = 42;

/// Whether px64 is worth trying. A dense word is one that is neither a small number,
/// signed or not, nor a pointer: its upper 16 bits are neither all 0 nor all 1.
#[inline]
pub fn suits_px64(page: &Page) -> bool {
    let (words, _) = page.as_chunks::<8>();
    // By number, since iterators that skip and step cost as much again for each word.
    let mut dense = 0;
    let mut sample = 0;
    while sample < SAMPLES {
        let word = &words[FIRST + sample * STRIDE];
        let high = u16::from_le_bytes([word[6], word[7]]);
        dense += usize::from(high.wrapping_add(1) > 1);
        sample += 1;
    }
    dense <= DENSE
}

const _: () = assert!(FIRST + (SAMPLES - 1) * STRIDE < crate::host::PAGE / 8);
