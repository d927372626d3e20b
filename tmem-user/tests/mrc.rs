//! SHARDS at 1 % against the exact curve, in error and in memory. A program of its
//! own, since it counts all that is allocated.

#![allow(
    clippy::expect_used,
    reason = "helpers of tests, where a panic is a failure"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tmem_common::op::Op;
use tmem_user::trace::mrc::{Rate, Shards, Style};
use tmem_user::trace::requests::{Request, Size};
use tmem_user::workload::{Spec, Touches};

/// Counts bytes that are allocated, and the most of them at a time.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is the system allocator's doing; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise is the one asked for.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const REQUESTS: u32 = 10_000_000;
const ZIPF_PAGES: u32 = 400_000;
const SCAN_PAGES: u32 = 300_000;

/// Seven of ten requests by Zipf's law, three of a scan over other pages.
struct Mixed {
    zipf: Touches,
    scan: Touches,
    number: u32,
}

impl Mixed {
    fn new() -> Self {
        let zipf = Spec::parse("zipf:skew=0.8,seed=11").expect("a workload");
        let scan = Spec::parse("scan").expect("a workload");
        Self {
            zipf: Touches::new(&zipf, ZIPF_PAGES, 1),
            scan: Touches::new(&scan, SCAN_PAGES, 2),
            number: 0,
        }
    }

    fn next_page(&mut self) -> u32 {
        self.number += 1;
        if self.number % 10 < 7 {
            self.zipf.next_page()
        } else {
            ZIPF_PAGES + self.scan.next_page()
        }
    }
}

/// How often each distance occurred, all pages looked at: a tree over the requests'
/// numbers with a mark at the last request for each page.
struct Exact {
    distances: Vec<u64>,
    tree: Vec<i32>,
    last: HashMap<u32, usize>,
    now: usize,
}

impl Exact {
    /// Takes all the memory that it will need.
    fn new() -> Self {
        let pages = (ZIPF_PAGES + SCAN_PAGES) as usize;
        Self {
            distances: vec![0; pages + 1],
            tree: vec![0; REQUESTS as usize + 1],
            last: HashMap::with_capacity(pages),
            now: 0,
        }
    }

    fn mark(&mut self, mut at: usize, by: i32) {
        while at < self.tree.len() {
            self.tree[at] += by;
            at += 1 << at.trailing_zeros();
        }
    }

    fn request(&mut self, page: u32) {
        self.now += 1;
        let distinct = self.last.len();
        if let Some(before) = self.last.insert(page, self.now) {
            let (mut sum, mut at) = (0, before);
            while at > 0 {
                sum += self.tree[at];
                at &= at - 1;
            }
            // Pages whose last request is not before that one, this page among them.
            self.distances[distinct - sum as usize + 1] += 1;
            self.mark(before, -1);
        }
        self.mark(self.now, 1);
    }
}

#[test]
fn one_percent_is_within_a_hundredth_in_32_mib() {
    let mut mixed = Mixed::new();
    let mut exact = Exact::new();
    let before = NOW.load(Relaxed);
    MOST.store(before, Relaxed);
    let mut curves = [Rate::Fixed(100), Rate::Pages(7_000)]
        .map(|rate| (rate, Shards::new(rate, Style::Cache, 1)));
    for _ in 0..REQUESTS {
        let page = mixed.next_page();
        exact.request(page);
        for (_, shards) in &mut curves {
            shards.request(&Request {
                op: Op::Get,
                pool: 0,
                object: page.into(),
                index: 0,
                size: Size::Unknown,
            });
        }
    }
    // Of both together.
    let taken = MOST.load(Relaxed) - before;
    println!("{taken} bytes");
    assert!(taken < 32 << 20, "{taken} bytes");
    for (rate, shards) in curves {
        let (mut hits, mut error) = (0, 0.0);
        const POINTS: usize = 100;
        for (pages, count) in exact.distances.iter().enumerate() {
            hits += count;
            if pages > 0 && pages % (exact.distances.len() / POINTS) == 0 {
                let wanted = 1.0 - hits as f64 / f64::from(REQUESTS);
                let found = shards.miss_share(pages as f64).expect("there were gets");
                error += (found - wanted).abs() / POINTS as f64;
            }
        }
        println!("{rate:?}: mean absolute error {error}");
        assert!(error <= 0.01, "{rate:?}: mean absolute error {error}");
    }
}
