//! Pages of files as the page cache holds them: shared libraries and executables,
//! sources and documents, and what programs wrote.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{PAGE, Page, evenly};

/// At most this many pages of one corpus.
const PAGES: usize = 16384;
/// At most this many pages of one file, so that no library outweighs the others.
const PAGES_PER_FILE: usize = 512;
/// At most this many files are looked at.
const FILES: usize = 20_000;

/// Every second file of a kind.
#[derive(Clone, Copy)]
pub(super) struct Half {
    /// Sources and documents, else libraries and executables.
    pub(super) text: bool,
    /// The files with odd numbers in the order of names, else those with even ones.
    pub(super) odd: bool,
}

const BINARIES: [&str; 4] = [
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/bin",
];
const TEXTS: [&str; 4] = [
    "/usr/include",
    "/usr/lib/python3",
    "/usr/share/perl",
    "/usr/share/doc",
];

/// The pages of one half, at even distances in each file and over all files.
pub(super) fn read(half: Half) -> Result<Vec<Page>> {
    let mut names = Vec::new();
    if half.text {
        for dir in TEXTS {
            collect(Path::new(dir), 8, &mut names);
        }
    } else {
        for dir in BINARIES {
            collect(Path::new(dir), 1, &mut names);
        }
    }
    let mut pages = Vec::new();
    let parity = usize::from(half.odd);
    for name in names.iter().skip(parity).step_by(2) {
        let bytes = fs::read(name).with_context(|| name.display().to_string())?;
        if bytes.len() >= PAGE && is_text(&bytes) == half.text {
            pages.extend(evenly(&pages_of(&bytes), PAGES_PER_FILE));
        }
    }
    Ok(evenly(&pages, PAGES).collect())
}

/// The pages of all files below a folder that a program wrote, in the order of their names.
pub(super) fn below(dir: &Path) -> Result<Vec<Page>> {
    let mut names: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| dir.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    names.sort();
    let mut pages = Vec::new();
    for name in names {
        if name.is_dir() {
            pages.extend(below(&name)?);
        } else {
            let bytes = fs::read(&name).with_context(|| name.display().to_string())?;
            pages.extend(pages_of(&bytes));
        }
    }
    Ok(pages)
}

/// Regular files of at least a page below `dir`, in the order of their names.
fn collect(dir: &Path, depth: usize, names: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    let mut entries: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    entries.sort();
    for path in entries {
        if names.len() >= FILES {
            return;
        }
        let Ok(kind) = fs::symlink_metadata(&path) else {
            continue;
        };
        if kind.is_dir() && depth > 1 {
            collect(&path, depth - 1, names);
        } else if kind.is_file() && kind.len() >= PAGE as u64 && is_candidate(&path) {
            names.push(path);
        }
    }
}

/// Programs start with the ELF magic; packed documents are of neither kind.
fn is_candidate(path: &Path) -> bool {
    let mut magic = [0; 4];
    let readable = fs::File::open(path)
        .and_then(|mut f| f.read_exact(&mut magic))
        .is_ok();
    let elf = magic == *b"\x7fELF";
    let text = magic
        .iter()
        .all(|b| matches!(b, b'\t' | b'\n' | b'\r' | b' '..=b'~'));
    readable && (elf || text)
}

fn is_text(bytes: &[u8]) -> bool {
    let start = &bytes[..PAGE];
    !start.contains(&0) && start.is_ascii()
}

/// All pages, the last one filled with zeros.
fn pages_of(bytes: &[u8]) -> Vec<Page> {
    let (whole, rest) = bytes.as_chunks::<PAGE>();
    let mut pages = whole.to_vec();
    if !rest.is_empty() {
        let mut last = [0; PAGE];
        last[..rest.len()].copy_from_slice(rest);
        pages.push(last);
    }
    pages
}
