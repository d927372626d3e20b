//! Latency histograms as the tool reads them: merging, differences and
//! percentiles over the bucket layout of [`tmem_common::histogram`].

use tmem_common::histogram::{BUCKETS, bucket_of, lower_bound};

/// Counts of durations in ns, one a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: Box<[u64; BUCKETS]>,
}

impl Default for Histogram {
    fn default() -> Self {
        Self::from_buckets([0; BUCKETS])
    }
}

impl Histogram {
    /// Takes counts laid out as in [`tmem_common::histogram`].
    pub fn from_buckets(buckets: [u64; BUCKETS]) -> Self {
        Self {
            buckets: Box::new(buckets),
        }
    }

    /// The counts, one a bucket.
    pub fn buckets(&self) -> &[u64; BUCKETS] {
        &self.buckets
    }

    /// Counts one duration of `ns` nanoseconds.
    pub fn record(&mut self, ns: u64) {
        self.buckets[bucket_of(ns)] += 1;
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.buckets.iter_mut().zip(other.buckets.iter()) {
            *mine = mine.saturating_add(*theirs);
        }
    }

    /// What was counted since `earlier`, an older reading of the same histogram.
    pub fn since(&self, earlier: &Self) -> Self {
        let mut difference = self.clone();
        for (mine, theirs) in difference.buckets.iter_mut().zip(earlier.buckets.iter()) {
            *mine = mine.saturating_sub(*theirs);
        }
        difference
    }

    /// Number of durations counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The duration in ns that the fraction `quantile` (0.0 to 1.0) of all
    /// durations does not exceed: nearest rank, linear within its bucket, so off
    /// by at most a bucket's width (25 %). `None` when nothing was counted. In
    /// the last bucket, which has no end, its lower bound.
    pub fn percentile(&self, quantile: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((quantile.clamp(0.0, 1.0) * count as f64).ceil() as u64).clamp(1, count);
        let mut below = 0;
        for (bucket, &here) in self.buckets.iter().enumerate() {
            if here > 0 && below + here >= rank {
                let low = lower_bound(bucket);
                if bucket == BUCKETS - 1 {
                    return Some(low);
                }
                let width = lower_bound(bucket + 1) - low;
                // The middle of the rank's share of the bucket.
                let share = ((rank - below) as f64 - 0.5) / here as f64;
                return Some(low + (width as f64 * share) as u64);
            }
            below += here;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_counted_has_no_percentile() {
        assert_eq!(Histogram::default().percentile(0.5), None);
    }

    #[test]
    fn percentiles_are_within_a_quarter_of_the_exact_ones() {
        let mut histogram = Histogram::default();
        let mut exact: Vec<u64> = (1..=10_000_u64).map(|i| i * i / 7 + 1).collect();
        for &ns in &exact {
            histogram.record(ns);
        }
        exact.sort_unstable();
        for quantile in [0.01, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let rank = ((quantile * exact.len() as f64).ceil() as usize).max(1);
            let want = exact[rank - 1] as f64;
            let got = histogram.percentile(quantile).map_or(0.0, |ns| ns as f64);
            assert!(
                (got - want).abs() <= want * 0.25,
                "quantile {quantile}: {got} for {want}"
            );
        }
    }

    #[test]
    fn percentiles_never_fall_as_the_quantile_rises() {
        let mut histogram = Histogram::default();
        for ns in [3, 3, 17, 900, 901, 40_000, u64::MAX] {
            histogram.record(ns);
        }
        let mut last = 0;
        for step in 0..=1000 {
            let now = histogram.percentile(f64::from(step) / 1000.0).unwrap_or(0);
            assert!(now >= last, "step {step}");
            last = now;
        }
        assert_eq!(last, lower_bound(BUCKETS - 1));
    }

    #[test]
    fn a_difference_and_its_start_merge_to_the_end() {
        let mut start = Histogram::default();
        start.record(10);
        let mut end = start.clone();
        end.record(10);
        end.record(5000);
        let mut sum = end.since(&start);
        assert_eq!(sum.count(), 2);
        sum.merge(&start);
        assert_eq!(sum, end);
    }
}
