//! Pages through the engine's own codecs and back, and LZ4's decoding of bytes that nobody compressed, and of
//! compressed pages with damage. Shared by a smoke test, Miri and the fuzz targets.
#![allow(dead_code)]

use tmem_common::codec::Codec;
use tmem_kmod::userspace::{Options, UserHost};
use tmem_kmod::{PAGE, Page, Scratch, compress, decompress};

/// A page between canaries.
#[repr(C)]
struct Guarded {
    before: [u8; 64],
    page: Page,
    after: [u8; 64],
}

const CANARY: [u8; 64] = [0xC5; 64];

/// Decodes, and checks that nothing beyond the page was written.
fn decode(host: &UserHost, codec: Codec, data: &[u8]) -> Option<Page> {
    let mut guarded = Guarded {
        before: CANARY,
        page: [0; PAGE],
        after: CANARY,
    };
    let good = decompress(host, codec, data, &mut guarded.page);
    assert!(
        guarded.before == CANARY && guarded.after == CANARY,
        "written beyond the page"
    );
    good.then_some(guarded.page)
}

fn host() -> UserHost {
    UserHost::new(&Options {
        arena_bytes: 0,
        ..Options::default()
    })
}

/// A page through every codec of the engine's own, in a scratch that holds what other pages left; what it compresses to
/// is read from memory of exactly that size. LZ4's is what another implementation decodes too.
pub(crate) fn round_trip(page: &Page) {
    let host = host();
    let mut scratch = Scratch::boxed();
    for codec in [Codec::Lz4, Codec::Px64, Codec::Adaptive, Codec::Lz4] {
        let Some((format, len)) = compress(&host, codec, page, &mut scratch) else {
            continue;
        };
        let data: Box<[u8]> = scratch.data()[..len].into();
        assert!(
            decode(&host, format, &data) == Some(*page),
            "{}: a page came back wrong",
            codec.name()
        );
        if format == Codec::Lz4 {
            let mut theirs = [0; PAGE];
            let len = lz4_flex::block::decompress_into(&data, &mut theirs);
            assert!(
                len.is_ok_and(|len| len == PAGE) && theirs == *page,
                "another implementation decodes another page"
            );
        }
    }
}

/// A page of the bytes, and repetitions of them: by what they say themselves, copies of earlier bytes of some length.
pub(crate) fn page_of(bytes: &[u8]) -> Page {
    let mut page = [0; PAGE];
    let (mut at, mut from) = (0, bytes.iter().copied());
    while let (Some(kind), true) = (from.next(), at < PAGE) {
        let length = usize::from(kind >> 2) + 1;
        let end = (at + length).min(PAGE);
        if kind & 3 == 0 {
            page[at..end].fill_with(|| from.next().unwrap_or(0));
        } else {
            let distance = 1 + usize::from(from.next().unwrap_or(0)) * (1 << (2 * (kind & 3)));
            for i in at..end {
                page[i] = i.checked_sub(distance).map_or(kind, |old| page[old]);
            }
        }
        at = end;
    }
    page
}

/// Tries the bytes as they are; then as damage (position, value) to a compressed page.
pub(crate) fn try_bytes(bytes: &[u8]) {
    let host = host();
    decode(&host, Codec::Lz4, bytes);

    let mut page = [0; PAGE];
    for (i, byte) in page.iter_mut().enumerate() {
        *byte = (i * i / 97) as u8 ^ bytes.get(i % 7).copied().unwrap_or(3);
    }
    let mut data = vec![0; 2 * PAGE];
    let len =
        lz4_flex::block::compress_into(&page, &mut data).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        decode(&host, Codec::Lz4, &data[..len]) == Some(page),
        "an undamaged page differs"
    );
    for damage in bytes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % len;
        data[at] ^= damage[2];
        decode(&host, Codec::Lz4, &data[..len]);
        decode(&host, Codec::Lz4, &data[..at]);
    }
}
