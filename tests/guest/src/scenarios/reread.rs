//! File pages: a file set that is read again comes from the module and not from the
//! disk; and file systems come and go.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tmem_common::PAGE_SIZE;
use tmem_common::op::Outcome;
use tmem_common::sysfs;
use tmem_tests::file_set::{self, FILE_PAGES, FILES, page};
use tmem_tests::protocol::CONTROL_MODULE;

use crate::cgroup::Cgroup;
use crate::content::Rng;
use crate::context::Context;
use crate::region::Region;
use crate::stress::{self, BASE, LOOP, Place, TOP, Top};
use crate::tier::{self, Stats};
use crate::{process, sys};

pub(super) const ADD: &str = "mounts/add";
pub(super) const REMOVE: &str = "mounts/remove";
pub(super) const LIST: &str = "mounts/list";
pub(super) const LAST_REFUSAL: &str = "mounts/last_refusal";

/// Memory of the group, MiB.
pub(super) const GROUP_MIB: u64 = 16;
/// Of the file set.
const SET_SECTORS: u64 = (FILES * FILE_PAGES * PAGE_SIZE / 512) as u64;
// It is three times the group's memory.
const _: () = assert!(FILES * FILE_PAGES == 3 * GROUP_MIB as usize * 256);

pub(super) fn path(file: usize) -> PathBuf {
    file_set::path(Path::new(BASE), file)
}

/// Writes the file set to the disk; the page cache keeps nothing of it.
fn write_set(seed: u64) -> Result<()> {
    file_set::write(Path::new(BASE), seed).context("writing the file set")?;
    drop_caches()
}

fn drop_caches() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")
}

/// Reads the file set in a group, and compares it; sectors that came from the disk.
pub(super) fn read_set(place: &Place, group: &Cgroup, seed: u64) -> Result<u64> {
    read_set_in(place, Some(group), seed)
}

/// The same; without a group in that of all processes.
fn read_set_in(place: &Place, group: Option<&Cgroup>, seed: u64) -> Result<u64> {
    let (before, _) = place.sectors()?;
    process::spawn(|| {
        if let Some(group) = group {
            group.enter()?;
        }
        let (mut found, mut wanted) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
        for file in 0..FILES {
            let path = path(file);
            let mut from = File::open(&path).with_context(|| path.display().to_string())?;
            for index in 0..FILE_PAGES {
                from.read_exact(&mut found)?;
                page(&mut wanted, seed, file, index);
                ensure!(found == wanted, "bad page {index} of {}", path.display());
            }
        }
        Ok(())
    })?
    .join()?;
    let (after, _) = place.sectors()?;
    Ok(after - before)
}

/// Reads single pages of the file set in a group and compares them, low ones more often: `batches` times so
/// many, and `pause` behind each.
pub(super) fn read_at_random(
    group: &Cgroup,
    seed: u64,
    batches: usize,
    batch: usize,
    pause: &dyn Fn(),
) -> Result<()> {
    /// Of each of two files.
    const PAGES: usize = 2048;
    process::spawn(|| {
        group.enter()?;
        let files = [path(0), path(1)]
            .map(|path| File::open(&path).with_context(|| path.display().to_string()));
        let [first, second] = files;
        let files = [first?, second?];
        let mut rng = Rng::new(seed);
        let (mut found, mut wanted) = ([0; PAGE_SIZE], [0; PAGE_SIZE]);
        for _ in 0..batches {
            for _ in 0..batch {
                let index = rng.below(PAGES).min(rng.below(PAGES));
                let number = rng.below(files.len());
                files[number].read_exact_at(&mut found, (index * PAGE_SIZE) as u64)?;
                page(&mut wanted, seed, number, index);
                ensure!(found == wanted, "bad page {index} of file {number}");
            }
            pause();
        }
        Ok(())
    })?
    .join()
}

/// The disk with the file set.
pub(super) fn disk_with_set(context: &Context) -> Result<Place> {
    let place = Place::new(context, Top::Nothing)?;
    if !place.file_system().read_only() {
        write_set(context.seed)?;
    }
    Ok(place)
}

/// The disk with the file set, and the module, which keeps its pages.
pub(super) fn start(context: &Context) -> Result<Place> {
    let place = disk_with_set(context)?;
    take_part(context)?;
    Ok(place)
}

/// Loads the module, the control's if something is to be broken, and adds the file system.
pub(super) fn take_part(context: &Context) -> Result<()> {
    match context.option("break_hook") {
        None => tier::load("").context("loading")?,
        Some(names) => {
            let names = names.replace('+', ",");
            tier::load_from(CONTROL_MODULE, &format!("break_hook={names}"))
                .with_context(|| format!("loading the control's module with {names}"))?;
        }
    }
    tier::set(sysfs::LIMIT, "40%")?;
    for (name, value) in context.options("tunable.") {
        tier::set(name, value)?;
    }
    tier::set(ADD, BASE)
}

/// What is read for the second time comes from memory: in the same group, and in a new one.
pub(super) fn reread(context: &Context) -> Result<()> {
    /// One in so many sectors may still come from the disk.
    const RATIO: u64 = 100;
    let place = start(context)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    let (seed, least) = if place.file_system().read_only() {
        // Some of them are compressed.
        (file_set::HOST_SEED, SET_SECTORS / 8)
    } else {
        (context.seed, SET_SECTORS)
    };
    let first = read_set(&place, &group, seed)?;
    let again = read_set(&place, &group, seed)?;
    let fresh = read_set(&place, &Cgroup::new("fresh", GROUP_MIB)?, seed)?;
    let stats = Stats::read()?;
    context.data(json!({
        "first_sectors": first, "again_sectors": again, "fresh_sectors": fresh,
        "stored": stats.stored(), "hits": stats.outcome(Outcome::Hit),
    }));
    ensure!(
        first >= least,
        "{first} of {SET_SECTORS} sectors: it was in memory"
    );
    ensure!(stats.outcome(Outcome::Hit) > 0, "no page came from memory");
    for (what, sectors) in [("again", again), ("in a fresh group", fresh)] {
        ensure!(
            sectors * RATIO <= first,
            "{sectors} of {first} sectors come from the disk when it is read {what}"
        );
    }
    place.unmount()?;
    finish()
}

/// Everything accounted for, module out.
pub(super) fn finish() -> Result<()> {
    tier::ensure_empty()?;
    tier::unload().context("unloading")?;
    let hooked =
        fs::read_to_string("/sys/kernel/tracing/enabled_functions").context("enabled_functions")?;
    ensure!(hooked.is_empty(), "still hooked: {hooked}");
    Ok(())
}

/// An error unless writing `value` to `name` fails with that number.
pub(super) fn ensure_refused(name: &str, value: &str, number: i32) -> Result<()> {
    match tier::try_set(name, value) {
        Ok(()) => bail!("{name} takes {value:?}"),
        Err(error) if error.raw_os_error() == Some(number) => Ok(()),
        Err(error) => Err(error).with_context(|| {
            format!(
                "{name} with {value:?} must fail by {}",
                io::Error::from_raw_os_error(number)
            )
        }),
    }
}

fn held() -> Result<u64> {
    Ok(Stats::read()?.get("pages"))
}

/// Adding, removing, refusing; and all that ends pages: drop_caches, a remount, removing,
/// an unmount, unloading.
pub(super) fn mounts(context: &Context) -> Result<()> {
    let place = start(context)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    let fill = || -> Result<()> {
        read_set(&place, &group, context.seed)?;
        ensure!(held()? > 0, "nothing is held after reading");
        Ok(())
    };
    ensure_refused(ADD, BASE, libc::EEXIST)?;
    for bad in [
        "\n",
        "files",
        "/mnt/files/set0",
        "/mnt",
        "/nowhere",
        "/mnt\nfiles",
    ] {
        ensure_refused(ADD, bad, libc::EINVAL)?;
        ensure_refused(REMOVE, bad, libc::EINVAL)?;
    }
    ensure_refused(ADD, "/proc", libc::EOPNOTSUPP)?;
    ensure!(
        !tier::attribute(LAST_REFUSAL)?.is_empty(),
        "no reason for refusing /proc"
    );
    ensure_refused(REMOVE, "/proc", libc::ENOENT)?;
    let list = tier::attribute(LIST)?;
    let words: Vec<&str> = list.split_whitespace().collect();
    ensure!(
        words.len() == 4 && words[3] == BASE && list.lines().count() == 1,
        "the list says {list:?}"
    );

    fill()?;
    drop_caches()?;
    tier::ensure_empty().context("after drop_caches")?;
    fill()?;
    sys::remount(BASE, true).context("remounting read-only")?;
    tier::ensure_empty().context("after a remount")?;
    sys::remount(BASE, false).context("remounting writable")?;
    fill()?;
    tier::set(REMOVE, BASE)?;
    tier::ensure_empty().context("after removing")?;
    ensure!(
        tier::attribute(LIST)?.is_empty(),
        "removed, and still in the list"
    );
    read_set(&place, &group, context.seed)?;
    ensure!(held()? == 0, "pages are kept of what was removed");
    tier::set(ADD, BASE)?;
    fill()?;
    place.unmount()?;
    tier::ensure_empty().context("after the unmount")?;
    ensure!(
        tier::attribute(LIST)?.is_empty(),
        "unmounted, and still in the list"
    );

    let (file_system, disk) = context.disk()?;
    sys::mount_disk(&disk, BASE, file_system.kind(), file_system.mount_options())?;
    tier::set(ADD, BASE)?;
    tier::set(sysfs::FILE_SHADOW, "1")?;
    read_set(&place, &group, context.seed)?;
    let sectors = read_set(&place, &group, context.seed)?;
    ensure!(
        sectors * 512 >= (FILES * FILE_PAGES * PAGE_SIZE) as u64 * 9 / 10,
        "in shadow mode only {sectors} sectors come from the disk"
    );
    ensure!(
        Stats::read()?.outcome(Outcome::Hit) > 0,
        "no hit is counted in shadow mode"
    );
    ensure!(held()? > 0, "nothing is held before unloading");
    tier::unload().context("unloading with file pages held")?;
    place.unmount()
}

/// Pages that somebody does not want cached are not held either, though the page cache
/// has none of them.
pub(super) fn unwanted(context: &Context) -> Result<()> {
    let place = start(context)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    read_set(&place, &group, context.seed)?;
    group.reclaim_all()?;
    ensure!(held()? > 0, "nothing is held after reading");
    for file in 0..FILES {
        let path = path(file);
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        stress::drop_pages(&file, 0, 0).context("POSIX_FADV_DONTNEED")?;
    }
    tier::ensure_empty().context("after POSIX_FADV_DONTNEED")?;
    place.unmount()?;
    finish()
}

/// `drop_caches` drops what is held too, though the page cache has no page of it. (Without the hook of invalidations,
/// which mostly sees it as well: the kernel invalidates what it remembers of evictions.)
pub(super) fn dropped(context: &Context) -> Result<()> {
    let place = start(context)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    // Nobody's inode goes, with which its pages would.
    let open = (0..FILES)
        .map(|file| File::open(path(file)).context("a file of the set"))
        .collect::<Result<Vec<_>>>()?;
    let fill = || -> Result<u64> {
        read_set(&place, &group, context.seed)?;
        group.reclaim_all()?;
        held()
    };
    let before = fill()?;
    ensure!(before > 0, "nothing is held after reading");
    // Of the page cache alone: with the rest inodes would go, and the module's shrinker is asked.
    fs::write("/proc/sys/vm/drop_caches", "1").context("dropping the page cache")?;
    context.data(json!({ "held": before, "left": held()? }));
    tier::ensure_empty().context("after drop_caches")?;
    ensure!(fill()? > 0, "nothing is held when it is read again");
    drop(open);
    place.unmount()?;
    finish()
}

/// Whoever reads gets what is held: a new group, one whose memory others use as fast as
/// they can, and a machine whose memory ran short.
pub(super) fn whoever_reads(context: &Context) -> Result<()> {
    let place = start(context)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    let fill = || -> Result<()> {
        read_set(&place, &group, context.seed)?;
        group.reclaim_all()
    };
    // Of the set, one page in `least` has to be held.
    let reads = |who: &str, least: u64, reader: Option<&Cgroup>| -> Result<()> {
        let hits = || -> Result<u64> { Ok(Stats::read()?.outcome(Outcome::Hit)) };
        let (held, before) = (held()?, hits()?);
        ensure!(
            held * least >= (FILES * FILE_PAGES) as u64,
            "only {held} pages are held"
        );
        read_set_in(&place, reader, context.seed)?;
        let hits = hits()? - before;
        context.data(json!({ "who": who, "held": held, "hits": hits }));
        ensure!(
            hits * 100 >= held * 99,
            "{who}: {hits} hits of {held} pages that were held"
        );
        Ok(())
    };

    fill()?;
    reads("a new group", 4, Some(&Cgroup::new("fresh", GROUP_MIB)?))?;

    fill()?;
    let busy = Cgroup::new("busy", 2 * GROUP_MIB)?;
    let user = process::spawn(|| {
        busy.enter()?;
        // As much as leaves the reader little.
        let mut region = Region::anonymous(GROUP_MIB as usize * 256, context.seed)?;
        loop {
            region.write_all();
        }
    })?;
    reads("a busy group", 4, Some(&busy))?;
    drop(user);

    fill()?;
    let wanted = free_pages()? as usize + held()? as usize / 4;
    let short = process::spawn(|| {
        Region::anonymous(wanted, context.seed)?.write_all();
        Ok(())
    })?;
    short.join().context("memory was not to be had")?;
    // How much more than it needs the kernel takes from the module is its own affair.
    reads("a machine whose memory ran short", 64, None)?;
    place.unmount()?;
    finish()
}

/// The kernel gets the memory of file pages back: all of it when it asks for all, and as
/// much as others need when memory runs short.
pub(super) fn shrink(context: &Context) -> Result<()> {
    let place = start(context)?;
    // What is held is as much memory as it can be.
    tier::set(sysfs::CODEC, "none")?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    let fill = || -> Result<u64> {
        read_set(&place, &group, context.seed)?;
        group.reclaim_all()?;
        let held = held()?;
        let least = (FILES * FILE_PAGES) as u64 * 9 / 10;
        ensure!(held >= least, "only {held} pages are held after reading");
        Ok(held)
    };

    fill()?;
    let before = used_bytes()?;
    fs::write("/proc/sys/vm/drop_caches", "2").context("shrinking everything")?;
    let after = used_bytes()?;
    context.data(json!({
        "used": before,
        "pages_given_back": before.saturating_sub(after) / PAGE_SIZE as u64,
    }));
    ensure!(
        after * 10 <= before,
        "{after} of {before} bytes are in use after everything was shrunk"
    );

    let before = fill()?;
    let used = used_bytes()?;
    let free = free_pages()?;
    // Half of what is held has to go.
    let wanted = free as usize + before as usize / 2;
    process::spawn(|| {
        Region::anonymous(wanted, context.seed)?.write_all();
        Ok(())
    })?
    .join()
    .context("memory that the module held was not to be had")?;
    let left = held()?;
    context.data(json!({
        "held": before, "wanted": wanted, "free": free, "left": left,
        "pages_given_back": used.saturating_sub(used_bytes()?) / PAGE_SIZE as u64,
    }));
    ensure!(
        left * 3 <= before * 2,
        "{left} of {before} pages are held after memory ran short"
    );
    read_set(&place, &group, context.seed)?;
    place.unmount()?;
    finish()
}

/// While pages are young they are read from memory. When their time to live is over they are gone without
/// anybody asking for them, and so is their memory; what is read then comes from the disk.
pub(super) fn time_to_live(context: &Context) -> Result<()> {
    /// Of the set, one in so many may be elsewhere than it should be.
    const RATIO: u64 = 10;
    let place = start(context)?;
    let list = tier::attribute(LIST)?;
    let pool = list.split_whitespace().nth(2).context("no pool")?;
    let ttl = format!("{}/{pool}/{}", sysfs::POOLS, sysfs::POOL_TTL);
    for bad in ["-1", "1h", "31536001"] {
        ensure_refused(&ttl, bad, libc::EINVAL)?;
    }
    ensure!(tier::attribute(&ttl)? == "0", "a refused value was taken");

    let group = Cgroup::new("files", GROUP_MIB)?;
    tier::set(&ttl, "3600")?;
    read_set(&place, &group, context.seed)?;
    let young = read_set(&place, &group, context.seed)?;
    group.reclaim_all()?;
    let (held, used) = (held()?, used_bytes()?);
    ensure!(
        young * RATIO <= SET_SECTORS && held * RATIO >= (FILES * FILE_PAGES) as u64,
        "{young} sectors were read although {held} pages are held"
    );

    tier::set(&ttl, context.option("ttl").unwrap_or("1"))?;
    tier::ensure_empty().context("after their time to live")?;
    let left = used_bytes()?;
    let stats = Stats::read()?;
    let old = read_set(&place, &group, context.seed)?;
    let hits = Stats::read()?.outcome(Outcome::Hit) - stats.outcome(Outcome::Hit);
    context.data(json!({
        "held": held, "used": used, "left": left, "evicted": stats.outcome(Outcome::Evicted),
        "young_sectors": young, "old_sectors": old, "hits": hits,
    }));
    ensure!(
        stats.outcome(Outcome::Evicted) >= held,
        "{held} pages went, and are not counted as evicted"
    );
    ensure!(
        left * RATIO <= used,
        "{left} of {used} bytes are in use after all pages went"
    );
    ensure!(
        hits * RATIO <= held && old >= young + SET_SECTORS / 2,
        "{hits} hits, and {old} sectors were read, after all pages went"
    );
    place.unmount()?;
    finish()
}

fn used_bytes() -> Result<u64> {
    Ok(tier::attribute(sysfs::USED_BYTES)?.parse()?)
}

/// Free memory, pages.
fn free_pages() -> Result<u64> {
    let text = fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
    let kib = text
        .lines()
        .find_map(|line| line.strip_prefix("MemFree:")?.trim().strip_suffix(" kB"))
        .context("no MemFree in /proc/meminfo")?;
    Ok(kib.parse::<u64>().context("MemFree")? / 4)
}

/// An error unless a mounted file system is refused with words like these, and the list
/// stays as it is.
fn ensure_refused_for(path: &str, reason: &str) -> Result<()> {
    ensure_refused(ADD, path, libc::EOPNOTSUPP)?;
    let said = tier::attribute(LAST_REFUSAL)?;
    ensure!(
        said.contains(reason),
        "{path} is refused because of {said:?}, not {reason:?}"
    );
    ensure!(tier::attribute(LIST)?.is_empty(), "{path} is in the list");
    Ok(())
}

/// File systems that are not known to be safe are refused, and the reason is said.
pub(super) fn refused(context: &Context) -> Result<()> {
    const ON: &str = "/mnt/refused";
    let place = Place::new(context, Top::Overlay)?;
    tier::load("").context("loading")?;
    for path in ["/proc", "/sys"] {
        ensure_refused_for(path, "made by the kernel")?;
    }
    ensure_refused_for(TOP, "add those")?;
    sys::mount("tmpfs", ON, "").context("mounting tmpfs")?;
    ensure_refused_for(ON, "in memory")?;
    sys::unmount(ON)?;
    place.unmount()?;
    let place = Place::new(context, Top::Loop)?;
    // The driver is that of ext4, but it is not called so.
    sys::unmount(TOP).context("unmounting ext4")?;
    sys::mount_disk(Path::new(LOOP), TOP, "ext2", "").context("mounting ext2")?;
    ensure_refused_for(TOP, "known to be safe")?;
    place.unmount()?;
    finish()
}

/// F2FS is refused where files may be compressed.
pub(super) fn refused_for_its_features(context: &Context) -> Result<()> {
    let place = Place::new(context, Top::Nothing)?;
    tier::load("").context("loading")?;
    let why = if context.kernel < (6, 6) {
        "F2FS_IOC_MOVE_RANGE"
    } else {
        "compression"
    };
    ensure_refused_for(BASE, why)?;
    place.unmount()?;
    finish()
}

/// A kernel whose file systems do not take part says so, and takes swap pages.
pub(super) fn absent(_: &Context) -> Result<()> {
    tier::load("").context("loading")?;
    ensure_refused(ADD, "/", libc::EOPNOTSUPP)?;
    ensure!(!tier::attribute(LAST_REFUSAL)?.is_empty(), "no reason");
    tier::unload().context("unloading")
}
