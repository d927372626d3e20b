//! The engine as one assembly file, the same for all kernels; and a second one
//! with deliberate faults, for the negative controls.

use std::env;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::prepare::Nightly;
use crate::process::{capture, describe};

/// Paths of the assembly files.
#[derive(Clone, Debug)]
pub(crate) struct Objects {
    /// The engine.
    pub(crate) engine: PathBuf,
    /// The engine that gives wrong pages back.
    pub(crate) broken: PathBuf,
}

/// What the kernels' own objects are built with: no SSE, return thunks, ENDBR where
/// functions are called by pointer, frame pointers, nothing that moves at run time.
const FLAGS: &[&str] = &[
    "-Zcf-protection=branch",
    "-Zfunction-return=thunk-extern",
    "-Zindirect-branch-cs-prefix=yes",
    "-Cjump-tables=no",
    "-Cforce-unwind-tables=no",
    "-Crelocation-model=static",
    "-Zfunction-sections=no",
    "-Csymbol-mangling-version=v0",
    "-Cforce-frame-pointers=yes",
];

/// Builds both.
pub(crate) fn build(nightly: &Nightly) -> Result<Objects> {
    Ok(Objects {
        engine: one(nightly, "tmem_core", &[])?,
        broken: one(nightly, "tmem_core_broken", &["broken-for-control"])?,
    })
}

fn one(nightly: &Nightly, name: &str, features: &[&str]) -> Result<PathBuf> {
    let source = paths::workspace().join("tmem-kmod/kernel-object");
    let dir = paths::output().join("object");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let made = dir.join(format!("{name}.S"));
    let mut flags: Vec<String> = FLAGS.iter().map(|f| (*f).to_owned()).collect();
    // Paths in panic messages: the same wherever the tree lies.
    let home = PathBuf::from(env::var_os("HOME").unwrap_or_default());
    let cargo_home = env::var_os("CARGO_HOME").map_or(home.join(".cargo"), PathBuf::from);
    for (path, name) in [
        (paths::workspace(), "."),
        (cargo_home, "cargo"),
        (nightly.sysroot.clone(), "rust"),
    ] {
        flags.push(format!("--remap-path-prefix={}={name}", path.display()));
    }
    let mut cargo = nightly.cargo()?;
    cargo.args([
        "rustc",
        "--quiet",
        "--release",
        "--lib",
        "-Z",
        "build-std=core",
        "-Z",
        "json-target-spec",
    ]);
    cargo.arg("--manifest-path").arg(source.join("Cargo.toml"));
    cargo
        .arg("--target")
        .arg(source.join("x86_64-tmem-kernel.json"));
    cargo
        .arg("--target-dir")
        .arg(dir.join(format!("{name}.target")));
    if !features.is_empty() {
        cargo.arg("--features").arg(features.join(","));
    }
    cargo
        .arg("--")
        .arg(format!("--emit=asm={}", made.display()));
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let output = capture(&mut cargo)?;
    if !output.success || !made.is_file() {
        bail!(
            "`{}` failed:\n{}{}",
            describe(&cargo),
            output.stdout,
            output.stderr
        );
    }
    Ok(made)
}
