//! A controller that moves the limit by feedback: up while puts are refused for
//! want of room and nobody pays for it, down while tasks wait for memory and the
//! pages kept are not wanted again.
//!
//! The feedback is that of Weiner et al., "TMO: Transparent Memory Offloading in
//! Datacenters" (ASPLOS 2022): pressure stall information says what tasks pay,
//! and refaults say what the page cache pays. Every raise is a trial: when pressure
//! or refaults rise after it, it is taken back.
//!
//! No clock and no source here: [`Controller::decide`] sees one [`Reading`] a
//! period.

use crate::interval::{Interval, memory_ratio};
use crate::source::Snapshot;
use crate::units::{show_count, show_share, step_down, step_up};

/// Puts in a period below which nothing is concluded from them.
const FEW: u64 = 100;

/// Periods without a raise after one was taken back.
const REST: u32 = 6;

/// Bytes of pages for a byte of memory below which more room gains nothing.
const LEAST_RATIO: f64 = 1.2;

/// Within what the limit is moved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The least limit in bytes.
    pub min: u64,
    /// The largest limit in bytes.
    pub max: u64,
    /// Share of the time in which some task waits for memory, above which the
    /// limit is not raised, and may be lowered.
    pub pressure: f64,
}

/// What one period showed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// The limit in bytes.
    pub limit: u64,
    /// Puts, kept and refused.
    pub puts: u64,
    /// Of these, refused since the limit was used up.
    pub refused: u64,
    /// Puts that were kept.
    pub stores: u64,
    /// Gets that found their page.
    pub hits: u64,
    /// Bytes of pages held for a byte of memory used; `None` while nothing is held.
    pub ratio: Option<f64>,
    /// Share of the time in which some task waited for memory.
    pub pressure: f64,
    /// File pages read again soon after their reclaim, a second.
    pub refaults: f64,
}

impl Reading {
    /// What happened until `snapshot`; `None` where pressure is not measured.
    pub fn of(snapshot: &Snapshot, interval: &Interval) -> Option<Self> {
        let refused = interval.count(tmem_common::op::Outcome::RefusedLimit);
        Some(Self {
            limit: snapshot.limit_bytes,
            puts: interval.stores() + interval.refusals(),
            refused,
            stores: interval.stores(),
            hits: interval.hits(),
            ratio: memory_ratio(snapshot.totals.pages, snapshot.used_bytes),
            pressure: interval.pressure?,
            refaults: interval.per_second(interval.refaults.unwrap_or(0)),
        })
    }
}

/// A change that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The new limit in bytes.
    pub limit: u64,
    /// Why, in a sentence.
    pub why: String,
}

/// A raise whose effect is still to be seen.
#[derive(Clone, Copy, Debug)]
struct Trial {
    limit_before: u64,
    pressure_before: f64,
    refaults_before: f64,
}

/// The controller.
#[derive(Clone, Debug)]
pub struct Controller {
    bounds: Bounds,
    trial: Option<Trial>,
    rest: u32,
}

impl Controller {
    /// One that has seen nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            trial: None,
            rest: 0,
        }
    }

    /// What to do after a period that showed `reading`, if anything. The change is
    /// taken for made.
    pub fn decide(&mut self, reading: &Reading) -> Option<Decision> {
        self.rest = self.rest.saturating_sub(1);
        if let Some(why) = self.trial.and_then(|trial| trial.failed(reading)) {
            let limit = self
                .trial
                .take()
                .map_or(reading.limit, |trial| trial.limit_before);
            self.rest = REST;
            return Some(Decision { limit, why });
        }
        self.trial = None;
        let strained = reading.pressure > self.bounds.pressure;
        let unwanted = reading.stores >= FEW && reading.hits < reading.stores / 10;
        if strained && unwanted && reading.limit > self.bounds.min {
            return Some(Decision {
                limit: step_down(reading.limit).max(self.bounds.min),
                why: format!(
                    "tasks waited for memory in {} of the time, and of {} pages stored {} came back",
                    show_share(Some(reading.pressure)),
                    show_count(reading.stores),
                    show_count(reading.hits)
                ),
            });
        }
        let short = reading.puts >= FEW && reading.refused > reading.puts / 100;
        let gains = reading.ratio.is_some_and(|ratio| ratio >= LEAST_RATIO);
        if short && gains && !strained && self.rest == 0 && reading.limit < self.bounds.max {
            self.trial = Some(Trial {
                limit_before: reading.limit,
                pressure_before: reading.pressure,
                refaults_before: reading.refaults,
            });
            return Some(Decision {
                limit: step_up(reading.limit).min(self.bounds.max),
                why: format!(
                    "the limit refused {} of {} puts, while tasks waited for memory in {} of the time",
                    show_count(reading.refused),
                    show_count(reading.puts),
                    show_share(Some(reading.pressure))
                ),
            });
        }
        None
    }
}

impl Trial {
    /// Why the raise did harm, if it did.
    fn failed(&self, now: &Reading) -> Option<String> {
        let pressure = self.pressure_before;
        if now.pressure > pressure * 1.25 + 0.02 {
            return Some(format!(
                "waiting for memory rose from {} to {} of the time after the raise",
                show_share(Some(pressure)),
                show_share(Some(now.pressure))
            ));
        }
        if now.refaults > self.refaults_before * 1.5 + 100.0 {
            return Some(format!(
                "refaults rose from {:.0} to {:.0} a second after the raise",
                self.refaults_before, now.refaults
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn controller() -> Controller {
        Controller::new(Bounds {
            min: 32 * MIB,
            max: 80 * MIB,
            pressure: 0.1,
        })
    }

    /// A period in which the limit refuses puts and nobody waits.
    fn short() -> Reading {
        Reading {
            limit: 64 * MIB,
            puts: 10_000,
            refused: 500,
            stores: 9_500,
            hits: 5_000,
            ratio: Some(2.5),
            pressure: 0.01,
            refaults: 20.0,
        }
    }

    fn limit(decision: Option<Decision>) -> Option<u64> {
        decision.map(|decision| decision.limit / MIB)
    }

    #[test]
    fn the_limit_rises_while_it_refuses_and_stops_at_its_bound() {
        let mut controller = controller();
        let mut reading = short();
        let decision = controller.decide(&reading);
        let why = decision
            .as_ref()
            .map(|decision| decision.why.clone())
            .unwrap_or_default();
        assert_eq!(
            why,
            "the limit refused 500 of 10,000 puts, while tasks waited for memory in 1.0 % of the time"
        );
        assert_eq!(limit(decision), Some(72));
        reading.limit = 72 * MIB;
        assert_eq!(limit(controller.decide(&reading)), Some(80));
        reading.limit = 80 * MIB;
        assert_eq!(controller.decide(&reading), None);
    }

    #[test]
    fn nothing_is_concluded_from_little() {
        for change in [
            |r: &mut Reading| (r.puts, r.refused) = (90, 90),
            |r: &mut Reading| r.refused = 100,
            |r: &mut Reading| r.ratio = Some(1.1),
            |r: &mut Reading| r.ratio = None,
            |r: &mut Reading| r.pressure = 0.2,
        ] {
            let mut reading = short();
            change(&mut reading);
            assert_eq!(controller().decide(&reading), None, "{reading:?}");
        }
    }

    #[test]
    fn a_raise_that_does_harm_is_taken_back_and_not_repeated_for_a_while() {
        for harm in [
            |r: &mut Reading| r.pressure = 0.05,
            |r: &mut Reading| r.refaults = 500.0,
        ] {
            let mut controller = controller();
            let mut reading = short();
            assert_eq!(limit(controller.decide(&reading)), Some(72));
            reading.limit = 72 * MIB;
            harm(&mut reading);
            let decision = controller.decide(&reading);
            let why = decision
                .as_ref()
                .map(|decision| decision.why.clone())
                .unwrap_or_default();
            assert!(why.ends_with("after the raise"), "{why}");
            assert_eq!(limit(decision), Some(64));
            let periods = (0..20)
                .take_while(|_| controller.decide(&short()).is_none())
                .count();
            assert_eq!(periods, REST as usize - 1);
        }
    }

    #[test]
    fn the_limit_falls_while_tasks_wait_for_pages_that_nobody_wants() {
        let mut reading = Reading {
            pressure: 0.3,
            hits: 100,
            ..short()
        };
        assert_eq!(limit(controller().decide(&reading)), Some(60));
        reading.limit = 33 * MIB;
        assert_eq!(limit(controller().decide(&reading)), Some(32));
        reading.limit = 32 * MIB;
        assert_eq!(controller().decide(&reading), None);
        // Pages that come back are worth their memory.
        let wanted = Reading {
            pressure: 0.3,
            ..short()
        };
        assert_eq!(controller().decide(&wanted), None);
    }
}
