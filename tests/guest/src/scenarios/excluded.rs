//! Files whose pages are not kept, though their file system takes part: encrypted ones, those under fs-verity,
//! and swap files. A file beside them is kept.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use tmem_common::PAGE_SIZE;
use tmem_common::event::FileTold;

use super::reread::{finish, take_part};
use super::seen;
use crate::cgroup::Cgroup;
use crate::content;
use crate::context::Context;
use crate::stress::{BASE, Place, Top, enable_verity, encrypt_folder};
use crate::{process, swap, sys};

/// Pages of each file.
const PAGES: usize = 256;

/// A new file of such pages, on the disk.
fn write(name: &str, seed: u64) -> Result<PathBuf> {
    let path = Path::new(BASE).join(name);
    let mut out = File::create(&path).with_context(|| path.display().to_string())?;
    let mut page = [0; PAGE_SIZE];
    for index in 0..PAGES {
        content::fill(&mut page, seed, index, 1);
        out.write_all(&page)?;
    }
    out.sync_all()?;
    Ok(path)
}

/// Pages of files that were kept and that came from the module, by the file's number.
struct Seen(Vec<String>);

impl Seen {
    fn pages(&self, file: &Path, what: FileTold) -> Result<u64> {
        let inode = fs::metadata(file)?.ino();
        let beginning = format!("inode={inode} what={} pages=", what as u32);
        Ok(self
            .0
            .iter()
            .filter_map(|line| line.split_once(' ')?.1.strip_prefix(&beginning))
            .filter_map(|rest| rest.split(' ').next()?.parse::<u64>().ok())
            .sum())
    }
}

/// Reads all files twice in the group; after each time its memory is reclaimed.
fn read(files: &[&Path], group: &Cgroup) -> Result<Seen> {
    let lines = seen::of("tmem_file", || {
        for _ in 0..2 {
            process::spawn(|| {
                group.enter()?;
                for file in files {
                    let read = io::copy(&mut File::open(file)?, &mut io::sink())?;
                    ensure!(
                        read == (PAGES * PAGE_SIZE) as u64,
                        "{} was cut off",
                        file.display()
                    );
                }
                Ok(())
            })?
            .join()?;
            group.reclaim_all()?;
        }
        Ok(())
    })?;
    Ok(Seen(lines))
}

/// What is wrong: of files that are to be kept some pages have to be, and come from the module; of others none.
struct Wrong<'a> {
    context: &'a Context,
    all: Vec<String>,
}

impl Wrong<'_> {
    fn unless(&mut self, kept: bool, seen: &Seen, file: &Path, when: &str) -> Result<()> {
        let stored = seen.pages(file, FileTold::Stored)?;
        let hits = seen.pages(file, FileTold::Hit)?;
        let what = format!("{} {when}", file.display());
        self.context
            .data(json!({ "file": what, "stored": stored, "hits": hits }));
        if kept != (stored > 0 && hits > 0) || !kept && stored + hits > 0 {
            self.all.push(format!(
                "of {what} {stored} pages were kept and {hits} came from the module"
            ));
        }
        Ok(())
    }
}

/// Of four files on one file system one is kept; of a swap file it is said before, while and after it was one.
pub(super) fn beside(context: &Context) -> Result<()> {
    let place = Place::new(context, Top::Nothing)?;
    let seed = context.seed;
    let usual = write("usual", seed)?;
    let verity = write("verity", seed)?;
    enable_verity(&File::open(&verity)?).context("FS_IOC_ENABLE_VERITY")?;
    let folder = Path::new(BASE).join("encrypted");
    fs::create_dir(&folder)?;
    encrypt_folder(&File::open(&folder)?).context("encrypting a folder")?;
    let encrypted = write("encrypted/file", seed)?;
    let swap = write("swap", seed)?;
    swap::format(&swap)?;
    fs::set_permissions(&swap, fs::Permissions::from_mode(0o600))?;
    // What was written is charged to nobody's group.
    fs::write("/proc/sys/vm/drop_caches", "1").context("dropping the page cache")?;

    take_part(context)?;
    let group = Cgroup::new("files", 64)?;
    let all = [&usual, &verity, &encrypted, &swap].map(PathBuf::as_path);
    // The inode of none goes, with which its pages would.
    let open = all.map(File::open);
    let mut wrong = Wrong {
        context,
        all: Vec::new(),
    };

    let seen = read(&all, &group)?;
    wrong.unless(true, &seen, &usual, "at first")?;
    wrong.unless(false, &seen, &verity, "at first")?;
    wrong.unless(false, &seen, &encrypted, "at first")?;
    wrong.unless(true, &seen, &swap, "before it was a swap file")?;

    sys::swapon(&swap).context("swapon of a file")?;
    let seen = read(&all, &group);
    sys::swapoff(&swap).context("swapoff of a file")?;
    let seen = seen?;
    wrong.unless(true, &seen, &usual, "beside a swap file")?;
    wrong.unless(false, &seen, &swap, "while it was a swap file")?;

    let seen = read(&all, &group)?;
    wrong.unless(true, &seen, &swap, "after it was a swap file")?;
    ensure!(wrong.all.is_empty(), "{}", wrong.all.join("; "));
    drop(open);
    place.unmount()?;
    finish()
}
