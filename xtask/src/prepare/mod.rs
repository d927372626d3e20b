//! Brings what is missing: Debian packages, toolchain parts, kernel roots. What is
//! there already costs a few file look-ups and no network.

mod packages;
mod python;
pub(crate) mod roots;
mod toolchain;

use anyhow::Result;
use tmem_tests::{Kernel, Machine};

pub(crate) use packages::is_root;
pub(crate) use python::python;
pub(crate) use toolchain::Nightly;

/// What a chore needs beyond a stable toolchain.
#[derive(Clone, Debug, Default)]
pub(crate) struct Needs {
    /// Kernels to build for and to boot.
    pub(crate) kernels: Vec<Kernel>,
    /// Machines to boot them on; empty: nothing is booted.
    pub(crate) machines: Vec<Machine>,
    /// The nightly toolchain and bpf-linker: kernel object and eBPF programs.
    pub(crate) programs: bool,
    /// The disk with fio and stress-ng.
    pub(crate) disk_of_programs: bool,
    /// Miri, for the tests.
    pub(crate) miri: bool,
    /// What traces are opened in: Chromium, and Python with the tools of analysts.
    pub(crate) analysis: bool,
}

impl Needs {
    /// Everything that any chore could want.
    pub(crate) fn everything() -> Self {
        Self {
            kernels: Kernel::ALL.to_vec(),
            machines: vec![Machine::Qemu, Machine::Ibt],
            programs: true,
            disk_of_programs: true,
            miri: true,
            analysis: true,
        }
    }
}

/// Brings what is missing; the nightly toolchain to use.
///
/// # Errors
/// When something cannot be had, with what to do about it.
pub(crate) fn prepare(needs: &Needs) -> Result<Nightly> {
    let nightly = tools(needs)?;
    systems(needs)?;
    Ok(nightly)
}

/// Of [`prepare`] what this host builds and tests with; the nightly toolchain to use.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn tools(needs: &Needs) -> Result<Nightly> {
    packages::install(needs)?;
    let nightly = toolchain::nightly(needs)?;
    if needs.programs {
        toolchain::bpf_linker()?;
    }
    if needs.analysis {
        python()?;
    }
    Ok(nightly)
}

/// Of [`prepare`] what machines are made of, once [`tools`] are there.
///
/// # Errors
/// As [`prepare`].
pub(crate) fn systems(needs: &Needs) -> Result<()> {
    for kernel in &needs.kernels {
        roots::kernel(*kernel)?;
    }
    if needs.machines.contains(&Machine::Ibt) {
        roots::bochs()?;
    }
    if needs.disk_of_programs {
        roots::programs()?;
    }
    Ok(())
}
