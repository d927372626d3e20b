//! Child processes that run a closure and hand their error back.

use std::fs::File;
use std::io::{Error, Read as _, Write as _};
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// A running child; killed and reaped when dropped.
#[derive(Debug)]
pub(crate) struct Child {
    pid: i32,
    errors: File,
}

/// Runs `work` in a child. A panic in it counts as an error.
pub(crate) fn spawn(work: impl FnOnce() -> Result<()>) -> Result<Child> {
    let mut ends = [0; 2];
    // SAFETY: the array has room for the two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(Error::last_os_error()).context("pipe");
    }
    // SAFETY: both descriptors were just made and belong to nobody else.
    let (read, write) = unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    // SAFETY: this program has one thread, so the child finds every lock free.
    match unsafe { libc::fork() } {
        -1 => Err(Error::last_os_error()).context("fork"),
        0 => {
            drop(read);
            let status = in_child(work, File::from(write));
            // SAFETY: ends the child without running what belongs to its parent.
            unsafe { libc::_exit(status) }
        }
        pid => Ok(Child {
            pid,
            errors: File::from(read),
        }),
    }
}

fn in_child(work: impl FnOnce() -> Result<()>, mut errors: File) -> i32 {
    let message = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => return 0,
        Ok(Err(error)) => format!("{error:#}"),
        Err(panic) => {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("no message");
            format!("panic: {text}")
        }
    };
    // The exit status tells of the failure even if the message is lost.
    let _ = errors.write_all(message.as_bytes());
    1
}

impl Child {
    /// Waits for the end; an error if the work failed or the process was killed.
    pub(crate) fn join(mut self) -> Result<()> {
        let mut message = String::new();
        self.errors
            .read_to_string(&mut message)
            .context("reading a child's error")?;
        let status = self.reap()?;
        if libc::WIFSIGNALED(status) {
            bail!("a process was killed by signal {}", libc::WTERMSIG(status));
        }
        if status != 0 {
            bail!("{message}");
        }
        Ok(())
    }

    /// True until the work has ended.
    pub(crate) fn is_running(&self) -> bool {
        // SAFETY: asks only whether the process has ended; leaves it to be reaped.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            let flags = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
            libc::waitid(libc::P_PID, self.pid as u32, &raw mut info, flags) == 0
                && info.si_pid() == 0
        }
    }

    /// Waits until the work tells by a file how far it is, or has ended.
    pub(crate) fn wait_for(&self, file: &str) {
        while self.is_running() && !Path::new(file).exists() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn reap(&mut self) -> Result<i32> {
        let mut status = 0;
        // SAFETY: the pointer is to a local integer.
        if unsafe { libc::waitpid(self.pid, &raw mut status, 0) } != self.pid {
            return Err(Error::last_os_error()).context("waitpid");
        }
        self.pid = 0;
        Ok(status)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.pid > 0 {
            // SAFETY: the process is our child and was not reaped.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            // It cannot fail for an unreaped child; nothing else could be done here.
            let _ = self.reap();
        }
    }
}

/// Kills and reaps all processes but this one; for process 1 between scenarios.
pub(crate) fn kill_all_others() {
    // SAFETY: signals and reaps processes; kill(-1) spares the caller itself.
    unsafe {
        libc::kill(-1, libc::SIGKILL);
        while libc::waitpid(-1, std::ptr::null_mut(), 0) > 0 {}
    }
}
