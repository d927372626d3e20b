//! What an init has to do: mount, load modules, read its arguments, power off.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tmem_tests::protocol::MODULES_FILE;

use crate::sys;

/// (kind, mount point, options), in order.
const MOUNTS: &[(&str, &str, &str)] = &[
    ("devtmpfs", "/dev", ""),
    ("proc", "/proc", ""),
    ("sysfs", "/sys", ""),
    ("tracefs", "/sys/kernel/tracing", ""),
    ("debugfs", "/sys/kernel/debug", ""),
    ("cgroup2", "/sys/fs/cgroup", ""),
    ("bpf", "/sys/fs/bpf", ""),
    ("tmpfs", "/tmp", "mode=1777"),
];

/// Mounts the kernel's file systems and connects this process to the console.
pub(crate) fn mount_everything() -> Result<()> {
    for (kind, target, options) in MOUNTS {
        match sys::mount(kind, target, options) {
            Ok(()) => {}
            // The kernel may have mounted /dev itself.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error).with_context(|| format!("{kind} on {target}")),
        }
    }
    let console = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/console")
        .context("opening the console")?;
    for fd in 0..3 {
        // SAFETY: both are descriptors of this process; the standard library's handles of
        // 0, 1 and 2 stay valid, now for the console.
        unsafe { libc::dup2(console.as_raw_fd(), fd) };
    }
    // So that a scenario about plain users can count on it.
    fs::write("/proc/sys/kernel/panic_on_oops", "1").context("panic_on_oops")?;
    Ok(())
}

/// The kernel arguments that have a value.
pub(crate) fn arguments() -> Result<BTreeMap<String, String>> {
    let line = fs::read_to_string("/proc/cmdline").context("/proc/cmdline")?;
    Ok(pairs(&line, char::is_whitespace))
}

/// `key=value` pairs between separators.
pub(crate) fn pairs(text: &str, separator: impl Fn(char) -> bool) -> BTreeMap<String, String> {
    text.split(separator)
        .filter_map(|word| word.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// Loads the kernel's modules that the host chose.
pub(crate) fn load_modules() -> Result<()> {
    let list = fs::read_to_string(MODULES_FILE).with_context(|| MODULES_FILE.to_owned())?;
    for path in list.lines().filter(|line| !line.is_empty()) {
        match sys::load_module(Path::new(path), "") {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
            Err(error) => return Err(error).with_context(|| path.to_owned()),
        }
    }
    Ok(())
}

/// Waits until a device is there; drivers find theirs after they were loaded.
pub(crate) fn wait_for(path: &Path) -> Result<()> {
    for _ in 0..1000 {
        if path.exists() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    anyhow::bail!("{} did not appear", path.display())
}

/// Switches the machine off; returns only if that fails.
pub(crate) fn power_off() {
    sys::sync();
    // Slow emulators still have the console's last lines to write.
    if fs::read_to_string("/proc/cmdline").is_ok_and(|line| line.contains("tmem.slow=1")) {
        std::thread::sleep(Duration::from_secs(3));
    }
    // SAFETY: no memory is passed.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
}
