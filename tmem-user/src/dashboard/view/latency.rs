//! Percentiles of each operation, and a heat map over time of the selected one.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::histogram::{BUCKETS, lower_bound};
use tmem_common::op::{OPS, Op};

use super::{
    App, bar, draw_unmeasured, right, rows, section, table, text_at, text_ending_at, window_text,
};
use crate::dashboard::format::{maybe_ns, span};
use crate::units::{show_count, show_ns};

/// Columns of the scale at the left of the map.
const SCALE: u16 = 10;

/// Columns of the distribution at the right of the map, where there is room.
const DISTRIBUTION: u16 = 20;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let measured = app
        .history()
        .latest()
        .is_some_and(|latest| latest.observed.is_some());
    if app.list().expanded && measured {
        draw_map(app, buffer, area);
        return;
    }
    let title = format!("Percentiles, {}", window_text(app));
    let inner = section(theme, buffer, area, &title);
    if !measured {
        draw_unmeasured(app, buffer, inner);
        return;
    }
    let columns = [
        super::left("op", 6, 0),
        right("count", 11, 0),
        right("p50", 9, 0),
        right("p90", 9, 1),
        right("p99", 9, 0),
        right("p99.9", 9, 0),
        right("most", 9, 1),
    ];
    let cells = |row: usize| {
        let histogram = app.history().latency(Op::ALL[row], app.window());
        let mut cells = vec![Op::ALL[row].name().into(), show_count(histogram.count())];
        for quantile in [0.5, 0.9, 0.99, 0.999, 1.0] {
            cells.push(maybe_ns(histogram.percentile(quantile)));
        }
        cells
    };
    let selected = Some(app.op() as usize);
    let percentiles = rows(inner, 0, OPS as u16 + 1);
    table(app, buffer, percentiles, &columns, OPS, selected, cells);
    draw_map(app, buffer, rows(inner, OPS as u16 + 1, inner.height));
}

fn draw_map(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let op = app.op();
    let style = theme.op(op);
    let title = format!("{} over time", op.name());
    let inner = section(theme, buffer, area, &title);
    let Some(lines) = inner.height.checked_sub(1).filter(|lines| *lines > 0) else {
        return;
    };
    let distribution = if inner.width >= 76 { DISTRIBUTION } else { 0 };
    let columns = usize::from(inner.width.saturating_sub(SCALE + distribution + 1));
    let points: Vec<_> = app.history().points().take(columns).collect();
    let used = |bucket: &usize| {
        points
            .iter()
            .any(|point| point.latency[op as usize].buckets()[*bucket] > 0)
    };
    let (Some(first), Some(last)) = ((0..BUCKETS).find(used), (0..BUCKETS).rfind(used)) else {
        text_at(buffer, inner, 1, 0, "none in this time", theme.label);
        return;
    };
    // Each line takes the same number of buckets; the lowest durations at the bottom.
    let each = (last - first + 1).div_ceil(usize::from(lines));
    let lines = (last - first + 1).div_ceil(each);
    let sum = |buckets: &[u64; BUCKETS], line: usize| -> u64 {
        let from = first + line * each;
        buckets[from..BUCKETS.min(from + each)].iter().sum()
    };
    let mut map = Vec::with_capacity(points.len());
    let mut totals = vec![0; lines];
    for point in &points {
        let buckets = point.latency[op as usize].buckets();
        let column: Vec<u64> = (0..lines).map(|line| sum(buckets, line)).collect();
        for (total, count) in totals.iter_mut().zip(&column) {
            *total += count;
        }
        map.push(column);
    }
    let most = map.iter().flatten().copied().max().unwrap_or_default() as f64;
    let most_total = totals.iter().copied().max().unwrap_or_default() as f64;
    let right_edge = SCALE + columns as u16;
    for line in 0..lines {
        let y = (lines - 1 - line) as u16;
        let low = show_ns(lower_bound(first + line * each));
        text_ending_at(buffer, inner, SCALE - 1, y, &low, theme.label);
        for (back, column) in map.iter().enumerate() {
            if column[line] > 0 {
                // The root keeps the few slow ones in sight.
                let share = (column[line] as f64 / most).sqrt();
                let shade = ((share * 4.0).ceil() as usize).clamp(1, 4);
                let glyph = theme.glyphs.shades[shade - 1];
                text_at(buffer, inner, right_edge - 1 - back as u16, y, glyph, style);
            }
        }
        if distribution > 0 && totals[line] > 0 {
            let share = totals[line] as f64 / most_total;
            let (filled, _) = bar(theme, usize::from(DISTRIBUTION) - 1, share.max(0.01));
            text_at(buffer, inner, right_edge + 1, y, &filled, style);
        }
    }
    let seconds: f64 = points.iter().map(|point| point.seconds).sum();
    let y = lines as u16;
    let oldest = right_edge.saturating_sub(points.len() as u16);
    let ago = format!("{} ago", span(seconds));
    let now = "now";
    if points.len() > ago.len() + now.len() {
        text_at(buffer, inner, oldest, y, &ago, theme.label);
    }
    text_ending_at(buffer, inner, right_edge, y, now, theme.label);
    if distribution > 0 {
        text_at(buffer, inner, right_edge + 1, y, "all of it", theme.label);
    }
}
