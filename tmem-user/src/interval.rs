//! What happened between two snapshots: counts, rates, ratios and latencies.

use std::collections::HashMap;
use std::time::Duration;

use tmem_common::PAGE_SIZE;
use tmem_common::op::{OUTCOMES, Op, Outcome};
use tmem_common::stats::Stats;

use crate::histogram::Histogram;
use crate::source::{CellSnapshot, CgroupSnapshot, DiskTraffic, FileSnapshot, PoolKind, Snapshot};

/// The difference of two snapshots of one source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Interval {
    /// Time between the snapshots.
    pub duration: Duration,
    /// Operations that ended so meanwhile, by [`Outcome`], over all pools.
    pub outcomes: [u64; OUTCOMES],
    /// Flushes that found nothing.
    pub flush_misses: u64,
    /// Pages moved to give whole pages back.
    pub moved_pages: u64,
    /// Pages that persistent pools took, each a write to a swap device avoided.
    pub writes_avoided: u64,
    /// Pages that persistent pools gave back, each a read avoided.
    pub reads_avoided: u64,
    /// Operations by (pool, op, outcome); `None` when they are not observed.
    pub cells: Option<Vec<CellSnapshot>>,
    /// Operations by cgroup; `None` when they are not observed.
    pub cgroups: Option<Vec<CgroupSnapshot>>,
    /// Pages by file; `None` when they are not observed.
    pub files: Option<Vec<FileSnapshot>>,
    /// Sampled events that were lost.
    pub events_dropped: u64,
    /// Swap traffic of the whole system; `None` without a reading.
    pub disk: Option<DiskTraffic>,
    /// CPU time of this process in ns.
    pub own_cpu_ns: u64,
    /// Time in the eBPF programs in ns; `None` when it is not measured.
    pub programs_ns: Option<u64>,
    /// File pages read again soon after their reclaim; `None` without a reading.
    pub refaults: Option<u64>,
    /// Share of the time in which some task waited for memory, 0 to 1; `None`
    /// where the kernel does not measure pressure.
    pub pressure: Option<f64>,
}

impl Interval {
    /// What happened after `start` until `end`.
    pub fn between(start: &Snapshot, end: &Snapshot) -> Self {
        let mut outcomes = end.totals.outcomes;
        for (now, then) in outcomes.iter_mut().zip(start.totals.outcomes) {
            *now = now.saturating_sub(then);
        }
        let observed = end.observed.as_ref();
        let before = start.observed.as_ref();
        Self {
            duration: Duration::from_nanos(end.taken_ns.saturating_sub(start.taken_ns)),
            outcomes,
            flush_misses: end
                .totals
                .flush_misses
                .saturating_sub(start.totals.flush_misses),
            moved_pages: end
                .totals
                .moved_pages
                .saturating_sub(start.totals.moved_pages),
            writes_avoided: persistent_since(start, end, stored),
            reads_avoided: persistent_since(start, end, |stats| {
                stats.outcomes[Outcome::Hit as usize]
            }),
            cells: observed
                .map(|now| cells_since(&now.cells, before.map_or(&[], |then| &then.cells))),
            cgroups: observed
                .filter(|now| !now.only_times)
                .map(|now| cgroups_since(&now.cgroups, before.map_or(&[], |then| &then.cgroups))),
            files: observed
                .filter(|now| !now.only_times)
                .map(|now| files_since(&now.files, before.map_or(&[], |then| &then.files))),
            events_dropped: observed.map_or(0, |now| {
                now.events_dropped
                    .saturating_sub(before.map_or(0, |then| then.events_dropped))
            }),
            disk: match (end.disk, start.disk) {
                (Some(now), Some(then)) => Some(DiskTraffic {
                    swap_pages_written: now
                        .swap_pages_written
                        .saturating_sub(then.swap_pages_written),
                    swap_pages_read: now.swap_pages_read.saturating_sub(then.swap_pages_read),
                }),
                _ => None,
            },
            own_cpu_ns: end.cost.cpu_ns.saturating_sub(start.cost.cpu_ns),
            programs_ns: end
                .cost
                .programs_ns
                .map(|now| now.saturating_sub(start.cost.programs_ns.unwrap_or(0))),
            refaults: match (end.refaults, start.refaults) {
                (Some(now), Some(then)) => Some(now.saturating_sub(then)),
                _ => None,
            },
            pressure: pressure_share(start, end),
        }
    }

    /// Operations that ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    /// Puts that were accepted.
    pub fn stores(&self) -> u64 {
        sum_stored(&self.outcomes)
    }

    /// Puts that were refused.
    pub fn refusals(&self) -> u64 {
        Outcome::REFUSED
            .iter()
            .map(|&outcome| self.count(outcome))
            .sum()
    }

    /// Gets that found their page.
    pub fn hits(&self) -> u64 {
        self.count(Outcome::Hit)
    }

    /// Gets that did not, corrupt pages included.
    pub fn misses(&self) -> u64 {
        self.count(Outcome::Miss) + self.count(Outcome::Corrupt)
    }

    /// Hits as a share of gets; `None` without gets.
    pub fn hit_share(&self) -> Option<f64> {
        share(self.hits(), self.hits() + self.misses())
    }

    /// Accepted puts as a share of puts; `None` without puts.
    pub fn store_share(&self) -> Option<f64> {
        share(self.stores(), self.stores() + self.refusals())
    }

    /// `count` in this interval as a rate a second; 0 for an empty interval.
    pub fn per_second(&self, count: u64) -> f64 {
        let seconds = self.duration.as_secs_f64();
        if seconds > 0.0 {
            count as f64 / seconds
        } else {
            0.0
        }
    }

    /// Durations of one kind of operation, over all pools and outcomes or those
    /// of one pool; `None` when they are not observed.
    pub fn latency(&self, op: Op, pool: Option<u32>) -> Option<Histogram> {
        let mut sum = Histogram::default();
        for cell in self.cells.as_ref()? {
            if cell.op == op && pool.is_none_or(|pool| cell.pool == pool) {
                sum.merge(&cell.histogram);
            }
        }
        Some(sum)
    }

    /// Durations of the operations of one kind that did what was asked, over all
    /// pools; `None` when they are not observed.
    pub fn work_latency(&self, op: Op) -> Option<Histogram> {
        Some(latency_of(self.cells.as_ref()?, op, |_| true))
    }
}

/// Durations of the operations of kind `op` that did what was asked, from the
/// cells of the pools that `wanted` accepts. Misses and refusals cost next to
/// nothing and would hide what the work costs.
pub fn latency_of(cells: &[CellSnapshot], op: Op, wanted: impl Fn(u32) -> bool) -> Histogram {
    let mut sum = Histogram::default();
    for cell in cells {
        let worked = cell.outcome.is_stored()
            || matches!(
                cell.outcome,
                Outcome::Hit | Outcome::Flushed | Outcome::Evicted
            );
        if cell.op == op && worked && wanted(cell.pool) {
            sum.merge(&cell.histogram);
        }
    }
    sum
}

/// Bytes that the pages had when they were put, for a byte of data kept;
/// `None` when no data is kept.
pub fn compression_ratio(stats: &Stats) -> Option<f64> {
    let pages = stats.pages.saturating_sub(stats.same_pages);
    share(pages * PAGE_SIZE as u64, stats.data_bytes)
}

/// Bytes that the pages had when they were put, for a byte of memory used;
/// `None` when nothing is held.
pub fn memory_ratio(pages: u64, used_bytes: u64) -> Option<f64> {
    share(pages * PAGE_SIZE as u64, used_bytes).filter(|_| pages > 0)
}

fn sum_stored(outcomes: &[u64; OUTCOMES]) -> u64 {
    Outcome::ALL
        .iter()
        .zip(outcomes)
        .filter(|(outcome, _)| outcome.is_stored())
        .map(|(_, count)| count)
        .sum()
}

fn stored(stats: &Stats) -> u64 {
    sum_stored(&stats.outcomes)
}

fn pressure_share(start: &Snapshot, end: &Snapshot) -> Option<f64> {
    let waited_us = end
        .pressure?
        .some_total_us
        .saturating_sub(start.pressure?.some_total_us);
    let ns = end.taken_ns.saturating_sub(start.taken_ns);
    // The kernel adds it up a little late: never more than all the time.
    share(waited_us.saturating_mul(1000).min(ns), ns)
}

/// How much `counter` rose in the persistent pools that are there at the end.
fn persistent_since(start: &Snapshot, end: &Snapshot, counter: fn(&Stats) -> u64) -> u64 {
    end.pools
        .iter()
        .filter(|pool| pool.kind == PoolKind::Persistent)
        .map(|pool| {
            let earlier = start
                .pools
                .iter()
                .find(|earlier| (earlier.id, earlier.uuid) == (pool.id, pool.uuid));
            let then = earlier.map_or(0, |earlier| counter(&earlier.stats));
            counter(&pool.stats).saturating_sub(then)
        })
        .sum()
}

fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn cells_since(now: &[CellSnapshot], then: &[CellSnapshot]) -> Vec<CellSnapshot> {
    let earlier: HashMap<_, _> = then
        .iter()
        .map(|cell| ((cell.pool, cell.op, cell.outcome), cell))
        .collect();
    now.iter()
        .map(|cell| {
            let Some(then) = earlier.get(&(cell.pool, cell.op, cell.outcome)) else {
                return cell.clone();
            };
            CellSnapshot {
                count: cell.count.saturating_sub(then.count),
                bytes: cell.bytes.saturating_sub(then.bytes),
                total_ns: cell.total_ns.saturating_sub(then.total_ns),
                histogram: cell.histogram.since(&then.histogram),
                ..cell.clone()
            }
        })
        .filter(|cell| cell.count > 0)
        .collect()
}

fn cgroups_since(now: &[CgroupSnapshot], then: &[CgroupSnapshot]) -> Vec<CgroupSnapshot> {
    let earlier: HashMap<_, _> = then
        .iter()
        .map(|cgroup| ((cgroup.id, cgroup.op, cgroup.outcome), cgroup))
        .collect();
    now.iter()
        .map(|cgroup| {
            let Some(then) = earlier.get(&(cgroup.id, cgroup.op, cgroup.outcome)) else {
                return cgroup.clone();
            };
            CgroupSnapshot {
                count: cgroup.count.saturating_sub(then.count),
                bytes: cgroup.bytes.saturating_sub(then.bytes),
                ..cgroup.clone()
            }
        })
        .filter(|cgroup| cgroup.count > 0)
        .collect()
}

/// Files of which anything happened since; a file that was forgotten meanwhile counts anew.
fn files_since(now: &[FileSnapshot], then: &[FileSnapshot]) -> Vec<FileSnapshot> {
    let earlier: HashMap<_, _> = then
        .iter()
        .map(|file| ((file.device, file.inode), file))
        .collect();
    now.iter()
        .map(|file| match earlier.get(&(file.device, file.inode)) {
            None => file.clone(),
            Some(then) => FileSnapshot {
                puts: file.puts.saturating_sub(then.puts),
                stored: file.stored.saturating_sub(then.stored),
                hits: file.hits.saturating_sub(then.hits),
                misses: file.misses.saturating_sub(then.misses),
                ..file.clone()
            },
        })
        .filter(|file| file.puts + file.hits + file.misses > 0)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{Observed, PoolSnapshot};

    fn cell(outcome: Outcome, durations: &[u64]) -> CellSnapshot {
        let mut histogram = Histogram::default();
        for &ns in durations {
            histogram.record(ns);
        }
        CellSnapshot {
            pool: 1,
            op: Op::Put,
            outcome,
            count: durations.len() as u64,
            bytes: 0,
            total_ns: durations.iter().sum(),
            histogram,
        }
    }

    #[test]
    fn counts_rates_and_shares_are_of_the_interval_alone() {
        let mut start = Snapshot {
            taken_ns: 1_000_000_000,
            ..Snapshot::default()
        };
        start.totals.outcomes[Outcome::Stored as usize] = 10;
        start.totals.outcomes[Outcome::Hit as usize] = 5;
        let mut end = start.clone();
        end.taken_ns = 3_000_000_000;
        end.totals.outcomes[Outcome::Stored as usize] = 17;
        end.totals.outcomes[Outcome::StoredRaw as usize] = 2;
        end.totals.outcomes[Outcome::RefusedLimit as usize] = 1;
        end.totals.outcomes[Outcome::Hit as usize] = 8;
        end.totals.outcomes[Outcome::Miss as usize] = 1;
        let interval = Interval::between(&start, &end);
        assert_eq!(interval.stores(), 9);
        assert_eq!(interval.refusals(), 1);
        assert_eq!(interval.store_share(), Some(0.9));
        assert_eq!(interval.hit_share(), Some(0.75));
        assert!((interval.per_second(interval.stores()) - 4.5).abs() < 1e-9);
        assert_eq!(interval.latency(Op::Put, None), None);
        assert_eq!(Interval::between(&end, &end).hit_share(), None);
    }

    #[test]
    fn latencies_are_of_the_interval_alone() {
        let observed = |cells| {
            Some(Observed {
                cells,
                ..Observed::default()
            })
        };
        let start = Snapshot {
            observed: observed(vec![cell(Outcome::Stored, &[100, 100])]),
            ..Snapshot::default()
        };
        let end = Snapshot {
            observed: observed(vec![
                cell(Outcome::Stored, &[100, 100, 9000]),
                cell(Outcome::RefusedLimit, &[50]),
            ]),
            ..Snapshot::default()
        };
        let interval = Interval::between(&start, &end);
        let put = interval.latency(Op::Put, None).expect("observed");
        assert_eq!(put.count(), 2);
        assert_eq!(
            interval.latency(Op::Put, Some(2)).map(|all| all.count()),
            Some(0)
        );
        assert_eq!(
            interval.latency(Op::Get, None).map(|all| all.count()),
            Some(0)
        );
        let still = Interval::between(&end, &end);
        assert_eq!(still.cells, Some(Vec::new()));
    }

    #[test]
    fn only_persistent_pools_spare_the_disk() {
        let pool = |id, kind, count| {
            let mut pool = PoolSnapshot {
                id,
                kind,
                ..PoolSnapshot::default()
            };
            pool.stats.outcomes[Outcome::StoredSame as usize] = count;
            pool.stats.outcomes[Outcome::Hit as usize] = count + 1;
            pool
        };
        let start = Snapshot {
            pools: vec![
                pool(0, PoolKind::Persistent, 10),
                pool(1, PoolKind::Ephemeral, 10),
            ],
            ..Snapshot::default()
        };
        let end = Snapshot {
            pools: vec![
                pool(0, PoolKind::Persistent, 15),
                pool(1, PoolKind::Ephemeral, 90),
                pool(2, PoolKind::Persistent, 3),
            ],
            ..Snapshot::default()
        };
        let interval = Interval::between(&start, &end);
        assert_eq!(interval.writes_avoided, 8);
        assert_eq!(interval.reads_avoided, 9);
    }

    #[test]
    fn ratios_count_what_data_is_kept_for() {
        let stats = Stats {
            pages: 10,
            same_pages: 2,
            data_bytes: 8 * 1024,
            ..Stats::default()
        };
        assert_eq!(compression_ratio(&stats), Some(4.0));
        assert_eq!(memory_ratio(10, 10 * 1024), Some(4.0));
        assert_eq!(memory_ratio(0, 1024), None);
        assert_eq!(compression_ratio(&Stats::default()), None);
    }
}
