//! Configuration files: TOML whose keys are those of `tmem set`, with the place
//! of each setting kept, so that an error can name file, line and column.
//!
//! ```toml
//! limit = "min(ram / 4, 4G)"
//! codec = "zstd"
//! keep_incompressible = true
//!
//! [pools.swap]
//! weight = 200
//!
//! [mounts."/srv"]
//! keep = true
//! policy = "s3fifo"
//! ```
//!
//! Files of the system are drop-ins as systemd has them: all `*.conf` in
//! `tmem.conf.d` below `/usr/lib`, `/etc` and `/run`, in the order of their
//! names; a file hides those of the same name in the directories before its own
//! (an empty one, or a link to /dev/null, hides and says nothing), and a later
//! file's setting takes the place of an earlier one's.

pub mod expression;

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tmem_common::sysfs;
use toml::de::{DeTable, DeValue};

use crate::control::split_mount;
use crate::mounts::MountError;
use crate::source::{
    Change, KEEP, PoolSnapshot, Source, SourceError, Tunable, apply_in_order, pool_name,
};
use crate::units::size_value;
use expression::{ExpressionError, evaluate};

/// Directories of drop-ins, the least important first.
pub const DIRECTORIES: [&str; 3] = ["usr/lib/tmem.conf.d", "etc/tmem.conf.d", "run/tmem.conf.d"];

/// Where a setting stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its line, from 1.
    pub line: usize,
    /// The character in it, from 1.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}:{}:{}",
            self.path.display(),
            self.line,
            self.column
        )
    }
}

/// One setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key, as `tmem set` takes it: `limit`, `pools.swap.weight`.
    pub key: String,
    /// The value as it was written: a size may be an expression.
    pub value: String,
    /// Where the value stands.
    pub place: Place,
}

/// Why a configuration cannot be had or made true.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file or a directory cannot be read.
    #[error("{}: {error}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
    /// A file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where.
        place: Place,
        /// What is wrong.
        message: String,
    },
    /// A value is of a kind that no setting takes.
    #[error(
        "{place}: {key}: {found} is not allowed; allowed: a string, a whole number, true or false"
    )]
    Kind {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// What kind of value it is.
        found: &'static str,
    },
    /// A value is not allowed.
    #[error("{place}: {key}: {value:?} is not allowed; allowed: {allowed}")]
    Bad {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// The value.
        value: String,
        /// The values it takes.
        allowed: String,
    },
    /// A size is not one.
    #[error("{place}: {key}: {value:?}: {error}")]
    Expression {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
        /// The expression.
        value: String,
        /// What is wrong with it.
        error: ExpressionError,
    },
    /// A setting of a file system that takes no part, and is not to.
    #[error("{place}: {key}: the file system takes no part; `keep = true` beside it adds it")]
    NotKept {
        /// Where.
        place: Place,
        /// The setting.
        key: String,
    },
    /// The source refuses it, or making it true failed after everything was found to be in order.
    #[error("{place}: {error}")]
    Refused {
        /// Where.
        place: Place,
        /// The reason.
        #[source]
        error: Box<SourceError>,
    },
    /// The source does not tell what is needed.
    #[error(transparent)]
    Source(#[from] Box<SourceError>),
}

/// Reads one file.
///
/// # Errors
/// When it cannot be read, is not TOML, or has a value of a wrong kind.
pub fn read_file(path: &Path) -> Result<Vec<Setting>, ConfigError> {
    parse(path, &read_text(path)?)
}

pub(crate) fn read_text(path: &Path) -> Result<String, ConfigError> {
    fs::read_to_string(path).map_err(|error| read_error(path, error))
}

pub(crate) fn syntax_error(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    ConfigError::Syntax {
        place: place(
            path,
            text,
            error.span().map_or(text.len(), |span| span.start),
        ),
        message: error.message().replace('\n', ", "),
    }
}

fn read_error(path: &Path, error: io::Error) -> ConfigError {
    ConfigError::Read {
        path: path.to_owned(),
        error,
    }
}

/// Reads the text of the file `path`; settings come in the order in which they stand.
///
/// # Errors
/// When it is not TOML, or has a value of a wrong kind.
pub fn parse(path: &Path, text: &str) -> Result<Vec<Setting>, ConfigError> {
    let place = |at: usize| place(path, text, at);
    let table = DeTable::parse(text).map_err(|error| syntax_error(path, text, &error))?;
    let mut settings = Vec::new();
    collect(table.get_ref(), "", &place, &mut settings)?;
    settings.sort_by_key(|setting| (setting.place.line, setting.place.column));
    Ok(settings)
}

fn collect(
    table: &DeTable<'_>,
    prefix: &str,
    place: &impl Fn(usize) -> Place,
    settings: &mut Vec<Setting>,
) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        let here = place(value.span().start);
        let wrong = |found| ConfigError::Kind {
            place: here.clone(),
            key: key.clone(),
            found,
        };
        let text = match value.get_ref() {
            DeValue::Table(inner) => {
                collect(inner, &format!("{key}."), place, settings)?;
                continue;
            }
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) => number.as_str().to_owned(),
            DeValue::Boolean(on) => u8::from(*on).to_string(),
            DeValue::Float(_) => return Err(wrong("a number with a point")),
            DeValue::Datetime(_) => return Err(wrong("a date")),
            DeValue::Array(_) => return Err(wrong("a list")),
        };
        settings.push(Setting {
            key,
            value: text,
            place: here,
        });
    }
    Ok(())
}

/// Line and column of the byte `at` of a text.
pub(crate) fn place(path: &Path, text: &str, at: usize) -> Place {
    let before = text.get(..at).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before[start..].chars().count() + 1,
    }
}

/// The drop-ins below `root` (`/` for the running system) that count, in the
/// order in which they are read.
///
/// # Errors
/// When a directory that is there cannot be read.
pub fn drop_ins(root: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let mut by_name = BTreeMap::new();
    for directory in DIRECTORIES.map(|directory| root.join(directory)) {
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(read_error(&directory, error)),
        };
        for entry in entries {
            let entry = entry.map_err(|error| read_error(&directory, error))?;
            let path = entry.path();
            if path
                .extension()
                .is_some_and(|extension| extension == "conf")
            {
                by_name.insert(entry.file_name(), path);
            }
        }
    }
    Ok(by_name.into_values().collect())
}

/// The settings of several files: of two for one key the later counts.
///
/// # Errors
/// As [`read_file`].
pub fn read_files(paths: &[PathBuf]) -> Result<Vec<Setting>, ConfigError> {
    let mut merged: Vec<Setting> = Vec::new();
    for path in paths {
        for setting in read_file(path)? {
            merged.retain(|earlier| earlier.key != setting.key);
            merged.push(setting);
        }
    }
    Ok(merged)
}

/// A value as the source takes it: where the key is that of a size, an expression
/// becomes the bytes that it has on a machine with `ram` bytes of memory.
///
/// # Errors
/// An expression that is none.
pub fn resolve(key: &str, value: &str, ram: u64) -> Result<String, ExpressionError> {
    let is_size = key.rsplit('.').next() == Some(sysfs::LIMIT);
    // Anything else the tunable takes or refuses as it stands.
    let is_expression = value.contains(['(', ')', '+', '*', '/', ',']) || value.contains("ram");
    if is_size && is_expression {
        evaluate(value, ram).map(size_value)
    } else {
        Ok(value.to_owned())
    }
}

/// A change that is due, and the setting that wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The change.
    pub change: Change,
    /// Where its value stands.
    pub place: Place,
}

/// A file system that is to take part and is not mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmounted {
    /// Where it is to be mounted.
    pub path: PathBuf,
    /// Where the setting stands that wants it.
    pub place: Place,
}

/// What has to change so that every setting holds; what holds already is left out. File systems
/// are added before everything else and removed after it, for their pools are set up in between.
/// Sections of those that are to take part and are not mounted are left out, and returned by
/// themselves.
///
/// # Errors
/// The first setting that the source would not take.
pub fn plan(
    source: &mut dyn Source,
    settings: &[Setting],
) -> Result<(Vec<Planned>, Vec<Unmounted>), ConfigError> {
    let ram = source.ram_bytes().map_err(Box::new)?;
    let mut planned: Vec<Planned> = Vec::new();
    let mut unmounted: Vec<Unmounted> = Vec::new();
    for setting in settings {
        let place = &setting.place;
        let value = resolve(&setting.key, &setting.value, ram).map_err(|error| {
            ConfigError::Expression {
                place: place.clone(),
                key: setting.key.clone(),
                value: setting.value.clone(),
                error,
            }
        })?;
        let change = match source.plan(&setting.key, &value) {
            Ok(change) => change,
            Err(error) => match not_mounted(error) {
                Ok(path) => {
                    let place = place.clone();
                    unmounted.push(Unmounted { path, place });
                    continue;
                }
                Err(error) => return Err(refused(place, error)),
            },
        };
        // One tunable may be named in two ways: the later setting counts.
        planned.retain(|earlier| earlier.change.key != change.key);
        planned.push(Planned {
            change,
            place: place.clone(),
        });
    }
    planned.retain(|planned| planned.change.old != planned.change.new);
    planned.retain(|planned| {
        let of_mount = split_mount(&planned.change.key);
        !of_mount.is_some_and(|(path, _)| unmounted.iter().any(|other| other.path == path))
    });
    for of_new in planned
        .iter()
        .filter(|planned| planned.change.old.is_empty())
    {
        let key = &of_new.change.key;
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let keep = format!("{section}.{KEEP}");
        if !planned.iter().any(|other| other.change.key == keep) {
            return Err(ConfigError::NotKept {
                place: of_new.place.clone(),
                key: key.clone(),
            });
        }
    }
    planned.sort_by_key(|planned| {
        let is_keep = planned.change.key.rsplit('.').next() == Some(KEEP);
        match (is_keep, planned.change.new.as_str()) {
            (true, "1") => 0,
            (true, _) => 2,
            (false, _) => 1,
        }
    });
    Ok((planned, unmounted))
}

/// The path on which nothing is mounted, if that is what is wrong.
fn not_mounted(error: SourceError) -> Result<PathBuf, SourceError> {
    match error {
        SourceError::Mount(error) => match *error {
            MountError::NotMounted(path) => Ok(path),
            other => Err(Box::new(other).into()),
        },
        error => Err(error),
    }
}

fn refused(place: &Place, error: SourceError) -> ConfigError {
    ConfigError::Refused {
        place: place.clone(),
        error: Box::new(error),
    }
}

/// Makes what was planned, or nothing.
///
/// # Errors
/// The first change that failed, with the place of its setting; everything is as before then,
/// or the error says what is not.
pub fn make_true(source: &mut dyn Source, planned: &[Planned]) -> Result<Vec<Change>, ConfigError> {
    let wanted: Vec<_> = planned
        .iter()
        .map(|planned| (planned.change.key.clone(), planned.change.new.clone()))
        .collect();
    apply_in_order(source, &wanted).map_err(|(at, error)| refused(&planned[at].place, error))
}

/// The tunables as the text of a file that makes them so again. Pools are named
/// as their frontends named them, or by the file system whose pages they keep, for their numbers
/// may be others next time.
pub fn save(tunables: &[Tunable], pools: &[PoolSnapshot]) -> String {
    let mut text = String::new();
    let mut table = None;
    for tunable in tunables {
        let (of_pool, name) = match split_pool(&tunable.key) {
            Some((id, name)) => (Some(id), name),
            // One stands above the settings of its pool, the other below all pools.
            None if in_section(tunable, sysfs::MOUNTS) || in_section(tunable, sysfs::CGROUPS) => {
                continue;
            }
            None => (None, tunable.key.as_str()),
        };
        if of_pool != table {
            table = of_pool;
            if let Some(id) = of_pool {
                let pool = pools.iter().find(|pool| pool.id == id);
                text.push('\n');
                match pool.and_then(|pool| pool.mount.as_deref()) {
                    Some(path) => {
                        let section = format!("[{}.{}]\n{KEEP} = true\n", sysfs::MOUNTS, key(path));
                        text.push_str(&section);
                    }
                    None => {
                        let name = pool.map_or_else(|| id.to_string(), |p| pool_name(&p.uuid));
                        text.push_str(&format!("[{}.{}]\n", sysfs::POOLS, key(&name)));
                    }
                }
            }
        }
        text.push_str(&format!("{} = {}\n", key(name), value(tunable)));
    }
    let mut cgroup = "";
    let of_cgroups = tunables
        .iter()
        .filter(|tunable| in_section(tunable, sysfs::CGROUPS));
    for tunable in of_cgroups {
        let rest = &tunable.key[sysfs::CGROUPS.len() + 1..];
        // What is gone will not come back under its number.
        let Some((path, name)) = rest
            .rsplit_once('.')
            .filter(|(path, _)| path.starts_with('/'))
        else {
            continue;
        };
        if path != cgroup {
            cgroup = path;
            text.push_str(&format!("\n[{}.{}]\n", sysfs::CGROUPS, key(path)));
        }
        text.push_str(&format!("{} = {}\n", key(name), value(tunable)));
    }
    text
}

/// Whether the tunable's key begins with `section` and a dot.
fn in_section(tunable: &Tunable, section: &str) -> bool {
    let rest = tunable.key.strip_prefix(section);
    rest.is_some_and(|rest| rest.starts_with('.'))
}

/// `pools.0.limit` -> (0, `limit`).
fn split_pool(key: &str) -> Option<(u32, &str)> {
    let (id, name) = key
        .strip_prefix(sysfs::POOLS)?
        .strip_prefix('.')?
        .split_once('.')?;
    Some((id.parse().ok()?, name))
}

/// A key as TOML takes it.
pub fn key(name: &str) -> String {
    let bare = |char: char| char.is_ascii_alphanumeric() || matches!(char, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        quoted(name)
    }
}

fn value(tunable: &Tunable) -> String {
    let is_switch = tunable.allowed == crate::control::SWITCH;
    match tunable.value.as_str() {
        "0" if is_switch => "false".to_owned(),
        "1" if is_switch => "true".to_owned(),
        text if text.parse::<u32>().is_ok() => text.to_owned(),
        text => quoted(text),
    }
}

/// A basic string of TOML.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for char in text.chars() {
        match char {
            '"' | '\\' => quoted.extend(['\\', char]),
            char if char.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(char))),
            char => quoted.push(char),
        }
    }
    quoted.push('"');
    quoted
}

/// Writes `text` to `path` so that a reader finds the old file or the new one,
/// never a part of it.
///
/// # Errors
/// When the directory cannot be written to.
pub fn write_whole(path: &Path, text: &str) -> Result<(), ConfigError> {
    let fail = |error| read_error(path, error);
    let Some(name) = path.file_name() else {
        return Err(fail(io::ErrorKind::InvalidFilename.into()));
    };
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = fs::File::create(&temporary).and_then(|mut file| {
        io::Write::write_all(&mut file, text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    });
    written.map_err(|error| {
        // It may not even be there.
        let _ = fs::remove_file(&temporary);
        fail(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Vec<Setting>, String> {
        parse(Path::new("t.conf"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn settings_come_with_their_places() {
        let text = "limit = \"25%\"\nenabled = true\n\n[pools.swap]\nweight = 200 # more\n";
        let settings = parsed(text).unwrap_or_default();
        let shown: Vec<String> = settings
            .iter()
            .map(|s| format!("{} {} {}", s.key, s.value, s.place))
            .collect();
        assert_eq!(
            shown,
            [
                "limit 25% t.conf:1:9",
                "enabled 1 t.conf:2:11",
                "pools.swap.weight 200 t.conf:5:10",
            ]
        );
        assert_eq!(parsed(""), Ok(Vec::new()));
    }

    #[test]
    fn errors_name_file_line_and_column() {
        for (text, words) in [
            ("limit = \"25%\"\ncodec = \"zs", "t.conf:2:"),
            ("limit = 1\nlimit = 2\n", "t.conf:2:1: duplicate key"),
            (
                "\nlimit = 1.5\n",
                "t.conf:2:9: limit: a number with a point is not allowed",
            ),
            (
                "codec = [\"lz4\"]\n",
                "t.conf:1:9: codec: a list is not allowed",
            ),
            ("[pools.swap\n", "t.conf:1:"),
        ] {
            let error = parsed(text).err().unwrap_or_default();
            assert!(error.starts_with(words), "{text:?}: {error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn only_sizes_are_expressions() {
        assert_eq!(resolve("limit", "ram / 4", 4096), Ok("1K".into()));
        assert_eq!(
            resolve("pools.swap.limit", "min(ram, 1M)", 4096),
            Ok("4K".into())
        );
        for (key, value) in [
            ("limit", "101%"),
            ("limit", "-1"),
            ("pools.0.limit", "max"),
            ("codec", "ram / 4"),
        ] {
            assert_eq!(resolve(key, value, 4096), Ok(value.into()));
        }
        assert!(resolve("limit", "ram * lots", 4096).is_err());
    }

    #[test]
    fn strings_are_quoted_as_toml_reads_them() {
        for text in ["plain", "a \"b\" \\ c", "tab\tnew\nline\u{1}", "é"] {
            let line = format!("{} = {}", key(text), quoted(text));
            let settings = parsed(&line).unwrap_or_default();
            assert_eq!(settings.len(), 1, "{line}");
            assert_eq!(
                (settings[0].key.as_str(), settings[0].value.as_str()),
                (text, text)
            );
        }
    }

    #[test]
    fn drop_ins_hide_each_other_by_name() {
        let root = tempfile::tempdir().unwrap_or_else(|error| panic!("{error}"));
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap_or(root.path())).ok();
            fs::write(path, text).ok();
        };
        write(
            "usr/lib/tmem.conf.d/10-vendor.conf",
            "limit = \"10%\"\ncodec = \"lz4\"\n",
        );
        write("usr/lib/tmem.conf.d/20-hidden.conf", "codec = \"none\"\n");
        write("etc/tmem.conf.d/20-hidden.conf", "");
        write("run/tmem.conf.d/30-now.conf", "limit = \"30%\"\n");
        write("etc/tmem.conf.d/40-other.txt", "nonsense");
        let paths = drop_ins(root.path()).unwrap_or_default();
        assert_eq!(paths.len(), 3, "{paths:?}");
        let settings = read_files(&paths).unwrap_or_default();
        let shown: Vec<_> = settings
            .iter()
            .map(|s| (s.key.as_str(), s.value.as_str()))
            .collect();
        assert_eq!(shown, [("codec", "lz4"), ("limit", "30%")]);
        assert!(drop_ins(Path::new("/no/such/root")).is_ok_and(|none| none.is_empty()));
    }
}
