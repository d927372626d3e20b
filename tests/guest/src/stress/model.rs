//! What each byte of a file may be. The model of a file is the tag of each of its
//! cells, after each operation that was begun; of the past it keeps as much as a
//! racing reader may still see.
//!
//! A read that begins after operation *a* had ended and ends when operation *b* was
//! the newest begun may find, in each byte, what stood there after any of *a* to *b*
//! (operations on one file follow one another; reads race with them). The worker that
//! owns a file reads it between its operations, so for it the window is one state.
//! Bytes and not cells: a read may see half of a write.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::cell::{CELL, Tag, describe};

/// Operations that a file remembers for its report.
const REMEMBERED: usize = 400;
/// Of these, the ones that a report shows.
const SHOWN: usize = 30;

/// The cells of a file and its length in cells; beyond it all cells are holes.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) cells: Box<[Tag]>,
    pub(super) size: usize,
}

impl Content {
    /// Sets the length; what is cut off is gone.
    pub(super) fn resize(&mut self, size: usize) {
        if size < self.size {
            self.cells[size..self.size].fill(Tag::HOLE);
        }
        self.size = size;
    }
}

/// What an operation changed.
#[derive(Debug)]
struct Change {
    number: u64,
    first: usize,
    old: Box<[Tag]>,
    old_size: usize,
}

/// One line of a file's history.
#[derive(Debug)]
struct Entry {
    when: Instant,
    range: Range<usize>,
    what: String,
}

#[derive(Debug)]
struct State {
    content: Content,
    /// Number of the newest operation begun, and of the last one that ended.
    begun: u64,
    ended: u64,
    /// Oldest first; those that no window reaches back to are dropped.
    changes: VecDeque<Change>,
    /// For each open window, the last operation that had ended when it was opened.
    windows: Vec<u64>,
    history: VecDeque<Entry>,
}

/// An inode: a file from its creation until nobody has it open any more.
#[derive(Debug)]
pub(super) struct Inode {
    name: String,
    start: Instant,
    state: Mutex<State>,
}

/// How much of what lies beyond the end a read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reach {
    /// A read by system call: up to the end, and to no less.
    ToEnd,
    /// Through a mapping: zeros up to the end of the page.
    ToPage,
}

impl Inode {
    /// An empty file that can grow to `capacity` cells.
    pub(super) fn new(name: String, capacity: usize, start: Instant) -> Self {
        Self {
            name,
            start,
            state: Mutex::new(State {
                content: Content {
                    cells: vec![Tag::HOLE; capacity].into(),
                    size: 0,
                },
                begun: 0,
                ended: 0,
                changes: VecDeque::new(),
                windows: Vec::new(),
                history: VecDeque::new(),
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere is reported by itself; the model is whole between statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Length in cells after the newest operation.
    pub(super) fn size(&self) -> usize {
        self.lock().content.size
    }

    /// The tags of some cells after the newest operation.
    pub(super) fn tags(&self, range: Range<usize>) -> Vec<Tag> {
        self.lock().content.cells[range].to_vec()
    }

    /// An operation begins; `range` covers every cell that `change` alters.
    pub(super) fn begin(
        &self,
        what: String,
        range: Range<usize>,
        change: impl FnOnce(&mut Content),
    ) {
        let mut state = self.lock();
        state.begun += 1;
        let number = state.begun;
        let old = state.content.cells[range.clone()].into();
        let old_size = state.content.size;
        state.changes.push_back(Change {
            number,
            first: range.start,
            old,
            old_size,
        });
        change(&mut state.content);
        state.remember(what, range);
    }

    /// The operation that was begun last has ended.
    pub(super) fn end(&self) {
        let mut state = self.lock();
        state.ended = state.begun;
        state.forget();
    }

    /// Adds a line about something that changes no byte.
    pub(super) fn note(&self, what: String, range: Range<usize>) {
        self.lock().remember(what, range);
    }

    /// Makes the model wrong in one cell.
    pub(super) fn spoil(&self, cell: usize) {
        let tag = &mut self.lock().content.cells[cell];
        *tag = tag.spoilt();
    }

    /// What reads that begin now may find.
    pub(super) fn window(&self) -> Window<'_> {
        let mut state = self.lock();
        let from = state.ended;
        state.windows.push(from);
        Window { inode: self, from }
    }
}

impl State {
    fn remember(&mut self, what: String, range: Range<usize>) {
        if self.history.len() == REMEMBERED {
            self.history.pop_front();
        }
        self.history.push_back(Entry {
            when: Instant::now(),
            range,
            what,
        });
    }

    fn forget(&mut self) {
        let oldest = self.windows.iter().copied().min().unwrap_or(self.ended);
        while self.changes.front().is_some_and(|c| c.number <= oldest) {
            self.changes.pop_front();
        }
    }

    /// All tags that a cell had since operation `from` had ended.
    fn allowed(&self, cell: usize, from: u64) -> Vec<Tag> {
        let mut tags = vec![self.content.cells.get(cell).copied().unwrap_or_default()];
        for change in self.changes.iter().filter(|c| c.number > from) {
            if let Some(tag) = cell
                .checked_sub(change.first)
                .and_then(|at| change.old.get(at))
                && !tags.contains(tag)
            {
                tags.push(*tag);
            }
        }
        tags
    }
}

/// A span of time in which a file is read.
#[derive(Debug)]
pub(super) struct Window<'a> {
    inode: &'a Inode,
    from: u64,
}

impl Window<'_> {
    /// Compares what was read, at `offset` bytes, with what may stand there. `asked` is the
    /// number of bytes that the read wanted. The error is the report.
    pub(super) fn check(
        &self,
        offset: usize,
        asked: usize,
        found: &[u8],
        reach: Reach,
        how: &str,
    ) -> Result<(), String> {
        let state = self.inode.lock();
        if reach == Reach::ToEnd {
            let sizes = || {
                let old = state.changes.iter().filter(|c| c.number > self.from);
                old.map(|c| c.old_size).chain([state.content.size])
            };
            let least = sizes().min().unwrap_or(0) * CELL;
            let most = sizes().max().unwrap_or(0) * CELL;
            let end = offset + found.len();
            if found.len() < asked && end < least {
                let why = format!(
                    "bad length: {how} got {} bytes at {offset} of at least {least}",
                    found.len()
                );
                return Err(self.report(&state, &why, offset / CELL));
            }
            if !found.is_empty() && end > most {
                let why = format!(
                    "bad length: {how} got {} bytes at {offset} of at most {most}",
                    found.len()
                );
                return Err(self.report(&state, &why, offset / CELL));
            }
        }
        let mut expected = [0; CELL];
        for (i, bytes) in found.chunks(CELL).enumerate() {
            let cell = offset / CELL + i;
            let newest = state.content.cells.get(cell).copied().unwrap_or_default();
            newest.expand(&mut expected);
            if bytes == &expected[..bytes.len()] {
                continue;
            }
            let allowed = state.allowed(cell, self.from);
            if !may_be(bytes, &allowed) {
                let names: Vec<String> = allowed.iter().map(Tag::to_string).collect();
                let why = format!(
                    "bad bytes: {how} at {} found {}, may be {}",
                    cell * CELL,
                    describe(bytes),
                    names.join(" or ")
                );
                return Err(self.report(&state, &why, cell));
            }
        }
        Ok(())
    }

    fn report(&self, state: &State, why: &str, cell: usize) -> String {
        let page = cell * CELL / 4096 * 4096 / CELL;
        let near = page..page + 4096 / CELL;
        let mut lines: Vec<String> = state
            .history
            .iter()
            .rev()
            .filter(|e| e.range.start < near.end && near.start < e.range.end)
            .take(SHOWN)
            .map(|e| {
                format!(
                    "  {:9.3} s  {:7} to {:7}  {}",
                    (e.when - self.inode.start).as_secs_f64(),
                    e.range.start * CELL,
                    e.range.end * CELL,
                    e.what
                )
            })
            .collect();
        lines.push(format!(
            "{} ({} bytes now, {:.3} s), page {}: what touched it, newest last",
            self.inode.name,
            state.content.size * CELL,
            self.inode.start.elapsed().as_secs_f64(),
            cell * CELL / 4096
        ));
        lines.reverse();
        for line in lines {
            crate::sys::say(&line);
        }
        format!("{why} in {}", self.inode.name)
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        let mut state = self.inode.lock();
        if let Some(at) = state.windows.iter().position(|from| *from == self.from) {
            state.windows.swap_remove(at);
        }
        state.forget();
    }
}

/// Whether each byte is what one of the tags has there.
fn may_be(bytes: &[u8], allowed: &[Tag]) -> bool {
    let expanded: Vec<[u8; CELL]> = allowed
        .iter()
        .map(|tag| {
            let mut cell = [0; CELL];
            tag.expand(&mut cell);
            cell
        })
        .collect();
    bytes
        .iter()
        .enumerate()
        .all(|(i, byte)| expanded.iter().any(|cell| cell[i] == *byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(tags: &[Tag]) -> Vec<u8> {
        let mut all = Vec::new();
        for tag in tags {
            let mut cell = [0; CELL];
            tag.expand(&mut cell);
            all.extend(cell);
        }
        all
    }

    fn write(inode: &Inode, first: usize, tags: &[Tag]) {
        inode.begin("write".into(), first..first + tags.len(), |content| {
            content.cells[first..first + tags.len()].copy_from_slice(tags);
            content.size = content.size.max(first + tags.len());
        });
    }

    fn check(window: &Window<'_>, first: usize, found: &[u8], asked: usize) -> bool {
        window
            .check(first * CELL, asked, found, Reach::ToEnd, "read")
            .is_ok()
    }

    #[test]
    fn between_operations_only_the_newest_content_is_right() {
        let inode = Inode::new("f".into(), 100, Instant::now());
        let (a, b) = (Tag::new(0, 1, 0), Tag::new(0, 2, 0));
        write(&inode, 3, &[a]);
        inode.end();
        write(&inode, 3, &[b]);
        inode.end();
        let window = inode.window();
        assert!(check(&window, 3, &bytes(&[b]), CELL));
        assert!(!check(&window, 3, &bytes(&[a]), CELL));
        assert!(check(&window, 0, &bytes(&[Tag::HOLE; 3]), 3 * CELL));
        // All four cells have to come, and not more.
        assert!(!check(&window, 0, &bytes(&[Tag::HOLE; 3]), 4 * CELL));
        assert!(!check(&window, 3, &bytes(&[b, Tag::HOLE]), 2 * CELL));
    }

    #[test]
    fn a_racing_read_sees_old_or_new_but_nothing_older() {
        let inode = Inode::new("f".into(), 100, Instant::now());
        let tags: Vec<Tag> = (1..5).map(|number| Tag::new(0, number, 0)).collect();
        write(&inode, 0, &tags[..1]);
        inode.end();
        write(&inode, 0, &tags[1..2]);
        inode.end();
        let window = inode.window();
        write(&inode, 0, &tags[2..3]);
        inode.end();
        write(&inode, 0, &tags[3..4]);
        let seen: Vec<bool> = tags
            .iter()
            .map(|tag| check(&window, 0, &bytes(&[*tag]), CELL))
            .collect();
        assert_eq!(seen, [false, true, true, true]);
        let mut torn = bytes(&tags[1..2]);
        torn[32..].copy_from_slice(&bytes(&tags[3..4])[32..]);
        assert!(check(&window, 0, &torn, CELL));
        torn[40] ^= 1;
        assert!(!check(&window, 0, &torn, CELL));
    }

    #[test]
    fn a_racing_read_may_end_at_any_length_of_its_window() {
        let inode = Inode::new("f".into(), 100, Instant::now());
        let tags = [Tag::new(0, 1, 0), Tag::new(0, 1, 1)];
        write(&inode, 0, &tags);
        inode.end();
        let window = inode.window();
        inode.begin("truncate".into(), 1..2, |content| content.resize(1));
        assert!(check(&window, 0, &bytes(&tags), 2 * CELL));
        assert!(check(&window, 0, &bytes(&tags[..1]), 2 * CELL));
        assert!(check(&window, 0, &bytes(&[tags[0], Tag::HOLE]), 2 * CELL));
        assert!(!check(&window, 0, &[], 2 * CELL));
    }

    #[test]
    fn the_past_is_dropped_when_nobody_can_see_it() {
        let inode = Inode::new("f".into(), 100, Instant::now());
        let window = inode.window();
        for number in 1..10 {
            write(&inode, 0, &[Tag::new(0, number, 0)]);
            inode.end();
        }
        assert_eq!(inode.lock().changes.len(), 9);
        drop(window);
        assert!(inode.lock().changes.is_empty());
    }

    #[test]
    fn a_spoilt_model_is_noticed() {
        let inode = Inode::new("f".into(), 100, Instant::now());
        let tag = Tag::new(0, 1, 0);
        write(&inode, 0, &[tag]);
        inode.end();
        inode.spoil(0);
        assert!(!check(&inode.window(), 0, &bytes(&[tag]), CELL));
    }
}
