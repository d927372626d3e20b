//! Codecs: how a page becomes fewer bytes and a page again.

use lz4_flex::block::{
    CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size,
};
use tmem_common::codec::Codec;

use crate::host::{Host, PAGE, Page};
use crate::store::MAX_DATA;

/// Bytes that a codec may write while compressing a page.
const OUT: usize = get_maximum_output_size(PAGE);

/// Working space of the codecs, one for each CPU or thread: too large for a
/// kernel's stack.
#[repr(C, align(64))]
pub struct Scratch {
    table: CompressTable,
    pub(crate) data: [u8; OUT],
}

impl Scratch {
    /// Brings memory into the first state of a scratch.
    ///
    /// # Safety
    /// `scratch` is valid for writes of a `Scratch` and aligned for it.
    pub unsafe fn init_at(scratch: *mut Scratch) {
        // Copied from a static, so that the table is never built on the stack.
        static EMPTY: CompressTable = CompressTable::small();
        // SAFETY: valid for writes by the caller's promise; a CompressTable owns nothing.
        unsafe {
            core::ptr::copy_nonoverlapping(&raw const EMPTY, &raw mut (*scratch).table, 1);
            (&raw mut (*scratch).data).write_bytes(0, 1);
        }
    }
}

/// One codec.
pub(crate) trait PageCodec {
    /// Compresses into the scratch's data; the length in bytes, or `None` if more
    /// than [`MAX_DATA`] would be needed.
    fn compress(&self, page: &Page, scratch: &mut Scratch) -> Option<usize>;
    /// Whether `data` decoded to exactly one page. Any bytes are safe to try.
    fn decompress(&self, data: &[u8], page: &mut Page) -> bool;
}

/// LZ4 block format, by the lz4_flex crate.
struct Lz4;

impl PageCodec for Lz4 {
    #[inline]
    fn compress(&self, page: &Page, scratch: &mut Scratch) -> Option<usize> {
        let len = compress_into_with_table(page, &mut scratch.data, &mut scratch.table).ok()?;
        (len <= MAX_DATA).then_some(len)
    }

    #[inline]
    fn decompress(&self, data: &[u8], page: &mut Page) -> bool {
        matches!(decompress_into(data, page), Ok(PAGE))
    }
}

/// A codec of the host.
struct Hosted<'a, H> {
    host: &'a H,
    codec: Codec,
}

impl<H: Host> PageCodec for Hosted<'_, H> {
    fn compress(&self, page: &Page, scratch: &mut Scratch) -> Option<usize> {
        let out = &mut scratch.data[..MAX_DATA];
        self.host
            .compress(self.codec, page, out)
            .filter(|len| *len <= MAX_DATA)
    }

    fn decompress(&self, data: &[u8], page: &mut Page) -> bool {
        self.host.decompress(self.codec, data, page)
    }
}

/// Compresses with the codec of that number; `None` also for [`Codec::None`].
#[inline]
pub(crate) fn compress<H: Host>(
    host: &H,
    codec: Codec,
    page: &Page,
    scratch: &mut Scratch,
) -> Option<usize> {
    match codec {
        Codec::None => None,
        Codec::Lz4 => Lz4.compress(page, scratch),
        codec => Hosted { host, codec }.compress(page, scratch),
    }
}

/// Whether `data` decoded to exactly one page, as a get would decode it. Any bytes are safe to try; the
/// page's contents are undefined when they do not decode.
#[inline]
pub fn decompress<H: Host>(host: &H, codec: Codec, data: &[u8], page: &mut Page) -> bool {
    match codec {
        Codec::None => false,
        Codec::Lz4 => Lz4.decompress(data, page),
        codec => Hosted { host, codec }.decompress(data, page),
    }
}

/// Whether pages can be compressed with this codec now.
pub(crate) fn available<H: Host>(host: &H, codec: Codec) -> bool {
    match codec {
        Codec::None | Codec::Lz4 => true,
        codec => host.codec_available(codec),
    }
}

/// The word that fills the page, if one 32-bit word does.
#[inline]
pub(crate) fn fill_word(page: &Page) -> Option<u32> {
    let (words, _) = page.as_chunks::<8>();
    let first = words[0];
    // Most pages differ at their ends already.
    if words[words.len() - 1] != first || first[..4] != first[4..] {
        return None;
    }
    words
        .iter()
        .all(|word| *word == first)
        .then(|| u32::from_ne_bytes([first[0], first[1], first[2], first[3]]))
}

/// Fills a page with one word.
#[inline]
pub(crate) fn fill(page: &mut Page, word: u32) {
    for bytes in page.as_chunks_mut::<4>().0 {
        *bytes = word.to_ne_bytes();
    }
}
