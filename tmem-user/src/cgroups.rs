//! What each cgroup holds and may hold: the module's `cgroups` directory. The module names
//! cgroups by their ids, which are the inode numbers of their directories; people by the path
//! below the mount of cgroup2, or by `id:N` where there is none any more.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use tmem_common::sysfs;

use crate::control::Control;
use crate::source::SourceError;
use crate::system::CgroupNames;

/// Where cgroup2 is mounted.
pub const MOUNT: &str = "/sys/fs/cgroup";

/// Begins the name of a cgroup by its id.
const BY_ID: &str = "id:";

/// What a cgroup holds and may hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    /// Its id.
    pub id: u64,
    /// Its path below the mount, if it is still there.
    pub path: Option<String>,
    /// Its share when the budget is tight, 1 to 1000; `None`: counted with all others.
    pub weight: Option<u32>,
    /// Bytes that it may hold.
    pub limit_bytes: Option<u64>,
    /// Swap pages held, and their bytes with bookkeeping.
    pub swap_pages: u64,
    /// See [`Cgroup::swap_pages`].
    pub swap_bytes: u64,
    /// File pages held, and their bytes with bookkeeping.
    pub file_pages: u64,
    /// See [`Cgroup::file_pages`].
    pub file_bytes: u64,
    /// Puts that were refused for want of room.
    pub refused: u64,
    /// File pages that made room.
    pub evicted: u64,
}

impl Cgroup {
    /// Its path, or `id:N`.
    pub fn name(&self) -> String {
        let by_id = || format!("{BY_ID}{}", self.id);
        self.path.clone().unwrap_or_else(by_id)
    }

    /// Whether anything was set for it.
    pub fn is_set(&self) -> bool {
        self.weight.is_some() || self.limit_bytes.is_some()
    }
}

/// The cgroups that the module counts.
#[derive(Clone, Debug)]
pub struct Cgroups {
    directory: PathBuf,
}

impl Cgroups {
    /// Finds the directory of the loaded module.
    ///
    /// # Errors
    /// When the module is too old to have it.
    pub fn open(control: &Control) -> Result<Self, SourceError> {
        let directory = control.root().join(sysfs::CGROUPS);
        if !directory.is_dir() {
            return Err(SourceError::Absent {
                what: "the list of cgroups".to_owned(),
                path: directory,
                hint: "this module does not count by cgroup; use matching versions".to_owned(),
            });
        }
        Ok(Self { directory })
    }

    /// Everything that is counted, or that something was set for.
    ///
    /// # Errors
    /// When the list cannot be read or is not understood.
    pub fn list(&self) -> Result<Vec<Cgroup>, SourceError> {
        let path = self.directory.join(sysfs::CGROUPS_LIST);
        let text = fs::read_to_string(&path).map_err(|error| SourceError::Io {
            path: path.clone(),
            error,
        })?;
        let mut names = CgroupNames::new(MOUNT);
        let mut cgroups: Vec<Cgroup> = Vec::new();
        for line in text.lines() {
            let cgroup = parse(line).ok_or_else(|| SourceError::Malformed {
                path: path.clone(),
                found: line.trim_end().to_owned(),
                wanted: "nine values of a cgroup",
            })?;
            // The list is read piece by piece, and may have changed in between.
            if cgroups.iter().all(|known| known.id != cgroup.id) {
                cgroups.push(Cgroup {
                    path: names.path(cgroup.id),
                    ..cgroup
                });
            }
        }
        cgroups.sort_by_key(|cgroup| cgroup.id);
        Ok(cgroups)
    }

    /// The cgroup of that name: `/a/b`, its directory, or `id:N`. One that holds nothing is known, too.
    ///
    /// # Errors
    /// No such cgroup, or the list cannot be read.
    pub fn find(&self, name: &str) -> Result<Cgroup, SourceError> {
        let id = match name.strip_prefix(BY_ID) {
            Some(id) => id.parse().ok().filter(|id| *id > 0),
            None => fs::metadata(directory_of(Path::new(name)))
                .ok()
                .filter(fs::Metadata::is_dir)
                .map(|metadata| metadata.ino()),
        };
        let id = id.ok_or_else(|| SourceError::NoCgroup(name.to_owned()))?;
        let known = self.list()?.into_iter().find(|cgroup| cgroup.id == id);
        Ok(known.unwrap_or_else(|| Cgroup {
            id,
            path: CgroupNames::new(MOUNT).path(id),
            ..Cgroup::default()
        }))
    }

    /// The file that takes settings of a name, `weight` or `limit`.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Sets `name`, `weight` or `limit`, of a cgroup.
    pub(crate) fn set(&self, id: u64, name: &str, value: &str) -> Result<(), SourceError> {
        let path = self.file(name);
        let written = OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&path)
            .and_then(|mut file| file.write_all(format!("{id} {value}").as_bytes()));
        written.map_err(|error| match error.kind() {
            ErrorKind::StorageFull => SourceError::Failed(format!(
                "no room to count cgroup {id}: `tmem cgroup rm` those that are gone"
            )),
            _ => SourceError::Io { path, error },
        })
    }
}

/// `/a/b` below the mount of cgroups, or a directory within it.
pub fn directory_of(path: &Path) -> PathBuf {
    if path.starts_with(MOUNT) {
        return path.to_owned();
    }
    let below = path.strip_prefix("/").unwrap_or(path);
    Path::new(MOUNT).join(below)
}

fn parse(line: &str) -> Option<Cgroup> {
    let mut words = line.split_whitespace();
    let id = words.next()?.parse().ok()?;
    let weight = words.next()?;
    let limit = words.next()?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let cgroup = Cgroup {
        id,
        path: None,
        weight: match weight {
            sysfs::CGROUP_WEIGHT_NONE => None,
            weight => Some(weight.parse().ok()?),
        },
        limit_bytes: match limit {
            sysfs::CGROUP_LIMIT_NONE => None,
            limit => Some(limit.parse().ok()?),
        },
        swap_pages: number()?,
        swap_bytes: number()?,
        file_pages: number()?,
        file_bytes: number()?,
        refused: number()?,
        evicted: number()?,
    };
    words.next().is_none().then_some(cgroup)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_the_module_writes_them() {
        let cgroup = parse("77 200 1048576 10 20000 3 4000 5 6      ").unwrap_or_default();
        assert_eq!((cgroup.id, cgroup.weight), (77, Some(200)));
        assert_eq!(cgroup.limit_bytes, Some(1 << 20));
        assert_eq!((cgroup.swap_pages, cgroup.file_bytes), (10, 4000));
        assert_eq!((cgroup.refused, cgroup.evicted), (5, 6));
        assert_eq!(cgroup.name(), "id:77");
        let cgroup = parse("1 default max 0 0 0 0 0 0").unwrap_or_default();
        assert!(cgroup.id == 1 && !cgroup.is_set());
        for bad in [
            "",
            "1",
            "1 0x2 max 0 0 0 0 0 0",
            "1 default max 0 0 0 0 0 0 0",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn cgroups_are_named_below_their_mount() {
        for path in ["/a/b", "a/b", "/sys/fs/cgroup/a/b"] {
            assert_eq!(
                directory_of(Path::new(path)),
                Path::new("/sys/fs/cgroup/a/b")
            );
        }
    }
}
