//! Drawing: header, tabs, the view chosen, status line and key hints. Reads the
//! [`App`] and changes nothing.

mod cgroups;
mod events;
mod files;
mod help;
mod latency;
mod observed;
mod overview;
mod policy;
mod pools;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Position, Rect};
use ratatui::style::Style;

use super::app::{App, Spot, Status, View};
use super::format;
use super::keys::Action;
use super::lists::orders;
use super::theme::Theme;
use crate::text;

/// Below this size there is only a line that says so.
const LEAST: (u16, u16) = (40, 10);

/// Most lines that a message takes.
const MESSAGE_LINES: usize = 3;

/// Draws everything.
pub(super) fn render(app: &App, frame: &mut Frame<'_>) {
    app.spots.borrow_mut().clear();
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let text = format!("too small: {} x {}", area.width, area.height);
        text_at(frame.buffer_mut(), area, 0, 0, &text, app.theme.warning);
        return;
    }
    let message = message(app, area.width);
    let [header, tabs, body, status, hints] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(message.lines.len().max(1) as u16),
        Constraint::Length(1),
    ])
    .areas(area);
    let buffer = frame.buffer_mut();
    draw_header(app, buffer, header);
    draw_tabs(app, buffer, tabs);
    draw_hints(app, buffer, hints);
    for (row, line) in message.lines.iter().enumerate() {
        text_at(buffer, status, 0, row as u16, line, message.style);
    }
    if app.help {
        help::draw(app, buffer, body);
    } else if app.history().latest().is_none() && app.view != View::Policy {
        text_at(
            buffer,
            body,
            1,
            1,
            "waiting for the first reading ...",
            app.theme.label,
        );
    } else {
        match app.view {
            View::Overview => overview::draw(app, buffer, body),
            View::Pools => pools::draw(app, buffer, body),
            View::Latency => latency::draw(app, buffer, body),
            View::Files => files::draw(app, buffer, body),
            View::Cgroups => cgroups::draw(app, buffer, body),
            View::Policy => policy::draw(app, buffer, body),
            View::Events => events::draw(app, buffer, body),
        }
    }
    if let Some(column) = message.cursor {
        frame.set_cursor_position(Position::new(
            column.min(area.width - 1),
            status.y + status.height - 1,
        ));
    }
}

fn draw_header(app: &App, buffer: &mut Buffer, area: Rect) {
    let mut state = String::new();
    if let Some(latest) = app.history().latest() {
        let on = if latest.enabled { "on" } else { "OFF" };
        state = format!("{on}  {}", latest.codec);
    }
    if app.is_frozen() {
        state = format!("FROZEN  {state}");
    }
    let state = match app.moment {
        None => format!("{state}  every {} s ", app.interval.as_secs_f64()),
        Some((at, length)) => {
            let seconds = |ns: u64| ns as f64 / 1e9;
            format!("{state}  {:.1} of {:.1} s ", seconds(at), seconds(length))
        }
    };
    let width = area.width as usize;
    let left = width.saturating_sub(state.chars().count() + 1);
    text_at(buffer, area, 1, 0, "tmem", app.theme.heading);
    let source: String = app.source.chars().take(left.saturating_sub(8)).collect();
    text_at(buffer, area, 7, 0, &source, app.theme.label);
    let style = if app.is_frozen() {
        app.theme.warning
    } else {
        app.theme.value
    };
    text_at(buffer, area, left as u16, 0, &state, style);
}

fn draw_tabs(app: &App, buffer: &mut Buffer, area: Rect) {
    let digit = |view| app.keymap.hint(Action::ShowView(view));
    let titles = |edge: &str, gap: &str| -> Vec<String> {
        let title = |view: &View| format!("{edge}{}{gap}{}{edge}", digit(*view), view.title());
        app.views.iter().map(title).collect()
    };
    let width =
        |titles: &[String]| -> usize { titles.iter().map(|title| title.chars().count() + 1).sum() };
    let fits = |titles: &Vec<String>| width(titles) <= usize::from(area.width);
    let shown = [titles(" ", " "), titles("", " ")]
        .into_iter()
        .find(fits)
        .unwrap_or_else(|| titles("", ""));
    let mut x = 1;
    for (view, title) in app.views.iter().zip(&shown) {
        let style = if *view == app.view && !app.help {
            app.theme.selected
        } else {
            app.theme.label
        };
        let end = text_at(buffer, area, x, 0, title, style);
        let tab = Rect::new(area.x + x, area.y, end - x, 1);
        app.spots.borrow_mut().push((tab, Spot::Tab(*view)));
        x = end + u16::from(!title.ends_with(' '));
    }
    if app.help {
        text_at(buffer, area, x, 0, " ? Help ", app.theme.selected);
    }
}

/// The text above the hints.
struct Message {
    lines: Vec<String>,
    style: Style,
    /// Where the cursor stands in the last line, while typing.
    cursor: Option<u16>,
}

fn message(app: &App, width: u16) -> Message {
    let width = width as usize;
    let plain = |text: &str, style| Message {
        lines: wrap(text, width, MESSAGE_LINES),
        style,
        cursor: None,
    };
    if let Some(edit) = &app.edit {
        let mut lines = wrap(
            &format!("{}: {}", edit.tunable.key, edit.tunable.allowed),
            width,
            MESSAGE_LINES - 1,
        );
        let prompt = format!(" {} -> ", edit.tunable.value);
        // The end of a long text stays in sight.
        let room = width.saturating_sub(prompt.chars().count() + 1);
        let hidden = edit.text.chars().count().saturating_sub(room);
        let shown: String = edit.text.chars().skip(hidden).collect();
        let line = format!("{prompt}{shown}");
        let cursor = Some(line.chars().count() as u16);
        lines.push(line);
        return Message {
            lines,
            style: app.theme.value,
            cursor,
        };
    }
    if app.filtering {
        let line = format!(" rows with: {}", app.list().filter);
        let cursor = Some(line.chars().count() as u16);
        return Message {
            lines: vec![line],
            style: app.theme.value,
            cursor,
        };
    }
    if let Some(failure) = &app.failure {
        return plain(&format!("! no reading: {failure}"), app.theme.error);
    }
    match &app.status {
        Some(Status::Error(error)) => plain(&format!("! {error}"), app.theme.error),
        Some(Status::Changed(change)) => plain(
            &format!("{}: {} -> {}", change.key, change.old, change.new),
            app.theme.value,
        ),
        Some(Status::Note(note)) => plain(note, app.theme.label),
        None => plain(&choices(app), app.theme.label),
    }
}

/// Filter and order of the table on show, where they are not the usual ones.
fn choices(app: &App) -> String {
    let list = app.list();
    let mut parts = Vec::new();
    if !list.filter.is_empty() {
        parts.push(format!("rows with: {}", list.filter));
    }
    let order = orders(app.view).get(list.order).copied();
    match order {
        Some(order) if list.order > 0 || list.reversed => {
            parts.push(format!("sorted by {order}"));
        }
        _ => {}
    }
    if list.reversed {
        parts.push("reversed".to_owned());
    }
    parts.join(", ")
}

fn draw_hints(app: &App, buffer: &mut Buffer, area: Rect) {
    let key = |action| app.keymap.hint(action);
    let hint = |action, what: &str| (key(action), what.to_owned());
    let mut hints = if app.filtering {
        vec![hint(Action::Accept, "keep"), hint(Action::Cancel, "drop")]
    } else if app.edit.is_some() {
        vec![
            hint(Action::Accept, "set"),
            hint(Action::Cancel, "leave as it is"),
            hint(Action::EraseAll, "erase all"),
        ]
    } else if app.help {
        vec![
            hint(Action::Dismiss, "close"),
            (
                format!("{}/{}", key(Action::Up), key(Action::Down)),
                "scroll".to_owned(),
            ),
        ]
    } else {
        let whose = app
            .pool_in_scope()
            .map_or_else(String::new, |pool| format!(" of pool {pool}"));
        let mut hints = vec![
            hint(Action::Help, "help"),
            hint(Action::Quit, "quit"),
            hint(Action::NextView, "view"),
        ];
        if app.view == View::Policy {
            hints.push(hint(Action::EditSelected, "edit"));
        } else {
            let steps = format!("{}{}", key(Action::RaiseLimit), key(Action::LowerLimit));
            hints.push((steps, format!("limit{whose}")));
            hints.push(hint(Action::EditLimit, "type it"));
            hints.push(hint(Action::NextCodec, &format!("codec{whose}")));
        }
        if !orders(app.view).is_empty() {
            hints.push(hint(Action::Sort, "sort"));
            hints.push(hint(Action::Filter, "filter"));
        }
        if app.moment.is_some() {
            let steps = format!("{}{}", key(Action::Earlier), key(Action::Later));
            hints.insert(3, (steps, "time".to_owned()));
        }
        hints.push(hint(Action::Undo, "undo"));
        hints.push(hint(Action::Freeze, "freeze"));
        hints.push(hint(Action::Window, "window"));
        hints
    };
    let mut x = 1;
    hints.retain(|(key, _)| !key.is_empty());
    for (key, what) in hints {
        let width = key.chars().count() + what.chars().count() + 1;
        if x as usize + width > area.width as usize {
            break;
        }
        x = text_at(buffer, area, x, 0, &key, app.theme.key) + 1;
        x = text_at(buffer, area, x, 0, &what, app.theme.label) + 2;
    }
}

/// Writes at (x, y) of `area`, cut at its edges; the column after the text.
fn text_at(buffer: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style) -> u16 {
    if x >= area.width || y >= area.height {
        return x;
    }
    let room = usize::from(area.width - x);
    let (end, _) = buffer.set_stringn(area.x + x, area.y + y, text, room, style);
    end - area.x
}

/// Writes so that the text ends before column `end`.
fn text_ending_at(buffer: &mut Buffer, area: Rect, end: u16, y: u16, text: &str, style: Style) {
    let width = text.chars().count() as u16;
    text_at(buffer, area, end.saturating_sub(width), y, text, style);
}

/// Draws a line with a title across the top of `area`; what is left below it.
fn section(theme: &Theme, buffer: &mut Buffer, area: Rect, title: &str) -> Rect {
    let rule = theme.glyphs.rule.repeat(usize::from(area.width));
    text_at(buffer, area, 0, 0, &rule, theme.heading);
    text_at(buffer, area, 1, 0, &format!(" {title} "), theme.heading);
    rows(area, 1, area.height)
}

/// The rows `from` .. `to` of `area`, as far as it has them.
fn rows(area: Rect, from: u16, to: u16) -> Rect {
    let from = from.min(area.height);
    let to = to.clamp(from, area.height);
    Rect::new(area.x, area.y + from, area.width, to - from)
}

/// Writes label and value pairs in a line, as many as fit.
fn pairs(theme: &Theme, buffer: &mut Buffer, area: Rect, y: u16, pairs: &[(&str, String)]) {
    let mut x = 1;
    for (label, value) in pairs {
        let width = label.chars().count() + value.chars().count() + 1;
        if usize::from(x) + width > usize::from(area.width) {
            return;
        }
        x = text_at(buffer, area, x, y, label, theme.label) + 1;
        x = text_at(buffer, area, x, y, value, theme.value) + 2;
    }
}

/// A horizontal bar of `width` columns, `share` (0 to 1) of it filled.
fn bar(theme: &Theme, width: usize, share: f64) -> (String, String) {
    let (filled, columns) = text::bar(&theme.glyphs.widths, width, share);
    (filled, theme.glyphs.rest.repeat(width - columns))
}

/// Columns of values rising from the bottom of `area`, the first value at its
/// right edge. `top` is the value of a full column; anything above zero shows.
fn chart(
    theme: &Theme,
    buffer: &mut Buffer,
    area: Rect,
    values: impl Iterator<Item = f64>,
    top: f64,
    style: Style,
) {
    let heights = &theme.glyphs.heights;
    let full = f64::from(area.height) * 8.0;
    for (back, value) in values.take(usize::from(area.width)).enumerate() {
        if value <= 0.0 || top <= 0.0 {
            continue;
        }
        let mut eighths = ((value / top).min(1.0) * full).round().max(1.0) as usize;
        let x = area.width - 1 - back as u16;
        for y in (0..area.height).rev() {
            let glyph = heights[eighths.min(8) - 1];
            text_at(buffer, area, x, y, glyph, style);
            if eighths <= 8 {
                break;
            }
            eighths -= 8;
        }
    }
}

/// A column of a table.
struct Column {
    title: &'static str,
    width: u16,
    right: bool,
    /// Columns of a higher rank give way first where the table is narrow.
    rank: u8,
}

const fn left(title: &'static str, width: u16, rank: u8) -> Column {
    Column {
        title,
        width,
        right: false,
        rank,
    }
}

const fn right(title: &'static str, width: u16, rank: u8) -> Column {
    Column {
        title,
        width,
        right: true,
        rank,
    }
}

/// Draws a table: its titles and as many rows as fit, with the row `selected`
/// in sight. `cells` makes the cells of a row, one a column.
fn table(
    app: &App,
    buffer: &mut Buffer,
    area: Rect,
    columns: &[Column],
    rows: usize,
    selected: Option<usize>,
    cells: impl Fn(usize) -> Vec<String>,
) {
    let theme = &app.theme;
    let mut most = u8::MAX;
    // Give up the highest rank until the rest fits.
    let shown = loop {
        let shown: Vec<bool> = columns.iter().map(|column| column.rank <= most).collect();
        let width: u16 = columns
            .iter()
            .zip(&shown)
            .filter(|(_, shown)| **shown)
            .map(|(column, _)| column.width + 1)
            .sum();
        if width < area.width || most == 0 {
            break shown;
        }
        most = columns
            .iter()
            .map(|column| column.rank)
            .filter(|rank| *rank < most)
            .max()
            .unwrap_or(0);
    };
    let mut draw_row = |y: u16, texts: &[String], style: Style| {
        let mut x = 1;
        for ((column, shown), text) in columns.iter().zip(&shown).zip(texts) {
            if !shown {
                continue;
            }
            let text: String = text.chars().take(usize::from(column.width)).collect();
            if column.right {
                text_ending_at(buffer, area, x + column.width, y, &text, style);
            } else {
                text_at(buffer, area, x, y, &text, style);
            }
            x += column.width + 1;
        }
    };
    let titles: Vec<String> = columns.iter().map(|column| column.title.into()).collect();
    draw_row(0, &titles, theme.heading);
    let visible = usize::from(area.height.saturating_sub(1));
    let first = selected.map_or(0, |row| (row + 1).saturating_sub(visible));
    for row in first..rows.min(first + visible) {
        let y = (row - first) as u16 + 1;
        draw_row(y, &cells(row), theme.label);
        let line = Rect::new(area.x, area.y + y, area.width, 1);
        app.spots.borrow_mut().push((line, Spot::Row(row)));
    }
    if let Some(selected) = selected
        && selected < rows
        && visible > 0
    {
        let y = area.y + (selected - first) as u16 + 1;
        buffer.set_style(Rect::new(area.x, y, area.width, 1), theme.selected);
    }
}

/// Breaks a text at blanks into at most `most` lines of at most `width` characters.
fn wrap(text: &str, width: usize, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        loop {
            let last = lines.len() - 1;
            let line = &mut lines[last];
            let used = line.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + word.len() <= width {
                if gap > 0 {
                    line.push(' ');
                }
                line.extend(word);
                break;
            }
            if used == 0 {
                line.extend(word.drain(..width));
            }
            lines.push(String::new());
        }
    }
    lines.truncate(most);
    lines
}

/// Why something is not measured, for the place where it would stand.
fn draw_unmeasured(app: &App, buffer: &mut Buffer, area: Rect) {
    let mut why = String::from("not measured");
    if let Some(latest) = app.history().latest() {
        for unmeasured in &latest.unmeasured {
            why.push_str(&format!("; {}: {}", unmeasured.what, unmeasured.why));
        }
    }
    let width = usize::from(area.width.saturating_sub(2)).max(1);
    for (row, line) in wrap(&why, width, usize::from(area.height))
        .iter()
        .enumerate()
    {
        text_at(buffer, area, 1, row as u16, line, app.theme.label);
    }
}

/// `last 60 s`, as far as there is that much.
fn window_text(app: &App) -> String {
    let covered: f64 = app
        .history()
        .window(app.window())
        .map(|point| point.seconds)
        .sum();
    let wanted = app.window();
    if covered > 0.0 && covered < wanted * 0.9 {
        format!("last {} of {}", format::span(covered), format::span(wanted))
    } else {
        format!("last {}", format::span(wanted))
    }
}

#[cfg(test)]
mod pictures;
#[cfg(test)]
mod tests;
