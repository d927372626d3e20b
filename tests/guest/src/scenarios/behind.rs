//! The disk changes behind the page cache: blocks of a file are exchanged with another's, or
//! shared with it, while the page cache has nothing of it; or a page cannot be dropped
//! from the page cache when the disk below it is written, or is read anew meanwhile. Or the page
//! cache is changed where the module may have an older page. What is read afterwards is what was written last.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use tmem_common::{PAGE_SIZE, sysfs};
use tmem_tests::content::{self, Page};
use tmem_tests::protocol::{CONTROL_MODULE, MODULE};

use super::file::with_place;
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::stress::{BASE, clone_range, ext4_move, f2fs_move};
use crate::{process, sys, tier};

/// Of blocks that are smaller than a page.
const BLOCK: usize = 1024;
/// Times that it is done. Where nothing is broken all must do; where something is, one has to show it.
const ROUNDS: u32 = 4;
/// After this a change of a file shows in its ctime.
const TICKS: Duration = Duration::from_millis(100);

/// EXT4_IOC_MOVE_EXT, of which the second file gets the first one's old blocks.
pub(super) fn moved(context: &Context) -> Result<()> {
    replaced(context, |from, to| {
        ext4_move(from, to, 0, 1).context("EXT4_IOC_MOVE_EXT")?;
        Ok(())
    })
}

/// F2FS_IOC_MOVE_RANGE, of which the second file gets the first one's blocks.
pub(super) fn moved_f2fs(context: &Context) -> Result<()> {
    replaced(context, |from, to| {
        f2fs_move(from, to, 0, PAGE_SIZE).context("F2FS_IOC_MOVE_RANGE")
    })
}

/// FICLONERANGE over what is there.
pub(super) fn cloned(context: &Context) -> Result<()> {
    replaced(context, |from, to| {
        clone_range(from, 0, to, 0, PAGE_SIZE).context("FICLONERANGE")
    })
}

/// Reads the second of two files after `change` gave it other blocks.
fn replaced(context: &Context, change: impl Fn(&File, &File) -> Result<()>) -> Result<()> {
    each_round(context, |group, seed, round| {
        let from = OnePage::new(FROM, seed, round)?;
        let to = OnePage::new(TO, seed, round)?;
        to.put(group)?;
        change(&from.file, &to.file)?;
        to.same_as_disk()
    })
}

/// A direct write, after which the page cache keeps a page that was read meanwhile, since it
/// cannot be dropped (`busy_page`). The control's module holds the moment open for that read.
pub(super) fn busy(context: &Context) -> Result<()> {
    each_round(context, |group, seed, round| {
        let page = OnePage::new(TO, seed, round)?;
        let mut new = Aligned([0; PAGE_SIZE]);
        fill(&mut new.0, FROM, seed, round);
        let writer = process::spawn(|| Ok(page.direct.write_all_at(&new.0, 0)?))?;
        page.wait_until_dropped()?;
        page.read()?;
        writer.join()?;
        group.reclaim_all()?;
        page.same_as_disk()
    })
}

/// A direct write, of which a page is read from the disk and reclaimed before it is written.
pub(super) fn overtaken(context: &Context) -> Result<()> {
    each_round(context, |group, seed, round| {
        let page = OnePage::new(TO, seed, round)?;
        page.overtake(seed, round, || {
            page.read()?;
            page.put(group)
        })?;
        page.same_as_disk()
    })
}

/// The same, of a write that began before the file system took part.
pub(super) fn began_before(context: &Context) -> Result<()> {
    let mount = |what| tier::set(&format!("{}/{what}", sysfs::MOUNTS), BASE);
    let pools = || -> Result<usize> {
        let folder = Path::new(sysfs::ROOT).join(sysfs::POOLS);
        Ok(std::fs::read_dir(folder)?.count())
    };
    each_round(context, |group, seed, round| {
        let page = OnePage::new(TO, seed, round)?;
        mount(sysfs::MOUNTS_REMOVE)?;
        let before = pools()?;
        std::thread::scope(|scope| {
            let adder = page.overtake(seed, round, || {
                let adder = scope.spawn(|| mount(sysfs::MOUNTS_ADD));
                // Then it takes part, or is about to when the write has ended.
                while pools()? == before && !adder.is_finished() {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(TICKS);
                page.read()?;
                page.put(group)?;
                Ok(adder)
            })?;
            ended(adder.join())?.context("adding the file system")
        })?;
        page.same_as_disk()
    })
}

fn ended<T>(result: std::thread::Result<T>) -> Result<T> {
    result.map_err(|_| anyhow!("a thread panicked"))
}

/// A deleted file that is still open is written anew, whole pages at a time.
pub(super) fn deleted(context: &Context) -> Result<()> {
    each_round(context, |group, seed, round| {
        let page = OnePage::new(TO, seed, round)?;
        page.put(group)?;
        std::fs::remove_file(&page.path)?;
        let mut new = [0; PAGE_SIZE];
        fill(&mut new, FROM, seed, round);
        page.file.write_all_at(&new, 0)?;
        page.file.sync_all()?;
        page.put(group)?;
        page.same_as_disk()
    })
}

/// One block of a page is written, of which the page cache has nothing; the page is read
/// at once, or when it was on the disk and left the page cache.
pub(super) fn block(context: &Context) -> Result<()> {
    each_round(context, |group, seed, round| {
        let page = OnePage::new(TO, seed, round)?;
        page.put(group)?;
        let (mut new, mut wanted) = ([0; PAGE_SIZE], page.old);
        fill(&mut new, FROM, seed, round);
        wanted[..BLOCK].copy_from_slice(&new[..BLOCK]);
        page.file.write_all_at(&new[..BLOCK], 0)?;
        if round % 2 == 1 {
            page.file.sync_all()?;
            page.put(group)?;
        }
        ensure!(
            page.read()? == wanted,
            "bad bytes: a page is not read as it was written"
        );
        Ok(())
    })
}

/// Runs `round` several times with pages kept in the module that the parameters ask for.
fn each_round(context: &Context, round: impl Fn(&Cgroup, u64, u32) -> Result<()>) -> Result<()> {
    let module = match context.option("break_hook") {
        Some(_) => CONTROL_MODULE,
        None => MODULE,
    };
    with_place(context, module, true, || {
        let group = Cgroup::new("behind", 64)?;
        group.enter()?;
        let kept = OnePage::new(KEPT, context.seed, 0)?;
        kept.put(&group)?;
        kept.same_as_disk()?;
        (0..ROUNDS).try_for_each(|number| {
            round(&group, context.seed, number).with_context(|| format!("round {number}"))
        })
    })
}

/// Memory that direct I/O takes.
#[repr(C, align(4096))]
struct Aligned(Page);

/// The files of a round, and one that nothing is done to.
const FROM: usize = 1;
const TO: usize = 2;
const KEPT: usize = 3;

/// A file of one page, so that it is never in a large folio.
struct OnePage {
    path: PathBuf,
    file: File,
    direct: File,
    old: Page,
}

/// The content of a file's page: not zeros, and no other file's.
fn fill(page: &mut Page, number: usize, seed: u64, round: u32) {
    content::fill(page, seed, number, round);
    page[0] = number as u8;
}

impl OnePage {
    /// A new file, written and on the disk.
    fn new(number: usize, seed: u64, round: u32) -> Result<Self> {
        let path = Path::new(BASE).join(format!("page{number}.{round}"));
        let open = |flags| {
            File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(flags == 0)
                .custom_flags(flags)
                .open(&path)
                .with_context(|| path.display().to_string())
        };
        let (file, direct) = (open(0)?, open(libc::O_DIRECT)?);
        let mut old = [0; PAGE_SIZE];
        fill(&mut old, number, seed, round);
        file.write_all_at(&old, 0)?;
        file.sync_all()?;
        std::thread::sleep(TICKS);
        Ok(Self {
            path,
            file,
            direct,
            old,
        })
    }

    /// Has its page leave the page cache.
    fn put(&self, group: &Cgroup) -> Result<()> {
        group.reclaim_all()?;
        ensure!(
            !sys::is_cached(&self.file, 0)?,
            "the page was not reclaimed"
        );
        Ok(())
    }

    /// Writes it past the page cache; does `meanwhile` when it was dropped from there and nothing is
    /// written yet, since the write waits for its memory.
    fn overtake<T>(
        &self,
        seed: u64,
        round: u32,
        meanwhile: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let mut new = [0; PAGE_SIZE];
        fill(&mut new, FROM, seed, round);
        let memory = sys::Absent::new().context("memory that is waited for")?;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| self.direct.write_all_at(memory.bytes(), 0));
            let done = self.wait_until_dropped().and_then(|()| meanwhile());
            // Whatever happened: the writer waits for it.
            memory.fill(&new)?;
            ended(writer.join())?.context("the direct write")?;
            done
        })
    }

    /// Waits until a direct write has dropped its page from the page cache.
    fn wait_until_dropped(&self) -> Result<()> {
        for _ in 0..1000 {
            if !sys::is_cached(&self.file, 0)? {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn read(&self) -> Result<Page> {
        let mut page = [0; PAGE_SIZE];
        self.file.read_exact_at(&mut page, 0)?;
        Ok(page)
    }

    /// Reads it, and compares that with what is on the disk.
    fn same_as_disk(&self) -> Result<()> {
        let found = self.read()?;
        let mut disk = Aligned([0; PAGE_SIZE]);
        self.direct.read_exact_at(&mut disk.0, 0)?;
        ensure!(
            found == disk.0,
            "bad bytes: read is {}, and not what is on the disk",
            if found == self.old {
                "what stood there before"
            } else {
                "something else"
            }
        );
        Ok(())
    }
}
