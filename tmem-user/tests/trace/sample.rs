//! Made-up traces for tests.

use tmem_common::event::Event;
use tmem_user::trace::record::{Meta, Reading};
use tmem_user::trace::writer::Writer;

/// `count` events, all different.
pub(crate) fn events(count: u64) -> Vec<Event> {
    (0..count)
        .map(|i| Event {
            time_ns: 1_000_000 + i * 1_500,
            object: i / 256,
            index: i * 7 % 256,
            latency_ns: 500 + i % 90,
            cgroup: 4000 + i % 3,
            pool: (i % 2) as u32,
            bytes: (i % 4096) as u32,
            op: (i % 4) as u32,
            outcome: (i % 12) as u32,
        })
        .collect()
}

pub(crate) fn meta() -> Meta {
    Meta {
        tool: "0.1.0".to_owned(),
        source: "made up".to_owned(),
        sample_one_in: 1,
        ..Meta::default()
    }
}

/// A trace of so many readings with `each` events before each.
pub(crate) fn trace(readings: u64, each: u64) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), &meta()).expect("memory");
    for second in 0..readings {
        for event in events(each) {
            writer.event(event).expect("memory");
        }
        let reading = Reading {
            time_ns: second * 1_000_000_000,
            used_bytes: second * 4096,
            ..Reading::default()
        };
        writer.reading(&reading).expect("memory");
    }
    writer.finish(7, Some(0)).expect("memory").0
}
