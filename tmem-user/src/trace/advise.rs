//! What other settings would have done for the requests of a trace: for each setting
//! the best of a few values by replay, how much it would gain, how far that may be
//! off, and the command that sets it.
//!
//! Off means: the difference between what a replay at the recorded setting predicts
//! and what was recorded, and twice the standard error that a sample of so many pages
//! leaves. For codecs also what kinds of pages differ in, since a trace tells only how
//! small the recorded codec made them.

use std::collections::HashSet;

use tmem_common::op::Op;
use tmem_common::policy::{ADMIT_ALL, ADMIT_REFAULTED, Policy};
use tmem_common::sysfs::{POOL_ADMISSION_ALWAYS, POOL_ADMISSION_REFAULTED};

use super::codecs::{Factors, KNOWN, Known};
use super::record::PoolReading;
use super::replay::{Replayed, Setting, Sizes};
use super::requests::{Request, Requests};
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

/// The settings to replay, and what is made of the results.
pub struct Plan<'a> {
    requests: &'a Requests,
    limit_bytes: u64,
    /// The recorded budget, if it is another: there it shows how far a replay is off.
    recorded: Option<u64>,
    seed: u64,
    limits: Vec<u64>,
    codecs: Vec<(&'static Known, Factors)>,
    current: Option<&'static Known>,
    /// The ephemeral pool that was asked for most.
    chosen: Option<u32>,
    policies: Vec<Policy>,
    admissions: Vec<Admission>,
}

/// Other ways to choose which pages are taken.
#[derive(Clone, Copy, PartialEq)]
enum Admission {
    /// Whether pages that no codec makes smaller are kept.
    KeepIncompressible(bool),
    /// The admission of all ephemeral pools.
    Pools(u32),
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
        let current = Known::of_trace(requests);
        let codecs = current.map_or_else(Vec::new, |current| {
            KNOWN
                .iter()
                .filter(|known| known.codec != current.codec)
                .map(|known| (known, known.factors(current, requests)))
                .collect()
        });
        let (mut policies, mut admissions) = (Vec::new(), Vec::new());
        if let Some(keep) = keeps_incompressible(requests) {
            admissions.push(Admission::KeepIncompressible(!keep));
        }
        let chosen = chosen_from(requests);
        if let Some(pool) = chosen {
            let policy = requests.policy_of(pool);
            policies.extend(Policy::ALL.into_iter().filter(|other| *other != policy));
        }
        // A cache in front of something has to take what was asked for.
        if let Some(pool) = chosen.filter(|_| !requests.meta.cache) {
            let admission = requests.admission_of(pool);
            let others = [ADMIT_ALL, ADMIT_REFAULTED, 1].into_iter();
            let others = others.filter(|other| *other != admission);
            admissions.extend(others.map(Admission::Pools));
        }
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
            chosen,
            policies,
            admissions,
        }
    }

    fn setting(&self, limit_bytes: u64, codec: Sizes) -> Setting {
        Setting {
            limit_bytes,
            codec,
            policy: None,
            admission: None,
            seed: self.seed,
            keep_incompressible: None,
        }
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
            for factor in [factors.least, factors.expected, factors.most] {
                let sizes = Sizes::Scaled(known.codec.name().to_owned(), factor);
                settings.push(self.setting(self.limit_bytes, sizes));
            }
        }
        let as_now = || self.setting(self.limit_bytes, Sizes::Recorded);
        settings.extend(self.policies.iter().map(|policy| Setting {
            policy: Some(*policy),
            ..as_now()
        }));
        settings.extend(self.admissions.iter().map(|admission| match *admission {
            Admission::KeepIncompressible(keep) => Setting {
                keep_incompressible: Some(keep),
                ..as_now()
            },
            Admission::Pools(admission) => Setting {
                admission: Some(admission),
                ..as_now()
            },
        }));
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
        let policies: Vec<(Policy, Outcome)> = self
            .policies
            .iter()
            .copied()
            .zip(results.by_ref().map(outcome))
            .collect();
        advice.extend(self.on_policy(&policies, off));
        let admissions: Vec<(Admission, Outcome)> = self
            .admissions
            .iter()
            .copied()
            .zip(results.by_ref().map(outcome))
            .collect();
        advice.extend(self.on_admission(&admissions, off));
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
                let more_ns = known.more_ns(current, puts, hits);
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

    /// The command that gives all ephemeral pools this value; `None` where there are no pools to set.
    fn set_pools(&self, name: &str, value: &str) -> Option<String> {
        if self.requests.meta.cache {
            return None;
        }
        let pools = self.requests.ephemeral();
        let keys: Vec<String> = pools
            .map(|pool| format!("pools.{}.{name}={value}", pool.id))
            .collect();
        Some(format!("tmem set {}", keys.join(" ")))
    }

    fn on_policy(&self, results: &[(Policy, Outcome)], off: f64) -> Option<Advice> {
        let now = self.requests.policy_of(self.chosen?);
        let best = best_of(results)?;
        Some(match best {
            (policy, result) if result.gain > WORTH.max(off) => Advice {
                what: "policy",
                advice: format!("{} instead of {}", policy.name(), now.name()),
                gain: result.gain,
                uncertainty: off,
                memory: result.memory,
                cpu: None,
                command: self.set_pools("policy", policy.name()),
            },
            _ => keep("policy", now.name(), off),
        })
    }

    fn on_admission(&self, results: &[(Admission, Outcome)], off: f64) -> Option<Advice> {
        let (admission, result) = best_of(results)?;
        if result.gain <= WORTH.max(off) {
            let mut taken = Vec::new();
            if let Some(keep) = keeps_incompressible(self.requests) {
                let verb = if keep { "kept" } else { "refused" };
                taken.push(format!("incompressible pages are {verb}"));
            }
            if let Some(pool) = self.chosen.filter(|_| !self.requests.meta.cache) {
                let of_file_pages = self
                    .requests
                    .pool_tunable(pool, "admission")
                    .unwrap_or(POOL_ADMISSION_ALWAYS);
                taken.push(format!("ephemeral pools take pages {of_file_pages}"));
            }
            return Some(keep("admission", &taken.join(", "), off));
        }
        let (advice, command) = match *admission {
            Admission::KeepIncompressible(keep) => {
                let verb = if keep { "keep" } else { "refuse" };
                (
                    format!("{verb} incompressible pages"),
                    Some(format!("tmem set keep_incompressible={}", u8::from(keep))),
                )
            }
            Admission::Pools(number) => {
                let (what, value) = match number {
                    ADMIT_ALL => ("all pages", POOL_ADMISSION_ALWAYS.to_owned()),
                    ADMIT_REFAULTED => (
                        "only pages that were asked for since they were offered before",
                        POOL_ADMISSION_REFAULTED.to_owned(),
                    ),
                    offers => ("only pages that were offered before", offers.to_string()),
                };
                (
                    format!("ephemeral pools: {what}"),
                    self.set_pools("admission", &value),
                )
            }
        };
        Some(Advice {
            what: "admission",
            advice,
            gain: result.gain,
            uncertainty: off,
            memory: result.memory,
            cpu: None,
            command,
        })
    }
}

/// What gains most.
fn best_of<T>(results: &[(T, Outcome)]) -> Option<&(T, Outcome)> {
    results
        .iter()
        .max_by(|(_, one), (_, other)| one.gain.total_cmp(&other.gain))
}

/// What came of a setting, compared with the recorded one.
#[derive(Clone, Copy)]
struct Outcome {
    gain: f64,
    memory: i64,
}

/// Whether incompressible pages were kept; `None`: the trace does not tell.
fn keeps_incompressible(requests: &Requests) -> Option<bool> {
    let value = requests.meta.tunables.get("keep_incompressible")?;
    Some(value == "1")
}

/// The ephemeral pool that was asked for most; `None` when none was.
fn chosen_from(requests: &Requests) -> Option<u32> {
    if requests.meta.cache {
        return Some(0);
    }
    let gets = |pool: &PoolReading| {
        let of_pool = |request: &&Request| request.op == Op::Get && request.pool == pool.id;
        requests.list.iter().filter(of_pool).count()
    };
    let pools = requests.ephemeral().map(|pool| (gets(pool), pool.id));
    pools
        .max()
        .filter(|(gets, _)| *gets > 0)
        .map(|(_, pool)| pool)
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tmem_common::op::OUTCOMES;

    use super::*;
    use crate::trace::reader::End;
    use crate::trace::record::Meta;
    use crate::trace::requests::Size;

    /// A get of a file page, of a machine with two pools of such pages.
    fn requests() -> Requests {
        let tunables = [
            ("keep_incompressible", "1"),
            ("pools.3.policy", "lru"),
            ("pools.3.admission", "always"),
        ];
        let pool = |id| PoolReading {
            id,
            kind: "ephemeral".to_owned(),
            ..PoolReading::default()
        };
        Requests {
            meta: Meta {
                tunables: tunables
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .into(),
                ..Meta::default()
            },
            pools: vec![pool(3), pool(4)],
            before: Vec::new(),
            list: vec![Request {
                op: Op::Get,
                pool: 3,
                object: 0,
                index: 0,
                size: Size::Unknown,
            }],
            sizes: Vec::new(),
            one_in: 1,
            readings: None,
            end: End::Open,
        }
    }

    /// What [`Plan::advice`] makes of these hits in a thousand gets.
    fn advised(hits: impl Fn(&Setting) -> u64) -> Vec<Advice> {
        let requests = requests();
        let plan = Plan::new(&requests, 64 << 20, 1);
        let replayed: Vec<Replayed> = plan
            .settings()
            .iter()
            .map(|setting| Replayed {
                requests: 1000,
                gets: 1000,
                hits: hits(setting),
                outcomes: [0; OUTCOMES],
                refused: 0,
                evicted: 0,
                pages: 100,
                used_bytes: setting.limit_bytes,
                wall: Duration::ZERO,
            })
            .collect();
        plan.advice(&replayed)
    }

    fn command<'a>(advice: &'a [Advice], what: &str) -> Option<&'a str> {
        let line = advice.iter().find(|line| line.what == what);
        line.and_then(|line| line.command.as_deref())
    }

    #[test]
    fn the_policy_that_gains_most_is_for_every_pool() {
        let advice = advised(|setting| match setting.policy {
            Some(Policy::Sieve) => 600,
            Some(Policy::S3Fifo) => 580,
            _ => 500,
        });
        let wanted = "tmem set pools.3.policy=sieve pools.4.policy=sieve";
        assert_eq!(command(&advice, "policy"), Some(wanted));
        assert_eq!(command(&advice, "admission"), None);
        let line = advice.iter().find(|line| line.what == "policy");
        assert!(line.is_some_and(|line| (line.gain - 0.1).abs() < 1e-9));
    }

    #[test]
    fn admission_is_of_pools_or_of_incompressible_pages() {
        let advice = advised(|setting| match setting.admission {
            Some(ADMIT_REFAULTED) => 600,
            _ => 500,
        });
        let wanted = "tmem set pools.3.admission=refaulted pools.4.admission=refaulted";
        assert_eq!(command(&advice, "admission"), Some(wanted));
        assert_eq!(command(&advice, "policy"), None);
        let advice = advised(|setting| match setting.keep_incompressible {
            Some(false) => 600,
            _ => 500,
        });
        let wanted = "tmem set keep_incompressible=0";
        assert_eq!(command(&advice, "admission"), Some(wanted));
    }

    #[test]
    fn what_gains_nothing_is_left_as_it_is() {
        let advice = advised(|_| 500);
        let names: Vec<&str> = advice.iter().map(|line| line.what).collect();
        assert_eq!(names, ["limit", "policy", "admission"]);
        assert_eq!(command(&advice, "policy"), None);
        assert_eq!(command(&advice, "admission"), None);
    }
}
