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
fn files_are_listed_with_what_became_of_their_pages() {
    let workload = [
        "--embedded",
        "--workload",
        "zipf:pages=3000,rate=20000",
        "files",
    ];
    let files = |arguments: &[&str]| tmem(&[&workload, arguments].concat());
    let output = files(&["--for", "300ms", "--top", "2"]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let text = out(&output);
    let words = |line: usize| -> Vec<&str> {
        text.lines()
            .nth(line)
            .unwrap_or_default()
            .split_whitespace()
            .collect()
    };
    let heading = "name device inode hits misses hit_rate puts stored mount";
    assert_eq!(words(0).join(" "), heading);
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(words(1)[0].starts_with("file"), "{text}");

    let output = files(&[
        "--for",
        "300ms",
        "--csv",
        "-n",
        "-o",
        "name,hits,reads_avoided",
    ]);
    let text = out(&output);
    let rows: Vec<(u64, u64)> = text
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            let number = |at: usize| fields[at].parse().expect("a plain number");
            (number(1), number(2))
        })
        .collect();
    assert!(
        !rows.is_empty() && rows.is_sorted_by(|a, b| a.0 >= b.0),
        "{text}"
    );
    assert!(
        rows.iter().all(|(hits, bytes)| *bytes == hits * 4096),
        "{text}"
    );

    let output = files(&["-o", "name,size"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("size") && err(&output).contains("stored"));
    let output = files(&["--", "sh", "-c", "exit 7"]);
    assert_eq!(output.status.code(), Some(7));
}

#[test]
fn files_need_ebpf_and_say_so() {
    let output = FakeSysfs::new().tmem(&["files", "--for", "10ms"]);
    assert_eq!(output.status.code(), Some(3), "{}", out(&output));
    assert!(err(&output).contains("eBPF") || err(&output).contains("tracepoint"));
    assert_eq!(out(&output), "");
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
    name                                  id        kind    codec  weight     limit  frozen  pages      data     store  ratio
    swap                                   0  persistent  default     100         -       0  1,000  1.17 MiB  1.18 MiB   3.00
    00112233-4455-6677-8899-aabbccddeeff   4   ephemeral  default     100  64.0 MiB       0  1,000  1.17 MiB  1.18 MiB   3.00
",
    );
}

#[test]
fn tables_for_scripts_have_the_columns_asked_for() {
    let fake = FakeSysfs::new();
    let chosen = ["-o", "name,limit,ratio,hits"];
    let run = |arguments: &[&str]| out(&fake.tmem(&[&["pools"], &chosen[..], arguments].concat()));
    assert_eq!(run(&["--csv"]), "name,limit,ratio,hits\nswap,,3.000000,8\n");
    assert_eq!(run(&["--raw", "-n"]), "swap - 3.000000 8\n");
    assert_eq!(run(&["-n"]), "swap  -  3.00  8\n");
    let batch = ["top", "--batch", "-n", "2", "--interval", "10ms", "--csv"];
    let text = out(&fake.tmem(&[&batch[..], &["-o", "used,pages,put_p99"]].concat()));
    assert_eq!(text, "used,pages,put_p99\n1048576,1000,\n1048576,1000,\n");
    let text = out(&fake.tmem(&["stats", "--for", "10ms", "-o", "pages,used"]));
    assert_eq!(text, "pages           used\n1,000       1.00 MiB\n");
    for (command, known) in [(&["pools"][..], "weight"), (&["stats"], "hit_rate")] {
        let output = fake.tmem(&[command, &["-o", "nmae"]].concat());
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains("nmae") && err(&output).contains(known));
    }
}

#[test]
fn checks_end_with_what_came_out() {
    let embedded = |arguments: &[&str]| {
        let fixed = [
            "--embedded",
            "--workload",
            "zipf:pages=1000,rate=0",
            "check",
        ];
        tmem(&[&fixed[..], arguments].concat())
    };
    let held = embedded(&[
        "--min-hit-rate",
        "1%",
        "--max-p99-get",
        "1s",
        "--min-ratio",
        "0.5",
        "--for",
        "200ms",
    ]);
    assert_eq!(held.status.code(), Some(0), "{}{}", out(&held), err(&held));
    let text = out(&held);
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(
        text.contains(">= 1.0 %") && text.contains("<= 1.00 s"),
        "{text}"
    );
    assert!(text.ends_with("every condition held\n"), "{text}");

    let failed = embedded(&[
        "--min-ratio",
        "100000",
        "--max-p99-get",
        "1s",
        "--for",
        "200ms",
    ]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(out(&failed).contains("FAILED"));

    // The made-up module stands still, and is not observed.
    let fake = FakeSysfs::new();
    let blind = [
        "check",
        "--min-hit-rate",
        "0",
        "--max-p99-get",
        "1s",
        "--for",
        "10ms",
    ];
    let blind = fake.tmem(&blind);
    assert_eq!(blind.status.code(), Some(3));
    let text = out(&blind);
    assert!(
        text.contains("not measured: min-hit-rate (there were no gets)"),
        "{text}"
    );
    assert!(text.contains("not measured: max-p99-get ("), "{text}");
}

#[test]
fn a_check_counts_how_its_command_ends() {
    let fake = FakeSysfs::new();
    let check =
        |arguments: &[&str]| fake.tmem(&[&["check", "--min-ratio", "1"], arguments].concat());
    assert_eq!(check(&["--", "true"]).status.code(), Some(0));
    let failed = check(&["--", "sh", "-c", "echo loud; exit 7"]);
    assert_eq!(failed.status.code(), Some(1));
    assert_golden(
        &out(&failed),
        "
    Condition  Wanted  Measured  Verdict
    min-ratio  >= 1.00      3.91     held
    command       <= 0         7   FAILED
    failed
"
        .replace("Wanted  Measured  Verdict", " Wanted  Measured  Verdict")
        .as_str(),
    );
    assert!(err(&failed).contains("loud"));
    // A command that --for stops did not fail.
    let stopped = check(&["--for", "50ms", "--", "sleep", "1000"]);
    assert_eq!(stopped.status.code(), Some(0), "{}", out(&stopped));
}

#[test]
fn run_leaves_the_commands_output_and_code_alone() {
    let fake = FakeSysfs::new();
    let output = fake.tmem(&["run", "--no-ebpf", "--", "sh", "-c", "echo mine; exit 7"]);
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(out(&output), "mine\n");
    for words in [
        "Command             sh -c echo mine; exit 7\n",
        "exit code 7",
        "Peak memory",
    ] {
        assert!(err(&output).contains(words), "{}", err(&output));
    }
    let report = fake.path("report");
    let name = report.to_str().expect("UTF-8");
    let output = fake.tmem(&["run", "--json", "--report", name, "--", "true"]);
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
    let text = std::fs::read_to_string(&report).expect("a report");
    let object: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(object["command"]["argv"][0], "true");
    let output = fake.tmem(&["run", "--", "/no/such/command"]);
    assert_eq!(output.status.code(), Some(1));
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
        &["status", "--stock", "--embedded"],
        &["check"],
        &["check", "--for", "1s"],
        &["check", "--min-hit-rate", "60"],
        &["check", "--max-p99-get", "50"],
        &["run"],
        &["doctor", "--root", "/no/such/directory"],
        &["pools", "--csv", "--raw"],
        &["pools", "--csv", "--json"],
        &["top", "--csv"],
        &["set", "limit=min(ram, "],
        &["apply", "--root", "/", "file"],
        &["serve", "--listen", "9711"],
        &["man"],
        &["pageout"],
        &["pageout", "--pid", "0"],
        &["pageout", "--pid", "1", "--cgroup", "/"],
        &["pageout", "--pid", "1", "--bytes", "20%"],
        &["pageout", "--cgroup", "/", "--idle-for", "1s"],
        &["pageout", "--cgroup", "/no/such/cgroup"],
        &["pageout", "--pid", "2147483647"],
        &["pageout", "--pid", "1", "--embedded"],
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
        &["check", "--min-ratio", "1"],
        &["run", "--", "true"],
        &["save"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["apply", "--root", "/no/such/root"],
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
    assert_eq!(lines[1], "codec: adaptive -> none");
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
fn the_dashboards_configuration_is_checked_before_the_terminal_is_taken() {
    let fake = FakeSysfs::new();
    let template = fake.tmem(&["top", "--print-config"]);
    assert_eq!(template.status.code(), Some(0));
    fake.write("top.toml", &out(&template));
    let good = fake.path("top.toml").display().to_string();
    let output = fake.tmem(&["top", "--config", &good]);
    assert!(
        err(&output).contains("needs a terminal"),
        "{}",
        err(&output)
    );
    fake.write("bad.toml", "[keys]\nquit = \"hyper-q\"");
    let bad = fake.path("bad.toml").display().to_string();
    for (file, words) in [
        (bad.as_str(), "bad.toml:2:8: keys.quit"),
        ("/no/such", "/no/such"),
    ] {
        let output = fake.tmem(&["top", "--config", file]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(words), "{}", err(&output));
    }
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let output = tmem(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(out(&output).contains("show-config"), "{shell}");
    }
    assert_eq!(tmem(&["completions", "csh"]).status.code(), Some(2));
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("man");
    let name = path.to_str().expect("UTF-8");
    assert_eq!(tmem(&["man", name]).status.code(), Some(0));
    let page = |name: &str| std::fs::read_to_string(path.join(name)).expect(name);
    assert!(page("tmem.1").contains("Exit codes"));
    assert!(page("tmem-check.1").contains("min\\-hit\\-rate"));
    let output = tmem(&["man", "/proc/no"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("/proc/no"));
}

#[test]
fn the_dashboard_says_that_it_needs_a_terminal() {
    let output = tmem(&["--embedded", "--workload", "scan:pages=100", "top"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).contains("terminal"), "{}", err(&output));
    assert_eq!(out(&output), "");
}
