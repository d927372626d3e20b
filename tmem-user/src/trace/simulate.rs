//! A cache of so many pages with one of the engine's policies, without an engine:
//! who stays and who goes is decided by [`tmem_kmod::policy`], over links in nodes
//! of the simulator's own. For miss-ratio curves of any policy, where a thousandth
//! of a cache is enough (miniature simulation, Waldspurger et al., USENIX ATC 2017).
//!
//! Names of pages that went are remembered exactly, up to the number that the
//! policy's paper gives; the engine remembers about as many.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use tmem_common::event::WHOLE_OBJECT;
use tmem_common::op::Op;
use tmem_common::sample::{is_sampled, threshold};
use tmem_kmod::policy::{Pages, Policy, Queues};

use super::mrc::Style;
use super::requests::Request;

/// A hasher of names, which are hashes already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, name: u64) {
        self.0 = name;
    }
}

type Map<V> = HashMap<u64, V, BuildHasherDefault<AsItIs>>;

/// 64 bits that stand for a page: two of ten million pages share a name once in 300,000 traces.
fn name_of(pool: u32, object: u64, index: u64) -> u64 {
    fn mix(x: u64) -> u64 {
        let x = (x ^ x >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        (x ^ x >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ x >> 29
    }
    mix(mix(object ^ u64::from(pool).rotate_left(40)).wrapping_add(index))
}

/// What a policy sees of a page.
#[derive(Default)]
struct Node {
    newer: Cell<u32>,
    older: Cell<u32>,
    state: Cell<u32>,
    /// Pages without a name are free.
    name: u64,
}

/// Names of pages that went, the first that came goes first.
#[derive(Default)]
struct Ghosts {
    most: usize,
    /// The number of the last arrival of each name.
    known: Map<u64>,
    order: VecDeque<(u64, u64)>,
    arrivals: u64,
}

impl Ghosts {
    fn remember(&mut self, name: u64) {
        if self.most == 0 {
            return;
        }
        self.arrivals += 1;
        self.known.insert(name, self.arrivals);
        self.order.push_back((name, self.arrivals));
        while self.known.len() > self.most {
            let Some((name, arrival)) = self.order.pop_front() else {
                break;
            };
            // Else it was recalled since.
            if self.known.get(&name) == Some(&arrival) {
                self.known.remove(&name);
            }
        }
    }

    fn recall(&mut self, name: u64) -> bool {
        self.known.remove(&name).is_some()
    }
}

/// Nodes by id; id 0 is no page.
struct Nodes {
    list: Vec<Node>,
    ghosts: RefCell<Ghosts>,
}

impl Pages for Nodes {
    fn newer(&self, id: u32) -> u32 {
        self.list[id as usize].newer.get()
    }

    fn older(&self, id: u32) -> u32 {
        self.list[id as usize].older.get()
    }

    fn set_newer(&self, id: u32, to: u32) {
        self.list[id as usize].newer.set(to);
    }

    fn set_older(&self, id: u32, to: u32) {
        self.list[id as usize].older.set(to);
    }

    fn state(&self, id: u32) -> u32 {
        self.list[id as usize].state.get()
    }

    fn set_state(&self, id: u32, state: u32) {
        self.list[id as usize].state.set(state);
    }

    fn remember(&self, id: u32) {
        let name = self.list[id as usize].name;
        self.ghosts.borrow_mut().remember(name);
    }
}

/// One cache.
pub struct Simulator {
    policy: Policy,
    style: Style,
    /// Pages that it may hold.
    most: u32,
    queues: Queues,
    nodes: Nodes,
    /// Nodes that were in use.
    free: Vec<u32>,
    ids: Map<u32>,
    /// Names of each object's pages, where whole objects may be flushed, and of some that went.
    objects: HashMap<(u32, u64), Vec<u64>>,
    /// Pages of which something was seen: of others it is not known whether they were there.
    seen: Map<()>,
    gets: u64,
    hits: u64,
}

impl Simulator {
    /// An empty cache of so many pages, 1 at the least.
    pub fn new(policy: Policy, style: Style, pages: u32) -> Self {
        let most = pages.max(1);
        let ghosts = u64::from(most) * u64::from(policy.ghosts_percent()) / 100;
        Self {
            policy,
            style,
            most,
            queues: Queues::default(),
            nodes: Nodes {
                list: vec![Node::default()],
                ghosts: RefCell::new(Ghosts {
                    most: ghosts as usize,
                    ..Ghosts::default()
                }),
            },
            free: Vec::new(),
            ids: Map::default(),
            objects: HashMap::new(),
            seen: Map::default(),
            gets: 0,
            hits: 0,
        }
    }

    /// A cache is asked for a page, which it then has: whether it had it.
    pub fn access(&mut self, name: u64) -> bool {
        self.gets += 1;
        if let Some(id) = self.ids.get(&name) {
            self.hits += 1;
            self.queues.hit(self.policy, &self.nodes, *id);
            return true;
        }
        self.insert(name, false);
        false
    }

    fn insert(&mut self, name: u64, replaces: bool) {
        let known = self.nodes.ghosts.get_mut().recall(name) || replaces;
        while self.queues.pages() >= self.most {
            let id = self.queues.evict(self.policy, &self.nodes, u32::MAX);
            let gone = self.nodes.list[id as usize].name;
            self.ids.remove(&gone);
            self.free.push(id);
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.nodes.list.push(Node::default());
                (self.nodes.list.len() - 1) as u32
            }
        };
        self.nodes.list[id as usize].name = name;
        self.ids.insert(name, id);
        self.queues.insert(self.policy, &self.nodes, id, known);
    }

    fn remove(&mut self, name: u64) -> bool {
        let Some(id) = self.ids.remove(&name) else {
            return false;
        };
        self.queues.remove(&self.nodes, id);
        self.free.push(id);
        true
    }

    /// Makes a page the object's. Names of pages that went are dropped when the list is full, which
    /// grows only if half of it is needed: a page costs a bounded number of looks in the mean.
    fn join(&mut self, object: (u32, u64), name: u64) {
        let list = self.objects.entry(object).or_default();
        if list.len() == list.capacity() {
            list.sort_unstable();
            list.dedup();
            list.retain(|name| self.ids.contains_key(name));
            list.reserve(list.len().max(4));
        }
        list.push(name);
    }

    /// Takes the next request.
    pub fn request(&mut self, request: &Request) {
        let page = (request.pool, request.object);
        let name = name_of(page.0, page.1, request.index);
        match (request.op, self.style) {
            (Op::Get, Style::Cache) => {
                self.access(name);
            }
            (Op::Get, Style::Exclusive) => {
                let id = self.ids.get(&name).copied();
                let hit = id.is_some();
                if let Some(id) = id {
                    if self.policy.ghosts_percent() > 0 {
                        // It was come back to: when it is put again, it is no newcomer.
                        self.nodes.remember(id);
                    }
                    self.remove(name);
                }
                // What was there before the recording is not known.
                if self.seen.insert(name, ()).is_some() {
                    self.gets += 1;
                    self.hits += u64::from(hit);
                }
            }
            (Op::Put, _) => {
                self.seen.insert(name, ());
                let replaces = self.remove(name);
                if !replaces {
                    self.join(page, name);
                }
                self.insert(name, replaces);
            }
            (Op::Flush, _) if request.index == WHOLE_OBJECT => {
                for name in self.objects.remove(&page).unwrap_or_default() {
                    self.remove(name);
                }
            }
            (Op::Flush, _) => {
                self.seen.insert(name, ());
                self.remove(name);
            }
            (Op::Evict, _) => {}
        }
    }

    /// Gets so far of pages that were seen before, or of all pages of a cache.
    pub fn gets(&self) -> u64 {
        self.gets
    }

    /// Those that found their page.
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// The share of gets that missed; `None` without gets.
    pub fn miss_share(&self) -> Option<f64> {
        (self.gets > 0).then(|| 1.0 - self.hits as f64 / self.gets as f64)
    }
}

/// Caches of several sizes with one policy, of which each is simulated by a smaller
/// one that gets the requests of one page in some.
pub struct Miniature {
    caches: Vec<Simulator>,
    threshold: u64,
    /// Gets of all pages, and of those that are simulated.
    gets: (u64, u64),
    one_in: f64,
    style: Style,
}

impl Miniature {
    /// Caches of `pages` pages each, simulated with one page in `one_in`; the requests
    /// that come are one page in `given` of all.
    pub fn new(policy: Policy, style: Style, pages: &[f64], one_in: u32, given: u32) -> Self {
        let (one_in, given) = (one_in.max(given).max(1), given.max(1));
        let small =
            |pages: &f64| Simulator::new(policy, style, (pages / f64::from(one_in)).round() as u32);
        Self {
            caches: pages.iter().map(small).collect(),
            threshold: threshold(one_in),
            gets: (0, 0),
            one_in: f64::from(one_in) / f64::from(given),
            style,
        }
    }

    /// Takes the next request.
    pub fn request(&mut self, request: &Request) {
        let get = u64::from(request.op == Op::Get);
        self.gets.0 += get;
        if !is_sampled(self.threshold, request.pool, request.object, request.index) {
            return;
        }
        self.gets.1 += get;
        for cache in &mut self.caches {
            cache.request(request);
        }
    }

    /// The share of gets that missed in the cache of that number; `None` without gets.
    pub fn miss_share(&self, number: usize) -> Option<f64> {
        let cache = self.caches.get(number)?;
        let share = cache.miss_share()?;
        if self.style == Style::Exclusive {
            return Some(share);
        }
        // Gets that the sample has too many or too few of are those of the pages that are asked for most,
        // which any cache holds (SHARDS-adj, FAST 2015, section 3).
        let wanted = self.gets.0 as f64 / self.one_in;
        Some((share * self.gets.1 as f64 / wanted).clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::requests::Size;

    #[test]
    fn an_object_whose_pages_come_and_go_takes_no_more_memory() {
        let request = |op, index| Request {
            op,
            pool: 1,
            object: 2,
            index,
            size: Size::Unknown,
        };
        let mut cache = Simulator::new(Policy::Lru, Style::Exclusive, 100);
        for round in 0..10_000 {
            cache.request(&request(Op::Put, round % 10));
            cache.request(&request(Op::Get, round % 10));
        }
        for index in 0..10 {
            cache.request(&request(Op::Put, index));
        }
        let names = &cache.objects[&(1, 2)];
        assert!(names.capacity() <= 40, "{}", names.capacity());
        assert_eq!((cache.gets(), cache.hits()), (10_000, 10_000));
        // All that are there go with the object.
        cache.request(&request(Op::Flush, WHOLE_OBJECT));
        for index in 0..10 {
            cache.request(&request(Op::Get, index));
        }
        assert_eq!((cache.gets(), cache.hits()), (10_010, 10_000));
    }
}
