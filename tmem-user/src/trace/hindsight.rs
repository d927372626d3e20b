//! The last minutes of a recording, in memory, to be written as a whole trace when
//! something turns out to be worth a look.
//!
//! It is a queue of readings, each with the events that follow it, these as the
//! blocks that a file would have. What is too old, or too much, leaves at the front
//! with its reading, so that what is left always begins with a reading.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::time::Duration;

use tmem_common::event::Event;

use super::format::{Kind, MAX_EVENTS, block, encode_events};
use super::record::{Finish, Meta, Reading};
use super::recorder::Sink;
use super::writer::Writer;

/// A block of events as in a file.
struct Block {
    bytes: Vec<u8>,
    events: u64,
}

/// A reading and the events up to the next.
struct Segment {
    reading: Reading,
    blocks: Vec<Block>,
}

/// The last part of a recording.
pub struct Hindsight {
    span_ns: u64,
    most_bytes: usize,
    segments: VecDeque<Segment>,
    waiting: Vec<Event>,
    /// Of all blocks.
    bytes: usize,
}

impl Hindsight {
    /// Keeps readings and events of the last `span`, and of the events no more than
    /// `most_bytes` (compressed; those since the last reading are kept whatever they take).
    pub fn new(span: Duration, most_bytes: usize) -> Self {
        Self {
            span_ns: u64::try_from(span.as_nanos()).unwrap_or(u64::MAX),
            most_bytes,
            segments: VecDeque::new(),
            waiting: Vec::new(),
            bytes: 0,
        }
    }

    /// Time from the first reading that is kept to the last, in ns.
    pub fn kept_ns(&self) -> u64 {
        match (self.segments.front(), self.segments.back()) {
            (Some(first), Some(last)) => last.reading.time_ns - first.reading.time_ns,
            _ => 0,
        }
    }

    /// Writes what is kept as a trace, of which `meta` tells the making; the output,
    /// and what was written. Nothing is forgotten by it.
    ///
    /// # Errors
    /// When the output fails.
    pub fn write<W: Write>(&mut self, output: W, meta: &Meta) -> io::Result<(W, Finish)> {
        self.pack()?;
        let mut meta = meta.clone();
        let (mut started_ns, mut ended_ns, mut dropped) = (meta.started_ns, meta.started_ns, 0);
        if let (Some(first), Some(last)) = (self.segments.front(), self.segments.back()) {
            (started_ns, ended_ns) = (first.reading.time_ns, last.reading.time_ns);
            dropped = first.reading.events_dropped;
        }
        let later = started_ns.saturating_sub(meta.started_ns);
        meta.started_unix_ns = meta.started_unix_ns.saturating_add(later);
        meta.started_ns = started_ns;
        let mut writer = Writer::new(output, &meta)?;
        for segment in &self.segments {
            // Counted from the start of what is kept, as of a recording.
            let mut reading = segment.reading.clone();
            reading.events_dropped = reading.events_dropped.saturating_sub(dropped);
            writer.reading(&reading)?;
            for block in &segment.blocks {
                writer.event_block(&block.bytes, block.events)?;
            }
        }
        writer.finish(ended_ns, None)
    }

    /// Makes a block of the events that wait.
    fn pack(&mut self) -> io::Result<()> {
        if let Some(last) = self.segments.back_mut()
            && !self.waiting.is_empty()
        {
            let bytes =
                block(Kind::Events, &encode_events(&self.waiting)).map_err(io::Error::other)?;
            self.bytes += bytes.len();
            last.blocks.push(Block {
                bytes,
                events: self.waiting.len() as u64,
            });
        }
        // Events before the first reading have no place.
        self.waiting.clear();
        Ok(())
    }

    /// Lets go what is too old or too much.
    fn forget(&mut self) {
        while self.segments.len() > 1
            && (self.kept_ns() > self.span_ns || self.bytes > self.most_bytes)
        {
            let oldest = self.segments.pop_front();
            let blocks = oldest.iter().flat_map(|segment| &segment.blocks);
            self.bytes -= blocks.map(|block| block.bytes.len()).sum::<usize>();
        }
    }
}

impl Sink for Hindsight {
    fn event(&mut self, event: Event) -> io::Result<()> {
        self.waiting.push(event);
        if self.waiting.len() == MAX_EVENTS {
            self.pack()?;
        }
        Ok(())
    }

    fn reading(&mut self, reading: &Reading) -> io::Result<()> {
        self.pack()?;
        self.segments.push_back(Segment {
            reading: reading.clone(),
            blocks: Vec::new(),
        });
        self.forget();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::trace::reader::{End, Reader};
    use crate::trace::record::Record;
    use crate::workload::Random;

    const SECOND: u64 = 1_000_000_000;

    fn second(hindsight: &mut Hindsight, number: u64, events: u64) {
        let reading = Reading {
            time_ns: number * SECOND,
            events_dropped: 10 * number,
            ..Reading::default()
        };
        hindsight.reading(&reading).expect("memory");
        for index in 0..events {
            let event = Event {
                time_ns: number * SECOND + index + 1,
                // Not to be compressed away.
                object: Random::new(number ^ index << 32).draw(),
                ..Event::default()
            };
            hindsight.event(event).expect("memory");
        }
    }

    /// Times of the readings in s, events, dropped, and the start that the trace tells.
    fn written(hindsight: &mut Hindsight) -> (Vec<u64>, usize, Vec<u64>, Meta) {
        let meta = Meta {
            started_ns: SECOND,
            started_unix_ns: 100 * SECOND,
            ..Meta::default()
        };
        let (bytes, finish) = hindsight.write(Vec::new(), &meta).expect("memory");
        let mut reader = Reader::new(&bytes[..], Path::new("memory")).expect("a trace");
        let (mut readings, mut dropped, mut events) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(record) = reader.next_record().expect("memory") {
            match record {
                Record::Reading(reading) => {
                    readings.push(reading.time_ns / SECOND);
                    dropped.push(reading.events_dropped);
                }
                Record::Events(block) => {
                    assert!(!readings.is_empty(), "a trace begins with a reading");
                    events.extend(block);
                }
            }
        }
        assert_eq!(reader.end(), Some(&End::Whole(finish.clone())));
        assert_eq!(finish.events, events.len() as u64);
        (readings, events.len(), dropped, reader.meta().clone())
    }

    #[test]
    fn the_last_seconds_are_kept_with_their_events() {
        let mut hindsight = Hindsight::new(Duration::from_secs(3), 1 << 20);
        for number in 1..=9 {
            second(&mut hindsight, number, number);
        }
        let (readings, events, dropped, meta) = written(&mut hindsight);
        assert_eq!(readings, [6, 7, 8, 9]);
        assert_eq!(events, 6 + 7 + 8 + 9);
        assert_eq!(dropped, [0, 10, 20, 30]);
        assert_eq!(meta.started_ns, 6 * SECOND);
        assert_eq!(meta.started_unix_ns, 105 * SECOND);
        // Again, and on.
        assert_eq!(written(&mut hindsight).1, events);
        second(&mut hindsight, 10, 1);
        assert_eq!(written(&mut hindsight).0, [7, 8, 9, 10]);
    }

    #[test]
    fn too_many_events_take_the_oldest_with_them() {
        let mut hindsight = Hindsight::new(Duration::from_secs(1000), 300_000);
        for number in 1..=100 {
            second(&mut hindsight, number, 1000);
        }
        let (readings, events, ..) = written(&mut hindsight);
        assert!(hindsight.bytes <= 300_000 + 20_000, "{}", hindsight.bytes);
        assert!((10..90).contains(&readings.len()), "{readings:?}");
        assert_eq!(readings.last(), Some(&100));
        assert_eq!(events, readings.len() * 1000);
    }

    #[test]
    fn one_interval_is_kept_however_large() {
        let mut hindsight = Hindsight::new(Duration::from_secs(1), 10);
        second(&mut hindsight, 1, 40_000);
        assert_eq!(written(&mut hindsight).1, 40_000);
        second(&mut hindsight, 2, 0);
        assert_eq!(written(&mut hindsight).0, [2]);
    }
}
