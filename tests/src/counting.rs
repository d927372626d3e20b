//! The words between a guest and the plugin that counts its instructions: instructions that do nothing.
//!
//! Two of them are bits, the lowest first. A table of address ranges begins with 64 bits of their number; then, for
//! each, 64 bits of its first address, 64 of the one behind its last, and 64 of what it is for. A table takes the
//! place of the one before. The third instruction ends a phase.

/// What instructions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// All else: processes, memory management, block devices, scheduling.
    Other,
    /// Compressing and decompressing.
    Codec,
    /// Finding room for compressed bytes, and pages by their names.
    Store,
    /// Between the kernel's memory management and those.
    Glue,
    /// For whoever called it; nothing is counted as this.
    Helper,
}

impl Class {
    /// By their numbers.
    pub const ALL: [Self; 5] = [
        Self::Other,
        Self::Codec,
        Self::Store,
        Self::Glue,
        Self::Helper,
    ];
}

/// An instruction that does nothing but say something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// A bit: 0.
    Zero,
    /// A bit: 1.
    One,
    /// The end of a phase.
    Phase,
}

impl Marker {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Zero, Self::One, Self::Phase];

    /// Its encoding: a 16-bit register exchanged with itself, in a form that no compiler has a reason to write.
    #[must_use]
    pub const fn bytes(self) -> [u8; 3] {
        match self {
            Self::Zero => [0x66, 0x87, 0xC9],
            Self::One => [0x66, 0x87, 0xD2],
            Self::Phase => [0x66, 0x87, 0xDB],
        }
    }

    /// Executes it.
    #[cfg(target_arch = "x86_64")]
    pub fn execute(self) {
        use std::arch::asm;
        // SAFETY: a register is exchanged with itself.
        unsafe {
            match self {
                Self::Zero => asm!(".byte 0x66, 0x87, 0xC9", options(nostack)),
                Self::One => asm!(".byte 0x66, 0x87, 0xD2", options(nostack)),
                Self::Phase => asm!(".byte 0x66, 0x87, 0xDB", options(nostack)),
            }
        }
    }
}

/// Addresses that are for one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub start: u64,
    /// The one behind the last.
    pub end: u64,
    /// What they are for.
    pub class: Class,
}

/// A table's bits.
pub fn bits(table: &[Range]) -> impl Iterator<Item = Marker> + '_ {
    let ranges = table
        .iter()
        .flat_map(|range| [range.start, range.end, range.class as u64]);
    std::iter::once(table.len() as u64)
        .chain(ranges)
        .flat_map(|word| {
            (0..64).map(move |bit| [Marker::Zero, Marker::One][(word >> bit & 1) as usize])
        })
}

/// Takes a table's bits.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    /// Ordered by addresses.
    table: Vec<Range>,
    words: Vec<u64>,
    word: u64,
    bits: u32,
}

impl Reader {
    /// Takes a bit; whether a table is whole with it.
    pub fn take(&mut self, marker: Marker) -> bool {
        self.word |= u64::from(marker == Marker::One) << self.bits;
        self.bits += 1;
        if self.bits < u64::BITS {
            return false;
        }
        self.words.push(self.word);
        (self.word, self.bits) = (0, 0);
        let (count, ranges) = (self.words[0], self.words[1..].as_chunks::<3>());
        if !ranges.1.is_empty() || ranges.0.len() as u64 != count {
            return false;
        }
        self.table = ranges
            .0
            .iter()
            .map(|&[start, end, class]| Range {
                start,
                end,
                class: Class::ALL
                    .get(class as usize)
                    .copied()
                    .unwrap_or(Class::Other),
            })
            .collect();
        self.table.sort_by_key(|range| range.start);
        self.words.clear();
        true
    }

    /// What an address is for.
    #[must_use]
    pub fn class(&self, address: u64) -> Class {
        let behind = self.table.partition_point(|range| range.start <= address);
        match self.table[..behind].last() {
            Some(range) if address < range.end => range.class,
            _ => Class::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_told_and_replaces_the_one_before() {
        let range = |start, end, class| Range { start, end, class };
        let mut reader = Reader::default();
        let table = [
            range(u64::MAX - 0x1000, u64::MAX - 0xF00, Class::Glue),
            range(0x1000, 0x2000, Class::Codec),
        ];
        let whole: Vec<bool> = bits(&table).map(|bit| reader.take(bit)).collect();
        assert_eq!(whole.iter().position(|whole| *whole), Some(whole.len() - 1));
        for (address, class) in [
            (0xFFF, Class::Other),
            (0x1000, Class::Codec),
            (0x1FFF, Class::Codec),
            (0x2000, Class::Other),
            (u64::MAX - 0xF01, Class::Glue),
            (u64::MAX, Class::Other),
        ] {
            assert_eq!(reader.class(address), class, "{address:x}");
        }
        for bit in bits(&[]) {
            reader.take(bit);
        }
        assert_eq!(reader.class(0x1000), Class::Other);
    }
}
