//! Operation sequences run against the engine and a plain map side by side.
//! Shared by the model test, the faults test, the fuzz target and Miri.
#![allow(dead_code, reason = "each user takes its part")]

use std::collections::HashMap;

use tmem_common::op::Outcome;
use tmem_common::policy::{ADMIT_ALL, ADMIT_REFAULTED, POLICIES};
use tmem_common::stats::Stats;
use tmem_kmod::userspace::{EmbeddedEngine, Options};
use tmem_kmod::{
    GroupInfo, PAGE, POOL_EXCLUSIVE_GET, POOL_PERSISTENT, Page, PoolError, PoolSpec, Report,
};

/// Pools, objects of a pool and pages of an object that operations choose from.
const POOLS: u32 = 4;
const OBJECTS: u64 = 4;
const INDEXES: u64 = 32;

/// One operation: `kind` chooses what, the rest what with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) kind: u8,
    pub(crate) pool: u8,
    pub(crate) handle: u8,
    pub(crate) value: u16,
}

impl Op {
    /// Bytes that [`Op::from_bytes`] takes.
    pub(crate) const BYTES: usize = 5;

    pub(crate) fn from_bytes(bytes: &[u8; Op::BYTES]) -> Op {
        Op {
            kind: bytes[0],
            pool: bytes[1],
            handle: bytes[2],
            value: u16::from_le_bytes([bytes[3], bytes[4]]),
        }
    }
}

/// All operations in a string of bytes, as a fuzzer makes them up.
pub(crate) fn ops_from_bytes(bytes: &[u8]) -> Vec<Op> {
    bytes.as_chunks().0.iter().map(Op::from_bytes).collect()
}

/// Reproducible operations without a fuzzer.
pub(crate) fn seeded_ops(seed: u64, count: usize) -> Vec<Op> {
    let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    (0..count)
        .map(|_| {
            let r = random.next();
            Op {
                kind: r as u8,
                pool: (r >> 8) as u8,
                handle: (r >> 16) as u8,
                value: (r >> 24) as u16,
            }
        })
        .collect()
}

/// Xorshift (G. Marsaglia 2003).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// A page of one of several kinds, which differs for every version.
pub(crate) fn content(version: u64, value: u16) -> Page {
    let mut page = [0; PAGE];
    let mut random = Random(version.wrapping_mul(0xD6E8_FEB8_6659_FD93) | 1);
    let fill = |page: &mut [u8], random: &mut Random| {
        for word in page.as_chunks_mut().0 {
            *word = random.next().to_le_bytes();
        }
    };
    match value % 8 {
        0 => {}
        1 => page.as_chunks_mut().0.fill((version as u32).to_le_bytes()),
        2 => page.as_chunks_mut().0.fill(version.to_le_bytes()),
        3 => fill(&mut page, &mut random),
        _ => {
            // Few sizes, so that spans fill up and get holes.
            let sizes = [40, 160, 400, 1000, 1800, 3400];
            fill(
                &mut page[..sizes[value as usize / 8 % sizes.len()]],
                &mut random,
            );
            page[PAGE - 8..].copy_from_slice(&version.to_le_bytes());
        }
    }
    page
}

/// How a sequence is run.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) limit: u64,
    /// Pages to refuse, as numbers counted from the first operation.
    pub(crate) fail: Option<(u64, u64)>,
}

/// What the model drives: an engine, or one that is broken on purpose.
pub(crate) trait Tier {
    fn engine(&self) -> &EmbeddedEngine;

    /// Pages belong to the cgroup that has the object's number; 0 is nobody.
    fn offer(&self, pool: u32, object: u64, index: u64, page: &Page) -> Report {
        self.engine().put(pool, object, index, page, object)
    }

    fn ask(&self, pool: u32, object: u64, index: u64, page: &mut Page) -> Report {
        self.engine().get(pool, object, index, page)
    }
}

impl Tier for EmbeddedEngine {
    fn engine(&self) -> &EmbeddedEngine {
        self
    }
}

pub(crate) fn engine(limit: u64) -> EmbeddedEngine {
    EmbeddedEngine::new(&Options {
        arena_bytes: limit + (1 << 20),
        limit_bytes: limit,
        maintenance_thread: false,
        poison: true,
    })
    .unwrap_or_else(|error| panic!("no engine: {error}"))
}

macro_rules! ensure {
    ($condition:expr, $($message:tt)*) => {
        if !$condition {
            return Err(format!($($message)*));
        }
    };
}

struct Pool {
    number: u32,
    flags: u32,
    frozen: bool,
    pages: HashMap<(u64, u64), Page>,
    ages: Ages,
}

/// Time to live, counted in eighths of it.
#[derive(Default)]
struct Ages {
    /// ns of an eighth; 0: no time to live.
    eighth: u64,
    /// When this eighth began; not known before the engine is told the time.
    since: Option<u64>,
    now: u64,
    put: HashMap<(u64, u64), u64>,
}

impl Ages {
    /// As the engine: it counts no more than this at once.
    const AT_ONCE: u64 = 12;

    fn tell(&mut self, time: u64) {
        let since = self.since.unwrap_or(time);
        if let Some(passed) = (time - since).checked_div(self.eighth) {
            self.since = Some(since + passed * self.eighth);
            self.now += passed.min(Self::AT_ONCE);
        }
    }

    fn is_over(&self, page: (u64, u64)) -> bool {
        self.eighth > 0 && self.put.get(&page).is_some_and(|put| self.now - put > 8)
    }
}

/// Under Miri cgroups are compared after so many operations.
const STEPS_IN_MIRI: u64 = 20;

/// What should be in the engine, beside the engine.
struct Model<'a, T: Tier> {
    tier: &'a T,
    pools: Vec<Pool>,
    version: u64,
    limit: u64,
    limit_at_first: u64,
    /// Bytes that may be in use: more than the limit only if they were when it was set.
    ceiling: u64,
    /// Operations so far.
    steps: u64,
    /// ns.
    time: u64,
}

/// Runs operations on a fresh engine: its counters at the end, or what went wrong
/// and in which step.
pub(crate) fn run(ops: &[Op], setup: Setup) -> Result<Stats, String> {
    run_on(&engine(setup.limit), ops, setup)
}

pub(crate) fn run_on<T: Tier>(tier: &T, ops: &[Op], setup: Setup) -> Result<Stats, String> {
    let engine = tier.engine();
    if let Some((from, to)) = setup.fail {
        engine.host().fail_allocations(from, to);
    }
    let mut model = Model {
        tier,
        pools: Vec::new(),
        version: 0,
        limit: setup.limit,
        limit_at_first: setup.limit,
        ceiling: setup.limit,
        steps: 0,
        time: 1,
    };
    for i in 0..POOLS {
        let pool = model.open(i)?;
        model.pools.push(pool);
    }
    for (step, op) in ops.iter().enumerate() {
        model
            .step(*op)
            .map_err(|error| format!("step {step}, {op:?}: {error}"))?;
    }
    model.close()
}

impl<T: Tier> Model<'_, T> {
    /// Two pools are persistent; one of the others has exclusive gets.
    fn open(&self, i: u32) -> Result<Pool, String> {
        let flags = match i % POOLS {
            0 | 1 => POOL_PERSISTENT,
            2 => POOL_EXCLUSIVE_GET,
            _ => 0,
        };
        let spec = PoolSpec {
            flags,
            ..PoolSpec::default()
        };
        let number = self
            .tier
            .engine()
            .pool_create(&spec)
            .map_err(|error| error.to_string())?;
        Ok(Pool {
            number,
            flags,
            frozen: false,
            pages: HashMap::new(),
            ages: Ages::default(),
        })
    }

    fn step(&mut self, op: Op) -> Result<(), String> {
        let engine = self.tier.engine();
        let i = u32::from(op.pool) % POOLS;
        let object = u64::from(op.handle) % OBJECTS;
        let index = u64::from(op.handle) / OBJECTS % INDEXES;
        let number = self.pools[i as usize].number;
        match op.kind {
            0..=109 => self.put(i as usize, object, index, op.value)?,
            110..=171 => self.get(i as usize, object, index, false)?,
            172..=197 => self.get(i as usize, object, index, true)?,
            198..=219 => self.flush_page(i as usize, object, index)?,
            220..=222 => self.flush_object(i as usize, object)?,
            223..=226 => {
                let frozen = op.value.is_multiple_of(16);
                engine
                    .set_pool_frozen(number, frozen)
                    .map_err(|error| error.to_string())?;
                self.pools[i as usize].frozen = frozen;
            }
            227..=230 => engine
                .set_pool_codec(number, [0, 1, 255][op.value as usize % 3])
                .map_err(|error| error.to_string())?,
            231..=233 => {
                engine
                    .set_pool_weight(number, 1 + u32::from(op.value) % 1000)
                    .map_err(|error| error.to_string())?;
                let limit = if op.value.is_multiple_of(2) {
                    u64::MAX
                } else {
                    u64::from(op.value) * 16
                };
                engine
                    .set_pool_limit(number, limit)
                    .map_err(|error| error.to_string())?;
                if i >= 2 && limit != u64::MAX {
                    let stats = engine
                        .pool_stats(number)
                        .map_err(|error| error.to_string())?;
                    ensure!(
                        stats.store_bytes + stats.metadata_bytes <= limit,
                        "pool over its limit: {stats:?}"
                    );
                }
            }
            234..=236 => {
                let low = op.value.is_multiple_of(2);
                self.limit = if low {
                    u64::from(op.value) * 16
                } else {
                    self.limit_at_first
                };
                let overhang = engine.set_limit(self.limit);
                let used = engine.used_bytes();
                ensure!(
                    overhang == used.saturating_sub(self.limit),
                    "overhang {overhang} of {used} used"
                );
                let ephemeral: u64 = self.pools[2..]
                    .iter()
                    .map(|pool| {
                        engine
                            .pool_stats(pool.number)
                            .map_or(0, |stats| stats.pages)
                    })
                    .sum();
                ensure!(
                    overhang == 0 || ephemeral == 0,
                    "{ephemeral} ephemeral pages beside an overhang"
                );
                self.ceiling = self.limit.max(used);
            }
            237..=239 => {
                engine.shrink(u64::from(op.value) % 64);
            }
            240..=245 => {
                engine.maintain();
            }
            246 => {
                let seconds = [0, 8, 16, 800][op.value as usize % 4];
                let result = engine.set_pool_ttl(number, seconds);
                if i < 2 {
                    ensure!(
                        result == Err(PoolError::Invalid),
                        "time to live: {result:?}"
                    );
                } else {
                    ensure!(result == Ok(()), "time to live: {result:?}");
                    let ages = &mut self.pools[i as usize].ages;
                    ages.eighth = u64::from(seconds) * 125_000_000;
                    ages.since = None;
                }
            }
            247 => {
                self.time += u64::from(op.value) * 300_000;
                while engine.expire(self.time) == Some(0) {}
                for pool in &mut self.pools {
                    pool.ages.tell(self.time);
                }
            }
            248..=250 => engine
                .host()
                .fail_allocations(u64::from(op.value) % 8, u64::from(op.value) % 16),
            251 => {
                engine
                    .pool_destroy(number)
                    .map_err(|error| error.to_string())?;
                self.pools[i as usize] = self.open(i)?;
            }
            252..=253 => {
                let value = u32::from(op.value);
                let admission = match value / 8 % 16 {
                    0 => ADMIT_REFAULTED,
                    1 => 1,
                    _ => ADMIT_ALL,
                };
                let ratio = [100, 100, 100, 60][value as usize / 64 % 4];
                let results = [
                    engine.set_pool_policy(number, value % POLICIES as u32),
                    engine.set_pool_admission(number, admission),
                    engine.set_pool_max_ratio(number, ratio),
                ];
                let wanted = if i >= 2 {
                    Ok(())
                } else {
                    Err(PoolError::Invalid)
                };
                ensure!(results == [wanted; 3], "settings of pool {i}: {results:?}");
            }
            254 => {
                let owner = 1 + u64::from(op.value) % (OBJECTS - 1);
                let weight = [0, 50, 200, 1000][op.value as usize / 4 % 4];
                let limit = if op.value.is_multiple_of(2) {
                    u64::MAX
                } else {
                    u64::from(op.value) * 8
                };
                engine
                    .set_group_weight(owner, weight)
                    .and_then(|()| engine.set_group_limit(owner, limit))
                    .map_err(|error| error.to_string())?;
                let group = self.group(owner);
                ensure!(
                    group.bytes.iter().sum::<u64>() <= limit || group.pages[1] == 0,
                    "ephemeral pages beyond the limit: {group:?}"
                );
            }
            _ => {
                engine.set_keep_incompressible(op.value.is_multiple_of(2));
                engine.host().refuse_pins(op.value % 32 == 1);
            }
        }
        self.check()
    }

    fn put(&mut self, i: usize, object: u64, index: u64, value: u16) -> Result<(), String> {
        self.version += 1;
        let page = content(self.version, value);
        let tier = self.tier;
        let pool = &mut self.pools[i];
        let report = tier.offer(pool.number, object, index, &page);
        if report.outcome.is_stored() {
            ensure!(!pool.frozen, "a frozen pool took a page");
            pool.pages.insert((object, index), page);
            pool.ages.put.insert((object, index), pool.ages.now);
            let group = self.group(object);
            ensure!(
                group.bytes.iter().sum::<u64>() <= group.limit_bytes,
                "taken beyond the limit: {group:?}"
            );
        } else {
            let refused = [
                Outcome::RefusedLimit,
                Outcome::RefusedNoMemory,
                Outcome::RefusedIncompressible,
                Outcome::RefusedFrozen,
            ];
            ensure!(
                refused.contains(&report.outcome),
                "put ended as {:?}",
                report.outcome
            );
            ensure!(
                !pool.frozen || report.outcome == Outcome::RefusedFrozen,
                "a frozen pool gave another reason"
            );
            pool.pages.remove(&(object, index));
        }
        Ok(())
    }

    fn get(&mut self, i: usize, object: u64, index: u64, take: bool) -> Result<(), String> {
        let pool = &mut self.pools[i];
        let mut page = [0xEE; PAGE];
        let report = if take {
            let engine = self.tier.engine();
            engine.take(pool.number, object, index, &mut page)
        } else {
            self.tier.ask(pool.number, object, index, &mut page)
        };
        ensure!(
            report.outcome != Outcome::Hit || !pool.ages.is_over((object, index)),
            "a hit after its time to live"
        );
        let wanted = pool.pages.get(&(object, index));
        match (report.outcome, wanted) {
            (Outcome::Hit, None) => return Err("a hit where nothing is".into()),
            (Outcome::Hit, Some(wanted)) => ensure!(page == *wanted, "a hit with other bytes"),
            (Outcome::Miss, Some(_)) => ensure!(
                pool.flags & POOL_PERSISTENT == 0,
                "a persistent page is gone"
            ),
            (Outcome::Miss, None) => {}
            (outcome, _) => return Err(format!("get ended as {outcome:?}")),
        }
        if report.outcome == Outcome::Miss || take || pool.flags & POOL_EXCLUSIVE_GET != 0 {
            pool.pages.remove(&(object, index));
        }
        Ok(())
    }

    fn flush_page(&mut self, i: usize, object: u64, index: u64) -> Result<(), String> {
        let pool = &mut self.pools[i];
        let flushed = self
            .tier
            .engine()
            .flush_page(pool.number, object, index)
            .outcome
            == Outcome::Flushed;
        let was = pool.pages.remove(&(object, index)).is_some();
        ensure!(
            flushed == was || (was && pool.flags & POOL_PERSISTENT == 0),
            "flushed {flushed}, was there {was}"
        );
        ensure!(
            !self.tier.engine().contains(pool.number, object, index),
            "there after its flush"
        );
        Ok(())
    }

    fn flush_object(&mut self, i: usize, object: u64) -> Result<(), String> {
        let pool = &mut self.pools[i];
        let before = pool.pages.len();
        pool.pages.retain(|(of, _), _| *of != object);
        let were = (before - pool.pages.len()) as u64;
        let flushed = self.tier.engine().flush_object(pool.number, object);
        ensure!(
            flushed == were || (flushed < were && pool.flags & POOL_PERSISTENT == 0),
            "{flushed} pages flushed, {were} there"
        );
        Ok(())
    }

    /// What the engine says of a cgroup.
    fn group(&self, owner: u64) -> GroupInfo {
        // Small ids are in the first sets of eight places.
        let mut places = 0..OBJECTS as usize * 8;
        let none = GroupInfo {
            limit_bytes: u64::MAX,
            ..GroupInfo::default()
        };
        places
            .find_map(|place| {
                let group = self.tier.engine().group_info(place)?;
                (group.id == owner && owner != 0).then_some(group)
            })
            .unwrap_or(none)
    }

    /// Pages are counted with their owner's, those and no others.
    fn check_groups(&self) -> Result<(), String> {
        let mut wanted = [[0; 2]; OBJECTS as usize];
        for pool in &self.pools {
            let kind = usize::from(pool.flags & POOL_PERSISTENT == 0);
            for (object, index) in pool.pages.keys() {
                let engine = self.tier.engine();
                let there = engine.contains(pool.number, *object, *index);
                wanted[*object as usize][kind] += u64::from(there);
            }
        }
        for (owner, wanted) in wanted.into_iter().enumerate().skip(1) {
            let group = self.group(owner as u64);
            ensure!(group.pages == wanted, "{wanted:?} pages: {group:?}");
            let least = wanted.map(|pages| pages * 52);
            ensure!(
                group.bytes[0] >= least[0] && group.bytes[1] >= least[1],
                "bytes of {wanted:?} pages: {group:?}"
            );
        }
        Ok(())
    }

    /// What must hold after every step.
    fn check(&mut self) -> Result<(), String> {
        // Each page is asked for: after every step that would take Miri an hour.
        self.steps += 1;
        if !cfg!(miri) || self.steps.is_multiple_of(STEPS_IN_MIRI) {
            self.check_groups()?;
        }
        let engine = self.tier.engine();
        let mut pins = 0;
        for pool in &self.pools {
            let stats = engine
                .pool_stats(pool.number)
                .map_err(|error| error.to_string())?;
            let wanted = pool.pages.len() as u64;
            if pool.flags & POOL_PERSISTENT != 0 {
                ensure!(
                    stats.pages == wanted,
                    "{} pages counted, {wanted} kept",
                    stats.pages
                );
                pins += u64::from(wanted != 0);
            } else {
                ensure!(
                    stats.pages <= wanted,
                    "{} pages counted, at most {wanted} kept",
                    stats.pages
                );
            }
        }
        ensure!(
            engine.host().pins() == pins,
            "{} pins for {pins} persistent pools with pages",
            engine.host().pins()
        );
        let used = engine.used_bytes();
        ensure!(
            used == engine.host().live_pages() * PAGE as u64,
            "{used} bytes counted as used"
        );
        ensure!(
            used <= self.ceiling,
            "{used} bytes used, {} allowed",
            self.ceiling
        );
        self.ceiling = self.limit.max(used);
        Ok(())
    }

    /// Reads every page back, then destroys everything: nothing may be left.
    fn close(mut self) -> Result<Stats, String> {
        let engine = self.tier.engine();
        for i in 0..self.pools.len() {
            let mut handles: Vec<_> = self.pools[i].pages.keys().copied().collect();
            handles.sort_unstable();
            for (object, index) in handles {
                self.get(i, object, index, false)
                    .map_err(|error| format!("at the end, {object} {index}: {error}"))?;
            }
        }
        for pool in &self.pools {
            engine
                .pool_destroy(pool.number)
                .map_err(|error| error.to_string())?;
        }
        let stats = engine.stats();
        let gauges = [
            stats.pages,
            stats.same_pages,
            stats.raw_pages,
            stats.data_bytes,
            stats.store_bytes,
        ];
        ensure!(gauges == [0; 5], "left at the end: {stats:?}");
        ensure!(
            engine.host().live_pages() == 0,
            "{} pages leaked",
            engine.host().live_pages()
        );
        ensure!(
            engine.host().pins() == 0,
            "{} pins leaked",
            engine.host().pins()
        );
        Ok(stats)
    }
}
