//! The engine against a plain map, on random sequences of operations; and a
//! negative control, which shows that the comparison would notice.
#![allow(clippy::unwrap_used)]

#[path = "common/model.rs"]
mod model;

use model::{Op, Setup, Tier, engine, run, run_on, seeded_ops};
use proptest::prelude::*;
use std::sync::Mutex;
use tmem_common::op::Outcome;
use tmem_common::stats::Stats;
use tmem_kmod::userspace::EmbeddedEngine;
use tmem_kmod::{Page, Report};

const PLENTY: Setup = Setup {
    limit: 16 << 20,
    fail: None,
};
const SCARCE: Setup = Setup {
    limit: 400 << 10,
    fail: None,
};

fn any_op() -> impl Strategy<Value = Op> {
    any::<(u8, u8, u8, u16)>().prop_map(|(kind, pool, handle, value)| Op {
        kind,
        pool,
        handle,
        value,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(feature = "broken-for-control", ignore = "the engine is broken on purpose")]
    fn with_plenty_of_memory(ops in prop::collection::vec(any_op(), 1..600)) {
        run(&ops, PLENTY).map_err(TestCaseError::fail)?;
    }

    #[test]
    #[cfg_attr(feature = "broken-for-control", ignore = "the engine is broken on purpose")]
    fn with_scarce_memory(ops in prop::collection::vec(any_op(), 1..600)) {
        run(&ops, SCARCE).map_err(TestCaseError::fail)?;
    }
}

#[test]
#[cfg_attr(
    feature = "broken-for-control",
    ignore = "the engine is broken on purpose"
)]
fn long_seeded_sequences() {
    let mut reached = Stats::default();
    for seed in 1..=7 {
        let ops = seeded_ops(seed, 6000);
        for setup in [PLENTY, SCARCE] {
            let stats = run(&ops, setup).unwrap();
            reached.moved_pages += stats.moved_pages;
            for (sum, count) in reached.outcomes.iter_mut().zip(stats.outcomes) {
                *sum += count;
            }
        }
    }
    // The sequences are only worth something if they get everywhere.
    for outcome in Outcome::ALL {
        let count = reached.outcomes[outcome as usize];
        assert!(
            count > 100 || outcome == Outcome::Corrupt,
            "{outcome:?} only {count} times"
        );
    }
    assert!(
        reached.outcomes[Outcome::Hit as usize] > 5000,
        "{reached:?}"
    );
    assert!(reached.moved_pages > 100, "{reached:?}");
}

/// Now and then answers a get with the page of another handle.
struct MixesPagesUp(EmbeddedEngine);

impl Tier for MixesPagesUp {
    fn engine(&self) -> &EmbeddedEngine {
        &self.0
    }

    fn ask(&self, pool: u32, object: u64, index: u64, page: &mut Page) -> Report {
        if index % 8 == 3
            && self.0.contains(pool, object, index)
            && self.0.contains(pool, object, index + 1)
        {
            return self.0.get(pool, object, index + 1, page);
        }
        self.0.get(pool, object, index, page)
    }
}

/// Leaves the older copy behind when a put is refused.
struct KeepsOldCopies(EmbeddedEngine, Mutex<Page>);

impl Tier for KeepsOldCopies {
    fn engine(&self) -> &EmbeddedEngine {
        &self.0
    }

    fn offer(&self, pool: u32, object: u64, index: u64, page: &Page) -> Report {
        let mut old = self.1.lock().unwrap();
        let had = self.0.get(pool, object, index, &mut old).outcome == Outcome::Hit;
        let report = self.0.put(pool, object, index, page, 0);
        if had && !report.outcome.is_stored() {
            self.0.set_pool_frozen(pool, false).unwrap();
            self.0.put(pool, object, index, &old, 0);
            self.0.set_pool_frozen(pool, true).unwrap();
        }
        report
    }
}

#[test]
fn the_model_notices_a_broken_engine() {
    let seen = |run: &dyn Fn(u64) -> Result<Stats, String>| {
        (1..=4).filter(|seed| run(*seed).is_err()).count()
    };
    let ops = |seed| seeded_ops(seed, 4000);
    assert_eq!(
        seen(&|seed| run_on(&MixesPagesUp(engine(16 << 20)), &ops(seed), PLENTY)),
        4
    );
    let keeps = || KeepsOldCopies(engine(16 << 20), Mutex::new([0; 4096]));
    assert_eq!(seen(&|seed| run_on(&keeps(), &ops(seed), PLENTY)), 4);
}

/// The control that the virtual machines use: the engine itself, built to return wrong bytes.
#[test]
#[cfg(feature = "broken-for-control")]
fn the_model_notices_an_engine_built_broken() {
    for seed in 1..=4 {
        assert!(run(&seeded_ops(seed, 4000), PLENTY).is_err());
    }
}
