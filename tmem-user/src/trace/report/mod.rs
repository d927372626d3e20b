//! A trace as one page of HTML that needs nothing else: what was recorded and how, its
//! figures, plots over time, sizes, the miss-ratio curve, pools and settings.

mod html;
mod plot;

use std::io::Read;

use tmem_common::PAGE_SIZE;
use tmem_common::op::{Op, Outcome};

use self::html::{escaped, page, section, table};
use self::plot::{Lines, Series, Unit, bars, lines};
use super::TraceError;
use super::curve::Curve;
use super::reader::{End, Reader};
use super::record::{Meta, Reading, Record};
use super::summary::{Figure, Value, durations, figures};
use crate::histogram::Histogram;
use crate::units::{show_bytes, show_count, show_ns, show_share};

/// Bars of the distribution of sizes.
const SIZES: usize = 32;
/// Points of the miss-ratio curve.
const CURVE: u32 = 120;

/// What happened between two readings.
struct Step {
    /// Time of the later one since the start, s.
    at: f64,
    seconds: f64,
    used_bytes: u64,
    limit_bytes: u64,
    stored: u64,
    hits: u64,
    gets: u64,
    refused: u64,
    evicted: u64,
    put_p99: Option<u64>,
    get_p99: Option<u64>,
    swap_written: Option<u64>,
    swap_read: Option<u64>,
    pressure_us: Option<u64>,
}

impl Step {
    fn between(meta: &Meta, earlier: &Reading, later: &Reading) -> Self {
        let count = |outcomes: &[Outcome]| later.totals.since(&earlier.totals, outcomes);
        let p99 = |op, outcomes: &[Outcome]| {
            let all: Histogram =
                durations(later, op, outcomes).since(&durations(earlier, op, outcomes));
            all.percentile(0.99)
        };
        let grown = |value: fn(&Reading) -> Option<u64>| {
            Some(value(later)?.saturating_sub(value(earlier)?))
        };
        let (hits, gets) = later.totals.hits_and_gets_since(&earlier.totals);
        Self {
            at: later.time_ns.saturating_sub(meta.started_ns) as f64 / 1e9,
            seconds: later.time_ns.saturating_sub(earlier.time_ns).max(1) as f64 / 1e9,
            used_bytes: later.used_bytes,
            limit_bytes: later.limit_bytes,
            stored: count(&Outcome::STORED),
            hits,
            gets,
            refused: count(&Outcome::REFUSED),
            evicted: count(&[Outcome::Evicted]),
            put_p99: p99(Op::Put, &Outcome::STORED),
            get_p99: p99(Op::Get, &[Outcome::Hit]),
            swap_written: grown(|reading| reading.swap_pages_written),
            swap_read: grown(|reading| reading.swap_pages_read),
            pressure_us: grown(|reading| reading.pressure_some_us),
        }
    }

    fn per_second(&self, count: u64) -> f64 {
        count as f64 / self.seconds
    }
}

/// What a page is made of.
struct Gathered {
    meta: Meta,
    readings: Option<(Box<Reading>, Box<Reading>)>,
    steps: Vec<Step>,
    events: u64,
    sizes: [u64; SIZES],
    curve: Curve,
    end: End,
}

/// Reads a trace to its end and makes the page; where reading ended.
///
/// # Errors
/// When it cannot be read.
pub fn report<R: Read>(reader: &mut Reader<R>) -> Result<(String, End), TraceError> {
    let meta = reader.meta().clone();
    let mut all = Gathered {
        curve: Curve::of(&meta),
        meta,
        readings: None,
        steps: Vec::new(),
        events: 0,
        sizes: [0; SIZES],
        end: End::Open,
    };
    while let Some(record) = reader.next_record()? {
        match record {
            Record::Events(events) => {
                all.events += events.len() as u64;
                for event in &events {
                    all.curve.event(event);
                    if event.op == Op::Put as u32 && event.bytes > 0 {
                        let place = (event.bytes as usize - 1) * SIZES / PAGE_SIZE;
                        all.sizes[place.min(SIZES - 1)] += 1;
                    }
                }
            }
            Record::Reading(reading) => {
                all.curve.holds(reading.used_bytes, reading.totals.pages);
                if let Some((_, earlier)) = &all.readings {
                    let step = Step::between(&all.meta, earlier, &reading);
                    // The last reading follows soon on another: rates over so short a time mislead.
                    if step.seconds * 2e9 >= all.meta.interval_ns as f64 {
                        all.steps.push(step);
                    }
                }
                all.readings = Some(match all.readings {
                    Some((first, _)) => (first, reading),
                    None => (reading.clone(), reading),
                });
            }
        }
    }
    all.end = reader.end().cloned().unwrap_or(End::Open);
    Ok((all.page(), all.end))
}

impl Gathered {
    fn page(&self) -> String {
        let title = format!("tmem: {}", self.meta.source);
        let body = [
            self.head(),
            section("What happened", &self.plots()),
            section("What would happen with another budget", &self.what_if()),
            section("All figures", &self.figures()),
            section("Pools at the end", &self.pools()),
            section("Settings at the start", &self.settings()),
            section("Not measured", &self.unmeasured()),
            format!(
                "<p class=\"dim\">Made by tmem {} from a trace that tmem {} recorded. \
                 Everything is counted by the module itself; of operations one page in N is sampled.</p>",
                escaped(env!("CARGO_PKG_VERSION")),
                escaped(&self.meta.tool)
            ),
        ];
        page(&title, &body.concat())
    }

    fn head(&self) -> String {
        let mut facts = vec![format!("Recorded {}", utc(self.meta.started_unix_ns))];
        if !self.meta.kernel.is_empty() {
            facts.push(format!("Linux {}", self.meta.kernel));
        }
        if self.meta.ram_bytes > 0 {
            facts.push(format!("{} of memory", show_bytes(self.meta.ram_bytes)));
        }
        facts.push(match self.meta.sample_one_in {
            0 => "counters only".to_owned(),
            one_in => format!(
                "{} events, of one page in {one_in}",
                show_count(self.events)
            ),
        });
        let mut text = format!(
            "<header><h1>{}</h1><p class=\"dim\">{}</p>",
            escaped(&self.meta.source),
            escaped(&facts.join(", "))
        );
        if !self.meta.command.is_empty() {
            text.push_str(&format!(
                "<p>while <code>{}</code> ran</p>",
                escaped(&self.meta.command.join(" "))
            ));
        }
        if !matches!(self.end, End::Whole(_)) {
            text.push_str(&format!(
                "<p class=\"warn\">{}</p>",
                escaped(&self.end.to_string())
            ));
        }
        let dropped = self
            .readings
            .as_ref()
            .map_or(0, |(_, last)| last.events_dropped);
        if dropped > 0 {
            text.push_str(&format!(
                "<p class=\"warn\">{dropped} events were lost: what is said of single operations is incomplete</p>"
            ));
        }
        text.push_str("</header>");
        text + &self.tiles()
    }

    fn all_figures(&self) -> Vec<Figure> {
        match &self.readings {
            Some((first, last)) if last.time_ns > first.time_ns => figures(first, last),
            _ => Vec::new(),
        }
    }

    fn tiles(&self) -> String {
        let shown = [
            ("hit_rate", "of gets found their page"),
            ("effective", "bytes of pages for a byte of memory"),
            ("stores", "pages stored a second"),
            ("gets", "gets a second"),
            ("get_p99", "99 % of hits take no longer"),
            ("used", "of memory used at the end"),
        ];
        let figures = self.all_figures();
        let tiles: String = shown
            .iter()
            .filter_map(|(name, meaning)| {
                let (_, value) = figures.iter().find(|(known, _)| known == name)?;
                value.number()?;
                Some(format!(
                    "<div><b>{}</b><span>{}</span></div>",
                    escaped(&show(*value)),
                    escaped(meaning)
                ))
            })
            .collect();
        if tiles.is_empty() {
            return tiles;
        }
        format!("<div class=\"tiles\">{tiles}</div>\n")
    }

    fn line(&self, name: &'static str, value: impl Fn(&Step) -> Option<f64>) -> Series {
        Series {
            name,
            points: self
                .steps
                .iter()
                .map(|step| (step.at, value(step)))
                .collect(),
        }
    }

    fn plots(&self) -> String {
        let over_time = |title, about: &str, y, top, series| {
            lines(&Lines {
                title,
                about: about.to_owned(),
                x: Unit::Seconds,
                y,
                series,
                mark: None,
                top,
            })
        };
        let rate = |count: fn(&Step) -> u64| move |step: &Step| Some(step.per_second(count(step)));
        let share = |part: u64, all: u64| (all > 0).then(|| part as f64 / all as f64);
        let plots = [
            over_time(
                "Memory",
                "held for all purposes, and the budget",
                Unit::Bytes,
                None,
                vec![
                    self.line("used", |step| Some(step.used_bytes as f64)),
                    self.line("limit", |step| Some(step.limit_bytes as f64)),
                ],
            ),
            over_time(
                "Hit rate",
                "gets that found their page",
                Unit::Share,
                Some(1.0),
                vec![self.line("hit rate", |step| share(step.hits, step.gets))],
            ),
            over_time(
                "Operations",
                "a second",
                Unit::Count,
                None,
                vec![
                    self.line("stored", rate(|step| step.stored)),
                    self.line("hits", rate(|step| step.hits)),
                    self.line("refused", rate(|step| step.refused)),
                    self.line("evicted", rate(|step| step.evicted)),
                ],
            ),
            over_time(
                "Latency",
                "which 99 % of the operations that did what was asked keep to",
                Unit::Ns,
                None,
                vec![
                    self.line("put", |step| step.put_p99.map(|ns| ns as f64)),
                    self.line("get", |step| step.get_p99.map(|ns| ns as f64)),
                ],
            ),
            over_time(
                "Swap devices",
                "pages a second, of the whole system",
                Unit::Count,
                None,
                vec![
                    self.line("written", |step| {
                        step.swap_written.map(|pages| step.per_second(pages))
                    }),
                    self.line("read", |step| {
                        step.swap_read.map(|pages| step.per_second(pages))
                    }),
                ],
            ),
            over_time(
                "Pressure",
                "share of the time in which some task waited for memory",
                Unit::Share,
                Some(1.0),
                vec![self.line("some", |step| {
                    step.pressure_us
                        .map(|us| (us as f64 / 1e6 / step.seconds).min(1.0))
                })],
            ),
            bars(
                "Sizes",
                "of the pages put, compressed, among the sampled operations",
                PAGE_SIZE as f64 / SIZES as f64,
                Unit::Bytes,
                &self.sizes,
            ),
        ]
        .concat();
        if plots.is_empty() {
            return plots;
        }
        format!("<div class=\"plots\">\n{plots}</div>\n")
    }

    fn what_if(&self) -> String {
        let limit = self
            .readings
            .as_ref()
            .map_or(0, |(_, last)| last.limit_bytes);
        // Beyond twice the limit only as far as there is something to gain.
        let Some(points) = self.curve.points(limit as f64 * 1.25, CURVE) else {
            return String::new();
        };
        let plot = lines(&Lines {
            title: "Miss-ratio curve",
            about: "gets that miss in so much memory, the least recently used pages leaving first \
                    (swap pages as if they could)"
                .to_owned(),
            x: Unit::Bytes,
            y: Unit::Share,
            series: vec![Series {
                name: "misses",
                points: points
                    .iter()
                    .map(|(bytes, share)| (*bytes, Some(*share)))
                    .collect(),
            }],
            mark: (limit > 0).then(|| (limit as f64, format!("limit {}", show_bytes(limit)))),
            top: Some(1.0),
        });
        format!("<div class=\"plots\">\n{plot}</div>\n")
    }

    fn figures(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .all_figures()
            .into_iter()
            .map(|(name, value)| vec![name.to_owned(), show(value)])
            .collect();
        table(&["figure", "from the first reading to the last"], &rows)
    }

    fn pools(&self) -> String {
        let Some((first, last)) = &self.readings else {
            return String::new();
        };
        let rows: Vec<Vec<String>> = last
            .pools
            .iter()
            .map(|pool| {
                let none = Default::default();
                let before = first
                    .pools
                    .iter()
                    .find(|known| known.id == pool.id)
                    .map_or(&none, |known| &known.stats);
                let (hits, gets) = pool.stats.hits_and_gets_since(before);
                let hit_rate = (gets > 0).then(|| hits as f64 / gets as f64);
                vec![
                    pool.id.to_string(),
                    pool.name.clone(),
                    pool.kind.clone(),
                    pool.codec.clone(),
                    pool.weight.to_string(),
                    pool.limit_bytes.map_or_else(|| "-".to_owned(), show_bytes),
                    show_count(pool.stats.pages),
                    show_bytes(pool.stats.data_bytes),
                    show_share(hit_rate),
                ]
            })
            .collect();
        table(
            &[
                "pool", "name", "kind", "codec", "weight", "limit", "pages", "data", "hit rate",
            ],
            &rows,
        )
    }

    fn settings(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .meta
            .tunables
            .iter()
            .map(|(key, value)| vec![key.clone(), value.clone()])
            .collect();
        table(&["key", "value"], &rows)
    }

    fn unmeasured(&self) -> String {
        let rows: Vec<Vec<String>> = self
            .readings
            .iter()
            .flat_map(|(_, last)| &last.unmeasured)
            .map(|(what, why)| vec![what.clone(), why.clone()])
            .collect();
        table(&["what", "why"], &rows)
    }
}

fn show(value: Value) -> String {
    match value {
        Value::Share(value) => show_share(value),
        Value::PerSecond(Some(value)) => format!("{}/s", show_count(value as u64)),
        Value::Bytes(Some(value)) => show_bytes(value as u64),
        Value::Ns(Some(value)) => show_ns(value as u64),
        Value::Number(Some(value)) if value >= 1000.0 => show_count(value as u64),
        Value::Number(Some(value)) => format!("{value:.2}"),
        _ => "-".to_owned(),
    }
}

/// Nanoseconds since 1970 as `2026-01-31 12:00:00 UTC`, by the proleptic Gregorian
/// calendar (Hinnant, "chrono-Compatible Low-Level Date Algorithms", 2013).
fn utc(unix_ns: u64) -> String {
    let seconds = unix_ns / 1_000_000_000;
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second / 60 % 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000_000_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_700_000_000_123_456_789), "2023-11-14 22:13:20 UTC");
    }
}
