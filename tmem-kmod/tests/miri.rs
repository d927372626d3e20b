//! Short runs for Miri, which checks every access to memory:
//! `cargo +nightly miri test -p tmem-kmod --test miri`. Ordinary test runs do
//! them as well.
#![allow(clippy::unwrap_used)]
#![cfg(not(feature = "broken-for-control"))]

#[path = "common/decode.rs"]
mod decode;
#[path = "common/model.rs"]
mod model;
#[path = "common/px64.rs"]
mod px64;

use std::thread;

use model::{Setup, content, engine, run, seeded_ops};
use tmem_common::op::Outcome;
use tmem_kmod::{PAGE, PoolSpec};

#[test]
fn miri_model() {
    let setup = Setup {
        limit: 256 << 10,
        fail: None,
    };
    run(&seeded_ops(3, 60), setup).unwrap();
}

#[test]
fn miri_failing_allocations() {
    for first in [0, 1, 2, 5, 9] {
        let setup = Setup {
            limit: 256 << 10,
            fail: Some((first, first + 2)),
        };
        run(&seeded_ops(4, 20), setup).unwrap();
    }
}

#[test]
fn miri_expiry() {
    let engine = engine(1 << 20);
    let pool = engine.pool_create(&PoolSpec::default()).unwrap();
    engine.set_pool_ttl(pool, 8).unwrap();
    let tell = |seconds: u64| while engine.expire(seconds * 1_000_000_000) == Some(0) {};
    let mut got = [0; PAGE];
    let mut is_there = |index| engine.get(pool, 0, index, &mut got).outcome == Outcome::Hit;
    tell(10);
    for i in 0..12 {
        engine.put(pool, 0, i, &content(i, 44), 0);
    }
    tell(15);
    engine.put(pool, 0, 12, &content(12, 44), 0);
    assert!(is_there(3) && is_there(12));
    // The clock alone, so that a get meets an expired page.
    assert_eq!(engine.expire(19_000_000_000), Some(0));
    assert!(!is_there(3) && is_there(12));
    tell(19);
    assert_eq!(engine.stats().pages, 1);
    engine.destroy_all_pools();
    assert_eq!(engine.used_bytes(), 0);
}

#[test]
fn miri_compaction() {
    let engine = engine(1 << 20);
    let pool = engine.pool_create(&PoolSpec::default()).unwrap();
    let page = |i| content(i, 44);
    for i in 0..24 {
        engine.put(pool, 0, i, &page(i), 0);
    }
    for i in (0..24).filter(|i| i % 4 != 0) {
        engine.flush_page(pool, 0, i);
    }
    while engine.maintain() {}
    assert!(engine.stats().moved_pages > 0);
    let mut got = [0; PAGE];
    for i in [0, 8, 20] {
        assert_eq!(engine.get(pool, 0, i, &mut got).outcome, Outcome::Hit);
        assert!(got == page(i));
    }
    engine.destroy_all_pools();
    assert_eq!(engine.used_bytes(), 0);
}

#[test]
fn miri_threads() {
    let engine = engine(1 << 20);
    let pool = engine.pool_create(&PoolSpec::default()).unwrap();
    thread::scope(|scope| {
        for me in 0..2_u64 {
            let engine = &engine;
            scope.spawn(move || {
                let mut got = [0; PAGE];
                for i in 0..6 {
                    engine.put(pool, 0, i, &content(i, [44, 20, 3][i as usize % 3]), me);
                    if engine.get(pool, 0, i ^ 1, &mut got).outcome == Outcome::Hit {
                        assert!(got == content(i ^ 1, [44, 20, 3][(i ^ 1) as usize % 3]));
                    }
                    engine.flush_page(pool, 0, i / 2);
                }
            });
        }
        scope.spawn(|| while engine.maintain() {});
    });
    engine.destroy_all_pools();
    assert_eq!(engine.used_bytes(), 0);
}

/// LZ4's decoder and encoder on hostile, damaged and whole pages, each in memory of exactly its size.
#[test]
fn miri_lz4() {
    decode::round_trip(&content(3, 44));
    decode::try_bytes(&[7, 0, 0x40, 9, 1, 0xF0, 200, 3, 0xFF]);
}

/// px64's portable code, which is what Miri can run, on a page of each structure and on damage.
#[test]
fn miri_px64() {
    for seed in [1, 4, 7] {
        let page = px64::structured(seed);
        let Some(data) = px64::round_trip(&page) else {
            continue;
        };
        for damage in 0..3 {
            let mut data = data.clone().into_boxed_slice();
            let at = (damage * 977 + 9) % data.len();
            data[at] ^= 0x35;
            assert!(px64::Guarded::decode(&data) == px64::reference(&data));
            let cut: Box<[u8]> = data[..at].into();
            assert!(px64::Guarded::decode(&cut).is_err());
        }
    }
}
