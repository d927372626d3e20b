//! Which file systems take part: listing, adding and removing them through the module's
//! `mounts` directory, and a file that lists those that a service adds at start.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;
use tmem_common::sysfs;

use crate::control::Control;
use crate::mountinfo::mounted_at;
use crate::source::SourceError;

/// A file system that takes part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Its device, `major:minor`.
    pub device: String,
    /// Its type, such as `ext4`.
    pub file_system: String,
    /// The pool that holds its pages.
    pub pool: u32,
    /// The path by which it was added.
    pub path: String,
}

/// Why a file system could not be listed, added or removed.
#[derive(Debug, Error)]
pub enum MountError {
    /// Reading or writing the module's files failed.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The path is no directory on which a file system is mounted.
    #[error("{}: nothing is mounted there; allowed: a directory on which a file system is mounted (findmnt lists them)", .0.display())]
    NotMounted(PathBuf),
    /// The module does not take this file system.
    #[error("{} is refused: {reason}", path.display())]
    Refused {
        /// The path asked for.
        path: PathBuf,
        /// The module's reason.
        reason: String,
    },
    /// It takes part already.
    #[error("{} takes part already", .0.display())]
    Already(PathBuf),
    /// It takes no part.
    #[error("{} takes no part; `tmem mount list` shows what does", .0.display())]
    NotListed(PathBuf),
    /// A line of a file of paths is no absolute path.
    #[error("{}:{line}: {text:?} is no absolute path; one a line is wanted, # begins a comment", file.display())]
    BadLine {
        /// The file.
        file: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// What stands there.
        text: String,
    },
    /// A file of paths cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// The file systems that take part, by path.
#[derive(Clone, Debug)]
pub struct Mounts {
    directory: PathBuf,
}

impl Mounts {
    /// Finds the directory of the loaded module.
    ///
    /// # Errors
    /// When the module's directory is not there, or older than the file side.
    pub fn open(control: &Control) -> Result<Self, SourceError> {
        let directory = control.root().join(sysfs::MOUNTS);
        if !directory.is_dir() {
            return Err(SourceError::Absent {
                what: "the file side".to_owned(),
                path: directory,
                hint: "this module knows swap pages only".to_owned(),
            });
        }
        Ok(Self { directory })
    }

    /// What takes part now.
    ///
    /// # Errors
    /// When the list cannot be read or is not understood.
    pub fn list(&self) -> Result<Vec<Mount>, SourceError> {
        let path = self.directory.join(sysfs::MOUNTS_LIST);
        let text = fs::read_to_string(&path).map_err(|error| SourceError::Io {
            path: path.clone(),
            error,
        })?;
        text.lines()
            .map(|line| {
                parse(line).ok_or_else(|| SourceError::Malformed {
                    path: path.clone(),
                    found: line.to_owned(),
                    wanted: "device, type, pool and path",
                })
            })
            .collect()
    }

    /// The file system that is mounted at `path` now, by whatever path it was added, if it
    /// takes part.
    ///
    /// # Errors
    /// As for [`Mounts::list`].
    pub fn find(&self, path: &Path) -> Result<Option<Mount>, SourceError> {
        let mut mounts = self.list()?.into_iter();
        let here = mounted_at(path);
        Ok(here.and_then(|here| mounts.find(|mount| mount.device == here.device)))
    }

    /// What [`Mounts::add`] or [`Mounts::remove`] would refuse at once, changing nothing: the
    /// path under which it is listed, and whether it is.
    ///
    /// # Errors
    /// Nothing mounted there where it is to be added; missing rights.
    pub fn plan(&self, path: &Path, keep: bool) -> Result<(PathBuf, bool), MountError> {
        if keep && mounted_at(path).is_none() {
            return Err(MountError::NotMounted(path.to_owned()));
        }
        let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        // Not one that is listed by that path and is not there: what failed to be added is
        // planned away again.
        let listed = self.find(path)?.is_some();
        let file = match keep {
            true => sysfs::MOUNTS_ADD,
            false => sysfs::MOUNTS_REMOVE,
        };
        OpenOptions::new()
            .write(true)
            .open(self.directory.join(file))
            .map_err(|error| self.explain(error, file, path))?;
        Ok((full, listed))
    }

    /// The file system mounted at `path` takes part from now on.
    ///
    /// # Errors
    /// Nothing mounted there; refused by the module; already there; missing rights.
    pub fn add(&self, path: &Path) -> Result<(), MountError> {
        // The module looks itself, at the moment when it matters.
        match mounted_at(path) {
            Some(here) => self.write(sysfs::MOUNTS_ADD, &here.path),
            None => Err(MountError::NotMounted(path.to_owned())),
        }
    }

    /// The file system leaves, and its pages go.
    ///
    /// # Errors
    /// It takes no part; nothing is mounted there; missing rights.
    pub fn remove(&self, path: &Path) -> Result<(), MountError> {
        // What is not there any more can still be listed by that path.
        let full = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.write(sysfs::MOUNTS_REMOVE, &full)
    }

    fn write(&self, file: &str, path: &Path) -> Result<(), MountError> {
        let target = self.directory.join(file);
        OpenOptions::new()
            .write(true)
            .open(&target)
            .and_then(|mut file| file.write_all(path.as_os_str().as_bytes()))
            .map_err(|error| self.explain(error, file, path))
    }

    /// What an error of the module's file means.
    fn explain(&self, error: io::Error, file: &str, path: &Path) -> MountError {
        let path = path.to_owned();
        match error.raw_os_error() {
            Some(libc::EINVAL) => MountError::NotMounted(path),
            Some(libc::EOPNOTSUPP) => MountError::Refused {
                reason: self.last_refusal(),
                path,
            },
            Some(libc::EEXIST) => MountError::Already(path),
            Some(libc::ENOENT) => MountError::NotListed(path),
            _ if error.kind() == ErrorKind::PermissionDenied => SourceError::MissingRights {
                what: "changing which file systems take part".to_owned(),
                needed: "root (the files are writable by their owner only)",
                path: self.directory.join(file),
            }
            .into(),
            _ => SourceError::Io {
                path: self.directory.join(file),
                error,
            }
            .into(),
        }
    }

    /// Pages that the module found to differ from the disk: with the first one it removed all
    /// file systems.
    ///
    /// # Errors
    /// When the count cannot be read.
    pub fn mismatches(&self) -> Result<u64, SourceError> {
        let path = self.directory.join(sysfs::MOUNTS_MISMATCHES);
        let text = fs::read_to_string(&path).map_err(|error| SourceError::Io {
            path: path.clone(),
            error,
        })?;
        text.trim().parse().map_err(|_| SourceError::Malformed {
            path,
            found: text,
            wanted: "a number",
        })
    }

    fn last_refusal(&self) -> String {
        match fs::read_to_string(self.directory.join(sysfs::MOUNTS_LAST_REFUSAL)) {
            Ok(text) if !text.trim().is_empty() => text.trim().to_owned(),
            _ => "the module gives no reason; see the kernel's log".to_owned(),
        }
    }
}

/// One line of the list.
fn parse(line: &str) -> Option<Mount> {
    let mut fields = line.splitn(4, ' ');
    let mount = Mount {
        device: fields.next()?.to_owned(),
        file_system: fields.next()?.to_owned(),
        pool: fields.next()?.parse().ok()?,
        path: unescape(fields.next()?),
    };
    let device_is_two_numbers = mount
        .device
        .split_once(':')
        .is_some_and(|(major, minor)| major.parse::<u32>().is_ok() && minor.parse::<u32>().is_ok());
    device_is_two_numbers.then_some(mount)
}

/// Turns `\ooo` back into bytes, as the kernel writes them in lists of mounts.
fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The paths in a file: one a line, absolute; empty lines and those that begin with `#`
/// say nothing.
///
/// # Errors
/// When it cannot be read, or a line is no absolute path.
pub fn read_paths(file: &Path) -> Result<Vec<PathBuf>, MountError> {
    let text = fs::read_to_string(file).map_err(|error| MountError::Unreadable {
        file: file.to_owned(),
        error,
    })?;
    let mut paths = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if !line.starts_with('/') {
            return Err(MountError::BadLine {
                file: file.to_owned(),
                line: number + 1,
                text: line.to_owned(),
            });
        }
        paths.push(PathBuf::from(line));
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mounts() -> (tempfile::TempDir, Mounts) {
        let directory = tempfile::tempdir().expect("a directory");
        let mounts = Mounts {
            directory: directory.path().to_owned(),
        };
        (directory, mounts)
    }

    #[test]
    fn a_path_comes_back_as_it_was() {
        let mount = parse(r"253:1 ext4 2 /srv/a\040b\134c").expect("a line");
        assert_eq!(
            mount,
            Mount {
                device: "253:1".to_owned(),
                file_system: "ext4".to_owned(),
                pool: 2,
                path: r"/srv/a b\c".to_owned(),
            }
        );
        for bad in ["", "253:1 ext4 2", "253:1 ext4 x /srv", "vda ext4 2 /srv"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_modules_errors_are_told_apart() {
        let (directory, mounts) = mounts();
        let refusal = directory.path().join(sysfs::MOUNTS_LAST_REFUSAL);
        fs::write(refusal, "nfs: pages change without notice\n").expect("a file");
        let told = |number| {
            let error = io::Error::from_raw_os_error(number);
            let path = Path::new("/srv");
            mounts.explain(error, sysfs::MOUNTS_ADD, path).to_string()
        };
        assert_eq!(
            told(libc::EOPNOTSUPP),
            "/srv is refused: nfs: pages change without notice"
        );
        assert!(told(libc::EINVAL).contains("nothing is mounted there"));
        assert!(told(libc::EEXIST).contains("already"));
        assert!(told(libc::ENOENT).contains("takes no part"));
        assert!(told(libc::EACCES).contains("root"));
        assert!(told(libc::ENOMEM).contains(sysfs::MOUNTS_ADD));
    }

    #[test]
    fn a_refusal_without_a_reason_says_where_to_look() {
        let (_directory, mounts) = mounts();
        assert!(mounts.last_refusal().contains("log"));
    }

    #[test]
    fn a_file_of_paths_is_checked_line_by_line() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("mounts");
        fs::write(&file, "# what to keep\n\n/srv\n  /home \n").expect("a file");
        let paths = read_paths(&file).expect("good");
        assert_eq!(paths, [Path::new("/srv"), Path::new("/home")]);
        fs::write(&file, "/srv\nhome\n").expect("a file");
        let error = read_paths(&file).expect_err("bad").to_string();
        assert!(error.contains("mounts:2: \"home\""), "{error}");
        assert!(read_paths(&directory.path().join("none")).is_err());
    }
}
