//! Each pool in a table, and the selected one in detail.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use tmem_common::op::{Op, Outcome};

use super::{App, View, bar, left, pairs, right, rows, section, table, text_at, text_ending_at};
use crate::dashboard::format::{maybe_ns, percent, rate, ratio};
use crate::dashboard::history::{ops, outcome, refused, stored};
use crate::interval::{latency_of, memory_ratio};
use crate::source::{PoolSnapshot, Snapshot};
use crate::units::{show_bytes, show_count};

/// Rows that the detail takes, its title included.
const DETAIL: u16 = 9;

pub(super) fn draw(app: &App, buffer: &mut Buffer, area: Rect) {
    let Some(latest) = app.history().latest() else {
        return;
    };
    let split = if app.list().expanded {
        0
    } else {
        area.height.saturating_sub(DETAIL)
    };
    draw_table(app, latest, buffer, rows(area, 0, split));
    let detail = rows(area, split, area.height);
    let row = app.selected_row(View::Pools);
    match row.and_then(|row| latest.pools.get(row)) {
        Some(pool) => draw_detail(app, latest, pool, buffer, detail),
        None => {
            section(&app.theme, buffer, detail, "no pools yet");
        }
    }
}

/// Bytes held for a pool.
fn held(pool: &PoolSnapshot) -> u64 {
    pool.stats.store_bytes + pool.stats.metadata_bytes
}

fn draw_table(app: &App, latest: &Snapshot, buffer: &mut Buffer, area: Rect) {
    let columns = [
        right("id", 3, 0),
        left("name", 12, 0),
        left("kind", 10, 2),
        left("codec", 10, 1),
        right("pages", 10, 0),
        right("held", 9, 0),
        right("ratio", 6, 0),
        left("fill", 8, 0),
        right("hits", 7, 3),
        right("put/s", 9, 4),
        right("get/s", 9, 5),
        right("weight", 6, 8),
        right("limit", 9, 7),
        left("state", 7, 6),
        right("flush/s", 9, 9),
        right("evict/s", 9, 10),
    ];
    let shown = app.rows(View::Pools);
    let selected = Some(app.selected_place(View::Pools, &shown));
    let cells = |place: usize| {
        let pool = &latest.pools[shown[place]];
        let rates = app.history().pool_rates(pool.id).per_second;
        let limit = pool.limit_bytes.unwrap_or(latest.limit_bytes);
        let share = if limit == 0 {
            1.0
        } else {
            held(pool) as f64 / limit as f64
        };
        let (filled, rest) = bar(&app.theme, 8, share);
        let codec = if pool.codec == "default" {
            format!("({})", latest.codec)
        } else {
            pool.codec.clone()
        };
        vec![
            pool.id.to_string(),
            pool.name(),
            pool.kind.name().into(),
            codec,
            show_count(pool.stats.pages),
            show_bytes(held(pool)),
            ratio(memory_ratio(pool.stats.pages, held(pool))),
            format!("{filled}{rest}"),
            percent(
                outcome(&pool.stats, Outcome::Hit),
                ops(&pool.stats, Op::Get),
            ),
            rate(rates[Op::Put as usize]),
            rate(rates[Op::Get as usize]),
            pool.weight.to_string(),
            pool.limit_bytes.map_or_else(|| "none".into(), show_bytes),
            (if pool.frozen { "frozen" } else { "" }).into(),
            rate(rates[Op::Flush as usize]),
            rate(rates[Op::Evict as usize]),
        ]
    };
    table(app, buffer, area, &columns, shown.len(), selected, cells);
}

fn draw_detail(app: &App, latest: &Snapshot, pool: &PoolSnapshot, buffer: &mut Buffer, area: Rect) {
    let theme = &app.theme;
    let frozen = if pool.frozen { ", frozen" } else { "" };
    let title = format!(
        "Pool {} {} ({}{frozen})",
        pool.id,
        pool.name(),
        pool.kind.name()
    );
    let inner = section(theme, buffer, area, &title);
    let stats = &pool.stats;
    let count = |of: Outcome| show_count(outcome(stats, of));
    pairs(
        theme,
        buffer,
        inner,
        0,
        &[
            (
                "limit",
                pool.limit_bytes.map_or_else(|| "none".into(), show_bytes),
            ),
            ("weight", pool.weight.to_string()),
            ("codec", pool.codec.clone()),
            ("same", show_count(stats.same_pages)),
            ("raw", show_count(stats.raw_pages)),
            ("data", show_bytes(stats.data_bytes)),
            ("metadata", show_bytes(stats.metadata_bytes)),
        ],
    );
    pairs(
        theme,
        buffer,
        inner,
        1,
        &[
            ("stored", show_count(stored(stats))),
            ("refused", show_count(refused(stats))),
            ("limit", count(Outcome::RefusedLimit)),
            ("memory", count(Outcome::RefusedNoMemory)),
            ("incompressible", count(Outcome::RefusedIncompressible)),
            ("frozen", count(Outcome::RefusedFrozen)),
        ],
    );
    pairs(
        theme,
        buffer,
        inner,
        2,
        &[
            ("hits", count(Outcome::Hit)),
            ("misses", count(Outcome::Miss)),
            ("corrupt", count(Outcome::Corrupt)),
            ("flushed", count(Outcome::Flushed)),
            ("evicted", count(Outcome::Evicted)),
        ],
    );
    let titles = ["per second", "p50", "p99", "p99.9"];
    let ends = [21, 33, 45, 57];
    for (end, title) in ends.into_iter().zip(titles) {
        text_ending_at(buffer, inner, end, 3, title, theme.heading);
    }
    let rates = app.history().pool_rates(pool.id).per_second;
    for (position, op) in Op::ALL.into_iter().enumerate() {
        let y = 4 + position as u16;
        text_at(buffer, inner, 1, y, op.name(), theme.label);
        let latency = latest
            .observed
            .as_ref()
            .map(|observed| latency_of(&observed.cells, op, |id| id == pool.id));
        let at = |quantile| {
            maybe_ns(
                latency
                    .as_ref()
                    .and_then(|latency| latency.percentile(quantile)),
            )
        };
        let texts = [rate(rates[op as usize]), at(0.5), at(0.99), at(0.999)];
        for (end, text) in ends.into_iter().zip(texts) {
            text_ending_at(buffer, inner, end, y, &text, theme.value);
        }
    }
}
