//! `tmem record` on the embedded engine and on a made-up module.

use std::process::{Command, Output};

use tmem_common::op::{Op, Outcome};
use tmem_user::trace::reader::{End, Reader};
use tmem_user::trace::record::{Meta, Reading, Record};

fn tmem(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(arguments)
        .output()
        .expect("the tool starts")
}

struct Trace {
    meta: Meta,
    events: Vec<tmem_common::event::Event>,
    readings: Vec<Reading>,
    end: End,
}

fn read(path: &std::path::Path) -> Trace {
    let mut reader = Reader::open(path).expect("a trace");
    let (mut events, mut readings) = (Vec::new(), Vec::new());
    while let Some(record) = reader.next_record().expect("a file") {
        match record {
            Record::Events(block) => events.extend(block),
            Record::Reading(reading) => readings.push(*reading),
        }
    }
    Trace {
        meta: reader.meta().clone(),
        end: reader.end().expect("read to the end").clone(),
        events,
        readings,
    }
}

#[test]
fn every_operation_is_an_event_at_one_in_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace");
    let file = path.display().to_string();
    let output = tmem(&[
        "--embedded",
        "--workload",
        "zipf:pages=2000,rate=20000",
        "record",
        "-o",
        &file,
        "--sample",
        "1/1",
        "--duration",
        "600ms",
        "--interval",
        "200ms",
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let trace = read(&path);
    assert_eq!(trace.meta.sample_one_in, 1);
    assert!(trace.meta.source.contains("zipf:pages=2000"));
    assert_eq!(trace.meta.tunables["codec"], "adaptive");
    let End::Whole(finish) = trace.end else {
        panic!("{:?}", trace.end)
    };
    assert_eq!(finish.events, trace.events.len() as u64);
    assert_eq!(finish.readings, trace.readings.len() as u64);
    assert!(trace.readings.len() >= 3, "{}", trace.readings.len());
    let (first, last) = (
        &trace.readings[0].totals,
        &trace.readings[trace.readings.len() - 1].totals,
    );
    assert_eq!(trace.readings[trace.readings.len() - 1].events_dropped, 0);
    for outcome in [Outcome::Stored, Outcome::Hit] {
        let counted = last.outcome(outcome) - first.outcome(outcome);
        let seen = trace
            .events
            .iter()
            .filter(|event| event.outcome == outcome as u32)
            .count() as u64;
        assert!(counted > 0);
        assert_eq!(seen, counted, "{outcome:?}");
    }
}

#[test]
fn the_exit_code_of_the_command_is_kept() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace");
    let file = path.display().to_string();
    let output = tmem(&[
        "--embedded",
        "record",
        "-o",
        &file,
        "--",
        "sh",
        "-c",
        "echo out; exit 7",
    ]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(output.stdout, b"out\n");
    let trace = read(&path);
    let End::Whole(finish) = trace.end else {
        panic!("{:?}", trace.end)
    };
    assert_eq!(finish.exit_code, Some(7));
    assert_eq!(trace.meta.command, ["sh", "-c", "echo out; exit 7"]);
    assert_eq!(trace.meta.sample_one_in, 100);
    assert!(
        trace
            .events
            .iter()
            .all(|event| event.op < Op::ALL.len() as u32)
    );
}

#[test]
fn no_room_is_one_clear_error() {
    let output = tmem(&[
        "--embedded",
        "record",
        "-o",
        "/dev/full",
        "--duration",
        "1s",
    ]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("/dev/full: No space left"), "{text}");
    let output = tmem(&["--embedded", "record", "--sample", "3"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("1/N such as 1/100"));
}
