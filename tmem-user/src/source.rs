//! What every reader of tmem reads: one [`Source`] gives [`Snapshot`]s and takes
//! changes, whether it is the loaded module, the embedded engine or a recording.
//!
//! Counters in a snapshot only rise; rates are differences of two snapshots.
//! Times are CLOCK_MONOTONIC in ns, sizes are bytes unless a name says pages.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tmem_common::event::Event;
use tmem_common::op::{Op, Outcome};
use tmem_common::stats::Stats;
use tmem_common::sysfs;

use crate::histogram::Histogram;
use crate::mounts::MountError;
use crate::system;

/// Where figures come from and changes go to.
pub trait Source: Send {
    /// One line for people: what is being watched.
    fn describe(&self) -> String;

    /// Reads everything now. Sampled events are handed out once: those since
    /// the last snapshot.
    ///
    /// # Errors
    /// When the source itself is absent or unreadable. A part that cannot be
    /// measured is `None`, with its reason in [`Snapshot::unmeasured`].
    fn snapshot(&mut self) -> Result<Snapshot, SourceError>;

    /// Moves the events sampled since the last call, or the last snapshot, to the
    /// end of `events`, oldest first, without reading anything else where that can be had.
    ///
    /// # Errors
    /// As for [`Source::snapshot`].
    fn take_events(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let observed = self.snapshot()?.observed;
        events.extend(observed.into_iter().flat_map(|observed| observed.events));
        Ok(())
    }

    /// Everything that [`Source::set`] accepts, with its value now.
    ///
    /// # Errors
    /// When the source is absent or unreadable.
    fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError>;

    /// Says what [`Source::set`] would change, changing nothing. When the value
    /// is what holds already, in whatever words, `new` is the same as `old`.
    ///
    /// # Errors
    /// The error that `set` would give.
    fn plan(&mut self, key: &str, value: &str) -> Result<Change, SourceError>;

    /// Changes one tunable and reads it back.
    ///
    /// # Errors
    /// Unknown key, value that is not allowed, or missing rights: the old value
    /// still holds. [`SourceError::NotTaken`] when something else reads back.
    fn set(&mut self, key: &str, value: &str) -> Result<Change, SourceError>;

    /// Goes `steps` readings on, or back if that is negative, as far as there are any: where
    /// it then stands, with at most `most` readings that led there, the events of each included.
    /// `None` where time only goes on by itself.
    fn travel(&mut self, steps: i64, most: usize) -> Option<Moment> {
        let _ = (steps, most);
        None
    }

    /// Memory of the machine in bytes, of which percentages and expressions are taken.
    ///
    /// # Errors
    /// When the system does not tell.
    fn ram_bytes(&mut self) -> Result<u64, SourceError> {
        system::ram_bytes()
    }
}

/// A time within a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Moment {
    /// The readings up to it, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Time since the first reading in ns.
    pub since_start_ns: u64,
    /// From the first reading to the last, in ns.
    pub length_ns: u64,
}

/// One reading of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// CLOCK_MONOTONIC in ns.
    pub taken_ns: u64,
    /// Whether new pages are accepted.
    pub enabled: bool,
    /// Codec of the pools that have none of their own.
    pub codec: String,
    /// Counters and gauges over all pools.
    pub totals: Stats,
    /// Bytes of memory held for all purposes.
    pub used_bytes: u64,
    /// The budget in bytes.
    pub limit_bytes: u64,
    /// Bytes held beyond the budget.
    pub overhang_bytes: u64,
    /// One entry a pool, by rising id.
    pub pools: Vec<PoolSnapshot>,
    /// What eBPF (or the embedded engine's own clock) saw since the source was
    /// opened. `None`: see [`Snapshot::unmeasured`].
    pub observed: Option<Observed>,
    /// Traffic of the swap devices since boot. `None` where there is no reading.
    pub disk: Option<DiskTraffic>,
    /// File pages that were read again soon after their reclaim, since boot.
    /// `None` where there is no reading.
    pub refaults: Option<u64>,
    /// Memory pressure (PSI). `None` where the kernel does not measure it.
    pub pressure: Option<Pressure>,
    /// What watching costs.
    pub cost: OwnCost,
    /// Parts that are `None`, with the reason of each.
    pub unmeasured: Vec<Unmeasured>,
    /// What else the source has to say, in sentences for people.
    pub notes: Vec<String>,
}

/// Whether a pool's pages may vanish.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PoolKind {
    /// Once accepted, a page stays until flushed (swap pages).
    #[default]
    Persistent,
    /// A page may be evicted at any time (clean file pages).
    Ephemeral,
}

impl PoolKind {
    /// The name used in tables, JSON and sysfs.
    pub const fn name(self) -> &'static str {
        match self {
            PoolKind::Persistent => "persistent",
            PoolKind::Ephemeral => "ephemeral",
        }
    }
}

/// One pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PoolSnapshot {
    /// The pool's number.
    pub id: u32,
    /// The name its frontend gave it.
    pub uuid: [u8; 16],
    /// Whether its pages may vanish.
    pub kind: PoolKind,
    /// Version of its frontend's handle scheme.
    pub version: u32,
    /// The codec of new pages: its own, or `default`.
    pub codec: String,
    /// Share among pools of its kind, 1 to 1000.
    pub weight: u32,
    /// Limit of its own in bytes.
    pub limit_bytes: Option<u64>,
    /// Whether it refuses new pages.
    pub frozen: bool,
    /// Where the file system was added whose pages it keeps, if that is so.
    pub mount: Option<String>,
    /// Its counters and gauges.
    pub stats: Stats,
}

impl PoolSnapshot {
    /// The uuid as text (a frontend's ASCII name, such as `swap`), else in the
    /// usual hexadecimal form.
    pub fn name(&self) -> String {
        pool_name(&self.uuid)
    }
}

/// A pool's uuid for people: its text when it is zero-padded printable ASCII
/// (how frontends name their pools), else 8-4-4-4-12 hexadecimal digits.
pub fn pool_name(uuid: &[u8; 16]) -> String {
    let length = uuid.iter().position(|&b| b == 0).unwrap_or(uuid.len());
    let (text, padding) = uuid.split_at(length);
    if !text.is_empty()
        && text.iter().all(u8::is_ascii_graphic)
        && padding.iter().all(|&byte| byte == 0)
    {
        return text.iter().map(|&byte| char::from(byte)).collect();
    }
    let mut name = String::with_capacity(36);
    for (position, byte) in uuid.iter().enumerate() {
        if matches!(position, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        name.push_str(&format!("{byte:02x}"));
    }
    name
}

/// The uuid that [`pool_name`] made a name of; zeroes for any other text.
pub fn pool_uuid(name: &str) -> [u8; 16] {
    let mut uuid = [0; 16];
    let digits: Vec<u32> = name
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    if name.len() == 36 && digits.len() == 32 {
        for (byte, pair) in uuid.iter_mut().zip(digits.as_chunks::<2>().0) {
            // Two digits below 16.
            *byte = (pair[0] << 4 | pair[1]) as u8;
        }
    } else if let Some(place) = uuid.get_mut(..name.len()) {
        place.copy_from_slice(name.as_bytes());
    }
    uuid
}

/// What was measured operation by operation since the source was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// Of operations nothing but counts and times is told: neither cgroups nor files nor
    /// single pages.
    pub only_times: bool,
    /// One cell a (pool, op, outcome) that occurred.
    pub cells: Vec<CellSnapshot>,
    /// One entry a (cgroup, op, outcome) that occurred and is still kept.
    pub cgroups: Vec<CgroupSnapshot>,
    /// One entry a file of which pages were put or asked for, as far as it is still kept.
    pub files: Vec<FileSnapshot>,
    /// Sampled operations since the last snapshot, oldest first.
    pub events: Vec<Event>,
    /// Sampled operations lost since the source was opened, since the tool did
    /// not keep up.
    pub events_dropped: u64,
    /// One page in this many is sampled; 0: none.
    pub sample_one_in: u32,
}

/// Operations of one pool that ended alike.
#[derive(Clone, Debug, PartialEq)]
pub struct CellSnapshot {
    /// The pool's number.
    pub pool: u32,
    /// What was asked.
    pub op: Op,
    /// How it ended.
    pub outcome: Outcome,
    /// Operations.
    pub count: u64,
    /// Sum of their bytes.
    pub bytes: u64,
    /// Sum of their durations in ns.
    pub total_ns: u64,
    /// Their durations.
    pub histogram: Histogram,
}

/// Operations on pages of one cgroup that ended alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupSnapshot {
    /// Id of the cgroup (its directory's inode number in cgroup2).
    pub id: u64,
    /// Its path below the cgroup mount, when it could be found.
    pub path: Option<String>,
    /// What was asked.
    pub op: Op,
    /// How it ended.
    pub outcome: Outcome,
    /// Operations.
    pub count: u64,
    /// Sum of their bytes.
    pub bytes: u64,
}

/// Pages of one file; in recordings too, as its fields are named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileSnapshot {
    /// Device of its file system: major and minor number.
    pub device: (u32, u32),
    /// Number of its inode.
    pub inode: u64,
    /// The last part of its path; empty if nobody told it.
    pub name: String,
    /// Where its file system was added, when it still takes part.
    pub mount: Option<String>,
    /// Pages offered.
    pub puts: u64,
    /// Of these, pages kept.
    pub stored: u64,
    /// Pages that a read found: each a page not read from the disk.
    pub hits: u64,
    /// Pages that a read asked for and did not find.
    pub misses: u64,
}

impl FileSnapshot {
    /// Hits of all that was asked for, 0 to 1; `None` if nothing was.
    pub fn hit_share(&self) -> Option<f64> {
        let gets = self.hits + self.misses;
        (gets > 0).then(|| self.hits as f64 / gets as f64)
    }

    /// Its device as `major:minor`.
    pub fn device_name(&self) -> String {
        format!("{}:{}", self.device.0, self.device.1)
    }

    /// Its name; the number of its inode if nobody told one.
    pub fn label(&self) -> String {
        if self.name.is_empty() {
            format!("inode {}", self.inode)
        } else {
            self.name.clone()
        }
    }

    /// Its name below the place where its file system was added.
    pub fn place(&self) -> String {
        match &self.mount {
            Some(mount) => format!("{} in {mount}", self.label()),
            None => self.label(),
        }
    }
}

/// Pages that went to and came from swap devices since boot, over the whole system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskTraffic {
    /// Pages written to swap devices.
    pub swap_pages_written: u64,
    /// Pages read from swap devices.
    pub swap_pages_read: u64,
}

/// Memory pressure of the whole system, from `/proc/pressure/memory`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    /// Percent of the last 10 s in which some task waited for memory.
    pub some_avg10: f64,
    /// Percent of the last 10 s in which all tasks waited for memory.
    pub full_avg10: f64,
    /// Microseconds since boot in which some task waited for memory.
    pub some_total_us: u64,
}

/// What watching costs, since the source was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnCost {
    /// CPU time of this process in ns.
    pub cpu_ns: u64,
    /// Resident memory of this process in bytes.
    pub resident_bytes: u64,
    /// Time spent in the eBPF programs in ns, when the kernel measures it.
    pub programs_ns: Option<u64>,
}

/// The parts that only operations of the module tell, as [`Unmeasured::what`] where there are none.
pub const ONLY_OF_THE_MODULE: &str = "cgroups, files and events";

/// A part of a snapshot that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmeasured {
    /// Name of the part, such as `latency`.
    pub what: &'static str,
    /// Why, and what would help.
    pub why: String,
}

/// Something that can be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunable {
    /// Its key, such as `limit` or `pools.0.codec`.
    pub key: String,
    /// Its value now.
    pub value: String,
    /// The values it takes, for people: `0 or 1`, `one of: none lz4`.
    pub allowed: String,
    /// What it does, in a sentence.
    pub meaning: &'static str,
}

/// A change that was made and read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The tunable's full key.
    pub key: String,
    /// Its value before.
    pub old: String,
    /// Its value now, as it reads back.
    pub new: String,
}

/// Last part of the key that says whether a mounted file system takes part: `mounts./srv.keep`.
pub const KEEP: &str = "keep";

/// Makes several changes or none: all are planned first; when one fails all the
/// same, everything that is not as before is set back, the failed one included,
/// for a write may take effect and fail.
///
/// # Errors
/// The first error; [`SourceError::NotRolledBack`] when setting back failed too.
pub fn apply(
    source: &mut dyn Source,
    wanted: &[(String, String)],
) -> Result<Vec<Change>, SourceError> {
    apply_in_order(source, wanted).map_err(|(_, error)| error)
}

/// [`apply`], which also says which of the changes failed.
pub(crate) fn apply_in_order(
    source: &mut dyn Source,
    wanted: &[(String, String)],
) -> Result<Vec<Change>, (usize, SourceError)> {
    let mut planned = Vec::with_capacity(wanted.len());
    for (place, (key, value)) in wanted.iter().enumerate() {
        let change = source.plan(key, value).map_err(|error| (place, error))?;
        let lost = lost_by(source, &change).map_err(|error| (place, error))?;
        // As if these were changed before it, so that they are set back after it.
        planned.extend(lost);
        planned.push(change);
    }
    let mut made: Vec<Change> = Vec::with_capacity(wanted.len());
    for (key, value) in wanted {
        match source.set(key, value) {
            Ok(change) => made.push(change),
            Err(error) => {
                let place = made.len();
                return Err((place, roll_back(source, &planned, error)));
            }
        }
    }
    Ok(made)
}

/// Settings that go when a file system no longer takes part.
fn lost_by(source: &mut dyn Source, change: &Change) -> Result<Vec<Change>, SourceError> {
    let Some((mount, KEEP)) = change.key.rsplit_once('.') else {
        return Ok(Vec::new());
    };
    if (change.old.as_str(), change.new.as_str()) != ("1", "0") {
        return Ok(Vec::new());
    }
    let weight = source.plan(&format!("{mount}.{}", sysfs::POOL_WEIGHT), "1")?;
    let Some((pool, _)) = weight.key.rsplit_once('.') else {
        return Ok(Vec::new());
    };
    let lost = source.tunables()?.into_iter().filter_map(|tunable| {
        let name = tunable.key.strip_prefix(pool)?.strip_prefix('.')?;
        Some(Change {
            key: format!("{mount}.{name}"),
            new: tunable.value.clone(),
            old: tunable.value,
        })
    });
    Ok(lost.collect())
}

/// Sets back what is not as it was planned from, the last first; the error to
/// report for `cause`. What did not exist before needs no setting back: it goes with the file
/// system that it is about.
fn roll_back(source: &mut dyn Source, planned: &[Change], cause: SourceError) -> SourceError {
    let mut left = Vec::new();
    for change in planned.iter().rev().filter(|change| !change.old.is_empty()) {
        let now = source.plan(&change.key, &change.old);
        if now.as_ref().is_ok_and(|now| now.old == now.new) {
            continue;
        }
        if let Err(error) = now.and_then(|_| source.set(&change.key, &change.old)) {
            left.push(format!("{} (was {:?}): {error}", change.key, change.old));
        }
    }
    if left.is_empty() {
        cause
    } else {
        SourceError::NotRolledBack {
            cause: Box::new(cause),
            left: left.join("; "),
        }
    }
}

/// Why a source could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// There is nothing to read from.
    #[error("{what} is not there ({}): {hint}", path.display())]
    Absent {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        path: PathBuf,
        /// What to do.
        hint: String,
    },
    /// The source speaks another version of its interface.
    #[error(
        "the module speaks ABI version {found}, this tool version {wanted} ({}): use matching versions",
        path.display()
    )]
    WrongAbi {
        /// The version found.
        found: String,
        /// The version this tool speaks.
        wanted: u32,
        /// The file that says so.
        path: PathBuf,
    },
    /// The caller may not do this.
    #[error("{what} needs {needed} ({})", path.display())]
    MissingRights {
        /// What was tried.
        what: String,
        /// The rights or capabilities that would do.
        needed: &'static str,
        /// The file that refused.
        path: PathBuf,
    },
    /// No tunable has this name.
    #[error("unknown key {key:?}; known keys: {known}")]
    UnknownKey {
        /// The key asked for.
        key: String,
        /// Keys that exist.
        known: String,
    },
    /// The tunable does not take this value.
    #[error("{key}: value {value:?} is not allowed; allowed: {allowed} ({})", path.display())]
    BadValue {
        /// The tunable.
        key: String,
        /// The value asked for.
        value: String,
        /// The values it takes.
        allowed: String,
        /// The file behind the tunable.
        path: PathBuf,
    },
    /// The value was written and something else came back.
    #[error("{key}: wrote {value:?} but {} reads back {found:?}", path.display())]
    NotTaken {
        /// The tunable.
        key: String,
        /// The value written.
        value: String,
        /// The value read back.
        found: String,
        /// The file behind the tunable.
        path: PathBuf,
    },
    /// A file holds something this tool does not understand.
    #[error("{}: cannot read {found:?} as {wanted}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it holds.
        found: String,
        /// What it should hold.
        wanted: &'static str,
    },
    /// Reading or writing failed.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: std::io::Error,
    },
    /// A file system that is to take part, or not to, could not be added or removed.
    #[error(transparent)]
    Mount(#[from] Box<MountError>),
    /// There is no such cgroup.
    #[error(
        "{0}: no such cgroup; its path below /sys/fs/cgroup is wanted, or id:N of one that is gone"
    )]
    NoCgroup(String),
    /// A change failed, and so did setting others back.
    #[error("{cause}; and then could not set back {left}")]
    NotRolledBack {
        /// Why the change failed.
        cause: Box<SourceError>,
        /// What is not as before, and why.
        left: String,
    },
    /// The source stopped working for a reason of its own.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_names_are_text_where_the_uuid_is_text() {
        let mut uuid = [0; 16];
        uuid[..4].copy_from_slice(b"swap");
        assert_eq!(pool_name(&uuid), "swap");
        uuid[10] = 1;
        assert_eq!(pool_name(&uuid), "73776170-0000-0000-0000-010000000000");
        assert_eq!(pool_name(&[0; 16]), "00000000-0000-0000-0000-000000000000");
        for uuid in [*b"swap\0\0\0\0\0\0\0\0\0\0\0\0", uuid, [0; 16], [0xfe; 16]] {
            assert_eq!(pool_uuid(&pool_name(&uuid)), uuid);
        }
        assert_eq!(pool_uuid("longer than sixteen bytes"), [0; 16]);
    }
}
