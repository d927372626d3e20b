//! Every key of the dashboard: a named action in one table, from which the keymap
//! is made, with the changes of a configuration file, and the help is drawn.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::app::View;

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Quit,
    Help,
    NextView,
    PreviousView,
    ShowView(View),
    Up,
    Down,
    First,
    Last,
    Window,
    Freeze,
    Earlier,
    Later,
    MuchEarlier,
    MuchLater,
    RaiseLimit,
    LowerLimit,
    EditLimit,
    NextCodec,
    PreviousCodec,
    ToggleEnabled,
    EditSelected,
    Expand,
    Filter,
    Sort,
    ReverseSort,
    Undo,
    Dismiss,
    Redraw,
    Accept,
    Cancel,
    Erase,
    EraseAll,
}

/// When a key means its action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// While looking at a view or at the help.
    Looking,
    /// While a value or a filter is being typed.
    Typing,
}

/// A key: its code, and whether Ctrl is held. Shift shows in the code already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    code: KeyCode,
    ctrl: bool,
}

impl Key {
    const fn new(code: KeyCode) -> Self {
        Self { code, ctrl: false }
    }

    const fn char(char: char) -> Self {
        Self::new(KeyCode::Char(char))
    }

    const fn ctrl(char: char) -> Self {
        Self {
            code: KeyCode::Char(char),
            ctrl: true,
        }
    }

    fn is(self, event: KeyEvent) -> bool {
        self.code == event.code && self.ctrl == event.modifiers.contains(KeyModifiers::CONTROL)
    }

    /// Reads a key as [`Key::label`] writes it, in upper or lower case where that
    /// makes no other key: `q`, `Ctrl-C`, `shift-tab`, `F1`, `space`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if let Some(char) = lower.strip_prefix("ctrl-") {
            let mut chars = char.chars();
            return match (chars.next(), chars.next()) {
                (Some(char), None) if char.is_ascii_alphabetic() => Some(Self::ctrl(char)),
                _ => None,
            };
        }
        let mut chars = text.chars();
        if let (Some(char), None) = (chars.next(), chars.next()) {
            return (!char.is_control() && char != ' ').then_some(Self::char(char));
        }
        if let Some(number) = lower.strip_prefix('f') {
            let number = number
                .parse()
                .ok()
                .filter(|number| (1..=12).contains(number));
            return number.map(|number| Self::new(KeyCode::F(number)));
        }
        let code = match lower.as_str() {
            "space" => KeyCode::Char(' '),
            "tab" => KeyCode::Tab,
            "shift-tab" => KeyCode::BackTab,
            "enter" => KeyCode::Enter,
            "esc" => KeyCode::Esc,
            "backspace" => KeyCode::Backspace,
            "delete" | "del" => KeyCode::Delete,
            "insert" => KeyCode::Insert,
            "home" => KeyCode::Home,
            "end" => KeyCode::End,
            "pageup" | "page up" => KeyCode::PageUp,
            "pagedown" | "page down" => KeyCode::PageDown,
            "up" => KeyCode::Up,
            "down" => KeyCode::Down,
            "left" => KeyCode::Left,
            "right" => KeyCode::Right,
            _ => return None,
        };
        Some(Self::new(code))
    }

    /// The key as people know it.
    pub(super) fn label(self) -> String {
        let name = match self.code {
            KeyCode::Char(' ') => "Space".into(),
            KeyCode::Char(char) if self.ctrl => char.to_ascii_uppercase().to_string(),
            KeyCode::Char(char) => char.to_string(),
            KeyCode::BackTab => "Shift-Tab".into(),
            code => code.to_string(),
        };
        if self.ctrl {
            format!("Ctrl-{name}")
        } else {
            name
        }
    }
}

/// One row of the table.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) action: Action,
    /// The action's name.
    pub(super) name: &'static str,
    pub(super) keys: &'static [Key],
    pub(super) when: When,
    /// What it does, in a few words.
    pub(super) help: &'static str,
}

const fn looking(
    action: Action,
    name: &'static str,
    keys: &'static [Key],
    help: &'static str,
) -> Binding {
    Binding {
        action,
        name,
        keys,
        when: When::Looking,
        help,
    }
}

const fn typing(
    action: Action,
    name: &'static str,
    keys: &'static [Key],
    help: &'static str,
) -> Binding {
    Binding {
        action,
        name,
        keys,
        when: When::Typing,
        help,
    }
}

/// The table.
pub(super) const BINDINGS: &[Binding] = &[
    looking(
        Action::Help,
        "help",
        &[Key::char('?'), Key::new(KeyCode::F(1))],
        "these keys",
    ),
    looking(
        Action::Quit,
        "quit",
        &[Key::char('q'), Key::ctrl('c')],
        "leave",
    ),
    looking(
        Action::NextView,
        "next-view",
        &[
            Key::new(KeyCode::Tab),
            Key::new(KeyCode::Right),
            Key::char('l'),
        ],
        "next view",
    ),
    looking(
        Action::PreviousView,
        "previous-view",
        &[
            Key::new(KeyCode::BackTab),
            Key::new(KeyCode::Left),
            Key::char('h'),
        ],
        "previous view",
    ),
    looking(
        Action::ShowView(View::Overview),
        "overview",
        &[Key::char('1')],
        "memory, rates, latency at a glance",
    ),
    looking(
        Action::ShowView(View::Pools),
        "pools",
        &[Key::char('2')],
        "each pool; the selected one in detail",
    ),
    looking(
        Action::ShowView(View::Latency),
        "latency",
        &[Key::char('3')],
        "percentiles and a heat map over time",
    ),
    looking(
        Action::ShowView(View::Files),
        "files",
        &[Key::char('4')],
        "pages by file: which files profit",
    ),
    looking(
        Action::ShowView(View::Cgroups),
        "cgroups",
        &[Key::char('5')],
        "operations by cgroup",
    ),
    looking(
        Action::ShowView(View::Policy),
        "policy",
        &[Key::char('6')],
        "everything that can be set",
    ),
    looking(
        Action::ShowView(View::Events),
        "events",
        &[Key::char('7')],
        "sampled operations",
    ),
    looking(
        Action::Up,
        "up",
        &[Key::new(KeyCode::Up), Key::char('k')],
        "row above",
    ),
    looking(
        Action::Down,
        "down",
        &[Key::new(KeyCode::Down), Key::char('j')],
        "row below",
    ),
    looking(
        Action::First,
        "first",
        &[Key::new(KeyCode::Home), Key::char('g')],
        "first row",
    ),
    looking(
        Action::Last,
        "last",
        &[Key::new(KeyCode::End), Key::char('G')],
        "last row",
    ),
    looking(
        Action::RaiseLimit,
        "raise-limit",
        &[Key::char('+'), Key::char('=')],
        "raise the limit (Pools: of that pool)",
    ),
    looking(
        Action::LowerLimit,
        "lower-limit",
        &[Key::char('-'), Key::char('_')],
        "lower the limit",
    ),
    looking(
        Action::EditLimit,
        "edit-limit",
        &[Key::char('L')],
        "type a limit",
    ),
    looking(
        Action::NextCodec,
        "next-codec",
        &[Key::char('c')],
        "next codec (Pools: of that pool)",
    ),
    looking(
        Action::PreviousCodec,
        "previous-codec",
        &[Key::char('C')],
        "previous codec",
    ),
    looking(
        Action::ToggleEnabled,
        "toggle-enabled",
        &[Key::char('o')],
        "accept new pages: on or off",
    ),
    looking(
        Action::EditSelected,
        "edit-selected",
        &[Key::new(KeyCode::Enter)],
        "type a value for the row (in Policy)",
    ),
    looking(
        Action::Expand,
        "expand",
        &[Key::char('e')],
        "the selected row alone, and back",
    ),
    looking(
        Action::Filter,
        "filter",
        &[Key::char('/')],
        "show only rows with these words",
    ),
    looking(
        Action::Sort,
        "sort",
        &[Key::char('s')],
        "sort by the next column",
    ),
    looking(
        Action::ReverseSort,
        "reverse-sort",
        &[Key::char('S')],
        "sort the other way round",
    ),
    looking(
        Action::Undo,
        "undo",
        &[Key::char('u')],
        "take changes back, the last first",
    ),
    looking(
        Action::Window,
        "window",
        &[Key::char('w')],
        "time that hit rate and percentiles cover",
    ),
    looking(
        Action::Freeze,
        "freeze",
        &[Key::char('f'), Key::char(' ')],
        "stop and resume the picture",
    ),
    looking(
        Action::Earlier,
        "earlier",
        &[Key::char('[')],
        "in a recording: one reading back",
    ),
    looking(Action::Later, "later", &[Key::char(']')], "one reading on"),
    looking(
        Action::MuchEarlier,
        "much-earlier",
        &[Key::char('{')],
        "twenty readings back",
    ),
    looking(
        Action::MuchLater,
        "much-later",
        &[Key::char('}')],
        "twenty readings on",
    ),
    looking(
        Action::Dismiss,
        "dismiss",
        &[Key::new(KeyCode::Esc)],
        "close the help, clear message and filter",
    ),
    looking(
        Action::Redraw,
        "redraw",
        &[Key::ctrl('l')],
        "ask the terminal's size and draw anew",
    ),
    typing(
        Action::Accept,
        "accept",
        &[Key::new(KeyCode::Enter)],
        "set it, keep the filter",
    ),
    typing(
        Action::Cancel,
        "cancel",
        &[Key::new(KeyCode::Esc), Key::ctrl('c')],
        "leave it, drop the filter",
    ),
    typing(
        Action::Erase,
        "erase",
        &[Key::new(KeyCode::Backspace), Key::ctrl('h')],
        "erase a character",
    ),
    typing(
        Action::EraseAll,
        "erase-all",
        &[Key::ctrl('u')],
        "erase everything",
    ),
];

/// Which key means what: the table, with changes.
#[derive(Clone, Debug)]
pub(super) struct Keymap {
    rows: Vec<(&'static Binding, Vec<Key>)>,
}

impl Default for Keymap {
    fn default() -> Self {
        let row = |binding: &'static Binding| (binding, binding.keys.to_vec());
        Self {
            rows: BINDINGS.iter().map(row).collect(),
        }
    }
}

impl Keymap {
    /// Gives an action other keys, and takes these from the actions that had them.
    pub(super) fn bind(&mut self, binding: &'static Binding, keys: &[Key]) {
        for (other, theirs) in &mut self.rows {
            if other.name == binding.name {
                *theirs = keys.to_vec();
            } else if other.when == binding.when {
                theirs.retain(|key| !keys.contains(key));
            }
        }
    }

    /// Every action with its keys.
    pub(super) fn rows(&self) -> &[(&'static Binding, Vec<Key>)] {
        &self.rows
    }

    /// The action of a key.
    pub(super) fn action(&self, when: When, event: KeyEvent) -> Option<Action> {
        self.rows
            .iter()
            .find(|(binding, keys)| binding.when == when && keys.iter().any(|key| key.is(event)))
            .map(|(binding, _)| binding.action)
    }

    /// The first key of an action, for hints; nothing if it has none.
    pub(super) fn hint(&self, action: Action) -> String {
        self.rows
            .iter()
            .find(|(binding, _)| binding.action == action)
            .and_then(|(_, keys)| keys.first())
            .map_or_else(String::new, |key| key.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn press(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    #[test]
    fn no_key_means_two_things_and_no_name_is_used_twice() {
        for (position, binding) in BINDINGS.iter().enumerate() {
            assert!(!binding.keys.is_empty(), "{} has no key", binding.name);
            for other in &BINDINGS[position + 1..] {
                assert_ne!(binding.name, other.name);
                if binding.when == other.when {
                    for key in binding.keys {
                        assert!(!other.keys.contains(key), "{} twice", key.label());
                    }
                }
            }
        }
    }

    #[test]
    fn keys_find_their_action() {
        let none = KeyModifiers::NONE;
        let keymap = Keymap::default();
        let action = |when, event| keymap.action(when, event);
        let looking = |code, modifiers| action(When::Looking, press(code, modifiers));
        assert_eq!(looking(KeyCode::Char('q'), none), Some(Action::Quit));
        assert_eq!(
            looking(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Action::Quit)
        );
        assert_eq!(looking(KeyCode::Char('c'), none), Some(Action::NextCodec));
        assert_eq!(
            looking(KeyCode::Char('+'), KeyModifiers::SHIFT),
            Some(Action::RaiseLimit)
        );
        assert_eq!(
            looking(KeyCode::BackTab, KeyModifiers::SHIFT),
            Some(Action::PreviousView)
        );
        assert_eq!(looking(KeyCode::Char('z'), none), None);
        assert_eq!(action(When::Typing, press(KeyCode::Char('q'), none)), None);
        assert_eq!(
            action(When::Typing, press(KeyCode::Enter, none)),
            Some(Action::Accept)
        );
    }

    #[test]
    fn labels_read_well() {
        let keymap = Keymap::default();
        let hint = |action| keymap.hint(action);
        assert_eq!(hint(Action::NextView), "Tab");
        assert_eq!(hint(Action::Redraw), "Ctrl-L");
        assert_eq!(hint(Action::Dismiss), "Esc");
        assert_eq!(hint(Action::PreviousView), "Shift-Tab");
    }

    #[test]
    fn every_label_is_read_back() {
        for key in BINDINGS.iter().flat_map(|binding| binding.keys) {
            assert_eq!(Key::parse(&key.label()), Some(*key), "{}", key.label());
        }
        for bad in ["", "qq", "Ctrl-", "Ctrl-1", "F13", "hyper-x"] {
            assert_eq!(Key::parse(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_key_that_is_bound_anew_leaves_its_old_action() {
        let mut keymap = Keymap::default();
        let find = |name: &str| BINDINGS.iter().find(|binding| binding.name == name);
        if let (Some(sort), Some(key)) = (find("sort"), Key::parse("q")) {
            keymap.bind(sort, &[key]);
        }
        assert_eq!(keymap.hint(Action::Sort), "q");
        assert_eq!(keymap.hint(Action::Quit), "Ctrl-C");
    }
}
