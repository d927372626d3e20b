//! Whether this machine can run tmem, and what to do where it cannot: reads the
//! kernel's own files and changes nothing.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use tmem_common::ABI_VERSION;

use crate::system::parse_version;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// As it should be.
    Good,
    /// Worth knowing; nothing is wrong.
    Note,
    /// Something works less well.
    Warning,
    /// tmem does not work like this.
    Problem,
}

impl Grade {
    /// The name used in text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Grade::Good => "good",
            Grade::Note => "note",
            Grade::Warning => "warning",
            Grade::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its stable name, such as `hooks`.
    pub what: &'static str,
    /// How it is.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do; empty when there is nothing to do.
    pub advice: String,
}

/// What the caller may do, as far as tmem needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights {
    /// Effective user id 0.
    pub root: bool,
    /// Effective capabilities, as in `CapEff` of /proc/self/status.
    pub capabilities: u64,
}

const CAP_SYS_MODULE: u32 = 16;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

impl Rights {
    /// Those of this process, whatever tree is examined.
    pub fn of_this_process() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let capabilities = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .unwrap_or(0);
        let root = status
            .lines()
            .find_map(|line| line.strip_prefix("Uid:"))
            .and_then(|ids| ids.split_whitespace().nth(1))
            .is_some_and(|effective| effective == "0");
        Self { root, capabilities }
    }

    fn has(self, capability: u32) -> bool {
        self.capabilities & (1 << capability) != 0
    }
}

/// Options of the kernel's configuration, why each is needed, and whether the
/// module cannot do without it.
const OPTIONS: [(&str, &str, bool); 9] = [
    ("CONFIG_MODULES", "loading the module", true),
    ("CONFIG_SWAP", "swap pages", true),
    (
        "CONFIG_ZSWAP",
        "the functions that the module redirects",
        true,
    ),
    (
        "CONFIG_DYNAMIC_FTRACE",
        "redirecting functions of the kernel",
        true,
    ),
    ("CONFIG_KPROBES", "finding the functions", true),
    ("CONFIG_KALLSYMS", "finding the functions", true),
    ("CONFIG_BPF_SYSCALL", "latencies, cgroups and events", false),
    ("CONFIG_PSI", "memory pressure", false),
    ("CONFIG_MEMCG", "figures by cgroup", false),
];

/// The functions that the module redirects: those of frontswap's days, then
/// those since 6.6.
const FRONTSWAP_HOOKS: [&str; 4] = [
    "__frontswap_store",
    "swap_readpage",
    "__frontswap_invalidate_page",
    "__frontswap_invalidate_area",
];
const ZSWAP_HOOKS: [&str; 5] = [
    "zswap_store",
    "zswap_load",
    "zswap_invalidate",
    "zswap_swapoff",
    "zswap_never_enabled",
];

/// Where findings are collected.
/// The functions that the file side needs, each by its names on one kernel or another.
const FILE_HOOKS: [&[&str]; 9] = [
    &["truncate_inode_pages_range"],
    &["invalidate_inode_pages2_range"],
    &["mapping_try_invalidate", "invalidate_mapping_pagevec"],
    &["__iomap_dio_rw"],
    &["clear_inode"],
    &["shrink_dcache_for_umount"],
    &["drop_pagecache_sb"],
    &["reconfigure_super"],
    &["__remove_mapping"],
];

/// File systems whose pages are kept, with the functions that it takes; they are there once the
/// file system's module is loaded.
const FILE_SYSTEMS: [(&str, &[&str]); 3] = [
    (
        "ext4",
        &["ext4_readahead", "ext4_read_folio", "ext4_swap_extents"],
    ),
    ("xfs", &["xfs_vm_readahead", "xfs_vm_read_folio"]),
    ("btrfs", &["btrfs_readahead", "btrfs_read_folio"]),
];

struct Examination<'a> {
    root: &'a Path,
    findings: Vec<Finding>,
}

/// Looks at everything below `root`, `/` for the running system, with the
/// caller's `rights`. Findings come in the order in which to act on them.
pub fn examine(root: &Path, rights: Rights) -> Vec<Finding> {
    let mut examination = Examination {
        root,
        findings: Vec::new(),
    };
    examination.kernel();
    examination.options();
    examination.hooks();
    examination.redirected();
    examination.ftrace();
    examination.lockdown();
    examination.signatures();
    examination.livepatches();
    examination.module();
    examination.swap();
    examination.zswap();
    examination.zram();
    examination.rights(rights);
    examination.findings
}

impl Examination<'_> {
    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim_end().to_owned())
    }

    fn say(
        &mut self,
        what: &'static str,
        grade: Grade,
        found: impl Into<String>,
        advice: impl Into<String>,
    ) {
        self.findings.push(Finding {
            what,
            grade,
            found: found.into(),
            advice: advice.into(),
        });
    }

    fn release(&self) -> Option<String> {
        self.read("/proc/sys/kernel/osrelease")
    }

    /// The first two numbers of the kernel's version; zeroes if it cannot be read.
    fn version(&self) -> (u32, u32) {
        parse_version(&self.release().unwrap_or_default())
    }

    fn kernel(&mut self) {
        let Some(release) = self.release() else {
            self.say(
                "kernel",
                Grade::Problem,
                "/proc/sys/kernel/osrelease cannot be read",
                "mount /proc",
            );
            return;
        };
        let version = self.version();
        if version < (5, 10) {
            let advice = "use Linux 5.10 or newer";
            self.say(
                "kernel",
                Grade::Problem,
                format!("Linux {release} is too old"),
                advice,
            );
        } else if [(5, 10), (6, 1), (6, 12), (7, 2)].contains(&version) {
            self.say(
                "kernel",
                Grade::Good,
                format!("Linux {release}, a tested version"),
                "",
            );
        } else {
            self.say(
                "kernel",
                Grade::Note,
                format!("Linux {release}; tested are 5.10, 6.1, 6.12 and 7.2"),
                "try it in a virtual machine with this kernel first",
            );
        }
    }

    fn options(&mut self) {
        let Some(release) = self.release() else {
            return;
        };
        let places = [
            format!("/boot/config-{release}"),
            format!("/lib/modules/{release}/config"),
            format!("/lib/modules/{release}/build/.config"),
        ];
        let Some((place, text)) = places
            .iter()
            .find_map(|place| Some((place.clone(), self.read(place)?)))
        else {
            self.say(
                "options",
                Grade::Note,
                format!("the kernel's configuration is not at {}", places[0]),
                "the module says at loading what it misses",
            );
            return;
        };
        let set: HashSet<&str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(_, value)| matches!(*value, "y" | "m"))
            .map(|(name, _)| name)
            .collect();
        let missing: Vec<_> = OPTIONS
            .iter()
            .filter(|(name, _, _)| !set.contains(name))
            .collect();
        if missing.is_empty() {
            self.say(
                "options",
                Grade::Good,
                format!("{place} has what is needed"),
                "",
            );
        }
        for (name, why, needed) in missing {
            let grade = if *needed {
                Grade::Problem
            } else {
                Grade::Warning
            };
            self.say(
                "options",
                grade,
                format!("{name} is off ({why})"),
                format!("use a kernel with {name}"),
            );
        }
    }

    fn hooks(&mut self) {
        let Some(symbols) = self.read("/proc/kallsyms") else {
            let advice = "mount /proc, or use a kernel with CONFIG_KALLSYMS";
            self.say(
                "hooks",
                Grade::Note,
                "/proc/kallsyms cannot be read",
                advice,
            );
            return;
        };
        let names: HashSet<&str> = symbols
            .lines()
            .filter_map(|line| line.split_whitespace().nth(2))
            .collect();
        let missing = |wanted: &[&'static str]| -> Vec<&'static str> {
            wanted
                .iter()
                .copied()
                .filter(|name| !names.contains(name))
                .collect()
        };
        let (old, new) = (missing(&FRONTSWAP_HOOKS), missing(&ZSWAP_HOOKS));
        if old.is_empty() || new.is_empty() {
            let (count, days) = if new.is_empty() {
                (ZSWAP_HOOKS.len(), "zswap's")
            } else {
                (FRONTSWAP_HOOKS.len(), "frontswap's")
            };
            let found = format!("the kernel has the {count} functions to redirect ({days})");
            self.say("hooks", Grade::Good, found, "");
        } else {
            let fewer = if new.len() <= old.len() { new } else { old };
            self.say(
                "hooks",
                Grade::Problem,
                format!("the kernel has no {}", fewer.join(", ")),
                "use a kernel with CONFIG_ZSWAP, one of the tested versions",
            );
        }
        self.file_hooks(&names);
    }

    /// What the file side would redirect, once a file system is added.
    fn file_hooks(&mut self, names: &HashSet<&str>) {
        if self.version() < (6, 1) {
            self.say(
                "file_hooks",
                Grade::Note,
                "this kernel's file pages are not kept: swap pages alone are",
                "use Linux 6.1 or newer for file pages",
            );
            return;
        }
        let there = |name: &&str| names.contains(name);
        let missing: Vec<&str> = FILE_HOOKS
            .iter()
            .filter(|any| !any.iter().any(there))
            .map(|any| any[0])
            .collect();
        if !missing.is_empty() {
            self.say(
                "file_hooks",
                Grade::Warning,
                format!(
                    "the kernel has no {}: file pages cannot be kept",
                    missing.join(", ")
                ),
                "use one of the tested versions",
            );
            return;
        }
        let mut found = format!(
            "the kernel has the {} functions for file pages",
            FILE_HOOKS.len()
        );
        let ready: Vec<&str> = FILE_SYSTEMS
            .iter()
            .filter(|(_, functions)| functions.iter().all(there))
            .map(|(name, _)| *name)
            .collect();
        if !ready.is_empty() {
            found.push_str(&format!(", and those of {}", ready.join(", ")));
        }
        self.say("file_hooks", Grade::Good, found, "");
    }

    /// Somebody else's redirection of our functions: only one is possible.
    fn redirected(&mut self) {
        let list = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
            .iter()
            .find_map(|place| self.read(&format!("{place}/enabled_functions")));
        let Some(list) = list else {
            return;
        };
        if self.path(tmem_common::sysfs::ROOT).is_dir() {
            return;
        }
        for line in list.lines() {
            let mut words = line.split_whitespace();
            let Some(function) = words.next() else {
                continue;
            };
            let ours = ZSWAP_HOOKS.contains(&function)
                || FRONTSWAP_HOOKS.contains(&function)
                || FILE_HOOKS.iter().any(|any| any.contains(&function));
            if ours && words.any(|word| word == "I") {
                self.say(
                    "hooks",
                    Grade::Problem,
                    format!("{function} is redirected already, by a livepatch or another module"),
                    "disable that first: only one can redirect a function",
                );
            }
        }
    }

    fn ftrace(&mut self) {
        if self.read("/proc/sys/kernel/ftrace_enabled").as_deref() == Some("0") {
            self.say(
                "ftrace",
                Grade::Problem,
                "kernel.ftrace_enabled is 0: no function can be redirected",
                "sysctl kernel.ftrace_enabled=1",
            );
        }
    }

    fn lockdown(&mut self) {
        let Some(modes) = self.read("/sys/kernel/security/lockdown") else {
            return;
        };
        let mode = modes.split(['[', ']']).nth(1).unwrap_or("none").to_owned();
        match mode.as_str() {
            "none" => {}
            "confidentiality" => self.say(
                "lockdown",
                Grade::Problem,
                "the kernel is locked down (confidentiality): unsigned modules and eBPF are refused",
                "sign the module with a key that the kernel trusts; latencies stay unmeasured",
            ),
            _ => self.say(
                "lockdown",
                Grade::Warning,
                format!("the kernel is locked down ({mode}): unsigned modules are refused"),
                "sign the module with a key that the kernel trusts (mokutil --import)",
            ),
        }
    }

    fn signatures(&mut self) {
        if self
            .read("/sys/module/module/parameters/sig_enforce")
            .as_deref()
            == Some("Y")
        {
            self.say(
                "signatures",
                Grade::Warning,
                "the kernel takes signed modules only",
                "sign the module with a key that the kernel trusts (mokutil --import)",
            );
        }
        let variable = "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";
        let on = fs::read(self.path(variable)).is_ok_and(|bytes| bytes.last() == Some(&1));
        if on {
            self.say(
                "secure boot",
                Grade::Note,
                "secure boot is on: most kernels then take signed modules only",
                "sign the module; DKMS does so once its key is enrolled (mokutil --import)",
            );
        }
    }

    fn livepatches(&mut self) {
        let names = self.entries("/sys/kernel/livepatch");
        if !names.is_empty() {
            self.say(
                "livepatch",
                Grade::Note,
                format!("livepatches are loaded: {}", names.join(" ")),
                "they go together unless one redirects a function that tmem does",
            );
        }
    }

    fn entries(&self, directory: &str) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(directory))
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort_unstable();
        names
    }

    fn module(&mut self) {
        let root = tmem_common::sysfs::ROOT;
        if let Some(abi) = self.read(&format!("{root}/{}", tmem_common::sysfs::ABI)) {
            if abi.parse() != Ok(ABI_VERSION) {
                self.say(
                    "module",
                    Grade::Problem,
                    format!("the module speaks version {abi}, this tool {ABI_VERSION}"),
                    "use matching versions of both",
                );
                return;
            }
            self.say(
                "module",
                Grade::Good,
                format!("tmem is loaded (version {abi})"),
                "",
            );
            for function in self.entries(&format!("{root}/hooks")) {
                let state = self.read(&format!("{root}/hooks/{function}"));
                if state.as_deref() == Some("inactive") {
                    self.say(
                        "hooks",
                        Grade::Problem,
                        format!("{function} is not hooked"),
                        "reload the module, and read the kernel's log",
                    );
                }
            }
            return;
        }
        let release = self.release().unwrap_or_default();
        let dependencies = self.read(&format!("/lib/modules/{release}/modules.dep"));
        let installed = dependencies.is_some_and(|list| {
            list.lines()
                .filter_map(|line| line.split(':').next())
                .any(|path| path.contains("/tmem.ko"))
        });
        if installed {
            self.say(
                "module",
                Grade::Warning,
                "tmem is installed but not loaded",
                "modprobe tmem",
            );
        } else {
            self.say(
                "module",
                Grade::Warning,
                format!("tmem is not loaded, nor installed for Linux {release}"),
                "install it, or build it for this kernel (docs/guide/first-minute.md); without it \
                 `tmem top` shows zswap and zram",
            );
        }
    }

    fn swap(&mut self) {
        let swaps = self.read("/proc/swaps").unwrap_or_default();
        let devices = swaps.lines().count().saturating_sub(1);
        if devices == 0 {
            self.say(
                "swap",
                Grade::Problem,
                "no swap device is in use: no page will ever be offered",
                "add one; a swap file does: fallocate, chmod 600, mkswap, swapon",
            );
        } else {
            let word = if devices == 1 { "device" } else { "devices" };
            self.say(
                "swap",
                Grade::Good,
                format!("{devices} swap {word} in use"),
                "",
            );
        }
    }

    fn zswap(&mut self) {
        if self.read("/sys/module/zswap/parameters/enabled").as_deref() == Some("Y") {
            self.say(
                "zswap",
                Grade::Note,
                "zswap is enabled: it gets the pages that tmem refuses",
                "echo N > /sys/module/zswap/parameters/enabled, to have one tier only",
            );
        }
    }

    fn zram(&mut self) {
        let swaps = self.read("/proc/swaps").unwrap_or_default();
        let zram: Vec<&str> = swaps
            .lines()
            .filter_map(|line| line.split_whitespace().next())
            .filter(|path| path.starts_with("/dev/zram"))
            .collect();
        if !zram.is_empty() {
            self.say(
                "zram",
                Grade::Warning,
                format!(
                    "swap on {}: what tmem refuses is compressed once more there",
                    zram.join(" ")
                ),
                "swapoff it and use a disk or a swap file, so that cold pages leave memory",
            );
        }
    }

    fn rights(&mut self, rights: Rights) {
        let admin = rights.has(CAP_SYS_ADMIN);
        let mut lacks = Vec::new();
        if !rights.has(CAP_SYS_MODULE) {
            lacks.push("load the module (CAP_SYS_MODULE)");
        }
        if !rights.root {
            lacks.push("change tunables (root)");
        }
        if !(admin || (rights.has(CAP_BPF) && rights.has(CAP_PERFMON))) {
            lacks.push("measure latencies (CAP_BPF and CAP_PERFMON)");
        }
        if lacks.is_empty() {
            self.say("rights", Grade::Good, "you may load, tune and measure", "");
        } else {
            self.say(
                "rights",
                Grade::Note,
                format!("you may not {}", lacks.join(", nor ")),
                "use sudo for these; counters can be read by anybody",
            );
        }
    }
}
