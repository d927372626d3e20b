//! Running other programs: with what they said in the error when they fail.

use std::env;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::fs::{MemfdFlags, memfd_create};

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

/// Runs with no input and gives what it wrote, also when it failed. What it leaves running does not hold us up, as it
/// would with the other end of a pipe.
pub(crate) fn capture(command: &mut Command) -> Result<Output> {
    let memory = |name: &str| memfd_create(name, MemfdFlags::CLOEXEC).map(File::from);
    let (stdout, stderr) = (memory("stdout")?, memory("stderr")?);
    let status = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .status()
        .with_context(|| format!("cannot start {}", describe(command)))?;
    Ok(Output {
        success: status.success(),
        stdout: text_of(stdout)?,
        stderr: text_of(stderr)?,
    })
}

fn text_of(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The command as one that is ended, with all that it started, when `limit` is over (then it fails) or we end.
pub(crate) fn limited(command: &Command, limit: Duration) -> Command {
    let mut limited = Command::new("setpriv");
    limited.args([
        "--pdeathsig",
        "TERM",
        "timeout",
        "--verbose",
        "--signal=KILL",
    ]);
    limited.arg(limit.as_secs().to_string());
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        limited.current_dir(folder);
    }
    limited
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

#[cfg(test)]
mod tests {
    use rustix::process::{Pid, Signal, kill_process};

    use super::*;

    #[test]
    fn what_is_left_running_does_not_hold_us_up() -> Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100000 & echo $!"]);
        let output = capture(&mut command)?;
        assert!(output.success);
        // A pipe would have stayed open until this one ended.
        let left = Pid::from_raw(output.stdout.trim().parse()?).context("no process")?;
        Ok(kill_process(left, Signal::KILL)?)
    }

    #[test]
    fn what_hangs_is_ended() -> Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 100000 & echo begun; wait"]);
        let output = capture(&mut limited(&command, Duration::from_secs(1)))?;
        assert!(!output.success && output.stdout == "begun\n");
        assert!(output.stderr.contains("timeout"), "{}", output.stderr);
        Ok(())
    }
}
