//! A page is cut out of a file in just the moment in which it is on its way: what is read
//! there afterwards are zeros, and not the page. The control's module holds such moments open
//! (`held_open`), so that they are met every time.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tmem_common::op::Outcome;
use tmem_common::{PAGE_SIZE, sysfs};
use tmem_tests::protocol::CONTROL_MODULE;

use crate::cgroup::Cgroup;
use crate::content;
use crate::context::Context;
use crate::stress::{BASE, Place, Top};
use crate::tier::{self, Stats};
use crate::{process, sys};

/// Rounds for each moment. Where nothing is broken all must do; where something is, one has to show it.
const ROUNDS: u32 = 8;
/// Pages of the file; the one in the middle is cut out.
const PAGES: usize = 3;
const CUT: usize = PAGES / 2;

/// When the page is cut out.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// It has left the page cache and is not yet put.
    BeforePut,
    /// The same, and it is put when it is read again, but its put has not ended.
    AfterPut,
    /// It leaves the page cache after its cutting out has begun.
    AfterCut,
}

/// Cuts pages out, at the moment that the parameter `moment` says, or at all.
pub(super) fn cut(context: &Context) -> Result<()> {
    let moments: &[Moment] = match context.option("moment") {
        None => &[Moment::BeforePut, Moment::AfterPut, Moment::AfterCut],
        Some("before_put") => &[Moment::BeforePut],
        Some("after_put") => &[Moment::AfterPut],
        Some("after_cut") => &[Moment::AfterCut],
        Some(other) => bail!("moment={other}: before_put, after_put or after_cut"),
    };
    let broken = context.option("break_hook").unwrap_or_default();
    let place = Place::new(context, Top::Nothing)?;
    tier::load_from(
        CONTROL_MODULE,
        &format!("break_hook={}", broken.replace('+', ",")),
    )
    .with_context(|| format!("loading the control's module with {broken}"))?;
    tier::set(&format!("{}/{}", sysfs::MOUNTS, sysfs::MOUNTS_ADD), BASE)?;
    let group = Cgroup::new("cut", 64)?;
    group.enter()?;
    for &moment in moments {
        for round in 0..ROUNDS {
            cut_once(context.seed, &group, moment, round)
                .with_context(|| format!("{moment:?}, round {round}"))?;
        }
    }
    let hits = Stats::read()?.outcome(Outcome::Hit);
    context.data(json!({ "hits": hits }));
    ensure!(hits > 0, "no page came from the module");
    place.unmount()?;
    tier::ensure_empty()?;
    tier::unload().context("unloading")
}

fn cut_once(seed: u64, group: &Cgroup, moment: Moment, round: u32) -> Result<()> {
    let path = Path::new(BASE).join("cut");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    let mut page = [0; PAGE_SIZE];
    let at = |index: usize| (index * PAGE_SIZE) as u64;
    for index in 0..PAGES {
        // None of them zeros.
        content::fill(&mut page, seed, index, round);
        page[0] |= 1;
        file.write_all_at(&page, at(index))?;
    }
    file.sync_all()?;
    sys::read_single_pages(&file)?;
    // All are put; then the one comes back, and is the only one in the page cache.
    group.reclaim_all()?;
    file.read_exact_at(&mut page, at(CUT))?;
    let punch = || sys::punch(&file, at(CUT), PAGE_SIZE as u64);
    let mut read_zeros = || -> Result<()> {
        file.read_exact_at(&mut page, at(CUT))?;
        ensure!(
            page.iter().all(|byte| *byte == 0),
            "bad bytes: what was cut out is read"
        );
        Ok(())
    };
    match moment {
        Moment::BeforePut | Moment::AfterPut => {
            let stored = Stats::read()?.stored();
            let reclaim = process::spawn(|| group.reclaim_all())?;
            wait_until(|| Ok(!sys::is_cached(&file, at(CUT))?))?;
            punch()?;
            if matches!(moment, Moment::AfterPut) {
                wait_until(|| Ok(Stats::read()?.stored() > stored))?;
                read_zeros()?;
            }
            reclaim.join()?;
        }
        Moment::AfterCut => {
            let cutter = process::spawn(|| Ok(punch()?))?;
            // Until it waits.
            std::thread::sleep(Duration::from_millis(20));
            group.reclaim_all()?;
            cutter.join()?;
        }
    }
    read_zeros()
}

/// Waits for a moment that was held open; one that was missed is no error.
fn wait_until(is_there: impl Fn() -> Result<bool>) -> Result<()> {
    for _ in 0..1000 {
        if is_there()? {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}
