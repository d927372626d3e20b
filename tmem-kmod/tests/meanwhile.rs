//! What happens in the middle of an operation, at a point that chance seldom finds.
//!
//! A page that is taken out and cannot be decoded: whatever happens meanwhile, no later get says
//! that it is not there, since then a frontend would take older contents for it. And a put into a pool whose place
//! goes to another pool.
#![allow(clippy::unwrap_used)]
#![cfg(not(feature = "broken-for-control"))]

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::Duration;

use tmem_common::codec::Codec;
use tmem_common::op::Outcome;
use tmem_kmod::userspace::{Options, UserHost, boxed_engine};
use tmem_kmod::{Engine, Frame, Host, POOL_PERSISTENT, Page, PoolSpec, Report, Scratch};

const LIMIT: u64 = 4 << 20;
/// Bytes that its codec keeps: so many that some slots straddle two pages of memory.
const KEPT: usize = 1000;

type Event = Box<dyn FnOnce(&Shared) + Send>;

/// Where in an operation something happens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Compressing,
    /// A page that is taken; it cannot be decoded then.
    Decoding,
    /// The first page of a pool, with the store locked.
    Pinning,
}

/// The userspace host, with a codec that fails when it is told to.
struct EventfulHost {
    inner: UserHost,
    meanwhile: Mutex<Vec<(At, Shared, Event)>>,
}

impl EventfulHost {
    /// Whether something happened.
    fn happens(&self, at: At) -> bool {
        let mut events = self.meanwhile.lock().unwrap();
        let Some(next) = events.iter().position(|event| event.0 == at) else {
            return false;
        };
        let (_, engine, event) = events.remove(next);
        drop(events);
        event(&engine);
        true
    }
}

type Shared = Arc<Engine<EventfulHost>>;

// SAFETY: everything that counts is the inner host's.
unsafe impl Host for EventfulHost {
    fn page_base(&self) -> *mut u8 {
        self.inner.page_base()
    }

    fn page_alloc(&self, may_sleep: bool) -> Option<Frame> {
        self.inner.page_alloc(may_sleep)
    }

    unsafe fn page_free(&self, frame: Frame) {
        // SAFETY: by the caller's promise.
        unsafe { self.inner.page_free(frame) }
    }

    fn lock(&self, i: usize) -> usize {
        self.inner.lock(i)
    }

    unsafe fn unlock(&self, i: usize, flags: usize) {
        // SAFETY: by the caller's promise.
        unsafe { self.inner.unlock(i, flags) }
    }

    fn scratch_get(&self) -> NonNull<Scratch> {
        self.inner.scratch_get()
    }

    unsafe fn scratch_put(&self, scratch: NonNull<Scratch>) {
        // SAFETY: by the caller's promise.
        unsafe { self.inner.scratch_put(scratch) }
    }

    fn codec_available(&self, codec: Codec) -> bool {
        codec == Codec::Zstd
    }

    fn compress(&self, _codec: Codec, page: &Page, out: &mut [u8]) -> Option<usize> {
        self.happens(At::Compressing);
        out[..KEPT].copy_from_slice(&page[..KEPT]);
        Some(KEPT)
    }

    fn decompress(&self, _codec: Codec, data: &[u8], page: &mut Page) -> bool {
        if self.happens(At::Decoding) {
            return false;
        }
        *page = [0; _];
        page[..KEPT].copy_from_slice(data);
        true
    }

    fn evicted(&self, pool: u32, object: u64, index: u64, bytes: u32, owner: u64) {
        self.inner.evicted(pool, object, index, bytes, owner);
    }

    fn wake_maintenance(&self) {}

    fn pin(&self) -> bool {
        self.happens(At::Pinning);
        self.inner.pin()
    }

    fn unpin(&self) {
        self.inner.unpin();
    }
}

fn content(version: u64) -> Page {
    let mut page = [0; _];
    for (i, word) in page[..KEPT].as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *word = (version << 32 | i as u64).to_le_bytes();
    }
    page
}

/// An engine with a persistent pool, and in it so many pages of one object.
fn engine(pages: u64) -> (Shared, u32) {
    let options = Options {
        arena_bytes: LIMIT,
        limit_bytes: LIMIT,
        maintenance_thread: false,
        poison: true,
    };
    let host = EventfulHost {
        inner: UserHost::new(&options),
        meanwhile: Mutex::default(),
    };
    let engine: Shared = Arc::from(boxed_engine(host, LIMIT));
    let spec = PoolSpec {
        flags: POOL_PERSISTENT,
        ..PoolSpec::default()
    };
    let pool = engine.pool_create(&spec).unwrap();
    engine.set_pool_codec(pool, Codec::Zstd as u32).unwrap();
    for i in 0..pages {
        assert_eq!(put(&engine, pool, i, i), Outcome::Stored);
    }
    (engine, pool)
}

fn put(engine: &Shared, pool: u32, index: u64, version: u64) -> Outcome {
    engine.put(pool, 1, index, &content(version), 0).outcome
}

fn will_happen(engine: &Shared, at: At, event: impl FnOnce(&Shared) + Send + 'static) {
    let event = (at, engine.clone(), Box::new(event) as Event);
    engine.host().meanwhile.lock().unwrap().push(event);
}

/// Takes a page that cannot be decoded.
fn take_in_vain(
    engine: &Shared,
    pool: u32,
    index: u64,
    event: impl FnOnce(&Shared) + Send + 'static,
) {
    will_happen(engine, At::Decoding, event);
    let report = engine.take(pool, 1, index, &mut [0; _]);
    let bytes = KEPT as u32;
    let outcome = Outcome::Corrupt;
    assert_eq!(report, Report { outcome, bytes });
    assert!(engine.host().meanwhile.lock().unwrap().is_empty());
}

fn take(engine: &Shared, pool: u32, index: u64) -> (Outcome, Page) {
    let mut page = [0; _];
    (engine.take(pool, 1, index, &mut page).outcome, page)
}

fn assert_held(engine: &Shared, pages: u64) {
    let stats = engine.stats();
    assert_eq!(
        (stats.pages, stats.data_bytes, engine.host().inner.pins()),
        (pages, pages * KEPT as u64, pages.min(1))
    );
}

fn assert_empty(engine: &Shared) {
    engine.destroy_all_pools();
    assert_held(engine, 0);
    assert_eq!(engine.used_bytes(), 0);
    assert_eq!(engine.host().inner.live_pages(), 0);
}

#[test]
fn it_stays() {
    const PAGES: u64 = 100;
    let (engine, pool) = engine(PAGES);
    for i in 0..PAGES {
        take_in_vain(&engine, pool, i, move |engine| {
            assert!(!engine.contains(pool, 1, i));
        });
        assert!(engine.contains(pool, 1, i));
    }
    assert_held(&engine, PAGES);
    for i in 0..PAGES {
        assert!(take(&engine, pool, i) == (Outcome::Hit, content(i)), "{i}");
        assert_eq!(take(&engine, pool, i).0, Outcome::Miss);
    }
    let outcomes = engine.stats().outcomes;
    let count = |outcome| outcomes[outcome as usize];
    assert_eq!(
        [Outcome::Hit, Outcome::Flushed, Outcome::Corrupt].map(count),
        [PAGES; 3]
    );
    assert_empty(&engine);
}

#[test]
fn it_stays_although_it_was_the_last_of_its_object() {
    let (engine, pool) = engine(1);
    take_in_vain(&engine, pool, 0, |_| {});
    assert!(take(&engine, pool, 0) == (Outcome::Hit, content(0)));
    assert_empty(&engine);
}

#[test]
fn it_stays_although_the_others_of_its_object_were_withdrawn() {
    let (engine, pool) = engine(3);
    take_in_vain(&engine, pool, 1, move |engine| {
        assert_eq!(engine.flush_object(pool, 1), 2);
    });
    assert_held(&engine, 1);
    assert!(take(&engine, pool, 1) == (Outcome::Hit, content(1)));
    assert_empty(&engine);
}

#[test]
fn it_stays_although_its_object_came_anew() {
    let (engine, pool) = engine(1);
    take_in_vain(&engine, pool, 0, move |engine| {
        assert_eq!(put(engine, pool, 5, 5), Outcome::Stored);
    });
    assert_held(&engine, 2);
    assert!(take(&engine, pool, 0) == (Outcome::Hit, content(0)));
    assert!(take(&engine, pool, 5) == (Outcome::Hit, content(5)));
    assert_empty(&engine);
}

#[test]
fn a_newer_copy_stays_instead() {
    let (engine, pool) = engine(2);
    take_in_vain(&engine, pool, 1, move |engine| {
        assert_eq!(put(engine, pool, 1, 9), Outcome::Stored);
    });
    assert_held(&engine, 2);
    assert!(take(&engine, pool, 1) == (Outcome::Hit, content(9)));
    assert_empty(&engine);
}

#[test]
fn it_goes_with_its_pool() {
    let (engine, pool) = engine(2);
    take_in_vain(&engine, pool, 1, move |engine| {
        engine.pool_destroy(pool).unwrap();
    });
    assert_empty(&engine);
}

/// Nothing is left of its object, and no memory is to be had for another record of it.
#[test]
fn if_it_cannot_stay_no_miss_is_reported_any_more() {
    let (engine, pool) = engine(3);
    let other = engine.pool_create(&PoolSpec::default()).unwrap();
    take_in_vain(&engine, pool, 1, move |engine| {
        assert_eq!(engine.flush_object(pool, 1), 2);
        engine.host().inner.fail_allocations(0, u64::MAX);
    });
    // A frontend asks as long as the pool is pinned.
    let pins = |engine: &Shared| engine.host().inner.pins();
    assert_eq!((engine.stats().pages, pins(&engine)), (0, 1));
    engine.host().inner.fail_allocations(u64::MAX, u64::MAX);
    assert_eq!(take(&engine, pool, 1).0, Outcome::Corrupt);
    assert_eq!(
        engine.get(pool, 1, 2, &mut [0; _]).outcome,
        Outcome::Corrupt
    );
    assert_eq!(take(&engine, other, 1).0, Outcome::Miss);
    // What is put from now on is as good as ever; and the next pool in this place begins anew.
    assert_eq!(put(&engine, pool, 7, 7), Outcome::Stored);
    assert!(take(&engine, pool, 7) == (Outcome::Hit, content(7)));
    assert_eq!(pins(&engine), 1);
    engine.pool_destroy(pool).unwrap();
    assert_eq!(pins(&engine), 0);
    let next = engine.pool_create(&PoolSpec::default()).unwrap();
    assert_eq!((next, take(&engine, next, 1).0), (pool, Outcome::Miss));
    assert_empty(&engine);
}

/// The pool is closed before the page is counted with it, and another of another kind wants its place just then.
#[test]
fn the_place_of_a_pool_goes_to_another_kind() {
    let (engine, pool) = engine(0);
    will_happen(&engine, At::Compressing, move |engine| {
        engine.pool_destroy(pool).unwrap();
    });
    let (opened, is_opened) = mpsc::channel();
    will_happen(&engine, At::Pinning, move |engine| {
        let engine = engine.clone();
        let (begin, began) = mpsc::channel();
        thread::spawn(move || {
            begin.send(()).unwrap();
            opened
                .send(engine.pool_create(&PoolSpec::default()))
                .unwrap();
        });
        began.recv().unwrap();
        // As much as the locks let it.
        thread::sleep(Duration::from_millis(100));
    });
    assert_eq!(put(&engine, pool, 1, 1), Outcome::RefusedFrozen);
    assert!(is_opened.recv().unwrap().is_ok());
    assert_eq!(engine.host().inner.pins(), 0);
    assert_empty(&engine);
}
