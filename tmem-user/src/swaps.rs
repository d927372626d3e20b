//! The kernel's swap devices: listing them, and taking one off and on again.

use std::ffi::{CString, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A swap device or file in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwapDevice {
    /// Its path.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Bytes of it that are in use, those in tmem included.
    pub used_bytes: u64,
    /// Its priority; negative ones are the kernel's own choice.
    pub priority: i32,
}

/// What draining needs of the system.
pub trait Swaps: Clone + Send + 'static {
    /// Swap devices in use, the first to be filled first.
    ///
    /// # Errors
    /// When the kernel's list cannot be read.
    fn devices(&self) -> io::Result<Vec<SwapDevice>>;

    /// Memory that can be had without swapping, in bytes.
    ///
    /// # Errors
    /// When the kernel does not tell.
    fn available_bytes(&self) -> io::Result<u64>;

    /// Brings every page of a device back and stops using it. Takes long.
    ///
    /// # Errors
    /// The system's; the device is then still in use.
    fn off(&self, path: &Path) -> io::Result<()>;

    /// Uses a device again, with the priority that it had.
    ///
    /// # Errors
    /// The system's.
    fn on(&self, device: &SwapDevice) -> io::Result<()>;
}

/// The running kernel's.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSwaps;

impl Swaps for SystemSwaps {
    fn devices(&self) -> io::Result<Vec<SwapDevice>> {
        parse_swaps(&fs::read("/proc/swaps")?)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/swaps: unknown form"))
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let text = fs::read_to_string("/proc/meminfo")?;
        parse_available(&text).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "/proc/meminfo: no MemAvailable line",
            )
        })
    }

    fn off(&self, path: &Path) -> io::Result<()> {
        let path = CString::new(path.as_os_str().as_bytes())?;
        // SAFETY: a valid string, which the call only reads.
        check(unsafe { libc::swapoff(path.as_ptr()) })
    }

    fn on(&self, device: &SwapDevice) -> io::Result<()> {
        let path = CString::new(device.path.as_os_str().as_bytes())?;
        // SAFETY: a valid string, which the call only reads.
        check(unsafe { libc::swapon(path.as_ptr(), swapon_flags(device.priority)) })
    }
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// SWAP_FLAG_PREFER with the priority; none for the kernel's own choice.
fn swapon_flags(priority: i32) -> libc::c_int {
    const SWAP_FLAG_PREFER: libc::c_int = 0x8000;
    const SWAP_FLAG_PRIO_MASK: libc::c_int = 0x7fff;
    if priority < 0 {
        0
    } else {
        SWAP_FLAG_PREFER | (priority & SWAP_FLAG_PRIO_MASK)
    }
}

/// Reads `/proc/swaps`: a heading, then path, type, size, used (both in KiB)
/// and priority, with blanks in the path written as `\040`.
fn parse_swaps(text: &[u8]) -> Option<Vec<SwapDevice>> {
    let mut devices = Vec::new();
    for line in text.split(|&byte| byte == b'\n').skip(1) {
        if line.is_empty() {
            continue;
        }
        let mut words = line
            .split(|byte| byte.is_ascii_whitespace())
            .filter(|word| !word.is_empty());
        let path = unescape(words.next()?);
        // A deleted file's path is followed by `\040(deleted)`, in one word.
        let numbers: Vec<i64> = words
            .filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok())
            .collect();
        let &[size, used, priority] = numbers.as_slice() else {
            return None;
        };
        devices.push(SwapDevice {
            path: PathBuf::from(OsString::from_vec(path)),
            size_bytes: u64::try_from(size).ok()? * 1024,
            used_bytes: u64::try_from(used).ok()? * 1024,
            priority: i32::try_from(priority).ok()?,
        });
    }
    devices.sort_by_key(|device| std::cmp::Reverse(device.priority));
    Some(devices)
}

/// Undoes the kernel's octal escapes.
fn unescape(word: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((&first, after)) = rest.split_first() {
        let code = (first == b'\\')
            .then(|| after.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(first);
                rest = after;
            }
        }
    }
    plain
}

fn parse_available(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swaps_are_listed_by_falling_priority() {
        let text = b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n\
            /dev/vda                                partition\t1048572\t\t512\t\t-2\n\
            /swap\\040file\\040(deleted)            file\t\t4096\t\t0\t\t5\n";
        let devices = parse_swaps(text).expect("well formed");
        assert_eq!(devices.len(), 2);
        assert_eq!(devices[0].path, Path::new("/swap file (deleted)"));
        assert_eq!(devices[0].priority, 5);
        assert_eq!(devices[1].path, Path::new("/dev/vda"));
        assert_eq!(devices[1].size_bytes, 1_048_572 * 1024);
        assert_eq!(devices[1].used_bytes, 512 * 1024);
        assert_eq!(parse_swaps(b"Filename\n/dev/vda partition 1 x 2\n"), None);
        assert_eq!(parse_swaps(b"Filename\n"), Some(Vec::new()));
    }

    #[test]
    fn priorities_become_flags() {
        assert_eq!(swapon_flags(-2), 0);
        assert_eq!(swapon_flags(0), 0x8000);
        assert_eq!(swapon_flags(100), 0x8064);
    }

    #[test]
    fn available_memory_is_in_bytes() {
        let text = "MemTotal: 9 kB\nMemAvailable:    2048 kB\n";
        assert_eq!(parse_available(text), Some(2 << 20));
        assert_eq!(parse_available("MemTotal: 9 kB\n"), None);
    }
}
