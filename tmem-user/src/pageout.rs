//! Asking the kernel to reclaim memory of a process or of a cgroup now, so that
//! it is the user who decides what is compressed: `process_madvise` with
//! MADV_PAGEOUT (Linux 5.10), or the cgroup's `memory.reclaim` (Linux 5.19).

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::units::show_bytes;

/// Bytes asked for at a time, so that a limit is kept to about so much.
const STEP: u64 = 4 << 20;

/// Why memory could not be paged out.
#[derive(Debug, thiserror::Error)]
pub enum PageoutError {
    /// There is no such process.
    #[error("there is no process {0}")]
    NoProcess(i32),
    /// There is no such cgroup, or memory is not controlled in it.
    #[error("{}: no cgroup with a memory controller", .0.display())]
    NoCgroup(PathBuf),
    /// The kernel has no such call or file.
    #[error("this kernel cannot: {what} needs Linux {since} or newer")]
    TooOld {
        /// What is missing.
        what: &'static str,
        /// The first version that has it.
        since: &'static str,
    },
    /// The caller may not do this.
    #[error("{what} needs {needed}")]
    MissingRights {
        /// What was tried.
        what: String,
        /// The rights that would do.
        needed: &'static str,
    },
    /// The system refused, or a file could not be read.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// Whose memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A process.
    Process(Pid),
    /// A cgroup's directory.
    Cgroup(PathBuf),
}

/// How much memory the target has, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// In memory.
    pub resident: u64,
    /// Swapped out, wherever it is kept.
    pub swapped: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagedOut {
    /// Before.
    pub before: Memory,
    /// After.
    pub after: Memory,
    /// Bytes of mappings that were left out since they were in use; with an idle
    /// time only.
    pub in_use: u64,
}

impl PagedOut {
    /// Bytes more that are swapped out now.
    pub fn bytes(&self) -> u64 {
        self.after.swapped.saturating_sub(self.before.swapped)
    }
}

/// Pages out the target: all that the kernel gives up, or about `bytes` of it.
/// With `idle_for`, only the processes' mappings of which nothing was touched
/// in that time, which is waited for.
///
/// # Errors
/// See [`PageoutError`]. What was paged out before stays so.
pub fn page_out(
    target: &Target,
    bytes: Option<u64>,
    idle_for: Option<Duration>,
) -> Result<PagedOut, PageoutError> {
    match (target, idle_for) {
        (Target::Process(pid), None) => process(*pid, bytes.unwrap_or(u64::MAX), false),
        (Target::Process(pid), Some(time)) => {
            clear_marks(*pid)?;
            thread::sleep(time);
            process(*pid, bytes.unwrap_or(u64::MAX), true)
        }
        (Target::Cgroup(path), None) => cgroup(path, bytes),
        (Target::Cgroup(path), Some(time)) => idle_of(path, bytes.unwrap_or(u64::MAX), time),
    }
}

/// A part of a process's memory that can be swapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Mapping {
    start: u64,
    end: u64,
    anonymous: u64,
    referenced: u64,
}

/// The mappings with anonymous pages in the text of `/proc/PID/smaps`, without
/// those whose pages cannot be paged out (locked, huge, of devices).
fn parse_smaps(text: &str) -> Vec<Mapping> {
    let mut mappings: Vec<Mapping> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(first) = words.next() else {
            continue;
        };
        if let Some(name) = first.strip_suffix(':') {
            let Some(mapping) = mappings.last_mut() else {
                continue;
            };
            let mut kib = || {
                words
                    .next()
                    .and_then(|word| word.parse::<u64>().ok())
                    .unwrap_or(0)
            };
            match name {
                "Anonymous" => mapping.anonymous = kib() * 1024,
                "Referenced" => mapping.referenced = kib() * 1024,
                "VmFlags" if words.any(|flag| matches!(flag, "lo" | "ht" | "pf" | "io")) => {
                    mapping.anonymous = 0;
                }
                _ => {}
            }
        } else if let Some((start, end)) = first.split_once('-')
            && let (Ok(start), Ok(end)) =
                (u64::from_str_radix(start, 16), u64::from_str_radix(end, 16))
        {
            mappings.push(Mapping {
                start,
                end,
                ..Mapping::default()
            });
        }
    }
    mappings.retain(|mapping| mapping.anonymous > 0);
    mappings
}

/// Resident and swapped memory in the text of `/proc/PID/status`.
fn parse_status(text: &str) -> Memory {
    let kib = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name))
            .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    Memory {
        resident: kib("VmRSS:") * 1024,
        swapped: kib("VmSwap:") * 1024,
    }
}

/// What an error at `what` of a process means.
fn process_error(pid: Pid, what: &str, error: io::Error) -> PageoutError {
    let number = pid.as_raw_nonzero().get();
    match error.raw_os_error() {
        Some(libc::ESRCH | libc::ENOENT) => PageoutError::NoProcess(number),
        Some(libc::EPERM | libc::EACCES) => PageoutError::MissingRights {
            what: format!("{what} of process {number}"),
            needed: "CAP_SYS_NICE and the right to trace it (root has both)",
        },
        Some(libc::ENOSYS) => PageoutError::TooOld {
            what: "process_madvise",
            since: "5.10",
        },
        _ => PageoutError::Io {
            what: format!("{what} of process {number}"),
            error,
        },
    }
}

/// From now on the kernel marks anew which pages of a process are used.
fn clear_marks(pid: Pid) -> Result<(), PageoutError> {
    fs::write(format!("/proc/{}/clear_refs", pid.as_raw_nonzero()), "1")
        .map_err(|error| process_error(pid, "clearing the marks of use", error))
}

/// Pages out a process; with `idle` only mappings without a mark of use.
fn process(pid: Pid, bytes: u64, idle: bool) -> Result<PagedOut, PageoutError> {
    let fail = |what: &str, error: io::Error| process_error(pid, what, error);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())
        .map_err(|error| fail("opening the descriptor", error.into()))?;
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let memory = || -> Result<Memory, PageoutError> {
        let text = fs::read_to_string(proc.join("status"));
        Ok(parse_status(
            &text.map_err(|error| fail("reading the status", error))?,
        ))
    };
    let smaps = fs::read_to_string(proc.join("smaps"))
        .map_err(|error| fail("reading the mappings", error))?;
    let mut result = PagedOut {
        before: memory()?,
        ..PagedOut::default()
    };
    result.after = result.before;
    'mappings: for mapping in parse_smaps(&smaps) {
        if idle && mapping.referenced > 0 {
            result.in_use += mapping.anonymous;
            continue;
        }
        let mut start = mapping.start;
        while start < mapping.end {
            let left = bytes.saturating_sub(result.bytes());
            if left == 0 {
                break 'mappings;
            }
            let step = STEP.min(left).next_multiple_of(4096);
            let end = mapping.end.min(start + step);
            match madvise_pageout(&pidfd, start, end - start) {
                Ok(()) => {}
                // The mapping is gone or another by now.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::EINVAL)) => {
                }
                Err(error) => return Err(fail("paging out memory", error)),
            }
            start = end;
            result.after = memory()?;
        }
    }
    Ok(result)
}

fn madvise_pageout(pidfd: &OwnedFd, start: u64, length: u64) -> io::Result<()> {
    const MADV_PAGEOUT: libc::c_int = 21;
    // Addresses of the other process: this one never touches them.
    let range = libc::iovec {
        iov_base: start as *mut libc::c_void,
        iov_len: usize::try_from(length).map_err(io::Error::other)?,
    };
    // SAFETY: one range, which outlives the call; the call only reads it, and
    // changes no contents of the memory that it names.
    let result = unsafe {
        libc::syscall(
            libc::SYS_process_madvise,
            pidfd.as_raw_fd(),
            &raw const range,
            1_usize,
            MADV_PAGEOUT,
            0_u32,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// The memory of a cgroup and those below it.
fn memory_of(cgroup: &Path) -> Result<Memory, PageoutError> {
    let number = |name: &str| {
        let text = fs::read_to_string(cgroup.join(name)).ok()?;
        text.trim().parse::<u64>().ok()
    };
    Ok(Memory {
        resident: number("memory.current")
            .ok_or_else(|| PageoutError::NoCgroup(cgroup.to_owned()))?,
        // Without swap accounting nobody knows.
        swapped: number("memory.swap.current").unwrap_or(0),
    })
}

/// The processes of a cgroup and of those below it.
fn processes_of(cgroup: &Path) -> Vec<Pid> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut pids: Vec<Pid> = text
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
        .collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(processes_of(&entry.path()));
        }
    }
    pids
}

/// Pages out what the processes of a cgroup do not use. One that ends meanwhile is no error.
fn idle_of(cgroup: &Path, bytes: u64, time: Duration) -> Result<PagedOut, PageoutError> {
    let still_there = |result: Result<PagedOut, PageoutError>| match result {
        Err(PageoutError::NoProcess(_)) => Ok(None),
        other => other.map(Some),
    };
    let mut result = PagedOut {
        before: memory_of(cgroup)?,
        ..PagedOut::default()
    };
    let mut pids = Vec::new();
    for pid in processes_of(cgroup) {
        if still_there(clear_marks(pid).map(|()| PagedOut::default()))?.is_some() {
            pids.push(pid);
        }
    }
    thread::sleep(time);
    let mut left = bytes;
    for pid in pids {
        if let Some(of_one) = still_there(process(pid, left, true))? {
            left = left.saturating_sub(of_one.bytes());
            result.in_use += of_one.in_use;
        }
    }
    result.after = memory_of(cgroup)?;
    Ok(result)
}

fn cgroup(path: &Path, bytes: Option<u64>) -> Result<PagedOut, PageoutError> {
    let before = memory_of(path)?;
    let file = path.join("memory.reclaim");
    let mut left = bytes.unwrap_or(before.resident);
    while left > 0 {
        let step = left.min(16 * STEP);
        let written = fs::OpenOptions::new()
            .write(true)
            .open(&file)
            .and_then(|mut file| file.write_all(step.to_string().as_bytes()));
        match written {
            Ok(()) => left -= step,
            // Less could be had than asked for: that is all.
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => break,
            Err(error) => return Err(reclaim_error(&file, step, error)),
        }
    }
    Ok(PagedOut {
        before,
        after: memory_of(path)?,
        in_use: 0,
    })
}

fn reclaim_error(file: &Path, step: u64, error: io::Error) -> PageoutError {
    match error.kind() {
        ErrorKind::NotFound => PageoutError::TooOld {
            what: "memory.reclaim",
            since: "5.19",
        },
        ErrorKind::PermissionDenied => PageoutError::MissingRights {
            what: format!("writing {}", file.display()),
            needed: "root, or the cgroup delegated to you",
        },
        _ => PageoutError::Io {
            what: format!("reclaiming {} by {}", show_bytes(step), file.display()),
            error,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_those_that_can_be_swapped() {
        let text = "\
7f00-9f00 rw-p 00000000 00:00 0 [heap]
Rss:                 100 kB
Referenced:           40 kB
Anonymous:            96 kB
VmFlags: rd wr mr mw me ac sd
a000-b000 r--p 00000000 fe:01 12 /usr/lib/x: y.so
Referenced:            4 kB
Anonymous:             0 kB
VmFlags: rd mr mw me sd
c000-d000 rw-p 00000000 00:00 0
Anonymous:             4 kB
VmFlags: rd wr lo
";
        let heap = Mapping {
            start: 0x7f00,
            end: 0x9f00,
            anonymous: 96 << 10,
            referenced: 40 << 10,
        };
        assert_eq!(parse_smaps(text), [heap]);
        assert_eq!(parse_smaps("nonsense\n:\n"), []);
    }

    #[test]
    fn memory_is_read_from_the_status() {
        let text = "Name:\tx\nVmRSS:\t    2048 kB\nVmSwap:\t      12 kB\n";
        let memory = parse_status(text);
        assert_eq!((memory.resident, memory.swapped), (2 << 20, 12 << 10));
        assert_eq!(parse_status("Name:\tkthread\n"), Memory::default());
    }

    #[test]
    fn a_cgroup_is_asked_in_steps_and_told_what_misses() {
        let directory = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let path = directory.path();
        let target = Target::Cgroup(path.to_owned());
        let error = page_out(&target, None, None)
            .err()
            .map(|error| error.to_string());
        assert!(error.unwrap_or_default().contains("no cgroup"));
        fs::write(path.join("memory.current"), "100000000\n").ok();
        fs::write(path.join("memory.swap.current"), "4096\n").ok();
        let error = page_out(&target, None, None)
            .err()
            .map(|error| error.to_string());
        assert!(error.unwrap_or_default().contains("5.19"));
        fs::write(path.join("memory.reclaim"), "").ok();
        let result = page_out(&target, Some(70 << 20), None).unwrap_or_default();
        assert_eq!(result.before.resident, 100_000_000);
        // The last of two steps, as a plain file keeps it.
        let written = fs::read_to_string(path.join("memory.reclaim")).unwrap_or_default();
        assert!(written.starts_with("6291456"), "{written}");
    }

    /// Where this process may, a child's memory is asked for; where not, the error
    /// says which rights miss.
    #[test]
    fn a_process_is_paged_out_or_the_missing_rights_are_named() -> io::Result<()> {
        let mut child = std::process::Command::new("sleep").arg("100").spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let result = pid.map(|pid| page_out(&Target::Process(pid), None, None));
        child.kill()?;
        child.wait()?;
        match result {
            Some(Ok(result)) => assert!(result.before.resident > 0),
            Some(Err(error)) => {
                assert!(
                    matches!(error, PageoutError::MissingRights { .. }),
                    "{error}"
                );
            }
            None => panic!("no pid"),
        }
        // It has ended.
        let gone = pid.map(|pid| page_out(&Target::Process(pid), None, None));
        assert!(
            matches!(gone, Some(Err(PageoutError::NoProcess(_)))),
            "{gone:?}"
        );
        Ok(())
    }
}
