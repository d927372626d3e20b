//! Where things lie: the workspace, what is built, and the cache of downloads
//! that outlives `cargo clean`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tmem_tests::Kernel;

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// The target directory of the workspace.
pub(crate) fn target() -> PathBuf {
    workspace().join("target")
}

/// What xtask itself makes: modules per kernel, consoles, images.
pub(crate) fn output() -> PathBuf {
    target().join("tmem")
}

/// What is built for one kernel.
pub(crate) fn kernel_output(kernel: Kernel) -> PathBuf {
    output().join(kernel.name())
}

/// Downloads: `$TMEM_CACHE`, else `$XDG_CACHE_HOME/tmem`, else `~/.cache/tmem`.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(dir) = env::var_os("TMEM_CACHE").filter(|d| !d.is_empty()) {
        return std::path::absolute(dir).context("TMEM_CACHE");
    }
    if let Some(dir) = env::var_os("XDG_CACHE_HOME").filter(|d| !d.is_empty()) {
        return Ok(PathBuf::from(dir).join("tmem"));
    }
    let home = env::var_os("HOME").context("neither TMEM_CACHE nor HOME is set")?;
    Ok(PathBuf::from(home).join(".cache/tmem"))
}

/// Tools that cargo installed for us.
pub(crate) fn tools() -> Result<PathBuf> {
    Ok(cache()?.join("tools"))
}

/// The path of a command in `PATH`, or where administrators keep theirs.
pub(crate) fn find_command(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
