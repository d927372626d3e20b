//! One machine from power on to power off, whatever emulates it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tmem_tests::{FileSystem, Kernel, Machine};

use super::console::{Console, Verdict};
use super::{bochs, disks, initramfs, qemu};
use crate::build::{Modules, Programs};
use crate::paths;
use crate::prepare::roots;

/// After the first sign of a broken kernel: time for the rest of its message.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After `TMEM-DONE`: time to power off.
const POWER_OFF: Duration = Duration::from_secs(20);

/// A machine to start.
#[derive(Clone, Debug)]
pub(crate) struct Boot<'a> {
    /// For the console's file name.
    pub(crate) name: String,
    /// What emulates it.
    pub(crate) machine: Machine,
    /// Image and modules.
    pub(crate) modules: &'a Modules,
    /// Init and tool.
    pub(crate) programs: &'a Programs,
    /// MiB.
    pub(crate) memory_mib: u32,
    /// MiB; 0: no disk.
    pub(crate) swap_mib: u32,
    /// File systems, each on a disk of its own.
    pub(crate) file_systems: Vec<FileSystem>,
    /// Reads and writes a second that each of those disks does; `None`: as many as it can.
    pub(crate) disk_operations: Option<u32>,
    /// A disk with fio and stress-ng.
    pub(crate) disk_of_programs: bool,
    /// CPUs.
    pub(crate) cpus: u32,
    /// Kernel modules, by name.
    pub(crate) wanted: Vec<&'a str>,
    /// More files in the initramfs: where there, and from where here.
    pub(crate) extra: Vec<(&'a str, PathBuf)>,
    /// For the kernel and the guest; console and swap are added.
    pub(crate) arguments: String,
    /// Stopped when no outcome came in this time: the first one's (boot included),
    /// the second one's after the first, and so on; at last the power off's.
    pub(crate) timeouts: Vec<Duration>,
    /// QEMU counts instructions: one is 1 ns of the guest's clock.
    pub(crate) counted: bool,
    /// A plugin for QEMU, with its arguments.
    pub(crate) plugin: Option<String>,
    /// Every console line is also given to this.
    pub(crate) echo: Option<fn(&str)>,
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It said that it is done.
    Done,
    /// The kernel broke: what it said of that.
    Death(String),
    /// It stopped without saying anything.
    Silent,
    /// It was stopped after its time.
    Timeout,
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("the guest was done"),
            Self::Death(line) => write!(f, "the kernel died: {line}"),
            Self::Silent => f.write_str("the machine stopped without a word"),
            Self::Timeout => f.write_str("the time was over"),
        }
    }
}

/// What a machine did.
#[derive(Debug)]
pub(crate) struct Report {
    /// How it ended.
    pub(crate) end: End,
    /// What it said.
    pub(crate) console: Console,
    /// The console's file; remove it when nobody wants it.
    pub(crate) file: PathBuf,
}

/// Files of one machine; gone with it.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    fn new(kernel: Kernel) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = paths::output().join(format!("run/{}-{number}-{kernel}", std::process::id()));
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("xtask: {} stays behind: {error}", self.0.display());
        }
    }
}

/// A started machine.
pub(super) struct Running {
    pub(super) child: Child,
    pub(super) serial: Box<dyn Read + Send>,
}

/// Files that a machine is started from.
pub(super) struct Files {
    pub(super) folder: Folder,
    pub(super) image: PathBuf,
    pub(super) initramfs: PathBuf,
    pub(super) swap: Option<PathBuf>,
    /// Beside the swap disk, in this order.
    pub(super) disks: Vec<(FileSystem, PathBuf)>,
    /// Not to be written; what a machine writes to it is forgotten.
    pub(super) programs: Option<PathBuf>,
    /// What the emulator itself says.
    pub(super) complaints: PathBuf,
}

/// Writes the initramfs and the disks.
pub(super) fn files(boot: &Boot<'_>) -> Result<Files> {
    let folder = Folder::new(boot.modules.kernel)?;
    let initramfs = folder.0.join("initramfs");
    let bytes = initramfs::build(boot.modules, boot.programs, &boot.wanted, &boot.extra)?;
    fs::write(&initramfs, bytes).with_context(|| initramfs.display().to_string())?;
    let swap = (boot.swap_mib > 0).then(|| folder.0.join("swap"));
    if let Some(path) = &swap {
        disks::sparse(path, u64::from(boot.swap_mib) << 20)?;
    }
    let disks = disks::make_all(&boot.file_systems, &folder.0)?;
    let programs = match boot.disk_of_programs {
        true => Some(roots::programs()?),
        false => None,
    };
    let complaints = folder.0.join("emulator.log");
    Ok(Files {
        complaints,
        folder,
        image: boot.modules.root.image.clone(),
        initramfs,
        swap,
        disks,
        programs,
    })
}

/// Runs a machine to its end.
///
/// # Errors
/// When it cannot be started; how it ends is no error.
pub(crate) fn run(boot: &Boot<'_>) -> Result<Report> {
    let files = files(boot)?;
    let consoles = paths::output().join("consoles");
    fs::create_dir_all(&consoles).with_context(|| consoles.display().to_string())?;
    let file = consoles.join(format!("{}-{}.log", boot.name, boot.modules.kernel));
    let running = match boot.machine {
        Machine::Qemu => qemu::start(boot, &files)?,
        Machine::Ibt => bochs::start(boot, &files)?,
    };
    let (end, mut console) = watch(running, &boot.timeouts, boot.echo)?;
    if end == End::Silent {
        let complaints = fs::read_to_string(&files.complaints).unwrap_or_default();
        console.lines.extend(complaints.lines().map(String::from));
    }
    let mut text = console.lines.join("\n");
    text.push('\n');
    fs::write(&file, text).with_context(|| file.display().to_string())?;
    drop(files.folder);
    Ok(Report { end, console, file })
}

/// Reads the console until the machine ends, and stops it where it does not.
fn watch(
    running: Running,
    timeouts: &[Duration],
    echo: Option<fn(&str)>,
) -> Result<(End, Console)> {
    let Running { mut child, serial } = running;
    let (send, receive) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut serial = BufReader::new(serial);
        let mut line = Vec::new();
        while serial.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            if send
                .send(String::from_utf8_lossy(&line).into_owned())
                .is_err()
            {
                break;
            }
            line.clear();
        }
    });
    let mut console = Console::new();
    let next_deadline =
        |outcomes: usize| Instant::now() + timeouts.get(outcomes).copied().unwrap_or(POWER_OFF);
    let mut deadline = next_deadline(0);
    let mut end = End::Silent;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let line = match receive.recv_timeout(left) {
            Ok(line) => line,
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                if end == End::Silent {
                    end = End::Timeout;
                }
                break;
            }
        };
        let line = line.trim_end_matches(['\r', '\n']);
        if let Some(echo) = echo {
            echo(line);
        }
        match console.line(line) {
            Verdict::Outcome if end == End::Silent => {
                deadline = next_deadline(console.outcomes.len());
            }
            Verdict::Done if end == End::Silent => {
                end = End::Done;
                deadline = Instant::now() + POWER_OFF;
            }
            Verdict::Dead if !matches!(end, End::Death(_)) => {
                end = End::Death(String::new());
                deadline = Instant::now() + LAST_WORDS;
            }
            _ => {}
        }
    }
    if let End::Death(words) = &mut end {
        *words = console.last_words();
    }
    stop(&mut child);
    // The reader ends with the machine's end of the console.
    drop(receive);
    let _ = reader.join();
    Ok((end, console))
}

/// Stops the machine if it still runs.
fn stop(child: &mut Child) {
    if matches!(child.try_wait(), Ok(Some(_))) {
        return;
    }
    if let Err(error) = child.kill() {
        eprintln!("xtask: cannot stop machine {}: {error}", child.id());
    }
    let _ = child.wait();
}
