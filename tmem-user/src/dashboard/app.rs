//! The dashboard's state and what keys and news do to it. No terminal, no clock
//! and no source here: [`crate::dashboard::view`] draws it, and the event loop
//! carries out the [`Effect`]s it asks for.

use std::cell::RefCell;
use std::time::Duration;

use ratatui::crossterm::event::{
    KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};
use ratatui::layout::{Position, Rect};
use tmem_common::op::{OPS, Op};
use tmem_common::sysfs;

use super::config::Config;
use super::history::History;
use super::keys::{Action, Keymap, When};
use super::lists::List;
use super::theme::Theme;
use crate::source::{Change, Moment, Snapshot, Tunable};
use crate::units::{size_value, step_down, step_up};

/// Seconds that hit rate and percentiles can cover.
pub(super) const WINDOWS: [f64; 4] = [10.0, 60.0, 300.0, 600.0];

/// Readings that a large step in a recording takes.
const MANY_READINGS: i64 = 20;

/// Most characters that can be typed.
const LONGEST: usize = 64;

/// The views, in the order of their tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Pools,
    Latency,
    Files,
    Cgroups,
    Policy,
    Events,
}

impl View {
    /// Whether the selected row can have all the room.
    const fn expands(self) -> bool {
        !matches!(self, View::Overview | View::Policy)
    }

    /// Whether its rows can be filtered.
    const fn filters(self) -> bool {
        !matches!(self, View::Overview | View::Latency)
    }

    pub(super) const ALL: [View; 7] = [
        View::Overview,
        View::Pools,
        View::Latency,
        View::Files,
        View::Cgroups,
        View::Policy,
        View::Events,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            View::Overview => "Overview",
            View::Pools => "Pools",
            View::Latency => "Latency",
            View::Files => "Files",
            View::Cgroups => "Cgroups",
            View::Policy => "Policy",
            View::Events => "Events",
        }
    }
}

/// What a place on the screen stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    /// A view's tab.
    Tab(View),
    /// A row of the table on show, by its place.
    Row(usize),
}

/// A value being typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub(super) tunable: Tunable,
    pub(super) text: String,
}

/// The line at the bottom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Note(String),
    Changed(Change),
    Error(String),
}

/// What a key asks of the event loop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Set {
        key: String,
        value: String,
    },
    /// Go so many readings on, or back, in a recording.
    Travel(i64),
    Redraw,
}

/// What the sampler tells.
#[derive(Debug)]
pub(super) enum News {
    Snapshot(Box<Snapshot>),
    /// No reading could be had; the reason.
    NoSnapshot(String),
    /// Another time of a recording.
    Moment(Box<Moment>),
    Tunables(Vec<Tunable>),
    Changed(Change),
    /// A change was not made; the reason.
    NotChanged(String),
}

/// The state.
pub(super) struct App {
    pub(super) theme: Theme,
    /// What is being watched.
    pub(super) source: String,
    pub(super) interval: Duration,
    pub(super) view: View,
    pub(super) help: bool,
    pub(super) help_offset: usize,
    pub(super) edit: Option<Edit>,
    /// Whether a filter is being typed for the view on show.
    pub(super) filtering: bool,
    pub(super) keymap: Keymap,
    /// The views with a tab, in the order of their tabs.
    pub(super) views: Vec<View>,
    /// What the user chose for each view's table, by [`View`].
    pub(super) lists: [List; View::ALL.len()],
    /// Where the mouse meets what, as drawn last. Drawing changes nothing else.
    pub(super) spots: RefCell<Vec<(Rect, Spot)>>,
    pub(super) status: Option<Status>,
    /// Why the newest reading failed.
    pub(super) failure: Option<String>,
    pub(super) tunables: Vec<Tunable>,
    pub(super) quit: bool,
    /// In a recording, how far it is from its first reading, and how long it is, in ns.
    pub(super) moment: Option<(u64, u64)>,
    live: History,
    frozen: Option<History>,
    window: usize,
    /// Changes made, for taking them back, the last at the end.
    changes: Vec<Change>,
    /// The change that is being taken back.
    undoing: Option<Change>,
    /// Limits asked for and not yet confirmed, so that quick presses add up.
    pending: Option<(String, u64)>,
}

impl App {
    pub(super) fn new(
        source: String,
        interval: Duration,
        mut theme: Theme,
        config: &Config,
    ) -> Self {
        for (name, style) in &config.styles {
            theme.change(name, *style);
        }
        let mut keymap = Keymap::default();
        for (binding, keys) in &config.keys {
            keymap.bind(binding, keys);
        }
        let window = config.window.unwrap_or(WINDOWS[1]);
        let half = u64::try_from(interval.as_nanos() / 2).unwrap_or(u64::MAX);
        Self {
            theme,
            source,
            interval,
            view: config.start.unwrap_or(config.views[0]),
            filtering: false,
            keymap,
            views: config.views.clone(),
            lists: Default::default(),
            spots: RefCell::default(),
            help: false,
            help_offset: 0,
            edit: None,
            status: None,
            failure: None,
            tunables: Vec::new(),
            quit: false,
            moment: None,
            live: History::new(half),
            frozen: None,
            window: WINDOWS
                .iter()
                .position(|known| *known == window)
                .unwrap_or(1),
            changes: Vec::new(),
            undoing: None,
            pending: None,
        }
    }

    /// What is on show: the live history, or the frozen one.
    pub(super) fn history(&self) -> &History {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.frozen.is_some()
    }

    /// Seconds that hit rate and percentiles cover.
    pub(super) fn window(&self) -> f64 {
        WINDOWS[self.window]
    }

    /// Takes a key.
    pub(super) fn on_key(&mut self, event: KeyEvent) -> Option<Effect> {
        if event.kind == KeyEventKind::Release {
            return None;
        }
        let when = if self.edit.is_some() || self.filtering {
            When::Typing
        } else {
            When::Looking
        };
        if let Some(action) = self.keymap.action(when, event) {
            return self.act(action);
        }
        let commands = KeyModifiers::CONTROL | KeyModifiers::ALT;
        if let (Some(text), KeyCode::Char(char)) = (self.typed(), event.code)
            && !event.modifiers.intersects(commands)
            && text.len() < LONGEST
        {
            text.push(char);
        }
        None
    }

    /// The text being typed.
    fn typed(&mut self) -> Option<&mut String> {
        match &mut self.edit {
            Some(edit) => Some(&mut edit.text),
            None if self.filtering => Some(&mut self.lists[self.view as usize].filter),
            None => None,
        }
    }

    /// Takes a movement or a click of the mouse.
    pub(super) fn on_mouse(&mut self, event: MouseEvent) {
        if self.help || self.edit.is_some() {
            return;
        }
        match event.kind {
            MouseEventKind::ScrollUp => self.select(|place, _| place.saturating_sub(1)),
            MouseEventKind::ScrollDown => self.select(|place, _| place.saturating_add(1)),
            MouseEventKind::Down(MouseButton::Left) => {
                let at = Position::new(event.column, event.row);
                let spots = self.spots.borrow();
                let spot = spots.iter().find(|(area, _)| area.contains(at));
                let spot = spot.map(|(_, spot)| *spot);
                drop(spots);
                match spot {
                    Some(Spot::Tab(view)) => self.show(view),
                    Some(Spot::Row(place)) => self.select(|_, _| place),
                    None => {}
                }
            }
            _ => {}
        }
    }

    fn show(&mut self, view: View) {
        self.view = view;
        self.filtering = false;
    }

    /// Takes news from the sampler.
    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Snapshot(snapshot) => {
                self.failure = None;
                self.live.push(*snapshot);
            }
            News::Moment(moment) => self.go_to(*moment),
            News::NoSnapshot(reason) => self.failure = Some(reason),
            News::Tunables(tunables) => self.tunables = tunables,
            News::Changed(change) => {
                self.pending = None;
                self.assume(&change.key, &change.new);
                self.status = Some(Status::Changed(change.clone()));
                // Taking back is not itself to be taken back.
                let undone = self.undoing.take_if(|undoing| undoing.key == change.key);
                if undone.is_none() && change.old != change.new {
                    self.changes.push(change);
                }
            }
            News::NotChanged(reason) => {
                self.pending = None;
                // It can be tried again.
                self.changes.extend(self.undoing.take());
                self.status = Some(Status::Error(reason));
            }
        }
    }

    /// Does what a key means.
    pub(super) fn act(&mut self, action: Action) -> Option<Effect> {
        if self.help {
            return self.act_in_help(action);
        }
        match action {
            Action::Quit => self.quit = true,
            Action::Help => {
                self.help = true;
                self.help_offset = 0;
            }
            Action::NextView => self.turn_view(1),
            Action::PreviousView => self.turn_view(self.views.len() - 1),
            Action::ShowView(view) => self.show(view),
            Action::Up => self.select(|row, _| row.saturating_sub(1)),
            Action::Down => self.select(|row, _| row.saturating_add(1)),
            Action::First => self.select(|_, _| 0),
            Action::Last => self.select(|_, last| last),
            Action::Window => self.window = (self.window + 1) % WINDOWS.len(),
            Action::Freeze => {
                self.frozen = match self.frozen.take() {
                    Some(_) => None,
                    None => Some(self.live.clone()),
                };
            }
            Action::Earlier => return self.travel(-1),
            Action::Later => return self.travel(1),
            Action::MuchEarlier => return self.travel(-MANY_READINGS),
            Action::MuchLater => return self.travel(MANY_READINGS),
            Action::RaiseLimit => return self.step_limit(true),
            Action::LowerLimit => return self.step_limit(false),
            Action::EditLimit => self.edit_key(&self.scoped(sysfs::LIMIT)),
            Action::NextCodec => return self.turn_codec(|at, count| (at + 1) % count),
            Action::PreviousCodec => {
                return self.turn_codec(|at, count| (at + count - 1) % count);
            }
            Action::ToggleEnabled => return self.toggle_enabled(),
            Action::EditSelected if self.view == View::Policy => {
                let row = self.selected_row(View::Policy);
                if let Some(tunable) = row.and_then(|row| self.tunables.get(row)) {
                    self.edit_key(&tunable.key.clone());
                }
            }
            Action::Expand if self.view.expands() => {
                let list = self.list_mut();
                list.expanded = !list.expanded;
            }
            Action::Filter if self.view.filters() => self.filtering = true,
            Action::Sort => match self.next_order() {
                Some(order) => self.note(format!("sorted by {order}")),
                None => self.note("nothing to sort in this view"),
            },
            Action::ReverseSort => {
                let list = self.list_mut();
                list.reversed = !list.reversed;
            }
            Action::Undo => return self.undo(),
            Action::Dismiss => {
                self.status = None;
                self.list_mut().filter.clear();
            }
            Action::Redraw => return Some(Effect::Redraw),
            Action::Accept if self.filtering => self.filtering = false,
            Action::Accept => return self.accept(),
            Action::Cancel if self.filtering => {
                self.filtering = false;
                self.list_mut().filter.clear();
            }
            Action::Cancel => {
                self.edit = None;
                self.note("left as it is");
            }
            Action::Erase => {
                if let Some(text) = self.typed() {
                    text.pop();
                }
            }
            Action::EraseAll => {
                if let Some(text) = self.typed() {
                    text.clear();
                }
            }
            Action::EditSelected => self.note("values are edited in Policy"),
            Action::Expand => self.note("nothing to expand in this view"),
            Action::Filter => self.note("nothing to filter in this view"),
        }
        None
    }

    fn act_in_help(&mut self, action: Action) -> Option<Effect> {
        match action {
            Action::Help | Action::Dismiss | Action::Quit => self.help = false,
            Action::Up => self.help_offset = self.help_offset.saturating_sub(1),
            Action::Down => {
                self.help_offset = (self.help_offset + 1).min(self.keymap.rows().len() - 1);
            }
            Action::First => self.help_offset = 0,
            Action::Last => self.help_offset = self.keymap.rows().len() - 1,
            Action::Redraw => return Some(Effect::Redraw),
            _ => {}
        }
        None
    }

    fn travel(&mut self, steps: i64) -> Option<Effect> {
        if self.moment.is_none() {
            self.note("time goes on by itself here; `tmem top FILE` looks at a recording");
            return None;
        }
        Some(Effect::Travel(steps))
    }

    /// Shows a recording as it would have looked at that time.
    fn go_to(&mut self, moment: Moment) {
        self.failure = None;
        let mut history = History::new(self.live.minimum_gap_ns());
        for snapshot in moment.snapshots {
            history.push(snapshot);
        }
        self.live = history;
        self.moment = Some((moment.since_start_ns, moment.length_ns));
    }

    fn note(&mut self, text: impl Into<String>) {
        self.status = Some(Status::Note(text.into()));
    }

    fn turn_view(&mut self, by: usize) {
        let at = self.views.iter().position(|view| *view == self.view);
        self.show(self.views[(at.unwrap_or_default() + by) % self.views.len()]);
    }

    /// The kind of operation selected in the latency view.
    pub(super) fn op(&self) -> Op {
        Op::ALL[self
            .selected_row(View::Latency)
            .unwrap_or_default()
            .min(OPS - 1)]
    }

    /// `limit` or `codec`: the whole's, or in the pools view the selected pool's.
    fn scoped(&self, name: &str) -> String {
        match self.pool_in_scope() {
            Some(pool) => format!("{}.{pool}.{name}", sysfs::POOLS),
            None => name.to_owned(),
        }
    }

    /// The number of the pool that limit and codec keys act on.
    pub(super) fn pool_in_scope(&self) -> Option<u32> {
        if self.view != View::Pools {
            return None;
        }
        let row = self.selected_row(View::Pools)?;
        Some(self.history().latest()?.pools.get(row)?.id)
    }

    fn tunable(&self, key: &str) -> Option<&Tunable> {
        self.tunables.iter().find(|tunable| tunable.key == key)
    }

    fn set(&mut self, key: String, value: String) -> Option<Effect> {
        self.note(format!("setting {key} to {value} ..."));
        Some(Effect::Set { key, value })
    }

    /// The limit in force for `key`, in bytes, counting a change under way.
    fn limit_now(&self, key: &str) -> Option<u64> {
        if let Some((pending, bytes)) = &self.pending
            && pending == key
        {
            return Some(*bytes);
        }
        let latest = self.live.latest()?;
        match self.pool_in_scope() {
            Some(id) => {
                let pool = latest.pools.iter().find(|pool| pool.id == id)?;
                pool.limit_bytes
            }
            None => Some(latest.limit_bytes),
        }
    }

    fn step_limit(&mut self, raise: bool) -> Option<Effect> {
        let key = self.scoped(sysfs::LIMIT);
        let Some(now) = self.limit_now(&key) else {
            let edit = self.keymap.hint(Action::EditLimit);
            self.note(format!("{key}: no limit to step from; {edit} types one"));
            return None;
        };
        let next = if raise { step_up(now) } else { step_down(now) };
        if next == now {
            self.note(format!("{key} is at the end of its steps"));
            return None;
        }
        self.pending = Some((key.clone(), next));
        self.set(key, size_value(next))
    }

    fn turn_codec(&mut self, turn: impl Fn(usize, usize) -> usize) -> Option<Effect> {
        let key = self.scoped(sysfs::CODEC);
        let Some(tunable) = self.tunable(&key) else {
            self.note(format!("{key} cannot be set here"));
            return None;
        };
        let choices = choices(tunable);
        let at = choices.iter().position(|choice| *choice == tunable.value);
        let next = choices.get(turn(at.unwrap_or_default(), choices.len().max(1)));
        match next.map(|next| (*next).to_owned()) {
            Some(next) if next != tunable.value => {
                // Quick presses go on from here before the change is confirmed.
                self.assume(&key, &next);
                self.set(key, next)
            }
            _ => {
                self.note(format!("{key} has no other choice"));
                None
            }
        }
    }

    fn toggle_enabled(&mut self) -> Option<Effect> {
        let on = match self.tunable(sysfs::ENABLED) {
            Some(tunable) => tunable.value == "1",
            None => self.live.latest()?.enabled,
        };
        let value = if on { "0" } else { "1" };
        self.assume(sysfs::ENABLED, value);
        self.set(sysfs::ENABLED.to_owned(), value.to_owned())
    }

    /// Takes a value as set until the sampler brings the tunables anew, which
    /// it does after every change, made or not.
    fn assume(&mut self, key: &str, value: &str) {
        if let Some(tunable) = self.tunables.iter_mut().find(|tunable| tunable.key == key) {
            value.clone_into(&mut tunable.value);
        }
    }

    fn undo(&mut self) -> Option<Effect> {
        if self.undoing.is_some() {
            return None;
        }
        let Some(change) = self.changes.pop() else {
            self.note("nothing to take back");
            return None;
        };
        self.undoing = Some(change.clone());
        self.set(change.key, change.old)
    }

    fn edit_key(&mut self, key: &str) {
        match self.tunable(key) {
            Some(tunable) => {
                self.edit = Some(Edit {
                    tunable: tunable.clone(),
                    text: tunable.value.clone(),
                });
            }
            None => self.note(format!("{key} cannot be set here")),
        }
    }

    fn accept(&mut self) -> Option<Effect> {
        let edit = self.edit.take()?;
        let value = edit.text.trim();
        if value.is_empty() || value == edit.tunable.value {
            self.note("left as it is");
            return None;
        }
        self.set(edit.tunable.key, value.to_owned())
    }
}

/// The values of a tunable that takes one of a few.
fn choices(tunable: &Tunable) -> Vec<&str> {
    tunable
        .allowed
        .strip_prefix("one of: ")
        .map(|names| names.split_whitespace().collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dashboard::fake;

    fn app() -> App {
        let mut app = fake::app(3);
        app.on_news(News::Tunables(fake::tunables()));
        app
    }

    fn press(app: &mut App, keys: &str) -> Option<Effect> {
        let mut effect = None;
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\t' => KeyCode::Tab,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                char => KeyCode::Char(char),
            };
            effect = app.on_key(KeyEvent::new(code, KeyModifiers::NONE));
        }
        effect
    }

    fn set(key: &str, value: &str) -> Option<Effect> {
        Some(Effect::Set {
            key: key.into(),
            value: value.into(),
        })
    }

    #[test]
    fn tab_turns_through_all_views_and_digits_choose() {
        let mut app = app();
        for expected in [1, 2, 3, 4, 5, 6, 0] {
            press(&mut app, "\t");
            assert_eq!(app.view, View::ALL[expected]);
        }
        press(&mut app, "6");
        assert_eq!(app.view, View::Policy);
        press(&mut app, "h");
        assert_eq!(app.view, View::Cgroups);
        press(&mut app, "l");
        assert_eq!(app.view, View::Policy);
    }

    #[test]
    fn plus_and_minus_step_the_limit_and_quick_presses_add_up() {
        let mut app = app();
        // 64 MiB, steps of 8 MiB above and 4 MiB below.
        assert_eq!(press(&mut app, "+"), set("limit", "72M"));
        assert_eq!(press(&mut app, "+"), set("limit", "80M"));
        app.on_news(News::NotChanged("no".into()));
        assert_eq!(press(&mut app, "-"), set("limit", "60M"));
    }

    #[test]
    fn a_limit_is_typed_in_place() {
        let mut app = app();
        assert_eq!(press(&mut app, "L"), None);
        assert_eq!(
            app.edit.as_ref().map(|edit| edit.text.as_str()),
            Some("64M")
        );
        // While typing, q is a letter, not a way out.
        assert_eq!(press(&mut app, "\u{8}\u{8}\u{8}q"), None);
        assert!(!app.quit);
        assert_eq!(press(&mut app, "\u{8}25%\n"), set("limit", "25%"));
        assert_eq!(app.edit, None);
        // The same value, nothing and Esc change nothing.
        assert_eq!(press(&mut app, "L\n"), None);
        assert_eq!(press(&mut app, "L\u{8}\u{8}\u{8}\n"), None);
        assert_eq!(press(&mut app, "L9\u{1b}"), None);
        assert_eq!(app.edit, None);
    }

    #[test]
    fn codecs_turn_both_ways() {
        let mut app = app();
        assert_eq!(press(&mut app, "c"), set("codec", "zstd"));
        assert_eq!(press(&mut app, "c"), set("codec", "none"));
        assert_eq!(press(&mut app, "C"), set("codec", "zstd"));
    }

    #[test]
    fn in_pools_the_keys_act_on_the_selected_pool() {
        let mut app = app();
        press(&mut app, "2j");
        assert_eq!(app.pool_in_scope(), Some(1));
        assert_eq!(press(&mut app, "c"), set("pools.1.codec", "none"));
        assert_eq!(press(&mut app, "+"), set("pools.1.limit", "36M"));
        // Pool 0 has no limit of its own, so there is nothing to step from.
        assert_eq!(press(&mut app, "k+"), None);
        assert!(matches!(&app.status, Some(Status::Note(note)) if note.contains("no limit")));
        assert_eq!(
            press(&mut app, "L\u{8}\u{8}\u{8}\u{8}8M\n"),
            set("pools.0.limit", "8M")
        );
    }

    #[test]
    fn undo_goes_back_one_change_after_the_other() {
        let mut app = app();
        assert_eq!(press(&mut app, "u"), None);
        let change = |key: &str, old: &str, new: &str| Change {
            key: key.into(),
            old: old.into(),
            new: new.into(),
        };
        for change in [
            change("limit", "20%", "72M"),
            change("codec", "lz4", "none"),
        ] {
            app.on_news(News::Changed(change.clone()));
            assert_eq!(app.status, Some(Status::Changed(change)));
        }
        assert_eq!(press(&mut app, "u"), set("codec", "lz4"));
        // It is under way, and one that fails can be tried again.
        assert_eq!(press(&mut app, "u"), None);
        app.on_news(News::NotChanged("busy".into()));
        assert_eq!(press(&mut app, "u"), set("codec", "lz4"));
        app.on_news(News::Changed(change("codec", "none", "lz4")));
        assert_eq!(press(&mut app, "u"), set("limit", "20%"));
        app.on_news(News::Changed(change("limit", "72M", "20%")));
        assert_eq!(press(&mut app, "u"), None);
    }

    #[test]
    fn a_filter_keeps_the_rows_with_its_words() {
        let mut app = app();
        press(&mut app, "6/pools.1 q");
        assert!(app.filtering && !app.quit);
        assert_eq!(app.list().filter, "pools.1 q");
        press(&mut app, "\u{8}\u{8}\n");
        let keys: Vec<_> = app
            .rows(View::Policy)
            .iter()
            .map(|row| app.tunables[*row].key.as_str())
            .collect();
        assert_eq!(keys, ["pools.1.limit", "pools.1.codec"]);
        // What is edited is the row on show.
        press(&mut app, "j\n");
        assert_eq!(
            app.edit.as_ref().map(|edit| edit.tunable.key.as_str()),
            Some("pools.1.codec")
        );
        press(&mut app, "\u{1b}\u{1b}");
        assert_eq!(app.rows(View::Policy).len(), app.tunables.len());
        press(&mut app, "/nothing\u{1b}");
        assert_eq!((app.filtering, app.list().filter.as_str()), (false, ""));
    }

    #[test]
    fn sorting_moves_rows_but_not_the_selection() {
        let mut app = app();
        press(&mut app, "2jsssS");
        assert_eq!(app.rows(View::Pools), [1, 0]);
        assert_eq!(app.pool_in_scope(), Some(1));
        press(&mut app, "S");
        assert_eq!(app.rows(View::Pools), [0, 1]);
        assert_eq!(app.pool_in_scope(), Some(1));
        press(&mut app, "1s");
        assert!(
            matches!(&app.status, Some(Status::Note(note)) if note.contains("nothing to sort"))
        );
    }

    #[test]
    fn a_selected_event_stays_selected_while_others_come() {
        let mut app = app();
        press(&mut app, "7j");
        let row = app.selected_row(View::Events);
        let index = row
            .and_then(|row| app.history().events().nth(row))
            .map(|event| event.index);
        app.on_news(News::Snapshot(Box::new(fake::snapshot(4))));
        let row = app.selected_row(View::Events);
        let now = row
            .and_then(|row| app.history().events().nth(row))
            .map(|event| event.index);
        assert_eq!(now, index);
        press(&mut app, "g");
        app.on_news(News::Snapshot(Box::new(fake::snapshot(5))));
        assert_eq!(app.selected_row(View::Events), Some(0));
    }

    #[test]
    fn keys_and_layout_follow_the_configuration() {
        let text = "[keys]\nquit = \"x\"\n[layout]\nviews = [\"policy\", \"pools\"]\n";
        let config = Config::parse(std::path::Path::new("t"), text).unwrap_or_default();
        let theme = Theme::new(true, false);
        let mut app = App::new("it".into(), Duration::from_secs(1), theme, &config);
        assert_eq!(app.view, View::Policy);
        press(&mut app, "\tq");
        assert_eq!((app.view, app.quit), (View::Pools, false));
        press(&mut app, "\t");
        assert_eq!(app.view, View::Policy);
        press(&mut app, "x");
        assert!(app.quit);
    }

    #[test]
    fn the_policy_view_edits_any_tunable() {
        let mut app = app();
        assert_eq!(press(&mut app, "6G\n"), None);
        let last = fake::tunables().pop().map(|tunable| tunable.key);
        assert_eq!(app.edit.as_ref().map(|edit| edit.tunable.key.clone()), last);
        press(&mut app, "\u{1b}");
        assert_eq!(press(&mut app, "o"), set("enabled", "0"));
    }

    #[test]
    fn freezing_keeps_the_picture_while_time_goes_on() {
        let mut app = app();
        press(&mut app, "f");
        let frozen = app.history().latest().map(|s| s.taken_ns);
        app.on_news(News::Snapshot(Box::new(fake::snapshot(9))));
        assert!(app.is_frozen());
        assert_eq!(app.history().latest().map(|s| s.taken_ns), frozen);
        press(&mut app, "f");
        assert_eq!(
            app.history().latest().map(|s| s.taken_ns),
            Some(fake::snapshot(9).taken_ns)
        );
    }

    #[test]
    fn a_recording_is_walked_through_and_shows_what_was_then() {
        let mut app = fake::app(0);
        assert_eq!(press(&mut app, "["), None);
        assert!(matches!(&app.status, Some(Status::Note(note)) if note.contains("recording")));
        let moment = |last: u64| Moment {
            snapshots: (0..=last).map(fake::snapshot).collect(),
            since_start_ns: last * 1_000_000_000,
            length_ns: 90_000_000_000,
        };
        app.on_news(News::Moment(Box::new(moment(5))));
        assert_eq!(app.history().points().len(), 5);
        assert_eq!(press(&mut app, "["), Some(Effect::Travel(-1)));
        assert_eq!(press(&mut app, "]"), Some(Effect::Travel(1)));
        assert_eq!(press(&mut app, "{"), Some(Effect::Travel(-20)));
        assert_eq!(press(&mut app, "}"), Some(Effect::Travel(20)));
        app.on_news(News::Moment(Box::new(moment(2))));
        assert_eq!(app.history().points().len(), 2);
        assert_eq!(app.moment, Some((2_000_000_000, 90_000_000_000)));
        let taken = app.history().latest().map(|latest| latest.taken_ns);
        assert_eq!(taken, Some(fake::snapshot(2).taken_ns));
    }

    #[test]
    fn help_closes_before_quitting_and_swallows_other_keys() {
        let mut app = app();
        press(&mut app, "?");
        assert!(app.help);
        assert_eq!(press(&mut app, "+"), None);
        press(&mut app, "q");
        assert!(!app.help && !app.quit);
        press(&mut app, "q");
        assert!(app.quit);
    }

    #[test]
    fn selections_stay_within_what_is_there() {
        let mut app = app();
        press(&mut app, "2jjjjjj");
        assert_eq!(app.pool_in_scope(), Some(1));
        let mut fewer = fake::snapshot(4);
        fewer.pools.clear();
        app.on_news(News::Snapshot(Box::new(fewer)));
        assert_eq!(app.pool_in_scope(), None);
        assert_eq!(press(&mut app, "jkG"), None);
    }
}
