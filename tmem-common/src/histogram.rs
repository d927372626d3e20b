//! Layout of latency histograms: log-linear buckets, four to each power of two,
//! so that a percentile read from them is off by at most 25 %.

/// Buckets in a histogram. The last one takes everything of 2^32 ns and above.
pub const BUCKETS: usize = 128;

/// Buckets to each power of two, as a power of two.
const SUB_BITS: u32 = 2;

/// The bucket of a value in nanoseconds; always below [`BUCKETS`].
#[inline(always)]
pub const fn bucket_of(ns: u64) -> usize {
    if ns < 4 {
        return ns as usize;
    }
    let log2 = 63 - ns.leading_zeros();
    let sub = (ns >> (log2 - SUB_BITS)) & 3;
    let bucket = ((log2 - 1) << SUB_BITS) as usize + sub as usize;
    if bucket < BUCKETS {
        bucket
    } else {
        BUCKETS - 1
    }
}

/// The smallest value, in nanoseconds, that falls into `bucket`.
pub const fn lower_bound(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let log2 = (bucket as u32 >> SUB_BITS) + 1;
    let sub = bucket as u64 & 3;
    (4 + sub) << (log2 - SUB_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_lower_bound_opens_its_own_bucket() {
        for bucket in 0..BUCKETS {
            let low = lower_bound(bucket);
            assert_eq!(bucket_of(low), bucket);
            if low > 0 {
                assert_eq!(bucket_of(low - 1), bucket - 1);
            }
        }
    }

    #[test]
    fn huge_values_fall_into_the_last_bucket() {
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of(1 << 40), BUCKETS - 1);
    }
}
