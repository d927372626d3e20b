//! The host's own packages, by apt where that works without questions.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use super::Needs;
use crate::paths;
use crate::process::{capture, run, say};

/// A program that has to be in `PATH` (or a file that has to exist) and the Debian
/// and Ubuntu package that brings it.
struct Part {
    probe: &'static str,
    package: &'static str,
}

const ALWAYS: &[Part] = &[
    Part {
        probe: "cc",
        package: "gcc",
    },
    Part {
        probe: "nm",
        package: "binutils",
    },
    Part {
        probe: "make",
        package: "make",
    },
    Part {
        probe: "setpriv",
        package: "util-linux",
    },
    Part {
        probe: "timeout",
        package: "coreutils",
    },
];

const FOR_ROOTS: &[Part] = &[
    Part {
        probe: "mmdebstrap",
        package: "mmdebstrap",
    },
    Part {
        probe: "tar",
        package: "tar",
    },
    Part {
        probe: "unshare",
        package: "util-linux",
    },
    Part {
        probe: "/usr/share/keyrings/debian-archive-keyring.gpg",
        package: "debian-archive-keyring",
    },
];

const FOR_MACHINES: &[Part] = &[
    Part {
        probe: "qemu-system-x86_64",
        package: "qemu-system-x86",
    },
    Part {
        probe: "busybox",
        package: "busybox-static",
    },
    Part {
        probe: "xz",
        package: "xz-utils",
    },
    Part {
        probe: "/sbin/mkfs.ext4",
        package: "e2fsprogs",
    },
    Part {
        probe: "/sbin/mkfs.xfs",
        package: "xfsprogs",
    },
    Part {
        probe: "/sbin/mkfs.btrfs",
        package: "btrfs-progs",
    },
    Part {
        probe: "/sbin/mkfs.f2fs",
        package: "f2fs-tools",
    },
    Part {
        probe: "mksquashfs",
        package: "squashfs-tools",
    },
    Part {
        probe: "mkfs.erofs",
        package: "erofs-utils",
    },
    Part {
        probe: "xorriso",
        package: "xorriso",
    },
];

const FOR_ANALYSIS: &[Part] = &[
    Part {
        probe: "python3",
        package: "python3-venv",
    },
    Part {
        probe: "chromium",
        package: "chromium",
    },
];

/// Installs the packages that are missing.
pub(super) fn install(needs: &Needs) -> Result<()> {
    let mut parts: Vec<&Part> = ALWAYS.iter().collect();
    if !needs.kernels.is_empty() {
        parts.extend(FOR_ROOTS);
        if !is_root() {
            parts.push(&Part {
                probe: "newuidmap",
                package: "uidmap",
            });
        }
    }
    if !needs.machines.is_empty() {
        parts.extend(FOR_MACHINES);
    }
    if needs.analysis {
        parts.extend(FOR_ANALYSIS);
    }
    let missing: Vec<&str> = parts
        .iter()
        .filter(|p| !is_there(p))
        .map(|p| p.package)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!(
        "packages are missing: {0}\ninstall them: sudo apt-get install --no-install-recommends {0}",
        missing.join(" ")
    );
    if paths::find_command("apt-get").is_none() {
        bail!("{by_hand}\n(these are Debian's names; this system has no apt-get)");
    }
    let Some(root) = root_prefix() else {
        bail!(by_hand)
    };
    say(format!("installing packages: {}", missing.join(" ")));
    let apt = |arguments: &[&str]| {
        let mut words =
            root.iter()
                .copied()
                .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]);
        let mut command = Command::new(words.next().unwrap_or("env"));
        run(command.args(words).args(arguments).args(&missing))
    };
    let install = ["install", "--yes", "--no-install-recommends"];
    if apt(&install).is_err() {
        say("apt's lists may be old: updating them");
        let mut update = Command::new(root.first().unwrap_or(&"apt-get"));
        update.args(root.iter().skip(1));
        if !root.is_empty() {
            update.arg("apt-get");
        }
        run(update.args(["-q", "update"]))
            .and_then(|()| apt(&install))
            .map_err(|e| e.context(by_hand))?;
    }
    Ok(())
}

fn is_there(part: &Part) -> bool {
    if part.probe.starts_with('/') {
        return Path::new(part.probe).exists();
    }
    match paths::find_command(part.probe) {
        // The initramfs has no libraries: a dynamic busybox does not do.
        Some(file) if part.package == "busybox-static" => is_static(&file),
        // Debian's Python alone makes no environments.
        Some(file) if part.package == "python3-venv" => {
            capture(Command::new(file).args(["-c", "import venv, ensurepip"]))
                .is_ok_and(|output| output.success)
        }
        found => found.is_some(),
    }
}

fn is_static(file: &Path) -> bool {
    std::fs::read(file).is_ok_and(|bytes| !bytes.windows(11).any(|w| w == b"/ld-linux-x"))
}

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    capture(Command::new("id").arg("-u")).is_ok_and(|o| o.stdout.trim() == "0")
}

/// What makes a command run as root without a question; `None` when nothing does.
fn root_prefix() -> Option<Vec<&'static str>> {
    if is_root() {
        return Some(Vec::new());
    }
    let sudo = capture(Command::new("sudo").args(["-n", "true"])).ok()?;
    sudo.success.then(|| vec!["sudo", "-n"])
}
