//! The programs whose memory makes the heap corpora, and whose files those of databases,
//! their loads, and how they are run up to the moment of the dump.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, geteuid, kill_process, kill_process_group};

use super::{Class, Page, Split, evenly, files, memory};
use crate::paths;
use crate::process::{output, say};

/// At most this many pages of one program.
const PAGES: usize = 8192;
/// Longer than any load takes.
const PATIENCE: Duration = Duration::from_secs(180);
/// How often a program's size is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// The user and group that programs run as which refuse to run as root.
const NOBODY: u32 = 65534;

/// A program and its load.
pub(super) struct Program {
    /// The command that must be installed, in PATH or at one of `elsewhere`.
    command: &'static str,
    /// Prepares the load in a folder of its own, and says how to start the program.
    prepare: fn(&Path, &Path) -> Result<Start>,
    moment: Moment,
    /// The files it wrote, below this folder of its own, are what counts; else its memory.
    files: Option<&'static str>,
}

impl Program {
    /// What kind of pages it makes.
    pub(super) fn class(&self) -> Class {
        match self.files {
            Some(_) => Class::Database,
            None => Class::Heap,
        }
    }
}

/// How a program is started.
struct Start {
    command: Command,
    /// Written to its standard input, which then stays open.
    input: String,
}

/// When its memory is dumped.
enum Moment {
    /// It has written a line with the word "ready" in it.
    Ready,
    /// It, or a process that it started, holds this many bytes of anonymous memory.
    Holds(u64),
    /// Its memory has not changed by more than 1 % for three seconds.
    Settled,
    /// This function has filled it from outside.
    Filled(fn(&Path) -> Result<()>),
}

/// Name, side and program. A program's neighbours in kind stand on the other side, with another load.
pub(super) fn table() -> Vec<(&'static str, Split, Program)> {
    use Moment::{Filled, Holds, Ready, Settled};
    use Split::{Test, Train};
    let program = |command, moment, prepare| Program {
        command,
        prepare,
        moment,
        files: None,
    };
    let files_of = |below, program| Program {
        files: Some(below),
        ..program
    };
    vec![
        ("gcc", Train, program("g++", Holds(120 << 20), gcc)),
        ("python", Train, program("python3", Ready, python)),
        ("node", Train, program("node", Ready, node)),
        ("java-objects", Train, program("java", Ready, java_objects)),
        (
            "redis",
            Train,
            program("redis-server", Filled(fill_redis), redis),
        ),
        ("sqlite", Train, program("sqlite3", Ready, sqlite)),
        ("rustc", Test, program("rustc", Holds(120 << 20), rustc)),
        ("java-tables", Test, program("java", Ready, java_tables)),
        ("chromium", Test, program("chromium", Settled, chromium)),
        ("postgres", Test, program("postgres", Ready, postgres)),
        ("go", Test, program("go", Ready, go)),
        ("numpy", Test, program("/usr/bin/python3", Ready, numpy)),
        ("perl", Test, program("perl", Ready, perl)),
        ("gdb", Test, program("gdb", Holds(60 << 20), gdb)),
        (
            "sqlite-files",
            Train,
            files_of("", program("sqlite3", Ready, sqlite_on_disk)),
        ),
        (
            "postgres-files",
            Test,
            files_of("data/base", program("postgres", Ready, postgres)),
        ),
    ]
}

/// Runs the program and copies its pages; `None` when it is not installed.
pub(super) fn dump(name: &str, program: &Program) -> Result<Option<Vec<Page>>> {
    let Some(command) = find(program.command) else {
        say(format!(
            "corpus {name} left out: {} is not installed",
            program.command
        ));
        return Ok(None);
    };
    say(format!("corpus {name}: running {}", command.display()));
    let dir = std::env::temp_dir().join(format!("tmem-corpus-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let pages = run(&command, program, &dir);
    fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let pages = pages?;
    Ok(Some(evenly(&pages, PAGES).collect()))
}

/// A command in PATH, by its path, or where packages of postgres put theirs.
fn find(command: &str) -> Option<PathBuf> {
    if command.starts_with('/') {
        return Some(PathBuf::from(command)).filter(|p| p.is_file());
    }
    paths::find_command(command).or_else(|| {
        let mut versions: Vec<_> = fs::read_dir(format!("/usr/lib/{command}ql"))
            .ok()?
            .flatten()
            .map(|e| e.path())
            .collect();
        versions.sort();
        versions
            .pop()
            .map(|v| v.join("bin").join(command))
            .filter(|p| p.is_file())
    })
}

fn run(command: &Path, program: &Program, dir: &Path) -> Result<Vec<Page>> {
    let Start { mut command, input } = (program.prepare)(command, dir)?;
    command
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = Group(command.spawn().context("cannot start the program")?);
    // Kept until the end: programs leave when their input ends.
    let mut stdin = child.0.stdin.take().context("no input")?;
    let feeder = std::thread::spawn(move || {
        let written = stdin
            .write_all(input.as_bytes())
            .and_then(|()| stdin.flush());
        written.map(|()| stdin)
    });
    let pid = child.0.id();
    match &program.moment {
        Moment::Ready => wait_ready(&mut child.0)?,
        Moment::Holds(bytes) => wait_holds(&mut child.0, *bytes)?,
        Moment::Settled => wait_settled(&mut child.0)?,
        Moment::Filled(fill) => fill(dir)?,
    }
    let family = memory::family(pid);
    for member in &family {
        signal(*member, Signal::STOP)?;
    }
    let mut pages = Vec::new();
    match program.files {
        None => {
            for member in &family {
                pages.extend(memory::dump(*member)?);
            }
        }
        Some(below) => pages = files::below(&dir.join(below))?,
    }
    drop(child);
    // The pipe is broken now, so the feeder has ended in one way or the other.
    let _ended = feeder.join();
    Ok(pages)
}

/// A child and its process group, killed when dropped.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw) {
            let _gone_already = kill_process_group(pid, Signal::KILL);
        }
        let _reaped_already = self.0.wait();
    }
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a process id")?;
    kill_process(pid, signal).context("cannot stop the program")
}

fn wait_ready(child: &mut Child) -> Result<()> {
    let stdout = child.stdout.take().context("no output")?;
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let ready = BufReader::new(stdout)
            .lines()
            .map_while(Result::ok)
            .any(|l| l.contains("ready"));
        sender.send(ready)
    });
    if !receiver
        .recv_timeout(PATIENCE)
        .context("it did not become ready")?
    {
        bail!("it ended before it was ready");
    }
    Ok(())
}

fn wait_holds(child: &mut Child, bytes: u64) -> Result<()> {
    watch(child, |pid| {
        memory::family(pid)
            .into_iter()
            .any(|p| memory::anonymous_bytes(p) >= bytes)
    })
}

fn wait_settled(child: &mut Child) -> Result<()> {
    let mut level = (0, Instant::now());
    watch(child, |pid| {
        let now: u64 = memory::family(pid)
            .into_iter()
            .map(memory::anonymous_bytes)
            .sum();
        if now.abs_diff(level.0) > level.0 / 100 {
            level = (now, Instant::now());
        }
        now > 0 && level.1.elapsed() > Duration::from_secs(3)
    })
}

fn watch(child: &mut Child, mut done: impl FnMut(u32) -> bool) -> Result<()> {
    let start = Instant::now();
    while !done(child.id()) {
        if let Some(status) = child.try_wait()? {
            bail!("it ended before its memory had grown: {status}");
        }
        if start.elapsed() > PATIENCE {
            bail!("its memory did not grow as expected");
        }
        std::thread::sleep(GLANCE);
    }
    Ok(())
}

/// A load that the program reads from a file in its folder.
fn script(command: &Path, dir: &Path, name: &str, text: &str) -> Result<Start> {
    let file = dir.join(name);
    fs::write(&file, text).with_context(|| file.display().to_string())?;
    let mut command = Command::new(command);
    command.arg(file);
    Ok(Start {
        command,
        input: String::new(),
    })
}

fn gcc(command: &Path, dir: &Path) -> Result<Start> {
    let mut source =
        String::from("#include <regex>\n#include <map>\n#include <string>\n#include <vector>\n");
    for i in 0..60 {
        source += &format!(
            "int f{i}(const std::string &s) {{\n  std::map<std::string, std::vector<std::pair<int, double>>> m;\n  \
             std::regex r(\"([a-z]+){i}\");\n  std::smatch found;\n  if (std::regex_search(s, found, r)) \
             m[found[1]].push_back({{{i}, {i}.5}});\n  return m.size();\n}}\n"
        );
    }
    let mut start = script(command, dir, "load.cc", &source)?;
    start.command.args(["-O2", "-g", "-S", "-o", "/dev/null"]);
    Ok(start)
}

fn rustc(command: &Path, dir: &Path) -> Result<Start> {
    let mut source = String::from("use std::collections::BTreeMap;\n");
    for i in 0..400 {
        source += &format!(
            "#[derive(Clone, Debug, Default, PartialEq, PartialOrd)]\npub struct S{i} {{ pub a: u32, pub b: Vec<String>, \
             pub c: Option<Box<S{i}>>, pub d: BTreeMap<u64, f64> }}\nimpl S{i} {{\n    pub fn total(&self) -> f64 {{ \
             self.d.iter().filter(|(k, _)| **k > {i}).map(|(_, v)| v * {i}.5).sum::<f64>() + f64::from(self.a) }}\n    \
             pub fn names(&self) -> Vec<String> {{ self.b.iter().map(|s| format!(\"{{s}}-{i}\")).collect() }}\n}}\n"
        );
    }
    let mut start = script(command, dir, "load.rs", &source)?;
    start.command.args([
        "--crate-type",
        "lib",
        "--edition",
        "2021",
        "-O",
        "--emit",
        "obj",
    ]);
    Ok(start)
}

fn python(command: &Path, dir: &Path) -> Result<Start> {
    script(command, dir, "load.py", include_str!("loads/objects.py"))
}

fn numpy(command: &Path, dir: &Path) -> Result<Start> {
    script(command, dir, "load.py", include_str!("loads/arrays.py"))
}

fn node(command: &Path, dir: &Path) -> Result<Start> {
    script(command, dir, "load.js", include_str!("loads/objects.js"))
}

fn perl(command: &Path, dir: &Path) -> Result<Start> {
    script(command, dir, "load.pl", include_str!("loads/objects.pl"))
}

fn java_objects(command: &Path, dir: &Path) -> Result<Start> {
    script(
        command,
        dir,
        "Objects.java",
        include_str!("loads/Objects.java"),
    )
}

fn java_tables(command: &Path, dir: &Path) -> Result<Start> {
    script(
        command,
        dir,
        "Tables.java",
        include_str!("loads/Tables.java"),
    )
}

fn go(command: &Path, dir: &Path) -> Result<Start> {
    let start = script(command, dir, "main.go", include_str!("loads/main.go"))?;
    drop(start);
    let built = dir.join("load");
    let mut build = Command::new(command);
    build
        .current_dir(dir)
        .env("GOCACHE", dir.join("cache"))
        .env("HOME", dir);
    output(build.args(["build", "-o"]).arg(&built).arg("main.go"))?;
    Ok(Start {
        command: Command::new(built),
        input: String::new(),
    })
}

fn gdb(command: &Path, _dir: &Path) -> Result<Start> {
    let mut command = Command::new(command);
    command
        .args(["-nx", "-q", "-ex", "maint expand-symtabs"])
        .arg(std::env::current_exe()?);
    Ok(Start {
        command,
        input: String::new(),
    })
}

fn chromium(command: &Path, dir: &Path) -> Result<Start> {
    let mut start = script(command, dir, "page.html", include_str!("loads/page.html"))?;
    start.command.args([
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--no-first-run",
    ]);
    start.command.args([
        "--remote-debugging-port=0",
        "--disable-background-networking",
    ]);
    start
        .command
        .arg(format!("--user-data-dir={}", dir.join("profile").display()));
    Ok(start)
}

fn sqlite(command: &Path, _dir: &Path) -> Result<Start> {
    sqlite_with(command, ":memory:")
}

fn sqlite_on_disk(command: &Path, _dir: &Path) -> Result<Start> {
    sqlite_with(command, "events.db")
}

fn sqlite_with(command: &Path, database: &str) -> Result<Start> {
    let mut command = Command::new(command);
    command.args(["-interactive", database]);
    let input = format!(
        "PRAGMA cache_size = -200000;\n{}SELECT 'rea' || 'dy';\n",
        include_str!("loads/table.sql")
    );
    Ok(Start { command, input })
}

fn postgres(command: &Path, dir: &Path) -> Result<Start> {
    let command = command.canonicalize().context("postgres")?;
    let data = dir.join("data");
    let as_user = |path: &Path| {
        let mut command = Command::new(path);
        if geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir(dir);
        command
    };
    fs::set_permissions(dir, fs::Permissions::from_mode(0o777))?;
    output(
        as_user(&command.with_file_name("initdb"))
            .args(["-A", "trust", "-N", "-E", "UTF8"])
            .arg("-D")
            .arg(&data),
    )?;
    let mut start = as_user(&command);
    start
        .args(["--single", "-F", "-c", "shared_buffers=96MB", "-D"])
        .arg(&data)
        .arg("postgres");
    let input = "CREATE TABLE event(id bigint PRIMARY KEY, at timestamptz, kind text, customer int, amount numeric, note jsonb);\n\
        INSERT INTO event SELECT i, timestamptz '2024-01-01' + i * interval '37 seconds', (ARRAY['create','update','delete'])[1 + i % 3], \
        i * 7919 % 5000, (i * 104729 % 100000) / 100.0, jsonb_build_object('event', i, 'customer', i * 7919 % 5000) FROM generate_series(1, 200000) AS i;\n\
        CREATE INDEX ON event(customer, at);\nUPDATE event SET amount = amount + 1 WHERE id % 9 = 0;\n\
        SELECT customer, sum(amount) FROM event GROUP BY customer LIMIT 1;\nCHECKPOINT;\nSELECT 'rea' || 'dy';\n";
    Ok(Start {
        command: start,
        input: input.into(),
    })
}

fn redis(command: &Path, dir: &Path) -> Result<Start> {
    let mut command = Command::new(command);
    command
        .args(["--port", "0", "--save", "", "--unixsocket"])
        .arg(dir.join("socket"));
    Ok(Start {
        command,
        input: String::new(),
    })
}

/// JSON strings, hashes, sorted sets and lists, by inline commands.
fn fill_redis(dir: &Path) -> Result<()> {
    let start = Instant::now();
    let socket = loop {
        match UnixStream::connect(dir.join("socket")) {
            Ok(socket) => break socket,
            Err(error) if start.elapsed() > PATIENCE => {
                return Err(error).context("redis does not answer");
            }
            Err(_) => std::thread::sleep(GLANCE),
        }
    };
    let mut replies = BufReader::new(socket.try_clone()?);
    let mut commands = std::io::BufWriter::new(socket);
    const BATCH: u32 = 100;
    for batch in 0..300 {
        for i in batch * BATCH..(batch + 1) * BATCH {
            let mixed = i.wrapping_mul(2_654_435_761);
            writeln!(
                commands,
                "SET user:{i} '{{\"id\":{i},\"name\":\"user-{i}\",\"mail\":\"user{}@example.org\",\"score\":{},\"roles\":[\"reader\",\"writer\"]}}'\r",
                mixed % 9973,
                mixed
            )?;
            writeln!(
                commands,
                "HSET session:{i} user {} token {mixed:08x}{:08x} seen 17{:08}\r",
                i % 5000,
                mixed.rotate_left(9),
                mixed % 100_000_000
            )?;
            writeln!(commands, "ZADD rank {} user:{i}\r", mixed % 100_000)?;
            writeln!(commands, "RPUSH queue:{} job-{i}\r", i % 200)?;
        }
        commands.flush()?;
        for _ in 0..4 * BATCH {
            let mut reply = String::new();
            replies.read_line(&mut reply)?;
            if !reply.starts_with(['+', ':']) {
                bail!("redis said {}", reply.trim());
            }
        }
    }
    Ok(())
}
