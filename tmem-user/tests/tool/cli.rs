//! The `tmem` command as a user meets it: output, errors and exit codes.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};

use crate::support::FakeSysfs;

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn tmem(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(arguments)
        .output()
        .expect("the tool starts")
}

/// Compares with a text that stands in this file indented by four blanks.
fn assert_golden(got: &str, want: &str) {
    let want: String = want
        .lines()
        .skip(1)
        .map(|line| format!("{}\n", line.strip_prefix("    ").unwrap_or(line)))
        .collect();
    assert_eq!(got, want.trim_end_matches(' '));
}

#[test]
fn status_shows_state_and_tunables() {
    let fake = FakeSysfs::new();
    let output = fake.tmem(&["status"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    let (source, rest) = text.split_once('\n').expect("several lines");
    assert!(source.contains("tmem module on Linux"), "{source}");
    assert_golden(
        rest,
        "
    Accepts new pages   yes
    Memory              1.00 MiB of 100 MiB (1.0 %)
    Pages               1,000 (100 same-filled, 10 raw)
    Ratio               3.00 (page bytes / data bytes), 3.91 (page bytes / memory used)
    Pools               1

    Tunable                Value
    enabled                    1
    limit                    20%
    codec                    lz4
    keep_incompressible        1
    pools.0.codec        default
    pools.0.limit            max
    pools.0.weight           100
    pools.0.frozen             0
",
    );
}

#[test]
fn pools_are_listed_by_name() {
    let fake = FakeSysfs::new();
    fake.add_pool(4, "00112233445566778899aabbccddeeff", "ephemeral");
    fake.write("pools/4/limit", "67108864");
    let output = fake.tmem(&["pools"]);
    assert_eq!(output.status.code(), Some(0));
    assert_golden(
        &out(&output),
        "
    Pool                                  Id        Kind    Codec  Weight     Limit  Frozen  Pages      Data     Store  Ratio
    swap                                   0  persistent  default     100         -      no  1,000  1.17 MiB  1.18 MiB   3.00
    00112233-4455-6677-8899-aabbccddeeff   4   ephemeral  default     100  64.0 MiB      no  1,000  1.17 MiB  1.18 MiB   3.00
",
    );
}

#[test]
fn stats_say_what_is_not_measured() {
    let fake = FakeSysfs::new();
    let output = fake.tmem(&["stats", "--for", "10ms", "--no-ebpf"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    for line in [
        "Stores              0 (0/s), - of puts, 0 refused\n",
        "Hits                0 (0/s), - of gets, 0 missed\n",
        "Memory              1.00 MiB of 100 MiB (1.0 %)\n",
        "Disk writes avoided 0 pages (reads avoided: 0)\n",
        "not measured: latency (not asked for)\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn watching_prints_as_many_reports_as_asked_for() {
    let fake = FakeSysfs::new();
    for arguments in [
        ["stats", "--watch", "-n", "3", "--for", "10ms"],
        ["top", "--batch", "-n", "3", "--interval", "10ms"],
    ] {
        let text = out(&fake.tmem(&arguments));
        assert_eq!(text.matches("Measured for").count(), 3, "{text}");
    }
    let mut json = vec!["--json", "stats", "--watch", "-n", "2"];
    json.extend(["--for", "10ms"]);
    assert_eq!(out(&fake.tmem(&json)).lines().count(), 2);
}

#[test]
fn stats_run_a_command_and_end_with_its_code() {
    let fake = FakeSysfs::new();
    let script = "echo from the command; exit 7";
    let output = fake.tmem(&["--json", "stats", "--", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(7));
    assert!(err(&output).contains("from the command"));
    let object: serde_json::Value =
        serde_json::from_slice(&output.stdout).expect("only the report is on standard output");
    assert_eq!(object["command"]["exit_code"], 7);
    let output = fake.tmem(&["stats", "--", "sh", "-c", "kill -9 $$"]);
    assert_eq!(output.status.code(), Some(137));
    let output = fake.tmem(&["stats", "--", "/no/such/command"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("/no/such/command"));
}

#[test]
fn set_shows_old_and_new() {
    let fake = FakeSysfs::new();
    let output = fake.tmem(&["set", "limit=30%", "pool.swap.codec=zstd"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        out(&output),
        "limit: 20% -> 30%\npools.0.codec: default -> zstd\n"
    );
    assert_eq!(fake.read("limit"), "30%");
    assert_eq!(fake.read("pools/0/codec"), "zstd");
}

#[test]
fn set_changes_nothing_when_one_value_is_bad() {
    let fake = FakeSysfs::new();
    let output = fake.tmem(&["set", "limit=30%", "codec=lz5"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(out(&output), "");
    assert_eq!(
        err(&output),
        format!(
            "tmem: codec: value \"lz5\" is not allowed; allowed: one of: none lz4 zstd ({})\n",
            fake.path("codec").display()
        )
    );
    assert_eq!(fake.read("limit"), "20%");
}

#[test]
fn wrong_usage_ends_with_2() {
    let fake = FakeSysfs::new();
    for arguments in [
        &["no-such-command"][..],
        &["status", "--no-such-option"],
        &["set"],
        &["set", "limit"],
        &["set", "nonsense=1"],
        &["stats", "--for", "never"],
        &["stats", "--for", "0s"],
        &["stats", "--watch", "--", "true"],
        &["stats", "-n", "3"],
        &["top", "-n", "3"],
        &["status", "--workload", "random"],
        &["--color", "sometimes", "status"],
        &["drain", "--embedded"],
    ] {
        let output = fake.tmem(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(out(&output), "", "{arguments:?}");
        assert!(!err(&output).is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_missing_module_ends_with_3() {
    for command in [
        &["status"][..],
        &["stats"],
        &["pools"],
        &["set", "limit=1G"],
        &["drain"],
        &["top", "--batch"],
    ] {
        let mut arguments = vec!["--sysfs", "/no/such/directory"];
        arguments.extend(command);
        let output = tmem(&arguments);
        assert_eq!(output.status.code(), Some(3), "{command:?}");
        let text = err(&output);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("/no/such/directory"), "{text}");
        assert!(text.contains("modprobe tmem"), "{text}");
    }
}

#[test]
fn a_failure_ends_with_1_and_names_the_file() {
    let fake = FakeSysfs::new();
    fake.write("used_bytes", "many");
    let output = fake.tmem(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains(&fake.path("used_bytes").display().to_string()));
}

#[test]
fn help_tells_the_exit_codes() {
    let output = tmem(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = out(&output);
    for word in ["cannot measure", "missing rights", "--embedded", "drain"] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn colour_is_for_terminals_unless_asked_for() {
    let fake = FakeSysfs::new();
    assert!(!out(&fake.tmem(&["status"])).contains('\x1b'));
    assert!(!out(&fake.tmem(&["--color", "never", "status"])).contains('\x1b'));
    assert!(out(&fake.tmem(&["--color", "always", "status"])).contains("\x1b[32myes\x1b[0m"));
}

#[test]
fn a_reader_that_leaves_is_met_in_silence() {
    let fake = FakeSysfs::new();
    let mut child = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .arg("--sysfs")
        .arg(fake.root())
        .args(["stats", "--no-ebpf", "--watch", "--for", "10ms"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut first = [0; 6];
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut first).expect("a report");
    assert_eq!(&first, b"Source");
    drop(stdout);
    let output = child.wait_with_output().expect("the tool ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(err(&output), "");
}

#[test]
fn the_embedded_engine_needs_no_module() {
    let run = |arguments: &[&str]| {
        let mut all = vec!["--sysfs", "/no/such/directory", "--embedded"];
        all.extend(["--workload", "zipf:pages=1000,rate=0,mix=heap"]);
        all.extend(arguments);
        let output = tmem(&all);
        assert_eq!(output.status.code(), Some(0), "{}", err(&output));
        out(&output)
    };
    let text = run(&["status"]);
    assert!(
        text.starts_with("Source              embedded engine, zipf:pages=1000"),
        "{text}"
    );
    let text = run(&["pools"]);
    assert!(
        text.contains("swap") && text.contains("persistent"),
        "{text}"
    );
    let text = run(&["stats", "--for", "200ms"]);
    for word in ["put stored", "get hit", "p99.9"] {
        assert!(text.contains(word), "{text}");
    }
    let text = run(&["set", "limit=40%", "codec=none", "pool.swap.weight=7"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{text}");
    assert!(
        lines[0].starts_with("limit: ") && lines[0].ends_with(" -> 40%"),
        "{text}"
    );
    assert_eq!(lines[1], "codec: lz4 -> none");
    assert_eq!(lines[2], "pools.0.weight: 100 -> 7");
}

#[test]
fn the_embedded_engine_refuses_as_the_module_does() {
    for (change, words) in [
        ("codec=lz5", ["lz5", "none lz4"]),
        ("limit=101%", ["101%", "20%"]),
        ("nonsense=1", ["nonsense", "pools.0.codec"]),
    ] {
        let output = tmem(&["--embedded", "--workload", "scan:pages=100", "set", change]);
        assert_eq!(output.status.code(), Some(2), "{change}");
        for word in words {
            assert!(err(&output).contains(word), "{}", err(&output));
        }
    }
    let output = tmem(&["--embedded", "--workload", "walk", "status"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("zipf"), "{}", err(&output));
}

#[test]
fn the_dashboard_says_that_it_needs_a_terminal() {
    let output = tmem(&["--embedded", "--workload", "scan:pages=100", "top"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("terminal"), "{}", err(&output));
    assert_eq!(out(&output), "");
}
