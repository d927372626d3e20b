//! Codecs alone, in this process, on the pages of programs that the codecs were not
//! tuned with: cost and ratio of each of ours beside the kernel's LZ4 and LZO-RLE,
//! zstd and plain copying.
//!
//! All codecs take turns on chunks of pages that fit in a core's second-level cache, so
//! that they see the same disturbances and equally warm pages. Costs are thread CPU time
//! on one pinned core; a round goes over all pages, and medians of the rounds are
//! reported. Compressing is into one buffer that every codec uses again for each page;
//! decompressing is from each page's own bytes into one page. Every page is compared once.
//! Pages filled with one 32-bit word are left out: the engine, like zram, keeps them without a codec.

#[cfg(feature = "baselines")]
mod baselines;
#[cfg(feature = "baselines")]
mod linux;

use std::hint::black_box;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use tmem_common::codec::Codec;
use tmem_kmod::Scratch;
use tmem_kmod::userspace::{Options, UserHost};

use super::{Bound, Report, Row, median, spread};
use crate::corpus::{self, Class, Corpus, PAGE, Page, Split};
use crate::process::say;

/// Pages that the codecs take in turn.
const CHUNK: usize = 64;
/// Rounds that count, after one that fills caches and checks contents.
const ROUNDS: usize = 7;
/// Pages of a corpus, at even distances.
pub(super) const PAGES: usize = 2048;
/// Larger results are kept as they were, as the engine's store and zram do.
const LARGEST: usize = 3964;

/// One way to compress.
pub(crate) trait PageCodec {
    /// The name in tables.
    fn name(&self) -> &'static str;
    /// Compresses: in which format, and the bytes; `None` if it did not get small enough.
    fn compress(&mut self, page: &Page) -> Option<(Codec, &[u8])>;
    /// Whether what `compress` gave became a page again.
    fn decompress(&mut self, format: Codec, data: &[u8], page: &mut Page) -> bool;
}

/// A codec of the engine, called as the engine does.
struct Ours {
    name: &'static str,
    codec: Codec,
    host: UserHost,
    scratch: Box<Scratch>,
}

impl Ours {
    fn boxed(name: &'static str, codec: Codec) -> Box<dyn PageCodec> {
        let host = UserHost::new(&Options {
            arena_bytes: 0,
            ..Options::default()
        });
        Box::new(Self {
            name,
            codec,
            host,
            scratch: Scratch::boxed(),
        })
    }
}

impl PageCodec for Ours {
    fn name(&self) -> &'static str {
        self.name
    }

    fn compress(&mut self, page: &Page) -> Option<(Codec, &[u8])> {
        let (format, len) = tmem_kmod::compress(&self.host, self.codec, page, &mut self.scratch)?;
        Some((format, &self.scratch.data()[..len]))
    }

    fn decompress(&mut self, format: Codec, data: &[u8], page: &mut Page) -> bool {
        tmem_kmod::decompress(&self.host, format, data, page)
    }
}

/// A compressed page, or the page itself.
struct Kept {
    format: Option<Codec>,
    data: Vec<u8>,
}

/// What one codec did with one corpus.
struct Figures {
    /// ns per page of each round.
    put: Vec<f64>,
    get: Vec<f64>,
    /// Bytes of each page.
    sizes: Vec<usize>,
}

impl Figures {
    fn ratio(&self) -> f64 {
        (self.sizes.len() * PAGE) as f64 / self.sizes.iter().sum::<usize>() as f64
    }
}

/// Thread CPU time in ns.
fn now() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn codecs() -> Result<Vec<Box<dyn PageCodec>>> {
    #[cfg(feature = "baselines")]
    let mut codecs = baselines::all()?;
    #[cfg(not(feature = "baselines"))]
    let mut codecs: Vec<Box<dyn PageCodec>> = Vec::new();
    codecs.extend([
        Ours::boxed("copy", Codec::None),
        Ours::boxed("lz4", Codec::Lz4),
        Ours::boxed("px64", Codec::Px64),
        Ours::boxed("adaptive", Codec::Adaptive),
    ]);
    Ok(codecs)
}

/// Where the pages that no codec makes small are copied to; and what gets go to.
struct Work {
    copy: Box<Page>,
    page: Box<Page>,
}

fn put(codec: &mut dyn PageCodec, page: &Page, work: &mut Work) -> Option<Codec> {
    match codec.compress(page) {
        Some((format, data)) if data.len() <= LARGEST => {
            black_box(data.as_ptr());
            Some(format)
        }
        _ => {
            work.copy.copy_from_slice(page);
            black_box(work.copy.as_ptr());
            None
        }
    }
}

fn get(codec: &mut dyn PageCodec, kept: &Kept, work: &mut Work) -> bool {
    let good = match kept.format {
        Some(format) => codec.decompress(format, &kept.data, &mut work.page),
        None => {
            work.page.copy_from_slice(&kept.data);
            true
        }
    };
    black_box(work.page.as_ptr());
    good
}

/// All codecs on one corpus.
fn measure(codecs: &mut [Box<dyn PageCodec>], corpus: &Corpus) -> Result<Vec<Figures>> {
    let fills = |page: &&Page| {
        page.as_chunks::<4>()
            .0
            .iter()
            .any(|word| *word != page[..4])
    };
    let pages: Vec<&Page> = corpus.pages.iter().filter(fills).collect();
    let pages: Vec<&Page> = corpus::evenly(&pages, PAGES).collect();
    let mut work = Work {
        copy: Box::new([0; PAGE]),
        page: Box::new([0; PAGE]),
    };
    let mut figures: Vec<Figures> = Vec::new();
    for _ in 0..codecs.len() {
        let (put, get) = (vec![0.0; ROUNDS], vec![0.0; ROUNDS]);
        figures.push(Figures {
            put,
            get,
            sizes: Vec::new(),
        });
    }
    for chunk in pages.chunks(CHUNK) {
        let mut kept: Vec<Vec<Kept>> = Vec::new();
        for (codec, figures) in codecs.iter_mut().zip(&mut figures) {
            let mut of_codec = Vec::new();
            for page in chunk {
                let (format, data) = match codec.compress(page) {
                    Some((format, data)) if data.len() <= LARGEST => (Some(format), data.to_vec()),
                    _ => (None, page.to_vec()),
                };
                figures.sizes.push(data.len());
                let one = Kept { format, data };
                let good = get(codec.as_mut(), &one, &mut work);
                ensure!(
                    good && *work.page == **page,
                    "{}: a page of {} came back wrong",
                    codec.name(),
                    corpus.name
                );
                of_codec.push(one);
            }
            kept.push(of_codec);
        }
        for round in 0..ROUNDS {
            for ((codec, figures), kept) in codecs.iter_mut().zip(&mut figures).zip(&kept) {
                let begin = now();
                for page in chunk {
                    black_box(put(codec.as_mut(), page, &mut work));
                }
                let middle = now();
                for one in kept {
                    black_box(get(codec.as_mut(), one, &mut work));
                }
                figures.put[round] += (middle - begin) / pages.len() as f64;
                figures.get[round] += (now() - middle) / pages.len() as f64;
            }
        }
    }
    Ok(figures)
}

/// Bounds of a class: put and get cost and ratio, each divided by the kernel's LZ4's.
const fn bounds(class: Class) -> [Bound; 3] {
    match class {
        Class::Heap => [
            Bound::AtMost(0.40),
            Bound::AtMost(0.60),
            Bound::AtLeast(1.15),
        ],
        Class::Binary | Class::Text | Class::Database => {
            [Bound::AtMost(1.0), Bound::AtMost(1.05), Bound::AtLeast(1.0)]
        }
    }
}

/// The codec that all are compared with, and the one that has bounds.
const BASELINE: &str = "linux-lz4";
const BOUND: &str = "adaptive";

/// Geometric means.
pub(super) fn mean(figures: &[f64]) -> f64 {
    (figures.iter().map(|f| f.ln()).sum::<f64>() / figures.len() as f64).exp()
}

fn ratios(of: &[f64], to: &[f64]) -> Vec<f64> {
    of.iter().zip(to).map(|(a, b)| a / b).collect()
}

/// Measures one side's corpora.
///
/// # Errors
/// No corpora, a codec that gave a wrong page back, or no core to be pinned to.
pub(crate) fn run(split: Split) -> Result<Report> {
    let corpora = corpus::load(split)?;
    let mut set = CpuSet::new();
    set.set(rustix::thread::sched_getcpu());
    sched_setaffinity(None, &set).context("cannot stay on one core")?;
    let mut codecs = codecs()?;
    let names: Vec<_> = codecs.iter().map(|c| c.name()).collect();
    let base = names
        .iter()
        .position(|n| *n == BASELINE)
        .context("no baseline")?;
    let mut report = Report::default();
    let mut measured = Vec::new();
    for corpus in &corpora {
        say(format!("codecs on {}", corpus.name));
        measured.push((corpus, measure(&mut codecs, corpus)?));
    }
    for (corpus, figures) in &measured {
        let (put, get) = (median(&figures[base].put), median(&figures[base].get));
        for (name, own) in names.iter().zip(figures) {
            let row = |what: &str| format!("{what}/{}/{name}", corpus.name);
            for (what, times, base_times, baseline) in [
                ("put", &own.put, &figures[base].put, put),
                ("get", &own.get, &figures[base].get, get),
            ] {
                let mut row = Row::new(row(what), median(times), "ns/page").against(baseline);
                row.ratio = Some(median(&ratios(times, base_times)));
                row.spread = Some(spread(&ratios(times, base_times)));
                report.rows.push(row);
            }
            let density = figures[base].ratio();
            report
                .rows
                .push(Row::new(row("ratio"), own.ratio(), "x").against(density));
        }
    }
    for class in Class::ALL {
        let of_class: Vec<_> = measured.iter().filter(|(c, _)| c.class == class).collect();
        if of_class.is_empty() {
            continue;
        }
        for (k, name) in names.iter().enumerate() {
            let over = |figure: &dyn Fn(&Figures, &Figures) -> f64| {
                let each: Vec<_> = of_class
                    .iter()
                    .map(|(_, f)| figure(&f[k], &f[base]))
                    .collect();
                mean(&each)
            };
            let figures = [
                (
                    "put",
                    "ns/page",
                    over(&|own, _| median(&own.put)),
                    over(&|own, base| median(&ratios(&own.put, &base.put))),
                ),
                (
                    "get",
                    "ns/page",
                    over(&|own, _| median(&own.get)),
                    over(&|own, base| median(&ratios(&own.get, &base.get))),
                ),
                (
                    "ratio",
                    "x",
                    over(&|own, _| own.ratio()),
                    over(&|own, base| own.ratio() / base.ratio()),
                ),
            ];
            for ((what, unit, value, ratio), bound) in figures.into_iter().zip(bounds(class)) {
                let mut row = Row::new(format!("{what}/all {}/{name}", class.name()), value, unit);
                row.ratio = Some(ratio);
                row.bound = (*name == BOUND).then_some(bound);
                report.rows.push(row);
            }
            let mut sizes: Vec<usize> = of_class
                .iter()
                .flat_map(|(_, f)| f[k].sizes.iter().copied())
                .collect();
            sizes.sort_unstable();
            for percent in [10, 25, 50, 75, 90] {
                let size = sizes[(sizes.len() - 1) * percent / 100] as f64;
                let row = format!("size p{percent}/all {}/{name}", class.name());
                report.rows.push(Row::new(row, size, "bytes"));
            }
        }
    }
    let count: usize = measured.iter().map(|(_, f)| f[base].sizes.len()).sum();
    report.notes.push(format!(
        "{count} pages of the {} set; ratios are to {BASELINE}; \"all\" is the geometric mean of the corpora; {}",
        split.name(),
        "pages of one repeated 32-bit word are left out, and pages that stay above 3964 bytes count as 4096 and are copied",
    ));
    Ok(report)
}
