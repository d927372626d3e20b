//! `tmem record` on the embedded engine and on a made-up module.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tmem_common::op::{Op, Outcome};
use tmem_user::embedded::EmbeddedSource;
use tmem_user::interval::Interval;
use tmem_user::recorded::RecordedSource;
use tmem_user::source::{ONLY_OF_THE_MODULE, Observed, Snapshot, Source as _, Unmeasured};
use tmem_user::trace::reader::{End, Reader};
use tmem_user::trace::record::{Meta, Reading, Record};
use tmem_user::trace::writer::Writer;
use tmem_user::workload::Spec;

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

/// A kernel's own zswap tells times only: a recording of it does not show empty lists of the rest.
#[test]
fn what_was_not_told_is_not_told_by_the_recording() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace");
    let told = |only_times| Snapshot {
        observed: Some(Observed {
            only_times,
            ..Observed::default()
        }),
        unmeasured: vec![Unmeasured {
            what: ONLY_OF_THE_MODULE,
            why: "made up".to_owned(),
        }],
        ..Snapshot::default()
    };
    for only_times in [false, true] {
        let mut writer = Writer::create(&path, &Meta::default()).expect("a trace");
        for _ in 0..2 {
            let reading = Reading::from(&told(only_times));
            writer.reading(&reading).expect("room");
        }
        writer.finish(7, None).expect("room");
        let mut recorded = RecordedSource::open(&path).expect("a recording");
        let snapshot = recorded.snapshot().expect("a reading");
        assert_eq!(snapshot.unmeasured[0].what, ONLY_OF_THE_MODULE);
        let interval = Interval::between(&snapshot, &snapshot);
        assert!(interval.cells.is_some());
        assert_eq!(interval.cgroups.is_none(), only_times);
        assert_eq!(interval.files.is_none(), only_times);
    }
}

/// What a source shows at each reading, it shows again from the recording.
#[test]
fn a_recording_shows_what_was_recorded() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace");
    let snapshots: Vec<Snapshot> = {
        let spec = Spec::parse("zipf:pages=2000,rate=20000").expect("a workload");
        let mut source = EmbeddedSource::start(&spec, 8).expect("an engine");
        let meta = Meta {
            source: source.describe(),
            sample_one_in: 8,
            interval_ns: 1,
            tunables: [("limit".to_owned(), "25%".to_owned())].into(),
            ..Meta::default()
        };
        let mut writer = Writer::create(&path, &meta).expect("a trace");
        let mut snapshots = Vec::new();
        for _ in 0..4 {
            std::thread::sleep(std::time::Duration::from_millis(50));
            let snapshot = source.snapshot().expect("a snapshot");
            for event in snapshot.observed.iter().flat_map(|all| &all.events) {
                writer.event(*event).expect("room");
            }
            writer.reading(&Reading::from(&snapshot)).expect("room");
            snapshots.push(snapshot);
        }
        snapshots
    };
    let mut recorded = RecordedSource::open(&path).expect("a recording");
    assert!(
        recorded
            .describe()
            .contains("a.trace: recording of embedded")
    );
    assert!(recorded.describe().contains("cut off"));
    let all = recorded.travel(0, 100).expect("it can");
    assert_eq!(all.snapshots.len(), 4);
    assert_eq!(all.since_start_ns, all.length_ns);
    for (then, now) in snapshots.iter().zip(&all.snapshots) {
        let mut then = then.clone();
        // Versions are not recorded; of the events the last.
        for pool in &mut then.pools {
            pool.version = 0;
        }
        let events = |snapshot: &mut Snapshot| {
            let observed = snapshot.observed.as_mut().expect("it was observed");
            observed.files.sort_by_key(|file| file.inode);
            let surplus = observed.events.len().saturating_sub(200);
            observed.events.drain(..surplus);
        };
        let mut now = now.clone();
        events(&mut then);
        events(&mut now);
        assert_eq!(then, now);
    }
    let earlier = recorded.travel(-2, 1).expect("it can");
    assert_eq!(earlier.snapshots, all.snapshots[1..2]);
    assert!(earlier.since_start_ns < earlier.length_ns);
    let taken = recorded.snapshot().expect("it stands").taken_ns;
    assert_eq!(taken, snapshots[1].taken_ns);
    let first = recorded.travel(-100, 100).expect("it can");
    assert_eq!((first.snapshots.len(), first.since_start_ns), (1, 0));
    assert_eq!(
        recorded.travel(100, 1).expect("it can").snapshots,
        all.snapshots[3..]
    );
    assert_eq!(recorded.tunables().expect("recorded")[0].value, "25%");
    let error = recorded.set("limit", "5%").expect_err("it is over");
    assert!(error.to_string().contains("recording"), "{error}");
}

#[test]
fn a_dashboard_of_what_is_no_recording_is_refused() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("a.trace");
    std::fs::write(&path, "limit = 5").expect("a file");
    let file = path.display().to_string();
    let output = tmem(&["top", &file]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        said.contains(&file) && said.contains("not a trace"),
        "{said}"
    );
    let output = tmem(&["--embedded", "top", &file]);
    assert_eq!(output.status.code(), Some(2));
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

/// Waits for what another process does.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..1200 {
        if done() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("no {what} after a minute");
}

fn span_ns(trace: &Trace) -> u64 {
    let last = trace.readings.last().expect("readings");
    last.time_ns - trace.readings[0].time_ns
}

#[test]
fn hindsight_writes_the_last_of_it_when_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = directory.path().join("a.trace");
    let mut child = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["--embedded", "--workload", "zipf:pages=2000,rate=20000"])
        .args(["record", "--hindsight", "500ms", "--interval", "50ms"])
        .args(["--sample", "1/1", "-o"])
        .arg(&output)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    let mut line = String::new();
    let stderr = child.stderr.take().expect("a pipe");
    BufReader::new(stderr).read_line(&mut line).expect("a line");
    let pid = child.id().to_string();
    assert!(line.contains(&format!("kill -USR1 {pid} ")), "{line}");
    let process = rustix::process::Pid::from_raw(pid.parse().expect("a number")).expect("not 0");
    let send = |signal| rustix::process::kill_process(process, signal).expect("it runs");
    // More than it is to keep.
    std::thread::sleep(Duration::from_millis(1500));
    for name in ["a.1.trace", "a.2.trace"] {
        send(rustix::process::Signal::USR1);
        let path = directory.path().join(name);
        wait_until(name, || path.exists());
        let trace = read(&path);
        let End::Whole(finish) = &trace.end else {
            panic!("{:?}", trace.end)
        };
        assert_eq!(finish.events, trace.events.len() as u64);
        assert!(span_ns(&trace) <= 500_000_000, "{}", span_ns(&trace));
        assert_eq!(trace.meta.started_ns, trace.readings[0].time_ns);
        let (first, last) = (
            &trace.readings[0].totals,
            &trace.readings[trace.readings.len() - 1].totals,
        );
        let counted = last.outcome(Outcome::Hit) - first.outcome(Outcome::Hit);
        let hits = trace.events.iter();
        let seen = hits
            .filter(|event| event.outcome == Outcome::Hit as u32)
            .count();
        // What a busy machine had no time to take over is counted.
        let dropped = trace.readings.last().expect("readings").events_dropped;
        assert!(seen as u64 <= counted && seen as u64 + dropped >= counted);
        assert!(seen > 0);
    }
    send(rustix::process::Signal::INT);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("a.2.trace") && said.contains("SIGUSR1"),
        "{said}"
    );
    assert!(!directory.path().join("a.trace").exists());
}

/// What a run with `arguments` wrote into a directory of its own, and how it ended.
fn hindsight(arguments: &[&str]) -> (Vec<String>, Output) {
    let directory = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_tmem"))
        .args(["--embedded", "--workload", "zipf:pages=2000,rate=20000"])
        .args(["record", "--hindsight", "10s", "--interval", "100ms"])
        .args(arguments)
        .current_dir(directory.path())
        .output()
        .expect("the tool starts");
    let files = std::fs::read_dir(directory.path()).expect("a directory");
    let mut names: Vec<String> = files
        .map(|file| file.expect("a file").file_name().display().to_string())
        .collect();
    names.sort();
    for name in &names {
        let trace = read(&directory.path().join(Path::new(name)));
        assert!(matches!(trace.end, End::Whole(_)), "{:?}", trace.end);
        assert!(trace.readings.len() >= 2);
    }
    (names, output)
}

#[test]
fn hindsight_is_written_once_when_a_condition_begins_to_fail() {
    // No page is ever kept a thousand times smaller, so it fails all the time.
    let (names, output) = hindsight(&["--min-ratio", "1000", "--duration", "1s"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(names, ["tmem.1.trace"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("--min-ratio"));
    let (names, _) = hindsight(&["--min-ratio", "0.001", "--duration", "1s"]);
    assert_eq!(names, Vec::<String>::new());
}

#[test]
fn hindsight_is_written_when_the_command_fails() {
    let (names, output) = hindsight(&["--", "sh", "-c", "sleep 0.3; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    assert_eq!(names, ["tmem.1.trace"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("exit code 7"), "{said}");
    let (names, output) = hindsight(&["--", "true"]);
    assert_eq!((names.len(), output.status.code()), (0, Some(0)));
}

#[test]
fn conditions_want_hindsight() {
    let output = tmem(&["--embedded", "record", "--max-refused", "5%"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        text.contains("--max-refused: conditions are for --hindsight"),
        "{text}"
    );
    let output = tmem(&["--embedded", "record", "--memory", "1M"]);
    assert_eq!(output.status.code(), Some(2));
}
