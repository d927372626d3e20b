//! The bytes of a trace file: its header, blocks with their checksums, and the
//! columns that events are packed into. No I/O.

use tmem_common::event::Event;

/// Version of the format. It rises when an older reader would misread a file;
/// new kinds of blocks and new fields in their JSON keep it.
pub const VERSION: u16 = 1;

/// What a file begins with.
pub const MAGIC: [u8; 8] = *b"tmemtrc\n";

/// What each block begins with.
const BLOCK_MAGIC: [u8; 4] = *b"tblk";

/// Bytes of the file's header: magic, version, reserved, checksum.
pub const FILE_HEADER: usize = 16;

/// Bytes of a block's header: magic, kind, packing, reserved, stored length, raw length, checksum.
pub const BLOCK_HEADER: usize = 20;

/// Most bytes that a block holds before packing, so that a reader knows what memory it needs.
pub const MAX_RAW: usize = 4 << 20;

/// Most events in a block: the longest encoding of so many stays below [`MAX_RAW`].
pub const MAX_EVENTS: usize = 16_384;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// JSON: where and how the trace was made. The first block.
    Meta = 1,
    /// Columns of events.
    Events = 2,
    /// JSON: counters and histograms at one time.
    Reading = 3,
    /// JSON: how the recording ended. The last block.
    End = 4,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Meta, Kind::Events, Kind::Reading, Kind::End];
}

const RAW: u8 = 0;
const LZ4: u8 = 1;

/// Why bytes are no whole block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// There are fewer bytes than there should be.
    #[error("cut short: {found} of {wanted} bytes")]
    Short {
        /// Bytes that are there.
        found: usize,
        /// Bytes that should be there.
        wanted: usize,
    },
    /// No block begins here.
    #[error("no block begins here")]
    NoBlock,
    /// A length that no writer produces.
    #[error("length {0} is beyond the {MAX_RAW} bytes that a block may have")]
    Length(usize),
    /// The checksum is not that of the bytes.
    #[error("wrong checksum")]
    Checksum,
    /// The bytes are as they were written, but mean nothing.
    #[error("malformed: {0}")]
    Malformed(String),
}

/// The header of a file of this version.
pub fn file_header() -> [u8; FILE_HEADER] {
    let mut header = [0; FILE_HEADER];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let sum = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&sum.to_le_bytes());
    header
}

/// The version in a file's header.
///
/// # Errors
/// When it is no header of a trace, or a damaged one.
pub fn version_of(header: &[u8; FILE_HEADER]) -> Result<u16, Damage> {
    if header[..8] != MAGIC {
        return Err(Damage::NoBlock);
    }
    if crc32c::crc32c(&header[..12]).to_le_bytes() != header[12..] {
        return Err(Damage::Checksum);
    }
    Ok(u16::from_le_bytes([header[8], header[9]]))
}

/// Packs a block whole, header and all; lz4 where that makes it smaller.
///
/// # Errors
/// When `raw` is longer than [`MAX_RAW`].
pub fn block(kind: Kind, raw: &[u8]) -> Result<Vec<u8>, Damage> {
    if raw.len() > MAX_RAW {
        return Err(Damage::Length(raw.len()));
    }
    let most = lz4_flex::block::get_maximum_output_size(raw.len());
    let mut bytes = vec![0; BLOCK_HEADER + most];
    let packed = lz4_flex::block::compress_into(raw, &mut bytes[BLOCK_HEADER..])
        .ok()
        .filter(|packed| *packed < raw.len());
    let packing = match packed {
        Some(packed) => {
            bytes.truncate(BLOCK_HEADER + packed);
            LZ4
        }
        None => {
            bytes.truncate(BLOCK_HEADER);
            bytes.extend_from_slice(raw);
            RAW
        }
    };
    // Both are at most MAX_RAW.
    let stored = (bytes.len() - BLOCK_HEADER) as u32;
    bytes[..4].copy_from_slice(&BLOCK_MAGIC);
    bytes[4] = kind as u8;
    bytes[5] = packing;
    bytes[6..8].fill(0);
    bytes[8..12].copy_from_slice(&stored.to_le_bytes());
    bytes[12..16].copy_from_slice(&(raw.len() as u32).to_le_bytes());
    let sum = checksum(&bytes[..16], &bytes[BLOCK_HEADER..]);
    bytes[16..20].copy_from_slice(&sum.to_le_bytes());
    Ok(bytes)
}

fn checksum(head: &[u8], stored: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(head), stored)
}

/// A block's header, its lengths checked.
#[derive(Clone, Copy, Debug)]
pub struct BlockHeader {
    bytes: [u8; BLOCK_HEADER],
    /// Bytes that follow the header.
    pub stored: usize,
    raw: usize,
}

impl BlockHeader {
    /// Reads a header.
    ///
    /// # Errors
    /// When no block begins so.
    pub fn parse(bytes: &[u8; BLOCK_HEADER]) -> Result<Self, Damage> {
        if bytes[..4] != BLOCK_MAGIC {
            return Err(Damage::NoBlock);
        }
        let length = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let (stored, raw) = (length(8) as usize, length(12) as usize);
        for length in [stored, raw] {
            if length > MAX_RAW {
                return Err(Damage::Length(length));
            }
        }
        Ok(Self {
            bytes: *bytes,
            stored,
            raw,
        })
    }

    /// Checks and unpacks what followed the header; `None` for the kind when it
    /// is one that this version does not know and skips.
    ///
    /// # Errors
    /// When the block is damaged.
    pub fn unpack(&self, stored: Vec<u8>) -> Result<(Option<Kind>, Vec<u8>), Damage> {
        if checksum(&self.bytes[..16], &stored).to_le_bytes() != self.bytes[16..] {
            return Err(Damage::Checksum);
        }
        let kind = Kind::ALL
            .into_iter()
            .find(|kind| *kind as u8 == self.bytes[4]);
        let raw = match self.bytes[5] {
            RAW => stored,
            LZ4 => {
                let mut raw = vec![0; self.raw];
                match lz4_flex::block::decompress_into(&stored, &mut raw) {
                    Ok(length) if length == self.raw => raw,
                    _ => return Err(Damage::Malformed("lz4".to_owned())),
                }
            }
            other => return Err(Damage::Malformed(format!("packing {other}"))),
        };
        if raw.len() != self.raw {
            return Err(Damage::Malformed("raw length".to_owned()));
        }
        Ok((kind, raw))
    }
}

/// One column of events: how it is read and written.
type Column = (fn(&Event) -> u64, fn(&mut Event, u64), Coding);

#[derive(Clone, Copy, PartialEq)]
enum Coding {
    /// The number itself.
    Plain,
    /// The difference to the event before, small either way.
    Delta,
}

/// The columns, in the order of the file.
const COLUMNS: [Column; 9] = [
    (|e| e.time_ns, |e, v| e.time_ns = v, Coding::Delta),
    (|e| e.op.into(), |e, v| e.op = v as u32, Coding::Plain),
    (
        |e| e.outcome.into(),
        |e, v| e.outcome = v as u32,
        Coding::Plain,
    ),
    (|e| e.pool.into(), |e, v| e.pool = v as u32, Coding::Plain),
    (|e| e.object, |e, v| e.object = v, Coding::Delta),
    (|e| e.index, |e, v| e.index = v, Coding::Delta),
    (|e| e.bytes.into(), |e, v| e.bytes = v as u32, Coding::Plain),
    (|e| e.latency_ns, |e, v| e.latency_ns = v, Coding::Plain),
    (|e| e.cgroup, |e, v| e.cgroup = v, Coding::Delta),
];

/// Packs at most [`MAX_EVENTS`] events: their number, then each column whole.
pub fn encode_events(events: &[Event]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(events.len() * 16 + 10);
    push_varint(&mut bytes, events.len() as u64);
    for (get, _, coding) in COLUMNS {
        let mut before = 0_u64;
        for event in events {
            let value = get(event);
            match coding {
                Coding::Plain => push_varint(&mut bytes, value),
                Coding::Delta => {
                    push_varint(&mut bytes, zigzag(value.wrapping_sub(before)));
                    before = value;
                }
            }
        }
    }
    bytes
}

/// Unpacks events.
///
/// # Errors
/// When the bytes are not such a pack, whole and with nothing behind it.
pub fn decode_events(mut bytes: &[u8]) -> Result<Vec<Event>, Damage> {
    let malformed = |what: &str| Damage::Malformed(what.to_owned());
    let count = take_varint(&mut bytes).ok_or_else(|| malformed("number of events"))?;
    if count > MAX_EVENTS as u64 {
        return Err(malformed("number of events"));
    }
    let mut events = vec![Event::default(); count as usize];
    for (_, set, coding) in COLUMNS {
        let mut before = 0_u64;
        for event in &mut events {
            let value = take_varint(&mut bytes).ok_or_else(|| malformed("column of events"))?;
            match coding {
                Coding::Plain => set(event, value),
                Coding::Delta => {
                    before = before.wrapping_add(unzigzag(value));
                    set(event, before);
                }
            }
        }
    }
    if bytes.is_empty() {
        Ok(events)
    } else {
        Err(malformed("bytes behind the events"))
    }
}

const fn zigzag(difference: u64) -> u64 {
    let signed = difference.cast_signed();
    ((signed << 1) ^ (signed >> 63)).cast_unsigned()
}

const fn unzigzag(value: u64) -> u64 {
    (value >> 1) ^ (value & 1).wrapping_neg()
}

/// LEB128: seven bits a byte, the lowest first, the top bit on all but the last.
fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_come_back() {
        for shift in 0..64 {
            for value in [1_u64 << shift, (1 << shift) - 1, u64::MAX - (1 << shift)] {
                let mut bytes = Vec::new();
                push_varint(&mut bytes, value);
                assert_eq!(take_varint(&mut &bytes[..]), Some(value));
                assert_eq!(unzigzag(zigzag(value)), value);
            }
        }
        assert_eq!(take_varint(&mut &[0x80_u8; 12][..]), None);
        assert_eq!(take_varint(&mut &[][..]), None);
    }

    #[test]
    fn the_longest_events_fit_a_block() {
        let extreme = Event {
            time_ns: u64::MAX / 2,
            object: u64::MAX / 2,
            index: u64::MAX / 2,
            latency_ns: u64::MAX,
            cgroup: u64::MAX / 2,
            pool: u32::MAX,
            bytes: u32::MAX,
            op: u32::MAX,
            outcome: u32::MAX,
        };
        let events: Vec<Event> = (0..MAX_EVENTS)
            .map(|i| {
                if i % 2 == 0 {
                    extreme
                } else {
                    Event::default()
                }
            })
            .collect();
        let bytes = encode_events(&events);
        assert!(bytes.len() <= MAX_RAW, "{}", bytes.len());
        assert_eq!(decode_events(&bytes), Ok(events));
    }

    #[test]
    fn neighbouring_events_take_few_bytes() {
        let events: Vec<Event> = (0..4096_u32)
            .map(|i| Event {
                time_ns: 1_000_000_000 + u64::from(i) * 2_000,
                index: u64::from(i),
                latency_ns: 900,
                bytes: 1300,
                ..Event::default()
            })
            .collect();
        let bytes = block(Kind::Events, &encode_events(&events)).expect("fits");
        assert!(bytes.len() < events.len(), "{} bytes", bytes.len());
    }
}
