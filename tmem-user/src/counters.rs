//! The engine's counters by name, as JSON output and traces have them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tmem_common::op::{OUTCOMES, Outcome};
use tmem_common::stats::Stats;

/// [`Stats`] by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the fields of tmem_common::stats::Stats")]
pub struct Counters {
    pub pages: u64,
    pub same_pages: u64,
    pub raw_pages: u64,
    pub data_bytes: u64,
    pub store_bytes: u64,
    pub metadata_bytes: u64,
    /// Operations by the name of their outcome.
    pub outcomes: BTreeMap<String, u64>,
    pub flush_misses: u64,
    pub moved_pages: u64,
}

impl Counters {
    /// Operations that ended so.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.name()).copied().unwrap_or(0)
    }

    /// Operations since `earlier` that ended in one of `outcomes`.
    pub fn since(&self, earlier: &Self, outcomes: &[Outcome]) -> u64 {
        let since = |of: &Outcome| self.outcome(*of).saturating_sub(earlier.outcome(*of));
        outcomes.iter().map(since).sum()
    }

    /// Hits and gets since `earlier`.
    pub fn hits_and_gets_since(&self, earlier: &Self) -> (u64, u64) {
        let hits = self.since(earlier, &[Outcome::Hit]);
        let others = self.since(earlier, &[Outcome::Miss, Outcome::Corrupt]);
        (hits, hits + others)
    }
}

/// Counts of outcomes by the outcomes' names.
pub fn by_name(counts: &[u64; OUTCOMES]) -> BTreeMap<String, u64> {
    Outcome::ALL
        .iter()
        .map(|outcome| outcome.name().to_owned())
        .zip(counts.iter().copied())
        .collect()
}

impl From<&Stats> for Counters {
    fn from(stats: &Stats) -> Self {
        Self {
            pages: stats.pages,
            same_pages: stats.same_pages,
            raw_pages: stats.raw_pages,
            data_bytes: stats.data_bytes,
            store_bytes: stats.store_bytes,
            metadata_bytes: stats.metadata_bytes,
            outcomes: by_name(&stats.outcomes),
            flush_misses: stats.flush_misses,
            moved_pages: stats.moved_pages,
        }
    }
}
