//! Reports for people: short lines and tables with aligned columns, coloured
//! where the output takes colour.

use std::error::Error;
use std::fmt::Write as _;

use tmem_common::op::Op;

use crate::check::{self, Side, Verdict};
use crate::doctor::{Finding, Grade};
use crate::interval::{Interval, compression_ratio, memory_ratio};
use crate::json::{CommandJson, PageoutJson};
use crate::source::{CellSnapshot, Change, PoolSnapshot, Snapshot, Tunable};
use crate::units::{show_bytes, show_count, show_ns, show_share};

/// Colours by ANSI escapes, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Whether to use escapes at all.
    pub on: bool,
}

impl Palette {
    fn paint(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// For headings.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// For what is good.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// For what wants a look.
    pub fn warn(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// For errors.
    pub fn bad(self, text: &str) -> String {
        self.paint("31", text)
    }

    /// For asides.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

/// The filled part of a horizontal bar of `width` columns, `share` (0 to 1) of it filled, and its
/// columns; `widths` are eight widths of its end, the last one full.
pub fn bar(widths: &[&str; 8], width: usize, share: f64) -> (String, usize) {
    let eighths = (share.clamp(0.0, 1.0) * width as f64 * 8.0).round() as usize;
    let mut filled = widths[7].repeat(eighths / 8);
    if !eighths.is_multiple_of(8) {
        filled.push_str(widths[eighths % 8 - 1]);
    }
    (filled, eighths.div_ceil(8))
}

/// An error and its causes in one line. Many an error's text ends with that of
/// its cause, which is then not said twice.
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let cause = inner.to_string();
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
        source = inner.source();
    }
    text
}

/// A table: the first column to the left, the others to the right.
struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self {
            rows: vec![head.iter().map(|&cell| cell.to_owned()).collect()],
        }
    }

    fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    fn render(&self, palette: Palette) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for (number, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                let _ = if column == 0 {
                    write!(line, "{cell:<width$}")
                } else {
                    write!(line, "  {cell:>width$}")
                };
            }
            let line = line.trim_end();
            text.push_str(&if number == 0 {
                palette.bold(line)
            } else {
                line.to_owned()
            });
            text.push('\n');
        }
        text
    }
}

fn line(text: &mut String, label: &str, value: &str) {
    let _ = writeln!(text, "{label:<20}{value}");
}

fn ratio(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn memory_line(snapshot: &Snapshot, palette: Palette) -> String {
    let used = show_bytes(snapshot.used_bytes);
    let limit = show_bytes(snapshot.limit_bytes);
    let share = (snapshot.limit_bytes > 0)
        .then(|| snapshot.used_bytes as f64 / snapshot.limit_bytes as f64);
    let mut text = format!("{used} of {limit} ({})", show_share(share));
    if snapshot.overhang_bytes > 0 {
        let overhang = format!(
            ", {} beyond the limit, held by persistent pages",
            show_bytes(snapshot.overhang_bytes)
        );
        text.push_str(&palette.warn(&overhang));
    }
    text
}

fn pages_line(snapshot: &Snapshot) -> String {
    format!(
        "{} ({} same-filled, {} raw)",
        show_count(snapshot.totals.pages),
        show_count(snapshot.totals.same_pages),
        show_count(snapshot.totals.raw_pages)
    )
}

fn ratio_line(snapshot: &Snapshot) -> String {
    format!(
        "{} (page bytes / data bytes), {} (page bytes / memory used)",
        ratio(compression_ratio(&snapshot.totals)),
        ratio(memory_ratio(snapshot.totals.pages, snapshot.used_bytes)),
    )
}

/// `tmem status`.
pub fn status(source: &str, snapshot: &Snapshot, tunables: &[Tunable], palette: Palette) -> String {
    let mut text = String::new();
    line(&mut text, "Source", source);
    let accepting = if snapshot.enabled {
        palette.good("yes")
    } else {
        palette.warn("no")
    };
    line(&mut text, "Accepts new pages", &accepting);
    line(&mut text, "Memory", &memory_line(snapshot, palette));
    line(&mut text, "Pages", &pages_line(snapshot));
    line(&mut text, "Ratio", &ratio_line(snapshot));
    line(&mut text, "Pools", &snapshot.pools.len().to_string());
    text.push('\n');
    let mut table = Table::new(&["Tunable", "Value"]);
    for tunable in tunables {
        table.row(vec![tunable.key.clone(), tunable.value.clone()]);
    }
    if !tunables.is_empty() {
        text.push_str(&table.render(palette));
    }
    for note in &snapshot.notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// `tmem check`: each condition with its value, and the sum.
pub fn conditions(outcomes: &[check::Outcome], palette: Palette) -> String {
    let mut table = Table::new(&["Condition", "Wanted", "Measured", "Verdict"]);
    let mut reasons = String::new();
    for outcome in outcomes {
        let condition = &outcome.condition;
        let sign = match condition.side {
            Side::Min => ">=",
            Side::Max => "<=",
        };
        let show = |value| condition.quantity.show(value);
        let verdict = match &outcome.verdict {
            Verdict::Held => "held",
            Verdict::Failed => "FAILED",
            Verdict::NotMeasured(why) => {
                let note = format!("not measured: {} ({why})", condition.name);
                let _ = writeln!(reasons, "{}", palette.warn(&note));
                "NOT MEASURED"
            }
        };
        table.row(vec![
            condition.name.to_owned(),
            format!("{sign} {}", show(condition.bound)),
            outcome.value.map_or_else(|| "-".to_owned(), show),
            verdict.to_owned(),
        ]);
    }
    let sum = match check::sum(outcomes) {
        check::Sum::Held => palette.good("every condition held"),
        check::Sum::Failed => palette.bad("failed"),
        check::Sum::NotMeasured => palette.warn("cannot be measured"),
    };
    format!("{}{reasons}{sum}\n", table.render(palette))
}

/// `tmem pageout`.
pub fn paged_out(report: &PageoutJson) -> String {
    let mut text = String::new();
    let mut paged_out = show_bytes(report.paged_out_bytes);
    if report.in_use_bytes > 0 {
        let _ = write!(
            paged_out,
            " ({} in use was left)",
            show_bytes(report.in_use_bytes)
        );
    }
    line(&mut text, "Paged out", &paged_out);
    let (before, after) = (report.resident_before_bytes, report.resident_after_bytes);
    let resident = format!("{} -> {}", show_bytes(before), show_bytes(after));
    line(&mut text, "In memory", &resident);
    line(&mut text, "Kept by", &report.source);
    let stored = format!(
        "{} pages in {} (ratio {}), {} refused",
        show_count(report.stores),
        show_bytes(report.kept_bytes),
        ratio(report.ratio),
        show_count(report.refusals)
    );
    line(&mut text, "Stored", &stored);
    if let Some(pages) = report.swap_pages_written {
        line(
            &mut text,
            "Swap devices",
            &format!("{} pages written", show_count(pages)),
        );
    }
    text
}

/// `tmem run`: the command and what it took.
pub fn command(command: &CommandJson) -> String {
    let seconds = |ns: u64| format!("{:.2} s", ns as f64 / 1e9);
    let mut text = String::new();
    line(&mut text, "Command", &command.argv.join(" "));
    line(
        &mut text,
        "Took",
        &format!(
            "{} ({} of CPU in programs, {} in the kernel), exit code {}",
            seconds(command.wall_ns),
            seconds(command.user_ns),
            seconds(command.system_ns),
            command.exit_code
        ),
    );
    line(
        &mut text,
        "Peak memory",
        &format!(
            "{}, {} major faults",
            show_bytes(command.peak_resident_bytes),
            show_count(command.major_faults)
        ),
    );
    text
}

/// `tmem doctor`: one line a finding, with what to do below it.
pub fn findings(findings: &[Finding], palette: Palette) -> String {
    let mut text = String::new();
    for finding in findings {
        let grade = format!("{:<8}", finding.grade.name());
        let grade = match finding.grade {
            Grade::Good => palette.good(&grade),
            Grade::Note => palette.bold(&grade),
            Grade::Warning => palette.warn(&grade),
            Grade::Problem => palette.bad(&grade),
        };
        let _ = writeln!(text, "{grade} {:<11} {}", finding.what, finding.found);
        if !finding.advice.is_empty() {
            let _ = writeln!(text, "{:20} -> {}", "", finding.advice);
        }
    }
    text
}

/// `tmem stats`: the interval in a few lines, then latencies by operation.
pub fn stats(source: &str, snapshot: &Snapshot, interval: &Interval, palette: Palette) -> String {
    let mut text = String::new();
    let rate = |count| show_count(interval.per_second(count).round() as u64);
    line(&mut text, "Source", source);
    let measured = format!("{:.2} s", interval.duration.as_secs_f64());
    line(&mut text, "Measured for", &measured);
    let stores = interval.stores();
    line(
        &mut text,
        "Stores",
        &format!(
            "{} ({}/s), {} of puts, {} refused",
            show_count(stores),
            rate(stores),
            show_share(interval.store_share()),
            show_count(interval.refusals())
        ),
    );
    let hits = interval.hits();
    line(
        &mut text,
        "Hits",
        &format!(
            "{} ({}/s), {} of gets, {} missed",
            show_count(hits),
            rate(hits),
            show_share(interval.hit_share()),
            show_count(interval.misses())
        ),
    );
    line(&mut text, "Ratio", &ratio_line(snapshot));
    line(&mut text, "Memory", &memory_line(snapshot, palette));
    line(&mut text, "Pages", &pages_line(snapshot));
    line(
        &mut text,
        "Disk writes avoided",
        &format!(
            "{} pages (reads avoided: {})",
            show_count(interval.writes_avoided),
            show_count(interval.reads_avoided),
        ),
    );
    if let Some(disk) = interval.disk {
        line(
            &mut text,
            "Swap device",
            &format!(
                "{} pages written, {} read",
                show_count(disk.swap_pages_written),
                show_count(disk.swap_pages_read)
            ),
        );
    }
    if let Some(pressure) = snapshot.pressure {
        line(
            &mut text,
            "Memory pressure",
            &format!(
                "some {:.2} %, full {:.2} % (10 s)",
                pressure.some_avg10, pressure.full_avg10
            ),
        );
    }
    line(
        &mut text,
        "Cost of watching",
        &cost_line(snapshot, interval),
    );
    if let Some(cells) = &interval.cells {
        text.push('\n');
        text.push_str(&latency_table(snapshot, interval, cells, palette));
    }
    for unmeasured in &snapshot.unmeasured {
        let note = format!("not measured: {} ({})", unmeasured.what, unmeasured.why);
        let _ = writeln!(text, "{}", palette.warn(&note));
    }
    text
}

fn cost_line(snapshot: &Snapshot, interval: &Interval) -> String {
    let share = |ns: u64| {
        let seconds = interval.duration.as_secs_f64();
        (seconds > 0.0).then(|| ns as f64 / 1e9 / seconds)
    };
    let mut text = format!(
        "{} of one CPU, {}",
        show_share(share(interval.own_cpu_ns)),
        show_bytes(snapshot.cost.resident_bytes)
    );
    if let Some(ns) = interval.programs_ns {
        let _ = write!(text, "; eBPF {} of one CPU", show_share(share(ns)));
    }
    text
}

fn latency_table(
    snapshot: &Snapshot,
    interval: &Interval,
    cells: &[CellSnapshot],
    palette: Palette,
) -> String {
    let mut table = Table::new(&[
        "Operation",
        "Pool",
        "Count",
        "Rate/s",
        "Mean",
        "p50",
        "p90",
        "p99",
        "p99.9",
    ]);
    for op in Op::ALL {
        let mut of_op: Vec<_> = cells.iter().filter(|cell| cell.op == op).collect();
        of_op.sort_by_key(|cell| (cell.pool, cell.outcome));
        for cell in of_op {
            let pool = snapshot
                .pools
                .iter()
                .find(|pool| pool.id == cell.pool)
                .map_or_else(|| cell.pool.to_string(), PoolSnapshot::name);
            let percentile = |quantile| {
                cell.histogram
                    .percentile(quantile)
                    .map_or_else(|| "-".to_owned(), show_ns)
            };
            let outcome = cell.outcome.name().replace('_', " ");
            table.row(vec![
                format!("{} {outcome}", op.name()),
                pool,
                show_count(cell.count),
                show_count(interval.per_second(cell.count).round() as u64),
                show_ns(cell.total_ns.checked_div(cell.count).unwrap_or(0)),
                percentile(0.5),
                percentile(0.9),
                percentile(0.99),
                percentile(0.999),
            ]);
        }
    }
    if cells.is_empty() {
        return format!("{}\n", palette.dim("no operations in this interval"));
    }
    table.render(palette)
}

/// `tmem stats --cgroups`: operations by cgroup.
pub fn cgroups(interval: &Interval, palette: Palette) -> String {
    let Some(cgroups) = &interval.cgroups else {
        return "\nCgroups: not measured\n".to_owned();
    };
    if cgroups.is_empty() {
        return String::new();
    }
    let mut table = Table::new(&["Cgroup", "Operation", "Count", "Bytes"]);
    for cgroup in cgroups {
        table.row(vec![
            cgroup
                .path
                .clone()
                .unwrap_or_else(|| format!("id {}", cgroup.id)),
            format!(
                "{} {}",
                cgroup.op.name(),
                cgroup.outcome.name().replace('_', " ")
            ),
            show_count(cgroup.count),
            show_bytes(cgroup.bytes),
        ]);
    }
    format!("\n{}", table.render(palette))
}

/// `tmem set`: one line a change.
pub fn changes(changes: &[Change], palette: Palette) -> String {
    let mut text = String::new();
    for change in changes {
        let _ = writeln!(
            text,
            "{}: {} -> {}",
            change.key,
            change.old,
            palette.bold(&change.new)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["Name", "N"]);
        table.row(vec!["a".to_owned(), "12345".to_owned()]);
        table.row(vec!["longer".to_owned(), "1".to_owned()]);
        assert_eq!(
            table.render(Palette { on: false }),
            "Name        N\na       12345\nlonger      1\n"
        );
    }

    #[test]
    fn a_cause_is_said_once() {
        let error = crate::source::SourceError::Io {
            path: "/x".into(),
            error: std::io::Error::from_raw_os_error(libc::ENOENT),
        };
        let text = "/x: No such file or directory (os error 2)";
        assert_eq!(error_chain(&error), text);
        let error = anyhow::Error::from(error).context("reading");
        assert_eq!(error_chain(error.as_ref()), format!("reading: {text}"));
    }

    #[test]
    fn colour_is_off_unless_asked_for() {
        assert_eq!(Palette { on: false }.bad("x"), "x");
        assert_eq!(Palette { on: true }.bad("x"), "\x1b[31mx\x1b[0m");
    }
}
