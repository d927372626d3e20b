//! Every chore of the workspace: `cargo xtask CHORE`. Each prepares what it needs
//! (packages, toolchain parts, kernels) and says what it does on stderr; results
//! go to stdout.

mod build;
mod paths;
mod prepare;
mod process;
mod report;
mod scenarios;
mod terminal;
mod test;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use tmem_tests::{Kernel, Machine};

use prepare::{Needs, prepare};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Chores of the tmem workspace", version)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Download and install everything that any chore needs
    Prepare,
    /// Build the module, the eBPF programs and the tools
    Build {
        /// For this kernel only: 5.10, 6.1, 6.12 or 7.2
        #[arg(long)]
        kernel: Option<Kernel>,
        /// For the kernel that runs on this host
        #[arg(long, conflicts_with = "kernel")]
        running: bool,
    },
    /// Run the tests: native ones, checks, and scenarios in virtual machines
    Test {
        /// Only on this kernel (can be given several times)
        #[arg(long = "kernel", value_name = "KERNEL")]
        kernels: Vec<Kernel>,
        /// Only tests whose name has this in it (can be given several times)
        #[arg(long = "filter", value_name = "TEXT")]
        filters: Vec<String>,
        /// No virtual machines
        #[arg(long)]
        no_vm: bool,
        /// Only the scenarios of this machine
        #[arg(long)]
        machine: Option<MachineName>,
        /// Seed of the scenarios' random numbers
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Virtual machines
    Vm {
        #[command(subcommand)]
        what: Vm,
    },
}

#[derive(Subcommand)]
enum Vm {
    /// A shell in a machine with the module at hand
    Shell {
        /// 5.10, 6.1, 6.12 or 7.2
        #[arg(long, default_value = "6.12")]
        kernel: Kernel,
    },
}

/// `Machine`, as said on the command line.
#[derive(Clone, Copy, ValueEnum)]
enum MachineName {
    /// QEMU
    Qemu,
    /// Bochs, with Indirect Branch Tracking enforced
    Ibt,
}

impl From<MachineName> for Machine {
    fn from(name: MachineName) -> Self {
        match name {
            MachineName::Qemu => Self::Qemu,
            MachineName::Ibt => Self::Ibt,
        }
    }
}

fn main() -> ExitCode {
    match chore(&Arguments::parse().chore) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn chore(chore: &Chore) -> Result<ExitCode> {
    match chore {
        Chore::Prepare => {
            prepare(&Needs::everything())?;
            process::say(format!(
                "all is there; downloads are in {}",
                paths::cache()?.display()
            ));
        }
        Chore::Build { running: true, .. } => {
            let nightly = prepare(&Needs {
                programs: true,
                ..Needs::default()
            })?;
            println!("{}", build::for_running_kernel(&nightly)?.display());
            println!("{}", build::programs(&nightly)?.tmem.display());
        }
        Chore::Build { kernel, .. } => {
            let kernels = kernel.map_or_else(|| Kernel::ALL.to_vec(), |k| vec![k]);
            let needs = Needs {
                kernels: kernels.clone(),
                programs: true,
                ..Needs::default()
            };
            let (modules, programs) = build::all(&prepare(&needs)?, &kernels)?;
            for built in &modules {
                for (_, file) in &built.files {
                    println!("{}", file.display());
                }
            }
            println!("{}\n{}", programs.tmem.display(), programs.guest.display());
        }
        Chore::Test {
            kernels,
            filters,
            no_vm,
            machine,
            seed,
        } => {
            let selection = test::Selection {
                kernels: if kernels.is_empty() {
                    Kernel::ALL.to_vec()
                } else {
                    kernels.clone()
                },
                filters: filters.clone(),
                no_vm: *no_vm,
                machine: machine.map(Machine::from),
                seed: *seed,
            };
            if !test::run(&selection)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Chore::Vm {
            what: Vm::Shell { kernel },
        } => vm::shell(*kernel)?,
    }
    Ok(ExitCode::SUCCESS)
}
