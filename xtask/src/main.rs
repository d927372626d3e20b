//! Every chore of the workspace: `cargo xtask CHORE`. Each prepares what it needs
//! (packages, toolchain parts, kernels) and says what it does on stderr; results
//! go to stdout.

mod bench;
mod build;
mod corpus;
mod installed;
mod package;
mod paths;
mod prepare;
mod process;
mod report;
mod run;
mod scenarios;
mod soak;
mod terminal;
mod test;
mod vm;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

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
    /// Make Debian packages: the tool, and the module for DKMS
    Package {
        /// Where to put them [default: target/tmem/packages]
        #[arg(long, value_name = "DIR")]
        output: Option<PathBuf>,
    },
    /// Measure the engine, its codecs, or swap in a virtual machine
    Bench(bench::Args),
    /// Make corpora of pages from programs and files of this machine
    Corpus(corpus::Args),
    /// Boot a kernel under memory pressure and watch tmem work
    Run {
        /// 5.10, 6.1, 6.12 or 7.2
        #[arg(long, default_value = "6.12")]
        kernel: Kernel,
    },
    /// The scenarios with more operations, again and again
    Soak {
        /// Only scenarios whose name has one of these in it; `packages` alone: the packages in clean Debian roots
        #[arg(value_name = "TOPIC")]
        topics: Vec<String>,
        /// For how long: 90s, 30m, 2h; a round that has begun is finished
        #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = soak::parse_time)]
        time: Duration,
        /// Seed of the first round, to repeat one
        #[arg(long)]
        seed: Option<u64>,
        /// Only on this kernel (can be given several times)
        #[arg(long = "kernel", value_name = "KERNEL")]
        kernels: Vec<Kernel>,
        /// The machine
        #[arg(long, default_value = "qemu")]
        machine: MachineName,
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

fn all_if_empty(kernels: &[Kernel]) -> Vec<Kernel> {
    if kernels.is_empty() {
        Kernel::ALL.to_vec()
    } else {
        kernels.to_vec()
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
                kernels: all_if_empty(kernels),
                filters: filters.clone(),
                no_vm: *no_vm,
                machine: machine.map(Machine::from),
                seed: *seed,
            };
            if !test::run(&selection)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Chore::Package { output } => {
            let nightly = prepare(&Needs {
                programs: true,
                ..Needs::default()
            })?;
            let folder = output
                .clone()
                .unwrap_or_else(|| paths::output().join("packages"));
            for package in package::packages(&nightly, &folder, package::VERSION)? {
                println!("{}", package.display());
            }
        }
        Chore::Bench(args) => bench::run(args)?,
        Chore::Corpus(args) => corpus::run(args)?,
        Chore::Run { kernel } => run::run(*kernel)?,
        Chore::Soak {
            topics,
            time,
            seed,
            kernels,
            machine,
        } => {
            let selection = soak::Selection {
                topics: topics.clone(),
                time: *time,
                seed: *seed,
                kernels: all_if_empty(kernels),
                machine: (*machine).into(),
            };
            if !soak::run(&selection)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        Chore::Vm {
            what: Vm::Shell { kernel },
        } => vm::shell(*kernel)?,
    }
    Ok(ExitCode::SUCCESS)
}
