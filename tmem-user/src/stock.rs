//! What a kernel without the module has itself, as a [`Source`]: zswap and zram,
//! observed through the files that they offer, their operations timed by eBPF. Nothing
//! can be set here.
//!
//! zswap shows as pool 0, zram devices as the pools after it. A store is a page
//! written into them, a hit a page read back. What the files do not tell is left
//! at 0, with the reason in [`Snapshot::unmeasured`] where it matters.

use std::fs;
use std::path::{Path, PathBuf};

use tmem_common::PAGE_SIZE;
use tmem_common::event::{STOCK_ZRAM, STOCK_ZSWAP};
use tmem_common::op::Outcome;
use tmem_common::stats::Stats;

use crate::interval::compression_ratio;
use crate::observe::Observer;
use crate::probes::probes;
use crate::source::{
    CellSnapshot, Change, ONLY_OF_THE_MODULE, Observed, OwnCost, PoolKind, PoolSnapshot, Snapshot,
    Source, SourceError, Tunable, Unmeasured,
};
use crate::system;
use crate::units::{show_bytes, show_count};

const PAGE: u64 = PAGE_SIZE as u64;

/// The unit of block devices' counters in bytes, whatever their block size.
const SECTOR: u64 = 512;

/// zswap and zram of the kernel whose files are below a root directory.
pub struct StockSource {
    root: PathBuf,
    /// Times operations; else why it does not.
    observer: Result<Box<Observer>, String>,
    cpu_ns_at_start: u64,
}

impl StockSource {
    /// Observes the kernel whose /proc and /sys are below `root`: `/` for the running one.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            observer: Err("not asked for".to_owned()),
            cpu_ns_at_start: system::process_cpu_ns(),
        }
    }

    /// Observes the running kernel, and times the operations of its zswap and zram. That
    /// they cannot be timed is no error: snapshots then say why.
    pub fn timed() -> Self {
        let mut source = Self::new("/");
        let symbols = source.read("/proc/kallsyms").unwrap_or_default();
        let release = source.read("/proc/sys/kernel/osrelease");
        let version = system::parse_version(&release.unwrap_or_default());
        let probes = probes(&symbols, version);
        source.observer = if probes.functions.is_empty() {
            Err("this kernel has no function of zswap or zram that could be timed".to_owned())
        } else {
            match Observer::attach_stock(&probes) {
                Ok(observer) => Ok(Box::new(observer)),
                Err(error) => Err(error.to_string()),
            }
        };
        source
    }

    /// The times so far, by the pools that are there.
    fn observe(&mut self, pools: &[PoolSnapshot]) -> Result<Observed, String> {
        let observer = self.observer.as_mut().map_err(|why| why.clone())?;
        let reading = observer.read().map_err(|error| error.to_string())?;
        Ok(Observed {
            only_times: true,
            cells: cells_of(reading.observed.cells, pools),
            ..Observed::default()
        })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim_end().to_owned())
    }

    fn number(&self, path: &str) -> Option<u64> {
        self.read(path)?.parse().ok()
    }

    fn zswap(&self, ram: u64, unmeasured: &mut Vec<Unmeasured>) -> Option<PoolSnapshot> {
        let parameter = |name| self.read(&format!("/sys/module/zswap/parameters/{name}"));
        let enabled = parameter("enabled")? == "Y";
        let meminfo = self.read("/proc/meminfo").unwrap_or_default();
        let vmstat = self.read("/proc/vmstat").unwrap_or_default();
        let debug = |name| self.number(&format!("/sys/kernel/debug/zswap/{name}"));
        let kib = |name| field(&meminfo, name).map(|kib| kib * 1024);

        let data_bytes = debug("pool_total_size").or_else(|| kib("Zswap:"));
        let pages = debug("stored_pages").or_else(|| kib("Zswapped:").map(|bytes| bytes / PAGE));
        if !enabled && pages.unwrap_or(0) == 0 {
            return None;
        }
        let (stored, hits) = (field(&vmstat, "zswpout"), field(&vmstat, "zswpin"));
        for (what, known) in [
            ("zswap pages", pages.is_some()),
            ("zswap stores and hits", stored.is_some()),
            ("zswap refusals", debug("pool_limit_hit").is_some()),
        ] {
            if !known {
                let why = "needs root and debugfs, or Linux 5.19 or newer".to_owned();
                unmeasured.push(Unmeasured { what, why });
            }
        }
        let mut stats = Stats {
            pages: pages.unwrap_or(0),
            same_pages: debug("same_filled_pages").unwrap_or(0),
            data_bytes: data_bytes.unwrap_or(0),
            store_bytes: data_bytes.unwrap_or(0),
            ..Stats::default()
        };
        let sum = |names: &[&'static str]| names.iter().filter_map(|name| debug(name)).sum();
        for (outcome, count) in [
            (Outcome::Stored, stored.unwrap_or(0)),
            (Outcome::Hit, hits.unwrap_or(0)),
            (Outcome::RefusedLimit, sum(&["pool_limit_hit"])),
            (
                Outcome::RefusedNoMemory,
                sum(&["reject_alloc_fail", "reject_kmemcache_fail"]),
            ),
            (
                Outcome::RefusedIncompressible,
                sum(&["reject_compress_poor", "reject_compress_fail"]),
            ),
        ] {
            stats.outcomes[outcome as usize] = count;
        }
        let percent = parameter("max_pool_percent").and_then(|text| text.parse::<u64>().ok());
        Some(PoolSnapshot {
            id: STOCK_ZSWAP,
            uuid: uuid("zswap"),
            kind: PoolKind::Persistent,
            codec: parameter("compressor").unwrap_or_default(),
            weight: 1,
            limit_bytes: percent.map(|percent| ram / 100 * percent),
            frozen: !enabled,
            stats,
            ..PoolSnapshot::default()
        })
    }

    /// The zram devices that are set up.
    fn zram(&self) -> Vec<PoolSnapshot> {
        let entries = fs::read_dir(self.path("/sys/block"))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut numbers: Vec<u32> = names
            .filter_map(|name| name.strip_prefix("zram")?.parse().ok())
            .collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .filter_map(|number| self.zram_device(number))
            .collect()
    }

    fn zram_device(&self, number: u32) -> Option<PoolSnapshot> {
        let directory = format!("/sys/block/zram{number}");
        let disk_bytes = self
            .number(&format!("{directory}/disksize"))
            .filter(|size| *size > 0)?;
        let numbers = |file: &str| -> Vec<u64> {
            let text = self
                .read(&format!("{directory}/{file}"))
                .unwrap_or_default();
            text.split_whitespace()
                .map(|word| word.parse().unwrap_or(0))
                .collect()
        };
        let (memory, traffic, other) = (numbers("mm_stat"), numbers("stat"), numbers("io_stat"));
        // https://docs.kernel.org/admin-guide/blockdev/zram.html and .../block/stat.html
        let at = |numbers: &[u64], position: usize| numbers.get(position).copied().unwrap_or(0);
        let mut stats = Stats {
            pages: at(&memory, 0) / PAGE,
            data_bytes: at(&memory, 1),
            store_bytes: at(&memory, 2),
            same_pages: at(&memory, 5),
            raw_pages: at(&memory, 7),
            moved_pages: at(&memory, 6),
            ..Stats::default()
        };
        stats.outcomes[Outcome::Hit as usize] = at(&traffic, 2) * SECTOR / PAGE;
        stats.outcomes[Outcome::Stored as usize] = at(&traffic, 6) * SECTOR / PAGE;
        stats.outcomes[Outcome::RefusedNoMemory as usize] = at(&other, 1);
        stats.outcomes[Outcome::Flushed as usize] = at(&other, 3);
        let algorithms = self
            .read(&format!("{directory}/comp_algorithm"))
            .unwrap_or_default();
        let limit = Some(at(&memory, 3)).filter(|limit| *limit > 0);
        Some(PoolSnapshot {
            id: number + 1,
            uuid: uuid(&format!("zram{number}")),
            kind: PoolKind::Persistent,
            codec: algorithms
                .split(['[', ']'])
                .nth(1)
                .unwrap_or(&algorithms)
                .to_owned(),
            weight: 1,
            limit_bytes: limit.or(Some(disk_bytes)),
            stats,
            ..PoolSnapshot::default()
        })
    }

    /// What tmem would add to what this kernel does by itself.
    fn notes(&self, snapshot: &Snapshot) -> Vec<String> {
        let mut notes = Vec::new();
        match snapshot.pools.is_empty() {
            true => notes.push(
                "Neither zswap nor zram is in use: every page that reclaim throws out goes to the \
                 swap device. tmem would keep it compressed in memory."
                    .to_owned(),
            ),
            false => notes.push(format!(
                "{} pages are kept in {} (ratio {}).",
                show_count(snapshot.totals.pages),
                show_bytes(snapshot.used_bytes),
                compression_ratio(&snapshot.totals)
                    .map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}")),
            )),
        }
        if let Some(disk) = snapshot.disk.filter(|disk| disk.swap_pages_read > 0) {
            notes.push(format!(
                "{} pages were read from swap devices since boot, each of which had to be waited \
                 for.",
                show_count(disk.swap_pages_read)
            ));
        }
        notes.push(
            "tmem would add: one budget for all of it, in bytes or percent, changed while it runs; \
             codecs that change with pages stored; memory given back as pages go; file pages; \
             figures by cgroup and file; sampled operations."
                .to_owned(),
        );
        notes.push("`tmem doctor` says whether it would work on this machine.".to_owned());
        notes
    }
}

/// The cells of the pools that are there. zram's are those of the device if there is one, else
/// of a pool without a name: which device it was is not told.
fn cells_of(cells: Vec<CellSnapshot>, pools: &[PoolSnapshot]) -> Vec<CellSnapshot> {
    let mut zram = pools.iter().filter(|pool| pool.id != STOCK_ZSWAP);
    let zram = match (zram.next(), zram.next()) {
        (Some(only), None) => Some(only.id),
        (first, _) => first.map(|_| STOCK_ZRAM),
    };
    let zswap = pools.iter().find(|pool| pool.id == STOCK_ZSWAP);
    cells
        .into_iter()
        .filter_map(|cell| {
            // The kernel asks a zswap that is off, too.
            let pool = match cell.pool {
                STOCK_ZSWAP => zswap?.id,
                _ => zram?,
            };
            Some(CellSnapshot { pool, ..cell })
        })
        .collect()
}

/// The number after `name` in a text of lines such as /proc/vmstat's.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| line.strip_prefix(name))
        .find_map(|rest| rest.strip_prefix(char::is_whitespace))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
}

fn uuid(name: &str) -> [u8; 16] {
    let mut uuid = [0; 16];
    for (byte, letter) in uuid.iter_mut().zip(name.bytes()) {
        *byte = letter;
    }
    uuid
}

fn add(sum: &mut Stats, stats: &Stats) {
    sum.pages += stats.pages;
    sum.same_pages += stats.same_pages;
    sum.raw_pages += stats.raw_pages;
    sum.data_bytes += stats.data_bytes;
    sum.store_bytes += stats.store_bytes;
    sum.moved_pages += stats.moved_pages;
    for (sum, count) in sum.outcomes.iter_mut().zip(stats.outcomes) {
        *sum += count;
    }
}

fn nothing_to_set(root: &Path) -> SourceError {
    SourceError::Absent {
        what: "the tmem module".to_owned(),
        path: root.join(tmem_common::sysfs::ROOT.trim_start_matches('/')),
        hint: "zswap and zram can only be watched here; load it with `modprobe tmem`".to_owned(),
    }
}

impl Source for StockSource {
    fn describe(&self) -> String {
        let release = self.read("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!("zswap and zram on Linux {release} (no tmem module)")
    }

    fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
        let meminfo = self.path("/proc/meminfo");
        let text = fs::read_to_string(&meminfo).map_err(|error| SourceError::Io {
            path: meminfo.clone(),
            error,
        })?;
        let ram = field(&text, "MemTotal:").unwrap_or(0) * 1024;
        let mut unmeasured = Vec::new();
        let mut pools: Vec<PoolSnapshot> = self.zswap(ram, &mut unmeasured).into_iter().collect();
        pools.extend(self.zram());
        let observed = self.observe(&pools);
        let observed = observed.map_err(|why| {
            let what = "latency";
            unmeasured.push(Unmeasured { what, why });
        });
        let why = "only the tmem module tells of them".to_owned();
        let what = ONLY_OF_THE_MODULE;
        unmeasured.push(Unmeasured { what, why });
        let mut totals = Stats::default();
        for pool in &pools {
            add(&mut totals, &pool.stats);
        }
        let vmstat = self.read("/proc/vmstat").unwrap_or_default();
        let pressure = self.read("/proc/pressure/memory");
        let mut snapshot = Snapshot {
            taken_ns: system::monotonic_ns(),
            enabled: pools.iter().any(|pool| !pool.frozen),
            codec: pools
                .first()
                .map(|pool| pool.codec.clone())
                .unwrap_or_default(),
            totals,
            used_bytes: totals.store_bytes,
            limit_bytes: pools.iter().filter_map(|pool| pool.limit_bytes).sum(),
            pools,
            observed: observed.ok(),
            disk: system::parse_disk_traffic(&vmstat),
            refaults: system::parse_refaults(&vmstat),
            pressure: pressure.as_deref().and_then(system::parse_pressure),
            cost: OwnCost {
                cpu_ns: system::process_cpu_ns().saturating_sub(self.cpu_ns_at_start),
                resident_bytes: system::resident_bytes(),
                programs_ns: match &self.observer {
                    Ok(observer) => observer.programs_ns(),
                    Err(_) => None,
                },
            },
            unmeasured,
            ..Snapshot::default()
        };
        snapshot.notes = self.notes(&snapshot);
        Ok(snapshot)
    }

    fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError> {
        Ok(Vec::new())
    }

    fn plan(&mut self, _: &str, _: &str) -> Result<Change, SourceError> {
        Err(nothing_to_set(&self.root))
    }

    fn set(&mut self, _: &str, _: &str) -> Result<Change, SourceError> {
        Err(nothing_to_set(&self.root))
    }
}

#[cfg(test)]
mod tests {
    use tmem_common::op::Op;

    use super::*;
    use crate::histogram::Histogram;

    #[test]
    fn times_are_of_the_pools_that_are_there() {
        let cell = |pool| CellSnapshot {
            pool,
            op: Op::Get,
            outcome: Outcome::Hit,
            count: 1,
            bytes: 0,
            total_ns: 1,
            histogram: Histogram::default(),
        };
        let of = |pools: &[u32]| -> Vec<u32> {
            let pools: Vec<PoolSnapshot> = pools
                .iter()
                .map(|&id| PoolSnapshot {
                    id,
                    ..PoolSnapshot::default()
                })
                .collect();
            let cells = vec![cell(STOCK_ZSWAP), cell(STOCK_ZRAM)];
            let cells = cells_of(cells, &pools);
            cells.iter().map(|cell| cell.pool).collect()
        };
        assert_eq!(of(&[]), [] as [u32; 0]);
        assert_eq!(of(&[0]), [0]);
        assert_eq!(of(&[3]), [3]);
        assert_eq!(of(&[0, 1]), [0, 1]);
        assert_eq!(of(&[0, 1, 2]), [0, STOCK_ZRAM]);
    }
}
