//! Running other programs: with what they said in the error when they fail.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths;

/// Says what is being done, on stderr so that stdout stays for results.
pub(crate) fn say(what: impl AsRef<str>) {
    eprintln!("xtask: {}", what.as_ref());
}

/// The command line, for messages.
pub(crate) fn describe(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for arg in command.get_args() {
        let _ = write!(line, " {}", arg.to_string_lossy());
    }
    line
}

/// Runs with our own stdin, stdout and stderr.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", describe(command));
    }
    Ok(())
}

/// What a program wrote and whether it succeeded.
pub(crate) struct Output {
    /// It ended with 0.
    pub(crate) success: bool,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

/// Runs with no input and gives what it wrote, also when it failed.
pub(crate) fn capture(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    Ok(Output {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs with no input; its standard output, or an error with all that it wrote.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = capture(command)?;
    if !output.success {
        bail!(
            "`{}` failed:\n{}{}",
            describe(command),
            output.stdout,
            output.stderr
        );
    }
    Ok(output.stdout)
}

/// Cargo of the toolchain that the workspace is built with.
pub(crate) fn cargo() -> Result<Command> {
    prepared(Command::new("cargo"))
}

/// Cargo of the nightly toolchain: for `-Z build-std` and Miri.
pub(crate) fn cargo_nightly(toolchain: &str) -> Result<Command> {
    let mut command = Command::new("rustup");
    command.args(["run", toolchain, "cargo"]);
    prepared(command)
}

/// In the workspace, with our tools found first, and without what the cargo that
/// started xtask says of xtask (it would make other crates look changed).
fn prepared(mut command: Command) -> Result<Command> {
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text == "CARGO" || text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_")
        {
            command.env_remove(&name);
        }
    }
    let mut dirs = vec![paths::tools()?.join("bin")];
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let path: OsString = env::join_paths(dirs).context("PATH")?;
    command.env("PATH", path).current_dir(paths::workspace());
    Ok(command)
}
