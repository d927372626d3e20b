//! OpenMetrics text with the time of each reading: a family for each figure of
//! the whole, and operations by pool and outcome.

use std::io::{self, Write};

use super::{Export, FIGURES};
use crate::trace::reader::End;
use crate::trace::record::{Meta, Reading, Record};

/// Keeps the readings until the end, for a family's samples stand together.
pub struct OpenMetrics<W> {
    output: W,
    /// What to add to a reading's time to get that since 1970, ns.
    to_unix_ns: i128,
    readings: Vec<Reading>,
}

impl<W: Write> OpenMetrics<W> {
    /// Takes readings for `output`.
    pub fn new(output: W, meta: &Meta) -> Self {
        Self {
            output,
            to_unix_ns: i128::from(meta.started_unix_ns) - i128::from(meta.started_ns),
            readings: Vec::new(),
        }
    }

    fn seconds(&self, reading: &Reading) -> String {
        let ns = i128::from(reading.time_ns) + self.to_unix_ns;
        format!("{}.{:09}", ns / 1_000_000_000, ns.rem_euclid(1_000_000_000))
    }
}

/// A label's value as the format wants it.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

impl<W: Write> Export for OpenMetrics<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        if let Record::Reading(reading) = record {
            self.readings.push((**reading).clone());
        }
        Ok(())
    }

    fn finish(&mut self, _: &End) -> io::Result<()> {
        let mut text = String::new();
        for figure in FIGURES {
            let (kind, suffix) = if figure.rises {
                ("counter", "_total")
            } else {
                ("gauge", "")
            };
            let samples: Vec<(u64, String)> = self
                .readings
                .iter()
                .filter_map(|reading| Some(((figure.value)(reading)?, self.seconds(reading))))
                .collect();
            if samples.is_empty() {
                continue;
            }
            let name = format!("tmem_{}", figure.name);
            text.push_str(&format!("# TYPE {name} {kind}\n"));
            if figure.bytes {
                text.push_str(&format!("# UNIT {name} bytes\n"));
            }
            for (value, seconds) in samples {
                text.push_str(&format!("{name}{suffix} {value} {seconds}\n"));
            }
        }
        text.push_str("# TYPE tmem_operations counter\n");
        for (pool, outcome) in self.series() {
            for reading in &self.readings {
                let found = reading.pools.iter().find(|known| known.id == pool);
                let Some(found) = found else { continue };
                let value = found.stats.outcomes.get(&outcome).copied().unwrap_or(0);
                text.push_str(&format!(
                    "tmem_operations_total{{pool=\"{}\",outcome=\"{outcome}\"}} {value} {}\n",
                    escaped(&found.name),
                    self.seconds(reading)
                ));
            }
        }
        text.push_str("# EOF\n");
        self.output.write_all(text.as_bytes())?;
        self.output.flush()
    }
}

impl<W> OpenMetrics<W> {
    /// Every pool with every outcome that it had, once.
    fn series(&self) -> Vec<(u32, String)> {
        let mut series: Vec<(u32, String)> = self
            .readings
            .iter()
            .flat_map(|reading| &reading.pools)
            .flat_map(|pool| {
                pool.stats
                    .outcomes
                    .keys()
                    .map(|name| (pool.id, name.clone()))
            })
            .collect();
        series.sort_unstable();
        series.dedup();
        series
    }
}
