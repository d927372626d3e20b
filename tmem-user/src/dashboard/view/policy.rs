//! Everything that can be set: its value, what it does, and what it takes; and the
//! miss-ratio curve of the last minutes, with the limit marked.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{App, Column, View, chart, left, rows, section, table, text_ending_at, wrap};
use crate::dashboard::view::text_at;
use crate::units::{show_bytes, show_share};

/// Rows below the table for the selected tunable, its title included.
const DETAIL: u16 = 4;
/// Rows of the curve, where there are `TALL` rows for all.
const CURVE: u16 = 11;
const TALL: u16 = 30;
/// Rows of what is said of the curve where there are fewer.
const CURVE_TEXT: u16 = 2;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    if app.tunables.is_empty() {
        draw_notes(app, buffer, area);
        return;
    }
    let columns = [
        left("key", 26, 0),
        left("value", 16, 0),
        Column {
            width: area.width.saturating_sub(46),
            ..left("what it does", 0, 1)
        },
    ];
    let curve = if area.height >= TALL {
        CURVE
    } else {
        CURVE_TEXT
    };
    let below = area.height.saturating_sub(curve);
    draw_curve(app, buffer, rows(area, below, area.height));
    let area = rows(area, 0, below);
    let split = area.height.saturating_sub(DETAIL);
    let shown = app.rows(View::Policy);
    let cells = |place: usize| {
        let tunable = &app.tunables[shown[place]];
        vec![
            tunable.key.clone(),
            tunable.value.clone(),
            tunable.meaning.to_owned(),
        ]
    };
    let selected = Some(app.selected_place(View::Policy, &shown));
    let upper = rows(area, 0, split);
    table(app, buffer, upper, &columns, shown.len(), selected, cells);
    let detail = rows(area, split, area.height);
    let row = app.selected_row(View::Policy);
    let Some(tunable) = row.and_then(|row| app.tunables.get(row)) else {
        section(theme, buffer, detail, "none with these words");
        return;
    };
    let inner = section(theme, buffer, detail, &tunable.key);
    let width = usize::from(inner.width.saturating_sub(2)).max(1);
    let text = format!(
        "{} Now {}; takes {}",
        tunable.meaning, tunable.value, tunable.allowed
    );
    for (row, line) in wrap(&text, width, usize::from(inner.height))
        .iter()
        .enumerate()
    {
        text_at(buffer, inner, 1, row as u16, line, theme.label);
    }
}

/// The curve of all pools, by memory; in two rows what it says of the limit, half and twice as much.
fn draw_curve(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let history = app.history();
    let (Some((curve, seconds)), Some(latest)) = (history.curve().get(), history.latest()) else {
        section(
            theme,
            buffer,
            area,
            "Misses by limit: no operation is sampled",
        );
        return;
    };
    let limit = latest.limit_bytes as f64;
    let columns = area.width.saturating_sub(2).max(2);
    let Some(points) = curve.points(limit * 2.0, u32::from(columns) - 1) else {
        section(
            theme,
            buffer,
            area,
            "Misses by limit: no page was asked for yet",
        );
        return;
    };
    let minutes = seconds.div_ceil(60);
    let title = format!("Misses by limit, last {minutes} min");
    let inner = section(theme, buffer, area, &title);
    let said = [0.5, 1.0, 2.0].map(|factor| {
        let misses = show_share(curve.at(limit * factor));
        format!("{} {misses}", show_bytes((limit * factor) as u64))
    });
    let [half, now, twice] = said;
    let x = text_at(buffer, inner, 1, 0, &half, theme.label) + 2;
    let x = text_at(buffer, inner, x, 0, &format!("limit {now}"), theme.value) + 2;
    text_at(buffer, inner, x, 0, &twice, theme.label);
    let drawn = rows(inner, 1, inner.height.saturating_sub(1));
    if drawn.height < 2 {
        return;
    }
    let drawn = Rect {
        x: drawn.x + 1,
        width: columns,
        ..drawn
    };
    let misses = points.iter().rev().map(|(_, share)| *share);
    chart(theme, buffer, drawn, misses, 1.0, theme.fill);
    let right = points.last().map_or(limit, |(bytes, _)| *bytes);
    let mark = (limit / right * f64::from(columns - 1)).round() as u16;
    for y in 0..drawn.height {
        text_at(buffer, drawn, mark, y, "|", theme.warning);
    }
    let scale = Rect {
        y: drawn.y + drawn.height,
        height: 1,
        ..drawn
    };
    text_at(buffer, scale, 0, 0, "0", theme.label);
    text_at(
        buffer,
        scale,
        mark.saturating_sub(2),
        0,
        "limit",
        theme.warning,
    );
    text_ending_at(
        buffer,
        scale,
        columns,
        0,
        &show_bytes(right as u64),
        theme.label,
    );
}

/// What a source that takes no changes has to say instead.
fn draw_notes(app: &App, buffer: &mut Buffer, area: Rect) {
    let inner = section(&app.theme, buffer, area, "Nothing can be set here");
    let width = usize::from(inner.width.saturating_sub(2)).max(1);
    let notes = app
        .history()
        .latest()
        .map_or(&[][..], |latest| &latest.notes);
    let mut y = 0;
    for note in notes {
        for line in wrap(note, width, usize::from(inner.height)) {
            text_at(buffer, inner, 1, y, &line, app.theme.label);
            y += 1;
        }
        y += 1;
    }
}
