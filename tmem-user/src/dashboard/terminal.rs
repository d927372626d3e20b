//! The terminal: taken over and always given back, on return, panic and
//! signals; and its size, which a serial console has to be asked for.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ratatui::DefaultTerminal;
use ratatui::crossterm::cursor;
use ratatui::crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::stdio::{dup2_stderr, dup2_stdout};
use rustix::termios::{Winsize, tcgetwinsize, tcsetwinsize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Taken for the size of a terminal that does not say.
const USUAL_SIZE: (u16, u16) = (80, 24);

/// A terminal in raw mode on its alternate screen; given back when dropped.
pub(super) struct Screen {
    pub(super) terminal: DefaultTerminal,
    stop: Arc<AtomicBool>,
}

impl Screen {
    /// Takes the terminal over. From here on SIGTERM, SIGINT and SIGHUP only
    /// raise a flag, and a panic gives the terminal back before it prints.
    ///
    /// With `mouse`, its clicks and wheel come as events.
    pub(super) fn take(mouse: bool) -> Result<Self> {
        if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
            bail!(
                "the dashboard needs a terminal for input and output; \
                 `tmem stats --watch` prints without one"
            );
        }
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, stop.clone())
                .with_context(|| format!("catching signal {signal}"))?;
        }
        fit_to_serial_line(false)?;
        let terminal = ratatui::try_init().context("taking over the terminal")?;
        let screen = Self { terminal, stop };
        if mouse {
            release_mouse_on_panic();
            execute!(io::stdout(), EnableMouseCapture).context("taking over the mouse")?;
        }
        Ok(screen)
    }

    /// Whether a signal asked to end.
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits until there is input, the terminal is gone, a signal comes, or `patience` is over.
    pub(super) fn wait(&self, patience: Duration) -> Result<()> {
        self.poll(patience).map(|_| ())
    }

    /// Whether the other end of the terminal is gone. Reading keys would wait for ever then.
    pub(super) fn is_gone(&self) -> Result<bool> {
        let gone = PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL;
        Ok(self.poll(Duration::ZERO)?.intersects(gone))
    }

    fn poll(&self, patience: Duration) -> Result<PollFlags> {
        let stdin = io::stdin();
        let mut input = [PollFd::new(&stdin, PollFlags::IN)];
        let patience = Timespec::try_from(patience).context("a time")?;
        match poll(&mut input, Some(&patience)) {
            Ok(_) => Ok(input[0].revents()),
            Err(Errno::INTR) => Ok(PollFlags::empty()),
            Err(error) => Err(error).context("waiting for the terminal"),
        }
    }

    /// Asks for the size anew and draws everything from scratch.
    pub(super) fn redraw(&mut self) -> Result<()> {
        fit_to_serial_line(true)?;
        self.terminal.autoresize().context("resizing")?;
        self.terminal.clear().context("clearing the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if self.is_gone().is_ok_and(|gone| gone) {
            // What cannot be written there is told there, and that in vain is a panic.
            if let Ok(nowhere) = File::options().write(true).open("/dev/null") {
                let _ = dup2_stdout(&nowhere).and_then(|()| dup2_stderr(&nowhere));
            }
        }
        let _ = execute!(io::stdout(), DisableMouseCapture);
        let _ = ratatui::try_restore();
    }
}

/// The terminal itself is given back by the hook that ratatui sets.
fn release_mouse_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        // A panic has to be told, whatever happens to the terminal.
        let _ = execute!(io::stdout(), DisableMouseCapture);
        usual(info);
    }));
}

/// A serial line has no size of its own: its driver says 0 x 0, or what it was
/// told last. So the cursor is sent to the far corner and asked where it is,
/// and the driver is told. Lines that know their size are left alone. `again`:
/// the terminal is in raw mode already, and stays so.
fn fit_to_serial_line(again: bool) -> Result<()> {
    let stdout = io::stdout();
    let told = tcgetwinsize(&stdout).context("asking for the size of the terminal")?;
    let known = told.ws_col > 0 && told.ws_row > 0;
    // Any other terminal says when its size changes.
    if known && !(again && is_serial()) {
        return Ok(());
    }
    if !again {
        enable_raw_mode().context("reading from the terminal")?;
    }
    let corner = execute!(io::stdout(), cursor::MoveTo(998, 998)).and_then(|()| cursor::position());
    if !again {
        disable_raw_mode().context("reading from the terminal")?;
    }
    let (columns, rows) = match corner {
        Ok((column, row)) => (column + 1, row + 1),
        Err(_) if known => return Ok(()),
        Err(_) => USUAL_SIZE,
    };
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(&stdout, size).context("setting the size of the terminal")
}

/// Whether standard output is a serial line or the console on one.
fn is_serial() -> bool {
    rustix::termios::ttyname(io::stdout(), Vec::new()).is_ok_and(|name| {
        let name = name.to_string_lossy().into_owned();
        name.starts_with("/dev/ttyS") || name == "/dev/console" || name.starts_with("/dev/hvc")
    })
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::process::{Command, Stdio};

    use rustix::fs::{Mode, OFlags, open};
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::tcgetattr;

    use super::*;

    const CHILD: &str = "TMEM_TEST_PANICS_ON_A_TERMINAL";

    /// Does nothing by itself; the test below runs it in a terminal.
    #[test]
    fn panics_on_a_terminal() {
        if std::env::var_os(CHILD).is_none() {
            return;
        }
        let _screen = Screen::take(true).unwrap_or_else(|error| panic!("{error:#}"));
        panic!("out of cheese");
    }

    #[test]
    fn a_panic_gives_the_terminal_back_and_is_told() -> Result<()> {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = open(name, flags, Mode::empty())?;
        tcsetwinsize(
            &terminal,
            Winsize {
                ws_row: 24,
                ws_col: 80,
                ws_xpixel: 0,
                ws_ypixel: 0,
            },
        )?;
        let before = tcgetattr(&terminal)?.local_modes;
        let mut child = Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "--nocapture",
                "dashboard::terminal::tests::panics_on_a_terminal",
            ])
            .env(CHILD, "1")
            .stdin(Stdio::from(terminal.try_clone()?))
            .stdout(Stdio::from(terminal.try_clone()?))
            .stderr(Stdio::from(terminal.try_clone()?))
            .spawn()?;
        // A child whose words nobody reads waits with them. Reading ends with an error once nobody has the terminal open.
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = File::from(master).read_to_end(&mut bytes);
            bytes
        });
        let status = child.wait()?;
        assert!(!status.success());
        assert_eq!(tcgetattr(&terminal)?.local_modes, before);
        drop(terminal);
        let bytes = reader.join().unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let place = |wanted: &str| {
            text.find(wanted)
                .with_context(|| format!("no {wanted:?}: {text}"))
        };
        let (taken, left) = (place("\x1b[?1049h")?, place("\x1b[?1049l")?);
        let (mouse, told) = (place("\x1b[?1000l")?, place("out of cheese")?);
        assert!(taken < left && mouse < told && left < told, "{text:?}");
        Ok(())
    }
}
