//! A recording as a [`Source`]: what was watched stands still at one of its readings,
//! and [`Source::travel`] goes to others. Nothing can be set.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tmem_common::event::Event;
use tmem_common::op::{OUTCOMES, Outcome};
use tmem_common::stats::Stats;

use crate::control::meaning;
use crate::source::{
    CellSnapshot, CgroupSnapshot, Change, DiskTraffic, Moment, ONLY_OF_THE_MODULE, Observed,
    OwnCost, PoolKind, PoolSnapshot, Pressure, Snapshot, Source, SourceError, Tunable, Unmeasured,
    pool_uuid,
};
use crate::trace::TraceError;
use crate::trace::reader::{End, Reader};
use crate::trace::record::{Counters, Meta, Reading, Record};

/// Events kept of those between two readings: the last ones.
const EVENTS: usize = 200;

/// A trace, read whole.
pub struct RecordedSource {
    path: PathBuf,
    meta: Meta,
    /// Each reading, with the events since the one before it.
    readings: Vec<(Reading, Vec<Event>)>,
    at: usize,
    end: String,
}

impl RecordedSource {
    /// Reads a trace; it stands at its last reading.
    ///
    /// # Errors
    /// The file cannot be read, is no trace, or has no readings.
    pub fn open(path: &Path) -> Result<Self, TraceError> {
        let mut reader = Reader::open(path)?;
        let mut readings = Vec::new();
        let mut events = Vec::new();
        while let Some(record) = reader.next_record()? {
            match record {
                Record::Events(block) => {
                    events.extend(block);
                    let surplus = events.len().saturating_sub(EVENTS);
                    events.drain(..surplus);
                }
                Record::Reading(reading) => {
                    readings.push((*reading, std::mem::take(&mut events)));
                }
            }
        }
        if readings.is_empty() {
            return Err(TraceError::Unfit {
                path: path.to_owned(),
                why: "it has no readings to show; `tmem record` makes them".to_owned(),
            });
        }
        let end = match reader.end() {
            Some(End::Whole(_)) | None => String::new(),
            Some(end) => format!("; {end}"),
        };
        Ok(Self {
            path: path.to_owned(),
            meta: reader.meta().clone(),
            at: readings.len() - 1,
            readings,
            end,
        })
    }

    /// Time between two readings in ns, as it was asked for; 0 if it was not.
    pub fn interval_ns(&self) -> u64 {
        self.meta.interval_ns
    }

    fn snapshot_of(&self, at: usize) -> Snapshot {
        let (reading, events) = &self.readings[at];
        let mut snapshot = snapshot(reading, self.meta.sample_one_in);
        if let Some(observed) = &mut snapshot.observed {
            observed.events.clone_from(events);
        }
        snapshot
    }

    fn refusal(&self) -> SourceError {
        SourceError::Failed(format!(
            "{} is a recording: nothing can be set in it",
            self.path.display()
        ))
    }
}

impl Source for RecordedSource {
    fn describe(&self) -> String {
        let name = self.path.file_name().unwrap_or(self.path.as_os_str());
        let name = name.display();
        format!("{name}: recording of {}{}", self.meta.source, self.end)
    }

    fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
        let mut snapshot = self.snapshot_of(self.at);
        // These are handed out by travelling, once.
        if let Some(observed) = &mut snapshot.observed {
            observed.events.clear();
        }
        Ok(snapshot)
    }

    fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError> {
        let tunable = |(key, value): (&String, &String)| Tunable {
            key: key.clone(),
            value: value.clone(),
            allowed: "nothing: this is a recording".to_owned(),
            meaning: meaning(key),
        };
        Ok(self.meta.tunables.iter().map(tunable).collect())
    }

    fn plan(&mut self, _key: &str, _value: &str) -> Result<Change, SourceError> {
        Err(self.refusal())
    }

    fn set(&mut self, _key: &str, _value: &str) -> Result<Change, SourceError> {
        Err(self.refusal())
    }

    fn ram_bytes(&mut self) -> Result<u64, SourceError> {
        match self.meta.ram_bytes {
            0 => Err(SourceError::Failed("the recording does not say".to_owned())),
            bytes => Ok(bytes),
        }
    }

    fn travel(&mut self, steps: i64, most: usize) -> Option<Moment> {
        let last = self.readings.len() - 1;
        let steps = isize::try_from(steps).unwrap_or(isize::MAX);
        self.at = self.at.saturating_add_signed(steps).min(last);
        let first = (self.at + 1).saturating_sub(most);
        let time = |at: usize| self.readings[at].0.time_ns;
        Some(Moment {
            snapshots: (first..=self.at).map(|at| self.snapshot_of(at)).collect(),
            since_start_ns: time(self.at).saturating_sub(time(0)),
            length_ns: time(last).saturating_sub(time(0)),
        })
    }
}

/// What stood in the reading, as its source gave it then.
fn snapshot(reading: &Reading, sample_one_in: u32) -> Snapshot {
    let observed = !reading.unmeasured.contains_key("latency");
    let disk = reading
        .swap_pages_written
        .zip(reading.swap_pages_read)
        .map(|(written, read)| DiskTraffic {
            swap_pages_written: written,
            swap_pages_read: read,
        });
    Snapshot {
        taken_ns: reading.time_ns,
        enabled: reading.enabled,
        codec: reading.codec.clone(),
        totals: stats(&reading.totals),
        used_bytes: reading.used_bytes,
        limit_bytes: reading.limit_bytes,
        overhang_bytes: reading.overhang_bytes,
        pools: reading
            .pools
            .iter()
            .map(|pool| PoolSnapshot {
                mount: None,
                id: pool.id,
                uuid: pool_uuid(&pool.name),
                kind: if pool.is_persistent() {
                    PoolKind::Persistent
                } else {
                    PoolKind::Ephemeral
                },
                version: 0,
                codec: pool.codec.clone(),
                weight: pool.weight,
                limit_bytes: pool.limit_bytes,
                frozen: pool.frozen,
                stats: stats(&pool.stats),
            })
            .collect(),
        observed: observed.then(|| Observed {
            only_times: reading.only_times,
            cells: cells(reading),
            cgroups: cgroups(reading),
            files: reading.files.clone(),
            events: Vec::new(),
            events_dropped: reading.events_dropped,
            sample_one_in,
        }),
        disk,
        refaults: reading.refaults,
        pressure: reading.pressure_some_us.map(|some_total_us| Pressure {
            some_avg10: reading.pressure_some_avg10,
            full_avg10: reading.pressure_full_avg10,
            some_total_us,
        }),
        cost: OwnCost {
            cpu_ns: reading.own_cpu_ns,
            resident_bytes: reading.own_resident_bytes,
            programs_ns: reading.programs_ns,
        },
        unmeasured: unmeasured(&reading.unmeasured),
        notes: Vec::new(),
    }
}

/// Operations of an outcome that this version does not know are left out, here and below.
fn cells(reading: &Reading) -> Vec<CellSnapshot> {
    reading
        .cells
        .iter()
        .filter_map(|cell| {
            Some(CellSnapshot {
                pool: cell.pool,
                op: cell.op()?,
                outcome: cell.outcome()?,
                count: cell.count,
                bytes: cell.bytes,
                total_ns: cell.total_ns,
                histogram: cell.histogram(),
            })
        })
        .collect()
}

fn cgroups(reading: &Reading) -> Vec<CgroupSnapshot> {
    reading
        .cgroups
        .iter()
        .filter_map(|cgroup| {
            Some(CgroupSnapshot {
                id: cgroup.id,
                path: cgroup.path.clone(),
                op: cgroup.op()?,
                outcome: cgroup.outcome()?,
                count: cgroup.count,
                bytes: cgroup.bytes,
            })
        })
        .collect()
}

fn stats(counters: &Counters) -> Stats {
    let mut outcomes = [0; OUTCOMES];
    for outcome in Outcome::ALL {
        outcomes[outcome as usize] = counters.outcome(outcome);
    }
    Stats {
        pages: counters.pages,
        same_pages: counters.same_pages,
        raw_pages: counters.raw_pages,
        data_bytes: counters.data_bytes,
        store_bytes: counters.store_bytes,
        metadata_bytes: counters.metadata_bytes,
        outcomes,
        flush_misses: counters.flush_misses,
        moved_pages: counters.moved_pages,
    }
}

fn unmeasured(parts: &BTreeMap<String, String>) -> Vec<Unmeasured> {
    const NAMES: [&str; 10] = [
        "latency",
        "cells",
        "cgroups",
        "files",
        "disk",
        "pressure",
        "zswap pages",
        "zswap stores and hits",
        "zswap refusals",
        ONLY_OF_THE_MODULE,
    ];
    parts
        .iter()
        .map(|(name, why)| Unmeasured {
            what: NAMES
                .into_iter()
                .find(|known| known == name)
                .unwrap_or("another part"),
            why: why.clone(),
        })
        .collect()
}
