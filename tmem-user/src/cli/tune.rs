//! `tmem tune`: lets the controller move the limit and the share of swap pages, says each change
//! and why, and steps aside where somebody else changes one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use sd_notify::NotifyState;
use tmem_common::sysfs;
use tokio::signal::unix::{SignalKind, signal};

use super::args::{Global, Tune};
use super::commands::{Watch, open, print, print_json};
use super::{CANNOT_MEASURE, USAGE};
use crate::config;
use crate::json::{Body, TuneJson};
use crate::source::{PoolKind, PoolSnapshot, Source};
use crate::tune::{Bounds, Controller, Knob, Reading};
use crate::units::{Size, parse_size, show_bytes, size_value};

/// What was done, for the summary.
struct Deeds {
    started: Instant,
    limit_before: u64,
    share: Option<Share>,
    changes: u64,
    aside: bool,
}

/// The limit of the pool of swap pages.
struct Share {
    key: String,
    before: String,
    /// What it has to read as if nobody else changed it.
    expected: String,
    /// Somebody else did.
    left: bool,
}

impl Share {
    /// `None` unless there is one such pool.
    fn find(source: &mut dyn Source, pools: &[PoolSnapshot]) -> anyhow::Result<Option<Self>> {
        let mut of_swap = pools
            .iter()
            .filter(|pool| pool.kind == PoolKind::Persistent);
        let (Some(pool), None) = (of_swap.next(), of_swap.next()) else {
            return Ok(None);
        };
        let key = format!("{}.{}.{}", sysfs::POOLS, pool.id, sysfs::POOL_LIMIT);
        let before = value_of(source, &key)?;
        Ok(Some(Self {
            key,
            expected: before.clone(),
            before,
            left: false,
        }))
    }
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
        let value = value_of(source.as_mut(), sysfs::LIMIT)?;
        source.plan(sysfs::LIMIT, &value)?;
    }
    let mut controller = Controller::new(bounds);
    let mut expected = value_of(source.as_mut(), sysfs::LIMIT)?;
    let mut deeds = Deeds {
        started: Instant::now(),
        limit_before: earlier.limit_bytes,
        share: Share::find(source.as_mut(), &earlier.pools)?,
        changes: 0,
        aside: false,
    };
    let mut terminations = signal(SignalKind::terminate())?;
    let mut interrupts = signal(SignalKind::interrupt())?;
    // Fails only where there is no service manager to tell.
    let _ = sd_notify::notify(&[NotifyState::Ready]);
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
        let found = value_of(source.as_mut(), sysfs::LIMIT)?;
        if found != expected {
            let why = "somebody else changed the limit";
            tell(global, "step_aside", sysfs::LIMIT, (&expected, &found), why)?;
            deeds.aside = true;
            break;
        }
        if let Some(share) = deeds.share.as_mut().filter(|share| !share.left) {
            let found = value_of(source.as_mut(), &share.key)?;
            if found != share.expected {
                let why = "somebody else changed it; it is left alone from now on";
                tell(
                    global,
                    "step_aside",
                    &share.key,
                    (&share.expected, &found),
                    why,
                )?;
                share.left = true;
                controller.leave_share();
            }
        }
        let snapshot = source.snapshot()?;
        let reading = Reading::of(&earlier, &snapshot);
        earlier = snapshot;
        let Some(decision) = reading.and_then(|reading| controller.decide(&reading)) else {
            continue;
        };
        let (key, now) = match (decision.knob, &mut deeds.share) {
            (Knob::Limit, _) => (sysfs::LIMIT, &mut expected),
            (Knob::Share(_), Some(share)) => (share.key.as_str(), &mut share.expected),
            (Knob::Share(_), None) => continue,
        };
        let value = decision
            .bytes
            .map_or_else(|| sysfs::POOL_LIMIT_NONE.to_owned(), size_value);
        if options.dry_run {
            tell(global, "would_change", key, (now, &value), &decision.why)?;
        } else {
            let change = source.set(key, &value)?;
            tell(
                global,
                "change",
                key,
                (&change.old, &change.new),
                &decision.why,
            )?;
            *now = change.new;
        }
        deeds.changes += 1;
        let status = format!("{key} {value}: {}", decision.why);
        let _ = sd_notify::notify(&[NotifyState::Status(&status)]);
    }
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
    let limit = source.snapshot()?.limit_bytes;
    summarise(global, &deeds, limit)?;
    Ok(0)
}

/// A tunable as it reads now.
fn value_of(source: &mut dyn Source, key: &str) -> anyhow::Result<String> {
    let mut tunables = source.tunables()?.into_iter();
    let found = tunables.find(|tunable| tunable.key == key);
    found
        .map(|tunable| tunable.value)
        .with_context(|| format!("there is no {key} to tune"))
}

fn tell(
    global: &Global,
    what: &'static str,
    key: &str,
    (old, new): (&str, &str),
    why: &str,
) -> anyhow::Result<()> {
    if global.json {
        return print_json(Body::Tune(TuneJson {
            what,
            key: key.to_owned(),
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
    print(&format!("{would}{key}: {old} -> {new}: {why}\n"))?;
    Ok(())
}

fn summarise(global: &Global, deeds: &Deeds, limit: u64) -> anyhow::Result<()> {
    let time = Duration::from_secs(deeds.started.elapsed().as_secs());
    let why = format!(
        "{} changes in {time:?}{}",
        deeds.changes,
        if deeds.aside { ", stepped aside" } else { "" }
    );
    let moved = deeds.share.as_ref();
    let moved = moved.filter(|share| share.left || share.before != share.expected);
    if global.json {
        if let Some(share) = moved {
            let values = (share.before.as_str(), share.expected.as_str());
            tell(global, "summary", &share.key, values, &why)?;
        }
        let values = (size_value(deeds.limit_before), size_value(limit));
        return tell(
            global,
            "summary",
            sysfs::LIMIT,
            (&values.0, &values.1),
            &why,
        );
    }
    let share = moved.map_or_else(String::new, |share| {
        let left = if share.left { ", then left alone" } else { "" };
        format!(
            "{} {} -> {}{left}, ",
            share.key, share.before, share.expected
        )
    });
    print(&format!(
        "summary: limit {} -> {}, {share}{why}\n",
        show_bytes(deeds.limit_before),
        show_bytes(limit)
    ))?;
    Ok(())
}
