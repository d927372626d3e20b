//! The table of VM scenarios: what each needs from its machine and what must
//! come out. The guest (`tmem-guest`) runs them, xtask boots the machines.
//!
//! The protocol between the two:
//! - The kernel command line carries `tmem.scenario=NAME,NAME` and
//!   `tmem.params=KEY=VALUE,KEY=VALUE` (keys: [`params`]).
//! - The guest prints, for each scenario, exactly one line
//!   `TMEM-OUTCOME pass NAME` or `TMEM-OUTCOME fail NAME: MESSAGE`, before it any
//!   number of lines `TMEM-DATA {JSON object}`, and after the last scenario
//!   `TMEM-DONE`. Then it powers the machine off.
//! - The files that the guest finds in its initramfs are named in [`files`].

mod scenarios;

pub use scenarios::{DEMO, SCENARIOS, SHELL};

/// Start of the line that says how a scenario ended.
pub const OUTCOME: &str = "TMEM-OUTCOME";
/// Start of a line with one JSON object of measured values.
pub const DATA: &str = "TMEM-DATA";
/// The line after the last scenario.
pub const DONE: &str = "TMEM-DONE";

/// Every kernel that the project supports, by its version's first two numbers.
pub const ALL_KERNELS: &[&str] = &["5.10", "6.1", "6.12", "7.2"];

/// Where the guest expects its files in the initramfs. All of them are always there.
pub mod files {
    /// The guest binary.
    pub const INIT: &str = "/init";
    /// The module under test.
    pub const MODULE: &str = "/tmem.ko";
    /// The same module around the engine built with its `broken` feature.
    pub const BROKEN_MODULE: &str = "/tmem-broken.ko";
    /// The test module from `tests/kmod`.
    pub const MISUSE_MODULE: &str = "/tmem_misuse.ko";
    /// Paths of the kernel's own modules to load at start, uncompressed, one a line,
    /// dependencies first.
    pub const MODULE_LIST: &str = "/modules.list";
    /// Directory in which those modules lie.
    pub const MODULES: &str = "/modules";
    /// The command line tool.
    pub const CLI: &str = "/bin/tmem";
    /// Busybox, for the interactive shell.
    pub const BUSYBOX: &str = "/bin/busybox";
}

/// Keys of `tmem.params`.
pub mod params {
    /// Seed of every random choice, decimal. Default 1.
    pub const SEED: &str = "seed";
    /// `quick` (default) or `soak`: which [`crate::Effort`] to take.
    pub const EFFORT: &str = "effort";
    /// Overrides [`crate::Effort::stores`].
    pub const STORES: &str = "stores";
    /// Overrides [`crate::Effort::seconds`].
    pub const SECONDS: &str = "seconds";
}

/// Kernel command line keys for the interactive commands.
pub mod cmdline {
    /// Names of the scenarios to run, separated by commas.
    pub const SCENARIO: &str = "tmem.scenario";
    /// See [`crate::params`].
    pub const PARAMS: &str = "tmem.params";
    /// `1` when a person's terminal is connected to the console.
    pub const TTY: &str = "tmem.tty";
    /// Width of that terminal in characters.
    pub const COLUMNS: &str = "tmem.cols";
    /// Height of that terminal in lines.
    pub const ROWS: &str = "tmem.rows";
}

/// The emulator that runs a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// QEMU without hardware virtualisation.
    Qemu,
    /// Bochs with Intel IBT enforced; one CPU, 384 MB.
    Ibt,
}

/// What a correct build must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// The guest reports `pass`.
    Pass,
    /// Negative control: the guest reports `fail`, with this text in its message.
    Fail(&'static str),
    /// Negative control: the kernel dies, with this text on the console.
    Dies(&'static str),
}

/// How much a scenario does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Verified page stores to reach, or 0 where the scenario counts no stores.
    pub stores: u64,
    /// Seconds of guest time for scenarios that run for a time, else 0.
    pub seconds: u64,
    /// Seconds of host time after which the machine counts as hung, boot included.
    pub timeout: u64,
}

/// A scenario: one outcome on each of its kernels.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Unique; starts with its topic (`swap_`, `tool_`).
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// The emulator.
    pub machine: Machine,
    /// RAM in MiB.
    pub memory_mb: u32,
    /// Size of the swap disk in MiB; 0: none.
    pub swap_mb: u32,
    /// Number of CPUs.
    pub cpus: u32,
    /// Kernels to run on.
    pub kernels: &'static [&'static str],
    /// Kernel arguments beyond the machine's usual ones.
    pub kernel_args: &'static [&'static str],
    /// Modules of the kernel that the guest needs, with their dependencies; a name that is
    /// built in on some kernel is no error.
    pub modules: &'static [&'static str],
    /// Effort in `cargo xtask test`.
    pub quick: Effort,
    /// Effort in `cargo xtask soak`.
    pub soak: Effort,
    /// True if no other scenario may run in the same boot.
    pub own_boot: bool,
    /// What must come out.
    pub expect: Expectation,
}

impl Scenario {
    /// True if both can run in one boot.
    pub fn shares_boot_with(&self, other: &Scenario) -> bool {
        !self.own_boot
            && !other.own_boot
            && self.machine == other.machine
            && self.memory_mb == other.memory_mb
            && self.swap_mb == other.swap_mb
            && self.cpus == other.cpus
            && self.kernel_args == other.kernel_args
            && self.modules == other.modules
    }

    /// The part of the name before the first underscore.
    pub fn topic(&self) -> &'static str {
        self.name.split('_').next().unwrap_or(self.name)
    }
}

/// The scenario of that name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    SCENARIOS
        .iter()
        .chain([&DEMO, &SHELL])
        .find(|s| s.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_carry_a_topic() {
        let mut seen = HashSet::new();
        for s in SCENARIOS {
            assert!(seen.insert(s.name), "{} twice", s.name);
            assert!(["swap", "tool"].contains(&s.topic()), "{}", s.name);
            assert!(!s.kernels.is_empty() && s.kernels.iter().all(|k| ALL_KERNELS.contains(k)));
        }
    }

    #[test]
    fn the_quick_form_stores_enough_pages_on_each_kernel() {
        for kernel in ALL_KERNELS {
            let stores: u64 = SCENARIOS
                .iter()
                .filter(|s| s.machine == Machine::Qemu && s.expect == Expectation::Pass)
                .filter(|s| s.kernels.contains(kernel))
                .map(|s| s.quick.stores)
                .sum();
            assert!(stores >= 200_000, "{kernel}: {stores}");
        }
    }

    #[test]
    fn the_ibt_machine_is_small() {
        for s in SCENARIOS.iter().filter(|s| s.machine == Machine::Ibt) {
            assert_eq!((s.cpus, s.memory_mb), (1, 384), "{}", s.name);
            assert!(
                s.kernels.iter().all(|k| ["6.12", "7.2"].contains(k)),
                "{}",
                s.name
            );
        }
    }
}
