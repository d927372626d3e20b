//! `tmem tune` on a made-up module whose counters run.

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::FakeSysfs;

/// Where the kernel does not measure pressure there is nothing to tune by.
fn has_pressure() -> bool {
    Path::new("/proc/pressure/memory").exists()
}

fn start(fake: &FakeSysfs, arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_tmem"))
        .arg("--sysfs")
        .arg(fake.root())
        .args(["tune", "--every", "50ms", "--max-pressure", "100%"])
        .args(arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the tool starts")
}

/// Lets puts be stored and refused until the tool says something; the line, and the rest.
fn until_it_speaks(fake: &FakeSysfs, mut child: Child, work: impl Fn(&FakeSysfs)) -> Vec<String> {
    let stdout = child.stdout.take().expect("piped");
    let reader = std::thread::spawn(move || {
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let first = lines.next();
        (first, lines.collect::<Vec<_>>())
    });
    let mut count: u64 = 1000;
    while !reader.is_finished() && child.try_wait().expect("it is ours").is_none() {
        count += 1000;
        for name in ["stored", "refused_limit", "hit"] {
            fake.replace(&format!("stats/{name}"), &count.to_string());
        }
        work(fake);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert!(child.wait().expect("it ends").success());
    let (first, rest) = reader.join().expect("no panic");
    first.into_iter().chain(rest).collect()
}

#[test]
fn each_change_is_told_with_its_reason_and_a_summary_ends_it() {
    if !has_pressure() {
        let fake = FakeSysfs::new();
        assert_eq!(fake.tmem(&["tune"]).status.code(), Some(3));
        return;
    }
    let fake = FakeSysfs::new();
    let child = start(
        &fake,
        &["--for", "2s", "--min-limit", "1M", "--max-limit", "104M"],
    );
    let lines = until_it_speaks(&fake, child, |_| {});
    assert!(
        lines[0].starts_with("limit: 20% -> 104M: the limit refused "),
        "{lines:?}"
    );
    assert!(
        lines
            .last()
            .is_some_and(|line| line.starts_with("summary: limit 100 MiB")),
        "{lines:?}"
    );

    let fake = FakeSysfs::new();
    let child = start(&fake, &["--for", "1s", "--dry-run", "--json"]);
    let lines = until_it_speaks(&fake, child, |_| {});
    assert!(lines[0].contains("\"what\":\"would_change\""), "{lines:?}");
    assert_eq!(fake.read("limit"), "20%");
}

#[test]
fn it_steps_aside_where_somebody_else_changes_the_limit() {
    if !has_pressure() {
        return;
    }
    let fake = FakeSysfs::new();
    // Bounds below the limit: the tool itself has nothing to change.
    let child = start(&fake, &["--max-limit", "1M", "--min-limit", "1M"]);
    let turn = std::cell::Cell::new(false);
    let lines = until_it_speaks(&fake, child, |fake| {
        // Another value each time, whichever the tool began with.
        turn.set(!turn.get());
        fake.replace("limit", if turn.get() { "33%" } else { "34%" });
    });
    assert!(lines[0].starts_with("stepping aside: limit: "), "{lines:?}");
    assert!(
        lines[0].ends_with(": somebody else changed the limit"),
        "{lines:?}"
    );
    assert!(lines[1].ends_with("stepped aside"), "{lines:?}");
    assert!(["33%", "34%"].contains(&fake.read("limit").as_str()));
}

#[test]
fn bounds_that_are_none_are_refused_and_pressure_is_needed() {
    let fake = FakeSysfs::new();
    for arguments in [
        &["--min-limit", "20%", "--max-limit", "10%"][..],
        &["--min-limit", "lots"],
        &["--max-limit", "min(ram"],
        &["--max-pressure", "11"],
        &["--every", "0s"],
    ] {
        let output = fake.tmem(&[&["tune"], arguments].concat());
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .next()
                .map(str::is_empty),
            Some(false)
        );
    }
    let output = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["--embedded", "--workload", "scan:pages=100", "tune"])
        .output()
        .expect("the tool starts");
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).contains("CONFIG_PSI"));
}

#[test]
fn a_service_manager_hears_when_it_is_ready_and_when_it_stops() {
    if !has_pressure() {
        return;
    }
    let fake = FakeSysfs::new();
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let ended = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .arg("--sysfs")
        .arg(fake.root())
        .args(["tune", "--for", "100ms", "--every", "50ms"])
        .env("NOTIFY_SOCKET", &path)
        .output()
        .expect("the tool starts");
    assert!(ended.status.success());
    socket.set_nonblocking(true).expect("a socket");
    let mut told = Vec::new();
    let mut buffer = [0; 256];
    while let Ok(bytes) = socket.recv(&mut buffer) {
        told.push(String::from_utf8_lossy(&buffer[..bytes]).trim().to_owned());
    }
    assert_eq!(told.first().map(String::as_str), Some("READY=1"));
    assert_eq!(told.last().map(String::as_str), Some("STOPPING=1"));
}
