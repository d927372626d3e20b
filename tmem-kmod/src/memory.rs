//! The engine's only source of memory: the host's pages, counted against the
//! budget, and the locks that guard what lies in them.

use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::host::{Frame, Host, PAGE};
use crate::slab::Word;

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoPage {
    /// The budget is used up.
    Limit,
    /// The host has none.
    Host,
}

/// The host, and how much of its memory is in use.
pub(crate) struct Memory<H> {
    pub(crate) host: H,
    base: *mut u8,
    /// Pages in use, for data and bookkeeping.
    used: AtomicU64,
    /// Bytes that may be in use.
    limit: AtomicU64,
}

impl<H: Host> Memory<H> {
    pub(crate) fn new(host: H, limit: u64) -> Self {
        let base = host.page_base();
        Memory {
            host,
            base,
            used: AtomicU64::new(0),
            limit: AtomicU64::new(limit),
        }
    }

    /// A page within the budget.
    pub(crate) fn alloc(&self, may_sleep: bool) -> Result<Frame, NoPage> {
        let used = self.used.fetch_add(1, Relaxed) + 1;
        let refused = if used.saturating_mul(PAGE as u64) > self.limit() {
            NoPage::Limit
        } else if let Some(frame) = self.host.page_alloc(may_sleep) {
            return Ok(frame);
        } else {
            NoPage::Host
        };
        self.used.fetch_sub(1, Relaxed);
        Err(refused)
    }

    /// Gives a page back; `frame` came from `alloc` and nothing refers to it any more.
    pub(crate) fn free(&self, frame: Frame) {
        // SAFETY: every caller owns the frame it passes (see the modules that hold frames).
        unsafe { self.host.page_free(frame) };
        self.used.fetch_sub(1, Relaxed);
    }

    /// The address of a frame.
    #[inline(always)]
    pub(crate) fn page(&self, frame: Frame) -> *mut u8 {
        self.base.wrapping_add(frame as usize * PAGE)
    }

    /// The words of a frame; pages are aligned for them.
    #[inline(always)]
    pub(crate) fn words(&self, frame: Frame) -> *const Word {
        self.page(frame).cast()
    }

    pub(crate) fn used_pages(&self) -> u64 {
        self.used.load(Relaxed)
    }

    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Relaxed)
    }

    pub(crate) fn set_limit(&self, bytes: u64) {
        self.limit.store(bytes, Relaxed);
    }

    /// Bytes in use beyond the budget.
    pub(crate) fn overhang(&self) -> u64 {
        (self.used_pages() * PAGE as u64).saturating_sub(self.limit())
    }

    #[inline(always)]
    pub(crate) fn lock(&self, i: usize) -> LockGuard<'_, H> {
        LockGuard {
            host: &self.host,
            i,
            flags: self.host.lock(i),
        }
    }
}

/// A held lock, released on drop.
pub(crate) struct LockGuard<'a, H: Host> {
    host: &'a H,
    i: usize,
    flags: usize,
}

impl<H: Host> Drop for LockGuard<'_, H> {
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the guard exists only while its lock is held, with these flags.
        unsafe { self.host.unlock(self.i, self.flags) }
    }
}

/// Frames in hand: taken from the host before a lock, or to be given back after it.
pub(crate) struct Frames {
    count: usize,
    /// The first `count` are initialised: one is made for each operation, and most stay empty.
    frames: [MaybeUninit<Frame>; Frames::CAPACITY],
}

impl Frames {
    /// A span, its descriptor's two pages and an entry's two pages may be in
    /// hand while as many are being given back.
    pub(crate) const CAPACITY: usize = 44;

    pub(crate) const fn new() -> Self {
        Frames {
            count: 0,
            frames: [const { MaybeUninit::uninit() }; Frames::CAPACITY],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// True if another `n` frames might not fit.
    pub(crate) fn is_full_for(&self, n: usize) -> bool {
        self.count + n > Frames::CAPACITY
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.frames[self.count].write(frame);
        self.count += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<Frame> {
        self.count = self.count.checked_sub(1)?;
        // SAFETY: it was among the first `count` until now.
        Some(unsafe { self.frames[self.count].assume_init() })
    }

    /// Takes frames from the host until `n` are in hand. No lock may be held.
    pub(crate) fn fill<H: Host>(&mut self, memory: &Memory<H>, n: usize) -> Result<(), NoPage> {
        while self.count < n {
            let frame = memory.alloc(true)?;
            self.push(frame);
        }
        Ok(())
    }

    /// Gives everything in hand back to the host.
    pub(crate) fn give_back<H: Host>(&mut self, memory: &Memory<H>) {
        while let Some(frame) = self.pop() {
            memory.free(frame);
        }
    }
}

/// Runs an instruction for the 64-byte lines of so many bytes, four at a time: one by one, counting
/// them would take three times as many instructions.
#[cfg(all(target_arch = "x86_64", not(miri)))]
macro_rules! for_lines {
    ($instruction:literal, $start:expr, $len:expr) => {{
        const LINE: usize = 64;
        let (mut line, mut left) = ($start, $len.div_ceil(LINE));
        while left >= 4 {
            // SAFETY: the instruction has no effect but on the caches, and never faults.
            unsafe {
                core::arch::asm!(
                    concat!($instruction, " [{0}]"),
                    concat!($instruction, " [{0} + 64]"),
                    concat!($instruction, " [{0} + 128]"),
                    concat!($instruction, " [{0} + 192]"),
                    in(reg) line,
                    options(nostack, preserves_flags, readonly)
                );
            }
            line = line.wrapping_add(4 * LINE);
            left -= 4;
        }
        while left > 0 {
            // SAFETY: as above.
            unsafe {
                core::arch::asm!(
                    concat!($instruction, " [{0}]"),
                    in(reg) line,
                    options(nostack, preserves_flags, readonly)
                );
            }
            line = line.wrapping_add(LINE);
            left -= 1;
        }
    }};
}

/// Asks the caches for `len` bytes at `start`, which need not be valid, in order to read them.
#[inline(always)]
pub(crate) fn prefetch(start: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for_lines!("prefetcht0", start, len);
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (start, len);
}

/// As [`prefetch`], in order to write them. Worth while before a locked instruction, which waits
/// until all earlier stores have reached the caches, but not for this.
#[inline(always)]
pub(crate) fn prefetch_to_write(start: *const u8, len: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    for_lines!("prefetchw", start, len);
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (start, len);
}
