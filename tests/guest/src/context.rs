//! What a scenario is told: its parameters, the machine, and who is watching.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use tmem_tests::protocol::Line;
use tmem_tests::{DEMO, Effort, FileSystem, Scenario};

use crate::{boot, sys};

/// A person's terminal on the console.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    /// Width in characters.
    pub(crate) columns: u16,
    /// Height in lines.
    pub(crate) rows: u16,
}

/// Parameters and surroundings of scenarios.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    overrides: BTreeMap<String, String>,
    effort: Effort,
    swap: Option<PathBuf>,
    disks: BTreeMap<String, PathBuf>,
    programs: Option<PathBuf>,
    /// Someone's terminal, if there is one.
    pub(crate) terminal: Option<Terminal>,
    /// The kernel's version: major and minor number.
    pub(crate) kernel: (u32, u32),
    /// Seed of all random choices.
    pub(crate) seed: u64,
    parameters: BTreeMap<String, String>,
    name: String,
}

impl Context {
    /// From the kernel arguments.
    pub(crate) fn new(arguments: &BTreeMap<String, String>) -> Result<Self> {
        let overrides = arguments
            .get("tmem.params")
            .map(|text| boot::pairs(text, |c| c == ','))
            .unwrap_or_default();
        let effort = match arguments.get("tmem.effort").map(String::as_str) {
            None | Some("quick") => Effort::Quick,
            Some("soak") => Effort::Soak,
            Some(other) => bail!("no effort {other:?}"),
        };
        let size = |key: &str, default| {
            arguments
                .get(key)
                .and_then(|v| v.parse().ok())
                .unwrap_or(default)
        };
        let terminal =
            (arguments.get("tmem.tty").map(String::as_str) == Some("1")).then(|| Terminal {
                columns: size("tmem.cols", 80),
                rows: size("tmem.rows", 24),
            });
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
            bail!("cannot read the kernel version {release:?}");
        };
        let seed = match overrides.get("seed") {
            Some(seed) => seed.parse().context("seed")?,
            None => 1,
        };
        Ok(Self {
            overrides,
            effort,
            swap: arguments.get("tmem.swap").map(PathBuf::from),
            programs: arguments.get("tmem.programs").map(PathBuf::from),
            disks: arguments
                .get("tmem.disks")
                .into_iter()
                .flat_map(|text| text.split(','))
                .filter_map(|pair| pair.split_once(':'))
                .map(|(name, disk)| (name.to_owned(), PathBuf::from(disk)))
                .collect(),
            terminal,
            kernel: (major, minor),
            seed,
            parameters: BTreeMap::new(),
            name: String::new(),
        })
    }

    /// The same with the parameters of the scenario of that name.
    pub(crate) fn of(&self, name: &str) -> Result<Self> {
        let scenario = if name == DEMO.name {
            &DEMO
        } else {
            Scenario::find(name).with_context(|| format!("no scenario {name:?}"))?
        };
        let mut parameters = boot::pairs(scenario.params(self.effort), |c| c == ',');
        parameters.extend(self.overrides.clone());
        Ok(Self {
            parameters,
            name: name.to_owned(),
            ..self.clone()
        })
    }

    /// A parameter that is a number; an error if the scenario has none of that name.
    pub(crate) fn number(&self, key: &str) -> Result<u64> {
        let value = self
            .parameters
            .get(key)
            .with_context(|| format!("{} has no parameter {key}", self.name))?;
        value.parse().with_context(|| format!("{key}={value}"))
    }

    /// A parameter that may be absent.
    pub(crate) fn option(&self, key: &str) -> Option<&str> {
        self.parameters.get(key).map(String::as_str)
    }

    /// The parameters whose names begin so, without that beginning.
    pub(crate) fn options<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.parameters
            .iter()
            .filter_map(move |(key, value)| Some((key.strip_prefix(prefix)?, value.as_str())))
    }

    /// The swap disk, once it is there.
    pub(crate) fn swap(&self) -> Result<PathBuf> {
        let path = self.swap.clone().context("this machine has no swap disk")?;
        boot::wait_for(&path)?;
        Ok(path)
    }

    /// The scenario's file system and its disk, once that is there.
    pub(crate) fn disk(&self) -> Result<(FileSystem, PathBuf)> {
        let file_system = Scenario::find(&self.name)
            .and_then(|scenario| scenario.file_system)
            .with_context(|| format!("{} has no file system", self.name))?;
        let path = self
            .disks
            .get(file_system.name())
            .with_context(|| format!("this machine has no {}", file_system.name()))?;
        boot::wait_for(path)?;
        Ok((file_system, path.clone()))
    }

    /// The disk with other people's programs, once it is there.
    pub(crate) fn programs(&self) -> Result<PathBuf> {
        let path = self
            .programs
            .clone()
            .context("this machine has no programs")?;
        boot::wait_for(&path)?;
        Ok(path)
    }

    /// Prints one object of results. Scenario, kernel and seed are added.
    pub(crate) fn data(&self, mut values: serde_json::Value) {
        if let Some(object) = values.as_object_mut() {
            object.insert("scenario".into(), self.name.as_str().into());
            object.insert(
                "kernel".into(),
                format!("{}.{}", self.kernel.0, self.kernel.1).into(),
            );
            object.insert("seed".into(), self.seed.into());
        }
        sys::say(&Line::Data(values.to_string()).to_string());
    }
}
