//! Load on the tier: processes that use verified memory until enough pages were stored.

use anyhow::{Context as _, Result, bail};

use crate::content::Rng;
use crate::region::{Region, Tally};
use crate::tier::Tier;

/// Accesses between two looks at the counters.
const BURST: usize = 512;

/// Bursts without a single store after which something must be wrong.
const PATIENCE: u32 = 200;

/// Watches the number of stored pages grow towards a goal.
#[derive(Debug)]
pub(crate) struct Goal<'a> {
    tier: &'a Tier,
    end: u64,
    last: u64,
    idle: u32,
}

impl<'a> Goal<'a> {
    /// `stores` more than now.
    pub(crate) fn new(tier: &'a Tier, stores: u64) -> Result<Self> {
        let last = tier.stored()?;
        Ok(Self {
            tier,
            end: last + stores,
            last,
            idle: 0,
        })
    }

    /// True when the goal is reached; an error when nothing moves any more.
    pub(crate) fn reached(&mut self) -> Result<bool> {
        let now = self.tier.stored()?;
        self.idle = if now > self.last { 0 } else { self.idle + 1 };
        self.last = now;
        if self.idle > PATIENCE && now < self.end {
            bail!("only {now} of {} stores, and no more are coming", self.end);
        }
        Ok(now >= self.end)
    }
}

/// One burst of random accesses; sometimes a piece of the region is swapped out first.
pub(crate) fn burst(region: &mut Region, rng: &mut Rng, tally: &Tally) -> Result<()> {
    if rng.below(4) == 0 {
        let pages = region.pages().min(256);
        let first = rng.below(region.pages() - pages + 1);
        region.page_out(first, pages).context("MADV_PAGEOUT")?;
    }
    for _ in 0..BURST {
        region.touch(rng, tally);
    }
    Ok(())
}

/// Uses the region at random until the goal is reached, then verifies all of it.
pub(crate) fn use_until(
    mut goal: Goal<'_>,
    region: &mut Region,
    rng: &mut Rng,
    tally: &Tally,
) -> Result<()> {
    while !goal.reached()? && tally.bad() == 0 {
        burst(region, rng, tally)?;
    }
    region.check_all(tally);
    Ok(())
}

/// Uses the region at random until told to stop, then verifies all of it.
pub(crate) fn use_until_stopped(region: &mut Region, rng: &mut Rng, tally: &Tally) -> Result<()> {
    while !tally.stopped() && tally.bad() == 0 {
        burst(region, rng, tally)?;
    }
    region.check_all(tally);
    Ok(())
}
