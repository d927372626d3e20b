//! The terminal we run in, as kernel arguments for the guest.

use std::process::{Command, Stdio};

/// `tmem.tty=1 tmem.cols=N tmem.rows=N`; 80 by 24 where the size is not to be had.
pub(crate) fn arguments() -> String {
    let (rows, columns) = size().unwrap_or((24, 80));
    format!("tmem.tty=1 tmem.cols={columns} tmem.rows={rows}")
}

fn size() -> Option<(u16, u16)> {
    let output = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (rows, columns) = text.trim().split_once(' ')?;
    let size = (rows.parse().ok()?, columns.parse().ok()?);
    (size.0 > 0 && size.1 > 0).then_some(size)
}
