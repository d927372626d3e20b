//! `tmem cgroup` on a made-up module.

use crate::support::FakeSysfs;

/// A cgroup that is gone, with a limit, and one for which nothing was set.
fn fake() -> FakeSysfs {
    let fake = FakeSysfs::new();
    let lines = [
        "4000000001 default 1048576 10 20480 3 6144 7 2",
        "4000000002 default max 1 100 0 0 0 0",
    ];
    let lines = lines.map(|line| format!("{line:<255}"));
    fake.write("cgroups/list", &lines.join("\n"));
    fake.write("cgroups/weight", "");
    fake.write("cgroups/limit", "");
    fake
}

fn told(output: &std::process::Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn what_is_held_is_listed() {
    let fake = fake();
    let (code, out, _) = told(&fake.tmem(&["cgroup", "list", "--csv"]));
    assert_eq!(code, Some(0));
    assert_eq!(
        out,
        "\
cgroup,weight,limit,swap_pages,swap_bytes,file_pages,file_bytes,refused,evicted,id
id:4000000001,,1048576,10,20480,3,6144,7,2,4000000001
id:4000000002,,,1,100,0,0,0,0,4000000002
"
    );
    let (_, out, _) = told(&fake.tmem(&["cgroup", "list", "-n", "-o", "cgroup,limit"]));
    assert_eq!(out, "id:4000000001  1.00 MiB\nid:4000000002         -\n");
    fake.write("cgroups/list", "1 2 3");
    let (code, _, err) = told(&fake.tmem(&["cgroup", "list"]));
    assert_eq!(code, Some(1));
    assert!(
        err.contains("nine values") && err.contains("1 2 3"),
        "{err}"
    );
}

#[test]
fn what_was_set_is_a_tunable_but_is_not_saved_for_one_that_is_gone() {
    let fake = fake();
    let (_, status, _) = told(&fake.tmem(&["status"]));
    assert!(status.contains("cgroups.id:4000000001.limit"), "{status}");
    assert!(!status.contains("4000000002"), "{status}");
    let (_, saved, _) = told(&fake.tmem(&["save"]));
    assert!(!saved.contains("cgroups"), "{saved}");
}

#[test]
fn a_setting_is_written_with_the_id_and_read_back() {
    let fake = fake();
    let name = "id:4000000001";
    // It holds already.
    let (code, out, err) = told(&fake.tmem(&["cgroup", "set", name, "limit=512K + 512K"]));
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out, format!("cgroups.{name}.limit: 1M -> 1M\n"));
    assert_eq!(fake.read("cgroups/limit"), "4000000001 1M");
    // The made-up module does not take it: everything is written back.
    let (code, _, err) = told(&fake.tmem(&["cgroup", "set", name, "limit=2M", "weight=7"]));
    assert_eq!(code, Some(1));
    assert!(
        err.contains("wrote \"2M\"") && err.contains("reads back \"1M\""),
        "{err}"
    );
    assert_eq!(fake.read("cgroups/weight"), "");
}

#[test]
fn bad_input_is_told_and_changes_nothing() {
    let fake = fake();
    for (arguments, words) in [
        (
            &["set", "id:4000000001", "weight=0"][..],
            "allowed: 1 to 1000, or default",
        ),
        (&["set", "id:4000000001", "weight=1001"], "1001"),
        (&["set", "id:4000000001", "limit=10%"], "max"),
        (&["set", "id:4000000001", "limit=min(1"], "limit"),
        (
            &["set", "id:4000000001", "colour=1"],
            "cgroups.id:4000000001.weight",
        ),
        (
            &["set", "/no/such/cgroup", "weight=1"],
            "/no/such/cgroup: no such cgroup",
        ),
        (&["set", "id:0", "weight=1"], "id:0: no such cgroup"),
        (&["rm", "id:many"], "id:many: no such cgroup"),
        (&["set", "/a"], "KEY=VALUE"),
    ] {
        let (code, _, err) = told(&fake.tmem(&[&["cgroup"], arguments].concat()));
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        assert!(err.contains(words), "{arguments:?}: {err}");
    }
    assert_eq!(
        (fake.read("cgroups/weight"), fake.read("cgroups/limit")),
        (String::new(), String::new())
    );
    let older = FakeSysfs::new();
    let (code, _, err) = told(&older.tmem(&["cgroup", "list"]));
    assert_eq!(code, Some(3));
    assert!(err.contains("does not count by cgroup"), "{err}");
}
