//! What people look at: a memory-hungry workload with the dashboard or a summary,
//! and a shell.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tmem_tests::protocol::{BUSYBOX, CLI, MODULE};

use crate::cgroup::Cgroup;
use crate::content::Rng;
use crate::context::{Context, Terminal};
use crate::load;
use crate::process::{self, Child};
use crate::region::{Region, Tally};
use crate::swap::SwapDisk;
use crate::{sys, tier};

/// Memory of the workload's group, in MiB, and the pages that it uses: four times as much.
const GROUP_MIB: u64 = 64;
const PAGES: usize = 4 * 16384;
const PROCESSES: usize = 2;

/// Starts the workload, and shows it until the person leaves or the time is over.
pub(super) fn run(context: &Context) -> Result<()> {
    let disk = SwapDisk::start(&context.swap()?)?;
    tier::load("").context("loading the module")?;
    let group = Cgroup::new("demo", GROUP_MIB)?;
    let tally = Tally::shared()?;
    let workers = start_workers(context, &group, tally)?;
    match context.terminal {
        Some(terminal) => dashboard(terminal)?,
        None => summary(context, &disk, tally)?,
    }
    tally.stop();
    for worker in workers {
        worker.join()?;
    }
    tally.verdict()
}

fn start_workers(context: &Context, group: &Cgroup, tally: &'static Tally) -> Result<Vec<Child>> {
    (0..PROCESSES)
        .map(|number| {
            let seed = context.seed + number as u64;
            process::spawn(move || {
                group.enter()?;
                let mut region = Region::anonymous(PAGES / PROCESSES, seed)?;
                let mut rng = Rng::new(seed);
                region.write_all();
                load::use_until_stopped(&mut region, &mut rng, tally)
            })
        })
        .collect()
}

/// Makes the console the controlling terminal of a command, as wide as the person's.
fn on_console(command: &mut Command, terminal: Option<Terminal>) -> Result<()> {
    if let Some(terminal) = terminal {
        sys::resize_console(terminal.columns, terminal.rows).context("the console's size")?;
    }
    command
        .env("TERM", "xterm-256color")
        .env("HOME", "/root")
        .env("PATH", "/bin");
    // SAFETY: between fork and exec only system calls are made.
    unsafe { command.pre_exec(sys::take_console) };
    Ok(())
}

fn dashboard(terminal: Terminal) -> Result<()> {
    // Kernel messages would tear the picture.
    fs::write("/proc/sys/kernel/printk", "1").context("silencing the kernel")?;
    let mut command = Command::new(CLI);
    command.arg("top");
    on_console(&mut command, Some(terminal))?;
    let status = command.status().context("running tmem top")?;
    ensure!(status.success(), "tmem top: {status}");
    Ok(())
}

/// Measures for the given time and prints one table.
fn summary(context: &Context, disk: &SwapDisk, tally: &Tally) -> Result<()> {
    let seconds = context.number("seconds")?;
    let written_before = disk.written_bytes()?;
    let output = Command::new(CLI)
        .args(["stats", "--json", "--for", &format!("{seconds}s")])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .context("running tmem stats")?;
    ensure!(output.status.success(), "tmem stats: {}", output.status);
    let stats: Value = serde_json::from_slice(&output.stdout).context("the tool's JSON")?;
    let written = (disk.written_bytes()? - written_before) / tmem_common::PAGE_SIZE as u64;
    let interval = &stats["interval"];
    let number = |value: &Value| value.as_u64().map_or("-".to_owned(), |n| n.to_string());
    let micros = |value: &Value| {
        value
            .as_u64()
            .map_or("-".to_owned(), |ns| format!("{:.1} us", ns as f64 / 1000.0))
    };
    let ratio = |value: &Value| value.as_f64().map_or("-".to_owned(), |r| format!("{r:.2}"));
    let stores = interval["stores"].as_u64().unwrap_or_default();
    let hits = interval["hits"].as_u64().unwrap_or_default();
    let share = interval["hit_share"].as_f64().unwrap_or_default() * 100.0;
    let latency = &interval["latency"];
    sys::say("");
    for (what, value) in [
        ("stores", stores.to_string()),
        ("hits", format!("{hits} ({share:.1} % of loads)")),
        ("compression ratio", ratio(&stats["compression_ratio"])),
        (
            "put p50 / p99",
            format!(
                "{} / {}",
                micros(&latency["put"]["p50_ns"]),
                micros(&latency["put"]["p99_ns"])
            ),
        ),
        (
            "get p50 / p99",
            format!(
                "{} / {}",
                micros(&latency["get"]["p50_ns"]),
                micros(&latency["get"]["p99_ns"])
            ),
        ),
        (
            "disk writes avoided",
            format!("{} of {} pages", stores, stores + written),
        ),
        ("pages held", number(&stats["pages"])),
        (
            "pages verified",
            format!("{}, {} bad", tally.checked(), tally.bad()),
        ),
    ] {
        sys::say(&format!("  {what:<22} {value}"));
    }
    sys::say("");
    Ok(())
}

/// Busybox on the console, with job control; the module lies at hand.
pub(super) fn shell(context: &Context) -> Result<()> {
    if let Some(disk) = context
        .swap()
        .ok()
        .map(|path| SwapDisk::start(&path))
        .transpose()?
    {
        // The shell's user switches it off or leaves it.
        std::mem::forget(disk);
    }
    sys::say(&format!(
        "swap is on; load the module with: insmod {MODULE}"
    ));
    let mut command = Command::new(BUSYBOX);
    command.arg("sh").arg("-l");
    on_console(&mut command, context.terminal)?;
    for applet in [
        "insmod", "rmmod", "lsmod", "ls", "cat", "mount", "free", "poweroff", "dmesg", "vi", "ps",
        "grep", "echo", "mkdir", "top", "swapon", "swapoff",
    ] {
        let link = format!("/bin/{applet}");
        // The initramfs may have brought it.
        let _ = std::os::unix::fs::symlink("busybox", link);
    }
    command.status().context("running the shell")?;
    Ok(())
}
