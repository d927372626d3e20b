//! Which files profit: what the tool says of two files, of which one is read again.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tmem_common::PAGE_SIZE;
use tmem_common::op::Outcome;
use tmem_common::sysfs;

use super::tool::{meanwhile, same, succeed, tmem};
use crate::cgroup::Cgroup;
use crate::content;
use crate::context::Context;
use crate::stress::{BASE, Place, Top};
use crate::{process, tier};

/// Memory of the group that reads, MiB.
const GROUP_MIB: u64 = 16;
/// The file that is read twice.
const TWICE: (&str, usize) = ("index.db", 1536);
/// The file that is read once, and drives the other one out.
const ONCE: (&str, usize) = ("access.log", 6144);

fn path(name: &str) -> PathBuf {
    Path::new(BASE).join(name)
}

fn write(seed: u64, (name, pages): (&str, usize)) -> Result<()> {
    let mut out = File::create(path(name)).context("a file")?;
    let mut page = [0; PAGE_SIZE];
    for index in 0..pages {
        content::fill(&mut page, seed, index, 1);
        out.write_all(&page)?;
    }
    Ok(out.sync_all()?)
}

fn read(group: &Cgroup, (name, pages): (&str, usize)) -> Result<()> {
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
