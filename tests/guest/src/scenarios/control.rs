//! Negative controls: what is broken on purpose must be found.

use anyhow::{Context as _, Result, bail};
use tmem_tests::protocol::{BROKEN_MODULE, CONTROL_MODULE};

use super::contents::Stage;
use crate::context::Context;
use crate::tier::{self, Tier};

/// The usual load on a module that was built or loaded to misbehave.
fn verify(context: &Context, module: &str, parameters: &str) -> Result<()> {
    let stage = Stage::on(Tier::start_with(context, module, parameters)?)?;
    stage.exercise(context, context.number("stores")?)?;
    stage.finish(context)
}

/// An engine that returns wrong bytes now and then.
pub(super) fn broken_engine(context: &Context) -> Result<()> {
    verify(context, BROKEN_MODULE, "")
}

/// A hook that answers with the wrong page.
pub(super) fn broken_hook(context: &Context) -> Result<()> {
    verify(context, CONTROL_MODULE, "break_hook=wrong_page")
}

/// A hook that keeps the older copy of a page that it sends on to the disk.
pub(super) fn stale_hook(context: &Context) -> Result<()> {
    verify(context, CONTROL_MODULE, "break_hook=skip_drop_on_reject")
}

/// A pointer call to a function that the kernel sealed: ends the machine.
pub(super) fn pointer_call(_: &Context) -> Result<()> {
    tier::load_misuse("call=zswap_never_enabled").context("loading the test module")?;
    bail!("the call came back: this machine does not enforce IBT")
}
