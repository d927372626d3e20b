//! A made-up copy of the module's sysfs directory, and the tool run on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use tmem_common::op::Outcome;
use tmem_common::sysfs;
use tmem_user::mountinfo::mounted_at;

/// A directory like the module's with one pool named `swap`. It takes every
/// value, as a file does.
pub(crate) struct FakeSysfs {
    directory: TempDir,
}

impl FakeSysfs {
    pub(crate) fn new() -> Self {
        let fake = Self {
            directory: tempfile::tempdir().expect("a temporary directory"),
        };
        for (name, value) in [
            (sysfs::ABI, "1"),
            (sysfs::ENABLED, "1"),
            (sysfs::LIMIT, "20%"),
            (sysfs::LIMIT_BYTES, "104857600"),
            (sysfs::CODEC, "lz4"),
            (sysfs::CODECS, "none lz4 zstd"),
            (sysfs::KEEP_INCOMPRESSIBLE, "1"),
            (sysfs::OVERHANG_BYTES, "0"),
            (sysfs::USED_BYTES, "1048576"),
        ] {
            fake.write(name, value);
        }
        fake.write_stats(sysfs::STATS);
        fake.add_pool(0, "73776170000000000000000000000000", "persistent");
        fake
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root().join(name)
    }

    pub(crate) fn read(&self, name: &str) -> String {
        let text = fs::read_to_string(self.path(name)).expect("the file is there");
        text.trim_end().to_owned()
    }

    pub(crate) fn write(&self, name: &str, value: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("below the root")).expect("directories");
        fs::write(path, format!("{value}\n")).expect("a file");
    }

    /// Writes a file so that a reader who is at it finds the old value or the new one.
    pub(crate) fn replace(&self, name: &str, value: &str) {
        let temporary = self.path("temporary");
        fs::write(&temporary, format!("{value}\n")).expect("a file");
        fs::rename(temporary, self.path(name)).expect("the same directory tree");
    }

    pub(crate) fn add_pool(&self, id: u32, uuid: &str, kind: &str) {
        for (name, value) in [
            (sysfs::POOL_UUID, uuid),
            (sysfs::POOL_KIND, kind),
            (sysfs::POOL_VERSION, "1"),
            (sysfs::POOL_CODEC, sysfs::POOL_CODEC_DEFAULT),
            (sysfs::POOL_LIMIT, sysfs::POOL_LIMIT_NONE),
            (sysfs::POOL_WEIGHT, "100"),
            (sysfs::POOL_FROZEN, "0"),
        ] {
            self.write(&format!("pools/{id}/{name}"), value);
        }
        self.write_stats(&format!("pools/{id}/stats"));
    }

    /// A file side where one file system takes part.
    pub(crate) fn add_mounts(&self) {
        for (name, value) in [
            (sysfs::MOUNTS_ADD, ""),
            (sysfs::MOUNTS_REMOVE, ""),
            (sysfs::MOUNTS_LIST, r"253:1 ext4 3 /srv/a\040b"),
            (sysfs::MOUNTS_LAST_REFUSAL, ""),
            (sysfs::MOUNTS_MISMATCHES, "0"),
        ] {
            self.write(&format!("{}/{name}", sysfs::MOUNTS), value);
        }
    }

    /// The same, and what is mounted at `path` takes part: its pages are kept in pool 3.
    pub(crate) fn add_mounts_with(&self, path: &str) {
        self.add_mounts();
        let device = mounted_at(Path::new(path)).expect("mounted").device;
        self.write("mounts/list", &format!("{device} ext4 3 {path}"));
        self.add_pool(3, "66696c65203235333a31000000000000", "ephemeral");
        for (name, value) in [
            ("policy", "lru"),
            ("admission", "always"),
            ("max_ratio", "100"),
            ("ttl", "0"),
        ] {
            self.write(&format!("pools/3/{name}"), value);
        }
    }

    /// 1000 pages of which 100 are same-filled, three times as large as their data.
    fn write_stats(&self, directory: &str) {
        let data_bytes = 900 * 4096 / 3;
        for (name, value) in sysfs::STATS_FIELDS.into_iter().zip([
            1000,
            100,
            10,
            data_bytes,
            data_bytes + 4096,
            64_000,
            5,
            7,
        ]) {
            self.write(&format!("{directory}/{name}"), &value.to_string());
        }
        for (number, outcome) in Outcome::ALL.iter().enumerate() {
            let value = (number + 1).to_string();
            self.write(&format!("{directory}/{}", outcome.name()), &value);
        }
    }

    /// Runs `tmem --sysfs HERE ARGUMENTS`.
    pub(crate) fn tmem(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_tmem"))
            .arg("--sysfs")
            .arg(self.root())
            .args(arguments)
            .output()
            .expect("the tool starts")
    }
}
