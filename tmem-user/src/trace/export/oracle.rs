//! libCacheSim's oracleGeneral: 24 bytes a request, little-endian and unaligned:
//! time in seconds (u32), object id (u64), its size in bytes (u32), and the number
//! of the request for the same object that comes next (i64, -1: none).
//!
//! A request is a get: what a frontend wanted. Puts and flushes are left out, for
//! the simulator's caches fill themselves.

use std::collections::HashMap;
use std::io::{self, Write};

use tmem_common::PAGE_SIZE;
use tmem_common::op::Op;
use tmem_common::sample::page_hash;

use super::Export;
use crate::trace::reader::End;
use crate::trace::record::{Meta, Record};

/// Keeps all requests (24 bytes each) until the end, which is what tells the next accesses.
pub struct OracleGeneral<W> {
    output: W,
    started_ns: u64,
    /// Whether an event's object is the id by itself.
    plain_ids: bool,
    requests: Vec<Request>,
    /// The bytes of the last put of each page, which a get that misses does not tell.
    sizes: HashMap<u64, u32>,
}

struct Request {
    seconds: u32,
    id: u64,
    size: u32,
}

impl<W: Write> OracleGeneral<W> {
    /// Takes requests for `output`.
    pub fn new(output: W, meta: &Meta) -> Self {
        Self {
            output,
            started_ns: meta.started_ns,
            plain_ids: meta.cache,
            requests: Vec::new(),
            sizes: HashMap::new(),
        }
    }
}

impl<W: Write> Export for OracleGeneral<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        let Record::Events(events) = record else {
            return Ok(());
        };
        for event in events {
            let id = if self.plain_ids {
                event.object
            } else {
                // Two hashes, so that no two of a trace's pages are likely to meet.
                let low = page_hash(event.pool, event.object, event.index);
                let high = page_hash(event.pool, !event.object, event.index);
                u64::from(high) << 32 | u64::from(low)
            };
            if event.op == Op::Put as u32 && event.bytes > 0 {
                self.sizes.insert(id, event.bytes);
            }
            if event.op != Op::Get as u32 {
                continue;
            }
            let size = match event.bytes {
                0 => self.sizes.get(&id).copied().unwrap_or(PAGE_SIZE as u32),
                bytes => bytes,
            };
            let seconds = event.time_ns.saturating_sub(self.started_ns) / 1_000_000_000;
            self.requests.push(Request {
                seconds: u32::try_from(seconds).unwrap_or(u32::MAX),
                id,
                size,
            });
        }
        Ok(())
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        let mut next = vec![-1_i64; self.requests.len()];
        let mut seen = HashMap::new();
        for (number, request) in self.requests.iter().enumerate().rev() {
            if let Some(later) = seen.insert(request.id, number as i64) {
                next[number] = later;
            }
        }
        for (request, next) in self.requests.iter().zip(next) {
            self.output.write_all(&request.seconds.to_le_bytes())?;
            self.output.write_all(&request.id.to_le_bytes())?;
            self.output.write_all(&request.size.to_le_bytes())?;
            self.output.write_all(&next.to_le_bytes())?;
        }
        self.output.flush()
    }
}
