//! The locking protocol under a scheduler that tries many interleavings
//! (shuttle): every lock, and every call to the host beside it, is a point where
//! threads change. The host checks the lock order and what may not be called
//! under a lock.
#![allow(clippy::unwrap_used)]
#![cfg(not(any(miri, feature = "broken-for-control")))]

#[path = "common/model.rs"]
mod model;

use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::{Arc, Mutex};

use model::content;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use tmem_common::codec::Codec;
use tmem_common::op::Outcome;
use tmem_kmod::userspace::{Options, UserHost, boxed_engine};
use tmem_kmod::{
    Engine, Frame, Host, LOCK_POOLS, LOCK_STORE, LOCKS, PAGE, POOL_PERSISTENT, Page, PoolSpec,
    Scratch,
};

/// A lock that the scheduler knows of.
#[derive(Default)]
struct Lock {
    held: shuttle::sync::Mutex<bool>,
    released: shuttle::sync::Condvar,
}

/// Delegates to the userspace host, with locks of its own.
struct ShuttleHost {
    inner: UserHost,
    locks: Vec<Lock>,
    /// Locks that each thread holds, in the order of taking.
    held: Mutex<HashMap<thread::ThreadId, Vec<usize>>>,
}

/// Pools before shards before store.
fn rank(lock: usize) -> usize {
    match lock {
        LOCK_POOLS => 0,
        LOCK_STORE => 2,
        _ => 1,
    }
}

impl ShuttleHost {
    fn new(limit: u64) -> Self {
        let options = Options {
            arena_bytes: limit,
            limit_bytes: limit,
            maintenance_thread: false,
            poison: true,
        };
        ShuttleHost {
            inner: UserHost::new(&options),
            locks: (0..LOCKS).map(|_| Lock::default()).collect(),
            held: Mutex::default(),
        }
    }

    fn assert_no_locks(&self) {
        let held = self.held.lock().unwrap();
        let mine = held
            .get(&thread::current().id())
            .cloned()
            .unwrap_or_default();
        drop(held);
        assert!(mine.is_empty(), "called while holding {mine:?}");
        thread::yield_now();
    }
}

// SAFETY: pages and scratches are the inner host's; the locks exclude as they must.
unsafe impl Host for ShuttleHost {
    fn page_base(&self) -> *mut u8 {
        self.inner.page_base()
    }

    fn page_alloc(&self, may_sleep: bool) -> Option<Frame> {
        if may_sleep {
            self.assert_no_locks();
        }
        self.inner.page_alloc(may_sleep)
    }

    unsafe fn page_free(&self, frame: Frame) {
        // SAFETY: by the caller's promise.
        unsafe { self.inner.page_free(frame) }
    }

    fn lock(&self, i: usize) -> usize {
        let me = thread::current().id();
        {
            let mut held = self.held.lock().unwrap();
            let mine = held.entry(me).or_default();
            assert!(
                mine.iter().all(|other| rank(*other) < rank(i)),
                "takes {i} while holding {mine:?}"
            );
            mine.push(i);
        }
        let mut lock = self.locks[i].held.lock().unwrap();
        while *lock {
            lock = self.locks[i].released.wait(lock).unwrap();
        }
        *lock = true;
        i + 1000
    }

    unsafe fn unlock(&self, i: usize, flags: usize) {
        assert_eq!(flags, i + 1000);
        let last = self
            .held
            .lock()
            .unwrap()
            .get_mut(&thread::current().id())
            .and_then(Vec::pop);
        assert_eq!(last, Some(i));
        *self.locks[i].held.lock().unwrap() = false;
        self.locks[i].released.notify_one();
    }

    fn scratch_get(&self) -> NonNull<Scratch> {
        self.assert_no_locks();
        self.inner.scratch_get()
    }

    unsafe fn scratch_put(&self, scratch: NonNull<Scratch>) {
        self.assert_no_locks();
        // SAFETY: by the caller's promise.
        unsafe { self.inner.scratch_put(scratch) }
    }

    fn codec_available(&self, codec: Codec) -> bool {
        self.inner.codec_available(codec)
    }

    fn compress(&self, codec: Codec, page: &Page, out: &mut [u8]) -> Option<usize> {
        self.inner.compress(codec, page, out)
    }

    fn decompress(&self, codec: Codec, data: &[u8], page: &mut Page) -> bool {
        self.inner.decompress(codec, data, page)
    }

    fn evicted(&self, pool: u32, object: u64, index: u64, bytes: u32, owner: u64) {
        self.assert_no_locks();
        self.inner.evicted(pool, object, index, bytes, owner);
    }

    fn wake_maintenance(&self) {}

    fn pin(&self) -> bool {
        self.inner.pin()
    }

    fn unpin(&self) {
        self.inner.unpin();
    }
}

type Shared = Arc<Engine<ShuttleHost>>;

fn engine(limit: u64) -> Shared {
    Arc::from(boxed_engine(ShuttleHost::new(limit), limit))
}

fn assert_empty(engine: &Shared) {
    engine.destroy_all_pools();
    let stats = engine.stats();
    assert_eq!(
        (
            stats.pages,
            stats.data_bytes,
            stats.store_bytes,
            engine.used_bytes()
        ),
        (0, 0, 0, 0)
    );
    assert_eq!(
        (engine.host().inner.live_pages(), engine.host().inner.pins()),
        (0, 0)
    );
}

fn explore(scenario: fn()) {
    fn run(scheduler: impl Scheduler + 'static, scenario: fn()) {
        let mut config = Config::new();
        config.stack_size = 1 << 20;
        Runner::new(scheduler, config).run(scenario);
    }
    run(RandomScheduler::new(250), scenario);
    run(PctScheduler::new(3, 250), scenario);
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

/// Sizes of pages that fill slots, a fill and a raw page.
const SLOTTED: u16 = 8 * 5 + 4;
const FILLED: u16 = 1;
const RAW: u16 = 3;

fn put(engine: &Shared, pool: u32, index: u64, version: u64, value: u16) -> bool {
    engine
        .put(pool, 1, index, &content(version, value), 0)
        .outcome
        .is_stored()
}

fn get(engine: &Shared, pool: u32, index: u64) -> Option<Page> {
    let mut page = [0; PAGE];
    match engine.get(pool, 1, index, &mut page).outcome {
        Outcome::Hit => Some(page),
        Outcome::Miss => None,
        other => panic!("{other:?}"),
    }
}

fn take(engine: &Shared, pool: u32, index: u64) -> Option<Page> {
    let mut page = [0; PAGE];
    match engine.take(pool, 1, index, &mut page).outcome {
        Outcome::Hit => Some(page),
        Outcome::Miss => None,
        other => panic!("{other:?}"),
    }
}

/// Two threads replace a page, one reads and one withdraws it: only whole versions are seen.
#[test]
fn one_handle_put_got_and_flushed_at_once() {
    explore(|| {
        let engine = engine(1 << 20);
        let spec = PoolSpec {
            flags: POOL_PERSISTENT,
            ..PoolSpec::default()
        };
        let pool = engine.pool_create(&spec).unwrap();
        let versions = [(1, SLOTTED), (2, RAW), (3, SLOTTED), (4, FILLED)];
        let mut threads: Vec<_> = [&versions[..2], &versions[2..]]
            .into_iter()
            .map(|some| {
                let (engine, some) = (engine.clone(), some.to_vec());
                thread::spawn(move || {
                    for (version, value) in some {
                        assert!(put(&engine, pool, 0, version, value));
                    }
                })
            })
            .collect();
        let reader = engine.clone();
        threads.push(thread::spawn(move || {
            for _ in 0..2 {
                if let Some(page) = get(&reader, pool, 0) {
                    assert!(
                        versions
                            .iter()
                            .any(|(version, value)| page == content(*version, *value))
                    );
                }
            }
        }));
        let flusher = engine.clone();
        threads.push(thread::spawn(move || {
            flusher.flush_page(pool, 1, 0);
        }));
        join(threads);
        let pages = engine.stats().pages;
        assert_eq!(pages, u64::from(get(&engine, pool, 0).is_some()));
        assert_empty(&engine);
    });
}

/// Compaction moves pages while they are read, flushed and replaced.
#[test]
fn compaction_beside_everything() {
    explore(|| {
        let engine = engine(1 << 20);
        let spec = PoolSpec {
            flags: POOL_PERSISTENT,
            ..PoolSpec::default()
        };
        let pool = engine.pool_create(&spec).unwrap();
        for i in 0..24 {
            assert!(put(&engine, pool, i, i, SLOTTED));
        }
        for i in (0..24).filter(|i| i % 4 != 1) {
            engine.flush_page(pool, 1, i);
        }
        let compactors = (0..2).map(|_| {
            let engine = engine.clone();
            thread::spawn(move || while engine.maintain() {})
        });
        let mut threads: Vec<_> = compactors.collect();
        let reader = engine.clone();
        threads.push(thread::spawn(move || {
            for i in [1, 5, 9] {
                assert!(get(&reader, pool, i).unwrap() == content(i, SLOTTED));
            }
        }));
        let writer = engine.clone();
        threads.push(thread::spawn(move || {
            assert!(put(&writer, pool, 13, 100, SLOTTED));
            writer.flush_page(pool, 1, 17);
            assert!(put(&writer, pool, 30, 30, SLOTTED));
        }));
        join(threads);
        for (i, version) in [(1, 1), (5, 5), (9, 9), (13, 100), (21, 21), (30, 30)] {
            assert!(get(&engine, pool, i).unwrap() == content(version, SLOTTED));
        }
        assert!(get(&engine, pool, 17).is_none());
        assert!(engine.stats().moved_pages > 0);
        assert_empty(&engine);
    });
}

/// Pages are taken out while slots are filled and moved: one of two readers has each, whole, although its bytes
/// are read after the locks were dropped.
#[test]
fn takes_beside_everything() {
    explore(|| {
        let engine = engine(1 << 20);
        let spec = PoolSpec {
            flags: POOL_PERSISTENT,
            ..PoolSpec::default()
        };
        let pool = engine.pool_create(&spec).unwrap();
        for i in 0..12 {
            assert!(put(&engine, pool, i, i, SLOTTED));
        }
        let readers = (0..2).map(|_| {
            let engine = engine.clone();
            thread::spawn(move || {
                let found = [1, 2, 3, 7].map(|i| {
                    let page = take(&engine, pool, i);
                    assert!(page.is_none_or(|page| page == content(i, SLOTTED)), "{i}");
                    u32::from(page.is_some())
                });
                found.iter().sum::<u32>()
            })
        });
        let readers: Vec<_> = readers.collect();
        let (writer, compactor) = (engine.clone(), engine.clone());
        join(vec![
            thread::spawn(move || {
                for i in 20..24 {
                    assert!(put(&writer, pool, i, i, SLOTTED));
                }
            }),
            thread::spawn(move || while compactor.maintain() {}),
        ]);
        let hits = readers.into_iter().map(|reader| reader.join().unwrap());
        assert_eq!(hits.sum::<u32>(), 4);
        for i in [0, 4, 11, 20, 23] {
            assert!(get(&engine, pool, i).unwrap() == content(i, SLOTTED));
        }
        assert_empty(&engine);
    });
}

/// Records move while their pages are read, flushed and replaced, in a pool with queues and in one
/// without.
#[test]
fn records_move_beside_everything() {
    fn scenario(flags: u32) {
        // Three pages of records, each with a few in use.
        const PAGES: u64 = 3 * 84;
        let used = |i: u64| i % 28 == 5;
        let value = |i: u64| if i % 8 == 1 { SLOTTED } else { FILLED };
        let engine = engine(1 << 20);
        let spec = PoolSpec {
            flags,
            ..PoolSpec::default()
        };
        let pool = engine.pool_create(&spec).unwrap();
        for i in 0..PAGES {
            assert!(put(&engine, pool, i, i, value(i)));
        }
        for i in (0..PAGES).filter(|i| !used(*i)) {
            engine.flush_page(pool, 1, i);
        }
        let before = engine.used_bytes();
        let compactors = (0..2).map(|_| {
            let engine = engine.clone();
            thread::spawn(move || while engine.maintain() {})
        });
        let mut threads: Vec<_> = compactors.collect();
        let reader = engine.clone();
        threads.push(thread::spawn(move || {
            for i in [5, 61, 89, 173] {
                assert!(get(&reader, pool, i).unwrap() == content(i, value(i)));
            }
        }));
        let writer = engine.clone();
        threads.push(thread::spawn(move || {
            assert!(put(&writer, pool, 117, 500, FILLED));
            writer.flush_page(pool, 1, 145);
            assert!(put(&writer, pool, 300, 300, FILLED));
            writer.flush_page(pool, 1, 33);
        }));
        join(threads);
        while engine.maintain() {}
        assert!(engine.used_bytes() < before);
        for i in [5, 61, 89, 173, 201, 229] {
            assert!(
                get(&engine, pool, i).unwrap() == content(i, value(i)),
                "{i}"
            );
        }
        assert!(get(&engine, pool, 117).unwrap() == content(500, FILLED));
        assert!(get(&engine, pool, 300).unwrap() == content(300, FILLED));
        assert!(get(&engine, pool, 145).is_none() && get(&engine, pool, 33).is_none());
        assert_empty(&engine);
    }
    explore(|| scenario(POOL_PERSISTENT));
    explore(|| scenario(0));
}

/// A pool is closed while pages are put into it: none stays behind.
#[test]
fn a_pool_closes_under_puts() {
    explore(|| {
        let engine = engine(1 << 20);
        let spec = PoolSpec {
            flags: POOL_PERSISTENT,
            ..PoolSpec::default()
        };
        let pool = engine.pool_create(&spec).unwrap();
        let mut threads: Vec<_> = (0..2)
            .map(|me| {
                let engine = engine.clone();
                thread::spawn(move || {
                    for i in 0..3 {
                        put(&engine, pool, me * 10 + i, i, SLOTTED);
                    }
                    engine.flush_object(pool, 1);
                })
            })
            .collect();
        let closer = engine.clone();
        threads.push(thread::spawn(move || {
            closer.pool_destroy(pool).unwrap();
        }));
        join(threads);
        assert_eq!((engine.stats().pages, engine.host().inner.pins()), (0, 0));
        assert_empty(&engine);
    });
}

/// Puts evict each other's pages while the limit falls.
#[test]
fn eviction_beside_puts() {
    explore(|| {
        let engine = engine(1 << 20);
        let pool = engine.pool_create(&PoolSpec::default()).unwrap();
        engine.set_limit(48 << 10);
        let threads = (0..2)
            .map(|me| {
                let engine = engine.clone();
                thread::spawn(move || {
                    for i in 0..8 {
                        let index = i * 2 + me;
                        put(&engine, pool, index, index, [SLOTTED, RAW][i as usize % 2]);
                        if let Some(page) = get(&engine, pool, index) {
                            assert!(page == content(index, [SLOTTED, RAW][i as usize % 2]));
                        }
                    }
                })
            })
            .collect();
        let limiter = engine.clone();
        let limiter = thread::spawn(move || {
            limiter.set_limit(36 << 10);
        });
        join(threads);
        limiter.join().unwrap();
        assert!(engine.set_limit(36 << 10) == 0 && engine.used_bytes() <= 36 << 10);
        assert_empty(&engine);
    });
}
