//! Reading and changing the module's sysfs files, on a made-up directory.

use std::fs;

use crate::support::FakeSysfs;
use tmem_common::op::Outcome;
use tmem_user::control::Control;
use tmem_user::live::{LiveOptions, LiveSource};
use tmem_user::source::{PoolKind, Source as _, SourceError, apply};

fn open(fake: &FakeSysfs) -> Control {
    Control::open(fake.root()).expect("the made-up directory is complete")
}

#[test]
fn every_file_is_read() {
    let fake = FakeSysfs::new();
    fake.add_pool(7, "0011223344556677-8899aabbccddeeff", "ephemeral");
    fake.write("pools/7/limit", "1048576");
    fake.write("pools/7/frozen", "1");
    let control = open(&fake);
    let state = control.state().expect("readable");
    assert!(state.enabled);
    assert_eq!(state.codec, "lz4");
    assert_eq!(state.limit_bytes, 104_857_600);
    assert_eq!(state.used_bytes, 1_048_576);
    let totals = control.totals().expect("readable");
    assert_eq!((totals.pages, totals.same_pages), (1000, 100));
    assert_eq!(totals.moved_pages, 7);
    assert_eq!(totals.outcomes[Outcome::Evicted as usize], 12);
    let pools = control.pools().expect("readable");
    assert_eq!(pools.len(), 2);
    assert_eq!((pools[0].id, pools[0].name().as_str()), (0, "swap"));
    assert_eq!(pools[0].limit_bytes, None);
    assert_eq!(pools[1].id, 7);
    assert_eq!(pools[1].kind, PoolKind::Ephemeral);
    assert_eq!(pools[1].name(), "00112233-4455-6677-8899-aabbccddeeff");
    assert_eq!(pools[1].limit_bytes, Some(1 << 20));
    assert!(pools[1].frozen);
}

#[test]
fn a_change_is_written_and_told_as_old_and_new() {
    let fake = FakeSysfs::new();
    let control = open(&fake);
    for (key, value, full, old) in [
        ("limit", "512M", "limit", "20%"),
        ("enabled", "0", "enabled", "1"),
        ("pools.0.codec", "zstd", "pools.0.codec", "default"),
        ("pool.0.weight", "1000", "pools.0.weight", "100"),
        ("pool.swap.limit", "1G", "pools.0.limit", "max"),
        ("pool.swap.limit", "max", "pools.0.limit", "1G"),
    ] {
        let change = control.set(key, value).expect(key);
        assert_eq!(change.key, full);
        assert_eq!((change.old.as_str(), change.new.as_str()), (old, value));
        assert_eq!(fake.read(&full.replace('.', "/")), value);
    }
}

#[test]
fn a_bad_value_is_refused_before_anything_is_written() {
    let fake = FakeSysfs::new();
    let control = open(&fake);
    for (key, value) in [
        ("enabled", "yes"),
        ("enabled", ""),
        ("limit", "101%"),
        ("limit", "1T"),
        ("limit", "-1"),
        ("limit", "max"),
        ("codec", "lzo-rle"),
        ("codec", "default"),
        ("keep_incompressible", "2"),
        ("pools.0.weight", "0"),
        ("pools.0.weight", "1001"),
        ("pools.0.limit", "20%"),
        ("pools.0.frozen", "true"),
        ("pools.0.codec", "lz5"),
    ] {
        let file = key.replace('.', "/");
        let before = fake.read(&file);
        for result in [
            control.plan(key, value).map(|_| ()),
            control.set(key, value).map(|_| ()),
        ] {
            let error = result.expect_err(value);
            assert!(matches!(error, SourceError::BadValue { .. }), "{error}");
            let text = error.to_string();
            assert!(text.contains(&format!("{value:?}")), "{text}");
            assert!(text.contains("allowed: "), "{text}");
            let path = fake.path(&file).display().to_string();
            assert!(text.contains(&path), "{text}");
        }
        assert_eq!(fake.read(&file), before);
    }
}

#[test]
fn an_unknown_key_is_refused_with_those_that_exist() {
    let fake = FakeSysfs::new();
    let control = open(&fake);
    for key in [
        "nonsense",
        "limit_bytes",
        "codecs",
        "pools.1.codec",
        "pool.other.codec",
        "pools.0.kind",
        "pools.0",
        "../limit",
    ] {
        let error = control.set(key, "1").expect_err(key);
        assert!(matches!(error, SourceError::UnknownKey { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(key) && text.contains("pools.0.codec"),
            "{text}"
        );
    }
}

#[test]
fn several_changes_are_made_together_or_not_at_all() {
    let fake = FakeSysfs::new();
    let mut source = LiveSource::open(LiveOptions {
        root: fake.root().to_owned(),
        observe: false,
        sample_one_in: 0,
    })
    .expect("the made-up directory is complete");
    let wanted = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
        pairs
            .iter()
            .map(|&(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    };
    apply(&mut source, &wanted(&[("limit", "1G"), ("codec", "lz5")])).expect_err("lz5");
    assert_eq!(fake.read("limit"), "20%");
    let changes = apply(&mut source, &wanted(&[("limit", "1G"), ("codec", "zstd")]));
    assert_eq!(changes.expect("both are allowed").len(), 2);
    assert_eq!(
        (fake.read("limit"), fake.read("codec")),
        ("1G".into(), "zstd".into())
    );
    assert_eq!(source.tunables().expect("readable").len(), 8);
}

#[test]
fn a_missing_module_says_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let missing = directory.path().join("tmem");
    let error = Control::open(&missing).expect_err("nothing is there");
    let text = error.to_string();
    assert!(matches!(error, SourceError::Absent { .. }));
    assert!(
        text.contains("modprobe tmem") && text.contains("--embedded"),
        "{text}"
    );
    assert!(text.contains(&missing.display().to_string()), "{text}");
}

#[test]
fn another_version_of_the_interface_is_refused() {
    let fake = FakeSysfs::new();
    fake.write("abi", "2");
    let error = Control::open(fake.root()).expect_err("version 2");
    assert!(matches!(error, SourceError::WrongAbi { .. }));
    assert!(error.to_string().contains("version 2"), "{error}");
}

#[test]
fn a_missing_or_strange_file_is_named() {
    let fake = FakeSysfs::new();
    fs::remove_file(fake.path("pools/0/stats/hit")).expect("it was there");
    let text = open(&fake)
        .pools()
        .expect_err("a file is missing")
        .to_string();
    assert!(text.contains("pools/0/stats/hit"), "{text}");
    fake.write("used_bytes", "many");
    let text = open(&fake).state().expect_err("not a number").to_string();
    assert!(
        text.contains("used_bytes") && text.contains("\"many\""),
        "{text}"
    );
}
