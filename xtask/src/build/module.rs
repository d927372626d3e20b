//! Kernel modules by kbuild: inside the suite's root, with the compiler that its
//! kernel was built with, or with the headers of the running kernel.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use tmem_tests::Kernel;

use super::object::Objects;
use crate::paths;
use crate::prepare::roots::{self, KernelRoot};
use crate::process::{capture, describe, output, say};

/// The modules built for one kernel.
#[derive(Clone, Debug)]
pub(crate) struct Modules {
    /// For this kernel.
    pub(crate) kernel: Kernel,
    /// Its root: image and modules.
    pub(crate) root: KernelRoot,
    /// Each `.ko`, with the name it has in the guest.
    pub(crate) files: Vec<(String, PathBuf)>,
    /// The folder where the module itself was built, objects included.
    pub(crate) folder: PathBuf,
}

/// One folder of sources that makes one module.
struct Source {
    /// `NAME.ko` in the guest.
    name: &'static str,
    /// `NAME.ko` as kbuild makes it.
    made: &'static str,
    /// Files: name in the build folder, where it comes from.
    files: Vec<(String, PathBuf)>,
    /// A variable for make, `NAME=VALUE`.
    variable: &'static str,
}

/// The module itself, among the modules built.
const MODULE: &str = "tmem";

/// Lines that say "warning" and are none of ours: headers come without the vmlinux
/// that module BTF needs, and a suite's compiler gets fixes after its kernel was built.
const NO_WARNINGS: &[&str] = &[
    "Skipping BTF generation",
    "compiler differs from the one used",
    "The kernel was built by:",
    "You are using:",
];

/// Builds the module, its two twins that break on purpose (in the hooks, in the
/// engine), and the test module, for one kernel.
pub(crate) fn build(kernel: Kernel, objects: &Objects) -> Result<Modules> {
    let root = roots::kernel(kernel)?;
    let mut files = Vec::new();
    let mut folder = PathBuf::new();
    for source in sources(objects)? {
        let dir = paths::kernel_output(kernel).join(source.name);
        let made = build_one(kernel, &root, &source, &dir)?;
        if source.name == MODULE {
            folder = dir;
        }
        files.push((format!("{}.ko", source.name), made));
    }
    Ok(Modules {
        kernel,
        root,
        files,
        folder,
    })
}

/// The sources of all modules.
fn sources(objects: &Objects) -> Result<Vec<Source>> {
    let module = paths::workspace().join("tmem-kmod/kernel");
    let with_engine = |name, object: &Path, variable| -> Result<Source> {
        let mut files = files_of(&module)?;
        files.push(("tmem_core.S".to_owned(), object.to_path_buf()));
        Ok(Source {
            name,
            made: "tmem",
            files,
            variable,
        })
    };
    let misuse = paths::workspace().join("tests/kmod");
    Ok(vec![
        with_engine(MODULE, &objects.engine, "")?,
        with_engine("tmem-control", &objects.engine, "TMEM_CONTROL=1")?,
        with_engine("tmem-broken", &objects.broken, "")?,
        Source {
            name: "tmem_misuse",
            made: "tmem_misuse",
            files: files_of(&misuse)?,
            variable: "",
        },
    ])
}

/// The sources of the module alone: name in the build folder, where it comes from.
pub(super) fn sources_with_engine(objects: &Objects) -> Result<Vec<(String, PathBuf)>> {
    let modules = sources(objects)?.into_iter();
    let mut ours = modules.filter(|source| source.name == MODULE);
    Ok(ours.next().map(|source| source.files).unwrap_or_default())
}

/// The plain files of a source folder.
fn files_of(dir: &Path) -> Result<Vec<(String, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_file() {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            files.push((name, path));
        }
    }
    files.sort();
    Ok(files)
}

/// Copies the sources into a clean folder.
fn stage(source: &Source, dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    for (name, path) in &source.files {
        fs::copy(path, dir.join(name)).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// What a build depends on.
fn fingerprint(source: &Source, release: &str) -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (release, source.variable).hash(&mut hasher);
    for (name, path) in &source.files {
        name.hash(&mut hasher);
        fs::read(path)
            .with_context(|| path.display().to_string())?
            .hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn build_one(kernel: Kernel, root: &KernelRoot, source: &Source, dir: &Path) -> Result<PathBuf> {
    let made = dir.join(format!("{}.ko", source.made));
    let stamp = dir.with_extension("stamp");
    let fingerprint = fingerprint(source, &root.release)?;
    if made.is_file() && fs::read_to_string(&stamp).is_ok_and(|text| text == fingerprint) {
        return Ok(made);
    }
    say(format!(
        "building {}.ko for {kernel} ({})",
        source.name, root.release
    ));
    stage(source, dir)?;

    // Sources go in and objects come out as tar streams: a root made without root
    // rights cannot write into our folders.
    let script = format!(
        "cd /tmp && tar xf - && \
         make -j2 -C /lib/modules/{}/build M=$PWD {} modules >&2 && tar cf - .",
        root.release, source.variable
    );
    let mut pack = Command::new("tar");
    pack.args(["--owner=0", "--group=0", "-cf", "-", "-C"])
        .arg(dir)
        .arg(".")
        .stdout(Stdio::piped());
    let mut pack = pack.spawn().context("cannot start tar")?;
    let sources = pack.stdout.take().context("tar's output")?;
    let built_tar = dir.with_extension("tar");
    let log = dir.with_extension("log");
    let mut make = root.root.command("sh");
    make.args(["-c", &script]).stdin(sources);
    make.stdout(fs::File::create(&built_tar)?)
        .stderr(fs::File::create(&log)?);
    let status = make
        .status()
        .with_context(|| format!("cannot start {}", describe(&make)))?;
    // It has the other end of the pipe: if the reader ended early, tar would wait for ever.
    drop(make);
    pack.wait().context("tar")?;
    let log_text = fs::read_to_string(&log).unwrap_or_default();
    if !status.success() {
        bail!(
            "{}.ko does not build for {kernel}:\n{log_text}",
            source.name
        );
    }
    output(
        Command::new("tar")
            .arg("--no-same-owner")
            .arg("-xf")
            .arg(&built_tar)
            .arg("-C")
            .arg(dir),
    )?;
    fs::remove_file(&built_tar).with_context(|| built_tar.display().to_string())?;
    check_warnings(&log_text, &format!("{}.ko for {kernel}", source.name))?;
    if !made.is_file() {
        bail!("kbuild made no {}:\n{log_text}", made.display());
    }
    fs::write(&stamp, fingerprint).with_context(|| stamp.display().to_string())?;
    Ok(made)
}

/// Fails when the compiler, objtool or modpost warned.
fn check_warnings(log: &str, what: &str) -> Result<()> {
    let warnings: Vec<&str> = log
        .lines()
        .filter(|line| {
            let line = line.to_lowercase();
            ["warning", "objtool", "modpost: error"]
                .iter()
                .any(|word| line.contains(word))
        })
        .filter(|line| !NO_WARNINGS.iter().any(|known| line.contains(known)))
        // The commands that kbuild itself announces: "  OBJTOOL tmem.o".
        .filter(|line| !line.trim_start().starts_with("OBJTOOL"))
        .collect();
    if warnings.is_empty() {
        return Ok(());
    }
    bail!(
        "warnings building {what} (each is an error):\n{}",
        warnings.join("\n")
    )
}

/// Builds with the headers and the compiler of this host; the module's path.
pub(super) fn build_for_running_kernel(objects: &Objects) -> Result<PathBuf> {
    let release = output(Command::new("uname").arg("-r"))?.trim().to_owned();
    let headers = PathBuf::from("/lib/modules").join(&release).join("build");
    if !headers.join("Makefile").exists() {
        bail!(
            "no headers of the running kernel in {}; on Debian and Ubuntu: \
             sudo apt-get install linux-headers-{release} (other systems: kernel-devel of {release})",
            headers.display()
        );
    }
    let source = sources(objects)?
        .into_iter()
        .next()
        .context("the module has sources")?;
    let dir = paths::output().join("running").join(&release);
    stage(&source, &dir)?;
    say(format!("building tmem.ko for the running kernel {release}"));
    let mut make = Command::new("make");
    make.arg("-C")
        .arg(&headers)
        .arg(format!("M={}", dir.display()))
        .arg("modules");
    let built = capture(&mut make)?;
    if !built.success {
        bail!(
            "tmem.ko does not build for {release}:\n{}{}",
            built.stdout,
            built.stderr
        );
    }
    check_warnings(
        &(built.stdout + &built.stderr),
        &format!("tmem.ko for {release}"),
    )?;
    Ok(dir.join("tmem.ko"))
}

#[cfg(test)]
mod tests {
    use super::check_warnings;

    #[test]
    fn warnings_of_each_kind_are_errors() {
        for line in [
            "tmem_core.o: warning: objtool: foo()+0x1: unreachable instruction",
            "WARNING: modpost: missing MODULE_DESCRIPTION()",
            "hooks.c:7:5: warning: unused variable",
        ] {
            assert!(
                check_warnings(&format!("  CC [M] a.o\n{line}\n"), "x").is_err(),
                "{line}"
            );
        }
    }

    #[test]
    fn known_remarks_are_none() {
        let log = "warning: the compiler differs from the one used to build the kernel\n\
                   Skipping BTF generation for /tmp/tmem.ko due to unavailability of vmlinux\n  LD [M] tmem.ko\n";
        assert!(check_warnings(log, "x").is_ok());
    }
}
