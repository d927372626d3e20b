//! Made-up workloads for the embedded engine: which page is touched next, and
//! what the pages hold. Everything follows from the specification, so a seed
//! repeats a run.

use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use tmem_common::{PAGE_SIZE, random};

/// A page's bytes.
pub type PageBytes = [u8; PAGE_SIZE];

/// Pages that a workload has at the most: 16 GiB of them.
const MOST_PAGES: u32 = 4 << 20;

/// What a made-up machine does, as `zipf:pages=20000,seed=1,mix=heap`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Which pages are touched.
    pub pattern: Pattern,
    /// Pages in all, anonymous and of files.
    pub pages: u32,
    /// Start of the random numbers.
    pub seed: u64,
    /// What the pages hold.
    pub mix: Mix,
    /// Exponent of [`Pattern::Zipf`]; the larger, the more the first pages are preferred.
    pub skew: f64,
    /// Percent of the pages that fit into the machine's memory.
    pub resident: u32,
    /// Percent of the touches that write.
    pub writes: u32,
    /// Touches per second; 0: as many as the machine can do.
    pub rate: u32,
    /// The engine's budget at the start, in percent of all pages' bytes.
    pub limit: u32,
    /// A file whose pages are used in place of made-up ones.
    pub corpus: Option<PathBuf>,
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            pattern: Pattern::Zipf,
            pages: 20_000,
            seed: 1,
            mix: Mix::Mixed,
            skew: 0.9,
            resident: 25,
            writes: 30,
            rate: 20_000,
            limit: 25,
            corpus: None,
        }
    }
}

/// Which page is touched next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The n-th page with a probability of 1 / n^skew (Zipf).
    Zipf,
    /// Any page alike.
    Uniform,
    /// One after the other, round and round.
    Scan,
}

/// What made-up pages hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// 60 % heap, 20 % text, 12 % zero, 8 % random.
    Mixed,
    /// Pointers, small numbers and gaps.
    Heap,
    /// Words.
    Text,
    /// Nothing but zeroes.
    Zero,
    /// Bytes that no codec makes smaller.
    Random,
}

const PATTERNS: &[(&str, Pattern)] = &[
    ("zipf", Pattern::Zipf),
    ("uniform", Pattern::Uniform),
    ("scan", Pattern::Scan),
];

const MIXES: &[(&str, Mix)] = &[
    ("mixed", Mix::Mixed),
    ("heap", Mix::Heap),
    ("text", Mix::Text),
    ("zero", Mix::Zero),
    ("random", Mix::Random),
];

/// Why a specification is not understood.
#[derive(Debug, thiserror::Error)]
pub enum WorkloadError {
    /// It does not begin with a pattern.
    #[error("workload: pattern {found:?} is not known; allowed: {allowed}")]
    Pattern {
        /// What it begins with.
        found: String,
        /// What it may begin with.
        allowed: String,
    },
    /// A part is not `key=value`.
    #[error("workload: {found:?} is not of the form key=value")]
    Form {
        /// The part.
        found: String,
    },
    /// A key that does not exist.
    #[error("workload: key {found:?} is not known; allowed: {KEYS}")]
    Key {
        /// The key.
        found: String,
    },
    /// A key that was given before.
    #[error("workload: key {found:?} is given twice")]
    Twice {
        /// The key.
        found: String,
    },
    /// A value that its key does not take.
    #[error("workload: {key}={value:?} is not allowed; allowed: {allowed}")]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// What the key takes.
        allowed: String,
    },
    /// The corpus cannot be used.
    #[error("workload: corpus {}: {error}", path.display())]
    Corpus {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

const KEYS: &str = "pages seed mix skew resident writes rate limit corpus";

impl Spec {
    /// Reads `pattern[:key=value,...]`.
    ///
    /// # Errors
    /// One that names the part that is not understood and what would be.
    pub fn parse(text: &str) -> Result<Self, WorkloadError> {
        let (pattern, rest) = match text.split_once(':') {
            Some((pattern, rest)) => (pattern, Some(rest)),
            None => (text, None),
        };
        let mut spec = Self {
            pattern: named(PATTERNS, pattern).ok_or_else(|| WorkloadError::Pattern {
                found: pattern.to_owned(),
                allowed: names(PATTERNS),
            })?,
            ..Self::default()
        };
        let mut seen: Vec<&str> = Vec::new();
        for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
            let (key, value) = part.split_once('=').ok_or_else(|| WorkloadError::Form {
                found: part.to_owned(),
            })?;
            if seen.contains(&key) {
                return Err(WorkloadError::Twice {
                    found: key.to_owned(),
                });
            }
            seen.push(key);
            spec.set(key, value)?;
        }
        Ok(spec)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), WorkloadError> {
        match key {
            "pages" => self.pages = number("pages", value, 64, MOST_PAGES.into())? as u32,
            "seed" => self.seed = number("seed", value, 0, u64::MAX)?,
            "resident" => self.resident = number("resident", value, 1, 100)? as u32,
            "writes" => self.writes = number("writes", value, 0, 100)? as u32,
            "rate" => self.rate = number("rate", value, 0, 100_000_000)? as u32,
            "limit" => self.limit = number("limit", value, 1, 100)? as u32,
            "corpus" => self.corpus = Some(PathBuf::from(value)),
            "mix" => {
                self.mix = named(MIXES, value).ok_or_else(|| WorkloadError::Value {
                    key: "mix",
                    value: value.to_owned(),
                    allowed: names(MIXES),
                })?;
            }
            "skew" => {
                self.skew = value
                    .parse()
                    .ok()
                    .filter(|skew| (0.0..=4.0).contains(skew))
                    .ok_or_else(|| WorkloadError::Value {
                        key: "skew",
                        value: value.to_owned(),
                        allowed: "0 to 4, such as 0.9".to_owned(),
                    })?;
            }
            _ => {
                return Err(WorkloadError::Key {
                    found: key.to_owned(),
                });
            }
        }
        Ok(())
    }
}

impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pattern = name_of(PATTERNS, self.pattern);
        write!(f, "{pattern}:pages={},seed={}", self.pages, self.seed)?;
        match &self.corpus {
            Some(corpus) => write!(f, ",corpus={}", corpus.display()),
            None => write!(f, ",mix={}", name_of(MIXES, self.mix)),
        }
    }
}

fn named<T: Copy>(all: &[(&str, T)], name: &str) -> Option<T> {
    all.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, value)| *value)
}

fn name_of<T: PartialEq>(all: &[(&'static str, T)], value: T) -> &'static str {
    all.iter()
        .find(|(_, known)| *known == value)
        .map_or("", |(name, _)| name)
}

fn names<T>(all: &[(&str, T)]) -> String {
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    names.join(" ")
}

fn number(key: &'static str, value: &str, least: u64, most: u64) -> Result<u64, WorkloadError> {
    value
        .parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| WorkloadError::Value {
            key,
            value: value.to_owned(),
            allowed: format!("{least} to {most}"),
        })
}

/// Random numbers: splitmix64 (Steele, Lea, Flood, 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Numbers that follow from `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn draw(&mut self) -> u64 {
        random::next(&mut self.0)
    }

    /// The next number below `end`, which is not 0.
    pub const fn below(&mut self, end: u64) -> u64 {
        // The bias is below end / 2^64.
        ((self.draw() as u128 * end as u128) >> 64) as u64
    }

    fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Chooses the page that is touched next, of `0..pages`.
#[derive(Clone, Debug)]
pub struct Touches {
    pages: u32,
    random: Random,
    /// For Zipf: the chance of one of the pages up to here.
    sums: Vec<f64>,
    scan: Option<u32>,
}

impl Touches {
    /// The touches of `pages` pages (at least 1) by `spec`; `stream` sets apart
    /// sequences of one seed.
    pub fn new(spec: &Spec, pages: u32, stream: u64) -> Self {
        let mut sums = Vec::new();
        if spec.pattern == Pattern::Zipf {
            let mut sum = 0.0;
            sums.extend((1..=pages).map(|rank| {
                sum += f64::from(rank).powf(-spec.skew);
                sum
            }));
        }
        Self {
            pages,
            random: Random::new(spec.seed ^ stream.rotate_left(32)),
            sums,
            scan: (spec.pattern == Pattern::Scan).then_some(0),
        }
    }

    /// The next page.
    pub fn next_page(&mut self) -> u32 {
        if let Some(scan) = &mut self.scan {
            let page = *scan;
            *scan = (page + 1) % self.pages;
            return page;
        }
        match self.sums.last() {
            Some(all) => {
                let at = self.random.unit() * all;
                let page = self.sums.partition_point(|sum| *sum <= at) as u32;
                page.min(self.pages - 1)
            }
            None => self.random.below(self.pages.into()) as u32,
        }
    }
}

/// What the pages hold.
#[derive(Clone, Debug)]
pub struct Contents {
    seed: u64,
    mix: Mix,
    /// Whole pages of a file, in place of made-up ones.
    corpus: Vec<u8>,
}

impl Contents {
    /// The contents that `spec` asks for.
    ///
    /// # Errors
    /// When the corpus cannot be read or has not one whole page.
    pub fn new(spec: &Spec) -> Result<Self, WorkloadError> {
        let mut corpus = Vec::new();
        if let Some(path) = &spec.corpus {
            let failed = |error| WorkloadError::Corpus {
                path: path.clone(),
                error,
            };
            corpus = fs::read(path).map_err(failed)?;
            corpus.truncate(corpus.len() / PAGE_SIZE * PAGE_SIZE);
            if corpus.is_empty() {
                let why = format!("holds less than a page of {PAGE_SIZE} bytes");
                return Err(failed(io::Error::new(io::ErrorKind::InvalidData, why)));
            }
        }
        Ok(Self {
            seed: spec.seed,
            mix: spec.mix,
            corpus,
        })
    }

    /// Writes what `page` holds after it was written to for the `version`-th time.
    pub fn fill(&self, page: u32, version: u32, bytes: &mut PageBytes) {
        let mut random = Random::new(self.seed ^ (u64::from(page) << 32) ^ u64::from(version));
        if !self.corpus.is_empty() {
            let pages = self.corpus.len() / PAGE_SIZE;
            let from = page as usize % pages * PAGE_SIZE;
            bytes.copy_from_slice(&self.corpus[from..from + PAGE_SIZE]);
            if version > 0 {
                bytes[..8].copy_from_slice(&random.draw().to_le_bytes());
            }
            return;
        }
        // What kind of page it is stays with the page.
        let kind = match self.mix {
            Mix::Mixed => match Random::new(self.seed ^ u64::from(page)).below(100) {
                0..60 => Mix::Heap,
                60..80 => Mix::Text,
                80..92 => Mix::Zero,
                _ => Mix::Random,
            },
            mix => mix,
        };
        match kind {
            Mix::Heap | Mix::Mixed => fill_heap(&mut random, bytes),
            Mix::Text => fill_text(&mut random, bytes),
            Mix::Zero => bytes.fill(0),
            Mix::Random => fill_words(bytes, || random.draw()),
        }
    }
}

fn fill_words(bytes: &mut PageBytes, mut word: impl FnMut() -> u64) {
    for chunk in bytes.as_chunks_mut().0 {
        *chunk = word().to_le_bytes();
    }
}

/// A heap of small objects, six words each: a class out of eight, a pointer, two
/// lengths, two words of nothing.
fn fill_heap(random: &mut Random, bytes: &mut PageBytes) {
    let arena = 0x7f00_0000_0000 | (random.below(1 << 12) << 20);
    let mut number = 0;
    let mut word = 0;
    fill_words(bytes, || {
        word = (word + 1) % 6;
        match word {
            1 => {
                number = random.draw();
                0x55d0_1234_0000 | ((number & 7) << 6)
            }
            2 => arena | ((number >> 8) & 0xf_fff0),
            3 => (number >> 32) & 0x3f,
            4 => (number >> 40) & 0x3ff,
            _ => 0,
        }
    });
}

fn fill_text(random: &mut Random, bytes: &mut PageBytes) {
    const SYLLABLES: &[u8; 64] =
        b"tmempagepoolkeepgetsputsswapfilelistnodehashhostlinklockcorezone";
    let mut at = 0;
    while at < PAGE_SIZE {
        let number = random.draw();
        let mut word = [b' '; 13];
        let length = 4 * (1 + number as usize % 3);
        for part in 0..length / 4 {
            let from = (number >> (8 + 4 * part)) as usize % 16 * 4;
            word[4 * part..4 * part + 4].copy_from_slice(&SYLLABLES[from..from + 4]);
        }
        let length = (length + 1).min(PAGE_SIZE - at);
        bytes[at..at + length].copy_from_slice(&word[..length]);
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_specification_is_read() -> Result<(), WorkloadError> {
        let spec = Spec::parse("zipf:pages=500,seed=7,mix=heap,skew=1.2")?;
        let expected = Spec {
            pages: 500,
            seed: 7,
            mix: Mix::Heap,
            skew: 1.2,
            ..Spec::default()
        };
        assert_eq!(spec, expected);
        assert_eq!(Spec::parse("zipf")?, Spec::default());
        assert_eq!(Spec::parse("scan:rate=0")?.pattern, Pattern::Scan);
        assert_eq!(spec.to_string(), "zipf:pages=500,seed=7,mix=heap");
        Ok(())
    }

    #[test]
    fn bad_specifications_name_the_value_and_what_is_allowed() {
        for (text, parts) in [
            ("", &["\"\"", "zipf uniform scan"][..]),
            ("zip:pages=1", &["\"zip\"", "zipf uniform scan"]),
            ("zipf:", &["\"\"", "key=value"]),
            ("zipf:pages", &["\"pages\"", "key=value"]),
            ("zipf:pages=9,", &["pages=\"9\"", "64 to 4194304"]),
            ("zipf:pages=-1", &["pages=\"-1\"", "64 to 4194304"]),
            ("zipf:pages=1e3", &["\"1e3\""]),
            ("zipf:size=1", &["\"size\"", "pages seed mix"]),
            ("zipf:seed=1,seed=2", &["\"seed\"", "twice"]),
            (
                "zipf:mix=junk",
                &["mix=\"junk\"", "mixed heap text zero random"],
            ),
            ("zipf:skew=nan", &["skew=\"nan\"", "0 to 4"]),
            ("zipf:resident=0", &["resident=\"0\"", "1 to 100"]),
            ("zipf:limit=101", &["limit=\"101\"", "1 to 100"]),
        ] {
            let error = match Spec::parse(text) {
                Ok(spec) => format!("accepted as {spec:?}"),
                Err(error) => error.to_string(),
            };
            for part in parts {
                assert!(error.contains(part), "{text:?}: {part:?} not in: {error}");
            }
        }
    }

    #[test]
    fn a_corpus_must_hold_a_page() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("corpus");
        let spec = Spec {
            corpus: Some(path.clone()),
            ..Spec::default()
        };
        let missing = Contents::new(&spec).err().map(|error| error.to_string());
        assert!(missing.is_some_and(|error| error.contains("corpus")));
        fs::write(&path, [1; PAGE_SIZE - 1])?;
        let short = Contents::new(&spec).err().map(|error| error.to_string());
        assert!(short.is_some_and(|error| error.contains("less than a page")));
        fs::write(&path, [[1; PAGE_SIZE], [2; PAGE_SIZE]].concat())?;
        let contents = Contents::new(&spec).map_err(io::Error::other)?;
        let mut page = [0; PAGE_SIZE];
        contents.fill(5, 0, &mut page);
        assert_eq!(page, [2; PAGE_SIZE]);
        contents.fill(5, 1, &mut page);
        assert_ne!(page[..8], [2; 8]);
        assert_eq!(page[8..], [2; PAGE_SIZE - 8]);
        Ok(())
    }

    #[test]
    fn touches_repeat_by_seed_and_stay_in_range() {
        for pattern in [Pattern::Zipf, Pattern::Uniform, Pattern::Scan] {
            let spec = Spec {
                pattern,
                ..Spec::default()
            };
            let mut one = Touches::new(&spec, 100, 0);
            let mut two = Touches::new(&spec, 100, 0);
            for _ in 0..1000 {
                let page = one.next_page();
                assert_eq!(page, two.next_page());
                assert!(page < 100);
            }
        }
    }

    #[test]
    fn zipf_prefers_the_first_pages_as_its_law_says() {
        let spec = Spec {
            skew: 1.0,
            ..Spec::default()
        };
        let mut touches = Touches::new(&spec, 1000, 0);
        let mut counts = [0_u32; 1000];
        for _ in 0..200_000 {
            counts[touches.next_page() as usize] += 1;
        }
        let harmonic: f64 = (1..=1000).map(|rank| 1.0 / f64::from(rank)).sum();
        for rank in [1, 2, 10] {
            let expected = 200_000.0 / harmonic / f64::from(rank);
            let found = f64::from(counts[rank as usize - 1]);
            assert!((found / expected - 1.0).abs() < 0.1, "{rank}: {found}");
        }
    }

    #[test]
    fn contents_follow_page_version_and_seed() {
        let fill = |seed, page, version| {
            let contents = Contents {
                seed,
                mix: Mix::Heap,
                corpus: Vec::new(),
            };
            let mut bytes = [0; PAGE_SIZE];
            contents.fill(page, version, &mut bytes);
            bytes
        };
        assert_eq!(fill(1, 2, 3), fill(1, 2, 3));
        assert_ne!(fill(1, 2, 3), fill(1, 2, 4));
        assert_ne!(fill(1, 2, 3), fill(1, 3, 3));
        assert_ne!(fill(1, 2, 3), fill(2, 2, 3));
    }
}
