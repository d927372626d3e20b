//! Snapshots and a source made up for the dashboard's tests: a steady load that
//! can be computed for any second.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tmem_common::event::Event;
use tmem_common::op::{Op, Outcome};
use tmem_common::stats::Stats;

use super::app::{App, News};
use super::config::Config;
use super::theme::Theme;
use crate::histogram::Histogram;
use crate::source::{
    CellSnapshot, CgroupSnapshot, Change, DiskTraffic, FileSnapshot, Observed, PoolKind,
    PoolSnapshot, Pressure, Snapshot, Source, SourceError, Tunable,
};

/// The state of things `second` seconds after the start.
pub(super) fn snapshot(second: u64) -> Snapshot {
    let mut outcomes = [0; tmem_common::op::OUTCOMES];
    outcomes[Outcome::Stored as usize] = 900 * second;
    outcomes[Outcome::StoredSame as usize] = 100 * second;
    outcomes[Outcome::RefusedLimit as usize] = 50 * second;
    outcomes[Outcome::Hit as usize] = 500 * second;
    outcomes[Outcome::Miss as usize] = 100 * second;
    outcomes[Outcome::Flushed as usize] = 480 * second;
    let stats = Stats {
        pages: 12_000,
        same_pages: 1_200,
        raw_pages: 77,
        data_bytes: 15 << 20,
        store_bytes: 16 << 20,
        metadata_bytes: 700 << 10,
        outcomes,
        flush_misses: 3 * second,
        moved_pages: second,
    };
    let cell = |op, outcome, base: u64, count: u64| {
        let mut histogram = Histogram::default();
        for i in 0..count {
            histogram.record(base + (i * i) % (3 * base));
        }
        CellSnapshot {
            pool: 0,
            op,
            outcome,
            count,
            bytes: count * 1400,
            total_ns: count * base * 2,
            histogram,
        }
    };
    let mut cells = vec![
        cell(Op::Put, Outcome::Stored, 9_000, 900 * second),
        cell(Op::Put, Outcome::StoredSame, 700, 100 * second),
        cell(Op::Get, Outcome::Hit, 2_500, 500 * second),
        cell(Op::Get, Outcome::Miss, 90, 100 * second),
        cell(Op::Flush, Outcome::Flushed, 200, 480 * second),
    ];
    cells.retain(|cell| cell.count > 0);
    let cgroup = |id, path: Option<&str>, op, outcome, count| CgroupSnapshot {
        id,
        path: path.map(str::to_owned),
        op,
        outcome,
        count,
        bytes: count * 1400,
    };
    let cgroups = vec![
        cgroup(
            5,
            Some("/user.slice"),
            Op::Put,
            Outcome::Stored,
            900 * second,
        ),
        cgroup(5, Some("/user.slice"), Op::Get, Outcome::Hit, 400 * second),
        cgroup(77, None, Op::Get, Outcome::Miss, 20 * second),
    ];
    let files = vec![
        FileSnapshot {
            device: (8, 1),
            inode: 131,
            name: "index.db".into(),
            mount: Some("/srv".into()),
            puts: 320 * second,
            stored: 310 * second,
            hits: 300 * second,
            misses: 0,
        },
        FileSnapshot {
            device: (8, 1),
            inode: 132,
            name: "access.log".into(),
            mount: Some("/srv".into()),
            puts: 200 * second,
            stored: 200 * second,
            hits: 0,
            misses: 50 * second,
        },
    ];
    let taken_ns = (1000 + second) * 1_000_000_000;
    let event = |i: u64| Event {
        time_ns: taken_ns - 1000 * i,
        object: 1,
        index: 4096 + second * 8 + i,
        latency_ns: 2_000 + 100 * i,
        cgroup: 77,
        pool: 0,
        bytes: 1_400,
        op: Op::Put as u32,
        outcome: Outcome::Stored as u32,
    };
    Snapshot {
        taken_ns,
        enabled: true,
        codec: "lz4".into(),
        totals: stats,
        used_bytes: 17 << 20,
        limit_bytes: 64 << 20,
        overhang_bytes: 0,
        pools: vec![
            PoolSnapshot {
                mount: None,
                id: 0,
                uuid: *b"swap\0\0\0\0\0\0\0\0\0\0\0\0",
                kind: PoolKind::Persistent,
                version: 1,
                codec: "default".into(),
                weight: 100,
                limit_bytes: None,
                frozen: false,
                stats,
            },
            PoolSnapshot {
                mount: None,
                id: 1,
                uuid: *b"files\0\0\0\0\0\0\0\0\0\0\0",
                kind: PoolKind::Ephemeral,
                version: 1,
                codec: "default".into(),
                weight: 200,
                limit_bytes: Some(32 << 20),
                frozen: true,
                stats: Stats::default(),
            },
        ],
        observed: Some(Observed {
            only_times: false,
            cells,
            cgroups,
            files,
            events: [3, 2, 1].map(event).to_vec(),
            events_dropped: 2,
            sample_one_in: 64,
        }),
        disk: Some(DiskTraffic {
            swap_pages_written: 10 * second,
            swap_pages_read: 5 * second,
        }),
        refaults: Some(second),
        pressure: Some(Pressure {
            some_avg10: 12.5,
            full_avg10: 3.25,
            some_total_us: second,
        }),
        cost: crate::source::OwnCost {
            cpu_ns: second * 4_000_000,
            resident_bytes: 9 << 20,
            programs_ns: Some(second * 300_000),
        },
        unmeasured: Vec::new(),
        notes: Vec::new(),
    }
}

/// What the fake source lets be set.
pub(super) fn tunables() -> Vec<Tunable> {
    let size = "bytes such as 512M (suffix K, M, G)";
    [
        ("enabled", "1", "0 or 1"),
        ("limit", "64M", size),
        ("codec", "lz4", "one of: none lz4 zstd"),
        ("keep_incompressible", "1", "0 or 1"),
        ("pools.0.limit", "none", size),
        ("pools.0.codec", "default", "one of: default none lz4 zstd"),
        ("pools.1.limit", "32M", size),
        ("pools.1.codec", "default", "one of: default none lz4 zstd"),
    ]
    .map(|(key, value, allowed)| Tunable {
        key: key.into(),
        value: value.into(),
        allowed: allowed.into(),
        meaning: crate::control::meaning(key),
    })
    .to_vec()
}

/// An app that has watched for `seconds`.
pub(super) fn app(seconds: u64) -> App {
    let mut app = App::new(
        "a made-up source".into(),
        Duration::from_secs(1),
        Theme::new(true, false),
        &Config::default(),
    );
    for second in 0..=seconds {
        app.on_news(News::Snapshot(Box::new(snapshot(second))));
    }
    app
}

/// A source whose tunables can be set and looked at from outside.
pub(super) struct FakeSource {
    pub(super) values: Arc<Mutex<Vec<Tunable>>>,
    second: u64,
}

impl FakeSource {
    pub(super) fn new() -> Self {
        Self {
            values: Arc::new(Mutex::new(tunables())),
            second: 0,
        }
    }
}

impl Source for FakeSource {
    fn describe(&self) -> String {
        "a made-up source".into()
    }

    fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
        self.second += 1;
        Ok(snapshot(self.second))
    }

    fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError> {
        match self.values.lock() {
            Ok(values) => Ok(values.clone()),
            Err(error) => Err(SourceError::Failed(error.to_string())),
        }
    }

    fn plan(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        let values = self.tunables()?;
        let old = values.into_iter().find(|tunable| tunable.key == key);
        Ok(Change {
            key: key.into(),
            old: old.map(|tunable| tunable.value).unwrap_or_default(),
            new: value.into(),
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        let mut values = self
            .values
            .lock()
            .map_err(|error| SourceError::Failed(error.to_string()))?;
        let tunable = values
            .iter_mut()
            .find(|tunable| tunable.key == key)
            .ok_or_else(|| SourceError::UnknownKey {
                key: key.into(),
                known: "limit".into(),
            })?;
        if value == "refuse" {
            return Err(SourceError::Failed("refused".into()));
        }
        let old = std::mem::replace(&mut tunable.value, value.into());
        Ok(Change {
            key: key.into(),
            old,
            new: value.into(),
        })
    }
}
