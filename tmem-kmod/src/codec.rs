//! Codecs: how a page becomes fewer bytes and a page again.

use tmem_common::codec::Codec;

use crate::adaptive;
use crate::host::{Host, PAGE, Page};
use crate::lz4;
use crate::px64;
use crate::store::MAX_DATA;

/// Bytes that a codec may write while compressing a page.
const OUT: usize = {
    if lz4::OUT > px64::OUT {
        lz4::OUT
    } else {
        px64::OUT
    }
};

/// Working space of the codecs, one for each CPU or thread: too large for a
/// kernel's stack.
#[repr(C, align(64))]
pub struct Scratch {
    table: lz4::Table,
    words: px64::Table,
    pub(crate) data: [u8; OUT],
}

impl Scratch {
    /// What the last compression wrote; the first bytes of it, by the length it told.
    pub fn data(&self) -> &[u8] {
        &self.data
    }

    /// A scratch of one's own.
    #[cfg(feature = "userspace")]
    pub fn boxed() -> std::boxed::Box<Scratch> {
        let mut scratch = std::boxed::Box::<Scratch>::new_uninit();
        // SAFETY: a box is valid for writes and aligned; init_at makes a whole scratch.
        unsafe {
            Scratch::init_at(scratch.as_mut_ptr());
            scratch.assume_init()
        }
    }

    /// Brings memory into the first state of a scratch.
    ///
    /// # Safety
    /// `scratch` is valid for writes of a `Scratch` and aligned for it.
    pub unsafe fn init_at(scratch: *mut Scratch) {
        // Copied from statics, so that the tables are never built on the stack.
        static POSITIONS: lz4::Table = lz4::Table::new();
        static WORDS: px64::Table = px64::Table::new();
        // SAFETY: valid for writes by the caller's promise; the tables own nothing.
        unsafe {
            core::ptr::copy_nonoverlapping(&raw const POSITIONS, &raw mut (*scratch).table, 1);
            core::ptr::copy_nonoverlapping(&raw const WORDS, &raw mut (*scratch).words, 1);
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

/// LZ4 block format.
struct Lz4;

impl PageCodec for Lz4 {
    // Not inlined: its variables would lie in the frame of a put.
    #[inline(never)]
    fn compress(&self, page: &Page, scratch: &mut Scratch) -> Option<usize> {
        let out = scratch.data.first_chunk_mut::<{ lz4::OUT }>()?;
        let len = lz4::compress(page, &mut scratch.table, out);
        (len <= MAX_DATA).then_some(len)
    }

    #[inline]
    fn decompress(&self, data: &[u8], page: &mut Page) -> bool {
        lz4::decompress(data, page)
    }
}

/// px64, whatever the page is like.
struct Px64;

impl PageCodec for Px64 {
    #[inline]
    fn compress(&self, page: &Page, scratch: &mut Scratch) -> Option<usize> {
        Px64::within(PAGE, page, scratch)
    }

    #[inline]
    fn decompress(&self, data: &[u8], page: &mut Page) -> bool {
        px64::decompress(data, page).is_ok()
    }
}

impl Px64 {
    #[inline]
    fn within(per_line: usize, page: &Page, scratch: &mut Scratch) -> Option<usize> {
        let out = scratch.data.first_chunk_mut::<{ px64::OUT }>()?;
        px64::compress_within(page, &mut scratch.words, out, per_line)
            .filter(|len| *len <= MAX_DATA)
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

/// Compresses into [`Scratch::data`]: with which codec, which is another than asked for if that one
/// chooses, and the length in bytes. `None` if the page does not get small enough, and for
/// [`Codec::None`].
// Not inlined: its variables would lie in the frame of a put.
#[inline(never)]
pub fn compress<H: Host>(
    host: &H,
    codec: Codec,
    page: &Page,
    scratch: &mut Scratch,
) -> Option<(Codec, usize)> {
    let len = match codec {
        Codec::None => None,
        Codec::Lz4 => Lz4.compress(page, scratch),
        Codec::Px64 => Px64.compress(page, scratch),
        Codec::Adaptive => {
            if adaptive::suits_px64(page)
                && let Some(len) = Px64::within(adaptive::PER_LINE, page, scratch)
            {
                return Some((Codec::Px64, len));
            }
            return Some((Codec::Lz4, Lz4.compress(page, scratch)?));
        }
        Codec::LzoRle | Codec::Zstd => Hosted { host, codec }.compress(page, scratch),
    };
    Some((codec, len?))
}

/// Whether `data` decoded to exactly one page, as a get would decode it. Any bytes are safe to try; the
/// page's contents are undefined when they do not decode.
#[inline]
pub fn decompress<H: Host>(host: &H, codec: Codec, data: &[u8], page: &mut Page) -> bool {
    match codec {
        Codec::None => false,
        Codec::Lz4 => Lz4.decompress(data, page),
        Codec::Px64 => Px64.decompress(data, page),
        // It chooses among formats and is none.
        Codec::Adaptive => false,
        Codec::LzoRle | Codec::Zstd => Hosted { host, codec }.decompress(data, page),
    }
}

/// Whether pages can be compressed with this codec now.
pub(crate) fn available<H: Host>(host: &H, codec: Codec) -> bool {
    match codec {
        Codec::None | Codec::Lz4 | Codec::Px64 | Codec::Adaptive => true,
        Codec::LzoRle | Codec::Zstd => host.codec_available(codec),
    }
}

/// The word that fills the page, if one 32-bit word does.
#[inline]
pub(crate) fn fill_word(page: &Page) -> Option<u32> {
    let (words, _) = page.as_chunks::<8>();
    let first = words[0];
    let all = |words: &[[u8; 8]]| words.iter().all(|word| *word == first);
    // Most pages differ within their first line, which the codec wants next, or else at their
    // end; the line there is left alone if it can be.
    let (line, rest) = words.split_at(8);
    if first[..4] != first[4..] || !all(line) || words[words.len() - 1] != first {
        return None;
    }
    all(rest).then(|| u32::from_ne_bytes([first[0], first[1], first[2], first[3]]))
}

/// Reads or writes a page that is kept as it is.
// Not inlined, as `fill`: who counts instructions tells by the function's name that they are the codec's.
#[inline(never)]
pub(crate) fn copy(from: &Page, to: &mut Page) {
    *to = *from;
}

/// Fills a page with one word.
#[inline(never)]
pub(crate) fn fill(page: &mut Page, word: u32) {
    for bytes in page.as_chunks_mut::<4>().0 {
        *bytes = word.to_ne_bytes();
    }
}
