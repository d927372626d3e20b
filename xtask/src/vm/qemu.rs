//! Machines in QEMU: emulated, so that they are the same on every host.
//! `TMEM_ACCEL=kvm` trades that for speed.

use std::env;
use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::machine::{Boot, Files, Running, files};
use crate::process::{describe, run};

/// Without this QEMU's own threads race with a kernel that patches its code
/// (ftrace, kprobes, static keys); seen on 6.12 and 7.2.
const EMULATED: &str = "tcg,thread=single";

/// QEMU and its arguments, but for the console. It ends with us, whatever ends us.
fn command(boot: &Boot<'_>, files: &Files) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "qemu-system-x86_64"]);
    command.args([
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
        "-display",
        "none",
        "-vga",
        "none",
    ]);
    if boot.counted {
        command.args(["-accel", EMULATED, "-icount", "shift=0,sleep=on"]);
        // One string instruction would count as one, whatever it copies.
        command.args(["-cpu", "max,-erms,-fsrm"]);
    } else {
        let accelerator = env::var("TMEM_ACCEL").unwrap_or_else(|_| EMULATED.to_owned());
        command.args(["-accel", &accelerator, "-cpu", "max"]);
    }
    if let Some(plugin) = &boot.plugin {
        command.args(["-plugin", plugin]);
    }
    command.args([
        "-m",
        &boot.memory_mib.to_string(),
        "-smp",
        &boot.cpus.to_string(),
    ]);
    command
        .arg("-kernel")
        .arg(&files.image)
        .arg("-initrd")
        .arg(&files.initramfs);
    // On a busy host no tick may come in the ten that the kernel waits to see that its timer
    // works; without one it panics.
    let mut arguments = format!("console=ttyS0 panic=-1 no_timer_check {}", boot.arguments);
    let mut letters = 'a'..='z';
    let mut attach = |id: &str, path: &Path, more: &str| {
        let drive = format!(
            "file={},if=none,id={id},format=raw,cache=unsafe{more}",
            path.display()
        );
        command.args(["-drive", &drive, "-device"]);
        command.arg(format!("virtio-blk-pci,drive={id}"));
        format!("/dev/vd{}", letters.next().unwrap_or('z'))
    };
    if let Some(swap) = &files.swap {
        arguments.push_str(&format!(" tmem.swap={}", attach("swap", swap, "")));
    }
    let limit = boot.disk_operations.map_or(String::new(), |operations| {
        format!(",throttling.iops-total={operations}")
    });
    let disks: Vec<String> = files
        .disks
        .iter()
        .map(|(fs, path)| format!("{}:{}", fs.name(), attach(fs.name(), path, &limit)))
        .collect();
    if !disks.is_empty() {
        arguments.push_str(&format!(" tmem.disks={}", disks.join(",")));
    }
    if let Some(programs) = &files.programs {
        let disk = attach("programs", programs, ",snapshot=on");
        arguments.push_str(&format!(" tmem.programs={disk}"));
    }
    command.args(["-append", &arguments]);
    command
}

/// Starts a machine with its console on a pipe.
pub(super) fn start(boot: &Boot<'_>, files: &Files) -> Result<Running> {
    let mut command = command(boot, files);
    command.args(["-serial", "stdio", "-monitor", "none"]);
    let complaints =
        File::create(&files.complaints).with_context(|| files.complaints.display().to_string())?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(complaints);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", describe(&command)))?;
    let serial = child.stdout.take().context("the console's pipe")?;
    Ok(Running {
        child,
        serial: Box::new(serial),
    })
}

/// Runs a machine with its console on our terminal, until it powers off or the user
/// leaves it with Ctrl-A X.
pub(crate) fn interactive(boot: &Boot<'_>) -> Result<()> {
    let files = files(boot)?;
    let mut command = command(boot, &files);
    command.args(["-serial", "mon:stdio"]);
    run(&mut command)
}
