//! The kernel's log, from a moment on.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context as _, Result};

/// What the kernel says from the moment of creation on.
#[derive(Debug)]
pub(crate) struct KernelLog(File);

impl KernelLog {
    /// Starts to listen.
    pub(crate) fn from_now() -> Result<Self> {
        let mut file = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")
            .context("opening /dev/kmsg")?;
        file.seek(SeekFrom::End(0))
            .context("seeking in /dev/kmsg")?;
        Ok(Self(file))
    }

    /// Messages since the creation or the last call that start with `prefix`, without what
    /// the kernel says of every module from outside.
    pub(crate) fn lines(&mut self, prefix: &str) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(length) => {
                    let text = String::from_utf8_lossy(&record[..length]);
                    let message = text.split_once(';').map_or("", |(_, message)| message);
                    let message = message.lines().next().unwrap_or_default();
                    if message.starts_with(prefix) && !message.contains("taint") {
                        lines.push(message.to_owned());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(lines),
                // Messages were overwritten before they were read.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(error) => return Err(error).context("reading /dev/kmsg"),
            }
        }
    }
}
