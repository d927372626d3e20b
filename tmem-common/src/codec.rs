//! Numbers and names of the codecs, as pools, sysfs and the C module use them.

/// How a pool's pages are compressed.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// Not at all: pages are kept as they are.
    None = 0,
    /// LZ4, by the engine itself.
    Lz4 = 1,
    /// LZO-RLE, by the host.
    LzoRle = 2,
    /// Zstandard, by the host.
    Zstd = 3,
    /// px64, by the engine itself: docs/reference/px64-format.md.
    Px64 = 4,
    /// Px64 or LZ4, by what the page is like. No page is stored under this number.
    Adaptive = 5,
}

/// The number that makes a pool follow the engine's default codec.
pub const CODEC_DEFAULT: u32 = 255;

impl Codec {
    /// Every codec, in numeric order.
    pub const ALL: [Codec; 6] = [
        Codec::None,
        Codec::Lz4,
        Codec::LzoRle,
        Codec::Zstd,
        Codec::Px64,
        Codec::Adaptive,
    ];

    /// The name used in tables, JSON and sysfs.
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Lz4 => "lz4",
            Codec::LzoRle => "lzo-rle",
            Codec::Zstd => "zstd",
            Codec::Px64 => "px64",
            Codec::Adaptive => "adaptive",
        }
    }

    /// The codec of that number, if there is one.
    pub const fn from_number(number: u32) -> Option<Codec> {
        match number {
            0 => Some(Codec::None),
            1 => Some(Codec::Lz4),
            2 => Some(Codec::LzoRle),
            3 => Some(Codec::Zstd),
            4 => Some(Codec::Px64),
            5 => Some(Codec::Adaptive),
            _ => None,
        }
    }
}
