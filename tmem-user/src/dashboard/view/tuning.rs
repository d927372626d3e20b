//! Everything that can be set, with its value and what it takes.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{App, Column, left, rows, section, table, wrap};
use crate::dashboard::view::text_at;

/// Rows below the table for what the selected tunable takes, its title included.
const DETAIL: u16 = 3;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let columns = [
        left("key", 26, 0),
        left("value", 16, 0),
        Column {
            width: area.width.saturating_sub(46),
            ..left("allowed", 0, 1)
        },
    ];
    let split = area.height.saturating_sub(DETAIL);
    let cells = |row: usize| {
        let tunable = &app.tunables[row];
        vec![
            tunable.key.clone(),
            tunable.value.clone(),
            tunable.allowed.clone(),
        ]
    };
    let (count, selected) = (app.tunables.len(), Some(app.selected_tunable));
    let upper = rows(area, 0, split);
    table(theme, buffer, upper, &columns, count, selected, cells);
    let detail = rows(area, split, area.height);
    let Some(tunable) = app.tunables.get(app.selected_tunable) else {
        section(theme, buffer, detail, "nothing can be set");
        return;
    };
    let inner = section(theme, buffer, detail, &tunable.key);
    let width = usize::from(inner.width.saturating_sub(2)).max(1);
    let text = format!("now {}; takes {}", tunable.value, tunable.allowed);
    for (row, line) in wrap(&text, width, usize::from(inner.height))
        .iter()
        .enumerate()
    {
        text_at(buffer, inner, 1, row as u16, line, theme.label);
    }
}
