//! The miss-ratio curve of whatever is recorded or watched: all pools together, by
//! what a page takes of memory on average. Persistent pages are counted as if the
//! least recently used made room, which is what a larger budget spares them from.

use tmem_common::event::Event;

use super::mrc::{Rate, Shards, Style};
use super::record::Meta;
use super::requests::Request;

/// A curve in the making.
#[derive(Clone, Debug)]
pub struct Curve {
    shards: Shards,
    /// Memory that a page takes, bytes.
    page_bytes: Option<f64>,
}

impl Curve {
    /// Begins; events that come are of one page in `given`.
    pub fn new(rate: Rate, cache: bool, given: u32) -> Self {
        let style = if cache {
            Style::Cache
        } else {
            Style::Exclusive
        };
        Self {
            shards: Shards::new(rate, style, given),
            page_bytes: None,
        }
    }

    /// Begins for a trace, with the pages that fit a few MiB.
    pub fn of(meta: &Meta) -> Self {
        const PAGES: usize = 20_000;
        Self::new(Rate::Pages(PAGES), meta.cache, meta.sample_one_in)
    }

    /// Takes the next event.
    pub fn event(&mut self, event: &Event) {
        if let Some(request) = Request::of(event) {
            self.shards.request(&request);
        }
    }

    /// Takes what is held now: memory in bytes, and the pages in it.
    pub fn holds(&mut self, used_bytes: u64, pages: u64) {
        if pages > 0 {
            self.page_bytes = Some(used_bytes as f64 / pages as f64);
        }
    }

    /// Memory in bytes with the share of gets that miss in it, from none to the largest that makes
    /// a difference or to `least_bytes`, in `points` steps. `None` without gets or without a page's size.
    pub fn points(&self, least_bytes: f64, points: u32) -> Option<Vec<(f64, f64)>> {
        let page_bytes = self.page_bytes?;
        let largest = (self.shards.largest() * page_bytes).max(least_bytes);
        (0..=points)
            .map(|point| {
                let bytes = largest * f64::from(point) / f64::from(points.max(1));
                Some((bytes, self.shards.miss_share(bytes / page_bytes)?))
            })
            .collect()
    }

    /// The share of gets that miss in so much memory.
    pub fn at(&self, bytes: f64) -> Option<f64> {
        self.shards.miss_share(bytes / self.page_bytes?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tmem_common::op::{Op, Outcome};

    fn event(op: Op, index: u64) -> Event {
        Event {
            index,
            op: op as u32,
            outcome: Outcome::Hit as u32,
            ..Event::default()
        }
    }

    #[test]
    fn the_curve_is_of_memory() {
        let mut curve = Curve::new(Rate::Fixed(1), false, 1);
        for index in 0..10 {
            curve.event(&event(Op::Put, index));
        }
        for index in 0..10 {
            curve.event(&event(Op::Get, index));
        }
        assert_eq!(curve.points(0.0, 2), None);
        curve.holds(10_000, 10);
        // All were put, then all read, the oldest first, 1000 bytes each: of the ten a memory of
        // five has the last five.
        let points = curve.points(20_000.0, 4).expect("a curve");
        let misses: Vec<f64> = points.iter().map(|(_, share)| *share).collect();
        assert_eq!(misses, [1.0, 0.5, 0.0, 0.0, 0.0]);
        assert_eq!(points[4].0, 20_000.0);
        assert_eq!(curve.at(10_000.0), Some(0.0));
    }
}
