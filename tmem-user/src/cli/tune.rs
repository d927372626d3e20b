//! `tmem tune`: lets the controller move the limit, says each change and why, and
//! steps aside where somebody else changes it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;
use tmem_common::sysfs;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Global, Tune};
use super::commands::{Watch, open, print, print_json};
use super::{CANNOT_MEASURE, USAGE};
use crate::config;
use crate::interval::Interval;
use crate::json::{Body, TuneJson};
use crate::source::Source;
use crate::tune::{Bounds, Controller, Reading};
use crate::units::{Size, parse_size, show_bytes, size_value};

/// What was done, for the summary.
struct Deeds {
    started: Instant,
    limit_before: u64,
    changes: u64,
    aside: bool,
}

pub(super) async fn run(global: &Global, options: &Tune) -> anyhow::Result<u8> {
    let mut source = open(global, Watch::NOTHING)?;
    let ram = source.ram_bytes()?;
    let bytes = |option: &str, text: &str| -> anyhow::Result<u64> {
        let resolved = config::resolve(sysfs::LIMIT, text, ram)
            .with_context(|| format!("{option} {text:?}"))?;
        match parse_size(&resolved) {
            Some(Size::Bytes(bytes)) => Ok(bytes),
            Some(Size::Percent(percent)) => Ok(ram / 100 * u64::from(percent)),
            None => bail!("{option} {text:?}: a size such as 512M, 20% or ram / 4 is wanted"),
        }
    };
    let bounds = match (
        bytes("--min-limit", &options.min_limit),
        bytes("--max-limit", &options.max_limit),
    ) {
        (Ok(min), Ok(max)) if min <= max => Bounds {
            min,
            max,
            pressure: options.max_pressure,
        },
        (Ok(min), Ok(max)) => {
            log::error!(
                "--min-limit {} is above --max-limit {}",
                show_bytes(min),
                show_bytes(max)
            );
            return Ok(USAGE);
        }
        (Err(error), _) | (_, Err(error)) => {
            log::error!("{error:#}");
            return Ok(USAGE);
        }
    };
    let mut earlier = source.snapshot()?;
    if earlier.pressure.is_none() {
        log::error!("memory pressure is not measured: the kernel needs CONFIG_PSI and psi=1");
        return Ok(CANNOT_MEASURE);
    }
    if !options.dry_run {
        // Missing rights are told at once, not at the first change.
        let value = limit_value(source.as_mut())?;
        source.plan(sysfs::LIMIT, &value)?;
    }
    let mut controller = Controller::new(bounds);
    let mut expected = limit_value(source.as_mut())?;
    let mut deeds = Deeds {
        started: Instant::now(),
        limit_before: earlier.limit_bytes,
        changes: 0,
        aside: false,
    };
    // Fails only where there is no service manager to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
    let mut terminations = signal(SignalKind::terminate())?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut ticks = tokio::time::interval(options.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    while options
        .time
        .is_none_or(|time| deeds.started.elapsed() < time)
    {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = terminations.recv() => break,
            _ = interrupts.recv() => break,
        }
        let found = limit_value(source.as_mut())?;
        if found != expected {
            tell(
                global,
                "step_aside",
                &expected,
                &found,
                "somebody else changed the limit",
            )?;
            deeds.aside = true;
            break;
        }
        let snapshot = source.snapshot()?;
        let interval = Interval::between(&earlier, &snapshot);
        earlier = snapshot;
        let reading = Reading::of(&earlier, &interval);
        let Some(decision) = reading.and_then(|reading| controller.decide(&reading)) else {
            continue;
        };
        let value = size_value(decision.limit);
        if options.dry_run {
            tell(global, "would_change", &expected, &value, &decision.why)?;
        } else {
            let change = source.set(sysfs::LIMIT, &value)?;
            tell(global, "change", &change.old, &change.new, &decision.why)?;
            expected = change.new;
        }
        deeds.changes += 1;
        let status = format!("limit {value}: {}", decision.why);
        let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    let limit = source.snapshot()?.limit_bytes;
    summarise(global, &deeds, limit)?;
    Ok(0)
}

/// The limit as it reads now.
fn limit_value(source: &mut dyn Source) -> anyhow::Result<String> {
    let tunables = source.tunables()?;
    let limit = tunables
        .into_iter()
        .find(|tunable| tunable.key == sysfs::LIMIT);
    limit
        .map(|tunable| tunable.value)
        .context("there is no limit to tune")
}

fn tell(
    global: &Global,
    what: &'static str,
    old: &str,
    new: &str,
    why: &str,
) -> anyhow::Result<()> {
    if global.json {
        return print_json(Body::Tune(TuneJson {
            what,
            old: old.to_owned(),
            new: new.to_owned(),
            why: why.to_owned(),
        }));
    }
    let would = match what {
        "would_change" => "would change ",
        "step_aside" => "stepping aside: ",
        _ => "",
    };
    print(&format!("{would}limit: {old} -> {new}: {why}\n"))?;
    Ok(())
}

fn summarise(global: &Global, deeds: &Deeds, limit: u64) -> anyhow::Result<()> {
    let time = Duration::from_secs(deeds.started.elapsed().as_secs());
    let why = format!(
        "{} changes in {time:?}{}",
        deeds.changes,
        if deeds.aside { ", stepped aside" } else { "" }
    );
    if global.json {
        return tell(
            global,
            "summary",
            &size_value(deeds.limit_before),
            &size_value(limit),
            &why,
        );
    }
    print(&format!(
        "summary: limit {} -> {}, {why}\n",
        show_bytes(deeds.limit_before),
        show_bytes(limit)
    ))?;
    Ok(())
}
