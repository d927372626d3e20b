//! The whole engine with its default codec against zram with LZ4, on anonymous memory of the programs that the codecs
//! were not tuned with: what a page costs on its way in and out, and how much memory is saved.
//!
//! The engine runs in this process, zram in this machine's kernel, reached by direct I/O of single pages: a system call
//! and the block layer are in its figures. What those take is what a page of zeros costs, which zram neither compresses
//! nor stores; the bounds hold with it and without it. Turns, pinning and medians are those
//! of the engine's figures. Pages filled with one 32-bit word are left out.

use std::cell::{Cell, RefCell};

use anyhow::{Context, Result, bail, ensure};
use tmem_common::PAGE_SIZE;
use tmem_common::codec::Codec;
use tmem_common::op::Outcome;

use super::codec::{PAGES, mean};
use super::engine::{ROUNDS, Tier, pin, timed, turns, zeroed};
use super::zram::{Aligned, Zram};
use super::{Bound, Report, Row, median, spread};
use crate::corpus::{self, Class, Page, Split};
use crate::process::say;

/// The engine's cost of a put and a get, of zram's.
const PUT: Bound = Bound::AtMost(0.5);
const GET: Bound = Bound::AtMost(0.7);
/// Bytes of pages for a byte of memory, of zram's.
const SAVED: Bound = Bound::AtLeast(1.2);

/// Rounds of one corpus: ns a page.
#[derive(Default)]
struct Rounds {
    engine: Vec<f64>,
    zram: Vec<f64>,
}

impl Rounds {
    /// The engine's cost of zram's, of which `call` us a page are left out.
    fn ratios(&self, call: f64) -> Vec<f64> {
        let both = self.engine.iter().zip(&self.zram);
        both.map(|(engine, zram)| engine / (zram - call)).collect()
    }
}

/// Measures both.
///
/// # Errors
/// No corpora; this machine has no zram that we may add a device to; or a page came back wrong.
pub(super) fn run() -> Result<Report> {
    let mut corpora = corpus::load(Split::Test)?;
    corpora.retain(|corpus| corpus.class == Class::Heap);
    for corpus in &mut corpora {
        let fills = |page: &Page| page.as_chunks::<4>().0.iter().any(|w| *w != page[..4]);
        corpus.pages.retain(fills);
    }
    // Before this thread is pinned: its maintenance thread is to run where there is room.
    let tier = Tier::new()?;
    let mut zram = Zram::add().context("nothing to compare with")?;
    pin()?;
    tier.engine
        .set_pool_codec(tier.pool, Codec::Adaptive as u32)
        .context("setting the codec")?;
    let mut rows = Vec::new();
    let mut costs_of: [Vec<Rounds>; 2] = Default::default();
    for (object, corpus) in corpora.iter().enumerate() {
        say(format!("engine and zram on {}", corpus.name));
        let mut pages = zeroed(Aligned([0; PAGE_SIZE]), PAGES.min(corpus.pages.len()));
        for (to, page) in pages.iter_mut().zip(corpus::evenly(&corpus.pages, PAGES)) {
            to.0 = page;
        }
        let costs = costs(&tier, &mut zram, object as u64, &pages)?;
        for ((what, rounds), all) in ["put", "get"].into_iter().zip(costs).zip(&mut costs_of) {
            let each = rounds.ratios(0.0);
            rows.push(Row {
                baseline: Some(median(&rounds.zram)),
                ratio: Some(median(&each)),
                spread: Some(spread(&each)),
                ..Row::new(
                    format!("zram/{what}/{}", corpus.name),
                    median(&rounds.engine),
                    "us/page",
                )
            });
            all.push(rounds);
        }
    }
    drop(tier);
    let calls = call(&mut zram)?;
    for (what, cost) in ["write", "read"].into_iter().zip(calls) {
        let name = format!("zram/its {what} of a page of zeros");
        rows.push(Row::new(name, cost, "us/page"));
    }
    for (((what, costs), call), bound) in ["put", "get"]
        .into_iter()
        .zip(&costs_of)
        .zip(calls)
        .zip([PUT, GET])
    {
        let ratio = |call: f64| {
            let each = costs.iter().map(|rounds| median(&rounds.ratios(call)));
            mean(&each.collect::<Vec<_>>())
        };
        let name = format!("zram/{what}/all anonymous");
        rows.push(Row::new(&name, ratio(0.0), "of zram's").bound(bound));
        let name = format!("{name}, without the call");
        rows.push(Row::new(name, ratio(call), "of zram's").bound(bound));
    }
    say("memory that engine and zram take");
    let all: Vec<&Page> = corpora.iter().flat_map(|corpus| &corpus.pages).collect();
    rows.extend(memory(&mut zram, &all)?);
    Ok(Report {
        rows,
        notes: vec![format!(
            "adaptive against zram lz4, direct I/O of single pages; {PAGES} pages of each program, {ROUNDS} rounds; \
             memory: all their {} pages",
            all.len()
        )],
    })
}

/// Put and get of one corpus, us a page.
fn costs(tier: &Tier, zram: &mut Zram, object: u64, pages: &[Aligned]) -> Result<[Rounds; 2]> {
    let Tier { engine, pool } = tier;
    zram.reset("lz4", pages.len())?;
    let zram = RefCell::new(zram);
    let order: Vec<usize> = (0..pages.len()).collect();
    let mut result: [Rounds; 2] = Default::default();
    let wrong = Cell::new(0_usize);
    let note = |good: bool| wrong.set(wrong.get() + usize::from(!good));
    for round in 0..=ROUNDS {
        let put = turns(
            &order,
            |chunk| {
                for &i in chunk {
                    let report = engine.put(*pool, object, i as u64, &pages[i].0, 0);
                    note(report.outcome.is_stored());
                }
            },
            |chunk| {
                let zram = zram.borrow();
                chunk
                    .iter()
                    .for_each(|&i| note(zram.write(i, &pages[i]).is_ok()));
            },
        );
        let mut target = Aligned([0; PAGE_SIZE]);
        let get = turns(
            &order,
            |chunk| {
                for &i in chunk {
                    let report = engine.get(*pool, object, i as u64, &mut target.0);
                    note(report.outcome == Outcome::Hit && target.0[..8] == pages[i].0[..8]);
                }
            },
            |chunk| {
                let mut zram = zram.borrow_mut();
                for &i in chunk {
                    note(zram.read(i).is_ok_and(|page| page[..8] == pages[i].0[..8]));
                }
            },
        );
        if round == 0 {
            continue;
        }
        for (rounds, times) in result.iter_mut().zip([put, get]) {
            rounds.engine.push(times.engine / times.pages / 1e3);
            rounds.zram.push(times.codec / times.pages / 1e3);
        }
    }
    // The whole contents, once.
    let mut target = [0; PAGE_SIZE];
    for (i, page) in pages.iter().enumerate() {
        let report = engine.get(*pool, object, i as u64, &mut target);
        note(report.outcome == Outcome::Hit && target == page.0);
        engine.flush_page(*pool, object, i as u64);
    }
    ensure!(wrong.get() == 0, "{} puts or gets failed", wrong.get());
    Ok(result)
}

/// What writing and reading a page of zeros takes, us.
fn call(zram: &mut Zram) -> Result<[f64; 2]> {
    let zeros = Aligned([0; PAGE_SIZE]);
    zram.reset("lz4", PAGES)?;
    let mut rounds: [Vec<f64>; 2] = Default::default();
    let mut failed = false;
    for _ in 0..ROUNDS {
        let write = timed(|| failed |= (0..PAGES).any(|i| zram.write(i, &zeros).is_err()));
        let read = timed(|| failed |= (0..PAGES).any(|i| zram.read(i).is_err()));
        for (rounds, ns) in rounds.iter_mut().zip([write, read]) {
            rounds.push(ns / PAGES as f64 / 1e3);
        }
    }
    if failed {
        bail!("zram did not take or give a page of zeros");
    }
    Ok(rounds.map(|rounds| median(&rounds)))
}

/// Bytes of pages for a byte of memory, and of data for a byte of the store's memory.
fn memory(zram: &mut Zram, pages: &[&Page]) -> Result<Vec<Row>> {
    let tier = Tier::new()?;
    let Tier { engine, pool } = &tier;
    engine
        .set_pool_codec(*pool, Codec::Adaptive as u32)
        .context("setting the codec")?;
    zram.reset("lz4", pages.len())?;
    for (i, page) in pages.iter().enumerate() {
        let outcome = engine.put(*pool, 0, i as u64, page, 0).outcome;
        ensure!(outcome.is_stored(), "page {i}: {}", outcome.name());
        zram.copy(i, page)?;
    }
    tier.rest();
    let stats = engine.stats();
    let held = (pages.len() * PAGE_SIZE) as f64;
    let (data, used) = zram.memory()?;
    let ours = (stats.store_bytes + stats.metadata_bytes) as f64;
    let bookkeeping = zram.bookkeeping()?;
    Ok(vec![
        Row::new("zram/bytes of pages for a byte of memory", held / ours, "")
            .against(held / (used + bookkeeping))
            .bound(SAVED),
        Row::new(
            "zram/bytes of pages for a byte of memory, as mm_stat has it",
            held / ours,
            "",
        )
        .against(held / used),
        Row::new(
            "zram/density of the store",
            stats.data_bytes as f64 / stats.store_bytes as f64,
            "",
        )
        .against(data / used),
        Row::new(
            "zram/bookkeeping",
            stats.metadata_bytes as f64 / pages.len() as f64,
            "bytes/page",
        )
        .against(bookkeeping / pages.len() as f64),
        Row::new(
            "zram/compressed bytes",
            stats.data_bytes as f64 / pages.len() as f64,
            "bytes/page",
        )
        .against(data / pages.len() as f64),
    ])
}
