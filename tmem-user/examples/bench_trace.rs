//! What `cargo xtask bench trace` measures: replays of a Zipf trace by the engine and by the
//! simulator, and by the plainest cache there is, a `HashMap` and a list. One line a figure:
//! its name, and a request's nanoseconds of CPU time in each round.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::atomic::AtomicU64;

use anyhow::Context as _;
use tmem_common::PAGE_SIZE;
use tmem_common::op::Op;
use tmem_common::policy::Policy;
use tmem_user::trace::import;
use tmem_user::trace::mrc::Style;
use tmem_user::trace::reader::End;
use tmem_user::trace::replay::{Arena, Setting, Sizes, replay};
use tmem_user::trace::requests::{Request, Requests, Size};
use tmem_user::trace::simulate::Simulator;
use tmem_user::workload::Random;

const REQUESTS: usize = 2_000_000;
const PAGES: u64 = 400_000;
/// Pages that fit: a quarter.
const HELD: u32 = 100_000;
const ROUNDS: usize = 5;

/// Least recently used, of a map and links in a vector; place 0 is the list's head.
struct Plain {
    places: HashMap<u64, u32>,
    nodes: Vec<(u64, u32, u32)>,
}

impl Plain {
    fn new() -> Self {
        Self {
            places: HashMap::new(),
            nodes: vec![(0, 0, 0)],
        }
    }

    fn unlink(&mut self, place: u32) {
        let (_, newer, older) = self.nodes[place as usize];
        self.nodes[newer as usize].2 = older;
        self.nodes[older as usize].1 = newer;
    }

    fn push(&mut self, place: u32) {
        let newest = self.nodes[0].2;
        self.nodes[place as usize].1 = 0;
        self.nodes[place as usize].2 = newest;
        self.nodes[newest as usize].1 = place;
        self.nodes[0].2 = place;
    }

    fn access(&mut self, page: u64) -> bool {
        if let Some(&place) = self.places.get(&page) {
            self.unlink(place);
            self.push(place);
            return true;
        }
        let place = if self.places.len() == HELD as usize {
            let oldest = self.nodes[0].1;
            self.unlink(oldest);
            self.places.remove(&self.nodes[oldest as usize].0);
            oldest
        } else {
            self.nodes.push((0, 0, 0));
            (self.nodes.len() - 1) as u32
        };
        self.nodes[place as usize].0 = page;
        self.places.insert(page, place);
        self.push(place);
        false
    }
}

/// CPU time of this thread in ns.
fn cpu_ns() -> f64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is valid for writes; the clock exists since Linux 2.6.12.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

/// Nanoseconds of CPU time a request.
fn each(run: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let start = cpu_ns();
    run()?;
    Ok((cpu_ns() - start) / REQUESTS as f64)
}

fn requests() -> Requests {
    let mut random = Random::new(1);
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=PAGES)
        .map(|rank| {
            sum += (rank as f64).powf(-0.9);
            sum
        })
        .collect();
    let list = (0..REQUESTS)
        .map(|_| {
            let at = (random.draw() >> 11) as f64 / (1_u64 << 53) as f64 * sum;
            let rank = sums.partition_point(|sum| *sum <= at) as u64;
            Request {
                op: Op::Get,
                pool: 0,
                object: Random::new(rank).draw(),
                index: 0,
                size: Size::Bytes(1000 + (rank % 1000) as u16),
            }
        })
        .collect();
    Requests {
        meta: import::meta("bench".to_owned()),
        pools: Vec::new(),
        before: Vec::new(),
        list,
        sizes: Vec::new(),
        one_in: 1,
        readings: None,
        end: End::Open,
    }
}

fn main() -> anyhow::Result<()> {
    let requests = requests();
    let names: Vec<String> = ["plain".to_owned(), "engine".to_owned()]
        .into_iter()
        .chain(Policy::ALL.map(|policy| format!("simulator {}", policy.name())))
        .collect();
    let mut figures = vec![Vec::new(); names.len()];
    let mut arena = Arena::default();
    for _ in 0..ROUNDS {
        figures[0].push(each(|| {
            let mut cache = Plain::new();
            let hits = requests
                .list
                .iter()
                .filter(|r| cache.access(r.object))
                .count();
            black_box(hits);
            Ok(())
        })?);
        figures[1].push(each(|| {
            let setting = Setting {
                // What as many pages take, with bookkeeping.
                limit_bytes: u64::from(HELD) * (PAGE_SIZE as u64 * 40 / 100),
                codec: Sizes::Recorded,
                policy: Some(Policy::Lru),
                admission: None,
                seed: 1,
                keep_incompressible: None,
            };
            let done =
                replay(&requests, &setting, &mut arena, &AtomicU64::new(0)).context("replaying")?;
            black_box(done.hits);
            Ok(())
        })?);
        for (policy, figures) in Policy::ALL.into_iter().zip(&mut figures[2..]) {
            figures.push(each(|| {
                let mut cache = Simulator::new(policy, Style::Cache, HELD);
                for request in &requests.list {
                    cache.request(request);
                }
                black_box(cache.hits());
                Ok(())
            })?);
        }
    }
    for (name, figures) in names.iter().zip(figures) {
        let figures: Vec<String> = figures.iter().map(|ns| format!("{ns:.2}")).collect();
        println!("{}\t{}", name, figures.join(" "));
    }
    Ok(())
}
