//! What stands in a file: cells of 64 bytes, each a function of its tag, so that a
//! cell tells who wrote it when, wherever it is found. Tag 0 is a hole: zeros.

use std::fmt;

use crate::content::Rng;

/// Bytes in a cell. Offsets and lengths of the stress are multiples of it, which
/// makes parts of blocks and pages common, and the model small.
pub(super) const CELL: usize = 64;

/// Which cell of which write this is: worker, number of the write, place in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tag(u64);

impl Tag {
    /// What was never written.
    pub(super) const HOLE: Self = Self(0);

    const PLACE_BITS: u32 = 20;
    const NUMBER_BITS: u32 = 36;

    /// Cell `place` of the write `number`, which counts from 1, of a worker.
    pub(super) fn new(worker: usize, number: u64, place: usize) -> Self {
        Self(
            ((worker as u64) << (Self::NUMBER_BITS + Self::PLACE_BITS))
                | (number << Self::PLACE_BITS)
                | place as u64,
        )
    }

    /// A tag that no write ever had; to prove that a wrong model is noticed.
    pub(super) fn spoilt(self) -> Self {
        Self(self.0 ^ (0xff << (Self::NUMBER_BITS + Self::PLACE_BITS)))
    }

    /// The content. One write in eight cannot be compressed.
    pub(super) fn expand(self, cell: &mut [u8; CELL]) {
        if self == Self::HOLE {
            cell.fill(0);
            return;
        }
        let write = self.0 >> Self::PLACE_BITS;
        let words = cell.as_chunks_mut::<8>().0;
        words[0] = self.0.to_le_bytes();
        if write.is_multiple_of(8) {
            let mut rng = Rng::new(self.0);
            for word in &mut words[1..] {
                *word = rng.next().to_le_bytes();
            }
        } else {
            let fill = write.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            for (i, word) in words[1..].iter_mut().enumerate() {
                *word = (fill >> (i * 8)).to_le_bytes();
            }
        }
    }

    /// The tag that a whole cell was made from.
    fn of(cell: &[u8; CELL]) -> Option<Self> {
        let tag = Self(u64::from_le_bytes(*cell.first_chunk()?));
        let mut expected = [0; CELL];
        tag.expand(&mut expected);
        (expected == *cell).then_some(tag)
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::HOLE {
            return f.write_str("zeros");
        }
        write!(
            f,
            "cell {} of w{}#{}",
            self.0 & ((1 << Self::PLACE_BITS) - 1),
            self.0 >> (Self::NUMBER_BITS + Self::PLACE_BITS),
            (self.0 >> Self::PLACE_BITS) & ((1 << Self::NUMBER_BITS) - 1)
        )
    }
}

/// Says what was found where something else should be.
pub(super) fn describe(bytes: &[u8]) -> String {
    match bytes.try_into().ok().and_then(Tag::of) {
        Some(tag) => tag.to_string(),
        None => format!("no whole cell ({:02x?})", &bytes[..bytes.len().min(16)]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(tag: Tag) -> [u8; CELL] {
        let mut cell = [0xee; CELL];
        tag.expand(&mut cell);
        cell
    }

    #[test]
    fn a_cell_tells_its_tag() {
        for number in 1..100 {
            let tag = Tag::new(3, number, 7);
            assert_eq!(Tag::of(&cell(tag)), Some(tag));
            assert_eq!(describe(&cell(tag)), format!("cell 7 of w3#{number}"));
            assert_ne!(cell(tag.spoilt()), cell(tag));
        }
        assert_eq!(describe(&cell(Tag::HOLE)), "zeros");
        let mut torn = cell(Tag::new(1, 2, 3));
        torn[63] ^= 1;
        assert_eq!(Tag::of(&torn), None);
    }
}
