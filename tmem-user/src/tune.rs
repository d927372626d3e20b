//! A controller that moves the limit by feedback: up while puts are refused for
//! want of room and nobody pays for it, down while tasks wait for memory and the
//! pages kept are not wanted again. And the share of swap pages: since file pages give way to
//! them, file pages that are wanted more, for the memory that they take, need a limit on
//! the pool of swap pages to stay; it goes up again when swap pages are.
//!
//! The feedback is that of Weiner et al., "TMO: Transparent Memory Offloading in
//! Datacenters" (ASPLOS 2022): pressure stall information says what tasks pay,
//! and refaults say what the page cache pays. Every raise is a trial: when pressure
//! or refaults rise after it, it is taken back.
//!
//! No clock and no source here: [`Controller::decide`] sees one [`Reading`] a
//! period.

use tmem_common::op::Outcome;

use crate::interval::{Interval, memory_ratio};
use crate::source::{PoolKind, Snapshot};
use crate::units::{show_count, show_share, step_down, step_up};

/// Puts in a period below which nothing is concluded from them.
const FEW: u64 = 100;

/// Periods without a raise after one was taken back.
const REST: u32 = 6;

/// Bytes of pages for a byte of memory below which more room gains nothing.
const LEAST_RATIO: f64 = 1.2;

/// So many times as many hits for their memory are worth room of the other kind.
const WORTH_MORE: f64 = 2.0;

/// One part in so many of the limit stays for swap pages.
const LEAST_SHARE: u64 = 8;

/// Memory of a kind below which its worth is not told from that of so much.
const LITTLE: u64 = 1 << 20;

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

/// What one period showed of the pools of a kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// Bytes that their pages take now.
    pub bytes: u64,
    /// Gets that found their page.
    pub hits: u64,
    /// Puts that were refused for want of room.
    pub refused: u64,
    /// Pages that made room.
    pub evicted: u64,
}

impl Kind {
    fn of(kind: PoolKind, earlier: &Snapshot, snapshot: &Snapshot) -> Self {
        let mut sum = Self::default();
        for pool in snapshot.pools.iter().filter(|pool| pool.kind == kind) {
            let before = earlier.pools.iter().find(|before| before.id == pool.id);
            let count = |outcome: Outcome| {
                let then = before.map_or(0, |before| before.stats.outcomes[outcome as usize]);
                pool.stats.outcomes[outcome as usize].saturating_sub(then)
            };
            sum.bytes += pool.stats.store_bytes + pool.stats.metadata_bytes;
            sum.hits += count(Outcome::Hit);
            sum.refused += count(Outcome::RefusedLimit);
            sum.evicted += count(Outcome::Evicted);
        }
        sum
    }

    /// Hits for a byte.
    fn worth(&self) -> f64 {
        self.hits as f64 / self.bytes.max(LITTLE) as f64
    }

    fn show(&self) -> String {
        let mib = self.bytes.max(LITTLE) as f64 / (1 << 20) as f64;
        format!("{:.0} hits a MiB", self.hits as f64 / mib)
    }
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
    /// Pools whose pages stay: swap pages.
    pub swap: Kind,
    /// Pools whose pages may vanish: file pages.
    pub files: Kind,
    /// The only pool of swap pages, and its own limit in bytes if it has one; `None` if there
    /// are several, or none.
    pub swap_pool: Option<(u32, Option<u64>)>,
}

impl Reading {
    /// What happened from `earlier` to `snapshot`; `None` where pressure is not measured.
    pub fn of(earlier: &Snapshot, snapshot: &Snapshot) -> Option<Self> {
        let interval = Interval::between(earlier, snapshot);
        let of_kind = |kind| Kind::of(kind, earlier, snapshot);
        let mut of_swap = snapshot
            .pools
            .iter()
            .filter(|pool| pool.kind == PoolKind::Persistent);
        Some(Self {
            swap: of_kind(PoolKind::Persistent),
            files: of_kind(PoolKind::Ephemeral),
            swap_pool: match (of_swap.next(), of_swap.next()) {
                (Some(only), None) => Some((only.id, only.limit_bytes)),
                _ => None,
            },
            limit: snapshot.limit_bytes,
            puts: interval.stores() + interval.refusals(),
            refused: interval.count(Outcome::RefusedLimit),
            stores: interval.stores(),
            hits: interval.hits(),
            ratio: memory_ratio(snapshot.totals.pages, snapshot.used_bytes),
            pressure: interval.pressure?,
            refaults: interval.per_second(interval.refaults.unwrap_or(0)),
        })
    }
}

/// What can be moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// The limit of the whole.
    Limit,
    /// The limit of the pool of swap pages, by its number: what they may have of the whole.
    Share(u32),
}

/// A change that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is to be moved.
    pub knob: Knob,
    /// Its new value in bytes; `None`: no limit.
    pub bytes: Option<u64>,
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
    moves_share: bool,
}

impl Controller {
    /// One that has seen nothing yet.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            trial: None,
            rest: 0,
            moves_share: true,
        }
    }

    /// From now on the share of swap pages stays as it is.
    pub fn leave_share(&mut self) {
        self.moves_share = false;
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
            return Some(Decision::limit(limit, why));
        }
        self.trial = None;
        let strained = reading.pressure > self.bounds.pressure;
        let unwanted = reading.stores >= FEW && reading.hits < reading.stores / 10;
        if strained && unwanted && reading.limit > self.bounds.min {
            return Some(Decision::limit(
                step_down(reading.limit).max(self.bounds.min),
                format!(
                    "tasks waited for memory in {} of the time, and of {} pages stored {} came back",
                    show_share(Some(reading.pressure)),
                    show_count(reading.stores),
                    show_count(reading.hits)
                ),
            ));
        }
        // What the share of swap pages refuses, no larger limit would take.
        let refused = match reading.swap_pool {
            Some((_, Some(share))) if reading.swap.bytes >= share - share / 8 => {
                reading.refused.saturating_sub(reading.swap.refused)
            }
            _ => reading.refused,
        };
        let short = reading.puts >= FEW && refused > reading.puts / 100;
        let gains = reading.ratio.is_some_and(|ratio| ratio >= LEAST_RATIO);
        if short && gains && !strained && self.rest == 0 && reading.limit < self.bounds.max {
            self.trial = Some(Trial {
                limit_before: reading.limit,
                pressure_before: reading.pressure,
                refaults_before: reading.refaults,
            });
            return Some(Decision::limit(
                step_up(reading.limit).min(self.bounds.max),
                format!(
                    "the limit refused {} of {} puts, while tasks waited for memory in {} of the time",
                    show_count(refused),
                    show_count(reading.puts),
                    show_share(Some(reading.pressure))
                ),
            ));
        }
        self.share(reading)
    }

    /// What to do about the share of swap pages.
    fn share(&self, reading: &Reading) -> Option<Decision> {
        let (pool, share) = reading.swap_pool.filter(|_| self.moves_share)?;
        let (swap, files) = (&reading.swap, &reading.files);
        let files_wanted = files.evicted >= FEW && files.hits >= FEW;
        if files_wanted && files.worth() > WORTH_MORE * swap.worth() {
            let now = share.unwrap_or(u64::MAX);
            let least = reading.limit / LEAST_SHARE;
            let bytes = step_down(now.min(swap.bytes)).max(least);
            return (bytes < now && swap.bytes > least).then(|| Decision {
                knob: Knob::Share(pool),
                bytes: Some(bytes),
                why: format!(
                    "{} file pages made room, though they had {} and swap pages {}",
                    show_count(files.evicted),
                    files.show(),
                    swap.show()
                ),
            });
        }
        let share = share?;
        let swap_wanted = swap.refused >= FEW && swap.hits >= FEW;
        (swap_wanted && swap.worth() > WORTH_MORE * files.worth()).then(|| Decision {
            knob: Knob::Share(pool),
            bytes: Some(step_up(share)).filter(|bytes| *bytes < reading.limit),
            why: format!(
                "{} swap pages found no room, though they had {} and file pages {}",
                show_count(swap.refused),
                swap.show(),
                files.show()
            ),
        })
    }
}

impl Decision {
    fn limit(bytes: u64, why: String) -> Self {
        Self {
            knob: Knob::Limit,
            bytes: Some(bytes),
            why,
        }
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
            ..Reading::default()
        }
    }

    fn limit(decision: Option<Decision>) -> Option<u64> {
        let decision = decision?;
        assert_eq!(decision.knob, Knob::Limit);
        decision.bytes.map(|bytes| bytes / MIB)
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

    /// File pages make room for swap pages that nobody wants.
    fn crowded() -> Reading {
        Reading {
            refused: 0,
            swap: Kind {
                bytes: 48 * MIB,
                hits: 48,
                ..Kind::default()
            },
            files: Kind {
                bytes: 16 * MIB,
                hits: 1600,
                evicted: 5000,
                ..Kind::default()
            },
            swap_pool: Some((3, None)),
            ..short()
        }
    }

    #[test]
    fn swap_pages_give_way_to_file_pages_that_are_wanted_more() {
        let mut reading = crowded();
        let decision = controller()
            .decide(&reading)
            .unwrap_or_else(|| panic!("none"));
        assert_eq!(
            (decision.knob, decision.bytes),
            (Knob::Share(3), Some(44 * MIB))
        );
        assert_eq!(
            decision.why,
            "5,000 file pages made room, though they had 100 hits a MiB and swap pages 1 hits a MiB"
        );
        // Step by step, to an eighth of the whole.
        reading.swap_pool = Some((3, Some(9 * MIB)));
        reading.swap.bytes = 9 * MIB;
        let bytes = controller()
            .decide(&reading)
            .and_then(|decision| decision.bytes);
        assert_eq!(bytes, Some(8 * MIB));
        reading.swap_pool = Some((3, Some(8 * MIB)));
        assert_eq!(controller().decide(&reading), None);
    }

    #[test]
    fn swap_pages_get_their_share_back_when_they_are_wanted_more() {
        let mut reading = crowded();
        reading.swap_pool = Some((3, Some(44 * MIB)));
        (reading.refused, reading.swap.refused) = (800, 800);
        (reading.swap.hits, reading.files.hits) = (48_000, 16);
        let decision = controller()
            .decide(&reading)
            .unwrap_or_else(|| panic!("none"));
        assert_eq!(
            (decision.knob, decision.bytes),
            (Knob::Share(3), Some(48 * MIB))
        );
        assert!(
            decision.why.starts_with("800 swap pages found no room"),
            "{decision:?}"
        );
        reading.swap_pool = Some((3, Some(60 * MIB)));
        reading.swap.bytes = 60 * MIB;
        let decision = controller()
            .decide(&reading)
            .unwrap_or_else(|| panic!("none"));
        assert_eq!(decision.bytes, None, "as much as the whole: no limit");
    }

    #[test]
    fn the_share_stays_where_nothing_speaks_for_either_or_somebody_else_set_it() {
        for change in [
            |r: &mut Reading| r.files.evicted = 99,
            |r: &mut Reading| r.files.hits = 99,
            |r: &mut Reading| r.swap.hits = 2400,
            |r: &mut Reading| r.swap_pool = None,
        ] {
            let mut reading = crowded();
            change(&mut reading);
            assert_eq!(controller().decide(&reading), None, "{reading:?}");
        }
        let mut controller = controller();
        controller.leave_share();
        assert_eq!(controller.decide(&crowded()), None);
    }
}
