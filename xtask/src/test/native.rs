//! Tests that need no machine: formatting, lints, `cargo test`, and what Miri can run.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{exports, prometheus, report_page};
use crate::paths;
use crate::prepare::Nightly;
use crate::process::{capture, cargo, limited, output, say};
use crate::report::{Counts, Report, Test, selects};

/// Crates of the workspace.
const CRATES: &[&str] = &[
    "tmem-common",
    "tmem-kmod",
    "tmem-user",
    "tmem-tests",
    "xtask",
];

/// What Miri runs: the layouts that cross a border, and the engine's unsafe code.
const MIRI: &[&[&str]] = &[
    &["tmem-common", "--lib"],
    &["tmem-kmod", "--test", "miri"],
    &["tmem-kmod", "--test", "px64"],
];

/// Workspaces of their own: other targets, other flags.
const OUTSIDERS: &[&str] = &[
    "tmem-ebpf",
    "tmem-kmod/kernel-object",
    "tmem-kmod/fuzz",
    "tmem-user/fuzz",
];

const PLACE: &str = "native";

/// Of the tests of one crate: what takes longer hangs. The longest, those in Miri, take a third of it.
const HANG: Duration = Duration::from_secs(25 * 60);

/// Runs them all, as far as `filters` select them.
pub(super) fn run(nightly: &Nightly, filters: &[String], report: &Report) -> Result<()> {
    if selects(filters, "fmt") {
        fmt(report)?;
    }
    if selects(filters, "clippy") {
        let mut clippy = cargo()?;
        clippy.args(["clippy", "--quiet", "--workspace", "--all-targets"]);
        if is_the_rust_of_lints()? {
            clippy.args(["--", "-D", "warnings"]);
        }
        check(report, "clippy", nightly.lend_to(&mut clippy))?;
    }
    say("building the tests");
    let mut build = cargo()?;
    build.args(["test", "--quiet", "--workspace", "--no-run"]);
    let begin = Instant::now();
    let built = capture(nightly.lend_to(&mut build))?;
    if !built.success {
        report.add(Test::new("build of the tests", PLACE, begin.elapsed()).failed(built.stderr));
        return Ok(());
    }
    for name in CRATES {
        let mut test = cargo()?;
        test.args(["test", "--quiet", "--no-fail-fast", "-p", name, "--"])
            .args(filters);
        libtest(report, name, nightly.lend_to(&mut test), filters)?;
    }
    if selects(filters, exports::NAME) {
        exports::test(nightly, report);
    }
    if selects(filters, report_page::NAME) {
        report_page::test(nightly, report);
    }
    for words in MIRI {
        let mut miri = nightly.cargo()?;
        miri.args(["miri", "test", "--quiet", "--target-dir"])
            .arg(paths::output().join("miri"));
        miri.arg("-p").args(*words).arg("--").args(filters);
        libtest(report, &format!("{} in Miri", words[0]), &mut miri, filters)?;
    }
    if selects(filters, prometheus::NAME) {
        prometheus::test(nightly, report);
    }
    Ok(())
}

/// Whether this is the Rust that the lints were decided for, the one that the workspace asks for. A newer clippy knows
/// more of them: there all stay warnings, so that a newcomer's tests do not fail by the date.
fn is_the_rust_of_lints() -> Result<bool> {
    let version = output(Command::new("rustc").arg("--version"))?;
    let wanted = concat!("rustc ", env!("CARGO_PKG_RUST_VERSION"), ".");
    Ok(version.starts_with(wanted))
}

fn fmt(report: &Report) -> Result<()> {
    let mut workspace = cargo()?;
    check(report, "fmt", workspace.args(["fmt", "--all", "--check"]))?;
    for name in OUTSIDERS {
        let manifest = paths::workspace().join(name).join("Cargo.toml");
        let mut outsider = cargo()?;
        outsider
            .args(["fmt", "--check", "--manifest-path"])
            .arg(manifest);
        check(report, &format!("fmt {name}"), &mut outsider)?;
    }
    Ok(())
}

/// A command whose success is one test.
fn check(report: &Report, name: &str, command: &mut Command) -> Result<()> {
    let begin = Instant::now();
    let output = capture(command)?;
    let test = Test::new(name, PLACE, begin.elapsed());
    report.add(if output.success {
        test
    } else {
        test.failed(output.stdout + &output.stderr)
    });
    Ok(())
}

/// A command that runs test binaries: counted as they count.
fn libtest(report: &Report, name: &str, command: &mut Command, filters: &[String]) -> Result<()> {
    let begin = Instant::now();
    let output = capture(&mut limited(command, HANG))?;
    let counts = Counts::of_cargo_test(&output.stdout);
    let test = Test::new(name, PLACE, begin.elapsed());
    if !output.success {
        // A crash or a build that failed is no counted test, but it failed.
        let counts = Counts {
            failed: counts.failed.max(1),
            ..counts
        };
        report.add(test.failed(output.stdout + &output.stderr).counted(counts));
    } else if counts != Counts::default() {
        report.add(test.counted(counts));
    } else if filters.is_empty() {
        report.add(test.failed("it ran no test"));
    }
    Ok(())
}
