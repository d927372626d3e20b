//! A command that runs while something is measured.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::process;
use tokio::signal::unix::{SignalKind, signal};

use super::FAILED;
use crate::system;

/// How a command ended, and what it took.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Its exit status, 128 + n when signal n ended it, as shells tell it.
    pub(super) exit_code: i32,
    /// From start to end.
    pub(super) wall: Duration,
    /// CPU time and memory of it and of what it waited for.
    pub(super) usage: system::ChildUsage,
    /// Whether it was stopped since its time was over.
    pub(super) stopped: bool,
}

impl Ended {
    /// The exit code that becomes ours: stopping it was asked for, so that is no failure of the command.
    pub(super) fn as_ours(&self) -> u8 {
        if self.stopped {
            return 0;
        }
        u8::try_from(self.exit_code).unwrap_or(FAILED)
    }
}

/// Runs `command` to its end, or until `limit` is over: then it gets SIGTERM.
/// Interrupts from the terminal reach it too; we outlive it to report.
pub(super) async fn run(
    command: &[String],
    stdout: Stdio,
    limit: Option<Duration>,
) -> anyhow::Result<Ended> {
    let [program, arguments @ ..] = command else {
        anyhow::bail!("no command");
    };
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut quits = signal(SignalKind::quit())?;
    let started = Instant::now();
    let mut child = process::Command::new(program)
        .args(arguments)
        .stdout(stdout)
        .spawn()
        .with_context(|| format!("cannot run {program}"))?;
    let time_is_over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(time_is_over);
    let mut stopped = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            () = &mut time_is_over, if !stopped => {
                stopped = true;
                terminate(&child)?;
            }
            _ = interrupts.recv() => {}
            _ = quits.recv() => {}
        }
    };
    Ok(Ended {
        exit_code: exit_code_of(status),
        wall: started.elapsed(),
        usage: system::child_usage(),
        stopped,
    })
}

fn terminate(child: &process::Child) -> anyhow::Result<()> {
    let Some(pid) = child
        .id()
        .and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()))
    else {
        return Ok(());
    };
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        .context("stopping the command")
}

fn exit_code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(i32::from(FAILED))
}
