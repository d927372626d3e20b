//! The loaded module as a [`Source`]: sysfs for counters, tunables and gauges,
//! eBPF for what only the operations themselves tell.

use std::fs;
use std::io;
use std::path::PathBuf;

use tmem_common::event::Event;
use tmem_common::sysfs;

use crate::control::Control;
use crate::mounts::Mounts;
use crate::observe::{ObserveError, Observer};
use crate::source::{
    Change, Observed, OwnCost, Snapshot, Source, SourceError, Tunable, Unmeasured,
};
use crate::system::{self, CgroupNames};

/// How to watch the module.
#[derive(Clone, Debug)]
pub struct LiveOptions {
    /// The module's directory.
    pub root: PathBuf,
    /// Whether to attach eBPF programs.
    pub observe: bool,
    /// One page in this many gives events; 0: none.
    pub sample_one_in: u32,
}

impl Default for LiveOptions {
    fn default() -> Self {
        Self {
            root: PathBuf::from(sysfs::ROOT),
            observe: true,
            sample_one_in: 0,
        }
    }
}

/// Whether and why not operations are observed.
enum Observation {
    On(Box<Observer>),
    Off(String),
}

/// The module of the running kernel.
pub struct LiveSource {
    control: Control,
    observation: Observation,
    cgroup_names: CgroupNames,
    cpu_ns_at_start: u64,
}

impl LiveSource {
    /// Finds the module, and attaches eBPF programs to it if asked to. That they
    /// cannot be attached is no error: snapshots then say why.
    ///
    /// # Errors
    /// When the module is not loaded or speaks another version of the ABI.
    pub fn open(options: LiveOptions) -> Result<Self, SourceError> {
        let cpu_ns_at_start = system::process_cpu_ns();
        let control = Control::open(options.root)?;
        let observation = if options.observe {
            match Observer::attach(options.sample_one_in) {
                Ok(observer) => Observation::On(Box::new(observer)),
                Err(error) => Observation::Off(error.to_string()),
            }
        } else {
            Observation::Off("not asked for".to_owned())
        };
        Ok(Self {
            control,
            observation,
            cgroup_names: CgroupNames::new("/sys/fs/cgroup"),
            cpu_ns_at_start,
        })
    }

    fn observe(&mut self, unmeasured: &mut Vec<Unmeasured>) -> Result<Observed, String> {
        let observer = match &mut self.observation {
            Observation::On(observer) => observer,
            Observation::Off(why) => return Err(why.clone()),
        };
        let reading = observer
            .read()
            .map_err(|error: ObserveError| error.to_string())?;
        for (what, lost) in [
            ("cells", reading.cells_lost),
            ("cgroups", reading.cgroups_lost),
            ("files", reading.files_lost),
        ] {
            if lost > 0 {
                let why = format!("{lost} found no room in the eBPF map");
                unmeasured.push(Unmeasured { what, why });
            }
        }
        let mut observed = reading.observed;
        for cgroup in &mut observed.cgroups {
            cgroup.path = self.cgroup_names.path(cgroup.id);
        }
        if !observed.files.is_empty() {
            // Where a file system was added is told for its name alone.
            let mounts = Mounts::open(&self.control).and_then(|mounts| mounts.list());
            let mounts = mounts.unwrap_or_default();
            for file in &mut observed.files {
                let device = file.device_name();
                let mount = mounts.iter().find(|mount| mount.device == device);
                file.mount = mount.map(|mount| mount.path.clone());
            }
        }
        Ok(observed)
    }
}

/// Reads and parses a file of /proc, or says why that is not possible.
fn proc_file<T>(path: &str, parse: fn(&str) -> Option<T>) -> Result<T, String> {
    let text = fs::read_to_string(path).map_err(|error: io::Error| format!("{path}: {error}"))?;
    parse(&text).ok_or_else(|| format!("{path}: not in the form that this tool knows"))
}

impl Source for LiveSource {
    fn describe(&self) -> String {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        format!("tmem module on Linux {}", release.trim_end())
    }

    fn snapshot(&mut self) -> Result<Snapshot, SourceError> {
        let mut unmeasured = Vec::new();
        let mut keep = |what: &'static str, why: String| unmeasured.push(Unmeasured { what, why });
        let disk = proc_file("/proc/vmstat", system::parse_disk_traffic)
            .map_err(|why| keep("disk", why))
            .ok();
        // Where the kernel does not count them, nothing but tuning misses them.
        let refaults = proc_file("/proc/vmstat", system::parse_refaults).ok();
        let pressure = proc_file("/proc/pressure/memory", system::parse_pressure)
            .map_err(|why| keep("pressure", why))
            .ok();
        let observed = match self.observe(&mut unmeasured) {
            Ok(observed) => Some(observed),
            Err(why) => {
                unmeasured.push(Unmeasured {
                    what: "latency",
                    why,
                });
                None
            }
        };
        let state = self.control.state()?;
        Ok(Snapshot {
            taken_ns: system::monotonic_ns(),
            enabled: state.enabled,
            codec: state.codec,
            totals: self.control.totals()?,
            used_bytes: state.used_bytes,
            limit_bytes: state.limit_bytes,
            overhang_bytes: state.overhang_bytes,
            pools: self.control.pools()?,
            observed,
            disk,
            refaults,
            pressure,
            cost: OwnCost {
                cpu_ns: system::process_cpu_ns().saturating_sub(self.cpu_ns_at_start),
                resident_bytes: system::resident_bytes(),
                programs_ns: match &self.observation {
                    Observation::On(observer) => observer.programs_ns(),
                    Observation::Off(_) => None,
                },
            },
            unmeasured,
            notes: Vec::new(),
        })
    }

    fn take_events(&mut self, events: &mut Vec<Event>) -> Result<(), SourceError> {
        if let Observation::On(observer) = &mut self.observation {
            observer.take_events(events);
        }
        Ok(())
    }

    fn tunables(&mut self) -> Result<Vec<Tunable>, SourceError> {
        self.control.tunables()
    }

    fn plan(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        self.control.plan(key, value)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<Change, SourceError> {
        self.control.set(key, value)
    }
}
