//! Roots of Debian suites in the cache: a kernel, its headers and the compiler it
//! was built with, and the root that holds the IBT machine.
//!
//! A root is made beside its place and renamed, so that what has its name is whole.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use tmem_tests::Kernel;

use super::packages::is_root;
use crate::paths;
use crate::process::{capture, describe, output, run, say};

/// Names the mirror that suites come from, instead of mmdebstrap's own choice.
const MIRROR: &str = "TMEM_MIRROR";

/// Of the image of [`programs`]: more than they take.
const PROGRAMS_SIZE: &str = "1200M";

/// Enters the root $1 with an empty /tmp in memory, and runs what follows.
const ENTER: &str = "mount -t tmpfs tmpfs \"$1/tmp\" && exec chroot \"$@\"";

/// A Debian suite unpacked in a folder.
#[derive(Clone, Debug)]
pub(crate) struct Root {
    /// The folder.
    pub(crate) path: PathBuf,
}

/// The root of a kernel; `release` is its `uname -r`.
#[derive(Clone, Debug)]
pub(crate) struct KernelRoot {
    /// The suite.
    pub(crate) root: Root,
    /// `uname -r`.
    pub(crate) release: String,
    /// The bootable image.
    pub(crate) image: PathBuf,
}

impl KernelRoot {
    /// `/lib/modules/<release>` as seen from outside.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.path.join("lib/modules").join(&self.release)
    }
}

impl Root {
    /// A command inside, with `/proc`: in name spaces of its own, so that nothing stays
    /// mounted, listening or running when it or we end.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut words: Vec<String> = Vec::new();
        if !is_root() {
            // Roots made without root rights belong to our subordinate ids.
            words.extend(["mmdebstrap", "--unshare-helper"].map(String::from));
        }
        words.extend(["setpriv", "--pdeathsig", "KILL"].map(String::from));
        words.extend(
            [
                "unshare",
                "--mount",
                "--pid",
                "--net",
                "--fork",
                "--kill-child",
            ]
            .map(String::from),
        );
        words.push(format!("--mount-proc={}", self.path.join("proc").display()));
        words.extend(["sh", "-c", ENTER, "sh"].map(String::from));
        words.push(self.path.display().to_string());
        words.push(program.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        command.env_clear().env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.env("LC_ALL", "C.UTF-8");
        command
    }
}

fn root_path(name: &str) -> Result<PathBuf> {
    Ok(paths::cache()?.join("roots").join(name))
}

/// The root of a kernel, made if it is not there.
pub(crate) fn kernel(kernel: Kernel) -> Result<KernelRoot> {
    let path = root_path(kernel.suite())?;
    if !path.is_dir() {
        make_kernel_root(kernel, &path)?;
    }
    // Packages put the image in /boot or, since 7.2's, beside the modules.
    let image_of = |release: &str| {
        [
            format!("boot/vmlinuz-{release}"),
            format!("lib/modules/{release}/vmlinuz"),
        ]
        .map(|file| path.join(file))
        .into_iter()
        .find(|file| file.is_file())
    };
    let modules = path.join("lib/modules");
    let (release, image) = fs::read_dir(&modules)
        .with_context(|| modules.display().to_string())?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find_map(|release| image_of(&release).map(|image| (release, image)))
        .with_context(|| format!("{} has no kernel; remove it and try again", path.display()))?;
    Ok(KernelRoot {
        root: Root { path },
        release,
        image,
    })
}

fn make_kernel_root(kernel: Kernel, path: &Path) -> Result<()> {
    // dwarves was the name of pahole's package in 2021.
    let pahole = if kernel == Kernel::V5_10 {
        "dwarves"
    } else {
        "pahole"
    };
    let include = format!("gcc,make,kmod,linux-headers-amd64,libelf1,{pahole}");
    make_root(
        &format!("kernel {kernel} from Debian {}", kernel.suite()),
        kernel.suite(),
        &include,
        &[&unpack_kernel()],
        path,
    )
}

/// The suite of a kernel, with that kernel and what DKMS needs to build for it.
pub(crate) fn with_dkms(kernel: Kernel) -> Result<Root> {
    let path = root_path(&format!("packages-{}", kernel.suite()))?;
    if !path.is_dir() {
        make_root(
            &format!("Debian {} with DKMS", kernel.suite()),
            kernel.suite(),
            "dkms,gcc,make,kmod,linux-headers-amd64,systemd-sysv",
            &[&unpack_kernel()],
            &path,
        )?;
    }
    Ok(Root { path })
}

/// A hook that unpacks the suite's kernel and no more: configuring it would pull in and run
/// the makers of an initramfs that nobody boots.
fn unpack_kernel() -> String {
    let kernel_files = "cd /var/tmp && apt-get -q download $(apt-cache depends --recurse --no-recommends \
         --no-suggests --no-conflicts --no-breaks --no-replaces --no-enhances linux-image-amd64 \
         | grep -E '^linux-(image|binary|modules)-[0-9]') \
         && for deb in *.deb; do dpkg-deb --fsys-tarfile $deb | tar -x -C / --keep-directory-symlink \
         || exit 1; done && rm *.deb \
         && for release in $(ls /lib/modules); do depmod $release || exit 1; done";
    format!(
        "chroot \"$1\" sh -c '{}'",
        kernel_files.replace('\'', "'\\''")
    )
}

/// The root with Bochs, whose CPUs have Indirect Branch Tracking, and the makers of
/// the CD it boots from.
pub(crate) fn bochs() -> Result<Root> {
    let path = root_path("bochs")?;
    if !path.is_dir() {
        // 2.7 and 3.1 do not do; trixie has 3.0.
        let include = "bochs,bochs-term,bochsbios,vgabios,isolinux,syslinux-common,xorriso";
        make_root("the IBT machine (Bochs)", "trixie", include, &[], &path)?;
    }
    Ok(Root { path })
}

/// An ext4 image of a root with the programs that file scenarios run: fio and stress-ng.
pub(crate) fn programs() -> Result<PathBuf> {
    let image = root_path("programs.ext4")?;
    if image.is_file() {
        return Ok(image);
    }
    let path = root_path("programs")?;
    if !path.is_dir() {
        make_root("fio and stress-ng", "trixie", "fio,stress-ng", &[], &path)?;
    }
    let unfinished = root_path("programs.ext4.tmp")?;
    remove(&unfinished)?;
    let mut command = if is_root() {
        Command::new("/sbin/mkfs.ext4")
    } else {
        // The root belongs to our subordinate ids.
        let mut command = Command::new("mmdebstrap");
        command.args(["--unshare-helper", "/sbin/mkfs.ext4"]);
        command
    };
    command.args(["-q", "-F", "-d"]).arg(&path);
    output(command.arg(&unfinished).arg(PROGRAMS_SIZE))?;
    fs::rename(&unfinished, &image).with_context(|| image.display().to_string())?;
    Ok(image)
}

/// `library` of Debian sid's rust-src, whose version must begin with `version.`.
pub(super) fn rust_src(version: &str) -> Result<PathBuf> {
    let path = root_path(&format!("rust-src-{version}"))?;
    if !path.is_dir() {
        let fetch = "chroot \"$1\" sh -c 'cd /var/tmp && apt-get -q download rust-src && dpkg-deb --fsys-tarfile rust-src_*.deb | tar -x -C / --keep-directory-symlink'";
        make_root(
            &format!("rust-src {version}"),
            "sid",
            "ca-certificates",
            &[fetch],
            &path,
        )?;
    }
    let sources = path.join("usr/src");
    let found = fs::read_dir(&sources)
        .with_context(|| sources.display().to_string())?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|dir| {
            let name = dir.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(&format!("rustc-{version}.")) && dir.join("library/core").is_dir()
        });
    found.map(|dir| dir.join("library")).with_context(|| {
        format!(
            "Debian sid's rust-src is not of version {version} ({} to remove)",
            path.display()
        )
    })
}

/// Unpacks `suite` with `include` and runs `hooks` on it.
fn make_root(what: &str, suite: &str, include: &str, hooks: &[&str], path: &Path) -> Result<()> {
    let parent = path.parent().context("a root has a parent")?;
    fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = parent.join(format!("{name}.tmp"));
    remove(&unfinished)?;
    let mirror = std::env::var(MIRROR).ok();
    let from = mirror.as_deref().unwrap_or("Debian's default mirror");
    say(format!("downloading {what} from {from} (a few minutes)"));
    let log_path = parent.join(format!("{name}.log"));
    let log = fs::File::create(&log_path).with_context(|| log_path.display().to_string())?;
    let begin = Instant::now();
    let mut command = Command::new("mmdebstrap");
    command
        .args(["--variant=apt", "--mode"])
        .arg(if is_root() { "root" } else { "unshare" });
    command.arg(format!("--include={include}"));
    command.args([
        "--aptopt=Apt::Install-Recommends \"false\"",
        "--aptopt=Acquire::Languages \"none\"",
    ]);
    // Archived suites and frozen mirrors serve release files past their date.
    command.arg("--aptopt=Acquire::Check-Valid-Until \"false\"");
    command.args([
        "--aptopt=Acquire::Retries \"3\"",
        "--dpkgopt=force-unsafe-io",
    ]);
    for unread in [
        "/usr/share/man/*",
        "/usr/share/doc/*",
        "/usr/share/locale/*",
        "/usr/share/info/*",
    ] {
        command.arg(format!("--dpkgopt=path-exclude={unread}"));
    }
    for hook in hooks {
        command.arg(format!("--customize-hook={hook}"));
    }
    command.arg("--keyring=/usr/share/keyrings/debian-archive-keyring.gpg");
    command.arg(suite).arg(&unfinished).args(&mirror);
    command
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", describe(&command)))?;
    if !status.success() {
        let text = fs::read_to_string(&log_path).unwrap_or_default();
        let tail: Vec<&str> = text.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        bail!(
            "cannot unpack {what}: mmdebstrap failed ({status}); the end of {}:\n{}\n\
             is {from} reachable? {MIRROR} names another mirror",
            log_path.display(),
            tail.join("\n")
        );
    }
    fs::rename(&unfinished, path)
        .with_context(|| format!("{} to {}", unfinished.display(), path.display()))?;
    fs::remove_file(&log_path).with_context(|| log_path.display().to_string())?;
    say(format!(
        "{what}: ready in {:.0} s",
        begin.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// Removes what an interrupted attempt left.
fn remove(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    if is_root() {
        return fs::remove_dir_all(path).with_context(|| format!("removing {}", path.display()));
    }
    let mut helper = Command::new("mmdebstrap");
    helper.args(["--unshare-helper", "rm", "-rf"]).arg(path);
    if capture(&mut helper)?.success {
        return Ok(());
    }
    run(Command::new("rm").arg("-rf").arg(path))
}
