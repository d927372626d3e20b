//! Emptying the module so that it can be unloaded: new pages are refused, then
//! each swap device is taken off, which brings its pages back, and on again.
//! When anything fails, what was changed is put back.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::control::Control;
use crate::source::{PoolKind, SourceError};
use crate::swaps::{SwapDevice, Swaps};
use crate::units::show_bytes;

/// Memory left free beyond what the pages need, in bytes.
const RESERVE: u64 = 16 << 20;

/// Time between two reports of progress.
const STEP: Duration = Duration::from_millis(250);

/// Why the module could not be drained.
#[derive(Debug, thiserror::Error)]
pub enum DrainError {
    /// A tunable or a statistic.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The pages would not fit into memory.
    #[error(
        "{} holds {} that must come back, but only {} can be had: free memory or add swap, \
         then try again",
        path.display(), show_bytes(*needed), show_bytes(*available)
    )]
    NotEnoughMemory {
        /// The swap device.
        path: PathBuf,
        /// Bytes that it holds.
        needed: u64,
        /// Bytes of memory and of other swap devices that are free.
        available: u64,
    },
    /// The kernel refused to take a swap device off or on, or to tell of it.
    #[error("{what}: {error}{}", hint(error))]
    Swap {
        /// What was tried.
        what: String,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// Pages are left although every swap device was emptied.
    #[error("{0} persistent pages are left, which no active swap device accounts for")]
    PagesLeft(u64),
    /// Someone asked to stop.
    #[error("stopped before {} was emptied", .0.display())]
    Interrupted(PathBuf),
    /// Putting things back failed too.
    #[error("{first}; and then: {second}")]
    NotPutBack {
        /// Why draining failed.
        first: Box<DrainError>,
        /// Why putting back failed.
        second: Box<DrainError>,
    },
}

fn hint(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => " (needs CAP_SYS_ADMIN, or root)",
        Some(libc::ENOMEM) => {
            " (its pages do not fit into memory, or into the limit of their cgroup: raise memory.max)"
        }
        _ => "",
    }
}

/// What happens meanwhile, for whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A device's pages are on their way back; so many pages are left in tmem.
    Emptying {
        /// The device.
        path: PathBuf,
        /// Pages of persistent pools now.
        pages_left: u64,
    },
    /// A device is in use again.
    Emptied {
        /// The device.
        path: PathBuf,
    },
}

impl fmt::Display for Progress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Progress::Emptying { path, pages_left } => {
                write!(formatter, "{}: {pages_left} pages left", path.display())
            }
            Progress::Emptied { path } => {
                write!(formatter, "{}: emptied, in use again", path.display())
            }
        }
    }
}

/// What draining did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drained {
    /// The devices that were emptied, in order.
    pub devices: Vec<PathBuf>,
    /// Pages of persistent pools before.
    pub pages_before: u64,
    /// Pages of persistent pools after.
    pub pages_after: u64,
    /// Whether new pages are accepted now.
    pub enabled: bool,
}

/// Drains the module, or stops before the next swap device once `stop` is set. With `keep_disabled` it goes on refusing new pages
/// afterwards, so that it can be unloaded at leisure; without, `enabled` is
/// as before.
///
/// # Errors
/// See [`DrainError`]; every swap device is then in use again, unless the error
/// is [`DrainError::NotPutBack`], and `enabled` is as before.
pub fn drain(
    control: &Control,
    swaps: &impl Swaps,
    keep_disabled: bool,
    stop: &AtomicBool,
    mut progress: impl FnMut(Progress),
) -> Result<Drained, DrainError> {
    let pages_before = persistent_pages(control)?;
    let was_enabled = control.state()?.enabled;
    control.set(tmem_common::sysfs::ENABLED, "0")?;
    let emptied = empty_all(control, swaps, stop, &mut progress);
    let restored = if was_enabled && (emptied.is_err() || !keep_disabled) {
        control
            .set(tmem_common::sysfs::ENABLED, "1")
            .map(|_| true)
            .map_err(DrainError::from)
    } else {
        Ok(false)
    };
    match (emptied, restored) {
        (Ok((devices, pages_after)), Ok(enabled)) => Ok(Drained {
            devices,
            pages_before,
            pages_after,
            enabled,
        }),
        (Err(first), Err(second)) => Err(DrainError::NotPutBack {
            first: Box::new(first),
            second: Box::new(second),
        }),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn empty_all(
    control: &Control,
    swaps: &impl Swaps,
    stop: &AtomicBool,
    progress: &mut impl FnMut(Progress),
) -> Result<(Vec<PathBuf>, u64), DrainError> {
    let mut emptied = Vec::new();
    for device in list(swaps)? {
        if stop.load(Ordering::Relaxed) {
            return Err(DrainError::Interrupted(device.path));
        }
        check_memory(swaps, &device.path)?;
        take_off(control, swaps, &device, progress)?;
        swaps.on(&device).map_err(|error| DrainError::Swap {
            what: format!(
                "swapon {} (it is off now: use it again by hand)",
                device.path.display()
            ),
            error,
        })?;
        progress(Progress::Emptied {
            path: device.path.clone(),
        });
        emptied.push(device.path);
    }
    match persistent_pages(control)? {
        0 => Ok((emptied, 0)),
        left => Err(DrainError::PagesLeft(left)),
    }
}

fn list(swaps: &impl Swaps) -> Result<Vec<SwapDevice>, DrainError> {
    swaps.devices().map_err(|error| DrainError::Swap {
        what: "listing swap devices".to_owned(),
        error,
    })
}

/// A device's pages go to memory, from where others may go to other devices.
fn check_memory(swaps: &impl Swaps, path: &std::path::Path) -> Result<(), DrainError> {
    let available = swaps.available_bytes().map_err(|error| DrainError::Swap {
        what: "asking for available memory".to_owned(),
        error,
    })?;
    let (mut needed, mut free_elsewhere) = (0, 0);
    for device in list(swaps)? {
        if device.path == path {
            needed = device.used_bytes;
        } else {
            free_elsewhere += device.size_bytes.saturating_sub(device.used_bytes);
        }
    }
    let available = available + free_elsewhere;
    if needed > 0 && needed + RESERVE > available {
        return Err(DrainError::NotEnoughMemory {
            path: path.to_owned(),
            needed,
            available,
        });
    }
    Ok(())
}

/// swapoff in a thread of its own, for it reports nothing and takes long.
fn take_off(
    control: &Control,
    swaps: &impl Swaps,
    device: &SwapDevice,
    progress: &mut impl FnMut(Progress),
) -> Result<(), DrainError> {
    let (sender, done) = mpsc::channel();
    let worker = swaps.clone();
    let path = device.path.clone();
    thread::spawn(move || sender.send(worker.off(&path)));
    let result = loop {
        match done.recv_timeout(STEP) {
            Ok(result) => break result,
            Err(RecvTimeoutError::Timeout) => progress(Progress::Emptying {
                path: device.path.clone(),
                // A statistic that cannot be read now must not stop the work.
                pages_left: persistent_pages(control).unwrap_or(0),
            }),
            Err(RecvTimeoutError::Disconnected) => {
                break Err(io::Error::other("the thread that ran swapoff is gone"));
            }
        }
    };
    result.map_err(|error| DrainError::Swap {
        what: format!("swapoff {}", device.path.display()),
        error,
    })
}

fn persistent_pages(control: &Control) -> Result<u64, SourceError> {
    Ok(control
        .pools()?
        .iter()
        .filter(|pool| pool.kind == PoolKind::Persistent)
        .map(|pool| pool.stats.pages)
        .sum())
}
