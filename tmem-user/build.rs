//! Builds the eBPF programs with the nightly toolchain (`TMEM_NIGHTLY` names
//! another than `nightly`) and leaves the object in `OUT_DIR` for inclusion.

use std::env;
use std::path::PathBuf;

use anyhow::Context as _;
use aya_build::{Package, Toolchain, build_ebpf};

fn main() -> anyhow::Result<()> {
    println!("cargo:rerun-if-env-changed=TMEM_NIGHTLY");
    let toolchain = env::var("TMEM_NIGHTLY").unwrap_or_else(|_| "nightly".to_owned());
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR").context("cargo sets this")?);
    let workspace = here.parent().context("the crate is in a workspace")?;
    let common = workspace.join("tmem-common");
    println!("cargo:rerun-if-changed={}", common.display());

    let programs = workspace.join("tmem-ebpf");
    let root_dir = programs.to_str().context("the path is UTF-8")?;
    // The programs are not of this workspace: cargo must start in their folder.
    env::set_current_dir(&programs).with_context(|| format!("cannot enter {root_dir}"))?;
    build_ebpf(
        [Package {
            name: "tmem-ebpf",
            root_dir,
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
    .with_context(|| {
        format!(
            "the eBPF programs need toolchain {toolchain:?} with rust-src, and bpf-linker in PATH"
        )
    })
}
