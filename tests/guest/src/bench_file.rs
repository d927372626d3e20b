//! The file bench: the same files are read and reclaimed again and again under each way of
//! keeping their pages, and the CPU time that all tasks of the machine took is counted. On a
//! machine that counts instructions as time, a nanosecond is an instruction.
//!
//! Then a load like that of a database: fio reads single pages of the files, some more often
//! than others, with the same memory in all, once with a part of it given to the module.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tmem_common::op::Outcome;
use tmem_common::{PAGE_SIZE, sysfs};
use tmem_tests::counting::{self, Marker};
use tmem_tests::file_set::{self, FILE_PAGES, FILES};

use crate::bench::{classes, cpu_ns};
use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::scenarios::programs::{self, Memory};
use crate::stress::{BASE, Place, Top};
use crate::{process, sys, tier};

/// The way without the module.
const WITHOUT: &str = "module not loaded";
/// Rounds that count; one more comes before.
const ROUNDS: usize = 11;
/// Memory of the group that reads, MiB: more than the files.
const GROUP_MIB: u64 = 128;
/// What is read at a time, bytes.
const STEP: usize = 128 << 10;
/// The scenario whose disk is used.
const DISK: &str = "file_reread";
/// The scenario whose disk is the other file system of the same kind, and where it is mounted.
const OTHER_DISK: &str = "file_ext4_1k";
const OTHER: &str = "/mnt/other";
/// Of all pages, one in so many may stay in memory when all are to go.
const LEFT_OVER: u64 = 50;

/// Memory of the load that is like a database's, MiB: the group's, or a part of it the group's and the rest the
/// module's.
const RANDOM_MIB: u64 = 32;
const RANDOM_GROUP_MIB: u64 = 16;
/// What it reads: five times the files.
const RANDOM_READS: &str = "--io_size=240m";

/// Measures all ways, one after the other.
pub(crate) fn run(context: &Context) -> Result<()> {
    let context = &context.of(DISK)?;
    let place = Place::new(context, Top::Nothing)?;
    file_set::write(Path::new(BASE), context.seed).context("writing the files")?;
    let report = |way: &str| measure(context, &place, way);

    report(WITHOUT)?;
    tier::load("").context("loading the module")?;
    tier::set(sysfs::LIMIT, "50%")?;
    report("nothing added")?;
    // A kernel whose file systems do not take part refuses it.
    let mounts_of = |file: &str, path| tier::try_set(&format!("{}/{file}", sysfs::MOUNTS), path);
    let mounts = |file: &str| mounts_of(file, BASE);
    let (other, disk) = context.of(OTHER_DISK)?.disk()?;
    sys::mount_disk(&disk, OTHER, other.kind(), other.mount_options())
        .context("mounting the other file system")?;
    if mounts_of(sysfs::MOUNTS_ADD, OTHER).is_ok() {
        report("another added")?;
        mounts_of(sysfs::MOUNTS_REMOVE, OTHER).context("removing the other file system")?;
        mounts(sysfs::MOUNTS_ADD).context("adding it")?;
        let default = tier::attribute(sysfs::CODEC)?;
        for codec in ["none", "lz4", &default] {
            tier::set(sysfs::CODEC, codec)?;
            report(&format!("added, {codec}"))?;
        }
        mounts(sysfs::MOUNTS_REMOVE).context("removing it")?;
        report("removed")?;
        tier::ensure_empty()?;

        random(context, &place, "off", RANDOM_MIB)?;
        mounts(sysfs::MOUNTS_ADD).context("adding it")?;
        let rest = RANDOM_MIB - RANDOM_GROUP_MIB;
        tier::set(sysfs::LIMIT, &format!("{rest}M"))?;
        random(context, &place, "on", RANDOM_GROUP_MIB)?;
        mounts(sysfs::MOUNTS_REMOVE).context("removing it")?;
    }
    tier::ensure_empty()?;
    tier::unload().context("unloading the module")?;
    sys::unmount(OTHER).context("unmounting the other file system")?;
    // What all are compared with has twice the chance to meet little that disturbs.
    report(WITHOUT)?;
    place.unmount()
}

/// The page cache keeps nothing of the files, and so does the module.
fn drop_caches() -> Result<()> {
    fs::write("/proc/sys/vm/drop_caches", "3").context("dropping caches")
}

/// Reads the files; every page is compared if there is a seed.
fn read_files(files: &[File], buffer: &mut [u8], compare: Option<u64>) -> Result<()> {
    let mut wanted = [0; PAGE_SIZE];
    for (file, mut from) in files.iter().enumerate() {
        from.rewind()?;
        let mut index = 0;
        while index < FILE_PAGES {
            let pages = (FILE_PAGES - index).min(buffer.len() / PAGE_SIZE);
            let bytes = &mut buffer[..pages * PAGE_SIZE];
            from.read_exact(bytes)?;
            if let Some(seed) = compare {
                for (i, page) in bytes.as_chunks::<PAGE_SIZE>().0.iter().enumerate() {
                    let index = index + i;
                    file_set::page(&mut wanted, seed, file, index);
                    ensure!(*page == wanted, "bad page {index} of file {file}");
                }
            }
            index += pages;
        }
    }
    Ok(())
}

/// Does what it is told, one byte a command, until `q`: `r` reads, `c` reads and compares, `o` has all
/// pages reclaimed.
fn serve(group: &Cgroup, orders: &mut UnixStream, seed: u64) -> Result<()> {
    // Kept open: the kernel drops inodes that nobody uses when it reclaims all, and pages go with their inode.
    let files = (0..FILES)
        .map(|file| File::open(file_set::path(Path::new(BASE), file)).context("a file"))
        .collect::<Result<Vec<_>>>()?;
    group.enter()?;
    let mut buffer = vec![0; STEP];
    let mut order = [0];
    // When the other side's end is closed it has said why.
    while orders.read_exact(&mut order).is_ok() && order != *b"q" {
        match order[0] {
            b'o' => group.reclaim_all()?,
            order => read_files(&files, &mut buffer, (order == b'c').then_some(seed))?,
        }
        orders.write_all(&order)?;
    }
    Ok(())
}

/// Measures one way, which is set up, and reports it.
fn measure(context: &Context, place: &Place, way: &str) -> Result<()> {
    counting::bits(&classes()?).for_each(Marker::execute);
    drop_caches()?;
    let group = Cgroup::new("bench", GROUP_MIB)?;
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let worker = process::spawn(|| serve(&group, &mut theirs, context.seed))?;
    let mut ask = |order: u8| -> Result<f64> {
        std::thread::sleep(Duration::from_millis(300));
        let before = cpu_ns()?;
        Marker::Phase.execute();
        ours.write_all(&[order])?;
        ours.read_exact(&mut [0]).context("the reader has ended")?;
        // What it left to others to do.
        std::thread::sleep(Duration::from_millis(300));
        Marker::Phase.execute();
        Ok((cpu_ns()? - before) as f64 / (FILES * FILE_PAGES) as f64)
    };
    let result = (|| -> Result<()> {
        let (mut read, mut reclaim) = (Vec::new(), Vec::new());
        let mut sectors = 0;
        for round in 0..=ROUNDS {
            let before = place.sectors()?.0;
            let read_ns = ask(b'r')?;
            let after = place.sectors()?.0;
            let reclaim_ns = ask(b'o')?;
            let left = group.file_pages()?;
            ensure!(
                left * LEFT_OVER <= (FILES * FILE_PAGES) as u64,
                "{left} pages stayed in memory"
            );
            if round > 0 {
                sectors += after - before;
                read.push(read_ns);
                reclaim.push(reclaim_ns);
            }
        }
        ask(b'c')?;
        context.data(json!({
            "way": way,
            "read_ns": read,
            "reclaim_ns": reclaim,
            "pages": FILES * FILE_PAGES,
            "sectors": sectors as f64 / ROUNDS as f64,
        }));
        Ok(())
    })();
    // The worker may have ended by an error of its own, which says more.
    let _ = ours.write_all(b"q");
    drop(ours);
    worker.join()?;
    result
}

/// Has fio read single pages in a group of so much memory, and reports it.
fn random(context: &Context, place: &Place, way: &str, mib: u64) -> Result<()> {
    drop_caches()?;
    let files: Vec<String> = (0..FILES)
        .map(|file| {
            file_set::path(Path::new(programs::FILES), file)
                .display()
                .to_string()
        })
        .collect();
    let files = format!("--filename={}", files.join(":"));
    let seed = context.seed.to_string();
    let hits = || -> Result<u64> { Ok(tier::Stats::read()?.outcome(Outcome::Hit)) };
    let (sectors, before) = (place.sectors()?.0, hits()?);
    let said = programs::run(
        context,
        Memory::Limit(mib),
        "fio",
        &[
            "--name=random",
            "--readonly",
            "--thread",
            "--rw=randread",
            "--random_distribution=zipf:0.8",
            "--bs=4k",
            "--ioengine=psync",
            "--invalidate=0",
            "--file_service_type=random",
            "--norandommap",
            "--output-format=json",
            &files,
            RANDOM_READS,
            "--randseed",
            &seed,
        ],
    )?;
    let fio: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
    let job = &fio["jobs"][0]["read"];
    context.data(json!({
        "random": way,
        "reads": job["total_ios"],
        "iops": job["iops"],
        "mib": mib,
        "sectors": place.sectors()?.0 - sectors,
        "hits": hits()? - before,
    }));
    Ok(())
}
