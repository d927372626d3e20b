//! Negative controls: what is broken on purpose must be found.

use anyhow::{Context as _, Result, bail};
use tmem_tests::protocol::BROKEN_MODULE;

use super::contents::Stage;
use crate::context::Context;
use crate::tier::{self, Tier};

/// The usual load on a module that was built or loaded to misbehave.
fn verify(context: &Context, parameters: &str) -> Result<()> {
    let tier = Tier::start_with(context, BROKEN_MODULE, parameters)?;
    let stage = Stage::on(tier)?;
    stage.exercise(context, context.number("stores")?)?;
    stage.finish(context)
}

/// An engine that returns wrong bytes now and then.
pub(super) fn broken_engine(context: &Context) -> Result<()> {
    verify(context, "")
}

/// A hook that forgets to drop old copies.
pub(super) fn broken_hook(context: &Context) -> Result<()> {
    verify(context, "break_hook=1")
}

/// A pointer call to a function that the kernel sealed: ends the machine.
pub(super) fn pointer_call(_: &Context) -> Result<()> {
    tier::load_misuse("call=zswap_never_enabled").context("loading the test module")?;
    bail!("the call came back: this machine does not enforce IBT")
}
