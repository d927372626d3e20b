//! What leaving the dashboard open costs: CPU time, time in its eBPF programs and memory,
//! while nothing happens and while pages are swapped as fast as one process can. On a machine
//! that counts instructions as time, a nanosecond is an instruction.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::json;
use tmem_common::sysfs;

use crate::cgroup::Cgroup;
use crate::content::Rng;
use crate::context::Context;
use crate::dashboard::Dashboard;
use crate::region::{Region, Tally};
use crate::swap::SwapDisk;
use crate::tier::{self, Stats};
use crate::{load, process};

/// Before the first reading, so that what is done once is over.
const BEFORE: Duration = Duration::from_secs(3);
/// Between the readings.
const BETWEEN: Duration = Duration::from_secs(10);
/// Memory of the swapping process's group, MiB, and its pages: twice as much.
const GROUP_MIB: u64 = 32;
const PAGES: usize = 16_384;

/// Measures the dashboard at one refresh a second.
pub(crate) fn run(context: &Context) -> Result<()> {
    let disk = context.swap()?;
    tier::load("").context("loading the module")?;
    tier::set(sysfs::LIMIT, "50%")?;
    let swap = SwapDisk::start(&disk)?;
    measure(context, "idle")?;

    let group = Cgroup::new("watch", GROUP_MIB)?;
    let tally = Tally::shared()?;
    let worker = process::spawn(|| {
        group.enter()?;
        let mut region = Region::anonymous(PAGES, context.seed)?;
        region.write_all();
        load::use_until_stopped(&mut region, &mut Rng::new(context.seed), tally)
    })?;
    measure(context, "swapping")?;
    tally.stop();
    worker.join()?;
    tally.verdict()?;
    drop(swap);
    tier::ensure_empty()?;
    tier::unload().context("unloading the module")
}

fn measure(context: &Context, what: &str) -> Result<()> {
    let operations = || -> Result<u64> {
        let stats = Stats::read()?;
        Ok(stats.stored() + stats.outcome(tmem_common::op::Outcome::Hit))
    };
    let mut dashboard = Dashboard::start("1s")?;
    dashboard.watch(BEFORE)?;
    let (before, done) = (dashboard.cost()?, operations()?);
    let start = Instant::now();
    dashboard.watch(BETWEEN)?;
    let after = dashboard.cost()?;
    context.data(json!({
        "way": what,
        "ns": start.elapsed().as_nanos() as u64,
        "cpu_ns": after.cpu_ns - before.cpu_ns,
        "programs_ns": after.programs_ns - before.programs_ns,
        "peak_bytes": after.peak_bytes,
        "operations": operations()? - done,
    }));
    dashboard.quit()
}
