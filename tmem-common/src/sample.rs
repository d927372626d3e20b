//! Which pages are sampled. Spatial sampling (Waldspurger et al., SHARDS, 2015):
//! a page is in the sample or not by its handle alone, so that a sample holds
//! the whole history of every page in it.

use crate::event::WHOLE_OBJECT;
use crate::random::mix;

/// The hash of a page's handle, spread over all 32 bits (the finaliser of
/// splitmix64, Steele et al., 2014).
#[inline(always)]
pub const fn page_hash(pool: u32, object: u64, index: u64) -> u32 {
    let x = (object ^ ((pool as u64) << 56))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(index);
    (mix(x) >> 32) as u32
}

/// The threshold that samples one page in `one_in`; 0 samples none.
pub const fn threshold(one_in: u32) -> u64 {
    if one_in == 0 {
        return 0;
    }
    (1 << 32) / one_in as u64
}

/// Whether an operation on this page is in the sample. The flush of a whole
/// object is in every sample but the empty one, since it ends the histories of
/// all the object's pages.
#[inline(always)]
pub const fn is_sampled(threshold: u64, pool: u32, object: u64, index: u64) -> bool {
    if index == WHOLE_OBJECT {
        return threshold != 0;
    }
    (page_hash(pool, object, index) as u64) < threshold
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_page_in_n_is_sampled() {
        for one_in in [1, 2, 16, 64] {
            let threshold = threshold(one_in);
            let mut sampled = 0;
            for object in 0..64 {
                for index in 0..1024 {
                    sampled += u32::from(is_sampled(threshold, 3, object, index));
                }
            }
            let wanted = 64 * 1024 / one_in;
            assert!(
                sampled.abs_diff(wanted) <= wanted / 8,
                "1 in {one_in}: {sampled}"
            );
        }
    }

    #[test]
    fn no_sample_holds_nothing_and_every_other_holds_object_flushes() {
        assert!(!is_sampled(threshold(0), 0, 0, 0));
        assert!(!is_sampled(threshold(0), 0, 0, WHOLE_OBJECT));
        assert!(is_sampled(threshold(1000), 0, 0, WHOLE_OBJECT));
    }
}
