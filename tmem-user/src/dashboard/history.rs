//! What the dashboard remembers: the newest snapshot and, for the last minutes,
//! what happened between one snapshot and the next.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tmem_common::PAGE_SIZE;
use tmem_common::event::Event;
use tmem_common::op::{OPS, OUTCOMES, Op, Outcome};
use tmem_common::stats::Stats;

use super::curve::LiveCurve;
use crate::histogram::Histogram;
use crate::interval::latency_of;
use crate::source::{FileSnapshot, OwnCost, PoolKind, Snapshot};

/// Points kept: ten minutes at one a second.
pub(super) const POINTS: usize = 600;

/// Sampled events kept.
const EVENTS: usize = 1000;

/// What happened between two snapshots, and how things stood at the later one.
#[derive(Clone, Debug, Default)]
pub(super) struct Point {
    /// Time between the two, in seconds.
    pub(super) seconds: f64,
    /// Operations, by [`Op`].
    pub(super) ops: [u64; OPS],
    /// Gets that found their page.
    pub(super) hits: u64,
    /// Gets that ended in any way.
    pub(super) gets: u64,
    /// Swap traffic kept from the disk, and swap traffic that reached it.
    pub(super) swap: SwapTraffic,
    /// Durations of the operations that did their work, by [`Op`].
    pub(super) latency: [Histogram; OPS],
    /// Bytes of memory held at the end.
    pub(super) used_bytes: u64,
    /// CPU time of this process, and time in its eBPF programs, in ns.
    pub(super) own_cpu_ns: u64,
    pub(super) programs_ns: Option<u64>,
}

impl Point {
    /// Operations of one kind per second.
    pub(super) fn rate(&self, op: Op) -> f64 {
        per_second(self.ops[op as usize], self.seconds)
    }
}

/// Pages that the swap devices were spared, and pages that they were not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SwapTraffic {
    pub(super) writes_avoided: u64,
    pub(super) reads_avoided: u64,
    /// `None` where the system's swap traffic is not measured.
    pub(super) written: Option<u64>,
    pub(super) read: Option<u64>,
}

impl SwapTraffic {
    fn of(snapshot: &Snapshot) -> Self {
        let mut traffic = Self {
            written: snapshot.disk.map(|disk| disk.swap_pages_written),
            read: snapshot.disk.map(|disk| disk.swap_pages_read),
            ..Self::default()
        };
        for pool in &snapshot.pools {
            if pool.kind == PoolKind::Persistent {
                traffic.writes_avoided += stored(&pool.stats);
                traffic.reads_avoided += outcome(&pool.stats, Outcome::Hit);
            }
        }
        traffic
    }

    fn since(&self, earlier: &Self) -> Self {
        let difference = |now: Option<u64>, then: Option<u64>| Some(now?.saturating_sub(then?));
        Self {
            writes_avoided: self.writes_avoided.saturating_sub(earlier.writes_avoided),
            reads_avoided: self.reads_avoided.saturating_sub(earlier.reads_avoided),
            written: difference(self.written, earlier.written),
            read: difference(self.read, earlier.read),
        }
    }
}

/// Operations of one pool between the last two snapshots.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PoolRates {
    /// Operations per second, by [`Op`].
    pub(super) per_second: [f64; OPS],
}

/// Operations on pages of one cgroup: since the source was opened, and between
/// the last two snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct Cgroup {
    pub(super) id: u64,
    pub(super) path: Option<String>,
    outcomes: [u64; OUTCOMES],
    /// Bytes of data that stored puts kept.
    pub(super) stored_bytes: u64,
    pub(super) puts_per_second: f64,
    pub(super) gets_per_second: f64,
}

impl Cgroup {
    /// Its path; its number when it is gone.
    pub(super) fn name(&self) -> String {
        self.path
            .clone()
            .unwrap_or_else(|| format!("id {}", self.id))
    }

    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize]
    }

    fn stats(&self) -> Stats {
        Stats {
            outcomes: self.outcomes,
            ..Stats::default()
        }
    }

    /// Puts that were accepted.
    pub(super) fn stored(&self) -> u64 {
        stored(&self.stats())
    }

    /// Puts that were refused.
    pub(super) fn refused(&self) -> u64 {
        refused(&self.stats())
    }

    /// Gets, however they ended.
    pub(super) fn gets(&self) -> u64 {
        ops(&self.stats(), Op::Get)
    }
}

/// Pages of one file: since the source was opened, and between the last two snapshots.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    pub(super) seen: FileSnapshot,
    pub(super) puts_per_second: f64,
    pub(super) gets_per_second: f64,
    pub(super) hits_per_second: f64,
}

impl File {
    /// A number that no other file has: inode numbers stay far below 2^44, and what
    /// one device's has in common with another's is at worst a selection that jumps.
    pub(super) fn identity(&self) -> u64 {
        let (major, minor) = self.seen.device;
        self.seen.inode ^ u64::from(major << 20 | minor).rotate_right(20)
    }
}

/// The cgroups of a snapshot, by rising id, without rates.
fn cgroups_of(snapshot: &Snapshot) -> Vec<Cgroup> {
    let mut cgroups: BTreeMap<u64, Cgroup> = BTreeMap::new();
    for seen in snapshot
        .observed
        .iter()
        .flat_map(|observed| &observed.cgroups)
    {
        let cgroup = cgroups.entry(seen.id).or_insert_with(|| Cgroup {
            id: seen.id,
            path: seen.path.clone(),
            ..Cgroup::default()
        });
        // A flush that finds nothing is a miss too, which these figures leave out.
        if seen.op != Op::Flush || seen.outcome != Outcome::Miss {
            cgroup.outcomes[seen.outcome as usize] += seen.count;
        }
        if seen.outcome.is_stored() {
            cgroup.stored_bytes += seen.bytes;
        }
    }
    cgroups.into_values().collect()
}

/// The newest snapshot and the points of the last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    events: VecDeque<Event>,
    latest: Option<Snapshot>,
    base: Option<Base>,
    pool_rates: Vec<(u32, PoolRates)>,
    cgroups: Vec<Cgroup>,
    curve: LiveCurve,
    files: Vec<File>,
    minimum_gap_ns: u64,
}

/// The snapshot that the next point is counted from.
#[derive(Clone, Debug)]
struct Base {
    taken_ns: u64,
    totals: Stats,
    swap: SwapTraffic,
    latency: [Histogram; OPS],
    pools: Vec<(u32, Stats)>,
    cgroups: Vec<Cgroup>,
    files: Vec<FileSnapshot>,
    cost: OwnCost,
}

impl History {
    /// A snapshot that follows its predecessor by less than `minimum_gap_ns`
    /// (one taken right after a change) renews the gauges but makes no point:
    /// rates over so short a time would only flicker.
    pub(super) fn new(minimum_gap_ns: u64) -> Self {
        Self {
            minimum_gap_ns,
            ..Self::default()
        }
    }

    /// As it was made with.
    pub(super) fn minimum_gap_ns(&self) -> u64 {
        self.minimum_gap_ns
    }

    /// Takes the next snapshot.
    pub(super) fn push(&mut self, mut snapshot: Snapshot) {
        self.curve.push(&snapshot);
        if let Some(observed) = &mut snapshot.observed {
            self.events.extend(observed.events.drain(..));
            let surplus = self.events.len().saturating_sub(EVENTS);
            self.events.drain(..surplus);
        }
        let since_base = self
            .base
            .as_ref()
            .map(|base| snapshot.taken_ns.saturating_sub(base.taken_ns));
        if since_base.is_none_or(|gap| gap > self.minimum_gap_ns) {
            let base = Base::of(&snapshot);
            if let Some(earlier) = &self.base {
                self.pool_rates = base.pool_rates(earlier);
                self.cgroups = base.cgroup_rates(earlier);
                self.files = base.file_rates(earlier);
                if self.points.len() == POINTS {
                    self.points.pop_front();
                }
                self.points.push_back(base.since(earlier, &snapshot));
            }
            self.base = Some(base);
        }
        self.latest = Some(snapshot);
    }

    /// The newest snapshot; its events have moved to [`History::events`].
    pub(super) fn latest(&self) -> Option<&Snapshot> {
        self.latest.as_ref()
    }

    /// The points, newest first.
    pub(super) fn points(&self) -> impl ExactSizeIterator<Item = &Point> {
        self.points.iter().rev()
    }

    /// The newest point.
    pub(super) fn newest(&self) -> Option<&Point> {
        self.points.back()
    }

    /// The points of the last `seconds`, newest first; at least one, if there is one.
    pub(super) fn window(&self, seconds: f64) -> impl Iterator<Item = &Point> {
        let mut covered = 0.0;
        self.points().take_while(move |point| {
            let wanted = covered < seconds - 0.5 * point.seconds || covered == 0.0;
            covered += point.seconds;
            wanted
        })
    }

    /// Durations of one kind of operation within the last `seconds`.
    pub(super) fn latency(&self, op: Op, seconds: f64) -> Histogram {
        let mut sum = Histogram::default();
        for point in self.window(seconds) {
            sum.merge(&point.latency[op as usize]);
        }
        sum
    }

    /// Hits and gets within the last `seconds`.
    pub(super) fn hits(&self, seconds: f64) -> (u64, u64) {
        self.window(seconds).fold((0, 0), |(hits, gets), point| {
            (hits + point.hits, gets + point.gets)
        })
    }

    /// Swap traffic since the module was loaded (avoided) and since boot (reached the disk).
    pub(super) fn swap_totals(&self) -> SwapTraffic {
        self.latest
            .as_ref()
            .map(SwapTraffic::of)
            .unwrap_or_default()
    }

    /// Operations per second of one pool, between the last two snapshots.
    pub(super) fn pool_rates(&self, pool: u32) -> PoolRates {
        self.pool_rates
            .iter()
            .find(|(id, _)| *id == pool)
            .map(|(_, rates)| *rates)
            .unwrap_or_default()
    }

    /// Cgroups whose pages were met, by rising id; rates are those between the last
    /// two snapshots.
    pub(super) fn cgroups(&self) -> &[Cgroup] {
        &self.cgroups
    }

    /// The miss-ratio curve of the last minutes.
    pub(super) fn curve(&self) -> &LiveCurve {
        &self.curve
    }

    /// Files of which pages were met; rates are those between the last two snapshots.
    pub(super) fn files(&self) -> &[File] {
        &self.files
    }

    /// Sampled events, newest first.
    pub(super) fn events(&self) -> impl ExactSizeIterator<Item = &Event> {
        self.events.iter().rev()
    }
}

impl Base {
    fn of(snapshot: &Snapshot) -> Self {
        let cells = snapshot
            .observed
            .as_ref()
            .map_or(&[][..], |observed| &observed.cells);
        Self {
            taken_ns: snapshot.taken_ns,
            totals: snapshot.totals,
            swap: SwapTraffic::of(snapshot),
            latency: Op::ALL.map(|op| latency_of(cells, op, |_| true)),
            pools: snapshot
                .pools
                .iter()
                .map(|pool| (pool.id, pool.stats))
                .collect(),
            cgroups: cgroups_of(snapshot),
            files: snapshot
                .observed
                .as_ref()
                .map_or_else(Vec::new, |observed| observed.files.clone()),
            cost: snapshot.cost,
        }
    }

    fn seconds_since(&self, earlier: &Self) -> f64 {
        self.taken_ns.saturating_sub(earlier.taken_ns) as f64 / 1e9
    }

    fn since(&self, earlier: &Self, snapshot: &Snapshot) -> Point {
        let hit = |stats: &Stats| outcome(stats, Outcome::Hit);
        let op = |op: Op| ops(&self.totals, op).saturating_sub(ops(&earlier.totals, op));
        Point {
            seconds: self.seconds_since(earlier),
            ops: Op::ALL.map(op),
            hits: hit(&self.totals).saturating_sub(hit(&earlier.totals)),
            gets: op(Op::Get),
            swap: self.swap.since(&earlier.swap),
            latency: std::array::from_fn(|i| self.latency[i].since(&earlier.latency[i])),
            used_bytes: snapshot.used_bytes,
            own_cpu_ns: self.cost.cpu_ns.saturating_sub(earlier.cost.cpu_ns),
            programs_ns: self
                .cost
                .programs_ns
                .map(|now| now.saturating_sub(earlier.cost.programs_ns.unwrap_or(0))),
        }
    }

    fn cgroup_rates(&self, earlier: &Self) -> Vec<Cgroup> {
        let seconds = self.seconds_since(earlier);
        let mut cgroups = self.cgroups.clone();
        for cgroup in &mut cgroups {
            let then = earlier.cgroups.iter().find(|then| then.id == cgroup.id);
            let then = then.map(Cgroup::stats).unwrap_or_default();
            let now = cgroup.stats();
            let rate = |op| per_second(ops(&now, op).saturating_sub(ops(&then, op)), seconds);
            cgroup.puts_per_second = rate(Op::Put);
            cgroup.gets_per_second = rate(Op::Get);
        }
        cgroups
    }

    fn file_rates(&self, earlier: &Self) -> Vec<File> {
        let seconds = self.seconds_since(earlier);
        let then: HashMap<_, _> = earlier
            .files
            .iter()
            .map(|file| ((file.device, file.inode), file))
            .collect();
        let none = FileSnapshot::default();
        self.files
            .iter()
            .map(|now| {
                let then = then.get(&(now.device, now.inode)).copied().unwrap_or(&none);
                let rate = |of: fn(&FileSnapshot) -> u64| {
                    per_second(of(now).saturating_sub(of(then)), seconds)
                };
                File {
                    seen: now.clone(),
                    puts_per_second: rate(|file| file.puts),
                    gets_per_second: rate(|file| file.hits + file.misses),
                    hits_per_second: rate(|file| file.hits),
                }
            })
            .collect()
    }

    fn pool_rates(&self, earlier: &Self) -> Vec<(u32, PoolRates)> {
        let seconds = self.seconds_since(earlier);
        let mut rates = Vec::with_capacity(self.pools.len());
        for (id, now) in &self.pools {
            let then = earlier
                .pools
                .iter()
                .find(|(then, _)| then == id)
                .map(|(_, stats)| *stats)
                .unwrap_or_default();
            let per_second =
                Op::ALL.map(|op| per_second(ops(now, op).saturating_sub(ops(&then, op)), seconds));
            rates.push((*id, PoolRates { per_second }));
        }
        rates
    }
}

/// How often operations ended so.
pub(super) fn outcome(stats: &Stats, outcome: Outcome) -> u64 {
    stats.outcomes[outcome as usize]
}

/// Puts that were accepted.
pub(super) fn stored(stats: &Stats) -> u64 {
    Outcome::ALL
        .into_iter()
        .filter(|outcome| outcome.is_stored())
        .map(|stored| outcome(stats, stored))
        .sum()
}

/// Puts that were refused.
pub(super) fn refused(stats: &Stats) -> u64 {
    outcome(stats, Outcome::RefusedLimit)
        + outcome(stats, Outcome::RefusedNoMemory)
        + outcome(stats, Outcome::RefusedIncompressible)
        + outcome(stats, Outcome::RefusedFrozen)
}

/// Operations of one kind, however they ended.
pub(super) fn ops(stats: &Stats, op: Op) -> u64 {
    match op {
        Op::Put => stored(stats) + refused(stats),
        Op::Get => {
            outcome(stats, Outcome::Hit)
                + outcome(stats, Outcome::Miss)
                + outcome(stats, Outcome::Corrupt)
        }
        Op::Flush => outcome(stats, Outcome::Flushed) + stats.flush_misses,
        Op::Evict => outcome(stats, Outcome::Evicted),
    }
}

/// Bytes of the pages held, before compression.
pub(super) fn page_bytes(stats: &Stats) -> u64 {
    stats.pages * PAGE_SIZE as u64
}

/// A count as a rate; 0 when no time passed.
pub(super) fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        count as f64 / seconds
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::fake;

    #[test]
    fn rates_are_differences_over_time() {
        let mut history = History::new(0);
        history.push(fake::snapshot(0));
        assert!(history.newest().is_none());
        history.push(fake::snapshot(2));
        let point = history.newest().cloned().unwrap_or_default();
        assert_eq!(point.seconds, 2.0);
        // fake::snapshot: each second 1000 puts stored, 50 refused; 500 hits, 100 misses.
        assert_eq!(point.rate(Op::Put), 1050.0);
        assert_eq!(point.rate(Op::Get), 600.0);
        assert_eq!(history.hits(60.0), (1000, 1200));
        assert_eq!(history.pool_rates(0).per_second[Op::Get as usize], 600.0);
        assert_eq!(point.swap.writes_avoided, 2000);
    }

    #[test]
    fn cgroups_have_their_own_counts_and_rates() {
        let mut history = History::new(0);
        history.push(fake::snapshot(0));
        history.push(fake::snapshot(2));
        let [first, second] = history.cgroups() else {
            panic!("{:?}", history.cgroups());
        };
        assert_eq!(
            (first.name().as_str(), second.name().as_str()),
            ("/user.slice", "id 77")
        );
        assert_eq!(
            (first.puts_per_second, first.gets_per_second),
            (900.0, 400.0)
        );
        assert_eq!((first.stored(), first.count(Outcome::Hit)), (1800, 800));
        assert_eq!(second.gets(), 40);
    }

    #[test]
    fn files_have_rates_of_their_own() {
        let mut history = History::new(0);
        history.push(fake::snapshot(0));
        history.push(fake::snapshot(2));
        let [first, second] = history.files() else {
            panic!("{:?}", history.files());
        };
        assert_eq!((first.seen.hits, first.hits_per_second), (600, 300.0));
        assert_eq!(second.gets_per_second, 50.0);
        assert_ne!(first.identity(), second.identity());
    }

    #[test]
    fn a_snapshot_right_after_a_change_renews_gauges_only() {
        let mut history = History::new(500_000_000);
        history.push(fake::snapshot(0));
        history.push(fake::snapshot(1));
        let mut early = fake::snapshot(1);
        early.taken_ns += 1_000_000;
        early.limit_bytes = 5;
        history.push(early);
        assert_eq!(history.points().len(), 1);
        assert_eq!(history.latest().map(|s| s.limit_bytes), Some(5));
        history.push(fake::snapshot(2));
        assert_eq!(history.newest().map(|p| p.ops[0]), Some(1050));
    }

    #[test]
    fn a_restarted_source_gives_zero_not_a_huge_rate() {
        let mut history = History::new(0);
        history.push(fake::snapshot(5));
        let mut restarted = fake::snapshot(1);
        restarted.taken_ns = fake::snapshot(6).taken_ns;
        history.push(restarted);
        assert_eq!(history.newest().map(|p| p.ops), Some([0; OPS]));
    }

    #[test]
    fn the_ring_forgets_the_oldest() {
        let mut history = History::new(0);
        for second in 0..(POINTS as u64 + 50) {
            history.push(fake::snapshot(second));
        }
        assert_eq!(history.points().len(), POINTS);
        assert!(history.events().len() <= EVENTS);
        let newest = history.events().next().map(|event| event.time_ns);
        assert_eq!(newest, history.latest().map(|s| s.taken_ns - 1000));
    }

    #[test]
    fn a_window_covers_its_seconds_and_at_least_one_point() {
        let mut history = History::new(0);
        for second in 0..=100 {
            history.push(fake::snapshot(second));
        }
        assert_eq!(history.window(10.0).count(), 10);
        assert_eq!(history.window(0.1).count(), 1);
        assert_eq!(history.latency(Op::Put, 10.0).count(), 10 * 1000);
    }
}
