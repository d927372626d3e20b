//! The first and only root file system of a machine.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tmem_tests::protocol;

use super::cpio::Archive;
use super::modules::{self, Index};
use crate::build::{Modules, Programs};
use crate::paths;

/// Init, tool, busybox, our modules, and the kernel modules `wanted` with what they
/// depend on.
pub(crate) fn build(
    built: &Modules,
    programs: &Programs,
    wanted: &[&str],
    extra: &[(&str, PathBuf)],
) -> Result<Vec<u8>> {
    let mut archive = Archive::new();
    for directory in [
        "/proc", "/sys", "/dev", "/run", "/tmp", "/mnt", "/root", "/etc",
    ] {
        archive.directory(directory);
    }
    archive.character_device("/dev/console", 5, 1);
    archive.character_device("/dev/null", 1, 3);
    let read = |path: &std::path::Path| fs::read(path).with_context(|| path.display().to_string());
    archive.file("/init", 0o755, &read(&programs.guest)?);
    archive.file(protocol::CLI, 0o755, &read(&programs.tmem)?);
    let busybox = paths::find_command("busybox").context("busybox is missing")?;
    archive.file(protocol::BUSYBOX, 0o755, &read(&busybox)?);
    archive.symlink("/bin/sh", "busybox");
    archive.file(
        "/etc/passwd",
        0o644,
        b"root:x:0:0::/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    );
    archive.file("/etc/group", 0o644, b"root:x:0:\nnogroup:x:65534:\n");
    for (name, path) in &built.files {
        archive.file(&format!("/lib/tmem/{name}"), 0o644, &read(path)?);
    }
    for (inside, path) in extra {
        if let Some((directory, _)) = inside.rsplit_once('/') {
            archive.directory(directory);
        }
        archive.file(inside, 0o644, &read(path)?);
    }
    let tree = built.root.modules();
    let mut order = String::new();
    for path in Index::read(&tree)?.resolve(wanted)? {
        let name = path.rsplit('/').next().unwrap_or(&path);
        let name = name.strip_suffix(".xz").unwrap_or(name);
        let inside = format!("/lib/modules/{}/{name}", built.root.release);
        archive.file(&inside, 0o644, &modules::read(&tree.join(&path))?);
        order.push_str(&inside);
        order.push('\n');
    }
    archive.file(protocol::MODULES_FILE, 0o644, order.as_bytes());
    Ok(archive.finish())
}
