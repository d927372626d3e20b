//! Writes a cpio archive in the "newc" format, the one that the kernel unpacks as
//! its first root file system (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const SYMLINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// An archive being written, in memory.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// An empty archive.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a directory and those above it; `path` is absolute.
    pub(crate) fn directory(&mut self, path: &str) {
        let path = path.trim_matches('/');
        let ends = path
            .match_indices('/')
            .map(|(at, _)| at)
            .chain([path.len()]);
        for end in ends {
            let directory = &path[..end];
            if !directory.is_empty() && self.directories.insert(directory.to_owned()) {
                self.entry(directory, DIRECTORY | 0o755, (0, 0), &[]);
            }
        }
    }

    /// Adds a file with `mode` (permission bits), and the directories above it.
    pub(crate) fn file(&mut self, path: &str, mode: u32, data: &[u8]) {
        self.parents(path);
        self.entry(path.trim_matches('/'), FILE | mode, (0, 0), data);
    }

    /// Adds a symbolic link, and the directories above it.
    pub(crate) fn symlink(&mut self, path: &str, to: &str) {
        self.parents(path);
        self.entry(
            path.trim_matches('/'),
            SYMLINK | 0o777,
            (0, 0),
            to.as_bytes(),
        );
    }

    /// Adds a character device, and the directories above it.
    pub(crate) fn character_device(&mut self, path: &str, major: u32, minor: u32) {
        self.parents(path);
        self.entry(
            path.trim_matches('/'),
            CHARACTER_DEVICE | 0o600,
            (major, minor),
            &[],
        );
    }

    /// The whole archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), data: &[u8]) {
        self.entries += 1;
        let links = if mode & DIRECTORY != 0 { 2 } else { 1 };
        let name_size = name.len() + 1;
        // Inode, mode, uid, gid, links, mtime, size, device of the file system (two),
        // device (two), name size, checksum: each 8 hexadecimal digits.
        let fields = [
            self.entries,
            mode,
            0,
            0,
            links,
            0,
            u32::try_from(data.len()).unwrap_or(u32::MAX),
            0,
            0,
            device.0,
            device.1,
            u32::try_from(name_size).unwrap_or(u32::MAX),
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name, mode and data of each entry.
    fn read(mut bytes: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut entries = Vec::new();
        let mut at = 0;
        let whole = bytes;
        while bytes.len() >= 110 {
            assert_eq!(&bytes[..6], b"070701");
            let field = |i: usize| {
                let digits = std::str::from_utf8(&bytes[6 + i * 8..14 + i * 8]).unwrap();
                u32::from_str_radix(digits, 16).unwrap()
            };
            let (mode, size, name_size) = (field(1), field(6) as usize, field(11) as usize);
            let name = String::from_utf8(bytes[110..110 + name_size - 1].to_vec()).unwrap();
            let data = (at + 110 + name_size).next_multiple_of(4);
            entries.push((name, mode, whole[data..data + size].to_vec()));
            at = (data + size).next_multiple_of(4);
            bytes = &whole[at..];
        }
        assert!(bytes.is_empty());
        entries
    }

    #[test]
    fn entries_are_aligned_and_end_with_the_trailer() {
        let mut archive = Archive::new();
        archive.file("/a/b/file", 0o644, b"12345");
        archive.file("/a/b/other", 0o755, b"");
        archive.symlink("/bin/sh", "busybox");
        let entries = read(&archive.finish());
        let names: Vec<&str> = entries.iter().map(|e| e.0.as_str()).collect();
        assert_eq!(
            names,
            [
                "a",
                "a/b",
                "a/b/file",
                "a/b/other",
                "bin",
                "bin/sh",
                "TRAILER!!!"
            ]
        );
        assert_eq!(entries[2].2, b"12345");
        assert_eq!(entries[2].1, 0o100_644);
        assert_eq!(entries[5].2, b"busybox");
        assert_eq!(entries[0].1, 0o040_755);
    }

    #[test]
    fn a_directory_is_there_once() {
        let mut archive = Archive::new();
        archive.directory("/a/b");
        archive.directory("/a/b/");
        archive.directory("/a");
        assert_eq!(read(&archive.finish()).len(), 3);
    }
}
