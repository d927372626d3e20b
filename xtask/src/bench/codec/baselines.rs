//! Codecs that are not ours: the kernel's LZ4 and LZO-RLE, built as the kernel builds
//! them, and zstd at level 1 as its crate builds it.

use std::ffi::{c_char, c_int, c_uchar, c_void};
use std::rc::Rc;

use anyhow::{Context, Result, anyhow};
use libloading::{Library, Symbol};
use tmem_common::codec::Codec;
use zstd_safe::{CCtx, DCtx};

use super::{PageCodec, linux};
use crate::corpus::{PAGE, Page};

/// Room that each of them has for its result; zram gives two pages as well.
const ROOM: usize = 2 * PAGE;
/// Working space in 64-bit words: LZ4_MEM_COMPRESS, and more than LZO1X_MEM_COMPRESS.
const WORDS: usize = 16416 / 8;

type Lz4Compress =
    unsafe extern "C" fn(*const c_char, *mut c_char, c_int, c_int, *mut c_void) -> c_int;
type Lz4Decompress = unsafe extern "C" fn(*const c_char, *mut c_char, c_int, c_int) -> c_int;
type LzoCompress =
    unsafe extern "C" fn(*const c_uchar, usize, *mut c_uchar, *mut usize, *mut c_void) -> c_int;
type LzoDecompress = unsafe extern "C" fn(*const c_uchar, usize, *mut c_uchar, *mut usize) -> c_int;

/// All of them.
pub(super) fn all() -> Result<Vec<Box<dyn PageCodec>>> {
    let compressor = CCtx::try_create().ok_or_else(|| anyhow!("no memory for zstd"))?;
    let decompressor = DCtx::try_create().ok_or_else(|| anyhow!("no memory for zstd"))?;
    let path = linux::library()?;
    // SAFETY: it was built from the kernel's sources; it has no code that runs when it is loaded.
    let library = unsafe { Library::new(&path) }.with_context(|| path.display().to_string())?;
    let library = Rc::new(library);
    // SAFETY: the types are those of include/linux/lz4.h and include/linux/lzo.h.
    unsafe {
        Ok(vec![
            Box::new(Lz4 {
                encode: *symbol::<Lz4Compress>(&library, "LZ4_compress_default")?,
                decode: *symbol::<Lz4Decompress>(&library, "LZ4_decompress_safe")?,
                _library: Rc::clone(&library),
                memory: vec![0; WORDS],
                out: vec![0; ROOM],
            }),
            Box::new(LzoRle {
                encode: *symbol::<LzoCompress>(&library, "lzorle1x_1_compress")?,
                decode: *symbol::<LzoDecompress>(&library, "lzo1x_decompress_safe")?,
                _library: library,
                memory: vec![0; WORDS],
                out: vec![0; ROOM],
            }),
            Box::new(Zstd {
                compressor,
                decompressor,
                out: vec![0; ROOM],
            }),
        ])
    }
}

/// # Safety
/// `T` is the function's type.
unsafe fn symbol<'a, T>(library: &'a Library, name: &str) -> Result<Symbol<'a, T>> {
    // SAFETY: by the caller's promise.
    unsafe { library.get(name) }.with_context(|| format!("the kernel's codecs have no {name}"))
}

struct Lz4 {
    encode: Lz4Compress,
    decode: Lz4Decompress,
    /// Holds both functions.
    _library: Rc<Library>,
    memory: Vec<u64>,
    out: Vec<u8>,
}

impl PageCodec for Lz4 {
    fn name(&self) -> &'static str {
        "linux-lz4"
    }

    fn compress(&mut self, page: &Page) -> Option<(Codec, &[u8])> {
        // SAFETY: source and destination have the sizes told; the memory is what LZ4_MEM_COMPRESS asks for.
        let len = unsafe {
            (self.encode)(
                page.as_ptr().cast(),
                self.out.as_mut_ptr().cast(),
                PAGE as c_int,
                ROOM as c_int,
                self.memory.as_mut_ptr().cast(),
            )
        };
        let len = usize::try_from(len).ok().filter(|len| *len > 0)?;
        Some((Codec::None, &self.out[..len]))
    }

    fn decompress(&mut self, _: Codec, data: &[u8], page: &mut Page) -> bool {
        // SAFETY: source and destination have the sizes told.
        let len = unsafe {
            (self.decode)(
                data.as_ptr().cast(),
                page.as_mut_ptr().cast(),
                data.len() as c_int,
                PAGE as c_int,
            )
        };
        len == PAGE as c_int
    }
}

struct LzoRle {
    encode: LzoCompress,
    decode: LzoDecompress,
    /// Holds both functions.
    _library: Rc<Library>,
    memory: Vec<u64>,
    out: Vec<u8>,
}

impl PageCodec for LzoRle {
    fn name(&self) -> &'static str {
        "linux-lzo-rle"
    }

    fn compress(&mut self, page: &Page) -> Option<(Codec, &[u8])> {
        let mut len = ROOM;
        // SAFETY: source and destination have the sizes told; the memory is what LZO1X_MEM_COMPRESS asks for.
        let code = unsafe {
            (self.encode)(
                page.as_ptr(),
                PAGE,
                self.out.as_mut_ptr(),
                &raw mut len,
                self.memory.as_mut_ptr().cast(),
            )
        };
        (code == 0).then(|| (Codec::None, &self.out[..len]))
    }

    fn decompress(&mut self, _: Codec, data: &[u8], page: &mut Page) -> bool {
        let mut len = PAGE;
        // SAFETY: source and destination have the sizes told.
        let code =
            unsafe { (self.decode)(data.as_ptr(), data.len(), page.as_mut_ptr(), &raw mut len) };
        code == 0 && len == PAGE
    }
}

struct Zstd {
    compressor: CCtx<'static>,
    decompressor: DCtx<'static>,
    out: Vec<u8>,
}

impl PageCodec for Zstd {
    fn name(&self) -> &'static str {
        "zstd-1"
    }

    fn compress(&mut self, page: &Page) -> Option<(Codec, &[u8])> {
        let len = self
            .compressor
            .compress(self.out.as_mut_slice(), page, 1)
            .ok()?;
        Some((Codec::None, &self.out[..len]))
    }

    fn decompress(&mut self, _: Codec, data: &[u8], page: &mut Page) -> bool {
        self.decompressor.decompress(page.as_mut_slice(), data) == Ok(PAGE)
    }
}
