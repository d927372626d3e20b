//! `cargo xtask vm shell`: busybox in a machine with the module at hand.

use std::io::IsTerminal;

use anyhow::{Result, bail};
use tmem_tests::scenario::DEMO;
use tmem_tests::{Kernel, Machine};

use super::{Boot, interactive};
use crate::build;
use crate::prepare::{Needs, prepare};
use crate::process::say;
use crate::terminal;

/// Boots `kernel` into a shell on this terminal.
pub(crate) fn shell(kernel: Kernel) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        bail!(
            "`vm shell` wants a terminal; `cargo xtask test --filter NAME` runs scenarios without one"
        );
    }
    let needs = Needs {
        kernels: vec![kernel],
        machines: vec![Machine::Qemu],
        programs: true,
        ..Needs::default()
    };
    let nightly = prepare(&needs)?;
    let (modules, programs) = build::all(&nightly, &[kernel])?;
    say("booting; `exit` or Ctrl-A X ends it; the module is /lib/tmem/tmem.ko");
    interactive(&Boot {
        name: "shell".to_owned(),
        machine: Machine::Qemu,
        modules: &modules[0],
        programs: &programs,
        memory_mib: DEMO.memory_mib,
        swap_mib: DEMO.swap_mib,
        file_systems: Vec::new(),
        disk_operations: None,
        disk_of_programs: false,
        cpus: DEMO.cpus,
        wanted: DEMO.modules.to_vec(),
        extra: Vec::new(),
        arguments: format!("quiet tmem.run=shell {}", terminal::arguments()),
        timeouts: Vec::new(),
        counted: false,
        plugin: None,
        echo: None,
    })
}
