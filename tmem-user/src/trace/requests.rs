//! The requests of a trace: what frontends asked for, which is the same whatever
//! the budget, the codec or the policy. What the engine did by itself (evictions)
//! is left out, and what was there before the recording is found out.

use std::collections::HashSet;
use std::io::Read;

use tmem_common::PAGE_SIZE;
use tmem_common::event::{Event, WHOLE_OBJECT};
use tmem_common::op::{OPS, OUTCOMES, Op, Outcome};
use tmem_common::policy::{ADMIT_ALL, Policy, admission_of};
use tmem_common::sample::{is_sampled, threshold};

use super::TraceError;
use super::reader::{End, Reader};
use super::record::{Meta, PoolReading, Reading, Record};

/// How large a page is when it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// The trace does not tell.
    Unknown,
    /// One word fills it.
    Same,
    /// Bytes of compressed data; of a whole page when no codec makes it smaller.
    Bytes(u16),
}

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked for: a put, a get or a flush.
    pub op: Op,
    /// The pool's number in the trace.
    pub pool: u32,
    /// The object.
    pub object: u64,
    /// The page, or [`WHOLE_OBJECT`].
    pub index: u64,
    /// Of a put, or of a get in a cache's trace: how large the page is.
    pub size: Size,
}

impl Request {
    /// The request that an event is about; `None` for what is none.
    pub fn of(event: &Event) -> Option<Self> {
        let op = match event.op {
            op if op == Op::Put as u32 => Op::Put,
            op if op == Op::Get as u32 => Op::Get,
            op if op == Op::Flush as u32 => Op::Flush,
            _ => return None,
        };
        let size = if event.outcome == Outcome::StoredSame as u32 {
            Size::Same
        } else if event.outcome == Outcome::StoredRaw as u32 {
            Size::Bytes(PAGE_SIZE as u16)
        } else if event.bytes == 0 {
            Size::Unknown
        } else {
            Size::Bytes(event.bytes.min(PAGE_SIZE as u32) as u16)
        };
        Some(Self {
            op,
            pool: event.pool,
            object: event.object,
            index: event.index,
            size,
        })
    }
}

/// Everything that a replay needs of a trace.
#[derive(Clone, Debug)]
pub struct Requests {
    /// How the trace was made.
    pub meta: Meta,
    /// The pools that requests are for.
    pub pools: Vec<PoolReading>,
    /// What was there when the recording began, as puts, what was evicted first at the front.
    pub before: Vec<Request>,
    /// What was asked for, in order.
    pub list: Vec<Request>,
    /// Sizes of puts, to draw from where one is not known.
    pub sizes: Vec<Size>,
    /// One page in this many is among the requests.
    pub one_in: u32,
    /// The first and the last reading.
    pub readings: Option<(Reading, Reading)>,
    /// Where reading ended.
    pub end: End,
}

/// Sizes that are kept to draw from.
const SIZES: usize = 65_536;

impl Requests {
    /// Reads the rest of a trace, of which one page in `one_in` is taken (no more than it has).
    ///
    /// # Errors
    /// When it cannot be read or has no requests.
    pub fn read<R: Read>(reader: &mut Reader<R>, one_in: u32) -> Result<Self, TraceError> {
        let meta = reader.meta().clone();
        let one_in = one_in.max(meta.sample_one_in).max(1);
        let threshold = threshold(one_in);
        let mut requests = Self {
            meta,
            pools: Vec::new(),
            before: Vec::new(),
            list: Vec::new(),
            sizes: Vec::new(),
            one_in,
            readings: None,
            end: End::Open,
        };
        let mut seen = HashSet::new();
        let (mut evicted, mut others) = (Vec::new(), Vec::new());
        while let Some(record) = reader.next_record()? {
            let events = match record {
                Record::Events(events) => events,
                Record::Reading(reading) => {
                    requests.take_reading(*reading);
                    continue;
                }
            };
            for event in events {
                if !is_sampled(threshold, event.pool, event.object, event.index) {
                    continue;
                }
                if !requests.meta.cache && event.index != WHOLE_OBJECT {
                    let first = seen.insert((event.pool, event.object, event.index));
                    let was_there = first.then(|| was_there(&event)).flatten();
                    if let Some(put) = was_there {
                        if event.op == Op::Evict as u32 {
                            evicted.push(put);
                        } else {
                            others.push(put);
                        }
                    }
                }
                let Some(request) = Request::of(&event) else {
                    continue;
                };
                if request.op == Op::Put
                    && request.size != Size::Unknown
                    && requests.sizes.len() < SIZES
                {
                    requests.sizes.push(request.size);
                }
                requests.list.push(request);
            }
        }
        requests.before = evicted;
        requests.before.append(&mut others);
        requests.end = reader.end().cloned().unwrap_or(End::Open);
        if requests.list.is_empty() {
            return Err(TraceError::Unfit {
                path: reader.path().to_owned(),
                why: "it has no operations: record with --sample, of a machine that is busy"
                    .to_owned(),
            });
        }
        Ok(requests)
    }

    fn take_reading(&mut self, reading: Reading) {
        for pool in &reading.pools {
            match self.pools.iter_mut().find(|known| known.id == pool.id) {
                Some(known) => known.clone_from(pool),
                None => self.pools.push(pool.clone()),
            }
        }
        match &mut self.readings {
            Some((_, last)) => *last = reading,
            None => self.readings = Some((reading.clone(), reading)),
        }
    }

    /// Puts of the pages that were there when the recording began and that nothing was asked of
    /// since: of them only the number is known.
    pub fn untouched(&self) -> impl Iterator<Item = Request> {
        let first = self.readings.as_ref().map(|(first, _)| first);
        first
            .into_iter()
            .flat_map(|first| &first.pools)
            .flat_map(|pool| {
                let touched = self.before.iter().filter(|put| put.pool == pool.id).count() as u64;
                let there = pool.stats.pages / u64::from(self.one_in);
                (0..there.saturating_sub(touched)).map(|index| Request {
                    op: Op::Put,
                    pool: pool.id,
                    // Above any that a frontend uses.
                    object: u64::MAX,
                    index,
                    size: Size::Unknown,
                })
            })
    }

    /// What a tunable of a pool was when the recording began.
    pub fn pool_tunable(&self, pool: u32, name: &str) -> Option<&str> {
        let value = self.meta.tunables.get(&format!("pools.{pool}.{name}"))?;
        Some(value)
    }

    /// Which pages of an ephemeral pool went first while it was recorded; least recently used
    /// where the trace does not tell.
    pub fn policy_of(&self, pool: u32) -> Policy {
        self.pool_tunable(pool, "policy")
            .and_then(Policy::from_name)
            .unwrap_or(Policy::Lru)
    }

    /// Which pages an ephemeral pool took; all where the trace does not tell.
    pub fn admission_of(&self, pool: u32) -> u32 {
        self.pool_tunable(pool, "admission")
            .and_then(admission_of)
            .unwrap_or(ADMIT_ALL)
    }

    /// The ephemeral pools.
    pub fn ephemeral(&self) -> impl Iterator<Item = &PoolReading> {
        self.pools.iter().filter(|pool| !pool.is_persistent())
    }

    /// Share of gets that hit while it was recorded, of all pages; `None` if there were none.
    pub fn recorded_hit_share(&self) -> Option<f64> {
        let (first, last) = self.readings.as_ref()?;
        let (hits, gets) = last.totals.hits_and_gets_since(&first.totals);
        (gets > 0).then(|| hits as f64 / gets as f64)
    }

    /// Mean duration in ns of the operations that ended alike while it was
    /// recorded, by op and outcome.
    pub fn mean_ns(&self) -> [[Option<f64>; OUTCOMES]; OPS] {
        let mut means = [[None; OUTCOMES]; OPS];
        let Some((first, last)) = &self.readings else {
            return means;
        };
        let mut sums = [[(0_u64, 0_u64); OUTCOMES]; OPS];
        for (reading, later) in [(last, true), (first, false)] {
            for cell in &reading.cells {
                let (Some(op), Some(outcome)) = (cell.op(), cell.outcome()) else {
                    continue;
                };
                let (count, ns) = &mut sums[op as usize][outcome as usize];
                if later {
                    *count += cell.count;
                    *ns += cell.total_ns;
                } else {
                    *count = count.saturating_sub(cell.count);
                    *ns = ns.saturating_sub(cell.total_ns);
                }
            }
        }
        for (means, sums) in means.iter_mut().zip(sums) {
            for (mean, (count, ns)) in means.iter_mut().zip(sums) {
                *mean = (count > 0).then(|| ns as f64 / count as f64);
            }
        }
        means
    }
}

/// The put that an event shows to have happened before the recording, when it is
/// the first about its page.
fn was_there(event: &Event) -> Option<Request> {
    let there = [
        Outcome::Hit as u32,
        Outcome::Flushed as u32,
        Outcome::Evicted as u32,
    ];
    there.contains(&event.outcome).then(|| Request {
        op: Op::Put,
        pool: event.pool,
        object: event.object,
        index: event.index,
        // A page without data of its own is a same-filled one.
        size: match event.bytes {
            0 => Size::Same,
            bytes => Size::Bytes(bytes.min(PAGE_SIZE as u32) as u16),
        },
    })
}
