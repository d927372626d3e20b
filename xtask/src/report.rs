//! Tests as they end: one line each, the failures again at the end, and the sum as
//! the last line.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// One test that ended.
#[derive(Clone, Debug)]
pub(crate) struct Test {
    name: String,
    place: String,
    took: Duration,
    pages: Pages,
    passed: u64,
    skipped: u64,
    failed: u64,
    message: String,
}

impl Test {
    /// A test that passed; `place` is where it ran, a kernel or "native".
    pub(crate) fn new(name: impl Into<String>, place: impl Into<String>, took: Duration) -> Self {
        Self {
            name: name.into(),
            place: place.into(),
            took,
            pages: Pages::default(),
            passed: 1,
            skipped: 0,
            failed: 0,
            message: String::new(),
        }
    }

    /// It failed, and why.
    pub(crate) fn failed(mut self, message: impl Into<String>) -> Self {
        self.passed = 0;
        self.failed = 1;
        self.message = message.into();
        self
    }

    /// It passed or failed as `result` says.
    pub(crate) fn ended(self, result: anyhow::Result<()>) -> Self {
        match result {
            Ok(()) => self,
            Err(error) => self.failed(format!("{error:#}")),
        }
    }

    /// It stands for several tests.
    pub(crate) fn counted(mut self, counts: Counts) -> Self {
        self.passed = counts.passed;
        self.failed = counts.failed;
        self.skipped = counts.skipped;
        self
    }

    /// What it did to files and pages, as its results (JSON objects) say.
    pub(crate) fn with_data(mut self, data: &[String]) -> Self {
        self.pages = data
            .iter()
            .fold(Pages::default(), |sum, json| sum.plus(Pages::of(json)));
        self
    }

    fn line(&self) -> String {
        let word = if self.failed > 0 { "FAIL" } else { "ok" };
        let mut line = format!(
            "{word:<4} {:<10} {:<28} {:>7.1} s",
            self.place,
            self.name,
            self.took.as_secs_f64()
        );
        if self.passed + self.failed + self.skipped != 1 {
            let _ = write!(line, "  {} passed, {} failed", self.passed, self.failed);
        }
        if self.pages != Pages::default() {
            let _ = write!(line, "  {}", self.pages);
        }
        line
    }
}

/// What a scenario did to files and pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pages {
    operations: u64,
    hits: u64,
    stores: u64,
    verified: u64,
    bad: u64,
}

impl Pages {
    fn of(json: &str) -> Self {
        let object: Value = serde_json::from_str(json).unwrap_or_default();
        let number = |key: &str| object[key].as_u64().unwrap_or_default();
        Self {
            operations: number("operations"),
            hits: number("hits"),
            stores: number("stores"),
            verified: number("verified"),
            bad: number("bad"),
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            hits: self.hits + other.hits,
            stores: self.stores + other.stores,
            verified: self.verified + other.verified,
            bad: self.bad + other.bad,
        }
    }
}

impl fmt::Display for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.operations > 0 {
            write!(f, "{} operations, {} hits, ", self.operations, self.hits)?;
        }
        write!(
            f,
            "{} stores, {} pages verified, {} bad",
            self.stores, self.verified, self.bad
        )
    }
}

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Ran and passed.
    pub(crate) passed: u64,
    /// Ran and failed.
    pub(crate) failed: u64,
    /// Did not run.
    pub(crate) skipped: u64,
}

impl Counts {
    /// Sums the `test result:` lines of a `cargo test`; doc tests and all.
    pub(crate) fn of_cargo_test(output: &str) -> Self {
        let mut counts = Self::default();
        for line in output.lines() {
            let Some(at) = line.find("test result: ") else {
                continue;
            };
            let mut words = line[at..].split(['.', ';']).map(str::trim);
            let mut number = |what: &str| -> u64 {
                words
                    .find_map(|part| part.strip_suffix(what))
                    .and_then(|n| n.trim().parse().ok())
                    .unwrap_or(0)
            };
            counts.passed += number(" passed");
            counts.failed += number(" failed");
            counts.skipped += number(" ignored");
        }
        counts
    }
}

/// The tests so far; can be added to from several threads.
#[derive(Debug)]
pub(crate) struct Report {
    begun: Instant,
    tests: Mutex<Vec<Test>>,
}

impl Report {
    /// One that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            tests: Mutex::default(),
        }
    }

    /// Adds a test and prints its line, with the time since the beginning.
    pub(crate) fn add(&self, test: Test) {
        let seconds = self.begun.elapsed().as_secs();
        println!("{:>3}:{:02} {}", seconds / 60, seconds % 60, test.line());
        if test.failed > 0 && !test.message.is_empty() {
            println!("     {}", test.message.lines().next().unwrap_or_default());
        }
        if let Ok(mut tests) = self.tests.lock() {
            tests.push(test);
        }
    }

    /// The sum over all.
    pub(crate) fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        if let Ok(tests) = self.tests.lock() {
            for test in tests.iter() {
                sum.passed += test.passed;
                sum.failed += test.failed;
                sum.skipped += test.skipped;
            }
        }
        sum
    }

    /// What was done to pages, by place.
    fn pages(&self) -> BTreeMap<String, Pages> {
        let mut sums: BTreeMap<String, Pages> = BTreeMap::new();
        if let Ok(tests) = self.tests.lock() {
            for test in tests.iter().filter(|t| t.pages != Pages::default()) {
                let sum = sums.entry(test.place.clone()).or_default();
                *sum = sum.plus(test.pages);
            }
        }
        sums
    }

    /// Prints the failures and, as the last line, the sum; whether all is well:
    /// something ran and nothing failed.
    pub(crate) fn finish(&self) -> bool {
        if let Ok(tests) = self.tests.lock() {
            for test in tests.iter().filter(|t| t.failed > 0) {
                println!("\n---- {} ({})\n{}", test.name, test.place, test.message);
            }
        }
        println!();
        for (place, pages) in self.pages() {
            println!("{place}: {pages}");
        }
        let counts = self.counts();
        println!("{}", sum_line(counts));
        counts.failed == 0 && counts.passed > 0
    }
}

fn sum_line(counts: Counts) -> String {
    let mut line = format!("{} passed, {} failed", counts.passed, counts.failed);
    if counts.skipped > 0 {
        let _ = write!(line, ", {} skipped", counts.skipped);
    }
    line
}

/// Whether any of `filters` is part of `name`; no filters select all.
pub(crate) fn selects(filters: &[String], name: &str) -> bool {
    filters.is_empty() || filters.iter().any(|f| name.contains(f.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_over_all_binaries() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
            test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.20s\n";
        assert_eq!(
            Counts::of_cargo_test(output),
            Counts {
                passed: 13,
                failed: 2,
                skipped: 1
            }
        );
        assert_eq!(
            Counts::of_cargo_test("error: could not compile"),
            Counts::default()
        );
    }

    #[test]
    fn nothing_that_ran_is_a_failure() {
        assert!(!Report::begin().finish());
    }

    #[test]
    fn pages_are_summed_by_place() {
        let report = Report::begin();
        let data = [
            r#"{"stores":5,"verified":7,"bad":0}"#.to_owned(),
            r#"{"seconds":1}"#.to_owned(),
        ];
        let stress = r#"{"operations":3,"hits":2,"stores":1}"#.to_owned();
        for place in ["6.1", "6.12", "6.12"] {
            report.add(Test::new("a", place, Duration::ZERO).with_data(&data));
        }
        report.add(Test::new("b", "native", Duration::ZERO));
        report.add(Test::new("c", "7.2", Duration::ZERO).with_data(&[stress]));
        let pages: Vec<String> = report
            .pages()
            .iter()
            .map(|(k, p)| format!("{k}: {p}"))
            .collect();
        assert_eq!(
            pages,
            [
                "6.1: 5 stores, 7 pages verified, 0 bad",
                "6.12: 10 stores, 14 pages verified, 0 bad",
                "7.2: 3 operations, 2 hits, 1 stores, 0 pages verified, 0 bad"
            ]
        );
    }

    #[test]
    fn one_failure_fails_all() {
        let report = Report::begin();
        report.add(Test::new("a", "native", Duration::ZERO));
        assert!(report.finish());
        report.add(Test::new("b", "native", Duration::ZERO).failed("why"));
        assert!(!report.finish());
        assert_eq!(
            report.counts(),
            Counts {
                passed: 1,
                failed: 1,
                skipped: 0
            }
        );
    }

    #[test]
    fn the_last_line_names_skipped_tests_only_if_there_are_any() {
        assert_eq!(
            sum_line(Counts {
                passed: 3,
                failed: 0,
                skipped: 0
            }),
            "3 passed, 0 failed"
        );
        assert_eq!(
            sum_line(Counts {
                passed: 3,
                failed: 1,
                skipped: 2
            }),
            "3 passed, 1 failed, 2 skipped"
        );
    }
}
