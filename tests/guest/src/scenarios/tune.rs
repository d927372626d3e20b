//! `tmem tune` under real pressure: what it says it does is what sysfs then has.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::{Value, json};
use tmem_common::op::Outcome;
use tmem_common::sysfs;

use super::contents::Stage;
use super::reread;
use super::tool::{succeed, tmem};
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::region::Region;
use crate::stress::BASE;
use crate::tier::{self, Stats};

/// What the tool says goes here.
const SAID: &str = "/tmp/tuned";

/// Starts the controller; it does not mind pressure, of which an emulated
/// machine has any amount.
fn start(arguments: &[&str]) -> Result<Child> {
    let out = fs::File::create(SAID).context("a file")?;
    let mut command = tmem(&["tune", "--json", "--max-pressure", "100%"]);
    command.args(arguments).stdout(Stdio::from(out));
    command.spawn().context("starting tmem tune")
}

/// Works until the controller ends by itself; what it said.
fn until_it_ends(mut tune: Child, mut work: impl FnMut() -> Result<()>) -> Result<Vec<Value>> {
    /// Longer than it takes on any host.
    const PATIENCE: Duration = Duration::from_secs(100);
    let started = Instant::now();
    while tune.try_wait()?.is_none() {
        let worked = match started.elapsed() {
            time if time > PATIENCE => Err(anyhow!(
                "it does not end: {:?}; {:?}",
                said()?,
                Stats::read()?
            )),
            _ => work(),
        };
        if worked.is_err() {
            tune.kill()?;
            tune.wait()?;
            worked?;
        }
    }
    let status = tune.wait()?;
    ensure!(status.success(), "tmem tune: {status}");
    said()
}

fn said() -> Result<Vec<Value>> {
    let text = fs::read_to_string(SAID)?;
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().context("its JSON")
}

fn of<'a>(said: &'a [Value], what: &str, key: &str) -> Vec<&'a Value> {
    let lines = said.iter();
    lines
        .filter(|line| line["what"] == what && line["key"] == key)
        .collect()
}

/// Raises a limit that refuses, says each step, and leaves a summary; stops at once where somebody else
/// sets it.
pub(super) fn limit(context: &Context) -> Result<()> {
    const STORES: u64 = 300;
    let stage = Stage::new(context)?;
    tier::set(sysfs::LIMIT, "2M")?;
    let bounds = ["--every", "1s", "--min-limit", "2M", "--max-limit", "24M"];
    let tune = start(&[&bounds[..], &["--for", "4s"]].concat())?;
    let told = until_it_ends(tune, || stage.exercise(context, STORES))?;
    let changes = of(&told, "change", sysfs::LIMIT);
    let (first, last) = (
        changes.first().context("no change")?,
        changes.last().context("none")?,
    );
    ensure!(
        first["old"] == "2M"
            && first["why"]
                .as_str()
                .is_some_and(|why| why.starts_with("the limit refused")),
        "{told:?}"
    );
    // Each began where the one before it ended.
    for pair in changes.windows(2) {
        ensure!(pair[0]["new"] == pair[1]["old"], "{told:?}");
    }
    ensure!(last["new"] == tier::attribute(sysfs::LIMIT)?, "{told:?}");
    let summary = told.last().context("nothing was said")?;
    ensure!(
        summary["what"] == "summary" && summary["old"] == "2M" && summary["new"] == last["new"],
        "{told:?}"
    );
    context.data(json!({ "changes": changes.len(), "limit": last["new"] }));

    tier::set(sysfs::LIMIT, "2M")?;
    let tune = start(&bounds)?;
    let told = until_it_ends(tune, || {
        // Again and again: it may be about to set it itself.
        if !of(&said()?, "change", sysfs::LIMIT).is_empty() {
            succeed(tmem(&["set", "limit=7M"]))?;
        }
        stage.exercise(context, STORES)
    })?;
    let aside = of(&told, "step_aside", sysfs::LIMIT);
    ensure!(aside.len() == 1 && aside[0]["new"] == "7M", "{told:?}");
    ensure!(
        tier::attribute(sysfs::LIMIT)? == "7M",
        "it set what somebody else had set"
    );
    stage.group.lift_limit()?;
    stage.finish(context)
}

/// Cold swap pages drive out file pages that are read again: their share is made smaller, until somebody else
/// sets it.
pub(super) fn share(context: &Context) -> Result<()> {
    const COLD: usize = 1200;
    const POOL: &str = "pools/0/limit";
    const KEY: &str = "pools.0.limit";
    let place = reread::disk_with_set(context)?;
    let stage = Stage::new(context)?;
    tier::set("mounts/add", BASE)?;
    let files = Cgroup::new("files", 6)?;
    tier::set(sysfs::LIMIT, "3M")?;
    stage.group.lift_limit()?;
    let cold = stage.worker(|| {
        let mut region = Region::anonymous(COLD, context.seed)?;
        region.write_all();
        region.page_out(0, COLD)?;
        stage.tally.wait_for_stop();
        region.check_all(stage.tally);
        Ok(())
    })?;
    while cold.is_running() && !stage.tally.ready() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let before = Stats::read()?.outcome(Outcome::Evicted);

    let tune = start(&["--every", "3s", "--min-limit", "3M", "--max-limit", "3M"])?;
    let told = until_it_ends(tune, || {
        let told = said()?;
        if !of(&told, "change", KEY).is_empty() {
            succeed(tmem(&["set", "pools.0.limit=max"]))?;
        }
        if !of(&told, "step_aside", KEY).is_empty() {
            // It goes on, but for this knob; the other one ends it.
            succeed(tmem(&["set", "limit=4M"]))?;
        }
        reread::read_at_random(&files, context.seed, 1, 2048, &|| ())
    })?;
    let changes = of(&told, "change", KEY);
    let first = changes.first().context("no change")?;
    ensure!(
        first["old"] == "max"
            && first["why"]
                .as_str()
                .is_some_and(|why| why.contains("file pages made room")),
        "{told:?}"
    );
    ensure!(of(&told, "step_aside", KEY).len() == 1, "{told:?}");
    ensure!(of(&told, "step_aside", sysfs::LIMIT).len() == 1, "{told:?}");
    ensure!(
        tier::attribute(POOL)? == "max",
        "it set what somebody else had set"
    );
    context.data(json!({
        "share": first["new"], "evicted": Stats::read()?.outcome(Outcome::Evicted) - before,
    }));
    stage.tally.stop();
    cold.join()?;
    place.unmount()?;
    stage.finish(context)
}
