//! Cut, flipped and newer files: a clear error, or the whole blocks up to there.

use std::io::{self, Write};

use proptest::prelude::*;
use tmem_common::event::Event;
use tmem_user::trace::TraceError;
use tmem_user::trace::format::{
    BLOCK_HEADER, FILE_HEADER, decode_events, encode_events, file_header,
};
use tmem_user::trace::reader::End;
use tmem_user::trace::record::{Reading, Record};
use tmem_user::trace::writer::Writer;

use crate::read_bytes::read_bytes;
use crate::sample::{events, meta, trace};

#[test]
fn a_trace_comes_back_as_it_was_written() {
    let (records, end) = read_bytes(&trace(3, 20_000)).expect("a trace");
    let mut found = Vec::new();
    let mut readings = 0;
    for record in records {
        match record {
            Record::Events(block) => found.extend(block),
            Record::Reading(reading) => {
                assert_eq!(reading.used_bytes, readings * 4096);
                readings += 1;
            }
        }
    }
    assert_eq!(found, events(20_000).repeat(3));
    let End::Whole(finish) = end else {
        panic!("{end:?}")
    };
    assert_eq!((finish.readings, finish.events), (3, 60_000));
    assert_eq!((finish.time_ns, finish.exit_code), (7, Some(0)));
}

/// Where the blocks of a trace begin, and its length.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut borders = vec![FILE_HEADER];
    while let Some(&at) = borders.last().filter(|at| **at < bytes.len()) {
        let stored = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().expect("four"));
        borders.push(at + BLOCK_HEADER + stored as usize);
    }
    borders
}

#[test]
fn cut_at_any_byte_the_whole_blocks_before_are_there() {
    let bytes = trace(3, 40);
    let (all, _) = read_bytes(&bytes).expect("a trace");
    let borders = borders(&bytes);
    for cut in 0..bytes.len() {
        match read_bytes(&bytes[..cut]) {
            Err(TraceError::NotATrace { .. }) => assert!(cut < borders[1], "cut at {cut}"),
            Err(error) => panic!("cut at {cut}: {error}"),
            Ok((records, end)) => {
                // The first block is no record.
                let whole = borders.iter().filter(|border| **border <= cut).count() - 2;
                assert_eq!(records[..], all[..whole], "cut at {cut}");
                match end {
                    End::Open => assert!(borders.contains(&cut)),
                    End::Damaged { offset, .. } => assert!(borders.contains(&(offset as usize))),
                    End::Whole(_) => panic!("cut at {cut} and whole"),
                }
            }
        }
    }
}

#[test]
fn any_flipped_bit_is_seen() {
    let bytes = trace(2, 30);
    let (all, _) = read_bytes(&bytes).expect("a trace");
    let borders = borders(&bytes);
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match read_bytes(&damaged) {
            Err(TraceError::NotATrace { .. }) => assert!(bit / 8 < borders[1], "bit {bit}"),
            Err(error) => panic!("bit {bit}: {error}"),
            Ok((records, end)) => {
                let whole = borders.iter().filter(|border| **border <= bit / 8).count() - 2;
                assert_eq!(records[..], all[..whole], "bit {bit}");
                assert!(matches!(end, End::Damaged { .. }), "bit {bit}: {end:?}");
            }
        }
    }
}

#[test]
fn a_newer_version_is_named() {
    let mut bytes = trace(1, 1);
    bytes[8] = 2;
    let sum = crc32c::crc32c(&bytes[..12]);
    bytes[12..16].copy_from_slice(&sum.to_le_bytes());
    let error = read_bytes(&bytes).expect_err("too new").to_string();
    assert!(error.contains("version 2 is newer"), "{error}");
    assert!(error.contains("reads version 1"), "{error}");
}

#[test]
fn blocks_of_a_later_kind_are_skipped() {
    let mut bytes = trace(1, 1);
    let first = borders(&bytes)[1];
    let mut later = bytes[first..borders(&bytes)[2]].to_vec();
    later[4] = 99;
    let sum = crc32c::crc32c_append(crc32c::crc32c(&later[..16]), &later[BLOCK_HEADER..]);
    later[16..20].copy_from_slice(&sum.to_le_bytes());
    let (records, end) = read_bytes(&bytes).expect("a trace");
    bytes.splice(first..first, later);
    assert_eq!(read_bytes(&bytes).expect("a trace"), (records, end));
}

#[test]
fn other_files_are_no_traces() {
    for bytes in [
        &b""[..],
        b"tmem",
        b"PAR1 and more than sixteen bytes",
        &file_header(),
    ] {
        let error = read_bytes(bytes).expect_err("no trace").to_string();
        assert!(error.contains("not a trace"), "{error}");
    }
}

/// A disk that is full after so many bytes.
struct Full {
    bytes: Vec<u8>,
    room: usize,
}

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.room - self.bytes.len());
        if taken == 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_a_full_disk_took_is_readable() {
    let mut disk = Full {
        bytes: Vec::new(),
        room: 2_000,
    };
    let mut failed = None;
    {
        let mut writer = Writer::new(&mut disk, &meta()).expect("room for the first block");
        for number in 0..1_000_u64 {
            let reading = Reading {
                time_ns: number,
                ..Reading::default()
            };
            if let Err(error) = writer.reading(&reading) {
                failed = Some((number, error.kind()));
                break;
            }
        }
    }
    let (number, kind) = failed.expect("the disk is full at some time");
    assert_eq!(kind, io::ErrorKind::StorageFull);
    let (records, end) = read_bytes(&disk.bytes).expect("a trace");
    assert_eq!(records.len() as u64, number);
    assert!(number > 1);
    assert!(matches!(end, End::Damaged { .. } | End::Open), "{end:?}");
}

prop_compose! {
    fn any_event()(
        (time_ns, object, index, latency_ns, cgroup) in any::<(u64, u64, u64, u64, u64)>(),
        (pool, bytes, op, outcome) in any::<(u32, u32, u32, u32)>(),
    ) -> Event {
        Event { time_ns, object, index, latency_ns, cgroup, pool, bytes, op, outcome }
    }
}

proptest! {
    #[test]
    fn any_events_come_back(events in proptest::collection::vec(any_event(), 0..200)) {
        prop_assert_eq!(decode_events(&encode_events(&events)), Ok(events));
    }

    #[test]
    fn any_bytes_give_an_error_or_an_end(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let mut whole = trace(1, 3);
        whole.extend_from_slice(&bytes);
        // Behind the end nothing is read.
        prop_assert!(read_bytes(&whole).is_ok());
        prop_assert!(read_bytes(&bytes).is_err());
        let _ = decode_events(&bytes);
    }
}
