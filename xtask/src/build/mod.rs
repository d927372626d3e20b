//! What runs on the machines: the kernel object, the module per kernel, the static
//! programs. Everything is built only when its inputs changed.

pub(crate) mod module;
pub(crate) mod object;
mod programs;

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};
use tmem_tests::Kernel;

use crate::paths;
use crate::prepare::Nightly;

pub(crate) use module::Modules;
pub(crate) use programs::{Programs, counter};

/// Held while something is built, so that two runs of xtask do not mix their files.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Waits until nobody else builds.
    pub(crate) fn take() -> Result<Self> {
        let dir = paths::output();
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        let path = dir.join("lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        file.lock().with_context(|| path.display().to_string())?;
        Ok(Self { _file: file })
    }
}

/// Modules for `kernels` and the static programs.
pub(crate) fn all(nightly: &Nightly, kernels: &[Kernel]) -> Result<(Vec<Modules>, Programs)> {
    let _lock = Lock::take()?;
    let objects = object::build(nightly)?;
    let modules = kernels
        .iter()
        .map(|k| module::build(*k, &objects))
        .collect::<Result<Vec<_>>>()?;
    Ok((modules, programs::build(nightly)?))
}

/// The module for the running kernel, with its own headers; its path.
pub(crate) fn for_running_kernel(nightly: &Nightly) -> Result<PathBuf> {
    let _lock = Lock::take()?;
    let objects = object::build(nightly)?;
    module::build_for_running_kernel(&objects)
}

/// What the packages are made of: the module's sources with the engine as assembly
/// (name in the build folder, where it is), and the programs.
pub(crate) fn for_packages(nightly: &Nightly) -> Result<(Vec<(String, PathBuf)>, Programs)> {
    let _lock = Lock::take()?;
    let objects = object::build(nightly)?;
    Ok((
        module::sources_with_engine(&objects)?,
        programs::build(nightly)?,
    ))
}

/// The command-line tool, built as for the machines.
pub(crate) fn programs(nightly: &Nightly) -> Result<Programs> {
    let _lock = Lock::take()?;
    programs::build(nightly)
}
