//! Machines in Bochs, whose CPUs enforce Indirect Branch Tracking. It runs in a
//! root of its own, with one CPU, and boots from a CD that is made there.

use std::fs::{self, File};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::machine::{Boot, Files, Running};
use crate::prepare::roots;
use crate::process::describe;

/// Bytes of a cylinder of 16 heads and 63 sectors: Bochs wants whole ones.
const CYLINDER: u64 = 16 * 63 * 512;

/// Inside the root: unpacks our files, makes the CD and the swap disk, and runs
/// Bochs with the serial port on stdout. The build in Debian starts in its debugger,
/// which ends when its input does.
const SCRIPT: &str = "set -e
cd /tmp; tar xf -
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 cd
xorriso -as mkisofs -quiet -o cd.iso -b isolinux.bin -c boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table cd >xorriso.log 2>&1 || { cat xorriso.log >&2; exit 1; }
if [ $SWAP_BYTES -gt 0 ]; then truncate -s $SWAP_BYTES swap; fi
mkfifo serial input
cat serial &
sleep infinity >input &
{ echo c; cat input; } | bochs-bin -q -f bochsrc >bochs.out 2>&1 || true
grep -h -i -E 'panic|error' bochs.out bochs.log >&2 || true
";

/// Starts a machine with its console on a pipe.
pub(super) fn start(boot: &Boot<'_>, files: &Files) -> Result<Running> {
    let folder = files.folder.0.join("bochs");
    let cd = folder.join("cd");
    fs::create_dir_all(&cd).with_context(|| cd.display().to_string())?;
    fs::copy(&files.image, cd.join("vmlinuz"))
        .with_context(|| files.image.display().to_string())?;
    fs::rename(&files.initramfs, cd.join("initrd")).context("moving the initramfs")?;
    let cylinders = (u64::from(boot.swap_mib) << 20) / CYLINDER;
    // Retpolines end in RET, which Indirect Branch Tracking does not look at: they
    // would hide bad targets, hence mitigations=off.
    let mut arguments = format!(
        "console=ttyS0 panic=-1 mitigations=off edd=off nokaslr tmem.slow=1 {}",
        boot.arguments
    );
    let mut disk = String::new();
    if cylinders > 0 {
        arguments.push_str(" tmem.swap=/dev/sda");
        disk = format!(
            "ata0-master: type=disk, path=swap, mode=flat, cylinders={cylinders}, heads=16, spt=63\n"
        );
    }
    let loader = format!(
        "default tmem\nprompt 0\nlabel tmem\n  kernel /vmlinuz\n  append initrd=/initrd {arguments}\n"
    );
    fs::write(cd.join("isolinux.cfg"), loader).context("isolinux.cfg")?;
    fs::write(
        folder.join("bochsrc"),
        configuration(boot.memory_mib, &disk),
    )
    .context("bochsrc")?;

    let mut pack = Command::new("tar");
    pack.args(["--owner=0", "--group=0", "-cf", "-", "-C"]);
    pack.arg(&folder).arg(".").stdout(Stdio::piped());
    let mut pack = pack.spawn().context("cannot start tar")?;
    let input = pack.stdout.take().context("tar's output")?;
    let complaints =
        File::create(&files.complaints).with_context(|| files.complaints.display().to_string())?;
    let mut command = roots::bochs()?.command("sh");
    command
        .args(["-c", SCRIPT])
        .env("SWAP_BYTES", (cylinders * CYLINDER).to_string());
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(complaints);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", describe(&command)))?;
    pack.wait().context("tar")?;
    let serial = child.stdout.take().context("the console's pipe")?;
    Ok(Running {
        child,
        serial: Box::new(serial),
    })
}

fn configuration(memory_mib: u32, disk: &str) -> String {
    format!(
        "display_library: rfb, options=\"timeout=0\"\n\
         memory: guest={memory_mib}, host={memory_mib}\n\
         romimage: file=/usr/share/bochs/BIOS-bochs-latest\n\
         vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest\n\
         cpu: model=tigerlake, count=1, ips=20000000, reset_on_triple_fault=0, ignore_bad_msrs=1\n\
         clock: sync=none\n\
         ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14\n\
         ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15\n\
         {disk}\
         ata1-master: type=cdrom, path=cd.iso, status=inserted\n\
         boot: cdrom\n\
         com1: enabled=1, mode=file, dev=serial\n\
         panic: action=fatal\n\
         log: bochs.log\n"
    )
}
