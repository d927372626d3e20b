//! `tmem advise` and `tmem report` on recordings of the embedded engine.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn tmem(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(arguments)
        .output()
        .expect("the tool starts")
}

fn record(path: &Path) {
    let file = path.display().to_string();
    let output = tmem(&[
        "--embedded",
        "--workload",
        "zipf:pages=4000,rate=20000",
        "record",
        "--sample",
        "1/1",
        "--interval",
        "200ms",
        "-o",
        &file,
        "--",
        "sleep",
        "1",
    ]);
    assert!(output.status.success(), "{output:?}");
}

fn rows(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    said["rows"].as_array().expect("rows").clone()
}

#[test]
fn too_small_a_budget_is_to_grow() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace");
    record(&path);
    let file = path.display().to_string();
    let rows = rows(&tmem(&["--json", "advise", &file, "--limit", "1M"]));
    let names: Vec<&str> = rows
        .iter()
        .filter_map(|row| row["setting"].as_str())
        .collect();
    assert_eq!(names, ["limit", "codec", "policy", "admission"]);
    let number = |row: &Value, name: &str| -> f64 {
        let text = row[name].as_str().expect("a text");
        text.trim_start_matches('\u{b1}').parse().expect("a number")
    };
    // What is best depends on how much a busy machine got done.
    let commands = ["tmem set limit=2M", "tmem set limit=4M"];
    let command = rows[0]["command"].as_str().expect("a command");
    assert!(commands.contains(&command), "{rows:?}");
    let gain = number(&rows[0], "hit_rate");
    assert!(gain > number(&rows[0], "uncertainty"), "{rows:?}");
    assert!(number(&rows[0], "memory_mib") > 0.0, "{rows:?}");
}

#[test]
fn a_policy_that_scans_do_not_harm_is_advised() {
    let directory = tempfile::tempdir().expect("a directory");
    let name = |name: &str| directory.path().join(name).display().to_string();
    let (csv, trace) = (name("a.csv"), name("a.trace"));
    // The same pages twice, and then as many as push them out that never come again.
    let mut text = "id\n".to_owned();
    for round in 0..10 {
        let again = (0..1000).chain(0..1000);
        let once = (1 + round) * 10_000..(1 + round) * 10_000 + 1500;
        for page in again.chain(once) {
            text.push_str(&format!("{page}\n"));
        }
    }
    fs::write(&csv, text).expect("a file");
    let import = [
        "import", &csv, "--format", "csv", "--id", "id", "-o", &trace,
    ];
    assert!(tmem(&import).status.success());
    let rows = rows(&tmem(&["--json", "advise", &trace, "--limit", "8M"]));
    let policy = rows.iter().find(|row| row["setting"] == "policy");
    let policy = policy.unwrap_or_else(|| panic!("{rows:?}"));
    let advice = policy["advice"].as_str().expect("a text");
    assert!(advice.ends_with(" instead of lru"), "{rows:?}");
    let gain = policy["hit_rate"].as_str().expect("a text");
    assert!(gain.parse::<f64>().expect("a number") > 5.0, "{rows:?}");
    // It is of no pool that could be set.
    assert!(policy["command"].is_null(), "{rows:?}");
}

#[test]
fn more_than_enough_is_left_alone() {
    let rows = rows(&tmem(&[
        "--embedded",
        "--workload",
        "zipf:pages=2000,rate=20000,limit=100",
        "--json",
        "advise",
        "--duration",
        "1s",
        "--sample",
        "1/1",
    ]));
    assert_eq!(rows.len(), 4, "{rows:?}");
    for row in &rows[1..] {
        assert!(row["command"].is_null(), "{rows:?}");
    }
    // Where a busy machine got so little done that a quarter nearly holds it, less may do.
    let memory = rows[0]["memory_mib"].as_str().expect("a text");
    assert!(
        rows[0]["command"].is_null() || memory.starts_with('-'),
        "{rows:?}"
    );
}

#[test]
fn what_cannot_be_judged_is_one_clear_error() {
    let output = tmem(&["--embedded", "advise", "--sample", "0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace").display().to_string();
    tmem(&[
        "--embedded",
        "record",
        "--sample",
        "0",
        "--duration",
        "300ms",
        "-o",
        &path,
    ]);
    let output = tmem(&["advise", &path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains(&path),
        "{output:?}"
    );
}

#[test]
fn a_report_is_one_page_with_what_was_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace");
    record(&path);
    let file = path.display().to_string();
    let whole = tmem(&["report", &file]);
    assert!(whole.status.success(), "{whole:?}");
    let page = String::from_utf8(whole.stdout).expect("UTF-8");
    for wanted in [
        "Miss-ratio curve",
        "Hit rate",
        "keep_incompressible",
        "sleep 1",
        "ephemeral",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
    assert!(!page.contains("class=\"warn\""), "{page}");
    for outside in ["<script", "http:", "https:", "src=", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }

    // Cut off: what is left, and that it was cut off.
    let bytes = std::fs::read(&path).expect("the trace");
    std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).expect("room");
    let page_file = directory.path().join("page.html");
    let cut = tmem(&["report", &file, "-o", &page_file.display().to_string()]);
    assert!(cut.status.success(), "{cut:?}");
    let page = std::fs::read_to_string(&page_file).expect("a page");
    assert!(page.contains("class=\"warn\""), "{page}");
}
