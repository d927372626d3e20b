//! The module under test, as loaded, tuned, watched and unloaded by scenarios.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use tmem_common::op::Outcome;
use tmem_common::sysfs;
use tmem_tests::protocol::{MISUSE_MODULE, MODULE};

use crate::context::Context;
use crate::swap::SwapDisk;
use crate::{cgroup, process, stress, swap, sys};

/// The module's name, as the kernel lists it.
const NAME: &str = "tmem";

/// The module's counters at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stats(BTreeMap<&'static str, u64>);

impl Stats {
    /// Of the whole.
    pub(crate) fn read() -> Result<Self> {
        let names = sysfs::STATS_FIELDS
            .into_iter()
            .chain(Outcome::ALL.map(Outcome::name));
        names
            .map(|name| {
                Ok((
                    name,
                    attribute(&format!("{}/{name}", sysfs::STATS))?.parse()?,
                ))
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// A counter or gauge by its file's name.
    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Operations that ended so.
    pub(crate) fn outcome(&self, outcome: Outcome) -> u64 {
        self.get(outcome.name())
    }

    /// Pages stored since the module was loaded.
    pub(crate) fn stored(&self) -> u64 {
        Outcome::ALL
            .into_iter()
            .filter(|o| o.is_stored())
            .map(|o| self.outcome(o))
            .sum()
    }
}

/// Reads a file of the module, without the line's end.
pub(crate) fn attribute(name: &str) -> Result<String> {
    let path = Path::new(sysfs::ROOT).join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    Ok(text.trim_end().to_owned())
}

/// Writes a tunable.
pub(crate) fn try_set(name: &str, value: &str) -> io::Result<()> {
    fs::write(Path::new(sysfs::ROOT).join(name), value)
}

/// Writes a tunable that must take the value.
pub(crate) fn set(name: &str, value: &str) -> Result<()> {
    try_set(name, value).with_context(|| format!("setting {name} to {value}"))
}

/// Codecs that can be chosen.
pub(crate) fn codecs() -> Result<Vec<String>> {
    Ok(attribute(sysfs::CODECS)?
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}

/// Loads the module.
pub(crate) fn load(parameters: &str) -> io::Result<()> {
    load_from(MODULE, parameters)
}

/// Loads a build of the module.
pub(crate) fn load_from(path: &str, parameters: &str) -> io::Result<()> {
    sys::load_module(Path::new(path), parameters)
}

/// Unloads the module, or says why not.
pub(crate) fn unload() -> io::Result<()> {
    sys::unload_module(NAME)
}

/// Loads the test module that holds or misuses hooked functions.
pub(crate) fn load_misuse(parameters: &str) -> io::Result<()> {
    load_from(MISUSE_MODULE, parameters)
}

/// Unloads the test module.
pub(crate) fn unload_misuse() -> io::Result<()> {
    sys::unload_module("tmem_misuse")
}

/// True while the module is loaded.
pub(crate) fn is_loaded() -> bool {
    Path::new("/sys/module").join(NAME).exists()
}

/// An error unless the module holds nothing. Memory goes back in the background, so this
/// waits for it a while.
pub(crate) fn ensure_empty() -> Result<()> {
    const PATIENCE: u32 = 100;
    let mut held = Vec::new();
    for _ in 0..PATIENCE {
        let stats = Stats::read()?;
        held = [
            "pages",
            "same_pages",
            "raw_pages",
            "data_bytes",
            "store_bytes",
        ]
        .into_iter()
        .filter(|name| stats.get(name) != 0)
        .map(|name| format!("{name} {}", stats.get(name)))
        .collect();
        if held.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    bail!("the module still accounts for {}", held.join(", "))
}

/// Swap disk and module, ready to take pages.
#[derive(Debug)]
pub(crate) struct Tier {
    /// The disk behind the module.
    pub(crate) disk: SwapDisk,
    loaded: bool,
}

impl Tier {
    /// Loads the module and switches swap on. With the parameter `backend=disk` the module
    /// stays out, which shows what the kernel does by itself.
    pub(crate) fn start(context: &Context) -> Result<Self> {
        if context.option("backend") == Some("disk") {
            return Ok(Self::without_module(SwapDisk::start(&context.swap()?)?));
        }
        Self::start_with(context, MODULE, "")
    }

    /// What the kernel does by itself with a disk that is on.
    pub(crate) fn without_module(disk: SwapDisk) -> Self {
        Self {
            disk,
            loaded: false,
        }
    }

    /// The same with a chosen build and parameters of the module.
    pub(crate) fn start_with(context: &Context, path: &str, parameters: &str) -> Result<Self> {
        let disk = SwapDisk::start(&context.swap()?)?;
        load_from(path, parameters).with_context(|| format!("loading {path} {parameters}"))?;
        let tier = Self { disk, loaded: true };
        tier.set(sysfs::LIMIT, "40%")?;
        Ok(tier)
    }

    /// Writes a tunable.
    pub(crate) fn set(&self, name: &str, value: &str) -> Result<()> {
        if self.loaded {
            set(name, value)
        } else {
            Ok(())
        }
    }

    /// Pages stored since the start; without the module, pages that were swapped out.
    pub(crate) fn stored(&self) -> Result<u64> {
        if self.loaded {
            Ok(Stats::read()?.stored())
        } else {
            vmstat("pswpout")
        }
    }

    /// Counters now; all zero without the module.
    pub(crate) fn stats(&self) -> Result<Stats> {
        if self.loaded {
            Stats::read()
        } else {
            Ok(Stats::default())
        }
    }

    /// Swap off, everything accounted for, module out.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.disk.off()?;
        if self.loaded {
            ensure_empty()?;
            unload().context("unloading the empty module")?;
            ensure!(
                !is_loaded(),
                "the module is still there after its unloading"
            );
        }
        Ok(())
    }
}

/// A counter of the kernel's memory management since boot; 0 if this kernel has none of
/// that name.
pub(crate) fn vmstat(name: &str) -> Result<u64> {
    let text = fs::read_to_string("/proc/vmstat").context("/proc/vmstat")?;
    match text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
    {
        Some(value) => Ok(value.parse()?),
        None => Ok(0),
    }
}

/// Brings the machine back into its first state after a scenario, however that ended.
pub(crate) fn clean_up() -> Result<()> {
    process::kill_all_others();
    stress::clean_up()?;
    cgroup::remove_leftovers();
    fs::write("/sys/module/zswap/parameters/enabled", "0").context("switching zswap off")?;
    fs::write("/proc/sys/kernel/ftrace_enabled", "1").context("switching ftrace on")?;
    for disk in swap::active()? {
        sys::swapoff(&disk).with_context(|| format!("swapoff {}", disk.display()))?;
    }
    if is_loaded() {
        unload().context("unloading the module after the scenario")?;
    }
    Ok(())
}
