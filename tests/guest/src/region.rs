//! Memory whose every page has a known content.

use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::FileExt as _;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use anyhow::{bail, ensure};
use tmem_common::PAGE_SIZE;

use crate::content::{self, Page, Rng};

/// Bytes in a huge page.
const HUGE: usize = 2 << 20;

/// Verified pages and bad ones, counted by all processes of a scenario together.
/// Lives in memory that they share and that is never swapped.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Pages compared with what they should hold.
    checked: AtomicU64,
    /// Of these, pages that held something else.
    bad: AtomicU64,
    /// Of the bad ones, pages that held an older version of themselves.
    stale: AtomicU64,
    /// Tells that a worker has come to where it waits.
    ready: AtomicBool,
    /// Tells the workers to come to an end.
    stop: AtomicBool,
}

impl Tally {
    /// A new tally, shared with all processes forked from now on. It stays until the
    /// process ends.
    pub(crate) fn shared() -> Result<&'static Self> {
        let memory = map(PAGE_SIZE, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1)?;
        // SAFETY: the mapping was just made.
        if unsafe { libc::mlock(memory.as_ptr().cast(), PAGE_SIZE) } != 0 {
            return Err(Error::last_os_error());
        }
        // SAFETY: the mapping is a zeroed page, aligned and never unmapped; zeroed atomics
        // are valid.
        Ok(unsafe { memory.cast::<Self>().as_ref() })
    }

    /// Pages compared so far.
    pub(crate) fn checked(&self) -> u64 {
        self.checked.load(Relaxed)
    }

    /// Bad pages so far.
    pub(crate) fn bad(&self) -> u64 {
        self.bad.load(Relaxed)
    }

    /// Tells that a worker is ready, and waits for [`Tally::stop`].
    pub(crate) fn wait_for_stop(&self) {
        self.ready.store(true, Relaxed);
        while !self.stopped() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }

    /// True once a worker waits.
    pub(crate) fn ready(&self) -> bool {
        self.ready.load(Relaxed)
    }

    /// Tells all workers to come to an end.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// True after [`Tally::stop`].
    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// An error if there was a bad page.
    pub(crate) fn verdict(&self) -> anyhow::Result<()> {
        let bad = self.bad();
        if bad > 0 {
            bail!(
                "bad page: {bad} of {} verified, {} of them stale",
                self.checked(),
                self.stale.load(Relaxed)
            );
        }
        ensure!(self.checked() > 0, "no page was verified");
        Ok(())
    }
}

fn map(bytes: usize, flags: i32, fd: i32) -> Result<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            flags,
            fd,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return Err(Error::last_os_error());
    }
    NonNull::new(memory.cast()).ok_or_else(|| Error::other("mapped at address 0"))
}

/// A mapping and the version that each of its pages should hold.
#[derive(Debug)]
pub(crate) struct Region {
    base: NonNull<u8>,
    mapped: NonNull<u8>,
    mapped_bytes: usize,
    seed: u64,
    versions: Vec<u32>,
    expected: Box<Page>,
}

impl Region {
    /// Private memory in small pages.
    pub(crate) fn anonymous(pages: usize, seed: u64) -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let base = map(pages * PAGE_SIZE, flags, -1)?;
        let region = Self::new(base, base, pages * PAGE_SIZE, pages, seed)?;
        region.advise(0, pages, libc::MADV_NOHUGEPAGE)?;
        Ok(region)
    }

    /// Private memory, in huge pages where there are any.
    pub(crate) fn huge(pages: usize, seed: u64) -> Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let bytes = pages * PAGE_SIZE + HUGE;
        let mapped = map(bytes, flags, -1)?;
        let offset = mapped.as_ptr().align_offset(HUGE);
        // SAFETY: the mapping is HUGE bytes longer than needed, and the offset below HUGE.
        let base = unsafe { mapped.add(offset) };
        let region = Self::new(base, mapped, bytes, pages, seed)?;
        region.advise(0, pages, libc::MADV_HUGEPAGE)?;
        Ok(region)
    }

    /// The first `pages` pages of a file, shared with all who map it.
    pub(crate) fn shared(file: &File, pages: usize, seed: u64) -> Result<Self> {
        file.set_len((pages * PAGE_SIZE) as u64)?;
        let base = map(pages * PAGE_SIZE, libc::MAP_SHARED, file.as_raw_fd())?;
        Self::new(base, base, pages * PAGE_SIZE, pages, seed)
    }

    fn new(
        base: NonNull<u8>,
        mapped: NonNull<u8>,
        mapped_bytes: usize,
        pages: usize,
        seed: u64,
    ) -> Result<Self> {
        let region = Self {
            base,
            mapped,
            mapped_bytes,
            seed,
            versions: vec![0; pages],
            expected: Box::new([0; PAGE_SIZE]),
        };
        region.lock_all_else()?;
        Ok(region)
    }

    /// Keeps the rest of this process in memory, so that whatever goes wrong with swapped
    /// pages shows in this region and not as a crash. To be repeated after a fork.
    pub(crate) fn lock_all_else(&self) -> Result<()> {
        let flags = libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT;
        // SAFETY: neither call changes any contents; the range is this region's mapping.
        unsafe {
            if libc::mlockall(flags) != 0
                || libc::munlock(self.mapped.as_ptr().cast(), self.mapped_bytes) != 0
            {
                return Err(Error::last_os_error());
            }
        }
        Ok(())
    }

    /// Number of pages.
    pub(crate) fn pages(&self) -> usize {
        self.versions.len()
    }

    /// From now on, new contents are those of another seed; for a forked process whose
    /// writes are to differ from its parent's. Valid after [`Region::rewrite_all`].
    pub(crate) fn reseed(&mut self, seed: u64) {
        self.seed = seed;
    }

    fn page(&self, index: usize) -> *mut u8 {
        assert!(index < self.pages());
        // SAFETY: the index was checked, so the address lies in the mapping.
        unsafe { self.base.as_ptr().add(index * PAGE_SIZE) }
    }

    /// Writes the next version of a page.
    pub(crate) fn write(&mut self, index: usize) {
        self.versions[index] += 1;
        content::fill(&mut self.expected, self.seed, index, self.versions[index]);
        // SAFETY: both are one page; the mapping is writable and no reference to it exists.
        unsafe {
            std::ptr::copy_nonoverlapping(self.expected.as_ptr(), self.page(index), PAGE_SIZE);
        };
    }

    /// Writes the next version of every page.
    pub(crate) fn write_all(&mut self) {
        for index in 0..self.pages() {
            self.write(index);
        }
    }

    /// Compares a page with what it should hold.
    pub(crate) fn check(&mut self, index: usize, tally: &Tally) {
        tally.checked.fetch_add(1, Relaxed);
        if self.holds(index, self.versions[index]) {
            return;
        }
        let older = (1..self.versions[index])
            .rev()
            .find(|v| self.holds(index, *v));
        if older.is_some() {
            tally.stale.fetch_add(1, Relaxed);
        }
        if tally.bad.fetch_add(1, Relaxed) < 3 {
            content::fill(&mut self.expected, self.seed, index, self.versions[index]);
            // SAFETY: one page of the mapping; other processes may write it, but nobody
            // holds a reference.
            let found: Page = unsafe { self.page(index).cast::<Page>().read_volatile() };
            let at = found
                .iter()
                .zip(self.expected.iter())
                .position(|(a, b)| a != b);
            crate::sys::say(&format!(
                "bad page {index} (seed {}, version {}): differs from byte {at:?}, holds version {older:?}",
                self.seed, self.versions[index]
            ));
        }
    }

    /// Reads a page the way a debugger does, which meets an error where an access of our own
    /// would be a SIGBUS. True if it could be read, and then it was compared too; `memory`
    /// is this process's `/proc/self/mem`.
    pub(crate) fn check_if_readable(
        &mut self,
        memory: &File,
        index: usize,
        tally: &Tally,
    ) -> Result<bool> {
        let mut byte = [0];
        match memory.read_at(&mut byte, self.page(index).addr() as u64) {
            Ok(_) => {
                self.check(index, tally);
                Ok(true)
            }
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn holds(&mut self, index: usize, version: u32) -> bool {
        content::fill(&mut self.expected, self.seed, index, version);
        // SAFETY: both are one page; memcmp makes no assumption on concurrent writers
        // beyond its result.
        unsafe {
            libc::memcmp(
                self.page(index).cast(),
                self.expected.as_ptr().cast(),
                PAGE_SIZE,
            ) == 0
        }
    }

    /// Compares every page.
    pub(crate) fn check_all(&mut self, tally: &Tally) {
        for index in 0..self.pages() {
            self.check(index, tally);
        }
    }

    /// Verifies a random page, and writes it anew every other time.
    pub(crate) fn touch(&mut self, rng: &mut Rng, tally: &Tally) {
        let index = rng.below(self.pages());
        self.check(index, tally);
        if rng.next() & 0x100 != 0 {
            self.write(index);
        }
    }

    /// Asks the kernel to swap pages out at once.
    pub(crate) fn page_out(&self, first: usize, pages: usize) -> Result<()> {
        self.advise(first, pages, libc::MADV_PAGEOUT)
    }

    /// Flips one bit of a page behind the bookkeeping's back: proves that
    /// [`Region::check`] can fail.
    pub(crate) fn spoil(&mut self, index: usize) {
        // SAFETY: byte 1234 of a page of the mapping, to which no reference exists.
        unsafe { *self.page(index).add(1234) ^= 0x10 };
    }

    fn advise(&self, first: usize, pages: usize, advice: i32) -> Result<()> {
        assert!(pages > 0 && first + pages <= self.pages());
        // SAFETY: the range lies in the mapping; none of the advices used discards data.
        if unsafe { libc::madvise(self.page(first).cast(), pages * PAGE_SIZE, advice) } != 0 {
            return Err(Error::last_os_error());
        }
        Ok(())
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: the mapping is this region's own and nobody refers to it any more.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), self.mapped_bytes) };
    }
}
