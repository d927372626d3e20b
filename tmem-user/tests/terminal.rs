//! `tmem top` in a pseudo-terminal: keys in, screen out, and the terminal as
//! before at every end.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{Pid, Signal, ioctl_tiocsctty, kill_process, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcgetwinsize, tcsetwinsize};

/// Longer than anything here takes; a test that waits so long has failed.
const HANG: Duration = Duration::from_secs(120);

const WORKLOAD: &str = "zipf:pages=400,rate=1000";

const LEAVE_ALTERNATE_SCREEN: &str = "\x1b[?1049l";
const WHERE_IS_THE_CURSOR: &str = "\x1b[6n";

/// `tmem top` with a terminal around it.
struct Dashboard {
    child: Child,
    keyboard: File,
    terminal: OwnedFd,
    local_modes: LocalModes,
    shown: Arc<(Mutex<Shown>, Condvar)>,
}

/// What the program wrote.
struct Shown {
    screen: vt100::Parser,
    bytes: Vec<u8>,
    ended: bool,
}

impl Dashboard {
    fn start(columns: u16, rows: u16) -> Result<Self> {
        Self::of(
            &["top", "--embedded", "--workload", WORKLOAD],
            columns,
            rows,
        )
    }

    fn of(arguments: &[&str], columns: u16, rows: u16) -> Result<Self> {
        let (master, terminal) = pseudo_terminal(columns, rows)?;
        let local_modes = tcgetattr(&terminal)?.local_modes;
        let child = start(arguments, &terminal)?;
        let shown = Shown {
            screen: vt100::Parser::new(rows.max(1), columns.max(1), 0),
            bytes: Vec::new(),
            ended: false,
        };
        let shown = Arc::new((Mutex::new(shown), Condvar::new()));
        let output = master.try_clone()?;
        thread::spawn({
            let shown = Arc::clone(&shown);
            move || read_all(output, &shown)
        });
        Ok(Self {
            child,
            keyboard: master,
            terminal,
            local_modes,
            shown,
        })
    }

    fn press(&mut self, keys: &str) -> io::Result<()> {
        self.keyboard.write_all(keys.as_bytes())
    }

    /// Waits until `wanted` holds for what was shown so far.
    fn wait(&self, what: &str, wanted: impl Fn(&Shown) -> bool) -> Result<()> {
        let (shown, changed) = &*self.shown;
        let shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (shown, waited) = changed
            .wait_timeout_while(shown, HANG, |shown| !shown.ended && !wanted(shown))
            .unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() || !wanted(&shown) {
            bail!("no {what} in\n{}", shown.screen.screen().contents());
        }
        Ok(())
    }

    fn wait_for_text(&self, text: &str) -> Result<()> {
        self.wait(text, |shown| {
            shown.screen.screen().contents().contains(text)
        })
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?).context("no such process")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits for the end, and checks that the terminal is as it was before.
    fn end(mut self) -> Result<ExitStatus> {
        self.wait("end of the alternate screen", |shown| {
            let bytes = String::from_utf8_lossy(&shown.bytes);
            bytes.ends_with("\x1b[?25h") && bytes.contains(LEAVE_ALTERNATE_SCREEN)
        })?;
        let status = self.child.wait()?;
        assert_eq!(tcgetattr(&self.terminal)?.local_modes, self.local_modes);
        Ok(status)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        // Fails when it has ended, as it should have.
        let _ = self.child.kill();
    }
}

/// The end of a terminal emulator, and that of its programs.
fn pseudo_terminal(columns: u16, rows: u16) -> Result<(File, OwnedFd)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let terminal = open(
        ptsname(&master, Vec::new())?,
        OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    tcsetwinsize(&terminal, size(columns, rows))?;
    Ok((File::from(master), terminal))
}

/// Starts the tool in a terminal, which is its own: else it would ask the one that the tests were started in for its size.
fn start(arguments: &[&str], terminal: &OwnedFd) -> Result<Child> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tmem"));
    command
        .args(arguments)
        .env("TERM", "xterm")
        .stdin(Stdio::from(terminal.try_clone()?))
        .stdout(Stdio::from(terminal.try_clone()?))
        .stderr(Stdio::from(terminal.try_clone()?));
    // SAFETY: two system calls, which are safe between fork and exec.
    unsafe {
        command.pre_exec(|| {
            setsid()?;
            Ok(ioctl_tiocsctty(stdin())?)
        });
    }
    Ok(command.spawn()?)
}

fn size(columns: u16, rows: u16) -> Winsize {
    Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn read_all(mut output: File, shown: &(Mutex<Shown>, Condvar)) {
    let (shown, changed) = shown;
    let mut buffer = [0; 4096];
    loop {
        let read = output.read(&mut buffer).unwrap_or(0);
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        shown.screen.process(&buffer[..read]);
        shown.bytes.extend_from_slice(&buffer[..read]);
        shown.ended |= read == 0;
        changed.notify_all();
        if read == 0 {
            return;
        }
    }
}

#[test]
fn keys_change_the_limit_and_q_gives_the_terminal_back() -> Result<()> {
    let mut dashboard = Dashboard::start(80, 24)?;
    dashboard.wait_for_text("hit rate")?;
    let raw = tcgetattr(&dashboard.terminal)?.local_modes;
    assert!(!raw.contains(LocalModes::ECHO));
    dashboard.press("L\x15512K\r")?;
    dashboard.wait_for_text("limit: 25% -> 512K")?;
    dashboard.press("Llots\r")?;
    dashboard.wait_for_text("! limit: value \"512Klots\" is not allowed")?;
    dashboard.press("C")?;
    dashboard.wait_for_text("codec: adaptive -> px64")?;
    dashboard.press("u")?;
    dashboard.wait_for_text("codec: px64 -> adaptive")?;
    dashboard.press("\t")?;
    dashboard.wait_for_text("Pool 0 swap (persistent)")?;
    dashboard.press("q")?;
    assert_eq!(dashboard.end()?.code(), Some(0));
    Ok(())
}

#[test]
fn rows_are_filtered_and_clicked() -> Result<()> {
    let mut dashboard = Dashboard::start(80, 24)?;
    dashboard.wait_for_text("hit rate")?;
    dashboard.press("6/weight\r")?;
    dashboard.wait("only weights", |shown| {
        let text = shown.screen.screen().contents();
        text.contains("pools.1.weight") && !text.contains("pools.1.limit")
    })?;
    // The second row of the table, as a terminal tells of a click.
    dashboard.press("\x1b[<0;5;5M")?;
    dashboard.press("\r\x157\r")?;
    dashboard.wait_for_text("pools.1.weight: 100 -> 7")?;
    dashboard.press("u")?;
    dashboard.wait_for_text("pools.1.weight: 7 -> 100")?;
    dashboard.press("q")?;
    assert_eq!(dashboard.end()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_recording_looks_as_what_was_recorded_and_goes_back_in_time() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("a.trace").display().to_string();
    let status = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["--embedded", "--workload", WORKLOAD])
        .args([
            "record",
            "-o",
            &path,
            "--duration",
            "600ms",
            "--interval",
            "100ms",
        ])
        .stderr(Stdio::null())
        .status()?;
    assert!(status.success());
    let mut dashboard = Dashboard::of(&["top", &path], 100, 24)?;
    dashboard.wait_for_text("hit rate")?;
    dashboard.wait_for_text("a.trace: recording of embedded engine")?;
    dashboard.press("{")?;
    dashboard.wait_for_text(" 0.0 of ")?;
    dashboard.press("]]]]")?;
    dashboard.wait("a later time", |shown| {
        !shown.screen.screen().contents().contains(" 0.0 of ")
    })?;
    dashboard.press("+")?;
    dashboard.wait_for_text("is a recording: nothing can be set in it")?;
    dashboard.press("4")?;
    dashboard.wait_for_text("File file0")?;
    dashboard.press("q")?;
    assert_eq!(dashboard.end()?.code(), Some(0));
    Ok(())
}

#[test]
fn signals_give_the_terminal_back() -> Result<()> {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let dashboard = Dashboard::start(80, 24)?;
        dashboard.wait_for_text("hit rate")?;
        dashboard.signal(signal)?;
        assert_eq!(dashboard.end()?.code(), Some(0), "{signal:?}");
    }
    Ok(())
}

#[test]
fn it_ends_when_its_terminal_is_gone() -> Result<()> {
    let (mut master, terminal) = pseudo_terminal(80, 24)?;
    let mut child = start(&["top", "--embedded", "--workload", WORKLOAD], &terminal)?;
    drop(terminal);
    let mut screen = vt100::Parser::new(24, 80, 0);
    let mut buffer = [0; 4096];
    while !screen.screen().contents().contains("hit rate") {
        let read = master.read(&mut buffer)?;
        screen.process(&buffer[..read]);
    }
    drop(master);
    for _ in 0..HANG.as_millis() / 50 {
        if let Some(status) = child.try_wait()? {
            assert_eq!(status.code(), Some(0), "{status}");
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    child.kill()?;
    child.wait()?;
    bail!("it goes on without its terminal")
}

#[test]
fn a_terminal_without_a_size_is_asked_for_it() -> Result<()> {
    let mut dashboard = Dashboard::start(0, 0)?;
    dashboard.wait("question for the cursor", |shown| {
        String::from_utf8_lossy(&shown.bytes).contains(WHERE_IS_THE_CURSOR)
    })?;
    {
        let mut shown = dashboard
            .shown
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shown.screen.screen_mut().set_size(30, 100);
    }
    dashboard.press("\x1b[30;100R")?;
    dashboard.wait_for_text("hit rate")?;
    let told = tcgetwinsize(&dashboard.terminal)?;
    assert_eq!((told.ws_col, told.ws_row), (100, 30));
    dashboard.press("q")?;
    assert_eq!(dashboard.end()?.code(), Some(0));
    Ok(())
}

#[test]
fn a_resized_terminal_is_drawn_anew() -> Result<()> {
    let mut dashboard = Dashboard::start(80, 24)?;
    dashboard.wait_for_text("peak")?;
    {
        let mut shown = dashboard
            .shown
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        shown.screen.screen_mut().set_size(20, 60);
    }
    tcsetwinsize(&dashboard.terminal, size(60, 20))?;
    dashboard.signal(Signal::WINCH)?;
    dashboard.wait("narrow overview", |shown| {
        let text = shown.screen.screen().contents();
        text.contains("hit rate") && text.contains("p99.9") && !text.contains("peak")
    })?;
    dashboard.press("q")?;
    assert_eq!(dashboard.end()?.code(), Some(0));
    Ok(())
}
