//! `cargo xtask run`: a machine under memory pressure with the module, and the
//! dashboard on the terminal, or a summary where there is none.

use std::io::IsTerminal;
use std::time::Duration;

use anyhow::{Result, bail};
use tmem_tests::protocol::Line;
use tmem_tests::scenario::DEMO;
use tmem_tests::{Kernel, Machine};

use crate::build;
use crate::prepare::{Needs, prepare};
use crate::process::say;
use crate::terminal;
use crate::vm::{self, Boot, End};

/// Boots `kernel` and shows what tmem does there.
pub(crate) fn run(kernel: Kernel) -> Result<()> {
    let needs = Needs {
        kernels: vec![kernel],
        machines: vec![Machine::Qemu],
        programs: true,
        ..Needs::default()
    };
    let nightly = prepare(&needs)?;
    let (modules, programs) = build::all(&nightly, &[kernel])?;
    let mut boot = Boot {
        name: "run".to_owned(),
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
        arguments: String::new(),
        timeouts: vec![Duration::from_secs(u64::from(DEMO.timeout_s))],
        counted: false,
        plugin: None,
        echo: None,
    };
    if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        say(format!(
            "booting {}; q leaves the dashboard, Ctrl-A X the machine",
            modules[0].root.release
        ));
        boot.arguments = format!("quiet loglevel=3 tmem.run=top {}", terminal::arguments());
        return vm::interactive(&boot);
    }
    say(format!(
        "booting {}; the workload runs for about a minute",
        modules[0].root.release
    ));
    boot.arguments = "quiet loglevel=5 tmem.run=demo".to_owned();
    boot.echo = Some(show);
    let report = vm::run(&boot)?;
    let failure = report
        .console
        .outcomes
        .iter()
        .find_map(|outcome| outcome.failure.clone());
    let failure = failure.or_else(|| (report.end != End::Done).then(|| report.end.to_string()));
    if let Some(why) = failure {
        bail!(
            "{why}\nconsole: {}; its end:\n{}",
            report.file.display(),
            report.console.tail(40)
        );
    }
    // Nobody reads the console of a run that went well.
    let _ = std::fs::remove_file(&report.file);
    Ok(())
}

/// Prints what the guest says to people: neither the kernel's lines nor the host's.
fn show(line: &str) {
    let kernels = line.trim_start().starts_with('[');
    if !kernels && Line::parse(line).is_none() {
        println!("{line}");
    }
}
