//! What is mounted at a path, as this process sees it: the mount, and the device by which
//! the module lists its file system. A path alone does not say which file system is meant:
//! something else may be mounted there by now, or nothing.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};

/// The kernel's list; ready for `POLLPRI` when it has changed since it was opened.
pub const MOUNTINFO: &str = "/proc/self/mountinfo";

/// A mount on which nothing else is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where, without links.
    pub path: PathBuf,
    /// The mount's number; another mount may have it later.
    pub id: u64,
    /// The device of its file system, `major:minor`. Of Btrfs this is not what `stat` says.
    pub device: String,
    /// Its type, such as `ext4`.
    pub file_system: String,
}

/// What is mounted at `path`; `None` also where a file system will be mounted at the first
/// use (autofs), which asking does not cause.
pub fn mounted_at(path: &Path) -> Option<Mounted> {
    let path = fs::canonicalize(path).ok()?;
    let said = statx(CWD, &path, AtFlags::NO_AUTOMOUNT, StatxFlags::MNT_ID).ok()?;
    if !said.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return None;
    }
    let list = fs::read_to_string(MOUNTINFO).ok()?;
    let (device, file_system) = list
        .lines()
        .find_map(|line| of_line(line, said.stx_mnt_id))?;
    (file_system != "autofs").then(|| Mounted {
        id: said.stx_mnt_id,
        device: device.to_owned(),
        file_system: file_system.to_owned(),
        path,
    })
}

/// Device and type, if the line is about that mount.
fn of_line(line: &str, id: u64) -> Option<(&str, &str)> {
    // Blanks within fields are escaped.
    let mut fields = line.split(' ');
    if fields.next()?.parse() != Ok(id) {
        return None;
    }
    let device = fields.nth(1)?;
    // As many optional fields as there happen to be end with a dash.
    fields.find(|field| *field == "-")?;
    Some((device, fields.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_device_and_type_of_its_mount() {
        let line = r"36 27 0:31 /sub /mnt/a\040b rw,noatime shared:1 master:2 - btrfs /dev/vda rw";
        assert_eq!(of_line(line, 36), Some(("0:31", "btrfs")));
        assert_eq!(of_line(line, 27), None);
        assert_eq!(of_line("36 27 0:31 / /mnt rw", 36), None);
        assert_eq!(of_line("", 36), None);
    }

    #[test]
    fn only_where_something_is_mounted_there_is_a_mount() {
        let proc = mounted_at(Path::new("/proc/../proc")).expect("everything here needs /proc");
        assert_eq!(proc.path, Path::new("/proc"));
        assert_eq!(proc.file_system, "proc");
        let directory = tempfile::tempdir().expect("a directory");
        assert_eq!(mounted_at(directory.path()), None);
        assert_eq!(mounted_at(&directory.path().join("none")), None);
    }
}
