//! Every page that the engine asks its host for fails once, alone and together
//! with all that follow, while the model watches.
#![allow(clippy::unwrap_used)]
#![cfg(not(feature = "broken-for-control"))]

#[path = "common/model.rs"]
mod model;

use model::{Op, Setup, engine, run_on, seeded_ops};

/// Operations without faults of their own.
fn ops() -> Vec<Op> {
    let sets_faults = 248..=250;
    let mut ops = seeded_ops(11, 700);
    ops.retain(|op| !sets_faults.contains(&op.kind));
    ops
}

fn each_allocation_fails(limit: u64, last: impl Fn(u64) -> u64) {
    let ops = ops();
    let count = {
        let engine = engine(limit);
        run_on(&engine, &ops, Setup { limit, fail: None }).unwrap();
        engine.host().allocations()
    };
    assert!(count > 150, "only {count} allocations to fail");
    for first in 0..count {
        let setup = Setup {
            limit,
            fail: Some((first, last(first))),
        };
        run_on(&engine(limit), &ops, setup)
            .unwrap_or_else(|error| panic!("allocation {first} of {count} failing: {error}"));
    }
}

#[test]
fn each_alone() {
    each_allocation_fails(8 << 20, |first| first + 1);
}

#[test]
fn each_with_the_next_ones() {
    each_allocation_fails(8 << 20, |first| first + 9);
}

#[test]
fn each_with_all_that_follow() {
    each_allocation_fails(8 << 20, |_| u64::MAX);
}

#[test]
fn each_alone_near_the_limit() {
    each_allocation_fails(300 << 10, |first| first + 1);
}
