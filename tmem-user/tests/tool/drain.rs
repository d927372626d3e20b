//! Draining, with made-up swap devices: what is done, refused and put back.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use tmem_user::control::Control;
use tmem_user::drain::{DrainError, Drained, Progress, drain};
use tmem_user::swaps::{SwapDevice, Swaps};

use crate::support::FakeSysfs;

const PAGES: &str = "pools/0/stats/pages";
const MIB: u64 = 1 << 20;

/// Two devices. Taking the second off empties the pool.
#[derive(Clone)]
struct FakeSwaps {
    pages_file: PathBuf,
    available_bytes: u64,
    fail_off: Option<(&'static str, i32)>,
    fail_on: Option<(&'static str, i32)>,
    calls: Arc<Mutex<Vec<String>>>,
}

impl FakeSwaps {
    fn new(fake: &FakeSysfs) -> Self {
        Self {
            pages_file: fake.path(PAGES),
            available_bytes: 512 * MIB,
            fail_off: None,
            fail_on: None,
            calls: Arc::default(),
        }
    }

    fn call(&self, name: &str, path: &Path, fail: Option<(&str, i32)>) -> io::Result<()> {
        let call = format!("{name} {}", path.display());
        self.calls.lock().expect("no panic before").push(call);
        match fail {
            Some((failing, error)) if path == Path::new(failing) => {
                Err(io::Error::from_raw_os_error(error))
            }
            _ => Ok(()),
        }
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("no panic before").clone()
    }
}

impl Swaps for FakeSwaps {
    fn devices(&self) -> io::Result<Vec<SwapDevice>> {
        let device = |path: &str, priority| SwapDevice {
            path: path.into(),
            size_bytes: 256 * MIB,
            used_bytes: 200 * MIB,
            priority,
        };
        Ok(vec![device("/dev/a", 10), device("/dev/b", -2)])
    }

    fn available_bytes(&self) -> io::Result<u64> {
        Ok(self.available_bytes)
    }

    fn off(&self, path: &Path) -> io::Result<()> {
        self.call("off", path, self.fail_off)?;
        if path == Path::new("/dev/b") {
            std::fs::write(&self.pages_file, "0\n")?;
        }
        Ok(())
    }

    fn on(&self, device: &SwapDevice) -> io::Result<()> {
        self.call("on", &device.path, self.fail_on)
    }
}

fn run(fake: &FakeSysfs, swaps: &FakeSwaps, keep_disabled: bool) -> Result<Drained, DrainError> {
    let control = Control::open(fake.root()).expect("the made-up directory is complete");
    let stop = AtomicBool::new(false);
    drain(&control, swaps, keep_disabled, &stop, |_| {})
}

#[test]
fn every_device_goes_off_and_on_and_new_pages_are_accepted_again() {
    let fake = FakeSysfs::new();
    let swaps = FakeSwaps::new(&fake);
    let drained = run(&fake, &swaps, false).expect("nothing is in the way");
    assert_eq!(
        swaps.calls(),
        ["off /dev/a", "on /dev/a", "off /dev/b", "on /dev/b"]
    );
    assert_eq!((drained.pages_before, drained.pages_after), (1000, 0));
    assert_eq!(drained.devices.len(), 2);
    assert!(drained.enabled);
    assert_eq!(fake.read("enabled"), "1");
}

#[test]
fn new_pages_stay_refused_on_demand_or_when_they_were_before() {
    let fake = FakeSysfs::new();
    assert!(
        !run(&fake, &FakeSwaps::new(&fake), true)
            .expect("drained")
            .enabled
    );
    assert_eq!(fake.read("enabled"), "0");
    fake.write(PAGES, "1000");
    assert!(
        !run(&fake, &FakeSwaps::new(&fake), false)
            .expect("drained")
            .enabled
    );
    assert_eq!(fake.read("enabled"), "0");
}

#[test]
fn too_little_memory_is_said_before_anything_is_taken_off() {
    let fake = FakeSysfs::new();
    let mut swaps = FakeSwaps::new(&fake);
    // 56 MiB are free in the other device: 200 + 16 of reserve do not fit.
    swaps.available_bytes = 150 * MIB;
    let error = run(&fake, &swaps, true).expect_err("too little");
    assert!(
        matches!(error, DrainError::NotEnoughMemory { .. }),
        "{error}"
    );
    let text = error.to_string();
    for word in ["/dev/a", "200 MiB", "206 MiB", "free memory or add swap"] {
        assert!(text.contains(word), "{text}");
    }
    assert_eq!(swaps.calls(), [""; 0]);
    assert_eq!(fake.read("enabled"), "1");
    swaps.available_bytes = 160 * MIB;
    run(&fake, &swaps, false).expect("it just fits");
}

#[test]
fn a_device_that_stays_on_ends_the_work_and_new_pages_are_accepted_again() {
    let fake = FakeSysfs::new();
    let mut swaps = FakeSwaps::new(&fake);
    swaps.fail_off = Some(("/dev/b", libc::ENOMEM));
    let error = run(&fake, &swaps, true).expect_err("swapoff fails");
    let text = error.to_string();
    assert!(text.contains("swapoff /dev/b"), "{text}");
    assert!(
        text.contains("do not fit into memory") && text.contains("memory.max"),
        "{text}"
    );
    assert_eq!(swaps.calls(), ["off /dev/a", "on /dev/a", "off /dev/b"]);
    assert_eq!(fake.read("enabled"), "1");
}

#[test]
fn a_device_that_does_not_come_back_is_named() {
    let fake = FakeSysfs::new();
    let mut swaps = FakeSwaps::new(&fake);
    swaps.fail_on = Some(("/dev/a", libc::EPERM));
    let text = run(&fake, &swaps, false)
        .expect_err("swapon fails")
        .to_string();
    assert!(text.contains("swapon /dev/a (it is off now"), "{text}");
    assert!(text.contains("CAP_SYS_ADMIN"), "{text}");
    assert_eq!(fake.read("enabled"), "1");
}

#[test]
fn pages_that_no_device_accounts_for_are_told() {
    let fake = FakeSysfs::new();
    fake.add_pool(1, "0123456789abcdef0123456789abcdef", "persistent");
    fake.add_pool(2, "1123456789abcdef0123456789abcdef", "ephemeral");
    let error = run(&fake, &FakeSwaps::new(&fake), true).expect_err("pool 1 stays full");
    assert!(matches!(error, DrainError::PagesLeft(1000)), "{error}");
    assert_eq!(fake.read("enabled"), "1");
}

#[test]
fn a_stop_comes_before_the_next_device() {
    let fake = FakeSysfs::new();
    let swaps = FakeSwaps::new(&fake);
    let control = Control::open(fake.root()).expect("complete");
    let stop = AtomicBool::new(false);
    let error = drain(&control, &swaps, true, &stop, |progress| {
        if matches!(progress, Progress::Emptied { .. }) {
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    })
    .expect_err("stopped");
    assert!(matches!(&error, DrainError::Interrupted(path) if path == Path::new("/dev/b")));
    assert_eq!(swaps.calls(), ["off /dev/a", "on /dev/a"]);
    assert_eq!(fake.read("enabled"), "1");
}
