//! Conditions that a measured interval has to hold, for scripts and CI: each is
//! compared with what was measured, and one that could not be measured is never
//! taken for held.

use tmem_common::op::Op;

use crate::interval::{Interval, memory_ratio};
use crate::source::Snapshot;
use crate::units::{show_ns, show_share};

/// What a condition is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quantity {
    /// Gets that found their page, as a share of gets.
    HitRate,
    /// Refused puts, as a share of puts.
    Refused,
    /// Bytes of the pages held for a byte of memory used, at the end.
    Ratio,
    /// A percentile, in ns, of the operations that did what was asked.
    Latency {
        /// The kind of operation.
        op: Op,
        /// Its quantile, 0 to 1.
        quantile: f64,
    },
    /// Share of the time in which some task waited for memory.
    Pressure,
    /// Pages written to swap devices over the whole system.
    SwapWritten,
    /// The exit code of the command that ran.
    ExitCode,
}

/// On which side of the bound the measured value has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// At least the bound.
    Min,
    /// At most the bound.
    Max,
}

impl Side {
    /// The name used in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Side::Min => "min",
            Side::Max => "max",
        }
    }
}

/// A condition.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// The option that asked for it, without dashes, such as `max-p99-get`.
    pub name: &'static str,
    /// What is compared.
    pub quantity: Quantity,
    /// How.
    pub side: Side,
    /// With what, in the quantity's unit.
    pub bound: f64,
}

/// How a condition came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It held.
    Held,
    /// It did not.
    Failed,
    /// There is no value; why.
    NotMeasured(String),
}

/// A condition with its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The condition.
    pub condition: Condition,
    /// What was measured.
    pub value: Option<f64>,
    /// How it came out.
    pub verdict: Verdict,
}

/// How all of them came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sum {
    /// All held.
    Held,
    /// At least one failed.
    Failed,
    /// None failed, but at least one has no value.
    NotMeasured,
}

impl Quantity {
    fn measure(
        self,
        snapshot: &Snapshot,
        interval: &Interval,
        exit_code: Option<i32>,
    ) -> Result<f64, String> {
        let reason = |what: &str| {
            let found = snapshot.unmeasured.iter().find(|part| part.what == what);
            found.map_or_else(|| "not measured here".to_owned(), |part| part.why.clone())
        };
        match self {
            Quantity::HitRate => interval.hit_share().ok_or("there were no gets".to_owned()),
            Quantity::Refused => interval
                .store_share()
                .map(|stored| 1.0 - stored)
                .ok_or("there were no puts".to_owned()),
            Quantity::Ratio => memory_ratio(snapshot.totals.pages, snapshot.used_bytes)
                .ok_or("no page is held".to_owned()),
            Quantity::Latency { op, quantile } => {
                let all = interval.work_latency(op).ok_or_else(|| reason("latency"))?;
                let ns = all.percentile(quantile);
                ns.map(|ns| ns as f64)
                    .ok_or_else(|| format!("there was no successful {}", op.name()))
            }
            Quantity::Pressure => interval.pressure.ok_or_else(|| reason("pressure")),
            Quantity::SwapWritten => interval
                .disk
                .map(|disk| disk.swap_pages_written as f64)
                .ok_or_else(|| reason("disk")),
            Quantity::ExitCode => exit_code.map(f64::from).ok_or("no command ran".to_owned()),
        }
    }

    /// A value for people.
    pub fn show(self, value: f64) -> String {
        match self {
            Quantity::HitRate | Quantity::Refused | Quantity::Pressure => show_share(Some(value)),
            Quantity::Ratio => format!("{value:.2}"),
            Quantity::Latency { .. } => show_ns(value as u64),
            Quantity::SwapWritten => format!("{value:.0} pages"),
            Quantity::ExitCode => format!("{value:.0}"),
        }
    }

    /// The unit of its values in JSON.
    pub const fn unit(self) -> &'static str {
        match self {
            Quantity::HitRate | Quantity::Refused | Quantity::Pressure => "share",
            Quantity::Ratio => "ratio",
            Quantity::Latency { .. } => "ns",
            Quantity::SwapWritten => "pages",
            Quantity::ExitCode => "code",
        }
    }
}

/// Compares each condition with the interval that ended with `snapshot`, and
/// with the exit code of the command that ran meanwhile.
pub fn judge(
    conditions: &[Condition],
    snapshot: &Snapshot,
    interval: &Interval,
    exit_code: Option<i32>,
) -> Vec<Outcome> {
    let judge_one = |condition: &Condition| {
        let measured = condition.quantity.measure(snapshot, interval, exit_code);
        let verdict = match &measured {
            Ok(value) => {
                let held = match condition.side {
                    Side::Min => *value >= condition.bound,
                    Side::Max => *value <= condition.bound,
                };
                if held { Verdict::Held } else { Verdict::Failed }
            }
            Err(why) => Verdict::NotMeasured(why.clone()),
        };
        Outcome {
            condition: condition.clone(),
            value: measured.ok(),
            verdict,
        }
    };
    conditions.iter().map(judge_one).collect()
}

/// How all of them came out: a failure outweighs what could not be measured.
pub fn sum(outcomes: &[Outcome]) -> Sum {
    let any = |wanted: fn(&Verdict) -> bool| outcomes.iter().any(|one| wanted(&one.verdict));
    if any(|verdict| matches!(verdict, Verdict::Failed)) {
        Sum::Failed
    } else if any(|verdict| matches!(verdict, Verdict::NotMeasured(_))) {
        Sum::NotMeasured
    } else {
        Sum::Held
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tmem_common::op::Outcome as Ended;

    use super::*;
    use crate::histogram::Histogram;
    use crate::source::{CellSnapshot, Unmeasured};

    fn interval() -> Interval {
        let mut histogram = Histogram::default();
        for _ in 0..100 {
            histogram.record(10_000);
        }
        let mut interval = Interval {
            duration: Duration::from_secs(1),
            cells: Some(vec![CellSnapshot {
                pool: 0,
                op: Op::Get,
                outcome: Ended::Hit,
                count: 100,
                bytes: 0,
                total_ns: 0,
                histogram,
            }]),
            ..Interval::default()
        };
        interval.outcomes[Ended::Hit as usize] = 60;
        interval.outcomes[Ended::Miss as usize] = 40;
        interval
    }

    fn condition(quantity: Quantity, side: Side, bound: f64) -> Condition {
        Condition {
            name: "it",
            quantity,
            side,
            bound,
        }
    }

    fn verdict(condition: Condition, interval: &Interval) -> Verdict {
        let snapshot = Snapshot {
            unmeasured: vec![Unmeasured {
                what: "latency",
                why: "needs CAP_BPF".into(),
            }],
            ..Snapshot::default()
        };
        let outcomes = judge(&[condition], &snapshot, interval, Some(0));
        outcomes[0].verdict.clone()
    }

    #[test]
    fn a_value_at_its_bound_holds() {
        let hits = |bound| condition(Quantity::HitRate, Side::Min, bound);
        assert_eq!(verdict(hits(0.6), &interval()), Verdict::Held);
        assert_eq!(verdict(hits(0.601), &interval()), Verdict::Failed);
        let code = |bound| condition(Quantity::ExitCode, Side::Max, bound);
        assert_eq!(verdict(code(0.0), &interval()), Verdict::Held);
        assert_eq!(verdict(code(-1.0), &interval()), Verdict::Failed);
    }

    #[test]
    fn latencies_are_those_of_the_work_done() {
        let p99 = Quantity::Latency {
            op: Op::Get,
            quantile: 0.99,
        };
        assert_eq!(
            verdict(condition(p99, Side::Max, 13_000.0), &interval()),
            Verdict::Held
        );
        assert_eq!(
            verdict(condition(p99, Side::Max, 5_000.0), &interval()),
            Verdict::Failed
        );
        let put = Quantity::Latency {
            op: Op::Put,
            quantile: 0.5,
        };
        let none = verdict(condition(put, Side::Max, 1e9), &interval());
        assert_eq!(
            none,
            Verdict::NotMeasured("there was no successful put".into())
        );
    }

    #[test]
    fn what_is_not_measured_never_holds_and_says_why() {
        let p99 = Quantity::Latency {
            op: Op::Get,
            quantile: 0.99,
        };
        let blind = Interval::default();
        let got = verdict(condition(p99, Side::Max, 1e9), &blind);
        assert_eq!(got, Verdict::NotMeasured("needs CAP_BPF".into()));
        let got = verdict(condition(Quantity::HitRate, Side::Min, 0.0), &blind);
        assert!(matches!(got, Verdict::NotMeasured(_)));
    }

    #[test]
    fn a_failure_outweighs_what_was_not_measured() {
        let outcome = |verdict| Outcome {
            condition: condition(Quantity::HitRate, Side::Min, 0.5),
            value: None,
            verdict,
        };
        let blind = || outcome(Verdict::NotMeasured(String::new()));
        assert_eq!(sum(&[blind(), outcome(Verdict::Failed)]), Sum::Failed);
        assert_eq!(sum(&[blind(), outcome(Verdict::Held)]), Sum::NotMeasured);
        assert_eq!(sum(&[outcome(Verdict::Held)]), Sum::Held);
    }
}
