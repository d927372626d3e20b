//! Everything the tool prints as JSON fits the published schema.

use crate::support::FakeSysfs;
use std::process::Command;

use serde_json::{Value, json};
use tmem_common::op::{Op, Outcome};
use tmem_user::histogram::Histogram;
use tmem_user::interval::Interval;
use tmem_user::json::{Body, CommandJson, Document, PageoutJson, StatsJson};
use tmem_user::pageout::{Memory, PagedOut};
use tmem_user::source::{
    CellSnapshot, CgroupSnapshot, DiskTraffic, Observed, PoolSnapshot, Pressure, Snapshot,
    Unmeasured,
};

const SCHEMA: &str = include_str!("../../../docs/reference/stats.schema.json");

fn check(line: &str) -> Result<Value, String> {
    let schema: Value = serde_json::from_str(SCHEMA).expect("the schema is JSON");
    let validator = jsonschema::validator_for(&schema).expect("the schema is a schema");
    let object: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let errors: Vec<String> = validator
        .iter_errors(&object)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    if errors.is_empty() {
        Ok(object)
    } else {
        Err(format!("{line}\n{}", errors.join("\n")))
    }
}

#[test]
fn every_command_prints_what_is_published() {
    let fake = FakeSysfs::new();
    fake.add_pool(3, "00112233445566778899aabbccddeeff", "ephemeral");
    fake.write("a.conf", "limit = \"ram / 2\"");
    let file = fake.path("a.conf").display().to_string();
    fake.add_mounts();
    for (arguments, kind) in [
        (&["status"][..], "status"),
        (&["pools"], "pools"),
        (&["stats", "--for", "10ms"], "stats"),
        (&["stats", "--no-ebpf", "--", "true"], "stats"),
        (
            &["top", "--batch", "-n", "1", "--interval", "10ms"],
            "stats",
        ),
        (&["--embedded", "files", "--for", "10ms"], "table"),
        (&["mount", "list"], "mounts"),
        (&["mount", "add", "/proc"], "mount_changes"),
        (&["mount", "rm", "/proc"], "mount_changes"),
        (&["set", "limit=30%", "pool.swap.codec=none"], "set"),
        (
            &["check", "--min-ratio", "1", "--max-pressure", "1"],
            "check",
        ),
        (&["check", "--min-hit-rate", "1", "--", "true"], "check"),
        (&["doctor"], "doctor"),
        (&["apply", &file], "apply"),
        (&["apply", "--dry-run", &file], "apply"),
        (&["show-config", &file], "config"),
    ] {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let output = fake.tmem(&all);
        let code = output.status.code();
        assert!(matches!(code, Some(0 | 1 | 3)), "{arguments:?}");
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(text.lines().count(), 1, "{arguments:?}");
        let object = check(&text).expect(kind);
        assert_eq!(object["kind"], kind);
    }
}

#[test]
fn the_embedded_engine_prints_what_is_published() {
    let output = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["--embedded", "--workload", "zipf:pages=1000,rate=0"])
        .args(["--json", "stats", "--for", "200ms"])
        .output()
        .expect("the tool starts");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let object = check(&text).expect("fits");
    let cells = object["interval"]["cells"].as_array().expect("observed");
    assert!(!cells.is_empty());
    assert!(object["interval"]["latency"]["put"]["p50_ns"].is_u64());
}

#[test]
fn what_was_paged_out_is_printed_as_published() {
    let result = PagedOut {
        before: Memory {
            resident: 8192,
            swapped: 0,
        },
        after: Memory {
            resident: 4096,
            swapped: 4096,
        },
        in_use: 7,
    };
    let mut interval = Interval::default();
    interval.outcomes[Outcome::Stored as usize] = 4;
    let body = PageoutJson::new("it".into(), &result, &interval, 8192);
    assert_eq!((body.paged_out_bytes, body.ratio), (4096, Some(2.0)));
    let line = Document::new(Body::Pageout(body))
        .to_line()
        .expect("numbers have a form");
    check(&line).expect("fits");
}

/// A stats object with everything in it that can be measured.
fn full_stats() -> String {
    let mut histogram = Histogram::default();
    histogram.record(1000);
    histogram.record(2_000_000);
    let mut pool = PoolSnapshot {
        limit_bytes: Some(1 << 20),
        weight: 100,
        ..PoolSnapshot::default()
    };
    pool.stats.pages = 3;
    pool.stats.data_bytes = 4096;
    let end = Snapshot {
        taken_ns: 2_000_000_000,
        pools: vec![pool],
        observed: Some(Observed {
            cells: vec![CellSnapshot {
                pool: 0,
                op: Op::Put,
                outcome: Outcome::Stored,
                count: 2,
                bytes: 2000,
                total_ns: 2_001_000,
                histogram,
            }],
            cgroups: vec![CgroupSnapshot {
                id: 7,
                path: Some("/a".to_owned()),
                op: Op::Get,
                outcome: Outcome::Hit,
                count: 1,
                bytes: 4096,
            }],
            ..Observed::default()
        }),
        disk: Some(DiskTraffic::default()),
        pressure: Some(Pressure::default()),
        unmeasured: vec![Unmeasured {
            what: "cells",
            why: "full".to_owned(),
        }],
        ..Snapshot::default()
    };
    let start = Snapshot {
        taken_ns: 1_000_000_000,
        disk: Some(DiskTraffic::default()),
        ..Snapshot::default()
    };
    let interval = Interval::between(&start, &end);
    let command = CommandJson {
        argv: vec!["true".to_owned()],
        exit_code: 0,
        wall_ns: 5,
        user_ns: 3,
        system_ns: 2,
        peak_resident_bytes: 1 << 20,
        major_faults: 1,
    };
    let stats = StatsJson::new("a source".to_owned(), &end, &interval, Some(command));
    Document::new(Body::Stats(Box::new(stats)))
        .to_line()
        .expect("numbers have a form")
}

#[test]
fn measured_latencies_are_published_in_their_form() {
    let object = check(&full_stats()).expect("fits");
    let put = &object["interval"]["latency"]["put"];
    assert_eq!(put["count"], 2);
    let p50 = put["p50_ns"].as_u64().expect("measured");
    assert!((750..=1250).contains(&p50), "{p50}");
    assert_eq!(object["interval"]["latency"]["get"]["p50_ns"], Value::Null);
    assert_eq!(object["interval"]["cells"][0]["histogram"][0]["count"], 1);
}

#[test]
fn a_drain_is_published_in_its_form() {
    let drained = Document::new(Body::Drain {
        devices: vec!["/dev/vda"],
        pages_before: 5,
        pages_after: 0,
        enabled: true,
    });
    check(&drained.to_line().expect("numbers have a form")).expect("fits");
}

#[test]
fn the_schema_refuses_what_is_not_published() {
    let good: Value = serde_json::from_str(&full_stats()).expect("JSON");
    let refused = |change: fn(&mut Value)| {
        let mut bad = good.clone();
        change(&mut bad);
        check(&bad.to_string()).is_err()
    };
    assert!(refused(|stats| stats["schema"] = json!("tmem/2")));
    assert!(refused(|stats| stats["kind"] = json!("status")));
    assert!(refused(|stats| stats["surprise"] = json!(1)));
    assert!(refused(|stats| stats["used_bytes"] = json!(-1)));
    assert!(refused(|stats| stats["interval"]["hit_share"] = json!(1.5)));
    assert!(refused(
        |stats| stats["interval"]["cells"][0]["op"] = json!("steal")
    ));
    assert!(refused(|stats| {
        stats["interval"]["cells"][0]["surprise"] = json!(1);
    }));
    assert!(!refused(|_| {}));
}
