//! Reading files in every way, and comparing what comes with the model; done by the
//! workers between their operations and by readers that race with them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, Result, anyhow};

use super::World;
use super::cell::CELL;
use super::io::{Buffer, Mapping, Queue, Request, again_after_error, open, open_to_read};
use super::model::{Inode, Reach};
use crate::content::Rng;

/// Cells in a page.
pub(super) const PAGE_CELLS: usize = 4096 / CELL;

/// A way to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Buffered,
    Mapped,
    Direct,
    Async,
}

impl How {
    /// Mostly by the page cache.
    pub(super) fn choose(rng: &mut Rng) -> Self {
        match rng.below(10) {
            0..5 => Self::Buffered,
            5..8 => Self::Mapped,
            8 => Self::Direct,
            _ => Self::Async,
        }
    }
}

/// An open file.
pub(super) struct Handle {
    pub(super) buffered: File,
    pub(super) direct: File,
    pub(super) inode: Arc<Inode>,
}

impl Handle {
    /// To be called while the name cannot change.
    pub(super) fn open(path: &Path, inode: &Arc<Inode>, write: bool) -> Result<Self> {
        let open = if write { open } else { open_to_read };
        let name = || path.display().to_string();
        Ok(Self {
            buffered: open(path, false).with_context(name)?,
            direct: open(path, true).with_context(name)?,
            inode: Arc::clone(inode),
        })
    }

    /// Reads a range of cells and compares it.
    pub(super) fn check(
        &self,
        world: &World<'_>,
        queue: &Queue,
        range: Range<usize>,
        how: How,
    ) -> Result<()> {
        let align = match how {
            How::Buffered | How::Mapped => 1,
            How::Direct | How::Async => world.abilities.direct / CELL,
        };
        let first = range.start / align * align;
        let cells = (range.end - first).next_multiple_of(align);
        let (offset, mut asked) = (first * CELL, cells * CELL);
        let mut buffer = Buffer::new(asked);
        let mut collisions = 0;
        let (window, got) = loop {
            let window = self.inode.window();
            match self.read(queue, how, offset, &mut buffer) {
                Ok(got) => break (window, got),
                // A direct read that meets a block which a mapping has just dirtied fails so
                // ("Direct I/O collision with buffered writes!" in the log). It passes. On XFS one over the
                // end of the file does not if blocks were preallocated there: so the next ends with the file.
                Err(error)
                    if matches!(how, How::Direct | How::Async)
                        && error.raw_os_error() == Some(libc::EIO)
                        && collisions < 20 =>
                {
                    collisions += 1;
                    let end = (self.inode.size() * CELL).next_multiple_of(world.abilities.block);
                    asked = end.saturating_sub(offset).clamp(align * CELL, asked);
                    buffer = Buffer::new(asked);
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("{how:?} read of {asked} bytes at {offset}"));
                }
            }
        };
        let reach = match how {
            How::Mapped => Reach::ToPage,
            _ => Reach::ToEnd,
        };
        world.bytes.fetch_add(got as u64, Relaxed);
        window
            .check(
                offset,
                asked,
                &buffer[..got],
                reach,
                &format!("{how:?} read"),
            )
            .map_err(|report| anyhow!(report))
    }

    /// Reads at `offset` bytes; the number of bytes that came.
    fn read(
        &self,
        queue: &Queue,
        how: How,
        offset: usize,
        buffer: &mut Buffer,
    ) -> io::Result<usize> {
        match how {
            How::Buffered => read(&self.buffered, buffer, offset),
            How::Direct => again_after_error(|| read(&self.direct, buffer, offset)),
            How::Mapped => {
                let base = offset / 4096 * 4096;
                let length = offset - base + buffer.len();
                Mapping::new(&self.buffered, base, length, false)?.read(offset - base, buffer)
            }
            How::Async => {
                let mut requests = [Request { offset, buffer }];
                Ok(queue.run(&self.direct, false, &mut requests)?[0])
            }
        }
    }
}

/// One pread(2), again if a signal came.
fn read(file: &File, buffer: &mut Buffer, offset: usize) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, offset as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A reader that races with the workers.
pub(super) struct Reader<'a> {
    world: &'a World<'a>,
    rng: Rng,
    queue: Queue,
}

impl<'a> Reader<'a> {
    pub(super) fn new(world: &'a World<'a>, number: usize) -> Result<Self> {
        Ok(Self {
            world,
            rng: Rng::new(world.plan.seed ^ 0x5ead ^ ((number as u64) << 32)),
            queue: Queue::new().context("io_setup")?,
        })
    }

    fn open(&self, slot: usize) -> Result<Handle> {
        let named = self.world.slot(slot);
        Handle::open(&named.path, &named.inode, false)
    }

    /// Reads until everybody stops.
    pub(super) fn run(&mut self) -> Result<()> {
        let world = self.world;
        while !world.stopped() {
            world.wait_for(world.reads.load(Relaxed) / world.plan.reads);
            let _inside = world.enter();
            let slot = self.rng.below(world.slots.len());
            let handle = self.open(slot)?;
            for _ in 0..1 + self.rng.below(8) {
                if world.stopped() {
                    return Ok(());
                }
                let range = self.range();
                let how = How::choose(&mut self.rng);
                handle.check(world, &self.queue, range, how)?;
                world.reads.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    /// A page, a few, or a long piece.
    fn range(&mut self) -> Range<usize> {
        let capacity = self.world.plan.pages * PAGE_CELLS;
        let longest = match self.rng.below(8) {
            0..3 => PAGE_CELLS,
            3..7 => 8 * PAGE_CELLS,
            _ => 32 * PAGE_CELLS,
        };
        let first = self.rng.below(capacity);
        first..(first + 1 + self.rng.below(longest)).min(capacity)
    }

    /// Reads a whole file in order.
    pub(super) fn whole(&mut self, slot: usize) -> Result<()> {
        const STEP: usize = 16 * PAGE_CELLS;
        let _inside = self.world.enter();
        let handle = self.open(slot)?;
        let capacity = self.world.plan.pages * PAGE_CELLS;
        for first in (0..capacity).step_by(STEP) {
            let range = first..(first + STEP).min(capacity);
            handle.check(self.world, &self.queue, range, How::Buffered)?;
        }
        Ok(())
    }
}
