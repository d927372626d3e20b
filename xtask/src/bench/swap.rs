//! What swapping costs in a virtual machine that counts instructions as time: without
//! the module, with it idle, with it storing, with the eBPF programs attached, and
//! with what the kernel brings, zram and zswap. The guest's side is `tmem-guest`'s
//! `bench`; `tmem-counter` splits the instructions by what they are for.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tmem_common::PAGE_SIZE;
use tmem_tests::protocol::BENCH_PAGES;
use tmem_tests::{Kernel, counting};

use super::machine::{self, NOT_SPLIT, Sums, Told, Wanted};
use super::{Bound, Report, Row, median, spread};
use crate::corpus::{self, Class, Page, Split};
use crate::paths;

/// Pages that are swapped, bytes.
const BYTES: usize = 48 << 20;
/// The way that has bounds, and what it keeps pages with.
const BOUND: &str = "tmem adaptive";
/// Instructions of a page's way out and in that are neither the codec's nor memory management's: what zswap takes.
const BEYOND: [Bound; 2] = [Bound::AtMost(1900.0), Bound::AtMost(900.0)];
/// Pages that a MiB of memory holds, of those of zram with LZ4.
const HELD: Bound = Bound::AtLeast(1.2);

/// Boots `kernel` and measures.
pub(super) fn run(kernel: Kernel) -> Result<Report> {
    let (ways, release) = measure(kernel, "bench")?;
    let mut notes = vec![note(kernel, &release, &ways)];
    if ways.iter().any(|way| way.split[0].is_empty()) {
        notes.push(NOT_SPLIT.to_owned());
    }
    Ok(Report {
        rows: rows(&ways)?,
        notes,
    })
}

/// What the guest measures as `what` with `kernel`, and that kernel's release.
pub(super) fn measure(kernel: Kernel, what: &str) -> Result<(Vec<Way>, String)> {
    let told = told(kernel, what)?;
    let mut ways = told
        .data
        .iter()
        .map(|text| Way::read(text))
        .collect::<Result<Vec<_>>>()?;
    if let Some(phases) = &told.phases {
        share(&mut ways, phases)?;
    }
    Ok((ways, told.release))
}

/// What the guest tells of `what` with `kernel` and the pages that are swapped.
pub(super) fn told(kernel: Kernel, what: &str) -> Result<Told> {
    let pages = paths::output().join("bench.pages");
    let anonymous = anonymous()?;
    fs::write(&pages, anonymous.as_flattened()).with_context(|| pages.display().to_string())?;
    machine::told(&Wanted {
        swap_mib: 256,
        modules: vec![
            "virtio_pci",
            "virtio_blk",
            "lz4",
            "zstd?",
            "zsmalloc",
            "zram",
        ],
        extra: vec![(BENCH_PAGES, pages)],
        ..Wanted::new(kernel, what)
    })
}

/// Anonymous memory of the programs that the codecs were not tuned with, as much of each.
fn anonymous() -> Result<Vec<Page>> {
    let mut corpora = corpus::load(Split::Test)?;
    corpora.retain(|corpus| corpus.class == Class::Heap);
    let each = BYTES / PAGE_SIZE / corpora.len().max(1);
    let pages = corpora
        .iter()
        .flat_map(|corpus| corpus::evenly(&corpus.pages, each));
    Ok(pages.collect())
}

/// Gives the plugin's sums to the ways: four lines a round, of which the second is of the way out and the fourth of
/// the way in. The first round does not count.
fn share(ways: &mut [Way], lines: &[Sums]) -> Result<()> {
    let (rounds, rest) = lines.as_chunks::<4>();
    let each = ways.first().map_or(1, |way| way.out.len() + 1);
    ensure!(
        rest.is_empty() && rounds.len() == each * ways.len(),
        "the counter has {} phases of {} ways",
        lines.len(),
        ways.len()
    );
    for (way, rounds) in ways.iter_mut().zip(rounds.chunks(each)) {
        let of = |phase: usize| -> Vec<Sums> {
            let counted = rounds.iter().skip(1);
            counted
                .map(|round| round[phase].map(|sum| sum / way.pages))
                .collect()
        };
        way.split = [of(1), of(3)];
    }
    Ok(())
}

/// What the guest measured of one way.
pub(super) struct Way {
    pub(super) name: String,
    pub(super) out: Vec<f64>,
    pub(super) back: Vec<f64>,
    pub(super) pages: f64,
    pub(super) rounds: f64,
    /// Events of a recording, and those that were lost.
    pub(super) recorded: Option<(f64, f64)>,
    io: f64,
    held: (f64, f64),
    density: (f64, f64),
    /// Instructions a page of each round's ways out and in; empty where they were not split.
    split: [Vec<Sums>; 2],
}

impl Way {
    fn read(text: &str) -> Result<Self> {
        let data: Value = serde_json::from_str(text).with_context(|| text.to_owned())?;
        let number = |key: &str| {
            data[key]
                .as_f64()
                .with_context(|| format!("{key} in {text}"))
        };
        let numbers = |key: &str| -> Result<Vec<f64>> {
            let list = data[key]
                .as_array()
                .with_context(|| format!("{key} in {text}"))?;
            Ok(list.iter().filter_map(Value::as_f64).collect())
        };
        Ok(Self {
            name: data["way"]
                .as_str()
                .with_context(|| format!("way in {text}"))?
                .to_owned(),
            out: numbers("out_ns")?,
            back: numbers("in_ns")?,
            pages: number("pages")?,
            rounds: number("rounds")?,
            recorded: data["events"].as_f64().zip(data["dropped"].as_f64()),
            io: number("written")? + number("read")?,
            held: (number("held_pages")?, number("held_bytes")?),
            density: (number("data_bytes")?, number("store_bytes")?),
            split: Default::default(),
        })
    }

    /// Instructions of one direction that are for one of `classes`, by round.
    fn share(&self, direction: usize, classes: &[counting::Class]) -> Vec<f64> {
        let rounds = self.split[direction].iter();
        rounds
            .map(|sums| classes.iter().map(|class| sums[*class as usize]).sum())
            .collect()
    }

    /// Instructions for both ways of a page, by round.
    pub(super) fn both(&self) -> Vec<f64> {
        self.out
            .iter()
            .zip(&self.back)
            .map(|(out, back)| out + back)
            .collect()
    }
}

/// What to know about the figures.
pub(super) fn note(kernel: Kernel, release: &str, ways: &[Way]) -> String {
    let (pages, rounds) = ways
        .first()
        .map_or((0.0, 0.0), |way| (way.pages, way.rounds));
    format!(
        "kernel {kernel} ({release}), one CPU, {pages} anonymous pages, {rounds} rounds; instructions \
         of all tasks of the machine, for each page that went out and came back"
    )
}

fn rows(ways: &[Way]) -> Result<Vec<Row>> {
    let find = |name: &str| ways.iter().find(|way| way.name == name);
    let without = find("disk").context("the guest did not measure swap without the module")?;
    let mut rows = Vec::new();
    for (what, figures) in [
        ("out", (|way: &Way| way.out.clone()) as fn(&Way) -> Vec<f64>),
        ("in", |way| way.back.clone()),
        ("out and in", Way::both),
    ] {
        for way in ways {
            let mut row = Row::new(
                format!("swap/{what}/{}", way.name),
                median(&figures(way)),
                "instr/page",
            );
            row.spread = Some(spread(&figures(way)));
            if way.name != without.name {
                row = row.against(median(&figures(without)));
                // Of the ratio from here on.
                row.spread = row
                    .spread
                    .zip(row.baseline)
                    .map(|(spread, base)| spread / base);
            }
            rows.push(row);
        }
        for (ours, theirs) in [
            ("tmem lz4", "zswap lz4"),
            ("tmem lz4", "zram lz4"),
            (BOUND, "zswap lz4"),
            (BOUND, "zram lz4"),
            ("tmem adaptive, traced", BOUND),
        ] {
            if let (Some(ours), Some(theirs)) = (find(ours), find(theirs)) {
                let name = format!("swap/{what}/{} against {}", ours.name, theirs.name);
                let row = Row::new(name, median(&figures(ours)), "instr/page");
                rows.push(row.against(median(&figures(theirs))));
            }
        }
    }
    rows.extend(shares(ways));
    let per_page = |way: &Way| way.io / way.rounds / way.pages / PAGE_SIZE as f64;
    for way in ways {
        let name = format!("swap/disk I/O/{}", way.name);
        let row = Row::new(name, per_page(way), "pages/page");
        rows.push(if way.name == without.name {
            row
        } else {
            row.against(per_page(without))
        });
    }
    let held = |way: &Way| way.held.0 / (way.held.1 / f64::from(1 << 20));
    for way in ways.iter().filter(|way| way.held.1 > 0.0) {
        let mut row = Row::new(format!("swap/held/{}", way.name), held(way), "pages/MiB");
        if let Some(zram) = find("zram lz4").filter(|zram| zram.name != way.name) {
            row = row.against(held(zram));
            row.bound = (way.name == BOUND).then_some(HELD);
        }
        rows.push(row);
    }
    for way in ways.iter().filter(|way| way.density.1 > 0.0) {
        let density = way.density.0 / way.density.1;
        rows.push(Row::new(format!("swap/density/{}", way.name), density, ""));
    }
    Ok(rows)
}

/// What instructions are for, way by way.
fn shares(ways: &[Way]) -> Vec<Row> {
    use counting::Class::{Codec, Glue, Store};
    let mut rows = Vec::new();
    for (direction, name) in ["out", "in"].into_iter().enumerate() {
        for way in ways.iter().filter(|way| !way.split[direction].is_empty()) {
            let row = |what: &str, figures: &[f64]| Row {
                spread: Some(spread(figures)),
                ..Row::new(
                    format!("swap/{name}/{}: {what}", way.name),
                    median(figures),
                    "instr/page",
                )
            };
            let whole = if direction == 0 { &way.out } else { &way.back };
            let known = way.share(direction, &[Codec, Store, Glue]);
            let mm: Vec<f64> = whole
                .iter()
                .zip(&known)
                .map(|(all, known)| all - known)
                .collect();
            let beyond = way.share(direction, &[Store, Glue]);
            rows.push(row("codec", &way.share(direction, &[Codec])));
            rows.push(row("store", &way.share(direction, &[Store])));
            rows.push(row("glue", &way.share(direction, &[Glue])));
            rows.push(row("mm", &mm));
            let mut row = row("store and glue", &beyond);
            row.bound = (way.name == BOUND).then_some(BEYOND[direction]);
            rows.push(row);
        }
    }
    rows
}
