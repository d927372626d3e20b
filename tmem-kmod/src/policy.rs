//! Eviction: which of the pages in some queues goes first.
//!
//! A policy moves ids in lists and looks at a few bits of each page. Where links
//! and bits are is the caller's business ([`Pages`]): the engine has them in its
//! entries, a simulator in nodes of its own, and both decide by the code below.
//! The sources of the policies are named in [`tmem_common::policy`].
//!
//! Metadata: two links of 27 bits or more and 3 bits of state a page, 28 bytes a
//! [`Queues`]; s3fifo and 2q want the names of some pages that went remembered
//! ([`Policy::ghosts_percent`]).

pub use tmem_common::policy::Policy;

/// Where the links and the state of pages are. A page's id is never 0, which stands for none.
///
/// What is set is what is read until it is set again; nobody else changes it meanwhile.
pub trait Pages {
    /// The neighbour that came later, or 0.
    fn newer(&self, id: u32) -> u32;
    /// The neighbour that came earlier, or 0.
    fn older(&self, id: u32) -> u32;
    /// Sets [`Pages::newer`].
    fn set_newer(&self, id: u32, to: u32);
    /// Sets [`Pages::older`].
    fn set_older(&self, id: u32, to: u32);
    /// State below [`STATES`].
    fn state(&self, id: u32) -> u32;
    /// Sets [`Pages::state`].
    fn set_state(&self, id: u32, state: u32);
    /// A page goes that nobody came back to. When it is inserted again while its name is still
    /// remembered, it is inserted as known.
    fn remember(&self, id: u32);
}

/// Number of a page's states.
pub const STATES: u32 = 8;
/// In a page's state: how often it was used, up to 3.
const USES: u32 = 3;
/// In a page's state: it is in the queue of newcomers.
const NEW: u32 = 4;

/// Pages from the newest to the oldest.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    newest: u32,
    oldest: u32,
    pages: u32,
}

impl List {
    fn add<P: Pages>(&mut self, pages: &P, id: u32) {
        pages.set_newer(id, 0);
        pages.set_older(id, self.newest);
        if self.newest != 0 {
            pages.set_newer(self.newest, id);
        } else {
            self.oldest = id;
        }
        self.newest = id;
        self.pages += 1;
    }

    fn remove<P: Pages>(&mut self, pages: &P, id: u32) {
        let (newer, older) = (pages.newer(id), pages.older(id));
        if older != 0 {
            pages.set_newer(older, newer);
        } else {
            self.oldest = newer;
        }
        if newer != 0 {
            pages.set_older(newer, older);
        } else {
            self.newest = older;
        }
        self.pages -= 1;
    }
}

/// The queues of one cache, whatever its policy. Valid, and empty, when all bytes are zero.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queues {
    main: List,
    /// Newcomers, where the policy tells them apart.
    new: List,
    /// Where sieve goes on; 0 for the oldest.
    hand: u32,
}

/// One policy.
///
/// The caller has its queues and pages for itself (in the engine: holds the shard's lock). It inserts ids that are in no queue,
/// tells of uses of those that are in these queues, and calls `evict` only while there are any.
///
/// The policy takes no memory, and a call touches a bounded number of pages. It keeps every page that was inserted
/// until it was removed or evicted, and an evicted one is in no queue. It takes over
/// queues in any state that other policies left them in.
trait Evictor {
    /// A page comes; `known` if its name was remembered, or an older copy replaced.
    fn insert<P: Pages>(queues: &mut Queues, pages: &P, id: u32, known: bool);
    /// A page was used.
    fn hit<P: Pages>(queues: &mut Queues, pages: &P, id: u32);
    /// Looks at the next page to go: takes it out, or gives it another chance (0).
    fn evict<P: Pages>(queues: &mut Queues, pages: &P) -> u32;
}

struct Lru;
struct Fifo;
struct Clock;
struct S3Fifo;
struct Sieve;
struct TwoQ;

impl Evictor for Lru {
    fn insert<P: Pages>(queues: &mut Queues, pages: &P, id: u32, _: bool) {
        queues.add_main(pages, id);
    }

    fn hit<P: Pages>(queues: &mut Queues, pages: &P, id: u32) {
        if queues.main.newest != id {
            queues.remove(pages, id);
            queues.add_main(pages, id);
        }
    }

    fn evict<P: Pages>(queues: &mut Queues, pages: &P) -> u32 {
        queues.take(pages, queues.main.oldest)
    }
}

impl Evictor for Fifo {
    fn insert<P: Pages>(queues: &mut Queues, pages: &P, id: u32, _: bool) {
        queues.add_main(pages, id);
    }

    fn hit<P: Pages>(_: &mut Queues, _: &P, _: u32) {}

    fn evict<P: Pages>(queues: &mut Queues, pages: &P) -> u32 {
        queues.take(pages, queues.main.oldest)
    }
}

impl Evictor for Clock {
    fn insert<P: Pages>(queues: &mut Queues, pages: &P, id: u32, _: bool) {
        queues.add_main(pages, id);
    }

    fn hit<P: Pages>(_: &mut Queues, pages: &P, id: u32) {
        pages.set_state(id, pages.state(id) & NEW | 1);
    }

    fn evict<P: Pages>(queues: &mut Queues, pages: &P) -> u32 {
        let id = queues.main.oldest;
        if pages.state(id) & USES == 0 {
            return queues.take(pages, id);
        }
        queues.remove(pages, id);
        queues.add_main(pages, id);
        0
    }
}

impl Evictor for Sieve {
    fn insert<P: Pages>(queues: &mut Queues, pages: &P, id: u32, _: bool) {
        queues.add_main(pages, id);
    }

    fn hit<P: Pages>(_: &mut Queues, pages: &P, id: u32) {
        pages.set_state(id, pages.state(id) & NEW | 1);
    }

    fn evict<P: Pages>(queues: &mut Queues, pages: &P) -> u32 {
        let id = match queues.hand {
            0 => queues.main.oldest,
            hand => hand,
        };
        queues.hand = pages.newer(id);
        if pages.state(id) & USES == 0 {
            return queues.take(pages, id);
        }
        pages.set_state(id, 0);
        0
    }
}

impl S3Fifo {
    /// Newcomers have so much of the cache: one part in ten.
    const NEW_SHARE: u64 = 10;
    /// Uses that bring a newcomer to the main queue.
    const USED_AGAIN: u32 = 2;
}

impl Evictor for S3Fifo {
    fn insert<P: Pages>(queues: &mut Queues, pages: &P, id: u32, known: bool) {
        queues.add(pages, id, known);
    }

    fn hit<P: Pages>(_: &mut Queues, pages: &P, id: u32) {
        let state = pages.state(id);
        if state & USES < USES {
            pages.set_state(id, state + 1);
        }
    }

    fn evict<P: Pages>(queues: &mut Queues, pages: &P) -> u32 {
        if u64::from(queues.new.pages) * Self::NEW_SHARE >= u64::from(queues.pages()) {
            let id = queues.new.oldest;
            if pages.state(id) & USES < Self::USED_AGAIN {
                pages.remember(id);
                return queues.take(pages, id);
            }
            queues.remove(pages, id);
            queues.add_main(pages, id);
            return 0;
        }
        let id = queues.main.oldest;
        let uses = pages.state(id) & USES;
        if uses == 0 {
            return queues.take(pages, id);
        }
        queues.remove(pages, id);
        queues.add_main(pages, id);
        pages.set_state(id, uses - 1);
        0
    }
}

impl TwoQ {
    /// Newcomers have so much of the cache: one part in four (Kin; Kout is half of the cache).
    const NEW_SHARE: u32 = 4;
}

impl Evictor for TwoQ {
    fn insert<P: Pages>(queues: &mut Queues, pages: &P, id: u32, known: bool) {
        queues.add(pages, id, known);
    }

    fn hit<P: Pages>(queues: &mut Queues, pages: &P, id: u32) {
        if pages.state(id) & NEW == 0 {
            Lru::hit(queues, pages, id);
        }
    }

    fn evict<P: Pages>(queues: &mut Queues, pages: &P) -> u32 {
        let share = (queues.pages() / Self::NEW_SHARE).max(1);
        if queues.new.pages > share || queues.main.pages == 0 {
            let id = queues.new.oldest;
            pages.remember(id);
            return queues.take(pages, id);
        }
        queues.take(pages, queues.main.oldest)
    }
}

impl Queues {
    /// Pages that are held.
    pub fn pages(&self) -> u32 {
        self.main.pages + self.new.pages
    }

    /// A page comes that is in no queue; `known` if its name was remembered, or if it replaces
    /// an older copy.
    pub fn insert<P: Pages>(&mut self, policy: Policy, pages: &P, id: u32, known: bool) {
        match policy {
            Policy::Lru => Lru::insert(self, pages, id, known),
            Policy::Fifo => Fifo::insert(self, pages, id, known),
            Policy::Clock => Clock::insert(self, pages, id, known),
            Policy::S3Fifo => S3Fifo::insert(self, pages, id, known),
            Policy::Sieve => Sieve::insert(self, pages, id, known),
            Policy::TwoQ => TwoQ::insert(self, pages, id, known),
        }
    }

    /// A page of these queues was used.
    pub fn hit<P: Pages>(&mut self, policy: Policy, pages: &P, id: u32) {
        match policy {
            Policy::Lru => Lru::hit(self, pages, id),
            Policy::Fifo => Fifo::hit(self, pages, id),
            Policy::Clock => Clock::hit(self, pages, id),
            Policy::S3Fifo => S3Fifo::hit(self, pages, id),
            Policy::Sieve => Sieve::hit(self, pages, id),
            Policy::TwoQ => TwoQ::hit(self, pages, id),
        }
    }

    /// Takes a page of these queues out.
    pub fn remove<P: Pages>(&mut self, pages: &P, id: u32) {
        if self.hand == id {
            self.hand = pages.newer(id);
        }
        if pages.state(id) & NEW != 0 {
            self.new.remove(pages, id);
        } else {
            self.main.remove(pages, id);
        }
    }

    /// The record of a page moved: `new` is a copy of `old`, which is in these queues, and takes its
    /// place there.
    pub fn replace<P: Pages>(&mut self, pages: &P, old: u32, new: u32) {
        let list = if pages.state(old) & NEW != 0 {
            &mut self.new
        } else {
            &mut self.main
        };
        match pages.newer(old) {
            0 => list.newest = new,
            newer => pages.set_older(newer, new),
        }
        match pages.older(old) {
            0 => list.oldest = new,
            older => pages.set_newer(older, new),
        }
        if self.hand == old {
            self.hand = new;
        }
    }

    /// Takes out the page that goes first; 0 if there is none. After `chances` pages got another
    /// chance the next one goes all the same.
    pub fn evict<P: Pages>(&mut self, policy: Policy, pages: &P, chances: u32) -> u32 {
        if self.pages() == 0 {
            return 0;
        }
        // Of another policy that was in use before.
        let leftover = policy.ghosts_percent() == 0 && self.new.pages > 0;
        if leftover {
            return self.take(pages, self.new.oldest);
        }
        for _ in 0..chances {
            let id = match policy {
                Policy::Lru => Lru::evict(self, pages),
                Policy::Fifo => Fifo::evict(self, pages),
                Policy::Clock => Clock::evict(self, pages),
                Policy::S3Fifo => S3Fifo::evict(self, pages),
                Policy::Sieve => Sieve::evict(self, pages),
                Policy::TwoQ => TwoQ::evict(self, pages),
            };
            if id != 0 {
                return id;
            }
        }
        let next = match self.main.oldest {
            0 => self.new.oldest,
            oldest if self.hand == 0 => oldest,
            _ => self.hand,
        };
        self.take(pages, next)
    }

    /// Among the first `looks` pages of each queue the first that is `wanted`, or 0.
    pub(crate) fn next_where<P: Pages>(
        &self,
        pages: &P,
        looks: usize,
        wanted: impl Fn(u32) -> bool,
    ) -> u32 {
        for list in [&self.new, &self.main] {
            let mut id = list.oldest;
            for _ in 0..looks {
                if id == 0 || wanted(id) {
                    break;
                }
                id = pages.newer(id);
            }
            if id != 0 && wanted(id) {
                return id;
            }
        }
        0
    }

    fn add_main<P: Pages>(&mut self, pages: &P, id: u32) {
        pages.set_state(id, 0);
        self.main.add(pages, id);
    }

    fn add<P: Pages>(&mut self, pages: &P, id: u32, known: bool) {
        if known {
            self.add_main(pages, id);
        } else {
            pages.set_state(id, NEW);
            self.new.add(pages, id);
        }
    }

    fn take<P: Pages>(&mut self, pages: &P, id: u32) -> u32 {
        self.remove(pages, id);
        id
    }
}
