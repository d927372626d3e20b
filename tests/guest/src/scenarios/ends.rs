//! A file system ends, which takes its time where much is held of it, and meanwhile
//! something else does: the module is unloaded, or inodes go whose memory those of another file
//! system get. The control's module draws the end out.

use std::fs::{self, File};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tmem_common::PAGE_SIZE;
use tmem_common::op::Outcome;
use tmem_common::sysfs;
use tmem_tests::content;
use tmem_tests::protocol::CONTROL_MODULE;

use super::reread::finish;
use crate::cgroup::{self, Cgroup};
use crate::context::Context;
use crate::process;
use crate::stress::{BASE, Place, TOP, Top};
use crate::tier::{self, Stats};

/// Files of a page each, with a record each.
const FILES: usize = 600;
/// So many of them are removed while most records are still there.
const REMOVED: usize = FILES / 4;
/// After this an end has begun, and is not over.
const AMID: Duration = Duration::from_millis(200);
/// After this what RCU frees is free.
const FREED: Duration = Duration::from_millis(200);

fn path(folder: &str, number: usize) -> PathBuf {
    Path::new(folder).join(format!("one{number}"))
}

/// No two files of both folders have the same contents.
fn content(folder: &str, number: usize, seed: u64) -> [u8; PAGE_SIZE] {
    let mut page = [0; PAGE_SIZE];
    content::fill(&mut page, seed, number, u32::from(folder == TOP));
    page
}

fn write(folder: &str, numbers: Range<usize>, seed: u64) -> Result<()> {
    for number in numbers {
        fs::write(path(folder, number), content(folder, number, seed))
            .context("writing the files")?;
    }
    Ok(())
}

/// Reads files of a folder, and compares them.
fn read(folder: &str, numbers: Range<usize>, seed: u64) -> Result<()> {
    for number in numbers {
        let path = path(folder, number);
        let mut found = [0; PAGE_SIZE];
        File::open(&path)
            .and_then(|mut file| file.read_exact(&mut found))
            .with_context(|| path.display().to_string())?;
        ensure!(
            found == content(folder, number, seed),
            "bad bytes in {}",
            path.display()
        );
    }
    Ok(())
}

fn load() -> Result<()> {
    tier::load_from(CONTROL_MODULE, "break_hook=slow").context("loading")?;
    tier::set(sysfs::LIMIT, "40%")
}

fn mounts(file: &str, path: &str) -> Result<()> {
    tier::set(&format!("{}/{file}", sysfs::MOUNTS), path)
}

/// The page cache forgets all, and the module is given the pages of a folder.
fn put_all(group: &Cgroup, folder: &str, seed: u64) -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")?;
    // Pages go with their inode, and the kernel drops those that nobody uses when it reclaims all.
    let open = (0..FILES)
        .map(|number| File::open(path(folder, number)).context("a file"))
        .collect::<Result<Vec<_>>>()?;
    read(folder, 0..FILES, seed)?;
    group.reclaim_all()?;
    drop(open);
    let held = Stats::read()?.get("pages");
    ensure!(
        held * 10 >= FILES as u64 * 9,
        "only {held} pages are held of {FILES}"
    );
    Ok(())
}

/// The module is unloaded amid an unmount.
pub(super) fn unload(context: &Context) -> Result<()> {
    let place = Place::new(context, Top::Nothing)?;
    write(BASE, 0..FILES, context.seed)?;
    let group = Cgroup::new("files", 64)?;
    group.enter()?;
    load()?;
    mounts(sysfs::MOUNTS_ADD, BASE)?;
    put_all(&group, BASE, context.seed)?;

    let unmount = process::spawn(|| place.unmount())?;
    std::thread::sleep(AMID);
    ensure!(unmount.is_running(), "the unmount was faster");
    tier::unload().context("unloading amid an unmount")?;
    unmount.join()?;
    ensure!(!tier::is_loaded(), "the module is still there");

    load()?;
    finish()
}

/// Files are removed amid the end of their file system, and then others are read of one that
/// goes on, whose inodes have the memory of theirs.
pub(super) fn reuse(context: &Context) -> Result<()> {
    // Else what the loop device writes is nobody's, and not reclaimed.
    cgroup::account_io()?;
    let place = Place::new(context, Top::Loop)?;
    write(TOP, 0..FILES, context.seed)?;
    write(BASE, 0..2 * FILES, context.seed)?;
    let group = Cgroup::new("files", 64)?;
    group.enter()?;
    load()?;
    mounts(sysfs::MOUNTS_ADD, BASE)?;
    mounts(sysfs::MOUNTS_ADD, TOP)?;
    put_all(&group, TOP, context.seed)?;
    // They get what memory was free for inodes.
    read(BASE, FILES..2 * FILES, context.seed)?;

    let end = process::spawn(|| mounts(sysfs::MOUNTS_REMOVE, TOP))?;
    std::thread::sleep(AMID);
    for number in 0..REMOVED {
        fs::remove_file(path(TOP, number)).context("removing the files")?;
    }
    std::thread::sleep(FREED);
    ensure!(end.is_running(), "the end was faster");
    read(BASE, 0..FILES, context.seed)?;
    end.join()?;
    let stats = Stats::read()?;
    ensure!(
        stats.outcome(Outcome::Corrupt) == 0,
        "the module counted corrupt pages"
    );
    context.data(json!({
        "stores": stats.stored(), "hits": stats.outcome(Outcome::Hit), "verified": 2 * FILES, "bad": 0,
    }));
    place.unmount()?;
    finish()
}
