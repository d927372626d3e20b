//! A snapshot in the OpenMetrics text format (version 1.0.0), for monitoring
//! systems: <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>.
//! Names and labels are listed in `docs/reference/metrics.md`; they are only ever
//! added to.

use std::fmt::Write as _;

use tmem_common::histogram::bucket_of;
use tmem_common::op::{Op, Outcome};

use crate::histogram::Histogram;
use crate::source::{PoolSnapshot, Snapshot};

/// The content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Bounds of the histograms' buckets, as powers of two in ns: 128 ns to 1.07 s.
/// Always all of them, so that series do not come and go.
const BOUNDS: std::ops::RangeInclusive<u32> = 7..=30;

/// Families being written.
struct Text(String);

/// Labels of a sample, in order.
type Labels<'a> = [(&'a str, &'a str)];

impl Text {
    fn family(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let _ = writeln!(self.0, "# TYPE {name} {kind}");
        if !unit.is_empty() {
            let _ = writeln!(self.0, "# UNIT {name} {unit}");
        }
        let _ = writeln!(self.0, "# HELP {name} {help}");
    }

    fn sample(&mut self, name: &str, labels: &Labels<'_>, value: impl std::fmt::Display) {
        self.0.push_str(name);
        for (position, (label, text)) in labels.iter().enumerate() {
            let open = if position == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{open}{label}=\"{}\"", escape(text));
        }
        let close = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{close} {value}");
    }

    fn gauge(&mut self, name: &str, unit: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "gauge", unit, help);
        self.sample(name, &[], value);
    }

    fn counter(&mut self, name: &str, unit: &str, help: &str, value: impl std::fmt::Display) {
        self.family(name, "counter", unit, help);
        self.sample(&format!("{name}_total"), &[], value);
    }

    fn histogram(&mut self, name: &str, labels: &Labels<'_>, of: &Histogram, sum_ns: u64) {
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        let mut next = 0;
        for power in BOUNDS {
            let end = bucket_of(1 << power);
            below += of.buckets()[next..end].iter().sum::<u64>();
            next = end;
            let bound = seconds(1 << power).to_string();
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), below);
        }
        let count = of.count();
        self.sample(&bucket, &[labels, &[("le", "+Inf")]].concat(), count);
        self.sample(&format!("{name}_sum"), labels, seconds(sum_ns));
        self.sample(&format!("{name}_count"), labels, count);
    }
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// The op that ends so, as far as the module's own counters tell them apart.
fn op_of(outcome: Outcome) -> Op {
    match outcome {
        Outcome::Hit | Outcome::Miss | Outcome::Corrupt => Op::Get,
        Outcome::Flushed => Op::Flush,
        Outcome::Evicted => Op::Evict,
        _ => Op::Put,
    }
}

/// Everything in `snapshot`.
pub fn render(snapshot: &Snapshot) -> String {
    let mut text = Text(String::new());
    text.family("tmem_build", "info", "", "The version of the tool.");
    text.sample(
        "tmem_build_info",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    whole(&mut text, snapshot);
    pools(&mut text, snapshot);
    observed(&mut text, snapshot);
    system(&mut text, snapshot);
    cost(&mut text, snapshot);
    text.0.push_str("# EOF\n");
    text.0
}

fn whole(text: &mut Text, snapshot: &Snapshot) {
    text.gauge(
        "tmem_enabled",
        "",
        "Whether new pages are accepted.",
        u8::from(snapshot.enabled),
    );
    for (name, help, value) in [
        ("tmem_limit_bytes", "The budget.", snapshot.limit_bytes),
        (
            "tmem_used_bytes",
            "Memory held for all purposes.",
            snapshot.used_bytes,
        ),
        (
            "tmem_overhang_bytes",
            "Memory held beyond the budget by persistent pages.",
            snapshot.overhang_bytes,
        ),
    ] {
        text.gauge(name, "bytes", help, value);
    }
    text.counter(
        "tmem_flush_misses",
        "",
        "Flushes that found nothing.",
        snapshot.totals.flush_misses,
    );
    text.counter(
        "tmem_moved_pages",
        "",
        "Pages moved to give whole pages back.",
        snapshot.totals.moved_pages,
    );
}

fn pools(text: &mut Text, snapshot: &Snapshot) {
    type Figure = fn(&PoolSnapshot) -> u64;
    let gauges: [(&str, &str, &str, Figure); 6] = [
        ("tmem_pool_pages", "", "Pages held.", |pool| {
            pool.stats.pages
        }),
        (
            "tmem_pool_same_pages",
            "",
            "Of these, such that repeat one word.",
            |pool| pool.stats.same_pages,
        ),
        (
            "tmem_pool_raw_pages",
            "",
            "Of these, kept uncompressed.",
            |pool| pool.stats.raw_pages,
        ),
        (
            "tmem_pool_data_bytes",
            "bytes",
            "Data held for them.",
            |pool| pool.stats.data_bytes,
        ),
        (
            "tmem_pool_store_bytes",
            "bytes",
            "Memory that the data takes.",
            |pool| pool.stats.store_bytes,
        ),
        (
            "tmem_pool_metadata_bytes",
            "bytes",
            "Memory for their bookkeeping.",
            |pool| pool.stats.metadata_bytes,
        ),
    ];
    let labels = |pool: &PoolSnapshot| (pool.name(), pool.id.to_string());
    for (name, unit, help, figure) in gauges {
        text.family(name, "gauge", unit, help);
        for pool in &snapshot.pools {
            let (pool_name, id) = labels(pool);
            let labels = [
                ("pool", pool_name.as_str()),
                ("id", &id),
                ("kind", pool.kind.name()),
            ];
            text.sample(name, &labels, figure(pool));
        }
    }
    let name = "tmem_operations";
    text.family(name, "counter", "", "Operations by how they ended.");
    for pool in &snapshot.pools {
        let (pool_name, id) = labels(pool);
        for (outcome, count) in Outcome::ALL.into_iter().zip(pool.stats.outcomes) {
            let labels = [
                ("pool", pool_name.as_str()),
                ("id", &id),
                ("op", op_of(outcome).name()),
                ("outcome", outcome.name()),
            ];
            text.sample("tmem_operations_total", &labels, count);
        }
    }
}

fn observed(text: &mut Text, snapshot: &Snapshot) {
    text.gauge(
        "tmem_observed",
        "",
        "Whether operations are timed (eBPF).",
        u8::from(snapshot.observed.is_some()),
    );
    let Some(observed) = &snapshot.observed else {
        return;
    };
    let name = "tmem_operation_duration_seconds";
    let help = "Durations of operations since the exporter started.";
    text.family(name, "histogram", "seconds", help);
    for cell in &observed.cells {
        let pool = snapshot.pools.iter().find(|pool| pool.id == cell.pool);
        let id = cell.pool.to_string();
        let labels = [
            (
                "pool",
                &*pool.map_or_else(|| id.clone(), PoolSnapshot::name),
            ),
            ("id", &id),
            ("op", cell.op.name()),
            ("outcome", cell.outcome.name()),
        ];
        text.histogram(name, &labels, &cell.histogram, cell.total_ns);
    }
    if observed.only_times {
        return;
    }
    let name = "tmem_cgroup_operations";
    text.family(
        name,
        "counter",
        "",
        "Operations by cgroup since the exporter started.",
    );
    for cgroup in &observed.cgroups {
        let id = cgroup.id.to_string();
        let labels = [
            ("cgroup", cgroup.path.as_deref().unwrap_or("")),
            ("id", &id),
            ("op", cgroup.op.name()),
            ("outcome", cgroup.outcome.name()),
        ];
        text.sample("tmem_cgroup_operations_total", &labels, cgroup.count);
    }
}

fn system(text: &mut Text, snapshot: &Snapshot) {
    if let Some(disk) = snapshot.disk {
        text.counter(
            "tmem_swap_pages_written",
            "",
            "Pages written to swap devices over the whole system.",
            disk.swap_pages_written,
        );
        text.counter(
            "tmem_swap_pages_read",
            "",
            "Pages read from swap devices over the whole system.",
            disk.swap_pages_read,
        );
    }
    if let Some(pressure) = snapshot.pressure {
        text.counter(
            "tmem_memory_pressure_some_seconds",
            "seconds",
            "Time in which some task waited for memory.",
            pressure.some_total_us as f64 / 1e6,
        );
    }
}

fn cost(text: &mut Text, snapshot: &Snapshot) {
    let cost = snapshot.cost;
    text.counter(
        "tmem_exporter_cpu_seconds",
        "seconds",
        "CPU time of the exporter.",
        seconds(cost.cpu_ns),
    );
    text.gauge(
        "tmem_exporter_resident_bytes",
        "bytes",
        "Memory of the exporter.",
        cost.resident_bytes,
    );
    if let Some(ns) = cost.programs_ns {
        text.counter(
            "tmem_exporter_ebpf_seconds",
            "seconds",
            "Time in the eBPF programs.",
            seconds(ns),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{CellSnapshot, CgroupSnapshot, Observed};

    fn snapshot() -> Snapshot {
        let mut histogram = Histogram::default();
        for ns in [100, 1000, 5_000_000_000] {
            histogram.record(ns);
        }
        let mut pool = PoolSnapshot {
            uuid: *b"a\"b\\c\0\0\0\0\0\0\0\0\0\0\0",
            ..PoolSnapshot::default()
        };
        pool.stats.pages = 7;
        Snapshot {
            enabled: true,
            limit_bytes: 4096,
            pools: vec![pool],
            observed: Some(Observed {
                cells: vec![CellSnapshot {
                    pool: 0,
                    op: Op::Get,
                    outcome: Outcome::Hit,
                    count: 3,
                    bytes: 0,
                    total_ns: 5_000_001_100,
                    histogram,
                }],
                cgroups: vec![CgroupSnapshot {
                    id: 9,
                    path: None,
                    op: Op::Put,
                    outcome: Outcome::Stored,
                    count: 4,
                    bytes: 0,
                }],
                ..Observed::default()
            }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn families_are_declared_once_and_before_their_samples() {
        let text = render(&snapshot());
        let mut families: Vec<&str> = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let name = rest.split(' ').next().unwrap_or_default();
                assert!(!families.contains(&name), "{name} twice");
                families.push(name);
            } else if !line.starts_with('#') {
                let family = families.last().copied().unwrap_or_default();
                assert!(line.starts_with(family), "{line} in {family}");
                let suffix = line[family.len()..]
                    .split(['{', ' '])
                    .next()
                    .unwrap_or_default();
                let known = ["", "_total", "_info", "_bucket", "_sum", "_count"];
                assert!(known.contains(&suffix), "{line}");
                let value = line.rsplit(' ').next().unwrap_or_default();
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(text.ends_with("\n# EOF\n"));
        assert!(
            text.contains("tmem_pool_pages{pool=\"a\\\"b\\\\c\",id=\"0\",kind=\"persistent\"} 7\n")
        );
        assert!(text.contains("tmem_limit_bytes 4096\n"));
        let cgroup =
            "tmem_cgroup_operations_total{cgroup=\"\",id=\"9\",op=\"put\",outcome=\"stored\"} 4\n";
        assert!(text.contains(cgroup));
    }

    #[test]
    fn buckets_count_everything_below_their_bound() {
        let text = render(&snapshot());
        let bucket = |le: &str| {
            let wanted = format!("le=\"{le}\"}} ");
            let line = text.lines().find(|line| line.contains(&wanted));
            line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        };
        assert_eq!(bucket("0.000000128"), Some(1));
        assert_eq!(bucket("0.000000512"), Some(1));
        assert_eq!(bucket("0.000001024"), Some(2));
        assert_eq!(bucket("1.073741824"), Some(2));
        assert_eq!(bucket("+Inf"), Some(3));
        assert!(text.contains("outcome=\"hit\"} 5.0000011\n"), "{text}");
    }

    #[test]
    fn without_observation_there_are_no_histograms() {
        let text = render(&Snapshot::default());
        assert!(text.contains("tmem_observed 0\n"));
        assert!(!text.contains("histogram"));
    }
}
