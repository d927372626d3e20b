//! Perfetto's trace format (protobuf messages `Trace`, `TracePacket`, `TrackDescriptor`,
//! `TrackEvent` of its published schema): a counter track for each figure, and a
//! track for each pool with an instant for each sampled operation.

use std::collections::HashSet;
use std::io::{self, Write};

use tmem_common::event::{Event, WHOLE_OBJECT};

use super::{Export, FIGURES, op_name, outcome_name};
use crate::trace::reader::End;
use crate::trace::record::{Meta, Record};

/// Track of the process that all others are below.
const ROOT: u64 = 1;
/// The first track of a figure; they follow one another.
const FIRST_FIGURE: u64 = 100;
/// The track of pool 0; the other pools follow.
const FIRST_POOL: u64 = 1_000;

const UNIT_COUNT: u64 = 2;
const UNIT_SIZE_BYTES: u64 = 3;
const TYPE_INSTANT: u64 = 3;
const TYPE_COUNTER: u64 = 4;

/// A message being put together: fields by their numbers in the schema.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    fn message(self, field: u64, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }
}

/// Writes packets as the records come.
pub struct Perfetto<W> {
    output: W,
    pools: HashSet<u32>,
}

impl<W: Write> Perfetto<W> {
    /// Writes the tracks that are there from the start.
    ///
    /// # Errors
    /// When the output fails.
    pub fn new(output: W, meta: &Meta) -> io::Result<Self> {
        let mut perfetto = Self {
            output,
            pools: HashSet::new(),
        };
        let root = Message::default()
            .number(1, ROOT)
            .text(2, &format!("tmem: {}", meta.source));
        perfetto.track(&root)?;
        for (number, figure) in (FIRST_FIGURE..).zip(FIGURES) {
            let unit = if figure.bytes {
                UNIT_SIZE_BYTES
            } else {
                UNIT_COUNT
            };
            let track = Message::default()
                .number(1, number)
                .text(2, figure.name)
                .number(5, ROOT)
                .message(8, &Message::default().number(3, unit));
            perfetto.track(&track)?;
        }
        Ok(perfetto)
    }

    fn packet(&mut self, packet: Message) -> io::Result<()> {
        // Field 10: which writer it is from; there is one.
        let packet = packet.number(10, 1);
        self.output
            .write_all(&Message::default().message(1, &packet).0)
    }

    fn track(&mut self, track: &Message) -> io::Result<()> {
        self.packet(Message::default().message(60, track))
    }

    fn track_event(&mut self, time_ns: u64, event: &Message) -> io::Result<()> {
        self.packet(Message::default().number(8, time_ns).message(11, event))
    }

    fn event(&mut self, event: &Event) -> io::Result<()> {
        let track = FIRST_POOL + u64::from(event.pool);
        if self.pools.insert(event.pool) {
            let descriptor = Message::default()
                .number(1, track)
                .text(2, &format!("operations of pool {}", event.pool))
                .number(5, ROOT);
            self.track(&descriptor)?;
        }
        let mut said = Message::default()
            .number(9, TYPE_INSTANT)
            .number(11, track)
            .text(22, op_name(event))
            .text(23, &format!("{} {}", op_name(event), outcome_name(event)));
        for (name, value) in [
            ("object", Some(event.object)),
            ("index", Some(event.index).filter(|at| *at != WHOLE_OBJECT)),
            ("bytes", Some(event.bytes.into())),
            ("latency_ns", Some(event.latency_ns)),
            ("cgroup", Some(event.cgroup)),
        ] {
            if let Some(value) = value {
                said = said.message(4, &Message::default().number(3, value).text(10, name));
            }
        }
        self.track_event(event.time_ns, &said)
    }
}

impl<W: Write> Export for Perfetto<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        match record {
            Record::Events(events) => events.iter().try_for_each(|event| self.event(event)),
            Record::Reading(reading) => {
                for (track, figure) in (FIRST_FIGURE..).zip(FIGURES) {
                    if let Some(value) = (figure.value)(reading) {
                        let counter = Message::default()
                            .number(9, TYPE_COUNTER)
                            .number(11, track)
                            .number(30, value);
                        self.track_event(reading.time_ns, &counter)?;
                    }
                }
                Ok(())
            }
        }
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        self.output.flush()
    }
}
