//! What cgroups hold is counted with them, and limits and shares hold it back.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tmem_common::PAGE_SIZE;

use super::contents::{GROUP_MIB, Stage};
use super::tool::{MISSING_RIGHTS, NOBODY, USAGE, fail, object, succeed, tmem};
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::process::{self, Child};
use crate::region::Region;
use crate::tier::{self, Stats};

/// Pages of each worker.
const PAGES: usize = 3000;
/// What the one cgroup may hold.
const LIMIT: u64 = 1 << 20;

/// A process of a group that pages a region out, tells by a file that it has, and checks it when
/// the file is gone.
fn owner(stage: &Stage, group: &Cgroup, seed: u64, file: &str) -> Result<Child> {
    group.lift_limit()?;
    let worker = process::spawn(|| {
        group.enter()?;
        let mut region = Region::anonymous(PAGES, seed)?;
        region.write_all();
        region.page_out(0, PAGES)?;
        fs::write(file, "")?;
        while Path::new(file).exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
        region.check_all(stage.tally);
        Ok(())
    })?;
    worker.wait_for(file);
    ensure!(Path::new(file).exists(), "the worker of {file} has ended");
    Ok(worker)
}

fn end(worker: Child, file: &str) -> Result<()> {
    fs::remove_file(file)?;
    worker.join()
}

/// The row of a cgroup; nothing held if there is none.
fn row(name: &str) -> Result<Value> {
    let said = object(tmem(&["cgroup", "list", "--json"]))?;
    let rows = said["rows"].as_array().context("no rows")?;
    let row = rows.iter().find(|row| row["cgroup"] == name);
    Ok(row.cloned().unwrap_or_else(|| json!({ "swap_pages": 0 })))
}

fn number(row: &Value, name: &str) -> u64 {
    row[name].as_u64().unwrap_or(0)
}

pub(super) fn limits(context: &Context) -> Result<()> {
    const FIRST: &str = "/tmp/first";
    const SECOND: &str = "/tmp/second";
    const WANTED: &str = "/tmp/wanted.conf";
    let stage = Stage::new(context)?;
    let other = Cgroup::new("other", GROUP_MIB)?;
    let pages = PAGES as u64;

    // What one holds is the module's, and comes back.
    let worker = owner(&stage, &stage.group, context.seed, FIRST)?;
    let held = row("/scenario")?;
    let all = Stats::read()?.get("pages");
    ensure!(number(&held, "swap_pages") >= pages / 2, "{held}");
    ensure!(
        number(&held, "swap_pages") <= all,
        "{held} of {all} pages in all"
    );
    let least = number(&held, "swap_pages") * 52;
    ensure!(
        (least..pages * PAGE_SIZE as u64).contains(&number(&held, "swap_bytes")),
        "{held}"
    );
    end(worker, FIRST)?;
    let held = row("/scenario")?;
    ensure!(
        number(&held, "swap_pages") == 0,
        "its process has ended: {held}"
    );

    // One is held back by its limit, the other is not.
    succeed(tmem(&[
        "cgroup",
        "set",
        "/scenario",
        "limit=1M",
        "weight=50",
    ]))?;
    succeed(tmem(&["cgroup", "set", "/other", "weight=300"]))?;
    let written = stage.tier.disk.written_bytes()?;
    let first = owner(&stage, &stage.group, context.seed, FIRST)?;
    let second = owner(&stage, &other, context.seed + 1, SECOND)?;
    let (limited, free) = (row("/scenario")?, row("/other")?);
    ensure!(
        number(&limited, "limit") == LIMIT && number(&limited, "swap_bytes") <= LIMIT,
        "{limited}"
    );
    ensure!(
        number(&limited, "swap_pages") > 100 && number(&limited, "refused") > pages / 4,
        "{limited}"
    );
    ensure!(
        stage.tier.disk.written_bytes()? - written
            >= number(&limited, "refused") / 2 * PAGE_SIZE as u64,
        "what was refused is not on the disk: {limited}"
    );
    ensure!(
        number(&free, "swap_pages") >= pages * 9 / 10 && number(&free, "refused") == 0,
        "{free}"
    );
    let saved = succeed(tmem(&["save"]))?;
    ensure!(
        saved.contains("[cgroups.\"/scenario\"]\nweight = 50\nlimit = \"1M\"\n"),
        "{saved}"
    );
    end(first, FIRST)?;
    end(second, SECOND)?;

    // A tight budget is divided by weight: who comes first does not get what is the other's.
    succeed(tmem(&["cgroup", "rm", "/scenario"]))?;
    let row_now = row("/scenario")?;
    ensure!(
        row_now["limit"].is_null() && row_now["weight"].is_null(),
        "{row_now}"
    );
    succeed(tmem(&["set", "limit=2M"]))?;
    let first = owner(&stage, &stage.group, context.seed, FIRST)?;
    let second = owner(&stage, &other, context.seed + 1, SECOND)?;
    let (of_others, mine) = (row("/scenario")?, row("/other")?);
    ensure!(
        number(&of_others, "refused") > 0,
        "the budget was not used up: {of_others}"
    );
    ensure!(
        number(&mine, "swap_pages") > 50,
        "no room was left: {mine}, {of_others}"
    );
    context.data(json!({
        "limited": number(&limited, "swap_pages"), "free": number(&free, "swap_pages"),
        "others_of_tight": number(&of_others, "swap_pages"),
        "mine_of_tight": number(&mine, "swap_pages"),
    }));
    end(first, FIRST)?;
    end(second, SECOND)?;

    // All or nothing, from a file.
    let before = tier::attribute("limit")?;
    fs::write(
        WANTED,
        "limit = \"3M\"\n[cgroups.\"/scenario\"]\nlimit = \"ram / 8\"\n[cgroups.\"/none\"]\nweight = 5\n",
    )?;
    fail(
        tmem(&["apply", WANTED]),
        USAGE,
        &["wanted.conf:5:10", "/none: no such cgroup"],
    )?;
    ensure!(
        tier::attribute("limit")? == before,
        "a refused file changed the limit"
    );
    fs::write(
        WANTED,
        "[cgroups.\"/scenario\"]\nlimit = \"1M + 1M\"\n[cgroups.\"/other\"]\nweight = \"default\"\n",
    )?;
    succeed(tmem(&["apply", WANTED]))?;
    let set = row("/scenario")?;
    ensure!(number(&set, "limit") == 2 << 20, "{set}");
    for (arguments, code, words) in [
        (
            &["cgroup", "set", "/scenario", "weight=0"][..],
            USAGE,
            "1 to 1000",
        ),
        (&["cgroup", "set", "/scenario", "limit=20%"], USAGE, "max"),
        (
            &["cgroup", "set", "/scenario", "colour=1"],
            USAGE,
            "cgroups./scenario.weight",
        ),
        (
            &["cgroup", "set", "/none", "weight=1"],
            USAGE,
            "no such cgroup",
        ),
        (&["cgroup", "rm", "id:x"], USAGE, "no such cgroup"),
    ] {
        fail(tmem(arguments), code, &[words])?;
    }
    let as_nobody = |arguments: &[&str]| {
        let mut command = tmem(arguments);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    succeed(as_nobody(&["cgroup", "list"]))?;
    let set = as_nobody(&["cgroup", "set", "/scenario", "weight=1"]);
    fail(set, MISSING_RIGHTS, &["root"])?;
    let id = row("/scenario")?["id"].to_string();
    succeed(tmem(&["cgroup", "rm", &format!("id:{id}")]))?;
    let row_now = row("/scenario")?;
    ensure!(row_now["limit"].is_null(), "{row_now}");
    for bad in [
        "7",
        "7 ",
        "x max",
        "7 0",
        "0 max",
        "4294967296 max",
        "7  max",
        "7 1M 2",
    ] {
        ensure!(
            tier::try_set("cgroups/limit", bad).is_err(),
            "cgroups/limit takes {bad:?}"
        );
    }
    stage.finish(context)
}
