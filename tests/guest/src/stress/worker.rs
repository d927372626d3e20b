//! A worker: does one random operation after another to its own files, tells the model
//! before and after, and often reads at once what it did.

use std::fs::{self, File, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::{Context as _, Result};

use super::cell::{CELL, Tag};
use super::io::{self, Buffer, Mapping, Queue, Request};
use super::model::Inode;
use super::place::Defragment;
use super::reading::{Handle, How, PAGE_CELLS};
use super::{Spoil, World};
use crate::content::Rng;

/// What can be done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Write,
    WriteMapped,
    WriteDirect,
    WriteAsync,
    Read,
    Truncate,
    Punch,
    Zero,
    Allocate,
    Collapse,
    Insert,
    Copy,
    Clone,
    Exchange,
    Defragment,
    Rename,
    Replace,
    Recreate,
    Sync,
    Drop,
}

/// How often each is done, in parts of their sum.
const WEIGHTS: &[(Operation, usize)] = &[
    (Operation::Write, 14),
    (Operation::WriteMapped, 10),
    (Operation::WriteDirect, 10),
    (Operation::WriteAsync, 5),
    (Operation::Read, 30),
    (Operation::Truncate, 6),
    (Operation::Punch, 5),
    (Operation::Zero, 4),
    (Operation::Allocate, 1),
    (Operation::Collapse, 4),
    (Operation::Insert, 4),
    (Operation::Copy, 5),
    (Operation::Clone, 5),
    (Operation::Exchange, 3),
    (Operation::Defragment, 3),
    (Operation::Rename, 2),
    (Operation::Replace, 2),
    (Operation::Recreate, 2),
    (Operation::Sync, 4),
    (Operation::Drop, 2),
];

/// One of the threads that change files.
pub(super) struct Worker<'a> {
    world: &'a World<'a>,
    number: usize,
    rng: Rng,
    queue: Queue,
    /// Writes so far.
    writes: u64,
    /// New names so far.
    names: u64,
    operations: Vec<(Operation, usize)>,
}

impl<'a> Worker<'a> {
    pub(super) fn new(world: &'a World<'a>, number: usize) -> Result<Self> {
        let can = world.abilities;
        let operations = WEIGHTS
            .iter()
            .copied()
            .filter(|(operation, _)| match operation {
                Operation::Collapse | Operation::Insert => can.shift,
                Operation::Zero => can.zero,
                Operation::Allocate => can.allocate,
                Operation::Clone => can.clone,
                Operation::Exchange => can.exchange,
                Operation::Defragment => can.defragment != Defragment::Never,
                _ => true,
            })
            .collect();
        Ok(Self {
            world,
            number,
            rng: Rng::new(world.plan.seed ^ 0x30_4b ^ ((number as u64) << 32)),
            queue: Queue::new().context("io_setup")?,
            writes: 0,
            names: 0,
            operations,
        })
    }

    /// Does this worker's share of the operations.
    pub(super) fn run(&mut self) -> Result<()> {
        let share = self.world.plan.operations / self.world.plan.workers as u64;
        for done in 0..share {
            if self.world.stopped() {
                return Ok(());
            }
            if self.number == 0 && done == share / 2 {
                self.spoil()?;
            }
            let slot = self.any_slot();
            let operation = self.choose();
            self.one(slot, operation)
                .with_context(|| format!("{operation:?} on {}", self.named(slot)))?;
            self.world.operations.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    fn named(&self, slot: usize) -> String {
        self.world.slot(slot).path.display().to_string()
    }

    fn any_slot(&mut self) -> usize {
        self.number * self.world.plan.files + self.rng.below(self.world.plan.files)
    }

    fn choose(&mut self) -> Operation {
        let sum = self.operations.iter().map(|(_, weight)| weight).sum();
        let mut left = self.rng.below(sum);
        for (operation, weight) in &self.operations {
            match left.checked_sub(*weight) {
                Some(rest) => left = rest,
                None => return *operation,
            }
        }
        Operation::Read
    }

    fn capacity(&self) -> usize {
        self.world.plan.pages * PAGE_CELLS
    }

    /// A range of cells below `end`; mostly a few pages, aligned to pages half of the time.
    fn range(&mut self, end: usize) -> Range<usize> {
        let longest = match self.rng.below(8) {
            0..2 => 8,
            2..7 => 6 * PAGE_CELLS,
            _ => 24 * PAGE_CELLS,
        };
        let align = if self.rng.below(2) == 0 {
            PAGE_CELLS
        } else {
            1
        };
        self.aligned_range(end, align, longest)
    }

    /// A range of cells below `end`, aligned; not empty if one unit fits.
    fn aligned_range(&mut self, end: usize, align: usize, longest: usize) -> Range<usize> {
        let units = end / align;
        if units == 0 {
            return 0..0;
        }
        let first = self.rng.below(units);
        let most = (longest / align).clamp(1, units - first);
        let length = 1 + self.rng.below(most);
        first * align..(first + length) * align
    }

    /// Tags of a new write.
    fn tags(&mut self, cells: usize) -> Vec<Tag> {
        self.writes += 1;
        (0..cells)
            .map(|place| Tag::new(self.number, self.writes, place))
            .collect()
    }

    fn open(&self, slot: usize) -> Result<Handle> {
        let named = self.world.slot(slot);
        Handle::open(&named.path, &named.inode, true)
    }

    /// One operation, and half of the time a look at what it did.
    fn one(&mut self, slot: usize, operation: Operation) -> Result<()> {
        let _inside = self.world.enter();
        let touched = match operation {
            Operation::Rename | Operation::Replace | Operation::Recreate => {
                self.change_names(slot, operation)?
            }
            _ => {
                let file = self.open(slot)?;
                self.change(slot, &file, operation)?
            }
        };
        if operation != Operation::Read && self.rng.below(2) == 0 {
            return Ok(());
        }
        // A little more than what was touched, so that its borders are seen.
        let before = self.rng.below(PAGE_CELLS);
        let after = self.rng.below(PAGE_CELLS);
        let first = touched
            .start
            .saturating_sub(before)
            .min(self.capacity() - 1);
        let range = first..(touched.end + after).clamp(first + 1, self.capacity());
        let how = How::choose(&mut self.rng);
        let file = self.open(slot)?;
        file.check(self.world, &self.queue, range, how)
    }

    /// An operation on the content of an open file; the cells that it touched.
    fn change(&mut self, slot: usize, file: &Handle, operation: Operation) -> Result<Range<usize>> {
        match operation {
            Operation::Write => self.write(file),
            Operation::WriteMapped => self.write_mapped(file),
            Operation::WriteDirect => self.write_direct(file),
            Operation::WriteAsync => self.write_async(file),
            Operation::Truncate => self.truncate(file),
            Operation::Punch => self.punch(file),
            Operation::Zero => self.zero(file),
            Operation::Allocate => self.allocate(file),
            Operation::Collapse => self.collapse(file),
            Operation::Insert => self.insert(file),
            Operation::Copy => self.copy(slot, file, false),
            Operation::Clone => self.copy(slot, file, true),
            Operation::Exchange => self.exchange(slot, file),
            Operation::Defragment => self.defragment(slot, file),
            Operation::Sync => {
                io::again_after_error(|| file.buffered.sync_data())?;
                Ok(0..0)
            }
            Operation::Drop => {
                let range = self.range(self.capacity());
                io::again_after_error(|| file.buffered.sync_data())?;
                io::drop_pages(&file.buffered, range.start * CELL, range.len() * CELL)?;
                file.inode.note("fadvise(DONTNEED)".into(), range.clone());
                Ok(range)
            }
            // What is read is up to `one`.
            Operation::Read => Ok(self.range(self.capacity())),
            Operation::Rename | Operation::Replace | Operation::Recreate => {
                self.change_names(slot, operation)
            }
        }
    }

    /// Tells the model of a write of `tags` from cell `first` on.
    fn begin_write(&self, inode: &Inode, how: &str, first: usize, tags: &[Tag]) {
        let range = first..first + tags.len();
        let name = tags.first().copied().unwrap_or_default();
        inode.begin(format!("{how} from {name}"), range.clone(), |content| {
            content.cells[range.clone()].copy_from_slice(tags);
            content.size = content.size.max(range.end);
        });
    }

    fn write(&mut self, file: &Handle) -> Result<Range<usize>> {
        let range = self.range(self.capacity());
        let tags = self.tags(range.len());
        let bytes = expand(&tags);
        self.begin_write(&file.inode, "write", range.start, &tags);
        file.buffered
            .write_all_at(&bytes, (range.start * CELL) as u64)?;
        file.inode.end();
        Ok(range)
    }

    fn write_mapped(&mut self, file: &Handle) -> Result<Range<usize>> {
        let range = self.range(file.inode.size());
        if range.is_empty() {
            return Ok(range);
        }
        let tags = self.tags(range.len());
        let bytes = expand(&tags);
        let offset = range.start * CELL;
        let base = offset / 4096 * 4096;
        let length = offset - base + bytes.len();
        let mut mapping = Mapping::new(&file.buffered, base, length, true).context("mmap")?;
        self.begin_write(&file.inode, "mapped write", range.start, &tags);
        mapping.write(offset - base, &bytes);
        file.inode.end();
        match self.rng.below(3) {
            0 => mapping.sync(true)?,
            1 => mapping.sync(false)?,
            _ => {}
        }
        Ok(range)
    }

    /// A range that direct I/O takes.
    fn direct_range(&mut self, end: usize) -> Range<usize> {
        let finest = self.world.abilities.direct / CELL;
        let align = if self.rng.below(3) == 0 {
            finest
        } else {
            PAGE_CELLS
        };
        self.aligned_range(end, align, 8 * PAGE_CELLS)
    }

    fn write_direct(&mut self, file: &Handle) -> Result<Range<usize>> {
        let range = self.direct_range(self.capacity());
        let tags = self.tags(range.len());
        let bytes = expand(&tags);
        self.begin_write(&file.inode, "direct write", range.start, &tags);
        file.direct
            .write_all_at(&bytes, (range.start * CELL) as u64)?;
        file.inode.end();
        Ok(range)
    }

    fn write_async(&mut self, file: &Handle) -> Result<Range<usize>> {
        const WRITES: usize = 4;
        let zone = self.world.plan.pages / WRITES * PAGE_CELLS;
        if zone == 0 {
            return Ok(0..0);
        }
        let mut writes: Vec<(usize, Vec<Tag>, Buffer)> = Vec::new();
        for number in 0..WRITES {
            let range = self.direct_range(zone);
            let tags = self.tags(range.len());
            let bytes = expand(&tags);
            writes.push((number * zone + range.start, tags, bytes));
        }
        let whole = writes[0].0
            ..writes
                .last()
                .map_or(0, |(first, tags, _)| first + tags.len());
        let what = format!("{WRITES} async writes from {}", writes[0].1[0]);
        file.inode.begin(what, whole.clone(), |content| {
            for (first, tags, _) in &writes {
                content.cells[*first..first + tags.len()].copy_from_slice(tags);
            }
            content.size = content.size.max(whole.end);
        });
        let wanted: Vec<usize> = writes.iter().map(|(_, _, bytes)| bytes.len()).collect();
        let mut requests: Vec<Request<'_>> = writes
            .iter_mut()
            .map(|(first, _, buffer)| Request {
                offset: *first * CELL,
                buffer,
            })
            .collect();
        let written = self.queue.run(&file.direct, true, &mut requests)?;
        anyhow::ensure!(written == wanted, "wrote {written:?} of {wanted:?} bytes");
        file.inode.end();
        Ok(whole)
    }

    fn truncate(&mut self, file: &Handle) -> Result<Range<usize>> {
        let old = file.inode.size();
        // Mostly near the old length: often only a part of a page is cut off.
        let new = match self.rng.below(3) {
            0 => self.rng.below(self.capacity() + 1),
            1 => (old + self.rng.below(4 * PAGE_CELLS)).min(self.capacity()),
            _ => old.saturating_sub(self.rng.below(4 * PAGE_CELLS)),
        };
        let range = old.min(new)..old.max(new);
        let what = format!("truncate from {} to {}", old * CELL, new * CELL);
        file.inode
            .begin(what, range.clone(), |content| content.resize(new));
        file.buffered.set_len((new * CELL) as u64)?;
        file.inode.end();
        Ok(range)
    }

    fn punch(&mut self, file: &Handle) -> Result<Range<usize>> {
        let range = self.range(self.capacity());
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        self.begin_holes(file, "punch", &range, false);
        io::allocate(&file.buffered, mode, range.start * CELL, range.len() * CELL)?;
        file.inode.end();
        Ok(range)
    }

    fn zero(&mut self, file: &Handle) -> Result<Range<usize>> {
        let range = self.range(self.capacity());
        let grow = self.rng.below(2) == 0;
        let keep = if grow { 0 } else { libc::FALLOC_FL_KEEP_SIZE };
        let mode = libc::FALLOC_FL_ZERO_RANGE | keep;
        self.begin_holes(file, "zero range", &range, grow);
        io::allocate(&file.buffered, mode, range.start * CELL, range.len() * CELL)?;
        file.inode.end();
        Ok(range)
    }

    fn begin_holes(&self, file: &Handle, how: &str, range: &Range<usize>, grow: bool) {
        file.inode.begin(how.into(), range.clone(), |content| {
            content.cells[range.clone()].fill(Tag::HOLE);
            if grow {
                content.size = content.size.max(range.end);
            }
        });
    }

    fn allocate(&mut self, file: &Handle) -> Result<Range<usize>> {
        let range = self.range(self.capacity());
        file.inode
            .begin("fallocate".into(), range.clone(), |content| {
                content.size = content.size.max(range.end);
            });
        io::allocate(&file.buffered, 0, range.start * CELL, range.len() * CELL)?;
        file.inode.end();
        Ok(range)
    }

    fn block_cells(&self) -> usize {
        self.world.abilities.block / CELL
    }

    fn collapse(&mut self, file: &Handle) -> Result<Range<usize>> {
        let size = file.inode.size();
        let range = self.aligned_range(size, self.block_cells(), 8 * PAGE_CELLS);
        // The kernel wants something to be left behind the range.
        if range.is_empty() || range.end >= size {
            return Ok(0..0);
        }
        let what = format!("collapse of {} bytes", range.len() * CELL);
        file.inode.begin(what, range.start..size, |content| {
            content.cells.copy_within(range.end..size, range.start);
            content.resize(size - range.len());
        });
        let mode = libc::FALLOC_FL_COLLAPSE_RANGE;
        io::allocate(&file.buffered, mode, range.start * CELL, range.len() * CELL)?;
        file.inode.end();
        Ok(range.start..size)
    }

    fn insert(&mut self, file: &Handle) -> Result<Range<usize>> {
        let size = file.inode.size();
        let room = self.capacity() - size;
        let place = self.aligned_range(size, self.block_cells(), 1);
        let length = self.aligned_range(room, self.block_cells(), 8 * PAGE_CELLS);
        let (at, cells) = (place.start, length.len());
        if place.is_empty() || cells == 0 {
            return Ok(0..0);
        }
        let what = format!("insert of {} bytes", cells * CELL);
        file.inode.begin(what, at..size + cells, |content| {
            content.size = size + cells;
            content.cells.copy_within(at..size, at + cells);
            content.cells[at..at + cells].fill(Tag::HOLE);
        });
        let mode = libc::FALLOC_FL_INSERT_RANGE;
        io::allocate(&file.buffered, mode, at * CELL, cells * CELL)?;
        file.inode.end();
        Ok(at..size + cells)
    }

    /// copy_file_range or FICLONERANGE from any of the worker's files into this one.
    fn copy(&mut self, slot: usize, to: &Handle, clone: bool) -> Result<Range<usize>> {
        let from_slot = self.any_slot();
        let from = self.open(from_slot)?;
        let source = if clone {
            self.aligned_range(from.inode.size(), self.block_cells(), 16 * PAGE_CELLS)
        } else {
            self.range(from.inode.size())
        };
        if source.is_empty() {
            return Ok(0..0);
        }
        let align = if clone { self.block_cells() } else { 1 };
        let places = (self.capacity() - source.len()) / align + 1;
        let at = self.rng.below(places) * align;
        let target = at..at + source.len();
        let overlap = source.start < target.end && target.start < source.end;
        if from_slot == slot && overlap {
            return Ok(0..0);
        }
        let tags = from.inode.tags(source.clone());
        let how = if clone { "clone" } else { "copy" };
        let what = format!(
            "{how} from {} at {}",
            self.named(from_slot),
            source.start * CELL
        );
        to.inode.begin(what, target.clone(), |content| {
            content.cells[target.clone()].copy_from_slice(&tags);
            content.size = content.size.max(target.end);
        });
        let copy = if clone {
            io::clone_range
        } else {
            io::copy_range
        };
        copy(
            &from.buffered,
            source.start * CELL,
            &to.buffered,
            target.start * CELL,
            source.len() * CELL,
        )?;
        to.inode.end();
        Ok(target)
    }

    /// Exchanges the contents with another file, which is brought to the same length first.
    fn exchange(&mut self, slot: usize, file: &Handle) -> Result<Range<usize>> {
        let other_slot = self.any_slot();
        let size = file.inode.size();
        if other_slot == slot || size == 0 {
            return Ok(0..0);
        }
        let other = self.open(other_slot)?;
        let old = other.inode.size();
        let cut = old.min(size)..old.max(size);
        other
            .inode
            .begin("truncate to exchange".into(), cut, |content| {
                content.resize(size);
            });
        other.buffered.set_len((size * CELL) as u64)?;
        other.inode.end();
        let (mine, theirs) = (file.inode.tags(0..size), other.inode.tags(0..size));
        for (handle, tags, with) in [(file, theirs, other_slot), (&other, mine, slot)] {
            let what = format!("exchange with {}", self.named(with));
            handle.inode.begin(what, 0..size, |content| {
                content.cells[..size].copy_from_slice(&tags);
            });
        }
        // The one with more extents has to be the first; which one that is XFS decides.
        io::xfs_exchange(&file.buffered, &other.buffered)
            .or_else(|_| io::xfs_exchange(&other.buffered, &file.buffered))
            .context("XFS_IOC_SWAPEXT")?;
        file.inode.end();
        other.inode.end();
        let range = self.range(size);
        other.check(self.world, &self.queue, range.clone(), How::Buffered)?;
        Ok(range)
    }

    /// Moves some of the file's blocks; its content stays.
    fn defragment(&mut self, slot: usize, file: &Handle) -> Result<Range<usize>> {
        let size = file.inode.size();
        if size == 0 {
            return Ok(0..0);
        }
        if self.world.abilities.defragment == Defragment::Btrfs {
            file.inode.note("defragment".into(), 0..size);
            io::btrfs_defragment(&file.buffered)?;
            return Ok(self.range(size));
        }
        let block = self.world.abilities.block;
        let end = (size * CELL).next_multiple_of(block) / CELL;
        let range = self.aligned_range(end, self.block_cells(), 16 * PAGE_CELLS);
        file.inode.note("defragment".into(), range.clone());
        let path = self.world.slot(slot).path.with_extension("donor");
        let donor = create(&path)?;
        let (first, length) = (range.start * CELL, range.len() * CELL);
        let moved = io::allocate(&donor, 0, first, length)
            .and_then(|()| io::ext4_move(&file.buffered, &donor, first / block, length / block));
        fs::remove_file(&path)?;
        match moved {
            // Nothing but holes, or a page that a reader holds just now.
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENODATA | libc::EBUSY)) => {}
            other => {
                other.context("EXT4_IOC_MOVE_EXT")?;
            }
        }
        Ok(range.start..range.end.min(self.capacity()))
    }

    /// Operations on names; readers keep the files they have open.
    fn change_names(&mut self, slot: usize, operation: Operation) -> Result<Range<usize>> {
        self.names += 1;
        let folder = self.world.place.folder();
        let fresh = folder.join(format!("f{slot}.{}", self.names));
        match operation {
            Operation::Rename if self.rng.below(2) == 0 => {
                let mut named = self.world.slot(slot);
                fs::rename(&named.path, &fresh)?;
                named.path = fresh;
            }
            Operation::Rename => {
                let other = self.any_slot();
                if other != slot {
                    // In the order of their numbers, though nobody else takes two.
                    let (low, high) = (slot.min(other), slot.max(other));
                    let (mut a, mut b) = (self.world.slot(low), self.world.slot(high));
                    io::exchange_names(&a.path, &b.path)?;
                    std::mem::swap(&mut a.inode, &mut b.inode);
                }
            }
            Operation::Replace => {
                // As programs save files: written beside, then renamed over.
                let inode = self.world.new_inode(&fresh);
                create(&fresh)?;
                let file = Handle::open(&fresh, &inode, true)?;
                self.write(&file)?;
                if self.rng.below(2) == 0 {
                    io::again_after_error(|| file.buffered.sync_all())?;
                }
                let mut named = self.world.slot(slot);
                fs::rename(&fresh, &named.path)?;
                named.inode = inode;
            }
            // The new file often gets the old one's inode.
            _ => {
                let mut named = self.world.slot(slot);
                fs::remove_file(&named.path)?;
                create(&named.path)?;
                named.inode = self.world.new_inode(&named.path);
                let inode = Arc::clone(&named.inode);
                let file = Handle::open(&named.path, &inode, true)?;
                drop(named);
                if self.rng.below(2) == 0 {
                    self.write(&file)?;
                } else {
                    self.write_direct(&file)?;
                }
            }
        }
        let size = self.world.slot(slot).inode.size();
        Ok(if size == 0 { 0..0 } else { self.range(size) })
    }

    /// Makes wrong what the plan wants wrong.
    fn spoil(&mut self) -> Result<()> {
        let Some(spoil) = self.world.plan.spoil else {
            return Ok(());
        };
        let _inside = self.world.enter();
        let slot = self.any_slot();
        let file = self.open(slot)?;
        let range = 0..PAGE_CELLS;
        let tags = self.tags(range.len());
        self.begin_write(&file.inode, "write to spoil", 0, &tags);
        file.buffered.write_all_at(&expand(&tags), 0)?;
        file.inode.end();
        file.buffered.sync_all()?;
        match spoil {
            Spoil::Model => file.inode.spoil(PAGE_CELLS / 2),
            Spoil::Disk => {
                let block = self.world.abilities.block;
                let disk = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(libc::O_DIRECT)
                    .open(self.world.place.disk())?;
                let at = io::block_of(&file.buffered, 0)? * block as u64;
                let mut bytes = Buffer::new(block);
                disk.read_exact_at(&mut bytes, at)?;
                bytes[block / 2] ^= 0x10;
                disk.write_all_at(&bytes, at)?;
                io::drop_pages(&file.buffered, 0, 4096)?;
            }
        }
        file.check(self.world, &self.queue, range, How::Buffered)
    }
}

/// A new, empty file.
fn create(path: &std::path::Path) -> Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)
        .with_context(|| format!("creating {}", path.display()))
}

/// The content of cells.
fn expand(tags: &[Tag]) -> Buffer {
    let mut buffer = Buffer::new(tags.len() * CELL);
    for (cell, tag) in buffer.as_chunks_mut::<CELL>().0.iter_mut().zip(tags) {
        tag.expand(cell);
    }
    buffer
}
