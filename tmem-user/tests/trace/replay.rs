//! Import, replay and miss-ratio curves, by the command.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tmem_user::workload::Random;

fn tmem(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(arguments)
        .output()
        .expect("the tool starts")
}

/// The rows that a command prints with `--json`.
fn rows(arguments: &[&str]) -> Vec<Value> {
    let mut all = vec!["--json"];
    all.extend(arguments);
    let output = tmem(&all);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    let object: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(object["table"], arguments[0]);
    object["rows"].as_array().expect("rows").clone()
}

fn fail(arguments: &[&str], code: i32, words: &str) {
    let output = tmem(arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {output:?}"
    );
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains(words), "{arguments:?}: {text}");
}

struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }
}

fn number(row: &Value, column: &str) -> f64 {
    row[column]
        .as_f64()
        .unwrap_or_else(|| panic!("{column}: {row}"))
}

/// A CSV file of requests, and each object as a number.
fn write_csv(path: &Path, requests: u64, objects: u64) -> Vec<u64> {
    let mut random = Random::new(9);
    let ids: Vec<u64> = (0..requests)
        .map(|_| random.below(objects).min(random.below(objects)))
        .collect();
    let mut text = "when;what;how much\n".to_owned();
    for (number, id) in ids.iter().enumerate() {
        text.push_str(&format!(
            "{};object {id};{}\n",
            number as f64 / 10.0,
            500 + id % 7
        ));
    }
    fs::write(path, text).expect("a file");
    ids
}

#[test]
fn a_csv_trace_is_imported_and_replayed() {
    let files = Files::new();
    let (csv, trace) = (files.name("a.csv"), files.name("a.trace"));
    let ids = write_csv(&files.path("a.csv"), 4000, 300);
    let imported = rows(&[
        "import",
        &csv,
        "--format",
        "csv",
        "--delimiter",
        ";",
        "--id",
        "what",
        "--time",
        "when",
        "--size",
        "how much",
        "-o",
        &trace,
    ]);
    assert_eq!(number(&imported[0], "events"), 4000.0);
    let distinct = ids.iter().collect::<std::collections::HashSet<_>>().len();

    // Everything fits: only the first request for each object misses.
    let all = rows(&["replay", &trace, "--limit", "64M"]);
    assert_eq!(all.len(), 1);
    assert_eq!(number(&all[0], "gets"), 4000.0);
    assert_eq!(number(&all[0], "hits"), 4000.0 - distinct as f64);
    assert_eq!(number(&all[0], "evicted"), 0.0);

    let several = [
        "replay",
        &trace,
        "--limit",
        "128K,192K,64M",
        "--codec",
        "recorded,none",
        "--threads",
        "3",
    ];
    let table = rows(&several);
    assert_eq!(table.len(), 6);
    assert!(number(&table[0], "hits") <= number(&table[2], "hits"));
    assert!(number(&table[2], "hits") <= number(&table[4], "hits"));
    assert!(
        number(&table[1], "hits") < number(&table[0], "hits"),
        "{table:?}"
    );
    assert!(number(&table[1], "evicted") > 0.0);
    let policies = [
        "replay",
        &trace,
        "--limit",
        "128K",
        "--policy",
        "lru,fifo,clock,s3fifo,sieve,2q",
    ];
    let by_policy = rows(&policies);
    assert_eq!(by_policy.len(), 6);
    assert_eq!(by_policy[0]["hits"], table[0]["hits"]);
    assert_eq!(by_policy[4]["policy"], "sieve");
    assert!(number(&by_policy[0], "hits") != number(&by_policy[1], "hits"));
    let curve = rows(&[
        "mrc", &trace, "--policy", "sieve", "--exact", "--points", "5",
    ]);
    for (row, next) in curve.iter().zip(&curve[1..]) {
        assert!(number(row, "miss_rate") >= number(next, "miss_rate") - 0.05);
        assert_eq!(number(row, "error"), 0.0);
    }
    // What a sample costs in accuracy is said when it is asked for.
    for sample in [["--sample", "1/3"], ["--pages", "100"]] {
        let arguments = [&["mrc", &trace, "--exact"][..], &sample].concat();
        let text = String::from_utf8(tmem(&arguments).stdout).expect("UTF-8");
        let (_, error) = text
            .split_once("mean absolute error ")
            .unwrap_or_else(|| panic!("{text}"));
        let (error, _) = error.split_once(',').expect("a number and what it is of");
        let error: f64 = error.parse().expect("a number");
        assert!(error > 0.0 && error < 0.1, "{sample:?}: {error}");
    }
    // The same again, but for the time.
    let mut again = rows(&several);
    for (row, before) in again.iter_mut().zip(&table) {
        row["wall"] = before["wall"].clone();
    }
    assert_eq!(again, table);
}

#[test]
fn oracle_general_comes_back_as_it_was() {
    let files = Files::new();
    let (first, trace) = (files.name("a.oracle"), files.name("a.trace"));
    let mut bytes = Vec::new();
    let ids = [7_u64, 1 << 60, 7, 9, 7];
    let next = [2_i64, -1, 4, -1, -1];
    for (number, (id, next)) in ids.iter().zip(next).enumerate() {
        bytes.extend_from_slice(&(number as u32).to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
        bytes.extend_from_slice(&1234_u32.to_le_bytes());
        bytes.extend_from_slice(&next.to_le_bytes());
    }
    fs::write(&first, &bytes).expect("a file");
    rows(&["import", &first, "--format", "oracle-general", "-o", &trace]);
    let output = tmem(&["export", &trace, "--format", "oracle-general"]);
    assert_eq!(output.stdout, bytes);
    fs::write(&first, &bytes[..50]).expect("a file");
    fail(
        &["import", &first, "--format", "oracle-general", "-o", &trace],
        1,
        "record 2 has 2 of 24 bytes",
    );
}

/// Records the made-up machine.
fn record(trace: &str, workload: &str, duration: &str) {
    let output = tmem(&[
        "--embedded",
        "--workload",
        workload,
        "record",
        "-o",
        trace,
        "--sample",
        "1/1",
        "--duration",
        duration,
    ]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn what_if_at_the_recorded_setting_is_what_was() {
    let files = Files::new();
    // Where most puts are refused, some, and next to none.
    for (pattern, limit) in [("zipf", 8), ("zipf", 15), ("zipf", 25), ("uniform", 8)] {
        let trace = files.name(&format!("{pattern}-{limit}.trace"));
        let workload = format!("{pattern}:pages=2000,rate=0,limit={limit}");
        // A busy machine takes longer for as many gets.
        let table = ["1s", "4s", "30s"].iter().find_map(|duration| {
            record(&trace, &workload, duration);
            let table = rows(&["replay", &trace]);
            (number(&table[1], "gets") >= 3000.0).then_some(table)
        });
        let table = table.expect("3000 gets within 30 seconds");
        assert_eq!(table[0]["what"], "recorded");
        assert_eq!(number(&table[0], "limit"), number(&table[1], "limit"));
        let (was, is) = (number(&table[0], "hit_rate"), number(&table[1], "hit_rate"));
        let what = format!("{pattern}, {limit} %: recorded {was}, replayed {is}");
        assert!((was - is).abs() <= 0.02, "{what}");
    }
}

#[test]
fn a_smaller_budget_hits_less_often() {
    let files = Files::new();
    let trace = files.name("a.trace");
    record(&trace, "zipf:pages=2000,rate=0,limit=25", "1s");
    let table = rows(&["replay", &trace, "--limit", "25%,10%"]);
    let (is, less) = (number(&table[1], "hit_rate"), number(&table[2], "hit_rate"));
    // However little a busy machine got done, it is too much for that.
    assert!(less < is, "{table:?}");
    assert!(number(&table[1], "cpu") > 0.0);

    let curve = rows(&["mrc", &trace, "--exact", "--points", "10"]);
    assert_eq!(curve.len(), 10);
    for (row, next) in curve.iter().zip(&curve[1..]) {
        assert!(number(row, "miss_rate") >= number(next, "miss_rate"));
        assert_eq!(number(row, "error"), 0.0);
    }
}

#[test]
fn settings_are_replayed_side_by_side() {
    let files = Files::new();
    let trace = files.name("a.trace");
    record(&trace, "zipf:pages=2000,rate=0,limit=25", "1s");
    let arguments = [
        "replay",
        &trace,
        "--limit",
        "256M,512M,1G",
        "--policy",
        "lru,s3fifo,sieve",
        "--codec",
        "lz4,zstd",
    ];
    let table = rows(&arguments);
    assert_eq!(table.len(), 1 + 18);
    // What was recorded, then for a limit lz4 with each policy, then zstd.
    let (lz4, zstd) = (&table[1], &table[4]);
    let begins =
        |row: &Value, name: &str| row["codec"].as_str().is_some_and(|c| c.starts_with(name));
    assert!(
        begins(lz4, "lz4=1.") && begins(zstd, "zstd=0."),
        "{table:?}"
    );
    assert!(number(zstd, "used") < number(lz4, "used"), "{table:?}");
    assert!(number(zstd, "cpu") > number(lz4, "cpu"), "{table:?}");

    let output = tmem(&arguments);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (_, plot) = text.split_once("\n\n").expect("a plot below the table");
    let lines: Vec<&str> = plot.lines().collect();
    // A heading, and for each of six curves a title and three limits.
    assert_eq!(lines.len(), 1 + 6 * 4, "{plot}");
    for title in ["hit rate", "memory at the end", "CPU"] {
        assert!(lines[0].contains(title), "{plot}");
    }
    assert!(lines[1].starts_with("lru, lz4=1."), "{plot}");
    assert!(lines[2].trim_start().starts_with("256 MiB  █"), "{plot}");
    // Where a program reads it, there is the table alone.
    let mut raw = arguments.to_vec();
    raw.push("--csv");
    let csv = String::from_utf8(tmem(&raw).stdout).expect("UTF-8");
    assert_eq!(csv.lines().count(), 1 + 19, "{csv}");
}

#[test]
fn two_recordings_stand_side_by_side() {
    let files = Files::new();
    let record = |name: &str, limit: u32| {
        let workload = format!("uniform:pages=2000,limit={limit},rate=20000");
        let arguments = ["--embedded", "--workload", &workload, "record"];
        let output = tmem(
            &[
                &arguments[..],
                &[
                    "-o",
                    &files.name(name),
                    "--sample",
                    "0",
                    "--duration",
                    "500ms",
                ],
            ]
            .concat(),
        );
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        files.name(name)
    };
    let (small, large) = (record("a.trace", 15), record("b.trace", 60));
    let table = rows(&["compare", &small, &large]);
    let figure = |name: &str, column| {
        let row = table.iter().find(|row| row["figure"] == name);
        number(row.unwrap_or_else(|| panic!("no {name}")), column)
    };
    assert_eq!(figure("limit", "ratio"), 4.0);
    assert!(figure("hit_rate", "b") > figure("hit_rate", "a"));
    assert!(figure("refused", "a") > 0.0);
    assert!(figure("get_p99", "a") >= figure("get_p50", "a"));
    fail(&["compare", &small, &files.name("none")], 1, "No such file");

    fs::write(files.path("c.csv"), "1\n").expect("a file");
    let imported = files.name("c.trace");
    rows(&[
        "import",
        &files.name("c.csv"),
        "--format",
        "csv",
        "-o",
        &imported,
    ]);
    fail(
        &["compare", &imported, &small],
        1,
        "fewer than two readings",
    );
}

#[test]
fn bad_requests_get_one_clear_error() {
    let files = Files::new();
    let (csv, trace) = (files.name("a.csv"), files.name("a.trace"));
    fs::write(files.path("a.csv"), "id,size\n1,100\n2,many\n").expect("a file");
    let import = |more: &[&'static str], words| {
        let mut all = vec!["import", &csv, "--format", "csv", "-o", &trace];
        all.extend(more);
        fail(&all, 1, words);
    };
    import(
        &["--id", "id", "--size", "size"],
        "line 3: size \"many\" is no number",
    );
    import(&["--id", "name"], "no column \"name\"; there are id, size");
    import(&["--id", "5"], "no column 5");
    fail(&["replay", &csv], 1, "not a trace");
    fail(&["replay", &files.name("none")], 1, "No such file");

    fs::write(files.path("b.csv"), "1\n2\n1\n").expect("a file");
    rows(&[
        "import",
        &files.name("b.csv"),
        "--format",
        "csv",
        "-o",
        &trace,
    ]);
    fail(&["replay", &trace], 2, "--limit is wanted");
    fail(&["replay", &trace, "--limit", "10%"], 2, "how much memory");
    fail(&["replay", &trace, "--limit", "x"], 2, "256M or 20%");
    fail(
        &["replay", &trace, "--limit", "1M", "--codec", "zstd"],
        2,
        "does not tell which codec made its sizes",
    );
    fail(
        &["replay", &trace, "--limit", "1M", "--codec", "gzip"],
        2,
        "lz4, lzo-rle, px64, adaptive, zstd, or a name with a factor",
    );
    fail(&["mrc", &trace, "--pages", "0"], 2, "at least one page");
    fail(
        &["mrc", &trace, "--pages", "9", "--policy", "sieve"],
        2,
        "--sample 1/N",
    );
    fail(
        &["replay", &trace, "--limit", "1M", "--policy", "best"],
        2,
        "lru, fifo, clock, s3fifo, sieve, 2q",
    );
}
