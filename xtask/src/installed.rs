//! `cargo xtask soak packages`: both packages in clean Debian roots. They are installed,
//! DKMS builds the module for the suite's kernel, a newer version takes the older one's
//! place, a machine boots with it and its service, and after a purge no file is left.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use tmem_tests::Kernel;

use crate::package::{VERSION, packages};
use crate::paths;
use crate::prepare::roots::{Root, with_dkms};
use crate::prepare::{Needs, Nightly, is_root, prepare};
use crate::process::{run as run_program, say};
use crate::report::{Report, Test};
use crate::vm::boot_debian;

/// What `soak` calls it.
pub(crate) const TOPIC: &str = "packages";

/// Debian 12 and 13.
const KERNELS: [Kernel; 2] = [Kernel::V6_1, Kernel::V6_12];

/// What others write: apt, dpkg, and DKMS's own key.
const OF_OTHERS: &[&str] = &[
    "dev",
    "proc",
    "sys",
    "tmp",
    "var/cache",
    "var/lib/apt",
    "var/lib/dkms/mok.key",
    "var/lib/dkms/mok.pub",
    "var/lib/dpkg",
    "var/log",
    "var/tmp",
];

/// Tries the packages on those of `kernels` whose suites have DKMS here; whether all was well.
pub(crate) fn run(kernels: &[Kernel]) -> Result<bool> {
    ensure!(is_root(), "packages are installed by root only");
    let kernels: Vec<Kernel> = KERNELS
        .into_iter()
        .filter(|k| kernels.contains(k))
        .collect();
    ensure!(!kernels.is_empty(), "packages are tried on 6.1 and 6.12");
    let nightly = prepare(&Needs {
        kernels: kernels.clone(),
        programs: true,
        ..Needs::default()
    })?;
    let report = Report::begin();
    for kernel in kernels {
        let begin = Instant::now();
        let result = tried(&nightly, kernel);
        let test = Test::new("packages_installed", kernel.name(), begin.elapsed());
        report.add(test.ended(result));
    }
    Ok(report.finish())
}

fn tried(nightly: &Nightly, kernel: Kernel) -> Result<()> {
    let folder = paths::output().join("installed").join(kernel.suite());
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let clean = with_dkms(kernel)?;
    let root = Root {
        path: folder.join("root"),
    };
    run_program(Command::new("cp").arg("-a").args([&clean.path, &root.path]))?;
    let release = release(&root)?;
    let before = files(&root.path)?;

    let newer = format!("{VERSION}.1");
    for version in [VERSION, &newer] {
        let made = packages(nightly, &folder.join(version), version)?;
        say(format!("installing {version} on Debian {}", kernel.suite()));
        install(&root, &made)?;
        installed(&root, &release, version)?;
    }
    booted(&root, &release, &folder)?;
    say("purging both");
    apt(&root, &["purge", "tmem", "tmem-dkms"])?;
    let left: Vec<String> = files(&root.path)?.difference(&before).cloned().collect();
    ensure!(left.is_empty(), "left after the purge: {}", left.join(", "));
    fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())
}

/// The service that the machine runs behind ours, and powers off after, however it went.
const TRIED: &str = "\
[Unit]
After=tmem.service tmem-mounts.service
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
ExecStart=/usr/bin/systemctl is-active tmem.service
ExecStart=/usr/bin/systemctl is-active tmem-mounts.service
ExecStart=/usr/bin/tmem status --json
ExecStart=/usr/bin/systemctl stop tmem.service
ExecStart=/usr/bin/test ! -e /sys/module/tmem
ExecStart=/usr/bin/echo TMEM-TRIED

[Install]
WantedBy=multi-user.target
";

/// What the services of the installed packages are told, and the machine asked for. Nothing is
/// mounted where a file system is to take part, which keeps nobody from starting.
const CONFIGURED: &str = "limit = \"32M + 1M\"\n[mounts.\"/srv\"]\nkeep = true\n";
const CONFIGURED_BYTES: u64 = 33 << 20;

/// Boots the root with its own kernel and systemd: the enabled service loads the module and makes the
/// configuration true, and stopping it unloads the module. The root is afterwards as it was.
fn booted(root: &Root, release: &str, folder: &Path) -> Result<()> {
    say(format!("booting {release} with systemd"));
    let made = [
        ("etc/tmem.conf.d/50-tried.conf", CONFIGURED),
        ("etc/systemd/system/tmem-tried.service", TRIED),
    ];
    for (name, text) in made {
        let path = root.path.join(name);
        let parent = path.parent().context("it is below the root")?;
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    // Without an id it would count as the first boot, at which every unit is enabled.
    let id = root.path.join("etc/machine-id");
    let before = fs::read(&id).unwrap_or_default();
    fs::write(&id, "0123456789abcdef0123456789abcdef\n")
        .with_context(|| id.display().to_string())?;
    let systemctl = |verb: &str| {
        run_program(root.command("systemctl").args([
            verb,
            "-q",
            "tmem",
            "tmem-mounts",
            "tmem-tried",
        ]))
    };
    systemctl("enable")?;
    let console = boot_debian(&root.path, release, folder);
    systemctl("disable")?;
    for (name, _) in made {
        fs::remove_file(root.path.join(name)).with_context(|| name.to_owned())?;
    }
    // Only if nothing of the package is in it.
    let _ = fs::remove_dir(root.path.join("etc/tmem.conf.d"));
    fs::write(&id, before).with_context(|| id.display().to_string())?;

    let console = console?;
    let limit = format!("\"limit_bytes\":{CONFIGURED_BYTES}");
    for wanted in [&limit, "TMEM-TRIED"] {
        ensure!(
            console.contains(wanted),
            "the machine does not say {wanted}:\n{console}"
        );
    }
    Ok(())
}

/// The kernel that DKMS builds for.
fn release(root: &Root) -> Result<String> {
    let modules = root.path.join("lib/modules");
    let entries = fs::read_dir(&modules).with_context(|| modules.display().to_string())?;
    entries
        .flatten()
        .find(|entry| entry.path().join("modules.dep").is_file())
        .and_then(|entry| entry.file_name().into_string().ok())
        .with_context(|| format!("no kernel in {}", modules.display()))
}

fn apt(root: &Root, words: &[&str]) -> Result<()> {
    let mut command = root.command("apt-get");
    // Everything they depend on is there, and there is no network.
    command.args(["-q", "-y"]).args(words);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command.stdout(std::io::stderr());
    run_program(&mut command)
}

fn install(root: &Root, made: &[PathBuf]) -> Result<()> {
    let mut inside = Vec::new();
    for package in made {
        let name = package.file_name().context("a package has a name")?;
        let place = Path::new("var/tmp").join(name);
        fs::copy(package, root.path.join(&place)).with_context(|| package.display().to_string())?;
        inside.push(format!("/{}", place.display()));
    }
    let mut words = vec!["install"];
    words.extend(inside.iter().map(String::as_str));
    apt(root, &words)
}

/// An error unless `version` is there, it alone, and its module fits the kernel.
fn installed(root: &Root, release: &str, version: &str) -> Result<()> {
    let say = |words: &[&str]| -> Result<String> {
        let (program, arguments) = words.split_first().context("no program")?;
        crate::process::output(root.command(program).args(arguments))
    };
    let status = say(&["dkms", "status", "-m", "tmem"])?;
    let lines: Vec<&str> = status.lines().collect();
    let [line] = lines.as_slice() else {
        bail!("dkms status: {status:?}");
    };
    ensure!(
        line.starts_with(&format!("tmem/{version}, {release}, ")) && line.ends_with(": installed"),
        "dkms status: {line}"
    );
    let magic = say(&["modinfo", "-k", release, "-F", "vermagic", "tmem"])?;
    ensure!(
        magic.split(' ').next() == Some(release),
        "a module for {magic}, not for {release}"
    );
    let told = say(&["tmem", "--version"])?;
    ensure!(told.starts_with("tmem "), "tmem --version: {told}");
    // Without the module loaded, what is installed is understood and said to be missing.
    say(&["tmem", "show-config"])?;
    for unit in ["tmem", "tmem-mounts", "tmem-serve", "tmem-tune"] {
        let state = root
            .command("systemctl")
            .args(["is-enabled", unit])
            .output()?;
        ensure!(
            state.stdout.trim_ascii() == b"disabled",
            "{unit} is not off by default: {}",
            String::from_utf8_lossy(&state.stdout)
        );
    }
    Ok(())
}

/// The files below a root, but for those of others.
fn files(root: &Path) -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
            let entry = entry?;
            let path = entry.path();
            let inside = path.strip_prefix(root)?.display().to_string();
            if OF_OTHERS.contains(&inside.as_str()) {
                continue;
            }
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else {
                found.insert(inside);
            }
        }
    }
    Ok(found)
}
