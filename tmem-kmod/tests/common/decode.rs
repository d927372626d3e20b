//! Decoding of bytes that nobody compressed, and of compressed pages with
//! damage. Shared by a smoke test and the fuzz target.

use tmem_common::codec::Codec;
use tmem_kmod::userspace::{Options, UserHost};
use tmem_kmod::{PAGE, Page, decompress};

/// A page between canaries.
#[repr(C)]
struct Guarded {
    before: [u8; 64],
    page: Page,
    after: [u8; 64],
}

const CANARY: [u8; 64] = [0xC5; 64];

/// Decodes, and checks that nothing beyond the page was written.
fn decode(host: &UserHost, data: &[u8]) -> Option<Page> {
    let mut guarded = Guarded {
        before: CANARY,
        page: [0; PAGE],
        after: CANARY,
    };
    let good = decompress(host, Codec::Lz4, data, &mut guarded.page);
    assert!(
        guarded.before == CANARY && guarded.after == CANARY,
        "written beyond the page"
    );
    good.then_some(guarded.page)
}

/// Tries the bytes as they are; then as damage (position, value) to a compressed page.
pub(crate) fn try_bytes(bytes: &[u8]) {
    let host = UserHost::new(&Options {
        arena_bytes: 0,
        ..Options::default()
    });
    decode(&host, bytes);

    let mut page = [0; PAGE];
    for (i, byte) in page.iter_mut().enumerate() {
        *byte = (i * i / 97) as u8 ^ bytes.get(i % 7).copied().unwrap_or(3);
    }
    let mut data = vec![0; 2 * PAGE];
    let len =
        lz4_flex::block::compress_into(&page, &mut data).unwrap_or_else(|error| panic!("{error}"));
    assert!(
        decode(&host, &data[..len]) == Some(page),
        "an undamaged page differs"
    );
    for damage in bytes.as_chunks::<3>().0 {
        let at = usize::from(u16::from_le_bytes([damage[0], damage[1]])) % len;
        data[at] ^= damage[2];
        decode(&host, &data[..len]);
        decode(&host, &data[..at]);
    }
}
