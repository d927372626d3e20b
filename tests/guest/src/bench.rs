//! The swap bench: the same pages go out and come back under each way of keeping
//! them, and the CPU time that all tasks of the machine took is counted. On a machine
//! that counts instructions as time, a nanosecond is an instruction.
//!
//! Pages come from the file that the host packed. Out is `MADV_PAGEOUT`, and reclaim of
//! what then still lies in the swap cache; in is one read access a page. Every page is
//! compared with its file after it came back.
//!
//! Where the machine has the plugin for it, instructions are split by what they are for: [`classes`] says so by the
//! names of the kernel's functions.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tmem_common::{PAGE_SIZE, sysfs};
use tmem_tests::counting::{self, Class, Marker, Range};
use tmem_tests::protocol::{BENCH_PAGES, BUSYBOX, CLI, Line};

use crate::cgroup::Cgroup;
use crate::context::Context;
use crate::swap::SwapDisk;
use crate::{process, sys, tier};

/// Rounds that count; one more comes before.
const ROUNDS: usize = 3;
/// Orders whose instructions are split: a phase ends when one is given, another when it was carried out.
const COUNTED: [u8; 2] = *b"oi";
/// Most pages of a round that may stay in memory, one in so many.
const LEFT_OVER: usize = 50;
/// Where zswap is tuned.
const ZSWAP: &str = "/sys/module/zswap/parameters";
/// Where zswap tells what it holds.
const ZSWAP_HELD: &str = "/sys/kernel/debug/zswap";
const ZRAM: &str = "/dev/zram0";
const ZRAM_SYSFS: &str = "/sys/block/zram0";

/// What was measured of one way.
#[derive(Default)]
struct Figures {
    /// CPU time of a page's way out, ns; one figure a round.
    out_ns: Vec<f64>,
    /// CPU time of a page's way in, ns.
    in_ns: Vec<f64>,
    /// Bytes written to and read from the disk in all rounds that count.
    written: u64,
    read: u64,
    /// Pages out at once.
    pages: usize,
    /// Pages held in memory, and the bytes that they take there; 0, 0 for the disk.
    held: (u64, u64),
    /// Bytes of compressed data, and of the store's pages, where they are told.
    density: (u64, u64),
}

/// Measures `ways`, one after the other.
pub(crate) fn run(context: &Context, ways: fn(&Context) -> Result<()>) -> Result<()> {
    process::spawn(|| {
        fs::write("/proc/sys/vm/page-cluster", "0").context("switching read-ahead off")?;
        ways(context)
    })?
    .join()?;
    tier::clean_up()?;
    sys::say(&Line::Pass("bench".into()).to_string());
    Ok(())
}

/// Says what was measured of a way, and, of a recording, how many events it has and lost.
fn tell(context: &Context, name: &str, figures: &Figures, recorded: Option<(u64, u64)>) {
    context.data(json!({
        "way": name,
        "out_ns": figures.out_ns,
        "in_ns": figures.in_ns,
        "pages": figures.pages,
        "rounds": ROUNDS,
        "written": figures.written,
        "read": figures.read,
        "held_pages": figures.held.0,
        "held_bytes": figures.held.1,
        "data_bytes": figures.density.0,
        "store_bytes": figures.density.1,
        "events": recorded.map(|(events, _)| events),
        "dropped": recorded.map(|(_, dropped)| dropped),
    }));
}

/// The module storing with nobody watching, and while it is recorded.
pub(crate) fn record(context: &Context) -> Result<()> {
    let disk = context.swap()?;
    tier::load("").context("loading the module")?;
    tier::set(sysfs::LIMIT, "50%")?;
    let swap = SwapDisk::start(&disk)?;
    tell(context, "nobody", &measure(&disk, tmem_holds)?, None);
    for sample in ["0", "1/100", "1/1"] {
        const TRACE: &str = "/tmp/bench.trace";
        let tool = observe(&["--json", "record", "-o", TRACE, "--sample", sample])?;
        let figures = measure(&disk, tmem_holds)?;
        let recorded = tool.finish()?;
        tell(
            context,
            &format!("record {sample}"),
            &figures,
            Some(recorded),
        );
        fs::remove_file(TRACE)?;
    }
    drop(swap);
    tier::ensure_empty()?;
    tier::unload().context("unloading the module")
}

/// Swap without the module, with it, with it watched, and what the kernel brings.
pub(crate) fn swap(context: &Context) -> Result<()> {
    let disk = context.swap()?;
    let report = |name: &str, figures: &Figures| tell(context, name, figures, None);
    let nothing = || Ok(((0, 0), (0, 0)));

    let swap = SwapDisk::start(&disk)?;
    report("disk", &measure(&disk, nothing)?);

    tier::load("").context("loading the module")?;
    tier::set(sysfs::LIMIT, "50%")?;
    tier::set(sysfs::ENABLED, "0")?;
    report("disk, tmem idle", &measure(&disk, nothing)?);

    tier::set(sysfs::ENABLED, "1")?;
    let default = tier::attribute(sysfs::CODEC)?;
    let mut codecs = vec!["lz4".to_owned()];
    if !codecs.contains(&default) {
        codecs.push(default.clone());
    }
    if tier::codecs()?.iter().any(|codec| codec == "zstd") {
        codecs.push("zstd".to_owned());
    }
    for codec in &codecs {
        tier::set(sysfs::CODEC, codec)?;
        report(&format!("tmem {codec}"), &measure(&disk, tmem_holds)?);
        if *codec == default {
            let tool = observe(&["stats", "--json"])?;
            report(
                &format!("tmem {codec}, traced"),
                &measure(&disk, tmem_holds)?,
            );
            drop(tool);
        }
    }
    drop(swap);
    tier::ensure_empty()?;
    tier::unload().context("unloading the module")?;

    let algorithms =
        fs::read_to_string(format!("{ZRAM_SYSFS}/comp_algorithm")).context("zram's codecs")?;
    for codec in ["lz4", "zstd"] {
        if !algorithms
            .split_whitespace()
            .any(|name| name.trim_matches(['[', ']']) == codec)
        {
            continue;
        }
        fs::write(format!("{ZRAM_SYSFS}/comp_algorithm"), codec).context("zram: codec")?;
        fs::write(format!("{ZRAM_SYSFS}/disksize"), "256M").context("zram: size")?;
        let swap = SwapDisk::start(Path::new(ZRAM))?;
        report(&format!("zram {codec}"), &measure(&disk, zram_holds)?);
        drop(swap);
        fs::write(format!("{ZRAM_SYSFS}/reset"), "1").context("zram: reset")?;
    }

    let swap = SwapDisk::start(&disk)?;
    if Path::new(&format!("{ZSWAP}/zpool")).exists() {
        fs::write(format!("{ZSWAP}/zpool"), "zsmalloc").context("zswap: zsmalloc")?;
    }
    fs::write(format!("{ZSWAP}/max_pool_percent"), "50").context("zswap: size")?;
    for codec in ["lz4", "zstd"] {
        // A kernel without this codec refuses it.
        if fs::write(format!("{ZSWAP}/compressor"), codec).is_err() {
            continue;
        }
        fs::write(format!("{ZSWAP}/enabled"), "1").context("zswap: on")?;
        report(&format!("zswap {codec}"), &measure(&disk, zswap_holds)?);
    }
    drop(swap);
    Ok(())
}

/// What a way holds: (pages, bytes of memory), (bytes of data, bytes of the store).
type Held = ((u64, u64), (u64, u64));

fn tmem_holds() -> Result<Held> {
    let stats = tier::Stats::read()?;
    let used = tier::attribute(sysfs::USED_BYTES)?.parse()?;
    Ok((
        (stats.get("pages"), used),
        (stats.get("data_bytes"), stats.get("store_bytes")),
    ))
}

fn zram_holds() -> Result<Held> {
    let text = fs::read_to_string(format!("{ZRAM_SYSFS}/mm_stat")).context("zram's mm_stat")?;
    let words: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match words[..] {
        [original, data, used, ..] => Ok(((original / PAGE_SIZE as u64, used), (data, used))),
        _ => bail!("zram's mm_stat: {text:?}"),
    }
}

/// Zswap does not tell its bytes of data.
fn zswap_holds() -> Result<Held> {
    let number = |name: &str| -> Result<u64> {
        let path = format!("{ZSWAP_HELD}/{name}");
        Ok(fs::read_to_string(&path).context(path)?.trim().parse()?)
    };
    Ok((
        (number("stored_pages")?, number("pool_total_size")?),
        (0, 0),
    ))
}

/// The tool with its eBPF programs attached, while a command waits; detached when dropped.
struct Observer(Child);

impl Drop for Observer {
    fn drop(&mut self) {
        // It has ended already, or is ended now; either way it must be reaped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Observer {
    /// Ends a recording: how many events it has, and how many were lost.
    fn finish(mut self) -> Result<(u64, u64)> {
        let pid = self.0.id().cast_signed();
        // SAFETY: the process is our child, which is not reaped before this function waits for it.
        let sent = unsafe { libc::kill(pid, libc::SIGTERM) };
        ensure!(sent == 0, "kill: {}", std::io::Error::last_os_error());
        let stderr = self.0.stderr.take().context("its standard error")?;
        // Its command goes on and keeps the pipe open, so there is no end to be read to.
        let said = BufReader::new(stderr)
            .lines()
            .find(|line| line.as_ref().is_ok_and(|line| line.starts_with('{')))
            .context("tmem record says nothing")??;
        let status = self.0.wait()?;
        ensure!(status.success(), "tmem record: {status}: {said}");
        let said: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        let number = |key: &str| {
            let value = &said["rows"][0][key];
            value.as_u64().with_context(|| format!("{key} in {said}"))
        };
        Ok((number("events")?, number("dropped")?))
    }
}

fn observe(arguments: &[&str]) -> Result<Observer> {
    const STARTED: &str = "/tmp/observed";
    // The tool attaches its programs first, then starts the command.
    let wait = format!("{BUSYBOX} touch {STARTED}; exec {BUSYBOX} sleep 100000");
    let child = Command::new(CLI)
        .args(arguments)
        .args(["--", BUSYBOX, "sh", "-c", &wait])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting tmem {arguments:?}"))?;
    let mut observer = Observer(child);
    for _ in 0..1200 {
        if fs::remove_file(STARTED).is_ok() {
            return Ok(observer);
        }
        if let Some(status) = observer.0.try_wait()? {
            bail!("tmem {arguments:?}: {status}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    bail!("tmem {arguments:?} did not start its command")
}

/// Measures one way, which is set up. `held` asks what it holds while all pages are out.
fn measure(disk: &Path, held: impl Fn() -> Result<Held>) -> Result<Figures> {
    counting::bits(&classes()?).for_each(Marker::execute);
    let group = Cgroup::new("bench", 400)?;
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let worker = process::spawn(|| {
        group.enter()?;
        Worker::new()?.serve(&mut theirs)
    })?;
    let mut figures = Figures::default();
    let mut ask = |what: u8| -> Result<(f64, u64)> {
        std::thread::sleep(Duration::from_millis(300));
        let before = cpu_ns()?;
        if COUNTED.contains(&what) {
            Marker::Phase.execute();
        }
        ours.write_all(&[what])?;
        let mut answer = [0; 8];
        ours.read_exact(&mut answer)
            .context("the worker has ended")?;
        // What it left to others to do.
        std::thread::sleep(Duration::from_millis(300));
        if COUNTED.contains(&what) {
            Marker::Phase.execute();
        }
        Ok(((cpu_ns()? - before) as f64, u64::from_le_bytes(answer)))
    };
    let result = (|| -> Result<()> {
        for round in 0..=ROUNDS {
            let (_, pages) = ask(b'f')?;
            let before = sectors(disk)?;
            let (out_ns, left) = ask(b'o')?;
            ensure!(
                left * LEFT_OVER as u64 <= pages,
                "{left} of {pages} pages stayed in memory"
            );
            let holds = held()?;
            let (in_ns, _) = ask(b'i')?;
            let after = sectors(disk)?;
            ask(b'v')?;
            if round > 0 {
                figures.pages = (pages - left) as usize;
                figures.out_ns.push(out_ns / figures.pages as f64);
                figures.in_ns.push(in_ns / figures.pages as f64);
                figures.read += (after.0 - before.0) * 512;
                figures.written += (after.1 - before.1) * 512;
                (figures.held, figures.density) = holds;
            }
        }
        ask(b'q')?;
        Ok(())
    })();
    drop(ours);
    // Its own error says more than that it has ended.
    worker.join()?;
    result.map(|()| figures)
}

/// What the kernel's functions are for, as far as it is not memory management, with the modules that are loaded now.
pub(crate) fn classes() -> Result<Vec<Range>> {
    /// Longest function: behind the last one of a module there is nothing that says where it ends.
    const LONGEST: u64 = 1 << 16;
    let text = fs::read_to_string("/proc/kallsyms").context("the kernel's symbols")?;
    let mut functions = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(address), Some(kind), Some(name)) = (words.next(), words.next(), words.next())
        else {
            continue;
        };
        if matches!(kind, "t" | "T" | "w" | "W") {
            let address = u64::from_str_radix(address, 16).with_context(|| line.to_owned())?;
            let module = words.next().unwrap_or_default().trim_matches(['[', ']']);
            functions.push((address, class(module, name)));
        }
    }
    // Aliases come in any order: the one that is for something is meant.
    functions.sort_unstable_by_key(|&(address, class)| (address, class == Class::Other));
    functions.dedup_by_key(|function| function.0);
    let mut ranges: Vec<Range> = Vec::new();
    for (i, &(start, class)) in functions.iter().enumerate() {
        let next = functions.get(i + 1).map_or(u64::MAX, |next| next.0);
        let end = next.min(start.saturating_add(LONGEST));
        match ranges.last_mut() {
            Some(last) if last.end == start && last.class == class => last.end = end,
            _ => ranges.push(Range { start, end, class }),
        }
    }
    ranges.retain(|range| range.class != Class::Other);
    Ok(ranges)
}

/// What a function is for, by its name, and its module's, which is empty for the kernel itself.
fn class(module: &str, name: &str) -> Class {
    const HELPERS: [&str; 11] = [
        "memcpy",
        "memset",
        "memmove",
        "memcmp",
        "__memcpy",
        "__memset",
        "__memmove",
        "_raw_spin_",
        "mutex_lock",
        "mutex_unlock",
        "__x86_",
    ];
    let begins = |with: &[&str]| with.iter().any(|with| name.starts_with(with));
    match module {
        // Rust's names have those of its modules, with their lengths.
        "tmem"
            if ["5codec", "8adaptive", "4px64", "3lz4"]
                .iter()
                .any(|part| name.contains(part)) =>
        {
            Class::Codec
        }
        "tmem" if begins(&["_R", "tmem_core_"]) => Class::Store,
        "tmem" | "zram" | "__builtin__ftrace" => Class::Glue,
        "zsmalloc" => Class::Store,
        _ if module.starts_with("lz4") || module.starts_with("zstd") || module == "xxhash" => {
            Class::Codec
        }
        _ if begins(&["LZ4_", "lz4_", "ZSTD_", "zstd_", "HUF_", "FSE_", "HIST_"]) => Class::Codec,
        _ if begins(&[
            "zs_",
            "__zs_",
            "obj_malloc",
            "obj_free",
            "fix_fullness_group",
            "alloc_zspage",
            "__free_zspage",
        ]) =>
        {
            Class::Store
        }
        _ if begins(&["zswap_", "zpool_", "zcomp_", "crypto_", "scomp_", "acomp_"]) => Class::Glue,
        _ if begins(&[
            "ftrace_caller",
            "ftrace_regs_caller",
            "arch_ftrace_ops_list",
            "ftrace_ops_",
        ]) =>
        {
            Class::Glue
        }
        _ if begins(&HELPERS) => Class::Helper,
        _ => Class::Other,
    }
}

/// CPU time that all tasks but this one took so far, ns. Waiting costs nothing, and neither
/// does an interrupt that finds the machine idle.
pub(crate) fn cpu_ns() -> Result<u64> {
    let own = std::process::id().to_string();
    let mut sum = 0;
    for process in fs::read_dir("/proc")?.flatten() {
        let name = process.file_name();
        let name = name.to_string_lossy();
        if name == own || !name.bytes().all(|b| b.is_ascii_digit()) {
            continue;
        }
        // Tasks may end while they are being looked at.
        for task in fs::read_dir(process.path().join("task"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            sum += text
                .split(' ')
                .next()
                .and_then(|word| word.parse::<u64>().ok())
                .unwrap_or(0);
        }
    }
    ensure!(sum > 0, "this kernel has no schedstat");
    Ok(sum)
}

/// Sectors read from and written to a disk so far.
fn sectors(disk: &Path) -> Result<(u64, u64)> {
    let name = disk.file_name().context("a disk has a name")?;
    let path = Path::new("/sys/block").join(name).join("stat");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let words: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match words[..] {
        [_, _, read, _, _, _, written, ..] => Ok((read, written)),
        _ => bail!("{}: {text:?}", path.display()),
    }
}

/// The process whose memory is swapped.
struct Worker {
    base: *mut u8,
    bytes: usize,
}

impl Worker {
    fn new() -> Result<Self> {
        let bytes = fs::metadata(BENCH_PAGES)
            .context("the host packed no pages")?
            .len() as usize;
        ensure!(
            bytes > 0 && bytes.is_multiple_of(PAGE_SIZE),
            "{BENCH_PAGES}: {bytes} bytes"
        );
        // SAFETY: a new mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        ensure!(
            base != libc::MAP_FAILED,
            "mmap: {}",
            std::io::Error::last_os_error()
        );
        let worker = Self {
            base: base.cast(),
            bytes,
        };
        worker.advise(libc::MADV_NOHUGEPAGE)?;
        Ok(worker)
    }

    fn advise(&self, advice: i32) -> Result<()> {
        // SAFETY: the mapping is ours; none of the advices used discards data.
        let result = unsafe { libc::madvise(self.base.cast(), self.bytes, advice) };
        ensure!(result == 0, "madvise: {}", std::io::Error::last_os_error());
        Ok(())
    }

    fn memory(&mut self) -> &mut [u8] {
        // SAFETY: the mapping is ours, lives as long as the process, and is borrowed with self.
        unsafe { std::slice::from_raw_parts_mut(self.base, self.bytes) }
    }

    /// Does what it is told, one byte a command, until `q`.
    fn serve(&mut self, orders: &mut UnixStream) -> Result<()> {
        loop {
            let mut order = [0];
            orders
                .read_exact(&mut order)
                .context("the measuring process has ended")?;
            let answer = match order[0] {
                b'f' => self.fill()?,
                b'o' => self.out()?,
                b'i' => self.touch(),
                b'v' => self.verify()?,
                _ => 0,
            };
            orders.write_all(&(answer as u64).to_le_bytes())?;
            if order[0] == b'q' {
                return Ok(());
            }
        }
    }

    /// Writes every page anew; their number.
    fn fill(&mut self) -> Result<usize> {
        File::open(BENCH_PAGES)?.read_exact(self.memory())?;
        Ok(self.bytes / PAGE_SIZE)
    }

    /// Sends every page out; how many stayed.
    fn out(&self) -> Result<usize> {
        self.advise(libc::MADV_PAGEOUT)?;
        for _ in 0..100 {
            let left = self.resident()?;
            if left * LEFT_OVER <= self.bytes / PAGE_SIZE {
                return Ok(left);
            }
            // Written to the disk, or on the way there, and still in the swap cache.
            std::thread::sleep(Duration::from_millis(50));
            let high = Path::new("/sys/fs/cgroup/bench/memory.high");
            fs::write(high, "1M").context("reclaiming")?;
            fs::write(high, "max").context("reclaiming")?;
        }
        self.resident()
    }

    /// Pages in memory, the swap cache included.
    fn resident(&self) -> Result<usize> {
        let mut pages = vec![0_u8; self.bytes / PAGE_SIZE];
        // SAFETY: the mapping is ours, and the vector has a byte for each of its pages.
        let result = unsafe { libc::mincore(self.base.cast(), self.bytes, pages.as_mut_ptr()) };
        ensure!(result == 0, "mincore: {}", std::io::Error::last_os_error());
        Ok(pages.iter().filter(|page| **page & 1 != 0).count())
    }

    /// Reads one byte of every page.
    fn touch(&mut self) -> usize {
        let memory = self.memory();
        (0..memory.len())
            .step_by(PAGE_SIZE)
            .map(|at| usize::from(memory[at]))
            .sum()
    }

    /// Compares every page with the file.
    fn verify(&mut self) -> Result<usize> {
        let mut file = File::open(BENCH_PAGES)?;
        let mut expected = [0; PAGE_SIZE];
        let mut bad = 0;
        for page in self.memory().as_chunks::<PAGE_SIZE>().0 {
            file.read_exact(&mut expected)?;
            bad += usize::from(*page != expected);
        }
        ensure!(bad == 0, "{bad} bad pages");
        Ok(0)
    }
}
