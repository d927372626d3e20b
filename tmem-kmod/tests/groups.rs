//! Cgroups: what they hold is counted, and held back by limits and shares.
#![allow(clippy::unwrap_used)]
#![cfg(not(feature = "broken-for-control"))]

use tmem_common::op::Outcome;
use tmem_kmod::userspace::{EmbeddedEngine, Options};
use tmem_kmod::{GROUPS, GroupInfo, PAGE, POOL_PERSISTENT, Page, PoolError, PoolSpec};

const MIB: u64 = 1 << 20;

fn engine(limit: u64) -> EmbeddedEngine {
    EmbeddedEngine::new(&Options {
        arena_bytes: 64 * MIB,
        limit_bytes: limit,
        maintenance_thread: false,
        poison: true,
    })
    .unwrap()
}

/// A pool of swap pages, and one of file pages.
fn pools(engine: &EmbeddedEngine) -> (u32, u32) {
    let open = |flags| {
        let spec = PoolSpec {
            flags,
            ..PoolSpec::default()
        };
        engine.pool_create(&spec).unwrap()
    };
    (open(POOL_PERSISTENT), open(0))
}

/// A page of which some 1000 bytes cannot be compressed.
fn page(seed: u64) -> Page {
    let mut page = [0; PAGE];
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    for byte in &mut page[..1000] {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = state as u8;
    }
    page
}

/// Objects are named by their owners here.
fn put(engine: &EmbeddedEngine, pool: u32, owner: u64, index: u64) -> Outcome {
    engine
        .put(pool, owner, index, &page(owner << 32 | index), owner)
        .outcome
}

/// Offers so many pages; how many were kept.
fn fill(engine: &EmbeddedEngine, pool: u32, owner: u64, pages: u64) -> u64 {
    let kept = |index: &u64| put(engine, pool, owner, *index).is_stored();
    (0..pages).filter(kept).count() as u64
}

fn group(engine: &EmbeddedEngine, owner: u64) -> Option<GroupInfo> {
    (0..GROUPS)
        .filter_map(|place| engine.group_info(place))
        .find(|group| group.id == owner)
}

fn bytes(engine: &EmbeddedEngine, owner: u64) -> u64 {
    group(engine, owner).map_or(0, |group| group.bytes.iter().sum())
}

#[test]
fn pages_are_counted_with_their_owners() {
    let engine = engine(16 * MIB);
    let (swap, files) = pools(&engine);
    assert_eq!(fill(&engine, swap, 7, 100), 100);
    assert_eq!(fill(&engine, files, 7, 10), 10);
    // Nobody's, and one whose id is not kept.
    assert_eq!(
        fill(&engine, swap, 0, 5) + fill(&engine, swap, 1 << 32 | 7, 5),
        10
    );
    let seven = group(&engine, 7).unwrap();
    assert_eq!(seven.pages, [100, 10]);
    assert!(
        seven.bytes[0] > 100 * 1000 && seven.bytes[0] < 100 * 1200,
        "{seven:?}"
    );
    assert_eq!((seven.limit_bytes, seven.weight), (u64::MAX, 0));
    // The same page again counts once; what another put instead is the other's.
    assert!(put(&engine, swap, 7, 3).is_stored());
    assert!(engine.put(swap, 7, 4, &page(1), 8).outcome.is_stored());
    assert_eq!(group(&engine, 7).unwrap().pages, [99, 10]);
    assert_eq!(group(&engine, 8).unwrap().pages, [1, 0]);
    engine.flush_page(swap, 7, 3);
    engine.flush_object(files, 7);
    assert_eq!(group(&engine, 7).unwrap().pages, [98, 0]);
    engine.pool_destroy(swap).unwrap();
    assert_eq!((bytes(&engine, 7), bytes(&engine, 8)), (0, 0));
}

#[test]
fn a_limit_costs_file_pages_first_and_then_swap_pages_go_to_the_disk() {
    let engine = engine(16 * MIB);
    let (swap, files) = pools(&engine);
    engine.set_group_limit(7, MIB).unwrap();
    assert_eq!(fill(&engine, files, 7, 500), 500);
    let before = group(&engine, 7).unwrap();
    assert_eq!(before.pages, [0, 500]);
    fill(&engine, files, 8, 500);
    // Swap pages take the room of its file pages, and nobody else's.
    let kept = fill(&engine, swap, 7, 2000);
    let after = group(&engine, 7).unwrap();
    assert!(after.bytes.iter().sum::<u64>() <= MIB, "{after:?}");
    assert!(kept > 800 && kept < 1100, "{kept}");
    assert_eq!(after.pages, [kept, 0], "{after:?}");
    assert_eq!(
        (after.refused, after.evicted),
        (2000 - kept, 500),
        "{after:?}"
    );
    assert_eq!(group(&engine, 8).unwrap().pages, [0, 500]);
    assert_eq!(put(&engine, swap, 7, 5000), Outcome::RefusedLimit);
    // Without the limit they are taken again, and a lower one costs file pages at once.
    engine.set_group_limit(7, u64::MAX).unwrap();
    assert_eq!(fill(&engine, files, 7, 300), 300);
    engine.set_group_limit(7, MIB).unwrap();
    let lowered = group(&engine, 7).unwrap();
    assert!(
        lowered.pages[1] < 100 && lowered.pages[0] == kept,
        "{lowered:?}"
    );
    engine.set_group_limit(7, 4096).unwrap();
    assert_eq!(group(&engine, 7).unwrap().pages, [kept, 0]);
}

/// Swap pages of two cgroups until nobody gets anything kept; what each holds then.
fn share(limit_of_first: u64) -> (u64, u64) {
    let engine = engine(4 * MIB);
    let (swap, _) = pools(&engine);
    for owner in [1, 2] {
        engine.set_group_weight(owner, 100).unwrap();
    }
    engine.set_group_limit(1, limit_of_first).unwrap();
    for index in 0..5000 {
        for owner in [1, 2, 3, 4] {
            put(&engine, swap, owner, index);
        }
    }
    (bytes(&engine, 1), bytes(&engine, 2))
}

#[test]
fn one_cgroups_limit_never_shrinks_the_share_of_another() {
    let (_, without) = share(u64::MAX);
    // A third of the budget is its share; something is lost in slots.
    assert!(without > 4 * MIB / 4, "{without}");
    for limit in [4096, MIB / 4, MIB, 64 * MIB] {
        let (first, second) = share(limit);
        assert!(first <= limit, "{first} of {limit}");
        assert!(
            second >= without / 100 * 99,
            "{second} with a limit of {limit}, {without} without"
        );
    }
}

#[test]
fn a_share_is_there_when_others_came_first() {
    let engine = engine(4 * MIB);
    let (swap, files) = pools(&engine);
    engine.set_group_weight(1, 300).unwrap();
    // Swap pages of others stop short of the whole budget.
    fill(&engine, swap, 2, 5000);
    assert_eq!(put(&engine, swap, 2, 6000), Outcome::RefusedLimit);
    let mine = fill(&engine, swap, 1, 5000);
    assert!(mine * 1000 > 4 * MIB / 10, "{mine}");

    // File pages of others make room, and do not come back at its cost.
    engine.flush_object(swap, 1);
    engine.flush_object(swap, 2);
    fill(&engine, files, 2, 5000);
    fill(&engine, files, 1, 5000);
    let mine = bytes(&engine, 1);
    assert!(mine > 4 * MIB / 2, "{mine}");
    fill(&engine, files, 2, 5000);
    assert!(
        bytes(&engine, 1) >= mine / 10 * 9,
        "{} of {mine}",
        bytes(&engine, 1)
    );
}

#[test]
fn a_place_is_anothers_when_nobody_needs_it() {
    let engine = engine(16 * MIB);
    let (swap, _) = pools(&engine);
    // All of one set.
    let owners: Vec<u64> = (0..9).map(|i| 5 + 64 * i).collect();
    for &owner in &owners {
        assert!(put(&engine, swap, owner, 0).is_stored());
    }
    assert!(
        group(&engine, owners[8]).is_none(),
        "nine places in a set of eight"
    );
    assert_eq!(
        engine.set_group_limit(owners[8], MIB),
        Err(PoolError::NoSpace)
    );
    // What was not counted is not taken away, neither here nor when it has a place.
    engine.flush_page(swap, owners[0], 0);
    assert!(put(&engine, swap, owners[8], 1).is_stored());
    assert_eq!(group(&engine, owners[8]).unwrap().pages, [1, 0]);
    assert!(group(&engine, owners[0]).is_none());
    engine.flush_page(swap, owners[8], 0);
    assert_eq!(group(&engine, owners[8]).unwrap().pages, [1, 0]);
    // One for which something is set keeps its place.
    engine.set_group_weight(owners[1], 10).unwrap();
    engine.flush_page(swap, owners[1], 0);
    assert!(put(&engine, swap, owners[0], 0).is_stored());
    assert!(group(&engine, owners[0]).is_none());
    assert_eq!(group(&engine, owners[1]).unwrap().weight, 10);
    engine.set_group_weight(owners[1], 0).unwrap();
    assert!(put(&engine, swap, owners[0], 1).is_stored());
    assert!(group(&engine, owners[1]).is_none());
}

#[test]
fn what_cannot_be_set_is_refused() {
    let engine = engine(MIB);
    for (id, bytes) in [(0, MIB), (1 << 32, MIB), (7, 0)] {
        assert_eq!(engine.set_group_limit(id, bytes), Err(PoolError::Invalid));
    }
    for (id, weight) in [(0, 1), (7, 1001)] {
        assert_eq!(engine.set_group_weight(id, weight), Err(PoolError::Invalid));
    }
}

/// Twelve cgroups come and go in eight places while their pages do: nothing is left in the end.
#[test]
fn counts_hold_while_places_change_hands() {
    let engine = engine(16 * MIB);
    let (swap, files) = pools(&engine);
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let engine = &engine;
            scope.spawn(move || {
                for round in 0..400 {
                    let owner = 9 + 64 * ((round * 7 + thread) % 12);
                    for index in 0..4 {
                        let index = thread << 20 | index;
                        let pool = if round % 3 == 0 { files } else { swap };
                        engine.put(pool, owner, index, &page(index), owner);
                        engine.flush_page(pool, owner, index);
                    }
                }
            });
        }
    });
    for place in 0..GROUPS {
        if let Some(group) = engine.group_info(place) {
            assert_eq!((group.pages, group.bytes), ([0; 2], [0; 2]), "{group:?}");
        }
    }
}
