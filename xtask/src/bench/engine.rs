//! The engine in this process, on real pages: what a put and a get cost beyond the
//! codec, how densely pages are kept, and how much bookkeeping they need. Where this
//! machine has zram, the same pages go through it too.
//!
//! Costs are thread CPU time on one pinned core. Engine and codec take turns chunk by
//! chunk, half the pages apart, so that both see the same disturbances and neither
//! finds its pages in the caches because the other just had them. Both read each page
//! from its own place and give it back in its own place, keep the compressed bytes in
//! memory of their own, and have that in large pages as a kernel has. One round over
//! all pages gives one ratio; medians of the rounds are reported.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::mm::{Advice, madvise};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tmem_common::PAGE_SIZE;
use tmem_common::codec::Codec;
use tmem_common::op::Outcome;
use tmem_common::random;
use tmem_common::stats::Stats;
use tmem_kmod::userspace::{EmbeddedEngine, Options, UserHost};
use tmem_kmod::{Host, Page, PoolSpec, Scratch};

use super::zram::Zram;
use super::{Bound, Report, Row, median, spread};
use crate::corpus;
use crate::process::say;

/// Pages of the large set, bytes.
const LARGE: usize = 400 << 20;
/// Pages of the small set, bytes.
const SMALL: usize = 16 << 20;
/// Rounds that count; one more comes before, in which memory is touched first.
pub(super) const ROUNDS: usize = 11;
/// Address space of an engine's pages, bytes.
const ARENA: usize = 4 << 30;
/// A large page, bytes.
const LARGE_PAGE: usize = 2 << 20;
/// Pages between two looks at the clock.
const CHUNK: usize = 512;
/// Percent of the pages that are flushed at random.
const FLUSHED: usize = 70;
/// How long maintenance may take to come to rest.
const REST: Duration = Duration::from_secs(30);

/// Pages of all kinds together, for which the bounds of costs hold.
const ALL: &str = "all";
/// Engine against codec, with LZ4.
const COST: Bound = Bound::AtMost(1.10);
/// What the engine may take beyond its codec, microseconds a page, with the default codec:
/// that is so fast that a ratio would say more about it than about the engine.
const BEYOND: Bound = Bound::AtMost(0.3);
/// The codecs to measure the engine with.
const CODECS: [Codec; 2] = [Codec::Lz4, Codec::Adaptive];
const METADATA: Bound = Bound::AtMost(64.0);

/// Pages of one kind.
struct Class {
    name: &'static str,
    pages: Vec<Page>,
}

/// Measures everything.
pub(super) fn run() -> Result<Report> {
    let mut classes: Vec<Class> = Vec::new();
    let mut same_filled = 0;
    // More than a third, since a class may have less.
    for (class, mut pages) in corpus::classes(LARGE / 5 * 2)? {
        let all = pages.len();
        pages.retain(|page| {
            page.as_chunks::<8>()
                .0
                .windows(2)
                .any(|two| two[0] != two[1])
        });
        same_filled += all - pages.len();
        classes.push(Class {
            name: class.name(),
            pages,
        });
    }
    let pages: usize = classes.iter().map(|class| class.pages.len()).sum();
    let mut notes = vec![format!(
        "{} MB of real pages ({}); {same_filled} same-filled pages left out; {ROUNDS} rounds",
        megabytes(pages),
        classes
            .iter()
            .map(|class| format!("{} {}", class.name, megabytes(class.pages.len())))
            .collect::<Vec<_>>()
            .join(", "),
    )];
    // Before this thread is pinned: its maintenance thread is to run where there is room.
    let tier = Tier::new()?;
    pin()?;
    let mut rows = Vec::new();
    for codec in CODECS {
        say(format!("measuring costs with {}", codec.name()));
        tier.engine
            .set_pool_codec(tier.pool, codec as u32)
            .context("setting the codec")?;
        rows.extend(costs(&tier, codec, &classes)?);
    }
    drop(tier);
    say("measuring densities");
    for (bytes, bound) in [(LARGE, Bound::AtLeast(0.97)), (SMALL, Bound::AtLeast(0.90))] {
        let set = take(&classes, bytes / PAGE_SIZE);
        rows.extend(densities(&set, bound, bytes == LARGE)?);
    }
    match Zram::add() {
        Ok(mut zram) => {
            say("measuring zram");
            for bytes in [LARGE, SMALL] {
                rows.extend(zram_rows(&mut zram, &take(&classes, bytes / PAGE_SIZE))?);
            }
        }
        Err(error) => notes.push(format!("no zram beside it: {error:#}")),
    }
    Ok(Report { rows, notes })
}

fn megabytes(pages: usize) -> usize {
    (pages * PAGE_SIZE) >> 20
}

/// Asks for large pages: the direct map, through which a kernel sees its pages, has
/// them. Where they are not to be had, small ones do.
fn large_pages(start: *mut u8, bytes: usize) {
    let skip = start.align_offset(LARGE_PAGE).min(bytes);
    let whole = (bytes - skip) / LARGE_PAGE * LARGE_PAGE;
    if whole == 0 {
        return;
    }
    // SAFETY: the range is mapped, and the advice changes nothing about its contents.
    let advised = unsafe { madvise(start.add(skip).cast(), whole, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        say(format!("no large pages: {error}"));
    }
}

/// So many zeroed bytes or pages, in large pages.
pub(super) fn zeroed<T: Copy>(zero: T, count: usize) -> Vec<T> {
    let mut memory = vec![zero; count];
    large_pages(memory.as_mut_ptr().cast(), count * size_of::<T>());
    memory
}

/// At most so many pages, evenly from each class, the classes mixed.
fn take(classes: &[Class], count: usize) -> Vec<&Page> {
    let all: usize = classes.iter().map(|class| class.pages.len()).sum();
    let mut set = Vec::with_capacity(count);
    for class in classes {
        let share = (class.pages.len() * count / all).min(class.pages.len());
        set.extend((0..share).map(|i| &class.pages[i * class.pages.len() / share.max(1)]));
    }
    shuffle(&mut set, 1);
    set
}

/// Keeps this thread on the last CPU.
pub(super) fn pin() -> Result<()> {
    let last = std::thread::available_parallelism()?.get() - 1;
    let mut cpus = CpuSet::new();
    cpus.set(last);
    sched_setaffinity(None, &cpus).context("keeping to one CPU")
}

/// CPU time of this thread, or of the process, in ns.
fn cpu_ns(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Time that `work` takes on this thread's CPU, ns.
pub(super) fn timed(work: impl FnOnce()) -> f64 {
    let begin = cpu_ns(ClockId::ThreadCPUTime);
    work();
    cpu_ns(ClockId::ThreadCPUTime) - begin
}

/// Puts `items` in an order that depends on `seed` only (Fisher-Yates).
fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut state = seed;
    for i in (1..items.len()).rev() {
        items.swap(i, (random::next(&mut state) % (i as u64 + 1)) as usize);
    }
}

/// An engine with one persistent pool.
pub(super) struct Tier {
    pub(super) engine: EmbeddedEngine,
    pub(super) pool: u32,
}

impl Tier {
    pub(super) fn new() -> Result<Self> {
        let options = Options {
            arena_bytes: ARENA as u64,
            limit_bytes: 2 << 30,
            ..Options::default()
        };
        let engine = EmbeddedEngine::new(&options).context("making an engine")?;
        large_pages(engine.host().page_base(), ARENA);
        let spec = PoolSpec {
            uuid: *b"xtask bench pool",
            flags: tmem_kmod::POOL_PERSISTENT,
            version: 0,
        };
        let pool = engine.pool_create(&spec).context("making a pool")?;
        Ok(Self { engine, pool })
    }

    /// Waits until maintenance has nothing to do; how long that took.
    pub(super) fn rest(&self) -> Duration {
        let begin = Instant::now();
        let mut last = (self.engine.stats(), Instant::now());
        while last.1.elapsed() < Duration::from_millis(300) && begin.elapsed() < REST {
            std::thread::sleep(Duration::from_millis(5));
            let now = self.engine.stats();
            let held = |stats: &Stats| (stats.store_bytes, stats.metadata_bytes, stats.moved_pages);
            if held(&now) != held(&last.0) {
                last = (now, Instant::now());
            }
        }
        last.1.duration_since(begin)
    }
}

/// The codec by itself, and memory of its own that it keeps its bytes in: like a
/// store's slots they lie in one row a size class, as wide as the class, so that it
/// writes to and reads from as many places at once as the engine does. It has no
/// index, no locks, and never gives anything back.
struct Bare {
    wanted: Codec,
    host: UserHost,
    scratch: Box<Scratch>,
    rows: Vec<Vec<u8>>,
    /// Next free byte of each row.
    ends: [usize; ROWS],
    /// How and where each page is kept.
    places: Vec<Place>,
}

/// A page that [`Bare`] keeps.
#[derive(Clone, Copy)]
struct Place {
    codec: Codec,
    row: u16,
    length: u16,
    start: usize,
}

/// Width of a size class, bytes.
const STEP: usize = 64;
const ROWS: usize = PAGE_SIZE / STEP + 1;

impl Bare {
    /// With room for these pages.
    fn new(wanted: Codec, pages: &[Page]) -> Self {
        let mut bare = Self {
            wanted,
            host: UserHost::new(&Options {
                arena_bytes: 0,
                ..Options::default()
            }),
            scratch: Scratch::boxed(),
            rows: Vec::new(),
            ends: [0; ROWS],
            places: Vec::new(),
        };
        let mut sizes = [0; ROWS];
        for page in pages {
            let (codec, length) = bare.compress(page);
            let row = length.div_ceil(STEP);
            sizes[row] += row * STEP;
            bare.places.push(Place {
                codec,
                row: 0,
                length: 0,
                start: 0,
            });
        }
        bare.rows = sizes.iter().map(|size| zeroed(0, *size)).collect();
        bare
    }

    /// As the engine does; the length in the scratch.
    fn compress(&mut self, page: &Page) -> (Codec, usize) {
        tmem_kmod::compress(&self.host, self.wanted, page, &mut self.scratch)
            .unwrap_or((Codec::None, PAGE_SIZE))
    }

    fn put(&mut self, number: usize, page: &Page) {
        let (codec, length) = self.compress(page);
        let data = match codec {
            Codec::None => &page[..],
            _ => &self.scratch.data()[..length],
        };
        let row = length.div_ceil(STEP);
        let start = self.ends[row];
        self.rows[row][start..start + length].copy_from_slice(data);
        self.places[number] = Place {
            codec,
            row: row as u16,
            length: length as u16,
            start,
        };
        self.ends[row] += row * STEP;
    }

    fn get(&self, number: usize, page: &mut Page) -> bool {
        let Place {
            codec,
            row,
            length,
            start,
        } = self.places[number];
        let bytes = &self.rows[usize::from(row)][start..start + usize::from(length)];
        if codec == Codec::None {
            page.copy_from_slice(bytes);
            return true;
        }
        tmem_kmod::decompress(&self.host, codec, bytes, page)
    }
}

/// CPU time of the engine, of the codec alone, and of memcpy, ns, in one round.
#[derive(Clone, Copy, Default)]
pub(super) struct Times {
    pub(super) engine: f64,
    pub(super) codec: f64,
    pub(super) pages: f64,
}

/// One round of one operation over the pages in `order`: engine and codec take turns,
/// the codec half the pages ahead.
pub(super) fn turns(
    order: &[usize],
    mut engine: impl FnMut(&[usize]),
    mut codec: impl FnMut(&[usize]),
) -> Times {
    let chunks: Vec<&[usize]> = order.chunks(CHUNK).collect();
    let mut times = Times {
        pages: order.len() as f64,
        ..Times::default()
    };
    for (i, chunk) in chunks.iter().enumerate() {
        let other = chunks[(i + chunks.len() / 2) % chunks.len()];
        if i % 2 == 0 {
            times.engine += timed(|| engine(chunk));
            times.codec += timed(|| codec(other));
        } else {
            times.codec += timed(|| codec(other));
            times.engine += timed(|| engine(chunk));
        }
    }
    times
}

/// Put, get in order, get at random, flush: rounds of each, by operation and class.
fn costs(tier: &Tier, codec: Codec, classes: &[Class]) -> Result<Vec<Row>> {
    let Tier { engine, pool } = tier;
    let mut rounds: BTreeMap<(&str, &str), Vec<Times>> = BTreeMap::new();
    let mut copies = Vec::new();
    let mut flushes = Vec::new();
    let mut bares: Vec<Bare> = classes
        .iter()
        .map(|class| Bare::new(codec, &class.pages))
        .collect();
    let most = classes
        .iter()
        .map(|class| class.pages.len())
        .max()
        .unwrap_or(0);
    let targets = RefCell::new(zeroed([0; PAGE_SIZE], most));
    let mut wrong = 0_usize;
    for round in 0..=ROUNDS {
        let mut sums: BTreeMap<&str, Times> = BTreeMap::new();
        for (object, (class, bare)) in classes.iter().zip(&mut bares).enumerate() {
            let object = object as u64;
            let pages = &class.pages;
            let in_order: Vec<usize> = (0..pages.len()).collect();
            let mut at_random = in_order.clone();
            shuffle(&mut at_random, round as u64);

            // The codec starts half way, so what it packs lies in its own order.
            bare.ends = [0; ROWS];
            let put = turns(
                &in_order,
                |chunk| {
                    for &i in chunk {
                        let outcome = engine.put(*pool, object, i as u64, &pages[i], 1).outcome;
                        wrong += usize::from(!outcome.is_stored());
                    }
                },
                |chunk| chunk.iter().for_each(|&i| bare.put(i, &pages[i])),
            );
            let mut measured = vec![("put", put)];
            for (name, order) in [("get in order", &in_order), ("get at random", &at_random)] {
                let mut bad = 0_usize;
                let get = turns(
                    order,
                    |chunk| {
                        let targets = &mut targets.borrow_mut()[..];
                        for &i in chunk {
                            let report = engine.get(*pool, object, i as u64, &mut targets[i]);
                            wrong += usize::from(report.outcome != Outcome::Hit);
                        }
                    },
                    |chunk| {
                        let targets = &mut targets.borrow_mut()[..];
                        bad += chunk
                            .iter()
                            .filter(|&&i| !bare.get(i, &mut targets[i]))
                            .count();
                    },
                );
                wrong += bad;
                measured.push((name, get));
            }
            for (name, times) in measured {
                let sum = sums.entry(name).or_default();
                sum.engine += times.engine;
                sum.codec += times.codec;
                sum.pages += times.pages;
                if round > 0 {
                    rounds.entry((name, class.name)).or_default().push(times);
                }
            }
        }
        let mut copy = [0; PAGE_SIZE];
        let mut copied = 0.0;
        let mut flushed = 0.0;
        for (object, class) in classes.iter().enumerate() {
            copied += timed(|| {
                for page in &class.pages {
                    copy.copy_from_slice(black_box(page));
                    black_box(&copy);
                }
            });
            flushed += timed(|| {
                for i in 0..class.pages.len() as u64 {
                    engine.flush_page(*pool, object as u64, i);
                }
            });
        }
        if round > 0 {
            for (name, times) in sums {
                copies.push(copied / times.pages / 1e3);
                flushes.push(flushed / times.pages / 1e3);
                rounds.entry((name, ALL)).or_default().push(times);
            }
        }
    }
    ensure!(wrong == 0, "{wrong} puts or gets failed");
    ensure!(
        engine.stats().pages == 0,
        "{} pages are left",
        engine.stats().pages
    );

    let mut rows = Vec::new();
    for name in ["put", "get in order", "get at random"] {
        for class in [ALL]
            .into_iter()
            .chain(classes.iter().map(|class| class.name))
        {
            let times = &rounds[&(name, class)];
            let of = |f: fn(&Times) -> f64| times.iter().map(f).collect::<Vec<f64>>();
            let ratios = of(|t| t.engine / t.codec);
            rows.push(Row {
                baseline: Some(median(&of(|t| t.codec / t.pages / 1e3))),
                ratio: Some(median(&ratios)),
                spread: Some(spread(&ratios)),
                bound: (codec == Codec::Lz4 && class == ALL).then_some(COST),
                ..Row::new(
                    format!("engine/{}/{name}/{class}", codec.name()),
                    median(&of(|t| t.engine / t.pages / 1e3)),
                    "us/page",
                )
            });
            let beyond = of(|t| (t.engine - t.codec) / t.pages / 1e3);
            rows.push(Row {
                spread: Some(spread(&beyond)),
                bound: (codec != Codec::Lz4 && class == ALL).then_some(BEYOND),
                ..Row::new(
                    format!("beyond the codec/{}/{name}/{class}", codec.name()),
                    median(&beyond),
                    "us/page",
                )
            });
        }
    }
    for (name, figures) in [
        (format!("engine/{}/flush/all", codec.name()), flushes),
        (format!("memcpy beside {}/all", codec.name()), copies),
    ] {
        rows.push(Row {
            spread: Some(spread(&figures)),
            ..Row::new(name, median(&figures), "us/page")
        });
    }
    Ok(rows)
}

/// Compressed bytes / memory of the store.
fn density(stats: &Stats) -> f64 {
    stats.data_bytes as f64 / stats.store_bytes as f64
}

/// Density and bookkeeping with all of `set`, and after most of it was flushed.
fn densities(set: &[&Page], full: Bound, bound_flushed: bool) -> Result<Vec<Row>> {
    let size = format!("{} MB", megabytes(set.len()));
    let tier = Tier::new()?;
    let Tier { engine, pool } = &tier;
    for (i, page) in set.iter().enumerate() {
        let outcome = engine.put(*pool, 0, i as u64, page, 1).outcome;
        ensure!(outcome.is_stored(), "page {i}: {}", outcome.name());
    }
    tier.rest();
    let stats = engine.stats();
    let metadata = |stats: &Stats| stats.metadata_bytes as f64 / stats.pages as f64;
    let with_metadata =
        |stats: &Stats| stats.data_bytes as f64 / (stats.store_bytes + stats.metadata_bytes) as f64;
    let mut rows = vec![
        Row::new(format!("density/{size}"), density(&stats), "").bound(full),
        Row::new(
            format!("density with metadata/{size}"),
            with_metadata(&stats),
            "",
        ),
        Row {
            bound: bound_flushed.then_some(METADATA),
            ..Row::new(format!("metadata/{size}"), metadata(&stats), "bytes/page")
        },
    ];

    let mut order: Vec<usize> = (0..set.len()).collect();
    shuffle(&mut order, 2);
    let (flushed, kept) = order.split_at(set.len() * FLUSHED / 100);
    let (process, thread) = (
        cpu_ns(ClockId::ProcessCPUTime),
        cpu_ns(ClockId::ThreadCPUTime),
    );
    for &i in flushed {
        engine.flush_page(*pool, 0, i as u64);
    }
    let at_once = density(&engine.stats());
    let rest = tier.rest();
    let background =
        cpu_ns(ClockId::ProcessCPUTime) - process - (cpu_ns(ClockId::ThreadCPUTime) - thread);
    let stats = engine.stats();
    let name = format!("{size}, {FLUSHED} % flushed");
    rows.push(Row {
        bound: bound_flushed.then_some(Bound::AtLeast(0.90)),
        ..Row::new(format!("density/{name}"), density(&stats), "")
    });
    rows.push(Row::new(format!("density at once/{name}"), at_once, ""));
    rows.push(Row::new(
        format!("metadata/{name}"),
        metadata(&stats),
        "bytes/page",
    ));
    rows.push(Row::new(
        format!("maintenance until at rest/{name}"),
        rest.as_secs_f64(),
        "s",
    ));
    rows.push(Row::new(
        format!("maintenance CPU/{name}"),
        background / flushed.len() as f64 / 1e3,
        "us/flush",
    ));
    let mut page = [0; PAGE_SIZE];
    for &i in kept {
        let outcome = engine.get(*pool, 0, i as u64, &mut page).outcome;
        ensure!(
            outcome == Outcome::Hit && page == *set[i],
            "page {i} came back wrong"
        );
    }
    Ok(rows)
}

/// The same through zram: cost of single-page direct I/O, and density.
fn zram_rows(zram: &mut Zram, set: &[&Page]) -> Result<Vec<Row>> {
    let size = format!("{} MB", megabytes(set.len()));
    zram.reset("lz4", set.len())?;
    let mut failed = None;
    let write = timed(|| {
        failed = set
            .iter()
            .enumerate()
            .find_map(|(i, p)| zram.copy(i, p).err())
    });
    let density = |zram: &Zram| zram.memory().map(|(data, used)| data / used);
    let full = density(zram)?;
    let mut wrong = 0;
    let read = timed(|| {
        for (i, expected) in set.iter().enumerate() {
            match zram.read(i) {
                Ok(page) => wrong += usize::from(page[..8] != expected[..8]),
                Err(error) => failed = Some(error),
            }
        }
    });
    let mut order: Vec<usize> = (0..set.len()).collect();
    shuffle(&mut order, 2);
    for &i in &order[..set.len() * FLUSHED / 100] {
        zram.discard(i)?;
    }
    if let Some(error) = failed {
        return Err(error);
    }
    ensure!(wrong == 0, "zram gave {wrong} wrong pages");
    let per_page = |ns: f64| ns / set.len() as f64 / 1e3;
    Ok(vec![
        Row::new(
            format!("zram lz4/direct write/{size}"),
            per_page(write),
            "us/page",
        ),
        Row::new(
            format!("zram lz4/direct read/{size}"),
            per_page(read),
            "us/page",
        ),
        Row::new(format!("zram lz4/density/{size}"), full, ""),
        Row::new(
            format!("zram lz4/density/{size}, {FLUSHED} % flushed"),
            density(zram)?,
            "",
        ),
    ])
}
