//! The engine's contract, point by point, on the userspace host.
#![allow(clippy::unwrap_used)]
#![cfg(not(feature = "broken-for-control"))]

use tmem_common::op::Outcome;
use tmem_common::policy::{ADMIT_ALL, ADMIT_REFAULTED, MAX_TTL, Policy};
use tmem_kmod::userspace::{EmbeddedEngine, Options};
use tmem_kmod::{PAGE, POOL_EXCLUSIVE_GET, POOL_PERSISTENT, Page, PoolError, PoolSpec, Report};

const MIB: u64 = 1 << 20;

fn engine(limit: u64) -> EmbeddedEngine {
    EmbeddedEngine::new(&Options {
        arena_bytes: 256 * MIB,
        limit_bytes: limit,
        maintenance_thread: false,
        poison: true,
    })
    .unwrap()
}

fn spec(flags: u32) -> PoolSpec {
    PoolSpec {
        flags,
        ..PoolSpec::default()
    }
}

/// A page that compresses to roughly `random` bytes and tells which one it is.
fn page(seed: u64, random: usize) -> Page {
    let mut page = [0_u8; PAGE];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for byte in &mut page[..random] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    page[PAGE - 8..].copy_from_slice(&seed.to_le_bytes());
    page
}

fn get(engine: &EmbeddedEngine, pool: u32, object: u64, index: u64) -> (Outcome, Page) {
    let mut page = [0xAA; PAGE];
    let report = engine.get(pool, object, index, &mut page);
    (report.outcome, page)
}

fn assert_empty(engine: &EmbeddedEngine) {
    let stats = engine.stats();
    assert_eq!(
        (
            stats.pages,
            stats.same_pages,
            stats.raw_pages,
            stats.data_bytes
        ),
        (0, 0, 0, 0)
    );
    assert_eq!(
        (stats.store_bytes, stats.metadata_bytes, engine.used_bytes()),
        (0, 0, 0)
    );
    assert_eq!((engine.host().live_pages(), engine.host().pins()), (0, 0));
}

#[test]
fn pages_of_every_kind_come_back() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    let mut wanted = Vec::new();
    for i in 0..4000_u64 {
        let page = match i % 8 {
            0 => [0; PAGE],
            1 => [0x5A; PAGE],
            2 => page(i, PAGE),
            _ => page(i, (i as usize * 37) % PAGE),
        };
        let report = engine.put(pool, i / 64, i % 64, &page, 7);
        let expected = match i % 8 {
            0 | 1 => Outcome::StoredSame,
            2 => Outcome::StoredRaw,
            _ if report.outcome == Outcome::StoredRaw => Outcome::StoredRaw,
            _ => Outcome::Stored,
        };
        assert_eq!(report.outcome, expected);
        wanted.push(page);
    }
    for (i, page) in wanted.iter().enumerate() {
        let i = i as u64;
        // Changes nothing, whatever is there.
        engine.prefetch(pool, i / 64, i);
        let (outcome, got) = get(&engine, pool, i / 64, i % 64);
        assert_eq!(outcome, Outcome::Hit);
        assert!(got == *page, "page {i} differs");
    }
    assert_eq!(engine.stats().pages, 4000);
    assert_eq!(engine.host().pins(), 1);
    assert_eq!(engine.flush_object(pool, 3), 64);
    assert_eq!(engine.flush_object(pool, 3), 0);
    assert!(!engine.contains(pool, 3, 0));
    engine.pool_destroy(pool).unwrap();
    assert_empty(&engine);
}

#[test]
fn a_put_replaces_and_a_refused_put_removes() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    engine.put(pool, 1, 1, &page(1, 500), 0);
    engine.put(pool, 1, 1, &page(2, 900), 0);
    assert!(get(&engine, pool, 1, 1).1 == page(2, 900));
    assert_eq!(engine.stats().pages, 1);

    engine.set_pool_frozen(pool, true).unwrap();
    assert_eq!(get(&engine, pool, 1, 1).0, Outcome::Hit);
    assert_eq!(
        engine.put(pool, 1, 1, &page(3, 900), 0).outcome,
        Outcome::RefusedFrozen
    );
    assert_eq!(get(&engine, pool, 1, 1).0, Outcome::Miss);
    engine.set_pool_frozen(pool, false).unwrap();

    engine.put(pool, 1, 1, &page(1, 500), 0);
    engine.set_keep_incompressible(false);
    assert_eq!(
        engine.put(pool, 1, 1, &page(4, PAGE), 0).outcome,
        Outcome::RefusedIncompressible
    );
    assert_eq!(get(&engine, pool, 1, 1).0, Outcome::Miss);

    // The pool's first page asks whether the host can stay; further ones need not.
    engine.host().refuse_pins(true);
    assert_eq!(
        engine.put(pool, 1, 1, &page(5, 100), 0).outcome,
        Outcome::RefusedFrozen
    );
    assert_eq!(get(&engine, pool, 1, 1).0, Outcome::Miss);
    assert_eq!((engine.stats().pages, engine.host().pins()), (0, 0));
    engine.host().refuse_pins(false);
    engine.put(pool, 1, 1, &page(1, 500), 0);
    engine.host().refuse_pins(true);
    engine.put(pool, 1, 2, &page(5, 100), 0);
    assert_eq!((engine.stats().pages, engine.host().pins()), (2, 1));
    engine.flush_page(pool, 1, 1);
    assert_eq!(engine.host().pins(), 1);
    engine.flush_page(pool, 1, 2);
    assert_eq!(engine.host().pins(), 0);
    engine.host().refuse_pins(false);

    engine.put(pool, 1, 1, &page(1, 500), 0);
    engine.set_enabled(false);
    assert_eq!(
        engine.put(pool, 1, 1, &page(5, 100), 0).outcome,
        Outcome::RefusedFrozen
    );
    assert_eq!(get(&engine, pool, 1, 1).0, Outcome::Miss);
    assert_empty(&engine);
}

#[test]
fn an_exclusive_get_removes_the_page() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(POOL_EXCLUSIVE_GET)).unwrap();
    for (i, random) in [0, 500, PAGE].into_iter().enumerate() {
        let i = i as u64;
        engine.put(pool, 1, i, &page(i, random), 0);
        assert!(get(&engine, pool, 1, i) == (Outcome::Hit, page(i, random)));
        assert_eq!(get(&engine, pool, 1, i).0, Outcome::Miss);
    }
    assert_empty(&engine);
}

#[test]
fn persistent_pages_are_never_evicted_and_the_budget_holds() {
    let engine = engine(4 * MIB);
    let pool = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    let mut kept = Vec::new();
    let mut refused = 0;
    for i in 0..4000 {
        match engine.put(pool, i / 256, i % 256, &page(i, 2000), 0) {
            Report {
                outcome: Outcome::Stored,
                ..
            } => kept.push(i),
            Report { outcome, .. } => {
                assert_eq!(outcome, Outcome::RefusedLimit);
                refused += 1;
            }
        }
        assert!(engine.used_bytes() <= 4 * MIB);
    }
    assert!(
        refused > 0 && kept.len() > 1500,
        "{refused} refused, {} kept",
        kept.len()
    );
    for i in &kept {
        assert!(get(&engine, pool, i / 256, i % 256) == (Outcome::Hit, page(*i, 2000)));
    }
    let overhang = engine.set_limit(MIB);
    assert_eq!(overhang, engine.used_bytes() - MIB);
    assert_eq!(engine.stats().pages, kept.len() as u64);
    engine.pool_destroy(pool).unwrap();
    assert_empty(&engine);
}

/// Pages that are asked for again and again outlive a scan where the names of those that went are remembered.
#[test]
fn names_of_pages_that_went_bring_them_through_a_scan() {
    for policy in Policy::ALL {
        let engine = engine(4 * MIB);
        let pool = engine.pool_create(&spec(0)).unwrap();
        engine.set_pool_policy(pool, policy as u32).unwrap();
        assert_eq!(engine.pool_info(pool).unwrap().policy, policy);
        let (mut hits, mut asked) = (0, 0);
        for i in 0..12_000 {
            let (object, index) = if i % 3 == 0 {
                let popular = i / 3 % 1000;
                (popular % 64, popular / 64)
            } else {
                (1000 + i % 64, i)
            };
            let outcome = get(&engine, pool, object, index).0;
            if i % 3 == 0 {
                asked += 1;
                hits += u64::from(outcome == Outcome::Hit);
            }
            if outcome == Outcome::Miss {
                engine.put(pool, object, index, &page(i, 2000), 0);
            }
            assert!(engine.used_bytes() <= 4 * MIB);
        }
        let share = hits as f64 / asked as f64;
        // By turns 3000 others come between two uses: more than fit.
        let wanted = match policy {
            Policy::Lru | Policy::Fifo | Policy::Clock | Policy::Sieve => 0.0..0.1,
            Policy::S3Fifo | Policy::TwoQ => 0.2..1.0,
        };
        assert!(wanted.contains(&share), "{policy:?}: {share}");
        assert!(engine.stats().outcomes[Outcome::Evicted as usize] > 0);
        engine.pool_destroy(pool).unwrap();
        assert_empty(&engine);
    }
}

#[test]
fn admission_takes_what_was_offered_or_asked_for_before() {
    let engine = engine(4 * MIB);
    let pool = engine.pool_create(&spec(0)).unwrap();
    let put = |index, random| engine.put(pool, 1, index, &page(index, random), 0).outcome;
    engine.set_pool_admission(pool, 2).unwrap();
    assert_eq!(put(1, 2000), Outcome::RefusedLimit);
    assert_eq!(put(1, 2000), Outcome::RefusedLimit);
    assert_eq!(put(1, 2000), Outcome::Stored);
    assert_eq!(put(1, 2000), Outcome::Stored);

    engine.set_pool_admission(pool, ADMIT_REFAULTED).unwrap();
    assert_eq!(put(2, 2000), Outcome::RefusedLimit);
    assert_eq!(put(2, 2000), Outcome::RefusedLimit);
    assert_eq!(get(&engine, pool, 1, 2).0, Outcome::Miss);
    assert_eq!(put(2, 2000), Outcome::Stored);

    engine.set_pool_admission(pool, ADMIT_ALL).unwrap();
    engine.set_pool_max_ratio(pool, 40).unwrap();
    assert_eq!(put(3, 2000), Outcome::RefusedIncompressible);
    assert_eq!(put(3, PAGE), Outcome::RefusedIncompressible);
    assert_eq!(put(3, 1000), Outcome::Stored);
    // A page that came to be too large takes its older copy along.
    assert_eq!(put(3, 2000), Outcome::RefusedIncompressible);
    assert_eq!(get(&engine, pool, 1, 3).0, Outcome::Miss);

    let persistent = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    for result in [
        engine.set_pool_policy(persistent, 0),
        engine.set_pool_policy(pool, 6),
        engine.set_pool_admission(pool, 16),
        engine.set_pool_max_ratio(pool, 0),
        engine.set_pool_max_ratio(pool, 101),
    ] {
        assert_eq!(result, Err(PoolError::Invalid));
    }
    engine.pool_destroy(pool).unwrap();
    engine.pool_destroy(persistent).unwrap();
    assert_empty(&engine);
}

/// Tells an engine the time, in seconds, until it has nothing more to do: when it wants to be told again.
fn tell(engine: &EmbeddedEngine, seconds: u64) -> Option<u64> {
    loop {
        match engine.expire(seconds * SECOND) {
            Some(0) => {}
            due => break due,
        }
    }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn pages_go_when_their_time_to_live_is_over() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(POOL_EXCLUSIVE_GET)).unwrap();
    assert_eq!(tell(&engine, 1), None);
    engine.set_pool_ttl(pool, 80).unwrap();
    assert_eq!(engine.pool_info(pool).unwrap().ttl, 80);
    assert_eq!(tell(&engine, 100), Some(10 * SECOND));
    let empty = engine.used_bytes();
    for i in 0..2000 {
        engine.put(pool, i / 16, i % 16, &page(i, 2000), 0);
    }
    assert_eq!(tell(&engine, 189), Some(SECOND));
    assert_eq!(engine.stats().pages, 2000);
    assert_eq!(get(&engine, pool, 1, 0).0, Outcome::Hit);

    // The clock goes on and the sweep begins, but has not come to the object's shard.
    assert_eq!(engine.expire(190 * SECOND), Some(0));
    let left = engine.stats().pages;
    assert!(left > 1900, "{left}");
    let kept = (0..125).find(|object| {
        let before = engine.stats().pages;
        let outcome = get(&engine, pool, *object, 3).0;
        assert_eq!(outcome, Outcome::Miss);
        engine.stats().pages < before
    });
    assert!(kept.is_some());
    assert!(!engine.contains(pool, 124, 5));

    assert_eq!(tell(&engine, 190), Some(10 * SECOND));
    while engine.maintain() {}
    let stats = engine.stats();
    assert_eq!(stats.pages, 0);
    assert_eq!(stats.outcomes[Outcome::Evicted as usize], 1999);
    assert!(engine.used_bytes() <= empty + 2 * PAGE as u64);
    engine.pool_destroy(pool).unwrap();
    assert_eq!(tell(&engine, 200), None);
    assert_empty(&engine);
}

#[test]
fn a_page_does_not_become_young_again() {
    for policy in Policy::ALL {
        let engine = engine(64 * MIB);
        let pool = engine.pool_create(&spec(0)).unwrap();
        engine.set_pool_policy(pool, policy as u32).unwrap();
        engine.set_pool_ttl(pool, 8).unwrap();
        // Records of a page know the last 32 epochs.
        for now in 0..100 {
            tell(&engine, 10 + now);
            engine.put(pool, now % 7, now, &page(now, 1000), 0);
            for put in 0..=now {
                let wanted = if now - put <= 8 {
                    Outcome::Hit
                } else {
                    Outcome::Miss
                };
                assert_eq!(
                    get(&engine, pool, put % 7, put).0,
                    wanted,
                    "{policy:?} {put} {now}"
                );
            }
            assert_eq!(engine.stats().pages, 9.min(now + 1));
        }
        // However long it was not told the time, or did not come to its sweep.
        for now in [140, 190, 222, 254] {
            let _ = engine.expire(now * SECOND);
            assert_eq!(get(&engine, pool, 99 % 7, 99).0, Outcome::Miss, "{now}");
        }
        engine.put(pool, 1, 7, &page(7, 1000), 0);
        assert_eq!(get(&engine, pool, 1, 7).0, Outcome::Hit);
        engine.pool_destroy(pool).unwrap();
        assert_empty(&engine);
    }
}

#[test]
fn a_new_time_to_live_leaves_pages_the_share_that_they_have_used() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(0)).unwrap();
    let is_there = |index| get(&engine, pool, 1, index).0 == Outcome::Hit;
    engine.put(pool, 1, 0, &page(0, 1000), 0);
    engine.set_pool_ttl(pool, 80).unwrap();
    tell(&engine, 100);
    engine.put(pool, 1, 1, &page(1, 1000), 0);
    // Half of it, then the other half of one ten times as long.
    tell(&engine, 140);
    engine.put(pool, 1, 2, &page(2, 1000), 0);
    engine.set_pool_ttl(pool, 800).unwrap();
    tell(&engine, 1000);
    tell(&engine, 1499);
    assert!(is_there(0) && is_there(1) && is_there(2));
    tell(&engine, 1500);
    assert!(!is_there(0) && !is_there(1) && is_there(2));

    // Told again and again, it is over all the same.
    engine.put(pool, 1, 3, &page(3, 1000), 0);
    for time in 1501..2500 {
        engine.set_pool_ttl(pool, 800).unwrap();
        tell(&engine, time);
    }
    assert!(!is_there(3));
    engine.put(pool, 1, 2, &page(2, 1000), 0);

    engine.set_pool_ttl(pool, 0).unwrap();
    assert_eq!(tell(&engine, 1_000_000), None);
    assert!(is_there(2));

    let persistent = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    for (result, wanted) in [
        (engine.set_pool_ttl(persistent, 0), PoolError::Invalid),
        (engine.set_pool_ttl(pool, MAX_TTL + 1), PoolError::Invalid),
        (engine.set_pool_ttl(63, 1), PoolError::NotFound),
    ] {
        assert_eq!(result, Err(wanted));
    }
    assert_eq!(engine.pool_info(pool).unwrap().ttl, 0);
}

#[test]
fn ephemeral_pages_give_way_by_age_weight_and_kind() {
    let engine = engine(4 * MIB);
    let light = engine.pool_create(&spec(0)).unwrap();
    let heavy = engine.pool_create(&spec(0)).unwrap();
    engine.set_pool_weight(heavy, 300).unwrap();
    for i in 0..4000 {
        assert_eq!(
            engine.put(light, i / 16, i % 16, &page(i, 2000), 0).outcome,
            Outcome::Stored
        );
        assert_eq!(
            engine.put(heavy, i / 16, i % 16, &page(i, 2000), 0).outcome,
            Outcome::Stored
        );
        assert!(engine.used_bytes() <= 4 * MIB);
    }
    let (light_pages, heavy_pages) = (
        engine.pool_stats(light).unwrap().pages,
        engine.pool_stats(heavy).unwrap().pages,
    );
    let ratio = heavy_pages as f64 / light_pages as f64;
    assert!(
        (2.5..3.5).contains(&ratio),
        "{heavy_pages} to {light_pages}"
    );
    assert_eq!(
        engine.stats().outcomes[Outcome::Evicted as usize],
        engine.host().evictions()
    );
    // The newest pages are there, the oldest are not.
    assert!(engine.contains(heavy, 3999 / 16, 3999 % 16) && !engine.contains(heavy, 0, 0));

    let persistent = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    for i in 0..1000 {
        assert_eq!(
            engine.put(persistent, 0, i, &page(i, 2000), 0).outcome,
            Outcome::Stored
        );
    }
    assert_eq!(engine.set_limit(3 * MIB), 0);
    assert_eq!(engine.pool_stats(persistent).unwrap().pages, 1000);
    assert!(engine.set_limit(MIB) > 0);
    assert_eq!(engine.stats().pages, 1000);
    engine.pool_destroy(light).unwrap();
    engine.pool_destroy(heavy).unwrap();
    engine.pool_destroy(persistent).unwrap();
    assert_empty(&engine);
}

#[test]
fn a_pool_stays_within_its_own_limit() {
    let engine = engine(64 * MIB);
    let ephemeral = engine.pool_create(&spec(0)).unwrap();
    let persistent = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    for pool in [ephemeral, persistent] {
        engine.set_pool_limit(pool, MIB).unwrap();
    }
    let mut refused = 0;
    for i in 0..2000 {
        assert_eq!(
            engine.put(ephemeral, i, 0, &page(i, 1000), 0).outcome,
            Outcome::Stored
        );
        refused += u64::from(
            engine.put(persistent, i, 0, &page(i, 1000), 0).outcome == Outcome::RefusedLimit,
        );
    }
    for pool in [ephemeral, persistent] {
        let stats = engine.pool_stats(pool).unwrap();
        let bytes = stats.store_bytes + stats.metadata_bytes;
        assert!((MIB * 9 / 10..=MIB).contains(&bytes), "{bytes}");
    }
    assert_eq!(engine.pool_stats(persistent).unwrap().pages, 2000 - refused);
    engine.set_pool_limit(ephemeral, MIB / 2).unwrap();
    let stats = engine.pool_stats(ephemeral).unwrap();
    assert!(stats.store_bytes + stats.metadata_bytes <= MIB / 2);
}

#[test]
fn pools_have_names_numbers_and_settings() {
    let engine = engine(64 * MIB);
    let named = PoolSpec {
        uuid: [3; 16],
        flags: POOL_PERSISTENT,
        version: 2,
    };
    let pool = engine.pool_create(&named).unwrap();
    assert_eq!(engine.pool_create(&named), Err(PoolError::Exists));
    assert_eq!(engine.pool_by_uuid(&[3; 16]), Ok(pool));
    let info = engine.pool_info(pool).unwrap();
    assert_eq!(
        (info.spec, info.limit_bytes, info.weight, info.frozen),
        (named, u64::MAX, 100, false)
    );
    assert_eq!(engine.pool_create(&spec(1 << 7)), Err(PoolError::Invalid));
    assert_eq!(engine.set_pool_weight(pool, 0), Err(PoolError::Invalid));
    assert_eq!(engine.set_pool_codec(pool, 3), Err(PoolError::Invalid));
    assert_eq!(engine.set_pool_codec(pool, 77), Err(PoolError::Invalid));
    assert_eq!(engine.set_pool_frozen(9, true), Err(PoolError::NotFound));
    assert_eq!(engine.pool_destroy(64), Err(PoolError::NotFound));
    let others: Vec<u32> = (1..64)
        .map(|_| engine.pool_create(&spec(0)).unwrap())
        .collect();
    assert_eq!(engine.pool_create(&spec(0)), Err(PoolError::NoSpace));
    engine.put(others[5], 1, 1, &page(1, 9), 0);
    engine.pool_destroy(others[5]).unwrap();
    assert_eq!(engine.pool_create(&spec(0)), Ok(others[5]));
    assert_eq!(get(&engine, others[5], 1, 1).0, Outcome::Miss);
    // Counters outlive their pool.
    assert_eq!(engine.stats().outcomes[Outcome::Stored as usize], 1);
}

#[test]
fn pages_keep_the_codec_they_were_stored_with() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    for i in 0..600 {
        engine
            .set_pool_codec(pool, [0, 1, 255][i as usize % 3])
            .unwrap();
        engine.set_default_codec((i % 2) as u32).unwrap();
        assert!(
            engine
                .put(pool, 0, i, &page(i, 1500), 0)
                .outcome
                .is_stored()
        );
    }
    for i in 0..600 {
        assert!(get(&engine, pool, 0, i) == (Outcome::Hit, page(i, 1500)));
    }
    let stats = engine.stats();
    assert_eq!(stats.raw_pages, 300);
}

#[test]
fn handles_are_as_wide_as_stated() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(0)).unwrap();
    let largest = (1 << 36) - 1;
    let handles = [
        (0, 0),
        (u64::MAX, 0),
        (u64::MAX, largest),
        (1 << 32, 1 << 32),
        (0, 1 << 32),
        (1 << 32, 0),
    ];
    for (n, (object, index)) in handles.into_iter().enumerate() {
        assert_eq!(
            engine
                .put(pool, object, index, &page(n as u64, 100), 0)
                .outcome,
            Outcome::Stored
        );
    }
    for (n, (object, index)) in handles.into_iter().enumerate() {
        assert!(get(&engine, pool, object, index) == (Outcome::Hit, page(n as u64, 100)));
    }
    assert_eq!(
        engine.put(pool, 0, largest + 1, &page(0, 100), 0).outcome,
        Outcome::RefusedLimit
    );
    assert!(!engine.contains(pool, 0, largest + 1));
    // So many that some are in the bucket of the page whose index has the same low bits, also for who reads in order.
    for n in 1..2000 {
        let beyond = n << 36;
        assert_eq!(get(&engine, pool, 0, beyond).0, Outcome::Miss, "{n}");
        assert_eq!(
            engine.flush_page(pool, 0, beyond).outcome,
            Outcome::Miss,
            "{n}"
        );
    }
    for index in largest - 3..=largest {
        engine.put(pool, 7, index, &page(index, 100), 0);
    }
    for index in largest - 3..=largest {
        assert!(get(&engine, pool, 7, index) == (Outcome::Hit, page(index, 100)));
    }
    assert_eq!(get(&engine, pool, 7, largest + 1).0, Outcome::Miss);
}

#[test]
fn shrinking_gives_whole_pages_back() {
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(0)).unwrap();
    for i in 0..8000 {
        engine.put(pool, i / 100, i % 100, &page(i, 300 + i as usize % 2500), 0);
    }
    let used = engine.used_bytes();
    assert!(engine.shrinkable() * PAGE as u64 >= used * 8 / 10);
    let gone = engine.shrink(1000);
    assert!(gone >= 1000);
    assert_eq!(engine.used_bytes(), used - gone * PAGE as u64);
    assert!(engine.stats().pages > 5000);
    engine.shrink(u64::MAX);
    assert_empty(&engine);
}

/// Bytes of bookkeeping a page, with `objects` objects of `indexes` pages each, which take turns
/// with these contents.
fn metadata_per_page(objects: u64, indexes: u64, shapes: &[Page]) -> f64 {
    let engine = engine(256 * MIB);
    let pool = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    for object in 0..objects {
        for index in 0..indexes {
            let shape = &shapes[(object * indexes + index) as usize % shapes.len()];
            assert!(
                engine
                    .put(pool, object, index, shape, 0)
                    .outcome
                    .is_stored()
            );
        }
    }
    let stats = engine.stats();
    engine.pool_destroy(pool).unwrap();
    assert_empty(&engine);
    stats.metadata_bytes as f64 / (objects * indexes) as f64
}

#[test]
fn bookkeeping_takes_at_most_64_bytes_a_page() {
    let compressed: Vec<Page> = (0..97).map(|i| page(i, 300 + i as usize * 32)).collect();
    let filled = [[7; PAGE]];
    for (objects, indexes) in [(1, 6000), (30, 200), (500, 12)] {
        let bytes = metadata_per_page(objects, indexes, &compressed);
        assert!(
            (48.0..=64.0).contains(&bytes),
            "{objects} x {indexes}: {bytes}"
        );
    }
    // Spans have fewest slots where all pages take half a page or more.
    for len in [1980, 2000, 2700, 3900] {
        let bytes = metadata_per_page(1, 40_000, &[page(1, len)]);
        assert!((48.0..=64.0).contains(&bytes), "all of {len}: {bytes}");
    }
    for (objects, indexes) in [(1, 16384), (100, 1000), (10_000, 10)] {
        let bytes = metadata_per_page(objects, indexes, &filled);
        assert!(
            (48.0..=64.0).contains(&bytes),
            "{objects} x {indexes}: {bytes}"
        );
    }
    // An object of a single page costs an object's record more.
    let bytes = metadata_per_page(60_000, 1, &filled);
    assert!((84.0..=100.0).contains(&bytes), "single pages: {bytes}");
}

/// Enough pages in one shard for its table to need pages of frame numbers.
#[test]
fn one_huge_object_grows_and_shrinks() {
    const PAGES: u64 = 40_000;
    let engine = engine(64 * MIB);
    let pool = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    let filled = |i: u64| {
        let mut page = [0; PAGE];
        page.as_chunks_mut().0.fill((i as u32).to_le_bytes());
        page
    };
    // A stride that is coprime to the number visits every index, in another order.
    let order = |stride: u64| (0..PAGES).map(move |i| i * stride % PAGES);
    for i in order(7919) {
        assert_eq!(
            engine.put(pool, 5, i << 20, &filled(i), 0).outcome,
            Outcome::StoredSame
        );
    }
    let most = engine.used_bytes();
    for i in order(104_729) {
        assert!(get(&engine, pool, 5, i << 20) == (Outcome::Hit, filled(i)));
        if i % 16 != 0 {
            assert_eq!(
                engine.flush_page(pool, 5, i << 20).outcome,
                Outcome::Flushed
            );
        }
    }
    assert!(engine.used_bytes() < most);
    for i in order(7919) {
        assert_eq!(engine.contains(pool, 5, i << 20), i % 16 == 0);
    }
    assert_eq!(engine.flush_object(pool, 5), PAGES / 16);
    assert_empty(&engine);
}

/// Records move together after random flushes: bookkeeping stays within its bound, nobody notices,
/// and the queues of ephemeral pools keep their order.
#[test]
fn records_move_together_after_random_flushes() {
    const PAGES: u64 = 20_000;
    let kept = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 1023 < 307;
    let contents = |i: u64| match i % 16 {
        0 => page(i, 300 + (i as usize * 769) % 3200),
        1 => page(i, PAGE),
        _ => [i as u8; PAGE],
    };
    let policies = Policy::ALL.into_iter().map(Some);
    for policy in policies.chain([None]) {
        let engine = engine(64 * MIB);
        let flags = if policy.is_none() { POOL_PERSISTENT } else { 0 };
        let pool = engine.pool_create(&spec(flags)).unwrap();
        if let Some(policy) = policy {
            engine.set_pool_policy(pool, policy as u32).unwrap();
        }
        for i in 0..PAGES {
            engine.put(pool, i / 10_000, i, &contents(i), i);
        }
        for i in (0..PAGES).filter(|i| !kept(*i)) {
            let flushed = engine.flush_page(pool, i / 10_000, i).outcome;
            assert_eq!(flushed, Outcome::Flushed);
        }
        let per_page = || {
            let stats = engine.stats();
            stats.metadata_bytes as f64 / stats.pages as f64
        };
        let scattered = per_page();
        while engine.maintain() {}
        assert!(scattered > 100.0, "{policy:?}: nothing to do: {scattered}");
        // Names of pages that went are no records of pages.
        let most = if policy.is_some_and(|policy| policy.ghosts_percent() > 0) {
            68.0
        } else {
            64.0
        };
        assert!(per_page() <= most, "{policy:?}: {}", per_page());
        for i in 0..PAGES {
            let found = get(&engine, pool, i / 10_000, i);
            let whole = kept(i) && found == (Outcome::Hit, contents(i));
            assert!(whole || !kept(i) && found.0 == Outcome::Miss, "page {i}");
        }
        if policy.is_some() {
            let mut left = engine.stats().pages;
            while left > 0 {
                engine.shrink(1);
                assert!(engine.stats().pages < left);
                if matches!(policy, Some(Policy::Lru | Policy::Fifo)) {
                    for object in [0, 1] {
                        let mine = (0..PAGES).filter(|i| kept(*i) && i / 10_000 == object);
                        let there = mine.map(|i| engine.contains(pool, object, i));
                        assert!(there.is_sorted(), "a younger page went first");
                    }
                }
                left = engine.stats().pages;
            }
        }
        engine.destroy_all_pools();
        assert_empty(&engine);
    }
}

/// Compressed bytes / memory taken for them, before and after 70 % of the pages are
/// flushed at random and the engine has maintained itself.
#[test]
fn memory_goes_back_after_random_flushes() {
    const PAGES: u64 = 5000;
    let engine = EmbeddedEngine::new(&Options {
        arena_bytes: 64 * MIB,
        limit_bytes: 64 * MIB,
        ..Options::default()
    })
    .unwrap();
    let pool = engine.pool_create(&spec(POOL_PERSISTENT)).unwrap();
    let density = || {
        let stats = engine.stats();
        stats.data_bytes as f64 / stats.store_bytes as f64
    };
    let kept = |i: u64| i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40 & 1023 < 307;
    for i in 0..PAGES {
        engine.put(
            pool,
            i / 512,
            i % 512,
            &page(i, 300 + (i as usize * 769) % 3200),
            0,
        );
    }
    assert!(density() >= 0.90, "{}", density());
    for i in (0..PAGES).filter(|i| !kept(*i)) {
        engine.flush_page(pool, i / 512, i % 512);
    }
    // The maintenance thread is at work; nobody asks it to.
    let begun = std::time::Instant::now();
    while density() < 0.90 && begun.elapsed().as_secs() < 60 {
        std::thread::yield_now();
    }
    assert!(density() >= 0.90, "{}", density());
    for i in (0..PAGES).filter(|i| kept(*i)) {
        assert!(
            get(&engine, pool, i / 512, i % 512)
                == (Outcome::Hit, page(i, 300 + (i as usize * 769) % 3200))
        );
    }
}
