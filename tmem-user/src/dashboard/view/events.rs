//! Sampled operations, newest first.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::event::{Event, WHOLE_OBJECT};
use tmem_common::op::{Op, Outcome};

use super::{App, View, draw_unmeasured, left, right, section, table, text_at};
use crate::source::Snapshot;
use crate::units::{show_bytes, show_count, show_ns};

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let history = app.history();
    let Some(latest) = history.latest() else {
        return;
    };
    let Some(observed) = latest.observed.as_ref().filter(|o| !o.only_times) else {
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
    let shown = app.rows(View::Events);
    if shown.is_empty() {
        let text = if events.is_empty() {
            "none yet"
        } else {
            "none with these words"
        };
        text_at(buffer, inner, 1, 1, text, theme.label);
        return;
    }
    let place = app.selected_place(View::Events, &shown);
    if app.list().expanded {
        draw_one(app, latest, events[shown[place]], buffer, inner);
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
    let cells = |place: usize| {
        let event = events[shown[place]];
        vec![
            show_ns(latest.taken_ns.saturating_sub(event.time_ns)),
            name(&Op::ALL, event.op, Op::name),
            name(&Outcome::ALL, event.outcome, Outcome::name),
            show_bytes(event.bytes.into()),
            show_ns(event.latency_ns),
            pool_name(latest, event),
            event.object.to_string(),
            index(event),
            event.cgroup.to_string(),
        ]
    };
    table(
        app,
        buffer,
        inner,
        &columns,
        shown.len(),
        Some(place),
        cells,
    );
}

/// Everything about one event, below each other.
fn draw_one(app: &App, latest: &Snapshot, event: &Event, buffer: &mut Buffer, area: Rect) {
    let cgroup = app
        .history()
        .cgroups()
        .iter()
        .find(|cgroup| cgroup.id == event.cgroup);
    let lines = [
        (
            "ago",
            show_ns(latest.taken_ns.saturating_sub(event.time_ns)),
        ),
        ("op", name(&Op::ALL, event.op, Op::name)),
        ("outcome", name(&Outcome::ALL, event.outcome, Outcome::name)),
        ("took", show_ns(event.latency_ns)),
        ("bytes", show_bytes(event.bytes.into())),
        ("pool", pool_name(latest, event)),
        ("object", format!("{} ({:#x})", event.object, event.object)),
        ("index", index(event)),
        (
            "cgroup",
            cgroup.map_or_else(|| event.cgroup.to_string(), |cgroup| cgroup.name()),
        ),
    ];
    for (y, (label, value)) in lines.iter().enumerate() {
        text_at(buffer, area, 1, y as u16, label, app.theme.label);
        text_at(buffer, area, 10, y as u16, value, app.theme.value);
    }
}

fn pool_name(latest: &Snapshot, event: &Event) -> String {
    let pool = latest.pools.iter().find(|pool| pool.id == event.pool);
    pool.map_or_else(|| event.pool.to_string(), |pool| pool.name())
}

fn index(event: &Event) -> String {
    if event.index == WHOLE_OBJECT {
        "all".to_owned()
    } else {
        event.index.to_string()
    }
}

/// The name of a number, or the number where a newer module knows more of them.
fn name<T: Copy>(all: &[T], number: u32, name: impl Fn(T) -> &'static str) -> String {
    match all.get(number as usize) {
        Some(known) => name(*known).into(),
        None => number.to_string(),
    }
}
