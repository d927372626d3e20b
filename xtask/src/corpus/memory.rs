//! Reading the memory of a running process through /proc.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{PAGE, Page};

/// Bit of a pagemap entry: the page is in memory.
const PRESENT: u64 = 1 << 63;

/// The process and all that it started, in the order of their starting.
pub(super) fn family(pid: u32) -> Vec<u32> {
    let mut members = vec![pid];
    let mut next = 0;
    while next < members.len() {
        let tasks = format!("/proc/{}/task", members[next]);
        next += 1;
        for task in fs::read_dir(tasks).into_iter().flatten().flatten() {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            members.extend(
                children
                    .split_whitespace()
                    .filter_map(|c| c.parse::<u32>().ok()),
            );
        }
    }
    members
}

/// Bytes of anonymous memory of a process; 0 when it is gone.
pub(super) fn anonymous_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| -> u64 {
        let line = status
            .lines()
            .find_map(|l| l.strip_prefix(name))
            .unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    };
    (field("RssAnon:") + field("RssShmem:")) * 1024
}

/// The pages of all writable mappings that swap would take: anonymous ones, private
/// or shared, without pages that were never touched.
pub(super) fn dump(pid: u32) -> Result<Vec<Page>> {
    let dir = format!("/proc/{pid}");
    let dir = Path::new(&dir);
    let maps = fs::read_to_string(dir.join("maps")).context("mappings of the process")?;
    let memory = File::open(dir.join("mem")).context("memory of the process")?;
    let pagemap = File::open(dir.join("pagemap")).context("page map of the process")?;
    let mut pages = Vec::new();
    for (start, end) in maps.lines().filter_map(swappable) {
        for address in (start..end).step_by(PAGE) {
            let mut entry = [0; 8];
            pagemap.read_exact_at(&mut entry, address / PAGE as u64 * 8)?;
            let mut page = [0; PAGE];
            if u64::from_le_bytes(entry) & PRESENT != 0
                && memory.read_exact_at(&mut page, address).is_ok()
            {
                pages.push(page);
            }
        }
    }
    Ok(pages)
}

/// First and end address of a line of /proc/PID/maps, when it is a writable anonymous mapping.
fn swappable(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let writable = fields.next()?.as_bytes().get(1) == Some(&b'w');
    let name = fields.nth(3).unwrap_or_default();
    let anonymous = matches!(name, "" | "[heap]" | "[stack]")
        || ["[anon", "/dev/zero", "/memfd:", "/dev/shm/", "/SYSV"]
            .iter()
            .any(|p| name.starts_with(p));
    if !writable || !anonymous {
        return None;
    }
    Some((
        u64::from_str_radix(start, 16).ok()?,
        u64::from_str_radix(end, 16).ok()?,
    ))
}
