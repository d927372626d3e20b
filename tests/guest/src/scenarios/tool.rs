//! The `tmem` command against the live module.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tmem_common::op::{Op, Outcome};
use tmem_common::sysfs as names;
use tmem_tests::protocol::{BUSYBOX, CLI};

use super::contents::Stage;
use crate::context::Context;
use crate::process;
use crate::region::Region;
use crate::swap::SwapDisk;
use crate::sys;
use crate::tier::{self, Stats, Tier};

/// Number of a user without any right.
pub(super) const NOBODY: u32 = 65534;

/// Exit codes as `tmem --help` documents them.
pub(super) const FAILED: i32 = 1;
pub(super) const USAGE: i32 = 2;
pub(super) const CANNOT_MEASURE: i32 = 3;
pub(super) const MISSING_RIGHTS: i32 = 4;

pub(super) fn tmem(arguments: &[&str]) -> Command {
    let mut command = Command::new(CLI);
    command.args(arguments).stdin(Stdio::null());
    command
}

pub(super) fn run(mut command: Command) -> Result<Output> {
    command
        .output()
        .with_context(|| format!("running {command:?}"))
}

/// Standard output of a command that must succeed.
pub(super) fn succeed(command: Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = run(command)?;
    ensure!(
        output.status.success(),
        "{shown}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs a command that must fail with this code and say something with each of `words`.
pub(super) fn fail(command: Command, code: i32, words: &[&str]) -> Result<()> {
    let shown = format!("{command:?}");
    let output = run(command)?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(code),
        "{shown}: {}, not exit code {code}: {}",
        output.status,
        message.trim()
    );
    for word in words {
        ensure!(
            message.contains(word),
            "{shown} does not say {word:?}: {}",
            message.trim()
        );
    }
    Ok(())
}

/// The one JSON object that a command prints.
pub(super) fn object(command: Command) -> Result<Value> {
    let text = succeed(command)?;
    let mut lines = text.lines();
    let (Some(line), None) = (lines.next(), lines.next()) else {
        bail!("not one line of JSON: {text}");
    };
    let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
    ensure!(value["schema"].is_string(), "no schema version: {line}");
    Ok(value)
}

/// Runs `work` while a process holds `pages` pages, of which the module has many, and
/// nothing moves.
fn while_held(stage: &Stage, context: &Context, work: impl FnOnce() -> Result<()>) -> Result<()> {
    const PAGES: usize = 16_000;
    let worker = stage.worker(|| {
        let mut region = Region::anonymous(PAGES, context.seed)?;
        region.write_all();
        region.page_out(0, PAGES)?;
        stage.tally.wait_for_stop();
        stage.group.lift_limit()?;
        region.check_all(stage.tally);
        Ok(())
    })?;
    while worker.is_running() && !stage.tally.ready() {
        std::thread::sleep(Duration::from_millis(20));
    }
    // Compaction may still be going on; nothing else is.
    std::thread::sleep(Duration::from_secs(1));
    let result = work();
    stage.tally.stop();
    worker.join()?;
    result
}

/// An error unless a counter of the tool is that of sysfs.
pub(super) fn same(what: &str, tool: &Value, sysfs: u64) -> Result<()> {
    ensure!(
        tool.as_u64() == Some(sysfs),
        "{what}: the tool says {tool}, sysfs {sysfs}"
    );
    Ok(())
}

/// What the tool says of a standing module is what sysfs says.
pub(super) fn status(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    stage.exercise(context, context.number("stores")?)?;
    while_held(&stage, context, || {
        let stats = Stats::read()?;
        ensure!(stats.get("pages") > 0, "the module holds no page");

        let said = object(tmem(&["status", "--json"]))?;
        same("pages", &said["pages"], stats.get("pages"))?;
        same(
            "limit_bytes",
            &said["limit_bytes"],
            tier::attribute(names::LIMIT_BYTES)?.parse()?,
        )?;
        ensure!(
            said["codec"] == tier::attribute(names::CODEC)?,
            "codec {}",
            said["codec"]
        );

        let said = object(tmem(&["pools", "--json"]))?;
        let pools = said["pools"].as_array().context("no list of pools")?;
        let pages: u64 = pools
            .iter()
            .filter_map(|p| p["counters"]["pages"].as_u64())
            .sum();
        ensure!(pages == stats.get("pages"), "{pages} pages in all pools");

        let said = object(tmem(&["stats", "--json", "--no-ebpf", "--for", "200ms"]))?;
        for outcome in Outcome::ALL {
            let name = outcome.name();
            same(
                name,
                &said["totals"]["outcomes"][name],
                stats.outcome(outcome),
            )?;
        }
        for field in ["pages", "same_pages", "raw_pages", "data_bytes"] {
            same(field, &said["totals"][field], stats.get(field))?;
        }

        for arguments in [
            &["status"][..],
            &["pools"],
            &["stats", "--for", "200ms"],
            &["top", "--batch", "-n", "2", "--interval", "200ms"],
        ] {
            ensure!(
                !succeed(tmem(arguments))?.trim().is_empty(),
                "{arguments:?} prints nothing"
            );
        }
        Ok(())
    })?;
    stage.finish(context)
}

/// Runs the tool with a command that waits, and `work` meanwhile; the module's counters
/// before and after it (zeroes without the module), and what the tool printed.
pub(super) fn meanwhile(
    arguments: &[&str],
    work: impl FnOnce() -> Result<()>,
) -> Result<(Stats, Stats, Output)> {
    const STARTED: &str = "/tmp/started";
    const STOP: &str = "/tmp/stop";
    let wait = format!(
        "{BUSYBOX} touch {STARTED}; while ! {BUSYBOX} test -e {STOP}; do {BUSYBOX} usleep 50000; done"
    );
    let child = tmem(arguments)
        .args(["--", BUSYBOX, "sh", "-c", &wait])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting tmem {arguments:?}"))?;
    for _ in 0..600 {
        if Path::new(STARTED).exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let stats = || match tier::is_loaded() {
        true => Stats::read(),
        false => Ok(Stats::default()),
    };
    let before = stats()?;
    let worked = work();
    let after = stats()?;
    fs::write(STOP, "")?;
    let output = child.wait_with_output().context("waiting for tmem")?;
    worked?;
    fs::remove_file(STARTED).context("tmem did not start its command")?;
    fs::remove_file(STOP)?;
    ensure!(
        output.status.success(),
        "tmem {arguments:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok((before, after, output))
}

/// The interval has times of `op`, in order.
fn ensure_timed(interval: &Value, op: Op) -> Result<()> {
    let latency = &interval["latency"][op.name()];
    let (p50, p99) = (latency["p50_ns"].as_u64(), latency["p99_ns"].as_u64());
    ensure!(
        p50 > Some(0) && p99 >= p50,
        "{}: p50 {p50:?}, p99 {p99:?}",
        op.name()
    );
    Ok(())
}

/// What the eBPF programs counted is what the module counted.
pub(super) fn observe(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    let stores = context.number("stores")?;
    let (before, after, output) =
        meanwhile(&["stats", "--json"], || stage.exercise(context, stores))?;
    let said: Value = serde_json::from_slice(&output.stdout).context("the tool's JSON")?;
    let interval = &said["interval"];
    let cells = interval["cells"]
        .as_array()
        .with_context(|| format!("nothing was observed: {}", said["unmeasured"]))?;
    let mut compared = 0;
    for (op, outcomes) in [
        (
            Op::Put,
            &[Outcome::Stored, Outcome::StoredSame, Outcome::StoredRaw][..],
        ),
        (Op::Get, &[Outcome::Hit]),
    ] {
        for outcome in outcomes {
            let observed: u64 = cells
                .iter()
                .filter(|c| c["op"] == op.name() && c["outcome"] == outcome.name())
                .filter_map(|c| c["count"].as_u64())
                .sum();
            let counted = after.outcome(*outcome) - before.outcome(*outcome);
            ensure!(
                observed == counted,
                "{} {}: {observed} observed, {counted} counted",
                op.name(),
                outcome.name()
            );
            compared += counted;
        }
        ensure_timed(interval, op)?;
    }
    context.data(json!({ "observed_operations": compared }));
    stage.finish(context)
}

/// Setting reads back; what the module would refuse is refused with all that goes with it.
pub(super) fn set(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    let said = object(tmem(&["set", "--json", "limit=64M", "codec=none"]))?;
    let changes = said["changes"].as_array().context("no changes")?;
    ensure!(changes.len() == 2 && changes[1]["new"] == "none", "{said}");
    ensure!(tier::attribute(names::LIMIT)? == "64M", "limit was not set");
    ensure!(
        tier::attribute(names::CODEC)? == "none",
        "codec was not set"
    );

    let text = succeed(tmem(&["set", "codec=lz4"]))?;
    ensure!(
        text.contains("none") && text.contains("lz4"),
        "old and new are not shown: {text}"
    );

    fail(tmem(&["set", "limit=101%"]), USAGE, &["limit", "101%"])?;
    fail(tmem(&["set", "codec=lz5"]), USAGE, &["codec", "lz5", "lz4"])?;
    fail(tmem(&["set", "colour=red"]), USAGE, &["colour"])?;
    fail(tmem(&["set", "limit=10%", "codec=lz5"]), USAGE, &["lz5"])?;
    ensure!(
        tier::attribute(names::LIMIT)? == "64M",
        "a refused command changed the limit"
    );
    ensure!(
        tier::attribute(names::CODEC)? == "lz4",
        "a refused command changed the codec"
    );
    stage.tier.finish()
}

/// A file becomes true as a whole, and what was saved before makes the old state again.
pub(super) fn config(context: &Context) -> Result<()> {
    const SAVED: &str = "/tmp/saved.conf";
    const WANTED: &str = "/tmp/wanted.conf";
    let tier = Tier::start(context)?;
    let limit = || tier::attribute(names::LIMIT);
    let before = limit()?;
    succeed(tmem(&["save", SAVED]))?;
    let apply = |text: &str| -> Result<Command> {
        fs::write(WANTED, text)?;
        Ok(tmem(&["apply", WANTED]))
    };
    let bad = apply("limit = \"33M\"\ncodec = \"lz5\"\n")?;
    fail(bad, USAGE, &["wanted.conf:2:9", "lz5"])?;
    ensure!(limit()? == before, "a bad file changed the limit");
    let text = "limit = \"min(ram / 8, 48M)\"\ncodec = \"none\"\n[pools.swap]\nweight = 7\n";
    succeed(apply(text)?)?;
    ensure!(limit()? == "48M", "the limit is {}", limit()?);
    ensure!(
        tier::attribute("pools/0/weight")? == "7",
        "the weight was not set"
    );
    let again = succeed(tmem(&["apply", WANTED]))?;
    ensure!(again.contains("nothing to change"), "{again}");
    succeed(tmem(&["apply", SAVED]))?;
    ensure!(
        limit()? == before,
        "the limit is {}, not {before}",
        limit()?
    );
    let doctor = succeed(tmem(&["doctor"]))?;
    ensure!(doctor.contains("tmem is loaded"), "{doctor}");
    tier.finish()
}

/// Conditions over a workload are measured, and judged as they came out.
pub(super) fn check(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    let stores = context.number("stores")?;
    let judged = |conditions: &[&str]| -> Result<(Option<i32>, Value)> {
        let mut arguments = vec!["check", "--json", "--for", "3s"];
        arguments.extend(conditions);
        let child = tmem(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("starting tmem check")?;
        // What happens before it listens counts for the module only.
        let exercised = stage.exercise(context, stores);
        let output = child.wait_with_output()?;
        exercised?;
        let said = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        Ok((output.status.code(), said))
    };
    let (code, said) = judged(&["--min-hit-rate", "0.1", "--max-swap-written", "4000000"])?;
    ensure!(code == Some(0) && said["held"] == true, "{code:?}: {said}");
    let (code, said) = judged(&["--max-p99-get", "1ns"])?;
    ensure!(code == Some(1) && said["held"] == false, "{code:?}: {said}");
    stage.finish(context)
}

/// What `tmem stats --stock` says of the time in which pages went out and came back; its counts
/// and times of one pool have to agree with each other.
fn timed(stage: &Stage, context: &Context, pool: u64) -> Result<Value> {
    const PAGES: usize = 4000;
    // What zswap keeps counts as the group's, too: a limit might leave no way out.
    stage.group.lift_limit()?;
    let (_, _, output) = meanwhile(&["stats", "--stock", "--json"], || {
        let worker = stage.worker(|| {
            let mut region = Region::anonymous(PAGES, context.seed)?;
            region.write_all();
            region.page_out(0, PAGES)?;
            region.check_all(stage.tally);
            Ok(())
        })?;
        worker.join()
    })?;
    let said: Value = serde_json::from_slice(&output.stdout).context("the tool's JSON")?;
    let interval = &said["interval"];
    let cells = interval["cells"]
        .as_array()
        .with_context(|| format!("nothing was timed: {}", said["unmeasured"]))?;
    ensure!(
        cells.iter().all(|cell| cell["pool"].as_u64() == Some(pool)),
        "another pool than {pool}: {interval}"
    );
    for op in [Op::Put, Op::Get] {
        ensure_timed(interval, op)?;
    }
    ensure!(interval["cgroups"].is_null(), "{interval}");
    let text = succeed(tmem(&["stats", "--stock", "--cgroups", "--for", "100ms"]))?;
    ensure!(text.contains("Cgroups: not measured"), "{text}");
    let files = tmem(&["files", "--stock", "--for", "100ms"]);
    fail(files, CANNOT_MEASURE, &["not measured", "tmem module"])?;
    Ok(said)
}

/// Without the module zswap is observed, as the kernel counts it, and its operations are timed.
pub(super) fn stock(context: &Context) -> Result<()> {
    const ZSWAP: &str = "/sys/module/zswap/parameters/enabled";
    let stage = Stage::new(context)?;
    fs::write(ZSWAP, "Y").context("enabling zswap")?;
    let timed = timed(&stage, context, 0);
    let said = object(tmem(&["pools", "--stock", "--json"]));
    let status = succeed(tmem(&["status", "--stock"]));
    fs::write(ZSWAP, "N").context("disabling zswap")?;
    let (timed, said, status) = (timed?, said?, status?);
    ensure!(status.contains("tmem would add"), "{status}");
    let puts = &timed["interval"]["latency"]["put"]["count"];
    context.data(json!({ "timed": puts }));
    let pool = &said["pools"][0];
    ensure!(pool["name"] == "zswap", "{said}");
    // Counted since 5.19.
    if context.kernel >= (5, 19) {
        let stored = tier::vmstat("zswpout")?;
        let seen = pool["counters"]["outcomes"]["stored"].as_u64().unwrap_or(0);
        ensure!(
            seen > 0 && seen <= stored,
            "{seen} of {stored} stores: {said}"
        );
        // Large folios are stored with one call.
        let (timed, counted) = (puts.as_u64(), timed["interval"]["stores"].as_u64());
        ensure!(
            timed > Some(0) && timed <= counted,
            "{timed:?} of {counted:?} stores were timed"
        );
    }
    stage.finish(context)
}

/// The same of a zram device that is swapped to.
pub(super) fn stock_zram(context: &Context) -> Result<()> {
    const SYSFS: &str = "/sys/block/zram0";
    fs::write(format!("{SYSFS}/comp_algorithm"), "lz4").context("zram: lz4")?;
    fs::write(format!("{SYSFS}/disksize"), "128M").context("zram: size")?;
    let disk = SwapDisk::start(Path::new("/dev/zram0"))?;
    let stage = Stage::on(Tier::without_module(disk))?;
    let said = timed(&stage, context, 1)?;
    let pool = &said["pools"][0];
    ensure!(pool["name"] == "zram0", "{said}");
    let puts = said["interval"]["latency"]["put"]["count"].as_u64();
    let counted = said["interval"]["stores"].as_u64();
    ensure!(
        puts > Some(0) && puts <= counted,
        "{puts:?} of {counted:?} stores were timed"
    );
    context.data(json!({ "timed": puts }));
    stage.finish(context)?;
    fs::write(format!("{SYSFS}/reset"), "1").context("zram: reset")
}

/// `tmem drain` empties a module in use, so that it can be unloaded at once.
pub(super) fn drain(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    stage.exercise(context, context.number("stores")?)?;
    while_held(&stage, context, || {
        ensure!(Stats::read()?.get("pages") > 0, "the module holds no page");
        ensure!(
            tier::unload().is_err(),
            "the module was unloaded with pages stored"
        );
        stage.group.lift_limit()?;
        let said = object(tmem(&["drain", "--json", "--keep-disabled"]))?;
        ensure!(said["pages_before"].as_u64() > Some(0), "{said}");
        ensure!(
            said["pages_after"] == 0 && said["enabled"] == false,
            "{said}"
        );
        tier::ensure_empty()?;
        tier::unload().context("unloading after the drain")?;
        tier::load("").context("loading again")
    })?;
    stage.tally.verdict()?;
    stage.tier.finish()
}

/// A plain user sees everything but latencies, and learns what the rest needs.
pub(super) fn rights(context: &Context) -> Result<()> {
    let stage = Stage::new(context)?;
    stage.exercise(context, context.number("stores")?)?;
    let as_nobody = |arguments: &[&str]| {
        let mut command = tmem(arguments);
        command.uid(NOBODY).gid(NOBODY);
        command
    };
    for arguments in [
        &["status", "--json"][..],
        &["pools", "--json"],
        &["stats", "--json", "--no-ebpf", "--for", "100ms"],
    ] {
        object(as_nobody(arguments))?;
    }
    let said = object(as_nobody(&["stats", "--json", "--for", "100ms"]))?;
    let why = said["unmeasured"].to_string();
    ensure!(
        why.contains("CAP_BPF"),
        "it does not say what latencies need: {why}"
    );

    let before = tier::attribute(names::LIMIT)?;
    fail(as_nobody(&["set", "limit=5%"]), MISSING_RIGHTS, &["root"])?;
    fail(as_nobody(&["drain"]), MISSING_RIGHTS, &["root"])?;
    ensure!(
        tier::attribute(names::LIMIT)? == before,
        "a plain user changed the limit"
    );
    stage.finish(context)
}

/// Without the module every command says so and ends with the code for it.
pub(super) fn no_module(_: &Context) -> Result<()> {
    process::spawn(|| {
        for arguments in [
            &["status"][..],
            &["pools"],
            &["stats"],
            &["set", "limit=5%"],
            &["drain"],
            &["top", "--batch", "-n", "1"],
        ] {
            fail(tmem(arguments), CANNOT_MEASURE, &["tmem", names::ROOT])?;
        }
        fail(tmem(&["unheard-of"]), USAGE, &["unheard-of"])
    })?
    .join()
}

/// With the call of eBPF hidden, as on a kernel built without it, every command ends as documented.
pub(super) fn no_bpf(context: &Context) -> Result<()> {
    const TRACE: &str = "/tmp/no-bpf.trace";
    const REASON: &str = "CONFIG_BPF_SYSCALL";
    let stage = Stage::new(context)?;
    stage.exercise(context, context.number("stores")?)?;
    let hidden = |arguments: &[&str]| {
        let mut command = tmem(arguments);
        sys::hide_bpf(&mut command);
        command
    };
    let said = object(hidden(&["stats", "--json", "--for", "100ms"]))?;
    ensure!(
        said["unmeasured"].to_string().contains(REASON)
            && said["interval"]["cells"].is_null()
            && said["interval"]["cgroups"].is_null()
            && said["totals"]["outcomes"]["stored"].as_u64() > Some(0),
        "{said}"
    );
    for arguments in [
        &["stats", "--for", "100ms"][..],
        &["top", "--batch", "-n", "1", "--interval", "100ms"],
    ] {
        let text = succeed(hidden(arguments))?;
        ensure!(
            text.contains("not measured") && text.contains(REASON),
            "{arguments:?}: {text}"
        );
    }
    for (arguments, code) in [
        (&["record", "-o", TRACE, "--duration", "200ms"][..], 0),
        // There is nothing to advise from.
        (&["advise", "--duration", "200ms"], FAILED),
    ] {
        let output = run(hidden(arguments))?;
        let message = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code)
                && message.contains("only counters are recorded")
                && message.contains(REASON),
            "{arguments:?}: {}: {message}",
            output.status
        );
    }
    for arguments in [
        &["status"][..],
        &["pools"],
        &["set", "limit=64M"],
        &["save"],
        &["doctor"],
        &["mount", "list"],
        &["run", "--", BUSYBOX, "true"],
        &["check", "--max-swap-written", "4000000", "--for", "100ms"],
        &["tune", "--for", "100ms", "--every", "50ms", "--dry-run"],
        &["report", TRACE, "-o", "/tmp/no-bpf.html"],
    ] {
        // 5.10 keeps no file pages.
        if arguments[0] != "mount" || context.kernel >= (6, 1) {
            succeed(hidden(arguments))?;
        }
    }
    let output = run(hidden(&["check", "--max-p99-get", "1s", "--for", "100ms"]))?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(CANNOT_MEASURE)
            && text.contains("not measured")
            && text.contains(REASON),
        "{}: {text}",
        output.status
    );
    fail(
        hidden(&["files", "--for", "100ms"]),
        CANNOT_MEASURE,
        &[REASON],
    )?;
    stage.group.lift_limit()?;
    succeed(hidden(&["drain"]))?;
    stage.finish(context)
}
