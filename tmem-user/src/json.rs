//! The tool's JSON, one object a line, as published in `docs/reference/json.md`
//! and `docs/reference/stats.schema.json`. Members are only ever added within
//! one schema version; a member that changes or goes raises [`SCHEMA`].

use std::collections::BTreeMap;

use serde::Serialize;
use tmem_common::histogram::lower_bound;
use tmem_common::op::Op;

use crate::check::{self, Verdict};
use crate::config::Setting;
use crate::counters::{Counters, by_name};
use crate::doctor::Finding;
use crate::histogram::Histogram;
use crate::interval::{Interval, compression_ratio, memory_ratio};
use crate::mounts::Mount;
use crate::pageout::PagedOut;
use crate::source::{
    CellSnapshot, CgroupSnapshot, Change, PoolSnapshot, Snapshot, Tunable, Unmeasured,
};

/// Name and version of the schema, the first member of every object.
pub const SCHEMA: &str = "tmem/1";

/// An object of the tool's output.
#[derive(Serialize)]
pub struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    body: Body<'a>,
}

impl<'a> Document<'a> {
    /// Puts the schema's version before `body`.
    pub fn new(body: Body<'a>) -> Self {
        Self {
            schema: SCHEMA,
            body,
        }
    }

    /// The object in one line, without its line end.
    ///
    /// # Errors
    /// When a number has no form in JSON.
    pub fn to_line(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// What an object says; `kind` tells which.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Body<'a> {
    /// `tmem status`.
    Status {
        /// The source, for people.
        source: String,
        /// How things stand.
        #[serde(flatten)]
        state: State,
        /// Everything that can be set.
        tunables: Vec<TunableJson<'a>>,
    },
    /// `tmem stats` and `tmem top --batch`.
    Stats(Box<StatsJson>),
    /// `tmem pools`.
    Pools {
        /// The source, for people.
        source: String,
        /// Every pool.
        pools: Vec<PoolJson>,
    },
    /// `tmem set`.
    Set {
        /// Every change, in the order made.
        changes: Vec<ChangeJson<'a>>,
    },
    /// `tmem apply`.
    Apply {
        /// Whether nothing was changed in truth.
        dry_run: bool,
        /// Settings that were read.
        settings: usize,
        /// Every change, in the order made.
        changes: Vec<ChangeJson<'a>>,
    },
    /// `tmem show-config`.
    Config {
        /// The files, in the order in which they were read.
        files: Vec<String>,
        /// Every setting that counts.
        settings: Vec<SettingJson<'a>>,
    },
    /// `tmem check`.
    Check {
        /// Whether all conditions held; none when one cannot be measured.
        held: Option<bool>,
        /// Each condition with its value, in the order of the options.
        conditions: Vec<ConditionJson<'a>>,
        /// The report of the time measured.
        report: Box<StatsJson>,
    },
    /// `tmem tune`.
    Tune(TuneJson),
    /// `tmem pageout`.
    Pageout(PageoutJson),
    /// `tmem doctor`.
    Doctor {
        /// Whether nothing found keeps tmem from working.
        works: bool,
        /// Everything found.
        findings: Vec<FindingJson<'a>>,
    },
    /// `tmem mount list`.
    Mounts {
        /// The file systems that take part.
        mounts: Vec<MountJson<'a>>,
    },
    /// `tmem mount add`, `rm` and `apply`.
    MountChanges {
        /// Each path, in the order given.
        changes: Vec<MountChangeJson<'a>>,
    },
    /// What commands about traces print: rows of one table.
    Table {
        /// The command.
        table: &'static str,
        /// Each row by the names of its columns.
        rows: Vec<serde_json::Map<String, serde_json::Value>>,
    },
    /// `tmem drain`.
    Drain {
        /// The swap devices that were emptied, in order.
        devices: Vec<&'a str>,
        /// Pages of persistent pools before.
        pages_before: u64,
        /// Pages of persistent pools after.
        pages_after: u64,
        /// Whether new pages are accepted now.
        enabled: bool,
    },
}

/// A file system that takes part.
#[derive(Serialize)]
pub struct MountJson<'a> {
    device: &'a str,
    file_system: &'a str,
    pool: u32,
    path: &'a str,
}

impl<'a> From<&'a Mount> for MountJson<'a> {
    fn from(mount: &'a Mount) -> Self {
        Self {
            device: &mount.device,
            file_system: &mount.file_system,
            pool: mount.pool,
            path: &mount.path,
        }
    }
}

/// What became of one path.
#[derive(Serialize)]
pub struct MountChangeJson<'a> {
    /// The path asked for.
    pub path: String,
    /// `added`, `already`, `removed` or `failed`.
    pub outcome: &'a str,
    /// Why it failed.
    pub why: Option<String>,
}

/// How things stand.
#[derive(Serialize)]
pub struct State {
    enabled: bool,
    codec: String,
    limit_bytes: u64,
    used_bytes: u64,
    overhang_bytes: u64,
    pages: u64,
    compression_ratio: Option<f64>,
    memory_ratio: Option<f64>,
    notes: Vec<String>,
}

impl From<&Snapshot> for State {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            enabled: snapshot.enabled,
            codec: snapshot.codec.clone(),
            limit_bytes: snapshot.limit_bytes,
            used_bytes: snapshot.used_bytes,
            overhang_bytes: snapshot.overhang_bytes,
            pages: snapshot.totals.pages,
            compression_ratio: compression_ratio(&snapshot.totals),
            memory_ratio: memory_ratio(snapshot.totals.pages, snapshot.used_bytes),
            notes: snapshot.notes.clone(),
        }
    }
}

/// A snapshot and what happened before it.
#[derive(Serialize)]
pub struct StatsJson {
    source: String,
    taken_ns: u64,
    #[serde(flatten)]
    state: State,
    totals: Counters,
    pools: Vec<PoolJson>,
    interval: IntervalJson,
    pressure: Option<PressureJson>,
    cost: CostJson,
    unmeasured: Vec<UnmeasuredJson>,
    command: Option<CommandJson>,
}

impl StatsJson {
    /// What `tmem stats` reports: `snapshot`, the `interval` that ended with it,
    /// and the command that ran meanwhile.
    pub fn new(
        source: String,
        snapshot: &Snapshot,
        interval: &Interval,
        command: Option<CommandJson>,
    ) -> Self {
        Self {
            source,
            taken_ns: snapshot.taken_ns,
            state: State::from(snapshot),
            totals: Counters::from(&snapshot.totals),
            pools: snapshot.pools.iter().map(PoolJson::from).collect(),
            interval: IntervalJson::from(interval),
            pressure: snapshot.pressure.map(|pressure| PressureJson {
                some_avg10: pressure.some_avg10,
                full_avg10: pressure.full_avg10,
                some_total_us: pressure.some_total_us,
            }),
            cost: CostJson {
                cpu_ns: snapshot.cost.cpu_ns,
                resident_bytes: snapshot.cost.resident_bytes,
                programs_ns: snapshot.cost.programs_ns,
            },
            unmeasured: snapshot
                .unmeasured
                .iter()
                .map(UnmeasuredJson::from)
                .collect(),
            command,
        }
    }
}

/// The command that ran while it was measured.
#[derive(Clone, Debug, Serialize)]
pub struct CommandJson {
    /// The command and its arguments.
    pub argv: Vec<String>,
    /// Its exit status, 128 + n when signal n ended it.
    pub exit_code: i32,
    /// From its start to its end, in ns.
    pub wall_ns: u64,
    /// CPU time in programs, in ns.
    pub user_ns: u64,
    /// CPU time in the kernel, in ns.
    pub system_ns: u64,
    /// Largest resident memory of one of its processes in bytes.
    pub peak_resident_bytes: u64,
    /// Page faults that had to read something.
    pub major_faults: u64,
}

/// One pool.
#[derive(Serialize)]
pub struct PoolJson {
    id: u32,
    name: String,
    uuid: String,
    pool_kind: &'static str,
    version: u32,
    codec: String,
    weight: u32,
    limit_bytes: Option<u64>,
    frozen: bool,
    mount: Option<String>,
    compression_ratio: Option<f64>,
    counters: Counters,
}

impl From<&PoolSnapshot> for PoolJson {
    fn from(pool: &PoolSnapshot) -> Self {
        Self {
            id: pool.id,
            name: pool.name(),
            uuid: pool.uuid.iter().map(|byte| format!("{byte:02x}")).collect(),
            pool_kind: pool.kind.name(),
            version: pool.version,
            codec: pool.codec.clone(),
            weight: pool.weight,
            limit_bytes: pool.limit_bytes,
            frozen: pool.frozen,
            mount: pool.mount.clone(),
            compression_ratio: compression_ratio(&pool.stats),
            counters: Counters::from(&pool.stats),
        }
    }
}

#[derive(Serialize)]
struct IntervalJson {
    duration_ns: u64,
    stores: u64,
    refusals: u64,
    store_share: Option<f64>,
    hits: u64,
    misses: u64,
    hit_share: Option<f64>,
    flush_misses: u64,
    moved_pages: u64,
    outcomes: BTreeMap<String, u64>,
    writes_avoided: u64,
    reads_avoided: u64,
    swap_pages_written: Option<u64>,
    swap_pages_read: Option<u64>,
    latency: Option<BTreeMap<&'static str, LatencyJson>>,
    cells: Option<Vec<CellJson>>,
    cgroups: Option<Vec<CgroupJson>>,
    events_dropped: u64,
    own_cpu_ns: u64,
    programs_ns: Option<u64>,
}

impl From<&Interval> for IntervalJson {
    fn from(interval: &Interval) -> Self {
        let latency = |op: Op| {
            let histogram = interval.latency(op, None)?;
            Some((op.name(), LatencyJson::from(&histogram)))
        };
        Self {
            duration_ns: u64::try_from(interval.duration.as_nanos()).unwrap_or(u64::MAX),
            stores: interval.stores(),
            refusals: interval.refusals(),
            store_share: interval.store_share(),
            hits: interval.hits(),
            misses: interval.misses(),
            hit_share: interval.hit_share(),
            flush_misses: interval.flush_misses,
            moved_pages: interval.moved_pages,
            outcomes: by_name(&interval.outcomes),
            writes_avoided: interval.writes_avoided,
            reads_avoided: interval.reads_avoided,
            swap_pages_written: interval.disk.map(|disk| disk.swap_pages_written),
            swap_pages_read: interval.disk.map(|disk| disk.swap_pages_read),
            latency: Op::ALL.iter().map(|&op| latency(op)).collect(),
            cells: interval
                .cells
                .as_ref()
                .map(|cells| cells.iter().map(CellJson::from).collect()),
            cgroups: interval
                .cgroups
                .as_ref()
                .map(|cgroups| cgroups.iter().map(CgroupJson::from).collect()),
            events_dropped: interval.events_dropped,
            own_cpu_ns: interval.own_cpu_ns,
            programs_ns: interval.programs_ns,
        }
    }
}

#[derive(Serialize)]
struct LatencyJson {
    count: u64,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    p999_ns: Option<u64>,
}

impl From<&Histogram> for LatencyJson {
    fn from(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            p50_ns: histogram.percentile(0.5),
            p90_ns: histogram.percentile(0.9),
            p99_ns: histogram.percentile(0.99),
            p999_ns: histogram.percentile(0.999),
        }
    }
}

#[derive(Serialize)]
struct CellJson {
    pool: u32,
    op: &'static str,
    outcome: &'static str,
    bytes: u64,
    total_ns: u64,
    #[serde(flatten)]
    latency: LatencyJson,
    histogram: Vec<BucketJson>,
}

#[derive(Serialize)]
struct BucketJson {
    from_ns: u64,
    count: u64,
}

impl From<&CellSnapshot> for CellJson {
    fn from(cell: &CellSnapshot) -> Self {
        Self {
            pool: cell.pool,
            op: cell.op.name(),
            outcome: cell.outcome.name(),
            bytes: cell.bytes,
            total_ns: cell.total_ns,
            latency: LatencyJson::from(&cell.histogram),
            histogram: cell
                .histogram
                .buckets()
                .iter()
                .enumerate()
                .filter(|&(_, &count)| count > 0)
                .map(|(bucket, &count)| BucketJson {
                    from_ns: lower_bound(bucket),
                    count,
                })
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct CgroupJson {
    id: u64,
    path: Option<String>,
    op: &'static str,
    outcome: &'static str,
    count: u64,
    bytes: u64,
}

impl From<&CgroupSnapshot> for CgroupJson {
    fn from(cgroup: &CgroupSnapshot) -> Self {
        Self {
            id: cgroup.id,
            path: cgroup.path.clone(),
            op: cgroup.op.name(),
            outcome: cgroup.outcome.name(),
            count: cgroup.count,
            bytes: cgroup.bytes,
        }
    }
}

#[derive(Serialize)]
struct PressureJson {
    some_avg10: f64,
    full_avg10: f64,
    some_total_us: u64,
}

#[derive(Serialize)]
struct CostJson {
    cpu_ns: u64,
    resident_bytes: u64,
    programs_ns: Option<u64>,
}

#[derive(Serialize)]
struct UnmeasuredJson {
    what: &'static str,
    why: String,
}

impl From<&Unmeasured> for UnmeasuredJson {
    fn from(unmeasured: &Unmeasured) -> Self {
        Self {
            what: unmeasured.what,
            why: unmeasured.why.clone(),
        }
    }
}

/// Something that can be set.
#[derive(Serialize)]
pub struct TunableJson<'a> {
    key: &'a str,
    value: &'a str,
    allowed: &'a str,
    meaning: &'a str,
}

impl<'a> From<&'a Tunable> for TunableJson<'a> {
    fn from(tunable: &'a Tunable) -> Self {
        Self {
            key: &tunable.key,
            value: &tunable.value,
            allowed: &tunable.allowed,
            meaning: tunable.meaning,
        }
    }
}

/// One line of `tmem tune`.
#[derive(Serialize)]
pub struct TuneJson {
    /// `change`, `would_change`, `step_aside` or `summary`.
    pub what: &'static str,
    /// What was moved: `limit`, or the limit of the pool of swap pages.
    pub key: String,
    /// Its value before.
    pub old: String,
    /// Its value after.
    pub new: String,
    /// Why.
    pub why: String,
}

/// What `tmem pageout` did.
#[derive(Serialize)]
pub struct PageoutJson {
    /// Where the pages went, for people.
    pub source: String,
    /// Bytes of the target in memory before and after.
    pub resident_before_bytes: u64,
    /// After.
    pub resident_after_bytes: u64,
    /// Bytes more of it that are swapped out.
    pub paged_out_bytes: u64,
    /// Bytes of mappings left out since they were in use.
    pub in_use_bytes: u64,
    /// Puts kept and refused meanwhile, over the whole system.
    pub stores: u64,
    /// Refused puts.
    pub refusals: u64,
    /// Bytes of data that the store grew by.
    pub kept_bytes: u64,
    /// Bytes of the pages stored for a byte that the store grew by.
    pub ratio: Option<f64>,
    /// Pages that went to swap devices meanwhile, over the whole system.
    pub swap_pages_written: Option<u64>,
}

impl PageoutJson {
    /// From the result and what happened over the whole system meanwhile.
    pub fn new(source: String, result: &PagedOut, interval: &Interval, kept_bytes: u64) -> Self {
        let stored_bytes = interval.stores() * tmem_common::PAGE_SIZE as u64;
        Self {
            source,
            resident_before_bytes: result.before.resident,
            resident_after_bytes: result.after.resident,
            paged_out_bytes: result.bytes(),
            in_use_bytes: result.in_use,
            stores: interval.stores(),
            refusals: interval.refusals(),
            kept_bytes,
            ratio: (kept_bytes > 0).then(|| stored_bytes as f64 / kept_bytes as f64),
            swap_pages_written: interval.disk.map(|disk| disk.swap_pages_written),
        }
    }
}

/// A setting of a file.
#[derive(Serialize)]
pub struct SettingJson<'a> {
    key: &'a str,
    value: &'a str,
    file: String,
    line: usize,
    column: usize,
}

impl<'a> From<&'a Setting> for SettingJson<'a> {
    fn from(setting: &'a Setting) -> Self {
        Self {
            key: &setting.key,
            value: &setting.value,
            file: setting.place.path.display().to_string(),
            line: setting.place.line,
            column: setting.place.column,
        }
    }
}

/// A condition of `tmem check`.
#[derive(Serialize)]
pub struct ConditionJson<'a> {
    name: &'a str,
    side: &'static str,
    bound: f64,
    unit: &'static str,
    value: Option<f64>,
    verdict: &'static str,
    why: Option<&'a str>,
}

impl<'a> From<&'a check::Outcome> for ConditionJson<'a> {
    fn from(outcome: &'a check::Outcome) -> Self {
        let (verdict, why) = match &outcome.verdict {
            Verdict::Held => ("held", None),
            Verdict::Failed => ("failed", None),
            Verdict::NotMeasured(why) => ("not_measured", Some(why.as_str())),
        };
        Self {
            name: outcome.condition.name,
            side: outcome.condition.side.name(),
            bound: outcome.condition.bound,
            unit: outcome.condition.quantity.unit(),
            value: outcome.value,
            verdict,
            why,
        }
    }
}

/// Something that `tmem doctor` looked at.
#[derive(Serialize)]
pub struct FindingJson<'a> {
    what: &'a str,
    grade: &'static str,
    found: &'a str,
    advice: &'a str,
}

impl<'a> From<&'a Finding> for FindingJson<'a> {
    fn from(finding: &'a Finding) -> Self {
        Self {
            what: finding.what,
            grade: finding.grade.name(),
            found: &finding.found,
            advice: &finding.advice,
        }
    }
}

/// A change that was made.
#[derive(Serialize)]
pub struct ChangeJson<'a> {
    key: &'a str,
    old: &'a str,
    new: &'a str,
}

impl<'a> From<&'a Change> for ChangeJson<'a> {
    fn from(change: &'a Change) -> Self {
        Self {
            key: &change.key,
            old: &change.old,
            new: &change.new,
        }
    }
}
