//! The engine's policies against other ones: written here from the papers, in the
//! simplest way, and compared request by request over traces of several kinds.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, where a panic is a failure"
)]

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use tmem_common::policy::Policy;
use tmem_user::trace::mrc::Style;
use tmem_user::trace::reader::Reader;
use tmem_user::trace::requests::Requests;
use tmem_user::trace::simulate::{Miniature, Simulator};
use tmem_user::workload::Random;

/// A cache told in the simplest way; vectors have the oldest first.
trait Reference {
    /// Whether the page was there; it is now.
    fn access(&mut self, page: u64) -> bool;
}

fn take(list: &mut Vec<u64>, page: u64) -> bool {
    let at = list.iter().position(|other| *other == page);
    at.map(|at| list.remove(at)).is_some()
}

struct Lru(usize, Vec<u64>);

impl Reference for Lru {
    fn access(&mut self, page: u64) -> bool {
        let hit = take(&mut self.1, page);
        if self.1.len() == self.0 {
            self.1.remove(0);
        }
        self.1.push(page);
        hit
    }
}

struct Fifo(usize, Vec<u64>);

impl Reference for Fifo {
    fn access(&mut self, page: u64) -> bool {
        if self.1.contains(&page) {
            return true;
        }
        if self.1.len() == self.0 {
            self.1.remove(0);
        }
        self.1.push(page);
        false
    }
}

/// Corbató 1968, one bit: a ring of frames and a hand that goes round.
struct Clock {
    size: usize,
    frames: Vec<(u64, bool)>,
    hand: usize,
}

impl Reference for Clock {
    fn access(&mut self, page: u64) -> bool {
        if let Some(frame) = self.frames.iter_mut().find(|frame| frame.0 == page) {
            frame.1 = true;
            return true;
        }
        if self.frames.len() < self.size {
            self.frames.push((page, false));
            return false;
        }
        while self.frames[self.hand].1 {
            self.frames[self.hand].1 = false;
            self.hand = (self.hand + 1) % self.size;
        }
        self.frames[self.hand] = (page, false);
        self.hand = (self.hand + 1) % self.size;
        false
    }
}

/// NSDI 2024, algorithm 1: the hand goes from the tail to the head.
struct Sieve {
    size: usize,
    queue: Vec<(u64, bool)>,
    hand: Option<u64>,
}

impl Reference for Sieve {
    fn access(&mut self, page: u64) -> bool {
        if let Some(object) = self.queue.iter_mut().find(|object| object.0 == page) {
            object.1 = true;
            return true;
        }
        if self.queue.len() == self.size {
            let place = |hand| self.queue.iter().position(|object| Some(object.0) == hand);
            let mut at = place(self.hand).unwrap_or(0);
            while self.queue[at].1 {
                self.queue[at].1 = false;
                at = (at + 1) % self.queue.len();
            }
            self.hand = self.queue.get(at + 1).map(|object| object.0);
            self.queue.remove(at);
        }
        self.queue.push((page, false));
        false
    }
}

/// SOSP 2023, algorithm 1.
struct S3Fifo {
    size: usize,
    small: Vec<u64>,
    main: Vec<u64>,
    ghost: Vec<u64>,
    freq: HashMap<u64, u32>,
}

impl S3Fifo {
    fn evict(&mut self) {
        if self.small.len() * 10 >= self.size {
            self.evict_small();
        } else {
            self.evict_main();
        }
    }

    fn evict_small(&mut self) {
        while !self.small.is_empty() {
            let tail = self.small.remove(0);
            if self.freq[&tail] > 1 {
                self.main.push(tail);
                self.freq.insert(tail, 0);
                if self.main.len() * 10 > self.size * 9 {
                    self.evict_main();
                    return;
                }
            } else {
                self.ghost.push(tail);
                if self.ghost.len() > self.size * 9 / 10 {
                    self.ghost.remove(0);
                }
                return;
            }
        }
        self.evict_main();
    }

    fn evict_main(&mut self) {
        loop {
            let tail = self.main.remove(0);
            let freq = self.freq[&tail];
            if freq == 0 {
                return;
            }
            self.main.push(tail);
            self.freq.insert(tail, freq - 1);
        }
    }
}

impl Reference for S3Fifo {
    fn access(&mut self, page: u64) -> bool {
        if self.small.contains(&page) || self.main.contains(&page) {
            let freq = self.freq[&page];
            self.freq.insert(page, (freq + 1).min(3));
            return true;
        }
        let in_ghost = take(&mut self.ghost, page);
        if self.small.len() + self.main.len() == self.size {
            self.evict();
        }
        if in_ghost {
            self.main.push(page);
        } else {
            self.small.push(page);
        }
        self.freq.insert(page, 0);
        false
    }
}

/// VLDB 1994, figure 2 (the full version), with Kin of a quarter and Kout of half the size.
struct TwoQ {
    size: usize,
    a1in: Vec<u64>,
    a1out: Vec<u64>,
    am: Vec<u64>,
}

impl Reference for TwoQ {
    fn access(&mut self, page: u64) -> bool {
        if take(&mut self.am, page) {
            self.am.push(page);
            return true;
        }
        if self.a1in.contains(&page) {
            return true;
        }
        let known = take(&mut self.a1out, page);
        if self.a1in.len() + self.am.len() == self.size {
            if self.a1in.len() > (self.size / 4).max(1) || self.am.is_empty() {
                let out = self.a1in.remove(0);
                self.a1out.push(out);
                if self.a1out.len() > self.size / 2 {
                    self.a1out.remove(0);
                }
            } else {
                self.am.remove(0);
            }
        }
        if known {
            self.am.push(page);
        } else {
            self.a1in.push(page);
        }
        false
    }
}

fn reference(policy: Policy, size: usize) -> Box<dyn Reference> {
    match policy {
        Policy::Lru => Box::new(Lru(size, Vec::new())),
        Policy::Fifo => Box::new(Fifo(size, Vec::new())),
        Policy::Clock => Box::new(Clock {
            size,
            frames: Vec::new(),
            hand: 0,
        }),
        Policy::Sieve => Box::new(Sieve {
            size,
            queue: Vec::new(),
            hand: None,
        }),
        Policy::S3Fifo => Box::new(S3Fifo {
            size,
            small: Vec::new(),
            main: Vec::new(),
            ghost: Vec::new(),
            freq: HashMap::new(),
        }),
        Policy::TwoQ => Box::new(TwoQ {
            size,
            a1in: Vec::new(),
            a1out: Vec::new(),
            am: Vec::new(),
        }),
    }
}

/// Pages with chances by their rank, as 1 / rank.
fn zipf(requests: usize, pages: u64, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=pages)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    (0..requests)
        .map(|_| {
            let at = random.below(1 << 40) as f64 / (1_u64 << 40) as f64 * sum;
            sums.partition_point(|sum| *sum <= at) as u64
        })
        .collect()
}

/// A loop of 150 pages, with scans of pages that nobody asks for again.
fn scan_and_loop(requests: usize) -> Vec<u64> {
    (0..requests as u64)
        .map(|number| match number % 1000 {
            0..700 => number % 150,
            _ => 1_000_000 + number,
        })
        .collect()
}

/// All of it, by turns.
fn mixed(requests: usize) -> Vec<u64> {
    let mut random = Random::new(11);
    let popular = zipf(requests, 3000, 12);
    popular
        .iter()
        .enumerate()
        .map(|(number, page)| match number / 500 % 3 {
            0 => *page,
            1 => 10_000 + number as u64 % 210,
            _ if random.below(4) == 0 => 100_000 + number as u64,
            _ => 20_000 + random.below(400),
        })
        .collect()
}

/// The ids of a zipf trace as the tool has them after it imported oracleGeneral.
fn imported(requests: usize) -> Vec<u64> {
    let files = tempfile::tempdir().expect("a directory");
    let (from, to) = (files.path().join("a.oracle"), files.path().join("a.trace"));
    let mut bytes = Vec::new();
    for (number, page) in zipf(requests, 1200, 5).iter().enumerate() {
        bytes.extend_from_slice(&(number as u32 / 100).to_le_bytes());
        bytes.extend_from_slice(&page.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes());
        bytes.extend_from_slice(&4096_u32.to_le_bytes());
        bytes.extend_from_slice(&(-1_i64).to_le_bytes());
    }
    fs::write(&from, bytes).expect("a file");
    let done = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .arg("import")
        .arg(&from)
        .args(["--format", "oracle-general", "-o"])
        .arg(&to)
        .output()
        .expect("the tool starts");
    assert!(done.status.success(), "{done:?}");
    let mut reader = Reader::open(&to).expect("a trace");
    let requests = Requests::read(&mut reader, 1).expect("requests");
    requests.list.iter().map(|request| request.object).collect()
}

const SIZES: [u32; 4] = [1, 9, 100, 333];

#[test]
fn every_request_meets_what_the_papers_say() {
    const REQUESTS: usize = 8_000;
    let traces = [
        ("zipf", zipf(REQUESTS, 2000, 3)),
        ("scan and loop", scan_and_loop(REQUESTS)),
        ("mixed", mixed(REQUESTS)),
        ("oracleGeneral", imported(REQUESTS)),
    ];
    for (name, trace) in &traces {
        for policy in Policy::ALL {
            for size in SIZES {
                let mut ours = Simulator::new(policy, Style::Cache, size);
                let mut theirs = reference(policy, size as usize);
                for (number, page) in trace.iter().enumerate() {
                    let (ours, theirs) = (ours.access(*page), theirs.access(*page));
                    assert_eq!(
                        ours, theirs,
                        "{name}, {policy:?} of {size}: request {number}"
                    );
                }
                assert_eq!(ours.gets(), REQUESTS as u64);
            }
        }
    }
}

/// A change of a policy is meant, or it is found here.
#[test]
fn golden_miss_counts() {
    let abc = [1, 2, 3, 1, 4, 1, 2, 5, 1, 2, 3, 4, 5, 1, 1, 6, 1, 2];
    let traces: [(&str, Vec<u64>, u32); 4] = [
        ("by hand", abc.to_vec(), 3),
        ("zipf", zipf(20_000, 2000, 3), 100),
        ("scan and loop", scan_and_loop(20_000), 100),
        ("mixed", mixed(20_000), 333),
    ];
    let mut found = String::new();
    for (name, trace, size) in &traces {
        for policy in Policy::ALL {
            let mut cache = Simulator::new(policy, Style::Cache, *size);
            for page in trace {
                cache.access(*page);
            }
            let misses = cache.gets() - cache.hits();
            found += &format!("{name} {} {misses}\n", policy.name());
        }
    }
    assert_eq!(found, include_str!("golden/misses.txt"));
}

/// Pages leave one after the other, all of them, whatever policies ruled before.
#[test]
fn a_change_of_policy_loses_no_page() {
    use std::cell::Cell;
    use std::collections::HashSet;
    use tmem_kmod::policy::{Pages, Queues};

    #[derive(Default, Clone)]
    struct Nodes(Vec<[Cell<u32>; 3]>);

    impl Pages for Nodes {
        fn newer(&self, id: u32) -> u32 {
            self.0[id as usize][0].get()
        }
        fn older(&self, id: u32) -> u32 {
            self.0[id as usize][1].get()
        }
        fn set_newer(&self, id: u32, to: u32) {
            self.0[id as usize][0].set(to);
        }
        fn set_older(&self, id: u32, to: u32) {
            self.0[id as usize][1].set(to);
        }
        fn state(&self, id: u32) -> u32 {
            self.0[id as usize][2].get()
        }
        fn set_state(&self, id: u32, state: u32) {
            assert!(state < tmem_kmod::policy::STATES);
            self.0[id as usize][2].set(state);
        }
        fn remember(&self, _: u32) {}
    }

    for seed in 0..20 {
        let mut random = Random::new(seed);
        let nodes = Nodes(vec![Default::default(); 300]);
        let (mut queues, mut held) = (Queues::default(), HashSet::new());
        let mut policy = Policy::Lru;
        for _ in 0..20_000 {
            if random.below(50) == 0 {
                policy = Policy::ALL[random.below(Policy::ALL.len() as u64) as usize];
            }
            let id = random.below(299) as u32 + 1;
            match random.below(10) {
                0..4 if !held.contains(&id) => {
                    queues.insert(policy, &nodes, id, random.below(3) == 0);
                    held.insert(id);
                }
                4..7 if held.contains(&id) => queues.hit(policy, &nodes, id),
                7 if held.remove(&id) => queues.remove(&nodes, id),
                8 => {
                    let id = queues.evict(policy, &nodes, random.below(40) as u32);
                    assert_eq!(id == 0, held.is_empty());
                    assert!(id == 0 || held.remove(&id), "{id} was not there");
                }
                _ => {}
            }
            assert_eq!(queues.pages() as usize, held.len());
        }
        while !held.is_empty() {
            assert!(held.remove(&queues.evict(policy, &nodes, 32)));
        }
        assert_eq!(queues.evict(policy, &nodes, 32), 0);
    }
}

/// Miniature simulation: the curve of one page in ten is near that of all pages.
#[test]
fn a_miniature_is_near_the_whole() {
    use tmem_common::op::Op;
    use tmem_user::trace::requests::{Request, Size};

    let sizes: Vec<f64> = (1..=5).map(|point| f64::from(point) * 2000.0).collect();
    let trace = zipf(100_000, 20_000, 8);
    for policy in Policy::ALL {
        let mut curves =
            [1, 10].map(|one_in| Miniature::new(policy, Style::Cache, &sizes, one_in, 1));
        for page in &trace {
            for curve in &mut curves {
                curve.request(&Request {
                    op: Op::Get,
                    pool: 0,
                    object: *page,
                    index: 0,
                    size: Size::Unknown,
                });
            }
        }
        let [whole, small] = curves;
        let mean = (0..sizes.len())
            .map(|number| {
                let share = |curve: &Miniature| curve.miss_share(number).expect("there were gets");
                (share(&whole) - share(&small)).abs()
            })
            .sum::<f64>()
            / sizes.len() as f64;
        assert!(mean <= 0.02, "{policy:?}: mean absolute error {mean}");
    }
}
