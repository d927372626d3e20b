//! `tmem pageout` of processes and cgroups: what is said of it is what the module counted.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tmem_common::PAGE_SIZE;

use super::contents::Stage;
use super::tool::{CANNOT_MEASURE, USAGE, fail, object, same, tmem};
use crate::context::Context;
use crate::process::{self, Child};
use crate::region::Region;
use crate::tier::Stats;

/// Pages of each region.
const PAGES: usize = 4000;
const PID: &str = "/tmp/pid";

fn wait_until_ready(stage: &Stage, worker: &Child) {
    while worker.is_running() && !stage.tally.ready() {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What the tool says of a pageout, held against the module's counters: stores, and bytes kept.
fn page_out(arguments: &[&str]) -> Result<(Value, u64)> {
    let before = Stats::read()?;
    let said = object(tmem(&[&["pageout", "--json"], arguments].concat()))?;
    let after = Stats::read()?;
    let stored = after.stored() - before.stored();
    same("stores", &said["stores"], stored)?;
    ensure!(stored > 0, "nothing was stored: {said}");
    let kept = after.get("data_bytes") - before.get("data_bytes");
    same("kept_bytes", &said["kept_bytes"], kept)?;
    let ratio = (stored * PAGE_SIZE as u64) as f64 / kept as f64;
    ensure!(
        said["ratio"]
            .as_f64()
            .is_some_and(|said| (said - ratio).abs() < 1e-6),
        "ratio {ratio}: {said}"
    );
    Ok((said, stored))
}

/// Memory of a process is paged out on demand, and comes back as it was.
pub(super) fn process(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    let worker = process::spawn(|| {
        let mut region = Region::anonymous(PAGES, context.seed)?;
        region.write_all();
        fs::write(PID, std::process::id().to_string())?;
        stage.tally.wait_for_stop();
        region.check_all(stage.tally);
        Ok(())
    })?;
    wait_until_ready(&stage, &worker);
    let pid = fs::read_to_string(PID).context("the worker did not start")?;
    let (said, stored) = page_out(&["--pid", &pid])?;
    let bytes = said["paged_out_bytes"].as_u64().unwrap_or(0);
    ensure!(bytes >= (PAGES / 2 * PAGE_SIZE) as u64, "{said}");
    ensure!(stored >= PAGES as u64 / 2, "{stored} pages stored");
    stage.tally.stop();
    worker.join()?;
    fail(tmem(&["pageout", "--pid", &pid]), USAGE, &["no process"])?;
    context.data(json!({ "paged_out_bytes": bytes }));
    stage.finish(context)
}

/// A process of the group that writes a region, tells by a file that it has, and checks it when it
/// is to stop; meanwhile too, if it is `busy`.
fn owner(stage: &Stage, seed: u64, file: &str, busy: bool) -> Result<Child> {
    let worker = stage.worker(|| {
        let mut region = Region::anonymous(PAGES, seed)?;
        region.write_all();
        fs::write(file, "")?;
        while !stage.tally.stopped() && Path::new(file).exists() {
            if busy {
                region.check_all(stage.tally);
            } else {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        region.check_all(stage.tally);
        Ok(())
    })?;
    worker.wait_for(file);
    Ok(worker)
}

/// The same of a cgroup: what nobody uses, and so many bytes. Kernels before 5.19 cannot
/// but by its processes, and say so.
pub(super) fn cgroup(context: &Context) -> Result<()> {
    const BYTES: u64 = 4 << 20;
    const IDLE: &str = "/tmp/idle";
    const BUSY: &str = "/tmp/busy";
    const LATER: &str = "/tmp/later";
    let stage = Stage::new(context)?;
    stage.group.lift_limit()?;
    let group = stage.group.path().display().to_string();
    let name = group.trim_start_matches("/sys/fs/cgroup").to_owned();

    let idle = owner(&stage, context.seed, IDLE, false)?;
    let busy = owner(&stage, context.seed + 1, BUSY, true)?;
    let (said, stored) = page_out(&["--cgroup", &name, "--idle-for", "3s"])?;
    let in_use = said["in_use_bytes"].as_u64().unwrap_or(0);
    ensure!(
        in_use >= (PAGES * PAGE_SIZE) as u64,
        "what was used: {said}"
    );
    let pages = PAGES as u64;
    ensure!(
        (pages / 2..pages + pages / 2).contains(&stored),
        "{stored} pages of {PAGES} idle ones stored"
    );
    fs::remove_file(BUSY)?;
    busy.join()?;

    let later = owner(&stage, context.seed + 2, LATER, false)?;
    let mut counts = json!({ "idle": stored });
    if context.kernel >= (5, 19) {
        let bytes = BYTES.to_string();
        let (_, some) = page_out(&["--cgroup", &group, "--bytes", &bytes])?;
        let wanted = BYTES / PAGE_SIZE as u64;
        ensure!(
            (wanted / 2..wanted * 2).contains(&some),
            "{some} pages stored where {wanted} were asked for"
        );
        counts["some"] = some.into();
    } else {
        let too_old = tmem(&["pageout", "--cgroup", &name]);
        fail(too_old, CANNOT_MEASURE, &["memory.reclaim", "5.19"])?;
    }
    context.data(counts);
    stage.tally.stop();
    idle.join()?;
    later.join()?;
    fail(
        tmem(&["pageout", "--cgroup", "/no/such"]),
        USAGE,
        &["/no/such", "no cgroup"],
    )?;
    stage.finish(context)
}
