//! `cargo xtask soak`: the scenarios with more operations, again and again with new
//! seeds until the time is over. What it prints is what docs/verification.md records.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use tmem_tests::{Effort, Kernel, Machine};

use crate::build;
use crate::installed;
use crate::prepare::{Needs, prepare};
use crate::process::say;
use crate::report::Report;
use crate::scenarios::{self, Settings};

/// What to soak.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// Parts of the scenarios' names, any of which selects; empty: all.
    pub(crate) topics: Vec<String>,
    /// A round that has begun is finished.
    pub(crate) time: Duration,
    /// Of the first round; the next ones count up from it.
    pub(crate) seed: Option<u64>,
    /// Kernels to boot.
    pub(crate) kernels: Vec<Kernel>,
    /// Machines to boot them on.
    pub(crate) machine: Machine,
}

/// Soaks; whether all rounds passed. Stops after the first round that did not.
pub(crate) fn run(selection: &Selection) -> Result<bool> {
    if selection.topics == [installed::TOPIC] {
        return installed::run(&selection.kernels);
    }
    let first = match selection.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
    };
    let mut settings = Settings {
        effort: Effort::Soak,
        filters: selection.topics.clone(),
        machines: vec![selection.machine],
        seed: first,
    };
    if scenarios::machines(&selection.kernels, &settings).is_empty() {
        bail!(
            "no scenario with soak parameters matches {:?}",
            selection.topics
        );
    }
    let nightly = prepare(&Needs {
        kernels: selection.kernels.clone(),
        machines: vec![selection.machine],
        programs: true,
        disk_of_programs: scenarios::use_programs(&selection.kernels, &settings),
        ..Needs::default()
    })?;
    let (modules, programs) = build::all(&nightly, &selection.kernels)?;
    let report = Report::begin();
    let begin = Instant::now();
    loop {
        say(format!("round with seed {}", settings.seed));
        scenarios::run(&modules, &programs, &settings, &report);
        if report.counts().failed > 0 {
            println!(
                "\nto repeat: cargo xtask soak {} --seed {} --for 0",
                repeat(selection),
                settings.seed
            );
            break;
        }
        if begin.elapsed() >= selection.time {
            break;
        }
        settings.seed += 1;
    }
    println!(
        "\nkernels {}; seeds {first} to {}; {:.0} s",
        modules
            .iter()
            .map(|m| m.root.release.as_str())
            .collect::<Vec<_>>()
            .join(", "),
        settings.seed,
        begin.elapsed().as_secs_f64()
    );
    Ok(report.finish())
}

/// The arguments of this soak, but for seed and time.
fn repeat(selection: &Selection) -> String {
    let mut words = selection.topics.clone();
    if selection.kernels.len() < Kernel::ALL.len() {
        words.extend(selection.kernels.iter().map(|k| format!("--kernel {k}")));
    }
    if selection.machine == Machine::Ibt {
        words.push("--machine ibt".to_owned());
    }
    words.join(" ")
}

/// `90`, `90s`, `30m` or `2h`.
pub(crate) fn parse_time(text: &str) -> Result<Duration, String> {
    let (digits, unit) = text.split_at(
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len()),
    );
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("no unit {unit:?}; there are s, m and h")),
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| format!("no number in {text:?}"))?;
    Ok(Duration::from_secs(number.saturating_mul(seconds)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        assert_eq!(parse_time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("2h"), Ok(Duration::from_secs(7200)));
        assert_eq!(parse_time("0"), Ok(Duration::ZERO));
        assert!(parse_time("h").is_err());
        assert!(parse_time("3d").is_err());
    }
}
