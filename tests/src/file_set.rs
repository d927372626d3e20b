//! Files that are read again and again: what they are called, how long they are and what
//! stands in them. The guest writes them, or the host does where a file system cannot be
//! written.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tmem_common::PAGE_SIZE;

use crate::content::{self, Page};

/// Files of the set.
pub const FILES: usize = 4;
/// Pages of each: 12 MiB.
pub const FILE_PAGES: usize = 3072;
/// Seed of the sets that the host writes.
pub const HOST_SEED: u64 = 1;

/// The path of a file of the set in `folder`.
#[must_use]
pub fn path(folder: &Path, file: usize) -> PathBuf {
    folder.join(format!("set{file}"))
}

/// Fills `page` with what stands in page `index` of a file.
pub fn page(page: &mut Page, seed: u64, file: usize, index: usize) {
    content::fill(page, seed, file << 20 | index, 1);
}

/// Writes the set to `folder`, and each file to its disk.
///
/// # Errors
/// What the system says.
pub fn write(folder: &Path, seed: u64) -> io::Result<()> {
    let mut buffer = [0; PAGE_SIZE];
    for file in 0..FILES {
        let mut out = io::BufWriter::new(File::create(path(folder, file))?);
        for index in 0..FILE_PAGES {
            page(&mut buffer, seed, file, index);
            out.write_all(&buffer)?;
        }
        out.into_inner()?.sync_all()?;
    }
    Ok(())
}
