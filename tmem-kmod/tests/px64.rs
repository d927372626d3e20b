//! px64 against a slow decoder written from docs/reference/px64-format.md: test
//! vectors, every tag at every place, pages of many structures, and hostile bytes.
//! Miri runs what is short enough for it, on the portable code:
//! `cargo +nightly miri test -p tmem-kmod --test px64`.
#![allow(clippy::unwrap_used)]

#[path = "common/px64.rs"]
mod px64;

#[cfg(not(miri))]
use proptest::prelude::*;
use px64::{
    Guarded, Random, TAGS, compress, page_of, reference, round_trip, structured, try_bytes,
};
use tmem_kmod::px64::Corrupt;

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pairs = digits.as_chunks::<2>().0.iter();
    pairs
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

/// The vectors of the format's description: words from the page's start on, and the bytes.
#[test]
fn vectors_of_the_description() {
    let pointer = 0x7f5a_1234_5678;
    let vectors: [(&[u64], &str); 6] = [
        (&[], "0000000000000000"),
        (
            &[0x11, 0x2222, 0x3333_3333],
            "0100000000000000 52090000 11 2222 33333333",
        ),
        (
            &[pointer, pointer + 1, pointer, pointer + 0x200],
            "0100000000000000 3c530000 785634125a7f 79 78 7858",
        ),
        (
            &[pointer, 0, 0, pointer + 8],
            "0100000000000000 0c600000 785634125a7f 80 fd",
        ),
        (&[0, 0, 0, 0, 0, 0, 0, 0, 7], "0200000000000000 02000000 07"),
        (
            &[u64::MAX, u64::MAX],
            "0100000000000000 1f000000 ffffffffffffffff",
        ),
    ];
    for (words, hex) in vectors {
        let page = page_of(words);
        let data = compress(&page).unwrap();
        let shown: String = data.iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(shown, hex.replace(' ', ""), "{words:x?}");
        assert!(reference(&bytes_of(hex)) == Ok(page));
    }
}

/// A stream made by hand: each tag at each place of a line, for lines at the ends.
#[test]
fn every_tag_at_every_place() {
    let mut random = Random(5);
    for line in if cfg!(miri) {
        vec![0, 40]
    } else {
        (0..64).collect()
    } {
        for place in 0..8 {
            for tag in (0..16).step_by(if cfg!(miri) { 3 } else { 1 }) {
                let mut tags = [15_usize; 8];
                tags[place] = tag;
                let mut stream = (1_u64 | 1 << line).to_le_bytes().to_vec();
                let lines = if line == 0 { 1 } else { 2 };
                for _ in 0..lines {
                    let pairs = tags.as_chunks::<2>().0.iter();
                    stream.extend(pairs.map(|[low, high]| (low | high << 4) as u8));
                }
                let mut distances = Vec::new();
                for _ in 0..lines {
                    for tag in tags {
                        let (base, bytes) = TAGS[tag];
                        stream.extend((0..bytes).map(|_| random.next() as u8));
                        if base == 'T' {
                            distances.push(random.next() as u8);
                        }
                    }
                }
                stream.extend(distances.iter().rev());
                let good = Guarded::decode(&stream);
                assert!(
                    good.is_ok() && good == reference(&stream),
                    "line {line}, place {place}, tag {tag}"
                );
                stream.push(0);
                assert_eq!(Guarded::decode(&stream), Err(Corrupt));
            }
        }
    }
}

#[cfg(not(miri))]
#[test]
fn every_tag_is_written() {
    let mut seen = [0_u32; 16];
    for seed in 0..300 {
        let page = structured(seed);
        let Some(data) = round_trip(&page) else {
            continue;
        };
        px64::count_tags(&data, &mut seen);
    }
    assert!(seen.iter().all(|n| *n > 100), "{seen:?}");
}

#[test]
fn pages_come_back() {
    for seed in 0..if cfg!(miri) { 4 } else { 3000 } {
        round_trip(&structured(seed));
    }
    assert!(
        compress(&structured(u64::MAX)).is_none(),
        "random bytes do not get smaller"
    );
}

#[cfg(not(miri))]
#[test]
fn what_lay_in_the_table_does_not_matter() {
    let mut table = tmem_kmod::px64::Table::new();
    for seed in 0..50 {
        let page = structured(seed);
        let mut out = [0; tmem_kmod::px64::OUT];
        let len = tmem_kmod::px64::compress(&page, &mut table, &mut out);
        assert!(len.map(|len| out[..len].to_vec()) == compress(&page));
    }
}

#[test]
fn cut_or_longer_is_corrupt() {
    for seed in 0..if cfg!(miri) { 1 } else { 20 } {
        let Some(data) = round_trip(&structured(seed)) else {
            continue;
        };
        let step = if cfg!(miri) { 397 } else { 1 };
        for len in (0..data.len()).step_by(step) {
            // A box of its own, so that Miri and the like see each byte read beyond it.
            let cut: Box<[u8]> = data[..len].into();
            assert_eq!(
                Guarded::decode(&cut),
                Err(Corrupt),
                "seed {seed}, {len} bytes"
            );
        }
        let mut longer = data;
        longer.push(0);
        assert_eq!(Guarded::decode(&longer), Err(Corrupt));
    }
}

#[test]
fn bases_before_the_page_are_zero() {
    // Word 0 at the stride, with two bytes; word 1 by the table, 256 words back, with one.
    let stream = bytes_of("0100000000000000 65000000 3412 56 00");
    assert!(Guarded::decode(&stream) == Ok(page_of(&[0x1234, 0x56])));
    assert!(reference(&stream) == Ok(page_of(&[0x1234, 0x56])));
}

#[test]
fn hostile_bytes() {
    for seed in 0..if cfg!(miri) { 3 } else { 2000 } {
        let mut random = Random(seed);
        let len = random.next() as usize % if cfg!(miri) { 120 } else { 5000 };
        let bytes: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        try_bytes(&bytes);
    }
}

#[cfg(not(miri))]
proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_words_come_back(words in proptest::collection::vec(
        prop_oneof![Just(0_u64), any::<u8>().prop_map(u64::from), any::<u32>().prop_map(u64::from), any::<u64>(),
            (0_u64..64).prop_map(|i| 0x7f12_3456_0000 + i * 8), any::<i32>().prop_map(|i| i64::from(i) as u64)], 0..512)) {
        round_trip(&page_of(&words));
    }

    #[test]
    fn damaged_pages_are_decoded_as_described(seed in 0_u64..1000, at in any::<usize>(), value in 1_u8..) {
        if let Some(mut data) = compress(&structured(seed)) {
            let at = at % data.len();
            data[at] ^= value;
            prop_assert!(Guarded::decode(&data) == reference(&data));
        }
    }
}
