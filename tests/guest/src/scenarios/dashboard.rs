//! The dashboard on a terminal of its own, against the live module.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tmem_common::sysfs as names;

use super::tool::tmem;
use crate::context::Context;
use crate::sys;
use crate::tier::{self, Tier};

/// Longer than anything here takes on a slow machine.
const HANG: Duration = Duration::from_secs(60);

/// Most memory that the dashboard may take, bytes.
const MOST_RESIDENT: u64 = 40_000_000;

const LEAVE_ALTERNATE_SCREEN: &str = "\x1b[?1049l";
const WHERE_IS_THE_CURSOR: &str = "\x1b[6n";

struct Dashboard {
    child: Child,
    keyboard: File,
    /// Everything it wrote so far.
    written: String,
    /// How often it was told where the cursor is.
    answered: usize,
}

impl Dashboard {
    fn start(master: OwnedFd, terminal: &OwnedFd) -> Result<Self> {
        let child = tmem(&["top", "--interval", "200ms"])
            .env("TERM", "xterm")
            .stdin(Stdio::from(terminal.try_clone()?))
            .stdout(Stdio::from(terminal.try_clone()?))
            .stderr(Stdio::from(terminal.try_clone()?))
            .spawn()
            .context("starting the dashboard")?;
        Ok(Self {
            child,
            keyboard: File::from(master),
            written: String::new(),
            answered: 0,
        })
    }

    /// Memory that it has.
    fn resident_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix("kB"));
        Ok(kib.context("no VmRSS")?.trim().parse::<u64>()? << 10)
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
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    }

    fn wait(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> Result<bool>) -> Result<()> {
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
    fn wait_for_screen(&mut self, text: &str) -> Result<()> {
        const REDRAW: &[u8] = b"\x0c";
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
                dashboard.keyboard.write_all(REDRAW)?;
                reads = 0;
            }
            reads += 1;
            Ok(false)
        })
    }
}

/// Started in a terminal, the dashboard changes the limit by keys, and gives the
/// terminal back.
pub(super) fn keys(context: &Context) -> Result<()> {
    let tier = Tier::start(context)?;
    tier.set(names::LIMIT, "10%")?;
    let (master, terminal) = sys::terminal(80, 24).context("making a terminal")?;
    let before = sys::local_modes(terminal.as_fd())?;
    let mut dashboard = Dashboard::start(master, &terminal)?;
    // Blanks that were there are not written again, so one word it is.
    dashboard.wait("overview", |dashboard| {
        Ok(dashboard.written.contains("effective"))
    })?;
    ensure!(
        sys::local_modes(terminal.as_fd())? != before,
        "the dashboard does not read key by key"
    );
    for (keys, old, limit) in [
        ("L\u{15}64M\r", "10%", "64M"),
        ("+", "64M", "72M"),
        ("u", "72M", "64M"),
        ("u", "64M", "10%"),
    ] {
        dashboard.keyboard.write_all(keys.as_bytes())?;
        dashboard.wait(limit, |_| Ok(tier::attribute(names::LIMIT)? == limit))?;
        // It has to hear of it before the next key counts.
        dashboard.wait_for_screen(&format!("limit: {old} -> {limit}"))?;
    }
    let resident = dashboard.resident_bytes()?;
    context.data(json!({ "resident_bytes": resident }));
    ensure!(resident <= MOST_RESIDENT, "it takes {resident} bytes");
    dashboard.keyboard.write_all(b"q")?;
    let mut status = None;
    dashboard.wait("end after q", |dashboard| {
        status = dashboard.child.try_wait()?;
        Ok(status.is_some())
    })?;
    dashboard.read()?;
    ensure!(
        status.is_some_and(|status| status.success()),
        "it ended with {status:?}"
    );
    ensure!(
        dashboard.written.contains(LEAVE_ALTERNATE_SCREEN),
        "the alternate screen was not left"
    );
    ensure!(
        sys::local_modes(terminal.as_fd())? == before,
        "the terminal is not as before"
    );
    tier.finish()
}
