//! A whole Debian root as a machine: its own kernel and systemd, on a disk made of the root.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use super::cpio::Archive;
use super::disks::sparse;
use super::modules::{self, Index};
use crate::paths;
use crate::process::{capture, run};

/// Memory of the machine.
const MEMORY: &str = "1G";
/// Room on its disk, for the root and what it writes.
const DISK_BYTES: u64 = 3 << 30;
/// Longest time that it may run, in seconds.
const PATIENCE: &str = "900";

/// What leads to the disk: the modules in order, and then the root's own init.
const INIT: &str = "\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs dev /dev
$b mount -t proc proc /proc
while read -r module; do $b insmod \"$module\"; done < /modules
while ! $b test -b /dev/vda; do $b sleep 1; done
$b mount -t ext4 /dev/vda /root
$b umount /proc
exec $b switch_root /root /lib/systemd/systemd
";

/// Boots a copy of `root`, whose kernel is `release`, and gives what it wrote on its console until
/// it powered off. What is needed for that is made in `folder`.
pub(crate) fn boot(root: &Path, release: &str, folder: &Path) -> Result<String> {
    let disk = folder.join("root.ext4");
    sparse(&disk, DISK_BYTES)?;
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-F", "-d"]).arg(root).arg(&disk);
    run(&mut mkfs)?;
    let first = folder.join("first.cpio");
    fs::write(&first, first_root(root, release)?).with_context(|| first.display().to_string())?;

    // It ends with us, whatever ends us, and it does not go on for ever.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "timeout", "--foreground", PATIENCE]);
    command.args([
        "qemu-system-x86_64",
        "-nodefaults",
        "-no-user-config",
        "-no-reboot",
    ]);
    command.args([
        "-display",
        "none",
        "-vga",
        "none",
        "-accel",
        "tcg,thread=single",
    ]);
    command.args([
        "-cpu", "max", "-m", MEMORY, "-smp", "2", "-serial", "stdio", "-monitor", "none",
    ]);
    command
        .arg("-kernel")
        .arg(root.join("boot").join(format!("vmlinuz-{release}")));
    command.arg("-initrd").arg(&first);
    let drive = format!(
        "file={},if=none,id=root,format=raw,cache=unsafe",
        disk.display()
    );
    command.args(["-drive", &drive, "-device", "virtio-blk-pci,drive=root"]);
    command.args([
        "-append",
        "console=ttyS0 panic=-1 no_timer_check quiet systemd.show_status=0",
    ]);
    let output = capture(&mut command)?;
    for made in [&disk, &first] {
        fs::remove_file(made).with_context(|| made.display().to_string())?;
    }
    Ok(output.stdout + &output.stderr)
}

fn first_root(root: &Path, release: &str) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for directory in ["/proc", "/dev", "/root", "/sys"] {
        archive.directory(directory);
    }
    archive.character_device("/dev/console", 5, 1);
    let busybox = paths::find_command("busybox").context("busybox is missing")?;
    let busybox = fs::read(&busybox).with_context(|| busybox.display().to_string())?;
    archive.file("/bin/busybox", 0o755, &busybox);
    archive.file("/init", 0o755, INIT.as_bytes());
    let tree = root.join("lib/modules").join(release);
    let mut order = String::new();
    for path in
        Index::read(&tree)?.resolve(&["virtio_pci", "virtio_blk", "crc32c_generic?", "ext4"])?
    {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let inside = format!("/lib/{}", name.strip_suffix(".xz").unwrap_or(name));
        archive.file(&inside, 0o644, &modules::read(&tree.join(&path))?);
        order.push_str(&inside);
        order.push('\n');
    }
    archive.file("/modules", 0o644, order.as_bytes());
    Ok(archive.finish())
}
