//! The module's sysfs files: reading all of them, and changing tunables one by
//! one, each written, read back and reported as old -> new.
//!
//! Keys are paths with dots: `limit`, `pools.0.codec`; `pool` is taken for
//! `pools`, and a pool's name (`pool.swap.limit`) for its number. `mounts./srv.keep` says
//! whether a mounted file system takes part, and `mounts./srv.limit` is that of its pool.
//! `cgroups./a/b.limit` and `.weight` are of a cgroup.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use tmem_common::op::Outcome;
use tmem_common::policy::{MAX_SIGHTINGS, MAX_TTL, Policy, admission_of};
use tmem_common::stats::Stats;
use tmem_common::{ABI_VERSION, sysfs};

use crate::cgroups::{Cgroup, Cgroups};
use crate::mounts::{Mount, MountError, Mounts};
use crate::source::{Change, KEEP, PoolKind, PoolSnapshot, SourceError, Tunable, pool_name};
use crate::units::{Size, parse_size, size_value};

/// Rights that setting needs.
const ROOT: &str = "root (the files are writable by their owner only)";

/// What a tunable that is on or off takes.
pub(crate) const SWITCH: &str = "0 or 1";

/// The module's directory, found and of a version that this tool speaks.
#[derive(Clone, Debug)]
pub struct Control {
    root: PathBuf,
}

/// What the files of the whole hold, besides statistics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether new pages are accepted.
    pub enabled: bool,
    /// Codec of the pools that have none of their own.
    pub codec: String,
    /// The budget in bytes.
    pub limit_bytes: u64,
    /// Bytes held for all purposes.
    pub used_bytes: u64,
    /// Bytes held beyond the budget.
    pub overhang_bytes: u64,
}

/// What a tunable's text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Switch,
    Limit,
    PoolLimit,
    Codec { names: Vec<String> },
    Weight,
    CgroupWeight,
    Policy,
    Admission,
    Ratio,
    Ttl,
}

impl Form {
    pub(crate) fn allowed(&self) -> String {
        match self {
            Form::Switch => SWITCH.to_owned(),
            Form::Limit => {
                "bytes such as 512M (suffix K, M, G) or percent of RAM such as 20%".to_owned()
            }
            Form::PoolLimit => format!(
                "bytes such as 512M (suffix K, M, G) or {}",
                sysfs::POOL_LIMIT_NONE
            ),
            Form::Codec { names } => format!("one of: {}", names.join(" ")),
            Form::Weight => "1 to 1000".to_owned(),
            Form::CgroupWeight => format!("1 to 1000, or {}", sysfs::CGROUP_WEIGHT_NONE),
            Form::Policy => format!("one of: {}", Policy::ALL.map(Policy::name).join(" ")),
            Form::Admission => format!(
                "{}, {}, or a number of earlier offers, 1 to {MAX_SIGHTINGS}",
                sysfs::POOL_ADMISSION_ALWAYS,
                sysfs::POOL_ADMISSION_REFAULTED
            ),
            Form::Ratio => "1 to 100".to_owned(),
            Form::Ttl => format!("seconds, 1 to {MAX_TTL}, or 0 for no end"),
        }
    }

    pub(crate) fn accepts(&self, value: &str) -> bool {
        match self {
            Form::Switch => matches!(value, "0" | "1"),
            Form::Limit => parse_size(value).is_some(),
            Form::PoolLimit => {
                value == sysfs::POOL_LIMIT_NONE || matches!(parse_size(value), Some(Size::Bytes(_)))
            }
            Form::Codec { names } => names.iter().any(|name| name == value),
            Form::CgroupWeight if value == sysfs::CGROUP_WEIGHT_NONE => true,
            Form::Weight | Form::CgroupWeight => value
                .parse::<u32>()
                .is_ok_and(|weight| (1..=1000).contains(&weight)),
            Form::Policy => Policy::from_name(value).is_some(),
            Form::Admission => admission_of(value).is_some(),
            Form::Ratio => value
                .parse::<u32>()
                .is_ok_and(|percent| (1..=100).contains(&percent)),
            Form::Ttl => value.parse::<u32>().is_ok_and(|seconds| seconds <= MAX_TTL),
        }
    }

    /// The change from `old` to `value`; none if they mean the same.
    pub(crate) fn change(&self, key: String, old: String, value: &str) -> Change {
        let same = self.same(value, &old);
        let new = if same { old.clone() } else { value.to_owned() };
        Change { key, old, new }
    }

    /// Whether `found` is what a file reads back after `value` was written.
    fn same(&self, value: &str, found: &str) -> bool {
        match self {
            Form::Limit | Form::PoolLimit => {
                value == found
                    || (parse_size(value).is_some() && parse_size(value) == parse_size(found))
            }
            Form::Weight | Form::Ratio | Form::Ttl => {
                value.parse::<u32>().ok() == found.parse().ok()
            }
            Form::Admission => admission_of(value) == admission_of(found),
            _ => value == found,
        }
    }
}

/// What the tunable `key` does, in a sentence; empty for one that this tool does
/// not know.
pub(crate) fn meaning(key: &str) -> &'static str {
    if key.starts_with(sysfs::MOUNTS) && key.ends_with(KEEP) {
        return "Whether clean pages of the files there are kept.";
    }
    if key.starts_with(sysfs::CGROUPS) {
        return match key.rsplit('.').next() {
            Some(sysfs::CGROUPS_LIMIT) => {
                "What this cgroup may hold, swap and file pages together."
            }
            _ => "This cgroup's share when little of the budget is left.",
        };
    }
    let of_pool = key.starts_with(sysfs::POOLS);
    match (key.rsplit('.').next().unwrap_or(key), of_pool) {
        (sysfs::ENABLED, false) => "Whether new pages are accepted; stored ones stay readable.",
        (sysfs::LIMIT, false) => {
            "Budget for all memory held. Lower: evicts file pages at once; swap pages stay."
        }
        (sysfs::CODEC, false) => "Compresses new pages of the pools with no codec of their own.",
        (sysfs::KEEP_INCOMPRESSIBLE, false) => {
            "Whether pages that no codec makes smaller are kept as they are, or refused."
        }
        (sysfs::POOL_CODEC, true) => "Compresses new pages of this pool; default: as the whole.",
        (sysfs::POOL_LIMIT, true) => "This pool's own cap, within the budget of the whole.",
        (sysfs::POOL_WEIGHT, true) => "This pool's share among pools of its kind.",
        (sysfs::POOL_POLICY, true) => "Which of this pool's pages go first when room is needed.",
        (sysfs::POOL_ADMISSION, true) => {
            "Which pages this pool takes: all, those that were read again, or were offered before."
        }
        (sysfs::POOL_MAX_RATIO, true) => {
            "This pool refuses pages that stay larger than so many percent."
        }
        (sysfs::POOL_TTL, true) => "Seconds after which this pool drops a page; 0: it never does.",
        (sysfs::POOL_FROZEN, true) => "Whether this pool refuses new pages; it goes on serving.",
        _ => "",
    }
}

/// `mounts./srv.limit` -> (`/srv`, `limit`).
pub(crate) fn split_mount(key: &str) -> Option<(&Path, &str)> {
    let (path, name) = split_section(key, [sysfs::MOUNTS, "mount"])?;
    path.starts_with('/').then_some((Path::new(path), name))
}

/// `cgroups./a/b.limit` -> (`/a/b`, `limit`).
fn split_cgroup(key: &str) -> Option<(&str, &str)> {
    split_section(key, [sysfs::CGROUPS, "cgroup"])
}

/// `NAME.x.y.limit` -> (`x.y`, `limit`), for one of the names.
fn split_section<'a>(key: &'a str, names: [&str; 2]) -> Option<(&'a str, &'a str)> {
    let mut names = names.iter();
    let rest = names.find_map(|name| key.strip_prefix(name)?.strip_prefix('.'))?;
    rest.rsplit_once('.')
}

fn mount_key(path: &Path, name: &str) -> String {
    format!("{}.{}.{name}", sysfs::MOUNTS, path.display())
}

fn mount_error(error: MountError) -> SourceError {
    match error {
        MountError::Source(error) => error,
        error => Box::new(error).into(),
    }
}

/// A tunable that exists now.
struct Entry {
    key: String,
    path: PathBuf,
    form: Form,
}

impl Control {
    /// Finds the module's directory, [`sysfs::ROOT`] unless a test says otherwise.
    ///
    /// # Errors
    /// When the module is not loaded or speaks another version of the ABI.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, SourceError> {
        let root = root.into();
        if !root.is_dir() {
            return Err(SourceError::Absent {
                what: "the tmem module".to_owned(),
                path: root,
                hint:
                    "load it with `modprobe tmem` as root, or try --embedded, or --stock for zswap \
                       and zram"
                        .to_owned(),
            });
        }
        let control = Self { root };
        let path = control.root.join(sysfs::ABI);
        let found = read_text(&path)?;
        if found.parse() != Ok(ABI_VERSION) {
            return Err(SourceError::WrongAbi {
                found,
                wanted: ABI_VERSION,
                path,
            });
        }
        Ok(control)
    }

    /// The module's directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Reads the files of the whole.
    ///
    /// # Errors
    /// When a file is missing, unreadable or not understood.
    pub fn state(&self) -> Result<State, SourceError> {
        Ok(State {
            enabled: read_switch(&self.root.join(sysfs::ENABLED))?,
            codec: read_text(&self.root.join(sysfs::CODEC))?,
            limit_bytes: read_number(&self.root.join(sysfs::LIMIT_BYTES))?,
            used_bytes: read_number(&self.root.join(sysfs::USED_BYTES))?,
            overhang_bytes: read_number(&self.root.join(sysfs::OVERHANG_BYTES))?,
        })
    }

    /// Reads the statistics of the whole.
    ///
    /// # Errors
    /// When a file is missing, unreadable or not understood.
    pub fn totals(&self) -> Result<Stats, SourceError> {
        read_stats(&self.root.join(sysfs::STATS))
    }

    /// Reads every pool, by rising id. One that goes away meanwhile is left out.
    ///
    /// # Errors
    /// When a file is missing, unreadable or not understood.
    pub fn pools(&self) -> Result<Vec<PoolSnapshot>, SourceError> {
        let mut pools = Vec::new();
        let mounts = self.mounts()?;
        for id in self.pool_ids()? {
            let directory = self.pool_directory(id);
            match read_pool(id, &directory) {
                Ok(mut pool) => {
                    let mount = mounts.iter().find(|mount| mount.pool == id);
                    pool.mount = mount.map(|mount| mount.path.clone());
                    pools.push(pool);
                }
                Err(SourceError::Io { error, .. })
                    if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
                        && !directory.exists() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(pools)
    }

    /// Everything that can be set, with its value now.
    ///
    /// # Errors
    /// When a file is missing or unreadable.
    pub fn tunables(&self) -> Result<Vec<Tunable>, SourceError> {
        let of_entry = |entry: Entry| {
            Ok(Tunable {
                value: read_text(&entry.path)?,
                allowed: entry.form.allowed(),
                meaning: meaning(&entry.key),
                key: entry.key,
            })
        };
        let mut tunables: Vec<Tunable> = self
            .entries()?
            .into_iter()
            .map(of_entry)
            .collect::<Result<_, SourceError>>()?;
        for mount in self.mounts()? {
            let key = mount_key(Path::new(&mount.path), KEEP);
            tunables.push(Tunable {
                value: "1".to_owned(),
                allowed: SWITCH.to_owned(),
                meaning: meaning(&key),
                key,
            });
        }
        for cgroup in self.cgroups()?.iter().filter(|cgroup| cgroup.is_set()) {
            let forms = [
                (sysfs::CGROUPS_WEIGHT, Form::CgroupWeight),
                (sysfs::CGROUPS_LIMIT, Form::PoolLimit),
            ];
            for (setting, form) in forms {
                let key = format!("{}.{}.{setting}", sysfs::CGROUPS, cgroup.name());
                tunables.push(Tunable {
                    value: cgroup_value(cgroup, setting),
                    allowed: form.allowed(),
                    meaning: meaning(&key),
                    key,
                });
            }
        }
        Ok(tunables)
    }

    /// The cgroups that are counted; none where the module does not.
    fn cgroups(&self) -> Result<Vec<Cgroup>, SourceError> {
        match Cgroups::open(self) {
            Ok(cgroups) => cgroups.list(),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// A cgroup's tunable, its cgroup, and its value now.
    fn cgroup_entry(
        &self,
        cgroups: &Cgroups,
        key: &str,
    ) -> Result<(Entry, Cgroup, String), SourceError> {
        let (name, setting) = split_cgroup(key).unwrap_or_default();
        let (setting, form) = match setting {
            sysfs::CGROUPS_WEIGHT => (sysfs::CGROUPS_WEIGHT, Form::CgroupWeight),
            sysfs::CGROUPS_LIMIT => (sysfs::CGROUPS_LIMIT, Form::PoolLimit),
            _ => {
                return Err(SourceError::UnknownKey {
                    key: key.to_owned(),
                    known: [sysfs::CGROUPS_WEIGHT, sysfs::CGROUPS_LIMIT]
                        .map(|known| format!("{}.{name}.{known}", sysfs::CGROUPS))
                        .join(" "),
                });
            }
        };
        let cgroup = cgroups.find(name)?;
        let value = cgroup_value(&cgroup, setting);
        let entry = Entry {
            key: format!("{}.{}.{setting}", sysfs::CGROUPS, cgroup.name()),
            path: cgroups.file(setting),
            form,
        };
        Ok((entry, cgroup, value))
    }

    fn plan_cgroup(&self, key: &str, value: &str) -> Result<Change, SourceError> {
        let (entry, _, old) = self.cgroup_entry(&Cgroups::open(self)?, key)?;
        plan_entry(entry, old, value)
    }

    fn set_cgroup(&self, key: &str, value: &str) -> Result<Change, SourceError> {
        let cgroups = Cgroups::open(self)?;
        let (entry, cgroup, old) = self.cgroup_entry(&cgroups, key)?;
        let change = plan_entry(entry, old, value)?;
        let setting = change.key.rsplit('.').next().unwrap_or_default();
        cgroups.set(cgroup.id, setting, value)?;
        let (entry, _, new) = self.cgroup_entry(&cgroups, key)?;
        read_back(entry, change.old, value, new)
    }

    /// The file systems that take part; none where the module keeps no file pages.
    fn mounts(&self) -> Result<Vec<Mount>, SourceError> {
        match Mounts::open(self) {
            Ok(mounts) => mounts.list(),
            Err(_) => Ok(Vec::new()),
        }
    }

    /// What a change of whether a file system takes part would do.
    fn plan_keep(&self, path: &Path, value: &str) -> Result<Change, SourceError> {
        let Some(keep) = parse_switch(value) else {
            return Err(SourceError::BadValue {
                key: mount_key(path, KEEP),
                value: value.to_owned(),
                allowed: SWITCH.to_owned(),
                path: self.root.join(sysfs::MOUNTS),
            });
        };
        let (path, kept) = Mounts::open(self)?.plan(path, keep).map_err(mount_error)?;
        Ok(Change {
            key: mount_key(&path, KEEP),
            old: u8::from(kept).to_string(),
            new: u8::from(keep).to_string(),
        })
    }

    fn set_keep(&self, path: &Path, value: &str) -> Result<Change, SourceError> {
        let change = self.plan_keep(path, value)?;
        if change.old == change.new {
            return Ok(change);
        }
        let mounts = Mounts::open(self)?;
        let keep = change.new == "1";
        let done = if keep {
            mounts.add(path)
        } else {
            mounts.remove(path)
        };
        match done {
            // Somebody else, such as the service that watches mounts, was faster.
            Ok(()) | Err(MountError::Already(_)) => {}
            Err(error) => return Err(mount_error(error)),
        }
        if mounts.find(path)?.is_some() != keep {
            return Err(SourceError::NotTaken {
                key: change.key,
                value: change.new,
                found: change.old,
                path: self.root.join(sysfs::MOUNTS).join(sysfs::MOUNTS_LIST),
            });
        }
        Ok(change)
    }

    /// The change of a setting of the pool that a file system will have once it takes part.
    fn plan_of_new_mount(&self, key: &str, name: &str, value: &str) -> Result<Change, SourceError> {
        let path = self.root.join(sysfs::POOLS);
        let forms = self.forms_of_pool()?;
        let Some((_, form)) = forms.into_iter().find(|(known, _)| *known == name) else {
            return Err(SourceError::UnknownKey {
                key: key.to_owned(),
                known: self.known_of_mount(key)?,
            });
        };
        let entry = Entry {
            key: key.to_owned(),
            path,
            form,
        };
        if !entry.form.accepts(value) {
            return Err(bad_value(&entry, value));
        }
        Ok(Change {
            key: entry.key,
            old: String::new(),
            new: value.to_owned(),
        })
    }

    /// Keys of the file system that `key` is about.
    fn known_of_mount(&self, key: &str) -> Result<String, SourceError> {
        let section = key.rsplit_once('.').map_or(key, |(section, _)| section);
        let mut known = format!("{section}.{KEEP}");
        for (name, _) in self.forms_of_pool()? {
            known.push_str(&format!(" {section}.{name}"));
        }
        Ok(known)
    }

    /// Says what a change would do, and whether it is permitted, changing nothing.
    ///
    /// # Errors
    /// The error that [`Control::set`] would give.
    pub fn plan(&self, key: &str, value: &str) -> Result<Change, SourceError> {
        if split_cgroup(key).is_some() {
            return self.plan_cgroup(key, value);
        }
        if let Some((path, name)) = split_mount(key) {
            if name == KEEP {
                return self.plan_keep(path, value);
            }
            if Mounts::open(self)?.find(path)?.is_none() {
                return self.plan_of_new_mount(key, name, value);
            }
        }
        let entry = self.find(key)?;
        let old = read_text(&entry.path)?;
        plan_entry(entry, old, value)
    }

    /// Writes one tunable and reads it back.
    ///
    /// # Errors
    /// Unknown key; a value that is not allowed; missing rights; a value that
    /// did not read back.
    pub fn set(&self, key: &str, value: &str) -> Result<Change, SourceError> {
        if split_cgroup(key).is_some() {
            return self.set_cgroup(key, value);
        }
        if let Some((path, KEEP)) = split_mount(key) {
            return self.set_keep(path, value);
        }
        let entry = self.find(key)?;
        if !entry.form.accepts(value) {
            return Err(bad_value(&entry, value));
        }
        let old = read_text(&entry.path)?;
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&entry.path)
            .and_then(|mut file| file.write_all(value.as_bytes()))
            .map_err(|error| write_error(&entry, value, error))?;
        let new = read_text(&entry.path)?;
        read_back(entry, old, value, new)
    }

    fn pool_ids(&self) -> Result<Vec<u32>, SourceError> {
        let path = self.root.join(sysfs::POOLS);
        let mut ids = Vec::new();
        for entry in fs::read_dir(&path).map_err(|error| read_error(&path, error))? {
            let entry = entry.map_err(|error| read_error(&path, error))?;
            if let Some(id) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            {
                ids.push(id);
            }
        }
        ids.sort_unstable();
        Ok(ids)
    }

    fn pool_directory(&self, id: u32) -> PathBuf {
        self.root.join(sysfs::POOLS).join(id.to_string())
    }

    fn codecs(&self) -> Result<Vec<String>, SourceError> {
        let names = read_text(&self.root.join(sysfs::CODECS))?;
        Ok(names.split_whitespace().map(str::to_owned).collect())
    }

    /// What can be set of an ephemeral pool; the last four not of a persistent one.
    fn forms_of_pool(&self) -> Result<[(&'static str, Form); 8], SourceError> {
        let mut names = vec![sysfs::POOL_CODEC_DEFAULT.to_owned()];
        names.extend(self.codecs()?);
        Ok([
            (sysfs::POOL_CODEC, Form::Codec { names }),
            (sysfs::POOL_LIMIT, Form::PoolLimit),
            (sysfs::POOL_WEIGHT, Form::Weight),
            (sysfs::POOL_FROZEN, Form::Switch),
            (sysfs::POOL_POLICY, Form::Policy),
            (sysfs::POOL_ADMISSION, Form::Admission),
            (sysfs::POOL_MAX_RATIO, Form::Ratio),
            (sysfs::POOL_TTL, Form::Ttl),
        ])
    }

    fn entries(&self) -> Result<Vec<Entry>, SourceError> {
        let names = self.codecs()?;
        let whole = [
            (sysfs::ENABLED, Form::Switch),
            (sysfs::LIMIT, Form::Limit),
            (sysfs::CODEC, Form::Codec { names }),
            (sysfs::KEEP_INCOMPRESSIBLE, Form::Switch),
        ];
        let mut entries: Vec<Entry> = whole
            .into_iter()
            .map(|(name, form)| Entry {
                key: name.to_owned(),
                path: self.root.join(name),
                form,
            })
            .collect();
        let of_pool = self.forms_of_pool()?;
        for id in self.pool_ids()? {
            let entry = |(name, form): &(&str, Form)| Entry {
                key: format!("{}.{id}.{name}", sysfs::POOLS),
                path: self.pool_directory(id).join(name),
                form: form.clone(),
            };
            let there = of_pool.iter().map(entry);
            entries.extend(there.filter(|entry| entry.path.exists()));
        }
        Ok(entries)
    }

    fn find(&self, key: &str) -> Result<Entry, SourceError> {
        let full = self.full_key(key)?;
        let entries = self.entries()?;
        let known = || {
            entries
                .iter()
                .map(|entry| entry.key.as_str())
                .collect::<Vec<_>>()
                .join(" ")
        };
        match entries.iter().position(|entry| entry.key == full) {
            Some(position) => entries
                .into_iter()
                .nth(position)
                .ok_or_else(|| SourceError::Failed(format!("{full} went away"))),
            None => Err(SourceError::UnknownKey {
                key: key.to_owned(),
                known: known(),
            }),
        }
    }

    /// `pool.swap.limit` -> `pools.0.limit`, `mounts./srv.limit` -> `pools.1.limit`; other keys
    /// as they are.
    fn full_key(&self, key: &str) -> Result<String, SourceError> {
        if let Some((path, name)) = split_mount(key) {
            let mount = Mounts::open(self)?.find(path)?;
            return Ok(mount.map_or_else(
                || key.to_owned(),
                |mount| format!("{}.{}.{name}", sysfs::POOLS, mount.pool),
            ));
        }
        let mut parts = key.splitn(2, '.');
        let (Some("pool" | sysfs::POOLS), Some(rest)) = (parts.next(), parts.next()) else {
            return Ok(key.to_owned());
        };
        let Some((pool, name)) = rest.rsplit_once('.') else {
            return Ok(key.to_owned());
        };
        if pool.parse::<u32>().is_ok() {
            return Ok(format!("{}.{pool}.{name}", sysfs::POOLS));
        }
        for id in self.pool_ids()? {
            let uuid = read_uuid(&self.pool_directory(id).join(sysfs::POOL_UUID))?;
            if pool_name(&uuid) == pool {
                return Ok(format!("{}.{id}.{name}", sysfs::POOLS));
            }
        }
        Ok(key.to_owned())
    }
}

/// What a change of a tunable from `old` would do, and whether it is permitted.
fn plan_entry(entry: Entry, old: String, value: &str) -> Result<Change, SourceError> {
    if !entry.form.accepts(value) {
        return Err(bad_value(&entry, value));
    }
    // Opening alone changes nothing in sysfs, and tells about the rights.
    OpenOptions::new()
        .write(true)
        .open(&entry.path)
        .map_err(|error| write_error(&entry, value, error))?;
    Ok(entry.form.change(entry.key, old, value))
}

/// The change that was made, if `new`, which was read back, is what was written.
fn read_back(entry: Entry, old: String, value: &str, new: String) -> Result<Change, SourceError> {
    if !entry.form.same(value, &new) {
        return Err(SourceError::NotTaken {
            key: entry.key,
            value: value.to_owned(),
            found: new,
            path: entry.path,
        });
    }
    Ok(Change {
        key: entry.key,
        old,
        new,
    })
}

/// What is set of a cgroup, as it would be written.
fn cgroup_value(cgroup: &Cgroup, setting: &str) -> String {
    match setting {
        sysfs::CGROUPS_WEIGHT => cgroup.weight.map_or_else(
            || sysfs::CGROUP_WEIGHT_NONE.to_owned(),
            |weight| weight.to_string(),
        ),
        _ => cgroup
            .limit_bytes
            .map_or_else(|| sysfs::CGROUP_LIMIT_NONE.to_owned(), size_value),
    }
}

fn read_pool(id: u32, directory: &Path) -> Result<PoolSnapshot, SourceError> {
    let kind_path = directory.join(sysfs::POOL_KIND);
    let kind = match read_text(&kind_path)?.as_str() {
        "persistent" => PoolKind::Persistent,
        "ephemeral" => PoolKind::Ephemeral,
        found => {
            return Err(SourceError::Malformed {
                path: kind_path,
                found: found.to_owned(),
                wanted: "persistent or ephemeral",
            });
        }
    };
    Ok(PoolSnapshot {
        id,
        uuid: read_uuid(&directory.join(sysfs::POOL_UUID))?,
        kind,
        version: read_number(&directory.join(sysfs::POOL_VERSION))?,
        codec: read_text(&directory.join(sysfs::POOL_CODEC))?,
        weight: read_number(&directory.join(sysfs::POOL_WEIGHT))?,
        limit_bytes: read_pool_limit(&directory.join(sysfs::POOL_LIMIT))?,
        frozen: read_switch(&directory.join(sysfs::POOL_FROZEN))?,
        mount: None,
        stats: read_stats(&directory.join(sysfs::STATS))?,
    })
}

fn read_stats(directory: &Path) -> Result<Stats, SourceError> {
    let number = |name: &str| read_number(&directory.join(name));
    let mut stats = Stats {
        pages: number("pages")?,
        same_pages: number("same_pages")?,
        raw_pages: number("raw_pages")?,
        data_bytes: number("data_bytes")?,
        store_bytes: number("store_bytes")?,
        metadata_bytes: number("metadata_bytes")?,
        flush_misses: number("flush_misses")?,
        moved_pages: number("moved_pages")?,
        ..Stats::default()
    };
    for (outcome, count) in Outcome::ALL.iter().zip(&mut stats.outcomes) {
        *count = number(outcome.name())?;
    }
    Ok(stats)
}

fn read_text(path: &Path) -> Result<String, SourceError> {
    fs::read_to_string(path)
        .map(|text| text.trim_end().to_owned())
        .map_err(|error| read_error(path, error))
}

fn read_number<T: std::str::FromStr>(path: &Path) -> Result<T, SourceError> {
    let found = read_text(path)?;
    found.parse().map_err(|_| SourceError::Malformed {
        path: path.to_owned(),
        found,
        wanted: "a number",
    })
}

fn read_pool_limit(path: &Path) -> Result<Option<u64>, SourceError> {
    let found = read_text(path)?;
    match parse_size(&found) {
        Some(Size::Bytes(bytes)) => Ok(Some(bytes)),
        _ if found == sysfs::POOL_LIMIT_NONE => Ok(None),
        _ => Err(SourceError::Malformed {
            path: path.to_owned(),
            found,
            wanted: "bytes or max",
        }),
    }
}

fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

fn read_switch(path: &Path) -> Result<bool, SourceError> {
    let found = read_text(path)?;
    parse_switch(&found).ok_or_else(|| SourceError::Malformed {
        path: path.to_owned(),
        found,
        wanted: SWITCH,
    })
}

fn read_uuid(path: &Path) -> Result<[u8; 16], SourceError> {
    let found = read_text(path)?;
    let mut uuid = [0; 16];
    let digits: Vec<u8> = found.bytes().filter(|&byte| byte != b'-').collect();
    let parsed = digits.len() == 32
        && digits.chunks(2).zip(&mut uuid).all(|(pair, byte)| {
            std::str::from_utf8(pair)
                .ok()
                .and_then(|pair| u8::from_str_radix(pair, 16).ok())
                .map(|value| *byte = value)
                .is_some()
        });
    if parsed {
        Ok(uuid)
    } else {
        Err(SourceError::Malformed {
            path: path.to_owned(),
            found,
            wanted: "32 hexadecimal digits",
        })
    }
}

fn read_error(path: &Path, error: io::Error) -> SourceError {
    if error.kind() == ErrorKind::PermissionDenied {
        return SourceError::MissingRights {
            what: "reading".to_owned(),
            needed: ROOT,
            path: path.to_owned(),
        };
    }
    SourceError::Io {
        path: path.to_owned(),
        error,
    }
}

fn write_error(entry: &Entry, value: &str, error: io::Error) -> SourceError {
    match error.kind() {
        ErrorKind::PermissionDenied => SourceError::MissingRights {
            what: format!("setting {}", entry.key),
            needed: ROOT,
            path: entry.path.clone(),
        },
        ErrorKind::InvalidInput => bad_value(entry, value),
        _ => SourceError::Io {
            path: entry.path.clone(),
            error,
        },
    }
}

fn bad_value(entry: &Entry, value: &str) -> SourceError {
    SourceError::BadValue {
        key: entry.key.clone(),
        value: value.to_owned(),
        allowed: entry.form.allowed(),
        path: entry.path.clone(),
    }
}
