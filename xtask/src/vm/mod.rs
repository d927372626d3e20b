//! Virtual machines: what they boot from, how they are started, watched and stopped.

mod bochs;
mod console;
mod cpio;
mod debian;
mod disks;
mod initramfs;
mod machine;
mod modules;
mod qemu;
mod shell;

pub(crate) use console::Outcome;
pub(crate) use debian::boot as boot_debian;
pub(crate) use machine::{Boot, End, Report, run};
pub(crate) use qemu::interactive;
pub(crate) use shell::shell;
