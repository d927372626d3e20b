//! Other people's tests of file contents, on a file system that takes part: fio with
//! `verify=` and stress-ng with `--verify`, from Debian's packages.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tmem_tests::protocol::MODULE;

use super::file;
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::stress::BASE;
use crate::sys;

/// Where the programs' root is mounted, for themselves only.
const ROOT: &str = "/mnt/programs";
/// Where they find the file system under test.
pub(crate) const FILES: &str = "/mnt";
/// What is reclaimed of what a program uses while it runs: so much, so often. A limit that stress-ng
/// does not fit would stop it for good, since it has the kernel not kill it.
const RECLAIM: (u64, Duration) = (4 << 20, Duration::from_millis(500));
/// Less than a file that fio writes.
const FIO_MEMORY: Memory = Memory::Limit(24);

/// How a program's memory becomes short.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Memory {
    /// At most so many MiB.
    Limit(u64),
    /// Some of it is reclaimed all the while.
    Reclaimed,
}

/// fio writes files in several ways, and reads them back with checksums.
pub(super) fn fio(context: &Context) -> Result<()> {
    const WAYS: &[(&str, &[&str])] = &[
        ("sync", &["--ioengine=psync", "--rw=randwrite"]),
        ("mmap", &["--ioengine=mmap", "--rw=randwrite"]),
        (
            "aio",
            &[
                "--ioengine=libaio",
                "--direct=1",
                "--iodepth=8",
                "--rw=randwrite",
            ],
        ),
    ];
    let size = format!("--size={}m", context.number("mib")?);
    let seed = format!("--randseed={}", context.seed);
    file::with_place(context, MODULE, true, || {
        for (name, way) in WAYS {
            let job = format!("--name={name}");
            let mut arguments = vec![
                &*job,
                "--directory=/mnt",
                "--bs=4k",
                "--thread",
                "--verify=crc32c",
                "--verify_fatal=1",
                "--do_verify=1",
                "--invalidate=0",
                &size,
                &seed,
            ];
            arguments.extend(*way);
            run(context, FIO_MEMORY, "fio", &arguments)?;
            let file = Path::new(BASE).join(format!("{name}.0.0"));
            std::fs::remove_file(&file).with_context(|| file.display().to_string())?;
        }
        Ok(())
    })
}

/// stress-ng's stressors of files, each of which checks what it reads. They delete their files
/// while they are open, so that none of their pages is kept.
pub(super) fn stress_ng(context: &Context) -> Result<()> {
    const STRESSORS: &[(&str, &[&str])] = &[
        (
            "hdd",
            &["--hdd-bytes", "16m", "--hdd-opts", "wr-rnd,rd-rnd"],
        ),
        ("fallocate", &["--fallocate-bytes", "16m"]),
        ("readahead", &["--readahead-bytes", "16m"]),
        ("seek", &["--seek-size", "16m"]),
        ("sync-file", &["--sync-file-bytes", "16m"]),
    ];
    // Each; some do not count what they do, so that they would not end by themselves.
    let seconds = context.number("seconds")?.to_string();
    let seed = context.seed.to_string();
    file::with_place(context, MODULE, false, || {
        for (stressor, more) in STRESSORS {
            let name = format!("--{stressor}");
            let mut arguments = vec![
                &*name,
                "2",
                "--timeout",
                &seconds,
                "--temp-path",
                FILES,
                "--verify",
                "--seed",
                &seed,
            ];
            arguments.extend(*more);
            run(context, Memory::Reclaimed, "stress-ng", &arguments)?;
        }
        Ok(())
    })
}

/// Runs a program of the other root with little memory; what it said.
pub(crate) fn run(
    context: &Context,
    memory: Memory,
    name: &str,
    arguments: &[&str],
) -> Result<String> {
    let disk = context.programs()?;
    std::fs::create_dir_all(ROOT)?;
    let group = Cgroup::new(
        "programs",
        match memory {
            Memory::Limit(mib) => mib,
            Memory::Reclaimed => 256,
        },
    )?;
    let enter = group.path().join("cgroup.procs");
    let mounts = mounts(&disk)?;
    let mut command = Command::new(name);
    command
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .stdin(Stdio::null());
    // SAFETY: this process has one thread, so the child finds every lock free, the
    // allocator's included.
    unsafe {
        command.pre_exec(move || {
            std::fs::write(&enter, "0")?;
            enter_root(&mounts)
        });
    }
    // Files and no pipes, which somebody would have to empty.
    let [stdout, stderr] = ["stdout", "stderr"].map(|name| Path::new("/tmp").join(name));
    command
        .stdout(File::create(&stdout)?)
        .stderr(File::create(&stderr)?);
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {name}"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if matches!(memory, Memory::Reclaimed) {
            group.reclaim(RECLAIM.0)?;
        }
        std::thread::sleep(RECLAIM.1);
    };
    let said = std::fs::read_to_string(&stdout)?;
    if !status.success() {
        for line in said
            .lines()
            .chain(std::fs::read_to_string(&stderr)?.lines())
        {
            sys::say(&format!("{name}: {line}"));
        }
        bail!("{name} {}: {status}", arguments.join(" "));
    }
    Ok(said)
}

/// A mount to make: what, where, which kind, how.
struct Mount {
    source: CString,
    target: CString,
    kind: CString,
    flags: libc::c_ulong,
}

/// The mounts of the programs' root.
fn mounts(disk: &Path) -> Result<Vec<Mount>> {
    let mount = |source: &str, target: &str, kind: &str, flags| -> Result<Mount> {
        Ok(Mount {
            source: CString::new(source)?,
            target: CString::new(target)?,
            kind: CString::new(kind)?,
            flags,
        })
    };
    let disk = disk.to_str().context("the disk's path")?;
    let mut mounts = vec![
        // What is mounted below is seen by this process and its children alone.
        mount("none", "/", "", libc::MS_REC | libc::MS_PRIVATE)?,
        mount(disk, ROOT, "ext4", 0)?,
        mount(BASE, &format!("{ROOT}{FILES}"), "", libc::MS_BIND)?,
    ];
    for folder in ["/proc", "/sys", "/dev"] {
        let target = format!("{ROOT}{folder}");
        mounts.push(mount(folder, &target, "", libc::MS_BIND)?);
    }
    mounts.push(mount("tmpfs", &format!("{ROOT}/tmp"), "tmpfs", 0)?);
    Ok(mounts)
}

/// Makes the mounts in a name space of this process and goes there.
fn enter_root(mounts: &[Mount]) -> io::Result<()> {
    let check = |result: i32| match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    };
    // SAFETY: takes a number only.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    for mount in mounts {
        // SAFETY: all pointers are C strings that live until the call returns.
        check(unsafe {
            libc::mount(
                mount.source.as_ptr(),
                mount.target.as_ptr(),
                mount.kind.as_ptr(),
                mount.flags,
                ptr::null(),
            )
        })?;
    }
    std::os::unix::fs::chroot(ROOT)?;
    std::env::set_current_dir(FILES)
}
