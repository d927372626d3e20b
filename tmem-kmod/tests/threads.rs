//! Threads that put, get and flush at the same time while others flip codecs,
//! swing the limit, compact, shrink, and open and close pools; every page tells
//! which handle and version it belongs to.
#![allow(clippy::unwrap_used)]
#![cfg(not(feature = "broken-for-control"))]

#[path = "common/model.rs"]
mod model;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;

use model::{Random, content};
use tmem_common::op::Outcome;
use tmem_common::stats::Stats;
use tmem_kmod::userspace::{EmbeddedEngine, Options};
use tmem_kmod::{PAGE, POOL_PERSISTENT, Page, PoolSpec};

const WORKERS: u64 = 3;
/// Operations of a worker, and as many again until everything that is to be seen was seen.
const OPERATIONS: u64 = 12_000;
/// Operations of a worker at the most.
const MOST_OPERATIONS: u64 = 50 * OPERATIONS;

/// A page of a random kind that carries its handle and version, if it can carry anything.
fn stamped(object: u64, index: u64, version: u64, value: u16) -> Page {
    let mut page = content(version, value | 4);
    for (word, value) in page[PAGE - 32..]
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip([object, index, version])
    {
        *word = value.to_le_bytes();
    }
    page[PAGE - 8..PAGE - 6].copy_from_slice(&value.to_le_bytes());
    page[PAGE - 6..].fill(0);
    page
}

/// The version of a page, if it is whole and belongs to the handle.
fn version(page: &Page, object: u64, index: u64) -> Option<u64> {
    let word = |i: usize| u64::from_le_bytes(page[PAGE - 32 + 8 * i..][..8].try_into().unwrap());
    let whole = *page == stamped(object, index, word(2), word(3) as u16);
    (whole && word(0) == object && word(1) == index).then(|| word(2))
}

/// Whether pages were moved and evicted: on a busy machine that may take a while.
fn was_busy(stats: &Stats) -> bool {
    stats.moved_pages > 0 && stats.outcomes[Outcome::Evicted as usize] > 0
}

/// Works on persistent pages that nobody else touches, in objects that all share,
/// and on ephemeral pages that everybody does.
fn work(engine: &EmbeddedEngine, persistent: u32, ephemeral: u32, me: u64, hits: &AtomicU64) {
    let mut random = Random(me * 0x1234_5677 + 1);
    let mut mine: HashMap<(u64, u64), u64> = HashMap::new();
    let mut page = [0; PAGE];
    for step in 0..MOST_OPERATIONS {
        if step >= OPERATIONS && step % OPERATIONS == 0 && was_busy(&engine.stats()) {
            break;
        }
        let r = random.next();
        let (object, index) = (r % 5, (r >> 8) % 100 * WORKERS + me);
        let shared = (r >> 16) % 300;
        let value = (r >> 32) as u16;
        match r >> 60 {
            0..=4 => {
                let put = stamped(object, index, step, value);
                if engine
                    .put(persistent, object, index, &put, me)
                    .outcome
                    .is_stored()
                {
                    mine.insert((object, index), step);
                } else {
                    mine.remove(&(object, index));
                }
            }
            5..=8 => {
                let outcome = engine.get(persistent, object, index, &mut page).outcome;
                match mine.get(&(object, index)) {
                    None => assert_eq!(outcome, Outcome::Miss),
                    Some(wanted) => {
                        assert_eq!(outcome, Outcome::Hit);
                        assert_eq!(version(&page, object, index), Some(*wanted));
                        hits.fetch_add(1, Relaxed);
                    }
                }
            }
            9 => {
                let flushed =
                    engine.flush_page(persistent, object, index).outcome == Outcome::Flushed;
                assert_eq!(flushed, mine.remove(&(object, index)).is_some());
            }
            10..=12 => {
                engine.put(
                    ephemeral,
                    object,
                    shared,
                    &stamped(object, shared, step, value),
                    me,
                );
            }
            13 | 14 => {
                if engine.get(ephemeral, object, shared, &mut page).outcome == Outcome::Hit {
                    assert!(version(&page, object, shared).is_some());
                    hits.fetch_add(1, Relaxed);
                }
            }
            _ => {
                engine.flush_object(ephemeral, object);
            }
        }
    }
    for ((object, index), wanted) in mine {
        assert_eq!(
            engine.get(persistent, object, index, &mut page).outcome,
            Outcome::Hit
        );
        assert_eq!(version(&page, object, index), Some(wanted));
    }
}

/// Turns every knob until told to stop.
fn disturb(engine: &EmbeddedEngine, persistent: u32, stop: &AtomicBool) {
    let mut random = Random(99);
    while !stop.load(Relaxed) {
        let r = random.next();
        match r % 8 {
            0 | 1 => engine.set_default_codec((r >> 8) as u32 % 2).unwrap(),
            2 => {
                engine.set_limit((1 << 20) + (r >> 8) % (3 << 20));
            }
            3 => {
                engine.shrink((r >> 8) % 50);
            }
            4 => engine
                .set_pool_frozen(persistent, (r >> 8).is_multiple_of(8))
                .unwrap(),
            5 => engine.set_keep_incompressible(!(r >> 8).is_multiple_of(4)),
            6 => {
                let pool = engine.pool_create(&PoolSpec::default()).unwrap();
                for i in 0..40 {
                    engine.put(pool, i % 3, i, &stamped(i % 3, i, r, i as u16), 0);
                }
                engine.pool_destroy(pool).unwrap();
            }
            _ => {
                let stats = engine.stats();
                assert!(
                    stats.pages < 1 << 40 && stats.data_bytes < 1 << 40,
                    "{stats:?}"
                );
                thread::yield_now();
            }
        }
    }
}

#[test]
fn everything_at_once() {
    let engine = EmbeddedEngine::new(&Options {
        arena_bytes: 32 << 20,
        limit_bytes: 3 << 20,
        maintenance_thread: true,
        poison: true,
    })
    .unwrap();
    let spec = PoolSpec {
        flags: POOL_PERSISTENT,
        ..PoolSpec::default()
    };
    let persistent = engine.pool_create(&spec).unwrap();
    let ephemeral = engine.pool_create(&PoolSpec::default()).unwrap();
    let (stop, hits) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let disturber = scope.spawn(|| disturb(&engine, persistent, &stop));
        let workers: Vec<_> = (0..WORKERS)
            .map(|me| {
                let (engine, hits) = (&engine, &hits);
                scope.spawn(move || work(engine, persistent, ephemeral, me, hits))
            })
            .collect();
        let worked: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        stop.store(true, Relaxed);
        disturber.join().unwrap();
        worked.into_iter().for_each(|outcome| outcome.unwrap());
    });
    assert!(hits.load(Relaxed) > 1000, "only {hits:?} hits");
    engine.set_pool_frozen(persistent, false).unwrap();
    engine.destroy_all_pools();
    let stats = engine.stats();
    assert!(was_busy(&stats));
    assert_eq!(
        (stats.pages, stats.data_bytes, engine.used_bytes()),
        (0, 0, 0)
    );
    assert_eq!((engine.host().live_pages(), engine.host().pins()), (0, 0));
}

/// An operation on a pool that is closed and reopened meanwhile ends in neither.
#[test]
fn pools_close_under_load() {
    let engine = EmbeddedEngine::new(&Options {
        arena_bytes: 32 << 20,
        limit_bytes: 32 << 20,
        poison: true,
        ..Options::default()
    })
    .unwrap();
    let pool = engine.pool_create(&PoolSpec::default()).unwrap();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        for me in 0..2_u64 {
            let (engine, stop) = (&engine, &stop);
            scope.spawn(move || {
                let mut random = Random(me + 5);
                let mut page = [0; PAGE];
                while !stop.load(Relaxed) {
                    let r = random.next();
                    let (object, index) = (r % 3, (r >> 8) % 50);
                    engine.put(
                        pool,
                        object,
                        index,
                        &stamped(object, index, r, (r >> 16) as u16),
                        0,
                    );
                    if engine.get(pool, object, index ^ 1, &mut page).outcome == Outcome::Hit {
                        assert!(version(&page, object, index ^ 1).is_some());
                    }
                    engine.flush_page(pool, object, index ^ 3);
                }
            });
        }
        for round in 0..200 {
            engine.pool_destroy(pool).unwrap();
            // Operations of the last round may still hold the place; then another number comes.
            let mut next = engine
                .pool_create(&PoolSpec {
                    flags: round % 2,
                    ..PoolSpec::default()
                })
                .unwrap();
            while next != pool {
                engine.pool_destroy(next).unwrap();
                thread::yield_now();
                next = engine
                    .pool_create(&PoolSpec {
                        flags: round % 2,
                        ..PoolSpec::default()
                    })
                    .unwrap();
            }
            thread::yield_now();
        }
        stop.store(true, Relaxed);
    });
    engine.destroy_all_pools();
    assert_eq!(
        (
            engine.stats().pages,
            engine.stats().data_bytes,
            engine.used_bytes()
        ),
        (0, 0, 0)
    );
    assert_eq!((engine.host().live_pages(), engine.host().pins()), (0, 0));
}
