//! What the blocks of a trace say: [`Meta`], [`Reading`] and [`Finish`] as JSON, of
//! which fields unknown to a reader are skipped and missing ones are empty.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tmem_common::event::Event;
use tmem_common::histogram::BUCKETS;
use tmem_common::op::{Op, Outcome};

pub use crate::counters::Counters;
use crate::histogram::Histogram;
use crate::source::{FileSnapshot, PoolKind, Snapshot};

/// Most files in a reading.
pub const FILES: usize = 200;

/// One block's contents.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Sampled operations, in the order in which they were read.
    Events(Vec<Event>),
    /// Counters and histograms at one time.
    Reading(Box<Reading>),
}

/// Where and how a trace was made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Meta {
    /// Version of the tool that wrote it.
    pub tool: String,
    /// What was watched, for people.
    pub source: String,
    /// Release of the kernel; empty if none was involved.
    pub kernel: String,
    /// One page in this many has its events in the trace; 0: no events.
    pub sample_one_in: u32,
    /// Time between two readings in ns; 0: none.
    pub interval_ns: u64,
    /// CLOCK_MONOTONIC at the start in ns: the clock of all times in the trace.
    pub started_ns: u64,
    /// CLOCK_REALTIME at the start in ns since 1970.
    pub started_unix_ns: u64,
    /// Memory of the machine in bytes; 0 if unknown.
    pub ram_bytes: u64,
    /// The command that ran meanwhile.
    pub command: Vec<String>,
    /// Every tunable with its value at the start.
    pub tunables: BTreeMap<String, String>,
    /// Whether the events are requests to a cache in front of something: each is
    /// a get, which a miss is followed by a put of that size (imported traces).
    pub cache: bool,
}

/// Counters and histograms at one time. Everything is since the start of what
/// was watched, so that differences of two readings are what happened between them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reading {
    /// CLOCK_MONOTONIC in ns.
    pub time_ns: u64,
    /// Whether new pages were accepted.
    pub enabled: bool,
    /// Codec of pools without one of their own.
    pub codec: String,
    /// Bytes of memory held for all purposes.
    pub used_bytes: u64,
    /// The budget in bytes.
    pub limit_bytes: u64,
    /// Bytes held beyond the budget.
    pub overhang_bytes: u64,
    /// Counters and gauges over all pools.
    pub totals: Counters,
    /// One entry a pool.
    pub pools: Vec<PoolReading>,
    /// One entry a (pool, op, outcome) that occurred.
    pub cells: Vec<CellReading>,
    /// One entry a (cgroup, op, outcome) that occurred.
    pub cgroups: Vec<CgroupReading>,
    /// The files of which most pages were met, at most [`FILES`].
    pub files: Vec<FileSnapshot>,
    /// Neither cgroups nor files nor events were told, but times: see
    /// [`crate::source::Observed::only_times`].
    pub only_times: bool,
    /// Events lost since the start of the recording.
    pub events_dropped: u64,
    /// Pages written to swap devices since boot.
    pub swap_pages_written: Option<u64>,
    /// Pages read from swap devices since boot.
    pub swap_pages_read: Option<u64>,
    /// Microseconds since boot in which some task waited for memory.
    pub pressure_some_us: Option<u64>,
    /// Percent of the 10 s before in which some task waited for memory.
    pub pressure_some_avg10: f64,
    /// Percent of the 10 s before in which all tasks waited for memory.
    pub pressure_full_avg10: f64,
    /// File pages that were read again soon after their reclaim, since boot.
    pub refaults: Option<u64>,
    /// CPU time of the recording tool in ns.
    pub own_cpu_ns: u64,
    /// Resident memory of the recording tool in bytes.
    pub own_resident_bytes: u64,
    /// Time spent in its eBPF programs in ns.
    pub programs_ns: Option<u64>,
    /// What could not be measured, with the reason.
    pub unmeasured: BTreeMap<String, String>,
}

/// One pool at one time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PoolReading {
    /// Its number.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// `persistent` or `ephemeral`.
    pub kind: String,
    /// The codec of new pages, or `default`.
    pub codec: String,
    /// Its share among pools of its kind.
    pub weight: u32,
    /// Limit of its own in bytes.
    pub limit_bytes: Option<u64>,
    /// Whether it refused new pages.
    pub frozen: bool,
    /// Its counters and gauges.
    pub stats: Counters,
}

impl PoolReading {
    /// Whether its pages stay until they are flushed.
    pub fn is_persistent(&self) -> bool {
        self.kind == PoolKind::Persistent.name()
    }
}

/// Operations of one pool that ended alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CellReading {
    /// The pool's number.
    pub pool: u32,
    /// Name of an [`Op`].
    pub op: String,
    /// Name of an [`Outcome`].
    pub outcome: String,
    /// Operations.
    pub count: u64,
    /// Sum of their bytes.
    pub bytes: u64,
    /// Sum of their durations in ns.
    pub total_ns: u64,
    /// Buckets that are not empty, each with its count, numbered as in
    /// [`tmem_common::histogram`].
    pub histogram: Vec<(usize, u64)>,
}

/// Operations on pages of one cgroup that ended alike.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CgroupReading {
    /// Id of the cgroup.
    pub id: u64,
    /// Its path below the cgroup mount, when it could be found.
    pub path: Option<String>,
    /// Name of an [`Op`].
    pub op: String,
    /// Name of an [`Outcome`].
    pub outcome: String,
    /// Operations.
    pub count: u64,
    /// Sum of their bytes.
    pub bytes: u64,
}

fn op_of(name: &str) -> Option<Op> {
    Op::ALL.into_iter().find(|op| op.name() == name)
}

fn outcome_of(name: &str) -> Option<Outcome> {
    Outcome::ALL
        .into_iter()
        .find(|outcome| outcome.name() == name)
}

impl CgroupReading {
    /// What was asked; `None` for an op of a later version.
    pub fn op(&self) -> Option<Op> {
        op_of(&self.op)
    }

    /// How it ended; `None` for an outcome of a later version.
    pub fn outcome(&self) -> Option<Outcome> {
        outcome_of(&self.outcome)
    }
}

impl CellReading {
    /// What was asked; `None` for an op of a later version.
    pub fn op(&self) -> Option<Op> {
        op_of(&self.op)
    }

    /// How it ended; `None` for an outcome of a later version.
    pub fn outcome(&self) -> Option<Outcome> {
        outcome_of(&self.outcome)
    }

    /// The durations.
    pub fn histogram(&self) -> Histogram {
        let mut buckets = [0; BUCKETS];
        for (bucket, count) in &self.histogram {
            if let Some(place) = buckets.get_mut(*bucket) {
                *place = *count;
            }
        }
        Histogram::from_buckets(buckets)
    }
}

/// How a recording ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Finish {
    /// CLOCK_MONOTONIC in ns.
    pub time_ns: u64,
    /// Events in the trace.
    pub events: u64,
    /// Readings in the trace.
    pub readings: u64,
    /// Exit code of the command that ran.
    pub exit_code: Option<i32>,
}

/// The files of which most pages were met.
fn busiest(files: &[FileSnapshot]) -> Vec<FileSnapshot> {
    let mut files: Vec<&FileSnapshot> = files.iter().collect();
    files.sort_by_key(|file| std::cmp::Reverse(file.puts + file.hits + file.misses));
    files.into_iter().take(FILES).cloned().collect()
}

impl From<&Snapshot> for Reading {
    fn from(snapshot: &Snapshot) -> Self {
        let observed = snapshot.observed.as_ref();
        Self {
            time_ns: snapshot.taken_ns,
            enabled: snapshot.enabled,
            codec: snapshot.codec.clone(),
            used_bytes: snapshot.used_bytes,
            limit_bytes: snapshot.limit_bytes,
            overhang_bytes: snapshot.overhang_bytes,
            totals: (&snapshot.totals).into(),
            pools: snapshot
                .pools
                .iter()
                .map(|pool| PoolReading {
                    id: pool.id,
                    name: pool.name(),
                    kind: pool.kind.name().to_owned(),
                    codec: pool.codec.clone(),
                    weight: pool.weight,
                    limit_bytes: pool.limit_bytes,
                    frozen: pool.frozen,
                    stats: (&pool.stats).into(),
                })
                .collect(),
            cells: observed
                .into_iter()
                .flat_map(|observed| &observed.cells)
                .map(|cell| CellReading {
                    pool: cell.pool,
                    op: cell.op.name().to_owned(),
                    outcome: cell.outcome.name().to_owned(),
                    count: cell.count,
                    bytes: cell.bytes,
                    total_ns: cell.total_ns,
                    histogram: cell
                        .histogram
                        .buckets()
                        .iter()
                        .copied()
                        .enumerate()
                        .filter(|(_, count)| *count > 0)
                        .collect(),
                })
                .collect(),
            cgroups: observed
                .into_iter()
                .flat_map(|observed| &observed.cgroups)
                .map(|cgroup| CgroupReading {
                    id: cgroup.id,
                    path: cgroup.path.clone(),
                    op: cgroup.op.name().to_owned(),
                    outcome: cgroup.outcome.name().to_owned(),
                    count: cgroup.count,
                    bytes: cgroup.bytes,
                })
                .collect(),
            files: busiest(observed.map_or(&[], |observed| &observed.files)),
            only_times: observed.is_some_and(|observed| observed.only_times),
            events_dropped: observed.map_or(0, |observed| observed.events_dropped),
            swap_pages_written: snapshot.disk.map(|disk| disk.swap_pages_written),
            swap_pages_read: snapshot.disk.map(|disk| disk.swap_pages_read),
            pressure_some_us: snapshot.pressure.map(|pressure| pressure.some_total_us),
            pressure_some_avg10: snapshot.pressure.map_or(0.0, |all| all.some_avg10),
            pressure_full_avg10: snapshot.pressure.map_or(0.0, |all| all.full_avg10),
            refaults: snapshot.refaults,
            own_cpu_ns: snapshot.cost.cpu_ns,
            own_resident_bytes: snapshot.cost.resident_bytes,
            programs_ns: snapshot.cost.programs_ns,
            unmeasured: snapshot
                .unmeasured
                .iter()
                .map(|part| (part.what.to_owned(), part.why.clone()))
                .collect(),
        }
    }
}
