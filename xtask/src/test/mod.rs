//! `cargo xtask test`: everything that shows whether the project works, from unit
//! tests to machines.

mod exports;
mod native;
mod object;
mod prometheus;
mod report_page;

use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use tmem_tests::{Effort, Kernel, Machine};

use crate::build::{self, Lock, Modules};
use crate::package;
use crate::prepare::{self, Needs, Nightly};
use crate::process::say;
use crate::report::{Report, Test, selects};
use crate::scenarios::{self, Settings};

/// Name of the test of the packages.
const PACKAGES: &str = "tool_packages";

/// What to test.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    /// Kernels of the checks and the machines.
    pub(crate) kernels: Vec<Kernel>,
    /// Parts of test names, any of which selects; empty: all tests.
    pub(crate) filters: Vec<String>,
    /// No machines.
    pub(crate) no_vm: bool,
    /// Only the scenarios of this machine.
    pub(crate) machine: Option<Machine>,
    /// For the guests' random numbers.
    pub(crate) seed: u64,
}

/// Runs the selected tests; whether all passed.
pub(crate) fn run(selection: &Selection) -> Result<bool> {
    let mut selection = selection.clone();
    if let Some(machine) = selection.machine {
        selection
            .kernels
            .retain(|kernel| scenarios::runs_on(machine, *kernel));
    }
    let selection = &selection;
    let machines = match selection.machine {
        _ if selection.no_vm => Vec::new(),
        Some(machine) => vec![machine],
        None => vec![Machine::Qemu, Machine::Ibt],
    };
    let settings = Settings {
        effort: Effort::Quick,
        filters: selection.filters.clone(),
        machines,
        seed: selection.seed,
    };
    let machines = scenarios::machines(&selection.kernels, &settings);
    let disk_of_programs = scenarios::use_programs(&selection.kernels, &settings);
    let with_machines = !machines.is_empty();
    let all_kinds = selection.machine.is_none();
    let needs = Needs {
        kernels: selection.kernels.clone(),
        machines,
        programs: true,
        disk_of_programs,
        miri: all_kinds,
        analysis: all_kinds,
    };
    let report = Report::begin();
    let nightly = prepare::tools(&needs)?;
    let begin = Instant::now();
    // What machines are made of is downloaded while the tests that need none run.
    let ended = std::thread::scope(|scope| {
        let systems = scope.spawn(|| prepare::systems(&needs));
        let ended = if all_kinds {
            native::run(&nightly, &selection.filters, &report)
        } else {
            Ok(())
        };
        let systems = systems.join().unwrap_or_else(|_| bail!("a panic"));
        ended.and(systems.context("preparing the machines"))
    });
    let ended = ended.and_then(|()| {
        let packages = selects(&selection.filters, PACKAGES);
        if with_machines || packages || object::any(&selection.filters) {
            on_kernels(&nightly, selection, &settings, &report)
        } else {
            Ok(())
        }
    });
    if let Err(error) = ended {
        let test = Test::new("running the tests", "native", begin.elapsed());
        report.add(test.failed(format!("{error:#}")));
    }
    Ok(report.finish())
}

/// What wants the modules: the checks of their object, and the machines.
fn on_kernels(
    nightly: &Nightly,
    selection: &Selection,
    settings: &Settings,
    report: &Report,
) -> Result<()> {
    let modules = modules(nightly, selection, report)?;
    if selection.machine.is_none() && selects(&selection.filters, PACKAGES) {
        let begin = Instant::now();
        let result = package::check(nightly);
        let test = Test::new(PACKAGES, "native", begin.elapsed());
        report.add(test.ended(result));
    }
    if selection.machine.is_none() {
        object::run(&modules, &selection.filters, report);
    }
    if !scenarios::machines(&selection.kernels, settings).is_empty() {
        let programs = build::programs(nightly)?;
        say("starting the machines");
        scenarios::run(&modules, &programs, settings, report);
    }
    Ok(())
}

/// The modules of each kernel that they build for: without a warning of compiler,
/// objtool or modpost.
fn modules(nightly: &Nightly, selection: &Selection, report: &Report) -> Result<Vec<Modules>> {
    let _lock = Lock::take()?;
    let objects = build::object::build(nightly)?;
    let mut built = Vec::new();
    for kernel in &selection.kernels {
        let begin = Instant::now();
        let result = build::module::build(*kernel, &objects);
        let test = Test::new(
            "module_builds_without_warnings",
            kernel.name(),
            begin.elapsed(),
        );
        match result {
            Ok(modules) => {
                if selects(&selection.filters, "module_builds_without_warnings") {
                    report.add(test);
                }
                built.push(modules);
            }
            Err(error) => report.add(test.failed(format!("{error:#}"))),
        }
    }
    Ok(built)
}
