//! The file-system stress: workers change files in every way there is, readers race
//! with them, memory is reclaimed all the while, and a model says of every byte what
//! it may be. The idea is that of fsx (Apple, 1991; in LTP and xfstests), with several
//! files, races, and the whole file system frozen, remounted and mounted anew.
//!
//! Each worker has files of its own, so what it does follows from the seed alone; what
//! readers and reclaim meet does not. The first thing that is wrong stops everybody.
//!
//! All go by the workers' operations and not by the clock, so that a slow machine meets as
//! much of the others as a fast one.

mod cell;
mod io;
mod model;
mod place;
mod reading;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use self::model::Inode;
use self::place::Abilities;
use self::reading::Reader;
use self::worker::Worker;
use crate::cgroup::Cgroup;
use crate::content::Rng;

pub(crate) use self::io::{
    clone_range, drop_pages, enable_verity, encrypt_folder, ext4_move, f2fs_move,
};
pub(crate) use self::place::{BASE, LOOP, Place, TOP, Top, clean_up};

/// Between two looks at how far the workers are.
const PAUSE: Duration = Duration::from_millis(2);

/// What is made wrong on purpose, to prove that it is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoil {
    /// One cell of the model.
    Model,
    /// One byte on the disk, under the file system.
    Disk,
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Of all random choices.
    pub(crate) seed: u64,
    /// Operations of all workers together.
    pub(crate) operations: u64,
    /// Workers.
    pub(crate) workers: usize,
    /// Files of each worker.
    pub(crate) files: usize,
    /// Longest a file gets, pages.
    pub(crate) pages: usize,
    /// Racing readers.
    pub(crate) readers: usize,
    /// Most reads that they do for each operation, all together.
    pub(crate) reads: u64,
    /// Operations from one reclaim to the next, on average.
    pub(crate) reclaim: usize,
    /// Operations from one disturbance to the next, on average.
    pub(crate) disturb: usize,
    /// Whether the file system is frozen, remounted and mounted anew.
    pub(crate) whole: bool,
    /// What is made wrong.
    pub(crate) spoil: Option<Spoil>,
}

/// What the stress tells its surroundings.
pub(crate) trait Surroundings: Sync {
    /// The file system was mounted anew.
    fn mounted(&self) -> Result<()>;
    /// Something to be done now and then while everything goes on.
    fn disturb(&self, rng: &mut Rng) -> Result<()>;
    /// Something to be done when the workers are done, before what is left is read again.
    fn settle(&self) -> Result<()>;
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    /// Operations of the workers.
    pub(crate) operations: u64,
    /// Reads of the racing readers.
    pub(crate) reads: u64,
    /// Pages compared by all.
    pub(crate) pages: u64,
    /// Times that something was done to the whole file system or the module.
    pub(crate) disturbances: u64,
}

/// A name and the file that has it now.
#[derive(Clone, Debug)]
struct Named {
    path: PathBuf,
    inode: Arc<Inode>,
}

/// Everything that the threads share.
///
/// Lock order: `gate`, then a slot (two only by the worker that owns both), then an inode.
struct World<'a> {
    plan: Plan,
    place: &'a Place,
    abilities: Abilities,
    start: Instant,
    /// Held for reading by whoever has a file open, for writing to unmount.
    gate: RwLock<()>,
    /// Worker `w` owns the slots from `w * plan.files` on. Locked while a name is looked up
    /// or given to another file.
    slots: Vec<Mutex<Named>>,
    stop: AtomicBool,
    failure: Mutex<Option<String>>,
    operations: AtomicU64,
    reads: AtomicU64,
    bytes: AtomicU64,
    disturbances: AtomicU64,
}

impl World<'_> {
    fn slot(&self, number: usize) -> MutexGuard<'_, Named> {
        self.slots[number]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until so many operations were done, or everybody stops.
    fn wait_for(&self, operations: u64) {
        while self.operations.load(Relaxed) < operations && !self.stopped() {
            std::thread::sleep(PAUSE);
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }

    /// Runs a thread's work; an error of it stops everybody.
    fn watch(&self, who: &str, work: impl FnOnce() -> Result<()>) {
        if let Err(error) = work() {
            let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
            // What others find after the first failure follows from it.
            failure.get_or_insert(format!("{who}: {error:#}"));
            self.stop.store(true, Relaxed);
        }
    }

    fn new_inode(&self, path: &Path) -> Arc<Inode> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Arc::new(Inode::new(
            name.into_owned(),
            self.plan.pages * reading::PAGE_CELLS,
            self.start,
        ))
    }
}

/// Runs the stress on `place`; the processes of `group` are reclaimed from.
pub(crate) fn run(
    plan: Plan,
    place: &Place,
    group: &Cgroup,
    surroundings: &dyn Surroundings,
) -> Result<Done> {
    let mut world = World {
        plan,
        place,
        abilities: place.abilities(),
        start: Instant::now(),
        gate: RwLock::new(()),
        slots: Vec::new(),
        stop: AtomicBool::new(false),
        failure: Mutex::new(None),
        operations: AtomicU64::new(0),
        reads: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        disturbances: AtomicU64::new(0),
    };
    for number in 0..plan.workers * plan.files {
        let path = place.folder().join(format!("f{number}"));
        std::fs::File::create_new(&path).with_context(|| path.display().to_string())?;
        let inode = world.new_inode(&path);
        world.slots.push(Mutex::new(Named { path, inode }));
    }
    let world = &world;
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.workers)
            .map(|number| {
                scope.spawn(move || {
                    world.watch(&format!("worker {number}"), || {
                        Worker::new(world, number)?.run()
                    });
                })
            })
            .collect();
        for number in 0..plan.readers {
            scope.spawn(move || {
                world.watch(&format!("reader {number}"), || {
                    Reader::new(world, number)?.run()
                });
            });
        }
        scope.spawn(|| world.watch("reclaim", || reclaim(world, group)));
        scope.spawn(|| world.watch("whole file system", || disturb(world, surroundings)));
        for worker in workers {
            // Its panic shows as the scope's.
            let _ = worker.join();
        }
        world.stop.store(true, Relaxed);
    });
    let failure = || {
        let failure = world.failure.lock().unwrap_or_else(PoisonError::into_inner);
        failure.clone()
    };
    if failure().is_none() {
        world.watch("at the end", || {
            // As it is, from what reclaim leaves, and from the disk.
            read_all(world)?;
            group.reclaim_all()?;
            read_all(world)?;
            surroundings.settle()?;
            place.mount_again()?;
            read_all(world)
        });
    }
    if let Some(why) = failure() {
        bail!(
            "{why} (operation {} of {})",
            world.operations.load(Relaxed),
            plan.operations
        );
    }
    Ok(Done {
        operations: world.operations.load(Relaxed),
        reads: world.reads.load(Relaxed),
        pages: world.bytes.load(Relaxed) / 4096,
        disturbances: world.disturbances.load(Relaxed),
    })
}

/// Reads every file whole.
fn read_all(world: &World<'_>) -> Result<()> {
    let mut reader = Reader::new(world, 0)?;
    for slot in 0..world.slots.len() {
        reader.whole(slot)?;
    }
    Ok(())
}

/// Takes clean pages from the group, a few or all, again and again. Mostly a few: what is
/// met by an operation is one page on its way, and all of them cost as much as many operations.
fn reclaim(world: &World<'_>, group: &Cgroup) -> Result<()> {
    let mut rng = Rng::new(world.plan.seed ^ 0x7ec1);
    let mut next = 0;
    while !world.stopped() {
        next += 1 + rng.below(2 * world.plan.reclaim) as u64;
        world.wait_for(next);
        if rng.below(3) == 0 {
            let _inside = world.enter();
            let folder = std::fs::File::open(place::BASE)?;
            io::sync_file_system(&folder).context("syncfs")?;
        }
        match rng.below(12) {
            0 => group.reclaim_all()?,
            _ => group.reclaim((1 + rng.below(64) as u64) * 4096)?,
        }
    }
    Ok(())
}

/// Does to the whole file system what can be done to it.
fn disturb(world: &World<'_>, surroundings: &dyn Surroundings) -> Result<()> {
    let mut rng = Rng::new(world.plan.seed ^ 0xd157);
    let mut next = 0;
    loop {
        next += 1 + rng.below(2 * world.plan.disturb) as u64;
        world.wait_for(next);
        if world.stopped() {
            return Ok(());
        }
        surroundings.disturb(&mut rng)?;
        world.disturbances.fetch_add(1, Relaxed);
        if !world.plan.whole {
            continue;
        }
        match rng.below(5) {
            0 => {
                let _alone = world.alone();
                world.place.remount()?;
            }
            1 => {
                let _alone = world.alone();
                world.place.mount_again()?;
                surroundings.mounted()?;
            }
            2 => {
                let _inside = world.enter();
                let folder = std::fs::File::open(place::BASE)?;
                io::freeze(&folder, true).context("freezing")?;
                // Readers go on; whoever writes waits.
                std::thread::sleep(Duration::from_millis(30));
                io::freeze(&folder, false).context("thawing")?;
            }
            3 => std::fs::write("/proc/sys/vm/drop_caches", "1").context("drop_caches")?,
            _ => {}
        }
    }
}
