//! The nightly toolchain with `rust-src` (for `-Z build-std`), Miri and bpf-linker.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{Needs, roots};
use crate::paths;
use crate::process::{capture, cargo, cargo_nightly, output, run, say};

/// The nightly that is installed when there is none. `TMEM_NIGHTLY` names another.
const PINNED_NIGHTLY: &str = "nightly-2026-05-20";

/// bpf-linker's default features load the LLVM of rustc 1.95 and the nightly above;
/// newer ones want a newer LLVM.
const BPF_LINKER: &str = "0.10.3";

/// The nightly toolchain to use.
#[derive(Clone, Debug, Default)]
pub(crate) struct Nightly {
    /// Its name for `rustup run`.
    pub(crate) toolchain: String,
    /// Where it is.
    pub(crate) sysroot: PathBuf,
    /// `library` of a foreign rust-src, where the toolchain has none of its own.
    pub(crate) library: Option<PathBuf>,
}

impl Nightly {
    /// Its cargo, ready for `-Z build-std`.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let mut command = cargo_nightly(&self.toolchain)?;
        if let Some(library) = &self.library {
            command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
        }
        Ok(command)
    }

    /// Gives a stable cargo what build scripts need that start this toolchain.
    pub(crate) fn lend_to<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        if let Some(library) = &self.library {
            command.env("__CARGO_TESTS_ONLY_SRC_ROOT", library);
        }
        command.env("TMEM_NIGHTLY", &self.toolchain)
    }
}

/// Finds or installs the nightly toolchain and its parts.
pub(super) fn nightly(needs: &Needs) -> Result<Nightly> {
    if !needs.programs && !needs.miri {
        return Ok(Nightly::default());
    }
    if paths::find_command("rustup").is_none() {
        bail!(
            "rustup is missing: the kernel object and the eBPF programs are built with a \
             nightly toolchain beside the stable one; see https://rustup.rs"
        );
    }
    let installed = output(Command::new("rustup").args(["toolchain", "list"]))?;
    let is_installed = |name: &str| {
        installed.lines().any(|line| {
            line.strip_prefix(name)
                .is_some_and(|rest| rest.starts_with("-x86_64"))
        })
    };
    let toolchain = match env::var("TMEM_NIGHTLY") {
        Ok(name) if !name.is_empty() => name,
        _ if is_installed("nightly") => "nightly".to_owned(),
        _ => PINNED_NIGHTLY.to_owned(),
    };
    if !is_installed(&toolchain) {
        say(format!("installing the toolchain {toolchain}"));
        run(Command::new("rustup").args([
            "toolchain",
            "install",
            &toolchain,
            "--profile",
            "minimal",
        ]))
        .with_context(|| format!("no toolchain {toolchain}; TMEM_NIGHTLY names another"))?;
    }
    let sysroot =
        output(Command::new("rustup").args(["run", &toolchain, "rustc", "--print", "sysroot"]))?;
    let sysroot = PathBuf::from(sysroot.trim());
    let mut library = None;
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        say(format!("installing rust-src for {toolchain}"));
        let add = ["component", "add", "rust-src", "--toolchain", &toolchain];
        if run(Command::new("rustup").args(add)).is_err() {
            library = Some(debian_rust_src(&toolchain)?);
        }
    }
    if needs.miri && !sysroot.join("bin/cargo-miri").is_file() {
        say(format!("installing Miri for {toolchain}"));
        run(Command::new("rustup").args(["component", "add", "miri", "--toolchain", &toolchain]))?;
    }
    Ok(Nightly {
        toolchain,
        sysroot,
        library,
    })
}

/// Debian's `rust-src` of the same major.minor, for hosts that cannot reach rustup's
/// server but a Debian mirror.
fn debian_rust_src(toolchain: &str) -> Result<PathBuf> {
    let version = output(Command::new("rustup").args(["run", toolchain, "rustc", "--version"]))?;
    let wanted = version
        .split_whitespace()
        .nth(1)
        .and_then(|v| v.rsplit_once('.'))
        .map(|(major_minor, _)| major_minor.to_owned())
        .with_context(|| format!("odd version of {toolchain}: {version}"))?;
    say(format!(
        "rustup has no rust-src here: trying Debian's rust-src {wanted}"
    ));
    roots::rust_src(&wanted).with_context(|| {
        format!(
            "-Z build-std needs the sources of {toolchain}: \
             `rustup component add rust-src --toolchain {toolchain}` failed, and so did Debian's package"
        )
    })
}

/// Installs bpf-linker of the right version, if none is there.
pub(super) fn bpf_linker() -> Result<()> {
    let has = |program: PathBuf| {
        capture(Command::new(program).arg("--version"))
            .is_ok_and(|o| o.stdout.split_whitespace().any(|word| word == BPF_LINKER))
    };
    let tools = paths::tools()?;
    if has(tools.join("bin/bpf-linker")) || paths::find_command("bpf-linker").is_some_and(has) {
        return Ok(());
    }
    say(format!("building bpf-linker {BPF_LINKER} (a few minutes)"));
    let install = [
        "install",
        "--locked",
        "--version",
        BPF_LINKER,
        "bpf-linker",
        "--root",
    ];
    run(cargo()?.args(install).arg(tools)).context("bpf-linker links the eBPF programs")
}
