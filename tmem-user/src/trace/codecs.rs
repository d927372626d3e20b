//! How codecs compare: how much smaller one makes pages than another, and what
//! that costs. A trace tells only what the codec made of its pages that was in
//! use while it was recorded. Figures of `docs/benchmarks/codec.md`.

use tmem_common::codec::Codec;

use super::requests::Requests;

/// What is known of one codec.
#[derive(Debug, PartialEq)]
pub struct Known {
    /// Which.
    pub codec: Codec,
    /// Bytes of a page for each byte of data: of anonymous memory, binaries and text.
    ratios: [f64; 3],
    /// ns to put a page of anonymous memory.
    put_ns: f64,
    /// ns to get it.
    get_ns: f64,
}

/// Every codec that compresses.
pub static KNOWN: [Known; 5] = [
    Known {
        codec: Codec::Lz4,
        ratios: [2.917, 1.705, 2.498],
        put_ns: 4157.0,
        get_ns: 1421.0,
    },
    Known {
        codec: Codec::LzoRle,
        ratios: [3.149, 1.749, 2.590],
        put_ns: 4054.0,
        get_ns: 1846.0,
    },
    Known {
        codec: Codec::Px64,
        ratios: [3.635, 1.427, 1.298],
        put_ns: 1490.0,
        get_ns: 771.0,
    },
    Known {
        codec: Codec::Adaptive,
        ratios: [3.694, 1.761, 2.497],
        put_ns: 1680.0,
        get_ns: 780.0,
    },
    Known {
        codec: Codec::Zstd,
        ratios: [4.710, 2.243, 3.512],
        put_ns: 11_764.0,
        get_ns: 4819.0,
    },
];

/// Bytes of data for each byte of another codec's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Of the kind of pages that gains most.
    pub least: f64,
    /// What is expected.
    pub expected: f64,
    /// Of the kind of pages that gains least.
    pub most: f64,
}

impl Known {
    /// The codec of that name, if it compresses.
    pub fn named(name: &str) -> Option<&'static Known> {
        KNOWN.iter().find(|known| known.codec.name() == name)
    }

    /// The codec that made the sizes of a trace; `None`: it does not tell.
    pub fn of_trace(requests: &Requests) -> Option<&'static Known> {
        Self::named(requests.meta.tunables.get("codec")?)
    }

    /// How large this codec makes pages that have the sizes of `other` in a trace: as anonymous
    /// memory where it has swap pages, else as files.
    pub fn factors(&self, other: &Self, requests: &Requests) -> Factors {
        let swap = requests
            .pools
            .iter()
            .any(super::record::PoolReading::is_persistent);
        let mut by_kind = [0.0; 3];
        for (factor, (ours, theirs)) in by_kind.iter_mut().zip(self.ratios.iter().zip(other.ratios))
        {
            *factor = (theirs / ours).clamp(0.01, 10.0);
        }
        let [anonymous, binaries, text] = by_kind;
        Factors {
            least: by_kind.into_iter().fold(f64::INFINITY, f64::min),
            expected: if swap {
                anonymous
            } else {
                (binaries * text).sqrt()
            },
            most: by_kind.into_iter().fold(0.0, f64::max),
        }
    }

    /// ns that so many puts and hits take more (or less) than with `other`.
    pub fn more_ns(&self, other: &Self, puts: u64, hits: u64) -> f64 {
        puts as f64 * (self.put_ns - other.put_ns) + hits as f64 * (self.get_ns - other.get_ns)
    }
}
