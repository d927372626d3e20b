//! Sampled operations, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::event::{Event, WHOLE_OBJECT};
use tmem_common::op::{Op, Outcome};

use super::{App, draw_unmeasured, left, right, rows, section, table, text_at};
use crate::units::{show_bytes, show_count, show_ns};

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let history = app.history();
    let Some(latest) = history.latest() else {
        return;
    };
    let Some(observed) = &latest.observed else {
        let inner = section(theme, buffer, area, "Events");
        draw_unmeasured(app, buffer, inner);
        return;
    };
    let title = match observed.sample_one_in {
        0 => "Events: sampling is off".to_owned(),
        one_in => format!(
            "Events: one page in {} is sampled, {} lost",
            show_count(one_in.into()),
            show_count(observed.events_dropped)
        ),
    };
    let inner = section(theme, buffer, area, &title);
    let events: Vec<&Event> = history.events().collect();
    if events.is_empty() {
        text_at(buffer, inner, 1, 1, "none yet", theme.label);
        return;
    }
    let columns = [
        right("ago", 8, 0),
        left("op", 5, 0),
        left("outcome", 14, 0),
        right("bytes", 9, 1),
        right("took", 8, 0),
        left("pool", 8, 1),
        right("object", 8, 2),
        right("index", 12, 0),
        right("cgroup", 10, 3),
    ];
    let cells = |row: usize| {
        let event = events[row];
        let pool = latest.pools.iter().find(|pool| pool.id == event.pool);
        let index = if event.index == WHOLE_OBJECT {
            "all".to_owned()
        } else {
            event.index.to_string()
        };
        vec![
            show_ns(latest.taken_ns.saturating_sub(event.time_ns)),
            name(&Op::ALL, event.op, Op::name),
            name(&Outcome::ALL, event.outcome, Outcome::name),
            show_bytes(event.bytes.into()),
            show_ns(event.latency_ns),
            pool.map_or_else(|| event.pool.to_string(), |pool| pool.name()),
            event.object.to_string(),
            index,
            event.cgroup.to_string(),
        ]
    };
    let selected = Some(app.event_offset.min(events.len() - 1));
    let area = rows(inner, 0, inner.height);
    table(theme, buffer, area, &columns, events.len(), selected, cells);
}

/// The name of a number, or the number where a newer module knows more of them.
fn name<T: Copy>(all: &[T], number: u32, name: impl Fn(T) -> &'static str) -> String {
    match all.get(number as usize) {
        Some(known) => name(*known).into(),
        None => number.to_string(),
    }
}
