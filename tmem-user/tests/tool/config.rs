//! Configuration files made true: all of it, or nothing.

use std::path::Path;

use tmem_user::config::{Setting, parse, plan};
use tmem_user::live::{LiveOptions, LiveSource};
use tmem_user::source::{Change, Snapshot, Source, SourceError, Tunable, apply};

use crate::support::FakeSysfs;

fn err(output: &std::process::Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("UTF-8")
}

fn out(output: &std::process::Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// Writes a configuration beside the made-up module; its path.
fn write(fake: &FakeSysfs, text: &str) -> String {
    let path = fake.path("the.conf");
    std::fs::write(&path, text).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

const FILE: &str = "\
limit = \"64M\"
codec = \"zstd\"
keep_incompressible = false

[pools.swap]
limit = \"min(ram / 1000000, 1G) + 1M\"
weight = 100
";

#[test]
fn a_file_becomes_true_and_then_holds() {
    let fake = FakeSysfs::new();
    let file = write(&fake, FILE);
    let dry = fake.tmem(&["apply", &file, "--dry-run", "--diff"]);
    assert_eq!(dry.status.code(), Some(0), "{}", err(&dry));
    assert!(
        out(&dry).starts_with("-limit = \"20%\"\n+limit = \"64M\"\n"),
        "{}",
        out(&dry)
    );
    assert_eq!(fake.read("limit"), "20%");

    let done = fake.tmem(&["apply", &file]);
    assert_eq!(done.status.code(), Some(0), "{}", err(&done));
    let text = out(&done);
    assert!(
        text.starts_with("limit: 20% -> 64M\ncodec: lz4 -> zstd\n"),
        "{text}"
    );
    // The weight holds already.
    assert_eq!(text.lines().count(), 4, "{text}");
    let read = |name| fake.read(name);
    assert_eq!(
        (read("limit"), read("codec")),
        ("64M".into(), "zstd".into())
    );
    assert_eq!(read("keep_incompressible"), "0");
    assert!(
        read("pools/0/limit")
            .parse::<u64>()
            .is_ok_and(|bytes| bytes > 1 << 20)
    );

    let again = fake.tmem(&["apply", &file]);
    assert_eq!(out(&again), "nothing to change: 5 settings hold\n");
}

#[test]
fn a_bad_file_names_the_place_and_changes_nothing() {
    let fake = FakeSysfs::new();
    for (text, place, words) in [
        (
            "limit = \"64M\"\ncodec = \"lz5\"\n",
            ":2:9: ",
            "codec: value \"lz5\" is not allowed",
        ),
        (
            "limit = \"64M\"\ncolour = \"red\"\n",
            ":2:10: ",
            "unknown key \"colour\"",
        ),
        (
            "codec = \"zstd\"\nlimit = \"min(ram, \"\n",
            ":2:9: ",
            "at character 10",
        ),
        (
            "codec = \"zstd\"\n[pools.other]\nweight = 1\n",
            ":3:10: ",
            "pools.other.weight",
        ),
        ("codec = \"zstd\"\nlimit = \"64", ":2:", ""),
        (
            "codec = \"zstd\"\nlimit = 1.5\n",
            ":2:9: ",
            "a number with a point",
        ),
        ("codec = \"zstd\"\nlimit = \"0\"\n", ":2:9: ", "not allowed"),
    ] {
        let file = write(&fake, text);
        let output = fake.tmem(&["apply", &file]);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let message = err(&output);
        assert!(message.contains(&format!("{file}{place}")), "{message}");
        assert!(message.contains(words), "{message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(
            (fake.read("limit"), fake.read("codec")),
            ("20%".into(), "lz4".into())
        );
    }
    let output = fake.tmem(&["apply", "/no/such/file.conf"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("/no/such/file.conf"));
}

#[test]
fn what_is_saved_makes_the_same_state_again() {
    let fake = FakeSysfs::new();
    fake.add_pool(4, "00112233445566778899aabbccddeeff", "ephemeral");
    assert!(
        fake.tmem(&["set", "limit=ram/3", "pools.4.frozen=1"])
            .status
            .success()
    );
    assert!(fake.read("limit").parse::<u64>().is_ok() || fake.read("limit").ends_with('K'));
    let path = fake.path("saved.conf");
    let path = path.to_str().expect("UTF-8");
    assert!(fake.tmem(&["save", path]).status.success());
    let text = std::fs::read_to_string(path).expect("a file");
    assert!(
        text.contains("[pools.swap]\ncodec = \"default\"\n"),
        "{text}"
    );
    assert!(text.contains("frozen = true"), "{text}");
    assert_eq!(out(&fake.tmem(&["save"])), text);

    fake.write("limit", "20%");
    fake.write("pools/4/frozen", "0");
    let output = fake.tmem(&["apply", path]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(fake.read("pools/4/frozen"), "1");
    assert_ne!(fake.read("limit"), "20%");
    let output = fake.tmem(&["save", "/no/such/directory/file"]);
    assert_eq!(err(&output).lines().count(), 1);
}

#[test]
fn drop_ins_are_shown_with_their_origin_and_applied() {
    let fake = FakeSysfs::new();
    let root = tempfile::tempdir().expect("a directory");
    let put = |path: &str, text: &str| {
        let path = root.path().join(path);
        std::fs::create_dir_all(path.parent().expect("below")).expect("directories");
        std::fs::write(path, text).expect("a file");
    };
    put(
        "usr/lib/tmem.conf.d/10-a.conf",
        "limit = \"10%\"\ncodec = \"none\"\n",
    );
    put(
        "etc/tmem.conf.d/50-b.conf",
        "codec = \"zstd\"\n[pools.swap]\nweight = 7\n",
    );
    let name = root.path().to_str().expect("UTF-8");
    let shown = out(&fake.tmem(&["show-config", "--root", name]));
    assert_eq!(
        shown.replace(name, ""),
        "\
# read: /usr/lib/tmem.conf.d/10-a.conf
# read: /etc/tmem.conf.d/50-b.conf

# /usr/lib/tmem.conf.d/10-a.conf:1:9
limit = \"10%\"

# /etc/tmem.conf.d/50-b.conf:1:9
codec = \"zstd\"

[pools.swap]

# /etc/tmem.conf.d/50-b.conf:3:10
weight = \"7\"
"
    );
    let output = fake.tmem(&["apply", "--root", name]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(
        (fake.read("codec"), fake.read("limit")),
        ("zstd".into(), "10%".into())
    );
    assert_eq!(fake.read("pools/0/weight"), "7");
    // What is shown is itself such a file.
    let file = write(&fake, &shown);
    assert_eq!(
        out(&fake.tmem(&["apply", &file])),
        "nothing to change: 3 settings hold\n"
    );
}

/// What stands for a file system that takes part, and for one that does not: both are mounted
/// wherever tests run.
const KEPT: &str = "/proc";
const OTHER: &str = "/dev";

#[test]
fn a_mounts_section_sets_its_pool_and_is_saved_as_such() {
    let fake = FakeSysfs::new();
    fake.add_mounts_with(KEPT);
    let path = KEPT;
    let text =
        format!("[mounts.\"{path}\"]\nlimit = \"1M + 1M\"\nkeep = true\npolicy = \"s3fifo\"\n");
    let file = write(&fake, &text);
    let output = fake.tmem(&["apply", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    assert_eq!(
        out(&output),
        "pools.3.limit: max -> 2M\npools.3.policy: lru -> s3fifo\n"
    );
    assert_eq!(fake.read("pools/3/policy"), "s3fifo");
    // Nothing was added or removed: it was kept before.
    assert_eq!(fake.read("mounts/add"), "");
    let saved = out(&fake.tmem(&["save"]));
    let section = format!(
        "\n[mounts.\"{path}\"]\nkeep = true\ncodec = \"default\"\nlimit = \"2M\"\nweight = 100\n"
    );
    assert!(saved.contains(&section), "{saved}");
    assert!(!saved.contains("[pools.3]"), "{saved}");
    let file = write(&fake, &saved);
    let again = out(&fake.tmem(&["apply", &file]));
    assert!(again.starts_with("nothing to change"), "{again}");
    let shown = out(&fake.tmem(&["show-config", &file]));
    assert!(
        shown.contains(&format!("[mounts.\"{path}\"]\n\n# {file}:")),
        "{shown}"
    );
}

#[test]
fn a_bad_mounts_section_names_the_place_and_changes_nothing() {
    let fake = FakeSysfs::new();
    fake.add_mounts_with(KEPT);
    let path = KEPT;
    let other = OTHER;
    for (section, place, words) in [
        (
            format!("[mounts.\"{path}\"]\npolicy = \"best\""),
            ":3:10: ",
            "\"best\" is not allowed",
        ),
        (
            format!("[mounts.\"{path}\"]\ncolour = 1"),
            ":3:10: ",
            "unknown key",
        ),
        (
            format!("[mounts.\"{path}\"]\nkeep = \"yes\""),
            ":3:8: ",
            "allowed: 0 or 1",
        ),
        (
            "[mounts.\"/no/such\"]\nkeep = true\nttl = \"2h\"".to_owned(),
            ":4:7: ",
            "\"2h\" is not allowed",
        ),
        (
            "[mounts.\"/no/such\"]\npolicy = \"fifo\"".to_owned(),
            ":3:10: ",
            "`keep = true` beside it",
        ),
        (
            "[mounts.srv]\nkeep = true".to_owned(),
            ":3:8: ",
            "unknown key",
        ),
        (
            format!("[mounts.\"{other}\"]\npolicy = \"fifo\""),
            ":3:10: ",
            "`keep = true` beside it",
        ),
        (
            format!("[mounts.\"{other}\"]\nkeep = true\nmax_ratio = 101"),
            ":4:13: ",
            "\"101\" is not allowed",
        ),
        (
            format!("[mounts.\"{other}\"]\nkeep = true\nttl = \"2h\""),
            ":4:7: ",
            "\"2h\" is not allowed",
        ),
    ] {
        let file = write(&fake, &format!("limit = \"64M\"\n{section}\n"));
        let output = fake.tmem(&["apply", &file]);
        let message = err(&output);
        assert_eq!(output.status.code(), Some(2), "{section}: {message}");
        assert!(
            message.contains(&format!("{file}{place}")),
            "{section}: {message}"
        );
        assert!(message.contains(words), "{section}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
        assert_eq!(
            (fake.read("limit"), fake.read("mounts/add")),
            ("20%".into(), String::new())
        );
    }
}

/// Of what is not mounted the section waits, whatever directory stands there, and is told;
/// the rest holds.
#[test]
fn a_section_of_what_is_not_mounted_is_told_and_left_out() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    let directory = tempfile::tempdir().expect("a directory");
    for path in [directory.path().to_str().expect("UTF-8"), "/no/such"] {
        let file = write(
            &fake,
            &format!("limit = \"64M\"\n[mounts.\"{path}\"]\npolicy = \"fifo\"\nkeep = true\n"),
        );
        let output = fake.tmem(&["apply", &file]);
        let message = err(&output);
        assert_eq!(output.status.code(), Some(0), "{message}");
        assert_eq!(
            message,
            format!(
                "tmem: warn: {file}:4:8: {path}: nothing is mounted there; this section was left out\n"
            )
        );
        assert_eq!(out(&output), "limit: 20% -> 64M\n");
        assert_eq!(fake.read("mounts/add"), "");
        fake.write("limit", "20%");
        // By hand it is an error.
        let output = fake.tmem(&["set", &format!("mounts.{path}.keep=1")]);
        assert_eq!(output.status.code(), Some(2), "{}", err(&output));
    }
}

/// A file system is the one that is mounted there, not the one that was added by that path.
#[test]
fn what_takes_part_is_known_by_its_device() {
    let fake = FakeSysfs::new();
    fake.add_mounts_with(KEPT);
    let file = write(&fake, &format!("[mounts.\"{KEPT}\"]\nkeep = true\n"));
    let listed = fake.read("mounts/list");
    fake.write("mounts/list", &listed.replace(KEPT, "/by/another/path"));
    let output = fake.tmem(&["apply", &file]);
    assert!(
        out(&output).starts_with("nothing to change"),
        "{}",
        err(&output)
    );
    fake.write("mounts/list", &format!("254:77 ext4 3 {KEPT}"));
    let output = fake.tmem(&["apply", "--dry-run", &file]);
    assert!(
        out(&output).contains(&format!("mounts.{KEPT}.keep: 0 -> 1")),
        "{}",
        err(&output)
    );
}

/// The made-up module never lists what is added, as if adding had failed.
#[test]
fn what_fails_in_the_end_names_its_place_and_everything_is_set_back() {
    let fake = FakeSysfs::new();
    fake.add_mounts_with(KEPT);
    let path = KEPT;
    let other = OTHER;
    for text in [
        format!("limit = \"64M\"\n[mounts.\"{other}\"]\npolicy = \"fifo\"\nkeep = true\n"),
        format!("limit = \"64M\"\n[mounts.\"{path}\"]\npolicy = \"fifo\"\nkeep = false\n"),
    ] {
        let before = state(&fake);
        let file = write(&fake, &text);
        let output = fake.tmem(&["apply", &file]);
        let message = err(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.contains(&format!("{file}:4:8: mounts./")),
            "{message}"
        );
        assert_eq!(state(&fake), before, "{text}");
    }
    // The first was tried before all else, the second after it.
    assert_eq!(
        (fake.read("mounts/add"), fake.read("mounts/remove")),
        (other.to_owned(), path.to_owned())
    );
}

/// How an injected failure of a write looks.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Nothing was written.
    Refused,
    /// The value was written, and an error returned all the same.
    Taken,
}

/// A module whose `at`th write fails, counted from 0, and only that.
struct Faulty {
    inner: LiveSource,
    at: usize,
    fault: Fault,
    writes: usize,
}

impl Source for Faulty {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
        self.inner.snapshot()
    }

    fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError> {
        self.inner.tunables()
    }

    fn plan(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        self.inner.plan(key, value)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        let number = self.writes;
        self.writes += 1;
        if number != self.at {
            return self.inner.set(key, value);
        }
        if matches!(self.fault, Fault::Taken) {
            self.inner.set(key, value)?;
        }
        Err(SourceError::Failed("injected".into()))
    }
}

fn live(fake: &FakeSysfs) -> LiveSource {
    LiveSource::open(LiveOptions {
        root: fake.root().to_owned(),
        observe: false,
        sample_one_in: 0,
    })
    .expect("the made-up directory is complete")
}

fn state(fake: &FakeSysfs) -> Vec<String> {
    let tunables = live(fake).tunables().expect("readable");
    tunables
        .into_iter()
        .map(|tunable| format!("{}={}", tunable.key, tunable.value))
        .collect()
}

#[test]
fn after_any_failed_write_everything_is_as_before() {
    let settings: Vec<Setting> = parse(Path::new("f"), FILE).expect("well formed");
    for fault in [Fault::Refused, Fault::Taken] {
        for at in 0..5 {
            let fake = FakeSysfs::new();
            let before = state(&fake);
            let mut source = Faulty {
                inner: live(&fake),
                at,
                fault,
                writes: 0,
            };
            let (changes, _) = plan(&mut source, &settings).expect("in order");
            let wanted: Vec<_> = changes
                .into_iter()
                .map(|planned| (planned.change.key, planned.change.new))
                .collect();
            let result = apply(&mut source, &wanted);
            if at < wanted.len() {
                let error = result.expect_err("the injected one").to_string();
                assert_eq!(error, "injected", "{fault:?} at {at}");
                assert_eq!(state(&fake), before, "{fault:?} at {at}");
            } else {
                assert_eq!(result.expect("no failure").len(), wanted.len());
                assert_ne!(state(&fake), before);
            }
        }
    }
}

#[test]
fn what_could_not_be_set_back_is_named() {
    struct Stuck(LiveSource, usize);
    impl Source for Stuck {
        fn describe(&self) -> String {
            self.0.describe()
        }
        fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
            self.0.snapshot()
        }
        fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError> {
            self.0.tunables()
        }
        fn plan(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
            self.0.plan(key, value)
        }
        fn set(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
            self.1 += 1;
            if self.1 > 1 {
                return Err(SourceError::Failed(format!("stuck at {key}")));
            }
            self.0.set(key, value)
        }
    }
    let fake = FakeSysfs::new();
    let wanted = [("limit", "64M"), ("codec", "zstd")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    let error = apply(&mut Stuck(live(&fake), 0), &wanted).expect_err("stuck");
    assert_eq!(
        error.to_string(),
        "stuck at codec; and then could not set back limit (was \"20%\"): stuck at limit"
    );
}
