//! The static programs of the machines: the `tmem` tool and the guest's init.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::paths;
use crate::prepare::Nightly;
use crate::process::{cargo, run};

/// Named, so that the flags below are not for build scripts and macros.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Paths of the static programs, stripped.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The command-line tool, eBPF programs included.
    pub(crate) tmem: PathBuf,
    /// The machines' init.
    pub(crate) guest: PathBuf,
}

/// Builds both.
pub(super) fn build(nightly: &Nightly) -> Result<Programs> {
    let mut command = cargo()?;
    command.args(["build", "--quiet", "--release", "--target", TARGET]);
    // A folder of its own: no waiting for builds of the workspace.
    let target = paths::output().join("programs");
    command.arg("--target-dir").arg(&target);
    command.args([
        "-p",
        "tmem-user",
        "-p",
        "tmem-tests",
        "--bin",
        "tmem",
        "--bin",
        "tmem-guest",
    ]);
    command.env("RUSTFLAGS", "-C target-feature=+crt-static");
    run(nightly.lend_to(&mut command))?;
    let dir = paths::output().join("bin");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let strip = |name: &str| -> Result<PathBuf> {
        let built = target.join(TARGET).join("release").join(name);
        let stripped = dir.join(name);
        run(Command::new("strip").arg("-o").arg(&stripped).arg(built))?;
        Ok(stripped)
    };
    Ok(Programs {
        tmem: strip("tmem")?,
        guest: strip("tmem-guest")?,
    })
}

/// Builds the plugin that counts a guest's instructions; its path.
pub(crate) fn counter() -> Result<PathBuf> {
    let target = paths::output().join("programs");
    let mut command = cargo()?;
    command.args(["build", "--quiet", "--release", "-p", "tmem-counter"]);
    run(command.arg("--target-dir").arg(&target))?;
    Ok(target.join("release/libtmem_counter.so"))
}
