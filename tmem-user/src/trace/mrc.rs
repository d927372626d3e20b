//! Miss-ratio curves of a least-recently-used cache from a sample of its
//! requests: SHARDS (Waldspurger, Park, Garthwaite, Ahmad, FAST 2015), of a fixed
//! rate or a fixed number of pages, with the correction of its section 3
//! (SHARDS-adj) where the number of all requests is known.
//!
//! Distances are those of Mattson's stack (1970). Flushes and exclusive gets leave
//! a hole where the page was; the next put fills the topmost, as a cache that has
//! room evicts nothing.

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use tmem_common::event::WHOLE_OBJECT;
use tmem_common::op::Op;
use tmem_common::sample::page_hash;

use super::requests::Request;

/// A page's handle.
type Key = (u32, u64, u64);

/// Number of values of [`page_hash`].
const HASHES: u64 = 1 << 32;

/// Which pages are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// One page in so many.
    Fixed(u32),
    /// As many pages as fit: beyond so many, those with the highest hashes leave.
    Pages(usize),
}

/// How gets treat the pages that they find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A get that finds its page removes it; only puts bring pages in (file pages of a kernel).
    Exclusive,
    /// A get brings its page in, and to the top (caches).
    Cache,
}

/// Gathers requests and makes the curve. Memory: some 100 bytes for each page in
/// the sample and 130 KiB.
#[derive(Clone, Debug)]
pub struct Shards {
    style: Style,
    /// Pages whose hash is below are looked at.
    threshold: u64,
    most: usize,
    /// The sample that the requests are already: one page in so many.
    given: f64,
    stack: Stack,
    /// The pages of the sample of which something was seen, by hash.
    seen: BTreeSet<(u32, Key)>,
    distances: Distances,
    /// Gets that no cache would hit, weighted.
    cold: f64,
    /// Gets in the sample, weighted.
    weighed: f64,
    /// Gets of all pages given.
    gets: u64,
}

impl Shards {
    /// Begins with no requests; those that come are one page in `given` of all.
    pub fn new(rate: Rate, style: Style, given: u32) -> Self {
        let (threshold, most) = match rate {
            Rate::Fixed(one_in) => (HASHES / u64::from(one_in.max(given).max(1)), usize::MAX),
            Rate::Pages(most) => (HASHES / u64::from(given.max(1)), most),
        };
        Self {
            style,
            threshold,
            most,
            given: f64::from(given.max(1)),
            stack: Stack::new(),
            seen: BTreeSet::new(),
            distances: Distances::new(),
            cold: 0.0,
            weighed: 0.0,
            gets: 0,
        }
    }

    /// Takes the next request.
    pub fn request(&mut self, request: &Request) {
        let key = (request.pool, request.object, request.index);
        if request.index == WHOLE_OBJECT {
            self.stack.remove_object(request.pool, request.object);
            return;
        }
        self.gets += u64::from(request.op == Op::Get);
        let hash = page_hash(key.0, key.1, key.2);
        if u64::from(hash) >= self.threshold {
            return;
        }
        // What was there before the recording is not known.
        let known = !self.seen.insert((hash, key));
        match (request.op, self.style) {
            (Op::Put, _) => self.stack.push(key),
            (Op::Flush, _) => self.stack.remove(key),
            (Op::Get, Style::Cache) => {
                self.count(key);
                self.stack.push(key);
            }
            (Op::Get, Style::Exclusive) => {
                if known {
                    self.count(key);
                }
                self.stack.remove(key);
            }
            (Op::Evict, _) => {}
        }
        while self.seen.len() > self.most {
            self.lower_threshold();
        }
    }

    /// Pages in all for each one looked at.
    fn scale(&self) -> f64 {
        HASHES as f64 / self.threshold as f64
    }

    fn count(&mut self, key: Key) {
        let scale = self.scale();
        self.weighed += scale;
        match self.stack.distance(key) {
            Some(distance) => self.distances.add(f64::from(distance) * scale, scale),
            None => self.cold += scale,
        }
    }

    /// Lets go the pages with the highest hash.
    fn lower_threshold(&mut self) {
        let Some(&(highest, _)) = self.seen.last() else {
            return;
        };
        self.threshold = u64::from(highest);
        while let Some(&page) = self.seen.last().filter(|(hash, _)| *hash == highest) {
            self.seen.remove(&page);
            self.stack.forget(page.1);
        }
    }

    /// The share of gets that miss in a cache of so many pages. `None` without gets.
    pub fn miss_share(&self, pages: f64) -> Option<f64> {
        // SHARDS-adj: requests that a sample has too many or too few of are those of the pages that
        // are asked for most, which any cache holds.
        let all = self.gets as f64 * self.given;
        let missing = match self.style {
            Style::Cache => all - self.weighed,
            Style::Exclusive => 0.0,
        };
        let total = self.weighed + missing;
        if self.weighed == 0.0 || total <= 0.0 {
            return None;
        }
        let hits = self.distances.up_to(pages) + missing;
        Some((1.0 - hits / total).clamp(0.0, 1.0))
    }

    /// The largest size that makes a difference, in pages.
    pub fn largest(&self) -> f64 {
        self.distances.largest
    }

    /// One page in so many was looked at, of all.
    pub fn one_in(&self) -> f64 {
        self.scale()
    }
}

/// Weighted counts of distances in log-linear buckets, 256 to each power of two, so
/// that a size is off by 0.4 % at most.
#[derive(Clone, Debug)]
struct Distances {
    buckets: Vec<f64>,
    largest: f64,
}

const SUB_BITS: u32 = 8;
const BUCKETS: usize = 64 << SUB_BITS;

impl Distances {
    fn new() -> Self {
        Self {
            buckets: vec![0.0; BUCKETS],
            largest: 0.0,
        }
    }

    fn add(&mut self, distance: f64, weight: f64) {
        self.buckets[bucket(distance)] += weight;
        self.largest = self.largest.max(distance);
    }

    fn up_to(&self, distance: f64) -> f64 {
        if distance < 1.0 {
            return 0.0;
        }
        self.buckets[..=bucket(distance)].iter().sum()
    }
}

fn bucket(distance: f64) -> usize {
    let whole = distance.max(1.0) as u64;
    let log2 = whole.ilog2();
    let sub = if log2 >= SUB_BITS {
        whole >> (log2 - SUB_BITS)
    } else {
        whole << (SUB_BITS - log2)
    };
    ((log2 as usize) << SUB_BITS) + (sub as usize & ((1 << SUB_BITS) - 1))
}

/// The stack: pages and holes by the time that they came to the top, and a Fenwick
/// tree over the times that counts them.
#[derive(Clone, Debug)]
struct Stack {
    places: BTreeMap<Key, u32>,
    /// Times of holes, the latest first.
    holes: BinaryHeap<u32>,
    /// Sums of marks, one a time, as in Fenwick (1994).
    sums: Vec<u32>,
    next: u32,
    marks: u32,
}

impl Stack {
    const LEAST: usize = 1024;

    fn new() -> Self {
        Self {
            places: BTreeMap::new(),
            holes: BinaryHeap::new(),
            sums: vec![0; Self::LEAST + 1],
            next: 0,
            marks: 0,
        }
    }

    /// How many pages a cache needs to hold this one; `None` when it is not there.
    fn distance(&self, key: Key) -> Option<u32> {
        let place = *self.places.get(&key)?;
        let mut below = 0;
        let mut at = place + 1;
        while at > 0 {
            below += self.sums[at as usize];
            at &= at - 1;
        }
        Some(self.marks - below + 1)
    }

    fn mark(&mut self, place: u32, by: i32) {
        self.marks = self.marks.wrapping_add_signed(by);
        let mut at = place as usize + 1;
        while at < self.sums.len() {
            self.sums[at] = self.sums[at].wrapping_add_signed(by);
            at += 1 << at.trailing_zeros();
        }
    }

    /// Puts a page on top.
    fn push(&mut self, key: Key) {
        if self.next as usize == self.sums.len() - 1 {
            self.renumber();
        }
        let old = self.places.insert(key, self.next);
        self.holes.extend(old);
        if let Some(hole) = self.holes.pop() {
            self.mark(hole, -1);
        }
        self.mark(self.next, 1);
        self.next += 1;
    }

    /// Takes a page out; a hole stays.
    fn remove(&mut self, key: Key) {
        self.holes.extend(self.places.remove(&key));
    }

    /// Takes out all pages of an object.
    fn remove_object(&mut self, pool: u32, object: u64) {
        let of_it = (pool, object, 0)..=(pool, object, u64::MAX);
        let keys: Vec<Key> = self.places.range(of_it).map(|(key, _)| *key).collect();
        for key in keys {
            self.remove(key);
        }
    }

    /// Takes a page out as if it had never been there.
    fn forget(&mut self, key: Key) {
        if let Some(place) = self.places.remove(&key) {
            self.mark(place, -1);
        }
    }

    /// Numbers the times anew, without gaps, and with room for as many again.
    fn renumber(&mut self) {
        let mut times: Vec<u32> = self.places.values().copied().collect();
        times.extend(self.holes.iter());
        times.sort_unstable();
        let rank = |time: u32| times.partition_point(|other| *other < time) as u32;
        for place in self.places.values_mut() {
            *place = rank(*place);
        }
        self.holes = self.holes.iter().map(|hole| rank(*hole)).collect();
        self.next = times.len() as u32;
        self.marks = 0;
        self.sums = vec![0; (2 * times.len()).max(Self::LEAST) + 1];
        for place in 0..self.next {
            self.mark(place, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::trace::requests::Size;
    use crate::workload::Random;

    fn request(op: Op, index: u64) -> Request {
        Request {
            op,
            pool: 0,
            object: index % 3,
            index,
            size: Size::Unknown,
        }
    }

    /// A cache of so many pages, told in the simplest way: the first is the one to go.
    fn misses(requests: &[Request], pages: usize, style: Style) -> (u64, u64) {
        let mut cache: Vec<u64> = Vec::new();
        let mut known = HashSet::new();
        let (mut misses, mut gets) = (0, 0);
        for request in requests {
            let at = cache.iter().position(|page| *page == request.index);
            let seen = !known.insert(request.index);
            if request.op == Op::Get && (seen || style == Style::Cache) {
                gets += 1;
                misses += u64::from(at.is_none());
            }
            if let Some(at) = at {
                cache.remove(at);
            }
            if request.op == Op::Put || (request.op == Op::Get && style == Style::Cache) {
                if cache.len() == pages {
                    cache.remove(0);
                }
                cache.push(request.index);
            }
        }
        (misses, gets)
    }

    #[test]
    fn the_full_sample_is_exact_for_every_size() {
        let mut random = Random::new(3);
        for style in [Style::Cache, Style::Exclusive] {
            let requests: Vec<Request> = (0..6_000)
                .map(|_| {
                    let op = match random.below(10) {
                        0..5 => Op::Get,
                        5..9 => Op::Put,
                        _ => Op::Flush,
                    };
                    let page = random.below(60).min(random.below(60));
                    request(op, page)
                })
                .collect();
            for rate in [Rate::Fixed(1), Rate::Pages(1000)] {
                let mut shards = Shards::new(rate, style, 1);
                for request in &requests {
                    shards.request(request);
                }
                for pages in 1..=70 {
                    let (misses, gets) = misses(&requests, pages, style);
                    let want = misses as f64 / gets as f64;
                    let got = shards.miss_share(pages as f64).expect("there were gets");
                    assert!((got - want).abs() < 1e-9, "{style:?} {pages}: {got} {want}");
                }
            }
        }
    }

    #[test]
    fn a_flushed_object_takes_its_pages_along() {
        let mut shards = Shards::new(Rate::Fixed(1), Style::Exclusive, 1);
        for index in 0..6 {
            shards.request(&request(Op::Put, index));
        }
        shards.request(&Request {
            index: WHOLE_OBJECT,
            object: 1,
            ..request(Op::Flush, 0)
        });
        for index in 0..6 {
            shards.request(&request(Op::Get, index));
        }
        let missed = shards.miss_share(100.0).expect("there were gets");
        assert!((missed - 2.0 / 6.0).abs() < 1e-9, "{missed}");
        assert_eq!(shards.miss_share(0.0), Some(1.0));
        assert_eq!(
            Shards::new(Rate::Fixed(1), Style::Cache, 1).miss_share(1.0),
            None
        );
    }

    #[test]
    fn buckets_rise_with_the_distance() {
        let mut before = 0;
        for distance in 1..200_000_u32 {
            let here = bucket(f64::from(distance));
            assert!(here >= before);
            assert!(distance > 512 || here > before || distance == 1);
            before = here;
        }
    }
}
