//! Corpora of pages: what real programs have in memory and what lies in files,
//! made on this machine and kept in the cache, for measuring codecs and stores.
//!
//! Choices of the codecs are made on the training programs, figures are reported
//! on the test programs, which took no part in the choices.

mod files;
mod memory;
mod programs;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::paths;
use crate::process::say;

/// A page's contents.
pub(crate) type Page = [u8; PAGE];

/// Bytes in a page.
pub(crate) const PAGE: usize = 4096;

/// Rises when programs, loads or sampling change: pages of another version are
/// made anew.
const VERSION: u32 = 1;

/// What kind of pages a corpus holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Writable anonymous memory of a program: what swapping moves.
    Heap,
    /// Shared libraries and executables.
    Binary,
    /// Sources and documents.
    Text,
    /// Files of databases.
    Database,
}

impl Class {
    /// Every class.
    pub(crate) const ALL: [Class; 4] = [Class::Heap, Class::Binary, Class::Text, Class::Database];

    /// The name in tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Class::Heap => "anonymous",
            Class::Binary => "binaries",
            Class::Text => "text",
            Class::Database => "databases",
        }
    }
}

/// On which side of the choices a corpus stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Split {
    /// Codecs were tuned with it.
    Train,
    /// It took no part in the tuning.
    Test,
}

impl Split {
    /// The name in tables and on the command line.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Test => "test",
        }
    }
}

/// The pages of one program, or of one kind of files.
pub(crate) struct Corpus {
    /// The program, or what the files are.
    pub(crate) name: &'static str,
    /// What kind of pages.
    pub(crate) class: Class,
    /// Tuned with, or reported on.
    pub(crate) split: Split,
    /// The pages, in the order of their addresses or of the files' names.
    pub(crate) pages: Vec<Page>,
}

/// A corpus that can be made.
struct Source {
    name: &'static str,
    class: Class,
    split: Split,
    maker: Maker,
}

enum Maker {
    /// Dumps a program under load, or reads what it wrote.
    Program(programs::Program),
    /// Reads every second file of a kind.
    Files(files::Half),
}

fn sources() -> Vec<Source> {
    let mut all: Vec<Source> = programs::table()
        .into_iter()
        .map(|(name, split, program)| Source {
            name,
            class: program.class(),
            split,
            maker: Maker::Program(program),
        })
        .collect();
    for (class, names) in [
        (Class::Binary, ["binaries-a", "binaries-b"]),
        (Class::Text, ["text-a", "text-b"]),
    ] {
        for (name, split) in names.into_iter().zip([Split::Train, Split::Test]) {
            let half = files::Half {
                text: class == Class::Text,
                odd: split == Split::Test,
            };
            all.push(Source {
                name,
                class,
                split,
                maker: Maker::Files(half),
            });
        }
    }
    all
}

/// What `cargo xtask corpus` takes.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Make corpora anew that are there already
    #[arg(long)]
    remake: bool,
    /// Only these (default: all)
    names: Vec<String>,
}

/// `cargo xtask corpus`: makes what is missing and says what there is.
pub(crate) fn run(args: &Args) -> Result<()> {
    let sources = sources();
    if let Some(unknown) = args
        .names
        .iter()
        .find(|n| !sources.iter().any(|s| s.name == **n))
    {
        let known: Vec<_> = sources.iter().map(|s| s.name).collect();
        bail!(
            "no corpus is called {unknown}; there are {}",
            known.join(", ")
        );
    }
    println!(
        "{:<14} {:<10} {:<6} {:>7} {:>7}",
        "corpus", "pages of", "set", "pages", "zero %"
    );
    for source in sources {
        if !args.names.is_empty() && !args.names.iter().any(|n| n == source.name) {
            continue;
        }
        if args.remake {
            let path = path(&source)?;
            if path.exists() {
                fs::remove_file(&path).with_context(|| path.display().to_string())?;
            }
        }
        let Some(corpus) = obtain(&source)? else {
            continue;
        };
        let zero = corpus
            .pages
            .iter()
            .filter(|p| p.iter().all(|b| *b == 0))
            .count();
        println!(
            "{:<14} {:<10} {:<6} {:>7} {:>7.1}",
            corpus.name,
            corpus.class.name(),
            corpus.split.name(),
            corpus.pages.len(),
            zero as f64 * 100.0 / corpus.pages.len() as f64
        );
    }
    Ok(())
}

/// The corpora of one side, made now where they are missing; without those whose
/// program is not installed or could not be run, which is said.
pub(crate) fn load(split: Split) -> Result<Vec<Corpus>> {
    let mut corpora = Vec::new();
    for source in sources().iter().filter(|s| s.split == split) {
        corpora.extend(obtain(source)?);
    }
    if corpora.is_empty() {
        bail!(
            "no pages for the {} set: none of its programs could be run",
            split.name()
        );
    }
    Ok(corpora)
}

/// The classes that stores are measured with: without files of databases, which came later, so that figures
/// can be compared with earlier ones.
const OF_STORES: [Class; 3] = [Class::Heap, Class::Binary, Class::Text];

/// Pages by class, of both sides, at most `bytes_per_class` bytes of each, evenly taken
/// from all corpora of the class.
pub(crate) fn classes(bytes_per_class: usize) -> Result<Vec<(Class, Vec<Page>)>> {
    let mut corpora = load(Split::Train)?;
    corpora.extend(load(Split::Test)?);
    let mut result = Vec::new();
    for class in OF_STORES {
        let of_class: Vec<_> = corpora.iter().filter(|c| c.class == class).collect();
        let total: usize = of_class.iter().map(|c| c.pages.len()).sum();
        let wanted = total.min(bytes_per_class / PAGE);
        let mut pages = Vec::with_capacity(wanted);
        for corpus in of_class {
            pages.extend(evenly(
                &corpus.pages,
                corpus.pages.len() * wanted / total.max(1),
            ));
        }
        result.push((class, pages));
    }
    Ok(result)
}

/// `count` of `items`, at even distances, in order.
pub(crate) fn evenly<T: Copy>(items: &[T], count: usize) -> impl Iterator<Item = T> + '_ {
    let count = count.min(items.len());
    (0..count).map(move |i| items[i * items.len() / count])
}

fn path(source: &Source) -> Result<PathBuf> {
    Ok(paths::cache()?
        .join(format!("corpus-{VERSION}"))
        .join(format!("{}.pages", source.name)))
}

/// From the cache, or made and put there; `None` when it cannot be had here.
fn obtain(source: &Source) -> Result<Option<Corpus>> {
    let path = path(source)?;
    if !path.exists() {
        let made = match &source.maker {
            Maker::Program(program) => programs::dump(source.name, program),
            Maker::Files(half) => files::read(*half).map(Some),
        };
        match made {
            Ok(Some(pages)) if !pages.is_empty() => write(&path, &pages)?,
            Ok(_) => return Ok(None),
            Err(error) => {
                say(format!("corpus {} left out: {error:#}", source.name));
                return Ok(None);
            }
        }
    }
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    let (pages, rest) = bytes.as_chunks::<PAGE>();
    if !rest.is_empty() || pages.is_empty() {
        bail!(
            "{}: not a whole number of pages; remove it and try again",
            path.display()
        );
    }
    let (name, class, split) = (source.name, source.class, source.split);
    Ok(Some(Corpus {
        name,
        class,
        split,
        pages: pages.to_vec(),
    }))
}

/// Under another name first, so that an interrupted run leaves nothing half written.
fn write(path: &Path, pages: &[Page]) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    let part = path.with_extension("part");
    fs::write(&part, pages.as_flattened()).with_context(|| part.display().to_string())?;
    fs::rename(&part, path).with_context(|| path.display().to_string())
}
