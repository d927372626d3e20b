//! Swap pages and file pages under one budget: when it is used up, file pages make room for swap
//! pages, and for each other, and swap pages for nobody.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use tmem_common::op::Outcome;
use tmem_common::sysfs;

use super::contents::Stage;
use super::reread;
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::region::Region;
use crate::stress::BASE;
use crate::tier::{self, Stats};

/// File pages fill the budget, then swap pages come, then file pages again.
pub(super) fn shared(context: &Context) -> Result<()> {
    /// Pages that fit the budget.
    const SWAPPED: usize = 600;
    const BUDGET: &str = "3M";
    let place = reread::disk_with_set(context)?;
    let stage = Stage::new(context)?;
    tier::set(&format!("{}/{}", sysfs::MOUNTS, sysfs::MOUNTS_ADD), BASE)?;
    tier::set(sysfs::LIMIT, BUDGET)?;
    stage.group.lift_limit()?;
    let files = Cgroup::new("files", 6)?;
    let read = || reread::read_at_random(&files, context.seed, 6, 2048, &|| ());
    let evicted = |stats: &Stats| stats.outcome(Outcome::Evicted);

    read()?;
    let full = Stats::read()?;
    ensure!(evicted(&full) > 0, "file pages do not fill the budget");

    let disk = stage.tier.disk.written_bytes()?;
    let swapped = stage.worker(|| {
        let mut region = Region::anonymous(SWAPPED, context.seed)?;
        region.write_all();
        region.page_out(0, SWAPPED)?;
        stage.tally.wait_for_stop();
        region.check_all(stage.tally);
        Ok(())
    })?;
    while swapped.is_running() && !stage.tally.ready() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let came = Stats::read()?;
    read()?;
    let end = Stats::read()?;
    context.data(json!({
        "evicted": [evicted(&full), evicted(&came), evicted(&end)],
        "refused_limit": end.outcome(Outcome::RefusedLimit),
    }));
    ensure!(
        came.stored() - full.stored() >= SWAPPED as u64 * 9 / 10,
        "swap pages were not stored"
    );
    ensure!(
        evicted(&came) > evicted(&full),
        "no file page made room for a swap page"
    );
    ensure!(
        end.outcome(Outcome::RefusedLimit) == full.outcome(Outcome::RefusedLimit),
        "pages were refused while file pages could have made room"
    );
    ensure!(
        evicted(&end) > evicted(&came),
        "no file page made room for another"
    );
    stage.tally.stop();
    swapped.join()?;
    ensure!(
        stage.tier.disk.written_bytes()? == disk,
        "swap pages went to the disk"
    );
    place.unmount()?;
    stage.finish(context)
}
