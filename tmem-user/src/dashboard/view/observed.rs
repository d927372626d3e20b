//! A view of what eBPF saw, row by row: a table, and the selected row in detail below it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{App, Column, View, draw_unmeasured, left, pairs, rows, section, table, text_at};

/// Width that the columns beside the name take, with the gaps between them.
const FIGURES: u16 = 36;

/// What such a view shows of rows of type `T`.
pub(super) struct Listing<'a, T> {
    pub(super) view: View,
    /// The view's title, and that of the column with the names.
    pub(super) title: &'static str,
    pub(super) name: &'static str,
    /// The other columns.
    pub(super) figures: [Column; 7],
    /// Rows that the detail takes, its title included.
    pub(super) detail: u16,
    /// What stands there when there is no row.
    pub(super) none: &'static str,
    pub(super) items: &'a [T],
}

/// The selected row's title, and its lines of labels and values.
pub(super) type Detail = (String, Vec<Vec<(&'static str, String)>>);

pub(super) fn draw<T>(
    app: &App,
    buffer: &mut Buffer,
    area: Rect,
    listing: Listing<'_, T>,
    cells: impl Fn(&T) -> Vec<String>,
    detail_of: impl Fn(&T) -> Detail,
) {
    let theme = &app.theme;
    let observed = app
        .history()
        .latest()
        .and_then(|latest| latest.observed.as_ref());
    if observed.is_none_or(|observed| observed.only_times) {
        let inner = section(theme, buffer, area, listing.title);
        draw_unmeasured(app, buffer, inner);
        return;
    }
    let shown = app.rows(listing.view);
    let place = app.selected_place(listing.view, &shown);
    let split = if app.list().expanded {
        0
    } else {
        area.height.saturating_sub(listing.detail)
    };
    let name = Column {
        width: area.width.saturating_sub(FIGURES + 2).clamp(12, 40),
        ..left(listing.name, 0, 0)
    };
    let columns: Vec<Column> = std::iter::once(name).chain(listing.figures).collect();
    table(
        app,
        buffer,
        rows(area, 0, split),
        &columns,
        shown.len(),
        Some(place),
        |place| cells(&listing.items[shown[place]]),
    );
    let detail = rows(area, split, area.height);
    let Some(item) = shown.get(place).map(|row| &listing.items[*row]) else {
        let inner = section(theme, buffer, detail, listing.title);
        text_at(buffer, inner, 1, 0, listing.none, theme.label);
        return;
    };
    let (title, lines) = detail_of(item);
    let inner = section(theme, buffer, detail, &title);
    for (y, line) in lines.iter().enumerate() {
        pairs(theme, buffer, inner, y as u16, line);
    }
}
