//! Others on the hooked functions, and ftrace itself being switched off.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use super::contents::Stage;
use crate::context::Context;
use crate::kernel_log::KernelLog;
use crate::tier;

const TRACING: &str = "/sys/kernel/tracing";
const FTRACE_ENABLED: &str = "/proc/sys/kernel/ftrace_enabled";

/// The hooked functions by which pages come and go on this kernel: store, load.
fn hooked(context: &Context) -> [&'static str; 2] {
    if context.kernel < (6, 6) {
        ["__frontswap_store", "swap_readpage"]
    } else {
        ["zswap_store", "zswap_load"]
    }
}

fn write(file: &str, value: &str) -> Result<()> {
    let path = format!("{TRACING}/{file}");
    fs::write(&path, value).with_context(|| format!("writing {value:?} to {path}"))
}

/// Functions that ftrace diverts now, one a line.
fn enabled_functions() -> Result<String> {
    let path = format!("{TRACING}/enabled_functions");
    fs::read_to_string(&path).context(path)
}

/// Loads the module, which must fail, say why in one line that names `cause`, and leave
/// no hook behind.
fn ensure_refused(cause: &str) -> Result<()> {
    let before = enabled_functions()?;
    let mut log = KernelLog::from_now()?;
    if tier::load("").is_ok() {
        tier::unload().context("unloading")?;
        bail!("the module was loaded in spite of {cause}");
    }
    let lines = log.lines("tmem:")?;
    ensure!(
        lines.len() == 1,
        "not one line but {}: {lines:?}",
        lines.len()
    );
    ensure!(
        lines[0].contains(cause),
        "the line does not name {cause}: {}",
        lines[0]
    );
    ensure!(
        enabled_functions()? == before,
        "hooks changed: {}",
        enabled_functions()?
    );
    Ok(())
}

/// With ftrace off the module is not loaded; while it is loaded ftrace stays on.
pub(super) fn ftrace_off(context: &Context) -> Result<()> {
    fs::write(FTRACE_ENABLED, "0").context("switching ftrace off")?;
    let refused = ensure_refused("ftrace");
    fs::write(FTRACE_ENABLED, "1").context("switching ftrace on")?;
    refused?;

    let stage = Stage::new(context)?;
    match fs::write(FTRACE_ENABLED, "0") {
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
        other => bail!("switching ftrace off under the module: {other:?}, not EBUSY"),
    }
    stage.exercise(context, context.number("stores")?)?;
    stage.finish(context)
}

/// A function has one holder: whoever comes second is refused.
pub(super) fn livepatch_conflict(context: &Context) -> Result<()> {
    for function in hooked(context) {
        tier::load_misuse(&format!("hold={function}")).context("holding a function")?;
        let refused = ensure_refused(function);
        tier::unload_misuse().context("unloading the holder")?;
        refused?;
    }

    let stage = Stage::new(context)?;
    for function in hooked(context) {
        match tier::load_misuse(&format!("hold={function}")) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {}
            Err(error) => return Err(error).context("the second holder"),
            Ok(()) => {
                tier::unload_misuse()?;
                bail!("{function} has two holders");
            }
        }
    }
    stage.exercise(context, context.number("stores")?)?;
    stage.finish(context)
}

/// Function tracers and return probes see the hooked functions, and nothing breaks.
pub(super) fn function_tracer(context: &Context) -> Result<()> {
    let part = context.number("stores")? / 3;
    let functions = hooked(context);
    let stage = Stage::new(context)?;
    write("set_ftrace_filter", &functions.join("\n"))?;
    for tracer in ["function", "function_graph"] {
        write("current_tracer", tracer)?;
        stage.exercise(context, part)?;
        let seen = trace()?;
        write("current_tracer", "nop")?;
        // 5.10's graph tracer gets the redirected address, which its filter does not hold.
        if tracer == "function_graph" && context.kernel < (5, 11) {
            continue;
        }
        for function in functions {
            ensure!(seen.contains(function), "{tracer} does not see {function}");
        }
    }
    write("set_ftrace_filter", "\n")?;

    for (number, function) in functions.iter().enumerate() {
        let path = format!("{TRACING}/kprobe_events");
        fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .and_then(|mut file| {
                std::io::Write::write_all(
                    &mut file,
                    format!("r:probe{number} {function}\n").as_bytes(),
                )
            })
            .with_context(|| format!("a return probe on {function}"))?;
    }
    write("events/kprobes/enable", "1")?;
    stage.exercise(context, part)?;
    write("events/kprobes/enable", "0")?;
    let path = format!("{TRACING}/kprobe_profile");
    let profile = fs::read_to_string(&path).context(path)?;
    for number in 0..functions.len() {
        let name = format!("probe{number}");
        let hits = profile
            .lines()
            .find(|line| line.split_whitespace().next() == Some(&name))
            .and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        ensure!(
            hits.is_some_and(|hits| hits > 0),
            "{name} was never hit: {profile}"
        );
    }
    write("kprobe_events", "\n")?;
    stage.finish(context)
}

fn trace() -> Result<String> {
    let path = format!("{TRACING}/trace");
    let text = fs::read(&path).context(path)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
