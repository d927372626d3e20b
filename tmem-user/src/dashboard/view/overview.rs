//! Memory, rates and latency at a glance.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::histogram::{BUCKETS, lower_bound};
use tmem_common::op::Op;

use super::{
    App, bar, chart, draw_unmeasured, pairs, rows, section, text_at, text_ending_at, window_text,
};
use crate::dashboard::format::{maybe_ns, percent, rate, ratio};
use crate::dashboard::history::{page_bytes, per_second};
use crate::histogram::Histogram;
use crate::interval::{compression_ratio, memory_ratio};
use crate::units::{show_bytes, show_count, show_ns};

/// Rows that each section takes at the least, its title included.
const MEMORY: u16 = 4;
const RATES: u16 = 7;
const LATENCY: u16 = 5;

/// Rows of a chart at the most.
const TALLEST: u16 = 4;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    // What is left beyond the least goes to a line on the machine, then to
    // taller charts, then to a chart of the memory held.
    let mut spare = area.height.saturating_sub(MEMORY + RATES + LATENCY);
    let machine = spare.min(1);
    spare -= machine;
    let tall = 1 + (spare / 8).min(TALLEST - 1);
    spare -= 8 * (tall - 1);
    let held = if spare >= 3 { spare.min(8) } else { 0 };

    let mut y = 0;
    let mut part = |height: u16| {
        let part = rows(area, y, y + height);
        y += height;
        part
    };
    draw_memory(app, buffer, part(MEMORY + machine + held));
    draw_rates(app, buffer, part(RATES + 4 * (tall - 1)), tall);
    draw_latency(app, buffer, part(LATENCY + 4 * (tall - 1)), tall);
}

fn draw_memory(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let inner = section(theme, buffer, area, "Memory");
    let history = app.history();
    let Some(latest) = history.latest() else {
        return;
    };
    let (used, limit) = (latest.used_bytes, latest.limit_bytes);
    let over = latest.overhang_bytes > 0;
    let mut text = format!(
        "{} of {}  {}",
        show_bytes(used),
        show_bytes(limit),
        percent(used, limit)
    );
    if over {
        text = format!("! {} over  {text}", show_bytes(latest.overhang_bytes));
    }
    let style = if over { theme.warning } else { theme.value };
    let gauge = usize::from(inner.width).saturating_sub(text.chars().count() + 9);
    let share = if limit == 0 {
        1.0
    } else {
        used as f64 / limit as f64
    };
    text_at(buffer, inner, 1, 0, "fill", theme.label);
    let (filled, rest) = bar(theme, gauge, share);
    let x = text_at(buffer, inner, 6, 0, &filled, theme.fill);
    let x = text_at(buffer, inner, x, 0, &rest, theme.label);
    text_at(buffer, inner, x + 1, 0, &text, style);

    let totals = &latest.totals;
    let pages = page_bytes(totals);
    let saved = if pages >= used {
        ("saved", show_bytes(pages - used))
    } else {
        ("cost", show_bytes(used - pages))
    };
    pairs(
        theme,
        buffer,
        inner,
        1,
        &[
            ("pages in", show_bytes(pages)),
            ("held in", show_bytes(used)),
            saved,
            ("metadata", show_bytes(totals.metadata_bytes)),
            ("data", show_bytes(totals.data_bytes)),
            ("moved pages", show_count(totals.moved_pages)),
        ],
    );
    pairs(
        theme,
        buffer,
        inner,
        2,
        &[
            ("ratio", ratio(compression_ratio(totals))),
            ("effective", ratio(memory_ratio(totals.pages, used))),
            ("pages", show_count(totals.pages)),
            ("same", show_count(totals.same_pages)),
            ("raw", show_count(totals.raw_pages)),
        ],
    );
    draw_machine(app, buffer, inner);
    let held = rows(inner, 4, inner.height);
    if held.height > 1 {
        text_at(buffer, held, 1, held.height - 1, "held", theme.label);
        let area = Rect::new(held.x + 6, held.y, held.width - 6, held.height);
        let points = history.points().map(|point| point.used_bytes as f64);
        chart(
            theme,
            buffer,
            area,
            points,
            limit.max(used) as f64,
            theme.fill,
        );
    }
}

/// Memory pressure and what the tool itself costs.
fn draw_machine(app: &App, buffer: &mut Buffer, area: Rect) {
    let Some(latest) = app.history().latest() else {
        return;
    };
    let mut figures = Vec::new();
    if let Some(pressure) = latest.pressure {
        figures.push(("pressure: some", format!("{:.1} %", pressure.some_avg10)));
        figures.push(("full", format!("{:.1} %", pressure.full_avg10)));
    }
    figures.push(("this tool", show_bytes(latest.cost.resident_bytes)));
    if let Some(point) = app.history().newest() {
        let share = |ns: u64| format!("{:.2} %", ns as f64 / 1e7 / point.seconds.max(1e-9));
        figures.push(("CPU", share(point.own_cpu_ns)));
        if let Some(ns) = point.programs_ns {
            figures.push(("eBPF", share(ns)));
        }
    }
    pairs(&app.theme, buffer, area, 3, &figures);
}

fn draw_rates(app: &App, buffer: &mut Buffer, area: Rect, tall: u16) {
    let theme = &app.theme;
    let inner = section(theme, buffer, area, "Operations per second");
    let history = app.history();
    let newest = history.newest();
    let with_peak = inner.width >= 76;
    let chart_width = inner.width.saturating_sub(if with_peak { 35 } else { 18 });
    for (position, op) in Op::ALL.into_iter().enumerate() {
        let row = rows(inner, position as u16 * tall, (position as u16 + 1) * tall);
        let Some(base) = row.height.checked_sub(1) else {
            return;
        };
        text_at(buffer, row, 1, base, op.name(), theme.label);
        let now = newest.map_or(0.0, |point| point.rate(op));
        text_ending_at(buffer, row, 16, base, &rate(now), theme.value);
        let shown = history.points().take(usize::from(chart_width));
        let peak = shown.map(|point| point.rate(op)).fold(0.0, f64::max);
        let area = Rect::new(row.x + 17, row.y, chart_width, row.height);
        let points = history.points().map(|point| point.rate(op));
        chart(theme, buffer, area, points, peak, theme.op(op));
        if with_peak {
            let text = format!("peak {}", rate(peak));
            text_at(buffer, row, 17 + chart_width + 1, base, &text, theme.label);
        }
    }
    draw_hits(app, buffer, rows(inner, 4 * tall, inner.height));
}

/// The hit rate, and what the disk was spared.
fn draw_hits(app: &App, buffer: &mut Buffer, area: Rect) {
    let history = app.history();
    let (hits, gets) = history.hits(app.window());
    let all = history.latest().map_or((0, 0), |latest| {
        use crate::dashboard::history::{ops, outcome};
        let hits = outcome(&latest.totals, tmem_common::op::Outcome::Hit);
        (hits, ops(&latest.totals, Op::Get))
    });
    pairs(
        &app.theme,
        buffer,
        area,
        0,
        &[
            ("hit rate", percent(hits, gets)),
            ("of", format!("{} gets", show_count(gets))),
            (&format!("({})", window_text(app)), String::new()),
            ("ever", percent(all.0, all.1)),
        ],
    );
    let totals = history.swap_totals();
    let newest = history.newest();
    let now = newest.map(|point| point.swap).unwrap_or_default();
    let seconds = newest.map_or(0.0, |point| point.seconds);
    let avoided = |total: u64, now: u64| {
        format!(
            "{} ({}/s)",
            show_count(total),
            rate(per_second(now, seconds))
        )
    };
    let mut figures = vec![
        (
            "swap writes avoided",
            avoided(totals.writes_avoided, now.writes_avoided),
        ),
        ("reads", avoided(totals.reads_avoided, now.reads_avoided)),
    ];
    if let (Some(written), Some(read)) = (now.written, now.read) {
        let text = |pages| format!("{}/s", rate(per_second(pages, seconds)));
        figures.push(("written", text(written)));
        figures.push(("read", text(read)));
    }
    pairs(&app.theme, buffer, area, 1, &figures);
}

fn draw_latency(app: &App, buffer: &mut Buffer, area: Rect, tall: u16) {
    let theme = &app.theme;
    let inner = section(theme, buffer, area, "Latency");
    let history = app.history();
    if history
        .latest()
        .is_some_and(|latest| latest.observed.is_none())
    {
        draw_unmeasured(app, buffer, inner);
        return;
    }
    let ends = [17, 28, 39];
    for (end, title) in ends.into_iter().zip([" p50 ", " p99 ", " p99.9 "]) {
        text_ending_at(buffer, area, end + 1, 0, title, theme.heading);
    }
    let histograms = Op::ALL.map(|op| history.latency(op, app.window()));
    let range = used_buckets(&histograms);
    let mut title = format!(" {}", window_text(app));
    if let Some((first, last)) = range {
        let (from, to) = (show_ns(lower_bound(first)), show_ns(lower_bound(last)));
        title.push_str(&format!(", {from} to {to}"));
    }
    title.push(' ');
    if area.width >= 76 || range.is_none() {
        text_at(buffer, area, 41, 0, &title, theme.heading);
    }
    for (position, op) in Op::ALL.into_iter().enumerate() {
        let row = rows(inner, position as u16 * tall, (position as u16 + 1) * tall);
        let Some(base) = row.height.checked_sub(1) else {
            return;
        };
        let histogram = &histograms[op as usize];
        text_at(buffer, row, 1, base, op.name(), theme.label);
        for (end, quantile) in ends.into_iter().zip([0.5, 0.99, 0.999]) {
            let text = maybe_ns(histogram.percentile(quantile));
            text_ending_at(buffer, row, end, base, &text, theme.value);
        }
        if let Some((first, last)) = range
            && row.width > 42
        {
            let area = Rect::new(row.x + 41, row.y, row.width - 42, row.height);
            let shares = spread(histogram, first, last, usize::from(area.width));
            let top = shares.iter().copied().fold(0.0, f64::max);
            let shares = shares.into_iter().rev();
            chart(theme, buffer, area, shares, top, theme.op(op));
        }
    }
}

/// The first and the last bucket that anything fell into.
fn used_buckets(histograms: &[Histogram]) -> Option<(usize, usize)> {
    let used = |bucket: &usize| {
        histograms
            .iter()
            .any(|histogram| histogram.buckets()[*bucket] > 0)
    };
    Some(((0..BUCKETS).find(used)?, (0..BUCKETS).rfind(used)?))
}

/// The buckets `first` to `last`, spread over `columns`.
fn spread(histogram: &Histogram, first: usize, last: usize, columns: usize) -> Vec<f64> {
    let buckets = last - first + 1;
    let mut shares = vec![0.0; columns];
    if buckets >= columns {
        for bucket in first..=last {
            shares[(bucket - first) * columns / buckets] += histogram.buckets()[bucket] as f64;
        }
    } else {
        for (column, share) in shares.iter_mut().enumerate() {
            *share = histogram.buckets()[first + column * buckets / columns] as f64;
        }
    }
    shares
}
