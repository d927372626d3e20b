//! A virtual machine that counts instructions as time, and what its guest says of what it
//! measured there. `tmem-counter` splits the instructions by what they are for.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tmem_tests::{FileSystem, Kernel, Machine, counting};

use crate::prepare::{Needs, prepare};
use crate::process::{output, say};
use crate::vm::{self, Boot, End};
use crate::{build, paths};

/// Longest time for all that one machine measures, on a slow host.
const PATIENCE: Duration = Duration::from_secs(3600);
/// To be said where [`Told::phases`] is `None`.
pub(super) const NOT_SPLIT: &str =
    "not split: this QEMU takes no plugins of version 1 (those before 9 do)";

/// What is to be measured, and the machine for it.
pub(super) struct Wanted<'a> {
    pub(super) kernel: Kernel,
    /// As the guest calls it.
    pub(super) what: &'a str,
    /// MiB; 0: no disk.
    pub(super) swap_mib: u32,
    pub(super) file_systems: Vec<FileSystem>,
    /// Reads and writes a second that each of those disks does; `None`: as many as it can.
    pub(super) disk_operations: Option<u32>,
    /// A disk with fio and stress-ng.
    pub(super) disk_of_programs: bool,
    /// Kernel modules, by name.
    pub(super) modules: Vec<&'a str>,
    /// More files in the initramfs: where there, and from where here.
    pub(super) extra: Vec<(&'a str, PathBuf)>,
}

impl<'a> Wanted<'a> {
    /// A machine without disks.
    pub(super) fn new(kernel: Kernel, what: &'a str) -> Self {
        Self {
            kernel,
            what,
            swap_mib: 0,
            file_systems: Vec::new(),
            disk_operations: None,
            disk_of_programs: false,
            modules: Vec::new(),
            extra: Vec::new(),
        }
    }
}

/// Instructions by [`counting::Class`].
pub(super) type Sums = [f64; counting::Class::ALL.len()];

/// What a guest said.
pub(super) struct Told {
    /// Each an object of JSON.
    pub(super) data: Vec<String>,
    /// What was executed in each phase, where QEMU takes the plugin.
    pub(super) phases: Option<Vec<Sums>>,
    /// The kernel's release.
    pub(super) release: String,
}

/// Boots a machine and measures.
pub(super) fn told(wanted: &Wanted<'_>) -> Result<Told> {
    let kernel = wanted.kernel;
    let nightly = prepare(&Needs {
        kernels: vec![kernel],
        machines: vec![Machine::Qemu],
        programs: true,
        disk_of_programs: wanted.disk_of_programs,
        ..Needs::default()
    })?;
    let (modules, programs) = build::all(&nightly, &[kernel])?;
    let sums = paths::output().join("bench.counts");
    let plugin = match counts_by_plugin()? {
        true => {
            let counter = build::counter()?;
            Some(format!("{},out={}", counter.display(), sums.display()))
        }
        false => None,
    };
    let split = plugin.is_some();
    say(format!(
        "measuring in a machine with kernel {kernel} that counts instructions"
    ));
    let boot = Boot {
        name: "bench".to_owned(),
        machine: Machine::Qemu,
        modules: &modules[0],
        programs: &programs,
        memory_mib: 768,
        swap_mib: wanted.swap_mib,
        file_systems: wanted.file_systems.clone(),
        disk_operations: wanted.disk_operations,
        disk_of_programs: wanted.disk_of_programs,
        cpus: 1,
        wanted: wanted.modules.clone(),
        extra: wanted.extra.clone(),
        arguments: format!(
            "loglevel=4 nokaslr mitigations=off tmem.run={}",
            wanted.what
        ),
        timeouts: vec![PATIENCE],
        counted: true,
        plugin,
        echo: None,
    };
    let machine = vm::run(&boot)?;
    let failure = machine
        .console
        .outcomes
        .iter()
        .find_map(|outcome| outcome.failure.clone());
    let data: Vec<String> = machine
        .console
        .outcomes
        .iter()
        .flat_map(|outcome| outcome.data.clone())
        .collect();
    if let (Some(why), _) | (None, Some(why)) = (
        failure,
        (machine.end != End::Done).then(|| machine.end.to_string()),
    ) {
        bail!("{why}; console: {}", machine.file.display());
    }
    fs::remove_file(&machine.file).with_context(|| machine.file.display().to_string())?;
    let phases = match split {
        true => {
            let text = fs::read_to_string(&sums).with_context(|| sums.display().to_string())?;
            Some(text.lines().map(phase).collect::<Result<_>>()?)
        }
        false => None,
    };
    Ok(Told {
        data,
        phases,
        release: modules[0].root.release.clone(),
    })
}

/// A line of the plugin.
fn phase(line: &str) -> Result<Sums> {
    let sums = line.split(' ').map(str::parse);
    let sums = sums.collect::<Result<Vec<f64>, _>>().ok();
    sums.and_then(|sums| Sums::try_from(sums).ok())
        .with_context(|| format!("the counter's line {line:?}"))
}

/// Whether QEMU takes our plugin: its interface is that of the versions before 9.
fn counts_by_plugin() -> Result<bool> {
    let version = output(Command::new("qemu-system-x86_64").arg("--version"))?;
    let major = version
        .split_whitespace()
        .skip_while(|word| *word != "version")
        .nth(1)
        .and_then(|number| number.split('.').next()?.parse::<u32>().ok())
        .with_context(|| format!("QEMU's version: {version}"))?;
    Ok(major < 9)
}
