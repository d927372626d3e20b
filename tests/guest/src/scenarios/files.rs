//! The tool and file systems that take part: which of two files profits, and files that say who does.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tmem_common::PAGE_SIZE;
use tmem_common::op::Outcome;
use tmem_common::sysfs;

use super::tool::{FAILED, fail, meanwhile, same, succeed, tmem};
use crate::cgroup::Cgroup;
use crate::content;
use crate::context::Context;
use crate::stress::{BASE, Place, Top};
use crate::{process, tier};

/// Memory of the group that reads, MiB.
const GROUP_MIB: u64 = 16;
/// The file that is read twice.
pub(super) const TWICE: (&str, usize) = ("index.db", 1536);
/// The file that is read once, and drives the other one out.
const ONCE: (&str, usize) = ("access.log", 6144);

fn path(name: &str) -> PathBuf {
    Path::new(BASE).join(name)
}

pub(super) fn write(seed: u64, (name, pages): (&str, usize)) -> Result<()> {
    let mut out = File::create(path(name)).context("a file")?;
    let mut page = [0; PAGE_SIZE];
    for index in 0..pages {
        content::fill(&mut page, seed, index, 1);
        out.write_all(&page)?;
    }
    Ok(out.sync_all()?)
}

pub(super) fn read(group: &Cgroup, (name, pages): (&str, usize)) -> Result<()> {
    process::spawn(|| {
        group.enter()?;
        let read = io::copy(&mut File::open(path(name))?, &mut io::sink())?;
        ensure!(read == (pages * PAGE_SIZE) as u64, "{name} was cut off");
        Ok(())
    })?
    .join()
}

/// The row of a file.
fn row<'a>(said: &'a Value, name: &str) -> Result<&'a Value> {
    let rows = said["rows"].as_array().context("no rows")?;
    rows.iter()
        .find(|row| row["name"] == name)
        .with_context(|| format!("nothing of {name}: {said}"))
}

/// The file that is read again has the hits, under its name and number; all files together
/// have what the module counted.
pub(super) fn profit(context: &Context) -> Result<()> {
    let place = Place::new(context, Top::Nothing)?;
    for file in [TWICE, ONCE] {
        write(context.seed, file)?;
    }
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")?;
    tier::load("").context("loading")?;
    tier::set(sysfs::LIMIT, "40%")?;
    tier::set("mounts/add", BASE)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    let (before, after, output) = meanwhile(&["files", "--json"], || {
        for file in [TWICE, ONCE, TWICE] {
            read(&group, file)?;
        }
        Ok(())
    })?;
    let said: Value = serde_json::from_slice(&output.stdout).context("the tool's JSON")?;
    let (twice, once) = (row(&said, TWICE.0)?, row(&said, ONCE.0)?);
    let number = |row: &Value, what: &str| row[what].as_u64().unwrap_or(0);
    let hits = number(twice, "hits");
    ensure!(hits >= TWICE.1 as u64 * 9 / 10, "{hits} hits: {twice}");
    ensure!(number(once, "stored") > 0, "nothing was kept: {once}");
    same("hits of what was read once", &once["hits"], 0)?;
    for (row, (name, _)) in [(twice, TWICE), (once, ONCE)] {
        same("inode", &row["inode"], fs::metadata(path(name))?.ino())?;
        ensure!(row["mount"] == BASE, "{row}");
        let list = tier::attribute("mounts/list")?;
        let device = row["device"].as_str().unwrap_or_default();
        ensure!(list.starts_with(&format!("{device} ")), "{device}: {list}");
    }
    let rows = said["rows"].as_array().context("no rows")?;
    let sum = |what: &str| -> u64 { rows.iter().map(|row| number(row, what)).sum() };
    let counted = after.outcome(Outcome::Hit) - before.outcome(Outcome::Hit);
    ensure!(
        sum("hits") == counted,
        "{} of {counted} hits: {said}",
        sum("hits")
    );
    let counted = after.stored() - before.stored();
    let stored = sum("stored");
    ensure!(
        stored > 0 && stored <= counted,
        "{stored} stored by file, {counted} in all: {said}"
    );

    let quiet = ["files", "--csv", "-o", "name,hits", "--for", "100ms"];
    let table = succeed(tmem(&quiet))?;
    ensure!(table == "name,hits\n", "{table:?}");
    context.data(json!({ "hits": hits }));
    place.unmount()?;
    tier::ensure_empty()?;
    tier::unload().context("unloading")
}

/// A configuration adds a file system with its settings, and removes it; what one section does
/// not get none gets; and what was saved makes the old state again.
pub(super) fn sections(context: &Context) -> Result<()> {
    const SAVED: &str = "/tmp/saved.conf";
    const WANTED: &str = "/tmp/wanted.conf";
    let place = Place::new(context, Top::Nothing)?;
    tier::load("").context("loading")?;
    let apply = |text: &str| -> Result<_> {
        fs::write(WANTED, text)?;
        Ok(tmem(&["apply", WANTED]))
    };
    let limit = || tier::attribute(sysfs::LIMIT);
    // The only pool beside that of swap pages.
    let policy = || tier::attribute("pools/1/policy");
    let list = || tier::attribute("mounts/list");
    let before = limit()?;

    let text = format!(
        "[mounts.\"{BASE}\"]\npolicy = \"s3fifo\"\nlimit = \"min(ram, 8M)\"\nkeep = true\n"
    );
    succeed(apply(&text)?)?;
    ensure!(list()?.contains(BASE), "{BASE} was not added: {}", list()?);
    ensure!(policy()? == "s3fifo", "the policy is {}", policy()?);
    let of_pool = tier::attribute("pools/1/limit")?;
    ensure!(
        of_pool == (8 << 20).to_string(),
        "the pool's limit is {of_pool}"
    );
    succeed(tmem(&["save", SAVED]))?;

    let text = format!(
        "limit = \"33M\"\n[mounts.\"{BASE}\"]\npolicy = \"fifo\"\n[mounts.\"/proc\"]\nkeep = true\n"
    );
    fail(
        apply(&text)?,
        FAILED,
        &["wanted.conf:5:8", "/proc is refused"],
    )?;
    ensure!(
        limit()? == before && policy()? == "s3fifo" && list()?.lines().count() == 1,
        "a refused file changed something: {} {} {}",
        limit()?,
        policy()?,
        list()?
    );

    succeed(apply(&format!(
        "limit = \"33M\"\n[mounts.\"{BASE}\"]\nkeep = false\n"
    ))?)?;
    ensure!(list()?.is_empty(), "{BASE} was not removed: {}", list()?);
    ensure!(limit()? == "33M", "the limit is {}", limit()?);
    succeed(tmem(&["apply", SAVED]))?;
    ensure!(
        limit()? == before && policy()? == "s3fifo" && list()?.contains(BASE),
        "not as it was saved: {} {}",
        limit()?,
        list()?
    );
    place.unmount()?;
    tier::ensure_empty()?;
    tier::unload().context("unloading")
}
