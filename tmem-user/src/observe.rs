//! The eBPF side of the tool: loads the programs, attaches them to the module's
//! tracepoints or, without a module, to functions of zswap and zram, and reads their
//! maps. They stay attached as long as the [`Observer`] lives, and the module cannot be
//! unloaded meanwhile.

use std::error::Error;
use std::io;
use std::os::fd::OwnedFd;

use aya::maps::{MapData, PerCpuArray, PerCpuHashMap, RingBuf};
use aya::programs::{KProbe, Program, ProgramError, RawTracePoint};
use aya::sys::{Stats, enable_stats};
use aya::{Ebpf, EbpfLoader, Pod};
use aya_log::EbpfLogger;
use log::Log;
use tmem_common::event::{
    Cell, CellKey, CgroupCell, CgroupKey, Event, FILE_TOLD, FileCell, FileKey, FileTold, Lost,
};
use tmem_common::op::{Op, Outcome};
use tmem_common::sample;

use crate::histogram::Histogram;
use crate::probes::Probes;
use crate::source::{CellSnapshot, CgroupSnapshot, FileSnapshot, Observed};
use crate::text::error_chain;

/// The programs, compiled by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tmem-ebpf"));

/// Program and tracepoint have the same name.
const PROGRAMS: [&str; 5] = [
    "tmem_put",
    "tmem_get",
    "tmem_flush",
    "tmem_evict",
    "tmem_file",
];

/// Why operations cannot be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The caller may not use eBPF.
    #[error(
        "eBPF needs CAP_BPF and CAP_PERFMON (or CAP_SYS_ADMIN, or root) and a kernel that is not \
         locked down"
    )]
    MissingRights,
    /// The kernel does not have the system call, or a sandbox says so.
    #[error("this kernel has no eBPF: it wants CONFIG_BPF_SYSCALL (or a sandbox hides bpf())")]
    NoBpf,
    /// The module's tracepoints are not there.
    #[error("the tracepoint {0} is not there: load the tmem module first")]
    NoTracepoint(&'static str),
    /// The compiled programs lack something that this file expects of them.
    #[error("the eBPF object has no {0}")]
    NotInObject(&'static str),
    /// The kernel refused, or a map could not be read.
    #[error("eBPF: {}", error_chain(.0.as_ref()))]
    Failed(Box<dyn Error + Send + Sync>),
}

impl ObserveError {
    fn from_aya(error: impl Error + Send + Sync + 'static) -> Self {
        match os_error(&error) {
            Some(libc::EPERM | libc::EACCES) if !is_verifier_error(&error) => Self::MissingRights,
            Some(libc::ENOSYS) => Self::NoBpf,
            _ => Self::Failed(Box::new(error)),
        }
    }
}

/// The verifier says EACCES for a program that it does not like.
fn is_verifier_error(error: &(dyn Error + 'static)) -> bool {
    matches!(
        error.downcast_ref(),
        Some(ProgramError::LoadError { verifier_log, .. }) if !verifier_log.to_string().is_empty()
    )
}

/// The system's error number that `error` goes back to.
fn os_error(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut error = Some(error);
    while let Some(inner) = error {
        if let Some(number) = inner.downcast_ref().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        error = inner.source();
    }
    None
}

/// A `#[repr(C)]` record of tmem-common that a map holds.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Record<T>(T);

// SAFETY: these are `#[repr(C)]` integers without padding between them, so that
// every bit pattern of the right size is a value.
unsafe impl Pod for Record<Cell> {}
// SAFETY: as above.
unsafe impl Pod for Record<CellKey> {}
// SAFETY: as above.
unsafe impl Pod for Record<CgroupCell> {}
// SAFETY: as above.
unsafe impl Pod for Record<CgroupKey> {}
// SAFETY: as above.
unsafe impl Pod for Record<FileCell> {}
// SAFETY: as above.
unsafe impl Pod for Record<FileKey> {}
// SAFETY: as above.
unsafe impl Pod for Record<Lost> {}

/// What the programs saw so far.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Cells, cgroups and events; a cgroup's path is not known here.
    pub observed: Observed,
    /// Operations missing in [`Observed::cells`], since their map was full.
    pub cells_lost: u64,
    /// Operations missing in [`Observed::cgroups`], since their map was full.
    pub cgroups_lost: u64,
    /// Pages missing in [`Observed::files`], since their map was full.
    pub files_lost: u64,
}

/// The attached programs.
pub struct Observer {
    ebpf: Ebpf,
    events: RingBuf<MapData>,
    logger: EbpfLogger<&'static dyn Log>,
    sample_one_in: u32,
    /// The kernel times eBPF programs while this is open.
    timing: Option<OwnedFd>,
}

impl Observer {
    /// Loads the programs and attaches them; one page in `sample_one_in` gives
    /// events, none when that is 0.
    ///
    /// # Errors
    /// Missing rights, no module, or a kernel that refuses the programs.
    pub fn attach(sample_one_in: u32) -> Result<Self, ObserveError> {
        let mut observer = Self::load(sample_one_in)?;
        for name in PROGRAMS {
            let program = raw_tracepoint(&mut observer.ebpf, name)?;
            program
                .attach(name)
                .map_err(|error| match os_error(&error) {
                    Some(libc::ENOENT) => ObserveError::NoTracepoint(name),
                    _ => ObserveError::from_aya(error),
                })?;
        }
        Ok(observer)
    }

    /// Times functions of zswap and zram: nothing but cells is observed.
    ///
    /// # Errors
    /// Missing rights, a kernel without kprobes, or one that refuses the programs.
    pub fn attach_stock(probes: &Probes) -> Result<Self, ObserveError> {
        let mut loader = EbpfLoader::new();
        let (store, load) = (
            u32::from(probes.store_is_bool),
            u32::from(probes.load_is_bool),
        );
        loader
            .override_global("ZSWAP_STORE_IS_BOOL", &store, true)
            .override_global("ZSWAP_LOAD_IS_BOOL", &load, true);
        let mut observer = Self::with_maps(&mut loader, 0)?;
        for probe in &probes.functions {
            // An end without a beginning is not counted; the other way round it would stay.
            for name in [probe.leave, probe.enter] {
                let program = kprobe(&mut observer.ebpf, name)?;
                program.load().map_err(ObserveError::from_aya)?;
                program
                    .attach(probe.function, 0)
                    .map_err(ObserveError::from_aya)?;
            }
        }
        Ok(observer)
    }

    /// Loads the programs, which the kernel verifies, without attaching them.
    fn load(sample_one_in: u32) -> Result<Self, ObserveError> {
        let threshold = sample::threshold(sample_one_in);
        let mut loader = EbpfLoader::new();
        loader.override_global("SAMPLE_THRESHOLD", &threshold, true);
        let mut observer = Self::with_maps(&mut loader, sample_one_in)?;
        for name in PROGRAMS {
            raw_tracepoint(&mut observer.ebpf, name)?
                .load()
                .map_err(ObserveError::from_aya)?;
        }
        Ok(observer)
    }

    /// Makes the maps.
    fn with_maps(loader: &mut EbpfLoader<'_>, sample_one_in: u32) -> Result<Self, ObserveError> {
        let mut ebpf = loader.load(OBJECT).map_err(ObserveError::from_aya)?;
        let logger = EbpfLogger::init(&mut ebpf).map_err(ObserveError::from_aya)?;
        let events = ebpf
            .take_map("EVENTS")
            .ok_or(ObserveError::NotInObject("map EVENTS"))?;
        let events = RingBuf::try_from(events).map_err(ObserveError::from_aya)?;
        Ok(Self {
            ebpf,
            events,
            logger,
            sample_one_in,
            timing: enable_stats(Stats::RunTime).ok(),
        })
    }

    /// Reads what was counted since [`Observer::attach`], and the events since
    /// the last reading.
    ///
    /// # Errors
    /// When a map cannot be read.
    pub fn read(&mut self) -> Result<Reading, ObserveError> {
        self.logger.flush();
        let mut events = Vec::new();
        self.take_events(&mut events);
        let lost = self.lost()?;
        Ok(Reading {
            observed: Observed {
                only_times: false,
                cells: self.cells()?,
                cgroups: self.cgroups()?,
                files: self.files()?,
                events,
                events_dropped: lost.events,
                sample_one_in: self.sample_one_in,
            },
            cells_lost: lost.cells,
            cgroups_lost: lost.cgroups,
            files_lost: lost.files,
        })
    }

    /// Moves the events since the last call or reading to the end of `events`.
    pub fn take_events(&mut self, events: &mut Vec<Event>) {
        let before = events.len();
        while let Some(item) = self.events.next() {
            if let Some(event) = decode_event(&item) {
                events.push(event);
            }
        }
        // Each CPU submits in order, but not all of them together.
        events[before..].sort_by_key(|event| event.time_ns);
    }

    /// Time spent in the programs in ns; `None` when the kernel does not measure
    /// it for us.
    pub fn programs_ns(&self) -> Option<u64> {
        self.timing.as_ref()?;
        let mut sum = 0;
        for (_, program) in self.ebpf.programs() {
            // Only those for the module, or only those for a kernel without it, are loaded.
            if program.fd().is_err() {
                continue;
            }
            let time = program.info().ok()?.run_time();
            sum += u64::try_from(time.as_nanos()).ok()?;
        }
        Some(sum)
    }

    fn map(&self, name: &'static str) -> Result<&aya::maps::Map, ObserveError> {
        self.ebpf.map(name).ok_or(ObserveError::NotInObject(name))
    }

    fn cells(&self) -> Result<Vec<CellSnapshot>, ObserveError> {
        let map: PerCpuHashMap<_, Record<CellKey>, Record<Cell>> =
            PerCpuHashMap::try_from(self.map("CELLS")?).map_err(ObserveError::from_aya)?;
        let mut cells = Vec::new();
        for item in map.iter() {
            let (Record(key), values) = item.map_err(ObserveError::from_aya)?;
            let (Some(op), Some(outcome)) = (op(key.op), outcome(key.outcome)) else {
                continue;
            };
            let mut cell = CellSnapshot {
                pool: key.pool,
                op,
                outcome,
                count: 0,
                bytes: 0,
                total_ns: 0,
                histogram: Histogram::default(),
            };
            for Record(share) in values.iter() {
                cell.count += share.count;
                cell.bytes += share.bytes;
                cell.total_ns += share.total_ns;
                cell.histogram
                    .merge(&Histogram::from_buckets(share.histogram));
            }
            cells.push(cell);
        }
        cells.sort_by_key(|cell| (cell.pool, cell.op, cell.outcome));
        Ok(cells)
    }

    fn cgroups(&self) -> Result<Vec<CgroupSnapshot>, ObserveError> {
        let map: PerCpuHashMap<_, Record<CgroupKey>, Record<CgroupCell>> =
            PerCpuHashMap::try_from(self.map("CGROUPS")?).map_err(ObserveError::from_aya)?;
        let mut cgroups = Vec::new();
        for item in map.iter() {
            let (Record(key), values) = item.map_err(ObserveError::from_aya)?;
            let (Some(op), Some(outcome)) = (op(key.op), outcome(key.outcome)) else {
                continue;
            };
            cgroups.push(CgroupSnapshot {
                id: key.cgroup,
                path: None,
                op,
                outcome,
                count: values.iter().map(|Record(share)| share.count).sum(),
                bytes: values.iter().map(|Record(share)| share.bytes).sum(),
            });
        }
        cgroups.sort_by_key(|cgroup| (cgroup.id, cgroup.op, cgroup.outcome));
        Ok(cgroups)
    }

    fn files(&self) -> Result<Vec<FileSnapshot>, ObserveError> {
        let map: PerCpuHashMap<_, Record<FileKey>, Record<FileCell>> =
            PerCpuHashMap::try_from(self.map("FILES")?).map_err(ObserveError::from_aya)?;
        let mut files = Vec::new();
        for item in map.iter() {
            let (Record(key), values) = item.map_err(ObserveError::from_aya)?;
            let mut pages = [0; FILE_TOLD];
            let mut name = String::new();
            for Record(share) in values.iter() {
                for (sum, count) in pages.iter_mut().zip(share.pages) {
                    *sum += count;
                }
                if name.is_empty() {
                    name = file_name(&share.name);
                }
            }
            let told = |told: FileTold| pages[told as usize];
            files.push(FileSnapshot {
                device: device_numbers(key.device),
                inode: key.inode,
                name,
                mount: None,
                puts: told(FileTold::Put),
                stored: told(FileTold::Stored),
                hits: told(FileTold::Hit),
                misses: told(FileTold::Miss),
            });
        }
        files.sort_by_key(|file| (file.device, file.inode));
        Ok(files)
    }

    fn lost(&self) -> Result<Lost, ObserveError> {
        let map: PerCpuArray<_, Record<Lost>> =
            PerCpuArray::try_from(self.map("LOST")?).map_err(ObserveError::from_aya)?;
        let values = map.get(&0, 0).map_err(ObserveError::from_aya)?;
        let mut sum = Lost::default();
        for Record(share) in values.iter() {
            sum.events += share.events;
            sum.cells += share.cells;
            sum.cgroups += share.cgroups;
            sum.files += share.files;
        }
        Ok(sum)
    }
}

fn raw_tracepoint<'a>(
    ebpf: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut RawTracePoint, ObserveError> {
    ebpf.program_mut(name)
        .ok_or(ObserveError::NotInObject(name))?
        .try_into()
        .map_err(ObserveError::from_aya)
}

fn kprobe<'a>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut KProbe, ObserveError> {
    match ebpf.program_mut(name) {
        Some(Program::KProbe(program)) => Ok(program),
        _ => Err(ObserveError::NotInObject(name)),
    }
}

/// Major and minor number of a device as the kernel counts it.
fn device_numbers(device: u64) -> (u32, u32) {
    const MINOR_BITS: u32 = 20;
    let device = device as u32;
    (device >> MINOR_BITS, device & ((1 << MINOR_BITS) - 1))
}

/// A name up to its zero, without anything that would do something to a terminal.
fn file_name(bytes: &[u8]) -> String {
    let length = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..length])
        .chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect()
}

fn op(number: u32) -> Option<Op> {
    Op::ALL.get(number as usize).copied()
}

fn outcome(number: u32) -> Option<Outcome> {
    Outcome::ALL.get(number as usize).copied()
}

fn decode_event(bytes: &[u8]) -> Option<Event> {
    let wide = |at: usize| Some(u64::from_ne_bytes(bytes.get(at..at + 8)?.try_into().ok()?));
    let narrow = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    Some(Event {
        time_ns: wide(0)?,
        object: wide(8)?,
        index: wide(16)?,
        latency_ns: wide(24)?,
        cgroup: wide(32)?,
        pool: narrow(40)?,
        bytes: narrow(44)?,
        op: narrow(48)?,
        outcome: narrow(52)?,
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::os::fd::{AsFd as _, AsRawFd as _};
    use std::sync::Mutex;

    use tmem_common::histogram::{BUCKETS, bucket_of};

    use super::*;

    #[test]
    fn events_are_decoded_as_they_are_laid_out() {
        let mut bytes = [0_u8; 56];
        for (position, byte) in bytes.iter_mut().enumerate() {
            *byte = position as u8;
        }
        let event = decode_event(&bytes).expect("long enough");
        assert_eq!(event.time_ns, 0x0706_0504_0302_0100);
        assert_eq!(event.cgroup, 0x2726_2524_2322_2120);
        assert_eq!(event.pool, 0x2b2a_2928);
        assert_eq!(event.outcome, 0x3736_3534);
        assert_eq!(decode_event(&bytes[..55]), None);
    }

    #[test]
    fn the_object_holds_every_program_and_map() {
        let text = String::from_utf8_lossy(OBJECT);
        for name in PROGRAMS
            .iter()
            .chain(&["CELLS", "CGROUPS", "FILES", "EVENTS", "LOST", "AYA_LOGS"])
        {
            assert!(text.contains(name), "{name}");
        }
    }

    /// Runs a program once with these tracepoint arguments, as the tracepoint would.
    fn fire(observer: &Observer, name: &str, arguments: &[u64; 7]) {
        const BPF_PROG_TEST_RUN: libc::c_long = 10;
        #[repr(C)]
        #[derive(Default)]
        struct TestRun {
            prog_fd: u32,
            retval: u32,
            data: [u64; 3],
            repeat: u32,
            duration: u32,
            ctx_size_in: u32,
            ctx_size_out: u32,
            ctx_in: u64,
            ctx_out: u64,
            flags: u32,
            cpu: u32,
            batch_size: u32,
            padding: u32,
        }
        let program = observer.ebpf.program(name).expect("in the object");
        let run = TestRun {
            prog_fd: program.fd().expect("loaded").as_fd().as_raw_fd() as u32,
            ctx_size_in: size_of_val(arguments) as u32,
            ctx_in: arguments.as_ptr() as u64,
            ..TestRun::default()
        };
        // SAFETY: the attributes and the arguments outlive the call, which reads
        // them within the sizes given.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_PROG_TEST_RUN,
                &raw const run,
                size_of::<TestRun>(),
            )
        };
        assert_eq!(result, 0, "{}", io::Error::last_os_error());
    }

    /// The programs in the running kernel, whose verifier must take them. `None` where this
    /// process may not use eBPF, and then the error must say that rights miss; the machines'
    /// `tool_observe` runs the programs in any case.
    fn observer(sample: u32) -> Option<Observer> {
        match Observer::load(sample) {
            Ok(observer) => Some(observer),
            Err(ObserveError::MissingRights) => None,
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn the_programs_count_what_the_tracepoints_tell() {
        let Some(mut observer) = observer(1) else {
            return;
        };
        let stored = Outcome::Stored as u64;
        for ns in [100, 100, 100, 100_000] {
            fire(&observer, "tmem_put", &[3, 8, 9, stored, 1500, ns, 77]);
        }
        fire(
            &observer,
            "tmem_get",
            &[3, 8, 9, Outcome::Hit as u64, 4096, u64::MAX, 0],
        );
        let reading = observer.read().expect("maps can be read");
        assert_eq!((reading.cells_lost, reading.cgroups_lost), (0, 0));
        let [put, get] = reading.observed.cells.as_slice() else {
            panic!("{:?}", reading.observed.cells);
        };
        assert_eq!(
            (put.pool, put.op, put.outcome),
            (3, Op::Put, Outcome::Stored)
        );
        assert_eq!((put.count, put.bytes, put.total_ns), (4, 6000, 100_300));
        assert_eq!(put.histogram.buckets()[bucket_of(100)], 3);
        assert_eq!(put.histogram.buckets()[bucket_of(100_000)], 1);
        assert_eq!(put.histogram.count(), 4);
        assert_eq!((get.op, get.outcome, get.count), (Op::Get, Outcome::Hit, 1));
        assert_eq!(get.histogram.buckets()[BUCKETS - 1], 1);
        let [cgroup] = reading.observed.cgroups.as_slice() else {
            panic!("{:?}", reading.observed.cgroups);
        };
        assert_eq!((cgroup.id, cgroup.count, cgroup.bytes), (77, 4, 6000));
        let events = &reading.observed.events;
        assert_eq!(events.len(), 5);
        assert_eq!((events[0].object, events[0].index), (8, 9));
        assert_eq!((events[0].latency_ns, events[0].bytes), (100, 1500));
        assert_eq!(events[4].op, Op::Get as u32);
        assert_eq!(reading.observed.events_dropped, 0);

        // Events are handed out once, counts stay.
        let reading = observer.read().expect("maps can be read");
        assert_eq!(reading.observed.events, []);
        assert_eq!(reading.observed.cells[0].count, 4);
    }

    #[test]
    fn pages_are_counted_by_file() {
        let Some(mut observer) = observer(0) else {
            return;
        };
        let device = 8 << 20 | 17;
        let told = |inode, what: FileTold, pages, name: &CStr| {
            let name = name.as_ptr().addr() as u64;
            let arguments = [device, inode, what as u64, pages, name, 0, 0];
            fire(&observer, "tmem_file", &arguments);
        };
        // Test runs take addresses of this process for the kernel's: no name is read.
        told(5, FileTold::Put, 0, c"a");
        told(5, FileTold::Put, 16, c"");
        told(5, FileTold::Stored, 16, c"");
        told(5, FileTold::Hit, 3, c"a");
        told(6, FileTold::Miss, 1, c"b");
        let reading = observer.read().expect("maps can be read");
        assert_eq!(reading.files_lost, 0);
        let [first, second] = reading.observed.files.as_slice() else {
            panic!("{:?}", reading.observed.files);
        };
        assert_eq!((first.device_name().as_str(), first.inode), ("8:17", 5));
        assert_eq!((first.puts, first.stored, first.hits), (16, 16, 3));
        assert_eq!((second.inode, second.hits, second.misses), (6, 0, 1));
    }

    #[test]
    fn names_of_files_are_fit_for_a_terminal() {
        assert_eq!(file_name(b"data.db\0rest"), "data.db");
        assert_eq!(file_name(b"a\x1b[2Jb\0"), "a?[2Jb");
        assert_eq!(file_name(&[b'x'; 48]), "x".repeat(48));
        assert_eq!(file_name(b"\0"), "");
    }

    /// Keeps what the programs log.
    struct Kept(Mutex<Vec<String>>);

    impl Log for Kept {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            true
        }

        fn log(&self, record: &log::Record<'_>) {
            let mut kept = self.0.lock().expect("no panic before");
            kept.push(format!("{}: {}", record.target(), record.args()));
        }

        fn flush(&self) {}
    }

    static KEPT: Kept = Kept(Mutex::new(Vec::new()));

    #[test]
    fn what_finds_no_room_is_counted() {
        log::set_logger(&KEPT).expect("no other test sets it");
        log::set_max_level(log::LevelFilter::Warn);
        let Some(mut observer) = observer(1) else {
            return;
        };
        let hit = Outcome::Hit as u64;
        for pool in 0..300 {
            fire(&observer, "tmem_get", &[pool, 1, 1, hit, 0, 5, 0]);
        }
        let reading = observer.read().expect("maps can be read");
        assert_eq!(reading.observed.cells.len(), 256);
        assert_eq!(reading.cells_lost, 44);
        let said = KEPT.0.lock().expect("no panic before").join("\n");
        assert!(said.contains("tmem_ebpf: no room to count pool"), "{said}");
        // 1 MiB of events with their headers, 64 bytes each.
        for _ in 0..(1 << 20) / 64 + 10 {
            fire(&observer, "tmem_get", &[0, 1, 1, hit, 0, 5, 0]);
        }
        let reading = observer.read().expect("maps can be read");
        assert!(reading.observed.events_dropped >= 10);
    }

    #[test]
    fn a_sample_holds_all_operations_of_its_pages() {
        let Some(mut observer) = observer(8) else {
            return;
        };
        let hit = Outcome::Hit as u64;
        for _ in 0..3 {
            for index in 0..256 {
                fire(&observer, "tmem_get", &[1, 1, index, hit, 0, 5, 0]);
            }
        }
        let events = observer.read().expect("maps can be read").observed.events;
        let sampled = |index| sample::is_sampled(sample::threshold(8), 1, 1, index);
        let wanted: Vec<u64> = (0..256).filter(|&index| sampled(index)).collect();
        let got: Vec<u64> = events.iter().map(|event| event.index).collect();
        assert!(!wanted.is_empty() && wanted.len() < 64);
        assert_eq!(got, wanted.repeat(3));
    }

    #[test]
    fn without_the_module_there_is_nothing_to_attach_to() {
        if std::path::Path::new(tmem_common::sysfs::ROOT).exists() {
            Observer::attach(0).expect("the module is loaded");
        } else {
            let error = Observer::attach(0).err().expect("no tracepoint");
            assert!(
                matches!(
                    error,
                    ObserveError::NoTracepoint("tmem_put") | ObserveError::MissingRights
                ),
                "{error}"
            );
        }
    }
}
