//! `tmem mount` on a made-up file side. What the kernel's errors mean is tested beside
//! the code that tells them apart; here is what the tool writes and how it ends.

use std::fs;
use std::process::Output;

use crate::support::FakeSysfs;

fn told(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn what_takes_part_is_listed() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    let output = fake.tmem(&["mount", "list"]);
    assert_eq!(output.status.code(), Some(0));
    let (out, _) = told(&output);
    let line = out.lines().nth(1).expect("a line below the names");
    assert!(line.contains("253:1"), "{line}");
    assert!(line.ends_with("3  /srv/a b"), "{line}");
    fs::write(fake.path("mounts/list"), "").expect("empty");
    let (out, _) = told(&fake.tmem(&["mount", "list"]));
    assert!(out.contains("no file system takes part"), "{out}");
}

#[test]
fn paths_are_written_whole_and_absolute() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    for (command, file) in [("add", "mounts/add"), ("rm", "mounts/remove")] {
        let output = fake.tmem(&["mount", command, "/proc/../proc"]);
        assert_eq!(output.status.code(), Some(0), "{:?}", told(&output));
        assert_eq!(fake.read(file), "/proc");
    }
}

/// Also where there is a directory: its file system would be another one than is meant.
#[test]
fn a_path_where_nothing_is_mounted_is_wrong_usage() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    let directory = tempfile::tempdir().expect("a directory");
    for path in ["/nonesuch", directory.path().to_str().expect("UTF-8")] {
        let output = fake.tmem(&["mount", "add", path]);
        assert_eq!(output.status.code(), Some(2));
        let (_, err) = told(&output);
        assert_eq!(
            err,
            format!(
                "tmem: {path}: nothing is mounted there; allowed: a directory on which a file \
                 system is mounted (findmnt lists them)\n"
            )
        );
        assert_eq!(fake.read("mounts/add"), "");
    }
}

#[test]
fn a_kernel_without_a_file_side_is_told() {
    let fake = FakeSysfs::new();
    let output = fake.tmem(&["mount", "list"]);
    assert_eq!(output.status.code(), Some(3));
    let (_, err) = told(&output);
    assert!(err.contains("swap pages only"), "{err}");
}

#[test]
fn a_bad_line_of_a_file_changes_nothing() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    let file = fake.path("wanted");
    fs::write(&file, "/usr\nhome\n").expect("a file");
    let name = file.to_str().expect("UTF-8");
    let output = fake.tmem(&["mount", "apply", name]);
    assert_eq!(output.status.code(), Some(2));
    let (_, err) = told(&output);
    assert!(
        err.contains("wanted:2: \"home\" is no absolute path"),
        "{err}"
    );
    assert_eq!(fake.read("mounts/add"), "");
}

#[test]
fn what_cannot_be_added_does_not_keep_out_the_rest() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    let file = fake.path("wanted");
    fs::write(&file, "# two\n/nonesuch\n\n/proc\n").expect("a file");
    let name = file.to_str().expect("UTF-8");
    let output = fake.tmem(&["mount", "apply", name]);
    assert_eq!(output.status.code(), Some(1));
    let (out, err) = told(&output);
    assert!(out.contains("/proc: added"), "{out}");
    assert!(err.contains("/nonesuch"), "{err}");
    assert_eq!(fake.read("mounts/add"), "/proc");
}
