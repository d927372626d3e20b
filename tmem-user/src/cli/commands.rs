//! The commands of `tmem`: each opens a source, asks it, and prints.

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::process;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Cli, Command, Drain, Global, Set, Stats, Top};
use super::{FAILED, USAGE};
use crate::control::Control;
use crate::dashboard;
use crate::drain::drain;
use crate::embedded::EmbeddedSource;
use crate::interval::Interval;
use crate::json::{Body, CommandJson, Document, StatsJson};
use crate::live::{LiveOptions, LiveSource};
use crate::source::{Snapshot, Source, apply};
use crate::swaps::SystemSwaps;
use crate::text;

/// Measured when `tmem stats` is not told how long.
const DEFAULT_TIME: Duration = Duration::from_secs(1);

/// Runs the command asked for; the exit code.
pub(super) async fn run(cli: Cli) -> anyhow::Result<u8> {
    let global = &cli.global;
    match cli.command {
        Command::Status => status(global),
        Command::Stats(stats) if stats.command.is_empty() => {
            let time = stats.time.unwrap_or(DEFAULT_TIME);
            let reports = if stats.watch { stats.count } else { Some(1) };
            let source = open(global, Watch::of(&stats))?;
            report(global, source, time, reports, stats.cgroups).await
        }
        Command::Stats(stats) => stats_of_command(global, &stats).await,
        Command::Pools => pools(global),
        Command::Set(set) => change(global, &set),
        Command::Drain(options) => empty(global, &options).await,
        Command::Top(top) => watch(global, &top).await,
    }
}

/// What to observe beyond sysfs.
#[derive(Clone, Copy)]
struct Watch {
    observe: bool,
    sample_one_in: u32,
}

impl Watch {
    const NOTHING: Self = Self {
        observe: false,
        sample_one_in: 0,
    };

    fn of(stats: &Stats) -> Self {
        Self {
            observe: !stats.no_ebpf,
            sample_one_in: 0,
        }
    }
}

fn open(global: &Global, watch: Watch) -> anyhow::Result<Box<dyn Source>> {
    if global.embedded {
        let spec = global.workload.clone().unwrap_or_default();
        return Ok(Box::new(EmbeddedSource::start(&spec, watch.sample_one_in)?));
    }
    Ok(Box::new(LiveSource::open(LiveOptions {
        root: global.sysfs.clone(),
        observe: watch.observe,
        sample_one_in: watch.sample_one_in,
    })?))
}

/// Writes to standard output at once, so that a reader sees every report when
/// it is due.
fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn print_json(body: Body<'_>) -> anyhow::Result<()> {
    let line = Document::new(body).to_line()?;
    print(&format!("{line}\n"))?;
    Ok(())
}

fn status(global: &Global) -> anyhow::Result<u8> {
    let mut source = open(global, Watch::NOTHING)?;
    let snapshot = source.snapshot()?;
    let tunables = source.tunables()?;
    if global.json {
        print_json(Body::Status {
            source: source.describe(),
            state: (&snapshot).into(),
            tunables: tunables.iter().map(Into::into).collect(),
        })?;
    } else {
        let palette = global.palette_for_stdout();
        print(&text::status(
            &source.describe(),
            &snapshot,
            &tunables,
            palette,
        ))?;
    }
    Ok(0)
}

fn pools(global: &Global) -> anyhow::Result<u8> {
    let mut source = open(global, Watch::NOTHING)?;
    let snapshot = source.snapshot()?;
    if global.json {
        print_json(Body::Pools {
            source: source.describe(),
            pools: snapshot.pools.iter().map(Into::into).collect(),
        })?;
    } else {
        print(&text::pools(&snapshot.pools, global.palette_for_stdout()))?;
    }
    Ok(0)
}

fn change(global: &Global, set: &Set) -> anyhow::Result<u8> {
    let mut source = open(global, Watch::NOTHING)?;
    let changes = apply(source.as_mut(), &set.changes)?;
    if global.json {
        print_json(Body::Set {
            changes: changes.iter().map(Into::into).collect(),
        })?;
    } else {
        print(&text::changes(&changes, global.palette_for_stdout()))?;
    }
    Ok(0)
}

/// Prints a report after each `time`, so many of them, or without end.
async fn report(
    global: &Global,
    mut source: Box<dyn Source>,
    time: Duration,
    reports: Option<u64>,
    cgroups: bool,
) -> anyhow::Result<u8> {
    let mut earlier = source.snapshot()?;
    let mut ticks = tokio::time::interval(time);
    ticks.tick().await;
    let mut printed = 0;
    while reports.is_none_or(|reports| printed < reports) {
        ticks.tick().await;
        let snapshot = source.snapshot()?;
        if printed > 0 && !global.json {
            print("\n")?;
        }
        print_stats(global, source.as_ref(), &earlier, &snapshot, None, cgroups)?;
        earlier = snapshot;
        printed += 1;
    }
    Ok(0)
}

fn print_stats(
    global: &Global,
    source: &dyn Source,
    earlier: &Snapshot,
    snapshot: &Snapshot,
    command: Option<CommandJson>,
    cgroups: bool,
) -> anyhow::Result<()> {
    let interval = Interval::between(earlier, snapshot);
    let source = source.describe();
    if global.json {
        let stats = StatsJson::new(source, snapshot, &interval, command);
        return print_json(Body::Stats(Box::new(stats)));
    }
    let palette = global.palette_for_stdout();
    let mut report = text::stats(&source, snapshot, &interval, palette);
    if cgroups {
        report.push_str(&text::cgroups(&interval, palette));
    }
    print(&report)?;
    Ok(())
}

/// Measures while a command runs. Its standard output goes to standard error,
/// so that ours holds the report alone; its exit code becomes ours.
async fn stats_of_command(global: &Global, stats: &Stats) -> anyhow::Result<u8> {
    let [program, arguments @ ..] = stats.command.as_slice() else {
        bail!("no command");
    };
    let mut source = open(global, Watch::of(stats))?;
    // The command gets these from the terminal too: we outlive it to report.
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut quits = signal(SignalKind::quit())?;
    let earlier = source.snapshot()?;
    let mut child = process::Command::new(program)
        .args(arguments)
        .stdout(Stdio::from(io::stderr()))
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            _ = interrupts.recv() => {}
            _ = quits.recv() => {}
        }
    };
    let snapshot = source.snapshot()?;
    let exit_code = exit_code_of(status);
    let command = CommandJson {
        argv: stats.command.clone(),
        exit_code,
    };
    print_stats(
        global,
        source.as_ref(),
        &earlier,
        &snapshot,
        Some(command),
        stats.cgroups,
    )?;
    Ok(u8::try_from(exit_code).unwrap_or(FAILED))
}

/// As shells tell it: 128 + n for signal n.
fn exit_code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(i32::from(FAILED))
}

async fn empty(global: &Global, options: &Drain) -> anyhow::Result<u8> {
    if global.embedded {
        log::error!("drain is for the loaded module, not for --embedded");
        return Ok(USAGE);
    }
    let control = Control::open(global.sysfs.clone())?;
    let stop = Arc::new(AtomicBool::new(false));
    let keep_disabled = options.keep_disabled;
    let mut work = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || {
            drain(&control, &SystemSwaps, keep_disabled, &stop, |progress| {
                // Progress that nobody can see is no reason to stop.
                let _ = writeln!(io::stderr(), "{progress}");
            })
        }
    });
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let drained = loop {
        tokio::select! {
            drained = &mut work => break drained?,
            _ = interrupts.recv() => {}
            _ = terminations.recv() => {}
        }
        stop.store(true, Ordering::Relaxed);
        let _ = writeln!(
            io::stderr(),
            "finishing the swap device in hand, then stopping"
        );
    }?;
    let devices: Vec<String> = drained
        .devices
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if global.json {
        print_json(Body::Drain {
            devices: devices.iter().map(String::as_str).collect(),
            pages_before: drained.pages_before,
            pages_after: drained.pages_after,
            enabled: drained.enabled,
        })?;
    } else {
        let accepting = if drained.enabled {
            "accepts new pages again"
        } else {
            "refuses new pages"
        };
        print(&format!(
            "drained: {} -> {} pages, {} swap devices; tmem {accepting}\n",
            drained.pages_before,
            drained.pages_after,
            devices.len()
        ))?;
    }
    Ok(0)
}

async fn watch(global: &Global, top: &Top) -> anyhow::Result<u8> {
    let observation = Watch {
        observe: true,
        sample_one_in: top.sample,
    };
    let source = open(global, observation)?;
    if top.batch {
        return report(global, source, top.interval, top.count, true).await;
    }
    let options = dashboard::Options {
        interval: top.interval,
        color: global.palette_for_stdout().on,
        ascii: top.ascii,
    };
    dashboard::run(source, &options)?;
    Ok(0)
}
