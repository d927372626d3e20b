//! Figures of the running system beside tmem's own: swap traffic, memory
//! pressure, cgroup names, clocks, and what this process costs.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::source::{DiskTraffic, Pressure, SourceError};

/// CLOCK_MONOTONIC in ns, the clock of events too.
pub fn monotonic_ns() -> u64 {
    clock_ns(ClockId::Monotonic)
}

/// CPU time of this process in ns, all threads.
pub fn process_cpu_ns() -> u64 {
    clock_ns(ClockId::ProcessCPUTime)
}

fn clock_ns(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
        + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// What the child processes that ended took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChildUsage {
    /// CPU time in programs.
    pub user: Duration,
    /// CPU time in the kernel.
    pub system: Duration,
    /// Largest resident memory of one of them in bytes.
    pub peak_resident_bytes: u64,
    /// Page faults that had to read something.
    pub major_faults: u64,
}

/// What the child processes of this one that ended took, all together.
pub fn child_usage() -> ChildUsage {
    let time = |time: libc::timeval| {
        let seconds = Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0));
        seconds + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
    };
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the call fills the structure it is given, for which zeroes are valid.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    ChildUsage {
        user: time(usage.ru_utime),
        system: time(usage.ru_stime),
        peak_resident_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        major_faults: u64::try_from(usage.ru_majflt).unwrap_or(0),
    }
}

/// Resident memory of this process in bytes; 0 when /proc does not tell.
pub fn resident_bytes() -> u64 {
    let text = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0);
    pages * tmem_common::PAGE_SIZE as u64
}

/// Memory of this machine in bytes, without what the kernel took for itself at boot.
///
/// # Errors
/// When /proc/meminfo cannot be read or understood.
pub fn ram_bytes() -> Result<u64, SourceError> {
    let path = PathBuf::from("/proc/meminfo");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return Err(SourceError::Io { path, error }),
    };
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or(SourceError::Malformed {
        path,
        found: text.lines().next().unwrap_or_default().to_owned(),
        wanted: "a line such as MemTotal: 16384 kB",
    })
}

/// Swap traffic from the text of `/proc/vmstat`.
pub fn parse_disk_traffic(vmstat: &str) -> Option<DiskTraffic> {
    Some(DiskTraffic {
        swap_pages_written: field(vmstat, "pswpout ")?,
        swap_pages_read: field(vmstat, "pswpin ")?,
    })
}

/// Refaults of file pages from the text of `/proc/vmstat`; before Linux 5.9 those of
/// all pages, which then were file pages.
pub fn parse_refaults(vmstat: &str) -> Option<u64> {
    field(vmstat, "workingset_refault_file ").or_else(|| field(vmstat, "workingset_refault "))
}

/// The first two numbers of a kernel's release; zeroes if there are none.
pub fn parse_version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(['.', '-', '+'])
        .map_while(|n| n.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|value| value.trim().parse().ok())
}

/// Memory pressure from the text of `/proc/pressure/memory`.
pub fn parse_pressure(text: &str) -> Option<Pressure> {
    let line = |kind: &str| text.lines().find_map(|line| line.strip_prefix(kind));
    let value = |line: &str, name: &str| {
        line.split_whitespace()
            .find_map(|word| word.strip_prefix(name))
            .map(str::to_owned)
    };
    let some = line("some ")?;
    Some(Pressure {
        some_avg10: value(some, "avg10=")?.parse().ok()?,
        some_total_us: value(some, "total=")?.parse().ok()?,
        full_avg10: value(line("full ")?, "avg10=")?.parse().ok()?,
    })
}

/// Names cgroups by their ids, and remembers.
#[derive(Debug)]
pub struct CgroupNames {
    mount: PathBuf,
    known: HashMap<u64, Option<String>>,
}

impl CgroupNames {
    /// Looks below `mount`, which is `/sys/fs/cgroup` for the running system.
    pub fn new(mount: impl Into<PathBuf>) -> Self {
        Self {
            mount: mount.into(),
            known: HashMap::new(),
        }
    }

    /// The path below the mount of the cgroup `id`, `/` for the root. The tree
    /// is walked once for each id not met before.
    pub fn path(&mut self, id: u64) -> Option<String> {
        if !self.known.contains_key(&id) {
            let mount = self.mount.clone();
            self.walk(&mount);
            self.known.entry(id).or_insert(None);
        }
        self.known.get(&id).cloned().flatten()
    }

    fn walk(&mut self, directory: &Path) {
        let Ok(metadata) = fs::metadata(directory) else {
            return;
        };
        let below = directory.strip_prefix(&self.mount).unwrap_or(directory);
        let name = format!("/{}", below.display());
        self.known.insert(metadata.ino(), Some(name));
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.walk(&entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_traffic_is_found_among_other_lines() {
        let text = "nr_free_pages 5\npswpin 12\npswpout 34\npswpoutx 9\n";
        let traffic = parse_disk_traffic(text).expect("both are there");
        assert_eq!(traffic.swap_pages_read, 12);
        assert_eq!(traffic.swap_pages_written, 34);
        assert_eq!(parse_disk_traffic("pswpin 12\n"), None);
        assert_eq!(
            parse_refaults("workingset_refault_anon 1\nworkingset_refault_file 2\n"),
            Some(2)
        );
        assert_eq!(parse_refaults("workingset_refault 3\n"), Some(3));
        assert_eq!(parse_refaults(text), None);
    }

    #[test]
    fn pressure_is_read_from_both_lines() {
        let text = "some avg10=1.50 avg60=0.00 avg300=0.00 total=77\n\
                    full avg10=0.25 avg60=0.00 avg300=0.00 total=9\n";
        let pressure = parse_pressure(text).expect("well formed");
        assert_eq!(pressure.some_total_us, 77);
        assert!((pressure.some_avg10 - 1.5).abs() < 1e-9);
        assert!((pressure.full_avg10 - 0.25).abs() < 1e-9);
        assert_eq!(parse_pressure("some avg10=1.50 total=x\n"), None);
    }

    #[test]
    fn cgroups_are_named_by_their_directory() {
        let mount = tempfile::tempdir().expect("a directory");
        let inner = mount.path().join("a/b");
        fs::create_dir_all(&inner).expect("directories");
        let mut names = CgroupNames::new(mount.path());
        let id = |path: &Path| fs::metadata(path).expect("there").ino();
        assert_eq!(names.path(id(&inner)).as_deref(), Some("/a/b"));
        assert_eq!(names.path(id(mount.path())).as_deref(), Some("/"));
        assert_eq!(names.path(u64::MAX), None);
        let later = mount.path().join("later");
        fs::create_dir(&later).expect("a directory");
        assert_eq!(names.path(id(&later)).as_deref(), Some("/later"));
    }
}
