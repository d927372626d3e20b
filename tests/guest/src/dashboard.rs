//! `tmem top` on a terminal of its own: keys in, what it draws out, and what it costs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tmem_tests::protocol::CLI;

use crate::sys;

/// Longer than anything here takes on a slow machine.
const HANG: Duration = Duration::from_secs(120);

/// Time between two looks at what it wrote.
const LOOK: Duration = Duration::from_millis(50);

const LEAVE_ALTERNATE_SCREEN: &str = "\x1b[?1049l";
const WHERE_IS_THE_CURSOR: &str = "\x1b[6n";

/// A running `tmem top`, with a person in front of it.
pub(crate) struct Dashboard {
    child: Child,
    terminal: OwnedFd,
    /// How the terminal treated keys before.
    modes: libc::tcflag_t,
    keyboard: File,
    /// Everything it wrote so far.
    written: String,
    /// How often it was told where the cursor is.
    answered: usize,
}

/// What a dashboard has cost since it was started.
pub(crate) struct Cost {
    /// CPU time of all its threads, ns.
    pub(crate) cpu_ns: u64,
    /// Time in its eBPF programs, ns.
    pub(crate) programs_ns: u64,
    /// The most memory that it had at one time.
    pub(crate) peak_bytes: u64,
}

impl Dashboard {
    /// Starts it, and waits until it has drawn its figures.
    pub(crate) fn start(interval: &str) -> Result<Self> {
        let (master, terminal) = sys::terminal(80, 24).context("making a terminal")?;
        let child = Command::new(CLI)
            .args(["top", "--interval", interval])
            .env("TERM", "xterm")
            .stdin(Stdio::from(terminal.try_clone()?))
            .stdout(Stdio::from(terminal.try_clone()?))
            .stderr(Stdio::from(terminal.try_clone()?))
            .spawn()
            .context("starting the dashboard")?;
        let mut dashboard = Self {
            child,
            modes: sys::local_modes(terminal.as_fd())?,
            terminal,
            keyboard: File::from(master),
            written: String::new(),
            answered: 0,
        };
        // Blanks that were there are not written again, so one word it is.
        dashboard.wait("overview", |dashboard| {
            Ok(dashboard.written.contains("effective"))
        })?;
        Ok(dashboard)
    }

    /// Types.
    pub(crate) fn press(&mut self, keys: &str) -> Result<()> {
        Ok(self.keyboard.write_all(keys.as_bytes())?)
    }

    /// Takes what was written meanwhile, and answers as a terminal does; waits a little for more.
    fn read(&mut self) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.keyboard.read(&mut buffer) {
                Ok(read) if read > 0 => {
                    let text = String::from_utf8_lossy(&buffer[..read]);
                    self.written.push_str(&text);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // There is no more now, or nobody has the terminal open any more.
                _ => break,
            }
        }
        let asked = self.written.matches(WHERE_IS_THE_CURSOR).count();
        while self.answered < asked {
            self.keyboard.write_all(b"\x1b[1;1R")?;
            self.answered += 1;
        }
        std::thread::sleep(LOOK);
        Ok(())
    }

    /// Lets it run for a time.
    pub(crate) fn watch(&mut self, time: Duration) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            self.read()?;
        }
        Ok(())
    }

    /// Reads until `done`.
    pub(crate) fn wait(
        &mut self,
        what: &str,
        mut done: impl FnMut(&mut Self) -> Result<bool>,
    ) -> Result<()> {
        let start = Instant::now();
        while !done(self)? {
            if start.elapsed() > HANG {
                // The end is enough, and fits a line of the console.
                let written: Vec<char> = self.written.chars().rev().take(400).collect();
                let end: String = written.into_iter().rev().collect();
                bail!("no {what}; it wrote ... {end:?}");
            }
            self.read()?;
        }
        Ok(())
    }

    /// Waits until a screen that is drawn anew has this text.
    pub(crate) fn wait_for_screen(&mut self, text: &str) -> Result<()> {
        const REDRAW: &str = "\x0c";
        /// More than drawing a screen takes in reads.
        const READS: u32 = 40;
        let mut from = self.written.len();
        let mut reads = READS;
        self.wait(text, |dashboard| {
            if dashboard.written[from..].contains(text) {
                return Ok(true);
            }
            if reads == READS {
                from = dashboard.written.len();
                dashboard.press(REDRAW)?;
                reads = 0;
            }
            reads += 1;
            Ok(false)
        })
    }

    /// What it costs.
    pub(crate) fn cost(&self) -> Result<Cost> {
        let process = format!("/proc/{}", self.child.id());
        let status = fs::read_to_string(format!("{process}/status"))?;
        let peak = status
            .lines()
            .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix("kB"));
        let mut cpu_ns = 0;
        for task in fs::read_dir(format!("{process}/task"))?.flatten() {
            let text = fs::read_to_string(task.path().join("schedstat"))?;
            let word = text.split(' ').next().unwrap_or_default();
            cpu_ns += word.parse::<u64>().context("schedstat")?;
        }
        // Several descriptors may be of one program.
        let mut programs = BTreeMap::new();
        for file in fs::read_dir(format!("{process}/fdinfo"))?.flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let number = |name: &str| -> Option<u64> {
                let line = text.lines().find_map(|line| line.strip_prefix(name))?;
                line.trim().parse().ok()
            };
            if let Some(ns) = number("run_time_ns:") {
                programs.insert(number("prog_id:"), ns);
            }
        }
        Ok(Cost {
            cpu_ns,
            programs_ns: programs.values().sum(),
            peak_bytes: peak.context("no VmHWM")?.trim().parse::<u64>()? << 10,
        })
    }

    /// Leaves by its key; an error unless the terminal is then as it was before.
    pub(crate) fn quit(mut self) -> Result<()> {
        let modes = sys::local_modes(self.terminal.as_fd())?;
        ensure!(modes != self.modes, "it does not read key by key");
        self.press("q")?;
        let mut status = None;
        self.wait("end after q", |dashboard| {
            status = dashboard.child.try_wait()?;
            Ok(status.is_some())
        })?;
        self.read()?;
        ensure!(
            status.is_some_and(|status| status.success()),
            "it ended with {status:?}"
        );
        ensure!(
            self.written.contains(LEAVE_ALTERNATE_SCREEN),
            "the alternate screen was not left"
        );
        ensure!(
            sys::local_modes(self.terminal.as_fd())? == self.modes,
            "the terminal is not as before"
        );
        Ok(())
    }
}
