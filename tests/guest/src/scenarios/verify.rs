//! Verify mode: what differs from the disk is noticed, told with the file, and ends it for all file systems;
//! and it is told whether the page was stale or its memory went bad.

use std::fs;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tmem_common::PAGE_SIZE;
use tmem_common::sysfs;
use tmem_tests::file_set::{FILE_PAGES, FILES, page};

use super::reread::{GROUP_MIB, LIST, finish, path, read_set, start};
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::kernel_log::KernelLog;
use crate::process;
use crate::tier;

/// Pages that were compared, and that differed.
pub(super) fn counts() -> Result<(u64, u64)> {
    let count = |file: &str| -> Result<u64> {
        Ok(tier::attribute(&format!("{}/{file}", sysfs::MOUNTS))?.parse()?)
    };
    Ok((count("verified")?, count("mismatches")?))
}

/// An error unless the log says of so many pages that they differ, each with a file of the set, and what is wrong.
fn ensure_told(
    log: &mut KernelLog,
    mismatches: u64,
    what: &str,
    file: Option<usize>,
) -> Result<()> {
    let lines = log.lines("tmem: page ")?;
    ensure!(
        mismatches > 0 && lines.len() as u64 == mismatches,
        "{mismatches} differences were counted, and told {lines:?}"
    );
    let files = file.map_or(0..FILES, |file| file..file + 1);
    for line in lines {
        let of_a_file = files.clone().any(|file| {
            let path = path(file);
            fs::metadata(&path).is_ok_and(|metadata| {
                let (major, minor) = (libc::major(metadata.dev()), libc::minor(metadata.dev()));
                let inode = metadata.ino();
                line.contains(&format!(
                    " of inode {inode} (\"set{file}\") on {major}:{minor} "
                ))
            })
        });
        ensure!(
            of_a_file && line.contains(what),
            "not {what:?} with the file's number and name: {line}"
        );
    }
    Ok(())
}

/// An error unless no file system takes part soon.
fn ensure_off() -> Result<()> {
    for _ in 0..100 {
        if tier::attribute(LIST)?.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the file system takes part all the same")
}

/// Changes a page of the first file behind the back of the file system.
fn spoil_disk(disk: &Path, seed: u64) -> Result<()> {
    let device = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(disk)
        .with_context(|| disk.display().to_string())?;
    let mut wanted = [0; PAGE_SIZE];
    for index in 0..FILE_PAGES {
        page(&mut wanted, seed, 0, index);
        let mut found = [0; PAGE_SIZE];
        let mut places = Vec::new();
        for place in (0..).step_by(PAGE_SIZE) {
            match device.read_exact_at(&mut found, place) {
                Ok(()) if found == wanted => places.push(place),
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(error).context("reading the disk"),
            }
        }
        if let [place] = places[..] {
            wanted[0] ^= 1;
            device.write_all_at(&wanted, place)?;
            return device.sync_all().context("writing the disk");
        }
    }
    bail!("no page of the first file is on the disk just once")
}

/// A page that was written and put while it was off has no checksum when it is on again, least of all that of
/// what was there before.
fn ensure_no_old_sums(group: &Cgroup, seed: u64) -> Result<()> {
    const FILE: usize = 1;
    const INDEX: usize = 7;
    let file = fs::File::options()
        .read(true)
        .write(true)
        .open(path(FILE))?;
    let at = (INDEX * PAGE_SIZE) as u64;
    let mut old = [0; PAGE_SIZE];
    page(&mut old, seed, FILE, INDEX);
    let mut new = old;
    new[0] ^= 1;
    let write = |page: &[u8; PAGE_SIZE]| {
        process::spawn(|| {
            group.enter()?;
            file.write_all_at(page, at)?;
            Ok(file.sync_all()?)
        })?
        .join()?;
        group.reclaim_all()
    };
    // Put with its checksum.
    group.reclaim_all()?;
    tier::set(sysfs::FILE_VERIFY, "0")?;
    write(&new)?;
    tier::set(sysfs::FILE_VERIFY, "1")?;
    let before = counts()?;
    let mut found = [0; PAGE_SIZE];
    file.read_exact_at(&mut found, at)?;
    let after = counts()?;
    ensure!(found == new, "bad page {INDEX}");
    ensure!(after.0 > before.0, "the page was not held");
    ensure!(after.1 == before.1, "an old checksum is held against it");
    write(&old)
}

/// With every hit compared to the disk all is well, until the disk is changed by somebody
/// else: that is noticed, and ends it.
pub(super) fn stale(context: &Context) -> Result<()> {
    let place = start(context)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    let mut log = KernelLog::from_now()?;
    tier::set(sysfs::FILE_VERIFY, "1")?;
    read_set(&place, &group, context.seed)?;
    read_set(&place, &group, context.seed)?;
    let (verified, mismatches) = counts()?;
    ensure!(mismatches == 0, "{mismatches} of {verified} pages differ");
    ensure!(
        verified > FILE_PAGES as u64,
        "only {verified} pages compared"
    );
    ensure_no_old_sums(&group, context.seed)?;
    // None of the first file's pages may be in the page cache.
    group.reclaim_all()?;
    spoil_disk(&context.disk()?.1, context.seed)?;
    let result = read_set(&place, &group, context.seed);
    ensure!(result.is_err(), "what was written to the disk is not read");
    let (verified, mismatches) = counts()?;
    context.data(json!({ "verified": verified, "mismatches": mismatches }));
    ensure_told(&mut log, mismatches, "is not what the disk has", Some(0))?;
    ensure_off()?;
    place.unmount()?;
    finish()
}

/// A page whose memory went bad (`flipped_bit`) is told from a stale one. Who reads gets what the disk has.
pub(super) fn gone_bad(context: &Context) -> Result<()> {
    let place = start(context)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    let mut log = KernelLog::from_now()?;
    tier::set(sysfs::FILE_VERIFY, "1")?;
    read_set(&place, &group, context.seed)?;
    read_set(&place, &group, context.seed)?;
    let (verified, mismatches) = counts()?;
    context.data(json!({ "verified": verified, "mismatches": mismatches }));
    ensure_told(&mut log, mismatches, "changed in memory", None)?;
    ensure_off()?;
    // Nothing is left that could be wrong.
    read_set(&place, &group, context.seed)?;
    ensure!(
        counts()? == (verified, mismatches),
        "pages are compared after it ended"
    );
    place.unmount()?;
    finish()
}
