//! Verified contents: every kind of swapped memory comes back as it was.

use std::fs::{self, File, OpenOptions};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tmem_common::op::Outcome;
use tmem_common::sysfs;
use tmem_tests::protocol::CONTROL_MODULE;

use crate::cgroup::Cgroup;
use crate::content::Rng;
use crate::context::Context;
use crate::load::{self, Goal};
use crate::process::{self, Child};
use crate::region::{Region, Tally};
use crate::sys;
use crate::tier::{self, Stats, Tier};

/// Memory of a group of processes, in MiB.
pub(super) const GROUP_MIB: u64 = 20;
/// Pages that its processes use together: twice as much.
const PAGES: usize = 2 * 5120;

/// Swap disk, module, tally, and a group with little memory.
pub(super) struct Stage {
    pub(super) tier: Tier,
    pub(super) group: Cgroup,
    pub(super) tally: &'static Tally,
    before: Stats,
    written_before: u64,
    huge_before: u64,
}

impl Stage {
    pub(super) fn new(context: &Context) -> Result<Self> {
        Self::on(Tier::start(context)?)
    }

    pub(super) fn on(tier: Tier) -> Result<Self> {
        Ok(Self {
            group: Cgroup::new("scenario", GROUP_MIB)?,
            tally: Tally::shared()?,
            before: tier.stats()?,
            written_before: tier.disk.written_bytes()?,
            huge_before: tier::vmstat("thp_swpout")?,
            tier,
        })
    }

    /// A process in the group.
    pub(super) fn worker(&self, work: impl FnOnce() -> Result<()>) -> Result<Child> {
        process::spawn(|| {
            self.group.enter()?;
            work()
        })
    }

    /// Runs a process that uses private memory at random until it caused `stores` stores.
    pub(super) fn exercise(&self, context: &Context, stores: u64) -> Result<()> {
        let worker = self.worker(|| {
            let mut region = Region::anonymous(PAGES, context.seed)?;
            let mut rng = Rng::new(context.seed);
            region.write_all();
            if context.option("spoil").is_some() {
                region.spoil(PAGES / 2);
            }
            load::use_until(
                Goal::new(&self.tier, stores)?,
                &mut region,
                &mut rng,
                self.tally,
            )
        })?;
        worker.join()
    }

    /// Reports the counts, judges the contents, and takes everything down.
    pub(super) fn finish(self, context: &Context) -> Result<()> {
        let now = self.tier.stats()?;
        let since = |name| now.get(name) - self.before.get(name);
        context.data(json!({
            "stores": now.stored() - self.before.stored(),
            "hits": since(Outcome::Hit.name()),
            "same": since(Outcome::StoredSame.name()),
            "raw": since(Outcome::StoredRaw.name()),
            "refused_limit": since(Outcome::RefusedLimit.name()),
            "refused_no_memory": since(Outcome::RefusedNoMemory.name()),
            "verified": self.tally.checked(),
            "bad": self.tally.bad(),
            "disk_bytes_written": self.tier.disk.written_bytes()? - self.written_before,
            "huge_pages_swapped": tier::vmstat("thp_swpout")? - self.huge_before,
        }));
        self.tally.verdict()?;
        ensure!(
            now.outcome(Outcome::Corrupt) == 0,
            "the module counted corrupt pages"
        );
        self.tier.finish()
    }
}

/// A goal of a share of the scenario's stores.
fn goal<'a>(context: &Context, tier: &'a Tier, share: u64) -> Result<Goal<'a>> {
    Goal::new(tier, context.number("stores")? / share)
}

/// Private memory of one process, rewritten at random. With the parameter `spoil=1` a bit
/// is flipped on purpose, which must be found.
pub(super) fn anonymous(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    stage.exercise(context, context.number("stores")?)?;
    stage.finish(context)
}

/// Pages are kept by the codecs that are asked for: `adaptive`, which is what a module begins with, makes memory smaller
/// than LZ4 alone, as only px64 can have done with the records in it, and than px64 alone, as only LZ4 can with the
/// text.
pub(super) fn codecs(context: &Context) -> Result<()> {
    const PAGES: usize = 1500;
    /// Percent by which it has to be smaller: some pages may stay in memory.
    const MARGIN: u64 = 3;
    let tier = Tier::start(context)?;
    let default = tier::attribute(sysfs::CODEC)?;
    ensure!(default == "adaptive", "the module begins with {default}");
    let tally = Tally::shared()?;
    let worker = process::spawn(|| {
        let mut region = Region::anonymous(PAGES, context.seed)?;
        region.write_all();
        let sizes = ["adaptive", "px64", "lz4"].map(|codec| -> Result<u64> {
            tier.set(sysfs::CODEC, codec)?;
            region.page_out(0, PAGES)?;
            let stats = tier.stats()?;
            let pages = stats.get("pages");
            ensure!(
                pages * 10 >= PAGES as u64 * 9,
                "{codec}: only {pages} pages were stored"
            );
            region.check_all(tally);
            Ok(stats.get("data_bytes") / pages)
        });
        let [adaptive, px64, lz4] = sizes;
        let (adaptive, px64, lz4) = (adaptive?, px64?, lz4?);
        context.data(json!({"bytes_adaptive": adaptive, "bytes_px64": px64, "bytes_lz4": lz4}));
        for (other, bytes) in [("px64", px64), ("lz4", lz4)] {
            ensure!(
                adaptive * 100 <= bytes * (100 - MARGIN),
                "adaptive: {adaptive} bytes a page, {other}: {bytes}"
            );
        }
        Ok(())
    })?;
    worker.join()?;
    tally.verdict()?;
    tier.finish()
}

/// Copy-on-write: parent and child share swapped pages, both write, each sees its own.
pub(super) fn fork(context: &Context) -> Result<()> {
    const ROUNDS: u64 = 2;
    let stage = Stage::new(context)?;
    stage
        .worker(|| {
            let mut region = Region::anonymous(PAGES / 2, context.seed)?;
            let mut rng = Rng::new(context.seed);
            region.write_all();
            for round in 0..ROUNDS {
                region.page_out(0, region.pages())?;
                let goal_of_child = goal(context, &stage.tier, 2 * ROUNDS)?;
                let child = process::spawn(|| {
                    let mut rng = Rng::new(context.seed + 1000 + round);
                    region.lock_all_else()?;
                    // First what the parent had at the fork, then writes of its own.
                    region.check_all(stage.tally);
                    region.reseed(context.seed + 1 + round);
                    region.write_all();
                    load::use_until(goal_of_child, &mut region, &mut rng, stage.tally)
                })?;
                let own = goal(context, &stage.tier, ROUNDS)?;
                load::use_until(own, &mut region, &mut rng, stage.tally)?;
                child.join()?;
                region.check_all(stage.tally);
            }
            Ok(())
        })?
        .join()?;
    stage.finish(context)
}

/// Huge pages. Where the kernel has smaller large folios too, they are used as well.
pub(super) fn huge_pages(context: &Context) -> Result<()> {
    const MULTI_SIZE: &str = "/sys/kernel/mm/transparent_hugepage/hugepages-64kB/enabled";
    fs::write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise")
        .context("switching huge pages on")?;
    let made_before = made_and_split()?;
    let stage = Stage::new(context)?;
    stage
        .worker(|| {
            let mut rng = Rng::new(context.seed);
            for huge in [true, false] {
                if !huge {
                    // The kernel has this file from 6.8 on.
                    if fs::write(MULTI_SIZE, "madvise").is_err() {
                        continue;
                    }
                    fs::write("/sys/kernel/mm/transparent_hugepage/enabled", "never")?;
                }
                let mut part = goal(context, &stage.tier, 2)?;
                let mut seed = context.seed;
                // Only a fresh mapping is sure to get huge pages.
                while !part.reached()? && stage.tally.bad() == 0 {
                    seed += 1;
                    let mut region = Region::huge(4096, seed)?;
                    region.write_all();
                    region.page_out(0, region.pages())?;
                    load::burst(&mut region, &mut rng, stage.tally)?;
                    region.page_out(0, region.pages())?;
                    region.check_all(stage.tally);
                }
            }
            Ok(())
        })?
        .join()?;
    if fs::write(MULTI_SIZE, "never").is_ok() {
        fs::write("/sys/kernel/mm/transparent_hugepage/enabled", "madvise")?;
    }
    let whole = made_and_split()? - made_before;
    ensure!(whole > 0, "no huge page was swapped out whole");
    stage.finish(context)
}

/// Huge pages made since boot, less those that were split into small ones.
fn made_and_split() -> Result<i64> {
    Ok(tier::vmstat("thp_fault_alloc")? as i64 - tier::vmstat("thp_split_page")? as i64)
}

/// Files in tmpfs and memfd, mapped by two processes.
pub(super) fn shared_memory(context: &Context) -> Result<()> {
    const TURNS: u64 = 2;
    const DIRECTORY: &str = "/tmp/shmem";
    let stage = Stage::new(context)?;
    sys::mount("tmpfs", DIRECTORY, "size=256M").context("tmpfs")?;
    let named: File = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(format!("{DIRECTORY}/file"))?;
    for file in [named, sys::memory_file("scenario")?] {
        stage
            .worker(|| {
                let mut region = Region::shared(&file, PAGES / 2, context.seed)?;
                let mut rng = Rng::new(context.seed);
                region.write_all();
                for _ in 0..TURNS {
                    let part = goal(context, &stage.tier, 2 * TURNS)?;
                    load::use_until(part, &mut region, &mut rng, stage.tally)?;
                    region.page_out(0, region.pages())?;
                    // The other process sees what this one wrote, through its own mapping.
                    process::spawn(|| {
                        region.check_all(stage.tally);
                        Ok(())
                    })?
                    .join()?;
                }
                Ok(())
            })?
            .join()?;
    }
    fs::remove_file(format!("{DIRECTORY}/file"))?;
    sys::unmount(DIRECTORY).context("unmounting tmpfs")?;
    stage.finish(context)
}

/// Several processes at once.
pub(super) fn parallel(context: &Context) -> Result<()> {
    const PROCESSES: u64 = 4;
    let stage = Stage::new(context)?;
    let children: Vec<Child> = (0..PROCESSES)
        .map(|number| {
            let seed = context.seed + number;
            let stage = &stage;
            stage.worker(move || {
                let mut region = Region::anonymous(PAGES / PROCESSES as usize, seed)?;
                let mut rng = Rng::new(seed);
                region.write_all();
                load::use_until(
                    goal(context, &stage.tier, 1)?,
                    &mut region,
                    &mut rng,
                    stage.tally,
                )
            })
        })
        .collect::<Result<_>>()?;
    for child in children {
        child.join()?;
    }
    stage.finish(context)
}

/// A working set of one and a half times the machine's memory, without any group.
pub(super) fn pressure(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    let pages = usize::try_from(memory_kib()? / 4 * 3 / 2)?;
    process::spawn(|| {
        let mut region = Region::anonymous(pages, context.seed)?;
        let mut rng = Rng::new(context.seed);
        region.write_all();
        load::use_until(
            goal(context, &stage.tier, 1)?,
            &mut region,
            &mut rng,
            stage.tally,
        )
    })?
    .join()?;
    stage.finish(context)
}

/// The machine's memory in KiB.
fn memory_kib() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    Ok(line
        .and_then(|l| l.split_whitespace().next())
        .context("no MemTotal")?
        .parse()?)
}

/// A small limit and zswap switched on: what the module refuses is taken by zswap, and
/// what that refuses goes to disk.
pub(super) fn zswap_behind(context: &Context) -> Result<()> {
    const ZSWAP: &str = "/sys/module/zswap/parameters";
    let stage = Stage::new(context)?;
    stage.tier.set(sysfs::LIMIT, "4M")?;
    fs::write(format!("{ZSWAP}/max_pool_percent"), "1").context("zswap's limit")?;
    fs::write(format!("{ZSWAP}/enabled"), "1").context("switching zswap on")?;
    stage
        .worker(|| {
            let mut region = Region::anonymous(2 * PAGES, context.seed)?;
            let mut rng = Rng::new(context.seed);
            region.write_all();
            ensure!(zswap_pages()? > 0, "zswap took no page");
            load::use_until(
                goal(context, &stage.tier, 1)?,
                &mut region,
                &mut rng,
                stage.tally,
            )
        })?
        .join()?;
    fs::write(format!("{ZSWAP}/enabled"), "0").context("switching zswap off")?;
    if context.option("backend").is_none() {
        let stats = Stats::read()?;
        ensure!(
            stats.outcome(Outcome::RefusedLimit) > 0,
            "the limit refused no page"
        );
    }
    let written = stage.tier.disk.written_bytes()?;
    ensure!(written > stage.written_before, "nothing went to disk");
    stage.finish(context)
}

fn zswap_pages() -> Result<u64> {
    let path = "/sys/kernel/debug/zswap/stored_pages";
    Ok(fs::read_to_string(path).context(path)?.trim().parse()?)
}

/// The kernel gives almost no page: the module refuses and counts, and nothing is lost.
pub(super) fn no_memory(context: &Context) -> Result<()> {
    let tier = Tier::start_with(context, CONTROL_MODULE, "break_hook=no_pages")?;
    let stage = Stage::on(tier)?;
    stage.exercise(context, context.number("stores")?)?;
    let refused = Stats::read()?.outcome(Outcome::RefusedNoMemory);
    ensure!(refused > 0, "the module was never refused a page");
    stage.finish(context)
}

/// Some stored pages cannot be decoded: their owner gets an I/O error, never other contents,
/// and all other pages are as they were.
pub(super) fn undecodable(context: &Context) -> Result<()> {
    let tier = Tier::start_with(context, CONTROL_MODULE, "break_hook=undecodable")?;
    let stage = Stage::on(tier)?;
    stage
        .worker(|| {
            let mut region = Region::anonymous(PAGES, context.seed)?;
            region.write_all();
            let memory = File::open("/proc/self/mem").context("/proc/self/mem")?;
            let mut unreadable = 0;
            for index in 0..region.pages() {
                if !region.check_if_readable(&memory, index, stage.tally)? {
                    unreadable += 1;
                }
            }
            ensure!(unreadable > 0, "every page could be read");
            // Again: an error does not turn into contents by asking twice.
            for index in 0..region.pages() {
                region.check_if_readable(&memory, index, stage.tally)?;
            }
            context.data(json!({ "unreadable": unreadable }));
            Ok(())
        })?
        .join()?;
    stage.finish(context)
}
