//! The miss-ratio curve of the last minutes, from the sampled events: two curves in
//! the making, of which the older is shown; when it has covered enough, the
//! younger takes its place and a new one is begun.

use tmem_common::event::Event;

use crate::source::Snapshot;
use crate::trace::curve::Curve;
use crate::trace::mrc::Rate;

/// Time after which the younger curve takes over: what is shown covers as much to twice as much.
const TURN_NS: u64 = 150_000_000_000;
/// Pages that a curve looks at, at the most.
const PAGES: usize = 5_000;

/// Curves over the last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveCurve {
    curves: Option<[Curve; 2]>,
    /// When the younger was begun, and the older.
    begun_ns: [u64; 2],
    now_ns: u64,
    one_in: u32,
}

impl LiveCurve {
    /// Takes what a snapshot brings, before its events are taken out.
    pub(super) fn push(&mut self, snapshot: &Snapshot) {
        let Some(observed) = &snapshot.observed else {
            return;
        };
        if observed.sample_one_in == 0 {
            return;
        }
        self.now_ns = snapshot.taken_ns;
        let new = || Curve::new(Rate::Pages(PAGES), false, observed.sample_one_in);
        if self.one_in != observed.sample_one_in {
            self.one_in = observed.sample_one_in;
            self.curves = None;
        }
        let [younger, older] = match self.curves.take() {
            None => {
                self.begun_ns = [self.now_ns; 2];
                [new(), new()]
            }
            Some([younger, _]) if self.now_ns.saturating_sub(self.begun_ns[0]) > TURN_NS => {
                self.begun_ns = [self.now_ns, self.begun_ns[0]];
                [new(), younger]
            }
            Some(curves) => curves,
        };
        let curves = self.curves.insert([younger, older]);
        for curve in curves {
            curve.holds(snapshot.used_bytes, snapshot.totals.pages);
            observed
                .events
                .iter()
                .for_each(|event: &Event| curve.event(event));
        }
    }

    /// The curve, and the seconds that it covers; `None` before there is one.
    pub(super) fn get(&self) -> Option<(&Curve, u64)> {
        let [_, older] = self.curves.as_ref()?;
        let seconds = self.now_ns.saturating_sub(self.begun_ns[1]) / 1_000_000_000;
        Some((older, seconds))
    }
}

#[cfg(test)]
mod tests {
    use tmem_common::op::{Op, Outcome};
    use tmem_common::stats::Stats;

    use super::*;
    use crate::source::Observed;

    /// A second in which one page is put and read again, with `between` others put in between.
    fn second(number: u64, between: u64) -> Snapshot {
        let event = |op: Op, index| Event {
            object: number,
            index,
            op: op as u32,
            outcome: Outcome::Hit as u32,
            ..Event::default()
        };
        let mut events: Vec<Event> = (0..=between).map(|index| event(Op::Put, index)).collect();
        events.push(event(Op::Get, 0));
        Snapshot {
            taken_ns: number * 1_000_000_000,
            used_bytes: 1000,
            totals: Stats {
                pages: 1,
                ..Stats::default()
            },
            observed: Some(Observed {
                events,
                sample_one_in: 1,
                ..Observed::default()
            }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn what_is_old_is_forgotten() {
        let mut live = LiveCurve::default();
        assert!(live.get().is_none());
        for number in 0..100 {
            live.push(&second(number, 9));
        }
        let (curve, seconds) = live.get().expect("a curve");
        assert_eq!(seconds, 99);
        assert_eq!(
            (curve.at(9_000.0), curve.at(10_000.0)),
            (Some(1.0), Some(0.0))
        );
        for number in 100..600 {
            live.push(&second(number, 4));
        }
        let (curve, seconds) = live.get().expect("a curve");
        assert!((150..=301).contains(&seconds), "{seconds}");
        assert_eq!(
            (curve.at(4_000.0), curve.at(5_000.0)),
            (Some(1.0), Some(0.0))
        );
    }

    #[test]
    fn another_sample_begins_anew() {
        let mut live = LiveCurve::default();
        live.push(&second(0, 4));
        let mut other = second(7, 4);
        if let Some(observed) = &mut other.observed {
            observed.sample_one_in = 2;
        }
        live.push(&other);
        assert_eq!(live.get().map(|(_, seconds)| seconds), Some(0));
        let mut blind = second(9, 4);
        blind.observed = None;
        live.push(&blind);
        assert!(live.get().is_some());
    }
}
