//! Everything that can be set: its value, what it does, and what it takes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{App, Column, View, left, rows, section, table, wrap};
use crate::dashboard::view::text_at;

/// Rows below the table for the selected tunable, its title included.
const DETAIL: u16 = 4;

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
