//! Exports, each read by a reader that knows nothing of ours.

use std::collections::HashMap;
use std::path::Path;

use prost::Message as _;
use tmem_common::event::{Event, WHOLE_OBJECT};
use tmem_common::op::{Op, Outcome};
use tmem_user::trace::export::{Format, Table, export, open};
use tmem_user::trace::reader::Reader;
use tmem_user::trace::record::{Counters, Meta, PoolReading, Reading};
use tmem_user::trace::writer::Writer;

const STARTED_NS: u64 = 5_000_000_000;

fn event(second: u64, index: u64, op: Op, outcome: Outcome, bytes: u32) -> Event {
    Event {
        time_ns: STARTED_NS + second * 1_000_000_000 + 7,
        object: 3,
        index,
        latency_ns: 900,
        cgroup: 12,
        pool: 1,
        bytes,
        op: op as u32,
        outcome: outcome as u32,
    }
}

fn events() -> Vec<Event> {
    vec![
        event(0, 1, Op::Put, Outcome::Stored, 1000),
        event(0, 2, Op::Put, Outcome::Stored, 2000),
        event(1, 1, Op::Get, Outcome::Hit, 1000),
        event(2, 2, Op::Get, Outcome::Miss, 0),
        event(3, 1, Op::Get, Outcome::Miss, 0),
        event(4, WHOLE_OBJECT, Op::Flush, Outcome::Flushed, 0),
    ]
}

fn reading(second: u64) -> Reading {
    let totals = Counters {
        pages: 40 + second,
        outcomes: HashMap::from([("hit".to_owned(), 10 * second)])
            .into_iter()
            .collect(),
        ..Counters::default()
    };
    Reading {
        time_ns: STARTED_NS + second * 1_000_000_000,
        used_bytes: 1 << 20,
        pools: vec![PoolReading {
            id: 1,
            name: "a \"pool\"".to_owned(),
            stats: totals.clone(),
            ..PoolReading::default()
        }],
        totals,
        swap_pages_read: Some(4),
        ..Reading::default()
    }
}

fn exported(format: Format, table: Table) -> Vec<u8> {
    let meta = Meta {
        started_ns: STARTED_NS,
        started_unix_ns: 1_700_000_000_000_000_000,
        ..Meta::default()
    };
    let mut writer = Writer::new(Vec::new(), &meta).expect("memory");
    writer.reading(&reading(0)).expect("memory");
    for event in events() {
        writer.event(event).expect("memory");
    }
    writer.reading(&reading(1)).expect("memory");
    let (trace, _) = writer.finish(9, None).expect("memory");
    let mut reader = Reader::new(&trace[..], Path::new("made up")).expect("a trace");
    let mut bytes = Vec::new();
    {
        let mut writer = open(format, table, &meta, &mut bytes).expect("memory");
        export(&mut reader, writer.as_mut()).expect("a whole trace");
    }
    bytes
}

#[test]
fn csv_is_read_by_the_csv_crate() {
    let bytes = exported(Format::Csv, Table::Events);
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let rows: Vec<HashMap<String, String>> = reader
        .deserialize()
        .map(|row| row.expect("a row"))
        .collect();
    assert_eq!(rows.len(), events().len());
    for (row, event) in rows.iter().zip(events()) {
        assert_eq!(row["time_ns"], event.time_ns.to_string());
        assert_eq!(row["bytes"], event.bytes.to_string());
        assert_eq!(row["outcome"], Outcome::ALL[event.outcome as usize].name());
    }
    assert_eq!(
        (rows[0]["op"].as_str(), rows[0]["index"].as_str()),
        ("put", "1")
    );
    assert_eq!(rows[5]["index"], "");

    let bytes = exported(Format::Csv, Table::Readings);
    let mut reader = csv::Reader::from_reader(&bytes[..]);
    let rows: Vec<HashMap<String, String>> = reader
        .deserialize()
        .map(|row| row.expect("a row"))
        .collect();
    assert_eq!(rows.len(), 2);
    assert_eq!(
        (rows[1]["pages"].as_str(), rows[1]["hit"].as_str()),
        ("41", "10")
    );
    assert_eq!(rows[1]["swap_pages_read"], "4");
    assert_eq!(rows[1]["pressure_some_us"], "");
}

#[test]
fn parquet_is_read_by_the_crate_of_that_name() {
    use parquet::file::reader::{FileReader as _, SerializedFileReader};
    use parquet::record::{Field, Row};

    let rows = |table| {
        let bytes = bytes::Bytes::from(exported(Format::Parquet, table));
        let reader = SerializedFileReader::new(bytes).expect("a Parquet file");
        let made = reader
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .and_then(|pairs| pairs.iter().find(|pair| pair.key == "tmem"))
            .and_then(|pair| pair.value.clone())
            .expect("how it was made");
        assert!(made.contains("\"started_ns\":5000000000"), "{made}");
        reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| row.expect("a row"))
            .collect::<Vec<Row>>()
    };
    let field = |row: &Row, name: &str| {
        row.get_column_iter()
            .find(|(known, _)| *known == name)
            .map(|(_, field)| field.clone())
            .expect("a column of that name")
    };
    let found = rows(Table::Events);
    assert_eq!(found.len(), events().len());
    for (row, event) in found.iter().zip(events()) {
        assert_eq!(field(row, "time_ns"), Field::ULong(event.time_ns));
        let index = match event.index {
            WHOLE_OBJECT => Field::Null,
            index => Field::ULong(index),
        };
        assert_eq!(field(row, "index"), index);
        assert_eq!(field(row, "bytes"), Field::UInt(event.bytes));
        let outcome = Outcome::ALL[event.outcome as usize].name();
        assert_eq!(field(row, "outcome"), Field::Str(outcome.to_owned()));
    }

    let found = rows(Table::Readings);
    assert_eq!(found.len(), 2);
    assert_eq!(field(&found[1], "pages"), Field::ULong(41));
    assert_eq!(field(&found[1], "hit"), Field::ULong(10));
    assert_eq!(field(&found[1], "pressure_some_us"), Field::Null);
}

#[test]
fn json_lines_hold_everything() {
    let bytes = exported(Format::Jsonl, Table::Events);
    let lines: Vec<serde_json::Value> = serde_json::Deserializer::from_slice(&bytes)
        .into_iter()
        .map(|line| line.expect("JSON"))
        .collect();
    let kinds: Vec<&str> = lines
        .iter()
        .filter_map(|line| line["kind"].as_str())
        .collect();
    assert_eq!(
        kinds,
        [
            "meta", "reading", "event", "event", "event", "event", "event", "event", "reading",
            "end"
        ]
    );
    assert_eq!(lines[2]["bytes"], 1000);
    assert_eq!(lines[7]["index"], serde_json::Value::Null);
    assert_eq!(lines[8]["totals"]["outcomes"]["hit"], 10);
    assert_eq!(lines[9]["events"], 6);
}

#[test]
fn oracle_general_is_laid_out_as_libcachesim_reads_it() {
    let bytes = exported(Format::OracleGeneral, Table::Events);
    let (requests, rest) = bytes.as_chunks::<24>();
    assert_eq!((requests.len(), rest.len()), (3, 0));
    let fields = |request: &[u8; 24]| {
        (
            u32::from_le_bytes(request[..4].try_into().expect("4")),
            u64::from_le_bytes(request[4..12].try_into().expect("8")),
            u32::from_le_bytes(request[12..16].try_into().expect("4")),
            i64::from_le_bytes(request[16..].try_into().expect("8")),
        )
    };
    let [first, second, third] = [0, 1, 2].map(|at| fields(&requests[at]));
    assert_eq!((first.0, first.2, first.3), (1, 1000, 2));
    assert_eq!((second.0, second.2, second.3), (2, 2000, -1));
    assert_eq!((third.0, third.2, third.3), (3, 1000, -1));
    assert_eq!(first.1, third.1);
    assert_ne!(first.1, second.1);
}

#[test]
fn open_metrics_are_parsed_by_a_parser_of_the_format() {
    let text = String::from_utf8(exported(Format::OpenMetrics, Table::Events)).expect("UTF-8");
    // The parser takes one sample of each series, as a scrape has; the format takes any
    // number with rising times.
    for (seconds, hits) in [
        ("1700000000.000000000", 0.0),
        ("1700000001.000000000", 10.0),
    ] {
        let moment: String = text
            .split_inclusive('\n')
            .filter(|line| line.starts_with('#') || line.trim_end().ends_with(seconds))
            .collect();
        let exposition =
            openmetrics_parser::openmetrics::parse_openmetrics(&moment).expect(&moment);
        let sample = exposition.families["tmem_hit"]
            .iter_samples()
            .next()
            .expect("a sample");
        assert_eq!(sample.timestamp, seconds.parse().ok());
        let openmetrics_parser::OpenMetricsValue::Counter(counter) = &sample.value else {
            panic!("{:?}", sample.value)
        };
        assert_eq!(counter.value.as_f64(), hits);
    }
    assert!(
        text.contains("tmem_hit_total 10 1700000001.000000000\n"),
        "{text}"
    );
    assert!(
        text.contains("tmem_operations_total{pool=\"a \\\"pool\\\"\",outcome=\"hit\"} 10 "),
        "{text}"
    );
    assert!(!text.contains("tmem_pressure_some_us_total "), "{text}");
    assert!(text.ends_with("# EOF\n"));
}

/// The messages that a viewer looks for, with the field numbers of the published
/// schema (`protos/perfetto/trace/trace_packet.proto` and what it includes).
mod perfetto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Trace {
        #[prost(message, repeated, tag = "1")]
        pub(super) packet: Vec<TracePacket>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TracePacket {
        #[prost(uint64, optional, tag = "8")]
        pub(super) timestamp: Option<u64>,
        #[prost(uint32, optional, tag = "10")]
        pub(super) trusted_packet_sequence_id: Option<u32>,
        #[prost(message, optional, tag = "11")]
        pub(super) track_event: Option<TrackEvent>,
        #[prost(message, optional, tag = "60")]
        pub(super) track_descriptor: Option<TrackDescriptor>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TrackDescriptor {
        #[prost(uint64, optional, tag = "1")]
        pub(super) uuid: Option<u64>,
        #[prost(string, optional, tag = "2")]
        pub(super) name: Option<String>,
        #[prost(uint64, optional, tag = "5")]
        pub(super) parent_uuid: Option<u64>,
        #[prost(message, optional, tag = "8")]
        pub(super) counter: Option<CounterDescriptor>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct CounterDescriptor {
        #[prost(int32, optional, tag = "3")]
        pub(super) unit: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TrackEvent {
        #[prost(message, repeated, tag = "4")]
        pub(super) debug_annotations: Vec<DebugAnnotation>,
        #[prost(int32, optional, tag = "9")]
        pub(super) r#type: Option<i32>,
        #[prost(uint64, optional, tag = "11")]
        pub(super) track_uuid: Option<u64>,
        #[prost(string, repeated, tag = "22")]
        pub(super) categories: Vec<String>,
        #[prost(string, optional, tag = "23")]
        pub(super) name: Option<String>,
        #[prost(int64, optional, tag = "30")]
        pub(super) counter_value: Option<i64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct DebugAnnotation {
        #[prost(uint64, optional, tag = "3")]
        pub(super) uint_value: Option<u64>,
        #[prost(string, optional, tag = "10")]
        pub(super) name: Option<String>,
    }

    pub(super) const TYPE_INSTANT: i32 = 3;
    pub(super) const TYPE_COUNTER: i32 = 4;
    pub(super) const UNIT_SIZE_BYTES: i32 = 3;
}

#[test]
fn perfetto_is_decoded_by_its_schema() {
    let bytes = exported(Format::Perfetto, Table::Events);
    let trace = perfetto::Trace::decode(&bytes[..]).expect("the schema's messages");
    let mut tracks = HashMap::new();
    let (mut instants, mut counters) = (Vec::new(), HashMap::new());
    for packet in trace.packet {
        assert_eq!(packet.trusted_packet_sequence_id, Some(1));
        if let Some(track) = packet.track_descriptor {
            let uuid = track.uuid.expect("a number");
            assert!(
                track
                    .parent_uuid
                    .is_none_or(|parent| tracks.contains_key(&parent))
            );
            assert!(tracks.insert(uuid, track).is_none());
            continue;
        }
        let event = packet.track_event.expect("a packet holds something");
        let time = packet.timestamp.expect("a time");
        let track = &tracks[&event.track_uuid.expect("a track")];
        let track_name = track.name.clone().expect("a name");
        match event.r#type {
            Some(perfetto::TYPE_INSTANT) => {
                assert_eq!(track_name, "operations of pool 1");
                instants.push((time, event.name.clone().expect("a name"), event));
            }
            Some(perfetto::TYPE_COUNTER) => {
                let unit = track.counter.as_ref().and_then(|counter| counter.unit);
                assert_eq!(
                    unit == Some(perfetto::UNIT_SIZE_BYTES),
                    track_name.ends_with("_bytes")
                );
                counters.insert((track_name, time), event.counter_value.expect("a value"));
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(instants.len(), events().len());
    assert_eq!(
        (instants[0].0, instants[0].1.as_str()),
        (STARTED_NS + 7, "put stored")
    );
    let named = |event: &perfetto::TrackEvent, wanted: &str| {
        event
            .debug_annotations
            .iter()
            .find(|note| note.name.as_deref() == Some(wanted))
            .and_then(|note| note.uint_value)
    };
    assert_eq!(named(&instants[0].2, "bytes"), Some(1000));
    assert_eq!(named(&instants[5].2, "index"), None);
    assert_eq!(instants[5].1, "flush flushed");
    assert_eq!(
        counters[&("hit".to_owned(), STARTED_NS + 1_000_000_000)],
        10
    );
    assert_eq!(counters[&("used_bytes".to_owned(), STARTED_NS)], 1 << 20);
}
