//! A Python of our own in the cache, with the tools of analysts that a trace's
//! exports are opened in.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::paths;
use crate::process::{run, say};

/// What is installed into it. Any version that the host's Python has will do.
const PACKAGES: &[&str] = &["duckdb", "pandas>=2", "pyarrow", "perfetto"];

/// The interpreter, with the packages; made if it is not there.
///
/// # Errors
/// When Python cannot make an environment, or the packages cannot be had.
pub(crate) fn python() -> Result<PathBuf> {
    let folder = paths::cache()?.join("python");
    let program = folder.join("bin/python3");
    let whole = folder.join("whole");
    if whole.exists() {
        return Ok(program);
    }
    say(format!("installing for Python: {}", PACKAGES.join(" ")));
    // An environment names its own path, so it is not made elsewhere and renamed.
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    run(Command::new("python3").args(["-m", "venv"]).arg(&folder))
        .context("Python's environments come with the package python3-venv")?;
    let mut install = Command::new(&program);
    install.args(["-m", "pip", "install", "--quiet", "--retries", "5"]);
    run(install.args(PACKAGES).stdout(std::io::stderr()))?;
    fs::write(&whole, "").with_context(|| whole.display().to_string())?;
    Ok(program)
}
