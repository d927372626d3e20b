//! The file-system stress: without the module, with it, and with something broken.

use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use tmem_common::op::Outcome;
use tmem_common::policy::Policy;
use tmem_common::sysfs;
use tmem_tests::protocol::{CONTROL_MODULE, MODULE};

use super::reread::LIST;
use super::verify;
use crate::cgroup::{self, Cgroup};
use crate::content::Rng;
use crate::context::Context;
use crate::kernel_log::KernelLog;
use crate::stress::{self, BASE, Place, Plan, Spoil, Surroundings, Top};
use crate::tier::{self, Stats};

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
        reads: number("reads", 2)?.max(1),
        reclaim: number("reclaim", 4)? as usize,
        disturb: number("disturb", 60)? as usize,
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

/// The kernel with the module, which takes part under the stress.
struct Kept {
    module: &'static str,
    parameters: String,
    /// Whether it leaves and comes back while the stress goes on.
    reload: bool,
    /// Whether the file system is removed and added again at each disturbance.
    again: bool,
    /// Whether what its pool keeps, and evicts first, is changed while the stress goes on.
    policies: bool,
    tunables: Vec<(String, String)>,
    /// What was counted before the module was unloaded.
    before: Mutex<Counts>,
}

/// Counters of the module over all its lives.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    stores: u64,
    hits: u64,
    misses: u64,
    corrupt: u64,
    refused_no_memory: u64,
}

impl Counts {
    fn and(self, other: Self) -> Self {
        Self {
            stores: self.stores + other.stores,
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            corrupt: self.corrupt + other.corrupt,
            refused_no_memory: self.refused_no_memory + other.refused_no_memory,
        }
    }

    fn now() -> Result<Self> {
        let stats = Stats::read()?;
        Ok(Self {
            stores: stats.stored(),
            hits: stats.outcome(Outcome::Hit),
            misses: stats.outcome(Outcome::Miss),
            corrupt: stats.outcome(Outcome::Corrupt),
            refused_no_memory: stats.outcome(Outcome::RefusedNoMemory),
        })
    }
}

impl Kept {
    fn new(context: &Context, module: &'static str) -> Self {
        let broken = context.option("break_hook");
        // `tunable.NAME=VALUE` among the parameters.
        let tunables = context
            .options("tunable.")
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        Self {
            module,
            parameters: broken
                .map(|names| format!("break_hook={}", names.replace('+', ",")))
                .unwrap_or_default(),
            reload: context.option("reload").is_some(),
            again: context.option("again").is_some(),
            policies: context.option("policies").is_some(),
            tunables,
            before: Mutex::default(),
        }
    }

    fn load(&self) -> Result<()> {
        tier::load_from(self.module, &self.parameters)
            .with_context(|| format!("loading {} {}", self.module, self.parameters))?;
        tier::set(sysfs::LIMIT, "40%")?;
        for (name, value) in &self.tunables {
            tier::set(name, value)?;
        }
        Ok(())
    }

    fn add(&self) -> Result<()> {
        tier::set(&format!("{}/{}", sysfs::MOUNTS, sysfs::MOUNTS_ADD), BASE)
    }

    fn remove(&self) -> Result<()> {
        tier::set(&format!("{}/{}", sysfs::MOUNTS, sysfs::MOUNTS_REMOVE), BASE)
    }

    /// Gives each ephemeral pool another policy, and a limit that makes it evict.
    fn change_policies(&self, rng: &mut Rng) -> Result<()> {
        let mut pick = |values: &[&'static str]| values[rng.below(values.len())];
        let pools = Path::new(sysfs::ROOT).join(sysfs::POOLS);
        for pool in fs::read_dir(&pools).context("listing pools")? {
            let pool = pool?;
            if !pool.path().join(sysfs::POOL_POLICY).exists() {
                continue;
            }
            let settings = [
                (sysfs::POOL_POLICY, pick(&Policy::ALL.map(Policy::name))),
                (sysfs::POOL_LIMIT, pick(&["4K", "16K", "64K"])),
                (
                    sysfs::POOL_ADMISSION,
                    pick(&["always", "always", "always", "refaulted", "1"]),
                ),
                (sysfs::POOL_MAX_RATIO, pick(&["100", "100", "75"])),
                (sysfs::POOL_TTL, pick(&["0", "0", "1"])),
            ];
            for (name, value) in settings {
                let number = pool.file_name();
                let number = number.to_string_lossy();
                tier::set(&format!("{}/{number}/{name}", sysfs::POOLS), value)?;
            }
        }
        Ok(())
    }

    /// Counts of this life and those before it.
    fn counts(&self) -> Result<Counts> {
        let now = if tier::is_loaded() {
            Counts::now()?
        } else {
            Counts::default()
        };
        Ok(self.lock().and(now))
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unload(&self) -> Result<()> {
        let counts = self.counts()?;
        tier::unload().context("unloading the module under the stress")?;
        *self.lock() = counts;
        Ok(())
    }
}

impl Surroundings for Kept {
    fn mounted(&self) -> Result<()> {
        self.add()
    }

    fn disturb(&self, rng: &mut Rng) -> Result<()> {
        if self.policies {
            self.change_policies(rng)?;
        }
        if self.again {
            self.remove()?;
            self.add()?;
        }
        if !self.reload {
            return Ok(());
        }
        match rng.below(3) {
            0 => {
                self.remove()?;
                self.add()
            }
            1 => {
                self.remove()?;
                self.unload()?;
                self.load()?;
                self.add()
            }
            // With the file system still taking part.
            _ => {
                self.unload()?;
                self.load()?;
                self.add()
            }
        }
    }

    fn settle(&self) -> Result<()> {
        if self.policies {
            let evicted = Stats::read()?.outcome(Outcome::Evicted);
            ensure!(evicted > 0, "no policy had to choose a page");
        }
        if tier::attribute(sysfs::FILE_VERIFY)? == "1" {
            let (verified, mismatches) = verify::counts()?;
            ensure!(mismatches == 0, "{mismatches} pages differ from the disk");
            ensure!(verified > 0, "no page was compared with the disk");
            ensure!(
                !tier::attribute(LIST)?.is_empty(),
                "the file system takes part no longer"
            );
        }
        self.remove()?;
        tier::ensure_empty()?;
        self.unload()
    }
}

fn place(context: &Context) -> Result<Place> {
    let top = match context.option("top") {
        None => Top::Nothing,
        Some("loop") => {
            // Else what the loop device reads and writes is nobody's, and not reclaimed.
            cgroup::account_io()?;
            Top::Loop
        }
        Some("overlay") => Top::Overlay,
        Some(other) => bail!("top={other}: loop or overlay"),
    };
    Place::new(context, top)
}

/// The stress without the module: proves that the model is right.
pub(super) fn plain(context: &Context) -> Result<()> {
    let place = place(context)?;
    stress(context, &place, &Plain, &|| Ok(Counts::default()))?;
    place.unmount().context("at the end")
}

/// The stress with the module; with the control's, if something is to be broken that does no harm.
pub(super) fn kept(context: &Context) -> Result<()> {
    let module = match context.option("break_hook") {
        Some(_) => CONTROL_MODULE,
        None => MODULE,
    };
    with_pages(context, module)?;
    Ok(())
}

fn with_pages(context: &Context, module: &'static str) -> Result<Counts> {
    let counts = with_module(context, module)?;
    ensure!(counts.stores > 0, "the module kept no page");
    ensure!(counts.hits > 0, "no page came from the module");
    Ok(counts)
}

/// The stress where there is often no memory to watch a file: nothing more is taken then, and the log says so, until the
/// file system is added again. Whether a direct write meets such a moment in a short run is chance, so it is told and not asked for.
pub(super) fn no_records(context: &Context) -> Result<()> {
    let mut log = KernelLog::from_now()?;
    with_pages(context, CONTROL_MODULE)?;
    let lines = log.lines("tmem: no memory to watch a file of ")?;
    context.data(json!({ "given_up": lines.len() }));
    Ok(())
}

/// The stress where the engine gets few pages of memory.
pub(super) fn no_pages(context: &Context) -> Result<()> {
    let counts = with_pages(context, CONTROL_MODULE)?;
    ensure!(
        counts.refused_no_memory > 0,
        "memory was there for every page"
    );
    Ok(())
}

/// The stress with a module of which something is broken, as `break_hook` says.
pub(super) fn broken(context: &Context) -> Result<()> {
    with_module(context, CONTROL_MODULE)?;
    Ok(())
}

fn with_module(context: &Context, module: &'static str) -> Result<Counts> {
    let place = place(context)?;
    let kept = Kept::new(context, module);
    kept.load()?;
    kept.add()?;
    let counts = stress(context, &place, &kept, &|| kept.counts())?;
    ensure!(counts.corrupt == 0, "the module counted corrupt pages");
    place.unmount().context("at the end")?;
    Ok(counts)
}

/// Runs `work` on the scenario's file system, which takes part with that module unless the
/// parameter `backend` is `disk`, and reports. `hits`: whether pages have to come from the module.
pub(super) fn with_place(
    context: &Context,
    module: &'static str,
    hits: bool,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let place = place(context)?;
    if context.option("backend") == Some("disk") {
        work()?;
        return place.unmount().context("at the end");
    }
    let kept = Kept::new(context, module);
    kept.load()?;
    kept.add()?;
    work()?;
    let counts = kept.counts()?;
    context.data(json!({
        "stores": counts.stores,
        "hits": counts.hits,
        "misses": counts.misses,
        "bad": 0,
    }));
    ensure!(counts.hits > 0 || !hits, "no page came from the module");
    ensure!(counts.corrupt == 0, "the module counted corrupt pages");
    place.unmount().context("at the end")?;
    tier::ensure_empty()?;
    kept.unload()
}

/// Runs the stress and reports.
fn stress(
    context: &Context,
    place: &Place,
    surroundings: &dyn Surroundings,
    counts: &dyn Fn() -> Result<Counts>,
) -> Result<Counts> {
    let group = Cgroup::new("files", GROUP_MIB)?;
    group.enter()?;
    let (before, _) = place.sectors()?;
    let done = stress::run(plan(context)?, place, &group, surroundings);
    let (after, _) = place.sectors()?;
    let counts = counts()?;
    let (operations, reads, pages, disturbances) = match &done {
        Ok(done) => (done.operations, done.reads, done.pages, done.disturbances),
        Err(_) => (0, 0, 0, 0),
    };
    context.data(json!({
        "operations": operations,
        "reads": reads,
        "disturbances": disturbances,
        "verified": pages,
        "stores": counts.stores,
        "hits": counts.hits,
        "misses": counts.misses,
        "refused_no_memory": counts.refused_no_memory,
        "bad": u64::from(done.is_err()),
        "sectors_read": after - before,
    }));
    done.map(|_| counts)
}
