//! The commands of `tmem`: each opens a source, asks it, and prints.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tmem_common::sysfs;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Cli, Command, Doctor, Drain, Global, Pools, Stats, Top};
use super::{
    FAILED, USAGE, advise, cgroup, compare, configure, export, files, import, measure, mount, mrc,
    pageout, record, replay, report, serve, shell, tune,
};
use crate::columns::{Layout, POOL_COLUMNS};
use crate::control::Control;
use crate::dashboard;
use crate::doctor::{self, Grade};
use crate::drain::drain;
use crate::embedded::EmbeddedSource;
use crate::json::{Body, Document};
use crate::live::{LiveOptions, LiveSource};
use crate::recorded::RecordedSource;
use crate::source::Source;
use crate::stock::StockSource;
use crate::swaps::SystemSwaps;
use crate::text;

/// Runs the command asked for; the exit code.
pub(super) async fn run(cli: Cli) -> anyhow::Result<u8> {
    let global = &cli.global;
    match cli.command {
        Command::Status => status(global),
        Command::Stats(stats) if stats.command.is_empty() => {
            let time = stats.time.unwrap_or(measure::DEFAULT_TIME);
            let reports = if stats.watch { stats.count } else { Some(1) };
            let printer = measure::Printer::new(global, &stats.table, stats.cgroups)?;
            let source = open(global, Watch::of(&stats))?;
            measure::report(printer, source, time, reports).await
        }
        Command::Stats(stats) => measure::stats_of_command(global, &stats).await,
        Command::Pools(options) => pools(global, &options),
        Command::Files(options) => files::run(global, &options).await,
        Command::Check(check) => measure::check(global, &check).await,
        Command::Run(run) => measure::run(global, &run).await,
        Command::Serve(options) => serve::serve(global, &options).await,
        Command::Pageout(options) => pageout::run(global, &options),
        Command::Tune(options) => tune::run(global, &options).await,
        Command::Completions(options) => shell::completions(&options),
        Command::Man(options) => shell::man(&options),
        Command::Doctor(doctor) => examine(global, &doctor),
        Command::Set(set) => configure::set(global, &set),
        Command::Apply(options) => configure::apply_files(global, &options),
        Command::ShowConfig(options) => configure::show(global, &options),
        Command::Save(options) => configure::save(global, &options),
        Command::Mount(mount) => mount::run(global, &mount).await,
        Command::Cgroup(command) => cgroup::run(global, &command),
        Command::Drain(options) => empty(global, &options).await,
        Command::Export(options) => export::run(&options),
        Command::Import(options) => import::run(global, &options),
        Command::Replay(options) => replay::run(global, &options),
        Command::Advise(options) => advise::run(global, &options).await,
        Command::Report(options) => report::run(&options),
        Command::Compare(options) => compare::run(global, &options),
        Command::Mrc(options) => mrc::run(global, &options),
        Command::Record(options) => record::run(global, &options).await,
        Command::Top(top) => watch(global, &top).await,
    }
}

/// What to observe beyond sysfs.
#[derive(Clone, Copy)]
pub(super) struct Watch {
    pub(super) observe: bool,
    pub(super) sample_one_in: u32,
}

impl Watch {
    pub(super) const NOTHING: Self = Self {
        observe: false,
        sample_one_in: 0,
    };

    pub(super) fn of(stats: &Stats) -> Self {
        Self {
            observe: !stats.no_ebpf,
            sample_one_in: 0,
        }
    }
}

pub(super) fn open(global: &Global, watch: Watch) -> anyhow::Result<Box<dyn Source>> {
    if global.embedded {
        let spec = global.workload.clone().unwrap_or_default();
        return Ok(Box::new(EmbeddedSource::start(&spec, watch.sample_one_in)?));
    }
    if global.stock {
        return Ok(Box::new(if watch.observe {
            StockSource::timed()
        } else {
            StockSource::new("/")
        }));
    }
    Ok(Box::new(LiveSource::open(LiveOptions {
        root: global.sysfs.clone(),
        observe: watch.observe,
        sample_one_in: watch.sample_one_in,
    })?))
}

/// Writes to standard output at once, so that a reader sees every report when
/// it is due.
pub(super) fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

pub(super) fn print_json(body: Body<'_>) -> anyhow::Result<()> {
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

fn pools(global: &Global, options: &Pools) -> anyhow::Result<u8> {
    let table = &options.table;
    let layout = Layout::choose(POOL_COLUMNS, &table.columns, table.style())?;
    let mut source = open(global, Watch::NOTHING)?;
    let snapshot = source.snapshot()?;
    if global.json {
        print_json(Body::Pools {
            source: source.describe(),
            pools: snapshot.pools.iter().map(Into::into).collect(),
        })?;
    } else {
        print(&layout.table(&snapshot.pools, !(table.no_headings || options.bare)))?;
    }
    Ok(0)
}

fn examine(global: &Global, options: &Doctor) -> anyhow::Result<u8> {
    if !options.root.is_dir() {
        log::error!("--root {}: not a directory", options.root.display());
        return Ok(USAGE);
    }
    let findings = doctor::examine(&options.root, doctor::Rights::of_this_process());
    let well = findings
        .iter()
        .all(|finding| finding.grade < Grade::Problem);
    if global.json {
        print_json(Body::Doctor {
            works: well,
            findings: findings.iter().map(Into::into).collect(),
        })?;
    } else {
        print(&text::findings(&findings, global.palette_for_stdout()))?;
    }
    Ok(if well { 0 } else { FAILED })
}

async fn empty(global: &Global, options: &Drain) -> anyhow::Result<u8> {
    if global.embedded || global.stock {
        log::error!("drain is for the loaded module, not for --embedded or --stock");
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
    if top.print_config {
        print(&dashboard::config::template())?;
        return Ok(0);
    }
    let observation = Watch {
        observe: true,
        sample_one_in: top.sample,
    };
    if top.file.is_some() && (global.embedded || global.stock) {
        log::error!("top FILE looks at a recording, not at --embedded or --stock");
        return Ok(USAGE);
    }
    if top.batch {
        let printer = measure::Printer::new(global, &top.table, true)?;
        let source = open(global, observation)?;
        let interval = top.interval.unwrap_or(measure::DEFAULT_TIME);
        return measure::report(printer, source, interval, top.count).await;
    }
    let config = dashboard::config::Config::load(top.config.as_deref())?;
    // Whoever only looks gets to see what there is.
    let without_module =
        !global.embedded && global.sysfs == Path::new(sysfs::ROOT) && !global.sysfs.is_dir();
    let mut recorded = None;
    let source: Box<dyn Source> = if let Some(file) = &top.file {
        let source = RecordedSource::open(file)?;
        recorded = Some(Duration::from_nanos(source.interval_ns())).filter(|time| !time.is_zero());
        Box::new(source)
    } else if without_module {
        Box::new(StockSource::timed())
    } else {
        open(global, observation)?
    };
    let options = dashboard::Options {
        interval: recorded
            .or(top.interval)
            .or(config.interval)
            .unwrap_or(measure::DEFAULT_TIME),
        color: global.palette_for_stdout().on,
        ascii: top.ascii || config.ascii,
        config,
    };
    dashboard::run(source, &options)?;
    Ok(0)
}
