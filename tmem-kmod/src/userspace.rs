//! A host over the standard library: the engine in an ordinary process, for
//! `--embedded`, benches and tests. No host codecs.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::boxed::Box;
use std::cell::Cell;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::thread_local;
use std::time::Duration;
use std::vec::Vec;

use tmem_common::codec::Codec;

use crate::codec::Scratch;
use crate::engine::Engine;
use crate::host::{Frame, Host, LOCKS, PAGE, Page};

/// How an embedded engine is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of address space for pages; memory is taken as pages are first used.
    pub arena_bytes: u64,
    /// The engine's budget in bytes.
    pub limit_bytes: u64,
    /// Whether a thread compacts when the engine asks for it, as in the kernel. Without it, call
    /// [`Engine::maintain`].
    pub maintenance_thread: bool,
    /// Overwrites freed pages, so that a use after free shows.
    pub poison: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            arena_bytes: 1 << 30,
            limit_bytes: 1 << 30,
            maintenance_thread: true,
            poison: false,
        }
    }
}

thread_local! {
    /// This thread's scratch while nobody uses it. A thread's own needs no locked instruction,
    /// which would wait for all stores of the page that was got before.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

/// Frames that can be handed out.
struct Free {
    /// Given back, last first.
    frames: Vec<Frame>,
    /// Never handed out: this one and those above.
    fresh: Frame,
}

/// What the engine is told to do next, and whether to stop.
#[derive(Default)]
struct Wakeup {
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

/// The process as the engine's surroundings.
pub struct UserHost {
    allocation: NonNull<u8>,
    /// The first whole page of the allocation.
    arena: NonNull<u8>,
    layout: Layout,
    end: Frame,
    free: Mutex<Free>,
    poison: bool,
    locks: [AtomicBool; LOCKS],
    wakeup: Arc<Wakeup>,
    live_pages: AtomicU64,
    allocations: AtomicU64,
    fail_from: AtomicU64,
    fail_to: AtomicU64,
    pins: AtomicU64,
    refuse_pins: AtomicBool,
    evictions: AtomicU64,
}

// SAFETY: the arena is owned memory that is not tied to a thread; frames are handed out to one user at a time, everything else is behind mutexes or atomic.
unsafe impl Send for UserHost {}
// SAFETY: as above.
unsafe impl Sync for UserHost {}

fn relock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl UserHost {
    /// A host without an engine, for hosts of tests that wrap it.
    pub fn new(options: &Options) -> UserHost {
        // Frame 0 names no page, so one more than asked for.
        let frames = (options.arena_bytes / PAGE as u64).clamp(1, u64::from(u32::MAX) - 2) + 1;
        // Aligned by ourselves: zeroed memory of this size comes untouched from the system, but the
        // standard library writes the zeroes itself where it is asked for a large alignment.
        let bytes = (frames as usize + 1) * PAGE;
        // Cannot fail: the alignment is a power of two and the size far below isize::MAX.
        let layout = Layout::from_size_align(bytes, 16).unwrap_or(Layout::new::<Page>());
        // SAFETY: the size is not zero.
        let allocation = unsafe { alloc_zeroed(layout) };
        let Some(allocation) = NonNull::new(allocation) else {
            handle_alloc_error(layout)
        };
        // SAFETY: less than a page on, and a page more was allocated than there are frames.
        let arena = unsafe { allocation.add(allocation.align_offset(PAGE)) };
        UserHost {
            allocation,
            arena,
            layout,
            end: frames as Frame,
            free: Mutex::new(Free {
                frames: Vec::new(),
                fresh: 1,
            }),
            poison: options.poison,
            locks: [const { AtomicBool::new(false) }; LOCKS],
            wakeup: Arc::default(),
            live_pages: AtomicU64::new(0),
            allocations: AtomicU64::new(0),
            fail_from: AtomicU64::new(u64::MAX),
            fail_to: AtomicU64::new(u64::MAX),
            pins: AtomicU64::new(0),
            refuse_pins: AtomicBool::new(false),
            evictions: AtomicU64::new(0),
        }
    }

    /// Pages that the engine holds now.
    pub fn live_pages(&self) -> u64 {
        self.live_pages.load(Relaxed)
    }

    /// Pages that the engine asked for so far, refused ones included.
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Relaxed)
    }

    /// From now on, refuses the pages asked for as number `from..to` (counted from 0 at this call).
    pub fn fail_allocations(&self, from: u64, to: u64) {
        let now = self.allocations();
        self.fail_from.store(now.saturating_add(from), Relaxed);
        self.fail_to.store(now.saturating_add(to), Relaxed);
    }

    /// Persistent pages that are kept now.
    pub fn pins(&self) -> u64 {
        self.pins.load(Relaxed)
    }

    /// Whether to refuse persistent pages.
    pub fn refuse_pins(&self, refuse: bool) {
        self.refuse_pins.store(refuse, Relaxed);
    }

    /// Pages that were evicted so far.
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }
}

impl Drop for UserHost {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in new.
        unsafe { dealloc(self.allocation.as_ptr(), self.layout) };
    }
}

// SAFETY: the arena does not move; frames come from the free list or above it and are in [1, end);
// the locks are spinning flags with acquire and release; a scratch is nobody else's while used.
unsafe impl Host for UserHost {
    fn page_base(&self) -> *mut u8 {
        self.arena.as_ptr()
    }

    fn page_alloc(&self, _may_sleep: bool) -> Option<Frame> {
        let number = self.allocations.fetch_add(1, Relaxed);
        if (self.fail_from.load(Relaxed)..self.fail_to.load(Relaxed)).contains(&number) {
            return None;
        }
        let mut free = relock(&self.free);
        let frame = match free.frames.pop() {
            Some(frame) => frame,
            None if free.fresh < self.end => {
                free.fresh += 1;
                free.fresh - 1
            }
            None => return None,
        };
        self.live_pages.fetch_add(1, Relaxed);
        Some(frame)
    }

    unsafe fn page_free(&self, frame: Frame) {
        if self.poison {
            // SAFETY: the frame is within the arena and was given back to us.
            unsafe {
                self.page_base()
                    .add(frame as usize * PAGE)
                    .write_bytes(0xDD, PAGE)
            };
        }
        relock(&self.free).frames.push(frame);
        self.live_pages.fetch_sub(1, Relaxed);
    }

    fn lock(&self, i: usize) -> usize {
        let mut tries = 0_u32;
        while self.locks[i]
            .compare_exchange_weak(false, true, Acquire, Relaxed)
            .is_err()
        {
            tries += 1;
            if tries.is_multiple_of(64) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        0
    }

    unsafe fn unlock(&self, i: usize, _flags: usize) {
        self.locks[i].store(false, Release);
    }

    fn scratch_get(&self) -> NonNull<Scratch> {
        // A thread that is ending has none to keep any more.
        let kept = SCRATCH.try_with(Cell::take).ok().flatten();
        NonNull::from(Box::leak(kept.unwrap_or_else(Scratch::boxed)))
    }

    unsafe fn scratch_put(&self, scratch: NonNull<Scratch>) {
        // SAFETY: it is a box's, leaked in scratch_get, and nobody uses it any more.
        let scratch = unsafe { Box::from_raw(scratch.as_ptr()) };
        let _ = SCRATCH.try_with(|kept| kept.set(Some(scratch)));
    }

    fn codec_available(&self, _codec: Codec) -> bool {
        false
    }

    fn compress(&self, _codec: Codec, _page: &Page, _out: &mut [u8]) -> Option<usize> {
        None
    }

    fn decompress(&self, _codec: Codec, _data: &[u8], _page: &mut Page) -> bool {
        false
    }

    fn evicted(&self, _pool: u32, _object: u64, _index: u64, _bytes: u32, _owner: u64) {
        self.evictions.fetch_add(1, Relaxed);
    }

    fn wake_maintenance(&self) {
        let asked = core::mem::replace(&mut relock(&self.wakeup.state).0, true);
        if !asked {
            self.wakeup.changed.notify_one();
        }
    }

    fn pin(&self) -> bool {
        let accepted = !self.refuse_pins.load(Relaxed);
        if accepted {
            self.pins.fetch_add(1, Relaxed);
        }
        accepted
    }

    fn unpin(&self) {
        self.pins.fetch_sub(1, Relaxed);
    }
}

/// An engine on the heap, over any host, with a budget of `limit_bytes`.
pub fn boxed_engine<H: Host>(host: H, limit_bytes: u64) -> Box<Engine<H>> {
    let layout = Layout::new::<Engine<H>>();
    // SAFETY: the size is not zero.
    let engine = unsafe { alloc_zeroed(layout) }.cast::<Engine<H>>();
    if engine.is_null() {
        handle_alloc_error(layout);
    }
    // SAFETY: freshly allocated by the global allocator with the engine's layout, which is what a
    // box frees it with, and initialised before the box is made.
    unsafe {
        Engine::init_at(engine, host, limit_bytes);
        Box::from_raw(engine)
    }
}

/// An engine in this process, with its host and, if asked for, its maintenance thread.
pub struct EmbeddedEngine {
    engine: Arc<Engine<UserHost>>,
    wakeup: Arc<Wakeup>,
    thread: Option<JoinHandle<()>>,
}

impl EmbeddedEngine {
    /// Sets up an engine; fails if a thread cannot be started.
    pub fn new(options: &Options) -> std::io::Result<EmbeddedEngine> {
        let host = UserHost::new(options);
        let wakeup = host.wakeup.clone();
        let engine: Arc<Engine<UserHost>> = Arc::from(boxed_engine(host, options.limit_bytes));
        let mut embedded = EmbeddedEngine {
            engine,
            wakeup,
            thread: None,
        };
        if options.maintenance_thread {
            let (engine, wakeup) = (embedded.engine.clone(), embedded.wakeup.clone());
            let thread = std::thread::Builder::new().name("tmem-maintain".into());
            embedded.thread = Some(thread.spawn(move || maintain(&engine, &wakeup))?);
        }
        Ok(embedded)
    }
}

/// Compacts as the kernel module does, until told to stop: some time after the engine asks for it, so that
/// frees gather, and so many steps at a time with pauses, so that it does not run beside each put and get.
fn maintain(engine: &Engine<UserHost>, wakeup: &Wakeup) {
    const DELAY: Duration = Duration::from_millis(50);
    const PAUSE: Duration = Duration::from_millis(10);
    const STEPS: u32 = 64;
    let mut wait = DELAY;
    loop {
        let asked = wakeup
            .changed
            .wait_while(relock(&wakeup.state), |state| *state == (false, false));
        let state = asked.unwrap_or_else(PoisonError::into_inner);
        let waited = wakeup
            .changed
            .wait_timeout_while(state, wait, |state| !state.1);
        let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.1 {
            return;
        }
        state.0 = false;
        drop(state);
        wait = if (0..STEPS).all(|_| engine.maintain()) {
            relock(&wakeup.state).0 = true;
            PAUSE
        } else {
            DELAY
        };
    }
}

impl Deref for EmbeddedEngine {
    type Target = Engine<UserHost>;

    fn deref(&self) -> &Engine<UserHost> {
        &self.engine
    }
}

impl Drop for EmbeddedEngine {
    fn drop(&mut self) {
        relock(&self.wakeup.state).1 = true;
        self.wakeup.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}
