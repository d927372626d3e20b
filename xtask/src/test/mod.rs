//! `cargo xtask test`: everything that shows whether the project works, from unit
//! tests to machines.

use anyhow::Result;
use tmem_tests::{Effort, Kernel, Machine};

use crate::build;
use crate::prepare::{Needs, prepare};
use crate::process::say;
use crate::report::Report;
use crate::scenarios::{self, Settings};

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
    let machines = match selection.machine {
        _ if selection.no_vm => Vec::new(),
        Some(machine) => vec![machine],
        None => vec![Machine::Qemu, Machine::Ibt],
    };
    let settings = Settings {
        effort: Effort::Quick,
        filters: selection.filters.clone(),
        machines: machines.clone(),
        seed: selection.seed,
    };
    let nightly = prepare(&Needs {
        kernels: selection.kernels.clone(),
        machines,
        programs: true,
        miri: selection.machine.is_none(),
    })?;
    let report = Report::default();
    if scenarios::any(&selection.kernels, &settings) {
        let (modules, programs) = build::all(&nightly, &selection.kernels)?;
        say("starting the machines");
        scenarios::run(&modules, &programs, &settings, &report);
    }
    Ok(report.finish())
}
