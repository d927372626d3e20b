//! Machines in Bochs, whose CPUs enforce Indirect Branch Tracking. It runs in a
//! root of its own, with one CPU, and boots from a CD that is made there.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::machine::{Boot, Files, Running};
use crate::prepare::roots;
use crate::process::describe;

/// Bytes of a cylinder of 16 heads and 63 sectors: Bochs wants whole ones.
const CYLINDER: u64 = 16 * 63 * 512;

/// Inside the root: unpacks our files, makes the CD and the empty disk, and runs
/// Bochs with the serial port on stdout. The build in Debian starts in its debugger,
/// which ends when its input does.
const SCRIPT: &str = "set -e
cd /tmp; tar xf -
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 cd
xorriso -as mkisofs -quiet -o cd.iso -b isolinux.bin -c boot.cat -no-emul-boot \
    -boot-load-size 4 -boot-info-table cd >xorriso.log 2>&1 || { cat xorriso.log >&2; exit 1; }
truncate -s $DISK_BYTES disk
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
    let disk = Disk::of(boot, files)?;
    // Retpolines end in RET, which Indirect Branch Tracking does not look at: they
    // would hide bad targets, hence mitigations=off.
    let mut arguments = format!(
        "console=ttyS0 panic=-1 mitigations=off edd=off nokaslr tmem.slow=1 {}",
        boot.arguments
    );
    let mut drive = String::new();
    if let Some(disk) = &disk {
        arguments.push_str(&disk.argument);
        drive = format!(
            "ata0-master: type=disk, path=disk, mode=flat, cylinders={}, heads=16, spt=63\n",
            disk.cylinders
        );
        if let Some(content) = &disk.content {
            fs::rename(content, folder.join("disk"))
                .with_context(|| content.display().to_string())?;
        }
    }
    let loader = format!(
        "default tmem\nprompt 0\nlabel tmem\n  kernel /vmlinuz\n  append initrd=/initrd {arguments}\n"
    );
    fs::write(cd.join("isolinux.cfg"), loader).context("isolinux.cfg")?;
    fs::write(
        folder.join("bochsrc"),
        configuration(boot.memory_mib, &drive),
    )
    .context("bochsrc")?;

    let mut pack = Command::new("tar");
    pack.args(["--sparse", "--owner=0", "--group=0", "-cf", "-", "-C"]);
    pack.arg(&folder).arg(".").stdout(Stdio::piped());
    let mut pack = pack.spawn().context("cannot start tar")?;
    let input = pack.stdout.take().context("tar's output")?;
    let complaints =
        File::create(&files.complaints).with_context(|| files.complaints.display().to_string())?;
    let mut command = roots::bochs()?.command("sh");
    let bytes = disk.map_or(0, |disk| disk.cylinders * CYLINDER);
    command
        .args(["-c", SCRIPT])
        .env("DISK_BYTES", bytes.to_string());
    command
        .stdin(input)
        .stdout(Stdio::piped())
        .stderr(complaints);
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {}", describe(&command)))?;
    // It has the other end of the pipe: if the reader ended early, tar would wait for ever.
    drop(command);
    pack.wait().context("tar")?;
    let serial = child.stdout.take().context("the console's pipe")?;
    Ok(Running {
        child,
        serial: Box::new(serial),
    })
}

/// The disk. There is one at most, since their names would depend on who is found first.
struct Disk {
    /// What is on it; nothing for swap.
    content: Option<PathBuf>,
    cylinders: u64,
    /// What the guest is told of it.
    argument: String,
}

impl Disk {
    fn of(boot: &Boot<'_>, files: &Files) -> Result<Option<Self>> {
        let (content, mib, argument) = match (boot.swap_mib, &*files.disks) {
            (0, []) => return Ok(None),
            (mib, []) => (None, mib, " tmem.swap=/dev/sda".to_owned()),
            (0, [(file_system, path)]) => (
                Some(path.clone()),
                file_system.disk_mib(),
                format!(" tmem.disks={}:/dev/sda", file_system.name()),
            ),
            _ => bail!("{}: a machine in Bochs has one disk", boot.name),
        };
        Ok(Some(Self {
            content,
            cylinders: (u64::from(mib) << 20).div_ceil(CYLINDER),
            argument,
        }))
    }
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
