//! What other settings would have done for the requests of a trace: for each setting
//! the best of a few values by replay, how much it would gain, how far that may be
//! off, and the command that sets it.
//!
//! Off means: the difference between what a replay at the recorded setting predicts
//! and what was recorded, and twice the standard error that a sample of so many pages
//! leaves. For codecs also what kinds of pages differ in, since a trace tells only how
//! small the recorded codec made them.

use std::collections::HashSet;

use tmem_common::codec::Codec;
use tmem_common::op::Op;
use tmem_common::policy::Policy;

use super::replay::{Replayed, Setting, Sizes};
use super::requests::Requests;
use crate::units::{show_bytes, size_value};

/// A gain in the hit rate below this is not worth a change.
const WORTH: f64 = 0.01;

/// What to do with one setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Advice {
    /// The setting.
    pub what: &'static str,
    /// What to do, for people.
    pub advice: String,
    /// What the hit rate gains, as a share of gets.
    pub gain: f64,
    /// How far that may be off, up or down.
    pub uncertainty: f64,
    /// Memory that it takes more (or less) at the end, bytes.
    pub memory: i64,
    /// CPU time that it takes more (or less), as a share of one CPU; `None`: not known.
    pub cpu: Option<f64>,
    /// How to do it; `None`: nothing is to be done.
    pub command: Option<String>,
}

/// How small a codec makes pages, and what that costs: `docs/benchmarks/codec.md`,
/// anonymous memory, binaries and text.
struct Known {
    codec: Codec,
    /// Bytes of a page for each byte of data.
    ratios: [f64; 3],
    /// ns to put a page and to get it, of anonymous memory.
    put_ns: f64,
    get_ns: f64,
}

const KNOWN: &[Known] = &[
    Known {
        codec: Codec::Lz4,
        ratios: [2.917, 1.705, 2.498],
        put_ns: 3994.0,
        get_ns: 1463.0,
    },
    Known {
        codec: Codec::Px64,
        ratios: [3.543, 1.415, 1.304],
        put_ns: 1469.0,
        get_ns: 944.0,
    },
    Known {
        codec: Codec::Adaptive,
        ratios: [3.627, 1.755, 2.497],
        put_ns: 1630.0,
        get_ns: 881.0,
    },
    Known {
        codec: Codec::Zstd,
        ratios: [4.710, 2.243, 3.512],
        put_ns: 11_759.0,
        get_ns: 5411.0,
    },
];

impl Known {
    /// Bytes of data for a byte of `other`'s: the least, what is expected, the most.
    fn factors(&self, other: &Self, swap: bool) -> [f64; 3] {
        let mut by_kind = [0.0; 3];
        for (factor, (ours, theirs)) in by_kind.iter_mut().zip(self.ratios.iter().zip(other.ratios))
        {
            *factor = theirs / ours;
        }
        let [anonymous, binaries, text] = by_kind;
        let expected = if swap {
            anonymous
        } else {
            (binaries * text).sqrt()
        };
        let least = by_kind.into_iter().fold(f64::INFINITY, f64::min);
        let most = by_kind.into_iter().fold(0.0, f64::max);
        [least, expected, most].map(|factor| factor.clamp(0.01, 10.0))
    }
}

/// The settings to replay, and what is made of the results.
pub struct Plan<'a> {
    requests: &'a Requests,
    limit_bytes: u64,
    /// The recorded budget, if it is another: there it shows how far a replay is off.
    recorded: Option<u64>,
    seed: u64,
    limits: Vec<u64>,
    codecs: Vec<(&'static Known, [f64; 3])>,
    current: Option<&'static Known>,
}

impl<'a> Plan<'a> {
    /// A plan for a trace that was recorded with (or is to be judged for) a budget.
    pub fn new(requests: &'a Requests, limit_bytes: u64, seed: u64) -> Self {
        // No more than half of the machine.
        let most = match requests.meta.ram_bytes {
            0 => u64::MAX,
            ram => (ram / 2).max(limit_bytes),
        };
        let limits = [
            limit_bytes / 4,
            limit_bytes / 2,
            limit_bytes.saturating_mul(2),
            limit_bytes.saturating_mul(4),
        ]
        .into_iter()
        .filter(|limit| (1 << 20..=most).contains(limit))
        .collect();
        let recorded = requests.meta.tunables.get("codec");
        let current = KNOWN
            .iter()
            .find(|known| recorded.is_some_and(|name| name == known.codec.name()));
        let swap = requests
            .pools
            .iter()
            .any(super::record::PoolReading::is_persistent);
        let codecs = current.map_or_else(Vec::new, |current| {
            KNOWN
                .iter()
                .filter(|known| known.codec != current.codec)
                .map(|known| (known, known.factors(current, swap)))
                .collect()
        });
        Self {
            requests,
            limit_bytes,
            recorded: requests
                .readings
                .as_ref()
                .map(|(_, last)| last.limit_bytes)
                .filter(|recorded| *recorded != limit_bytes),
            seed,
            limits,
            codecs,
            current,
        }
    }

    fn setting(&self, limit_bytes: u64, codec: Sizes) -> Setting {
        Setting {
            limit_bytes,
            codec,
            policy: Policy::Lru,
            seed: self.seed,
            keep_incompressible: None,
        }
    }

    /// Whether incompressible pages were kept; `None`: the trace does not tell.
    fn keeps_incompressible(&self) -> Option<bool> {
        let value = self.requests.meta.tunables.get("keep_incompressible")?;
        Some(value == "1")
    }

    /// What is to be replayed, in this order.
    pub fn settings(&self) -> Vec<Setting> {
        let mut settings = vec![self.setting(self.limit_bytes, Sizes::Recorded)];
        settings.extend(
            self.limits
                .iter()
                .map(|limit| self.setting(*limit, Sizes::Recorded)),
        );
        for (known, factors) in &self.codecs {
            for factor in factors {
                let sizes = Sizes::Scaled(known.codec.name().to_owned(), *factor);
                settings.push(self.setting(self.limit_bytes, sizes));
            }
        }
        if let Some(keep) = self.keeps_incompressible() {
            settings.push(Setting {
                keep_incompressible: Some(!keep),
                ..self.setting(self.limit_bytes, Sizes::Recorded)
            });
        }
        settings.extend(
            self.recorded
                .map(|limit| self.setting(limit, Sizes::Recorded)),
        );
        settings
    }

    /// What follows from the results of [`Plan::settings`]; nothing without gets.
    pub fn advice(&self, replayed: &[Replayed]) -> Vec<Advice> {
        let mut results = replayed.iter();
        let Some((now, hits_now)) = results.next().and_then(|now| Some((now, now.hit_share()?)))
        else {
            return Vec::new();
        };
        let hits_then = match (self.recorded, replayed.last()) {
            (Some(_), Some(then)) => then.hit_share().unwrap_or(hits_now),
            _ => hits_now,
        };
        let off = self.off(hits_then);
        let outcome = |result: &Replayed| Outcome {
            gain: result.hit_share().unwrap_or(hits_now) - hits_now,
            memory: result.used_bytes.cast_signed() - now.used_bytes.cast_signed(),
        };
        let limits: Vec<(u64, Outcome)> = self
            .limits
            .iter()
            .copied()
            .zip(results.by_ref().map(outcome))
            .collect();
        let mut codecs = Vec::new();
        for (known, _) in &self.codecs {
            let three: Vec<Outcome> = results.by_ref().take(3).map(outcome).collect();
            codecs.push((*known, three));
        }
        let mut advice = vec![self.on_limit(&limits, off)];
        advice.extend(self.on_codec(&codecs, off));
        if let (Some(keep), Some(result)) = (self.keeps_incompressible(), results.next()) {
            advice.push(on_admission(keep, &outcome(result), off));
        }
        advice
    }

    /// How far a predicted hit rate may be off, by what is predicted of the recorded budget.
    fn off(&self, predicted: f64) -> f64 {
        let bias = self
            .requests
            .recorded_hit_share()
            .map_or(0.0, |recorded| (predicted - recorded).abs());
        let pages: HashSet<(u32, u64, u64)> = self
            .requests
            .list
            .iter()
            .filter(|request| request.op == Op::Get)
            .map(|request| (request.pool, request.object, request.index))
            .collect();
        // With every page in the trace there is no error of sampling.
        let error = if self.requests.one_in > 1 {
            (predicted * (1.0 - predicted) / pages.len().max(1) as f64).sqrt()
        } else {
            0.0
        };
        bias + 2.0 * error
    }

    fn on_limit(&self, results: &[(u64, Outcome)], off: f64) -> Advice {
        let best = results
            .iter()
            .map(|(_, result)| result.gain)
            .fold(0.0, f64::max);
        let chosen = if best > WORTH.max(off) {
            // The least that is as good as the best.
            results
                .iter()
                .filter(|(_, result)| result.gain >= best - WORTH)
                .min_by_key(|(limit, _)| *limit)
        } else {
            // The least that is as good as now, if it gives memory back.
            results
                .iter()
                .filter(|(limit, result)| {
                    *limit < self.limit_bytes && result.gain > -WORTH && result.memory < 0
                })
                .min_by_key(|(limit, _)| *limit)
        };
        match chosen {
            Some((limit, result)) => Advice {
                what: "limit",
                advice: format!(
                    "{} instead of {}",
                    show_bytes(*limit),
                    show_bytes(self.limit_bytes)
                ),
                gain: result.gain,
                uncertainty: off,
                memory: result.memory,
                cpu: None,
                command: Some(format!("tmem set limit={}", size_value(*limit))),
            },
            None => keep("limit", &show_bytes(self.limit_bytes), off),
        }
    }

    fn on_codec(&self, results: &[(&Known, Vec<Outcome>)], off: f64) -> Option<Advice> {
        let current = self.current?;
        let (first, last) = self.requests.readings.as_ref()?;
        let seconds = last.time_ns.saturating_sub(first.time_ns) as f64 / 1e9;
        let (hits, _) = last.totals.hits_and_gets_since(&first.totals);
        let stored = tmem_common::op::Outcome::Stored;
        let puts = last.totals.since(&first.totals, &[stored]);
        let best = results
            .iter()
            .filter_map(|(known, three)| match three[..] {
                [best, expected, worst] => {
                    let spread = (best.gain - expected.gain)
                        .abs()
                        .max((worst.gain - expected.gain).abs());
                    Some((known, expected, off + spread))
                }
                _ => None,
            })
            .max_by(|(_, one, _), (_, other, _)| one.gain.total_cmp(&other.gain));
        Some(match best {
            Some((known, result, off)) if result.gain > WORTH.max(off) => {
                let more_ns = puts as f64 * (known.put_ns - current.put_ns)
                    + hits as f64 * (known.get_ns - current.get_ns);
                Advice {
                    what: "codec",
                    advice: format!("{} instead of {}", known.codec.name(), current.codec.name()),
                    gain: result.gain,
                    uncertainty: off,
                    memory: result.memory,
                    cpu: (seconds > 0.0).then(|| more_ns / 1e9 / seconds),
                    command: Some(format!("tmem set codec={}", known.codec.name())),
                }
            }
            best => keep(
                "codec",
                current.codec.name(),
                best.map_or(off, |(_, _, off)| off),
            ),
        })
    }
}

/// What came of a setting, compared with the recorded one.
#[derive(Clone, Copy)]
struct Outcome {
    gain: f64,
    memory: i64,
}

fn on_admission(keep_now: bool, other: &Outcome, off: f64) -> Advice {
    if other.gain <= WORTH.max(off) {
        let name = if keep_now {
            "incompressible pages are kept"
        } else {
            "incompressible pages are refused"
        };
        return keep("admission", name, off);
    }
    let (advice, value) = if keep_now {
        ("refuse incompressible pages", 0)
    } else {
        ("keep incompressible pages", 1)
    };
    Advice {
        what: "admission",
        advice: advice.to_owned(),
        gain: other.gain,
        uncertainty: off,
        memory: other.memory,
        cpu: None,
        command: Some(format!("tmem set keep_incompressible={value}")),
    }
}

fn keep(what: &'static str, value: &str, uncertainty: f64) -> Advice {
    Advice {
        what,
        advice: format!("as it is: {value}"),
        gain: 0.0,
        uncertainty,
        memory: 0,
        cpu: None,
        command: None,
    }
}
