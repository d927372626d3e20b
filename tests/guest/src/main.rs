//! The guest: `/init` of the test machines. Prepares the machine, runs the
//! scenarios named on the kernel command line, each in a process of its own, and
//! powers off. The words it exchanges with the host stand in
//! [`tmem_tests::protocol`].

mod bench;
mod bench_file;
mod boot;
mod cgroup;
mod context;
mod dashboard;
mod kernel_log;
mod load;
mod process;
mod region;
mod scenarios;
mod stress;
mod swap;
mod sys;
mod tier;
mod watch;

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use tmem_tests::content;
use tmem_tests::protocol::Line;

use crate::context::Context;

fn main() -> ExitCode {
    let interactive = match run() {
        Ok(interactive) => interactive,
        Err(error) => {
            sys::say(&Line::Fail("boot".into(), format!("{error:#}")).to_string());
            false
        }
    };
    if !interactive {
        sys::say(&Line::Done.to_string());
    }
    boot::power_off();
    ExitCode::FAILURE
}

/// True if a person sat at the console.
fn run() -> Result<bool> {
    boot::mount_everything().context("mounting the kernel's file systems")?;
    let arguments = boot::arguments()?;
    boot::load_modules().context("loading the kernel's modules")?;
    let context = Context::new(&arguments)?;
    if let Some(command) = arguments.get("tmem.run") {
        scenarios::interactive(command, &context)?;
        return Ok(context.terminal.is_some());
    }
    for name in arguments
        .get("tmem.scenario")
        .map(String::as_str)
        .unwrap_or_default()
        .split(',')
        .filter(|name| !name.is_empty())
    {
        let result = scenarios::run(name, &context);
        let line = match result.and(tier::clean_up()) {
            Ok(()) => Line::Pass(name.into()),
            Err(error) => Line::Fail(name.into(), format!("{error:#}")),
        };
        sys::say(&line.to_string());
    }
    Ok(false)
}
