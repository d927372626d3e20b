//! `tmem mount watch` on a made-up module, without mounts that come and go: those are in virtual
//! machines.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::FakeSysfs;

struct Watching {
    child: Child,
    out: Receiver<String>,
    err: Receiver<String>,
    notify: UnixDatagram,
    _folder: tempfile::TempDir,
}

fn lines(from: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Watching {
    fn start(sysfs: &Path, file: &str) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let path = folder.path().join("notify");
        let notify = UnixDatagram::bind(&path).expect("a socket");
        let mut child = Command::new(env!("CARGO_BIN_EXE_tmem"))
            .arg("--sysfs")
            .arg(sysfs)
            .args(["mount", "watch", file])
            .env("NOTIFY_SOCKET", &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        Self {
            out: lines(child.stdout.take().expect("piped")),
            err: lines(child.stderr.take().expect("piped")),
            child,
            notify,
            _folder: folder,
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process");
        kill_process(pid, signal).expect("it runs");
    }

    fn notified(&self) -> String {
        let mut buffer = [0; 256];
        let bytes = self.notify.recv(&mut buffer).expect("a message");
        String::from_utf8_lossy(&buffer[..bytes]).trim().to_owned()
    }

    /// Ends it; what it had still to say on standard error.
    fn end(mut self) -> Vec<String> {
        self.signal(Signal::TERM);
        assert!(self.child.wait().expect("it ends").success());
        assert_eq!(self.notified(), "STOPPING=1");
        assert_eq!(self.out.iter().collect::<Vec<_>>(), Vec::<String>::new());
        self.err.iter().collect()
    }
}

fn rules(fake: &FakeSysfs, text: &str) -> String {
    let path = fake.path("rules.conf");
    fs::write(&path, text).expect("a file");
    path.to_str().expect("UTF-8").to_owned()
}

#[test]
fn rules_are_made_true_at_the_start_and_when_they_are_read_again() {
    let fake = FakeSysfs::new();
    fake.add_mounts_with("/proc");
    // The first takes part; it is left as it is. The second is not mounted.
    let text = "limit = \"64M\"\n[mounts.\"/proc\"]\nkeep = true\npolicy = \"fifo\"\n\
                [mounts.\"/no/such\"]\nkeep = true\n[mounts.\"/dev\"]\npolicy = \"fifo\"\n";
    let file = rules(&fake, text);
    let watching = Watching::start(fake.root(), &file);
    assert_eq!(
        watching.out.recv().expect("a line"),
        "watching for 2 file systems"
    );
    assert_eq!(watching.notified(), "READY=1");
    assert_eq!(fake.read("mounts/add"), "");
    assert_eq!(fake.read("pools/3/policy"), "lru");
    assert_eq!(fake.read("limit"), "20%");

    // The made-up module lists nothing new, as if adding had failed.
    rules(&fake, "[mounts.\"/dev\"]\nkeep = true\n");
    watching.signal(Signal::HUP);
    let line = watching.err.recv().expect("a line");
    assert!(line.contains("mounts./dev.keep"), "{line}");
    assert_eq!(fake.read("mounts/add"), "/dev");

    rules(&fake, "[mounts\n");
    watching.signal(Signal::HUP);
    let line = watching.err.recv().expect("a line");
    assert!(line.contains("rules.conf:1:"), "{line}");
    assert!(line.ends_with("what was read before holds"), "{line}");
    // That adding fails was said.
    assert_eq!(watching.end(), Vec::<String>::new());
}

#[test]
fn without_the_module_it_says_so_and_waits() {
    let fake = FakeSysfs::new();
    let file = rules(&fake, "[mounts.\"/proc\"]\nkeep = true\n");
    let watching = Watching::start(&fake.path("none"), &file);
    let line = watching.err.recv().expect("a line");
    assert!(
        line.ends_with("looking again when something is mounted"),
        "{line}"
    );
    assert_eq!(watching.notified(), "READY=1");
    watching.out.recv().expect("a line");
    assert_eq!(watching.end(), Vec::<String>::new());
}

/// What was removed since it was not what is on the disk is not for a service to add again.
#[test]
fn nothing_is_added_after_a_mismatch() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    fake.write("mounts/mismatches", "1");
    let file = rules(&fake, "[mounts.\"/proc\"]\nkeep = true\n");
    let watching = Watching::start(fake.root(), &file);
    let line = watching.err.recv().expect("a line");
    assert!(line.contains("differed from the disk"), "{line}");
    watching.out.recv().expect("a line");
    assert_eq!(watching.notified(), "READY=1");
    assert_eq!(fake.read("mounts/add"), "");
    assert_eq!(watching.end(), Vec::<String>::new());
}

#[test]
fn rules_that_cannot_be_read_end_it_at_once() {
    let fake = FakeSysfs::new();
    fake.add_mounts();
    let file = rules(&fake, "[mounts\n");
    assert_eq!(fake.tmem(&["mount", "watch", &file]).status.code(), Some(2));
    assert_eq!(
        fake.tmem(&["mount", "watch", "/no/such"]).status.code(),
        Some(2)
    );
}
