//! Pages by file, as eBPF saw them: which files profit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::PAGE_SIZE;

use super::{
    App, Column, View, draw_unmeasured, left, pairs, right, rows, section, table, text_at,
};
use crate::dashboard::format::{percent, rate};
use crate::units::{show_bytes, show_count};

/// Rows that the detail takes, its title included.
const DETAIL: u16 = 4;

/// Columns beside the name, with the gaps between them.
const FIGURES: u16 = 36;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let observed = app
        .history()
        .latest()
        .and_then(|latest| latest.observed.as_ref());
    if observed.is_none_or(|observed| observed.only_times) {
        let inner = section(theme, buffer, area, "Files");
        draw_unmeasured(app, buffer, inner);
        return;
    }
    let shown = app.rows(View::Files);
    let place = app.selected_place(View::Files, &shown);
    let split = if app.list().expanded {
        0
    } else {
        area.height.saturating_sub(DETAIL)
    };
    let wide = area.width.saturating_sub(FIGURES + 2);
    let columns = [
        Column {
            width: wide.clamp(12, 40),
            ..left("file", 0, 0)
        },
        right("hit/s", 8, 0),
        right("hit rate", 8, 0),
        right("hits", 8, 0),
        right("misses", 8, 0),
        right("stored", 9, 1),
        right("device", 8, 2),
        right("inode", 10, 3),
    ];
    let files = app.history().files();
    let cells = |place: usize| {
        let file = &files[shown[place]];
        let seen = &file.seen;
        vec![
            seen.label(),
            rate(file.hits_per_second),
            percent(seen.hits, seen.hits + seen.misses),
            show_count(seen.hits),
            show_count(seen.misses),
            show_count(seen.stored),
            seen.device_name(),
            seen.inode.to_string(),
        ]
    };
    let upper = rows(area, 0, split);
    table(
        app,
        buffer,
        upper,
        &columns,
        shown.len(),
        Some(place),
        cells,
    );
    let detail = rows(area, split, area.height);
    let Some(file) = shown.get(place).map(|row| &files[*row]) else {
        let inner = section(theme, buffer, detail, "Files");
        let none = "none was met yet; `tmem mount add PATH` has a file system take part";
        text_at(buffer, inner, 1, 0, none, theme.label);
        return;
    };
    let seen = &file.seen;
    let inner = section(theme, buffer, detail, &format!("File {}", seen.place()));
    let lines = [
        vec![
            ("reads avoided", show_bytes(seen.hits * PAGE_SIZE as u64)),
            ("hits", show_count(seen.hits)),
            ("misses", show_count(seen.misses)),
        ],
        vec![
            ("put/s", rate(file.puts_per_second)),
            ("puts", show_count(seen.puts)),
            ("stored", show_count(seen.stored)),
        ],
        vec![
            ("device", seen.device_name()),
            ("inode", seen.inode.to_string()),
        ],
    ];
    for (y, line) in lines.iter().enumerate() {
        pairs(theme, buffer, inner, y as u16, line);
    }
}
