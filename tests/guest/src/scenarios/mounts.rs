//! The tool and mounts: what is added is what is mounted at a path, and nothing else; and by
//! rule a file system takes part from its mount on.

use std::fs::{self, File};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tmem_common::sysfs;

use super::files::{TWICE, read, write};
use super::reread::{ADD, LAST_REFUSAL, LIST, REMOVE, ensure_refused};
use super::tool::{FAILED, USAGE, fail, run, succeed, tmem};
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::stress::{BASE, Place, TOP, Top};
use crate::sys;
use crate::tier::{self, Stats};

/// A directory of the file system on the disk.
const FOLDER: &str = "/mnt/files/folder";
const NOTHING: &str = "nothing is mounted there";
const RULES: &str = "/tmp/rules.conf";

fn rule(path: &str, keep: bool) -> String {
    format!("[mounts.\"{path}\"]\npolicy = \"s3fifo\"\nkeep = {keep}\n")
}

fn ensure_listed(paths: &[&str]) -> Result<()> {
    let list = tier::attribute(LIST)?;
    let found: Vec<_> = list
        .lines()
        .map(|line| line.rsplit(' ').next().unwrap_or_default())
        .collect();
    ensure!(found == paths, "{list:?} is listed, not {paths:?}");
    Ok(())
}

/// `tmem mount add` and `rm`, and `tmem apply`: a directory where nothing is mounted stands for
/// no file system; a file system is known by its device, by whatever path it is seen.
pub(super) fn by_hand(context: &Context) -> Result<()> {
    let mount = |command: &str, path: &str| tmem(&["mount", command, path]);
    let apply = |path: &str| -> Result<_> {
        fs::write(RULES, rule(path, true))?;
        Ok(tmem(&["apply", RULES]))
    };
    let place = Place::new(context, Top::Nothing)?;
    fs::create_dir(FOLDER)?;
    tier::load("").context("loading")?;

    ensure_refused(ADD, FOLDER, libc::EINVAL)?;
    let reason = tier::attribute(LAST_REFUSAL)?;
    ensure!(reason == NOTHING, "the module's reason is {reason:?}");
    for command in ["add", "rm"] {
        let words = [FOLDER, NOTHING, "allowed: a directory on which"];
        fail(mount(command, FOLDER), USAGE, &words)?;
    }
    let output = run(apply(FOLDER)?)?;
    let message = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success()
            && message.contains(&format!("rules.conf:3:8: {FOLDER}: {NOTHING}")),
        "{}: {message}",
        output.status
    );
    ensure_listed(&[])?;

    sys::mount("tmpfs", TOP, "").context("mounting tmpfs")?;
    let refused = [TOP, "is refused", "in memory"];
    fail(mount("add", TOP), FAILED, &refused)?;
    sys::unmount(TOP)?;
    ensure_listed(&[])?;

    let said = succeed(mount("add", BASE))?;
    ensure!(said == format!("{BASE}: added\n"), "{said:?}");
    fail(mount("add", BASE), FAILED, &[BASE, "takes part already"])?;
    ensure_refused(REMOVE, FOLDER, libc::EINVAL)?;
    ensure_listed(&[BASE])?;
    let said = succeed(mount("rm", BASE))?;
    ensure!(said == format!("{BASE}: removed\n"), "{said:?}");
    fail(mount("rm", BASE), FAILED, &[BASE, "takes no part"])?;
    ensure_listed(&[])?;

    // A part that is mounted elsewhere too.
    sys::bind(FOLDER, TOP).context("binding")?;
    tier::set(ADD, TOP)?;
    ensure_refused(ADD, BASE, libc::EEXIST)?;
    let said = succeed(apply(BASE)?)?;
    ensure!(said.contains("policy"), "it was not known: {said}");
    sys::unmount(TOP)?;
    ensure_listed(&[TOP])?;
    tier::set(REMOVE, BASE)?;
    ensure_listed(&[])?;

    // What is mounted over it is what the path stands for, but for the list.
    tier::set(ADD, BASE)?;
    sys::mount("tmpfs", BASE, "").context("mounting tmpfs")?;
    fail(apply(BASE)?, FAILED, &[BASE, "is refused", "in memory"])?;
    ensure_listed(&[BASE])?;
    succeed(mount("rm", BASE))?;
    ensure_listed(&[])?;
    sys::unmount(BASE)?;

    place.unmount()?;
    tier::ensure_empty()?;
    tier::unload().context("unloading")
}

/// A running `tmem mount watch`.
struct Watching(Child);

impl Watching {
    const OUT: &str = "/tmp/watching.out";
    const ERR: &str = "/tmp/watching.err";

    fn start() -> Result<Self> {
        let child = tmem(&["mount", "watch", RULES])
            .stdout(Stdio::from(File::create(Self::OUT)?))
            .stderr(Stdio::from(File::create(Self::ERR)?))
            .spawn()
            .context("starting tmem mount watch")?;
        Ok(Self(child))
    }

    fn count(path: &str, line: &str) -> Result<usize> {
        let text = fs::read_to_string(path)?;
        Ok(text.lines().filter(|found| found.contains(line)).count())
    }

    /// Waits until it has said `line` so many times.
    fn says(&self, path: &str, line: &str, times: usize) -> Result<()> {
        for _ in 0..3000 {
            if Self::count(path, line)? == times {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!(
            "it does not say {line:?} {times} times: {} {}",
            fs::read_to_string(Self::OUT)?,
            fs::read_to_string(Self::ERR)?
        )
    }

    fn signal(&self, number: i32) -> Result<()> {
        // SAFETY: no memory is passed.
        match unsafe { libc::kill(self.0.id() as i32, number) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()).context("kill"),
        }
    }
}

/// While `tmem mount watch` runs a file system takes part from each mount on, without any
/// command; what is refused is told once; the module may leave and come back.
pub(super) fn by_rule(context: &Context) -> Result<()> {
    const OTHER: &str = "/mnt/other";
    let place = Place::new(context, Top::Nothing)?;
    write(context.seed, TWICE)?;
    place.unmount()?;
    let (file_system, disk) = context.disk()?;
    let mount = || {
        sys::mount_disk(&disk, BASE, file_system.kind(), file_system.mount_options())
            .context("mounting")
    };
    let something_else = || -> Result<()> {
        sys::mount("tmpfs", OTHER, "").context("mounting tmpfs")?;
        sys::unmount(OTHER).context("unmounting tmpfs")
    };
    let added = format!("{BASE}: added");
    tier::load("").context("loading")?;
    tier::set(sysfs::LIMIT, "40%")?;
    let group = Cgroup::new("files", 16)?;
    fs::write(RULES, rule(BASE, true) + &rule(TOP, true))?;
    let mut watching = Watching::start()?;
    watching.says(Watching::OUT, "watching for 2 file systems", 1)?;
    ensure_listed(&[])?;

    for round in 1..=2 {
        mount()?;
        watching.says(Watching::OUT, &added, round)?;
        ensure_listed(&[BASE])?;
        let list = tier::attribute(LIST)?;
        let pool = list.split(' ').nth(2).context("no pool")?;
        let policy = tier::attribute(&format!("pools/{pool}/policy"))?;
        ensure!(policy == "s3fifo", "the policy is {policy}");
        let before = Stats::read()?.stored();
        read(&group, TWICE)?;
        group.reclaim_all()?;
        let stored = Stats::read()?.stored() - before;
        context.data(json!({ "round": round, "stored": stored }));
        ensure!(stored > 0, "nothing was kept after mount {round}");
        place.unmount()?;
        ensure_listed(&[])?;
    }

    sys::mount("tmpfs", TOP, "").context("mounting tmpfs")?;
    watching.says(Watching::ERR, &format!("{TOP} is refused"), 1)?;
    something_else()?;
    mount()?;
    watching.says(Watching::OUT, &added, 3)?;

    tier::unload().context("unloading")?;
    something_else()?;
    watching.says(Watching::ERR, "looking again", 1)?;
    tier::load("").context("loading again")?;
    something_else()?;
    watching.says(Watching::OUT, &added, 4)?;
    ensure_listed(&[BASE])?;
    // Anew of the module that is new.
    watching.says(Watching::ERR, &format!("{TOP} is refused"), 2)?;
    sys::unmount(TOP)?;

    fs::write(RULES, "[mounts\n")?;
    watching.signal(libc::SIGHUP)?;
    watching.says(Watching::ERR, "what was read before holds", 1)?;
    fs::write(RULES, rule(BASE, false))?;
    watching.signal(libc::SIGHUP)?;
    watching.says(Watching::OUT, &format!("{BASE}: removed"), 1)?;
    ensure_listed(&[])?;

    watching.signal(libc::SIGTERM)?;
    let status = watching.0.wait()?;
    ensure!(status.success(), "tmem mount watch: {status}");
    let said = Watching::count(Watching::OUT, "")?;
    ensure!(said == 6, "{}", fs::read_to_string(Watching::OUT)?);
    place.unmount()?;
    tier::ensure_empty()?;
    tier::unload().context("unloading")
}
