//! zswap and zram of made-up kernels.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use tmem_common::op::Outcome;
use tmem_user::source::{Snapshot, Source as _, SourceError};
use tmem_user::stock::StockSource;

fn write(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().expect("below the root")).expect("directories");
    fs::write(path, format!("{text}\n")).expect("a file");
}

fn kernel() -> TempDir {
    let kernel = tempfile::tempdir().expect("a directory");
    let root = kernel.path();
    write(root, "proc/sys/kernel/osrelease", "6.12.107-amd64");
    write(
        root,
        "proc/meminfo",
        "MemTotal: 1024000 kB\nZswap: 4096 kB\nZswapped: 16384 kB",
    );
    write(
        root,
        "proc/vmstat",
        "pswpin 30\npswpout 40\nzswpin 500\nzswpout 6000\nzswpwb 7",
    );
    for (name, value) in [
        ("enabled", "Y"),
        ("compressor", "lzo-rle"),
        ("max_pool_percent", "20"),
    ] {
        write(root, &format!("sys/module/zswap/parameters/{name}"), value);
    }
    let device = "sys/block/zram0";
    write(root, &format!("{device}/disksize"), "1073741824");
    write(
        root,
        &format!("{device}/mm_stat"),
        "8192000 2048000 2150400 0 2150400 100 3 20 25",
    );
    write(root, &format!("{device}/io_stat"), "0 4 0 60");
    write(
        root,
        &format!("{device}/stat"),
        "10 0 80 1 2000 0 16000 9 0 0 0",
    );
    write(
        root,
        &format!("{device}/comp_algorithm"),
        "lzo lzo-rle lz4 [zstd]",
    );
    write(root, "sys/block/zram1/disksize", "0");
    kernel
}

fn snapshot(root: &Path) -> Snapshot {
    StockSource::new(root).snapshot().expect("readable")
}

#[test]
fn zswap_and_zram_are_read_as_pools() {
    let kernel = kernel();
    let seen = snapshot(kernel.path());
    let [zswap, zram] = seen.pools.as_slice() else {
        panic!("{:?}", seen.pools);
    };
    assert_eq!(
        (zswap.name(), zswap.codec.as_str()),
        ("zswap".into(), "lzo-rle")
    );
    assert_eq!((zswap.stats.pages, zswap.stats.data_bytes), (4096, 4 << 20));
    assert_eq!(zswap.limit_bytes, Some(10_240_000 * 20 * 1024 / 1000));
    assert_eq!(zswap.stats.outcomes[Outcome::Stored as usize], 6000);
    assert_eq!(zswap.stats.outcomes[Outcome::Hit as usize], 500);

    assert_eq!((zram.name(), zram.codec.as_str()), ("zram0".into(), "zstd"));
    assert_eq!((zram.stats.pages, zram.stats.data_bytes), (2000, 2_048_000));
    assert_eq!((zram.stats.same_pages, zram.stats.raw_pages), (100, 20));
    assert_eq!(zram.limit_bytes, Some(1 << 30));
    assert_eq!(zram.stats.outcomes[Outcome::Stored as usize], 2000);
    assert_eq!(zram.stats.outcomes[Outcome::Hit as usize], 10);
    assert_eq!(zram.stats.outcomes[Outcome::RefusedNoMemory as usize], 4);

    assert_eq!(seen.totals.pages, 6096);
    assert_eq!(seen.used_bytes, (4 << 20) + 2_150_400);
    assert_eq!(seen.disk.map(|disk| disk.swap_pages_read), Some(30));
    // debugfs is root's.
    assert!(
        seen.unmeasured
            .iter()
            .any(|part| part.what == "zswap refusals")
    );
    assert!(
        seen.notes
            .iter()
            .any(|note| note.contains("tmem would add"))
    );
}

#[test]
fn debugfs_tells_more_where_it_can_be_read() {
    let kernel = kernel();
    for (name, value) in [
        ("stored_pages", "5000"),
        ("pool_total_size", "6000000"),
        ("same_filled_pages", "70"),
        ("pool_limit_hit", "3"),
        ("reject_compress_poor", "11"),
        ("reject_compress_fail", "1"),
    ] {
        write(
            kernel.path(),
            &format!("sys/kernel/debug/zswap/{name}"),
            value,
        );
    }
    let seen = snapshot(kernel.path());
    let zswap = &seen.pools[0].stats;
    assert_eq!(
        (zswap.pages, zswap.data_bytes, zswap.same_pages),
        (5000, 6_000_000, 70)
    );
    assert_eq!(zswap.outcomes[Outcome::RefusedLimit as usize], 3);
    assert_eq!(zswap.outcomes[Outcome::RefusedIncompressible as usize], 12);
    assert!(
        !seen
            .unmeasured
            .iter()
            .any(|part| part.what.starts_with("zswap"))
    );
}

#[test]
fn a_kernel_with_neither_has_no_pools_and_says_what_that_means() {
    let kernel = kernel();
    write(kernel.path(), "sys/module/zswap/parameters/enabled", "N");
    write(kernel.path(), "proc/meminfo", "MemTotal: 1024000 kB");
    fs::remove_dir_all(kernel.path().join("sys/block")).expect("there");
    let seen = snapshot(kernel.path());
    assert!(seen.pools.is_empty() && !seen.enabled);
    assert!(seen.notes[0].contains("Neither"), "{:?}", seen.notes);
    let empty = tempfile::tempdir().expect("a directory");
    let error = StockSource::new(empty.path())
        .snapshot()
        .expect_err("no /proc");
    assert!(matches!(error, SourceError::Io { .. }), "{error}");
}

#[test]
fn every_command_that_looks_works_without_a_module() {
    let tmem = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tmem"))
            .arg("--stock")
            .args(arguments)
            .output()
            .expect("the tool starts");
        (
            output.status.code(),
            String::from_utf8(output.stdout).expect("UTF-8"),
            output.stderr,
        )
    };
    let (code, text, _) = tmem(&["status"]);
    assert_eq!(code, Some(0));
    assert!(
        text.contains("no tmem module") && text.contains("tmem would add"),
        "{text}"
    );
    for arguments in [
        &["pools", "--csv"][..],
        &["stats", "--for", "10ms"],
        &["top", "--batch", "-n", "1", "--interval", "10ms"],
    ] {
        assert_eq!(tmem(arguments).0, Some(0), "{arguments:?}");
    }
    let (code, _, message) = tmem(&["set", "limit=1G"]);
    assert_eq!(code, Some(3));
    assert!(String::from_utf8_lossy(&message).contains("modprobe tmem"));
    assert_eq!(tmem(&["drain"]).0, Some(2));
}
