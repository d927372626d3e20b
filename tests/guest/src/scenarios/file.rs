//! The file-system stress: without the module, with it, and with something broken.

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::cgroup::Cgroup;
use crate::content::Rng;
use crate::context::Context;
use crate::stress::{self, Place, Plan, Spoil, Surroundings, Top};

/// Memory of the group, MiB: reclaim is asked for and not left to the limit.
const GROUP_MIB: u64 = 128;

fn plan(context: &Context) -> Result<Plan> {
    let number = |key, default: u64| match context.option(key) {
        Some(_) => context.number(key),
        None => Ok(default),
    };
    Ok(Plan {
        seed: context.seed,
        operations: context.number("operations")?,
        workers: number("workers", 2)? as usize,
        files: number("files", 6)? as usize,
        pages: number("pages", 96)? as usize,
        readers: number("readers", 2)? as usize,
        whole: number("whole", 1)? == 1,
        spoil: match context.option("spoil") {
            None => None,
            Some("model") => Some(Spoil::Model),
            Some("disk") => Some(Spoil::Disk),
            Some(other) => bail!("spoil={other}: model or disk"),
        },
    })
}

/// The kernel alone.
struct Plain;

impl Surroundings for Plain {
    fn mounted(&self) -> Result<()> {
        Ok(())
    }

    fn disturb(&self, _: &mut Rng) -> Result<()> {
        Ok(())
    }

    fn settle(&self) -> Result<()> {
        Ok(())
    }
}

/// The stress without the module: proves that the model is right.
pub(super) fn plain(context: &Context) -> Result<()> {
    let (file_system, disk) = context.disk()?;
    let top = match context.option("top") {
        None => Top::Nothing,
        Some("loop") => Top::Loop,
        Some("overlay") => Top::Overlay,
        Some(other) => bail!("top={other}: loop or overlay"),
    };
    let place = Place::new(file_system, &disk, top)?;
    let group = Cgroup::new("files", GROUP_MIB)?;
    group.enter()?;
    let (before, _) = place.sectors()?;
    let done = stress::run(plan(context)?, &place, &group, &Plain)?;
    let (after, _) = place.sectors()?;
    context.data(json!({
        "operations": done.operations,
        "reads": done.reads,
        "verified": done.pages,
        "bad": 0,
        "sectors_read": after - before,
    }));
    place.unmount().context("at the end")
}
