//! Resolves kernel modules by name: the modules a machine wants, after those they
//! depend on, uncompressed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::describe;

/// What `modules.dep` and `modules.builtin` of one kernel say.
#[derive(Debug)]
pub(crate) struct Index {
    /// Name -> path below `/lib/modules/<release>`.
    paths: BTreeMap<String, String>,
    /// Path -> paths of what it needs, as depmod writes them: nearest first.
    needs: BTreeMap<String, Vec<String>>,
    built_in: BTreeSet<String>,
}

impl Index {
    /// Reads the index of a `/lib/modules/<release>`.
    pub(crate) fn read(modules: &Path) -> Result<Self> {
        let text = |name: &str| {
            let path = modules.join(name);
            fs::read_to_string(&path).with_context(|| path.display().to_string())
        };
        Ok(Self::parse(
            &text("modules.dep")?,
            &text("modules.builtin")?,
        ))
    }

    fn parse(dep: &str, builtin: &str) -> Self {
        let mut index = Self {
            paths: BTreeMap::new(),
            needs: BTreeMap::new(),
            built_in: builtin.lines().map(module_name).collect(),
        };
        for line in dep.lines() {
            let Some((path, needs)) = line.split_once(':') else {
                continue;
            };
            index.paths.insert(module_name(path), path.to_owned());
            index.needs.insert(
                path.to_owned(),
                needs.split_whitespace().map(String::from).collect(),
            );
        }
        index
    }

    /// Paths of the modules in the order in which to insert them. Built-in ones need
    /// no file; of names that end in `?` those that this kernel lacks are left out.
    pub(crate) fn resolve(&self, wanted: &[&str]) -> Result<Vec<String>> {
        let mut order: Vec<String> = Vec::new();
        for wanted in wanted {
            let name = module_name(wanted.trim_end_matches('?'));
            if self.built_in.contains(&name) {
                continue;
            }
            let Some(path) = self.paths.get(&name) else {
                if wanted.ends_with('?') {
                    continue;
                }
                bail!("this kernel has no module {name}")
            };
            let needs = self.needs.get(path).map_or(&[][..], Vec::as_slice);
            for file in needs.iter().rev().chain([path]) {
                if !order.contains(file) {
                    order.push(file.clone());
                }
            }
        }
        Ok(order)
    }
}

/// `kernel/lib/lz4/lz4-compress.ko.xz` -> `lz4_compress`.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// The contents of a module file, uncompressed.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|e| e == "ko") {
        return fs::read(path).with_context(|| path.display().to_string());
    }
    let mut xz = Command::new("xz");
    xz.arg("-dc").arg(path);
    let output = xz
        .output()
        .with_context(|| format!("cannot start {}", describe(&xz)))?;
    if !output.status.success() {
        bail!(
            "`{}` failed: {}",
            describe(&xz),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::Index;

    const DEP: &str = "kernel/a/virtio_blk.ko.xz: kernel/a/virtio_ring.ko.xz kernel/a/virtio.ko.xz\n\
                       kernel/a/virtio.ko.xz:\n\
                       kernel/a/virtio_ring.ko.xz: kernel/a/virtio.ko.xz\n\
                       kernel/b/lzo-rle.ko.xz:\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let index = Index::parse(DEP, "kernel/c/zsmalloc.ko\n");
        let order = index
            .resolve(&["virtio_blk", "virtio_ring", "zsmalloc", "lzo_rle"])
            .unwrap();
        assert_eq!(
            order,
            [
                "kernel/a/virtio.ko.xz",
                "kernel/a/virtio_ring.ko.xz",
                "kernel/a/virtio_blk.ko.xz",
                "kernel/b/lzo-rle.ko.xz"
            ]
        );
    }

    #[test]
    fn an_unknown_module_is_named_unless_it_may_be_missing() {
        let index = Index::parse(DEP, "");
        let error = index.resolve(&["nonesuch"]).unwrap_err();
        assert!(error.to_string().contains("nonesuch"));
        let order = index.resolve(&["nonesuch?", "lzo_rle?"]).unwrap();
        assert_eq!(order, ["kernel/b/lzo-rle.ko.xz"]);
    }
}
