//! The dashboard's state and what keys and news do to it. No terminal, no clock
//! and no source here: [`crate::dashboard::view`] draws it, and the event loop
//! carries out the [`Effect`]s it asks for.

use std::time::Duration;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tmem_common::op::{OPS, Op};
use tmem_common::sysfs;

use super::history::History;
use super::keys::{self, Action, When};
use super::theme::Theme;
use crate::source::{Change, Snapshot, Tunable};
use crate::units::size_value;

/// Seconds that hit rate and percentiles can cover.
const WINDOWS: [f64; 4] = [10.0, 60.0, 300.0, 600.0];

/// The least limit that the step key sets, in bytes.
const LEAST_LIMIT: u64 = 1 << 20;

/// The views, in the order of their tabs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    Overview,
    Pools,
    Latency,
    Tuning,
    Events,
}

impl View {
    pub(super) const ALL: [View; 5] = [
        View::Overview,
        View::Pools,
        View::Latency,
        View::Tuning,
        View::Events,
    ];

    pub(super) const fn title(self) -> &'static str {
        match self {
            View::Overview => "Overview",
            View::Pools => "Pools",
            View::Latency => "Latency",
            View::Tuning => "Tuning",
            View::Events => "Events",
        }
    }
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
    Set { key: String, value: String },
    Redraw,
}

/// What the sampler tells.
#[derive(Debug)]
pub(super) enum News {
    Snapshot(Box<Snapshot>),
    /// No reading could be had; the reason.
    NoSnapshot(String),
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
    pub(super) status: Option<Status>,
    /// Why the newest reading failed.
    pub(super) failure: Option<String>,
    pub(super) selected_pool: usize,
    pub(super) selected_op: usize,
    pub(super) selected_tunable: usize,
    pub(super) event_offset: usize,
    pub(super) tunables: Vec<Tunable>,
    pub(super) quit: bool,
    live: History,
    frozen: Option<History>,
    window: usize,
    last_change: Option<Change>,
    /// Limits asked for and not yet confirmed, so that quick presses add up.
    pending: Option<(String, u64)>,
}

impl App {
    pub(super) fn new(source: String, interval: Duration, theme: Theme) -> Self {
        let half = u64::try_from(interval.as_nanos() / 2).unwrap_or(u64::MAX);
        Self {
            theme,
            source,
            interval,
            view: View::Overview,
            help: false,
            help_offset: 0,
            edit: None,
            status: None,
            failure: None,
            selected_pool: 0,
            selected_op: 0,
            selected_tunable: 0,
            event_offset: 0,
            tunables: Vec::new(),
            quit: false,
            live: History::new(half),
            frozen: None,
            window: 1,
            last_change: None,
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
        let when = if self.edit.is_some() {
            When::Typing
        } else {
            When::Looking
        };
        if let Some(action) = keys::action(when, event) {
            return self.act(action);
        }
        if let (Some(edit), KeyCode::Char(char)) = (&mut self.edit, event.code)
            && !event
                .modifiers
                .intersects(KeyModifiers::CONTROL | KeyModifiers::ALT)
            && edit.text.len() < 64
        {
            edit.text.push(char);
        }
        None
    }

    /// Takes news from the sampler.
    pub(super) fn on_news(&mut self, news: News) {
        match news {
            News::Snapshot(snapshot) => {
                self.failure = None;
                self.live.push(*snapshot);
                let pools = self.live.latest().map_or(0, |latest| latest.pools.len());
                self.selected_pool = self.selected_pool.min(pools.saturating_sub(1));
            }
            News::NoSnapshot(reason) => self.failure = Some(reason),
            News::Tunables(tunables) => {
                self.selected_tunable = self.selected_tunable.min(tunables.len().saturating_sub(1));
                self.tunables = tunables;
            }
            News::Changed(change) => {
                self.pending = None;
                self.assume(&change.key, &change.new);
                self.status = Some(Status::Changed(change.clone()));
                self.last_change = Some(change);
            }
            News::NotChanged(reason) => {
                self.pending = None;
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
            Action::PreviousView => self.turn_view(View::ALL.len() - 1),
            Action::ShowView(view) => self.view = View::ALL[view % View::ALL.len()],
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
            Action::RaiseLimit => return self.step_limit(true),
            Action::LowerLimit => return self.step_limit(false),
            Action::EditLimit => self.edit_key(&self.scoped(sysfs::LIMIT)),
            Action::NextCodec => return self.turn_codec(|at, count| (at + 1) % count),
            Action::PreviousCodec => {
                return self.turn_codec(|at, count| (at + count - 1) % count);
            }
            Action::ToggleEnabled => return self.toggle_enabled(),
            Action::EditSelected if self.view == View::Tuning => {
                if let Some(tunable) = self.tunables.get(self.selected_tunable) {
                    self.edit_key(&tunable.key.clone());
                }
            }
            Action::Undo => return self.undo(),
            Action::Dismiss => self.status = None,
            Action::Redraw => return Some(Effect::Redraw),
            Action::Accept => return self.accept(),
            Action::Cancel => {
                self.edit = None;
                self.note("left as it is");
            }
            Action::Erase => {
                if let Some(edit) = &mut self.edit {
                    edit.text.pop();
                }
            }
            Action::EraseAll => {
                if let Some(edit) = &mut self.edit {
                    edit.text.clear();
                }
            }
            Action::EditSelected => {}
        }
        None
    }

    fn act_in_help(&mut self, action: Action) -> Option<Effect> {
        match action {
            Action::Help | Action::Dismiss | Action::Quit => self.help = false,
            Action::Up => self.help_offset = self.help_offset.saturating_sub(1),
            Action::Down => {
                self.help_offset = (self.help_offset + 1).min(keys::BINDINGS.len() - 1);
            }
            Action::First => self.help_offset = 0,
            Action::Last => self.help_offset = keys::BINDINGS.len() - 1,
            Action::Redraw => return Some(Effect::Redraw),
            _ => {}
        }
        None
    }

    fn note(&mut self, text: impl Into<String>) {
        self.status = Some(Status::Note(text.into()));
    }

    fn turn_view(&mut self, by: usize) {
        let at = View::ALL
            .iter()
            .position(|view| *view == self.view)
            .unwrap_or_default();
        self.view = View::ALL[(at + by) % View::ALL.len()];
    }

    /// Moves the selection of the view on show to `to(row, last)`.
    fn select(&mut self, to: impl Fn(usize, usize) -> usize) {
        let pools = self
            .history()
            .latest()
            .map_or(0, |latest| latest.pools.len());
        let events = self.history().events().len();
        let (row, rows) = match self.view {
            View::Overview => return,
            View::Pools => (&mut self.selected_pool, pools),
            View::Latency => (&mut self.selected_op, OPS),
            View::Tuning => (&mut self.selected_tunable, self.tunables.len()),
            View::Events => (&mut self.event_offset, events),
        };
        let last = rows.saturating_sub(1);
        *row = to(*row, last).min(last);
    }

    /// The kind of operation selected in the latency view.
    pub(super) fn op(&self) -> Op {
        Op::ALL[self.selected_op.min(OPS - 1)]
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
        let latest = self.history().latest()?;
        latest.pools.get(self.selected_pool).map(|pool| pool.id)
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
            let edit = keys::hint(Action::EditLimit);
            self.note(format!("{key}: no limit to step from; {edit} types one"));
            return None;
        };
        let next = if raise {
            raised_limit(now)
        } else {
            lowered_limit(now)
        };
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
        let Some(change) = self.last_change.take() else {
            self.note("nothing to take back");
            return None;
        };
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

/// The step at a limit: the power of two between an eighth and a sixteenth of it.
fn step(limit: u64) -> u64 {
    let eighth = (limit / 8).max(LEAST_LIMIT / 8);
    1 << eighth.ilog2()
}

fn raised_limit(limit: u64) -> u64 {
    let step = step(limit);
    (limit / step).saturating_add(1).saturating_mul(step)
}

fn lowered_limit(limit: u64) -> u64 {
    let below = limit.saturating_sub(1);
    let step = step(below);
    // A limit below the least (typed, perhaps 0) is not raised by lowering it.
    (below / step * step).max(LEAST_LIMIT.min(limit))
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
        for expected in [1, 2, 3, 4, 0] {
            press(&mut app, "\t");
            assert_eq!(app.view, View::ALL[expected]);
        }
        press(&mut app, "4");
        assert_eq!(app.view, View::Tuning);
        press(&mut app, "h");
        assert_eq!(app.view, View::Latency);
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
    fn steps_go_up_and_down_the_same_stairs() {
        let mut limit = 5 << 20;
        let mut stairs = vec![limit];
        for _ in 0..100 {
            limit = raised_limit(limit);
            stairs.push(limit);
        }
        for expected in stairs.iter().rev().skip(1) {
            limit = lowered_limit(limit);
            assert_eq!(limit, *expected);
        }
        assert_eq!(lowered_limit(LEAST_LIMIT), LEAST_LIMIT);
        assert_eq!(lowered_limit(0), 0);
        assert_eq!(lowered_limit(4096), 4096);
        assert!(raised_limit(0) > 0);
        assert_eq!(raised_limit(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_limit_is_typed_in_place() {
        let mut app = app();
        assert_eq!(press(&mut app, "l"), None);
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
        assert_eq!(press(&mut app, "l\n"), None);
        assert_eq!(press(&mut app, "l\u{8}\u{8}\u{8}\n"), None);
        assert_eq!(press(&mut app, "l9\u{1b}"), None);
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
            press(&mut app, "l\u{8}\u{8}\u{8}\u{8}8M\n"),
            set("pools.0.limit", "8M")
        );
    }

    #[test]
    fn undo_sets_the_old_value_once() {
        let mut app = app();
        assert_eq!(press(&mut app, "u"), None);
        let change = Change {
            key: "limit".into(),
            old: "20%".into(),
            new: "72M".into(),
        };
        app.on_news(News::Changed(change.clone()));
        assert_eq!(app.status, Some(Status::Changed(change)));
        assert_eq!(press(&mut app, "u"), set("limit", "20%"));
        assert_eq!(press(&mut app, "u"), None);
    }

    #[test]
    fn the_tuning_view_edits_any_tunable() {
        let mut app = app();
        assert_eq!(press(&mut app, "4G\n"), None);
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
        assert_eq!(app.selected_pool, 1);
        let mut fewer = fake::snapshot(4);
        fewer.pools.clear();
        app.on_news(News::Snapshot(Box::new(fewer)));
        assert_eq!(app.selected_pool, 0);
        assert_eq!(press(&mut app, "jkG"), None);
    }
}
