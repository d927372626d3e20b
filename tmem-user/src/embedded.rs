//! The engine inside this process, as a [`Source`]: a made-up machine touches
//! pages, throws some out of its small memory into tmem and gets them back, and
//! every page that comes back is compared with what it must hold.
//!
//! The machine has two pools as a real one has: `swap` (persistent) for anonymous
//! pages and `files` (ephemeral, a hit removes the page) for pages of files. Its
//! RAM, of which percentages are taken, is as large as all pages of the workload.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tmem_common::codec::{CODEC_DEFAULT, Codec};
use tmem_common::event::{Event, WHOLE_OBJECT};
use tmem_common::op::{Op, Outcome};
use tmem_common::policy::{ADMIT_ALL, ADMIT_REFAULTED, Policy, admission_of};
use tmem_common::sample::{is_sampled, threshold};
use tmem_common::{PAGE_SIZE, sysfs};
use tmem_kmod::userspace::{EmbeddedEngine, Options};
use tmem_kmod::{POOL_EXCLUSIVE_GET, POOL_PERSISTENT, PoolError, PoolInfo, PoolSpec, Report};

use crate::control::{Form, meaning};
use crate::histogram::Histogram;
use crate::source::{
    CellSnapshot, Change, DiskTraffic, FileSnapshot, Observed, OwnCost, PoolKind, PoolSnapshot,
    Snapshot, Source, SourceError, Tunable, Unmeasured, pool_name,
};
use crate::system;
use crate::units::{Size, parse_size};
use crate::workload::{Contents, PageBytes, Random, Spec, Touches, WorkloadError};

/// Pages of one file.
const FILE_PAGES: u32 = 256;

/// One touch in this many cuts a file off.
const TOUCHES_PER_TRUNCATION: u64 = 8192;

/// Touches that the worker does before it looks up.
const BATCH: u64 = 200;

/// Sampled events that wait to be read: about as many as the eBPF ring buffer holds.
const EVENTS: usize = 16_384;

/// Codecs that the engine has without a kernel around it.
const CODECS: [Codec; 4] = [Codec::None, Codec::Lz4, Codec::Px64, Codec::Adaptive];

/// Why the embedded engine could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The workload cannot be had.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
    /// A thread cannot be started.
    #[error("starting a thread of the embedded engine: {0}")]
    Thread(#[from] io::Error),
    /// The engine refused a pool.
    #[error("creating a pool in the embedded engine: {0}")]
    Pool(#[from] PoolError),
}

/// The embedded engine with its workload running.
pub struct EmbeddedSource {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<()>>,
    cpu_ns_at_start: u64,
}

struct Shared {
    machine: Mutex<Machine>,
    /// Readers that want the machine; the worker lets them.
    visitors: AtomicUsize,
    stop: AtomicBool,
}

impl EmbeddedSource {
    /// Sets the engine up, touches each page about twice, and lets the workload
    /// go on in a thread. One page in `sample_one_in` gives events; 0: none.
    ///
    /// # Errors
    /// When the workload's corpus cannot be read, or no thread can be started.
    pub fn start(spec: &Spec, sample_one_in: u32) -> Result<Self, EmbeddedError> {
        let cpu_ns_at_start = system::process_cpu_ns();
        let mut machine = Machine::new(spec, sample_one_in)?;
        machine.run(2 * u64::from(spec.pages));
        let shared = Arc::new(Shared {
            machine: Mutex::new(machine),
            visitors: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        });
        let rate = spec.rate;
        let worker = thread::Builder::new().name("tmem-workload".into()).spawn({
            let shared = Arc::clone(&shared);
            move || work(&shared, rate)
        })?;
        Ok(Self {
            shared,
            worker: Some(worker),
            cpu_ns_at_start,
        })
    }

    fn visit(&self) -> Visit<'_> {
        self.shared.visitors.fetch_add(1, Ordering::Relaxed);
        Visit {
            machine: self.shared.lock(),
            visitors: &self.shared.visitors,
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machine, held by a reader.
struct Visit<'a> {
    machine: MutexGuard<'a, Machine>,
    visitors: &'a AtomicUsize,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.visitors.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs the workload at `rate` touches per second (0: as fast as it goes).
fn work(shared: &Shared, rate: u32) {
    let started = Instant::now();
    let mut done: u64 = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        if shared.visitors.load(Ordering::Relaxed) > 0 {
            // The lock is not fair: without a pause a reader would wait long.
            thread::sleep(Duration::from_micros(100));
            continue;
        }
        if rate > 0 {
            let due = (started.elapsed().as_secs_f64() * f64::from(rate)) as u64;
            if due < done + BATCH.min(rate.into()) {
                thread::sleep(Duration::from_millis(10));
                continue;
            }
            // What could not be done in time is not caught up with.
            done = done.max(due.saturating_sub(u64::from(rate)));
        }
        let mut machine = shared.lock();
        if machine.failure.is_some() {
            return;
        }
        machine.run(BATCH);
        done += BATCH;
    }
}

impl Drop for EmbeddedSource {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            // A panic of the thread has been printed already.
            let _ = worker.join();
        }
    }
}

impl Source for EmbeddedSource {
    fn describe(&self) -> String {
        format!("embedded engine, {}", self.visit().machine.spec)
    }

    fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
        let mut snapshot = self.visit().machine.snapshot()?;
        if self.worker.as_ref().is_none_or(JoinHandle::is_finished) {
            return Err(failed("the workload ended by itself"));
        }
        snapshot.cost = OwnCost {
            cpu_ns: system::process_cpu_ns().saturating_sub(self.cpu_ns_at_start),
            resident_bytes: system::resident_bytes(),
            programs_ns: None,
        };
        Ok(snapshot)
    }

    fn take_events(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        let mut visit = self.visit();
        visit.machine.check_failure()?;
        events.extend(visit.machine.meters.events.drain(..));
        Ok(())
    }

    fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError> {
        let visit = self.visit();
        let knobs = visit.machine.knobs()?;
        Ok(knobs.into_iter().map(|knob| knob.tunable).collect())
    }

    fn plan(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        let knob = self.visit().machine.find(key, value)?;
        Ok(knob
            .form
            .change(knob.tunable.key, knob.tunable.value, value))
    }

    fn ram_bytes(&mut self) -> Result<u64, SourceError> {
        Ok(self.visit().machine.ram_bytes())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        self.visit().machine.set(key, value)
    }
}

/// A tunable and what it stands for.
struct Knob {
    tunable: Tunable,
    form: Form,
    what: What,
}

#[derive(Clone, Copy)]
enum What {
    Enabled,
    Limit,
    Codec,
    KeepIncompressible,
    PoolCodec(u32),
    PoolLimit(u32),
    PoolWeight(u32),
    PoolFrozen(u32),
    PoolPolicy(u32),
    PoolAdmission(u32),
    PoolMaxRatio(u32),
    PoolTtl(u32),
}

/// The made-up machine.
struct Machine {
    spec: Spec,
    contents: Contents,
    engine: EmbeddedEngine,
    /// The clock of pages that have a time to live.
    started: Instant,
    random: Random,
    anonymous: Side,
    files: Side,
    meters: Meters,
    touches: u64,
    enabled: bool,
    keep_incompressible: bool,
    codec: Codec,
    /// The limit as it was set.
    limit: String,
    /// A page that came back wrong, or did not come back. Nothing runs after it.
    failure: Option<String>,
}

/// One kind of pages: those in memory, and where the others are.
struct Side {
    pool: u32,
    touches: Touches,
    memory: Clock,
    pages: Vec<PageState>,
}

#[derive(Clone, Copy)]
struct PageState {
    /// How often it was written to.
    version: u32,
    copy: Copy,
}

/// Where the last copy is that was made when the page left memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Copy {
    /// Nowhere: none was made since the page was written to.
    None,
    /// The engine has it, and may forget it if the pool is ephemeral.
    Tmem,
    /// On the disk.
    Disk,
}

impl Machine {
    fn new(spec: &Spec, sample_one_in: u32) -> Result<Self, EmbeddedError> {
        let contents = Contents::new(spec)?;
        let ram = u64::from(spec.pages) * PAGE_SIZE as u64;
        let limit = ram / 100 * u64::from(spec.limit);
        let engine = EmbeddedEngine::new(&Options {
            // Address space only; room for limits above what was asked for at first.
            arena_bytes: (2 * ram).max(256 << 20),
            limit_bytes: limit,
            // The machine itself does it, at fixed places, so that a seed repeats.
            maintenance_thread: false,
            poison: false,
        })?;
        let files = (spec.pages / 3).max(1);
        let side = |name: &[u8], flags, pages: u32, stream| {
            let mut uuid = [0; 16];
            uuid[..name.len()].copy_from_slice(name);
            let pool = engine.pool_create(&PoolSpec {
                uuid,
                flags,
                version: 1,
            })?;
            let resident = u64::from(pages) * u64::from(spec.resident) / 100;
            Ok::<_, PoolError>(Side {
                pool,
                touches: Touches::new(spec, pages, stream),
                memory: Clock::new(pages, resident.max(1) as usize),
                pages: vec![
                    PageState {
                        version: 0,
                        copy: Copy::None,
                    };
                    pages as usize
                ],
            })
        };
        Ok(Self {
            contents,
            anonymous: side(b"swap", POOL_PERSISTENT, spec.pages - files, 1)?,
            files: side(b"files", POOL_EXCLUSIVE_GET, files, 2)?,
            engine,
            started: Instant::now(),
            random: Random::new(spec.seed),
            meters: Meters {
                sample_one_in,
                ..Meters::default()
            },
            touches: 0,
            enabled: true,
            keep_incompressible: true,
            codec: Codec::Adaptive,
            limit: format!("{}%", spec.limit),
            failure: None,
            spec: spec.clone(),
        })
    }

    /// Touches `count` pages, or fewer if one comes back wrong.
    fn run(&mut self, count: u64) {
        for _ in 0..count {
            if self.failure.is_some() {
                return;
            }
            self.touches += 1;
            let write = self.random.below(100) < u64::from(self.spec.writes);
            let done = if self.random.below(3) == 0 {
                self.touch_file(write)
            } else {
                self.touch_anonymous(write)
            };
            if let Err(failure) = done {
                self.failure = Some(failure);
                return;
            }
            if self.touches.is_multiple_of(TOUCHES_PER_TRUNCATION) {
                self.truncate_file();
            }
        }
        while self.engine.maintain() {}
        while self.engine.expire(elapsed_ns(self.started)) == Some(0) {}
    }

    /// As the kernel does with anonymous pages: they go to swap when thrown out
    /// changed, and what swap has is dropped when they are written to.
    fn touch_anonymous(&mut self, write: bool) -> Result<(), String> {
        let page = self.anonymous.touches.next_page();
        let at = page as usize;
        if !self.anonymous.memory.touch(page) {
            if let Some(victim) = self.anonymous.memory.bring(page) {
                self.swap_out(victim);
            }
            let PageState { version, copy } = self.anonymous.pages[at];
            // A page that was never there starts as zeroes, without a look into swap.
            if copy != Copy::None {
                let hit = self.get(Which::Anonymous, page, version)?;
                match (copy, hit) {
                    (Copy::Tmem, false) => {
                        return Err(format!("swap page {page} was accepted and is not there"));
                    }
                    (Copy::Disk, true) => {
                        return Err(format!("swap page {page} was refused and is there"));
                    }
                    (Copy::Disk, false) => self.meters.disk.swap_pages_read += 1,
                    _ => {}
                }
            }
        }
        if write {
            if self.anonymous.pages[at].copy != Copy::None {
                self.flush(Which::Anonymous, page);
                self.anonymous.pages[at].copy = Copy::None;
            }
            self.anonymous.pages[at].version += 1;
        }
        Ok(())
    }

    fn swap_out(&mut self, page: u32) {
        let at = page as usize;
        let PageState { version, copy } = self.anonymous.pages[at];
        if copy != Copy::None {
            return;
        }
        self.anonymous.pages[at].copy = if self.put(Which::Anonymous, page, version) {
            Copy::Tmem
        } else {
            self.meters.disk.swap_pages_written += 1;
            Copy::Disk
        };
    }

    /// As the kernel does with pages of files: they are offered when thrown out
    /// (written back by then), and asked for before the file is read.
    fn touch_file(&mut self, write: bool) -> Result<(), String> {
        let page = self.files.touches.next_page();
        let at = page as usize;
        if !self.files.memory.touch(page) {
            if let Some(victim) = self.files.memory.bring(page) {
                let version = self.files.pages[victim as usize].version;
                let stored = self.put(Which::Files, victim, version);
                self.files.pages[victim as usize].copy =
                    if stored { Copy::Tmem } else { Copy::Disk };
            }
            let PageState { version, copy } = self.files.pages[at];
            if self.get(Which::Files, page, version)? && copy != Copy::Tmem {
                return Err(format!("file page {page} was not stored and is there"));
            }
            self.files.pages[at].copy = Copy::Disk;
        }
        if write {
            self.files.pages[at].version += 1;
        }
        Ok(())
    }

    /// Cuts a file off and writes it anew: none of its pages may come back.
    fn truncate_file(&mut self) {
        let files = self.files.pages.len() as u64;
        let object = self.random.below(files) as u32 / FILE_PAGES;
        let started = Instant::now();
        let flushed = self.engine.flush_object(self.files.pool, object.into());
        let ns = elapsed_ns(started);
        let outcome = if flushed > 0 {
            Outcome::Flushed
        } else {
            Outcome::Miss
        };
        let report = Report { outcome, bytes: 0 };
        self.meters.record(
            Op::Flush,
            (self.files.pool, object.into(), WHOLE_OBJECT),
            report,
            ns,
        );
        let from = (object * FILE_PAGES) as usize;
        let to = (from + FILE_PAGES as usize).min(self.files.pages.len());
        for page in &mut self.files.pages[from..to] {
            page.version += 1;
            page.copy = Copy::Disk;
        }
    }

    fn handle(&self, side: Which, page: u32) -> (u32, u64, u64) {
        match side {
            Which::Anonymous => (self.anonymous.pool, 0, page.into()),
            Which::Files => (
                self.files.pool,
                (page / FILE_PAGES).into(),
                (page % FILE_PAGES).into(),
            ),
        }
    }

    /// The number that a page's contents go by: no two pages share one.
    fn number(&self, side: Which, page: u32) -> u32 {
        match side {
            Which::Anonymous => page,
            Which::Files => page + self.anonymous.pages.len() as u32,
        }
    }

    fn put(&mut self, side: Which, page: u32, version: u32) -> bool {
        let mut bytes: PageBytes = [0; PAGE_SIZE];
        self.contents
            .fill(self.number(side, page), version, &mut bytes);
        let handle @ (pool, object, index) = self.handle(side, page);
        let started = Instant::now();
        let report = self.engine.put(pool, object, index, &bytes, 0);
        let ns = elapsed_ns(started);
        if side == Which::Files {
            let file = self.meters.file(object);
            file.puts += 1;
            file.stored += u64::from(report.outcome.is_stored());
        }
        self.meters.record(Op::Put, handle, report, ns);
        report.outcome.is_stored()
    }

    /// Whether the page was there; an error if it was there with wrong contents.
    fn get(&mut self, side: Which, page: u32, version: u32) -> Result<bool, String> {
        let mut bytes: PageBytes = [0; PAGE_SIZE];
        let handle @ (pool, object, index) = self.handle(side, page);
        let started = Instant::now();
        let report = self.engine.get(pool, object, index, &mut bytes);
        let ns = elapsed_ns(started);
        if side == Which::Files {
            let file = self.meters.file(object);
            let hit = report.outcome == Outcome::Hit;
            file.hits += u64::from(hit);
            file.misses += u64::from(!hit);
        }
        self.meters.record(Op::Get, handle, report, ns);
        match report.outcome {
            Outcome::Hit => {
                let mut expected: PageBytes = [0; PAGE_SIZE];
                self.contents
                    .fill(self.number(side, page), version, &mut expected);
                if bytes != expected {
                    return Err(format!(
                        "pool {pool} object {object} index {index} came back with wrong contents"
                    ));
                }
                Ok(true)
            }
            Outcome::Corrupt => Err(format!(
                "pool {pool} object {object} index {index} could not be decoded"
            )),
            _ => Ok(false),
        }
    }

    fn flush(&mut self, side: Which, page: u32) {
        let handle @ (pool, object, index) = self.handle(side, page);
        let started = Instant::now();
        let report = self.engine.flush_page(pool, object, index);
        let ns = elapsed_ns(started);
        self.meters.record(Op::Flush, handle, report, ns);
    }

    fn ram_bytes(&self) -> u64 {
        u64::from(self.spec.pages) * PAGE_SIZE as u64
    }

    fn pool_infos(&self) -> Result<Vec<(u32, PoolInfo)>, SourceError> {
        [self.anonymous.pool, self.files.pool]
            .into_iter()
            .map(|id| Ok((id, self.engine.pool_info(id).map_err(failed)?)))
            .collect()
    }

    fn check_failure(&self) -> Result<(), SourceError> {
        match &self.failure {
            Some(failure) => Err(SourceError::Failed(format!(
                "the embedded engine failed its check: {failure} ({})",
                self.spec
            ))),
            None => Ok(()),
        }
    }

    fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
        self.check_failure()?;
        let mut pools = Vec::new();
        for (id, info) in self.pool_infos()? {
            pools.push(PoolSnapshot {
                mount: None,
                id,
                uuid: info.spec.uuid,
                kind: if info.spec.flags & POOL_PERSISTENT != 0 {
                    PoolKind::Persistent
                } else {
                    PoolKind::Ephemeral
                },
                version: info.spec.version,
                codec: codec_name(info.codec),
                weight: info.weight,
                limit_bytes: (info.limit_bytes != u64::MAX).then_some(info.limit_bytes),
                frozen: info.frozen,
                stats: self.engine.pool_stats(id).map_err(failed)?,
            });
        }
        Ok(Snapshot {
            taken_ns: system::monotonic_ns(),
            enabled: self.enabled,
            codec: self.codec.name().to_owned(),
            totals: self.engine.stats(),
            used_bytes: self.engine.used_bytes(),
            limit_bytes: self.engine.limit(),
            overhang_bytes: self.engine.overhang(),
            pools,
            observed: Some(Observed {
                only_times: false,
                cells: self.meters.cells.clone(),
                cgroups: Vec::new(),
                files: self.meters.files.values().cloned().collect(),
                events: self.meters.events.drain(..).collect(),
                events_dropped: self.meters.events_dropped,
                sample_one_in: self.meters.sample_one_in,
            }),
            disk: Some(self.meters.disk),
            refaults: None,
            pressure: None,
            cost: OwnCost::default(),
            unmeasured: vec![Unmeasured {
                what: "pressure",
                why: "the embedded engine's machine is made up".to_owned(),
            }],
            notes: Vec::new(),
        })
    }

    fn knobs(&self) -> Result<Vec<Knob>, SourceError> {
        let names: Vec<String> = CODECS.iter().map(|codec| codec.name().to_owned()).collect();
        let mut pool_names = vec![sysfs::POOL_CODEC_DEFAULT.to_owned()];
        pool_names.extend(names.iter().cloned());
        let switch = |on: bool| u8::from(on).to_string();
        let knob = |key: String, value: String, form: Form, what| Knob {
            tunable: Tunable {
                meaning: meaning(&key),
                key,
                value,
                allowed: form.allowed(),
            },
            form,
            what,
        };
        let whole = |name: &str, value, form, what| knob(name.to_owned(), value, form, what);
        let mut knobs = vec![
            whole(
                sysfs::ENABLED,
                switch(self.enabled),
                Form::Switch,
                What::Enabled,
            ),
            whole(sysfs::LIMIT, self.limit.clone(), Form::Limit, What::Limit),
            whole(
                sysfs::CODEC,
                self.codec.name().to_owned(),
                Form::Codec { names },
                What::Codec,
            ),
            whole(
                sysfs::KEEP_INCOMPRESSIBLE,
                switch(self.keep_incompressible),
                Form::Switch,
                What::KeepIncompressible,
            ),
        ];
        for (id, info) in self.pool_infos()? {
            let key = |name: &str| format!("{}.{id}.{name}", sysfs::POOLS);
            let limit = match info.limit_bytes {
                u64::MAX => sysfs::POOL_LIMIT_NONE.to_owned(),
                bytes => bytes.to_string(),
            };
            knobs.extend([
                knob(
                    key(sysfs::POOL_CODEC),
                    codec_name(info.codec),
                    Form::Codec {
                        names: pool_names.clone(),
                    },
                    What::PoolCodec(id),
                ),
                knob(
                    key(sysfs::POOL_LIMIT),
                    limit,
                    Form::PoolLimit,
                    What::PoolLimit(id),
                ),
                knob(
                    key(sysfs::POOL_WEIGHT),
                    info.weight.to_string(),
                    Form::Weight,
                    What::PoolWeight(id),
                ),
                knob(
                    key(sysfs::POOL_FROZEN),
                    switch(info.frozen),
                    Form::Switch,
                    What::PoolFrozen(id),
                ),
            ]);
            if info.spec.flags & POOL_PERSISTENT == 0 {
                let admission = match info.admission {
                    ADMIT_ALL => sysfs::POOL_ADMISSION_ALWAYS.to_owned(),
                    ADMIT_REFAULTED => sysfs::POOL_ADMISSION_REFAULTED.to_owned(),
                    offers => offers.to_string(),
                };
                knobs.extend([
                    knob(
                        key(sysfs::POOL_POLICY),
                        info.policy.name().to_owned(),
                        Form::Policy,
                        What::PoolPolicy(id),
                    ),
                    knob(
                        key(sysfs::POOL_ADMISSION),
                        admission,
                        Form::Admission,
                        What::PoolAdmission(id),
                    ),
                    knob(
                        key(sysfs::POOL_MAX_RATIO),
                        info.max_ratio.to_string(),
                        Form::Ratio,
                        What::PoolMaxRatio(id),
                    ),
                    knob(
                        key(sysfs::POOL_TTL),
                        info.ttl.to_string(),
                        Form::Ttl,
                        What::PoolTtl(id),
                    ),
                ]);
            }
        }
        Ok(knobs)
    }

    /// The tunable called `key`, if it takes `value`.
    fn find(&self, key: &str, value: &str) -> Result<Knob, SourceError> {
        let full = self.full_key(key)?;
        let knobs = self.knobs()?;
        let known: Vec<&str> = knobs.iter().map(|knob| knob.tunable.key.as_str()).collect();
        let known = known.join(" ");
        let knob = knobs
            .into_iter()
            .find(|knob| knob.tunable.key == full)
            .ok_or_else(|| SourceError::UnknownKey {
                key: key.to_owned(),
                known,
            })?;
        if !knob.form.accepts(value) {
            return Err(SourceError::BadValue {
                key: full,
                value: value.to_owned(),
                allowed: knob.tunable.allowed,
                path: PathBuf::from("embedded engine"),
            });
        }
        Ok(knob)
    }

    /// `pool.swap.limit` -> `pools.0.limit`; other keys as they are.
    fn full_key(&self, key: &str) -> Result<String, SourceError> {
        let Some((pool, name)) = key
            .strip_prefix("pool.")
            .or_else(|| key.strip_prefix("pools."))
            .and_then(|rest| rest.split_once('.'))
        else {
            return Ok(key.to_owned());
        };
        for (id, info) in self.pool_infos()? {
            if pool == id.to_string() || pool == pool_name(&info.spec.uuid) {
                return Ok(format!("{}.{id}.{name}", sysfs::POOLS));
            }
        }
        Ok(key.to_owned())
    }

    fn set(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        let knob = self.find(key, value)?;
        let on = value == "1";
        match knob.what {
            What::Enabled => {
                self.engine.set_enabled(on);
                self.enabled = on;
            }
            What::KeepIncompressible => {
                self.engine.set_keep_incompressible(on);
                self.keep_incompressible = on;
            }
            What::Limit => {
                let bytes = match parse_size(value) {
                    Some(Size::Percent(percent)) => self.ram_bytes() / 100 * u64::from(percent),
                    Some(Size::Bytes(bytes)) => bytes,
                    None => return Err(failed("not a size")),
                };
                self.engine.set_limit(bytes);
                value.clone_into(&mut self.limit);
            }
            What::Codec => {
                let number = codec_number(value);
                self.engine.set_default_codec(number).map_err(failed)?;
                self.codec = Codec::from_number(number).unwrap_or(self.codec);
            }
            What::PoolCodec(id) => self
                .engine
                .set_pool_codec(id, codec_number(value))
                .map_err(failed)?,
            What::PoolLimit(id) => {
                let bytes = match parse_size(value) {
                    Some(Size::Bytes(bytes)) => bytes,
                    _ => u64::MAX,
                };
                self.engine.set_pool_limit(id, bytes).map_err(failed)?;
            }
            What::PoolWeight(id) => {
                let weight = value.parse().map_err(failed)?;
                self.engine.set_pool_weight(id, weight).map_err(failed)?;
            }
            What::PoolPolicy(id) => {
                let policy = Policy::from_name(value).ok_or_else(|| failed("no policy"))?;
                self.engine
                    .set_pool_policy(id, policy as u32)
                    .map_err(failed)?;
            }
            What::PoolAdmission(id) => {
                let admission = admission_of(value).ok_or_else(|| failed("no admission"))?;
                self.engine
                    .set_pool_admission(id, admission)
                    .map_err(failed)?;
            }
            What::PoolMaxRatio(id) => {
                let percent = value.parse().map_err(failed)?;
                self.engine
                    .set_pool_max_ratio(id, percent)
                    .map_err(failed)?;
            }
            What::PoolTtl(id) => {
                let seconds = value.parse().map_err(failed)?;
                self.engine.set_pool_ttl(id, seconds).map_err(failed)?;
            }
            What::PoolFrozen(id) => self.engine.set_pool_frozen(id, on).map_err(failed)?,
        }
        let now = self.find(&knob.tunable.key, value)?;
        Ok(Change {
            key: knob.tunable.key,
            old: knob.tunable.value,
            new: now.tunable.value,
        })
    }
}

/// Which of the two sides of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    Anonymous,
    Files,
}

fn failed(error: impl ToString) -> SourceError {
    SourceError::Failed(error.to_string())
}

fn codec_name(number: u32) -> String {
    Codec::from_number(number)
        .map_or(sysfs::POOL_CODEC_DEFAULT, Codec::name)
        .to_owned()
}

fn codec_number(name: &str) -> u32 {
    Codec::ALL
        .into_iter()
        .find(|codec| codec.name() == name)
        .map_or(CODEC_DEFAULT, |codec| codec as u32)
}

fn elapsed_ns(started: Instant) -> u64 {
    u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// What the operations did and how long they took.
#[derive(Default)]
struct Meters {
    cells: Vec<CellSnapshot>,
    /// By the file's number, which is its object's.
    files: BTreeMap<u64, FileSnapshot>,
    events: VecDeque<Event>,
    events_dropped: u64,
    sample_one_in: u32,
    disk: DiskTraffic,
}

impl Meters {
    /// The file of that number; its inode is numbered from 1, as inodes are.
    fn file(&mut self, object: u64) -> &mut FileSnapshot {
        self.files.entry(object).or_insert_with(|| FileSnapshot {
            inode: object + 1,
            name: format!("file{object}"),
            ..FileSnapshot::default()
        })
    }

    fn record(
        &mut self,
        op: Op,
        (pool, object, index): (u32, u64, u64),
        Report { outcome, bytes }: Report,
        ns: u64,
    ) {
        let position = self
            .cells
            .iter()
            .position(|cell| (cell.pool, cell.op, cell.outcome) == (pool, op, outcome))
            .unwrap_or_else(|| {
                self.cells.push(CellSnapshot {
                    pool,
                    op,
                    outcome,
                    count: 0,
                    bytes: 0,
                    total_ns: 0,
                    histogram: Histogram::default(),
                });
                self.cells.len() - 1
            });
        let cell = &mut self.cells[position];
        cell.count += 1;
        cell.bytes += u64::from(bytes);
        cell.total_ns += ns;
        cell.histogram.record(ns);
        if !is_sampled(threshold(self.sample_one_in), pool, object, index) {
            return;
        }
        if self.events.len() == EVENTS {
            self.events_dropped += 1;
            return;
        }
        self.events.push_back(Event {
            time_ns: system::monotonic_ns(),
            object,
            index,
            latency_ns: ns,
            cgroup: 0,
            pool,
            bytes,
            op: op as u32,
            outcome: outcome as u32,
        });
    }
}

/// The pages in memory, and which of them goes next: CLOCK (Corbató, 1968).
struct Clock {
    slots: Vec<(u32, bool)>,
    capacity: usize,
    hand: usize,
    /// The slot of each page, or [`NOWHERE`].
    places: Vec<u32>,
}

const NOWHERE: u32 = u32::MAX;

impl Clock {
    /// Room for `capacity` of `pages` pages.
    fn new(pages: u32, capacity: usize) -> Self {
        Self {
            slots: Vec::with_capacity(capacity),
            capacity,
            hand: 0,
            places: vec![NOWHERE; pages as usize],
        }
    }

    /// Whether the page is in memory; it then stays longer.
    fn touch(&mut self, page: u32) -> bool {
        let place = self.places[page as usize];
        if place == NOWHERE {
            return false;
        }
        self.slots[place as usize].1 = true;
        true
    }

    /// Takes in a page that is not in memory; the page that went out for it.
    fn bring(&mut self, page: u32) -> Option<u32> {
        if self.slots.len() < self.capacity {
            self.places[page as usize] = self.slots.len() as u32;
            self.slots.push((page, false));
            return None;
        }
        while self.slots[self.hand].1 {
            self.slots[self.hand].1 = false;
            self.hand = (self.hand + 1) % self.capacity;
        }
        let (victim, _) = std::mem::replace(&mut self.slots[self.hand], (page, false));
        self.places[victim as usize] = NOWHERE;
        self.places[page as usize] = self.hand as u32;
        self.hand = (self.hand + 1) % self.capacity;
        Some(victim)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Result<Spec, WorkloadError> {
        Spec::parse(text)
    }

    fn machine(text: &str) -> Result<Machine, EmbeddedError> {
        Machine::new(&spec(text)?, 16)
    }

    fn outcome(snapshot: &Snapshot, outcome: Outcome) -> u64 {
        snapshot.totals.outcomes[outcome as usize]
    }

    #[test]
    fn a_seed_repeats_a_run() -> anyhow::Result<()> {
        let run = |text| -> anyhow::Result<Snapshot> {
            let mut machine = machine(text)?;
            machine.run(8_000);
            let mut snapshot = machine.snapshot()?;
            // What a clock says does not repeat.
            snapshot.taken_ns = 0;
            if let Some(observed) = &mut snapshot.observed {
                for cell in &mut observed.cells {
                    cell.total_ns = 0;
                    cell.histogram = Histogram::default();
                }
                for event in &mut observed.events {
                    event.time_ns = 0;
                    event.latency_ns = 0;
                }
            }
            Ok(snapshot)
        };
        let one = run("zipf:pages=1000,seed=5")?;
        assert_eq!(one, run("zipf:pages=1000,seed=5")?);
        assert_ne!(one.totals, run("zipf:pages=1000,seed=6")?.totals);
        Ok(())
    }

    #[test]
    fn both_pools_work_and_the_cells_add_up_to_the_counters() -> anyhow::Result<()> {
        for text in ["zipf:pages=1000", "uniform:pages=1000", "scan:pages=1000"] {
            let mut machine = machine(text)?;
            machine.run(12_000);
            let snapshot = machine.snapshot()?;
            assert_eq!(snapshot.pools.len(), 2);
            for pool in &snapshot.pools {
                assert!(pool.stats.outcomes[Outcome::Stored as usize] > 0, "{text}");
            }
            assert!(snapshot.used_bytes <= snapshot.limit_bytes);
            let observed = snapshot.observed.clone().unwrap_or_default();
            for of in [Outcome::Stored, Outcome::StoredSame, Outcome::Hit] {
                let cells: u64 = observed
                    .cells
                    .iter()
                    .filter(|cell| cell.outcome == of)
                    .map(|cell| cell.histogram.count())
                    .sum();
                assert_eq!(cells, outcome(&snapshot, of), "{text} {of:?}");
            }
            assert!(!observed.events.is_empty());
        }
        Ok(())
    }

    #[test]
    fn wrong_contents_end_the_run() -> anyhow::Result<()> {
        let mut machine = machine("uniform:pages=500,mix=heap,limit=100")?;
        machine.run(5_000);
        let page = machine
            .anonymous
            .pages
            .iter()
            .position(|page| page.copy == Copy::Tmem);
        let page = page.ok_or_else(|| anyhow::anyhow!("no page in tmem"))?;
        machine
            .engine
            .put(machine.anonymous.pool, 0, page as u64, &[7; PAGE_SIZE], 0);
        machine.run(50_000);
        let error = machine.snapshot().err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("wrong contents")));
        Ok(())
    }

    #[test]
    fn a_lost_page_ends_the_run() -> anyhow::Result<()> {
        let mut machine = machine("uniform:pages=500,mix=heap,limit=100,writes=0")?;
        machine.run(5_000);
        machine.engine.flush_object(machine.anonymous.pool, 0);
        machine.run(50_000);
        let error = machine.snapshot().err().map(|error| error.to_string());
        assert!(error.is_some_and(|error| error.contains("accepted and is not there")));
        Ok(())
    }

    #[test]
    fn tunables_act_at_once_and_read_back() -> anyhow::Result<()> {
        let mut machine = machine("uniform:pages=1000,mix=heap")?;
        machine.run(8_000);
        let change = machine.set("limit", "100%")?;
        assert_eq!((change.old.as_str(), change.new.as_str()), ("25%", "100%"));
        assert_eq!(machine.snapshot()?.limit_bytes, 1000 * 4096);
        machine.run(8_000);
        let before = machine.snapshot()?;
        // Less than the swap pages alone take: those stay, everything else goes.
        machine.set("limit", "128K")?;
        let after = machine.snapshot()?;
        assert!(after.used_bytes < before.used_bytes);
        assert!(outcome(&after, Outcome::Evicted) > outcome(&before, Outcome::Evicted));
        assert_eq!(after.pools[1].stats.pages, 0);
        assert_eq!(after.pools[0].stats.pages, before.pools[0].stats.pages);
        assert!(after.overhang_bytes > 0);

        machine.set("limit", "100%")?;
        machine.set("codec", "none")?;
        machine.run(4_000);
        let raw = machine.snapshot()?;
        assert!(outcome(&raw, Outcome::StoredRaw) > outcome(&after, Outcome::StoredRaw));
        assert_eq!(machine.set("pool.swap.codec", "lz4")?.key, "pools.0.codec");

        let stored = |snapshot: &Snapshot| {
            outcome(snapshot, Outcome::Stored) + outcome(snapshot, Outcome::StoredRaw)
        };
        machine.set("enabled", "0")?;
        let off = stored(&machine.snapshot()?);
        machine.run(4_000);
        let still = machine.snapshot()?;
        assert_eq!(stored(&still), off);
        assert!(outcome(&still, Outcome::RefusedFrozen) > 0);
        Ok(())
    }

    #[test]
    fn incompressible_pages_are_kept_or_refused() -> anyhow::Result<()> {
        let mut machine = machine("uniform:pages=500,mix=random,limit=100")?;
        machine.run(5_000);
        assert!(outcome(&machine.snapshot()?, Outcome::StoredRaw) > 0);
        machine.set("keep_incompressible", "0")?;
        let before = machine.snapshot()?;
        machine.run(5_000);
        let after = machine.snapshot()?;
        assert_eq!(
            outcome(&after, Outcome::StoredRaw),
            outcome(&before, Outcome::StoredRaw)
        );
        assert!(outcome(&after, Outcome::RefusedIncompressible) > 0);
        Ok(())
    }

    #[test]
    fn bad_settings_change_nothing_and_say_what_is_allowed() -> anyhow::Result<()> {
        let mut machine = machine("zipf:pages=500")?;
        let before: Vec<Tunable> = machine.knobs()?.into_iter().map(|k| k.tunable).collect();
        for (key, value, part) in [
            ("limit", "lots", "percent of RAM"),
            ("codec", "zstd", "none lz4"),
            ("enabled", "yes", "0 or 1"),
            ("pools.0.weight", "0", "1 to 1000"),
            ("pools.1.limit", "20%", "max"),
            ("pools.1.policy", "best", "lru fifo clock s3fifo sieve 2q"),
            ("pools.1.admission", "16", "1 to 15"),
            ("pools.1.max_ratio", "0", "1 to 100"),
            ("pools.1.ttl", "1h", "seconds"),
            ("pools.0.policy", "lru", "pools.1.policy"),
            ("pools.9.limit", "1M", "pools.1.limit"),
            ("speed", "9", "keep_incompressible"),
        ] {
            let error = match machine.set(key, value) {
                Ok(change) => format!("changed: {change:?}"),
                Err(error) => error.to_string(),
            };
            assert!(error.contains(part), "{key}={value}: {error}");
        }
        let after: Vec<Tunable> = machine.knobs()?.into_iter().map(|k| k.tunable).collect();
        assert_eq!(after, before);
        Ok(())
    }

    #[test]
    fn the_source_runs_by_itself_and_takes_changes_meanwhile() -> anyhow::Result<()> {
        let mut source = EmbeddedSource::start(&spec("zipf:pages=500,rate=0")?, 0)?;
        let first = source.snapshot()?;
        let puts = |snapshot: &Snapshot| outcome(snapshot, Outcome::Stored);
        assert!(puts(&first) > 0);
        source.plan("limit", "60%")?;
        assert_eq!(source.set("limit", "60%")?.new, "60%");
        loop {
            let next = source.snapshot()?;
            if puts(&next) > puts(&first) + 1000 {
                assert_eq!(next.limit_bytes, 500 * 4096 / 100 * 60);
                break;
            }
            thread::sleep(Duration::from_millis(1));
        }
        assert!(source.describe().contains("zipf:pages=500"));
        Ok(())
    }
}
