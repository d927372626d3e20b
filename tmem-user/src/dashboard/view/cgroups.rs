//! Operations by the cgroup that a page is charged to, as eBPF saw them.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::op::Outcome;

use super::{
    App, Column, View, draw_unmeasured, left, pairs, right, rows, section, table, text_at,
};
use crate::dashboard::format::{percent, rate};
use crate::units::{show_bytes, show_count};

/// Rows that the detail takes, its title included.
const DETAIL: u16 = 5;

/// Columns beside the path, with the gaps between them.
const FIGURES: u16 = 36;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let observed = app
        .history()
        .latest()
        .and_then(|latest| latest.observed.as_ref());
    if observed.is_none_or(|observed| observed.only_times) {
        let inner = section(theme, buffer, area, "Cgroups");
        draw_unmeasured(app, buffer, inner);
        return;
    }
    let shown = app.rows(View::Cgroups);
    let place = app.selected_place(View::Cgroups, &shown);
    let split = if app.list().expanded {
        0
    } else {
        area.height.saturating_sub(DETAIL)
    };
    let wide = area.width.saturating_sub(FIGURES + 2);
    let columns = [
        Column {
            width: wide.clamp(12, 40),
            ..left("cgroup", 0, 0)
        },
        right("put/s", 8, 0),
        right("get/s", 8, 0),
        right("hits", 8, 0),
        right("stored", 9, 0),
        right("refused", 9, 1),
        right("kept in", 10, 2),
        right("misses", 10, 3),
    ];
    let cgroups = app.history().cgroups();
    let cells = |place: usize| {
        let cgroup = &cgroups[shown[place]];
        vec![
            cgroup.name(),
            rate(cgroup.puts_per_second),
            rate(cgroup.gets_per_second),
            percent(cgroup.count(Outcome::Hit), cgroup.gets()),
            show_count(cgroup.stored()),
            show_count(cgroup.refused()),
            show_bytes(cgroup.stored_bytes),
            show_count(cgroup.count(Outcome::Miss)),
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
    let Some(cgroup) = shown.get(place).map(|row| &cgroups[*row]) else {
        let inner = section(theme, buffer, detail, "Cgroups");
        text_at(buffer, inner, 1, 0, "none was met yet", theme.label);
        return;
    };
    let inner = section(theme, buffer, detail, &format!("Cgroup {}", cgroup.name()));
    let count = |outcome: Outcome| show_count(cgroup.count(outcome));
    let lines = [
        vec![
            ("id", cgroup.id.to_string()),
            ("put/s", rate(cgroup.puts_per_second)),
            ("get/s", rate(cgroup.gets_per_second)),
            (
                "hit rate",
                percent(cgroup.count(Outcome::Hit), cgroup.gets()),
            ),
        ],
        vec![
            ("compressed", count(Outcome::Stored)),
            ("same", count(Outcome::StoredSame)),
            ("raw", count(Outcome::StoredRaw)),
            ("kept in", show_bytes(cgroup.stored_bytes)),
        ],
        vec![
            ("hits", count(Outcome::Hit)),
            ("misses", count(Outcome::Miss)),
            ("refused: limit", count(Outcome::RefusedLimit)),
            ("memory", count(Outcome::RefusedNoMemory)),
        ],
        vec![
            (
                "refused: incompressible",
                count(Outcome::RefusedIncompressible),
            ),
            ("frozen", count(Outcome::RefusedFrozen)),
            ("evicted", count(Outcome::Evicted)),
        ],
    ];
    for (y, line) in lines.iter().enumerate() {
        pairs(theme, buffer, inner, y as u16, line);
    }
}
